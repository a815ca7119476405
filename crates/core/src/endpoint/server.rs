//! Where to listen.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::description::{Description, Escaped};
use super::descriptor::Descriptor;
use super::error::{EndpointError, quote};
use super::exec;
use super::form::Form;
use super::kind::ServerKind;
use super::registry;
use super::socket::SocketOptions;
use super::systemd::SystemdListen;
use super::tls::TlsListen;
use super::value::{ADDRESS, BACKLOG, InBrackets, LISTENING_PORT, MODE, PATH, SWITCH, switch};
use super::wrappers::{LimitListen, ProxyListen, ThrottleListen};

/// How many connections may wait to be accepted, unless the endpoint says otherwise. The system
/// may allow fewer (on Linux `net.core.somaxconn`).
pub const DEFAULT_BACKLOG: u16 = 1024;

const TCP: Form = Form {
    usage: "tcp:PORT",
    arguments: &["port"],
    options: &[
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

const UNIX: Form = Form {
    usage: "unix:PATH",
    arguments: &["path"],
    options: &["mode", "backlog"],
};

/// A place to listen at.
///
/// Made from text, or from the builder of its kind:
///
/// ```
/// use ropewalk_core::endpoint::{ServerEndpoint, TcpListen};
///
/// let parsed: ServerEndpoint = "tcp:8080:interface=127.0.0.1:backlog=64".parse().unwrap();
/// let built = TcpListen::new(8080).interface([127, 0, 0, 1]).backlog(64);
/// assert_eq!(parsed, built.into());
/// assert_eq!(parsed.to_string(), "tcp:8080:interface=127.0.0.1:backlog=64");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerEndpoint {
    /// `tcp:PORT[:interface=ADDRESS][:backlog=N][:reuse_port=yes][:only_v6=yes]`, and the options
    /// of [`SocketOptions`] under their names; `tcp6:PORT…` is that with `only_v6=yes`.
    Tcp(TcpListen),
    /// `unix:PATH[:mode=OCTAL][:backlog=N]`.
    Unix(UnixListen),
    /// `tls:PORT:certificate=FILE[:key=FILE]` or `tls:PORT:directory=DIR`, and the options of
    /// [`TlsListen`].
    Tls(TlsListen),
    /// `systemd:index=N` or `systemd:name=NAME`.
    Systemd(SystemdListen),
    /// `fd:NUMBER`.
    Fd(Descriptor),
    /// `stdio`: one connection, over the standard input and output of this process.
    ///
    /// Those may be pipes, a terminal, files, or a socket (which is then served as it is). They are
    /// taken, once in a process: what else writes to standard output finds `/dev/null` there. The
    /// end of the input is [`read_closed`](crate::Protocol::read_closed); closing the writing side
    /// closes the output. A file is read and written at once: a slow disk holds the loop up.
    Stdio,
    /// A kind that stands on another endpoint. Two of these are equal when their texts are.
    Other(Arc<dyn ServerKind>),
}

/// A TCP port to listen on, and how.
///
/// ```
/// use std::time::Duration;
/// use ropewalk_core::endpoint::{ServerEndpoint, TcpListen};
///
/// let listen = TcpListen::new(443)
///     .reuse_port(true)
///     .keep_alive(Duration::from_secs(60));
/// let endpoint = ServerEndpoint::from(listen);
/// assert_eq!(endpoint.to_string(), "tcp:443:reuse_port=yes:keep_alive=1m");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpListen {
    /// The port number; 0 for any free one.
    pub port: u16,
    /// The address to listen on. `None`, the default, is all of them: `[::]` for IPv6 and IPv4
    /// both, or `0.0.0.0` where the system has no IPv6.
    pub interface: Option<IpAddr>,
    /// How many connections may wait to be accepted.
    pub backlog: u16,
    /// Whether others, of the same user, may listen on the same port too (`SO_REUSEPORT`); the
    /// system deals the connections out.
    pub reuse_port: bool,
    /// Whether an IPv6 listener refuses IPv4 connections (`IPV6_V6ONLY`, RFC 3493 section 5.3).
    /// It says nothing where `interface` is an IPv4 address.
    pub only_v6: bool,
    /// For each connection that is accepted.
    pub socket: SocketOptions,
}

