//! Vectors that are sorted by their values, turned round or filtered: order statistics of any number of floats.

use super::{agrees, agrees_on, compiled, one_program};
use autograd::{Engine, prelude::*, with_engine};

/// The mean of the worst tenth: conditional value at risk.
#[differentiable]
fn at_risk(losses: &[f64]) -> f64 {
    let mut v = losses.to_vec();
    v.sort_by(|a, b| b.partial_cmp(a).unwrap());
    let n = losses.len() / 10 + 1;
    let mut sum = 0.0;
    for i in 0..n {
        sum += v[i] * v[i];
    }
    sum / n as f64
}

#[differentiable]
fn median(x: &[f64]) -> f64 {
    let mut v = Vec::new();
    for a in x {
        v.push(a * a);
    }
    v.sort_unstable_by(f64::total_cmp);
    let n = v.len();
    if n % 2 == 1 { v[n / 2] } else { 0.5 * (v[n / 2 - 1] + v[n / 2]) }
}

/// A few values of its own.
#[differentiable]
fn spread(a: f64, b: f64, c: f64) -> f64 {
    let mut v = vec![a * b, b * c, c * a];
    v.sort_by(|x, y| x.total_cmp(y));
    (v[2] - v[0]) * v[1]
}

/// Sorted in each trip.
#[differentiable]
fn repeated(x: &[f64], n: usize) -> f64 {
    let mut v = x.to_vec();
    let mut sum = 0.0;
    for k in 0..n {
        v.sort_by(|a, b| a.partial_cmp(b).unwrap());
        sum += v[k] * v[0];
        for i in 0..v.len() {
            v[i] = (v[i] * 3.0).sin();
        }
    }
    sum
}

#[differentiable]
fn turned(x: &[f64]) -> Vec<f64> {
    let mut v = x.to_vec();
    v.reverse();
    for i in 0..x.len() {
        v[i] *= x[i] * x[0];
    }
    v
}

#[differentiable]
fn turned_sum(x: &[f64]) -> f64 {
    let y: Vec<f64> = turned(x);
    let mut s = 0.0;
    for i in 0..y.len() {
        s += y[i] * i as f64;
    }
    s
}

#[differentiable]
fn quantile(x: &[f64], q: f64) -> f64 {
    assert!(!x.is_empty() && (0.0..=1.0).contains(&q), "q is {q}");
    assert!(x.iter().all(|v| v.is_finite()), "not finite");
    let mut s = x.to_vec();
    s.sort_by(|a, b| a.partial_cmp(b).expect("numbers"));
    let at = q * (s.len() - 1) as f64;
    let lo = at.floor() as usize;
    let hi = (lo + 1).min(s.len() - 1);
    s[lo] + (at - lo as f64) * (s[hi] - s[lo])
}

/// An array, which is as long as it is.
#[differentiable]
fn principal(a: f64, b: f64, c: f64) -> f64 {
    let mut e = [a, b * a, c * b];
    e.sort_by(|x, y| y.partial_cmp(x).unwrap());
    if (0.0..10.0).contains(&e[0]) { e[0] * e[1] } else { e[2] * e[2] }
}

#[differentiable]
fn under_a_condition(x: &[f64], k: f64) -> f64 {
    let mut v = x.to_vec();
    if k > 0.0 {
        v.sort_by(|a, b| a.total_cmp(b));
        v.reverse();
    }
    v[0] * v[1] * k
}

#[differentiable]
fn single(x: &[f32]) -> f32 {
    let mut v = x.to_vec();
    v.sort_by(|&a, &b| b.total_cmp(&a));
    v[0] * v[1]
}

/// Vectors of what a filter leaves: how long they are the data say.
#[differentiable]
fn positive(x: &[f64]) -> f64 {
    let kept: Vec<f64> = x.iter().copied().filter(|v| *v > 0.0).collect();
    let mut s = 0.0;
    for i in 0..kept.len() {
        s += kept[i] * kept[i] * (i + 1) as f64;
    }
    s / (kept.len() + 1) as f64
}

/// The mean of what lies inside of the quartiles.
#[differentiable]
fn inner_mean(x: &[f64]) -> f64 {
    let mut s = x.to_vec();
    s.sort_by(|a, b| a.partial_cmp(b).unwrap());
    let (lo, hi) = (s[s.len() / 4], s[s.len() * 3 / 4]);
    let inner = x.iter().copied().filter(|&v| v >= lo && v <= hi).map(|v| v * v).collect::<Vec<f64>>();
    assert!(!inner.is_empty());
    inner.iter().sum::<f64>() / inner.len() as f64
}

