//! Turns declared types into those of the twin: `f64` into `Real<f64>`, `Vec<f64>` into
//! `Vec<Real<f64>>`, a struct of the signature into `<S as Arg>::Twin`.
//!
//! Invariant: types are read by their spelling only. `Tensor<..>` and anything not understood stay
//! as they are; the twin of a parameter is always the runtime's `<A as Arg>::Twin`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{
    Expr, ExprStruct, FieldPat, FieldValue, GenericArgument, Ident, Lifetime, Pat, PatStruct, Path, PathArguments,
    Token, Type, TypePath, parse_quote, parse_quote_spanned, token,
};

use super::arrays;
use super::literals::unnamed;
use super::scope::{Pass, Scope};
use crate::ast::{self, Form, Function, Param, Role};

/// Types whose first argument is rewritten in place.
const CONTAINERS: [&str; 7] = ["Vec", "Option", "Result", "Box", "VecDeque", "Cell", "RefCell"];

/// Types whose last argument is rewritten in place.
const MAPS: [&str; 2] = ["HashMap", "BTreeMap"];

/// Known types that are their own twins, or stand for something that has none.
const KEPT: [&str; 9] = ["Tensor", "bool", "char", "str", "String", "Self", "Rc", "Arc", "PhantomData"];

/// The structs that a signature names and the rules for annotations.
pub struct Types {
    structs: Vec<TypePath>,
}

impl Types {
    /// Reads which structs occur in the signature: only these can be `Differentiable`.
    pub fn of(function: &Function) -> Types {
        let mut structs = Vec::new();
        for param in function.params.iter().filter(|param| param.role == Role::Differentiable) {
            named(&param.ty, &mut structs);
        }
        if let Some(ret) = &function.ret {
            named(ret, &mut structs);
        }
        Types { structs }
    }

    /// Rewrites an annotation of the body.
    pub fn rewrite(&self, ty: &mut Type) {
        self.convert(ty, &|path| self.index(&path.path).is_some());
    }

    /// The twin of the declared result.
    pub fn result(&self, ty: &Type) -> Type {
        let mut ty = with_lifetime(ty, "'static");
        self.convert(&mut ty, &|_| true);
        ty
    }

    /// Whether the path names a struct of the signature.
    pub fn is_struct(&self, path: &Path) -> bool {
        self.index(path).is_some()
    }

