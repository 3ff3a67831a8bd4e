//! From a loop to one without the work that comes to the same in all its trips, which is done once in front of it.
//!
//! This is for lowered loops only, whose derivatives have been taken: the derivative of 1/x outside of a loop of no trips is
//! 0 · ∞ at x = 0, where the loop itself has none. What a loop of no trips computes now for nothing does no harm: arithmetic of
//! floats cannot fail. What can, an index, a division of integers or a factorisation, stays, as do inner loops, which may not
//! end. What runs under a condition stays under it.
//!
//! A value that leaves is one more capture, which takes a register all along the loop. So of scalars only what is slow
//! leaves, with what it is made of. Of tensors everything leaves that does not take more memory than what it is made of, or
//! is more than cheap arithmetic.

use super::split::is_slow;
use crate::{
    error::Result,
    graph::{Args, Builder, Graph, Node, NodeId},
    op::{
        Attr, Lower, Op,
        control::{IF, PROJ, WHILE, WHILE_BACK, WHILE_SAVE, results},
        conv,
        create::INPUT,
        list,
    },
};
use std::sync::Arc;

/// Adds lowered control flow, and in front of a loop what comes to the same in all its trips: its results.
///
/// # Errors
/// As [`Builder::add`].
pub(super) fn add(b: &Builder, op: &Op, args: &[NodeId], scalar: bool) -> Result<Vec<NodeId>> {
    let back = op.is(&WHILE_BACK);
    if !back && !op.is(&WHILE) && !op.is(&WHILE_SAVE) {
        return b.add_control(op, args);
    }
    let (body, carried) = (op.graph(usize::from(!back)), op.int(2) as usize);
    let n = body.inputs().len();
    // a loop backwards takes where its record ends, its sub-graph a record and the number of the trip; carried values come last
    let given = if back { &args[2..] } else { args };
    let (inner, first) = (n - given.len(), if back { n - carried } else { 0 });
    let end = if back { first } else { n };
    let mut outer = vec![NodeId::default(); inner];
    outer.extend(given);
    let changes = |k: usize| (first..first + carried).contains(&k) && body.outputs()[k - first] != body.inputs()[k];
    let fixed: Vec<bool> = (0..n).map(|k| k >= inner && !changes(k)).collect();
    let graphs = if back { 0..1 } else { 0..2 };
    let mut more: Vec<NodeId> = Vec::new();
    let mut leave = Vec::new();
    for g in graphs.clone().map(|i| &**op.graph(i)) {
        let part = Leaving::of(g, &fixed, scalar);
        let outs = b.inline(&g.clone().with_outputs(part.values.clone()), &outer)?;
        for &o in &outs {
            if !more.contains(&o) {
                more.push(o);
            }
        }
        leave.push((part, outs));
    }
    if more.is_empty() {
        return b.add_control(op, args);
    }
    let mut op = op.clone();
    for (i, (part, outs)) in graphs.zip(leave) {
        op.attrs[i] = Attr::Graph(Arc::new(part.rest(b, op.graph(i), end, &outs, &more)?));
    }
    let (before, after) = args.split_at(args.len() - (n - end));
    b.add_control(&op, &[before, &more, after].concat())
}

/// The values that come to the same whenever the graph runs with the same `fixed` inputs, and may be computed though it
/// does not run; of some others that is `known`.
pub(super) fn same(g: &Graph, fixed: &[bool], known: &dyn Fn(NodeId) -> bool) -> Vec<bool> {
    let mut same = vec![false; g.len()];
    for (id, n) in g.nodes() {
        same[id.index()] = match n.op.is(&INPUT) {
            true => fixed[n.op.int(0) as usize],
            false => known(id) || may_leave(n) && n.args.iter().all(|a| same[a.index()]),
        };
    }
    same
}

