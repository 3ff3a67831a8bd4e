//! The square of a number.

use crate::{Run, input::Input, unknown};
use anyhow::{Context, Result};
use autograd::prelude::*;
use serde_json::Value;

#[differentiable]
fn square(x: f64) -> f64 {
    x * x
}

pub fn evaluate(function: &str, input: &Input) -> Result<Run> {
    let x = input.0.as_f64().context("expected a number as input")?;
    match function {
        "square" => input.run(|| Ok(square(x)), Value::from),
        "double" => input.run(|| Ok(square::grad(x)?), Value::from),
        _ => unknown(function),
    }
}
