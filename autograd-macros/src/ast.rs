//! Turns a `syn::ItemFn` into a [`Function`]: what the expansion reads of it.
//!
//! Invariant: nothing here fails. What is not supported is read as it stands and refused by
//! [`valid`](crate::valid), which runs before anything is expanded.

use proc_macro2::Span;
use quote::format_ident;
use syn::ext::IdentExt;
use syn::visit::{self, Visit};
use syn::{Attribute, Block, FnArg, Ident, ItemFn, LitFloat, Pat, PathArguments, ReturnType, Type};

use crate::options::Options;
use crate::recursion;

/// An annotated function.
pub struct Function {
    /// The function without `#[constant]` on its parameters: what stays of it.
    pub original: ItemFn,
    pub params: Vec<Param>,
    /// The declared return type; absent for `fn f()`.
    pub ret: Option<Type>,
    /// The only float type that the text mentions, if it mentions one only.
    pub float: Option<&'static str>,
    /// Whether the twin gives a list in the place of a vector, once the body has been looked at.
    pub lists: bool,
    /// Whether it calls itself, in a way that has a compiled form.
    pub recursive: bool,
    /// The options beside `wrt`.
    pub max_trips: Option<u64>,
    pub memory: Option<u64>,
    /// The function that is zero at the solution that this one finds.
    pub root: Option<syn::Path>,
    /// Whether it is an error to run on the dynamic engine.
    pub compiled: bool,
    /// Its name in messages.
    pub title: String,
    /// What stays of its body, if not what it is: a method's hidden function calls the method.
    pub delegate: Option<Block>,
}

/// A parameter.
pub struct Param {
    /// Its name, or `arg1` where the pattern is not an identifier.
    pub name: Ident,
    pub pat: Pat,
    /// The declared type.
    pub ty: Type,
    /// The declared type without its outer `&`.
    pub inner: Type,
    /// Whether the declared type is `&inner`.
    pub by_ref: bool,
    pub role: Role,
    /// Whether the derivatives are taken with respect to it.
    pub wrt: bool,
    /// What it is in the twin, once the body has been looked at.
    pub form: Form,
    /// A list or table, if it is an array of ndarray's of which the body only reads elements and lengths.
    pub indexed: Option<Form>,
    pub span: Span,
}

/// What a parameter is in the twin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// The twin of its type; the values of integers and the lengths of lists are known.
    Plain,
    /// An integer whose value is left open.
    Int,
    /// A list of floats whose length is left open.
    List,
    /// A list of arrays of floats whose length is left open.
    Table,
}

/// How a parameter enters the compiled function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It may be differentiated.
    Differentiable,
    /// Its type has no derivative (an integer, a string, ..).
    Static,
    /// It is marked `#[constant]`.
    Constant,
}

impl Function {
    /// Reads `item`; `wrt` names that do not exist are left to `valid`.
    pub fn read(item: ItemFn, options: &Options) -> Function {
        let mut floats = Floats::default();
        floats.visit_item_fn(&item);
        let mut params: Vec<Param> = Vec::new();
        for (index, arg) in item.sig.inputs.iter().enumerate() {
            if let FnArg::Typed(arg) = arg {
                params.push(Param::read(index, arg, options));
            }
        }
        let ret = match &item.sig.output {
            ReturnType::Default => None,
            ReturnType::Type(_, ty) => Some((**ty).clone()),
        };
        let mut original = item;
        strip_constant(&mut original);
        let (max_trips, memory) = (options.max_trips, options.memory);
        let (float, title) = (floats.only(), bare(&original.sig.ident));
        let root = options.root.clone();
        let mut function = Function {
            original,
            params,
            ret,
            float,
            max_trips,
            memory,
            root,
            compiled: options.compiled,
            title,
            delegate: None,
            lists: false,
            recursive: false,
        };
        function.recursive = recursion::applies(&function);
        function
    }

    /// The function that the twins of others call.
    pub fn called(&self) -> Ident {
        format_ident!("{}", if self.recursive { "__recursive" } else { "__twin" })
    }

    /// The function that an entry point runs.
    pub fn staged(&self) -> Ident {
        if self.lists && self.root.is_none() { format_ident!("__listed") } else { self.called() }
    }

    pub fn name(&self) -> &Ident {
        &self.original.sig.ident
    }

    /// The `#[cfg(..)]` attributes, which everything generated shares.
    pub fn cfgs(&self) -> impl Iterator<Item = &Attribute> {
        self.original.attrs.iter().filter(|attr| attr.path().is_ident("cfg"))
    }
}

