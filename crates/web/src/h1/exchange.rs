//! One request and its answer, while both are under way.

use std::rc::Rc;

use http::header::{HeaderMap, HeaderValue, UPGRADE};
use http::{Extensions, Method, StatusCode, Version};
use ropewalk_core::{Protocol, Segment, Task, Transport};

use super::body_pace::BodyPace;
use super::fields::list_elements;
use super::stream::{Gate, PIECE, QUEUE_AHEAD};
use super::{BodyLength, ChunkedDecoder, Event, RequestError, RequestHead};
use crate::access_log::{CLIENT_CLOSED, Entry};
use crate::body::{BodyError, BodySender, Segments};
use crate::upgrade::Upgrade;

pub(super) struct Exchange {
    pub(super) method: Method,
    pub(super) version: Version,
    /// It is a CONNECT that names nobody to connect to.
    pub(super) connects_nowhere: bool,
    pub(super) keep_alive: bool,
    /// The client has said that it sends no other.
    pub(super) is_the_last: bool,
    /// What the answer said, for the log.
    pub(super) status: StatusCode,
    /// Bytes of content that were queued.
    pub(super) sent: u64,
    log: Option<Box<Entry>>,
    /// The handler, the stream of its answer, or who attends to the reader of the body.
    pub(super) task: Option<Task>,
    pub(super) source: Source,
    /// Holds back the stream of the answer.
    pub(super) gate: Option<Rc<Gate>>,
    rest: Rest,
    sender: Option<BodySender>,
    expect_continue: bool,
    pub(super) pace: BodyPace,
    /// What the request says in `Upgrade`, if that counts.
    upgrades: Option<Box<[HeaderValue]>>,
}

/// Where the rest of the answer comes from.
pub(super) enum Source {
    /// The handler has not answered.
    Handler,
    /// Pieces that are all there.
    Segments(Segments),
    /// A task.
    Stream,
    /// There is none: this protocol is to have the connection.
    Upgrade(Box<dyn Protocol>),
    /// All is queued.
    Done,
}

/// What is still to come of the request.
enum Rest {
    Length(u64),
    Chunked(Box<ChunkedDecoder>),
    Nothing,
}

/// What came of giving bytes to a request.
pub(super) enum Feed {
    /// It took so many, and wants more.
    More(usize),
    /// It took so many, and is complete.
    Done(usize),
    /// They are no body.
    Refused(RequestError),
}

impl Exchange {
    /// A request with this head has come. `sender` takes its body, if it has one.
    #[inline]
    pub(super) fn new(
        head: &RequestHead,
        sender: Option<BodySender>,
        log: Option<Box<Entry>>,
    ) -> Self {
        Self {
            method: head.parts.method.clone(),
            version: head.parts.version,
            connects_nowhere: head.parts.method == Method::CONNECT
                && head.parts.uri.authority().is_none(),
            keep_alive: head.keep_alive,
            is_the_last: !head.keep_alive,
            status: StatusCode::OK,
            sent: 0,
            log,
            task: None,
            source: Source::Handler,
            gate: None,
            rest: match head.body {
                BodyLength::None | BodyLength::Length(0) => Rest::Nothing,
                BodyLength::Length(length) => Rest::Length(length),
                BodyLength::Chunked => Rest::Chunked(Box::default()),
            },
            sender,
            expect_continue: head.expect_continue,
            pace: BodyPace::default(),
            upgrades: Upgrade::offers(&head.parts),
        }
    }

