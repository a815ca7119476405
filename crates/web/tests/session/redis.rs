//! Sessions in Redis: a real one, and one in memory that can be slow, go away, or be none.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use http::StatusCode;
use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Address, Protocol, ReactorCore, Transport};
use ropewalk_reactor::{Handle, Reactor};
use ropewalk_web::session::{
    RedisStore, SessionKey, SessionRecord, SessionStore, Sessions, StoreContext,
};
use serde_json::{Map, Value};

use super::rig::Rig;

#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Well,
    /// Takes commands, and says nothing.
    Silent,
    /// Goes away in the middle of an answer.
    Vanishing,
    /// Is something else.
    WebServer,
    /// Wants a password.
    Locked,
}

type Kept = Rc<RefCell<BTreeMap<Vec<u8>, Vec<u8>>>>;

/// As much of Redis as sessions use.
struct FakeRedis {
    kept: Kept,
    mood: Rc<Cell<Mood>>,
    unread: Vec<u8>,
}

impl FakeRedis {
    fn answer(&self, command: &[Vec<u8>]) -> Vec<u8> {
        let mut kept = self.kept.borrow_mut();
        let key = command.get(1).cloned().unwrap_or_default();
        let count = |count: usize| format!(":{count}\r\n").into_bytes();
        match &command[0][..] {
            b"GET" => match kept.get(&key) {
                Some(value) => {
                    [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
                }
                None => b"$-1\r\n".to_vec(),
            },
            b"SET" => {
                if (command[5] == b"NX") == kept.contains_key(&key) {
                    return b"$-1\r\n".to_vec();
                }
                kept.insert(key, command[2].clone());
                b"+OK\r\n".to_vec()
            }
            b"DEL" => count(usize::from(kept.remove(&key).is_some())),
            b"PEXPIRE" => count(usize::from(kept.contains_key(&key))),
            b"AUTH" | b"SELECT" => match self.mood.get() {
                Mood::Locked => b"-WRONGPASS invalid username-password pair\r\n".to_vec(),
                _ => b"+OK\r\n".to_vec(),
            },
            other => panic!("{}", String::from_utf8_lossy(other)),
        }
    }

    /// The first command of what is unread.
    fn next(&mut self) -> Option<Vec<Vec<u8>>> {
        let text = self.unread.clone();
        let mut rest = &text[..];
        let mut line = |kind: u8| {
            let end = rest.windows(2).position(|two| two == b"\r\n")?;
            assert_eq!(rest[0], kind);
            let number = std::str::from_utf8(&rest[1..end]).unwrap().parse().unwrap();
            rest = &rest[end + 2..];
            Some((number, rest))
        };
        let (parts, _) = line(b'*')?;
        let mut command = Vec::new();
        for _ in 0..parts {
            let end = rest.windows(2).position(|two| two == b"\r\n")?;
            let length: usize = std::str::from_utf8(&rest[1..end]).unwrap().parse().unwrap();
            let start = end + 2;
            command.push(rest.get(start..start + length)?.to_vec());
            rest = rest.get(start + length + 2..)?;
        }
        self.unread = rest.to_vec();
        Some(command)
    }
}

impl Protocol for FakeRedis {
    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        self.unread.extend_from_slice(data);
        while let Some(command) = self.next() {
            let answer = self.answer(&command);
            match self.mood.get() {
                Mood::Silent => {}
                Mood::Vanishing => {
                    transport.write(&answer[..answer.len() / 2]);
                    transport.lose_connection();
                    return;
                }
                Mood::WebServer => transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
                Mood::Well | Mood::Locked => transport.write(&answer),
            }
        }
    }
}

fn listen(reactor: &MemoryReactor) -> (Rc<Cell<Mood>>, Kept) {
    let mood = Rc::new(Cell::new(Mood::Well));
    let kept = Kept::default();
    let (of_server, in_server) = (Rc::clone(&mood), Rc::clone(&kept));
    let factory = move |_: &Address| FakeRedis {
        kept: Rc::clone(&in_server),
        mood: Rc::clone(&of_server),
        unread: Vec::new(),
    };
    reactor
        .listen(&"tcp:6379".parse().unwrap(), Rc::new(factory))
        .unwrap();
    (mood, kept)
}

fn store(reactor: Rc<dyn ReactorCore>) -> RedisStore {
    RedisStore::new(reactor, "tcp:192.0.2.1:6379".parse().unwrap())
}

fn rig() -> (Rig, Rc<Cell<Mood>>) {
    let reactor = MemoryReactor::new();
    let (mood, _) = listen(&reactor);
    // However the answers are cut.
    reactor.set_split(3);
    let rig = Rig::on(reactor, |reactor| {
        Sessions::new(Rc::clone(&reactor), store(reactor))
    });
    (rig, mood)
}

