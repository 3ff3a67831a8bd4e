//! Cuts the graph of a reverse mode in two: a known part, which depends on no cotangent and runs forwards, and the
//! rest, which runs backwards. What the rest reads of the known part is recorded; it is the smallest number of values from
//! which the rest can compute what it needs without running anything slow again.
//!
//! That is a minimum cut (as in Chen et al., "Training deep nets with sublinear memory cost", 2016, and the partitioner of
//! functorch): a flow goes from what has to be recorded, slow values and inputs that are not there later, through cheap
//! operations to what the backward part reads, and each value lets one unit through.

use super::{flow::Inputs, hoist};
use crate::{
    error::{Error, Result},
    graph::{Args, Builder, Graph, NodeId},
    op::{
        Attr, Lower, Op, OpDef, arith,
        control::{IF, PROJ, is_control},
        create, list,
    },
    ty::Ty,
};
use rustc_hash::{FxHashMap, FxHashSet};
use std::{collections::BTreeSet, sync::Arc};

/// A graph in two parts.
pub(super) struct Cut {
    /// From the known inputs (those that are not unknown, in order) to the record.
    pub known: Graph,
    /// From the record, the free inputs that it reads and the unknown inputs to the results.
    pub unknown: Graph,
    /// Those free inputs, by their position among all inputs.
    pub free: BTreeSet<usize>,
    /// From the known inputs to elements of lists that are the same in all trips, which the rest takes after the free inputs.
    pub fixed: Graph,
}

/// Operations that take many cycles.
pub(super) fn is_slow(op: &Op) -> bool {
    let slow: [&OpDef; 5] = [&arith::DIV, &arith::SQRT, &arith::RSQRT, &arith::RECIP, &arith::REM];
    slow.iter().any(|def| op.is(def))
}

/// Whether computing a value again costs no more than reading it.
fn is_cheap(op: &Op) -> bool {
    match op.def.lower {
        Lower::Const | Lower::View(_) | Lower::Reduce(_) | Lower::Iota => true,
        Lower::Inline(_) => !is_slow(op),
        _ => false,
    }
}