/// A Unix socket to listen on, and how.
///
/// ```
/// use ropewalk_core::endpoint::{ServerEndpoint, UnixListen};
///
/// let endpoint = ServerEndpoint::from(UnixListen::new("/run/app.sock").mode(0o660));
/// assert_eq!(endpoint.to_string(), "unix:/run/app.sock:mode=660");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnixListen {
    /// Where the socket appears in the file system. What is not UTF-8 is lost when the endpoint
    /// is written as text.
    pub path: PathBuf,
    /// The permissions of the socket; who may write to it may connect. The default, `0o600`, is
    /// for the user of this process alone. (In Twisted it is `0o666`, everybody.)
    pub mode: u32,
    /// How many connections may wait to be accepted.
    pub backlog: u16,
}

impl ServerEndpoint {
    /// The kinds that need no registering.
    pub(super) const BUILT_IN: &[&str] = &[
        "tcp", "tcp6", "unix", "tls", "fd", "systemd", "stdio", "proxy", "limit", "throttle",
    ];

    /// Reads an endpoint whose text is parsed as far as the grammar goes: the whole of it, or the
    /// part within a wrapper, as [`Description::split`] gives it.
    ///
    /// # Errors
    /// What is wrong, at its column of the whole text.
    pub fn read(description: &Description) -> Result<Self, EndpointError> {
        description.check_depth()?;
        match description.kind().text() {
            "tcp" => TcpListen::read(description).map(Self::Tcp),
            "unix" => UnixListen::read(description).map(Self::Unix),
            "tls" => TlsListen::read(description).map(Self::Tls),
            "systemd" => SystemdListen::read(description).map(Self::Systemd),
            "fd" => Descriptor::read(description).map(Self::Fd),
            "stdio" => exec::read_stdio(description).map(|()| Self::Stdio),
            "tcp6" => TcpListen::read_v6(description).map(Self::Tcp),
            "proxy" => ProxyListen::read(description),
            "limit" => LimitListen::read(description),
            "throttle" => ThrottleListen::parse(description),
            name => match registry::server_parser(name) {
                Some(parse) => parse(description).map(Self::Other),
                None => Err(description.unknown_kind("server", &registry::server_kinds())),
            },
        }
    }
}

impl TcpListen {
    /// Listens on `port` of all interfaces; port 0 is any free one.
    #[must_use]
    pub fn new(port: u16) -> Self {
        Self {
            port,
            interface: None,
            backlog: DEFAULT_BACKLOG,
            reuse_port: false,
            only_v6: false,
            socket: SocketOptions::default(),
        }
    }

    /// Sets [`interface`](Self#structfield.interface).
    #[must_use]
    pub fn interface(mut self, address: impl Into<IpAddr>) -> Self {
        self.interface = Some(address.into());
        self
    }

    /// Sets [`backlog`](Self#structfield.backlog).
    #[must_use]
    pub fn backlog(mut self, connections: u16) -> Self {
        self.backlog = connections;
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
        Self::check_order(description)?;
        description.check(&TCP)?;
        Self::read_fields(description)
    }

    /// Whether the port is the first argument.
    pub(super) fn check_order(description: &Description) -> Result<(), EndpointError> {
        // To write the address before the port is the likeliest mistake of all.
        if let [first, second, ..] = description.fields()
            && let (None, None) = (first.key(), second.key())
            && let Some(address) = (ADDRESS.parse)(first.value().text())
        {
            let port = second.value().text();
            let kind = description.kind().text();
            let instead = format!("{kind}:{port}:interface={}", InBrackets(address));
            let message = format!(
                "a server endpoint has its port first; write {}",
                quote(&instead)
            );
            return Err(description.error(first.value().column(), message));
        }
        Ok(())
    }

    /// Reads what a kind that stands on TCP has in common with `tcp`.
    pub(super) fn read_fields(description: &Description) -> Result<Self, EndpointError> {
        let mut listen = Self::new(description.read_argument(0, &LISTENING_PORT)?);
        listen.interface = description.read_option("interface", &ADDRESS)?;
        if let Some(connections) = description.read_option("backlog", &BACKLOG)? {
            listen.backlog = connections;
        }
        if let Some(on) = description.read_option("reuse_port", &SWITCH)? {
            listen.reuse_port = on;
        }
        if let Some(on) = description.read_option("only_v6", &SWITCH)? {
            listen.only_v6 = on;
        }
        listen.socket = SocketOptions::read(description)?;
        Ok(listen)
    }
}

