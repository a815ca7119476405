//! Errors to a file, from `tracing` and from the `log` crate alike.
//! `cargo run -p ropewalk-examples --example logging -- server.log`
use ropewalk::Failure;
use ropewalk::logging::{Logging, Rotation};

fn my_log_message(message: &str) {
    tracing::error!("Server error: {message}");
}

fn main() -> Result<(), Failure> {
    let path = std::env::args().nth(1).unwrap_or("server.log".to_owned());
    let rotation = Rotation::by_size(1_000_000).keep(3);
    let _log = Logging::new()
        .filter("error")?
        .file(path, rotation)
        .start()?;
    my_log_message("x");
    log::error!("a library speaks up");
    tracing::info!("too low a level");
    Ok(())
}
