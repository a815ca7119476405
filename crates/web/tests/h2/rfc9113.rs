//! What each section of RFC 9113 asks for, as h2spec asks it.

use super::rig::*;

/// 3.4. HTTP/2 Connection Preface
mod section_3_4 {
    use super::*;

    #[test]
    fn the_server_begins_with_settings() {
        let client = Client::bare(mirror());
        client.send(PREFACE);
        let frames = client.received();
        assert_eq!(
            (frames[0].kind, frames[0].flags, frames[0].stream),
            (SETTINGS, 0, 0)
        );
    }

    #[test]
    fn another_preface_is_no_http2() {
        let client = Client::bare(mirror());
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX");
        assert!(client.is_closed());
    }

    #[test]
    fn another_frame_before_settings_is_a_protocol_error() {
        let client = Client::bare(mirror());
        client.send(PREFACE).send(get(1, "/"));
        client.assert_goaway(PROTOCOL_ERROR);
    }

    #[test]
    fn an_acknowledgement_is_no_first_settings() {
        let client = Client::bare(mirror());
        client.send(PREFACE).send(settings_ack());
        client.assert_goaway(PROTOCOL_ERROR);
    }
}

/// 4.1. Frame Format
mod section_4_1 {
    use super::*;

    #[test]
    fn frames_of_unknown_types_are_ignored() {
        let client = Client::new(mirror());
        client.send(frame(0x16, 0xff, 0, [0; 8]));
        client.assert_alive();
    }

    #[test]
    fn undefined_flags_are_ignored() {
        let client = Client::new(mirror());
        client.send(frame(PING, 0x16, 0, b"ping-pon"));
        assert!(client.received().contains(&Frame {
            kind: PING,
            flags: ACK,
            stream: 0,
            payload: b"ping-pon".to_vec()
        }));
    }

    #[test]
    fn the_reserved_bit_of_a_stream_is_ignored() {
        let client = Client::new(mirror());
        client.send(frame(PING, 0, 0x8000_0000, b"ping-pon"));
        client.assert_alive();
    }
}

/// 4.2. Frame Size
mod section_4_2 {
    use super::*;

    #[test]
    fn data_of_the_largest_size_is_taken() {
        let client = Client::new(mirror());
        client.send(headers(1, 0, request("POST", "/", &[])));
        client.send(data(1, END_STREAM, [b'x'; 16_384]));
        assert_eq!(client.answer(1).0, 200);
    }

    #[test]
    fn larger_frames_are_a_frame_size_error() {
        for kind in [DATA, HEADERS, 0x16] {
            let client = Client::new(mirror());
            client.send(headers(1, 0, request("POST", "/echo", &[])));
            client.send(frame(kind, 0, 1, [0; 16_385]));
            client.assert_goaway(FRAME_SIZE_ERROR);
        }
    }
}

/// 4.3. Field Section Compression and Decompression
mod section_4_3 {
    use super::*;

    #[test]
    fn an_invalid_block_is_a_connection_error() {
        let client = Client::new(mirror());
        // A literal whose name is longer than what there is.
        client.send(headers(1, END_STREAM, [0x00, 0x7f, 0xff]));
        let frames = client.received();
        let goaway = frames
            .iter()
            .find(|frame| frame.kind == GOAWAY)
            .expect("a GOAWAY");
        assert!([COMPRESSION_ERROR, PROTOCOL_ERROR].contains(&goaway.code()));
        assert!(client.is_closed());
    }

    #[test]
    fn a_block_is_not_to_be_interrupted() {
        let block = request("GET", "/", &[]);
        for between in [
            frame(PRIORITY, 0, 1, [0, 0, 0, 0, 255]),
            headers(3, END_STREAM, &block),
            ping(b"between."),
            frame(0x16, 0, 0, []),
        ] {
            let client = Client::new(mirror());
            client.send(frame(HEADERS, END_STREAM, 1, &block));
            client.send(between);
            client.assert_goaway(PROTOCOL_ERROR);
        }
    }
}

/// 5.1. Stream States
mod section_5_1 {
    use super::*;

    #[test]
    fn frames_on_an_idle_stream_are_a_protocol_error() {
        for frame in [
            data(1, END_STREAM, "test"),
            rst(1, CANCEL),
            window_update(1, 100),
            frame(CONTINUATION, END_HEADERS, 1, request("GET", "/", &[])),
        ] {
            let client = Client::new(mirror());
            client.send(frame);
            client.assert_goaway(PROTOCOL_ERROR);
        }
    }

