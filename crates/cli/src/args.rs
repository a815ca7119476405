//! What the command understands. The help, the usage errors and the completions of the shells all
//! come from these types.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use ropewalk_core::endpoint::{ClientEndpoint, EndpointError, ServerEndpoint, parse_duration};
use ropewalk_service::logging::{self, FilterError};

/// The kinds of endpoints to listen on, for the help of all commands that do.
macro_rules! listening {
    () => {
        "  tcp:PORT[:interface=ADDRESS][:backlog=N]…    port 0 is any free one; IPv6 in brackets
  tcp6:PORT…                                   the same without IPv4
  unix:PATH[:mode=OCTAL]                       `\\:` is a colon that belongs to the path
  tls:PORT:certificate=FILE[:key=FILE]…        TCP with TLS; the options of tcp too
  tls:PORT:directory=DIR…                      a certificate for each name, from `*.pem`
  fd:NUMBER                                    a listening socket that was inherited
  systemd:index=N or systemd:name=NAME         a socket of this service's .socket units
  stdio                                        standard input and output, as one connection
  proxy:[trusted=NETWORKS:]ENDPOINT            each connection begins with a PROXY header
  limit:connections=N:[per_peer=N:]ENDPOINT    so many connections at a time
  throttle:read=RATE:[write=RATE:]ENDPOINT     bytes a second of each connection: `64k`"
    };
}

/// The kinds of endpoints to connect to.
macro_rules! connecting {
    () => {
        "  tcp:HOST:PORT[:timeout=30s][:bind=ADDRESS]…  IPv6 in brackets
  unix:PATH[:timeout=30s]
  tls:HOST:PORT[:roots=FILE][:name=NAME]…      TCP with TLS, to a server that is verified
  fd:NUMBER                                    a connected socket that was inherited
  stdio                                        standard input and output
  exec:PROGRAM[:ARGUMENT]…[:stderr=log]        a program, started for each connection
  socks5:HOST:PORT:[user=…:password=…:]TARGET  through a SOCKS5 proxy to another endpoint
  connect:HOST:PORT:[user=…:password=…:]TARGET through an HTTP proxy"
    };
}

/// More than any machine has cores; beyond it a number is a slip.
const MOST_WORKERS: usize = 1024;

/// Serves over the network, from the command line.
#[derive(Debug, Parser)]
#[command(
    name = "ropewalk",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    subcommand_required = true,
    disable_help_subcommand = true,
    after_help = "\
Examples:
  ropewalk web --path public               serve a folder to this machine
  ropewalk web --path public --listen tcp:80
                                           … to everybody, on port 80
  ropewalk wire --protocol echo --listen tcp:7
                                           send back what comes
  ropewalk forward --listen tcp:8080 --to tcp:192.0.2.1:80
                                           pass connections on
  ropewalk completions bash                complete commands with Tab

`ropewalk web --help` tells more, and so do the others."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) logging: LoggingArgs,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LoggingArgs {
    /// What to log: error, warn, info, debug, trace, off, or a filter
    ///
    /// A filter gives levels to parts of the program, `warn,ropewalk_web=debug` for instance.
    #[arg(
        long,
        global = true,
        value_name = "LEVEL",
        default_value = "info",
        value_parser = check_filter,
        help_heading = "Logging"
    )]
    pub(crate) log_level: String,

    /// A file to write the log to, behind what is in it, instead of standard error
    ///
    /// When it would grow larger than 64 MiB it becomes FILE.1, the last FILE.1 becomes FILE.2, and
    /// so on up to FILE.5. SIGHUP opens it again by its name, for programs that put it aside
    /// themselves.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Logging")]
    pub(crate) log_file: Option<PathBuf>,

    /// How to write the log and the access log
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "text",
        help_heading = "Logging"
    )]
    pub(crate) log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people; the access log in combined format
    Text,
    /// One JSON object for each line
    Json,
}

// What has arguments of its own says there what it does: a comment here would hide the rest of it.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Web(WebArgs),
    Wire(WireArgs),
    Forward(ForwardArgs),

    /// Print the completions for a shell
    #[command(after_help = "\
