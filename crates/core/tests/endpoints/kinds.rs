//! Kinds that others add: the registry, the columns of nested text, and the order of wrappers.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use ropewalk_core::endpoint::{
    ClientEndpoint, ClientKind, Description, EndpointError, Form, KindTaken, ServerEndpoint,
    ServerKind, register_client_kind, register_server_kind,
};
use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{
    Address, Factory, Failure, Layer, LayerIo, OutputQueue, Protocol, ReactorCore, Transport,
};

thread_local! {
    /// Which layers have started, in their order.
    static STARTED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// `NAME:tag=…:INNER` puts a layer around that notes when it starts.
#[derive(Debug)]
struct Tagged<E> {
    kind: String,
    tag: String,
    inner: E,
}

const TAGGED: Form = Form {
    usage: "tagged:tag=TAG:INNER",
    arguments: &[],
    options: &["tag"],
};

/// The kind, the tag, and the endpoint within.
fn parse(description: &Description) -> Result<(String, String, Description), EndpointError> {
    let (own, inner) = description.split(0);
    own.check(&TAGGED)?;
    let tag = own.option("tag").map_or("", |tag| tag.text()).to_owned();
    let end = description.text().chars().count() + 1;
    let inner = inner.ok_or_else(|| description.error(end, "the endpoint within is missing"))?;
    Ok((own.kind().text().to_owned(), tag, inner))
}

fn parse_server(description: &Description) -> Result<Arc<dyn ServerKind>, EndpointError> {
    let (kind, tag, inner) = parse(description)?;
    let inner = ServerEndpoint::read(&inner)?;
    Ok(Arc::new(Tagged { kind, tag, inner }))
}

fn parse_client(description: &Description) -> Result<Arc<dyn ClientKind>, EndpointError> {
    let (kind, tag, inner) = parse(description)?;
    let inner = ClientEndpoint::read(&inner)?;
    Ok(Arc::new(Tagged { kind, tag, inner }))
}

impl<E: fmt::Display> fmt::Display for Tagged<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:tag={}:{}", self.kind, self.tag, self.inner)
    }
}

impl<E> Tagged<E> {
    fn wrap(&self, factory: Rc<dyn Factory>) -> io::Result<Rc<dyn Factory>> {
        if self.tag == "broken" {
            return Err(io::Error::other("the tag is broken"));
        }
        let tag = self.tag.clone();
        Ok(Rc::new(Tagging { tag, factory }))
    }
}

impl ServerKind for Tagged<ServerEndpoint> {
    fn base(&self) -> io::Result<ServerEndpoint> {
        Ok(self.inner.clone())
    }
    fn factory(
        &self,
        _: &dyn ReactorCore,
        factory: Rc<dyn Factory>,
    ) -> io::Result<Rc<dyn Factory>> {
        self.wrap(factory)
    }
}

impl ClientKind for Tagged<ClientEndpoint> {
    fn base(&self) -> io::Result<ClientEndpoint> {
        Ok(self.inner.clone())
    }
    fn factory(
        &self,
        _: &dyn ReactorCore,
        factory: Rc<dyn Factory>,
    ) -> io::Result<Rc<dyn Factory>> {
        self.wrap(factory)
    }
}

struct Tagging {
    tag: String,
    factory: Rc<dyn Factory>,
}

impl Factory for Tagging {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        self.factory.build_protocol(peer)
    }
    fn wrapped(&self) -> Option<&dyn Factory> {
        Some(&*self.factory)
    }
    fn build_layers(&self, peer: &Address) -> Vec<Box<dyn Layer>> {
        let mut layers = self.factory.build_layers(peer);
        layers.insert(0, Box::new(Noting(self.tag.clone())));
        layers
    }
}

struct Noting(String);

impl Layer for Noting {
    fn start(&mut self, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        STARTED.with_borrow_mut(|started| started.push(self.0.clone()));
        io.ready();
        Ok(())
    }
    fn received(&mut self, data: &[u8], io: &mut LayerIo<'_>) -> Result<(), Failure> {
        io.up().extend_from_slice(data);
        Ok(())
    }
    fn send(&mut self, output: &mut OutputQueue, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        io.down().append(output);
        Ok(())
    }
}

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        transport.write(data);
    }
}

fn echo() -> Rc<dyn Factory> {
    Rc::new(|_: &Address| Echo)
}

/// Registers the kind that a test has for itself.
fn register(name: &str) {
    register_server_kind(name, parse_server).unwrap();
    register_client_kind(name, parse_client).unwrap();
}

