//! Other people's clients: curl and Python's requests, over real sockets.
//!
//! A test whose client is not on this machine says so in one line; with `CI=true` it fails.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use http::{Request, Response};
use ropewalk_core::ReactorCore;
use ropewalk_reactor::{Reactor, ReactorRemote};
use ropewalk_web::auth::{BasicCredentialFactory, DigestCredentialFactory, HttpAuth};
use ropewalk_web::credentials::MemoryChecker;
use ropewalk_web::session::{MemoryStore, Session, Sessions};
use ropewalk_web::{Body, BoxError, Randomness, Site, handler_fn};
use tower_layer::Layer;

use super::rig::greet;

/// The path of a program, if it is on this machine.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    if found.is_none() {
        missing(name);
    }
    found
}

fn missing(name: &str) {
    let message = format!("{name} is missing: what it would test is not tested");
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "{message}"
    );
    eprintln!("{message}");
}

fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {complaint}");
    output
}

fn said(command: &mut Command) -> String {
    String::from_utf8(run(command).stdout).unwrap()
}

/// A server on a thread of its own.
struct Server {
    port: u16,
    remote: ReactorRemote,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(listen: impl FnOnce(&Reactor, Rc<dyn ReactorCore>) -> u16 + Send + 'static) -> Self {
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let reactor = Reactor::new().unwrap();
            let port = listen(&reactor, Rc::new(reactor.handle()));
            tell.send((port, reactor.handle().remote())).unwrap();
            reactor.run().unwrap();
        });
        let (port, remote) = told.recv().unwrap();
        Self {
            port,
            remote,
            thread: Some(thread),
        }
    }

    fn with_auth(auth: impl FnOnce(Rc<dyn ReactorCore>) -> HttpAuth + Send + 'static) -> Self {
        Self::start(|reactor, core| {
            let site = Site::new(auth(core).layer(handler_fn(greet)));
            let port = reactor.listen(&"tcp:0:interface=127.0.0.1".parse().unwrap(), Rc::new(site));
            port.unwrap().address().port().unwrap()
        })
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.remote.call_from_thread(|handle| handle.stop());
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

fn users() -> MemoryChecker {
    MemoryChecker::new()
        .user("ada", "l:ove \"lace\"")
        .user("jörg", "pässwörd")
}

fn basic() -> Server {
    Server::with_auth(|_| HttpAuth::new(users()).scheme(BasicCredentialFactory::new("the engine")))
}

fn digest(md5: bool) -> Server {
    Server::with_auth(move |reactor| {
        let digest = DigestCredentialFactory::new(reactor, "the engine", &Randomness::system());
        HttpAuth::new(users()).scheme(digest.unwrap().allow_md5(md5))
    })
}

#[test]
fn curl_logs_in_by_basic() {
    let Some(curl) = tool("curl") else { return };
    let server = basic();
    let url = server.url("/a?b=c");
    let get = |user: &str| said(Command::new(&curl).args(["-s", "-u", user, &url]));
    assert_eq!(get("ada:l:ove \"lace\""), "ada by Basic");
    assert_eq!(get("jörg:pässwörd"), "jörg by Basic");
    assert_eq!(get("ada:other"), "Please log in.\n");
    // It asks first, without the password.
    let text =
        said(Command::new(&curl).args(["-s", "--anyauth", "-u", "ada:l:ove \"lace\"", &url]));
    assert_eq!(text, "ada by Basic");
}

#[test]
fn curl_logs_in_by_digest() {
    let Some(curl) = tool("curl") else { return };
    for md5 in [false, true] {
        let server = digest(md5);
        let url = server.url("/a?b=c,d");
        let get =
            |user: &str| said(Command::new(&curl).args(["-s", "--digest", "-u", user, &url, &url]));
        // Two requests: the second one counts up on the same nonce.
        assert_eq!(
            get("ada:l:ove \"lace\""),
            "ada by Digestada by Digest",
            "md5: {md5}"
        );
        assert_eq!(get("ada:other"), "Please log in.\nPlease log in.\n");
        let posted = said(Command::new(&curl).args([
            "-s",
            "--digest",
            "-u",
            "jörg:pässwörd",
            "-d",
            "x=1",
            &url,
        ]));
        assert_eq!(posted, "jörg by Digest");
    }
}

#[test]
fn the_requests_of_python_log_in() {
    let Some(python) = tool("python3") else {
        return;
    };
    let has_requests = Command::new(&python)
        .args(["-c", "import requests"])
        .output();
    if !has_requests.unwrap().status.success() {
        return missing("requests, of Python,");
    }
    const SCRIPT: &str = "
import sys, requests
from requests.auth import HTTPBasicAuth, HTTPDigestAuth
url, kind = sys.argv[1:]
auth = {'basic': HTTPBasicAuth, 'digest': HTTPDigestAuth}[kind]
with requests.Session() as session:
    session.auth = auth('ada', 'l:ove \"lace\"')
    for path in ['/a', '/b?c=d', '/a']:
        print(session.get(url + path).text)
    session.auth = auth('ada', 'other')
    print(session.get(url + '/a').status_code)
";
    for (kind, server) in [
        ("basic", basic()),
        ("digest", digest(false)),
        ("digest", digest(true)),
    ] {
        let text = said(Command::new(&python).args(["-c", SCRIPT, &server.url(""), kind]));
        let line = if kind == "basic" {
            "ada by Basic"
        } else {
            "ada by Digest"
        };
        assert_eq!(text.lines().collect::<Vec<_>>(), [line, line, line, "401"]);
    }
}

#[test]
fn curl_keeps_a_session_in_its_cookie_jar() {
    let Some(curl) = tool("curl") else { return };
    let server = Server::start(|reactor, core| {
        let count = AsyncHandler(|request: Request<Body>| async move {
            let session = Session::load(&request).await?;
            if request.uri().path() == "/logout" {
                session.destroy()?;
                return Ok(Response::new(Body::from("bye")));
            }
            let visits = session.get::<u32>("visits")?.unwrap_or(0) + 1;
            session.insert("visits", &visits)?;
            session.rotate()?;
            Ok(Response::new(Body::from(visits.to_string())))
        });
        let site = Site::new(Sessions::new(core, MemoryStore::default()).layer(count));
        let port = reactor.listen(&"tcp:0:interface=127.0.0.1".parse().unwrap(), Rc::new(site));
        port.unwrap().address().port().unwrap()
    });
    let folder = tempfile::tempdir().unwrap();
    let jar = folder.path().join("jar");
    let get = |path: &str| {
        let mut command = Command::new(&curl);
        said(
            command
                .args(["-s", "-b"])
                .arg(&jar)
                .arg("-c")
                .arg(&jar)
                .arg(server.url(path)),
        )
    };
    for visit in 1..=3 {
        assert_eq!(get("/"), visit.to_string());
    }
    assert_eq!(get("/logout"), "bye");
    let kept = std::fs::read_to_string(&jar).unwrap();
    assert!(!kept.contains("session"), "{kept}");
    assert_eq!(get("/"), "1");
}

/// A service of an `async` function.
#[derive(Clone)]
struct AsyncHandler<F>(F);

impl<F, A> tower_service::Service<Request<Body>> for AsyncHandler<F>
where
    F: Fn(Request<Body>) -> A,
    A: Future<Output = Result<Response<Body>, BoxError>> + 'static,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = std::pin::Pin<Box<A>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), BoxError>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin((self.0)(request))
    }
}
