//! A connection to Redis that is kept up, and those who use it.

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::endpoint::ClientEndpoint;
use ropewalk_core::{
    Address, Backoff, ClientService, ClientState, Connection, Deferred, Failure, ReactorCore,
};

use super::connection::RedisConnection;
use super::reply::Reply;

/// So many commands may wait for their answers.
const MAX_WAITING: usize = 1024;

/// Sessions are needed again soon: it is tried again at least so often.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

pub(super) struct Client {
    service: ClientService,
    waiting: Rc<Cell<usize>>,
}

/// What Redis is told before anything else.
#[derive(Clone, Default)]
pub(super) struct Login {
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: u32,
}

/// Why Redis could not be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedisError {
    /// It refused a command, and says why.
    Refused(String),
    /// What it said is not what Redis says.
    NotRedis(&'static str),
    /// It could not be reached, and is tried again in a moment.
    Unreachable,
    /// So many commands wait for their answers that no other may.
    Busy,
}

impl Client {
    pub(super) fn new(
        reactor: Rc<dyn ReactorCore>,
        endpoint: ClientEndpoint,
        login: Login,
    ) -> Self {
        let shown = endpoint.to_string();
        let factory = Rc::new(|_: &Address| RedisConnection::default());
        let backoff = Backoff {
            maximum: LONGEST_PAUSE,
            ..Backoff::new()
        };
        let service = ClientService::builder(reactor, endpoint, factory)
            .backoff(backoff)
            .prepare(move |connection: &Connection| log_in(connection, &login, &shown))
            .build();
        service.start();
        Self {
            service,
            waiting: Rc::default(),
        }
    }

    /// Sends a command, and waits for its answer; an error is a failure.
    pub(super) async fn ask(&self, command: Vec<Vec<u8>>) -> Result<Reply, Failure> {
        let _waits = Waits::begin(&self.waiting)?;
        if matches!(self.service.state(), ClientState::Waiting { failures: 1.. }) {
            return Err(RedisError::Unreachable.into());
        }
        let connection = self.service.when_connected(Some(1)).await?;
        send(&connection, command).await
    }
}

/// One who waits for an answer.
struct Waits(Rc<Cell<usize>>);

impl Waits {
    fn begin(waiting: &Rc<Cell<usize>>) -> Result<Self, RedisError> {
        if waiting.get() >= MAX_WAITING {
            return Err(RedisError::Busy);
        }
        waiting.set(waiting.get() + 1);
        Ok(Self(Rc::clone(waiting)))
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

fn send(connection: &Connection, command: Vec<Vec<u8>>) -> Deferred<Reply> {
    let (resolver, reply) = Deferred::<Reply>::pair();
    connection.with(move |redis: &mut RedisConnection, transport| {
        redis.ask(transport, &command, resolver);
    });
    reply.add_callback(|reply: Reply| match reply {
        Reply::Error(why) => Err(RedisError::Refused(why)),
        reply => Ok(reply),
    })
}

/// `AUTH` and `SELECT`.
fn log_in(connection: &Connection, login: &Login, endpoint: &str) -> Deferred<()> {
    let mut commands = Vec::new();
    if let Some(password) = &login.password {
        let mut auth = vec![b"AUTH".to_vec()];
        auth.extend(
            login
                .username
                .iter()
                .map(|username| username.clone().into_bytes()),
        );
        auth.push(password.clone().into_bytes());
        commands.push(auth);
    }
    if login.database != 0 {
        let number = login.database.to_string().into_bytes();
        commands.push(vec![b"SELECT".to_vec(), number]);
    }
    let sent = commands
        .into_iter()
        .map(|command| send(connection, command));
    let endpoint = endpoint.to_owned();
    // All are sent at once; the last answer comes last.
    let mut answered = Deferred::succeed(());
    for reply in sent.collect::<Vec<_>>() {
        answered = answered.add_callback(move |()| reply.add_callback(|_: Reply| ()));
    }
    answered.add_errback(move |failure| {
        tracing::error!(
            failure = &*failure.to_error(),
            "cannot log in to the Redis at {endpoint}: look at its password, its user and its database"
        );
        Err::<(), Failure>(failure)
    })
}

/// The connection is closed.
impl Drop for Client {
    fn drop(&mut self) {
        drop(self.service.stop());
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.service.fmt(f)
    }
}

impl fmt::Display for RedisError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => write!(f, "Redis refuses a command: {why}"),
            Self::NotRedis(what) => write!(f, "what should be a Redis is none: it sent {what}"),
            Self::Unreachable => f.write_str(
                "Redis cannot be reached at the moment; is it running, at this endpoint?",
            ),
            Self::Busy => write!(
                f,
                "{MAX_WAITING} commands wait for answers of Redis, as many as may: it is too slow"
            ),
        }
    }
}

impl Error for RedisError {}
