//! What a server's TLS is made of.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Instant;

use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{
    ClientHello, ResolvesServerCert, UnbufferedServerConnection, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{RootCertStore, ServerConfig, version};

use crate::certificates::{Certificates, Source};
use crate::pem::PemText;
use crate::{ServerLayer, TlsConfigError, sni};

/// Sessions that a server keeps for clients that cannot keep tickets.
const SESSIONS: usize = 256;

/// A server's certificates and settings, shared by all its connections; cheap to clone.
///
/// TLS 1.2 and 1.3, by rustls on *ring*. Sessions are resumed by tickets, whose keys are new every
/// 6 hours and old after 12; early data (0-RTT) is not offered, since it can be replayed.
///
/// ```
/// use ropewalk_core::{Address, Protocol, Transport};
/// use ropewalk_tls::{ServerTls, TlsFactory};
/// # struct Echo;
/// # impl Protocol for Echo { fn data_received(&mut self, t: &mut Transport, d: &[u8]) { t.write(d) } }
/// # let made = rcgen::generate_simple_self_signed(["example.com".to_owned()])?;
/// # let folder = tempfile::tempdir()?;
/// # let (certificate, key) = (folder.path().join("site.pem"), folder.path().join("site.key"));
/// # std::fs::write(&certificate, made.cert.pem())?;
/// # std::fs::write(&key, made.signing_key.serialize_pem())?;
/// let tls = ServerTls::builder()
///     .certificate(certificate, key)
///     .alpn(["http/1.1"])
///     .build()?;
/// let factory = TlsFactory::new(|_: &Address| Echo, tls);
/// # use ropewalk_core::Factory;
/// # assert_eq!(factory.build_layers(&Address::Unix(None)).len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ServerTls(Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    config: Arc<ServerConfig>,
    /// Those that may be renewed on disk.
    certificates: Option<Arc<Certificates>>,
    tolerant: bool,
}

/// Builds a [`ServerTls`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ServerTlsBuilder {
    source: Option<Source>,
    clients: Clients,
    alpn: Vec<Vec<u8>>,
    only_1_3: bool,
    tolerant: bool,
    time: Arc<dyn TimeProvider>,
}

/// Whether clients are to have certificates, and who issues them.
#[derive(Clone, Debug)]
enum Clients {
    NotAsked,
    Asked { roots: Roots, required: bool },
}

#[derive(Clone, Debug)]
enum Roots {
    File(PathBuf),
    Pem(Vec<u8>),
}

impl ServerTls {
    /// A builder with nothing said yet. It needs one of
    /// [`certificate`](ServerTlsBuilder::certificate),
    /// [`directory`](ServerTlsBuilder::directory) and [`pem`](ServerTlsBuilder::pem).
    pub fn builder() -> ServerTlsBuilder {
        ServerTlsBuilder {
            source: None,
            clients: Clients::NotAsked,
            alpn: Vec::new(),
            only_1_3: false,
            tolerant: false,
            time: Arc::new(DefaultTimeProvider),
        }
    }

    /// From a configuration of rustls, for what the builder does not offer. Early data is not
    /// accepted, whatever it says.
    #[must_use]
    pub fn from_config(config: Arc<ServerConfig>) -> Self {
        let mut config = Arc::unwrap_or_clone(config);
        config.max_early_data_size = 0;
        config.cert_resolver = Arc::new(Told(config.cert_resolver));
        Self(Arc::new(Shared {
            config: Arc::new(config),
            certificates: None,
            tolerant: false,
        }))
    }

    /// A layer for one connection: for [`StartTls`](crate::StartTls), or a factory of one's own.
    /// [`TlsFactory`](crate::TlsFactory) makes one for each connection.
    ///
    /// # Panics
    /// Never, as far as is known: rustls refuses only settings that cannot be made here.
    #[must_use]
    pub fn layer(&self) -> ServerLayer {
        let session = UnbufferedServerConnection::new(Arc::clone(&self.0.config));
        let session = session.expect("the settings have served to build the configuration");
        ServerLayer::new(session, self.clone())
    }

    pub(crate) fn reload_if_changed(&self, now: Instant) {
        if let Some(certificates) = &self.0.certificates {
            certificates.reload_if_changed(now);
        }
    }

    pub(crate) fn tolerates_truncation(&self) -> bool {
        self.0.tolerant
    }

    pub(crate) fn downgrade(&self) -> Weak<Shared> {
        Arc::downgrade(&self.0)
    }

    pub(crate) fn upgrade(shared: &Weak<Shared>) -> Option<Self> {
        shared.upgrade().map(Self)
    }
}

impl ServerTlsBuilder {
    /// The server's certificate, followed by those that it was issued by, and its private key, from
    /// PEM files; both may be the same. They are read again within a second when they have changed;
    /// what cannot be used is logged, and the old one stays in use.
    pub fn certificate(mut self, chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.source = Some(Source::Files(chain.into(), key.into()));
        self
    }

