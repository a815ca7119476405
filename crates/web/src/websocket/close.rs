//! Why a WebSocket is closed: RFC 6455, sections 5.5.1 and 7.4.

use std::fmt;

use ropewalk_core::Failure;

use super::WebSocketError;
use super::frame_header::LONGEST_CONTROL;

/// A status code of RFC 6455, section 7.4. Others, 3000 to 4999, are made by `CloseCode(4000)`.
///
/// ```
/// use ropewalk_web::websocket::CloseCode;
///
/// assert!(CloseCode::GOING_AWAY.is_sendable() && CloseCode(4321).is_sendable());
/// assert!(!CloseCode::ABNORMAL.is_sendable()); // only told, never sent
/// assert_eq!(CloseCode::PROTOCOL_ERROR.to_string(), "1002 (protocol error)");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(
    /// The number.
    pub u16,
);

impl CloseCode {
    /// What it was for is done.
    pub const NORMAL: Self = Self(1000);
    /// The server is shut down, or the user has left the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// What came breaks the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// What came is of a kind that is not accepted.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// Never sent: the peer's Close had no code.
    pub const NO_STATUS: Self = Self(1005);
    /// Never sent: no Close came.
    pub const ABNORMAL: Self = Self(1006);
    /// A text was not UTF-8, or a compressed message cannot be decompressed.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// What came breaks a rule of the application.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// A message is longer than is accepted.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// A client wanted an extension that the server did not agree to.
    pub const MANDATORY_EXTENSION: Self = Self(1010);
    /// The server cannot go on.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// The server is restarted.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// The server has too much to do.
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// A gateway was answered wrongly.
    pub const BAD_GATEWAY: Self = Self(1014);

    /// Whether it may stand in a Close frame (sections 7.4.1 and 7.4.2, and the registry).
    #[must_use]
    pub fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::NORMAL => "normal",
            Self::GOING_AWAY => "going away",
            Self::PROTOCOL_ERROR => "protocol error",
            Self::UNSUPPORTED_DATA => "unsupported data",
            Self::NO_STATUS => "no status",
            Self::ABNORMAL => "no close frame",
            Self::INVALID_PAYLOAD => "invalid payload",
            Self::POLICY_VIOLATION => "policy violation",
            Self::MESSAGE_TOO_BIG => "message too big",
            Self::MANDATORY_EXTENSION => "mandatory extension",
            Self::INTERNAL_ERROR => "internal error",
            Self::SERVICE_RESTART => "service restart",
            Self::TRY_AGAIN_LATER => "try again later",
            Self::BAD_GATEWAY => "bad gateway",
            _ => return None,
        })
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{} ({name})", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

/// How a WebSocket ended, as a browser's `CloseEvent` tells it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Closed {
    /// The code of the peer's Close, or [`CloseCode::NO_STATUS`] if it had none; the code that this
    /// side sent, if it refused what came; [`CloseCode::ABNORMAL`] if it just ended.
    pub code: CloseCode,
    /// What was said about it; often nothing.
    pub reason: String,
    /// Both sides have sent a Close.
    pub was_clean: bool,
    /// How the connection under it ended.
    pub failure: Failure,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the WebSocket was closed: {}", self.code)?;
        if !self.reason.is_empty() {
            write!(f, ", {}", self.reason)?;
        }
        if !self.was_clean {
            write!(f, "; {}", self.failure)?;
        }
        Ok(())
    }
}

impl std::error::Error for Closed {}

/// What a Close frame carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CloseFrame {
    pub(crate) code: CloseCode,
    pub(crate) reason: String,
}

impl CloseFrame {
    /// Reads the payload of a Close frame. `None` if it is empty.
    pub(crate) fn parse(payload: &[u8]) -> Result<Option<Self>, WebSocketError> {
        let Some((code, reason)) = payload.split_first_chunk::<2>() else {
            return match payload {
                [] => Ok(None),
                _ => Err(WebSocketError::ShortClose),
            };
        };
        let code = CloseCode(u16::from_be_bytes(*code));
        if !code.is_sendable() {
            return Err(WebSocketError::CloseCode(code));
        }
        let reason = std::str::from_utf8(reason).map_err(|_| WebSocketError::InvalidUtf8)?;
        let reason = reason.to_owned();
        Ok(Some(Self { code, reason }))
    }

    /// The payload of a Close frame. The reason is cut to what fits; a code that may not be sent
    /// stands for none.
    pub(crate) fn encode(code: CloseCode, reason: &str) -> Vec<u8> {
        if !code.is_sendable() {
            return Vec::new();
        }
        let mut payload = code.0.to_be_bytes().to_vec();
        let end = reason.floor_char_boundary(LONGEST_CONTROL - payload.len());
        payload.extend_from_slice(&reason.as_bytes()[..end]);
        payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_are_reserved_or_undefined_are_refused() {
        for code in [
            0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
        ] {
            let payload = u16::to_be_bytes(code);
            let parsed = CloseFrame::parse(&payload);
            assert_eq!(parsed, Err(WebSocketError::CloseCode(CloseCode(code))));
            assert_eq!(CloseFrame::encode(CloseCode(code), "why"), b"");
        }
        for code in [
            1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999,
        ] {
            let payload = CloseFrame::encode(CloseCode(code), "why");
            let frame = CloseFrame::parse(&payload).unwrap().unwrap();
            assert_eq!((frame.code.0, &frame.reason[..]), (code, "why"));
        }
    }

    #[test]
    fn a_payload_is_empty_or_begins_with_a_code() {
        assert_eq!(CloseFrame::parse(b""), Ok(None));
        assert_eq!(CloseFrame::parse(b"\x03"), Err(WebSocketError::ShortClose));
        let bad = CloseFrame::parse(b"\x03\xe8\xff");
        assert_eq!(bad, Err(WebSocketError::InvalidUtf8));
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let reason = "é".repeat(100);
        let payload = CloseFrame::encode(CloseCode::NORMAL, &reason);
        assert_eq!(payload.len(), 124);
        assert_eq!(
            CloseFrame::parse(&payload).unwrap().unwrap().reason,
            "é".repeat(61)
        );
    }
}
