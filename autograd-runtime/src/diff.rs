//! Differentiation, graph to graph. Reverse mode walks the nodes once backwards and adds the rules' nodes,
//! forward mode once forwards; the result is an ordinary graph, so derivatives of any order are the same
//! transformation again. A missing rule is an error that names the operation. `control` has the rules of control flow.

mod control;

pub(crate) use control::{call_step, while_step};

use crate::{
    emit::{Ex, V},
    error::{Error, Result},
    graph::{Builder, Graph, Node, NodeId},
    op::{
        Cx, Derivative, Op,
        control::{PROJ, is_control, results as control_results},
    },
    ty::Ty,
};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

/// Which nodes a change of the inputs `wrt` (by position) reaches through differentiable operations.
fn varied(g: &Graph, wrt: &[usize]) -> Vec<bool> {
    let mut v = vec![false; g.len()];
    for &i in wrt {
        v[g.inputs()[i].index()] = g.ty(g.inputs()[i]).dtype.is_float();
    }
    for (id, n) in g.nodes() {
        // a control-flow node has the type of its first result, others may be floats
        let float = n.ty.dtype.is_float() || is_control(&n.op) || n.subgraphs().next().is_some();
        let through = !matches!(n.op.def.derivative, Derivative::Zero) && float;
        v[id.index()] |= through && n.args.iter().any(|a| v[a.index()]);
    }
    v
}

/// A copy of `g` in a builder, and where its nodes went.
fn copy(b: &Builder, g: &Graph) -> Result<(Vec<NodeId>, Vec<Option<NodeId>>)> {
    let inputs: Vec<NodeId> = g.inputs().iter().map(|&i| b.input(g.ty(i))).collect();
    let map = b.inline_all(g, &inputs)?;
    Ok((inputs, map))
}

pub(crate) fn zeros(b: &Builder, ty: &Ty) -> NodeId {
    let zero = crate::emit::constant(b, ty.dtype, 0.0).expand(&ty.shape);
    node_of(&zero)
}
/// Zeros of the type, and of the length, of a value.
fn zeros_like(b: &Builder, x: NodeId) -> NodeId {
    node_of(&b.ex(x).full_like(0.0))
}

fn node_of(x: &Ex<'_>) -> NodeId {
    match &x.v {
        V::Node(id) => *id,
        other => panic!("bug: a derivative rule left the graph with {other:?}"),
    }
}

/// The vector-Jacobian product: the graph with one more input for each output (its cotangent) and as
/// results the outputs of `g`, then one cotangent for each input in `wrt`.
///
/// # Errors
/// [`Error::NoDerivative`] naming an operation without a rule that a cotangent reaches.
pub fn vjp(g: &Graph, wrt: &[usize]) -> Result<Graph> {
    let b = Builder::new();
    let (_, map) = copy(&b, g)?;
    let seeds: Vec<(NodeId, NodeId)> = g.outputs().iter().map(|&o| (o, b.input(g.ty(o)))).collect();
    let grads = reverse(&b, g, &map, &seeds, wrt)?;
    let mut outs: Vec<NodeId> = g.outputs().iter().map(|o| map[o.index()].expect("outputs are live")).collect();
    outs.extend(grads);
    b.finish(outs)
}

/// As [`vjp`], with cotangents of the outputs `of` only, and without zeros: the cotangents of those inputs in `wrt` that
/// one reaches, and which these are. The nodes of `g` are the first of the graph, whatever `of` and `wrt` are.
///
/// # Errors
/// As [`vjp`].
pub(crate) fn vjp_of(g: &Graph, of: &[usize], wrt: &[usize]) -> Result<(Graph, Vec<bool>)> {
    let b = Builder::new();
    let (_, map) = copy(&b, g)?;
    let seed = |&i: &usize| (g.outputs()[i], b.input(g.ty(g.outputs()[i])));
    let grads = cotangents(&b, g, &map, &of.iter().map(seed).collect::<Vec<_>>(), wrt)?;
    let mut outs: Vec<NodeId> = g.outputs().iter().map(|o| map[o.index()].expect("outputs are live")).collect();
    outs.extend(grads.iter().flatten());
    Ok((b.finish(outs)?, grads.iter().map(Option::is_some).collect()))
}

