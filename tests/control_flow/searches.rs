//! The largest and the smallest item, and where one is.

use super::{agrees, agrees_on, compiled, one_program};
use autograd::{Engine, prelude::*, with_engine};

#[differentiable]
fn range(x: &[f64]) -> f64 {
    let top = x.iter().copied().max_by(|a, b| a.partial_cmp(b).unwrap()).unwrap();
    let low = x.iter().min_by(|a, b| a.total_cmp(b)).unwrap();
    let far = *x.iter().max_by(|a, b| a.abs().partial_cmp(&b.abs()).unwrap()).expect("not empty");
    top * top - low.sin() + far * x[0]
}

#[differentiable]
fn picked(x: &[f64], y: &[f64]) -> f64 {
    let best = x.iter().enumerate().max_by(|a, b| a.1.partial_cmp(b.1).unwrap()).map(|(i, _)| i).unwrap();
    let worst = x.iter().enumerate().min_by(|(_, a), (_, b)| a.total_cmp(b)).unwrap().0;
    let value = x.iter().copied().enumerate().min_by(|p, q| p.1.total_cmp(&q.1)).unwrap().1;
    y[best] * y[worst] * x[best] + value
}

#[differentiable]
fn nothing(x: &[f64]) -> f64 {
    let widest = x.iter().map(|v| v * v).max_by(|a, b| a.total_cmp(b)).unwrap_or(2.0);
    let steepest = x.windows(2).map(|w| w[1] - w[0]).min_by(|a, b| a.total_cmp(b)).unwrap_or(0.5);
    widest * steepest + x.iter().copied().min_by(f64::total_cmp).unwrap_or(3.0)
}

/// Of equal items the last is the largest and the first the smallest.
#[differentiable]
fn ties(x: &[f64]) -> f64 {
    let last = x.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
    let first = x.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
    x[last].powi(2) - 3.0 * x[first] + last as f64
}

#[differentiable]
fn placed(x: &[f64], limit: f64) -> f64 {
    let at = x.iter().position(|v| *v > limit).unwrap_or(x.len() - 1);
    let zero = x.iter().position(|&v| v == 0.0).unwrap_or(0);
    let near = (0..x.len()).position(|i| x[i] * x[i] > 1.0 && i > 0).unwrap();
    x[at] * x[near] * limit + x[zero]
}

/// Comparators of other forms, searches inside loops, results that are kept as references.
#[differentiable]
fn forms(x: &[f64], y: &[f64]) -> f64 {
    let a = x.iter().copied().max_by(|a, &b| a.partial_cmp(&b).unwrap()).unwrap();
    let b = x.iter().max_by(|a, b| (**a).partial_cmp(*b).unwrap()).unwrap();
    let c = x.iter().copied().min_by(|a, b| (*a).total_cmp(b)).unwrap();
    let d = x.iter().max_by(|a, b| b.total_cmp(a)).unwrap().abs() + x.iter().copied().max_by(f64::total_cmp).unwrap();
    let kept = Some(x.iter().max_by(|a, b| a.total_cmp(b)).unwrap());
    let mut sum = x[1..].iter().map(|v| v * y.iter().copied().max_by(f64::total_cmp).unwrap()).sum::<f64>();
    for v in x[1..].iter().skip(x.iter().position(|v| *v > 0.0).unwrap_or(0)) {
        sum += v * v;
    }
    sum + a * b - c * d + kept.map_or(0.0, |v| v.sin())
}

/// Of a part that may be empty, and of numbers that may be none.
#[differentiable]
fn part(x: &[f64], k: usize) -> f64 {
    x[..k].iter().copied().max_by(|a, b| a.total_cmp(b)).unwrap() * x[0]
}
#[differentiable]
fn steps(x: &[f64], n: usize) -> f64 {
    (1..n).map(|i| x[i] - x[i - 1]).max_by(|a, b| a.total_cmp(b)).unwrap()
}
#[differentiable]
fn lowest(x: &[f64]) -> f64 {
    x.iter().copied().min_by(|a, b| a.total_cmp(b)).unwrap() * 2.0
}

#[test]
fn no_numbers_are_above_all() {
    for engine in [Engine::Auto, Engine::Dynamic] {
        with_engine(engine, || {
            assert!(part::value(&[3.0, f64::NAN, 1.0], 3).unwrap().is_nan());
            assert_eq!(lowest::value_and_grad(&[f64::NAN, 1.0, 2.0]).unwrap(), (2.0, vec![0.0, 2.0, 0.0]));
            assert_eq!(part::value(&[3.0, f64::NAN], 1).unwrap(), 9.0);
            assert!(part::value(&[3.0, 4.0], 0).is_err());
            assert!(part::grad(&[3.0, 4.0], 0).is_err());
            assert!(steps::value_and_grad(&[3.0, 4.0], 1).is_err());
        });
    }
}

#[test]
fn searches_compile() {
    for x in [&[0.5, -3.5, 1.0][..], &[2.0], &[-1.0, -2.0, -0.25, 0.0]] {
        agrees(x, range, range::value_and_grad);
    }
    let y = [1.0, 2.0, 3.0, 4.0];
    for x in [[0.5, 3.5, 1.0, -1.0], [9.0, -9.0, 2.0, 3.0], [0.25, 1.0, 4.0, 16.0]] {
        let both = |x: &[f64]| picked::value_and_grad(x, &y).map(|(v, g)| (v, g.0));
        agrees(&x, |x| picked(x, &y), both);
    }
    for x in [&[0.5, 2.0, -1.0, 0.75][..], &[-3.0, -1.0], &[2.0, 1.0, 3.0, 0.5]] {
        let both = |x: &[f64]| forms::value_and_grad(x, &y).map(|(v, g)| (v, g.0));
        agrees_on(Engine::Auto, x, |x| forms(x, &y), both);
    }
    for x in [&[][..], &[0.5], &[1.0, -3.0, 2.0, 0.5]] {
        agrees(x, nothing, nothing::value_and_grad);
    }
    for limit in [0.7, 2.5, 9.0] {
        let both = |x: &[f64]| placed::value_and_grad(x, limit).map(|(v, g)| (v, g.0));
        agrees(&[0.5, 2.0, 3.0, 1.5], |x| placed(x, limit), both);
    }
    one_program(&[range::explain(&[1.0]).unwrap(), range::explain(&[1.0, 2.0, 3.0]).unwrap()]);
    one_program(&[placed::explain(&[1.0], 0.5).unwrap(), placed::explain(&[0.0, 2.0, 3.0], 0.5).unwrap()]);
}

#[test]
fn equal_items() {
    let x = [2.0, -1.0, 2.0, -1.0];
    for engine in [Engine::Compiled, Engine::Dynamic] {
        let (value, grad) = with_engine(engine, || ties::value_and_grad(&x)).unwrap();
        assert_eq!((value, grad), (ties(&x), vec![0.0, -3.0, 4.0, 0.0]));
    }
}

#[test]
fn nothing_is_an_error() {
    for engine in [Engine::Compiled, Engine::Dynamic] {
        with_engine(engine, || {
            assert!(range::grad(&[]).unwrap_err().to_string().contains("below the length 0"));
            assert!(placed::grad(&[0.1, 0.2], 0.5).unwrap_err().to_string().contains("below the length 2, found 2"));
        });
    }
    assert!(compiled(|| nothing::grad(&[])).is_empty());
}
