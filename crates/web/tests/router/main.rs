//! Routes, what handlers take and give, trees of resources, and the services around them: each
//! through a `Site`, in memory or over real sockets.

mod extraction;
mod handlers;
mod rig;
mod routing;