/// Cuts a graph.
///
/// # Errors
/// If the backward part needs a list as it was on the way forwards.
pub(super) fn cut(g: &Graph, inputs: &Inputs<'_>) -> Result<Cut> {
    let live = g.live();
    let mut unknown = vec![false; g.len()];
    let mut free = vec![false; g.len()];
    for (k, &i) in g.inputs().iter().enumerate() {
        (unknown[i.index()], free[i.index()]) = (inputs.unknown[k], inputs.free[k]);
    }
    for (id, n) in g.nodes().filter(|(id, _)| live[id.index()]) {
        unknown[id.index()] |= n.args.iter().any(|a| unknown[a.index()]);
    }
    // an element that is the same in all trips, of a list that is not there on the way back, is kept of the loop, not of each trip
    let mut fixed = vec![false; g.len()];
    let there: Vec<bool> = inputs.fixed.iter().zip(inputs.free).map(|(fixed, free)| *fixed && *free).collect();
    let same = hoist::same(g, &there, &|_| false);
    for (id, n) in g.nodes().filter(|(id, n)| live[id.index()] && n.op.is(&list::GET)) {
        let of = g.node(n.args[0]);
        fixed[id.index()] = of.op.is(&create::INPUT)
            && inputs.fixed[of.op.int(0) as usize]
            && !free[n.args[0].index()]
            && same[n.args[1].index()];
    }
    // what leaves the loop backwards again is computed once in front of it
    let same = hoist::same(g, &there, &|id| fixed[id.index()]);
    same.into_iter().zip(&mut free).for_each(|(s, f)| *f |= s);
    let cheap = |id: NodeId| {
        let n = g.node(id);
        let read = n.op.is(&list::GET) || n.op.is(&list::LEN);
        // equal elements are what sums begin with, and go away with them
        is_cheap(&n.op) || n.op.is(&list::FILL) || n.op.is(&list::WITHIN) || read && free[n.args[0].index()]
    };
    // known values that the backward part reads
    let mut wanted: BTreeSet<NodeId> = g.outputs().iter().copied().filter(|o| !unknown[o.index()]).collect();
    for (_, n) in g.nodes().filter(|(id, _)| live[id.index()] && unknown[id.index()]) {
        wanted.extend(n.args.iter().filter(|a| !unknown[a.index()]));
    }
    let saved = minimum(g, &wanted, &|id| free[id.index()], &cheap)?;

    // the known part
    let known = Builder::new();
    let mut map: Vec<Option<NodeId>> = vec![None; g.len()];
    for (k, &i) in g.inputs().iter().enumerate() {
        if !inputs.unknown[k] {
            map[i.index()] = Some(known.input(g.ty(i)));
        }
    }
    for (id, n) in g.nodes().filter(|(id, _)| live[id.index()] && !unknown[id.index()]) {
        if map[id.index()].is_none() {
            let args: Args = n.args.iter().map(|a| map[a.index()].expect("arguments are known")).collect();
            map[id.index()] = Some(known.add(n.op.clone(), &args)?);
        }
    }
    let at = |of: &[NodeId]| of.iter().map(|s| map[s.index()].expect("what is saved is known")).collect::<Vec<_>>();

    // the rest: known values are read, or computed again
    let mut again = vec![false; g.len()];
    let is_saved = |id: &NodeId| saved.binary_search(id).is_ok();
    let mut todo: Vec<NodeId> = wanted.iter().copied().filter(|w| !is_saved(w)).collect();
    while let Some(id) = todo.pop() {
        if !std::mem::replace(&mut again[id.index()], true) && !fixed[id.index()] {
            todo.extend(g.node(id).args.iter().filter(|a| !is_saved(a)));
        }
    }
    let kept: Vec<NodeId> = g.nodes().map(|(id, _)| id).filter(|id| again[id.index()] && fixed[id.index()]).collect();
    let (of_trip, of_loop) = (at(&saved), at(&kept));
    let known = known.finish([&of_trip[..], &of_loop].concat())?;
    let [of_trip, of_loop] = {
        let outs = known.outputs();
        [&outs[..saved.len()], &outs[saved.len()..]].map(<[NodeId]>::to_vec)
    };
    let (known, fixed) = (known.clone().with_outputs(of_trip), known.with_outputs(of_loop));

    let rest = Builder::new();
    let mut map: Vec<Option<NodeId>> = vec![None; g.len()];
    for &s in &saved {
        map[s.index()] = Some(rest.input(g.ty(s)));
    }
    let mut read = BTreeSet::new();
    for (k, &i) in g.inputs().iter().enumerate() {
        if again[i.index()] {
            map[i.index()] = Some(rest.input(g.ty(i)));
            read.insert(k);
        }
    }
    for &id in &kept {
        map[id.index()] = Some(rest.input(g.ty(id)));
    }
    for (k, &i) in g.inputs().iter().enumerate() {
        if inputs.unknown[k] {
            map[i.index()] = Some(rest.input(g.ty(i)));
        }
    }
    for (id, n) in g.nodes().filter(|(id, _)| live[id.index()]) {
        if map[id.index()].is_none() && (unknown[id.index()] || again[id.index()]) {
            let args: Args = n.args.iter().map(|a| map[a.index()].expect("arguments come first")).collect();
            map[id.index()] = Some(rest.add(n.op.clone(), &args)?);
        }
    }
    let outs = g.outputs().iter().map(|o| map[o.index()].expect("outputs are computed")).collect();
    Ok(Cut { known, unknown: rest.finish(outs)?, free: read, fixed })
}

