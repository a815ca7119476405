//! curl against a site on real sockets: forms, uploads that resume, events, HEAD and redirections.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::ReactorCore;
use ropewalk_reactor::Reactor;
use ropewalk_web::answer::{Redirect, Rejection};
use ropewalk_web::multipart::Multipart;
use ropewalk_web::router::{Router, get, post, with_state};
use ropewalk_web::sse::{Event, LastEventId, Sse};
use ropewalk_web::{FileService, Site, Uploads};

/// curl, if it is on this machine.
fn curl() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join("curl"))
        .find(|file| file.is_file());
    if found.is_none() {
        let message = "curl is missing: what it would test is not tested";
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "{message}"
        );
        eprintln!("{message}");
    }
    found
}

/// What curl is called with, but for its name and the address of the site, which is put in for `@`.
type Calls = Vec<Vec<String>>;

/// Serves `router` while curl is called. What it has printed, and how it ended.
fn serve(
    curl: PathBuf,
    site: impl FnOnce(&Reactor) -> Router,
    calls: Calls,
) -> Vec<(String, bool)> {
    let reactor = Reactor::new().unwrap();
    let router = site(&reactor);
    let endpoint = "tcp:0:interface=127.0.0.1".parse().unwrap();
    let port = reactor
        .listen(&endpoint, Rc::new(Site::new(router)))
        .unwrap();
    let address = format!("http://{}", port.address().socket_addr().unwrap());
    let remote = reactor.remote();
    let caller = std::thread::spawn(move || {
        let mut results = Vec::new();
        for call in calls {
            let call = call
                .into_iter()
                .map(|argument| argument.replace('@', &address));
            let output = Command::new(&curl)
                .args(["--silent", "--noproxy", "*"])
                .args(call)
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            results.push((text, output.status.success()));
        }
        remote.call_from_thread(|reactor| reactor.stop());
        results
    });
    reactor.run().unwrap();
    caller.join().unwrap()
}

fn call(arguments: &[&str]) -> Vec<String> {
    arguments
        .iter()
        .map(|&argument| argument.to_owned())
        .collect()
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 251) as u8).collect()
}

#[test]
fn curl_sends_forms_with_files() {
    async fn upload(form: Multipart) -> Result<String, Rejection> {
        let form = form.collect().await?;
        let mut told = String::new();
        for (name, value) in &form.fields {
            told += &format!("{name}={value}\n");
        }
        for file in form.files {
            let (name, file_name) = (file.name.clone(), file.file_name.clone());
            let (kind, spooled) = (file.content_type.clone(), file.in_memory().is_none());
            let bytes = file
                .into_body()
                .collect()
                .await
                .map_err(|_| Rejection::failed())?;
            let same = bytes == content(bytes.len());
            told += &format!(
                "{name} {file_name} {kind:?} {} {spooled} {same}\n",
                bytes.len()
            );
        }
        Ok(told)
    }
    let Some(curl) = curl() else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("small \"q\" é.txt"), content(1000)).unwrap();
    std::fs::write(folder.path().join("big.bin"), content(3_000_000)).unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    // In a file, since `@` on the command line is put in for the address.
    std::fs::write(
        folder.path().join("config"),
        format!(
            "form = \"tea=oolong & more\"\nform = \"small=@\\\"{}\\\"\"\nform = \"big=@{}\"\n",
            path("small \"q\" é.txt").replace('"', "\\\\\\\""),
            path("big.bin"),
        ),
    )
    .unwrap();
    let site = |_: &Reactor| {
        Router::builder()
            .route("/", post(upload).body_limit(8 << 20))
            .build()
            .unwrap()
    };
    let config = path("config");
    let results = serve(curl, site, vec![call(&["--config", &config, "@/"])]);
    assert_eq!(
        results[0].0,
        "tea=oolong & more\n\
         small small \"q\" é.txt Some(\"text/plain\") 1000 false true\n\
         big big.bin Some(\"application/octet-stream\") 3000000 true true\n"
    );
}

fn same(folder: &Path, name: &str, length: usize) {
    assert!(
        std::fs::read(folder.join(name)).unwrap() == content(length),
        "{name}"
    );
}

