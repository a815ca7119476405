//! Where a thread came from, as far as its stack tells.
//!
//! The kernel says where the stack of a thread that waits in a system call ends (proc(5),
//! `syscall`), and lets the process read its own memory as a file. Each word of the stack that
//! points behind a call instruction is taken for a return address. So no true caller is missing,
//! and some that have returned may be there too: what was left in memory that a function has
//! reserved and not written to. Nothing of this is unsafe. A thread that computes is made to wait,
//! for as long as it takes to copy its stack ([`halt`](crate::halt)); where it was is in the frame
//! that the kernel has made for the signal.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// So much of a stack is looked at.
const MOST_BYTES: usize = 256 * 1024;

/// So many callers are named.
const MOST_CALLERS: usize = 64;

/// The callers of what `thread` does, the innermost first, down to the frame at `base`. `None` if
/// the system does not tell.
pub(crate) fn callers(thread: i32, base: usize) -> Option<Vec<String>> {
    let memory = File::open("/proc/self/mem").ok()?;
    let stack = match waits_at(thread) {
        Some(place) => Stack::read(&memory, place, base)?,
        None => Stack::read_computing(&memory, thread, base)?,
    };
    // What was read belongs together only if it waits there still.
    if stack.waited && waits_at(thread).as_ref() != Some(&stack.place) {
        return None;
    }
    let code = code().ok()?;
    let is_code = |address: &usize| code.iter().any(|range| range.contains(address));
    let returns = words(&stack.bytes)
        .filter(is_code)
        .filter(|at| follows_call(&memory, *at));
    let mut names = Vec::new();
    for address in [stack.place.code + 1].into_iter().chain(returns) {
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

/// A copy of a thread's stack.
struct Stack {
    place: Place,
    bytes: Vec<u8>,
    /// It waits there by itself.
    waited: bool,
}

impl Stack {
    fn read(memory: &File, place: Place, base: usize) -> Option<Self> {
        let length = base.checked_sub(place.stack)?.min(MOST_BYTES);
        let mut bytes = vec![0; length];
        memory.read_exact_at(&mut bytes, place.stack as u64).ok()?;
        Some(Self {
            place,
            bytes,
            waited: true,
        })
    }

    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    fn read_computing(memory: &File, thread: i32, base: usize) -> Option<Self> {
        let halt = crate::halt::Halt::begin(thread)?;
        let handler = waits_at(thread)?;
        let mut frames = vec![0; HANDLER_BYTES];
        let length = memory.read_at(&mut frames, handler.stack as u64).ok()?;
        let place = interrupted_at(memory, &frames[..length])?;
        let stack = Self::read(memory, place, base)?;
        // It may have gone on by itself meanwhile.
        let stands_still = waits_at(thread)? == handler;
        drop(halt);
        stands_still.then_some(Self {
            waited: false,
            ..stack
        })
    }

    /// What the kernel writes for a signal is known for Linux on x86-64 alone.
    #[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
    fn read_computing(_: &File, _: i32, _: usize) -> Option<Self> {
        None
    }
}

fn words(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let words = bytes.chunks_exact(size_of::<usize>());
    words.map(|word| usize::from_ne_bytes(word.try_into().unwrap_or_default()))
}

/// The frames of a signal's handler take no more than this.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
const HANDLER_BYTES: usize = 16 * 1024;

/// Where a signal has interrupted a thread, from the stack of its handler: behind the handler's
/// frames stands a `struct rt_sigframe` (Linux, arch/x86/include/asm/sigframe.h), which begins with
/// the address that the handler returns to, and has the registers after it.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn interrupted_at(memory: &File, frames: &[u8]) -> Option<Place> {
    /// `mov $15, %rax; syscall`: nothing else returns from a signal.
    const RETURN: [u8; 9] = [0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05];
    /// In words from the return address, of which it is the first; `struct ucontext` begins with five
    /// words, and the registers have the numbers of `REG_RSP` and `REG_RIP`.
    const RSP: usize = 1 + 5 + 15;
    const RIP: usize = 1 + 5 + 16;
    let frames: Vec<_> = words(frames).collect();
    let returns = |address: usize| {
        let mut code = [0; RETURN.len()];
        memory.read_exact_at(&mut code, address as u64).is_ok() && code == RETURN
    };
    let at = frames.iter().position(|word| returns(*word))?;
    Some(Place {
        stack: *frames.get(at + RSP)?,
        code: *frames.get(at + RIP)?,
    })
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
