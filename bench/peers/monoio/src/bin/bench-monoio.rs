//! monoio on `io_uring`.

use bench_monoio::{Listening, run};
use monoio::IoUringDriver;

fn main() {
    run::<IoUringDriver>(Listening::Blocking)
}
