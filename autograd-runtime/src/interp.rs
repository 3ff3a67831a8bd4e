//! The graph interpreter: runs a graph node by node on host arrays through each operation's own
//! evaluation. It is the slow, obvious oracle that the compiled programs are tested against, and it
//! evaluates a trace when a plain function reads a traced value.

use crate::{
    array::{Array, View},
    diff,
    error::{Error, Result},
    graph::{Graph, Node, NodeId},
    op::{Attr, Op, arith, control, create},
    ty::Ty,
};
use std::{
    cell::{Cell, OnceCell},
    sync::Arc,
};

/// The outputs of a graph at these inputs.
///
/// # Errors
/// Inputs of the wrong number or type, or what an operation finds wrong with its values.
pub fn run(g: &Graph, inputs: &[Array]) -> Result<Vec<Array>> {
    run_in(g, inputs, None)
}

/// A function that is running, and its reverse mode.
struct Own<'a> {
    body: &'a Graph,
    step: OnceCell<Graph>,
}

/// As [`run`], of a graph inside a function.
fn run_in(g: &Graph, inputs: &[Array], own: Option<&Own<'_>>) -> Result<Vec<Array>> {
    let values = run_nodes(g, inputs, own)?;
    g.outputs().iter().map(|&o| single(g, &values, o).cloned()).collect()
}

/// Results of a node: several for control flow, shared because projections and outputs name them again.
pub(crate) type Results = Arc<Vec<Array>>;

fn single<'a>(g: &Graph, values: &'a [Option<Results>], id: NodeId) -> Result<&'a Array> {
    let missing = || Error::value(g.node(id).op.name(), "expected a value");
    values[id.index()].as_ref().and_then(|v| v.first()).ok_or_else(missing)
}

fn run_nodes(g: &Graph, inputs: &[Array], own: Option<&Own<'_>>) -> Result<Vec<Option<Results>>> {
    if inputs.len() != g.inputs().len() {
        let (want, got) = (g.inputs().len(), inputs.len());
        return Err(Error::value("graph", format!("expected {want} inputs, found {got}")));
    }
    let live = g.live();
    let mut values: Vec<Option<Results>> = vec![None; g.len()];
    for (id, n) in g.nodes().filter(|(id, _)| live[id.index()]) {
        let out = if n.op.is(&create::INPUT) {
            let x = &inputs[n.op.int(0) as usize];
            if !n.ty.takes(&x.ty()) {
                return Err(Error::shape(
                    "graph",
                    format!("input {} of type {}", n.op.int(0), n.ty),
                    x.ty().to_string(),
                ));
            }
            Arc::new(vec![x.clone()])
        } else {
            let args = n.args.iter().map(|a| values[a.index()].as_ref().expect("arguments come first"));
            run_node_in(n, &args.collect::<Vec<_>>(), own)?
        };
        values[id.index()] = Some(out);
    }
    Ok(values)
}

/// The results of a node that is no input.
///
/// # Errors
/// What the operation finds wrong with its values.
pub(crate) fn run_node(n: &Node, args: &[&Results]) -> Result<Results> {
    run_node_in(n, args, None)
}
fn run_node_in(n: &Node, args: &[&Results], own: Option<&Own<'_>>) -> Result<Results> {
    let missing = || Error::value(n.op.name(), "expected a value");
    if n.op.is(&control::PROJ) {
        let one = args[0].get(n.op.int(0) as usize).ok_or_else(missing)?;
        return Ok(Arc::new(vec![one.clone()]));
    }
    let args = args.iter().map(|a| a.first().ok_or_else(missing)).collect::<Result<Vec<_>>>()?;
    if control::is_control(&n.op) {
        return control_flow(&n.op, args.into_iter().cloned().collect(), own).map(Arc::new);
    }
    let args: Vec<View<'_>> = args.into_iter().map(Array::view).collect();
    // the length of a list is that of its values
    let given = if n.ty.is_list() && n.op.def.is_elementwise() {
        let tys: Vec<Ty> = args.iter().map(|a| Ty { dtype: a.dtype(), shape: a.shape().into() }).collect();
        Some(n.op.infer(&tys.iter().collect::<Vec<_>>())?)
    } else {
        None
    };
    Ok(Arc::new(vec![n.op.eval(&args, given.as_ref().unwrap_or(&n.ty))?]))
}

