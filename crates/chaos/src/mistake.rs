//! Servers that are wrong on purpose: what finds mistakes is to find these.

/// What the server of [`Workload::Lines`](crate::Workload::Lines) does wrong, once in a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// Two answers change places.
    Reorders,
    /// A request is answered twice.
    AnswersTwice,
    /// An answer lacks a byte.
    LosesAByte,
    /// An answer has another one's content.
    Invents,
    /// A request gets no answer.
    IsSilent,
    /// The protocol of a connection lives on without it.
    LeaksTheProtocol,
    /// A timer is left behind.
    LeaksATimer,
    /// A port is opened, and never closed.
    LeaksAPort,
    /// A program that is stopped does not finish what it has begun: the server of
    /// [`Workload::Bulk`](crate::Workload::Bulk), whose answers take long enough to be met by a stop.
    CutsWhenStopped,
    /// A callback panics.
    Panics,
}
