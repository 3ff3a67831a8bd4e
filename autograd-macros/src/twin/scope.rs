//! Walks a body as the compiler scopes it and hands each node to a [`Pass`].
//!
//! Invariant: when a pass sees an expression, [`Scope`] holds exactly the names bound around it.
//! Nested items are never entered: they stay plain Rust. The arguments of macros that take
//! expressions are walked like any other (see [`macros`](super::macros)).

use std::collections::HashMap;

use syn::visit_mut::{self, VisitMut};
use syn::{Block, Expr, Ident, Local, Pat, Stmt, Type};

use super::macros;
use crate::ast::{self, Param};

/// One rewriting concern. Every hook may replace the node it is given.
pub trait Pass {
    /// Before the children of the expression are walked.
    fn enter(&mut self, _expr: &mut Expr, _scope: &Scope) {}
    /// After its children have been walked.
    fn leave(&mut self, _expr: &mut Expr, _scope: &Scope) {}
    /// A `let`, before its parts are walked. Says what is known of the names it binds.
    fn local(&mut self, _local: &mut Local, _scope: &Scope) -> Binding {
        Binding::Unknown
    }
    /// The annotation of a `let`, a closure parameter or a closure's result.
    fn annotation(&mut self, _ty: &mut Type) {}
    /// A pattern, before its parts are walked.
    fn pattern(&mut self, _pat: &mut Pat) {}
    fn enter_block(&mut self, _block: &mut Block, _scope: &Scope) {}
    fn leave_block(&mut self, _block: &mut Block, _scope: &Scope) {}
}

/// What a pass knows of a bound name.
#[derive(Clone, Copy, PartialEq)]
pub enum Binding {
    /// A plain float: a constant that is never assigned.
    Plain,
    /// A traced float.
    Traced,
    Unknown,
}

/// The names bound by patterns around a point of the body.
#[derive(Default)]
pub struct Scope {
    frames: Vec<HashMap<String, Bound>>,
}

#[derive(Clone, Copy)]
struct Bound {
    binding: Binding,
    /// Declared `mut`, with a value.
    mutable: bool,
}

impl Scope {
    /// Whether a parameter, `let` or other pattern binds the name.
    pub fn binds(&self, name: &Ident) -> bool {
        self.frames.iter().any(|frame| frame.contains_key(&name.to_string()))
    }

    /// What is known of the name.
    pub fn binding(&self, name: &Ident) -> Binding {
        let name = name.to_string();
        let found = self.frames.iter().rev().find_map(|frame| frame.get(&name));
        found.map_or(Binding::Unknown, |bound| bound.binding)
    }

    /// Whether the name is that of a variable that may be changed and has a value from the start.
    pub fn is_mutable(&self, name: &Ident) -> bool {
        let name = name.to_string();
        self.frames.iter().rev().find_map(|frame| frame.get(&name)).is_some_and(|bound| bound.mutable)
    }

    fn bind(&mut self, pat: &Pat, binding: Binding) {
        self.declare(pat, binding, true);
    }

    fn declare(&mut self, pat: &Pat, binding: Binding, has_value: bool) {
        let mut names = Vec::new();
        collect_names(pat, &mut names);
        let frame = self.frames.last_mut().expect("a scope is open while a body is walked");
        let bound = |mutable| Bound { binding, mutable: mutable && has_value };
        frame.extend(names.into_iter().map(|(name, mutable)| (name, bound(mutable))));
    }
}

/// Walks the body of a function with these parameters.
pub fn walk(pass: &mut impl Pass, params: &[Param], body: &mut Block) {
    let mut walker = Walker { pass, scope: Scope::default() };
    walker.nested(|walker| {
        for param in params {
            let scalar = ast::scalar(&param.ty).is_some();
            let binding = if scalar { Binding::Traced } else { Binding::Unknown };
            walker.scope.bind(&param.pat, binding);
        }
        walker.visit_block_mut(body);
    });
}

struct Walker<'p, P> {
    pass: &'p mut P,
    scope: Scope,
}

