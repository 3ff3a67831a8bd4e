//! Turns `if` and `while` whose condition compares something into calls that the runtime may stage:
//! `if x < y { a } else { b }` becomes a choice over a closure that runs either branch, `while` a loop
//! over a closure that runs its condition or its body, and `for` one over its body where
//! [`integers`] has made an `Int` of its counter. Variables that the parts may change are handed
//! through as a state; what a branch would move out of a variable is copied, since both are traced.
//!
//! Invariant: what leaves the construct in another way than through its value and variables stays
//! ordinary Rust: `return`, `?`, `break` of an outer loop ([`exits`](super::exits) has made flags of most),
//! macros with effects, `&mut` of a variable, cells.
//! Conditions that show to be plain (a comparison with an integer literal or a length) stay as well.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use std::collections::{BTreeSet, HashSet};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::visit_mut::{self, VisitMut};
use syn::{
    BinOp, Block, Expr, ExprForLoop, ExprIf, ExprWhile, Ident, Lit, Pat, Stmt, UnOp, parse_quote, parse_quote_spanned,
};

use super::exits::FLAG;
use super::scope::{Pass, Scope};
use super::{asserts, integers, macros, truths};

/// Macros that leave nothing behind but their value.
const PURE_MACROS: [&str; 4] = ["vec", "format", "matches", "cfg"];

/// Methods that are known not to change their receiver.
const READING: [&str; 28] = [
    "is_set", "at", "row", "slice", "len", "is_empty", "iter", "clone", "get", "first", "last", "to_vec", "abs",
    "sqrt", "sin", "cos", "exp", "ln", "powi", "powf", "norm", "sum", "mean", "dot", "matmul", "item", "shape", "max",
];

/// Methods by which something that is no `mut` variable is changed: cells, locks, atomics, referred-to containers.
const WRITING: [&str; 24] = [
    "set",
    "replace",
    "borrow_mut",
    "get_mut",
    "lock",
    "write",
    "store",
    "swap",
    "take",
    "fetch_add",
    "fetch_sub",
    "send",
    "push",
    "push_back",
    "push_front",
    "pop",
    "insert",
    "remove",
    "extend",
    "clear",
    "truncate",
    "append",
    "fill",
    "sort",
];

pub struct Flow;

