//! Where to open a datagram port.
//!
//! | a datagram endpoint | is |
//! |---|---|
//! | `udp:1234` | port 1234 of all interfaces, IPv6 and IPv4 |
//! | `udp:0:interface=127.0.0.1` | a free port of one interface |
//! | `udp:5353:group=224.0.0.251:reuse_port=yes` | a multicast group, shared with other programs |
//! | `unix-datagram:/run/app.sock:mode=660` | a socket in the file system |
//! | `unix-datagram:@app` | an abstract name, on Linux |
//!
//! | a datagram client endpoint | sends to |
//! |---|---|
//! | `udp:example.com:53` | a host by its name |
//! | `unix-datagram:/dev/log` | a socket in the file system; nobody can answer |
//! | `unix-datagram:/run/app.sock:bind=/run/me.sock` | a socket that can answer |

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::DEFAULT_CONNECT_TIMEOUT;
use super::client::{HOST, Host};
use super::description::{Description, Escaped};
use super::error::EndpointError;
use super::form::Form;
use super::multicast::{GROUP, MulticastGroup};
use super::value::{
    ADDRESS, InBrackets, InBytes, InWords, LISTENING_PORT, MODE, PATH, PORT, SIZE, SWITCH, TIMEOUT,
    switch,
};

/// The largest datagram that there is: of IPv6, without its jumbograms.
pub const MAX_DATAGRAM: usize = 65_535;

const UDP_LISTEN: Form = Form {
    usage: "udp:PORT",
    arguments: &["port"],
    options: &[
        "interface",
        "reuse_port",
        "only_v6",
        "group",
        "broadcast",
        "max_size",
        "receive_buffer",
        "send_buffer",
    ],
};

const UDP_CONNECT: Form = Form {
    usage: "udp:HOST:PORT",
    arguments: &["host", "port"],
    options: &[
        "timeout",
        "bind",
        "broadcast",
        "max_size",
        "receive_buffer",
        "send_buffer",
    ],
};

const UNIX_LISTEN: Form = Form {
    usage: "unix-datagram:PATH",
    arguments: &["path"],
    options: &["mode", "max_size", "receive_buffer", "send_buffer"],
};

const UNIX_CONNECT: Form = Form {
    usage: "unix-datagram:PATH",
    arguments: &["path"],
    options: &["bind", "max_size", "receive_buffer", "send_buffer"],
};

/// A place to send and receive datagrams at.
///
/// ```
/// use ropewalk_core::endpoint::{DatagramEndpoint, MulticastGroup, UdpListen};
///
/// let parsed: DatagramEndpoint = "udp:5353:group=224.0.0.251%eth0".parse().unwrap();
/// let group = MulticastGroup::new([224, 0, 0, 251]).on("eth0");
/// assert_eq!(parsed, UdpListen::new(5353).group(group).into());
/// assert_eq!(parsed.to_string(), "udp:5353:group=224.0.0.251%eth0");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DatagramEndpoint {
    /// `udp:PORT[:interface=ADDRESS][:reuse_port=yes][:only_v6=yes][:group=GROUP]`, and
    /// [`DatagramOptions`].
    Udp(UdpListen),
    /// `unix-datagram:PATH[:mode=OCTAL]`, and [`DatagramOptions`].
    Unix(UnixDatagramListen),
}

/// A place to send datagrams to, and to receive them from alone.
///
/// ```
/// use ropewalk_core::endpoint::{DatagramClientEndpoint, UdpConnect};
///
/// let parsed: DatagramClientEndpoint = "udp:example.com:53".parse().unwrap();
/// assert_eq!(parsed, UdpConnect::new("example.com", 53).into());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DatagramClientEndpoint {
    /// `udp:HOST:PORT[:timeout=30s][:bind=ADDRESS]`, and [`DatagramOptions`].
    Udp(UdpConnect),
    /// `unix-datagram:PATH[:bind=PATH]`, and [`DatagramOptions`].
    Unix(UnixDatagramConnect),
}

