//! Turns a struct into a parameter, a gradient and a result: `#[derive(Differentiable)]`.
//!
//! Invariant: every method visits the fields in declaration order. If the fields are tensors, or
//! `#[tensors]` says that they are made of tensors, the struct is its own twin; otherwise a hidden
//! struct with the fields' twins is.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{Data, DeriveInput, Error, Fields, GenericParam, Ident, Member, Result, Type};

use crate::ast::{bare, first_argument, is_constant, is_own_twin, is_static, scalar, ungroup};
use crate::valid::{Errors, unsupported};

/// A field of the struct.
struct Field {
    member: Member,
    ty: Type,
    vis: syn::Visibility,
    role: Role,
    /// Whether its type mentions a type parameter.
    generic: bool,
}

#[derive(PartialEq)]
enum Role {
    Differentiable,
    /// An integer, a string, ..: a run-time input without a gradient.
    Static,
    /// Marked `#[constant]`.
    Constant,
}

/// Expands the derive.
pub fn expand(input: DeriveInput) -> Result<TokenStream> {
    let data = match &input.data {
        Data::Struct(data) => data,
        Data::Enum(data) => {
            let text = "an enum cannot be differentiated: use a struct, or mark the parameter \
                        `#[constant]`";
            return Err(Error::new(data.enum_token.span(), text));
        }
        Data::Union(data) => {
            let text = "a union cannot be differentiated: use a struct";
            return Err(Error::new(data.union_token.span(), text));
        }
    };
    let fields = read(&input, &data.fields);
    check(&input, &fields)?;
    Ok(implementations(&input, &data.fields, &fields))
}

fn read(input: &DeriveInput, fields: &Fields) -> Vec<Field> {
    let read = fields.members().zip(fields).map(|(member, field)| {
        let role = if field.attrs.iter().any(is_constant) {
            Role::Constant
        } else if is_static(&field.ty) {
            Role::Static
        } else {
            Role::Differentiable
        };
        let generic = mentions_parameter(input, &field.ty);
        Field { member, ty: field.ty.clone(), vis: field.vis.clone(), role, generic }
    });
    read.collect()
}

fn check(input: &DeriveInput, fields: &[Field]) -> Result<()> {
    let mut errors = Errors::default();
    for param in &input.generics.params {
        if let GenericParam::Lifetime(param) = param {
            let text = "a gradient owns its data: hold owned values instead of references";
            errors.at(param, text);
        }
    }
    for field in fields.iter().filter(|field| field.role == Role::Differentiable) {
        match ungroup(&field.ty) {
            Type::Reference(ty) => {
                let text = "a gradient owns its data: hold an owned value, or mark the field \
                            `#[constant]`";
                errors.at(ty, text);
            }
            ty => unsupported(ty, &mut errors),
        }
    }
    if !fields.iter().any(|field| field.role == Role::Differentiable) {
        let text = "no field can be differentiated: hold a float, a tensor or a `Differentiable` \
                    struct";
        errors.at(&input.ident, text);
    }
    errors.finish()
}

