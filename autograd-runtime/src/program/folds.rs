//! From the next value of a carried number to the reduction that the loop makes of it: a sum or an extremum of terms that
//! do not depend on the number.

use crate::{
    graph::{Graph, Node, NodeId},
    kernel::{ReduceKind, vector::Nan},
    op::{arith, compare},
};
use rustc_hash::FxHashSet;

/// All that depends on some nodes, themselves included, as far as the results need it.
pub(super) fn dependants(g: &Graph, of: impl IntoIterator<Item = NodeId>) -> FxHashSet<NodeId> {
    let live = g.live();
    let mut all: FxHashSet<NodeId> = of.into_iter().collect();
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
    /// What a trip contributes.
    pub term: Term,
    pub nan: Nan,
}

/// What a trip contributes to a sum.
pub(super) enum Term {
    Nothing,
    /// One more term, which may be subtracted.
    And(Box<Term>, NodeId, bool),
    /// One thing or another.
    Either(NodeId, Box<[Term; 2]>),
}

impl Fold {
    fn extremum(kind: ReduceKind, term: NodeId, nan: Nan) -> Fold {
        Fold { kind, term: Term::And(Box::new(Term::Nothing), term, false), nan }
    }
    /// The only term, if there is one in all cases.
    pub fn single(&self) -> Option<NodeId> {
        if let Term::And(rest, id, false) = &self.term
            && let Term::Nothing = **rest
        {
            Some(*id)
        } else {
            None
        }
    }
}

/// How `out` comes of `from` by terms that do not depend on it; `all` are the nodes that do.
pub(super) fn fold(g: &Graph, from: NodeId, out: NodeId, all: &FxHashSet<NodeId>) -> Option<Fold> {
    let mut sum = Sum { g, from, all, seen: FxHashSet::default() };
    match sum.term(out, 0) {
        // every node that depends on the sum is on the way
        Some(term) if sum.seen.len() + 1 == all.len() => Some(Fold { kind: ReduceKind::Sum, term, nan: Nan::Wins }),
        _ => extremum(g, from, out, all),
    }
}

struct Sum<'g> {
    g: &'g Graph,
    from: NodeId,
    all: &'g FxHashSet<NodeId>,
    seen: FxHashSet<NodeId>,
}

/// Sums of more terms a trip are left alone.
const DEEPEST: usize = 256;

impl Sum<'_> {
    /// What `at` is more than the number that a trip begins with.
    fn term(&mut self, at: NodeId, depth: usize) -> Option<Term> {
        if at == self.from {
            return Some(Term::Nothing);
        }
        // a value that is used twice is in both places
        if depth == DEEPEST || !self.seen.insert(at) {
            return None;
        }
        let (n, free) = (self.g.node(at), |x: NodeId| !self.all.contains(&x));
        let and = |t: Option<Term>, x: NodeId, minus: bool| t.map(|t| Term::And(Box::new(t), x, minus));
        match n.args[..] {
            [a, b] if n.op.is(&arith::ADD) && free(b) => and(self.term(a, depth + 1), b, false),
            [a, b] if n.op.is(&arith::ADD) && free(a) => and(self.term(b, depth + 1), a, false),
            [a, b] if n.op.is(&arith::SUB) && free(b) => and(self.term(a, depth + 1), b, true),
            [c, a, b] if n.op.is(&compare::SELECT) && free(c) && !free(a) && !free(b) => {
                Some(Term::Either(c, Box::new([self.term(a, depth + 1)?, self.term(b, depth + 1)?])))
            }
            _ => None,
        }
    }
}

/// The forms of an extremum: the operation, in which NaN wins; that of Rust's floats, in which it loses; and
/// `if t > x { x = t }`.
fn extremum(g: &Graph, from: NodeId, out: NodeId, all: &FxHashSet<NodeId>) -> Option<Fold> {
    let node = |id: NodeId| g.node(id);
    let kind = |n: &Node| match () {
        () if n.op.is(&arith::MAXIMUM) => Some((ReduceKind::Max, Nan::Wins)),
        () if n.op.is(&arith::MINIMUM) => Some((ReduceKind::Min, Nan::Wins)),
        () if n.op.is(&arith::FMAX) => Some((ReduceKind::Max, Nan::Loses)),
        () if n.op.is(&arith::FMIN) => Some((ReduceKind::Min, Nan::Loses)),
        () => None,
    };
    // the operand beside `from`
    let beside = |n: &Node| match n.args[..] {
        [a, b] if a == from && !all.contains(&b) => Some(b),
        [a, b] if b == from && !all.contains(&a) => Some(a),
        _ => None,
    };
    let n = node(out);
    if let Some((kind, nan)) = kind(n) {
        return (all.len() == 2).then_some(Fold::extremum(kind, beside(n)?, nan));
    }
    if !n.op.is(&compare::SELECT) {
        return None;
    }
    let test = node(n.args[0]);
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
    (test.args.contains(&t) && test.args.contains(&from)).then_some(Fold::extremum(kind, t, Nan::Loses))
}
