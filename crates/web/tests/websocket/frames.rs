//! Frames as they come: cut anywhere, in order or not, whole or wrong.

use ropewalk_web::websocket::{Deflate, Options, Role};

use crate::rig::{Rig, frame};

const ROLES: [Role; 2] = [Role::Server, Role::Client];

fn options() -> Options {
    Options::default()
}

fn compressed() -> Options {
    let mut options = Options::default();
    options.deflate = Some(Deflate::default());
    options
}

/// What comes of one frame in this state.
fn refused(role: Role, options: &Options, before: &[(u8, &[u8])], frame: &[u8]) -> u16 {
    let rig = Rig::new(role, options);
    for (first, payload) in before {
        rig.frame(*first, payload);
    }
    rig.say(frame);
    let code = rig.close_code();
    // It is heard out, and then gone.
    assert!(!rig.is_over());
    rig.peer.lose_connection();
    rig.reactor.run();
    assert!(rig.is_over());
    assert!(
        rig.log().ends_with(&format!("lost {code} unclean")),
        "{}",
        rig.log()
    );
    code
}

#[test]
fn messages_are_told_whole_wherever_they_are_cut() {
    for role in ROLES {
        let masked = role == Role::Server;
        let long = "long ".repeat(30);
        let mut bytes = frame(masked, 0x81, "Grüße".as_bytes());
        bytes.extend(frame(masked, 0x02, b"\x00\x01"));
        bytes.extend(frame(masked, 0x89, b"are you there?"));
        bytes.extend(frame(masked, 0x00, b""));
        bytes.extend(frame(masked, 0x80, b"\x02"));
        bytes.extend(frame(masked, 0x8a, b""));
        bytes.extend(frame(masked, 0x81, long.as_bytes()));
        bytes.extend(frame(masked, 0x01, b"\xce"));
        bytes.extend(frame(masked, 0x80, b"\xba"));
        let expected = r#"open, text Grüße, ping b"are you there?", binary b"\0\x01\x02", pong b"", text of 150, text κ"#;
        let rig = Rig::new(role, &options());
        rig.say(&bytes);
        assert_eq!(rig.log(), expected);
        assert_eq!(rig.frames(), [(0x8a, b"are you there?".to_vec())]);
        for cut in 0..bytes.len() {
            let rig = Rig::new(role, &options());
            rig.say(&bytes[..cut]).say(&bytes[cut..]);
            assert_eq!(rig.log(), expected, "{cut}");
        }
        let rig = Rig::new(role, &options());
        for byte in bytes {
            rig.say([byte]);
        }
        assert_eq!(rig.log(), expected);
    }
}

#[test]
fn what_breaks_the_protocol_is_told_1002() {
    for role in ROLES {
        let masked = role == Role::Server;
        let good = |first: u8, payload: &[u8]| frame(masked, first, payload);
        let first_half: &[(u8, &[u8])] = &[(0x01, b"half")];
        let cases: [(&str, &[(u8, &[u8])], Vec<u8>); 17] = [
            ("RSV1 without an extension", &[], good(0xc1, b"x")),
            ("RSV2", &[], good(0xa1, b"x")),
            ("RSV3", &[], good(0x91, b"x")),
            ("a reserved opcode", &[], good(0x83, b"")),
            ("a reserved control opcode", &[], good(0x8b, b"")),
            ("a continuation of nothing", &[], good(0x80, b"x")),
            ("one that is not the last", &[], good(0x00, b"x")),
            ("a message within another", first_half, good(0x81, b"x")),
            ("a binary one within a text", first_half, good(0x02, b"x")),
            ("a fragmented ping", &[], good(0x09, b"x")),
            ("a fragmented close", first_half, good(0x08, b"")),
            ("a long ping", &[], good(0x89, &[0; 126])),
            ("the other side's masking", &[], frame(!masked, 0x81, b"x")),
            ("a close of one byte", &[], good(0x88, b"\x03")),
            (
                "a close with a code for no one",
                &[],
                good(0x88, b"\x03\xed"),
            ),
            ("a compressed ping", &[], good(0xc9, b"")),
            (
                "a length of 2^63",
                &[],
                vec![0x82, u8::from(masked) << 7 | 127, 0x80],
            ),
        ];
        for (what, before, mut frame) in cases {
            if frame.len() == 3 {
                frame.extend([0; 11]);
            }
            assert_eq!(refused(role, &options(), before, &frame), 1002, "{what}");
        }
        let continued = good(0xc0, b"x");
        let begun: &[(u8, &[u8])] = &[(0x02, b"x")];
        assert_eq!(refused(role, &compressed(), begun, &continued), 1002);
        assert_eq!(refused(role, &compressed(), &[], &good(0xc9, b"")), 1002);
    }
}

