//! Turns ndarray's names into those of the twin's arrays: `Array1::zeros(n)` into `arrays::Array1::zeros(n)`, the type
//! `Array2<f64>` into `arrays::Array2<Real<f64>>`, `array![a, b]` into `arrays::array([a, b])`.
//!
//! Where a body only reads elements and lengths of its parameters, they become lists and tables, as slices do.
//!
//! Invariant: runs before the pass for literals, which sees the elements of `array!` as those of an array.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{Block, Expr, Ident, Pat, Path, Stmt, Type, parse_quote, parse_quote_spanned};

use super::macros;
use super::scope::{Pass, Scope};
use crate::ast::{self, Form, Function, Param, Role};

/// Functions of ndarray that make arrays of elements.
const FUNCTIONS: [&str; 3] = ["arr0", "arr1", "arr2"];
/// Associated functions whose arguments hold elements.
const OF_ELEMENTS: [&str; 4] = ["from_elem", "from_vec", "from_shape_vec", "from"];

pub struct Arrays;

impl Pass for Arrays {
    fn enter(&mut self, expr: &mut Expr, scope: &Scope) {
        match expr {
            Expr::Macro(mac) if macros::is(&mac.mac, "array") => {
                let (elements, span) = (&mac.mac.tokens, mac.span());
                *expr = parse_quote_spanned!(span=> ::autograd::__private::arrays::array([#elements]));
            }
            Expr::Path(path) if path.qself.is_none() => {
                let last = path.path.segments.len() - 1;
                let function = &path.path.segments[last].ident;
                let free = FUNCTIONS.iter().any(|name| function == name) && !(last == 0 && scope.binds(function));
                if free {
                    renamed(&mut path.path, last);
                } else if last > 0 && is_name(&path.path.segments[last - 1].ident) {
                    renamed(&mut path.path, last - 1);
                }
            }
            _ => {}
        }
    }

    fn enter_block(&mut self, block: &mut Block, _: &Scope) {
        for stmt in &mut block.stmts {
            if let Stmt::Macro(made) = stmt
                && made.semi_token.is_none()
                && macros::is(&made.mac, "array")
            {
                let mac = &made.mac;
                *stmt = Stmt::Expr(parse_quote!(#mac), None);
            }
        }
    }
}

/// The path as one of the twin's arrays, from the segment at `at` on.
pub fn renamed(path: &mut Path, at: usize) {
    let span = path.span();
    let rest = path.segments.iter().skip(at);
    let rest: TokenStream = quote!(#(#rest)::*);
    *path = syn::parse2(quote_spanned!(span=> ::autograd::__private::arrays::#rest)).expect("a path of a path's parts");
}

/// Whether this is ndarray's name of a type of arrays.
pub fn is_name(name: &Ident) -> bool {
    let name = name.to_string();
    let rank = name.trim_start_matches("ArrayView").trim_start_matches("Array");
    rank != name && (rank.is_empty() || rank == "D" || rank.parse::<u8>().is_ok())
}

/// Whether the arguments of a call of this function are elements of an array, or hold some.
pub fn takes_elements(func: &Expr) -> bool {
    let Expr::Path(path) = func else { return false };
    let names: Vec<String> = path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
    match &names.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [.., "arrays", _, function] => OF_ELEMENTS.contains(function),
        [.., "arrays", function] => *function == "array" || FUNCTIONS.contains(function),
        // nalgebra's `Vector3::new`, `Matrix2x3::new`
        [.., name, "new"] if cfg!(feature = "nalgebra") => {
            let size = ["Vector", "RowVector", "Matrix"].iter().find_map(|kind| name.strip_prefix(kind));
            size.is_some_and(|size| size.starts_with(|c: char| c.is_ascii_digit()))
        }
        _ => false,
    }
}

/// Makes lists of vectors and tables of matrices, if all that a body does with its arrays is to read elements and lengths:
/// `a[[i, j]]` becomes `a[i][j]`, `a.ncols()` the columns of a table.
pub fn index(function: &mut Function, body: &mut Block) {
    let rank = |param: &Param| match ast::ungroup(&param.inner) {
        Type::Path(ty) => ty.path.segments.last().map(|last| last.ident.clone()).filter(is_name),
        _ => None,
    };
    let arrays: Vec<(usize, Ident)> =
        function.params.iter().enumerate().filter_map(|(at, param)| Some((at, rank(param)?))).collect();
    let tensor = |param: &Param| quote::ToTokens::to_token_stream(&param.ty).to_string().contains("Tensor");
    if arrays.is_empty() || function.params.iter().any(tensor) {
        return;
    }
    let (mut indexed, mut forms) = (body.clone(), Vec::new());
    for (at, ty) in &arrays {
        let param = &function.params[*at];
        let Pat::Ident(pat) = &param.pat else { return };
        let matrix = match ty.to_string().trim_start_matches("ArrayView").trim_start_matches("Array") {
            "1" => false,
            "2" => true,
            _ => return,
        };
        let float = matches!(ast::ungroup(&param.inner), Type::Path(ty) if ast::first_argument(ty).is_some_and(|ty| ast::scalar(ty).is_some()));
        if !float || param.role != Role::Differentiable || pat.mutability.is_some() || pat.by_ref.is_some() {
            return;
        }
        let mut pass = Index { name: &pat.ident, matrix, understood: true, needed: false };
        pass.visit_block_mut(&mut indexed);
        if !pass.understood || !pass.needed {
            return;
        }
        forms.push((*at, matrix));
    }
    for (at, matrix) in forms {
        function.params[at].indexed = Some(if matrix { Form::Table } else { Form::List });
    }
    *body = indexed;
}

/// Rewrites the uses of one array.
struct Index<'n> {
    name: &'n Ident,
    matrix: bool,
    /// Whether each is one of an element or a length.
    understood: bool,
    /// Whether an element is read.
    needed: bool,
}

impl Index<'_> {
    fn is(&self, e: &Expr) -> bool {
        matches!(e, Expr::Path(path) if path.path.is_ident(self.name))
    }

    /// What a length of the array becomes.
    fn length(&self, axis: usize) -> Expr {
        let name = self.name;
        if axis == 0 { parse_quote!(#name.len()) } else { parse_quote!(#name.cols()) }
    }

    /// What an expression of the array becomes; `None` if it is not understood.
    fn rewritten(&mut self, e: &mut Expr) -> Option<Expr> {
        let name = self.name.clone();
        let axes = if self.matrix { 2 } else { 1 };
        match e {
            Expr::Index(index) if self.is(&index.expr) => {
                let at: Vec<Expr> = match &*index.index {
                    Expr::Array(at) if at.elems.len() == axes => at.elems.iter().cloned().collect(),
                    Expr::Tuple(at) if at.elems.len() == axes => at.elems.iter().cloned().collect(),
                    Expr::Array(_) | Expr::Tuple(_) | Expr::Range(_) => return None,
                    at if !self.matrix => vec![at.clone()],
                    _ => return None,
                };
                self.needed = true;
                Some(match &at[..] {
                    [i, j] => parse_quote!(#name[#i][#j]),
                    at => parse_quote!(#name[#(#at)*]),
                })
            }
            // `a.shape()[k]`
            Expr::Index(index) => {
                let Expr::MethodCall(call) = &*index.expr else { return None };
                let Expr::Lit(axis) = &*index.index else { return None };
                let syn::Lit::Int(axis) = &axis.lit else { return None };
                let axis = axis.base10_parse::<usize>().ok().filter(|&axis| axis < axes)?;
                (self.is(&call.receiver) && call.method == "shape").then(|| self.length(axis))
            }
            Expr::MethodCall(call) if self.is(&call.receiver) && call.args.is_empty() => {
                match (call.method.to_string().as_str(), self.matrix) {
                    ("len", false) | ("nrows", true) => Some(self.length(0)),
                    ("dim", false) => Some(self.length(0)),
                    ("ncols", true) => Some(self.length(1)),
                    ("dim", true) => {
                        let (rows, cols) = (self.length(0), self.length(1));
                        Some(parse_quote!((#rows, #cols)))
                    }
                    ("iter", false) => {
                        self.needed = true;
                        Some(parse_quote!(#name.iter()))
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

impl VisitMut for Index<'_> {
    fn visit_expr_mut(&mut self, e: &mut Expr) {
        if let Some(mut with) = self.rewritten(e) {
            // what is left to look at are the indices
            let mut place = &mut with;
            while let Expr::Index(index) = place {
                self.visit_expr_mut(&mut index.index);
                place = &mut index.expr;
            }
            *e = with;
            return;
        }
        self.understood &= !self.is(e);
        // arrays of the body's own stand for whole tensors
        let own = |path: &syn::ExprPath| path.path.segments.iter().any(|segment| segment.ident == "arrays");
        self.understood &= !matches!(e, Expr::Path(path) if own(path));
        visit_mut::visit_expr_mut(self, e);
    }

    fn visit_pat_ident_mut(&mut self, pat: &mut syn::PatIdent) {
        self.understood &= pat.ident != *self.name;
    }

    fn visit_macro_mut(&mut self, mac: &mut syn::Macro) {
        let name = self.name.to_string();
        self.understood &= !super::integers::mentions(&mac.tokens, &name);
    }
}