#[test]
fn sessions_live_in_redis() {
    let (rig, _) = rig();
    assert_eq!(rig.text("/look"), "new=true empty=true");
    rig.visit("/set?user=ada");
    assert_eq!(rig.text("/get?user"), "ada");
    let thief = rig.other();
    thief.has_cookie_of(&rig);
    rig.visit("/rotate");
    assert_eq!(rig.text("/get?user"), "ada");
    assert_eq!(thief.text("/get?user"), "-");
    thief.has_cookie_of(&rig);
    rig.visit("/destroy");
    assert_eq!(thief.text("/get?user"), "-");
}

#[test]
fn a_redis_that_is_silent_goes_away_or_is_none_is_a_503_and_comes_back() {
    for bad in [Mood::Silent, Mood::Vanishing, Mood::WebServer] {
        let (rig, mood) = rig();
        rig.visit("/set?user=ada");
        mood.set(bad);
        for path in ["/get?user", "/set?user=bob"] {
            let answer = rig.begin(path);
            rig.reactor.advance(Duration::from_secs(6));
            let answer = answer.take().expect("it is answered").unwrap();
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        }
        mood.set(Mood::Well);
        rig.reactor.advance(Duration::from_secs(30));
        assert_eq!(rig.text("/get?user"), "ada");
    }
}

