//! The semantics of Deferreds, a case a line.
//!
//! In a log, `a1` is callback `a` called with 1, `e:x` errback `e` with failure `x`, `=1` and `!x`
//! how it ended, `?x` a report that nobody handled `x`.

use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ropewalk_core::testing::{Clock, MemoryReactor};
use ropewalk_core::{
    Cancelled, Deferred, DeferredEvent, DeferredList, DeferredLock, DeferredQueue, Failure,
    Resolver, defer_later, gather_results, maybe_deferred, race,
};

use crate::kit::{D, Log, Table, fail};

const SECOND: Duration = Duration::from_secs(1);

fn pair() -> (Resolver<i32>, D) {
    Deferred::pair()
}

fn ok(value: i32) -> D {
    Deferred::succeed(value)
}

fn bad(name: &'static str) -> D {
    Deferred::fail(fail(name))
}

type Slot<T> = Rc<RefCell<Option<T>>>;

/// A place for what a callback needs before it is there.
fn slot<T>() -> (Slot<T>, Slot<T>) {
    let slot = Rc::default();
    (Rc::clone(&slot), slot)
}

fn poll<T>(deferred: &mut Deferred<T>) -> Poll<Result<T, Failure>> {
    Pin::new(deferred).poll(&mut Context::from_waker(Waker::noop()))
}

fn panics(run: impl FnOnce()) -> &'static str {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(()) => "returned",
        Err(_) => "panicked",
    }
}

#[rustfmt::skip]
fn order(t: &mut Table) {
    t.case("a callback gets the value", |l| { let (r, d) = pair(); l.end(d.add_callback::<i32, _>(l.ok("a"))); r.callback(1); }, "a1 =1");
    t.case("nothing runs before it fires", |l| { let (r, d) = pair(); l.end(d.add_callback::<i32, _>(l.ok("a"))); l.say("fire"); r.callback(1); }, "fire a1 =1");
    t.case("callbacks run in the order in which they were added", |l| { let (r, d) = pair(); l.end(d.add_callback::<i32, _>(l.ok("a")).add_callback::<i32, _>(l.ok("b")).add_callback::<i32, _>(l.ok("c"))); r.callback(1); }, "a1 b1 c1 =1");
    t.case("each gets what the one before returned", |l| { let (r, d) = pair(); l.end(d.add_callback::<i32, _>(l.plus("a", 1)).add_callback::<i32, _>(l.plus("b", 10))); r.callback(1); }, "a1 b2 =12");
    t.case("they have run when firing returns", |l| { let (r, d) = pair(); l.end(d.add_callback::<i32, _>(l.ok("a"))); r.callback(1); l.say("returned"); }, "a1 =1 returned");
    t.case("a callback on a fired one runs at once", |l| { let d = ok(1).add_callback::<i32, _>(l.ok("a")); l.say("added"); l.end(d); }, "a1 added =1");
    t.case("one that is added after the firing too", |l| { let (r, d) = pair(); r.callback(1); let d = d.add_callback::<i32, _>(l.ok("a")); l.say("added"); l.end(d); }, "a1 added =1");
    t.case("before and after the firing they are one chain", |l| { let (r, d) = pair(); let d = d.add_callback::<i32, _>(l.plus("a", 1)); r.callback(1); l.end(d.add_callback::<i32, _>(l.plus("b", 1))); }, "a1 b2 =3");
    t.case("an errback is passed by with a value", |l| l.end(ok(1).add_errback(l.heal("e", 9)).add_callback::<i32, _>(l.ok("a"))), "a1 =1");
    t.case("a callback is passed by with a failure", |l| l.end(bad("x").add_callback::<i32, _>(l.ok("a"))), "!x");
    t.case("add_both sees a value", |l| l.end(ok(1).add_both::<bool, _>(|r| r.is_ok())), "=true");
    t.case("add_both sees a failure", |l| l.end(bad("x").add_both::<bool, _>(|r| r.is_ok())), "=false");
    t.case("add_callbacks calls one of the two: value", |l| l.end(ok(1).add_callbacks::<i32, _, _>(l.ok("a"), l.heal("e", 2))), "a1 =1");
    t.case("add_callbacks calls one of the two: failure", |l| l.end(bad("x").add_callbacks::<i32, _, _>(l.ok("a"), l.heal("e", 2))), "e:x =2");
    t.case("two chains fire in the order of their firing", |l| { let ((r, d), (s, f)) = (pair(), pair()); l.end(d.add_callback::<i32, _>(l.ok("a"))); l.end(f.add_callback::<i32, _>(l.ok("b"))); s.callback(2); r.callback(1); }, "b2 =2 a1 =1");
    t.case("succeed has fired", |l| l.say(ok(1).is_fired()), "true");
    t.case("fail has fired", |l| { let d = bad("x"); l.say(d.is_fired()); l.end(d); }, "true !x");
    t.case("a link is pending as long as its source", |l| { let (r, d) = pair(); let d = d.add_callback::<i32, _>(l.ok("a")); l.say(d.is_fired()); r.callback(1); l.say(d.is_fired()); }, "false a1 true");
    t.case("fire takes a result of either kind", |l| { let ((r, d), (s, f)) = (pair(), pair()); l.end(d); l.end(f); r.fire(Ok(1)); s.fire(Err(fail("x"))); }, "=1 !x");
    t.case("a link may change the type", |l| l.end(ok(7).add_callback::<String, _>(|n| n.to_string())), "=\"7\"");
}