Examples:
  ropewalk completions bash > ~/.local/share/bash-completion/completions/ropewalk
  ropewalk completions fish > ~/.config/fish/completions/ropewalk.fish
  ropewalk completions zsh > \"${fpath[1]}/_ropewalk\"")]
    Completions {
        /// The shell that is to complete
        shell: Shell,
    },
}

/// Serve a folder over HTTP
///
/// Files are sent with their types, dates and tags, whole or in ranges. Names that begin with a
/// dot are hidden, and nothing outside the folder can be reached. SIGTERM or Ctrl-C stops
/// accepting and finishes what is in flight; a second one ends at once.
#[derive(Debug, clap::Args)]
#[command(after_help = concat!("\
Examples:
  ropewalk web --path public
      on http://127.0.0.1:8080/, for this machine alone
  ropewalk web --path public --listen tcp:80 --workers auto --access-log access.log
      to everybody on port 80, with one event loop per core
  ropewalk web --path public --listen unix:/run/site.sock:mode=660
      behind another server, on a socket in the file system

Endpoints:\n", listening!()))]
pub(crate) struct WebArgs {
    /// The folder to serve
    #[arg(long, value_name = "DIR")]
    pub(crate) path: PathBuf,

    /// Where to listen; may be given more than once
    #[arg(
        long,
        value_name = "ENDPOINT",
        default_value = "tcp:8080:interface=127.0.0.1",
        value_parser = parse_endpoint
    )]
    pub(crate) listen: Vec<ServerEndpoint>,

    /// The file that stands for its folder
    #[arg(long, value_name = "NAME", default_value = "index.html", value_parser = parse_index)]
    pub(crate) index: String,

    /// List the folders that have no index, instead of answering 404
    #[arg(long)]
    pub(crate) listing: bool,

    /// How many event loops to run, each in a thread of its own; `auto` for one per core
    #[arg(long, value_name = "N|auto", default_value = "1", value_parser = parse_workers)]
    pub(crate) workers: NonZeroUsize,

    /// Where to write a line for each request: a file to append to, `-` for standard output, or
    /// `off`
    #[arg(
        long,
        value_name = "FILE|-|off",
        default_value = "off",
        value_parser = PathBufValueParser::new().map(AccessLog::from)
    )]
    pub(crate) access_log: AccessLog,
}

/// Serve one of the smallest protocols there are: echo, discard, time, …
///
/// They are for trying out networks and programs. None of them asks who it talks to, so let them
/// listen where only those come who should. SIGTERM or Ctrl-C stops accepting, sends what is
/// unsent and closes; a second one ends at once.
#[derive(Debug, clap::Args)]
#[command(after_help = concat!("\
Examples:
  ropewalk wire --protocol echo --listen tcp:7:interface=127.0.0.1
      for this machine alone, on the port that RFC 862 gives it
  ropewalk wire --protocol chargen --listen tcp:0:interface=127.0.0.1 --workers auto
      on any free port, with one event loop per core

Endpoints:\n", listening!()))]
pub(crate) struct WireArgs {
    /// What to serve
    #[arg(long, value_name = "PROTOCOL")]
    pub(crate) protocol: WireProtocol,

    /// Where to listen; may be given more than once
    #[arg(long, value_name = "ENDPOINT", required = true, value_parser = parse_endpoint)]
    pub(crate) listen: Vec<ServerEndpoint>,

