//! Makes one loop of several that run side by side: of loops forwards that start from the same, compute the same and record
//! the same, and of loops backwards over one record, none of which reads a result of another. The loops and choices inside
//! come to stand side by side, and are made one in turn.

use super::{
    prune::lost,
    split::{ancestors, merge_choices, rebuild},
    vector::{Trips, vector},
};
use crate::{
    error::Result,
    graph::{Args, Builder, Graph, Node, NodeId},
    op::{
        Attr, Op,
        control::{WHILE_BACK, WHILE_SAVE, is_call},
    },
};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// The graph with its loops joined.
pub(super) fn join(g: &Graph) -> Result<Graph> {
    backs(&shared(g)?)
}

/// Joins loops backwards, from the outside to the inside.
fn backs(g: &Graph) -> Result<Graph> {
    let mut g = g.clone();
    let mut apart = Vec::new();
    while let Some((first, second)) = pair(&g, &apart) {
        match joined(&g, first, second)? {
            Some(joined) => (g, apart) = (joined, Vec::new()),
            None => apart.push((first, second)),
        }
    }
    let live = g.live();
    if !g.nodes().any(|(id, n)| live[id.index()] && inside(n)) {
        return Ok(g);
    }
    rebuild(
        &g,
        &mut |b, _, n, map| {
            if !inside(n) {
                return Ok(None);
            }
            let args: Args = n.args.iter().map(|a| map[a.index()]).collect::<Option<_>>().ok_or_else(lost)?;
            b.add_control(&n.op.map_graphs(backs)?, &args).map(Some)
        },
        &|_| Vec::new(),
    )
}

/// Whether a node may have loops backwards inside.
fn inside(n: &Node) -> bool {
    !is_call(&n.op) && n.subgraphs().any(|g| g.nodes().any(|(_, n)| n.op.is(&WHILE_BACK) || inside(n)))
}

/// Two loops over one record that do not depend on one another, and have not been found to be better apart.
fn pair(g: &Graph, apart: &[(NodeId, NodeId)]) -> Option<(NodeId, NodeId)> {
    let live = g.live();
    let all: Vec<NodeId> =
        g.nodes().filter(|(id, n)| live[id.index()] && n.op.is(&WHILE_BACK)).map(|(id, _)| id).collect();
    for (k, &second) in all.iter().enumerate() {
        let two = g.node(second);
        // of a record of nothing the number of trips is all there is
        let record = |n: &Node| (n.op.int(1), if n.op.int(1) > 0 { n.op.int(3) } else { -1 });
        let same = |n: &Node| n.args[..2] == two.args[..2] && record(n) == record(two);
        let mut others = all[..k].iter().filter(|&&o| same(g.node(o)) && !apart.contains(&(o, second))).peekable();
        if others.peek().is_some() {
            let before = ancestors(g, second);
            if let Some(&first) = others.find(|o| !before.contains(o)) {
                return Some((first, second));
            }
        }
    }
    None
}

/// The arguments of a loop backwards: captures, cotangents and sums.
fn parts(n: &Node) -> (&[NodeId], &[NodeId], &[NodeId]) {
    let (carried, sums) = (n.op.int(2) as usize, n.op.int(4) as usize);
    let (captures, state) = n.args[2..].split_at(n.args.len() - 2 - carried);
    let (cotangents, sums) = state.split_at(carried - sums);
    (captures, cotangents, sums)
}

