//! Turns ways out of loops and functions into values, so that they can be staged: `break`, `continue` and `return` set
//! a flag that the rest of the blocks around them and the conditions of the loops that they leave ask for;
//! `break e` and `return e` in a loop keep their value in a variable. `if c { return a; } rest` at the end of a
//! function becomes `if c { a } else { rest }`.
//!
//! Invariant: the exits to one loop, or from the function's loops, are rewritten all or not at all. They stay as they are if one
//! stands elsewhere than in statements, blocks, branches and arms, if a loop on the way cannot be ended by a flag
//! (`while let`, items that may have no end), or if nothing can stand for a value that there is not
//! (`break` with something that is no float, a result that is not made of numbers).

use std::collections::{BTreeSet, HashSet};

use quote::format_ident;
use syn::visit_mut::{self, VisitMut};
use syn::{Block, Expr, ExprBlock, ExprForLoop, ExprIf, Ident, Lifetime, Stmt, Type, parse_quote};

use super::integers;
use crate::ast;

/// The start of the names of flags.
pub const FLAG: &str = "__leave";

/// The exit from the function.
const RETURN: usize = usize::MAX;

/// Rewrites the exits in a function's body. `declared` is its result, `ret` that of the twin.
pub fn rewrite(declared: Option<&Type>, ret: &Type, body: &mut Block) {
    let mut native = HashSet::new();
    if !declared.is_some_and(is_numbers) {
        native.insert(RETURN);
    }
    loop {
        let mut attempt = body.clone();
        let mut exits = Exits {
            native: &native,
            found: HashSet::new(),
            targets: Vec::new(),
            reach: 0,
            loops: 0,
            valued: HashSet::new(),
            function: true,
            closures: 0,
        };
        exits.function(&mut attempt);
        let found = exits.found;
        if found.is_subset(&native) {
            if uses(&attempt, &flag(RETURN, "")) {
                let (flag, value) = (flag(RETURN, ""), result());
                let declared: Block = parse_quote!({
                    let mut #flag = ::autograd::__private::flow::Flag::unset();
                    let mut #value: #ret = ::autograd::__private::flow::Blank::blank();
                });
                attempt.stmts.splice(0..0, declared.stmts);
            }
            *body = attempt;
            return;
        }
        native.extend(found);
    }
}

/// Whether a result is made of numbers, so that there is one to stand for it.
pub fn is_numbers(ty: &Type) -> bool {
    match ast::ungroup(ty) {
        Type::Tuple(ty) => ty.elems.iter().all(is_numbers),
        Type::Array(ty) => is_numbers(&ty.elem),
        Type::Path(path) => {
            let integer =
                path.path.get_ident().is_some_and(|name| ast::is_integer(&name.to_string()) || name == "bool");
            integer || ast::scalar(ty).is_some()
        }
        _ => false,
    }
}

/// Something that is left.
struct Target {
    id: usize,
    label: Option<Lifetime>,
    /// A block with a label, which only `break` with that label leaves.
    is_block: bool,
    /// `loop`, which has a value.
    is_loop: bool,
}

struct Exits<'n> {
    /// What is left by ordinary Rust.
    native: &'n HashSet<usize>,
    /// What was found to be.
    found: HashSet<usize>,
    /// What is around the place, innermost last.
    targets: Vec<Target>,
    /// From which target on exits are statements between here and there.
    reach: usize,
    loops: usize,
    /// Loops that are left with a value.
    valued: HashSet<usize>,
    /// Whether only statements are between here and the function.
    function: bool,
    /// How many closures are around.
    closures: usize,
}

/// The flags that a statement may set.
type Flags = BTreeSet<Ident>;

fn flag(id: usize, kind: &str) -> Ident {
    if id == RETURN { format_ident!("{FLAG}_function") } else { format_ident!("{FLAG}_{kind}{id}") }
}

/// What a function returns from a loop.
fn result() -> Ident {
    format_ident!("__result")
}

/// What a loop is left with.
fn value(id: usize) -> Ident {
    format_ident!("__value{id}")
}

