//! Turns an annotated function into what the twins of other functions call: `__call`, `__list` and `__argN` for
//! the function itself, `__staged_grad` and its like for its derivatives.
//!
//! Invariant: arguments and results are twins. Floats may be given plain and slices in any form;
//! everything else has the exact type of the twin's parameter.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::Ident;

use crate::ast::{Form, Function, Param, Role, bare, is_counter, scalar, ungroup};
use crate::expand::bare_or_tuple;
use crate::recursion;
use crate::twin::types::{self, Types, with_lifetime};
use crate::twin::{self, STAGED};

/// What calls from other twins go through: `__call(f)`, `__list(f)` where a list will do, and `__argN(x)`.
pub fn dispatch(function: &Function, types: &Types) -> TokenStream {
    let tys: Vec<TokenStream> = function.params.iter().map(types::parameter).collect();
    let ret = types.result(function.ret.as_ref().expect("checked: a result is declared"));
    let (staged, made) = (function.staged(), twin::made(function, &ret));
    let inferred = function.params.iter().enumerate().map(|(index, param)| inferred(index, param));
    let arguments = function.params.iter().enumerate().map(|(index, param)| {
        let name = format_ident!("__arg{index}");
        if let Some((form, method)) = types::listed(param) {
            let twin = types::owned(param);
            if !param.by_ref {
                return quote! {
                    #[doc(hidden)]
                    pub fn #name(slot: &::autograd::__private::Slot, x: impl #form) -> #twin {
                        x.#method(slot).clone()
                    }
                };
            }
            return quote! {
                #[doc(hidden)]
                pub fn #name<'s>(
                    slot: &'s ::autograd::__private::Slot,
                    x: &'s (impl #form + ?::core::marker::Sized),
                ) -> &'s #twin {
                    x.#method(slot)
                }
            };
        }
        if let Some((taken, made, converted)) = integer(param, quote!(x)) {
            return quote! {
                #[doc(hidden)]
                pub fn #name(_: &::autograd::__private::Slot, x: #taken) -> #made {
                    #converted
                }
            };
        }
        match scalar(&param.ty) {
            Some(float) => {
                let float = Ident::new(float, param.span);
                quote! {
                    #[doc(hidden)]
                    pub fn #name(
                        _: &::autograd::__private::Slot,
                        x: impl ::core::convert::Into<::autograd::__private::Real<#float>>,
                    ) -> ::autograd::__private::Real<#float> {
                        ::core::convert::Into::into(x)
                    }
                }
            }
            None if types::is_open(param) => {
                let (slice, twin) = (with_lifetime(&param.inner, "'static"), types::owned(param));
                quote! {
                    #[doc(hidden)]
                    pub fn #name<'s, T: ?::core::marker::Sized>(
                        slot: &'s ::autograd::__private::Slot,
                        x: &'s T,
                    ) -> &'s #twin
                    where
                        T: ::autograd::__private::AsTwin<#slice>,
                    {
                        ::autograd::__private::AsTwin::as_twin(x, slot)
                    }
                }
            }
            None if types::is_convertible(param) => {
                let (ty, twin) = (&param.ty, types::owned(param));
                quote! {
                    #[doc(hidden)]
                    pub fn #name(
                        _: &::autograd::__private::Slot,
                        x: impl ::autograd::__private::IntoTwin<#ty>,
                    ) -> #twin {
                        ::autograd::__private::IntoTwin::into_twin(x)
                    }
                }
            }
            None => quote! {
                #[doc(hidden)]
                pub fn #name<T>(_: &::autograd::__private::Slot, x: T) -> T {
                    x
                }
            },
        }
    });
    let twin = function.called();
    let recursive = recursion::entry(function, types);
    quote! {
        #recursive
        #[doc(hidden)]
        pub fn __call(_: impl ::core::marker::Sized) -> fn(#(#tys),*) -> #ret {
            Self::#twin
        }
        #[doc(hidden)]
        pub fn __list(_: impl ::core::marker::Sized) -> fn(#(#tys),*) -> #made {
            Self::#staged
        }
        #(#arguments)*
        #(#inferred)*
    }
}

