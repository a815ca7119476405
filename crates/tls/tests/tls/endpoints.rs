//! What the endpoints `tls:…` make of what their factory says.

use std::cell::RefCell;
use std::fs;
use std::rc::Rc;
use std::sync::Arc;

use ropewalk_core::endpoint::{ClientEndpoint, ServerEndpoint, TlsCertificates};
use ropewalk_core::endpoint::{TlsConnect, TlsListen};
use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Address, Factory, Protocol, Secured, Transport};
use ropewalk_tls::{TlsClientKind, TlsServerKind};

use crate::authority::Authority;

/// Writes down what was agreed on.
#[derive(Clone, Default)]
struct Speaker {
    speaks: Vec<String>,
    agreed: Rc<RefCell<Vec<Option<String>>>>,
}

impl Factory for Speaker {
    fn build_protocol(&self, _: &Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(self.clone()))
    }

    fn application_protocols(&self) -> Vec<String> {
        self.speaks.clone()
    }
}

impl Protocol for Speaker {
    fn connection_made(&mut self, transport: &mut Transport) {
        let secured = transport.fact::<Secured>().expect("it is TLS");
        let agreed = secured.application_protocol.as_deref();
        let agreed = agreed.map(|name| String::from_utf8_lossy(name).into_owned());
        self.agreed.borrow_mut().push(agreed);
    }

    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
}

/// What a server that speaks `server` agrees on with a client that offers `client`, where the
/// endpoint names `endpoint`.
fn agreed(server: &[&str], endpoint: &[&str], client: &[&str]) -> Vec<Option<String>> {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (roots, site) = (folder.path().join("roots"), folder.path().join("site"));
    fs::write(&roots, authority.roots()).unwrap();
    fs::write(&site, authority.server(&["example.com"]).pem()).unwrap();

    let reactor = MemoryReactor::new();
    let speaker = Speaker {
        speaks: server.iter().copied().map(str::to_owned).collect(),
        ..Speaker::default()
    };
    let mut listen = TlsListen::new(443, TlsCertificates::Files(site.clone(), site));
    listen.alpn = endpoint.iter().copied().map(str::to_owned).collect();
    let listen = ServerEndpoint::Other(Arc::new(TlsServerKind::new(listen)));
    reactor.listen(&listen, Rc::new(speaker.clone())).unwrap();

    let mut connect = TlsConnect::new("example.com", 443);
    connect.roots = Some(roots);
    connect.alpn = client.iter().copied().map(str::to_owned).collect();
    let connect = ClientEndpoint::Other(Arc::new(TlsClientKind::new(connect)));
    let other = Speaker::default();
    let connected = reactor.connect(&connect, Rc::new(other.clone()));
    reactor.run();
    drop(connected);
    assert_eq!(*other.agreed.borrow(), *speaker.agreed.borrow());
    speaker.agreed.take()
}

#[test]
fn a_factory_that_names_what_it_speaks_is_asked_for_the_best_of_it() {
    let both = ["h2", "http/1.1"];
    assert_eq!(agreed(&both, &[], &["http/1.1", "h2"]), [Some("h2".into())]);
    assert_eq!(agreed(&both, &[], &["http/1.1"]), [Some("http/1.1".into())]);
    assert_eq!(agreed(&both, &[], &[]), [None]);
    assert_eq!(agreed(&[], &[], &["h2"]), [None]);
}

#[test]
fn an_endpoint_that_names_protocols_overrules_its_factory() {
    let agreed = agreed(&["h2", "http/1.1"], &["http/1.1"], &["h2", "http/1.1"]);
    assert_eq!(agreed, [Some("http/1.1".into())]);
}
