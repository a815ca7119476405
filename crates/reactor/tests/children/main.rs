//! Real processes, one test at a time: they count descriptors, and children, of this process.

mod descriptors;
mod ending;
mod injected;
mod rig;
mod starting;
mod talking;
mod terminals;