    /// `type __t0 = <S as Arg>::Twin;` for every struct, by which the body constructs it.
    pub fn aliases(&self) -> TokenStream {
        let aliases = self.structs.iter().enumerate().map(|(index, ty)| {
            let name = alias(index);
            let span = ty.span();
            quote_spanned!(span=> type #name = <#ty as ::autograd::__private::Arg>::Twin;)
        });
        quote!(#(#aliases)*)
    }

    fn index(&self, path: &Path) -> Option<usize> {
        let last = &path.segments.last()?.ident;
        let same = |ty: &TypePath| ty.path.segments.last().is_some_and(|s| s.ident == *last);
        self.structs.iter().position(same)
    }

    fn convert(&self, ty: &mut Type, has_twin: &dyn Fn(&TypePath) -> bool) {
        match ty {
            Type::Group(ty) => self.convert(&mut ty.elem, has_twin),
            Type::Paren(ty) => self.convert(&mut ty.elem, has_twin),
            Type::Array(ty) => self.convert(&mut ty.elem, has_twin),
            Type::Slice(ty) => self.convert(&mut ty.elem, has_twin),
            Type::Reference(ty) => {
                ty.lifetime = None;
                self.convert(&mut ty.elem, has_twin);
            }
            Type::Tuple(tuple) => {
                tuple.elems.iter_mut().for_each(|ty| self.convert(ty, has_twin));
            }
            Type::Path(path) => {
                if let Some(traced) = self.convert_path(path, has_twin) {
                    *ty = traced;
                }
            }
            _ => {}
        }
    }

    fn convert_path(&self, path: &mut TypePath, has_twin: &dyn Fn(&TypePath) -> bool) -> Option<Type> {
        let span = path.span();
        if let Some(float) = ast::scalar(&Type::Path(path.clone())) {
            let float = Ident::new(float, span);
            return Some(parse_quote_spanned!(span=> ::autograd::__private::Real<#float>));
        }
        let last = path.path.segments.last_mut()?;
        let name = last.ident.to_string();
        if let Some(index) = element(&name) {
            if let PathArguments::AngleBracketed(arguments) = &mut last.arguments
                && let Some(GenericArgument::Type(ty)) = arguments.args.iter_mut().nth(index)
            {
                self.convert(ty, has_twin);
            }
            return None;
        }
        if path.qself.is_none() && arrays::is_name(&last.ident) {
            if let PathArguments::AngleBracketed(arguments) = &mut last.arguments {
                let lifetime = |argument: &GenericArgument| matches!(argument, GenericArgument::Lifetime(_));
                arguments.args = arguments.args.iter().filter(|argument| !lifetime(argument)).cloned().collect();
                for argument in &mut arguments.args {
                    if let GenericArgument::Type(ty) = argument {
                        self.convert(ty, &|_| false);
                    }
                }
            }
            let at = path.path.segments.len() - 1;
            arrays::renamed(&mut path.path, at);
            return None;
        }
        if KEPT.contains(&name.as_str()) || ast::is_integer(&name) || path.qself.is_some() {
            return None;
        }
        has_twin(path).then(|| projection(&Type::Path(path.clone()), "Twin"))
    }
}

impl Pass for &Types {
    fn annotation(&mut self, ty: &mut Type) {
        self.rewrite(ty);
    }

    fn leave(&mut self, expr: &mut Expr, _: &Scope) {
        match expr {
            Expr::Struct(literal) => {
                if let Some(index) = self.index(&literal.path) {
                    literal.path = Path::from(alias(index));
                }
            }
            // `S(a, b)` through an alias is written `S { 0: a, 1: b }`.
            Expr::Call(call) => {
                let Expr::Path(func) = &*call.func else { return };
                let Some(index) = self.index(&func.path) else { return };
                let mut fields = syn::punctuated::Punctuated::<FieldValue, Token![,]>::new();
                for (index, arg) in call.args.iter().enumerate() {
                    fields.push(FieldValue {
                        attrs: Vec::new(),
                        member: unnamed(index),
                        colon_token: Some(<Token![:]>::default()),
                        expr: arg.clone(),
                    });
                }
                let literal: ExprStruct = {
                    let name = alias(index);
                    parse_quote!(#name { #fields })
                };
                *expr = parse_quote!((#literal));
            }
            // `Array1::<f64>::zeros(n)`
            Expr::Path(path) if path.path.segments.iter().any(|segment| segment.ident == "arrays") => {
                for segment in &mut path.path.segments {
                    if let PathArguments::AngleBracketed(arguments) = &mut segment.arguments {
                        for argument in &mut arguments.args {
                            if let GenericArgument::Type(ty) = argument {
                                self.convert(ty, &|_| false);
                            }
                        }
                    }
                }
            }
            _ => {}
        }
    }

    fn pattern(&mut self, pat: &mut Pat) {
        match pat {
            Pat::Struct(pat) => {
                if let Some(index) = self.index(&pat.path) {
                    pat.path = Path::from(alias(index));
                }
            }
            Pat::TupleStruct(tuple) => {
                let Some(index) = self.index(&tuple.path) else { return };
                let rest = tuple.elems.iter().find_map(|elem| match elem {
                    Pat::Rest(rest) => Some(rest.clone()),
                    _ => None,
                });
                let elems = tuple.elems.iter().take_while(|elem| !matches!(elem, Pat::Rest(_)));
                let fields = elems.enumerate().map(|(index, elem)| FieldPat {
                    attrs: Vec::new(),
                    member: unnamed(index),
                    colon_token: Some(<Token![:]>::default()),
                    pat: Box::new(elem.clone()),
                });
                *pat = Pat::Struct(PatStruct {
                    attrs: Vec::new(),
                    qself: None,
                    path: Path::from(alias(index)),
                    brace_token: token::Brace::default(),
                    fields: fields.collect(),
                    rest,
                });
            }
            _ => {}
        }
    }
}

/// The type of a parameter in the twin.
pub fn parameter(param: &Param) -> TokenStream {
    let span = param.span;
    if param.role == Role::Constant || is_str(param) {
        let ty = with_lifetime(&param.ty, "'_");
        return quote_spanned!(span=> #ty);
    }
    let owned = owned(param);
    let reference = param.by_ref.then(|| quote_spanned!(span=> &));
    quote_spanned!(span=> #reference #owned)
}

/// The owned twin of a parameter, without its outer reference.
pub fn owned(param: &Param) -> TokenStream {
    let span = param.span;
    if let Some(float) = ast::scalar(&param.inner) {
        let float = Ident::new(float, span);
        return quote_spanned!(span=> ::autograd::__private::Real<#float>);
    }
    match param.form {
        Form::Int => {
            let ty = &param.inner;
            return quote_spanned!(span=> ::autograd::__private::Int<#ty>);
        }
        Form::List => {
            let ty = item(param);
            return quote_spanned!(span=> ::autograd::__private::List<#ty>);
        }
        Form::Table => {
            let row = row(param);
            return quote_spanned!(span=> ::autograd::__private::Table<#row>);
        }
        Form::Plain => {}
    }
    let ty = projection(&param.inner, "Twin");
    quote_spanned!(span=> #ty)
}

/// The gradient of a parameter inside another twin.
pub fn gradient(param: &Param) -> TokenStream {
    if param.indexed.is_some() {
        let (ty, span) = (projection(&param.inner, "Twin"), param.span);
        return quote_spanned!(span=> #ty);
    }
    owned(param)
}

/// The twin of a row of a parameter that is a table.
fn row(param: &Param) -> Type {
    let mut row = item(param).clone();
    if param.indexed.is_some() {
        return parse_quote!(::std::vec::Vec<::autograd::__private::Real<#row>>);
    }
    if let Type::Array(ty) = &mut row
        && let Some(float) = ast::scalar(&ty.elem)
    {
        let float = Ident::new(float, param.span);
        *ty.elem = parse_quote!(::autograd::__private::Real<#float>);
    }
    row
}

/// The trait by which a caller's twin gives a list or table, its method, and its result's element or row.
pub fn listed(param: &Param) -> Option<(TokenStream, Ident)> {
    let (name, method, item) = match param.form {
        Form::List => ("AsList", "as_list", item(param).clone()),
        Form::Table => ("AsTable", "as_table", row(param)),
        Form::Int | Form::Plain => return None,
    };
    let (name, method) = (Ident::new(name, param.span), Ident::new(method, param.span));
    Some((quote!(::autograd::__private::#name<#item>), method))
}

/// The element of a parameter that is a list.
pub fn item(param: &Param) -> &Type {
    match ast::ungroup(&param.inner) {
        Type::Slice(ty) => &ty.elem,
        Type::Array(ty) => &ty.elem,
        Type::Path(ty) => ast::first_argument(ty).unwrap_or(&param.inner),
        ty => ty,
    }
}

/// Whether the parameter is declared `&str`: its twin takes the `String`'s slice.
pub fn is_str(param: &Param) -> bool {
    let name = |ty: &Type| matches!(ty, Type::Path(ty) if ty.path.is_ident("str"));
    param.by_ref && name(&param.inner)
}

/// Whether the parameter is declared `&[A]` or a reference to floats: a caller's twin may pass any
/// slice of twins, or plain floats.
pub fn is_open(param: &Param) -> bool {
    let slice = matches!(ast::ungroup(&param.inner), Type::Slice(_));
    let fixed = param.role == Role::Constant || param.form != Form::Plain;
    param.by_ref && !fixed && (slice || is_floats(&param.inner))
}

/// Whether the parameter is declared as an array or tuple of floats, which may be given plain.
pub fn is_convertible(param: &Param) -> bool {
    !param.by_ref && param.role == Role::Differentiable && param.form == Form::Plain && is_floats(&param.inner)
}

/// Whether the type is an array or tuple of floats.
fn is_floats(ty: &Type) -> bool {
    let floats = |ty: &Type| ast::scalar(ty).is_some() || is_floats(ty);
    match ast::ungroup(ty) {
        Type::Array(ty) => floats(&ty.elem),
        Type::Tuple(ty) => !ty.elems.is_empty() && ty.elems.iter().all(floats),
        _ => false,
    }
}

/// `<A as Arg>::NAME`, with every lifetime in `A` made `'static` (no associated type holds one).
pub fn projection(ty: &Type, name: &str) -> Type {
    let span = ty.span();
    let ty = with_lifetime(ty, "'static");
    let name = Ident::new(name, span);
    parse_quote_spanned!(span=> <#ty as ::autograd::__private::Arg>::#name)
}

/// The type with every lifetime in it, written or elided, made `lifetime`.
pub fn with_lifetime(ty: &Type, lifetime: &str) -> Type {
    let lifetime = Lifetime::new(lifetime, proc_macro2::Span::call_site());
    let mut ty = ty.clone();
    Relabel(lifetime).visit_type_mut(&mut ty);
    ty
}

struct Relabel(Lifetime);

impl VisitMut for Relabel {
    fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
        *lifetime = self.0.clone();
    }

    fn visit_type_reference_mut(&mut self, ty: &mut syn::TypeReference) {
        ty.lifetime = Some(self.0.clone());
        visit_mut::visit_type_reference_mut(self, ty);
    }

    fn visit_path_segment_mut(&mut self, segment: &mut syn::PathSegment) {
        // The views of ndarray may leave their lifetime out.
        if segment.ident.to_string().starts_with("ArrayView")
            && let PathArguments::AngleBracketed(arguments) = &mut segment.arguments
            && !arguments.args.iter().any(|arg| matches!(arg, GenericArgument::Lifetime(_)))
        {
            arguments.args.insert(0, GenericArgument::Lifetime(self.0.clone()));
        }
        visit_mut::visit_path_segment_mut(self, segment);
    }
}

/// Which argument of a container is its element (the error of a `Result` is nobody's twin).
fn element(container: &str) -> Option<usize> {
    match container {
        name if CONTAINERS.contains(&name) => Some(0),
        name if MAPS.contains(&name) => Some(1),
        _ => None,
    }
}

fn alias(index: usize) -> Ident {
    format_ident!("__t{index}")
}

/// Adds the types that may be structs with a twin of their own.
fn named(ty: &Type, structs: &mut Vec<TypePath>) {
    match ast::ungroup(ty) {
        Type::Reference(ty) => named(&ty.elem, structs),
        Type::Slice(ty) => named(&ty.elem, structs),
        Type::Array(ty) => named(&ty.elem, structs),
        Type::Tuple(ty) => ty.elems.iter().for_each(|ty| named(ty, structs)),
        Type::Path(ty) if ty.qself.is_none() => {
            let Some(last) = ty.path.segments.last() else { return };
            let name = last.ident.to_string();
            if CONTAINERS.contains(&name.as_str()) {
                if let Some(ty) = ast::first_argument(ty) {
                    named(ty, structs);
                }
                return;
            }
            let kept = KEPT.contains(&name.as_str()) || name.starts_with("Array");
            let number = ast::is_integer(&name) || name == "f64" || name == "f32";
            if kept || number || structs.contains(ty) {
                return;
            }
            structs.push(ty.clone());
        }
        _ => {}
    }
}
