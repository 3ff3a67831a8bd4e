//! Unroll-and-jam (Allen and Cocke, A Catalogue of Optimizing Transformations, 1972): trips of a loop whose inner loop is a
//! recurrence run several at a time. One trip of a recurrence waits for the one before it; those of other trips of the loop
//! around it do not, and run in its shadow.
//!
//! `while i < n { .., while j < m { y = f(y, j, ..) }, s = s + t(y) }` becomes the same over four trips i at a time, with one inner loop
//! over four y, and the loop itself for the trips that are left. Values are computed as before, sums in the same order; cotangents of
//! what several trips read are added up in another one. If trips fail, the error may be that of a later one. Runs before
//! differentiation: the loops of the derivative come out side by side too.

use super::{folds::dependants, prune::lost, split::rebuild};
use crate::{
    error::Result,
    graph::{Args, Builder, Graph, Node, NodeId},
    op::{
        Op, arith, compare,
        control::{PROJ, WHILE, while_op},
        create,
    },
    ty::{DType, Ty},
};
use rustc_hash::{FxHashMap, FxHashSet};
use std::{borrow::Cow, sync::Arc};

/// Trips that run at a time.
const WAYS: i64 = 4;
/// Nodes of a trip of the inner loop: with more there is enough to do in the shadow of one another.
const MOST: usize = 16;
/// Nodes of a trip of the loop around it.
const AROUND: usize = 256;

/// A loop that counts up by one to a limit that does not change.
pub(super) struct Counted {
    pub counter: usize,
    pub limit: usize,
}

pub(super) fn counted(op: &Op) -> Option<Counted> {
    let (cond, body, carried) = (op.graph(0), op.graph(1), op.int(2) as usize);
    let at = |x: NodeId| cond.inputs().iter().position(|&i| i == x);
    let test = cond.node(cond.outputs()[0]);
    let [a, b] = test.args[..] else { return None };
    let (counter, limit) = (at(a)?, at(b)?);
    let next = body.node(body.outputs()[counter.min(carried - 1)]);
    let one = |x: NodeId| create::value(&body.node(x).op) == Some(1.0);
    let i = body.inputs()[counter];
    let up =
        next.op.is(&arith::ADD) && (next.args[0] == i && one(next.args[1]) || next.args[1] == i && one(next.args[0]));
    let fits =
        test.op.is(&compare::LT) && counter < carried && limit >= carried && *body.ty(i) == Ty::scalar(DType::I64);
    (fits && up).then_some(Counted { counter, limit })
}

/// Whether the carried value is a sum to which each trip adds what depends on no other carried value than the counter.
fn sums(g: &Graph, k: usize, loose: &FxHashSet<NodeId>) -> bool {
    let (x, n) = (g.inputs()[k], g.node(g.outputs()[k]));
    let free = |a: NodeId| !loose.contains(&a);
    match n.args[..] {
        [a, b] if n.op.is(&arith::ADD) => a == x && free(b) || b == x && free(a),
        [a, b] if n.op.is(&arith::SUB) => a == x && free(b),
        _ => false,
    }
}

/// All nodes that depend on some of the carried values.
fn depend(g: &Graph, on: impl Iterator<Item = usize>) -> FxHashSet<NodeId> {
    dependants(g, on.map(|k| g.inputs()[k]))
}

/// What makes the results of a graph of its inputs.
type Part<'f> = &'f dyn Fn(&Builder, &[NodeId]) -> Result<Vec<NodeId>>;

/// A loop that can run several trips at a time.
struct Jam<'g> {
    op: &'g Op,
    outer: Counted,
    inner: NodeId,
    counter: usize,
    /// What depends on the sums, and on the inner loop.
    sums: FxHashSet<NodeId>,
    after: FxHashSet<NodeId>,
}

