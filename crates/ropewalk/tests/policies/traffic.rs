//! What went over them.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

use ropewalk::policies::{TrafficFormat, TrafficLoggingFactory};

use crate::protocols::{ALL, Peer};

#[derive(Clone, Default)]
struct Sink(Rc<RefCell<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(data);
        Ok(data.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The payloads of a capture of IPv4 packets.
fn payloads(file: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    let mut at = 24;
    while at < file.len() {
        let length = u32::from_le_bytes(file[at + 8..at + 12].try_into().unwrap()) as usize;
        let packet = &file[at + 16..at + 16 + length];
        assert_eq!((packet[0], packet[9]), (0x45, 6));
        all.extend_from_slice(&packet[40..]);
        at += 16 + length;
    }
    all
}

#[test]
fn the_log_has_what_was_said_both_ways_in_both_formats() {
    for spoken in ALL {
        for format in [TrafficFormat::Text, TrafficFormat::Pcap] {
            let ask = spoken.ask;
            let sink = Sink::default();
            let log = sink.clone();
            let (heard, port) = spoken.serve(
                |factory, reactor| {
                    Rc::new(TrafficLoggingFactory::new(factory, format, log, &**reactor))
                },
                move |address| {
                    let mut peer = Peer::connect(address, ask);
                    peer.ask(40_000);
                    peer.close_write();
                    let port = peer.stream.local_addr().unwrap().port();
                    (peer.rest(), port)
                },
            );
            let log = sink.0.take();
            let said = ask(40_000).0;
            assert!(heard.len() >= 40_000, "{}", spoken.name);
            if format == TrafficFormat::Pcap {
                assert_eq!(payloads(&log).len(), said.len() + heard.len());
                continue;
            }
            let log = String::from_utf8(log).unwrap();
            let line = format!(" #1 127.0.0.1:{port} ");
            for what in [
                "opened",
                "received ",
                "sent ",
                "the peer sends no more",
                "gone",
            ] {
                let found = log.contains(&format!("{line}{what}"));
                assert!(found, "{}: {what}", spoken.name);
            }
        }
    }
}
