//! The nodes of a chain: where a result waits, and where it goes.
//!
//! A chain is owned downwards: a Resolver owns its source, and each node owns what it passes its
//! result to. Upwards, where cancelling goes, references are weak, so nothing is held in a
//! circle. A link is one allocation, which is both the continuation of the node above it and the
//! state of the Deferred below it.
//!
//! All state is in `Cell`s: no borrow is held while a callback, a waker or a `Drop` runs.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::panic::{self, AssertUnwindSafe, Location};
use std::rc::{Rc, Weak};
use std::task::Waker;
use std::thread;

use super::trampoline::Deliver;
use super::{Abandoned, Cancelled, State, trampoline, unhandled};
use crate::Failure;
use crate::inherited::ContextSnapshot;

/// How many links may call each other directly before the result goes back to the loop in
/// [`trampoline`], which spares the stack but costs a detour.
const MAX_DIRECT: u32 = 16;

/// A node that comes to hold a result of type `T`.
pub(super) trait Node<T>: Chain {
    fn core(&self) -> &Core<T>;

    /// Gives this its result, and takes it down the chain by at most `direct` links. Returns the
    /// node to deliver next, if there is one.
    fn settle(self: Rc<Self>, result: Result<T, Failure>, direct: u32) -> Option<Rc<dyn Deliver>>;
}

/// A node, whatever its type.
pub(super) trait Chain: Deliver {
    /// What this waits for.
    fn upstream(&self) -> Option<Rc<dyn Chain>>;

    /// Marks this as cancelled and runs the canceller. True if this is to be failed now.
    fn begin_cancel(&self) -> bool;

    /// Fires this with a failure.
    fn fail(self: Rc<Self>, failure: Failure);
}

/// What takes a result of type `T`.
trait Sink<T> {
    /// Takes the result down the chain, by at most `direct` further links. Returns the node to
    /// deliver next, if there is one.
    fn receive(self: Rc<Self>, result: Result<T, Failure>, direct: u32) -> Option<Rc<dyn Deliver>>;
}

/// What every node has: the result and what to do with it.
pub(super) struct Core<T> {
    result: Cell<Option<Result<T, Failure>>>,
    then: Cell<Then<T>>,
    fired: Cell<bool>,
    cancelled: Cell<bool>,
    made: &'static Location<'static>,
}

enum Then<T> {
    /// Keep the result until somebody asks for it.
    Keep,
    /// The same, and wake the task that asked.
    Wake(Waker),
    /// Call the next link.
    Call(Rc<dyn Sink<T>>),
    /// A link's callback returned this one's Deferred: the result becomes the link's.
    Forward(Rc<dyn Node<T>>),
    /// The Deferred was dropped: report a failure.
    Report,
}

impl<T> Core<T> {
    fn new(made: &'static Location<'static>) -> Self {
        Self {
            result: Cell::new(None),
            then: Cell::new(Then::Keep),
            fired: Cell::new(false),
            cancelled: Cell::new(false),
            made,
        }
    }

    pub(super) fn is_fired(&self) -> bool {
        self.fired.get()
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.get()
    }

    pub(super) fn abandoned(&self) -> Failure {
        Abandoned::new(self.made).into()
    }

    pub(super) fn take_result(&self) -> Option<Result<T, Failure>> {
        self.result.take()
    }

    pub(super) fn peek<R>(&self, look: impl FnOnce(&Result<T, Failure>) -> R) -> Option<R> {
        let result = self.result.take();
        let seen = result.as_ref().map(look);
        self.result.set(result);
        seen
    }

    pub(super) fn wake_when_fired(&self, waker: &Waker) {
        self.then.set(match self.then.replace(Then::Keep) {
            Then::Wake(old) if old.will_wake(waker) => Then::Wake(old),
            _ => Then::Wake(waker.clone()),
        });
    }

    /// The Deferred was dropped: from now on nobody asks for the result. True if a task was
    /// waiting for it.
    pub(super) fn detach(&self) -> bool {
        let then = self.then.replace(Then::Report);
        if let Some(Err(failure)) = self.result.take() {
            unhandled::report(&failure, self.made);
        }
        matches!(then, Then::Wake(_))
    }
}

impl<T> fmt::Debug for Core<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match (self.fired.get(), self.cancelled.get()) {
            (_, true) => "cancelled",
            (true, false) => "fired",
            (false, false) => "pending",
        };
        write!(f, "Deferred({state}, made at {})", self.made)
    }
}

