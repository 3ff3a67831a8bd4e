//! Loops that write to the items of a list: `for v in x.iter_mut() { *v += 1.0; }` goes over the places of the items, and `*v`
//! is `x[v]`.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::visit_mut::{self, VisitMut};
use syn::{Expr, ExprCall, ExprForLoop, Ident, Pat, UnOp, parse_quote};

use super::items::Items;
use super::{Integers, unparenthesised};

/// What stands for the places of a list's items.
const MARK: &str = "__places";

/// Whether a call stands for them.
pub(super) fn is_marked(call: &ExprCall) -> bool {
    matches!(&*call.func, Expr::Path(path) if path.path.is_ident(MARK)) && call.args.len() == 1
}

impl Integers<'_> {
    /// A loop over places instead, if one over the items of a list that may be written to is all that is done with them.
    pub(super) fn over_places(&self, repeat: &ExprForLoop) -> Option<ExprForLoop> {
        let mut changed = repeat.clone();
        let list = self.mark(&mut changed.expr)?;
        let (items, _) = self.understood(&changed.expr, &changed.pat)?;
        let (name, _) = super::names::parts(&name_of(&items, &changed.pat)?);
        let mut places = Substitute { name: &name, list: &list, count: 0 };
        places.visit_block_mut(&mut changed.body);
        // a use that is another one, or a name that hides this one
        (places.count == occurrences(&name, repeat.body.to_token_stream())).then_some(changed)
    }

    /// Marks `x.iter_mut()` or `&mut x` at the root of an iterator: the list.
    fn mark(&self, e: &mut Expr) -> Option<Expr> {
        let own = |e: &Expr| self.local_list(e).map(|_| unparenthesised(e).clone());
        let list = match e {
            Expr::Paren(e) => return self.mark(&mut e.expr),
            Expr::Reference(r) if r.mutability.is_some() => own(&r.expr)?,
            Expr::MethodCall(call) if call.method == "iter_mut" && call.args.is_empty() => own(&call.receiver)?,
            Expr::MethodCall(call) => return self.mark(&mut call.receiver),
            _ => return None,
        };
        let mark = super::hidden(MARK);
        *e = parse_quote!(#mark(#list));
        Some(list)
    }
}

/// The name that a pattern gives to the place.
fn name_of(items: &Items, pat: &Pat) -> Option<Ident> {
    match (items, pat) {
        (_, Pat::Paren(pat)) => name_of(items, &pat.pat),
        (Items::Places(_), Pat::Ident(pat)) => Some(pat.ident.clone()),
        (Items::Rev(items) | Items::Skip(items, _) | Items::Take(items, _) | Items::StepBy(items, _), pat) => {
            name_of(items, pat)
        }
        (Items::Enumerate(items), Pat::Tuple(pat)) if pat.elems.len() == 2 => name_of(items, &pat.elems[1]),
        (Items::Zip(a, b), Pat::Tuple(pat)) if pat.elems.len() == 2 => {
            name_of(a, &pat.elems[0]).or_else(|| name_of(b, &pat.elems[1]))
        }
        _ => None,
    }
}

/// Writes `x[v]` for `*v`, and for `v` where a method is called.
struct Substitute<'s> {
    name: &'s Ident,
    list: &'s Expr,
    count: usize,
}
impl Substitute<'_> {
    fn is_name(&self, e: &Expr) -> bool {
        matches!(unparenthesised(e), Expr::Path(path) if path.path.is_ident(self.name))
    }
    fn element(&mut self) -> Expr {
        self.count += 1;
        let (list, name) = (self.list, self.name);
        parse_quote!(#list[#name])
    }
}
impl VisitMut for Substitute<'_> {
    fn visit_expr_mut(&mut self, e: &mut Expr) {
        match e {
            Expr::Unary(unary) if matches!(unary.op, UnOp::Deref(_)) && self.is_name(&unary.expr) => {
                *e = self.element()
            }
            Expr::MethodCall(call) if self.is_name(&call.receiver) => {
                call.args.iter_mut().for_each(|arg| self.visit_expr_mut(arg));
                *call.receiver = self.element();
            }
            e => visit_mut::visit_expr_mut(self, e),
        }
    }
}

/// How often a name is among tokens, those in patterns, which carry numbers, included.
fn occurrences(name: &Ident, tokens: TokenStream) -> usize {
    let of = |token: TokenTree| match token {
        TokenTree::Ident(ident) => usize::from(super::names::parts(&ident).0 == *name),
        TokenTree::Group(group) => occurrences(name, group.stream()),
        _ => 0,
    };
    tokens.into_iter().map(of).sum()
}
