//! HTTP/2: frames by hand against a [`Site`](ropewalk_web::Site), in memory and with time by hand;
//! what each section of RFC 9113 and RFC 7541 asks for; floods; the client; other people's software.

mod client;
mod endings;
mod floods;
mod frames;
mod h2spec;
mod messages;
mod requests;
mod rfc7541;
mod rfc9113;
mod rig;
mod tunnels;
mod websockets;
