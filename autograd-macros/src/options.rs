//! Turns the attribute's arguments, `wrt(w, b), max_trips = 1000, checkpoint(memory = "64 MB"), root_of(g)`, into [`Options`].
//!
//! Invariant: every option is known and appears once; whether the names in it mean anything is for
//! [`valid`](crate::valid) to say.

use proc_macro2::TokenStream;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Error, Ident, LitInt, LitStr, Path, Result, Token, parenthesized};

/// What `#[differentiable(..)]` says.
#[derive(Clone, Default)]
pub struct Options {
    /// The parameters named in `wrt(..)`, in the user's order; `None` when the option is absent.
    pub wrt: Option<Vec<Ident>>,
    /// How many trips a `while` or `loop` makes before it is an error.
    pub max_trips: Option<u64>,
    /// Bytes for what loops record for their reverse mode.
    pub memory: Option<u64>,
    /// The function that is zero at the solution that this one finds.
    pub root: Option<Path>,
    /// Whether it is an error to run on the dynamic engine.
    pub compiled: bool,
}

/// Parses the arguments of `#[differentiable(..)]`.
pub fn parse(tokens: TokenStream) -> Result<Options> {
    options.parse2(tokens)
}

fn options(input: ParseStream) -> Result<Options> {
    let mut options = Options::default();
    while !input.is_empty() {
        let name = input.call(Ident::parse_any)?;
        let twice = |given: bool| {
            let text = format!("`{name}` is given twice: keep one");
            if given { Err(Error::new(name.span(), text)) } else { Ok(()) }
        };
        match name.to_string().as_str() {
            "wrt" => {
                twice(options.wrt.is_some())?;
                options.wrt = Some(names(input, &name)?);
            }
            "max_trips" => {
                twice(options.max_trips.is_some())?;
                options.max_trips = Some(trips(input, &name)?);
            }
            "checkpoint" => {
                twice(options.memory.is_some())?;
                options.memory = Some(memory(input, &name)?);
            }
            "root_of" => {
                twice(options.root.is_some())?;
                options.root = Some(residual(input, &name)?);
            }
            "deny" => {
                twice(options.compiled)?;
                denied(input, &name)?;
                options.compiled = true;
            }
            _ => {
                let text = format!(
                    "unknown option `{name}`: the options are `wrt(parameter, ..)`, `max_trips = 1000`, \
                     `checkpoint(memory = \"64 MB\")`, `root_of(residual)` and `deny(dynamic)`"
                );
                return Err(Error::new(name.span(), text));
            }
        }
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
        }
    }
    Ok(options)
}

/// `deny(dynamic)`.
fn denied(input: ParseStream, name: &Ident) -> Result<()> {
    let wrong = || Error::new(name.span(), "say what is denied: `deny(dynamic)`");
    if !input.peek(syn::token::Paren) {
        return Err(wrong());
    }
    let what;
    parenthesized!(what in input);
    let what: Ident = what.parse().map_err(|_| wrong())?;
    if what == "dynamic" { Ok(()) } else { Err(wrong()) }
}

fn names(input: ParseStream, name: &Ident) -> Result<Vec<Ident>> {
    if !input.peek(syn::token::Paren) {
        return Err(Error::new(name.span(), "name the parameters in parentheses: `wrt(w, b)`"));
    }
    let names;
    parenthesized!(names in input);
    let names = Punctuated::<Ident, Token![,]>::parse_terminated_with(&names, Ident::parse_any)?;
    if names.is_empty() {
        return Err(Error::new(name.span(), "name at least one parameter: `wrt(w, b)`"));
    }
    Ok(names.into_iter().collect())
}

fn residual(input: ParseStream, name: &Ident) -> Result<Path> {
    let path = || -> Result<Path> {
        let inside;
        parenthesized!(inside in input);
        let path = inside.call(Path::parse_mod_style)?;
        if inside.is_empty() { Ok(path) } else { Err(inside.error("one function")) }
    };
    let text = "name the annotated function that is zero at the solution: `root_of(residual)`";
    path().map_err(|_| Error::new(name.span(), text))
}

fn trips(input: ParseStream, name: &Ident) -> Result<u64> {
    let number = || -> Result<u64> {
        input.parse::<Token![=]>()?;
        input.parse::<LitInt>()?.base10_parse()
    };
    let wrong = || Error::new(name.span(), "give the largest number of trips: `max_trips = 1000`");
    number().ok().filter(|&n| i64::try_from(n).is_ok()).ok_or_else(wrong)
}

fn memory(input: ParseStream, name: &Ident) -> Result<u64> {
    let text = || -> Result<String> {
        let inside;
        parenthesized!(inside in input);
        let key = inside.call(Ident::parse_any)?;
        inside.parse::<Token![=]>()?;
        let text = inside.parse::<LitStr>()?.value();
        if key == "memory" && inside.is_empty() { Ok(text) } else { Err(inside.error("memory")) }
    };
    let wrong = || Error::new(name.span(), "give the memory for what loops record: `checkpoint(memory = \"64 MB\")`");
    text().ok().and_then(|text| bytes(&text)).ok_or_else(wrong)
}

/// `64 MB`, `512KB`, `1 GB`, `4096 B` in bytes; kilobytes are 1024 bytes.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let unit = text.find(|c: char| !c.is_ascii_digit() && c != '_')?;
    let number: u64 = text[..unit].replace('_', "").parse().ok()?;
    let factor: u64 = match text[unit..].trim() {
        "B" => 1,
        "KB" | "kB" | "KiB" => 1 << 10,
        "MB" | "MiB" => 1 << 20,
        "GB" | "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor).filter(|&b| b > 0)
}
