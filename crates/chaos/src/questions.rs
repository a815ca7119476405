//! Questions and answers, in whatever frames: a question is `NUMBER LENGTH`, its answer the number
//! and so many letters that follow from it.
//!
//! A client asks a few at once, waits until all are answered, and asks again. Answers come in the
//! order of their questions, each once.

use std::collections::VecDeque;
use std::time::Duration;

use ropewalk_core::Transport;

use crate::checker::Request;
use crate::content::{content, difference};
use crate::program::Program;

/// How long a client waits for an answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What one client asks on one connection.
pub(crate) struct Questions {
    program: Program,
    workload: &'static str,
    open: VecDeque<(Request, usize)>,
    batches: u64,
    longest: u64,
    may_fail: bool,
}

/// How a client ends its connection.
enum Ending {
    Close,
    HalfClose,
    Abort,
}

impl Questions {
    /// A few questions, whose answers have up to `longest` letters.
    pub(crate) fn new(program: &Program, workload: &'static str, longest: u64) -> Self {
        Self {
            program: program.clone(),
            workload,
            open: VecDeque::new(),
            batches: 1 + program.below(3),
            longest,
            may_fail: false,
        }
    }

    /// The server may turn them away.
    pub(crate) fn may_fail(mut self) -> Self {
        self.may_fail = true;
        self
    }

    /// Whoever asked gives up: what is open need not be answered.
    pub(crate) fn give_up(&mut self) {
        for (request, _) in self.open.drain(..) {
            drop(request.may_fail());
        }
    }

    /// What is asked next; none if all was asked.
    pub(crate) fn next_batch(&mut self) -> Vec<String> {
        if self.batches == 0 {
            return Vec::new();
        }
        self.batches -= 1;
        let count = 1 + self.program.below(4);
        (0..count).map(|_| self.ask()).collect()
    }

    /// One question.
    pub(crate) fn ask(&mut self) -> String {
        let mut request = self.program.checker().ask(self.workload);
        if self.may_fail {
            request = request.may_fail();
        }
        let len = self.program.length(self.longest);
        let question = format!("{} {len}", request.number);
        self.open.push_back((request, len));
        question
    }

    /// An answer has come. Whether all have.
    pub(crate) fn answered(&mut self, answer: &[u8]) -> bool {
        let Some((request, len)) = self.open.pop_front() else {
            self.wrong(0, "an answer to nothing", answer);
            return true;
        };
        let number = request.number;
        let (prefix, letters) = answer.split_at(answer.len().min(number.to_string().len() + 1));
        if prefix != format!("{number} ").as_bytes() {
            self.wrong(number, "the answer to another question", answer);
        } else if let Some(place) = difference(number, 0, letters) {
            self.wrong(number, &format!("a wrong byte at {place}"), answer);
        } else if letters.len() != len {
            self.wrong(number, &format!("not the {len} bytes"), answer);
        }
        request.answered();
        self.open.is_empty()
    }

    /// Ends the connection, in one way or another.
    pub(crate) fn end(&self, transport: &mut Transport) {
        let ending = match self.program.below(8) {
            0 => Ending::Abort,
            1..4 => Ending::HalfClose,
            _ => Ending::Close,
        };
        match ending {
            Ending::Close => transport.lose_connection(),
            Ending::HalfClose => transport.lose_write_connection(),
            Ending::Abort => transport.abort_connection(),
        }
    }

    /// Whether something was asked that has no answer.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.open.is_empty()
    }

    fn wrong(&self, number: u64, what: &str, answer: &[u8]) {
        let workload = self.workload;
        let begin = String::from_utf8_lossy(&answer[..answer.len().min(40)]);
        let len = answer.len();
        self.program.checker().violation(format!(
            "{workload}: request {number} got {what}: {len} bytes, {begin:?}…"
        ));
    }
}

/// The number and length of a question; `None` if it is none.
pub(crate) fn question(text: &[u8]) -> Option<(u64, usize)> {
    let (number, len) = std::str::from_utf8(text).ok()?.split_once(' ')?;
    Some((number.parse().ok()?, len.parse().ok()?))
}

/// The answer to a question.
pub(crate) fn answer((number, len): (u64, usize)) -> Vec<u8> {
    let mut answer = format!("{number} ").into_bytes();
    answer.extend(content(number, 0, len));
    answer
}
