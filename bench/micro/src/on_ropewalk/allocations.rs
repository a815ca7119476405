//! What a chain of Deferreds allocates. For a program of its own: counting costs time.

use std::error::Error;

use serde::Serialize;

use super::deferred::{CHAINS, LINKS, refuse_backtraces};
use crate::print;

#[derive(Serialize)]
struct Allocations {
    work: String,
    /// Of the whole chain, with what its beginning costs.
    allocations: u64,
    /// Of each further link.
    per_link: f64,
}

/// Counts, and prints a line of JSON for each chain. `count` returns how often what it is given
/// allocates.
///
/// # Errors
/// Backtraces are asked for, or standard output takes no more.
pub fn run(count: impl Fn(&mut dyn FnMut()) -> u64) -> Result<(), Box<dyn Error>> {
    refuse_backtraces()?;
    for (work, chain) in CHAINS {
        let of = |links| {
            // What the thread makes once.
            chain(links);
            count(&mut || assert!(chain(links).is_some()))
        };
        let (allocations, longer) = (of(LINKS), of(2 * LINKS));
        print(&Allocations {
            work: format!("deferred {work}"),
            allocations,
            per_link: (longer - allocations) as f64 / LINKS as f64,
        })?;
    }
    Ok(())
}
