//! Requests and answers (RFC 9113, section 8).

use super::rig::*;

#[test]
fn a_request_is_answered() {
    let client = Client::new(mirror());
    client.send(get(1, "/tea"));
    assert_eq!(client.answer(1), (200, "GET /tea".to_owned()));
}

#[test]
fn many_requests_of_one_read_are_answered() {
    let client = Client::new(mirror());
    let requests: Vec<u8> = (0..90).flat_map(|n| get(2 * n + 1, "/")).collect();
    client.send(requests);
    let frames = client.received();
    let ends = frames
        .iter()
        .filter(|f| f.kind == DATA && f.flags & END_STREAM != 0);
    assert_eq!(ends.count(), 90);
}

#[test]
fn a_body_goes_both_ways() {
    let client = Client::new(mirror());
    client.send(headers(1, 0, request("POST", "/echo", &[])));
    client.send(data(1, 0, "hello, "));
    client.send(data(1, END_STREAM, "world"));
    assert_eq!(client.answer(1), (200, "hello, world".to_owned()));
}

#[test]
fn a_long_answer_waits_for_the_window() {
    let client = Client::new(mirror());
    client.send(get(1, "/large"));
    let first = content(&client.of_stream(1)).len();
    assert_eq!(first, 65_535);
    client
        .send(window_update(0, 2_000_000))
        .send(window_update(1, 2_000_000));
    let (mut all, mut ended) = (first, false);
    for frame in client.of_stream(1) {
        all += frame.payload.len();
        ended |= frame.flags & END_STREAM != 0;
    }
    assert_eq!((all, ended), (1024 * 1024, true));
}

#[test]
fn the_preface_is_known_wherever_it_is_split() {
    let mut script = PREFACE.to_vec();
    script.extend(settings(&[]));
    script.extend(get(1, "/tea"));
    for at in 1..script.len() {
        let client = Client::bare(mirror());
        client.send(&script[..at]).send(&script[at..]);
        let (status, text) = client.answer(1);
        assert_eq!((status, &text[..]), (200, "GET /tea"), "split at {at}");
    }
    let client = Client::bare(mirror());
    for byte in script {
        client.send([byte]);
    }
    assert_eq!(client.answer(1).0, 200);
}
