//! Turns calls of free functions into calls that name resolution dispatches: `helper(x, 2.0)`
//! becomes `__h0::__call(helper)(__h0::__arg0(&slot, x), __h0::__arg1(&slot, 2.0))` under `use helper as __h0;`.
//! `f::grad(x)` becomes `f::__staged_grad(x)`. Where a list may come back, `__list` stands for `__call`: the companion of a
//! function that makes a list then gives that instead of a vector.
//!
//! If `helper` is annotated, `__h0` is its companion and the call reaches its twin; otherwise the
//! type `__h0` is the runtime's fall-back (a glob import, which the explicit import shadows) and the
//! plain function is called. A function passed by name, `.map(helper)`, goes the same way.
//!
//! Invariant: names bound by patterns, constructors, `Type::method` and paths through `std`, `core`,
//! `alloc`, `autograd` or a primitive type are called as they are written. The `use` stands in the
//! innermost block around the call that declares items, so that these are found.

use quote::{ToTokens, format_ident};
use syn::parse_quote_spanned;
use syn::spanned::Spanned;
use syn::{Block, Expr, ExprCall, ExprPath, Ident, Path, PathArguments, Stmt, parse_quote};

use super::scope::{Pass, Scope};
use crate::ast;

/// The entry points that an annotated body may call.
pub const STAGED: [&str; 9] =
    ["grad", "value_and_grad", "value", "vjp", "jvp", "hvp", "grad_and_hvp", "jacobian", "hessian"];

/// The fall-back types and argument positions that the runtime has.
const MAX_HELPERS: usize = 64;
pub const MAX_ARGUMENTS: usize = 16;

/// Functions of the standard library that are commonly imported by name.
const STD: [&str; 7] = ["drop", "black_box", "identity", "once", "zip", "successors", "from_fn"];

/// Crates and modules whose functions are plain.
const PLAIN_ROOTS: [&str; 11] =
    ["std", "core", "alloc", "autograd", "Self", "mem", "iter", "cmp", "array", "ptr", "fmt"];

#[derive(Default)]
pub struct Calls {
    blocks: Vec<Frame>,
    count: usize,
}

/// A block that is being walked.
struct Frame {
    declares_items: bool,
    helpers: Vec<(Path, Ident)>,
}

impl Pass for Calls {
    fn enter_block(&mut self, block: &mut Block, _: &Scope) {
        let declares_items = block.stmts.iter().any(|stmt| matches!(stmt, Stmt::Item(_)));
        self.blocks.push(Frame { declares_items, helpers: Vec::new() });
    }

