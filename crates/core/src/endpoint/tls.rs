//! TLS over TCP: what a reactor needs to know, as data. The doing is in `ropewalk_tls`.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::client::TcpConnect;
use super::description::{Description, Escaped};
use super::error::EndpointError;
use super::form::Form;
use super::server::TcpListen;
use super::value::{InWords, PATH, TIMEOUT, Value};

const LISTEN: Form = Form {
    usage: "tls:PORT:certificate=FILE",
    arguments: &["port"],
    options: &[
        "certificate",
        "key",
        "directory",
        "client_roots",
        "client_certificate",
        "alpn",
        "minimum",
        "handshake",
        "pending",
        "interface",
        "backlog",
        "reuse_port",
        "only_v6",
        "no_delay",
        "keep_alive",
        "send_buffer",
        "receive_buffer",
    ],
};

const CONNECT: Form = Form {
    usage: "tls:HOST:PORT",
    arguments: &["host", "port"],
    options: &[
        "roots",
        "certificate",
        "key",
        "name",
        "alpn",
        "minimum",
        "timeout",
        "bind",
        "no_delay",
        "keep_alive",
        "send_buffer",
        "receive_buffer",
    ],
};

const ALPN: Value<Vec<String>> = Value {
    expected: "names of application protocols with commas between them, such as `h2,http/1.1`",
    parse: |text| {
        let names = text.split(',').map(str::to_owned);
        let names: Vec<_> = names.collect();
        let fits = |name: &String| (1..=255).contains(&name.len());
        names.iter().all(fits).then_some(names)
    },
};

const MINIMUM: Value<bool> = Value {
    expected: "`1.2` or `1.3`",
    parse: |text| match text {
        "1.2" => Some(false),
        "1.3" => Some(true),
        _ => None,
    },
};

const CLIENT_CERTIFICATE: Value<bool> = Value {
    expected: "`required` or `optional`",
    parse: |text| match text {
        "required" => Some(true),
        "optional" => Some(false),
        _ => None,
    },
};

const PENDING: Value<usize> = Value {
    expected: "a number of at least 1",
    parse: |text| {
        let digits = text.bytes().all(|digit| digit.is_ascii_digit());
        let number = digits.then(|| text.parse().ok()).flatten();
        number.filter(|number| *number > 0)
    },
};

const NAME: Value<String> = Value {
    expected: "a host name or an IP address (an IPv6 one in brackets)",
    parse: |text| {
        let odd = |c: char| c.is_control() || c.is_whitespace();
        if let Some(address) = text.strip_prefix('[') {
            let address: Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
            return Some(address.to_string());
        }
        (!text.contains(odd)).then(|| text.to_owned())
    },
};

/// A TCP port to listen on for TLS, and the certificates for it. The settings that are left out here
/// are made with a `TlsFactory` of `ropewalk_tls`.
///
/// ```
/// use ropewalk_core::endpoint::{ServerEndpoint, TlsCertificates, TlsListen};
///
/// let text = "tls:443:certificate=site.pem:key=site.key:alpn=http/1.1";
/// let parsed: ServerEndpoint = text.parse()?;
/// let certificates = TlsCertificates::Files("site.pem".into(), "site.key".into());
/// let built = TlsListen::new(443, certificates).alpn(["http/1.1"]);
/// assert_eq!(parsed, built.into());
/// assert_eq!(parsed.to_string(), text);
/// # Ok::<(), ropewalk_core::endpoint::EndpointError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsListen {
    /// Where, and how.
    pub tcp: TcpListen,
    /// The server's certificates.
    pub certificates: TlsCertificates,
    /// The file with the authorities that issue certificates for clients; `None`, the default, asks
    /// clients for none.
    pub client_roots: Option<PathBuf>,
    /// Whether a client without a certificate is refused, where they are asked for one. It is, by
    /// default.
    pub client_required: bool,
    /// The application protocols that are spoken (ALPN), the preferred one first. By default those
    /// that the factory names ([`Factory::application_protocols`](crate::Factory::application_protocols)).
    pub alpn: Vec<String>,
    /// Whether TLS 1.2 is refused.
    pub only_tls13: bool,
    /// How long a handshake may take; `None`, the default, leaves it to the factory's limits, which
    /// have 10 s.
    pub handshake: Option<Duration>,
    /// How many handshakes may be under way at once; `None`, the default, are 1024.
    pub pending: Option<usize>,
}

