//! Optimisation: named passes, each a function from a graph to a graph that mutates nothing and is
//! idempotent. All are exact: they change no result, not by one bit. Before differentiation `picks` runs, which is none of them:
//! it leaves out what nobody reads, and may change the order of a sum; and, where loops may be one, those rules of the passes that
//! change no derivative.

mod algebra;
mod fold;
mod picks;
mod reductions;
mod shapes;
pub(crate) use picks::picks;
pub(crate) use shapes::is_elementwise;

use crate::{
    error::Result,
    graph::{Args, Builder, Graph, Node, NodeId},
    op::create,
};
use std::borrow::Cow;

/// Another node for one whose arguments are rewritten already, if there is a better one.
type Rule = fn(&Builder, &Node, &[NodeId]) -> Result<Option<NodeId>>;

/// A named transformation: a rule for single nodes. What no output needs is left out, and each value computed once, in any case.
pub struct Pass {
    /// The name in file tests.
    pub name: &'static str,
    rule: Rule,
}

/// All passes, in the order in which their rules are tried.
pub static PASSES: &[Pass] = &[
    Pass { name: "dce", rule: keep },
    Pass { name: "shapes", rule: shapes::rule },
    Pass { name: "fold", rule: fold::rule },
    Pass { name: "algebra", rule: algebra::rule },
    Pass { name: "cse", rule: keep },
    Pass { name: "reductions", rule: reductions::rule },
];

/// Leaves out what no output needs. And computes each value once: the builder hash-conses, so that rebuilding suffices.
fn keep(_: &Builder, _: &Node, _: &[NodeId]) -> Result<Option<NodeId>> {
    Ok(None)
}

impl Pass {
    /// The graph after this pass alone.
    ///
    /// # Errors
    /// If it builds an ill-typed graph, which is our bug.
    pub fn run(&self, g: &Graph) -> Result<Graph> {
        rewrite(g, self.rule).map(|(g, _)| g)
    }
}

/// Runs all passes until nothing changes, at most three times round. All derivatives of the graph have been taken; those
/// of the loops in it may be yet to be made, so that their bodies keep what derivatives depend on.
///
/// # Errors
/// A pass that builds an ill-typed graph, which is our bug.
pub fn optimise(g: &Graph) -> Result<Graph> {
    rounds(g, true)
}

/// As [`optimise`], of a graph that will be differentiated: without what holds only once that has been done, as that a detached value
/// is the value, and that an extremum is one of extrema.
pub(crate) fn simplify(g: &Graph) -> Result<Graph> {
    rounds(g, false)
}

/// What of a sub-graph only its derivatives depended on, once they have been made.
pub(crate) fn settle(g: &Graph) -> Result<Graph> {
    let rules = |b: &Builder, n: &Node, args: &[NodeId]| match algebra::settle(b, n, args)? {
        None => reductions::rule(b, n, args),
        found => Ok(found),
    };
    rewrite(g, rules).map(|(g, _)| g)
}

fn rounds(g: &Graph, settled: bool) -> Result<Graph> {
    // the rules of all passes, one after the other on what the one before has made of a node: as good as pass by pass, and the
    // graph is built once
    let all = PASSES.iter().map(|p| match p.name {
        "algebra" if !settled => algebra::inside,
        "reductions" if !settled => reductions::inside,
        _ => p.rule,
    });
    let all: Vec<Rule> = all.collect();
    let rules = |b: &Builder, n: &Node, args: &[NodeId]| {
        let mut found: Option<(NodeId, Node)> = None;
        for rule in &all {
            let new = match &found {
                Some((_, n)) => rule(b, n, &n.args)?,
                None => rule(b, n, args)?,
            };
            found = new.map(|id| (id, b.node(id))).or(found);
        }
        Ok(found.map(|f| f.0))
    };
    let inner = subgraphs(g)?;
    let (mut g, mut changed) = rewrite(&inner, rules)?;
    for _ in 0..2 {
        if cfg!(debug_assertions) {
            g.verify()?;
        }
        if !changed {
            break;
        }
        (g, changed) = rewrite(&g, rules)?;
    }
    Ok(g)
}

/// Optimises the sub-graphs of control flow; as deep as the source nests it.
fn subgraphs(g: &Graph) -> Result<Cow<'_, Graph>> {
    let none = |n: &Node| n.subgraphs().next().is_none();
    if g.nodes().all(|(_, n)| none(n)) {
        return Ok(Cow::Borrowed(g));
    }
    let inner = |b: &Builder, n: &Node, args: &[NodeId]| {
        if none(n) { Ok(None) } else { b.add(n.op.map_graphs(|g| rounds(g, false))?, args).map(Some) }
    };
    rewrite(g, inner).map(|(g, _)| Cow::Owned(g))
}

/// Rebuilds a graph node by node: `rule` may give another node for one whose arguments are rewritten
/// already; otherwise it is copied. Nodes that no output needs are left out. Also whether there was another node.
fn rewrite(g: &Graph, rule: impl Fn(&Builder, &Node, &[NodeId]) -> Result<Option<NodeId>>) -> Result<(Graph, bool)> {
    let b = Builder::with_capacity(g.len());
    let (live, mut changed) = (g.live(), false);
    let mut map: Vec<Option<NodeId>> = vec![None; g.len()];
    for &i in g.inputs() {
        map[i.index()] = Some(b.input(g.ty(i)));
    }
    for (id, n) in g.nodes() {
        if !live[id.index()] || map[id.index()].is_some() {
            continue;
        }
        let args: Args = n.args.iter().map(|a| map[a.index()].expect("arguments come first")).collect();
        let new = rule(&b, n, &args)?;
        changed |= new.is_some();
        let new = match new {
            Some(id) => id,
            None => b.add(n.op.clone(), &args)?,
        };
        debug_assert_eq!(b.ty_of(new), n.ty, "a pass changed the type of {:?}", n.op);
        map[id.index()] = Some(new);
    }
    let new = b.finish(g.outputs().iter().map(|o| map[o.index()].expect("outputs are live")).collect())?;
    // what a rule has made superfluous goes at once: a pass run twice gives the same graph
    let live = new.live();
    let all = new.nodes().all(|(id, n)| live[id.index()] || n.op.is(&create::INPUT));
    if all { Ok((new, changed)) } else { Ok((rewrite(&new, keep)?.0, true)) }
}
