//! `for` loops: over ranges, whose counters are `Int`s where that is understood, and over the items of lists.

use quote::{ToTokens, quote};
use syn::spanned::Spanned;
use syn::{Expr, ExprForLoop, ExprRange, Lit, Pat, RangeLimits, parse_quote, parse_quote_spanned};

use super::items::Items;
use super::{Integers, Kind, SHORT, number, unparenthesised};

impl Integers<'_> {
    pub(super) fn for_loop(&mut self, e: &mut Expr) {
        let Expr::ForLoop(repeat) = e else { return };
        if counted(&repeat.pat)
            && let Some(range) = root_range(&repeat.expr)
        {
            let (counts, short) = (range.start.is_some() && range.end.is_some(), is_short(range));
            return self.count(repeat, counts, short);
        }
        let items = self.items(&repeat.expr).filter(Items::has_list);
        if let Some(items) = items.filter(|items| items.fits(&repeat.pat)) {
            return self.over_items(repeat, &items);
        }
        self.plain(&mut repeat.expr);
        self.nested(|v| {
            v.declare(&repeat.pat);
            v.block(&mut repeat.body);
        });
    }

    /// `for i in a..b`.
    fn count(&mut self, repeat: &mut ExprForLoop, counts: bool, short: bool) {
        let id = self.reserve();
        let name = match &*repeat.pat {
            Pat::Ident(pat) => Some(pat.ident.clone()),
            _ => None,
        };
        let staged = counts && !(short && name.is_some()) && !self.plain.contains(&id);
        if staged {
            self.trips(&mut repeat.expr);
            self.vars[id].kind = Kind::Int;
        } else {
            self.plain(&mut repeat.expr);
        }
        self.nested(|v| {
            if let Some(name) = &name {
                v.name(name, id);
            }
            v.block(&mut repeat.body);
        });
    }

    /// `trips(a, b).rev()` of `(a..b).rev()`.
    fn trips(&mut self, e: &mut Expr) {
        *e = unparenthesised(e).clone();
        match e {
            Expr::MethodCall(call) => {
                self.trips(&mut call.receiver);
                for arg in &mut call.args {
                    self.expr(arg);
                }
            }
            Expr::Range(range) => {
                let (Some(start), Some(end)) = (&mut range.start, &mut range.end) else { return };
                let (a, b) = (self.expr(start), self.expr(end));
                // the other bound tells the type
                if a == Kind::Number {
                    number(start);
                }
                if b == Kind::Number {
                    number(end);
                }
                let span = start.span();
                *e = match range.limits {
                    RangeLimits::HalfOpen(_) => {
                        parse_quote_spanned!(span=> ::autograd::__private::flow::trips(#start, #end))
                    }
                    RangeLimits::Closed(_) => {
                        parse_quote_spanned!(span=> ::autograd::__private::flow::trips_to(#start, #end))
                    }
                };
            }
            _ => {}
        }
    }

    /// `for v in x.iter()`: a counted loop, whose body takes the items.
    fn over_items(&mut self, repeat: &mut ExprForLoop, items: &Items) {
        let ids = self.item_vars(&repeat.pat, items);
        if ids.iter().any(|(_, id, kind)| *kind == Kind::Int && self.plain.contains(id)) {
            self.plain(&mut repeat.expr);
            self.nested(|v| {
                ids.iter().for_each(|(name, id, _)| v.name(name, *id));
                v.block(&mut repeat.body);
            });
            return;
        }
        let items = self.computed(items);
        let len = items.len();
        let span = repeat.for_token.span;
        let mut lets = Vec::new();
        items.lets(quote!(__item), &repeat.pat, &mut lets);
        self.nested(|v| {
            for (name, id, kind) in &ids {
                v.vars[*id].kind = *kind;
                v.name(name, *id);
            }
            v.block(&mut repeat.body);
        });
        let trips: Expr = parse_quote_spanned!(span=>
            ::autograd::__private::flow::trips(::autograd::__private::Int::number(0), #len));
        *repeat.pat = parse_quote!(__item);
        *repeat.expr = trips;
        repeat.body.stmts.splice(0..0, lets);
    }
}

/// Whether a pattern is that of a counter.
fn counted(pat: &Pat) -> bool {
    match pat {
        Pat::Wild(_) => true,
        Pat::Ident(pat) => pat.by_ref.is_none() && pat.subpat.is_none(),
        _ => false,
    }
}

/// The range that a loop goes over, perhaps backwards or in steps.
pub(super) fn root_range(e: &Expr) -> Option<&ExprRange> {
    match unparenthesised(e) {
        Expr::Range(range) => Some(range),
        Expr::MethodCall(call) if call.method == "rev" && call.args.is_empty() => root_range(&call.receiver),
        Expr::MethodCall(call) if call.method == "step_by" && call.args.len() == 1 => root_range(&call.receiver),
        _ => None,
    }
}

/// Whether the bounds are literals, few trips apart.
fn is_short(range: &ExprRange) -> bool {
    let bound = |e: &Option<Box<Expr>>| match e.as_deref().map(unparenthesised) {
        Some(Expr::Lit(lit)) => match &lit.lit {
            Lit::Int(int) => int.base10_parse::<u64>().ok(),
            _ => None,
        },
        _ => None,
    };
    match (bound(&range.start), bound(&range.end)) {
        (Some(a), Some(b)) => b.saturating_sub(a) <= SHORT,
        _ => false,
    }
}

/// Whether the tokens of an iterator are those of [`Integers::trips`].
pub fn is_trips(e: &Expr) -> bool {
    match e {
        Expr::MethodCall(call) => is_trips(&call.receiver),
        Expr::Call(call) => {
            let Expr::Path(func) = &*call.func else { return false };
            let segments = &func.path.segments;
            let last = segments.last().is_some_and(|last| last.ident == "trips" || last.ident == "trips_to");
            last && func.path.leading_colon.is_some()
        }
        Expr::Paren(e) => is_trips(&e.expr),
        _ => false,
    }
}

/// The expression's tokens in parentheses, where it is an operand.
pub(super) fn operand(e: &impl ToTokens) -> proc_macro2::TokenStream {
    quote!((#e))
}
