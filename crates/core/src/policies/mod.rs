//! Policies for the connections of any factory: how many, how fast, how long, from where, and what
//! went over them.
//!
//! Each is a wrapper: a factory around a factory, which is a factory again. So they nest, in any
//! order, around every protocol; and since they decide by amounts and times and not by bytes,
//! `Connection::with`, `exchange_protocol` and the sending of files work as without them. The
//! outermost is asked first: put the cheapest refusal outside.
//!
//! ```
//! use ropewalk_core::policies::{
//!     AccessListFactory, LimitConnectionsByPeer, LimitTotalConnectionsFactory, Rate, Throttle,
//!     ThrottlingFactory, TimeoutFactory,
//! };
//! # use ropewalk_core::{Address, Factory, Protocol, Transport};
//! # struct Echo;
//! # impl Protocol for Echo { fn data_received(&mut self, t: &mut Transport, d: &[u8]) { t.write(d) } }
//! let factory = TimeoutFactory::new(|_: &Address| Echo);
//! let factory = ThrottlingFactory::new(factory)
//!     .writes(Throttle::new().per_peer(Rate::per_second(1_000_000)));
//! let factory = LimitConnectionsByPeer::new(factory, 20);
//! let factory = LimitTotalConnectionsFactory::new(factory, 1000).overflow_text("try later\r\n");
//! let factory = AccessListFactory::new(factory, "deny 192.0.2.66, allow all".parse().unwrap());
//! let peer = Address::Tcp("192.0.2.7:1024".parse().unwrap());
//! assert!(factory.build_protocol(&peer).is_some());
//! assert_eq!(factory.build_policies(&peer).len(), 4);
//! ```
//!
//! # What holds, and when
//!
//! | limit | without a wrapper | with its wrapper | why |
//! |---|---|---|---|
//! | layers are ready ([`ConnectionLimits::handshake`](crate::ConnectionLimits::handshake)) | 10 s | | a handshake that is never finished costs memory and a descriptor, and no peer needs longer |
//! | the peer takes what is sent ([`write_stall`](crate::ConnectionLimits::write_stall)) | 30 s | | nothing else tells of a peer that has gone silently; time under a throttle does not count |
//! | unsent bytes ([`write_limit`](crate::ConnectionLimits::write_limit)) | 16 MiB | | memory |
//! | no byte either way ([`TimeoutFactory::idle`]) | off | 30 min | to wait in silence is right for a chat or a queue, and wrong for a web server: the protocol knows, and the HTTP server has times of its own |
//! | the first byte ([`TimeoutFactory::first_byte`]) | off | 60 s | with many protocols the server speaks first |
//! | age ([`TimeoutFactory::lifetime`]) | off | off | a connection that is used does no harm by its age |
//! | connections ([`LimitTotalConnectionsFactory`]) | off | as given | the limit of descriptors bounds them, and a port that can accept no more rests; less is a matter of what one costs |
//! | connections of a peer ([`LimitConnectionsByPeer`]) | off | as given | behind a proxy or a NAT, one address is many people |
//! | answered as too many | | 64 at once, 5 s each | an answer must not be what it answers to |
//! | rate ([`ThrottlingFactory`]) | off | as given, burst ¼ s | only the operator knows the line |
//! | networks ([`AccessListFactory`]) | off | denied unless allowed | |
//! | traffic log ([`TrafficLoggingFactory`]) | off | 64 MiB | it holds what people said to one another |

mod access;
mod bucket;
mod overflow;
mod pcap;
mod peer;
mod peer_limit;
mod slot;
mod throttle;
mod timeout;
mod total_limit;
mod traffic;
mod traffic_text;

pub use access::{AccessList, AccessListError, AccessListFactory};
pub use bucket::{Bucket, Rate};
pub use peer::PeerPrefix;
pub use peer_limit::LimitConnectionsByPeer;
pub use throttle::{Throttle, ThrottlingFactory};
pub use timeout::TimeoutFactory;
pub use total_limit::LimitTotalConnectionsFactory;
pub use traffic::{TrafficFormat, TrafficLoggingFactory};