/// What any datagram port asks of the operating system.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DatagramOptions {
    /// The largest datagram that is received, in bytes, 1 to [`MAX_DATAGRAM`], which is the
    /// default. A larger one is dropped and told. A small bound lets more be received at once.
    pub max_size: usize,
    /// The size of the kernel's receive buffer in bytes; `None` leaves it to the system (on Linux
    /// `net.core.rmem_default`). What comes while it is full is lost.
    pub receive_buffer: Option<usize>,
    /// The size of the kernel's send buffer in bytes; `None` leaves it to the system.
    pub send_buffer: Option<usize>,
}

/// A UDP port, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UdpListen {
    /// The port number; 0 for any free one.
    pub port: u16,
    /// The address to receive at. `None`, the default, is all of them: `[::]` for IPv6 and IPv4
    /// both, or `0.0.0.0` where the system has no IPv6, or the group is of IPv4. Multicast comes
    /// to all addresses or to that of the group, never to a port that has another.
    pub interface: Option<IpAddr>,
    /// Whether others may have the same port too (`SO_REUSEADDR` and `SO_REUSEPORT`). Each of
    /// them gets all multicast, and some of the rest.
    pub reuse_port: bool,
    /// Whether an IPv6 port takes no IPv4 (`IPV6_V6ONLY`).
    pub only_v6: bool,
    /// A multicast group to join.
    pub group: Option<MulticastGroup>,
    /// Whether it may be sent to broadcast addresses (`SO_BROADCAST`).
    pub broadcast: bool,
    /// What is common to all.
    pub options: DatagramOptions,
}

/// A UDP port that sends to one peer, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UdpConnect {
    /// Where to.
    pub host: Host,
    /// The port number, which is not 0.
    pub port: u16,
    /// How long the look-up of the name may take; nothing else takes time.
    pub timeout: Duration,
    /// The local address to send from; `None`, the default, leaves it to the system.
    pub bind: Option<IpAddr>,
    /// Whether the peer may be a broadcast address (`SO_BROADCAST`).
    pub broadcast: bool,
    /// What is common to all.
    pub options: DatagramOptions,
}

/// A Unix socket for datagrams.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnixDatagramListen {
    /// Where the socket appears in the file system; or an abstract name of Linux, which begins
    /// with NUL, and is written with an `@` in its place. A file whose name begins with `@` is
    /// `./@name`.
    pub path: PathBuf,
    /// The permissions of the socket; who may write to it may send. The default, `0o600`, is for
    /// the user of this process alone. An abstract name has none: anybody may send there.
    pub mode: u32,
    /// What is common to all.
    pub options: DatagramOptions,
}

/// A Unix socket for datagrams that sends to one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnixDatagramConnect {
    /// Where to.
    pub path: PathBuf,
    /// The address to send from, to which can be answered. `None`, the default, has none.
    pub bind: Option<PathBuf>,
    /// What is common to all.
    pub options: DatagramOptions,
}

impl DatagramEndpoint {
    fn read(description: &Description) -> Result<Self, EndpointError> {
        match description.kind().text() {
            "udp" => UdpListen::read(description).map(Self::Udp),
            "unix-datagram" => UnixDatagramListen::read(description).map(Self::Unix),
            _ => Err(description.unknown_kind("datagram", &["udp".into(), "unix-datagram".into()])),
        }
    }

    /// What is common to all kinds.
    #[must_use]
    pub fn options(&self) -> &DatagramOptions {
        match self {
            Self::Udp(listen) => &listen.options,
            Self::Unix(listen) => &listen.options,
        }
    }
}

impl DatagramClientEndpoint {
    fn read(description: &Description) -> Result<Self, EndpointError> {
        match description.kind().text() {
            "udp" => UdpConnect::read(description).map(Self::Udp),
            "unix-datagram" => UnixDatagramConnect::read(description).map(Self::Unix),
            _ => Err(description
                .unknown_kind("datagram client", &["udp".into(), "unix-datagram".into()])),
        }
    }
}

