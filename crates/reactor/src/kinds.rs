//! The kinds of endpoints that `core` describes and this reactor implements.

use std::io;
use std::sync::Arc;

use ropewalk_core::endpoint::{ClientEndpoint, ClientKind, ServerEndpoint, ServerKind};

use crate::systemd::Systemd;

pub(crate) fn server(endpoint: &ServerEndpoint) -> io::Result<Arc<dyn ServerKind>> {
    match endpoint {
        ServerEndpoint::Systemd(listen) => Ok(Arc::new(Systemd(listen.clone()))),
        #[cfg(feature = "tls")]
        ServerEndpoint::Tls(listen) => {
            Ok(Arc::new(ropewalk_tls::TlsServerKind::new(listen.clone())))
        }
        #[cfg(not(feature = "tls"))]
        ServerEndpoint::Tls(_) => Err(without_tls()),
        _ => Err(unknown()),
    }
}

pub(crate) fn client(endpoint: &ClientEndpoint) -> io::Result<Arc<dyn ClientKind>> {
    match endpoint {
        #[cfg(feature = "tls")]
        ClientEndpoint::Tls(connect) => {
            Ok(Arc::new(ropewalk_tls::TlsClientKind::new(connect.clone())))
        }
        #[cfg(not(feature = "tls"))]
        ClientEndpoint::Tls(_) => Err(without_tls()),
        _ => Err(unknown()),
    }
}

fn unknown() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "this reactor has no endpoints of this kind",
    )
}

#[cfg(not(feature = "tls"))]
fn without_tls() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "this program was built without TLS; build it with the feature `tls`",
    )
}
