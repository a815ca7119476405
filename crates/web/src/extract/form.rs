//! Forms as browsers send them, without files.

use http::header::CONTENT_TYPE;
use http::{Method, Request, StatusCode};
use serde::de::DeserializeOwned;

use super::body::{collect, content_type_is, other_type};
use super::query::place;
use super::{FromRequest, Query};
use crate::Body;
use crate::answer::Rejection;

const FORM: &str = "application/x-www-form-urlencoded";

/// The fields of a form (`application/x-www-form-urlencoded`): of the body, or with GET and HEAD of
/// the query. A name that comes more than once fills a `Vec`. Forms with files are
/// [`Multipart`](crate::multipart::Multipart).
///
/// ```
/// use ropewalk_web::answer::Redirect;
/// use ropewalk_web::extract::Form;
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Order { tea: String, cups: u8 }
///
/// async fn order(Form(order): Form<Order>) -> Redirect {
///     Redirect::see_other(if order.cups > 0 { "/thanks" } else { "/" })
/// }
/// # let _ = ropewalk_web::router::post(order);
/// let Form(order) = Form::<Order>::from_bytes(b"tea=earl+grey&cups=2")?;
/// assert_eq!((&*order.tea, order.cups), ("earl grey", 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Form<T>(pub T);

impl<T: DeserializeOwned> Form<T> {
    /// Reads `bytes`.
    ///
    /// # Errors
    /// 422, with the name of the field that does not fit into `T`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Rejection> {
        let form = serde_html_form::Deserializer::from_bytes(bytes);
        serde_path_to_error::deserialize(form)
            .map(Self)
            .map_err(|error| {
                Rejection::new(StatusCode::UNPROCESSABLE_ENTITY, place("the form", &error))
            })
    }
}

impl<T: DeserializeOwned + 'static> FromRequest for Form<T> {
    type Rejection = Rejection;

    async fn from_request(request: Request<Body>) -> Result<Self, Rejection> {
        let (parts, body) = request.into_parts();
        if parts.method == Method::GET || parts.method == Method::HEAD {
            let query = Query::of(&parts.uri).map(|Query(form)| Self(form));
            return query.map_err(|rejection| rejection.for_request(&parts.headers));
        }
        if !content_type_is(&parts.headers, FORM, None) {
            return Err(other_type(&parts.headers, FORM));
        }
        let bytes = collect(body).await;
        bytes
            .and_then(|bytes| Self::from_bytes(&bytes))
            .map_err(|rejection| rejection.for_request(&parts.headers))
    }

    fn is_absent(request: &Request<Body>) -> bool {
        match *request.method() {
            Method::GET | Method::HEAD => request.uri().query().is_none(),
            _ => !request.headers().contains_key(CONTENT_TYPE) && request.body().is_empty(),
        }
    }
}