/// The gradient of the first output, which must be rank 0 (its cotangent is the constant 1): results are
/// the outputs of `g`, then the gradients.
///
/// # Errors
/// As [`vjp`], and [`Error::Autograd`] if the output is no scalar.
pub fn gradient(g: &Graph, wrt: &[usize]) -> Result<Graph> {
    let out = g.outputs()[0];
    let ty = g.ty(out);
    if ty.numel() != 1 || !ty.dtype.is_float() {
        return Err(Error::Autograd(format!(
            "grad: expected a result of one float, found {ty}; use jacobian for all derivatives or vjp for a product"
        )));
    }
    let b = Builder::new();
    let (_, map) = copy(&b, g)?;
    let one = node_of(&crate::emit::constant(&b, ty.dtype, 1.0).expand(&ty.shape));
    let grads = reverse(&b, g, &map, &[(out, one)], wrt)?;
    let mut outs: Vec<NodeId> = g.outputs().iter().map(|o| map[o.index()].expect("outputs are live")).collect();
    outs.extend(grads);
    b.finish(outs)
}

/// One reverse sweep: cotangents of the inputs `wrt` from cotangents of nodes (`seeds`). `map` says where
/// the nodes of `g` are in the builder.
fn reverse(
    b: &Builder,
    g: &Graph,
    map: &[Option<NodeId>],
    seeds: &[(NodeId, NodeId)],
    wrt: &[usize],
) -> Result<Vec<NodeId>> {
    let cts = cotangents(b, g, map, seeds, wrt)?.into_iter().zip(wrt);
    let input = |i: usize| map[g.inputs()[i].index()].expect("inputs have been copied");
    Ok(cts.map(|(ct, &i)| ct.unwrap_or_else(|| zeros_like(b, input(i)))).collect())
}

/// As [`reverse`]; `None` where none arrives.
fn cotangents(
    b: &Builder,
    g: &Graph,
    map: &[Option<NodeId>],
    seeds: &[(NodeId, NodeId)],
    wrt: &[usize],
) -> Result<Vec<Option<NodeId>>> {
    let varied = varied(g, wrt);
    let mut cts: Vec<Option<NodeId>> = vec![None; g.len()];
    let add = |slot: &mut Option<NodeId>, ct: NodeId| {
        *slot = Some(match *slot {
            None => ct,
            Some(sum) => node_of(&(b.ex(sum) + b.ex(ct))),
        });
    };
    for &(node, ct) in seeds {
        if varied[node.index()] && g.ty(node).dtype.is_float() {
            add(&mut cts[node.index()], ct);
        }
    }
    // cotangents of the results of control flow, which arrive through projections
    let mut results: FxHashMap<NodeId, Vec<Option<NodeId>>> = FxHashMap::default();
    for (id, n) in g.nodes().rev() {
        if is_control(&n.op) {
            let mut all = results.remove(&id).unwrap_or_else(|| vec![None; control_results(&n.op).len()]);
            // read without a projection it is its first result
            if let Some(ct) = cts[id.index()] {
                add(&mut all[0], ct);
            }
            if all.iter().any(Option::is_some) {
                let args: Vec<NodeId> =
                    n.args.iter().map(|a| map[a.index()].expect("live nodes have been copied")).collect();
                let wanted: Vec<bool> = n.args.iter().map(|a| varied[a.index()] && g.ty(*a).dtype.is_float()).collect();
                for (a, c) in n.args.iter().zip(control::pull_back(b, &n.op, &args, &all, &wanted)?) {
                    if let Some(c) = c {
                        add(&mut cts[a.index()], c);
                    }
                }
            }
            continue;
        }
        let Some(ct) = cts[id.index()] else { continue };
        if n.args.is_empty() {
            continue;
        }
        if n.op.is(&PROJ) {
            let from = n.args[0];
            let all = results.entry(from).or_insert_with(|| vec![None; control_results(&g.node(from).op).len()]);
            add(&mut all[n.op.int(0) as usize], ct);
            continue;
        }
        with_cx(b, n, map, id, |cx| {
            for (i, a) in n.args.iter().enumerate().filter(|(_, a)| varied[a.index()]) {
                if let Some(c) = pull_back(cx, i, &b.ex(ct))? {
                    add(&mut cts[a.index()], node_of(&c));
                }
            }
            Ok(())
        })?;
    }
    Ok(wrt.iter().map(|&i| cts[g.inputs()[i].index()]).collect())
}

