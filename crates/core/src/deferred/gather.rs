//! The values of several Deferreds, or the first failure.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::rc::Rc;

use super::Deferred;
use super::join::{Joining, Manner, first_error, slots};

/// Going on when one failed, and reporting what fails after that, as Twisted does.
const GATHER: Manner = Manner {
    cancel_rest: false,
    consume_errors: false,
    outlives_cancel: true,
};

/// Waits for several Deferreds: a tuple of up to eight of any types, a `Vec` or an array of one
/// type. Gives their values in the same form.
///
/// The first failure ends it, with a [`FirstError`](super::FirstError). The others go on: cancel
/// what this gave to stop all of them. A failure after the first is reported;
/// [`DeferredList::consume_errors`](super::DeferredList::consume_errors) forgets it instead.
///
/// ```
/// use ropewalk_core::{Deferred, gather_results};
///
/// let (resolver, name) = Deferred::<&str>::pair();
/// let both = gather_results((name, Deferred::succeed(80)));
/// resolver.callback("example.com");
/// # let both: Deferred<()> =
/// both.add_callback(|(name, port)| assert_eq!((name, port), ("example.com", 80)));
/// # assert!(both.is_fired());
/// ```
#[track_caller]
pub fn gather_results<G: Gather>(deferreds: G) -> Deferred<G::Values> {
    deferreds.gather()
}

/// What [`gather_results`] takes.
pub trait Gather {
    /// The values, in the same form.
    type Values;

    /// See [`gather_results`].
    #[track_caller]
    fn gather(self) -> Deferred<Self::Values>;
}

impl<T: 'static> Gather for Vec<Deferred<T>> {
    type Values = Vec<T>;

    #[track_caller]
    fn gather(self) -> Deferred<Vec<T>> {
        values(self, GATHER)
    }
}

impl<T: 'static, const N: usize> Gather for [Deferred<T>; N] {
    type Values = Vec<T>;

    #[track_caller]
    fn gather(self) -> Deferred<Vec<T>> {
        values(self.into(), GATHER)
    }
}

#[track_caller]
pub(super) fn values<T: 'static>(deferreds: Vec<Deferred<T>>, manner: Manner) -> Deferred<Vec<T>> {
    let slots = slots(deferreds.len());
    let mut joining = Joining::new(deferreds.len(), manner);
    for (index, deferred) in deferreds.into_iter().enumerate() {
        let slots = slots.clone();
        joining.add(deferred, move |result| match result {
            Ok(value) => {
                slots[index].set(Some(value));
                ControlFlow::Continue(())
            }
            Err(failure) => first_error(index, failure),
        });
    }
    (joining.done()).add_callback(move |()| slots.iter().filter_map(Cell::take).collect::<Vec<_>>())
}

macro_rules! gather_tuple {
    ($count:literal: $($type:ident $index:tt),+) => {
        impl<$($type: 'static),+> Gather for ($(Deferred<$type>,)+) {
            type Values = ($($type,)+);

            #[track_caller]
            fn gather(self) -> Deferred<Self::Values> {
                let slots = Rc::new(($(Cell::new(None::<$type>),)+));
                let mut joining = Joining::new($count, GATHER);
                $({
                    let slots = slots.clone();
                    joining.add(self.$index, move |result| match result {
                        Ok(value) => {
                            slots.$index.set(Some(value));
                            ControlFlow::Continue(())
                        }
                        Err(failure) => first_error($index, failure),
                    });
                })+
                joining.done().add_callback(move |()| {
                    ($(slots.$index.take().expect("it fired when the last of them was there"),)+)
                })
            }
        }
    };
}

gather_tuple!(1: A 0);
gather_tuple!(2: A 0, B 1);
gather_tuple!(3: A 0, B 1, C 2);
gather_tuple!(4: A 0, B 1, C 2, D 3);
gather_tuple!(5: A 0, B 1, C 2, D 3, E 4);
gather_tuple!(6: A 0, B 1, C 2, D 3, E 4, F 5);
gather_tuple!(7: A 0, B 1, C 2, D 3, E 4, F 5, G 6);
gather_tuple!(8: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
