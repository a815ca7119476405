//! Rules that every answer keeps, whatever is asked of whom: those of the specifications that can be
//! seen in one answer, or in two beside each other. (M. Rautenstrauch and B. Stock, "Who's Breaking the
//! Rules?", 2024, have collected such rules; what a request must be to be served is in `tests/corpus`.)

use std::time::Duration;

use http::{StatusCode, header};
use ropewalk_core::testing::MemoryReactor;
use ropewalk_web::answer::{Html, Redirect};
use ropewalk_web::auth::{BasicCredentialFactory, HttpAuth};
use ropewalk_web::cookies::{Cookie, Cookies};
use ropewalk_web::credentials::MemoryChecker;
use ropewalk_web::extract::Json;
use ropewalk_web::middleware::{
    CompressionLayer, CorsLayer, EntityTagLayer, RateLimitLayer, SecurityHeadersLayer,
};
use ropewalk_web::router::{Router, get, post};
use ropewalk_web::session::{MemoryStore, Session, SessionError, Sessions};
use ropewalk_web::{BoxService, FileService, Upgrade};
use tower_layer::Layer;

use crate::rig::Client;

/// What was asked, and what came.
struct Asked {
    method: &'static str,
    version: &'static str,
    fields: &'static str,
    status: u16,
    /// In the order in which they came, with names in small letters.
    answer: Vec<(String, String)>,
    /// The lines as they came.
    head: String,
    content: String,
}

impl Asked {
    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let fields = self.answer.iter().filter(move |(own, _)| own == name);
        fields.map(|(_, value)| &value[..])
    }

    fn get<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next()
    }

    fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Whether the field, where it stands, is as `grammar` says, in each of its lines.
    fn is(&self, name: &str, grammar: fn(&str) -> bool) -> bool {
        self.all(name).all(grammar)
    }

    fn is_one_of(&self, statuses: &[u16]) -> bool {
        statuses.contains(&self.status)
    }
}