fn plan(op: &Op) -> Option<Jam<'_>> {
    let (body, carried) = (op.graph(1), op.int(2) as usize);
    let (outer, live) = (counted(op)?, body.live());
    let mut loops = body.nodes().filter(|(id, n)| live[id.index()] && holds_loops(n));
    let ((inner, n), None) = (loops.next()?, loops.next()) else { return None };
    if !n.op.is(&WHILE) {
        return None;
    }
    // all of it is written four times
    if live.iter().filter(|l| **l).count() > AROUND {
        return None;
    }
    let others = || (0..carried).filter(|&k| k != outer.counter);
    let scalar = |g: &Graph, k: usize| g.ty(g.inputs()[k]).rank() == 0;
    let state = depend(body, others());
    let own = others().all(|k| scalar(body, k) && sums(body, k, &state));
    // each sum and what it is next, and nothing else
    if !own || state.len() != 2 * (carried - 1) {
        return None;
    }
    let (step, count) = (n.op.graph(1), counted(&n.op)?);
    let varies = depend(body, 0..carried);
    let inside = n.op.int(2) as usize;
    let rest = || (0..inside).filter(|&k| k != count.counter);
    let loose = depend(step, rest());
    let recurrence = rest().any(|k| !sums(step, k, &loose));
    let plain =
        step.live().iter().filter(|l| **l).count() <= MOST && step.nodes().all(|(_, n)| n.subgraphs().next().is_none());
    let same = [count.counter, count.limit].iter().all(|&k| !varies.contains(&n.args[k]));
    if !recurrence || !plain || !same || !rest().all(|k| scalar(step, k)) {
        return None;
    }
    let after = dependants(body, [inner]);
    Some(Jam { op, outer, inner, counter: count.counter, sums: state, after })
}

fn holds_loops(n: &Node) -> bool {
    let mut todo: Vec<&Node> = vec![n];
    while let Some(n) = todo.pop() {
        if crate::op::control::is_call(&n.op) || n.op.name().starts_with("while") {
            return true;
        }
        todo.extend(n.subgraphs().flat_map(|g| g.nodes().map(|(_, n)| n)));
    }
    false
}

