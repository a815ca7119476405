//! The servers that say one thing and close.

use std::time::Duration;

use ropewalk_core::Transport;

/// How long a peer may leave its side open when it has got its answer.
const LINGER: Duration = Duration::from_secs(5);

/// Writes `answer`, closes the writing side, and leaves the other one to the peer for a while: to
/// close with bytes unread would be a reset, which can overtake the answer.
pub(crate) fn say(transport: &mut Transport, answer: &[u8]) {
    transport.write(answer);
    transport.lose_write_connection();
    transport.set_timeout(Some(LINGER));
}
