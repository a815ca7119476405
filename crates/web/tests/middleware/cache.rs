//! Answers that are kept.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use ropewalk_web::middleware::CacheLayer;
use ropewalk_web::{Body, BodyWriter, BoxError, Router, handler_fn};
use tower_layer::Layer;

use crate::rig::{Signal, World, handler_async, handler_fallible};

const SECOND: Duration = Duration::from_secs(1);

/// A site behind a cache. It answers with what the test says, and with a count as content.
struct Cached {
    world: World,
    origin: Rc<Origin>,
}

#[derive(Default)]
struct Origin {
    lines: RefCell<Vec<(String, String)>>,
    /// 0 for a failure.
    status: Cell<u16>,
    asked: Cell<u32>,
    /// The headers of the last request.
    last: RefCell<HeaderMap>,
}

impl Origin {
    fn answer(&self, request: &Request<Body>) -> Result<Response<Body>, BoxError> {
        self.asked.set(self.asked.get() + 1);
        self.last.borrow_mut().clone_from(request.headers());
        let mut answer = Response::builder().status(self.status.get());
        for (name, value) in &*self.lines.borrow() {
            answer = answer.header(name, value);
        }
        match self.status.get() {
            0 => Err("it failed".into()),
            304 => Ok(answer.body(Body::empty())?),
            _ => Ok(answer.body(Body::from(format!("answer {}", self.asked.get())))?),
        }
    }
}

impl Cached {
    fn new(lines: &[&str]) -> Self {
        Self::with(lines, |layer| layer)
    }

    fn with(lines: &[&str], set: impl FnOnce(CacheLayer) -> CacheLayer) -> Self {
        let origin: Rc<Origin> = Rc::default();
        let at_work = Rc::clone(&origin);
        let world = World::new(|reactor| {
            let handler = handler_fallible(move |request: Request<Body>| {
                std::future::ready(at_work.answer(&request))
            });
            set(CacheLayer::new(reactor, 100_000)).layer(handler)
        });
        let this = Self { world, origin };
        this.answers(200, lines);
        this
    }

    /// From now on the handler answers so.
    fn answers(&self, status: u16, lines: &[&str]) {
        self.origin.status.set(status);
        let lines = lines.iter().map(|line| line.split_once(": ").unwrap());
        let lines = lines.map(|(name, value)| (name.to_owned(), value.to_owned()));
        *self.origin.lines.borrow_mut() = lines.collect();
    }

    /// What is answered, and the age that it says.
    fn get(&self, lines: &[&str]) -> (String, Option<u32>) {
        let answer = self.world.get("/", lines);
        let age = answer.header("age").map(|age| age.parse().unwrap());
        let text = match answer.status {
            200 => answer.text().to_owned(),
            status => status.to_string(),
        };
        (text, age)
    }

    /// Whether the second of two requests is answered by what was kept of the first.
    fn keeps(&self, first: &[&str], second: &[&str]) -> bool {
        let before = self.origin.asked.get();
        self.world.get("/", first);
        self.world.get("/", second);
        self.origin.asked.get() == before + 1
    }
}

fn kept(number: u32, age: u32) -> (String, Option<u32>) {
    (format!("answer {number}"), Some(age))
}

fn fresh(number: u32) -> (String, Option<u32>) {
    (format!("answer {number}"), None)
}

#[test]
fn an_answer_is_given_again_until_it_is_stale_and_tells_its_age() {
    let cached = Cached::new(&["cache-control: max-age=10"]);
    assert_eq!(cached.get(&[]), fresh(1));
    assert_eq!(cached.get(&[]), kept(1, 0));
    cached.world.advance(9 * SECOND);
    assert_eq!(cached.get(&[]), kept(1, 9));
    cached.world.advance(SECOND);
    assert_eq!(cached.get(&[]), fresh(2));
    assert_eq!(cached.get(&[]), kept(2, 0));
}

