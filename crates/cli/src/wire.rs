//! `ropewalk wire`: the smallest servers there are, until a signal says to stop.

use std::rc::Rc;

use ropewalk_core::{Address, Factory};
use ropewalk_wire::{Chargen, Daytime, Discard, Echo, Qotd, Time};

use crate::args::{WireArgs, WireProtocol};
use crate::exit::Stop;
use crate::serving::{Serving, as_endpoint};

/// Serves until stopped. Returns when what was in flight is finished.
pub(crate) fn run(args: &WireArgs) -> Result<(), Stop> {
    let serving = Serving {
        listen: &args.listen,
        workers: args.workers,
        location: Some(as_endpoint),
    };
    serving.run(|| Ok(factory(args.protocol)))
}

fn factory(protocol: WireProtocol) -> Rc<dyn Factory> {
    match protocol {
        WireProtocol::Echo => Rc::new(|_: &Address| Echo),
        WireProtocol::Discard => Rc::new(|_: &Address| Discard),
        WireProtocol::Chargen => Rc::new(|_: &Address| Chargen),
        WireProtocol::Daytime => Rc::new(|_: &Address| Daytime),
        WireProtocol::Time => Rc::new(|_: &Address| Time),
        WireProtocol::Qotd => Rc::new(Qotd::default()),
    }
}
