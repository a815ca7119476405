//! HTTP/1.1 connections of a [`Site`](ropewalk_web::Site), over memory: no socket, time by hand.
//!
//! Where a test is about bytes, its script is fed whole, byte by byte, and in pieces of several
//! sizes, and must be answered the same.

mod bodies;
mod ending;
mod handlers;
mod interim;
mod limits;
mod requests;
mod rig;
mod upgrade;
mod writing;
