//! The determinant of an n × n matrix by expansion in minors, n! of them: a function that calls itself for each column that
//! the rows above have left, which is a set of bits.

use crate::{Run, input::Input, unknown};
use anyhow::{Result, ensure};
use autograd::prelude::*;
use serde_json::Value;

#[differentiable]
fn minor(a: &[f64], n: usize, row: usize, columns: u64) -> f64 {
    if row == n {
        return 1.0;
    }
    let mut sum = 0.0;
    let mut sign = 1.0;
    let mut left = columns;
    while left != 0 {
        let column = left.trailing_zeros() as usize;
        sum += sign * a[row * n + column] * minor(a, n, row + 1, columns ^ (1 << column));
        sign = -sign;
        left &= left - 1;
    }
    sum
}

#[differentiable]
fn determinant(a: &[f64], n: usize) -> f64 {
    minor(a, n, 0, (1 << n) - 1)
}

pub fn evaluate(function: &str, input: &Input) -> Result<Run> {
    let (a, n) = (input.floats("A")?, input.integer("ell")?);
    ensure!(a.len() == n * n && (1..15).contains(&n), "expected a square matrix of at most 14 rows");
    match function {
        "primal" => input.run(|| Ok(determinant(&a, n)), Value::from),
        "gradient" => input.run(|| Ok(determinant::grad(&a, n)?), Value::from),
        _ => unknown(function),
    }
}
