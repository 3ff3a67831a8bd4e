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
//! * `while_record(..) {cond, body, carried, pair, left}`: a `while` that is to record what its reverse mode reads; on the way
//!   only. Its further results have the types of the results in `left`.
//! * `while_save(..) {cond, body, carried, arena, taken}`: `body` gives the carried values, then what is recorded of the trip in
//!   the arena of that number, and last, where `taken` is not 0, whether it is recorded at all. Two more results: the number of
//!   recorded trips, and where the record ends.
//! * `while_back(trips, end, captures.., carried..) {backward, record, carried, arena, sums}`: reads the record backwards. `backward`
//!   takes what was recorded (`record` values), the number of the trip, the captures and the carried values, and gives
//!   the next carried ones: cotangents, and last as many `sums`, cotangents of captures, that it only adds to.
//!
//! And functions, for those that call themselves. Their `function` is a graph, or inside that graph, its choices and loops
//! included, its own types, which stand for it ([`Attr::Own`]):
//!
//! * `call(args..) {function}`.
//! * `call_vjp(args.., cotangents..) {function}`: from a cotangent for each float among the results one for each float among
//!   the arguments. Its own derivatives are those of `while_vjp`.
//! * `call_record(args..) {function, pair}`: a `call` that is to record; on the way only. One more result: where the record ends.
//! * `call_save(args..) {function, results, arena}`: the function gives its results, then what is recorded of the call.
//! * `call_back(end, lists.., cotangents.., sums..) {function, record, sums, arena}`: the function takes what was recorded
//!   (`record` values), then the other arguments, and gives `sums`, cotangents of lists that it only adds to, then the
//!   cotangents of the other floats.

use super::{Attr, Derivative, Eval, Lower, Op, OpDef, Signature, VARIADIC};
use crate::{
    array::{Array, View},
    error::{Error, Result},
    graph::Graph,
    ty::{DType, Ty},
};
use std::sync::Arc;

/// All operations of this family.
pub static ALL: &[&OpDef] = &[
    &IF,
    &WHILE,
    &WHILE_VJP,
    &WHILE_RECORD,
    &WHILE_SAVE,
    &WHILE_BACK,
    &PROJ,
    &CALL,
    &CALL_VJP,
    &CALL_RECORD,
    &CALL_SAVE,
    &CALL_BACK,
];

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
    control("while_record", &["cond", "body", "carried", "pair", "left"], |op, a| (WHILE.infer)(op, a));

