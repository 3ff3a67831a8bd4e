//! Structured control flow: nodes that own sub-graphs. Arguments are carried values, then captures; a
//! sub-graph has one input for each argument. Results are read through [`PROJ`].
//!
//! * `if(cond, captures..) {then, else}`: both branches take the captures and give the same types.
//! * `while(carried.., captures..) {cond, body, carried}`: `cond` and `body` take all arguments; `cond`
//!   gives one truth value, `body` the next carried values.
//! * `while_vjp(carried.., captures.., cotangents..) {cond, body, carried, wrt}`: the reverse mode of that `while`:
//!   from a cotangent for each float among its results, one for each argument in `wrt`. It is an operation and not yet
//!   loops, because its own derivatives are again derivatives of the `while` (see `diff/control.rs`).
//!
//! A program is made of a lower form, which [`crate::program`] rewrites `while_vjp` into:
//!
//! * `while_record(..) {cond, body, carried, pair}`: a `while` that is to record what its reverse mode reads; on the way only.
//! * `while_save(..) {cond, body, carried, arena}`: `body` gives the carried values, then what is recorded of the trip in
//!   the arena of that number. Two more results: the number of trips, and where the record ends.
//! * `while_back(trips, end, captures.., carried..) {backward, record, carried, arena, sums}`: reads the record backwards. `backward`
//!   takes what was recorded (`record` values), the number of the trip, the captures and the carried values, and gives
//!   the next carried ones: cotangents, and last as many `sums`, cotangents of captures, that it only adds to.

use super::{Attr, Derivative, Eval, Lower, Op, OpDef, VARIADIC};
use crate::{
    array::{Array, View},
    error::{Error, Result},
    graph::Graph,
    ty::{DType, Ty},
};
use std::sync::Arc;

/// All operations of this family.
pub static ALL: &[&OpDef] = &[&IF, &WHILE, &WHILE_VJP, &WHILE_RECORD, &WHILE_SAVE, &WHILE_BACK, &PROJ];

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

/// The floats among the results of a `while`: what has cotangents.
pub(crate) fn floats(body: &Graph) -> Vec<usize> {
    body.output_types().enumerate().filter(|(_, t)| t.dtype.is_float()).map(|(i, _)| i).collect()
}

/// The reverse mode of [`WHILE`].
pub static WHILE_VJP: OpDef = control("while_vjp", &["cond", "body", "carried", "wrt"], |op, a| {
    let body = op.graph(1);
    let cts: Vec<&Ty> = body.output_types().filter(|t| t.dtype.is_float()).collect();
    let n = a.len().checked_sub(cts.len());
    let n = n.ok_or_else(|| Error::value(op.name(), "expected a cotangent for each float that is carried"))?;
    if a[n..] != cts[..] {
        let found = list(a[n..].iter().copied());
        return Err(Error::shape(op.name(), format!("cotangents {}", list(cts.into_iter())), found));
    }
    let outs = carried(op, 2, &a[..n])?;
    signature(op, op.graph(0), a[..n].iter().copied(), &[&Ty::scalar(DType::Bool)])?;
    signature(op, body, a[..n].iter().copied(), &outs)?;
    if let Some(i) = op.ints(3).iter().find(|&&i| usize::try_from(i).ok().is_none_or(|i| i >= n)) {
        return Err(Error::value(op.name(), format!("expected arguments of the loop in wrt, found {i}")));
    }
    results(op).into_iter().next().ok_or_else(|| Error::value(op.name(), "expected at least one result"))
});

/// A [`WHILE`] that a [`WHILE_SAVE`] is made of.
pub static WHILE_RECORD: OpDef =
    control("while_record", &["cond", "body", "carried", "pair"], |op, a| (WHILE.infer)(op, a));

/// A [`WHILE`] that records what its reverse mode reads.
pub static WHILE_SAVE: OpDef = control("while_save", &["cond", "body", "carried", "arena"], |op, a| {
    let outs = carried(op, 2, a)?;
    let body: Vec<&Ty> = op.graph(1).output_types().collect();
    if body.get(..outs.len()) != Some(&outs) {
        return Err(Error::shape(op.name(), "a body that gives the carried values", list(body.into_iter())));
    }
    signature(op, op.graph(0), a.iter().copied(), &[&Ty::scalar(DType::Bool)])?;
    signature(op, op.graph(1), a.iter().copied(), &body)?;
    first(op, &outs)
});

/// The backward loop over a record of [`WHILE_SAVE`].
pub static WHILE_BACK: OpDef = control("while_back", &["backward", "record", "carried", "arena", "sums"], |op, a| {
    let count = |i: usize| usize::try_from(op.int(i)).unwrap_or(usize::MAX);
    let (record, carried) = (count(1), count(2));
    let (integer, step) = (Ty::scalar(DType::I64), op.graph(0));
    let ins: Vec<&Ty> = step.input_types().collect();
    let outs: Vec<&Ty> = step.output_types().collect();
    let fits = a.len() >= 2
        && a[..2].iter().all(|t| **t == integer)
        && ins.len().checked_sub(record) == Some(a.len() - 1)
        && *ins[record] == integer
        && ins[record + 1..] == a[2..]
        && a.len().checked_sub(carried).is_some_and(|n| n >= 2 && outs[..] == a[n..]);
    if !fits {
        return Err(Error::shape(
            op.name(),
            "a step over a record, captures and carried values",
            list(a.iter().copied()),
        ));
    }
    first(op, &outs)
});

/// The types of all results of a control-flow operation; none for others.
pub(crate) fn results(op: &Op) -> Vec<Ty> {
    let outs = |i: usize| op.graph(i).output_types().cloned().collect::<Vec<_>>();
    if op.is(&IF) || op.is(&WHILE_BACK) {
        outs(0)
    } else if op.is(&WHILE) {
        outs(1)
    } else if op.is(&WHILE_SAVE) || op.is(&WHILE_RECORD) {
        let mut outs = outs(1);
        outs.truncate(op.int(2) as usize);
        outs.extend([Ty::scalar(DType::I64), Ty::scalar(DType::I64)]);
        outs
    } else if op.is(&WHILE_VJP) {
        let ins: Vec<&Ty> = op.graph(1).input_types().collect();
        op.ints(3).iter().filter_map(|&i| ins.get(usize::try_from(i).ok()?).map(|&t| t.clone())).collect()
    } else {
        Vec::new()
    }
}

/// Whether an operation is control flow, with results that are read through [`PROJ`].
pub(crate) fn is_control(op: &Op) -> bool {
    matches!(op.def.derivative, Derivative::Control) && !op.is(&PROJ)
}

/// The projection of result `i`.
pub(crate) fn proj(i: usize, ty: &Ty) -> Op {
    Op::with(&PROJ, [Attr::Int(i as i64), Attr::DType(ty.dtype), Attr::dims(&ty.shape)])
}

/// A `while`.
pub(crate) fn while_op(cond: Arc<Graph>, body: Arc<Graph>, carried: usize) -> Op {
    Op::with(&WHILE, [Attr::Graph(cond), Attr::Graph(body), Attr::Int(carried as i64)])
}

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