    #[test]
    fn priority_on_an_idle_stream_is_taken() {
        let client = Client::new(mirror());
        client.send(frame(PRIORITY, 0, 1, [0, 0, 0, 0, 255]));
        client.assert_alive();
    }

    #[test]
    fn nothing_but_control_follows_the_end_of_a_request() {
        for frame in [
            data(1, END_STREAM, "test"),
            headers(1, END_STREAM, request("GET", "/", &[])),
        ] {
            let client = Client::new(never());
            client.send(get(1, "/")).send(frame);
            assert_refused(&client, &[STREAM_CLOSED, PROTOCOL_ERROR]);
        }
        for frame in [window_update(1, 5), frame(PRIORITY, 0, 1, [0, 0, 0, 0, 1])] {
            let client = Client::new(never());
            client.send(get(1, "/")).send(frame);
            client.assert_alive();
        }
    }

    #[test]
    fn a_request_that_was_taken_back_gets_nothing_more() {
        for frame in [
            data(1, END_STREAM, "test"),
            headers(1, END_STREAM, request("GET", "/", &[])),
        ] {
            let client = Client::new(never());
            client.send(headers(1, 0, request("POST", "/", &[])));
            client.send(rst(1, CANCEL)).send(frame);
            assert_refused(&client, &[STREAM_CLOSED, PROTOCOL_ERROR]);
        }
    }

    #[test]
    fn a_closed_stream_takes_no_data_and_no_fields() {
        for frame in [
            data(1, END_STREAM, "test"),
            headers(1, END_STREAM, request("GET", "/", &[])),
            frame(CONTINUATION, END_HEADERS, 1, request("GET", "/", &[])),
        ] {
            let client = Client::new(mirror());
            client.send(get(1, "/"));
            client.answer(1);
            client.send(frame);
            assert_refused(&client, &[STREAM_CLOSED, PROTOCOL_ERROR]);
        }
    }

    #[test]
    fn a_closed_stream_may_get_what_was_under_way() {
        for frame in [
            window_update(1, 5),
            rst(1, CANCEL),
            frame(PRIORITY, 0, 1, [0, 0, 0, 0, 1]),
        ] {
            let client = Client::new(mirror());
            client.send(get(1, "/"));
            client.answer(1);
            client.send(frame);
            client.assert_alive();
        }
    }
}

/// The stream was reset or the connection was ended, with one of these codes.
#[track_caller]
fn assert_refused(client: &Client, codes: &[u32]) {
    let frames = client.received();
    let refused = frames
        .iter()
        .find(|frame| frame.kind == RST_STREAM || frame.kind == GOAWAY);
    let refused = refused.unwrap_or_else(|| panic!("not refused: {frames:?}"));
    assert!(codes.contains(&refused.code()), "{frames:?}");
}

/// A site that does not answer.
fn never() -> std::rc::Rc<dyn ropewalk_core::Factory> {
    site_async(|_| std::future::pending())
}

/// 5.1.1. Stream Identifiers
mod section_5_1_1 {
    use super::*;

    #[test]
    fn a_client_opens_odd_streams() {
        let client = Client::new(mirror());
        client.send(get(2, "/"));
        client.assert_goaway(PROTOCOL_ERROR);
    }

    #[test]
    fn numbers_go_up() {
        let client = Client::new(never());
        client.send(get(5, "/")).send(get(3, "/"));
        client.assert_goaway(PROTOCOL_ERROR);
    }
}

/// 5.1.2. Stream Concurrency
mod section_5_1_2 {
    use super::*;

    #[test]
    fn streams_above_the_limit_are_refused() {
        let client = Client::bare(never());
        client.send(PREFACE).send(settings(&[]));
        let announced = client.received();
        assert!(has_setting(&announced[0], 3, 100), "{announced:?}");
        client.send(settings_ack());
        for n in 0..100 {
            client.send(get(2 * n + 1, "/"));
        }
        client.assert_alive();
        client.send(get(201, "/"));
        client.assert_reset(201, REFUSED_STREAM);
    }
}

fn has_setting(frame: &Frame, id: u16, value: u32) -> bool {
    let mut settings = frame.payload.chunks(6);
    settings.any(|setting| setting[..2] == id.to_be_bytes() && setting[2..] == value.to_be_bytes())
}

/// 5.2. Flow Control, and 6.9. WINDOW_UPDATE
mod section_6_9 {
    use super::*;

    #[test]
    fn no_more_is_sent_than_the_window_of_the_stream_allows() {
        let client = Client::with_settings(mirror(), &[(4, 1)]);
        client.send(get(1, "/abc"));
        assert_eq!(content(&client.of_stream(1)), "G");
        client.send(window_update(1, 3));
        assert_eq!(content(&client.of_stream(1)), "ET ");
    }

