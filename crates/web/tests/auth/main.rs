//! Who a request comes from: checkers, schemes, other people's clients, and requests that other sites make.

mod basic;
mod bearer;
mod clients;
mod cross_origin;
mod digest;
mod htpasswd;
mod limits;
mod log;
mod rig;
