//! What the suite is run on: a driver, and what stands around it.

use std::any::Any;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;

use ropewalk_reactor::driver::Driver;

/// What not every driver has. TCP over IPv4, timers and waking are of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Feature {
    /// A host's end that answers nothing: [`Subject::black_hole`].
    BlackHole,
    /// No more than so many descriptors can be open: [`Subject::leave_descriptors`].
    DescriptorLimit,
    /// Descriptors of the operating system are listened at, served and watched.
    Descriptors,
    /// The paths of Unix sockets stand in the file system, and have modes.
    FileSystem,
    /// Regions of files are sent.
    Files,
    /// TCP over IPv6, and its loopback address.
    Ipv6,
    /// Jobs of the reactor's pool run, and what they bring comes back.
    Jobs,
    /// Multicast over the loopback interface.
    Multicast,
    /// The driver looks names up: [`Subject::known_name`] and [`Subject::unknown_name`].
    Names,
    /// Other threads wake the loop, at whatever time they like.
    Threads,
    /// Datagrams over UDP.
    Udp,
    /// Unix sockets.
    Unix,
    /// Datagrams over Unix sockets.
    UnixDatagrams,
}

/// An address that is as it is for as long as this is kept.
pub struct Place {
    /// Where it is.
    pub address: SocketAddr,
    /// Whatever must live for it.
    pub guard: Box<dyn Any>,
}

/// A driver under test. See the [crate](crate) for an example.
///
/// For each body [`driver`](Self::driver) is called once, and all else after it on the same thread;
/// bodies run on several threads at once.
pub trait Subject: Send + Sync {
    /// What it is called in the names of tests: one word.
    fn name(&self) -> &str;

    /// A new driver with no connections. What is listened at on it is reached from it.
    ///
    /// # Errors
    /// There is none to be had.
    fn driver(&self) -> io::Result<Rc<dyn Driver>>;

    /// Whether it has this feature.
    fn offers(&self, feature: Feature) -> bool;

    /// Where nobody listens, and nobody is going to. Port 1 of the loopback interface (RFC 1078, which
    /// nobody serves), unless told otherwise.
    ///
    /// # Errors
    /// There is none.
    fn nobody(&self) -> io::Result<Place> {
        Ok(Place {
            address: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 1),
            guard: Box::new(()),
        })
    }

    /// A place that connecting to neither fails nor succeeds, for [`Feature::BlackHole`].
    ///
    /// # Errors
    /// There is none, unless told otherwise.
    fn black_hole(&self) -> io::Result<Place> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Lets `left` more descriptors be opened and none beyond them, until what is returned is
    /// dropped: for [`Feature::DescriptorLimit`].
    ///
    /// # Errors
    /// There is no such limit, unless told otherwise.
    fn leave_descriptors(&self, left: usize) -> io::Result<Box<dyn Any>> {
        let _ = left;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// A name that is found, and one of its addresses, which is the loopback's. `localhost`, unless
    /// told otherwise.
    fn known_name(&self) -> (&str, IpAddr) {
        ("localhost", Ipv4Addr::LOCALHOST.into())
    }

    /// A name that no resolver finds, and none needs a network to say so. One with a blank, which
    /// no host has, unless told otherwise.
    fn unknown_name(&self) -> &str {
        "no such host"
    }

    /// A folder for the sockets of one body, where nothing is: a new one of the operating system,
    /// unless told otherwise. It is there until what is returned is dropped.
    ///
    /// # Errors
    /// It cannot be made.
    fn folder(&self) -> io::Result<Box<dyn AsRef<Path>>> {
        Ok(Box::new(tempfile::tempdir()?))
    }
}
