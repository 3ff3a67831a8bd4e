//! Hares and lynxes: the equations of Lotka and Volterra fitted to the catches of the Hudson's Bay Company, 1900 to
//! 1920.
//!
//! `residuals` solves the equations from year to year by a Runge-Kutta method that picks its own steps (Bogacki and
//! Shampine, 1989), a `while` loop in a `for` loop, and compares with the catches. Everything the fit needs is
//! `residuals::jacobian`, in the form of an ndarray matrix; Levenberg and Marquardt's method does the rest. The steps
//! themselves are `detach`ed: they should follow the solution, not its derivative.
//!
//! `cargo run --release --example ode`

mod plot;

use anyhow::{Context, Result, ensure};
use autograd::prelude::*;
use nalgebra::{DMatrix, DVector};

/// Thousands of pelts a year, hares and lynxes.
#[rustfmt::skip]
const CATCHES: [[f64; 2]; 21] = [
    [30.0, 4.0], [47.2, 6.1], [70.2, 9.8], [77.4, 35.2], [36.3, 59.4], [20.6, 41.7], [18.1, 19.0],
    [21.4, 13.0], [22.0, 8.3], [25.4, 9.1], [27.1, 7.4], [40.3, 8.0], [57.0, 12.3], [76.6, 19.5],
    [52.3, 45.7], [19.5, 51.1], [11.2, 29.7], [7.6, 15.8], [14.6, 9.7], [16.2, 10.1], [24.7, 8.6],
];

/// Growth of the hares, hunting, death of the lynxes, their growth by hunting; how many of each there are at first.
/// Logarithms: all are positive.
type Parameters = [f64; 6];

/// How the logarithms of both numbers change in a year.
#[differentiable]
fn change(y: [f64; 2], p: [f64; 6]) -> [f64; 2] {
    [p[0].exp() - (p[1] + y[1]).exp(), (p[3] + y[0]).exp() - p[2].exp()]
}

/// y + h k
#[differentiable]
fn along(y: [f64; 2], h: f64, k: [f64; 2]) -> [f64; 2] {
    [y[0] + h * k[0], y[1] + h * k[1]]
}

/// The logarithms after a stretch of time, with an error of about `tolerance` a step.
#[differentiable]
fn after(start: [f64; 2], p: [f64; 6], time: f64, tolerance: f64) -> [f64; 2] {
    let (mut y, mut t, mut h) = (start, 0.0_f64, 0.1_f64);
    let mut k1 = change(y, p);
    while t < time {
        h = h.min(time - t);
        let k2 = change(along(y, 0.5 * h, k1), p);
        let k3 = change(along(y, 0.75 * h, k2), p);
        let next = along(along(along(y, h * 2.0 / 9.0, k1), h / 3.0, k2), h * 4.0 / 9.0, k3);
        let k4 = change(next, p);
        // against the method of second order that has used the same four slopes
        let mut error = 0.0;
        for i in 0..2 {
            error += (h * (5.0 * k1[i] / 72.0 - k2[i] / 12.0 - k3[i] / 9.0 + k4[i] / 8.0)).powi(2);
        }
        let error = detach(error.sqrt() / tolerance);
        if error <= 1.0 {
            t += h;
            y = next;
            k1 = k4;
        }
        h *= (0.9 * error.max(1e-8).powf(-1.0 / 3.0)).clamp(0.2, 4.0);
    }
    y
}

/// The errors of the logarithms, hares and lynxes by turns.
#[differentiable(wrt(p))]
fn residuals(p: [f64; 6], catches: &[[f64; 2]], tolerance: f64) -> Vec<f64> {
    let mut y = [p[4], p[5]];
    let mut all = vec![0.0; 2 * catches.len()];
    for year in 0..catches.len() {
        if year > 0 {
            y = after(y, p, 1.0, tolerance);
        }
        all[2 * year] = y[0] - catches[year][0].ln();
        all[2 * year + 1] = y[1] - catches[year][1].ln();
    }
    all
}

