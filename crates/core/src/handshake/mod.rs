//! What is said at the beginning of a connection when somebody stands in the middle of it: the PROXY
//! header of a load balancer in front of a server, and what a client says to a SOCKS5 or HTTP proxy
//! to be let through.
//!
//! The formats are here with no I/O, and what does them on a connection. Endpoints have them as
//! `proxy:…`, `socks5:…` and `connect:…`: see [`endpoint`](crate::endpoint).

mod credentials;
mod http_connect;
mod proxy_header;
mod proxy_receiver;
mod proxy_v2;
mod socks5;

pub use credentials::Credentials;
pub use http_connect::{HttpConnect, HttpConnectError, HttpConnectLayer};
pub use proxy_header::{MAX_PROXY_V1, MAX_PROXY_V2, ProxyHeader, ProxyHeaderError};
pub use proxy_receiver::ProxyFactory;
pub use socks5::{Socks5, Socks5Error, Socks5Layer};
