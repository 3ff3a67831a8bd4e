//! If-conversion (Allen, Kennedy, Porterfield and Warren, Conversion of Control Dependence to Data Dependence, 1983): from a graph of
//! scalars with choices to one without. Both branches are computed, and each result is selected, which has the same bits. It is
//! what lets calls run side by side in vector lanes; branches that may fail, loop or call stay.

use crate::{
    error::Result,
    graph::{Args, Builder, Graph, NodeId},
    op::{
        Lower, Op, compare,
        control::{IF, PROJ},
        create,
    },
};
use rustc_hash::FxHashMap;

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
    let b = Builder::with_capacity(g.len());
    let inputs: Vec<NodeId> = g.input_types().map(|t| b.input(t)).collect();
    match write(&b, g, &inputs)? {
        Some(outs) if b.len() <= MOST => b.finish(outs).map(Some),
        _ => Ok(None),
    }
}

/// Writes a graph; its outputs. As deep as the source nests choices.
fn write(b: &Builder, g: &Graph, inputs: &[NodeId]) -> Result<Option<Vec<NodeId>>> {
    let live = g.live();
    let mut map: Vec<Option<NodeId>> = vec![None; g.len()];
    g.inputs().iter().zip(inputs).for_each(|(i, &to)| map[i.index()] = Some(to));
    let mut chosen: FxHashMap<NodeId, Vec<NodeId>> = FxHashMap::default();
    for (id, n) in g.nodes() {
        if !live[id.index()] || map[id.index()].is_some() {
            continue;
        }
        if n.op.is(&PROJ) {
            map[id.index()] = chosen.get(&n.args[0]).and_then(|all| all.get(n.op.int(0) as usize)).copied();
            continue;
        }
        let args: Args = n.args.iter().map(|a| map[a.index()].expect("arguments come first")).collect();
        if n.op.is(&IF) {
            let [yes, no] = [0, 1].map(|k| write(b, n.op.graph(k), &args[1..]));
            let (Some(yes), Some(no)) = (yes?, no?) else { return Ok(None) };
            let select = |(&x, &y): (&NodeId, &NodeId)| match x == y {
                true => Ok(x),
                false => b.add(Op::new(&compare::SELECT), &[args[0], x, y]),
            };
            chosen.insert(id, yes.iter().zip(&no).map(select).collect::<Result<_>>()?);
            continue;
        }
        // what fails, draws or repeats must not where it is not asked for
        let pure = !matches!(n.op.def.lower, Lower::Library | Lower::MatMul) || n.op.is(&create::INPUT);
        if !pure || n.ty.rank() != 0 || b.len() > MOST {
            return Ok(None);
        }
        map[id.index()] = Some(b.add(n.op.clone(), &args)?);
    }
    Ok(g.outputs().iter().map(|o| map[o.index()]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        array::{Array, Data},
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