    fn leave_block(&mut self, block: &mut Block, _: &Scope) {
        let frame = self.blocks.pop().expect("every block that is left was entered");
        let mut uses: Vec<Stmt> = Vec::new();
        if self.blocks.is_empty() && self.count > 0 {
            uses.push(parse_quote!(
                use ::autograd::__private::fallback::*;
            ));
        }
        for (path, name) in frame.helpers {
            uses.push(parse_quote!(use #path as #name;));
        }
        block.stmts.splice(0..0, uses);
    }

    fn leave(&mut self, expr: &mut Expr, scope: &Scope) {
        match expr {
            Expr::Call(call) => {
                self.by_name(call.args.iter_mut(), scope);
                self.call(call, scope);
            }
            Expr::MethodCall(call) => self.by_name(call.args.iter_mut(), scope),
            _ => {}
        }
    }
}

impl Calls {
    fn call(&mut self, call: &mut ExprCall, scope: &Scope) {
        let Expr::Path(func) = &mut *call.func else { return };
        if let Some(name) = staged(func) {
            let last = func.path.segments.last_mut().expect("a staged path has segments");
            last.ident = name;
            return;
        }
        let mutable = |arg: &Expr| matches!(arg, Expr::Reference(arg) if arg.mutability.is_some());
        if call.args.iter().any(mutable) {
            return;
        }
        if is_listed(func) {
            call.args.iter_mut().for_each(gives_list);
            return;
        }
        let Some(helper) = self.helper(func, scope) else { return };
        *call.func = callee(&helper, func);
        for (index, arg) in call.args.iter_mut().enumerate().take(MAX_ARGUMENTS) {
            let span = arg.span();
            let helper = Ident::new(&helper.to_string(), span);
            if let Expr::Reference(arg) = arg {
                gives_list(&mut arg.expr);
            }
            if is_wrapped(arg) {
                let method = format_ident!("__arg{index}", span = span);
                *arg = parse_quote_spanned!(span=> #helper::#method(&::autograd::__private::Slot::new(), #arg));
            } else if is_inferred(arg) {
                let method = format_ident!("__inferred{index}", span = span);
                *arg = parse_quote_spanned!(span=> #helper::#method(#arg));
            }
        }
    }

    /// Rewrites the functions among the arguments of a call.
    fn by_name<'e>(&mut self, args: impl Iterator<Item = &'e mut Expr>, scope: &Scope) {
        for arg in args {
            if let Expr::Path(path) = arg
                && let Some(helper) = self.helper(path, scope)
            {
                *arg = callee(&helper, path);
            }
        }
    }

    /// The name under which the twin imports the function, if it is one to import.
    fn helper(&mut self, func: &ExprPath, scope: &Scope) -> Option<Ident> {
        let path = importable(func, &|name| scope.binds(name))?;
        let home = self.blocks.iter().rposition(|frame| frame.declares_items).unwrap_or(0);
        let frame = &mut self.blocks[home];
        let text = path.to_token_stream().to_string();
        let known = frame.helpers.iter().find(|(path, _)| path.to_token_stream().to_string() == text);
        if let Some((_, name)) = known {
            return Some(name.clone());
        }
        if self.count == MAX_HELPERS {
            return None;
        }
        let name = format_ident!("__h{}", self.count);
        self.count += 1;
        frame.helpers.push((path, name.clone()));
        Some(name)
    }
}

fn callee(helper: &Ident, func: &ExprPath) -> Expr {
    let span = func.span();
    let helper = Ident::new(&helper.to_string(), span);
    parse_quote_spanned!(span=> #helper::__call(#func))
}

/// Whether the path is that of what makes a list of a result.
fn is_listed(func: &ExprPath) -> bool {
    func.path.leading_colon.is_some() && func.path.segments.last().is_some_and(|last| last.ident == "listed")
}

/// Makes a dispatched call one that may give a list.
fn gives_list(e: &mut Expr) {
    if let Expr::Call(call) = e
        && let Expr::Call(callee) = &mut *call.func
        && let Expr::Path(path) = &mut *callee.func
        && let Some(last) = path.path.segments.last_mut().filter(|last| last.ident == "__call")
    {
        last.ident = Ident::new("__list", last.ident.span());
    }
}

/// The path without generic arguments, if the twin should import it; `binds` says which names are variables.
pub fn importable(func: &ExprPath, binds: &dyn Fn(&Ident) -> bool) -> Option<Path> {
    if func.qself.is_some() || func.path.leading_colon.is_some() {
        return None;
    }
    let mut path = func.path.clone();
    let last = path.segments.len() - 1;
    for (index, segment) in path.segments.iter_mut().enumerate() {
        let name = segment.ident.to_string();
        let primitive = ast::is_integer(&name) || matches!(name.as_str(), "f32" | "f64" | "bool" | "char" | "str");
        let plain_root = index == 0 && last > 0 && PLAIN_ROOTS.contains(&name.as_str());
        let keyword = index == last && matches!(name.as_str(), "self" | "super" | "crate" | "Self");
        let capital = name.trim_start_matches("r#").starts_with(|c: char| c.is_ascii_uppercase());
        if capital || plain_root || keyword || (last > 0 && primitive) {
            return None;
        }
        if index == last {
            segment.arguments = PathArguments::None;
        } else if !segment.arguments.is_none() {
            return None;
        }
    }
    if last == 0 {
        let name = &path.segments[0].ident;
        let text = name.to_string();
        if binds(name) || STD.contains(&text.as_str()) || text.starts_with("__") {
            return None;
        }
    }
    Some(path)
}

/// Whether a call is one of an entry point, `f::grad`.
pub fn is_staged(func: &ExprPath) -> bool {
    staged(func).is_some()
}

/// `__staged_grad` for `f::grad`.
fn staged(func: &ExprPath) -> Option<Ident> {
    let name = entry_point(func)?;
    STAGED.iter().any(|staged| name == staged).then(|| format_ident!("__staged_{}", name, span = name.span()))
}

/// Of a call of an entry point that bodies do not have: its name, and what to write instead.
pub fn outside(func: &ExprPath) -> Option<(&Ident, &'static str)> {
    let name = entry_point(func)?;
    let instead = match name.to_string().as_str() {
        "jacobian_sparse" => "call `jacobian`",
        "hessian_sparse" => "call `hessian`",
        "grad_into" => "call `grad`",
        "value_and_grad_into" => "call `value_and_grad`",
        vmap if vmap.starts_with("vmap_") => "call the entry point of one item in a loop",
        _ => return None,
    };
    Some((name, instead))
}

/// The last name of a path that may be one of an entry point, `f::name`.
fn entry_point(func: &ExprPath) -> Option<&Ident> {
    let segments = &func.path.segments;
    if func.qself.is_some() || func.path.leading_colon.is_some() || segments.len() < 2 {
        return None;
    }
    let (owner, last) = (&segments[segments.len() - 2].ident, &segments[segments.len() - 1]);
    let function = owner.to_string().trim_start_matches("r#").starts_with(char::is_lowercase);
    let plain = PLAIN_ROOTS.iter().any(|root| segments[0].ident == root);
    let owned = !matches!(owner.to_string().as_str(), "self" | "super" | "crate");
    (function && owned && !plain).then_some(&last.ident)
}

/// Whether an argument that does not go through `__argN` may be an integer: it goes through `__inferredN`.
fn is_inferred(arg: &Expr) -> bool {
    matches!(arg, Expr::MethodCall(_)) || matches!(arg, Expr::Lit(arg) if matches!(arg.lit, syn::Lit::Int(_)))
}

/// Whether an argument goes through `__argN`: not if its type is inferred from the parameter's.
fn is_wrapped(arg: &Expr) -> bool {
    match arg {
        Expr::Lit(arg) => matches!(arg.lit, syn::Lit::Float(_)),
        Expr::Closure(_) | Expr::Range(_) | Expr::Macro(_) => false,
        Expr::MethodCall(arg) => {
            let inferred = ["into", "parse", "collect", "sum", "product", "unwrap_or_default"];
            !inferred.iter().any(|name| arg.method == name)
        }
        // `Vec::new()`, `None`, a function by name.
        Expr::Call(arg) => !matches!(&*arg.func, Expr::Path(path) if is_capital(path)),
        Expr::Path(path) => !is_capital(path),
        Expr::Try(arg) => is_wrapped(&arg.expr),
        _ => true,
    }
}

fn is_capital(path: &ExprPath) -> bool {
    let constructed = |name: &Ident| {
        let name = name.to_string();
        let capital = name.starts_with(|c: char| c.is_ascii_uppercase());
        capital && name.chars().any(|c| c.is_ascii_lowercase())
    };
    path.path.segments.iter().any(|segment| constructed(&segment.ident))
}
