//! How often a peer may say what costs it nothing (RFC 9113, section 10.5).
//!
//! The heads of frames are seen as their bytes go by, both ways, before anything is made of them. A
//! count of tokens for each kind of frame that a peer can send for ever, without opening a stream
//! or using up a window, says when it is too much.

use std::time::Instant;

use h2::Reason;

use super::frame_scan::{
    CONTINUATION, DATA, Found, FrameScan, GOAWAY, HEADERS, PING, PRIORITY, PUSH_PROMISE,
    RST_STREAM, SETTINGS, WINDOW_UPDATE,
};
use super::limits::{Limits, Rate};

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
    /// The type of the frame that came last.
    kind: u8,
    outgoing: FrameScan,
    /// The first frame of a connection must be SETTINGS (section 3.4).
    has_settings: bool,
    settings_acked: bool,
    settings_applied: bool,
    goes_away: bool,
    /// CONTINUATION frames of a field section that has begun and not ended.
    continuations: Option<u32>,
    most_continuations: u32,
    resets_sent: usize,
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
}

impl Governor {
    /// For what clients send, which begins with the preface.
    #[must_use]
    pub fn for_server(limits: &Limits, now: Instant) -> Self {
        Self::new(limits, now, super::PREFACE.len(), 0)
    }

    /// For what servers send; this side begins with the preface.
    #[must_use]
    pub fn for_client(limits: &Limits, now: Instant) -> Self {
        Self::new(limits, now, 0, super::PREFACE.len())
    }

    fn new(limits: &Limits, now: Instant, their_preface: usize, our_preface: usize) -> Self {
        let tokens = |rate| Tokens::new(rate, now);
        Self {
            incoming: FrameScan::new(their_preface),
            kind: SETTINGS,
            outgoing: FrameScan::new(our_preface),
            has_settings: false,
            settings_acked: false,
            settings_applied: false,
            goes_away: false,
            continuations: None,
            most_continuations: limits.continuations,
            resets_sent: 0,
            reset: tokens(limits.reset_rate),
            ping: tokens(limits.ping_rate),
            settings: tokens(limits.settings_rate),
            priority: tokens(limits.priority_rate),
            empty_data: tokens(limits.empty_data_rate),
            window_update: tokens(limits.window_update_rate),
            unknown: tokens(limits.unknown_rate),
        }
    }

    /// `data` has come at `now`, split anywhere.
    ///
    /// # Errors
    /// The peer does too much of something, or begins with another frame than SETTINGS.
    pub fn received(&mut self, now: Instant, mut data: &[u8]) -> Result<(), Excess> {
        while let Some(frame) = self.incoming.next(&mut data) {
            self.admit(now, frame)?;
        }
        Ok(())
    }

    /// `data` is sent.
    pub fn sent(&mut self, mut data: &[u8]) {
        while let Some(Found { head, .. }) = self.outgoing.next(&mut data) {
            match head.kind {
                DATA => self.window_update.credit(UPDATES_EACH),
                RST_STREAM => self.resets_sent += 1,
                SETTINGS if head.is_ack() => self.settings_applied = true,
                _ => {}
            }
        }
    }

    /// How many streams this side has reset.
    pub(super) fn resets_sent(&self) -> usize {
        self.resets_sent
    }

    /// Whether the peer has acknowledged the first SETTINGS.
    pub(super) fn settings_are_acknowledged(&self) -> bool {
        self.settings_acked
    }

    /// Whether this side has acknowledged the first SETTINGS of the peer.
    pub(super) fn settings_are_applied(&self) -> bool {
        self.settings_applied
    }

    /// Whether the peer has said that it goes away.
    pub(super) fn is_going_away(&self) -> bool {
        self.goes_away
    }

    /// Whether a field section has begun and not ended.
    pub(super) fn head_is_under_way(&self) -> bool {
        let within = matches!(self.kind, HEADERS | CONTINUATION) && self.incoming.is_within();
        within || self.continuations.is_some()
    }

    fn admit(&mut self, now: Instant, frame: Found) -> Result<(), Excess> {
        let head = frame.head;
        self.kind = head.kind;
        self.goes_away |= head.kind == GOAWAY;
        if !self.has_settings {
            if head.kind != SETTINGS || head.is_ack() {
                return Err(Excess::first_frame());
            }
            self.has_settings = true;
        }
        let (tokens, what) = match head.kind {
            DATA if frame.content > 0 || head.ends_stream() => return Ok(()),
            DATA => (&mut self.empty_data, "DATA frames without data"),
            HEADERS | PUSH_PROMISE => {
                self.window_update.credit(UPDATES_EACH);
                self.continuations = (!head.ends_headers()).then_some(0);
                return Ok(());
            }
            CONTINUATION => return self.go_on(head.ends_headers()),
            PRIORITY => (&mut self.priority, "PRIORITY frames"),
            RST_STREAM => (&mut self.reset, "RST_STREAM frames"),
            SETTINGS if head.is_ack() && !self.settings_acked => {
                self.settings_acked = true;
                return Ok(());
            }
            SETTINGS | GOAWAY => (&mut self.settings, "SETTINGS or GOAWAY frames"),
            PING => (&mut self.ping, "PING frames"),
            WINDOW_UPDATE => (&mut self.window_update, "WINDOW_UPDATE frames"),
            _ => (&mut self.unknown, "frames of unknown types"),
        };
        tokens.take(now).then_some(()).ok_or(Excess::of(what))
    }

    /// A CONTINUATION has come. (One that continues nothing is an error of its own.)
    fn go_on(&mut self, is_last: bool) -> Result<(), Excess> {
        let count = self.continuations.map_or(1, |count| count + 1);
        if count > self.most_continuations {
            return Err(Excess::of("CONTINUATION frames"));
        }
        self.continuations = (!is_last).then_some(count);
        Ok(())
    }
}

impl Excess {
    fn of(what: &'static str) -> Self {
        Self {
            reason: Reason::ENHANCE_YOUR_CALM,
            what,
        }
    }

    fn first_frame() -> Self {
        Self {
            reason: Reason::PROTOCOL_ERROR,
            what: "other frames before SETTINGS",
        }
    }

    /// The code of the GOAWAY.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }
}

impl std::fmt::Display for Excess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the peer sends too many {}", self.what)
    }
}

impl std::error::Error for Excess {}

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
