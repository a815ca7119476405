//! Netstrings, by `NetstringReceiver` at both ends.
//!
//! Holds: what holds of lines, for frames of up to 20,000 bytes.

use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::framing::{FrameTransport, NetstringReceiver, StringProtocol};
use ropewalk_core::{Address, Factory};

use crate::checker::Checker;
use crate::program::Program;
use crate::questions::{PATIENCE, Questions, answer, question};
use crate::watched::WatchedFactory;

const NAME: &str = "strings";

pub(crate) fn serve(program: &Program) {
    program.serve("tcp:7002", server(program, "strings server"));
}

/// Connections that answer strings.
pub(crate) fn server(program: &Program, what: &'static str) -> impl Factory + use<> {
    let checker = Rc::clone(program.checker());
    let build = move |_: &Address| {
        NetstringReceiver::new(Answerer {
            checker: Rc::clone(&checker),
            is_paused: false,
            is_draining: false,
        })
    };
    WatchedFactory::new(build, program.checker(), what)
}

pub(crate) fn call(program: &Program) {
    let begin = |program: &Program| {
        let for_each = program.clone();
        let build = move |_: &Address| {
            NetstringReceiver::new(Asker(Questions::new(&for_each, NAME, 20_000)))
        };
        let factory = WatchedFactory::new(build, program.checker(), "asker of strings");
        program.connect(NAME, "tcp:server:7002", factory);
    };
    program.every(Duration::from_secs(30), begin, || ());
}

struct Answerer {
    checker: Rc<Checker>,
    is_paused: bool,
    is_draining: bool,
}

impl StringProtocol for Answerer {
    fn string_received(&mut self, transport: &mut FrameTransport<'_>, string: &[u8]) {
        if self.is_draining {
            return;
        }
        match question(string) {
            Some(question) => {
                self.checker.accept(question.0);
                transport.send_string(&answer(question));
            }
            None => transport.abort_connection(),
        }
    }

    fn drain(&mut self, transport: &mut FrameTransport<'_>) {
        self.is_draining = true;
        transport.lose_write_connection();
    }

    fn write_paused(&mut self, transport: &mut FrameTransport<'_>) {
        self.is_paused = true;
        transport.pause_producing();
    }

    fn write_resumed(&mut self, transport: &mut FrameTransport<'_>) {
        if std::mem::take(&mut self.is_paused) {
            transport.resume_producing();
        }
    }
}

struct Asker(Questions);

impl Asker {
    fn next(&mut self, transport: &mut FrameTransport<'_>) {
        let batch = self.0.next_batch();
        for question in &batch {
            transport.send_string(question.as_bytes());
        }
        transport.set_timeout(Some(PATIENCE));
        if batch.is_empty() {
            self.0.end(transport);
        }
    }
}

impl StringProtocol for Asker {
    fn connection_made(&mut self, transport: &mut FrameTransport<'_>) {
        self.next(transport);
    }

    fn string_received(&mut self, transport: &mut FrameTransport<'_>, string: &[u8]) {
        transport.reset_timeout();
        if self.0.answered(string) {
            self.next(transport);
        }
    }
}
