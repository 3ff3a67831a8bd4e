//! Calls of functions: conversions, functions of integers, and others, whose arguments may be integers and lists.

use syn::spanned::Spanned;
use syn::{Expr, ExprCall, Type, parse_quote_spanned};

use super::super::{asserts, calls, truths};
use super::bindings::real;
use super::exprs::METHODS;
use super::{Integers, Kind, int, integer, number, unparenthesised, wrap};
use crate::ast;

impl Integers<'_> {
    pub(super) fn call(&mut self, call: &mut ExprCall) -> Called {
        let span = call.span();
        if self.is_looked_up(call) {
            return Called::Kind(Kind::Plain);
        }
        if truths::is_made(call) || asserts::is_made(call) {
            self.cond(&mut call.args[0]);
            return Called::Kind(Kind::Plain);
        }
        let Expr::Path(func) = &*call.func else {
            self.plain(&mut call.func);
            call.args.iter_mut().for_each(|arg| self.plain(arg));
            return Called::Kind(Kind::Plain);
        };
        if let Some(target) = cast_target(func) {
            let float = call.args.first().is_some_and(|arg| self.is_float(arg));
            let kind = call.args.first_mut().map(|arg| self.operand(arg));
            if kind != Some(Kind::Int) {
                let (Some(to), true) = (integer(&target), float) else { return Called::Kind(Kind::Plain) };
                let arg = &call.args[0];
                let with = parse_quote_spanned!(span=> ::autograd::__private::truncated::<#to, _>(#arg));
                return Called::Other(with, Kind::Int);
            }
            let arg = &call.args[0];
            return match integer(&target) {
                Some(to) => {
                    let with = parse_quote_spanned!(span=> ::autograd::__private::convert::<#to, _>(#arg));
                    Called::Other(with, Kind::Int)
                }
                None if ast::scalar(&target).is_some() => Called::Kind(Kind::Plain),
                None => {
                    self.known(&mut call.args[0]);
                    Called::Kind(Kind::Plain)
                }
            };
        }
        // what is declared to be traced
        if func.path.leading_colon.is_some()
            && func.path.segments.last().is_some_and(|last| last.ident == "lift")
            && let Some(arg) = call.args.first_mut()
        {
            self.look_up_value(arg);
        }
        // `f64::from(n)`
        if let Some(owner) = &func.qself
            && let Some(float) = real(&owner.ty)
            && func.path.is_ident("from")
            && call.args.len() == 1
        {
            if self.operand(&mut call.args[0]) == Kind::Int {
                let arg = &call.args[0];
                let with = parse_quote_spanned!(span=> ::autograd::__private::cast::<#float, _>(#arg));
                return Called::Other(with, Kind::Plain);
            }
            return Called::Kind(Kind::Plain);
        }
        if let Some(method) = integer_function(func) {
            let kinds: Vec<Kind> = call.args.iter_mut().map(|arg| self.operand(arg)).collect();
            if !kinds.contains(&Kind::Int) {
                return Called::Kind(Kind::Plain);
            }
            let mut args = call.args.iter().cloned();
            let Some(mut receiver) = args.next() else { return Called::Kind(Kind::Plain) };
            match kinds[0] {
                Kind::Number => number(&mut receiver),
                _ => int(&mut receiver),
            }
            return Called::Other(parse_quote_spanned!(span=> #receiver.#method(#(#args),*)), Kind::Int);
        }
        if is_swap(func)
            && let [Expr::Reference(a), Expr::Reference(b)] = &call.args.iter().collect::<Vec<_>>()[..]
            && let (Some(one), Some(other)) = (self.var(&a.expr), self.var(&b.expr))
        {
            let own =
                |id: usize| self.vars[id].kind == Kind::Int || self.vars[id].kind.is_list() && !self.vars[id].lent;
            if self.vars[one].kind == self.vars[other].kind && own(one) && own(other) {
                self.links.push((one, other));
                let (a, b) = (&a.expr, &b.expr);
                return Called::Other(parse_quote_spanned!(span=> (#a, #b) = (#b, #a)), Kind::Plain);
            }
        }
        let dispatched = calls::is_staged(func) || self.is_dispatched(call);
        for (index, arg) in call.args.iter_mut().enumerate() {
            if dispatched && index < calls::MAX_ARGUMENTS { self.argument(arg) } else { self.plain(arg) }
        }
        Called::Kind(Kind::Plain)
    }

    /// Whether the call is one of a function that may be annotated.
    fn is_dispatched(&self, call: &ExprCall) -> bool {
        let mutable = |arg: &Expr| matches!(arg, Expr::Reference(arg) if arg.mutability.is_some());
        let Expr::Path(func) = &*call.func else { return false };
        calls::importable(func, &|name| self.lookup(name).is_some()).is_some() && !call.args.iter().any(mutable)
    }

    /// Whether an expression that is a vector of floats is a call whose result may be had as a list.
    pub(super) fn gives_list(&self, e: &Expr) -> bool {
        match unparenthesised(e) {
            Expr::Call(call) => {
                self.is_dispatched(call) || matches!(&*call.func, Expr::Path(func) if calls::is_staged(func))
            }
            Expr::Try(e) => self.gives_list(&e.expr),
            Expr::MethodCall(call) if call.method == "unwrap" || call.method == "expect" => {
                self.gives_list(&call.receiver)
            }
            _ => false,
        }
    }

    /// That list, for the variable.
    pub(super) fn take_list(&mut self, e: &mut Expr, id: usize) {
        self.plain(e);
        self.vars[id].needed = true;
        wrap(e, "listed");
    }

    /// An argument of a function that may take an `Int` or a `List`.
    fn argument(&mut self, e: &mut Expr) {
        if let Some(id) = self.var(e) {
            self.vars[id].used = true;
            if self.vars[id].kind.is_list() && !self.vars[id].lent || self.vars[id].looked_up {
                self.reject(id);
            }
            return;
        }
        if let Expr::Reference(r) = e
            && r.mutability.is_none()
        {
            if self.place_of(&r.expr).is_some() {
                self.make_place(&mut r.expr);
                return;
            }
            if self.table_place(&r.expr).is_some() {
                self.make_table_place(&mut r.expr);
                return;
            }
        }
        if self.expr(e).is_list() {
            self.spoil(e);
        }
    }
}

/// A call as it was, or another expression in its place.
pub(super) enum Called {
    Kind(Kind),
    Other(Expr, Kind),
}

/// `T` of `::autograd::__private::cast::<T, _>`.
fn cast_target(func: &syn::ExprPath) -> Option<Type> {
    let last = func.path.segments.last().filter(|last| last.ident == "cast")?;
    func.path.leading_colon?;
    match &last.arguments {
        syn::PathArguments::AngleBracketed(to) => match to.args.first()? {
            syn::GenericArgument::Type(ty) => Some(ty.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// The method of `std::cmp::min(a, b)` or `usize::max(a, b)`.
fn integer_function(func: &syn::ExprPath) -> Option<syn::Ident> {
    let segments = &func.path.segments;
    if func.qself.is_some() || segments.len() < 2 {
        return None;
    }
    let (owner, name) = (&segments[segments.len() - 2].ident, &segments[segments.len() - 1].ident);
    let text = name.to_string();
    let order = owner == "cmp" && (text == "min" || text == "max");
    let own = segments.len() == 2 && ast::is_counter(&owner.to_string()) && METHODS.contains(&text.as_str());
    (order || own).then(|| name.clone())
}

fn is_swap(func: &syn::ExprPath) -> bool {
    let segments = &func.path.segments;
    let last = segments.last().is_some_and(|last| last.ident == "swap");
    last && (segments.len() == 1 || segments[segments.len() - 2].ident == "mem")
}