impl Param {
    fn read(index: usize, arg: &syn::PatType, options: &Options) -> Param {
        let name = match &*arg.pat {
            Pat::Ident(pat) => pat.ident.clone(),
            _ => format_ident!("arg{index}"),
        };
        let (inner, by_ref) = match ungroup(&arg.ty) {
            Type::Reference(ty) => ((*ty.elem).clone(), true),
            ty => (ty.clone(), false),
        };
        let role = if arg.attrs.iter().any(is_constant) {
            Role::Constant
        } else if is_static(&arg.ty) {
            Role::Static
        } else {
            Role::Differentiable
        };
        let wrt = role == Role::Differentiable && options.wrt.as_ref().is_none_or(|names| names.contains(&name));
        let span = syn::spanned::Spanned::span(&arg.ty);
        Param {
            name,
            pat: (*arg.pat).clone(),
            ty: (*arg.ty).clone(),
            inner,
            by_ref,
            role,
            wrt,
            form: Form::Plain,
            indexed: None,
            span,
        }
    }
}

/// Whether the attribute is `#[constant]`.
pub fn is_constant(attr: &Attribute) -> bool {
    attr.path().is_ident("constant")
}

/// Whether this is `#[tensors]`: a struct of what is its own twin.
pub fn is_own_twin(attr: &Attribute) -> bool {
    attr.path().is_ident("tensors")
}

/// Removes `#[constant]`, which only the macro understands, from the parameters.
pub fn strip_constant(item: &mut ItemFn) {
    for arg in &mut item.sig.inputs {
        if let FnArg::Typed(arg) = arg {
            arg.attrs.retain(|attr| !is_constant(attr));
        }
    }
}

/// Whether a value of the type has no derivative, as far as its spelling tells.
pub fn is_static(ty: &Type) -> bool {
    match ungroup(ty) {
        Type::Reference(ty) => is_static(&ty.elem),
        Type::Slice(ty) => is_static(&ty.elem),
        Type::Array(ty) => is_static(&ty.elem),
        Type::Tuple(ty) => ty.elems.iter().all(is_static),
        Type::Path(ty) => {
            let Some(last) = ty.path.segments.last() else { return false };
            let name = last.ident.to_string();
            match name.as_str() {
                "bool" | "char" | "str" | "String" => true,
                "Vec" | "Option" | "Box" | "Tensor" => first_argument(ty).is_some_and(is_static),
                name => is_integer(name),
            }
        }
        _ => false,
    }
}

/// Whether the name is that of a primitive integer type.
pub fn is_integer(name: &str) -> bool {
    const INTEGERS: [&str; 12] =
        ["u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize"];
    INTEGERS.contains(&name)
}

/// Whether the name is that of an integer type of which the runtime has parameters.
pub fn is_counter(name: &str) -> bool {
    is_integer(name) && !name.ends_with("128")
}

/// Whether the parameter is an integer by value.
pub fn counts(param: &Param) -> bool {
    let named = |ty: &Type| matches!(ungroup(ty), Type::Path(ty) if ty.path.get_ident().is_some_and(|name| is_counter(&name.to_string())));
    !param.by_ref && param.role == Role::Static && named(&param.ty)
}

/// `f64` or `f32` when the type is spelled so.
pub fn scalar(ty: &Type) -> Option<&'static str> {
    match ungroup(ty) {
        Type::Path(ty) if ty.qself.is_none() && ty.path.is_ident("f64") => Some("f64"),
        Type::Path(ty) if ty.qself.is_none() && ty.path.is_ident("f32") => Some("f32"),
        _ => None,
    }
}

/// Whether the type is an array of floats.
pub fn is_row(ty: &Type) -> bool {
    matches!(ungroup(ty), Type::Array(ty) if scalar(&ty.elem).is_some())
}

/// The type inside parentheses and invisible groups.
pub fn ungroup(ty: &Type) -> &Type {
    match ty {
        Type::Group(ty) => ungroup(&ty.elem),
        Type::Paren(ty) => ungroup(&ty.elem),
        ty => ty,
    }
}

/// `T` of `Vec<T>`.
pub fn first_argument(ty: &syn::TypePath) -> Option<&Type> {
    match &ty.path.segments.last()?.arguments {
        PathArguments::AngleBracketed(arguments) => arguments.args.iter().find_map(|argument| match argument {
            syn::GenericArgument::Type(ty) => Some(ty),
            _ => None,
        }),
        _ => None,
    }
}

/// The name without `r#`, for building other names from it.
pub fn bare(name: &Ident) -> String {
    name.unraw().to_string()
}

/// Which float types a function's text mentions.
#[derive(Default)]
struct Floats {
    f32: bool,
    f64: bool,
}

impl Floats {
    fn note(&mut self, text: &str) {
        self.f32 |= text == "f32";
        self.f64 |= text == "f64";
    }

    fn only(&self) -> Option<&'static str> {
        match (self.f32, self.f64) {
            (true, false) => Some("f32"),
            (false, true) => Some("f64"),
            _ => None,
        }
    }
}

impl<'ast> Visit<'ast> for Floats {
    fn visit_ident(&mut self, ident: &'ast Ident) {
        self.note(&ident.to_string());
    }

    fn visit_lit_float(&mut self, lit: &'ast LitFloat) {
        self.note(lit.suffix());
        visit::visit_lit_float(self, lit);
    }
}
