//! Strings that mean something else in each state of a conversation.

use std::fmt;

use super::{FrameTransport, StringProtocol};
use crate::{Failure, TimedOut};

/// A conversation in which each string is told to the function of its state, which says what the
/// next one is: Twisted's `StatefulStringProtocol`, with functions for its methods `proto_…`.
/// [`StatefulStrings`] makes a [`StringProtocol`] of it.
///
/// ```
/// use ropewalk_core::framing::{
///     FrameTransport, NetstringReceiver, State, StatefulStringProtocol, StatefulStrings,
/// };
/// use ropewalk_core::{Protocol, testing::StringTransport};
///
/// #[derive(Default)]
/// struct Login(String);
///
/// impl StatefulStringProtocol for Login {
///     fn proto_init(&mut self, _: &mut FrameTransport<'_>, name: &[u8]) -> State<Self> {
///         self.0 = String::from_utf8_lossy(name).into_owned();
///         State::Next(Self::proto_password)
///     }
/// }
///
/// impl Login {
///     fn proto_password(&mut self, transport: &mut FrameTransport<'_>, _: &[u8]) -> State<Self> {
///         transport.send_string(format!("welcome, {}", self.0).as_bytes());
///         State::Done
///     }
/// }
///
/// let mut transport = StringTransport::new();
/// let mut receiver = NetstringReceiver::new(StatefulStrings::new(Login::default()));
/// receiver.data_received(&mut transport, b"3:Ann,6:secret,7:ignored,");
/// assert_eq!(transport.value(), b"12:welcome, Ann,");
/// ```
pub trait StatefulStringProtocol: Sized + 'static {
    /// The first string.
    fn proto_init(&mut self, transport: &mut FrameTransport<'_>, string: &[u8]) -> State<Self>;

    /// See [`StringProtocol::connection_made`].
    fn connection_made(&mut self, transport: &mut FrameTransport<'_>) {
        let _ = transport;
    }

    /// See [`Protocol::timeout_connection`](crate::Protocol::timeout_connection).
    fn timeout_connection(&mut self, transport: &mut FrameTransport<'_>) {
        transport.abort_with(TimedOut.into());
    }

    /// See [`Protocol::connection_lost`](crate::Protocol::connection_lost).
    fn connection_lost(&mut self, reason: Failure) {
        let _ = reason;
    }
}

/// What the next string is told to.
pub enum State<P> {
    /// This function.
    Next(fn(&mut P, &mut FrameTransport<'_>, &[u8]) -> State<P>),
    /// The function that was told the last one.
    Same,
    /// Nothing: the strings that follow are dropped.
    Done,
}

impl<P> fmt::Debug for State<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Next(_) => "Next",
            Self::Same => "Same",
            Self::Done => "Done",
        })
    }
}

/// A [`StatefulStringProtocol`], and the state that it is in.
#[derive(Debug)]
pub struct StatefulStrings<P> {
    protocol: P,
    state: State<P>,
}

impl<P: StatefulStringProtocol> StatefulStrings<P> {
    /// Begins with [`proto_init`](StatefulStringProtocol::proto_init).
    #[must_use]
    pub fn new(protocol: P) -> Self {
        Self {
            protocol,
            state: State::Next(P::proto_init),
        }
    }

    /// The conversation.
    pub fn protocol(&mut self) -> &mut P {
        &mut self.protocol
    }
}

impl<P: StatefulStringProtocol> StringProtocol for StatefulStrings<P> {
    fn connection_made(&mut self, transport: &mut FrameTransport<'_>) {
        self.protocol.connection_made(transport);
    }

    fn string_received(&mut self, transport: &mut FrameTransport<'_>, string: &[u8]) {
        let State::Next(told) = self.state else {
            return;
        };
        match told(&mut self.protocol, transport, string) {
            State::Same => {}
            state => self.state = state,
        }
    }

    fn timeout_connection(&mut self, transport: &mut FrameTransport<'_>) {
        self.protocol.timeout_connection(transport);
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.protocol.connection_lost(reason);
    }
}
