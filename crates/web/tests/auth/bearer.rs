//! Bearer tokens: the errors of RFC 6750, section 3.

use http::StatusCode;
use ropewalk_core::Address;
use ropewalk_web::auth::{BearerCredentialFactory, HttpAuth};
use ropewalk_web::credentials::{AvatarId, Checking, Credentials, CredentialsChecker, LoginError};

use super::rig::Rig;

/// Knows two tokens, one of which may do little.
struct Tokens;

impl CredentialsChecker for Tokens {
    fn request_avatar_id(&self, credentials: &Credentials, _: &Address) -> Checking {
        let checked = match credentials {
            Credentials::Token(token) if token == "mF_9.B5f-4.1JqM" => {
                Ok(AvatarId::User("ada".into()))
            }
            Credentials::Token(token) if token == "little" => {
                Err(LoginError::Insufficient("write".into()))
            }
            _ => Err(LoginError::Unauthorized),
        };
        Box::pin(async { checked })
    }
}

#[test]
fn each_refusal_has_its_status_and_its_error() {
    let rig = Rig::new(|_| HttpAuth::new(Tokens).scheme(BearerCredentialFactory::new("example")));
    assert_eq!(
        rig.ask(Some("Bearer mF_9.B5f-4.1JqM")).text,
        "ada by Bearer"
    );

    let missing = rig.ask(None);
    assert_eq!(missing.status, StatusCode::UNAUTHORIZED);
    assert_eq!(missing.challenges(), [r#"Bearer realm="example""#]);

    let wrong = rig.ask(Some("Bearer other"));
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        wrong.challenges(),
        [r#"Bearer realm="example", error="invalid_token""#]
    );

    let little = rig.ask(Some("Bearer little"));
    assert_eq!(little.status, StatusCode::FORBIDDEN);
    let expected = r#"Bearer realm="example", error="insufficient_scope", scope="write""#;
    assert_eq!(little.challenges(), [expected]);

    for malformed in ["Bearer", "Bearer a b", "Bearer \"a\"", "Bearer ="] {
        let answer = rig.ask(Some(malformed));
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{malformed}");
        let expected = r#"Bearer realm="example", error="invalid_request""#;
        assert_eq!(answer.challenges(), [expected], "{malformed}");
    }
}
