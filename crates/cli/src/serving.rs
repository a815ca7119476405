//! What all commands that serve have in common: they listen, say where, run until a signal says to
//! stop, and finish what is in flight.
//!
//! The reactor library handles the signals, the drain and the sharing of ports among the workers.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::rc::Rc;

use ropewalk_core::endpoint::ServerEndpoint;
use ropewalk_core::{Address, Factory, Failure, ListenError, Port};
use ropewalk_reactor::{Worker, Workers, WorkersError};

use crate::exit::Stop;

/// Where to serve, and how.
pub(crate) struct Serving<'a> {
    pub(crate) listen: &'a [ServerEndpoint],
    pub(crate) workers: NonZeroUsize,
    /// How the user is told of an address.
    pub(crate) location: fn(&Address) -> String,
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
            .map(|endpoint| worker.listen(endpoint, Rc::clone(&factory)))
            .collect::<Result<Vec<_>, _>>()?;
        if worker.index() + 1 == self.workers.get() {
            let location = self.location;
            worker.reactor().call_when_running(move || {
                if let Err(error) = announce(&ports, location) {
                    tracing::warn!(%error, "cannot say on standard output where it listens");
                }
            });
        }
        Ok(())
    }
}

/// An address as an endpoint: what a client of ours would be told to connect to.
pub(crate) fn as_endpoint(address: &Address) -> String {
    match address {
        Address::Tcp(address) => format!("tcp:{address}"),
        Address::Udp(address) => format!("udp:{address}"),
        Address::Unix(_) => address.to_string(),
    }
}

fn announce(ports: &[Port], location: fn(&Address) -> String) -> io::Result<()> {
    let mut output = io::stdout().lock();
    for port in ports {
        writeln!(output, "listening on {}", location(port.address()))?;
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
    use std::io::ErrorKind;
    use std::path::Path;

    #[test]
    fn addresses_are_endpoints() {
        let tcp = |text: &str| as_endpoint(&Address::Tcp(text.parse().unwrap()));
        assert_eq!(tcp("127.0.0.1:80"), "tcp:127.0.0.1:80");
        assert_eq!(tcp("[::1]:80"), "tcp:[::1]:80");
        let unix = Address::Unix(Some(Path::new("/run/a").into()));
        assert_eq!(as_endpoint(&unix), "unix:/run/a");
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
