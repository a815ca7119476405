//! Digest authentication (RFC 7616): the password itself never goes over the wire.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Uri;
use ropewalk_core::ReactorCore;

use super::AuthParameters;
use super::authorization::quoted;
use super::http_auth::{CredentialFactory, DecodeError, Refusal, RequestLine};
use super::nonces::Nonces;
use crate::Randomness;
use crate::credentials::{Credentials, DigestAlgorithm, DigestCredentials};

/// A client may use a nonce for so long.
const NONCE_LIFETIME: Duration = Duration::from_secs(5 * 60);

/// Takes `Authorization: Digest` with `qop=auth` and SHA-256, and MD5 for
/// [those who know no other](Self::allow_md5). A checker gets [`Credentials::UsernameDigest`], for which it has to
/// know the password or a digest of it, as [`MemoryChecker`](crate::credentials::MemoryChecker) and
/// [`HtdigestFile`](crate::credentials::HtdigestFile) do and a file of `htpasswd` does not.
///
/// A nonce lives for five minutes, and each of its counts is taken once; a request that comes again is answered with
/// `stale=true`, as is one whose nonce is too old, and clients then try again by themselves.
///
/// `userhash`, `auth-int` and the `-sess` algorithms are not offered, and who uses one all the same gets 400 or 401:
/// `auth-int` would have a whole body held back before it is known who sends it, and over TLS both protect
/// from nobody. `Authentication-Info` is not sent.
///
/// Clones share their nonces.
#[derive(Clone)]
pub struct DigestCredentialFactory {
    reactor: Rc<dyn ReactorCore>,
    realm: String,
    md5: bool,
    nonces: Arc<Mutex<Nonces>>,
}

impl DigestCredentialFactory {
    /// `realm` is what users see when they are asked for a password, and part of what is computed.
    ///
    /// # Errors
    /// There is no randomness for the key of the nonces.
    pub fn new(
        reactor: Rc<dyn ReactorCore>,
        realm: &str,
        randomness: &Randomness,
    ) -> io::Result<Self> {
        let nonces = Nonces::new(reactor.now(), NONCE_LIFETIME, randomness)?;
        Ok(Self {
            reactor,
            realm: realm.to_owned(),
            md5: false,
            nonces: Arc::new(Mutex::new(nonces)),
        })
    }

    /// Whether MD5 is offered as well, after SHA-256. It is not, unless told.
    #[must_use]
    pub fn allow_md5(mut self, allow: bool) -> Self {
        self.md5 = allow;
        self
    }

    fn algorithm(&self, name: Option<&str>) -> Result<DigestAlgorithm, DecodeError> {
        // RFC 7616, section 3.4: MD5, if it is not said.
        let name = name.unwrap_or("MD5");
        let known = [DigestAlgorithm::Sha256, DigestAlgorithm::Md5];
        let offered = known.into_iter().take(if self.md5 { 2 } else { 1 });
        let mut named = offered.filter(|algorithm| algorithm.name().eq_ignore_ascii_case(name));
        named.next().ok_or(DecodeError::Wrong)
    }
}

impl CredentialFactory for DigestCredentialFactory {
    fn scheme(&self) -> &'static str {
        "Digest"
    }

    fn challenges(&self, refusal: &Refusal) -> Vec<String> {
        let now = self.reactor.now();
        let nonce = self
            .nonces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .make(now);
        let realm = quoted(&self.realm);
        let stale = if *refusal == Refusal::Stale {
            ", stale=true"
        } else {
            ""
        };
        let challenge = |algorithm: DigestAlgorithm| {
            let algorithm = algorithm.name();
            format!(
                "Digest realm={realm}, qop=\"auth\", algorithm={algorithm}, nonce=\"{nonce}\", \
                 charset=UTF-8{stale}"
            )
        };
        let mut challenges = vec![challenge(DigestAlgorithm::Sha256)];
        if self.md5 {
            challenges.push(challenge(DigestAlgorithm::Md5));
        }
        challenges
    }

    fn decode(&self, text: &str, request: &RequestLine<'_>) -> Result<Credentials, DecodeError> {
        let malformed = DecodeError::Malformed;
        let parameters = AuthParameters::parse(text)?;
        let username = match (
            parameters.get("username"),
            parameters.get_extended("username"),
        ) {
            (Some(username), None) => username.to_owned(),
            (None, Some(username)) => username,
            _ => return Err(malformed("there is no username, or two")),
        };
        let algorithm = self.algorithm(parameters.get("algorithm"))?;
        let uri = parameters.required("uri")?;
        let nonce = parameters.required("nonce")?;
        let nc = parameters.required("nc")?;
        let count = match nc.len() {
            8 => u32::from_str_radix(nc, 16).ok(),
            _ => None,
        };
        let count = count.ok_or(malformed("nc is no count of eight digits"))?;
        if !parameters.required("qop")?.eq_ignore_ascii_case("auth") {
            return Err(malformed("qop is not auth, which is all that was offered"));
        }
        let credentials = DigestCredentials {
            username,
            realm: self.realm.clone(),
            algorithm,
            nonce: nonce.to_owned(),
            nc: nc.to_owned(),
            cnonce: parameters.required("cnonce")?.to_owned(),
            method: request.method.as_str().to_owned(),
            uri: uri.to_owned(),
            response: parameters.required("response")?.to_owned(),
        };
        if parameters
            .get("userhash")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
        {
            return Err(malformed("the username is hashed, which was not offered"));
        }
        // RFC 7616, section 3.4.6: what is asked for must be what was computed for.
        if !is_target(uri, request.uri) {
            return Err(malformed("uri is not the target of the request"));
        }
        if parameters.required("realm")? != self.realm {
            return Err(DecodeError::Wrong);
        }
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        match nonces.take(nonce, count, self.reactor.now()) {
            true => Ok(Credentials::UsernameDigest(credentials)),
            false => Err(DecodeError::Stale),
        }
    }
}

/// Whether `text` names what the request asks for, with or without the host.
fn is_target(text: &str, target: &Uri) -> bool {
    let path = target.path_and_query().map_or("/", |path| path.as_str());
    if text == path || *target == *text {
        return true;
    }
    let absolute = text
        .parse::<Uri>()
        .ok()
        .filter(|uri| uri.scheme().is_some());
    absolute.is_some_and(|uri| {
        let same_host = match (uri.authority(), target.authority()) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        same_host
            && uri
                .path_and_query()
                .is_some_and(|other| other.as_str() == path)
    })
}

impl fmt::Debug for DigestCredentialFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DigestCredentialFactory")
            .field("realm", &self.realm)
            .field("md5", &self.md5)
            .finish_non_exhaustive()
    }
}
