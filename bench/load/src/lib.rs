//! The load generator of the benchmark: one run, one kind of load, one line of JSON.
//!
//! It shares no code with the engine that it measures, so it shares none of its mistakes: plain epoll by
//! way of `mio`, a poll and connections of its own for each thread, nothing allocated for a request, one
//! read and one write for a batch. Each byte that comes back is compared. Its own CPU time is in the
//! result, so that a reader sees when the generator was the limit, and not the server.

mod answer;
mod args;
mod bulk;
mod churn;
mod closed;
mod datagram;
mod download;
mod failure;
mod handshake;
mod idle;
mod measure;
mod paced;
mod pattern;
mod schedule;
mod source;
mod stream;
mod threads;
mod tls;
mod websocket;

pub use args::Arguments;
pub use failure::Failure;

use args::Command;
use threads::run_threads;

/// Makes the load that the arguments ask for, and prints the result as one line on standard output.
///
/// # Errors
///
/// When the server cannot be reached, when it sends a wrong byte, or when the system refuses a call. What
/// happens to single connections is counted in the result instead.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    source::raise_open_files();
    let measured = match &arguments.command {
        Command::Echo(echo) => match echo.rate {
            Some(rate) => run_threads(&echo.load, echo.connections, |registry, share| {
                paced::Paced::connect(echo, rate, registry, share)
            }),
            None => run_threads(&echo.load, echo.connections, |registry, share| {
                closed::Closed::echo(echo, registry, share)
            }),
        },
        Command::Lines(lines) => run_threads(&lines.load, lines.connections, |registry, share| {
            closed::Closed::lines(lines, registry, share)
        }),
        Command::Churn(churn) => run_threads(&churn.load, churn.connections, |_, share| {
            Ok(churn::Churn::new(churn, share))
        }),
        Command::Download(download) => {
            run_threads(&download.load, download.connections, |registry, share| {
                download::Download::connect(download, registry, share)
            })
        }
        Command::Datagram(datagram) => {
            run_threads(&datagram.load, datagram.sockets, |registry, share| {
                datagram::Datagram::bind(datagram, registry, share)
            })
        }
        Command::Handshake(handshake) => {
            run_threads(&handshake.load, handshake.connections, |_, share| {
                handshake::Handshakes::new(handshake, share)
            })
        }
        Command::Bulk(bulk) => run_threads(&bulk.load, bulk.connections, |registry, share| {
            bulk::Bulk::connect(bulk, registry, share)
        }),
        Command::WebSocket(websocket) => {
            run_threads(&websocket.load, websocket.connections, |registry, share| {
                websocket::WebSockets::connect(websocket, registry, share)
            })
        }
        Command::Idle(idle) => return idle::run(idle),
    }?;
    measure::print(&measured)
}
