//! Turns a helper that is generic over `Real` into itself and a companion through which twins call it with traced values.
//!
//! Invariant: only the spelling of the bounds counts; what the parameters are is for the compiler to say.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{FnArg, ItemFn, Type, TypeParamBound, WherePredicate};

use crate::ast::{bare, ungroup};

/// The expansion, if all type parameters of the function are bounded by `Real`.
pub fn expand(function: &ItemFn) -> Option<TokenStream> {
    let sig = &function.sig;
    let mut types = sig.generics.type_params().peekable();
    types.peek()?;
    let bounded = |param: &syn::TypeParam| {
        let clauses = sig.generics.where_clause.iter().flat_map(|clause| &clause.predicates);
        let clause = |predicate: &WherePredicate| match predicate {
            WherePredicate::Type(of) => is_named(&of.bounded_ty, &param.ident) && of.bounds.iter().any(is_real),
            _ => false,
        };
        param.bounds.iter().any(is_real) || clauses.into_iter().any(clause)
    };
    if !types.all(bounded) {
        return None;
    }
    let (vis, name) = (&function.vis, &sig.ident);
    let cfgs = function.attrs.iter().filter(|attr| attr.path().is_ident("cfg"));
    let slice = |arg: &FnArg| match arg {
        FnArg::Typed(arg) => match ungroup(&arg.ty) {
            Type::Reference(ty) => match ungroup(&ty.elem) {
                Type::Slice(ty) => sig.generics.type_params().any(|param| is_named(&ty.elem, &param.ident)),
                _ => false,
            },
            _ => false,
        },
        FnArg::Receiver(_) => false,
    };
    let arguments = sig.inputs.iter().enumerate().map(|(index, arg)| {
        let (given, inferred) = (format_ident!("__arg{index}"), format_ident!("__inferred{index}"));
        let passed = if slice(arg) {
            quote! {
                pub fn #given<'s, X: ::core::convert::AsRef<[T]> + ?::core::marker::Sized, T>(
                    _: &::autograd::__private::Slot,
                    x: &'s X,
                ) -> &'s [T] {
                    ::core::convert::AsRef::as_ref(x)
                }
            }
        } else {
            quote! {
                pub fn #given<X: ::autograd::__private::HelperArg>(_: &::autograd::__private::Slot, x: X) -> X::Given {
                    x.__given()
                }
            }
        };
        quote! {
            #[doc(hidden)]
            #[track_caller]
            #passed
            #[doc(hidden)]
            pub fn #inferred<X>(x: X) -> X {
                x
            }
        }
    });
    let doc = format!("What annotated functions call [`{0}`](fn@{0}) through.", bare(name));
    Some(quote! {
        #function

        #(#cfgs)*
        #[doc = #doc]
        #[doc(hidden)]
        #[allow(unused, nonstandard_style)]
        #vis enum #name {}

        #[automatically_derived]
        #[allow(unused, nonstandard_style, clippy::all, clippy::pedantic)]
        impl #name {
            #[doc(hidden)]
            pub fn __call<F>(f: F) -> F {
                f
            }
            #[doc(hidden)]
            pub fn __list<F>(f: F) -> F {
                f
            }
            #(#arguments)*
        }
    })
}

fn is_real(bound: &TypeParamBound) -> bool {
    matches!(bound, TypeParamBound::Trait(of) if of.path.segments.last().is_some_and(|last| last.ident == "Real"))
}
fn is_named(ty: &Type, name: &syn::Ident) -> bool {
    matches!(ungroup(ty), Type::Path(ty) if ty.path.is_ident(name))
}