/// Where the certificates of a server are, with their private keys: in PEM, and read again when they
/// have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsCertificates {
    /// A chain of certificates, the server's own first, and its key. Both may be the same file.
    Files(PathBuf, PathBuf),
    /// Every `*.pem` of a directory, each with a chain and its key. The client gets the one for the
    /// name that it asks for, or else that of `default.pem`, or else that of the first file.
    Directory(PathBuf),
}

/// A TCP port to connect to for TLS, and whom to trust.
///
/// ```
/// use ropewalk_core::endpoint::{ClientEndpoint, TlsConnect};
///
/// let parsed: ClientEndpoint = "tls:192.0.2.1:443:roots=own.pem:name=example.com".parse()?;
/// let built = TlsConnect::new("192.0.2.1", 443).roots("own.pem").name("example.com");
/// assert_eq!(parsed, built.into());
/// # Ok::<(), ropewalk_core::endpoint::EndpointError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsConnect {
    /// Where to, and how. The time-out covers the handshake too.
    pub tcp: TcpConnect,
    /// The file with the authorities to trust; `None`, the default, trusts those that the platform
    /// does.
    pub roots: Option<PathBuf>,
    /// The client's own certificate and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The name that the server's certificate must be for; `None`, the default, is the host.
    pub name: Option<String>,
    /// The application protocols that are offered (ALPN), the preferred one first. None by default.
    pub alpn: Vec<String>,
    /// Whether TLS 1.2 is refused.
    pub only_tls13: bool,
}

impl TlsListen {
    /// Listens on `port` of all interfaces; port 0 is any free one.
    #[must_use]
    pub fn new(port: u16, certificates: TlsCertificates) -> Self {
        Self::over(TcpListen::new(port), certificates)
    }

    /// Listens where `tcp` says.
    #[must_use]
    pub fn over(tcp: TcpListen, certificates: TlsCertificates) -> Self {
        Self {
            tcp,
            certificates,
            client_roots: None,
            client_required: true,
            alpn: Vec::new(),
            only_tls13: false,
            handshake: None,
            pending: None,
        }
    }

    /// Sets [`client_roots`](Self#structfield.client_roots) and
    /// [`client_required`](Self#structfield.client_required).
    #[must_use]
    pub fn client_roots(mut self, file: impl Into<PathBuf>, required: bool) -> Self {
        self.client_roots = Some(file.into());
        self.client_required = required;
        self
    }

    /// Sets [`alpn`](Self#structfield.alpn): names of 1 to 255 bytes, without commas.
    #[must_use]
    pub fn alpn<P: Into<String>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.alpn = protocols.into_iter().map(Into::into).collect();
        self
    }

    /// Sets [`only_tls13`](Self#structfield.only_tls13).
    #[must_use]
    pub fn only_tls13(mut self, on: bool) -> Self {
        self.only_tls13 = on;
        self
    }

    /// Sets [`handshake`](Self#structfield.handshake), which is not zero.
    #[must_use]
    pub fn handshake(mut self, within: Duration) -> Self {
        self.handshake = Some(within);
        self
    }

    /// Sets [`pending`](Self#structfield.pending), which is not zero.
    #[must_use]
    pub fn pending(mut self, max: usize) -> Self {
        self.pending = Some(max);
        self
    }

    pub(super) fn read(description: &Description) -> Result<Self, EndpointError> {
        TcpListen::check_order(description)?;
        description.check(&LISTEN)?;
        let certificates = TlsCertificates::read(description)?;
        let mut listen = Self::over(TcpListen::read_fields(description)?, certificates);
        listen.client_roots = description.read_option("client_roots", &PATH)?;
        if let Some(required) =
            description.read_option("client_certificate", &CLIENT_CERTIFICATE)?
        {
            if listen.client_roots.is_none() {
                let message = "the authorities that issue certificates for clients are missing; \
                               add `client_roots=FILE`";
                return Err(at_option(description, "client_certificate", message));
            }
            listen.client_required = required;
        }
        listen.alpn = description.read_option("alpn", &ALPN)?.unwrap_or_default();
        listen.only_tls13 = description
            .read_option("minimum", &MINIMUM)?
            .unwrap_or_default();
        listen.handshake = description.read_option("handshake", &TIMEOUT)?;
        listen.pending = description.read_option("pending", &PENDING)?;
        Ok(listen)
    }
}

