//! The poll driver as a subject, with the real network of this machine around it.

use std::any::Any;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::rc::Rc;

use ropewalk_conformance::{Feature, Place, Subject};
use ropewalk_reactor::PollDriver;
use ropewalk_reactor::driver::Driver;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

/// The poll driver.
pub(crate) struct Poll;

impl Subject for Poll {
    fn name(&self) -> &str {
        "poll"
    }

    fn driver(&self) -> io::Result<Rc<dyn Driver>> {
        Ok(Rc::new(PollDriver::new()?))
    }

    fn offers(&self, feature: Feature) -> bool {
        match feature {
            // A machine without it has no address of it.
            Feature::Ipv6 => std::net::UdpSocket::bind("[::1]:0").is_ok(),
            _ => true,
        }
    }

    fn nobody(&self) -> io::Result<Place> {
        let (socket, address) = bound()?;
        let guard = Box::new(socket);
        Ok(Place { address, guard })
    }

    /// A port whose backlog holds one connection, and has it.
    fn black_hole(&self) -> io::Result<Place> {
        let (socket, address) = bound()?;
        socket.listen(0)?;
        let waits = TcpStream::connect(address)?;
        let guard = Box::new((socket, waits));
        Ok(Place { address, guard })
    }

    fn leave_descriptors(&self, left: usize) -> io::Result<Box<dyn Any>> {
        let before = getrlimit(Resource::Nofile);
        let mut taken = vec![File::open("/dev/null")?];
        // So few that they are soon taken; those that are open already count for nothing.
        let highest = std::fs::read_dir("/proc/self/fd")?.count() as u64 + 64;
        let current = Some(highest);
        let limit = Rlimit { current, ..before };
        setrlimit(Resource::Nofile, limit)?;
        while let Ok(file) = File::open("/dev/null") {
            taken.push(file);
        }
        taken.truncate(taken.len().saturating_sub(left));
        Ok(Box::new(Limited { taken, before }))
    }
}

/// Gives back what was taken.
struct Limited {
    taken: Vec<File>,
    before: Rlimit,
}

impl Drop for Limited {
    fn drop(&mut self) {
        self.taken.clear();
        let restored = setrlimit(Resource::Nofile, self.before);
        restored.expect("the soft limit may be raised to the hard one");
    }
}

/// A socket with a port of the loopback interface, on which it does not listen.
fn bound() -> io::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0).into())?;
    let address = socket.local_addr()?.as_socket();
    let address = address.ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok((socket, address))
}
