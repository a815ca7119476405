//! Answers that are made in threads, asked by strings with their length in two bytes in front.
//!
//! Holds: answers come in the order of their questions, whatever the order in which the jobs end; a
//! job whose connection is gone tells nobody; no job is left behind.

use std::collections::VecDeque;
use std::time::Duration;

use ropewalk_core::framing::{FrameTransport, Int16StringReceiver, StringProtocol};
use ropewalk_core::{Address, Failure};

use crate::program::Program;
use crate::questions::{PATIENCE, Questions, answer, question};
use crate::watched::{Order, WatchedFactory};

const NAME: &str = "threads";

type Receiver = Int16StringReceiver<Answerer>;

pub(crate) fn serve(program: &Program) {
    let for_each = program.clone();
    let build = move |_: &Address| {
        Receiver::new(Answerer {
            program: for_each.clone(),
            order: Order::new(for_each.checker(), "server with threads"),
            answers: VecDeque::new(),
            first: 0,
            is_draining: false,
        })
    };
    program.serve("tcp:7009", build);
}

pub(crate) fn call(program: &Program) {
    let begin = |program: &Program| {
        let for_each = program.clone();
        let build = move |_: &Address| {
            Int16StringReceiver::new(Asker(Questions::new(&for_each, NAME, 10_000)))
        };
        let factory = WatchedFactory::new(build, program.checker(), "asker of threads");
        program.connect(NAME, "tcp:server:7009", factory);
    };
    program.every(Duration::from_secs(40), begin, || ());
}

struct Answerer {
    program: Program,
    order: Order,
    /// Those that are there, or will be, in their order; and the number of the first.
    answers: VecDeque<Option<Vec<u8>>>,
    first: usize,
    is_draining: bool,
}

impl StringProtocol for Answerer {
    fn connection_made(&mut self, _: &mut FrameTransport<'_>) {
        self.order.made();
    }

    fn string_received(&mut self, transport: &mut FrameTransport<'_>, string: &[u8]) {
        self.order.runs("string_received");
        if self.is_draining {
            return;
        }
        let Some(question) = question(string) else {
            return transport.abort_connection();
        };
        self.program.checker().accept(question.0);
        let place = self.first + self.answers.len();
        self.answers.push_back(None);
        let connection = transport.connection();
        let live = self.program.checker().live("job in a thread");
        let made = self
            .program
            .reactor
            .defer_to_thread(move || answer(question));
        let told = made.add_both(move |made: Result<Vec<u8>, Failure>| {
            drop(live);
            Receiver::with(&connection, move |answerer, transport| match made {
                Ok(answer) => answerer.made(place, answer, transport),
                Err(failure) => transport.abort_with(failure),
            });
        });
        drop(told);
    }

    fn drain(&mut self, transport: &mut FrameTransport<'_>) {
        self.is_draining = true;
        self.end_if_done(transport);
    }

    fn read_closed(&mut self, transport: &mut FrameTransport<'_>) {
        if self.answers.is_empty() {
            transport.lose_connection();
        }
    }

    fn connection_lost(&mut self, _: Failure) {
        self.order.lost();
    }
}

impl Answerer {
    fn made(&mut self, place: usize, answer: Vec<u8>, transport: &mut FrameTransport<'_>) {
        self.answers[place - self.first] = Some(answer);
        while let Some(Some(answer)) = self.answers.front_mut().map(Option::take) {
            transport.send_string(&answer);
            self.answers.pop_front();
            self.first += 1;
        }
        self.end_if_done(transport);
    }

    fn end_if_done(&self, transport: &mut FrameTransport<'_>) {
        if self.is_draining && self.answers.is_empty() {
            transport.lose_write_connection();
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
            transport.lose_connection();
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
