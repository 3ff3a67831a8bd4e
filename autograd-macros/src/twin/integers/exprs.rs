//! Statements and expressions: each is rewritten once, and its kind is told.

use quote::quote;
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{BinOp, Block, Expr, ExprIf, Lit, Stmt, Type, UnOp, parse_quote_spanned};

use super::super::{flow, macros};
use super::calls::Called;
use super::extremes::Taker;
use super::{Integers, Kind, int, number, unparenthesised};

/// Methods of integers that `Int` has, beside `pow`.
pub(super) const METHODS: [&str; 18] = [
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
    "count_ones",
    "count_zeros",
    "leading_ones",
    "leading_zeros",
    "trailing_ones",
    "trailing_zeros",
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
    fn visit_pat_mut(&mut self, _: &mut syn::Pat) {}
    fn visit_path_mut(&mut self, _: &mut syn::Path) {}
}

impl Integers<'_> {
    /// Rewrites an expression whose value has to be what it was.
    pub(super) fn plain(&mut self, e: &mut Expr) {
        if let Some(id) = self.var(e) {
            self.vars[id].used = true;
            if self.vars[id].looked_up {
                self.reject(id);
            }
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
        self.expr_for(e, Taker::Other)
    }

    /// The same, for what takes it.
    pub(super) fn expr_for(&mut self, e: &mut Expr, taker: Taker) -> Kind {
        if let Some((with, kind)) = self.search(e, taker) {
            *e = with;
            return kind;
        }
        match e {
            Expr::Path(_) => {
                let Some(id) = self.var(e) else { return Kind::Plain };
                self.vars[id].used = true;
                // where it may be a plain float it has to be
                if self.vars[id].looked_up {
                    self.reject(id);
                }
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
                if self.is_traced_with(&binary.left, &[]) {
                    self.look_up_value(&mut binary.right);
                }
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
        if flow::calculates(&op) || flow::compares(&op) {
            self.look_up_beside(&mut binary.left, &mut binary.right);
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
    pub(super) fn operand(&mut self, e: &mut Expr) -> Kind {
        match self.expr_for(e, Taker::Operation) {
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
            Expr::MethodCall(call) if call.method == "any" || call.method == "all" => match self.test(call) {
                Some(found) => *e = found,
                None => self.plain(e),
            },
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
        // what it grows from may be something now
        var.iter().for_each(|&id| self.vars[id].grows = false);
        match var.map(|id| (id, self.vars[id].kind)) {
            Some((id, Kind::Int)) => {
                if !self.is_reachable(id) {
                    self.reject(id);
                }
                self.int(right);
            }
            Some((id, Kind::List)) if !self.vars[id].lent && self.gives_list(right) => self.take_list(right, id),
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
            Some((id, Kind::Float)) if self.vars[id].traced => {
                self.look_up_value(right);
                self.plain(right);
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
        let receiver = self.expr_for(&mut call.receiver, Taker::Operation);
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
                let special = self.vars[id].looked_up
                    || matches!(self.vars[id].kind, Kind::Int | Kind::List | Kind::Table) && !self.vars[id].lent;
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
            block.stmts.iter_mut().for_each(|stmt| kind = v.statement(stmt));
            kind
        })
    }

    /// A statement; the kind of the value that it is, if it is one.
    pub(super) fn statement(&mut self, stmt: &mut Stmt) -> Kind {
        match stmt {
            Stmt::Local(local) => self.local(local),
            Stmt::Expr(e, None) => {
                let kind = self.expr(e);
                if kind.is_list() {
                    self.spoil(e);
                    return Kind::Plain;
                }
                if self.var(e).is_some_and(|id| self.is_inner(id)) && kind == Kind::Int {
                    int(e);
                }
                return kind;
            }
            Stmt::Expr(e, Some(_)) => drop(self.expr(e)),
            Stmt::Macro(m) => self.macro_call(&mut m.mac),
            Stmt::Item(_) => {}
        }
        Kind::Plain
    }

    /// Whether the variable was declared in the innermost scope.
    pub(super) fn is_inner(&self, id: usize) -> bool {
        self.scopes.last().is_some_and(|scope| scope.values().any(|&v| v == id))
    }
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

fn is_new(path: &syn::ExprPath) -> bool {
    path.path.get_ident().is_some_and(|name| name.to_string().starts_with("__new"))
}
