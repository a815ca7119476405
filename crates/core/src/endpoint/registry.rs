//! Kinds of endpoints that others have added to those that are built in.
//!
//! The registry is the process's, since [`FromStr`](std::str::FromStr) has nothing else to ask. It
//! only grows: what a text means does not change while a program runs.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use super::client::ClientEndpoint;
use super::description::Description;
use super::error::EndpointError;
use super::kind::{ClientKind, ServerKind};
use super::server::ServerEndpoint;

/// Reads a description of a registered kind of server endpoint.
pub type ParseServer = fn(&Description) -> Result<Arc<dyn ServerKind>, EndpointError>;

/// Reads a description of a registered kind of client endpoint.
pub type ParseClient = fn(&Description) -> Result<Arc<dyn ClientKind>, EndpointError>;

static SERVERS: RwLock<BTreeMap<String, ParseServer>> = RwLock::new(BTreeMap::new());
static CLIENTS: RwLock<BTreeMap<String, ParseClient>> = RwLock::new(BTreeMap::new());

/// Adds a kind of server endpoint for this process: from now on, text that begins with `name` and a
/// colon is read by `parse`.
///
/// # Errors
/// There is a kind of this name, built in or registered, or it is no name: one of lower-case
/// letters, digits, `-` and `_`, which begins with a letter. To register a kind twice is an error
/// even if it is the same, since nobody can see that.
///
/// ```
/// use ropewalk_core::endpoint::{
///     Description, EndpointError, Form, ServerEndpoint, ServerKind, register_server_kind,
/// };
/// use ropewalk_core::{Factory, ReactorCore};
/// use std::{fmt, io, rc::Rc, sync::Arc};
///
/// /// `local:PORT`: a TCP port of this machine alone.
/// #[derive(Debug)]
/// struct Local(String);
///
/// impl Local {
///     fn parse(description: &Description) -> Result<Arc<dyn ServerKind>, EndpointError> {
///         let form = Form { usage: "local:PORT", arguments: &["port"], options: &[] };
///         description.check(&form)?;
///         let port = description.argument(0).expect("it was checked");
///         Ok(Arc::new(Self(port.text().to_owned())))
///     }
/// }
///
/// impl fmt::Display for Local {
///     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
///         write!(f, "local:{}", self.0)
///     }
/// }
///
/// impl ServerKind for Local {
///     fn base(&self) -> io::Result<ServerEndpoint> {
///         let tcp = format!("tcp:{}:interface=127.0.0.1", self.0);
///         tcp.parse().map_err(io::Error::other)
///     }
///     fn factory(
///         &self,
///         _: &dyn ReactorCore,
///         factory: Rc<dyn Factory>,
///     ) -> io::Result<Rc<dyn Factory>> {
///         Ok(factory)
///     }
/// }
///
/// register_server_kind("local", Local::parse)?;
/// let endpoint: ServerEndpoint = "local:8080".parse()?;
/// assert_eq!(endpoint.to_string(), "local:8080");
/// assert!(register_server_kind("local", Local::parse).is_err());
/// assert!(register_server_kind("tcp", Local::parse).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn register_server_kind(name: &str, parse: ParseServer) -> Result<(), KindTaken> {
    register(&SERVERS, ServerEndpoint::BUILT_IN, name, parse)
}

/// Adds a kind of client endpoint for this process: see [`register_server_kind`]. The two have
/// nothing to do with each other; a name may be registered as both.
///
/// # Errors
/// As those of [`register_server_kind`].
pub fn register_client_kind(name: &str, parse: ParseClient) -> Result<(), KindTaken> {
    register(&CLIENTS, ClientEndpoint::BUILT_IN, name, parse)
}

/// A kind of endpoint cannot have this name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KindTaken {
    /// It is a kind that is built in.
    BuiltIn(String),
    /// It was registered before.
    Registered(String),
    /// It is no name that could stand before a colon.
    NotAName(String),
}

impl fmt::Display for KindTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn(name) => write!(
                f,
                "the kind of endpoint `{name}` is built in; choose another name"
            ),
            Self::Registered(name) => write!(
                f,
                "the kind of endpoint `{name}` was registered before; register it once, or choose \
                 another name"
            ),
            Self::NotAName(name) => write!(
                f,
                "a kind of endpoint cannot be called {name:?}; a name begins with a lower-case \
                 letter, and has only those, digits, `-` and `_`"
            ),
        }
    }
}

impl Error for KindTaken {}

pub(super) fn server_parser(name: &str) -> Option<ParseServer> {
    find(&SERVERS, name)
}

pub(super) fn client_parser(name: &str) -> Option<ParseClient> {
    find(&CLIENTS, name)
}

/// The names of all kinds of server endpoints.
pub(super) fn server_kinds() -> Vec<String> {
    names(&SERVERS, ServerEndpoint::BUILT_IN)
}

/// The names of all kinds of client endpoints.
pub(super) fn client_kinds() -> Vec<String> {
    names(&CLIENTS, ClientEndpoint::BUILT_IN)
}

fn register<P>(
    registry: &RwLock<BTreeMap<String, P>>,
    built_in: &[&str],
    name: &str,
    parse: P,
) -> Result<(), KindTaken> {
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(is_name) {
        return Err(KindTaken::NotAName(name.to_owned()));
    }
    if built_in.contains(&name) {
        return Err(KindTaken::BuiltIn(name.to_owned()));
    }
    let mut kinds = registry.write().unwrap_or_else(PoisonError::into_inner);
    if kinds.contains_key(name) {
        return Err(KindTaken::Registered(name.to_owned()));
    }
    kinds.insert(name.to_owned(), parse);
    Ok(())
}

fn find<P: Copy>(registry: &RwLock<BTreeMap<String, P>>, name: &str) -> Option<P> {
    let kinds = registry.read().unwrap_or_else(PoisonError::into_inner);
    kinds.get(name).copied()
}

fn names<P>(registry: &RwLock<BTreeMap<String, P>>, built_in: &[&str]) -> Vec<String> {
    let kinds = registry.read().unwrap_or_else(PoisonError::into_inner);
    let built_in = built_in.iter().map(|name| (*name).to_owned());
    built_in.chain(kinds.keys().cloned()).collect()
}
