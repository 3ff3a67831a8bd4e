//! Mistakes in the attribute's options.
#![allow(unused)]
use autograd::prelude::*;

#[differentiable(wrt(x, z, n, x, c, t))]
fn names(x: f64, n: usize, #[constant] c: &u8, t: &Tensor<i64>) -> f64 {
    x
}

#[differentiable(speed = 3)]
fn unknown(x: f64) -> f64 {
    x
}

#[differentiable(wrt)]
fn bare(x: f64) -> f64 {
    x
}

#[differentiable(wrt())]
fn empty(x: f64) -> f64 {
    x
}

#[differentiable(wrt(x), wrt(y))]
fn twice(x: f64, y: f64) -> f64 {
    x * y
}

#[no_grad(please)]
fn noisy() {}

fn main() {}
