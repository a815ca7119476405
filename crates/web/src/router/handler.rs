//! Functions that answer requests.

use std::future::Future;
use std::rc::Rc;

use http::header::ACCEPT;
use http::{Request, Response};

use crate::answer::{IntoResponse, Rejection};
use crate::answering::Answering;
use crate::body::Body;
use crate::boxed_service::{Answer, BoxService};
use crate::extract::{Awaited, FromRequest, FromRequestHead};

/// A function that answers requests: see the [module](super).
///
/// `M` only tells the kinds of functions apart, and is found by the compiler.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no handler",
    note = "a handler is a function or an `async` function of up to eight extractors, of which only \
            the last may take the body, and returns an answer: see `ropewalk_web::router`"
)]
pub trait Handler<M>: 'static {
    /// Answers `request`.
    fn call(self: Rc<Self>, request: Request<Body>) -> Answering<Response<Body>>;

    /// What one of its extractors waits for, before it can be called.
    fn awaited(request: &Request<Body>) -> Option<Awaited>;
}

/// A handler with what it shares with others: see [`with_state`].
#[derive(Clone, Debug)]
pub struct WithState<S, F> {
    state: S,
    function: F,
}

/// The handler `function`, whose first parameter is a clone of `state`, usually an `Rc`. The
/// extractors follow.
///
/// ```
/// use ropewalk_web::router::{get, with_state};
/// use std::cell::Cell;
/// use std::rc::Rc;
///
/// fn count(visits: Rc<Cell<u32>>) -> String {
///     visits.set(visits.get() + 1);
///     format!("Visitor {}", visits.get())
/// }
/// let visits = Rc::new(Cell::new(0));
/// let route = get(with_state(&visits, count));
/// # let _ = route;
/// ```
pub fn with_state<S: Clone + 'static, F>(state: &S, function: F) -> WithState<S, F> {
    WithState {
        state: state.clone(),
        function,
    }
}

/// The service of a handler.
pub(crate) fn service<M, H: Handler<M>>(handler: H) -> BoxService {
    let handler = Rc::new(handler);
    BoxService::from_fn(move |request| {
        let handler = Rc::clone(&handler);
        let accept = request.headers().get(ACCEPT).cloned();
        let suited = |response| Answer::Ok(Rejection::suited(response, accept));
        let Some(mut awaited) = H::awaited(&request) else {
            return handler.call(request).map(suited);
        };
        Answering::new(async move {
            loop {
                awaited.await;
                match H::awaited(&request) {
                    Some(next) => awaited = next,
                    None => return suited(handler.call(request).await),
                }
            }
        })
    })
}

/// Marks functions that return an answer.
#[derive(Debug)]
pub struct Returns;

/// Marks functions that return a future of one.
#[derive(Debug)]
pub struct Awaits;

/// Marks those that take nothing from the body.
#[derive(Debug)]
pub struct ViaHead;

/// Marks those that do.
#[derive(Debug)]
pub struct ViaBody;

/// Takes an extractor from the head, or ends with its answer.
macro_rules! take {
    ($request:ident, $type:ident) => {
        match $type::from_request_head(&mut $request) {
            Ok(value) => value,
            Err(rejection) => return Answering::ready(rejection.into_response()),
        }
    };
}

/// What the first of these extractors that cannot be taken yet waits for.
macro_rules! awaited {
    () => {
        fn awaited(_: &Request<Body>) -> Option<Awaited> {
            None
        }
    };
    ($first:ident $($rest:ident)*) => {
        fn awaited(request: &Request<Body>) -> Option<Awaited> {
            $first::awaited(request)$(.or_else(|| $rest::awaited(request)))*
        }
    };
}

