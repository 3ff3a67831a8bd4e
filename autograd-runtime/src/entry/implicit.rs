//! Functions given as roots: x(θ) with g(x, θ) = 0, found by any method. The derivative comes from the implicit function
//! theorem, ∂x/∂θ = −(∂g/∂x)⁻¹ ∂g/∂θ, and not from the steps of the method; see Griewank and Walther, Evaluating
//! Derivatives, 2008, section 15.1. As an operation it is a result with a derivative of its own,
//! [`CUSTOM_VJP`](crate::op::custom::CUSTOM_VJP), whose backward reads the solution, so that it is differentiated to any order.

use super::{
    recursion,
    staged::Inputs,
    twins::{Leaf, LeafReader, Leaves, Outcome, Twinned},
};
use crate::{
    Error, Result, diff,
    emit::{Ex, V, apply, constant},
    graph::{Builder, Graph, NodeId},
    op::{Attr, Op, arith, custom},
    program,
    session::{self, TraceEnd},
    tensor::Value,
    ty::{DType, Ty},
};
use std::sync::Arc;

/// More unknowns than these make the matrix ∂g/∂x dear to build: a product for each.
const UNKNOWNS: usize = 256;

/// The floats of the solution as one vector.
fn packed(name: &str, leaves: &Leaves) -> Result<Value> {
    let float = |l: &Leaf| l.value().ty().dtype.is_float() && !matches!(l, Leaf::List(_));
    let first = leaves.leaves.first().map(|l| l.value().ty().dtype);
    let fits = |l: &Leaf| float(l) && Some(l.value().ty().dtype) == first;
    if leaves.leaves.is_empty() || !leaves.leaves.iter().all(fits) {
        let found: Vec<String> = leaves.leaves.iter().map(|l| l.value().ty().to_string()).collect();
        return Err(Error::value(
            name,
            format!("expected floats of one type and a fixed number, found ({})", found.join(", ")),
        ));
    }
    Ok(crate::tensor_evaluate(|e| {
        let parts: Vec<Ex<'_>> = leaves
            .leaves
            .iter()
            .map(|l| Ex::new(e, V::Tensor(l.value().clone())).reshape(&[l.value().ty().numel()]))
            .collect();
        Ex::cat(&parts, 0)
    }))
}

/// The leaves of a solution from one vector.
fn unpacked(like: &Leaves, all: &Value) -> Vec<Leaf> {
    let mut start = 0;
    let part = |l: &Leaf| {
        let ty = l.value().ty();
        let v = crate::tensor_evaluate(|e| {
            Ex::new(e, V::Tensor(all.clone())).slice(0, start, ty.numel(), 1).reshape(&ty.shape)
        });
        start += ty.numel();
        l.with(v)
    };
    like.leaves.iter().map(part).collect()
}

/// From a residual `(x, θ.., captures..) -> g` to the backward of its root, `(θ.., x, ct, captures..)` to cotangents of the
/// θ: λ = (∂g/∂x)⁻ᵀ ct, then −λᵀ ∂g/∂θ.
fn backward(g: &Graph, thetas: usize) -> Result<Graph> {
    let g = &*program::sink(g)?;
    let b = Builder::new();
    let types: Vec<Ty> = g.input_types().cloned().collect();
    let theta: Vec<NodeId> = types[1..=thetas].iter().map(|t| b.input(t)).collect();
    let (x, ct) = (b.input(&types[0]), b.input(&types[0]));
    let captured: Vec<NodeId> = types[1 + thetas..].iter().map(|t| b.input(t)).collect();
    let at: Vec<NodeId> = std::iter::once(x).chain(theta).chain(captured).collect();
    let id = |x: &Ex<'_>| x.node().ok_or_else(|| Error::value("root", "expected a node"));
    let (n, dtype) = (types[0].numel(), types[0].dtype);
    // a row of ∂g/∂x is what the reverse mode makes of a unit vector
    let rows = diff::vjp(g, &[0])?;
    let number = crate::emit::iota(&b, DType::I64, n);
    let mut all = Vec::with_capacity(n);
    for i in 0..n {
        let unit = number.op2(&crate::op::compare::EQ, &constant(&b, DType::I64, i as f64)).cast(dtype);
        let out = b.inline(&rows, &at.iter().copied().chain([id(&unit)?]).collect::<Vec<_>>())?;
        all.push(b.ex(out[1]));
    }
    let ct = b.ex(ct);
    let lambda = match &all[..] {
        // of one unknown the matrix is a number
        [one] => &ct / one,
        all => Ex::stack(all, 0).transpose(0, 1).solve(&ct),
    };
    let wrt: Vec<usize> = (1..=thetas).filter(|&i| types[i].dtype.is_float()).collect();
    let pulled = b.inline(&diff::vjp(g, &wrt)?, &at.iter().copied().chain([id(&-lambda)?]).collect::<Vec<_>>())?;
    let mut pulled = pulled[1..].iter().copied();
    let mut outs = Vec::with_capacity(thetas);
    for i in 1..=thetas {
        let ct = if types[i].dtype.is_float() { pulled.next() } else { None };
        outs.push(match ct {
            Some(ct) => ct,
            // a parameter that is no float
            None => id(&b.ex(at[i]).full_like(0.0))?,
        });
    }
    b.finish(outs)
}

