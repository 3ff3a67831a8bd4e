//! What the text of a function tells of the dynamic engine, under `deny(dynamic)`.
#![allow(unused)]
use autograd::prelude::*;

#[differentiable(deny(dynamic))]
fn early(x: f64, y: Option<f64>) -> Option<f64> {
    let y = y?;
    if x > 0.0 {
        let z = Some(y)?;
        return Some(z * x);
    }
    Some(y)
}

#[differentiable(deny(dynamic))]
fn grows(x: f64) -> f64 {
    let mut v = Vec::new();
    let mut y = x;
    while y < 10.0 {
        v.push(y);
        y *= 2.0;
    }
    v.iter().sum::<f64>()
}

#[differentiable(deny(dynamic))]
fn leaves(x: &Tensor<f64>) -> Tensor<f64> {
    let mut y = x.clone();
    for _ in 0..100 {
        if y.norm() > 10.0 {
            return y;
        }
        y = y * 2.0;
    }
    x.clone()
}

#[differentiable(deny)]
fn what(x: f64) -> f64 {
    x
}

#[differentiable(deny(static))]
fn other(x: f64) -> f64 {
    x
}

fn main() {}