impl TcpListen {
    /// `tcp6` is `tcp` without IPv4.
    fn read_v6(description: &Description) -> Result<Self, EndpointError> {
        let listen = Self::read(description)?;
        if listen.interface.is_some_and(|address| address.is_ipv4())
            && let Some(word) = description.option("interface")
        {
            let message = "`tcp6` listens on IPv6 addresses; write `tcp` for this one";
            return Err(description.error(word.column(), message));
        }
        Ok(listen.only_v6(true))
    }
}

impl UnixListen {
    /// Listens on a socket at `path`, for the user of this process alone.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            mode: 0o600,
            backlog: DEFAULT_BACKLOG,
        }
    }

    /// Sets [`mode`](Self#structfield.mode), `0o000` to `0o777`.
    #[must_use]
    pub fn mode(mut self, permissions: u32) -> Self {
        self.mode = permissions;
        self
    }

    /// Sets [`backlog`](Self#structfield.backlog).
    #[must_use]
    pub fn backlog(mut self, connections: u16) -> Self {
        self.backlog = connections;
        self
    }

    fn read(description: &Description) -> Result<Self, EndpointError> {
        description.check(&UNIX)?;
        let mut listen = Self::new(description.read_argument(0, &PATH)?);
        if let Some(permissions) = description.read_option("mode", &MODE)? {
            listen.mode = permissions;
        }
        if let Some(connections) = description.read_option("backlog", &BACKLOG)? {
            listen.backlog = connections;
        }
        Ok(listen)
    }
}

impl From<TcpListen> for ServerEndpoint {
    fn from(listen: TcpListen) -> Self {
        Self::Tcp(listen)
    }
}

impl From<UnixListen> for ServerEndpoint {
    fn from(listen: UnixListen) -> Self {
        Self::Unix(listen)
    }
}

impl From<TlsListen> for ServerEndpoint {
    fn from(listen: TlsListen) -> Self {
        Self::Tls(listen)
    }
}

impl From<SystemdListen> for ServerEndpoint {
    fn from(listen: SystemdListen) -> Self {
        Self::Systemd(listen)
    }
}

impl FromStr for ServerEndpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        Self::read(&text.parse()?)
    }
}

/// As text that parses to the same endpoint. Options at their defaults are left out.
impl fmt::Display for ServerEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(listen) => listen.fmt(f),
            Self::Unix(listen) => listen.fmt(f),
            Self::Tls(listen) => listen.fmt(f),
            Self::Systemd(listen) => listen.fmt(f),
            Self::Fd(descriptor) => descriptor.fmt(f),
            Self::Stdio => f.write_str("stdio"),
            Self::Other(kind) => kind.fmt(f),
        }
    }
}

impl fmt::Display for TcpListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tcp:{}", self.port)?;
        self.fmt_options(f)
    }
}

impl TcpListen {
    /// The options that are not at their defaults.
    pub(super) fn fmt_options(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Self::new(self.port);
        if let Some(address) = self.interface {
            write!(f, ":interface={}", InBrackets(address))?;
        }
        if self.backlog != default.backlog {
            write!(f, ":backlog={}", self.backlog)?;
        }
        if self.reuse_port != default.reuse_port {
            write!(f, ":reuse_port={}", switch(self.reuse_port))?;
        }
        if self.only_v6 != default.only_v6 {
            write!(f, ":only_v6={}", switch(self.only_v6))?;
        }
        write!(f, "{}", self.socket)
    }
}

