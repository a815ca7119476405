//! Routes, what handlers take and give, trees of resources, and the services around them: each
//! through a `Site`, in memory or over real sockets.

mod around;
mod curl;
mod ecosystem;
mod events;
mod extraction;
mod forms;
mod handlers;
mod resources;
mod rig;
mod routing;
mod uploading;
