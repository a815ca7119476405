//! The endpoint language: where to listen and where to connect, as one line of text.
//!
//! The same string works in code, in the command and in a configuration file. This module turns
//! it into typed values and back, and does nothing else: opening what an endpoint names is for
//! the reactor.
//!
//! ```text
//! kind:argument…[:key=value]…
//! ```
//!
//! | a server endpoint | listens |
//! |---|---|
//! | `tcp:8080` | on port 8080 of all interfaces, IPv6 and IPv4 |
//! | `tcp:8080:interface=127.0.0.1` | on port 8080 of one interface |
//! | `tcp:0:interface=[::1]` | on a free port, which the system chooses |
//! | `unix:/run/app.sock:mode=660` | on a socket in the file system |
//! | `tcp6:8080` | on port 8080 of all interfaces, IPv6 alone |
//! | `fd:3` | on a socket that this process has inherited ([`Descriptor`]) |
//! | `systemd:index=0`, `systemd:name=web` | on a socket that systemd has opened for this process ([`SystemdListen`]) |
//! | `proxy:tcp:80` | as the endpoint within, behind a load balancer that sends PROXY headers ([`ProxyListen`]) |
//! | `limit:connections=100:per_peer=5:tcp:80` | as the endpoint within, with so many connections ([`LimitListen`]) |
//! | `throttle:write=1m:tcp:80` | as the endpoint within, with so many bytes a second ([`ThrottleListen`]) |
//! | `tls:443:certificate=site.pem:key=site.key` | on port 443, for TLS; the options of `tcp` too |
//! | `tls:443:directory=/etc/tls` | with a certificate for each name, from `*.pem` there |
//! | `stdio` | for one connection: the standard input and output of this process |
//!
//! | a client endpoint | connects |
//! |---|---|
//! | `tcp:example.com:80` | to a host by its name |
//! | `tcp:[2001:db8::1]:80:timeout=5s` | to an IPv6 address, within 5 seconds |
//! | `unix:/run/app.sock` | to a socket in the file system |
//! | `fd:3` | with a connected socket that this process has inherited |
//! | `socks5:proxy.example.com:1080:tcp:example.com:80` | through a SOCKS5 proxy ([`Socks5Via`]) |
//! | `connect:proxy.example.com:3128:tcp:example.com:80` | through an HTTP proxy ([`HttpConnectVia`]) |
//! | `tls:example.com:443` | to a host that the platform trusts, over TLS |
//! | `tls:192.0.2.1:443:roots=own.pem:name=example.com` | to one that `own.pem` says is `example.com` |
//! | `exec:bc:-q` | to the standard input and output of a program that is started for it |
//! | `stdio` | to the standard input and output of this process |
//!
//! | a datagram endpoint | sends and receives |
//! |---|---|
//! | `udp:1234` | at port 1234 of all interfaces, IPv6 and IPv4 |
//! | `udp:5353:group=224.0.0.251:reuse_port=yes` | at a multicast group, shared with others |
//! | `unix-datagram:/run/app.sock` | at a socket in the file system; `@app` is an abstract name |
//!
//! | a datagram client endpoint | sends to |
//! |---|---|
//! | `udp:example.com:53` | a host by its name |
//! | `unix-datagram:/dev/log` | a socket in the file system |
//!
//! # Grammar
//! - Colons part the text into fields. The first field is the kind.
//! - A field with an equals sign is an option, `key=value`, split at the first one. Any other
//!   field is an argument; the kind says how many there are and what they mean.
//! - A backslash takes the next character as it is: `\:`, `\=`, `\\`.
//! - Where an argument or a value begins with `[`, colons and equals signs up to the next `]`
//!   are part of it, so that IPv6 addresses need no backslashes.
//!
//! # Endpoints on endpoints
//! Some kinds stand on another endpoint, which follows their own arguments and options. The text
//! reads from the wire upwards: in `proxy:trusted=10.0.0.0/8:limit:connections=100:tcp:80`, the
//! header is read first, and the limit counts those whom it names. [`register_server_kind`] and
//! [`register_client_kind`] add kinds.
//!
//! # Values
//! - Switches are `yes` or `no`.
//! - Durations are a whole number and a unit: `500ms`, `30s`, `5m`, `1h` (also `us` and `ns`).
//! - Sizes are a number of bytes, or of KiB, MiB or GiB: `65536`, `64k`, `1m`, `1g`.
//!
//! # Errors
//! Each [`EndpointError`] points at the column that it is about:
//!
//! ```
//! use ropewalk_core::endpoint::ServerEndpoint;
//!
//! let error = "tcp:80:backlgo=5".parse::<ServerEndpoint>().unwrap_err();
//! assert_eq!(error.column(), 8);
//! assert_eq!(
//!     error.diagram(),
//!     "tcp:80:backlgo=5\n       \
//!      ^ column 8: `backlgo` is not an option of `tcp`; did you mean `backlog`?",
//! );
//! ```

mod client;
mod datagram;
mod description;
mod descriptor;
mod error;
mod exec;
mod form;
mod kind;
mod multicast;
mod registry;
mod server;
mod socket;
mod systemd;
mod tls;
mod value;
mod wrappers;

pub use client::{ClientEndpoint, DEFAULT_CONNECT_TIMEOUT, Host, TcpConnect, UnixConnect};
pub use datagram::{
    DatagramClientEndpoint, DatagramEndpoint, DatagramOptions, MAX_DATAGRAM, UdpConnect, UdpListen,
    UnixDatagramConnect, UnixDatagramListen,
};
pub use description::{Description, Field, Word};
pub use descriptor::Descriptor;
pub use error::EndpointError;
pub use exec::{ExecConnect, ExecStderr};
pub use form::Form;
pub use kind::{ClientKind, ServerKind};
pub use multicast::{Interface, MulticastGroup};
pub use registry::{
    KindTaken, ParseClient, ParseServer, register_client_kind, register_server_kind,
};
pub use server::{DEFAULT_BACKLOG, ServerEndpoint, TcpListen, UnixListen};
pub use socket::SocketOptions;
pub use systemd::SystemdListen;
pub use tls::{TlsCertificates, TlsConnect, TlsListen};
pub use value::parse_duration;
pub use wrappers::{HttpConnectVia, LimitListen, ProxyListen, Socks5Via, ThrottleListen};
