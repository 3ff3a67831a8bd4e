//! Turns an annotated function into its staged twin: the same text over traced values.
//!
//! The body goes through one pass for each concern, in this order: [`asserts`] opens assertions, [`ranges`] compares for
//! `contains`, [`arrays`] names ndarray's arrays, [`literals`] lifts float literals, [`casts`] rewrites conversions and `f64::` paths, [`types`] rewrites annotations and
//! struct literals, [`truths`] leaves conditions in variables open, [`integers`] integers and the lengths of lists, [`exits`] makes
//! values of `break`, `continue` and returns, [`flow`] stages `if`, `while` and counted `for`, [`calls`] dispatches calls of functions.
//!
//! Invariant: a pass looks at spellings and scopes only, never at types it would have to guess, and
//! generated paths start with `::autograd::__private`, which no pass rewrites.

mod arrays;
mod asserts;
mod calls;
mod casts;
pub(crate) mod exits;
mod flow;
pub(crate) mod integers;
mod literals;
mod macros;
mod ranges;
mod scope;
mod truths;
pub mod types;

use proc_macro2::TokenStream;
use quote::quote;
use syn::Block;

use self::types::Types;
use crate::ast::Function;
use crate::staged;

pub use self::calls::{STAGED, outside};

/// The twin, as an associated function of the companion. Decides the forms of the parameters.
pub fn expand(function: &mut Function, types: &Types) -> TokenStream {
    let body = body(function, types);
    let function = &*function;
    let pats = function.params.iter().map(|param| &param.pat);
    let tys = function.params.iter().map(types::parameter);
    let ret = types.result(function.ret.as_ref().expect("checked: a result is declared"));
    let aliases = types.aliases();
    let limit = function.max_trips.map(|n| quote!(let __limit = ::autograd::__private::flow::Limit::new(#n);));
    // what a trace that has been given up computes is not read
    let ends = exits::is_numbers(function.ret.as_ref().expect("checked: a result is declared")).then(|| {
        quote! {
            if ::autograd::__private::flow::is_given_up() {
                return ::autograd::__private::flow::Blank::blank();
            }
        }
    });
    // the twin of a solver gives what it finds as a root
    let whole = quote::format_ident!("{}", if function.root.is_some() { "__solve" } else { "__twin" });
    let name = if function.lists { quote::format_ident!("__listed") } else { whole.clone() };
    let root = function.root.as_ref().map(|residual| staged::root(function, types, residual));
    let made = if function.lists { list(function) } else { quote!(#ret) };
    // what other twins call gives a vector
    let vector = function.lists.then(|| {
        let names: Vec<_> = (0..function.params.len()).map(|index| quote::format_ident!("__x{index}")).collect();
        let tys = function.params.iter().map(types::parameter);
        quote! {
            #[doc(hidden)]
            #[track_caller]
            pub fn #whole(#(#names: #tys),*) -> #ret {
                Self::__listed(#(#names),*).to_vec()
            }
        }
    });
    quote! {
        #root
        #vector
        #[doc(hidden)]
        pub fn #name(#(#pats: #tys),*) -> #made {
            use ::autograd::__private::Item as _;
            use ::autograd::__private::flow::{PlainFlow as _, PlainTest as _, StagedFlow as _, StagedTest as _};
            #aliases
            #limit
            #ends
            #body
        }
    }
}

/// What a function gives where a list will do.
pub fn made(function: &Function, ret: &syn::Type) -> TokenStream {
    if function.lists && function.root.is_none() { list(function) } else { quote!(#ret) }
}

/// The list that a function gives in the place of a vector.
fn list(function: &Function) -> TokenStream {
    let float = function.ret.as_ref().and_then(integers::results::vector);
    quote!(::autograd::__private::List<#float>)
}

/// The rewritten body.
fn body(function: &mut Function, types: &Types) -> Block {
    let mut body = (*function.original.block).clone();
    asserts::rewrite(&mut body);
    scope::walk(&mut ranges::Ranges, &function.params, &mut body);
    scope::walk(&mut arrays::Arrays, &function.params, &mut body);
    arrays::index(function, &mut body);
    let params = &function.params;

    let is_struct = |path: &syn::Path| types.is_struct(path);
    let mut literals = literals::Literals {
        float: function.float,
        ret: function.ret.as_ref(),
        closures: Vec::new(),
        structs: &is_struct,
        depth: 0,
    };
    scope::walk(&mut literals, params, &mut body);
    scope::walk(&mut casts::Casts { types }, params, &mut body);
    scope::walk(&mut &*types, params, &mut body);
    truths::rewrite(params, &mut body);
    let (forms, list) = integers::rewrite(function, &mut body);
    function.lists = list;
    function.params.iter_mut().zip(forms).for_each(|(param, form)| param.form = form);
    let params = &function.params;
    let ret = function.ret.as_ref();
    exits::rewrite(ret, &types.result(ret.expect("checked: a result is declared")), &mut body);
    scope::walk(&mut flow::Flow, params, &mut body);
    scope::walk(&mut calls::Calls::default(), params, &mut body);
    body
}
