//! Why a request was not served, as a value.
//!
//! Extractors, the router and handlers make one. As an answer it is a line of text, or a problem
//! document (RFC 9457) for those whose `Accept` asks for JSON. The answer carries the value in its
//! extensions, so that whoever stands around the service can find it and answer in its own way.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use http::header::{
    ACCEPT, ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, Response, StatusCode};

use super::IntoResponse;
use crate::body::{Body, BodyError};

/// A problem document (RFC 9457).
const PROBLEM: &str = "application/problem+json";

/// A status, and a text that says what is wrong and what to do about it.
///
/// ```
/// use http::{HeaderMap, StatusCode};
/// use ropewalk_web::answer::{IntoResponse, Rejection};
///
/// let rejection = Rejection::new(StatusCode::CONFLICT, "there is a newer version; fetch it first");
/// let mut headers = HeaderMap::new();
/// headers.insert("accept", "application/json".parse()?);
/// let response = rejection.for_request(&headers).into_response();
/// assert_eq!(response.headers()["content-type"], "application/problem+json");
/// assert_eq!(Rejection::of(&response).unwrap().status(), StatusCode::CONFLICT);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    status: StatusCode,
    detail: Cow<'static, str>,
    as_problem: bool,
    accepted: Option<&'static str>,
}

impl Rejection {
    /// A rejection with this status and text. The text is sent to the peer.
    #[must_use]
    pub fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            detail: detail.into(),
            as_problem: false,
            accepted: None,
        }
    }

    /// The content is of another type than this one: 415, with `Accept` (RFC 9110, section 15.5.16).
    pub(crate) fn of_type(accepted: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            accepted: Some(accepted),
            ..Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
        }
    }

    /// The request is not as it should be: 400.
    #[must_use]
    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// There is nothing at this address: 404.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is nothing at this address")
    }

    /// The server is at fault: 500. Why, is for the log alone.
    #[must_use]
    pub fn failed() -> Self {
        let detail = "the server failed to answer; its log says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }

    /// The method is not for this resource: 405, with what is allowed. A method that none of the standards
    /// has is 501 (RFC 9110, section 9.1), and says nothing of this resource.
    pub(crate) fn of_method(
        method: &Method,
        headers: &HeaderMap,
        allow: HeaderValue,
    ) -> Response<Body> {
        if !is_standard(method) {
            let detail = "this server does not know the method";
            let rejection = Self::new(StatusCode::NOT_IMPLEMENTED, detail);
            return rejection.for_request(headers).into_response();
        }
        // As long for HEAD as for GET.
        let detail = "the method is not possible here; the Allow field says what is";
        let rejection = Self::new(StatusCode::METHOD_NOT_ALLOWED, detail);
        let mut response = rejection.for_request(headers).into_response();
        response.headers_mut().insert(ALLOW, allow);
        response
    }

    /// In the form that the request with these headers asks for: `application/problem+json` if its
    /// `Accept` names that, `application/json` or another kind of JSON, otherwise text.
    #[must_use]
    pub fn for_request(mut self, headers: &HeaderMap) -> Self {
        self.as_problem = wants_json(headers);
        self
    }

    /// `response` in the form that a request with this `Accept` asks for, if it is a rejection that does not
    /// know the request.
    pub(crate) fn suited(
        mut response: Response<Body>,
        accept: Option<HeaderValue>,
    ) -> Response<Body> {
        let (Some(own), Some(accept)) = (Self::of(&response), accept) else {
            return response;
        };
        let is_as_it_was = response.body().bytes(own.detail.len() + 1);
        let suited = own
            .clone()
            .for_request(&HeaderMap::from_iter([(ACCEPT, accept)]));
        if suited == *own || is_as_it_was.is_none_or(|text| text != own.text()) {
            return response;
        }
        *response.body_mut() = Body::from(problem(&suited));
        let content_type = HeaderValue::from_static(PROBLEM);
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        response.extensions_mut().insert(suited);
        response
    }

    /// The rejection that `response` was made of, if it was made of one.
    #[must_use]
    pub fn of<B>(response: &Response<B>) -> Option<&Self> {
        response.extensions().get()
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    fn text(&self) -> String {
        format!("{}\n", self.detail)
    }

    /// Its text.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Whether it is answered as `application/problem+json`.
    #[must_use]
    pub fn is_problem(&self) -> bool {
        self.as_problem
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response<Body> {
        let (content_type, content) = match self.as_problem {
            true => (PROBLEM, problem(&self)),
            false => ("text/plain; charset=utf-8", self.text()),
        };
        let mut response = Response::new(Body::from(content));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        // Of which kind it is, the request has said, or may still say.
        headers.insert(VARY, HeaderValue::from_static("accept"));
        if let Some(accepted) = self.accepted {
            headers.insert(ACCEPT, HeaderValue::from_static(accepted));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// A body that could not be read: 413 if it is too long, otherwise 400.
impl From<BodyError> for Rejection {
    fn from(error: BodyError) -> Self {
        let status = match error {
            BodyError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::Malformed(error) => error.status(),
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.to_string())
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl Error for Rejection {}

/// Whether RFC 9110 or RFC 5789 has the method.
fn is_standard(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET
            | Method::HEAD
            | Method::POST
            | Method::PUT
            | Method::DELETE
            | Method::CONNECT
            | Method::OPTIONS
            | Method::TRACE
            | Method::PATCH
    )
}

/// The document of RFC 9457, section 3.1. Its type is that of the status (section 4.2.1).
fn problem(rejection: &Rejection) -> String {
    serde_json::json!({
        "type": "about:blank",
        "title": rejection.status.canonical_reason().unwrap_or("Unknown"),
        "status": rejection.status.as_u16(),
        "detail": rejection.detail,
    })
    .to_string()
}

/// Whether a kind of JSON is named, and not refused by `q=0`. Who takes all (`*/*`) gets text.
fn wants_json(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|range| {
            let mut pieces = range
                .split(';')
                .map(|piece| piece.trim().to_ascii_lowercase());
            let essence = pieces.next().unwrap_or_default();
            let json = essence == "application/json" || essence.ends_with("+json");
            json && !pieces.any(|piece| {
                let weight = piece.strip_prefix("q=").map(str::parse::<f32>);
                matches!(weight, Some(Ok(weight)) if weight <= 0.0)
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_for_those_who_name_it() {
        for (accept, wanted) in [
            ("application/json", true),
            ("application/problem+json", true),
            ("text/html, Application/Vnd.Api+JSON;q=0.5", true),
            ("text/html, application/json;q=0", false),
            ("text/html, application/json; q=0.000", false),
            ("*/*", false),
            ("text/html", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            assert_eq!(wants_json(&headers), wanted, "{accept}");
        }
        assert!(!wants_json(&HeaderMap::new()));
    }

    #[test]
    fn a_problem_says_its_status_and_detail() {
        let rejection = Rejection::bad_request("the \"id\" is no number");
        let problem: serde_json::Value = serde_json::from_str(&problem(&rejection)).unwrap();
        assert_eq!(problem["status"], 400);
        assert_eq!(problem["title"], "Bad Request");
        assert_eq!(problem["detail"], "the \"id\" is no number");
    }
}
