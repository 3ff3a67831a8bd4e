//! Turns `bool`s that conditions are kept in into `Flag`s, which a trace may leave open: `let mut alive = true` becomes
//! `let mut __truth_alive = Flag::of(true)`, `alive = x > y` an assignment of `Flag::of(x > y)`, and `alive` elsewhere
//! `__truth_alive.is_set()`, which [`flow`](super::flow) takes for a condition and plain code for a `bool`.
//!
//! Invariant: a name is turned only if all it ever names in the function are such variables, and each use is one of a value: it is
//! not borrowed, moved into a closure, assigned as a part of a pattern or named by a macro.

use std::collections::{HashMap, HashSet};

use quote::format_ident;
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::visit_mut::{self, VisitMut};
use syn::{BinOp, Block, Expr, ExprPath, Ident, Lit, Local, Pat, Type, UnOp, parse_quote_spanned};

use super::{flow, integers};
use crate::ast::Param;

/// The start of the names of such variables.
pub const TRUTH: &str = "__truth_";

/// Rewrites a body.
pub fn rewrite(params: &[Param], body: &mut Block) {
    // what is made of a name that has other uses has none of its own
    let mut found = Found::default();
    loop {
        params.iter().for_each(|param| found.visit_pat(&param.pat));
        found.visit_block(body);
        let Found { turned, spoiled, macros, .. } = &found;
        let other =
            |name: &&String| !spoiled.contains(*name) && macros.iter().any(|tokens| integers::mentions(tokens, name));
        let mut more: HashSet<String> = turned.iter().filter(other).cloned().collect();
        more.extend(turned.intersection(spoiled).cloned());
        if more.is_empty() {
            break;
        }
        let spoiled = found.spoiled.union(&more).cloned().collect();
        found = Found { spoiled, ..Found::default() };
    }
    if !found.turned.is_empty() {
        Turn(&found.turned).visit_block_mut(body);
    }
}

/// Whether an expression is `Flag::of(..)`.
pub fn is_made(call: &syn::ExprCall) -> bool {
    let Expr::Path(func) = &*call.func else { return false };
    let last: Vec<_> = func.path.segments.iter().rev().take(2).map(|s| &s.ident).collect();
    func.path.leading_colon.is_some() && last.len() == 2 && last[0] == "of" && last[1] == "Flag"
}

/// The name that an expression is.
fn named(e: &Expr) -> Option<&Ident> {
    match e {
        Expr::Path(ExprPath { qself: None, path, .. }) => path.get_ident(),
        Expr::Paren(e) => named(&e.expr),
        Expr::Group(e) => named(&e.expr),
        _ => None,
    }
}

/// What a `let` binds by which expressions: `let (a, b) = (c, d)` binds two.
fn bindings(local: &mut Local) -> Vec<(&mut Pat, &mut Expr)> {
    let Some(init) = local.init.as_mut().filter(|init| init.diverge.is_none()) else { return Vec::new() };
    let (pat, init) = (&mut local.pat, &mut *init.expr);
    if !matches!((&*pat, &*init), (Pat::Tuple(p), Expr::Tuple(e)) if p.elems.len() == e.elems.len()) {
        return vec![(pat, init)];
    }
    match (pat, init) {
        (Pat::Tuple(pats), Expr::Tuple(inits)) => pats.elems.iter_mut().zip(&mut inits.elems).collect(),
        _ => Vec::new(),
    }
}

/// The name that a pattern gives to a condition.
fn declared(pat: &Pat, init: &Expr, known: &HashSet<String>) -> Option<Ident> {
    let pat = match pat {
        Pat::Type(pat) => matches!(&*pat.ty, Type::Path(ty) if ty.path.is_ident("bool")).then_some(&*pat.pat)?,
        pat => pat,
    };
    let Pat::Ident(pat) = pat else { return None };
    let plain = pat.by_ref.is_none() && pat.subpat.is_none() && pat.ident == pat.ident.unraw();
    (plain && is_condition(init, known)).then(|| pat.ident.clone())
}

/// Whether the spelling shows a `bool`.
fn is_condition(e: &Expr, known: &HashSet<String>) -> bool {
    match e {
        Expr::Lit(lit) => matches!(lit.lit, Lit::Bool(_)),
        Expr::Paren(e) => is_condition(&e.expr, known),
        Expr::Group(e) => is_condition(&e.expr, known),
        Expr::Unary(e) => matches!(e.op, UnOp::Not(_)) && is_condition(&e.expr, known),
        Expr::Binary(e) => match e.op {
            BinOp::And(_) | BinOp::Or(_) => true,
            BinOp::BitAnd(_) | BinOp::BitOr(_) | BinOp::BitXor(_) => {
                is_condition(&e.left, known) && is_condition(&e.right, known)
            }
            op => flow::compares(&op),
        },
        Expr::MethodCall(e) => match e.args.first() {
            None => flow::sort(&e.method).is_some(),
            Some(arg) => matches!(arg, Expr::Closure(_)) && (e.method == "any" || e.method == "all"),
        },
        e => named(e).is_some_and(|name| known.contains(&name.to_string())),
    }
}

/// The names of conditions, and what stands against some of them.
#[derive(Default)]
struct Found {
    turned: HashSet<String>,
    spoiled: HashSet<String>,
    macros: Vec<proc_macro2::TokenStream>,
    /// What is in a place where names are not values.
    odd: bool,
    /// How many closures are around.
    closures: usize,
    /// For names that are turned, how many were around the declaration.
    depths: HashMap<String, usize>,
}