    /// How many event loops to run, each in a thread of its own; `auto` for one per core
    #[arg(long, value_name = "N|auto", default_value = "1", value_parser = parse_workers)]
    pub(crate) workers: NonZeroUsize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WireProtocol {
    /// RFC 862: send back what comes
    Echo,
    /// RFC 863: take everything, and say nothing
    Discard,
    /// RFC 864: send characters as long as they are taken
    Chargen,
    /// RFC 865: say a quote, and close
    Qotd,
    /// RFC 867: say the time as a line, and close
    Daytime,
    /// RFC 868: say the time in four bytes, and close
    Time,
}

/// Pass connections on to another place
///
/// Each connection is joined to one of its own. Whichever end is slow holds the other back, and a
/// side that one end closes is closed on the other. When the other place cannot be reached, the
/// connection is closed and a line logged. SIGTERM or Ctrl-C stops accepting; what moves then goes
/// on to its end, for up to 30 s, and what has been quiet for a second is closed. A second signal ends
/// at once.
#[derive(Debug, clap::Args)]
#[command(after_help = concat!("\
Examples:
  ropewalk forward --listen tcp:8080 --to tcp:192.0.2.1:80
      from everybody on port 8080 to another machine
  ropewalk forward --listen unix:/run/database.sock:mode=660 --to tcp:example.com:5432:timeout=5s
      a socket in the file system, for a server that is given five seconds to answer
  ropewalk forward --listen stdio --to tcp:192.0.2.1:80
      standard input and output, as netcat does
  ropewalk forward --listen tcp:8079 --to exec:date
      a program for each connection, as inetd does

Endpoints to listen on:\n", listening!(), "\nEndpoints to connect to:\n", connecting!()))]
pub(crate) struct ForwardArgs {
    /// Where to listen; may be given more than once
    #[arg(long, value_name = "ENDPOINT", required = true, value_parser = parse_endpoint)]
    pub(crate) listen: Vec<ServerEndpoint>,

    /// Where to connect to, for each connection
    #[arg(long, value_name = "ENDPOINT", value_parser = parse_client_endpoint)]
    pub(crate) to: ClientEndpoint,

    /// Close connections that have moved nothing for so long, `5m` for instance; never, unless
    /// this is given
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout)]
    pub(crate) idle_timeout: Option<Duration>,

    /// How many event loops to run, each in a thread of its own; `auto` for one per core
    #[arg(long, value_name = "N|auto", default_value = "1", value_parser = parse_workers)]
    pub(crate) workers: NonZeroUsize,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AccessLog {
    Off,
    StandardOutput,
    File(PathBuf),
}

impl From<PathBuf> for AccessLog {
    fn from(path: PathBuf) -> Self {
        match path.to_str() {
            Some("off") => Self::Off,
            Some("-") => Self::StandardOutput,
            _ => Self::File(path),
        }
    }
}

fn parse_endpoint(text: &str) -> Result<ServerEndpoint, String> {
    text.parse().map_err(|error| in_column(&error))
}

fn parse_client_endpoint(text: &str) -> Result<ClientEndpoint, String> {
    text.parse().map_err(|error| in_column(&error))
}

/// clap says the text itself, so the column and the message are enough.
fn in_column(error: &EndpointError) -> String {
    format!("column {}: {}", error.column(), error.message())
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .filter(|timeout| !timeout.is_zero())
        .ok_or_else(|| "write a number and its unit, such as `500ms`, `30s` or `5m`".to_owned())
}

fn parse_index(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains('/') {
        return Err("the index is the name of a file, with no folder".to_owned());
    }
    Ok(text.to_owned())
}

fn parse_workers(text: &str) -> Result<NonZeroUsize, String> {
    if text == "auto" {
        return thread::available_parallelism()
            .map_err(|error| format!("cannot tell how many cores there are ({error})"));
    }
    text.parse()
        .ok()
        .filter(|count: &NonZeroUsize| count.get() <= MOST_WORKERS)
        .ok_or_else(|| format!("write a number from 1 to {MOST_WORKERS}, or `auto`"))
}

