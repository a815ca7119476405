//! The simulated driver as a subject: one host, and another one that never answers.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;

use ropewalk_conformance::{Feature, Place, Subject};
use ropewalk_reactor::driver::Driver;
use ropewalk_sim::{Fault, Host, World};

thread_local! {
    /// The world of the body that runs on this thread.
    static WORLD: RefCell<Option<(World, Host)>> = const { RefCell::new(None) };
}

/// The simulated driver.
pub(crate) struct Sim {
    pub(crate) seed: u64,
}

impl Subject for Sim {
    fn name(&self) -> &str {
        "sim"
    }

    fn driver(&self) -> io::Result<Rc<dyn Driver>> {
        let world = World::new(self.seed);
        let host = world.host("here");
        let driver = host.driver();
        WORLD.set(Some((world, host)));
        Ok(driver)
    }

    fn offers(&self, feature: Feature) -> bool {
        match feature {
            // Its descriptors and paths are numbers and names, and nothing of the system's.
            Feature::Descriptors | Feature::FileSystem => false,
            // Its time does not wait for threads that it does not know.
            Feature::Threads => false,
            _ => true,
        }
    }

    /// Another port each time.
    fn nobody(&self) -> io::Result<Place> {
        thread_local!(static LAST: Cell<u16> = const { Cell::new(0) });
        LAST.set(LAST.get() % 1000 + 1);
        Ok(Place {
            address: (Ipv4Addr::LOCALHOST, LAST.get()).into(),
            guard: Box::new(()),
        })
    }

    fn black_hole(&self) -> io::Result<Place> {
        let world = WORLD.with_borrow(|world| world.clone());
        let (world, _) = world.ok_or(io::ErrorKind::NotFound)?;
        let dark = world.host("dark");
        world.begin(&Fault::Darkness("dark".into()));
        let [address, _] = dark.addresses();
        Ok(Place {
            address: (address, 7).into(),
            guard: Box::new((world, dark)),
        })
    }

    fn leave_descriptors(&self, left: usize) -> io::Result<Box<dyn Any>> {
        let world = WORLD.with_borrow(|world| world.clone());
        let (_, host) = world.ok_or(io::ErrorKind::NotFound)?;
        host.set_descriptor_limit(host.descriptors() + left);
        Ok(Box::new(Limited(host)))
    }
}

/// Lets the host have as many as it likes again.
struct Limited(Host);

impl Drop for Limited {
    fn drop(&mut self) {
        self.0.set_descriptor_limit(usize::MAX);
    }
}
