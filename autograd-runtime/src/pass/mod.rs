//! Optimisation: named passes, each a function from a graph to a graph that mutates nothing and is
//! idempotent. All are exact: they change no result, not by one bit.

mod algebra;
mod fold;
mod reductions;
mod shapes;
pub(crate) use shapes::is_elementwise;

use crate::{
    error::Result,
    graph::{Args, Builder, Graph, Node, NodeId},
    op::create,
};

/// A named transformation.
pub struct Pass {
    /// The name in file tests and in `explain`.
    pub name: &'static str,
    /// The transformation.
    pub run: fn(&Graph) -> Result<Graph>,
}

/// All passes, in the order they run in.
pub static PASSES: &[Pass] = &[
    Pass { name: "dce", run: dce },
    Pass { name: "shapes", run: shapes::run },
    Pass { name: "fold", run: fold::run },
    Pass { name: "algebra", run: algebra::run },
    Pass { name: "cse", run: cse },
    Pass { name: "reductions", run: reductions::run },
];

/// Runs all passes until nothing changes, at most three times round. All derivatives of the graph have been taken; those
/// of the loops in it may be yet to be made, so that their bodies keep what derivatives depend on.
///
/// # Errors
/// A pass that builds an ill-typed graph, which is our bug.
pub fn optimise(g: &Graph) -> Result<Graph> {
    rounds(g, true)
}

/// What of a sub-graph only its derivatives depended on, once they have been made.
pub(crate) fn settle(g: &Graph) -> Result<Graph> {
    algebra::settle(g)
}

fn rounds(g: &Graph, settled: bool) -> Result<Graph> {
    let mut g = subgraphs(&dce(g)?)?;
    for _ in 0..3 {
        let before = g.clone();
        for p in &PASSES[1..] {
            g = if p.name == "algebra" && !settled { algebra::inside(&g)? } else { (p.run)(&g)? };
            if cfg!(debug_assertions) {
                g.verify()?;
            }
        }
        g = dce(&g)?;
        if g == before {
            break;
        }
    }
    Ok(g)
}

/// Optimises the sub-graphs of control flow; as deep as the source nests it.
fn subgraphs(g: &Graph) -> Result<Graph> {
    rewrite(g, |b, n, args| {
        if n.subgraphs().next().is_none() {
            return Ok(None);
        }
        b.add(n.op.map_graphs(|g| rounds(g, false))?, args).map(Some)
    })
}

/// Rebuilds a graph node by node: `rule` may give another node for one whose arguments are rewritten
/// already; otherwise it is copied. Nodes that no output needs are left out.
fn rewrite(g: &Graph, rule: impl Fn(&Builder, &Node, &[NodeId]) -> Result<Option<NodeId>>) -> Result<Graph> {
    let b = Builder::new();
    let live = g.live();
    let mut map: Vec<Option<NodeId>> = vec![None; g.len()];
    for &i in g.inputs() {
        map[i.index()] = Some(b.input(g.ty(i)));
    }
    for (id, n) in g.nodes() {
        if !live[id.index()] || map[id.index()].is_some() {
            continue;
        }
        let args: Args = n.args.iter().map(|a| map[a.index()].expect("arguments come first")).collect();
        let new = match rule(&b, n, &args)? {
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
    if all { Ok(new) } else { dce(&new) }
}

/// Leaves out what no output needs.
fn dce(g: &Graph) -> Result<Graph> {
    rewrite(g, |_, _, _| Ok(None))
}

/// Computes each value once. The builder hash-conses as it goes, so that rebuilding suffices.
fn cse(g: &Graph) -> Result<Graph> {
    dce(g)
}
