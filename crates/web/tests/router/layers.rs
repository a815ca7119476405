//! What handlers take that a layer brings: sessions, who was authenticated, cookies.

use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Address, Failure};
use ropewalk_web::answer::Rejection;
use ropewalk_web::auth::{Authenticated, BasicCredentialFactory, HttpAuth};
use ropewalk_web::cookies::Cookies;
use ropewalk_web::credentials::{
    AvatarId, Checking, Credentials, CredentialsChecker, MemoryChecker,
};
use ropewalk_web::extract::Json;
use ropewalk_web::router::{Router, get, post};
use ropewalk_web::session::{
    MemoryStore, Session, SessionError, SessionKey, SessionRecord, SessionStore, Sessions,
    StoreContext, StoreError, Storing,
};
use tower_layer::Layer;

use crate::rig::{Client, Reply, ask, wire};

fn count(session: Session) -> Result<String, SessionError> {
    let visits = session.get::<u32>("visits")?.unwrap_or(0) + 1;
    session.insert("visits", &visits)?;
    Ok(visits.to_string())
}

async fn set(session: Session, Json(visits): Json<u32>) -> Result<String, SessionError> {
    session.insert("visits", &visits)?;
    Ok("set".to_owned())
}

fn router() -> Router {
    Router::builder()
        .route("/count", get(count))
        .route("/set", post(set))
        .route(
            "/maybe",
            get(|session: Option<Session>| session.is_some().to_string()),
        )
        .route(
            "/own",
            get(|session: Result<Session, Rejection>| match session {
                Ok(_) => "there".to_owned(),
                Err(rejection) => rejection.status().to_string(),
            }),
        )
        .route("/user", get(|user: Authenticated| user.user().to_owned()))
        .route(
            "/guest",
            get(|user: Option<Authenticated>| {
                user.map_or("guest".to_owned(), |user| user.user().to_owned())
            }),
        )
        .route(
            "/theme",
            get(|cookies: Cookies| cookies.get("theme").unwrap_or("none").to_owned()),
        )
        .build()
        .unwrap()
}

/// Asks again with the cookie that the answer before has set.
fn ask_again(client: &Client, before: &Reply, request: &str) -> Reply {
    let cookie = before.header("set-cookie");
    let cookie = cookie.split(';').next().unwrap();
    client
        .send(wire(&request.replacen(
            '\n',
            &format!("\ncookie: {cookie}\n"),
            1,
        )))
        .reply()
}

#[test]
fn a_session_that_lies_in_a_store_is_loaded_before_the_handler_begins() {
    let reactor = MemoryReactor::new();
    let sessions = Sessions::new(reactor.handle(), MemoryStore::default());
    let client = Client::on(reactor, sessions.layer(router()));
    let first = client.send(wire("GET /count\n")).reply();
    assert_eq!((first.status, &first.body[..]), (200, "1"));
    assert_eq!(ask_again(&client, &first, "GET /count\n").body, "2");
    let set = ask_again(
        &client,
        &first,
        "POST /set\ncontent-type: application/json\n\n41",
    );
    assert_eq!(set.body, "set");
    assert_eq!(ask_again(&client, &first, "GET /count\n").body, "42");
    assert_eq!(ask_again(&client, &first, "GET /maybe\n").body, "true");
    assert_eq!(ask_again(&client, &first, "GET /own\n").body, "there");
}

/// Lets sessions begin, and fails when they are to be loaded.
#[derive(Default)]
struct Broken(MemoryStore);

impl SessionStore for Broken {
    fn load(&self, _: &StoreContext, _: SessionKey) -> Storing<Option<SessionRecord>> {
        let failure = Failure::new(std::io::Error::other("the disk is gone"));
        Box::pin(async move { Err(StoreError::new("load a session", failure)) })
    }

    fn create(
        &self,
        context: &StoreContext,
        key: SessionKey,
        record: SessionRecord,
    ) -> Storing<()> {
        self.0.create(context, key, record)
    }

    fn save(
        &self,
        context: &StoreContext,
        key: SessionKey,
        record: SessionRecord,
    ) -> Storing<bool> {
        self.0.save(context, key, record)
    }

    fn touch(
        &self,
        context: &StoreContext,
        key: SessionKey,
        created: std::time::SystemTime,
    ) -> Storing<bool> {
        self.0.touch(context, key, created)
    }

    fn rotate(
        &self,
        context: &StoreContext,
        old: SessionKey,
        new: SessionKey,
        record: SessionRecord,
    ) -> Storing<bool> {
        self.0.rotate(context, old, new, record)
    }

    fn delete(&self, context: &StoreContext, key: SessionKey) -> Storing<()> {
        self.0.delete(context, key)
    }
}

#[test]
fn a_handler_whose_session_cannot_be_loaded_is_not_called() {
    let reactor = MemoryReactor::new();
    let sessions = Sessions::new(reactor.handle(), Broken::default());
    let client = Client::on(reactor, sessions.layer(router()));
    let first = client.send(wire("GET /count\n")).reply();
    assert_eq!(first.status, 200);
    assert_eq!(ask_again(&client, &first, "GET /count\n").status, 503);
    assert_eq!(ask_again(&client, &first, "GET /maybe\n").status, 503);
    let own = ask_again(&client, &first, "GET /own\n");
    assert_eq!(own.body, "503 Service Unavailable");
}

#[test]
fn a_handler_that_lacks_its_layer_is_500_unless_it_takes_an_option() {
    let router = router();
    for (path, status, body) in [
        ("/count", 500, None),
        ("/user", 500, None),
        ("/maybe", 200, Some("false")),
        ("/guest", 200, Some("guest")),
        ("/theme", 200, Some("none")),
    ] {
        let reply = ask(&router, &format!("GET {path}\n"));
        assert_eq!(reply.status, status, "{path}");
        assert!(body.is_none_or(|body| reply.body == body), "{path}");
    }
}

/// Lets in who shows nothing.
struct OrAnonymous(MemoryChecker);

impl CredentialsChecker for OrAnonymous {
    fn request_avatar_id(&self, credentials: &Credentials, from: &Address) -> Checking {
        match credentials {
            Credentials::Anonymous => Box::pin(async { Ok(AvatarId::Anonymous) }),
            credentials => self.0.request_avatar_id(credentials, from),
        }
    }
}

#[test]
fn a_handler_that_takes_a_user_sends_the_others_away_to_log_in() {
    let checker = OrAnonymous(MemoryChecker::new().user("ada", "lovelace"));
    let auth = HttpAuth::new(checker).scheme(BasicCredentialFactory::new("the engine"));
    let service = auth.layer(router());
    let asked = ask(&service, "GET /user\n");
    assert_eq!(asked.status, 401);
    assert!(
        asked
            .header("www-authenticate")
            .starts_with("Basic realm=\"the engine\"")
    );
    assert_eq!(ask(&service, "GET /guest\n").body, "guest");
    // ada:lovelace
    let login = "authorization: Basic YWRhOmxvdmVsYWNl\n";
    assert_eq!(ask(&service, &format!("GET /user\n{login}")).body, "ada");
    assert_eq!(ask(&service, &format!("GET /guest\n{login}")).body, "ada");
}

#[test]
fn cookies_are_taken_as_they_came() {
    let reply = ask(&router(), "GET /theme\ncookie: lang=eo; theme=dark\n");
    assert_eq!(reply.body, "dark");
}
