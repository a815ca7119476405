//! The routes of a router, and the way of a request through them.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::header::{ALLOW, HeaderValue};
use http::{Method, Request, Uri};
use matchit::InsertError;

use super::method_router::{MethodRouter, allow};
use super::route_error::{RouteError, RoutePlace};
use crate::answer::{IntoResponse, Rejection};
use crate::answering::Answering;
use crate::body::Body;
use crate::boxed_service::{Answer, BoxService};
use crate::extract::PathParams;
use crate::uri_path::{self, MalformedPath, OriginalUri};

/// The parameter that takes what is below a nested service. Nobody sees it.
const REST: &str = "{*rest}";

pub(super) enum Target {
    Methods(MethodRouter),
    Nested(BoxService),
}

pub(super) struct Table {
    paths: matchit::Router<Leaf>,
    routes: Vec<(RoutePlace, Target)>,
    fallback: Option<BoxService>,
    /// What `OPTIONS *` is told.
    allow: HeaderValue,
}

/// What a path leads to.
#[derive(Clone, Copy)]
struct Leaf {
    route: usize,
    /// To what is below a nested service: the last parameter is the rest of the path.
    below: bool,
}

/// Where a request goes.
struct Found {
    route: usize,
    params: Vec<(Arc<str>, String)>,
    /// The target that a nested service sees.
    inner: Option<Uri>,
}

impl Table {
    pub(super) fn new(
        routes: Vec<(RoutePlace, Target)>,
        fallback: Option<BoxService>,
    ) -> Result<Self, RouteError> {
        let mut table = Self {
            paths: matchit::Router::new(),
            routes: Vec::new(),
            fallback,
            allow: HeaderValue::from_static("OPTIONS"),
        };
        for (place, target) in routes {
            table.add(place, target)?;
        }
        let methods = table.routes.iter().filter_map(|(_, target)| match target {
            Target::Methods(methods) => Some(methods.allowed()),
            Target::Nested(_) => None,
        });
        let all: BTreeSet<_> = methods.flatten().chain(["OPTIONS"]).collect();
        table.allow = allow(&all);
        Ok(table)
    }

    fn add(&mut self, place: RoutePlace, target: Target) -> Result<(), RouteError> {
        let Ok(path) = normal_route(&place.path) else {
            let reason = "a `%` must be followed by two hexadecimal digits";
            return Err(RouteError::Malformed {
                route: place,
                reason,
            });
        };
        if !path.starts_with('/') {
            let reason = "it must begin with a `/`";
            return Err(RouteError::Malformed {
                route: place,
                reason,
            });
        }
        let target = match target {
            Target::Methods(methods) => return self.add_methods(place, path, methods),
            nested => nested,
        };
        if path.contains("{*") {
            let reason = "what is nested takes all that follows already; leave out the `{*…}`";
            return Err(RouteError::Malformed {
                route: place,
                reason,
            });
        }
        let prefix = path.trim_end_matches('/');
        if !prefix.is_empty() {
            self.insert(&place, prefix.to_owned(), false)?;
        }
        self.insert(&place, format!("{prefix}/"), false)?;
        self.insert(&place, format!("{prefix}/{REST}"), true)?;
        self.routes.push((place, target));
        Ok(())
    }

    fn add_methods(
        &mut self,
        place: RoutePlace,
        path: String,
        methods: MethodRouter,
    ) -> Result<(), RouteError> {
        let same = self
            .routes
            .iter_mut()
            .find_map(|(other, target)| match target {
                Target::Methods(own) if other.path == place.path => Some(own),
                _ => None,
            });
        let (repeated, new) = match same {
            Some(own) => {
                *own = std::mem::take(own).merge(methods);
                (own.repeated().map(str::to_owned), None)
            }
            None => (methods.repeated().map(str::to_owned), Some(methods)),
        };
        if let Some(method) = repeated {
            return Err(RouteError::TwoHandlers {
                route: place,
                method,
            });
        }
        if let Some(methods) = new {
            self.insert(&place, path, false)?;
            self.routes.push((place, Target::Methods(methods)));
        }
        Ok(())
    }

