//! y₀' = x₀, yᵢ' = xᵢ yᵢ₋₁ from y(0) = 0 to t = 2, in `steps` steps of the classical Runge-Kutta method. Differentiated is the
//! last element of y(2).

use crate::{Run, input::Input, unknown};
use anyhow::{Result, ensure};
use autograd::prelude::*;
use serde_json::Value;

#[differentiable]
fn solve(x: &[f64], steps: usize) -> Vec<f64> {
    let n = x.len();
    let h = 2.0 / steps as f64;
    let mut y = vec![0.0; n];
    let mut k1 = vec![0.0; n];
    let mut k2 = vec![0.0; n];
    let mut k3 = vec![0.0; n];
    let mut k4 = vec![0.0; n];
    for _ in 0..steps {
        k1[0] = x[0];
        k2[0] = x[0];
        k3[0] = x[0];
        k4[0] = x[0];
        for i in 1..n {
            k1[i] = x[i] * y[i - 1];
        }
        for i in 1..n {
            k2[i] = x[i] * (y[i - 1] + 0.5 * h * k1[i - 1]);
        }
        for i in 1..n {
            k3[i] = x[i] * (y[i - 1] + 0.5 * h * k2[i - 1]);
        }
        for i in 1..n {
            k4[i] = x[i] * (y[i - 1] + h * k3[i - 1]);
        }
        for i in 0..n {
            y[i] += h * (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i]) / 6.0;
        }
    }
    y
}

#[differentiable]
fn last(x: &[f64], steps: usize) -> f64 {
    let y: Vec<f64> = solve(x, steps);
    y[y.len() - 1]
}

pub fn evaluate(function: &str, input: &Input) -> Result<Run> {
    let (x, steps) = (input.floats("x")?, input.integer("s")?);
    ensure!(!x.is_empty(), "expected at least one number in x");
    match function {
        "primal" => input.run(|| Ok(solve(&x, steps)), Value::from),
        "gradient" => input.run(|| Ok(last::grad(&x, steps)?), Value::from),
        _ => unknown(function),
    }
}
