//! Servers for the tests: a thread that accepts, and one for each connection.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

/// Serves each connection by the function; says where.
pub(crate) fn serve(connection: impl Fn(TcpStream) + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = connection.clone();
            thread::spawn(move || connection(stream));
        }
    });
    address
}

/// Sends back what comes, after `change` had it, in pieces of odd sizes. The number counts the bytes before.
pub(crate) fn echo(
    pieces: &'static [usize],
    change: impl Fn(u64, &mut [u8]) + Clone + Send + 'static,
) -> String {
    serve(move |mut stream| {
        let _ = stream.set_nodelay(true);
        let mut buffer = vec![0; 70_000];
        let mut before = 0;
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            change(before, &mut buffer[..read]);
            before += read as u64;
            let mut left = &buffer[..read];
            for piece in pieces.iter().cycle() {
                let (first, rest) = left.split_at(left.len().min(*piece));
                if stream.write_all(first).is_err() || rest.is_empty() {
                    break;
                }
                left = rest;
            }
        }
    })
}

/// Sends back each line once it is whole.
pub(crate) fn lines() -> String {
    serve(|stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("a clone"));
        let mut stream = stream;
        let mut line = Vec::new();
        while let Ok(1..) = reader.read_until(b'\n', &mut line) {
            if stream.write_all(&line).is_err() {
                return;
            }
            line.clear();
        }
    })
}

/// Answers each request with this status and body, until the client closes or asks for the end.
pub(crate) fn http(status: &'static str, body: usize) -> String {
    http_with("", status, body)
}

/// The same, with a field in the head; `Connection: close` is obeyed.
pub(crate) fn http_with(field: &'static str, status: &'static str, body: usize) -> String {
    serve(move |stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("a clone"));
        let mut stream = stream;
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {body}\r\n{field}\r\n");
        let answer = [head.as_bytes(), &vec![b'x'; body]].concat();
        let mut line = String::new();
        let mut close = field.starts_with("Connection: close");
        while let Ok(1..) = reader.read_line(&mut line) {
            close |= line.eq_ignore_ascii_case("connection: close\r\n");
            // In two pieces, the first one within the head.
            if line == "\r\n" {
                let (first, rest) = answer.split_at(20);
                if stream.write_all(first).is_err() || stream.write_all(rest).is_err() || close {
                    return;
                }
            }
            line.clear();
        }
    })
}

/// Sends back datagrams, but for each `nth`, which it loses (0: none).
pub(crate) fn datagrams(nth: u64) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        for count in 1_u64.. {
            match socket.recv_from(&mut buffer) {
                Ok((length, from)) if nth == 0 || count % nth != 0 => {
                    let _ = socket.send_to(&buffer[..length], from);
                }
                Err(error) if error.kind() != ErrorKind::ConnectionRefused => return,
                _ => {}
            }
        }
    });
    address
}

/// A stall is time that passes: there is no event to wait for.
pub(crate) fn stall(milliseconds: u64) {
    thread::sleep(Duration::from_millis(milliseconds));
}
