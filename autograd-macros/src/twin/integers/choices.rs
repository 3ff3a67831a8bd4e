//! `match` on an integer or a comparison as a chain of `if`: `match n { 0 => a, 1..=3 if c => b, k => d }` becomes
//! `{ let m = n; if m == 0 { a } else if m >= 1 && m <= 3 && c { b } else { let k = m; d } }`.

use quote::quote;
use syn::visit_mut::{self, VisitMut};
use syn::{Arm, Expr, ExprMatch, Ident, Lit, Pat, RangeLimits, Stmt, UnOp, parse_quote, parse_quote_spanned};

use super::exprs::tails;
use super::{Integers, Kind, names, unparenthesised, wrap};
use crate::twin::flow;

impl Integers<'_> {
    /// A `match`; its kind.
    pub(super) fn choose(&mut self, e: &mut Expr) -> Kind {
        let Expr::Match(choice) = e else { return Kind::Plain };
        if let Some(with) = two_ways(choice) {
            *e = with;
            return self.expr(e);
        }
        let kind = self.expr(&mut choice.expr);
        if kind == Kind::Int && is_chain(choice) && !self.guards_plain(choice) {
            return self.chain_of_choices(e);
        }
        if kind == Kind::Int {
            match self.var(&choice.expr) {
                Some(id) => self.reject(id),
                None => self.known(&mut choice.expr),
            }
        } else if kind.is_list() {
            self.spoil(&mut choice.expr);
        }
        let mut kinds = Vec::new();
        for arm in &mut choice.arms {
            self.nested(|v| {
                v.declare(&arm.pat);
                if let Pat::Guard(pat) = &mut arm.pat {
                    v.cond(&mut pat.guard);
                }
                kinds.push(v.value(&mut arm.body));
            });
        }
        if kinds.contains(&Kind::Int) {
            choice.arms.iter_mut().for_each(|arm| tails(&mut arm.body));
            return Kind::Int;
        }
        Kind::Plain
    }

    /// The value of an arm, which is no list.
    fn value(&mut self, e: &mut Expr) -> Kind {
        let kind = self.expr(e);
        if kind.is_list() {
            self.spoil(e);
        }
        kind
    }

    /// Whether a guard does with the integer what is not understood.
    fn guards_plain(&self, choice: &ExprMatch) -> bool {
        choice.arms.iter().any(|arm| {
            let (pat, guard) = parts(arm);
            let plain = |name: Ident| names::parts(&name).1.is_none_or(|id| self.plain.contains(&id));
            guard.is_some() && binding(&pat).is_some_and(plain)
        })
    }

    /// The chain, of a scrutinee that has been rewritten to an `Int`.
    fn chain_of_choices(&mut self, e: &mut Expr) -> Kind {
        let Expr::Match(choice) = e else { return Kind::Plain };
        let name = super::hidden("__match");
        let mut kinds = Vec::new();
        let mut links: Vec<(Option<Expr>, Expr)> = Vec::new();
        let last = choice.arms.len() - 1;
        for (index, arm) in choice.arms.iter_mut().enumerate() {
            self.nested(|v| {
                let (pat, guard) = parts(arm);
                let mut cond = (index < last).then(|| test(&pat, &name)).flatten();
                let var = binding(&pat).map(|name| v.open(&name));
                let named: Option<Stmt> = var.as_ref().map(|(bound, var)| {
                    let mut value: Expr = parse_quote!(#name);
                    if v.plain.contains(var) {
                        wrap(&mut value, "known");
                    } else {
                        v.vars[*var].kind = Kind::Int;
                    }
                    parse_quote!(let #bound = #value;)
                });
                if let Some(mut guard) = guard {
                    if let Some((bound, var)) = &var {
                        Rename(bound, &name).visit_expr_mut(&mut guard);
                        v.name(&name, *var);
                    }
                    v.cond(&mut guard);
                    cond = Some(match cond {
                        Some(cond) => parse_quote!(#cond && (#guard)),
                        None => guard,
                    });
                }
                if let Some((bound, var)) = &var {
                    v.name(bound, *var);
                }
                kinds.push(v.value(&mut arm.body));
                let body = &arm.body;
                links.push((cond, parse_quote!({ #named #body })));
            });
        }
        if kinds.contains(&Kind::Int) {
            links.iter_mut().for_each(|(_, body)| tails(body));
        }
        let (scrutinee, span) = (&choice.expr, choice.match_token.span);
        let mut chain: Option<Expr> = None;
        for (cond, body) in links.into_iter().rev() {
            chain = Some(match (cond, chain) {
                (Some(cond), Some(rest)) => parse_quote_spanned!(span=> if #cond #body else #rest),
                _ => body,
            });
        }
        *e = parse_quote_spanned!(span=> { let #name = #scrutinee; #chain });
        if kinds.contains(&Kind::Int) { Kind::Int } else { Kind::Plain }
    }
}

/// `if c { a } else { b }` of `match c { true => a, false => b }`.
fn two_ways(choice: &ExprMatch) -> Option<Expr> {
    let compares = match unparenthesised(&choice.expr) {
        Expr::Binary(e) => flow::compares(&e.op) || matches!(e.op, syn::BinOp::And(_) | syn::BinOp::Or(_)),
        Expr::Unary(e) => matches!(e.op, UnOp::Not(_)),
        _ => false,
    };
    let [first, second] = &choice.arms.iter().collect::<Vec<_>>()[..] else { return None };
    let truth = |arm: &Arm| match &arm.pat {
        Pat::Lit(lit) => match &lit.lit {
            Lit::Bool(lit) => Some(lit.value),
            _ => None,
        },
        _ => None,
    };
    let wild = |arm: &Arm| matches!(arm.pat, Pat::Wild(_));
    let (yes, no) = match (truth(first), truth(second)) {
        (Some(true), other) if other == Some(false) || wild(second) => (&first.body, &second.body),
        (Some(false), other) if other == Some(true) || wild(second) => (&second.body, &first.body),
        _ => return None,
    };
    let (cond, span) = (unparenthesised(&choice.expr), choice.match_token.span);
    compares.then(|| parse_quote_spanned!(span=> if #cond { #yes } else { #no }))
}

/// The pattern and the guard of an arm.
fn parts(arm: &Arm) -> (Pat, Option<Expr>) {
    match &arm.pat {
        Pat::Guard(pat) => ((*pat.pat).clone(), Some((*pat.guard).clone())),
        pat => (pat.clone(), None),
    }
}

/// Whether all patterns are tests of an integer, of which the last holds.
fn is_chain(choice: &ExprMatch) -> bool {
    let last = choice.arms.last().is_some_and(|arm| parts(arm).1.is_none());
    last && choice.arms.iter().all(|arm| is_test(&parts(arm).0))
}

fn is_test(pat: &Pat) -> bool {
    match pat {
        Pat::Wild(_) | Pat::Path(_) => true,
        Pat::Lit(lit) => matches!(lit.lit, Lit::Int(_)),
        Pat::Range(_) => true,
        Pat::Or(pat) => pat.cases.iter().all(|pat| is_test(pat) && binding(pat).is_none()),
        Pat::Paren(pat) => is_test(&pat.pat),
        Pat::Ident(pat) => {
            // a name in capitals is a constant
            let name = pat.ident.to_string().starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
            let sub = pat.subpat.as_ref().is_none_or(|(_, pat)| is_test(pat) && binding(pat).is_none());
            name && pat.by_ref.is_none() && pat.mutability.is_none() && sub
        }
        _ => false,
    }
}

/// The name that a pattern binds.
fn binding(pat: &Pat) -> Option<Ident> {
    names::bound(pat).pop()
}

/// The condition under which a pattern holds; `None` if it always does.
fn test(pat: &Pat, name: &Ident) -> Option<Expr> {
    let value = quote!(::autograd::__private::int(#name));
    match pat {
        Pat::Lit(lit) => Some(parse_quote!(#value == #lit)),
        Pat::Path(path) => Some(parse_quote!(#value == #path)),
        Pat::Range(range) => {
            let start = range.start.as_ref().map(|start| -> Expr { parse_quote!(#value >= #start) });
            let end = range.end.as_ref().map(|end| -> Expr {
                match range.limits {
                    RangeLimits::HalfOpen(_) => parse_quote!(#value < #end),
                    RangeLimits::Closed(_) => parse_quote!(#value <= #end),
                }
            });
            match (start, end) {
                (Some(a), Some(b)) => Some(parse_quote!(#a && #b)),
                (a, b) => a.or(b),
            }
        }
        Pat::Or(pat) => {
            let tests: Option<Vec<Expr>> = pat.cases.iter().map(|pat| test(pat, name)).collect();
            tests?.into_iter().reduce(|a, b| parse_quote!((#a) || (#b))).map(|any| parse_quote!((#any)))
        }
        Pat::Paren(pat) => test(&pat.pat, name),
        Pat::Ident(pat) => pat.subpat.as_ref().and_then(|(_, pat)| test(pat, name)),
        _ => None,
    }
}

/// Puts one name in the place of another.
struct Rename<'n>(&'n Ident, &'n Ident);

impl VisitMut for Rename<'_> {
    fn visit_expr_mut(&mut self, e: &mut Expr) {
        match e {
            Expr::Path(path) if path.path.is_ident(self.0) => {
                let name = self.1;
                *e = parse_quote!(#name);
            }
            e => visit_mut::visit_expr_mut(self, e),
        }
    }
}
