//! The determinant of an n × n matrix by expansion in minors: a walk over all choices of a column for each row, n! of them,
//! with the columns that are taken as a set of bits, and the next column to try of each row as four bits of a number.

use crate::{Run, input::Input, unknown};
use anyhow::{Result, ensure};
use autograd::prelude::*;
use serde_json::Value;

#[differentiable]
fn determinant(a: &[f64], n: u64) -> f64 {
    // of each row: the sum over the columns tried so far, and the sign of the next one
    let mut minor = vec![0.0; n as usize + 1];
    let mut sign = vec![1.0; n as usize + 1];
    let mut row = 0u64;
    let mut taken = 0u64;
    let mut next = 0u64;
    loop {
        let column = (next >> (4 * row)) & 15;
        if row == n || column == n {
            // this minor is done: its value goes into the row above
            let value = if row == n { 1.0 } else { minor[row as usize] };
            if row == 0 {
                break;
            }
            next &= !(15 << (4 * row));
            row -= 1;
            let column = (next >> (4 * row)) & 15;
            minor[row as usize] += sign[row as usize] * a[(row * n + column) as usize] * value;
            sign[row as usize] = -sign[row as usize];
            taken &= !(1 << column);
            next += 1 << (4 * row);
        } else if (taken >> column) & 1 == 1 {
            next += 1 << (4 * row);
        } else {
            taken |= 1 << column;
            row += 1;
            minor[row as usize] = 0.0;
            sign[row as usize] = 1.0;
        }
    }
    minor[0]
}

pub fn evaluate(function: &str, input: &Input) -> Result<Run> {
    let (a, n) = (input.floats("A")?, input.integer("ell")?);
    ensure!(a.len() == n * n && (1..15).contains(&n), "expected a square matrix of at most 14 rows");
    let n = n as u64;
    match function {
        "primal" => input.run(|| Ok(determinant(&a, n)), Value::from),
        "gradient" => input.run(|| Ok(determinant::grad(&a, n)?), Value::from),
        _ => unknown(function),
    }
}
