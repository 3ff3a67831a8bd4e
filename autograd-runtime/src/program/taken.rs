//! Trips of a loop that the way back has nothing to do in, because they do not take a branch: they are not recorded, and the way
//! back runs over the others alone ([`Kept::Taken`]). In a search, as for the least of many terms, each trip that takes the branch
//! makes all before it count no more: then the last one is all that the way back runs ([`Kept::Last`]), and what it
//! reads of that trip is carried, not recorded.

use super::{
    flow::without,
    prune::lost,
    split::{graph, rebuild},
};
use crate::{
    error::Result,
    graph::{Args, Builder, Graph, NodeId},
    op::{Attr, Op, compare, control::IF, create},
    pass,
    ty::{DType, Ty},
};
use std::sync::Arc;

/// Of which trips the way back reads a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// Of none: the way back runs the loop again ([`super::checkpoint`]).
    None,
    /// Of all.
    All,
    /// Of those that take a branch.
    Taken,
    /// Of the last one that does.
    Last,
}

/// A condition of a step back without which the step gives its cotangents and sums as they came.
pub(super) struct Condition {
    /// From a record and the captures to whether the trip counts.
    pub holds: Graph,
    /// The step where it does, and which values of a record it reads.
    pub step: Graph,
    pub read: Vec<usize>,
    /// Whether trips before one where it does count no more: their results have no cotangent.
    pub last: bool,
}

/// Whether a step back over a record of so many values reads the number of the trip.
pub(super) fn reads_trip(step: &Graph, record: usize) -> bool {
    step.live()[step.inputs()[record].index()]
}

/// The condition of a step back over a record of so many values that carries so many, of which the last are `sums`.
pub(super) fn condition(step: &Graph, record: usize, carried: usize, sums: usize) -> Result<Option<Condition>> {
    let live = step.live();
    let state = step.inputs().len() - carried;
    let mut decides: Vec<NodeId> =
        step.nodes().filter(|(id, n)| live[id.index()] && n.op.is(&IF)).map(|(_, n)| n.args[0]).collect();
    decides.dedup();
    for at in decides {
        let known = step.clone().with_outputs(vec![at]);
        let read = known.live();
        // what a cotangent decides is not known forwards
        if step.inputs()[state..].iter().any(|i| read[i.index()]) {
            continue;
        }
        for when in [true, false] {
            let idle = assume(step, at, !when)?;
            if idle.outputs() != &idle.inputs()[state..] {
                continue;
            }
            let step = assume(step, at, when)?;
            let zero = |&o: &NodeId| create::value(&step.node(o).op) == Some(0.0);
            let cotangents = &step.outputs()[..carried - sums];
            let last = !cotangents.is_empty() && cotangents.iter().all(zero);
            let holds = without(&known, |k| k < state)?;
            let holds = if when { holds } else { negated(&holds)? };
            let live = step.live();
            let read = (0..record).filter(|&k| live[step.inputs()[k].index()]).collect();
            return Ok(Some(Condition { holds, step, read, last }));
        }
    }
    Ok(None)
}

pub(super) fn negated(g: &Graph) -> Result<Graph> {
    graph(g.input_types(), &|b, x| Ok(vec![b.add(Op::new(&compare::NOT), &b.inline(g, x)?)?]))
}

/// The graph where a condition in it is known.
pub(super) fn assume(g: &Graph, at: NodeId, holds: bool) -> Result<Graph> {
    let known = rebuild(
        g,
        &mut |b, id, n, map| {
            if id == at {
                let holds = create::constant(DType::Bool, f64::from(u8::from(holds)));
                return Ok(Some(vec![b.add(holds, &[])?]));
            }
            if !n.op.is(&IF) || n.args[0] != at {
                return Ok(None);
            }
            let args: Args = n.args[1..].iter().map(|a| map[a.index()]).collect::<Option<_>>().ok_or_else(lost)?;
            b.inline(n.op.graph(usize::from(!holds)), &args).map(Some)
        },
        &|_| Vec::new(),
    )?;
    pass::optimise(&known)
}

/// The types of a loop's arguments with so many more carried values.
fn with_more(g: &Graph, carried: usize, more: &[Ty]) -> Vec<Ty> {
    let mut tys: Vec<Ty> = g.input_types().cloned().collect();
    tys.splice(carried..carried, more.iter().cloned());
    tys
}

/// A loop that carries what the way back reads of the last trip that counts: whether there was one, then what would have been
/// recorded of it. `body` gives the carried values, what would be recorded, and whether the trip counts.
pub(super) fn carrying(body: &Graph, carried: usize) -> Result<Graph> {
    let mut more: Vec<Ty> = body.output_types().skip(carried).cloned().collect();
    more.rotate_right(1);
    graph(&with_more(body, carried, &more), &|b, x| {
        let (old, rest) = x[carried..].split_at(more.len());
        let mut outs = b.inline(body, &[&x[..carried], rest].concat())?;
        let mut new = outs.split_off(carried);
        let counts = new.pop().ok_or_else(lost)?;
        outs.push(b.add(Op::new(&compare::OR), &[old[0], counts])?);
        for (new, old) in new.into_iter().zip(&old[1..]) {
            outs.push(b.add(Op::new(&compare::SELECT), &[counts, new, *old])?);
        }
        Ok(outs)
    })
}

