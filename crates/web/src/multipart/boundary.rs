//! The boundary of a form, from its `Content-Type`.

use super::disposition::parameters;
use super::error::MultipartError;

/// The longest boundary (RFC 2046, section 5.1.1).
const LONGEST: usize = 70;

/// The boundary that `content_type` says; `None` if that is no `multipart/form-data`.
///
/// ```
/// use ropewalk_web::multipart::boundary_of;
///
/// let boundary = boundary_of(b"multipart/form-data; boundary=\"a b\"").unwrap()?;
/// assert_eq!(boundary, b"a b");
/// assert!(boundary_of(b"text/plain").is_none());
/// # Ok::<(), ropewalk_web::multipart::MultipartError>(())
/// ```
#[must_use]
pub fn boundary_of(content_type: &[u8]) -> Option<Result<Vec<u8>, MultipartError>> {
    let (essence, parameters) = parameters(content_type);
    if !essence.eq_ignore_ascii_case(b"multipart/form-data") {
        return None;
    }
    let boundary = parameters.into_iter().find(|(name, _)| name == "boundary");
    let boundary = boundary.map(|(_, value)| value).filter(|value| {
        let plain = value.iter().all(|byte| matches!(byte, b' '..=b'~'));
        (1..=LONGEST).contains(&value.len()) && plain && !value.ends_with(b" ")
    });
    Some(boundary.ok_or(MultipartError::Boundary))
}