    /// Every file `*.pem` of a directory: a chain of certificates and its private key in each. A
    /// client gets the one that is for the name it asks for (a `*` in a certificate stands for one
    /// label), or else that of `default.pem`, or else that of the first file by name. Files that are
    /// added, changed or removed are seen within a second, as with
    /// [`certificate`](Self::certificate).
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.source = Some(Source::Directory(directory.into()));
        self
    }

    /// Certificates and key from text in PEM.
    pub fn pem(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.source = Some(Source::Pem(text.into()));
        self
    }

    /// Asks clients for certificates that were issued by an authority in the PEM file `roots`. With
    /// `required`, a client without one is refused; else it is for the protocol to look into
    /// [`TlsInfo::peer_certificates`](crate::TlsInfo::peer_certificates).
    pub fn client_roots(mut self, roots: impl Into<PathBuf>, required: bool) -> Self {
        let roots = Roots::File(roots.into());
        self.clients = Clients::Asked { roots, required };
        self
    }

    /// As [`client_roots`](Self::client_roots), from text in PEM.
    pub fn client_roots_pem(mut self, roots: impl Into<Vec<u8>>, required: bool) -> Self {
        let roots = Roots::Pem(roots.into());
        self.clients = Clients::Asked { roots, required };
        self
    }

    /// The application protocols that are spoken (ALPN, RFC 7301), the preferred one first. A client
    /// that offers some, and none of these, is refused. None, unless this is called.
    pub fn alpn<P: AsRef<[u8]>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        let protocols = protocols.into_iter();
        self.alpn = protocols.map(|name| name.as_ref().to_vec()).collect();
        self
    }

    /// Whether TLS 1.2 is refused. It is not, unless this is called; what is older always is.
    pub fn only_tls13(mut self, on: bool) -> Self {
        self.only_1_3 = on;
        self
    }

    /// Whether a peer may end the connection without saying that it is done: for protocols that know
    /// by themselves whether all has come. It may not, unless this is called: the connection is lost
    /// with [`Truncated`](crate::Truncated).
    pub fn tolerate_truncation(mut self, on: bool) -> Self {
        self.tolerant = on;
        self
    }

    /// By which clock certificates and tickets are valid: the system's, unless this is called.
    pub fn time_provider(mut self, time: Arc<dyn TimeProvider>) -> Self {
        self.time = time;
        self
    }

    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong with them, by file and line.
    pub fn build(self) -> Result<ServerTls, TlsConfigError> {
        let provider = Arc::new(ring::default_provider());
        let source = self.source.ok_or_else(|| {
            TlsConfigError::general("a TLS server needs a certificate and its private key")
        })?;
        let certificates = Arc::new(Certificates::load(source, Arc::clone(&provider))?);
        let versions: &[_] = match self.only_1_3 {
            true => &[&version::TLS13],
            false => &[&version::TLS13, &version::TLS12],
        };
        let config = ServerConfig::builder_with_details(Arc::clone(&provider), self.time)
            .with_protocol_versions(versions)
            .map_err(|error| cannot(&error))?;
        let config = match self.clients {
            Clients::NotAsked => config.with_no_client_auth(),
            Clients::Asked { roots, required } => {
                config.with_client_cert_verifier(verifier(&roots, required, provider)?)
            }
        };
        let mut config = config.with_cert_resolver(Arc::clone(&certificates) as _);
        config.alpn_protocols = self.alpn;
        // All that are offered are good; but scanners want the server to choose.
        config.ignore_client_order = true;
        config.ticketer = ring::Ticketer::new().map_err(|error| cannot(&error))?;
        config.session_storage = rustls::server::ServerSessionMemoryCache::new(SESSIONS);
        Ok(ServerTls(Arc::new(Shared {
            config: Arc::new(config),
            certificates: Some(certificates),
            tolerant: self.tolerant,
        })))
    }
}

fn verifier(
    roots: &Roots,
    required: bool,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsConfigError> {
    let text = match roots {
        Roots::File(path) => PemText::read(path)?,
        Roots::Pem(text) => PemText::new(text, "the PEM text"),
    };
    let roots: RootCertStore = text.roots()?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = match required {
        true => verifier,
        false => verifier.allow_unauthenticated(),
    };
    let verifier = verifier.build();
    verifier.map_err(|error| text.error(None, format!("cannot be used: {error}")))
}

fn cannot(error: &rustls::Error) -> TlsConfigError {
    TlsConfigError::general(format!("TLS cannot be set up: {error}"))
}

/// Somebody else's choice of certificates, from which the name is learnt too.
#[derive(Debug)]
struct Told(Arc<dyn ResolvesServerCert>);

impl ResolvesServerCert for Told {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        sni::put(hello.server_name());
        self.0.resolve(hello)
    }

    fn only_raw_public_keys(&self) -> bool {
        self.0.only_raw_public_keys()
    }
}