impl fmt::Display for UnixListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Self::new("");
        write!(f, "unix:{}", Escaped(&self.path.to_string_lossy()))?;
        if self.mode != default.mode {
            write!(f, ":mode={:03o}", self.mode)?;
        }
        if self.backlog != default.backlog {
            write!(f, ":backlog={}", self.backlog)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::form::list;
    use super::super::socket::tests::socket_options;
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv6Addr;

    fn parse(text: &str) -> ServerEndpoint {
        text.parse().unwrap()
    }

    /// `column: message`.
    fn error(text: &str) -> String {
        let error = text.parse::<ServerEndpoint>().unwrap_err();
        format!("{}: {}", error.column(), error.message())
    }

    #[test]
    fn tcp_with_only_a_port_has_the_documented_defaults() {
        let ServerEndpoint::Tcp(listen) = parse("tcp:80") else {
            panic!("not tcp")
        };
        assert_eq!((listen.port, listen.interface), (80, None));
        assert_eq!((listen.backlog, listen.reuse_port), (1024, false));
        assert!(!listen.only_v6);
        assert!(listen.socket.no_delay);
        assert_eq!(listen.socket.keep_alive, None);
    }

    #[test]
    fn every_option_of_tcp_is_a_key_with_the_name_of_its_setter() {
        let text = "tcp:0:interface=[::1]:backlog=5:reuse_port=yes:only_v6=yes:no_delay=no:\
                    keep_alive=60s:send_buffer=64k:receive_buffer=1000";
        let built = TcpListen::new(0)
            .interface(Ipv6Addr::LOCALHOST)
            .backlog(5)
            .reuse_port(true)
            .only_v6(true)
            .no_delay(false)
            .keep_alive(Duration::from_secs(60))
            .send_buffer(65_536)
            .receive_buffer(1000);
        assert_eq!(parse(text), built.into());
    }

    #[test]
    fn an_interface_may_be_escaped_instead_of_bracketed() {
        assert_eq!(
            parse(r"tcp:1:interface=\:\:1"),
            parse("tcp:1:interface=[::1]")
        );
    }

    #[test]
    fn a_unix_socket_is_for_its_own_user_unless_the_mode_says_more() {
        assert_eq!(parse("unix:/a"), UnixListen::new("/a").mode(0o600).into());
        assert_eq!(
            parse(r"unix:/a\:b c:backlog=1:mode=666"),
            UnixListen::new("/a:b c").mode(0o666).backlog(1).into()
        );
    }

    #[test]
    fn display_escapes_only_what_needs_it() {
        let endpoint = ServerEndpoint::from(UnixListen::new(r"[a]:b=c\d e"));
        assert_eq!(endpoint.to_string(), r"unix:\[a]\:b\=c\\d e");
        assert_eq!(parse(&endpoint.to_string()), endpoint);
    }

    #[test]
    fn unknown_kinds_say_which_there_are() {
        assert_eq!(
            error("carrier-pigeon:7"),
            format!(
                "1: `carrier-pigeon` is not a kind of server endpoint; the kinds are {}",
                list(ServerEndpoint::BUILT_IN)
            )
        );
        assert_eq!(
            error("tpc:80"),
            "1: `tpc` is not a kind of server endpoint; did you mean `tcp`?"
        );
    }

    #[test]
    fn a_bare_port_or_path_is_answered_with_its_kind() {
        assert_eq!(
            error("8080"),
            "1: `8080` is not a kind of server endpoint; did you mean `tcp:8080`?"
        );
        assert_eq!(
            error("/run/a.sock"),
            "1: `/run/a.sock` is not a kind of server endpoint; did you mean `unix:/run/a.sock`?"
        );
    }

    #[test]
    fn a_missing_port_is_reported_past_the_end() {
        assert_eq!(error("tcp"), "4: the port is missing; write `tcp:PORT`");
        assert_eq!(
            error("tcp:backlog=1"),
            "14: the port is missing; write `tcp:PORT`"
        );
    }

    #[test]
    fn an_empty_port_or_path_is_reported_where_it_should_stand() {
        assert_eq!(error("tcp:"), "5: the port is empty; write `tcp:PORT`");
        assert_eq!(
            error("unix::mode=600"),
            "6: the path is empty; write `unix:PATH`"
        );
    }

    #[test]
    fn a_port_out_of_range_is_reported_at_the_port() {
        let expected = "is not a port from 0 to 65535 (0 for any free one)";
        assert_eq!(error("tcp:65536"), format!("5: `65536` {expected}"));
        assert_eq!(error("tcp:http"), format!("5: `http` {expected}"));
    }

    #[test]
    fn an_address_before_the_port_is_answered_with_the_right_order() {
        assert_eq!(
            error("tcp:127.0.0.1:80"),
            "5: a server endpoint has its port first; write `tcp:80:interface=127.0.0.1`"
        );
        assert_eq!(
            error("tcp:[::1]:80"),
            "5: a server endpoint has its port first; write `tcp:80:interface=[::1]`"
        );
    }

    #[test]
    fn an_unknown_option_is_answered_with_the_one_that_was_meant() {
        assert_eq!(
            error("tcp:80:backlgo=5"),
            "8: `backlgo` is not an option of `tcp`; did you mean `backlog`?"
        );
        assert_eq!(
            error("unix:/a:colour=red"),
            "9: `colour` is not an option of `unix`; it has `mode` and `backlog`, and `\\=` is an \
             equals sign that belongs to an argument"
        );
    }

    #[test]
    fn a_repeated_option_is_reported_at_the_second() {
        assert_eq!(
            error("tcp:80:backlog=1:no_delay=no:backlog=1"),
            "30: `backlog` is given twice; keep one"
        );
    }

    #[test]
    fn an_ipv6_interface_without_brackets_is_told_to_have_them() {
        assert_eq!(
            error("tcp:80:interface=::1"),
            "18: `interface` has no value; leave it out, or if it is an IPv6 address, put \
             brackets around it"
        );
        assert_eq!(
            error("tcp:80:interface=2001:db8"),
            "23: `db8` is one field too many for `tcp:PORT`; if the colon before it belongs to a \
             value, write `\\:`, or put brackets around an IPv6 address"
        );
    }

    #[test]
    fn each_bad_value_is_reported_at_the_value_with_what_was_expected() {
        for (text, expected) in [
            (
                "tcp:1:interface=lo",
                "17: `interface` is an IP address such as `127.0.0.1` or `[::1]`, not `lo`",
            ),
            (
                "tcp:1:backlog=70000",
                "15: `backlog` is a number from 0 to 65535, not `70000`",
            ),
            (
                "tcp:1:reuse_port=1",
                "18: `reuse_port` is `yes` or `no`, not `1`",
            ),
            (
                "tcp:1:only_v6=on",
                "15: `only_v6` is `yes` or `no`, not `on`",
            ),
            (
                "tcp:1:no_delay=off",
                "16: `no_delay` is `yes` or `no`, not `off`",
            ),
            (
                "tcp:1:keep_alive=60",
                "18: `keep_alive` is a duration of at least one second, such as `60s` or `5m`, \
                 not `60`",
            ),
            (
                "tcp:1:send_buffer=64kb",
                "19: `send_buffer` is a size in bytes such as `65536` or `64k`, not `64kb`",
            ),
            (
                "tcp:1:receive_buffer=x",
                "22: `receive_buffer` is a size in bytes such as `65536` or `64k`, not `x`",
            ),
            (
                "unix:/a:mode=888",
                "14: `mode` is three octal digits such as `660`, not `888`",
            ),
            (
                "unix:/a\0b",
                "6: `/a\u{fffd}b` is not a path, which holds no NUL character",
            ),
        ] {
            assert_eq!(error(text), expected, "{text:?}");
        }
    }

    fn tcp() -> impl Strategy<Value = ServerEndpoint> {
        (
            any::<u16>(),
            any::<Option<IpAddr>>(),
            any::<u16>(),
            any::<bool>(),
            any::<bool>(),
            socket_options(),
        )
            .prop_map(|(port, interface, backlog, reuse_port, only_v6, socket)| {
                ServerEndpoint::Tcp(TcpListen {
                    port,
                    interface,
                    backlog,
                    reuse_port,
                    only_v6,
                    socket,
                })
            })
    }

    fn unix() -> impl Strategy<Value = ServerEndpoint> {
        ("[^\0]+", 0..=0o777_u32, any::<u16>()).prop_map(|(path, mode, backlog)| {
            UnixListen::new(path).mode(mode).backlog(backlog).into()
        })
    }

    proptest! {
        #[test]
        fn display_parses_back_to_the_same_endpoint(endpoint in prop_oneof![tcp(), unix()]) {
            prop_assert_eq!(parse(&endpoint.to_string()), endpoint);
        }

        #[test]
        fn no_text_panics_and_errors_point_into_the_text(
            text in r"(tcp|unix|\PC*)(:|=|\\|\[|\]|[0-9a-z/.]{1,4}|interface|backlog|mode|\PC){0,12}",
        ) {
            match text.parse::<ServerEndpoint>() {
                Ok(endpoint) => prop_assert_eq!(parse(&endpoint.to_string()), endpoint),
                Err(error) => {
                    prop_assert!((1..=text.chars().count() + 1).contains(&error.column()));
                    prop_assert!(!error.to_string().contains('\n'));
                }
            }
        }
    }
}