#[test]
fn layers_stand_in_the_order_of_the_text_from_the_wire_upwards() {
    register("ordered");
    let reactor = MemoryReactor::new();
    let listen = "ordered:tag=wire:ordered:tag=above:tcp:80";
    reactor.listen(&listen.parse().unwrap(), echo()).unwrap();
    drop(reactor.connect(&"tcp:example.com:80".parse().unwrap(), echo()));
    reactor.run();
    assert_eq!(STARTED.take(), ["wire", "above"]);
    let connect = "ordered:tag=first:ordered:tag=second:tcp:example.com:80";
    let made = reactor.connect(&connect.parse().unwrap(), echo());
    reactor.run();
    assert!(made.is_fired());
    let started = STARTED.take();
    let client: Vec<_> = started
        .iter()
        .filter(|tag| tag.len() > 4 && *tag != "above")
        .collect();
    assert_eq!(client, ["first", "second"]);
}

#[test]
fn what_a_kind_refuses_is_told_under_the_whole_endpoint() {
    register("refusing");
    let reactor = MemoryReactor::new();
    let text = "refusing:tag=fine:refusing:tag=broken:tcp:80";
    let error = reactor.listen(&text.parse().unwrap(), echo()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot listen on {text}: the tag is broken"),
    );
}

#[test]
fn endpoints_of_a_registered_kind_are_equal_when_their_texts_are() {
    register("equal");
    let parse = |text: &str| text.parse::<ServerEndpoint>().unwrap();
    assert_eq!(parse("equal:tag=a:tcp:80"), parse(r"equal:tag=\a:tcp:80"));
    assert_ne!(parse("equal:tag=a:tcp:80"), parse("equal:tag=b:tcp:80"));
}

#[test]
fn errors_within_a_wrapper_point_at_the_column_of_the_whole_text() {
    register("columns");
    for (text, column, message) in [
        (
            "columns:tag=é:tcp:80:backlgo=5",
            22,
            "`backlgo` is not an option of `tcp`; did you mean `backlog`?",
        ),
        (
            "columns:tcp:80:tag=a",
            16,
            "`tag` is not an option of `tcp`; it has",
        ),
        (
            "columns:tga=5:tcp:80",
            9,
            "`tga` is not an option of `columns`; did you mean `tag`?",
        ),
        ("columns:columns:tcp:http", 21, "`http` is not a port"),
        ("columns:tag=a", 14, "the endpoint within is missing"),
    ] {
        let error = text.parse::<ServerEndpoint>().unwrap_err();
        assert_eq!((error.column(), error.text()), (column, text));
        assert!(error.message().starts_with(message), "{error}");
    }
}

#[test]
fn an_unknown_kind_is_answered_with_those_that_were_registered_too() {
    register("listed");
    let error = "modbus:80".parse::<ServerEndpoint>().unwrap_err();
    assert!(error.message().contains("`listed`"), "{error}");
    let error = "lisetd:80".parse::<ClientEndpoint>().unwrap_err();
    assert!(
        error.message().ends_with("did you mean `listed`?"),
        "{error}"
    );
}

#[test]
fn a_name_is_registered_once_and_never_that_of_a_built_in_kind() {
    register("once");
    let again = |name: &str| register_server_kind(name, parse_server).unwrap_err();
    assert_eq!(again("once"), KindTaken::Registered("once".into()));
    for name in ["tcp", "unix", "systemd"] {
        assert_eq!(again(name), KindTaken::BuiltIn(name.into()));
    }
    for name in ["", "Tcp", "a:b", "9p", "a b", "a=b", "é"] {
        assert_eq!(again(name), KindTaken::NotAName(name.into()));
    }
}

#[test]
fn kinds_stand_on_one_another_16_deep_and_no_deeper() {
    register("deep");
    let text = |depth| format!("{}tcp:80", "deep:".repeat(depth));
    assert!(text(15).parse::<ServerEndpoint>().is_ok());
    let error = text(100_000).parse::<ServerEndpoint>().unwrap_err();
    assert_eq!(error.message(), "more than 16 kinds stand on one another");
}

/// Stands on itself.
#[derive(Debug)]
struct Circle;

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("circle")
    }
}

impl ServerKind for Circle {
    fn base(&self) -> io::Result<ServerEndpoint> {
        Ok(ServerEndpoint::Other(Arc::new(Self)))
    }
    fn factory(
        &self,
        _: &dyn ReactorCore,
        factory: Rc<dyn Factory>,
    ) -> io::Result<Rc<dyn Factory>> {
        Ok(factory)
    }
}

#[test]
fn a_kind_that_stands_on_itself_is_an_error_and_no_endless_loop() {
    let endpoint = ServerEndpoint::Other(Arc::new(Circle));
    let error = MemoryReactor::new().listen(&endpoint, echo()).unwrap_err();
    assert!(
        error.to_string().contains("one stands on itself"),
        "{error}"
    );
}

#[test]
fn what_a_reactor_does_not_have_is_an_error_with_the_endpoint() {
    let reactor = MemoryReactor::new();
    let endpoint = "systemd:index=0".parse().unwrap();
    let error = reactor.listen(&endpoint, echo()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot listen on systemd:index=0: this reactor has no endpoints of this kind",
    );
}
