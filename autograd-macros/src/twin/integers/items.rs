//! What a loop or a chain of iterators goes over, as a length and the item at an index: `x.iter().enumerate()` has
//! `x.len()` items `(i, &x.at(i))`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Expr, Ident, Pat, RangeLimits, Stmt, parse_quote};

use super::loops::operand;
use super::{Integers, Kind, int, number, unparenthesised};

/// A sequence of items.
#[derive(Clone)]
pub(super) enum Items {
    /// Those of a list, by value or by reference; the list is a variable or a slice of one.
    List {
        list: Box<Expr>,
        by_ref: bool,
    },
    /// The integers of a range.
    Range {
        start: Box<Expr>,
        end: Option<Box<Expr>>,
    },
    Enumerate(Box<Items>),
    Zip(Box<Items>, Box<Items>),
    Rev(Box<Items>),
    Copied(Box<Items>),
}

impl Integers<'_> {
    /// What an expression goes over, if it is understood. Nothing is rewritten yet.
    pub(super) fn items(&self, e: &Expr) -> Option<Items> {
        let e = unparenthesised(e);
        if let Some(id) = self.list(e) {
            let by_ref = self.vars[id].lent;
            return Some(Items::List { list: Box::new(e.clone()), by_ref });
        }
        match e {
            Expr::Reference(r) if r.mutability.is_none() => self.listed(&r.expr),
            Expr::Range(range) => {
                if let (RangeLimits::Closed(_), _) | (_, None) = (&range.limits, &range.start) {
                    return None;
                }
                Some(Items::Range { start: range.start.clone()?, end: range.end.clone() })
            }
            Expr::MethodCall(call) => match (call.method.to_string().as_str(), call.args.first()) {
                ("iter", None) => self.listed(&call.receiver),
                ("enumerate", None) => Some(Items::Enumerate(Box::new(self.items(&call.receiver)?))),
                ("rev", None) => Some(Items::Rev(Box::new(self.items(&call.receiver)?))),
                ("copied" | "cloned", None) => match self.items(&call.receiver)? {
                    Items::List { list, by_ref: true } => Some(Items::List { list, by_ref: false }),
                    items @ (Items::Rev(_) | Items::Copied(_)) => Some(Items::Copied(Box::new(items))),
                    _ => None,
                },
                ("zip", Some(other)) if call.args.len() == 1 => {
                    let (a, b) = (self.items(&call.receiver)?, self.items(other)?);
                    Some(Items::Zip(Box::new(a), Box::new(b)))
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// The items of a list or of a slice of one, by reference.
    fn listed(&self, e: &Expr) -> Option<Items> {
        let e = unparenthesised(e);
        let found = self.list(e).is_some() || self.slice(e).is_some();
        found.then(|| Items::List { list: Box::new(e.clone()), by_ref: true })
    }

    /// The same with its expressions rewritten.
    pub(super) fn computed(&mut self, items: &Items) -> Items {
        let mut items = items.clone();
        self.compute(&mut items);
        items
    }

    fn compute(&mut self, items: &mut Items) {
        match items {
            Items::List { list, .. } => match self.list(list) {
                Some(id) => self.vars[id].used = true,
                None => self.make_slice(list),
            },
            Items::Range { start, end } => {
                for bound in std::iter::once(start).chain(end) {
                    match self.expr(bound) {
                        Kind::Number => number(bound),
                        _ => int(bound),
                    }
                }
            }
            Items::Enumerate(items) | Items::Rev(items) | Items::Copied(items) => self.compute(items),
            Items::Zip(a, b) => {
                self.compute(a);
                self.compute(b);
            }
        }
    }

    /// Variables for the names of a pattern over items, with their kinds.
    pub(super) fn item_vars(&mut self, pat: &Pat, items: &Items) -> Vec<(Ident, usize, Kind)> {
        let mut names = Vec::new();
        items.names(pat, &mut names);
        names.into_iter().map(|(name, kind)| (name, self.reserve(), kind)).collect()
    }
}

impl Items {
    /// Whether there is a list among what is gone over.
    pub fn has_list(&self) -> bool {
        match self {
            Items::List { .. } => true,
            Items::Range { .. } => false,
            Items::Enumerate(items) | Items::Rev(items) | Items::Copied(items) => items.has_list(),
            Items::Zip(a, b) => a.has_list() || b.has_list(),
        }
    }

    /// Whether the parts of a pattern are those of the items.
    pub fn fits(&self, pat: &Pat) -> bool {
        match (self, pat) {
            (_, Pat::Wild(_)) => true,
            (_, Pat::Paren(pat)) => self.fits(&pat.pat),
            (Items::List { by_ref: true, .. }, Pat::Reference(pat)) => is_name(&pat.pat),
            (Items::List { .. } | Items::Range { .. }, pat) => is_name(pat),
            (Items::Copied(items), pat) => is_name(pat) && items.fits(pat),
            (Items::Rev(items), pat) => items.fits(pat),
            (Items::Enumerate(items), Pat::Tuple(pat)) => {
                pat.elems.len() == 2 && is_name(&pat.elems[0]) && items.fits(&pat.elems[1])
            }
            (Items::Zip(a, b), Pat::Tuple(pat)) => {
                pat.elems.len() == 2 && a.fits(&pat.elems[0]) && b.fits(&pat.elems[1])
            }
            _ => false,
        }
    }

    fn names(&self, pat: &Pat, names: &mut Vec<(Ident, Kind)>) {
        match (self, pat) {
            (_, Pat::Paren(pat)) => self.names(&pat.pat, names),
            (Items::Rev(items) | Items::Copied(items), pat) => items.names(pat, names),
            (Items::Enumerate(items), Pat::Tuple(pat)) => {
                names.extend(name(&pat.elems[0]).map(|name| (name, Kind::Int)));
                items.names(&pat.elems[1], names);
            }
            (Items::Zip(a, b), Pat::Tuple(pat)) => {
                a.names(&pat.elems[0], names);
                b.names(&pat.elems[1], names);
            }
            (Items::Range { .. }, pat) => names.extend(name(pat).map(|name| (name, Kind::Int))),
            (_, Pat::Reference(pat)) => names.extend(name(&pat.pat).map(|name| (name, Kind::Float))),
            (_, pat) => names.extend(name(pat).map(|name| (name, Kind::Float))),
        }
    }

    /// How many there are; endless ranges have no end.
    fn count(&self) -> Option<TokenStream> {
        match self {
            Items::List { list, .. } => Some(quote!(#list.len())),
            Items::Range { start, end } => {
                let (start, end) = (operand(start), operand(end.as_ref()?));
                Some(quote!((#end.max(#start) - #start)))
            }
            Items::Enumerate(items) | Items::Rev(items) | Items::Copied(items) => items.count(),
            Items::Zip(a, b) => match (a.count(), b.count()) {
                (Some(a), Some(b)) => Some(quote!(#a.min(#b))),
                (a, b) => a.or(b),
            },
        }
    }

    pub fn len(&self) -> TokenStream {
        self.count().unwrap_or_else(|| quote!(::autograd::__private::Int::number(0)))
    }

    /// The statements that bind the names of a pattern to the item at an index.
    pub fn lets(&self, at: TokenStream, pat: &Pat, lets: &mut Vec<Stmt>) {
        match (self, pat) {
            (_, Pat::Wild(_)) => {}
            (_, Pat::Paren(pat)) => self.lets(at, &pat.pat, lets),
            (Items::List { list, by_ref: true }, Pat::Reference(pat)) => {
                let pat = &pat.pat;
                lets.push(parse_quote!(let #pat = #list.at(#at);));
            }
            (Items::List { list, by_ref }, pat) => {
                let reference = by_ref.then(|| quote!(&));
                lets.push(parse_quote!(let #pat = #reference #list.at(#at);));
            }
            (Items::Range { start, .. }, pat) => {
                let start = operand(start);
                lets.push(parse_quote!(let #pat = #start + #at;));
            }
            (Items::Copied(items), pat) => items.by_value().lets(at, pat, lets),
            (Items::Rev(items), pat) => {
                let len = items.len();
                items.lets(quote!((#len - 1 - #at)), pat, lets);
            }
            (Items::Enumerate(items), Pat::Tuple(pat)) => {
                let index = &pat.elems[0];
                lets.push(parse_quote!(let #index = #at;));
                items.lets(at, &pat.elems[1], lets);
            }
            (Items::Zip(a, b), Pat::Tuple(pat)) => {
                a.lets(at.clone(), &pat.elems[0], lets);
                b.lets(at, &pat.elems[1], lets);
            }
            _ => {}
        }
    }

    fn by_value(&self) -> Items {
        match self {
            Items::List { list, .. } => Items::List { list: list.clone(), by_ref: false },
            Items::Rev(items) => Items::Rev(Box::new(items.by_value())),
            Items::Copied(items) => items.by_value(),
            other => other.clone(),
        }
    }
}

fn is_name(pat: &Pat) -> bool {
    matches!(pat, Pat::Wild(_)) || name(pat).is_some()
}

fn name(pat: &Pat) -> Option<Ident> {
    match pat {
        Pat::Ident(pat) if pat.by_ref.is_none() && pat.subpat.is_none() => Some(pat.ident.clone()),
        Pat::Paren(pat) => name(&pat.pat),
        _ => None,
    }
}
