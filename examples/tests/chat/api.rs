//! What the chat answers, with no browser.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::Chat;

pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn field(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1);
        let mut fields = lines.filter_map(|line| line.split_once(": "));
        fields.find_map(|(field, value)| field.eq_ignore_ascii_case(name).then_some(value))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// What a browser would send from now on.
    pub(crate) fn cookie(&self) -> String {
        let cookie = self.field("set-cookie").unwrap();
        cookie.split(';').next().unwrap().to_owned()
    }
}

/// Sends a request, `GET /path` and fields, over a connection of its own.
pub(crate) fn ask(chat: &Chat, head: &str, body: &str) -> Answer {
    let (line, fields) = head.split_once('\n').unwrap_or((head, ""));
    let mut peer = TcpStream::connect(chat.address()).unwrap();
    let length = body.len();
    let mut request = format!(
        "{line} HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\nContent-Length: {length}\r\n"
    );
    for field in fields.lines() {
        request += field.trim();
        request += "\r\n";
    }
    peer.write_all(format!("{request}\r\n{body}").as_bytes())
        .unwrap();
    let mut bytes = Vec::new();
    peer.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let body = bytes.split_off(end.unwrap() + 4);
    let head = String::from_utf8(bytes).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body }
}

pub(crate) fn rename(chat: &Chat, name: &str) -> Answer {
    let body = json!({ "name": name }).to_string();
    ask(chat, "PUT /api/me\nContent-Type: application/json", &body)
}

#[test]
fn a_session_keeps_the_name_behind_a_cookie_that_no_script_reads() {
    let chat = Chat::start();
    let nobody = ask(&chat, "GET /api/me", "");
    assert_eq!(nobody.json(), json!({"name": null}));
    assert!(
        nobody.field("set-cookie").is_none(),
        "who is nobody has no session"
    );
    let named = rename(&chat, "  Ada ");
    assert_eq!(named.status, 200, "{}", named.text());
    assert_eq!(named.json(), json!({"name": "Ada"}));
    let cookie = named.field("set-cookie").unwrap();
    assert!(cookie.starts_with("session="), "{cookie}");
    for attribute in ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age="] {
        assert!(cookie.contains(&format!("; {attribute}")), "{cookie}");
    }
    let me = ask(
        &chat,
        &format!("GET /api/me\nCookie: {}", named.cookie()),
        "",
    );
    assert_eq!(me.json(), json!({"name": "Ada"}));
}

#[test]
fn what_is_no_name_is_refused_and_said_why() {
    let chat = Chat::start();
    let as_json = "PUT /api/me\nContent-Type: application/json";
    for (head, body, status, why) in [
        (as_json, "{\"name\":", 400, "the JSON"),
        (as_json, "{\"name\":7}", 422, "`name`"),
        (as_json, "{}", 422, "missing field `name`"),
        (as_json, "{\"name\":\" \"}", 422, "a name is not empty"),
        (as_json, "{\"name\":\"a\\nb\"}", 422, "a name is one line"),
        (
            "PUT /api/me\nContent-Type: text/plain",
            "Ada",
            415,
            "application/json",
        ),
    ] {
        let answer = ask(&chat, head, body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        assert!(answer.text().contains(why), "{body}: {}", answer.text());
        assert!(answer.field("set-cookie").is_none(), "{body}");
    }
    let long = rename(&chat, &"x".repeat(21));
    assert_eq!(long.status, 422);
    assert!(
        long.text().contains("20 characters at most"),
        "{}",
        long.text()
    );
    assert_eq!(rename(&chat, &"x".repeat(2000)).status, 413);
}

#[test]
fn another_site_cannot_take_a_name_for_a_visitor() {
    let chat = Chat::start();
    let head = "PUT /api/me\nContent-Type: application/json\nSec-Fetch-Site: cross-site";
    assert_eq!(ask(&chat, head, "{\"name\":\"Eve\"}").status, 403);
}

#[test]
fn what_is_not_there_is_not_found_and_what_cannot_be_done_says_what_can() {
    let chat = Chat::start();
    for path in ["/nothing", "/api/nothing", "/../chat.rs", "/%2e%2e/chat.rs"] {
        assert_eq!(ask(&chat, &format!("GET {path}"), "").status, 404, "{path}");
    }
    let answer = ask(&chat, "DELETE /api/me", "");
    assert_eq!(answer.status, 405);
    let allow = answer.field("allow").unwrap();
    assert!(allow.contains("GET") && allow.contains("PUT"), "{allow}");
    assert_eq!(
        ask(&chat, "GET /api/messages?after=yesterday", "").status,
        400
    );
    assert_eq!(ask(&chat, "GET /api/messages", "").json(), json!([]));
}

#[test]
fn who_has_no_name_gets_no_websocket() {
    let chat = Chat::start();
    let asked = "GET /api/chat\nUpgrade: websocket\nConnection: upgrade\n\
                 Sec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let answer = ask(&chat, asked, "");
    assert_eq!(answer.status, 403);
    assert!(
        answer.text().contains("say who you are"),
        "{}",
        answer.text()
    );
    // And what asks for none is told what there is.
    let named = rename(&chat, "Ada");
    let answer = ask(
        &chat,
        &format!("GET /api/chat\nCookie: {}", named.cookie()),
        "",
    );
    assert_eq!(answer.status, 426);
}

#[test]
fn files_go_out_compressed_and_each_answer_with_its_id_and_what_protects_the_visitor() {
    let chat = Chat::start();
    let plain = ask(&chat, "GET /chat.css", "");
    assert!(plain.field("content-encoding").is_none());
    for coding in ["gzip", "br", "zstd"] {
        let coded = ask(
            &chat,
            &format!("GET /chat.css\nAccept-Encoding: {coding}"),
            "",
        );
        assert_eq!(coded.status, 200);
        assert_eq!(coded.field("content-encoding"), Some(coding));
        assert!(coded.body.len() * 2 < plain.body.len(), "{coding}");
    }
    let page = ask(&chat, "GET /", "");
    let policy = page.field("content-security-policy").unwrap();
    assert!(policy.contains("script-src 'self'"), "{policy}");
    assert_eq!(page.field("x-content-type-options"), Some("nosniff"));
    let id = page.field("x-request-id").unwrap().to_owned();
    let (status, log) = chat.stop();
    assert!(status.success());
    let line = log
        .lines()
        .find(|line| line.contains("\"GET / HTTP/1.1\" 200"));
    assert!(line.is_some_and(|line| line.contains(&id)), "{id}: {log}");
}

#[test]
fn one_client_is_answered_so_often_and_no_more() {
    let chat = Chat::start();
    while ask(&chat, "GET /api/me", "").status != 429 {}
}
