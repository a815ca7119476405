//! Several sites at one address: who answers is decided by the host that was asked.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tower_service::Service;

use crate::answer::{IntoResponse, Rejection};
use crate::answering::Answering;
use crate::body::{Body, BoxError};
use crate::boxed_service::{Answer, BoxService};
use crate::extract::Host;

/// A service for each host: by its name, then by the longest wildcard, then the default.
///
/// Ports, letter case and a dot at the end are ignored. A host that is none of them, where there is
/// no default, is 421 (RFC 9110, section 15.5.20): so a name that somebody else has pointed at this
/// address shows nothing.
///
/// ```
/// use http::{Request, Response};
/// use ropewalk_web::{Body, VirtualHosts, handler_fn};
///
/// let says = |text: &'static str| handler_fn(move |_: Request<Body>| Response::new(Body::from(text)));
/// let hosts = VirtualHosts::new()
///     .host("example.com", says("the shop"))
///     .host("*.example.com", says("a branch"))
///     .fallback(says("nobody's"));
/// # let _ = ropewalk_web::Site::new(hosts);
/// ```
#[derive(Clone, Debug, Default)]
pub struct VirtualHosts(Rc<Hosts>);

#[derive(Clone, Debug, Default)]
struct Hosts {
    exact: BTreeMap<String, BoxService>,
    /// By what follows the `*`: `.example.com`.
    wildcards: BTreeMap<String, BoxService>,
    default: Option<BoxService>,
}

impl VirtualHosts {
    /// No hosts yet: all are 421.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Has `service` answer for the host `name`, in the place of another. `*.example.com` is any name
    /// below `example.com`, at any depth, and not that itself. An address stands as it does in URIs:
    /// `[2001:db8::1]`.
    #[must_use]
    pub fn host<S, B>(mut self, name: &str, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
        S::Future: 'static,
        S::Error: Into<BoxError> + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let hosts = Rc::make_mut(&mut self.0);
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let service = BoxService::new(service);
        match name.strip_prefix('*') {
            Some(suffix) => hosts.wildcards.insert(suffix.to_owned(), service),
            None => hosts.exact.insert(name, service),
        };
        self
    }

    /// Has `service` answer for all other hosts, and where none is named.
    #[must_use]
    pub fn fallback<S, B>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
        S::Future: 'static,
        S::Error: Into<BoxError> + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Rc::make_mut(&mut self.0).default = Some(BoxService::new(service));
        self
    }

    fn find(&self, host: Option<&str>) -> Option<&BoxService> {
        let hosts = &*self.0;
        let known = host.and_then(|host| {
            let dots = host.match_indices('.').filter(|(at, _)| *at > 0);
            let mut suffixes = dots.map(|(at, _)| &host[at..]);
            let exact = hosts.exact.get(host);
            exact.or_else(|| suffixes.find_map(|suffix| hosts.wildcards.get(suffix)))
        });
        known.or(hosts.default.as_ref())
    }
}

impl<B> Service<Request<B>> for VirtualHosts
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
        let host = Host::of(&request);
        if let Some(service) = self.find(host.as_ref().map(|host| &*host.0)) {
            return service.answer(request.map(Body::new));
        }
        let detail = "this server does not answer for the host that was asked";
        let rejection = Rejection::new(StatusCode::MISDIRECTED_REQUEST, detail);
        let rejection = rejection.for_request(request.headers());
        Answering::ready(Ok(rejection.into_response()))
    }
}
