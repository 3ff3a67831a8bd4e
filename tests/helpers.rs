//! Helpers that are generic over `Real`, and functions that may not run on the dynamic engine.

use autograd::prelude::*;
use autograd::{Error, Real};

/// Horner's rule.
#[differentiable]
fn polynomial<T: Real>(coefficients: &[T], x: T) -> T {
    coefficients.iter().rev().fold(T::zero(), |y, &c| y * x + c)
}

#[differentiable]
fn softplus<T>(x: T) -> T
where
    T: Real,
{
    x.exp().ln_1p()
}

#[differentiable]
fn scaled<T: Real>(x: T, by: f64, n: usize, pair: [T; 2]) -> (T, T) {
    (x * T::from_f64(by) + pair[0], (0..n).fold(x, |y, _| y.sin()).mul_add(pair[1], T::one()))
}

#[differentiable]
fn relu<T: Real>(x: T) -> T {
    if x > T::zero() { x } else { T::zero() }
}

#[differentiable]
fn model(c: &[f64; 3], x: f64, n: usize) -> f64 {
    let (a, b) = scaled(x, 2.5, n, [x * x, c[0]]);
    polynomial(c, softplus(x)) * a + b
}
#[differentiable]
fn single(x: f32) -> f32 {
    softplus(x * 2.0)
}
#[differentiable]
fn kink(x: f64) -> f64 {
    relu(x) * 3.0
}

#[test]
fn derivatives_flow_through_helpers() {
    let c = [0.5, -1.0, 2.0];
    assert_eq!(polynomial(&c, 2.0), 6.5);
    assert_eq!(polynomial(&[1.0f32, 2.0], 3.0), 7.0);
    let (value, (dc, dx)) = with_engine(Engine::Compiled, || model::value_and_grad(&c, 0.3, 2)).unwrap();
    let (other, (ec, ex)) = with_engine(Engine::Dynamic, || model::value_and_grad(&c, 0.3, 2)).unwrap();
    assert!((value - model(&c, 0.3, 2)).abs() < 1e-14 && (value - other).abs() < 1e-14);
    assert!(dc.iter().zip(ec).all(|(a, b)| (a - b).abs() < 1e-14) && (dx - ex).abs() < 1e-14);
    let report = model::check(&c, 0.3, 2).unwrap();
    assert!(report.passed(), "{report}");
    let slope = with_engine(Engine::Compiled, || single::grad(0.25)).unwrap();
    assert!((slope - 2.0 / (1.0 + (-0.5f32).exp())).abs() < 1e-6);
}

#[test]
fn a_branch_in_a_helper_runs_on_the_dynamic_engine() {
    assert_eq!((kink::grad(2.0).unwrap(), kink::grad(-2.0).unwrap()), (3.0, 0.0));
    let error = with_engine(Engine::Compiled, || kink::grad(2.0)).unwrap_err();
    assert!(matches!(error, Error::NotCompilable { .. }), "{error}");
}

#[differentiable(deny(dynamic))]
fn denied(x: f64) -> f64 {
    relu(x) * 3.0
}
#[differentiable(deny(dynamic))]
fn allowed(x: f64) -> f64 {
    let mut y = x;
    while y < 100.0 {
        y *= 2.0;
    }
    y
}

#[test]
fn a_function_may_refuse_the_dynamic_engine() {
    let error = denied::grad(2.0).unwrap_err();
    assert!(matches!(error, Error::NotCompilable { .. }), "{error}");
    assert!(error.to_string().contains("helpers.rs"), "{error}");
    // asked for it runs there all the same
    assert_eq!(with_engine(Engine::Dynamic, || denied::grad(2.0)).unwrap(), 3.0);
    assert_eq!(allowed::grad(3.0).unwrap(), 64.0);
}