impl Pass for Flow {
    fn leave(&mut self, expr: &mut Expr, scope: &Scope) {
        let staged = match expr {
            Expr::If(choice) => choose(choice, scope),
            Expr::While(repeat) if repeat.label.is_none() => iterate(repeat, scope),
            Expr::ForLoop(repeat) if repeat.label.is_none() => count(repeat, scope),
            Expr::Call(call) if truths::is_made(call) || asserts::is_made(call) => {
                let asserted = asserts::is_made(call);
                let arg = &mut call.args[0];
                let mut effects = Effects::new(scope);
                effects.visit_expr(arg);
                // what it does besides is done once
                let cond = effects.state().filter(BTreeSet::is_empty).and_then(|_| condition(arg));
                let cond = cond.unwrap_or_else(|| match asserted {
                    // which may be a reference
                    true => quote_spanned!(arg.span()=> ::autograd::__private::flow::Cond::asserted(#arg)),
                    false => known(arg),
                });
                *arg = parse_quote!(#cond);
                None
            }
            _ => None,
        };
        if let Some(staged) = staged {
            *expr = staged;
        } else if let Expr::ForLoop(repeat) = expr {
            // once it has been left no trip does anything: the others are not made
            let flags = effects(repeat, scope).changed.into_iter().filter(is_flag);
            let end = flags.map(|flag| parse_quote!(if #flag.is_known() { break; })).collect::<Vec<Stmt>>();
            repeat.body.stmts.splice(0..0, end);
        } else if let Expr::While(ExprWhile { body, .. }) = expr {
            // what waits for a failed value to change would wait for ever
            body.stmts.insert(
                0,
                parse_quote!(if ::autograd::__private::flow::has_failed() {
                    break;
                }),
            );
        }
    }
}

fn choose(choice: &mut ExprIf, scope: &Scope) -> Option<Expr> {
    let span = choice.if_token.span;
    let cond = condition(&choice.cond)?;
    let mut effects = Effects::new(scope);
    effects.visit_expr(&choice.cond);
    effects.visit_block(&choice.then_branch);
    if let Some((_, branch)) = &choice.else_branch {
        effects.visit_expr(branch);
    }
    let state = effects.state()?;
    let mut copies = Copies(Names::new(scope));
    copies.visit_block_mut(&mut choice.then_branch);
    if let Some((_, branch)) = &mut choice.else_branch {
        copies.visit_expr_mut(branch);
    }
    let then = &choice.then_branch;
    let other = choice.else_branch.as_ref().map_or_else(|| quote_spanned!(span=> {}), |(_, e)| quote!(#e));
    let (pack, bind) = (pairs(&state, false), pairs(&state, true));
    let assign = (!state.is_empty()).then(|| quote_spanned!(span=> #pack = __state;));
    Some(parse_quote_spanned! {span=> {
        let (__value, __state) = (&::autograd::__private::flow::If::new(#cond, #pack, |__then: bool, #bind| {
            let __value = if __then #then else #other;
            (__value, #pack)
        })).run();
        #assign
        __value
    }})
}

fn iterate(repeat: &ExprWhile, scope: &Scope) -> Option<Expr> {
    let span = repeat.while_token.span;
    let cond = condition(&repeat.cond)?;
    let mut effects = Effects::new(scope);
    effects.visit_expr(&repeat.cond);
    effects.visit_block(&repeat.body);
    let state = effects.state()?;
    if state.is_empty() {
        return None;
    }
    let body = &repeat.body;
    let (pack, bind) = (pairs(&state, false), pairs(&state, true));
    Some(parse_quote_spanned! {span=> {
        #pack = (&::autograd::__private::flow::While::new(#pack, |__test: bool, #bind| {
            if __test {
                (::core::option::Option::Some(#cond), #pack)
            } else {
                #body
                (::core::option::Option::None, #pack)
            }
        })).run();
    }})
}

/// What the body of a loop does to the variables around it.
fn effects<'s>(repeat: &ExprForLoop, scope: &'s Scope) -> Effects<'s> {
    let mut effects = Effects::new(scope);
    effects.nested(|v| {
        v.bind(&repeat.pat);
        v.visit_block(&repeat.body);
    });
    effects
}

fn count(repeat: &ExprForLoop, scope: &Scope) -> Option<Expr> {
    let span = repeat.for_token.span;
    let iter = &repeat.expr;
    let trips = match &*repeat.pat {
        _ if integers::is_trips(iter) => quote!(#iter),
        Pat::Wild(_) => quote_spanned!(span=> ::autograd::__private::flow::count(#iter)),
        _ => return None,
    };
    let state = effects(repeat, scope).state()?;
    if state.is_empty() && !asserts::contains(&repeat.body) {
        return None;
    }
    let (body, pat) = (&repeat.body, &repeat.pat);
    let (pack, bind) = (pairs(&state, false), pairs(&state, true));
    let refs = state.iter().rev().fold(quote!(()), |rest, name| quote!((ref #name, #rest)));
    // a flag that the body changes is that of an exit: once it is set, no trip does anything
    let flags = state.iter().filter(|name| is_flag(name));
    let left = flags.map(|flag| quote_spanned!(span=> #flag.cond())).reduce(|a, b| quote_spanned!(span=> #a.or(|| #b)));
    let left = left.unwrap_or_else(|| quote_spanned!(span=> ::autograd::__private::flow::Cond::known(false)));
    Some(parse_quote_spanned! {span=> {
        #pack = (&::autograd::__private::flow::For::new(#trips, #pack, |&#refs| #left, |__index, #bind| {
            let #pat = __index;
            #body
            #pack
        })).run();
    }})
}

/// `(a, (b, ()))`, as an expression or as a pattern.
fn pairs(names: &BTreeSet<Ident>, bind: bool) -> TokenStream {
    let mutable = bind.then(|| quote!(mut));
    names.iter().rev().fold(quote!(()), |rest, name| quote!((#mutable #name, #rest)))
}

/// The condition as one that may be traced; `None` if it shows to be plain.
pub fn condition(cond: &Expr) -> Option<TokenStream> {
    let span = cond.span();
    Some(match cond {
        Expr::MethodCall(e) if e.method == "is_set" && root(&e.receiver).is_some_and(|n| is_flag(n) || is_truth(n)) => {
            let flag = &e.receiver;
            quote_spanned!(span=> #flag.cond())
        }
        Expr::MethodCall(e) if e.args.is_empty() && sort(&e.method).is_some() => {
            let (x, method, sort) = (&e.receiver, &e.method, Ident::new(sort(&e.method)?, span));
            quote_spanned! {span=>
                (&::autograd::__private::flow::Sorted(&(#x), ::autograd::__private::flow::Sort::#sort, |x| x.#method())).cond()
            }
        }
        // `if let` chains bind names
        e if super::exits::has_let(e) => return None,
        Expr::Paren(e) => condition(&e.expr)?,
        Expr::Group(e) => condition(&e.expr)?,
        Expr::Unary(e) if matches!(e.op, UnOp::Not(_)) => {
            let inner = condition(&e.expr)?;
            quote_spanned!(span=> #inner.not())
        }
        Expr::Binary(e) if matches!(e.op, BinOp::And(_) | BinOp::Or(_) | BinOp::BitAnd(_) | BinOp::BitOr(_)) => {
            let (a, b) = (condition(&e.left), condition(&e.right));
            if a.is_none() && b.is_none() {
                return None;
            }
            let (a, b) = (a.unwrap_or_else(|| known(&e.left)), b.unwrap_or_else(|| known(&e.right)));
            let and = matches!(e.op, BinOp::And(_) | BinOp::BitAnd(_));
            let method = format_ident!("{}", if and { "and" } else { "or" });
            match e.op {
                BinOp::And(_) | BinOp::Or(_) => quote_spanned!(span=> #a.#method(|| #b)),
                // both are asked
                _ => quote_spanned!(span=> { let (__a, __b) = (#a, #b); __a.#method(|| __b.clone()) }),
            }
        }
        Expr::Binary(e)
            if matches!(e.op, BinOp::BitXor(_) | BinOp::Eq(_) | BinOp::Ne(_)) && (asks(&e.left) || asks(&e.right)) =>
        {
            let [a, b] = [&e.left, &e.right].map(|e| any_condition(e));
            let not = (!matches!(e.op, BinOp::Eq(_))).then(|| quote!(.not()));
            quote_spanned!(span=> #a.same(#b)#not)
        }
        Expr::Binary(e) => {
            let (wrapper, test) = match e.op {
                BinOp::Lt(_) => ("Order", "Lt"),
                BinOp::Le(_) => ("Order", "Le"),
                BinOp::Gt(_) => ("Order", "Gt"),
                BinOp::Ge(_) => ("Order", "Ge"),
                BinOp::Eq(_) => ("Same", "Eq"),
                BinOp::Ne(_) => ("Same", "Ne"),
                _ => return None,
            };
            let marked = integers::is_marked(&e.left) || integers::is_marked(&e.right);
            if !marked && (is_integer(&e.left) || is_integer(&e.right)) {
                return None;
            }
            let (wrapper, test) = (Ident::new(wrapper, span), Ident::new(test, span));
            let (left, right) = (&e.left, &e.right);
            quote_spanned! {span=>
                (&::autograd::__private::flow::#wrapper(&(#left), &(#right), ::autograd::__private::flow::Test::#test)).cond()
            }
        }
        _ => return None,
    })
}

/// The condition, a plain one too.
fn any_condition(e: &Expr) -> TokenStream {
    condition(e).unwrap_or_else(|| known(e))
}

/// A plain condition.
fn known(e: &Expr) -> TokenStream {
    quote_spanned!(e.span()=> ::autograd::__private::flow::Cond::known(#e))
}

/// The sort of floats that a method asks for.
pub fn sort(method: &Ident) -> Option<&'static str> {
    Some(match method.to_string().as_str() {
        "is_nan" => "Nan",
        "is_infinite" => "Infinite",
        "is_finite" => "Finite",
        "is_sign_negative" => "Negative",
        "is_sign_positive" => "Positive",
        _ => return None,
    })
}

/// Whether the name is that of a flag of [`exits`](super::exits).
fn is_flag(name: &Ident) -> bool {
    name.to_string().starts_with(FLAG)
}

/// Whether the spelling shows a condition that may be traced.
fn asks(e: &Expr) -> bool {
    match e {
        Expr::Paren(e) => asks(&e.expr),
        Expr::Unary(e) => matches!(e.op, UnOp::Not(_)) && asks(&e.expr),
        Expr::MethodCall(e) => e.method == "is_set" && root(&e.receiver).is_some_and(is_truth),
        Expr::Binary(e) => compares(&e.op) || matches!(e.op, BinOp::And(_) | BinOp::Or(_)),
        _ => false,
    }
}

/// Whether the name is that of a condition in a variable.
fn is_truth(name: &Ident) -> bool {
    name.to_string().starts_with(truths::TRUTH)
}

/// Whether the spelling shows that this is no float.
fn is_integer(e: &Expr) -> bool {
    match e {
        Expr::Lit(lit) => {
            !matches!(&lit.lit, Lit::Float(_)) && !matches!(&lit.lit, Lit::Int(n) if n.suffix().starts_with('f'))
        }
        Expr::Paren(e) => is_integer(&e.expr),
        Expr::Unary(e) => is_integer(&e.expr),
        Expr::MethodCall(call) => call.method == "len",
        _ => false,
    }
}

/// The names around a construct, and those bound inside it, innermost last.
struct Names<'s> {
    scope: &'s Scope,
    inner: Vec<HashSet<String>>,
}

impl<'s> Names<'s> {
    fn new(scope: &'s Scope) -> Self {
        Names { scope, inner: vec![HashSet::new()] }
    }
    /// Whether the name is that of a variable outside.
    fn is_outer(&self, name: &Ident) -> bool {
        let text = name.to_string();
        !self.inner.iter().any(|frame| frame.contains(&text)) && self.scope.binds(name)
    }
}

/// Something that walks a construct and keeps its names.
trait Nested<'s> {
    fn names(&mut self) -> &mut Names<'s>;
    fn nested(&mut self, inside: impl FnOnce(&mut Self)) {
        self.names().inner.push(HashSet::new());
        inside(self);
        self.names().inner.pop();
    }
    fn bind(&mut self, pat: &Pat) {
        let mut names = Vec::new();
        super::scope::collect_names(pat, &mut names);
        let frame = self.names().inner.last_mut().expect("a frame is open");
        frame.extend(names.into_iter().map(|n| n.0));
    }
}
impl<'s> Nested<'s> for Effects<'s> {
    fn names(&mut self) -> &mut Names<'s> {
        &mut self.names
    }
}
impl<'s> Nested<'s> for Copies<'s> {
    fn names(&mut self) -> &mut Names<'s> {
        &mut self.0
    }
}

/// What a construct does besides giving a value.
struct Effects<'s> {
    names: Names<'s>,
    /// Outer variables that are changed.
    changed: BTreeSet<Ident>,
    /// Something that cannot be staged.
    escapes: bool,
    loops: usize,
    closures: usize,
}

impl<'s> Effects<'s> {
    fn new(scope: &'s Scope) -> Self {
        let names = Names::new(scope);
        Effects { names, changed: BTreeSet::new(), escapes: false, loops: 0, closures: 0 }
    }
    /// The variables that the construct changes, if it can be staged.
    fn state(self) -> Option<BTreeSet<Ident>> {
        let carried = |name: &Ident| self.names.scope.is_mutable(name);
        (!self.escapes && self.changed.iter().all(carried)).then_some(self.changed)
    }
    /// Notes that the variable behind a place is changed.
    fn change(&mut self, place: &Expr) {
        match place {
            Expr::Tuple(tuple) => tuple.elems.iter().for_each(|e| self.change(e)),
            Expr::Unary(deref) if matches!(deref.op, UnOp::Deref(_)) => {
                // through a reference: what it refers to is not known
                self.escapes |= root(&deref.expr).is_none_or(|name| self.names.is_outer(name));
            }
            place => match root(place) {
                Some(name) if self.names.is_outer(name) => drop(self.changed.insert(name.clone())),
                Some(_) => {}
                None => self.escapes |= !matches!(place, Expr::Infer(_)),
            },
        }
    }
}

/// The variable that a place belongs to.
fn root(place: &Expr) -> Option<&Ident> {
    match place {
        Expr::Path(path) => path.path.get_ident(),
        Expr::Field(e) => root(&e.base),
        Expr::Index(e) => root(&e.expr),
        Expr::Paren(e) => root(&e.expr),
        Expr::Group(e) => root(&e.expr),
        _ => None,
    }
}

impl Visit<'_> for Effects<'_> {
    fn visit_expr(&mut self, e: &Expr) {
        match e {
            Expr::Return(_) | Expr::Try(_) | Expr::Await(_) | Expr::Yield(_) if self.closures == 0 => {
                self.escapes = true
            }
            Expr::Break(e) => self.escapes |= self.closures == 0 && (self.loops == 0 || e.label.is_some()),
            Expr::Continue(e) => self.escapes |= self.closures == 0 && (self.loops == 0 || e.label.is_some()),
            Expr::Assign(e) => {
                self.change(&e.left);
                visit::visit_expr(self, &e.left);
                return self.visit_expr(&e.right);
            }
            Expr::Binary(e) if is_assignment(&e.op) => self.change(&e.left),
            Expr::Reference(e) if e.mutability.is_some() => {
                self.escapes |= root(&e.expr).is_none_or(|name| self.names.is_outer(name));
            }
            Expr::MethodCall(call) => {
                let reads = READING.iter().any(|name| call.method == name);
                // a cell or a reference: both branches are traced, and both would write to it
                let outer = root(&call.receiver)
                    .is_none_or(|name| self.names.is_outer(name) && !self.names.scope.is_mutable(name));
                self.escapes |= outer && WRITING.iter().any(|name| call.method == name);
                if let Some(name) = root(&call.receiver)
                    && !reads
                    && self.names.is_outer(name)
                    && self.names.scope.is_mutable(name)
                {
                    self.changed.insert(name.clone());
                }
            }
            Expr::Macro(e) => {
                self.escapes |= !PURE_MACROS.iter().any(|name| macros::is(&e.mac, name));
                let mut mac = e.mac.clone();
                macros::each_expr(&mut mac, |e| self.visit_expr(e));
                return;
            }
            Expr::Unsafe(_) | Expr::Async(_) => self.escapes = true,
            Expr::While(e) => {
                self.loops += 1;
                self.nested(|v| visit::visit_expr_while(v, e));
                self.loops -= 1;
                return;
            }
            Expr::Loop(e) => {
                self.loops += 1;
                visit::visit_expr_loop(self, e);
                self.loops -= 1;
                return;
            }
            Expr::ForLoop(e) => {
                self.visit_expr(&e.expr);
                self.loops += 1;
                self.nested(|v| {
                    v.bind(&e.pat);
                    v.visit_block(&e.body);
                });
                self.loops -= 1;
                return;
            }
            Expr::Closure(e) => {
                self.closures += 1;
                self.nested(|v| {
                    e.inputs.iter().for_each(|pat| v.bind(pat));
                    v.visit_expr(&e.body);
                });
                self.closures -= 1;
                return;
            }
            // what it says it says where it ends everything
            Expr::If(e) if asserts::asked(&e.cond).is_some() => {
                return asserts::asked(&e.cond).into_iter().for_each(|asked| self.visit_expr(asked));
            }
            Expr::If(e) => {
                self.nested(|v| {
                    v.visit_expr(&e.cond);
                    v.visit_block(&e.then_branch);
                });
                if let Some((_, branch)) = &e.else_branch {
                    self.visit_expr(branch);
                }
                return;
            }
            Expr::Let(e) => {
                self.visit_expr(&e.expr);
                self.bind(&e.pat);
                return;
            }
            _ => {}
        }
        visit::visit_expr(self, e);
    }
    fn visit_arm(&mut self, arm: &syn::Arm) {
        self.nested(|v| {
            v.bind(&arm.pat);
            visit::visit_arm(v, arm);
        });
    }
    fn visit_block(&mut self, block: &Block) {
        self.nested(|v| visit::visit_block(v, block));
    }
    fn visit_stmt(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::Local(local) => {
                visit::visit_local(self, local);
                self.bind(&local.pat);
            }
            Stmt::Macro(stmt) => {
                self.escapes |= !PURE_MACROS.iter().any(|name| macros::is(&stmt.mac, name));
            }
            Stmt::Item(_) => {}
            Stmt::Expr(..) => visit::visit_stmt(self, stmt),
        }
    }
    fn visit_pat(&mut self, _: &Pat) {}
}

/// Whether an operator compares its operands.
pub fn compares(op: &BinOp) -> bool {
    matches!(op, BinOp::Lt(_) | BinOp::Le(_) | BinOp::Gt(_) | BinOp::Ge(_) | BinOp::Eq(_) | BinOp::Ne(_))
}

/// Whether an operator calculates a number from its operands.
pub fn calculates(op: &BinOp) -> bool {
    !compares(op) && !is_assignment(op) && !matches!(op, BinOp::And(_) | BinOp::Or(_))
}

/// The operator inside an assigning one.
pub fn calculation(op: &BinOp) -> TokenStream {
    match op {
        BinOp::AddAssign(_) => quote!(+),
        BinOp::SubAssign(_) => quote!(-),
        BinOp::MulAssign(_) => quote!(*),
        BinOp::DivAssign(_) => quote!(/),
        BinOp::RemAssign(_) => quote!(%),
        BinOp::BitAndAssign(_) => quote!(&),
        BinOp::BitOrAssign(_) => quote!(|),
        BinOp::BitXorAssign(_) => quote!(^),
        BinOp::ShlAssign(_) => quote!(<<),
        BinOp::ShrAssign(_) => quote!(>>),
        op => quote!(#op),
    }
}

/// Whether an operator assigns to its left operand.
pub fn is_assignment(op: &BinOp) -> bool {
    matches!(
        op,
        BinOp::AddAssign(_)
            | BinOp::SubAssign(_)
            | BinOp::MulAssign(_)
            | BinOp::DivAssign(_)
            | BinOp::RemAssign(_)
            | BinOp::BitAndAssign(_)
            | BinOp::BitOrAssign(_)
            | BinOp::BitXorAssign(_)
            | BinOp::ShlAssign(_)
            | BinOp::ShrAssign(_)
    )
}

/// Copies outer variables where a branch uses them by value.
struct Copies<'s>(Names<'s>);

impl Copies<'_> {
    fn value(&mut self, e: &mut Expr) {
        if let Expr::Path(path) = e
            && let Some(name) = path.path.get_ident()
            && self.0.is_outer(name)
        {
            let span = name.span();
            *e = parse_quote_spanned!(span=> ::autograd::__private::flow::copy(&#name));
        }
    }
    /// A place: only what is computed inside it is looked at.
    fn place(&mut self, e: &mut Expr) {
        match e {
            Expr::Path(_) => {}
            Expr::Field(e) => self.place(&mut e.base),
            Expr::Index(e) => {
                self.place(&mut e.expr);
                self.visit_expr_mut(&mut e.index);
            }
            Expr::Paren(e) => self.place(&mut e.expr),
            Expr::Tuple(e) => e.elems.iter_mut().for_each(|e| self.place(e)),
            e => self.visit_expr_mut(e),
        }
    }
}

impl VisitMut for Copies<'_> {
    fn visit_expr_mut(&mut self, e: &mut Expr) {
        match e {
            Expr::Path(_) => self.value(e),
            Expr::Reference(e) => self.place(&mut e.expr),
            Expr::Field(_) | Expr::Index(_) => self.place(e),
            Expr::MethodCall(call) => {
                if call.method.to_string().starts_with("into") {
                    self.visit_expr_mut(&mut call.receiver);
                } else {
                    self.place(&mut call.receiver);
                }
                call.args.iter_mut().for_each(|a| self.visit_expr_mut(a));
            }
            Expr::Call(call) => call.args.iter_mut().for_each(|a| self.visit_expr_mut(a)),
            Expr::Assign(e) => {
                self.place(&mut e.left);
                self.visit_expr_mut(&mut e.right);
            }
            Expr::Binary(e) => {
                let compares = compares(&e.op);
                if compares || is_assignment(&e.op) {
                    self.place(&mut e.left);
                } else {
                    self.visit_expr_mut(&mut e.left);
                }
                if compares {
                    self.place(&mut e.right);
                } else {
                    self.visit_expr_mut(&mut e.right);
                }
            }
            Expr::Macro(_) => {
                if let Expr::Macro(m) = e {
                    macros::each_expr(&mut m.mac, |e| self.visit_expr_mut(e));
                }
            }
            Expr::Match(e) => {
                self.place(&mut e.expr);
                for arm in &mut e.arms {
                    self.nested(|v| {
                        v.bind(&arm.pat);
                        v.visit_expr_mut(&mut arm.body);
                    });
                }
            }
            Expr::Let(e) => {
                self.place(&mut e.expr);
                self.bind(&e.pat);
            }
            Expr::Closure(e) => self.nested(|v| {
                e.inputs.iter().for_each(|pat| v.bind(pat));
                v.visit_expr_mut(&mut e.body);
            }),
            Expr::ForLoop(e) => {
                self.visit_expr_mut(&mut e.expr);
                self.nested(|v| {
                    v.bind(&e.pat);
                    v.visit_block_mut(&mut e.body);
                });
            }
            Expr::Repeat(e) => self.visit_expr_mut(&mut e.expr),
            e => visit_mut::visit_expr_mut(self, e),
        }
    }
    fn visit_block_mut(&mut self, block: &mut Block) {
        self.nested(|v| block.stmts.iter_mut().for_each(|s| v.visit_stmt_mut(s)));
    }
    fn visit_stmt_mut(&mut self, stmt: &mut Stmt) {
        match stmt {
            Stmt::Local(local) => {
                if let Some(init) = &mut local.init {
                    self.visit_expr_mut(&mut init.expr);
                    if let Some((_, diverge)) = &mut init.diverge {
                        self.visit_expr_mut(diverge);
                    }
                }
                self.bind(&local.pat);
            }
            Stmt::Expr(e, _) => self.visit_expr_mut(e),
            Stmt::Item(_) | Stmt::Macro(_) => {}
        }
    }
}