#[rustfmt::skip]
fn errors(t: &mut Table) {
    t.case("a failure goes to the errback", |l| { let (r, d) = pair(); l.end(d.add_errback(l.heal("e", 2))); r.errback(fail("x")); }, "e:x =2");
    t.case("an error that a callback returns goes to the next errback", |l| l.end(ok(1).add_callback::<i32, _>(l.fails("a")).add_errback(l.heal("e", 2))), "a1 e:a =2");
    t.case("and not to one before it", |l| l.end(ok(1).add_errback(l.heal("e", 2)).add_callback::<i32, _>(l.fails("a"))), "a1 !a");
    t.case("and not to the errback of the same link", |l| l.end(ok(1).add_callbacks::<i32, _, _>(l.fails("a"), l.heal("e", 2))), "a1 !a");
    t.case("an errback's value goes to the next callback", |l| l.end(bad("x").add_errback(l.heal("e", 2)).add_callback::<i32, _>(l.ok("a"))), "e:x a2 =2");
    t.case("an errback may pass the failure on", |l| l.end(bad("x").add_errback(l.err("e")).add_errback(l.heal("f", 2))), "e:x f:x =2");
    t.case("an errback may fail with another", |l| l.end(bad("x").add_errback(|_| Err::<i32, _>(fail("y")))), "!y");
    t.case("after an errback healed it the next errback is passed by", |l| l.end(bad("x").add_errback(l.heal("e", 2)).add_errback(l.heal("f", 3))), "e:x =2");
    t.case("failure and recovery may alternate", |l| l.end(ok(1).add_callback::<i32, _>(l.fails("a")).add_errback(l.heal("e", 2)).add_callback::<i32, _>(l.fails("b")).add_errback(l.heal("f", 3))), "a1 e:a b2 f:b =3");
    t.case("trap lets others pass", |l| l.end(bad("x").add_errback(|f| { f.trap::<Cancelled>()?; Ok::<_, Failure>(1) })), "!x");
    t.case("trap takes its own", |l| l.end(D::fail(Cancelled).add_errback(|f| { f.trap::<Cancelled>()?; Ok::<_, Failure>(1) })), "=1");
    t.case("context says what was being done", |l| l.end(bad("x").add_errback(|f| Err::<i32, _>(f.context("doing")))), "!doing: x");
    t.case("convert gives the next layer's error", |l| l.end(D::from("x".parse::<i32>().map_err(Failure::from)).add_errback(|f| Err::<i32, _>(f.convert(|_: &std::num::ParseIntError| std::fmt::Error)))), "!an error occurred when formatting an argument: invalid digit found in string");
    t.case("a panic unwinds to who fired", |l| { let (r, d) = pair(); l.end(d.add_callback::<i32, _>(|_| -> i32 { resume_unwind(Box::new(1)) })); l.say(panics(|| r.callback(1))); }, "!abandoned panicked");
    t.case("what follows a panic is abandoned", |l| { let (r, d) = pair(); l.end(d.add_callback::<i32, _>(|_| -> i32 { resume_unwind(Box::new(1)) }).add_callback::<i32, _>(l.ok("a")).add_errback(l.heal("e", 2))); l.say(panics(|| r.callback(1))); }, "e:abandoned =2 panicked");
    t.case("a panic in a callback on a fired one unwinds to who added it", |l| { l.say(panics(|| drop(ok(1).add_callback::<i32, _>(|_| -> i32 { resume_unwind(Box::new(1)) })))); }, "panicked");
    t.case("a dropped resolver abandons", |l| { let (r, d) = pair(); l.end(d); drop(r); }, "!abandoned");
    t.case("a failure that nobody handles is reported", |_| drop(bad("x")), "?x");
    t.case("and when it comes after the drop", |_| { let (r, d) = pair(); drop(d); r.errback(fail("x")); }, "?x");
    t.case("once, at the end of a chain", |l| { let (r, d) = pair(); drop(d.add_callback::<i32, _>(l.ok("a")).add_callback::<i32, _>(l.ok("b"))); r.errback(fail("x")); }, "?x");
    t.case("not when it was handled", |l| drop(bad("x").add_errback(l.heal("e", 1))), "e:x");
    t.case("a failure in an errback is reported too", |l| drop(bad("x").add_errback(l.err("e"))), "e:x ?x");
    t.case("a cancellation is not", |_| { let (_r, d) = pair(); d.cancel(); drop(d); }, "");
    t.case("an abandoned one that nobody waits for is reported", |_| { let (r, d) = pair(); drop(d); drop(r); }, "?abandoned");
}

