//! Layers to test the stack with.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ropewalk_core::{Failure, Layer, LayerIo, OutputQueue};

/// Turns every bit around, both ways.
pub(crate) struct Invert;

impl Layer for Invert {
    fn received(&mut self, data: &[u8], io: &mut LayerIo<'_>) -> Result<(), Failure> {
        io.up().extend(data.iter().map(|byte| !byte));
        Ok(())
    }

    fn send(&mut self, output: &mut OutputQueue, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        while !output.is_empty() && !io.is_full() {
            let plain = output.front()?;
            let taken = plain.len() as u64;
            io.down()
                .write_with(|wire| wire.extend(plain.iter().map(|byte| !byte)));
            output.consume(taken);
        }
        Ok(())
    }
}

pub(crate) fn inverted(data: &[u8]) -> Vec<u8> {
    data.iter().map(|byte| !byte).collect()
}

/// What stands for TLS: says "HI", is ready when it has heard "OK", frames each byte that comes
/// as `.x`, each flush that goes as `[…]`, ends with "BYE", and takes an end without the peer's
/// "!" for a truncation.
#[derive(Default)]
pub(crate) struct Secure {
    heard: Vec<u8>,
    ready: bool,
    closed: bool,
}

impl Layer for Secure {
    fn start(&mut self, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        io.down().write(b"HI");
        Ok(())
    }

    fn received(&mut self, data: &[u8], io: &mut LayerIo<'_>) -> Result<(), Failure> {
        self.heard.extend_from_slice(data);
        loop {
            match *self.heard.as_slice() {
                [b'O', b'K', ..] if !self.ready => {
                    self.ready = true;
                    io.ready();
                    self.heard.drain(..2);
                }
                [b'.', byte, ..] if self.ready => {
                    io.up().push(byte);
                    self.heard.drain(..2);
                }
                [b'!', ..] if self.ready => {
                    self.closed = true;
                    io.close_read();
                    self.heard.drain(..1);
                }
                [] | [b'.'] if self.ready => return Ok(()),
                [] | [b'O'] if !self.ready => return Ok(()),
                _ => {
                    io.down().write(b"ALERT");
                    return Err(Failure::msg("a bad record"));
                }
            }
        }
    }

    fn send(&mut self, output: &mut OutputQueue, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        if !self.ready {
            return Ok(());
        }
        let plain = output.to_vec()?;
        output.clear();
        io.down().write(b"[");
        io.down().write(&plain);
        io.down().write(b"]");
        Ok(())
    }

    fn read_closed(&mut self, _: &mut LayerIo<'_>) -> Result<(), Failure> {
        if self.closed {
            return Ok(());
        }
        Err(Failure::msg("truncated"))
    }

    fn finish(&mut self, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        io.down().write(b"BYE");
        Ok(())
    }
}

/// Eats a line before anything goes up, as the PROXY header is eaten.
#[derive(Default)]
pub(crate) struct Header {
    eaten: bool,
}

impl Layer for Header {
    fn start(&mut self, _: &mut LayerIo<'_>) -> Result<(), Failure> {
        Ok(())
    }

    fn received(&mut self, data: &[u8], io: &mut LayerIo<'_>) -> Result<(), Failure> {
        if self.eaten {
            io.up().extend_from_slice(data);
        } else if let Some(end) = data.iter().position(|byte| *byte == b'\n') {
            self.eaten = true;
            io.ready();
            io.up().extend_from_slice(&data[end + 1..]);
        }
        Ok(())
    }

    fn send(&mut self, output: &mut OutputQueue, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        io.down().append(output);
        Ok(())
    }
}

/// Lets one byte go each way each second, and holds what has come until then.
#[derive(Default)]
pub(crate) struct Throttle {
    inbound: Vec<u8>,
    closed: bool,
    may_send: bool,
    next: Option<Instant>,
}

impl Throttle {
    fn arm(&mut self, io: &LayerIo<'_>) {
        self.next.get_or_insert(io.now() + Duration::from_secs(1));
    }
}

