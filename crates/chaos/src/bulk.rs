//! Bodies that are larger than all windows and buffers together, up and down, each to a reader that
//! reads slowly: who writes waits until there is room.
//!
//! A client says `up NUMBER LENGTH` and sends so many bytes, which the server acknowledges when it has
//! read all; or it says `down NUMBER LENGTH` and reads as many. Holds: what a slow reader gets is
//! whole, in order and unchanged, or the connection ends; who waits for room is told when there is
//! some.

use std::time::Duration;

use ropewalk_core::{Address, Protocol, Transport};

use crate::checker::Request;
use crate::content::{content, difference};
use crate::mistake::Mistake;
use crate::program::Program;
use crate::questions::PATIENCE;
use crate::watched::WatchedFactory;

const NAME: &str = "bulk";

/// More than the buffers of both kernels, and of both ends.
const LEAST: u64 = 600_000;
const MOST: u64 = 900_000;

/// What is written at once, as long as less than this is unsent.
const PIECE: usize = 16 * 1024;
const HIGH_WATER: u64 = 64 * 1024;

/// After so many bytes a reader rests, up to so long.
const BREATH: usize = 64 * 1024;
const RESTS: Duration = Duration::from_millis(800);

/// The longest first line, or acknowledgement.
const LINE: usize = 64;

pub(crate) fn serve(program: &Program) {
    let for_each = program.clone();
    let build = move |_: &Address| Server {
        program: for_each.clone(),
        line: Vec::new(),
        doing: Doing::Nothing,
        is_draining: false,
    };
    let factory = WatchedFactory::new(build, program.checker(), "bulk server");
    program.serve("tcp:7012", factory);
}

pub(crate) fn call(program: &Program) {
    let begin = |program: &Program| {
        let for_each = program.clone();
        let build = move |_: &Address| Client::new(&for_each);
        let factory = WatchedFactory::new(build, program.checker(), "bulk client");
        program.connect(NAME, "tcp:server:7012", factory);
    };
    program.every(Duration::from_secs(150), begin, || ());
}

/// What is read of a body. It reads slowly.
struct Reader {
    number: u64,
    len: usize,
    got: usize,
    breath: usize,
}

impl Reader {
    fn new(number: u64, len: usize) -> Self {
        Self {
            number,
            len,
            got: 0,
            breath: 0,
        }
    }

    /// Checks what has come. Whether that was all.
    fn read(&mut self, program: &Program, transport: &mut Transport, data: &[u8]) -> bool {
        let number = self.number;
        if let Some(at) = difference(number, self.got, data) {
            let text = format!("{NAME}: body {number} has a wrong byte at {at}");
            program.checker().violation(text);
            transport.abort_connection();
            return false;
        }
        self.got += data.len();
        self.breath += data.len();
        if self.got > self.len {
            let text = format!(
                "{NAME}: body {number} has {} bytes too many",
                self.got - self.len
            );
            program.checker().violation(text);
        }
        if self.breath > BREATH && self.got < self.len {
            self.breath = 0;
            transport.pause_producing();
            let connection = transport.connection();
            let rests = program.pause(RESTS / 2);
            let wakes = move || {
                connection.resume_producing();
            };
            drop(program.reactor.call_later(rests, wakes));
        }
        self.got == self.len
    }
}

/// What is written of a body, as there is room.
struct Writer {
    number: u64,
    len: usize,
    sent: usize,
}

impl Writer {
    /// Writes as much as there is room for. Whether that was all.
    fn write(&mut self, transport: &mut Transport) -> bool {
        while self.sent < self.len && transport.unsent() < HIGH_WATER {
            let piece = PIECE.min(self.len - self.sent);
            transport.write(&content(self.number, self.sent, piece));
            self.sent += piece;
        }
        let is_all = self.sent == self.len;
        if !is_all {
            transport.await_drain();
        }
        is_all
    }
}

enum Doing {
    Nothing,
    Reads(Reader),
    Writes(Writer),
}

/// One request is served on each connection.
struct Server {
    program: Program,
    line: Vec<u8>,
    doing: Doing,
    is_draining: bool,
}