#[rustfmt::skip]
fn nesting(t: &mut Table) {
    t.case("a returned Deferred is waited for", |l| { let ((r, d), (s, inner)) = (pair(), pair()); l.end(d.add_callback::<i32, _>(l.gives("a", inner))); r.callback(1); l.say("wait"); s.callback(2); }, "a1 wait =2");
    t.case("one that has fired is not", |l| l.end(ok(1).add_callback::<i32, _>(l.gives("a", ok(2))).add_callback::<i32, _>(l.ok("b"))), "a1 b2 =2");
    t.case("one that fired before it was returned is not", |l| { let (s, inner) = pair(); s.callback(2); l.end(ok(1).add_callback::<i32, _>(l.gives("a", inner))); }, "a1 =2");
    t.case("its failure goes to the errback", |l| { let (s, inner) = pair(); l.end(ok(1).add_callback::<i32, _>(l.gives("a", inner)).add_errback(l.heal("e", 3))); s.errback(fail("x")); }, "a1 e:x =3");
    t.case("its own callbacks run first", |l| { let (s, inner) = pair(); l.end(ok(1).add_callback::<i32, _>(l.gives("a", inner.add_callback::<i32, _>(l.plus("i", 1)))).add_callback::<i32, _>(l.ok("b"))); s.callback(2); }, "a1 i2 b3 =3");
    t.case("an errback may return one", |l| { let (s, inner) = pair(); l.end(bad("x").add_errback(move |_| inner)); l.say("wait"); s.callback(2); }, "wait =2");
    t.case("add_both may return one", |l| { let (s, inner) = pair(); l.end(bad("x").add_both::<i32, _>(move |_| inner)); s.callback(2); }, "=2");
    t.case("three deep", |l| { let ((r, a), (s, b), (u, c)) = (pair(), pair(), pair()); l.end(ok(0).add_callback::<i32, _>(move |_| a.add_callback::<i32, _>(move |_| b.add_callback::<i32, _>(move |_| c)))); r.callback(1); s.callback(2); l.say("wait"); u.callback(3); }, "wait =3");
    t.case("three deep, fired from the inside out", |l| { let ((r, a), (s, b), (u, c)) = (pair(), pair(), pair()); l.end(ok(0).add_callback::<i32, _>(move |_| a.add_callback::<i32, _>(move |_| b.add_callback::<i32, _>(move |_| c)))); u.callback(3); s.callback(2); l.say("wait"); r.callback(1); }, "wait =3");
    t.case("callbacks after it wait too", |l| { let (s, inner) = pair(); l.end(ok(1).add_callback::<i32, _>(l.gives("a", inner)).add_callback::<i32, _>(l.ok("b"))); l.say("wait"); s.callback(2); }, "a1 wait b2 =2");
    t.case("one that is dropped abandons who waits", |l| { let (s, inner) = pair(); l.end(ok(1).add_callback::<i32, _>(l.gives("a", inner))); drop(s); }, "a1 !abandoned");
    t.case("two in a row are waited for in a row", |l| { let ((s, b), (u, c)) = (pair(), pair()); l.end(ok(1).add_callback::<i32, _>(l.gives("a", b)).add_callback::<i32, _>(l.gives("b", c))); s.callback(2); l.say("wait"); u.callback(3); }, "a1 b2 wait =3");
    t.case("maybe_deferred takes a value", |l| l.end(maybe_deferred::<i32, _>(|| 1)), "=1");
    t.case("maybe_deferred takes a result", |l| l.end(maybe_deferred::<i32, _>(|| Err::<i32, _>(fail("x")))), "!x");
    t.case("maybe_deferred takes a Deferred", |l| { let (r, d) = pair(); l.end(maybe_deferred::<i32, _>(|| d)); r.callback(1); }, "=1");
    t.case("maybe_deferred lets a panic be one", |l| l.say(panics(|| drop(maybe_deferred::<i32, i32>(|| resume_unwind(Box::new(1)))))), "panicked");
}

