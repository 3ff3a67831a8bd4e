//! Searches among items, as loops: `x.iter().copied().max_by(|a, b| a.total_cmp(b)).unwrap()` becomes
//! `{ let mut best = x.item(0); for i in trips(1, x.len()) { let it = x.item(i); if !(best > it) { best = it; } } best }`, and
//! `x.iter().position(|v| *v > 0.0).unwrap_or(n)` a loop that keeps the first index. Of `enumerate` the index is kept as well.

use proc_macro2::TokenStream;
use quote::quote;
use syn::spanned::Spanned;
use syn::{Expr, ExprClosure, Member, Pat, parse_quote_spanned};

use super::items::{Items, Named, closure, untyped};
use super::{Integers, Kind, hidden, number, unparenthesised};

/// What takes an item that has been found.
#[derive(Clone, Copy)]
pub(super) enum Taker {
    /// `let`.
    Variable,
    /// An operator or a method, to which a float is as good as a reference to one.
    Operation,
    Other,
}

/// What is made of an item that has been found.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    /// The float itself.
    Item,
    /// Where it is.
    Index,
}

/// A search for the largest or smallest item.
struct Extreme {
    items: Items,
    /// Whether the items are counted.
    counted: bool,
    largest: bool,
    order: ExprClosure,
    part: Part,
    /// Whether the result is a reference.
    by_ref: bool,
    /// What there is instead of nothing.
    or: Option<Expr>,
}