impl<P: Pass> Walker<'_, P> {
    fn nested(&mut self, inside: impl FnOnce(&mut Self)) {
        self.scope.frames.push(HashMap::new());
        inside(self);
        self.scope.frames.pop();
    }

    fn children(&mut self, expr: &mut Expr) {
        match expr {
            Expr::If(expr) => {
                self.nested(|walker| {
                    walker.visit_expr_mut(&mut expr.cond);
                    walker.visit_block_mut(&mut expr.then_branch);
                });
                if let Some((_, branch)) = &mut expr.else_branch {
                    self.visit_expr_mut(branch);
                }
            }
            Expr::While(expr) => self.nested(|walker| {
                walker.visit_expr_mut(&mut expr.cond);
                walker.visit_block_mut(&mut expr.body);
            }),
            Expr::ForLoop(expr) => {
                self.visit_expr_mut(&mut expr.expr);
                self.nested(|walker| {
                    walker.visit_pat_mut(&mut expr.pat);
                    walker.scope.bind(&expr.pat, Binding::Unknown);
                    walker.visit_block_mut(&mut expr.body);
                });
            }
            Expr::Match(expr) => {
                self.visit_expr_mut(&mut expr.expr);
                for arm in &mut expr.arms {
                    self.nested(|walker| {
                        walker.scope.bind(&arm.pat, Binding::Unknown);
                        walker.visit_pat_mut(&mut arm.pat);
                        walker.visit_expr_mut(&mut arm.body);
                    });
                }
            }
            Expr::Let(expr) => {
                self.visit_expr_mut(&mut expr.expr);
                self.visit_pat_mut(&mut expr.pat);
                self.scope.bind(&expr.pat, Binding::Unknown);
            }
            Expr::Closure(expr) => self.nested(|walker| {
                for pat in &mut expr.inputs {
                    walker.visit_pat_mut(pat);
                    walker.scope.bind(pat, Binding::Unknown);
                }
                if let syn::ReturnType::Type(_, ty) = &mut expr.output {
                    walker.pass.annotation(ty);
                }
                walker.visit_expr_mut(&mut expr.body);
            }),
            // The length is a constant of the type system: it stays as it is.
            Expr::Repeat(expr) => self.visit_expr_mut(&mut expr.expr),
            Expr::Const(_) => {}
            Expr::Macro(expr) => self.visit_macro_mut(&mut expr.mac),
            expr => visit_mut::visit_expr_mut(self, expr),
        }
    }
}

impl<P: Pass> VisitMut for Walker<'_, P> {
    fn visit_block_mut(&mut self, block: &mut Block) {
        self.nested(|walker| {
            walker.pass.enter_block(block, &walker.scope);
            for stmt in &mut block.stmts {
                walker.visit_stmt_mut(stmt);
            }
            walker.pass.leave_block(block, &walker.scope);
        });
    }

    fn visit_stmt_mut(&mut self, stmt: &mut Stmt) {
        match stmt {
            Stmt::Item(_) => {}
            Stmt::Local(local) => self.visit_local_mut(local),
            Stmt::Expr(expr, _) => self.visit_expr_mut(expr),
            Stmt::Macro(stmt) => self.visit_macro_mut(&mut stmt.mac),
        }
    }

    fn visit_local_mut(&mut self, local: &mut Local) {
        let binding = self.pass.local(local, &self.scope);
        if let Some(init) = &mut local.init {
            self.visit_expr_mut(&mut init.expr);
            if let Some((_, diverge)) = &mut init.diverge {
                self.visit_expr_mut(diverge);
            }
        }
        self.visit_pat_mut(&mut local.pat);
        self.scope.declare(&local.pat, binding, local.init.is_some());
    }

    fn visit_expr_mut(&mut self, expr: &mut Expr) {
        self.pass.enter(expr, &self.scope);
        self.children(expr);
        self.pass.leave(expr, &self.scope);
    }

    fn visit_pat_mut(&mut self, pat: &mut Pat) {
        self.pass.pattern(pat);
        visit_mut::visit_pat_mut(self, pat);
        if let Pat::Type(pat) = pat {
            self.pass.annotation(&mut pat.ty);
        }
    }

    fn visit_macro_mut(&mut self, mac: &mut syn::Macro) {
        macros::each_expr(mac, |expr| self.visit_expr_mut(expr));
    }

    // What types and generic arguments hold is constant.
    fn visit_type_mut(&mut self, _: &mut Type) {}
    fn visit_path_arguments_mut(&mut self, _: &mut syn::PathArguments) {}
    fn visit_angle_bracketed_generic_arguments_mut(&mut self, _: &mut syn::AngleBracketedGenericArguments) {}
}

/// The names that a pattern binds, each with whether it is `mut`.
pub fn collect_names(pat: &Pat, names: &mut Vec<(String, bool)>) {
    struct Names<'n>(&'n mut Vec<(String, bool)>);
    impl<'ast> syn::visit::Visit<'ast> for Names<'_> {
        fn visit_pat_ident(&mut self, pat: &'ast syn::PatIdent) {
            self.0.push((pat.ident.to_string(), pat.mutability.is_some()));
            if let Some((_, pat)) = &pat.subpat {
                self.visit_pat(pat);
            }
        }
        fn visit_expr(&mut self, _: &'ast Expr) {}
    }
    syn::visit::Visit::visit_pat(&mut Names(names), pat);
}
