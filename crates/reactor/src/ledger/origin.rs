//! Where something was made: in whose code.
//!
//! A place that the compiler passes along (`#[track_caller]`) ends at the first call through a
//! trait object, and most that is begun on a loop comes through one. So it is the stack that is
//! noted, as addresses; what they mean is looked up when somebody asks.

use std::path::Path;

/// So many callers are noted. Whoever calls this engine stands among the innermost.
const CALLERS: usize = 48;

/// These are ours, and not who is looked for.
const OWN: [&str; 9] = [
    "ropewalk",
    "ropewalk_core",
    "ropewalk_reactor",
    "ropewalk_service",
    "ropewalk_sim",
    "ropewalk_tls",
    "ropewalk_trial",
    "ropewalk_web",
    "ropewalk_wire",
];

/// And so are these, which stand between.
const LIBRARIES: [&str; 6] = ["alloc", "backtrace", "core", "std", "test", "tracing"];

/// The callers of what was made, the innermost first.
pub(super) struct Origin(Box<[usize]>);

impl Origin {
    pub(super) fn here() -> Self {
        let mut callers = Vec::with_capacity(CALLERS);
        backtrace::trace(|frame| {
            callers.push(frame.ip() as usize);
            callers.len() < CALLERS
        });
        Self(callers.into())
    }

    /// The innermost caller that is neither ours nor of the standard library; if there is none in
    /// this turn, the innermost of ours that has to do with it.
    pub(super) fn place(&self) -> String {
        let mut ours = None;
        for address in &self.0 {
            let mut found = None;
            let mut is_turn = false;
            // The address of a return is that of the next instruction. Functions that were inlined
            // there are told first.
            backtrace::resolve(address.wrapping_sub(1) as *mut _, |symbol| {
                let Some(name) = symbol.name() else { return };
                // Without the hash at its end.
                let name = format!("{name:#}");
                is_turn |= is_turn_of_the_loop(&name);
                let file = symbol.filename();
                if found.is_some() || is_turn || file.is_some_and(is_of_the_compiler) {
                    return;
                }
                let place = || describe(&name, file, symbol.lineno());
                match whose(&name) {
                    Whose::Users => found = Some(place()),
                    Whose::Ours if ours.is_none() && !is_bookkeeping(&name) => ours = Some(place()),
                    Whose::Ours | Whose::Library => {}
                }
            });
            if found.is_some() {
                return found.unwrap_or_default();
            }
            if is_turn {
                break;
            }
        }
        ours.unwrap_or_else(|| "a place that the debug information does not tell".to_owned())
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Whose {
    Users,
    Ours,
    Library,
}

/// Whose a function is, by its name: `crate::path`, or `<type as trait>::function`.
fn whose(name: &str) -> Whose {
    let start = |text: &str| {
        let text = text.trim_start_matches(['<', '&', '*', '[', '(']);
        let text = ["dyn ", "mut ", "const ", "impl "]
            .iter()
            .fold(text, |text, word| text.trim_start_matches(word));
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
        let (name, rest) = text.split_at(end.unwrap_or(text.len()));
        rest.starts_with("::").then(|| name.to_owned())
    };
    // A type parameter has no path; then its trait says where the function is.
    let of_trait = || start(name.split_once(" as ")?.1);
    match start(name).or_else(of_trait) {
        Some(krate) if OWN.contains(&&*krate) => Whose::Ours,
        Some(krate) if !LIBRARIES.contains(&&*krate) => Whose::Users,
        _ => Whose::Library,
    }
}

/// The way from the call to here.
fn is_bookkeeping(name: &str) -> bool {
    ["::ledger::", "::event_loop::", "::reactor::Handle"]
        .iter()
        .any(|part| name.contains(part))
}

/// Behind this is whoever runs the loop, and nobody who has asked for anything.
fn is_turn_of_the_loop(name: &str) -> bool {
    let function = name.split_once("::event_loop::EventLoop");
    function.is_some_and(|(_, rest)| rest.contains("::turn") || rest.contains("::step"))
}

fn is_of_the_compiler(file: &Path) -> bool {
    file.starts_with("/rustc")
}

fn describe(name: &str, file: Option<&Path>, line: Option<u32>) -> String {
    let name = name.trim_end_matches("::{{closure}}");
    let Some(file) = file else {
        return name.to_owned();
    };
    // As the compiler tells places: from the workspace down.
    let here = std::env::current_dir().unwrap_or_default();
    let workspace = here
        .ancestors()
        .find(|path| path.join("Cargo.lock").exists());
    let file = file
        .strip_prefix(workspace.unwrap_or(&here))
        .unwrap_or(file);
    let file = file.display();
    match line {
        Some(line) => format!("{file}:{line} ({name})"),
        None => format!("{file} ({name})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_told_apart_by_the_crate_that_they_are_of() {
        for (name, expected) in [
            ("ropewalk_reactor::reactor::Handle::call_later", Whose::Ours),
            (
                "<ropewalk_core::task::Tasks as core::ops::Drop>::drop",
                Whose::Ours,
            ),
            (
                "<F as ropewalk_core::protocol::Factory>::build_protocol",
                Whose::Ours,
            ),
            (
                "<alloc::boxed::Box<F,A> as core::ops::function::FnOnce<Args>>::call_once",
                Whose::Library,
            ),
            ("<&mut F as core::future::Future>::poll", Whose::Library),
            ("main", Whose::Library),
            ("chat::Room::join::{{closure}}", Whose::Users),
            (
                "<chat::Room as ropewalk_core::protocol::Protocol>::connection_made",
                Whose::Users,
            ),
            ("<dyn chat::Guest>::greet", Whose::Users),
            ("ropewalks_of_hamburg::open", Whose::Users),
        ] {
            assert_eq!(whose(name), expected, "{name}");
        }
    }

    #[test]
    fn who_runs_the_loop_is_told_from_who_is_run_by_it() {
        for turn in [
            "ropewalk_reactor::event_loop::EventLoop::turn",
            "<ropewalk_reactor::event_loop::EventLoop>::step::<F>",
        ] {
            assert!(is_turn_of_the_loop(turn));
        }
        assert!(!is_turn_of_the_loop("chat::turn"));
        assert!(!is_turn_of_the_loop(
            "ropewalk_reactor::event_loop::EventLoop::listen"
        ));
    }
}