fn set(flag: &Ident) -> Expr {
    parse_quote!(#flag = ::autograd::__private::flow::Flag::set())
}

/// `!a && !b`.
fn none_of(flags: &Flags) -> Option<Expr> {
    flags.iter().map(|flag| -> Expr { parse_quote!(!#flag.is_set()) }).reduce(|a, b| parse_quote!(#a && #b))
}

impl Exits<'_> {
    /// The statements of a block that is a function's value.
    fn function(&mut self, block: &mut Block) {
        last(block);
        for i in 0..block.stmts.len() {
            if self.branch(block, i) {
                return;
            }
            let tail = i + 1 == block.stmts.len();
            let Stmt::Expr(e, semi) = &mut block.stmts[i] else {
                self.parts(&mut block.stmts[i]);
                continue;
            };
            if tail && semi.is_none() && !matches!(e, Expr::Loop(_) | Expr::ForLoop(_) | Expr::While(_)) {
                self.tail(e);
                continue;
            }
            let flags = self.statement(e);
            if !flags.contains(&flag(RETURN, "")) {
                continue;
            }
            let value = result();
            if tail {
                let flag = flag(RETURN, "");
                let ends: Block = match e {
                    Expr::Block(inner) if has_value(&inner.block) => parse_quote!({
                        let __last = #e;
                        if #flag.is_set() { #value } else { __last }
                    }),
                    // nothing but a return ends it
                    e => parse_quote!({ #e; #value }),
                };
                block.stmts.pop();
                block.stmts.extend(ends.stmts);
                return;
            }
            semi.get_or_insert_default();
            let mut rest = Block { stmts: block.stmts.drain(i + 1..).collect(), ..parse_quote!({}) };
            self.function(&mut rest);
            if !has_value(&rest) {
                self.found.insert(RETURN);
            }
            let flag = flag(RETURN, "");
            block.stmts.push(Stmt::Expr(parse_quote!(if #flag.is_set() { #value } else #rest), None));
            return;
        }
    }

    /// A last expression: its branches end the function as well.
    fn tail(&mut self, e: &mut Expr) {
        match e {
            Expr::If(choice) if choice.else_branch.is_some() => {
                self.expression(&mut choice.cond);
                self.function(&mut choice.then_branch);
                if let Some((_, branch)) = &mut choice.else_branch {
                    self.tail(branch);
                }
            }
            Expr::Block(ExprBlock { block, label: None, .. }) => self.function(block),
            e => self.expression(e),
        }
    }

    /// Statement `i` as `if c { a } else { rest }`, if it is `if c { return a; }`.
    fn branch(&mut self, block: &mut Block, i: usize) -> bool {
        let Stmt::Expr(Expr::If(ExprIf { cond, then_branch, else_branch, .. }), _) = &mut block.stmts[i] else {
            return false;
        };
        // what `if let` looks at would live as long as the rest
        let returns = !has_let(cond)
            && matches!(then_branch.stmts.last(), Some(Stmt::Expr(Expr::Return(r), _)) if r.expr.is_some());
        if !returns {
            return false;
        }
        let other = else_branch.take();
        let mut rest = Block { stmts: block.stmts.drain(i + 1..).collect(), ..parse_quote!({}) };
        if let Some((_, branch)) = &other {
            rest.stmts.insert(0, Stmt::Expr((**branch).clone(), Some(<syn::Token![;]>::default())));
        }
        let mut whole = rest.clone();
        last(&mut whole);
        if !has_value(&whole) {
            // as it was
            rest.stmts.drain(..usize::from(other.is_some()));
            block.stmts.append(&mut rest.stmts);
            if let Stmt::Expr(Expr::If(choice), _) = &mut block.stmts[i] {
                choice.else_branch = other;
            }
            return false;
        }
        self.function(&mut whole);
        let Some(Stmt::Expr(Expr::If(mut choice), _)) = block.stmts.pop() else { return false };
        self.expression(&mut choice.cond);
        self.function(&mut choice.then_branch);
        choice.else_branch = Some((<syn::Token![else]>::default(), Box::new(parse_quote!(#whole))));
        block.stmts.push(Stmt::Expr(Expr::If(choice), None));
        true
    }

    /// The statements of a block without a value; the flags that they may set.
    fn block(&mut self, block: &mut Block) -> Flags {
        let mut flags = Flags::new();
        for i in 0..block.stmts.len() {
            let Stmt::Expr(e, _) = &mut block.stmts[i] else {
                self.parts(&mut block.stmts[i]);
                continue;
            };
            let leaves = matches!(e, Expr::Break(_) | Expr::Continue(_) | Expr::Return(_));
            let more = self.statement(e);
            if more.is_empty() {
                continue;
            }
            if let Stmt::Expr(_, semi) = &mut block.stmts[i] {
                semi.get_or_insert_default();
            }
            let mut rest = Block { stmts: block.stmts.drain(i + 1..).collect(), ..parse_quote!({}) };
            let go_on = none_of(&more).expect("there are flags");
            flags.extend(more);
            if !leaves && !rest.stmts.is_empty() {
                flags.extend(self.block(&mut rest));
                block.stmts.push(Stmt::Expr(parse_quote!(if #go_on #rest), None));
            }
            break;
        }
        flags
    }

    /// A statement; the flags that it may set.
    fn statement(&mut self, e: &mut Expr) -> Flags {
        match e {
            Expr::Break(exit) => {
                if let Some(value) = &mut exit.expr {
                    self.expression(value);
                }
                let Some(target) = self.target(exit.label.as_ref(), true) else { return Flags::new() };
                let (id, is_loop) = (target.id, target.is_loop);
                let Some(with) = &exit.expr else { return self.leave(e, id, "stop", None) };
                self.valued.insert(id);
                if !is_loop || !is_float(with) {
                    self.found.insert(id);
                }
                let (name, with) = (value(id), with.clone());
                self.leave(e, id, "stop", Some(parse_quote!(#name = #with)))
            }
            Expr::Continue(exit) => {
                let Some(id) = self.target(exit.label.as_ref(), false).map(|target| target.id) else {
                    return Flags::new();
                };
                self.leave(e, id, "skip", None)
            }
            Expr::Return(exit) => {
                if let Some(value) = &mut exit.expr {
                    self.expression(value);
                }
                if self.closures > 0 {
                    return Flags::new();
                }
                if !self.function {
                    self.found.insert(RETURN);
                }
                let name = result();
                let keep = exit.expr.as_ref().map(|value| parse_quote!(#name = #value));
                if keep.is_none() {
                    self.found.insert(RETURN);
                }
                self.leave(e, RETURN, "", keep)
            }
            Expr::Block(ExprBlock { block, label: None, .. }) => self.block(block),
            Expr::If(choice) => {
                self.expression(&mut choice.cond);
                let mut flags = self.block(&mut choice.then_branch);
                if let Some((_, branch)) = &mut choice.else_branch {
                    flags.extend(self.statement(branch));
                    if !matches!(**branch, Expr::Block(_) | Expr::If(_)) {
                        **branch = parse_quote!({ #branch });
                    }
                }
                flags
            }
            Expr::Match(choice) => {
                self.expression(&mut choice.expr);
                let mut flags = Flags::new();
                for arm in &mut choice.arms {
                    flags.extend(self.statement(&mut arm.body));
                }
                if !flags.is_empty() {
                    for arm in &mut choice.arms {
                        let body = &arm.body;
                        *arm.body = parse_quote!({ #body; });
                        arm.comma.get_or_insert_default();
                    }
                }
                flags
            }
            Expr::While(_) | Expr::Loop(_) | Expr::ForLoop(_) => self.repeat(e),
            e => {
                self.expression(e);
                Flags::new()
            }
        }
    }

    /// Replaces an exit, unless it stays as it is.
    fn leave(&mut self, e: &mut Expr, id: usize, kind: &str, keep: Option<Expr>) -> Flags {
        if self.native.contains(&id) {
            return Flags::new();
        }
        let flag = flag(id, kind);
        let set = set(&flag);
        *e = match keep {
            Some(keep) => parse_quote!({ #keep; #set; }),
            None => set,
        };
        Flags::from([flag])
    }

    /// What an exit leaves, if that is within reach; otherwise it stays.
    fn target(&mut self, label: Option<&Lifetime>, breaks: bool) -> Option<&Target> {
        let found = self.targets.iter().rposition(|target| match label {
            Some(label) => {
                target.label.as_ref().is_some_and(|name| name.ident == label.ident) && (breaks || !target.is_block)
            }
            None => !target.is_block,
        })?;
        if found < self.reach || self.targets[found].is_block {
            self.found.insert(self.targets[found].id);
        }
        self.targets.get(found)
    }

    /// A loop; the flags of what is around it that it may set.
    fn repeat(&mut self, e: &mut Expr) -> Flags {
        let id = self.loops;
        self.loops += 1;
        let (label, is_loop, may_end) = match &mut *e {
            Expr::While(e) => (e.label.clone(), false, !has_let(&e.cond)),
            Expr::ForLoop(e) => {
                self.expression(&mut e.expr);
                (e.label.clone(), false, is_finite(e))
            }
            Expr::Loop(e) => (e.label.clone(), true, true),
            _ => return Flags::new(),
        };
        let label = label.map(|label| label.name);
        self.targets.push(Target { id, label, is_block: false, is_loop });
        if let Expr::While(e) = &mut *e {
            self.expression(&mut e.cond);
        }
        let body = match &mut *e {
            Expr::While(e) => &mut e.body,
            Expr::ForLoop(e) => &mut e.body,
            Expr::Loop(e) => &mut e.body,
            _ => return Flags::new(),
        };
        let mut flags = self.block(body);
        self.targets.pop();
        let (stop, skip) = (flag(id, "stop"), flag(id, "skip"));
        if flags.remove(&skip) {
            body.stmts.insert(0, parse_quote!(let mut #skip = ::autograd::__private::flow::Flag::unset();));
        }
        let stops = flags.contains(&stop);
        let keeps = is_loop && self.native.contains(&id) && self.valued.contains(&id);
        if !flags.is_empty() && (!may_end || keeps) {
            self.unreachable(&flags);
        }
        if !self.native.contains(&id) {
            match &mut *e {
                Expr::While(e) => e.label = None,
                Expr::ForLoop(e) => e.label = None,
                Expr::Loop(e) => e.label = None,
                _ => {}
            }
        }
        let Some(go_on) = none_of(&flags) else { return flags };
        match &mut *e {
            // what may be read after a `break` is not: the flags come first
            Expr::While(e) => {
                let cond = &e.cond;
                e.cond = parse_quote!(#go_on && (#cond));
            }
            Expr::ForLoop(e) => {
                let body = &e.body;
                e.body = parse_quote!({ if #go_on #body });
            }
            Expr::Loop(l) => {
                let (label, body) = (&l.label, &l.body);
                *e = parse_quote!(#label while #go_on #body);
            }
            _ => {}
        }
        flags.remove(&stop);
        if stops {
            let name = value(id);
            let blank: Option<Stmt> =
                uses(&*e, &name).then(|| parse_quote!(let mut #name = ::autograd::__private::flow::Blank::blank();));
            let kept = blank.is_some().then_some(name);
            *e = parse_quote!({
                let mut #stop = ::autograd::__private::flow::Flag::unset();
                #blank
                #e
                #kept
            });
        }
        flags
    }

    /// What these flags leave is left in another way.
    fn unreachable(&mut self, flags: &Flags) {
        let around = self.targets.iter().map(|target| target.id).chain([RETURN, self.loops]);
        let ids: Vec<usize> = around.chain(0..self.loops).collect();
        for id in ids {
            if flags.contains(&flag(id, "stop")) || flags.contains(&flag(id, "skip")) {
                self.found.insert(id);
            }
        }
    }

    /// An expression whose value is used: what it leaves around it is left by ordinary Rust.
    fn expression(&mut self, e: &mut Expr) {
        let (reach, function) = (self.reach, self.function);
        (self.reach, self.function) = (self.targets.len(), false);
        self.visit_expr_mut(e);
        (self.reach, self.function) = (reach, function);
    }

    /// What is computed in a statement that is no expression.
    fn parts(&mut self, stmt: &mut Stmt) {
        let (reach, function) = (self.reach, self.function);
        (self.reach, self.function) = (self.targets.len(), false);
        visit_mut::visit_stmt_mut(self, stmt);
        (self.reach, self.function) = (reach, function);
    }
}

/// Inside expressions.
impl VisitMut for Exits<'_> {
    fn visit_expr_mut(&mut self, e: &mut Expr) {
        match e {
            Expr::While(_) | Expr::Loop(_) | Expr::ForLoop(_) => drop(self.repeat(e)),
            Expr::Break(exit) => {
                if let Some(id) = self.target(exit.label.as_ref(), true).map(|target| target.id) {
                    self.found.insert(id);
                    if exit.expr.is_some() {
                        self.valued.insert(id);
                    }
                }
                if let Some(value) = &mut exit.expr {
                    self.expression(value);
                }
            }
            Expr::Continue(exit) => {
                if let Some(id) = self.target(exit.label.as_ref(), false).map(|target| target.id) {
                    self.found.insert(id);
                }
            }
            Expr::Return(exit) => {
                // outside of loops it may stay beside those that are rewritten
                if self.closures == 0 && !self.targets.is_empty() {
                    self.found.insert(RETURN);
                }
                if let Some(value) = &mut exit.expr {
                    self.expression(value);
                }
            }
            Expr::Closure(closure) => {
                let (targets, reach) = (std::mem::take(&mut self.targets), std::mem::take(&mut self.reach));
                self.closures += 1;
                self.visit_expr_mut(&mut closure.body);
                self.closures -= 1;
                (self.targets, self.reach) = (targets, reach);
            }
            Expr::Block(ExprBlock { block, label: Some(label), .. }) => {
                let id = self.loops;
                self.loops += 1;
                self.found.insert(id);
                self.targets.push(Target { id, label: Some(label.name.clone()), is_block: true, is_loop: false });
                self.visit_block_mut(block);
                self.targets.pop();
            }
            e => visit_mut::visit_expr_mut(self, e),
        }
    }
    fn visit_item_mut(&mut self, _: &mut syn::Item) {}
}

/// Whether the text shows the value to be a float.
fn is_float(e: &Expr) -> bool {
    match e {
        Expr::Paren(e) => is_float(&e.expr),
        Expr::Tuple(e) => !e.elems.is_empty() && e.elems.iter().all(is_float),
        Expr::Call(call) => {
            let Expr::Path(func) = &*call.func else { return false };
            let last = func.path.segments.last().map(|last| last.ident.to_string());
            func.path.leading_colon.is_some() && matches!(last.as_deref(), Some("literal" | "lift"))
        }
        _ => false,
    }
}

/// Whether a block ends with a value.
fn has_value(block: &Block) -> bool {
    match block.stmts.last() {
        Some(Stmt::Expr(_, semi)) => semi.is_none(),
        Some(Stmt::Macro(mac)) => mac.semi_token.is_none(),
        _ => false,
    }
}

pub fn has_let(e: &Expr) -> bool {
    match e {
        Expr::Let(_) => true,
        Expr::Binary(e) => has_let(&e.left) || has_let(&e.right),
        _ => false,
    }
}

fn uses(part: &impl quote::ToTokens, name: &Ident) -> bool {
    fn found(tokens: proc_macro2::TokenStream, name: &Ident) -> bool {
        tokens.into_iter().any(|token| match token {
            proc_macro2::TokenTree::Ident(ident) => ident == *name,
            proc_macro2::TokenTree::Group(group) => found(group.stream(), name),
            _ => false,
        })
    }
    found(part.to_token_stream(), name)
}

/// Whether going on to the end of the items costs time only.
fn is_finite(e: &ExprForLoop) -> bool {
    fn items(e: &Expr) -> bool {
        match e {
            e if integers::is_trips(e) => true,
            Expr::Paren(e) => items(&e.expr),
            Expr::Range(e) => e.end.is_some(),
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
