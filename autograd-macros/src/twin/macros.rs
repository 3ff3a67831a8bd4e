//! Opens the macros whose arguments are expressions, so that a pass can rewrite these.
//!
//! Invariant: a macro that is not known, or whose arguments do not parse as expected, keeps its
//! tokens unchanged.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::parse::{ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Expr, Macro, Token};

/// The macros that are opened; the last segment of the path decides.
const KNOWN: [&str; 20] = [
    "vec",
    "assert",
    "assert_eq",
    "assert_ne",
    "debug_assert",
    "debug_assert_eq",
    "debug_assert_ne",
    "println",
    "print",
    "eprintln",
    "eprint",
    "format",
    "panic",
    "matches",
    "write",
    "writeln",
    "todo",
    "unreachable",
    "unimplemented",
    "dbg",
];

/// Applies `rewrite` to every argument of a known macro. Whether it is known.
pub fn each_expr(mac: &mut Macro, mut rewrite: impl FnMut(&mut Expr)) -> bool {
    let Some(mut arguments) = arguments(mac) else { return false };
    for expr in &mut arguments.exprs {
        match expr {
            // `format!("{x}", x = value)`: a name, not an assignment.
            Expr::Assign(named) if !is(mac, "vec") => rewrite(&mut named.right),
            expr => rewrite(expr),
        }
    }
    mac.tokens = arguments.into_token_stream();
    true
}

/// The arguments of `vec![a, b]`, or of `vec![a; n]`, and whether it is the latter.
pub fn elements(mac: &Macro) -> Option<(Vec<Expr>, bool)> {
    let arguments = arguments(mac).filter(|_| is(mac, "vec"))?;
    Some((arguments.exprs.into_iter().collect(), arguments.repeated))
}

/// The elements of `vec![a, b]`, or `a` of `vec![a; n]`, for a rewriter that replaces them.
pub fn each_element(mac: &mut Macro, rewrite: impl FnMut(&mut Expr)) {
    if !is(mac, "vec") {
        return;
    }
    let Some(mut arguments) = arguments(mac) else { return };
    let count = if arguments.repeated { 1 } else { arguments.exprs.len() };
    arguments.exprs.iter_mut().take(count).for_each(rewrite);
    mac.tokens = arguments.into_token_stream();
}

/// The arguments of a macro that takes expressions.
pub fn all(mac: &Macro) -> Option<Vec<Expr>> {
    arguments(mac).filter(|a| !a.repeated && a.rest.is_empty()).map(|a| a.exprs.into_iter().collect())
}

/// Whether the macro goes by this name.
pub fn is(mac: &Macro, name: &str) -> bool {
    mac.path.segments.last().is_some_and(|segment| segment.ident == name)
}

/// The arguments of a macro call: `a, b`, or `a; n`, and what follows in `matches!`.
struct Arguments {
    exprs: Punctuated<Expr, Token![,]>,
    repeated: bool,
    rest: TokenStream,
}

impl ToTokens for Arguments {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        if self.repeated {
            let (element, len) = (&self.exprs[0], &self.exprs[1]);
            tokens.extend(quote!(#element; #len));
        } else {
            self.exprs.to_tokens(tokens);
            self.rest.to_tokens(tokens);
        }
    }
}

fn arguments(mac: &Macro) -> Option<Arguments> {
    if !KNOWN.iter().any(|name| is(mac, name)) {
        return None;
    }
    let matches = is(mac, "matches");
    let parse = |input: ParseStream| {
        if matches {
            let mut exprs = Punctuated::new();
            exprs.push_value(input.parse()?);
            return Ok(Arguments { exprs, repeated: false, rest: input.parse()? });
        }
        let fork = input.fork();
        if fork.parse::<Expr>().is_ok() && fork.peek(Token![;]) {
            let mut exprs = Punctuated::new();
            exprs.push(input.parse()?);
            input.parse::<Token![;]>()?;
            exprs.push(input.parse()?);
            return Ok(Arguments { exprs, repeated: true, rest: TokenStream::new() });
        }
        let exprs = Punctuated::parse_terminated(input)?;
        Ok(Arguments { exprs, repeated: false, rest: TokenStream::new() })
    };
    parse.parse2(mac.tokens.clone()).ok()
}
