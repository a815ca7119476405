//! What the endpoints `tls:…` stand for: TCP, with TLS around the factory.
//!
//! All that listens by the same certificates in one process shares what was read, so that any worker
//! resumes a session of any other; and so do all connections that are made with the same roots.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use ropewalk_core::endpoint::{
    ClientEndpoint, ClientKind, Host, ServerEndpoint, ServerKind, TlsCertificates, TlsConnect,
    TlsListen,
};
use ropewalk_core::{Commons, Factory, ReactorCore};
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

use crate::server::Shared;
use crate::stamp::{self, Stamp};
use crate::{ClientTls, ServerTls, TlsClientFactory, TlsConfigError, TlsFactory};

/// So many sets of roots and certificates are kept for clients; more are read again.
const CLIENTS: usize = 64;

/// Listens for TLS: for reactors, which resolve [`ServerEndpoint::Tls`] to it, and for tests in
/// memory.
///
/// ```
/// use ropewalk_core::endpoint::{ServerEndpoint, TlsCertificates, TlsListen};
/// use ropewalk_core::testing::MemoryReactor;
/// use ropewalk_core::{Address, Protocol, Transport};
/// use ropewalk_tls::TlsServerKind;
/// use std::{rc::Rc, sync::Arc};
/// # struct Echo;
/// # impl Protocol for Echo { fn data_received(&mut self, t: &mut Transport, d: &[u8]) { t.write(d) } }
/// # let made = rcgen::generate_simple_self_signed(["example.com".to_owned()])?;
/// # let folder = tempfile::tempdir()?;
/// # let file = folder.path().join("site.pem");
/// # std::fs::write(&file, format!("{}{}", made.cert.pem(), made.signing_key.serialize_pem()))?;
/// let listen = TlsListen::new(443, TlsCertificates::Files(file.clone(), file));
/// let endpoint = ServerEndpoint::Other(Arc::new(TlsServerKind::new(listen)));
/// MemoryReactor::new().listen(&endpoint, Rc::new(|_: &Address| Echo))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct TlsServerKind(TlsListen);

/// Connects for TLS: see [`TlsServerKind`].
#[derive(Clone, Debug)]
pub struct TlsClientKind(TlsConnect);

impl TlsServerKind {
    /// What `listen` describes. Its files are read when somebody listens.
    #[must_use]
    pub fn new(listen: TlsListen) -> Self {
        Self(listen)
    }
}

impl TlsClientKind {
    /// What `connect` describes. Its files are read when somebody connects, unless they were read
    /// before and have not changed.
    #[must_use]
    pub fn new(connect: TlsConnect) -> Self {
        Self(connect)
    }
}

impl fmt::Display for TlsServerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TlsClientKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ServerKind for TlsServerKind {
    fn base(&self) -> io::Result<ServerEndpoint> {
        Ok(self.0.tcp.clone().into())
    }

    fn factory(
        &self,
        reactor: &dyn ReactorCore,
        factory: Rc<dyn Factory>,
    ) -> io::Result<Rc<dyn Factory>> {
        let mut listen = self.0.clone();
        if listen.alpn.is_empty() {
            listen.alpn = factory.application_protocols();
        }
        let tls = server_tls(&listen, &reactor.commons()).map_err(io::Error::other)?;
        let mut factory = TlsFactory::new(factory, tls);
        if let Some(within) = self.0.handshake {
            factory = factory.handshake(within);
        }
        if let Some(max) = self.0.pending {
            factory = factory.max_pending(max);
        }
        Ok(Rc::new(factory))
    }
}

impl ClientKind for TlsClientKind {
    fn base(&self) -> io::Result<ClientEndpoint> {
        Ok(self.0.tcp.clone().into())
    }

    fn factory(
        &self,
        reactor: &dyn ReactorCore,
        factory: Rc<dyn Factory>,
    ) -> io::Result<Rc<dyn Factory>> {
        let tls = client_tls(&self.0, &reactor.commons()).map_err(io::Error::other)?;
        let name = match (&self.0.name, &self.0.tcp.host) {
            (Some(name), _) => name.clone(),
            (None, Host::Ip(address)) => address.to_string(),
            // `fe80::1%eth0` is no name that could stand in a certificate; the address may.
            (None, Host::Name(name)) => name.split('%').next().unwrap_or(name).to_owned(),
        };
        let factory = TlsClientFactory::new(factory, tls, name).map_err(io::Error::other)?;
        Ok(Rc::new(factory))
    }

