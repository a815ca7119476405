//! Autobahn|Testsuite: its fuzzing client against our server, and its fuzzing server against our client.
//!
//! Which cases are run can be said by `AUTOBAHN_CASES`: `["*"]` for all of them, which takes long.

use std::cell::Cell;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;

use ropewalk::web::websocket::{Deflate, Message, Options, WebSocketClient, WebSocketStream};
use ropewalk::{Deferred, Failure, Handle, Reactor, Retry};
use serde_json::Value;

use crate::authority::Authority;
use crate::{echo, installed, secured_echo};

/// Sections 1 to 7 and 10, and of each group of 12 and 13 one case.
const CASES: &str = r#"["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*",
    "12.1.1", "12.2.1", "12.3.1", "12.4.1", "12.5.1",
    "13.1.1", "13.2.1", "13.3.1", "13.4.1", "13.5.1", "13.6.1", "13.7.1"]"#;

fn cases() -> String {
    std::env::var("AUTOBAHN_CASES").unwrap_or(CASES.into())
}

/// `wstest`, which is to run in a folder of its own.
fn wstest(mode: &str, folder: &Path, spec: &str) -> Option<Command> {
    let program = installed("autobahn/bin/wstest")?;
    let program = program.canonicalize().unwrap();
    let file = folder.join("spec.json");
    fs::write(&file, spec).unwrap();
    let mut command = Command::new(program);
    command
        .args(["-m", mode, "--webport", "0", "-s"])
        .arg(file)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Some(command)
}

/// Looks at the report: each case must have gone well, and been closed well.
fn assert_all_passed(folder: &Path) {
    let index = fs::read_to_string(folder.join("reports/index.json")).unwrap();
    let index: Value = serde_json::from_str(&index).unwrap();
    let (_, cases) = index.as_object().unwrap().iter().next().unwrap();
    let cases = cases.as_object().unwrap();
    let failed: Vec<_> = cases
        .iter()
        .filter(|(_, case)| {
            let good = |field: &str, words: &[&str]| {
                case[field]
                    .as_str()
                    .is_some_and(|word| words.contains(&word))
            };
            let behaved = good("behavior", &["OK", "NON-STRICT", "INFORMATIONAL"]);
            !behaved || !good("behaviorClose", &["OK", "INFORMATIONAL"])
        })
        .map(|(name, _)| name)
        .collect();
    println!("Autobahn: {} cases, {} failed", cases.len(), failed.len());
    assert!(failed.is_empty() && cases.len() > 1, "{failed:?}");
}

#[test]
fn the_server_passes_the_fuzzing_client() {
    let echo = echo();
    server_passes(&format!("ws://{}/", echo.address));
}

#[test]
fn the_server_passes_the_fuzzing_client_over_tls() {
    let authority = Authority::new();
    let echo = secured_echo(&authority);
    server_passes(&format!("wss://{}/", echo.address));
}

fn server_passes(url: &str) {
    let folder = tempfile::tempdir().unwrap();
    let spec = format!(
        r#"{{"outdir": "reports", "servers": [{{"agent": "ropewalk", "url": "{url}"}}],
            "cases": {}, "exclude-cases": [], "exclude-agent-cases": {{}}}}"#,
        cases(),
    );
    let Some(mut wstest) = wstest("fuzzingclient", folder.path(), &spec) else {
        return;
    };
    assert!(wstest.status().unwrap().success());
    assert_all_passed(folder.path());
}

/// Ended when it is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

// The fuzzing server itself fails with TLS: it makes no context of the certificate that it is given.
#[test]
fn the_client_passes_the_fuzzing_server() {
    let folder = tempfile::tempdir().unwrap();
    // It cannot be told to take any port that is free, and say which.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("ws://127.0.0.1:{port}");
    let spec = format!(
        r#"{{"url": "{url}", "outdir": "reports", "cases": {}, "exclude-cases": [],
            "exclude-agent-cases": {{}}}}"#,
        cases(),
    );
    let Some(mut wstest) = wstest("fuzzingserver", folder.path(), &spec) else {
        return;
    };
    let _server = Server(wstest.spawn().unwrap());

    let mut options = Options::default();
    options.limits.message = 16 * 1024 * 1024;
    options.limits.frame = 17 * 1024 * 1024;
    options.deflate = Some(Deflate::default());
    let client = Client {
        client: WebSocketClient::new().options(options),
        url,
    };
    let reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let result: Rc<Cell<Option<Result<(), Failure>>>> = Rc::default();
    let kept = Rc::clone(&result);
    let running = Deferred::from_future(&handle, run_cases(handle.clone(), client));
    drop(running.add_both(move |result: Result<(), Failure>| {
        kept.set(Some(result));
        handle.stop();
    }));
    reactor.run().unwrap();
    result.take().unwrap().unwrap();
    assert_all_passed(folder.path());
}

/// Our client, and where the fuzzing server is.
#[derive(Clone)]
struct Client {
    client: WebSocketClient,
    url: String,
}

impl Client {
    fn connect(&self, reactor: &Handle, path: &str) -> Deferred<WebSocketStream> {
        let url = format!("{}{path}", self.url);
        self.client.connect_stream(reactor, &url)
    }
}

/// Asks how many cases there are, answers each, and has the report written.
async fn run_cases(reactor: Handle, client: Client) -> Result<(), Failure> {
    // The server takes its time to be there.
    let (net, asking) = (reactor.clone(), client.clone());
    let mut counting: WebSocketStream = Retry::new()
        .run(
            Rc::new(reactor.clone()),
            || 0.5,
            move |_| asking.connect(&net, "/getCaseCount"),
        )
        .await?;
    let count = match counting.recv().await {
        Some(Ok(Message::Text(count))) => count.parse::<u32>()?,
        other => return Err(Failure::msg(format!("{other:?} is no number of cases"))),
    };
    for case in 1..=count {
        let path = format!("/runCase?case={case}&agent=ropewalk");
        let mut socket = client.connect(&reactor, &path).await?;
        while let Some(Ok(message)) = socket.recv().await {
            if socket.send(message).await.is_err() {
                break;
            }
        }
    }
    let path = "/updateReports?agent=ropewalk";
    let mut reporting = client.connect(&reactor, path).await?;
    while reporting.recv().await.is_some() {}
    Ok(())
}
