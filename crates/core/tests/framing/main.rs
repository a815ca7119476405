//! Frames in a stream of bytes, however it is cut; and what the receivers of them promise.

mod codecs;
mod files;
mod handing_over;
mod line_receivers;
mod rig;
mod string_receivers;
