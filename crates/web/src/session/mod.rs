//! Sessions: what a server remembers of a client between its requests.
//!
//! [`Sessions`] is a [`tower_layer::Layer`]. A handler behind it takes its [`Session`] as a
//! parameter, or gets it by [`Session::load`], and reads and writes values in it; when it has answered, what was changed is
//! saved, and the answer goes out after that. A store that fails, or is too slow, makes the answer
//! a 503: no change is lost without anybody knowing.
//!
//! - **Identifiers** have 256 bits of the system's [`Randomness`](crate::Randomness). Stores know only
//!   their SHA-256, so what leaks from a store opens no session, and no comparison tells anything
//!   by its time. An identifier that no store knows is never adopted (session fixation): the session
//!   is empty, and gets an identifier of its own when something is put into it.
//! - **Nothing** is stored, and no cookie set, for a client whose session stays empty.
//! - **Expiry**: a session ends when it was not loaded for 15 minutes (Twisted's `sessionTimeout`), and 24 hours after
//!   it began, whatever happens; both can be set. [`MemoryStore`] measures both by the loop's
//!   clock, which does not jump. Others keep the time of day at which a session began: a clock that is set forward
//!   ends sessions early, one that is set back never lengthens what is left beyond the limits.
//! - **Rotation**: [`Session::rotate`] gives the session a new identifier, and makes the old one
//!   worthless. Call it whenever the client's privileges change, at each login above all. (For sessions in
//!   cookies there is nothing that could be made worthless: what [`Session::rotate`] says holds for them.)
//! - **Concurrent requests** of one session each work on a copy: the last one to answer wins, with
//!   all of its values. But a session that was destroyed, or rotated, meanwhile is never brought
//!   back: what a slower request had changed in it is dropped, with a warning in the log. (One in a cookie
//!   is: nobody but the client remembers it.)
//! - The content is bounded (16 KiB as JSON, 2.5 KiB in a cookie), and so are the stores.
//!
//! A cross-site request brings the session's cookie along only where browsers let it (`SameSite=Lax`);
//! [`CrossOriginProtection`](crate::auth::CrossOriginProtection) refuses the rest.

mod error;
mod extractor;
mod id;
mod layer;
mod memory;
#[cfg(feature = "redis")]
mod redis;
mod sealed;
mod sessions;
mod settings;
mod state;
mod store;
mod value;
mod visit;

pub use error::SessionError;
pub use id::SessionKey;
pub use layer::SessionService;
pub use memory::{MemoryStore, SessionEnd};
#[cfg(feature = "redis")]
pub use redis::{RedisError, RedisStore, RedisStoreBuilder};
pub use sessions::Sessions;
pub use settings::Secure;
pub use store::{SessionRecord, SessionStore, StoreContext, StoreError, Storing};
pub use value::{LoadingSession, Session};
