//! HTTP/2 over real sockets, with other people's software at the other end: curl, nghttp, h2load,
//! httpx, Chromium and h2spec against our server, in plain text and over TLS, and nghttpd against our
//! client; and our own two in a simulated world.
//!
//! What is missing on this machine is said in one line; with `CI=true` it fails.

#[expect(dead_code, reason = "the tests of the TLS layer use more of it")]
#[path = "../../../tls/tests/tls/authority.rs"]
mod authority;
mod simulated;
mod websockets;

use std::cell::Cell;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;

use http::{HeaderMap, Request, Response, StatusCode};
use ropewalk::web::h2::{ClientConnection, Limits};
use ropewalk::web::{Body, HandlerFn, Site, handler_fn, send_interim};
use ropewalk::{Factory, Reactor, ReactorRemote};
use tempfile::TempDir;

use authority::Authority;

/// Where our server listens, and whom to trust.
#[derive(Clone)]
struct Server {
    plain: u16,
    tls: u16,
    roots: PathBuf,
}

fn missing(what: &str) {
    let message = format!("{what} is missing: what it would test is not tested");
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "{message}"
    );
    eprintln!("{message}");
}

fn tool(name: &str) -> Option<Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&path).collect();
    folders.push("/usr/sbin".into());
    let found = folders.into_iter().map(|folder| folder.join(name));
    let found = found.into_iter().find(|file| file.is_file());
    if found.is_none() {
        missing(name);
    }
    found.map(Command::new)
}

/// Answers with what was asked, `/echo` with what was sent, `/long` with 10 MB, and `/early` after a
/// hint.
fn site() -> Site<HandlerFn<impl Fn(Request<Body>) -> Response<Body>>> {
    Site::new(handler_fn(|request: Request<Body>| {
        let text = format!(
            "{} {} {:?}\n",
            request.method(),
            request.uri().path(),
            request.version()
        );
        Response::new(match request.uri().path() {
            "/echo" => {
                let mut body = request.into_body();
                body.set_limit(u64::MAX);
                body
            }
            "/long" => Body::from(vec![b'x'; 10_000_000]),
            "/early" => {
                let mut hint = HeaderMap::new();
                hint.insert("link", "</style.css>; rel=preload".parse().unwrap());
                assert!(send_interim(StatusCode::EARLY_HINTS, hint));
                Body::from(text)
            }
            _ => Body::from(text),
        })
    }))
}

/// Runs `client` on a thread while our server serves.
fn serve<T: Send + 'static>(client: impl FnOnce(&Server) -> T + Send + 'static) -> T {
    serve_site(&|| Rc::new(site()), client)
}

/// As [`serve`], with a site that `site` makes.
fn serve_site<T: Send + 'static>(
    site: &dyn Fn() -> Rc<dyn Factory>,
    client: impl FnOnce(&Server) -> T + Send + 'static,
) -> T {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let put = |name: &str, text: String| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        file
    };
    let roots = put("roots.pem", authority.roots());
    let pem = put("server.pem", authority.server(&["localhost"]).pem());
    let reactor = Reactor::new().unwrap();
    let listen = |endpoint: &str| {
        let port = reactor.listen(&endpoint.parse().unwrap(), site());
        port.unwrap().address().socket_addr().unwrap().port()
    };
    let server = Server {
        plain: listen("tcp:0:interface=127.0.0.1"),
        tls: listen(&format!(
            "tls:0:interface=127.0.0.1:certificate={}",
            pem.display()
        )),
        roots,
    };
    let remote = reactor.remote();
    let thread = std::thread::spawn(move || {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| client(&server)));
        remote.call_from_thread(|reactor| reactor.stop());
        result
    });
    reactor.run().unwrap();
    match thread.join().unwrap() {
        Ok(result) => result,
        Err(payload) => std::panic::resume_unwind(payload),
    }
}

/// What a command prints; it must end well.
#[track_caller]
fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let printed = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{command:?}:\n{printed}");
    printed
}

