//! From a handler's answer to the frames of its stream (RFC 9113, section 8.3.2).

use std::any::Any;

use bytes::Bytes;
use h2::SendStream;
use h2::server::SendResponse;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::response::Parts;
use http::{Method, Response, StatusCode, Version};
use ropewalk_core::Protocol;

use super::outflow::Outflow;
use crate::body::{Body, BoxError};
use crate::h1::{RequestError, ResponseFields, ResponseFraming};
use crate::upgrade::Upgrade;

/// An answer that is all there and no longer than this is sent at once, if the peer has room.
const SHORT: usize = 64 * 1024;

/// An answer that has begun.
pub(super) enum Begun<B> {
    /// All of it was given to the connection: so many bytes of content.
    Complete(u64),
    /// The rest is still to be sent.
    Sending(Outflow<B>),
    /// The stream is another protocol's from here on.
    Handed(SendStream<Bytes>, Box<dyn Protocol>),
}

/// What an answer depends on, of its request.
pub(super) struct To<'a> {
    pub(super) method: &'a Method,
    /// What an extended CONNECT, or a CONNECT without the name of a protocol, asks for.
    pub(super) tunnel: Option<Tunnel>,
}

/// See RFC 9113, section 8.5, and RFC 8441.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tunnel {
    Plain,
    Extended,
}

/// Why an answer was not begun.
pub(super) enum Unsent {
    /// The stream has ended.
    Gone,
    /// It cannot be sent; another one can.
    Refused(RequestError),
}

const UNFIT: RequestError = RequestError::new(
    StatusCode::INTERNAL_SERVER_ERROR,
    "the server failed to answer; its log says why",
);

/// Begins with `response`.
pub(super) fn begin<B>(
    respond: &mut SendResponse<Bytes>,
    to: &To<'_>,
    date: HeaderValue,
    response: Response<B>,
) -> Result<Begun<B>, Unsent>
where
    B: http_body::Body<Data = Bytes> + 'static,
    B::Error: Into<BoxError>,
{
    let (mut parts, mut body) = response.into_parts();
    if let Some(protocol) = Upgrade::take(&mut parts.extensions) {
        return hand_over(respond, to, date, parts, protocol);
    }
    if parts.status.is_informational() {
        tracing::error!(status = %parts.status, "a handler's answer is no final one");
        return Err(Unsent::Refused(UNFIT));
    }
    let short = take_short(&mut body);
    let length = match &short {
        Some(short) => Some(short.len() as u64),
        None => body.size_hint().exact(),
    };
    let fields = ResponseFields::new(&parts.headers);
    let framing =
        ResponseFraming::choose(to.method, Version::HTTP_2, parts.status, &fields, length);
    let framing = framing.map_err(|error| {
        tracing::error!(%error, "a handler's answer cannot be sent");
        Unsent::Refused(UNFIT)
    })?;
    let declared = match framing {
        ResponseFraming::Length(length) => Some(length),
        _ => None,
    };
    let mut head = Response::new(());
    *head.status_mut() = parts.status;
    *head.headers_mut() = with_fields(parts.headers, framing, date);
    let has_ended = short.is_some() || body.is_end_stream();
    let is_whole = !framing.sends_body() || declared == Some(0) && has_ended;
    let stream = respond.send_response(head, is_whole);
    let stream = stream.map_err(|_| Unsent::Gone)?;
    if is_whole {
        return Ok(Begun::Complete(0));
    }
    match short {
        Some(data) => send_short(stream, data),
        None => {
            let nothing = Bytes::new();
            let outflow = Outflow::new(stream, nothing, Some(body), declared);
            Ok(Begun::Sending(outflow))
        }
    }
}

/// Begins with an answer after which the stream is `protocol`'s.
fn hand_over<B>(
    respond: &mut SendResponse<Bytes>,
    to: &To<'_>,
    date: HeaderValue,
    parts: Parts,
    protocol: Box<dyn Protocol>,
) -> Result<Begun<B>, Unsent> {
    let status = match (to.tunnel, parts.status) {
        // There is no 101 in HTTP/2 (RFC 9113, section 8.6).
        (Some(Tunnel::Extended), StatusCode::SWITCHING_PROTOCOLS) => StatusCode::OK,
        (Some(_), status) if status.is_success() => status,
        (_, status) => {
            tracing::error!(%status, "an answer hands over a stream that no CONNECT asks for");
            return Err(Unsent::Refused(UNFIT));
        }
    };
    let mut head = Response::new(());
    *head.status_mut() = status;
    *head.headers_mut() = with_fields(parts.headers, ResponseFraming::NoBody(None), date);
    let stream = respond.send_response(head, false);
    let stream = stream.map_err(|_| Unsent::Gone)?;
    Ok(Begun::Handed(stream, protocol))
}

/// Answers with an error, in words.
pub(super) fn refuse<B>(
    respond: &mut SendResponse<Bytes>,
    method: &Method,
    date: HeaderValue,
    error: RequestError,
) -> Result<Begun<B>, Unsent>
where
    B: http_body::Body<Data = Bytes> + 'static,
    B::Error: Into<BoxError>,
{
    let text = Bytes::from(format!("{error}\n"));
    let mut head = Response::new(());
    *head.status_mut() = error.status();
    let headers = head.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(CONTENT_LENGTH, text.len().into());
    headers.insert(DATE, date);
    let is_whole = *method == Method::HEAD;
    let stream = respond.send_response(head, is_whole);
    let stream = stream.map_err(|_| Unsent::Gone)?;
    match is_whole {
        true => Ok(Begun::Complete(0)),
        false => send_short(stream, text),
    }
}

/// Sends all of `data` now if there is room for it.
fn send_short<B>(mut stream: SendStream<Bytes>, data: Bytes) -> Result<Begun<B>, Unsent>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let length = data.len();
    stream.reserve_capacity(length);
    if stream.capacity() < length {
        let declared = Some(length as u64);
        return Ok(Begun::Sending(Outflow::new(stream, data, None, declared)));
    }
    let sent = stream.send_data(data, true);
    sent.map_err(|_| Unsent::Gone)?;
    Ok(Begun::Complete(length as u64))
}

/// Takes the content, if it is one of ours that is short and all there.
fn take_short<B: 'static>(body: &mut B) -> Option<Bytes> {
    let any: &mut dyn Any = body;
    any.downcast_mut::<Body>()?.take_short(SHORT)
}

/// The handler's fields without those that speak of an HTTP/1.1 connection (section 8.2.2), and
/// with those that say the length and the date.
fn with_fields(mut fields: HeaderMap, framing: ResponseFraming, date: HeaderValue) -> HeaderMap {
    if let Some(options) = fields.get(CONNECTION).cloned() {
        let options = options.to_str().unwrap_or_default().split(',');
        for option in options {
            fields.remove(option.trim());
        }
    }
    for name in [
        CONNECTION,
        TRANSFER_ENCODING,
        UPGRADE,
        TE,
        KEEP_ALIVE,
        PROXY_CONNECTION,
    ] {
        fields.remove(name);
    }
    match framing {
        ResponseFraming::Length(length) | ResponseFraming::NoBody(Some(length)) => {
            fields.insert(CONTENT_LENGTH, length.into());
        }
        _ => {
            fields.remove(CONTENT_LENGTH);
        }
    }
    fields.entry(DATE).or_insert(date);
    fields
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
