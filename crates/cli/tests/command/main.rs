//! The real command, run as a user runs it: arguments in, lines, exit codes and HTTP out.

mod foreign;
mod forward;
mod http_clients;
mod inherited;
mod logs;
mod proxies;
mod running;
mod serving;
mod stopping;
mod streams;
#[cfg(feature = "tls")]
mod tls;
mod usage;
mod wire;