#[test]
fn without_a_redis_a_request_fails_at_once() {
    let rig = Rig::new(|reactor| Sessions::new(Rc::clone(&reactor), store(reactor)));
    *rig.cookie.borrow_mut() = Some(("session".into(), "A".repeat(43)));
    rig.reactor.advance(Duration::from_secs(30));
    assert_eq!(rig.visit("/look").status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(rig.visit("/static").status, StatusCode::OK);
    listen(&rig.reactor);
    rig.reactor.advance(Duration::from_secs(30));
    assert_eq!(rig.text("/look"), "new=true empty=true");
}

#[test]
fn a_redis_that_refuses_the_password_is_not_used() {
    let reactor = MemoryReactor::new();
    let (mood, kept) = listen(&reactor);
    mood.set(Mood::Locked);
    let rig = Rig::on(reactor, |reactor| {
        let store = RedisStore::builder(Rc::clone(&reactor), "tcp:192.0.2.1:6379".parse().unwrap());
        Sessions::new(reactor, store.password("wrong").database(3).build())
    });
    rig.reactor.advance(Duration::from_secs(30));
    assert_eq!(
        rig.visit("/set?user=ada").status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert!(kept.borrow().is_empty());
    mood.set(Mood::Well);
    rig.reactor.advance(Duration::from_secs(30));
    assert_eq!(rig.text("/set?user=ada"), "set");
}

#[test]
fn many_requests_share_the_connection_and_too_many_are_refused() {
    let (rig, mood) = rig();
    rig.visit("/set?user=ada");
    mood.set(Mood::Silent);
    let answers: Vec<_> = (0..1100).map(|_| rig.begin("/get?user")).collect();
    let refused = answers
        .iter()
        .filter(|answer| answer.borrow().is_some())
        .count();
    assert_eq!(refused, 1100 - 1024);
    rig.reactor.advance(Duration::from_secs(2));
    assert!(answers.iter().all(|answer| answer.borrow().is_some()));
}

#[test]
fn what_is_no_session_of_ours_is_a_503() {
    let (reactor, key) = (MemoryReactor::new(), "A".repeat(43));
    let (_, kept) = listen(&reactor);
    let rig = Rig::on(reactor, |reactor| {
        Sessions::new(Rc::clone(&reactor), store(reactor))
    });
    rig.visit("/set?user=ada");
    for value in kept.borrow_mut().values_mut() {
        *value = b"{\"foreign\":1}".to_vec();
    }
    assert_eq!(
        rig.visit("/get?user").status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    *rig.cookie.borrow_mut() = Some(("session".into(), key));
    assert_eq!(rig.text("/get?user"), "-");
}

/// A Redis of our own, on a Unix socket in a folder of its own.
struct RealRedis {
    child: Child,
    folder: tempfile::TempDir,
}

impl RealRedis {
    fn start() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let find = |name: &str| {
            let mut files = std::env::split_paths(&path).map(|folder| folder.join(name));
            files.find(|file| file.is_file())
        };
        let Some(program) = find("redis-server").or_else(|| find("valkey-server")) else {
            let message = "redis-server is missing: what it would test is not tested";
            assert!(
                std::env::var_os("CI").is_none_or(|ci| ci != "true"),
                "{message}"
            );
            eprintln!("{message}");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        Some(Self::run(&program, folder))
    }

    fn run(program: &Path, folder: tempfile::TempDir) -> Self {
        let socket = folder.path().join("redis.sock");
        let mut child = Command::new(program)
            .args([
                "--port",
                "0",
                "--save",
                "",
                "--appendonly",
                "no",
                "--requirepass",
                "secret",
            ])
            .arg("--unixsocket")
            .arg(&socket)
            .arg("--dir")
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = child.stdout.take().unwrap();
        let mut lines = BufReader::new(said).lines();
        let is_ready = |line: String| {
            let line = line.to_lowercase();
            line.contains("ready to accept connections") || line.contains("now ready to accept")
        };
        assert!(lines.any(|line| is_ready(line.unwrap())), "Redis has begun");
        Self { child, folder }
    }

    fn store(&self, reactor: Rc<dyn ReactorCore>) -> RedisStore {
        let endpoint = format!("unix:{}/redis.sock", self.folder.path().display());
        let store = RedisStore::builder(reactor, endpoint.parse().unwrap());
        store.password("secret").database(1).build()
    }
}

impl Drop for RealRedis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `test` on a real reactor.
fn on_reactor<F: Future<Output = ()> + 'static>(test: impl FnOnce(Rc<dyn ReactorCore>) -> F) {
    /// A test that fails ends the run, too.
    struct Stop(Handle);
    impl Drop for Stop {
        fn drop(&mut self) {
            self.0.stop();
        }
    }
    let reactor = Reactor::new().unwrap();
    let running = test(Rc::new(reactor.handle()));
    let stop = Stop(reactor.handle());
    let passed = Rc::new(Cell::new(false));
    let pass = Rc::clone(&passed);
    reactor.handle().spawn(Box::pin(async move {
        let _stop = stop;
        running.await;
        pass.set(true);
    }));
    reactor.run().unwrap();
    assert!(passed.get(), "the test has failed: see above");
}

fn record(reactor: &Rc<dyn ReactorCore>, name: &str, value: &str) -> SessionRecord {
    let mut values = Map::new();
    values.insert(name.to_owned(), Value::from(value));
    SessionRecord::new(reactor.wall_clock(), values)
}

#[test]
fn a_real_redis_keeps_sessions_and_ends_them() {
    let Some(redis) = RealRedis::start() else {
        return;
    };
    on_reactor(|reactor| async move {
        let store = redis.store(Rc::clone(&reactor));
        let hour = Duration::from_secs(3600);
        let context = StoreContext::new(Rc::clone(&reactor), hour, 24 * hour);
        let [one, other, none] = [1, 2, 3].map(|byte| SessionKey::new([byte; 32]));
        let first = record(&reactor, "user", "ada");

        assert_eq!(store.load(&context, one).await.unwrap(), None);
        store.create(&context, one, first.clone()).await.unwrap();
        assert!(store.create(&context, one, first.clone()).await.is_err());
        let found = store.load(&context, one).await.unwrap().unwrap();
        assert_eq!(found.values, first.values);
        let second = record(&reactor, "user", "bob");
        assert!(store.save(&context, one, second.clone()).await.unwrap());
        assert!(!store.save(&context, none, second.clone()).await.unwrap());
        assert_eq!(store.load(&context, none).await.unwrap(), None);
        assert!(store.touch(&context, one, second.created).await.unwrap());
        assert!(!store.touch(&context, none, second.created).await.unwrap());

        assert!(
            store
                .rotate(&context, one, other, second.clone())
                .await
                .unwrap()
        );
        assert_eq!(store.load(&context, one).await.unwrap(), None);
        assert_eq!(
            store.load(&context, other).await.unwrap().unwrap().values,
            second.values
        );
        assert!(
            !store
                .rotate(&context, one, none, second.clone())
                .await
                .unwrap()
        );
        assert_eq!(store.load(&context, none).await.unwrap(), None);

        store.delete(&context, other).await.unwrap();
        assert_eq!(store.load(&context, other).await.unwrap(), None);

        // A session that began too long ago is over; one that Redis ends is over by its clock.
        let old = SessionRecord::new(second.created - 25 * hour, second.values.clone());
        assert!(store.create(&context, one, old).await.is_err());
        let short = StoreContext::new(Rc::clone(&reactor), Duration::from_millis(1), hour);
        store.create(&short, one, second.clone()).await.unwrap();
        while store.load(&context, one).await.unwrap().is_some() {}
    });
}

#[test]
fn a_real_redis_that_ends_is_an_error_at_once() {
    let Some(mut redis) = RealRedis::start() else {
        return;
    };
    on_reactor(|reactor| async move {
        let store = redis.store(Rc::clone(&reactor));
        let hour = Duration::from_secs(3600);
        let context = StoreContext::new(Rc::clone(&reactor), hour, hour);
        let key = SessionKey::new([1; 32]);
        store
            .create(&context, key, record(&reactor, "a", "b"))
            .await
            .unwrap();
        redis.child.kill().unwrap();
        redis.child.wait().unwrap();
        let error = store.load(&context, key).await.unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cannot load a session from Redis: "),
            "{error}"
        );
    });
}
