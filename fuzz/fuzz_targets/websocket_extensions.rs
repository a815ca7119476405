//! `Sec-WebSocket-Extensions` of a request: it is malformed, or answered, with an extension only where
//! one was offered.

#![no_main]

use http::{HeaderValue, Request, StatusCode};
use libfuzzer_sys::fuzz_target;
use ropewalk_web::websocket::{Deflate, Negotiation, Options, WebSocket, WebSocketProtocol};

fuzz_target!(|input: &[u8]| {
    let Some((first, input)) = input.split_first() else {
        return;
    };
    let Ok(offer) = HeaderValue::from_bytes(input) else {
        return;
    };
    let mut deflate = Deflate::default();
    deflate.no_context_takeover = first & 1 != 0;
    deflate.peer_no_context_takeover = first & 2 != 0;
    deflate.window_bits = 8 + (first >> 2 & 7);
    deflate.peer_window_bits = 15 - (first >> 5);
    let options = Options {
        deflate: Some(deflate),
        ..Options::default()
    };
    let request = Request::get("/")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-extensions", offer)
        .body(())
        .expect("a request");
    let response = match Negotiation::of(&request, &options) {
        Ok(negotiation) => negotiation.upgrade(Silent),
        Err(error) => error.into_response(),
    };
    match response.status() {
        StatusCode::BAD_REQUEST => {}
        StatusCode::SWITCHING_PROTOCOLS => {
            if let Some(answer) = response.headers().get("sec-websocket-extensions") {
                let answer = answer.to_str().expect("tokens");
                assert!(answer.starts_with("permessage-deflate"), "{answer}");
                assert!(input.to_ascii_lowercase().windows(18).any(|at| at == b"permessage-deflate"));
            }
        }
        status => panic!("{status}"),
    }
});

struct Silent;

impl WebSocketProtocol for Silent {
    fn text_message_received(&mut self, _: &WebSocket, _: String) {}
    fn bytes_message_received(&mut self, _: &WebSocket, _: bytes::Bytes) {}
}
