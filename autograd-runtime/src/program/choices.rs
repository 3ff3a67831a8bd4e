//! If-conversion (Allen, Kennedy, Porterfield and Warren, Conversion of Control Dependence to Data Dependence, 1983): from a graph of
//! scalars with choices to one without. Both branches are computed, and each result is selected, which has the same bits. It is
//! what lets calls and trips of loops run side by side in vector lanes; branches that may fail, loop or call stay.

use super::{prune::lost, split::rebuild};
use crate::{
    error::Result,
    graph::{Args, Graph, Node, NodeId},
    op::{
        Lower, Op, compare,
        control::{IF, PROJ, results},
        create,
    },
};

/// More nodes than this are too much to be computed where half of them may not be wanted.
const MOST: usize = 4096;

/// The graph without choices; `None` if there is none, or one that has to stay.
///
/// # Errors
/// An ill-typed graph, which is our bug.
pub(crate) fn branchless(g: &Graph) -> Result<Option<Graph>> {
    if !g.nodes().any(|(_, n)| n.op.is(&IF)) {
        return Ok(None);
    }
    if !pure(g) {
        return Ok(None);
    }
    flat(g).map(|g| (g.len() <= MOST).then_some(g))
}

/// What both branches of all choices of a loop's body may cost together where its trips run side by side.
const DEAREST: usize = 64;

/// The body of a loop without choices, if all may be computed in each trip; `None` if there is none, or one that has to stay.
///
/// # Errors
/// An ill-typed graph, which is our bug.
pub(super) fn straight(body: &Graph) -> Result<Option<Graph>> {
    let live = body.live();
    let mut total = 0;
    for (_, n) in body.nodes().filter(|(id, n)| live[id.index()] && n.op.is(&IF)) {
        if !n.subgraphs().all(pure) || results(&n.op).iter().any(|ty| ty.rank() > 0) {
            return Ok(None);
        }
        total += n.subgraphs().map(cost).sum::<usize>();
    }
    if total == 0 || total > DEAREST { Ok(None) } else { flat(body).map(Some) }
}

/// What a graph of scalars costs, choices inside included.
fn cost(g: &Graph) -> usize {
    let of = |n: &Node| match n.op.def.lower {
        _ if n.op.is(&IF) => n.subgraphs().map(cost).sum(),
        Lower::Unary(_) | Lower::Binary(_) => 8,
        Lower::Inline(_) => 1,
        _ => 0,
    };
    g.nodes().map(|(_, n)| of(n)).sum()
}

/// Whether all may be computed where it is not asked for: nothing fails, draws or repeats. As deep as the source nests choices.
fn pure(g: &Graph) -> bool {
    let live = g.live();
    g.nodes().filter(|(id, _)| live[id.index()]).all(|(_, n)| {
        let inside = n.op.is(&IF) && n.subgraphs().all(pure);
        let plain = !matches!(n.op.def.lower, Lower::Library | Lower::MatMul) && n.ty.rank() == 0;
        inside || plain || n.op.is(&PROJ) || n.op.is(&create::INPUT)
    })
}

/// The graph with selections, in its branches too.
fn flat(g: &Graph) -> Result<Graph> {
    rebuild(
        g,
        &mut |b, _, n, map| {
            if !n.op.is(&IF) {
                return Ok(None);
            }
            let args: Args = n.args.iter().map(|a| map[a.index()]).collect::<Option<_>>().ok_or_else(lost)?;
            let branch = |k: usize| b.inline(&flat(n.op.graph(k))?, &args[1..]);
            let select = |(x, y): (NodeId, NodeId)| match x == y {
                true => Ok(x),
                false => b.add(Op::new(&compare::SELECT), &[args[0], x, y]),
            };
            branch(0)?.into_iter().zip(branch(1)?).map(select).collect::<Result<_>>().map(Some)
        },
        &|_| Vec::new(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        array::{Array, Data},
        graph::Builder,
        interp,
        op::Attr,
        ty::{DType, Ty},
    };
    use std::sync::Arc;

    /// if x > y { (1/x, x − y) } else { (x, if x = y { y } else { ln y }) }
    fn nested() -> Graph {
        let f = Ty::scalar(DType::F64);
        let graph = |body: &dyn Fn(&Builder, NodeId, NodeId) -> Vec<NodeId>| {
            let b = Builder::new();
            let (x, y) = (b.input(&f), b.input(&f));
            let outs = body(&b, x, y);
            Arc::new(b.finish(outs).unwrap())
        };
        let first = graph(&|b, x, y| vec![b.ex(x).recip().node().unwrap(), (b.ex(x) - b.ex(y)).node().unwrap()]);
        let same = graph(&|_, _, y| vec![y]);
        let log = graph(&|b, _, y| vec![b.ex(y).ln().node().unwrap()]);
        let choice =
            |yes: &Arc<Graph>, no: &Arc<Graph>| Op::with(&IF, [Attr::Graph(yes.clone()), Attr::Graph(no.clone())]);
        let second = graph(&|b, x, y| {
            let tie = b.ex(x).eq(&b.ex(y)).node().unwrap();
            vec![x, b.add_control(&choice(&same, &log), &[tie, x, y]).unwrap()[0]]
        });
        let b = Builder::new();
        let (x, y) = (b.input(&f), b.input(&f));
        let above = b.ex(x).gt(&b.ex(y)).node().unwrap();
        let outs = b.add_control(&choice(&first, &second), &[above, x, y]).unwrap();
        b.finish(outs).unwrap()
    }

    #[test]
    fn selections_have_the_bits_of_the_branch_that_counts() {
        let (g, flat) = (nested(), branchless(&nested()).unwrap().unwrap());
        assert!(flat.nodes().all(|(_, n)| n.subgraphs().next().is_none()));
        for (x, y) in [(2.0, 1.0), (0.0, -1.0), (1.0, 1.0), (-1.0, 3.0), (-2.0, -1.0), (f64::NAN, 1.0)] {
            let ins = [x, y].map(|x| Array::from_data(Data::F64(vec![x]), &[]));
            let bits = |g: &Graph| -> Vec<u64> {
                interp::run(g, &ins).unwrap().iter().map(|a| a.to_f64_vec()[0].to_bits()).collect()
            };
            assert_eq!(bits(&g), bits(&flat), "at {x}, {y}");
        }
    }
}
