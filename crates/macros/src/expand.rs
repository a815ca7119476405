//! What stands below `#[ropewalk::test]`, and what becomes of it.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, FnArg, ItemFn, Path, Result, ReturnType, Signature, Type, parse_quote};

use crate::arguments::Arguments;

/// Who runs the test.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Harness {
    Libtest,
    /// Whoever calls it.
    None,
}

pub(crate) fn test(
    arguments: TokenStream,
    item: TokenStream,
    harness: Harness,
) -> Result<TokenStream> {
    let krate = match harness {
        Harness::Libtest => parse_quote!(::ropewalk::trial),
        // In examples of the kit itself, which has not the facade.
        Harness::None => parse_quote!(::ropewalk_trial),
    };
    let arguments = Arguments::parse(arguments, krate)?;
    let mut function: ItemFn = syn::parse2(item)?;
    check(&function)?;
    let outer = std::mem::take(&mut function.attrs);
    let visibility = function.vis.clone();
    function.vis = syn::Visibility::Inherited;
    let krate = &arguments.krate;
    let name = function.sig.ident.clone();
    // Its own, so that neither hides what the user's code names: a test may be called `test`.
    let own = |name| Ident::new(name, Span::mixed_site());
    let (test, result, ran) = (own("test"), own("result"), own("ran"));
    let (prepare, pass) = parameters(krate, &test, &function.sig)?;
    let awaited = function.sig.asyncness.map(|_| quote!(.await));
    let at_result = match &function.sig.output {
        ReturnType::Default => name.span(),
        ReturnType::Type(_, result) => result.span(),
    };
    let finish = quote_spanned! {at_result=>
        #[allow(unused_imports)]
        use #krate::{Finish as _, FinishByText as _};
        #krate::Outcome::new(#result).finish().await
    };
    let settings = settings(&arguments);
    // It stands at the function's name, and is no code that lints are to look at.
    let at_name = name.span().resolved_at(Span::call_site());
    let run = quote_spanned! {at_name=>
        let #ran = #krate::Trial::new(::core::concat!(::core::module_path!(), "::", ::core::stringify!(#name)))
            .target(#krate::Target {
                package: ::core::option_env!("CARGO_PKG_NAME"),
                krate: ::core::option_env!("CARGO_CRATE_NAME"),
                binary: ::core::option_env!("CARGO_BIN_NAME"),
                is_integration_test: ::core::option_env!("CARGO_TARGET_TMPDIR").is_some(),
            })
            #settings
            .run(|#test: #krate::Test| async move {
                let _ = &#test;
                #(#prepare)*
                let #result = #name(#(#pass),*) #awaited;
                #finish
            });
        if let ::core::result::Result::Err(failed) = #ran {
            ::core::panic!("{failed}");
        }
    };
    let marked = (harness == Harness::Libtest).then(|| quote!(#[::core::prelude::v1::test]));
    Ok(quote! {
        #marked
        #(#outer)*
        #visibility fn #name() {
            #function
            #run
        }
    })
}

fn check(function: &ItemFn) -> Result<()> {
    let signature = &function.sig;
    let is_test = |attribute: &&syn::Attribute| {
        let path = attribute.path();
        path.segments
            .last()
            .is_some_and(|last| last.ident == "test")
    };
    if let Some(other) = function.attrs.iter().find(is_test) {
        let message = "it is a test already by `#[ropewalk::test]`; remove this one";
        return Err(Error::new(other.span(), message));
    }
    let generic = signature.generics.params.first();
    if let Some(place) = generic.map(Spanned::span) {
        return Err(Error::new(place, "a test cannot be generic"));
    }
    Ok(())
}

