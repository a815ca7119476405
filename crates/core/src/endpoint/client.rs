//! Where to connect.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::description::{Description, Escaped};
use super::error::EndpointError;
use super::form::Form;
use super::socket::SocketOptions;
use super::value::{ADDRESS, InBrackets, InWords, PATH, PORT, TIMEOUT, Value};

/// How long an attempt to connect may take, unless the endpoint says otherwise. It covers the
/// resolution of the name and all addresses that it leads to.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

const TCP: Form = Form {
    usage: "tcp:HOST:PORT",
    arguments: &["host", "port"],
    options: &[
        "timeout",
        "bind",
        "no_delay",
        "keep_alive",
        "send_buffer",
        "receive_buffer",
    ],
};

const UNIX: Form = Form {
    usage: "unix:PATH",
    arguments: &["path"],
    options: &["timeout"],
};

pub(super) const HOST: Value<Host> = Value {
    expected: "a host: a name, an IPv4 address, or an IPv6 address in brackets",
    parse: Host::parse,
};

/// A place to connect to.
///
/// ```
/// use ropewalk_core::endpoint::{ClientEndpoint, TcpConnect};
///
/// let parsed: ClientEndpoint = "tcp:[2001:db8::1]:80:timeout=5s".parse().unwrap();
/// let ClientEndpoint::Tcp(connect) = &parsed else { panic!() };
/// assert_eq!(connect.port, 80);
/// assert_eq!(parsed.to_string(), "tcp:[2001:db8::1]:80:timeout=5s");
/// assert_eq!(
///     "tcp:example.com:80".parse(),
///     Ok(ClientEndpoint::from(TcpConnect::new("example.com", 80))),
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEndpoint {
    /// `tcp:HOST:PORT[:timeout=30s][:bind=ADDRESS]`, and the options of [`SocketOptions`] under
    /// their names.
    Tcp(TcpConnect),
    /// `unix:PATH[:timeout=30s]`.
    Unix(UnixConnect),
}

/// A TCP port to connect to, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpConnect {
    /// Where to.
    pub host: Host,
    /// The port number, which is not 0.
    pub port: u16,
    /// How long the attempt may take.
    pub timeout: Duration,
    /// The local address to connect from; `None`, the default, leaves it to the system.
    pub bind: Option<IpAddr>,
    /// For the connection.
    pub socket: SocketOptions,
}

/// A Unix socket to connect to, and how.
///
/// ```
/// use std::time::Duration;
/// use ropewalk_core::endpoint::{ClientEndpoint, UnixConnect};
///
/// let connect = UnixConnect::new("/run/app.sock").timeout(Duration::from_millis(500));
/// let endpoint = ClientEndpoint::from(connect);
/// assert_eq!(endpoint.to_string(), "unix:/run/app.sock:timeout=500ms");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnixConnect {
    /// Where the socket is in the file system. What is not UTF-8 is lost when the endpoint is
    /// written as text.
    pub path: PathBuf,
    /// How long the attempt may take.
    pub timeout: Duration,
}

/// A host: an address, or a name that is yet to be resolved to some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
    /// A name, or an IPv6 address with its zone (`fe80::1%eth0`), as the resolver takes it.
    Name(String),
}

impl ClientEndpoint {
    fn read(description: &Description) -> Result<Self, EndpointError> {
        match description.kind().text() {
            "tcp" => TcpConnect::read(description).map(Self::Tcp),
            "unix" => UnixConnect::read(description).map(Self::Unix),
            _ => Err(description.unknown_kind("client", &["tcp", "unix"])),
        }
    }

    /// How long the attempt to connect may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        match self {
            Self::Tcp(connect) => connect.timeout,
            Self::Unix(connect) => connect.timeout,
        }
    }
}

