//! Every unsupported parameter is reported, each at its place.
#![allow(unused)]
use autograd::prelude::*;

#[differentiable]
fn many(
    a: impl Fn(f64) -> f64,
    b: fn(f64) -> f64,
    c: &mut f64,
    d: *const f64,
    e: &dyn Fn(f64) -> f64,
    f: &mut [f64],
) -> f64 {
    a(b(*c))
}

#[differentiable]
fn none(n: usize, flag: bool, text: &str, t: &Tensor<i64>) -> f64 {
    n as f64
}

fn main() {}
