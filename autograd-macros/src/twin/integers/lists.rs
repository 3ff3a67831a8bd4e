//! Lists: what makes one, and the uses that are understood.

use proc_macro2::{TokenStream, TokenTree};
use quote::quote;
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{BinOp, Expr, Ident, Lit, Type, UnOp, parse_quote, parse_quote_spanned};

use super::super::{flow, macros};
use super::items::Named;
use super::{Integers, Kind, int, number, unparenthesised};
use crate::ast;

/// Methods of slices that only look at them.
const READING: [&str; 22] = [
    "iter",
    "windows",
    "chunks",
    "chunks_exact",
    "rchunks",
    "first",
    "last",
    "get",
    "contains",
    "split_at",
    "is_empty",
    "split_first",
    "split_last",
    "concat",
    "starts_with",
    "ends_with",
    "split",
    "to_vec",
    "to_owned",
    "is_sorted",
    "as_ref",
    "repeat",
];

impl Integers<'_> {
    /// Whether the value of an expression is certainly a float of the twin, or a plain one.
    pub(super) fn is_float(&self, e: &Expr) -> bool {
        self.is_float_with(e, &[])
    }

    /// The same where these names are known as well.
    pub(super) fn is_float_with(&self, e: &Expr, names: &[Named]) -> bool {
        match unparenthesised(e) {
            Expr::Lit(e) => match &e.lit {
                Lit::Float(_) => true,
                Lit::Int(int) => int.suffix().starts_with('f'),
                _ => false,
            },
            Expr::Path(path) => {
                let Some(name) = path.path.get_ident() else { return is_constant(path) };
                let own = names.iter().find(|(own, _)| super::names::parts(own).0 == *name).map(|(_, kind)| *kind);
                // what is looked up is one only if something needs it
                own.or_else(|| self.var(e).filter(|&id| !self.vars[id].looked_up).map(|id| self.vars[id].kind))
                    == Some(Kind::Float)
            }
            Expr::Unary(e) => !matches!(e.op, UnOp::Not(_)) && self.is_float_with(&e.expr, names),
            Expr::Binary(e) => {
                let float = |e: &Expr| self.is_float_with(e, names);
                let (left, right) = (float(&e.left), float(&e.right));
                let beside = |e: &Expr, other: &Expr| self.is_traced_with(e, names) && self.is_lookup(other);
                flow::calculates(&e.op) && (left && right || beside(&e.left, &e.right) || beside(&e.right, &e.left))
            }
            Expr::Index(e) => self.place_of(&e.expr).is_some() && !matches!(&*e.index, Expr::Range(_)),
            Expr::MethodCall(e) => self.is_float_with(&e.receiver, names) && gives_float(&e.method.to_string()),
            Expr::Call(call) => is_float_call(call),
            Expr::If(e) => match &e.then_branch.stmts[..] {
                [syn::Stmt::Expr(e, None)] => self.is_float_with(e, names),
                _ => false,
            },
            Expr::Loop(e) => {
                let mut values = BreakValues::default();
                values.visit_block(&e.body);
                values.values.iter().any(|e| !values.binds(e) && self.is_float_with(e, names))
            }
            _ => false,
        }
    }

    /// Whether the value of an expression is certainly a traced float, and no plain one. These names are known as well.
    pub(super) fn is_traced_with(&self, e: &Expr, names: &[Named]) -> bool {
        let traced = |e: &Expr| self.is_traced_with(e, names);
        match unparenthesised(e) {
            Expr::Path(path) => {
                let Some(name) = path.path.get_ident() else { return false };
                match names.iter().find(|(own, _)| super::names::parts(own).0 == *name) {
                    Some((_, kind)) => *kind == Kind::Float,
                    None => self.var(e).is_some_and(|id| self.vars[id].kind == Kind::Float && self.vars[id].traced),
                }
            }
            Expr::Unary(e) => !matches!(e.op, UnOp::Not(_)) && traced(&e.expr),
            Expr::Binary(e) => flow::calculates(&e.op) && (traced(&e.left) || traced(&e.right)),
            Expr::Index(_) => self.is_float(e),
            Expr::MethodCall(e) => traced(&e.receiver) && gives_float(&e.method.to_string()),
            Expr::Call(call) => is_float_call(call),
            _ => false,
        }
    }

    /// Whether [`make_list`](Self::make_list) can make a list of the expression.
    pub(super) fn is_list(&self, e: &Expr) -> bool {
        match unparenthesised(e) {
            Expr::Path(_) => self.list(e).is_some(),
            // a row, which is an array
            Expr::Index(e) if !matches!(unparenthesised(&e.index), Expr::Range(_)) => {
                !self.root_range(&e.index) && self.table_place(&e.expr).is_some()
            }
            Expr::Reference(r) if r.mutability.is_none() => self.place_of(&r.expr).is_some(),
            Expr::MethodCall(call) => {
                let copies = ["to_vec", "clone", "to_owned"].iter().any(|name| call.method == name);
                copies && call.args.is_empty() && self.place_of(&call.receiver).is_some()
            }
            Expr::Macro(m) if macros::is(&m.mac, "vec") => {
                let mut float = false;
                macros::each_element(&mut m.mac.clone(), |e| float |= self.is_float(e));
                float
            }
            Expr::Array(array) => array.elems.iter().any(|e| self.is_float(e)),
            Expr::Repeat(repeat) => self.is_float(&repeat.expr),
            _ => false,
        }
    }

    /// Makes a list of an expression, for the variable. What is lent stays so.
    pub(super) fn make_list(&mut self, e: &mut Expr, id: usize) {
        *e = unparenthesised(e).clone();
        let span = e.span();
        let float = self.float.map(|float| {
            let float = super::hidden(float);
            quote!(::<#float>)
        });
        match e {
            Expr::Path(_) => {
                let from = self.list(e).expect("a list");
                self.vars[from].used = true;
                if self.vars[from].lent {
                    let row = self.vars[from].row;
                    (self.vars[id].lent, self.vars[id].needed, self.vars[id].row) = (true, true, row);
                } else {
                    self.links.push((id, from));
                    *e = parse_quote_spanned!(span=> #e.clone());
                }
            }
            Expr::Index(_) => {
                let from = self.make_part(e);
                self.links.push((id, from));
            }
            Expr::Reference(r) => {
                if let Some(from) = self.list(&r.expr) {
                    self.vars[from].used = true;
                    self.links.push((id, from));
                } else {
                    self.vars[id].row = self.is_row(&r.expr);
                    self.make_part(&mut r.expr);
                }
                (self.vars[id].lent, self.vars[id].optional) = (true, false);
            }
            Expr::MethodCall(call) => {
                if let Some(from) = self.list(&call.receiver) {
                    self.vars[from].used = true;
                    let receiver = &call.receiver;
                    self.links.push((id, from));
                    // of a reference as well, the list
                    *e = parse_quote_spanned!(span=> ::autograd::__private::List #float::clone(&#receiver));
                } else {
                    self.make_part(&mut call.receiver);
                    self.vars[id].needed = true;
                    *e = (*call.receiver).clone();
                }
            }
            Expr::Macro(m) => {
                let (elements, repeated) = macros::elements(&m.mac).expect("a vector's macro was read");
                let mut elements: Vec<Expr> = elements;
                match &mut elements[..] {
                    [element, len] if repeated => {
                        self.plain(element);
                        self.vars[id].needed |= self.expr(len) == Kind::Int;
                        *e = parse_quote_spanned!(span=> ::autograd::__private::List #float::repeat(#element, #len));
                    }
                    elements => {
                        elements.iter_mut().for_each(|e| self.plain(e));
                        *e = parse_quote_spanned!(span=> ::autograd::__private::List #float::of([#(#elements),*]));
                    }
                }
            }
            Expr::Array(array) => {
                array.elems.iter_mut().for_each(|e| self.plain(e));
                *e = parse_quote_spanned!(span=> ::autograd::__private::List #float::of(#array));
            }
            Expr::Repeat(repeat) => {
                self.plain(&mut repeat.expr);
                let (element, len) = (&repeat.expr, &repeat.len);
                *e = parse_quote_spanned!(span=> ::autograd::__private::List #float::repeat(#element, #len));
            }
            _ => unreachable!("`is_list` was asked"),
        }
    }

    /// An index expression; its kind.
    pub(super) fn index(&mut self, e: &mut Expr) -> Kind {
        let Expr::Index(index) = e else { return Kind::Plain };
        let ranges = match unparenthesised(&index.index) {
            Expr::Range(_) => true,
            e => self.root_range(e),
        };
        let id = match self.list(&index.expr) {
            Some(id) => id,
            // a row as the array that it is
            None if !ranges && let Some(id) = self.table_place(&index.expr) => {
                self.make_table_place(&mut index.expr);
                self.subscript(id, &mut index.index);
                let (table, at, span) = (&index.expr, unparenthesised(&index.index), index.span());
                *e = parse_quote_spanned!(span=> #table.at(#at));
                return Kind::Plain;
            }
            None if !ranges && self.part(&index.expr).is_some() => self.make_part(&mut index.expr),
            None => {
                self.plain(&mut index.expr);
                self.plain(&mut index.index);
                return Kind::Plain;
            }
        };
        self.vars[id].used = true;
        if ranges {
            self.plain(&mut index.index);
            return Kind::Plain;
        }
        self.subscript(id, &mut index.index);
        let (list, at, span) = (&index.expr, unparenthesised(&index.index), index.span());
        *e = parse_quote_spanned!(span=> #list.at(#at));
        Kind::Float
    }

    /// Whether the expression is, or is made of, a variable that holds a range.
    pub(super) fn root_range(&self, e: &Expr) -> bool {
        match e {
            Expr::MethodCall(call) => self.root_range(&call.receiver),
            e => self.var(e).is_some_and(|id| self.vars[id].kind == Kind::Range),
        }
    }

    /// An index as an `Int`.
    pub(super) fn subscript(&mut self, id: usize, e: &mut Expr) {
        *e = unparenthesised(e).clone();
        match self.expr(e) {
            Kind::Number => number(e),
            Kind::Int => self.vars[id].needed = true,
            Kind::List | Kind::Table => self.spoil(e),
            _ => int(e),
        }
    }

    /// Whether the place is an element of a list or table of the function's own, or a row of a table.
    pub(super) fn is_element(&self, place: &Expr) -> bool {
        self.element(place).is_some()
    }

    /// What an element belongs to, and its indices.
    fn element(&self, place: &Expr) -> Option<(usize, Expr, Vec<Expr>)> {
        let Expr::Index(e) = unparenthesised(place) else { return None };
        if matches!(unparenthesised(&e.index), Expr::Range(_)) || self.root_range(&e.index) {
            return None;
        }
        let own = |e: &Expr| self.local_list(e).or_else(|| self.table(e).filter(|&id| !self.vars[id].lent));
        if let Some(id) = own(&e.expr) {
            return Some((id, (*e.expr).clone(), vec![(*e.index).clone()]));
        }
        let (id, of, mut at) = self.element(&e.expr)?;
        at.push((*e.index).clone());
        (at.len() == 2 && self.vars[id].kind == Kind::Table).then_some((id, of, at))
    }

    /// The element's list or table, and its indices as `Int`s.
    fn make_element(&mut self, place: &Expr) -> (Expr, Vec<Expr>) {
        let (id, of, mut at) = self.element(place).expect("an element of the function's own");
        self.vars[id].used = true;
        at.iter_mut().for_each(|at| self.subscript(id, at));
        (of, at)
    }

    /// `v.set(i, e)` for `v[i] = e`, `t.set(i, j, e)` for `t[i][j] = e`, `t.set_row(i, e)` for `t[i] = e`.
    pub(super) fn set(&mut self, place: &mut Expr, value: &mut Expr) -> Expr {
        let row = self.element(place).is_some_and(|(id, _, at)| self.vars[id].kind == Kind::Table && at.len() == 1);
        if let Some((id, ..)) = self.element(place)
            && self.vars[id].untyped
            && !self.is_float(value)
        {
            self.reject(id);
        }
        self.plain(value);
        let (list, at) = self.make_element(place);
        let span = place.span();
        // an index out of range is reported where the method's name stands
        let set = Ident::new(if row { "set_row" } else { "set" }, span);
        if at.iter().all(is_simple) || is_simple(value) {
            return parse_quote_spanned!(span=> #list.#set(#(#at,)* #value));
        }
        parse_quote_spanned!(span=> { let __value = #value; #list.#set(#(#at,)* __value) })
    }

    /// `v[i] += e`.
    pub(super) fn change(&mut self, place: &mut Expr, op: BinOp, value: &mut Expr) -> Expr {
        self.plain(value);
        let (list, at) = self.make_element(place);
        let (span, op) = (place.span(), flow::calculation(&op));
        match &at[..] {
            [at] => parse_quote_spanned!(span=> {
                let (__value, __at) = (#value, #at);
                #list.set(__at, #list.at(__at) #op __value)
            }),
            at => parse_quote_spanned!(span=> {
                let (__value, (__row, __at)) = (#value, (#(#at),*));
                #list.set(__row, __at, #list.row(__row).at(__at) #op __value)
            }),
        }
    }

    /// A method of a list; its kind.
    pub(super) fn list_method(&mut self, e: &mut Expr, id: usize) -> Kind {
        let Expr::MethodCall(call) = e else { return Kind::Plain };
        self.vars[id].used = true;
        let (name, span) = (call.method.to_string(), call.span());
        let lent = self.vars[id].lent;
        match (name.as_str(), call.args.len()) {
            ("len", 0) => return Kind::Int,
            ("fill", 1) if !lent => {
                self.plain(&mut call.args[0]);
                let (list, value) = (&call.receiver, &call.args[0]);
                *e = parse_quote_spanned!(span=>
                    #list = ::autograd::__private::List::repeat(#value, #list.len()));
                return Kind::Plain;
            }
            ("reverse", 0) if !lent => {
                let list = &call.receiver;
                *e = parse_quote_spanned!(span=> #list = #list.reversed());
                return Kind::Plain;
            }
            ("sort_by" | "sort_unstable_by", 1) if !lent && super::extremes::sorting(&call.args[0]).is_some() => {
                // of a few items too: plain code would have to know them
                self.vars[id].needed = true;
                let (descending, total) = super::extremes::sorting(&call.args[0]).expect("it was asked");
                let list = &call.receiver;
                *e = parse_quote_spanned!(span=> #list = #list.sorted(#descending, #total));
                return Kind::Plain;
            }
            ("swap", 2) if !lent => {
                self.subscript(id, &mut call.args[0]);
                self.subscript(id, &mut call.args[1]);
                let (list, a, b) = (&call.receiver, &call.args[0], &call.args[1]);
                *e = parse_quote_spanned!(span=> {
                    let (__a, __b) = (#a, #b);
                    let (__at_a, __at_b) = (#list.at(__a), #list.at(__b));
                    #list.set(__a, __at_b);
                    #list.set(__b, __at_a)
                });
                return Kind::Plain;
            }
            ("clone" | "as_slice", 0) if lent => {
                let list = &call.receiver;
                *e = match name.as_str() {
                    "clone" => parse_quote_spanned!(span=> #list.to_vec()),
                    _ => parse_quote_spanned!(span=> (&#list[..])),
                };
                return Kind::Plain;
            }
            _ => {}
        }
        if !lent && !READING.contains(&name.as_str()) {
            self.reject(id);
        }
        call.args.iter_mut().for_each(|arg| self.plain(arg));
        Kind::Plain
    }

    /// `x` or `&x[..]` where a plain slice is needed. A list of the function's own stays what it was.
    pub(super) fn plain_list(&mut self, e: &mut Expr, id: usize) {
        self.vars[id].used = true;
        if self.vars[id].lent && !self.vars[id].row {
            *e = parse_quote!((&#e[..]));
        } else {
            self.reject(id);
        }
    }
}

/// What a loop is left with, and the names that its body binds.
#[derive(Default)]
struct BreakValues {
    values: Vec<Expr>,
    names: Vec<String>,
}

impl BreakValues {
    /// Whether the expression mentions one of the names.
    fn binds(&self, e: &Expr) -> bool {
        self.names.iter().any(|name| mentions(&quote!(#e), name, false))
    }
}

impl<'ast> Visit<'ast> for BreakValues {
    fn visit_expr_break(&mut self, exit: &'ast syn::ExprBreak) {
        self.values.extend(exit.expr.as_deref().cloned());
    }
    fn visit_pat_ident(&mut self, pat: &'ast syn::PatIdent) {
        self.names.push(super::names::parts(&pat.ident).0.to_string());
    }
    // they have values of their own
    fn visit_expr_loop(&mut self, e: &'ast syn::ExprLoop) {
        let mut inner = BreakValues::default();
        inner.visit_block(&e.body);
        self.names.extend(inner.names);
        let leaves = inner.values.into_iter().filter(|_| contains_label(&e.body));
        self.values.extend(leaves);
    }
    fn visit_item(&mut self, _: &'ast syn::Item) {}
}

fn contains_label(block: &syn::Block) -> bool {
    struct Labels(bool);
    impl<'ast> Visit<'ast> for Labels {
        fn visit_expr_break(&mut self, exit: &'ast syn::ExprBreak) {
            self.0 |= exit.label.is_some();
        }
    }
    let mut labels = Labels(false);
    labels.visit_block(block);
    labels.0
}

/// Whether a method of slices only looks at them.
pub(super) fn reads(name: &str) -> bool {
    READING.contains(&name)
}

/// Whether the text of a macro names a variable: by itself, or if its arguments have been looked at, in braces.
pub(super) fn mentions(tokens: &TokenStream, name: &str, opened: bool) -> bool {
    tokens.clone().into_iter().any(|token| match token {
        TokenTree::Ident(ident) => !opened && ident == name,
        TokenTree::Group(group) => mentions(&group.stream(), name, opened),
        TokenTree::Literal(literal) => literal.to_string().contains(&format!("{{{name}")),
        TokenTree::Punct(_) => false,
    })
}

/// Whether the order in which it is evaluated does not matter.
pub(super) fn is_simple(e: &Expr) -> bool {
    match unparenthesised(e) {
        Expr::Path(_) | Expr::Lit(_) => true,
        Expr::Binary(e) => flow::calculates(&e.op) && is_simple(&e.left) && is_simple(&e.right),
        Expr::Call(call) => {
            matches!(&*call.func, Expr::Path(f) if f.path.leading_colon.is_some()) && call.args.iter().all(is_simple)
        }
        Expr::MethodCall(call) => {
            let names = ["at", "item", "len", "min", "max", "saturating_sub"];
            names.iter().any(|name| call.method == name) && is_simple(&call.receiver) && call.args.iter().all(is_simple)
        }
        _ => false,
    }
}

/// `std::f64::consts::PI`, `f64::MAX`.
fn is_constant(path: &syn::ExprPath) -> bool {
    let names: Vec<String> = path.path.segments.iter().map(|s| s.ident.to_string()).collect();
    let [.., module, name] = &names[..] else { return false };
    let shouts = name.chars().all(|c| !c.is_ascii_lowercase());
    shouts
        && (module == "consts"
            || matches!(name.as_str(), "MAX" | "MIN" | "INFINITY" | "NEG_INFINITY" | "EPSILON" | "NAN"))
        && (module == "consts" || module == "f64" || module == "f32")
}

/// `literal(..)`, `lift(..)`, `cast::<f64, _>(..)`, `<Real<f64>>::max(..)`.
fn is_float_call(call: &syn::ExprCall) -> bool {
    let Expr::Path(func) = &*call.func else { return false };
    let Some(last) = func.path.segments.last() else { return false };
    if let Some(owner) = &func.qself {
        let real = matches!(ast::ungroup(&owner.ty), Type::Path(ty) if ty.path.segments.last().is_some_and(|s| s.ident == "Real"));
        return real && gives_float(&last.ident.to_string());
    }
    if func.path.leading_colon.is_none() {
        return false;
    }
    let target = match &last.arguments {
        syn::PathArguments::AngleBracketed(to) => to.args.first(),
        _ => None,
    };
    let float = matches!(target, Some(syn::GenericArgument::Type(ty)) if ast::scalar(ty).is_some());
    match last.ident.to_string().as_str() {
        "literal" | "lift" | "looked_up" => true,
        "cast" => float,
        _ => false,
    }
}

/// Whether a method of floats gives one.
fn gives_float(name: &str) -> bool {
    const OTHERS: [&str; 10] =
        ["sin_cos", "partial_cmp", "total_cmp", "to_bits", "classify", "to_string", "eq", "ne", "lt", "gt"];
    !name.starts_with("is_") && !name.starts_with("to_") && !OTHERS.contains(&name)
        || matches!(name, "to_radians" | "to_degrees")
}
