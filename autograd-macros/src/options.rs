//! Turns the attribute's arguments, `wrt(w, b)`, into [`Options`].
//!
//! Invariant: every option is known and appears once; whether the names in it mean anything is for
//! [`valid`](crate::valid) to say.

use proc_macro2::TokenStream;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Error, Ident, Result, Token, parenthesized};

/// What `#[differentiable(..)]` says.
#[derive(Default)]
pub struct Options {
    /// The parameters named in `wrt(..)`, in the user's order; `None` when the option is absent.
    pub wrt: Option<Vec<Ident>>,
}

/// Parses the arguments of `#[differentiable(..)]`.
pub fn parse(tokens: TokenStream) -> Result<Options> {
    options.parse2(tokens)
}

fn options(input: ParseStream) -> Result<Options> {
    let mut options = Options::default();
    while !input.is_empty() {
        let name = input.call(Ident::parse_any)?;
        if name != "wrt" {
            let text = format!("unknown option `{name}`: `wrt(parameter, ..)` is the only one");
            return Err(Error::new(name.span(), text));
        }
        if options.wrt.is_some() {
            return Err(Error::new(name.span(), "`wrt(..)` is given twice: keep one"));
        }
        if !input.peek(syn::token::Paren) {
            let text = "name the parameters in parentheses: `wrt(w, b)`";
            return Err(Error::new(name.span(), text));
        }
        let names;
        parenthesized!(names in input);
        let names = Punctuated::<Ident, Token![,]>::parse_terminated(&names)?;
        if names.is_empty() {
            let text = "name at least one parameter: `wrt(w, b)`";
            return Err(Error::new(name.span(), text));
        }
        options.wrt = Some(names.into_iter().collect());
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
        }
    }
    Ok(options)
}
