//! `for` loops: over ranges, whose counters are `Int`s where that is understood, and over the items of lists.

use quote::quote;
use syn::spanned::Spanned;
use syn::{Expr, ExprForLoop, ExprRange, Lit, Pat, RangeLimits, parse_quote, parse_quote_spanned};

use super::items::{Items, Named};
use super::lists::is_simple;
use super::results::{Growth, Push};
use super::{Integers, Kind, SHORT, number, unparenthesised};

impl Integers<'_> {
    pub(super) fn for_loop(&mut self, e: &mut Expr) {
        let Expr::ForLoop(repeat) = e else { return };
        if let Some(changed) = self.over_places(repeat) {
            *repeat = changed;
        }
        if counted(&repeat.pat)
            && let Some(range) = root_range(&repeat.expr)
        {
            let (counts, short) = (range.start.is_some() && range.end.is_some(), is_short(range));
            // the bounds are asked for twice
            let simple = [&range.start, &range.end].into_iter().flatten().all(|bound| is_simple(bound));
            let pushes = if simple { self.pushes(repeat) } else { Vec::new() };
            if let Some(grown) = self.count(repeat, counts, short, &pushes) {
                *e = grown;
            }
            return;
        }
        if let Some((items, names)) = self.understood(&repeat.expr, &repeat.pat) {
            let pushes = self.pushes(repeat);
            let Growth { before, after, .. } = self.over_items(repeat, items, &names, &pushes);
            if !before.is_empty() {
                *e = parse_quote!({ #(#before)* #repeat #(#after)* });
            }
            return;
        }
        self.plain(&mut repeat.expr);
        self.nested(|v| {
            v.declare(&repeat.pat);
            v.block(&mut repeat.body);
        });
    }

    /// What a loop goes over, a list among it, and the names that it gives to an item, if its uses of them are understood.
    pub(super) fn understood(&self, e: &Expr, pat: &Pat) -> Option<(Items, Vec<Named>)> {
        let items = self.items(e).filter(|items| items.has_list() && items.ends() && items.fits(pat))?;
        let names = self.names(&items, pat);
        (!self.has_plain(&names) && !self.has_plain_inside(&items)).then_some((items, names))
    }

    /// `for i in a..b`. What takes its place if it makes vectors.
    fn count(&mut self, repeat: &mut ExprForLoop, counts: bool, short: bool, pushes: &[Push]) -> Option<Expr> {
        let var = match &*repeat.pat {
            Pat::Ident(pat) => Some(self.open(&pat.ident)),
            _ => None,
        };
        let plain = var.as_ref().is_some_and(|(_, id)| short || self.plain.contains(id));
        if counts && !plain {
            self.trips(&mut repeat.expr);
        } else {
            self.plain(&mut repeat.expr);
        }
        let pushes = if counts && !plain { pushes } else { &[] };
        let trips = &repeat.expr;
        let growth = self.grow(repeat, pushes, &quote!((#trips).count()));
        self.nested(|v| {
            v.counters(&growth);
            v.nested(|v| {
                if let Some((name, id)) = &var {
                    v.vars[*id].kind = if counts && !plain { Kind::Int } else { Kind::Plain };
                    v.name(name, *id);
                }
                v.block(&mut repeat.body);
            });
        });
        let Growth { counters, before, after } = growth;
        (!counters.is_empty()).then(|| parse_quote!({ #(#before)* #repeat #(#after)* }))
    }

    /// Binds counters of pushes.
    fn counters(&mut self, growth: &Growth) {
        for index in &growth.counters {
            let id = self.bind(index);
            (self.vars[id].kind, self.vars[id].used) = (Kind::Int, true);
        }
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

    /// `for v in x.iter()`: a counted loop, whose body takes the items. What has to stand before it.
    fn over_items(&mut self, repeat: &mut ExprForLoop, mut items: Items, names: &[Named], pushes: &[Push]) -> Growth {
        items.settle(self, &repeat.pat);
        let mut before = self.prepare(&mut items);
        let (span, len, item) = (repeat.for_token.span, items.len(), items.item(&quote!(__item)));
        let mut growth = self.grow(repeat, pushes, &quote!(#len));
        self.nested(|v| {
            v.counters(&growth);
            v.nested(|v| {
                v.bind_names(names);
                v.block(&mut repeat.body);
            });
        });
        let pat = &repeat.pat;
        repeat.body.stmts.insert(0, parse_quote!(let #pat = #item;));
        *repeat.pat = parse_quote!(__item);
        *repeat.expr = parse_quote_spanned!(span=>
            ::autograd::__private::flow::trips(::autograd::__private::Int::number(0), #len));
        before.append(&mut growth.before);
        Growth { before, ..growth }
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
