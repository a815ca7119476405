//! Routes, what handlers take and give, trees of resources, and the services around them: each
//! through a `Site`, in memory or over real sockets.
#![allow(
    clippy::needless_pass_by_value,
    clippy::too_many_arguments,
    reason = "what a handler takes is its own, and eight of them are tested"
)]

mod around;
mod curl;
mod ecosystem;
mod events;
mod extraction;
mod forms;
mod handlers;
mod layers;
mod resources;
mod rig;
mod routing;
mod rules;
mod uploading;
