//! Turns integers that are understood into `Int`s, lists of floats into `List`s and lists of arrays into `Table`s, so that a trace leaves their values
//! and lengths open: `let mut n = 0` becomes `let mut n = Int::number(0)`, `x[i]` becomes `x.at(i)`, `for i in 0..n` a
//! loop over `flow::trips(0, n)`, and `vec![0.0; n]` becomes `List::repeat(0.0, n)`.
//!
//! Invariant: a variable is an `Int` or a local one a `List` only if every use of it is understood. A rewriting is tried
//! with all candidates; those with another use are plain in the next attempt, until there is none. What is an `Int` where
//! a plain integer is needed is read by `known`; of a borrowed list the slice is taken.

mod bindings;
mod calls;
mod chains;
mod choices;
mod exprs;
mod extremes;
mod items;
mod lists;
mod lookups;
mod loops;
mod names;
mod parts;
mod places;
pub mod results;
mod tables;

pub use loops::is_trips;

use std::collections::{HashMap, HashSet};

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{Block, Expr, Ident, Pat, Stmt, Type, parse_quote};

use crate::ast::{self, Form, Function, Param, Role};
use crate::recursion::is_recursive;

/// Rewrites a body, after casts and annotations have been. Says which form each parameter takes, and whether the result
/// is a list.
pub fn rewrite(function: &Function, body: &mut Block) -> (Vec<Form>, bool) {
    let mut plain = HashSet::new();
    // what ends a recursion that has no compiled form has to be known, since a trace follows both branches of a choice
    let recursive = !function.recursive && is_recursive(function.name(), body);
    let count = names::number(body);
    loop {
        let mut attempt = body.clone();
        let mut pass = Integers::new(&plain, function.float, count);
        let forms = pass.function(function, recursive, &mut attempt);
        if pass.rejected.is_subset(&plain) {
            names::strip(&mut attempt);
            *body = attempt;
            return forms;
        }
        let more = pass.rejected;
        plain.extend(more);
    }
}

/// The largest number of trips, written as literals, of a loop that is always unrolled.
const SHORT: u64 = 16;

/// What a variable or an expression is.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
enum Kind {
    /// An `Int`.
    Int,
    /// An integer literal, or a calculation with such.
    Number,
    /// A `List`, or a reference to one.
    List,
    /// A `List` that is a row of a table, among the names of a pattern: the variable is a list.
    Row,
    /// A `Table`, or a reference to one.
    Table,
    /// A traced float, or a reference to one.
    Float,
    /// A range.
    Range,
    /// Anything else.
    #[default]
    Plain,
}

impl Kind {
    fn is_list(self) -> bool {
        matches!(self, Kind::List | Kind::Table)
    }
}

/// A binding of the body.
#[derive(Default)]
struct Var {
    kind: Kind,
    /// How many closures are around its declaration.
    closures: usize,
    /// Whether it is used at all.
    used: bool,
    /// Of a list: whether it is one that was lent, whose slice may be taken.
    lent: bool,
    /// Of one that was lent: whether it is a row, which to plain code is an array.
    row: bool,
    /// Of a list: whether something needs it to be one, an index or a length that is an `Int`.
    needed: bool,
    /// Of a list that has to be needed.
    optional: bool,
    /// Of a list that is empty, and may grow by a loop.
    grows: bool,
    /// Of a float: whether it is traced for certain, and no plain one.
    traced: bool,
    /// Calculated from constant tables: traced, if something needs it to be.
    looked_up: bool,
    /// Of a list of which only what is written to it says that it is one of floats.
    untyped: bool,
}

struct Integers<'p> {
    /// The variables that are known to have other uses.
    plain: &'p HashSet<usize>,
    /// The variables that were found to have.
    rejected: HashSet<usize>,
    vars: Vec<Var>,
    /// Lists that are assigned to each other: both are lists, or none is.
    links: Vec<(usize, usize)>,
    /// The slices that the loop at hand goes over, as statements before it; how many there have been.
    slices: Vec<Stmt>,
    sliced: usize,
    scopes: Vec<HashMap<String, usize>>,
    closures: usize,
    float: Option<&'static str>,
    /// The variable that is the function's result, a vector of floats.
    result: Option<String>,
}

impl<'p> Integers<'p> {
    /// For a body whose patterns have so many numbers.
    fn new(plain: &'p HashSet<usize>, float: Option<&'static str>, count: usize) -> Self {
        Integers {
            plain,
            rejected: HashSet::new(),
            vars: (0..count).map(|_| Var::default()).collect(),
            links: Vec::new(),
            slices: Vec::new(),
            sliced: 0,
            scopes: vec![HashMap::new()],
            closures: 0,
            float,
            result: None,
        }
    }

