//! Datagrams between hosts.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::{Address, DatagramError, DatagramProtocol, DatagramTransport};
use ropewalk_reactor::Handle;
use ropewalk_sim::{Link, World};

const SECOND: Duration = Duration::from_secs(1);

type Got = Rc<RefCell<Vec<String>>>;

struct Collect(Got);

impl DatagramProtocol for Collect {
    fn datagram_received(&mut self, _: &mut DatagramTransport, data: &[u8], from: &Address) {
        let text = String::from_utf8_lossy(data);
        self.0.borrow_mut().push(format!("{text} from {from}"));
    }

    fn datagram_failed(&mut self, _: &mut DatagramTransport, error: &DatagramError) {
        self.0.borrow_mut().push(error.to_string());
    }
}

fn collect(reactor: &Handle, endpoint: &str, got: &Got) {
    let collect = Collect(Rc::clone(got));
    reactor
        .listen_datagram(&endpoint.parse().unwrap(), collect)
        .unwrap();
}

/// Sends the numbers below `count` to port 9 of `to`, one every millisecond.
fn send(reactor: &Handle, to: std::net::IpAddr, count: u32, got: &Got) {
    let port = reactor
        .listen_datagram(&"udp:9000".parse().unwrap(), Collect(Rc::clone(got)))
        .unwrap();
    let to = Address::Udp((to, 9).into());
    for number in 0..count {
        let (port, to) = (port.clone(), to.clone());
        let later = Duration::from_millis(number.into());
        drop(reactor.call_later(later, move || {
            port.write_to(format!("{number:04}").as_bytes(), &to);
        }));
    }
}

#[test]
fn datagrams_are_lost_doubled_and_reordered_as_the_link_says() {
    let world = World::new(3);
    let (server, client) = (world.host("server"), world.host("client"));
    world.set_default_link(&Link {
        loss: 0.1,
        duplication: 0.1,
        delayed: 0.1,
        delay: Duration::from_millis(50),
        ..Link::default()
    });
    let got = Got::default();
    let collected = Rc::clone(&got);
    server.start(move |reactor| collect(reactor, "udp:9", &collected));
    let to = server.addresses()[0];
    client.start(move |reactor| send(reactor, to, 1000, &Got::default()));
    world.run_for(10 * SECOND);
    let got = got.borrow();
    let mut distinct: Vec<_> = got.clone();
    distinct.sort();
    assert_ne!(*got, distinct, "some overtook others");
    distinct.dedup();
    let (all, distinct) = (got.len(), distinct.len());
    assert!(distinct > 850 && distinct < 950, "{distinct}");
    assert!(
        all - distinct > 50 && all - distinct < 150,
        "{all} {distinct}"
    );
    assert!(
        got[0].contains(&format!("from {}:9000", client.addresses()[0])),
        "{}",
        got[0]
    );
}

#[test]
fn who_sends_to_nobody_is_told_and_a_crowd_that_comes_at_once_overflows() {
    let world = World::new(3);
    let (server, client) = (world.host("server"), world.host("client"));
    let told = Got::default();
    let noted = Rc::clone(&told);
    let to = server.addresses()[0];
    client.start(move |reactor| send(reactor, to, 1, &noted));
    world.run_for(SECOND);
    assert_eq!(told.borrow().len(), 1);
    assert!(told.borrow()[0].contains("refused"), "{:?}", told.borrow());
    client.stop();
    world.run_for(SECOND);

    let got = Got::default();
    let collected = Rc::clone(&got);
    server.start(move |reactor| collect(reactor, "udp:9", &collected));
    world.run_for(SECOND);
    server.pause(10 * SECOND);
    client.start(move |reactor| send(reactor, to, 1000, &Got::default()));
    world.run_for(20 * SECOND);
    let received = got.borrow().len();
    assert_eq!(
        received,
        212_992 / (4 + 512),
        "as many as there was room for"
    );
}

#[test]
fn multicast_comes_to_all_who_have_joined() {
    let world = World::new(3);
    let hosts: Vec<_> = (0..4).map(|n| world.host(&format!("host{n}"))).collect();
    let got: Vec<_> = hosts.iter().map(|_| Got::default()).collect();
    for (host, got) in hosts.iter().zip(&got).take(3) {
        let got = Rc::clone(got);
        host.start(move |reactor| collect(reactor, "udp:9:group=239.1.2.3", &got));
    }
    let group = "239.1.2.3".parse().unwrap();
    hosts[3].start(move |reactor| send(reactor, group, 1, &Got::default()));
    world.run_for(SECOND);
    let counts: Vec<_> = got.iter().map(|got| got.borrow().len()).collect();
    assert_eq!(counts, [1, 1, 1, 0]);
}

#[test]
fn multicast_comes_to_no_host_that_has_not_joined() {
    let world = World::new(3);
    let (server, client) = (world.host("server"), world.host("client"));
    let got = Got::default();
    let collected = Rc::clone(&got);
    server.start(move |reactor| collect(reactor, "udp:9", &collected));
    let group = "239.1.2.3".parse().unwrap();
    client.start(move |reactor| send(reactor, group, 1, &Got::default()));
    world.run_for(SECOND);
    assert!(got.borrow().is_empty(), "{:?}", got.borrow());
}

#[test]
fn what_comes_from_one_place_goes_to_one_of_those_who_share_a_port() {
    let world = World::new(3);
    let (server, client) = (world.host("server"), world.host("client"));
    let got = [Got::default(), Got::default()];
    let collected = got.clone();
    server.start(move |reactor| {
        for got in &collected {
            collect(reactor, "udp:9:reuse_port=yes", got);
        }
    });
    let to = server.addresses()[0];
    client.start(move |reactor| send(reactor, to, 100, &Got::default()));
    world.run_for(SECOND);
    let mut counts = got.map(|got| got.borrow().len());
    counts.sort_unstable();
    assert_eq!(counts, [0, 100]);
}
