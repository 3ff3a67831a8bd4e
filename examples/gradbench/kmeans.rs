//! The sum of the squared distances of points to the nearest of k centroids, and Newton's direction for it. A centroid's
//! coordinates do not meet in the cost, so that the Hessian is diagonal and its product with ones is that diagonal.

use crate::{Run, input::Input, input::rows, unknown};
use anyhow::{Result, ensure};
use autograd::prelude::*;
use serde_json::Value;

#[differentiable(wrt(centroids))]
fn cost(points: &[f64], centroids: &[f64], d: usize) -> f64 {
    let (n, k) = (points.len() / d, centroids.len() / d);
    let mut sum = 0.0;
    for i in 0..n {
        let mut nearest = f64::INFINITY;
        for c in 0..k {
            let mut distance = 0.0;
            for j in 0..d {
                let r = points[i * d + j] - centroids[c * d + j];
                distance += r * r;
            }
            if distance < nearest {
                nearest = distance;
            }
        }
        sum += nearest;
    }
    sum
}

pub fn evaluate(function: &str, input: &Input) -> Result<Run> {
    let (points, [_, d]) = input.matrix("points")?;
    let (centroids, [_, columns]) = input.matrix("centroids")?;
    ensure!(d > 0 && columns == d, "expected points and centroids of one dimension, found {d} and {columns}");
    let ones = vec![1.0; centroids.len()];
    match function {
        "cost" => input.run(|| Ok(cost(&points, &centroids, d)), Value::from),
        "dir" => input.run(
            || {
                let (gradient, diagonal) = cost::grad_and_hvp(&points, &centroids, d, &ones)?;
                Ok(gradient.iter().zip(diagonal).map(|(g, h)| g / h).collect::<Vec<f64>>())
            },
            |direction| rows(&direction, d),
        ),
        _ => unknown(function),
    }
}
