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

mod descriptors {
    use std::cell::RefCell;
    use std::fs::File;
    use std::io::{Read, Seek, SeekFrom, Write};
    use std::os::fd::{AsFd, OwnedFd};
    use std::rc::Rc;

    use ropewalk_core::endpoint::{UnixConnect, UnixListen};
    use ropewalk_core::{
        Address, FileRegion, MAX_UNSENT_DESCRIPTORS, Protocol, SendDescriptorError, Transport,
    };
    use ropewalk_reactor::Reactor;

    use crate::support::{On, factory, loopback, once, run_with, socket_addr};

    fn file_with(text: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        file
    }

    fn open_here() -> usize {
        std::fs::read_dir("/proc/self/fd").unwrap().count()
    }

    /// What came: `fd TEXT` for a descriptor with what its file says, or bytes.
    type Came = Rc<RefCell<Vec<String>>>;

    struct Takes {
        came: Came,
        until: usize,
        pause: bool,
        stop: ropewalk_reactor::Handle,
    }

    impl Takes {
        fn note(&self, what: String) {
            self.came.borrow_mut().push(what);
        }
    }

    impl Protocol for Takes {
        fn connection_made(&mut self, transport: &mut Transport) {
            transport.receive_descriptors(true);
        }

        fn descriptor_received(&mut self, transport: &mut Transport, descriptor: OwnedFd) {
            let flags = rustix::io::fcntl_getfd(&descriptor).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
            let mut text = String::new();
            File::from(descriptor).read_to_string(&mut text).unwrap();
            self.note(format!("fd {text}"));
            if self.pause {
                self.pause = false;
                transport.pause_producing();
                let again = transport.connection();
                let resume = move || assert!(again.resume_producing());
                let delay = std::time::Duration::from_millis(1);
                transport.reactor().call_later(delay, Box::new(resume));
            }
        }

        fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
            self.note(String::from_utf8_lossy(data).into_owned());
            let bytes = self
                .came
                .borrow()
                .iter()
                .filter(|line| !line.starts_with("fd"))
                .map(String::len)
                .sum::<usize>();
            if bytes >= self.until {
                self.stop.stop();
            }
        }
    }

    /// What comes of sending by `send`, and all bytes of it in one.
    fn exchange(until: usize, pause: bool, send: impl Fn(&mut Transport) + 'static) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let reactor = Reactor::new().unwrap();
        let came = Came::default();
        let (kept, stop) = (Rc::clone(&came), reactor.handle());
        let takes = move |_: &Address| Takes {
            came: Rc::clone(&kept),
            until,
            pause,
            stop: stop.clone(),
        };
        reactor
            .listen(&UnixListen::new(&path).into(), Rc::new(takes))
            .unwrap();
        let client = once(On::nothing().made(move |transport| send(transport)));
        drop(reactor.connect(&UnixConnect::new(&path).into(), client));
        reactor.run().unwrap();
        came.take()
    }

    #[test]
    fn a_descriptor_comes_with_what_is_written_after_it() {
        let before = open_here();
        let came = exchange(11, false, |transport| {
            transport.send_descriptor(file_with(b"one")).unwrap();
            transport.write(b"first ");
            transport.send_descriptor(file_with(b"two")).unwrap();
            transport.send_descriptor(file_with(b"three")).unwrap();
            transport.write(b"other");
        });
        assert_eq!(came, ["fd one", "first ", "fd two", "fd three", "other"]);
        // Others run beside this one; what leaks would be many.
        assert!(open_here() < before + 100);
    }

    #[test]
    fn a_descriptor_is_never_later_than_its_byte_and_a_pause_keeps_the_order() {
        let came = exchange(6, true, |transport| {
            transport.send_descriptor(file_with(b"one")).unwrap();
            transport.send_descriptor(file_with(b"two")).unwrap();
            transport.write(b"a pair");
        });
        assert_eq!(came, ["fd one", "fd two", "a pair"]);
    }

    #[test]
    fn a_file_may_follow_a_descriptor() {
        let came = exchange(5, false, |transport| {
            transport.send_descriptor(file_with(b"one")).unwrap();
            let file = std::sync::Arc::new(file_with(b"bytes"));
            transport.write_file(FileRegion {
                file,
                offset: 0,
                len: 5,
            });
        });
        assert_eq!(came, ["fd one", "bytes"]);
    }

    #[test]
    fn more_than_may_wait_are_refused_and_those_before_them_go() {
        let came = exchange(1, false, |transport| {
            let file = file_with(b"x");
            for _ in 0..MAX_UNSENT_DESCRIPTORS {
                let copy = file.as_fd().try_clone_to_owned().unwrap();
                transport.send_descriptor(copy).unwrap();
            }
            let refused = transport.send_descriptor(file_with(b"y"));
            assert_eq!(refused, Err(SendDescriptorError::TooMany));
            transport.write(b"!");
        });
        assert_eq!(came.len(), MAX_UNSENT_DESCRIPTORS + 1);
    }

    #[test]
    fn what_follows_a_descriptor_that_nobody_asked_for_is_read_too() {
        use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let reactor = Reactor::new().unwrap();
        let came = Came::default();
        let (kept, stop) = (Rc::clone(&came), reactor.handle());
        let server = On::nothing().data(move |_, data| {
            kept.borrow_mut()
                .push(String::from_utf8_lossy(data).into_owned());
            if kept.borrow().concat().len() == 9 {
                stop.stop();
            }
        });
        reactor
            .listen(&UnixListen::new(&path).into(), once(server))
            .unwrap();
        // All of it is there before anything is read, and a read ends behind each descriptor.
        let mut peer = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let file = file_with(b"unasked");
        for data in [&b"one"[..], b"two"] {
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let descriptors = [file.as_fd()];
            assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
            let slices = [std::io::IoSlice::new(data)];
            sendmsg(&peer, &slices, &mut control, SendFlags::empty()).unwrap();
        }
        peer.write_all(b"end").unwrap();
        reactor.run().unwrap();
        assert_eq!(came.borrow().concat(), "onetwoend");
    }

    #[test]
    fn who_asks_for_none_gets_none_and_tcp_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let reactor = Reactor::new().unwrap();
        reactor
            .listen(&UnixListen::new(&path).into(), factory(On::echo))
            .unwrap();
        let stop = reactor.handle();
        let client = On::nothing()
            .made(|transport| {
                transport.send_descriptor(file_with(b"one")).unwrap();
                transport.write(b"hello");
            })
            .data(move |_, data| {
                assert_eq!(data, b"hello");
                stop.stop();
            });
        drop(reactor.connect(&UnixConnect::new(&path).into(), once(client)));
        reactor.run().unwrap();

        let refused = Rc::new(RefCell::new(None));
        let kept = Rc::clone(&refused);
        let server = once(On::nothing().made(move |transport| {
            transport.receive_descriptors(true);
            *kept.borrow_mut() = Some(transport.send_descriptor(file_with(b"one")));
            transport.lose_connection();
        }));
        let to = socket_addr(&reactor.listen(&loopback(), server).unwrap());
        run_with(&reactor, move || {
            let mut peer = std::net::TcpStream::connect(to).unwrap();
            assert_eq!(peer.read(&mut [0; 10]).unwrap(), 0);
        });
        assert_eq!(refused.take(), Some(Err(SendDescriptorError::NotUnix)));
    }
}
