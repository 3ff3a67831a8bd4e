//! `let`: what a variable is, by its first value and its annotation.

use proc_macro2::Span;
use quote::quote;
use syn::spanned::Spanned;
use syn::{Expr, Local, Pat, Type, parse_quote_spanned};

use super::extremes::Taker;
use super::tables::table_type;
use super::{Integers, Kind, integer, number, unparenthesised};
use crate::ast;

impl Integers<'_> {
    pub(super) fn local(&mut self, local: &mut Local) {
        let Some(init) = local.init.as_mut().filter(|init| init.diverge.is_none()) else {
            if let Some(init) = &mut local.init {
                self.plain(&mut init.expr);
                if let Some((_, diverge)) = &mut init.diverge {
                    self.plain(diverge);
                }
            }
            return self.declare(&local.pat);
        };
        self.binding(&mut local.pat, &mut init.expr);
    }

    /// `let pat = init`.
    fn binding(&mut self, pat: &mut Pat, init: &mut Expr) {
        let (names, annotation) = match pat {
            Pat::Type(pat) => (&mut *pat.pat, Some(&mut *pat.ty)),
            pat => (pat, None),
        };
        if let (Pat::Tuple(pat), None) = (&*names, &annotation)
            && let Some(halves) = self.halves(pat, init)
        {
            *init = halves;
        }
        match (names, init) {
            (Pat::Ident(name), init) if name.by_ref.is_none() && name.subpat.is_none() => {
                let (bare, id) = self.open(&name.ident);
                let (list, kind) =
                    self.initialised((&bare.to_string(), id), annotation.as_deref(), name.mutability.is_some(), init);
                if let Some(ty) = annotation
                    && let Some(to) = list
                {
                    *ty = to;
                }
                self.vars[id].kind = kind;
                self.name(&bare, id);
            }
            (Pat::Tuple(pats), Expr::Tuple(inits)) if annotation.is_none() && pats.elems.len() == inits.elems.len() => {
                let simple = |pat: &Pat| !matches!(pat, Pat::Rest(_));
                if pats.elems.iter().all(simple) {
                    // all are computed before any is bound
                    let mut bound = Vec::new();
                    for (pat, init) in pats.elems.iter_mut().zip(&mut inits.elems) {
                        match pat {
                            Pat::Ident(name) if name.by_ref.is_none() && name.subpat.is_none() => {
                                let (bare, id) = self.open(&name.ident);
                                let (_, kind) =
                                    self.initialised((&bare.to_string(), id), None, name.mutability.is_some(), init);
                                self.vars[id].kind = kind;
                                bound.push((bare, id));
                            }
                            pat => {
                                self.plain(init);
                                bound.extend(super::names::bound(pat).iter().map(|name| self.open(name)));
                            }
                        }
                    }
                    bound.iter().for_each(|(name, id)| self.name(name, *id));
                } else {
                    inits.elems.iter_mut().for_each(|init| self.plain(init));
                    pats.elems.iter().for_each(|pat| self.declare(pat));
                }
            }
            (names, init) => {
                self.plain(init);
                self.declare(names);
            }
        }
    }

    /// The initial value of a variable: the new annotation, and the variable's kind.
    fn initialised(
        &mut self,
        (name, id): (&str, usize),
        ty: Option<&Type>,
        mutable: bool,
        init: &mut Expr,
    ) -> (Option<Type>, Kind) {
        let candidate = !self.plain.contains(&id);
        let span = ty.map_or_else(Span::call_site, Spanned::span);
        let kind = self.listed_kind(init);
        if candidate
            && kind.is_list()
            && let Some(to) = if kind == Kind::List { list_type(ty) } else { table_type(ty) }
            && !(mutable && matches!(unparenthesised(init), Expr::Reference(_)))
        {
            self.vars[id].optional = true;
            self.make_listed(init, id);
            return (to, kind);
        }
        let vector = ty.is_some_and(|ty| {
            matches!(list_type(Some(ty)), Some(Some(_))) && !matches!(ty, Type::Reference(_) | Type::Array(_))
        });
        if candidate && vector && self.gives_list(init) {
            self.take_list(init, id);
            return (list_type(ty).flatten(), Kind::List);
        }
        if candidate && mutable && self.is_empty_vector(init) && list_type(ty).is_some() {
            let result = ty.is_none() && self.result.as_deref() == Some(name);
            // `Vec<_>` does not say of what
            let open = quote!(#ty).to_string().split_whitespace().any(|token| token == "_");
            self.make_empty(init, id, vector && !open || result);
            return (list_type(ty).flatten(), Kind::List);
        }
        if candidate && self.collects(init, vector) {
            (self.vars[id].kind, self.vars[id].optional) = (Kind::List, true);
            self.collect(init, id);
            return (list_type(ty).flatten(), Kind::List);
        }
        if candidate
            && !mutable
            && self.is_lookup(init)
            && ty.is_none_or(|ty| real(ty).is_some())
            && self.float.is_some()
        {
            self.look_up(init);
            self.vars[id].looked_up = true;
            return (None, Kind::Float);
        }
        self.vars[id].traced = mutable || ty.is_some_and(|ty| real(ty).is_some()) || self.is_traced_with(init, &[]);
        let float = self.is_float(init) && ty.is_none_or(|ty| real(ty).is_some());
        let inferred = matches!(ty, None | Some(Type::Infer(_)));
        let named = ty.and_then(integer);
        let may_count = candidate && (inferred || named.is_some());
        let to = |name: Option<syn::Ident>| -> Option<Type> {
            let name = name?;
            Some(parse_quote_spanned!(span=> ::autograd::__private::Int<#name>))
        };
        let var = self.var(init);
        if let Expr::MethodCall(call) = init
            && ty.is_some_and(|ty| real(ty).is_some())
            && let Some(with) = self.chain(call, true)
        {
            *init = with;
            return (None, Kind::Float);
        }
        match self.expr_for(init, Taker::Variable) {
            Kind::Int if may_count => (to(named), Kind::Int),
            Kind::Number if may_count && mutable => {
                number(init);
                (to(named), Kind::Int)
            }
            Kind::Int => {
                match var {
                    Some(var) => self.reject(var),
                    None => self.known(init),
                }
                (None, Kind::Plain)
            }
            Kind::List | Kind::Table => {
                self.spoil(init);
                (None, Kind::Plain)
            }
            Kind::Range => (None, Kind::Range),
            _ if float => (None, Kind::Float),
            _ => (None, Kind::Plain),
        }
    }
}

/// What the annotation of a list becomes; `None` if it is none of a list.
pub(super) fn list_type(ty: Option<&Type>) -> Option<Option<Type>> {
    let Some(ty) = ty else { return Some(None) };
    let inner = match ast::ungroup(ty) {
        Type::Reference(ty) if ty.mutability.is_none() => {
            let Type::Slice(slice) = ast::ungroup(&ty.elem) else { return None };
            let float = real(&slice.elem)?;
            return Some(Some(parse_quote_spanned!(ty.span()=> &::autograd::__private::List<#float>)));
        }
        Type::Array(ty) => (*ty.elem).clone(),
        Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Vec") => {
            ast::first_argument(path)?.clone()
        }
        Type::Infer(_) => return Some(None),
        _ => return None,
    };
    if let Type::Infer(_) = inner {
        return Some(Some(parse_quote_spanned!(ty.span()=> ::autograd::__private::List<_>)));
    }
    let float = real(&inner)?;
    Some(Some(parse_quote_spanned!(ty.span()=> ::autograd::__private::List<#float>)))
}

/// `f64` of `Real<f64>`.
pub(super) fn real(ty: &Type) -> Option<Type> {
    let Type::Path(path) = ast::ungroup(ty) else { return None };
    let real = path.path.segments.last().is_some_and(|last| last.ident == "Real");
    ast::first_argument(path).filter(|ty| real && ast::scalar(ty).is_some()).cloned()
}
