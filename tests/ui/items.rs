//! The attribute on something that is not a free function.
#![allow(unused)]
use autograd::prelude::*;

struct Model {
    w: f64,
}

#[differentiable]
impl Model {
    fn step(&mut self, x: f64) -> f64 {
        self.w += x;
        self.w
    }
}

struct Wrap<T>(T);

#[differentiable]
impl<T> Wrap<T> {
    fn loss(&self, x: f64) -> f64 {
        x
    }
}

trait Loss {
    fn loss(&self, x: f64) -> f64;
}

#[differentiable]
impl Loss for Model {
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
