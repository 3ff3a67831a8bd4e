//! Turns a function that calls itself into one whose calls of itself a trace can make calls of one graph: `__recursive` stands
//! between callers and the twin, and hands the runtime the arguments as leaves.
//!
//! Invariant: all arguments are made of leaves and the result of numbers and tensors, so that a call has what it takes and gives
//! before its function is known.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::visit::Visit;
use syn::{Block, ExprPath, Ident, Type};

use crate::ast::{Form, Function, Param, Role, ungroup};
use crate::staged::{reference, rerun};
use crate::twin::exits::is_numbers;
use crate::twin::types::{self, Types};

/// Whether a function calls itself.
pub fn is_recursive(name: &Ident, body: &Block) -> bool {
    struct Calls<'n>(&'n Ident, bool);
    impl<'ast> Visit<'ast> for Calls<'_> {
        fn visit_expr_path(&mut self, path: &'ast ExprPath) {
            self.1 |= path.path.segments.last().is_some_and(|last| last.ident == *self.0);
        }
        fn visit_item(&mut self, _: &'ast syn::Item) {}
    }
    let mut calls = Calls(name, false);
    calls.visit_block(body);
    calls.1
}

/// Whether it does so in a way that has a compiled form.
pub fn applies(function: &Function) -> bool {
    let simple = |param: &Param| param.role != Role::Constant && is_plain(&param.inner);
    function.root.is_none()
        && function.params.iter().all(simple)
        && function.ret.as_ref().is_some_and(is_value)
        && is_recursive(function.name(), &function.original.block)
}

/// Numbers, tensors, and tuples and arrays of them.
fn is_value(ty: &Type) -> bool {
    match ungroup(ty) {
        Type::Tuple(ty) => ty.elems.iter().all(is_value),
        Type::Array(ty) => is_value(&ty.elem),
        ty => is_tensor(ty) || is_numbers(ty),
    }
}
fn is_tensor(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Tensor"))
}

/// Numbers, tensors, and slices, arrays and vectors of them.
fn is_plain(ty: &Type) -> bool {
    match ungroup(ty) {
        Type::Slice(ty) => is_plain(&ty.elem),
        Type::Array(ty) => is_plain(&ty.elem),
        Type::Tuple(ty) => ty.elems.iter().all(is_plain),
        Type::Path(path) => match path.path.segments.last() {
            Some(last) if last.ident == "Vec" => match &last.arguments {
                syn::PathArguments::AngleBracketed(args) => {
                    args.args.iter().all(|arg| matches!(arg, syn::GenericArgument::Type(ty) if is_plain(ty)))
                }
                _ => false,
            },
            _ => is_value(ty),
        },
        _ => false,
    }
}

/// `__recursive`, of a function for which [`applies`] holds.
pub fn entry(function: &Function, types: &Types) -> TokenStream {
    if !function.recursive {
        return TokenStream::new();
    }
    let tys = function.params.iter().map(types::parameter);
    let names: Vec<Ident> = (0..function.params.len()).map(|index| format_ident!("__x{index}")).collect();
    let ret = types.result(function.ret.as_ref().expect("checked: a result is declared"));
    let inputs = function.params.iter().zip(&names).map(|(param, name)| {
        let name = reference(param, name);
        match param.form {
            Form::List => quote!(::autograd::__private::recursion::push_list(&mut __inputs, #name);),
            _ => quote!(__inputs.push(#name, true);),
        }
    });
    let again = function.params.iter().zip(&names).map(|(param, name)| match param.form {
        Form::List => {
            let (by_ref, name) = (param.by_ref.then(|| quote!(&)), reference(param, name));
            quote!(#by_ref ::autograd::__private::recursion::read_list(#name, __leaves))
        }
        _ => rerun(param, name),
    });
    quote! {
        #[doc(hidden)]
        #[track_caller]
        pub fn __recursive(#(#names: #tys),*) -> #ret {
            let mut __inputs = ::autograd::__private::Inputs::new();
            #(#inputs)*
            ::autograd::__private::recursion::recurse(
                ::core::any::TypeId::of::<Self>(),
                __inputs,
                |__leaves| Self::__twin(#(#again),*),
            )
        }
    }
}
