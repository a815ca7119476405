//! Two channels with TLS and nothing between them but a test that says how the bytes go over.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ropewalk_core::testing::no_reactor;
use ropewalk_core::{
    Address, Channel, Connection, ConnectionDone, ConnectionId, Failure, Layer, LoopContext,
    Protocol, SendStatus, Step, Transport,
};
use ropewalk_tls::{ClientTls, ServerTls, TlsInfo};

use crate::authority::Authority;

pub(crate) const NAME: &str = "example.com";

/// What a protocol was told, and what it did.
#[derive(Clone, Default)]
pub(crate) struct Log(Rc<RefCell<Told>>);

#[derive(Clone, Default)]
pub(crate) struct Told {
    pub(crate) made: usize,
    pub(crate) data: Vec<u8>,
    pub(crate) read_closed: bool,
    pub(crate) lost: Option<String>,
    pub(crate) info: Option<TlsInfo>,
}

impl Log {
    pub(crate) fn told(&self) -> Told {
        self.0.borrow().clone()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.told().data).unwrap()
    }
}

type OnMade = Box<dyn FnMut(&mut Transport)>;

/// Writes down what it is told, and answers what it gets if it is to.
pub(crate) struct Talker {
    pub(crate) log: Log,
    made: OnMade,
    echoes: bool,
    /// Goes on when the peer has closed its side.
    patient: bool,
}

impl Talker {
    pub(crate) fn new(log: &Log, made: impl FnMut(&mut Transport) + 'static) -> Self {
        Self {
            log: log.clone(),
            made: Box::new(made),
            echoes: false,
            patient: false,
        }
    }

    pub(crate) fn silent(log: &Log) -> Self {
        Self::new(log, |_| ())
    }

    pub(crate) fn echo(log: &Log) -> Self {
        let mut talker = Self::silent(log);
        talker.echoes = true;
        talker
    }

    pub(crate) fn patient(mut self) -> Self {
        self.patient = true;
        self
    }
}

impl Protocol for Talker {
    fn connection_made(&mut self, transport: &mut Transport) {
        let info = transport.fact::<TlsInfo>();
        let mut told = self.log.0.borrow_mut();
        told.made += 1;
        told.info = info.map(|info| (*info).clone());
        drop(told);
        (self.made)(transport);
    }

    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        self.log.0.borrow_mut().data.extend_from_slice(data);
        if self.echoes {
            transport.write(data);
        }
    }

    fn read_closed(&mut self, transport: &mut Transport) {
        self.log.0.borrow_mut().read_closed = true;
        if !self.patient {
            transport.lose_connection();
        }
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.log.0.borrow_mut().lost = Some(describe(&reason));
    }
}

/// "done", or what a reason says.
pub(crate) fn describe(reason: &Failure) -> String {
    match reason.check::<ConnectionDone>() {
        Some(_) => "done".to_owned(),
        None => reason.to_string(),
    }
}

/// A server and a client that trust one another.
pub(crate) fn both() -> (ServerTls, ClientTls) {
    let authority = Authority::new();
    let server = authority.server(&[NAME]);
    (
        ServerTls::builder().pem(server.pem()).build().unwrap(),
        ClientTls::builder()
            .roots_pem(authority.roots())
            .build()
            .unwrap(),
    )
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Client = 0,
    Server = 1,
}

/// Two channels. What one sends, the other receives whole, but for one cut.
pub(crate) struct Wire {
    pub(crate) context: Rc<LoopContext>,
    ends: [Option<Channel>; 2],
    /// Why each ended.
    pub(crate) reasons: [Option<Failure>; 2],
    /// After so many bytes to this end, it gets its turn before the next.
    pub(crate) cut: Option<(At, usize)>,
    /// How many bytes each has got.
    pub(crate) got: [usize; 2],
    /// All that each has sent.
    pub(crate) sent: [Vec<u8>; 2],
    /// How many times each was asked to send.
    pub(crate) sends: [usize; 2],
    /// What one end sends is lost from here on.
    pub(crate) deaf: bool,
    epoch: Instant,
}

impl Wire {
    pub(crate) fn new(
        client: (Box<dyn Protocol>, Vec<Box<dyn Layer>>),
        server: (Box<dyn Protocol>, Vec<Box<dyn Layer>>),
    ) -> Self {
        Self::begun_at(Instant::now(), client, server)
    }

