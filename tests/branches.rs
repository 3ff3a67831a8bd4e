//! Loops whose way back has nothing to do in trips that do not take a branch, or in all but the last one that does: what is not
//! recorded, in all derivatives, against the dynamic engine and differences.

// bodies index as their users would
#![allow(clippy::assign_op_pattern, clippy::manual_is_multiple_of, clippy::needless_range_loop)]

mod common;

use autograd::prelude::*;
use common::Flat;

/// The squared distance of each point to the nearest of some centres.
#[differentiable]
fn nearest(points: &[f64], centres: &[f64], d: usize) -> f64 {
    let mut sum = 0.0;
    for i in 0..points.len() / d {
        let mut least = f64::INFINITY;
        for c in 0..centres.len() / d {
            let mut distance = 0.0;
            for j in 0..d {
                let r = points[i * d + j] - centres[c * d + j];
                distance += r * r;
            }
            if distance < least {
                least = distance;
            }
        }
        sum += least;
    }
    sum
}

/// What a search finds carries what it found it with, and is used twice; steps go by two and down.
#[differentiable]
fn search(x: &[f64], scale: f64) -> f64 {
    let mut best = -1e300;
    let mut at = 0.0;
    for i in (1..x.len()).rev().step_by(2) {
        let mut sum = 0.0;
        for j in 0..i {
            sum += (x[j] * scale).sin() / (1.0 + x[i] * x[i]);
        }
        if sum > best {
            best = sum * scale;
            at = x[i] * scale;
        }
    }
    best * best + at
}

/// Each trip that takes the branch is a loop of its own; the others leave everything as it is.
#[differentiable]
fn chosen(x: &[f64], y: f64) -> f64 {
    let mut sum = y;
    for i in 0..x.len() {
        if x[i] > 0.0 {
            let mut p = 1.0;
            for j in 0..i {
                p = (p + x[j] * y).sin();
            }
            sum = sum * 0.9 + p * x[i];
        }
    }
    sum
}

/// The branch that is not empty is the other one, and there are two such loops, one in the other.
#[differentiable]
fn nested(x: &[f64], n: usize) -> f64 {
    let mut total = 1.0;
    for i in 0..n {
        if i % 3 == 1 {
        } else {
            let mut inner = x[0];
            for j in 0..x.len() {
                if (i + j) % 4 == 2 {
                    let mut k = 0;
                    while k < j && inner < 50.0 {
                        inner += 0.2 * (x[j] * total).cos() + 0.1;
                        k += 1;
                    }
                }
            }
            total = total * 0.5 + 0.3 * (1.0 + inner * inner).sqrt();
        }
    }
    total
}

/// Trips that take no branch, one after another, until one that ends it.
#[differentiable]
fn skips(x: f64, y: f64) -> f64 {
    let (mut t, mut s) = (0.0, x);
    let mut n = 0;
    while t < 3.0 {
        n += 1;
        t += 0.01 + 0.001 * x * x;
        if n % 7 == 3 {
            for k in 0..n / 50 {
                s = (s * y + t + k as f64).sin();
            }
        }
    }
    s * t
}

/// A function that calls itself where a bit is not set, and ends by another argument.
#[differentiable]
fn subsets(w: &[f64], x: f64, item: usize, used: u64) -> f64 {
    if item >= w.len() || used > 40 {
        return x * 1.5;
    }
    let mut sum = x;
    for k in item..w.len() {
        if (used >> k) & 1 == 0 {
            sum += w[k] * subsets(w, x * w[k], k + 1, used | (1 << k)).sin();
        }
    }
    sum
}

macro_rules! agrees {
    ($f:ident($($arg:expr),*)) => {{
        let compiled = with_engine(Engine::Compiled, || $f::value_and_grad($($arg),*)).unwrap();
        let dynamic = with_engine(Engine::Dynamic, || $f::value_and_grad($($arg),*)).unwrap();
        common::near(compiled.0, $f($($arg),*), 1e-12);
        let (a, b) = (compiled.1.flat(), dynamic.1.flat());
        let near = a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1e-11 * b.abs().max(1.0));
        assert!(near, "{a:?} {b:?}");
        let report = $f::check($($arg),*).unwrap();
        assert!(report.passed(), "{report}");
    }};
}

fn wave(n: usize, f: f64) -> Vec<f64> {
    (0..n).map(|i| (i as f64 * f + 0.3).sin()).collect()
}

