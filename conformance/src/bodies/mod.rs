//! The behaviours, a file for each topic.

mod closing;
mod half_close;
mod reading;
mod tcp_order;
mod writing;

use crate::Body;

/// All of them.
pub(crate) static TOPICS: &[&[Body]] = &[
    closing::BODIES,
    half_close::BODIES,
    reading::BODIES,
    tcp_order::BODIES,
    writing::BODIES,
];
