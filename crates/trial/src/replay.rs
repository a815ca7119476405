//! How a test is run again with the seed that it failed with.

use std::env;
use std::fs;

use ropewalk_core::Failure;
use ropewalk_sim::World;

/// The variable that has the seed.
pub(crate) const VARIABLE: &str = "ROPEWALK_SEED";

/// The variable that has the file for what is sent in the simulated world.
const CAPTURE: &str = "ROPEWALK_PCAP";

/// What cargo says of the program that a test is part of. For `#[test]`, which fills it in.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Target {
    pub package: Option<&'static str>,
    pub krate: Option<&'static str>,
    pub binary: Option<&'static str>,
    pub is_integration_test: bool,
}

/// The seed that was asked for, if one was.
pub(crate) fn wanted_seed() -> Result<Option<u64>, Failure> {
    let Some(text) = env::var_os(VARIABLE) else {
        return Ok(None);
    };
    let text = text.to_string_lossy();
    let number = text.parse().map_err(|error| {
        let doing = format!("reading {VARIABLE}={text}, which is to be the number of a seed");
        Failure::new(error).context(doing)
    });
    number.map(Some)
}

/// Captures what is sent in `world`, if that is asked for.
pub(crate) fn begin_capture(world: Option<&World>) {
    if let Some(world) = world.filter(|_| env::var_os(CAPTURE).is_some()) {
        world.capture();
    }
}

/// Writes what was sent in `world` to the file that is asked for.
pub(crate) fn end_capture(world: Option<&World>) -> Result<(), Failure> {
    let (Some(world), Some(file)) = (world, env::var_os(CAPTURE)) else {
        return Ok(());
    };
    let written = fs::write(&file, world.take_capture());
    written.map_err(|error| {
        let file = file.display();
        Failure::new(error).context(format!(
            "writing what was sent to {file}, as {CAPTURE} says"
        ))
    })
}

/// The command that runs the test `name` with `seed`, as far as it is known.
pub(crate) fn command(target: &Target, name: &str, seed: u64) -> String {
    let mut command = format!("{VARIABLE}={seed} cargo test");
    if let Some(package) = target.package {
        command += &format!(" -p {package}");
    }
    match (target.binary, target.krate) {
        (Some(binary), _) => command += &format!(" --bin {binary}"),
        (None, Some(krate)) if target.is_integration_test => {
            command += &format!(" --test {}", file_name(krate));
        }
        (None, Some(_)) => command += " --lib",
        (None, None) => {}
    }
    // The harness's names have no crate.
    let within = name.split_once("::").map_or(name, |(_, within)| within);
    command + &format!(" {within} -- --exact")
}

/// A test target, by the name of its crate, which has `_` where the target may have `-`; a pattern,
/// as cargo takes it, finds either.
fn file_name(krate: &str) -> String {
    match krate.contains('_') {
        true => format!("'{}'", krate.replace('_', "[_-]")),
        false => krate.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_names_the_target_as_far_as_it_is_known() {
        let mut target = Target {
            package: Some("chat"),
            krate: Some("rooms"),
            binary: None,
            is_integration_test: true,
        };
        assert_eq!(
            command(&target, "rooms::full::refuses", 17),
            "ROPEWALK_SEED=17 cargo test -p chat --test rooms full::refuses -- --exact"
        );
        // From `tests/full-rooms.rs` or `tests/full_rooms.rs`.
        target.krate = Some("full_rooms");
        assert_eq!(
            command(&target, "full_rooms::refuses", 17),
            "ROPEWALK_SEED=17 cargo test -p chat --test 'full[_-]rooms' refuses -- --exact"
        );
        target.krate = Some("chat");
        target.is_integration_test = false;
        assert_eq!(
            command(&target, "chat::tests::greets", 0),
            "ROPEWALK_SEED=0 cargo test -p chat --lib tests::greets -- --exact"
        );
        target.binary = Some("chatd");
        assert!(command(&target, "chatd::greets", 0).contains(" --bin chatd greets "));
        assert_eq!(
            command(&Target::default(), "greets", 1),
            "ROPEWALK_SEED=1 cargo test greets -- --exact"
        );
    }
}
