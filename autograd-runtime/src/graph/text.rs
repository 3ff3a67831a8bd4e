//! The text form, one node a line, which parses back to the same graph:
//!
//! ```text
//! %0 = input : f32[2,3]
//! %1 = sum(%0) {dims=[1]} : f32[2,1]
//! return %1
//! ```
//! Sub-graphs stand in braces as attributes, indented; `(f64[]) -> (f64[])` as one is the function around it.

use super::{Builder, Graph, NodeId, verify::projected};
use crate::{
    error::{Error, Result},
    op::{self, Attr, Op, OpDef, Signature, control, create},
    ty::{DType, RUN_TIME, Ty},
};
use rustc_hash::FxHashMap;
use std::{fmt, iter::Peekable, str::FromStr, sync::Arc};

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_graph(self, 0, f)
    }
}

fn write_graph(g: &Graph, indent: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let pad = "  ".repeat(indent);
    for (id, n) in g.nodes() {
        write!(f, "{pad}%{} = {}", id.index(), n.op.name())?;
        if !n.args.is_empty() {
            let args: Vec<String> = n.args.iter().map(|a| format!("%{}", a.index())).collect();
            write!(f, "({})", args.join(", "))?;
        }
        // the type says what an input's and a constant's attributes would
        if n.op.is(&create::CONST) {
            write!(f, " {}", literal(n.op.dtype(0), n.op.bits(1)))?;
        } else if !n.op.is(&create::INPUT) && !n.op.attrs.is_empty() {
            write!(f, " {{")?;
            for (i, (name, a)) in n.op.def.attrs.iter().zip(&n.op.attrs).enumerate() {
                write!(f, "{}{name}=", if i > 0 { ", " } else { "" })?;
                match a {
                    Attr::Int(n) => write!(f, "{n}")?,
                    Attr::Ints(v) => {
                        let extent = |&n: &i64| if n == RUN_TIME as i64 { "?".to_owned() } else { n.to_string() };
                        write!(f, "[{}]", v.iter().map(extent).collect::<Vec<_>>().join(","))?;
                    }
                    Attr::Bits(b) => write!(f, "{b:#x}")?,
                    Attr::DType(d) => write!(f, "{d}")?,
                    Attr::Graph(g) => {
                        writeln!(f, "{{")?;
                        write_graph(g, indent + 1, f)?;
                        write!(f, "{pad}}}")?;
                    }
                    Attr::Own(s) => {
                        let list = |tys: &[Ty]| tys.iter().map(Ty::to_string).collect::<Vec<_>>().join(", ");
                        write!(f, "({}) -> ({})", list(&s.ins), list(&s.outs))?;
                    }
                }
            }
            write!(f, "}}")?;
        }
        writeln!(f, " : {}", n.ty)?;
    }
    let outs: Vec<String> = g.outputs.iter().map(|o| format!("%{}", o.index())).collect();
    writeln!(f, "{pad}return {}", outs.join(", "))
}

/// A constant that reads back to the same bits: NaNs and the like as hexadecimal bits.
fn literal(dtype: DType, bits: u64) -> String {
    let x = create::number(dtype, bits);
    match dtype {
        DType::I64 => (bits as i64).to_string(),
        DType::Bool => (bits & 1 == 1).to_string(),
        DType::F32 if x.is_finite() => format!("{:?}", f32::from_bits(bits as u32)),
        DType::F64 if x.is_finite() => format!("{x:?}"),
        _ => format!("{bits:#x}"),
    }
}

impl FromStr for Graph {
    type Err = Error;
    fn from_str(text: &str) -> Result<Graph> {
        let mut p = Parser { tokens: tokens(text).peekable(), line: 1 };
        let g = p.graph()?;
        match p.tokens.next() {
            None => Ok(g),
            Some((line, t)) => Err(Error::Parse { line, message: format!("expected the end, found `{t}`") }),
        }
    }
}

