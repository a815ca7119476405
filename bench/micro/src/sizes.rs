//! How much is done for each figure: so much that each takes some tenths of a second.

/// Connections that each simulated host makes.
pub(crate) const CONNECTIONS: usize = 10;

/// Bytes of a message on them.
pub(crate) const MESSAGE: usize = 100;

/// Numbers of operations, for one repetition.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// How many timers live while others are added, cancelled and reset.
    pub live: Vec<usize>,
    /// Timers added, cancelled, reset.
    pub timers: usize,
    /// Times that a connection's deadline is put off.
    pub deadlines: u64,
    /// Chains of Deferreds.
    pub chains: u64,
    /// Lists of a hundred Deferreds.
    pub lists: u64,
    /// Tasks that await ten Deferreds.
    pub tasks: u64,
    /// Calls from another thread, as fast as it may.
    pub calls: u64,
    /// Calls from another thread, and jobs for one, one at a time.
    pub round_trips: u64,
    /// Hosts of a simulated world.
    pub hosts: usize,
    /// Seconds that pass in it.
    pub virtual_seconds: u64,
    /// The same for turmoil, which takes two seconds of the machine's for each.
    pub virtual_seconds_of_turmoil: u64,
}

impl Sizes {
    /// For figures that count.
    #[must_use]
    pub fn full() -> Self {
        Self {
            live: vec![10_000, 1_000_000, 10_000_000],
            timers: 2_000_000,
            deadlines: 50_000_000,
            chains: 200_000,
            lists: 20_000,
            tasks: 200_000,
            calls: 1_000_000,
            round_trips: 20_000,
            hosts: 100,
            virtual_seconds: 200,
            virtual_seconds_of_turmoil: 5,
        }
    }

    /// To see that all of it works.
    #[must_use]
    pub fn quick() -> Self {
        Self {
            live: vec![100, 1000],
            timers: 2000,
            deadlines: 1000,
            chains: 10,
            lists: 10,
            tasks: 2000,
            calls: 1000,
            round_trips: 10,
            hosts: 3,
            virtual_seconds: 2,
            virtual_seconds_of_turmoil: 2,
        }
    }
}

/// What is measured of a simulated world.
pub(crate) fn simulated(hosts: usize) -> String {
    format!(
        "virtual seconds of {hosts} hosts with {CONNECTIONS} connections each, a message and its \
         answer a second on each"
    )
}
