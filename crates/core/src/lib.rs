//! What a network program is made of, with no network.
//!
//! This crate has no sockets, no clock of its own and no threads.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

mod activity;
mod address;
pub mod capture;
#[cfg(feature = "tokio-io")]
mod carried;
mod channel;
mod client_service;
mod commons;
mod context;
mod datagram;
mod deferred;
pub mod endpoint;
mod failure;
mod file_sender;
pub mod framing;
pub mod handshake;
mod inherited;
mod layer;
mod limits;
mod names;
mod output;
pub mod policies;
mod policy;
mod process;
mod protocol;
mod reactor;
mod reason;
mod schedule;
mod secured;
mod stream;
mod task;
pub mod testing;
mod threads;
pub mod timer;
mod transport;

pub use activity::{Activity, Doing, Mark, Served};
pub use address::Address;
#[cfg(feature = "tokio-io")]
pub use carried::CarriedConnection;
pub use channel::{Channel, SendStatus, Step};
pub use client_service::{ClientService, ClientServiceBuilder, ClientState, StateSubscription};
pub use commons::Commons;
pub use context::{ConnectionId, LoopContext};
pub use datagram::{
    DatagramChannel, DatagramCounts, DatagramError, DatagramLimits, DatagramOption, DatagramPort,
    DatagramProtocol, DatagramQueue, DatagramSendStatus, DatagramSocket, DatagramStep,
    DatagramTransport, Incoming,
};
pub use deferred::{
    Abandoned, Cancelled, Deferred, DeferredEvent, DeferredList, DeferredLock, DeferredQueue,
    DeferredSemaphore, FirstError, Gather, IntoDeferred, Paused, Permit, QueueOverflow,
    QueueUnderflow, Resolver, TooManyWaiters, gather_results, maybe_deferred, race,
};
pub use failure::{Failure, FailureGroup, FailureReport, FailureReporter};
pub use file_sender::FileSender;
pub use inherited::{ContextKey, ContextSnapshot};
pub use layer::{Layer, LayerIo};
pub use limits::ConnectionLimits;
pub use names::{FixedNames, NameResolver};
pub use output::{FileRegion, OutputQueue, Segment};
pub use policy::Policy;
pub use process::{
    ChildControl, ChildDescriptor, ChildProcess, ExitStatus, Grouping, Output, OutputTooLong,
    ParseSignalError, Process, ProcessProtocol, ProcessTerminated, ProcessTransport,
    ReactorProcess, Signal, SignalError, Spawn, SpawnError, WindowSize, process_output,
    process_value,
};
pub use protocol::{Factory, Protocol};
pub use reactor::{
    Port, ReactorCore, ReactorDatagrams, ReactorNames, ReactorNet, ReactorTasks, ReactorTime,
};
pub use reason::{
    ConnectError, ConnectionAborted, ConnectionDone, ConnectionLost, Deadline, DeadlinePassed,
    ListenError, Panicked, TimedOut, WriteBufferFull, WriteStalled,
};
pub use schedule::{
    AlreadyRunning, Backoff, CooperativeTask, Cooperator, LoopingCall, Retry, RetryBudget,
    TaskStopped, defer_later,
};
pub use secured::Secured;
pub use stream::{ConnectionStream, StreamError, StreamFactory, StreamReader, StreamWriter};
pub use task::{Task, Tasks};
pub use threads::{JobName, ReactorThreads, ThreadJobError, defer_to_thread};
pub use timer::DelayedCall;
pub use transport::{
    Connection, MAX_UNSENT_DESCRIPTORS, SendDescriptorError, SocketOption, Transport,
};
