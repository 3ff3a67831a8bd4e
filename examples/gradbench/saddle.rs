//! The saddle point of f(x, y) = (x₁² + x₂²) − (y₁² + y₂²): the x at which the largest value over y is least, found by
//! gradient descent through a function that itself finds the largest value by gradient descent, each in forward (f) or
//! reverse (r) mode.

use crate::{Run, descent::argmin, input::Input, unknown};
use anyhow::{Result, anyhow};
use autograd::prelude::*;
use serde_json::Value;

#[differentiable]
fn height(x1: f64, x2: f64, y1: f64, y2: f64) -> f64 {
    (x1 * x1 + x2 * x2) - (y1 * y1 + y2 * y2)
}

/// The derivatives in y.
#[differentiable]
fn slope_forward(x1: f64, x2: f64, y1: f64, y2: f64) -> (f64, f64) {
    let (_, first) = height::jvp(x1, x2, y1, y2, 0.0, 0.0, 1.0, 0.0).unwrap();
    let (_, second) = height::jvp(x1, x2, y1, y2, 0.0, 0.0, 0.0, 1.0).unwrap();
    (first, second)
}

#[differentiable]
fn slope_reverse(x1: f64, x2: f64, y1: f64, y2: f64) -> (f64, f64) {
    let (_, _, first, second) = height::grad(x1, x2, y1, y2).unwrap();
    (first, second)
}

/// The largest value over y, from a starting point: the descent of [`argmin`] on −f.
macro_rules! highest {
    ($name:ident, $slope:ident) => {
        #[differentiable(wrt(x1, x2))]
        fn $name(x1: f64, x2: f64, s1: f64, s2: f64) -> f64 {
            let (mut y1, mut y2) = (s1, s2);
            let mut most = height(x1, x2, y1, y2);
            let (mut g1, mut g2) = $slope(x1, x2, y1, y2);
            let mut rate = 1e-5;
            let mut ups = 0;
            loop {
                if (g1 * g1 + g2 * g2).sqrt() <= 1e-5 {
                    break;
                }
                if ups == 10 {
                    rate *= 2.0;
                    ups = 0;
                } else {
                    let (n1, n2) = (y1 + rate * g1, y2 + rate * g2);
                    if ((y1 - n1) * (y1 - n1) + (y2 - n2) * (y2 - n2)).sqrt() <= 1e-5 {
                        break;
                    }
                    let now = height(x1, x2, n1, n2);
                    if now > most {
                        y1 = n1;
                        y2 = n2;
                        most = now;
                        (g1, g2) = $slope(x1, x2, y1, y2);
                        ups += 1;
                    } else {
                        rate /= 2.0;
                        ups = 0;
                    }
                }
            }
            most
        }
    };
}
highest!(highest_forward, slope_forward);
highest!(highest_reverse, slope_reverse);

pub fn evaluate(function: &str, input: &Input) -> Result<Run> {
    let start: [f64; 2] =
        input.floats("start")?.try_into().map_err(|_| anyhow!("expected two numbers as \"start\""))?;
    let [s1, s2] = start;
    let forward = |[x1, x2]: [f64; 2]| Ok(highest_forward::value(x1, x2, s1, s2)?);
    let reverse = |[x1, x2]: [f64; 2]| Ok(highest_reverse::value(x1, x2, s1, s2)?);
    let search = || {
        let [x1, x2] = match function {
            "ff" => argmin(start, forward, |[x1, x2]| {
                let first = highest_forward::jvp(x1, x2, s1, s2, 1.0, 0.0)?.1;
                Ok([first, highest_forward::jvp(x1, x2, s1, s2, 0.0, 1.0)?.1])
            }),
            "rf" => argmin(start, forward, |[x1, x2]| Ok(highest_forward::grad(x1, x2, s1, s2)?.into())),
            "fr" => argmin(start, reverse, |[x1, x2]| {
                let first = highest_reverse::jvp(x1, x2, s1, s2, 1.0, 0.0)?.1;
                Ok([first, highest_reverse::jvp(x1, x2, s1, s2, 0.0, 1.0)?.1])
            }),
            _ => argmin(start, reverse, |[x1, x2]| Ok(highest_reverse::grad(x1, x2, s1, s2)?.into())),
        }?;
        let down = |[y1, y2]: [f64; 2]| Ok(-height(x1, x2, y1, y2));
        let [y1, y2] = match function {
            "ff" | "rf" => argmin(start, down, |[y1, y2]| {
                let (first, second) = slope_forward::value(x1, x2, y1, y2)?;
                Ok([-first, -second])
            }),
            _ => argmin(start, down, |[y1, y2]| {
                let (first, second) = slope_reverse::value(x1, x2, y1, y2)?;
                Ok([-first, -second])
            }),
        }?;
        Ok(vec![x1, x2, y1, y2])
    };
    match function {
        "ff" | "fr" | "rf" | "rr" => input.run(search, Value::from),
        _ => unknown(function),
    }
}
