//! What all commands that serve have in common: they listen, say where, run until a signal says to
//! stop, and finish what is in flight.
//!
//! The reactor library handles the signals, the drain and the sharing of ports among the workers.

use std::cell::RefCell;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::rc::Rc;

use ropewalk_core::endpoint::{ServerEndpoint, UnixConnect};
use ropewalk_core::{Address, Factory, Failure, ListenError, Policy, Port, Protocol};
use ropewalk_reactor::{Handle, Worker, Workers, WorkersError};

use crate::exit::Stop;

/// Where to serve, and how.
pub(crate) struct Serving<'a> {
    pub(crate) listen: &'a [ServerEndpoint],
    pub(crate) workers: NonZeroUsize,
    /// How the user is told of an address; not at all where standard output is for something else.
    pub(crate) location: Option<fn(&ServerEndpoint, &Address) -> String>,
}

impl Serving<'_> {
    /// Serves until stopped, each worker with what `build` builds for it. Returns when what was in
    /// flight is finished.
    pub(crate) fn run<B>(&self, build: B) -> Result<(), Stop>
    where
        B: Fn() -> Result<Rc<dyn Factory>, Failure> + Send + Sync,
    {
        // Each connection takes a descriptor, and the soft limit is often 1024.
        match ropewalk_reactor::raise_descriptor_limit() {
            Ok(limit) => tracing::debug!(limit, "raised the limit of open descriptors"),
            Err(error) => tracing::warn!(%error, "cannot raise the limit of open descriptors"),
        }
        Workers::new(self.workers)
            .stop_on_signals(true)
            .run(|worker| self.set_up(worker, build()?))
            .map_err(|error| match error {
                WorkersError::Setup { failure, .. } => Stop::Failed(explain(&failure)),
                error => Stop::Failed(error.to_string()),
            })
    }

    /// Listens on one worker. The workers are set up one after another; when the last one runs,
    /// all of them listen, signals are heeded, and the user is told.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "it was built for this worker"
    )]
    fn set_up(&self, worker: &Worker<'_>, factory: Rc<dyn Factory>) -> Result<(), Failure> {
        let ports = self
            .listen
            .iter()
            .map(|endpoint| match is_stdio(endpoint) {
                true => {
                    let stop = worker.reactor().handle();
                    worker.listen(endpoint, Rc::new(Single::new(Rc::clone(&factory), stop)))
                }
                false => worker.listen(endpoint, Rc::clone(&factory)),
            })
            .collect::<Result<Vec<_>, _>>()?;
        if worker.index() + 1 == self.workers.get()
            && let Some(location) = self.location
        {
            let endpoints = self.listen.to_vec();
            worker.reactor().call_when_running(move || {
                if let Err(error) = announce(&endpoints, &ports, location) {
                    tracing::warn!(%error, "cannot say on standard output where it listens");
                }
            });
        }
        Ok(())
    }
}

/// Whether it is one connection over the standard streams, whatever stands on that.
pub(crate) fn is_stdio(endpoint: &ServerEndpoint) -> bool {
    match endpoint {
        ServerEndpoint::Stdio => true,
        ServerEndpoint::Other(kind) => kind.base().is_ok_and(|base| is_stdio(&base)),
        _ => false,
    }
}

/// Stops the reactor when the one connection that there can be has ended: nothing else is served
/// over the standard streams.
struct Single {
    factory: Rc<dyn Factory>,
    stop: RefCell<Option<StopWhenDropped>>,
}

struct StopWhenDropped(Handle);

impl Single {
    fn new(factory: Rc<dyn Factory>, reactor: Handle) -> Self {
        let stop = RefCell::new(Some(StopWhenDropped(reactor)));
        Self { factory, stop }
    }
}

impl Factory for Single {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        self.factory.build_protocol(peer)
    }

    fn wrapped(&self) -> Option<&dyn Factory> {
        Some(&self.factory)
    }

    fn build_policies(&self, peer: &Address) -> Vec<Box<dyn Policy>> {
        let mut policies = self.factory.build_policies(peer);
        if let Some(stop) = self.stop.take() {
            policies.push(Box::new(stop));
        }
        policies
    }
}

impl Policy for StopWhenDropped {}

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// An address as an endpoint: what a client of ours would be told to connect to.
pub(crate) fn as_endpoint(endpoint: &ServerEndpoint, address: &Address) -> String {
    match address {
        Address::Tcp(address) if speaks_tls(endpoint) => format!("tls:{address}"),
        Address::Tcp(address) => format!("tcp:{address}"),
        Address::Unix(Some(path)) => UnixConnect::new(&**path).to_string(),
        Address::Udp(_) | Address::Unix(None) | Address::Pipe(_) => address.to_string(),
    }
}

/// Whether a client must speak TLS, to the endpoint or to one that it wraps.
pub(crate) fn speaks_tls(endpoint: &ServerEndpoint) -> bool {
    match endpoint {
        ServerEndpoint::Tls(_) => true,
        ServerEndpoint::Other(kind) => kind.base().is_ok_and(|base| speaks_tls(&base)),
        _ => false,
    }
}

fn announce(
    endpoints: &[ServerEndpoint],
    ports: &[Port],
    location: fn(&ServerEndpoint, &Address) -> String,
) -> io::Result<()> {
    let mut output = io::stdout().lock();
    for (endpoint, port) in endpoints.iter().zip(ports) {
        writeln!(
            output,
            "listening on {}",
            location(endpoint, port.address())
        )?;
    }
    output.flush()
}

/// What went wrong, in the words of these commands where there are better ones.
fn explain(failure: &Failure) -> String {
    match failure.check::<ListenError>() {
        Some(ListenError::AddressInUse { endpoint, .. }) => format!(
            "cannot listen on {endpoint}: it is in use; choose another with --listen, or stop \
             the program that has it"
        ),
        Some(error) => error.to_string(),
        None => failure.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ropewalk_core::endpoint::ClientEndpoint;
    use std::io::ErrorKind;
    use std::path::Path;

    #[test]
    fn addresses_are_endpoints() {
        let plain: ServerEndpoint = "tcp:80".parse().unwrap();
        let tcp = |text: &str| as_endpoint(&plain, &Address::Tcp(text.parse().unwrap()));
        assert_eq!(tcp("127.0.0.1:80"), "tcp:127.0.0.1:80");
        assert_eq!(tcp("[::1]:80"), "tcp:[::1]:80");
        let unix = Address::Unix(Some(Path::new("/run/a").into()));
        assert_eq!(as_endpoint(&plain, &unix), "unix:/run/a");
        let colon = Address::Unix(Some(Path::new("/run/a:b").into()));
        let again: ClientEndpoint = as_endpoint(&plain, &colon).parse().unwrap();
        assert_eq!(again, UnixConnect::new("/run/a:b").into());
        for tls in ["tls:443:certificate=a", "proxy:tls:443:certificate=a"] {
            let address = Address::Tcp("127.0.0.1:443".parse().unwrap());
            let location = as_endpoint(&tls.parse().unwrap(), &address);
            assert_eq!(location, "tls:127.0.0.1:443");
        }
    }

    #[test]
    fn a_port_in_use_is_explained_with_the_option_to_change() {
        let error = ListenError::from_io("tcp:80", ErrorKind::AddrInUse.into());
        assert_eq!(
            explain(&Failure::new(error).context("starting")),
            "cannot listen on tcp:80: it is in use; choose another with --listen, or stop the \
             program that has it"
        );
    }
}
