//! What is wrong with the routes of a router.

use std::error::Error;
use std::fmt;
use std::panic::Location;

/// Why a router cannot be built.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RouteError {
    /// Two routes fit the same paths, and neither goes before the other.
    Conflict {
        /// The later route, and where it was added.
        route: RoutePlace,
        /// The earlier one.
        with: RoutePlace,
    },
    /// One method of one route has two handlers.
    TwoHandlers {
        /// The route, and where its second handler was added.
        route: RoutePlace,
        /// The method, or `any`.
        method: String,
    },
    /// The path is none.
    Malformed {
        /// The route, and where it was added.
        route: RoutePlace,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// The path of a route, and where in the program it was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutePlace {
    /// As it was written.
    pub path: String,
    /// The call that added it.
    pub place: &'static Location<'static>,
}

impl fmt::Display for RoutePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ({})", self.path, self.place)
    }
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict { route, with } => write!(
                f,
                "the route {route} fits the same paths as {with}, and neither goes before the \
                 other; make one of them more exact, or put both into one"
            ),
            Self::TwoHandlers { route, method } => write!(
                f,
                "the route {route} has two handlers for {method}; leave one of them out"
            ),
            Self::Malformed { route, reason } => write!(f, "the route {route} is none: {reason}"),
        }
    }
}

impl Error for RouteError {}
