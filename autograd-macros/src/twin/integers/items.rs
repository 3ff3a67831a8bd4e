//! What a loop or a chain of iterators goes over, as a length and the item at an index: `x.iter().enumerate()` has
//! `x.len()` items `(i, &x.at(i))`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::spanned::Spanned;
use syn::{Expr, ExprClosure, Ident, Pat, RangeLimits, Stmt, parse_quote};

use super::{Integers, Kind, int, number, unparenthesised};

/// A name in a pattern over items, and what it is.
pub(super) type Named = (Ident, Kind);

/// A sequence of items.
#[derive(Clone)]
pub(super) enum Items {
    /// Those of a list, by value or by reference; the list is a variable or a slice of one.
    List {
        list: Box<Expr>,
        by_ref: bool,
    },
    /// The places of the items of a list of the function's own, by which they are written.
    Places(Box<Expr>),
    /// The rows of a table, by value or by reference, as arrays or as lists.
    Rows {
        table: Box<Expr>,
        by_ref: bool,
        arrays: bool,
    },
    /// The integers of a range; without an end there are no fewer than of what it is zipped with.
    Range {
        start: Box<Expr>,
        end: Option<Box<Expr>>,
    },
    /// Lists, one after the other: what a method of a list gives for a size.
    Parts {
        list: Box<Expr>,
        method: &'static str,
        size: Box<Expr>,
    },
    /// Those from one on, no more than so many, every so manieth.
    Skip(Box<Items>, Box<Expr>),
    Take(Box<Items>, Box<Expr>),
    StepBy(Box<Items>, Box<Expr>),
    Enumerate(Box<Items>),
    Zip(Box<Items>, Box<Items>),
    Rev(Box<Items>),
    /// What a closure of one parameter makes of them.
    Map(Box<Items>, Box<ExprClosure>),
}