type Rule = (&'static str, fn(&Asked) -> bool);

#[rustfmt::skip]
const RULES: &[Rule] = &[
    ("RFC 9110 5.3: a field that is no list stands once", |a| SINGLE.iter().all(|name| a.all(name).count() <= 1)),
    ("RFC 9110 5.5: no CR, LF or NUL in a value; RFC 9112 2.2: no bare CR", |a| !a.head.replace("\r\n", "").contains(['\r', '\n', '\0'])),
    ("RFC 9110 5.5: no white space around a value", |a| a.answer.iter().all(|(_, value)| value.trim_matches([' ', '\t']) == value)),
    ("RFC 9110 5.1: names are tokens", |a| a.answer.iter().all(|(name, _)| is_token(name))),
    ("RFC 9110 6.6.1: Date in 2xx, 3xx and 4xx", |a| a.has("date") || a.status >= 500),
    ("RFC 9110 5.6.7: dates are IMF-fixdate", |a| ["date", "last-modified", "expires"].iter().all(|name| a.is(name, is_imf_fixdate))),
    ("RFC 9110 8.3: content has a type", |a| a.content.is_empty() || a.has("content-type")),
    ("RFC 9110 8.3.1: media-type = type \"/\" subtype parameters", |a| a.is("content-type", is_media_type)),
    ("RFC 9110 8.4: Content-Encoding is a list of tokens", |a| a.is("content-encoding", is_token_list)),
    ("RFC 9110 8.5: Content-Language is a list of tags", |a| a.is("content-language", is_token_list)),
    ("RFC 9110 8.6: Content-Length is digits", |a| a.is("content-length", is_number)),
    ("RFC 9110 8.6: none in 1xx and 204", |a| !(a.has("content-length") && (a.status < 200 || a.status == 204))),
    ("RFC 9110 8.6: it is that of the content", |a| a.get("content-length").is_none_or(|length| {
        a.method == "HEAD" || a.status == 304 || a.has("content-encoding") || length == a.content.len().to_string()
    })),
    ("RFC 9112 6.1: no Transfer-Encoding in 1xx and 204, nor to HTTP/1.0", |a| {
        !(a.has("transfer-encoding") && (a.status < 200 || a.status == 204 || a.version == "HTTP/1.0"))
    }),
    ("RFC 9112 6.1: Transfer-Encoding is a list of tokens, and stands alone", |a| {
        a.is("transfer-encoding", is_token_list) && !(a.has("transfer-encoding") && a.has("content-length"))
    }),
    ("RFC 9110 6.4.1: no content to HEAD, in 204, 205 and 304", |a| {
        a.content.is_empty() || !(a.method == "HEAD" || a.is_one_of(&[204, 205, 304]))
    }),
    ("RFC 9110 8.8.3: entity-tag = [ W/ ] DQUOTE etagc* DQUOTE", |a| a.is("etag", is_entity_tag)),
    ("RFC 9110 9.1: an unknown method is 501", |a| a.method != "ABC" || a.is_one_of(&[404, 501])),
    ("RFC 9110 9.1: TRACE and CONNECT are 405 where nobody has them", |a| {
        !matches!(a.method, "TRACE" | "CONNECT") || a.is_one_of(&[404, 405])
    }),
    ("RFC 9110 9.3.3: POST is not answered by 206, 304 or 416", |a| a.method != "POST" || !a.is_one_of(&[206, 304, 416])),
    ("RFC 9110 10.2.1: Allow is a list of methods", |a| a.is("allow", is_token_list)),
    ("RFC 9110 10.2.2: Location is a URI reference", |a| a.is("location", is_reference)),
    ("RFC 9110 10.2.3: Retry-After is seconds or a date", |a| a.is("retry-after", |value| is_number(value) || is_imf_fixdate(value))),
    ("RFC 9110 10.2.4: Server tells no more than it needs", |a| a.is("server", |value| value.len() <= 100)),
    ("RFC 9110 12.5.5: Vary is a list of names", |a| a.is("vary", is_token_list)),
    ("RFC 9110 12.5.3: Accept-Encoding is a list of codings", |a| a.is("accept-encoding", is_token_list)),
    ("RFC 9110 14.3: Accept-Ranges is a list of units", |a| a.is("accept-ranges", is_token_list)),
    ("RFC 9110 14.4: Content-Range", |a| a.is("content-range", is_content_range)),
    ("RFC 9110 15.3.7: 206 has Content-Range, or parts that have it", |a| {
        let parts = a.get("content-type").is_some_and(|kind| kind.starts_with("multipart/byteranges"));
        a.status != 206 || a.has("content-range") != parts
    }),
    ("RFC 9110 15.4: a redirect has Location", |a| !a.is_one_of(&[300, 301, 302, 303, 307, 308]) || a.has("location")),
    ("RFC 9110 15.5.2: 401 has a challenge", |a| a.status != 401 || a.has("www-authenticate")),
    ("RFC 9110 15.5.6: 405 has Allow", |a| a.status != 405 || a.get("allow").is_some_and(|allow| !allow.is_empty())),
    ("RFC 9110 15.5.8: 407 has a challenge", |a| a.status != 407 || a.has("proxy-authenticate")),
    ("RFC 9110 15.5.16: 415 says what is taken", |a| a.status != 415 || a.has("accept") || a.has("accept-encoding")),
    ("RFC 9110 15.5.17: 416 has Content-Range", |a| a.status != 416 || a.has("content-range")),
    ("RFC 9110 15.5.22: 426 has Upgrade, and Connection names it", |a| {
        a.status != 426 || a.has("upgrade") && a.get("connection").is_some_and(|options| options.contains("upgrade"))
    }),
    ("RFC 9110 7.8: no 101 that nobody has asked for", |a| a.status != 101),
    ("RFC 9110 7.6.1: Connection is a list of tokens", |a| a.is("connection", is_token_list)),
    ("RFC 9112 9.6: close is answered by close", |a| !a.fields.contains("Connection: close") || a.get("connection").is_some_and(|options| options.ends_with("close"))),
    ("RFC 9111 5.1: Age is a number", |a| a.is("age", is_number)),
    ("RFC 9111 5.2: Cache-Control; private and no-cache have quoted lists, ages have none", |a| a.is("cache-control", is_cache_control)),
    ("RFC 6265 4.1.1: a cookie has one name, and each attribute once", |a| a.is("set-cookie", is_cookie)),
    ("RFC 6265 4.1.1: each cookie is set once", |a| are_different(a.all("set-cookie").filter_map(|cookie| cookie.split('=').next()))),
    ("RFC 6797 7.2: no Strict-Transport-Security over plain text", |a| !a.has("strict-transport-security")),
    ("CSP 3.1: one policy", |a| a.all("content-security-policy").count() <= 1),
    ("HTML: X-Frame-Options", |a| a.is("x-frame-options", |value| matches!(value, "DENY" | "SAMEORIGIN"))),
    ("Fetch: X-Content-Type-Options", |a| a.is("x-content-type-options", |value| value == "nosniff")),
    ("Fetch: Cross-Origin-Resource-Policy", |a| a.is("cross-origin-resource-policy", |value| matches!(value, "same-origin" | "same-site" | "cross-origin"))),
    ("HTML: Cross-Origin-Opener-Policy", |a| a.is("cross-origin-opener-policy", |value| matches!(value, "unsafe-none" | "same-origin-allow-popups" | "same-origin"))),
    ("HTML: Cross-Origin-Embedder-Policy", |a| a.is("cross-origin-embedder-policy", |value| matches!(value, "unsafe-none" | "require-corp" | "credentialless"))),
    ("Fetch: Access-Control-Allow-Origin", |a| a.is("access-control-allow-origin", |value| matches!(value, "*" | "null") || value.contains("://"))),
    ("Fetch: Access-Control-Allow-Credentials", |a| a.is("access-control-allow-credentials", |value| value == "true")),
    ("Fetch: Access-Control lists", |a| ["allow-methods", "allow-headers", "expose-headers"].iter().all(|name| {
        a.is(&format!("access-control-{name}"), is_token_list)
    })),
    ("Fetch: Access-Control-Max-Age", |a| a.is("access-control-max-age", is_number)),
];

const SINGLE: &[&str] = &[
    "access-control-allow-origin",
    "age",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expires",
    "last-modified",
    "location",
    "retry-after",
    "server",
    "strict-transport-security",
    "transfer-encoding",
    "x-content-type-options",
    "x-frame-options",
];

fn is_token(text: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_tchar)
}

