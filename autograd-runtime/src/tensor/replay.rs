//! Runs a graph on the dynamic engine, operation by operation on the tape, and sweeps it back: the third way,
//! beside the interpreter and the compiled program, to the same numbers.

use super::{Sweep, Target, Value, dispatch::eager_at, meta::Creation, mode::set_grad_enabled};
use crate::{
    array::Array,
    error::{Error, Place, Result},
    graph::{Graph, NodeId},
    op::create,
};

/// The outputs of a graph at these inputs.
///
/// # Errors
/// Inputs of the wrong number or type, control flow, or what an operation finds wrong.
pub fn replay(g: &Graph, inputs: &[Array]) -> Result<Vec<Array>> {
    let leaves: Vec<Value> = inputs.iter().cloned().map(Value::stored).collect();
    let outs = set_grad_enabled(false, || forward(g, &leaves, |_| None))?;
    Ok(outs.iter().map(Value::to_array).collect())
}

/// The vector-Jacobian product by the tape: cotangents of the inputs `wrt` from one of each output.
///
/// # Errors
/// As [`replay`], and operations without a derivative.
pub fn replay_vjp(g: &Graph, inputs: &[Array], wrt: &[usize], cts: &[Array]) -> Result<Vec<Array>> {
    let leaves: Vec<Value> = inputs.iter().cloned().map(Value::stored).collect();
    let tracked: Vec<Value> = wrt.iter().map(|&i| leaves[i].clone()).collect();
    tracked.iter().try_for_each(|v| v.set_requires_grad(true))?;
    let outs = set_grad_enabled(true, || forward(g, &leaves, |_| None))?;
    let roots: Vec<(Value, Value)> =
        outs.into_iter().zip(cts.iter().cloned().map(Value::stored)).filter(|r| r.0.requires_grad()).collect();
    let grads = Sweep { target: Target::Of(&tracked), retain_graph: false, create_graph: false }.run(&roots)?;
    let zero = |v: &Value| Array::full(v.ty(), 0);
    Ok(grads.iter().zip(&tracked).map(|(g, v)| g.as_ref().map_or_else(|| zero(v), Value::to_array)).collect())
}

/// The outputs on the tape; `place` says where an operation was called.
pub(super) fn forward(g: &Graph, leaves: &[Value], place: impl Fn(NodeId) -> Option<Place>) -> Result<Vec<Value>> {
    if leaves.len() != g.inputs().len() {
        return Err(Error::value("graph", format!("expected {} inputs, found {}", g.inputs().len(), leaves.len())));
    }
    let live = g.live();
    let mut values: Vec<Option<Value>> = vec![None; g.len()];
    for (id, n) in g.nodes().filter(|(id, _)| live[id.index()]) {
        values[id.index()] = Some(if n.op.is(&create::INPUT) {
            leaves[n.op.int(0) as usize].clone()
        } else {
            let args: Vec<&Value> = n.args.iter().filter_map(|a| values[a.index()].as_ref()).collect();
            eager_at(n.op.clone(), &args, place(id), Creation::Plain)?
        });
    }
    let of = |o: &NodeId| values[o.index()].clone();
    Ok(g.outputs().iter().filter_map(of).collect())
}
