//! Structured control flow: nodes that own sub-graphs. Arguments are carried values, then captures; a
//! sub-graph has one input for each argument. Results are read through [`PROJ`].
//!
//! * `if(cond, captures..) {then, else}`: both branches take the captures and give the same types.
//! * `while(carried.., captures..) {cond, body, carried}`: `cond` and `body` take all arguments; `cond`
//!   gives one truth value, `body` the next carried values.
//! * `for(carried.., captures..) {body, carried, trips}`: `body` also takes the counter (i64) first.

use super::{Derivative, Eval, Lower, Op, OpDef, VARIADIC};
use crate::{
    array::{Array, View},
    error::{Error, Result},
    graph::Graph,
    ty::{DType, Ty},
};

/// All operations of this family.
pub static ALL: &[&OpDef] = &[&IF, &WHILE, &FOR, &PROJ];

fn by_interpreter(op: &Op, _: &[View<'_>], _: &Ty) -> Result<Array> {
    Err(Error::value(op.name(), "expected to be run by an engine that knows control flow"))
}

const fn control(name: &'static str, attrs: &'static [&'static str], infer: fn(&Op, &[&Ty]) -> Result<Ty>) -> OpDef {
    OpDef {
        name,
        attrs,
        arity: VARIADIC,
        infer,
        eval: Eval::Views(by_interpreter),
        derivative: Derivative::Control,
        saves: 0,
        lower: Lower::Library,
    }
}

/// Checks that a sub-graph takes these arguments and gives these results.
fn signature<'a>(op: &Op, g: &Graph, args: impl Iterator<Item = &'a Ty>, outs: &[&Ty]) -> Result<()> {
    let found = || format!("{} -> {}", list(g.input_types()), list(g.output_types()));
    let args: Vec<&Ty> = args.collect();
    if g.input_types().ne(args.iter().copied()) || g.output_types().ne(outs.iter().copied()) {
        let want = format!("a sub-graph {} -> {}", list(args.into_iter()), list(outs.iter().copied()));
        return Err(Error::shape(op.name(), want, found()));
    }
    Ok(())
}
fn list<'a>(tys: impl Iterator<Item = &'a Ty>) -> String {
    let names: Vec<String> = tys.map(Ty::to_string).collect();
    format!("({})", names.join(", "))
}
/// The type of the node itself is that of its first result; a node without results is an error.
fn first(op: &Op, outs: &[&Ty]) -> Result<Ty> {
    outs.first().map(|&t| t.clone()).ok_or_else(|| Error::value(op.name(), "expected at least one result"))
}
fn carried<'a>(op: &Op, attr: usize, a: &[&'a Ty]) -> Result<Vec<&'a Ty>> {
    let n = usize::try_from(op.int(attr)).ok().filter(|&n| n <= a.len());
    n.map(|n| a[..n].to_vec()).ok_or_else(|| Error::value(op.name(), "expected as many arguments as carried values"))
}

/// A choice between two sub-graphs; only the taken one runs.
pub static IF: OpDef = control("if", &["then", "else"], |op, a| {
    let bit = Ty::scalar(DType::Bool);
    if a.first().is_none_or(|c| **c != bit) {
        return Err(Error::value("if", "expected a rank-0 bool as the condition"));
    }
    let outs: Vec<&Ty> = op.graph(0).output_types().collect();
    signature(op, op.graph(0), a[1..].iter().copied(), &outs)?;
    signature(op, op.graph(1), a[1..].iter().copied(), &outs)?;
    first(op, &outs)
});

/// Repetition while a condition holds.
pub static WHILE: OpDef = control("while", &["cond", "body", "carried"], |op, a| {
    let outs = carried(op, 2, a)?;
    signature(op, op.graph(0), a.iter().copied(), &[&Ty::scalar(DType::Bool)])?;
    signature(op, op.graph(1), a.iter().copied(), &outs)?;
    first(op, &outs)
});

/// Repetition a known number of times.
pub static FOR: OpDef = control("for", &["body", "carried", "trips"], |op, a| {
    let outs = carried(op, 1, a)?;
    let counter = Ty::scalar(DType::I64);
    signature(op, op.graph(0), std::iter::once(&counter).chain(a.iter().copied()), &outs)?;
    if op.int(2) < 0 {
        return Err(Error::value("for", format!("expected a non-negative number of trips, found {}", op.int(2))));
    }
    first(op, &outs)
});

/// One result of a control-flow node, with its type.
pub static PROJ: OpDef =
    OpDef { arity: 1, ..control("proj", &["index", "dtype", "shape"], |op, _| Ty::new(op.dtype(1), &op.dims(2))) };

impl Graph {
    /// The types of the parameters.
    pub fn input_types(&self) -> impl Iterator<Item = &Ty> {
        self.inputs().iter().map(|&i| self.ty(i))
    }
    /// The types of the results.
    pub fn output_types(&self) -> impl Iterator<Item = &Ty> {
        self.outputs().iter().map(|&o| self.ty(o))
    }
}
