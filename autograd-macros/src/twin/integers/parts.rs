//! Parts of lists and tables, which are views: `x[a..b]` becomes `x.slice(a..b)`, at any depth, a row `t[i]` of a table
//! `t.row(i)`, and `let (a, b) = x.split_at(k)` two slices.

use syn::spanned::Spanned;
use syn::{Expr, ExprMethodCall, Pat, PatTuple, parse_quote, parse_quote_spanned};

use super::lists::is_simple;
use super::{Integers, Kind, int, number, unparenthesised};

impl Integers<'_> {
    /// The list or table that a list is a part of: `x[a..b]` of a list or of another part, a row of a table.
    pub(super) fn part(&self, e: &Expr) -> Option<usize> {
        match unparenthesised(e) {
            Expr::Index(e) if matches!(unparenthesised(&e.index), Expr::Range(_)) => self.place_of(&e.expr),
            Expr::Index(e) if !self.root_range(&e.index) => self.table_place(&e.expr),
            _ => None,
        }
    }

    /// The table that an expression is, or some rows of which it is.
    pub(super) fn table_place(&self, e: &Expr) -> Option<usize> {
        match unparenthesised(e) {
            Expr::Index(e) if matches!(unparenthesised(&e.index), Expr::Range(_)) => self.table_place(&e.expr),
            e => self.table(e),
        }
    }

    /// Makes a table of one.
    pub(super) fn make_table_place(&mut self, e: &mut Expr) -> usize {
        *e = unparenthesised(e).clone();
        let Expr::Index(index) = e else {
            let id = self.table(e).expect("a table");
            self.vars[id].used = true;
            return id;
        };
        let id = self.make_table_place(&mut index.expr);
        self.range(id, &mut index.index);
        let (table, range, span) = (&index.expr, &index.index, index.span());
        *e = parse_quote_spanned!(span=> #table.slice(#range));
        id
    }

    /// Makes `Int`s of the bounds of a range of a list or table.
    fn range(&mut self, id: usize, e: &mut Expr) {
        *e = unparenthesised(e).clone();
        let Expr::Range(range) = e else { unreachable!("a part has a range") };
        for bound in [&mut range.start, &mut range.end].into_iter().flatten() {
            self.vars[id].needed |= self.bound(bound) == Kind::Int;
        }
    }

    /// Whether a part is a row of a table.
    pub(super) fn is_row(&self, e: &Expr) -> bool {
        let row = |e: &syn::ExprIndex| !matches!(unparenthesised(&e.index), Expr::Range(_));
        matches!(unparenthesised(e), Expr::Index(e) if row(e)) && self.part(e).is_some()
    }

    /// The list that an expression is, or is a part of.
    pub(super) fn place_of(&self, e: &Expr) -> Option<usize> {
        self.list(e).or_else(|| self.part(e))
    }

    /// Makes a list of a part of one; which.
    pub(super) fn make_part(&mut self, e: &mut Expr) -> usize {
        *e = unparenthesised(e).clone();
        let Expr::Index(index) = e else { unreachable!("a part is an index") };
        if !matches!(unparenthesised(&index.index), Expr::Range(_)) {
            let id = self.make_table_place(&mut index.expr);
            self.subscript(id, &mut index.index);
            let (table, at, span) = (&index.expr, &index.index, index.span());
            *e = parse_quote_spanned!(span=> #table.row(#at));
            return id;
        }
        let id = self.make_place(&mut index.expr);
        self.range(id, &mut index.index);
        let (list, range, span) = (&index.expr, &index.index, index.span());
        *e = parse_quote_spanned!(span=> #list.slice(#range));
        id
    }

    /// Makes a list of an expression that is one, or a part of one; which.
    pub(super) fn make_place(&mut self, e: &mut Expr) -> usize {
        match self.list(e) {
            Some(id) => {
                self.vars[id].used = true;
                id
            }
            None => self.make_part(e),
        }
    }

    /// Makes an `Int` of a bound or a number of items; what it was.
    pub(super) fn bound(&mut self, e: &mut Expr) -> Kind {
        let kind = self.expr(e);
        match kind {
            Kind::Number => number(e),
            Kind::List | Kind::Table => self.spoil(e),
            _ => int(e),
        }
        kind
    }

    /// A method of a part of a list that gives an integer, if that is what it is.
    pub(super) fn part_method(&mut self, call: &mut ExprMethodCall) -> Option<Kind> {
        if call.method == "len" && call.args.is_empty() && self.table_place(&call.receiver).is_some() {
            self.make_table_place(&mut call.receiver);
            return Some(Kind::Int);
        }
        let id = self.part(&call.receiver)?;
        match call.method.to_string().as_str() {
            "len" if call.args.is_empty() => {
                self.make_part(&mut call.receiver);
                Some(Kind::Int)
            }
            name if !super::lists::reads(name) && !self.vars[id].lent => {
                self.reject(id);
                None
            }
            _ => None,
        }
    }

    /// `(&x[..k], &x[k..])` of `x.split_at(k)`, for two names.
    pub(super) fn halves(&self, pat: &PatTuple, init: &Expr) -> Option<Expr> {
        let Expr::MethodCall(call) = unparenthesised(init) else { return None };
        let names = pat.elems.len() == 2 && pat.elems.iter().all(|pat| matches!(pat, Pat::Ident(_) | Pat::Wild(_)));
        let (list, at) = (&call.receiver, call.args.first()?);
        let splits = call.method == "split_at" && names && is_simple(at) && self.place_of(list).is_some();
        splits.then(|| parse_quote!((&#list[..#at], &#list[#at..])))
    }
}
