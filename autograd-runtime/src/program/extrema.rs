//! From the reverse mode of a loop that finds the extremum M of elements of a list to loops that need no record. Of the
//! elements only those equal to M get a share of the cotangent: going back from the last of them to the first one, by the
//! rule of a trip, at which the number before the trip is M, except at the first one, where it is what the loop began with
//! if that is M, and else one that loses. Before the first one nothing is left, or the rest goes to the beginning.
//!
//! So one loop looks for the first and the last of them, side by side in all trips, and one goes over those between them,
//! which is one element where M is found once.

use super::{
    flow::with_sums,
    folds::{dependants, fold},
};
use crate::{
    diff,
    error::Result,
    graph::{Builder, Graph, NodeId},
    kernel::{ReduceKind, vector::Nan},
    op::{Op, arith, compare, control::while_op, create, list},
    pass,
    ty::{DType, Ty},
};
use std::{collections::BTreeSet, sync::Arc};

/// Such a loop, which carries a counter and the extremum.
pub(super) struct Extremum {
    counter: usize,
    value: usize,
    /// An element.
    term: NodeId,
    /// What is no extremum next to any element: the number before the first one that is.
    loses: f64,
}

/// Recognises a loop over the arguments of a `while`. A NaN among the elements must be nothing to it, and elements must be
/// read as they are: where a function of one has an infinite derivative, zero times it is no zero.
pub(super) fn extremum(op: &Op) -> Option<Extremum> {
    let (cond, body) = (op.graph(0), op.graph(1));
    if op.int(2) != 2 {
        return None;
    }
    let value = (0..2).find(|&k| body.ty(body.inputs()[k]).dtype.is_float())?;
    let counter = 1 - value;
    let (k, x, out) = (body.inputs()[counter], body.inputs()[value], body.outputs()[value]);
    let next = body.node(body.outputs()[counter]);
    let one = |id: NodeId| create::value(&body.node(id).op) == Some(1.0);
    let counts =
        next.op.is(&arith::ADD) && (next.args[0] == k && one(next.args[1]) || next.args[1] == k && one(next.args[0]));
    if *body.ty(k) != Ty::scalar(DType::I64) || body.ty(x).rank() != 0 || !counts {
        return None;
    }
    if cond.live()[cond.inputs()[value].index()] {
        return None;
    }
    let all = dependants(body, [x]);
    let f = fold(body, x, out, &all)?;
    let (term, sign) = (f.single()?, if f.kind == ReduceKind::Max { -1.0 } else { 1.0 });
    let n = body.node(term);
    let plain = n.op.is(&list::GET) && body.inputs()[2..].contains(&n.args[0]);
    if f.kind == ReduceKind::Sum || f.nan == Nan::Wins || !plain || all.contains(&body.outputs()[counter]) {
        return None;
    }
    // `x.max(t)` of floats takes t where x is NaN; `if t > x` does not, and there an infinity loses
    let of_floats = !body.node(out).op.is(&compare::SELECT);
    Some(Extremum { counter, value, term, loses: if of_floats { f64::NAN } else { sign * f64::INFINITY } })
}

/// What makes the results of a graph of its inputs.
type Part<'f> = &'f dyn Fn(&Builder, &[NodeId]) -> Result<Vec<NodeId>>;

