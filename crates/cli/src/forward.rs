//! `ropewalk forward`: passes connections on to another place, until a signal says to stop.

use std::rc::Rc;

use ropewalk_core::Factory;
use ropewalk_core::endpoint::ClientEndpoint;
use ropewalk_wire::Forward;

use crate::args::ForwardArgs;
use crate::exit::Stop;
use crate::serving::{Serving, as_endpoint};

/// Forwards until stopped. Returns when what was in flight is finished.
pub(crate) fn run(args: &ForwardArgs) -> Result<(), Stop> {
    let serving = Serving {
        listen: &args.listen,
        workers: args.workers,
        location: match args.to {
            ClientEndpoint::Stdio => None,
            _ => Some(as_endpoint),
        },
    };
    serving.run(|| {
        let mut forward = Forward::new(args.to.clone());
        if let Some(after) = args.idle_timeout {
            forward = forward.idle(after);
        }
        Ok(Rc::new(forward) as Rc<dyn Factory>)
    })
}