    /// Gives it the bytes that follow.
    pub(super) fn feed(&mut self, input: &[u8]) -> Feed {
        let mut at = 0;
        loop {
            if matches!(self.rest, Rest::Nothing) {
                return Feed::Done(at);
            }
            // What waits for its reader waits in the buffer of the connection from here on.
            if at == input.len() || self.body_is_full() {
                return Feed::More(at);
            }
            let sender = self.sender.as_ref();
            match &mut self.rest {
                Rest::Nothing => {}
                Rest::Length(left) => {
                    let rest = &input[at..];
                    let step = usize::try_from(*left).map_or(rest.len(), |n| n.min(rest.len()));
                    at += step;
                    *left -= step as u64;
                    if let Some(sender) = sender {
                        sender.push(&rest[..step]);
                    }
                    if *left == 0 {
                        self.finish_body(Ok(None));
                    }
                }
                Rest::Chunked(decoder) => match decoder.decode(&input[at..]) {
                    Ok((consumed, event)) => {
                        at += consumed;
                        match event {
                            Event::Data(data) => {
                                if let Some(sender) = sender {
                                    sender.push(data);
                                }
                            }
                            Event::End(trailers) => self.finish_body(Ok(Some(trailers))),
                            Event::NeedMore => return Feed::More(at),
                        }
                    }
                    Err(error) => {
                        self.finish_body(Err(BodyError::Malformed(error)));
                        return Feed::Refused(error);
                    }
                },
            }
        }
    }

    fn finish_body(&mut self, end: Result<Option<HeaderMap>, BodyError>) {
        self.rest = Rest::Nothing;
        if let Some(sender) = &self.sender {
            sender.finish(end.map(|trailers| trailers.filter(|trailers| !trailers.is_empty())));
        }
    }

    /// Queues more of an answer that is all there, until enough is queued.
    #[inline]
    pub(super) fn fill(&mut self, transport: &mut Transport) {
        let Source::Segments(segments) = &mut self.source else {
            return;
        };
        while let Some(mut segment) = segments.pop_front() {
            if let Segment::Bytes(bytes) = &mut segment
                && bytes.len() > PIECE
            {
                let rest = bytes.split_off(PIECE);
                segments.push_front(Segment::Bytes(rest));
            }
            self.sent += segment.len();
            transport.write_segment(segment);
            if !segments.is_empty() && transport.unsent() > QUEUE_AHEAD {
                return transport.await_drain();
            }
        }
        self.source = Source::Done;
    }

    /// Whether an answer with `status` may end HTTP on the connection. (While the body of the
    /// request goes on, nobody could tell where it ends and the other protocol begins.)
    #[inline]
    pub(super) fn may_end_http(&self, status: StatusCode) -> bool {
        let may = match self.method {
            Method::CONNECT => status.is_success(),
            _ => status == StatusCode::SWITCHING_PROTOCOLS && self.version == Version::HTTP_11,
        };
        may && self.body_is_complete()
    }

    /// Whether the request asked for each protocol that an answer with these fields switches to (RFC
    /// 9110, section 7.8).
    #[cold]
    pub(super) fn has_asked_for(&self, answer: &HeaderMap) -> bool {
        let offered = self.upgrades.iter().flatten();
        let offered: Vec<&[u8]> = offered
            .flat_map(|value| list_elements(value.as_bytes()))
            .collect();
        let mut chosen = answer
            .get_all(UPGRADE)
            .iter()
            .flat_map(|value| list_elements(value.as_bytes()))
            .peekable();
        chosen.peek().is_some()
            && chosen.all(|one| offered.iter().any(|offer| offer.eq_ignore_ascii_case(one)))
    }

    pub(super) fn take_upgrade(&mut self) -> Option<Box<dyn Protocol>> {
        match std::mem::replace(&mut self.source, Source::Done) {
            Source::Upgrade(protocol) => Some(protocol),
            other => {
                self.source = other;
                None
            }
        }
    }

    /// Whether an interim response may go out now. The last `100 Continue` is the one.
    pub(super) fn may_send_interim(&mut self, status: StatusCode) -> bool {
        let may = !self.is_begun();
        self.expect_continue &= !(may && status == StatusCode::CONTINUE);
        may
    }

    /// Whether all of the answer is queued.
    pub(super) fn is_answered(&self) -> bool {
        matches!(self.source, Source::Done)
    }

    /// Whether it has ended, and the next request may come.
    pub(super) fn is_over(&self) -> bool {
        self.keep_alive && self.is_answered() && self.body_is_complete()
    }