impl DatagramOptions {
    fn read(description: &Description) -> Result<Self, EndpointError> {
        let default = Self::default();
        let max_size = description.read_option(
            "max_size",
            &super::value::Value {
                expected: "a size from `1` to `65535` bytes",
                parse: |text| (SIZE.parse)(text).filter(|size| (1..=MAX_DATAGRAM).contains(size)),
            },
        )?;
        Ok(Self {
            max_size: max_size.unwrap_or(default.max_size),
            receive_buffer: description.read_option("receive_buffer", &SIZE)?,
            send_buffer: description.read_option("send_buffer", &SIZE)?,
        })
    }
}

impl Default for DatagramOptions {
    fn default() -> Self {
        Self {
            max_size: MAX_DATAGRAM,
            receive_buffer: None,
            send_buffer: None,
        }
    }
}

/// The setters that all kinds have.
macro_rules! common_setters {
    ($($kind:ty),*) => {$(
        impl $kind {
            /// Sets [`max_size`](DatagramOptions::max_size), 1 to [`MAX_DATAGRAM`].
            #[must_use]
            pub fn max_size(mut self, bytes: usize) -> Self {
                self.options.max_size = bytes.clamp(1, MAX_DATAGRAM);
                self
            }

            /// Sets [`receive_buffer`](DatagramOptions::receive_buffer).
            #[must_use]
            pub fn receive_buffer(mut self, bytes: usize) -> Self {
                self.options.receive_buffer = Some(bytes);
                self
            }

            /// Sets [`send_buffer`](DatagramOptions::send_buffer).
            #[must_use]
            pub fn send_buffer(mut self, bytes: usize) -> Self {
                self.options.send_buffer = Some(bytes);
                self
            }
        }
    )*};
}

common_setters!(
    UdpListen,
    UdpConnect,
    UnixDatagramListen,
    UnixDatagramConnect
);

impl UdpListen {
    /// Port `port` of all interfaces; 0 is any free one.
    #[must_use]
    pub fn new(port: u16) -> Self {
        Self {
            port,
            interface: None,
            reuse_port: false,
            only_v6: false,
            group: None,
            broadcast: false,
            options: DatagramOptions::default(),
        }
    }

    /// Sets [`interface`](Self#structfield.interface).
    #[must_use]
    pub fn interface(mut self, address: impl Into<IpAddr>) -> Self {
        self.interface = Some(address.into());
        self
    }

    /// Sets [`reuse_port`](Self#structfield.reuse_port).
    #[must_use]
    pub fn reuse_port(mut self, on: bool) -> Self {
        self.reuse_port = on;
        self
    }

    /// Sets [`only_v6`](Self#structfield.only_v6).
    #[must_use]
    pub fn only_v6(mut self, on: bool) -> Self {
        self.only_v6 = on;
        self
    }

    /// Sets [`group`](Self#structfield.group).
    #[must_use]
    pub fn group(mut self, group: MulticastGroup) -> Self {
        self.group = Some(group);
        self
    }

    /// Sets [`broadcast`](Self#structfield.broadcast).
    #[must_use]
    pub fn broadcast(mut self, on: bool) -> Self {
        self.broadcast = on;
        self
    }

    fn read(description: &Description) -> Result<Self, EndpointError> {
        description.check(&UDP_LISTEN)?;
        let on = |key| Ok(description.read_option(key, &SWITCH)?.unwrap_or(false));
        Ok(Self {
            port: description.read_argument(0, &LISTENING_PORT)?,
            interface: description.read_option("interface", &ADDRESS)?,
            reuse_port: on("reuse_port")?,
            only_v6: on("only_v6")?,
            group: description.read_option("group", &GROUP)?,
            broadcast: on("broadcast")?,
            options: DatagramOptions::read(description)?,
        })
    }
}

