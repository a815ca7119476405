//! Lines behind all policies: who may come, how many, how fast, how long.
//!
//! Holds: no more connections are served than may be, in all and of one peer; one that says nothing,
//! or goes on too long, is ended by the server; who is denied gets nothing; what is let in is served as
//! lines are.

use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::framing::{LineProtocol, LineReceiver, LineTransport};
use ropewalk_core::policies::{
    AccessList, AccessListFactory, LimitConnectionsByPeer, LimitTotalConnectionsFactory, Rate,
    Throttle, ThrottlingFactory, TimeoutFactory,
};
use ropewalk_core::{Address, Failure, Protocol, Transport};

use crate::checker::{Checker, Request};
use crate::lines;
use crate::program::Program;
use crate::questions::Questions;
use crate::watched::WatchedFactory;

const NAME: &str = "policies";

/// How many are served at once, in all and of one peer.
const MOST: usize = 6;
const MOST_OF_ONE: usize = 4;

const FIRST_BYTE: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(30);
const LIFETIME: Duration = Duration::from_secs(120);
const RATE: Rate = Rate::per_second(20_000);

/// What a connection is told that is one too many.
const BUSY: &str = "busy";

/// What the protocols of those are called that are let in.
const SERVED: &str = "server with policies";

/// When the server has surely ended a connection that does nothing.
const SURELY: Duration = Duration::from_secs(60);

pub(crate) fn serve(program: &Program) {
    let factory = lines::server(program, SERVED).most(MOST);
    let factory = TimeoutFactory::new(factory)
        .first_byte(Some(FIRST_BYTE))
        .idle(Some(IDLE))
        .lifetime(Some(LIFETIME));
    let factory = ThrottlingFactory::new(factory)
        .reads(Throttle::new().per_peer(RATE))
        .writes(Throttle::new().per_connection(RATE));
    let factory = LimitConnectionsByPeer::new(factory, MOST_OF_ONE).overflow_text("busy\r\n");
    let factory = LimitTotalConnectionsFactory::new(factory, MOST).overflow_text("busy\r\n");
    let list: AccessList = format!("deny {}, allow all", program.around.shunned)
        .parse()
        .expect("the list is right");
    program.listen("tcp:7007", Rc::new(AccessListFactory::new(factory, list)));
}

pub(crate) fn call(program: &Program) {
    let begin = |program: &Program| match program.below(8) {
        0 => silent(program),
        1 => (0..MOST).for_each(|_| ask(program)),
        _ => ask(program),
    };
    program.every(Duration::from_secs(30), begin, || ());
}

/// From a host that is denied.
pub(crate) fn call_denied(program: &Program) {
    let begin = |program: &Program| {
        let checker = Rc::clone(program.checker());
        let build = move |_: &Address| Denied(Rc::clone(&checker));
        let factory = WatchedFactory::new(build, program.checker(), "who is denied");
        program.connect(NAME, "tcp:server:7007", factory);
    };
    program.every(Duration::from_secs(120), begin, || ());
}

fn ask(program: &Program) {
    let for_each = program.clone();
    let build = move |_: &Address| {
        let questions = Questions::new(&for_each, NAME, 10_000).may_fail();
        LineReceiver::new(Visitor::new(questions))
    };
    let factory = WatchedFactory::new(build, program.checker(), "asker with policies");
    program.connect(NAME, "tcp:server:7007", factory);
}

/// Connects, and says nothing: the server is to end it.
fn silent(program: &Program) {
    let for_each = program.clone();
    let build = move |_: &Address| Silent(Some(for_each.checker().ask(NAME)));
    let factory = WatchedFactory::new(build, program.checker(), "silent client");
    program.connect(NAME, "tcp:server:7007", factory);
}

/// Asks lines, unless it is told that there are too many.
struct Visitor {
    questions: Questions,
    is_in: bool,
}

impl Visitor {
    fn new(questions: Questions) -> Self {
        Self {
            questions,
            is_in: false,
        }
    }

    fn next(&mut self, transport: &mut LineTransport<'_>) {
        let batch = self.questions.next_batch();
        for question in &batch {
            transport.send_line(question.as_bytes());
        }
        transport.set_timeout(Some(SURELY));
        if batch.is_empty() {
            self.questions.end(transport);
        }
    }
}

impl LineProtocol for Visitor {
    fn connection_made(&mut self, transport: &mut LineTransport<'_>) {
        self.next(transport);
    }

    fn line_received(&mut self, transport: &mut LineTransport<'_>, line: &[u8]) {
        if line == BUSY.as_bytes() && !self.is_in {
            return transport.lose_connection();
        }
        self.is_in = true;
        transport.reset_timeout();
        if self.questions.answered(line) {
            self.next(transport);
        }
    }
}

/// Its request is to be turned away; that it was not is noted when its own time has passed.
struct Silent(Option<Request>);

impl Protocol for Silent {
    fn connection_made(&mut self, transport: &mut Transport) {
        transport.set_timeout(Some(SURELY));
    }

    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}

    fn timeout_connection(&mut self, transport: &mut Transport) {
        drop(self.0.take());
        transport.abort_connection();
    }

    fn connection_lost(&mut self, _: Failure) {
        if let Some(request) = self.0.take() {
            request.answered();
        }
    }
}

struct Denied(Rc<Checker>);

impl Protocol for Denied {
    fn connection_made(&mut self, transport: &mut Transport) {
        transport.write(b"1 1\r\n");
        transport.set_timeout(Some(SURELY));
    }

    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        let text = String::from_utf8_lossy(data);
        self.0
            .violation(format!("{NAME}: who is denied was told {text:?}"));
        transport.abort_connection();
    }
}
