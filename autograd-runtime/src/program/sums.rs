//! Brings sums of lists to where their terms arise: a sum of lists costs a pass over both, and most terms of cotangents
//! are zeros with few elements set. `a + (zeros with v added at i)` is `a` with v added at i, in place; `a + (t with v added
//! at i)` is `a + t` with v added at i.
//!
//! The same goes into choices and into loops over a record: `a + if(c) {t, u}` is `if(c, a) {a + t, a + u}`, and a sum
//! that a loop or call begins with zeros begins with `a`. And zero plus `v` is `v`, so that an element that is read, set to zero and
//! added to is not written at all where it is added to itself.

use super::split::{ancestors, rebuild};
use crate::{
    error::Result,
    graph::{Builder, Graph, Node, NodeId},
    op::{
        Attr, Op, OpDef, arith,
        control::{CALL_BACK, IF, PROJ, WHILE, WHILE_BACK, results},
        create, list,
    },
};
use std::sync::Arc;

/// The graph with its sums of lists in place.
pub(super) fn into_place(g: &Graph) -> Result<Graph> {
    let mut g = g.clone();
    let loops: [&OpDef; 3] = [&WHILE, &WHILE_BACK, &CALL_BACK];
    if g.nodes().any(|(_, n)| is_sum(n) || loops.iter().any(|d| n.op.is(d))) {
        g = all_elements(g)?;
        while let Some(next) = moved(&g)? {
            g = all_elements(next)?;
        }
    }
    if g.nodes().any(|(_, n)| n.op.is(&list::ADD)) { begun(&g) } else { Ok(g) }
}

fn is_sum(n: &Node) -> bool {
    n.op.is(&arith::ADD) && n.ty.is_list()
}
fn is_zero(g: &Graph, id: NodeId) -> bool {
    let n = g.node(id);
    let zero = |n: &Node| create::value(&n.op).is_some_and(|x| x.to_bits() == 0);
    zero(n) || n.op.is(&list::FILL) && zero(g.node(n.args[0]))
}
/// How often a node is used by what is needed, outputs included.
fn uses(g: &Graph, live: &[bool], id: NodeId) -> usize {
    g.users(id).filter(|(u, _)| live[u.index()]).count() + g.outputs().iter().filter(|o| **o == id).count()
}

/// As [`elements`], of sums of sums too.
fn all_elements(mut g: Graph) -> Result<Graph> {
    while g.nodes().any(|(_, n)| is_sum(n)) {
        let next = elements(&g)?;
        if next == g {
            break;
        }
        g = next;
    }
    Ok(g)
}

/// Sums with terms that are zeros, with elements added or not.
fn elements(g: &Graph) -> Result<Graph> {
    let live = g.live();
    let single = |id: NodeId| uses(g, &live, id) == 1;
    // whether a term can be added element by element
    let mut sparse = vec![false; g.len()];
    for (id, n) in g.nodes().filter(|(id, _)| live[id.index()]) {
        sparse[id.index()] = is_zero(g, id)
            || single(id)
                && (n.op.is(&list::ADD) && sparse[n.args[0].index()]
                    || is_sum(n) && n.args.iter().all(|a| sparse[a.index()]));
    }
    // whether a term is a result of control flow with elements added: these are added behind the sum, which may then move
    let mut behind = vec![false; g.len()];
    for (id, n) in g.nodes().filter(|(id, _)| live[id.index()] && single(*id)) {
        behind[id.index()] = n.op.is(&list::ADD) && {
            let from = n.args[0];
            behind[from.index()] || g.node(from).op.is(&PROJ) && single(from)
        };
    }
    rebuild(
        g,
        &mut |b, _, n, map| {
            if !is_sum(n) {
                return Ok(None);
            }
            let at = |id: NodeId| map[id.index()].expect("arguments come first");
            let moved = operands(n, |a| sparse[a.index()]).map(|(to, term)| (at(to), term));
            let moved = match (moved, operands(n, |a| behind[a.index()])) {
                (None, Some((to, term))) => {
                    let mut base = term;
                    while behind[base.index()] {
                        base = g.node(base).args[0];
                    }
                    Some((b.add(n.op.clone(), &[at(to), at(base)])?, term))
                }
                (moved, _) => moved,
            };
            let Some((to, term)) = moved else { return Ok(None) };
            absorb(b, g, map, to, term).map(|x| Some(vec![x]))
        },
        &|_| Vec::new(),
    )
}