#[test]
fn curl_speaks_by_prior_knowledge_and_by_alpn() {
    serve(|server| {
        let Some(mut curl) = tool("curl") else {
            return;
        };
        curl.args(["-sS", "--http2-prior-knowledge"]);
        let url = format!("http://127.0.0.1:{}/tea", server.plain);
        assert_eq!(output(curl.arg(url)), "GET /tea HTTP/2.0\n");

        let mut curl = tool("curl").unwrap();
        curl.args(["-sS", "--http2", "--cacert"]).arg(&server.roots);
        let url = format!("https://localhost:{}/tea", server.tls);
        assert_eq!(output(curl.arg(url)), "GET /tea HTTP/2.0\n");

        let mut curl = tool("curl").unwrap();
        curl.args(["-sS", "--http1.1", "--cacert"])
            .arg(&server.roots);
        let url = format!("https://localhost:{}/tea", server.tls);
        assert_eq!(output(curl.arg(url)), "GET /tea HTTP/1.1\n");
    });
}

#[test]
fn curl_uploads_and_downloads() {
    serve(|server| {
        let Some(mut curl) = tool("curl") else {
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let (up, down) = (folder.path().join("up"), folder.path().join("down"));
        let content: Vec<u8> = (0..5_000_000_u32).map(|n| (n / 7) as u8).collect();
        fs::write(&up, &content).unwrap();
        curl.args([
            "-sS",
            "--http2-prior-knowledge",
            "-X",
            "POST",
            "--data-binary",
        ]);
        curl.arg(format!("@{}", up.display())).arg("-o").arg(&down);
        output(curl.arg(format!("http://127.0.0.1:{}/echo", server.plain)));
        assert!(fs::read(&down).unwrap() == content);

        let mut curl = tool("curl").unwrap();
        curl.args([
            "-sS",
            "--http2-prior-knowledge",
            "-o",
            "/dev/null",
            "-w",
            "%{size_download}",
        ]);
        let url = format!("http://127.0.0.1:{}/long", server.plain);
        assert_eq!(output(curl.arg(url)), "10000000");

        let mut curl = tool("curl").unwrap();
        curl.args([
            "-sSv",
            "--http2-prior-knowledge",
            "-H",
            "Expect: 100-continue",
            "-d",
            "tea",
        ]);
        let printed = output(curl.arg(format!("http://127.0.0.1:{}/echo", server.plain)));
        assert!(printed.starts_with("tea"), "{printed}");

        let mut curl = tool("curl").unwrap();
        curl.args(["-sSi", "--http2-prior-knowledge"]);
        let printed = output(curl.arg(format!("http://127.0.0.1:{}/early", server.plain)));
        assert!(printed.starts_with("HTTP/2 103"), "{printed}");
        assert!(printed.contains("HTTP/2 200"), "{printed}");
    });
}

#[test]
fn nghttp_and_h2load_ask_many_at_a_time() {
    serve(|server| {
        let Some(mut nghttp) = tool("nghttp") else {
            return;
        };
        let url = |path: &str| format!("http://127.0.0.1:{}{path}", server.plain);
        nghttp
            .args(["-v", "-m", "20"])
            .arg(url("/tea"))
            .arg(url("/early"));
        let printed = output(&mut nghttp);
        assert!(printed.contains("GET /tea HTTP/2.0"), "{printed}");
        assert!(!printed.contains("error_code=PROTOCOL_ERROR"), "{printed}");

        let Some(mut h2load) = tool("h2load") else {
            return;
        };
        h2load.args(["-n", "20000", "-c", "4", "-m", "50"]);
        let printed = output(h2load.arg(url("/")));
        assert!(printed.contains("20000 succeeded, 0 failed"), "{printed}");

        let mut h2load = tool("h2load").unwrap();
        h2load.args(["-n", "50", "-c", "2", "-m", "10"]);
        let printed = output(h2load.arg(format!("https://localhost:{}/long", server.tls)));
        assert!(printed.contains("50 succeeded, 0 failed"), "{printed}");
    });
}

#[test]
fn httpx_speaks_over_tls() {
    serve(|server| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let python = root.join("target/httpx/bin/python");
        if !python.is_file() {
            return missing("httpx (`.ci/run` says how to get it)");
        }
        let script = "\
            import asyncio, httpx, ssl, sys\n\
            async def main():\n\
            \x20   trust = ssl.create_default_context(cafile=sys.argv[2])\n\
            \x20   async with httpx.AsyncClient(http1=False, http2=True, verify=trust) as client:\n\
            \x20       base = f'https://localhost:{sys.argv[1]}'\n\
            \x20       answers = await asyncio.gather(*(client.get(f'{base}/{n}') for n in range(90)))\n\
            \x20       assert all(a.http_version == 'HTTP/2' for a in answers)\n\
            \x20       assert [a.text for a in answers] == [f'GET /{n} HTTP/2.0\\n' for n in range(90)]\n\
            \x20       sent = bytes(range(256)) * 4000\n\
            \x20       assert (await client.post(f'{base}/echo', content=sent)).content == sent\n\
            \x20       assert (await client.post(f'{base}/', content=sent[:50000])).status_code == 200\n\
            \x20       print('well')\n\
            asyncio.run(main())\n";
        let mut command = Command::new(python);
        command
            .args(["-c", script, &server.tls.to_string()])
            .arg(&server.roots);
        assert_eq!(output(&mut command), "well\n");
    });
}