fn truth(a: &Array) -> bool {
    matches!(a, Array::Bool(b) if b.iter().all(|&x| x))
}

/// A call of a function. It runs on as much stack as it takes, up to a limit.
fn call(op: &Op, args: Vec<Array>, own: Option<&Own<'_>>) -> Result<Vec<Array>> {
    let outside;
    let own = match &op.attrs[0] {
        Attr::Graph(body) => {
            outside = Own { body, step: OnceCell::new() };
            &outside
        }
        // a function that is being traced has no body yet, and what it gives is not read
        _ => match own {
            Some(own) => own,
            None => return Ok(control::results(op).iter().map(|ty| Array::full(ty, 0)).collect()),
        },
    };
    let run = |g: &Graph, args: &[Array]| {
        if CALLS.get() >= control::MAX_CALLS {
            return Err(control::too_deep());
        }
        CALLS.set(CALLS.get() + 1);
        let out = stacker::maybe_grow(1 << 17, 1 << 21, || run_in(g, args, Some(own)));
        CALLS.set(CALLS.get() - 1);
        out
    };
    if op.is(&control::CALL) {
        return run(own.body, &args);
    }
    if !op.is(&control::CALL_VJP) {
        return Err(Error::value(op.name(), "expected to be run by a compiled program"));
    }
    let step = match own.step.get() {
        Some(step) => step,
        None => {
            let step = diff::call_step(own.body)?;
            own.step.get_or_init(|| step)
        }
    };
    run(step, &args)
}

thread_local! {
    /// Calls inside one another.
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

fn control_flow(op: &Op, mut args: Vec<Array>, own: Option<&Own<'_>>) -> Result<Vec<Array>> {
    if control::is_call(op) {
        return call(op, args, own);
    }
    let run = |g: &Graph, args: &[Array]| run_in(g, args, own);
    if op.is(&control::IF) {
        let branch = op.graph(if truth(&args[0]) { 0 } else { 1 });
        return run(branch, &args[1..]);
    }
    let (cond, body) = (op.graph(0), if op.is(&control::WHILE_BACK) { op.graph(0) } else { op.graph(1) });
    if op.is(&control::WHILE) {
        let carried = op.int(2) as usize;
        while truth(&run(cond, &args)?[0]) {
            let next = run(body, &args)?;
            args.splice(..carried, next);
        }
        args.truncate(carried);
        return Ok(args);
    }
    if !op.is(&control::WHILE_VJP) {
        return Err(Error::value(op.name(), "expected to be run by a compiled program"));
    }
    // every state is kept, then the body is differentiated at each, backwards
    let carried = op.int(2) as usize;
    let floats = control::floats(body);
    let mut cts = args.split_off(args.len() - floats.len());
    let mut states = Vec::new();
    while truth(&run(cond, &args)?[0]) {
        let next = run(body, &args)?;
        states.push(args.clone());
        args.splice(..carried, next);
    }
    let captured: Vec<usize> = op.ints(3).iter().map(|&i| i as usize).filter(|&i| i >= carried).collect();
    let step = diff::while_step(body, carried, &captured)?;
    let mut sums: Vec<Array> = captured.iter().map(|&i| Array::full(&args[i].ty(), 0)).collect();
    for mut state in states.into_iter().rev() {
        state.append(&mut cts);
        let mut out = run(&step, &state)?;
        let terms = out.split_off(floats.len());
        cts = out;
        for (sum, term) in sums.iter_mut().zip(&terms) {
            *sum = Op::new(&arith::ADD).eval(&[sum.view(), term.view()], &sum.ty())?;
        }
    }
    let of = |&i: &i64| {
        let i = i as usize;
        let at = floats.iter().position(|&f| f == i).map(|k| cts[k].clone());
        at.or_else(|| captured.iter().position(|&c| c == i).map(|k| sums[k].clone()))
            .ok_or_else(|| Error::value(op.name(), "expected floats in wrt"))
    };
    op.ints(3).iter().map(of).collect()
}
