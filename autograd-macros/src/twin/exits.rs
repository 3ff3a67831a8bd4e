//! Turns ways out of loops and functions into values, so that they can be staged: `break` and `continue`
//! set a flag that the rest of the body and the loop's condition ask for, and `if c { return a; } rest`
//! at the end of a function becomes `if c { a } else { rest }`.
//!
//! Invariant: a loop is rewritten whole or not at all. It is left alone if it has a label, if a `break`
//! has a value, or if one stands elsewhere than in statements, blocks and branches of `if`.

use proc_macro2::Span;
use quote::format_ident;
use syn::visit::{self, Visit};
use syn::{Block, Expr, ExprBlock, ExprForLoop, ExprIf, Ident, Stmt, parse_quote};

use super::{flow::condition, integers};

/// The start of the names of flags.
pub const FLAG: &str = "__leave";

/// Gives every loop that is rewritten flags of its own.
#[derive(Default)]
pub struct Exits {
    count: usize,
}

/// The flags of a loop: of `break` and of `continue`, where it has them.
struct Flags {
    stop: Option<Ident>,
    skip: Option<Ident>,
}

impl Exits {
    /// The loop with flags in place of `break` and `continue`, if it has any and can be rewritten.
    pub fn rewrite(&mut self, expr: &Expr) -> Option<Expr> {
        let body = match expr {
            Expr::While(e) if e.label.is_none() => &e.body,
            Expr::Loop(e) if e.label.is_none() => &e.body,
            Expr::ForLoop(e) if e.label.is_none() => &e.body,
            _ => return None,
        };
        let found = Found::of(body);
        if found.odd || !(found.breaks || found.continues) {
            return None;
        }
        if matches!(expr, Expr::ForLoop(e) if found.breaks && !is_finite(e)) {
            return None;
        }
        let mut flag = |wanted: bool| {
            self.count += 1;
            wanted.then(|| format_ident!("{FLAG}{}", self.count, span = Span::call_site()))
        };
        let flags = Flags { stop: flag(found.breaks), skip: flag(found.continues) };
        let mut body = body.clone();
        flags.block(&mut body)?;
        if let Some(skip) = &flags.skip {
            body.stmts.insert(0, parse_quote!(let mut #skip = ::autograd::__private::flow::Flag::unset();));
        }
        let stop = flags.stop.as_ref();
        let declared: Option<Stmt> =
            stop.map(|stop| parse_quote!(let mut #stop = ::autograd::__private::flow::Flag::unset();));
        Some(match expr {
            Expr::While(e) => {
                let cond = &e.cond;
                match stop {
                    // what may be read after a `break` is not: the flag comes first
                    Some(stop) => parse_quote!({ #declared while !#stop && (#cond) #body }),
                    None => parse_quote!(while #cond #body),
                }
            }
            Expr::Loop(_) => match stop {
                Some(stop) => parse_quote!({ #declared while !#stop #body }),
                None => parse_quote!(loop #body),
            },
            Expr::ForLoop(e) => {
                let (pat, iter) = (&e.pat, &e.expr);
                match stop {
                    Some(stop) => parse_quote!({ #declared for #pat in #iter { if !#stop #body } }),
                    None => parse_quote!(for #pat in #iter #body),
                }
            }
            _ => return None,
        })
    }
}

/// Whether going on to the end of the items costs time only.
fn is_finite(e: &ExprForLoop) -> bool {
    fn items(e: &Expr) -> bool {
        match e {
            Expr::Paren(e) => items(&e.expr),
            Expr::Range(e) => e.end.is_some(),
            e if integers::is_trips(e) => true,
            Expr::Path(_) | Expr::Field(_) | Expr::Reference(_) | Expr::Array(_) => true,
            Expr::MethodCall(e) => match e.method.to_string().as_str() {
                "iter" => true,
                "rev" | "enumerate" | "step_by" | "copied" | "cloned" | "skip" | "take" => items(&e.receiver),
                _ => false,
            },
            _ => false,
        }
    }
    items(&e.expr)
}

impl Flags {
    /// Rewrites the exits in a block; `None` if one stands where it cannot be.
    fn block(&self, block: &mut Block) -> Option<()> {
        for i in 0..block.stmts.len() {
            let Stmt::Expr(expr, _) = &mut block.stmts[i] else {
                if Found::in_stmt(&block.stmts[i]).any() {
                    return None;
                }
                continue;
            };
            if !Found::in_expr(expr).any() {
                continue;
            }
            let leaves = self.exit(expr)?;
            let rest: Vec<Stmt> = block.stmts.drain(i + 1..).collect();
            if leaves || rest.is_empty() {
                if let Some(Stmt::Expr(_, semi)) = block.stmts.last_mut() {
                    semi.get_or_insert_default();
                }
                return Some(());
            }
            let mut rest: Block = parse_quote!({ #(#rest)* });
            self.block(&mut rest)?;
            let go_on: Expr = match (&self.stop, &self.skip) {
                (Some(a), Some(b)) => parse_quote!(!#a && !#b),
                (Some(a), None) | (None, Some(a)) => parse_quote!(!#a),
                (None, None) => return None,
            };
            block.stmts.push(parse_quote!(if #go_on #rest));
            return Some(());
        }
        Some(())
    }
    /// Rewrites a statement with an exit in it. Whether nothing after it runs.
    fn exit(&self, expr: &mut Expr) -> Option<bool> {
        match expr {
            Expr::Break(_) => {
                let stop = self.stop.as_ref()?;
                *expr = parse_quote!(#stop = ::autograd::__private::flow::Flag::set());
                Some(true)
            }
            Expr::Continue(_) => {
                let skip = self.skip.as_ref()?;
                *expr = parse_quote!(#skip = ::autograd::__private::flow::Flag::set());
                Some(true)
            }
            Expr::Block(ExprBlock { block, label: None, .. }) => self.block(block).map(|()| false),
            Expr::If(choice) => {
                if Found::in_expr(&choice.cond).any() {
                    return None;
                }
                self.block(&mut choice.then_branch)?;
                match &mut choice.else_branch {
                    None => {}
                    Some((_, branch)) if Found::in_expr(branch).any() => drop(self.exit(branch)?),
                    Some(_) => {}
                }
                Some(false)
            }
            _ => None,
        }
    }
}

/// The exits of a loop in a part of its body.
#[derive(Default)]
struct Found {
    breaks: bool,
    continues: bool,
    /// One that cannot be rewritten: with a label or a value.
    odd: bool,
}

impl Found {
    fn of(block: &Block) -> Found {
        let mut found = Found::default();
        found.visit_block(block);
        found
    }
    fn in_stmt(stmt: &Stmt) -> Found {
        let mut found = Found::default();
        found.visit_stmt(stmt);
        found
    }
    fn in_expr(expr: &Expr) -> Found {
        let mut found = Found::default();
        found.visit_expr(expr);
        found
    }
    fn any(&self) -> bool {
        self.breaks || self.continues || self.odd
    }
}

impl Visit<'_> for Found {
    fn visit_expr(&mut self, e: &Expr) {
        match e {
            Expr::Break(e) => {
                self.breaks = true;
                self.odd |= e.label.is_some() || e.expr.is_some();
            }
            Expr::Continue(e) => {
                self.continues = true;
                self.odd |= e.label.is_some();
            }
            // they have exits of their own; those with labels are not looked for, and stay as they are
            Expr::While(_) | Expr::Loop(_) | Expr::ForLoop(_) => self.odd |= has_label(e),
            Expr::Closure(_) | Expr::Async(_) => {}
            e => visit::visit_expr(self, e),
        }
    }
    fn visit_item(&mut self, _: &syn::Item) {}
}

/// Whether a loop inside leaves another one.
fn has_label(e: &Expr) -> bool {
    struct Labels(bool);
    impl Visit<'_> for Labels {
        fn visit_lifetime(&mut self, _: &syn::Lifetime) {
            self.0 = true;
        }
    }
    let mut labels = Labels(false);
    labels.visit_expr(e);
    labels.0
}

/// Turns early returns of a function's body into branches of its last expression.
pub fn returns(body: &mut Block) {
    let early = |stmt: &Stmt| match stmt {
        Stmt::Expr(Expr::If(ExprIf { cond, then_branch, else_branch: None, .. }), _) => {
            matches!(then_branch.stmts.last(), Some(Stmt::Expr(Expr::Return(r), _)) if r.expr.is_some())
                && condition(cond).is_some()
        }
        _ => false,
    };
    let Some(at) = body.stmts.iter().position(early) else { return };
    let mut rest = Block { stmts: body.stmts.drain(at + 1..).collect(), ..parse_quote!({}) };
    last(&mut rest);
    if !matches!(rest.stmts.last(), Some(Stmt::Expr(_, None))) {
        body.stmts.append(&mut rest.stmts);
        return;
    }
    returns(&mut rest);
    let Some(Stmt::Expr(Expr::If(mut choice), _)) = body.stmts.pop() else { return };
    last(&mut choice.then_branch);
    returns(&mut choice.then_branch);
    choice.else_branch = Some((<syn::Token![else]>::default(), Box::new(parse_quote!(#rest))));
    body.stmts.push(Stmt::Expr(Expr::If(choice), None));
}

/// `return e;` at the end of a block that ends the function is its value.
fn last(block: &mut Block) {
    if let Some(Stmt::Expr(e, semi)) = block.stmts.last_mut()
        && let Expr::Return(r) = e
        && let Some(value) = &r.expr
    {
        *e = (**value).clone();
        *semi = None;
    }
}