/// Not in CI, where no package has it: `H2SPEC` says where it is.
#[test]
fn h2spec_finds_nothing() {
    let Some(h2spec) = std::env::var_os("H2SPEC") else {
        return;
    };
    serve(move |server| {
        for args in [
            vec!["-p".to_owned(), server.plain.to_string()],
            vec![
                "-t".into(),
                "-k".into(),
                "-p".into(),
                server.tls.to_string(),
            ],
        ] {
            let mut command = Command::new(&h2spec);
            command
                .args(["-S", "-h", "127.0.0.1", "-o", "5"])
                .args(args);
            let printed = output(&mut command);
            assert!(printed.contains(" 0 failed"), "{printed}");
        }
    });
}

/// nghttpd, with a folder to serve.
struct Nghttpd {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Nghttpd {
    /// It listens when this returns.
    fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("long"), vec![b'x'; 3_000_000]).unwrap();
        // It tells of no port that it chose, and one that was free a moment ago need not be so any
        // more: then it ends, and has not said that it listens.
        for _ in 0..20 {
            let port = free_port();
            let mut nghttpd = tool("nghttpd")?;
            nghttpd.args(["-v", "--no-tls", "-a", "127.0.0.1", "--echo-upload", "-d"]);
            nghttpd.arg(folder.path()).arg(port.to_string());
            let child = nghttpd.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
            let mut child = child.unwrap();
            let mut says = BufReader::new(child.stdout.take().unwrap());
            let mut line = String::new();
            says.read_line(&mut line).unwrap();
            if line.contains("listen") {
                std::thread::spawn(move || std::io::copy(&mut says, &mut std::io::sink()));
                return Some(Self {
                    child,
                    port,
                    _folder: folder,
                });
            }
            child.wait().unwrap();
        }
        panic!("nghttpd listens on none of 20 ports");
    }
}

impl Drop for Nghttpd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One that nobody listens on: not this function either, when it has returned.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// What `main` gives. If it panics, so does this.
fn run<T: 'static>(reactor: &Reactor, main: impl Future<Output = T> + 'static) -> T {
    let result: Rc<Cell<Option<T>>> = Rc::default();
    let (ended, given) = (Ended(reactor.remote()), Rc::clone(&result));
    reactor.spawn(Box::pin(async move {
        let _ended = ended;
        given.set(Some(main.await));
    }));
    reactor.run().unwrap();
    result.take().expect("a task that does not panic")
}

/// Stops the reactor when its task is over, however that ends.
struct Ended(ReactorRemote);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.call_from_thread(|reactor| reactor.stop());
    }
}

#[test]
fn our_client_speaks_with_nghttpd() {
    let Some(nghttpd) = Nghttpd::start() else {
        return;
    };
    let reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let host = format!("127.0.0.1:{}", nghttpd.port);
    run(&reactor, async move {
        let endpoint = format!("tcp:{host}").parse().unwrap();
        let connection = ClientConnection::connect(&handle, &endpoint, Limits::default())
            .await
            .unwrap();
        let get = |path: &str| {
            let request = Request::get(format!("http://{host}{path}"));
            request.body(Body::empty()).unwrap()
        };
        let response = connection.send(get("/long")).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.len(), 3_000_000);
        let sent = vec![b'y'; 2_000_000];
        let post = Request::post(format!("http://{host}/echo"));
        let post = post.body(Body::from(sent.clone())).unwrap();
        let response = connection.send(post).await.unwrap();
        assert!(response.into_body().collect().await.unwrap() == sent);
        let response = connection.send(get("/none")).await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
    });
}

#[test]
#[should_panic(expected = "a task that does not panic")]
fn a_task_of_these_tests_that_panics_ends_its_test() {
    let reactor = Reactor::new().unwrap();
    run(&reactor, async { panic!("no test is to hang") });
}
