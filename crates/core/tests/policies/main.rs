//! The policies that factories are wrapped in, with time by hand and no network.

mod connection_limits;
mod deadlines;
mod pcap;
mod rig;
mod throttling;
mod traffic_log;