/// A level, or a filter that makes sense.
fn check_filter(text: &str) -> Result<String, FilterError> {
    logging::check_filter(text).map(|()| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use ropewalk_core::endpoint::TcpListen;

    fn web(args: &[&str]) -> WebArgs {
        let args = [&["ropewalk", "web", "--path", "public"], args].concat();
        match Args::try_parse_from(args).unwrap().command {
            Command::Web(web) => web,
            other => panic!("not web: {other:?}"),
        }
    }

    fn error(args: &[&str]) -> String {
        let args = [&["ropewalk", "web", "--path", "public"], args].concat();
        Args::try_parse_from(args).unwrap_err().to_string()
    }

    #[test]
    fn the_definitions_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn web_serves_this_machine_alone_with_one_worker_unless_told() {
        let web = web(&[]);
        let here = TcpListen::new(8080).interface([127, 0, 0, 1]);
        assert_eq!(web.listen, [here.into()]);
        assert_eq!(web.workers.get(), 1);
        assert_eq!(web.index, "index.html");
        assert!(!web.listing);
        assert_eq!(web.access_log, AccessLog::Off);
    }

    #[test]
    fn listen_replaces_the_default_and_adds_up() {
        let web = web(&["--listen", "tcp:1", "--listen", "tcp:2"]);
        assert_eq!(
            web.listen,
            [TcpListen::new(1).into(), TcpListen::new(2).into()]
        );
    }

    #[test]
    fn a_bad_endpoint_is_reported_with_its_column() {
        let error = error(&["--listen", "tcp:80:backlgo=5"]);
        assert!(
            error.contains("column 8: `backlgo` is not an option"),
            "{error}"
        );
    }

    #[test]
    fn the_access_log_is_a_file_unless_it_is_one_of_two_words() {
        let log = |value| web(&["--access-log", value]).access_log;
        assert_eq!(log("off"), AccessLog::Off);
        assert_eq!(log("-"), AccessLog::StandardOutput);
        assert_eq!(log("./off"), AccessLog::File("./off".into()));
    }

    #[test]
    fn workers_are_a_number_of_at_least_one_or_auto() {
        assert_eq!(web(&["--workers", "3"]).workers.get(), 3);
        assert_eq!(
            web(&["--workers", "auto"]).workers,
            thread::available_parallelism().unwrap()
        );
        for bad in ["0", "-1", "1025", "many", ""] {
            let error = error(&[&format!("--workers={bad}")]);
            assert!(error.contains("from 1 to 1024, or `auto`"), "{error}");
        }
    }

    #[test]
    fn an_index_is_a_name_and_no_path() {
        for bad in ["a/b", "/", ""] {
            let error = error(&[&format!("--index={bad}")]);
            assert!(error.contains("the name of a file"), "{error}");
        }
    }

    #[test]
    fn the_help_tells_of_every_kind_of_endpoint() {
        // The list that is in the error for one that there is not.
        let kinds = |error: EndpointError| -> Vec<String> {
            let words = error.message().split('`').skip(3).step_by(2);
            words.map(str::to_owned).collect()
        };
        let listening_kinds = kinds("no-such-kind:1".parse::<ServerEndpoint>().unwrap_err());
        let connecting_kinds = kinds("no-such-kind:1".parse::<ClientEndpoint>().unwrap_err());
        assert!(listening_kinds.len() > 5 && connecting_kinds.len() > 5);
        for (help, kinds) in [
            (listening!(), listening_kinds),
            (connecting!(), connecting_kinds),
        ] {
            let tells = |kind: &String| {
                let mut lines = help.lines();
                lines.any(|line| {
                    let rest = line.trim_start().strip_prefix(kind.as_str());
                    rest.is_some_and(|rest| rest.starts_with([':', ' ']))
                })
            };
            let missing: Vec<_> = kinds.iter().filter(|kind| !tells(kind)).collect();
            assert!(missing.is_empty(), "{missing:?}");
        }
    }

    #[test]
    fn forward_has_no_idle_timeout_unless_told() {
        let idle = |args: &[&str]| {
            let first = ["ropewalk", "forward", "--listen=tcp:1", "--to=tcp:a:2"];
            match Args::try_parse_from([&first, args].concat())?.command {
                Command::Forward(forward) => Ok::<_, clap::Error>(forward.idle_timeout),
                other => panic!("not forward: {other:?}"),
            }
        };
        assert_eq!(idle(&[]).unwrap(), None);
        let minutes = idle(&["--idle-timeout", "5m"]).unwrap();
        assert_eq!(minutes, Some(Duration::from_secs(300)));
        for bad in ["0s", "5", "soon"] {
            let error = idle(&["--idle-timeout", bad]).unwrap_err().to_string();
            assert!(error.contains("`500ms`, `30s` or `5m`"), "{error}");
        }
    }

    #[test]
    fn logging_options_stand_before_or_after_the_subcommand() {
        for args in [
            ["ropewalk", "--log-level", "debug", "web", "--path", "p"],
            ["ropewalk", "web", "--path", "p", "--log-level", "debug"],
        ] {
            let args = Args::try_parse_from(args).unwrap();
            assert_eq!(args.logging.log_level, "debug");
        }
    }
}
