//! The guide. So far, two pages: [from Twisted](from_twisted) and [testing a protocol](testing).

#[doc = include_str!("from_twisted.md")]
pub mod from_twisted {}

#[doc = include_str!("testing.md")]
pub mod testing {}