    /// Whether some of the answer is queued.
    pub(super) fn is_begun(&self) -> bool {
        !matches!(self.source, Source::Handler)
    }

    /// Whether all of the answer is queued, nobody reads what may still come of the request, and
    /// it is not to be skipped: the connection ends with the answer, or too much is left.
    pub(super) fn is_given_up(&self, skip_at_most: u64) -> bool {
        let skipped = self.keep_alive && self.may_skip_body(skip_at_most);
        self.is_answered() && !self.body_is_complete() && self.body_is_dropped() && !skipped
    }

    pub(super) fn is_sending_segments(&self) -> bool {
        matches!(self.source, Source::Segments(_))
    }

    pub(super) fn body_is_complete(&self) -> bool {
        matches!(self.rest, Rest::Nothing)
    }

    /// Whether the reader of the body does not keep up.
    pub(super) fn body_is_full(&self) -> bool {
        self.sender.as_ref().is_some_and(BodySender::is_full)
    }

    /// Whether the peer is expected to send.
    pub(super) fn is_reading_body(&self) -> bool {
        !self.body_is_complete() && !self.expect_continue
    }

    /// Whether the connection can go on after this request: its body is read or will be, or what
    /// is left of it is short enough to be skipped.
    pub(super) fn may_skip_body(&self, at_most: u64) -> bool {
        match &self.rest {
            Rest::Nothing => true,
            _ if self.expect_continue => false,
            Rest::Length(left) => *left <= at_most || !self.body_is_dropped(),
            Rest::Chunked(_) => !self.body_is_dropped(),
        }
    }

    /// Whether somebody may still read what is to come of the body.
    pub(super) fn may_have_reader(&self) -> bool {
        !self.body_is_complete() && !self.body_is_dropped()
    }

    fn body_is_dropped(&self) -> bool {
        self.sender.as_ref().is_none_or(BodySender::is_dropped)
    }

    /// The answer has begun: there will be no `100 Continue` any more, and a body that nobody
    /// reads, on a connection that ends, is not waited for.
    pub(super) fn give_up_body(&mut self) {
        self.expect_continue = false;
        if !self.keep_alive && self.body_is_dropped() {
            self.sender = None;
        }
    }

    /// Whether `100 Continue` is to be sent now.
    pub(super) fn take_continue(&mut self) -> bool {
        let wanted = self.sender.as_ref().is_some_and(BodySender::is_wanted);
        wanted && !self.is_begun() && std::mem::take(&mut self.expect_continue)
    }

    pub(super) fn watch_body(&self) -> Option<BodySender> {
        self.sender.as_ref().map(BodySender::another)
    }

    pub(super) fn open_gate(&self) {
        if let Some(gate) = &self.gate {
            gate.open();
        }
    }

    pub(super) fn end_task(&mut self) {
        if let Some(task) = self.task.take() {
            task.cancel();
        }
    }

    /// What the answer says for the log beside its status.
    pub(super) fn note(&mut self, extensions: &Extensions) {
        if let Some(log) = &mut self.log {
            log.answered(extensions);
        }
    }

    /// It has ended, by an answer.
    pub(super) fn log_answered(&self) {
        self.log(self.status.as_u16());
    }

    /// It has ended, with this status or by it.
    pub(super) fn log(&self, status: u16) {
        if let Some(log) = &self.log {
            let streamed = self.gate.as_ref().map(|gate| gate.sent());
            log.finish(status, streamed.unwrap_or(self.sent));
        }
    }

    /// The same, for a request whose client has left before all was answered.
    pub(super) fn log_cut(&self) {
        self.log(match self.is_begun() {
            true => self.status.as_u16(),
            false => CLIENT_CLOSED,
        });
    }

    /// The peer is gone: the handler is dropped, and whoever reads the body is told.
    pub(super) fn cancel(&mut self) {
        self.end_task();
        if !self.body_is_complete() {
            self.finish_body(Err(BodyError::Disconnected));
        }
    }
}