#[rustfmt::skip]
fn cancellation(t: &mut Table) {
    t.case("cancelling fails it", |l| { let (_r, d) = pair(); d.cancel(); l.end(d); }, "!cancelled");
    t.case("cancelling runs the canceller first", |l| { let (_r, d) = l.source("stop"); let d = d.add_errback(l.err("e")); d.cancel(); l.end(d); }, "stop e:cancelled !cancelled");
    t.case("once", |l| { let (_r, d) = l.source("stop"); d.cancel(); d.cancel(); l.end(d); }, "stop !cancelled");
    t.case("not when it has fired", |l| { let (r, d) = l.source("stop"); r.callback(1); d.cancel(); l.end(d); }, "=1");
    t.case("from the end of a chain it reaches the source", |l| { let (_r, d) = l.source("stop"); let d = d.add_callback::<i32, _>(l.ok("a")).add_callback::<i32, _>(l.ok("b")); d.cancel(); l.end(d); }, "stop !cancelled");
    t.case("it comes down the chain like any failure", |l| { let (_r, d) = pair(); let d = d.add_callback::<i32, _>(l.ok("a")).add_errback(l.heal("e", 2)).add_callback::<i32, _>(l.ok("b")); d.cancel(); l.end(d); }, "e:cancelled b2 =2");
    t.case("the canceller may fire a value", |l| { let (put, slot) = slot::<Resolver<i32>>(); let (r, d) = Deferred::with_canceller(move || slot.take().unwrap().callback(3)); put.replace(Some(r)); d.cancel(); l.end(d); }, "=3");
    t.case("the canceller may fire another failure", |l| { let (put, slot) = slot::<Resolver<i32>>(); let (r, d) = Deferred::with_canceller(move || slot.take().unwrap().errback(fail("x"))); put.replace(Some(r)); d.cancel(); l.end(d); }, "!x");
    t.case("a canceller that drops the resolver cancels", |l| { let (put, slot) = slot::<Resolver<i32>>(); let (r, d) = Deferred::with_canceller(move || drop(slot.take())); put.replace(Some(r)); d.cancel(); l.end(d); }, "!cancelled");
    t.case("firing after it is ignored", |l| { let (r, d) = pair(); d.cancel(); r.callback(1); l.end(d); }, "!cancelled");
    t.case("failing after it is ignored, and not reported", |l| { let (r, d) = pair(); d.cancel(); r.errback(fail("x")); l.end(d); }, "!cancelled");
    t.case("the resolver knows", |l| { let (r, d) = pair(); l.say(r.is_cancelled()); d.cancel(); l.say(r.is_cancelled()); }, "false true");
    t.case("it reaches the Deferred that a callback returned", |l| { let (_s, inner) = l.source("inner"); let (r, d) = l.source("outer"); let d = d.add_callback::<i32, _>(move |_| inner); r.callback(1); d.cancel(); l.end(d); }, "inner !cancelled");
    t.case("three deep it reaches the innermost", |l| { let (_s, c) = l.source("c"); let d = ok(0).add_callback::<i32, _>(move |_| ok(1).add_callback::<i32, _>(move |_| c)); d.cancel(); l.end(d); }, "c !cancelled");
    t.case("while a callback runs, what it will return is cancelled", |l| { let (put, slot) = slot::<D>(); let (_s, inner) = l.source("inner"); let (r, d) = pair(); put.replace(Some(d.add_callback::<i32, _>(move |_| { slot.borrow().as_ref().unwrap().cancel(); inner }))); r.callback(1); l.end(put.take().unwrap()); }, "inner !cancelled");
    t.case("while a callback runs that returns a value, nothing is cancelled", |l| { let (put, slot) = slot::<D>(); let (r, d) = pair(); put.replace(Some(d.add_callback::<i32, _>(move |n| { slot.borrow().as_ref().unwrap().cancel(); n }))); r.callback(1); l.end(put.take().unwrap()); }, "=1");
    t.case("an errback may take a cancelled one up again", |l| { let ((_r, d), (s, again)) = (pair(), pair()); let d = d.add_errback(move |_| again); d.cancel(); l.say(d.is_fired()); s.callback(2); l.end(d); }, "false =2");
    t.case("then it can be cancelled again", |l| { let ((_r, d), (_s, again)) = (l.source("one"), l.source("two")); let d = d.add_errback(move |_| again); d.cancel(); d.cancel(); l.end(d); }, "one two !cancelled");
    t.case("a panic of the canceller still cancels", |l| { let (_r, d) = Deferred::<i32>::with_canceller(|| resume_unwind(Box::new(1))); l.say(panics(|| d.cancel())); l.end(d); }, "panicked !cancelled");
    t.case("dropping a pending one does not cancel it", |l| { let (r, d) = l.source("stop"); drop(d.add_callback::<i32, _>(l.ok("a"))); r.callback(1); }, "a1");
    t.case("dropping an awaited one cancels it", |l| { let (_r, mut d) = l.source("stop"); assert!(poll(&mut d).is_pending()); drop(d); l.say("gone"); }, "stop gone");
    t.case("dropping an awaited link cancels its source", |l| { let (_r, d) = l.source("stop"); let mut d = d.add_errback(l.err("e")); assert!(poll(&mut d).is_pending()); drop(d); }, "stop e:cancelled");
    t.case("dropping an awaited one that has fired does not", |l| { let (r, mut d) = l.source("stop"); assert!(poll(&mut d).is_pending()); r.callback(1); drop(d); }, "");
    t.case("a link added after a poll takes the waiting away", |l| { let (r, mut d) = l.source("stop"); assert!(poll(&mut d).is_pending()); drop(d.add_callback::<i32, _>(l.ok("a"))); r.callback(1); }, "a1");
    t.case("cancelling a Deferred drops its future", |l| { let m = MemoryReactor::new(); let (_r, inner) = l.source("inner"); let d = D::from_future(&*m, inner); m.run(); d.cancel(); l.end(d); }, "inner !cancelled");
    t.case("a future that was not polled yet is dropped as well", |l| { let m = MemoryReactor::new(); let d = D::from_future(&*m, async { 1 }); d.cancel(); m.run(); l.end(d); }, "!cancelled");
    t.case("cancelling reaches a Deferred that the future returned", |l| { let m = MemoryReactor::new(); let (_r, inner) = l.source("inner"); let d = D::from_future(&*m, std::future::ready(inner)); m.run(); d.cancel(); l.end(d); }, "inner !cancelled");
}

