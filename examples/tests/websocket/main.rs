//! The WebSocket echo, and our WebSocket client, against other people's software: Autobahn|Testsuite, and
//! the `websockets` of Python and `ws` of Node.
//!
//! They are looked for in `target`, where `.ci/run` puts them. Without one, its tests say so in
//! one line; with `CI=true` they fail.

mod autobahn;
mod foreign;
#[path = "../running.rs"]
mod running;

use std::path::{Path, PathBuf};

use running::Running;

const PLAIN: &str = "tcp:0:interface=127.0.0.1";

fn echo() -> Running {
    Running::start_with("websocket_echo", &["--listen", PLAIN])
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
