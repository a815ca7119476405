//! The HTTP/1.1 codec from outside, fed whole, byte by byte, and cut at every place.

mod chunked;
mod request_head;
mod responses;
mod smuggling;
mod wire;
