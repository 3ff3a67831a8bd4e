//! Statements and expressions: each is rewritten once, and its kind is told.

use quote::quote;
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{BinOp, Block, Expr, ExprCall, ExprIf, Lit, Local, Pat, Stmt, Type, UnOp, parse_quote_spanned};

use super::super::{calls, flow, macros};
use super::tables::table_type;
use super::{Integers, Kind, int, integer, number, unparenthesised};
use crate::ast;

/// Methods of integers that `Int` has, beside `pow`.
const METHODS: [&str; 12] = [
    "min",
    "max",
    "abs",
    "abs_diff",
    "rem_euclid",
    "div_euclid",
    "clamp",
    "saturating_sub",
    "wrapping_add",
    "wrapping_sub",
    "wrapping_mul",
    "signum",
];

impl VisitMut for Integers<'_> {
    fn visit_expr_mut(&mut self, e: &mut Expr) {
        self.plain(e);
    }
    fn visit_block_mut(&mut self, block: &mut Block) {
        self.block_value(block);
    }
    fn visit_item_mut(&mut self, _: &mut syn::Item) {}
    fn visit_type_mut(&mut self, _: &mut Type) {}
    fn visit_pat_mut(&mut self, _: &mut Pat) {}
    fn visit_path_mut(&mut self, _: &mut syn::Path) {}
}

