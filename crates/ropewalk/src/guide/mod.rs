//! The guide. So far, three pages: [from Twisted](from_twisted), [testing a protocol](testing) and [the web
//! server](web_server).

#[doc = include_str!("from_twisted.md")]
pub mod from_twisted {}

#[doc = include_str!("testing.md")]
pub mod testing {}

#[cfg(feature = "web")]
#[doc = include_str!("web_server.md")]
pub mod web_server {}
