//! The attribute on something that is not a free function.
#![allow(unused)]
use autograd::prelude::*;

struct Model {
    w: f64,
}

#[differentiable]
impl Model {
    fn loss(&self, x: f64) -> f64 {
        self.w * x
    }
}

impl Model {
    #[differentiable]
    fn method(&self, x: f64) -> f64 {
        self.w * x
    }
}

#[differentiable]
struct Data {
    x: f64,
}

#[differentiable]
trait Layer {}

fn main() {}
