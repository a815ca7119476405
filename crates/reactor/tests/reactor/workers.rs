//! Several reactors with shared ports.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Duration;

use ropewalk_core::endpoint::{TcpListen, UnixListen};
use ropewalk_core::{Address, Failure, ListenError};
use ropewalk_reactor::{Phase, ReactorRemote, RunError, Worker, Workers, WorkersError};

use crate::support::{On, factory, loopback, socket_addr};

fn workers(n: usize) -> Workers {
    Workers::new(NonZeroUsize::new(n).unwrap())
}

/// A protocol that says which worker has it, and closes.
fn telling(worker: &Worker<'_>) -> Rc<dyn ropewalk_core::Factory> {
    let index = worker.index() as u8;
    factory(move || {
        On::nothing().made(move |transport| {
            transport.write(&[index]);
            transport.lose_connection();
        })
    })
}

/// Runs workers and, when all are set up, `peer`, which gets what `setup` sent for each.
fn run<T: Send + Clone>(
    workers: &Workers,
    count: usize,
    setup: impl Fn(&Worker<'_>) -> Result<T, Failure> + Send + Sync,
    peer: impl FnOnce(Vec<T>) + Send,
) -> Result<(), WorkersError> {
    let (set_up, is_set_up) = mpsc::channel::<(T, ReactorRemote)>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let all: Vec<_> = is_set_up.iter().take(count).collect();
            let (sent, remotes): (Vec<_>, Vec<_>) = all.into_iter().unzip();
            if sent.len() == count {
                // A peer that panics ends them too.
                let _stop = StopAtEnd(&remotes[count - 1]);
                peer(sent);
            }
        });
        let set_up = Mutex::new(set_up);
        workers.run(|worker| {
            let sent = setup(worker)?;
            let remote = worker.reactor().remote();
            set_up.lock().unwrap().send((sent, remote)).unwrap();
            Ok(())
        })
    })
}

struct StopAtEnd<'a>(&'a ReactorRemote);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.call_from_thread(|reactor| reactor.stop());
    }
}

fn seen<S: Read>(count: usize, mut connect: impl FnMut() -> S) {
    let mut seen = BTreeSet::new();
    for _ in 0..10_000 {
        let mut index = [0];
        connect().read_exact(&mut index).unwrap();
        seen.insert(index[0]);
        if seen.len() == count {
            return;
        }
    }
    panic!("only {seen:?} of {count} workers have served");
}

#[test]
fn four_workers_share_any_free_port_and_all_serve() {
    let setup = |worker: &Worker<'_>| {
        let port = worker.listen(&loopback(), telling(worker))?;
        assert_eq!(worker.count(), 4);
        let name = format!("worker-{}", worker.index());
        assert_eq!(std::thread::current().name(), Some(&*name));
        Ok(socket_addr(&port))
    };
    run(&workers(4), 4, setup, |ports: Vec<SocketAddr>| {
        assert!(ports.iter().all(|port| *port == ports[0]), "{ports:?}");
        seen(4, || TcpStream::connect(ports[0]).unwrap());
    })
    .unwrap();
}

#[test]
fn two_ports_of_the_same_text_are_two_ports() {
    let setup = |worker: &Worker<'_>| {
        let first = worker.listen(&loopback(), telling(worker))?;
        // Only one has a port of its own between them.
        if worker.index() == 0 {
            let own = TcpListen::new(0).interface([127, 0, 0, 1]).backlog(7);
            worker.listen(&own.into(), telling(worker))?;
        }
        let second = worker.listen(&loopback(), telling(worker))?;
        Ok([first, second].map(|port| socket_addr(&port)))
    };
    run(&workers(2), 2, setup, |ports| {
        assert_eq!(ports[0], ports[1]);
        assert_ne!(ports[0][0], ports[0][1]);
    })
    .unwrap();
}

