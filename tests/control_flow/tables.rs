//! Dynamic programming: tables that a function makes and fills.

use super::{agrees, joined};
use autograd::prelude::*;

#[differentiable]
fn softmin(a: f64, b: f64, c: f64) -> f64 {
    -((-a).exp() + (-b).exp() + (-c).exp()).ln()
}

/// A soft alignment of two sequences, with two rows of the table that are swapped.
#[differentiable]
fn aligned(x: &[f64], y: &[f64]) -> f64 {
    let (n, m) = (x.len(), y.len());
    let mut above = vec![0.0; m + 1];
    for j in 0..=m {
        above[j] = j as f64;
    }
    let mut row = vec![0.0; m + 1];
    for i in 0..n {
        row[0] = (i + 1) as f64;
        for j in 0..m {
            let cost = (x[i] - y[j]) * (x[i] - y[j]);
            row[j + 1] = softmin(above[j] + cost, above[j + 1] + 1.0, row[j] + 1.0);
        }
        std::mem::swap(&mut above, &mut row);
    }
    above[m]
}

/// The same with a flat table.
#[differentiable]
fn aligned_flat(x: &[f64], y: &[f64]) -> f64 {
    let width = y.len() + 1;
    let mut table = vec![0.0; (x.len() + 1) * width];
    for i in 0..=x.len() {
        table[i * width] += i as f64;
    }
    for j in 1..width {
        table[j] = j as f64;
    }
    for i in 1..x.len() + 1 {
        for j in 1..width {
            let k = i * width + j;
            let miss = x[i - 1] - y[j - 1];
            table[k] = softmin(table[k - width - 1] + miss * miss, table[k - width] + 1.0, table[k - 1] + 1.0);
        }
    }
    table[table.len() - 1]
}

#[test]
fn alignment() {
    for (n, m) in [(0, 2), (3, 2), (6, 9)] {
        let x: Vec<f64> = (0..n + m).map(|i| (i as f64 * 1.3).sin()).collect();
        let split = |(v, (a, b)): (f64, (Vec<f64>, Vec<f64>))| (v, joined(&[&a, &b]));
        agrees(&x, |x| aligned(&x[..n], &x[n..]), |x| aligned::value_and_grad(&x[..n], &x[n..]).map(split));
        agrees(&x, |x| aligned_flat(&x[..n], &x[n..]), |x| aligned_flat::value_and_grad(&x[..n], &x[n..]).map(split));
        assert!((aligned(&x[..n], &x[n..]) - aligned_flat(&x[..n], &x[n..])).abs() < 1e-12);
    }
}

/// Items are sorted in place, and weighted by their rank.
#[differentiable]
fn ranked(x: &[f64]) -> f64 {
    let mut v = x.to_vec();
    let n = v.len();
    for i in 0..n {
        let mut j = i;
        while j > 0 && v[j - 1] > v[j] {
            v.swap(j - 1, j);
            j -= 1;
        }
    }
    let mut sum = 0.0;
    for (i, v) in v.iter().enumerate() {
        sum += v * (i + 1) as f64;
    }
    sum
}

/// Prefix sums, from both ends.
#[differentiable]
fn prefixes(x: &[f64]) -> f64 {
    let n = x.len();
    let mut up = vec![0.0; n + 1];
    let mut down = vec![0.0; n + 1];
    for i in 0..n {
        up[i + 1] = up[i] + x[i];
        let k = n - 1 - i;
        down[k] = down[k + 1] * 0.5 + x[k];
    }
    let mut best = 0.0;
    for (u, d) in up.iter().zip(down.iter()) {
        best += u * d;
    }
    for (i, (&u, d)) in up.iter().zip(&down).enumerate().rev() {
        best -= 0.1 * u * d / (i + 1) as f64;
    }
    best
}

#[test]
fn sorted_and_summed() {
    for n in [0, 1, 4, 23] {
        let x: Vec<f64> = (0..n).map(|i| (i as f64 * 2.3 + 0.2).sin()).collect();
        agrees(&x, ranked, ranked::value_and_grad);
        agrees(&x, prefixes, prefixes::value_and_grad);
    }
}

/// A small matrix that is indexed by counters, in place.
#[differentiable]
fn power_of_a_matrix(m: [f64; 9], times: usize) -> f64 {
    let mut v = [1.0, 0.5, -0.5];
    for _ in 0..times {
        let mut w = [0.0; 3];
        for i in 0..3 {
            for j in 0..3 {
                w[i] += m[3 * i + j] * v[j];
            }
        }
        let norm = (w[0] * w[0] + w[1] * w[1] + w[2] * w[2]).sqrt();
        for i in 0..3 {
            v[i] = w[i] / norm;
        }
    }
    v[0] + 2.0 * v[1]
}

/// Helpers that are annotated get lists and integers as they are.
#[differentiable]
fn norm(v: &[f64], from: usize) -> f64 {
    let mut s = 0.0;
    for i in from..v.len() {
        s += v[i] * v[i];
    }
    s.sqrt()
}
#[differentiable]
fn of_parts(x: &[f64], at: usize) -> f64 {
    let mut y = x.to_vec();
    for i in 0..y.len() {
        y[i] *= 2.0;
    }
    norm(x, at) + norm(&y, 0) * norm(&x[at..], 0) + norm(&[x[0], 1.0], 1)
}

#[test]
fn helpers_and_arrays() {
    let m = [1.0, 0.2, 0.1, 0.3, 0.9, -0.2, 0.0, 0.4, 1.1];
    for times in [1, 5, 30] {
        let array = |x: &[f64]| <[f64; 9]>::try_from(x).unwrap();
        agrees(
            &m,
            |x| power_of_a_matrix(array(x), times),
            |x| power_of_a_matrix::value_and_grad(array(x), times).map(|(v, d)| (v, d.to_vec())),
        );
    }
    for n in [3, 20] {
        let x: Vec<f64> = (0..n).map(|i| (i as f64).cos()).collect();
        agrees(&x, |x| of_parts(x, 2), |x| of_parts::value_and_grad(x, 2));
    }
}
