//! Derivatives of control flow.
//!
//! * A choice is differentiated branch by branch: the cotangents of `if(c, x) {f, g}` are `if(c, x, v) {f', g'}` with
//!   the reverse modes of its branches. Nothing of the branch that is not taken runs, so that none of its values, not
//!   even a NaN, gets into the result.
//! * Forward mode of a `while` is a `while` that carries the tangents too.
//! * Reverse mode of a `while` W is an operation of its own, V(x, v) = J(x)ᵀ v (`while_vjp`). Its derivatives need no
//!   reverse mode of a reverse loop: for a direction u, ⟨V(x, v), u⟩ = ⟨v, J(x) u⟩, so V's cotangents are the forward
//!   mode of W (in v), and the reverse mode of that (in x). Because second derivatives commute, the tangent of V along
//!   dx is the same reverse mode with u = dx. So all orders come down to forward modes and one reverse mode.
//! * The same goes for a call, of the function itself inside it or from outside. Its forward mode is a call of a function
//!   that takes tangents too; where that calls the original one it does so from outside.

use super::{jvp, node_of, vjp, zeros, zeros_like};
use crate::{
    error::Result,
    graph::{Args, Builder, Graph, NodeId},
    op::{
        Attr, Op, Signature,
        control::{CALL, CALL_VJP, IF, WHILE, WHILE_VJP, bind, floats, while_op},
    },
};
use std::sync::Arc;

/// A result and its tangent, if it has one.
pub(super) type Dual = (Option<NodeId>, Option<NodeId>);

fn sum(b: &Builder, x: Option<NodeId>, y: Option<NodeId>) -> Option<NodeId> {
    match (x, y) {
        (Some(x), Some(y)) => Some(node_of(&(b.ex(x) + b.ex(y)))),
        (x, y) => x.or(y),
    }
}

fn missing(op: &Op) -> crate::Error {
    crate::Error::NoDerivative { op: op.name().into() }
}

/// Cotangents of the arguments that are `wanted` from those of the results.
pub(super) fn pull_back(
    b: &Builder,
    op: &Op,
    args: &[NodeId],
    cts: &[Option<NodeId>],
    wanted: &[bool],
) -> Result<Vec<Option<NodeId>>> {
    let mut out = vec![None; args.len()];
    if cts.iter().all(Option::is_none) || !wanted.contains(&true) {
        return Ok(out);
    }
    if op.is(&IF) {
        let wrt: Vec<usize> = (1..args.len()).filter(|&i| wanted[i]).map(|i| i - 1).collect();
        let branch = |i: usize| -> Result<Attr> {
            let g = vjp(op.graph(i), &wrt)?;
            let kept = g.outputs()[op.graph(i).outputs().len()..].to_vec();
            Ok(Attr::Graph(Arc::new(g.with_outputs(kept))))
        };
        // results that are lists give their zeros a length
        let like = b.add_control(op, args)?;
        let ct_of = |(i, &r): (usize, &NodeId)| cts[i].unwrap_or_else(|| zeros_like(b, r));
        let args: Vec<NodeId> = args.iter().copied().chain(like.iter().enumerate().map(ct_of)).collect();
        let grads = b.add_control(&Op::with(&IF, [branch(0)?, branch(1)?]), &args)?;
        wrt.iter().zip(grads).for_each(|(&i, g)| out[i + 1] = Some(g));
    } else if op.is(&WHILE) {
        let wrt: Vec<i64> = (0..args.len()).filter(|&i| wanted[i]).map(|i| i as i64).collect();
        let body = op.graph(1);
        let ct_of = |i: usize| cts[i].unwrap_or_else(|| zeros_like(b, args[i]));
        let args = args.iter().copied().chain(floats(body).into_iter().map(ct_of));
        let attrs =
            [op.attrs[0].clone(), op.attrs[1].clone(), op.attrs[2].clone(), Attr::Ints(wrt.iter().copied().collect())];
        let grads = b.add_control(&Op::with(&WHILE_VJP, attrs), &args.collect::<Vec<_>>())?;
        wrt.iter().zip(grads).for_each(|(&i, g)| out[i as usize] = Some(g));
    } else if op.is(&WHILE_VJP) {
        let v = Vjp::of(op, args);
        let mut u = vec![None; v.x.len()];
        op.ints(3).iter().zip(cts).for_each(|(&i, &ct)| u[i as usize] = ct);
        let forward = Forward::of(&v.loop_op, v.x, &u, b)?;
        let duals = forward.results(b)?;
        for (k, &i) in floats(op.graph(1)).iter().enumerate() {
            if wanted[v.x.len() + k] {
                out[v.x.len() + k] = duals[i].1;
            }
        }
        let grads = forward.transposed(b, v.v, &wanted[..v.x.len()])?;
        grads.into_iter().enumerate().for_each(|(i, g)| out[i] = g);
    } else if op.is(&CALL) {
        let s = op.called();
        // results that are lists give their zeros a length
        let values = b.add_control(op, args)?;
        let ct_of = |i: usize| cts[i].unwrap_or_else(|| zeros_like(b, values[i]));
        let all: Vec<NodeId> = args.iter().copied().chain(s.float_outs().into_iter().map(ct_of)).collect();
        let grads = b.add_control(&Op::with(&CALL_VJP, op.attrs.iter().cloned()), &all)?;
        for (i, g) in s.float_ins().into_iter().zip(grads).filter(|(i, _)| wanted[*i]) {
            out[i] = Some(g);
        }
    } else if op.is(&CALL_VJP) {
        let s = op.called();
        let (x, v) = args.split_at(s.ins.len());
        let mut u = vec![None; x.len()];
        s.float_ins().into_iter().zip(cts).for_each(|(i, &ct)| u[i] = ct);
        let duals = called_forward(b, op, &s, x, &u)?;
        for (k, i) in s.float_outs().into_iter().enumerate().filter(|(k, _)| wanted[x.len() + k]) {
            out[x.len() + k] = duals[i].1;
        }
        for (i, g) in s.float_ins().into_iter().zip(called_transposed(b, op, &s, x, &u, v)?).filter(|(i, _)| wanted[*i])
        {
            out[i] = Some(g);
        }
    } else {
        return Err(missing(op));
    }
    Ok(out)
}

