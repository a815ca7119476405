//! Basic authentication (RFC 7617): name and password, readable by all who see the request.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::authorization::quoted;
use super::http_auth::{CredentialFactory, DecodeError, Refusal, RequestLine};
use crate::credentials::Credentials;

/// Some clients leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Takes `Authorization: Basic`. For HTTPS alone: the password goes with each request, as good as in clear.
///
/// ```
/// use ropewalk_web::auth::{BasicCredentialFactory, CredentialFactory, Refusal};
///
/// let basic = BasicCredentialFactory::new("the engine");
/// assert_eq!(
///     basic.challenges(&Refusal::Missing),
///     [r#"Basic realm="the engine", charset="UTF-8""#],
/// );
/// ```
#[derive(Clone, Debug)]
pub struct BasicCredentialFactory {
    realm: String,
}

impl BasicCredentialFactory {
    /// `realm` is what users see when they are asked for a password.
    #[must_use]
    pub fn new(realm: &str) -> Self {
        Self {
            realm: realm.to_owned(),
        }
    }
}

impl CredentialFactory for BasicCredentialFactory {
    fn scheme(&self) -> &'static str {
        "Basic"
    }

    fn challenges(&self, _: &Refusal) -> Vec<String> {
        vec![format!(
            "Basic realm={}, charset=\"UTF-8\"",
            quoted(&self.realm)
        )]
    }

    fn decode(&self, text: &str, _: &RequestLine<'_>) -> Result<Credentials, DecodeError> {
        let malformed = DecodeError::Malformed;
        let decoded = BASE64.decode(text);
        let decoded = decoded.map_err(|_| malformed("they are no Base64"))?;
        // It is what the challenge has asked for.
        let decoded = String::from_utf8(decoded).map_err(|_| malformed("they are no UTF-8"))?;
        let parts = decoded.split_once(':');
        let (username, password) = parts.ok_or(malformed("there is no colon"))?;
        if decoded.chars().any(char::is_control) {
            return Err(malformed("they have control characters"));
        }
        Ok(Credentials::password(username, password))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Method, Uri};

    fn decode(text: &str) -> Result<(String, String), DecodeError> {
        let line = RequestLine {
            method: &Method::GET,
            uri: &Uri::from_static("/"),
        };
        match BasicCredentialFactory::new("r").decode(text, &line)? {
            Credentials::UsernamePassword { username, password } => Ok((username, password)),
            other => panic!("{other:?}"),
        }
    }

    /// RFC 7617, sections 2 and 2.1.
    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let both = |name: &str, password: &str| Ok((name.to_owned(), password.to_owned()));
        assert_eq!(
            decode("QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            both("Aladdin", "open sesame")
        );
        assert_eq!(
            decode("QWxhZGRpbjpvcGVuIHNlc2FtZQ"),
            both("Aladdin", "open sesame")
        );
        assert_eq!(decode("dGVzdDoxMjPCow=="), both("test", "123£"));
        assert_eq!(decode("YTpiOmM="), both("a", "b:c"));
        assert_eq!(decode("Og=="), both("", ""));
    }

    #[test]
    fn what_is_no_name_and_password_is_malformed() {
        // Nothing, no Base64, no colon, Latin-1, a line end, a NUL.
        for text in [
            "",
            "%",
            "YWJj",
            "dGVzdDoxMjOj",
            "YTpiCg==",
            "YTpiAA==",
            "YTpi YTpi",
        ] {
            assert!(
                matches!(decode(text), Err(DecodeError::Malformed(_))),
                "{text}"
            );
        }
    }
}