impl Integers<'_> {
    /// Rewrites an expression whose value has to be what it was.
    pub(super) fn plain(&mut self, e: &mut Expr) {
        if let Some(id) = self.var(e) {
            self.vars[id].used = true;
            match self.vars[id].kind {
                Kind::Int => self.reject(id),
                Kind::List | Kind::Table => self.plain_list(e, id),
                _ => {}
            }
            return;
        }
        if let Expr::Reference(r) = e
            && r.mutability.is_none()
            && let Expr::Index(index) = &mut *r.expr
            && (self.list(&index.expr).is_some() || self.table(&index.expr).is_some())
            && let Expr::Range(_) = &*index.index
        {
            return self.plain(&mut index.index);
        }
        if self.expr(e) == Kind::Int {
            self.known(e);
        }
    }

    /// A block whose value has to be what it was.
    pub(super) fn block_value(&mut self, block: &mut Block) {
        if self.block(block) == Kind::Int
            && let Some(Stmt::Expr(e, None)) = block.stmts.last_mut()
        {
            match self.var(e) {
                Some(id) => self.reject(id),
                None => self.known(e),
            }
        }
    }

    /// Makes an `Int` of an expression.
    fn int(&mut self, e: &mut Expr) {
        match self.expr(e) {
            Kind::Number => number(e),
            Kind::Int => {}
            Kind::List | Kind::Table => self.spoil(e),
            _ => int(e),
        }
    }

    /// Rewrites an expression that may be an `Int` or not; its kind.
    pub(super) fn expr(&mut self, e: &mut Expr) -> Kind {
        match e {
            Expr::Path(_) => {
                let Some(id) = self.var(e) else { return Kind::Plain };
                self.vars[id].used = true;
                self.vars[id].kind
            }
            Expr::Lit(lit) => match &lit.lit {
                Lit::Int(int) if !int.suffix().starts_with('f') => Kind::Number,
                _ => Kind::Plain,
            },
            Expr::Paren(inner) => self.expr(&mut inner.expr),
            Expr::Group(inner) => self.expr(&mut inner.expr),
            Expr::Unary(unary) => match unary.op {
                UnOp::Neg(_) | UnOp::Not(_) => match self.expr(&mut unary.expr) {
                    kind @ (Kind::Int | Kind::Number) => kind,
                    Kind::List | Kind::Table => {
                        self.spoil(&mut unary.expr);
                        Kind::Plain
                    }
                    _ => Kind::Plain,
                },
                _ => {
                    self.plain(&mut unary.expr);
                    Kind::Plain
                }
            },
            Expr::Binary(_) => self.binary(e),
            Expr::Assign(_) => {
                self.assign(e);
                Kind::Plain
            }
            Expr::Index(_) => match self.index(e) {
                Kind::Float => Kind::Plain,
                kind => kind,
            },
            Expr::Reference(reference) => {
                if reference.mutability.is_some() {
                    self.lend(&mut reference.expr);
                } else {
                    self.plain(&mut reference.expr);
                }
                Kind::Plain
            }
            Expr::MethodCall(_) => self.method(e),
            Expr::Call(call) => match self.call(call) {
                Called::Kind(kind) => kind,
                Called::Other(with, kind) => {
                    *e = with;
                    kind
                }
            },
            Expr::If(choice) => self.choice(choice),
            Expr::Match(_) => self.choose(e),
            Expr::Block(block) if block.label.is_none() => self.block(&mut block.block),
            Expr::Unsafe(block) => self.block(&mut block.block),
            Expr::While(repeat) => {
                self.nested(|v| {
                    v.cond(&mut repeat.cond);
                    v.block(&mut repeat.body);
                });
                Kind::Plain
            }
            Expr::Loop(repeat) => {
                self.block(&mut repeat.body);
                Kind::Plain
            }
            Expr::ForLoop(_) => {
                self.for_loop(e);
                Kind::Plain
            }
            Expr::Let(binding) => {
                self.plain(&mut binding.expr);
                self.declare(&binding.pat);
                Kind::Plain
            }
            Expr::Closure(closure) => {
                self.closures += 1;
                self.nested(|v| {
                    closure.inputs.iter().for_each(|pat| v.declare(pat));
                    v.plain(&mut closure.body);
                });
                self.closures -= 1;
                Kind::Plain
            }
            // a length of the type system is a constant
            Expr::Repeat(repeat) => {
                self.plain(&mut repeat.expr);
                Kind::Plain
            }
            Expr::Break(exit) => {
                if let Some(value) = &mut exit.expr {
                    // shown to be a float, so that `exits` knows
                    let float = self.is_float(value);
                    self.plain(value);
                    if float && let Some(ty) = self.float {
                        let (ty, span) = (super::hidden(ty), value.span());
                        let inner = unparenthesised(value);
                        **value = parse_quote_spanned!(span=> ::autograd::__private::lift::<#ty, _>(#inner));
                    }
                }
                Kind::Plain
            }
            Expr::Macro(m) => {
                self.macro_call(&mut m.mac);
                Kind::Plain
            }
            Expr::Range(range) => {
                [&mut range.start, &mut range.end].into_iter().flatten().for_each(|bound| self.plain(bound));
                Kind::Range
            }
            Expr::Const(_) => Kind::Plain,
            Expr::Struct(literal) => {
                for field in &mut literal.fields {
                    field.colon_token.get_or_insert_default();
                    self.plain(&mut field.expr);
                }
                if let Some(rest) = &mut literal.rest {
                    self.plain(rest);
                }
                Kind::Plain
            }
            e => {
                visit_mut::visit_expr_mut(self, e);
                Kind::Plain
            }
        }
    }

    /// A list that is to be plain after all.
    pub(super) fn spoil(&mut self, e: &mut Expr) {
        if let Some(id) = self.list(e) {
            self.plain_list(e, id);
        }
    }

    fn binary(&mut self, e: &mut Expr) -> Kind {
        let Expr::Binary(binary) = e else { return Kind::Plain };
        let op = binary.op;
        if flow::is_assignment(&op) {
            if let Some(id) = self.var(&binary.left).filter(|&id| self.vars[id].kind == Kind::Int) {
                if !self.is_reachable(id) {
                    self.reject(id);
                }
                self.operand(&mut binary.right);
            } else if self.is_element(&binary.left) {
                *e = self.change(&mut binary.left, op, &mut binary.right);
            } else {
                self.place(&mut binary.left);
                self.plain(&mut binary.right);
            }
            return Kind::Plain;
        }
        if matches!(op, BinOp::And(_) | BinOp::Or(_)) {
            self.cond(&mut binary.left);
            self.cond(&mut binary.right);
            return Kind::Plain;
        }
        let (left, right) = (self.operand(&mut binary.left), self.operand(&mut binary.right));
        if left != Kind::Int && right != Kind::Int {
            let literals = left == Kind::Number && right == Kind::Number && !flow::compares(&op);
            return if literals { Kind::Number } else { Kind::Plain };
        }
        if flow::compares(&op) {
            // as a condition it may be staged; read by plain code it is a plain comparison
            if left == Kind::Int {
                int(&mut binary.left)
            } else {
                int(&mut binary.right)
            }
            return Kind::Plain;
        }
        if matches!(op, BinOp::Shl(_) | BinOp::Shr(_)) && left != Kind::Int {
            match left {
                Kind::Number => number(&mut binary.left),
                _ => int(&mut binary.left),
            }
        }
        Kind::Int
    }

    /// An operand beside an `Int`; its kind.
    fn operand(&mut self, e: &mut Expr) -> Kind {
        match self.expr(e) {
            Kind::List | Kind::Table => {
                self.spoil(e);
                Kind::Plain
            }
            kind => kind,
        }
    }

    /// A condition.
    pub(super) fn cond(&mut self, e: &mut Expr) {
        match e {
            Expr::Paren(inner) => self.cond(&mut inner.expr),
            Expr::Group(inner) => self.cond(&mut inner.expr),
            Expr::Unary(unary) if matches!(unary.op, UnOp::Not(_)) => self.cond(&mut unary.expr),
            Expr::MethodCall(call) if call.method == "is_empty" && self.place_of(&call.receiver).is_some() => {
                self.make_place(&mut call.receiver);
                let (list, span) = (&call.receiver, call.span());
                *e = parse_quote_spanned!(span=> ::autograd::__private::int(#list.len()) == 0);
            }
            Expr::MethodCall(call) if call.method == "is_empty" && self.table_place(&call.receiver).is_some() => {
                self.make_table_place(&mut call.receiver);
                let (table, span) = (&call.receiver, call.span());
                *e = parse_quote_spanned!(span=> ::autograd::__private::int(#table.len()) == 0);
            }
            // by a literal, which is not 0 as it would have to be for another result
            Expr::MethodCall(call)
                if call.method == "is_multiple_of" && matches!(call.args.first(), Some(Expr::Lit(_))) =>
            {
                if self.operand(&mut call.receiver) == Kind::Int {
                    let (n, by, span) = (&call.receiver, &call.args[0], call.span());
                    *e = parse_quote_spanned!(span=> ::autograd::__private::int((#n) % #by) == 0);
                }
            }
            e => {
                if let Expr::Let(_) | Expr::Binary(_) = e {
                    self.expr(e);
                } else {
                    self.plain(e);
                }
            }
        }
    }

    /// A place that is written to: what is computed in it.
    pub(super) fn place(&mut self, e: &mut Expr) {
        match e {
            Expr::Path(_) => {
                if let Some(id) = self.var(e)
                    && self.vars[id].kind != Kind::Plain
                    && self.vars[id].kind != Kind::Float
                {
                    self.reject(id);
                }
            }
            Expr::Field(field) => self.place(&mut field.base),
            Expr::Index(index) => {
                self.place(&mut index.expr);
                self.plain(&mut index.index);
            }
            Expr::Paren(inner) => self.place(&mut inner.expr),
            Expr::Tuple(tuple) => tuple.elems.iter_mut().for_each(|e| self.place(e)),
            e => self.plain(e),
        }
    }

    /// `&mut e`.
    fn lend(&mut self, e: &mut Expr) {
        self.place(e);
    }

    fn assign(&mut self, e: &mut Expr) {
        let Expr::Assign(assign) = e else { return };
        if self.is_element(&assign.left) {
            *e = self.set(&mut assign.left, &mut assign.right);
            return;
        }
        let pair = match (&mut *assign.left, &mut *assign.right) {
            (Expr::Tuple(left), Expr::Tuple(right)) if left.elems.len() == right.elems.len() => Some((left, right)),
            _ => None,
        };
        let Some((left, right)) = pair else {
            return self.assign_one(&mut assign.left, &mut assign.right);
        };
        let mut sets = Vec::new();
        for (index, (left, right)) in left.elems.iter_mut().zip(&mut right.elems).enumerate() {
            if self.is_element(left) {
                let name = quote::format_ident!("__new{index}");
                let mut value: Expr = syn::parse_quote!(#name);
                self.plain(right);
                sets.push(self.set(left, &mut value));
                *left = value;
            } else {
                self.assign_one(left, right);
            }
        }
        if !sets.is_empty() {
            let names = left.elems.iter().filter(|e| matches!(e, Expr::Path(p) if is_new(p)));
            let (names, span) = (names.map(|name| quote!(let #name;)), assign.eq_token.span);
            *e = parse_quote_spanned!(span=> { #(#names)* #assign; #(#sets;)* });
        }
    }

    fn assign_one(&mut self, left: &mut Expr, right: &mut Expr) {
        let var = self.var(left);
        match var.map(|id| (id, self.vars[id].kind)) {
            Some((id, Kind::Int)) => {
                if !self.is_reachable(id) {
                    self.reject(id);
                }
                self.int(right);
            }
            Some((id, kind @ (Kind::List | Kind::Table))) => {
                if !self.vars[id].lent
                    && kind == self.listed_kind(right)
                    && !matches!(unparenthesised(right), Expr::Reference(_))
                {
                    self.make_listed(right, id);
                } else {
                    self.reject(id);
                    self.plain(right);
                }
            }
            Some(_) => self.plain(right),
            None => {
                self.place(left);
                self.plain(right);
            }
        }
    }

    fn method(&mut self, e: &mut Expr) -> Kind {
        let Expr::MethodCall(call) = e else { return Kind::Plain };
        if let Some(with) = self.chain(call, false) {
            *e = with;
            return Kind::Plain;
        }
        if let Some(id) = self.list(&call.receiver) {
            return self.list_method(e, id);
        }
        if let Some(id) = self.table(&call.receiver) {
            return self.table_method(e, id);
        }
        if let Some(kind) = self.part_method(call) {
            return kind;
        }
        let var = self.var(&call.receiver);
        let receiver = self.expr(&mut call.receiver);
        let name = call.method.to_string();
        let known_method = METHODS.contains(&name.as_str());
        if receiver == Kind::Int && name == "pow" {
            call.args.iter_mut().for_each(|arg| self.plain(arg));
            return Kind::Int;
        }
        if known_method && !receiver.is_list() && !call.args.is_empty() {
            let kinds: Vec<Kind> = call.args.iter_mut().map(|arg| self.operand(arg)).collect();
            if receiver == Kind::Int {
                return Kind::Int;
            }
            if kinds.contains(&Kind::Int) {
                match receiver {
                    Kind::Number => number(&mut call.receiver),
                    _ => int(&mut call.receiver),
                }
                return Kind::Int;
            }
            return if receiver == Kind::Number { Kind::Number } else { Kind::Plain };
        }
        if known_method && receiver == Kind::Int {
            return Kind::Int;
        }
        match (receiver, var) {
            (Kind::Int, Some(id)) => self.reject(id),
            (Kind::Int, None) if name == "clone" => return Kind::Int,
            (Kind::Int, None) => self.known(&mut call.receiver),
            (Kind::List | Kind::Table, _) => self.spoil(&mut call.receiver),
            _ => {}
        }
        call.args.iter_mut().for_each(|arg| self.plain(arg));
        Kind::Plain
    }

    fn call(&mut self, call: &mut ExprCall) -> Called {
        let span = call.span();
        let Expr::Path(func) = &*call.func else {
            self.plain(&mut call.func);
            call.args.iter_mut().for_each(|arg| self.plain(arg));
            return Called::Kind(Kind::Plain);
        };
        if let Some(target) = cast_target(func) {
            let kind = call.args.first_mut().map(|arg| self.operand(arg));
            if kind != Some(Kind::Int) {
                return Called::Kind(Kind::Plain);
            }
            let arg = &call.args[0];
            return match integer(&target) {
                Some(to) => {
                    let with = parse_quote_spanned!(span=> ::autograd::__private::convert::<#to, _>(#arg));
                    Called::Other(with, Kind::Int)
                }
                None if ast::scalar(&target).is_some() => Called::Kind(Kind::Plain),
                None => {
                    self.known(&mut call.args[0]);
                    Called::Kind(Kind::Plain)
                }
            };
        }
        // `f64::from(n)`
        if let Some(owner) = &func.qself
            && let Some(float) = real(&owner.ty)
            && func.path.is_ident("from")
            && call.args.len() == 1
        {
            if self.operand(&mut call.args[0]) == Kind::Int {
                let arg = &call.args[0];
                let with = parse_quote_spanned!(span=> ::autograd::__private::cast::<#float, _>(#arg));
                return Called::Other(with, Kind::Plain);
            }
            return Called::Kind(Kind::Plain);
        }
        if let Some(method) = integer_function(func) {
            let kinds: Vec<Kind> = call.args.iter_mut().map(|arg| self.operand(arg)).collect();
            if !kinds.contains(&Kind::Int) {
                return Called::Kind(Kind::Plain);
            }
            let mut args = call.args.iter().cloned();
            let Some(mut receiver) = args.next() else { return Called::Kind(Kind::Plain) };
            match kinds[0] {
                Kind::Number => number(&mut receiver),
                _ => int(&mut receiver),
            }
            return Called::Other(parse_quote_spanned!(span=> #receiver.#method(#(#args),*)), Kind::Int);
        }
        if is_swap(func)
            && let [Expr::Reference(a), Expr::Reference(b)] = &call.args.iter().collect::<Vec<_>>()[..]
            && let (Some(one), Some(other)) = (self.var(&a.expr), self.var(&b.expr))
        {
            let own =
                |id: usize| self.vars[id].kind == Kind::Int || self.vars[id].kind.is_list() && !self.vars[id].lent;
            if self.vars[one].kind == self.vars[other].kind && own(one) && own(other) {
                self.links.push((one, other));
                let (a, b) = (&a.expr, &b.expr);
                return Called::Other(parse_quote_spanned!(span=> (#a, #b) = (#b, #a)), Kind::Plain);
            }
        }
        let mutable = |arg: &Expr| matches!(arg, Expr::Reference(arg) if arg.mutability.is_some());
        let dispatched = calls::is_staged(func)
            || calls::importable(func, &|name| self.lookup(name).is_some()).is_some() && !call.args.iter().any(mutable);
        for (index, arg) in call.args.iter_mut().enumerate() {
            if dispatched && index < calls::MAX_ARGUMENTS { self.argument(arg) } else { self.plain(arg) }
        }
        Called::Kind(Kind::Plain)
    }

    /// An argument of a function that may take an `Int` or a `List`.
    fn argument(&mut self, e: &mut Expr) {
        if let Some(id) = self.var(e) {
            self.vars[id].used = true;
            if self.vars[id].kind.is_list() && !self.vars[id].lent {
                self.reject(id);
            }
            return;
        }
        if let Expr::Reference(r) = e
            && r.mutability.is_none()
        {
            if self.place_of(&r.expr).is_some() {
                self.make_place(&mut r.expr);
                return;
            }
            if self.table_place(&r.expr).is_some() {
                self.make_table_place(&mut r.expr);
                return;
            }
        }
        if self.expr(e).is_list() {
            self.spoil(e);
        }
    }

    fn choice(&mut self, choice: &mut ExprIf) -> Kind {
        let then = self.nested(|v| {
            v.cond(&mut choice.cond);
            v.block(&mut choice.then_branch)
        });
        let other = choice.else_branch.as_mut().map(|(_, branch)| self.expr(branch));
        let kinds = [then, other.unwrap_or(Kind::Plain)];
        if kinds.contains(&Kind::Int) {
            tail(&mut choice.then_branch);
            if let Some((_, branch)) = &mut choice.else_branch {
                tails(branch);
            }
            return Kind::Int;
        }
        Kind::Plain
    }

    fn macro_call(&mut self, mac: &mut syn::Macro) {
        let vector = macros::is(mac, "vec");
        let opened = macros::each_expr(mac, |e| self.plain(e));
        if vector && opened {
            return;
        }
        // names that the macro's text holds elsewhere
        for scope in &self.scopes {
            for (name, &id) in scope {
                let special = matches!(self.vars[id].kind, Kind::Int | Kind::List | Kind::Table) && !self.vars[id].lent;
                if special && super::lists::mentions(&mac.tokens, name, opened) {
                    self.rejected.insert(id);
                }
            }
        }
    }

    /// The statements of a block; the kind of its value.
    pub(super) fn block(&mut self, block: &mut Block) -> Kind {
        self.nested(|v| {
            let mut kind = Kind::Plain;
            for stmt in &mut block.stmts {
                kind = Kind::Plain;
                match stmt {
                    Stmt::Local(local) => v.local(local),
                    Stmt::Expr(e, None) => {
                        kind = v.expr(e);
                        if kind.is_list() {
                            v.spoil(e);
                            kind = Kind::Plain;
                        } else if v.var(e).is_some_and(|id| v.is_inner(id)) && kind == Kind::Int {
                            int(e);
                        }
                    }
                    Stmt::Expr(e, Some(_)) => drop(v.expr(e)),
                    Stmt::Macro(m) => v.macro_call(&mut m.mac),
                    Stmt::Item(_) => {}
                }
            }
            kind
        })
    }

    /// Whether the variable was declared in the innermost scope.
    fn is_inner(&self, id: usize) -> bool {
        self.scopes.last().is_some_and(|scope| scope.values().any(|&v| v == id))
    }

    fn local(&mut self, local: &mut Local) {
        let Some(init) = local.init.as_mut().filter(|init| init.diverge.is_none()) else {
            if let Some(init) = &mut local.init {
                self.plain(&mut init.expr);
                if let Some((_, diverge)) = &mut init.diverge {
                    self.plain(diverge);
                }
            }
            return self.declare(&local.pat);
        };
        self.binding(&mut local.pat, &mut init.expr);
    }

    /// `let pat = init`.
    fn binding(&mut self, pat: &mut Pat, init: &mut Expr) {
        let (names, annotation) = match pat {
            Pat::Type(pat) => (&mut *pat.pat, Some(&mut *pat.ty)),
            pat => (pat, None),
        };
        if let (Pat::Tuple(pat), None) = (&*names, &annotation)
            && let Some(halves) = self.halves(pat, init)
        {
            *init = halves;
        }
        match (names, init) {
            (Pat::Ident(name), init) if name.by_ref.is_none() && name.subpat.is_none() => {
                let (bare, id) = self.open(&name.ident);
                let (list, kind) = self.initialised(id, annotation.as_deref(), name.mutability.is_some(), init);
                if let Some(ty) = annotation
                    && let Some(to) = list
                {
                    *ty = to;
                }
                self.vars[id].kind = kind;
                self.name(&bare, id);
            }
            (Pat::Tuple(pats), Expr::Tuple(inits)) if annotation.is_none() && pats.elems.len() == inits.elems.len() => {
                let simple = |pat: &Pat| !matches!(pat, Pat::Rest(_));
                if pats.elems.iter().all(simple) {
                    // all are computed before any is bound
                    let mut bound = Vec::new();
                    for (pat, init) in pats.elems.iter_mut().zip(&mut inits.elems) {
                        match pat {
                            Pat::Ident(name) if name.by_ref.is_none() && name.subpat.is_none() => {
                                let (bare, id) = self.open(&name.ident);
                                let (_, kind) = self.initialised(id, None, name.mutability.is_some(), init);
                                self.vars[id].kind = kind;
                                bound.push((bare, id));
                            }
                            pat => {
                                self.plain(init);
                                bound.extend(super::names::bound(pat).iter().map(|name| self.open(name)));
                            }
                        }
                    }
                    bound.iter().for_each(|(name, id)| self.name(name, *id));
                } else {
                    inits.elems.iter_mut().for_each(|init| self.plain(init));
                    pats.elems.iter().for_each(|pat| self.declare(pat));
                }
            }
            (names, init) => {
                self.plain(init);
                self.declare(names);
            }
        }
    }

    /// The initial value of a variable: the new annotation, and the variable's kind.
    fn initialised(&mut self, id: usize, ty: Option<&Type>, mutable: bool, init: &mut Expr) -> (Option<Type>, Kind) {
        let candidate = !self.plain.contains(&id);
        let span = ty.map_or_else(proc_macro2::Span::call_site, Spanned::span);
        let kind = self.listed_kind(init);
        if candidate
            && kind.is_list()
            && let Some(to) = if kind == Kind::List { list_type(ty) } else { table_type(ty) }
            && !(mutable && matches!(unparenthesised(init), Expr::Reference(_)))
        {
            self.vars[id].optional = true;
            self.make_listed(init, id);
            return (to, kind);
        }
        let float = self.is_float(init) && ty.is_none_or(|ty| real(ty).is_some());
        let inferred = matches!(ty, None | Some(Type::Infer(_)));
        let named = ty.and_then(integer);
        let may_count = candidate && (inferred || named.is_some());
        let to = |name: Option<syn::Ident>| -> Option<Type> {
            let name = name?;
            Some(parse_quote_spanned!(span=> ::autograd::__private::Int<#name>))
        };
        let var = self.var(init);
        if let Expr::MethodCall(call) = init
            && ty.is_some_and(|ty| real(ty).is_some())
            && let Some(with) = self.chain(call, true)
        {
            *init = with;
            return (None, Kind::Float);
        }
        match self.expr(init) {
            Kind::Int if may_count => (to(named), Kind::Int),
            Kind::Number if may_count && mutable => {
                number(init);
                (to(named), Kind::Int)
            }
            Kind::Int => {
                match var {
                    Some(var) => self.reject(var),
                    None => self.known(init),
                }
                (None, Kind::Plain)
            }
            Kind::List | Kind::Table => {
                self.spoil(init);
                (None, Kind::Plain)
            }
            Kind::Range => (None, Kind::Range),
            _ if float => (None, Kind::Float),
            _ => (None, Kind::Plain),
        }
    }
}

/// A call as it was, or another expression in its place.
pub(super) enum Called {
    Kind(Kind),
    Other(Expr, Kind),
}

/// Makes `Int`s of the values that an expression ends with.
pub(super) fn tails(e: &mut Expr) {
    match e {
        Expr::If(choice) => {
            tail(&mut choice.then_branch);
            if let Some((_, branch)) = &mut choice.else_branch {
                tails(branch);
            }
        }
        Expr::Block(block) => tail(&mut block.block),
        Expr::Paren(inner) => tails(&mut inner.expr),
        Expr::Return(_) | Expr::Break(_) | Expr::Continue(_) | Expr::Macro(_) => {}
        Expr::Lit(_) => number(e),
        e => int(e),
    }
}

pub(super) fn tail(block: &mut Block) {
    if let Some(Stmt::Expr(e, None)) = block.stmts.last_mut() {
        tails(e);
    }
}

/// What the annotation of a list becomes; `None` if it is none of a list.
fn list_type(ty: Option<&Type>) -> Option<Option<Type>> {
    let Some(ty) = ty else { return Some(None) };
    let inner = match ast::ungroup(ty) {
        Type::Reference(ty) if ty.mutability.is_none() => {
            let Type::Slice(slice) = ast::ungroup(&ty.elem) else { return None };
            let float = real(&slice.elem)?;
            return Some(Some(parse_quote_spanned!(ty.span()=> &::autograd::__private::List<#float>)));
        }
        Type::Array(ty) => (*ty.elem).clone(),
        Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Vec") => {
            ast::first_argument(path)?.clone()
        }
        Type::Infer(_) => return Some(None),
        _ => return None,
    };
    if let Type::Infer(_) = inner {
        return Some(Some(parse_quote_spanned!(ty.span()=> ::autograd::__private::List<_>)));
    }
    let float = real(&inner)?;
    Some(Some(parse_quote_spanned!(ty.span()=> ::autograd::__private::List<#float>)))
}

/// `f64` of `Real<f64>`.
pub(super) fn real(ty: &Type) -> Option<Type> {
    let Type::Path(path) = ast::ungroup(ty) else { return None };
    let real = path.path.segments.last().is_some_and(|last| last.ident == "Real");
    ast::first_argument(path).filter(|ty| real && ast::scalar(ty).is_some()).cloned()
}

/// `T` of `::autograd::__private::cast::<T, _>`.
fn cast_target(func: &syn::ExprPath) -> Option<Type> {
    let last = func.path.segments.last().filter(|last| last.ident == "cast")?;
    func.path.leading_colon?;
    match &last.arguments {
        syn::PathArguments::AngleBracketed(to) => match to.args.first()? {
            syn::GenericArgument::Type(ty) => Some(ty.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// The method of `std::cmp::min(a, b)` or `usize::max(a, b)`.
fn integer_function(func: &syn::ExprPath) -> Option<syn::Ident> {
    let segments = &func.path.segments;
    if func.qself.is_some() || segments.len() < 2 {
        return None;
    }
    let (owner, name) = (&segments[segments.len() - 2].ident, &segments[segments.len() - 1].ident);
    let text = name.to_string();
    let order = owner == "cmp" && (text == "min" || text == "max");
    let own = segments.len() == 2 && ast::is_counter(&owner.to_string()) && METHODS.contains(&text.as_str());
    (order || own).then(|| name.clone())
}

fn is_swap(func: &syn::ExprPath) -> bool {
    let segments = &func.path.segments;
    let last = segments.last().is_some_and(|last| last.ident == "swap");
    last && (segments.len() == 1 || segments[segments.len() - 2].ident == "mem")
}

fn is_new(path: &syn::ExprPath) -> bool {
    path.path.get_ident().is_some_and(|name| name.to_string().starts_with("__new"))
}
