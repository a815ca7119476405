//! Middleware over real sockets, and what curl and zstd make of it.
//!
//! What is missing on this machine is said in one line; with `CI=true` it fails.

use std::cell::RefCell;
use std::io::Write;
use std::path::PathBuf;
use std::rc::Rc;

use http::{Request, Response};
use ropewalk::web::middleware::{CompressionLayer, DecompressionLayer, EntityTagLayer};
use ropewalk::web::{Body, Site, handler_fn};
use ropewalk::{Factory, Output, Reactor, Spawn, process_output};
use tower_layer::Layer;

/// The path of a program, if it is on this machine.
fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path);
    let found = folders.find_map(|folder| Some(folder.join(name)).filter(|file| file.is_file()));
    if found.is_none() {
        let message = format!("{name} is missing: what it would test is not tested");
        let in_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
        assert!(!in_ci, "{message}");
        eprintln!("{message}");
    }
    found
}

/// Runs `program` against `site`. The place of the site in `args` is `{}`.
fn run(site: Rc<dyn Factory>, program: &PathBuf, args: &[&str]) -> Output {
    let reactor = Reactor::new().unwrap();
    let port = reactor.listen(&"tcp:0:interface=127.0.0.1".parse().unwrap(), site);
    let address = port.unwrap().address().to_string();
    let args = args.iter().map(|arg| arg.replace("{}", &address));
    let spawn = args.fold(Spawn::new(program), Spawn::arg);
    let (output, stop) = (Rc::new(RefCell::new(None)), reactor.handle());
    let seen = Rc::clone(&output);
    let _done = process_output(&*reactor, &spawn).add_both(move |result| {
        *seen.borrow_mut() = Some(result);
        stop.stop();
    });
    reactor.run().unwrap();
    output.take().unwrap().unwrap()
}

/// Runs curl, which must succeed.
fn curl(site: Rc<dyn Factory>, args: &[&str]) -> Option<String> {
    let curl = tool("curl")?;
    let args = [&["--silent", "--show-error", "--fail"], args].concat();
    let output = run(site, &curl, &args);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.check("curl").is_ok(), "{args:?}: {complaint}");
    Some(String::from_utf8(output.stdout).unwrap())
}

fn rope() -> String {
    (0..50_000)
        .map(|number| format!("strand {number}\n"))
        .collect()
}

/// A page of more than half a MiB, compressed as it is sent, and a short one at `/short`.
fn pages() -> Rc<dyn Factory> {
    let pages = handler_fn(|request: Request<Body>| {
        let answer = Response::builder().header("content-type", "text/plain");
        let text = match request.uri().path() {
            "/short" => "strand\n".repeat(100),
            _ => rope(),
        };
        answer.body(Body::from(text)).unwrap()
    });
    let tagged = EntityTagLayer::new().layer(pages);
    Rc::new(Site::new(CompressionLayer::new().layer(tagged)))
}

#[test]
fn curl_decodes_each_coding() {
    for coding in ["gzip", "br", "zstd"] {
        let accept = format!("Accept-Encoding: {coding}");
        let args = ["--compressed", "--header", &accept, "http://{}/"];
        let Some(page) = curl(pages(), &args) else {
            return;
        };
        assert!(page == rope(), "{coding}");
        let sizes = [
            "--output",
            "/dev/null",
            "--write-out",
            "%{size_download} %header{content-encoding}",
        ];
        let args = [&sizes[..], &["--header", &accept, "http://{}/short"]].concat();
        let sizes = curl(pages(), &args).unwrap();
        let (size, said) = sizes.split_once(' ').unwrap();
        assert!(size.parse::<u32>().unwrap() < 60, "{sizes}");
        assert_eq!(said, coding);
    }
}

#[test]
fn curl_takes_any_coding_that_it_knows() {
    let Some(page) = curl(pages(), &["--compressed", "http://{}/"]) else {
        return;
    };
    assert!(page == rope());
}

#[test]
fn curl_that_has_the_page_already_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (tag, page) = (file("tag"), file("page"));
    for (number, status) in ["200", "304"].into_iter().enumerate() {
        let args = [
            "--compressed",
            "--etag-save",
            &tag,
            "--etag-compare",
            &tag,
            "--output",
            &page,
            "--write-out",
            "%{http_code}",
            "http://{}/short",
        ];
        if number == 0 {
            std::fs::write(&tag, "").unwrap();
        }
        let Some(seen) = curl(pages(), &args) else {
            return;
        };
        assert_eq!(seen, status);
    }
    assert_eq!(
        std::fs::read_to_string(&page).unwrap(),
        "strand\n".repeat(100)
    );
}

#[test]
fn other_programs_decode_what_is_sent() {
    for (coding, program) in [("gzip", "gzip"), ("zstd", "zstd")] {
        let Some(program) = tool(program) else {
            continue;
        };
        let folder = tempfile::tempdir().unwrap();
        let coded = folder.path().join("coded");
        let accept = format!("Accept-Encoding: {coding}");
        let args = [
            "--header",
            &accept,
            "--output",
            coded.to_str().unwrap(),
            "http://{}/",
        ];
        let Some(_) = curl(pages(), &args) else {
            return;
        };
        let decoded = std::process::Command::new(program)
            .args(["--decompress", "--stdout"])
            .stdin(std::fs::File::open(&coded).unwrap())
            .output()
            .unwrap();
        assert!(decoded.status.success());
        assert!(decoded.stdout == rope().as_bytes(), "{coding}");
    }
}

#[test]
fn what_gzip_and_zstd_have_compressed_can_be_uploaded() {
    for (coding, program) in [("gzip", "gzip"), ("zstd", "zstd")] {
        let Some(program) = tool(program) else {
            continue;
        };
        let folder = tempfile::tempdir().unwrap();
        let (plain, coded) = (folder.path().join("plain"), folder.path().join("coded"));
        std::fs::File::create(&plain)
            .unwrap()
            .write_all(rope().as_bytes())
            .unwrap();
        let status = std::process::Command::new(program)
            .arg("--stdout")
            .arg("--quiet")
            .arg(&plain)
            .stdout(std::fs::File::create(&coded).unwrap())
            .status();
        assert!(status.unwrap().success());
        // It gives back what it was given.
        let echo = handler_fn(|request: Request<Body>| Response::new(request.into_body()));
        let site = Rc::new(Site::new(DecompressionLayer::new(1 << 20).layer(echo)));
        let (header, data) = (
            format!("Content-Encoding: {coding}"),
            format!("@{}", coded.display()),
        );
        let args = ["--header", &header, "--data-binary", &data, "http://{}/"];
        let Some(page) = curl(site, &args) else {
            return;
        };
        assert!(page == rope(), "{coding}");
    }
}
