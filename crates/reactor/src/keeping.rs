//! A factory that keeps something for as long as its one connection lives, or is still to come.

use std::any::Any;
use std::cell::Cell;
use std::rc::Rc;

use ropewalk_core::{Address, Factory, Policy, Protocol};

/// Builds what `factory` builds. What is kept is dropped when the connection has ended, or with
/// this, if there never was one.
pub(crate) struct Keeping {
    factory: Rc<dyn Factory>,
    kept: Cell<Option<Box<dyn Any>>>,
}

impl Keeping {
    pub(crate) fn new(factory: Rc<dyn Factory>, kept: Box<dyn Any>) -> Self {
        let kept = Cell::new(Some(kept));
        Self { factory, kept }
    }
}

impl Factory for Keeping {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        self.factory.build_protocol(peer)
    }

    fn wrapped(&self) -> Option<&dyn Factory> {
        Some(&self.factory)
    }

    fn build_policies(&self, peer: &Address) -> Vec<Box<dyn Policy>> {
        let mut policies = self.factory.build_policies(peer);
        if let Some(kept) = self.kept.take() {
            policies.push(Box::new(Kept { _kept: kept }));
        }
        policies
    }
}

/// A policy is dropped when its connection has ended.
struct Kept {
    _kept: Box<dyn Any>,
}

impl Policy for Kept {}
