//! Turns float literals into traced constants where a traced value will take their place.
//!
//! `let mut s = 0.0;` becomes `let mut s = literal(0.0);`: a later `s = s + x` then type-checks. The
//! same holds for what is assigned, returned, the value of a branch, or the receiver of a method.
//! Everywhere else literals stay plain, since the mixed operators exist: `2.0 * x`.
//!
//! Invariant: an expression is wrapped in `literal` only when its spelling shows that it is a plain
//! float; a value of unknown origin is wrapped in `lift` (which takes plain and traced alike), and
//! only where the text declares a float or another branch or element is a float literal.

use proc_macro2::Span;
use quote::quote_spanned;
use syn::spanned::Spanned;
use syn::{
    BinOp, Block, Expr, ExprPath, Ident, Lit, Local, Member, Pat, ReturnType, Stmt, Type, UnOp, parse_quote_spanned,
};

use super::scope::{Binding, Pass, Scope};
use super::{arrays, macros};
use crate::ast;

/// Methods of std's containers and iterators whose argument becomes an element.
const ELEMENT_METHODS: [&str; 17] = [
    "fold",
    "rfold",
    "try_fold",
    "scan",
    "push",
    "push_back",
    "push_front",
    "insert",
    "resize",
    "fill",
    "unwrap_or",
    "map_or",
    "get_or_insert",
    "replace",
    "contains",
    "or_insert",
    "chain",
];

/// Methods whose result type is decided by what it is assigned to.
const INFERRED_METHODS: [&str; 7] = ["sum", "product", "into", "parse", "collect", "unwrap_or_default", "try_into"];

/// The unqualified constants of `std::f64::consts`.
const CONSTANTS: [&str; 8] = ["PI", "TAU", "SQRT_2", "LN_2", "LN_10", "LOG2_E", "LOG10_E", "EPSILON"];

pub struct Literals<'f> {
    /// The function's only float type, when it is known.
    pub float: Option<&'static str>,
    /// The declared result of the function.
    pub ret: Option<&'f Type>,
    /// The declared results of the closures around the current expression.
    pub closures: Vec<Option<Type>>,
    /// The names of the signature's structs, whose fields are traced.
    pub structs: &'f dyn Fn(&syn::Path) -> bool,
    /// How many blocks are open; the outermost is the body.
    pub depth: usize,
}

/// What a spelling tells about an expression's value.
#[derive(PartialEq)]
enum Kind {
    /// A plain float.
    Float,
    /// A constant of unknown type, such as `WIDTH`.
    Constant,
    Unknown,
}

