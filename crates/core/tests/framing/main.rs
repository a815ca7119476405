//! Frames in a stream of bytes, however it is cut; and what the receivers of them promise.

mod codecs;
