//! Turns `fn f(..) -> R { body }` into `fn f(..) -> R { ::autograd::no_grad(move || -> R { body }) }`.
//!
//! Invariant: the signature is untouched; `return` and `?` keep their meaning, since the closure is
//! the whole body.

use proc_macro2::TokenStream;
use quote::quote;
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{Error, ItemFn, ReturnType};

/// Expands `#[no_grad]`.
pub fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut function = match syn::parse2::<ItemFn>(item.clone()) {
        Ok(function) => function,
        Err(_) => {
            let text = "`#[no_grad]` is for functions: put it on a `fn` with a body";
            let span = item.clone().into_iter().next().map(|token| token.span());
            let error = Error::new(span.unwrap_or_else(proc_macro2::Span::call_site), text);
            let error = error.into_compile_error();
            return quote!(#item #error);
        }
    };
    if let Err(error) = check(&options, &function) {
        let error = error.into_compile_error();
        return quote!(#function #error);
    }
    let ret = match &function.sig.output {
        ReturnType::Type(..) if has_impl(&function.sig.output) => ReturnType::Default,
        ret => ret.clone(),
    };
    let body = (*function.block).clone();
    let span = body.span();
    *function.block = syn::parse_quote_spanned!(span=> {
        ::autograd::no_grad(move || #ret #body)
    });
    quote!(#function)
}

fn check(options: &TokenStream, function: &ItemFn) -> syn::Result<()> {
    if !options.is_empty() {
        return Err(Error::new_spanned(options, "`#[no_grad]` takes no options: remove them"));
    }
    if let Some(token) = &function.sig.asyncness {
        let text = "an `async fn` cannot run inside `no_grad`: call `no_grad` between awaits";
        return Err(Error::new_spanned(token, text));
    }
    if let Some(token) = &function.sig.constness {
        let text = "a `const fn` cannot run inside `no_grad`: remove `const`";
        return Err(Error::new_spanned(token, text));
    }
    Ok(())
}

/// Whether the result names `impl Trait`, which a closure cannot declare.
fn has_impl(ret: &ReturnType) -> bool {
    struct Found(bool);
    impl<'ast> Visit<'ast> for Found {
        fn visit_type_impl_trait(&mut self, _: &'ast syn::TypeImplTrait) {
            self.0 = true;
        }
    }
    let mut found = Found(false);
    found.visit_return_type(ret);
    found.0
}
