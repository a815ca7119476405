//! Each policy on three protocols over real sockets: an echo, a protocol of lines, and HTTP.

mod deadlines;
mod limits;
mod protocols;
mod rates;
mod traffic;
