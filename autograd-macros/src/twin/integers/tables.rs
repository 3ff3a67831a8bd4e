//! Tables, lists of arrays or vectors of floats: what makes one, and the uses that are understood. `t[i][j]` is
//! `t.row(i).at(j)`, see [`parts`](super::parts) and [`lists`](super::lists).

use quote::quote;
use syn::spanned::Spanned;
use syn::{Expr, Pat, Type, parse_quote, parse_quote_spanned};

use super::super::macros;
use super::bindings::real;
use super::{Integers, Kind, unparenthesised};
use crate::ast;

/// Equal elements: the element, how many are in a row, whether rows are vectors, and how many rows there are.
struct Equal {
    element: Expr,
    cols: Expr,
    vectors: bool,
    rows: Expr,
}

impl Integers<'_> {
    /// What [`make_listed`](Self::make_listed) can make of an expression: a list, a table, or neither.
    pub(super) fn listed_kind(&self, e: &Expr) -> Kind {
        match () {
            () if self.is_list(e) => Kind::List,
            () if self.is_table(e) => Kind::Table,
            () => Kind::Plain,
        }
    }

    /// Makes a list or table of an expression, for the variable.
    pub(super) fn make_listed(&mut self, e: &mut Expr, id: usize) {
        if self.is_list(e) { self.make_list(e, id) } else { self.make_table(e, id) }
    }

    /// Whether a pattern over the rows of a table takes an array, as a name does that plain code uses: others take a list.
    pub(super) fn takes_array(&self, pat: &Pat) -> bool {
        match pat {
            Pat::Paren(pat) => self.takes_array(&pat.pat),
            Pat::Type(pat) => self.takes_array(&pat.pat),
            Pat::Ident(pat) => super::names::parts(&pat.ident).1.is_some_and(|id| self.plain.contains(&id)),
            pat => matches!(pat, Pat::Slice(_) | Pat::Reference(_)),
        }
    }

    fn is_table(&self, e: &Expr) -> bool {
        match unparenthesised(e) {
            Expr::Path(_) => self.table(e).is_some(),
            Expr::Reference(r) if r.mutability.is_none() => self.table_place(&r.expr).is_some(),
            Expr::MethodCall(call) => {
                let copies = ["to_vec", "clone", "to_owned"].iter().any(|name| call.method == name);
                copies && call.args.is_empty() && self.table_place(&call.receiver).is_some()
            }
            e => equal(e).is_some_and(|equal| self.is_float(&equal.element)),
        }
    }

    /// Makes a table of an expression, for the variable. What is lent stays so.
    fn make_table(&mut self, e: &mut Expr, id: usize) {
        *e = unparenthesised(e).clone();
        let span = e.span();
        match e {
            Expr::Path(_) => {
                let from = self.table(e).expect("a table");
                self.vars[from].used = true;
                if self.vars[from].lent {
                    (self.vars[id].lent, self.vars[id].needed) = (true, true);
                } else {
                    self.links.push((id, from));
                    *e = parse_quote_spanned!(span=> #e.clone());
                }
            }
            Expr::Reference(r) => {
                let from = self.make_table_place(&mut r.expr);
                self.links.push((id, from));
                (self.vars[id].lent, self.vars[id].optional) = (true, false);
            }
            Expr::MethodCall(call) => {
                let from = self.make_table_place(&mut call.receiver);
                self.links.push((id, from));
                let receiver = &call.receiver;
                // of a reference as well, the table
                *e = parse_quote_spanned!(span=> ::autograd::__private::Table::clone(&#receiver));
            }
            e => {
                let Equal { mut element, mut cols, vectors, mut rows } = equal(e).expect("`is_table` was asked");
                self.plain(&mut element);
                if vectors {
                    self.vars[id].needed |= self.bound(&mut cols) == Kind::Int;
                }
                self.vars[id].needed |= self.bound(&mut rows) == Kind::Int;
                let float = self.float.map_or_else(|| super::hidden("_"), super::hidden);
                let real = quote!(::autograd::__private::Real<#float>);
                let row = if vectors { quote!(::std::vec::Vec<#real>) } else { quote!([#real; #cols]) };
                *e = parse_quote_spanned!(span=>
                    ::autograd::__private::Table::<#row>::filled(#element, #cols, #rows));
            }
        }
    }

    /// A method of a table; its kind.
    pub(super) fn table_method(&mut self, e: &mut Expr, id: usize) -> Kind {
        let Expr::MethodCall(call) = e else { return Kind::Plain };
        self.vars[id].used = true;
        let (name, lent, table) = (call.method.to_string(), self.vars[id].lent, &call.receiver);
        match name.as_str() {
            "len" | "cols" if call.args.is_empty() => return Kind::Int,
            "clone" if lent => *e = parse_quote!(#table.to_vec()),
            "as_slice" if lent => *e = parse_quote!((&#table[..])),
            name => {
                if !lent && !super::lists::reads(name) {
                    self.reject(id);
                }
                call.args.iter_mut().for_each(|arg| self.plain(arg));
            }
        }
        Kind::Plain
    }
}

/// `vec![[x; 3]; n]`, `vec![vec![x; m]; n]` and `[[x; 3]; 4]`.
fn equal(e: &Expr) -> Option<Equal> {
    let (row, rows, fixed) = repeated(e)?;
    let (element, cols, array) = repeated(&row)?;
    // an array of vectors is none of these
    (!fixed || array).then_some(Equal { element, cols, vectors: !array, rows })
}

/// `x`, `n` and whether it is an array, of `[x; n]` and `vec![x; n]`.
fn repeated(e: &Expr) -> Option<(Expr, Expr, bool)> {
    match unparenthesised(e) {
        Expr::Repeat(repeat) => Some(((*repeat.expr).clone(), (*repeat.len).clone(), true)),
        Expr::Macro(m) => match &macros::elements(&m.mac)? {
            (elements, true) => Some((elements[0].clone(), elements[1].clone(), false)),
            _ => None,
        },
        _ => None,
    }
}

/// What the annotation of a table becomes; `None` if it is none of a table.
pub(super) fn table_type(ty: Option<&Type>) -> Option<Option<Type>> {
    let Some(ty) = ty else { return Some(None) };
    let (row, by_ref) = match ast::ungroup(ty) {
        Type::Reference(ty) if ty.mutability.is_none() => match ast::ungroup(&ty.elem) {
            Type::Slice(ty) => (&*ty.elem, true),
            _ => return None,
        },
        Type::Array(ty) => (&*ty.elem, false),
        Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Vec") => {
            (ast::first_argument(path)?, false)
        }
        Type::Infer(_) => return Some(None),
        _ => return None,
    };
    let understood = match ast::ungroup(row) {
        Type::Array(ty) => real(&ty.elem).is_some(),
        Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Vec") => {
            let item = ast::first_argument(path)?;
            matches!(item, Type::Infer(_)) || real(item).is_some()
        }
        ty => matches!(ty, Type::Infer(_)),
    };
    let by_ref = by_ref.then(|| quote!(&));
    understood.then(|| Some(parse_quote_spanned!(ty.span()=> #by_ref ::autograd::__private::Table<#row>)))
}