/// As [`cut`], where the backward part computes all that is known again.
pub(super) fn recompute(g: &Graph, inputs: &Inputs<'_>) -> Result<Cut> {
    let live = g.live();
    let reads = |k: &usize| live[g.inputs()[*k].index()] && !inputs.unknown[*k];
    let (read, saved): (Vec<usize>, Vec<usize>) = (0..g.inputs().len()).filter(reads).partition(|&k| inputs.free[k]);
    let known = Builder::new();
    let ins: Vec<(usize, NodeId)> =
        (0..g.inputs().len()).filter(|&k| !inputs.unknown[k]).map(|k| (k, known.input(g.ty(g.inputs()[k])))).collect();
    let of = |k: &usize| ins.iter().find(|i| i.0 == *k).expect("a known input").1;
    let known = known.finish(saved.iter().map(of).collect())?;
    let rest = Builder::new();
    let mut all: Vec<NodeId> = vec![NodeId::default(); g.inputs().len()];
    let unknown: Vec<usize> = (0..all.len()).filter(|&k| inputs.unknown[k]).collect();
    for &k in saved.iter().chain(&read).chain(&unknown) {
        all[k] = rest.input(g.ty(g.inputs()[k]));
    }
    let outs = rest.inline(g, &all)?;
    let fixed = known.clone().with_outputs(Vec::new());
    Ok(Cut { known, unknown: rest.finish(outs)?, free: read.into_iter().collect(), fixed })
}

/// The fewest values from which cheap operations make all that is wanted, without what is free; of several sets
/// the one nearest to what is wanted.
fn minimum(
    g: &Graph,
    wanted: &BTreeSet<NodeId>,
    free: &dyn Fn(NodeId) -> bool,
    cheap: &dyn Fn(NodeId) -> bool,
) -> Result<Vec<NodeId>> {
    // the network: every value is an edge from its entry 2i to its exit 2i + 1
    let mut number: FxHashMap<NodeId, usize> = FxHashMap::default();
    let mut nodes: Vec<NodeId> = Vec::new();
    let mut args: Vec<Vec<usize>> = Vec::new();
    let mut todo: Vec<NodeId> = wanted.iter().copied().filter(|&w| !free(w)).collect();
    while let Some(id) = todo.pop() {
        if number.contains_key(&id) {
            continue;
        }
        number.insert(id, nodes.len());
        nodes.push(id);
        if cheap(id) {
            todo.extend(g.node(id).args.iter().copied().filter(|&a| !free(a)));
        }
    }
    for &id in &nodes {
        let from = if cheap(id) { &g.node(id).args[..] } else { &[] };
        args.push(from.iter().filter_map(|a| number.get(a).copied()).collect());
    }
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (i, from) in args.iter().enumerate() {
        from.iter().for_each(|&a| users[a].push(i));
    }
    let source: Vec<bool> = nodes.iter().map(|&id| !cheap(id)).collect();
    let sink: Vec<bool> = nodes.iter().map(|id| wanted.contains(id)).collect();
    let unlimited = |i: usize| g.ty(nodes[i]).is_list();
    // unit flows: whether a value carries one, and how many go from an argument to a user
    let mut carries = vec![false; nodes.len()];
    let mut along: FxHashMap<(usize, usize), u32> = FxHashMap::default();
    loop {
        // a path from a source to a sink, over values without a flow, or back along flows
        let mut from: Vec<Option<usize>> = vec![None; 2 * nodes.len()];
        let mut queue: Vec<usize> = (0..nodes.len()).filter(|&i| source[i]).map(|i| 2 * i).collect();
        queue.iter().for_each(|&v| from[v] = Some(v));
        let mut end = None;
        let mut at = 0;
        while at < queue.len() && end.is_none() {
            let v = queue[at];
            at += 1;
            let (i, exit) = (v / 2, v % 2 == 1);
            let mut next: Vec<usize> = Vec::new();
            if exit {
                if sink[i] {
                    end = Some(v);
                    continue;
                }
                next.extend(users[i].iter().map(|&u| 2 * u));
                next.extend((carries[i] && !unlimited(i)).then_some(2 * i));
            } else {
                next.extend((!carries[i] || unlimited(i)).then_some(2 * i + 1));
                next.extend(
                    args[i].iter().filter(|&&a| along.get(&(a, i)).is_some_and(|&f| f > 0)).map(|&a| 2 * a + 1),
                );
            }
            for w in next {
                if from[w].is_none() {
                    from[w] = Some(v);
                    queue.push(w);
                }
            }
        }
        let Some(mut v) = end else { break };
        let mut unlimited_path = true;
        while let Some(u) = from[v].filter(|&u| u != v) {
            match (u / 2 == v / 2, u % 2 == 1) {
                (true, false) => {
                    unlimited_path &= unlimited(u / 2);
                    carries[u / 2] = true;
                }
                (true, true) => carries[u / 2] = false,
                (false, true) => *along.entry((u / 2, v / 2)).or_default() += 1,
                (false, false) => {
                    let back = along.entry((v / 2, u / 2)).or_default();
                    *back = back.saturating_sub(1);
                }
            }
            v = u;
        }
        if unlimited_path {
            return Err(Error::Compile("a list is written to in a loop whose derivative needs it as it was".into()));
        }
    }
    // what can still reach the sink: the cut is where that begins
    let mut reaches = vec![false; 2 * nodes.len()];
    let mut todo: Vec<usize> = (0..nodes.len()).filter(|&i| sink[i]).map(|i| 2 * i + 1).collect();
    todo.iter().for_each(|&v| reaches[v] = true);
    while let Some(v) = todo.pop() {
        let (i, exit) = (v / 2, v % 2 == 1);
        let mut before: Vec<usize> = Vec::new();
        if exit {
            before.extend((!carries[i] || unlimited(i)).then_some(2 * i));
            before.extend(users[i].iter().filter(|&&u| along.get(&(i, u)).is_some_and(|&f| f > 0)).map(|&u| 2 * u));
        } else {
            before.extend(args[i].iter().map(|&a| 2 * a + 1));
            before.extend((carries[i] && !unlimited(i)).then_some(2 * i + 1));
        }
        for w in before {
            if !std::mem::replace(&mut reaches[w], true) {
                todo.push(w);
            }
        }
    }
    let mut saved: Vec<NodeId> =
        (0..nodes.len()).filter(|&i| reaches[2 * i + 1] && !reaches[2 * i]).map(|i| nodes[i]).collect();
    saved.sort_unstable();
    Ok(saved)
}

