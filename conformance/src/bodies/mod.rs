//! The behaviours, a file for each topic.

mod accepting;
mod closing;
mod connecting;
mod half_close;
mod listening;
mod reading;
mod tcp_order;
mod writing;

use crate::Body;

/// All of them.
pub(crate) static TOPICS: &[&[Body]] = &[
    accepting::BODIES,
    closing::BODIES,
    connecting::BODIES,
    half_close::BODIES,
    listening::BODIES,
    reading::BODIES,
    tcp_order::BODIES,
    writing::BODIES,
];