/// Sums that begin with an element that has been set to zero for them.
fn begun(g: &Graph) -> Result<Graph> {
    let live = g.live();
    rebuild(
        g,
        &mut |b, _, n, map| {
            let at = |id: NodeId| map[id.index()].expect("arguments come first");
            let set = match n.args.first() {
                Some(&a) if n.op.is(&list::ADD) && uses(g, &live, a) == 1 => g.node(a),
                _ => return Ok(None),
            };
            if !set.op.is(&list::SET) || set.args[1] != n.args[1] || !is_zero(g, set.args[2]) {
                return Ok(None);
            }
            let term = g.node(n.args[2]);
            if term.op.is(&list::GET) && term.args[..] == set.args[..2] {
                return Ok(Some(vec![at(set.args[0])]));
            }
            Ok(Some(vec![b.add(set.op.clone(), &[at(set.args[0]), at(n.args[1]), at(n.args[2])])?]))
        },
        &|_| Vec::new(),
    )
}

/// Whether a loop does nothing to a result but add to it: elements to a list, or what a loop backwards adds.
fn only_added(n: &Node, k: i64) -> bool {
    let (cond, body) = (n.op.graph(0), n.op.graph(1));
    let (first, mut at) = (body.inputs()[k as usize], body.outputs()[k as usize]);
    let live = body.live();
    while at != first {
        let n = body.node(at);
        let single = uses(body, &live, at) == 1;
        at = match n.args.first() {
            Some(&list) if single && n.op.is(&list::ADD) => list,
            Some(&from) if single && n.op.is(&PROJ) && adds(body.node(from), n.op.int(0)) => {
                let from = body.node(from);
                from.args[begins(from, n.op.int(0))]
            }
            _ => return false,
        };
    }
    uses(body, &live, first) <= 1 && !cond.live()[cond.inputs()[k as usize].index()]
}

/// Whether a result is one of the last values of a loop backwards, to which it only adds.
fn adds(n: &Node, k: i64) -> bool {
    n.op.is(&WHILE_BACK) && k >= n.op.int(2) - n.op.int(4)
}

/// The operand of a sum that stays and the one that is brought into it.
fn operands(n: &Node, moves: impl Fn(NodeId) -> bool) -> Option<(NodeId, NodeId)> {
    if moves(n.args[1]) {
        Some((n.args[0], n.args[1]))
    } else if moves(n.args[0]) {
        Some((n.args[1], n.args[0]))
    } else {
        None
    }
}

/// `to` plus the elements that a term adds.
fn absorb(b: &Builder, g: &Graph, map: &[Option<NodeId>], to: NodeId, term: NodeId) -> Result<NodeId> {
    // the writes to the zeros, the first one last
    let mut writes = Vec::new();
    let mut todo = vec![term];
    while let Some(id) = todo.pop() {
        let n = g.node(id);
        if n.op.is(&list::ADD) {
            writes.push(id);
            todo.push(n.args[0]);
        } else if is_sum(n) {
            todo.extend(n.args.iter().copied());
        }
    }
    let at = |id: NodeId| map[id.index()].expect("arguments come first");
    writes.iter().rev().try_fold(to, |to, &w| {
        let n = g.node(w);
        b.add(n.op.clone(), &[to, at(n.args[1]), at(n.args[2])])
    })
}

/// The graph with one sum moved into the choice or loop that its term comes from.
fn moved(g: &Graph) -> Result<Option<Graph>> {
    let live = g.live();
    let term = |a: NodeId| {
        let n = g.node(a);
        if !n.op.is(&PROJ) || uses(g, &live, a) != 1 {
            return false;
        }
        let from = g.node(n.args[0]);
        let at = n.op.int(0);
        if from.op.is(&CALL_BACK) {
            return at < from.op.int(2) && is_zero(g, from.args[begins(from, at)]);
        }
        if from.op.is(&WHILE) {
            return is_zero(g, from.args[begins(from, at)]) && only_added(from, at);
        }
        from.op.is(&IF) && n.ty.is_list() || adds(from, at) && is_zero(g, from.args[begins(from, at)])
    };
    let added = |n: &Node| n.op.is(&arith::ADD) && (n.ty.is_list() || n.ty.rank() == 0);
    for (sum, n) in g.nodes().filter(|(id, n)| live[id.index()] && added(n)) {
        // first into a choice of zeros with elements added, where nothing is left of the sum
        let few = |a: NodeId| term(a) && elements_only(g.node(g.node(a).args[0]), g.node(a).op.int(0));
        let (a, b) = (n.args[0], n.args[1]);
        let ways = [
            operands(n, |x| x == b && few(x)),
            operands(n, |x| x == a && few(x)),
            operands(n, |x| x == b && term(x)),
            operands(n, |x| x == a && term(x)),
        ];
        for (to, term) in ways.into_iter().flatten() {
            let from = g.node(term).args[0];
            if to != from && !ancestors(g, to).contains(&from) {
                return into(g, sum, to, term).map(Some);
            }
        }
    }
    Ok(None)
}

