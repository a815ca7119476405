//! HTTP/2: a site, and clients that ask many things at a time on one connection. Bodies go both ways,
//! larger than the windows of their streams; requests are taken back; and streams are handed to
//! WebSockets, by extended CONNECT.
//!
//! Holds: each request is answered once and whole, whatever happens to those beside it, or fails;
//! what a body is made of is not changed; what a server has begun to answer when it is stopped is
//! answered; and what was on a connection that is lost ends at both ends.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::Request as HttpRequest;
use ropewalk_core::{CarriedConnection, ConnectionLimits, Failure, ReactorCore, defer_later};
use ropewalk_web::h2::{ClientConnection, ConnectProtocol, H2Stream, Limits};
use ropewalk_web::websocket::Session;
use ropewalk_web::{Body, Site};

use crate::checker::Request;
use crate::content::{content, difference};
use crate::http::Pages;
use crate::program::Program;
use crate::questions::{PATIENCE, Questions};
use crate::watched::{CountedFactory, Order};
use crate::websocket::{self, Asker};

const NAME: &str = "http2";

/// The longest bodies: some windows of a stream.
const LONGEST: u64 = 300_000;

/// The longest answers in a WebSocket.
const LONGEST_MESSAGE: u64 = 100_000;

pub(crate) fn serve(program: &Program) {
    let Some(pages) = Pages::new(program) else {
        return;
    };
    let site = Site::new(pages);
    let site = CountedFactory::new(site, program.checker(), "http2 server");
    program.listen("tcp:8081", Rc::new(site));
}

pub(crate) fn call(program: &Program) {
    let begin = |program: &Program| {
        let live = program.checker().live("http2 client");
        let (program, reactor) = (program.clone(), program.reactor.clone());
        drop(reactor.spawn(async move {
            let request = program.checker().ask(NAME);
            let endpoint = "tcp:server:8081".parse().expect("the endpoint is right");
            match ClientConnection::connect(&program.reactor, &endpoint, Limits::default()).await {
                Ok(connection) => {
                    request.answered();
                    browse(&program, &connection).await;
                }
                Err(failure) => request.failed(&failure),
            }
            drop(live);
        }));
    };
    program.every(Duration::from_secs(20), begin, || ());
}