#[test]
fn a_unix_socket_is_shared_and_removed_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shared");
    let endpoint = UnixListen::new(&path).into();
    let setup = |worker: &Worker<'_>| {
        let port = worker.listen(&endpoint, telling(worker))?;
        assert_eq!(*port.address(), Address::Unix(Some(path.as_path().into())));
        Ok(())
    };
    run(&workers(3), 3, setup, |_| {
        seen(3, || UnixStream::connect(&path).unwrap());
    })
    .unwrap();
    assert!(!path.exists());
}

#[test]
fn a_port_in_use_is_one_error_and_nobody_runs() {
    // One that would even share it.
    let taken = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    taken.set_reuse_port(true).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    taken.bind(&any.into()).unwrap();
    taken.listen(1).unwrap();
    let number = TcpListener::from(taken.try_clone().unwrap())
        .local_addr()
        .unwrap()
        .port();
    let endpoint = TcpListen::new(number).interface([127, 0, 0, 1]).into();
    let asked = Mutex::new(0);
    let error = workers(4)
        .run(|worker| {
            *asked.lock().unwrap() += 1;
            worker.reactor().call_when_running(|| panic!("it runs"));
            worker.listen(&endpoint, telling(worker))?;
            Ok(())
        })
        .unwrap_err();
    let WorkersError::Setup { index: 0, failure } = &error else {
        panic!("{error}");
    };
    let cause = failure.check::<ListenError>();
    assert!(
        matches!(cause, Some(ListenError::AddressInUse { .. })),
        "{error}"
    );
    assert_eq!(*asked.lock().unwrap(), 1);
}

#[test]
fn a_setup_that_fails_late_ends_those_that_were_ready() {
    let error = workers(3)
        .run(|worker| {
            worker.reactor().call_when_running(|| panic!("it runs"));
            worker.listen(&loopback(), telling(worker))?;
            match worker.index() {
                2 => Err(Failure::msg("the third will not")),
                _ => Ok(()),
            }
        })
        .unwrap_err();
    assert!(
        matches!(error, WorkersError::Setup { index: 2, .. }),
        "{error}"
    );
    assert_eq!(error.to_string(), "the third will not");
}

#[test]
fn a_setup_that_panics_surfaces() {
    let error = workers(2)
        .run(|worker| {
            assert_ne!(worker.index(), 1, "not on this one");
            Ok(())
        })
        .unwrap_err();
    let WorkersError::Panicked { index: 1, message } = error else {
        panic!("{error}");
    };
    assert!(message.contains("not on this one"), "{message}");
}

#[test]
fn a_worker_whose_run_panics_surfaces_and_the_others_are_stopped_in_order() {
    struct PanicsWhenDropped;
    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }
    let drained = Mutex::new(BTreeSet::new());
    let (drains, has_drained) = mpsc::channel();
    let drains = Mutex::new(drains);
    let error = workers(3)
        .run(|worker| {
            let reactor = worker.reactor();
            let index = worker.index();
            let drains = drains.lock().unwrap().clone();
            reactor.add_system_event_trigger(Phase::Before, move || drains.send(index).unwrap());
            if index == 1 {
                // The end of a run drops what is left.
                let bomb = PanicsWhenDropped;
                reactor.call_later(Duration::from_secs(3600), move || drop(bomb));
                reactor.call_when_running({
                    let reactor = reactor.handle();
                    move || reactor.stop()
                });
            }
            Ok(())
        })
        .unwrap_err();
    assert!(
        matches!(&error, WorkersError::Panicked { index: 1, message } if message == "in a destructor"),
        "{error}"
    );
    drained.lock().unwrap().extend(has_drained.try_iter());
    assert_eq!(*drained.lock().unwrap(), BTreeSet::from([0, 1, 2]));
}

#[test]
fn a_run_that_ends_badly_surfaces_and_the_deadline_holds_for_all() {
    let error = workers(2)
        .shutdown_deadline(Duration::from_millis(10))
        .run(|worker| {
            let reactor = worker.reactor();
            if worker.index() == 1 {
                let handle = reactor.handle();
                reactor.add_system_event_trigger(Phase::Before, || {
                    let (resolver, deferred) = ropewalk_core::Deferred::<()>::pair();
                    std::mem::forget(resolver);
                    deferred
                });
                reactor.call_when_running(move || handle.stop());
            }
            Ok(())
        })
        .unwrap_err();
    assert!(
        matches!(
            error,
            WorkersError::Run {
                index: 1,
                source: RunError::ShutdownTimedOut { .. }
            }
        ),
        "{error}"
    );
}

