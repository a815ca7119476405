//! Lines, by `LineReceiver` at both ends.
//!
//! Holds: answers come in order, whole, each once; a connection that one end closes ends at both.

use std::time::Duration;

use ropewalk_core::framing::{LineProtocol, LineReceiver, LineTransport};
use ropewalk_core::{Address, Factory};

use crate::mistake::Mistake;
use crate::program::Program;
use crate::questions::{PATIENCE, Questions, answer, question};
use crate::watched::WatchedFactory;

const NAME: &str = "lines";

pub(crate) fn serve(program: &Program) {
    program.serve("tcp:7001", server(program, "lines server"));
}

pub(crate) fn call(program: &Program) {
    program.every(
        Duration::from_secs(24),
        |program| program.connect(NAME, "tcp:server:7001", client(program, NAME, 6000)),
        || (),
    );
}

/// Connections that answer lines.
pub(crate) fn server(
    program: &Program,
    what: &'static str,
) -> WatchedFactory<impl Factory + use<>> {
    let for_each = program.clone();
    let build = move |_: &Address| {
        LineReceiver::new(Answerer {
            program: for_each.clone(),
            is_paused: false,
            is_draining: false,
            held: None,
        })
    };
    WatchedFactory::new(build, program.checker(), what)
}

/// Connections that ask lines, of answers with up to `longest` letters.
pub(crate) fn client(program: &Program, name: &'static str, longest: u64) -> impl Factory + use<> {
    let for_each = program.clone();
    let build = move |_: &Address| asker(Questions::new(&for_each, name, longest));
    WatchedFactory::new(build, program.checker(), "asker of lines")
}

/// The protocol that asks these questions.
pub(crate) fn asker(questions: Questions) -> LineReceiver<impl LineProtocol> {
    LineReceiver::new(Asker(questions))
}

struct Answerer {
    program: Program,
    is_paused: bool,
    /// What comes now is not answered any more.
    is_draining: bool,
    /// By mistake: an answer that comes after its successor.
    held: Option<Vec<u8>>,
}

impl Answerer {
    /// Does what is wrong, if it is to be done now; whether that was instead of the answer.
    fn errs(&mut self, transport: &mut LineTransport<'_>, line: &[u8]) -> bool {
        let Some(mistake) = self.program.around.mistake else {
            return false;
        };
        if self.program.below(20) > 0 {
            return false;
        }
        let Some((number, len)) = question(line) else {
            return false;
        };
        match mistake {
            Mistake::Reorders => self.held = Some(answer((number, len))),
            Mistake::AnswersTwice => {
                transport.send_line(&answer((number, len)));
                return false;
            }
            Mistake::LosesAByte => transport.send_line(&answer((number, len.saturating_sub(1)))),
            Mistake::Invents => {
                let mut answer = answer((number, len + 1));
                if let Some(last) = answer.last_mut() {
                    *last ^= 1;
                }
                transport.send_line(&answer);
            }
            Mistake::IsSilent => {}
            Mistake::LeaksTheProtocol => {
                let live = self.program.checker().live("protocol that was leaked");
                std::mem::forget(live);
                return false;
            }
            Mistake::LeaksATimer => {
                let day = Duration::from_secs(86_400);
                drop(self.program.reactor.call_later(day, || ()));
                return false;
            }
            Mistake::LeaksAPort => {
                self.program
                    .serve("tcp:0", server(&self.program, "port that was leaked"));
                return false;
            }
            Mistake::CutsWhenStopped => return false,
            Mistake::Panics => panic!("on purpose"),
        }
        true
    }
}

impl LineProtocol for Answerer {
    fn line_received(&mut self, transport: &mut LineTransport<'_>, line: &[u8]) {
        if self.is_draining || self.errs(transport, line) {
            return;
        }
        match question(line) {
            Some(question) => {
                self.program.checker().accept(question.0);
                transport.send_line(&answer(question));
            }
            None => {
                let text = String::from_utf8_lossy(line).into_owned();
                self.program
                    .checker()
                    .violation(format!("a line came that nobody sent: {text:?}"));
            }
        }
        if let Some(held) = self.held.take() {
            transport.send_line(&held);
        }
    }

    /// Unread lines would reset a connection that is closed, and what is answered with it: so only
    /// one way is, and the client closes the other.
    fn drain(&mut self, transport: &mut LineTransport<'_>) {
        self.is_draining = true;
        transport.lose_write_connection();
    }

    fn write_paused(&mut self, transport: &mut LineTransport<'_>) {
        self.is_paused = true;
        transport.pause_producing();
    }

    fn write_resumed(&mut self, transport: &mut LineTransport<'_>) {
        if std::mem::take(&mut self.is_paused) {
            transport.resume_producing();
        }
    }
}

struct Asker(Questions);

impl Asker {
    fn next(&mut self, transport: &mut LineTransport<'_>) {
        let batch = self.0.next_batch();
        for question in &batch {
            transport.send_line(question.as_bytes());
        }
        transport.set_timeout(Some(PATIENCE));
        if batch.is_empty() {
            self.0.end(transport);
        }
    }
}

impl LineProtocol for Asker {
    fn connection_made(&mut self, transport: &mut LineTransport<'_>) {
        self.next(transport);
    }

    fn line_received(&mut self, transport: &mut LineTransport<'_>, line: &[u8]) {
        transport.reset_timeout();
        if self.0.answered(line) {
            self.next(transport);
        }
    }
}
