//! Forms with files, through a site.

use std::cell::RefCell;
use std::rc::Rc;

use ropewalk_web::answer::Rejection;
use ropewalk_web::multipart::{Limits, Multipart};
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
