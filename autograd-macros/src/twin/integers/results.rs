//! Vectors that a loop makes, and results: `let mut v = Vec::new(); for .. { v.push(x); }` becomes a list that is as long as
//! the loop and written by index, of which only a part is left where the push has a condition, `.map(f).collect()` a loop over one, and a vector that a function ends with is handed out as
//! the list that it is.

use proc_macro2::{TokenStream, TokenTree};
use quote::quote;
use syn::visit::{self, Visit};
use syn::{Block, Expr, ExprForLoop, ExprMethodCall, Ident, Stmt, Type, parse_quote};

use super::lists::{is_simple, mentions};
use super::{Integers, Kind, Var, unparenthesised};
use crate::ast;

/// A push of a loop.
pub(super) struct Push {
    /// The vector.
    id: usize,
    /// The statement that it is or is in.
    at: usize,
    /// The statement of that one's branch, where it has a condition.
    under: Option<usize>,
}

impl Push {
    fn call<'b>(&self, body: &'b Block) -> Option<&'b ExprMethodCall> {
        let stmt = match (self.under, body.stmts.get(self.at)?) {
            (None, stmt) => stmt,
            (Some(k), Stmt::Expr(Expr::If(choice), _)) => choice.then_branch.stmts.get(k)?,
            _ => return None,
        };
        match stmt {
            Stmt::Expr(Expr::MethodCall(call), Some(_)) if call.method == "push" && call.args.len() == 1 => Some(call),
            _ => None,
        }
    }
}

/// The pushes that the body of a loop is written with, each a statement of the body or of a branch of it that has no other one. Of
/// which vector they are is to be found out.
fn written(body: &Block) -> impl Iterator<Item = (Push, &ExprMethodCall)> {
    let inside = |stmt: &Stmt| match stmt {
        Stmt::Expr(Expr::If(choice), _) if choice.else_branch.is_none() => choice.then_branch.stmts.len(),
        _ => 0,
    };
    let places = body.stmts.iter().enumerate().flat_map(move |(at, stmt)| {
        std::iter::once(None).chain((0..inside(stmt)).map(Some)).map(move |under| Push { id: 0, at, under })
    });
    places.filter_map(|push| push.call(body).map(|call| (push, call)))
}

/// The pushes under a condition that a counted loop is written with.
pub(crate) fn conditional_pushes(body: &Block) -> impl Iterator<Item = &ExprMethodCall> {
    written(body).filter(|(push, _)| push.under.is_some()).map(|(_, call)| call)
}

/// What a loop that makes vectors takes besides itself.
#[derive(Default)]
pub(super) struct Growth {
    /// Counters of pushes.
    pub counters: Vec<Ident>,
    pub before: Vec<Stmt>,
    pub after: Vec<Stmt>,
}

/// How often tokens name a variable.
fn times(tokens: &TokenStream, name: &str) -> usize {
    let count = |token: TokenTree| match token {
        TokenTree::Ident(ident) => usize::from(super::names::parts(&ident).0 == name),
        TokenTree::Group(group) => times(&group.stream(), name),
        // a name in a text is one
        TokenTree::Literal(text) if mentions(&TokenTree::Literal(text.clone()).into(), name, true) => 2,
        _ => 0,
    };
    tokens.clone().into_iter().map(count).sum()
}