    fn timeout(&self) -> Duration {
        self.0.tcp.timeout
    }
}

/// What was read for the servers of a process that are there.
#[derive(Default)]
struct Servers(Mutex<BTreeMap<String, Weak<Shared>>>);

/// What was read for the clients of a process, and what its files looked like then.
#[derive(Default)]
struct Clients(Mutex<BTreeMap<String, (Vec<Stamp>, ClientTls)>>);

/// The time of day of a process, which keeps what is configured with it.
#[derive(Debug)]
struct ProcessTime(Weak<Commons>);

impl TimeProvider for ProcessTime {
    fn current_time(&self) -> Option<UnixTime> {
        let wall_clock = self.0.upgrade()?.wall_clock();
        let since = wall_clock.duration_since(SystemTime::UNIX_EPOCH);
        since.ok().map(UnixTime::since_unix_epoch)
    }
}

fn server_tls(listen: &TlsListen, commons: &Arc<Commons>) -> Result<ServerTls, TlsConfigError> {
    // All but where it listens, and for how long and how many it waits.
    let mut only = TlsListen::new(0, listen.certificates.clone());
    only.client_roots.clone_from(&listen.client_roots);
    only.client_required = listen.client_required;
    only.alpn.clone_from(&listen.alpn);
    only.only_tls13 = listen.only_tls13;
    let text = only.to_string();
    let shared = commons.get::<Servers>();
    let mut servers = lock(&shared.0);
    if let Some(tls) = servers.get(&text).and_then(ServerTls::upgrade) {
        return Ok(tls);
    }
    let builder = ServerTls::builder()
        .time_provider(Arc::new(ProcessTime(Arc::downgrade(commons))))
        .alpn(&listen.alpn)
        .only_tls13(listen.only_tls13);
    let builder = match &listen.certificates {
        TlsCertificates::Files(chain, key) => builder.certificate(chain, key),
        TlsCertificates::Directory(directory) => builder.directory(directory),
    };
    let builder = match &listen.client_roots {
        Some(roots) => builder.client_roots(roots, listen.client_required),
        None => builder,
    };
    let tls = builder.build()?;
    servers.retain(|_, tls| tls.strong_count() > 0);
    servers.insert(text, tls.downgrade());
    Ok(tls)
}

fn client_tls(connect: &TlsConnect, commons: &Arc<Commons>) -> Result<ClientTls, TlsConfigError> {
    let mut only = TlsConnect::new("example.com", 443);
    only.roots.clone_from(&connect.roots);
    only.certificate.clone_from(&connect.certificate);
    only.alpn.clone_from(&connect.alpn);
    only.only_tls13 = connect.only_tls13;
    let text = only.to_string();
    let own = connect.certificate.iter();
    let own = own.flat_map(|(chain, key)| [chain, key]);
    let files = connect.roots.iter().chain(own);
    let stamps: Vec<_> = files.map(|path| stamp::of(path)).collect();
    let shared = commons.get::<Clients>();
    let mut clients = lock(&shared.0);
    if let Some((read, tls)) = clients.get(&text)
        && *read == stamps
    {
        return Ok(tls.clone());
    }
    let mut builder = ClientTls::builder()
        .time_provider(Arc::new(ProcessTime(Arc::downgrade(commons))))
        .alpn(&connect.alpn)
        .only_tls13(connect.only_tls13);
    if let Some(roots) = &connect.roots {
        builder = builder.roots(roots);
    }
    if let Some((chain, key)) = &connect.certificate {
        builder = builder.certificate(chain, key);
    }
    let tls = builder.build()?;
    if clients.len() >= CLIENTS {
        clients.clear();
    }
    clients.insert(text, (stamps, tls.clone()));
    Ok(tls)
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
