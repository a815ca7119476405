//! Bearer tokens (RFC 6750): whoever has one may come in.

use super::authorization::{is_token68, quoted};
use super::http_auth::{CredentialFactory, DecodeError, Refusal, RequestLine};
use crate::credentials::Credentials;

/// Takes `Authorization: Bearer`; tokens in forms and queries, which end up in logs, it does not. A checker
/// gets them as [`Credentials::Token`].
///
/// ```
/// use ropewalk_web::auth::{BearerCredentialFactory, CredentialFactory, Refusal};
///
/// let bearer = BearerCredentialFactory::new("the engine");
/// assert_eq!(bearer.challenges(&Refusal::Missing), [r#"Bearer realm="the engine""#]);
/// assert_eq!(
///     bearer.challenges(&Refusal::Wrong),
///     [r#"Bearer realm="the engine", error="invalid_token""#],
/// );
/// ```
#[derive(Clone, Debug)]
pub struct BearerCredentialFactory {
    realm: String,
}

impl BearerCredentialFactory {
    /// `realm` says what is protected.
    #[must_use]
    pub fn new(realm: &str) -> Self {
        Self {
            realm: realm.to_owned(),
        }
    }
}

impl CredentialFactory for BearerCredentialFactory {
    fn scheme(&self) -> &'static str {
        "Bearer"
    }

    fn challenges(&self, refusal: &Refusal) -> Vec<String> {
        let error = match refusal {
            Refusal::Missing => String::new(),
            Refusal::Malformed(_) => ", error=\"invalid_request\"".to_owned(),
            Refusal::Wrong | Refusal::Stale => ", error=\"invalid_token\"".to_owned(),
            Refusal::Insufficient(scope) => {
                format!(", error=\"insufficient_scope\", scope={}", quoted(scope))
            }
        };
        vec![format!("Bearer realm={}{error}", quoted(&self.realm))]
    }

    fn decode(&self, text: &str, _: &RequestLine<'_>) -> Result<Credentials, DecodeError> {
        match is_token68(text) {
            true => Ok(Credentials::Token(text.to_owned())),
            false => Err(DecodeError::Malformed("it is no token")),
        }
    }
}