/// Whether a result of a choice is zeros with elements added, whichever branch is taken.
fn elements_only(n: &Node, k: i64) -> bool {
    n.op.is(&IF)
        && n.subgraphs().all(|g| {
            let mut at = g.outputs()[k as usize];
            while g.node(at).op.is(&list::ADD) {
                at = g.node(at).args[0];
            }
            is_zero(g, at)
        })
}

/// The argument that result `k` of a loop or call over a record begins with.
fn begins(n: &Node, k: i64) -> usize {
    if n.op.is(&CALL_BACK) {
        return n.args.len() - n.op.int(2) as usize + k as usize;
    }
    if n.op.is(&WHILE) {
        return k as usize;
    }
    n.args.len() - results(&n.op).len() + k as usize
}

fn into(g: &Graph, sum: NodeId, to: NodeId, term: NodeId) -> Result<Graph> {
    let (from, k) = (g.node(term).args[0], g.node(term).op.int(0));
    let source = g.node(from);
    let op = if source.op.is(&IF) {
        let branch = |i: usize| -> Result<Attr> {
            let inner = Builder::new();
            let ins: Vec<NodeId> = source.args[1..].iter().map(|&a| inner.input(g.ty(a))).collect();
            let mut outs = inner.inline(source.op.graph(i), &ins)?;
            let more = inner.input(g.ty(to));
            let at = &mut outs[k as usize];
            *at = inner.add(Op::new(&arith::ADD), &[more, *at])?;
            Ok(Attr::Graph(Arc::new(into_place(&inner.finish(outs)?)?)))
        };
        Op::with(&IF, [branch(0)?, branch(1)?])
    } else {
        source.op.clone()
    };
    rebuild(
        g,
        &mut |b, id, n, map| {
            let at = |a: NodeId| map[a.index()].expect("arguments come first");
            if id == from {
                let args: Vec<NodeId> = if source.op.is(&IF) {
                    n.args.iter().map(|&a| at(a)).chain([at(to)]).collect()
                } else {
                    let first = begins(n, k);
                    n.args.iter().enumerate().map(|(i, &a)| if i == first { at(to) } else { at(a) }).collect()
                };
                return b.add_control(&op, &args).map(Some);
            }
            Ok((id == sum).then(|| vec![at(term)]))
        },
        &|id| if id == from { vec![to] } else { Vec::new() },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_sums_go_into_branches() {
        let branch = |last: &str| {
            format!(
                "{{
  %0 = input : i64[]
  %1 = input : f64[]
  %2 = input : i64[]
  %3 = const 0.0 : f64[]
  %4 = list_fill(%3, %0) : f64[?]
  {last}
}}"
            )
        };
        let (yes, no) = (branch("%5 = list_add(%4, %2, %1) {place=0} : f64[?]\n  return %5"), branch("return %4"));
        let text = format!(
            "%0 = input : f64[?]
%1 = input : i64[]
%2 = input : f64[]
%3 = input : bool[]
%4 = const 0.0 : f64[]
%5 = list_len(%0) : i64[]
%6 = list_fill(%4, %5) : f64[?]
%7 = list_add(%6, %1, %2) {{place=0}} : f64[?]
%8 = if(%3, %5, %2, %1) {{then={yes}, else={no}}} : f64[?]
%9 = proj(%8) {{index=0, dtype=f64, shape=[?]}} : f64[?]
%10 = add(%7, %9) : f64[?]
%11 = add(%0, %10) : f64[?]
return %11
"
        );
        let g: Graph = text.parse().unwrap();
        let done = into_place(&g).unwrap();
        let mut todo = vec![&done];
        while let Some(g) = todo.pop() {
            let live = g.live();
            for (id, n) in g.nodes().filter(|(id, _)| live[id.index()]) {
                assert!(!is_sum(n) && !n.op.is(&list::FILL), "{id:?} in {done}");
                todo.extend(n.subgraphs());
            }
        }
    }
}
