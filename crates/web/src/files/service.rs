//! The service: from a request to the answer.

use std::cell::RefCell;
use std::convert::Infallible;
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::future::{Ready, ready};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};

use http::header::{
    ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue,
    LAST_MODIFIED, LOCATION, RANGE, RETRY_AFTER, VARY,
};
use http::{Method, Request, Response, StatusCode};
use percent_encoding::{AsciiSet, percent_encode};

use super::cache::Cache;
use super::conditional::{self, Verdict};
use super::listing::{self, listing};
use super::multipart;
use super::page::status_page;
use super::path::RequestPath;
use super::range::{self, Selection};
use super::representation::{Form, Representation, Stamp};
use super::root::{Root, refusal};
use crate::content_coding::ContentCoding;
use crate::{Body, OriginalUri, RequestInfo};

const DEFAULT_CACHE: usize = 32 * 1024 * 1024;

/// A path keeps its slashes.
const PATH: &AsciiSet = &listing::RESERVED.remove(b'/');

/// Serves the files of a folder. What it promises is told in the [module](super).
///
/// A clone is cheap and shares the cache. It stays on one thread: each loop has its own.
///
/// ```
/// use http::{Request, StatusCode};
/// use ropewalk_web::files::FileService;
/// use std::time::Instant;
///
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path();
/// std::fs::write(folder.join("index.html"), "<p>Hello")?;
/// let files = FileService::new(folder)?;
///
/// let request = Request::get("/").body(())?;
/// let response = files.respond(&request, Instant::now());
/// assert_eq!(response.status(), StatusCode::OK);
/// assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
/// assert_eq!(response.body().len(), Some(8));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct FileService {
    root: Rc<Root>,
    pub(super) cache: Rc<RefCell<Cache>>,
    pub(super) index: Rc<str>,
    listing: bool,
    /// The compressed forms that are looked for, the one that is liked best first.
    pub(super) codings: Rc<[ContentCoding]>,
    /// Not the loop's: it is compared with the times of files, which the system's clock made.
    pub(super) wall_clock: fn() -> SystemTime,
}

/// What a path leads to.
pub(super) enum Found {
    File(Rc<Representation>),
    /// A folder that was asked for without its `/`.
    FolderWithoutSlash,
    FolderToList(File),
}

/// A file that is looked for.
pub(super) struct Wanted<'a> {
    /// What it is cached as.
    pub(super) key: &'a [u8],
    pub(super) name: &'a [u8],
    pub(super) form: Form,
}

