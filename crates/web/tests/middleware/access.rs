//! Names of requests, their spans, and what the access log is told.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use ropewalk_web::middleware::{RequestId, RequestIdLayer, TrustedProxiesLayer};
use ropewalk_web::{AccessLogFields, Body, handler_fn};
use tower_layer::Layer;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::rig::{Signal, World, handler_async};

/// The events that were logged: their fields, and the `id` of the innermost span as `span`.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<LogState>>);

#[derive(Default)]
struct LogState {
    spans: Vec<BTreeMap<String, String>>,
    entered: Vec<u64>,
    events: Vec<BTreeMap<String, String>>,
}

struct Fields<'a>(&'a mut BTreeMap<String, String>);

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.name() == "request" || metadata.target() != "ropewalk"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut state = self.0.lock().unwrap();
        let mut fields = BTreeMap::new();
        span.record(&mut Fields(&mut fields));
        state.spans.push(fields);
        Id::from_u64(state.spans.len() as u64)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = BTreeMap::new();
        event.record(&mut Fields(&mut fields));
        fields.insert("target".to_owned(), event.metadata().target().to_owned());
        let mut state = self.0.lock().unwrap();
        let spans = state.entered.iter().rev();
        let ids = spans.map(|span| &state.spans[*span as usize - 1]);
        let id = ids.filter_map(|fields| fields.get("id").cloned()).next();
        fields.insert("span".to_owned(), id.unwrap_or_default());
        state.events.push(fields);
    }

    fn enter(&self, span: &Id) {
        self.0.lock().unwrap().entered.push(span.into_u64());
    }

    fn exit(&self, span: &Id) {
        let mut state = self.0.lock().unwrap();
        let at = state
            .entered
            .iter()
            .rposition(|entered| *entered == span.into_u64());
        state.entered.remove(at.unwrap());
    }
}

impl Log {
    fn of(run: impl FnOnce()) -> Vec<BTreeMap<String, String>> {
        let log = Self::default();
        tracing::subscriber::with_default(log.clone(), run);
        std::mem::take(&mut log.0.lock().unwrap().events)
    }
}

fn echo_id(request: &Request<Body>) -> Response<Body> {
    let id = request.extensions().get::<RequestId>().unwrap();
    let field = request.headers()["x-request-id"].to_str().unwrap();
    assert_eq!(id.to_string(), field);
    Response::new(Body::from(id.to_string()))
}

#[test]
fn each_request_has_a_name_of_its_own_that_a_client_cannot_choose() {
    let world = World::new(|_| {
        let handler = handler_fn(|request: Request<Body>| echo_id(&request));
        RequestIdLayer::new("a b\n-").layer(handler)
    });
    for expected in ["ab-0", "ab-1"] {
        let answer = world.get("/", &["X-Request-Id: mine"]);
        assert_eq!(answer.header("x-request-id"), Some(expected));
        assert_eq!(answer.text(), expected);
    }
}

#[test]
fn a_name_is_kept_when_it_came_through_a_trusted_proxy_and_is_one() {
    let world = |proxies: &str| {
        let proxies = [proxies.parse().unwrap()];
        World::new(|_| {
            let handler = handler_fn(|request: Request<Body>| echo_id(&request));
            let named = RequestIdLayer::new("n").take_from_proxies().layer(handler);
            TrustedProxiesLayer::forwarded(proxies).layer(named)
        })
    };
    let (trusted, other) = (world("192.0.2.0/24"), world("198.51.100.0/24"));
    let long = format!("X-Request-Id: {}", "x".repeat(129));
    for (line, expected) in [
        ("X-Request-Id: of-proxy", "of-proxy"),
        ("X-Request-Id: two words", "n0"),
        ("X-Request-Id:", "n1"),
        (&long, "n2"),
        ("X-Other: x", "n3"),
    ] {
        assert_eq!(trusted.get("/", &[line]).text(), expected, "{line}");
    }
    assert_eq!(other.get("/", &["X-Request-Id: of-proxy"]).text(), "n0");
}

#[test]
fn the_span_of_a_request_survives_awaits_and_is_left_between_them() {
    let signals = [Signal::default(), Signal::default()];
    let wait = signals.clone();
    let events = Log::of(|| {
        let world = World::new(|_| {
            RequestIdLayer::new("r").layer(handler_async(move |request: Request<Body>| {
                tracing::info!(at = "call");
                let number: usize = request.uri().path()[1..].parse().unwrap();
                let wait = wait[number].clone();
                async move {
                    wait.wait().await;
                    tracing::info!(at = "after");
                    Response::new(Body::empty())
                }
            }))
        });
        let (first, second) = (world.ask("GET", "/0", &[]), world.ask("GET", "/1", &[]));
        tracing::info!(at = "outside");
        signals[1].give();
        world.reactor.run();
        signals[0].give();
        world.reactor.run();
        assert_eq!((first.head().status, second.head().status), (200, 200));
    });
    let events: Vec<_> = events
        .iter()
        .filter_map(|event| Some((&event.get("at")?[..], &event["span"][..])))
        .collect();
    assert_eq!(
        events,
        [
            ("call", "r0"),
            ("call", "r1"),
            ("outside", ""),
            ("after", "r1"),
            ("after", "r0")
        ]
    );
}

#[test]
fn the_access_log_knows_what_the_layers_know() {
    let events = Log::of(|| {
        let world = World::new(|_| {
            let handler = handler_fn(|_: Request<Body>| {
                let mut answer = Response::new(Body::from("hello"));
                AccessLogFields::of(&mut answer).user = Some("alice".to_owned());
                answer
            });
            let named = RequestIdLayer::new("r").layer(handler);
            TrustedProxiesLayer::x_forwarded(["192.0.2.0/24".parse().unwrap()]).layer(named)
        });
        world.get("/", &["X-Forwarded-For: 203.0.113.7"]);
    });
    let mut access = events
        .iter()
        .filter(|event| event["target"] == "ropewalk::access");
    let event = access.next().unwrap();
    assert_eq!(event["user"], "alice");
    assert_eq!(event["request_id"], "r0");
    assert_eq!(event["client"], "203.0.113.7:0");
    assert!(event["peer"].starts_with("192.0.2.2:"));
    let line = &event["message"];
    assert!(
        line.starts_with("203.0.113.7 - alice [01/Jan/2026:"),
        "{line}"
    );
    assert!(access.next().is_none());
}
