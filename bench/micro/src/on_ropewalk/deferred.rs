//! Chains of Deferreds, and tasks that await them.

use std::cell::{Cell, RefCell};
use std::env;
use std::error::Error;
use std::fmt;
use std::hint::black_box;
use std::rc::Rc;
use std::time::Instant;

use futures_util::FutureExt;
use ropewalk::{Deferred, Failure, Handle, Resolver, gather_results};

use super::{on_a_reactor, turn};
use crate::figure::{Repetitions, time};
use crate::{Figure, Sizes, print};

/// Links of a chain, Deferreds that a task awaits.
pub(super) const LINKS: usize = 10;

/// Deferreds that are gathered in a list.
const LISTED: usize = 100;

/// Tasks that are under way at a time, so that a turn's own cost is small among them.
const BATCH: u64 = 1000;

pub(super) fn run(sizes: &Sizes) -> Result<(), Box<dyn Error>> {
    refuse_backtraces()?;
    for (work, chain) in CHAINS {
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
        let figures = on_a_reactor(async move |handle| {
            let mut repetitions = Repetitions::of([(work, tasks)]);
            while repetitions.are_wanted() {
                let start = Instant::now();
                for _ in 0..batches {
                    batch(&handle, fired, tasks / batches).await?;
                }
                repetitions.note([start.elapsed()]);
            }
            Ok(repetitions.figures())
        })?;
        let [figure] = figures;
        print(&figure)?;
    }
    Ok(())
}

/// A failure notes the backtrace of its place when the environment asks for it, which takes several times
/// as long as the whole chain.
pub(super) fn refuse_backtraces() -> Result<(), &'static str> {
    for name in ["RUST_BACKTRACE", "RUST_LIB_BACKTRACE"] {
        if env::var_os(name).is_some_and(|value| value != "0") {
            return Err(
                "RUST_BACKTRACE or RUST_LIB_BACKTRACE is set, so failures would take \
                        backtraces: unset both to measure",
            );
        }
    }
    Ok(())
}

type Chain = fn(usize) -> Option<u64>;

/// What the chains are called, and the chains. Each comes to the number of its links.
pub(super) const CHAINS: [(&str, Chain); 3] = [
    ("chain of 10", plain),
    (
        "chain of 10, each returning a Deferred that has fired",
        returning,
    ),
    ("chain of 10 over an error", over_an_error),
];

/// Made, given its links, fired, read.
fn plain(links: usize) -> Option<u64> {
    let (resolver, mut deferred) = Deferred::pair();
    for _ in 0..links {
        deferred = deferred.add_callback(|n: u64| n + 1);
    }
    resolver.callback(0);
    value(deferred)
}

fn returning(links: usize) -> Option<u64> {
    let (resolver, mut deferred) = Deferred::pair();
    for _ in 0..links {
        deferred = deferred.add_callback(|n: u64| Deferred::succeed(n + 1));
    }
    resolver.callback(0);
    value(deferred)
}

/// The first fails, the last recovers, and those between are passed by.
fn over_an_error(links: usize) -> Option<u64> {
    let (resolver, deferred) = Deferred::<u64>::pair();
    let mut deferred: Deferred<u64> = deferred.add_callback(|_| Err::<u64, _>(Refused));
    for _ in 2..links {
        deferred = deferred.add_callback(|n: u64| n + 1);
    }
    let deferred = deferred.add_errback(move |_| links as u64);
    resolver.callback(0);
    value(deferred)
}

/// Made, gathered, fired one after the other, read.
fn list(length: usize) -> Option<u64> {
    let (resolvers, deferreds): (Vec<Resolver<u64>>, Vec<_>) =
        (0..length).map(|_| Deferred::pair()).unzip();
    let all = gather_results(deferreds);
    for resolver in resolvers {
        resolver.callback(1);
    }
    value(all.add_callback(|values: Vec<u64>| values.iter().sum::<u64>()))
}

fn value(deferred: Deferred<u64>) -> Option<u64> {
    deferred.now_or_never()?.ok()
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

/// Starts tasks, and fires what they await turn after turn, until all have ended.
async fn batch(handle: &Handle, fired: Fired, tasks: u64) -> Result<(), Failure> {
    let awaited = Rc::new(RefCell::new(Vec::new()));
    let left = Rc::new(Cell::new(tasks));
    let sum = Rc::new(Cell::new(0));
    for _ in 0..tasks {
        let (awaited, left, sum) = (Rc::clone(&awaited), Rc::clone(&left), Rc::clone(&sum));
        handle.spawn(async move {
            let got = match fired {
                Fired::Before => await_those_that_fired().await,
                Fired::Later => await_those_to_come(&awaited).await,
            };
            sum.set(sum.get() + got.unwrap_or(0));
            left.set(left.get() - 1);
        });
    }
    while left.get() > 0 {
        turn(handle).await?;
        let resolvers: Vec<Resolver<u64>> = awaited.take();
        for resolver in resolvers {
            resolver.callback(1);
        }
    }
    assert_eq!(sum.get(), tasks * LINKS as u64);
    Ok(())
}

async fn await_those_that_fired() -> Result<u64, Failure> {
    let mut sum = 0;
    for _ in 0..LINKS {
        let (resolver, deferred) = Deferred::pair();
        resolver.callback(1);
        sum += deferred.await?;
    }
    Ok(sum)
}

async fn await_those_to_come(awaited: &RefCell<Vec<Resolver<u64>>>) -> Result<u64, Failure> {
    let mut sum = 0;
    for _ in 0..LINKS {
        let (resolver, deferred) = Deferred::pair();
        awaited.borrow_mut().push(resolver);
        sum += deferred.await?;
    }
    Ok(sum)
}