#[rustfmt::skip]
fn reentrancy(t: &mut Table) {
    t.case("a callback may fire another", |l| { let ((r, d), (s, f)) = (pair(), pair()); l.end(f.add_callback::<i32, _>(l.ok("b"))); let log = l.clone(); l.end(d.add_callback::<i32, _>(move |n| { log.say("a"); s.callback(n + 1); log.say("z"); n })); r.callback(1); }, "a b2 =2 z =1");
    t.case("a callback may add a callback to another that has fired", |l| { let log = l.clone(); l.end(ok(1).add_callback::<i32, _>(move |n| { log.end(ok(7)); n })); }, "=7 =1");
    t.case("a callback may cancel another", |l| { let (_s, f) = l.source("stop"); let log = l.clone(); l.end(ok(1).add_callback::<i32, _>(move |n| { f.cancel(); log.end(f); n })); }, "stop !cancelled =1");
    t.case("a callback may drop a resolver", |l| { let (s, f) = pair(); l.end(f); l.end(ok(1).add_callback::<i32, _>(move |n| { drop(s); n })); }, "!abandoned =1");
    t.case("a callback may return the chain that it fires", |l| { let (s, f) = pair(); l.end(ok(1).add_callback::<i32, _>(move |n| { s.callback(n + 1); f })); }, "=2");
    t.case("a canceller may cancel another", |l| { let (_s, f) = l.source("two"); let (_r, d) = Deferred::<i32>::with_canceller(move || f.cancel()); d.cancel(); l.end(d); }, "two !cancelled");
    t.case("an errback may make a new one of the same kind", |l| { let log = l.clone(); l.end(bad("x").add_errback(move |_| ok(5).add_callback::<i32, _>(log.ok("n")))); }, "n5 =5");
    t.case("what a callback holds is dropped when it has run", |l| { struct Held(Log); impl Drop for Held { fn drop(&mut self) { self.0.say("dropped"); } } let held = Held(l.clone()); let log = l.clone(); l.end(ok(1).add_callback::<i32, _>(move |n| { let _h = &held; log.say("ran"); n })); }, "ran dropped =1");
    t.case("forty firings inside each other all end before the outermost returns", |l| { let (first, mut d) = pair(); for _ in 0..40 { let (r, next) = pair(); drop(d.add_callback::<(), _>(move |n| r.callback(n + 1))); d = next; } l.end(d); first.callback(0); l.say("returned"); }, "=40 returned");
}

#[rustfmt::skip]
fn pause_and_chain(t: &mut Table) {
    t.case("paused before it fires, it is held back", |l| { let (r, d) = pair(); let (p, d) = d.pause(); l.end(d); r.callback(1); l.say("held"); p.unpause(); }, "held =1");
    t.case("paused when it has fired, it is held back", |l| { let (p, d) = ok(1).pause(); l.end(d); l.say("held"); p.unpause(); }, "held =1");
    t.case("unpaused before it fires, nothing is held back", |l| { let (r, d) = pair(); let (p, d) = d.pause(); l.end(d); p.unpause(); l.say("on"); r.callback(1); }, "on =1");
    t.case("what was added before the pause runs", |l| { let (r, d) = pair(); let (p, d) = d.add_callback::<i32, _>(l.ok("a")).pause(); l.end(d.add_callback::<i32, _>(l.ok("b"))); r.callback(1); l.say("held"); p.unpause(); }, "a1 held b1 =1");
    t.case("a failure is held back", |l| { let (p, d) = bad("x").pause(); l.end(d); l.say("held"); p.unpause(); }, "held !x");
    t.case("two pauses need two ends", |l| { let (p, d) = ok(1).pause(); let (q, d) = d.pause(); l.end(d); p.unpause(); l.say("held"); q.unpause(); }, "held =1");
    t.case("in either order", |l| { let (p, d) = ok(1).pause(); let (q, d) = d.pause(); l.end(d); q.unpause(); l.say("held"); p.unpause(); }, "held =1");
    t.case("dropping the pause ends it", |l| { let (p, d) = ok(1).pause(); l.end(d); drop(p); }, "=1");
    t.case("cancelling a paused one cancels its source, and holds that back", |l| { let (_r, d) = l.source("stop"); let (p, d) = d.pause(); d.cancel(); l.say(d.is_fired()); p.unpause(); l.end(d); }, "stop false !cancelled");
    t.case("cancelling a paused one that has fired throws the value away", |l| { let (p, d) = ok(1).pause(); d.cancel(); l.end(d); p.unpause(); }, "!cancelled");
    t.case("a chained one gets the value", |l| { let ((r, d), (s, f)) = (pair(), pair()); l.end(f.add_callback::<i32, _>(l.ok("a"))); d.chain_deferred(s); r.callback(1); }, "a1 =1");
    t.case("a chained one gets the failure", |l| { let (s, f) = pair(); l.end(f); bad("x").chain_deferred(s); }, "!x");
    t.case("cancelling a chained one leaves its source", |l| { let ((r, d), (s, f)) = (l.source("one"), l.source("two")); d.chain_deferred(s); f.cancel(); l.end(f); r.callback(1); }, "two !cancelled");
    t.case("a chain over three", |l| { let ((r, a), (s, b), (u, c)) = (pair(), pair(), pair()); a.chain_deferred(s); b.add_callback::<i32, _>(l.plus("b", 1)).chain_deferred(u); l.end(c); r.callback(1); }, "b1 =2");
}

