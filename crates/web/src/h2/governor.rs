//! How often a peer may say what costs it nothing (RFC 9113, section 10.5).
//!
//! The heads of frames are seen as their bytes go by, both ways, before anything is made of them. A
//! count of tokens for each kind of frame that a peer can send for ever, without opening a stream
//! or using up a window, says when it is too much.

use std::time::Instant;

use h2::Reason;

use super::PREFACE;
use super::frame_scan::{
    CONTINUATION, DATA, Found, FrameHead, FrameScan, GOAWAY, HEAD, HEADERS, PING, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE,
};
use super::limits::{Limits, Rate};

/// The largest window there can be (section 6.9.1).
const LARGEST_WINDOW: i64 = 0x7fff_ffff;

/// WINDOW_UPDATE frames that a peer may send for each stream, and each DATA frame that it gets.
const UPDATES_EACH: u32 = 4;

/// Watches the frames of one connection.
///
/// ```
/// use ropewalk_web::h2::{Governor, Limits};
/// use std::time::Instant;
///
/// let (limits, now) = (Limits::default(), Instant::now());
/// let mut governor = Governor::for_server(&limits, now);
/// let settings = b"\0\0\0\x04\0\0\0\0\0";
/// let ping = b"\0\0\x08\x06\0\0\0\0\0bystroem";
/// governor.received(now, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
/// governor.received(now, settings).unwrap();
/// let pings = (0..).take_while(|_| governor.received(now, ping).is_ok()).count();
/// assert_eq!(pings, limits.ping_rate.burst as usize);
/// ```
pub struct Governor {
    incoming: FrameScan,
    outgoing: FrameScan,
    rules: Rules,
}

/// What has come, and what may still.
struct Rules {
    is_server: bool,
    /// The type of the frame that came last.
    kind: u8,
    /// Frames that have come, other than those that continue one.
    frames: u64,
    /// The first frame of a connection must be SETTINGS (section 3.4).
    has_settings: bool,
    settings_acked: bool,
    settings_applied: bool,
    goes_away: bool,
    /// The stream that the peer opened last.
    opened: u32,
    /// CONTINUATION frames of a field section that has begun and not ended.
    continuations: Option<u32>,
    most_continuations: u32,
    resets_sent: usize,
    data_sent: u64,
    growth: Growth,
    reset: Tokens,
    ping: Tokens,
    settings: Tokens,
    priority: Tokens,
    empty_data: Tokens,
    window_update: Tokens,
    unknown: Tokens,
}

/// Why a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    reason: Reason,
    what: &'static str,
    at: usize,
}

impl Governor {
    /// For what clients send, which begins with the preface.
    #[must_use]
    pub fn for_server(limits: &Limits, now: Instant) -> Self {
        Self {
            incoming: FrameScan::new(PREFACE.len()),
            outgoing: FrameScan::new(0),
            rules: Rules::new(limits, now, true),
        }
    }

    /// For what servers send; this side begins with the preface.
    #[must_use]
    pub fn for_client(limits: &Limits, now: Instant) -> Self {
        Self {
            incoming: FrameScan::new(0),
            outgoing: FrameScan::new(PREFACE.len()),
            rules: Rules::new(limits, now, false),
        }
    }

    /// `data` has come at `now`, split anywhere.
    ///
    /// # Errors
    /// The peer does too much of something, or begins with another frame than SETTINGS.
    pub fn received(&mut self, now: Instant, data: &[u8]) -> Result<(), Excess> {
        let mut rest = data;
        while let Some(frame) = self.incoming.next(&mut rest) {
            let looked_at = HEAD + frame.payload.len();
            let verdict = self.rules.admit(now, &frame);
            verdict.map_err(|excess| Excess {
                at: (data.len() - rest.len()).saturating_sub(looked_at),
                ..excess
            })?;
        }
        Ok(())
    }

    /// `data` is sent.
    pub fn sent(&mut self, mut data: &[u8]) {
        while let Some(Found { head, .. }) = self.outgoing.next(&mut data) {
            match head.kind {
                DATA => {
                    self.rules.data_sent += head.length as u64;
                    self.rules.window_update.credit(UPDATES_EACH);
                    self.rules.growth.shrink(head.stream, head.length);
                }
                RST_STREAM => self.rules.resets_sent += 1,
                SETTINGS if head.is_ack() => self.rules.settings_applied = true,
                _ => {}
            }
        }
    }

    /// The stream whose window the peer has made larger than one can be, if it has since the last call.
    pub(super) fn take_overrun(&mut self) -> Option<u32> {
        self.rules.growth.overrun.take()
    }