impl Jam<'_> {
    /// The results of the loop.
    fn write(&self, b: &Builder, args: &[NodeId]) -> Result<Vec<NodeId>> {
        let integer = |b: &Builder, x: i64| b.add(create::constant_bits(DType::I64, x.cast_unsigned()), &[]);
        let op2 = |b: &Builder, def, x, y| b.add(Op::new(def), &[x, y]);
        let Counted { counter, limit } = self.outer;
        // the last trip that has as many after it; there is none if that is below all numbers
        let ahead = op2(b, &arith::SUB, args[limit], integer(b, WAYS - 1)?)?;
        let some = op2(b, &compare::LT, ahead, args[limit])?;
        let last = b.add(Op::new(&compare::SELECT), &[some, ahead, integer(b, i64::MIN)?])?;
        let many = [args, &[last]].concat();
        let test = Builder::new();
        let ins: Vec<NodeId> = many.iter().map(|&a| test.input(&b.ty_of(a))).collect();
        let more = op2(&test, &compare::LT, ins[counter], ins[args.len()])?;
        let op = while_op(Arc::new(test.finish(vec![more])?), Arc::new(self.body()?), self.op.int(2) as usize);
        let ends = b.add_control(&op, &many)?;
        b.add_control(self.op, &[&ends, &args[ends.len()..]].concat())
    }

    /// Several trips.
    fn body(&self) -> Result<Graph> {
        let (body, carried) = (self.op.graph(1), self.op.int(2) as usize);
        let p = Builder::new();
        let ins: Vec<NodeId> = body.input_types().map(|t| p.input(t)).collect();
        // the limit, which only the condition reads
        p.input(&Ty::scalar(DType::I64));
        let live = body.live();
        let step = |x: NodeId, by: i64| {
            let by = p.add(create::constant_bits(DType::I64, by.cast_unsigned()), &[])?;
            p.add(Op::new(&arith::ADD), &[x, by])
        };
        let write = |map: &mut Vec<Option<NodeId>>, wanted: &dyn Fn(NodeId) -> bool| -> Result<()> {
            for (id, n) in body.nodes() {
                if live[id.index()] && map[id.index()].is_none() && wanted(id) {
                    let args: Args = n.args.iter().map(|a| map[a.index()]).collect::<Option<_>>().ok_or_else(lost)?;
                    map[id.index()] = Some(p.add(n.op.clone(), &args)?);
                }
            }
            Ok(())
        };
        // up to the inner loop, each trip for itself
        let mut maps = Vec::new();
        for way in 0..WAYS {
            let mut map: Vec<Option<NodeId>> = vec![None; body.len()];
            body.inputs().iter().zip(&ins).for_each(|(i, &to)| map[i.index()] = Some(to));
            let i = self.outer.counter;
            map[body.inputs()[i].index()] = Some(if way == 0 { ins[i] } else { step(ins[i], way)? });
            write(&mut map, &|id| !self.after.contains(&id) && !self.sums.contains(&id))?;
            maps.push(map);
        }
        let inner = self.inner(&p, &maps)?;
        // behind it, one after the other
        let mut state = ins.clone();
        for (way, map) in maps.iter_mut().enumerate() {
            for k in (0..carried).filter(|&k| k != self.outer.counter) {
                map[body.inputs()[k].index()] = Some(state[k]);
            }
            map[self.inner.index()] = Some(inner[way][0]);
            for (id, n) in body.nodes().filter(|(_, n)| n.op.is(&PROJ) && n.args[0] == self.inner) {
                map[id.index()] = Some(inner[way][n.op.int(0) as usize]);
            }
            write(map, &|_| true)?;
            for k in 0..carried {
                state[k] = map[body.outputs()[k].index()].ok_or_else(lost)?;
            }
        }
        state[self.outer.counter] = step(ins[self.outer.counter], WAYS)?;
        state.truncate(carried);
        p.finish(state)
    }

    /// The inner loops of all trips as one: the results of each.
    fn inner(&self, p: &Builder, maps: &[Vec<Option<NodeId>>]) -> Result<Vec<Vec<NodeId>>> {
        let n = self.op.graph(1).node(self.inner);
        let (cond, step, carried) = (n.op.graph(0), n.op.graph(1), n.op.int(2) as usize);
        let given: Vec<Vec<NodeId>> = maps
            .iter()
            .map(|map| n.args.iter().map(|a| map[a.index()]).collect::<Option<_>>().ok_or_else(lost))
            .collect::<Result<_>>()?;
        // the counter, the other carried values of each trip, then what any of them captures
        let mut args = vec![given[0][self.counter]];
        let mut places: Vec<Vec<usize>> = vec![vec![0; n.args.len()]; maps.len()];
        for (given, places) in given.iter().zip(&mut places) {
            for k in (0..carried).filter(|&k| k != self.counter) {
                places[k] = args.len();
                args.push(given[k]);
            }
        }
        let all = args.len();
        for (given, places) in given.iter().zip(&mut places) {
            for k in carried..n.args.len() {
                let at = args[all..].iter().position(|&a| a == given[k]);
                places[k] = at.map_or(args.len(), |at| all + at);
                if at.is_none() {
                    args.push(given[k]);
                }
            }
        }
        let graph = |write: Part<'_>| -> Result<Arc<Graph>> {
            let b = Builder::new();
            let ins: Vec<NodeId> = args.iter().map(|&a| b.input(&p.ty_of(a))).collect();
            let outs = write(&b, &ins)?;
            b.finish(outs).map(Arc::new)
        };
        let of = |ins: &[NodeId], way: usize| places[way].iter().map(|&k| ins[k]).collect::<Vec<_>>();
        let test = graph(&|b, ins| b.inline(cond, &of(ins, 0)))?;
        let next = graph(&|b, ins| {
            let mut outs = ins[..all].to_vec();
            for (way, places) in places.iter().enumerate() {
                let new = b.inline(step, &of(ins, way))?;
                (0..carried).for_each(|k| outs[places[k]] = new[k]);
            }
            Ok(outs)
        })?;
        let outs = p.add_control(&while_op(test, next, all), &args)?;
        Ok(places.iter().map(|places| places[..carried].iter().map(|&k| outs[k]).collect()).collect())
    }
}

/// The graph in which loops around recurrences run several trips at a time.
///
/// # Errors
/// An ill-typed graph, which is our bug.
pub(crate) fn jam(g: &Graph) -> Result<Cow<'_, Graph>> {
    let live = g.live();
    let plans: FxHashMap<NodeId, Jam<'_>> = g
        .nodes()
        .filter(|(id, n)| live[id.index()] && n.op.is(&WHILE))
        .filter_map(|(id, n)| Some((id, plan(&n.op)?)))
        .collect();
    if plans.is_empty() {
        return Ok(Cow::Borrowed(g));
    }
    let write = |b: &Builder, id, n: &Node, map: &[Option<NodeId>]| {
        let Some(jam) = plans.get(&id) else { return Ok(None) };
        let args: Args = n.args.iter().map(|a| map[a.index()]).collect::<Option<_>>().ok_or_else(lost)?;
        jam.write(b, &args).map(Some)
    };
    rebuild(g, &mut |b, id, n, map| write(b, id, n, map), &|_| Vec::new()).map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        array::{Array, Data},
        interp,
    };

    /// Σᵢ tᵢ y(tᵢ) with y ← y·t + x[j] over all j from 1, t = i + n; LIMIT and NEXT say how long the inner loop is and what comes of y.
    const HORNER: &str = "%0 = input : f64[?]