    /// Makes `path` lead to the route that is added next.
    fn insert(&mut self, place: &RoutePlace, path: String, below: bool) -> Result<(), RouteError> {
        let route = self.routes.len();
        let Err(error) = self.paths.insert(path, Leaf { route, below }) else {
            return Ok(());
        };
        let reason = match error {
            InsertError::Conflict { with } => {
                return Err(RouteError::Conflict {
                    route: place.clone(),
                    with: self.known(&with, place),
                });
            }
            InsertError::InvalidParamSegment => "a segment may have one parameter",
            InsertError::InvalidCatchAll => "a `{*…}` must be its last segment",
            _ => "a parameter is a name in `{}`; a brace itself is written twice",
        };
        Err(RouteError::Malformed {
            route: place.clone(),
            reason,
        })
    }

    /// The route that was added with this path. `place` stands in if there is none.
    fn known(&self, path: &str, place: &RoutePlace) -> RoutePlace {
        let mut routes = self.routes.iter();
        let same = routes.find(
            |(other, target)| match (normal_route(&other.path), target) {
                (Ok(other), Target::Methods(_)) => other == path,
                (Ok(other), Target::Nested(_)) => {
                    let prefix = path.strip_suffix(REST).unwrap_or(path);
                    other.trim_end_matches('/') == prefix.trim_end_matches('/')
                }
                (Err(_), _) => false,
            },
        );
        match same {
            Some((other, _)) => other.clone(),
            None => RoutePlace {
                path: path.to_owned(),
                place: place.place,
            },
        }
    }

    pub(super) fn answer(&self, mut request: Request<Body>) -> Answering<Answer> {
        if request.uri().path() == "*" && request.method() == Method::OPTIONS {
            let answer = ([(ALLOW, self.allow.clone())], ()).into_response();
            return Answering::ready(Ok(answer));
        }
        if request.method() == Method::CONNECT
            && self.fallback.is_none()
            && request.uri().path().is_empty()
        {
            // It is for a host, and not for a path of this one.
            let response =
                Rejection::of_method(request.method(), request.headers(), self.allow.clone());
            return Answering::ready(Ok(response));
        }
        let found = match self.find(request.uri()) {
            Ok(found) => found,
            Err(MalformedPath) => {
                let rejection = Rejection::bad_request(
                    "the path is malformed: what is escaped in it must be UTF-8",
                );
                let rejection = rejection.for_request(request.headers());
                return Answering::ready(Ok(rejection.into_response()));
            }
        };
        let Some(found) = found else {
            return match &self.fallback {
                Some(fallback) => fallback.answer(request),
                None => {
                    let rejection = Rejection::not_found().for_request(request.headers());
                    Answering::ready(Ok(rejection.into_response()))
                }
            };
        };
        if !found.params.is_empty() {
            PathParams::extend(&mut request, found.params);
        }
        if let Some(uri) = found.inner {
            OriginalUri::replace(&mut request, uri);
        }
        match &self.routes[found.route].1 {
            Target::Methods(methods) => methods.answer(request),
            Target::Nested(service) => service.answer(request),
        }
    }

    fn find(&self, uri: &Uri) -> Result<Option<Found>, MalformedPath> {
        let path = uri_path::normalize(uri.path())?;
        if uri_path::has_dot_segments(&path) {
            return Ok(None);
        }
        let Ok(found) = self.paths.at(&path) else {
            return Ok(None);
        };
        let Leaf { route, below } = *found.value;
        let own = found.params.len() - usize::from(below);
        let inner = match self.routes[route].1 {
            Target::Methods(_) => None,
            Target::Nested(_) => {
                let rest = found.params.iter().nth(own).map_or("", |(_, rest)| rest);
                Some(uri_path::with_path(uri, &format!("/{rest}"))?)
            }
        };
        let mut params = Vec::new();
        for (name, value) in found.params.iter().take(own) {
            params.push((Arc::from(name), uri_path::decode(value)?.into_owned()));
        }
        Ok(Some(Found {
            route,
            params,
            inner,
        }))
    }
}

/// The path of a route, with what is fixed in its one form.
fn normal_route(path: &str) -> Result<String, MalformedPath> {
    let mut normal = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find(['{', '}']) {
        normal += &uri_path::normalize(&rest[..at])?;
        rest = &rest[at..];
        let parameter = rest.find('}').map_or(rest.len(), |end| end + 1);
        let (piece, length) = match rest {
            _ if rest.starts_with("{{") => ("%7B", 2),
            _ if rest.starts_with("}}") => ("%7D", 2),
            // One that is malformed is refused where it is inserted.
            _ => (&rest[..parameter], parameter),
        };
        normal += piece;
        rest = &rest[length..];
    }
    normal += &uri_path::normalize(rest)?;
    Ok(normal)
}