#[test]
fn curl_uploads_a_file_and_goes_on_where_it_broke_off() {
    let Some(curl) = curl() else { return };
    let (from, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(from.path().join("whole"), content(5_000_000)).unwrap();
    let source = from.path().join("whole").display().to_string();
    let back = from.path().join("back").display().to_string();
    // What an earlier call left.
    std::fs::write(into.path().join(".half.part"), content(2_000_000)).unwrap();
    let site = |_: &Reactor| {
        let files = FileService::new(into.path()).unwrap();
        let uploads = Uploads::new(into.path()).unwrap().with_downloads(files);
        Router::builder().nest("/files", uploads).build().unwrap()
    };
    let status = ["--write-out", "%{http_code}", "--output", "/dev/null"];
    let with_status = |rest: &[&str]| call(&[&status[..], rest].concat());
    let results = serve(
        curl,
        site,
        vec![
            with_status(&["--upload-file", &source, "@/files/whole"]),
            with_status(&[
                "--upload-file",
                &source,
                "--header",
                "Transfer-Encoding: chunked",
                "@/files/whole",
            ]),
            call(&["--head", "@/files/half"]),
            with_status(&[
                "--continue-at",
                "2500000",
                "--upload-file",
                &source,
                "@/files/half",
            ]),
            with_status(&[
                "--continue-at",
                "2000000",
                "--upload-file",
                &source,
                "@/files/half",
            ]),
            with_status(&[
                "--continue-at",
                "-",
                "--upload-file",
                &source,
                "@/files/other",
            ]),
            call(&["--range", "0-999999", "--output", &back, "@/files/whole"]),
            call(&["--continue-at", "-", "--output", &back, "@/files/whole"]),
        ],
    );
    let statuses: Vec<_> = results
        .iter()
        .map(|(text, _)| text.lines().next().unwrap_or_default())
        .collect();
    assert_eq!(
        statuses,
        ["201", "204", "HTTP/1.1 200 OK", "416", "201", "201", "", ""]
    );
    assert!(
        results[2]
            .0
            .to_ascii_lowercase()
            .contains("content-length: 2000000\r\n"),
        "{}",
        results[2].0
    );
    for name in ["whole", "half", "other"] {
        same(into.path(), name, 5_000_000);
    }
    same(from.path(), "back", 5_000_000);
    assert_eq!(std::fs::read_dir(into.path()).unwrap().count(), 3);
}

#[test]
fn curl_reads_events_and_comes_back_for_more() {
    fn events(reactor: Rc<dyn ReactorCore>, last: LastEventId) -> Sse {
        let (mut writer, answer) = Sse::channel();
        let first = last
            .0
            .and_then(|id| id.parse().ok())
            .map_or(0, |id: u32| id + 1);
        reactor.spawn(Box::pin(async move {
            for number in first..first + 3 {
                let event = Event::new(format!("tea {number}")).id(&number.to_string());
                if writer.send(&event).await.is_err() {
                    return;
                }
            }
        }));
        answer.heartbeat(Some(Duration::from_millis(1)))
    }
    let Some(curl) = curl() else { return };
    let site = |reactor: &Reactor| {
        let handle: Rc<dyn ReactorCore> = Rc::new(reactor.handle());
        Router::builder()
            .route("/events", get(with_state(&handle, events)))
            .route("/old", get(|| Redirect::permanent("/events")))
            .build()
            .unwrap()
    };
    let results = serve(
        curl,
        site,
        vec![
            call(&["--no-buffer", "@/events"]),
            call(&["--location", "--header", "Last-Event-ID: 6", "@/old"]),
            call(&["--head", "@/old"]),
        ],
    );
    let events = |first: u32| -> String {
        (first..first + 3)
            .map(|id| format!("id: {id}\ndata: tea {id}\n\n"))
            .collect()
    };
    let read = results[0].0.replace(":\n\n", "");
    assert_eq!(read, events(0));
    assert_eq!(results[1].0.replace(":\n\n", ""), events(7));
    assert!(results[2].0.starts_with("HTTP/1.1 308"), "{}", results[2].0);
    assert!(results.iter().all(|(_, success)| *success));
}
