//! Who a request comes from: HTTP authentication (RFC 9110, section 11), over the
//! [checkers](crate::credentials) that every protocol shares; and protection from requests that other sites
//! make with a user's cookies.
//!
//! [`HttpAuth`] is the layer, and Basic (RFC 7617), Digest (RFC 7616) and Bearer (RFC 6750) are what it can
//! take; several at once, if wanted. A handler behind it finds the user by [`Authenticated::of`], and so does the
//! access log.

mod authenticated;
mod authorization;
mod basic;
mod bearer;
mod cross_origin;
mod digest;
mod http_auth;
mod nonces;

pub use authenticated::Authenticated;
pub use authorization::{AuthParameters, MalformedAuthorization};
pub use basic::BasicCredentialFactory;
pub use bearer::BearerCredentialFactory;
pub use cross_origin::{CrossOriginProtection, CrossOriginService, OriginError};
pub use digest::DigestCredentialFactory;
pub use http_auth::{
    CredentialFactory, DecodeError, HttpAuth, HttpAuthService, Refusal, RequestLine,
};