impl Pass for Literals<'_> {
    fn enter(&mut self, expr: &mut Expr, scope: &Scope) {
        match expr {
            Expr::Assign(expr) => {
                let traced = match &*expr.left {
                    Expr::Path(path) => path.path.get_ident(),
                    _ => None,
                };
                let traced = traced.filter(|name| scope.binding(name) == Binding::Traced);
                let ty = traced.map(|_| self.scalar());
                self.value(&mut expr.right, ty.as_ref(), scope);
            }
            Expr::Return(expr) => {
                let ty = match self.closures.last() {
                    Some(ty) => ty.clone(),
                    None => self.ret.cloned(),
                };
                if let Some(value) = &mut expr.expr {
                    self.value(value, ty.as_ref(), scope);
                }
            }
            Expr::Break(expr) => {
                if let Some(value) = &mut expr.expr {
                    self.value(value, None, scope);
                }
            }
            Expr::MethodCall(call) => {
                if kind(&call.receiver, scope) == Kind::Float {
                    self.literal(&mut call.receiver);
                }
                if ELEMENT_METHODS.iter().any(|name| call.method == name) {
                    call.args.iter_mut().for_each(|arg| self.value(arg, None, scope));
                }
            }
            Expr::If(_) | Expr::Match(_) if any_tail(expr, &|tail| kind(tail, scope) == Kind::Float) => {
                let ty = self.scalar();
                self.value(expr, Some(&ty), scope);
            }
            Expr::Array(array) => {
                let floats = array.elems.iter().filter(|e| kind(e, scope) == Kind::Float).count();
                if floats > 0 && floats < array.elems.len() {
                    let ty = self.scalar();
                    array.elems.iter_mut().for_each(|e| self.value(e, Some(&ty), scope));
                }
            }
            Expr::Struct(literal) if (self.structs)(&literal.path) => {
                for field in &mut literal.fields {
                    field.colon_token.get_or_insert_default();
                    self.value(&mut field.expr, None, scope);
                }
            }
            Expr::Call(call) => {
                if arrays::takes_elements(&call.func) {
                    call.args.iter_mut().for_each(|arg| self.value(arg, None, scope));
                }
                // A closure bound by `let` takes traced values, like a struct's constructor.
                if let Expr::Path(func) = &*call.func
                    && ((self.structs)(&func.path) || func.path.get_ident().is_some_and(|name| scope.binds(name)))
                {
                    call.args.iter_mut().for_each(|arg| self.value(arg, None, scope));
                }
            }
            Expr::Closure(closure) => {
                let ty = match &closure.output {
                    ReturnType::Type(_, ty) => Some((**ty).clone()),
                    ReturnType::Default => None,
                };
                self.value(&mut closure.body, ty.as_ref(), scope);
                self.closures.push(ty);
            }
            _ => {}
        }
    }

    fn enter_block(&mut self, _: &mut Block, _: &Scope) {
        self.depth += 1;
    }

    fn leave_block(&mut self, block: &mut Block, scope: &Scope) {
        self.depth -= 1;
        if self.depth == 0 {
            let ret = self.ret.cloned();
            self.block(block, ret.as_ref(), scope);
        }
    }

    fn leave(&mut self, expr: &mut Expr, _: &Scope) {
        if let Expr::Closure(_) = expr {
            self.closures.pop();
        }
    }

    fn local(&mut self, local: &mut Local, scope: &Scope) -> Binding {
        let annotation = match &local.pat {
            Pat::Type(pat) => Some(&*pat.ty),
            _ => None,
        };
        let single = matches!(local.pat, Pat::Ident(_) | Pat::Type(_));
        let plain = |init: &syn::LocalInit| kind(&init.expr, scope) == Kind::Float;
        let float = single && local.init.as_ref().is_some_and(plain);
        let traced = annotation.is_some() || binds_mut(&local.pat);
        if let Some(init) = local.init.as_mut().filter(|_| traced) {
            self.value(&mut init.expr, annotation, scope);
        }
        match annotation {
            Some(ty) if ast::scalar(ty).is_some() => Binding::Traced,
            None if float && traced => Binding::Traced,
            None if float => Binding::Plain,
            _ => Binding::Unknown,
        }
    }
}