/// The condition of a loop with so many more carried values.
pub(super) fn widened(cond: &Graph, carried: usize, more: &[Ty]) -> Result<Graph> {
    graph(&with_more(cond, carried, more), &|b, x| {
        b.inline(cond, &[&x[..carried], &x[carried + more.len()..]].concat())
    })
}

/// The way back over the last trip that counts, if there was one: `kept` is whether, and what was kept of it; `captured` are the
/// arguments of the loop whose cotangents are sums.
pub(super) fn back(
    b: &Builder,
    step: &Graph,
    kept: &[NodeId],
    captures: &[NodeId],
    cotangents: &[NodeId],
    captured: &[NodeId],
) -> Result<Vec<NodeId>> {
    let given = [&kept[1..], captures, cotangents, captured].concat();
    let branch = |taken: bool| -> Result<Attr> {
        let inner = Builder::new();
        let ins: Vec<NodeId> = given.iter().map(|&a| inner.input(&b.ty_of(a))).collect();
        let (rest, captured) = ins.split_at(ins.len() - captured.len());
        // sums begin here, where it is seen that they do
        let zeros = captured.iter().filter_map(|&a| inner.ex(a).full_like(0.0).node());
        let rest: Vec<NodeId> = rest.iter().copied().chain(zeros).collect();
        let (record, rest) = rest.split_at(kept.len() - 1);
        let outs = if taken {
            let trip = inner.add(create::constant_bits(DType::I64, 0), &[])?;
            inner.inline(step, &[record, &[trip], rest].concat())?
        } else {
            rest[captures.len()..].to_vec()
        };
        Ok(Attr::Graph(Arc::new(inner.finish(outs)?)))
    };
    let args: Vec<NodeId> = std::iter::once(kept[0]).chain(given.iter().copied()).collect();
    b.add_control(&Op::with(&IF, [branch(true)?, branch(false)?]), &args)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A step over a record of x and a number, from which a loop would run; carries a cotangent and a sum.
    fn step(cotangent: &str) -> Graph {
        let text = format!(
            "%0 = input : f64[]
%1 = input : i64[]
%2 = input : i64[]
%3 = input : i64[]
%4 = input : f64[]
%5 = input : f64[]
%6 = lt(%1, %3) : bool[]
%7 = if(%6, %0, %4, %5) {{then={{
  %0 = input : f64[]
  %1 = input : f64[]
  %2 = input : f64[]
  %3 = sin(%0) : f64[]
  %4 = mul(%3, %1) : f64[]
  %5 = add(%2, %4) : f64[]
  %6 = const 0.0 : f64[]
  return {cotangent}, %5
}}, else={{
  %0 = input : f64[]
  %1 = input : f64[]
  %2 = input : f64[]
  return %1, %2
}}}} : f64[]
%8 = proj(%7) {{index=0, dtype=f64, shape=[]}} : f64[]
%9 = proj(%7) {{index=1, dtype=f64, shape=[]}} : f64[]
return %8, %9
"
        );
        text.parse().unwrap()
    }

    #[test]
    fn a_branch_decides_which_trips_count() {
        let found = condition(&step("%4"), 2, 2, 1).unwrap().unwrap();
        assert!(!found.last);
        // the number that decides is not read where it is known that it has
        assert_eq!(found.read, [0], "{}", found.step);
        assert!(!reads_trip(&found.step, 2));
        // it needs the record and the captures, not what is carried
        assert_eq!(found.holds.inputs().len(), 4, "{}", found.holds);
        // a cotangent that goes no further: only the last such trip counts
        assert!(condition(&step("%6"), 2, 2, 1).unwrap().unwrap().last);
    }

    #[test]
    fn a_recorded_condition_decides_as_well() {
        let text = "%0 = input : bool[]
%1 = input : i64[]
%2 = input : f64[]
%3 = input : f64[]
%4 = const 0.0 : f64[]
%5 = select(%0, %4, %2) : f64[]
%6 = select(%0, %2, %4) : f64[]
%7 = if(%0, %6, %3) {then={
  %0 = input : f64[]
  %1 = input : f64[]
  %2 = sin(%0) : f64[]
  %3 = add(%1, %2) : f64[]
  return %3
}, else={
  %0 = input : f64[]
  %1 = input : f64[]
  return %1
}} : f64[]
%8 = proj(%7) {index=0, dtype=f64, shape=[]} : f64[]
return %5, %8
";
        let found = condition(&text.parse().unwrap(), 1, 2, 1).unwrap().unwrap();
        assert!(found.last, "{}", found.step);
        assert!(found.read.is_empty(), "{}", found.step);
    }

    #[test]
    fn a_step_that_always_does_something_has_no_condition() {
        let text = step("%4").to_string().replace("return %8, %9", "%10 = sin(%9) : f64[]\nreturn %8, %10");
        assert!(condition(&text.parse().unwrap(), 2, 2, 1).unwrap().is_none());
    }
}
