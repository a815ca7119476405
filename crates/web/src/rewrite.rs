//! Other paths for what was asked, before it is looked for.

use std::fmt;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::{Request, Uri};
use tower_layer::Layer;
use tower_service::Service;

use crate::uri_path::{self, OriginalUri};

/// Changes the path of a request before the service within sees it. It is a [`Layer`].
///
/// Rules are tried in their order, on the path in its one form (`/%61` is `/a`): the first that has
/// an answer is the last. What a rule makes must be a path: it begins with one `/`, and has no
/// segment `.` or `..`; otherwise the request stays as it is, and the log says so. So a path such as
/// `/old//example.com` never becomes `//example.com`, which a browser would take for another host in
/// a redirection; and a path of a client that has `..` itself is not rewritten at all.
///
/// The query stays. [`OriginalUri`] remembers what was asked.
///
/// ```
/// use ropewalk_web::Rewrite;
/// use ropewalk_web::router::{Router, get};
///
/// let router = Router::builder().route("/pages/{name}", get(|| "A page")).build()?;
/// let site = router.layer(
///     Rewrite::new()
///         .alias("/docs", "/pages")
///         .rule(|path| path.strip_suffix(".php").map(str::to_owned)),
/// );
/// # Ok::<(), ropewalk_web::router::RouteError>(())
/// ```
#[derive(Clone, Default)]
pub struct Rewrite {
    rules: Rc<Vec<Rule>>,
}

type Rule = Rc<dyn Fn(&str) -> Option<String>>;

impl Rewrite {
    /// No rules yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a rule: from a path to another, or `None` if it is not for it.
    #[must_use]
    pub fn rule(mut self, rule: impl Fn(&str) -> Option<String> + 'static) -> Self {
        Rc::make_mut(&mut self.rules).push(Rc::new(rule));
        self
    }

    /// What is asked for at `from`, and below it, is looked for at `to`: Twisted's `alias`. Only
    /// whole segments count: `/doc` is not the beginning of `/docs`.
    #[must_use]
    pub fn alias(self, from: &str, to: &str) -> Self {
        let (from, to) = (
            from.trim_end_matches('/').to_owned(),
            to.trim_end_matches('/').to_owned(),
        );
        self.rule(move |path| {
            let rest = path.strip_prefix(&*from)?;
            (rest.is_empty() || rest.starts_with('/')).then(|| match format!("{to}{rest}") {
                root if root.is_empty() => "/".to_owned(),
                path => path,
            })
        })
    }

    /// What is asked for at `/~name` is looked for at `/users/name`: Twisted's `tildeToUsers`.
    #[must_use]
    pub fn tilde_to_users(self) -> Self {
        self.rule(|path| Some(format!("/users/{}", path.strip_prefix("/~")?)))
    }

    /// The target instead of `uri`, if a rule has one.
    fn apply(&self, uri: &Uri) -> Option<Uri> {
        let path = uri_path::normalize(uri.path()).ok()?;
        if uri_path::has_dot_segments(&path) {
            return None;
        }
        let rewritten = self.rules.iter().find_map(|rule| rule(&path))?;
        let is_path = rewritten.starts_with('/')
            && !rewritten.starts_with("//")
            && !rewritten.contains(['?', '#'])
            && uri_path::normalize(&rewritten).is_ok_and(|path| !uri_path::has_dot_segments(&path));
        let new = uri_path::normalize(&rewritten).ok().filter(|_| is_path);
        let new = new.and_then(|path| uri_path::with_path(uri, &path).ok());
        if new.is_none() {
            tracing::warn!(%path, %rewritten, "a path was not rewritten: this is no path to look for");
        }
        new
    }
}

impl fmt::Debug for Rewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rewrite")
            .field("rules", &self.rules.len())
            .finish()
    }
}

impl<S> Layer<S> for Rewrite {
    type Service = Rewriting<S>;

    fn layer(&self, inner: S) -> Rewriting<S> {
        Rewriting {
            rewrite: self.clone(),
            inner,
        }
    }
}

/// A service behind a [`Rewrite`].
#[derive(Clone, Debug)]
pub struct Rewriting<S> {
    rewrite: Rewrite,
    inner: S,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for Rewriting<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        if let Some(uri) = self.rewrite.apply(request.uri()) {
            OriginalUri::replace(&mut request, uri);
        }
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rewrite() -> Rewrite {
        Rewrite::new()
            .alias("/docs", "/static/docs/")
            .alias("/old", "")
            .tilde_to_users()
            .rule(|path| path.strip_prefix("/to/").map(str::to_owned))
            .rule(|path| path.strip_suffix(".php").map(str::to_owned))
    }

    #[test]
    fn the_first_rule_that_fits_says_where_to_look() {
        for (asked, seen) in [
            ("/docs", Some("/static/docs")),
            ("/docs/", Some("/static/docs/")),
            ("/docs/a?b=/docs", Some("/static/docs/a?b=/docs")),
            ("/%64ocs/a%20b", Some("/static/docs/a%20b")),
            ("/docsx", None),
            ("/x/docs", None),
            ("/old", Some("/")),
            ("/old/x", Some("/x")),
            ("/~joe/x", Some("/users/joe/x")),
            ("/docs/x.php", Some("/static/docs/x.php")),
            ("/x.php", Some("/x")),
            ("/", None),
        ] {
            let uri = rewrite().apply(&asked.parse().unwrap());
            assert_eq!(uri.map(|uri| uri.to_string()).as_deref(), seen, "{asked}");
        }
    }

    #[test]
    fn what_a_rule_makes_is_a_path_or_is_not_used() {
        for asked in [
            "/old//example.com",
            "/old/../x",
            "/docs/../../etc",
            "/docs/%2e%2e/x",
            "/~../x",
            "/to/http://example.com/",
            "/to///example.com",
            "/to///",
            "/to/",
            "/old/%zz",
        ] {
            assert_eq!(rewrite().apply(&asked.parse().unwrap()), None, "{asked}");
        }
        // An escaped slash is none.
        let uri = rewrite()
            .apply(&"/old/%2Fexample.com".parse().unwrap())
            .unwrap();
        assert_eq!(uri, "/%2Fexample.com");
    }

    proptest! {
        #[test]
        fn no_path_is_rewritten_to_another_host_or_upwards(path in "/(old|docs|~|to|x)([./a%2eE]|\\PC){0,12}(.php)?") {
            let Ok(uri) = Uri::try_from(&path) else { return Ok(()) };
            if let Some(new) = rewrite().apply(&uri) {
                prop_assert!(new.path().starts_with('/') && !new.path().starts_with("//"));
                prop_assert!(!uri_path::has_dot_segments(new.path()));
                prop_assert_eq!(new.query(), uri.query());
            }
        }
    }
}
