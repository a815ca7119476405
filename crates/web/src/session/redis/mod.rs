//! Sessions in a Redis, or a Valkey.

mod client;
mod connection;
mod reply;

use std::fmt;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ropewalk_core::endpoint::ClientEndpoint;
use ropewalk_core::{Failure, ReactorCore};
use serde_json::{Map, Value, json};

use super::id::SessionKey;
use super::store::{SessionRecord, SessionStore, StoreContext, StoreError, Storing};
pub use client::RedisError;
use client::{Client, Login};
use reply::Reply;

/// Keeps sessions in a Redis (6 or later, for ACLs; else any) or a Valkey, for any number of servers.
///
/// One connection, which is kept up, carries all requests of the loop, one behind the other without waiting for
/// answers (pipelining); at most 1024 may wait. When Redis cannot be reached, or does not answer within two
/// seconds, requests fail at once, and whoever needs a session is answered with 503. It never blocks the loop.
///
/// A session is a string of JSON under `session:` and its [`SessionKey`], with an expiry: Redis ends it. Sessions are
/// saved only where they still are, so one that was destroyed on another server stays so. A Redis that evicts keys
/// (`maxmemory-policy`) ends sessions early. Clusters are not supported.
///
/// ```
/// use ropewalk_core::testing::MemoryReactor;
/// use ropewalk_web::session::{RedisStore, Sessions};
///
/// let reactor = MemoryReactor::new();
/// let store = RedisStore::builder(reactor.handle(), "tcp:redis.example.com:6379".parse()?)
///     .password("secret")
///     .database(2)
///     .build();
/// let sessions = Sessions::new(reactor.handle(), store);
/// # let _ = sessions;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RedisStore {
    client: Rc<Client>,
    prefix: Rc<str>,
}

/// What a [`RedisStore`] is to be told beside its endpoint.
pub struct RedisStoreBuilder {
    reactor: Rc<dyn ReactorCore>,
    endpoint: ClientEndpoint,
    login: Login,
    prefix: String,
}

impl RedisStore {
    /// A store in the Redis at `endpoint`: `tcp:redis.example.com:6379`, `tls:redis.example.com:6380` or
    /// `unix:/run/redis/redis.sock`. It begins to connect at once.
    #[must_use]
    pub fn new(reactor: Rc<dyn ReactorCore>, endpoint: ClientEndpoint) -> Self {
        Self::builder(reactor, endpoint).build()
    }

    /// A store that is yet to be told more.
    #[must_use]
    pub fn builder(reactor: Rc<dyn ReactorCore>, endpoint: ClientEndpoint) -> RedisStoreBuilder {
        RedisStoreBuilder {
            reactor,
            endpoint,
            login: Login::default(),
            prefix: "session:".to_owned(),
        }
    }

    fn name(&self, key: SessionKey) -> Vec<u8> {
        format!("{}{key}", self.prefix).into_bytes()
    }

    /// Says what was being done when it fails.
    fn storing<T: 'static>(
        action: &'static str,
        asking: impl Future<Output = Result<T, Failure>> + 'static,
    ) -> Storing<T> {
        Box::pin(async move { asking.await.map_err(|cause| StoreError::new(action, cause)) })
    }

    /// Sets `name` for as long as the session has left, under a condition. `false` if that did not hold.
    async fn set(
        self,
        context: StoreContext,
        name: Vec<u8>,
        record: SessionRecord,
        condition: &'static str,
    ) -> Result<bool, Failure> {
        let Some(left) = context.remaining(record.created) else {
            self.client.ask(vec![b"DEL".to_vec(), name]).await?;
            return Ok(false);
        };
        let (text, left) = (write(&record), millis(left));
        let command = [
            b"SET".to_vec(),
            name,
            text,
            b"PX".to_vec(),
            left,
            condition.into(),
        ];
        match self.client.ask(command.to_vec()).await? {
            Reply::Nil => Ok(false),
            Reply::Simple(_) => Ok(true),
            other => Err(unexpected(&other)),
        }
    }
}

impl RedisStoreBuilder {
    /// With this password (`AUTH`).
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.login.password = Some(password.to_owned());
        self
    }

    /// As this user of Redis's access lists; `default` unless told.
    #[must_use]
    pub fn username(mut self, username: &str) -> Self {
        self.login.username = Some(username.to_owned());
        self
    }

    /// In the database of this number (`SELECT`); 0 unless told.
    #[must_use]
    pub fn database(mut self, number: u32) -> Self {
        self.login.database = number;
        self
    }

    /// With this before the names of sessions; `session:` unless told.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// The store. It begins to connect at once.
    #[must_use]
    pub fn build(self) -> RedisStore {
        RedisStore {
            client: Rc::new(Client::new(self.reactor, self.endpoint, self.login)),
            prefix: self.prefix.into(),
        }
    }
}

