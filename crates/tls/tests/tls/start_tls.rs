//! TLS that begins in the middle of a connection.

use std::cell::RefCell;
use std::rc::Rc;

use ropewalk_core::framing::{LineProtocol, LineReceiver, LineTransport};
use ropewalk_core::{Failure, Protocol, Transport};
use ropewalk_tls::{ClientTls, PlaintextBeforeTls, ServerTls, StartTls, TlsInfo};

use crate::rig::{At, Log, NAME, Talker, Wire, both, describe};

type Lines = Rc<RefCell<Vec<String>>>;

/// Writes down each line with how it came; `STARTTLS` it answers, and does.
struct Server {
    tls: ServerTls,
    lines: Lines,
}

impl LineProtocol for Server {
    fn line_received(&mut self, transport: &mut LineTransport<'_>, line: &[u8]) {
        let how = match transport.fact::<TlsInfo>() {
            Some(_) => "secret",
            None => "plain",
        };
        let line = String::from_utf8_lossy(line).into_owned();
        self.lines.borrow_mut().push(format!("{how} {line}"));
        if line == "STARTTLS" {
            transport.send_line(b"go ahead");
            let lines = Rc::clone(&self.lines);
            let done = transport.start_tls(self.tls.layer()).add_callbacks(
                {
                    let lines = Rc::clone(&lines);
                    move |()| lines.borrow_mut().push("done".to_owned())
                },
                move |failure: Failure| lines.borrow_mut().push(format!("failed: {failure}")),
            );
            drop(done);
        }
    }

    fn connection_lost(&mut self, reason: Failure) {
        let lost = format!("lost {}", describe(&reason));
        self.lines.borrow_mut().push(lost);
    }
}

struct Client(ClientTls);

impl Protocol for Client {
    fn connection_made(&mut self, transport: &mut Transport) {
        transport.write(b"hello\r\nSTARTTLS\r\n");
    }

    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        assert_eq!(data, b"go ahead\r\n");
        let connection = transport.connection();
        let layer = self.0.layer(NAME).unwrap();
        let done = transport.start_tls(layer).add_callback(move |()| {
            connection.write(b"whisper\r\n");
            connection.lose_connection();
        });
        // Written before it is done, a line goes through it all the same.
        transport.write(b"first\r\n");
        drop(done);
    }
}

fn server(tls: &ServerTls) -> (Box<dyn Protocol>, Lines) {
    let lines = Lines::default();
    let server = Server {
        tls: tls.clone(),
        lines: Rc::clone(&lines),
    };
    (Box::new(LineReceiver::new(server)), lines)
}

#[test]
fn what_is_written_after_start_tls_is_secret_wherever_the_bytes_are_cut() {
    let (server_tls, client_tls) = both();
    let answer = "go ahead\r\n".len();
    for cut in 0..900 {
        for at in [At::Client, At::Server] {
            // The client of this test wants its answer whole.
            let cut = cut + answer;
            let (protocol, lines) = server(&server_tls);
            let client = Client(client_tls.clone());
            let mut wire = Wire::new((Box::new(client), Vec::new()), (protocol, Vec::new()));
            wire.cut = Some((at, cut));
            wire.connect();
            assert_eq!(
                lines.borrow().join(", "),
                "plain hello, plain STARTTLS, done, secret first, secret whisper, lost done",
                "{at:?} {cut}"
            );
        }
    }
}

#[test]
fn plain_text_behind_starttls_is_not_taken_for_what_came_under_tls() {
    let (tls, _) = both();
    for injected in ["RCPT TO:<m@example.com>\r\n", "x", "\u{16}\u{3}\u{1}"] {
        let (protocol, lines) = server(&tls);
        let (silent, _) = server(&tls);
        let mut wire = Wire::new((silent, Vec::new()), (protocol, Vec::new()));
        wire.connect();
        wire.inject(At::Server, format!("STARTTLS\r\n{injected}").as_bytes());
        let reason = wire.reasons[At::Server as usize].as_ref().unwrap();
        let before = reason.check::<PlaintextBeforeTls>().unwrap();
        assert_eq!(before.bytes, injected.len());
        let lines = lines.borrow();
        assert_eq!(lines[0], "plain STARTTLS");
        assert!(lines[1].starts_with("lost "), "{lines:?}");
        assert!(lines[2].starts_with("failed: "), "{lines:?}");
        assert!(!lines.iter().any(|line| line.starts_with("secret")));
    }
}

#[test]
fn plain_text_in_the_next_packet_is_no_tls() {
    let (tls, _) = both();
    let (protocol, lines) = server(&tls);
    let (silent, _) = server(&tls);
    let mut wire = Wire::new((silent, Vec::new()), (protocol, Vec::new()));
    wire.connect();
    wire.inject(At::Server, b"STARTTLS\r\n");
    wire.inject(At::Server, b"RCPT TO:<m@example.com>\r\n");
    let lines = lines.borrow();
    assert!(lines[1].contains("what came is not TLS"), "{lines:?}");
    assert!(lines[2].starts_with("failed: "), "{lines:?}");
}

#[test]
fn who_closes_its_writing_side_before_the_handshake_is_done_still_receives() {
    let (server_tls, client_tls) = both();
    let (client, server) = (Log::default(), Log::default());
    let client_end = Talker::new(&client, move |transport| {
        let done = transport.start_tls(client_tls.layer(NAME).unwrap());
        transport.lose_write_connection();
        drop(done);
    });
    let server_end = Talker::new(&server, |transport| transport.write(b"all that there is"));
    let mut wire = Wire::new(
        (Box::new(client_end), Vec::new()),
        (
            Box::new(server_end.patient()),
            vec![Box::new(server_tls.layer())],
        ),
    );
    wire.connect();
    assert_eq!(client.text(), "all that there is", "{:?}", wire.reasons);
    assert!(server.told().read_closed);
    wire.connection(At::Server).lose_connection();
    wire.run();
    assert_eq!(client.told().lost.as_deref(), Some("done"));
    assert_eq!(server.told().lost.as_deref(), Some("done"));
}