impl TcpConnect {
    /// Connects to `port` of `host`, a name or an address.
    #[must_use]
    pub fn new(host: impl Into<Host>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
            timeout: DEFAULT_CONNECT_TIMEOUT,
            bind: None,
            socket: SocketOptions::default(),
        }
    }

    /// Sets [`timeout`](Self#structfield.timeout), which is not zero.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets [`bind`](Self#structfield.bind).
    #[must_use]
    pub fn bind(mut self, address: impl Into<IpAddr>) -> Self {
        self.bind = Some(address.into());
        self
    }

    /// Sets [`no_delay`](SocketOptions::no_delay).
    #[must_use]
    pub fn no_delay(mut self, on: bool) -> Self {
        self.socket.no_delay = on;
        self
    }

    /// Sets [`keep_alive`](SocketOptions::keep_alive), at least one second.
    #[must_use]
    pub fn keep_alive(mut self, idle: Duration) -> Self {
        self.socket.keep_alive = Some(idle);
        self
    }

    /// Sets [`send_buffer`](SocketOptions::send_buffer).
    #[must_use]
    pub fn send_buffer(mut self, bytes: usize) -> Self {
        self.socket.send_buffer = Some(bytes);
        self
    }

    /// Sets [`receive_buffer`](SocketOptions::receive_buffer).
    #[must_use]
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.socket.receive_buffer = Some(bytes);
        self
    }

    fn read(description: &Description) -> Result<Self, EndpointError> {
        description.check(&TCP)?;
        let host = description.read_argument(0, &HOST)?;
        let mut connect = Self::new(host, description.read_argument(1, &PORT)?);
        if let Some(timeout) = description.read_option("timeout", &TIMEOUT)? {
            connect.timeout = timeout;
        }
        connect.bind = description.read_option("bind", &ADDRESS)?;
        connect.socket = SocketOptions::read(description)?;
        Ok(connect)
    }
}

impl UnixConnect {
    /// Connects to the socket at `path`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            timeout: DEFAULT_CONNECT_TIMEOUT,
        }
    }

    /// Sets [`timeout`](Self#structfield.timeout), which is not zero.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    fn read(description: &Description) -> Result<Self, EndpointError> {
        description.check(&UNIX)?;
        let mut connect = Self::new(description.read_argument(0, &PATH)?);
        if let Some(timeout) = description.read_option("timeout", &TIMEOUT)? {
            connect.timeout = timeout;
        }
        Ok(connect)
    }
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        if text.starts_with('[') || text.contains(':') {
            let text = text.strip_prefix('[').unwrap_or(text);
            let text = text.strip_suffix(']').unwrap_or(text);
            return match text.split_once('%') {
                Some((address, zone)) => {
                    address.parse::<Ipv6Addr>().ok()?;
                    is_name(zone).then(|| Self::Name(text.to_owned()))
                }
                None => text
                    .parse()
                    .ok()
                    .map(|address| Self::Ip(IpAddr::V6(address))),
            };
        }
        is_name(text).then(|| text.into())
    }
}

/// An address becomes [`Host::Ip`], all else is a name.
impl From<&str> for Host {
    fn from(host: &str) -> Self {
        match host.parse() {
            Ok(address) => Self::Ip(address),
            Err(_) => Self::Name(host.to_owned()),
        }
    }
}

impl From<String> for Host {
    fn from(host: String) -> Self {
        Self::from(host.as_str())
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Self::Ip(address)
    }
}

impl From<TcpConnect> for ClientEndpoint {
    fn from(connect: TcpConnect) -> Self {
        Self::Tcp(connect)
    }
}

impl From<UnixConnect> for ClientEndpoint {
    fn from(connect: UnixConnect) -> Self {
        Self::Unix(connect)
    }
}

impl FromStr for ClientEndpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        Self::read(&text.parse()?)
    }
}

/// As text that parses to the same endpoint. Options at their defaults are left out.
impl fmt::Display for ClientEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(connect) => connect.fmt(f),
            Self::Unix(connect) => connect.fmt(f),
        }
    }
}