    /// One whose time begins at `epoch`.
    pub(crate) fn begun_at(
        epoch: Instant,
        client: (Box<dyn Protocol>, Vec<Box<dyn Layer>>),
        server: (Box<dyn Protocol>, Vec<Box<dyn Layer>>),
    ) -> Self {
        let context = Rc::new(LoopContext::new(epoch, no_reactor()));
        let channel = |index, (protocol, layers)| {
            Channel::new(
                Rc::clone(&context),
                ConnectionId::new(index, 0),
                protocol,
                layers,
                Rc::default(),
                Address::Unix(None),
                Rc::new(Address::Unix(None)),
            )
        };
        Self {
            ends: [Some(channel(0, client)), Some(channel(1, server))],
            context: Rc::clone(&context),
            reasons: [None, None],
            cut: None,
            got: [0; 2],
            sent: [Vec::new(), Vec::new()],
            sends: [0; 2],
            deaf: false,
            epoch,
        }
    }

    /// A client and a server with TLS from the first byte on.
    pub(crate) fn tls(
        tls: &(ServerTls, ClientTls),
        client: impl Protocol,
        server: impl Protocol,
    ) -> Self {
        let layer = tls.1.layer(NAME).unwrap();
        Self::new(
            (Box::new(client), vec![Box::new(layer)]),
            (Box::new(server), vec![Box::new(tls.0.layer())]),
        )
    }

    pub(crate) fn connect(&mut self) {
        for end in self.ends.iter_mut().flatten() {
            end.connected();
        }
        self.run();
    }

    pub(crate) fn connection(&self, at: At) -> Connection {
        let end = self.ends[at as usize].as_ref();
        end.map(Channel::connection).unwrap_or_default()
    }

    pub(crate) fn is_open(&self, at: At) -> bool {
        self.ends[at as usize].is_some()
    }

    /// Gives bytes to one end as if the other had sent them.
    pub(crate) fn inject(&mut self, at: At, data: &[u8]) {
        if let Some(end) = &mut self.ends[at as usize] {
            end.received(data);
        }
        self.run();
    }

    /// Ends one end without a word.
    pub(crate) fn forget(&mut self, at: At) {
        self.ends[at as usize] = None;
    }

    /// What an end sends now, which does not arrive by itself.
    pub(crate) fn take(&mut self, from: At) -> Vec<u8> {
        self.step(from as usize).0
    }

    /// The network says that the other end sends no more.
    pub(crate) fn end_of_stream(&mut self, at: At) {
        if let Some(end) = &mut self.ends[at as usize] {
            end.read_closed();
        }
        self.run();
    }

    pub(crate) fn wants_read(&self, at: At) -> bool {
        self.ends[at as usize].as_ref().unwrap().wants_read()
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.context.set_now(self.epoch + by);
        let now = self.context.now_nanos();
        for end in self.ends.iter_mut().flatten() {
            if end.deadline().is_some_and(|deadline| deadline <= now) {
                end.deadline_passed();
            }
        }
        self.run();
    }

    /// Moves bytes until none are left.
    pub(crate) fn run(&mut self) {
        loop {
            let mut moved = false;
            for from in [0, 1] {
                let (data, closed) = self.step(from);
                moved |= !data.is_empty() || closed;
                if self.deaf {
                    continue;
                }
                self.deliver(1 - from, &data);
                if closed && let Some(end) = &mut self.ends[1 - from] {
                    end.read_closed();
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn deliver(&mut self, to: usize, data: &[u8]) {
        let start = self.got[to];
        self.got[to] += data.len();
        let cut = self.cut.filter(|(at, _)| *at as usize == to);
        let first = cut.map_or(0, |(_, cut)| cut.saturating_sub(start).min(data.len()));
        for piece in [&data[..first], &data[first..]] {
            if !piece.is_empty()
                && let Some(end) = &mut self.ends[to]
            {
                end.received(piece);
            }
            if piece.len() == first && first > 0 {
                // What it answers waits for its turn.
                while let Some(end) = &mut self.ends[to] {
                    match end.next_step() {
                        Step::SetOption(_) => {}
                        _ => break,
                    }
                }
            }
        }
    }

    /// What an end sends, and whether it has closed.
    fn step(&mut self, at: usize) -> (Vec<u8>, bool) {
        let mut data = Vec::new();
        let mut closed = false;
        while let Some(end) = &mut self.ends[at] {
            match end.next_step() {
                Step::Send => {
                    self.sends[at] += 1;
                    end.send(|queue| {
                        data.extend(queue.to_vec()?);
                        queue.clear();
                        Ok(SendStatus::Ready)
                    });
                }
                Step::ShutdownWrite => closed = true,
                Step::SetOption(_) => {}
                Step::Close | Step::Abort => {
                    closed = true;
                    let end = self.ends[at].take().unwrap();
                    self.reasons[at] = Some(end.lost());
                }
                Step::Wait => break,
            }
        }
        self.sent[at].extend_from_slice(&data);
        (data, closed)
    }
}