impl TlsCertificates {
    fn read(description: &Description) -> Result<Self, EndpointError> {
        let certificate = description.read_option("certificate", &PATH)?;
        let key = description.read_option("key", &PATH)?;
        let directory = description.read_option("directory", &PATH)?;
        match (certificate, key, directory) {
            (Some(certificate), key, None) => {
                let key = key.unwrap_or_else(|| certificate.clone());
                Ok(Self::Files(certificate, key))
            }
            (None, None, Some(directory)) => Ok(Self::Directory(directory)),
            (None, None, None) => {
                let message = "the certificate is missing; add `certificate=FILE` and `key=FILE`, \
                               or `directory=DIR`";
                Err(description.error(description.text().chars().count() + 1, message))
            }
            (None, Some(_), None) => {
                let message = "a key without its certificate; add `certificate=FILE`";
                Err(at_option(description, "key", message))
            }
            (_, _, Some(_)) => {
                let message = "the certificates are in a directory or in files of their own; keep \
                               one of `directory` and `certificate`";
                Err(at_option(description, "directory", message))
            }
        }
    }
}

impl TlsConnect {
    /// Connects to `port` of `host`, a name or an address, and expects it to show a certificate for
    /// that.
    #[must_use]
    pub fn new(host: impl Into<super::Host>, port: u16) -> Self {
        Self::over(TcpConnect::new(host, port))
    }

    /// Connects where `tcp` says.
    #[must_use]
    pub fn over(tcp: TcpConnect) -> Self {
        Self {
            tcp,
            roots: None,
            certificate: None,
            name: None,
            alpn: Vec::new(),
            only_tls13: false,
        }
    }

    /// Sets [`roots`](Self#structfield.roots).
    #[must_use]
    pub fn roots(mut self, file: impl Into<PathBuf>) -> Self {
        self.roots = Some(file.into());
        self
    }

    /// Sets [`certificate`](Self#structfield.certificate).
    #[must_use]
    pub fn certificate(mut self, chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.certificate = Some((chain.into(), key.into()));
        self
    }

    /// Sets [`name`](Self#structfield.name).
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets [`alpn`](Self#structfield.alpn): names of 1 to 255 bytes, without commas.
    #[must_use]
    pub fn alpn<P: Into<String>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.alpn = protocols.into_iter().map(Into::into).collect();
        self
    }

    /// Sets [`only_tls13`](Self#structfield.only_tls13).
    #[must_use]
    pub fn only_tls13(mut self, on: bool) -> Self {
        self.only_tls13 = on;
        self
    }

    pub(super) fn read(description: &Description) -> Result<Self, EndpointError> {
        description.check(&CONNECT)?;
        let mut connect = Self::over(TcpConnect::read_fields(description)?);
        connect.roots = description.read_option("roots", &PATH)?;
        let key = description.read_option("key", &PATH)?;
        match (description.read_option("certificate", &PATH)?, key) {
            (Some(chain), key) => {
                let key = key.unwrap_or_else(|| chain.clone());
                connect.certificate = Some((chain, key));
            }
            (None, None) => {}
            (None, Some(_)) => {
                let message = "a key without its certificate; add `certificate=FILE`";
                return Err(at_option(description, "key", message));
            }
        }
        connect.name = description.read_option("name", &NAME)?;
        connect.alpn = description.read_option("alpn", &ALPN)?.unwrap_or_default();
        connect.only_tls13 = description
            .read_option("minimum", &MINIMUM)?
            .unwrap_or_default();
        Ok(connect)
    }
}

