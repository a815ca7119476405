//! Descriptors that go over a connection in memory, at every split of its bytes.

use std::cell::RefCell;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Address, Protocol, Transport};

use crate::layer_kit::Invert;

struct Sends;

impl Protocol for Sends {
    fn connection_made(&mut self, transport: &mut Transport) {
        for number in [b'1', b'2'] {
            transport.write(b"before");
            let file = tempfile::tempfile().unwrap();
            file.write_at(&[number], 0).unwrap();
            transport.send_descriptor(file).unwrap();
            transport.write(b"after");
        }
        transport.lose_connection();
    }

    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
}

struct Takes {
    came: Rc<RefCell<String>>,
    wants: bool,
}

impl Protocol for Takes {
    fn connection_made(&mut self, transport: &mut Transport) {
        transport.receive_descriptors(self.wants);
    }

    fn descriptor_received(&mut self, _: &mut Transport, descriptor: OwnedFd) {
        let mut number = [0];
        File::from(descriptor).read_at(&mut number, 0).unwrap();
        self.came.borrow_mut().push(number[0].into());
    }

    fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
        self.came
            .borrow_mut()
            .push_str(std::str::from_utf8(data).unwrap());
    }
}

fn exchange(split: usize, wants: bool) -> String {
    let reactor = MemoryReactor::new();
    reactor.set_split(split);
    let came = Rc::new(RefCell::new(String::new()));
    let kept = Rc::clone(&came);
    let takes = move |_: &Address| Takes {
        came: Rc::clone(&kept),
        wants,
    };
    reactor
        .listen(&"unix:/run/app".parse().unwrap(), Rc::new(takes))
        .unwrap();
    let made = reactor.connect(
        &"unix:/run/app".parse().unwrap(),
        Rc::new(|_: &Address| Sends),
    );
    reactor.run();
    assert!(made.is_fired());
    came.take()
}

#[test]
fn each_keeps_its_place_among_the_bytes() {
    for split in 1..=30 {
        assert_eq!(exchange(split, true), "before1afterbefore2after", "{split}");
    }
}

#[test]
fn who_wants_none_gets_the_bytes_alone() {
    for split in 1..=30 {
        assert_eq!(exchange(split, false), "beforeafterbeforeafter");
    }
}

/// Sends two descriptors with one byte.
struct SendsPair;

impl Protocol for SendsPair {
    fn connection_made(&mut self, transport: &mut Transport) {
        for number in [b'1', b'2'] {
            let file = tempfile::tempfile().unwrap();
            file.write_at(&[number], 0).unwrap();
            transport.send_descriptor(file).unwrap();
        }
        transport.write(b"!");
    }

    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
}

/// Does something at the first descriptor.
struct AtFirst<F>(F);

impl<F: FnMut(&mut Transport) + 'static> Protocol for AtFirst<F> {
    fn connection_made(&mut self, transport: &mut Transport) {
        transport.receive_descriptors(true);
    }

    fn descriptor_received(&mut self, transport: &mut Transport, _: OwnedFd) {
        (self.0)(transport);
    }

    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
}

#[test]
fn what_came_with_others_goes_along_when_the_connection_is_handed_on() {
    let came = Rc::new(RefCell::new(String::new()));
    let kept = Rc::clone(&came);
    let takes = Rc::new(move |_: &Address| Takes {
        came: Rc::clone(&kept),
        wants: true,
    });
    let reactor = MemoryReactor::new();
    let hands_on = move |_: &Address| {
        let takes = Rc::clone(&takes);
        AtFirst(move |transport: &mut Transport| {
            let (peer, host) = (transport.peer(), transport.host().clone());
            transport.hand_to(takes.clone(), peer, host, b"unread ");
        })
    };
    reactor
        .listen(&"unix:/run/app".parse().unwrap(), Rc::new(hands_on))
        .unwrap();
    let sends = Rc::new(|_: &Address| SendsPair);
    drop(reactor.connect(&"unix:/run/app".parse().unwrap(), sends));
    reactor.run();
    assert_eq!(*came.borrow(), "2unread !");
}

#[test]
fn a_descriptor_that_came_before_a_layer_and_was_not_told_ends_the_connection_as_one_behind_it() {
    let reactor = MemoryReactor::new();
    let secures =
        |_: &Address| AtFirst(|transport: &mut Transport| transport.push_layer(Box::new(Invert)));
    reactor
        .listen(&"unix:/run/app".parse().unwrap(), Rc::new(secures))
        .unwrap();
    let sends = Rc::new(|_: &Address| SendsPair);
    drop(reactor.connect(&"unix:/run/app".parse().unwrap(), sends));
    reactor.run();
    assert_eq!(reactor.connections(), 0);
}
