//! What a client's TLS is made of.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{ClientConfig, RootCertStore, version};

use crate::pem::PemText;
use crate::{ClientLayer, TlsConfigError, identity};

/// For so many servers a client keeps what it takes to resume a session.
const SESSIONS: usize = 256;

/// Whom a client trusts, and as whom it shows itself; shared by its connections, and cheap to clone.
///
/// TLS 1.2 and 1.3, by rustls on *ring*. A server is verified before anything is sent to it: its
/// certificate was issued by one of the roots, is for the name that was asked for, and is valid
/// today. (Whether it was revoked is not asked.) Sessions are resumed. The verification cannot be
/// turned off; trust a certificate by making it a root.
///
/// ```
/// use ropewalk_tls::ClientTls;
///
/// # let made = rcgen::generate_simple_self_signed(["example.com".to_owned()])?;
/// # let folder = tempfile::tempdir()?;
/// # let roots = folder.path().join("roots.pem");
/// # std::fs::write(&roots, made.cert.pem())?;
/// let tls = ClientTls::builder().roots(roots).alpn(["http/1.1"]).build()?;
/// let layer = tls.layer("example.com")?;
/// # drop(layer);
/// assert!(tls.layer("two words").is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    tolerant: bool,
}

/// Builds a [`ClientTls`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientTlsBuilder {
    roots: Roots,
    identity: Option<Identity>,
    alpn: Vec<Vec<u8>>,
    only_1_3: bool,
    tolerant: bool,
    time: Arc<dyn TimeProvider>,
}

#[derive(Clone, Debug)]
enum Roots {
    Platform,
    File(PathBuf),
    Pem(Vec<u8>),
}

#[derive(Clone, Debug)]
enum Identity {
    Files(PathBuf, PathBuf),
    Pem(Vec<u8>),
}

impl ClientTls {
    /// A builder that trusts whom the platform trusts, and has no certificate of its own.
    pub fn builder() -> ClientTlsBuilder {
        ClientTlsBuilder {
            roots: Roots::Platform,
            identity: None,
            alpn: Vec::new(),
            only_1_3: false,
            tolerant: false,
            time: Arc::new(DefaultTimeProvider),
        }
    }

    /// From a configuration of rustls, for what the builder does not offer. Early data is not sent,
    /// whatever it says.
    #[must_use]
    pub fn from_config(config: Arc<ClientConfig>) -> Self {
        let mut config = Arc::unwrap_or_clone(config);
        config.enable_early_data = false;
        Self {
            config: Arc::new(config),
            tolerant: false,
        }
    }

    /// A layer for one connection to the server `name`, a host name or an IP address: for
    /// [`StartTls`](crate::StartTls), or a factory of one's own.
    /// [`TlsClientFactory`](crate::TlsClientFactory) makes one for each connection.
    ///
    /// # Errors
    /// `name` is neither.
    pub fn layer(&self, name: &str) -> Result<ClientLayer, InvalidServerName> {
        let invalid = || InvalidServerName(name.to_owned());
        let server = ServerName::try_from(name.to_owned()).map_err(|_| invalid())?;
        let session = UnbufferedClientConnection::new(Arc::clone(&self.config), server);
        let session = session.map_err(|_| invalid())?;
        Ok(ClientLayer::new(session, self.tolerant, name.to_owned()))
    }
}

/// What a certificate cannot be for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidServerName(pub String);

impl fmt::Display for InvalidServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is no name that a server can be verified for; it takes a host name or an IP \
             address",
            self.0.escape_default()
        )
    }
}

impl Error for InvalidServerName {}

impl ClientTlsBuilder {
    /// Trusts the authorities in the PEM file `roots`, and no others.
    pub fn roots(mut self, roots: impl Into<PathBuf>) -> Self {
        self.roots = Roots::File(roots.into());
        self
    }

    /// As [`roots`](Self::roots), from text in PEM.
    pub fn roots_pem(mut self, roots: impl Into<Vec<u8>>) -> Self {
        self.roots = Roots::Pem(roots.into());
        self
    }

    /// Shows this certificate (followed by those that it was issued by) to servers that ask for one.
    pub fn certificate(mut self, chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.identity = Some(Identity::Files(chain.into(), key.into()));
        self
    }

    /// As [`certificate`](Self::certificate), with its key, from text in PEM.
    pub fn certificate_pem(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.identity = Some(Identity::Pem(text.into()));
        self
    }

    /// The application protocols that are offered (ALPN, RFC 7301), the preferred one first.
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

    /// See [`ServerTlsBuilder::tolerate_truncation`](crate::ServerTlsBuilder::tolerate_truncation).
    pub fn tolerate_truncation(mut self, on: bool) -> Self {
        self.tolerant = on;
        self
    }

    /// By which clock certificates are valid: the system's, unless this is called.
    pub fn time_provider(mut self, time: Arc<dyn TimeProvider>) -> Self {
        self.time = time;
        self
    }

    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong with them, by file and line; or the platform has no roots.
    pub fn build(self) -> Result<ClientTls, TlsConfigError> {
        let provider = Arc::new(ring::default_provider());
        let versions: &[_] = match self.only_1_3 {
            true => &[&version::TLS13],
            false => &[&version::TLS13, &version::TLS12],
        };
        let roots = match &self.roots {
            Roots::Platform => platform_roots()?,
            Roots::File(path) => Arc::new(PemText::read(path)?.roots()?),
            Roots::Pem(text) => Arc::new(PemText::new(text, "the PEM text").roots()?),
        };
        let config = ClientConfig::builder_with_details(Arc::clone(&provider), self.time)
            .with_protocol_versions(versions)
            .map_err(|error| TlsConfigError::general(format!("TLS cannot be set up: {error}")))?
            .with_root_certificates(roots);
        let identity = match self.identity {
            None => None,
            Some(Identity::Files(chain, key)) => {
                Some((PemText::read(&chain)?, Some(PemText::read(&key)?)))
            }
            Some(Identity::Pem(text)) => Some((PemText::new(&text, "the PEM text"), None)),
        };
        let mut config = match identity {
            None => config.with_no_client_auth(),
            Some((chain, key)) => {
                let key = key.as_ref().unwrap_or(&chain);
                let identity = identity::load(&chain, key, &provider)?;
                let resolver = rustls::sign::SingleCertAndKey::from(identity);
                config.with_client_cert_resolver(Arc::new(resolver))
            }
        };
        config.alpn_protocols = self.alpn;
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(ClientTls {
            config: Arc::new(config),
            tolerant: self.tolerant,
        })
    }
}

/// Whom the platform trusts, read once for the process.
fn platform_roots() -> Result<Arc<RootCertStore>, TlsConfigError> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(roots) = ROOTS.get() {
        return Ok(Arc::clone(roots));
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // What one platform trusts and webpki cannot read is of no use, and does no harm.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map(|error| format!(" ({error})"));
        return Err(TlsConfigError::general(format!(
            "this machine has no list of authorities to trust{}; install it (the package is mostly \
             called `ca-certificates`), or give a file of your own (`roots`)",
            why.unwrap_or_default()
        )));
    }
    Ok(Arc::clone(ROOTS.get_or_init(|| Arc::new(roots))))
}
