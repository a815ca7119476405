//! From a request to what its handler says: called at once, or run as a task whose end comes back as
//! a call to the connection.

use std::future::poll_fn;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use ropewalk_core::{Failure, Task, Transport};
use tower_service::Service;

use super::{Connection, State};
use crate::access_log::Entry;
use crate::body::{Body, BodyError, BoxError, incoming};
use crate::current::{Current, Interim};
use crate::h1::exchange::{Exchange, Source};
use crate::h1::{
    BodyLength, RequestError, RequestHead, ResponseFields, ResponseFraming, ResponseHead,
};
use crate::handler::{Answering, Called, call};

const TOO_LARGE: RequestError = RequestError::new(
    StatusCode::PAYLOAD_TOO_LARGE,
    "the request body is longer than this server allows",
);
pub(super) const HANDLER_FAILED: RequestError = RequestError::new(
    StatusCode::INTERNAL_SERVER_ERROR,
    "the server failed to answer; its log says why",
);

impl<S, B> Connection<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
    S::Future: 'static,
    S::Error: Into<BoxError> + 'static,
    B: http_body::Body<Data = Bytes> + 'static,
    B::Error: Into<BoxError>,
{
    /// A request has come: gives it to the service.
    pub(super) fn begin(&mut self, transport: &mut Transport, head: RequestHead) {
        self.requests += 1;
        let last = self.requests >= self.site.limits.requests_per_connection;
        let log = Entry::new(transport, &head);
        let (sender, received) = match head.body {
            BodyLength::None | BodyLength::Length(0) => (None, None),
            length => {
                let declared = match length {
                    BodyLength::Length(length) => Some(length),
                    _ => None,
                };
                let (sender, received) = incoming(declared, self.site.limits.body);
                (Some(sender), Some(received))
            }
        };
        let mut exchange = Exchange::new(&head, sender, log);
        exchange.keep_alive &= !self.draining && !last;
        let (info, allowed) = self
            .site
            .request_info(transport, self.secure, &head.parts.uri);
        if let Err(error) = allowed {
            self.state = State::Exchange(Box::new(exchange));
            return self.refuse(transport, error);
        }
        let body = Body::received(info, received);
        let scope = self.current(transport, exchange.version).enter();
        let called = call(&self.site.service, Request::from_parts(head.parts, body));
        drop(scope);
        match called {
            Called::Answered(Ok(response)) => {
                let responded = self.respond(transport, &mut exchange, response);
                if responded.is_ok() && exchange.is_over() {
                    // Nearly all of them: nothing of it need be kept.
                    return exchange.log_answered();
                }
                self.state = State::Exchange(Box::new(exchange));
                self.responded(transport, responded);
            }
            Called::Answered(Err(error)) => {
                self.state = State::Exchange(Box::new(exchange));
                self.failed(transport, error);
            }
            Called::Answering(future) => {
                exchange.task = Some(self.spawn_handler(transport, &mut exchange, future));
                self.state = State::Exchange(Box::new(exchange));
            }
        }
    }

    /// The request that was begun last, for the code that answers it.
    fn current(&self, transport: &Transport, version: Version) -> Current {
        Current {
            connection: transport.connection(),
            interim: match version {
                Version::HTTP_10 => Interim::Unknown,
                _ => Interim::OfConnection(Self::send_interim, self.requests),
            },
        }
    }

    /// Sends an interim response, if the request with this number waits for its answer.
    fn send_interim(
        connection: &ropewalk_core::Connection,
        number: u64,
        status: StatusCode,
        fields: HeaderMap,
    ) -> bool {
        connection.with(move |http: &mut Self, transport| {
            let current = http.requests == number;
            if let State::Exchange(exchange) = &mut http.state
                && current
                && exchange.may_send_interim(status)
            {
                let head = ResponseHead {
                    status,
                    version: Version::HTTP_11,
                    fields: ResponseFields::new(&fields),
                    framing: ResponseFraming::NoBody(None),
                    keep_alive: true,
                    date: "",
                };
                http.site.write_head(transport, head, b"");
            }
        })
    }

    /// Runs a handler that could not answer at once. Its answer comes back as a call.
    fn spawn_handler(
        &self,
        transport: &Transport,
        exchange: &mut Exchange,
        mut future: Answering<B, S::Error>,
    ) -> Task {
        let connection = transport.connection();
        let body = exchange.watch_body();
        let current = self.current(transport, exchange.version);
        let unanswered = AbortUnlessDone::new(connection.clone());
        transport.reactor().spawn(Box::pin(async move {
            let result = poll_fn(|cx| {
                let scope = current.clone().enter();
                let result = future.as_mut().poll(cx);
                drop(scope);
                if result.is_pending() {
                    attend_body::<S, B>(&connection, body.as_ref(), cx);
                }
                result
            })
            .await;
            // What it drops may panic, too.
            drop(future);
            unanswered.done();
            connection.with(move |http: &mut Self, transport| {
                http.answered(transport, result);
                http.advance(transport, &[]);
            });
        }))
    }

    /// The handler has answered, or failed, after a while.
    pub(super) fn answered(
        &mut self,
        transport: &mut Transport,
        result: Result<Response<B>, S::Error>,
    ) {
        let mut exchange = match std::mem::replace(&mut self.state, State::Head) {
            State::Exchange(exchange) => exchange,
            // The request was refused meanwhile.
            other => return self.state = other,
        };
        match result {
            Ok(response) => {
                let responded = self.respond(transport, &mut exchange, response);
                self.state = State::Exchange(exchange);
                self.responded(transport, responded);
            }
            Err(error) => {
                self.state = State::Exchange(exchange);
                self.failed(transport, error);
            }
        }
    }

    /// An answer was begun, or cannot be sent.
    fn responded(&mut self, transport: &mut Transport, result: Result<(), RequestError>) {
        match result {
            Ok(()) => self.attend_reader(transport),
            Err(error) => self.refuse(transport, error),
        }
    }

    /// The handler has failed.
    fn failed(&mut self, transport: &mut Transport, error: S::Error) {
        let failure = Failure::new(error);
        match failure.check::<BodyError>() {
            Some(BodyError::TooLarge { .. }) => self.refuse(transport, TOO_LARGE),
            Some(BodyError::Malformed(error)) => self.refuse(transport, *error),
            Some(BodyError::Disconnected) if self.lacks_body() => transport.lose_connection(),
            _ => {
                tracing::error!(failure = &*failure.to_error(), "a handler failed");
                self.refuse(transport, HANDLER_FAILED);
            }
        }
    }

    /// Whether some of the request's body has not come.
    fn lacks_body(&self) -> bool {
        matches!(&self.state, State::Exchange(exchange) if !exchange.body_is_complete())
    }

    /// Attends to a body that is read by somebody else than the handler and its answer, once the
    /// tasks of these have ended.
    pub(super) fn attend_reader(&mut self, transport: &Transport) {
        let State::Exchange(exchange) = &mut self.state else {
            return;
        };
        if matches!(exchange.source, Source::Stream) || !exchange.may_have_reader() {
            return;
        }
        let connection = transport.connection();
        let body = exchange.watch_body();
        let attend = poll_fn(move |cx| {
            attend_body::<S, B>(&connection, body.as_ref(), cx);
            Poll::Pending
        });
        exchange.task = Some(transport.reactor().spawn(Box::pin(attend)));
    }
}

/// Tells the connection when the body that a task reads is asked for, there is room in it, or it was
/// dropped.
pub(super) fn attend_body<S, B>(
    connection: &ropewalk_core::Connection,
    body: Option<&crate::body::BodySender>,
    cx: &Context<'_>,
) where
    S: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
    S::Future: 'static,
    S::Error: Into<BoxError> + 'static,
    B: http_body::Body<Data = Bytes> + 'static,
    B::Error: Into<BoxError>,
{
    if let Some(body) = body {
        body.watch(cx.waker());
        if body.calls_for_more() {
            connection.with(|http: &mut Connection<S>, transport| http.body_wanted(transport));
        }
    }
}

/// Aborts the connection when a task ends, by a panic, before it has done its work.
pub(super) struct AbortUnlessDone(Option<ropewalk_core::Connection>);

impl AbortUnlessDone {
    pub(super) fn new(connection: ropewalk_core::Connection) -> Self {
        Self(Some(connection))
    }

    pub(super) fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for AbortUnlessDone {
    fn drop(&mut self) {
        if let Some(connection) = &self.0
            && std::thread::panicking()
        {
            connection.abort_connection();
        }
    }
}