/// Makes one choice of those that have the same condition and do not depend on one another, so that what is recorded
/// of a branch is computed where the branch runs.
pub(super) fn merge_choices(g: &Graph) -> Result<Graph> {
    let mut g = g.clone();
    while let Some((first, second)) = mergeable(&g) {
        g = merged(&g, first, second)?;
    }
    Ok(g)
}

fn mergeable(g: &Graph) -> Option<(NodeId, NodeId)> {
    let live = g.live();
    let choices: Vec<NodeId> = g.nodes().filter(|(id, n)| live[id.index()] && n.op.is(&IF)).map(|(id, _)| id).collect();
    for (k, &second) in choices.iter().enumerate() {
        let mut same = choices[..k].iter().filter(|&&first| g.node(first).args[0] == g.node(second).args[0]).peekable();
        if same.peek().is_none() {
            continue;
        }
        let before = ancestors(g, second);
        if let Some(&first) = same.find(|f| !before.contains(f)) {
            return Some((first, second));
        }
    }
    None
}

/// All that a node depends on.
pub(super) fn ancestors(g: &Graph, of: NodeId) -> FxHashSet<NodeId> {
    let mut seen = FxHashSet::default();
    let mut todo = vec![of];
    while let Some(id) = todo.pop() {
        todo.extend(g.node(id).args.iter().copied().filter(|&a| seen.insert(a)));
    }
    seen
}