#[rustfmt::skip]
fn several(t: &mut Table) {
    let results = |l: &Log, d: Deferred<Vec<Result<i32, Failure>>>| l.end(d.add_callback::<String, _>(|all| all.iter().map(|r| match r { Ok(n) => format!("{n}"), Err(f) => crate::kit::words(f) }).collect::<Vec<_>>().join(",")));
    t.case("a list has all results in the order of the Deferreds", |l| { let ((r, a), (s, b)) = (pair(), pair()); results(l, DeferredList::new([a, b, ok(3)]).all()); s.callback(2); r.callback(1); }, "=\"1,2,3\"");
    t.case("a list of none fires at once", |l| results(l, DeferredList::new([]).all()), "=\"\"");
    t.case("a list waits for the last", |l| { let (r, a) = pair(); let d = DeferredList::new([a, ok(2)]).all(); l.say(d.is_fired()); r.callback(1); l.say(d.is_fired()); results(l, d); }, "false true =\"1,2\"");
    t.case("a list has failures among its results", |l| results(l, DeferredList::new([ok(1), bad("x"), ok(3)]).all()), "=\"1,x,3\"");
    t.case("failures in the results are not reported", |l| results(l, DeferredList::new([bad("x"), bad("y")]).all()), "=\"x,y\"");
    t.case("fire_on_one_errback: the first failure ends it", |l| { let ((r, a), (s, b)) = (pair(), pair()); results(l, DeferredList::new([a, b]).fire_on_one_errback().all()); s.errback(fail("x")); r.callback(1); }, "!first[1]:x");
    t.case("fire_on_one_errback: without one it is a list", |l| results(l, DeferredList::new([ok(1), ok(2)]).fire_on_one_errback().all()), "=\"1,2\"");
    t.case("a failure after the end is reported", |l| { let (r, a) = pair(); results(l, DeferredList::new([a, bad("x")]).fire_on_one_errback().all()); r.errback(fail("y")); }, "!first[1]:x ?y");
    t.case("consume_errors forgets it", |l| { let (r, a) = pair(); results(l, DeferredList::new([a, bad("x")]).fire_on_one_errback().consume_errors().all()); r.errback(fail("y")); }, "!first[1]:x");
    t.case("fire_on_one_callback: the first value and its index", |l| { let ((r, a), (s, b)) = (pair(), pair()); l.end(DeferredList::new([a, b]).fire_on_one_callback()); s.callback(2); r.callback(1); }, "=(1, 2)");
    t.case("fire_on_one_callback: the others go on", |l| { let ((r, a), (s, b)) = (l.source("a"), l.source("b")); l.end(DeferredList::new([a.add_callback::<i32, _>(l.ok("a")), b]).fire_on_one_callback()); s.callback(2); r.callback(1); }, "=(1, 2) a1");
    t.case("fire_on_one_callback: when all fail, so does it", |l| l.end(DeferredList::new([bad("x"), bad("y")]).fire_on_one_callback()), "!group[x,y]");
    t.case("both: the first of either kind", |l| { let (_r, a) = pair(); l.end(DeferredList::new([a, bad("x"), ok(3)]).fire_on_one_errback().fire_on_one_callback()); }, "!first[1]:x ?abandoned");
    t.case("cancelling a list cancels each, and gives their results", |l| { let ((_r, a), (_s, b)) = (l.source("a"), l.source("b")); let d = DeferredList::new([a, b, ok(3)]).all(); d.cancel(); results(l, d); }, "a b =\"cancelled,cancelled,3\"");
    t.case("cancelling one that has fired does nothing", |l| { let d = DeferredList::new([ok(1)]).all(); d.cancel(); results(l, d); }, "=\"1\"");
    t.case("a list in a list", |l| { let (r, a) = pair(); let inner = DeferredList::new([a, ok(2)]).all().add_callback::<i32, _>(|all| i32::try_from(all.len()).unwrap()); results(l, DeferredList::new([inner, ok(7)]).all()); r.callback(1); }, "=\"2,7\"");
    t.case("gather gives the values", |l| { let (r, a) = pair(); l.end(gather_results(vec![a, ok(2)])); r.callback(1); }, "=[1, 2]");
    t.case("gather of none", |l| l.end(gather_results(Vec::<D>::new())), "=[]");
    t.case("gather of an array", |l| l.end(gather_results([ok(1), ok(2)])), "=[1, 2]");
    t.case("gather of a tuple of types", |l| { let (r, a) = Deferred::<&str>::pair(); l.end(gather_results((a, ok(2), Deferred::succeed('c')))); r.callback("a"); }, "=(\"a\", 2, 'c')");
    t.case("gather fails with the first failure", |l| { let ((r, a), (s, b)) = (pair(), pair()); l.end(gather_results((a, b, ok(3)))); s.errback(fail("x")); drop(r); }, "!first[1]:x ?abandoned");
    t.case("gather leaves the others alone", |l| { let (r, a) = l.source("stop"); l.end(gather_results([a.add_callback::<i32, _>(l.ok("a")), bad("x")])); r.callback(1); }, "!first[1]:x a1");
    t.case("gather consumes errors where it is told to", |l| { let (r, a) = pair(); l.end(DeferredList::new([a, bad("x")]).consume_errors().gather_results()); r.errback(fail("y")); }, "!first[1]:x");
    t.case("cancelling a gathering cancels each", |l| { let ((_r, a), (_s, b)) = (l.source("a"), l.source("b")); let d = gather_results((a, b)); d.cancel(); l.end(d); }, "a b !first[0]:cancelled");
    t.case("a gathering in a gathering", |l| { let (r, a) = pair(); l.end(gather_results((gather_results([a, ok(2)]), ok(3)))); r.callback(1); }, "=([1, 2], 3)");
    t.case("a race gives the first value and its index", |l| { let ((_r, a), (s, b)) = (pair(), pair()); l.end(race([a, b])); s.callback(2); }, "=(1, 2)");
    t.case("a race cancels the losers", |l| { let ((_r, a), (s, b), (_u, c)) = (l.source("a"), l.source("b"), l.source("c")); l.end(race([a, b, c])); s.callback(2); }, "=(1, 2) a c");
    t.case("a race that is decided at once cancels the others", |l| { let (_r, a) = l.source("a"); l.end(race([ok(1), a])); }, "a =(0, 1)");
    t.case("a failure does not decide it", |l| { let (r, a) = pair(); l.end(race([bad("x"), a])); r.callback(1); }, "=(1, 1)");
    t.case("a race that all fail fails with all failures", |l| { let (r, a) = pair(); l.end(race([a, bad("y")])); r.errback(fail("x")); }, "!group[x,y]");
    t.case("a race of none fails", |l| l.end(race(Vec::<D>::new())), "!group[]");
    t.case("what losers still say is forgotten", |l| { let ((r, a), (s, b)) = (pair(), pair()); l.end(race([a.add_errback(|_| Err::<i32, _>(fail("late"))), b])); s.callback(2); drop(r); }, "=(1, 2)");
    t.case("cancelling a race cancels all", |l| { let ((_r, a), (_s, b)) = (l.source("a"), l.source("b")); let d = race([a, b]); d.cancel(); l.end(d); }, "a b !cancelled");
    t.case("a loser that wins as it is cancelled is too late", |l| { let (put, slot) = slot::<Resolver<i32>>(); let (r, a) = Deferred::with_canceller(move || slot.take().unwrap().callback(9)); put.replace(Some(r)); let (s, b) = pair(); l.end(race([a, b])); s.callback(2); }, "=(1, 2)");
    t.case("a race whose winner has a callback that panics cancels the others", |l| { let (r, one) = pair(); let (_two, two) = l.source("stop"); drop(race([one, two]).add_callback::<(), _>(|_| -> () { resume_unwind(Box::new(1)) }).add_errback(|_| ())); l.say(panics(|| r.callback(1))); }, "stop ?abandoned panicked");
}

