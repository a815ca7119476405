//! Programs that are run: one for its output, one that is talked to.
//! `cargo run -p ropewalk-examples --example processes`
use ropewalk::{
    Deferred, ExitStatus, Failure, Output, Process, ProcessProtocol, ProcessTransport, Reactor,
    Spawn, process_output,
};

/// Lets `wc` count the words of a verse.
struct CountWords {
    verse: &'static str,
    reactor: ropewalk::Handle,
}

impl ProcessProtocol for CountWords {
    fn connection_made(&mut self, transport: &mut ProcessTransport) {
        transport.write(self.verse.as_bytes());
        transport.close_stdin();
    }

    fn out_received(&mut self, _: &mut ProcessTransport, data: &[u8]) {
        println!("Words: {}", String::from_utf8_lossy(data).trim());
    }

    fn process_ended(&mut self, status: ExitStatus) {
        println!("wc {status}");
        self.reactor.stop();
    }
}

fn main() -> Result<(), Failure> {
    let reactor = Reactor::new()?;
    let handle = reactor.handle();
    let echo = Spawn::new("echo").args(["Hello", "from", "a", "process"]);
    let started = process_output(&*reactor, &echo).add_callback(move |output: Output| {
        print!("{}", String::from_utf8_lossy(&output.stdout));
        let count = CountWords {
            verse: "Some day we shall twist it into rope\n",
            reactor: handle.clone(),
        };
        handle.spawn_process(&Spawn::new("wc").arg("-w"), count)
    });
    reactor.run()?;
    // What went wrong on the way, if anything did, is reported when this is dropped.
    drop::<Deferred<Process>>(started);
    Ok(())
}
