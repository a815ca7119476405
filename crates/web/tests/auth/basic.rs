//! Basic authentication, and what all schemes have in common.

use http::{Request, StatusCode};
use ropewalk_core::{Address, Failure};
use ropewalk_web::Body;
use ropewalk_web::auth::{BasicCredentialFactory, BearerCredentialFactory, HttpAuth};
use ropewalk_web::credentials::{
    Checking, Credentials, CredentialsChecker, LoginError, LoginLimit, MemoryChecker,
};

use super::rig::Rig;

fn rig() -> Rig {
    Rig::new(|_| {
        let checker = MemoryChecker::new()
            .user("Aladdin", "open sesame")
            .user("jörg", "123£");
        HttpAuth::new(checker).scheme(BasicCredentialFactory::new("a \"cave\""))
    })
}

#[test]
fn who_shows_nothing_is_asked() {
    let answer = rig().ask(None);
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        answer.challenges(),
        [r#"Basic realm="a \"cave\"", charset="UTF-8""#]
    );
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.user, None);
}

#[test]
fn who_is_right_is_let_through_and_the_handler_knows_them() {
    for scheme in ["Basic", "basic", "BASIC"] {
        let answer = rig().ask(Some(&format!("{scheme} QWxhZGRpbjpvcGVuIHNlc2FtZQ==")));
        assert_eq!(
            (answer.status, &answer.text[..]),
            (StatusCode::OK, "Aladdin by Basic")
        );
        assert_eq!(answer.user.as_deref(), Some("Aladdin"));
    }
    assert_eq!(
        rig().ask(Some("Basic asO2cmc6MTIzwqM=")).text,
        "jörg by Basic"
    );
}

#[test]
fn who_is_wrong_is_not_told_what_was_wrong() {
    // A user who is not there, a password that is another, no password.
    let answers = ["eDpvcGVuIHNlc2FtZQ==", "QWxhZGRpbjpvcGVu", "QWxhZGRpbjo="]
        .map(|text| rig().ask(Some(&format!("Basic {text}"))));
    for answer in answers {
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(answer.text, "Please log in.\n");
        assert_eq!(answer.challenges().len(), 1);
    }
    assert_eq!(
        rig().ask(Some("Negotiate abc")).status,
        StatusCode::UNAUTHORIZED
    );
}

#[test]
fn what_cannot_be_read_is_a_bad_request() {
    for text in ["Basic", "Basic %", "Basic YWJj", "Basic YTpi YTpi"] {
        let answer = rig().ask(Some(text));
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{text}");
        assert_eq!(answer.challenges().len(), 1);
    }
    let twice = Request::get("/")
        .header("authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")
        .header("authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    let answer = rig().send(twice.body(Body::empty()).unwrap());
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}

#[test]
fn several_schemes_are_offered_in_their_order() {
    let rig = Rig::new(|_| {
        HttpAuth::new(MemoryChecker::new().user("ada", "l").token("abc", "robot"))
            .scheme(BearerCredentialFactory::new("r"))
            .scheme(BasicCredentialFactory::new("r"))
    });
    let answer = rig.ask(None);
    assert_eq!(
        answer.challenges(),
        [r#"Bearer realm="r""#, r#"Basic realm="r", charset="UTF-8""#]
    );
    assert_eq!(rig.ask(Some("Bearer abc")).text, "robot by Bearer");
    assert_eq!(rig.ask(Some("Basic YWRhOmw=")).text, "ada by Basic");
}

#[test]
fn a_checker_may_let_nobody_in_particular_in() {
    let rig = Rig::new(|_| {
        let checker = MemoryChecker::new().user("ada", "l").allow_anonymous(true);
        HttpAuth::new(checker).scheme(BasicCredentialFactory::new("r"))
    });
    let answer = rig.ask(None);
    assert_eq!(
        (answer.status, &answer.text[..]),
        (StatusCode::OK, "nobody")
    );
    assert_eq!(answer.user, None);
    assert_eq!(rig.ask(Some("Basic YWRhOmw=")).text, "ada by Basic");
    assert_eq!(
        rig.ask(Some("Basic YWRhOng=")).status,
        StatusCode::UNAUTHORIZED
    );
}

#[test]
fn who_guesses_waits() {
    let rig = Rig::new(|reactor| {
        let checker = LoginLimit::new(reactor, MemoryChecker::new().user("ada", "l"));
        HttpAuth::new(checker).scheme(BasicCredentialFactory::new("r"))
    });
    for _ in 0..10 {
        assert_eq!(
            rig.ask(Some("Basic YWRhOng=")).status,
            StatusCode::UNAUTHORIZED
        );
    }
    let answer = rig.ask(Some("Basic YWRhOng="));
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers["retry-after"], "1");
    // Even with the right password: or waiting would tell which it is.
    assert_eq!(
        rig.ask(Some("Basic YWRhOmw=")).status,
        StatusCode::TOO_MANY_REQUESTS
    );
    rig.reactor.advance(std::time::Duration::from_secs(1));
    assert_eq!(rig.ask(Some("Basic YWRhOmw=")).text, "ada by Basic");
    // To be asked for a password is no failure.
    for _ in 0..200 {
        assert_eq!(rig.ask(None).status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(rig.ask(Some("Basic YWRhOmw=")).text, "ada by Basic");
}

#[test]
fn a_checker_that_fails_is_a_503() {
    struct Broken;
    impl CredentialsChecker for Broken {
        fn request_avatar_id(&self, credentials: &Credentials, _: &Address) -> Checking {
            let is_anonymous = matches!(credentials, Credentials::Anonymous);
            Box::pin(async move {
                match is_anonymous {
                    true => Err(LoginError::Unhandled),
                    false => Err(LoginError::Unavailable(Failure::msg(
                        "the directory is down",
                    ))),
                }
            })
        }
    }
    let rig = Rig::new(|_| HttpAuth::new(Broken).scheme(BasicCredentialFactory::new("r")));
    assert_eq!(rig.ask(None).status, StatusCode::UNAUTHORIZED);
    let answer = rig.ask(Some("Basic YWRhOmw="));
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!answer.text.contains("directory"), "{}", answer.text);
}