impl Integers<'_> {
    /// The loop for a search whose result is taken, and what it gives. A reference to an item only where it may be one to a copy.
    pub(super) fn search(&mut self, e: &Expr, to: Taker) -> Option<(Expr, Kind)> {
        match e {
            Expr::Unary(star) if matches!(star.op, syn::UnOp::Deref(_)) => {
                let found =
                    self.extreme_of(unparenthesised(&star.expr)).filter(|x| x.by_ref && x.part == Part::Item)?;
                self.extreme(e, Extreme { by_ref: false, ..found })
            }
            Expr::Field(_) | Expr::MethodCall(_) => match (self.extreme_of(e), to) {
                (Some(found), _) if !found.by_ref || found.part == Part::Index => self.extreme(e, found),
                (Some(_), Taker::Other) => None,
                (Some(found), Taker::Operation) => self.extreme(e, Extreme { by_ref: false, ..found }),
                (Some(found), Taker::Variable) => self.extreme(e, found),
                (None, _) => self.position(e),
            },
            _ => None,
        }
    }

    fn extreme_of(&self, e: &Expr) -> Option<Extreme> {
        // `.unwrap().0`, or `.map(|(i, _)| i).unwrap()`
        let (mut part, mut named) = (Part::Item, false);
        let taken = match e {
            Expr::Field(field) => {
                let Member::Unnamed(index) = &field.member else { return None };
                (part, named) = (if index.index == 0 { Part::Index } else { Part::Item }, true);
                unparenthesised(&field.base)
            }
            e => e,
        };
        let (mut found, or) = taken_from(taken)?;
        let mut valued = false;
        while let Expr::MethodCall(call) = found {
            match (call.method.to_string().as_str(), call.args.first()) {
                ("copied" | "cloned", None) if !valued && !named => valued = true,
                ("map", Some(f)) if !named => {
                    (part, named) = (projected(&closure(f, 1)?)?, true);
                }
                _ => break,
            }
            found = unparenthesised(&call.receiver);
        }
        let Expr::MethodCall(call) = found else { return None };
        let largest = match call.method.to_string().as_str() {
            "max_by" => true,
            "min_by" => false,
            _ => return None,
        };
        let order = closure(call.args.first()?, 2)?;
        let (items, counted) = match self.items(&call.receiver)? {
            Items::Enumerate(items) => (*items, true),
            items => (items, false),
        };
        let by_ref = items.by_ref();
        // of counted items one part is taken, and a default would have both, or be a reference
        let fits = counted == named && (!valued || by_ref && !counted);
        // only floats have a total order of that name
        let (left, right, total) = compared(&order.body)?;
        let floats = self.gives_floats(&items) || total && !counted && is_name(left) && is_name(right);
        let floats = floats && items.ends() && !self.has_plain_inside(&items) && !items.has_parts();
        let by_ref = by_ref && !valued;
        let fits = fits && (or.is_none() || !counted && !by_ref);
        (fits && floats && self.float.is_some()).then_some(Extreme { items, counted, largest, order, part, by_ref, or })
    }

    fn extreme(&mut self, e: &Expr, found: Extreme) -> Option<(Expr, Kind)> {
        let Extreme { mut items, counted, largest, mut order, part, by_ref, or } = found;
        let (left, right, total) = compared(&order.body)?;
        let (mut left, mut right) = (left.clone(), right.clone());
        let names: Vec<Named> = order.inputs.iter().flat_map(|pat| self.compared_names(pat, counted)).collect();
        if self.has_plain(&names) || counted && asks_index(&order.body) {
            return None;
        }
        let span = e.span();
        let float = hidden(self.float?);
        let or = or.map(|mut or| {
            self.plain(&mut or);
            or
        });
        let reference = items.by_ref().then(|| quote!(&));
        let slices = self.prepare(&mut items);
        self.nested(|v| {
            v.bind_names(&names);
            v.plain(&mut left);
            v.plain(&mut right);
        });
        let patterns: Vec<Pat> = order.inputs.iter_mut().map(|pat| untyped(pat).clone()).collect();
        let [a, b] = &patterns[..] else { return None };
        // each is a reference to an item
        let given = |at: TokenStream, x: TokenStream| match counted {
            true => quote!(&(#at, #reference #x)),
            false => quote!(&#reference #x),
        };
        let (best, it) = (given(quote!(__at), quote!(__best)), given(quote!(__item), quote!(__it)));
        // of equal ones `max_by` gives the last, `min_by` the first
        let above = match total {
            // what is no number is above all that are
            true => quote!(__left > __right || __left.is_nan() && !__right.is_nan()),
            false => quote!(__left > __right),
        };
        let replaces = if largest { quote!(!(#above)) } else { above };
        let star = items.by_ref().then(|| quote!(*));
        let lift = |x: TokenStream| quote!(::autograd::__private::lift::<#float, _>(#x));
        let (len, zero) = (items.len()?, quote!(::autograd::__private::Int::<usize>::number(0)));
        // of nothing there is no first
        let some = quote!(::autograd::__private::found(#zero, ::autograd::__private::int::<usize>(#len)));
        let (first, item) = (items.item(&some), items.item(&quote!(__item)));
        let (first, item) = (quote!(#star #first), lift(quote!(#star #item)));
        let (start, from, replaces) = match &or {
            None => (lift(first), quote!(::autograd::__private::Int::<usize>::number(1)), replaces),
            Some(or) => {
                (lift(quote!(#or)), zero.clone(), quote!(::autograd::__private::int(__item) == 0 || (#replaces)))
            }
        };
        let result = match part {
            Part::Index => quote!(__at),
            Part::Item => quote!(__best),
        };
        let keep = (part == Part::Index).then(|| quote!(__at = __item;));
        let mutable = keep.is_some().then(|| quote!(mut));
        let (left, right) = (lift(quote!(#left)), lift(quote!(#right)));
        let value: Expr = parse_quote_spanned! {span=> {
            #(#slices)*
            let mut __best = #start;
            let #mutable __at = #zero;
            for __item in ::autograd::__private::flow::trips(#from, #len) {
                let __it = #item;
                let #a = #best;
                let #b = #it;
                let (__left, __right) = (#left, #right);
                if #replaces {
                    __best = __it;
                    #keep
                }
            }
            #result
        }};
        Some(match part {
            Part::Index => (value, Kind::Int),
            Part::Item if by_ref => (parse_quote_spanned!(span=> &#value), Kind::Plain),
            Part::Item => (value, Kind::Plain),
        })
    }

    /// The names in a parameter of what compares two items.
    fn compared_names(&self, pat: &Pat, counted: bool) -> Vec<Named> {
        match (untyped(pat), counted) {
            (Pat::Reference(pat), _) => self.compared_names(&pat.pat, counted),
            (Pat::Tuple(pat), true) if pat.elems.len() == 2 => {
                let names = |k: usize, kind| {
                    super::names::bound(&pat.elems[k]).into_iter().map(move |name| (name, kind)).collect::<Vec<_>>()
                };
                [names(0, Kind::Int), names(1, Kind::Float)].concat()
            }
            (pat, counted) => {
                let kind = if counted { Kind::Plain } else { Kind::Float };
                super::names::bound(pat).into_iter().map(|name| (name, kind)).collect()
            }
        }
    }

    /// `items.position(f).unwrap_or(n)`.
    fn position(&mut self, e: &Expr) -> Option<(Expr, Kind)> {
        let (found, or) = taken_from(e)?;
        let Expr::MethodCall(call) = found else { return None };
        if call.method != "position" {
            return None;
        }
        let mut f = closure(call.args.first()?, 1)?;
        let mut items = self.items(&call.receiver)?;
        if !items.ends() || self.has_plain_inside(&items) || items.has_parts() || !items.fits(&f.inputs[0]) {
            return None;
        }
        let names = self.names(&items, &f.inputs[0]);
        if self.has_plain(&names) {
            return None;
        }
        let or = or.map(|mut or| {
            match self.expr(&mut or) {
                Kind::Number => number(&mut or),
                Kind::Int => {}
                _ => super::int(&mut or),
            }
            or
        });
        let slices = self.prepare(&mut items);
        self.nested(|v| {
            v.bind_names(&names);
            v.cond(&mut f.body);
        });
        let (len, item, span) = (items.len()?, items.item(&quote!(__item)), e.span());
        let (pat, cond) = (untyped(&f.inputs[0]), &f.body);
        let none = quote!(::autograd::__private::int(__at) == __len);
        let result = match or {
            Some(or) => quote!(if #none { #or } else { __at }),
            None => quote!(::autograd::__private::found(__at, __len)),
        };
        let value = parse_quote_spanned! {span=> {
            #(#slices)*
            let __len = ::autograd::__private::int::<usize>(#len);
            let mut __at = __len;
            for __item in ::autograd::__private::flow::trips(::autograd::__private::Int::number(0), __len) {
                if #none {
                    let #pat = #item;
                    if #cond {
                        __at = __item;
                    }
                }
            }
            #result
        }};
        Some((value, Kind::Int))
    }
}

/// Whether it is a name, or what one refers to.
fn is_name(e: &Expr) -> bool {
    match e {
        Expr::Path(path) => path.path.get_ident().is_some(),
        Expr::Unary(star) => matches!(star.op, syn::UnOp::Deref(_)) && is_name(&star.expr),
        Expr::Paren(e) => is_name(&e.expr),
        _ => false,
    }
}

/// Whether the first part of something is asked for: an index by another name than its own.
fn asks_index(body: &Expr) -> bool {
    struct Asks(bool);
    impl syn::visit::Visit<'_> for Asks {
        fn visit_expr_field(&mut self, e: &syn::ExprField) {
            self.0 |= matches!(&e.member, Member::Unnamed(index) if index.index == 0);
            syn::visit::visit_expr_field(self, e);
        }
    }
    let mut asks = Asks(false);
    syn::visit::Visit::visit_expr(&mut asks, body);
    asks.0
}

/// What `unwrap`, `expect` or `unwrap_or` takes its value from, and the default.
fn taken_from(e: &Expr) -> Option<(&Expr, Option<Expr>)> {
    let Expr::MethodCall(call) = e else { return None };
    let or = match (call.method.to_string().as_str(), call.args.first()) {
        ("unwrap", None) | ("expect", Some(Expr::Lit(_))) => None,
        ("unwrap_or", Some(or)) => Some(or.clone()),
        _ => return None,
    };
    Some((unparenthesised(&call.receiver), or))
}

/// Which part of a pair a closure takes.
fn projected(f: &ExprClosure) -> Option<Part> {
    let body = unparenthesised(&f.body);
    match untyped(&f.inputs[0]) {
        Pat::Tuple(pat) if pat.elems.len() == 2 => {
            let Expr::Path(path) = body else { return None };
            let name = path.path.get_ident()?;
            let at = pat.elems.iter().position(|pat| {
                matches!(pat, Pat::Ident(pat) if super::names::parts(&pat.ident).0 == *name && pat.by_ref.is_none())
            });
            Some(if at? == 0 { Part::Index } else { Part::Item })
        }
        Pat::Ident(pat) => {
            let Expr::Field(field) = body else { return None };
            let (Expr::Path(path), Member::Unnamed(index)) = (&*field.base, &field.member) else { return None };
            let same = path.path.get_ident().is_some_and(|name| super::names::parts(&pat.ident).0 == *name);
            same.then_some(if index.index == 0 { Part::Index } else { Part::Item })
        }
        _ => None,
    }
}

/// Whether floats are sorted from the largest down, and by their total order, if what compares two of them says so:
/// `|a, b| b.partial_cmp(a).unwrap()`, `f64::total_cmp`.
pub(super) fn sorting(order: &Expr) -> Option<(bool, bool)> {
    if let Expr::Path(path) = unparenthesised(order) {
        return (float_function(path)? == "total_cmp").then_some((false, true));
    }
    let order = closure(order, 2)?;
    // with a NaN that is equal to everything there is no order
    let body = &order.body;
    if super::lists::mentions(&quote!(#body), "unwrap_or", false) {
        return None;
    }
    let (left, right, total) = compared(&order.body)?;
    let names: Vec<_> = order.inputs.iter().flat_map(super::names::bound).collect();
    let [a, b] = &names[..] else { return None };
    let plain = |name: &syn::Ident| super::names::parts(name).0;
    let is = |e: &Expr, name| matches!(e, Expr::Path(p) if p.path.get_ident().is_some_and(|e| plain(e) == plain(name)));
    match () {
        () if is(left, a) && is(right, b) => Some((false, total)),
        () if is(left, b) && is(right, a) => Some((true, total)),
        () => None,
    }
}

/// The name of a function of a float type, `<Real<f64>>::name` by now, or of what orders floats.
fn float_function(path: &syn::ExprPath) -> Option<&syn::Ident> {
    let names: Vec<&syn::Ident> = path.path.segments.iter().map(|s| &s.ident).collect();
    match names[..] {
        [name] if path.qself.is_some() => Some(name),
        [owner, name] if ["f64", "f32", "PartialOrd"].iter().any(|known| owner == known) => Some(name),
        _ => None,
    }
}

/// What `a.partial_cmp(b).unwrap()` or `a.total_cmp(b)` compares, and whether it is the latter.
fn compared(body: &Expr) -> Option<(&Expr, &Expr, bool)> {
    let mut body = unparenthesised(body);
    if let Expr::Block(block) = body
        && let [syn::Stmt::Expr(e, None)] = &block.block.stmts[..]
    {
        body = unparenthesised(e);
    }
    if let Expr::MethodCall(call) = body {
        let or = call.args.first().map(unparenthesised);
        let taken = match call.method.to_string().as_str() {
            "unwrap" | "expect" => true,
            // what has no order is equal
            "unwrap_or" => {
                matches!(or, Some(Expr::Path(p)) if p.path.segments.last().is_some_and(|s| s.ident == "Equal"))
            }
            _ => false,
        };
        if taken {
            body = unparenthesised(&call.receiver);
        }
    }
    let (left, right, name) = match body {
        Expr::MethodCall(call) if call.args.len() == 1 => (&*call.receiver, &call.args[0], &call.method),
        Expr::Call(call) if call.args.len() == 2 => {
            let Expr::Path(path) = &*call.func else { return None };
            (&call.args[0], &call.args[1], float_function(path)?)
        }
        _ => return None,
    };
    let total = match name.to_string().as_str() {
        "total_cmp" => true,
        "partial_cmp" => false,
        _ => return None,
    };
    let bare = |e| match unparenthesised(e) {
        Expr::Reference(r) if r.mutability.is_none() => unparenthesised(&r.expr),
        e => e,
    };
    Some((bare(left), bare(right), total))
}
