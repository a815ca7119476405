//! Files that lie beside their originals in compressed form: `page.html.br` beside `page.html`.

use std::rc::Rc;
use std::time::Instant;

use http::HeaderMap;

use super::FileService;
use super::path::RequestPath;
use super::representation::{Form, Representation};
use super::service::{Found, Wanted};
use crate::content_coding::{AcceptEncoding, Chosen, ContentCoding};

impl FileService {
    /// Sends a file that lies beside the one that was asked for, and holds it in compressed form,
    /// to those who take that: `page.html.gz`, `page.html.br` or `page.html.zst` for `page.html`.
    /// Of the codings that a client likes as well, the first of these is taken that there is a file
    /// for. None, unless told.
    ///
    /// One that is older than its original is not used. Who makes them has to see to it that they
    /// hold the same. Answers say `Vary: Accept-Encoding` then, and a
    /// [`CompressionLayer`](crate::middleware::CompressionLayer) leaves those that are coded as
    /// they are.
    #[must_use]
    pub fn precompressed(mut self, codings: impl IntoIterator<Item = ContentCoding>) -> Self {
        self.codings = codings.into_iter().collect();
        // What is cached says nothing of them.
        let limit = self.cache.borrow().limit();
        self.cache(limit)
    }

    /// The form of `original`, the file that `path` leads to, that suits a request with these
    /// headers best.
    pub(super) fn best_form(
        &self,
        asked: &HeaderMap,
        path: &RequestPath<'_>,
        original: Rc<Representation>,
        now: Option<Instant>,
    ) -> Rc<Representation> {
        if self.codings.is_empty() {
            return original;
        }
        let accepted = AcceptEncoding::of(asked);
        let mut left = self.codings.to_vec();
        while let Chosen::Coded(coding) = accepted.choose(&left) {
            if let Some(coded) = self.coded(coding, path, &original, now) {
                return coded;
            }
            left.retain(|other| *other != coding);
        }
        original
    }

    fn coded(
        &self,
        coding: ContentCoding,
        path: &RequestPath<'_>,
        original: &Representation,
        now: Option<Instant>,
    ) -> Option<Rc<Representation>> {
        if original.is_known_to_lack(coding, now) {
            return None;
        }
        // No path has a NUL in it.
        let key = [path.as_bytes(), b"\0", coding.name().as_bytes()].concat();
        let fresh = now.and_then(|now| self.cache.borrow_mut().fresh(&key, now));
        let coded = fresh.or_else(|| {
            let index = if path.is_folder() { &*self.index } else { "" };
            let name = [path.as_bytes(), index.as_bytes(), extension(coding)].concat();
            let wanted = Wanted {
                key: &key,
                name: &name,
                form: Form::Coded(coding),
            };
            match self.open(&wanted, now) {
                Ok(Found::File(coded)) => Some(coded),
                _ => None,
            }
        });
        let coded = coded.filter(|coded| !coded.is_older_than(original));
        if coded.is_none() {
            original.lacks(coding, now);
        }
        coded
    }
}

fn extension(coding: ContentCoding) -> &'static [u8] {
    match coding {
        ContentCoding::Gzip => b".gz",
        ContentCoding::Brotli => b".br",
        ContentCoding::Zstd => b".zst",
    }
}
