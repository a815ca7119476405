//! The nearest things: a oneshot, with boxed combinators of futures below it, and tasks that await
//! oneshots.
//!
//! A callback that returns a future is `then`, an error that passes links by is a `Result` that `map`s hand
//! on, by `and_then` and `or_else`.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::future::ready;
use std::hint::black_box;
use std::io;
use std::rc::Rc;
use std::time::Instant;

use futures_util::future::{LocalBoxFuture, try_join_all};
use futures_util::{FutureExt, TryFutureExt};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::oneshot::{self, Sender, error::RecvError};
use tokio::task::{spawn_local, yield_now};

use crate::figure::{Repetitions, time};
use crate::{Figure, Sizes, print};

const LINKS: usize = 10;

/// Oneshots that are gathered in a list.
const LISTED: usize = 100;

/// Tasks that are under way at a time.
const BATCH: u64 = 1000;

pub(super) fn run(sizes: &Sizes) -> Result<(), Box<dyn Error>> {
    let chains: [(&str, Chain); 3] = [
        ("chain of 10", plain),
        (
            "chain of 10, each returning a Deferred that has fired",
            returning,
        ),
        ("chain of 10 over an error", over_an_error),
    ];
    for (work, chain) in chains {
        let figure = Figure::measure(format!("deferred {work}"), sizes.chains, || {
            time(|| {
                for _ in 0..sizes.chains {
                    assert_eq!(chain(black_box(LINKS)), Some(LINKS as u64));
                }
            })
        });
        print(&figure)?;
    }
    let figure = Figure::measure(format!("deferred list of {LISTED}"), sizes.lists, || {
        time(|| {
            for _ in 0..sizes.lists {
                assert_eq!(list(black_box(LISTED)), Some(LISTED as u64));
            }
        })
    });
    print(&figure)?;
    let [tasks, batches] = [sizes.tasks, sizes.tasks.div_ceil(BATCH)];
    for (work, fired) in [
        ("each fired before it is awaited", Fired::Before),
        ("each fired in a later turn", Fired::Later),
    ] {
        let work = format!("deferred await of {LINKS}, {work}");
        let mut repetitions = Repetitions::of([(work, tasks)]);
        local_runtime()?.block_on(async {
            while repetitions.are_wanted() {
                let start = Instant::now();
                for _ in 0..batches {
                    batch(fired, tasks / batches).await;
                }
                repetitions.note([start.elapsed()]);
            }
        });
        let [figure] = repetitions.figures();
        print(&figure)?;
    }
    Ok(())
}

/// For tasks that stay on their thread, as those of Ropewalk do.
fn local_runtime() -> io::Result<LocalRuntime> {
    let options = LocalOptions::default();
    Builder::new_current_thread()
        .enable_all()
        .build_local(options)
}

type Chain = fn(usize) -> Option<u64>;

fn plain(links: usize) -> Option<u64> {
    let (sender, receiver) = oneshot::channel();
    let mut future: LocalBoxFuture<'static, _> = receiver.boxed_local();
    for _ in 0..links {
        future = future
            .map(|n: Result<u64, RecvError>| n.map(|n| n + 1))
            .boxed_local();
    }
    sender.send(0).ok()?;
    future.now_or_never()?.ok()
}

fn returning(links: usize) -> Option<u64> {
    let (sender, receiver) = oneshot::channel();
    let mut future: LocalBoxFuture<'static, _> = receiver.boxed_local();
    for _ in 0..links {
        future = future.and_then(|n: u64| ready(Ok(n + 1))).boxed_local();
    }
    sender.send(0).ok()?;
    future.now_or_never()?.ok()
}

fn list(length: usize) -> Option<u64> {
    let (senders, receivers): (Vec<Sender<u64>>, Vec<_>) =
        (0..length).map(|_| oneshot::channel()).unzip();
    let all = try_join_all(receivers);
    for sender in senders {
        sender.send(1).ok()?;
    }
    Some(all.now_or_never()?.ok()?.iter().sum())
}

/// The usual error of programs, in a box.
type Reason = Box<dyn Error + Send + Sync>;

fn over_an_error(links: usize) -> Option<u64> {
    let (sender, receiver) = oneshot::channel::<u64>();
    let mut future: LocalBoxFuture<'static, Result<u64, Reason>> =
        receiver.map(|_| Err(Refused.into())).boxed_local();
    for _ in 2..links {
        future = future.map(|n| n.map(|n| n + 1)).boxed_local();
    }
    let future = future
        .or_else(move |_| ready(Ok::<_, Reason>(links as u64)))
        .boxed_local();
    sender.send(0).ok()?;
    future.now_or_never()?.ok()
}

#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

impl Error for Refused {}

#[derive(Clone, Copy)]
enum Fired {
    Before,
    Later,
}

/// Starts tasks, and sends what they await turn after turn, until all have ended.
async fn batch(fired: Fired, tasks: u64) {
    let awaited = Rc::new(RefCell::new(Vec::new()));
    let left = Rc::new(Cell::new(tasks));
    let sum = Rc::new(Cell::new(0));
    for _ in 0..tasks {
        let (awaited, left, sum) = (Rc::clone(&awaited), Rc::clone(&left), Rc::clone(&sum));
        spawn_local(async move {
            let got = match fired {
                Fired::Before => await_those_that_fired().await,
                Fired::Later => await_those_to_come(&awaited).await,
            };
            sum.set(sum.get() + got.unwrap_or(0));
            left.set(left.get() - 1);
        });
    }
    while left.get() > 0 {
        yield_now().await;
        let senders: Vec<Sender<u64>> = awaited.take();
        for sender in senders {
            // A task that is gone is missing in the sum.
            let _ = sender.send(1);
        }
    }
    assert_eq!(sum.get(), tasks * LINKS as u64);
}

async fn await_those_that_fired() -> Result<u64, RecvError> {
    let mut sum = 0;
    for _ in 0..LINKS {
        let (sender, receiver) = oneshot::channel();
        let _ = sender.send(1);
        sum += receiver.await?;
    }
    Ok(sum)
}

async fn await_those_to_come(awaited: &RefCell<Vec<Sender<u64>>>) -> Result<u64, RecvError> {
    let mut sum = 0;
    for _ in 0..LINKS {
        let (sender, receiver) = oneshot::channel();
        awaited.borrow_mut().push(sender);
        sum += receiver.await?;
    }
    Ok(sum)
}
