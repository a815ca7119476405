//! The behaviours, a file for each topic.

mod accepting;
mod calls;
mod closing;
mod connecting;
mod datagrams;
mod deadlines;
mod descriptor_limit;
mod driver_datagrams;
mod driver_descriptors;
mod driver_lookups;
mod driver_names;
mod driver_order;
mod driver_polling;
mod driver_reading;
mod driver_sending;
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

/// All behaviours, by topic.
///
/// ```
/// use ropewalk_conformance::bodies;
///
/// assert!(bodies().count() >= 250);
/// ```
pub fn bodies() -> impl Iterator<Item = &'static Body> {
    TOPICS.iter().copied().flatten()
}

static TOPICS: &[&[Body]] = &[
    accepting::BODIES,
    calls::BODIES,
    closing::BODIES,
    connecting::BODIES,
    datagrams::BODIES,
    deadlines::BODIES,
    descriptor_limit::BODIES,
    driver_datagrams::BODIES,
    driver_descriptors::BODIES,
    driver_lookups::BODIES,
    driver_names::BODIES,
    driver_order::BODIES,
    driver_polling::BODIES,
    driver_reading::BODIES,
    driver_sending::BODIES,
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