/// A [`WHILE`] that records what its reverse mode reads.
pub static WHILE_SAVE: OpDef = control("while_save", &["cond", "body", "carried", "arena", "taken"], |op, a| {
    let outs = carried(op, 2, a)?;
    let body: Vec<&Ty> = op.graph(1).output_types().collect();
    if body.get(..outs.len()) != Some(&outs) {
        return Err(Error::shape(op.name(), "a body that gives the carried values", list(body.into_iter())));
    }
    let bit = Ty::scalar(DType::Bool);
    if op.int(4) != 0 && body[outs.len()..].last() != Some(&&bit) {
        return Err(Error::shape(op.name(), "a body that says last whether to record", list(body.into_iter())));
    }
    signature(op, op.graph(0), a.iter().copied(), &[&bit])?;
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

impl Signature {
    /// That of a graph.
    pub fn of(g: &Graph) -> Signature {
        Signature { ins: g.input_types().cloned().collect(), outs: g.output_types().cloned().collect() }
    }
    /// The arguments that are floats.
    pub(crate) fn float_ins(&self) -> Vec<usize> {
        (0..self.ins.len()).filter(|&i| self.ins[i].dtype.is_float()).collect()
    }
    /// The results that are floats.
    pub(crate) fn float_outs(&self) -> Vec<usize> {
        (0..self.outs.len()).filter(|&i| self.outs[i].dtype.is_float()).collect()
    }
}

impl Op {
    /// What the function of a call takes and gives.
    pub(crate) fn called(&self) -> Signature {
        match &self.attrs[0] {
            Attr::Own(s) => (**s).clone(),
            _ => Signature::of(self.graph(0)),
        }
    }
}

/// Checks the arguments of a call.
fn takes<'a>(op: &Op, want: impl Iterator<Item = &'a Ty> + Clone, found: &[&Ty]) -> Result<()> {
    if want.clone().ne(found.iter().copied()) {
        return Err(Error::shape(op.name(), list(want), list(found.iter().copied())));
    }
    Ok(())
}
/// The type of a call is that of its first result.
fn head(op: &Op) -> Result<Ty> {
    results(op).into_iter().next().ok_or_else(|| Error::value(op.name(), "expected at least one result"))
}

/// A call of a function that calls itself.
pub static CALL: OpDef = control("call", &["function"], |op, a| {
    takes(op, op.called().ins.iter(), a)?;
    head(op)
});

/// The reverse mode of [`CALL`].
pub static CALL_VJP: OpDef = control("call_vjp", &["function"], |op, a| {
    let s = op.called();
    let cts = s.float_outs();
    takes(op, s.ins.iter().chain(cts.iter().map(|&i| &s.outs[i])), a)?;
    head(op)
});

/// A [`CALL`] that a [`CALL_SAVE`] is made of.
pub static CALL_RECORD: OpDef = control("call_record", &["function", "pair"], |op, a| (CALL.infer)(op, a));

/// A [`CALL`] that records what its reverse mode reads.
pub static CALL_SAVE: OpDef = control("call_save", &["function", "results", "arena"], |op, a| (CALL.infer)(op, a));

/// The reverse mode of a [`CALL_SAVE`], from its record.
pub static CALL_BACK: OpDef = control("call_back", &["function", "record", "sums", "arena"], |op, a| {
    let s = op.called();
    let own = matches!(op.attrs[0], Attr::Own(_));
    let record = if own { 0 } else { usize::try_from(op.int(1)).unwrap_or(usize::MAX) };
    let Some(rest) = s.ins.get(record..) else {
        return Err(Error::value(op.name(), "expected a function that takes the record"));
    };
    takes(op, std::iter::once(&Ty::scalar(DType::I64)).chain(rest), a)?;
    let sums = usize::try_from(op.int(2)).ok().filter(|&n| n <= rest.len() && n <= s.outs.len());
    if sums.is_none_or(|n| rest[rest.len() - n..] != s.outs[..n]) {
        return Err(Error::value(op.name(), "expected a function that gives its sums first"));
    }
    head(op)
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
        match op.attrs.get(4) {
            Some(Attr::Own(left)) => outs.extend(left.outs.iter().cloned()),
            _ => outs.extend([Ty::scalar(DType::I64), Ty::scalar(DType::I64)]),
        }
        outs
    } else if op.is(&WHILE_VJP) {
        let ins: Vec<&Ty> = op.graph(1).input_types().collect();
        op.ints(3).iter().filter_map(|&i| ins.get(usize::try_from(i).ok()?).map(|&t| t.clone())).collect()
    } else if op.is(&CALL) || op.is(&CALL_BACK) {
        op.called().outs
    } else if op.is(&CALL_VJP) {
        let s = op.called();
        s.float_ins().into_iter().map(|i| s.ins[i].clone()).collect()
    } else if op.is(&CALL_RECORD) || op.is(&CALL_SAVE) {
        let mut outs = op.called().outs;
        if op.is(&CALL_SAVE) {
            outs.truncate(usize::try_from(op.int(1)).unwrap_or(0));
        }
        outs.push(Ty::scalar(DType::I64));
        outs
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

/// The graph with the function `own` that its calls stand in replaced by `by`: calls of it from elsewhere.
///
/// # Errors
/// If the types differ.
pub(crate) fn bind(g: &Graph, own: &Signature, by: &Arc<Graph>) -> Result<Graph> {
    g.map_ops(|op| match op.attrs.first() {
        Some(Attr::Own(s)) if op.is(&CALL) && **s == *own => Ok(Op::with(&CALL, [Attr::Graph(by.clone())])),
        Some(_) if is_call(op) => Ok(op.clone()),
        _ => op.map_graphs(|g| bind(g, own, by)),
    })
}
/// Whether an operation calls a function.
pub(crate) fn is_call(op: &Op) -> bool {
    op.def.attrs.first() == Some(&"function")
}

/// Whether a graph inside a function calls that function.
pub(crate) fn calls_itself(g: &Graph) -> bool {
    calls(g, &|op| matches!(op.attrs[0], Attr::Own(_)))
}
/// Whether a graph has such calls, its choices and loops included.
pub(crate) fn calls(g: &Graph, such: &dyn Fn(&Op) -> bool) -> bool {
    let mut todo = vec![g];
    while let Some(g) = todo.pop() {
        for (_, n) in g.nodes() {
            match is_call(&n.op) {
                true if such(&n.op) => return true,
                true => {}
                false => todo.extend(n.subgraphs()),
            }
        }
    }
    false
}

/// Calls inside one another that are run where they take no stack of the thread's own.
pub(crate) const MAX_CALLS: usize = 10_000;
/// What more of them, or more than the stack has room for, are.
pub(crate) fn too_deep() -> Error {
    Error::value("call", "expected calls inside one another that the stack has room for, found more")
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