impl UdpConnect {
    /// Sends to `port` of `host`, a name or an address.
    #[must_use]
    pub fn new(host: impl Into<Host>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
            timeout: DEFAULT_CONNECT_TIMEOUT,
            bind: None,
            broadcast: false,
            options: DatagramOptions::default(),
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

    /// Sets [`broadcast`](Self#structfield.broadcast).
    #[must_use]
    pub fn broadcast(mut self, on: bool) -> Self {
        self.broadcast = on;
        self
    }

    fn read(description: &Description) -> Result<Self, EndpointError> {
        description.check(&UDP_CONNECT)?;
        let timeout = description.read_option("timeout", &TIMEOUT)?;
        let broadcast = description.read_option("broadcast", &SWITCH)?;
        Ok(Self {
            host: description.read_argument(0, &HOST)?,
            port: description.read_argument(1, &PORT)?,
            timeout: timeout.unwrap_or(DEFAULT_CONNECT_TIMEOUT),
            bind: description.read_option("bind", &ADDRESS)?,
            broadcast: broadcast.unwrap_or(false),
            options: DatagramOptions::read(description)?,
        })
    }
}

impl UnixDatagramListen {
    /// A socket at `path`, for the user of this process alone.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            mode: 0o600,
            options: DatagramOptions::default(),
        }
    }

    /// Sets [`mode`](Self#structfield.mode), `0o000` to `0o777`.
    #[must_use]
    pub fn mode(mut self, permissions: u32) -> Self {
        self.mode = permissions;
        self
    }

    fn read(description: &Description) -> Result<Self, EndpointError> {
        description.check(&UNIX_LISTEN)?;
        let mut listen = Self::new(unix_path(description.read_argument(0, &PATH)?));
        if let Some(permissions) = description.read_option("mode", &MODE)? {
            listen.mode = permissions;
        }
        listen.options = DatagramOptions::read(description)?;
        Ok(listen)
    }
}

impl UnixDatagramConnect {
    /// Sends to the socket at `path`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            bind: None,
            options: DatagramOptions::default(),
        }
    }

    /// Sets [`bind`](Self#structfield.bind).
    #[must_use]
    pub fn bind(mut self, path: impl Into<PathBuf>) -> Self {
        self.bind = Some(path.into());
        self
    }

    fn read(description: &Description) -> Result<Self, EndpointError> {
        description.check(&UNIX_CONNECT)?;
        Ok(Self {
            path: unix_path(description.read_argument(0, &PATH)?),
            bind: description.read_option("bind", &PATH)?.map(unix_path),
            options: DatagramOptions::read(description)?,
        })
    }
}

/// An `@` in front stands for the NUL of an abstract name.
fn unix_path(path: PathBuf) -> PathBuf {
    match path.to_str().and_then(|text| text.strip_prefix('@')) {
        Some(name) => format!("\0{name}").into(),
        None => path,
    }
}

/// The opposite of [`unix_path`].
fn written(path: &Path) -> String {
    let text = path.to_string_lossy();
    match text.strip_prefix('\0') {
        Some(name) => format!("@{name}"),
        None => text.into_owned(),
    }
}

impl From<UdpListen> for DatagramEndpoint {
    fn from(listen: UdpListen) -> Self {
        Self::Udp(listen)
    }
}

impl From<UnixDatagramListen> for DatagramEndpoint {
    fn from(listen: UnixDatagramListen) -> Self {
        Self::Unix(listen)
    }
}

impl From<UdpConnect> for DatagramClientEndpoint {
    fn from(connect: UdpConnect) -> Self {
        Self::Udp(connect)
    }
}

impl From<UnixDatagramConnect> for DatagramClientEndpoint {
    fn from(connect: UnixDatagramConnect) -> Self {
        Self::Unix(connect)
    }
}

