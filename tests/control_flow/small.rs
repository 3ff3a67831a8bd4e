//! Loops over tensors of a few elements, which are native functions over these, also with lists beside them; each over more
//! elements too, for which a trip runs kernels.

use super::{compiled, dynamic, near};
use autograd::{Tensor, no_grad, prelude::*};

fn wave(shape: &[usize]) -> Tensor<f64> {
    let n: usize = shape.iter().product();
    Tensor::from_vec((0..n).map(|i| (i as f64 * 0.7 + 0.3).sin()).collect(), shape)
}

/// Compiled and dynamic values and gradients, differences, and whether it is one native function.
macro_rules! agrees {
    ($f:ident($($arg:expr),*), native: $native:expr) => {{
        let (y, g) = compiled(|| $f::value_and_grad($($arg),*));
        let (want, of) = dynamic(|| $f::value_and_grad($($arg),*));
        near(y.item(), want.item(), 1e-11);
        let flat = |t: &[&Tensor<f64>]| t.iter().flat_map(|t| t.to_vec()).collect::<Vec<f64>>();
        let (g, of) = (flat(&[&g]), flat(&[&of]));
        assert_eq!(g.len(), of.len());
        g.iter().zip(of).for_each(|(a, b)| near(*a, b, 1e-9));
        let report = $f::check($($arg),*).unwrap();
        assert!(report.passed(), "{report}");
        let said = $f::explain($($arg),*).unwrap();
        assert!(said.reason.is_none() && said.per_length.is_none(), "{said}");
        let native = said.kernels.iter().all(|k| k.kind == "scalar function" || k.kind == "vector loop");
        assert_eq!(native, $native, "{said}");
    }};
}

/// Bodies that attract one another.
#[differentiable(wrt(x))]
fn bodies(x: &Tensor<f64>, v: &Tensor<f64>, steps: usize) -> Tensor<f64> {
    let (mut x, mut v) = (x.clone(), v.clone());
    for _ in 0..steps {
        let d = x.unsqueeze(0) - x.unsqueeze(1);
        let r2 = d.square().sum_dim(&[-1], true) + 0.1;
        v += 0.01 * (d / (&r2 * r2.sqrt())).sum_dim(&[1], false);
        x += 0.01 * &v;
    }
    x.square().sum()
}

/// Products of matrices, transposes, parts and what is put together of them.
#[differentiable(wrt(w))]
fn network(w: &Tensor<f64>, x: &Tensor<f64>, trips: usize) -> Tensor<f64> {
    let n = x.shape()[0];
    let mut h = x.clone();
    for _ in 0..trips {
        let mixed = w.matmul(&h) + w.t().matmul(&h.flip(&[0]));
        let (top, rest) = (mixed.narrow(0, 0, 1), mixed.narrow(0, 1, n - 1));
        h = Tensor::cat(&[&rest.tanh(), &top.sin()], 0) * 0.9 + x;
    }
    (h.square().mean() + h.sum_dim(&[0], false).exp().sum() * 1e-3).ln()
}

/// Elements that are chosen, and a loop that the data end.
#[differentiable]
fn masked(x: &Tensor<f64>) -> Tensor<f64> {
    let mut y = x.clone();
    while y.abs().mean() < 11.0 {
        let mask = y.gt(&(y.mean() * 0.5));
        y = Tensor::where_(&mask, &(&y * 1.3 + 0.1), &(&y * 1.1 - 0.2));
        if y.sum() > 3.0 {
            y = y.clamp(-40.0, 40.0) + 0.5;
        }
    }
    y.square().sum()
}

/// Writes in place through views.
#[differentiable]
fn written(x: &Tensor<f64>, trips: usize) -> Tensor<f64> {
    let mut y = x * 1.0;
    for _ in 0..trips {
        let first = y.select(0, 0);
        let rest = y.narrow(0, 1, x.shape()[0] - 1);
        y = Tensor::cat(&[&rest.sin(), &(first * 0.5).unsqueeze(0)], 0);
        y += 0.1 * x;
    }
    y.square().sum()
}

