//! A resource, and the walk to it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response};
use tower_service::Service;

use super::ResourcePath;
use crate::answer::{IntoResponse, Rejection};
use crate::answering::Answering;
use crate::body::{Body, BoxError};
use crate::boxed_service::{Answer, BoxService};
use crate::router::{Handler, MethodRouter};
use crate::uri_path::{self, MalformedPath, OriginalUri};

/// A node of a tree of resources, with all that is below it: see the [module](super).
///
/// A clone is the same node: children may be put into a tree, and taken out of it, while it is
/// served.
#[derive(Clone, Default)]
pub struct Resource(Rc<Node>);

#[derive(Default)]
struct Node {
    methods: RefCell<Rc<MethodRouter>>,
    children: RefCell<BTreeMap<String, Child>>,
    get_child: RefCell<Option<GetChild>>,
    is_leaf: std::cell::Cell<bool>,
}

/// Looks for a child that is not there yet.
type GetChild = Rc<dyn Fn(&str, &Request<Body>) -> Option<Resource>>;

#[derive(Clone)]
enum Child {
    Resource(Resource),
    /// It has paths of its own.
    Mounted(BoxService),
}

macro_rules! renders {
    ($($name:ident $method:ident;)*) => {$(
        #[doc = concat!("Has ", stringify!($method), " answered by `handler`, in the place of what did so far.")]
        #[must_use]
        pub fn $name<M>(self, handler: impl Handler<M>) -> Self {
            self.render_method(&Method::$method, handler)
        }
    )*};
}

