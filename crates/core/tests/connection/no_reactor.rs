//! A type to have no reactor of.

use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use ropewalk_core::endpoint::{
    ClientEndpoint, DatagramClientEndpoint, DatagramEndpoint, ServerEndpoint,
};
use ropewalk_core::{
    Connection, DatagramPort, DatagramProtocol, Deferred, DelayedCall, Factory, JobName,
    ListenError, NameResolver, Port, ReactorDatagrams, ReactorNames, ReactorNet, ReactorTasks,
    ReactorThreads, ReactorTime, Task,
};

/// It offers nothing.
pub(crate) struct NoReactor;

impl ReactorTime for NoReactor {
    fn now(&self) -> Instant {
        unreachable!()
    }
    fn wall_clock(&self) -> SystemTime {
        unreachable!()
    }
    fn call_later(&self, _: Duration, _: Box<dyn FnOnce()>) -> DelayedCall {
        unreachable!()
    }
}

impl ReactorTasks for NoReactor {
    fn spawn(&self, _: Pin<Box<dyn Future<Output = ()>>>) -> Task {
        unreachable!()
    }
}

impl ReactorThreads for NoReactor {
    fn run_in_thread(&self, _: JobName, _: Box<dyn FnOnce() + Send>) -> Deferred<()> {
        unreachable!()
    }
}

impl ReactorNet for NoReactor {
    fn listen(&self, _: &ServerEndpoint, _: Rc<dyn Factory>) -> Result<Port, ListenError> {
        unreachable!()
    }
    fn connect(&self, _: &ClientEndpoint, _: Rc<dyn Factory>) -> Deferred<Connection> {
        unreachable!()
    }
}

impl ReactorDatagrams for NoReactor {
    fn listen_datagram(
        &self,
        _: &DatagramEndpoint,
        _: Box<dyn DatagramProtocol>,
    ) -> Result<DatagramPort, ListenError> {
        unreachable!()
    }
    fn connect_datagram(
        &self,
        _: &DatagramClientEndpoint,
        _: Box<dyn DatagramProtocol>,
    ) -> Deferred<DatagramPort> {
        unreachable!()
    }
}

impl ReactorNames for NoReactor {
    fn name_resolver(&self) -> Rc<dyn NameResolver> {
        unreachable!()
    }
    fn install_name_resolver(&self, _: Rc<dyn NameResolver>) -> Rc<dyn NameResolver> {
        unreachable!()
    }
}
