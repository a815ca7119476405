//! One HTTP/2 connection to a server, on which many requests are under way at a time.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::PingPong;
use h2::client::{Builder, SendRequest};
use http::{Method, Request, Response};
use http_body::Body as _;
use ropewalk_core::endpoint::ClientEndpoint;
use ropewalk_core::{
    Address, Connection, Deferred, Factory, Failure, Protocol, ReactorCore, ReactorNet, Resolver,
    Secured, Transport,
};

use super::alarm::Alarm;
use super::governed::{Governed, Watch};
use super::governor::Governor;
use super::keep_alive::{KeepAlive, Pings};
use super::limits::Limits;
use super::outflow::Outflow;
use super::outgoing_request::prepare;
use super::response_body::{Abandoned, ResponseBody};
use super::send_error::SendError;
use super::stream::H2Stream;
use crate::body::Body;

/// The server has so long to acknowledge the first settings.
const SETTINGS_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to a server that speaks HTTP/2, by ALPN where the endpoint is one of TLS, and
/// otherwise by prior knowledge.
///
/// Clones are the same connection. It is closed when the last of them is dropped and what was asked
/// for is answered. It neither reconnects nor asks again; [`SendError::is_retryable`] says when that
/// is safe.
///
/// ```
/// use http::{Request, Response};
/// use ropewalk_core::testing::MemoryReactor;
/// use ropewalk_web::h2::{ClientConnection, Limits};
/// use ropewalk_web::{Body, Site, handler_fn};
/// use std::rc::Rc;
///
/// let reactor = MemoryReactor::new();
/// let hello = handler_fn(|_: Request<Body>| Response::new(Body::from("Hello, World!")));
/// reactor.listen(&"tcp:80".parse()?, Rc::new(Site::new(hello)))?;
///
/// let endpoint = "tcp:example.com:80".parse()?;
/// let connecting = ClientConnection::connect(&*reactor, &endpoint, Limits::default());
/// let task = reactor.spawn(Box::pin(async move {
///     let connection = connecting.await.unwrap();
///     let request = Request::get("http://example.com/").body(Body::empty()).unwrap();
///     let response = connection.send(request).await.unwrap();
///     assert_eq!(response.into_body().collect().await.unwrap(), "Hello, World!");
/// }));
/// reactor.run();
/// assert!(task.is_finished());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ClientConnection {
    shared: Rc<Shared>,
}

struct Shared {
    /// `None` when no more requests may be sent.
    sender: RefCell<Option<SendRequest<Bytes>>>,
    reactor: Weak<dyn ReactorCore>,
    connection: Connection,
    secure: bool,
    watch: Rc<Watch>,
    /// Who waits for the settings of the server.
    waiting: RefCell<Vec<Waker>>,
}

impl ClientConnection {
    /// Connects to `endpoint`. Cancelling the Deferred gives up.
    pub fn connect<R: ReactorNet + ?Sized>(
        reactor: &R,
        endpoint: &ClientEndpoint,
        limits: Limits,
    ) -> Deferred<Self> {
        let (resolver, made) = Deferred::pair();
        let factory = Connecting {
            limits: Rc::new(limits),
            resolver: Rc::new(Cell::new(Some(resolver))),
        };
        let unmade = Rc::clone(&factory.resolver);
        let connecting = reactor.connect(endpoint, Rc::new(factory));
        connecting.add_both(move |connected: Result<Connection, Failure>| {
            if let Err(failure) = connected
                && let Some(resolver) = unmade.take()
            {
                resolver.errback(failure);
            }
            made
        })
    }

