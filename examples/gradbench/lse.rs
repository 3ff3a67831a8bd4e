//! The logarithm of a sum of exponentials.

use crate::{Run, input::Input, unknown};
use anyhow::Result;
use autograd::prelude::*;
use serde_json::Value;

#[differentiable]
pub fn logsumexp(x: &[f64]) -> f64 {
    let mut largest = f64::NEG_INFINITY;
    for i in 0..x.len() {
        largest = largest.max(x[i]);
    }
    let mut sum = 0.0;
    for i in 0..x.len() {
        sum += (x[i] - largest).exp();
    }
    sum.ln() + largest
}

pub fn evaluate(function: &str, input: &Input) -> Result<Run> {
    let x = input.floats("x")?;
    match function {
        "primal" => input.run(|| Ok(logsumexp(&x)), Value::from),
        "gradient" => input.run(|| Ok(logsumexp::grad(&x)?), Value::from),
        _ => unknown(function),
    }
}
