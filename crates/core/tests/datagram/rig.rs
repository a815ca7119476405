//! A datagram protocol made of closures, and a driver by hand.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Instant;

use ropewalk_core::testing::no_reactor;
use ropewalk_core::{
    Address, DatagramChannel, DatagramError, DatagramLimits, DatagramOption, DatagramProtocol,
    DatagramQueue, DatagramSendStatus, DatagramSocket, DatagramTransport, Incoming, LoopContext,
};

pub(crate) type Log = Rc<RefCell<Vec<String>>>;

type OnDatagram = Box<dyn FnMut(&mut DatagramTransport, &[u8], &Address)>;
type OnTransport = Box<dyn FnMut(&mut DatagramTransport)>;

/// Notes everything, and does what it was given.
#[derive(Default)]
pub(crate) struct On {
    pub(crate) log: Log,
    pub(crate) started: Option<OnTransport>,
    pub(crate) datagram: Option<OnDatagram>,
}

impl On {
    pub(crate) fn logging(log: &Log) -> Self {
        Self {
            log: Rc::clone(log),
            ..Self::default()
        }
    }

    pub(crate) fn started(mut self, call: impl FnMut(&mut DatagramTransport) + 'static) -> Self {
        self.started = Some(Box::new(call));
        self
    }

    pub(crate) fn datagram(
        mut self,
        call: impl FnMut(&mut DatagramTransport, &[u8], &Address) + 'static,
    ) -> Self {
        self.datagram = Some(Box::new(call));
        self
    }

    fn note(&self, what: String) {
        self.log.borrow_mut().push(what);
    }
}

impl DatagramProtocol for On {
    fn start_protocol(&mut self, transport: &mut DatagramTransport) {
        self.note("started".to_owned());
        if let Some(call) = &mut self.started {
            call(transport);
        }
    }

    fn datagram_received(
        &mut self,
        transport: &mut DatagramTransport,
        data: &[u8],
        from: &Address,
    ) {
        self.note(format!("{} from {from}", String::from_utf8_lossy(data)));
        if let Some(call) = &mut self.datagram {
            call(transport, data, from);
        }
    }

    fn connection_refused(&mut self, _: &mut DatagramTransport) {
        self.note("refused".to_owned());
    }

    fn datagram_failed(&mut self, _: &mut DatagramTransport, error: &DatagramError) {
        self.note(format!("failed: {error}"));
    }

    fn stop_protocol(&mut self) {
        self.note("stopped".to_owned());
    }
}

/// A driver that takes as many datagrams as it has room for.
pub(crate) struct HandSocket {
    pub(crate) room: Cell<usize>,
    pub(crate) full: Cell<DatagramSendStatus>,
    pub(crate) error: Cell<Option<io::ErrorKind>>,
    pub(crate) sent: RefCell<Vec<(Vec<u8>, Option<Address>)>>,
    /// How many were taken by each call.
    pub(crate) calls: RefCell<Vec<usize>>,
    pub(crate) reading: Cell<bool>,
}

impl HandSocket {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            room: Cell::new(usize::MAX),
            full: Cell::new(DatagramSendStatus::Blocked),
            error: Cell::new(None),
            sent: RefCell::default(),
            calls: RefCell::default(),
            reading: Cell::new(true),
        })
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        let text = |(data, _): (Vec<u8>, _)| String::from_utf8(data).unwrap();
        self.sent.take().into_iter().map(text).collect()
    }
}

impl DatagramSocket for HandSocket {
    fn send(&self, queue: &mut DatagramQueue) -> io::Result<DatagramSendStatus> {
        let mut taken = 0;
        while let Some((data, to)) = queue.front() {
            if self.room.get() == 0 {
                self.calls.borrow_mut().push(taken);
                return Ok(self.full.get());
            }
            if let Some(error) = self.error.take() {
                return Err(error.into());
            }
            self.sent.borrow_mut().push((data.to_vec(), to.cloned()));
            queue.pop(1);
            self.room.set(self.room.get() - 1);
            taken += 1;
        }
        self.calls.borrow_mut().push(taken);
        Ok(DatagramSendStatus::Sent)
    }

    fn connect(&self, _: &Address) -> io::Result<()> {
        Ok(())
    }

    fn set_option(&self, _: &DatagramOption) -> io::Result<()> {
        Ok(())
    }

    fn set_reading(&self, on: bool) {
        self.reading.set(on);
    }
}

/// A port on a driver by hand.
pub(crate) struct Rig {
    pub(crate) channel: DatagramChannel,
    pub(crate) socket: Rc<HandSocket>,
}

impl Rig {
    pub(crate) fn new(protocol: On, limits: DatagramLimits) -> Self {
        let context = Rc::new(LoopContext::new(Instant::now(), no_reactor()));
        let socket = HandSocket::new();
        let mut channel = DatagramChannel::new(
            context,
            Box::new(protocol),
            Rc::clone(&socket) as Rc<dyn DatagramSocket>,
            limits,
            address(1),
            None,
            Box::new(|| ()),
        );
        channel.start();
        channel.settle();
        Self { channel, socket }
    }

    pub(crate) fn receive(&mut self, datagrams: &[&str]) {
        let mut batch = datagrams.iter().map(|data| Incoming {
            data: data.as_bytes(),
            from: address(9),
            truncated: false,
        });
        self.channel.received(&mut batch);
    }
}

pub(crate) fn address(port: u16) -> Address {
    Address::Udp(([192, 0, 2, 1], port).into())
}