/// Makes one loop of two, unless its trips would not run side by side and those of one of them do.
fn joined(g: &Graph, first: NodeId, second: NodeId) -> Result<Option<Graph>> {
    let (one, two) = (g.node(first), g.node(second));
    let record = one.op.int(1) as usize;
    let [a, b] = [parts(one), parts(two)];
    let mut captures: Vec<NodeId> = a.0.to_vec();
    captures.extend(b.0.iter().filter(|c| !a.0.contains(c)));
    let (cotangents, sums) = ([a.1, b.1].concat(), [a.2, b.2].concat());
    let inner = Builder::new();
    let step = one.op.graph(0);
    let fixed: Vec<NodeId> = step.inputs()[..=record].iter().map(|&i| inner.input(step.ty(i))).collect();
    let input = |ids: &[NodeId]| ids.iter().map(|&a| inner.input(g.ty(a))).collect::<Vec<NodeId>>();
    let (read, state, sum) = (input(&captures), input(&cotangents), input(&sums));
    let at = |c: &NodeId| captures.iter().position(|x| x == c).map(|k| read[k]);
    let mut outs: [Vec<NodeId>; 2] = Default::default();
    // where the cotangents and sums of each begin
    let places = [(0, 0), (a.1.len(), a.2.len())];
    for ((n, p), (from, sums)) in [(one, a), (two, b)].into_iter().zip(places) {
        let read: Vec<NodeId> = p.0.iter().map(at).collect::<Option<_>>().ok_or_else(lost)?;
        let ins = [&fixed[..], &read, &state[from..from + p.1.len()], &sum[sums..sums + p.2.len()]].concat();
        let all = inner.inline(n.op.graph(0), &ins)?;
        outs[0].extend(&all[..p.1.len()]);
        outs[1].extend(&all[p.1.len()..]);
    }
    let step = merge_choices(&inner.finish(outs.concat())?)?;
    let carried = cotangents.len() + sums.len();
    let alone = |step: &Graph, carried: usize| {
        let n = step.inputs().len();
        vector(&Trips { body: step, cond: None, record, carried: n - carried..n }).is_none()
    };
    if alone(&step, carried) && [one, two].into_iter().any(|n| !alone(n.op.graph(0), n.op.int(2) as usize)) {
        return Ok(None);
    }
    let [record, carried] = [record, carried].map(|n| Attr::Int(n as i64));
    let step = Attr::Graph(Arc::new(step));
    let op = Op::with(&WHILE_BACK, [step, record, carried, one.op.attrs[3].clone(), Attr::Int(sums.len() as i64)]);
    let args: Vec<NodeId> = [&one.args[..2], &captures, &cotangents, &sums].concat();
    let g = rebuild(
        g,
        &mut |b, id, n, map| {
            if id != first && id != second {
                return Ok(None);
            }
            let args: Args = args.iter().map(|a| map[a.index()]).collect::<Option<_>>().ok_or_else(lost)?;
            let all = b.add_control(&op, &args)?;
            let (from, sum) = places[usize::from(id == second)];
            let (_, c, s) = parts(n);
            let sum = cotangents.len() + sum;
            Ok(Some([&all[from..from + c.len()], &all[sum..sum + s.len()]].concat()))
        },
        &|id| if id == first || id == second { args.clone() } else { Vec::new() },
    )?;
    Ok(Some(g))
}

/// Makes one loop of those that start from the same, compute the same and record the same.
fn shared(g: &Graph) -> Result<Graph> {
    let mut same: FxHashMap<i64, i64> = FxHashMap::default();
    let mut todo = vec![g];
    while let Some(g) = todo.pop() {
        let mut first: FxHashMap<&Args, Vec<(Op, Vec<i64>)>> = FxHashMap::default();
        for (_, n) in g.nodes() {
            todo.extend(if is_call(&n.op) { None } else { Some(n.subgraphs()) }.into_iter().flatten());
            if n.op.is(&WHILE_SAVE) {
                first.entry(&n.args).or_default().push((n.op.clone(), Vec::new()));
            }
        }
        for loops in first.values_mut().filter(|l| l.len() > 1) {
            for (op, arenas) in loops.iter_mut() {
                *op = numbered(op, &mut |arena| {
                    let at = arenas.iter().position(|a| *a == arena).unwrap_or_else(|| {
                        arenas.push(arena);
                        arenas.len() - 1
                    });
                    at as i64
                })?;
            }
            for (k, (op, arenas)) in loops.iter().enumerate() {
                if let Some((_, by)) = loops[..k].iter().find(|l| l.0 == *op) {
                    same.extend(arenas.iter().copied().zip(by.iter().copied()).filter(|(a, b)| a != b));
                }
            }
        }
    }
    if same.is_empty() {
        return Ok(g.clone());
    }
    let mut arena = |mut a: i64| {
        while let Some(&b) = same.get(&a) {
            a = b;
        }
        a
    };
    renumbered(g, &mut arena)
}