#[rustfmt::skip]
fn time_and_turns(t: &mut Table) {
    t.case("a timeout cancels and says so", |l| { let c = Clock::new(); let (_r, d) = l.source("stop"); l.end(d.add_timeout(SECOND, &c)); c.advance(SECOND); }, "stop !timed-out");
    t.case("a result in time takes the timer away", |l| { let c = Clock::new(); let (r, d) = pair(); l.end(d.add_timeout(SECOND, &c)); r.callback(1); l.say(c.pending()); }, "=1 0");
    t.case("a failure in time is itself", |l| { let c = Clock::new(); let (r, d) = pair(); l.end(d.add_timeout(SECOND, &c)); r.errback(fail("x")); l.say(c.pending()); }, "!x 0");
    t.case("cancelling before the time is a cancellation", |l| { let c = Clock::new(); let (_r, d) = l.source("stop"); let d = d.add_timeout(SECOND, &c); d.cancel(); l.end(d); l.say(c.pending()); }, "stop !cancelled 0");
    t.case("one that has fired needs no timer", |l| { let c = Clock::new(); l.end(ok(1).add_timeout(SECOND, &c)); l.say(c.pending()); }, "=1 0");
    t.case("the shorter of two timeouts counts", |l| { let c = Clock::new(); let (_r, d) = l.source("stop"); l.end(d.add_timeout(3 * SECOND, &c).add_timeout(SECOND, &c)); c.advance(SECOND); l.say(c.pending()); }, "stop !timed-out 0");
    t.case("a canceller that fires in the timeout decides", |l| { let c = Clock::new(); let (put, slot) = slot::<Resolver<i32>>(); let (r, d) = Deferred::with_canceller(move || slot.take().unwrap().callback(3)); put.replace(Some(r)); l.end(d.add_timeout(SECOND, &c)); c.advance(SECOND); }, "=3");
    t.case("an errback above the timeout may heal it", |l| { let c = Clock::new(); let (_r, d) = pair(); l.end(d.add_errback(l.heal("e", 2)).add_timeout(SECOND, &c)); c.advance(SECOND); }, "e:cancelled =2");
    t.case("a timeout reaches what a callback returned", |l| { let c = Clock::new(); let (_s, inner) = l.source("inner"); l.end(ok(1).add_callback::<i32, _>(move |_| inner).add_timeout(SECOND, &c)); c.advance(SECOND); }, "inner !timed-out");
    t.case("callbacks after a timeout see it", |l| { let c = Clock::new(); let (_r, d) = pair(); l.end(d.add_timeout(SECOND, &c).add_callback::<i32, _>(l.ok("a")).add_errback(l.heal("e", 2))); c.advance(SECOND); }, "e:timed-out =2");
    t.case("defer_later fires later", |l| { let c = Clock::new(); l.end(defer_later::<i32, _>(&c, SECOND, || 1)); l.say("wait"); c.advance(SECOND); }, "wait =1");
    t.case("defer_later may fail", |l| { let c = Clock::new(); l.end(defer_later::<i32, _>(&c, SECOND, || Err::<i32, _>(fail("x")))); c.advance(SECOND); }, "!x");
    t.case("defer_later is cancelled with its timer", |l| { let c = Clock::new(); let d = defer_later::<i32, _>(&c, SECOND, || 1); d.cancel(); l.end(d); l.say(c.pending()); }, "!cancelled 0");
    t.case("defer_later waits for what it calls", |l| { let c = Clock::new(); let (r, d) = pair(); l.end(defer_later::<i32, _>(&c, SECOND, || d)); c.advance(SECOND); l.say("wait"); r.callback(1); }, "wait =1");
    t.case("a lock lets one in after the other", |l| { let k = DeferredLock::new(); let (r, d) = pair(); let log = l.clone(); l.end(k.run::<i32, _>(move || { log.say("one"); d })); let log = l.clone(); l.end(k.run::<i32, _>(move || { log.say("two"); 2 })); r.callback(1); }, "one two =2 =1");
    t.case("a failure unlocks", |l| { let k = DeferredLock::new(); l.end(k.run::<i32, _>(|| Err::<i32, _>(fail("x")))); l.say(k.is_locked()); }, "!x false");
    t.case("a panic unlocks", |l| { let k = DeferredLock::new(); l.say(panics(|| drop(k.run::<i32, i32>(|| resume_unwind(Box::new(1)))))); l.say(k.is_locked()); }, "panicked false");
    t.case("cancelling a waiter leaves the lock to the next", |l| { let k = DeferredLock::new(); let held = k.acquire(); let two = k.acquire(); l.end(k.run::<i32, _>(|| 3)); two.cancel(); l.say(k.waiting()); drop(two); drop(held); }, "1 =3");
    t.case("cancelling what runs under the lock unlocks", |l| { let k = DeferredLock::new(); let (_r, d) = l.source("stop"); let d = k.run::<i32, _>(|| d); d.cancel(); l.say(k.is_locked()); l.end(d); }, "stop false !cancelled");
    t.case("a waiter that was dropped passes the lock on", |l| { let k = DeferredLock::new(); let held = k.acquire(); drop(k.acquire()); l.end(k.run::<i32, _>(|| 3)); drop(held); }, "=3");
    t.case("too many waiters are refused", |l| { let k = DeferredLock::with_max_waiters(1); let _held = k.acquire(); let _one = k.acquire(); l.end(k.run::<i32, _>(|| 3)); }, "!1 are waiting already, which is the limit: turn work away, or raise it by with_max_waiters");
    t.case("a queue gives in the order of putting", |l| { let q = DeferredQueue::new(2, 2); q.put(1).unwrap(); q.put(2).unwrap(); l.end(q.get()); l.end(q.get()); }, "=1 =2");
    t.case("takers get in the order of asking", |l| { let q = DeferredQueue::new(2, 2); l.end(q.get().add_callback::<i32, _>(l.ok("a"))); l.end(q.get().add_callback::<i32, _>(l.ok("b"))); q.put(1).unwrap(); q.put(2).unwrap(); }, "a1 =1 b2 =2");
    t.case("a full queue refuses", |l| { let q = DeferredQueue::new(1, 1); q.put(1).unwrap(); l.say(q.put(2).unwrap_err()); }, "the queue holds 1 already, which is its size: make less, or wait for its takers");
    t.case("too many takers are refused", |l| { let q = DeferredQueue::<i32>::new(1, 1); let one = q.get(); l.end(q.get()); one.cancel(); }, "!1 are waiting for the queue already, which is its backlog: wait for those first");
    t.case("a cancelled taker takes nothing", |l| { let q = DeferredQueue::new(1, 2); let one = q.get(); l.end(q.get()); one.cancel(); q.put(1).unwrap(); drop(one); }, "=1");
    t.case("a callback may put into the queue that it took from", |l| { let q = DeferredQueue::new(1, 2); let again = q.clone(); l.end(q.get().add_callback::<i32, _>(move |n| { again.put(n + 1).unwrap(); n })); l.end(q.get()); q.put(1).unwrap(); }, "=1 =2");
    t.case("an event lets all go in order", |l| { let e = DeferredEvent::new(); l.end(e.wait().add_callback::<i32, _>(|()| 1)); l.end(e.wait().add_callback::<i32, _>(|()| 2)); e.set(); }, "=1 =2");
    t.case("an event that is set is not waited for", |l| { let e = DeferredEvent::new(); e.set(); l.end(e.wait()); e.clear(); let w = e.wait(); l.say(w.is_fired()); w.cancel(); }, "=() false");
    t.case("who waits again in a callback that clears it waits", |l| { let e = DeferredEvent::new(); let (again, log) = (e.clone(), l.clone()); drop(e.wait().add_callback::<(), _>(move |()| { again.clear(); log.end(again.wait()); })); l.end(e.wait().add_callback::<i32, _>(|()| 2)); e.set(); l.say("cleared"); e.set(); }, "=2 cleared =()");
}

#[test]
fn each_case_of_the_table_holds() {
    let mut table = Table::default();
    for group in [
        order,
        errors,
        nesting,
        cancellation,
        reentrancy,
        pause_and_chain,
        several,
        time_and_turns,
    ] {
        group(&mut table);
    }
    assert!(table.count >= 120, "{} cases", table.count);
    table.finish();
}
