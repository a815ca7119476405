//! `Authorization` fields, as Basic, Digest and Bearer read them.
#![no_main]

use std::rc::Rc;

use http::{Method, Request, Uri};
use libfuzzer_sys::fuzz_target;
use ropewalk_core::testing::MemoryReactor;
use ropewalk_web::auth::{
    AuthParameters, BasicCredentialFactory, BearerCredentialFactory, DigestCredentialFactory, HttpAuth,
};
use ropewalk_web::credentials::MemoryChecker;
use ropewalk_web::{Body, Randomness, handler_fn};
use tower_layer::Layer;
use tower_service::Service;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = AuthParameters::parse(text);
    }
    let Ok(value) = http::HeaderValue::from_bytes(data) else {
        return;
    };
    let reactor = MemoryReactor::new();
    let randomness = Randomness::new(|bytes| bytes.fill(7));
    let digest = DigestCredentialFactory::new(reactor.handle(), "r", &randomness).unwrap();
    let auth = HttpAuth::new(MemoryChecker::new().user("ada", "lovelace"))
        .scheme(BasicCredentialFactory::new("r"))
        .scheme(digest.allow_md5(true))
        .scheme(BearerCredentialFactory::new("r"));
    let mut service = auth.layer(handler_fn(|_: Request<Body>| http::Response::new(Body::empty())));
    let mut request = Request::new(Body::empty());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = Uri::from_static("/");
    request.headers_mut().insert("authorization", value);
    let answering = service.call(request);
    let status = Rc::new(std::cell::Cell::new(0));
    let answered = Rc::clone(&status);
    reactor.handle().spawn(Box::pin(async move {
        answered.set(answering.await.unwrap().status().as_u16());
    }));
    reactor.run();
    assert!(matches!(status.get(), 200 | 400 | 401));
});