    fn function(&mut self, function: &Function, recursive: bool, body: &mut Block) -> (Vec<Form>, bool) {
        let params = &function.params;
        let ids: Vec<Option<usize>> = params.iter().map(|param| self.param(param, recursive)).collect();
        let list = self.body(function.ret.as_ref(), body);
        let forms = params.iter().zip(&ids).map(|(param, id)| match id.map(|id| self.vars[id].kind) {
            Some(Kind::Int) => Form::Int,
            Some(Kind::List) => Form::List,
            Some(Kind::Table) => Form::Table,
            _ => lent_form(param).unwrap_or(Form::Plain),
        });
        let forms = forms.collect();
        for (param, id) in params.iter().zip(&ids) {
            let slice = lent_form(param).is_some() && matches!(&param.pat, Pat::Ident(pat) if pat.mutability.is_some());
            if let (true, Pat::Ident(pat)) = (slice, &param.pat) {
                let name = &pat.ident;
                body.stmts.insert(0, parse_quote!(let mut #name = &#name[..];));
            }
            if let Some(id) = *id
                && self.vars[id].kind == Kind::Int
                && !self.vars[id].used
            {
                self.rejected.insert(id);
            }
        }
        self.unneeded();
        (forms, list)
    }

    /// Declares a parameter; its variable if its form depends on its uses.
    fn param(&mut self, param: &Param, recursive: bool) -> Option<usize> {
        let Pat::Ident(pat) = &param.pat else {
            self.declare(&param.pat);
            return None;
        };
        let id = self.bind(&pat.ident);
        let simple = pat.by_ref.is_none() && pat.subpat.is_none();
        let array = match ast::ungroup(&param.inner) {
            Type::Array(ty) if ast::scalar(&ty.elem).is_some() => Some(Kind::List),
            Type::Array(ty) if ast::is_row(&ty.elem) => Some(Kind::Table),
            _ => None,
        };
        if ast::scalar(&param.inner).is_some() && param.role != Role::Constant {
            (self.vars[id].kind, self.vars[id].traced) = (Kind::Float, true);
        } else if !simple {
        } else if ast::counts(param) && !recursive && !self.plain.contains(&id) {
            self.vars[id].kind = Kind::Int;
            return Some(id);
        } else if let Some(form) = lent_form(param).filter(|_| pat.mutability.is_none()) {
            let kind = if form == Form::Table { Kind::Table } else { Kind::List };
            let var = &mut self.vars[id];
            (var.kind, var.lent, var.needed) = (kind, true, true);
        } else if let Some(kind) = array.filter(|_| param.role == Role::Differentiable && !self.plain.contains(&id)) {
            let var = &mut self.vars[id];
            (var.kind, var.optional, var.lent) = (kind, true, false);
            return Some(id);
        }
        None
    }

    /// Rejects the lists that nothing needs to be lists.
    fn unneeded(&mut self) {
        loop {
            let before: Vec<bool> = self.vars.iter().map(|var| var.needed).collect();
            for &(a, b) in &self.links {
                let needed = self.vars[a].needed || self.vars[b].needed;
                (self.vars[a].needed, self.vars[b].needed) = (needed, needed);
            }
            if self.vars.iter().map(|var| var.needed).eq(before) {
                break;
            }
        }
        let unneeded = |var: &Var| (var.kind.is_list() && var.optional || var.looked_up) && !var.needed;
        self.rejected.extend((0..self.vars.len()).filter(|&id| unneeded(&self.vars[id])));
    }

    /// Opens the variable that a pattern binds; its name as it is written.
    fn open(&mut self, name: &Ident) -> (Ident, usize) {
        let (name, number) = names::parts(name);
        // those of parameters, and what is made on the way, come after those of the body
        let id = number.unwrap_or(self.vars.len());
        let var = Var { closures: self.closures, ..Var::default() };
        if number.is_some() {
            self.vars[id] = var
        } else {
            self.vars.push(var)
        }
        (name, id)
    }

    /// From here on the name is that of the variable.
    fn name(&mut self, name: &Ident, id: usize) {
        self.scopes.last_mut().expect("a scope is open").insert(name.to_string(), id);
    }

    fn bind(&mut self, name: &Ident) -> usize {
        let (name, id) = self.open(name);
        self.name(&name, id);
        id
    }

    /// Declares the names of a pattern as anything.
    fn declare(&mut self, pat: &Pat) {
        for name in names::bound(pat) {
            self.bind(&name);
        }
    }

    fn nested<R>(&mut self, inside: impl FnOnce(&mut Self) -> R) -> R {
        self.scopes.push(HashMap::new());
        let result = inside(self);
        self.scopes.pop();
        result
    }

    fn lookup(&self, name: &Ident) -> Option<usize> {
        let name = name.to_string();
        self.scopes.iter().rev().find_map(|scope| scope.get(&name)).copied()
    }

    /// The variable that an expression names.
    fn var(&self, e: &Expr) -> Option<usize> {
        match e {
            Expr::Path(path) => self.lookup(path.path.get_ident()?),
            Expr::Paren(e) => self.var(&e.expr),
            Expr::Group(e) => self.var(&e.expr),
            _ => None,
        }
    }

    /// The variable that an expression names, if it is a list.
    fn list(&self, e: &Expr) -> Option<usize> {
        self.var(e).filter(|&id| self.vars[id].kind == Kind::List)
    }

    /// The variable that an expression names, if it is a table.
    fn table(&self, e: &Expr) -> Option<usize> {
        self.var(e).filter(|&id| self.vars[id].kind == Kind::Table)
    }

    /// The variable that an expression names, if it is a list of the function's own.
    fn local_list(&self, e: &Expr) -> Option<usize> {
        self.list(e).filter(|&id| !self.vars[id].lent)
    }

    /// Whether a value of this kind may be written to the variable from here.
    fn is_reachable(&self, id: usize) -> bool {
        self.vars[id].closures == self.closures
    }

    fn reject(&mut self, id: usize) {
        self.rejected.insert(id);
    }

    /// `known(e)` of an `Int`. What it is calculated from may be plain from the start then.
    fn known(&mut self, e: &mut Expr) {
        struct Names(Vec<Ident>);
        impl<'ast> Visit<'ast> for Names {
            fn visit_expr_path(&mut self, path: &'ast syn::ExprPath) {
                self.0.extend(path.path.get_ident().cloned());
            }
        }
        let mut names = Names(Vec::new());
        names.visit_expr(e);
        for id in names.0.iter().filter_map(|name| self.lookup(name)).collect::<Vec<_>>() {
            if self.vars[id].kind == Kind::Int {
                self.reject(id);
            }
        }
        wrap(e, "known");
    }
}

/// What the twin of a slice or vector of floats, or of arrays of floats, by reference always is, and that of an indexed array.
fn lent_form(param: &Param) -> Option<Form> {
    if param.indexed.is_some() {
        return param.indexed;
    }
    let item = match ast::ungroup(&param.inner) {
        Type::Slice(ty) => &*ty.elem,
        Type::Path(ty) if ty.path.segments.last().is_some_and(|last| last.ident == "Vec") => ast::first_argument(ty)?,
        _ => return None,
    };
    if !param.by_ref || param.role != Role::Differentiable {
        return None;
    }
    match () {
        () if ast::scalar(item).is_some() => Some(Form::List),
        () if ast::is_row(item) => Some(Form::Table),
        () => None,
    }
}

/// Whether the text of a macro names a variable.
pub fn mentions(tokens: &proc_macro2::TokenStream, name: &str) -> bool {
    lists::mentions(tokens, name, false)
}

/// `int(e)`, which also marks a comparison of integers for [`flow`](super::flow).
fn int(e: &mut Expr) {
    if !is_marked(e) {
        wrap(e, "int");
    }
}

/// Whether the expression is `int(..)`.
pub fn is_marked(e: &Expr) -> bool {
    let Expr::Call(call) = e else { return false };
    let Expr::Path(func) = &*call.func else { return false };
    func.path.leading_colon.is_some() && func.path.segments.last().is_some_and(|last| last.ident == "int")
}

/// `Int::number(e)` of a literal.
fn number(e: &mut Expr) {
    let (span, inner) = (e.span(), unparenthesised(e));
    *e = syn::parse_quote_spanned!(span=> ::autograd::__private::Int::number(#inner));
}

fn wrap(e: &mut Expr, function: &str) {
    let (span, inner) = (e.span(), unparenthesised(e));
    let function = Ident::new(function, span);
    *e = syn::parse_quote_spanned!(span=> ::autograd::__private::#function(#inner));
}

/// The expression without parentheses around it.
fn unparenthesised(e: &Expr) -> &Expr {
    match e {
        Expr::Paren(e) => unparenthesised(&e.expr),
        Expr::Group(e) => unparenthesised(&e.expr),
        e => e,
    }
}

/// The integer type that an annotation names.
fn integer(ty: &Type) -> Option<Ident> {
    let Type::Path(ty) = ast::ungroup(ty) else { return None };
    ty.path.get_ident().filter(|name| ast::is_counter(&name.to_string())).cloned()
}

fn hidden(name: &str) -> Ident {
    Ident::new(name, Span::call_site())
}
