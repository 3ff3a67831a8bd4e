//! Calls of a function that would end at once, as at the leaves of a tree, are not made: where a function that calls itself begins
//! with the choice whether to end, its calls of itself ask first, so that neither the call nor its way back is run, and nothing
//! recorded.

use super::{
    flow::{CHEAP, cost},
    prune::lost,
    split::{graph, rebuild},
    taken::{assume, negated},
};
use crate::{
    error::Result,
    graph::{Args, Graph, NodeId},
    op::{
        Attr, Op, Signature,
        control::{CALL, IF, PROJ, is_call},
    },
};
use std::sync::Arc;

/// The function with such calls of itself; the function itself if it does not begin with that choice.
pub(super) fn ends(g: &Graph, own: &Signature) -> Result<Graph> {
    match leaf(g)? {
        Some((ends, value)) => asking(g, own, &ends, &value),
        None => Ok(g.clone()),
    }
}

/// From the arguments to whether the function ends at once, and to what it gives then.
fn leaf(g: &Graph) -> Result<Option<(Graph, Graph)>> {
    let choice = |o: &NodeId| {
        let of = g.node(*o);
        of.op.is(&PROJ).then(|| of.args[0]).filter(|&c| g.node(c).op.is(&IF))
    };
    let Some(at) = g.outputs().first().and_then(choice) else { return Ok(None) };
    if g.outputs().iter().any(|o| choice(o) != Some(at)) {
        return Ok(None);
    }
    let cond = g.node(at).args[0];
    let ends = g.clone().with_outputs(vec![cond]);
    let cheap = |g: &Graph| cost(g).is_some_and(|c| c <= CHEAP);
    if !cheap(&ends) {
        return Ok(None);
    }
    for when in [true, false] {
        let value = assume(g, cond, when)?;
        if cheap(&value) {
            let ends = if when { ends } else { negated(&ends)? };
            return Ok(Some((ends, value)));
        }
    }
    Ok(None)
}

/// The graph whose calls of the function ask first.
fn asking(g: &Graph, own: &Signature, ends: &Graph, value: &Graph) -> Result<Graph> {
    rebuild(
        g,
        &mut |b, _, n, map| {
            if n.subgraphs().next().is_none() && !is_call(&n.op) {
                return Ok(None);
            }
            let args: Args = n.args.iter().map(|a| map[a.index()]).collect::<Option<_>>().ok_or_else(lost)?;
            if !is_call(&n.op) {
                return b.add_control(&n.op.map_graphs(|g| asking(g, own, ends, value))?, &args).map(Some);
            }
            if !n.op.is(&CALL) || !matches!(&n.op.attrs[0], Attr::Own(s) if **s == *own) {
                return Ok(None);
            }
            let call = graph(&own.ins, &|b, x| b.add_control(&n.op, x))?;
            let branches = [value.clone(), call].map(|g| Attr::Graph(Arc::new(g)));
            let cond = b.inline(ends, &args)?;
            b.add_control(&Op::with(&IF, branches), &[&cond[..], &args].concat()).map(Some)
        },
        &|_| Vec::new(),
    )
}
