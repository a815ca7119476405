//! The middleware in the box, through a site in memory; and what other people's clients make of it.

mod access;
mod cache;
mod compression;
mod cors;
mod decompression;
mod limits;
mod proxies;
mod rig;
mod stack;
mod tags;
