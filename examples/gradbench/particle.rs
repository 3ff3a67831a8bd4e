//! A charged particle between two charges, one of which stands at a place that `w` sets, moves by Euler steps until it
//! crosses the x axis; `w` is to make it do so at the origin. The force is the derivative of a potential, and `w` is found
//! by gradient descent: a derivative inside a derivative, each in forward (f) or reverse (r) mode.

use crate::{Run, descent::argmin, input::Input, unknown};
use anyhow::Result;
use autograd::prelude::*;
use serde_json::Value;

#[differentiable(wrt(x, y))]
fn potential(x: f64, y: f64, w: f64) -> f64 {
    let (dx, dy, ey) = (x - 10.0, y - (10.0 - w), y);
    1.0 / (dx * dx + dy * dy).sqrt() + 1.0 / (dx * dx + ey * ey).sqrt()
}

#[differentiable]
fn slope_forward(x: f64, y: f64, w: f64) -> (f64, f64) {
    let (_, along_x) = potential::jvp(x, y, w, 1.0, 0.0).unwrap();
    let (_, along_y) = potential::jvp(x, y, w, 0.0, 1.0).unwrap();
    (along_x, along_y)
}

#[differentiable]
fn slope_reverse(x: f64, y: f64, w: f64) -> (f64, f64) {
    potential::grad(x, y, w).unwrap()
}

/// The square of where the particle crosses the axis.
macro_rules! crossing {
    ($name:ident, $slope:ident) => {
        #[differentiable]
        fn $name(w: f64) -> f64 {
            let (mut x, mut y) = (0.0, 8.0);
            let (mut vx, mut vy) = (0.75, 0.0);
            loop {
                let (fx, fy) = $slope(x, y, w);
                x += 0.1 * vx;
                y += 0.1 * vy;
                if y <= 0.0 {
                    break;
                }
                vx -= 0.1 * fx;
                vy -= 0.1 * fy;
            }
            let at = x + -y / vy * vx;
            at * at
        }
    };
}
crossing!(crossing_forward, slope_forward);
crossing!(crossing_reverse, slope_reverse);

pub fn evaluate(function: &str, input: &Input) -> Result<Run> {
    let w = input.float("w")?;
    let (forward, reverse) =
        (|[w]: [f64; 1]| Ok(crossing_forward::value(w)?), |[w]: [f64; 1]| Ok(crossing_reverse::value(w)?));
    let search = || {
        let [w] = match function {
            "ff" => argmin([w], forward, |[w]| Ok([crossing_forward::jvp(w, 1.0)?.1])),
            "rf" => argmin([w], forward, |[w]| Ok([crossing_forward::grad(w)?])),
            "fr" => argmin([w], reverse, |[w]| Ok([crossing_reverse::jvp(w, 1.0)?.1])),
            _ => argmin([w], reverse, |[w]| Ok([crossing_reverse::grad(w)?])),
        }?;
        Ok(w)
    };
    match function {
        "ff" | "fr" | "rf" | "rr" => input.run(search, Value::from),
        _ => unknown(function),
    }
}
