//! Turns the parameter list into the derivative entry points, on the companion and on the struct that
//! a kept compiled function derefs to.
//!
//! Invariant: an entry point is not generic, repeats the user's parameters and only forwards to the
//! generic driver of the same name in the runtime.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{FnArg, Ident, ImplItemFn, parse_quote};

use crate::ast::{Form, Function, Param, bare};
use crate::twin::types::{projection, with_lifetime};

/// A method that every companion has: its name, what it adds to the parameters, what it returns.
struct Entry {
    name: &'static str,
    doc: &'static str,
    extra: Extra,
    result: TokenStream,
    /// Whether a kept compiled function has it too.
    kept: bool,
}

#[derive(PartialEq)]
enum Extra {
    None,
    Tangents,
    Buffers,
}

/// All but `vjp`, of the function whose companion is `this`.
fn entry_points(this: &TokenStream) -> Vec<Entry> {
    let value = quote!(<#this as ::autograd::__private::Function>::Value);
    let grads = quote!(<#this as ::autograd::__private::Function>::Grads);
    let entry = |name, doc, extra, result, kept| Entry { name, doc, extra, result, kept };
    vec![
        entry("grad", "The gradient at these arguments.", Extra::None, quote!(#grads), true),
        entry(
            "value_and_grad",
            "The value and the gradient at these arguments.",
            Extra::None,
            quote!((#value, #grads)),
            true,
        ),
        entry("value", "The value, computed by the compiled function.", Extra::None, value.clone(), true),
        entry(
            "jvp",
            "The value and its derivative along the tangents, one a differentiated parameter.",
            Extra::Tangents,
            quote!((#value, #value)),
            true,
        ),
        entry(
            "hvp",
            "The product of the Hessian and the directions, one a differentiated parameter.",
            Extra::Tangents,
            grads.clone(),
            true,
        ),
        entry(
            "grad_and_hvp",
            "The gradient, and the product of the Hessian and the directions, one a differentiated parameter.",
            Extra::Tangents,
            quote!((#grads, #grads)),
            true,
        ),
        entry(
            "jacobian",
            "All derivatives of all results: a gradient for each float of the result.",
            Extra::None,
            quote!(::autograd::__private::Jacobian<#this>),
            true,
        ),
        entry(
            "hessian",
            "All second derivatives: a gradient for each float of the gradient.",
            Extra::None,
            quote!(::autograd::__private::Hessian<#this>),
            true,
        ),
        entry(
            "jacobian_sparse",
            "All derivatives of all results that may differ from zero, as one matrix of compressed rows: a row for each \
             float of the results, a column for each float of the differentiated parameters, in order.",
            Extra::None,
            quote!(::autograd::__private::CsMat<f64>),
            false,
        ),
        entry(
            "hessian_sparse",
            "All second derivatives that may differ from zero, as one matrix of compressed rows: a row and a column for \
             each float of the differentiated parameters, in order.",
            Extra::None,
            quote!(::autograd::__private::CsMat<f64>),
            false,
        ),
        entry(
            "check",
            "Compares the derivatives at these arguments with finite differences.",
            Extra::None,
            quote!(::autograd::__private::CheckReport),
            false,
        ),
        entry(
            "bench",
            "Times both engines at these arguments.",
            Extra::None,
            quote!(::autograd::__private::BenchReport),
            false,
        ),
        entry(
            "explain",
            "Tells how the function is compiled at these arguments.",
            Extra::None,
            quote!(::autograd::__private::Explanation),
            false,
        ),
        entry(
            "compile",
            "Compiles for these arguments; the result is kept and called.",
            Extra::None,
            quote!(::autograd::__private::Compiled<#this>),
            false,
        ),
        entry(
            "grad_into",
            "Writes the gradient into the buffers, one a differentiated parameter.",
            Extra::Buffers,
            quote!(()),
            true,
        ),
        entry(
            "value_and_grad_into",
            "Writes the gradient into the buffers and returns the value.",
            Extra::Buffers,
            value.clone(),
            true,
        ),
    ]
}

/// The entry points of the companion.
pub fn entries(function: &Function) -> TokenStream {
    let (params, args) = (entry_params(function), entry_args(function));
    let generics = &function.original.sig.generics;
    let clause = &generics.where_clause;
    let methods = entry_points(&quote!(Self)).into_iter().map(|entry| {
        let Entry { doc, result, .. } = &entry;
        let name = entry_name(function, entry.name);
        let (extra, passed) = extras(function, &entry.extra);
        let checked = (entry.extra == Extra::Buffers).then(|| buffers_fit(function));
        quote! {
            #[doc = #doc]
            pub fn #name #generics (#params #extra) -> ::autograd::Result<#result> #clause {
                #checked
                ::autograd::__private::#name::<Self>(#args #passed)
            }
        }
    });
    let pull_back = pull_back(function);
    let batches = BATCHES.iter().map(|(name, doc, tangents)| batch(function, name, doc, *tangents));
    quote!(#(#methods)* #pull_back #(#batches)*)
}

/// Entry points over many arguments, and whether they take directions.
const BATCHES: [(&str, &str, bool); 7] = [
    ("value", "The values at many arguments.", false),
    ("grad", "The gradients at many arguments.", false),
    ("value_and_grad", "The values and gradients at many arguments.", false),
    ("jvp", "The values and their derivatives along the tangents at many arguments.", true),
    ("hvp", "The products of Hessian and directions at many arguments.", true),
    ("jacobian", "The Jacobians at many arguments.", false),
    ("hessian", "The Hessians at many arguments.", false),
];

/// `vmap_grad(xs, ys)`: a slice for each parameter, of which one item stands for as many as the others have.
fn batch(function: &Function, name: &str, doc: &str, tangents: bool) -> TokenStream {
    let many = |name: &Ident, param: &Param| {
        let inner = with_lifetime(&param.inner, "'__v");
        quote!(#name: &[impl ::core::borrow::Borrow<#inner> + ::core::marker::Sync],)
    };
    let items = function.params.iter().map(|param| many(&param.name, param));
    let wrt = || function.params.iter().filter(|param| param.wrt && tangents);
    let directions = wrt().map(|param| many(&additional(function, param), param));
    let params: Vec<TokenStream> = items.chain(directions).collect();
    let names: Vec<Ident> = function
        .params
        .iter()
        .map(|param| param.name.clone())
        .chain(wrt().map(|param| additional(function, param)))
        .collect();
    let one = |name: &Ident| quote!(::core::borrow::Borrow::borrow(::autograd::__private::vmap::at(#name, __item)),);
    let args: Vec<TokenStream> = function.params.iter().map(|param| one(&param.name)).collect();
    let given: Vec<TokenStream> = wrt().map(|param| one(&additional(function, param))).collect();
    let given = match tangents {
        true => quote!(::core::option::Option::Some((#(#given)*))),
        false => quote!(::core::option::Option::None),
    };
    let method = format_ident!("vmap_{name}", span = function.name().span());
    let title = bare(function.name()).to_string();
    let text = format!("{doc} One item of an argument stands for as many as the others have.");
    let result = match name {
        "value" => quote!(<Self as ::autograd::__private::Function>::Value),
        "grad" | "hvp" => quote!(<Self as ::autograd::__private::Function>::Grads),
        "value_and_grad" => {
            quote!((<Self as ::autograd::__private::Function>::Value, <Self as ::autograd::__private::Function>::Grads))
        }
        "jvp" => {
            quote!((<Self as ::autograd::__private::Function>::Value, <Self as ::autograd::__private::Function>::Value))
        }
        "jacobian" => quote!(::autograd::__private::Jacobian<Self>),
        _ => quote!(::autograd::__private::Hessian<Self>),
    };
    quote! {
        #[doc = #text]
        pub fn #method<'__v>(#(#params)*) -> ::autograd::Result<::std::vec::Vec<#result>> {
            let __n = ::autograd::__private::vmap::items(#title, &[#(#names.len()),*])?;
            ::autograd::__private::vmap::#method::<Self>(__n, &|__item, __then| __then((#(#args)*), #given))
        }
    }
}

/// `vjp`. The pull-back is a closure that owns or borrows the arguments, which give the gradients their
/// form; it takes scalars by value and everything else by reference.
fn pull_back(function: &Function) -> TokenStream {
    let (params, args) = (entry_params(function), entry_args(function));
    let generics = &function.original.sig.generics;
    let clause = &generics.where_clause;
    let name = entry_name(function, "vjp");
    let (ct, result) = pull_back_types(function, &quote!(Self));
    quote! {
        #[doc = #PULL_BACK]
        pub fn #name #generics (#params) -> #result #clause {
            let (__value, __pull_back) = ::autograd::__private::vjp::<Self>(#args)?;
            ::core::result::Result::Ok((__value, move |__ct: #ct| __pull_back.apply(#args &__ct)))
        }
    }
}

const PULL_BACK: &str = "The value and a pull-back from a cotangent of the result to gradients.";

/// The type of a cotangent, and what `vjp` returns.
fn pull_back_types(function: &Function, this: &TokenStream) -> (TokenStream, TokenStream) {
    let ret = function.ret.as_ref().expect("checked: a result is declared");
    let ret = with_lifetime(ret, "'static");
    let ct = quote!(<#ret as ::autograd::__private::Out>::Ct<'_>);
    let grads = quote!(::autograd::Result<<#this as ::autograd::__private::Function>::Grads>);
    // of this crate's edition, so that the closure's type captures the parameters' lifetimes in any
    let closure = quote_spanned!(Span::mixed_site()=> impl ::core::ops::Fn(#ct) -> #grads);
    let value = quote!(<#this as ::autograd::__private::Function>::Value);
    let result = quote!(::autograd::Result<(#value, #closure)>);
    (ct, result)
}

/// The entry points of a method, which forward to those of its hidden function: `loss_grad(&self, ..)`.
pub fn of_method(function: &Function, method: &ImplItemFn) -> TokenStream {
    let companion = function.name();
    let (vis, generics) = (&method.vis, &method.sig.generics);
    let clause = &generics.where_clause;
    let receiver = method.sig.receiver();
    let params = method.sig.inputs.iter().zip(&function.params).map(|(arg, Param { name, ty, .. })| match arg {
        FnArg::Receiver(receiver) => {
            let mut receiver = receiver.clone();
            receiver.mutability = None;
            quote!(#receiver,)
        }
        FnArg::Typed(_) => quote!(#name: #ty,),
    });
    let params: TokenStream = params.collect();
    let given = function.params.iter().enumerate().map(|(index, Param { name, .. })| match receiver {
        Some(receiver) if index == 0 => {
            let token = receiver.self_token;
            quote!(#token,)
        }
        _ => quote!(#name,),
    });
    let given: TokenStream = given.collect();
    let methods = entry_points(&quote!(#companion)).into_iter().map(|Entry { name, doc, extra, result, .. }| {
        let (entry, called) = (entry_name(function, name), derivative_name(method, name));
        let (additional, _) = extras(function, &extra);
        let passed = function.params.iter().filter(|param| param.wrt && extra != Extra::None).map(|param| {
            let name = self::additional(function, param);
            quote!(#name,)
        });
        quote! {
            #[doc = #doc]
            #vis fn #called #generics (#params #additional) -> ::autograd::Result<#result> #clause {
                #companion::#entry(#given #(#passed)*)
            }
        }
    });
    let (vjp, entry) = (derivative_name(method, "vjp"), entry_name(function, "vjp"));
    let (_, result) = pull_back_types(function, &quote!(#companion));
    quote! {
        #(#methods)*
        #[doc = #PULL_BACK]
        #vis fn #vjp #generics (#params) -> #result #clause {
            #companion::#entry(#given)
        }
    }
}

fn derivative_name(method: &ImplItemFn, entry: &str) -> Ident {
    let name = &method.sig.ident;
    format_ident!("{}_{entry}", bare(name), span = name.span())
}

/// The same methods on the struct that a kept compiled function derefs to.
pub fn kept_calls(function: &Function) -> TokenStream {
    let (params, args) = (entry_params(function), entry_args(function));
    let generics = &function.original.sig.generics;
    let clause = &generics.where_clause;
    let companion = function.name();
    let methods = entry_points(&quote!(#companion)).into_iter().filter(|entry| entry.kept).map(|entry| {
        let Entry { doc, result, .. } = &entry;
        let name = entry_name(function, entry.name);
        let (extra, passed) = extras(function, &entry.extra);
        let checked = (entry.extra == Extra::Buffers).then(|| buffers_fit(function));
        quote! {
            #[doc = #doc]
            pub fn #name #generics (&self, #params #extra) -> ::autograd::Result<#result> #clause {
                #checked
                self.0.#name::<#companion>(#args #passed)
            }
        }
    });
    let name = entry_name(function, "vjp");
    let (ct, result) = pull_back_types(function, &quote!(#companion));
    quote! {
        #(#methods)*
        #[doc = #PULL_BACK]
        pub fn #name #generics (&self, #params) -> #result #clause {
            let (__value, __pull_back) = self.0.#name::<#companion>(#args)?;
            ::core::result::Result::Ok((__value, move |__ct: #ct| __pull_back.apply(#args &__ct)))
        }
    }
}

fn entry_name(function: &Function, name: &str) -> Ident {
    Ident::new(name, function.name().span())
}

fn entry_params(function: &Function) -> TokenStream {
    let params = function.params.iter().map(|Param { name, ty, .. }| quote!(#name: #ty,));
    quote!(#(#params)*)
}

/// The arguments as the tuple of references that `Function::Args` is.
fn entry_args(function: &Function) -> TokenStream {
    let args = function.params.iter().map(|Param { name, by_ref, .. }| match by_ref {
        true => quote!(#name,),
        false => quote!(&#name,),
    });
    quote!((#(#args)*),)
}

/// The name of the direction or buffer that belongs to a parameter.
fn additional(function: &Function, param: &Param) -> Ident {
    let mut name = format_ident!("d_{}", bare(&param.name));
    while function.params.iter().any(|param| param.name == name) {
        name = format_ident!("{name}_");
    }
    name
}

/// The check that buffers have the lengths of their parameters.
fn buffers_fit(function: &Function) -> TokenStream {
    let fits = function.params.iter().filter(|param| param.wrt).map(|param| {
        let (name, buffer) = (&param.name, additional(function, param));
        let ty = with_lifetime(&param.inner, "'_");
        let borrow = (!param.by_ref).then(|| quote!(&));
        if param.form == Form::Plain {
            return quote!(<#ty as ::autograd::__private::Arg>::fits(#borrow #name, &*#buffer));
        }
        quote!(::autograd::__private::Arg::fits(&::autograd::__private::Rolled(#borrow #name), &*#buffer))
    });
    quote!(::autograd::__private::fit(&[#(#fits),*])?;)
}

/// The additional parameters of an entry point, and how they are passed on.
fn extras(function: &Function, extra: &Extra) -> (TokenStream, TokenStream) {
    let wrt = || function.params.iter().filter(|param| param.wrt);
    let fresh = |param: &Param| additional(function, param);
    match extra {
        Extra::None => Default::default(),
        Extra::Tangents => {
            let params = wrt().map(|param| {
                let (name, ty) = (fresh(param), &param.ty);
                quote!(#name: #ty,)
            });
            let passed = wrt().map(|param| {
                let name = fresh(param);
                if param.by_ref { quote!(#name,) } else { quote!(&#name,) }
            });
            (quote!(#(#params)*), quote!((#(#passed)*),))
        }
        Extra::Buffers => {
            let params = wrt().map(|param| {
                let (name, ty) = (fresh(param), projection(&param.inner, "GradBuf"));
                quote!(#name: &mut #ty,)
            });
            let passed = wrt().map(|param| {
                let (name, mut ty) = (fresh(param), with_lifetime(&param.inner, "'static"));
                if param.form != Form::Plain {
                    ty = parse_quote!(::autograd::__private::Rolled<'static, #ty>);
                }
                quote!(<#ty as ::autograd::__private::Arg>::bind(#name, binder);)
            });
            let binder = quote!(binder: &mut ::autograd::__private::Binder<'_>);
            (quote!(#(#params)*), quote!(|#binder| { #(#passed)* },))
        }
    }
}
