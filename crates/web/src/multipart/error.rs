//! What is wrong with a form.

use std::error::Error;
use std::fmt;

use http::StatusCode;

use crate::answer::Rejection;

/// Why a form cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MultipartError {
    /// The `Content-Type` has no boundary, or one that is none (RFC 2046, section 5.1.1).
    Boundary,
    /// Something else than the end of the line follows a boundary.
    Delimiter,
    /// The head of a part is malformed.
    Head,
    /// A part does not say its name.
    NoName,
    /// It ended before its last boundary.
    Incomplete,
    /// The head of a part is longer than its limit.
    HeadTooLarge,
    /// There are more parts than the limit.
    TooManyFields,
    /// A field, or all of them, or a file, is longer than its limit.
    FieldTooLarge,
}

impl fmt::Display for MultipartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boundary => "the form's Content-Type says no boundary of 1 to 70 characters",
            Self::Delimiter => "something follows a boundary of the form on its line",
            Self::Head => "the head of a part of the form is malformed",
            Self::NoName => "a part of the form has no Content-Disposition with a name",
            Self::Incomplete => "the form ends before its last boundary",
            Self::HeadTooLarge => "the head of a part of the form is longer than allowed",
            Self::TooManyFields => "the form has more parts than allowed",
            Self::FieldTooLarge => "a part of the form is longer than allowed",
        })
    }
}

impl Error for MultipartError {}

/// 413 for what is too much, 400 for what is malformed.
impl From<MultipartError> for Rejection {
    fn from(error: MultipartError) -> Self {
        let status = match error {
            MultipartError::HeadTooLarge
            | MultipartError::TooManyFields
            | MultipartError::FieldTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.to_string())
    }
}
