//! The graph interpreter: runs a graph node by node on host arrays through each operation's own
//! evaluation. It is the slow, obvious oracle that the compiled programs are tested against, and it
//! evaluates a trace when a plain function reads a traced value.

use crate::{
    array::{Array, View},
    error::{Error, Result},
    graph::{Graph, NodeId},
    op::{control, create},
};
use std::sync::Arc;

/// The outputs of a graph at these inputs.
///
/// # Errors
/// Inputs of the wrong number or type, or what an operation finds wrong with its values.
pub fn run(g: &Graph, inputs: &[Array]) -> Result<Vec<Array>> {
    let values = run_nodes(g, inputs)?;
    g.outputs().iter().map(|&o| single(g, &values, o).cloned()).collect()
}

/// Results of a node: several for control flow, shared because projections and outputs name them again.
type Results = Arc<Vec<Array>>;

fn single<'a>(g: &Graph, values: &'a [Option<Results>], id: NodeId) -> Result<&'a Array> {
    let missing = || Error::value(g.node(id).op.name(), "expected a value");
    values[id.index()].as_ref().and_then(|v| v.first()).ok_or_else(missing)
}

fn run_nodes(g: &Graph, inputs: &[Array]) -> Result<Vec<Option<Results>>> {
    if inputs.len() != g.inputs().len() {
        let (want, got) = (g.inputs().len(), inputs.len());
        return Err(Error::value("graph", format!("expected {want} inputs, found {got}")));
    }
    let live = g.live();
    let mut values: Vec<Option<Results>> = vec![None; g.len()];
    for (id, n) in g.nodes().filter(|(id, _)| live[id.index()]) {
        let arg = |i: usize| single(g, &values, n.args[i]);
        let out = if n.op.is(&create::INPUT) {
            let x = &inputs[n.op.int(0) as usize];
            if x.ty() != n.ty {
                return Err(Error::shape(
                    "graph",
                    format!("input {} of type {}", n.op.int(0), n.ty),
                    x.ty().to_string(),
                ));
            }
            vec![x.clone()]
        } else if n.op.is(&control::PROJ) {
            let all = values[n.args[0].index()].as_ref().expect("arguments come first");
            vec![all[n.op.int(0) as usize].clone()]
        } else if n.op.is(&control::IF) || n.op.is(&control::WHILE) || n.op.is(&control::FOR) {
            let args = (0..n.args.len()).map(|i| arg(i).cloned()).collect::<Result<Vec<_>>>()?;
            control_flow(n, args)?
        } else {
            let args = (0..n.args.len()).map(|i| Ok(arg(i)?.view())).collect::<Result<Vec<View<'_>>>>()?;
            vec![n.op.eval(&args, &n.ty)?]
        };
        values[id.index()] = Some(Arc::new(out));
    }
    Ok(values)
}

fn truth(a: &Array) -> bool {
    matches!(a, Array::Bool(b) if b.iter().all(|&x| x))
}

fn control_flow(n: &crate::graph::Node, mut args: Vec<Array>) -> Result<Vec<Array>> {
    if n.op.is(&control::IF) {
        let branch = n.op.graph(if truth(&args[0]) { 0 } else { 1 });
        return run(branch, &args[1..]);
    }
    if n.op.is(&control::WHILE) {
        let carried = n.op.int(2) as usize;
        while truth(&run(n.op.graph(0), &args)?[0]) {
            let next = run(n.op.graph(1), &args)?;
            args.splice(..carried, next);
        }
        args.truncate(carried);
        return Ok(args);
    }
    let carried = n.op.int(1) as usize;
    for i in 0..n.op.int(2) {
        let mut with_counter = vec![Array::I64(ndarray::arr0(i).into_dyn())];
        with_counter.extend(args.iter().cloned());
        let next = run(n.op.graph(0), &with_counter)?;
        args.splice(..carried, next);
    }
    args.truncate(carried);
    Ok(args)
}