impl Server {
    fn begin(&mut self, transport: &mut Transport) {
        let line = String::from_utf8_lossy(&self.line).into_owned();
        let words: Vec<_> = line.trim_end().split(' ').collect();
        let numbers = words.get(1).zip(words.get(2));
        let Some((Ok(number), Ok(len))) =
            numbers.map(|(number, len)| (number.parse::<u64>(), len.parse::<usize>()))
        else {
            let text = format!("{NAME}: a line came that nobody sent: {line:?}");
            self.program.checker().violation(text);
            return transport.abort_connection();
        };
        self.program.checker().accept(number);
        self.doing = match words[0] {
            "up" => Doing::Reads(Reader::new(number, len)),
            _ => Doing::Writes(Writer {
                number,
                len,
                sent: 0,
            }),
        };
        self.write(transport);
    }

    fn write(&mut self, transport: &mut Transport) {
        if let Doing::Writes(writer) = &mut self.doing
            && writer.write(transport)
        {
            transport.lose_write_connection();
        }
    }
}

impl Protocol for Server {
    fn data_received(&mut self, transport: &mut Transport, mut data: &[u8]) {
        if matches!(self.doing, Doing::Nothing) {
            if self.is_draining {
                return;
            }
            let end = data.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(data.len(), |end| end + 1);
            self.line.extend_from_slice(&data[..taken]);
            data = &data[taken..];
            if end.is_none() && self.line.len() < LINE {
                return;
            }
            self.begin(transport);
        }
        if let Doing::Reads(reader) = &mut self.doing
            && !data.is_empty()
            && reader.read(&self.program, transport, data)
        {
            transport.write(format!("{} {}\n", reader.number, reader.len).as_bytes());
            transport.lose_connection();
        }
    }

    fn write_resumed(&mut self, transport: &mut Transport) {
        self.write(transport);
    }

    fn drain(&mut self, transport: &mut Transport) {
        if self.program.around.mistake == Some(Mistake::CutsWhenStopped) {
            return transport.abort_connection();
        }
        self.is_draining = true;
        if matches!(self.doing, Doing::Nothing) {
            transport.lose_write_connection();
        }
    }
}

struct Client {
    program: Program,
    request: Option<Request>,
    doing: Doing,
    /// What has come of an acknowledgement.
    line: Vec<u8>,
    expected: Vec<u8>,
}

impl Client {
    fn new(program: &Program) -> Self {
        let request = program.checker().ask(NAME);
        let (number, len) = (
            request.number,
            (LEAST + program.below(MOST - LEAST)) as usize,
        );
        let doing = match program.below(2) {
            0 => Doing::Reads(Reader::new(number, len)),
            _ => Doing::Writes(Writer {
                number,
                len,
                sent: 0,
            }),
        };
        Self {
            program: program.clone(),
            request: Some(request),
            doing,
            line: Vec::new(),
            expected: format!("{number} {len}\n").into_bytes(),
        }
    }

    fn done(&mut self, transport: &mut Transport) {
        match self.request.take() {
            Some(request) => request.answered(),
            None => {
                let text = format!("{NAME}: something came behind what was asked for");
                self.program.checker().violation(text);
            }
        }
        transport.lose_connection();
    }
}

impl Protocol for Client {
    fn connection_made(&mut self, transport: &mut Transport) {
        transport.set_timeout(Some(PATIENCE));
        let expected = String::from_utf8_lossy(&self.expected).into_owned();
        match &mut self.doing {
            Doing::Writes(writer) => {
                transport.write(format!("up {expected}").as_bytes());
                writer.write(transport);
            }
            _ => transport.write(format!("down {expected}").as_bytes()),
        }
    }

    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        transport.reset_timeout();
        match &mut self.doing {
            Doing::Reads(reader) => {
                if reader.read(&self.program, transport, data) {
                    self.done(transport);
                }
            }
            _ => {
                self.line.extend_from_slice(data);
                if self.line == self.expected {
                    self.done(transport);
                } else if !self.expected.starts_with(&self.line) {
                    let line = String::from_utf8_lossy(&self.line[..self.line.len().min(LINE)]);
                    let text = format!("{NAME}: an upload was acknowledged with {line:?}");
                    self.program.checker().violation(text);
                    transport.abort_connection();
                }
            }
        }
    }

    fn write_resumed(&mut self, transport: &mut Transport) {
        transport.reset_timeout();
        if let Doing::Writes(writer) = &mut self.doing {
            writer.write(transport);
        }
    }
}