impl Extremum {
    /// The cotangents of the arguments `wrt` of the loop, from that of the extremum.
    pub(super) fn back(&self, b: &Builder, op: &Op, args: &[NodeId], ct: NodeId) -> Result<Vec<NodeId>> {
        let (body, n) = (op.graph(1), args.len());
        let found = b.add_control(&while_op(op.graph(0).clone(), body.clone(), 2), args)?[self.value];
        let integer = |b: &Builder, x: i64| b.add(create::constant_bits(DType::I64, x.cast_unsigned()), &[]);
        let (none, far) = (integer(b, i64::MIN)?, integer(b, i64::MAX)?);
        // the arguments of a trip from those of the new loops, in which the captures come last
        let trip = |ins: &[NodeId], k: NodeId, x: NodeId| {
            let mut all = vec![k; 2];
            all[self.value] = x;
            all.extend(&ins[ins.len() - (n - 2)..]);
            all
        };
        let graph = |args: &[NodeId], f: Part<'_>| -> Result<Arc<Graph>> {
            let p = Builder::new();
            let ins: Vec<NodeId> = args.iter().map(|&a| p.input(&b.ty_of(a))).collect();
            let outs = f(&p, &ins)?;
            p.finish(outs).map(Arc::new)
        };
        let op2 = |p: &Builder, def, x: NodeId, y: NodeId| p.add(Op::new(def), &[x, y]);
        // the first and the last trip whose element is the extremum
        let start = [&[args[self.counter], far, none, found][..], &args[2..]].concat();
        let more = graph(&start, &|p, x| p.inline(op.graph(0), &trip(x, x[0], x[3])))?;
        let look = graph(&start, &|p, x| {
            let element = (**body).clone().with_outputs(vec![self.term]);
            let element = p.inline(&element, &trip(x, x[0], x[3]))?[0];
            let hit = op2(p, &compare::EQ, element, x[3])?;
            let or = |other: i64| p.add(Op::new(&compare::SELECT), &[hit, x[0], integer(p, other)?]);
            let first = op2(p, &arith::MINIMUM, x[1], or(i64::MAX)?)?;
            let last = op2(p, &arith::MAXIMUM, x[2], or(i64::MIN)?)?;
            Ok(vec![op2(p, &arith::ADD, x[0], integer(p, 1)?)?, first, last])
        })?;
        let ends = b.add_control(&while_op(more, look, 3), &start)?;
        let (first, last) = (ends[1], ends[2]);
        // back from the one to the other: the trip, the cotangents; the ends, the extremum, what the loop began with
        let captured: BTreeSet<usize> = op.ints(3).iter().map(|&i| i as usize).filter(|&i| i >= 2).collect();
        let captured: Vec<usize> = captured.into_iter().collect();
        let step = pass::optimise(&with_sums(&diff::while_step(body, 2, &captured)?, n, captured.len())?)?;
        let zeros: Vec<NodeId> = captured.iter().filter_map(|&i| b.ex(args[i]).full_like(0.0).node()).collect();
        let carried = 2 + zeros.len();
        let more = [first, last, found, args[self.value]];
        let start = [&[last, ct][..], &zeros, &more, &args[2..]].concat();
        let test = graph(&start, &|p, x| {
            let above = op2(p, &compare::LE, x[carried], x[0])?;
            let below = op2(p, &compare::LE, x[0], x[carried + 1])?;
            Ok(vec![op2(p, &compare::AND, above, below)?])
        })?;
        let share = graph(&start, &|p, x| {
            let (first, found, began) = (x[carried], x[carried + 2], x[carried + 3]);
            let (later, tie) = (op2(p, &compare::GT, x[0], first)?, op2(p, &compare::EQ, began, found)?);
            let loses = p.add(create::constant(p.ty_of(found).dtype, self.loses), &[])?;
            let at_first = p.add(Op::new(&compare::SELECT), &[tie, found, loses])?;
            let before = p.add(Op::new(&compare::SELECT), &[later, found, at_first])?;
            let mut all = trip(x, x[0], before);
            all.extend(&x[1..carried]);
            let mut outs = vec![op2(p, &arith::ADD, x[0], integer(p, -1)?)?];
            outs.extend(p.inline(&step, &all)?);
            Ok(outs)
        })?;
        let done = b.add_control(&while_op(test, share, carried), &start)?;
        let of = |&i: &i64| match captured.iter().position(|&c| c == i as usize) {
            Some(k) => done[2 + k],
            None => done[1],
        };
        Ok(op.ints(3).iter().map(of).collect())
    }
}