#[test]
fn only_what_may_be_shared_and_says_for_how_long_is_kept() {
    for (lines, expected) in [
        (&["cache-control: max-age=10"][..], true),
        (&["cache-control: s-maxage=10, max-age=0"], true),
        (&["cache-control: max-age=10, s-maxage=0"], false),
        (&["expires: Thu, 01 Jan 2026 00:00:10 GMT"], true),
        (&["expires: Wed, 31 Dec 2025 23:59:59 GMT"], false),
        (&["expires: 0"], false),
        (&["cache-control: max-age=10", "expires: 0"], true),
        (&["cache-control: max-age=10", "age: 9"], true),
        (&["cache-control: max-age=10", "age: 10"], false),
        (
            &[
                "cache-control: max-age=10",
                "date: Wed, 31 Dec 2025 23:59:51 GMT",
            ],
            true,
        ),
        (
            &[
                "cache-control: max-age=10",
                "date: Wed, 31 Dec 2025 23:59:50 GMT",
            ],
            false,
        ),
        (&[], false),
        (&["etag: \"x\""], false),
        (&["cache-control: max-age=10, no-store"], false),
        (&["cache-control: max-age=10, private"], false),
        (&["cache-control: max-age=10, no-cache"], false),
        (&["cache-control: max-age=10", "vary: *"], false),
        (&["cache-control: max-age=10", "set-cookie: a=b"], false),
    ] {
        assert_eq!(Cached::new(lines).keeps(&[], &[]), expected, "{lines:?}");
    }
    for (status, expected) in [
        (404, true),
        (301, true),
        (206, false),
        (500, false),
        (403, false),
    ] {
        let cached = Cached::new(&[]);
        cached.answers(status, &["cache-control: max-age=10", "location: /"]);
        assert_eq!(cached.keeps(&[], &[]), expected, "{status}");
    }
}

#[test]
fn an_answer_to_credentials_is_kept_only_if_it_says_that_it_is_for_all() {
    for (control, expected) in [
        ("cache-control: max-age=10", false),
        ("cache-control: max-age=10, public", true),
        ("cache-control: s-maxage=10", true),
        ("cache-control: max-age=10, must-revalidate", true),
        ("cache-control: max-age=10, proxy-revalidate", false),
    ] {
        let cached = Cached::new(&[control]);
        let credentials = &["Authorization: Basic YTpi"][..];
        assert_eq!(cached.keeps(credentials, &[]), expected, "{control}");
    }
}

#[test]
fn a_request_says_how_fresh_the_answer_must_be() {
    for (line, age, from_cache) in [
        ("Cache-Control: no-cache", 0, false),
        ("Pragma: no-cache", 0, false),
        ("Cache-Control: no-store", 1, true),
        ("Cache-Control: max-age=5", 5, true),
        ("Cache-Control: max-age=5", 6, false),
        ("Cache-Control: min-fresh=5", 4, true),
        ("Cache-Control: min-fresh=5", 5, false),
        ("Cache-Control: max-stale=5", 15, true),
        ("Cache-Control: max-stale=5", 16, false),
        ("Cache-Control: max-stale", 500, true),
    ] {
        let cached = Cached::new(&["cache-control: max-age=10"]);
        cached.get(&[]);
        cached.world.advance(age * SECOND);
        let expected = if from_cache { kept(1, age) } else { fresh(2) };
        assert_eq!(cached.get(&[line]), expected, "{line} at {age}");
    }
    let strict = Cached::new(&["cache-control: max-age=10, must-revalidate"]);
    strict.get(&[]);
    strict.world.advance(11 * SECOND);
    assert_eq!(strict.get(&["Cache-Control: max-stale"]), fresh(2));
    let cached = Cached::new(&["cache-control: max-age=10"]);
    assert_eq!(cached.get(&["Cache-Control: only-if-cached"]).0, "504");
    assert!(!cached.keeps(&["Cache-Control: no-store"], &[]));
    assert_eq!(cached.get(&["Cache-Control: only-if-cached"]), kept(2, 0));
}

