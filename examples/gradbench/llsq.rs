//! Least squares: how far a polynomial with the coefficients `x` is from the sign function at `n` points of [-1, 1].

use crate::{Run, input::Input, unknown};
use anyhow::Result;
use autograd::prelude::*;
use serde_json::Value;

#[differentiable]
fn distance(x: &[f64], n: usize) -> f64 {
    let mut sum = 0.0;
    for i in 0..n {
        let t = -1.0 + i as f64 * 2.0 / (n as f64 - 1.0);
        let mut rest = if t > 0.0 {
            1.0
        } else if t < 0.0 {
            -1.0
        } else {
            0.0
        };
        let mut power = 1.0;
        for j in 0..x.len() {
            rest -= x[j] * power;
            power *= t;
        }
        sum += rest * rest;
    }
    sum / 2.0
}

pub fn evaluate(function: &str, input: &Input) -> Result<Run> {
    let (x, n) = (input.floats("x")?, input.integer("n")?);
    match function {
        "primal" => input.run(|| Ok(distance(&x, n)), Value::from),
        "gradient" => input.run(|| Ok(distance::grad(&x, n)?), Value::from),
        _ => unknown(function),
    }
}
