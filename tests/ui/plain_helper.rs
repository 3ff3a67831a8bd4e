//! A plain function over floats says that it wants the annotation.
#![allow(unused)]
use autograd::prelude::*;

fn helper(x: f64) -> f64 {
    x * x
}

mod m {
    pub fn scale(x: f64, n: usize) -> f64 {
        x * n as f64
    }
}

fn norm(v: &[f64]) -> f64 {
    v[0]
}

#[differentiable]
fn loss(x: f64, v: &[f64]) -> f64 {
    helper(x) + m::scale(2.0 * x, 3) + norm(v)
}

fn main() {}
