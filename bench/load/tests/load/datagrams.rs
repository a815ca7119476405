//! UDP.

use std::{net::UdpSocket, thread};

use crate::{complaint, measure, number, servers::datagrams};

#[test]
fn datagrams_are_counted() {
    let to = datagrams(0);
    for (sockets, window, size) in [("1", "1", "8"), ("3", "50", "64"), ("1", "8", "1200")] {
        let arguments = [
            "--sockets",
            sockets,
            "--window",
            window,
            "--size",
            size,
            "--threads",
            "2",
        ];
        let result = measure("datagram", &to, &arguments);
        let requests = number(&result, "requests");
        assert!(requests > 10, "{result}");
        assert_eq!(
            number(&result, "bytes"),
            requests * size.parse::<u64>().unwrap()
        );
        assert_eq!(number(&result, "errors"), 0);
        assert_eq!(number(&result, "lost"), 0);
    }
}

#[test]
fn a_datagram_that_stays_away_is_lost_and_the_rest_goes_on() {
    let to = datagrams(100);
    let result = measure("datagram", &to, &["--window", "4"]);
    assert!(number(&result, "lost") > 0, "{result}");
    assert!(number(&result, "requests") > 100, "{result}");
    assert_eq!(number(&result, "errors"), 0);
}

#[test]
fn a_datagram_that_changed_ends_the_run() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = socket.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            buffer[40] ^= 1;
            let _ = socket.send_to(&buffer[..length], from);
        }
    });
    let said = complaint("datagram", &to, &[]);
    assert!(said.contains("wrong answer: byte "), "{said}");
}
