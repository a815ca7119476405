//! A value that holds in a job for a thread, because it holds where the job was given.
//! `cargo run -p ropewalk-examples --example thread_context`
use ropewalk::{ContextKey, Deferred, Failure, Reactor};

static DATA: ContextKey<&str> = ContextKey::new();

fn print_thread_data() {
    let thread = std::thread::current();
    let data = DATA.get().map_or("nothing", |data| *data);
    println!("Data in thread {}: {data}", thread.name().unwrap_or("?"));
}

fn main() -> Result<(), Failure> {
    let reactor = Reactor::new()?;
    let stop = reactor.handle();
    let printed: Deferred<()> =
        DATA.with_value("Hello World", || reactor.defer_to_thread(print_thread_data));
    drop(printed.add_both(move |result| {
        stop.stop();
        result
    }) as Deferred<()>);
    reactor.run()?;
    print_thread_data();
    Ok(())
}
