//! Turns `(a..b).contains(&x)` into `a <= x && x < b`, which passes take for what it is.
//!
//! Invariant: what may do something besides giving a value stays as it is.

use syn::spanned::Spanned;
use syn::{Expr, RangeLimits, parse_quote_spanned};

use super::asserts::is_plain;
use super::scope::{Pass, Scope};

pub struct Ranges;

impl Pass for Ranges {
    fn enter(&mut self, expr: &mut Expr, _: &Scope) {
        if let Some(compared) = compared(expr) {
            *expr = compared;
        }
    }
}

fn compared(e: &Expr) -> Option<Expr> {
    let Expr::MethodCall(call) = e else { return None };
    let (Expr::Paren(receiver), Some(Expr::Reference(x)), true) =
        (&*call.receiver, call.args.first(), call.method == "contains")
    else {
        return None;
    };
    let (Expr::Range(range), None) = (&*receiver.expr, x.mutability) else { return None };
    let (x, span) = (operand(&x.expr), call.span());
    let [start, end] = [&range.start, &range.end].map(|end| end.as_ref().map(|end| operand(end)));
    let plain = [Some(&x), start.as_ref(), end.as_ref()].into_iter().flatten().all(is_plain);
    let from = start.map(|a| -> Expr { parse_quote_spanned!(span=> #a <= #x) });
    let to = end.map(|b| -> Expr {
        match range.limits {
            RangeLimits::HalfOpen(_) => parse_quote_spanned!(span=> #x < #b),
            RangeLimits::Closed(_) => parse_quote_spanned!(span=> #x <= #b),
        }
    });
    let inside: Expr = match (plain, from, to) {
        (true, Some(from), Some(to)) => parse_quote_spanned!(span=> #from && #to),
        (true, Some(one), None) | (true, None, Some(one)) => one,
        _ => return None,
    };
    Some(parse_quote_spanned!(span=> (#inside)))
}

/// The expression, in brackets where an operator might tear it apart.
fn operand(e: &Expr) -> Expr {
    match e {
        Expr::Path(_) | Expr::Lit(_) | Expr::Field(_) | Expr::Index(_) | Expr::MethodCall(_) | Expr::Paren(_) => {
            e.clone()
        }
        e => parse_quote_spanned!(e.span()=> (#e)),
    }
}
