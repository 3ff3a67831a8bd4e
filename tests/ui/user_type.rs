//! A type that does not take part names the two ways out.
#![allow(unused)]
use autograd::prelude::*;

struct Config {
    rate: f64,
}

#[differentiable]
fn loss(x: f64, config: &Config) -> f64 {
    x
}

fn main() {}
