//! The behaviours, a file for each topic.

mod tcp_order;

use crate::Body;

/// All of them.
pub(crate) static TOPICS: &[&[Body]] = &[tcp_order::BODIES];
