//! WebSockets to other servers: RFC 6455, sections 3 and 4.1.

use std::cell::Cell;
use std::rc::Rc;

use http::Uri;
use http::uri::Scheme;
use ropewalk_core::endpoint::{ClientEndpoint, TcpConnect, TlsConnect};
use ropewalk_core::{
    Address, ConnectionDone, Deferred, Factory, Failure, Protocol, ReactorNet, Resolver, TimedOut,
    Transport,
};

use super::client_handshake::{Handshake, HandshakeError};
use super::key::new_key;
use super::stream::StreamProtocol;
use super::{Options, Role, Session, WebSocket, WebSocketProtocol, WebSocketStream};

/// Connects to WebSockets: Twisted's `WebSocketClientEndpoint`.
///
/// ```
/// use ropewalk_web::websocket::{Options, WebSocketClient};
///
/// let mut options = Options::default();
/// options.subprotocols = vec!["chat".into()];
/// let client = WebSocketClient::new().options(options);
/// # let _ = client;
/// // client.connect_stream(&reactor, "wss://example.com/chat").await?
/// ```
#[derive(Clone, Debug, Default)]
pub struct WebSocketClient {
    options: Options,
}

impl WebSocketClient {
    /// A client with the default [`Options`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the options.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Connects to a `ws:` or `wss:` URL. The Deferred fires when both sides have agreed, after
    /// `protocol` has had its `negotiation_finished`. Cancelling it gives up.
    ///
    /// It fails with a [`HandshakeError`], or a
    /// [`ConnectError`](ropewalk_core::ConnectError). `protocol` then hears nothing.
    #[track_caller]
    pub fn connect<R: ReactorNet + ?Sized>(
        &self,
        reactor: &R,
        url: &str,
        protocol: impl WebSocketProtocol,
    ) -> Deferred<WebSocket> {
        match endpoint_of(url) {
            Ok((endpoint, uri)) => self.connect_at(reactor, &endpoint, &uri, protocol),
            Err(error) => Deferred::fail(error),
        }
    }

    /// As [`connect`](Self::connect), to an endpoint that stands for the host of `uri`: one with
    /// options of its own, a proxy before it, or a Unix socket.
    #[track_caller]
    pub fn connect_at<R: ReactorNet + ?Sized>(
        &self,
        reactor: &R,
        endpoint: &ClientEndpoint,
        uri: &Uri,
        protocol: impl WebSocketProtocol,
    ) -> Deferred<WebSocket> {
        let handshake = match new_key(&self.options.randomness) {
            Ok(key) => Handshake::new(uri, &self.options, key).map_err(Failure::from),
            Err(error) => Err(Failure::from(error).context("drawing the key of a WebSocket")),
        };
        let handshake = match handshake {
            Ok(handshake) => handshake,
            Err(failure) => return Deferred::fail(failure),
        };
        let slot: Rc<Slot> = Rc::default();
        let opening = Opening {
            handshake,
            options: self.options.clone(),
            protocol: Some(protocol),
            opened: Rc::clone(&slot),
        };
        let factory = Rc::new(Once(Cell::new(Some(opening))));
        reactor
            .connect(endpoint, factory)
            .add_callback(move |connection| {
                let give_up = move || {
                    connection.abort_connection();
                };
                let (resolver, opened) = Deferred::with_canceller(give_up);
                slot.set(Some(resolver));
                opened
            })
    }

    /// As [`connect`](Self::connect), for a stream of messages.
    #[track_caller]
    pub fn connect_stream<R: ReactorNet + ?Sized>(
        &self,
        reactor: &R,
        url: &str,
    ) -> Deferred<WebSocketStream> {
        match endpoint_of(url) {
            Ok((endpoint, uri)) => self.connect_stream_at(reactor, &endpoint, &uri),
            Err(error) => Deferred::fail(error),
        }
    }

    /// As [`connect_at`](Self::connect_at), for a stream of messages.
    #[track_caller]
    pub fn connect_stream_at<R: ReactorNet + ?Sized>(
        &self,
        reactor: &R,
        endpoint: &ClientEndpoint,
        uri: &Uri,
    ) -> Deferred<WebSocketStream> {
        let made: Rc<Cell<Option<WebSocketStream>>> = Rc::default();
        let protocol = StreamProtocol::made(Rc::clone(&made));
        let connecting = self.connect_at(reactor, endpoint, uri, protocol);
        connecting.add_callback(move |_| {
            made.take()
                .ok_or_else(|| Failure::msg("a WebSocket was opened and gave no stream"))
        })
    }
}

/// Where the host of a URL is, and what to ask it for (section 3).
fn endpoint_of(url: &str) -> Result<(ClientEndpoint, Uri), HandshakeError> {
    let uri: Uri = url.parse().map_err(|_| HandshakeError::Url)?;
    let is_secure = match uri.scheme().map(Scheme::as_str) {
        Some("ws") => false,
        Some("wss") => true,
        _ => return Err(HandshakeError::Url),
    };
    if url.contains('#') {
        // Section 3: fragments mean nothing here.
        return Err(HandshakeError::Url);
    }
    let host = uri.host().ok_or(HandshakeError::Url)?;
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let host = host.to_owned();
    let endpoint = match (is_secure, uri.port_u16()) {
        (_, Some(0)) => return Err(HandshakeError::Url),
        (false, port) => TcpConnect::new(host, port.unwrap_or(80)).into(),
        (true, port) => TlsConnect::new(host, port.unwrap_or(443)).into(),
    };
    Ok((endpoint, uri))
}

/// Builds one protocol.
struct Once<P>(Cell<Option<Opening<P>>>);

impl<P: WebSocketProtocol> Factory for Once<P> {
    fn build_protocol(&self, _: &Address) -> Option<Box<dyn Protocol>> {
        let opening = self.0.take()?;
        Some(Box::new(opening))
    }
}

/// Who waits for the handshake.
type Slot = Cell<Option<Resolver<WebSocket>>>;

/// A connection in its opening handshake.
struct Opening<P> {
    handshake: Handshake,
    options: Options,
    protocol: Option<P>,
    opened: Rc<Slot>,
}

impl<P> Opening<P> {
    fn fail(&mut self, failure: Failure) {
        if let Some(resolver) = self.opened.take() {
            resolver.errback(failure);
        }
    }
}

impl<P: WebSocketProtocol> Protocol for Opening<P> {
    fn connection_made(&mut self, transport: &mut Transport) {
        transport.set_timeout(Some(self.options.limits.handshake));
        transport.write(self.handshake.request());
    }

    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        match self.handshake.received(data) {
            Ok(None) => {}
            Err(error) => {
                transport.abort_connection();
                self.fail(error.into());
            }
            Ok(Some(answer)) => {
                let Some(protocol) = self.protocol.take() else {
                    return;
                };
                let (subprotocol, agreed) = (answer.subprotocol, answer.agreed);
                let (role, options) = (Role::Client, &self.options);
                let mut session = Session::new(role, options, subprotocol, agreed, protocol);
                session.opens_for(self.opened.take());
                transport.exchange_protocol(Box::new(session), &answer.rest);
            }
        }
    }

    fn timeout_connection(&mut self, transport: &mut Transport) {
        transport.abort_connection();
        let failure = Failure::from(TimedOut);
        self.fail(failure.context("waiting for the answer to a request for a WebSocket"));
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.fail(match reason.check::<ConnectionDone>() {
            Some(_) => HandshakeError::Incomplete.into(),
            None => reason,
        });
    }
}