#[test]
fn requests_that_the_answer_depends_on_are_told_apart() {
    let cached = Cached::new(&["cache-control: max-age=10", "vary: Accept, x-a"]);
    let (html, json) = (
        &["Accept: text/html"][..],
        &["Accept: application/json"][..],
    );
    assert!(cached.keeps(html, html));
    assert!(!cached.keeps(json, &[]));
    assert_eq!(cached.get(html), kept(1, 0));
    assert_eq!(cached.get(json), kept(2, 0));
    assert_eq!(cached.get(&["Accept: text/html", "X-B: x"]), kept(1, 0));
    assert_eq!(cached.get(&["Accept: text/html", "X-A: x"]), fresh(4));
    let other = cached
        .world
        .send("GET / HTTP/1.1\r\nHost: other.example\r\n\r\n");
    assert_eq!(other.answer().text(), "answer 5");
    assert_eq!(cached.world.get("/?q", &[]).text(), "answer 6");
}

#[test]
fn a_stale_answer_is_used_again_when_it_has_not_changed() {
    let cached = Cached::new(&["cache-control: max-age=10", "etag: \"x\"", "x-old: 1"]);
    cached.get(&[]);
    cached.world.advance(10 * SECOND);
    cached.answers(
        304,
        &["cache-control: max-age=20", "etag: \"x\"", "x-new: 1"],
    );
    let answer = cached.world.get("/", &["If-None-Match: \"mine\""]);
    assert_eq!(cached.origin.last.borrow()["if-none-match"], "\"x\"");
    assert_eq!((answer.status, answer.text()), (200, "answer 1"));
    assert_eq!(
        [answer.header("x-old"), answer.header("x-new")],
        [Some("1"); 2]
    );
    cached.world.advance(19 * SECOND);
    assert_eq!(cached.get(&[]), kept(1, 19));
    cached.world.advance(SECOND);
    cached.answers(200, &["cache-control: max-age=10"]);
    assert_eq!(cached.get(&[]), fresh(3));
    assert_eq!(cached.get(&[]), kept(3, 0));
}

#[test]
fn what_is_to_be_asked_for_each_time_is_asked_for_each_time() {
    let modified = "last-modified: Wed, 31 Dec 2025 00:00:00 GMT";
    let cached = Cached::new(&["cache-control: no-cache", modified]);
    cached.get(&[]);
    cached.answers(304, &["cache-control: no-cache", modified]);
    for number in 2..4 {
        assert_eq!(cached.get(&[]), kept(1, 0));
        assert_eq!(cached.origin.asked.get(), number);
        let asked = &cached.origin.last.borrow()["if-modified-since"];
        assert_eq!(asked, "Wed, 31 Dec 2025 00:00:00 GMT");
    }
}

#[test]
fn conditions_are_judged_by_what_is_kept() {
    let cached = Cached::new(&["cache-control: max-age=10", "etag: \"x\""]);
    // Also of a first answer, which was asked for without them.
    let matches = &["If-None-Match: \"x\""][..];
    assert_eq!(cached.world.get("/", matches).status, 304);
    assert!(!cached.origin.last.borrow().contains_key("if-none-match"));
    let answer = cached.world.get("/", matches);
    assert_eq!((answer.status, &answer.body[..]), (304, &b""[..]));
    assert_eq!(cached.get(&["If-None-Match: \"y\""]), kept(1, 0));
    assert_eq!(cached.origin.asked.get(), 1);
    // These go past it.
    for line in [
        "Range: bytes=0-1",
        "If-Match: \"x\"",
        "If-Unmodified-Since: x",
    ] {
        cached.get(&[line]);
    }
    assert_eq!(cached.origin.asked.get(), 4);
}

#[test]
fn head_is_answered_by_what_get_has_left_and_leaves_nothing() {
    let cached = Cached::new(&["cache-control: max-age=10"]);
    cached.world.head("/", &[]);
    cached.world.head("/", &[]);
    assert_eq!(cached.origin.asked.get(), 2);
    cached.get(&[]);
    let head = cached.world.head("/", &[]);
    assert_eq!(cached.origin.asked.get(), 3);
    assert_eq!(
        (head.header("content-length"), head.header("age")),
        (Some("8"), Some("0"))
    );
    assert!(head.body.is_empty());
}