impl FileService {
    /// Serves the folder `root`. If its path later leads to another folder, because it was
    /// renamed or a link was turned, that one is served.
    ///
    /// # Errors
    /// When `root` cannot be opened, or is not a folder.
    #[expect(
        clippy::disallowed_methods,
        reason = "the files are the system's, and so is the clock that dates them"
    )]
    pub fn new(root: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self {
            root: Rc::new(Root::new(root.as_ref())?),
            cache: Rc::new(RefCell::new(Cache::new(DEFAULT_CACHE))),
            index: Rc::from("index.html"),
            listing: false,
            codings: Rc::new([]),
            wall_clock: SystemTime::now,
        })
    }

    /// The file that stands for its folder; `index.html` unless told. With an empty name none
    /// does.
    #[must_use]
    pub fn index(mut self, name: &str) -> Self {
        self.index = Rc::from(name);
        // What is cached for a folder came from its old index.
        let limit = self.cache.borrow().limit();
        self.cache(limit)
    }

    /// Whether a folder with no index is shown as a list of its files. It is not, unless told.
    #[must_use]
    pub fn listing(mut self, listing: bool) -> Self {
        self.listing = listing;
        self
    }

    /// How many bytes of memory the cache may take; 32 MiB unless told, 0 for no cache.
    ///
    /// Each loop has its own cache. It holds files of up to 64 KiB, and counts about 2 KiB for
    /// each beside its content.
    #[must_use]
    pub fn cache(mut self, bytes: usize) -> Self {
        self.cache = Rc::new(RefCell::new(Cache::new(bytes)));
        self
    }

    /// Answers `request` at once. `now` decides whether the cache is fresh enough, and should be
    /// the time of the loop's turn.
    #[must_use]
    pub fn respond<B>(&self, request: &Request<B>, now: Instant) -> Response<Body> {
        self.answer(request, Some(now))
    }

    fn answer<B>(&self, request: &Request<B>, now: Option<Instant>) -> Response<Body> {
        let method = request.method();
        if method != Method::GET && method != Method::HEAD {
            return answer_no_read(method);
        }
        let mut response = self.get(request, now).unwrap_or_else(|status| {
            let mut response = status_page(status);
            if status == StatusCode::SERVICE_UNAVAILABLE {
                let headers = response.headers_mut();
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            response
        });
        if method == Method::HEAD {
            *response.body_mut() = Body::empty();
        }
        response
    }

    fn get<B>(
        &self,
        request: &Request<B>,
        now: Option<Instant>,
    ) -> Result<Response<Body>, StatusCode> {
        let path = RequestPath::parse(request.uri().path())?;
        if path.as_bytes().is_empty() && !OriginalUri::of(request).path().ends_with('/') {
            return Ok(redirect(&path, request));
        }
        let fresh = now.and_then(|now| self.cache.borrow_mut().fresh(path.as_bytes(), now));
        let found = match fresh {
            Some(representation) => Found::File(representation),
            None => self.find(&path, now).inspect_err(|_| {
                self.cache.borrow_mut().remove(path.as_bytes());
            })?,
        };
        match found {
            Found::File(original) => {
                let asked = request.headers();
                let best = self.best_form(asked, &path, original, now);
                Ok(conditional_answer(request.method(), asked, &best))
            }
            Found::FolderWithoutSlash => Ok(redirect(&path, request)),
            Found::FolderToList(folder) => listing(&self.root, &folder, path.as_bytes())
                .map_err(|error| refusal(&error, path.as_bytes())),
        }
    }

    /// Looks in the file system.
    fn find(&self, path: &RequestPath<'_>, now: Option<Instant>) -> Result<Found, StatusCode> {
        let name = path.as_bytes();
        let form = match self.codings.is_empty() {
            true => Form::Only,
            false => Form::Original,
        };
        let wanted = |name| Wanted {
            key: path.as_bytes(),
            name,
            form,
        };
        if !path.is_folder() {
            return match self.open(&wanted(name), now) {
                // It may be one to pass through, but not to read.
                Err(StatusCode::FORBIDDEN) if self.root.is_folder(name) => {
                    Ok(Found::FolderWithoutSlash)
                }
                found => found,
            };
        }
        let index = [name, self.index.as_bytes()].concat();
        match self.open(&wanted(&index), now) {
            Ok(Found::FolderWithoutSlash) | Err(StatusCode::NOT_FOUND) => {}
            found => return found,
        }
        if !self.listing {
            return Err(StatusCode::NOT_FOUND);
        }
        let folder = self.root.open(name);
        let folder = folder.map_err(|error| refusal(&error, name))?;
        Ok(Found::FolderToList(folder))
    }

    /// Opens a file, or finds it in the cache.
    pub(super) fn open(
        &self,
        wanted: &Wanted<'_>,
        now: Option<Instant>,
    ) -> Result<Found, StatusCode> {
        let Wanted { key, name, form } = *wanted;
        let refuse = |error| refusal(&error, name);
        let file = self.root.open(name).map_err(refuse)?;
        let metadata = file.metadata().map_err(refuse)?;
        if metadata.is_dir() {
            return Ok(Found::FolderWithoutSlash);
        }
        if !metadata.is_file() {
            return Err(StatusCode::NOT_FOUND);
        }
        let mut cache = self.cache.borrow_mut();
        if let Some(current) = cache.confirm(key, &Stamp::of(&metadata), now) {
            return Ok(Found::File(current));
        }
        let as_path = Path::new(OsStr::from_bytes(name));
        let loaded = Representation::new(file, &metadata, as_path, form, self.wall_clock);
        let loaded = Rc::new(loaded.map_err(refuse)?);
        cache.insert(key, &loaded, now);
        Ok(Found::File(loaded))
    }
}

impl fmt::Debug for FileService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileService")
            .field("root", &self.root.path())
            .field("index", &self.index)
            .field("listing", &self.listing)
            .finish_non_exhaustive()
    }
}

/// Reads the time of the loop from the [`RequestInfo`] of the request; without it, each answer
/// looks at the file.
impl<B: 'static> tower_service::Service<Request<B>> for FileService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let now = RequestInfo::of(&request).map(|info| info.received_at);
        ready(Ok(self.answer(&request, now)))
    }
}

