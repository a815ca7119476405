//! A server reduced to its reading: it takes pieces of a byte stream and notes what they mean.

use bytes::Bytes;
use http::{HeaderMap, Method, Uri, Version};
use ropewalk_web::h1::{
    BodyLength, ChunkedDecoder, Event, HeadScan, HeadStorage, Limits, RequestError, RequestHead,
    parse_request_head,
};

/// All that a complete request said.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) framing: BodyLength,
    pub(crate) keep_alive: bool,
    pub(crate) expect_continue: bool,
    pub(crate) target: Bytes,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: HeaderMap,
}

/// What a byte stream meant: complete requests, and then perhaps the reason to read no further.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Transcript {
    pub(crate) requests: Vec<Request>,
    pub(crate) refused: Option<RequestError>,
    /// Whether the stream ended between two requests.
    pub(crate) idle: bool,
}

#[derive(Default)]
struct Reader {
    limits: Limits,
    unread: Vec<u8>,
    scan: HeadScan,
    storage: HeadStorage,
    /// The request whose body is being read.
    current: Option<(Request, Body)>,
    transcript: Transcript,
}

enum Body {
    Length(u64),
    Chunked(ChunkedDecoder),
}

/// What `bytes` mean. Panics if that depends on how they are cut.
pub(crate) fn read(bytes: &[u8]) -> Transcript {
    read_with(bytes, &Limits::default())
}

/// As [`read`], with other limits.
pub(crate) fn read_with(bytes: &[u8], limits: &Limits) -> Transcript {
    let whole = read_pieces([bytes], limits);
    assert_eq!(read_pieces(bytes.chunks(1), limits), whole, "byte by byte");
    // Every place where a short input can be cut; long ones are cut at a sample of places.
    for cut in (0..bytes.len()).step_by(bytes.len() / 500 + 1) {
        let (first, second) = bytes.split_at(cut);
        assert_eq!(read_pieces([first, second], limits), whole, "cut at {cut}");
    }
    whole
}

/// The meaning of a byte stream that comes in `pieces`.
pub(crate) fn read_pieces<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    limits: &Limits,
) -> Transcript {
    let mut reader = Reader {
        limits: limits.clone(),
        ..Reader::default()
    };
    for piece in pieces {
        if let Err(error) = reader.receive(piece) {
            reader.transcript.refused = Some(error);
            return reader.transcript;
        }
    }
    reader.transcript.idle = reader.unread.is_empty() && reader.current.is_none();
    reader.transcript
}

/// The one request that `bytes` are.
pub(crate) fn accepted(bytes: impl AsRef<[u8]>) -> Request {
    let bytes = bytes.as_ref();
    let mut transcript = read(bytes);
    let shown = bytes.escape_ascii();
    assert_eq!(transcript.refused, None, "{shown}");
    assert!(transcript.idle, "bytes left over: {shown}");
    assert_eq!(transcript.requests.len(), 1, "{shown}");
    transcript.requests.remove(0)
}

/// Why `bytes` are refused, before any request in them is complete.
pub(crate) fn refused(bytes: impl AsRef<[u8]>) -> RequestError {
    let bytes = bytes.as_ref();
    let transcript = read(bytes);
    let shown = bytes.escape_ascii();
    assert_eq!(transcript.requests, [], "accepted: {shown}");
    transcript
        .refused
        .unwrap_or_else(|| panic!("not refused: {shown}"))
}

/// The status with which `bytes` are refused.
pub(crate) fn status(bytes: impl AsRef<[u8]>) -> u16 {
    refused(bytes).status().as_u16()
}

impl Reader {
    fn receive(&mut self, piece: &[u8]) -> Result<(), RequestError> {
        self.unread.extend_from_slice(piece);
        loop {
            if self.current.is_none() {
                let found = parse_request_head(
                    &self.unread,
                    &self.limits,
                    &mut self.scan,
                    &mut self.storage,
                )?;
                let Some((head, consumed)) = found else {
                    return Ok(());
                };
                self.unread.drain(..consumed);
                self.begin(head);
            }
            if !self.read_body()? {
                return Ok(());
            }
        }
    }

    fn begin(&mut self, head: RequestHead) {
        let body = match head.body {
            BodyLength::None => Body::Length(0),
            BodyLength::Length(length) => Body::Length(length),
            BodyLength::Chunked => Body::Chunked(ChunkedDecoder::new()),
        };
        let request = Request {
            method: head.parts.method,
            uri: head.parts.uri,
            version: head.parts.version,
            headers: head.parts.headers,
            framing: head.body,
            keep_alive: head.keep_alive,
            expect_continue: head.expect_continue,
            target: head.target,
            body: Vec::new(),
            trailers: HeaderMap::new(),
        };
        self.current = Some((request, body));
    }

    /// Returns whether the current request became complete.
    fn read_body(&mut self) -> Result<bool, RequestError> {
        let Some((request, body)) = &mut self.current else {
            return Ok(false);
        };
        let complete = match body {
            Body::Length(left) => {
                let taken = self.unread.len().min(*left as usize);
                request.body.extend(self.unread.drain(..taken));
                *left -= taken as u64;
                *left == 0
            }
            Body::Chunked(decoder) => loop {
                let (consumed, event) = decoder.decode(&self.unread)?;
                let more = match event {
                    Event::Data(bytes) => {
                        assert!(!bytes.is_empty());
                        request.body.extend_from_slice(bytes);
                        None
                    }
                    Event::NeedMore => {
                        assert_eq!(consumed, self.unread.len());
                        Some(false)
                    }
                    Event::End(trailers) => {
                        request.trailers = trailers;
                        Some(true)
                    }
                };
                self.unread.drain(..consumed);
                if let Some(complete) = more {
                    break complete;
                }
            },
        };
        if complete {
            self.transcript
                .requests
                .extend(self.current.take().map(|(request, _)| request));
        }
        Ok(complete)
    }
}