fn implementations(input: &DeriveInput, shape: &Fields, fields: &[Field]) -> TokenStream {
    let name = &input.ident;
    let (generics, arguments, _) = input.generics.split_for_impl();
    let own = input.attrs.iter().any(is_own_twin)
        || fields.iter().all(|f| f.role != Role::Differentiable || is_tensors(&f.ty));
    let twin = format_ident!("__{}Twin", bare(name));
    let (declaration, twin) = if own {
        (TokenStream::new(), quote!(#name #arguments))
    } else {
        (declare(input, shape, fields, &twin), quote!(#twin #arguments))
    };
    let build = if own { name.clone() } else { format_ident!("__{}Twin", bare(name)) };

    let members: Vec<&Member> = fields.iter().map(|field| &field.member).collect();
    let traced = || fields.iter().filter(|field| field.role == Role::Differentiable);
    let visits = fields.iter().map(|field| {
        let arg = protocol_arg(field);
        quote!(::autograd::__private::Arg::visit(#arg, v);)
    });
    let slots = fields.iter().map(|field| {
        if field.role == Role::Constant {
            return quote!(s.refuse(););
        }
        let arg = protocol_arg(field);
        quote!(::autograd::__private::Arg::slots(#arg, s);)
    });
    let lifts = fields.iter().map(|field| {
        let arg = protocol_arg(field);
        quote!(::autograd::__private::Arg::lift(#arg, l))
    });
    let collects = fields.iter().map(|Field { member, role, .. }| match role {
        Role::Differentiable => quote!(::autograd::__private::Arg::collect(&self.#member, g)),
        _ => quote!(::core::clone::Clone::clone(&self.#member)),
    });
    let binds = traced()
        .map(|Field { member, ty, .. }| quote!(<#ty as ::autograd::__private::Arg>::bind(&mut out.#member, b);));
    let fits =
        traced().map(|Field { member, .. }| quote!(&& ::autograd::__private::Arg::fits(&self.#member, &out.#member)));
    let leaves = fields.iter().map(|Field { member, role, .. }| match role {
        Role::Constant => quote!(out.constant(&self.#member);),
        _ => quote!(::autograd::__private::Twinned::leaves(&self.#member, out);),
    });
    let rebuilt = fields.iter().map(|Field { member, role, .. }| match role {
        Role::Constant => quote!(::core::clone::Clone::clone(&self.#member)),
        _ => quote!(::autograd::__private::Twinned::from_leaves(&self.#member, next)),
    });
    let reads = fields.iter().map(|Field { ty, role, .. }| match role {
        Role::Constant => quote!(r.constant::<#ty>()),
        _ => quote!(<#ty as ::autograd::__private::Out>::read(r)),
    });
    let arg_bounds = bounds(input, fields, |ty| {
        let twin = own.then(|| quote!(Twin = #ty,));
        quote!(#ty: ::autograd::__private::Arg<#twin Grad = #ty, GradBuf = #ty>)
    });
    let twin_bounds = bounds(input, fields, |ty| match own {
        true => quote!(#ty: ::autograd::__private::Twinned),
        false => quote!(#ty: ::autograd::__private::Arg<Twin: ::autograd::__private::Twinned>),
    });
    // a cotangent is an argument, so its bounds come too
    let out_bounds = bounds(input, fields, |ty| {
        let twin = own.then(|| quote!(Twin = #ty,));
        quote! {
            #ty: ::autograd::__private::Arg<#twin Grad = #ty, GradBuf = #ty>
                + ::autograd::__private::Out<Value = #ty>
        }
    });
    let block_bounds = bounds(input, fields, |ty| quote!(#ty: ::autograd::__private::Block));
    let counts = traced().map(|Field { member, .. }| quote!(::autograd::__private::Block::count(&self.#member)));
    let lints = quote! {
        #[automatically_derived]
        #[allow(unused, nonstandard_style, clippy::all, clippy::pedantic)]
    };
    let counts: Vec<TokenStream> = counts.collect();
    let block = |ty: TokenStream, bounds: TokenStream| {
        quote! {
            #lints
            impl #generics ::autograd::__private::Block for #ty #bounds {
                ::autograd::__private::__plain_block!();
                type Over<__H: ::autograd::__private::Block> = ::std::vec::Vec<__H>;

                fn count(&self) -> usize {
                    0 #(+ #counts)*
                }

                fn over<__H: ::autograd::__private::Block>(
                    &self,
                    first: usize,
                    row: &impl ::core::ops::Fn(usize) -> __H,
                ) -> ::std::vec::Vec<__H> {
                    let n = ::autograd::__private::Block::count(self);
                    ::core::iter::Iterator::collect(::core::iter::Iterator::map(first..first + n, row))
                }
            }
        }
    };
    let own_block = block(quote!(#name #arguments), block_bounds);
    let twin_block = (!own).then(|| {
        let twin_bound = |ty: &Type| quote!(#ty: ::autograd::__private::Arg<Twin: ::autograd::__private::Block>);
        block(twin.clone(), bounds(input, fields, twin_bound))
    });
    quote! {
        #declaration
        #own_block
        #twin_block

        #lints
        impl #generics ::autograd::__private::Arg for #name #arguments #arg_bounds {
            type Twin = #twin;
            type Grad = Self;
            type GradBuf = Self;

            fn visit(&self, v: &mut ::autograd::__private::Visitor<'_>) {
                #(#visits)*
            }

            #[inline]
            fn slots<'__s>(&self, s: &mut ::autograd::__private::Slots<'__s>)
            where
                Self: '__s,
            {
                #(#slots)*
            }

            fn lift(&self, l: &mut ::autograd::__private::Lifter<'_>) -> Self::Twin {
                #build { #(#members: #lifts,)* }
            }

            fn collect(&self, g: &mut ::autograd::__private::GradReader<'_>) -> Self {
                Self { #(#members: #collects,)* }
            }

            fn bind(out: &mut Self, b: &mut ::autograd::__private::Binder<'_>) {
                #(#binds)*
            }

            fn fits(&self, out: &Self) -> bool {
                true #(#fits)*
            }
        }

        #lints
        impl #generics ::autograd::__private::Twinned for #twin #twin_bounds {
            fn leaves(&self, out: &mut ::autograd::__private::Leaves) {
                #(#leaves)*
            }

            fn from_leaves(&self, next: &mut ::autograd::__private::LeafReader<'_>) -> Self {
                Self { #(#members: #rebuilt,)* }
            }
        }

        #lints
        impl #generics ::autograd::__private::IntoTwin<#name #arguments> for #twin #arg_bounds {
            fn into_twin(self) -> Self {
                self
            }
        }

        #lints
        impl #generics ::autograd::__private::Outcome for #twin #twin_bounds {
            type Value = Self;

            fn outcome(self) -> ::autograd::Result<Self> {
                ::core::result::Result::Ok(self)
            }
        }

        #lints
        impl #generics ::autograd::__private::Out for #name #arguments #out_bounds {
            type Value = Self;
            type Ct<'__c> = &'__c Self;

            fn read(r: &mut ::autograd::__private::OutReader<'_>) -> Self {
                Self { #(#members: #reads,)* }
            }
        }
    }
}

/// The hidden struct with the fields' twins.
fn declare(input: &DeriveInput, shape: &Fields, fields: &[Field], twin: &Ident) -> TokenStream {
    let vis = &input.vis;
    let (generics, arguments, _) = input.generics.split_for_impl();
    let clause = bounds(input, fields, |ty| quote!(#ty: ::autograd::__private::Arg));
    let twins = fields.iter().map(|Field { ty, role, .. }| match role {
        Role::Constant => quote!(#ty),
        _ => twin_type(ty),
    });
    let twins: Vec<TokenStream> = twins.collect();
    let members: Vec<&Member> = fields.iter().map(|field| &field.member).collect();
    let labels = fields.iter().map(|field| match &field.member {
        Member::Named(name) => Some(quote!(#name:)),
        Member::Unnamed(_) => None,
    });
    let vises = fields.iter().map(|field| &field.vis);
    let body = quote!(#(#vises #labels #twins),*);
    let declaration = match shape {
        Fields::Named(_) => quote!(#vis struct #twin #generics #clause { #body }),
        _ => quote!(#vis struct #twin #generics (#body) #clause;),
    };
    // The twin is `Clone` and `Copy` if its fields are; the unused lifetime lets a bound that does
    // not hold stand without an error.
    let clause = if clause.is_empty() { quote!(where) } else { clause };
    let lints = quote!(#[allow(unused, nonstandard_style, clippy::all, clippy::pedantic)]);
    quote! {
        #[doc(hidden)]
        #lints
        #declaration

        #[automatically_derived]
        #lints
        impl #generics ::core::clone::Clone for #twin #arguments
        #clause #(for<'__a> #twins: ::core::clone::Clone,)*
        {
            fn clone(&self) -> Self {
                Self { #(#members: ::core::clone::Clone::clone(&self.#members),)* }
            }
        }

        #[automatically_derived]
        #lints
        impl #generics ::core::marker::Copy for #twin #arguments
        #clause #(for<'__a> #twins: ::core::marker::Copy,)*
        {
        }
    }
}

/// The twin of a field's type. Floats are spelled out: rustc 1.95 crashes where a closure, as a loop becomes, takes a field of a
/// projected type by `..rest`.
fn twin_type(ty: &Type) -> TokenStream {
    match ungroup(ty) {
        Type::Array(array) => {
            let (elem, len) = (twin_type(&array.elem), &array.len);
            quote!([#elem; #len])
        }
        ty => match scalar(ty) {
            Some(_) => quote!(::autograd::__private::Real<#ty>),
            None => quote!(<#ty as ::autograd::__private::Arg>::Twin),
        },
    }
}

/// The struct's own `where` clause and `bound` for every field that needs one.
fn bounds(input: &DeriveInput, fields: &[Field], bound: impl Fn(&Type) -> TokenStream) -> TokenStream {
    let own = input.generics.where_clause.iter().flat_map(|clause| &clause.predicates);
    let own: Vec<TokenStream> = own.map(|predicate| quote!(#predicate)).collect();
    let generic = fields.iter().filter(|field| field.generic && field.role != Role::Constant);
    let bounds: Vec<TokenStream> = generic.map(|field| bound(&field.ty)).collect();
    if own.is_empty() && bounds.is_empty() {
        return TokenStream::new();
    }
    quote!(where #(#own,)* #(#bounds,)*)
}

fn protocol_arg(field: &Field) -> TokenStream {
    let member = &field.member;
    match field.role {
        Role::Constant => quote!(&::autograd::__private::Constant(&self.#member)),
        _ => quote!(&self.#member),
    }
}

/// Whether the type is a tensor or a container of tensors, as far as its spelling tells.
fn is_tensors(ty: &Type) -> bool {
    match ungroup(ty) {
        Type::Array(ty) => is_tensors(&ty.elem),
        Type::Tuple(ty) => ty.elems.iter().all(is_tensors),
        Type::Path(path) => match path.path.segments.last() {
            Some(last) if last.ident == "Tensor" => true,
            Some(last) if last.ident == "Vec" || last.ident == "Option" => first_argument(path).is_some_and(is_tensors),
            _ => false,
        },
        _ => false,
    }
}

fn mentions_parameter(input: &DeriveInput, ty: &Type) -> bool {
    struct Search<'i>(&'i DeriveInput, bool);
    impl<'ast> Visit<'ast> for Search<'_> {
        fn visit_ident(&mut self, ident: &'ast Ident) {
            self.1 |= self.0.generics.type_params().any(|param| param.ident == *ident)
                || self.0.generics.const_params().any(|param| param.ident == *ident);
        }
    }
    let mut search = Search(input, false);
    search.visit_type(ty);
    search.1
}
