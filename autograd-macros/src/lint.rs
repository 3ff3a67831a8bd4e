//! Finds what makes a function run on the dynamic engine where data decide on it, for `deny(dynamic)`: what its text tells.
//!
//! Invariant: what is found here has no compiled form in any call in which a traced condition stands around it.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{ExprClosure, ExprForLoop, ExprIf, ExprLoop, ExprMethodCall, ExprReturn, ExprTry, ExprWhile, Item};

use crate::ast::Function;
use crate::twin::exits::is_numbers;
use crate::twin::integers::results::conditional_pushes;

/// The places, with what is wrong there.
pub fn dynamic(function: &Function) -> Option<syn::Error> {
    let numbers = function.ret.as_ref().is_some_and(is_numbers);
    let mut found = Dynamic { numbers, branches: 0, loops: 0, open: 0, understood: Vec::new(), error: None };
    found.visit_block(&function.original.block);
    found.error
}

struct Dynamic {
    /// Whether the result is made of numbers.
    numbers: bool,
    branches: usize,
    loops: usize,
    /// Loops that data may end.
    open: usize,
    /// Pushes under a condition of a `for`, by their addresses.
    understood: Vec<*const ExprMethodCall>,
    error: Option<syn::Error>,
}

/// What changes the length of a vector.
const GROWS: [&str; 10] =
    ["push", "pop", "insert", "remove", "extend", "extend_from_slice", "truncate", "drain", "retain", "append"];

impl Dynamic {
    fn report(&mut self, at: &impl Spanned, text: &str) {
        let error = syn::Error::new(at.span(), format!("`deny(dynamic)`: {text}"));
        match &mut self.error {
            Some(all) => all.combine(error),
            None => self.error = Some(error),
        }
    }
}

impl<'ast> Visit<'ast> for Dynamic {
    fn visit_expr_try(&mut self, e: &'ast ExprTry) {
        if self.branches + self.loops > 0 {
            let text =
                "`?` in a branch or loop is not compiled where data decide on it: handle the `Result` before or after";
            self.report(&e.question_token, text);
        }
        visit::visit_expr_try(self, e);
    }
    fn visit_expr_return(&mut self, e: &'ast ExprReturn) {
        if self.loops > 0 && !self.numbers {
            let text = "`return` of what is not made of numbers from a loop is not compiled where data decide on it: keep it in \
                        a variable and `break`";
            self.report(e, text);
        }
        visit::visit_expr_return(self, e);
    }
    fn visit_expr_method_call(&mut self, e: &'ast ExprMethodCall) {
        let understood = self.understood.contains(&std::ptr::from_ref(e));
        if self.branches + self.open > 0 && !understood && GROWS.iter().any(|name| e.method == name) {
            let text = "a vector that changes its length in a branch or `while` is not compiled where data decide on it: give \
                        it its length before and count what is used";
            self.report(&e.method, text);
        }
        visit::visit_expr_method_call(self, e);
    }
    fn visit_expr_if(&mut self, e: &'ast ExprIf) {
        self.visit_expr(&e.cond);
        self.branches += 1;
        self.visit_block(&e.then_branch);
        if let Some((_, other)) = &e.else_branch {
            self.visit_expr(other);
        }
        self.branches -= 1;
    }
    fn visit_expr_match(&mut self, e: &'ast syn::ExprMatch) {
        self.visit_expr(&e.expr);
        self.branches += 1;
        e.arms.iter().for_each(|arm| self.visit_arm(arm));
        self.branches -= 1;
    }
    fn visit_expr_while(&mut self, e: &'ast ExprWhile) {
        (self.loops, self.open) = (self.loops + 1, self.open + 1);
        visit::visit_expr_while(self, e);
        (self.loops, self.open) = (self.loops - 1, self.open - 1);
    }
    fn visit_expr_loop(&mut self, e: &'ast ExprLoop) {
        (self.loops, self.open) = (self.loops + 1, self.open + 1);
        visit::visit_expr_loop(self, e);
        (self.loops, self.open) = (self.loops - 1, self.open - 1);
    }
    fn visit_expr_for_loop(&mut self, e: &'ast ExprForLoop) {
        self.visit_expr(&e.expr);
        self.loops += 1;
        if self.branches + self.open == 0 {
            self.understood.extend(conditional_pushes(&e.body).map(std::ptr::from_ref));
        }
        self.visit_block(&e.body);
        self.loops -= 1;
    }
    // another function
    fn visit_expr_closure(&mut self, _: &'ast ExprClosure) {}
    fn visit_item(&mut self, _: &'ast Item) {}
}
