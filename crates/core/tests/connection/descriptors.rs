//! Descriptors that go over a connection in memory, at every split of its bytes.

use std::cell::RefCell;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Address, Protocol, Transport};

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
