//! Numerical methods as they are written.

use super::{agrees, joined};
use autograd::prelude::*;

/// A cube root, by no more than so many steps.
#[differentiable]
fn newton(a: f64, most: usize) -> f64 {
    let mut x = 1.0;
    let mut n = 0;
    while n < most && (x * x * x - a).abs() > 1e-13 * a {
        x -= (x * x * x - a) / (3.0 * x * x);
        n += 1;
    }
    x + 0.01 * n as f64 * a
}

#[test]
fn newtons_method() {
    for a in [0.5, 7.0, 300.0] {
        for most in [0, 3, 40] {
            agrees(&[a], |x| newton(x[0], most), |x| newton::value_and_grad(x[0], most).map(|(v, d)| (v, vec![d])));
        }
    }
}

/// The zero of a polynomial between bounds, by halving a known number of times, with a last Newton step.
#[differentiable]
fn bisection(c: &[f64], mut lo: f64, mut hi: f64, steps: usize) -> f64 {
    for _ in 0..steps {
        let mid = 0.5 * (lo + hi);
        let mut p = 0.0;
        for k in (0..c.len()).rev() {
            p = p * mid + c[k];
        }
        if p < 0.0 {
            lo = mid;
        } else {
            hi = mid;
        }
    }
    let x = 0.5 * (lo + hi);
    let mut p = 0.0;
    let mut slope = 0.0;
    for k in (0..c.len()).rev() {
        slope = slope * x + p;
        p = p * x + c[k];
    }
    x - p / slope
}

#[test]
fn halving() {
    for c in [vec![-3.0, 1.0, 0.5], vec![-2.0, 0.1, 0.0, 1.0, 0.2], vec![-1.0, 2.0]] {
        let both = |x: &[f64]| bisection::value_and_grad(x, 0.0, 4.0, 40).map(|(v, (d, ..))| (v, d));
        agrees(&c, |x| bisection(x, 0.0, 4.0, 40), both);
    }
}

/// Heun's method with Euler's as its estimate, whose step the error decides.
#[differentiable]
fn adaptive(rate: f64, y0: f64, end: f64, tolerance: f64) -> f64 {
    let f = |t: f64, y: f64| rate * (t.cos() - y);
    let mut t = 0.0;
    let mut y = y0;
    let mut h = 0.1;
    let mut taken = 0;
    let mut refused = 0;
    while t < end && taken + refused < 1000 {
        let step = if t + h > end { end - t } else { h };
        let k1 = f(t, y);
        let k2 = f(t + step, y + step * k1);
        let error = (0.5 * step * (k2 - k1)).abs();
        if error < tolerance {
            t += step;
            y += 0.5 * step * (k1 + k2);
            taken += 1;
            h = 1.3 * step;
        } else {
            refused += 1;
            h = 0.5 * step;
        }
    }
    y * (1.0 + 0.001 * taken as f64)
}

#[test]
fn a_step_that_the_error_decides() {
    for rate in [0.8, 6.0] {
        let both = |x: &[f64]| adaptive::value_and_grad(x[0], x[1], 1.5, 1e-3).map(|(v, (a, b, ..))| (v, vec![a, b]));
        agrees(&[rate, 0.3], |x| adaptive(x[0], x[1], 1.5, 1e-3), both);
    }
}

/// What Collatz does to an integer decides what happens to a float.
#[differentiable]
fn collatz(a: f64, start: u64) -> f64 {
    let mut n = start;
    let mut y = a;
    while n != 1 {
        if n.is_multiple_of(2) {
            n /= 2;
            y = y.sin() + a;
        } else {
            n = 3 * n + 1;
            y = 0.5 * y * a + 0.1;
        }
    }
    y
}

#[test]
fn branches_that_an_integer_takes() {
    for start in [1, 6, 7, 27] {
        agrees(&[0.7], |x| collatz(x[0], start), |x| collatz::value_and_grad(x[0], start).map(|(v, d)| (v, vec![d])));
    }
}

/// A table that is linear between its nodes; the interval is found by halving.
#[differentiable]
fn interpolated(nodes: &[f64], values: &[f64], x: f64) -> f64 {
    let (mut lo, mut hi) = (0, nodes.len() - 1);
    while hi - lo > 1 {
        let mid = (lo + hi) / 2;
        if nodes[mid] <= x {
            lo = mid;
        } else {
            hi = mid;
        }
    }
    let w = (x - nodes[lo]) / (nodes[hi] - nodes[lo]);
    values[lo] * (1.0 - w) + values[hi] * w
}

#[test]
fn search_in_a_table() {
    for n in [2, 5, 30] {
        let nodes: Vec<f64> = (0..n).map(|i| i as f64 + 0.1 * (i as f64).sin()).collect();
        let values: Vec<f64> = (0..n).map(|i| (i as f64 * 0.7).cos()).collect();
        for at in [0.4, 0.77 * n as f64 - 0.5] {
            let x = joined(&[&nodes, &values, &[at]]);
            let plain = |x: &[f64]| interpolated(&x[..n], &x[n..2 * n], x[2 * n]);
            agrees(&x, plain, |x| {
                let (v, (a, b, c)) = interpolated::value_and_grad(&x[..n], &x[n..2 * n], x[2 * n])?;
                Ok((v, joined(&[&a, &b, &[c]])))
            });
        }
    }
}

/// How far a ray goes to a sphere on a plane: marched by the distance to what is nearest.
#[differentiable]
fn marched(radius: f64, dx: f64, dy: f64) -> f64 {
    let len = (dx * dx + dy * dy).sqrt();
    let (mut x, mut y) = (0.0, 1.0);
    let mut far = 0.0;
    for step in 0..200 {
        let (to_x, to_y): (f64, f64) = (x - 4.0, y - 0.5);
        let ball = (to_x * to_x + to_y * to_y).sqrt() - radius;
        let near = if ball < y { ball } else { y };
        if near < 1e-9 {
            return far + 1e-3 * step as f64;
        }
        far += near;
        if far > 50.0 {
            break;
        }
        x += near * dx / len;
        y += near * dy / len;
    }
    -1.0 - radius
}

#[test]
fn rays() {
    for (dx, dy) in [(1.0, -0.1), (1.0, -1.3), (0.5, 1.0)] {
        let both = |x: &[f64]| marched::value_and_grad(x[0], x[1], x[2]).map(|(v, (a, b, c))| (v, vec![a, b, c]));
        agrees(&[0.8, dx, dy], |x| marched(x[0], x[1], x[2]), both);
    }
}

/// A Kalman filter of a random walk: minus the logarithm of the likelihood of what is observed.
#[differentiable]
fn kalman(observed: &[f64], walk: f64, noise: f64) -> f64 {
    let mut mean = 0.0;
    let mut variance = 1.0;
    let mut loss = 0.0;
    for &z in observed {
        variance += walk;
        let s = variance + noise;
        let miss = z - mean;
        loss += 0.5 * (miss * miss / s + s.ln());
        let gain = variance / s;
        mean += gain * miss;
        variance *= 1.0 - gain;
    }
    loss
}

#[test]
fn a_filter_over_observations() {
    for n in [0, 1, 7, 50] {
        let mut x: Vec<f64> = (0..n).map(|i| (i as f64 * 0.3).sin()).collect();
        x.extend([0.1, 0.5]);
        agrees(
            &x,
            |x| kalman(&x[..n], x[n], x[n + 1]),
            |x| {
                let (v, (a, b, c)) = kalman::value_and_grad(&x[..n], x[n], x[n + 1])?;
                Ok((v, joined(&[&a, &[b, c]])))
            },
        );
    }
}
