//! What the fields of an answer say that concerns its framing and its connection.
//!
//! They are looked through once, before the head is written: framing, persistence and the head
//! itself all ask. (An answer's fields are few, so that looking at each is cheaper than a look-up.)

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderMap, HeaderName, TRANSFER_ENCODING};

use super::body_length::parse_content_length;
use super::fields::list_elements;
use super::response_framing::FramingError;

/// A handler's fields, with what was found in them.
///
/// ```
/// use http::HeaderMap;
/// use ropewalk_web::h1::ResponseFields;
///
/// let mut headers = HeaderMap::new();
/// assert!(!ResponseFields::new(&headers).ask_to_close());
/// headers.insert("connection", "Close".parse().unwrap());
/// assert!(ResponseFields::new(&headers).ask_to_close());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ResponseFields<'a> {
    headers: &'a HeaderMap,
    lengths: u8,
    codings: bool,
    options: bool,
    dates: bool,
}

impl<'a> ResponseFields<'a> {
    /// Looks through `headers`.
    #[must_use]
    #[inline]
    pub fn new(headers: &'a HeaderMap) -> Self {
        let (mut lengths, mut codings, mut options, mut dates) = (0u8, false, false, false);
        for (name, _) in headers {
            match name {
                name if name == CONTENT_LENGTH => lengths = lengths.saturating_add(1),
                name if name == TRANSFER_ENCODING => codings = true,
                name if name == CONNECTION => options = true,
                name => dates |= name == DATE,
            }
        }
        Self {
            headers,
            lengths,
            codings,
            options,
            dates,
        }
    }

    /// Whether the handler asks for the connection to be closed: `connection: close`.
    #[must_use]
    pub fn ask_to_close(&self) -> bool {
        self.options
            && self
                .options()
                .any(|option| option.eq_ignore_ascii_case(b"close"))
    }

    /// The length that the handler declares, if it does.
    pub(super) fn declared_length(&self) -> Result<Option<u64>, FramingError> {
        match self.lengths {
            0 => Ok(None),
            1 => {
                let value = self.headers.get(CONTENT_LENGTH);
                let length = value.and_then(|value| parse_content_length(value.as_bytes()));
                length.map(Some).ok_or(FramingError::InvalidContentLength)
            }
            _ => Err(FramingError::InvalidContentLength),
        }
    }

    pub(super) fn have_date(&self) -> bool {
        self.dates
    }

    pub(super) fn have_options(&self) -> bool {
        self.options
    }

    /// The elements of all `connection` fields.
    pub(super) fn options(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let values = self.headers.get_all(CONNECTION).iter();
        values.flat_map(|value| list_elements(value.as_bytes()))
    }

    /// Calls `write` with those that are sent as they are: what says where the body ends, and
    /// whether the connection lasts, is said by others.
    #[inline]
    pub(super) fn for_each_sent(&self, mut write: impl FnMut(&str, &[u8])) {
        let all_are_sent = self.lengths == 0 && !self.codings && !self.options;
        for (name, value) in self.headers {
            if all_are_sent || !is_ours(name) {
                write(name.as_str(), value.as_bytes());
            }
        }
    }
}

fn is_ours(name: &HeaderName) -> bool {
    name == CONTENT_LENGTH || name == TRANSFER_ENCODING || name == CONNECTION
}