#[test]
fn text_that_is_no_utf8_is_told_1007_at_its_first_bad_byte() {
    for role in ROLES {
        let masked = role == Role::Server;
        assert_eq!(
            refused(role, &options(), &[], &frame(masked, 0x81, b"\xff")),
            1007
        );
        assert_eq!(
            refused(role, &options(), &[], &frame(masked, 0x81, b"ok \xe2\x82")),
            1007
        );
        let begun: &[(u8, &[u8])] = &[(0x01, b"\xe2\x82")];
        assert_eq!(
            refused(role, &options(), begun, &frame(masked, 0x80, b"")),
            1007
        );
        assert_eq!(
            refused(role, &options(), &[], &frame(masked, 0x88, b"\x03\xe8\xff")),
            1007
        );

        // Much of the frame is still to come.
        let text = frame(
            masked,
            0x01,
            &[b"fine".as_slice(), b"\xed\xa0", &[b'x'; 90]].concat(),
        );
        let head = text.len() - 96;
        let rig = Rig::new(role, &options());
        rig.say(&text[..head + 4]).say(&text[head + 4..head + 5]);
        assert!(rig.frames().is_empty());
        rig.say(&text[head + 5..head + 6]);
        assert_eq!(rig.close_code(), 1007);
    }
}

#[test]
fn what_cannot_be_inflated_is_told_1007() {
    for role in ROLES {
        let masked = role == Role::Server;
        assert_eq!(
            refused(role, &compressed(), &[], &frame(masked, 0xc1, b"\x07")),
            1007
        );
        // A text that inflates to no UTF-8.
        let stored = b"\x00\x01\x00\xfe\xff\xff\x00";
        assert_eq!(
            refused(role, &compressed(), &[], &frame(masked, 0xc1, stored)),
            1007
        );
    }
}

/// A text that is no UTF-8, behind which comes what cannot be inflated.
#[test]
fn of_two_errors_in_a_compressed_text_the_first_is_told_wherever_it_is_cut() {
    for role in ROLES {
        let text = frame(role == Role::Server, 0xc1, b"\x00\x01\x00\xfe\xff\xff\x07");
        for cut in 0..text.len() {
            let rig = Rig::new(role, &compressed());
            rig.say(&text[..cut]).say(&text[cut..]);
            let close = [&1007_u16.to_be_bytes()[..], b"a text is not UTF-8"].concat();
            assert_eq!(rig.frames(), [(0x88, close)], "{role:?}, {cut}");
        }
    }
}

#[test]
fn what_comes_after_an_error_is_of_no_account() {
    let rig = Rig::new(Role::Server, &options());
    let mut bytes = frame(true, 0x83, b"");
    bytes.extend(frame(true, 0x81, b"hello?"));
    rig.say(bytes).frame(0x81, b"hello?").frame(0x89, b"hello?");
    assert_eq!(rig.close_code(), 1002);
    assert_eq!(rig.log(), "open");
    assert!(rig.seen(|seen| seen.read_closed));
}

#[test]
fn frames_of_a_client_are_masked_and_those_of_a_server_are_not() {
    for role in ROLES {
        let rig = Rig::new(role, &options());
        let socket = rig.end.socket();
        socket.send_text_message("short");
        socket.send_bytes_message(&[7; 5000]);
        socket.send("owned ".repeat(1000));
        socket.ping(b"?");
        rig.reactor.run();
        // `frames` looks at the bit of each.
        assert_eq!(
            rig.frames(),
            [
                (0x81, b"short".to_vec()),
                (0x82, vec![7; 5000]),
                (0x81, b"owned ".repeat(1000)),
                (0x89, b"?".to_vec()),
            ]
        );
        assert!(!socket.ping(&[0; 126]));
    }
}
