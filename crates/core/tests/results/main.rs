//! What results to come promise: Deferreds, what waits for several of them, and calls in time.

mod inheritance;
mod kit;
mod masses;
mod scheduled;
mod semantics;
mod turns;