/// An error at the value of an option that is there.
fn at_option(description: &Description, key: &str, message: &str) -> EndpointError {
    let column = description.option(key).map_or(1, super::Word::column);
    description.error(column, message)
}

impl fmt::Display for TlsListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tls:{}", self.tcp.port)?;
        match &self.certificates {
            TlsCertificates::Files(chain, key) => write_identity(f, chain, key)?,
            TlsCertificates::Directory(directory) => write_path(f, "directory", directory)?,
        }
        if let Some(roots) = &self.client_roots {
            write_path(f, "client_roots", roots)?;
            if !self.client_required {
                f.write_str(":client_certificate=optional")?;
            }
        }
        write_alpn(f, &self.alpn)?;
        write_minimum(f, self.only_tls13)?;
        if let Some(within) = self.handshake {
            write!(f, ":handshake={}", InWords(within))?;
        }
        if let Some(max) = self.pending {
            write!(f, ":pending={max}")?;
        }
        self.tcp.fmt_options(f)
    }
}

impl fmt::Display for TlsConnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tls:")?;
        self.tcp.fmt_place(f)?;
        if let Some(roots) = &self.roots {
            write_path(f, "roots", roots)?;
        }
        if let Some((chain, key)) = &self.certificate {
            write_identity(f, chain, key)?;
        }
        if let Some(name) = &self.name {
            write!(f, ":name={}", Escaped(name))?;
        }
        write_alpn(f, &self.alpn)?;
        write_minimum(f, self.only_tls13)?;
        self.tcp.fmt_options(f)
    }
}

fn write_identity(f: &mut fmt::Formatter<'_>, chain: &Path, key: &Path) -> fmt::Result {
    write_path(f, "certificate", chain)?;
    match chain == key {
        true => Ok(()),
        false => write_path(f, "key", key),
    }
}

fn write_path(f: &mut fmt::Formatter<'_>, option: &str, path: &Path) -> fmt::Result {
    write!(f, ":{option}={}", Escaped(&path.to_string_lossy()))
}

fn write_alpn(f: &mut fmt::Formatter<'_>, alpn: &[String]) -> fmt::Result {
    match alpn {
        [] => Ok(()),
        names => write!(f, ":alpn={}", Escaped(&names.join(","))),
    }
}