/// How each parameter is made, and how it is handed to the function.
fn parameters(
    krate: &Path,
    test: &Ident,
    signature: &Signature,
) -> Result<(Vec<TokenStream>, Vec<TokenStream>)> {
    let mut prepare = Vec::new();
    let mut pass = Vec::new();
    for (number, parameter) in signature.inputs.iter().enumerate() {
        let FnArg::Typed(parameter) = parameter else {
            return Err(Error::new(parameter.span(), "a test is no method"));
        };
        let variable: Ident = format_ident!("parameter_{number}", span = Span::mixed_site());
        let (made, passed) = match &*parameter.ty {
            Type::Reference(reference) => {
                let mutability = &reference.mutability;
                (&*reference.elem, quote!(&#mutability #variable))
            }
            made => (made, quote!(#variable)),
        };
        if let Type::ImplTrait(made) = made {
            let message = "a test's parameter has a type of its own, such as `Handle`";
            return Err(Error::new(made.span(), message));
        }
        prepare.push(quote_spanned! {made.span()=>
            #[allow(unused_mut)]
            let mut #variable: #made = <#made as #krate::FromTest>::from_test(&#test);
        });
        pass.push(passed);
    }
    Ok((prepare, pass))
}

fn settings(arguments: &Arguments) -> TokenStream {
    let krate = &arguments.krate;
    let driver = arguments.driver.iter();
    let seeds = arguments.seeds.iter();
    let timeout = arguments.timeout.iter().map(|timeout| {
        let (seconds, nanos) = (timeout.as_secs(), timeout.subsec_nanos());
        quote!(::core::time::Duration::new(#seconds, #nanos))
    });
    quote! {
        #(.driver(#krate::Driver::#driver))*
        #(.seeds(#seeds))*
        #(.timeout(#timeout))*
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(item: TokenStream) -> String {
        test(quote!(seeds = 3, timeout = "2s"), item, Harness::Libtest)
            .unwrap()
            .to_string()
    }

    fn error(item: TokenStream) -> String {
        test(quote!(), item, Harness::Libtest)
            .expect_err("a bad test")
            .to_string()
    }

    #[test]
    fn other_attributes_stay_on_the_test() {
        let text = expanded(quote! {
            #[should_panic(expected = "no rope")]
            #[ignore]
            pub(crate) async fn breaks(reactor: Handle) {}
        });
        let outer = text.split("{").next().unwrap();
        for part in ["should_panic", "# [ignore]", "pub (crate) fn breaks ()"] {
            assert!(outer.contains(part), "{text}");
        }
        assert_eq!(text.matches("ignore").count(), 1, "{text}");
        assert!(text.contains("seeds (3u64)"), "{text}");
        assert!(text.contains("Duration :: new (2u64 , 0u32)"), "{text}");
    }

    #[test]
    fn only_what_is_async_is_awaited_and_references_are_passed_as_such() {
        let text = expanded(quote!(
            async fn a(reactor: Handle) {}
        ));
        assert!(text.contains("a (parameter_0) . await"), "{text}");
        let text = expanded(quote!(
            fn b(reactor: &Handle, seed: &mut Seed) -> Deferred<()> {
                todo!()
            }
        ));
        assert!(
            text.contains("b (& parameter_0 , & mut parameter_1) ;"),
            "{text}"
        );
        assert!(
            text.contains("< Handle as :: ropewalk :: trial :: FromTest >"),
            "{text}"
        );
    }

    #[test]
    fn what_cannot_be_a_test_is_refused() {
        assert!(
            error(quote!(
                struct Rope;
            ))
            .contains("expected `fn`")
        );
        assert!(
            error(quote!(
                #[test]
                fn a() {}
            ))
            .contains("remove this one")
        );
        assert!(
            error(quote!(
                #[tokio::test]
                async fn a() {}
            ))
            .contains("remove this one")
        );
        assert!(
            error(quote!(
                fn a<T>(x: T) {}
            ))
            .contains("cannot be generic")
        );
        assert!(
            error(quote!(
                fn a(&self) {}
            ))
            .contains("no method")
        );
        assert!(
            error(quote!(
                fn a(x: impl Sized) {}
            ))
            .contains("a type of its own")
        );
    }
}