#[test]
fn a_change_that_succeeds_ends_what_is_kept() {
    let cached = Cached::new(&["cache-control: max-age=10"]);
    cached.get(&[]);
    cached.answers(500, &[]);
    cached.world.ask("POST", "/", &["Content-Length: 0"]);
    assert_eq!(cached.get(&[]), kept(1, 0));
    cached.answers(200, &["cache-control: max-age=10"]);
    cached.world.ask("OPTIONS", "/", &[]);
    assert_eq!(cached.get(&[]), kept(1, 0));
    cached.world.ask("PUT", "/", &["Content-Length: 0"]);
    assert_eq!(cached.get(&[]), fresh(5));
}

#[test]
fn a_stale_answer_is_better_than_none_where_it_is_allowed() {
    let plain: fn(CacheLayer) -> CacheLayer = |layer| layer;
    let lenient: fn(CacheLayer) -> CacheLayer = |layer| layer.stale_if_error(5 * SECOND);
    for (set, control, age, allowed) in [
        (plain, "max-age=10", 11, false),
        (plain, "max-age=10, stale-if-error=3", 13, true),
        (plain, "max-age=10, stale-if-error=3", 14, false),
        (lenient, "max-age=10", 15, true),
        (lenient, "max-age=10", 16, false),
        (lenient, "max-age=10, stale-if-error=0", 11, false),
        (lenient, "max-age=10, must-revalidate", 11, false),
        (lenient, "s-maxage=10", 11, false),
    ] {
        for status in [500, 503, 0] {
            let cached = Cached::with(&[&format!("cache-control: {control}")], set);
            cached.get(&[]);
            cached.world.advance(age * SECOND);
            cached.answers(status, &[]);
            let (text, _) = cached.get(&[]);
            let failure = status.max(500).to_string();
            let expected = if allowed { "answer 1" } else { &failure };
            assert_eq!(text, expected, "{control} at {age}, {status}");
        }
    }
    let cached = Cached::with(&["cache-control: max-age=10"], lenient);
    cached.get(&[]);
    cached.world.advance(11 * SECOND);
    cached.answers(404, &[]);
    assert_eq!(cached.get(&[]).0, "404");
}

#[test]
fn those_who_want_the_same_wait_for_one_of_them() {
    let (asked, signal) = (Rc::new(Cell::new(0)), Signal::default());
    let (count, wait) = (Rc::clone(&asked), signal.clone());
    let world = World::new(|reactor| {
        CacheLayer::new(reactor, 100_000).layer(handler_async(move |request: Request<Body>| {
            count.set(count.get() + 1);
            let wait = wait.clone();
            let control = request.uri().path().trim_start_matches('/').to_owned();
            async move {
                wait.wait().await;
                let answer = Response::builder().header("cache-control", control);
                answer.body(Body::from("hello")).unwrap()
            }
        }))
    });
    let four = |path: &str| [(); 4].map(|()| world.ask("GET", path, &[]));
    let same = four("/max-age=10");
    assert_eq!(asked.get(), 1);
    // The one that asks is gone: one of the others asks.
    same[0].connection.abort_connection();
    world.reactor.run();
    assert_eq!(asked.get(), 2);
    let alone = four("/no-store");
    assert_eq!(asked.get(), 3);
    signal.give();
    world.reactor.run();
    for asked in same[1..].iter().chain(&alone) {
        assert_eq!(asked.answer().text(), "hello");
    }
    // What cannot be kept was asked for by each, once that was known; and is from the start, after
    // that.
    assert_eq!(asked.get(), 6);
    signal.take();
    let _alone = four("/no-store");
    assert_eq!(asked.get(), 10);
}

