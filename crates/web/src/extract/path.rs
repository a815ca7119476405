//! The parameters of a route.

use std::sync::Arc;

use http::Request;
use serde::de::DeserializeOwned;

use super::FromRequestHead;
use super::path_value::{PathError, PathReader};
use crate::Body;
use crate::answer::Rejection;

/// The parameters of the route: one value, a tuple of them in the order of the route, or a struct
/// or map with their names. They are decoded; `%2F` is a `/` in them.
///
/// A parameter of the form `{*rest}` is all that follows, however many segments it has. It is text
/// from the client: nothing in it is safe to open as a file ([`FileService`](crate::FileService)
/// is what serves files), though no segment of a routed path is `.` or `..`, unless its slash is
/// written as `%2F`.
///
/// ```
/// use ropewalk_web::extract::Path;
/// use ropewalk_web::router::{Router, get};
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Leaf { tea: String, number: u32 }
///
/// let router = Router::builder()
///     .route("/teas/{tea}", get(|Path(tea): Path<String>| tea))
///     .route("/teas/{tea}/{number}", get(|Path(leaf): Path<Leaf>| {
///         format!("{} of {}", leaf.number, leaf.tea)
///     }))
///     .route("/{from}/to/{to}", get(|Path((from, to)): Path<(u8, u8)>| {
///         format!("{}", to - from)
///     }))
///     .build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned> FromRequestHead for Path<T> {
    type Rejection = Rejection;

    fn from_request_head(request: &mut Request<Body>) -> Result<Self, Rejection> {
        let params = PathParams::of(request).map_or(&[][..], |params| &params.0);
        let rejection = match T::deserialize(PathReader(params)) {
            Ok(value) => return Ok(Self(value)),
            Err(error @ (PathError::Value(_) | PathError::Custom(_))) => {
                Rejection::bad_request(error.to_string())
            }
            Err(PathError::Shape(wrong)) => {
                let wanted = std::any::type_name::<T>();
                tracing::error!(wanted, %wrong, "a handler's Path does not fit its route");
                Rejection::failed()
            }
        };
        Err(rejection.for_request(request.headers()))
    }

    fn is_absent(request: &Request<Body>) -> bool {
        PathParams::of(request).is_none_or(|params| params.0.is_empty())
    }
}

/// The parameters of the route with their names, in its order, decoded. They are among the
/// request's extensions, where the [`Router`](crate::Router) puts them.
#[derive(Clone, Debug, Default)]
pub struct PathParams(Arc<[(Arc<str>, String)]>);

impl PathParams {
    /// Those of `request`, if it came by a route that has any.
    #[must_use]
    pub fn of<B>(request: &Request<B>) -> Option<&Self> {
        request.extensions().get()
    }

    /// The parameter of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(own, _)| *own == name)
            .map(|(_, value)| value)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Puts `more` behind those that `request` has.
    pub(crate) fn extend<B>(request: &mut Request<B>, more: Vec<(Arc<str>, String)>) {
        let all = match Self::of(request) {
            Some(params) => params.0.iter().cloned().chain(more).collect(),
            None => more.into(),
        };
        request.extensions_mut().insert(Self(all));
    }
}
