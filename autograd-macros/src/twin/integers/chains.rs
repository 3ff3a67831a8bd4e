//! Chains of iterators that end in a float, in whether a condition holds or in a vector of what a filter leaves, as loops:
//! `x.iter().map(|v| v * v).sum()` becomes
//! `{ let mut acc = 0.0; for i in trips(0, x.len()) { let it = { let v = &x.at(i); v * v }; acc = acc + it; } acc }`.

use quote::quote;
use syn::{Expr, ExprClosure, ExprMethodCall, GenericArgument, Stmt, Type, parse_quote, parse_quote_spanned};

use super::items::{Items, Named, closure, untyped};
use super::{Integers, Kind, hidden, names, unparenthesised};
use crate::ast;

/// A chain that is understood.
struct Chain {
    items: Items,
    /// Which of them are left, and what is made of those.
    filter: Option<ExprClosure>,
    map: Option<ExprClosure>,
    end: End,
}

enum End {
    Sum,
    Product,
    Fold(Box<Expr>, ExprClosure),
    /// Whether this is true, or else false, of any item.
    Test(bool, ExprClosure),
    /// A vector of what is left.
    Collect,
}

impl Integers<'_> {
    /// The loop for a chain that goes over lists or counters. `float` says that the value is one.
    pub(super) fn chain(&mut self, call: &ExprMethodCall, float: bool) -> Option<Expr> {
        let chain = self.chain_of(call).filter(|chain| !matches!(chain.end, End::Test(..) | End::Collect))?;
        self.looped(call, chain, float)
    }

    /// Whether a chain ends in a vector of the floats that a filter leaves.
    pub(super) fn is_filtered(&self, call: &ExprMethodCall) -> bool {
        let Some(Chain { items, filter: Some(filter), map, end: End::Collect }) = self.chain_of(call) else {
            return false;
        };
        let floats = match &map {
            // a name by itself may be a reference
            Some(f) if matches!(unparenthesised(&f.body), Expr::Path(_) | Expr::Reference(_)) => false,
            Some(f) => self.is_float_with(&f.body, &self.names(&items, unreferenced(f))),
            // references are collected as such
            None => self.gives_floats(&items) && !items.by_ref(),
        };
        floats
            && items.ends()
            && !items.has_parts()
            && !self.has_plain_inside(&items)
            && items.fits(unreferenced(&filter))
    }

    /// The list for such a chain.
    pub(super) fn filtered(&mut self, call: &ExprMethodCall) -> Option<Expr> {
        let chain = self.chain_of(call)?;
        self.looped(call, chain, true)
    }

    /// The same for one that ends in whether a condition holds: a comparison.
    pub(super) fn test(&mut self, call: &ExprMethodCall) -> Option<Expr> {
        let chain = self.chain_of(call).filter(|chain| matches!(chain.end, End::Test(..)))?;
        self.looped(call, chain, false)
    }

    fn looped(&mut self, call: &ExprMethodCall, chain: Chain, float: bool) -> Option<Expr> {
        let Chain { mut items, mut filter, mut map, end } = chain;
        let floats = match &end {
            End::Fold(init, _) => self.is_float(init),
            End::Test(..) => self.float.is_some(),
            _ => float || real_turbofish(call) || map.is_none() && self.gives_floats(&items),
        };
        if !floats || !items.ends() || self.has_plain_inside(&items) {
            return None;
        }
        let next = filter.as_ref().or(map.as_ref()).map(unreferenced);
        let next = next.or_else(|| match &end {
            End::Fold(_, f) => f.inputs.get(1),
            End::Test(_, f) => Some(unreferenced(f)),
            End::Sum | End::Product | End::Collect => None,
        });
        if next.is_some_and(|pat| !items.fits(pat)) || filter.is_some() && items.has_parts() {
            return None;
        }
        if let Some(pat) = next {
            items.settle(self, pat);
        }
        // what the closures call the items
        let of = |v: &Self, f: &Option<ExprClosure>| {
            f.as_ref().map(|f| v.names(&items, unreferenced(f))).unwrap_or_default()
        };
        let (filtered, mapped) = (of(self, &filter), of(self, &map));
        let (mut folded, mut kept) = (Vec::new(), Vec::new());
        if let End::Fold(_, f) = &end {
            kept.extend(names::bound(&f.inputs[0]).into_iter().map(|name| (name, Kind::Float)));
            match map {
                Some(_) => folded.extend(names::bound(&f.inputs[1]).into_iter().map(|name| (name, Kind::Plain))),
                None => folded = self.names(&items, &f.inputs[1]),
            }
        }
        if let End::Test(_, f) = &end {
            match map {
                Some(_) => folded.extend(names::bound(&f.inputs[0]).into_iter().map(|name| (name, Kind::Plain))),
                None => folded = self.names(&items, unreferenced(f)),
            }
        }
        if [&filtered, &mapped, &folded].into_iter().any(|names: &Vec<Named>| self.has_plain(names)) {
            return None;
        }
        // a reference to an integer is none
        if filtered.iter().any(|(_, kind)| *kind == Kind::Int)
            && filter.as_ref().is_some_and(|f| std::ptr::eq(unreferenced(f), untyped(&f.inputs[0])))
        {
            return None;
        }
        let (float, span) = (hidden(self.float?), call.method.span());
        let zero: Expr = parse_quote!(::autograd::__private::literal::<#float>(0.0));
        let one: Expr = parse_quote!(::autograd::__private::literal::<#float>(1.0));
        let (mut fold, mut test) = (None, None);
        let collects = matches!(end, End::Collect);
        let start = match end {
            End::Sum | End::Collect => zero.clone(),
            End::Product => one.clone(),
            End::Fold(mut init, f) => {
                self.plain(&mut init);
                fold = Some(f);
                parse_quote!(::autograd::__private::lift::<#float, _>(#init))
            }
            End::Test(when, f) => {
                test = Some((when, f));
                zero.clone()
            }
        };
        let slices = self.prepare(&mut items);
        let (len, item) = (items.len()?, items.item(&quote!(__item)));
        let mut body: Vec<Stmt> = Vec::new();
        if let Some(f) = &mut map {
            self.nested(|v| {
                v.bind_names(&mapped);
                v.plain(&mut f.body);
            });
            let (pat, value) = (untyped(&f.inputs[0]), &f.body);
            body.push(parse_quote!(let __it = { let #pat = __it; #value };));
        }
        let next: Expr = match &mut fold {
            Some(f) => {
                self.nested(|v| {
                    v.bind_names(&kept);
                    v.bind_names(&folded);
                    v.plain(&mut f.body);
                });
                let (acc, pat, value) = (untyped(&f.inputs[0]), untyped(&f.inputs[1]), &f.body);
                parse_quote!({ let (#acc, #pat) = (__acc, __it); #value })
            }
            None if call.method == "product" => parse_quote!(__acc * __it),
            None => parse_quote!(__acc + __it),
        };
        match &mut test {
            Some((when, f)) => {
                self.nested(|v| {
                    v.bind_names(&folded);
                    v.cond(&mut f.body);
                });
                let (pat, cond) = (untyped(&f.inputs[0]), &f.body);
                let cond: Expr = if *when { parse_quote!(#cond) } else { parse_quote!(!(#cond)) };
                body.push(parse_quote!({ let #pat = __it; if #cond { __acc = #one; } }));
            }
            None if collects => {
                body.push(parse_quote!(__acc.set(__count, ::autograd::__private::lift::<#float, _>(__it));));
                body.push(parse_quote!(__count = __count + 1;));
            }
            None => body.push(parse_quote!(__acc = ::autograd::__private::lift::<#float, _>(#next);)),
        }
        if let Some(f) = &mut filter {
            self.nested(|v| {
                v.bind_names(&filtered);
                v.cond(&mut f.body);
            });
            let (pat, cond) = (untyped(&f.inputs[0]), &f.body);
            body = vec![parse_quote!(let #pat = &__it;), parse_quote!(if #cond { #(#body)* })];
        }
        body.insert(0, parse_quote!(let __it = #item;));
        if test.is_some() {
            // once one is found, no other item is made
            body = vec![parse_quote!(if __acc == #zero { #(#body)* })];
        }
        // what is collected is as long as all items at first
        let list: Expr = parse_quote!(::autograd::__private::List::<#float>::repeat(0.0, #len));
        let (start, count, end): (Expr, Option<Stmt>, Expr) = match collects {
            true => {
                let count = parse_quote!(let mut __count = ::autograd::__private::Int::<usize>::number(0););
                (list, Some(count), parse_quote!(__acc.slice(..__count)))
            }
            false => (start, None, parse_quote!(__acc)),
        };
        let value: Expr = parse_quote_spanned! {span=> {
            #(#slices)*
            let mut __acc = #start;
            #count
            for __item in ::autograd::__private::flow::trips(::autograd::__private::Int::number(0), #len) {
                #(#body)*
            }
            #end
        }};
        Some(match test {
            Some((true, _)) => parse_quote_spanned!(span=> #value != #zero),
            Some((false, _)) => parse_quote_spanned!(span=> #value == #zero),
            None => value,
        })
    }

    /// The parts of a chain, if all are understood.
    fn chain_of(&self, call: &ExprMethodCall) -> Option<Chain> {
        let end = match (call.method.to_string().as_str(), call.args.len()) {
            ("sum", 0) => End::Sum,
            ("product", 0) => End::Product,
            ("any", 1) => End::Test(true, closure(&call.args[0], 1)?),
            ("all", 1) => End::Test(false, closure(&call.args[0], 1)?),
            ("collect", 0) => End::Collect,
            ("fold", 2) => End::Fold(Box::new(call.args[0].clone()), closure(&call.args[1], 2)?),
            _ => return None,
        };
        let (mut filter, mut map) = (None, None);
        let mut source = unparenthesised(&call.receiver);
        if let Some((under, f)) = adaptor(source, "map")
            && adaptor(under, "filter").is_some()
        {
            map = Some(closure(f, 1)?);
            source = under;
        }
        if let Some((under, f)) = adaptor(source, "filter") {
            filter = Some(closure(f, 1)?);
            source = under;
        }
        // what follows a filter sees its names
        let later = map.iter().chain(match &end {
            End::Fold(_, f) | End::Test(_, f) => Some(f),
            End::Sum | End::Product | End::Collect => None,
        });
        let hidden = later.flat_map(|f| filter.iter().map(move |filter| hides(filter, f))).any(|hides| hides);
        let items = self.items(source).filter(|_| !hidden)?;
        Some(Chain { items, filter, map, end })
    }
}

/// What stands before `.map(f)`, and `f`.
fn adaptor<'e>(e: &'e Expr, name: &str) -> Option<(&'e Expr, &'e Expr)> {
    match e {
        Expr::MethodCall(call) if call.method == name && call.args.len() == 1 => {
            Some((unparenthesised(&call.receiver), &call.args[0]))
        }
        _ => None,
    }
}

/// Whether the second closure uses a name from outside that the first one binds.
fn hides(first: &ExprClosure, second: &ExprClosure) -> bool {
    let bound = |f: &ExprClosure| -> Vec<String> {
        f.inputs.iter().flat_map(names::bound).map(|name| names::parts(&name).0.to_string()).collect()
    };
    let (body, own) = (&second.body, bound(second));
    bound(first).iter().any(|name| !own.contains(name) && super::lists::mentions(&quote!(#body), name, false))
}

/// The pattern of a closure's only parameter, without an outer `&`.
fn unreferenced(f: &ExprClosure) -> &syn::Pat {
    match untyped(&f.inputs[0]) {
        syn::Pat::Reference(pat) => &pat.pat,
        pat => pat,
    }
}

/// Whether a turbofish says that the value is a traced float.
fn real_turbofish(call: &ExprMethodCall) -> bool {
    let Some(turbofish) = &call.turbofish else { return false };
    turbofish.args.iter().any(|arg| match arg {
        GenericArgument::Type(Type::Path(ty)) => {
            let real = ty.path.segments.last().is_some_and(|last| last.ident == "Real");
            real && ast::first_argument(ty).and_then(ast::scalar).is_some()
        }
        _ => false,
    })
}
