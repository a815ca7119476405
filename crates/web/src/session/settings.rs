//! How sessions are to be: their cookie, their times, their bounds.

use std::time::Duration;

use cookie::{Cookie, SameSite};

/// When the cookie of a session is `Secure`, so that browsers send it over HTTPS alone. It is then called
/// `__Host-session`, so that no other host of the domain can set it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Secure {
    /// When the request came over HTTPS.
    #[default]
    Https,
    /// Always: behind a proxy that does the TLS and does not say so.
    Always,
    /// Never: for tests.
    Never,
}

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) name: String,
    pub(super) idle: Duration,
    pub(super) absolute: Duration,
    pub(super) persistent: bool,
    pub(super) secure: Secure,
    pub(super) same_site: SameSite,
    pub(super) limit: usize,
    pub(super) load_early: bool,
}

impl Settings {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            name: "session".to_owned(),
            idle: Duration::from_secs(15 * 60),
            absolute: Duration::from_secs(24 * 60 * 60),
            persistent: false,
            secure: Secure::default(),
            same_site: SameSite::Lax,
            limit,
            load_early: false,
        }
    }

    pub(super) fn is_secure(&self, is_https: bool) -> bool {
        match self.secure {
            Secure::Https => is_https,
            Secure::Always => true,
            Secure::Never => false,
        }
    }

    pub(super) fn cookie_name(&self, secure: bool) -> String {
        let prefix = if secure { "__Host-" } else { "" };
        format!("{prefix}{}", self.name)
    }

    /// Of a session that ends after `left` at the latest.
    pub(super) fn cookie(&self, value: String, secure: bool, left: Duration) -> Cookie<'static> {
        let mut cookie = Cookie::build((self.cookie_name(secure), value))
            .path("/")
            .http_only(true)
            .secure(secure)
            .same_site(self.same_site)
            .build();
        if self.persistent {
            let seconds = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
            cookie.set_max_age(time::Duration::seconds(seconds));
        }
        cookie
    }
}
