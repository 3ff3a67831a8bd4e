//! `torch.autograd.functional`: products with Jacobians and Hessians, and these themselves.

use super::{close, fails, gradient, matrix, t, tracked};
use autograd::{
    Tensor,
    functional::{hessian, hvp, jacobian, jvp, vhp, vjp},
};

fn f(x: &[Tensor<f64>]) -> (Tensor<f64>, Tensor<f64>) {
    (x[0].sin() * &x[1], x[1].exp().sum() * x[0].mean())
}
fn energy(x: &[Tensor<f64>]) -> Tensor<f64> {
    (x[0].powi(3) * x[1].exp()).sum() + x[0].square().sum()
}

#[test]
fn jacobians_are_results_by_inputs() {
    let (x, y) = (t(&[0.5, -1.0]), t(&[0.25, 2.0]));
    let j = jacobian(f, &[&x, &y]).unwrap();
    let (xs, ys) = (x.to_vec(), y.to_vec());
    close(&j[0][0].to_vec(), &[xs[0].cos() * ys[0], 0.0, 0.0, xs[1].cos() * ys[1]]);
    close(&j[0][1].to_vec(), &[xs[0].sin(), 0.0, 0.0, xs[1].sin()]);
    let e = ys[0].exp() + ys[1].exp();
    close(&j[1][0].to_vec(), &[e / 2.0, e / 2.0]);
    let m = (xs[0] + xs[1]) / 2.0;
    close(&j[1][1].to_vec(), &[m * ys[0].exp(), m * ys[1].exp()]);
    // shapes: the result's, then the input's
    let m = matrix(&[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    let j = jacobian(|x| x[0].matmul(&t(&[1.0, 0.5, 0.25])), &[&m]).unwrap();
    assert_eq!(j[0][0].shape(), [2, 2, 3]);
    close(&j[0][0].select(0, 1).to_vec(), &[0.0, 0.0, 0.0, 1.0, 0.5, 0.25]);
}

#[test]
fn products_are_those_of_the_jacobian() {
    let (x, y) = (t(&[0.5, -1.0]), t(&[0.25, 2.0]));
    let j = jacobian(f, &[&x, &y]).unwrap();
    let (u, w) = (t(&[1.5, -0.5]), Tensor::scalar(2.0));
    let (values, g) = vjp(f, &[&x, &y], &[&u, &w]).unwrap();
    close(&values[0].to_vec(), &(x.sin() * &y).to_vec());
    for (k, g) in g.iter().enumerate() {
        close(&g.to_vec(), &(u.matmul(&j[0][k]) + &w * &j[1][k]).to_vec());
    }
    let (dx, dy) = (t(&[1.0, 2.0]), t(&[-0.5, 0.25]));
    let (_, tangents) = jvp(f, &[&x, &y], &[&dx, &dy]).unwrap();
    close(&tangents[0].to_vec(), &(j[0][0].matmul(&dx) + j[0][1].matmul(&dy)).to_vec());
    close(&tangents[1].to_vec(), &(j[1][0].matmul(&dx) + j[1][1].matmul(&dy)).to_vec());
    // a scalar needs no vector
    let (_, g) = vjp(energy, &[&x, &y], &[]).unwrap();
    let (_, same) = vjp(energy, &[&x, &y], &[&Tensor::scalar(1.0)]).unwrap();
    assert_eq!((g[0].to_vec(), g[1].to_vec()), (same[0].to_vec(), same[1].to_vec()));
}

#[test]
fn hessians_are_blocks_and_symmetric() {
    let (x, y) = (t(&[0.5, -1.0]), t(&[0.25, 2.0]));
    let h = hessian(energy, &[&x, &y]).unwrap();
    let (xs, ys) = (x.to_vec(), y.to_vec());
    let diagonal = |d: [f64; 2]| [d[0], 0.0, 0.0, d[1]];
    let of = |f: &dyn Fn(f64, f64) -> f64| diagonal([f(xs[0], ys[0]), f(xs[1], ys[1])]);
    close(&h[0][0].to_vec(), &of(&|x, y| 6.0 * x * y.exp() + 2.0));
    close(&h[0][1].to_vec(), &of(&|x, y| 3.0 * x * x * y.exp()));
    close(&h[1][0].to_vec(), &of(&|x, y| 3.0 * x * x * y.exp()));
    close(&h[1][1].to_vec(), &of(&|x, y| x.powi(3) * y.exp()));
    let (dx, dy) = (t(&[1.0, 2.0]), t(&[-0.5, 0.25]));
    for product in [vhp, hvp] {
        let (value, p) = product(energy, &[&x, &y], &[&dx, &dy]).unwrap();
        close(&value.to_vec(), &energy(&[x.clone(), y.clone()]).to_vec());
        close(&p[0].to_vec(), &(h[0][0].matmul(&dx) + h[0][1].matmul(&dy)).to_vec());
        close(&p[1].to_vec(), &(h[1][0].matmul(&dx) + h[1][1].matmul(&dy)).to_vec());
    }
}

#[test]
fn what_plays_no_part_is_zeros_and_nothing_of_the_callers_changes() {
    let (x, unused) = (tracked(&[1.0, 2.0]), tracked(&[3.0]));
    x.square().sum().backward().unwrap();
    let linear = |x: &[Tensor<f64>]| (&x[0] * 3.0).sum();
    assert_eq!(hessian(linear, &[&x, &unused]).unwrap()[0][1].to_vec(), [0.0, 0.0]);
    let constant = |x: &[Tensor<f64>]| x[0].detach() * 2.0;
    assert_eq!(jacobian(constant, &[&x]).unwrap()[0][0].to_vec(), [0.0; 4]);
    assert_eq!(jvp(constant, &[&x], &[&x]).unwrap().1[0].to_vec(), [0.0; 2]);
    let (y, g) = vjp(|x| x[0].exp(), &[&x], &[&t(&[1.0, 1.0])]).unwrap();
    assert!(!y[0].requires_grad() && !g[0].requires_grad());
    assert_eq!(gradient(&x), [2.0, 4.0]);
    assert!(unused.grad().is_none() && x.requires_grad());
    // also where nothing is recorded
    let j = autograd::no_grad(|| jacobian(|x| x[0].square(), &[&x])).unwrap();
    assert_eq!(j[0][0].to_vec(), [2.0, 0.0, 0.0, 4.0]);
}

#[test]
fn wrong_vectors_and_functions_are_errors() {
    let x = t(&[1.0, 2.0]);
    fails(vjp(|x| x[0].exp(), &[&x], &[&t(&[1.0])]), &["vjp: expected vectors of shapes [[2]], found [[1]]"]);
    fails(vjp(|x| x[0].exp(), &[&x], &[]), &["vjp"]);
    fails(jvp(|x| x[0].exp(), &[&x], &[&x, &x]), &["jvp: expected vectors of shapes [[2]]"]);
    fails(hessian(|x| x[0].exp(), &[&x]), &["hessian: expected a function with one result of one element"]);
    fails(vhp(f, &[&x, &x], &[&x, &x]), &["vhp: expected a function with one result"]);
    fails(jacobian(|x| x[0].matmul(&Tensor::<f64>::ones([3, 3])), &[&x]), &["matmul"]);
    fails(jacobian(|x: &[Tensor<f64>]| x[0].exp(), &[]), &["expected at least one input"]);
}
