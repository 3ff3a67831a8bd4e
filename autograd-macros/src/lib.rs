//! Turns annotated Rust into Rust that the `autograd` runtime can differentiate.
//!
//! `#[differentiable]` keeps its function and adds a *companion*: an uninhabited enum of the same
//! name that holds the derivative entry points and the function's staged twin.
//! `#[derive(Differentiable)]` lets a struct take part; `#[no_grad]` runs a body without recording.
//! A function is followed through the modules `options`, `ast`, `valid`, `expand` (with `entry` and
//! `staged`) and `twin`; `methods` makes functions of the methods of an `impl` block.
//!
//! Invariant: whatever the user wrote is emitted as well, so that an error here is reported once.

mod ast;
mod derive;
mod entry;
mod expand;
mod generic;
mod lint;
mod methods;
mod no_grad;
mod options;
mod recursion;
mod staged;
mod twin;
mod valid;

#[cfg(test)]
mod tests;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, Item, ItemFn, ItemImpl, Result};

/// Makes a function differentiable: `f::grad(..)`, `f::value_and_grad(..)` and the other entry
/// points stand beside it. `#[differentiable(wrt(w, b))]` names the parameters to differentiate;
/// `#[constant]` on a parameter makes it part of the compiled function's key.
///
/// `vmap_grad(xs, ys)` and its like take a slice for each parameter, of which one item stands for as many as the others
/// have, and give a `Vec` of what the entry point gives; a function of scalars runs as one loop over all items.
///
/// `jacobian_sparse` and `hessian_sparse` give the derivatives that may differ from zero, as one matrix of compressed rows
/// (`autograd::sprs::CsMat<f64>`, whatever the floats of the function are): a row for each float of the results, a column for
/// each float of the differentiated parameters, several one after another. Where elements may be is found from the function
/// itself at these arguments; columns that have no row in common share a product. On the dynamic engine it is the dense
/// matrix without its zeros. A matrix with more than 2²⁶ elements is an error.
///
/// Further options: `max_trips = 1000` makes a `while` or `loop` that does not end an error, `checkpoint(memory = "64 MB")`
/// bounds what a loop over numbers records for its derivative, however often it runs: the way back runs it again, at most r + 1
/// times, from s states of it that are kept, where a record of one in (s + r choose s) trips fits in memory. A loop that
/// carries a vector is not bounded, nor one over tensors or in a function that calls itself. `root_of(residual)` says that the function solves g(x, θ) = 0 for x:
/// `residual` is an annotated function of the solution, by value, and then the same parameters, and gives as many floats
/// as the solution has. Derivatives come from the implicit function theorem, whatever the steps of the solver are:
///
/// ```text
/// #[differentiable]
/// fn residual(y: f64, x: f64) -> f64 {
///     y * y - x
/// }
/// #[differentiable(root_of(residual))]
/// fn root(x: f64) -> f64 {
///     (0..60).fold(x, |y, _| 0.5 * (y + x / y))
/// }
/// ```
///
/// `deny(dynamic)` makes it an error to fall back on the dynamic engine: at compile time where the text tells (`?` in a branch or
/// loop, a vector that grows in one that data may decide on), and otherwise of the call.
///
/// On a function that is generic over `autograd::Real`, `fn f<T: Real>(x: T) -> T`, it makes one that annotated functions may
/// call, without entry points of its own.
///
/// On an `impl` block it gives `Model::loss_grad(&model, ..)` and so on for each method whose parameters and result have
/// derivatives; a method may have options of its own.
#[proc_macro_attribute]
pub fn differentiable(options: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    differentiable_item(options.into(), item.into()).into()
}

/// Lets a struct be a parameter and a gradient. `#[constant]` marks a field that is not
/// differentiated.
///
/// In an annotated function stands a twin of the struct, which has the fields and not the methods.
/// `#[tensors]` on a struct says that its fields are made of tensors, such as the layers of
/// `autograd::nn` and other such structs: then it is its own twin, with its methods.
#[proc_macro_derive(Differentiable, attributes(constant, tensors))]
pub fn derive_differentiable(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    syn::parse(input).and_then(derive::expand).unwrap_or_else(Error::into_compile_error).into()
}

/// Runs a function's body inside `autograd::no_grad`.
#[proc_macro_attribute]
pub fn no_grad(options: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    no_grad::expand(options.into(), item.into()).into()
}

fn differentiable_item(options: TokenStream, item: TokenStream) -> TokenStream {
    if let Ok(block) = syn::parse2::<ItemImpl>(item.clone()) {
        return methods::expand(options, block);
    }
    let function = match syn::parse2::<ItemFn>(item.clone()) {
        Ok(function) => function,
        Err(error) => {
            let error = not_a_function(&item, error).into_compile_error();
            return quote!(#item #error);
        }
    };
    expand_function(options, &function).unwrap_or_else(|error| {
        let mut original = function;
        ast::strip_constant(&mut original);
        let error = error.into_compile_error();
        quote!(#original #error)
    })
}

fn expand_function(options: TokenStream, function: &ItemFn) -> Result<TokenStream> {
    let (options, error) = match options::parse(options) {
        Ok(options) => (options, None),
        Err(error) => (options::Options::default(), Some(error)),
    };
    if error.is_none()
        && let Some(helper) = generic::expand(function)
    {
        return Ok(helper);
    }
    let function = ast::Function::read(function.clone(), &options);
    match (error, valid::check(&function, &options)) {
        (None, Ok(())) => Ok(expand::expand(function)),
        (Some(error), Ok(())) | (None, Err(error)) => Err(error),
        (Some(mut error), Err(more)) => {
            error.combine(more);
            Err(error)
        }
    }
}

/// Says what to do where the attribute stands on something else.
fn not_a_function(item: &TokenStream, error: Error) -> Error {
    let text = match syn::parse2::<Item>(item.clone()) {
        Ok(Item::Struct(_) | Item::Enum(_)) => {
            "`#[differentiable]` is for functions: use `#[derive(Differentiable)]` on a struct"
        }
        Ok(_) => "`#[differentiable]` is for functions: put it on a `fn` with a body",
        Err(_) => return error,
    };
    let first = item.clone().into_iter().next();
    Error::new(first.map_or_else(proc_macro2::Span::call_site, |token| token.span()), text)
}
