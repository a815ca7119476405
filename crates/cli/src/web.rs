//! `ropewalk web`: serves a folder until a signal says to stop.
//!
//! This is where the command meets the libraries. The reactor library handles the signals, the
//! drain and the sharing of ports among the workers; the web library does all that is HTTP.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::rc::Rc;

use ropewalk_core::{Address, Factory, Failure, ListenError, Port};
use ropewalk_reactor::{Worker, Workers, WorkersError};
use ropewalk_web::{FileService, Site};

use crate::args::WebArgs;
use crate::exit::Stop;

/// Serves until stopped. Returns when what was in flight is finished.
pub(crate) fn run(args: &WebArgs) -> Result<(), Stop> {
    check_folder(&args.path)?;
    // Each connection takes a descriptor, and the soft limit is often 1024.
    match ropewalk_reactor::raise_descriptor_limit() {
        Ok(limit) => tracing::debug!(limit, "raised the limit of open descriptors"),
        Err(error) => tracing::warn!(%error, "cannot raise the limit of open descriptors"),
    }
    Workers::new(args.workers)
        .stop_on_signals(true)
        .run(|worker| set_up(worker, args))
        .map_err(|error| match error {
            WorkersError::Setup { failure, .. } => Stop::Failed(explain(&failure)),
            error => Stop::Failed(error.to_string()),
        })
}

/// Listens on one worker. The workers are set up one after another; when the last one runs, all
/// of them listen, signals are heeded, and the user is told.
fn set_up(worker: &Worker<'_>, args: &WebArgs) -> Result<(), Failure> {
    let files = FileService::new(&args.path)?
        .index(&args.index)
        .listing(args.listing);
    let site: Rc<dyn Factory> = Rc::new(Site::new(files));
    let ports = args
        .listen
        .iter()
        .map(|endpoint| worker.listen(endpoint, Rc::clone(&site)))
        .collect::<Result<Vec<_>, _>>()?;
    if worker.index() + 1 == args.workers.get() {
        worker.reactor().call_when_running(move || {
            if let Err(error) = announce(&ports) {
                tracing::warn!(%error, "cannot say on standard output where it listens");
            }
        });
    }
    Ok(())
}

fn announce(ports: &[Port]) -> io::Result<()> {
    let mut output = io::stdout().lock();
    for port in ports {
        writeln!(output, "listening on {}", location(port.address()))?;
    }
    output.flush()
}

/// An address as a browser takes it, where one does.
fn location(address: &Address) -> String {
    match address {
        Address::Tcp(address) => format!("http://{address}/"),
        Address::Unix(_) => address.to_string(),
    }
}

/// Says early, and better than the library could, that the folder cannot be served.
fn check_folder(path: &Path) -> Result<(), Stop> {
    let reason = match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => "it is not a folder".to_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => "there is no such folder".to_owned(),
        Err(error) => error.to_string(),
    };
    let path = path.display();
    Err(Stop::Failed(format!(
        "cannot serve {path}: {reason}; give another with --path"
    )))
}

/// What went wrong, in the words of this command where there are better ones.
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

    #[test]
    fn addresses_are_links_or_paths() {
        let tcp = |text: &str| location(&Address::Tcp(text.parse().unwrap()));
        assert_eq!(tcp("127.0.0.1:80"), "http://127.0.0.1:80/");
        assert_eq!(tcp("[::1]:80"), "http://[::1]:80/");
        let unix = Address::Unix(Some(Path::new("/run/a").into()));
        assert_eq!(location(&unix), "unix:/run/a");
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
