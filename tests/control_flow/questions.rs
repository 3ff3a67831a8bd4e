//! Conditions that ask of what sort a float is, or whether something holds for an item of a list.

use super::{agrees, one_program};
use autograd::prelude::*;

#[differentiable]
fn guarded(x: &[f64]) -> f64 {
    let mut sum = 0.0;
    for i in 0..x.len() {
        if x[i].is_nan() || !x[i].is_finite() {
            continue;
        }
        sum += if (1.0 / (x[i] - 0.25)).is_infinite() { 3.0 * x[i] } else { x[i].exp() * x[i] };
    }
    sum
}

#[differentiable]
fn signs(x: &[f64]) -> f64 {
    let mut sum = 0.0;
    for v in x {
        if v.is_sign_negative() {
            sum += v * v;
        } else if (2.0 * v).is_sign_positive() {
            sum += v.sin();
        }
    }
    sum
}

#[differentiable]
fn any(x: &[f64]) -> f64 {
    if x.iter().any(|v| *v < -1.0) { x[0] * x[1] } else { x[1].exp() }
}

#[differentiable]
fn all(x: &[f64], bound: f64) -> f64 {
    let mut sum = 0.0;
    for i in 0..x.len() {
        if x.iter().take(i).map(|v| v * v).all(|square| square < bound) && !(i..x.len()).any(|k| x[k] > 2.5) {
            sum += x[i] * x[i] * bound;
        } else {
            sum -= x[i];
        }
    }
    sum
}

/// What comes after the item that is found is not asked: the last index is not there.
#[differentiable]
fn found(x: &[f64]) -> f64 {
    let mut product = 1.0;
    if (0..x.len() + 1).any(|i| x[i] > 0.5) {
        product *= x[0];
    }
    if (0..x.len()).filter(|&i| i % 2 == 0).all(|i| x[i] != 7.0) {
        product *= 2.0 + x[x.len() - 1];
    }
    if (0..x.len() + 1).map(|i| x[i] * x[i]).any(|square| square > 0.25)
        && (0..x.len() + 1).filter(|&i| x[i] > 0.5).any(|i| i < 9)
    {
        product *= 3.0;
    }
    product
}

/// Names of a condition's own, and booleans that are bound.
#[differentiable]
fn bound(x: &[f64]) -> f64 {
    let v = 0.5;
    let large = x.iter().any(|v| v.abs() > 2.0);
    if large { x[0] * v } else { x[0] * x[0] }
}

#[test]
fn conditions_on_sorts_and_items_compile() {
    for x in [&[0.5, 1.5, 2.0, 0.3][..], &[-0.5, 0.7], &[3.0, -1.5, 0.2, 0.1, 1.0], &[0.3, 0.2], &[0.6, -0.1, 0.2, 4.0]]
    {
        agrees(x, guarded, guarded::value_and_grad);
        agrees(x, signs, signs::value_and_grad);
        agrees(x, any, any::value_and_grad);
        for bound in [0.1, 1.0, 10.0] {
            agrees(x, |x| all(x, bound), |x| all::value_and_grad(x, bound).map(|(v, (g, _))| (v, g)));
        }
        if x[0] > 0.5 {
            agrees(x, found, found::value_and_grad);
        }
        autograd::with_engine(Engine::Auto, || {
            let (value, grad) = bound::value_and_grad(x).unwrap();
            let large = x.iter().any(|v| v.abs() > 2.0);
            assert_eq!(value, bound(x));
            assert_eq!(grad[0], if large { 0.5 } else { 2.0 * x[0] });
        });
    }
    one_program(&[&[0.5, 0.1][..], &[3.0; 5]].map(|x| guarded::explain(x).unwrap()));
    one_program(&[&[0.5, 0.1][..], &[3.0; 5]].map(|x| any::explain(x).unwrap()));
    assert!(found::grad(&[0.1, 0.2]).is_err());
    assert_eq!(guarded::value_and_grad(&[0.25, 4.0]).unwrap(), (0.75 + 4.0 * 4f64.exp(), vec![3.0, 5.0 * 4f64.exp()]));
    assert_eq!(signs::value_and_grad(&[-0.0, 0.0]).unwrap(), (0.0, vec![0.0, 1.0]));
    let far = [f64::INFINITY, f64::NAN, f64::NEG_INFINITY, 0.09];
    assert_eq!(guarded::value(&far).unwrap(), guarded(&far));
    assert_eq!(guarded::grad(&far).unwrap()[..3], [0.0; 3]);
}