/// Calls `f` with what the rule of a node sees in the builder.
fn with_cx<R>(
    b: &Builder,
    n: &Node,
    map: &[Option<NodeId>],
    id: NodeId,
    f: impl FnOnce(&Cx<'_>) -> Result<R>,
) -> Result<R> {
    let at = |id: NodeId| b.ex(map[id.index()].expect("live nodes have been copied"));
    let args: SmallVec<[Ex<'_>; 3]> = n.args.iter().map(|&a| at(a)).collect();
    f(&Cx { op: &n.op, args: &args, out: &at(id) })
}

/// The cotangent of argument `i` from the cotangent of the result. The tape uses it too.
///
/// # Errors
/// [`Error::NoDerivative`].
pub fn pull_back<'e>(cx: &Cx<'e>, i: usize, ct: &Ex<'e>) -> Result<Option<Ex<'e>>> {
    let none = || Error::NoDerivative { op: cx.op.name().into() };
    Ok(match &cx.op.def.derivative {
        Derivative::Elementwise(rule) => rule(cx, i, ct).map(|c| c.sum_to_shape_of(&cx.args[i])),
        Derivative::Linear(rule) | Derivative::Multilinear(rule) | Derivative::General(rule, _) => rule(cx, i, ct),
        Derivative::Zero => None,
        Derivative::Control | Derivative::Missing => return Err(none()),
    })
}

/// The Jacobian-vector product: the graph with one more input for each input in `wrt` (its tangent) and as
/// results the outputs of `g`, then one tangent for each output.
///
/// # Errors
/// As [`vjp`].
pub fn jvp(g: &Graph, wrt: &[usize]) -> Result<Graph> {
    let b = Builder::new();
    let mut map: Vec<Option<NodeId>> = vec![None; g.len()];
    for &i in g.inputs() {
        map[i.index()] = Some(b.input(g.ty(i)));
    }
    let mut tangents: Vec<Option<NodeId>> = vec![None; g.len()];
    let varied = varied(g, wrt);
    for &i in wrt {
        let input = g.inputs()[i];
        tangents[input.index()] = Some(b.input(g.ty(input)));
    }
    let live = g.live();
    // values and tangents of the results of control flow, which projections hand on
    let mut results: FxHashMap<NodeId, Vec<control::Dual>> = FxHashMap::default();
    for (id, n) in g.nodes() {
        if !live[id.index()] || map[id.index()].is_some() {
            continue;
        }
        if n.op.is(&PROJ)
            && let Some(all) = results.get(&n.args[0])
        {
            (map[id.index()], tangents[id.index()]) = all[n.op.int(0) as usize];
            continue;
        }
        let args: SmallVec<[NodeId; 3]> =
            n.args.iter().map(|a| map[a.index()].expect("arguments come first")).collect();
        if is_control(&n.op) && varied[id.index()] {
            let t: Vec<Option<NodeId>> = n.args.iter().map(|a| tangents[a.index()]).collect();
            let duals = control::push_forward(&b, &n.op, &args, &t)?;
            (map[id.index()], tangents[id.index()]) = duals[0];
            results.insert(id, duals);
            continue;
        }
        map[id.index()] = Some(b.add(n.op.clone(), &args)?);
        if !varied[id.index()] || n.args.is_empty() {
            continue;
        }
        let t: SmallVec<[Option<Ex<'_>>; 3]> = n.args.iter().map(|a| tangents[a.index()].map(|t| b.ex(t))).collect();
        let out = with_cx(&b, n, &map, id, |cx| {
            Ok(push_forward(cx, &t)?.map(|t| node_of(&if n.ty.is_list() { t } else { t.expand(&n.ty.shape) })))
        })?;
        tangents[id.index()] = out;
    }
    let mut outs: Vec<NodeId> = g.outputs().iter().map(|o| map[o.index()].expect("outputs are live")).collect();
    let like = |o: &NodeId| zeros_like(&b, map[o.index()].expect("outputs are live"));
    outs.extend(g.outputs().iter().map(|o| tangents[o.index()].unwrap_or_else(|| like(o))));
    b.finish(outs)
}

/// The tangent of a result from tangents of the arguments; not yet broadcast to the result's shape.
fn push_forward<'e>(cx: &Cx<'e>, t: &[Option<Ex<'e>>]) -> Result<Option<Ex<'e>>> {
    let sum = |acc: Option<Ex<'e>>, x: Option<Ex<'e>>| match (acc, x) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    };
    let moved = || t.iter().enumerate().filter_map(|(i, t)| Some((i, t.as_ref()?)));
    Ok(match &cx.op.def.derivative {
        Derivative::Elementwise(rule) => moved().map(|(i, t)| rule(cx, i, t)).fold(None, sum),
        Derivative::Linear(_) | Derivative::Multilinear(_) => {
            moved().map(|(i, t)| Some(replaced(cx, i, t))).fold(None, sum)
        }
        Derivative::General(_, rule) => rule(cx, t),
        Derivative::Zero => None,
        Derivative::Control | Derivative::Missing => {
            return Err(Error::NoDerivative { op: cx.op.name().into() });
        }
    })
}

/// The operation with argument `i` replaced.
fn replaced<'e>(cx: &Cx<'e>, i: usize, by: &Ex<'e>) -> Ex<'e> {
    let args: SmallVec<[&Ex<'e>; 3]> = cx.args.iter().enumerate().map(|(j, a)| if i == j { by } else { a }).collect();
    crate::emit::apply(Op::clone(cx.op), &args)
}

/// The product of the Hessian of the first output with a direction: inputs of `g`, then one direction for
/// each input in `wrt`; results are the outputs of `g`, the gradients, and the products. Forward mode over
/// reverse mode (Griewank and Walther, Evaluating Derivatives, 2008, section 5.1).
///
/// # Errors
/// As [`gradient`].
pub fn hvp(g: &Graph, wrt: &[usize]) -> Result<Graph> {
    let forward = jvp(&gradient(g, wrt)?, wrt)?;
    let n = g.outputs().len();
    let outs = forward.outputs();
    let kept = [&outs[..n + wrt.len()], &outs[2 * n + wrt.len()..]].concat();
    Ok(forward.with_outputs(kept))
}

/// All derivatives of the elements of the outputs in `wrt`: results are the outputs of `g`, then the Jacobian, for each
/// element of a float a row of derivatives in each of `wrt`. It is made of a sweep for each element or, of scalars in
/// scalars, for each input, whichever are fewer; what they have in common is there once.
///
/// # Errors
/// As [`vjp`].
pub fn jacobian(g: &Graph, wrt: &[usize]) -> Result<Graph> {
    let b = Builder::new();
    let inputs: Vec<NodeId> = g.inputs().iter().map(|&i| b.input(g.ty(i))).collect();
    let mut outs = b.inline(g, &inputs)?;
    let each = elements(g)?;
    let (m, n) = (each.outputs().len(), wrt.len());
    let scalars = wrt.iter().all(|&i| g.ty(g.inputs()[i]).rank() == 0);
    let mut rows: Vec<Vec<NodeId>> = vec![Vec::with_capacity(n); m];
    if scalars && n <= m {
        for &i in wrt {
            let column = jvp(&each, &[i])?;
            let ty = g.ty(g.inputs()[i]);
            let one = node_of(&crate::emit::constant(&b, ty.dtype, 1.0).expand(&ty.shape));
            let all: Vec<NodeId> = inputs.iter().copied().chain([one]).collect();
            for (row, x) in rows.iter_mut().zip(b.inline(&column, &all)?.into_iter().skip(m)) {
                // as wide as the input, as in a gradient
                row.push(node_of(&b.ex(x).cast(ty.dtype)));
            }
        }
    } else {
        for (row, &out) in rows.iter_mut().zip(each.outputs()) {
            let of = gradient(&each.clone().with_outputs(vec![out]), wrt)?;
            row.extend(b.inline(&of, &inputs)?.into_iter().skip(1));
        }
    }
    outs.extend(rows.into_iter().flatten());
    b.finish(outs)
}

/// The graph whose outputs are the elements of the floats among those of `g`.
fn elements(g: &Graph) -> Result<Graph> {
    if g.output_types().all(|ty| ty.rank() == 0 && ty.dtype.is_float()) {
        return Ok(g.clone());
    }
    let b = Builder::new();
    let inputs: Vec<NodeId> = g.inputs().iter().map(|&i| b.input(g.ty(i))).collect();
    let mut each = Vec::new();
    for (out, ty) in b.inline(g, &inputs)?.into_iter().zip(g.output_types()).filter(|(_, ty)| ty.dtype.is_float()) {
        let flat = b.ex(out).reshape(&[ty.numel()]);
        each.extend((0..ty.numel()).map(|i| node_of(&flat.slice(0, i, 1, 1).reshape(&[]))));
    }
    b.finish(each)
}