#[test]
fn only_the_last_trip_of_a_search_counts() {
    for (n, k, d) in [(1, 1, 1), (7, 5, 2), (4, 9, 3), (0, 3, 2), (3, 0, 1)] {
        if k > 0 {
            agrees!(nearest(&wave(n * d, 0.7), &wave(k * d, 1.9), d));
        }
        let (p, c) = (wave(n * d, 0.7), wave(k * d, 1.9));
        let ones = vec![1.0; n * d];
        let halves = vec![0.5; k * d];
        let h = with_engine(Engine::Compiled, || nearest::hvp(&p, &c, d, &ones, &halves)).unwrap();
        let g = with_engine(Engine::Dynamic, || nearest::hvp(&p, &c, d, &ones, &halves)).unwrap();
        common::alike(&h.flat(), &g.flat(), 1e-12);
    }
    agrees!(search(&wave(11, 1.3), 0.8));
    agrees!(search(&[0.5, 0.25], 1.1));
    let x = wave(9, 0.9);
    let (v, h) = (wave(9, 0.4), with_engine(Engine::Compiled, || search::hvp(&x, 0.7, &wave(9, 0.4), 0.3)).unwrap());
    let along = |e: f64| -> Vec<f64> { x.iter().zip(&v).map(|(x, v)| x + e * v).collect() };
    let [up, down] = [1e-6, -1e-6].map(|e| search::grad(&along(e), 0.7 + 0.3 * e).unwrap().flat());
    let differences: Vec<f64> = up.iter().zip(&down).map(|(u, d)| (u - d) / 2e-6).collect();
    common::alike(&h.flat(), &differences, 1e-6);
}

#[test]
fn a_trip_before_the_last_gives_no_nan() {
    // the first centre is infinitely far away: its distance is no part of the result
    let centres = [f64::INFINITY, 0.5, 3.0];
    let (value, (points, centres)) =
        with_engine(Engine::Compiled, || nearest::value_and_grad(&[1.0, 2.9], &centres, 1)).unwrap();
    common::near(value, 0.25 + 0.01, 1e-12);
    common::alike(&points, &[1.0, -0.2], 1e-12);
    common::alike(&centres, &[0.0, -1.0, 0.2], 1e-12);
}

#[test]
fn trips_that_take_no_branch_are_not_recorded() {
    for n in [0, 1, 2, 9, 30] {
        agrees!(chosen(&wave(n, 1.1), 0.4));
    }
    agrees!(chosen(&[-1.0, -2.0, -0.5], 0.4));
    for n in [0, 1, 2, 5, 12] {
        agrees!(nested(&wave(8, 0.8).iter().map(|x| x + 1.5).collect::<Vec<_>>(), n));
    }
    agrees!(skips(0.3, 0.9));
    let x = wave(12, 0.6);
    let h = with_engine(Engine::Compiled, || chosen::hvp(&x, 0.4, &wave(12, 0.2), 1.0)).unwrap();
    let g = with_engine(Engine::Dynamic, || chosen::hvp(&x, 0.4, &wave(12, 0.2), 1.0)).unwrap();
    common::alike(&h.flat(), &g.flat(), 1e-11);
}

#[test]
fn functions_that_call_themselves_where_a_branch_is_taken() {
    for n in 0..6 {
        agrees!(subsets(&wave(n, 0.9), 0.7, 0, 2));
    }
    let w = wave(5, 1.2);
    let h = with_engine(Engine::Compiled, || subsets::hvp(&w, 0.7, 0, 2, &wave(5, 0.3), 0.5)).unwrap();
    let g = with_engine(Engine::Dynamic, || subsets::hvp(&w, 0.7, 0, 2, &wave(5, 0.3), 0.5)).unwrap();
    common::alike(&h.flat(), &g.flat(), 1e-11);
}

/// An element that is read behind a choice that decides whether the trip is recorded.
#[differentiable(wrt(a))]
fn read_behind(a: f64, x: &[f64], y: &[f64]) -> f64 {
    let mut s = a;
    for i in 0..x.len() {
        if x[i] > 0.0 {
            for j in 0..i + 1 {
                s = (s * 0.7 + x[j]).sin();
            }
        }
        s = y[i] + s;
    }
    s
}

#[test]
fn indices_behind_a_choice_are_compared_in_both_branches() {
    for x in [[1.0, -1.0, -1.0, -1.0], [-1.0, 1.0, 1.0, 1.0], [-1.0; 4], [1.0; 4]] {
        for n in 0..4 {
            let y = &[0.5, 0.25, 0.125][..n];
            for engine in [Engine::Compiled, Engine::Dynamic] {
                let error = with_engine(engine, || read_behind::value_and_grad(0.3, &x, y)).unwrap_err().to_string();
                assert!(error.contains(&format!("below the length {n}, found {n}")), "{engine:?}: {error}");
            }
        }
        let both = [Engine::Compiled, Engine::Dynamic]
            .map(|e| with_engine(e, || read_behind::value_and_grad(0.3, &x, &[0.5, 0.25, 0.125, 1.0])).unwrap());
        assert!((both[0].0 - both[1].0).abs() < 1e-12 && (both[0].1 - both[1].1).abs() < 1e-12, "{both:?}");
    }
}
