//! A volatility smile calibrated with the optimisers of `argmin`: cost, gradient and Hessian come from one annotated
//! function.
//!
//! Quoted implied volatilities of options with one expiry are fitted by Gatheral's SVI curve, whose total variance at
//! log-moneyness k is `a + b (ρ (k - m) + √((k - m)² + σ²))`. `misfit` is the sum of squared errors; `misfit::value`,
//! `::grad` and `::hessian` are what the traits `CostFunction`, `Gradient` and `Hessian` ask for. L-BFGS uses the first
//! two, a trust region with Newton steps all three, and both must find the curve that the quotes were made from.
//!
//! `cargo run --release --example calibration`

mod plot;

use anyhow::{Context, Result, ensure};
use argmin::{
    core::{CostFunction, Executor, Gradient, Hessian, State},
    solver::{
        linesearch::MoreThuenteLineSearch,
        quasinewton::LBFGS,
        trustregion::{Steihaug, TrustRegion},
    },
};
use autograd::prelude::*;

/// The SVI curve, by parameters that may have any value: b, σ and the lowest variance are positive, ρ is between -1 and
/// 1. An optimiser may then try what it likes without meeting the root of a negative number.
#[derive(Clone, Copy, Debug, Differentiable)]
struct Smile {
    ln_low: f64,
    ln_b: f64,
    atanh_rho: f64,
    m: f64,
    ln_sigma: f64,
}

impl From<[f64; 5]> for Smile {
    fn from([ln_low, ln_b, atanh_rho, m, ln_sigma]: [f64; 5]) -> Self {
        Smile { ln_low, ln_b, atanh_rho, m, ln_sigma }
    }
}
impl From<Smile> for [f64; 5] {
    fn from(s: Smile) -> Self {
        [s.ln_low, s.ln_b, s.atanh_rho, s.m, s.ln_sigma]
    }
}

/// The implied volatility of an option with `years` to go.
#[differentiable]
fn volatility(smile: &Smile, k: f64, years: f64) -> f64 {
    let (b, sigma) = (smile.ln_b.exp(), smile.ln_sigma.exp());
    let x = k - smile.m;
    let a = smile.ln_low.exp() - b * sigma / smile.atanh_rho.cosh();
    let variance = a + b * (smile.atanh_rho.tanh() * x + (x * x + sigma * sigma).sqrt());
    (variance / years).sqrt()
}

/// Half the sum of the squared errors.
#[differentiable(wrt(smile))]
fn misfit(smile: &Smile, k: &[f64], quotes: &[f64], years: f64) -> f64 {
    let mut sum = 0.0;
    for i in 0..k.len() {
        sum += (volatility(smile, k[i], years) - quotes[i]).powi(2);
    }
    0.5 * sum
}

/// What is to be fitted, as `argmin` sees it.
struct Fit<'q> {
    k: &'q [f64],
    quotes: &'q [f64],
    years: f64,
}

fn smile(p: &[f64]) -> Result<Smile> {
    let p: [f64; 5] = p.try_into().context("expected five parameters")?;
    Ok(p.into())
}

impl CostFunction for Fit<'_> {
    type Param = Vec<f64>;
    type Output = f64;
    fn cost(&self, p: &Vec<f64>) -> Result<f64> {
        Ok(misfit::value(&smile(p)?, self.k, self.quotes, self.years)?)
    }
}
impl Gradient for Fit<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;
    fn gradient(&self, p: &Vec<f64>) -> Result<Vec<f64>> {
        let gradient: [f64; 5] = misfit::grad(&smile(p)?, self.k, self.quotes, self.years)?.into();
        Ok(gradient.to_vec())
    }
}
impl Hessian for Fit<'_> {
    type Param = Vec<f64>;
    type Hessian = Vec<Vec<f64>>;
    fn hessian(&self, p: &Vec<f64>) -> Result<Vec<Vec<f64>>> {
        // a row for each field, itself a Smile
        let rows = misfit::hessian(&smile(p)?, self.k, self.quotes, self.years)?;
        Ok(rows.into_iter().map(|row| <[f64; 5]>::from(row).to_vec()).collect())
    }
}