#[test]
fn loops_over_small_tensors_are_native() {
    for n in [0, 1, 7] {
        agrees!(bodies(&wave(&[4, 3]), &(wave(&[4, 3]) * 0.1), n), native: true);
        agrees!(bodies(&wave(&[7, 3]), &(wave(&[7, 3]) * 0.1), n), native: false);
        agrees!(network(&(wave(&[3, 3]) * 0.4), &wave(&[3, 2]), n), native: true);
        agrees!(network(&(wave(&[11, 11]) * 0.1), &wave(&[11, 2]), n), native: false);
        agrees!(written(&wave(&[5, 2]), n), native: true);
        agrees!(written(&wave(&[60, 2]), n), native: false);
    }
    agrees!(masked(&wave(&[9])), native: true);
    agrees!(masked(&wave(&[140])), native: false);
}

/// An observation a trip: a filter over a state of several numbers.
#[differentiable(wrt(a))]
fn filtered(a: &Tensor<f64>, seen: &[f64], weights: &[[f64; 2]]) -> Tensor<f64> {
    let mut state = Tensor::<f64>::zeros([a.shape()[0]]);
    for (i, z) in seen.iter().enumerate() {
        state = a.matmul(&state).tanh() + *z * weights[i][0];
        if weights[i][1] > 0.0 {
            state = state * weights[i][1];
        }
    }
    state.square().sum()
}

#[test]
fn lists_beside_small_tensors_are_one_program() {
    let a = wave(&[3, 3]) * 0.5;
    let all: Vec<_> = [0, 1, 2, 33]
        .map(|n| {
            let seen: Vec<f64> = wave(&[n]).to_vec();
            let weights: Vec<[f64; 2]> = seen.iter().map(|z| [z * 0.3 + 1.0, z - 0.2]).collect();
            agrees!(filtered(&a, &seen, &weights), native: true);
            filtered::explain(&a, &seen, &weights).unwrap()
        })
        .into();
    super::one_program(&all);
}

/// As `bodies`, with a bound for what is recorded.
#[differentiable(wrt(x), checkpoint(memory = "4 KB"))]
fn bounded(x: &Tensor<f64>, v: &Tensor<f64>, steps: usize) -> Tensor<f64> {
    bodies(x, v, steps)
}

#[test]
fn a_bound_for_memory_holds_over_small_tensors() {
    let (x, v) = (wave(&[3, 2]), wave(&[3, 2]) * 0.1);
    // the loop that is run again for what is not kept is another program
    let [less, all] = [bounded::explain(&x, &v, 5), bodies::explain(&x, &v, 5)].map(|e| e.unwrap().code_bytes);
    assert!(less > all, "{less} {all}");
    for n in [0, 1, 5, 300] {
        let (a, b) = (compiled(|| bounded::grad(&x, &v, n)), compiled(|| bodies::grad(&x, &v, n)));
        a.to_vec().into_iter().zip(b.to_vec()).for_each(|(a, b)| near(a, b, 1e-12));
    }
}

#[differentiable]
fn single(x: &Tensor<f32>, trips: usize) -> Tensor<f32> {
    let mut y = x.clone();
    for _ in 0..trips {
        y = (&y * 1.1).sin() + x.matmul(&y) * 0.2;
    }
    y.square().sum()
}

#[test]
fn other_types_and_every_derivative() {
    let x = wave(&[3, 3]).to::<f32>();
    let (a, b) = (compiled(|| single::grad(&x, 5)), dynamic(|| single::grad(&x, 5)));
    a.to_vec().into_iter().zip(b.to_vec()).for_each(|(a, b)| near(a.into(), b.into(), 1e-5));
    let (x, v, t) = (wave(&[3, 2]), wave(&[3, 2]) * 0.1, wave(&[3, 2]).cos());
    let all = || {
        let (y, tangent) = bodies::jvp(&x, &v, 6, &t)?;
        let hvp = bodies::hvp(&x, &v, 6, &t)?;
        let hessian = bodies::hessian(&x, &v, 6)?;
        Ok([y.to_vec(), tangent.to_vec(), hvp.to_vec(), hessian.to_vec()].concat())
    };
    compiled(all).into_iter().zip(dynamic(all)).for_each(|(a, b)| near(a, b, 1e-9));
    // an element of a kept program's results is its own
    let kept = bodies::compile(&x, &v, 6).unwrap();
    let first = kept.grad(&x, &v, 6).unwrap();
    let second = kept.grad(&(&x * 2.0), &v, 9).unwrap();
    assert_eq!(first.to_vec(), no_grad(|| compiled(|| bodies::grad(&x, &v, 6))).to_vec());
    assert_eq!(second.to_vec(), compiled(|| bodies::grad(&(&x * 2.0), &v, 9)).to_vec());
}
