//! Turns integers that only count into traced floats, which are exact as far as anyone counts: `let mut n = 0;`
//! with `n += 1`, comparisons and conversions to floats. A loop that depends on data may then carry them.
//!
//! Invariant: a variable is rewritten only if every use of it in its scope is one of these.

use syn::visit::{self, Visit};
use syn::visit_mut::{self, VisitMut};
use syn::{BinOp, Block, Expr, Ident, Lit, Local, Pat, Stmt, Type, parse_quote};

use crate::ast;

/// Rewrites the counters of a body, after casts have been rewritten.
pub fn rewrite(body: &mut Block) {
    Counters.visit_block_mut(body);
}

struct Counters;

impl VisitMut for Counters {
    fn visit_block_mut(&mut self, block: &mut Block) {
        for i in 0..block.stmts.len() {
            let Stmt::Local(local) = &block.stmts[i] else { continue };
            let Some((name, start)) = counter(local) else { continue };
            let mut uses = Uses { name: &name, ok: true };
            block.stmts[i + 1..].iter().for_each(|stmt| uses.visit_stmt(stmt));
            if uses.ok {
                block.stmts[i] = parse_quote!(let mut #name = ::autograd::__private::literal::<f64>(#start););
                block.stmts[i + 1..].iter_mut().for_each(|stmt| Float(&name).visit_stmt_mut(stmt));
            }
        }
        visit_mut::visit_block_mut(self, block);
    }
    fn visit_item_mut(&mut self, _: &mut syn::Item) {}
}

/// The name and the start of `let mut n = 3;`.
fn counter(local: &Local) -> Option<(Ident, Lit)> {
    let pat = match &local.pat {
        Pat::Type(pat) => {
            let Type::Path(ty) = ast::ungroup(&pat.ty) else { return None };
            ty.path.get_ident().filter(|name| ast::is_integer(&name.to_string()))?;
            &*pat.pat
        }
        pat => pat,
    };
    let Pat::Ident(pat) = pat else { return None };
    let init = local.init.as_ref().filter(|init| init.diverge.is_none())?;
    let start = float(&init.expr)?;
    (pat.mutability.is_some() && pat.by_ref.is_none() && pat.subpat.is_none()).then(|| (pat.ident.clone(), start))
}

/// An integer literal as a float literal.
fn float(e: &Expr) -> Option<Lit> {
    let Expr::Lit(lit) = e else { return None };
    let Lit::Int(int) = &lit.lit else { return None };
    if int.suffix().starts_with('f') {
        return None;
    }
    let value: u32 = int.base10_parse().ok()?;
    Some(Lit::Float(syn::LitFloat::new(&format!("{value}.0"), int.span())))
}

fn is_named(e: &Expr, name: &Ident) -> bool {
    match e {
        Expr::Path(path) => path.path.is_ident(name),
        Expr::Paren(e) => is_named(&e.expr, name),
        _ => false,
    }
}

/// Whether an operator compares its operands.
pub fn compares(op: &BinOp) -> bool {
    matches!(op, BinOp::Lt(_) | BinOp::Le(_) | BinOp::Gt(_) | BinOp::Ge(_) | BinOp::Eq(_) | BinOp::Ne(_))
}

fn steps(op: &BinOp) -> bool {
    matches!(op, BinOp::AddAssign(_) | BinOp::SubAssign(_))
}

/// Whether a call makes a float of its argument: `cast::<f64, _>(n)`, `<Real<f64>>::from(n)`.
fn converts(call: &syn::ExprCall) -> bool {
    let Expr::Path(func) = &*call.func else { return false };
    let Some(last) = func.path.segments.last() else { return false };
    let target = match &last.arguments {
        syn::PathArguments::AngleBracketed(to) if last.ident == "cast" => to.args.first(),
        _ => None,
    };
    let cast = matches!(target, Some(syn::GenericArgument::Type(to)) if ast::scalar(to).is_some());
    let from = last.ident == "from"
        && func.qself.as_ref().is_some_and(|q| {
            let Type::Path(real) = ast::ungroup(&q.ty) else { return false };
            ast::first_argument(real).and_then(ast::scalar) == Some("f64")
        });
    cast || from
}

/// Looks for uses that are not those of a counter.
struct Uses<'n> {
    name: &'n Ident,
    ok: bool,
}

impl Visit<'_> for Uses<'_> {
    fn visit_expr(&mut self, e: &Expr) {
        match e {
            Expr::Binary(e) if steps(&e.op) && is_named(&e.left, self.name) => {
                self.ok &= float(&e.right).is_some();
            }
            Expr::Binary(e) if compares(&e.op) => {
                for side in [&e.left, &e.right] {
                    if !is_named(side, self.name) {
                        self.visit_expr(side);
                    }
                }
            }
            Expr::Call(call) if call.args.len() == 1 && converts(call) && is_named(&call.args[0], self.name) => {}
            e => visit::visit_expr(self, e),
        }
    }
    // any other mention, a binding of the same name among them
    fn visit_ident(&mut self, ident: &Ident) {
        self.ok &= ident != self.name;
    }
    fn visit_macro(&mut self, mac: &syn::Macro) {
        self.ok &= !mac.tokens.to_string().contains(&self.name.to_string());
    }
}

/// Rewrites the uses.
struct Float<'n>(&'n Ident);

impl VisitMut for Float<'_> {
    fn visit_expr_mut(&mut self, e: &mut Expr) {
        match e {
            Expr::Binary(e) if steps(&e.op) && is_named(&e.left, self.0) => {
                if let Some(by) = float(&e.right) {
                    e.right = parse_quote!(#by);
                }
            }
            Expr::Binary(e) if compares(&e.op) && (is_named(&e.left, self.0) || is_named(&e.right, self.0)) => {
                for side in [&mut e.left, &mut e.right] {
                    if !is_named(side, self.0) {
                        self.visit_expr_mut(side);
                        let other = side.clone();
                        *side = parse_quote!(::autograd::__private::cast::<f64, _>(#other));
                    }
                }
            }
            e => visit_mut::visit_expr_mut(self, e),
        }
    }
}
