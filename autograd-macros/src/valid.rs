//! Turns a [`Function`] into the list of what is wrong with it.
//!
//! Invariant: every mistake is reported at once, each at its own place, as one lower-case sentence
//! that names the fix; a function that passes expands without further checks.

use quote::ToTokens;
use syn::visit::{self, Visit};
use syn::{Error, Expr, ExprCall, FnArg, GenericParam, Item, Result, Safety, Type, WherePredicate};

use crate::ast::{Function, Role, ungroup};
use crate::options::Options;
use crate::twin::outside;

/// Checks the function against what the macro supports.
pub fn check(function: &Function, options: &Options) -> Result<()> {
    let mut errors = Errors::default();
    signature(function, &mut errors);
    generics(function, &mut errors);
    if options.compiled
        && let Some(error) = crate::lint::dynamic(function)
    {
        errors.push(error);
    }
    entry_points(function, &mut errors);
    parameters(function, &mut errors);
    wrt(function, options, &mut errors);
    errors.finish()
}

/// Several errors that are reported together.
#[derive(Default)]
pub struct Errors(Option<Error>);

impl Errors {
    /// Adds an error at the tokens of `place`.
    pub fn at(&mut self, place: impl ToTokens, text: impl std::fmt::Display) {
        self.push(Error::new_spanned(place, text));
    }

    /// All of them, or nothing.
    pub fn finish(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
    }

    /// Adds errors.
    pub fn push(&mut self, error: Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            none => *none = Some(error),
        }
    }
}

/// Calls of entry points that do not differentiate what a trace holds.
fn entry_points(function: &Function, errors: &mut Errors) {
    struct Calls<'e>(&'e mut Errors);
    impl<'ast> Visit<'ast> for Calls<'_> {
        fn visit_expr_call(&mut self, call: &'ast ExprCall) {
            if let Expr::Path(func) = &*call.func
                && let Some((name, instead)) = outside(func)
            {
                self.0.at(func, format!("no derivative flows through `{name}` inside an annotated body: {instead}"));
            }
            visit::visit_expr_call(self, call);
        }
        fn visit_item(&mut self, _: &'ast Item) {}
    }
    Calls(errors).visit_block(&function.original.block);
}

fn signature(function: &Function, errors: &mut Errors) {
    let sig = &function.original.sig;
    if let Some(token) = &sig.constness {
        errors.at(token, "a `const fn` cannot be differentiated: remove `const`");
    }
    if let Some(token) = &sig.asyncness {
        errors.at(token, "an `async fn` cannot be differentiated: remove `async`");
    }
    if let Safety::Unsafe(token) = &sig.safety {
        errors.at(token, "an `unsafe fn` cannot be differentiated: wrap it in a safe function");
    }
    if let Some(abi) = &sig.abi {
        errors.at(abi, "an `extern` function cannot be differentiated: remove `extern`");
    }
    if let Some(variadic) = &sig.variadic {
        errors.at(variadic, "variadic parameters cannot be differentiated: pass a slice");
    }
    match &function.ret {
        None => {
            let text = "nothing to differentiate: return a float, a tensor or a structure of them";
            errors.at(&sig.ident, text);
        }
        Some(ty) => result(ty, errors),
    }
}

fn result(ty: &Type, errors: &mut Errors) {
    match ungroup(ty) {
        Type::Reference(ty) => errors.at(ty, "a result cannot be a reference: return an owned value"),
        Type::ImplTrait(ty) => errors.at(ty, "a result cannot be `impl Trait`: name the type"),
        Type::Never(ty) => errors.at(ty, "a result cannot be `!`: return a float or a tensor"),
        Type::Tuple(ty) if ty.elems.is_empty() => {
            let text = "nothing to differentiate: return a float, a tensor or a structure of them";
            errors.at(ty, text);
        }
        Type::Tuple(ty) => ty.elems.iter().for_each(|ty| result(ty, errors)),
        ty => unsupported(ty, errors),
    }
}