fn merged(g: &Graph, first: NodeId, second: NodeId) -> Result<Graph> {
    let (one, two) = (g.node(first), g.node(second));
    let mut args: Args = one.args.clone();
    let places: Vec<usize> = two.args[1..]
        .iter()
        .map(|a| {
            let at = args[1..].iter().position(|x| x == a);
            at.unwrap_or_else(|| {
                args.push(*a);
                args.len() - 2
            })
        })
        .collect();
    let branch = |i: usize| -> Result<Attr> {
        let inner = Builder::new();
        let ins: Vec<NodeId> = args[1..].iter().map(|&a| inner.input(g.ty(a))).collect();
        let mut outs = inner.inline(one.op.graph(i), &ins[..one.args.len() - 1])?;
        let theirs: Vec<NodeId> = places.iter().map(|&p| ins[p]).collect();
        outs.extend(inner.inline(two.op.graph(i), &theirs)?);
        Ok(Attr::Graph(Arc::new(inner.finish(outs)?)))
    };
    let op = Op::with(&IF, [branch(0)?, branch(1)?]);
    let n = one.op.graph(0).outputs().len();
    rebuild(
        g,
        &mut |b, id, _, map| {
            if id == first || id == second {
                let from = if id == first { 0 } else { n };
                let args: Args = args.iter().map(|a| map[a.index()].expect("arguments come first")).collect();
                let all = b.add_control(&op, &args)?;
                return Ok(Some(all[from..].to_vec()));
            }
            Ok(None)
        },
        &|id| if id == first || id == second { args.to_vec() } else { Vec::new() },
    )
}

/// What makes a graph from its arguments.
pub(super) type Part<'f> = &'f dyn Fn(&Builder, &[NodeId]) -> Result<Vec<NodeId>>;

/// A graph over arguments of these types.
pub(super) fn graph<'t>(tys: impl IntoIterator<Item = &'t Ty>, f: Part<'_>) -> Result<Graph> {
    let b = Builder::new();
    let ins: Vec<NodeId> = tys.into_iter().map(|t| b.input(t)).collect();
    let outs = f(&b, &ins)?;
    b.finish(outs)
}

/// What replaces a node while a graph is made again: its results. Of an input, what is read in its place.
type Replace<'r> =
    &'r mut dyn FnMut(&Builder, NodeId, &crate::graph::Node, &[Option<NodeId>]) -> Result<Option<Vec<NodeId>>>;

/// Makes a graph again in the order in which its outputs need the nodes; `more` are further nodes that one needs.
pub(super) fn rebuild(g: &Graph, replace: Replace<'_>, more: &dyn Fn(NodeId) -> Vec<NodeId>) -> Result<Graph> {
    let b = Builder::new();
    let mut map: Vec<Option<NodeId>> = vec![None; g.len()];
    let mut all: FxHashMap<NodeId, Vec<NodeId>> = FxHashMap::default();
    for &i in g.inputs() {
        map[i.index()] = Some(b.input(g.ty(i)));
    }
    for &i in g.inputs() {
        if let Some(outs) = replace(&b, i, g.node(i), &map)? {
            map[i.index()] = outs.first().copied();
        }
    }
    let mut todo: Vec<NodeId> = g.outputs().iter().rev().copied().collect();
    while let Some(&id) = todo.last() {
        if map[id.index()].is_some() || all.contains_key(&id) {
            todo.pop();
            continue;
        }
        let n = g.node(id);
        let needed = n.args.iter().copied().chain(more(id));
        let missing: Vec<NodeId> = needed.filter(|a| map[a.index()].is_none() && !all.contains_key(a)).collect();
        if !missing.is_empty() {
            todo.extend(missing);
            continue;
        }
        todo.pop();
        if let Some(outs) = replace(&b, id, n, &map)? {
            if is_control(&n.op) {
                all.insert(id, outs);
            } else {
                map[id.index()] = outs.first().copied();
            }
        } else if n.op.is(&PROJ) {
            map[id.index()] = Some(all[&n.args[0]][n.op.int(0) as usize]);
        } else {
            let args: Args = n.args.iter().map(|a| map[a.index()].expect("arguments come first")).collect();
            if is_control(&n.op) {
                all.insert(id, b.add_control(&n.op, &args)?);
            } else {
                map[id.index()] = Some(b.add(n.op.clone(), &args)?);
            }
        }
    }
    b.finish(g.outputs().iter().map(|o| map[o.index()].expect("outputs are made")).collect())
}
