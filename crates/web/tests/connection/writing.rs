//! Bodies that a program writes while the peer reads.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, Response};
use ropewalk_core::Factory;
use ropewalk_web::{Body, BodyDropped, BodyError, BodyWriter};

use super::rig::*;

/// A site that gives its writer away.
fn written() -> (Rc<dyn Factory>, Rc<RefCell<Option<BodyWriter>>>) {
    let writer: Rc<RefCell<Option<BodyWriter>>> = Rc::default();
    let made = Rc::clone(&writer);
    let site = site_async(move |_| {
        let made = Rc::clone(&made);
        async move {
            let (writer, body) = Body::channel();
            *made.borrow_mut() = Some(writer);
            Ok(Response::new(body))
        }
    });
    (site, writer)
}

#[test]
fn pieces_go_out_as_they_are_written() {
    let (site, writer) = written();
    let client = Client::new(site);
    client.send(get("/"));
    let mut writer = writer.take().unwrap();
    assert!(client.received().ends_with("chunked\r\n\r\n"));
    for piece in ["one", "two"] {
        writer
            .try_send(Bytes::from_static(piece.as_bytes()))
            .unwrap();
        client.reactor.run();
        assert_eq!(client.received(), format!("3\r\n{piece}\r\n"));
    }
    // Nothing is no piece: it would end the body.
    writer.try_send(Bytes::new()).unwrap();
    client.reactor.run();
    assert_eq!(client.received(), "");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "6".parse().unwrap());
    writer.finish(trailers);
    client.reactor.run();
    assert_eq!(client.received(), "0\r\nx-sum: 6\r\n\r\n");
}

#[test]
fn a_writer_that_is_dropped_has_ended_its_body() {
    let (site, writer) = written();
    let client = Client::new(site);
    client.send(get("/"));
    drop(writer.take());
    client.reactor.run();
    assert!(client.received().ends_with("\r\n\r\n0\r\n\r\n"));
    client.send(get("/"));
    assert_eq!(statuses(&client.received()), ["200"]);
}

#[test]
fn a_writer_that_gives_up_breaks_the_answer_off() {
    let (site, writer) = written();
    let client = Client::new(site);
    client.send(get("/"));
    writer.take().unwrap().abort();
    client.reactor.run();
    assert!(client.lost().is_some());
    assert!(!client.received().ends_with("0\r\n\r\n"));
}

#[test]
fn a_writer_waits_for_a_slow_peer_and_learns_that_it_is_gone() {
    let (site, made) = written();
    let client = Client::new(site);
    client.connection.pause_producing();
    client.send(get("/"));
    let mut writer = made.take().unwrap();
    let sent = Rc::new(Cell::new(0));
    let end = Rc::new(Cell::new(None));
    let (count, told) = (Rc::clone(&sent), Rc::clone(&end));
    client.reactor.spawn(Box::pin(async move {
        loop {
            if let Err(error) = writer.send(vec![b'x'; 10_000]).await {
                return told.set(Some(error));
            }
            count.set(count.get() + 10_000);
        }
    }));
    client.reactor.run();
    // The buffer of the body, of the connection, and of the network in between.
    assert!(
        (64 * 1024..2_000_000).contains(&sent.get()),
        "{}",
        sent.get()
    );
    client.connection.abort_connection();
    client.reactor.run();
    assert_eq!(end.take(), Some(BodyDropped));
}

#[test]
fn whoever_reads_a_body_that_was_given_up_learns_of_it() {
    let (writer, body) = Body::channel();
    writer.abort();
    let client = Client::new(mirror());
    let told = Rc::new(Cell::new(None));
    let tell = Rc::clone(&told);
    client.reactor.spawn(Box::pin(async move {
        let error = body.collect().await.unwrap_err();
        tell.set(error.downcast_ref().copied());
    }));
    client.reactor.run();
    assert_eq!(told.take(), Some(BodyError::Abandoned));
}

#[test]
fn a_body_that_is_made_of_one_is_that_one() {
    assert_eq!(Body::new(Body::from("hello")).len(), Some(5));
    assert_eq!(Body::new(Body::channel().1).len(), None);
}