/// Words and punctuation with their line numbers; `//` starts a comment.
fn tokens(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().flat_map(|(i, line)| {
        let mut rest = line.split("//").next().unwrap_or("");
        std::iter::from_fn(move || {
            rest = rest.trim_start();
            let word = |c: char| c.is_alphanumeric() || "_.%-+".contains(c);
            let first = rest.chars().next()?;
            let n = if word(first) { rest.find(|c| !word(c)).unwrap_or(rest.len()) } else { first.len_utf8() };
            let (token, tail) = rest.split_at(n);
            rest = tail;
            Some((i + 1, token))
        })
    })
}

/// How deep sub-graphs may nest in text: the parser recurses over them.
const MAX_DEPTH: usize = 64;

struct Parser<'a, I: Iterator<Item = (usize, &'a str)>> {
    tokens: Peekable<I>,
    line: usize,
}

impl<'a, I: Iterator<Item = (usize, &'a str)>> Parser<'a, I> {
    fn err<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(Error::Parse { line: self.line, message: message.into() })
    }
    fn next(&mut self) -> Result<&'a str> {
        match self.tokens.next() {
            Some((line, t)) => {
                self.line = line;
                Ok(t)
            }
            None => self.err("expected more, found the end"),
        }
    }
    fn is(&mut self, token: &str) -> bool {
        self.tokens.peek().is_some_and(|t| t.1 == token)
    }
    fn expect(&mut self, token: &str) -> Result<()> {
        match self.next()? {
            t if t == token => Ok(()),
            t => self.err(format!("expected `{token}`, found `{t}`")),
        }
    }
    fn number<T: FromStr>(&mut self, what: &str) -> Result<T> {
        let t = self.next()?;
        t.parse().or_else(|_| self.err(format!("expected {what}, found `{t}`")))
    }
    /// Items up to a closing token, separated by commas.
    fn list<T>(&mut self, close: &str, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut v = Vec::new();
        while !self.is(close) {
            if !v.is_empty() {
                self.expect(",")?;
            }
            v.push(item(self)?);
        }
        self.expect(close)?;
        Ok(v)
    }
    /// Whether the next is `?`, the extent of a list, which is passed over.
    fn open(&mut self) -> Result<bool> {
        let open = self.is("?");
        if open {
            self.next()?;
        }
        Ok(open)
    }
    fn ty(&mut self) -> Result<Ty> {
        let name = self.next()?;
        let Some(dtype) = DType::parse(name) else { return self.err(format!("expected a dtype, found `{name}`")) };
        self.expect("[")?;
        let shape = self.list("]", |p| if p.open()? { Ok(RUN_TIME) } else { p.number("an extent") })?;
        Ty::new(dtype, &shape).or_else(|e| self.err(e.to_string()))
    }
    fn node(&mut self, ids: &FxHashMap<&'a str, NodeId>) -> Result<NodeId> {
        let t = self.next()?;
        match ids.get(t) {
            Some(&id) => Ok(id),
            None => self.err(format!("expected a node defined above, found `{t}`")),
        }
    }
    fn graph(&mut self) -> Result<Graph> {
        self.graph_at(0)
    }
    fn graph_at(&mut self, depth: usize) -> Result<Graph> {
        if depth > MAX_DEPTH {
            return self.err(format!("expected at most {MAX_DEPTH} nested sub-graphs"));
        }
        let b = Builder::new();
        let mut ids = FxHashMap::default();
        loop {
            let name = self.next()?;
            if name == "return" {
                break;
            }
            self.expect("=")?;
            let op = self.next()?;
            let Some(def) = op::find(op) else { return self.err(format!("expected an operation, found `{op}`")) };
            let args = if self.is("(") {
                self.next()?;
                self.list(")", |p| p.node(&ids))?
            } else {
                Vec::new()
            };
            let mut attrs: Vec<Attr> = Vec::new();
            let mut constant = None;
            if self.is("{") {
                self.next()?;
                attrs = self.attrs(def, depth)?;
            } else if !self.is(":") {
                constant = Some(self.next()?);
            }
            self.expect(":")?;
            let ty = self.ty()?;
            let line = self.line;
            let wrong = |e: Error| Error::Parse { line, message: e.to_string() };
            let id = if std::ptr::eq(def, &create::INPUT) {
                if !args.is_empty() || !attrs.is_empty() || constant.is_some() {
                    return self.err("expected an input to have a type only");
                }
                b.input(&ty)
            } else {
                if let Some(text) = constant {
                    let Some(bits) = bits_of(text, ty.dtype) else {
                        return self.err(format!("expected a {} constant, found `{text}`", ty.dtype));
                    };
                    attrs = vec![Attr::DType(ty.dtype), Attr::Bits(bits)];
                }
                let op = Op { def, attrs };
                op.infer(&args.iter().map(|&a| b.ty_of(a)).collect::<Vec<_>>().iter().collect::<Vec<_>>())
                    .map_err(wrong)?;
                if op.is(&control::PROJ) && projected(&b.node(args[0]), op.int(0)).as_ref() != Some(&ty) {
                    return self.err(format!("expected a control-flow node with a result {} of type {ty}", op.int(0)));
                }
                b.add(op, &args).map_err(wrong)?
            };
            if b.ty_of(id) != ty {
                return self.err(format!("expected type {} of {op}, found {ty}", b.ty_of(id)));
            }
            ids.insert(name, id);
        }
        let mut outs = Vec::new();
        while self.tokens.peek().is_some_and(|t| t.1.starts_with('%')) {
            outs.push(self.node(&ids)?);
            if self.is(",") {
                self.next()?;
            }
        }
        b.finish(outs)
    }
    /// The attributes that a declaration names, in its order.
    fn attrs(&mut self, def: &OpDef, depth: usize) -> Result<Vec<Attr>> {
        let mut names = def.attrs.iter();
        let attrs = self.list("}", |p| {
            let want = names.next().map_or("}", |n| n);
            p.expect(want)?;
            p.expect("=")?;
            p.attr(depth)
        })?;
        Ok(attrs.into_iter().collect())
    }
    fn attr(&mut self, depth: usize) -> Result<Attr> {
        if self.is("[") {
            self.next()?;
            return Ok(Attr::Ints(
                self.list("]", |p| if p.open()? { Ok(RUN_TIME as i64) } else { p.number("an integer") })?
                    .into_iter()
                    .collect(),
            ));
        }
        if self.is("{") {
            self.next()?;
            let g = self.graph_at(depth + 1)?;
            self.expect("}")?;
            return Ok(Attr::Graph(Arc::new(g)));
        }
        if self.is("(") {
            self.next()?;
            let ins = self.list(")", Self::ty)?;
            for arrow in ["-", ">", "("] {
                self.expect(arrow)?;
            }
            let outs = self.list(")", Self::ty)?;
            return Ok(Attr::Own(Arc::new(Signature { ins, outs })));
        }
        let t = self.next()?;
        if let Some(d) = DType::parse(t) {
            return Ok(Attr::DType(d));
        }
        t.parse().map(Attr::Int).or_else(|_| self.err(format!("expected an attribute, found `{t}`")))
    }
}

fn bits_of(text: &str, dtype: DType) -> Option<u64> {
    if let Some(hex) = text.strip_prefix("0x") {
        // bits beyond the element's own would make two constants of one value
        let fits = |b: &u64| dtype.size() == 8 || b >> (8 * dtype.size()) == 0 && (dtype != DType::Bool || *b < 2);
        return u64::from_str_radix(hex, 16).ok().filter(fits);
    }
    match dtype {
        DType::F32 => text.parse::<f32>().ok().map(|x| u64::from(x.to_bits())),
        DType::F64 => text.parse::<f64>().ok().map(f64::to_bits),
        DType::I64 => text.parse::<i64>().ok().map(|x| x as u64),
        DType::Bool => text.parse::<bool>().ok().map(u64::from),
    }
}
