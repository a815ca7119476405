//! Questions and answers over UDP, which are asked again when no answer comes.
//!
//! Holds: an answer is whole and right however often it comes; a port that is closed is told so, once
//! and last, and hears nothing more; with no faults, a few attempts are enough.

use std::time::Duration;

use ropewalk_core::{Address, DatagramPort, DatagramProtocol, DatagramTransport, Failure};

use crate::checker::Request;
use crate::content::difference;
use crate::program::Program;
use crate::questions::{answer, question};
use crate::watched::Order;

const NAME: &str = "datagrams";

/// The longest answer: in three fragments on a usual link.
const LONGEST: u64 = 4000;

/// How often a question is sent, and how long the first answer is waited for; then twice as long.
const ATTEMPTS: u32 = 6;
const WAITS: Duration = Duration::from_millis(500);

/// How long before the server's port is opened again that could not be.
const AGAIN: Duration = Duration::from_secs(2);

pub(crate) fn serve(program: &Program) {
    let order = Order::new(program.checker(), "datagram server");
    let endpoint = "udp:7008".parse().expect("the endpoint is right");
    let opened = program.reactor.listen_datagram(&endpoint, Answerer(order));
    if opened.is_err() {
        let again = program.clone();
        drop(program.reactor.call_later(AGAIN, move || serve(&again)));
    }
}

pub(crate) fn call(program: &Program) {
    let begin = |program: &Program| {
        let asker = Asker {
            order: Order::new(program.checker(), "datagram client"),
            program: program.clone(),
            left: 1 + program.below(4),
            open: None,
        };
        let endpoint = "udp:server:7008".parse().expect("the endpoint is right");
        let request = program.checker().ask(NAME);
        let opened = program.reactor.connect_datagram(&endpoint, asker);
        let told = |opened: Result<DatagramPort, Failure>| match opened {
            Ok(_) => request.answered(),
            Err(failure) => request.failed(&failure),
        };
        drop(opened.add_both(told));
    };
    program.every(Duration::from_secs(20), begin, || ());
}

struct Answerer(Order);

impl DatagramProtocol for Answerer {
    fn start_protocol(&mut self, _: &mut DatagramTransport) {
        self.0.made();
    }

    fn datagram_received(
        &mut self,
        transport: &mut DatagramTransport,
        data: &[u8],
        from: &Address,
    ) {
        self.0.runs("datagram_received");
        if let Some(question) = question(data) {
            transport.write_to(&answer(question), from);
        }
    }

    fn stop_protocol(&mut self) {
        self.0.lost();
    }
}

struct Asker {
    order: Order,
    program: Program,
    left: u64,
    open: Option<Open>,
}

/// A question that has no answer.
struct Open {
    request: Request,
    len: usize,
    attempts: u32,
}

impl Asker {
    fn next(&mut self, transport: &mut DatagramTransport) {
        if self.left == 0 {
            return transport.stop_listening();
        }
        self.left -= 1;
        self.open = Some(Open {
            request: self.program.checker().ask(NAME),
            len: self.program.length(LONGEST),
            attempts: 0,
        });
        self.send(transport);
    }

    fn send(&mut self, transport: &mut DatagramTransport) {
        let Some(open) = &mut self.open else { return };
        if open.attempts == ATTEMPTS {
            self.open = None;
            return transport.stop_listening();
        }
        let (number, len, attempts) = (open.request.number, open.len, open.attempts);
        open.attempts += 1;
        transport.write(format!("{number} {len}").as_bytes());
        let port = transport.port();
        let again = move || {
            port.with(move |asker: &mut Self, transport| {
                let waits_for = |open: &Open| (open.request.number, open.attempts);
                if asker.open.as_ref().map(waits_for) == Some((number, attempts + 1)) {
                    asker.send(transport);
                }
            });
        };
        drop(
            self.program
                .reactor
                .call_later(WAITS * 2_u32.pow(attempts), again),
        );
    }

    fn check(&self, data: &[u8]) -> Result<u64, String> {
        let space = data.iter().position(|byte| *byte == b' ').unwrap_or(0);
        let (number, letters) = data.split_at(space);
        let number = std::str::from_utf8(number)
            .ok()
            .and_then(|number| number.parse().ok());
        let number: u64 = number.ok_or("a datagram that nobody sent")?;
        if number == 0 || number > self.program.checker().last_number() {
            return Err(format!("an answer to {number}, which nobody asked"));
        }
        match difference(number, 0, letters.get(1..).unwrap_or_default()) {
            Some(place) => Err(format!("a wrong byte at {place} of answer {number}")),
            None => Ok(number),
        }
    }
}

impl DatagramProtocol for Asker {
    fn start_protocol(&mut self, transport: &mut DatagramTransport) {
        self.order.made();
        self.next(transport);
    }

    fn datagram_received(&mut self, transport: &mut DatagramTransport, data: &[u8], _: &Address) {
        self.order.runs("datagram_received");
        let number = match self.check(data) {
            Ok(number) => number,
            Err(wrong) => return self.program.checker().violation(format!("{NAME}: {wrong}")),
        };
        // One that comes twice, or late, answers nothing more.
        let is_awaited = |open: &mut Open| open.request.number == number;
        if let Some(open) = self.open.take_if(is_awaited) {
            let len = data.len() - number.to_string().len() - 1;
            if len != open.len {
                let text = format!("{NAME}: answer {number} has {len} bytes, not {}", open.len);
                self.program.checker().violation(text);
            }
            open.request.answered();
            self.next(transport);
        }
    }

    fn stop_protocol(&mut self) {
        self.order.lost();
    }
}
