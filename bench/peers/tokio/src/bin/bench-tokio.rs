//! tokio with a current-thread runtime per worker, which share the port through `SO_REUSEPORT`.

use bench_contract::{Arguments, listeners, thread_per_listener};
use tokio::runtime::Builder;

fn main() {
    let arguments = Arguments::parse(&bench_tokio::APPS);
    let listeners = listeners(arguments.address, arguments.workers);
    thread_per_listener(listeners, move |listener| {
        Builder::new_current_thread()
            .enable_io()
            .build()?
            .block_on(bench_tokio::serve(listener, &arguments.app))
    })
}
