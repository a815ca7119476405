//! A form as it comes.

use std::future::poll_fn;
use std::pin::Pin;

use bytes::Bytes;
use http::Request;
use http::header::{CONTENT_TYPE, HeaderMap};

use super::boundary::boundary_of;
use super::disposition::Disposition;
use super::error::MultipartError;
use super::limits::Limits;
use super::parser::{Event, MultipartParser};
use crate::answer::Rejection;
use crate::body::Body;
use crate::extract::{FromRequest, unreadable};

/// The parts of a form, one after the other: see the [module](super).
#[derive(Debug)]
pub struct Multipart {
    body: Body,
    boundary: Vec<u8>,
    limits: Limits,
    /// Made when the first part is asked for, with the limits as they are then.
    parser: Option<MultipartParser>,
    /// A part has begun and not ended.
    in_field: bool,
    as_problem_for: HeaderMap,
}

/// A part of a form. What of it was not read when it is dropped, is skipped.
#[derive(Debug)]
pub struct Field<'a> {
    form: &'a mut Multipart,
    disposition: Disposition,
    headers: HeaderMap,
}

impl Multipart {
    /// With other limits than the default ones. To be called before a part is read.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The limits that hold.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The next part, or `None` after the last.
    ///
    /// # Errors
    /// The form is malformed or too much (400, 413), or the client is gone.
    pub async fn next_field(&mut self) -> Result<Option<Field<'_>>, Rejection> {
        loop {
            match self.event().await? {
                Event::Field {
                    disposition,
                    headers,
                } => {
                    self.in_field = true;
                    return Ok(Some(Field {
                        form: self,
                        disposition,
                        headers,
                    }));
                }
                Event::End => return Ok(None),
                Event::FieldEnd => self.in_field = false,
                Event::Data(_) | Event::NeedMore => {}
            }
        }
    }

    /// The next event, for which it waits.
    async fn event(&mut self) -> Result<Event, Rejection> {
        let result = self.next_event().await;
        result.map_err(|rejection| rejection.for_request(&self.as_problem_for))
    }

    async fn next_event(&mut self) -> Result<Event, Rejection> {
        let parser = self
            .parser
            .get_or_insert_with(|| MultipartParser::new(&self.boundary, self.limits.clone()));
        loop {
            let event = parser.next_event()?;
            if event != Event::NeedMore {
                return Ok(event);
            }
            let body = &mut self.body;
            let frame = poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut *body), cx)).await;
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        parser.push(data);
                    }
                }
                Some(Err(error)) => return Err(unreadable(error)),
                None => {
                    parser.finish()?;
                }
            }
        }
    }

    pub(super) fn too_large(&self) -> Rejection {
        Rejection::from(MultipartError::FieldTooLarge).for_request(&self.as_problem_for)
    }

    pub(super) fn failed(&self) -> Rejection {
        Rejection::failed().for_request(&self.as_problem_for)
    }
}

impl Field<'_> {
    /// The name of the field.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.disposition.name
    }

    /// What the file is called on the client's side, without folders; `None` if this is no file. It
    /// is not yours: do not open it.
    #[must_use]
    pub fn file_name(&self) -> Option<&str> {
        self.disposition.file_name.as_deref()
    }

    /// What the client takes its type for.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.headers.get(CONTENT_TYPE)?.to_str().ok()
    }

    /// All fields of its head.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The next piece of its content, or `None` at its end.
    ///
    /// # Errors
    /// As [`Multipart::next_field`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Rejection> {
        if !self.form.in_field {
            return Ok(None);
        }
        match self.form.event().await? {
            Event::Data(data) => Ok(Some(data)),
            _ => {
                self.form.in_field = false;
                Ok(None)
            }
        }
    }

    /// All of its content, up to [`Limits::field`].
    ///
    /// # Errors
    /// It is longer (413), or as [`Multipart::next_field`].
    pub async fn bytes(mut self) -> Result<Bytes, Rejection> {
        let mut all = Vec::new();
        while let Some(data) = self.chunk().await? {
            if all.len() + data.len() > self.form.limits.field {
                return Err(self.form.too_large());
            }
            all.extend_from_slice(&data);
        }
        Ok(all.into())
    }

    /// All of its content as text. What is no UTF-8 in it is replaced by `U+FFFD`.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes).
    pub async fn text(self) -> Result<String, Rejection> {
        let bytes = self.bytes().await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    pub(super) fn into_disposition(self) -> Disposition {
        self.disposition
    }

    pub(super) fn form(&self) -> &Multipart {
        self.form
    }
}

impl FromRequest for Multipart {
    type Rejection = Rejection;

    async fn from_request(request: Request<Body>) -> Result<Self, Rejection> {
        let (mut parts, body) = request.into_parts();
        let content_type = parts.headers.get(CONTENT_TYPE);
        let boundary = match content_type.and_then(|value| boundary_of(value.as_bytes())) {
            Some(Ok(boundary)) => boundary,
            Some(Err(error)) => return Err(Rejection::from(error).for_request(&parts.headers)),
            None => {
                let detail = "the body must be sent with the Content-Type `multipart/form-data`";
                let rejection = Rejection::of_type("multipart/form-data", detail);
                return Err(rejection.for_request(&parts.headers));
            }
        };
        // No more is needed than what says how to answer errors.
        let mut as_problem_for = HeaderMap::new();
        if let Some(accept) = parts.headers.remove(http::header::ACCEPT) {
            as_problem_for.insert(http::header::ACCEPT, accept);
        }
        Ok(Self {
            body,
            boundary,
            limits: Limits::default(),
            parser: None,
            in_field: false,
            as_problem_for,
        })
    }

    fn is_absent(request: &Request<Body>) -> bool {
        !request.headers().contains_key(CONTENT_TYPE) && request.body().is_empty()
    }
}
