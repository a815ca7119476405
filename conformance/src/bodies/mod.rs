//! The behaviours, a file for each topic.

mod accepting;
mod calls;
mod closing;
mod connecting;
mod half_close;
mod listening;
mod reading;
mod tcp_order;
mod threads;
mod timers;
mod writing;

use crate::Body;

/// All of them.
pub(crate) static TOPICS: &[&[Body]] = &[
    accepting::BODIES,
    calls::BODIES,
    closing::BODIES,
    connecting::BODIES,
    half_close::BODIES,
    listening::BODIES,
    reading::BODIES,
    tcp_order::BODIES,
    threads::BODIES,
    timers::BODIES,
    writing::BODIES,
];
