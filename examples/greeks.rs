//! The greeks of options: derivatives of prices, from the functions that compute the prices.
//!
//! `call` is the formula of Black and Scholes over a struct: `call::grad` is a struct of the same form with delta in
//! `spot`, vega in `vol`, rho in `rate` and minus theta in `years`, and `call::hessian` has gamma and vanna. All are
//! held against their closed forms. An American put has none: its price comes from a binomial tree, two nested loops
//! with a maximum in them, whose program serves every number of steps. (The leaves of the tree are worth what the
//! formula says for one more step: the kink of a payoff would show in the derivatives.)
//!
//! `cargo run --release --example greeks`

use anyhow::{Result, ensure};
use autograd::prelude::*;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

/// What a price depends on.
#[derive(Clone, Copy, Debug, Differentiable)]
struct Market {
    spot: f64,
    vol: f64,
    rate: f64,
    years: f64,
}

/// The density of the normal distribution.
#[differentiable]
fn density(x: f64) -> f64 {
    0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * (-0.5 * x * x).exp()
}

/// Its integral, by a series (Marsaglia, 2004) that is summed until it does not change: Φ(x) = ½ + φ(x) (x + x³/3 +
/// x⁵/15 + …).
#[differentiable]
fn normal(x: f64) -> f64 {
    if x.abs() > 7.0 {
        return if x > 0.0 { 1.0 } else { 0.0 };
    }
    let (mut sum, mut last, mut term) = (x, 0.0, x);
    let mut i = 1.0;
    while sum != last {
        i += 2.0;
        term *= x * x / i;
        last = sum;
        sum += term;
    }
    0.5 + sum * density(x)
}

/// The two arguments of the normal distribution in the formula.
#[differentiable]
fn bounds(m: Market, strike: f64) -> (f64, f64) {
    let width = m.vol * m.years.sqrt();
    let d = ((m.spot / strike).ln() + m.rate * m.years) / width;
    (d + 0.5 * width, d - 0.5 * width)
}

/// The price of a European call.
#[differentiable(wrt(m))]
fn call(m: Market, strike: f64) -> f64 {
    let (up, down) = bounds(m, strike);
    m.spot * normal(up) - strike * (-m.rate * m.years).exp() * normal(down)
}

/// The price of a European put: a call less the spot and plus what is paid.
#[differentiable(wrt(m))]
fn put(m: Market, strike: f64) -> f64 {
    call(m, strike) - m.spot + strike * (-m.rate * m.years).exp()
}

/// The price of a put on a tree of Cox, Ross and Rubinstein: American, if it may be exercised at every node.
#[differentiable(wrt(m))]
fn put_on_tree(m: Market, strike: f64, steps: usize, american: bool) -> f64 {
    let dt = m.years / steps as f64;
    let up = (m.vol * dt.sqrt()).exp();
    let discount = (-m.rate * dt).exp();
    let rise = ((m.rate * dt).exp() - 1.0 / up) / (up - 1.0 / up);
    let mut price = vec![0.0; steps];
    for i in 0..steps {
        // from the top
        let spot = m.spot * up.powf(steps as f64 - 1.0 - 2.0 * i as f64);
        price[steps - 1 - i] = put(Market { spot, years: dt, ..m }, strike);
    }
    for level in 1..steps {
        let before = steps - 1 - level;
        for i in 0..=before {
            let held = discount * (rise * price[i + 1] + (1.0 - rise) * price[i]);
            if american {
                let spot = m.spot * up.powf(2.0 * i as f64 - before as f64);
                price[i] = held.max(strike - spot);
            } else {
                price[i] = held;
            }
        }
    }
    price[0]
}

fn main() -> Result<()> {
    let (m, strike) = (Market { spot: 100.0, vol: 0.25, rate: 0.03, years: 0.75 }, 105.0);

    let (price, first) = call::value_and_grad(m, strike)?;
    let second = call::hessian(m, strike)?;
    let (gamma, vanna) = (second[0].spot, second[0].vol);

    // the same from the formulas in textbooks
    let (up, down) = bounds(m, strike);
    let (root, paid) = (m.years.sqrt(), strike * (-m.rate * m.years).exp());
    let theta = -m.spot * density(up) * m.vol / (2.0 * root) - m.rate * paid * normal(down);
    let rows = [
        ("price", price, m.spot * normal(up) - paid * normal(down)),
        ("delta", first.spot, normal(up)),
        ("vega", first.vol, m.spot * density(up) * root),
        ("rho", first.rate, m.years * paid * normal(down)),
        ("theta", -first.years, theta),
        ("gamma", gamma, density(up) / (m.spot * m.vol * m.years.sqrt())),
        ("vanna", vanna, -density(up) * down / m.vol),
    ];
    println!("a call, by Black and Scholes\n{:<8}{:>16}{:>16}{:>12}", "", "derivative", "formula", "apart");
    for (name, got, want) in rows {
        println!("{name:<8}{got:>16.10}{want:>16.10}{:>12.1e}", (got - want).abs());
        ensure!((got - want).abs() < 1e-11 * want.abs().max(1.0), "{name}: {got} instead of {want}");
    }

    println!("\na put, on a tree\n{:<20}{:>10}{:>10}{:>10}{:>10}{:>10}", "", "price", "delta", "vega", "rho", "theta");
    let row = |name: &str, price: f64, g: &Market| {
        println!("{name:<20}{price:>10.4}{:>10.4}{:>10.4}{:>10.4}{:>10.4}", g.spot, g.vol, g.rate, -g.years);
    };
    let exact = put::value_and_grad(m, strike)?;
    for steps in [50, 200, 800] {
        let european = put_on_tree::value_and_grad(m, strike, steps, false)?;
        let american = put_on_tree::value_and_grad(m, strike, steps, true)?;
        row(&format!("European, {steps} steps"), european.0, &european.1);
        row(&format!("American, {steps} steps"), american.0, &american.1);
        let (g, e) = (european.1, exact.1);
        let apart = [european.0 - exact.0, g.spot - e.spot, g.vol - e.vol, g.rate - e.rate, g.years - e.years];
        ensure!(apart.iter().all(|a| a.abs() < 5.0 / steps as f64), "a tree of {steps} steps is off by {apart:?}");
        ensure!(american.0 > european.0, "a right to exercise early is worth something");
    }
    row("European, exact", exact.0, &exact.1);

    println!("\ncall: {}", call::bench(m, strike)?);
    println!("put on a tree of 50 steps: {}", put_on_tree::bench(m, strike, 50, true)?);
    Ok(())
}