/// Fires `node` and runs the chain below it. Does nothing if it has fired.
pub(super) fn fire<T>(node: Rc<dyn Node<T>>, result: Result<T, Failure>) {
    if node.core().fired.get() {
        return;
    }
    if let Some(next) = node.settle(result, 0) {
        trampoline::run(next);
    }
}

/// Cancels whatever `node` waits for in the end.
#[track_caller]
pub(super) fn cancel(node: Rc<dyn Chain>) {
    let mut root = node;
    while let Some(upstream) = root.upstream() {
        root = upstream;
    }
    match panic::catch_unwind(AssertUnwindSafe(|| root.begin_cancel())) {
        Ok(true) => root.fail(Failure::new(Cancelled)),
        Ok(false) => {}
        Err(payload) => {
            root.fail(Failure::new(Cancelled));
            // What is dropped by a panic may be cancelled by it.
            if !thread::panicking() {
                panic::resume_unwind(payload);
            }
        }
    }
}

/// The first node of a chain, of which the Deferred was `made` there.
pub(super) fn source<T: 'static, C: FnOnce() + 'static>(
    made: &'static Location<'static>,
    canceller: Option<C>,
) -> Rc<dyn Node<T>> {
    Rc::new(Source {
        core: Core::new(made),
        canceller: Cell::new(canceller),
    })
}

/// Adds a link below `upstream`, of which the Deferred was `made` there.
pub(super) fn link<T: 'static, U: 'static, F>(
    upstream: &Rc<dyn Node<T>>,
    made: &'static Location<'static>,
    callback: F,
) -> Rc<dyn Node<U>>
where
    F: FnOnce(Result<T, Failure>) -> State<U> + 'static,
{
    let waits_for: Weak<dyn Node<T>> = Rc::downgrade(upstream);
    let link = Rc::new(Link {
        core: Core::new(made),
        callback: Cell::new(Some(callback)),
        waits_for: Cell::new(Some(waits_for)),
        takes: PhantomData,
    });
    let sink: Rc<dyn Sink<T>> = match ContextSnapshot::capture_any() {
        None => link.clone(),
        Some(context) => Rc::new(InContext {
            context,
            sink: Cell::new(Some(link.clone())),
        }),
    };
    upstream.core().then.set(Then::Call(sink));
    link
}

/// Stands before a link that was added where there was something to inherit.
struct InContext<T> {
    context: ContextSnapshot,
    sink: Cell<Option<Rc<dyn Sink<T>>>>,
}

impl<T> Sink<T> for InContext<T> {
    fn receive(self: Rc<Self>, result: Result<T, Failure>, _: u32) -> Option<Rc<dyn Deliver>> {
        let sink = self.sink.take()?;
        // No further link: that has a context of its own.
        self.context.run(|| sink.receive(result, 0))
    }
}

/// [`Node::settle`] for every node. Inlined, so that a link goes on with its result, and is
/// dropped, as the type that it is: a call through `dyn` less for each.
#[inline(always)]
fn settle<T>(
    node: Rc<impl Node<T> + 'static>,
    result: Result<T, Failure>,
    direct: u32,
) -> Option<Rc<dyn Deliver>> {
    let core = node.core();
    core.fired.set(true);
    match core.then.replace(Then::Keep) {
        Then::Keep => core.result.set(Some(result)),
        Then::Wake(waker) => {
            core.result.set(Some(result));
            waker.wake();
        }
        Then::Call(sink) if direct > 0 => {
            // It ends here, not after all that the link does.
            drop(node);
            return sink.receive(result, direct - 1);
        }
        Then::Forward(outer) if direct > 0 => {
            drop(node);
            return outer.settle(result, direct - 1);
        }
        then @ (Then::Call(_) | Then::Forward(_)) => {
            core.result.set(Some(result));
            core.then.set(then);
            return Some(node);
        }
        Then::Report => {
            if let Err(failure) = result {
                unhandled::report(&failure, core.made);
            }
        }
    }
    None
}

/// Passes the result that `node` holds to what waits for it.
fn deliver<T>(node: Rc<impl Node<T>>) -> Option<Rc<dyn Deliver>> {
    let core = node.core();
    let result = core.result.take()?;
    let then = core.then.replace(Then::Keep);
    drop(node);
    match then {
        Then::Call(sink) => sink.receive(result, MAX_DIRECT),
        Then::Forward(outer) => outer.settle(result, MAX_DIRECT),
        Then::Keep | Then::Wake(_) | Then::Report => None,
    }
}

/// The first node of a chain, which a Resolver fires.
struct Source<T, C> {
    core: Core<T>,
    canceller: Cell<Option<C>>,
}

