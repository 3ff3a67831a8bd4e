//! From the next value of a carried number to the reduction that the loop makes of it: a sum or an extremum of terms that
//! do not depend on the number.

use crate::{
    graph::{Graph, Node, NodeId},
    kernel::{ReduceKind, vector::Nan},
    op::{arith, compare},
};
use rustc_hash::FxHashSet;

/// All that depends on a node, itself included, as far as the results need it.
pub(super) fn dependants(g: &Graph, of: NodeId) -> FxHashSet<NodeId> {
    let live = g.live();
    let mut all = FxHashSet::default();
    all.insert(of);
    for (id, n) in g.nodes().filter(|(id, _)| live[id.index()]) {
        if n.args.iter().any(|a| all.contains(a)) {
            all.insert(id);
        }
    }
    all
}

/// A carried number as a reduction of terms.
pub(super) struct Fold {
    pub kind: ReduceKind,
    /// The terms of a trip, and whether each is subtracted.
    pub terms: Vec<(NodeId, bool)>,
    pub nan: Nan,
}

/// How `out` comes of `from` by terms that do not depend on it; `all` are the nodes that do.
pub(super) fn fold(g: &Graph, from: NodeId, out: NodeId, all: &FxHashSet<NodeId>) -> Option<Fold> {
    let n = g.node(out);
    let free = |x: NodeId| !all.contains(&x);
    if n.op.is(&arith::ADD) || n.op.is(&arith::SUB) {
        let (mut at, mut terms) = (out, Vec::new());
        while at != from {
            let n = g.node(at);
            let (a, b) = (*n.args.first()?, *n.args.get(1)?);
            let (next, term, minus) = match () {
                () if n.op.is(&arith::ADD) && free(b) => (a, b, false),
                () if n.op.is(&arith::ADD) && free(a) => (b, a, false),
                () if n.op.is(&arith::SUB) && free(b) => (a, b, true),
                () => return None,
            };
            terms.push((term, minus));
            at = next;
        }
        // every node that depends on the sum is on the way
        return (terms.len() + 1 == all.len()).then_some(Fold { kind: ReduceKind::Sum, terms, nan: Nan::Wins });
    }
    extremum(g, from, out, all)
}

/// The forms of an extremum: the operation, in which NaN wins; that of Rust's floats, in which it loses, which is
/// `select(is_nan t, x, select(is_nan x, t, maximum(x, t)))`; and `if t > x { x = t }`.
fn extremum(g: &Graph, from: NodeId, out: NodeId, all: &FxHashSet<NodeId>) -> Option<Fold> {
    let node = |id: NodeId| g.node(id);
    let kind = |n: &Node| match () {
        () if n.op.is(&arith::MAXIMUM) => Some(ReduceKind::Max),
        () if n.op.is(&arith::MINIMUM) => Some(ReduceKind::Min),
        () => None,
    };
    // the operand beside `from`
    let beside = |n: &Node| match n.args[..] {
        [a, b] if a == from && !all.contains(&b) => Some(b),
        [a, b] if b == from && !all.contains(&a) => Some(a),
        _ => None,
    };
    let n = node(out);
    if let Some(kind) = kind(n) {
        return (all.len() == 2).then_some(Fold { kind, terms: vec![(beside(n)?, false)], nan: Nan::Wins });
    }
    if !n.op.is(&compare::SELECT) {
        return None;
    }
    let (test, inner) = (node(n.args[0]), node(n.args[2]));
    let asks = |n: &Node, x: NodeId| n.op.is(&compare::IS_NAN) && n.args[0] == x;
    if inner.op.is(&compare::SELECT) {
        let both = node(inner.args[2]);
        let (kind, t) = (kind(both)?, beside(both)?);
        // the two questions in either order
        let first = asks(test, t) && n.args[1] == from && asks(node(inner.args[0]), from) && inner.args[1] == t;
        let second = asks(test, from) && n.args[1] == t && asks(node(inner.args[0]), t) && inner.args[1] == from;
        // `from`, the question about it, the extremum and the two choices
        return ((first || second) && all.len() == 5).then_some(Fold {
            kind,
            terms: vec![(t, false)],
            nan: Nan::Loses,
        });
    }
    let (t, x) = (n.args[1], n.args[2]);
    if x != from || all.contains(&t) || all.len() != 3 || test.args.len() != 2 {
        return None;
    }
    let larger = match () {
        () if test.op.is(&compare::GT) || test.op.is(&compare::GE) => test.args[0] == t,
        () if test.op.is(&compare::LT) || test.op.is(&compare::LE) => test.args[0] == from,
        () => return None,
    };
    let kind = if larger { ReduceKind::Max } else { ReduceKind::Min };
    (test.args.contains(&t) && test.args.contains(&from)).then_some(Fold {
        kind,
        terms: vec![(t, false)],
        nan: Nan::Loses,
    })
}
