//! Keys, and the cookies that are sealed with them: signed (HMAC-SHA-256) or encrypted (AES-256-GCM),
//! in the formats of the crate `cookie`. Its signatures do not cover a cookie's name, so that what was signed
//! as one cookie could be sent as another; here the name is part of what is signed.

use std::error::Error;
use std::fmt;

use cookie::{Cookie, CookieJar, Key};
use http::Response;

use super::{CookieError, Cookies};

/// Keys for what a client is to keep and not to change. The first one is used; all are accepted, so
/// that a key can be replaced while cookies of the old one are about.
///
/// ```
/// use ropewalk_web::cookies::CookieKeys;
///
/// // In earnest: 64 random bytes from a file, `head -c 64 /dev/urandom`.
/// let new: Vec<u8> = (0..64).collect();
/// let old: Vec<u8> = (1..65).collect();
/// let keys = CookieKeys::new(&new)?.accept(&old)?;
/// # let _ = keys;
/// assert!(CookieKeys::new(b"secret").is_err());
/// # Ok::<(), ropewalk_web::cookies::KeyError>(())
/// ```
#[derive(Clone)]
pub struct CookieKeys {
    first: Key,
    others: Vec<Key>,
}

/// Why bytes are no key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// There are only so many.
    TooShort(usize),
    /// All of them are the same.
    Uniform,
}

impl CookieKeys {
    /// One key, of the first 64 of `bytes`, which are to be random.
    ///
    /// # Errors
    /// They are fewer, or all the same.
    pub fn new(bytes: &[u8]) -> Result<Self, KeyError> {
        Ok(Self {
            first: key(bytes)?,
            others: Vec::new(),
        })
    }

    /// Accepts what was sealed with the key of `bytes`, too.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn accept(mut self, bytes: &[u8]) -> Result<Self, KeyError> {
        self.others.push(key(bytes)?);
        Ok(self)
    }

    pub(crate) fn encrypt(&self, cookie: Cookie<'static>) -> Cookie<'static> {
        self.seal(cookie, Seal::Private)
    }

    pub(crate) fn decrypt(&self, name: &str, value: &str) -> Option<String> {
        self.open(name, value, Seal::Private)
    }

    fn seal(&self, mut cookie: Cookie<'static>, seal: Seal) -> Cookie<'static> {
        let name = cookie.name().to_owned();
        let mut jar = CookieJar::new();
        match seal {
            Seal::Signed => {
                cookie.set_value(format!("{name}={}", cookie.value()));
                jar.signed_mut(&self.first).add(cookie);
            }
            Seal::Private => jar.private_mut(&self.first).add(cookie),
        }
        let sealed = jar.get(&name).cloned();
        sealed.unwrap_or_else(|| Cookie::new(name, ""))
    }

    fn open(&self, name: &str, value: &str, seal: Seal) -> Option<String> {
        let jar = CookieJar::new();
        let cookie = Cookie::new(name.to_owned(), value.to_owned());
        let mut keys = std::iter::once(&self.first).chain(&self.others);
        let opened = keys.find_map(|key| match seal {
            Seal::Signed => jar.signed(key).verify(cookie.clone()),
            Seal::Private => jar.private(key).decrypt(cookie.clone()),
        });
        let opened = opened?;
        let value = match seal {
            Seal::Signed => opened.value().strip_prefix(name)?.strip_prefix('=')?,
            Seal::Private => opened.value(),
        };
        Some(value.to_owned())
    }
}

fn key(bytes: &[u8]) -> Result<Key, KeyError> {
    let key = Key::try_from(bytes).map_err(|_| KeyError::TooShort(bytes.len()))?;
    match bytes.iter().all(|byte| *byte == bytes[0]) {
        true => Err(KeyError::Uniform),
        false => Ok(key),
    }
}

/// Shows no key.
impl fmt::Debug for CookieKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CookieKeys({})", 1 + self.others.len())
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort(length) => write!(
                f,
                "a key for cookies is made of 64 random bytes, and here are {length}: \
                 `head -c 64 /dev/urandom > cookies.key` makes a file of them"
            ),
            Self::Uniform => f.write_str(
                "the bytes of a key for cookies are all the same: \
                 `head -c 64 /dev/urandom > cookies.key` makes random ones",
            ),
        }
    }
}