impl Integers<'_> {
    /// What an expression goes over, if it is understood. Nothing is rewritten yet.
    pub(super) fn items(&self, e: &Expr) -> Option<Items> {
        let e = unparenthesised(e);
        if let Some(id) = self.list(e) {
            let by_ref = self.vars[id].lent;
            return Some(Items::List { list: Box::new(e.clone()), by_ref });
        }
        if let Some(id) = self.table(e) {
            let by_ref = self.vars[id].lent;
            return Some(Items::Rows { table: Box::new(e.clone()), by_ref, arrays: !by_ref });
        }
        match e {
            Expr::Call(call) if super::places::is_marked(call) => Some(Items::Places(Box::new(call.args[0].clone()))),
            Expr::Reference(r) if r.mutability.is_none() => self.listed(&r.expr),
            Expr::Range(range) => {
                if matches!(range.limits, RangeLimits::Closed(_)) {
                    return None;
                }
                Some(Items::Range { start: range.start.clone()?, end: range.end.clone() })
            }
            Expr::MethodCall(call) => match (call.method.to_string().as_str(), call.args.first()) {
                ("iter", None) => self.listed(&call.receiver),
                (name @ ("windows" | "chunks" | "chunks_exact"), Some(size)) if call.args.len() == 1 => {
                    let method = match name {
                        "windows" => "windows_of",
                        "chunks" => "chunks_of",
                        _ => "whole_chunks_of",
                    };
                    self.place_of(&call.receiver)?;
                    Some(Items::Parts { list: call.receiver.clone(), method, size: Box::new(size.clone()) })
                }
                (name @ ("skip" | "take" | "step_by"), Some(n)) if call.args.len() == 1 => {
                    let (items, n) = (Box::new(self.items(&call.receiver)?), Box::new(n.clone()));
                    Some(match name {
                        "skip" => Items::Skip(items, n),
                        "take" => Items::Take(items, n),
                        _ => Items::StepBy(items, n),
                    })
                }
                ("enumerate", None) => Some(Items::Enumerate(Box::new(self.items(&call.receiver)?))),
                ("rev", None) => {
                    let items = self.items(&call.receiver)?;
                    items.ends().then(|| Items::Rev(Box::new(items)))
                }
                ("copied" | "cloned", None) => self.items(&call.receiver)?.by_value(),
                ("zip", Some(other)) if call.args.len() == 1 => {
                    let (a, b) = (self.items(&call.receiver)?, self.items(other)?);
                    Some(Items::Zip(Box::new(a), Box::new(b)))
                }
                ("map", Some(f)) => {
                    let items = self.items(&call.receiver)?;
                    Some(Items::Map(Box::new(items), Box::new(closure(f, 1)?)))
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// The items of a list or of a slice of one, by reference.
    fn listed(&self, e: &Expr) -> Option<Items> {
        let e = unparenthesised(e);
        if self.table_place(e).is_some() {
            return Some(Items::Rows { table: Box::new(e.clone()), by_ref: true, arrays: false });
        }
        self.place_of(e).is_some().then(|| Items::List { list: Box::new(e.clone()), by_ref: true })
    }

    /// Rewrites the expressions in what is gone over, and gives the statements before the loop that they need.
    pub(super) fn prepare(&mut self, items: &mut Items) -> Vec<Stmt> {
        // those of a loop around this one stay its own
        let outer = std::mem::take(&mut self.slices);
        self.compute(items);
        std::mem::replace(&mut self.slices, outer)
    }

    /// The closures see their parameters.
    fn compute(&mut self, items: &mut Items) {
        match items {
            Items::List { list, .. } => match self.list(list) {
                Some(id) => self.vars[id].used = true,
                None => {
                    self.make_part(list);
                    self.keep(list);
                }
            },
            Items::Places(list) => {
                if let Some(id) = self.list(list) {
                    self.vars[id].used = true;
                }
            }
            Items::Rows { table, .. } => match self.table(table) {
                Some(id) => self.vars[id].used = true,
                None => {
                    self.make_table_place(table);
                    self.keep(table);
                }
            },
            Items::Parts { list, method, size } => {
                let id = self.make_place(list);
                self.vars[id].needed |= self.bound(size) == Kind::Int;
                let method = Ident::new(method, size.span());
                **list = parse_quote!(#list.#method(#size));
                self.keep(list);
            }
            Items::Skip(items, n) | Items::Take(items, n) | Items::StepBy(items, n) => {
                self.compute(items);
                self.bound(n);
                **n = parse_quote!(::autograd::__private::int::<usize>(#n));
                self.keep(n);
            }
            Items::Range { start, end } => {
                for bound in std::iter::once(start).chain(end) {
                    match self.expr(bound) {
                        Kind::Number => number(bound),
                        _ => int(bound),
                    }
                }
            }
            Items::Enumerate(items) | Items::Rev(items) => self.compute(items),
            Items::Zip(a, b) => {
                self.compute(a);
                self.compute(b);
            }
            Items::Map(inner, closure) => {
                let names = self.names(inner, &closure.inputs[0]);
                inner.settle(self, &closure.inputs[0]);
                self.compute(inner);
                self.nested(|v| {
                    v.bind_names(&names);
                    v.plain(&mut closure.body);
                });
            }
        }
    }

    /// Puts an expression into a variable before the loop.
    fn keep(&mut self, e: &mut Expr) {
        let name = quote::format_ident!("__slice{}", self.sliced);
        self.sliced += 1;
        self.slices.push(parse_quote!(let #name = #e;));
        *e = parse_quote!(#name);
    }

    /// The names of a pattern over items, with their kinds.
    pub(super) fn names(&self, items: &Items, pat: &Pat) -> Vec<Named> {
        let mut names = Vec::new();
        items.kinds(self, pat, &mut names);
        names
    }

    /// Binds them.
    pub(super) fn bind_names(&mut self, names: &[Named]) {
        for (name, kind) in names {
            let id = self.bind(name);
            let (row, var) = (*kind == Kind::Row, &mut self.vars[id]);
            let kind = if row { Kind::List } else { *kind };
            let list = kind == Kind::List;
            (var.kind, var.lent, var.needed, var.row, var.traced) = (kind, list, list, row, true);
        }
    }

    /// Whether an index among the names has uses that are not understood.
    pub(super) fn has_plain(&self, names: &[Named]) -> bool {
        let plain = |name: &Ident| super::names::parts(name).1.is_none_or(|id| self.plain.contains(&id));
        names.iter().any(|(name, kind)| *kind == Kind::Int && plain(name))
    }

    /// Whether one among the parameters of closures has.
    pub(super) fn has_plain_inside(&self, items: &Items) -> bool {
        match items {
            Items::List { .. } | Items::Places(_) | Items::Rows { .. } | Items::Range { .. } | Items::Parts { .. } => {
                false
            }
            Items::Enumerate(items) | Items::Rev(items) => self.has_plain_inside(items),
            Items::Skip(items, _) | Items::Take(items, _) | Items::StepBy(items, _) => self.has_plain_inside(items),
            Items::Zip(a, b) => self.has_plain_inside(a) || self.has_plain_inside(b),
            Items::Map(items, f) => {
                self.has_plain_inside(items)
                    || !items.fits(&f.inputs[0])
                    || self.has_plain(&self.names(items, &f.inputs[0]))
                    || !self.gives_floats(items) && !is_written(f)
            }
        }
    }

    /// Whether the items are certainly floats.
    pub(super) fn gives_floats(&self, items: &Items) -> bool {
        match items {
            Items::List { .. } => true,
            Items::Rev(items) | Items::Skip(items, _) | Items::Take(items, _) | Items::StepBy(items, _) => {
                self.gives_floats(items)
            }
            Items::Map(inner, closure) => {
                let names = self.names(inner, &closure.inputs[0]);
                // a name by itself may be a reference
                !matches!(unparenthesised(&closure.body), Expr::Path(_) | Expr::Reference(_))
                    && self.is_float_with(&closure.body, &names)
            }
            _ => false,
        }
    }
}

impl Items {
    /// Whether there is a list among what is gone over.
    pub fn has_list(&self) -> bool {
        match self {
            Items::List { .. } | Items::Places(_) | Items::Rows { .. } | Items::Parts { .. } => true,
            Items::Range { .. } => false,
            Items::Enumerate(items) | Items::Rev(items) | Items::Map(items, _) => items.has_list(),
            Items::Skip(items, _) | Items::Take(items, _) | Items::StepBy(items, _) => items.has_list(),
            Items::Zip(a, b) => a.has_list() || b.has_list(),
        }
    }

    /// Whether there are so many and no more.
    pub fn ends(&self) -> bool {
        match self {
            Items::List { .. } | Items::Places(_) | Items::Rows { .. } | Items::Parts { .. } | Items::Take(..) => true,
            Items::Range { end, .. } => end.is_some(),
            Items::Skip(items, _) | Items::StepBy(items, _) => items.ends(),
            Items::Enumerate(items) | Items::Rev(items) | Items::Map(items, _) => items.ends(),
            Items::Zip(a, b) => a.ends() || b.ends(),
        }
    }

    /// Gives rows in the form that a pattern takes.
    pub fn settle(&mut self, integers: &Integers<'_>, pat: &Pat) {
        match (self, pat) {
            (items, Pat::Paren(pat)) => items.settle(integers, &pat.pat),
            (items, Pat::Type(pat)) => items.settle(integers, &pat.pat),
            (Items::Rows { arrays, .. }, pat) => *arrays |= integers.takes_array(pat),
            (Items::Rev(items) | Items::Skip(items, _) | Items::Take(items, _) | Items::StepBy(items, _), pat) => {
                items.settle(integers, pat)
            }
            (Items::Enumerate(items), Pat::Tuple(pat)) if pat.elems.len() == 2 => items.settle(integers, &pat.elems[1]),
            (Items::Zip(a, b), Pat::Tuple(pat)) if pat.elems.len() == 2 => {
                a.settle(integers, &pat.elems[0]);
                b.settle(integers, &pat.elems[1]);
            }
            _ => {}
        }
    }

    /// Whether a pattern can take them: of a part there is a list, which has no pattern but a name.
    pub fn fits(&self, pat: &Pat) -> bool {
        match (self, pat) {
            (_, Pat::Paren(pat)) => self.fits(&pat.pat),
            (_, Pat::Type(pat)) => self.fits(&pat.pat),
            (Items::Rows { by_ref, .. }, pat @ (Pat::Slice(_) | Pat::Reference(_))) => {
                *by_ref || matches!(pat, Pat::Slice(_))
            }
            (Items::Rows { by_ref: false, .. }, pat) => matches!(pat, Pat::Ident(_) | Pat::Wild(_)),
            (Items::Parts { .. } | Items::Rows { .. } | Items::Places(_), Pat::Ident(pat)) => {
                pat.by_ref.is_none() && pat.mutability.is_none() && pat.subpat.is_none()
            }
            (Items::Parts { .. } | Items::Rows { .. } | Items::Places(_), pat) => matches!(pat, Pat::Wild(_)),
            (Items::Rev(items) | Items::Skip(items, _) | Items::Take(items, _) | Items::StepBy(items, _), pat) => {
                items.fits(pat)
            }
            (Items::Enumerate(items), Pat::Tuple(pat)) if pat.elems.len() == 2 => items.fits(&pat.elems[1]),
            (Items::Zip(a, b), Pat::Tuple(pat)) if pat.elems.len() == 2 => {
                a.fits(&pat.elems[0]) && b.fits(&pat.elems[1])
            }
            (Items::Enumerate(items), _) => !items.has_parts(),
            (Items::Zip(a, b), _) => !a.has_parts() && !b.has_parts(),
            _ => true,
        }
    }

    /// Whether the items are references to floats.
    pub fn by_ref(&self) -> bool {
        match self {
            Items::List { by_ref, .. } => *by_ref,
            Items::Rev(items) | Items::Skip(items, _) | Items::Take(items, _) | Items::StepBy(items, _) => {
                items.by_ref()
            }
            _ => false,
        }
    }

    /// Whether there are lists among the items, or places of one: these take no pattern but a name.
    pub fn has_parts(&self) -> bool {
        match self {
            Items::Parts { .. } | Items::Rows { .. } | Items::Places(_) => true,
            Items::List { .. } | Items::Range { .. } | Items::Map(..) => false,
            Items::Enumerate(items) | Items::Rev(items) => items.has_parts(),
            Items::Skip(items, _) | Items::Take(items, _) | Items::StepBy(items, _) => items.has_parts(),
            Items::Zip(a, b) => a.has_parts() || b.has_parts(),
        }
    }

    /// The names of a pattern, and what they are.
    fn kinds(&self, integers: &Integers<'_>, pat: &Pat, names: &mut Vec<Named>) {
        match (self, pat) {
            (_, Pat::Paren(pat)) => self.kinds(integers, &pat.pat, names),
            (_, Pat::Type(pat)) => self.kinds(integers, &pat.pat, names),
            (Items::Rev(items) | Items::Skip(items, _) | Items::Take(items, _) | Items::StepBy(items, _), pat) => {
                items.kinds(integers, pat, names)
            }
            (Items::Rows { .. }, Pat::Reference(inner)) if matches!(&*inner.pat, Pat::Slice(_)) => {
                each_name(pat, Kind::Float, names);
            }
            (Items::Rows { .. }, Pat::Slice(_)) => each_name(pat, Kind::Float, names),
            (Items::Rows { by_ref: true, .. }, pat) if !integers.takes_array(pat) => each_name(pat, Kind::Row, names),
            (Items::Parts { .. }, pat) => each_name(pat, Kind::List, names),
            (Items::Enumerate(items), Pat::Tuple(pat)) if pat.elems.len() == 2 => {
                each_name(&pat.elems[0], Kind::Int, names);
                items.kinds(integers, &pat.elems[1], names);
            }
            (Items::Zip(a, b), Pat::Tuple(pat)) if pat.elems.len() == 2 => {
                a.kinds(integers, &pat.elems[0], names);
                b.kinds(integers, &pat.elems[1], names);
            }
            (Items::Range { .. } | Items::Places(_), pat) => each_name(pat, Kind::Int, names),
            (Items::List { .. }, Pat::Reference(pat)) => each_name(&pat.pat, Kind::Float, names),
            (Items::List { .. }, pat) => each_name(pat, Kind::Float, names),
            (Items::Map(..), pat) if integers.gives_floats(self) => each_name(pat, Kind::Float, names),
            (_, pat) => each_name(pat, Kind::Plain, names),
        }
    }

    /// How many there are.
    pub fn len(&self) -> Option<TokenStream> {
        match self {
            Items::List { list, .. }
            | Items::Places(list)
            | Items::Parts { list, .. }
            | Items::Rows { table: list, .. } => Some(quote!(#list.len())),
            Items::Skip(items, n) => items.len().map(|len| quote!(#len.saturating_sub(#n))),
            Items::Take(items, n) => Some(items.len().map_or_else(|| quote!(#n), |len| quote!(#len.min(#n)))),
            Items::StepBy(items, n) => items.len().map(|len| quote!((#len / #n + (#len % #n).min(1)))),
            Items::Range { start, end } => {
                let end = end.as_ref()?;
                Some(quote!(::autograd::__private::convert::<usize, _>(#end.max(#start) - #start)))
            }
            Items::Enumerate(items) | Items::Rev(items) | Items::Map(items, _) => items.len(),
            Items::Zip(a, b) => match (a.len(), b.len()) {
                (Some(a), Some(b)) => Some(quote!(#a.min(#b))),
                (a, b) => a.or(b),
            },
        }
    }

    /// The item at an index.
    pub fn item(&self, at: &TokenStream) -> TokenStream {
        match self {
            Items::List { list, by_ref } => {
                let reference = by_ref.then(|| quote!(&));
                quote!(#reference #list.item(#at))
            }
            Items::Places(_) => at.clone(),
            Items::Parts { list, .. } => quote!(&#list.item(#at)),
            Items::Rows { table, by_ref, arrays } => {
                let reference = by_ref.then(|| quote!(&));
                let item = super::hidden(if *arrays { "at" } else { "item" });
                quote!(#reference #table.#item(#at))
            }
            Items::Skip(items, n) => items.item(&quote!((#at + #n))),
            Items::Take(items, _) => items.item(at),
            Items::StepBy(items, n) => items.item(&quote!((#at * #n))),
            Items::Range { start, .. } => quote!((#start + ::autograd::__private::convert(#at))),
            Items::Rev(items) => {
                let len = items.len();
                items.item(&quote!((#len - 1 - #at)))
            }
            Items::Enumerate(items) => {
                let item = items.item(at);
                quote!((#at, #item))
            }
            Items::Zip(a, b) => {
                let (a, b) = (a.item(at), b.item(at));
                quote!((#a, #b))
            }
            Items::Map(items, closure) => {
                let (item, pat, body) = (items.item(at), untyped(&closure.inputs[0]), &closure.body);
                quote!({ let #pat = #item; #body })
            }
        }
    }

    fn by_value(self) -> Option<Items> {
        Some(match self {
            Items::List { list, by_ref: true } => Items::List { list, by_ref: false },
            Items::Rows { table, by_ref: true, .. } => Items::Rows { table, by_ref: false, arrays: true },
            Items::Rev(items) => Items::Rev(Box::new(items.by_value()?)),
            Items::Skip(items, n) => Items::Skip(Box::new(items.by_value()?), n),
            Items::Take(items, n) => Items::Take(Box::new(items.by_value()?), n),
            Items::StepBy(items, n) => Items::StepBy(Box::new(items.by_value()?), n),
            _ => return None,
        })
    }
}

fn each_name(pat: &Pat, kind: Kind, names: &mut Vec<Named>) {
    names.extend(super::names::bound(pat).into_iter().map(|name| (name, kind)));
}

/// Whether the closure is one of the body, and no function by name.
fn is_written(f: &ExprClosure) -> bool {
    f.inputs.iter().flat_map(super::names::bound).all(|name| super::names::parts(&name).1.is_some())
}

/// A pattern without its annotation.
pub(super) fn untyped(pat: &Pat) -> &Pat {
    match pat {
        Pat::Type(pat) => &pat.pat,
        pat => pat,
    }
}

/// A closure, or a function by name as one, that may be written in place: it has so many parameters and does not return
/// early.
pub(super) fn closure(e: &Expr, params: usize) -> Option<ExprClosure> {
    struct Returns(bool);
    impl syn::visit::Visit<'_> for Returns {
        fn visit_expr_return(&mut self, _: &syn::ExprReturn) {
            self.0 = true;
        }
        fn visit_expr_try(&mut self, _: &syn::ExprTry) {
            self.0 = true;
        }
    }
    match unparenthesised(e) {
        Expr::Closure(closure) => {
            let mut returns = Returns(closure.asyncness.is_some());
            syn::visit::Visit::visit_expr(&mut returns, &closure.body);
            (closure.inputs.len() == params && !returns.0).then(|| closure.clone())
        }
        Expr::Path(path) if path.qself.is_some() => Some(match params {
            1 => parse_quote!(|__x| #path(__x)),
            _ => parse_quote!(|__a, __x| #path(__a, __x)),
        }),
        _ => None,
    }
}
