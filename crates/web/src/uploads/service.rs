//! The service: from a request to a file.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, HeaderMap, HeaderName, HeaderValue,
};
use http::{Method, Request, Response, StatusCode};
use ropewalk_core::{Failure, ThreadJobError};
use rustix::io::Errno;
use tower_service::Service;

use super::content_range::ContentRange;
use super::partial::{Completed, OpenError, Partial, Place, Received};
use crate::answer::{IntoResponse, Rejection};
use crate::answering::Answering;
use crate::blocking::blocking;
use crate::body::{Body, BoxError};
use crate::boxed_service::{Answer, BoxService};
use crate::extract::unreadable;
use crate::files::conditional::Preconditions;
use crate::files::{RequestPath, Root, refusal};

const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const UPLOAD_COMPLETE: HeaderName = HeaderName::from_static("upload-complete");

/// What waits in memory before a thread writes it.
const GATHER: usize = 64 * 1024;

/// Takes files into a folder: see the [module](super). A clone is cheap.
#[derive(Clone)]
pub struct Uploads {
    root: Rc<Root>,
    max_size: u64,
    downloads: Option<BoxService>,
}

impl Uploads {
    /// Uploads into the folder `root`.
    ///
    /// # Errors
    /// When `root` cannot be opened, or is not a folder.
    pub fn new(root: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self {
            root: Rc::new(Root::new(root.as_ref())?),
            max_size: 1 << 30,
            downloads: None,
        })
    }

    /// How many bytes a file may have; 1 GiB unless told. It takes the place of the site's limit of
    /// bodies.
    #[must_use]
    pub fn max_size(mut self, bytes: u64) -> Self {
        self.max_size = bytes;
        self
    }

    /// Has `downloads`, usually a [`FileService`](crate::FileService) of the same folder, answer all
    /// but PUT and HEAD.
    #[must_use]
    pub fn with_downloads<S, B>(mut self, downloads: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
        S::Future: 'static,
        S::Error: Into<BoxError> + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.downloads = Some(BoxService::new(downloads));
        self
    }

    /// Answers `request`.
    pub fn answer(&self, request: Request<Body>) -> Answering<Answer> {
        let uploads = self.clone();
        match *request.method() {
            Method::PUT => Answering::new(async move { Ok(uploads.put(request).await) }),
            Method::HEAD => Answering::new(async move { Ok(uploads.head(&request).await) }),
            _ => match &self.downloads {
                Some(downloads) => downloads
                    .answer(request)
                    .map(|answer| answer.map(allow_put)),
                None => {
                    let allow = HeaderValue::from_static("HEAD, OPTIONS, PUT");
                    let (method, headers) = (request.method(), request.headers());
                    Answering::ready(Ok(match *method {
                        Method::OPTIONS => ([(ALLOW, allow)], ()).into_response(),
                        _ => Rejection::of_method(method, headers, allow),
                    }))
                }
            },
        }
    }

    async fn head(&self, request: &Request<Body>) -> Response<Body> {
        let received = async {
            let place = self.place(request.uri().path())?;
            let received = blocking(move || place.received()).await;
            let received = received.map_err(|failure| failed(&failure))?;
            received.ok_or_else(Rejection::not_found)
        };
        match received.await {
            Ok(received) => {
                let mut response = StatusCode::OK.into_response();
                let headers = response.headers_mut();
                tell(headers, received);
                headers.insert(CONTENT_LENGTH, received.bytes.into());
                // It will soon be more.
                headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                response
            }
            Err(rejection) => rejection.for_request(request.headers()).into_response(),
        }
    }

    async fn put(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        match self.receive(parts.uri.path(), &parts.headers, body).await {
            Ok(response) => response,
            Err(Refused {
                rejection,
                received,
            }) => {
                let mut response = rejection.for_request(&parts.headers).into_response();
                if let Some(bytes) = received {
                    let headers = response.headers_mut();
                    tell(
                        headers,
                        Received {
                            bytes,
                            complete: false,
                        },
                    );
                    if let Ok(value) = HeaderValue::try_from(format!("bytes */{bytes}")) {
                        headers.insert(CONTENT_RANGE, value);
                    }
                }
                response
            }
        }
    }

    async fn receive(
        &self,
        path: &str,
        headers: &HeaderMap,
        mut body: Body,
    ) -> Result<Response<Body>, Refused> {
        let range = match ContentRange::of(headers) {
            Some(None) => {
                let detail = "the Content-Range must be `bytes first-last/total`";
                return Err(Rejection::bad_request(detail).into());
            }
            Some(range) => range,
            None => None,
        };
        let expected = range.map(|range| range.len()).or_else(|| body.len());
        if range.map(|range| range.total).or(expected) > Some(self.max_size) {
            let detail = format!("a file may have no more than {} bytes", self.max_size);
            return Err(Rejection::new(StatusCode::PAYLOAD_TOO_LARGE, detail).into());
        }
        if body.len().is_some() && body.len() != expected {
            let detail = "the Content-Range and the Content-Length differ";
            return Err(Rejection::bad_request(detail).into());
        }
        body.set_limit(expected.unwrap_or(self.max_size));
        let place = self.place(path)?;
        let first = range.map_or(0, |range| range.first);
        let conditions = Preconditions::of(headers);
        let opened = blocking(move || Ok(place.open(first, conditions))).await;
        let partial = match opened.map_err(|failure| failed(&failure))? {
            Ok(partial) => partial,
            Err(error) => return Err(error.into()),
        };
        let partial = write(partial, body).await?;
        let received = partial.received();
        let wanted = expected.map_or(received, |expected| first + expected);
        if received < wanted {
            let detail = "the body is shorter than it was said to be";
            return Err(Rejection::bad_request(detail).into());
        }
        if range.is_some_and(|range| received < range.total) {
            let mut response = StatusCode::ACCEPTED.into_response();
            let received = Received {
                bytes: received,
                complete: false,
            };
            tell(response.headers_mut(), received);
            return Ok(response);
        }
        let completed = blocking(move || partial.complete()).await;
        match completed.map_err(|failure| failed(&failure))? {
            Completed::Created => Ok(StatusCode::CREATED.into_response()),
            Completed::Replaced => Ok(StatusCode::NO_CONTENT.into_response()),
            Completed::Refused => Err(not_as_said().into()),
        }
    }

    /// The folder and name that a path stands for.
    fn place(&self, path: &str) -> Result<Place, Rejection> {
        let refuse = |status: StatusCode| match status {
            StatusCode::NOT_FOUND => Rejection::not_found(),
            status => Rejection::new(status, "the path is malformed"),
        };
        let path = RequestPath::parse(path).map_err(refuse)?;
        if path.is_folder() {
            return Err(Rejection::not_found());
        }
        let path = path.as_bytes();
        let (folder, name) = match memchr::memrchr(b'/', path) {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&b""[..], path),
        };
        match self.root.pass(folder) {
            Ok(folder) => Ok(Place::new(folder, name, wall_clock())),
            Err(error) => Err(match refusal(&error, path) {
                StatusCode::NOT_FOUND => Rejection::new(
                    StatusCode::CONFLICT,
                    "there is no such folder to put it into",
                ),
                status => Rejection::new(status, "the folder cannot be opened"),
            }),
        }
    }
}

