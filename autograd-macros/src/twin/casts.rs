//! Turns the spellings of plain numbers into those of traced ones: `n as f64` into
//! `cast::<f64, _>(n)`, `f64::max(a, b)` into `<Real<f64>>::max(lift(a), b)`, `.sum::<f64>()` into
//! `.sum::<Real<f64>>()`, and `t.item()` into `t.__item()`, which is traced.
//!
//! Invariant: constants (`f64::EPSILON`, `2 as f64`) stay plain.

use quote::quote_spanned;
use syn::spanned::Spanned;
use syn::{Expr, ExprPath, GenericArgument, Ident, Type, parse_quote_spanned};

use super::literals::is_number;
use super::scope::{Pass, Scope};
use super::types::Types;
use crate::ast;

/// Associated functions of the float types that take something other than a float first.
const CONSTRUCTORS: [&str; 6] = ["from", "from_bits", "from_str", "default", "from_le_bytes", "from_be_bytes"];

pub struct Casts<'t> {
    pub types: &'t Types,
}

impl Pass for Casts<'_> {
    fn leave(&mut self, expr: &mut Expr, _: &Scope) {
        match expr {
            Expr::Cast(cast) if is_numeric(&cast.ty) && !is_number(&cast.expr) => {
                let (operand, ty, span) = (&cast.expr, &cast.ty, cast.span());
                *expr = parse_quote_spanned!(span=>
                    ::autograd::__private::cast::<#ty, _>(#operand));
            }
            Expr::Call(call) => {
                let Expr::Path(path) = &*call.func else { return };
                // The children were walked first: the path is already that of `Real`.
                let Some((float, name)) = traced_member(path) else { return };
                if let Some(first) = call.args.first_mut()
                    && !CONSTRUCTORS.iter().any(|constructor| name == constructor)
                {
                    let span = first.span();
                    *first = parse_quote_spanned!(span=>
                        ::autograd::__private::lift::<#float, _>(#first));
                }
            }
            Expr::Path(path) => {
                if let Some((float, name)) = plain_member(path) {
                    let span = path.span();
                    let real = quote_spanned!(span=> ::autograd::__private::Real<#float>);
                    *expr = parse_quote_spanned!(span=> <#real>::#name);
                }
            }
            Expr::MethodCall(call) if call.method == "item" && call.args.is_empty() => {
                call.method = Ident::new("__item", call.method.span());
            }
            Expr::MethodCall(call) => {
                let named = ["sum", "product", "collect"].iter().any(|name| call.method == name);
                if let Some(turbofish) = call.turbofish.as_mut().filter(|_| named) {
                    for argument in &mut turbofish.args {
                        if let GenericArgument::Type(ty) = argument {
                            self.types.rewrite(ty);
                        }
                    }
                }
            }
            _ => {}
        }
    }
}

fn is_numeric(ty: &Type) -> bool {
    let Type::Path(path) = ast::ungroup(ty) else { return false };
    let integer = path.path.get_ident().is_some_and(|name| ast::is_integer(&name.to_string()));
    path.qself.is_none() && (integer || ast::scalar(ty).is_some())
}

/// `f64` and `max` of `f64::max`.
fn plain_member(path: &ExprPath) -> Option<(Ident, Ident)> {
    if path.qself.is_some() || path.path.segments.len() != 2 {
        return None;
    }
    let (float, name) = (&path.path.segments[0].ident, &path.path.segments[1].ident);
    let function = name.to_string().starts_with(|c: char| c.is_ascii_lowercase());
    let module = name == "consts";
    ((float == "f64" || float == "f32") && function && !module).then(|| (float.clone(), name.clone()))
}

/// `f64` and `max` of `<Real<f64>>::max`.
fn traced_member(path: &ExprPath) -> Option<(Type, Ident)> {
    let Type::Path(real) = ast::ungroup(&path.qself.as_ref()?.ty) else { return None };
    if real.path.segments.last()?.ident != "Real" || path.path.segments.len() != 1 {
        return None;
    }
    Some((ast::first_argument(real)?.clone(), path.path.segments[0].ident.clone()))
}
