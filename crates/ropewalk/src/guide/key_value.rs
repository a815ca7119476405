use ropewalk::framing::{LineProtocol, LineReceiver, LineTransport};
use ropewalk::{Address, Factory};
use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

type Store = Rc<RefCell<BTreeMap<Vec<u8>, Vec<u8>>>>;

/// `set KEY VALUE` is answered with `ok`, `get KEY` with `value VALUE` or `none`.
struct KeyValue {
    store: Store,
}

impl LineProtocol for KeyValue {
    fn connection_made(&mut self, transport: &mut LineTransport<'_>) {
        transport.set_timeout(Some(Duration::from_secs(60)));
    }

    fn line_received(&mut self, transport: &mut LineTransport<'_>, line: &[u8]) {
        transport.set_timeout(Some(Duration::from_secs(60)));
        let mut words = line.splitn(3, |byte| *byte == b' ');
        match (words.next(), words.next(), words.next()) {
            (Some(b"set"), Some(key), Some(value)) => {
                self.store.borrow_mut().insert(key.to_vec(), value.to_vec());
                transport.send_line(b"ok");
            }
            (Some(b"get"), Some(key), None) => match self.store.borrow().get(key) {
                Some(value) => transport.send_line(&[b"value ", &value[..]].concat()),
                None => transport.send_line(b"none"),
            },
            _ => transport.send_line(b"what?"),
        }
    }
}

fn key_value(store: &Store) -> LineReceiver<KeyValue> {
    let store = Rc::clone(store);
    LineReceiver::new(KeyValue { store })
}

/// What a port serves: each connection has the same store.
fn served() -> Rc<dyn Factory> {
    let store = Store::default();
    Rc::new(move |_: &Address| key_value(&store))
}