impl SessionStore for RedisStore {
    fn load(&self, context: &StoreContext, key: SessionKey) -> Storing<Option<SessionRecord>> {
        let (store, context, name) = (self.clone(), context.clone(), self.name(key));
        Self::storing("load a session from Redis", async move {
            match store.client.ask(vec![b"GET".to_vec(), name]).await? {
                Reply::Nil => Ok(None),
                Reply::Bulk(text) => {
                    let record = read(&text)?;
                    let left = context.remaining(record.created);
                    Ok(left.map(|_| record))
                }
                other => Err(unexpected(&other)),
            }
        })
    }

    fn create(
        &self,
        context: &StoreContext,
        key: SessionKey,
        record: SessionRecord,
    ) -> Storing<()> {
        let name = self.name(key);
        let setting = self.clone().set(context.clone(), name, record, "NX");
        Self::storing("keep a new session in Redis", async move {
            match setting.await? {
                true => Ok(()),
                false => Err(Failure::msg("Redis has another session of this name")),
            }
        })
    }

    fn save(
        &self,
        context: &StoreContext,
        key: SessionKey,
        record: SessionRecord,
    ) -> Storing<bool> {
        let setting = self
            .clone()
            .set(context.clone(), self.name(key), record, "XX");
        Self::storing("save a session in Redis", setting)
    }

    fn touch(&self, context: &StoreContext, key: SessionKey, created: SystemTime) -> Storing<bool> {
        let (store, name) = (self.clone(), self.name(key));
        // Nothing is left: Redis removes it at once.
        let left = context.remaining(created).unwrap_or_default();
        Self::storing("prolong a session in Redis", async move {
            let command = vec![b"PEXPIRE".to_vec(), name, millis(left)];
            count(&store.client.ask(command).await?)
        })
    }

    fn rotate(
        &self,
        context: &StoreContext,
        old: SessionKey,
        new: SessionKey,
        record: SessionRecord,
    ) -> Storing<bool> {
        let (store, context) = (self.clone(), context.clone());
        let (old, new) = (self.name(old), self.name(new));
        Self::storing("rename a session in Redis", async move {
            // If one of these fails, the client still has the old one, whole.
            if !store
                .clone()
                .set(context, new.clone(), record, "NX")
                .await?
            {
                return Ok(false);
            }
            let removed = store.client.ask(vec![b"DEL".to_vec(), old]).await?;
            let was_there = count(&removed)?;
            if !was_there {
                store.client.ask(vec![b"DEL".to_vec(), new]).await?;
            }
            Ok(was_there)
        })
    }

    fn delete(&self, _: &StoreContext, key: SessionKey) -> Storing<()> {
        let (store, name) = (self.clone(), self.name(key));
        Self::storing("end a session in Redis", async move {
            store.client.ask(vec![b"DEL".to_vec(), name]).await?;
            Ok(())
        })
    }
}

fn write(record: &SessionRecord) -> Vec<u8> {
    let created = record.created.duration_since(UNIX_EPOCH);
    let created = created.unwrap_or_default().as_millis() as u64;
    json!({"created": created, "values": &record.values})
        .to_string()
        .into_bytes()
}

fn read(text: &[u8]) -> Result<SessionRecord, Failure> {
    let foreign = || Failure::msg("what Redis has under the name of a session is none");
    let mut record: Map<String, Value> = serde_json::from_slice(text).map_err(|_| foreign())?;
    let created = record.get("created").and_then(Value::as_u64);
    let created =
        created.and_then(|created| UNIX_EPOCH.checked_add(Duration::from_millis(created)));
    match (created, record.remove("values")) {
        (Some(created), Some(Value::Object(values))) => Ok(SessionRecord::new(created, values)),
        _ => Err(foreign()),
    }
}

fn millis(left: Duration) -> Vec<u8> {
    left.as_millis().to_string().into_bytes()
}

/// Whether the one key was there.
fn count(reply: &Reply) -> Result<bool, Failure> {
    match reply {
        Reply::Integer(count) => Ok(*count > 0),
        other => Err(unexpected(other)),
    }
}

fn unexpected(reply: &Reply) -> Failure {
    Failure::msg(format!("Redis gives an answer of another kind: {reply:?}"))
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("client", &self.client)
            .field("prefix", &self.prefix)
            .finish()
    }
}

/// Shows no password.
impl fmt::Debug for RedisStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStoreBuilder")
            .field("endpoint", &format_args!("{}", self.endpoint))
            .finish_non_exhaustive()
    }
}
