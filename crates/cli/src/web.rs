//! `ropewalk web`: serves a folder until a signal says to stop.
//!
//! This is where the command meets the web library, which does all that is HTTP.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::rc::Rc;

use ropewalk_core::endpoint::ServerEndpoint;
use ropewalk_core::{Address, Factory};
use ropewalk_web::{FileService, Site};

use crate::args::WebArgs;
use crate::exit::Stop;
use crate::serving::{Serving, speaks_tls};

/// Serves until stopped. Returns when what was in flight is finished.
pub(crate) fn run(args: &WebArgs) -> Result<(), Stop> {
    check_folder(&args.path)?;
    let serving = Serving {
        listen: &args.listen,
        workers: args.workers,
        location: Some(location),
    };
    serving.run(|| {
        let files = FileService::new(&args.path)?
            .index(&args.index)
            .listing(args.listing);
        Ok(Rc::new(Site::new(files)) as Rc<dyn Factory>)
    })
}

/// An address as a browser takes it, where one does.
fn location(endpoint: &ServerEndpoint, address: &Address) -> String {
    match address {
        Address::Tcp(address) if speaks_tls(endpoint) => format!("https://{address}/"),
        Address::Tcp(address) => format!("http://{address}/"),
        Address::Udp(_) | Address::Unix(_) | Address::Pipe(_) => address.to_string(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_links_or_paths() {
        let plain = "tcp:80".parse().unwrap();
        let tcp = |text: &str| location(&plain, &Address::Tcp(text.parse().unwrap()));
        assert_eq!(tcp("127.0.0.1:80"), "http://127.0.0.1:80/");
        assert_eq!(tcp("[::1]:80"), "http://[::1]:80/");
        let unix = Address::Unix(Some(Path::new("/run/a").into()));
        assert_eq!(location(&plain, &unix), "unix:/run/a");
    }
}
