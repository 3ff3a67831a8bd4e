//! The logarithm of the posterior of a mixture of k Gaussians in d dimensions with a Wishart prior. The inverse of a
//! component's covariance is QᵀQ, Q lower triangular with exp(q) on the diagonal and `l` below it, column by column.

use crate::{Run, input::Input, input::rows, lse::logsumexp, unknown};
use anyhow::Result;
use autograd::prelude::*;
use serde_json::{Value, json};
use std::f64::consts::{LN_2, PI};

#[differentiable(wrt(alpha, mu, q, l))]
fn log_posterior(alpha: &[f64], mu: &[f64], q: &[f64], l: &[f64], x: &[f64], gamma: f64, m: f64) -> f64 {
    let k = alpha.len();
    let d = mu.len() / k;
    let n = x.len() / d;
    let below = d * (d - 1) / 2;
    let mut diagonal = vec![0.0; k * d];
    for i in 0..k * d {
        diagonal[i] = q[i].exp();
    }
    let mut sums = vec![0.0; k];
    for c in 0..k {
        for j in 0..d {
            sums[c] += q[c * d + j];
        }
    }
    let mut centered = vec![0.0; d];
    let mut product = vec![0.0; d];
    let mut terms = vec![0.0; k];
    let mut total = 0.0;
    for i in 0..n {
        for c in 0..k {
            for j in 0..d {
                centered[j] = x[i * d + j] - mu[c * d + j];
            }
            for j in 0..d {
                product[j] = diagonal[c * d + j] * centered[j];
            }
            let mut at = c * below;
            for column in 0..d {
                for row in column + 1..d {
                    product[row] += l[at] * centered[column];
                    at += 1;
                }
            }
            let mut square = 0.0;
            for j in 0..d {
                square += product[j] * product[j];
            }
            terms[c] = alpha[c] + sums[c] - 0.5 * square;
        }
        total += logsumexp(&terms);
    }
    let mut prior = 0.0;
    for i in 0..k * d {
        prior += 0.5 * gamma * gamma * diagonal[i] * diagonal[i] - m * q[i];
    }
    for i in 0..k * below {
        prior += 0.5 * gamma * gamma * l[i] * l[i];
    }
    total - n as f64 * (0.5 * d as f64 * (2.0 * PI).ln() + logsumexp(alpha)) - prior
}

/// The logarithm of the gamma function of half an integer, 2x = `twice`, by Γ(x) = (x − 1) Γ(x − 1).
fn ln_gamma_half(twice: usize) -> f64 {
    let start = if twice.is_multiple_of(2) { 0.0 } else { 0.5 * PI.ln() };
    (1..).map(|i| twice as f64 / 2.0 - f64::from(i)).take_while(|&x| x > 0.0).map(f64::ln).sum::<f64>() + start
}

/// What the prior adds that no parameter changes.
fn constant(k: usize, d: usize, m: usize, gamma: f64) -> f64 {
    let n = d + m + 1;
    let multivariate: f64 = (0..d).map(|j| ln_gamma_half(n - j)).sum();
    let ln_gamma = 0.25 * (d * (d - 1)) as f64 * PI.ln() + multivariate;
    k as f64 * ((n * d) as f64 * (gamma.ln() - 0.5 * LN_2) - ln_gamma)
}

pub fn evaluate(function: &str, input: &Input) -> Result<Run> {
    let [alpha, mu, q, l, x] = ["alpha", "mu", "q", "l", "x"].map(|key| input.floats(key));
    let (alpha, mu, q, l, x) = (alpha?, mu?, q?, l?, x?);
    let (gamma, m) = (input.float("gamma")?, input.integer("m")?);
    let (k, d) = (input.integer("k")?, input.integer("d")?);
    let (degrees, below) = (m as f64, d * (d - 1) / 2);
    match function {
        "objective" => input
            .run(|| Ok(log_posterior(&alpha, &mu, &q, &l, &x, gamma, degrees) + constant(k, d, m, gamma)), Value::from),
        "jacobian" => input.run(
            || Ok(log_posterior::grad(&alpha, &mu, &q, &l, &x, gamma, degrees)?),
            |(alpha, mu, q, l)| json!({ "alpha": alpha, "mu": rows(&mu, d), "q": rows(&q, d), "l": rows(&l, below) }),
        ),
        _ => unknown(function),
    }
}
