//! Functions that panic where they are called by themselves, or would in a branch that is not taken.

use super::{agrees_on, compiled};
use autograd::{Engine, Error, prelude::*, with_engine};

/// Plain code in a branch that only counts where it is taken.
#[differentiable]
fn branch(x: &[f64], at: &[usize]) -> f64 {
    if x[0] > 0.0 { x[at[0]] * x[0] } else { x[0] * x[0] }
}

#[differentiable]
fn chained(x: &[f64], next: &[usize]) -> f64 {
    let (mut sum, mut j) = (0.0, 0);
    while x[j] > 0.0 {
        sum += x[j] * x[j];
        j = next[j];
    }
    sum
}

#[differentiable]
fn refuses(x: &[f64]) -> f64 {
    if x[0] < 0.0 {
        panic!("{} is below 0", "the first");
    }
    x[0].sqrt() * x[1]
}

#[test]
fn what_is_not_run_does_not_panic() {
    let any = Engine::Auto;
    agrees_on(any, &[-1.0], |x| branch(x, &[]), |x| branch::value_and_grad(x, &[]));
    agrees_on(any, &[2.0, 3.0], |x| branch(x, &[1]), |x| branch::value_and_grad(x, &[1]));
    agrees_on(any, &[-1.0], |x| chained(x, &[]), |x| chained::value_and_grad(x, &[]));
    agrees_on(any, &[1.0, 2.0, -1.0], |x| chained(x, &[1, 2]), |x| chained::value_and_grad(x, &[1, 2]));
    agrees_on(any, &[4.0, 3.0], refuses, refuses::value_and_grad);
}

const TABLE: [f64; 3] = [1.0, 2.0, 3.0];

#[differentiable]
fn weighted(x: &[f64], at: &[usize]) -> f64 {
    let mut sum = 0.0;
    for i in 0..x.len() {
        sum += x[i] * TABLE[at[i]];
    }
    sum
}

#[differentiable]
fn asserts(x: f64, n: usize) -> f64 {
    assert!(n > 0, "{n} is none");
    x / n as f64
}

#[test]
fn what_panics_is_an_error() {
    for engine in [Engine::Auto, Engine::Dynamic] {
        with_engine(engine, || {
            let says = |e: Error, what: &str| assert!(e.to_string().contains(what), "{e}");
            says(branch::grad(&[1.0], &[]).unwrap_err(), "branch panicked: index out of bounds: the len is 0");
            says(refuses::grad(&[-1.0, 2.0]).unwrap_err(), "refuses panicked: the first is below 0");
            says(refuses::vjp(&[-1.0, 2.0]).map(drop).unwrap_err(), "panicked");
            says(asserts::hvp(1.0, 0, 1.0).unwrap_err(), "asserts panicked: 0 is none");
            says(weighted::grad(&[1.0], &[7]).unwrap_err(), "found 7");
            // and leaves nothing behind
            assert_eq!(asserts::grad(1.0, 4).unwrap(), 0.25);
            assert_eq!(refuses::grad(&[4.0, 3.0]).unwrap(), [0.75, 2.0]);
        });
    }
}

/// Two lists that change places, of a length that may be below 0.
#[differentiable]
fn shorter(x: &[f64]) -> f64 {
    let mut now = vec![0.5; x.len() - 1];
    let mut next = vec![0.25; x.len() - 1];
    for i in 0..x.len() - 1 {
        std::mem::swap(&mut now, &mut next);
        now[i] += x[i] * x[i + 1];
    }
    now[0] + next[0]
}

#[test]
fn a_length_below_zero_is_an_error() {
    for engine in [Engine::Auto, Engine::Dynamic] {
        with_engine(engine, || {
            let e = shorter::value_and_grad(&[]).unwrap_err().to_string();
            assert!(e.contains("found -1") || e.contains("panicked"), "{e}");
            assert!(shorter::grad(&[1.0]).is_err());
        });
    }
    assert_eq!(compiled(|| shorter::grad(&[2.0, 3.0])), [3.0, 2.0]);
}
