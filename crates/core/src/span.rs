//! What runs later runs in the `tracing` span in which it was asked for.
//!
//! While nobody subscribes, this costs a look at one static, and nothing is kept.

use tracing::Span;
use tracing::level_filters::LevelFilter;

/// Whether anybody subscribes at all.
#[inline]
pub(crate) fn is_traced() -> bool {
    LevelFilter::current() != LevelFilter::OFF
}

/// The span that is entered on this thread, if anybody subscribes and there is one: for those who
/// let something run later, so that it runs in the span in which it was asked for.
///
/// ```
/// use ropewalk_core::current_span;
/// assert!(current_span().is_none(), "nobody subscribes");
/// ```
#[inline]
#[must_use]
pub fn current_span() -> Option<Span> {
    if is_traced() { entered() } else { None }
}

#[cold]
fn entered() -> Option<Span> {
    Some(Span::current()).filter(|span| !span.is_none())
}

/// Lets `call` run in the span that is entered now.
pub(crate) fn in_current_span(call: Box<dyn FnOnce()>) -> Box<dyn FnOnce()> {
    match current_span() {
        Some(span) => Box::new(move || span.in_scope(call)),
        None => call,
    }
}
