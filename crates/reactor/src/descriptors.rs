//! How many descriptors, and so connections, the process may have.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open descriptors to the hard limit, for the whole process, and
/// returns what it is now. A server wants this before it listens: each connection is a descriptor,
/// and the soft limit is often 1024.
///
/// The soft limit is low for the sake of programs that use `select`, which breaks above 1024. The
/// processes that this one starts inherit the higher limit.
///
/// # Errors
/// What the operating system refused. The limit is as it was.
///
/// ```
/// let limit = ropewalk_reactor::raise_descriptor_limit()?;
/// println!("room for {limit} descriptors");
/// # assert_eq!(ropewalk_reactor::raise_descriptor_limit()?, limit);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, raised)?;
    }
    // `None` is no limit at all.
    Ok(limit.maximum.unwrap_or(u64::MAX))
}
