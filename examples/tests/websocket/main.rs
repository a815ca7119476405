//! The WebSocket echo, and our WebSocket client, against other people's software: Autobahn|Testsuite, and
//! the `websockets` of Python and `ws` of Node; on plain TCP and over TLS.
//!
//! They are looked for in `target`, where `.ci/run` puts them. Without one, its tests say so in
//! one line; with `CI=true` they fail.

mod authority;
mod autobahn;
mod client;
mod foreign;
#[path = "../running.rs"]
mod running;

use std::path::{Path, PathBuf};

use running::Running;

use authority::Authority;

const PLAIN: &str = "tcp:0:interface=127.0.0.1";

fn echo() -> Running {
    Running::start_with("websocket_echo", &["--listen", PLAIN])
}

fn secured_echo(authority: &Authority) -> Running {
    let (chain, key) = (authority.chain(), authority.key());
    let endpoint = format!(
        "tls:0:interface=127.0.0.1:certificate={}:key={}",
        chain.display(),
        key.display()
    );
    Running::start_with("websocket_echo", &["--listen", &endpoint])
}

/// A file below `target`, if it is there.
fn installed(path: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let file = root.join(path);
    if file.exists() {
        return Some(file);
    }
    let message =
        format!("target/{path} is missing: what it would test is not tested (.ci/run gets it)");
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "{message}"
    );
    eprintln!("{message}");
    None
}