/// A site behind a cache whose handler says at once that its answer may be kept, and streams it; with
/// who writes the streams.
fn streaming(wait: Signal) -> (World, Rc<RefCell<Vec<BodyWriter>>>) {
    let writers: Rc<RefCell<Vec<BodyWriter>>> = Rc::default();
    let keep = Rc::clone(&writers);
    let world = World::new(|reactor| {
        CacheLayer::new(reactor, 100_000).layer(handler_async(move |_: Request<Body>| {
            let (keep, wait) = (Rc::clone(&keep), wait.clone());
            let (writer, body) = Body::channel();
            keep.borrow_mut().push(writer);
            async move {
                wait.wait().await;
                let answer = Response::builder().header("cache-control", "max-age=10");
                answer.body(body).unwrap()
            }
        }))
    });
    (world, writers)
}

#[test]
fn a_stream_that_is_slow_is_waited_for_by_nobody() {
    let signal = Signal::default();
    let (world, writers) = streaming(signal.clone());
    let first = world.ask("GET", "/", &[]);
    let second = world.ask("GET", "/", &[]);
    assert_eq!(writers.borrow().len(), 1);
    signal.give();
    world.reactor.run();
    // The first one's answer has begun, and may take as long as its reader likes.
    let third = world.ask("GET", "/", &[]);
    assert_eq!(writers.borrow().len(), 3);
    for (writer, text) in writers.take().into_iter().zip(["one", "two", "three"]) {
        let mut writer = writer;
        writer.try_send(text.into()).unwrap();
    }
    world.reactor.run();
    assert_eq!(first.answer().text(), "one");
    assert_eq!(second.answer().text(), "two");
    assert_eq!(third.answer().text(), "three");
    assert!(world.get("/", &[]).header("age").is_some());
}

#[test]
fn who_waits_for_one_is_answered_as_soon_as_another_is_kept() {
    let signal = Signal::default();
    let (world, writers) = streaming(signal.clone());
    signal.give();
    let first = world.ask("GET", "/", &[]);
    signal.take();
    let _asks = world.ask("GET", "/", &[]);
    let waits = world.ask("GET", "/", &[]);
    assert_eq!(writers.borrow().len(), 2);
    let mut writer = writers.borrow_mut().remove(0);
    writer.try_send("hello".into()).unwrap();
    drop(writer);
    world.reactor.run();
    assert_eq!(first.answer().text(), "hello");
    assert_eq!(waits.answer().text(), "hello");
    assert_eq!(writers.borrow().len(), 1);
}

#[test]
fn streams_that_are_being_kept_take_no_more_memory_than_what_is_kept() {
    let writers: Rc<RefCell<Vec<BodyWriter>>> = Rc::default();
    let keep = Rc::clone(&writers);
    let world = World::new(|reactor| {
        CacheLayer::new(reactor, 20_000).layer(handler_fn(move |_: Request<Body>| {
            let (writer, body) = Body::channel();
            keep.borrow_mut().push(writer);
            let answer = Response::builder().header("cache-control", "max-age=10");
            answer.body(body).unwrap()
        }))
    });
    let paths = ["/a", "/b", "/c"];
    let asked = paths.map(|path| world.ask("GET", path, &[]));
    for writer in &mut *writers.borrow_mut() {
        writer.try_send(vec![b'x'; 8000].into()).unwrap();
    }
    world.reactor.run();
    writers.borrow_mut().clear();
    world.reactor.run();
    for asked in asked {
        assert_eq!(asked.answer().body.len(), 8000);
    }
    let kept = paths.map(|path| {
        let asked = world.ask("GET", path, &[]);
        writers.borrow_mut().clear();
        world.reactor.run();
        asked.answer().header("age").is_some()
    });
    // There was no room for the third beside the others.
    assert_eq!(kept, [true, true, false]);
}