    /// How many streams this side has reset.
    pub(super) fn resets_sent(&self) -> usize {
        self.rules.resets_sent
    }

    /// Whether the peer has acknowledged the first SETTINGS.
    pub(super) fn settings_are_acknowledged(&self) -> bool {
        self.rules.settings_acked
    }

    /// Whether this side has acknowledged the first SETTINGS of the peer.
    pub(super) fn settings_are_applied(&self) -> bool {
        self.rules.settings_applied
    }

    /// Whether the peer has said that it goes away.
    pub(super) fn is_going_away(&self) -> bool {
        self.rules.goes_away
    }

    /// Bytes of content that were sent, on all streams.
    pub(super) fn data_sent(&self) -> u64 {
        self.rules.data_sent
    }

    /// The number of the head of a frame, or of the field section, that has begun and not ended.
    pub(super) fn head_under_way(&self) -> Option<u64> {
        let within_head = self.incoming.is_within_head();
        let fields = matches!(self.rules.kind, HEADERS | CONTINUATION);
        let within_fields = fields && self.incoming.is_within();
        let goes_on = self.rules.continuations.is_some();
        let number = self.rules.frames + u64::from(within_head && !goes_on);
        (within_head || within_fields || goes_on).then_some(number)
    }
}

impl Rules {
    fn new(limits: &Limits, now: Instant, is_server: bool) -> Self {
        let tokens = |rate| Tokens::new(rate, now);
        Self {
            is_server,
            kind: SETTINGS,
            frames: 0,
            has_settings: false,
            settings_acked: false,
            settings_applied: false,
            goes_away: false,
            opened: 0,
            continuations: None,
            most_continuations: limits.continuations,
            resets_sent: 0,
            data_sent: 0,
            growth: Growth::default(),
            reset: tokens(limits.reset_rate),
            ping: tokens(limits.ping_rate),
            settings: tokens(limits.settings_rate),
            priority: tokens(limits.priority_rate),
            empty_data: tokens(limits.empty_data_rate),
            window_update: tokens(limits.window_update_rate),
            unknown: tokens(limits.unknown_rate),
        }
    }

    fn admit(&mut self, now: Instant, frame: &Found<'_>) -> Result<(), Excess> {
        let head = frame.head;
        if !has_its_length(head) {
            return Err(Excess::of(
                Reason::FRAME_SIZE_ERROR,
                "a frame of a wrong length",
            ));
        }
        self.kind = head.kind;
        self.frames += u64::from(head.kind != CONTINUATION);
        self.goes_away |= head.kind == GOAWAY;
        if !self.has_settings {
            if head.kind != SETTINGS || head.is_ack() {
                let what = "another frame before SETTINGS";
                return Err(Excess::of(Reason::PROTOCOL_ERROR, what));
            }
            self.has_settings = true;
        }
        let (tokens, what) = match head.kind {
            DATA if !frame.is_empty() || head.ends_stream() => return Ok(()),
            DATA => (&mut self.empty_data, "too many DATA frames without data"),
            HEADERS | PUSH_PROMISE => return self.begin_fields(frame),
            CONTINUATION => return self.go_on(head.ends_headers()),
            PRIORITY => (&mut self.priority, "too many PRIORITY frames"),
            RST_STREAM => (&mut self.reset, "too many RST_STREAM frames"),
            SETTINGS if head.is_ack() && !self.settings_acked => {
                self.settings_acked = true;
                return Ok(());
            }
            SETTINGS | GOAWAY => (&mut self.settings, "too many SETTINGS or GOAWAY frames"),
            PING => (&mut self.ping, "too many PING frames"),
            WINDOW_UPDATE => {
                self.growth.grow(frame);
                (&mut self.window_update, "too many WINDOW_UPDATE frames")
            }
            _ => (&mut self.unknown, "too many frames of unknown types"),
        };
        let calm = Excess::of(Reason::ENHANCE_YOUR_CALM, what);
        tokens.take(now).then_some(()).ok_or(calm)
    }

    /// A field section begins: a request, or trailers.
    fn begin_fields(&mut self, frame: &Found<'_>) -> Result<(), Excess> {
        let head = frame.head;
        self.window_update.credit(UPDATES_EACH);
        self.continuations = (!head.ends_headers()).then_some(0);
        if self.is_server && head.stream <= self.opened && begins_with_pseudo_field(frame) {
            let what = "a pseudo-field in trailers";
            return Err(Excess::of(Reason::PROTOCOL_ERROR, what));
        }
        self.opened = self.opened.max(head.stream);
        Ok(())
    }

