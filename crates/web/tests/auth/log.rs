//! The access log knows who was authenticated.

use std::fmt::Debug;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use ropewalk_core::testing::StringTransport;
use ropewalk_core::{Address, Factory};
use ropewalk_web::auth::{BasicCredentialFactory, HttpAuth};
use ropewalk_web::credentials::MemoryChecker;
use ropewalk_web::{Site, handler_fn};
use tower_layer::Layer;
use tracing::field::{Field, Visit};
use tracing::span;

use super::rig::greet;

/// Keeps the message and the user of each line.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<Line>>>);

#[derive(Clone, Default)]
struct Line {
    message: String,
    user: Option<String>,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "user" {
            self.user = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "ropewalk::access"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        self.0.lock().unwrap().push(line);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[test]
fn the_user_stands_in_the_line_of_a_request_that_was_let_through() {
    let lines = Lines::default();
    let _kept = tracing::subscriber::set_default(lines.clone());
    let checker = MemoryChecker::new().user("Aladdin", "open sesame");
    let auth = HttpAuth::new(checker).scheme(BasicCredentialFactory::new("r"));
    let site = Rc::new(Site::new(auth.layer(handler_fn(greet))));
    let mut connection = site.build_protocol(&Address::Unix(None)).unwrap();
    let mut transport = StringTransport::new();
    let request = "GET / HTTP/1.1\r\nHost: example.com\r\n";
    let right = format!("{request}Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n");
    connection.data_received(&mut transport, right.as_bytes());
    connection.data_received(&mut transport, format!("{request}\r\n").as_bytes());

    let lines = lines.0.lock().unwrap();
    assert_eq!(lines[0].user.as_deref(), Some("Aladdin"));
    assert!(
        lines[0].message.contains(" - Aladdin ["),
        "{}",
        lines[0].message
    );
    assert!(lines[0].message.contains("\" 200 "), "{}", lines[0].message);
    assert_eq!(lines[1].user, None);
    assert!(lines[1].message.contains(" - - ["), "{}", lines[1].message);
    assert!(lines[1].message.contains("\" 401 "), "{}", lines[1].message);
}
