//! What is open before and after.

use ropewalk_core::{ChildDescriptor, Spawn, WindowSize, process_output};
use ropewalk_reactor::Reactor;

use crate::rig::{Said, alone, children, finish, nothing_to_say, open_descriptors, opened_since};

#[test]
fn nothing_is_left_open_of_processes_that_have_ended() {
    let _alone = alone();
    let reactor = Reactor::new().unwrap();
    let spawns = [
        Spawn::new("true"),
        Spawn::new("cat"),
        Spawn::shell("exit 3").descriptor(7, ChildDescriptor::PipeOut),
        Spawn::new("true").terminal(WindowSize::default()),
        Spawn::shell("kill -9 $$").descriptor(4, ChildDescriptor::PipeIn),
    ];
    let run_all = || {
        for spawn in &spawns {
            finish(&reactor, |reactor| process_output(reactor, spawn)).unwrap();
        }
    };
    run_all();
    let before = open_descriptors();
    run_all();
    assert_eq!(opened_since(&before), Vec::<String>::new());
    assert_eq!(children(), Vec::<String>::new());
}

#[test]
fn nothing_is_left_open_of_a_reactor_that_ends_before_its_processes() {
    let _alone = alone();
    let before = open_descriptors();
    {
        let reactor = Reactor::new().unwrap();
        for _ in 0..3 {
            let said = Said::default();
            let protocol = said.protocol(nothing_to_say, || ());
            let spawn = Spawn::new("sleep").arg("1000");
            reactor.spawn_process(&spawn, protocol).unwrap();
        }
    }
    // A thread has what is left of them until they are reaped.
    while !opened_since(&before).is_empty() {
        std::thread::yield_now();
    }
}
