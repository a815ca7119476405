//! What all connections of a site share.
//!
//! Beside the service and the limits, that is what would otherwise be made anew for each request:
//! the date, the storage of heads, and an exchange that is out of use.

use std::cell::{Cell, RefCell};

use bytes::BytesMut;
use ropewalk_core::Transport;

use super::exchange::Exchange;
use super::{
    HeadScan, Limits, RequestError, RequestHead, ResponseHead, encode_response_head,
    parse_request_head,
};
use crate::date::DateCache;

pub(crate) struct Shared<S> {
    pub(crate) service: S,
    pub(crate) limits: Limits,
    date: DateCache,
    heads: RefCell<BytesMut>,
    spare: Cell<Option<Box<Exchange>>>,
}

impl<S> Shared<S> {
    pub(crate) fn new(service: S, limits: Limits) -> Self {
        Self {
            service,
            limits,
            date: DateCache::default(),
            heads: RefCell::default(),
            spare: Cell::default(),
        }
    }

    /// See [`parse_request_head`].
    pub(super) fn parse_head(
        &self,
        input: &[u8],
        scan: &mut HeadScan,
    ) -> Result<Option<(RequestHead, usize)>, RequestError> {
        parse_request_head(input, &self.limits, scan, &mut self.heads.borrow_mut())
    }

    /// Writes a head, with the date of now.
    pub(super) fn write_head(&self, transport: &mut Transport, head: ResponseHead<'_>) {
        let wall_clock = || transport.reactor().wall_clock();
        let now = transport.now();
        self.date.refresh(now, wall_clock);
        self.date.with(|date| {
            transport.write_with(|out| encode_response_head(out, &ResponseHead { date, ..head }));
        });
    }

    /// Gives `exchange` a place in memory.
    pub(super) fn place(&self, exchange: Exchange) -> Box<Exchange> {
        match self.spare.take() {
            Some(mut place) => {
                *place = exchange;
                place
            }
            None => Box::new(exchange),
        }
    }

    /// Keeps the place of an exchange that has ended for the next one.
    pub(super) fn put_back(&self, mut exchange: Box<Exchange>) {
        exchange.clear();
        self.spare.set(Some(exchange));
    }
}
