//! Forms with files, through a site.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use ropewalk_web::answer::Rejection;
use ropewalk_web::multipart::{Limits, Multipart, UploadedFile};
use ropewalk_web::router::{Router, post};

use crate::rig::{Client, ask};

async fn collected(form: Multipart) -> Result<String, Rejection> {
    let form = form.collect().await?;
    let mut told = String::new();
    for (name, value) in &form.fields {
        told += &format!("{name}={value};");
    }
    for file in form.files {
        let (name, file_name, len) = (file.name.clone(), file.file_name.clone(), file.len());
        let place = if file.in_memory().is_some() {
            "memory"
        } else {
            "file"
        };
        let content = file.into_body().collect().await.unwrap();
        let sum: u64 = content.iter().map(|&byte| u64::from(byte)).sum();
        told += &format!("{name}:{file_name}:{len}:{place}:{sum};");
    }
    Ok(told)
}

async fn streamed(form: Multipart) -> Result<String, Rejection> {
    let mut limits = Limits::default();
    limits.field = 10;
    let mut form = form.with_limits(limits);
    let mut told = String::new();
    while let Some(mut field) = form.next_field().await? {
        told += &format!("{}:", field.name());
        match field.file_name() {
            // Dropped unread: it is skipped.
            Some("skip") => told += "skipped",
            Some(_) => {
                let mut len = 0;
                while let Some(piece) = field.chunk().await? {
                    len += piece.len();
                }
                assert!(field.chunk().await?.is_none());
                told += &len.to_string();
            }
            None => told += &field.text().await?,
        }
        told += ";";
    }
    assert!(form.next_field().await?.is_none());
    Ok(told)
}

fn router() -> Router {
    Router::builder()
        .route("/collected", post(collected).body_limit(1 << 20))
        .route("/streamed", post(streamed))
        .route(
            "/tight",
            post(|form: Multipart| {
                let mut limits = Limits::default();
                limits.all_in_memory = 10;
                collected(form.with_limits(limits))
            }),
        )
        .build()
        .unwrap()
}

fn form(parts: &[(&str, &str)]) -> String {
    let mut form = String::new();
    for (name, content) in parts {
        form += &format!("--XX\r\nContent-Disposition: form-data; {name}\r\n\r\n{content}\r\n");
    }
    form + "--XX--\r\n"
}

fn post_form(path: &str, form: &str) -> String {
    format!("POST {path}\ncontent-type: multipart/form-data; boundary=XX\n\n{form}")
}

#[test]
fn short_files_stay_in_memory_and_long_ones_go_to_disk() {
    let long = "\u{1}".repeat(100_001);
    let form = form(&[
        ("name=a", "one"),
        ("name=\"b\"; filename=\"x.txt\"", "\u{2}\u{3}"),
        ("name=c; filename=long", &long),
        ("name=c; filename=\"\"", ""),
        ("name=d; filename=edge", &long[1..]),
    ]);
    let reply = ask(&router(), &post_form("/collected", &form));
    assert_eq!(
        reply.body,
        "a=one;b:x.txt:2:memory:5;c:long:100001:file:100001;c::0:memory:0;d:edge:100000:memory:100000;"
    );
}

#[test]
fn many_short_files_do_not_fill_the_memory() {
    let file = ("name=a; filename=x", "\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}");
    let reply = ask(
        &router(),
        &post_form("/tight", &form(&[file, file, ("name=a; filename=y", "")])),
    );
    assert_eq!(reply.body, "a:x:6:memory:6;a:x:6:file:6;a:y:0:memory:0;");
}

/// How many files of the folder for temporary files this process has open, which have no name.
fn temporary_files() -> Option<usize> {
    let open = std::fs::read_dir("/proc/self/fd").ok()?;
    let places = open.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    let folder = std::env::temp_dir();
    let is_temporary = |place: &std::path::PathBuf| {
        place.starts_with(&folder) && place.to_string_lossy().ends_with("(deleted)")
    };
    Some(places.filter(is_temporary).count())
}

#[test]
fn all_files_of_a_form_that_do_not_stay_in_memory_share_one_file() {
    let router = Router::builder().route(
        "/",
        post(|form: Multipart| async {
            let mut limits = Limits::default();
            limits.all_in_memory = 0;
            let form = form.with_limits(limits).collect().await?;
            let open = temporary_files();
            let mut told = String::new();
            for file in form.files {
                assert!(file.in_memory().is_none());
                let content = file.into_body().collect().await.unwrap();
                told += str::from_utf8(&content).unwrap();
            }
            // Other tests may have some too.
            assert!(
                open.is_none_or(|open| open < 100),
                "{open:?} files are open"
            );
            Ok::<_, Rejection>(told)
        }),
    );
    let contents: Vec<String> = (0..1000).map(|number| format!("{number};")).collect();
    let parts: Vec<_> = contents
        .iter()
        .map(|content| ("name=a; filename=x", &**content))
        .collect();
    let reply = ask(&router.build().unwrap(), &post_form("/", &form(&parts)));
    assert_eq!(reply.body, contents.concat());
}

