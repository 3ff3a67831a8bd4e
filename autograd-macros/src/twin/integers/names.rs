//! Numbers for the names that patterns bind: while a body is rewritten, the pattern of a variable carries its number, so
//! that it is the same variable in every attempt.

use syn::ext::IdentExt;
use syn::visit::Visit;
use syn::visit_mut::{self, VisitMut};
use syn::{Block, Ident, Pat, PatIdent};

use crate::twin::macros;

const MARK: &str = "__variable";

/// Numbers the patterns of a body; how many there are.
pub(super) fn number(body: &mut Block) -> usize {
    let mut numbers = Numbers(0);
    numbers.visit_block_mut(body);
    numbers.0
}

/// Takes the numbers away.
pub(super) fn strip(body: &mut Block) {
    Strip.visit_block_mut(body);
}

/// The name as it is written, and its number.
pub(super) fn parts(name: &Ident) -> (Ident, Option<usize>) {
    let text = name.unraw().to_string();
    match text.rsplit_once(MARK) {
        Some((text, number)) if number.parse::<usize>().is_ok() => (like(name, text), number.parse().ok()),
        _ => (name.clone(), None),
    }
}

/// The names that a pattern binds, with their numbers.
pub(super) fn bound(pat: &Pat) -> Vec<Ident> {
    struct Names(Vec<Ident>);
    impl<'ast> Visit<'ast> for Names {
        fn visit_pat_ident(&mut self, pat: &'ast PatIdent) {
            self.0.push(pat.ident.clone());
            if let Some((_, pat)) = &pat.subpat {
                self.visit_pat(pat);
            }
        }
        fn visit_expr(&mut self, _: &'ast syn::Expr) {}
    }
    let mut names = Names(Vec::new());
    names.visit_pat(pat);
    names.0
}

/// Another name that is raw if the first is, at its place.
fn like(name: &Ident, text: &str) -> Ident {
    if name.to_string().starts_with("r#") { Ident::new_raw(text, name.span()) } else { Ident::new(text, name.span()) }
}

struct Numbers(usize);

impl VisitMut for Numbers {
    fn visit_pat_ident_mut(&mut self, pat: &mut PatIdent) {
        pat.ident = like(&pat.ident, &format!("{}{MARK}{}", pat.ident.unraw(), self.0));
        self.0 += 1;
        visit_mut::visit_pat_ident_mut(self, pat);
    }
    fn visit_macro_mut(&mut self, mac: &mut syn::Macro) {
        macros::each_expr(mac, |e| self.visit_expr_mut(e));
    }
    fn visit_item_mut(&mut self, _: &mut syn::Item) {}
}

struct Strip;

impl VisitMut for Strip {
    fn visit_ident_mut(&mut self, name: &mut Ident) {
        *name = parts(name).0;
    }
    fn visit_macro_mut(&mut self, mac: &mut syn::Macro) {
        macros::each_expr(mac, |e| self.visit_expr_mut(e));
    }
    fn visit_item_mut(&mut self, _: &mut syn::Item) {}
}
