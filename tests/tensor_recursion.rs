//! Functions over tensors that call themselves: compiled as functions, in all derivatives, against the dynamic engine and
//! differences.

mod common;

use autograd::prelude::*;
use common::Flat;

fn wave(shape: &[usize]) -> Tensor<f64> {
    let n: usize = shape.iter().product();
    Tensor::from_vec((0..n).map(|i| (i as f64 * 0.7 + 0.3).sin()).collect(), shape)
}

/// The norm by halves.
#[differentiable]
fn halved(x: &Tensor<f64>) -> Tensor<f64> {
    if x.norm() < 1.0 { (x * x).sum() } else { halved(&(x * 0.5)) * 2.0 + x.sum() }
}

/// A result of the type of the argument.
#[differentiable]
fn settled(x: &Tensor<f64>, y: &Tensor<f64>) -> Tensor<f64> {
    if (x * x).sum() < 0.5 {
        return x * y;
    }
    let inner = settled(&(x.sin() * 0.8), &(y + x));
    inner.exp() * 0.1 + x
}
#[differentiable]
fn of_settled(x: &Tensor<f64>, y: &Tensor<f64>) -> Tensor<f64> {
    (settled(x, y) * y).sum()
}

/// A power of a matrix by repeated squaring.
#[differentiable]
fn power(a: &Tensor<f64>, n: usize) -> Tensor<f64> {
    if n == 1 {
        return a.clone();
    }
    let half = power(a, n / 2);
    let square = half.matmul(&half);
    if n % 2 == 0 { square } else { square.matmul(a) }
}
#[differentiable]
fn trace_of_power(a: &Tensor<f64>, n: usize) -> Tensor<f64> {
    (power(a, n) * a).sum()
}

/// Two calls each, a number beside a tensor.
#[differentiable]
fn fibonacci(x: &Tensor<f64>, s: f64, n: u32) -> Tensor<f64> {
    if n < 2 {
        x * s
    } else {
        let left = fibonacci(x, s * 0.9, n - 1);
        let right = fibonacci(&(x + &left), s, n - 2);
        left.tanh() + right * s
    }
}
#[differentiable]
fn of_fibonacci(x: &Tensor<f64>, s: f64, n: u32) -> f64 {
    fibonacci(x, s, n).sum().item()
}

macro_rules! agrees {
    ($f:ident($($arg:expr),*)) => {{
        let compiled = with_engine(Engine::Compiled, || $f::value_and_grad($($arg),*)).unwrap();
        let dynamic = with_engine(Engine::Dynamic, || $f::value_and_grad($($arg),*)).unwrap();
        alike(&compiled.0.flat(), &dynamic.0.flat());
        alike(&compiled.1.flat(), &dynamic.1.flat());
        let report = $f::check($($arg),*).unwrap();
        assert!(report.passed(), "{report}");
        let said = $f::explain($($arg),*).unwrap();
        assert!(said.reason.is_none() && said.per_length.is_none(), "{said}");
    }};
}
#[track_caller]
fn alike(a: &[f64], b: &[f64]) {
    let near = a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-10 * b.abs().max(1.0));
    assert!(near, "{a:?} {b:?}");
}

#[test]
fn data_end_it() {
    for k in [0.1, 1.0, 30.0] {
        agrees!(halved(&(wave(&[5]) * k)));
        agrees!(of_settled(&(wave(&[2, 3]) * k), &wave(&[2, 3])));
    }
}
#[test]
fn integers_end_it() {
    for n in [1, 2, 7, 12] {
        agrees!(trace_of_power(&wave(&[3, 3]), n));
    }
    for n in [0, 1, 2, 5] {
        agrees!(of_fibonacci(&wave(&[4]), 0.7, n));
    }
}
