//! The behaviours, a file for each topic.

mod accepting;
mod calls;
mod closing;
mod connecting;
mod datagrams;
mod deadlines;
mod exchange;
mod half_close;
mod handles;
mod lifecycle;
mod listening;
mod lookups;
mod options;
mod panics;
mod reading;
mod reentrancy;
mod shutdown;
mod tcp_order;
mod threads;
mod timers;
mod unix;
mod unix_datagrams;
mod writing;

use crate::Body;

/// All of them.
pub(crate) static TOPICS: &[&[Body]] = &[
    accepting::BODIES,
    calls::BODIES,
    closing::BODIES,
    connecting::BODIES,
    datagrams::BODIES,
    deadlines::BODIES,
    exchange::BODIES,
    half_close::BODIES,
    handles::BODIES,
    lifecycle::BODIES,
    listening::BODIES,
    lookups::BODIES,
    options::BODIES,
    panics::BODIES,
    reading::BODIES,
    reentrancy::BODIES,
    shutdown::BODIES,
    tcp_order::BODIES,
    threads::BODIES,
    timers::BODIES,
    unix::BODIES,
    unix_datagrams::BODIES,
    writing::BODIES,
];
