//! `ropewalk forward`: passes connections on to another place, until a signal says to stop.

use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use ropewalk_core::endpoint::ClientEndpoint;
use ropewalk_core::{Factory, Failure};
use ropewalk_wire::Forward;

use crate::args::ForwardArgs;
use crate::exit::Stop;
use crate::serving::{Serving, as_endpoint, is_stdio};

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
    let failed: Arc<Mutex<Option<String>>> = Arc::default();
    serving.run(|| {
        let told = Arc::clone(&failed);
        let mut forward = Forward::new(args.to.clone()).on_failure(move |failure: &Failure| {
            *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure.to_string());
        });
        if let Some(after) = args.idle_timeout {
            forward = forward.idle(after);
        }
        Ok(Rc::new(forward) as Rc<dyn Factory>)
    })?;
    // Where there is one connection, all depends on it.
    let failed = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
    match failed {
        Some(message) if args.listen.iter().any(is_stdio) => Err(Stop::Failed(message)),
        _ => Ok(()),
    }
}