fn write_minimum(f: &mut fmt::Formatter<'_>, only_tls13: bool) -> fmt::Result {
    match only_tls13 {
        true => f.write_str(":minimum=1.3"),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ClientEndpoint, ServerEndpoint};
    use super::*;
    use proptest::prelude::*;

    fn server_error(text: &str) -> String {
        let error = text.parse::<ServerEndpoint>().unwrap_err();
        format!("{}: {}", error.column(), error.message())
    }

    fn client_error(text: &str) -> String {
        let error = text.parse::<ClientEndpoint>().unwrap_err();
        format!("{}: {}", error.column(), error.message())
    }

    #[test]
    fn every_option_of_a_server_is_a_key_with_the_name_of_its_setter() {
        let text = "tls:0:certificate=a:key=b:client_roots=c:client_certificate=optional:\
                    alpn=h2,http/1.1:minimum=1.3:handshake=3s:pending=7:interface=127.0.0.1:\
                    backlog=5:keep_alive=1m";
        let tcp = TcpListen::new(0)
            .interface([127, 0, 0, 1])
            .backlog(5)
            .keep_alive(Duration::from_secs(60));
        let built = TlsListen::over(tcp, TlsCertificates::Files("a".into(), "b".into()))
            .client_roots("c", false)
            .alpn(["h2", "http/1.1"])
            .only_tls13(true)
            .handshake(Duration::from_secs(3))
            .pending(7);
        assert_eq!(text.parse(), Ok(ServerEndpoint::from(built.clone())));
        assert_eq!(built.to_string(), text);
    }

    #[test]
    fn every_option_of_a_client_is_a_key_with_the_name_of_its_setter() {
        let text = "tls:[2001:db8::1]:443:roots=a:certificate=b:key=c:name=example.com:alpn=h2:\
                    minimum=1.3:timeout=5s:no_delay=no";
        let address: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let tcp = TcpConnect::new(std::net::IpAddr::from(address), 443)
            .timeout(Duration::from_secs(5))
            .no_delay(false);
        let built = TlsConnect::over(tcp)
            .roots("a")
            .certificate("b", "c")
            .name("example.com")
            .alpn(["h2"])
            .only_tls13(true);
        assert_eq!(text.parse(), Ok(ClientEndpoint::from(built.clone())));
        assert_eq!(built.to_string(), text);
    }

    #[test]
    fn a_certificate_may_have_its_key_in_the_same_file() {
        let same = TlsCertificates::Files("a".into(), "a".into());
        let endpoint = ServerEndpoint::from(TlsListen::new(1, same));
        assert_eq!("tls:1:certificate=a".parse(), Ok(endpoint.clone()));
        assert_eq!(endpoint.to_string(), "tls:1:certificate=a");
    }

    #[test]
    fn what_is_missing_or_too_much_is_said_where_it_is() {
        assert_eq!(
            server_error("tls:443"),
            "8: the certificate is missing; add `certificate=FILE` and `key=FILE`, or \
             `directory=DIR`"
        );
        assert_eq!(
            server_error("tls:443:key=a"),
            "13: a key without its certificate; add `certificate=FILE`"
        );
        assert_eq!(
            client_error("tls:a:443:key=a"),
            "15: a key without its certificate; add `certificate=FILE`"
        );
        assert!(server_error("tls:443:certificate=a:directory=b").starts_with("33: "));
        assert!(
            server_error("tls:443:certificate=a:client_certificate=required")
                .contains("client_roots=FILE")
        );
        assert_eq!(
            server_error("tls:127.0.0.1:443:certificate=a"),
            "5: a server endpoint has its port first; write `tls:443:interface=127.0.0.1`"
        );
        assert_eq!(
            server_error("tls:1:certificate=a:minimum=1.1"),
            "29: `minimum` is `1.2` or `1.3`, not `1.1`"
        );
        assert!(server_error("tls:1:certificate=a:alpn=h2,,x").starts_with("26: "));
        assert!(server_error("tls:1:certificate=a:pending=0").starts_with("29: "));
        assert!(client_error("tls:a:1:name=two words").starts_with("14: "));
    }

    #[test]
    fn the_name_to_expect_may_be_an_ipv6_address_in_brackets() {
        let built = TlsConnect::new("a", 1).name("2001:db8::1");
        let endpoint = ClientEndpoint::from(built);
        assert_eq!("tls:a:1:name=[2001:db8::1]".parse(), Ok(endpoint.clone()));
        assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
    }

    proptest! {
        #[test]
        fn display_parses_back_to_the_same_endpoint(
            paths in prop::collection::vec("[^\0]+", 3),
            directory: bool,
            roots: Option<bool>,
            alpn in prop::collection::vec("[^,]{1,20}", 0..3),
            only_tls13: bool,
            pending in prop::option::of(1..1000_usize),
        ) {
            let certificates = match directory {
                true => TlsCertificates::Directory(paths[0].clone().into()),
                false => TlsCertificates::Files(paths[0].clone().into(), paths[1].clone().into()),
            };
            let mut listen = TlsListen::new(1, certificates).alpn(alpn.clone()).only_tls13(only_tls13);
            if let Some(required) = roots {
                listen = listen.client_roots(&paths[2], required);
            }
            listen.pending = pending;
            prop_assert_eq!(listen.to_string().parse(), Ok(ServerEndpoint::from(listen)));
            let mut connect = TlsConnect::new("example.com", 1).alpn(alpn).only_tls13(only_tls13);
            if directory {
                connect = connect.certificate(&paths[0], &paths[1]).roots(&paths[2]);
            }
            prop_assert_eq!(connect.to_string().parse(), Ok(ClientEndpoint::from(connect)));
        }
    }
}
