//! A connection that is kept up, by `ClientService`, and used by whoever has a question.
//!
//! Holds: who waits for the connection gets it, or is told that the service was stopped; questions
//! are answered in order; the connection comes back when the faults are over.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::framing::{FrameTransport, NetstringReceiver, StringProtocol};
use ropewalk_core::{Address, ClientService, Connection, Failure};

use crate::program::Program;
use crate::questions::{PATIENCE, Questions};
use crate::strings;
use crate::watched::Order;

const NAME: &str = "service";

type Receiver = NetstringReceiver<Asker>;

pub(crate) fn serve(program: &Program) {
    program.serve("tcp:7006", strings::server(program, "server of a service"));
}

pub(crate) fn call(program: &Program) {
    let for_each = program.clone();
    let stopped: Rc<Cell<bool>> = Rc::default();
    let is_stopped = Rc::clone(&stopped);
    let factory = move |_: &Address| {
        NetstringReceiver::new(Asker {
            order: Order::new(for_each.checker(), "connection of a service"),
            questions: Questions::new(&for_each, NAME, 4000),
            stopped: Rc::clone(&is_stopped),
        })
    };
    let endpoint = "tcp:server:7006".parse().expect("the endpoint is right");
    let chance = Rc::clone(&program.around);
    let service =
        ClientService::builder(Rc::new(program.reactor.clone()), endpoint, Rc::new(factory))
            .random(move || chance.random.borrow_mut().unit())
            .build();
    service.start();
    let waiting: Rc<RefCell<usize>> = Rc::default();
    let (asked, ended) = (service.clone(), Rc::clone(&waiting));
    let checker = Rc::clone(program.checker());
    let stop = move || {
        stopped.set(true);
        let stopped = service.stop().add_both(move |_: Result<(), Failure>| {
            let left = *ended.borrow();
            if left > 0 {
                checker.violation(format!(
                    "{NAME}: {left} still wait for a service that stopped"
                ));
            }
        });
        drop(stopped);
    };
    program.every(
        Duration::from_secs(20),
        move |program| ask(program, &asked, &waiting),
        stop,
    );
}

/// Asks one question as soon as there is a connection.
fn ask(program: &Program, service: &ClientService, waiting: &Rc<RefCell<usize>>) {
    let request = program.checker().ask(NAME);
    let waits = Rc::clone(waiting);
    *waits.borrow_mut() += 1;
    let asked =
        service
            .when_connected(None)
            .add_both(move |connected: Result<Connection, Failure>| {
                *waits.borrow_mut() -= 1;
                match connected {
                    Ok(connection) => {
                        request.answered();
                        Receiver::with(&connection, Asker::ask);
                    }
                    Err(failure) => request.failed(&failure),
                }
            });
    drop(asked);
}

struct Asker {
    order: Order,
    questions: Questions,
    /// The service was stopped, which closes the connection whatever is under way on it.
    stopped: Rc<Cell<bool>>,
}

impl Asker {
    fn ask(&mut self, transport: &mut FrameTransport<'_>) {
        let question = self.questions.ask();
        transport.send_string(question.as_bytes());
        transport.set_timeout(Some(PATIENCE));
    }
}

impl StringProtocol for Asker {
    fn connection_made(&mut self, _: &mut FrameTransport<'_>) {
        self.order.made();
    }

    fn string_received(&mut self, transport: &mut FrameTransport<'_>, string: &[u8]) {
        self.order.runs("string_received");
        if self.questions.answered(string) {
            transport.set_timeout(None);
        }
    }

    fn connection_lost(&mut self, _: Failure) {
        if self.stopped.get() {
            self.questions.give_up();
        }
        self.order.lost();
    }
}
