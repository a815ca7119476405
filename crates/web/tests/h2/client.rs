//! Our client: against our server, and against a server that sends frames by hand.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body as _;
use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Address, Connection, Factory, Protocol, Transport};
use ropewalk_web::h2::{ClientConnection, ConnectProtocol, Limits, Reason, SendError};
use ropewalk_web::{Body, Site, Upgrade, handler_fn};

use super::rig::*;

/// Runs `talk` with a connection to `server`, and until nothing happens any more.
fn talk<A, T>(server: Rc<dyn Factory>, talk: impl FnOnce(ClientConnection) -> A + 'static) -> T
where
    A: Future<Output = T> + 'static,
    T: 'static,
{
    let reactor = MemoryReactor::new();
    let done = talk_on(&reactor, server, talk);
    reactor.run();
    done.take().expect("it is not over")
}

type Done<T> = Rc<Cell<Option<T>>>;

fn talk_on<A, T>(
    reactor: &MemoryReactor,
    server: Rc<dyn Factory>,
    talk: impl FnOnce(ClientConnection) -> A + 'static,
) -> Done<T>
where
    A: Future<Output = T> + 'static,
    T: 'static,
{
    reactor.listen(&"tcp:80".parse().unwrap(), server).unwrap();
    let endpoint = "tcp:192.0.2.1:80".parse().unwrap();
    let connecting = ClientConnection::connect(&**reactor, &endpoint, Limits::default());
    let done: Done<T> = Rc::default();
    let result = Rc::clone(&done);
    reactor.spawn(Box::pin(async move {
        let connection = connecting.await.unwrap();
        result.set(Some(talk(connection).await));
    }));
    done
}

fn request(path: &str, body: impl Into<Body>) -> Request<Body> {
    let uri = format!("http://example.com{path}");
    Request::post(uri).body(body.into()).unwrap()
}

#[test]
fn many_requests_are_under_way_at_a_time() {
    let texts = talk(mirror(), |connection| async move {
        let answers = (0..250).map(|n| {
            let connection = connection.clone();
            async move {
                let response = connection
                    .send(request(&format!("/{n}"), ""))
                    .await
                    .unwrap();
                assert_eq!(response.status(), 200);
                response.into_body().collect().await.unwrap()
            }
        });
        let mut texts = Vec::new();
        let mut answers: Vec<_> = answers.map(Box::pin).collect();
        std::future::poll_fn(|cx| {
            answers.retain_mut(|answer| match answer.as_mut().poll(cx) {
                std::task::Poll::Ready(text) => {
                    texts.push(text);
                    false
                }
                std::task::Poll::Pending => true,
            });
            match answers.is_empty() {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        })
        .await;
        texts
    });
    assert_eq!(texts.len(), 250);
    assert!(texts.contains(&Bytes::from("POST /249")));
}

#[test]
fn long_bodies_and_trailers_stream_both_ways() {
    let (length, trailers) = talk(mirror(), |connection| async move {
        let frames = Frames::default();
        let response = connection.send(request("/echo", Body::new(frames.clone())));
        for _ in 0..30 {
            frames.data(vec![b'x'; 30_000]);
        }
        let mut sum = HeaderMap::new();
        sum.insert("x-sum", "1".parse().unwrap());
        frames.push(http_body::Frame::trailers(sum));
        let mut body = std::pin::pin!(response.await.unwrap().into_body());
        let (mut length, mut trailers) = (0, None);
        while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            match frame.unwrap().into_data() {
                Ok(data) => length += data.len(),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        (length, trailers)
    });
    assert_eq!(length, 900_000);
    assert_eq!(trailers.unwrap()["x-sum"], "1");
}

#[test]
fn an_answer_may_come_before_the_request_is_sent() {
    let frames = Frames::default();
    let body = frames.clone();
    let status = talk(mirror(), |connection| async move {
        frames.data("some");
        let response = connection
            .send(request("/", Body::new(body)))
            .await
            .unwrap();
        response.status()
    });
    assert_eq!(status, 200);
}

#[test]
fn an_answer_that_is_dropped_is_reset() {
    let (reactor, server) = (MemoryReactor::new(), ByHand::default());
    let done = talk_on(&reactor, server.factory(), |connection| async move {
        drop(connection.send(request("/", "")).await.unwrap());
        connection
    });
    reactor.run();
    server.bytes.take();
    server.send(&reactor, headers(1, 0, [0x88]));
    let frames = parse(&server.bytes.take());
    let reset = frames
        .iter()
        .find(|frame| frame.kind == RST_STREAM)
        .unwrap();
    assert_eq!((reset.stream, reset.code()), (1, CANCEL));
    assert!(done.take().unwrap().is_open());
}

#[test]
fn a_request_that_nobody_waits_for_is_reset_with_its_body() {
    let (reactor, server) = (MemoryReactor::new(), ByHand::default());
    let frames = Frames::default();
    let body = frames.clone();
    let done = talk_on(&reactor, server.factory(), |connection| async move {
        let sending = connection.send(request("/", Body::new(body)));
        let mut sending = Box::pin(sending);
        std::future::poll_fn(|cx| {
            assert!(sending.as_mut().poll(cx).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        drop(sending);
        connection
    });
    reactor.run();
    let sent = parse(&server.bytes.take()[PREFACE.len()..]);
    let reset = sent.iter().find(|frame| frame.kind == RST_STREAM).unwrap();
    assert_eq!((reset.stream, reset.code()), (1, CANCEL));
    frames.data("nobody takes this");
    reactor.run();
    assert_eq!(frames.left(), 1);
    assert!(done.take().unwrap().is_open());
}

#[test]
fn a_slow_reader_holds_the_server_back() {
    let frames = Frames::default();
    for _ in 0..100 {
        frames.data(vec![b'x'; 16_384]);
    }
    let body = frames.clone();
    let server: Rc<dyn Factory> = Rc::new(Site::new(handler_fn(move |_: Request<Body>| {
        Response::new(Body::new(body.clone()))
    })));
    let response = talk(server, |connection| async move {
        (connection.send(request("/", "")).await.unwrap(), connection)
    });
    assert!(frames.left() > 80, "{}", frames.left());
    drop(response);
}

#[test]
fn the_last_handle_closes_the_connection() {
    let reactor = MemoryReactor::new();
    let done = talk_on(&reactor, mirror(), |connection| async move {
        connection
            .send(request("/", ""))
            .await
            .unwrap()
            .into_body()
            .collect()
            .await
            .unwrap()
    });
    reactor.run();
    assert_eq!(done.take().unwrap(), "POST /");
    reactor.advance(Duration::from_secs(2));
    reactor.run();
    assert_eq!(reactor.connections(), 0);
}

#[test]
fn an_extended_connect_is_a_stream_of_bytes() {
    struct Echo;
    impl Protocol for Echo {
        fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
            transport.write(data);
        }
    }
    let server: Rc<dyn Factory> =
        Rc::new(Site::new(handler_fn(
            |request: Request<Body>| match Upgrade::is_asked_for(&request, "echo") {
                true => Upgrade::to("echo", Echo),
                false => {
                    let mut refused = Response::new(Body::empty());
                    *refused.status_mut() = StatusCode::FORBIDDEN;
                    refused
                }
            },
        )));
    talk(server, |connection| async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let ask = |protocol: &'static str| {
            let mut request = Request::new(());
            *request.uri_mut() = "http://example.com/chat".parse().unwrap();
            let protocol = ConnectProtocol::from_static(protocol);
            request.extensions_mut().insert(protocol);
            connection.tunnel(request)
        };
        let mut stream = ask("echo").await.unwrap().into_body();
        let long = vec![b'x'; 300_000];
        let mut back = Vec::new();
        let (mut reading, mut writing) = tokio::io::split(stream);
        let write = async {
            writing.write_all(&long).await.unwrap();
            writing.shutdown().await.unwrap();
        };
        let read = async { reading.read_to_end(&mut back).await.unwrap() };
        both(write, read).await;
        assert_eq!(back.len(), 300_000);

        let refused = ask("other").await.unwrap_err();
        assert_eq!(refused.status(), Some(StatusCode::FORBIDDEN));
        stream = ask("echo").await.unwrap().into_body();
        stream.write_all(b"again").await.unwrap();
        let mut back = [0; 5];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"again");
    });
}

/// Runs two futures at a time.
async fn both(one: impl Future, two: impl Future) {
    let (mut one, mut two) = (Box::pin(one), Box::pin(two));
    let (mut first, mut second) = (false, false);
    std::future::poll_fn(|cx| {
        first = first || one.as_mut().poll(cx).is_ready();
        second = second || two.as_mut().poll(cx).is_ready();
        match first && second {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
}

/// A server that says what a test tells it to.
#[derive(Clone, Default)]
struct ByHand {
    connection: Rc<RefCell<Connection>>,
    bytes: Rc<RefCell<Vec<u8>>>,
}

impl ByHand {
    fn factory(&self) -> Rc<dyn Factory> {
        let server = self.clone();
        Rc::new(move |_: &Address| server.clone())
    }

    fn send(&self, reactor: &MemoryReactor, bytes: impl AsRef<[u8]>) {
        self.connection.borrow().write(bytes.as_ref());
        reactor.run();
    }
}

impl Protocol for ByHand {
    fn connection_made(&mut self, transport: &mut Transport) {
        self.connection.replace(transport.connection());
        transport.write(&settings(&[]));
        transport.write(&settings_ack());
    }

    fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
        self.bytes.borrow_mut().extend_from_slice(data);
    }

    /// It is the client that drains.
    fn drain(&mut self, _: &mut Transport) {}
}

/// Sends a request to a server that then says `bytes`.
fn answered_by(bytes: impl AsRef<[u8]>) -> Result<Response<Body>, SendError> {
    let (reactor, server) = (MemoryReactor::new(), ByHand::default());
    let done = talk_on(&reactor, server.factory(), |connection| async move {
        connection.send(request("/", "")).await
    });
    reactor.run();
    server.send(&reactor, bytes);
    done.take().expect("it is not over")
}

fn goaway(last: u32, code: u32) -> Vec<u8> {
    frame(
        GOAWAY,
        0,
        0,
        [last.to_be_bytes(), code.to_be_bytes()].concat(),
    )
}

#[test]
fn what_was_not_looked_at_may_be_sent_again() {
    let refused = answered_by(rst(1, REFUSED_STREAM)).unwrap_err();
    assert!(refused.is_retryable(), "{refused}");
    assert_eq!(refused.reason(), Some(Reason::REFUSED_STREAM));
    let unseen = answered_by(goaway(0, NO_ERROR)).unwrap_err();
    assert!(unseen.is_retryable(), "{unseen}");
    let reset = answered_by(rst(1, INTERNAL_ERROR)).unwrap_err();
    assert!(!reset.is_retryable(), "{reset}");
    assert_eq!(reset.reason(), Some(Reason::INTERNAL_ERROR));
}

#[test]
fn what_was_looked_at_may_not_be_sent_again_when_the_connection_is_lost() {
    let (reactor, server) = (MemoryReactor::new(), ByHand::default());
    let done = talk_on(&reactor, server.factory(), |connection| async move {
        connection.send(request("/", "")).await.unwrap_err()
    });
    reactor.run();
    server.send(&reactor, goaway(1, NO_ERROR));
    server.connection.borrow().abort_connection();
    reactor.run();
    let lost = done.take().unwrap();
    assert!(!lost.is_retryable(), "{lost}");
}

#[test]
fn after_a_goaway_no_request_is_sent() {
    let (reactor, server) = (MemoryReactor::new(), ByHand::default());
    let made: Done<ClientConnection> = talk_on(&reactor, server.factory(), |c| async move { c });
    reactor.run();
    let connection = made.take().unwrap();
    assert!(connection.is_open());
    server.send(&reactor, goaway(0, NO_ERROR));
    assert!(!connection.is_open());
    let sent: Done<SendError> = Rc::default();
    let result = Rc::clone(&sent);
    reactor.spawn(Box::pin(async move {
        result.set(connection.send(request("/", "")).await.err());
    }));
    reactor.run();
    assert!(sent.take().unwrap().is_retryable());
}

#[test]
fn an_answer_is_taken_for_one_only_if_it_is_well_formed() {
    let good = answered_by(headers(1, END_STREAM, [0x88]));
    assert_eq!(good.unwrap().status(), 200);
    let upgraded = block(&[(":status", "200"), ("connection", "close")]);
    let bad = answered_by(headers(1, END_STREAM, upgraded)).unwrap_err();
    assert_eq!(bad.reason(), Some(Reason::PROTOCOL_ERROR));
    let early = [
        headers(1, 0, block(&[(":status", "103")])),
        headers(1, END_STREAM, [0x89]),
    ];
    assert_eq!(answered_by(early.concat()).unwrap().status(), 204);
}

#[test]
fn a_server_that_floods_is_left() {
    let flooded = answered_by(ping(b"flooding").repeat(1000)).unwrap_err();
    assert!(!flooded.is_retryable());
}

#[test]
fn a_server_that_is_none_is_left() {
    let no_http2 = answered_by("HTTP/1.1 400 Bad Request\r\n\r\n").unwrap_err();
    assert!(no_http2.to_string().contains("answer"), "{no_http2}");

    struct Silent;
    impl Protocol for Silent {
        fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
    }
    let reactor = MemoryReactor::new();
    let silent: Rc<dyn Factory> = Rc::new(|_: &Address| Silent);
    let done = talk_on(&reactor, silent, |connection| async move {
        connection.send(request("/", "")).await.unwrap_err()
    });
    reactor.run();
    reactor.advance(Duration::from_secs(10));
    reactor.run();
    done.take().expect("it waits for ever");
}

#[test]
fn a_connection_that_is_drained_finishes_what_is_under_way() {
    let (reactor, server) = (MemoryReactor::new(), ByHand::default());
    let done = talk_on(&reactor, server.factory(), |connection| async move {
        let response = connection.send(request("/", "")).await.unwrap();
        (response.status(), connection)
    });
    reactor.run();
    reactor.drain();
    reactor.run();
    server.send(&reactor, headers(1, END_STREAM, [0x88]));
    let (status, connection) = done.take().unwrap();
    assert_eq!(status, 200);
    assert!(!connection.is_open());
}
