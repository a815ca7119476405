//! monoio on epoll, which it calls its legacy driver.

use bench_monoio::{Listening, run};
use monoio::LegacyDriver;

fn main() {
    run::<LegacyDriver>(Listening::Nonblocking)
}
