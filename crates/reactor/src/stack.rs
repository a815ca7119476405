//! Where a thread that waits in a system call came from, as far as its stack tells.
//!
//! The kernel says where the stack of such a thread ends (proc(5), `syscall`), and lets the process
//! read its own memory as a file. Each word of the stack that points behind a call instruction is
//! taken for a return address. So no true caller is missing, and some that have returned may be
//! there too: what was left in memory that a function has reserved and not written to. Nothing is
//! stopped, no signal is sent, and nothing of this is unsafe. A thread that computes has no such
//! place, and no callers are found.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// So much of a stack is looked at.
const MOST_BYTES: usize = 256 * 1024;

/// So many callers are named.
const MOST_CALLERS: usize = 64;

/// The callers of the system call that `thread` waits in, the innermost first, down to the frame at
/// `base`. `None` if it waits in none, or the system does not tell.
pub(crate) fn callers(thread: i32, base: usize) -> Option<Vec<String>> {
    let place = waits_at(thread)?;
    let length = base.checked_sub(place.stack)?.min(MOST_BYTES);
    let memory = File::open("/proc/self/mem").ok()?;
    let mut stack = vec![0; length];
    memory.read_exact_at(&mut stack, place.stack as u64).ok()?;
    // What was read belongs together only if it waits there still.
    if waits_at(thread)? != place {
        return None;
    }
    let code = code().ok()?;
    let is_code = |address: &usize| code.iter().any(|range| range.contains(address));
    let words = stack.chunks_exact(size_of::<usize>());
    let words = words.map(|word| usize::from_ne_bytes(word.try_into().unwrap_or_default()));
    let returns = words
        .filter(is_code)
        .filter(|at| follows_call(&memory, *at));
    let mut names = Vec::new();
    for address in [place.code + 1].into_iter().chain(returns) {
        // The address of a return is that of the next instruction.
        backtrace::resolve((address - 1) as *mut _, |symbol| {
            let Some(name) = symbol.name() else { return };
            // Without the hash at its end.
            let mut text = format!("{name:#}");
            if let (Some(file), Some(line)) = (symbol.filename(), symbol.lineno()) {
                text += &format!(" at {}:{line}", file.display());
            }
            names.push(text);
        });
        if names.len() >= MOST_CALLERS {
            break;
        }
    }
    names.dedup();
    names.truncate(MOST_CALLERS);
    Some(names)
}

/// Where a thread waits.
#[derive(PartialEq, Eq)]
struct Place {
    /// The end of its stack.
    stack: usize,
    /// What it executes next.
    code: usize,
}

fn waits_at(thread: i32) -> Option<Place> {
    let text = fs::read_to_string(format!("/proc/self/task/{thread}/syscall")).ok()?;
    let mut fields = text.split_whitespace().rev();
    let mut number = || {
        let digits = fields.next()?.strip_prefix("0x")?;
        usize::from_str_radix(digits, 16).ok()
    };
    let code = number()?;
    let stack = number()?;
    Some(Place { stack, code })
}

/// Where there is code in this process.
fn code() -> io::Result<Vec<Range<usize>>> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let range = |line: &str| {
        let (addresses, rest) = line.split_once(' ')?;
        let (start, end) = addresses.split_once('-')?;
        let number = |digits| usize::from_str_radix(digits, 16).ok();
        let is_code = rest.as_bytes().get(2) == Some(&b'x');
        is_code.then_some(number(start)?..number(end)?)
    };
    Ok(maps.lines().filter_map(range).collect())
}

/// Whether a call instruction stands before `address`.
#[cfg(target_arch = "x86_64")]
fn follows_call(memory: &File, address: usize) -> bool {
    let mut before = [0; 7];
    let from = address.saturating_sub(before.len()) as u64;
    if memory.read_exact_at(&mut before, from).is_err() {
        return false;
    }
    // `call rel32`, and `call r/m64` in its lengths: opcode FF with 2 in the middle of the next byte.
    let is_indirect = |at: usize| before[at] == 0xff && before[at + 1] >> 3 & 7 == 2;
    before[2] == 0xe8 || [5, 4, 3, 1, 0].into_iter().any(is_indirect)
}

/// Whether a call instruction stands before `address`: not looked at on this machine.
#[cfg(not(target_arch = "x86_64"))]
fn follows_call(_: &File, _: usize) -> bool {
    true
}
