//! The macros of Ropewalk: `#[ropewalk::test]`.
//!
//! What a test's attribute says is read by `arguments`, what stands below it by `expand`. Nothing is
//! decided here that could be decided when the test runs: the macro writes a call of
//! `ropewalk_trial`, and that does the rest.
#![forbid(unsafe_code)]

mod arguments;
mod expand;

use proc_macro::TokenStream;

/// Makes a test that runs on a reactor of its own, in a simulated world unless told otherwise, and
/// fails if it leaves anything behind.
///
/// The function may be async, or return a `Deferred<()>` or anything else that is
/// `IntoDeferred<()>`: `()`, a `Result`; or a `Result<(), E>` with an `E` that can be shown, such as
/// `Box<dyn Error>`. Each of its parameters is something that is `FromTest`, by value or by reference:
/// the reactor's `Handle`, the `World` around it, the `Seed`. It may have none.
///
/// After `use ropewalk::*`, there or in a module whose names are taken over by `use super::*`, a plain
/// `#[test]` is ambiguous, since that imports this one too: `use core::prelude::v1::test;` beside it
/// says which is meant.
///
/// ```text
/// #[ropewalk::test]
/// async fn the_clock_moves_on(reactor: Handle) -> Result<(), Failure> {
///     let before = reactor.now();
///     defer_later::<(), _>(&reactor, Duration::from_secs(60), || ()).await?;
///     assert!(reactor.now() >= before + Duration::from_secs(60));
///     Ok(())
/// }
/// ```
///
/// | argument | means |
/// |---|---|
/// | `driver = "poll"` | on real sockets, in real time; `"sim"`, the default, is a host called `test` of a simulated world |
/// | `seeds = 100` | runs once for each of so many seeds, 0 and up |
/// | `timeout = "10s"` | fails when it has not ended by then, in the reactor's own time; `ms`, `s`, `m` and `h` are its units. 120 s |
/// | `crate = "path"` | where the test kit is, if it is not at `::ropewalk::trial` |
#[proc_macro_attribute]
pub fn test(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand::test(arguments.into(), item.into(), expand::Harness::Libtest)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// As [`macro@test`], for examples in documentation: those are no tests for the compiler, which would
/// not even look at one. What is left of the function is one without parameters that runs the test.
#[doc(hidden)]
#[proc_macro_attribute]
pub fn run_when_called(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand::test(arguments.into(), item.into(), expand::Harness::None)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