%1 = input : i64[]
%2 = const 0 : i64[]
%3 = const 0.5 : f64[]
%4 = list_len(%0) : i64[]
%5 = while(%3, %2, %0, %1, %4) {cond={
  %0 = input : f64[]
  %1 = input : i64[]
  %2 = input : f64[?]
  %3 = input : i64[]
  %4 = input : i64[]
  %5 = lt(%1, %3) : bool[]
  return %5
}, body={
  %0 = input : f64[]
  %1 = input : i64[]
  %2 = input : f64[?]
  %3 = input : i64[]
  %4 = input : i64[]
  %5 = const 1 : i64[]
  %6 = add(%1, %3) : i64[]
  %7 = cast(%6) {dtype=f64} : f64[]
  %8 = const 0.25 : f64[]
  %9 = while(%5, %8, %7, %2, LIMIT) {cond={
    %0 = input : i64[]
    %1 = input : f64[]
    %2 = input : f64[]
    %3 = input : f64[?]
    %4 = input : i64[]
    %5 = lt(%0, %4) : bool[]
    return %5
  }, body={
    %0 = input : i64[]
    %1 = input : f64[]
    %2 = input : f64[]
    %3 = input : f64[?]
    %4 = input : i64[]
    %5 = const 1 : i64[]
    %6 = add(%0, %5) : i64[]
    %7 = list_get(%3, %0) {place=0} : f64[]
    %8 = mul(%1, %2) : f64[]
    %9 = add(%8, %7) : f64[]
    %10 = add(%1, %7) : f64[]
    return %6, NEXT
  }, carried=2} : i64[]
  %10 = proj(%9) {index=1, dtype=f64, shape=[]} : f64[]
  %11 = mul(%10, %7) : f64[]
  %12 = add(%0, %11) : f64[]
  %13 = add(%1, %5) : i64[]
  return %12, %13
}, carried=2} : f64[]
%6 = proj(%5) {index=0, dtype=f64, shape=[]} : f64[]
%7 = proj(%5) {index=1, dtype=i64, shape=[]} : i64[]
return %6, %7
";

    fn graph(limit: &str, next: &str) -> Graph {
        HORNER.replace("LIMIT", limit).replace("NEXT", next).parse().unwrap()
    }

    #[test]
    fn several_trips_give_the_bits_of_one_after_the_other() {
        let g = graph("%4", "%9");
        let jammed = jam(&g).unwrap();
        jammed.verify().unwrap();
        assert!(matches!(jammed, Cow::Owned(_)));
        for n in (0..11).chain([-3, i64::MIN]) {
            for m in [0, 1, 2, 5] {
                let x = (0..m).map(|i| (f64::from(i) * 0.7).sin()).collect();
                let args = [Array::from_data(Data::F64(x), &[m as usize]), Array::from_data(Data::I64(vec![n]), &[])];
                let run =
                    |g: &Graph| interp::run(g, &args).unwrap().iter().map(|a| a.to_f64_vec()[0].to_bits()).collect();
                let (one, many): (Vec<u64>, Vec<u64>) = (run(&g), run(&jammed));
                assert_eq!(one, many, "{n} trips around {m}");
            }
        }
    }

    #[test]
    fn other_loops_stay() {
        let stays = |limit: &str, next: &str| matches!(jam(&graph(limit, next)).unwrap(), Cow::Borrowed(_));
        // a sum runs side by side anyway; as long as the number of the trip says
        assert!(!stays("%4", "%9") && stays("%4", "%10") && stays("%1", "%9"));
        // a sum that a trip reads
        let read =
            HORNER.replace("LIMIT", "%4").replace("NEXT", "%9").replace("%11 = mul(%10, %7)", "%11 = mul(%10, %0)");
        assert!(matches!(jam(&read.parse().unwrap()).unwrap(), Cow::Borrowed(_)));
    }
}
