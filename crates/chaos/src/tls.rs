//! Lines over TLS, by the endpoints `tls:`.
//!
//! Holds: what holds of lines, over full handshakes and resumed ones.

use std::time::Duration;

use crate::lines;
use crate::program::Program;

const NAME: &str = "tls";

pub(crate) fn serve(program: &Program) {
    let certificate = program.around.certificates.server();
    let endpoint = format!("tls:7003:certificate={certificate}");
    program.serve(&endpoint, lines::server(program, "tls server"));
}

pub(crate) fn call(program: &Program) {
    let roots = program.around.certificates.roots();
    let endpoint = format!("tls:server:7003:roots={roots}");
    program.every(
        Duration::from_secs(60),
        move |program| program.connect(NAME, &endpoint, lines::client(program, NAME, 15_000)),
        || (),
    );
}
