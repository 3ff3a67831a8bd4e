//! What a differentiable function may not be.
#![allow(unused)]
use autograd::prelude::*;

#[differentiable]
fn generic<T: Clone, const N: usize>(x: [f64; N], t: T) -> f64 {
    x[0]
}

#[differentiable]
async fn later(x: f64) -> f64 {
    x
}

#[differentiable]
unsafe fn risky(x: f64) -> f64 {
    x
}

#[differentiable]
extern "C" fn foreign(x: f64) -> f64 {
    x
}

#[differentiable]
const fn fixed(x: f64) -> f64 {
    x
}

#[differentiable]
fn silent(x: f64) {
    let _ = x;
}

#[differentiable]
fn borrowed(x: &[f64]) -> &f64 {
    &x[0]
}

#[differentiable]
fn hidden(x: f64) -> impl Sized {
    x
}

#[differentiable]
const fn two(x: f64, y: &mut f64) {}

fn main() {
    // The originals are still there: no further errors.
    let _ = generic([1.0], 2);
    let _ = borrowed(&[1.0]);
    silent(1.0);
}
