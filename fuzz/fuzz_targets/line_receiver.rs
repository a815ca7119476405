//! A whole connection of lines whose callbacks change modes, pause, close, and put another
//! protocol in place: what is told is the same however the bytes are cut, and nothing panics.

#![no_main]

use std::cell::RefCell;
use std::rc::Rc;

use libfuzzer_sys::fuzz_target;
use ropewalk_core::framing::{LineCodec, LineProtocol, LineReceiver, LineTransport};
use ropewalk_core::testing::{MemoryReactor, Pair};
use ropewalk_core::{Failure, Panicked, Protocol, Transport};

fuzz_target!(|input: &[u8]| {
    let whole = told(input, usize::MAX);
    assert_eq!(told(input, 1), whole);
    let middle = input.first().map_or(1, |byte| usize::from(*byte)).max(1);
    assert_eq!(told(input, middle), whole);
});

/// What was told: lines each with a mark, raw bytes as they come.
type Log = Rc<RefCell<Vec<u8>>>;

fn told(input: &[u8], split: usize) -> Vec<u8> {
    let reactor = MemoryReactor::new();
    reactor.set_split(split);
    let log = Log::default();
    let codec = LineCodec::default().with_max_length(12);
    let server = LineReceiver::with_codec(codec, Lines(Rc::clone(&log)));
    let pair = Pair::on(reactor, Box::new(Raw(Log::default())), Box::new(server));
    pair.client().write(input);
    pair.run();
    // Each pause is one line.
    for _ in 0..input.len() {
        if !pair.server().resume_producing() {
            break;
        }
        pair.run();
    }
    log.take()
}

struct Lines(Log);

impl Lines {
    fn note(&self, kind: u8, bytes: &[u8]) {
        let mut log = self.0.borrow_mut();
        log.push(kind);
        log.extend_from_slice(bytes);
        log.push(kind);
    }
}

impl LineProtocol for Lines {
    fn line_received(&mut self, transport: &mut LineTransport<'_>, line: &[u8]) {
        self.note(b'L', line);
        match line.first() {
            Some(b'r') => transport.set_raw_mode(),
            Some(b'p') => transport.pause_producing(),
            Some(b'q') => transport.lose_connection(),
            Some(b'x') => transport.exchange_protocol(Box::new(Raw(Rc::clone(&self.0))), b""),
            _ => transport.send_line(line),
        }
    }

    fn raw_data_received(&mut self, transport: &mut LineTransport<'_>, data: &[u8]) {
        let end = data.iter().position(|byte| *byte == b'.');
        self.0
            .borrow_mut()
            .extend_from_slice(&data[..end.unwrap_or(data.len())]);
        match end {
            Some(end) if data.get(end + 1) == Some(&b'c') => {
                // The same bytes, but not those that were given.
                let extra = data[end + 1..].to_vec();
                transport.set_line_mode(&extra);
            }
            Some(end) => transport.set_line_mode(&data[end + 1..]),
            None => {}
        }
    }

    fn line_length_exceeded(&mut self, transport: &mut LineTransport<'_>, start: &[u8]) {
        self.note(b'T', start);
        if start[0] == b'r' {
            transport.set_raw_mode();
        }
    }

    fn line_unfinished(&mut self, rest: &[u8]) {
        self.note(b'U', rest);
    }

    fn connection_lost(&mut self, reason: Failure) {
        assert!(reason.check::<Panicked>().is_none(), "{reason}");
    }
}

struct Raw(Log);

impl Protocol for Raw {
    fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
        self.0.borrow_mut().extend_from_slice(data);
    }
}
