//! Connections that do nothing: opened, used once, held until standard input ends.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde::Serialize;
use socket2::SockRef;

use crate::{
    answer::scan,
    args,
    failure::{Failure, Trouble},
    measure,
    pattern::Pattern,
    source,
    tls::{Settings, shake},
};

/// Connections that wait for their answer at a time.
const BATCH: usize = 256;

/// For an answer.
const PATIENCE: Duration = Duration::from_secs(10);

const MESSAGE: usize = 64;

/// The line that is printed once all are open.
#[derive(Serialize)]
struct Opened {
    connections: usize,
    errors: u64,
}

pub(crate) fn run(idle: &args::Idle) -> Result<(), Failure> {
    let to = idle.load.to;
    let (request, exchange): (Vec<u8>, Exchange) = if idle.exchange.http {
        let request = format!("GET / HTTP/1.1\r\nHost: {to}\r\n\r\n");
        (request.into_bytes(), Box::new(read_answer))
    } else if let Some(certificate) = &idle.exchange.tls {
        let settings = Settings::new(certificate)?;
        // What this side would need to go on is forgotten: the socket is all that is held.
        let exchange = move |stream: &mut TcpStream, _: &[u8]| shake(&settings, stream).map(drop);
        (Vec::new(), Box::new(exchange))
    } else {
        let message = Pattern::noise(MESSAGE).at(0, MESSAGE as u64).to_vec();
        (message, Box::new(read_message))
    };

    let mut held = Vec::with_capacity(idle.connections);
    let mut errors = Errors::default();
    for first in (0..idle.connections).step_by(BATCH) {
        let last = idle.connections.min(first + BATCH);
        let batch = held.len();
        for index in first..last {
            match open(to, index, &request) {
                Ok(stream) => held.push(stream),
                Err(error) if held.is_empty() => return Err(Failure::Connect { to, error }),
                Err(error) => errors.count(format!("opening connection {index}: {error}")),
            }
        }
        let asked = held.split_off(batch);
        for mut stream in asked {
            match exchange(&mut stream, &request) {
                Ok(()) => held.push(stream),
                Err(Trouble::Lost(what)) => errors.count(what),
                Err(Trouble::Wrong(what)) => return Err(Failure::Wrong(what)),
            }
        }
    }
    if let Some(first) = &errors.first {
        eprintln!("bench-load: {} errors, the first: {first}", errors.number);
    }
    measure::print(&Opened {
        connections: held.len(),
        errors: errors.number,
    })?;

    io::copy(&mut io::stdin().lock(), &mut io::sink())
        .map_err(Failure::doing("waiting for the end of standard input"))?;
    for stream in &held {
        // A reset is the quickest end. A system that refuses it ends in order.
        let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }
    Ok(())
}

#[derive(Default)]
struct Errors {
    number: u64,
    first: Option<String>,
}

impl Errors {
    fn count(&mut self, what: String) {
        self.number += 1;
        self.first.get_or_insert(what);
    }
}

type Exchange = Box<dyn Fn(&mut TcpStream, &[u8]) -> Result<(), Trouble>>;

fn open(to: SocketAddr, index: usize, request: &[u8]) -> io::Result<TcpStream> {
    let mut stream = source::connect(to, index)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    Ok(stream)
}

fn read_message(stream: &mut TcpStream, sent: &[u8]) -> Result<(), Trouble> {
    let mut came = [0; MESSAGE];
    stream.read_exact(&mut came)?;
    if came != sent {
        return Err(Trouble::Wrong("another message came back".to_owned()));
    }
    Ok(())
}

fn read_answer(stream: &mut TcpStream, _: &[u8]) -> Result<(), Trouble> {
    let mut answer = Vec::with_capacity(1024);
    let mut piece = [0; 4096];
    loop {
        let read = stream.read(&mut piece)?;
        if read == 0 {
            let what = "the server closed a connection that waited for an answer";
            return Err(Trouble::Lost(what.to_owned()));
        }
        answer.extend_from_slice(&piece[..read]);
        let Some(head) = scan(&answer).map_err(Trouble::Wrong)? else {
            continue;
        };
        let Some(body) = head.body else {
            let what = "an answer with no Content-Length has no end on a kept connection";
            return Err(Trouble::Wrong(what.to_owned()));
        };
        let mut left = (head.length as u64 + body).saturating_sub(answer.len() as u64);
        while left > 0 {
            let most = piece.len().min(left as usize);
            stream.read_exact(&mut piece[..most])?;
            left -= most as u64;
        }
        return Ok(());
    }
}