    /// Sends `request`, whose URI is absolute or whose `host` field says whom it is for, and waits for
    /// the head of the answer. Bodies stream, at the pace of whoever reads them. Dropping the future,
    /// or the answer's body, resets the stream. While as many requests are under way as the server
    /// allows, it waits.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Body>, SendError> {
        let (head, body, declared) = prepare(request, self.shared.secure)?;
        let is_whole = body.is_end_stream();
        let mut sender = self.ready().await?;
        let (response, stream) = sender.send_request(head, is_whole)?;
        let abandoned = Abandoned::default();
        let abandon = abandoned.on_drop();
        if !is_whole {
            let outflow = Outflow::new(stream, Bytes::new(), Some(body), declared);
            self.upload(outflow, abandoned);
        }
        let (parts, stream) = response.await?.into_parts();
        let body = ResponseBody::new(stream, abandon);
        Ok(Response::from_parts(parts, Body::new(body)))
    }

    /// Opens a tunnel by a CONNECT (RFC 9113, section 8.5), an extended one (RFC 8441) if the
    /// request's extensions have a [`ConnectProtocol`](super::ConnectProtocol).
    ///
    /// # Errors
    /// [`SendError`], also when the server answers with another status than 2xx, or does not offer
    /// extended CONNECT.
    pub async fn tunnel(&self, request: Request<()>) -> Result<Response<H2Stream>, SendError> {
        let (mut parts, ()) = request.into_parts();
        parts.method = Method::CONNECT;
        let is_extended = parts.extensions.get::<h2::ext::Protocol>().is_some();
        let request = Request::from_parts(parts, Body::empty());
        let (head, _, _) = prepare(request, self.shared.secure)?;
        let mut sender = self.ready().await?;
        if is_extended {
            self.settings().await?;
            if !sender.is_extended_connect_protocol_enabled() {
                return Err(SendError::unsupported());
            }
        }
        let (response, send) = sender.send_request(head, false)?;
        let (parts, recv) = response.await?.into_parts();
        if !parts.status.is_success() {
            return Err(SendError::refused(parts.status));
        }
        Ok(Response::from_parts(parts, H2Stream::new(send, recv)))
    }

    /// Whether requests may still be sent. They may not when the server has said that it goes away,
    /// and when the connection has ended.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shared.sender.borrow().is_some()
    }

    /// Sends no more requests, and closes the connection when those under way are answered.
    pub fn close(&self) {
        self.shared.close();
    }

    /// A handle to the connection below: for its addresses, and what its layers know.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.shared.connection
    }

    /// Waits until a request may be sent.
    async fn ready(&self) -> Result<SendRequest<Bytes>, SendError> {
        let sender = self.shared.sender.borrow().clone();
        let mut sender = sender.ok_or_else(SendError::closed)?;
        poll_fn(|cx| sender.poll_ready(cx)).await?;
        Ok(sender)
    }

    /// Waits until the server has said what it offers.
    async fn settings(&self) -> Result<(), SendError> {
        poll_fn(|cx| {
            if !self.is_open() {
                return Poll::Ready(Err(SendError::closed()));
            }
            if self.shared.watch.governor(Governor::settings_are_applied) {
                return Poll::Ready(Ok(()));
            }
            self.shared.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Sends a request's body, while its answer may come already.
    fn upload(&self, mut outflow: Outflow<Body>, abandoned: Abandoned) {
        let Some(reactor) = self.shared.reactor.upgrade() else {
            return;
        };
        reactor.spawn(Box::pin(poll_fn(move |cx| {
            if abandoned.poll(cx).is_ready() {
                // The stream is reset when nobody holds it any more.
                return Poll::Ready(());
            }
            if outflow.stream().poll_reset(cx).is_ready() {
                return Poll::Ready(());
            }
            let polled = outflow.poll(cx);
            if let Poll::Ready(Err(super::outflow::Broken::Body)) = polled {
                outflow.stream().send_reset(h2::Reason::CANCEL);
            }
            polled.map(|_| ())
        })));
    }
}

impl Shared {
    fn close(&self) {
        let sender = self.sender.borrow_mut().take();
        drop(sender);
        self.wake();
    }

    fn wake(&self) {
        for waker in self.waiting.take() {
            waker.wake();
        }
    }
}

impl fmt::Debug for ClientConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientConnection")
            .field(&self.shared.connection)
            .finish()
    }
}

/// Makes one connection.
struct Connecting {
    limits: Rc<Limits>,
    resolver: Rc<Made>,
}

type Made = Cell<Option<Resolver<ClientConnection>>>;

impl Factory for Connecting {
    fn build_protocol(&self, _: &Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(Connected {
            limits: Rc::clone(&self.limits),
            resolver: Rc::clone(&self.resolver),
        }))
    }

    fn application_protocols(&self) -> Vec<String> {
        vec!["h2".to_owned()]
    }
}

/// Exchanged for a stream as soon as it is connected.
struct Connected {
    limits: Rc<Limits>,
    resolver: Rc<Made>,
}

impl Protocol for Connected {
    fn connection_made(&mut self, transport: &mut Transport) {
        let Some(resolver) = self.resolver.take() else {
            return transport.lose_connection();
        };
        let secured = transport.fact::<Secured>();
        let agreed = secured
            .as_ref()
            .map(|secured| secured.application_protocol.as_deref() == Some(b"h2"));
        if agreed == Some(false) {
            transport.lose_connection();
            return resolver.errback(SendError::not_spoken());
        }
        start(&self.limits, transport, secured.is_some(), resolver);
    }

    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
}

