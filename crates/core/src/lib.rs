//! What a network program is made of, with no network.
//!
//! This crate has no sockets, no clock of its own and no threads.
#![forbid(unsafe_code)]

mod address;
mod channel;
mod context;
mod deferred;
pub mod endpoint;
mod failure;
mod layer;
mod limits;
mod output;
mod protocol;
mod reactor;
mod reason;
mod stream;
mod task;
pub mod testing;
pub mod timer;
mod transport;

pub use address::Address;
pub use channel::{Channel, SendStatus, Step};
pub use context::{ConnectionId, LoopContext};
pub use deferred::{Abandoned, Cancelled, Deferred, IntoDeferred, Resolver};
pub use failure::Failure;
pub use layer::{Layer, LayerIo};
pub use limits::ConnectionLimits;
pub use output::{FileRegion, OutputQueue, Segment};
pub use protocol::{Factory, Protocol};
pub use reactor::{Port, ReactorCore, ReactorNet, ReactorTasks, ReactorTime};
pub use reason::{
    ConnectError, ConnectionAborted, ConnectionDone, ConnectionLost, ListenError, Panicked,
    TimedOut, WriteBufferFull, WriteStalled,
};
pub use stream::{ConnectionStream, StreamError, StreamFactory, StreamReader, StreamWriter};
pub use task::{Task, Tasks};
pub use timer::DelayedCall;
pub use transport::{Connection, SocketOption, Transport};