fn is_token_list(text: &str) -> bool {
    text.split(',').all(|item| is_token(item.trim()))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_imf_fixdate(text: &str) -> bool {
    let time = httpdate::parse_http_date(text);
    time.is_ok_and(|time| httpdate::fmt_http_date(time) == text)
}

fn is_media_type(text: &str) -> bool {
    let mut pieces = text.split(';').map(str::trim);
    let kind = pieces.next().and_then(|essence| essence.split_once('/'));
    kind.is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
        && pieces.all(|piece| {
            piece
                .split_once('=')
                .is_some_and(|(name, value)| is_token(name) && is_token(value.trim_matches('"')))
        })
}

fn is_entity_tag(text: &str) -> bool {
    let opaque = text.strip_prefix("W/").unwrap_or(text);
    let inner = opaque
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    inner.is_some_and(|inner| {
        inner
            .bytes()
            .all(|byte| byte > b' ' && byte != b'"' && byte != 0x7f)
    })
}

fn is_reference(text: &str) -> bool {
    let is_allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte);
    !text.is_empty() && text.bytes().all(is_allowed)
}

fn is_content_range(text: &str) -> bool {
    let Some((range, length)) = text
        .strip_prefix("bytes ")
        .and_then(|text| text.split_once('/'))
    else {
        return false;
    };
    match range.split_once('-') {
        Some((first, last)) => is_number(first) && is_number(last) && is_number(length),
        None => range == "*" && is_number(length),
    }
}

fn is_cache_control(text: &str) -> bool {
    text.split(',')
        .map(str::trim)
        .all(|directive| match directive.split_once('=') {
            Some(("private" | "no-cache", value)) => value.starts_with('"'),
            Some((name, value)) => is_token(name) && is_number(value),
            None => is_token(directive),
        })
}