impl fmt::Display for TcpConnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(address) => write!(f, "tcp:{}", InBrackets(*address))?,
            Host::Name(name) => write!(f, "tcp:{}", Escaped(name))?,
        }
        write!(f, ":{}", self.port)?;
        write_timeout(f, self.timeout)?;
        if let Some(address) = self.bind {
            write!(f, ":bind={}", InBrackets(address))?;
        }
        self.socket.fmt(f)
    }
}

impl fmt::Display for UnixConnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix:{}", Escaped(&self.path.to_string_lossy()))?;
        write_timeout(f, self.timeout)
    }
}

/// As people write it: a name as it is, an address without brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

fn write_timeout(f: &mut fmt::Formatter<'_>, timeout: Duration) -> fmt::Result {
    if timeout == DEFAULT_CONNECT_TIMEOUT {
        return Ok(());
    }
    write!(f, ":timeout={}", InWords(timeout))
}

/// Whether the resolver can be asked for it. What is in the name is the resolver's affair, but a
/// name with these is a slip of the pen, or somebody's attempt at another line of a protocol.
fn is_name(text: &str) -> bool {
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '[' | ']' | ':');
    !text.is_empty() && !text.contains(odd)
}

#[cfg(test)]
mod tests {
    use super::super::socket::tests::socket_options;
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> ClientEndpoint {
        text.parse().unwrap()
    }

    /// `column: message`.
    fn error(text: &str) -> String {
        let error = text.parse::<ClientEndpoint>().unwrap_err();
        format!("{}: {}", error.column(), error.message())
    }

