//! Strings: the frames of any codec.

use ropewalk_core::framing::{
    Int8Codec, Int16Codec, Int16StringReceiver, Int32Codec, NetstringCodec, StringReceiver,
};

use crate::rig::{Log, Rig, Strings};

#[test]
fn whatever_the_split_strings_are_the_same() {
    let sent = b"\0\x03one\0\0\0\x05three\0\x02x";
    for split in 1..sent.len() {
        let log = Log::default();
        let rig = Rig::split(
            split,
            &log,
            Strings::new(Int16Codec::default(), &log, |_, _| ()),
        );
        rig.send(sent);
        assert_eq!(rig.told(), ["string one", "string ", "string three"]);
        rig.send(b"y");
        assert_eq!(rig.told(), ["string xy"]);
    }
}

#[test]
fn a_string_that_is_too_long_closes_the_connection_and_says_so() {
    let log = Log::default();
    let rig = Rig::new(
        &log,
        Strings::new(Int32Codec::default(), &log, |transport, _| {
            transport.send_string(b"last words");
        }),
    );
    rig.send(b"\0\x01\x86\xA0");
    let reason = "lost: the peer sent a frame of 100000 bytes, and 99999 are taken; send shorter ones, or raise the codec's max_length";
    assert_eq!(rig.told(), ["long Some(100000)", reason]);
    assert_eq!(rig.answers(), "\0\0\0\u{a}last words");
}

#[test]
fn one_that_is_left_open_skips_the_string_and_goes_on_with_the_next() {
    let kinds: [fn(&Log, usize) -> Rig; 2] = [
        |log, split| {
            let mut server = Strings::new(Int8Codec::new(3), log, |_, _| ());
            server.protocol().takes_long = true;
            let rig = Rig::split(split, log, server);
            rig.send(b"\x01a\x05fives\x03two");
            rig
        },
        |log, split| {
            let mut server = Strings::new(NetstringCodec::new(3), log, |_, _| ());
            server.protocol().takes_long = true;
            let rig = Rig::split(split, log, server);
            rig.send(b"1:a,5:fives,3:two,");
            rig
        },
    ];
    for kind in kinds {
        for split in 1..18 {
            let log = Log::default();
            let rig = kind(&log, split);
            assert_eq!(rig.told(), ["string a", "long Some(5)", "string two"]);
        }
    }
}

#[test]
fn what_is_against_the_format_closes_the_connection_and_says_so() {
    let cases: [(&[u8], &str); 5] = [
        (b"1:a;", "no comma stands behind it"),
        (b"01:a,", "its length begins with 0"),
        (
            b"12345678901234567890:",
            "its length has more than 19 digits",
        ),
        (b":a,", "it does not begin with a length and a colon"),
        (b"1a", "it does not begin with a length and a colon"),
    ];
    for (sent, what) in cases {
        let log = Log::default();
        let rig = Rig::new(
            &log,
            Strings::new(NetstringCodec::default(), &log, |_, _| ()),
        );
        rig.send(&[b"3:one,", sent, b"3:two,"].concat());
        let reason =
            format!("lost: what the peer sent is no frame: a netstring is wanted, and {what}");
        assert_eq!(rig.told(), ["string one", &reason]);
    }
}

#[test]
fn nothing_is_told_once_a_callback_has_paused_reading_until_it_is_resumed() {
    let log = Log::default();
    let server = Strings::new(Int8Codec::default(), &log, |transport, what| {
        if what == "string stop" {
            transport.pause_producing();
        }
    });
    let rig = Rig::split(5, &log, server);
    rig.send(b"\x03one\x04stop\x03two\x05three");
    assert_eq!(rig.told(), ["string one", "string stop"]);
    rig.server().resume_producing();
    rig.pair.run();
    assert_eq!(rig.told(), ["string two", "string three"]);
}

#[test]
fn nothing_is_told_after_the_connection_was_closed() {
    let log = Log::default();
    let server = Strings::new(Int8Codec::default(), &log, |transport, _| {
        transport.send_string(b"bye");
        transport.lose_connection();
        transport.send_string(b"dropped");
    });
    let rig = Rig::new(&log, server);
    rig.send(b"\x03one\x03two");
    assert_eq!(
        rig.told(),
        ["string one", "lost: the connection was closed cleanly"]
    );
    assert_eq!(rig.answers(), "\x03bye");
}

#[test]
fn strings_are_sent_from_outside_and_what_cannot_be_said_is_refused() {
    let log = Log::default();
    let rig = Rig::new(&log, Strings::new(Int16Codec::default(), &log, |_, _| ()));
    assert!(Int16StringReceiver::with(
        rig.server(),
        |_: &mut Strings, transport| {
            transport.send_string(b"one");
            assert!(transport.try_send_string(&[0; 65536]).is_err());
            transport.send_string(b"two");
        }
    ));
    rig.pair.run();
    assert_eq!(rig.answers(), "\0\x03one\0\x03two");
    StringReceiver::<Int16Codec, _>::with(rig.server(), |_: &mut Strings, transport| {
        transport.send_string(&[0; 65536]);
    });
    rig.pair.run();
    assert_eq!(rig.answers(), "\0\x03one\0\x03two");
    assert!(rig.told()[0].starts_with("lost: cannot send a frame of 65536 bytes"));
}
