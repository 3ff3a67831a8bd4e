//! What `Differentiable` cannot be derived for.
#![allow(unused)]
use autograd::prelude::*;

#[derive(Differentiable)]
enum Shape {
    Circle(f64),
}

#[derive(Differentiable)]
union Bits {
    x: f64,
}

#[derive(Differentiable)]
struct View<'a> {
    x: &'a [f64],
    f: fn(f64) -> f64,
}

#[derive(Differentiable)]
struct Counts {
    n: usize,
    #[constant]
    x: f64,
}

fn main() {}