impl FromStr for DatagramEndpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        Self::read(&text.parse()?)
    }
}

impl FromStr for DatagramClientEndpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        Self::read(&text.parse()?)
    }
}

/// As text that parses to the same endpoint. Options at their defaults are left out.
impl fmt::Display for DatagramEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(listen) => listen.fmt(f),
            Self::Unix(listen) => listen.fmt(f),
        }
    }
}

/// As text that parses to the same endpoint. Options at their defaults are left out.
impl fmt::Display for DatagramClientEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(connect) => connect.fmt(f),
            Self::Unix(connect) => connect.fmt(f),
        }
    }
}

impl fmt::Display for UdpListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "udp:{}", self.port)?;
        if let Some(address) = self.interface {
            write!(f, ":interface={}", InBrackets(address))?;
        }
        if self.reuse_port {
            write!(f, ":reuse_port={}", switch(true))?;
        }
        if self.only_v6 {
            write!(f, ":only_v6={}", switch(true))?;
        }
        if let Some(group) = &self.group {
            write!(f, ":group={group}")?;
        }
        if self.broadcast {
            write!(f, ":broadcast={}", switch(true))?;
        }
        self.options.fmt(f)
    }
}

impl fmt::Display for UdpConnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(address) => write!(f, "udp:{}", InBrackets(*address))?,
            Host::Name(name) => write!(f, "udp:{}", Escaped(name))?,
        }
        write!(f, ":{}", self.port)?;
        if self.timeout != DEFAULT_CONNECT_TIMEOUT {
            write!(f, ":timeout={}", InWords(self.timeout))?;
        }
        if let Some(address) = self.bind {
            write!(f, ":bind={}", InBrackets(address))?;
        }
        if self.broadcast {
            write!(f, ":broadcast={}", switch(true))?;
        }
        self.options.fmt(f)
    }
}

impl fmt::Display for UnixDatagramListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix-datagram:{}", Escaped(&written(&self.path)))?;
        if self.mode != 0o600 {
            write!(f, ":mode={:03o}", self.mode)?;
        }
        self.options.fmt(f)
    }
}

impl fmt::Display for UnixDatagramConnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix-datagram:{}", Escaped(&written(&self.path)))?;
        if let Some(path) = &self.bind {
            write!(f, ":bind={}", Escaped(&written(path)))?;
        }
        self.options.fmt(f)
    }
}

