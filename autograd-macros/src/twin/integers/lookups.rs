//! Constant tables: `x * TABLE[i]` becomes `x * looked_up(&TABLE[..], i)`, a traced float, where the other operand or the
//! place that takes it shows that it is one. `let a = TABLE[i];` is one if all uses of `a` are such.

use quote::quote;
use syn::spanned::Spanned;
use syn::{Expr, ExprCall, Lit, UnOp, parse_quote_spanned};

use super::super::flow;
use super::{Integers, Kind, int, number, unparenthesised};

impl Integers<'_> {
    /// Whether an expression is calculated from elements of constant tables and literals alone.
    pub(super) fn is_lookup(&self, e: &Expr) -> bool {
        match unparenthesised(e) {
            Expr::Index(e) => {
                let literal = matches!(unparenthesised(&e.index), Expr::Lit(_));
                let ranges = matches!(unparenthesised(&e.index), Expr::Range(_)) || self.root_range(&e.index);
                !literal && !ranges && self.is_constant_table(&e.expr)
            }
            Expr::Path(_) => self.var(e).is_some_and(|id| self.vars[id].looked_up),
            Expr::Unary(e) => matches!(e.op, UnOp::Neg(_)) && self.is_lookup(&e.expr),
            Expr::Binary(e) => {
                let float = |e: &Expr| matches!(unparenthesised(e), Expr::Lit(e) if matches!(e.lit, Lit::Float(_)));
                let (left, right) = (self.is_lookup(&e.left), self.is_lookup(&e.right));
                flow::calculates(&e.op) && (left && (right || float(&e.right)) || float(&e.left) && right)
            }
            _ => false,
        }
    }

    /// Whether a call is what [`look_up`](Self::look_up) makes, which is done with.
    pub(super) fn is_looked_up(&self, call: &ExprCall) -> bool {
        let Expr::Path(func) = &*call.func else { return false };
        let Some(last) = func.path.segments.last().filter(|_| func.path.leading_colon.is_some()) else { return false };
        let variable = |e: &Expr| self.var(e).is_some_and(|id| self.vars[id].looked_up && self.vars[id].needed);
        last.ident == "looked_up" || last.ident == "lift" && call.args.first().is_some_and(variable)
    }

    /// A name in capitals that is no variable.
    fn is_constant_table(&self, e: &Expr) -> bool {
        let Expr::Path(path) = unparenthesised(e) else { return false };
        let shouts = |name: &syn::Ident| {
            let name = name.to_string();
            name.starts_with(|c: char| c.is_ascii_uppercase()) && !name.contains(|c: char| c.is_ascii_lowercase())
        };
        self.var(e).is_none() && path.qself.is_none() && path.path.segments.last().is_some_and(|s| shouts(&s.ident))
    }

    /// Makes a traced float of such an expression.
    pub(super) fn look_up(&mut self, e: &mut Expr) {
        *e = unparenthesised(e).clone();
        let span = e.span();
        match e {
            Expr::Index(index) => {
                match self.expr(&mut index.index) {
                    Kind::Number => number(&mut index.index),
                    kind if kind.is_list() => self.spoil(&mut index.index),
                    _ => int(&mut index.index),
                }
                let (table, at) = (&index.expr, unparenthesised(&index.index));
                let float = self.float.map_or_else(|| super::hidden("_"), super::hidden);
                let float = quote!(::<#float>);
                *e = parse_quote_spanned!(span=> ::autograd::__private::looked_up #float (&#table[..], #at));
            }
            Expr::Path(_) => {
                if let Some(id) = self.var(e) {
                    (self.vars[id].used, self.vars[id].needed) = (true, true);
                }
                let float = self.float.map_or_else(|| super::hidden("_"), super::hidden);
                *e = parse_quote_spanned!(span=> ::autograd::__private::lift::<#float, _>(#e));
            }
            Expr::Unary(unary) => self.parenthesised(&mut unary.expr),
            Expr::Binary(binary) => {
                self.parenthesised(&mut binary.left);
                self.parenthesised(&mut binary.right);
            }
            _ => {}
        }
    }

    /// The same of an operand, which keeps its parentheses.
    fn parenthesised(&mut self, e: &mut Expr) {
        match e {
            Expr::Paren(inner) => self.parenthesised(&mut inner.expr),
            Expr::Group(inner) => self.parenthesised(&mut inner.expr),
            e if self.is_lookup(e) => self.look_up(e),
            _ => {}
        }
    }

    /// Makes traced floats of what is beside one.
    pub(super) fn look_up_beside(&mut self, left: &mut Expr, right: &mut Expr) {
        if self.is_traced_with(left, &[]) && self.is_lookup(right) {
            self.parenthesised(right);
        } else if self.is_traced_with(right, &[]) && self.is_lookup(left) {
            self.parenthesised(left);
        }
    }

    /// Makes one of a value whose place takes a traced float.
    pub(super) fn look_up_value(&mut self, e: &mut Expr) {
        if self.is_lookup(e) {
            self.parenthesised(e);
        }
    }
}
