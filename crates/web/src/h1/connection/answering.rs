//! From an answer to bytes: its head, and its content by the way that costs least.

use std::any::Any;
use std::rc::Rc;
use std::task::Context;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use ropewalk_core::{Protocol, Task, Transport};
use tower_service::Service;

use super::handling::{AbortUnlessDone, HANDLER_FAILED, attend_body};
use super::{Connection, SKIP_AT_MOST};
use crate::body::{Body, BoxError, Segments};
use crate::h1::exchange::{Exchange, Source};
use crate::h1::request_head::CONNECT_NEEDS_AUTHORITY;
use crate::h1::stream::{Gate, write_stream};
use crate::h1::{RequestError, ResponseFields, ResponseFraming, ResponseHead};
use crate::upgrade::Upgrade;

/// An answer that is no longer than this is copied behind its head.
const SHORT: usize = 1024;

impl<S, B> Connection<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
    S::Future: 'static,
    S::Error: Into<BoxError> + 'static,
    B: http_body::Body<Data = Bytes> + 'static,
    B::Error: Into<BoxError>,
{
    /// Writes the head of an answer, and begins with its content.
    #[inline]
    pub(super) fn respond(
        &self,
        transport: &mut Transport,
        exchange: &mut Exchange,
        response: Response<B>,
    ) -> Result<(), RequestError> {
        let (mut parts, mut body) = response.into_parts();
        if exchange.connects_nowhere {
            exchange.keep_alive = false;
            if parts.status.is_success() {
                return Err(CONNECT_NEEDS_AUTHORITY);
            }
        }
        if exchange.may_end_http(parts.status)
            && let Some(protocol) = Upgrade::take(&mut parts.extensions)
        {
            let is_asked_for = parts.status != StatusCode::SWITCHING_PROTOCOLS
                || exchange.has_asked_for(&parts.headers);
            if is_asked_for {
                self.respond_and_end_http(transport, exchange, &parts, protocol);
                return Ok(());
            }
            tracing::debug!(peer = %transport.peer(), "an upgrade that was not asked for is 426");
            // Its fields say to what.
            parts.status = StatusCode::UPGRADE_REQUIRED;
        }
        if parts.status.is_informational() {
            tracing::error!(status = %parts.status, "a handler's answer is no final one");
            return Err(HANDLER_FAILED);
        }
        let fields = ResponseFields::new(&parts.headers);
        let content = Content::of(&mut body);
        let length = match &content {
            Content::Short(bytes) => Some(bytes.len() as u64),
            Content::Segments(segments) => Some(segments.len()),
            Content::Stream => body.size_hint().exact(),
        };
        let framing = ResponseFraming::choose(
            &exchange.method,
            exchange.version,
            parts.status,
            &fields,
            length,
        );
        let framing = match framing {
            Ok(framing) => framing,
            Err(error) => {
                tracing::error!(%error, "a handler's answer cannot be sent");
                return Err(HANDLER_FAILED);
            }
        };
        exchange.status = parts.status;
        exchange.note(&parts.extensions);
        // What follows belongs to a tunnel that there is not (RFC 9110, section 9.3.6).
        let is_tunnel = exchange.method == Method::CONNECT && parts.status.is_success();
        exchange.keep_alive &= !self.draining
            && framing != ResponseFraming::UntilClose
            && !is_tunnel
            && !fields.ask_to_close()
            && exchange.may_skip_body(SKIP_AT_MOST);
        let head = ResponseHead {
            status: parts.status,
            version: exchange.version,
            fields,
            framing,
            keep_alive: exchange.keep_alive,
            date: "",
        };
        let short = match &content {
            Content::Short(bytes) if framing.sends_body() => &bytes[..],
            _ => &[],
        };
        exchange.sent = short.len() as u64;
        self.site.write_head(transport, head, short);
        exchange.give_up_body();
        exchange.source = match content {
            Content::Segments(segments) if framing.sends_body() => Source::Segments(segments),
            Content::Stream if framing.sends_body() => {
                exchange.task = Some(Self::spawn_stream(transport, exchange, body, framing));
                Source::Stream
            }
            _ => Source::Done,
        };
        exchange.fill(transport);
        self.site.give_back(parts.headers);
        Ok(())
    }

    /// Writes the head of an answer after which `protocol` has the connection.
    #[cold]
    fn respond_and_end_http(
        &self,
        transport: &mut Transport,
        exchange: &mut Exchange,
        parts: &http::response::Parts,
        protocol: Box<dyn Protocol>,
    ) {
        exchange.status = parts.status;
        let head = ResponseHead {
            status: parts.status,
            version: exchange.version,
            fields: ResponseFields::new(&parts.headers),
            framing: ResponseFraming::NoBody(None),
            keep_alive: true,
            date: "",
        };
        self.site.write_head(transport, head, b"");
        exchange.source = Source::Upgrade(protocol);
    }

    /// Writes an answer that comes piece by piece. Its end comes back as a call.
    fn spawn_stream(
        transport: &Transport,
        exchange: &mut Exchange,
        body: B,
        framing: ResponseFraming,
    ) -> Task {
        let connection = transport.connection();
        let watched = exchange.watch_body();
        let gate = Rc::new(Gate::default());
        exchange.gate = Some(Rc::clone(&gate));
        let unfinished = AbortUnlessDone::new(connection.clone());
        transport.reactor().spawn(Box::pin(async move {
            let waits = |cx: &Context<'_>| attend_body::<S, B>(&connection, watched.as_ref(), cx);
            let (sent, complete) = write_stream(&connection, body, framing, &gate, waits).await;
            unfinished.done();
            connection.with(move |http: &mut Self, transport| {
                http.streamed(transport, sent, complete);
            });
        }))
    }
}

/// What an answer carries, by the way in which it is sent.
enum Content {
    /// No more than a copy is cheap for.
    Short(Bytes),
    /// Pieces that are all there.
    Segments(Segments),
    /// It comes from the body, in its time.
    Stream,
}

impl Content {
    /// Takes what is there of a body, if it is one of ours.
    #[inline]
    fn of<B: 'static>(body: &mut B) -> Self {
        let any: &mut dyn Any = body;
        let Some(body) = any.downcast_mut::<Body>() else {
            return Self::Stream;
        };
        match body.take_short(SHORT) {
            Some(bytes) => Self::Short(bytes),
            None => body.take_segments().map_or(Self::Stream, Self::Segments),
        }
    }
}