fn generics(function: &Function, errors: &mut Errors) {
    let generics = &function.original.sig.generics;
    for param in &generics.params {
        match param {
            GenericParam::Lifetime(_) => {}
            GenericParam::Type(param) => {
                let text = format!(
                    "a generic function cannot be differentiated: write `{}` as a concrete type, or bound it by `Real` for a \
                     helper that annotated functions call",
                    param.ident
                );
                errors.at(param, text);
            }
            GenericParam::Const(param) => {
                let text = format!(
                    "a const-generic function cannot be differentiated: write `{}` as a number or \
                     take a slice",
                    param.ident
                );
                errors.at(param, text);
            }
        }
    }
    let predicates = generics.where_clause.iter().flat_map(|clause| &clause.predicates);
    for predicate in predicates {
        if !matches!(predicate, WherePredicate::Lifetime(_)) && !has_type_params(function) {
            errors.at(predicate, "bounds on types are not supported here: remove the bound");
        }
    }
}

fn has_type_params(function: &Function) -> bool {
    function.original.sig.generics.type_params().next().is_some()
}

fn parameters(function: &Function, errors: &mut Errors) {
    for arg in &function.original.sig.inputs {
        if let FnArg::Receiver(receiver) = arg {
            let text = "a method is differentiated with its `impl` block: put `#[differentiable]` on the block";
            errors.at(receiver, text);
        }
    }
    for param in &function.params {
        match ungroup(&param.ty) {
            Type::Reference(ty) if ty.mutability.is_some() => {
                let text = "a `&mut` parameter cannot be differentiated: take the value and return \
                            the new one";
                errors.at(ty, text);
            }
            _ if param.role == Role::Constant => {}
            ty => unsupported(ty, errors),
        }
    }
    let receiver = function.original.sig.receiver().is_some();
    if !receiver && !function.params.iter().any(|param| param.role == Role::Differentiable) {
        let text = "no parameter can be differentiated: take a float, a slice, a tensor or a \
                    `Differentiable` struct";
        errors.at(&function.original.sig.ident, text);
    }
}

/// Reports the parts of a type that no derivative can have.
pub fn unsupported(ty: &Type, errors: &mut Errors) {
    match ungroup(ty) {
        Type::ImplTrait(ty) => {
            errors.at(ty, "`impl Trait` cannot be differentiated: name a concrete type");
        }
        Type::FnPtr(ty) => {
            errors.at(ty, "a function pointer cannot be differentiated: call the function by name");
        }
        Type::Ptr(ty) => errors.at(ty, "a raw pointer cannot be differentiated: take a reference"),
        Type::TraitObject(ty) => {
            errors.at(ty, "a trait object cannot be differentiated: name a concrete type");
        }
        Type::Reference(ty) if ty.mutability.is_some() => {
            errors.at(ty, "`&mut` cannot be differentiated: take the value and return the new one");
        }
        Type::Reference(ty) => unsupported(&ty.elem, errors),
        Type::Slice(ty) => unsupported(&ty.elem, errors),
        Type::Array(ty) => unsupported(&ty.elem, errors),
        Type::Tuple(ty) => ty.elems.iter().for_each(|ty| unsupported(ty, errors)),
        Type::Infer(_) | Type::Macro(_) | Type::Never(_) => {
            errors.at(ty, "this type cannot be differentiated: name a concrete type");
        }
        _ => {}
    }
}

fn wrt(function: &Function, options: &Options, errors: &mut Errors) {
    let Some(names) = &options.wrt else { return };
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            errors.at(name, format!("`{name}` is named twice in `wrt(..)`: name it once"));
            continue;
        }
        match function.params.iter().find(|param| param.name == *name) {
            None => {
                let params = function.params.iter().map(|param| format!("`{}`", param.name));
                let params = params.collect::<Vec<_>>().join(", ");
                let text = format!("no parameter is called `{name}`: name one of {params}");
                errors.at(name, text);
            }
            Some(param) if param.role == Role::Constant => {
                let text = format!("`{name}` is marked `#[constant]`: remove it from `wrt(..)`");
                errors.at(name, text);
            }
            Some(param) if param.role == Role::Static => {
                let ty = spelled(&param.ty);
                let text = format!("`{name}` has type `{ty}`, which has no derivative: remove it from `wrt(..)`");
                errors.at(name, text);
            }
            Some(_) => {}
        }
    }
}

/// The type as it is usually written: `&Tensor<i64>`.
fn spelled(ty: &Type) -> String {
    let text = ty.to_token_stream().to_string();
    let spaced = [("& ", "&"), (" < ", "<"), (" >", ">"), (" :: ", "::"), (" ,", ",")];
    spaced.iter().fold(text, |text, (from, to)| text.replace(from, to))
}
