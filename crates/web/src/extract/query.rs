//! The query of a target.

use http::Request;
use serde::de::DeserializeOwned;

use super::FromRequestHead;
use crate::Body;
use crate::answer::Rejection;

/// The query, as a form encodes it (`a=1&b=two+words`). A name that comes more than once fills a
/// `Vec`, and is an error for anything else.
///
/// ```
/// use ropewalk_web::extract::Query;
/// use serde::Deserialize;
///
/// #[derive(Debug, Deserialize)]
/// struct Page { number: u32, #[serde(default)] tag: Vec<String> }
///
/// let uri = "/?number=3&tag=hot&tag=black".parse()?;
/// let Query(page) = Query::<Page>::of(&uri)?;
/// assert_eq!((page.number, page.tag.len()), (3, 2));
///
/// let error = Query::<Page>::of(&"/?number=three".parse()?).unwrap_err();
/// assert_eq!(error.detail(), "the query's `number`: invalid digit found in string");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> Query<T> {
    /// The query of `uri`; that of one without is empty.
    ///
    /// # Errors
    /// It does not fit into `T`: 400, with the name that doesn't.
    pub fn of(uri: &http::Uri) -> Result<Self, Rejection> {
        let query = uri.query().unwrap_or_default().as_bytes();
        let query = serde_html_form::Deserializer::from_bytes(query);
        serde_path_to_error::deserialize(query)
            .map(Self)
            .map_err(|error| Rejection::bad_request(place("the query", &error)))
    }
}

/// What is wrong, and where.
pub(super) fn place<E: std::fmt::Display>(
    of: &str,
    error: &serde_path_to_error::Error<E>,
) -> String {
    let inner = error.inner();
    match error.path().iter().next() {
        Some(_) => format!("{of}'s `{}`: {inner}", error.path()),
        None => format!("{of}: {inner}"),
    }
}

impl<T: DeserializeOwned> FromRequestHead for Query<T> {
    type Rejection = Rejection;

    fn from_request_head(request: &mut Request<Body>) -> Result<Self, Rejection> {
        Self::of(request.uri()).map_err(|rejection| rejection.for_request(request.headers()))
    }

    fn is_absent(request: &Request<Body>) -> bool {
        request.uri().query().is_none()
    }
}
