//! As the suite on Ropewalk, with turmoil, which simulates a network for tokio.

use std::error::Error;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use turmoil::net::{TcpListener, TcpStream};
use turmoil::{Builder, Sim};

use crate::Sizes;
use crate::figure::{Figure, print, time};
use crate::sizes::{CONNECTIONS, MESSAGE, simulated};

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn run(sizes: &Sizes) -> Result<(), Box<dyn Error>> {
    let (hosts, seconds) = (sizes.hosts, sizes.virtual_seconds_of_turmoil);
    let figure = Figure::measure(simulated(hosts), seconds, || {
        // The latencies of Ropewalk's own default; the time goes on in steps of a millisecond.
        let mut sim = Builder::new()
            .simulation_duration(Duration::from_secs(seconds + 10))
            .min_message_latency(Duration::from_micros(100))
            .max_message_latency(Duration::from_millis(1))
            .rng_seed(1)
            .build();
        for number in 0..hosts {
            sim.host(format!("host{number}"), move || serve(number, hosts));
        }
        pass(&mut sim, SECOND);
        time(|| pass(&mut sim, Duration::from_secs(seconds)))
    });
    Ok(print(&figure)?)
}

/// Lets so much time pass.
fn pass(sim: &mut Sim<'_>, by: Duration) {
    let end = sim.elapsed() + by;
    while sim.elapsed() < end {
        sim.step().expect("no host fails");
    }
}

async fn serve(number: usize, hosts: usize) -> turmoil::Result {
    let listener = TcpListener::bind(("0.0.0.0", 7)).await?;
    for step in 1..=CONNECTIONS {
        let to = format!("host{}", (number + step) % hosts);
        tokio::task::spawn_local(async move {
            // When all listen.
            tokio::time::sleep(SECOND / 2).await;
            ping(&to).await.expect("the other host answers");
        });
    }
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::task::spawn_local(async move {
            let mut message = [0; MESSAGE];
            while stream.read_exact(&mut message).await.is_ok() {
                stream.write_all(&message).await.expect("the peer is there");
            }
        });
    }
}

async fn ping(to: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect((to, 7)).await?;
    let mut message = [b'.'; MESSAGE];
    loop {
        stream.write_all(&message).await?;
        stream.read_exact(&mut message).await?;
        tokio::time::sleep(SECOND).await;
    }
}