fn start(
    limits: &Limits,
    transport: &mut Transport,
    secure: bool,
    resolver: Resolver<ClientConnection>,
) {
    let reactor = transport.reactor();
    let mut io = transport.exchange_for_stream(&[]);
    io.read_while_draining(true);
    let governor = Governor::for_client(limits, transport.now());
    let watch = Rc::new(Watch::new(governor, &reactor));
    let mut alarm = Alarm::new(watch.reactor());
    alarm.set(SETTINGS_TIMEOUT);
    let builder = builder(limits);
    let governed = Governed::new(io, Rc::clone(&watch)).failing();
    let handshake = async move { builder.handshake(governed).await };
    let mut client = Client {
        connection: transport.connection(),
        state: State::Handshake(Box::pin(handshake), Some(resolver)),
        keep_alive: KeepAlive::new(limits.keep_alive, &watch),
        shared: Weak::new(),
        secure,
        alarm,
        watch,
    };
    reactor.spawn(Box::pin(poll_fn(move |cx| client.poll(cx))));
}

fn builder(limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .max_header_list_size(limits.header_list)
        .initial_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .max_send_buffer_size(limits.send_buffer)
        .initial_max_send_streams(limits.concurrent_streams as usize)
        .max_local_error_reset_streams(Some(limits.error_resets))
        // As on the server: how many, and not for how long.
        .reset_stream_duration(Duration::MAX)
        .max_concurrent_reset_streams(limits.resets.saturating_add(limits.error_resets));
    builder
}

/// Drives the connection, as a task.
struct Client {
    connection: Connection,
    state: State,
    shared: Weak<Shared>,
    secure: bool,
    watch: Rc<Watch>,
    keep_alive: KeepAlive,
    alarm: Alarm,
}

type Opened = (SendRequest<Bytes>, h2::client::Connection<Governed>);
type Opening = Pin<Box<dyn Future<Output = Result<Opened, h2::Error>>>>;

enum State {
    Handshake(Opening, Option<Resolver<ClientConnection>>),
    Open(Box<h2::client::Connection<Governed>>),
}

impl Pings for State {
    fn ping_pong(&mut self) -> Option<PingPong> {
        match self {
            Self::Handshake(..) => None,
            Self::Open(connection) => connection.ping_pong(),
        }
    }
}

impl Client {
    /// Goes on. Ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let State::Handshake(opening, resolver) = &mut self.state {
            let Poll::Ready(opened) = opening.as_mut().poll(cx) else {
                return Poll::Pending;
            };
            let resolver = resolver.take();
            match (opened, resolver) {
                (Ok((sender, connection)), Some(resolver)) => {
                    self.state = State::Open(Box::new(connection));
                    resolver.callback(self.made(sender));
                }
                (Err(error), Some(resolver)) => {
                    resolver.errback(SendError::from(error));
                    return Poll::Ready(());
                }
                (_, None) => return Poll::Ready(()),
            }
        }
        if let State::Open(connection) = &mut self.state
            && let Poll::Ready(ended) = Pin::new(&mut **connection).poll(cx)
        {
            if let Err(error) = ended {
                tracing::debug!(%error, connection = ?self.connection, "an HTTP/2 connection ended");
            }
            return Poll::Ready(());
        }
        self.attend(cx)
    }

    fn made(&mut self, sender: SendRequest<Bytes>) -> ClientConnection {
        let shared = Rc::new(Shared {
            sender: RefCell::new(Some(sender)),
            reactor: self.watch.reactor(),
            connection: self.connection.clone(),
            secure: self.secure,
            watch: Rc::clone(&self.watch),
            waiting: RefCell::default(),
        });
        self.shared = Rc::downgrade(&shared);
        ClientConnection { shared }
    }

    /// Does what has come up meanwhile.
    fn attend(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let governor = |governor: &Governor| {
            (
                governor.settings_are_applied(),
                governor.settings_are_acknowledged(),
                governor.is_going_away(),
            )
        };
        let (applied, acknowledged, goes_away) = self.watch.governor(governor);
        if let Some(shared) = self.shared.upgrade() {
            if goes_away || self.watch.is_draining() {
                shared.close();
            } else if applied {
                shared.wake();
            }
        }
        let is_dead = self.keep_alive.poll(cx, &mut self.state).is_ready();
        if self.alarm.poll(cx).is_ready() && !acknowledged || is_dead {
            let reason = Failure::msg("an HTTP/2 server does not answer: is it one?");
            self.connection
                .act(|transport| transport.abort_with(reason));
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.close();
        }
    }
}