fn is_cookie(text: &str) -> bool {
    let mut pieces = text.split("; ");
    let pair = pieces.next().and_then(|pair| pair.split_once('='));
    let is_value = |value: &str| {
        value
            .bytes()
            .all(|byte| byte > b' ' && !b"\",;\\\x7f".contains(&byte))
    };
    let attributes: Vec<_> = pieces
        .map(|piece| piece.split_once('=').unwrap_or((piece, "")))
        .collect();
    pair.is_some_and(|(name, value)| is_token(name) && is_value(value))
        && are_different(attributes.iter().map(|(name, _)| *name))
        && attributes
            .iter()
            .all(|(name, value)| *name != "Expires" || is_imf_fixdate(value))
}

fn are_different<'a>(names: impl Iterator<Item = &'a str>) -> bool {
    let mut names: Vec<_> = names.map(str::to_ascii_lowercase).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    names.len() == count
}

const METHODS: &[&str] = &[
    "GET", "HEAD", "POST", "OPTIONS", "DELETE", "PUT", "TRACE", "PATCH", "CONNECT", "ABC",
];

const FIELDS: &[&str] = &[
    "",
    "Connection: close\r\n",
    "Accept-Encoding: gzip, deflate, br\r\n",
    "Range: bytes=0-10\r\n",
    "Range: bytes=0-1,5-6\r\n",
    "Range: bytes=999999-\r\n",
    "If-Match: *\r\n",
    "If-Match: \"x\"\r\n",
    "If-None-Match: *\r\n",
    "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n",
    "If-Range: \"x\"\r\nRange: bytes=0-10\r\n",
    "Early-Data: 1\r\n",
    "Upgrade-Insecure-Requests: 1\r\n",
    "Connection: upgrade\r\nUpgrade: h2c\r\n",
    "Accept: application/json\r\n",
    "Origin: http://other.example\r\n",
    "Origin: http://other.example\r\nAccess-Control-Request-Method: PUT\r\n",
    "Cookie: theme=dark\r\n",
    "Content-Type: text/plain\r\nContent-Length: 0\r\n",
];

fn ask(
    service: &BoxService,
    method: &'static str,
    version: &'static str,
    path: &str,
    fields: &'static str,
) -> Asked {
    let client = Client::new(service.clone());
    let request = format!("{method} {path} {version}\r\nHost: example.com\r\n{fields}\r\n");
    let text = client.send(request).received();
    let (head, content) = text.split_once("\r\n\r\n").expect("a whole head");
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap()[9..12].parse().unwrap();
    let answer = lines.map(|line| line.split_once(": ").expect("a field"));
    Asked {
        method,
        version,
        fields,
        status,
        answer: answer
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect(),
        head: head.to_owned(),
        content: content.to_owned(),
    }
}

/// All that can be asked of these paths.
fn check(service: &BoxService, paths: &[&str]) {
    let mut broken = Vec::new();
    for path in paths {
        for (method, fields) in METHODS
            .iter()
            .flat_map(|m| FIELDS.iter().map(move |f| (m, f)))
        {
            for version in ["HTTP/1.1", "HTTP/1.0"] {
                let asked = ask(service, method, version, path, fields);
                let rules = RULES.iter().filter(|(_, holds)| !holds(&asked));
                broken.extend(rules.map(|(rule, _)| {
                    format!(
                        "{rule}\n  {method} {path} {version} {fields:?}\n  {}",
                        asked.head
                    )
                }));
            }
        }
        check_pairs(service, path, &mut broken);
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// What two answers have to have in common.
fn check_pairs(service: &BoxService, path: &str, broken: &mut Vec<String>) {
    let names = |asked: &Asked| -> Vec<String> {
        // "A server MAY omit header fields for which a value is determined only while generating the
        // content."
        let content = [
            "content-encoding",
            "content-length",
            "etag",
            "transfer-encoding",
            "vary",
        ];
        let names = asked.answer.iter().map(|(name, _)| name.clone());
        names.filter(|name| !content.contains(&&name[..])).collect()
    };
    for fields in FIELDS {
        let one = ask(service, "GET", "HTTP/1.1", path, fields);
        let head = ask(service, "HEAD", "HTTP/1.1", path, fields);
        let mut demand = |rule: &str, holds: bool| {
            if !holds {
                broken.push(format!(
                    "{rule}\n  {path} {fields:?}\n{}\n{}",
                    one.head, head.head
                ));
            }
        };
        let length = head.get("content-length");
        demand(
            "RFC 9110 8.6: HEAD says the length of GET",
            length.is_none() || length == one.get("content-length"),
        );
        // Ranges are for GET alone (RFC 9110, section 14.2).
        let is_alike = one.status == head.status && names(&one) == names(&head);
        demand(
            "RFC 9110 9.3.2: HEAD has the fields of GET",
            fields.contains("Range: bytes") || is_alike,
        );
        let plain = ask(service, "GET", "HTTP/1.1", path, "");
        if plain.status == 200 && matches!(one.status, 206 | 304) {
            let kept = [
                "date",
                "cache-control",
                "content-location",
                "etag",
                "expires",
                "vary",
            ];
            let keeps = |name: &&str| !plain.has(name) || one.has(name);
            demand(
                "RFC 9110 15.3.7, 15.4.5: 206 and 304 have the fields of 200",
                kept.iter().all(keeps),
            );
        }
    }
}

#[test]
fn files_keep_the_rules() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("docs")).unwrap();
    let page = format!("<!DOCTYPE html><p>{}", "tea ".repeat(500));
    std::fs::write(folder.path().join("index.html"), &page).unwrap();
    std::fs::write(folder.path().join("docs/a b.txt"), "0123456789".repeat(10)).unwrap();
    let files = FileService::new(folder.path()).unwrap();
    let paths = [
        "/",
        "/index.html",
        "/docs/a%20b.txt",
        "/docs",
        "/docs/",
        "/nothing",
        "/%00",
        "/x?y=z",
    ];
    check(&BoxService::new(files.clone()), &paths);
    let files = CompressionLayer::new().layer(files);
    let files = SecurityHeadersLayer::new().layer(files);
    check(&BoxService::new(files), &paths);
}

