//! WebSockets, in memory and against other people's.

mod broadcasts;
mod closing;
mod frames;
mod handles;
mod handshake;
mod limits;
mod rig;
mod streams;
mod talking;
