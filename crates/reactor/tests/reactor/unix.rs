//! Unix sockets.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::rc::Rc;

use ropewalk_core::endpoint::{UnixConnect, UnixListen};
use ropewalk_core::{Address, ListenError};
use ropewalk_reactor::Reactor;

use crate::support::{Log, On, factory, once, run_with};

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
}

#[test]
fn what_a_peer_sends_comes_back_from_an_echo() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo");
    let reactor = Reactor::new().unwrap();
    let port = reactor
        .listen(&UnixListen::new(&path).into(), factory(On::echo))
        .unwrap();
    assert_eq!(*port.address(), Address::Unix(Some(path.as_path().into())));
    run_with(&reactor, move || {
        let mut peer = UnixStream::connect(&path).unwrap();
        let mut back = peer.try_clone().unwrap();
        let reading = std::thread::spawn(move || {
            let mut received = vec![0; 1_000_000];
            back.read_exact(&mut received).unwrap();
            received
        });
        peer.write_all(&vec![5; 1_000_000]).unwrap();
        assert!(reading.join().unwrap() == vec![5; 1_000_000]);
    });
}

#[test]
fn both_ends_may_be_the_reactors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("both");
    let reactor = Reactor::new().unwrap();
    reactor
        .listen(&UnixListen::new(&path).into(), factory(On::echo))
        .unwrap();
    let log = Log::default();
    let handle = reactor.handle();
    let kept = Rc::clone(&log);
    let client = On::nothing()
        .made(|transport| transport.write(b"hello"))
        .data(move |transport, data| {
            let data = String::from_utf8_lossy(data).into_owned();
            kept.borrow_mut()
                .push(format!("{data} from {}", transport.peer()));
            handle.stop();
        });
    let connected = reactor.connect(&UnixConnect::new(&path).into(), once(client));
    reactor.run().unwrap();
    assert!(connected.is_fired());
    assert_eq!(
        *log.borrow(),
        [format!("hello from unix:{}", path.display())]
    );
}

#[test]
fn the_socket_has_the_mode_that_was_asked_for_and_goes_when_listening_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mode");
    let reactor = Reactor::new().unwrap();
    let endpoint = UnixListen::new(&path).mode(0o640).into();
    let port = reactor.listen(&endpoint, factory(On::echo)).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    port.stop_listening();
    assert!(!path.exists());
}

#[test]
fn the_socket_goes_when_the_reactor_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dropped");
    let reactor = Reactor::new().unwrap();
    let endpoint = UnixListen::new(&path).into();
    reactor.listen(&endpoint, factory(On::echo)).unwrap();
    assert!(is_socket(&path));
    drop(reactor);
    assert!(!path.exists());
}

#[test]
fn a_socket_that_nobody_listens_on_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stale");
    drop(UnixListener::bind(&path).unwrap());
    assert!(is_socket(&path));
    let reactor = Reactor::new().unwrap();
    let endpoint = UnixListen::new(&path).into();
    reactor.listen(&endpoint, factory(On::echo)).unwrap();
    run_with(&reactor, move || {
        let mut peer = UnixStream::connect(&path).unwrap();
        peer.write_all(b"x").unwrap();
        peer.read_exact(&mut [0]).unwrap();
    });
}

#[test]
fn a_socket_that_somebody_listens_on_is_in_use_even_when_its_backlog_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("live");
    let live = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    live.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    live.listen(0).unwrap();
    let _waits = UnixStream::connect(&path).unwrap();
    let reactor = Reactor::new().unwrap();
    let endpoint = UnixListen::new(&path).into();
    let error = reactor.listen(&endpoint, factory(On::echo)).unwrap_err();
    assert!(matches!(error, ListenError::AddressInUse { .. }), "{error}");
    assert!(is_socket(&path), "the socket of another was removed");
}

#[test]
fn what_is_no_socket_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "precious").unwrap();
    let reactor = Reactor::new().unwrap();
    let endpoint = UnixListen::new(&path).into();
    let error = reactor.listen(&endpoint, factory(On::echo)).unwrap_err();
    assert!(matches!(error, ListenError::AddressInUse { .. }), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_path_that_another_has_taken_over_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("taken");
    let reactor = Reactor::new().unwrap();
    let endpoint = UnixListen::new(&path).into();
    let port = reactor.listen(&endpoint, factory(On::echo)).unwrap();
    fs::rename(&path, folder.path().join("moved")).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    port.stop_listening();
    assert!(is_socket(&path));
}

#[test]
fn connecting_where_nothing_is_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let reactor = Reactor::new().unwrap();
    let nowhere = UnixConnect::new(folder.path().join("nowhere")).into();
    let said = Rc::new(std::cell::RefCell::new(String::new()));
    let kept = Rc::clone(&said);
    let failed = reactor
        .connect(&nowhere, factory(On::echo))
        .add_callback(|_| ())
        .add_errback(move |failure| *kept.borrow_mut() = failure.to_string());
    assert!(failed.is_fired());
    assert!(said.borrow().contains("nowhere"), "{said:?}");
}