fn count(session: Session) -> Result<String, SessionError> {
    session.insert("seen", &true)?;
    Ok("seen".to_owned())
}

#[test]
fn routes_keep_the_rules() {
    let reactor = MemoryReactor::new();
    let sessions = Sessions::new(reactor.handle(), MemoryStore::default());
    let checker = MemoryChecker::new().user("ada", "lovelace");
    let auth = HttpAuth::new(checker).scheme(BasicCredentialFactory::new("the engine"));
    let limit = RateLimitLayer::new(reactor.handle(), 1, Duration::from_secs(60));
    let router = Router::builder()
        .route("/text", get(|| "tea"))
        .route("/html", get(|| Html("<p>tea")))
        .route("/json", post(|Json(cups): Json<u8>| Json(cups)))
        .route("/form", post(|_: ropewalk_web::extract::Form<()>| ()))
        .route(
            "/nothing",
            get(|| ()).delete(|| ()).put(|| StatusCode::RESET_CONTENT),
        )
        .route(
            "/created",
            post(|| (StatusCode::CREATED, [(header::LOCATION, "/tea/7")], "made")),
        )
        .route("/see", get(|| Redirect::see_other("/a b\r\nx: y")))
        .route("/moved", get(|| Redirect::permanent("/text")))
        .route("/missing", get(|| None::<String>))
        .route("/upgrade", get(|| Upgrade::required("shout")))
        .route("/count", get(count))
        .route("/limited", get(|| "tea").layer(limit))
        .route("/private", get(|| "private").layer(auth))
        .route(
            "/cookies",
            get(|cookies: Cookies| {
                let mut response = http::Response::new(ropewalk_web::Body::empty());
                for value in ["light", "dark"] {
                    cookies
                        .set(&mut response, Cookie::new("theme", value))
                        .unwrap();
                }
                cookies
                    .set(&mut response, Cookie::new("lang", "eo"))
                    .unwrap();
                cookies.remove(&mut response, "old").unwrap();
                response
            }),
        )
        .build()
        .unwrap();
    let paths = [
        "/text", "/html", "/json", "/form", "/nothing", "/created", "/see", "/moved", "/missing",
        "/upgrade", "/count", "/limited", "/private", "/cookies", "/nowhere", "/%ff",
    ];
    let service = sessions.layer(router.clone());
    check(&BoxService::new(service), &paths);
    let service = EntityTagLayer::new().layer(router);
    let service = CompressionLayer::new().layer(service);
    let service = CorsLayer::for_origins(["http://other.example"]).layer(service);
    check(&BoxService::new(service), &paths);
}
