//! Running out of descriptors, in a process of its own.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;

use ropewalk_reactor::{Reactor, raise_descriptor_limit};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::signals::{Program, is_program};
use crate::support::{Counting, On, factory, serve};

fn set_soft_limit(soft: u64) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = Some(soft);
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
}

fn program_with_few_descriptors() {
    let driver = Counting::new();
    let reactor = Reactor::with_driver(Rc::clone(&driver) as _);
    let open = Rc::new(Cell::new(0));
    let address = serve(
        &reactor,
        factory(move || {
            open.set(open.get() + 1);
            On::echo()
        }),
    );
    println!("\nlistening on {address}");
    set_soft_limit(40);
    let handle = reactor.handle();
    // Says how often the loop has turned, about every 300 ms.
    fn report(handle: &ropewalk_reactor::Handle, driver: &Rc<Counting>, before: usize) {
        let polls = driver.polls.get();
        println!("\npolls {}", polls - before);
        let (again, driver) = (handle.clone(), Rc::clone(driver));
        handle.call_later(std::time::Duration::from_millis(300), move || {
            report(&again, &driver, polls);
        });
    }
    report(&handle, &driver, 0);
    reactor.run_until_signalled().unwrap();
}

#[test]
fn without_descriptors_those_who_wait_are_turned_away_and_the_rest_goes_on() {
    if is_program() {
        return program_with_few_descriptors();
    }
    let mut program = Program::start(
        "descriptors::without_descriptors_those_who_wait_are_turned_away_and_the_rest_goes_on",
    );
    let address: std::net::SocketAddr = program.hear("listening on").parse().unwrap();
    let connect = || {
        let mut peer = TcpStream::connect(address).unwrap();
        // Whether it is served, or turned away.
        let served = peer.write_all(b"x").is_ok() && peer.read_exact(&mut [0]).is_ok();
        (peer, served)
    };
    let mut served = Vec::new();
    let mut turned_away = 0;
    while turned_away < 5 {
        match connect() {
            (peer, true) => served.push(peer),
            (_, false) => turned_away += 1,
        }
        assert!(served.len() < 100, "there was no limit");
    }
    assert!(!served.is_empty());
    // Nothing spins while there are none left, and someone wants in.
    let waiting = std::thread::spawn(move || {
        let mut peer = TcpStream::connect(address).unwrap();
        let _ = peer.read(&mut [0]);
    });
    program.hear("polls");
    let polls: usize = program.hear("polls").parse().unwrap();
    assert!(polls < 300, "{polls} turns in 300 ms");
    waiting.join().unwrap();
    for peer in &mut served {
        peer.write_all(b"y").unwrap();
        peer.read_exact(&mut [0]).unwrap();
    }
    // When some have gone there is room again. The reactor learns that they have in its own time.
    drop(served);
    while !connect().1 {}
    program.terminate();
    assert!(program.end().success());
}

#[test]
fn the_soft_limit_is_raised_to_the_hard_one() {
    // Another test of this process may be at it too: only ever up.
    let hard = getrlimit(Resource::Nofile).maximum;
    assert_eq!(raise_descriptor_limit().unwrap(), hard.unwrap_or(u64::MAX));
    assert_eq!(getrlimit(Resource::Nofile).current, hard);
}