    #[test]
    fn a_window_that_grows_by_settings_lets_more_through() {
        let client = Client::with_settings(mirror(), &[(4, 0)]);
        client.send(get(1, "/"));
        assert_eq!(content(&client.received()), "");
        client.send(settings(&[(4, 1)]));
        assert_eq!(content(&client.received()), "G");
    }

    #[test]
    fn a_window_may_become_negative() {
        let client = Client::with_settings(mirror(), &[(4, 3)]);
        client.send(get(1, "/abc"));
        assert_eq!(content(&client.received()), "GET");
        client.send(settings(&[(4, 2)]));
        client.send(window_update(1, 1));
        assert_eq!(content(&client.received()), "");
        client.send(window_update(1, 1));
        assert_eq!(content(&client.received()), " ");
    }

    #[test]
    fn an_update_by_nothing_is_a_protocol_error() {
        let client = Client::new(mirror());
        client.send(window_update(0, 0));
        client.assert_goaway(PROTOCOL_ERROR);
        let client = Client::new(never());
        client.send(get(1, "/")).send(window_update(1, 0));
        assert_refused(&client, &[PROTOCOL_ERROR]);
    }

    #[test]
    fn an_update_of_another_length_is_a_frame_size_error() {
        let client = Client::new(mirror());
        client.send(frame(WINDOW_UPDATE, 0, 0, [0, 0, 1]));
        assert_refused(&client, &[FRAME_SIZE_ERROR, PROTOCOL_ERROR]);
        assert!(client.is_closed());
    }

    #[test]
    fn a_window_above_the_largest_is_a_flow_control_error() {
        let client = Client::new(mirror());
        client
            .send(window_update(0, 0x7fff_ffff))
            .send(window_update(0, 0x7fff_ffff));
        client.assert_goaway(FLOW_CONTROL_ERROR);
        let client = Client::with_settings(never(), &[(4, 0)]);
        client.send(get(1, "/"));
        client
            .send(window_update(1, 0x7fff_ffff))
            .send(window_update(1, 0x7fff_ffff));
        client.assert_reset(1, FLOW_CONTROL_ERROR);
    }
}

/// 5.3.2. Priority Signaling in HTTP/2 (of RFC 7540), and 6.3. PRIORITY
mod section_6_3 {
    use super::*;

    #[test]
    fn a_stream_that_depends_on_itself_is_an_error_or_ignored() {
        let client = Client::new(mirror());
        let mut fields = vec![0, 0, 0, 1, 255];
        fields.extend(request("GET", "/", &[]));
        client.send(headers(1, END_STREAM | WITH_PRIORITY, fields));
        assert_refused(&client, &[PROTOCOL_ERROR]);
    }

    #[test]
    fn priority_on_the_connection_is_a_protocol_error() {
        let client = Client::new(mirror());
        client.send(frame(PRIORITY, 0, 0, [0, 0, 0, 0, 255]));
        client.assert_goaway(PROTOCOL_ERROR);
    }

    #[test]
    fn priority_of_another_length_is_an_error() {
        let client = Client::new(never());
        client
            .send(get(1, "/"))
            .send(frame(PRIORITY, 0, 1, [0, 0, 0, 1]));
        assert_refused(&client, &[FRAME_SIZE_ERROR, PROTOCOL_ERROR]);
    }

    #[test]
    fn fields_with_a_priority_are_taken() {
        let client = Client::new(mirror());
        let mut fields = vec![0, 0, 0, 0, 255];
        fields.extend(request("GET", "/", &[]));
        client.send(headers(1, END_STREAM | WITH_PRIORITY, fields));
        assert_eq!(client.answer(1).0, 200);
    }
}

/// 5.4.1. Connection Error Handling
mod section_5_4 {
    use super::*;

    #[test]
    fn an_error_is_told_and_then_the_connection_closes() {
        let client = Client::new(mirror());
        client.send(get(1, "/")).received();
        client.send(frame(PING, 0, 0, b"short"));
        let goaway = client.assert_goaway(FRAME_SIZE_ERROR);
        assert_eq!(goaway.payload[..4], 1_u32.to_be_bytes(), "the last stream");
    }

