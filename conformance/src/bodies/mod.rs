//! The behaviours, a file for each topic.

mod accepting;
mod calls;
mod closing;
mod connecting;
mod exchange;
mod half_close;
mod handles;
mod listening;
mod panics;
mod reading;
mod reentrancy;
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
    exchange::BODIES,
    half_close::BODIES,
    handles::BODIES,
    listening::BODIES,
    panics::BODIES,
    reading::BODIES,
    reentrancy::BODIES,
    tcp_order::BODIES,
    threads::BODIES,
    timers::BODIES,
    writing::BODIES,
];
