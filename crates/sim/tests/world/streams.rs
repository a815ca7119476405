//! Connections between hosts.

use std::rc::Rc;
use std::time::Duration;

use ropewalk_sim::{Link, World};

use crate::rig::{Log, ask, echo_at, pattern};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_megabyte_goes_there_and_back_over_a_bad_link_and_nothing_is_changed() {
    for seed in 0..10 {
        let world = World::new(seed);
        let (server, client) = (world.host("server"), world.host("client"));
        world.set_default_link(&Link {
            loss: 0.01,
            delayed: 0.1,
            ..Link::default()
        });
        server.start(|reactor| echo_at(reactor, "tcp:7"));
        let log = Log::default();
        let noted = Rc::clone(&log);
        client.start(move |reactor| ask(reactor, "tcp:server:7", pattern(1 << 20), &noted));
        world.run_for(HOUR);
        let log = log.borrow();
        assert_eq!(log.len(), 3, "{seed}: {log:?}\n{}", world.trace());
        assert_eq!(log[..2], ["made", "answered"]);
        assert!(log[2].contains("closed"), "{}", log[2]);
        assert_eq!(server.descriptors(), 1, "the listener");
        assert_eq!(client.descriptors(), 0);
    }
}