impl Literals<'_> {
    /// Lifts an expression whose place takes a traced value, declared as `ty` if that is known.
    fn value(&mut self, expr: &mut Expr, ty: Option<&Type>, scope: &Scope) {
        if kind(expr, scope) == Kind::Float && ty.is_none_or(takes_float) {
            return self.literal(expr);
        }
        match expr {
            Expr::Paren(expr) => self.value(&mut expr.expr, ty, scope),
            Expr::Group(expr) => self.value(&mut expr.expr, ty, scope),
            Expr::Block(expr) => self.block(&mut expr.block, ty, scope),
            Expr::Unsafe(expr) => self.block(&mut expr.block, ty, scope),
            Expr::If(expr) => {
                self.block(&mut expr.then_branch, ty, scope);
                if let Some((_, branch)) = &mut expr.else_branch {
                    self.value(branch, ty, scope);
                }
            }
            Expr::Match(expr) => {
                expr.arms.iter_mut().for_each(|arm| self.value(&mut arm.body, ty, scope));
            }
            Expr::Tuple(expr) => {
                for (index, elem) in expr.elems.iter_mut().enumerate() {
                    self.value(elem, element(ty, index), scope);
                }
            }
            Expr::Array(expr) => {
                expr.elems.iter_mut().for_each(|elem| self.value(elem, element(ty, 0), scope));
            }
            Expr::Repeat(expr) => self.value(&mut expr.expr, element(ty, 0), scope),
            Expr::Reference(expr) => self.value(&mut expr.expr, element(ty, 0), scope),
            Expr::Macro(expr) => {
                macros::each_element(&mut expr.mac, |e| self.value(e, element(ty, 0), scope));
            }
            Expr::Call(expr) if is_wrapper(&expr.func) => {
                expr.args.iter_mut().for_each(|arg| self.value(arg, element(ty, 0), scope));
            }
            expr if is_liftable(expr) => match ty.map(ast::ungroup) {
                Some(Type::Infer(_)) => self.wrap(expr, "lift", None),
                Some(ty) if ast::scalar(ty).is_some() => self.wrap(expr, "lift", ast::scalar(ty)),
                _ => {}
            },
            _ => {}
        }
    }

    fn block(&mut self, block: &mut Block, ty: Option<&Type>, scope: &Scope) {
        match block.stmts.last_mut() {
            Some(Stmt::Expr(expr, None)) => self.value(expr, ty, scope),
            Some(Stmt::Macro(stmt)) if stmt.semi_token.is_none() => {
                macros::each_element(&mut stmt.mac, |e| self.value(e, element(ty, 0), scope));
            }
            _ => {}
        }
    }

    fn literal(&self, expr: &mut Expr) {
        self.wrap(expr, "literal", self.float);
    }

    fn wrap(&self, expr: &mut Expr, function: &str, float: Option<&str>) {
        while let Expr::Paren(inner) = expr {
            *expr = (*inner.expr).clone();
        }
        let span = expr.span();
        let function = Ident::new(function, span);
        // One type parameter for `literal`, two for `lift`.
        let generics = float.map(|float| {
            let float = Ident::new(float, Span::call_site());
            if function == "lift" { quote_spanned!(span=> ::<#float, _>) } else { quote_spanned!(span=> ::<#float>) }
        });
        *expr = parse_quote_spanned!(span=> ::autograd::__private::#function #generics (#expr));
    }

    /// The function's float type, or `_` when it is not known.
    fn scalar(&self) -> Type {
        match self.float.map(|float| Ident::new(float, Span::call_site())) {
            Some(float) => syn::parse_quote!(#float),
            None => syn::parse_quote!(_),
        }
    }
}

/// Whether a place declared as `ty` may hold a bare float.
fn takes_float(ty: &Type) -> bool {
    ast::scalar(ty).is_some() || matches!(ast::ungroup(ty), Type::Infer(_) | Type::Path(_))
}

/// The declared type of the `index`th element of a tuple, or of any element of a container.
fn element(ty: Option<&Type>, index: usize) -> Option<&Type> {
    match ast::ungroup(ty?) {
        Type::Tuple(ty) => ty.elems.iter().nth(index),
        Type::Array(ty) => Some(&ty.elem),
        Type::Slice(ty) => Some(&ty.elem),
        Type::Reference(ty) => Some(&ty.elem),
        Type::Path(ty) => match ty.path.segments.last()?.ident.to_string().as_str() {
            "Vec" | "Option" | "Result" | "Box" => ast::first_argument(ty),
            _ => None,
        },
        _ => None,
    }
}

fn is_wrapper(func: &Expr) -> bool {
    let Expr::Path(path) = func else { return false };
    let segments: Vec<_> = path.path.segments.iter().map(|s| s.ident.to_string()).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    matches!(segments[..], [.., "Some" | "Ok"] | [.., "Box", "new"])
}

fn binds_mut(pat: &Pat) -> bool {
    struct Found(bool);
    impl<'ast> syn::visit::Visit<'ast> for Found {
        fn visit_pat_ident(&mut self, pat: &'ast syn::PatIdent) {
            self.0 |= pat.mutability.is_some();
        }
    }
    let mut found = Found(false);
    syn::visit::Visit::visit_pat(&mut found, pat);
    found.0
}

/// Whether some value that the branches of `expr` end with satisfies `test`.
fn any_tail(expr: &Expr, test: &dyn Fn(&Expr) -> bool) -> bool {
    let block = |block: &Block| match block.stmts.last() {
        Some(Stmt::Expr(expr, None)) => any_tail(expr, test),
        _ => false,
    };
    match expr {
        Expr::If(expr) => {
            let Some((_, branch)) = &expr.else_branch else { return false };
            block(&expr.then_branch) || any_tail(branch, test)
        }
        Expr::Match(expr) => expr.arms.iter().any(|arm| any_tail(&arm.body, test)),
        Expr::Block(expr) => block(&expr.block),
        expr => test(expr),
    }
}

/// Whether `lift(expr)` leaves nothing to infer from the outside and `expr` is a value.
fn is_liftable(expr: &Expr) -> bool {
    match expr {
        Expr::Path(_) | Expr::Field(_) | Expr::Index(_) => true,
        Expr::Binary(expr) => {
            matches!(expr.op, BinOp::Add(_) | BinOp::Sub(_) | BinOp::Mul(_) | BinOp::Div(_) | BinOp::Rem(_))
        }
        Expr::Unary(expr) => !matches!(expr.op, UnOp::Not(_)) && is_liftable(&expr.expr),
        Expr::Paren(expr) => is_liftable(&expr.expr),
        Expr::Try(expr) => is_liftable(&expr.expr),
        Expr::MethodCall(expr) => {
            let inferred = INFERRED_METHODS.iter().any(|name| expr.method == name);
            let passes_on = expr.method == "unwrap" || expr.method == "expect";
            !inferred && (!passes_on || is_liftable(&expr.receiver))
        }
        Expr::Call(expr) => match &*expr.func {
            Expr::Path(path) => path.path.segments.last().is_some_and(|s| s.ident != "default"),
            _ => false,
        },
        _ => false,
    }
}

fn kind(expr: &Expr, scope: &Scope) -> Kind {
    match expr {
        Expr::Lit(expr) if matches!(expr.lit, Lit::Float(_)) => Kind::Float,
        Expr::Lit(expr) => match &expr.lit {
            Lit::Int(int) if matches!(int.suffix(), "f32" | "f64") => Kind::Float,
            _ => Kind::Unknown,
        },
        Expr::Paren(expr) => kind(&expr.expr, scope),
        Expr::Group(expr) => kind(&expr.expr, scope),
        Expr::Unary(expr) if matches!(expr.op, UnOp::Neg(_)) => kind(&expr.expr, scope),
        Expr::Binary(expr) => {
            let arithmetic =
                matches!(expr.op, BinOp::Add(_) | BinOp::Sub(_) | BinOp::Mul(_) | BinOp::Div(_) | BinOp::Rem(_));
            match (kind(&expr.left, scope), kind(&expr.right, scope)) {
                _ if !arithmetic => Kind::Unknown,
                (Kind::Unknown, _) | (_, Kind::Unknown) => Kind::Unknown,
                (Kind::Constant, Kind::Constant) => Kind::Constant,
                _ => Kind::Float,
            }
        }
        Expr::Path(path) if path.qself.is_none() => path_kind(path, scope),
        Expr::Cast(expr) if ast::scalar(&expr.ty).is_some() && is_number(&expr.expr) => Kind::Float,
        _ => Kind::Unknown,
    }
}

fn path_kind(path: &ExprPath, scope: &Scope) -> Kind {
    let names: Vec<_> = path.path.segments.iter().map(|s| &s.ident).collect();
    let Some(last) = names.last().map(|name| name.to_string()) else { return Kind::Unknown };
    let shouts = last.starts_with(|c: char| c.is_ascii_uppercase()) && last.chars().all(|c| !c.is_ascii_lowercase());
    match &names[..] {
        [name] if scope.binding(name) == Binding::Plain => Kind::Float,
        [name] if scope.binds(name) => Kind::Unknown,
        [.., module, _] if shouts && (*module == "f64" || *module == "f32") => float_member(&last),
        [.., module, _] if shouts && *module == "consts" => Kind::Float,
        _ if CONSTANTS.contains(&last.as_str()) || last.starts_with("FRAC_") => Kind::Float,
        _ if shouts => Kind::Constant,
        _ => Kind::Unknown,
    }
}

/// The kind of `f64::NAME`: `DIGITS` and the like are integers.
fn float_member(name: &str) -> Kind {
    match name {
        "DIGITS" | "RADIX" | "MANTISSA_DIGITS" | "MAX_EXP" | "MIN_EXP" | "MAX_10_EXP" | "MIN_10_EXP" => Kind::Unknown,
        _ => Kind::Float,
    }
}

/// Whether the expression is a number written out, so that a cast of it is a constant.
pub fn is_number(expr: &Expr) -> bool {
    match expr {
        Expr::Lit(expr) => matches!(expr.lit, Lit::Int(_) | Lit::Float(_)),
        Expr::Paren(expr) => is_number(&expr.expr),
        Expr::Unary(expr) => is_number(&expr.expr),
        Expr::Binary(expr) => is_number(&expr.left) && is_number(&expr.right),
        _ => false,
    }
}

/// The member of the `index`th field of a tuple struct.
pub fn unnamed(index: usize) -> Member {
    Member::from(index)
}