    fn host(text: &str) -> Host {
        match parse(text) {
            ClientEndpoint::Tcp(connect) => connect.host,
            ClientEndpoint::Unix(_) => panic!("not tcp"),
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address() {
        assert_eq!(host("tcp:example.com:80"), Host::Name("example.com".into()));
        assert_eq!(host("tcp:192.0.2.1:80"), Host::Ip([192, 0, 2, 1].into()));
        let v6 = Host::Ip(IpAddr::V6(Ipv6Addr::LOCALHOST));
        assert_eq!(host("tcp:[::1]:80"), v6);
        assert_eq!(host(r"tcp:\:\:1:80"), v6);
        let zoned = Host::Name("fe80::1%eth0".into());
        assert_eq!(host("tcp:[fe80::1%eth0]:80"), zoned);
    }

    #[test]
    fn every_option_of_tcp_is_a_key_with_the_name_of_its_setter() {
        let text = "tcp:example.com:80:timeout=5s:bind=192.0.2.9:no_delay=no:keep_alive=60s:\
                    send_buffer=64k:receive_buffer=1000";
        let built = TcpConnect::new("example.com", 80)
            .timeout(Duration::from_secs(5))
            .bind([192, 0, 2, 9])
            .no_delay(false)
            .keep_alive(Duration::from_secs(60))
            .send_buffer(65_536)
            .receive_buffer(1000);
        assert_eq!(parse(text), built.into());
    }

    #[test]
    fn an_attempt_takes_no_longer_than_30_seconds_unless_told() {
        for text in ["tcp:a:1", "unix:/a"] {
            assert_eq!(parse(text).timeout(), Duration::from_secs(30));
        }
        for text in ["tcp:a:1:timeout=2m", "unix:/a:timeout=2m"] {
            assert_eq!(parse(text).timeout(), Duration::from_secs(120));
        }
    }

    #[test]
    fn what_is_missing_is_reported_where_it_should_stand() {
        let usage = "write `tcp:HOST:PORT`";
        assert_eq!(error("tcp"), format!("4: the host is missing; {usage}"));
        assert_eq!(error("tcp:80"), format!("7: the port is missing; {usage}"));
        assert_eq!(error("tcp::80"), format!("5: the host is empty; {usage}"));
        assert_eq!(error("tcp:a:"), format!("7: the port is empty; {usage}"));
        assert_eq!(error("unix:"), "6: the path is empty; write `unix:PATH`");
    }

    #[test]
    fn each_bad_value_is_reported_at_the_value_with_what_was_expected() {
        let not_a_host = "is not a host: a name, an IPv4 address, or an IPv6 address in brackets";
        for (text, expected) in [
            ("tcp:[::zz]:80", format!("5: `[::zz]` {not_a_host}")),
            ("tcp:[a]:80", format!("5: `[a]` {not_a_host}")),
            ("tcp:a b:80", format!("5: `a b` {not_a_host}")),
            (
                "tcp://example.com:80",
                format!("5: `//example.com` {not_a_host}"),
            ),
            ("tcp:a:0", "7: `0` is not a port from 1 to 65535".to_owned()),
            (
                "tcp:a:1:timeout=0s",
                "17: `timeout` is a duration longer than none, such as `500ms`, `30s` or `5m`, \
                 not `0s`"
                    .to_owned(),
            ),
            (
                "tcp:a:1:bind=b",
                "14: `bind` is an IP address such as `127.0.0.1` or `[::1]`, not `b`".to_owned(),
            ),
            (
                "tcp:a:1:interface=127.0.0.1",
                "9: `interface` is not an option of `tcp`; it has `timeout`, `bind`, \
                 `no_delay`, `keep_alive`, `send_buffer` and `receive_buffer`, and `\\=` is an \
                 equals sign that belongs to an argument"
                    .to_owned(),
            ),
            (
                "unix:/a:80",
                "9: `80` is one field too many for `unix:PATH`; if the colon before it belongs \
                 to a value, write `\\:`, or put brackets around an IPv6 address"
                    .to_owned(),
            ),
            (
                "udp:a:80",
                "1: `udp` is not a kind of client endpoint; the kinds are `tcp` and `unix`"
                    .to_owned(),
            ),
        ] {
            assert_eq!(error(text), expected, "{text:?}");
        }
    }

    fn timeout() -> impl Strategy<Value = Duration> {
        any::<Duration>().prop_filter("no time at all", |timeout| !timeout.is_zero())
    }

    fn tcp() -> impl Strategy<Value = ClientEndpoint> {
        let host = prop_oneof![
            any::<IpAddr>().prop_map(Host::Ip),
            r"[a-z0-9=\\é_.-]{1,20}".prop_map(Host::from),
        ];
        let port = 1..=u16::MAX;
        (
            host,
            port,
            timeout(),
            any::<Option<IpAddr>>(),
            socket_options(),
        )
            .prop_map(|(host, port, timeout, bind, socket)| {
                ClientEndpoint::Tcp(TcpConnect {
                    host,
                    port,
                    timeout,
                    bind,
                    socket,
                })
            })
    }

    fn unix() -> impl Strategy<Value = ClientEndpoint> {
        ("[^\0]+", timeout())
            .prop_map(|(path, timeout)| UnixConnect::new(path).timeout(timeout).into())
    }

    proptest! {
        #[test]
        fn display_parses_back_to_the_same_endpoint(endpoint in prop_oneof![tcp(), unix()]) {
            prop_assert_eq!(parse(&endpoint.to_string()), endpoint);
        }

        #[test]
        fn no_text_panics_and_errors_point_into_the_text(
            text in r"(tcp|unix|\PC*)(:|=|\\|\[|\]|%|[0-9a-z/.]{1,4}|timeout|bind|\PC){0,12}",
        ) {
            match text.parse::<ClientEndpoint>() {
                Ok(endpoint) => prop_assert_eq!(parse(&endpoint.to_string()), endpoint),
                Err(error) => {
                    prop_assert!((1..=text.chars().count() + 1).contains(&error.column()));
                    prop_assert!(!error.to_string().contains('\n'));
                }
            }
        }
    }
}