impl<T: 'static, C: FnOnce() + 'static> Node<T> for Source<T, C> {
    fn core(&self) -> &Core<T> {
        &self.core
    }

    fn settle(self: Rc<Self>, result: Result<T, Failure>, direct: u32) -> Option<Rc<dyn Deliver>> {
        settle(self, result, direct)
    }
}

impl<T: 'static, C: FnOnce() + 'static> Deliver for Source<T, C> {
    fn deliver(self: Rc<Self>) -> Option<Rc<dyn Deliver>> {
        deliver(self)
    }
}

impl<T: 'static, C: FnOnce() + 'static> Chain for Source<T, C> {
    fn upstream(&self) -> Option<Rc<dyn Chain>> {
        None
    }

    fn begin_cancel(&self) -> bool {
        if self.core.fired.get() || self.core.cancelled.replace(true) {
            return false;
        }
        if let Some(canceller) = self.canceller.take() {
            canceller();
        }
        !self.core.fired.get()
    }

    fn fail(self: Rc<Self>, failure: Failure) {
        fire(self, Err(failure));
    }
}

/// A node that makes its result from another node's, by a callback.
struct Link<T, U, F> {
    core: Core<U>,
    callback: Cell<Option<F>>,
    /// The node above, or the one whose Deferred the callback returned. `None` while the
    /// callback runs.
    waits_for: Cell<Option<Weak<dyn Chain>>>,
    takes: PhantomData<fn(T)>,
}

impl<T: 'static, U: 'static, F> Node<U> for Link<T, U, F>
where
    F: FnOnce(Result<T, Failure>) -> State<U> + 'static,
{
    fn core(&self) -> &Core<U> {
        &self.core
    }

    fn settle(self: Rc<Self>, result: Result<U, Failure>, direct: u32) -> Option<Rc<dyn Deliver>> {
        settle(self, result, direct)
    }
}

impl<T: 'static, U: 'static, F> Deliver for Link<T, U, F>
where
    F: FnOnce(Result<T, Failure>) -> State<U> + 'static,
{
    fn deliver(self: Rc<Self>) -> Option<Rc<dyn Deliver>> {
        deliver(self)
    }
}

impl<T: 'static, U: 'static, F> Chain for Link<T, U, F>
where
    F: FnOnce(Result<T, Failure>) -> State<U> + 'static,
{
    fn upstream(&self) -> Option<Rc<dyn Chain>> {
        let waits_for = self.waits_for.take();
        let upstream = waits_for.as_ref().and_then(Weak::upgrade);
        self.waits_for.set(waits_for);
        upstream
    }

    fn begin_cancel(&self) -> bool {
        // If it has not fired, its callback is running. What that returns is cancelled then.
        if !self.core.fired.get() {
            self.core.cancelled.set(true);
        }
        false
    }

    fn fail(self: Rc<Self>, failure: Failure) {
        fire(self, Err(failure));
    }
}

impl<T: 'static, U: 'static, F> Sink<T> for Link<T, U, F>
where
    F: FnOnce(Result<T, Failure>) -> State<U> + 'static,
{
    fn receive(self: Rc<Self>, result: Result<T, Failure>, direct: u32) -> Option<Rc<dyn Deliver>> {
        self.waits_for.set(None);
        let callback = self.callback.take()?;
        let running = Running(&self);
        let outcome = callback(result);
        mem::forget(running);
        match outcome {
            State::Fired(result) => settle(self, result, direct),
            State::Pending(inner) => {
                let waits_for: Weak<dyn Node<U>> = Rc::downgrade(&inner);
                self.waits_for.set(Some(waits_for));
                inner.core().then.set(Then::Forward(self.clone()));
                if self.core.cancelled.get() {
                    cancel(inner);
                }
                None
            }
        }
    }
}

/// Stands by while a link's callback runs: if it panics, the chain below is abandoned, not stuck.
struct Running<'a, T: 'static, U: 'static, F>(&'a Rc<Link<T, U, F>>)
where
    F: FnOnce(Result<T, Failure>) -> State<U> + 'static;

impl<T, U, F> Drop for Running<'_, T, U, F>
where
    F: FnOnce(Result<T, Failure>) -> State<U> + 'static,
{
    fn drop(&mut self) {
        let failure = self.0.core.abandoned();
        if let Some(next) = self.0.clone().settle(Err(failure), 0) {
            // The loop that runs this callback goes on with it when it has caught the panic.
            trampoline::queue(next);
        }
    }
}