/// Asks a few times, several things at once. (What fails is noted by its request.)
async fn browse(program: &Program, connection: &ClientConnection) {
    for _ in 0..=program.below(3) {
        let mut asked: Vec<_> = (0..=program.below(6))
            .map(|_| Box::pin(within(program, PATIENCE, ask(program, connection))))
            .collect();
        poll_fn(|cx| {
            asked.retain_mut(|asked| asked.as_mut().poll(cx).is_pending());
            match asked.is_empty() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
        if !connection.is_open() {
            return;
        }
    }
}

/// Waits for `asked`, and gives it up after a time.
async fn within(program: &Program, time: Duration, asked: impl Future<Output = ()>) {
    let mut asked = pin!(asked);
    // Made when it is awaited: dropping one that nobody awaits would leave its timer behind.
    let mut late = None;
    let begin = || Box::pin(defer_later::<(), ()>(&program.reactor, time, || ()));
    poll_fn(|cx| match asked.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => {
            let late = late.get_or_insert_with(begin);
            late.as_mut().poll(cx).map(|_| ())
        }
    })
    .await;
}

async fn ask(program: &Program, connection: &ClientConnection) {
    let request = program.checker().ask(NAME);
    match program.below(9) {
        0 => open_websocket(program, connection, request).await,
        1 => take_back(program, connection, request.may_fail()).await,
        _ => get(program, connection, request).await,
    }
}

/// One request, whose answer must be right.
async fn get(program: &Program, connection: &ClientConnection, request: Request) {
    let (id, len) = (request.number, program.length(LONGEST));
    let (kind, sent, content_of) = match program.below(6) {
        0 => ("chunked", Body::empty(), id),
        1 => ("region", Body::empty(), 2),
        2 => ("late", Body::empty(), id),
        3 => ("echo", Body::from(content(id, 0, len)), id),
        4 => ("echo", upload(program, id, len), id),
        _ => ("whole", Body::empty(), id),
    };
    // A region is as long as its file at most.
    let len = match kind {
        "region" => len.min(60_000),
        _ => len,
    };
    let uri = format!("http://server/{kind}/{id}/{len}");
    let answered = async {
        let asked = HttpRequest::post(uri).body(sent).map_err(Failure::new)?;
        let response = connection.send(asked).await.map_err(Failure::new)?;
        let (head, body) = response.into_parts();
        let number = head.headers.get("x-number").cloned();
        Ok((
            head.status,
            number,
            body.collect().await.map_err(Failure::new)?,
        ))
    };
    let (status, number, body) = match answered.await {
        Ok(answer) => answer,
        Err(failure) => {
            return request.failed(&failure);
        }
    };
    let wrong = |what: String| {
        let text = format!("{NAME}: request {id} ({kind}, {len} bytes) got {what}");
        program.checker().violation(text);
    };
    if status == 408 {
        // What was sent came too slowly.
        return;
    }
    if status != 200 || number != Some(id.into()) {
        wrong(format!("status {status} for number {number:?}"));
    } else if let Some(at) = difference(content_of, 0, &body) {
        wrong(format!("a wrong byte at {at}"));
    } else if body.len() != len {
        wrong(format!("{} bytes", body.len()));
    }
    request.answered();
}

/// A body that comes in pieces, with pauses between them.
fn upload(program: &Program, id: u64, len: usize) -> Body {
    let (mut writer, body) = Body::channel();
    let (reactor, pause) = (
        program.reactor.clone(),
        program.pause(Duration::from_millis(100)),
    );
    drop(program.reactor.spawn(async move {
        let whole = Bytes::from(content(id, 0, len));
        for place in (0..len).step_by(20_000) {
            let piece = whole.slice(place..len.min(place + 20_000));
            if writer.send(piece).await.is_err() {
                return;
            }
            let _ = defer_later::<(), ()>(&reactor, pause, || ()).await;
        }
        writer.finish(http::HeaderMap::new());
    }));
    body
}

/// A request that is given up after a moment, wherever it is by then.
async fn take_back(program: &Program, connection: &ClientConnection, request: Request) {
    let moment = program.pause(Duration::from_millis(200));
    within(program, moment, get(program, connection, request)).await;
}

/// A WebSocket within a stream, on which questions are asked.
async fn open_websocket(program: &Program, connection: &ClientConnection, request: Request) {
    let mut asked = HttpRequest::new(());
    *asked.uri_mut() = "http://server/websocket".parse().expect("it is one");
    asked
        .headers_mut()
        .insert("sec-websocket-version", 13.into());
    let protocol = ConnectProtocol::from_static("websocket");
    asked.extensions_mut().insert(protocol);
    match connection.tunnel(asked).await {
        Ok(response) => {
            request.answered();
            talk(program, connection, response.into_body());
        }
        Err(error) => request.failed(&Failure::new(error)),
    }
}

fn talk(program: &Program, connection: &ClientConnection, stream: H2Stream) {
    let addresses = connection
        .connection()
        .act(|transport| (transport.peer(), transport.host().clone()));
    let Some(addresses) = addresses else {
        return;
    };
    let asker = Asker {
        questions: Questions::new(program, NAME, LONGEST_MESSAGE),
        order: Order::new(program.checker(), "client of websockets in http2"),
    };
    let session = Session::client(&websocket::client_options(program), asker);
    let reactor: Rc<dyn ReactorCore> = Rc::new(program.reactor.clone());
    let limits = ConnectionLimits::default();
    drop(CarriedConnection::start(
        &reactor,
        stream,
        Box::new(session),
        limits,
        addresses,
    ));
}