/// A protocol that says which worker has it, and from whom, and stays.
fn staying(worker: &Worker<'_>) -> Rc<dyn ropewalk_core::Factory> {
    let index = worker.index() as u8;
    factory(move || {
        On::nothing().made(move |transport| {
            let (peer, host) = (transport.peer().port(), transport.host().port());
            let ports = [peer, host].map(|port| port.unwrap_or_default().to_be_bytes());
            transport.write(&[&[index], &ports[0][..], &ports[1][..]].concat());
        })
    })
}

fn told(stream: &mut impl Read) -> (usize, [u16; 2]) {
    let mut told = [0; 5];
    stream.read_exact(&mut told).unwrap();
    let port = |at: usize| u16::from_be_bytes([told[at], told[at + 1]]);
    (told[0].into(), [port(1), port(3)])
}

#[test]
fn few_connections_are_spread_evenly_and_keep_their_addresses() {
    let setup = |worker: &Worker<'_>| {
        let port = worker.listen(&loopback(), staying(worker))?;
        Ok((socket_addr(&port), worker.reactor().remote()))
    };
    run(
        &workers(3),
        3,
        setup,
        |workers: Vec<(SocketAddr, ReactorRemote)>| {
            let port = workers[0].0;
            let mut open: Vec<Vec<TcpStream>> = (0..3).map(|_| Vec::new()).collect();
            let connect = |open: &mut Vec<Vec<TcpStream>>| {
                let mut stream = TcpStream::connect(port).unwrap();
                let (worker, addresses) = told(&mut stream);
                let ours = stream.local_addr().unwrap().port();
                assert_eq!(addresses, [ours, port.port()]);
                open[worker].push(stream);
            };
            for count in 1..=12 {
                connect(&mut open);
                let held = open.iter().map(Vec::len);
                let (least, most) = (held.clone().min().unwrap(), held.max().unwrap());
                assert!(most - least <= 1, "{least} and {most} of {count}");
            }
            for mut stream in open[1].drain(..) {
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                assert_eq!(stream.read(&mut [0]).unwrap(), 0);
            }
            // Its worker has closed them, and has counted that when it does something else.
            let (done, is_done) = mpsc::channel();
            workers[1]
                .1
                .call_from_thread(move |_| done.send(()).unwrap());
            is_done.recv().unwrap();
            for _ in 0..4 {
                connect(&mut open);
            }
            assert_eq!(open.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 4]);
        },
    )
    .unwrap();
}

#[test]
fn connections_of_a_unix_socket_are_spread_evenly() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shared");
    let endpoint = UnixListen::new(&path).into();
    let setup = |worker: &Worker<'_>| {
        worker.listen(&endpoint, staying(worker))?;
        Ok(())
    };
    run(&workers(2), 2, setup, |_| {
        let mut held = [0, 0];
        let open: Vec<_> = (0..10)
            .map(|_| {
                let mut stream = UnixStream::connect(&path).unwrap();
                held[told(&mut stream).0] += 1;
                stream
            })
            .collect();
        assert_eq!(held, [5, 5]);
        drop(open);
    })
    .unwrap();
}

#[test]
fn a_worker_that_listens_no_more_is_dealt_nothing() {
    let setup = |worker: &Worker<'_>| {
        let port = worker.listen(&loopback(), staying(worker))?;
        if worker.index() == 0 {
            // As when it has too much to do with something else.
            port.stop_listening();
        }
        Ok(socket_addr(&port))
    };
    run(&workers(2), 2, setup, |ports: Vec<SocketAddr>| {
        let mut open = Vec::new();
        for _ in 0..10 {
            let mut stream = TcpStream::connect(ports[1]).unwrap();
            assert_eq!(told(&mut stream).0, 1);
            open.push(stream);
        }
    })
    .unwrap();
}