impl Integers<'_> {
    /// The body of a function, whose result has a variable of its own. Whether it is a list.
    pub(super) fn body(&mut self, ret: Option<&Type>, body: &mut Block) -> bool {
        let result = self.vars.len();
        self.vars.push(Var::default());
        let vectors = ret.is_some_and(|ty| vector(ty).is_some());
        let list = self.nested(|v| {
            v.result = vectors.then(|| tail_name(body)).flatten();
            let last = body.stmts.pop();
            body.stmts.iter_mut().for_each(|stmt| {
                v.statement(stmt);
            });
            let Some(mut last) = last else { return false };
            let list = match &mut last {
                Stmt::Expr(e, None) if vectors => v.vector(e, result, body),
                Stmt::Expr(e, None) if v.local_list(e).is_some() && ret.is_some_and(ast::is_row) => {
                    v.place_of(e).iter().for_each(|&id| v.vars[id].used = true);
                    *e = parse_quote!(::autograd::__private::Row::of(&#e));
                    false
                }
                last => {
                    if v.statement(last) == Kind::Int
                        && let Stmt::Expr(e, None) = last
                    {
                        match v.var(e) {
                            Some(id) => v.reject(id),
                            None => v.known(e),
                        }
                    }
                    false
                }
            };
            body.stmts.push(last);
            list
        });
        self.result = None;
        list
    }

    /// A vector that a function ends with. Whether it is a list.
    fn vector(&mut self, e: &mut Expr, result: usize, body: &Block) -> bool {
        let may = !self.plain.contains(&result) && !returns(body);
        if may && self.is_list(e) && !matches!(unparenthesised(e), Expr::Reference(_)) || may && self.collects(e, true)
        {
            (self.vars[result].kind, self.vars[result].optional) = (Kind::List, true);
            if self.is_list(e) {
                self.make_list(e, result)
            } else {
                self.collect(e, result)
            }
            return !self.vars[result].lent || {
                self.reject(result);
                false
            };
        }
        if may && self.gives_list(e) {
            self.vars[result].kind = Kind::List;
            self.take_list(e, result);
            return true;
        }
        self.plain(e);
        false
    }

    /// Whether an expression makes a vector that is still empty.
    pub(super) fn is_empty_vector(&self, e: &Expr) -> bool {
        let Expr::Call(call) = unparenthesised(e) else { return false };
        let Expr::Path(func) = &*call.func else { return false };
        let names: Vec<String> = func.path.segments.iter().map(|s| s.ident.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        match names[..] {
            ["Vec", "new"] => call.args.is_empty(),
            ["Vec", "with_capacity"] => call.args.len() == 1 && is_simple(&call.args[0]),
            _ => false,
        }
    }

    /// The list for such a vector, which may grow by one loop.
    pub(super) fn make_empty(&mut self, e: &mut Expr, id: usize, typed: bool) {
        if let Expr::Call(call) = unparenthesised(e) {
            let mut call = call.clone();
            // how many fit is not asked
            call.args.iter_mut().for_each(|arg| {
                self.expr(arg);
            });
        }
        let var = &mut self.vars[id];
        (var.optional, var.grows, var.untyped) = (true, true, !typed);
        let float = self.float.map(|float| {
            let float = super::hidden(float);
            quote!(::<#float>)
        });
        *e = parse_quote!(::autograd::__private::List #float::none());
    }

    /// The pushes of a loop, one number in each trip or in those in which a condition holds. The vectors have been empty since they were
    /// declared beside the loop, and are named nowhere else in it.
    pub(super) fn pushes(&self, repeat: &ExprForLoop) -> Vec<Push> {
        let mut found: Vec<Push> = Vec::new();
        if leaves(&repeat.body) {
            return found;
        }
        for (push, call) in written(&repeat.body) {
            let (Some(id), Some(name)) = (self.list(&call.receiver), name(&call.receiver)) else { continue };
            // the push itself names it once
            let (body, iter) = (&repeat.body, &repeat.expr);
            let once = times(&quote!(#body), &name) == 1 && !mentions(&quote!(#iter), &name, false);
            if self.vars[id].grows && self.is_inner(id) && once {
                found.push(Push { id, ..push });
            }
        }
        found
    }

    /// Rewrites the pushes of a loop, whose number of trips is `count`, to writes at an index of its own, and gives what stands before
    /// and behind it.
    pub(super) fn grow(&mut self, repeat: &mut ExprForLoop, pushes: &[Push], count: &TokenStream) -> Growth {
        let mut growth = Growth::default();
        let float = self.float.map_or_else(|| super::hidden("_"), super::hidden);
        let mut counter = |growth: &mut Growth| {
            let index = quote::format_ident!("__pushed{}", self.sliced);
            self.sliced += 1;
            growth.before.push(parse_quote!(let mut #index = ::autograd::__private::Int::<usize>::number(0);));
            growth.counters.push(index.clone());
            index
        };
        let always = pushes.iter().any(|push| push.under.is_none()).then(|| counter(&mut growth));
        if !pushes.is_empty() {
            growth.before.push(parse_quote!(let __count = #count;));
        }
        // from the last on: what becomes two statements moves those behind it
        for push in pushes.iter().rev() {
            let Some(call) = push.call(&repeat.body).cloned() else { continue };
            let (list, value) = (&call.receiver, &call.args[0]);
            growth.before.push(parse_quote!(
                #list = ::autograd::__private::List::repeat(::autograd::__private::literal::<#float>(0.0), __count);
            ));
            match (push.under, &mut repeat.body.stmts[push.at], &always) {
                (None, stmt, Some(index)) => *stmt = parse_quote!(#list[#index] = #value;),
                (Some(k), Stmt::Expr(Expr::If(choice), _), _) => {
                    let index = counter(&mut growth);
                    growth.after.push(parse_quote!(#list = ::autograd::__private::List::slice(&#list, ..#index);));
                    let stmts: [Stmt; 2] = [parse_quote!(#list[#index] = #value;), parse_quote!(#index += 1;)];
                    choice.then_branch.stmts.splice(k..=k, stmts);
                }
                _ => {}
            }
        }
        for push in pushes {
            (self.vars[push.id].grows, self.vars[push.id].needed) = (false, true);
        }
        if let Some(index) = always {
            // a value of the body is none of a loop
            match repeat.body.stmts.last_mut() {
                Some(Stmt::Expr(_, semi)) => *semi = Some(Default::default()),
                Some(Stmt::Macro(last)) => last.semi_token = Some(Default::default()),
                _ => {}
            }
            repeat.body.stmts.push(parse_quote!(#index += 1;));
        }
        growth
    }

    /// Whether `.collect()` gives a vector of floats that is understood. `float` says that it is one of floats.
    pub(super) fn collects(&self, e: &Expr, float: bool) -> bool {
        let filtered = |(call, vectors, _)| vectors && self.float.is_some() && self.is_filtered(call);
        self.collected(e, float).is_some() || self.collection(e, float).is_some_and(filtered)
    }

    /// `.collect()`, whether it gives a vector, and whether that is said to be of floats.
    fn collection<'e>(&self, e: &'e Expr, float: bool) -> Option<(&'e syn::ExprMethodCall, bool, bool)> {
        let Expr::MethodCall(call) = unparenthesised(e) else { return None };
        if call.method != "collect" || !call.args.is_empty() {
            return None;
        }
        let named = call.turbofish.as_ref().and_then(|turbofish| match turbofish.args.first()? {
            syn::GenericArgument::Type(ty) => Some(ty),
            _ => None,
        });
        let vectors = match named {
            Some(Type::Infer(_)) | None => float,
            Some(ty) => {
                super::bindings::list_type(Some(ty)).is_some() && !matches!(ty, Type::Reference(_) | Type::Array(_))
            }
        };
        // what a closure gives is what the vector is said to be of
        let of_floats = |ty: &Type| matches!(super::bindings::list_type(Some(ty)), Some(Some(_)));
        let said = named.filter(|ty| !matches!(ty, Type::Infer(_))).map_or(float, of_floats);
        Some((call, vectors, said))
    }

    /// What `.collect()` goes over, where that gives a vector of floats. `float` says that it does.
    fn collected(&self, e: &Expr, float: bool) -> Option<super::items::Items> {
        let (call, vectors, said) = self.collection(e, float)?;
        let items = self.items(&call.receiver).filter(|_| vectors && self.float.is_some())?;
        let said = said && matches!(items, super::items::Items::Map(..));
        let understood = items.ends() && (said || self.gives_floats(&items)) && !self.has_plain_inside(&items);
        // references are collected as such
        (understood && !items.by_ref()).then_some(items)
    }

    /// The list that is collected.
    pub(super) fn collect(&mut self, e: &mut Expr, id: usize) {
        let Some(mut items) = self.collected(e, true) else {
            self.vars[id].needed = true;
            let list = match unparenthesised(e) {
                Expr::MethodCall(call) => self.filtered(&call.clone()),
                _ => None,
            };
            match list {
                Some(list) => *e = list,
                None => {
                    self.reject(id);
                    self.plain(e);
                }
            }
            return;
        };
        let float = super::hidden(self.float.expect("was asked"));
        self.vars[id].needed = true;
        let slices = self.prepare(&mut items);
        let (len, item) = (items.len(), items.item(&quote!(__item)));
        *e = parse_quote!({
            #(#slices)*
            let __trips = ::autograd::__private::int::<usize>(#len);
            let mut __list = ::autograd::__private::List::<#float>::repeat(0.0, __trips);
            for __item in ::autograd::__private::flow::trips(::autograd::__private::Int::number(0), __trips) {
                __list.set(__item, ::autograd::__private::lift::<#float, _>(#item));
            }
            __list
        });
    }
}

/// The element of `Vec<f64>`.
pub(crate) fn vector(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ast::ungroup(ty) else { return None };
    let vector = path.path.segments.last().is_some_and(|last| last.ident == "Vec");
    ast::first_argument(path).filter(|ty| vector && ast::scalar(ty).is_some())
}

fn name(e: &Expr) -> Option<String> {
    match unparenthesised(e) {
        Expr::Path(path) => path.path.get_ident().map(ToString::to_string),
        _ => None,
    }
}

/// The variable that a body ends with, if only one is called so.
fn tail_name(body: &Block) -> Option<String> {
    struct Bound<'n>(&'n str, usize);
    impl<'ast> Visit<'ast> for Bound<'_> {
        fn visit_pat_ident(&mut self, pat: &'ast syn::PatIdent) {
            self.1 += usize::from(super::names::parts(&pat.ident).0 == self.0);
            visit::visit_pat_ident(self, pat);
        }
    }
    let Some(Stmt::Expr(e, None)) = body.stmts.last() else { return None };
    let name = name(e)?;
    let mut bound = Bound(&name, 0);
    bound.visit_block(body);
    (bound.1 == 1).then_some(name)
}

/// Whether a function returns elsewhere than at its end.
fn returns(body: &Block) -> bool {
    struct Returns(bool);
    impl<'ast> Visit<'ast> for Returns {
        fn visit_expr_return(&mut self, _: &'ast syn::ExprReturn) {
            self.0 = true;
        }
        fn visit_expr_try(&mut self, _: &'ast syn::ExprTry) {
            self.0 = true;
        }
        fn visit_expr_closure(&mut self, _: &'ast syn::ExprClosure) {}
        fn visit_item(&mut self, _: &'ast syn::Item) {}
    }
    let mut returns = Returns(false);
    returns.visit_block(body);
    returns.0
}

/// Whether a trip may end early.
fn leaves(body: &Block) -> bool {
    struct Exits(bool);
    impl<'ast> Visit<'ast> for Exits {
        fn visit_expr_break(&mut self, _: &'ast syn::ExprBreak) {
            self.0 = true;
        }
        fn visit_expr_continue(&mut self, _: &'ast syn::ExprContinue) {
            self.0 = true;
        }
    }
    let mut exits = Exits(false);
    exits.visit_block(body);
    exits.0 || returns(body)
}