/// Results and their tangents from tangents of the arguments.
pub(super) fn push_forward(b: &Builder, op: &Op, args: &[NodeId], t: &[Option<NodeId>]) -> Result<Vec<Dual>> {
    if op.is(&IF) {
        let wrt: Vec<usize> = (1..args.len()).filter(|&i| t[i].is_some()).map(|i| i - 1).collect();
        let branch = |i: usize| Ok(Attr::Graph(Arc::new(jvp(op.graph(i), &wrt)?)));
        let args: Vec<NodeId> = args.iter().copied().chain(t.iter().flatten().copied()).collect();
        let all = b.add_control(&Op::with(&IF, [branch(0)?, branch(1)?] as [Attr; 2]), &args)?;
        let n = all.len() / 2;
        let float = |i: usize| b.ty_of(all[i]).dtype.is_float();
        Ok((0..n).map(|i| (Some(all[i]), float(i).then(|| all[n + i]))).collect())
    } else if op.is(&WHILE) {
        Forward::of(op, args, t, b)?.results(b)
    } else if op.is(&WHILE_VJP) {
        let v = Vjp::of(op, args);
        let values = b.add_control(op, args)?;
        // along v the operation is linear
        let dv = &t[v.x.len()..];
        let along_v = if dv.iter().any(Option::is_some) {
            let moved = v.v.iter().zip(dv).map(|(&v, d)| d.unwrap_or_else(|| zeros_like(b, v)));
            let args: Vec<NodeId> = v.x.iter().copied().chain(moved).collect();
            b.add_control(op, &args)?.into_iter().map(Some).collect()
        } else {
            vec![None; values.len()]
        };
        let dx = &t[..v.x.len()];
        let along_x = if dx.iter().any(Option::is_some) {
            let wanted: Vec<bool> = (0..v.x.len()).map(|i| op.ints(3).contains(&(i as i64))).collect();
            Forward::of(&v.loop_op, v.x, dx, b)?.transposed(b, v.v, &wanted)?
        } else {
            vec![None; v.x.len()]
        };
        let of = |(k, &i): (usize, &i64)| (Some(values[k]), sum(b, along_v[k], along_x[i as usize]));
        Ok(op.ints(3).iter().enumerate().map(of).collect())
    } else if op.is(&CALL) {
        called_forward(b, op, &op.called(), args, t)
    } else if op.is(&CALL_VJP) {
        let s = op.called();
        let (x, v) = args.split_at(s.ins.len());
        let (dx, dv) = t.split_at(x.len());
        let values = b.add_control(op, args)?;
        let mut tangents: Vec<Option<NodeId>> = vec![None; values.len()];
        if dv.iter().any(Option::is_some) {
            let moved = v.iter().zip(dv).map(|(&v, d)| d.unwrap_or_else(|| zeros_like(b, v)));
            let all: Vec<NodeId> = x.iter().copied().chain(moved).collect();
            tangents = b.add_control(op, &all)?.into_iter().map(Some).collect();
        }
        if dx.iter().any(Option::is_some) {
            for (t, g) in tangents.iter_mut().zip(called_transposed(b, op, &s, x, dx, v)?) {
                *t = sum(b, *t, Some(g));
            }
        }
        Ok(values.into_iter().map(Some).zip(tangents).collect())
    } else {
        Err(missing(op))
    }
}

