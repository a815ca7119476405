//! The guide. So far, one page: [from Twisted](from_twisted).

#[doc = include_str!("from_twisted.md")]
pub mod from_twisted {}