impl Layer for Throttle {
    fn received(&mut self, data: &[u8], io: &mut LayerIo<'_>) -> Result<(), Failure> {
        self.inbound.extend_from_slice(data);
        self.arm(io);
        Ok(())
    }

    fn read_closed(&mut self, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        self.closed = true;
        self.arm(io);
        Ok(())
    }

    fn send(&mut self, output: &mut OutputQueue, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        if std::mem::take(&mut self.may_send) {
            let first = output.front()?[0];
            output.consume(1);
            io.down().write(&[first]);
        }
        self.arm(io);
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        self.next
    }

    fn deadline_passed(&mut self, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        self.next = None;
        self.may_send = true;
        if !self.inbound.is_empty() {
            io.up().push(self.inbound.remove(0));
        }
        if !self.inbound.is_empty() || self.closed {
            self.arm(io);
        }
        if self.inbound.is_empty() && self.closed {
            io.close_read();
            self.next = None;
        }
        Ok(())
    }

    fn wants_read(&self) -> bool {
        self.inbound.is_empty()
    }
}

/// Does nothing but what it is told to do wrong.
pub(crate) struct Faulty {
    pub(crate) at: &'static str,
    pub(crate) how: How,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    Error,
    Panic,
}

impl Faulty {
    fn at(&self, place: &str) -> Result<(), Failure> {
        match self.how {
            _ if self.at != place => Ok(()),
            How::Error => Err(Failure::msg("a faulty layer")),
            How::Panic => panic!("a faulty layer"),
        }
    }
}

impl Layer for Faulty {
    fn start(&mut self, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        io.ready();
        self.at("start")
    }

    fn received(&mut self, data: &[u8], io: &mut LayerIo<'_>) -> Result<(), Failure> {
        io.up().extend_from_slice(data);
        self.at("received")
    }

    fn send(&mut self, output: &mut OutputQueue, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        io.down().append(output);
        self.at("send")
    }

    fn read_closed(&mut self, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        io.close_read();
        self.at("read_closed")
    }

    fn finish(&mut self, _: &mut LayerIo<'_>) -> Result<(), Failure> {
        self.at("finish")
    }

    fn deadline(&self) -> Option<Instant> {
        if self.at == "deadline" {
            panic!("a faulty layer");
        }
        None
    }

    fn wants_read(&self) -> bool {
        if self.at == "wants_read" {
            panic!("a faulty layer");
        }
        true
    }
}

/// Passes all on, and writes down what it is asked.
pub(crate) struct Watch(pub(crate) Rc<RefCell<Vec<String>>>);

impl Layer for Watch {
    fn received(&mut self, data: &[u8], io: &mut LayerIo<'_>) -> Result<(), Failure> {
        let text = String::from_utf8_lossy(data);
        self.0.borrow_mut().push(format!("received {text}"));
        io.up().extend_from_slice(data);
        Ok(())
    }

    fn send(&mut self, output: &mut OutputQueue, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        self.0.borrow_mut().push(format!("send {}", output.len()));
        io.down().append(output);
        Ok(())
    }

    fn finish(&mut self, _: &mut LayerIo<'_>) -> Result<(), Failure> {
        self.0.borrow_mut().push("finish".to_owned());
        Ok(())
    }

    fn read_closed(&mut self, _: &mut LayerIo<'_>) -> Result<(), Failure> {
        self.0.borrow_mut().push("read_closed".to_owned());
        Ok(())
    }
}

/// Takes no more than 60 bytes while any are below it.
pub(crate) struct Sip;

impl Layer for Sip {
    fn received(&mut self, data: &[u8], io: &mut LayerIo<'_>) -> Result<(), Failure> {
        io.up().extend_from_slice(data);
        Ok(())
    }

    fn send(&mut self, output: &mut OutputQueue, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        if io.down().is_empty() {
            let front = output.front()?;
            let count = front.len().min(60);
            io.down().write(&front[..count]);
            output.consume(count as u64);
        }
        Ok(())
    }
}