impl Resource {
    /// A resource with nothing below it, that answers to nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    renders! {
        render_get GET;
        render_head HEAD;
        render_post POST;
        render_put PUT;
        render_patch PATCH;
        render_delete DELETE;
        render_options OPTIONS;
    }

    /// Has `method`, which may be one of your own, answered by `handler`.
    #[must_use]
    pub fn render_method<M>(self, method: &Method, handler: impl Handler<M>) -> Self {
        let methods = Rc::unwrap_or_clone(self.0.methods.take()).replace(method, handler);
        self.0.methods.replace(Rc::new(methods));
        self
    }

    /// Has all methods answered by `handler` that have none of their own, HEAD and OPTIONS included.
    #[must_use]
    pub fn render<M>(self, handler: impl Handler<M>) -> Self {
        let methods = Rc::unwrap_or_clone(self.0.methods.take()).replace_any(handler);
        self.0.methods.replace(Rc::new(methods));
        self
    }

    /// Whether it takes all that is below it.
    #[must_use]
    pub fn is_leaf(self, is_leaf: bool) -> Self {
        self.0.is_leaf.set(is_leaf);
        self
    }

    /// Puts `child` below it, in the place of one of the same name. `name` is one segment, as it is
    /// meant, not as it is escaped; the empty one is what stands behind a last `/`.
    ///
    /// On a clone, which is the same node, this changes a tree that is served already.
    ///
    /// # Panics
    /// `name` has a `/` in it: no request could reach it.
    #[must_use]
    pub fn put_child(self, name: &str, child: Resource) -> Self {
        self.put(name, Child::Resource(child))
    }

    /// Puts a service below it: a [`FileService`](crate::FileService), a [`Router`](crate::Router) or
    /// any other. It sees the rest of the path.
    ///
    /// # Panics
    /// As [`put_child`](Self::put_child).
    #[must_use]
    pub fn mount<S, B>(self, name: &str, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
        S::Future: 'static,
        S::Error: Into<BoxError> + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.put(name, Child::Mounted(BoxService::new(service)))
    }

    /// Takes a child out. Whether there was one.
    pub fn delete_child(&self, name: &str) -> bool {
        let child = self.0.children.borrow_mut().remove(name);
        child.is_some()
    }

    /// The names of the children that were put there.
    #[must_use]
    pub fn list_names(&self) -> Vec<String> {
        self.0.children.borrow().keys().cloned().collect()
    }

    /// Has `find` look for children that were not put there, by their names, for each request anew.
    #[must_use]
    pub fn get_child(
        self,
        find: impl Fn(&str, &Request<Body>) -> Option<Resource> + 'static,
    ) -> Self {
        self.0.get_child.replace(Some(Rc::new(find)));
        self
    }

    fn put(self, name: &str, child: Child) -> Self {
        assert!(
            !name.contains('/'),
            "a child is named by one segment, and {name:?} are several: put one child into another"
        );
        let old = self.0.children.borrow_mut().insert(name.to_owned(), child);
        drop(old);
        self
    }

    /// Finds the resource for `request`, and has it answer.
    pub fn answer(&self, mut request: Request<Body>) -> Answering<Answer> {
        match self.walk(&mut request) {
            Ok(Reached::Resource(resource)) => {
                let methods = Rc::clone(&resource.0.methods.borrow());
                if methods.is_empty() {
                    return not_found(&request);
                }
                methods.answer(request)
            }
            Ok(Reached::Mounted(service)) => service.answer(request),
            Ok(Reached::Nothing) => not_found(&request),
            Err(MalformedPath) => {
                let rejection = Rejection::bad_request(
                    "the path is malformed: what is escaped in it must be UTF-8",
                );
                let rejection = rejection.for_request(request.headers());
                Answering::ready(Ok(rejection.into_response()))
            }
        }
    }

    fn walk(&self, request: &mut Request<Body>) -> Result<Reached, MalformedPath> {
        let uri = request.uri().clone();
        let normal = uri_path::normalize(uri.path())?;
        let Some(path) = normal.strip_prefix('/') else {
            // `OPTIONS *` is about all of it.
            return Ok(match uri.path() {
                "*" => Reached::Resource(self.clone()),
                _ => Reached::Nothing,
            });
        };
        if uri_path::has_dot_segments(path) {
            return Ok(Reached::Nothing);
        }
        let mut segments = path.split('/');
        let mut at = self.clone();
        let mut prepath = Vec::new();
        // What is left, with the slash before it.
        let mut rest = &*normal;
        while !at.0.is_leaf.get() {
            let Some(segment) = segments.next() else {
                break;
            };
            let below = &rest[1 + segment.len()..];
            let name = uri_path::decode(segment)?;
            match at.child(&name, request) {
                Some(Child::Resource(child)) => at = child,
                Some(Child::Mounted(service)) => {
                    prepath.push(name.into_owned());
                    let inner = if below.is_empty() { "/" } else { below };
                    OriginalUri::replace(request, uri_path::with_path(&uri, inner)?);
                    let postpath = Vec::new();
                    ResourcePath { prepath, postpath }.put(request);
                    return Ok(Reached::Mounted(service));
                }
                // The slash at the end is the resource's own.
                None if segment.is_empty() && below.is_empty() => break,
                None => return Ok(Reached::Nothing),
            }
            prepath.push(name.into_owned());
            rest = below;
        }
        let mut postpath = Vec::new();
        for segment in segments {
            postpath.push(uri_path::decode(segment)?.into_owned());
        }
        ResourcePath { prepath, postpath }.put(request);
        Ok(Reached::Resource(at))
    }

    /// The child `name`. No borrow is held while a user's code looks for it.
    fn child(&self, name: &str, request: &Request<Body>) -> Option<Child> {
        let put = self.0.children.borrow().get(name).cloned();
        put.or_else(|| {
            let find = self.0.get_child.borrow().clone()?;
            find(name, request).map(Child::Resource)
        })
    }
}

/// Where a walk ends.
enum Reached {
    Resource(Resource),
    Mounted(BoxService),
    Nothing,
}

fn not_found(request: &Request<Body>) -> Answering<Answer> {
    let rejection = Rejection::not_found().for_request(request.headers());
    Answering::ready(Ok(rejection.into_response()))
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource")
            .field("children", &self.list_names())
            .field("is_leaf", &self.0.is_leaf.get())
            .finish_non_exhaustive()
    }
}

impl<B> Service<Request<B>> for Resource
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Answering<Answer>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answering<Answer> {
        self.answer(request.map(Body::new))
    }
}
