//! What all connections of a site share.
//!
//! Beside the service and the limits, that is what would otherwise be made anew for each request:
//! the date, and the storage of heads.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use ipnet::IpNet;
use ropewalk_core::{Address, ReactorCore, Transport};

use super::{
    HeadScan, HeadStorage, Limits, RequestError, RequestHead, ResponseHead, encode_response_head,
    parse_request_head,
};
use crate::date::DateCache;
use crate::h2;
use crate::request_info::RequestInfo;

const NOT_SECURE: RequestError = RequestError::new(
    StatusCode::MISDIRECTED_REQUEST,
    "the request is for an https URL, but this connection is not secured",
);

pub(crate) struct Shared<S> {
    pub(crate) service: S,
    pub(crate) limits: Limits,
    /// The bounds of HTTP/2, or that it is not spoken.
    pub(crate) http2: RefCell<Option<Rc<h2::Limits>>>,
    /// What stands before this server, and may speak of https over plain text.
    pub(crate) gateways: RefCell<Vec<IpNet>>,
    date: DateCache,
    heads: RefCell<HeadStorage>,
}

impl<S> Shared<S> {
    pub(crate) fn new(service: S, limits: Limits) -> Self {
        Self {
            service,
            limits,
            http2: RefCell::new(Some(Rc::default())),
            gateways: RefCell::default(),
            date: DateCache::default(),
            heads: RefCell::default(),
        }
    }

    /// What is known of a request that has come on `transport`, beside its fields; or its refusal: it is
    /// for https, and neither is the connection secured nor is its peer trusted to have done that (RFC
    /// 9110, section 7.4).
    pub(crate) fn request_info(
        &self,
        transport: &Transport,
        secured: bool,
        uri: &Uri,
    ) -> (RequestInfo, Result<(), RequestError>) {
        let (peer, host) = (transport.peer(), transport.host().clone());
        let mut info = RequestInfo::new(peer, host, transport.now());
        let is_for_https = || uri.scheme() == Some(&Scheme::HTTPS);
        info.secure = secured || is_for_https() && self.trusts_gateway(&info.peer);
        let refused = !info.secure && is_for_https();
        (info, if refused { Err(NOT_SECURE) } else { Ok(()) })
    }

    /// Whether who is connected from `peer` may say that a request came to it by https.
    fn trusts_gateway(&self, peer: &Address) -> bool {
        let Some(peer) = peer.socket_addr() else {
            return false;
        };
        let peer = peer.ip().to_canonical();
        let gateways = self.gateways.borrow();
        gateways.iter().any(|network| network.contains(&peer))
    }

    /// See [`parse_request_head`].
    pub(super) fn parse_head(
        &self,
        input: &[u8],
        scan: &mut HeadScan,
    ) -> Result<Option<(RequestHead, usize)>, RequestError> {
        parse_request_head(input, &self.limits, scan, &mut self.heads.borrow_mut())
    }

    /// Keeps the memory of an answer's fields for the next request's.
    pub(super) fn give_back(&self, fields: HeaderMap) {
        self.heads.borrow_mut().give_back(fields);
    }

    /// The date of now, as a field. `None` when the loop is gone.
    pub(crate) fn date(&self, reactor: &Weak<dyn ReactorCore>) -> Option<HeaderValue> {
        let reactor = reactor.upgrade()?;
        self.date.refresh(reactor.now(), || reactor.wall_clock());
        Some(self.date.value())
    }

    /// Writes a head, with the date of now, and the content that is to be copied behind it.
    pub(super) fn write_head(
        &self,
        transport: &mut Transport,
        head: ResponseHead<'_>,
        content: &[u8],
    ) {
        let wall_clock = || transport.reactor().wall_clock();
        let now = transport.now();
        self.date.refresh(now, wall_clock);
        self.date.with(|date| {
            transport.write_with(|out| {
                encode_response_head(out, &ResponseHead { date, ..head });
                out.extend_from_slice(content);
            });
        });
    }
}
