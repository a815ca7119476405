//! The options that every TCP socket has, whichever end opened it.

use std::fmt;
use std::time::Duration;

use super::description::Description;
use super::error::EndpointError;
use super::value::{InBytes, InWords, KEEP_ALIVE, SIZE, SWITCH, switch};

/// What a TCP connection asks of the operating system. A listener gives these to each connection
/// that it accepts.
///
/// They are set through [`TcpListen`](super::TcpListen) and [`TcpConnect`](super::TcpConnect).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketOptions {
    /// Whether small writes leave at once (`TCP_NODELAY`, RFC 9293 section 3.7.4) instead of
    /// waiting for the peer to acknowledge earlier ones. On by default: a connection is flushed
    /// once per callback, so there is nothing left for the kernel to gather.
    pub no_delay: bool,
    /// How long a connection is silent before the kernel begins to ask whether the peer is still
    /// there (RFC 9293 section 3.8.4). `None`, the default, never asks.
    pub keep_alive: Option<Duration>,
    /// The size of the kernel's send buffer in bytes; `None` leaves it to the system, which
    /// adapts it to the connection.
    pub send_buffer: Option<usize>,
    /// The size of the kernel's receive buffer in bytes; `None` leaves it to the system.
    pub receive_buffer: Option<usize>,
}

impl SocketOptions {
    pub(super) fn read(description: &Description) -> Result<Self, EndpointError> {
        let default = Self::default();
        Ok(Self {
            no_delay: description
                .read_option("no_delay", &SWITCH)?
                .unwrap_or(default.no_delay),
            keep_alive: description.read_option("keep_alive", &KEEP_ALIVE)?,
            send_buffer: description.read_option("send_buffer", &SIZE)?,
            receive_buffer: description.read_option("receive_buffer", &SIZE)?,
        })
    }
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            no_delay: true,
            keep_alive: None,
            send_buffer: None,
            receive_buffer: None,
        }
    }
}

/// As the end of an endpoint: `:key=value` for each option that is not at its default.
impl fmt::Display for SocketOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.no_delay != Self::default().no_delay {
            write!(f, ":no_delay={}", switch(self.no_delay))?;
        }
        if let Some(idle) = self.keep_alive {
            write!(f, ":keep_alive={}", InWords(idle))?;
        }
        if let Some(size) = self.send_buffer {
            write!(f, ":send_buffer={}", InBytes(size))?;
        }
        if let Some(size) = self.receive_buffer {
            write!(f, ":receive_buffer={}", InBytes(size))?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Any options that an endpoint can express.
    pub(in crate::endpoint) fn socket_options() -> impl Strategy<Value = SocketOptions> {
        let keep_alive = (1_u64..100_000).prop_map(Duration::from_secs);
        (
            any::<bool>(),
            proptest::option::of(keep_alive),
            any::<Option<usize>>(),
            any::<Option<usize>>(),
        )
            .prop_map(|(no_delay, keep_alive, send_buffer, receive_buffer)| {
                SocketOptions {
                    no_delay,
                    keep_alive,
                    send_buffer,
                    receive_buffer,
                }
            })
    }
}
