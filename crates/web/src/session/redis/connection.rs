//! One connection to Redis: commands out, answers back, in order.

use std::collections::VecDeque;
use std::time::Duration;

use ropewalk_core::{Failure, Protocol, Resolver, Transport};

use super::client::RedisError;
use super::reply::{Reply, write_command};

/// Redis has so long for an answer.
const ANSWER: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(super) struct RedisConnection {
    /// Who waits for the answers to come, in order.
    waiting: VecDeque<Resolver<Reply>>,
    /// The beginning of an answer.
    unread: Vec<u8>,
}

impl RedisConnection {
    pub(super) fn ask(
        &mut self,
        transport: &mut Transport,
        command: &[Vec<u8>],
        resolver: Resolver<Reply>,
    ) {
        transport.write_with(|output| write_command(output, command));
        if self.waiting.is_empty() {
            transport.set_timeout(Some(ANSWER));
        }
        self.waiting.push_back(resolver);
    }
}

impl Protocol for RedisConnection {
    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        self.unread.extend_from_slice(data);
        let mut at = 0;
        let broken = loop {
            match Reply::parse(&self.unread[at..]) {
                Ok(None) => break None,
                Ok(Some((reply, length))) => {
                    at += length;
                    let Some(resolver) = self.waiting.pop_front() else {
                        break Some("an answer that nobody has asked for");
                    };
                    resolver.callback(reply);
                }
                Err(malformed) => break Some(malformed.0),
            }
        };
        self.unread.drain(..at);
        if self.unread.is_empty() {
            // An idle connection holds no buffer.
            self.unread = Vec::new();
        }
        if let Some(what) = broken {
            return transport.abort_with(RedisError::NotRedis(what).into());
        }
        if at > 0 {
            transport.set_timeout((!self.waiting.is_empty()).then_some(ANSWER));
        }
    }

    fn connection_lost(&mut self, reason: Failure) {
        for resolver in self.waiting.drain(..) {
            resolver.errback(reason.clone().context("waiting for an answer of Redis"));
        }
    }
}
