//! WebSockets in async code.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use http::Request;
use ropewalk_core::testing::MemoryReactor;
use ropewalk_web::websocket::{
    self, CloseCode, Message, Options, PreparedMessage, SendError, WebSocketClient, WebSocketStream,
};
use ropewalk_web::{Body, Site, handler_fn};

/// A reactor with a site whose every WebSocket is served by this.
fn serving<T: Future<Output = ()> + 'static>(
    serve: impl Fn(WebSocketStream) -> T + Clone + 'static,
) -> MemoryReactor {
    let reactor = MemoryReactor::new();
    let site = Site::new(handler_fn(move |request: Request<Body>| {
        websocket::upgrade_stream(&request, &Options::default(), serve.clone())
    }));
    reactor
        .listen(&"tcp:80".parse().unwrap(), Rc::new(site))
        .unwrap();
    reactor
}

/// Runs a client of it to its end.
fn with_client<T: Future<Output = ()> + 'static>(
    reactor: &MemoryReactor,
    client: impl FnOnce(WebSocketStream) -> T + 'static,
) {
    let url = "ws://example.com/";
    let connecting = WebSocketClient::new().connect_stream(&**reactor, url);
    let done = Rc::new(Cell::new(false));
    let is_done = Rc::clone(&done);
    reactor.spawn(Box::pin(async move {
        client(connecting.await.unwrap()).await;
        is_done.set(true);
    }));
    reactor.run();
    assert!(done.get(), "the client waits");
}

async fn echo(mut socket: WebSocketStream) {
    while let Some(Ok(message)) = socket.recv().await {
        if socket.send(message).await.is_err() {
            return;
        }
    }
}

#[test]
fn a_stream_ends_with_none_after_a_closing_handshake() {
    let reactor = serving(echo);
    with_client(&reactor, |mut socket| async move {
        for n in 0..100 {
            socket.send(format!("message {n}")).await.unwrap();
        }
        for n in 0..100 {
            let message = socket.recv().await.unwrap().unwrap();
            assert_eq!(message, Message::from(format!("message {n}")));
        }
        let closed = socket.close(CloseCode(4000), "thanks").await.unwrap();
        assert!(closed.was_clean);
        assert_eq!(closed.code, CloseCode(4000));
    });
    assert_eq!(reactor.connections(), 0);
}

#[test]
fn an_end_without_one_is_told_once() {
    let reactor = serving(|mut socket: WebSocketStream| async move {
        socket.recv().await;
        socket.socket().abort_connection();
    });
    with_client(&reactor, |mut socket| async move {
        socket.send("go").await.unwrap();
        let closed = socket.recv().await.unwrap().unwrap_err();
        assert_eq!(closed.code, CloseCode::ABNORMAL);
        assert!(socket.recv().await.is_none());
        assert_eq!(socket.send("hello?").await, Err(SendError));
    });
}

#[test]
fn sending_waits_until_the_peer_reads() {
    let server: Rc<RefCell<Option<WebSocketStream>>> = Rc::default();
    let kept = Rc::clone(&server);
    let reactor = serving(move |socket| {
        kept.replace(Some(socket));
        async {}
    });
    let sent = Rc::new(Cell::new(0));
    let count = Rc::clone(&sent);
    let connecting = WebSocketClient::new().connect_stream(&*reactor, "ws://example.com/");
    reactor.spawn(Box::pin(async move {
        let mut socket = connecting.await.unwrap();
        for _ in 0..1000 {
            socket.send(vec![0; 10_000]).await.unwrap();
            count.set(count.get() + 1);
        }
    }));
    reactor.run();
    let waits_at = sent.get();
    // 256 KiB under way, 64 KiB on either side, and what the network was read with.
    assert!((20..60).contains(&waits_at), "{waits_at}");
    let mut server = server.take().unwrap();
    let task = reactor.spawn(Box::pin(async move {
        let mut received = 0;
        while let Some(Ok(message)) = server.recv().await {
            received += message.len();
        }
        assert_eq!(received, 10_000_000);
    }));
    reactor.run();
    assert_eq!(sent.get(), 1000);
    assert!(task.is_finished());
}