    #[test]
    fn what_is_still_sent_is_heard_out_so_that_the_goaway_arrives() {
        let client = Client::new(mirror());
        client.send(frame(PING, 0, 0, b"short"));
        client.assert_goaway(FRAME_SIZE_ERROR);
        assert!(!client.is_lost());
        client.send([0; 100_000]);
        assert!(!client.is_lost());
        client.advance(std::time::Duration::from_secs(2));
        client.send([0; 10]);
        assert!(client.is_lost());
    }
}

/// 5.5. Extending HTTP/2
#[test]
fn unknown_settings_and_frames_within_a_stream_are_ignored() {
    let client = Client::with_settings(never(), &[(0xff, 1)]);
    client.send(get(1, "/")).send(frame(0xf0, 0, 1, b"grease"));
    client.assert_alive();
}

/// 6.1. DATA
mod section_6_1 {
    use super::*;

    #[test]
    fn data_of_no_stream_is_a_protocol_error() {
        let client = Client::new(mirror());
        client.send(data(0, 0, "test"));
        client.assert_goaway(PROTOCOL_ERROR);
    }

    #[test]
    fn padding_is_no_content() {
        let client = Client::new(mirror());
        client.send(headers(1, 0, request("POST", "/echo", &[])));
        client.send(data(1, END_STREAM | PADDED, b"\x03tea\0\0\0"));
        assert_eq!(client.answer(1).1, "tea");
    }

    #[test]
    fn padding_longer_than_its_frame_is_a_protocol_error() {
        let client = Client::new(mirror());
        client.send(headers(1, 0, request("POST", "/echo", &[])));
        client.send(data(1, END_STREAM | PADDED, b"\x06Test!"));
        client.assert_goaway(PROTOCOL_ERROR);
    }
}

/// 6.2. HEADERS
mod section_6_2 {
    use super::*;

    #[test]
    fn fields_of_no_stream_are_a_protocol_error() {
        let client = Client::new(mirror());
        client.send(get(0, "/"));
        client.assert_goaway(PROTOCOL_ERROR);
    }

    #[test]
    fn padded_fields_are_taken() {
        let client = Client::new(mirror());
        let mut padded = vec![4];
        padded.extend(request("GET", "/", &[]));
        padded.extend([0; 4]);
        client.send(headers(1, END_STREAM | PADDED, padded));
        assert_eq!(client.answer(1).0, 200);
        let mut padded = request("GET", "/", &[]);
        padded.insert(0, 255);
        client.send(headers(3, END_STREAM | PADDED, padded));
        client.assert_goaway(PROTOCOL_ERROR);
    }
}

/// 6.4. RST_STREAM
mod section_6_4 {
    use super::*;

    #[test]
    fn a_reset_of_the_connection_or_of_another_length_is_an_error() {
        let client = Client::new(mirror());
        client.send(rst(0, CANCEL));
        client.assert_goaway(PROTOCOL_ERROR);
        let client = Client::new(never());
        client
            .send(get(1, "/"))
            .send(frame(RST_STREAM, 0, 1, [0; 3]));
        assert_refused(&client, &[FRAME_SIZE_ERROR, PROTOCOL_ERROR]);
        assert!(client.is_closed());
    }
}

/// 6.5. SETTINGS
mod section_6_5 {
    use super::*;

    #[test]
    fn settings_are_acknowledged() {
        let client = Client::new(mirror());
        client.received();
        client.send(settings(&[(3, 100)]));
        let frames = client.received();
        assert_eq!((frames[0].kind, frames[0].flags), (SETTINGS, ACK));
    }

    #[test]
    fn malformed_settings_are_an_error() {
        for (malformed, codes) in [
            (
                frame(SETTINGS, ACK, 0, [0]),
                &[FRAME_SIZE_ERROR, PROTOCOL_ERROR][..],
            ),
            (
                frame(SETTINGS, 0, 1, [0, 3, 0, 0, 0, 100]),
                &[PROTOCOL_ERROR],
            ),
            (
                frame(SETTINGS, 0, 0, [0, 3, 0]),
                &[FRAME_SIZE_ERROR, PROTOCOL_ERROR],
            ),
            (settings(&[(2, 2)]), &[PROTOCOL_ERROR]),
            (
                settings(&[(4, 0x8000_0000)]),
                &[FLOW_CONTROL_ERROR, PROTOCOL_ERROR],
            ),
            (settings(&[(5, 16_383)]), &[PROTOCOL_ERROR]),
            (settings(&[(5, 16_777_216)]), &[PROTOCOL_ERROR]),
        ] {
            let client = Client::new(mirror());
            client.send(&malformed);
            assert_refused(&client, codes);
            assert!(client.is_closed(), "{malformed:?}");
        }
    }

