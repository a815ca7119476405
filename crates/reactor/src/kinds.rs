//! The kinds of endpoints that `core` describes and this reactor implements.

use std::io;
use std::sync::Arc;

use ropewalk_core::endpoint::{ServerEndpoint, ServerKind};

use crate::systemd::Systemd;

pub(crate) fn server(endpoint: &ServerEndpoint) -> io::Result<Arc<dyn ServerKind>> {
    match endpoint {
        ServerEndpoint::Systemd(listen) => Ok(Arc::new(Systemd(listen.clone()))),
        _ => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this reactor has no endpoints of this kind",
        )),
    }
}