/// The forward mode of a call (of `call` or `call_vjp`): the function that takes a tangent for each float among its
/// arguments, and gives one for each among its results, behind the others.
fn called_dual(op: &Op, s: &Signature) -> Result<Op> {
    let (ins, outs) = (s.float_ins(), s.float_outs());
    let function = match &op.attrs[0] {
        Attr::Own(_) => {
            let with =
                |tys: &[crate::ty::Ty], of: &[usize]| tys.iter().chain(of.iter().map(|&i| &tys[i])).cloned().collect();
            Attr::Own(Arc::new(Signature { ins: with(&s.ins, &ins), outs: with(&s.outs, &outs) }))
        }
        _ => {
            let body = op.graph(0);
            let derived = jvp(body, &ins)?;
            let all = derived.outputs();
            let kept = all[..s.outs.len()].iter().copied().chain(outs.iter().map(|&i| all[s.outs.len() + i])).collect();
            Attr::Graph(Arc::new(bind(&derived.with_outputs(kept), s, body)?))
        }
    };
    Ok(Op::with(&CALL, [function]))
}
/// What the forward mode of a call takes.
fn called_args(b: &Builder, s: &Signature, args: &[NodeId], t: &[Option<NodeId>]) -> Vec<NodeId> {
    let tangent = |i: usize| t[i].unwrap_or_else(|| zeros_like(b, args[i]));
    args.iter().copied().chain(s.float_ins().into_iter().map(tangent)).collect()
}
fn called_forward(b: &Builder, op: &Op, s: &Signature, args: &[NodeId], t: &[Option<NodeId>]) -> Result<Vec<Dual>> {
    let all = b.add_control(&called_dual(op, s)?, &called_args(b, s, args, t))?;
    let mut duals: Vec<Dual> = all[..s.outs.len()].iter().map(|&n| (Some(n), None)).collect();
    s.float_outs().into_iter().zip(&all[s.outs.len()..]).for_each(|(i, &t)| duals[i].1 = Some(t));
    Ok(duals)
}
/// The reverse mode of the forward mode, from cotangents of the tangents: a cotangent for each float among the arguments.
fn called_transposed(
    b: &Builder,
    op: &Op,
    s: &Signature,
    args: &[NodeId],
    t: &[Option<NodeId>],
    v: &[NodeId],
) -> Result<Vec<NodeId>> {
    let dual = called_dual(op, s)?;
    let given = called_args(b, s, args, t);
    let zeros = v.iter().map(|&v| zeros_like(b, v));
    let all: Vec<NodeId> = given.iter().copied().chain(zeros).chain(v.iter().copied()).collect();
    let mut grads = b.add_control(&Op::with(&CALL_VJP, dual.attrs), &all)?;
    grads.truncate(s.float_ins().len());
    Ok(grads)
}

/// The reverse mode of a function: from its arguments and a cotangent for each float among its results, a cotangent for
/// each float among its arguments.
pub(crate) fn call_step(body: &Graph) -> Result<Graph> {
    let s = Signature::of(body);
    let derived = vjp(body, &s.float_ins())?;
    let grads = derived.outputs()[s.outs.len()..].to_vec();
    with_float_cotangents(&derived.with_outputs(grads), body)
}