fn main() -> Result<()> {
    let years = 0.5;
    let truth = Smile {
        ln_low: 0.02_f64.ln(),
        ln_b: 0.12_f64.ln(),
        atanh_rho: (-0.6_f64).atanh(),
        m: 0.05,
        ln_sigma: 0.15_f64.ln(),
    };
    let k: Vec<f64> = (0..25).map(|i| -0.6 + 0.04 * f64::from(i)).collect();
    // quoted to a thousandth of a percent
    let quotes: Vec<f64> = k.iter().map(|&k| (volatility(&truth, k, years) * 1e5).round() / 1e5).collect();
    let start: Vec<f64> = vec![-3.0, -2.0, 0.0, 0.0, -1.0];
    let fit = || Fit { k: &k, quotes: &quotes, years };

    let search = LBFGS::new(MoreThuenteLineSearch::new(), 5).with_tolerance_grad(1e-10)?;
    let lbfgs = Executor::new(fit(), search).configure(|s| s.param(start.clone()).max_iters(500)).run()?;
    let region = TrustRegion::new(Steihaug::new());
    let newton = Executor::new(fit(), region).configure(|s| s.param(start.clone()).max_iters(50)).run()?;

    println!(
        "{:<8}{:>11}{:>10}{:>10}{:>10}{:>10}{:>12}{:>12}",
        "", "lowest", "b", "rho", "m", "sigma", "misfit", "iterations"
    );
    let row = |name: &str, s: &Smile, rest: String| {
        let (b, rho, sigma) = (s.ln_b.exp(), s.atanh_rho.tanh(), s.ln_sigma.exp());
        println!("{name:<8}{:>11.6}{b:>10.6}{rho:>10.6}{:>10.6}{sigma:>10.6}{rest}", s.ln_low.exp(), s.m);
    };
    row("quoted", &truth, String::new());
    row("start", &smile(&start)?, format!("{:>12.3e}", fit().cost(&start)?));
    let mut found = Vec::new();
    let results = [
        ("L-BFGS", lbfgs.state.get_best_param(), lbfgs.state.get_last_best_iter()),
        ("Newton", newton.state.get_best_param(), newton.state.get_last_best_iter()),
    ];
    for (name, best, iterations) in results {
        let best = best.with_context(|| format!("{name} found nothing"))?;
        let (misfit, s) = (fit().cost(best)?, smile(best)?);
        row(name, &s, format!("{misfit:>12.3e}{iterations:>12}"));
        let apart = k.iter().map(|&k| (volatility(&s, k, years) - volatility(&truth, k, years)).abs());
        ensure!(apart.fold(0.0, f64::max) < 1e-5, "{name}: a volatility is more than 0.001 % off");
        let near = <[f64; 5]>::from(s).into_iter().zip(<[f64; 5]>::from(truth)).all(|(p, t)| (p - t).abs() < 5e-3);
        ensure!(near, "{name} found {s:?} instead of {truth:?}");
        found.push(s);
    }

    println!("\nmisfit: {}", misfit::bench(&found[0], &k, &quotes, years)?);
    let curve = |s: Smile| {
        (0..=100).map(move |i| -0.6 + 0.0096 * f64::from(i)).map(move |k| (k, 100.0 * volatility(&s, k, years)))
    };
    plot::draw(
        "calibration.svg",
        "a volatility smile, fitted by L-BFGS",
        ["log-moneyness", "implied volatility, %"],
        plot::Scale::Free,
        &[
            plot::line("start", curve(smile(&start)?)),
            plot::line("fitted", curve(found[0])),
            plot::dots("quotes", k.iter().zip(&quotes).map(|(&k, &q)| (k, 100.0 * q))),
        ],
    )
}
