//! A datagram protocol made of closures, which notes what it is told.

use ropewalk_core::{Address, DatagramError, DatagramLimits, DatagramProtocol, DatagramTransport};

use crate::log::Log;

type OnTransport = Box<dyn FnMut(&mut DatagramTransport)>;
type OnDatagram = Box<dyn FnMut(&mut DatagramTransport, &[u8], &Address)>;

/// Does what it was given for each event, and notes it.
#[derive(Default)]
pub(crate) struct DatagramScript {
    log: Option<Log>,
    started: Option<OnTransport>,
    received: Option<OnDatagram>,
    limits: DatagramLimits,
}

impl DatagramScript {
    pub(crate) fn silent() -> Self {
        Self::default()
    }

    pub(crate) fn noting(log: &Log) -> Self {
        Self {
            log: Some(log.clone()),
            ..Self::default()
        }
    }

    pub(crate) fn echo() -> Self {
        Self::silent().received(|transport, data, from| {
            transport.write_to(data, from);
        })
    }

    pub(crate) fn started(mut self, call: impl FnMut(&mut DatagramTransport) + 'static) -> Self {
        self.started = Some(Box::new(call));
        self
    }

    pub(crate) fn received(
        mut self,
        call: impl FnMut(&mut DatagramTransport, &[u8], &Address) + 'static,
    ) -> Self {
        self.received = Some(Box::new(call));
        self
    }

    pub(crate) fn within(mut self, limits: DatagramLimits) -> Self {
        self.limits = limits;
        self
    }

    fn note(&self, event: impl Into<String>) {
        if let Some(log) = &self.log {
            log.note(event);
        }
    }
}

impl DatagramProtocol for DatagramScript {
    fn start_protocol(&mut self, transport: &mut DatagramTransport) {
        self.note("started");
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
        self.note(format!("got {}", String::from_utf8_lossy(data)));
        if let Some(call) = &mut self.received {
            call(transport, data, from);
        }
    }

    fn connection_refused(&mut self, _: &mut DatagramTransport) {
        self.note("refused");
    }

    fn datagram_failed(&mut self, _: &mut DatagramTransport, error: &DatagramError) {
        self.note(format!("failed: {}", kind_of(error)));
    }

    fn limits(&self) -> DatagramLimits {
        self.limits
    }

    fn stop_protocol(&mut self) {
        self.note("stopped");
    }
}

fn kind_of(error: &DatagramError) -> &'static str {
    match error {
        DatagramError::Undelivered { .. } => "undelivered",
        DatagramError::Unsent { .. } => "unsent",
        DatagramError::QueueFull { .. } => "queue full",
        DatagramError::Truncated { .. } => "truncated",
        DatagramError::Receive(_) => "receive",
        _ => "other error",
    }
}