/// A `while_vjp` taken apart: the loop, its arguments, the cotangents.
struct Vjp<'a> {
    loop_op: Op,
    x: &'a [NodeId],
    v: &'a [NodeId],
}
impl<'a> Vjp<'a> {
    fn of(op: &Op, args: &'a [NodeId]) -> Vjp<'a> {
        let (x, v) = args.split_at(args.len() - floats(op.graph(1)).len());
        let loop_op = Op::with(&WHILE, op.attrs[..3].iter().cloned());
        Vjp { loop_op, x, v }
    }
}

/// The forward mode of a `while`: it carries the values, then the tangents of those that are floats; it captures what
/// the `while` did, then the tangents of captures.
struct Forward {
    op: Op,
    args: Vec<NodeId>,
    carried: usize,
    /// The carried floats.
    floats: Vec<usize>,
    /// Where the arguments of the `while` stand among `args`.
    primal: Vec<usize>,
}

impl Forward {
    fn of(op: &Op, args: &[NodeId], t: &[Option<NodeId>], b: &Builder) -> Result<Forward> {
        let (cond, body, carried) = (op.graph(0), op.graph(1), op.int(2) as usize);
        let floats = floats(body);
        let moved: Vec<usize> = (carried..args.len()).filter(|&i| t[i].is_some()).collect();
        let wrt: Vec<usize> = floats.iter().chain(&moved).copied().collect();
        let tangent = |&i: &usize| t[i].unwrap_or_else(|| zeros_like(b, args[i]));
        let mut all: Vec<NodeId> = args[..carried].to_vec();
        all.extend(floats.iter().map(tangent));
        all.extend(&args[carried..]);
        all.extend(moved.iter().map(tangent));
        let primal: Vec<usize> = (0..args.len()).map(|i| if i < carried { i } else { i + floats.len() }).collect();
        // sub-graphs over all of these
        let tys: Vec<_> = all.iter().map(|&a| b.ty_of(a)).collect();
        let derived = jvp(body, &wrt)?;
        let (cond_b, body_b) = (Builder::new(), Builder::new());
        let ins = |b: &Builder| tys.iter().map(|ty| b.input(ty)).collect::<Vec<_>>();
        let (ci, bi) = (ins(&cond_b), ins(&body_b));
        let of = |ins: &[NodeId]| primal.iter().map(|&i| ins[i]).collect::<Vec<_>>();
        let test = cond_b.inline(cond, &of(&ci))?;
        let mut inputs = of(&bi);
        inputs.extend(&bi[carried..carried + floats.len()]);
        inputs.extend(&bi[bi.len() - moved.len()..]);
        let mut outs = body_b.inline(&derived, &inputs)?;
        let tangents = outs.split_off(carried);
        outs.extend(floats.iter().map(|&i| tangents[i]));
        let n = outs.len();
        let op = while_op(Arc::new(cond_b.finish(test)?), Arc::new(body_b.finish(outs)?), n);
        Ok(Forward { op, args: all, carried, floats, primal })
    }
    fn results(&self, b: &Builder) -> Result<Vec<Dual>> {
        let all = b.add_control(&self.op, &self.args)?;
        let mut duals: Vec<Dual> = all[..self.carried].iter().map(|&n| (Some(n), None)).collect();
        for (k, &i) in self.floats.iter().enumerate() {
            duals[i].1 = Some(all[self.carried + k]);
        }
        Ok(duals)
    }
    /// The reverse mode, from cotangents of the tangents: cotangents of the arguments of the `while` itself.
    fn transposed(&self, b: &Builder, v: &[NodeId], wanted: &[bool]) -> Result<Vec<Option<NodeId>>> {
        let mut cts = vec![None; self.carried];
        cts.extend(v.iter().map(|&v| Some(v)));
        let mut all = vec![false; self.args.len()];
        self.primal.iter().zip(wanted).for_each(|(&at, &w)| all[at] = w);
        let grads = pull_back(b, &self.op, &self.args, &cts, &all)?;
        Ok(self.primal.iter().map(|&at| grads[at]).collect())
    }
}

/// One step of the reverse mode of a `while`: from its arguments before a trip and cotangents of the carried floats
/// after it, the cotangents before it, then the terms for the cotangents of the captures `captured`.
pub(crate) fn while_step(body: &Graph, carried: usize, captured: &[usize]) -> Result<Graph> {
    let floats = floats(body);
    let wrt: Vec<usize> = floats.iter().chain(captured).copied().collect();
    let derived = vjp(body, &wrt)?;
    let grads = derived.outputs()[carried..].to_vec();
    with_float_cotangents(&derived.with_outputs(grads), body)
}

/// The reverse mode of a body, whose cotangents are those of all results, with those of floats alone.
fn with_float_cotangents(derived: &Graph, body: &Graph) -> Result<Graph> {
    let floats = floats(body);
    let b = Builder::new();
    let mut inputs: Vec<NodeId> = body.input_types().map(|ty| b.input(ty)).collect();
    let out_tys: Vec<_> = body.output_types().cloned().collect();
    let given: Args = floats.iter().map(|&i| b.input(&out_tys[i])).collect();
    let mut given = given.into_iter();
    for ty in &out_tys {
        let ct = if ty.dtype.is_float() { given.next() } else { None };
        inputs.push(ct.unwrap_or_else(|| zeros(&b, ty)));
    }
    let outs = b.inline(derived, &inputs)?;
    b.finish(outs)
}
