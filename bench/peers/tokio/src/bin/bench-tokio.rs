//! tokio with a current-thread runtime per worker, which share the port through `SO_REUSEPORT`.

use bench_contract::{
    Arguments, datagram_sockets, listeners, thread_per_listener, thread_per_socket,
};
use std::convert::Infallible;
use std::io;
use tokio::runtime::Builder;

fn main() {
    let arguments = Arguments::parse(&["echo", "lines", "datagrams"]);
    let (address, workers) = (arguments.address, arguments.workers);
    if arguments.app == "datagrams" {
        let sockets = datagram_sockets(address, workers);
        let address = sockets.first().and_then(|socket| socket.local_addr().ok());
        thread_per_socket(sockets, address, |socket| {
            block_on(bench_tokio::datagrams(socket))
        });
    }
    thread_per_listener(listeners(address, workers), move |listener| {
        block_on(bench_tokio::serve(listener, &arguments.app))
    })
}

fn block_on(serving: impl Future<Output = io::Result<Infallible>>) -> io::Result<Infallible> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(serving)
}