/// As the end of an endpoint: `:key=value` for each option that is not at its default.
impl fmt::Display for DatagramOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.max_size != MAX_DATAGRAM {
            write!(f, ":max_size={}", InBytes(self.max_size))?;
        }
        if let Some(size) = self.receive_buffer {
            write!(f, ":receive_buffer={}", InBytes(size))?;
        }
        if let Some(size) = self.send_buffer {
            write!(f, ":send_buffer={}", InBytes(size))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Interface;
    use proptest::prelude::*;

    /// `column: message`.
    fn error(text: &str) -> String {
        let error = text.parse::<DatagramEndpoint>().unwrap_err();
        format!("{}: {}", error.column(), error.message())
    }

    #[test]
    fn every_option_is_a_key_with_the_name_of_its_setter() {
        let text = "udp:0:interface=[::1]:reuse_port=yes:only_v6=yes:group=[ff02::114%lo]:\
                    broadcast=yes:max_size=8k:receive_buffer=1m:send_buffer=64k";
        let built = UdpListen::new(0)
            .interface([0, 0, 0, 0, 0, 0, 0, 1])
            .reuse_port(true)
            .only_v6(true)
            .group(MulticastGroup::new([0xff02, 0, 0, 0, 0, 0, 0, 0x114]).on("lo"))
            .broadcast(true)
            .max_size(8192)
            .receive_buffer(1 << 20)
            .send_buffer(1 << 16);
        assert_eq!(text.parse(), Ok(DatagramEndpoint::from(built)));
        let text = "udp:example.com:53:timeout=5s:bind=192.0.2.9:broadcast=yes:max_size=512";
        let built = UdpConnect::new("example.com", 53)
            .timeout(Duration::from_secs(5))
            .bind([192, 0, 2, 9])
            .broadcast(true)
            .max_size(512);
        assert_eq!(text.parse(), Ok(DatagramClientEndpoint::from(built)));
        let text = "unix-datagram:/run/a:bind=@me:max_size=512";
        let built = UnixDatagramConnect::new("/run/a")
            .bind("\0me")
            .max_size(512);
        assert_eq!(text.parse(), Ok(DatagramClientEndpoint::from(built)));
    }

    #[test]
    fn an_at_sign_in_front_is_an_abstract_name() {
        let endpoint: DatagramEndpoint = "unix-datagram:@app".parse().unwrap();
        assert_eq!(endpoint, UnixDatagramListen::new("\0app").into());
        assert_eq!(endpoint.to_string(), "unix-datagram:@app");
        let file: DatagramEndpoint = "unix-datagram:./@app".parse().unwrap();
        assert_eq!(file, UnixDatagramListen::new("./@app").into());
    }

    #[test]
    fn a_group_has_an_interface_by_address_number_or_name() {
        let group = |text: &str| (GROUP.parse)(text);
        let lo = MulticastGroup::new([239, 1, 2, 3]);
        assert_eq!(group("239.1.2.3"), Some(lo.clone()));
        assert_eq!(group("239.1.2.3%lo"), Some(lo.on("lo")));
        assert_eq!(
            group("239.1.2.3%127.0.0.1").unwrap().interface,
            Interface::Address([127, 0, 0, 1].into())
        );
        assert_eq!(group("[ff02::1%2]").unwrap().interface, Interface::Index(2));
        for bad in ["192.0.2.1", "239.1.2.3%", "[ff02::1", "x", "%lo"] {
            assert_eq!(group(bad), None, "{bad}");
        }
    }

    #[test]
    fn errors_point_at_what_is_wrong() {
        assert_eq!(
            error("udp:53:group=192.0.2.1"),
            "14: `group` is a multicast address such as `239.1.2.3`, `239.1.2.3%eth0` or \
             `[ff02::114%eth0]`, not `192.0.2.1`"
        );
        assert_eq!(
            error("udp:53:max_size=64k"),
            "17: `max_size` is a size from `1` to `65535` bytes, not `64k`"
        );
        assert_eq!(
            error("tcp:53"),
            "1: `tcp` is not a kind of datagram endpoint; the kinds are `udp` and `unix-datagram`"
        );
    }

    fn options() -> impl Strategy<Value = DatagramOptions> {
        (
            1..=MAX_DATAGRAM,
            any::<Option<usize>>(),
            any::<Option<usize>>(),
        )
            .prop_map(|(max_size, receive_buffer, send_buffer)| DatagramOptions {
                max_size,
                receive_buffer,
                send_buffer,
            })
    }

    proptest! {
        #[test]
        fn display_parses_back_to_the_same_endpoint(
            (port, interface, flags, options) in
                (any::<u16>(), any::<Option<IpAddr>>(), any::<[bool; 3]>(), options()),
            path in "[^\0]+",
        ) {
            let [reuse_port, only_v6, broadcast] = flags;
            let group = Some(MulticastGroup::new([239, 1, 2, 3]).on("eth0"));
            let group = group.filter(|_| broadcast);
            let udp = UdpListen {
                port, interface, reuse_port, only_v6, group, broadcast, options: options.clone(),
            };
            let endpoint = DatagramEndpoint::from(udp);
            prop_assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
            let path = unix_path(path.into());
            let unix = UnixDatagramListen { path, mode: 0o600, options };
            let endpoint = DatagramEndpoint::from(unix);
            prop_assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
        }
    }
}
