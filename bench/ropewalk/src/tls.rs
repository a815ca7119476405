//! The apps `tls` and `tls-resumed`: the same, since sessions are resumed with no configuration.

use std::path::Path;
use std::rc::Rc;

use bench_contract::{HELLO_AND_CLOSE, Request, Requests, bulk};
use bytes::Bytes;
use ropewalk::{Address, Factory, Protocol, Transport};

pub fn factory(dir: &Path) -> Rc<dyn Factory> {
    let bulk = Bytes::from(bulk(dir));
    Rc::new(move |_: &Address| Answers {
        requests: Requests::default(),
        bulk: bulk.clone(),
    })
}

struct Answers {
    requests: Requests,
    bulk: Bytes,
}

impl Protocol for Answers {
    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        for request in self.requests.take(data) {
            match request {
                Request::Hello => {
                    transport.write(HELLO_AND_CLOSE.as_bytes());
                    transport.lose_connection();
                }
                Request::Bulk => transport.write_bytes(self.bulk.clone()),
            }
        }
    }
}