/// Whether an operation always ends, and not with an error.
fn may_leave(n: &Node) -> bool {
    let family = |all: &[&'static crate::op::OpDef]| all.iter().any(|d| n.op.is(d));
    let known = match n.op.def.lower {
        _ if n.op.is(&IF) => {
            // as deep as the source nests choices
            let all = |g: &Graph| g.nodes().all(|(_, n)| n.op.is(&INPUT) || may_leave(n));
            n.subgraphs().all(all) && !results(&n.op).iter().any(|t| t.is_list())
        }
        Lower::Library => n.op.is(&PROJ) || n.op.is(&list::SUM) || n.op.is(&list::LEN) || family(conv::ALL),
        _ => true,
    };
    known && !n.ty.is_list()
}

/// What leaves a sub-graph of a loop.
struct Leaving {
    /// What the rest reads of it.
    values: Vec<NodeId>,
    /// What the results take if these values are given; these too.
    kept: Vec<bool>,
}

impl Leaving {
    fn of(g: &Graph, fixed: &[bool], scalar: bool) -> Leaving {
        let (live, same) = (g.live(), same(g, fixed, &|_| false));
        let mut leaves = vec![false; g.len()];
        // how many elements there are in memory of what a view shows
        let mut stored = vec![0; g.len()];
        for (id, n) in g.nodes() {
            let largest = n.args.iter().map(|a| stored[a.index()]).max().unwrap_or(0);
            stored[id.index()] = if matches!(n.op.def.lower, Lower::View(_)) { largest } else { n.ty.numel() };
            if !live[id.index()] || !same[id.index()] || n.op.is(&INPUT) || n.op.is(&IF) {
                continue;
            }
            // nothing else takes an argument that leaves: one capture takes the place of another
            let only = |a: &NodeId| {
                let others = g.users(*a).any(|(u, _)| u != id && live[u.index()]);
                leaves[a.index()] && !others && !g.outputs().contains(a)
            };
            leaves[id.index()] = match n.op.def.lower {
                Lower::Const | Lower::View(_) | Lower::Iota => false,
                Lower::Inline(_) if is_slow(&n.op) => true,
                Lower::Inline(_) if scalar => n.ty.dtype.is_float() && n.args.iter().any(only),
                Lower::Inline(_) => n.ty.numel() <= largest,
                Lower::Reduce(_) => !scalar,
                Lower::Library => !n.op.is(&list::LEN),
                _ => true,
            };
        }
        let mut kept = vec![false; g.len()];
        g.outputs().iter().for_each(|o| kept[o.index()] = true);
        for (id, n) in g.nodes().rev().filter(|(id, _)| !leaves[id.index()]) {
            if kept[id.index()] {
                n.args.iter().for_each(|a| kept[a.index()] = true);
            }
        }
        let values = g.nodes().map(|(id, _)| id).filter(|id| kept[id.index()] && leaves[id.index()]).collect();
        Leaving { values, kept }
    }

    /// The sub-graph with inputs for `more`, nodes of `b`, from input `end` on; `outs` are the values that leave, in `b`.
    fn rest(&self, b: &Builder, g: &Graph, end: usize, outs: &[NodeId], more: &[NodeId]) -> Result<Graph> {
        let r = Builder::new();
        let mut map: Vec<Option<NodeId>> = vec![None; g.len()];
        let (before, after) = g.inputs().split_at(end);
        before.iter().for_each(|i| map[i.index()] = Some(r.input(g.ty(*i))));
        let read: Vec<NodeId> = more.iter().map(|&m| r.input(&b.ty_of(m))).collect();
        after.iter().for_each(|i| map[i.index()] = Some(r.input(g.ty(*i))));
        for (v, out) in self.values.iter().zip(outs) {
            map[v.index()] = more.iter().position(|m| m == out).map(|k| read[k]);
        }
        for (id, n) in g.nodes().filter(|(id, _)| self.kept[id.index()]) {
            if map[id.index()].is_none() {
                let args: Args = n.args.iter().map(|a| map[a.index()].expect("arguments come first")).collect();
                map[id.index()] = Some(r.add(n.op.clone(), &args)?);
            }
        }
        r.finish(g.outputs().iter().map(|o| map[o.index()].expect("outputs are kept")).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{diff, program::flow::lower};

    /// A loop of %1 trips that carries a counter and x, beside y, z and a list.
    fn looped(cond: &str, body: &str, next: &str) -> Graph {
        let ins = "%0 = input : i64[]
  %1 = input : f64[]
  %2 = input : i64[]
  %3 = input : f64[]
  %4 = input : f64[]
  %5 = input : f64[?]
";
        let text = format!(
            "%0 = input : f64[]
%1 = input : i64[]
%2 = input : f64[]
%3 = input : f64[]
%4 = input : f64[?]
%5 = const 0 : i64[]
%6 = while(%5, %0, %1, %2, %3, %4) {{cond={{
  {ins}  {cond}
}}, body={{
  {ins}  %6 = const 1 : i64[]
  %7 = add(%0, %6) : i64[]
  {body}
  return %7, {next}
}}, carried=2}} : i64[]
%7 = proj(%6) {{index=1, dtype=f64, shape=[]}} : f64[]
return %7
"
        );
        text.parse().unwrap()
    }
    const COUNTED: &str = "%6 = lt(%0, %2) : bool[]
  return %6";

    /// The names of slow operations in loops, each once.
    fn inside(g: &Graph) -> Vec<&'static str> {
        let mut names = Vec::new();
        let mut todo = vec![(g, false)];
        while let Some((g, looped)) = todo.pop() {
            let live = g.live();
            for (_, n) in g.nodes().filter(|(id, _)| live[id.index()]) {
                let slow = is_slow(&n.op) || matches!(n.op.def.lower, Lower::Unary(_) | Lower::MatMul);
                if looped && slow && !names.contains(&n.op.name()) {
                    names.push(n.op.name());
                }
                let is_loop = [&WHILE, &WHILE_SAVE, &WHILE_BACK].iter().any(|d| n.op.is(d));
                todo.extend(n.subgraphs().map(|g| (g, looped || is_loop)));
            }
        }
        names.sort_unstable();
        names
    }
    fn lowered(g: &Graph) -> Graph {
        lower(&crate::pass::optimise(g).unwrap(), true, None).unwrap()
    }
    fn gradient(g: &Graph) -> Graph {
        lowered(&diff::gradient(g, &[0, 2, 3]).unwrap())
    }

    #[test]
    fn what_is_slow_and_the_same_leaves() {
        // x ← x·exp y + sqrt z
        let body = "%8 = exp(%3) : f64[]
  %9 = mul(%1, %8) : f64[]
  %10 = sqrt(%4) : f64[]
  %11 = add(%9, %10) : f64[]";
        let g = looped(COUNTED, body, "%11");
        assert!(inside(&lowered(&g)).is_empty(), "{}", lowered(&g));
        // nor is it recorded: of the way back x alone is
        let g = gradient(&g);
        assert!(!inside(&g).contains(&"exp") && !inside(&g).contains(&"sqrt"), "{g}");
        let back = g.nodes().find(|(_, n)| n.op.is(&WHILE_BACK)).unwrap().1;
        assert_eq!(back.op.int(1), 1, "{g}");
        // and once more changes nothing
        let again = |g: &Graph| {
            let b = Builder::new();
            let ins: Vec<NodeId> = g.input_types().map(|t| b.input(t)).collect();
            let (_, n) = g.nodes().find(|(_, n)| n.op.is(&WHILE)).unwrap();
            let args = n.args.iter().map(|a| b.inline(&g.clone().with_outputs(vec![*a]), &ins).unwrap()[0]);
            let args: Vec<NodeId> = args.collect();
            let outs = add(&b, &n.op, &args, true).unwrap();
            b.finish(outs[1..2].to_vec()).unwrap()
        };
        let g = lowered(&looped(COUNTED, body, "%11"));
        assert_eq!(again(&g).size(), g.size(), "{g}");
    }

    #[test]
    fn conditions_too() {
        let cond = "%6 = sqrt(%4) : f64[]
  %7 = const 0.001 : f64[]
  %8 = mul(%6, %7) : f64[]
  %9 = gt(%1, %8) : bool[]
  return %9";
        let g = lowered(&looped(cond, "%8 = mul(%1, %3) : f64[]", "%8"));
        assert!(inside(&g).is_empty(), "{g}");
        // one capture: the product takes the place of the root
        let (_, n) = g.nodes().find(|(_, n)| n.op.is(&WHILE)).unwrap();
        assert_eq!(n.args.len(), 3, "{g}");
    }

    #[test]
    fn what_may_fail_or_changes_stays() {
        let get = "%8 = list_get(%5, %2) {place=0} : f64[]
  %9 = exp(%8) : f64[]
  %10 = sin(%1) : f64[]
  %11 = add(%9, %10) : f64[]";
        assert_eq!(inside(&lowered(&looped(COUNTED, get, "%11"))), ["exp", "sin"]);
        // what is the same under a condition that is not
        let choice = "%8 = lt(%1, %3) : bool[]
  %9 = if(%8, %1, %4) {then={
    %0 = input : f64[]
    %1 = input : f64[]
    %2 = exp(%1) : f64[]
    %3 = ln(%2) : f64[]
    %4 = sin(%3) : f64[]
    return %4
  }, else={
    %0 = input : f64[]
    %1 = input : f64[]
    return %0
  }} : f64[]
  %10 = proj(%9) {index=0, dtype=f64, shape=[]} : f64[]";
        let g = lowered(&looped(COUNTED, choice, "%10"));
        assert_eq!(inside(&g), ["exp", "ln", "sin"], "{g}");
        let same = choice.replace("lt(%1, %3)", "lt(%4, %3)").replace("if(%8, %1, %4)", "if(%8, %3, %4)");
        let same = format!("{same}\n  %11 = add(%1, %10) : f64[]");
        let g = lowered(&looped(COUNTED, &same, "%11"));
        assert!(inside(&g).is_empty(), "{g}");
        assert!(g.nodes().any(|(_, n)| n.op.is(&IF)), "{g}");
    }
}
