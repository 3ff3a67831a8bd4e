//! Tables that are constant, and floats that become indices.

use super::{agrees, compiled, dynamic, one_program};
use autograd::prelude::*;

const TABLE: [f64; 9] = [0.0, 0.5, 0.8, 0.9, 0.7, 0.2, -0.4, -0.9, -1.0];
static WEIGHTS: &[f64] = &[0.25, 0.5, 1.5];
const ORDER: [usize; 4] = [2, 0, 3, 1];

/// Linear interpolation.
#[differentiable]
fn interpolated(x: f64, h: f64) -> f64 {
    let at = (x / h).max(0.0);
    let i = (at.floor() as usize).min(7);
    let t = at - i as f64;
    let (a, b) = (TABLE[i], TABLE[i + 1]);
    a + t * (b - a) + x * TABLE[(i + 3) % 9]
}

#[test]
fn tables_are_interpolated_in() {
    let mut all = Vec::new();
    for x in [-1.0, 0.0, 0.31, 1.9, 3.27, 100.0] {
        for h in [0.4, 0.47] {
            if x > 0.0 {
                let both = |x: &[f64]| interpolated::value_and_grad(x[0], x[1]).map(|(v, (a, b))| (v, vec![a, b]));
                agrees(&[x, h], |x| interpolated(x[0], x[1]), both);
            }
            assert_eq!(compiled(|| interpolated::value(x, h)), interpolated(x, h));
            all.push(interpolated::explain(x, h).unwrap());
        }
    }
    all.iter().for_each(|e| assert_eq!(e.engine, all[0].engine));
    one_program(&all);
}

/// In loops, of slices as well, with conditions on what is looked up.
#[differentiable]
fn weighted(x: &[f64], k: usize) -> f64 {
    let mut s = 0.0;
    for i in 0..x.len() {
        let w = WEIGHTS[(i + k) % 3];
        s += x[i] * w;
        if x[i] > TABLE[i % 9] {
            s += WEIGHTS[i % 3];
        }
        let j = (x[i].abs() * 10.0) as usize % x.len();
        s += 0.1 * x[j] * x[i];
    }
    let sum: f64 = x.iter().enumerate().map(|(i, v)| v * TABLE[i % 9]).sum();
    s * sum
}
/// What is looked up for plain code.
fn plain(w: f64) -> f64 {
    2.0 * w
}
#[differentiable]
fn for_plain_code(x: &[f64], k: usize) -> f64 {
    let w = WEIGHTS[k % 3];
    let order = ORDER[k % 4];
    x[order % x.len()] * plain(w) + x[0] * plain(TABLE[k % 9] * 2.0)
}

#[test]
fn tables_in_loops() {
    let mut all = Vec::new();
    for (n, k) in [(1, 0), (4, 1), (25, 2)] {
        let x: Vec<f64> = (0..n).map(|i| (i as f64 * 0.77 + 0.3).sin()).collect();
        agrees(&x, |x| weighted(x, k), |x| weighted::value_and_grad(x, k));
        all.push(weighted::explain(&x, k).unwrap());
        agrees(&x, |x| for_plain_code(x, k), |x| for_plain_code::value_and_grad(x, k));
    }
    one_program(&all);
}

#[differentiable]
fn integers(x: f64) -> f64 {
    let (a, b, c, d) = (x as usize, x as i64, x as u8, x as i32);
    let mut y = x * 0.0;
    if a > 1000 {
        y += 1.0;
    }
    if b < 0 {
        y += 2.0;
    }
    y + c as f64 + d as f64 * 0.001 + (a as f64).ln_1p() + b as f64 * 1e-20
}

#[test]
fn floats_are_truncated_as_by_rust() {
    let all = [
        0.0,
        -0.0,
        0.99,
        -0.99,
        1.5,
        -1.5,
        254.7,
        255.0,
        256.5,
        -300.0,
        3e9,
        -3e9,
        4.6e18,
        9.223372036854775e18,
        9.223372036854776e18,
        1.2e19,
        1.8446744073709552e19,
        1e30,
        -1e30,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
    ];
    for x in all {
        let (v, d) = compiled(|| integers::value_and_grad(x));
        let wanted = integers(x);
        assert!(v == wanted || v.is_nan() && wanted.is_nan(), "{x}: {v} {wanted}");
        assert!(d == 0.0 || x.is_nan(), "{x}: {d}");
        let (v, _) = dynamic(|| integers::value_and_grad(x));
        assert!(v == wanted || v.is_nan() && wanted.is_nan(), "{x}: {v} {wanted}");
    }
}

#[differentiable]
fn beyond(x: f64) -> f64 {
    x * TABLE[x as usize]
}
#[test]
fn tables_end() {
    assert_eq!(compiled(|| beyond::grad(3.5)), TABLE[3]);
    for engine in [Engine::Compiled, Engine::Dynamic] {
        let e = autograd::with_engine(engine, || beyond::grad(9.0)).unwrap_err().to_string();
        assert!(e.contains("below the length 9, found 9") && e.contains("lookups.rs:"), "{e}");
    }
}