/// Handlers of `$type`s from the head, then of `$last` from the body. `$state` is there or not.
macro_rules! handlers {
    ([$($state:ident)?] $self_type:ty, $function:ident, $this:ident, [$($call:tt)+]; $($type:ident)*; $last:ident) => {
        handlers!(@head [$($state)?] $self_type, $function, $this, [$($call)+]; $($type)*);

        impl<$($state: Clone + 'static,)? $function, R, $($type,)* $last>
            Handler<(Returns, ViaBody, $($state,)? R, $($type,)* $last)> for $self_type
        where
            $function: Fn($($state,)? $($type,)* $last) -> R + 'static,
            R: IntoResponse + 'static,
            $($type: FromRequestHead + 'static,)*
            $last: FromRequest + 'static,
        {
            awaited! { $($type)* }

            #[allow(non_snake_case, unused_mut, reason = "a name for each type")]
            fn call(self: Rc<Self>, mut request: Request<Body>) -> Answering<Response<Body>> {
                $(let $type = take!(request, $type);)*
                Answering::new(async move {
                    match $last::from_request(request).await {
                        Ok($last) => {
                            let $this = &*self;
                            ($($call)+)($(<$state as Clone>::clone(&$this.state),)? $($type,)* $last).into_response()
                        }
                        Err(rejection) => rejection.into_response(),
                    }
                })
            }
        }

        impl<$($state: Clone + 'static,)? $function, R, $($type,)* $last>
            Handler<(Awaits, ViaBody, $($state,)? R, $($type,)* $last)> for $self_type
        where
            $function: Fn($($state,)? $($type,)* $last) -> R + 'static,
            R: Future<Output: IntoResponse> + 'static,
            $($type: FromRequestHead + 'static,)*
            $last: FromRequest + 'static,
        {
            awaited! { $($type)* }

            #[allow(non_snake_case, unused_mut, reason = "a name for each type")]
            fn call(self: Rc<Self>, mut request: Request<Body>) -> Answering<Response<Body>> {
                $(let $type = take!(request, $type);)*
                Answering::new(async move {
                    match $last::from_request(request).await {
                        Ok($last) => {
                            let $this = &*self;
                            let answer = ($($call)+)($(<$state as Clone>::clone(&$this.state),)? $($type,)* $last);
                            answer.await.into_response()
                        }
                        Err(rejection) => rejection.into_response(),
                    }
                })
            }
        }
    };
    (@head [$($state:ident)?] $self_type:ty, $function:ident, $this:ident, [$($call:tt)+]; $($type:ident)*) => {
        impl<$($state: Clone + 'static,)? $function, R, $($type,)*>
            Handler<(Returns, ViaHead, $($state,)? R, $($type,)*)> for $self_type
        where
            $function: Fn($($state,)? $($type,)*) -> R + 'static,
            R: IntoResponse,
            $($type: FromRequestHead,)*
        {
            awaited! { $($type)* }

            #[allow(non_snake_case, unused_mut, unused_variables, reason = "a name for each type")]
            fn call(self: Rc<Self>, mut request: Request<Body>) -> Answering<Response<Body>> {
                $(let $type = take!(request, $type);)*
                let $this = &*self;
                Answering::ready(($($call)+)($(<$state as Clone>::clone(&$this.state),)? $($type,)*).into_response())
            }
        }

        impl<$($state: Clone + 'static,)? $function, R, $($type,)*>
            Handler<(Awaits, ViaHead, $($state,)? R, $($type,)*)> for $self_type
        where
            $function: Fn($($state,)? $($type,)*) -> R + 'static,
            R: Future<Output: IntoResponse> + 'static,
            $($type: FromRequestHead,)*
        {
            awaited! { $($type)* }

            #[allow(non_snake_case, unused_mut, unused_variables, reason = "a name for each type")]
            fn call(self: Rc<Self>, mut request: Request<Body>) -> Answering<Response<Body>> {
                $(let $type = take!(request, $type);)*
                let $this = &*self;
                let answer = ($($call)+)($(<$state as Clone>::clone(&$this.state),)? $($type,)*);
                Answering::new(async move { answer.await.into_response() })
            }
        }
    };
}

macro_rules! handlers_of_all_lengths {
    ($([$($type:ident)*] $last:ident;)*) => {$(
        handlers!([] F, F, this, [this]; $($type)*; $last);
        handlers!([S] WithState<S, F>, F, this, [this.function]; $($type)*; $last);
    )*};
}

handlers!(@head [] F, F, this, [this]; T1 T2 T3 T4 T5 T6 T7 T8);
handlers!(@head [S] WithState<S, F>, F, this, [this.function]; T1 T2 T3 T4 T5 T6 T7 T8);
handlers_of_all_lengths! {
    [] T1;
    [T1] T2;
    [T1 T2] T3;
    [T1 T2 T3] T4;
    [T1 T2 T3 T4] T5;
    [T1 T2 T3 T4 T5] T6;
    [T1 T2 T3 T4 T5 T6] T7;
    [T1 T2 T3 T4 T5 T6 T7] T8;
}
