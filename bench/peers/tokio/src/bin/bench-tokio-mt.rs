//! tokio with one multi-thread runtime, whose workers steal tasks from one another.

use bench_contract::{Arguments, listeners, thread_per_listener};
use tokio::runtime::Builder;

fn main() {
    let arguments = Arguments::parse(&["echo", "lines"]);
    let listeners = listeners(arguments.address, 1);
    thread_per_listener(listeners, move |listener| {
        let runtime = Builder::new_multi_thread()
            .worker_threads(arguments.workers)
            .enable_io()
            .build()?;
        let app = arguments.app.clone();
        // A task of its own: the thread of `block_on` is none of the workers.
        let accepting = runtime.spawn(async move { bench_tokio::serve(listener, &app).await });
        runtime.block_on(accepting)?
    })
}