/// What a caller's twin may give for an integer parameter, its type in this twin, and how the one becomes the other.
fn integer(param: &Param, x: TokenStream) -> Option<(TokenStream, TokenStream, TokenStream)> {
    let ty = &param.ty;
    if param.form == Form::Int {
        let twin = quote!(::autograd::__private::Int<#ty>);
        return Some((quote!(impl ::core::convert::Into<#twin>), twin, quote!(::core::convert::Into::into(#x))));
    }
    let known = quote!(::autograd::__private::known(#x));
    is_known(param).then(|| (quote!(impl ::autograd::__private::Known<Plain = #ty>), quote!(#ty), known))
}

/// Whether the parameter is an integer by value whose number the twin knows.
fn is_known(param: &Param) -> bool {
    let ty = ungroup(&param.ty);
    let named =
        matches!(ty, syn::Type::Path(ty) if ty.path.get_ident().is_some_and(|name| is_counter(&name.to_string())));
    named && param.form == Form::Plain
}

/// `__inferredN(x)`: an argument whose type is that of the parameter, such as an integer literal.
fn inferred(index: usize, param: &Param) -> TokenStream {
    let name = format_ident!("__inferred{index}");
    let ty = &param.ty;
    match param.form {
        Form::Int => quote! {
            #[doc(hidden)]
            pub fn #name(x: #ty) -> ::autograd::__private::Int<#ty> {
                ::core::convert::Into::into(x)
            }
        },
        _ => quote! {
            #[doc(hidden)]
            pub fn #name<T>(x: T) -> T {
                x
            }
        },
    }
}

/// The twin of a function that finds a root of `residual`: what `__solve` finds, with the derivative of the root.
pub fn root(function: &Function, types: &Types, residual: &syn::Path) -> TokenStream {
    let tys = function.params.iter().map(types::parameter);
    let names: Vec<Ident> = (0..function.params.len()).map(|index| format_ident!("__x{index}")).collect();
    let ret = types.result(function.ret.as_ref().expect("checked: a result is declared"));
    let inputs = function.params.iter().zip(&names).filter(|(param, _)| is_traced(param)).map(|(param, name)| {
        let name = reference(param, name);
        quote!(__inputs.push(#name, true);)
    });
    let rerun: Vec<TokenStream> = function.params.iter().zip(&names).map(|(param, name)| rerun(param, name)).collect();
    let passed = rerun.iter().enumerate().map(|(index, arg)| {
        let method = format_ident!("__arg{}", index + 1);
        quote!(__h0::#method(&::autograd::__private::Slot::new(), #arg))
    });
    let title = &function.title;
    quote! {
        #[doc(hidden)]
        #[track_caller]
        pub fn __twin(#(#names: #tys),*) -> #ret {
            use ::autograd::__private::fallback::*;
            use #residual as __h0;
            let mut __inputs = ::autograd::__private::Inputs::new();
            #(#inputs)*
            ::autograd::__private::root(
                #title,
                __inputs,
                |__leaves| Self::__solve(#(#rerun),*),
                |__x, __leaves| __h0::__call(#residual)(
                    __h0::__arg0(&::autograd::__private::Slot::new(), __x),
                    #(#passed),*
                ),
            )
        }
    }
}

/// The entry points that other twins call: `__staged_grad` and so on.
pub fn staged(function: &Function, types: &Types) -> TokenStream {
    let names: Vec<&Ident> = function.params.iter().map(|param| &param.name).collect();
    let params: Vec<TokenStream> = function.params.iter().map(staged_param).collect();
    let converted = function.params.iter().map(|param| {
        let (name, ty) = (&param.name, types::parameter(param));
        if let Some((_, method)) = types::listed(param) {
            let slot = format_ident!("__slot_{}", bare(name));
            let clone = (!param.by_ref).then(|| quote!(.clone()));
            Some(quote! {
                let #slot = ::autograd::__private::Slot::new();
                let #name: #ty = #name.#method(&#slot)#clone;
            })
        } else if let Some((_, _, converted)) = integer(param, quote!(#name)) {
            Some(quote!(let #name: #ty = #converted;))
        } else if types::is_open(param) {
            let slot = format_ident!("__slot_{}", bare(name));
            Some(quote! {
                let #slot = ::autograd::__private::Slot::new();
                let #name: #ty = ::autograd::__private::AsTwin::as_twin(#name, &#slot);
            })
        } else if types::is_convertible(param) {
            Some(quote!(let #name: #ty = ::autograd::__private::IntoTwin::into_twin(#name);))
        } else {
            scalar(&param.ty).map(|_| quote!(let #name: #ty = ::core::convert::Into::into(#name);))
        }
    });
    let converted: Vec<TokenStream> = converted.flatten().collect();
    let inputs = function.params.iter().filter(|param| is_traced(param)).map(|param| {
        let (name, wrt) = (borrowed(param), param.wrt);
        quote!(__inputs.push(#name, #wrt);)
    });
    let inputs: Vec<TokenStream> = inputs.collect();
    let rerun: Vec<TokenStream> = function.params.iter().map(|param| rerun(param, &param.name)).collect();
    let wrt: Vec<&Param> = function.params.iter().filter(|param| param.wrt).collect();
    let grads: Vec<TokenStream> = wrt
        .iter()
        .map(|param| {
            let name = borrowed(param);
            let grad = quote!(::autograd::__private::Twinned::from_leaves(#name, __leaves));
            if param.indexed.is_some() { quote!(#grad.to_array()) } else { grad }
        })
        .collect();
    let grads = bare_or_tuple(&grads);
    let grad_types: Vec<TokenStream> = wrt.iter().map(|param| types::gradient(param)).collect();
    let grad_types = bare_or_tuple(&grad_types);
    let ret = types.result(function.ret.as_ref().expect("checked: a result is declared"));
    let value = quote!(<#ret as ::autograd::__private::Outcome>::Value);

    let leaves = quote!(__leaves: &mut ::autograd::__private::LeafReader<'_>);
    let called = function.called();
    let twin = quote!(&|#leaves| Self::#called(#(#rerun),*));
    let shape = quote!(|#leaves| #grads);
    let prepare = quote! {
        #(#converted)*
        let mut __inputs = ::autograd::__private::Inputs::new();
        #(#inputs)*
    };
    let direction_names = wrt.iter().map(|param| format_ident!("__d_{}", bare(&param.name)));
    let direction_names: Vec<Ident> = direction_names.collect();
    let direction_params = wrt.iter().zip(&direction_names).map(|(param, name)| {
        let ty = staged_type(param);
        quote!(#name: #ty)
    });
    let direction_params: Vec<TokenStream> = direction_params.collect();
    let directions = wrt.iter().zip(&direction_names).map(|(param, name)| {
        let push = |value| quote!(__directions.push(#value, true););
        match scalar(&param.ty) {
            Some(_) => {
                let ty = types::owned(param);
                let push = push(quote!(&#name));
                quote!(let #name: #ty = ::core::convert::Into::into(#name); #push)
            }
            None if let Some((_, method)) = types::listed(param) => {
                push(quote!(#name.#method(&::autograd::__private::Slot::new())))
            }
            None if types::is_open(param) => {
                let slot = quote!(&::autograd::__private::Slot::new());
                push(quote!(::autograd::__private::AsTwin::as_twin(#name, #slot)))
            }
            None if types::is_convertible(param) => push(quote!(&::autograd::__private::IntoTwin::into_twin(#name))),
            None if param.by_ref => push(quote!(#name)),
            None => push(quote!(&#name)),
        }
    });
    let prepare_directions = quote! {
        let mut __directions = ::autograd::__private::Inputs::new();
        #(#directions)*
    };
    debug_assert_eq!(STAGED, ["grad", "value_and_grad", "value", "jvp", "hvp"]);
    quote! {
        #[doc(hidden)]
        pub fn __staged_value(#(#params),*) -> ::autograd::Result<#value> {
            #(#converted)*
            ::autograd::__private::Outcome::outcome(Self::#called(#(#names),*))
        }
        #[doc(hidden)]
        pub fn __staged_grad(#(#params),*) -> ::autograd::Result<#grad_types> {
            #prepare
            ::autograd::__private::staged_grad(__inputs, #twin, #shape)
        }
        #[doc(hidden)]
        pub fn __staged_value_and_grad(
            #(#params),*
        ) -> ::autograd::Result<(#value, #grad_types)> {
            #prepare
            ::autograd::__private::staged_value_and_grad(__inputs, #twin, #shape)
        }
        #[doc(hidden)]
        pub fn __staged_jvp(
            #(#params,)* #(#direction_params),*
        ) -> ::autograd::Result<(#value, #value)> {
            #prepare
            #prepare_directions
            ::autograd::__private::staged_jvp(__inputs, __directions, #twin)
        }
        #[doc(hidden)]
        pub fn __staged_hvp(
            #(#params,)* #(#direction_params),*
        ) -> ::autograd::Result<#grad_types> {
            #prepare
            #prepare_directions
            ::autograd::__private::staged_hvp(__inputs, __directions, #twin, #shape)
        }
    }
}

fn staged_param(param: &Param) -> TokenStream {
    let (name, ty) = (&param.name, staged_type(param));
    quote!(#name: #ty)
}

/// A parameter of a `__staged_` entry point: floats may be plain, slices of any kind.
fn staged_type(param: &Param) -> TokenStream {
    let ty = types::parameter(param);
    if let Some((form, _)) = types::listed(param) {
        return if param.by_ref { quote!(&(impl #form + ?::core::marker::Sized)) } else { quote!(impl #form) };
    }
    if let Some((taken, ..)) = integer(param, quote!(_)) {
        return taken;
    }
    if types::is_open(param) {
        let slice = with_lifetime(&param.inner, "'static");
        return quote!(&(impl ::autograd::__private::AsTwin<#slice> + ?::core::marker::Sized));
    }
    if types::is_convertible(param) {
        let ty = &param.ty;
        return quote!(impl ::autograd::__private::IntoTwin<#ty>);
    }
    match scalar(&param.ty) {
        Some(_) => quote!(impl ::core::convert::Into<#ty>),
        None => ty,
    }
}

/// Whether a twin argument has leaves.
fn is_traced(param: &Param) -> bool {
    param.role != Role::Constant && !types::is_str(param)
}

/// The argument for another run of the twin, from the next leaves; `name` is what it was.
pub fn rerun(param: &Param, name: &Ident) -> TokenStream {
    if !is_traced(param) {
        let clone = (!param.by_ref).then(|| quote!(.clone()));
        return quote!(#name #clone);
    }
    let (by_ref, name) = (param.by_ref.then(|| quote!(&)), reference(param, name));
    quote!(#by_ref ::autograd::__private::Twinned::from_leaves(#name, __leaves))
}

/// A reference to a twin argument.
fn borrowed(param: &Param) -> TokenStream {
    reference(param, &param.name)
}

/// A reference to a twin argument that goes by another name.
pub fn reference(param: &Param, name: &Ident) -> TokenStream {
    if param.by_ref { quote!(#name) } else { quote!(&#name) }
}
