//! A service that is found by its name, at several addresses: two of hosts that serve, one that
//! nobody has.
//!
//! Holds: what holds of lines; one connection at most comes of an attempt, whichever address it is
//! to; when one address serves, the service is there.

use std::time::Duration;

use crate::lines;
use crate::program::Program;

const NAME: &str = "names";

/// The name that the service has.
pub(crate) const SERVICE: &str = "service.example.com";

pub(crate) fn serve(program: &Program) {
    program.serve("tcp:7005", lines::server(program, "server of a name"));
}

pub(crate) fn call(program: &Program) {
    let endpoint = format!("tcp:{SERVICE}:7005");
    program.every(
        Duration::from_secs(40),
        move |program| program.connect(NAME, &endpoint, lines::client(program, NAME, 3000)),
        || (),
    );
}