#[test]
fn halves_work_in_two_tasks_and_the_last_one_closes() {
    let reactor = serving(echo);
    with_client(&reactor, |socket| async move {
        let (mut reader, mut writer) = socket.into_split();
        let spawner = writer.socket();
        let sending = Box::pin(async move {
            for n in 0..50_u32 {
                writer.send(vec![0; n as usize * 1000]).await.unwrap();
            }
        });
        spawner.act(|transport| transport.reactor().spawn(sending));
        for n in 0..50 {
            assert_eq!(reader.recv().await.unwrap().unwrap().len(), n * 1000);
        }
        drop(reader);
        assert!(!spawner.is_connected());
    });
    assert_eq!(reactor.connections(), 0);
}

#[test]
fn halves_of_two_streams_do_not_fit() {
    let reactor = serving(echo);
    let other: Rc<RefCell<Option<WebSocketStream>>> = Rc::default();
    let kept = Rc::clone(&other);
    with_client(&reactor, move |socket| async move {
        kept.replace(Some(socket));
    });
    with_client(&reactor, move |socket| async move {
        let (reader, writer) = socket.into_split();
        let (other_reader, other_writer) = other.take().unwrap().into_split();
        let (reader, other_writer) = WebSocketStream::unsplit(reader, other_writer).unwrap_err();
        let mut whole = WebSocketStream::unsplit(reader, writer).unwrap();
        whole.send("whole").await.unwrap();
        assert_eq!(whole.recv().await.unwrap().unwrap(), Message::from("whole"));
        drop((other_reader, other_writer));
    });
}

#[test]
fn it_is_a_stream_of_futures() {
    let reactor = serving(echo);
    with_client(&reactor, |mut socket| async move {
        let message = PreparedMessage::new("for all");
        socket.send_prepared(&message).await.unwrap();
        let next = poll_fn(|cx| futures_core::Stream::poll_next(Pin::new(&mut socket), cx)).await;
        assert_eq!(next.unwrap().unwrap(), Message::from("for all"));
    });
}

#[test]
fn a_future_that_is_dropped_takes_no_message_away() {
    let reactor = serving(echo);
    with_client(&reactor, |mut socket| async move {
        {
            let mut dropped = Box::pin(socket.recv());
            let once = poll_fn(|cx| Poll::Ready(dropped.as_mut().poll(cx).is_pending())).await;
            assert!(once);
        }
        socket.send("kept").await.unwrap();
        assert_eq!(socket.recv().await.unwrap().unwrap(), Message::from("kept"));
    });
}

#[test]
fn messages_that_came_before_a_shutdown_can_be_read() {
    let log: Rc<RefCell<Vec<Message>>> = Rc::default();
    let kept = Rc::clone(&log);
    let held: Rc<RefCell<Option<WebSocketStream>>> = Rc::default();
    let hold = Rc::clone(&held);
    let reactor = serving(move |socket| {
        hold.replace(Some(socket));
        async {}
    });
    let connecting = WebSocketClient::new().connect_stream(&*reactor, "ws://example.com/");
    let client = reactor.spawn(Box::pin(async move {
        let mut socket = connecting.await.unwrap();
        socket.send("one").await.unwrap();
        socket.send("two").await.unwrap();
        assert!(socket.recv().await.is_none());
        assert_eq!(socket.closed().unwrap().code, CloseCode::GOING_AWAY);
    }));
    reactor.run();
    reactor.drain();
    reactor.run();
    let mut server = held.take().unwrap();
    reactor.spawn(Box::pin(async move {
        while let Some(Ok(message)) = server.recv().await {
            kept.borrow_mut().push(message);
        }
    }));
    reactor.run();
    assert_eq!(*log.borrow(), [Message::from("one"), Message::from("two")]);
    assert!(client.is_finished());
}