/// Answers a method that reads no file (RFC 9110, sections 9.1 and 9.3.7).
fn answer_no_read(method: &Method) -> Response<Body> {
    let mut response = match *method {
        Method::OPTIONS => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE
        | Method::CONNECT
        | Method::TRACE => status_page(StatusCode::METHOD_NOT_ALLOWED),
        _ => return status_page(StatusCode::NOT_IMPLEMENTED),
    };
    let methods = HeaderValue::from_static("GET, HEAD, OPTIONS");
    response.headers_mut().insert(ALLOW, methods);
    response
}

/// Answers with `file`, or a part of it, or the news that the client has it.
fn conditional_answer(method: &Method, asked: &HeaderMap, file: &Representation) -> Response<Body> {
    match conditional::judge(asked, file.validators()) {
        Verdict::Proceed => {}
        Verdict::NotModified => return not_modified(file),
        Verdict::Failed => return status_page(StatusCode::PRECONDITION_FAILED),
    }
    // Ranges are defined for one line.
    let selection = match asked.get(RANGE) {
        Some(value)
            if asked.get_all(RANGE).iter().nth(1).is_none()
                && conditional::range_applies(asked, file.validators()) =>
        {
            range::select(value.as_bytes(), file.len())
        }
        _ => Selection::Whole,
    };
    let len = file.len();
    match selection {
        // And for GET alone (RFC 9110, section 14.2). But HEAD may say no other length than GET would have
        // (section 8.6).
        Selection::One(_) | Selection::Many(_) | Selection::Unsatisfiable
            if method == Method::HEAD =>
        {
            let mut response = Response::new(Body::empty());
            response.headers_mut().clone_from(file.headers());
            response.headers_mut().remove(CONTENT_LENGTH);
            response
        }
        Selection::Whole => {
            let mut response = Response::new(file.body());
            response.headers_mut().clone_from(file.headers());
            response
        }
        Selection::One(range) => {
            let content_range = format!("bytes {}-{}/{len}", range.start, range.end - 1);
            let body = Body::from(vec![file.part(&range)]);
            let mut response = partial(file, body);
            if let Ok(value) = HeaderValue::try_from(content_range) {
                response.headers_mut().insert(CONTENT_RANGE, value);
            }
            response
        }
        Selection::Many(ranges) => {
            let (content_type, body) = multipart::byteranges(file, &ranges);
            let mut response = partial(file, body);
            response.headers_mut().insert(CONTENT_TYPE, content_type);
            response
        }
        Selection::Unsatisfiable => {
            let mut response = status_page(StatusCode::RANGE_NOT_SATISFIABLE);
            if let Ok(value) = HeaderValue::try_from(format!("bytes */{len}")) {
                response.headers_mut().insert(CONTENT_RANGE, value);
            }
            response
        }
    }
}

fn partial(file: &Representation, body: Body) -> Response<Body> {
    let length = body.len().map(HeaderValue::from);
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let headers = response.headers_mut();
    headers.clone_from(file.headers());
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, length);
    }
    response
}

fn not_modified(file: &Representation) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    let headers = response.headers_mut();
    let validators = file.validators();
    if let Some(etag) = &validators.etag {
        headers.insert(ETAG, etag.clone());
    }
    if let Some(modified) = &validators.last_modified {
        headers.insert(LAST_MODIFIED, modified.value.clone());
    }
    if let Some(vary) = file.headers().get(VARY) {
        headers.insert(VARY, vary.clone());
    }
    response
}

/// Sends the client to the folder's own address, so that relative links in its page work.
///
/// The path was taken apart and put together again: it begins with one slash, and cannot be read
/// as the name of another host. What stands before it led here, and is left as it is.
fn redirect<B>(path: &RequestPath<'_>, request: &Request<B>) -> Response<Body> {
    let prefix = OriginalUri::prefix(request).trim_start_matches('/');
    let slash = if prefix.is_empty() { "" } else { "/" };
    let mut location = match path.as_bytes() {
        b"" => format!("/{prefix}/"),
        name => format!("{slash}{prefix}/{}/", percent_encode(name, PATH)),
    };
    if let Some(query) = request.uri().query() {
        location.push('?');
        location.push_str(query);
    }
    let Ok(location) = HeaderValue::try_from(location) else {
        return status_page(StatusCode::BAD_REQUEST);
    };
    let mut response = status_page(StatusCode::MOVED_PERMANENTLY);
    response.headers_mut().insert(LOCATION, location);
    response
}
