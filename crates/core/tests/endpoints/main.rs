//! Kinds of endpoints that stand on others: as text, as a reactor finds what is at the bottom, and
//! what the built-in ones do on a connection.

mod handing_on;
mod http_connect;
mod kinds;
mod proxy;
mod proxy_headers;
mod rig;
mod scripted;
mod socks5;
mod wrappers;
