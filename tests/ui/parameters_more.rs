//! More that a parameter may not be, several mistakes in one signature, and receivers.
#![allow(unused)]
use autograd::prelude::*;

#[differentiable]
fn mutable(x: &mut Tensor<f64>, n: &mut usize, #[constant] c: &mut u8) -> f64 {
    0.0
}

#[differentiable]
fn nested(a: (f64, &mut f64), b: [fn(); 2], c: &[*const f64], d: Vec<f64>, e: (!, _)) -> f64 {
    a.0
}

#[differentiable(wrt(y), fast)]
async fn everything<T>(x: &mut T, n: usize) {}

#[differentiable]
fn nothing() -> f64 {
    0.0
}

#[differentiable]
fn receiver(self: &f64) -> f64 {
    *self
}

#[differentiable]
fn results(x: f64) -> (f64, &'static f64, ()) {
    todo!()
}

#[differentiable]
fn bounded(x: f64) -> f64
where
    f64: Copy,
{
    x
}

#[no_grad]
async fn later() {}

#[no_grad]
const fn fixed() {}

#[no_grad]
struct Quiet;

fn main() {}
