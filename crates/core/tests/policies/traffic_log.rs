//! A traffic log as text, its bounds and its errors.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

use ropewalk_core::policies::{TrafficFormat, TrafficLoggingFactory};
use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Connection, Factory};

use crate::rig::{SECOND, client, echo, serve};

/// A sink that can be looked into, and fails when it has so many bytes.
#[derive(Clone)]
pub(crate) struct Shared {
    bytes: Rc<RefCell<Vec<u8>>>,
    room: usize,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self::with_room(usize::MAX)
    }

    fn with_room(room: usize) -> Self {
        let bytes = Rc::default();
        Self { bytes, room }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.bytes.borrow().clone()
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut bytes = self.bytes.borrow_mut();
        if bytes.len() + data.len() > self.room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        bytes.extend_from_slice(data);
        Ok(data.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An echo, logged as text.
fn text<S: Write + 'static>(
    reactor: &MemoryReactor,
    sink: S,
) -> TrafficLoggingFactory<impl Factory + use<S>> {
    TrafficLoggingFactory::new(echo, TrafficFormat::Text, sink, &**reactor)
}

#[test]
fn the_text_shows_who_when_which_way_and_what() {
    let (reactor, sink) = (MemoryReactor::new(), Shared::new());
    serve(&reactor, text(&reactor, sink.clone()));
    let (connection, _) = client(&reactor);
    connection.write(b"hello, rope and strand\n\x00\xff");
    reactor.advance(SECOND / 2);
    connection.write(b"bye");
    connection.act(|transport| transport.lose_write_connection());
    reactor.run();
    assert_eq!(
        sink.text(),
        "\
1767225600.000000 #1 192.0.2.2:1024 opened
1767225600.000000 #1 192.0.2.2:1024 received 25 bytes
  00000000  68 65 6c 6c 6f 2c 20 72 6f 70 65 20 61 6e 64 20  |hello, rope and |
  00000010  73 74 72 61 6e 64 0a 00 ff                       |strand...|
1767225600.000000 #1 192.0.2.2:1024 sent 25 bytes
  00000000  68 65 6c 6c 6f 2c 20 72 6f 70 65 20 61 6e 64 20  |hello, rope and |
  00000010  73 74 72 61 6e 64 0a 00 ff                       |strand...|
1767225600.500000 #1 192.0.2.2:1024 received 3 bytes
  00000019  62 79 65                                         |bye|
1767225600.500000 #1 192.0.2.2:1024 sent 3 bytes
  00000019  62 79 65                                         |bye|
1767225600.500000 #1 192.0.2.2:1024 the peer sends no more
1767225600.500000 #1 192.0.2.2:1024 sent its last
1767225600.500000 #1 192.0.2.2:1024 gone
"
    );
}

fn says(reactor: &MemoryReactor, connection: &Connection, what: &[u8]) {
    connection.write(what);
    reactor.run();
}

#[test]
fn a_log_ends_before_it_is_over_its_limit_and_the_connections_go_on() {
    let (reactor, sink) = (MemoryReactor::new(), Shared::new());
    serve(&reactor, text(&reactor, sink.clone()).limit(600));
    let (connection, seen) = client(&reactor);
    for _ in 0..20 {
        says(&reactor, &connection, b"again");
    }
    assert_eq!(seen.count.get(), 100);
    let text = sink.text();
    assert!((400..=600).contains(&text.len()), "{}", text.len());
    assert!(text.ends_with("|again|\n"), "whole records only");
}

#[test]
fn a_sink_that_fails_ends_the_log_and_not_the_connections() {
    let (reactor, sink) = (MemoryReactor::new(), Shared::with_room(300));
    serve(&reactor, text(&reactor, sink.clone()));
    let (connection, seen) = client(&reactor);
    for _ in 0..20 {
        says(&reactor, &connection, b"again");
    }
    let (other, heard) = client(&reactor);
    says(&reactor, &other, b"hello");
    assert_eq!((seen.count.get(), heard.count.get()), (100, 5));
    let before = sink.bytes().len();
    assert!(before <= 300);
}

/// A sink that writes into a connection which is logged into it.
struct Circle(Rc<RefCell<Connection>>, Shared);

impl Write for Circle {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.borrow().write(b"!");
        self.1.write(data)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_sink_may_act_on_a_connection_that_is_logged() {
    let (reactor, sink) = (MemoryReactor::new(), Shared::new());
    let circle = Rc::new(RefCell::new(Connection::default()));
    let factory = text(&reactor, Circle(Rc::clone(&circle), sink.clone())).limit(2000);
    serve(&reactor, factory);
    let (connection, seen) = client(&reactor);
    *circle.borrow_mut() = connection.clone();
    says(&reactor, &connection, b"go");
    assert!(seen.count.get() > 10);
    assert!(sink.bytes().len() <= 2000);
}
