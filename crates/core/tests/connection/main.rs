//! What a connection promises, whoever moves its bytes.

mod callback_order;
mod closing;
mod deadlines;
mod descriptors;
mod doubles;
mod exchange;
mod flush_and_backpressure;
mod handles;
mod layer_kit;
mod layers;
mod panics;
mod policies;
mod rig;
mod threads;