/// Vectors that grow under conditions, beside one that always does.
#[differentiable]
fn sorted_out(x: &[f64], k: f64) -> f64 {
    let (mut high, mut low, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for v in x {
        let scaled = v * k;
        if scaled > 0.5 {
            high.push(scaled * scaled);
        }
        if scaled < -0.5 {
            let square = scaled * scaled;
            low.push(square * scaled);
        }
        all.push(scaled);
    }
    let mut s = 0.0;
    for i in 0..high.len().min(low.len()) {
        s += high[i] * low[i];
    }
    for i in 0..all.len() {
        s += all[i] * i as f64;
    }
    s + high.len() as f64 * k
}

/// The first of them, which end where they end.
#[differentiable]
fn first(x: &[f64], n: usize, k: usize) -> f64 {
    let part = &x[..n];
    let own = x[..n].to_vec();
    part[k] * own[0]
}
#[differentiable]
fn first_of(x: &[f64], n: usize) -> Vec<f64> {
    let mut v = x[..n].to_vec();
    v[0] *= 2.0;
    v
}

/// Two vectors under one condition, pairs, and parts of what has been collected.
#[differentiable(deny(dynamic))]
fn both(x: &[f64], n: usize) -> f64 {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let mut all: Vec<f64> = Vec::new();
    let mut sum = 0.0;
    for v in &x[..n] {
        if *v > -0.905 {
            a.push(v * v);
            b.push(v * 2.0);
        }
        all.push(v + 1.0);
        sum += v
    }
    for i in 0..a.len() {
        sum += a[i] * b[i];
    }
    let mut s = a[..].to_vec();
    s.sort_by(|p, q| p.total_cmp(q));
    let part = &x[..n];
    let mut t = part[..].to_vec();
    t.reverse();
    let least = if !s.is_empty() { s[0] } else { 0.0 };
    sum + least * t[0] + all[n - 1]
}
#[differentiable]
fn pairs(x: &[f64]) -> f64 {
    let made: Vec<_> = x.iter().filter(|v| **v > 0.0).map(|v| (*v, 2.0 * v)).collect();
    let mut more: Vec<_> = Vec::new();
    for v in x {
        if *v < 0.0 {
            more.push((*v, 1.0));
        }
    }
    let mut s = 0.0;
    for (a, b) in &made {
        s += a * b;
    }
    for (a, b) in &more {
        s += a * b;
    }
    s
}
#[differentiable]
fn begun(x: &[f64], k: f64) -> f64 {
    let mut v = Vec::new();
    if k > 0.0 {
        v = x.to_vec();
    }
    for t in x {
        v.push(*t * k);
    }
    v.iter().sum()
}

#[differentiable]
fn clipped(x: &[f64], k: f64) -> Vec<f64> {
    x.iter().map(|v| v * k).filter(|v| *v < 1.0).collect()
}

#[differentiable]
fn clipped_sum(x: &[f64], k: f64) -> f64 {
    let mut v: Vec<f64> = clipped(x, k);
    v.reverse();
    for i in 0..v.len() {
        v[i] *= x[i];
    }
    v.iter().map(|a| a * a).sum()
}

const FEW: [f64; 5] = [0.3, -1.2, 2.5, 0.7, -0.1];

fn many(n: usize) -> Vec<f64> {
    (0..n).map(|i| ((i * 37 + 11) % 101) as f64 / 50.0 - 1.0).collect()
}

#[test]
fn sorting_compiles_and_agrees() {
    for x in [&FEW[..], &FEW[..1], &many(40)] {
        agrees(x, at_risk, at_risk::value_and_grad);
        agrees(x, median, median::value_and_grad);
        agrees(x, turned_sum, turned_sum::value_and_grad);
    }
    agrees(&FEW, |x| repeated(x, 3), |x| repeated::value_and_grad(x, 3));
    agrees(&many(20), |x| repeated(x, 2), |x| repeated::value_and_grad(x, 2));
    let of = |x: &[f64]| spread::value_and_grad(x[0], x[1], x[2]).map(|(y, g)| (y, vec![g.0, g.1, g.2]));
    agrees(&[0.5, 2.0, -1.5], |x| spread(x[0], x[1], x[2]), of);
    let of = |x: &[f64]| principal::value_and_grad(x[0], x[1], x[2]).map(|(y, g)| (y, vec![g.0, g.1, g.2]));
    agrees(&[1.0, 3.0, 2.0], |x| principal(x[0], x[1], x[2]), of);
    agrees(&[20.0, 1.5, 3.0], |x| principal(x[0], x[1], x[2]), of);
    for (q, x) in [(0.3, &FEW[..]), (1.0, &FEW[..]), (0.77, &many(40))] {
        let of = |x: &[f64]| quantile::value_and_grad(x, q).map(|(y, g)| (y, g.0));
        agrees(x, |x| quantile(x, q), of);
    }
    for k in [2.0, -2.0] {
        let of = |x: &[f64]| under_a_condition::value_and_grad(x, k).map(|(y, g)| (y, g.0));
        agrees(&FEW, |x| under_a_condition(x, k), of);
        agrees(&many(40), |x| under_a_condition(x, k), of);
    }
    assert_eq!(compiled(|| single::grad(&[1.0, 3.0, 2.0])), [0.0, 2.0, 3.0]);
    assert_eq!(compiled(|| turned::value(&[2.0, 3.0, 5.0])), [20.0, 18.0, 20.0]);
    one_program(&[at_risk::explain(&FEW).unwrap(), at_risk::explain(&many(40)).unwrap()]);
}

#[test]
fn parts_from_the_start_end_where_they_end() {
    assert_eq!(compiled(|| first::grad(&FEW, 3, 2)), [2.5, 0.0, 0.3, 0.0, 0.0]);
    assert_eq!(compiled(|| first_of::value(&FEW, 2)), [0.6, -1.2]);
    for engine in [Engine::Compiled, Engine::Dynamic] {
        let e = with_engine(engine, || first::value(&FEW, 3, 3)).unwrap_err().to_string();
        assert!(e.contains("found 3") || e.contains("index is 3"), "{e}");
    }
}

#[test]
fn filters_are_collected() {
    for x in [&FEW[..], &FEW[..1], &[-1.0][..], &[][..], &many(40)] {
        agrees(x, positive, positive::value_and_grad);
        let of = |x: &[f64]| sorted_out::value_and_grad(x, 0.7).map(|(y, g)| (y, g.0));
        agrees(x, |x| sorted_out(x, 0.7), of);
        let of = |x: &[f64]| clipped_sum::value_and_grad(x, 0.7).map(|(y, g)| (y, g.0));
        agrees(x, |x| clipped_sum(x, 0.7), of);
    }
    agrees(&FEW, |x| both(x, 4), |x| both::value_and_grad(x, 4));
    agrees(&many(40), |x| both(x, 30), |x| both::value_and_grad(x, 30));
    agrees_on(Engine::Auto, &FEW, pairs, pairs::value_and_grad);
    for k in [0.5, -0.5] {
        let of = |x: &[f64]| begun::value_and_grad(x, k).map(|(y, g)| (y, g.0));
        agrees_on(Engine::Auto, &FEW, |x| begun(x, k), of);
    }
    agrees(&FEW, inner_mean, inner_mean::value_and_grad);
    agrees(&many(40), inner_mean, inner_mean::value_and_grad);
    assert_eq!(compiled(|| clipped::value(&[1.0, 3.0, -2.0], 0.5)), [0.5, -1.0]);
    assert_eq!(compiled(|| positive::hvp(&[1.0, -3.0, 2.0], &[1.0; 3])), [2.0 / 3.0, 0.0, 4.0 / 3.0]);
    one_program(&[positive::explain(&FEW).unwrap(), positive::explain(&many(40)).unwrap()]);
}

#[test]
fn derivatives_of_the_second_order_are_those_of_picking() {
    let h = compiled(|| at_risk::hessian(&FEW));
    assert_eq!((h[[2, 2]], h[[0, 0]], h[[2, 0]]), (2.0, 0.0, 0.0));
    let h = compiled(|| at_risk::hessian_sparse(&FEW));
    assert_eq!((h.nnz(), h.get(2, 2)), (1, Some(&2.0)));
    assert_eq!(compiled(|| median::hvp(&FEW, &[1.0; 5])), [0.0, 0.0, 0.0, 2.0, 0.0]);
}

#[test]
fn equal_values_keep_their_order() {
    assert_eq!(compiled(|| at_risk::grad(&[1.0, 1.0, 0.5])), [2.0, 0.0, 0.0]);
    assert_eq!(with_engine(Engine::Dynamic, || at_risk::grad(&[1.0, 1.0, 0.5])).unwrap(), [2.0, 0.0, 0.0]);
}

#[test]
fn a_nan_is_an_error_unless_it_has_a_place() {
    for engine in [Engine::Compiled, Engine::Dynamic] {
        with_engine(engine, || {
            let e = at_risk::grad(&[1.0, f64::NAN]).unwrap_err().to_string();
            assert!(e.contains("at_risk panicked") && e.contains("NaN"), "{e}");
            assert!(median::value(&[1.0, f64::NAN, 2.0]).unwrap() == 4.0);
            assert!(at_risk::value(&[f64::NAN]).unwrap().is_nan());
            let e = quantile::grad(&[1.0, 2.0], 1.5).unwrap_err().to_string();
            assert!(e.contains("q is 1.5"), "{e}");
            assert_eq!(at_risk::grad(&[1.0, 2.0]).unwrap(), [0.0, 4.0]);
        });
    }
}