#[test]
fn a_file_may_be_saved_twice_at_a_time() {
    let kept: Rc<RefCell<Option<UploadedFile>>> = Rc::default();
    let keep = Rc::clone(&kept);
    let router = Router::builder().route(
        "/",
        post(move |form: Multipart| {
            let keep = Rc::clone(&keep);
            async move {
                let mut form = form.collect().await?;
                *keep.borrow_mut() = form.files.pop();
                Ok::<_, Rejection>("kept")
            }
        })
        .body_limit(1 << 24),
    );
    let content: String = (0..500_000).map(|number| format!("{number} ")).collect();
    let form = form(&[("name=a; filename=x", &content)]);
    let reply = ask(&router.build().unwrap(), &post_form("/", &form));
    assert_eq!(reply.body, "kept");

    let (file, folder) = (kept.take().unwrap(), tempfile::tempdir().unwrap());
    for _ in 0..10 {
        std::thread::scope(|scope| {
            for name in ["a", "b"] {
                let (file, path) = (&file, folder.path().join(name));
                scope.spawn(move || {
                    // It is no reactor's thread: it is done at once.
                    let mut saving = std::pin::pin!(file.save(path));
                    let cx = &mut Context::from_waker(Waker::noop());
                    assert!(matches!(saving.as_mut().poll(cx), Poll::Ready(Ok(()))));
                });
            }
        });
        for name in ["a", "b"] {
            let saved = std::fs::read_to_string(folder.path().join(name)).unwrap();
            assert!(saved == content, "{name} has {} bytes", saved.len());
        }
    }
}

#[test]
fn parts_are_streamed_and_what_is_not_read_is_skipped() {
    let form = form(&[
        ("name=a", "one"),
        ("name=b; filename=skip", "skipped"),
        ("name=c; filename=x", "1234567890123"),
        ("name=d", "1234567890"),
    ]);
    let request = post_form("/streamed", &form);
    assert_eq!(
        ask(&router(), &request).body,
        "a:one;b:skipped;c:13;d:1234567890;"
    );
}

#[test]
fn a_form_is_the_same_at_every_cut() {
    let form = form(&[("name=a", "one"), ("name=b; filename=x", "\r\n--X\r\n--")]);
    let wire = crate::rig::wire(&post_form("/streamed", &form));
    for cut in 1..wire.len() {
        let client = Client::new(router());
        client.send(&wire[..cut]).send(&wire[cut..]);
        assert_eq!(client.reply().body, "a:one;b:9;", "{cut}");
    }
}

#[test]
fn what_is_no_form_is_refused_with_the_reason() {
    let router = router();
    let good = form(&[("name=a", "one")]);
    for (request, status, says) in [
        (
            format!("POST /streamed\n\n{good}"),
            415,
            "`multipart/form-data`",
        ),
        (
            format!("POST /streamed\ncontent-type: multipart/mixed; boundary=XX\n\n{good}"),
            415,
            "`multipart/form-data`",
        ),
        (
            format!("POST /streamed\ncontent-type: multipart/form-data\n\n{good}"),
            400,
            "no boundary",
        ),
        (
            post_form("/streamed", "nothing"),
            400,
            "before its last boundary",
        ),
        (
            post_form("/streamed", &good[..good.len() - 6]),
            400,
            "before its last boundary",
        ),
        (
            post_form("/streamed", &form(&[("filename=x", "")])),
            400,
            "with a name",
        ),
        (
            post_form("/streamed", &form(&[("name=a", "12345678901")])),
            413,
            "longer than allowed",
        ),
        (
            post_form("/streamed", &form(&vec![("name=a", ""); 1001])),
            413,
            "more parts",
        ),
        (
            post_form("/collected", &"x".repeat(1 << 21)),
            413,
            "bytes allowed",
        ),
    ] {
        let reply = ask(&router, &request);
        assert_eq!(reply.status, status, "{}", reply.body);
        assert!(reply.body.contains(says), "{}", reply.body);
    }
}

#[test]
fn a_client_that_goes_away_ends_its_handler() {
    let held = Rc::new(RefCell::new(()));
    let keep = Rc::clone(&held);
    let router = Router::builder().route(
        "/",
        post(move |form: Multipart| {
            let held = Rc::clone(&keep);
            async move {
                let _held = held;
                collected(form).await
            }
        }),
    );
    let client = Client::new(router.build().unwrap());
    let before = Rc::strong_count(&held);
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-type: multipart/form-data; boundary=XX\r\ncontent-length: 999\r\n\r\n--XX");
    assert_eq!(Rc::strong_count(&held), before + 1);
    client.connection.abort_connection();
    client.reactor.run();
    assert_eq!(Rc::strong_count(&held), before);
}