/// What a function under `root_of` gives: the solution that `solve` finds for the inputs, as the root of `residual`.
pub fn root<X: Outcome<Value = X> + Twinned, R: Outcome>(
    name: &'static str,
    inputs: Inputs,
    solve: impl FnOnce(&mut LeafReader<'_>) -> X,
    residual: impl Fn(X, &mut LeafReader<'_>) -> R,
) -> X {
    let given: Vec<Leaf> = inputs.leaves().cloned().collect();
    let constant = given.iter().map(|l| {
        if !l.value().ty().dtype.is_float() {
            return l.clone();
        }
        l.with(crate::tensor_evaluate(|e| Ex::new(e, V::Tensor(l.value().clone())).op1(&arith::DETACH)))
    });
    let solution = solve(&mut constant.collect::<Vec<_>>().into_iter());
    if session::is_given_up() || session::has_failed() {
        return solution;
    }
    match rooted(name, &given, &solution, residual) {
        Ok(x) => x,
        Err(e) => {
            crate::tensor_report(e);
            solution
        }
    }
}

fn rooted<X: Outcome<Value = X> + Twinned, R: Outcome>(
    name: &'static str,
    given: &[Leaf],
    solution: &X,
    residual: impl Fn(X, &mut LeafReader<'_>) -> R,
) -> Result<X> {
    let leaves = Leaves::spread(solution);
    let x = packed(name, &leaves)?;
    if x.ty().numel() > UNKNOWNS {
        return Err(Error::value(name, format!("expected at most {UNKNOWNS} unknowns, found {}", x.ty().numel())));
    }
    let values = std::iter::once(x.clone()).chain(given.iter().map(|l| l.value().clone())).collect();
    let traced = recursion::apart(|| {
        session::trace(values, |fresh| {
            let x = solution.from_leaves(&mut unpacked(&leaves, &fresh[0]).into_iter());
            let mut given = given.iter().zip(&fresh[1..]).map(|(l, v)| l.with(v.clone()));
            let g = packed(name, &Leaves::spread(&residual(x, &mut given).outcome()?))?;
            Ok((vec![g], ()))
        })
    })?;
    let traced = match traced {
        TraceEnd::Graph(t, ()) if t.draws.is_empty() => t,
        TraceEnd::Graph(..) => return Err(Error::value(name, "expected a residual without random numbers")),
        TraceEnd::Opaque(why) => return Err(Error::NotCompilable { function: name.into(), reason: why }),
    };
    let g = &traced.graph;
    let (want, found) = (x.ty(), g.ty(g.outputs()[0]));
    if want != found {
        return Err(Error::shape(name, format!("as many equations as unknowns, {want}"), found.to_string()));
    }
    let n = given.len();
    let attrs = [Attr::Graph(Arc::new(backward(g, n)?)), Attr::Int(n as i64), Attr::Int(0)];
    let args: Vec<&Value> = std::iter::once(&x).chain(given.iter().map(Leaf::value)).chain(&traced.captures).collect();
    let out = crate::tensor_evaluate(|e| {
        let args: Vec<Ex<'_>> = args.iter().map(|&v| Ex::new(e, V::Tensor(v.clone()))).collect();
        apply(Op::with(&custom::CUSTOM_VJP, attrs.clone()), &args.iter().collect::<Vec<_>>())
    });
    Ok(solution.from_leaves(&mut unpacked(&leaves, &out).into_iter()))
}
