//! Turns an annotated `impl` block into the block, a hidden free function for each of its methods, and the methods'
//! derivatives, `Model::loss_grad(&m, ..)`, which forward to those functions' entry points.
//!
//! Invariant: a hidden function is the method with `self` as an ordinary parameter; calls between the block's methods go
//! through the hidden functions, so that derivatives flow through them.

use std::collections::HashMap;

use proc_macro2::{Group, Ident, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote};
use syn::ext::IdentExt;
use syn::visit_mut::{self, VisitMut};
use syn::{
    Attribute, Expr, ExprCall, FnArg, GenericParam, ImplItem, ImplItemFn, ItemFn, ItemImpl, Meta, Pat, Receiver,
    ReceiverKind, Result, ReturnType, Type, parse_quote, parse2,
};

use crate::ast::{self, Function, bare, is_static, ungroup};
use crate::options::{self, Options};
use crate::twin::STAGED;
use crate::valid::{self, Errors};
use crate::{entry, expand};

/// What `self` is called in the hidden functions.
const SELF: &str = "self_";

/// Expands an annotated block; what is wrong with it comes beside it.
pub fn expand(arguments: TokenStream, mut block: ItemImpl) -> TokenStream {
    let own = take_options(&mut block);
    let expanded = options::parse(arguments).and_then(|shared| functions(&block, &shared, &own));
    for item in &mut block.items {
        if let ImplItem::Fn(method) = item {
            strip_constant(method);
        }
    }
    match expanded {
        Ok(expanded) => quote!(#block #expanded),
        Err(error) => {
            let error = error.into_compile_error();
            quote!(#block #error)
        }
    }
}

/// The options of single methods, by their places, which are taken off.
fn take_options(block: &mut ItemImpl) -> HashMap<usize, Attribute> {
    let mut own = HashMap::new();
    for (place, item) in block.items.iter_mut().enumerate() {
        let ImplItem::Fn(method) = item else { continue };
        let is_option = |attr: &Attribute| attr.path().segments.last().is_some_and(|s| s.ident == "differentiable");
        if let Some(at) = method.attrs.iter().position(is_option) {
            own.insert(place, method.attrs.remove(at));
        }
    }
    own
}

fn strip_constant(method: &mut ImplItemFn) {
    for arg in &mut method.sig.inputs {
        if let FnArg::Typed(arg) = arg {
            arg.attrs.retain(|attr| !ast::is_constant(attr));
        }
    }
}

fn functions(block: &ItemImpl, shared: &Options, own: &HashMap<usize, Attribute>) -> Result<TokenStream> {
    let mut errors = Errors::default();
    if let Some((path, _)) = &block.trait_ {
        errors.at(path, "a trait's `impl` cannot be differentiated: put the methods into an `impl` of the type");
    }
    for param in &block.generics.params {
        if !matches!(param, GenericParam::Lifetime(_)) {
            errors.at(param, "a generic `impl` cannot be differentiated: write it for a concrete type");
        }
    }
    let Type::Path(ty) = ungroup(&block.self_ty) else {
        errors.at(&block.self_ty, "the `impl` of this type cannot be differentiated: write it for a struct");
        return errors.finish().map(|()| TokenStream::new());
    };
    errors = errors.finish().map(|()| Errors::default())?;
    let Some(name) = ty.path.segments.last().map(|s| &s.ident) else { return Ok(TokenStream::new()) };
    let methods: Vec<(usize, &ImplItemFn)> = block
        .items
        .iter()
        .enumerate()
        .filter_map(|(place, item)| match item {
            ImplItem::Fn(method) if own.contains_key(&place) || takes_part(method) => Some((place, method)),
            _ => None,
        })
        .collect();
    let hidden: HashMap<String, Hidden> = methods
        .iter()
        .map(|(_, method)| {
            let called = &method.sig.ident;
            let function = format_ident!("differentiable_{}_{}", bare(name), bare(called), span = called.span());
            let by_ref = method.sig.receiver().map(is_reference);
            (called.to_string(), Hidden { function, by_ref })
        })
        .collect();
    let mut all = TokenStream::new();
    for (place, method) in methods {
        match function(block, name, method, own.get(&place), shared, &hidden) {
            Ok(tokens) => all.extend(tokens),
            Err(error) => errors.push(error),
        }
    }
    errors.finish().map(|()| all)
}

/// A method's hidden function.
struct Hidden {
    function: Ident,
    /// Whether it takes `self` by reference; `None` if it takes none.
    by_ref: Option<bool>,
}

/// Whether a method without options of its own is differentiated: its result may have a derivative, and something that it
/// takes.
fn takes_part(method: &ImplItemFn) -> bool {
    let ret = match &method.sig.output {
        ReturnType::Default => return false,
        ReturnType::Type(_, ty) => ungroup(ty),
    };
    let given = |arg: &FnArg| match arg {
        FnArg::Receiver(_) => true,
        FnArg::Typed(arg) => !is_static(&arg.ty) && !arg.attrs.iter().any(ast::is_constant),
    };
    !is_static(ret) && !matches!(ret, Type::Reference(_)) && method.sig.inputs.iter().any(given)
}

/// One method: its hidden function with a companion, and its derivatives.
fn function(
    block: &ItemImpl,
    ty: &Ident,
    method: &ImplItemFn,
    own: Option<&Attribute>,
    shared: &Options,
    hidden: &HashMap<String, Hidden>,
) -> Result<TokenStream> {
    let options = match own.map(|attr| &attr.meta) {
        Some(Meta::List(list)) => Some(options::parse(list.tokens.clone())?),
        _ => None,
    };
    let called = &method.sig.ident;
    let mut item = as_free(method, &block.self_ty)?;
    // private, as the type may be
    item.attrs = method.attrs.iter().filter(|attr| attr.path().is_ident("cfg")).cloned().collect();
    item.attrs.push(parse_quote!(#[doc(hidden)]));
    item.attrs.push(parse_quote!(#[allow(unused, nonstandard_style, missing_docs, clippy::all, clippy::pedantic)]));
    item.sig.ident = hidden[&called.to_string()].function.clone();
    let by_ref = method.sig.receiver().is_some_and(is_reference);
    Calls { ty, hidden, by_ref }.visit_block_mut(&mut item.block);
    let mut options = options.unwrap_or_else(|| shared.clone());
    for name in options.wrt.iter_mut().flatten().filter(|name| *name == "self") {
        *name = Ident::new(SELF, name.span());
    }
    let mut function = Function::read(item, &options);
    function.title = format!("{}::{}", bare(ty), bare(called));
    valid::check(&function, &options)?;
    let self_ty = &block.self_ty;
    let passed = function.params.iter().map(|param| &param.name);
    function.delegate = Some(parse_quote!({ <#self_ty>::#called(#(#passed),*) }));
    let entries = entry::of_method(&function, method);
    let expanded = expand::expand(function);
    let (generics, clause) = (&block.generics, &block.generics.where_clause);
    let cfgs = method.attrs.iter().filter(|attr| attr.path().is_ident("cfg"));
    Ok(quote! {
        #expanded

        #(#cfgs)*
        #[automatically_derived]
        #[allow(unused, nonstandard_style, private_interfaces, clippy::all, clippy::pedantic)]
        impl #generics #self_ty #clause {
            #entries
        }
    })
}

/// The method as a free function: `self` is a parameter, `Self` the type.
fn as_free(method: &ImplItemFn, ty: &Type) -> Result<ItemFn> {
    let mut sig = method.sig.clone();
    if let Some(receiver) = method.sig.receiver() {
        if let ReceiverKind::Reference(_, _, Some(token)) = &receiver.kind {
            let text = "a method that takes `&mut self` cannot be differentiated: put it into an `impl` without the \
                        attribute";
            return Err(syn::Error::new_spanned(token, text));
        }
        let (name, ty) = (Ident::new(SELF, receiver.self_token.span), receiver_type(receiver, ty));
        let mutable = &receiver.mutability;
        let pat: Pat = parse_quote!(#mutable #name);
        if let Some(first) = sig.inputs.first_mut() {
            *first = parse_quote!(#pat: #ty);
        }
    }
    let (sig, body) = (plain(sig.to_token_stream(), ty), plain(method.block.to_token_stream(), ty));
    parse2(quote!(#sig #body))
}

fn receiver_type(receiver: &Receiver, ty: &Type) -> Type {
    match &receiver.kind {
        ReceiverKind::Reference(and, lifetime, _) => parse_quote!(#and #lifetime #ty),
        ReceiverKind::Typed(_, ty) => (**ty).clone(),
        _ => ty.clone(),
    }
}

fn is_reference(receiver: &Receiver) -> bool {
    match &receiver.kind {
        ReceiverKind::Typed(_, ty) => matches!(ungroup(ty), Type::Reference(_)),
        kind => matches!(kind, ReceiverKind::Reference(..)),
    }
}

/// The tokens with `self` under its other name, and `Self` spelled out.
fn plain(tokens: TokenStream, ty: &Type) -> TokenStream {
    let replaced = tokens.into_iter().map(|token| match token {
        TokenTree::Ident(name) if name == "self" => TokenTree::Ident(Ident::new(SELF, name.span())).into(),
        TokenTree::Ident(name) if name == "Self" => ty.to_token_stream(),
        TokenTree::Group(group) => {
            let mut inside = Group::new(group.delimiter(), plain(group.stream(), ty));
            inside.set_span(group.span());
            TokenTree::Group(inside).into()
        }
        token => token.into(),
    });
    replaced.collect()
}

/// Makes calls between the block's methods, and of their derivatives, calls of their hidden functions.
struct Calls<'a> {
    ty: &'a Ident,
    hidden: &'a HashMap<String, Hidden>,
    /// Whether `self` is a reference here.
    by_ref: bool,
}

impl Calls<'_> {
    /// The function behind a name, and the entry point if the name is that of a derivative.
    fn find(&self, name: &Ident) -> Option<(&Hidden, Option<Ident>)> {
        let text = name.to_string();
        if let Some(hidden) = self.hidden.get(&text) {
            return Some((hidden, None));
        }
        STAGED.iter().find_map(|entry| {
            let method = text.strip_suffix(entry)?.strip_suffix('_')?;
            Some((self.hidden.get(method)?, Some(Ident::new(entry, name.span()))))
        })
    }
}

impl VisitMut for Calls<'_> {
    fn visit_expr_mut(&mut self, e: &mut Expr) {
        visit_mut::visit_expr_mut(self, e);
        match e {
            Expr::MethodCall(call) => {
                let Expr::Path(receiver) = &*call.receiver else { return };
                if !receiver.path.is_ident(SELF) {
                    return;
                }
                let Some((Hidden { function, by_ref: Some(by_ref) }, entry)) = self.find(&call.method) else { return };
                let (name, args) = (&receiver.path, &call.args);
                let receiver: Expr = match (by_ref, self.by_ref) {
                    (true, false) => parse_quote!(&#name),
                    (false, true) => parse_quote!(*#name),
                    _ => parse_quote!(#name),
                };
                let entry = entry.map(|entry| quote!(::#entry));
                *e = parse_quote!(#function #entry(#receiver, #args));
            }
            Expr::Call(ExprCall { func, .. }) => {
                let Expr::Path(path) = &mut **func else { return };
                let segments = &path.path.segments;
                if path.qself.is_some() || segments.len() != 2 || segments[0].ident.unraw() != *self.ty {
                    return;
                }
                if let Some((Hidden { function, .. }, entry)) = self.find(&segments[1].ident) {
                    let entry = entry.map(|entry| quote!(::#entry));
                    path.path = parse_quote!(#function #entry);
                }
            }
            _ => {}
        }
    }
}
