//! Turns `assert!` and its like into questions that a trace may leave to when the program runs: `assert!(x > 0.0)` becomes
//! `if !ensure(x > 0.0) { panic!(..) }`, whose condition [`flow`](super::flow) makes one that may be traced. An `if` with a branch that
//! does nothing but panic is an assertion in front of the other branch.
//!
//! Invariant: a condition is asked once; operands of `assert_eq!` and `assert_ne!` that may do something besides, items, and
//! statements with attributes stay as they are.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::visit_mut::{self, VisitMut};
use syn::{Block, Expr, ExprCall, ExprIf, ExprMethodCall, Item, Macro, Stmt, UnOp, parse_quote_spanned};

use super::{exits, flow, macros};

/// Rewrites a body.
pub fn rewrite(body: &mut Block) {
    Asserts.visit_block_mut(body);
}

/// What an expression asks, if it is `!ensure(..)`.
pub fn asked(e: &Expr) -> Option<&Expr> {
    match e {
        Expr::Unary(not) if matches!(not.op, UnOp::Not(_)) => match &*not.expr {
            Expr::Call(call) if is_made(call) => call.args.first(),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a block asserts something.
pub fn contains(block: &Block) -> bool {
    struct Found(bool);
    impl Visit<'_> for Found {
        fn visit_expr_call(&mut self, call: &ExprCall) {
            self.0 |= is_made(call);
            visit::visit_expr_call(self, call);
        }
        fn visit_item(&mut self, _: &Item) {}
    }
    let mut found = Found(false);
    found.visit_block(block);
    found.0
}

/// Whether an expression is `ensure(..)`.
pub fn is_made(call: &ExprCall) -> bool {
    let Expr::Path(func) = &*call.func else { return false };
    let names = func.path.segments.iter().map(|s| s.ident.to_string());
    func.path.leading_colon.is_some() && names.eq(["autograd", "__private", "flow", "ensure"])
}

/// What never gives anything.
const PANICS: [&str; 4] = ["panic", "unreachable", "todo", "unimplemented"];

struct Asserts;

impl VisitMut for Asserts {
    fn visit_stmt_mut(&mut self, stmt: &mut Stmt) {
        if let Stmt::Macro(made) = stmt
            && made.attrs.is_empty()
            && let Some(asked) = ensured(&made.mac)
        {
            *stmt = Stmt::Expr(asked, made.semi_token);
        }
        visit_mut::visit_stmt_mut(self, stmt);
    }
    fn visit_expr_mut(&mut self, e: &mut Expr) {
        match e {
            Expr::Const(_) => return,
            Expr::Macro(made) if made.attrs.is_empty() => {
                if let Some(asked) = ensured(&made.mac) {
                    *e = asked;
                }
            }
            Expr::If(choice) => {
                if let Some(block) = other_branch(choice) {
                    *e = block;
                }
            }
            _ => {}
        }
        visit_mut::visit_expr_mut(self, e);
        if let Expr::If(choice) = e
            && let Some(asked) = implied(choice)
        {
            *e = asked;
        }
    }
    fn visit_item_mut(&mut self, _: &mut Item) {}
}

/// `if !ensure(cond) { fail }`.
fn question(span: Span, cond: &Expr, fail: &impl ToTokens) -> Expr {
    parse_quote_spanned!(span=> if !::autograd::__private::flow::ensure(#cond) { #fail })
}

/// An `if` as an assertion and what runs if that holds.
fn other_branch(choice: &ExprIf) -> Option<Expr> {
    let cond = &choice.cond;
    if exits::has_let(cond) || asked(cond).is_some() || !choice.attrs.is_empty() {
        return None;
    }
    let span = choice.if_token.span;
    let (then, other) = (&choice.then_branch, choice.else_branch.as_ref().map(|(_, e)| &**e));
    let (cond, fail, rest): (Expr, _, _) = match (panics(then), other) {
        (Some(fail), rest) => (parse_quote_spanned!(span=> !(#cond)), fail, rest.map(ToTokens::to_token_stream)),
        (None, Some(Expr::Block(e))) => (parse_quote_spanned!(span=> #cond), panics(&e.block)?, Some(quote!(#then))),
        _ => return None,
    };
    let first = question(span, &cond, fail);
    Some(parse_quote_spanned!(span=> { #first #rest }))
}

/// A choice that only asserts something, as the assertion that the condition does not hold or that does.
fn implied(choice: &ExprIf) -> Option<Expr> {
    let [Stmt::Expr(only, _)] = &choice.then_branch.stmts[..] else { return None };
    let mut only = only;
    if let Expr::Block(e) = only
        && let [Stmt::Expr(inner, _)] = &e.block.stmts[..]
    {
        only = inner;
    }
    let Expr::If(inner) = only else { return None };
    let holds = asked(&inner.cond)?;
    let alone = choice.attrs.is_empty() && choice.else_branch.is_none() && inner.else_branch.is_none();
    if !alone || exits::has_let(&choice.cond) {
        return None;
    }
    let [fail] = &inner.then_branch.stmts[..] else { return None };
    let (span, cond) = (choice.if_token.span, &choice.cond);
    Some(question(span, &parse_quote_spanned!(span=> !(#cond) || (#holds)), fail))
}

/// The macro by which a block panics, if it does nothing else.
fn panics(block: &Block) -> Option<&Macro> {
    let mac = match &block.stmts[..] {
        [Stmt::Macro(made)] if made.attrs.is_empty() => &made.mac,
        [Stmt::Expr(Expr::Macro(made), _)] if made.attrs.is_empty() => &made.mac,
        _ => return None,
    };
    PANICS.iter().any(|name| macros::is(mac, name)).then_some(mac)
}

fn ensured(mac: &Macro) -> Option<Expr> {
    let name = mac.path.segments.last()?.ident.to_string();
    let (debug, name) = name.strip_prefix("debug_").map_or((false, &*name), |name| (true, name));
    let span = mac.span();
    let mut args = macros::all(mac)?.into_iter();
    let (cond, fail) = match name {
        "assert" => {
            let cond = args.next()?;
            let text = format!("assertion failed: {}", cond.to_token_stream());
            let said: Vec<Expr> = args.collect();
            let said = if said.is_empty() { quote!("{}", #text) } else { quote!(#(#said),*) };
            (cond, quote_spanned!(span=> ::core::panic!(#said);))
        }
        "assert_eq" | "assert_ne" => {
            let (left, right) = (args.next().filter(is_plain)?, args.next().filter(is_plain)?);
            let operator = if name == "assert_eq" { "==" } else { "!=" };
            let said: Vec<Expr> = args.collect();
            let said = if said.is_empty() {
                quote!(::core::option::Option::None)
            } else {
                quote!(::core::option::Option::Some(::std::format!(#(#said),*)))
            };
            let cond = match operator {
                "==" => parse_quote_spanned!(span=> #left == #right),
                _ => parse_quote_spanned!(span=> #left != #right),
            };
            let (path, [left, right]) = (quote!(::autograd::__private::flow::differ), [&left, &right].map(shown));
            (cond, quote_spanned!(span=> #path(#operator, &#left, &#right, #said);))
        }
        _ => return None,
    };
    let cond: Expr = match debug {
        true => parse_quote_spanned!(span=> !::core::cfg!(debug_assertions) || (#cond)),
        false => cond,
    };
    Some(question(span, &cond, &fail))
}

/// Whether the spelling shows that an expression gives a value and does nothing besides.
pub fn is_plain(e: &Expr) -> bool {
    match e {
        Expr::Path(_) | Expr::Lit(_) => true,
        Expr::Field(e) => is_plain(&e.base),
        Expr::Paren(e) => is_plain(&e.expr),
        Expr::Index(e) => is_plain(&e.expr) && is_plain(&e.index),
        Expr::Reference(e) => e.mutability.is_none() && is_plain(&e.expr),
        Expr::Unary(e) => matches!(e.op, UnOp::Neg(_)) && is_plain(&e.expr),
        Expr::Binary(e) => flow::calculates(&e.op) && is_plain(&e.left) && is_plain(&e.right),
        Expr::MethodCall(e) => asks(e) && is_plain(&e.receiver),
        _ => false,
    }
}

/// Whether a method takes nothing and gives a number.
fn asks(call: &ExprMethodCall) -> bool {
    const ASKING: [&str; 9] = ["len", "is_empty", "abs", "nrows", "ncols", "rows", "cols", "ndim", "numel"];
    call.args.is_empty() && ASKING.iter().any(|name| call.method == name)
}

/// An operand as a message shows it: its value, if it is a place or asked of one, so that neither is anything moved nor its type left
/// open; else its text.
fn shown(e: &Expr) -> TokenStream {
    fn is_place(e: &Expr) -> bool {
        match e {
            Expr::Path(e) => !e.path.is_ident("None"),
            Expr::Field(e) => is_place(&e.base),
            Expr::Index(e) => is_place(&e.expr),
            Expr::Reference(e) => is_place(&e.expr),
            Expr::Paren(e) => is_place(&e.expr),
            Expr::MethodCall(e) => asks(e) && is_place(&e.receiver),
            _ => false,
        }
    }
    let text = e.to_token_stream().to_string();
    if is_place(e) { quote!((#e)) } else { quote!(::core::format_args!("{}", #text)) }
}
