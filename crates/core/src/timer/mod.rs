//! Timers: what is to happen at a later time.
//!
//! [`Wheel`] keeps deadlines and whatever belongs to them. It reads no clock and runs nothing:
//! its owner tells it the time and takes out what is due. A loop keeps its connections' deadlines
//! in one.
//!
//! [`Timers`] is a wheel of calls: what a reactor is made of that offers `call_later`. It hands
//! out a [`DelayedCall`] for each. When to wake and what the time is remain the reactor's matter.

mod delayed_call;
mod lists;
#[cfg(test)]
mod model;
mod timers;
mod wheel;

pub use delayed_call::DelayedCall;
pub use lists::TimerId;
pub use timers::Timers;
pub use wheel::Wheel;
