//! JSON, taken and given.

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::FromRequest;
use super::body::{collect, content_type_is, other_type};
use super::query::place;
use crate::Body;
use crate::answer::{IntoResponse, Rejection};

/// A body in JSON (RFC 8259): of a request as an extractor, of an answer as its value.
///
/// A request must say that it is JSON, by `application/json` or a type that ends in `+json`: pages
/// of other sites can have a browser send forms, but not that.
///
/// ```
/// use ropewalk_web::answer::IntoResponse;
/// use ropewalk_web::extract::Json;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Tea { name: String }
///
/// async fn rename(Json(mut tea): Json<Tea>) -> Json<Tea> {
///     tea.name.make_ascii_uppercase();
///     Json(tea)
/// }
/// # let _ = ropewalk_web::router::post(rename);
///
/// let response = Json(Tea { name: "Oolong".into() }).into_response();
/// assert_eq!(response.headers()["content-type"], "application/json");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> Json<T> {
    /// Reads `bytes`.
    ///
    /// # Errors
    /// 400 if they are no JSON, 422 if they are, and do not fit into `T`; with the place.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Rejection> {
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let status = match error.inner().classify() {
                Category::Data => StatusCode::UNPROCESSABLE_ENTITY,
                Category::Syntax | Category::Eof | Category::Io => StatusCode::BAD_REQUEST,
            };
            Rejection::new(status, place("the JSON", &error))
        })?;
        reader
            .end()
            .map_err(|error| Rejection::bad_request(format!("the JSON: {error}")))?;
        Ok(Self(value))
    }
}

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Rejection = Rejection;

    async fn from_request(request: Request<Body>) -> Result<Self, Rejection> {
        let (parts, body) = request.into_parts();
        if !content_type_is(&parts.headers, "application/json", Some("+json")) {
            return Err(other_type(&parts.headers, "application/json"));
        }
        let bytes = collect(body).await;
        bytes
            .and_then(|bytes| Self::from_bytes(&bytes))
            .map_err(|rejection| rejection.for_request(&parts.headers))
    }

    fn is_absent(request: &Request<Body>) -> bool {
        !request.headers().contains_key(CONTENT_TYPE) && request.body().is_empty()
    }
}

/// A value that cannot be written as JSON, such as a map whose keys are no text, is a 500.
impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response<Body> {
        match serde_json::to_vec(&self.0) {
            Ok(json) => {
                let mut response = Response::new(Body::from(json));
                let content_type = HeaderValue::from_static("application/json");
                response.headers_mut().insert(CONTENT_TYPE, content_type);
                response
            }
            Err(error) => {
                let value = std::any::type_name::<T>();
                tracing::error!(%error, value, "cannot write an answer as JSON");
                Rejection::failed().into_response()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Order {
        #[expect(dead_code, reason = "only read by serde")]
        items: Vec<Item>,
    }

    #[derive(Debug, Deserialize)]
    struct Item {
        #[expect(dead_code, reason = "only read by serde")]
        cups: u8,
    }

    fn rejection(json: &str) -> (u16, String) {
        let rejection = Json::<Order>::from_bytes(json.as_bytes()).unwrap_err();
        (rejection.status().as_u16(), rejection.detail().to_owned())
    }

    #[test]
    fn what_is_no_json_is_400_and_what_does_not_fit_is_422_with_the_place() {
        let (status, detail) = rejection(r#"{"items":[{"cups":1},{"cups":300}]}"#);
        assert_eq!(status, 422);
        assert!(
            detail.starts_with("the JSON's `items[1].cups`: invalid value"),
            "{detail}"
        );
        assert!(detail.contains("line 1 column"), "{detail}");
        for broken in [r#"{"items":["#, "", "{\"items\":[]}}", "{'items':[]}"] {
            assert_eq!(rejection(broken).0, 400, "{broken}");
        }
        let deep = format!(r#"{{"items":{}"#, "[".repeat(100_000));
        assert!(matches!(rejection(&deep).0, 400 | 422));
    }
}
