//! A compressed request body comes to the same however it is cut, and never to more than is
//! allowed.

#![no_main]

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use http::{Request, Response};
use libfuzzer_sys::fuzz_target;
use ropewalk_web::middleware::DecompressionLayer;
use ropewalk_web::{Body, BoxError, handler_fn};
use tower_layer::Layer;
use tower_service::Service;

const LIMIT: u64 = 100_000;

fuzz_target!(|input: &[u8]| {
    let Some((first, coded)) = input.split_first() else {
        return;
    };
    let coding = ["gzip", "br", "zstd"][usize::from(first % 3)];
    let piece = usize::from(first / 3).max(1);
    let whole = decode(coding, &mut std::iter::once(coded));
    let cut = decode(coding, &mut coded.chunks(piece));
    match (whole, cut) {
        (Ok(whole), Ok(cut)) => {
            assert_eq!(whole, cut);
            assert!(whole.len() as u64 <= LIMIT);
        }
        (Err(whole), Err(cut)) => assert_eq!(whole.to_string(), cut.to_string()),
        (whole, cut) => panic!("whole: {whole:?}, cut: {cut:?}"),
    }
});

/// What the handler reads.
fn decode(
    coding: &str,
    pieces: &mut dyn Iterator<Item = &'_ [u8]>,
) -> Result<Vec<u8>, BoxError> {
    let echo = handler_fn(|request: Request<Body>| Response::new(request.into_body()));
    let (writer, body) = Body::channel();
    let request = Request::post("/").header("content-encoding", coding);
    let answer = DecompressionLayer::new(LIMIT)
        .layer(echo)
        .call(request.body(body)?);
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(answer)) = pin!(answer).poll(&mut cx) else {
        panic!("it is ready")
    };
    let mut all = pin!(answer.into_body().collect());
    let mut writer = Some(writer);
    loop {
        if let Poll::Ready(all) = all.as_mut().poll(&mut cx) {
            return all.map(|all| all.to_vec());
        }
        match (pieces.next(), &mut writer) {
            // What is refused is read by nobody.
            (Some(piece), Some(writer)) => drop(writer.try_send(piece.to_vec().into())),
            _ => drop(writer.take()),
        }
    }
}