    #[test]
    fn an_acknowledgement_of_nothing_is_a_protocol_error() {
        let client = Client::new(mirror());
        client.send(settings_ack());
        client.assert_goaway(PROTOCOL_ERROR);
    }

    #[test]
    fn the_server_says_what_it_allows() {
        let client = Client::bare(mirror());
        client.send(PREFACE);
        let frames = client.received();
        for (id, value) in [(3, 100), (4, 65_536), (6, 16_384), (8, 1)] {
            assert!(has_setting(&frames[0], id, value), "{id}: {frames:?}");
        }
    }
}

/// 6.6. PUSH_PROMISE
#[test]
fn a_client_promises_nothing() {
    let client = Client::new(mirror());
    let mut promise = vec![0, 0, 0, 3];
    promise.extend(request("GET", "/", &[]));
    client.send(headers(1, 0, request("POST", "/echo", &[])));
    client.send(frame(PUSH_PROMISE, END_HEADERS, 1, promise));
    client.assert_goaway(PROTOCOL_ERROR);
}

/// 6.7. PING
mod section_6_7 {
    use super::*;

    #[test]
    fn pings_are_answered_and_answers_are_not() {
        let client = Client::new(mirror());
        client.received();
        client.send(ping(b"h2spec!!"));
        let pong = Frame {
            kind: PING,
            flags: ACK,
            stream: 0,
            payload: b"h2spec!!".to_vec(),
        };
        assert_eq!(client.received(), [pong]);
        client.send(frame(PING, ACK, 0, b"h2spec!!"));
        assert_eq!(client.received(), []);
    }

    #[test]
    fn a_ping_of_a_stream_or_another_length_is_an_error() {
        let client = Client::new(mirror());
        client.send(frame(PING, 0, 1, [0; 8]));
        client.assert_goaway(PROTOCOL_ERROR);
        let client = Client::new(mirror());
        client.send(frame(PING, 0, 0, [0; 6]));
        client.assert_goaway(FRAME_SIZE_ERROR);
    }
}

/// 6.8. GOAWAY
mod section_6_8 {
    use super::*;

    #[test]
    fn a_goaway_of_a_stream_is_a_protocol_error() {
        let client = Client::new(mirror());
        client.send(frame(GOAWAY, 0, 1, [0; 8]));
        client.assert_goaway(PROTOCOL_ERROR);
    }

    #[test]
    fn a_peer_that_goes_away_gets_its_answers_and_then_the_end() {
        let signal = Signal::default();
        let go = signal.clone();
        let client = Client::new(site_async(move |_| {
            let signal = signal.clone();
            async move {
                signal.wait().await;
                Ok(http::Response::new("late".into()))
            }
        }));
        client.send(get(1, "/")).send(frame(GOAWAY, 0, 0, [0; 8]));
        assert!(!client.is_closed());
        go.give();
        client.reactor.run();
        assert_eq!(client.answer(1), (200, "late".to_owned()));
        assert!(client.is_closed());
    }
}

/// 6.10. CONTINUATION
mod section_6_10 {
    use super::*;

    #[test]
    fn fields_may_come_in_several_frames() {
        let block = request("GET", "/tea", &[("x", "y")]);
        for at in 0..block.len() {
            let client = Client::new(mirror());
            client.send(frame(HEADERS, END_STREAM, 1, &block[..at]));
            client.send(frame(CONTINUATION, 0, 1, []));
            client.send(frame(CONTINUATION, END_HEADERS, 1, &block[at..]));
            assert_eq!(client.answer(1).1, "GET /tea", "at {at}");
        }
    }

    #[test]
    fn a_continuation_of_another_stream_or_of_nothing_is_a_protocol_error() {
        let block = request("GET", "/", &[]);
        for (first, stream) in [(0, 3), (0, 0), (END_HEADERS, 1)] {
            let client = Client::new(never());
            client.send(frame(HEADERS, END_STREAM | first, 1, &block));
            client.send(frame(CONTINUATION, END_HEADERS, stream, &block));
            client.assert_goaway(PROTOCOL_ERROR);
        }
    }
}

/// 7. Error Codes
#[test]
fn unknown_codes_are_taken() {
    let client = Client::new(never());
    client.send(get(1, "/")).send(rst(1, 0xff));
    client.assert_alive();
    let mut payload = vec![0; 4];
    payload.extend(0xff_u32.to_be_bytes());
    client.send(frame(GOAWAY, 0, 0, payload));
    assert!(
        client
            .received()
            .iter()
            .all(|frame| frame.kind != GOAWAY || frame.code() == NO_ERROR)
    );
}