/// An answer of the downloads, which do not know that PUT is allowed here.
fn allow_put(mut response: Response<Body>) -> Response<Body> {
    let allowed = response.headers().get(ALLOW);
    let allowed = allowed.and_then(|allowed| allowed.to_str().ok());
    if let Some(allowed) = allowed
        && !allowed.split(',').any(|method| method.trim() == "PUT")
        && let Ok(allow) = HeaderValue::try_from(format!("{allowed}, PUT"))
    {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

#[expect(
    clippy::disallowed_methods,
    reason = "the files are the system's, and so is the clock that dates them"
)]
fn wall_clock() -> fn() -> SystemTime {
    SystemTime::now
}

fn not_as_said() -> Rejection {
    let detail = "what is there is not as the request says, and stays";
    Rejection::new(StatusCode::PRECONDITION_FAILED, detail)
}

/// Writes all of `body`, on threads. What has come of one that breaks off is written too.
async fn write(mut partial: Partial, mut body: Body) -> Result<Partial, Refused> {
    let mut gathered = Vec::new();
    loop {
        let frame = poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut body), cx)).await;
        let end = match frame {
            None => Some(Ok(())),
            Some(Err(error)) => Some(Err(error)),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    gathered.extend_from_slice(&data);
                }
                None
            }
        };
        if gathered.len() >= GATHER || end.is_some() && !gathered.is_empty() {
            let piece = std::mem::take(&mut gathered);
            let written = blocking(move || partial.write(&piece)).await;
            partial = written.map_err(|failure| failed(&failure))?;
        }
        match end {
            None => {}
            Some(Ok(())) => return Ok(partial),
            Some(Err(error)) => return Err(unreadable(error).into()),
        }
    }
}

/// Says how much has come.
fn tell(headers: &mut HeaderMap, received: Received) {
    headers.insert(UPLOAD_OFFSET, received.bytes.into());
    let complete = if received.complete { "?1" } else { "?0" };
    headers.insert(UPLOAD_COMPLETE, HeaderValue::from_static(complete));
}

/// What is answered instead, and how much has come, if that is what is wrong.
struct Refused {
    rejection: Rejection,
    received: Option<u64>,
}

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        Self {
            rejection,
            received: None,
        }
    }
}

impl From<OpenError> for Refused {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Refused => not_as_said().into(),
            OpenError::Busy => {
                let detail = "somebody else uploads this file at the moment";
                Rejection::new(StatusCode::CONFLICT, detail).into()
            }
            OpenError::Gap(received) => {
                let detail = format!("only {received} bytes have come; go on from there");
                Self {
                    rejection: Rejection::new(StatusCode::RANGE_NOT_SATISFIABLE, detail),
                    received: Some(received),
                }
            }
            OpenError::Io(error) => failed(&error.into()).into(),
        }
    }
}

/// What the system has refused, as an answer.
fn failed(failure: &Failure) -> Rejection {
    if failure.check::<ThreadJobError>().is_some() {
        tracing::warn!(
            failure = &*failure.to_error(),
            "no thread writes what is uploaded"
        );
        let detail = "the server has too much to write at the moment; come back later";
        return Rejection::new(StatusCode::SERVICE_UNAVAILABLE, detail);
    }
    let error = failure.check::<io::Error>();
    match error.and_then(Errno::from_io_error) {
        Some(Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {
            Rejection::new(StatusCode::CONFLICT, "a folder has this name")
        }
        Some(Errno::NAMETOOLONG) => Rejection::bad_request("the name is too long"),
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Rejection::new(
            StatusCode::FORBIDDEN,
            "the server is not allowed to write here",
        ),
        Some(Errno::NOSPC | Errno::DQUOT) => {
            tracing::error!("no room is left for what is uploaded");
            Rejection::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "there is no room left for it",
            )
        }
        _ => {
            tracing::error!(
                failure = &*failure.to_error(),
                "cannot write what is uploaded"
            );
            Rejection::failed()
        }
    }
}

impl<B> Service<Request<B>> for Uploads
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

impl fmt::Debug for Uploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uploads")
            .field("root", &self.root.path())
            .field("max_size", &self.max_size)
            .finish_non_exhaustive()
    }
}
