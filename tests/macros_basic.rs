//! The smallest programs.

// written as a user would write them, indices and all
#![allow(clippy::needless_range_loop, clippy::never_loop)]

mod common;

use autograd::prelude::*;
use common::{close, every_way};

#[differentiable]
fn rosenbrock(x: f64, y: f64) -> f64 {
    (1.0 - x).powi(2) + 100.0 * (y - x * x).powi(2)
}

#[differentiable]
fn decay(x: &[f64], rate: f64, steps: usize) -> f64 {
    let mut state = 0.0;
    for i in 0..x.len() {
        state = state * rate + x[i].sin();
    }
    for _ in 0..steps {
        state = state - 0.01 * state.powi(3);
    }
    state
}

#[test]
fn scalars() {
    close(rosenbrock::value(1.2, 0.5).unwrap(), rosenbrock(1.2, 0.5));
    let (dx, dy) = rosenbrock::grad(1.2, 0.5).unwrap();
    close(dx, -2.0 * (1.0 - 1.2) - 400.0 * 1.2 * (0.5 - 1.44));
    close(dy, 200.0 * (0.5 - 1.44));
    let c = rosenbrock::compile(1.0, 2.0).unwrap();
    close(c.grad(1.2, 0.5).unwrap().1, dy);
    let v = vec![0.1, 0.2];
    close(decay::value(&v, 0.5, 3).unwrap(), decay(&v, 0.5, 3));
    let (mut a, mut b) = (vec![0.0; 2], 0.0);
    decay::grad_into(&v, 0.5, 3, &mut a, &mut b).unwrap();
    let (dv, dr) = decay::grad(&v, 0.5, 3).unwrap();
    assert_eq!((a, b), (dv, dr));
    every_way(true, || rosenbrock::check(1.2, 0.5));
    every_way(true, || decay::check(&v, 0.5, 3));
}
