//! Lines through a port forwarder on a host between: client, forwarder, server; plain ones, and TLS
//! from end to end.
//!
//! Holds: what holds of lines; an end that closes, or breaks, ends the other one.

use std::rc::Rc;
use std::time::Duration;

use ropewalk_wire::Forward;

use crate::lines;
use crate::program::Program;
use crate::watched::WatchedFactory;

const NAME: &str = "forward";

/// The ports, of the forwarder and of the server behind it.
const PLAIN: u16 = 7004;
const TLS: u16 = 7014;

/// A pair that moves nothing for so long is closed.
const IDLE: Duration = Duration::from_secs(120);

pub(crate) fn serve(program: &Program) {
    let certificate = program.around.certificates.server();
    let tls = format!("tls:{TLS}:certificate={certificate}");
    for endpoint in [format!("tcp:{PLAIN}"), tls] {
        let factory = lines::server(program, "server behind a forwarder");
        program.serve(&endpoint, factory);
    }
}

pub(crate) fn forward(program: &Program) {
    for port in [PLAIN, TLS] {
        let to = format!("tcp:server:{port}");
        let to = to.parse().expect("the endpoint is right");
        let forward = Forward::new(to).idle(IDLE);
        let factory = WatchedFactory::new(forward, program.checker(), "forwarder");
        program.listen(&format!("tcp:{port}"), Rc::new(factory));
    }
}

pub(crate) fn call(program: &Program) {
    let roots = program.around.certificates.roots();
    let plain = format!("tcp:gate:{PLAIN}");
    let tls = format!("tls:gate:{TLS}:name=server:roots={roots}");
    let begin = move |program: &Program| {
        let endpoint = match program.below(4) {
            0 => &tls,
            _ => &plain,
        };
        program.connect(NAME, endpoint, lines::client(program, NAME, 12_000));
    };
    program.every(Duration::from_secs(25), begin, || ());
}