/// Half the sum of their squares.
#[differentiable(wrt(p))]
fn misfit(p: [f64; 6], catches: &[[f64; 2]], tolerance: f64) -> f64 {
    let mut sum = 0.0;
    for r in residuals(p, catches, tolerance) {
        sum += 0.5 * r * r;
    }
    sum
}

const TOLERANCE: f64 = 1e-8;

fn main() -> Result<()> {
    let start: Parameters = [0.5_f64.ln(), 0.03_f64.ln(), 0.9_f64.ln(), 0.03_f64.ln(), 30.0_f64.ln(), 4.0_f64.ln()];
    let loss = |p: &Parameters| residuals(*p, &CATCHES, TOLERANCE).iter().map(|r| 0.5 * r * r).sum::<f64>();
    let (mut p, mut damping) = (start, 1e-2);
    let mut steps = 0;
    for _ in 0..60 {
        let r = DVector::from_vec(residuals(p, &CATCHES, TOLERANCE));
        let jacobian = DMatrix::from_row_iterator(r.len(), 6, residuals::jacobian(p, &CATCHES, TOLERANCE)?);
        let (normal, right) = (jacobian.tr_mul(&jacobian), -jacobian.tr_mul(&r));
        if right.norm() < 1e-6 {
            break;
        }
        steps += 1;
        let damped = &normal + DMatrix::from_diagonal(&(normal.diagonal() * damping));
        let change = damped.cholesky().context("the normal equations are singular")?.solve(&right);
        let next: Parameters = std::array::from_fn(|i| p[i] + change[i]);
        if loss(&next) < loss(&p) {
            (p, damping) = (next, damping * 0.2);
        } else {
            damping *= 5.0;
        }
    }

    let names = ["hares grow", "are hunted", "lynxes die", "grow by it", "hares, 1900", "lynxes, 1900"];
    println!("{:<14}{:>10}{:>10}", "", "start", "fitted");
    for ((name, s), f) in names.iter().zip(start).zip(p) {
        println!("{name:<14}{:>10.4}{:>10.4}", s.exp(), f.exp());
    }
    println!("{:<14}{:>10.4}{:>10.4}   in {steps} steps", "misfit", loss(&start), loss(&p));
    // B. Carpenter's posterior means for these data, with their standard deviations
    let published = [(0.55, 0.064), (0.028, 0.004), (0.80, 0.092), (0.024, 0.004), (33.9, 2.9), (5.9, 0.5)];
    for ((name, found), (mean, deviation)) in names.iter().zip(p).zip(published) {
        ensure!((found.exp() - mean).abs() < deviation, "{name}: {} is far from {mean}", found.exp());
    }
    let slope = misfit::grad(p, &CATCHES, TOLERANCE)?;
    ensure!(slope.iter().all(|s| s.abs() < 1e-5), "no minimum: the gradient is {slope:?}");

    println!("\nmisfit: {}", misfit::bench(p, &CATCHES, 1e-6)?);
    let mut y = [p[4], p[5]];
    let curve: Vec<(f64, [f64; 2])> = (0..=400)
        .map(|i| {
            let now = (1900.0 + 0.05 * f64::from(i), y.map(f64::exp));
            y = after(y, p, 0.05, TOLERANCE);
            now
        })
        .collect();
    let years = || (0..CATCHES.len()).map(|i| 1900.0 + i as f64);
    plot::draw(
        "ode.svg",
        "hares and lynxes",
        ["year", "thousands of pelts"],
        plot::Scale::Free,
        &[
            plot::line("hares", curve.iter().map(|&(t, n)| (t, n[0]))),
            plot::line("lynxes", curve.iter().map(|&(t, n)| (t, n[1]))),
            plot::dots("hares caught", years().zip(CATCHES.map(|c| c[0]))),
            plot::dots("lynxes caught", years().zip(CATCHES.map(|c| c[1]))),
        ],
    )
}
