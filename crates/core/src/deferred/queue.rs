//! A queue between those who make things and those who wait for them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::rc::{Rc, Weak};

use super::Deferred;
use super::waiters::Waiters;
use crate::Failure;

/// Things in the order in which they were put, for takers in the order in which they came.
///
/// Bounded both ways: `size` is how many things it holds when nobody takes, `backlog` how many
/// takers wait when there is nothing. Clones are the same queue. A taker that is cancelled takes
/// nothing.
///
/// ```
/// use ropewalk_core::{Deferred, DeferredQueue};
///
/// let queue = DeferredQueue::new(1, 1);
/// let line = queue.get();
/// queue.put("first").unwrap(); // goes to the taker
/// queue.put("second").unwrap();
/// assert_eq!(queue.put("third").unwrap_err().into_value(), "third");
/// # let line: Deferred<()> =
/// line.add_callback(|line| assert_eq!(line, "first"));
/// # assert!(line.is_fired());
/// ```
pub struct DeferredQueue<T: 'static> {
    shared: Rc<Shared<T>>,
}

struct Shared<T: 'static> {
    things: RefCell<VecDeque<T>>,
    takers: Waiters<Taken<T>>,
    size: usize,
    backlog: usize,
}

impl<T: 'static> DeferredQueue<T> {
    /// An empty queue, for `size` things and `backlog` takers.
    #[must_use]
    pub fn new(size: usize, backlog: usize) -> Self {
        Self {
            shared: Rc::new(Shared {
                things: RefCell::default(),
                takers: Waiters::new(),
                size,
                backlog,
            }),
        }
    }

    /// Gives `value` to the first taker, or keeps it for the next one.
    ///
    /// # Errors
    /// [`QueueOverflow`], which has the value: the queue is full.
    pub fn put(&self, value: T) -> Result<(), QueueOverflow<T>> {
        let Shared { takers, size, .. } = &*self.shared;
        // Takers stand here beside things only while others are being served.
        if self.len() >= size.saturating_add(takers.len()) {
            return Err(QueueOverflow { value, size: *size });
        }
        self.shared.things.borrow_mut().push_back(value);
        self.shared.serve();
        Ok(())
    }

    /// The first thing, now or when there is one. It fails with [`QueueUnderflow`] when as many
    /// wait as may.
    ///
    /// Once the Deferred has fired, the thing is its; dropped with it, it is gone. A task that
    /// may be cancelled uses [`next`](Self::next).
    #[track_caller]
    pub fn get(&self) -> Deferred<T> {
        self.take().add_callback::<T, _>(|taken| taken.into_value())
    }

    /// The first thing. When the future is dropped before it was ready, no thing is lost: one that
    /// was given to it goes back to its place.
    ///
    /// ```
    /// # use ropewalk_core::{DeferredQueue, Failure};
    /// async fn add_up(numbers: DeferredQueue<u64>) -> Result<u64, Failure> {
    ///     let mut sum = 0;
    ///     while let Some(number) = Some(numbers.next().await?).filter(|n| *n > 0) {
    ///         sum += number;
    ///     }
    ///     Ok(sum)
    /// }
    /// # use std::{future::Future, pin::pin, task::{Context, Poll, Waker}};
    /// # let numbers = DeferredQueue::new(3, 1);
    /// # [1, 2, 0].map(|n| numbers.put(n).unwrap());
    /// # let sum = pin!(add_up(numbers)).poll(&mut Context::from_waker(Waker::noop()));
    /// # assert!(matches!(sum, Poll::Ready(Ok(3))));
    /// ```
    ///
    /// # Errors
    /// [`QueueUnderflow`], and [`Abandoned`](super::Abandoned) when the queue is gone.
    pub async fn next(&self) -> Result<T, Failure> {
        Ok(self.take().await?.into_value())
    }

    /// How many things are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.things.borrow().len()
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many takers wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.takers.len()
    }

    #[track_caller]
    fn take(&self) -> Deferred<Taken<T>> {
        let Shared {
            takers, backlog, ..
        } = &*self.shared;
        if takers.is_empty()
            && let Some(taken) = self.shared.first()
        {
            Deferred::succeed(taken)
        } else if takers.len() >= *backlog {
            Deferred::fail(QueueUnderflow { backlog: *backlog })
        } else {
            takers.wait()
        }
    }
}

impl<T: 'static> Shared<T> {
    fn first(self: &Rc<Self>) -> Option<Taken<T>> {
        let value = self.things.borrow_mut().pop_front()?;
        Some(Taken {
            value: Some(value),
            queue: Rc::downgrade(self),
        })
    }

    fn serve(self: &Rc<Self>) {
        self.takers.serve(|_| self.first());
    }
}

impl<T> Clone for DeferredQueue<T> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<T: 'static> fmt::Debug for DeferredQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeferredQueue")
            .field("len", &self.len())
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

/// A thing on its way to a taker. If the taker is gone, it goes back to where it was.
struct Taken<T: 'static> {
    value: Option<T>,
    queue: Weak<Shared<T>>,
}

impl<T> Taken<T> {
    fn into_value(mut self) -> T {
        self.value.take().expect("only this takes it out, once")
    }
}

impl<T: 'static> Drop for Taken<T> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take()
            && let Some(queue) = self.queue.upgrade()
        {
            queue.things.borrow_mut().push_front(value);
            queue.serve();
        }
    }
}

/// The queue was full. What was to be put is here.
pub struct QueueOverflow<T> {
    value: T,
    size: usize,
}

impl<T> QueueOverflow<T> {
    /// What was not put.
    pub fn into_value(self) -> T {
        self.value
    }
}

impl<T> fmt::Debug for QueueOverflow<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (f.debug_struct("QueueOverflow").field("size", &self.size)).finish_non_exhaustive()
    }
}

impl<T> fmt::Display for QueueOverflow<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the queue holds {} already, which is its size: make less, or wait for its takers",
            self.size
        )
    }
}

impl<T> Error for QueueOverflow<T> {}

/// As many takers wait for a thing as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueUnderflow {
    /// How many may wait.
    pub backlog: usize,
}

impl fmt::Display for QueueUnderflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} are waiting for the queue already, which is its backlog: wait for those first",
            self.backlog
        )
    }
}

impl Error for QueueUnderflow {}