impl Visit<'_> for Found {
    fn visit_local(&mut self, local: &Local) {
        if let Some(init) = &local.init {
            self.visit_expr(&init.expr);
            if let Some((_, diverge)) = &init.diverge {
                self.visit_expr(diverge);
            }
        }
        let mut local = local.clone();
        let all = bindings(&mut local);
        if all.is_empty() {
            return self.visit_pat(&local.pat);
        }
        for (pat, init) in all {
            match declared(pat, init, &self.turned).filter(|name| !self.spoiled.contains(&name.to_string())) {
                Some(name) => {
                    self.depths.insert(name.to_string(), self.closures);
                    self.turned.insert(name.to_string());
                }
                None => self.visit_pat(pat),
            }
        }
    }
    fn visit_pat_ident(&mut self, pat: &syn::PatIdent) {
        self.spoiled.insert(pat.ident.to_string());
        visit::visit_pat_ident(self, pat);
    }
    fn visit_expr(&mut self, e: &Expr) {
        if let Some(name) = named(e) {
            if self.odd {
                self.spoiled.insert(name.to_string());
            }
            return;
        }
        match e {
            Expr::Assign(e) if named(&e.left).is_some() => {
                self.assigned(&e.left);
                self.visit_expr(&e.right);
            }
            Expr::Binary(e) if flow::is_assignment(&e.op) => {
                self.assigned(&e.left);
                self.visit_expr(&e.left);
                self.visit_expr(&e.right);
            }
            // a function of that name
            Expr::Call(call) => {
                self.oddly(|v| v.visit_expr(&call.func));
                call.args.iter().for_each(|arg| self.visit_expr(arg));
            }
            Expr::Assign(e) => {
                self.oddly(|v| v.visit_expr(&e.left));
                self.visit_expr(&e.right);
            }
            Expr::Closure(e) => {
                self.closures += 1;
                match e.capture {
                    Some(_) => self.oddly(|v| visit::visit_expr_closure(v, e)),
                    None => visit::visit_expr_closure(self, e),
                }
                self.closures -= 1;
            }
            Expr::Reference(e) if named(&e.expr).is_some() => self.oddly(|v| v.visit_expr(&e.expr)),
            e => visit::visit_expr(self, e),
        }
    }
    fn visit_field_value(&mut self, field: &syn::FieldValue) {
        match field.colon_token {
            Some(_) => self.visit_expr(&field.expr),
            None => self.oddly(|v| v.visit_expr(&field.expr)),
        }
    }
    fn visit_macro(&mut self, mac: &syn::Macro) {
        self.macros.push(mac.tokens.clone());
    }
    fn visit_item(&mut self, _: &syn::Item) {}
}

impl Found {
    /// A closure around an assignment would move what it refers to.
    fn assigned(&mut self, place: &Expr) {
        if let Some(name) = named(place).map(ToString::to_string)
            && self.depths.get(&name).is_some_and(|depth| *depth < self.closures)
        {
            self.spoiled.insert(name);
        }
    }
    fn oddly(&mut self, inside: impl FnOnce(&mut Self)) {
        let odd = std::mem::replace(&mut self.odd, true);
        inside(self);
        self.odd = odd;
    }
}

struct Turn<'t>(&'t HashSet<String>);

impl Turn<'_> {
    fn name(&self, e: &Expr) -> Option<Ident> {
        let name = named(e)?;
        self.0.contains(&name.to_string()).then(|| format_ident!("{TRUTH}{name}", span = name.span()))
    }
}

/// `Flag::of(e)`.
fn made(e: &Expr) -> Expr {
    let span = e.span();
    parse_quote_spanned!(span=> ::autograd::__private::flow::Flag::of(#e))
}

impl VisitMut for Turn<'_> {
    fn visit_local_mut(&mut self, local: &mut Local) {
        for (pat, init) in bindings(local) {
            let name = declared(pat, init, self.0).filter(|name| self.0.contains(&name.to_string()));
            let Some(name) = name else { continue };
            if let Pat::Type(typed) = pat {
                *pat = (*typed.pat).clone();
            }
            if let Pat::Ident(pat) = pat {
                pat.ident = format_ident!("{TRUTH}{name}", span = name.span());
            }
            *init = made(init);
        }
        visit_mut::visit_local_mut(self, local);
    }
    fn visit_expr_mut(&mut self, e: &mut Expr) {
        let span = e.span();
        if let Some(name) = self.name(e) {
            *e = parse_quote_spanned!(span=> #name.is_set());
            return;
        }
        match e {
            Expr::Assign(assign) => {
                if let Some(name) = self.name(&assign.left) {
                    self.visit_expr_mut(&mut assign.right);
                    let value = made(&assign.right);
                    *e = parse_quote_spanned!(span=> #name = #value);
                    return;
                }
            }
            Expr::Binary(binary) if flow::is_assignment(&binary.op) => {
                if let Some(name) = self.name(&binary.left) {
                    self.visit_expr_mut(&mut binary.right);
                    let right = &binary.right;
                    // what is on the right is computed in any case
                    let value = made(&match binary.op {
                        BinOp::BitAndAssign(_) => parse_quote_spanned!(span=> (#right) && #name.is_set()),
                        BinOp::BitOrAssign(_) => parse_quote_spanned!(span=> (#right) || #name.is_set()),
                        _ => parse_quote_spanned!(span=> (#right) != #name.is_set()),
                    });
                    *e = parse_quote_spanned!(span=> #name = #value);
                    return;
                }
            }
            _ => {}
        }
        visit_mut::visit_expr_mut(self, e);
    }
    fn visit_item_mut(&mut self, _: &mut syn::Item) {}
}
