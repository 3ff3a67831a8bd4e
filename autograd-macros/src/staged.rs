//! Turns an annotated function into what the twins of other functions call: `__call`, `__list` and `__argN` for
//! the function itself, `__staged_grad` and its like for its derivatives.
//!
//! Invariant: arguments and results are twins. Floats may be given plain and slices in any form;
//! everything else has the exact type of the twin's parameter.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Ident, Type};

use crate::ast::{Form, Function, Param, Role, bare, first_argument, is_counter, scalar, ungroup};
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
    // a matrix has a row or column for each item of a list
    let items = function.params.iter().filter(|param| types::listed(param).is_some()).map(|param| {
        let (name, by_ref) = (&param.name, param.by_ref.then(|| quote!(&)));
        quote!(let #name = #by_ref #name.each();)
    });
    let items: Vec<TokenStream> = items.collect();
    let inputs = function.params.iter().filter(|param| is_traced(param)).map(|param| {
        let (name, wrt) = (borrowed(param), param.wrt);
        quote!(__inputs.push(#name, #wrt);)
    });
    let inputs: Vec<TokenStream> = inputs.collect();
    let rerun: Vec<TokenStream> = function.params.iter().map(|param| rerun(param, &param.name)).collect();
    let wrt: Vec<&Param> = function.params.iter().filter(|param| param.wrt).collect();
    let grads = |rows: bool| {
        let grads = wrt.iter().map(|param| {
            let name = borrowed(param);
            let grad = quote!(::autograd::__private::Twinned::from_leaves(#name, __leaves));
            match param.form {
                _ if param.indexed.is_some() => quote!(#grad.to_array()),
                Form::List | Form::Table if rows => quote!(::autograd::__private::Unrolled::unrolled(&#grad)),
                _ => grad,
            }
        });
        bare_or_tuple(&grads.collect::<Vec<_>>())
    };
    let (grads, rows) = (grads(false), grads(true));
    let grad_types: Vec<TokenStream> = wrt.iter().map(|param| types::gradient(param)).collect();
    let grad_types = bare_or_tuple(&grad_types);
    let row_types: Vec<Type> = wrt.iter().map(|param| types::projection(&param.inner, "Twin")).collect();
    let row_types = bare_or_tuple(&row_types);
    let declared = function.ret.as_ref().expect("checked: a result is declared");
    let ret = types.result(declared);
    let value = quote!(<#ret as ::autograd::__private::Outcome>::Value);

    let leaves = quote!(__leaves: &mut ::autograd::__private::LeafReader<'_>);
    let called = function.called();
    let twin = quote!(&|#leaves| Self::#called(#(#rerun),*));
    let shape = quote!(|#leaves| #grads);
    let row = quote!(|#leaves| -> #row_types { #rows });
    let title = &function.title;
    let collect = quote! {
        let mut __inputs = ::autograd::__private::Inputs::of(#title);
        #(#inputs)*
    };
    let prepare = quote! {
        #(#converted)*
        #collect
    };
    let by_items = quote! {
        #(#converted)*
        #(#items)*
        #collect
    };
    let Pull { owned, borrowed, passed } = pull(function);
    let ct = if is_by_value(declared) { quote!(#value) } else { quote!(&#value) };
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
    debug_assert_eq!(
        STAGED,
        ["grad", "value_and_grad", "value", "vjp", "jvp", "hvp", "grad_and_hvp", "jacobian", "hessian"]
    );
    // inline: what nobody calls is not compiled
    quote! {
        #[doc(hidden)]
        #[inline]
        pub fn __staged_value(#(#params),*) -> ::autograd::Result<#value> {
            #(#converted)*
            ::autograd::__private::Outcome::outcome(Self::#called(#(#names),*))
        }
        #[doc(hidden)]
        #[inline]
        pub fn __staged_grad(#(#params),*) -> ::autograd::Result<#grad_types> {
            #prepare
            ::autograd::__private::staged_grad(__inputs, #twin, #shape)
        }
        #[doc(hidden)]
        #[inline]
        pub fn __staged_value_and_grad(
            #(#params),*
        ) -> ::autograd::Result<(#value, #grad_types)> {
            #prepare
            ::autograd::__private::staged_value_and_grad(__inputs, #twin, #shape)
        }
        #[doc(hidden)]
        #[inline]
        pub fn __staged_vjp(
            #(#params),*
        ) -> ::autograd::Result<(
            #value,
            impl ::core::ops::Fn(#ct) -> ::autograd::Result<#grad_types>,
        )> {
            #(#converted)*
            #(#owned)*
            let (__value, __again) = ::autograd::__private::staged_vjp(|| {
                #(#borrowed)*
                Self::#called(#(#passed),*)
            })?;
            ::core::result::Result::Ok((__value, move |__ct: #ct| {
                #(#borrowed)*
                #collect
                __again.pull(__inputs, ::core::borrow::Borrow::<#value>::borrow(&__ct), #twin, #shape)
            }))
        }
        #[doc(hidden)]
        #[inline]
        pub fn __staged_grad_and_hvp(
            #(#params,)* #(#direction_params),*
        ) -> ::autograd::Result<(#grad_types, #grad_types)> {
            #prepare
            #prepare_directions
            ::autograd::__private::staged_grad_and_hvp(__inputs, __directions, #twin, #shape)
        }
        #[doc(hidden)]
        #[inline]
        #[track_caller]
        pub fn __staged_jacobian(
            #(#params),*
        ) -> ::autograd::Result<<#value as ::autograd::__private::Block>::Over<#row_types>> {
            #by_items
            ::autograd::__private::staged_jacobian(__inputs, #twin, #row)
        }
        #[doc(hidden)]
        #[inline]
        #[track_caller]
        pub fn __staged_hessian(
            #(#params),*
        ) -> ::autograd::Result<<#row_types as ::autograd::__private::Block>::Over<#row_types>> {
            #by_items
            ::autograd::__private::staged_hessian(__inputs, #twin, #row)
        }
        #[doc(hidden)]
        #[inline]
        pub fn __staged_jvp(
            #(#params,)* #(#direction_params),*
        ) -> ::autograd::Result<(#value, #value)> {
            #prepare
            #prepare_directions
            ::autograd::__private::staged_jvp(__inputs, __directions, #twin)
        }
        #[doc(hidden)]
        #[inline]
        pub fn __staged_hvp(
            #(#params,)* #(#direction_params),*
        ) -> ::autograd::Result<#grad_types> {
            #prepare
            #prepare_directions
            ::autograd::__private::staged_hvp(__inputs, __directions, #twin, #shape)
        }
    }
}

/// What a pull-back keeps of the arguments of its function.
struct Pull {
    /// Twins of its own, which outlive what the caller lent.
    owned: Vec<TokenStream>,
    /// The parameters again, where they are references.
    borrowed: Vec<TokenStream>,
    /// The arguments of one run.
    passed: Vec<TokenStream>,
}

fn pull(function: &Function) -> Pull {
    let own = |name: &Ident| format_ident!("__own_{}", bare(name));
    let owned = function.params.iter().map(|param| {
        let (name, kept) = (&param.name, own(&param.name));
        let (traced, reference) = (is_traced(param), borrowed(param));
        let copy = if traced { quote!(::autograd::__private::owned) } else { quote!(::std::borrow::ToOwned::to_owned) };
        let copy = quote!(#copy(#reference));
        if param.by_ref { quote!(let #kept = #copy;) } else { quote!(let #name = #copy;) }
    });
    let borrowed = function.params.iter().filter(|param| param.by_ref).map(|param| {
        let (name, kept, ty) = (&param.name, own(&param.name), types::parameter(param));
        quote!(let #name: #ty = &#kept;)
    });
    let passed = function.params.iter().map(|param| match param {
        Param { by_ref: true, name, .. } => quote!(#name),
        param if is_traced(param) => {
            let name = &param.name;
            quote!(::autograd::__private::owned(&#name))
        }
        Param { name, .. } => quote!(::core::clone::Clone::clone(&#name)),
    });
    Pull { owned: owned.collect(), borrowed: borrowed.collect(), passed: passed.collect() }
}

/// Whether a cotangent of such a result is taken by value, as entry points take it.
fn is_by_value(ret: &Type) -> bool {
    match ungroup(ret) {
        Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Result") => {
            first_argument(path).is_some_and(is_by_value)
        }
        ret => scalar(ret).is_some(),
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