/// The graph with other numbers of arenas, outside of functions; equal loops come to be one.
fn renumbered(g: &Graph, arena: &mut dyn FnMut(i64) -> i64) -> Result<Graph> {
    g.map_ops(|op| numbered(op, arena))
}

fn numbered(op: &Op, arena: &mut dyn FnMut(i64) -> i64) -> Result<Op> {
    let mut op = op.clone();
    if op.is(&WHILE_SAVE) || op.is(&WHILE_BACK) {
        op.attrs[3] = Attr::Int(arena(op.int(3)));
    }
    if is_call(&op) { Ok(op) } else { op.map_graphs(|g| renumbered(g, arena)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// x ← sin x so many times, of which each trip records x.
    const SAVE: &str = "while_save(%2, %0, %1) {cond={
  %0 = input : i64[]
  %1 = input : f64[]
  %2 = input : i64[]
  %3 = lt(%0, %2) : bool[]
  return %3
}, body={
  %0 = input : i64[]
  %1 = input : f64[]
  %2 = input : i64[]
  %3 = const 1 : i64[]
  %4 = add(%0, %3) : i64[]
  %5 = sin(%1) : f64[]
  return %4, %5, %1
}, carried=2";

    /// Two loops that record the same, and a loop back over each.
    const TWICE: &str = "%0 = input : f64[]
%1 = input : i64[]
%2 = const 0 : i64[]
%3 = SAVE, arena=0, taken=0} : i64[]
%4 = proj(%3) {index=2, dtype=i64, shape=[]} : i64[]
%5 = proj(%3) {index=3, dtype=i64, shape=[]} : i64[]
%6 = const 1.0 : f64[]
%7 = while_back(%4, %5, %6) {backward={
  %0 = input : f64[]
  %1 = input : i64[]
  %2 = input : f64[]
  %3 = cos(%0) : f64[]
  %4 = mul(%2, %3) : f64[]
  return %4
}, record=1, carried=1, arena=0, sums=0} : f64[]
%8 = proj(%7) {index=0, dtype=f64, shape=[]} : f64[]
%9 = SAVE, arena=1, taken=0} : i64[]
%10 = proj(%9) {index=2, dtype=i64, shape=[]} : i64[]
%11 = proj(%9) {index=3, dtype=i64, shape=[]} : i64[]
%12 = const 0.0 : f64[]
%13 = while_back(%10, %11, %0, %6, %12) {backward={
  %0 = input : f64[]
  %1 = input : i64[]
  %2 = input : f64[]
  %3 = input : f64[]
  %4 = input : f64[]
  %5 = mul(%3, %2) : f64[]
  %6 = mul(%5, %0) : f64[]
  %7 = add(%4, %6) : f64[]
  return %5, %7
}, record=1, carried=2, arena=1, sums=1} : f64[]
%14 = proj(%13) {index=0, dtype=f64, shape=[]} : f64[]
%15 = proj(%13) {index=1, dtype=f64, shape=[]} : f64[]
return %8, %14, %15
";

    #[test]
    fn loops_over_one_record_are_one() {
        let count = |g: &Graph, op| g.nodes().filter(|(id, n)| g.live()[id.index()] && n.op.is(op)).count();
        let twice = TWICE.replace("SAVE", SAVE);
        let g = join(&twice.parse().unwrap()).unwrap();
        assert_eq!((count(&g, &WHILE_SAVE), count(&g, &WHILE_BACK)), (1, 1), "{g}");
        assert_eq!(join(&g).unwrap(), g);
        // a loop that takes what another gives comes after it
        let after = twice.replace("while_back(%10, %11, %0, %6, %12)", "while_back(%10, %11, %8, %6, %12)");
        let g = join(&after.parse().unwrap()).unwrap();
        assert_eq!((count(&g, &WHILE_SAVE), count(&g, &WHILE_BACK)), (1, 2), "{g}");
    }
}
