//! Where in its tree a resource was found.

use std::convert::Infallible;
use std::sync::Arc;

use http::Request;

use crate::Body;
use crate::extract::FromRequestHead;

/// The segments that led to a resource, and those that are left for it; decoded. As an extractor,
/// it is that of the handler's own resource.
///
/// ```
/// use ropewalk_web::resource::{Resource, ResourcePath};
///
/// let leaf = Resource::new().is_leaf(true).render_get(|path: ResourcePath| {
///     format!("{:?} then {:?}", path.prepath, path.postpath)
/// });
/// // GET /a/b/c answers: ["a"] then ["b", "c"]
/// let root = Resource::new().put_child("a", leaf);
/// # let _ = root;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourcePath {
    /// What was walked.
    pub prepath: Vec<String>,
    /// What is left: for a leaf alone. `/leaf/` leaves an empty segment.
    pub postpath: Vec<String>,
}

#[derive(Clone)]
struct Walked(Arc<ResourcePath>);

impl ResourcePath {
    /// That of `request`; empty where no tree was walked.
    #[must_use]
    pub fn of<B>(request: &Request<B>) -> Self {
        let walked: Option<&Walked> = request.extensions().get();
        walked.map_or_else(Self::default, |walked| Self::clone(&walked.0))
    }

    /// Tells those who answer `request`. A tree within another continues its path.
    pub(super) fn put<B>(self, request: &mut Request<B>) {
        let mut path = Self::of(request);
        path.prepath.extend(self.prepath);
        path.postpath = self.postpath;
        request.extensions_mut().insert(Walked(Arc::new(path)));
    }
}

impl FromRequestHead for ResourcePath {
    type Rejection = Infallible;

    fn from_request_head(request: &mut Request<Body>) -> Result<Self, Infallible> {
        Ok(Self::of(request))
    }
}