#[test]
fn a_stream_is_kept_as_it_is_sent_if_it_comes_to_its_end() {
    let writers: Rc<RefCell<Vec<BodyWriter>>> = Rc::default();
    let keep = Rc::clone(&writers);
    let world = World::new(|reactor| {
        let layer = CacheLayer::new(reactor, 100_000).longest(8);
        layer.layer(handler_fn(move |_: Request<Body>| {
            let (writer, body) = Body::channel();
            keep.borrow_mut().push(writer);
            let answer = Response::builder().header("cache-control", "max-age=10");
            answer.body(body).unwrap()
        }))
    });
    let write = |pieces: &[&'static str], end| {
        let mut writer = writers.borrow_mut().pop().unwrap();
        for piece in pieces {
            assert!(writer.try_send((*piece).into()).is_ok());
            world.reactor.run();
        }
        match end {
            true => drop(writer),
            false => writer.abort(),
        }
        world.reactor.run();
    };
    for (path, pieces, end, is_kept) in [
        ("/whole", &["four", "four"][..], true, true),
        ("/long", &["four", "four", "1"], true, false),
        ("/broken", &["four"], false, false),
    ] {
        let first = world.ask("GET", path, &[]);
        write(pieces, end);
        assert_eq!(first.try_answer().is_some(), end, "{path}");
        let second = world.ask("GET", path, &[]);
        let so_far = String::from_utf8(second.bytes()).unwrap();
        assert_eq!(writers.borrow().is_empty(), is_kept, "{path}: {so_far}");
        if is_kept {
            assert_eq!(second.answer().text(), pieces.concat());
        } else {
            write(&[], true);
        }
    }
}

#[test]
fn a_stream_that_says_its_length_is_kept_though_nobody_reads_on() {
    let asked = Rc::new(Cell::new(0));
    let count = Rc::clone(&asked);
    let world = World::new(|reactor| {
        CacheLayer::new(reactor, 100_000).layer(handler_fn(move |_: Request<Body>| {
            count.set(count.get() + 1);
            let (mut writer, body) = Body::channel();
            assert!(writer.try_send("four".into()).is_ok());
            let answer = Response::builder().header("cache-control", "max-age=10");
            answer.header("content-length", 4).body(body).unwrap()
        }))
    });
    assert_eq!(world.get("/", &[]).text(), "four");
    assert_eq!(world.get("/", &[]).text(), "four");
    assert_eq!(asked.get(), 1);
}

#[test]
fn what_is_kept_is_bounded_in_bytes() {
    let layer = Rc::new(RefCell::new(None));
    let keep = Rc::clone(&layer);
    let world = World::new(|reactor| {
        let cache = CacheLayer::new(reactor, 50_000);
        *keep.borrow_mut() = Some(cache.clone());
        cache.layer(handler_fn(|_: Request<Body>| {
            let answer = Response::builder().header("cache-control", "max-age=10");
            answer.body(Body::from(vec![b'x'; 5000])).unwrap()
        }))
    });
    for number in 0..100 {
        world.get(&format!("/{number}"), &[]);
    }
    let held = layer.borrow().as_ref().unwrap().held();
    assert!((40_000..=50_000).contains(&held), "{held}");
    assert!(world.get("/99", &[]).header("age").is_some());
    assert!(world.get("/0", &[]).header("age").is_none());
}

#[test]
fn what_two_routes_give_one_path_is_kept_apart() {
    let world = World::new(|reactor| {
        let layer = CacheLayer::new(reactor, 100_000);
        let shop = |name: &'static str| {
            layer.layer(handler_fn(move |request: Request<Body>| {
                let answer = Response::builder().header("cache-control", "max-age=10");
                let text = format!("{name} {}", request.uri().path());
                answer.body(Body::from(text)).unwrap()
            }))
        };
        let router = Router::builder()
            .nest("/tea", shop("tea"))
            .nest("/rope", shop("rope"));
        router.build().unwrap()
    });
    for _ in 0..2 {
        assert_eq!(world.get("/tea/list", &[]).text(), "tea /list");
        assert_eq!(world.get("/rope/list", &[]).text(), "rope /list");
    }
    assert!(world.get("/rope/list", &[]).header("age").is_some());
}
