//! The workloads: what is served and asked, and on which hosts.

use std::fmt;
use std::str::FromStr;

use crate::program::Program;
use crate::{
    bulk, datagrams, forward, http, http2, lines, names, policies, service, store, strings,
    threads, tls, unix, websocket,
};

/// Something that is served and asked for. The first comment of its file says what holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Workload {
    /// HTTP/1.1: keep-alive, pipelining, bodies of all framings.
    Http,
    /// `LineReceiver`.
    Lines,
    /// `NetstringReceiver`.
    Strings,
    /// Lines over the endpoints `tls:`.
    Tls,
    /// `ClientService`.
    Service,
    /// A port forwarder between client and server.
    Forward,
    /// Lines behind limits, throttles, deadlines and an access list.
    Policies,
    /// Questions over UDP.
    Datagrams,
    /// Streams over a Unix socket.
    Unix,
    /// A name with several addresses.
    Names,
    /// Answers that threads make.
    Threads,
    /// Bodies that are larger than all windows, both ways, to slow readers.
    Bulk,
    /// A store that keeps what it has acknowledged.
    Store,
    /// WebSockets, compressed.
    WebSocket,
    /// HTTP/2: many requests at a time, bodies both ways, WebSockets within streams.
    Http2,
}

/// The hosts of the world: what serves, another one that does, what is between, and who asks, from
/// near and from far.
pub(crate) const HOSTS: [&str; 5] = ["server", "second", "gate", "client", "far"];

impl Workload {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Http,
        Self::Lines,
        Self::Strings,
        Self::Tls,
        Self::Service,
        Self::Forward,
        Self::Policies,
        Self::Datagrams,
        Self::Unix,
        Self::Names,
        Self::Threads,
        Self::Bulk,
        Self::Store,
        Self::WebSocket,
        Self::Http2,
    ];

    /// What it is called on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Lines => "lines",
            Self::Strings => "strings",
            Self::Tls => "tls",
            Self::Service => "service",
            Self::Forward => "forward",
            Self::Policies => "policies",
            Self::Datagrams => "datagrams",
            Self::Unix => "unix",
            Self::Names => "names",
            Self::Threads => "threads",
            Self::Bulk => "bulk",
            Self::Store => "store",
            Self::WebSocket => "websocket",
            Self::Http2 => "http2",
        }
    }

    /// Begins what it serves on this host.
    pub(crate) fn serve(self, program: &Program, host: &str) {
        match (self, host) {
            (Self::Http, "server") => http::serve(program),
            (Self::Lines, "server") => lines::serve(program),
            (Self::Strings, "server") => strings::serve(program),
            (Self::Tls, "server") => tls::serve(program),
            (Self::Service, "server") => service::serve(program),
            (Self::Forward, "server") => forward::serve(program),
            (Self::Forward, "gate") => forward::forward(program),
            (Self::Policies, "server") => policies::serve(program),
            (Self::Datagrams, "server") => datagrams::serve(program),
            (Self::Unix, "server") => unix::serve(program),
            (Self::Names, "server" | "second") => names::serve(program),
            (Self::Threads, "server") => threads::serve(program),
            (Self::Bulk, "server") => bulk::serve(program),
            (Self::Store, "server") => store::serve(program),
            (Self::WebSocket, "server") => websocket::serve(program),
            (Self::Http2, "server") => http2::serve(program),
            _ => {}
        }
    }

    /// Begins what it asks from this host.
    pub(crate) fn call(self, program: &Program, host: &str) {
        match (self, host) {
            (Self::Unix, "server") => unix::call(program),
            (Self::Policies, "client") => policies::call(program),
            (Self::Policies, "far") => policies::call_denied(program),
            (Self::Unix | Self::Policies, _) => {}
            (_, "client" | "far") => match self {
                Self::Http => http::call(program),
                Self::Lines => lines::call(program),
                Self::Strings => strings::call(program),
                Self::Tls => tls::call(program),
                Self::Service => service::call(program),
                Self::Forward => forward::call(program),
                Self::Datagrams => datagrams::call(program),
                Self::Names => names::call(program),
                Self::Threads => threads::call(program),
                Self::Bulk => bulk::call(program),
                Self::Store => store::call(program),
                Self::WebSocket => websocket::call(program),
                Self::Http2 => http2::call(program),
                Self::Unix | Self::Policies => {}
            },
            _ => {}
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Workload {
    type Err = UnknownWorkload;

    fn from_str(text: &str) -> Result<Self, UnknownWorkload> {
        let found = Self::ALL.into_iter().find(|one| one.name() == text);
        found.ok_or_else(|| UnknownWorkload(text.to_owned()))
    }
}

/// There is no workload of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownWorkload(pub String);

impl fmt::Display for UnknownWorkload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Workload::ALL.map(Workload::name).join(", ");
        write!(f, "there is no workload {:?}; there are {names}", self.0)
    }
}

impl std::error::Error for UnknownWorkload {}
