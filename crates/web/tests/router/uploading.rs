//! Files that are put into a folder, whole or in pieces.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use ropewalk_web::router::Router;
use ropewalk_web::{FileService, Uploads};
use tempfile::TempDir;

use crate::rig::{Client, Reply, ask, wire};

fn site() -> (TempDir, Router) {
    let folder = tempfile::tempdir().unwrap();
    let files = FileService::new(folder.path()).unwrap();
    let uploads = Uploads::new(folder.path())
        .unwrap()
        .max_size(100)
        .with_downloads(files);
    let router = Router::builder().nest("/files", uploads).build().unwrap();
    (folder, router)
}

fn read(folder: &TempDir, name: &str) -> Option<String> {
    fs::read_to_string(folder.path().join(name)).ok()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn put(router: &Router, name: &str, range: &str, content: &str) -> Reply {
    ask(
        router,
        &format!("PUT /files/{name}\ncontent-range: bytes {range}\n\n{content}"),
    )
}

#[test]
fn a_file_is_put_and_fetched_and_replaced() {
    let (folder, site) = site();
    assert_eq!(ask(&site, "PUT /files/tea.txt\n\noolong").status, 201);
    assert_eq!(ask(&site, "GET /files/tea.txt").body, "oolong");
    let reply = ask(&site, "HEAD /files/tea.txt");
    assert_eq!((reply.status, reply.header("content-length")), (200, "6"));
    assert_eq!(
        (
            reply.header("upload-offset"),
            reply.header("upload-complete")
        ),
        ("6", "?1")
    );
    assert_eq!(ask(&site, "PUT /files/tea.txt\n\nhot").status, 204);
    assert_eq!(read(&folder, "tea.txt").unwrap(), "hot");
    assert_eq!(
        ask(&site, "PUT /files/empty\ncontent-length: 0").status,
        201
    );
    assert_eq!(names(folder.path()), ["empty", "tea.txt"]);
    assert_eq!(ask(&site, "HEAD /files/nothing").status, 404);
}

#[test]
fn an_upload_goes_on_where_it_broke_off() {
    let (folder, site) = site();
    assert_eq!(put(&site, "a", "0-3/10", "0123").status, 202);
    assert_eq!(read(&folder, "a"), None);
    assert_eq!(ask(&site, "GET /files/a").status, 404);
    let reply = ask(&site, "HEAD /files/a");
    assert_eq!(
        (
            reply.header("content-length"),
            reply.header("upload-complete")
        ),
        ("4", "?0")
    );
    let reply = put(&site, "a", "4-7/10", "4567");
    assert_eq!((reply.status, reply.header("upload-offset")), (202, "8"));
    // Sent again, from before where it stood.
    assert_eq!(put(&site, "a", "6-9/10", "6789").status, 201);
    assert_eq!(read(&folder, "a").unwrap(), "0123456789");
    assert_eq!(names(folder.path()), ["a"]);
}

#[test]
fn a_gap_is_refused_and_says_how_much_has_come() {
    let (folder, site) = site();
    let reply = put(&site, "a", "4-7/10", "4567");
    assert_eq!(
        (reply.status, reply.header("content-range")),
        (416, "bytes */0")
    );
    assert_eq!(names(folder.path()), [""; 0]);
    put(&site, "a", "0-3/10", "0123");
    let reply = put(&site, "a", "5-7/10", "567");
    assert_eq!(
        (reply.status, reply.header("content-range")),
        (416, "bytes */4")
    );
    assert_eq!(reply.header("upload-offset"), "4");
}

#[test]
fn what_breaks_off_is_kept_and_the_file_stays_as_it_was() {
    let (folder, site) = site();
    ask(&site, "PUT /files/a\n\nold");
    let client = Client::new(site.clone());
    client.send(
        "PUT /files/a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\n0123\r\n",
    );
    client.connection.abort_connection();
    client.reactor.run();
    assert_eq!(read(&folder, "a").unwrap(), "old");
    // What had come and was not written yet is lost, and nobody is told otherwise.
    let reply = ask(&site, "HEAD /files/a");
    let come: u64 = reply.header("upload-offset").parse().unwrap();
    assert!(come <= 4);
    let rest = &"0123456789"[come as usize..];
    assert_eq!(put(&site, "a", &format!("{come}-9/10"), rest).status, 204);
    assert_eq!(read(&folder, "a").unwrap(), "0123456789");
}

#[test]
fn one_uploads_a_name_at_a_time() {
    let (folder, site) = site();
    let first = Client::new(site.clone());
    first.send("PUT /files/a HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n0123");
    assert_eq!(ask(&site, "PUT /files/a\n\nx").status, 409);
    assert_eq!(ask(&site, "PUT /files/b\n\nx").status, 201);
    assert_eq!(first.send("456789").reply().status, 201);
    assert_eq!(ask(&site, "PUT /files/a\n\nx").status, 204);
    assert_eq!(names(folder.path()), ["a", "b"]);
}

#[test]
fn what_is_too_large_is_refused_before_it_is_sent() {
    let (folder, site) = site();
    let client = Client::new(site.clone());
    client.send(
        "PUT /files/a HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 101\r\n\r\n",
    );
    assert_eq!(client.reply().status, 413);
    assert_eq!(put(&site, "a", "0-3/101", "0123").status, 413);
    let chunked = format!("65\r\n{}\r\n0\r\n\r\n", "x".repeat(101));
    let client = Client::new(site.clone());
    client.send(format!(
        "PUT /files/a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunked}"
    ));
    assert_eq!(client.reply().status, 413);
    assert_eq!(read(&folder, "a"), None);
    let exactly = "x".repeat(100);
    assert_eq!(
        ask(&site, &format!("PUT /files/a\n\n{exactly}")).status,
        201
    );
}

#[test]
fn a_range_that_does_not_fit_is_400() {
    let (folder, site) = site();
    for (range, content) in [
        ("0-3/*", "0123"),
        ("0-3", "0123"),
        ("3-0/4", "0123"),
        ("0-4/5", "0123"),
        ("0-2/5", "0123"),
        ("0-4/4", "01234"),
    ] {
        assert_eq!(put(&site, "a", range, content).status, 400, "{range}");
    }
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn nothing_outside_of_the_folder_is_written() {
    let (folder, site) = site();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    symlink(outside.path(), folder.path().join("out")).unwrap();
    symlink(outside.path().join("secret"), folder.path().join("link")).unwrap();
    symlink(
        outside.path().join("secret"),
        folder.path().join(".trap.part"),
    )
    .unwrap();
    fs::create_dir(folder.path().join("sub")).unwrap();
    for (name, status) in [
        ("../evil", 404),
        ("%2e%2e/evil", 404),
        ("..%2fevil", 404),
        ("sub/../../evil", 404),
        (".hidden", 404),
        (".a.part", 404),
        ("sub/.hidden", 404),
        ("a%00b", 400),
        ("a%5cb", 404),
        ("sub/", 404),
        ("", 404),
        ("out/evil", 409),
        ("nowhere/a", 409),
        ("sub", 409),
        ("link/x", 409),
        ("sub/fine", 201),
        // The link itself is replaced.
        ("link", 204),
    ] {
        assert_eq!(
            ask(&site, &format!("PUT /files/{name}\n\nevil")).status,
            status,
            "{name}"
        );
    }
    assert!(matches!(
        ask(&site, "PUT /files/trap\n\nevil").status,
        403 | 404 | 409 | 500
    ));
    assert_eq!(names(outside.path()), ["secret"]);
    assert_eq!(
        fs::read_to_string(outside.path().join("secret")).unwrap(),
        "secret"
    );
    assert_eq!(read(&folder, "link").unwrap(), "evil");
    let long = "x".repeat(252);
    assert_eq!(ask(&site, &format!("PUT /files/{long}\n\nx")).status, 400);
}

#[test]
fn without_downloads_all_else_is_405() {
    let folder = tempfile::tempdir().unwrap();
    let uploads = Uploads::new(folder.path()).unwrap();
    let reply = ask(&uploads, "GET /a");
    assert_eq!(
        (reply.status, reply.header("allow")),
        (405, "HEAD, OPTIONS, PUT")
    );
    let reply = ask(&uploads, "OPTIONS /a");
    assert_eq!(
        (reply.status, reply.header("allow")),
        (204, "HEAD, OPTIONS, PUT")
    );
    let client = Client::new(uploads);
    assert_eq!(client.send(wire("DELETE /a")).reply().status, 405);
}

#[test]
fn with_downloads_it_is_told_that_put_is_allowed_too() {
    let (_folder, site) = site();
    for (method, status) in [("OPTIONS", 204), ("DELETE", 405)] {
        let reply = ask(&site, &format!("{method} /files/a"));
        let allow = reply.header("allow");
        assert_eq!(
            (reply.status, allow),
            (status, "GET, HEAD, OPTIONS, PUT"),
            "{method}"
        );
    }
}

#[test]
fn a_file_is_replaced_only_if_it_is_as_the_request_says() {
    let (folder, site) = site();
    let put = |condition: &str| {
        let request = format!("PUT /files/a\n{condition}\n\nnew");
        ask(&site, &request).status
    };
    assert_eq!(put("if-match: *"), 412);
    assert_eq!(put("if-match: \"x\""), 412);
    assert_eq!(names(folder.path()), [""; 0]);
    assert_eq!(put("if-none-match: *"), 201);
    assert_eq!(put("if-none-match: *"), 412);
    assert_eq!(put("if-match: *"), 204);
    assert_eq!(put("if-match: \"x\""), 412);
    assert_eq!(put("if-none-match: \"x\""), 204);
    // A tag that GET gives for a file that was just written is weak, and names no version for sure.
    let tag = ask(&site, "GET /files/a").header("etag").to_owned();
    assert!(tag.starts_with("W/"), "{tag}");
    assert_eq!(put(&format!("if-none-match: {tag}")), 412);
    assert_eq!(put(&format!("if-match: {tag}")), 412);

    let file = fs::File::options()
        .write(true)
        .open(folder.path().join("a"))
        .unwrap();
    let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(783_459_811);
    file.set_modified(then).unwrap();
    let (before, at) = ("19:43:30", "19:43:31");
    let date = |time: &str| format!("if-unmodified-since: Sat, 29 Oct 1994 {time} GMT");
    assert_eq!(put(&date(before)), 412);
    assert_eq!(put(&date(at)), 204);
    // It is no precondition of a PUT.
    assert_eq!(put("if-modified-since: Sat, 29 Oct 2094 19:43:31 GMT"), 204);
}

#[test]
fn what_was_changed_while_a_file_was_uploaded_stays() {
    for (before, condition) in [(None, "if-none-match: *"), (Some("old"), "if-match: *")] {
        let (folder, site) = site();
        let path = folder.path().join("a");
        if let Some(before) = before {
            fs::write(&path, before).unwrap();
        }
        let client = Client::new(site.clone());
        client.send(format!(
            "PUT /files/a HTTP/1.1\r\nhost: a\r\n{condition}\r\ncontent-length: 10\r\n\r\n0123"
        ));
        match before {
            Some(_) => fs::remove_file(&path).unwrap(),
            None => fs::write(&path, "theirs").unwrap(),
        }
        assert_eq!(client.send("456789").reply().status, 412, "{condition}");
        let theirs = before.is_none().then_some("theirs");
        assert_eq!(read(&folder, "a").as_deref(), theirs);
        let rest: &[&str] = if before.is_none() { &["a"] } else { &[] };
        assert_eq!(names(folder.path()), rest);
    }
}
