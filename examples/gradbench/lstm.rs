//! A recurrent network whose matrices are diagonal predicts each vector of a sequence from the ones before it.

use crate::{Run, input::Input, unknown};
use anyhow::{Result, ensure};
use autograd::prelude::*;
use serde_json::Value;

#[differentiable]
fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `main` has eight vectors of length `b` a layer, the weights of the forget, input, output and change gates and their
/// biases; `extra` the weights of the input and the output and a bias; `start` hidden values and cells of each layer.
#[differentiable(wrt(main, extra))]
fn loss(main: &[f64], extra: &[f64], start: &[f64], sequence: &[f64], b: usize) -> f64 {
    let layers = main.len() / (8 * b);
    let count = sequence.len() / b;
    let mut state = start.to_vec();
    let mut y = vec![0.0; b];
    let mut total = 0.0;
    for t in 0..count - 1 {
        for i in 0..b {
            y[i] = sequence[t * b + i] * extra[i];
        }
        for layer in 0..layers {
            let w = layer * 8 * b;
            let h = layer * 2 * b;
            for i in 0..b {
                let forget = sigmoid(y[i] * main[w + i] + main[w + 4 * b + i]);
                let ingate = sigmoid(state[h + i] * main[w + b + i] + main[w + 5 * b + i]);
                let outgate = sigmoid(y[i] * main[w + 2 * b + i] + main[w + 6 * b + i]);
                let change = (state[h + i] * main[w + 3 * b + i] + main[w + 7 * b + i]).tanh();
                let cell = state[h + b + i] * forget + ingate * change;
                state[h + b + i] = cell;
                state[h + i] = outgate * cell.tanh();
                y[i] = state[h + i];
            }
        }
        let mut sum = 2.0;
        for i in 0..b {
            y[i] = y[i] * extra[b + i] + extra[2 * b + i];
            sum += y[i].exp();
        }
        let normaliser = sum.ln();
        for i in 0..b {
            total += sequence[(t + 1) * b + i] * (y[i] - normaliser);
        }
    }
    -total / ((count - 1) * b) as f64
}

pub fn evaluate(function: &str, input: &Input) -> Result<Run> {
    let (main, [_, four]) = input.matrix("main_params")?;
    let [extra, state, sequence] = ["extra_params", "state", "sequence"].map(|key| input.floats(key));
    let (extra, state, sequence, b) = (extra?, state?, sequence?, four / 4);
    ensure!(b > 0 && extra.len() == 3 * b && 4 * state.len() == main.len(), "expected parameters of equal widths");
    ensure!(sequence.len() >= 2 * b, "expected a sequence of at least two vectors");
    match function {
        "objective" => input.run(|| Ok(loss(&main, &extra, &state, &sequence, b)), Value::from),
        "jacobian" => input.run(
            || Ok(loss::grad(&main, &extra, &state, &sequence, b)?),
            |(main, extra)| Value::from([main, extra].concat()),
        ),
        _ => unknown(function),
    }
}
