//! Connections as async streams, on a reactor in memory: no socket, no waiting, time by hand.

#[cfg(feature = "tokio-io")]
mod carried;
mod ending;
mod exchange;
mod moving;
mod rig;
mod serving;
mod shutdown;
#[cfg(all(feature = "futures-io", feature = "tokio-io"))]
mod traits;