    /// A CONTINUATION has come. (One that continues nothing is an error of its own.)
    fn go_on(&mut self, is_last: bool) -> Result<(), Excess> {
        let count = self.continuations.map_or(1, |count| count + 1);
        if count > self.most_continuations {
            let what = "too many CONTINUATION frames";
            return Err(Excess::of(Reason::ENHANCE_YOUR_CALM, what));
        }
        self.continuations = (!is_last).then_some(count);
        Ok(())
    }
}

impl Excess {
    fn of(reason: Reason, what: &'static str) -> Self {
        Self {
            reason,
            what,
            at: 0,
        }
    }

    /// Where the frame begins, in the bytes that came last.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The code of the GOAWAY.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }
}

impl std::fmt::Display for Excess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the peer sends {}", self.what)
    }
}

impl std::error::Error for Excess {}

/// Whether its payload is as long as its type asks for (section 4.2). What depends on a payload is left
/// to who reads it.
fn has_its_length(head: FrameHead) -> bool {
    match head.kind {
        PRIORITY => head.length == 5,
        RST_STREAM | WINDOW_UPDATE => head.length == 4,
        SETTINGS if head.is_ack() => head.length == 0,
        SETTINGS => head.length.is_multiple_of(6),
        PING => head.length == 8,
        GOAWAY => head.length >= 8,
        _ => true,
    }
}

/// Whether the first field of a block is a pseudo-field (RFC 7541, section 6): by an index of the
/// static table, whose first 14 are all that are, or by a name that begins with a colon, in Huffman's
/// code or not. In trailers there is none (section 8.1), which the crate does not look at. (One that
/// is named by the dynamic table goes unseen, and is thrown away as all of them are.)
fn begins_with_pseudo_field(frame: &Found<'_>) -> bool {
    let padding = usize::from(frame.head.is_padded());
    let priority = if frame.head.has_priority() { 5 } else { 0 };
    let mut block = frame.payload.get(padding + priority..).unwrap_or_default();
    // Changes of the table's size may stand before.
    while let [0x20..=0x3f, rest @ ..] = block {
        let long = block[0] == 0x3f;
        let digits = rest.iter().take_while(|byte| **byte >= 0x80).count() + 1;
        block = rest
            .get(if long { digits } else { 0 }..)
            .unwrap_or_default();
    }
    match block {
        [first @ 0x81..=0xff, ..] => first & 0x7f <= 14,
        [0x40 | 0x00 | 0x10, length, first, ..] if length & 0x80 == 0 => *first == b':',
        // Seven bits are a colon.
        [0x40 | 0x00 | 0x10, _, first, ..] => first >> 1 == 0b101_1100,
        [first @ 0x41..=0x7f, ..] => first & 0x3f <= 14,
        [first @ 0x01..=0x1f, ..] => first & 0x0f <= 14 && first & 0x0f > 0,
        _ => false,
    }
}

/// By how much the window of a stream has grown at least: that of the stream whose window grew last.
#[derive(Default)]
struct Growth {
    stream: u32,
    bytes: i64,
    overrun: Option<u32>,
}

impl Growth {
    fn grow(&mut self, update: &Found<'_>) {
        let stream = update.head.stream;
        let &[b3, b2, b1, b0] = update.payload else {
            return;
        };
        if stream != self.stream {
            (self.stream, self.bytes) = (stream, 0);
        }
        self.bytes += i64::from(u32::from_be_bytes([b3 & 0x7f, b2, b1, b0]));
        // It began with nothing or more (section 6.9.2).
        if stream > 0 && self.bytes > LARGEST_WINDOW {
            self.overrun = Some(stream);
        }
    }

    /// So much of it was used.
    fn shrink(&mut self, stream: u32, bytes: usize) {
        if stream == self.stream {
            self.bytes -= bytes as i64;
        }
    }
}

/// How many are left, at most `burst`, and more with time.
struct Tokens {
    rate: Rate,
    left: u32,
    /// When the tokens that are left were counted.
    counted: Instant,
}

impl Tokens {
    fn new(rate: Rate, now: Instant) -> Self {
        Self {
            rate,
            left: rate.burst,
            counted: now,
        }
    }

    /// More than the burst may be credited, since it was earned.
    fn credit(&mut self, count: u32) {
        self.left = self.left.saturating_add(count);
    }

    fn take(&mut self, now: Instant) -> bool {
        if self.left == 0 {
            let millis = now.saturating_duration_since(self.counted).as_millis();
            let earned = millis * u128::from(self.rate.per_second) / 1000;
            if earned == 0 {
                return false;
            }
            self.left = u32::try_from(earned).map_or(self.rate.burst, |n| n.min(self.rate.burst));
            self.counted = now;
        }
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => return false,
        }
        true
    }
}
