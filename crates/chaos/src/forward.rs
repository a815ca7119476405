//! Lines through a port forwarder on a host between: client, forwarder, server.
//!
//! Holds: what holds of lines; an end that closes, or breaks, ends the other one.

use std::rc::Rc;
use std::time::Duration;

use ropewalk_wire::Forward;

use crate::lines;
use crate::program::Program;
use crate::watched::WatchedFactory;

const NAME: &str = "forward";

/// A pair that moves nothing for so long is closed.
const IDLE: Duration = Duration::from_secs(120);

pub(crate) fn serve(program: &Program) {
    program.serve(
        "tcp:7004",
        lines::server(program, "server behind a forwarder"),
    );
}

pub(crate) fn forward(program: &Program) {
    let to = "tcp:server:7004".parse().expect("the endpoint is right");
    let forward = Forward::new(to).idle(IDLE);
    let factory = WatchedFactory::new(forward, program.checker(), "forwarder");
    program.listen("tcp:7004", Rc::new(factory));
}

pub(crate) fn call(program: &Program) {
    program.every(
        Duration::from_secs(30),
        |program| program.connect(NAME, "tcp:gate:7004", lines::client(program, NAME, 12_000)),
        || (),
    );
}
