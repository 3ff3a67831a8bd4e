//! Loops and branches that depend on data: compiled, equal to the dynamic engine and to finite differences, of every
//! order.

use autograd::{Engine, Tensor, prelude::*, with_engine};

#[differentiable]
fn doubling(a: &Tensor<f64>) -> Tensor<f64> {
    let mut b = a * 2.0;
    while b.norm() < 1000.0 {
        b = b * 2.0;
    }
    if b.sum() > 0.0 { b } else { b * 100.0 }
}

#[differentiable]
fn newton_sqrt(x: f64) -> f64 {
    let mut y = x;
    while (y * y - x).abs() > 1e-12 {
        y = 0.5 * (y + x / y);
    }
    y
}

fn compiled<R>(f: impl FnOnce() -> autograd::Result<R>) -> R {
    with_engine(Engine::Compiled, f).unwrap()
}
fn dynamic<R>(f: impl FnOnce() -> autograd::Result<R>) -> R {
    with_engine(Engine::Dynamic, f).unwrap()
}

#[test]
fn a_loop_over_a_tensor_and_a_branch() {
    for sign in [1.0, -1.0] {
        let a = Tensor::<f64>::from_vec(vec![0.5 * sign, -1.25, 3.0 * sign], [3]);
        let (y, pull) = compiled(|| doubling::vjp(&a));
        let (want, _) = dynamic(|| doubling::vjp(&a));
        assert_eq!(y.to_vec(), want.to_vec());
        let v = Tensor::<f64>::from_vec(vec![0.1, 1.0, 0.0001], [3]);
        let g = compiled(|| pull(&v));
        let scale = y.to_vec()[0] / a.to_vec()[0];
        let expected: Vec<f64> = v.to_vec().iter().map(|v| v * scale).collect();
        assert_eq!(g.to_vec(), expected);
        let (y2, t) = compiled(|| doubling::jvp(&a, &v));
        assert_eq!(y2.to_vec(), y.to_vec());
        assert_eq!(t.to_vec(), expected);
        compiled(|| doubling::value(&a));
    }
}

#[test]
fn a_loop_over_scalars() {
    for x in [0.3, 2.0, 1e4] {
        let (y, g) = compiled(|| newton_sqrt::value_and_grad(x));
        assert!((y - x.sqrt()).abs() < 1e-11);
        assert!((g - 0.5 / x.sqrt()).abs() < 1e-6 * g, "{g}");
        assert_eq!(compiled(|| newton_sqrt::grad(x)), g);
        let (yd, gd) = dynamic(|| newton_sqrt::value_and_grad(x));
        assert_eq!((y, g), (yd, gd));
        let (_, t) = compiled(|| newton_sqrt::jvp(x, 1.0));
        assert!((t - g).abs() <= 1e-12 * g);
        let h = compiled(|| newton_sqrt::hvp(x, 1.0));
        let hd = dynamic(|| newton_sqrt::hvp(x, 1.0));
        assert!((h - hd).abs() <= 1e-9 * hd.abs(), "{h} {hd}");
    }
}