impl Error for KeyError {}

/// How a value is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seal {
    Signed,
    Private,
}

/// The cookies of a request whose values are sealed: see [`Cookies::signed`] and
/// [`Cookies::private`].
///
/// A seal says that this server has set the value under this name, and not when or for whom: what is
/// to end has its time within the value, or in a [session](crate::session).
///
/// ```
/// use http::{Request, Response};
/// use ropewalk_web::Body;
/// use ropewalk_web::cookies::{Cookie, CookieKeys, Cookies};
///
/// let keys = CookieKeys::new(&(0..64).collect::<Vec<u8>>())?;
/// let mut response = Response::new(Body::empty());
/// Cookies::default().private(&keys).set(&mut response, Cookie::new("user", "ada"))?;
/// let set = response.headers()["set-cookie"].to_str()?;
/// assert!(!set.contains("ada"));
///
/// let sent = set.split(';').next().unwrap();
/// let request = Request::get("/").header("cookie", sent).body(Body::empty())?;
/// assert_eq!(Cookies::of(&request).private(&keys).get("user").as_deref(), Some("ada"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SealedCookies<'a> {
    cookies: &'a Cookies,
    keys: &'a CookieKeys,
    seal: Seal,
}

impl<'a> SealedCookies<'a> {
    pub(super) fn new(cookies: &'a Cookies, keys: &'a CookieKeys, seal: Seal) -> Self {
        Self {
            cookies,
            keys,
            seal,
        }
    }

    /// The value of the first one with this name whose seal is one of ours.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        let mut values = self.cookies.get_all(name);
        values.find_map(|value| self.keys.open(name, value, self.seal))
    }

    /// As [`Cookies::set`], with the value sealed; it may have any characters if it is encrypted.
    ///
    /// # Errors
    /// As [`Cookies::set`].
    pub fn set<B>(
        &self,
        response: &mut Response<B>,
        cookie: impl Into<Cookie<'static>>,
    ) -> Result<(), CookieError> {
        let sealed = self.keys.seal(cookie.into(), self.seal);
        self.cookies.set(response, sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(seed: u8) -> Vec<u8> {
        (seed..seed + 64).collect()
    }

    #[test]
    fn a_seal_holds_for_its_name_and_its_key_alone() {
        let one = CookieKeys::new(&keys(0)).unwrap();
        let other = CookieKeys::new(&keys(1)).unwrap();
        for seal in [Seal::Signed, Seal::Private] {
            let sealed = one.seal(Cookie::new("user", "ada"), seal);
            let value = sealed.value();
            assert_eq!(one.open("user", value, seal).as_deref(), Some("ada"));
            assert_eq!(one.open("admin", value, seal), None);
            assert_eq!(other.open("user", value, seal), None);
            for at in 0..value.len() {
                let mut forged = value.as_bytes().to_vec();
                forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
                let forged = String::from_utf8(forged).unwrap();
                assert_ne!(
                    one.open("user", &forged, seal).as_deref(),
                    Some("ada"),
                    "{seal:?} {at}"
                );
            }
        }
    }

    #[test]
    fn an_old_key_is_accepted_and_not_used() {
        let old = CookieKeys::new(&keys(0)).unwrap();
        let new = CookieKeys::new(&keys(1)).unwrap().accept(&keys(0)).unwrap();
        for seal in [Seal::Signed, Seal::Private] {
            let sealed = old.seal(Cookie::new("user", "ada"), seal);
            assert_eq!(
                new.open("user", sealed.value(), seal).as_deref(),
                Some("ada")
            );
            let sealed = new.seal(Cookie::new("user", "ada"), seal);
            assert_eq!(old.open("user", sealed.value(), seal), None);
        }
    }

    #[test]
    fn what_is_no_key_is_refused_with_the_way_to_make_one() {
        let error = CookieKeys::new(&[1; 63]).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("here are 63: `head -c 64 /dev/urandom")
        );
        assert_eq!(CookieKeys::new(&[7; 64]).unwrap_err(), KeyError::Uniform);
    }
}
