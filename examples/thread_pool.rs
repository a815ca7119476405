//! Ten jobs for a pool of five threads. `cargo run -p ropewalk-examples --example thread_pool`
use std::time::Duration;

use ropewalk::{Failure, Reactor, ThreadPool};

fn task(number: u32) {
    println!("Task running in thread: {number}");
}

fn main() -> Result<(), Failure> {
    let reactor = Reactor::new()?;
    let pool = ThreadPool::new("pool", 0..=5);
    for number in 0..10 {
        pool.call_in_thread(move || task(number))?;
    }
    // The loop goes on meanwhile; here it has nothing else to do.
    let stop = reactor.handle();
    reactor.call_when_running(move || stop.stop());
    reactor.run()?;
    pool.stop();
    Ok(pool.join(Duration::from_secs(10))?)
}
