//! Vectors and arrays that functions make and give back.

use super::{compiled, dynamic, near, one_program};
use autograd::prelude::*;

/// A function from slices to vectors, and its entry points.
type Plain = fn(&[f64], usize) -> Vec<f64>;
type Value = fn(&[f64], usize) -> autograd::Result<Vec<f64>>;
type Jvp = fn(&[f64], usize, &[f64]) -> autograd::Result<(Vec<f64>, Vec<f64>)>;

/// Compares value, forward mode and reverse mode with the function itself and central differences.
fn agrees(x: &[f64], k: usize, plain: Plain, value: Value, jvp: Jvp, pull: impl Fn(&[f64], &[f64]) -> Vec<f64>) {
    let wanted = plain(x, k);
    let all_near = |a: &[f64], b: &[f64], tolerance| {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).for_each(|(a, b)| near(*a, *b, tolerance));
    };
    all_near(&compiled(|| value(x, k)), &wanted, 1e-13);
    let d: Vec<f64> = (0..x.len()).map(|i| (i as f64 * 0.9).sin()).collect();
    let ct: Vec<f64> = (0..wanted.len()).map(|i| (i as f64 * 1.1).cos()).collect();
    let (v, t) = compiled(|| jvp(x, k, &d));
    all_near(&v, &wanted, 1e-13);
    all_near(&t, &dynamic(|| jvp(x, k, &d)).1, 1e-12);
    let moved = |h: f64| plain(&x.iter().zip(&d).map(|(x, d)| x + h * d).collect::<Vec<_>>(), k);
    let differences: Vec<f64> = moved(1e-6).iter().zip(moved(-1e-6)).map(|(a, b)| (a - b) / 2e-6).collect();
    all_near(&t, &differences, 1e-6);
    let g = autograd::with_engine(Engine::Compiled, || pull(x, &ct));
    all_near(&g, &autograd::with_engine(Engine::Dynamic, || pull(x, &ct)), 1e-12);
    // ⟨ct, J d⟩ = ⟨Jᵀ ct, d⟩
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    near(dot(&ct, &t), dot(&g, &d), 1e-10);
}

#[differentiable]
fn softmax(x: &[f64], k: usize) -> Vec<f64> {
    let n = x.len();
    let mut out = vec![0.0; n];
    let mut sum = 0.0;
    for i in 0..n {
        out[i] = (x[i] * k as f64).exp();
        sum += out[i];
    }
    for i in 0..n {
        out[i] /= sum;
    }
    out
}

#[differentiable]
fn differences(x: &[f64], k: usize) -> Vec<f64> {
    let mut out = Vec::with_capacity(x.len());
    for i in k..x.len() {
        let d = x[i] - x[i - k];
        out.push(d * d);
    }
    out
}

#[differentiable]
fn two(x: &[f64], k: usize) -> Vec<f64> {
    let mut up: Vec<f64> = Vec::new();
    let mut down = Vec::new();
    let mut s = 0.0;
    for (v, w) in x.iter().zip(x.iter().rev()) {
        s += v * w;
        up.push(s);
        down.push(v.sin() - s);
    }
    up.iter().zip(&down).map(|(a, b)| a * b * k as f64).collect()
}

#[differentiable]
fn grid(x: &[f64], k: usize) -> Vec<f64> {
    (0..k).map(|i| x[i % x.len()] * i as f64).collect::<Vec<_>>()
}

#[differentiable]
fn copied(x: &[f64], k: usize) -> Vec<f64> {
    x[k..].to_vec()
}

#[differentiable]
fn counted(x: &[f64], k: usize) -> [f64; 3] {
    let mut out = [0.0; 3];
    for i in 0..x.len() {
        out[(i + k) % 3] += x[i] * x[i];
    }
    out
}

#[test]
fn vectors_are_results() {
    macro_rules! check {
        ($($f:ident),*) => {$({
            let mut all = Vec::new();
            for (n, k) in [(4, 2), (5, 3), (20, 2), (30, 25)] {
                let x: Vec<f64> = (0..n).map(|i| (i as f64 * 0.7 + 0.3).sin()).collect();
                let pull = |x: &[f64], ct: &[f64]| {
                    let (_, pull) = $f::vjp(x, k).unwrap();
                    assert!(pull(&vec![0.0; ct.len() + 1]).is_err());
                    pull(&ct.to_vec()).unwrap()
                };
                let jvp: Jvp = |x, k, d| $f::jvp(x, k, d);
                agrees(&x, k, $f, |x, k| $f::value(x, k), jvp, pull);
                all.push($f::explain(&x, k).unwrap());
            }
            one_program(&all);
        })*};
    }
    check!(softmax, differences, two, grid, copied);
    let mut all = Vec::new();
    for (n, k) in [(0, 0), (4, 2), (40, 1)] {
        let x: Vec<f64> = (0..n).map(|i| (i as f64 * 0.7 + 0.3).sin()).collect();
        let (v, pull) = compiled(|| counted::vjp(&x, k));
        let (wanted, tape) = dynamic(|| counted::vjp(&x, k));
        v.iter().zip(wanted).for_each(|(a, b)| near(*a, b, 1e-13));
        assert_eq!(v, counted(&x, k));
        let (g, h) = (pull(&[0.5, -1.0, 2.0]).unwrap(), tape(&[0.5, -1.0, 2.0]).unwrap());
        assert_eq!(g.len(), n);
        g.iter().zip(&h).for_each(|(a, b)| near(*a, *b, 1e-13));
        all.push(counted::explain(&x, k).unwrap());
    }
    one_program(&all);
}

/// Vectors on the way, and one that another function gives.
#[differentiable]
fn smoothed(x: &[f64], k: usize) -> f64 {
    let squares: Vec<f64> = x.iter().map(|v| v * v).collect();
    let mut means = Vec::with_capacity(x.len());
    for i in 0..squares.len() {
        means.push(squares[i] / (i + k) as f64);
    }
    let mut s = 0.0;
    for i in 0..means.len() {
        s += means[i] * squares[(i + k) % squares.len()];
    }
    s
}
#[differentiable]
fn entropy(x: &[f64]) -> f64 {
    let p: Vec<f64> = softmax(x, 1);
    let mut s = 0.0;
    for i in 0..p.len() {
        s -= p[i] * p[i].ln();
    }
    s
}
/// Not as many as the loop has trips, not one at a time, and not floats.
#[differentiable]
fn grown(x: &[f64], k: usize) -> f64 {
    let (mut some, mut twice, mut numbers, mut nested) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for i in 0..x.len() {
        if i % 2 == 0 {
            some.push(x[i]);
        }
        twice.push(x[i]);
        twice.push(x[i] * x[i]);
        numbers.push(i + k);
        for j in 0..i {
            nested.push(x[j] * x[i]);
        }
    }
    let all: f64 = some.iter().chain(&twice).chain(&nested).map(|v| v * v).sum();
    all * numbers.len() as f64
}

#[test]
fn vectors_on_the_way() {
    let (mut all, x) = (Vec::new(), [0.5, -0.3, 1.2, 0.8, -1.1, 0.4, 0.9]);
    for n in [1, 3, 7] {
        let x = &x[..n];
        super::agrees(x, |x| smoothed(x, 2), |x| smoothed::value_and_grad(x, 2));
        all.push(smoothed::explain(x, 2).unwrap());
        super::agrees(x, entropy, entropy::value_and_grad);
        super::agrees(x, |x| grown(x, 2), |x| grown::value_and_grad(x, 2));
    }
    one_program(&all);
}

#[differentiable]
fn weighed(x: f64, w: f64) -> f64 {
    (x * w).sin() + x
}

/// What closures give is known by the type of the vector.
#[differentiable]
fn collected_by_closures(x: &[f64], k: usize) -> f64 {
    let half = |v: f64| 0.5 * v;
    let a: Vec<f64> = x.iter().map(|v| half(*v)).collect();
    let b: Vec<f64> = a.iter().zip(x).map(|(a, &v)| weighed(v, *a)).collect();
    let c = b
        .iter()
        .enumerate()
        .map(|(i, v)| {
            let scaled = v * (i + k) as f64;
            if scaled > 1.0 { scaled.ln() } else { scaled - 1.0 }
        })
        .collect::<Vec<f64>>();
    let mut s = 0.0;
    for i in 0..c.len() {
        s += c[i] * a[i];
    }
    s
}

#[differentiable]
fn given_by_closures(x: &[f64], k: usize) -> Vec<f64> {
    x.iter().map(|v| weighed(*v, k as f64)).collect()
}

#[test]
fn vectors_are_collected_from_closures() {
    let x: Vec<f64> = (0..20).map(|i| 1.3 * (f64::from(i) * 0.7).sin()).collect();
    one_program(&[(1, 0), (20, 3)].map(|(n, k)| collected_by_closures::explain(&x[..n], k).unwrap()));
    for (n, k) in [(0, 0), (1, 1), (20, 3)] {
        super::agrees(&x[..n], |x| collected_by_closures(x, k), |x| collected_by_closures::value_and_grad(x, k));
        let x = &x[..n];
        agrees(x, k, given_by_closures, given_by_closures::value, given_by_closures::jvp, |x, ct| {
            given_by_closures::vjp(x, k).unwrap().1(&ct.to_vec()).unwrap()
        });
    }
}

/// Vectors that other functions give, over two levels of calls: bound, indexed, gone over beside others, passed on, returned.
#[differentiable]
fn filtered(x: &[f64], k: usize) -> Vec<f64> {
    let mut out = vec![0.0; x.len()];
    for i in 0..x.len() {
        out[i] = 0.5 * x[i] + 0.25 * x[(i + k) % x.len()].sin();
    }
    out
}
#[differentiable]
fn stacked(x: &[f64], k: usize) -> Vec<f64> {
    let once: Vec<f64> = filtered(x, k);
    let twice: Vec<f64> = filtered(&once, k + 1);
    once.iter().zip(&twice).map(|(a, b)| a * b).collect()
}
#[differentiable]
fn handed_on(x: &[f64], k: usize) -> Vec<f64> {
    stacked(&filtered(x, k), 1)
}
#[differentiable]
fn repeated(x: &[f64], k: usize) -> Vec<f64> {
    let mut y = x.to_vec();
    for _ in 0..k {
        y = filtered(&y, 1);
    }
    y
}
#[differentiable]
fn used(x: &[f64], k: usize) -> f64 {
    let y: Vec<f64> = handed_on(x, k);
    let z: Vec<f64> = repeated(&y[1..], 2);
    let mut s = 0.0;
    for i in 0..z.len() {
        s += z[i] * y[i];
    }
    for (a, b) in y.iter().zip(x) {
        s += a * b;
    }
    for v in &z {
        s += v * v;
    }
    s + z[z.len() - 1] + y.iter().map(|v| v.exp()).sum::<f64>()
}
/// The same of what is no list to the caller: sorted, and given by a plain function.
fn ramp(n: usize) -> Vec<f64> {
    (0..n).map(|i| i as f64).collect()
}
#[differentiable]
fn used_otherwise(x: &[f64], k: usize) -> f64 {
    let mut y: Vec<f64> = filtered(x, k);
    let r: Vec<f64> = ramp(3);
    y.push(r[1] * x[0]);
    y.reverse();
    y[0] * y[1] + r[2] * y[2]
}

#[test]
fn vectors_of_other_functions_are_lists() {
    macro_rules! check {
        ($($f:ident),*) => {$({
            let mut all = Vec::new();
            for (n, k) in [(3, 2), (5, 3), (20, 2), (33, 5)] {
                let x: Vec<f64> = (0..n).map(|i| (i as f64 * 0.7 + 0.3).sin()).collect();
                let pull = |x: &[f64], ct: &[f64]| $f::vjp(x, k).unwrap().1(&ct.to_vec()).unwrap();
                let jvp: Jvp = |x, k, d| $f::jvp(x, k, d);
                agrees(&x, k, $f, |x, k| $f::value(x, k), jvp, pull);
                all.push($f::explain(&x, k).unwrap());
            }
            one_program(&all);
        })*};
    }
    check!(filtered, stacked, handed_on, repeated);
    let mut all = Vec::new();
    for n in [3, 5, 20, 33] {
        let x: Vec<f64> = (0..n).map(|i| (i as f64 * 0.7 + 0.3).sin()).collect();
        super::agrees(&x, |x| used(x, 2), |x| used::value_and_grad(x, 2));
        super::agrees(&x, |x| used_otherwise(x, 2), |x| used_otherwise::value_and_grad(x, 2));
        let d: Vec<f64> = x.iter().map(|v| v.cos()).collect();
        let products = compiled(|| used::hvp(&x, 2, &d)).into_iter().zip(dynamic(|| used::hvp(&x, 2, &d)));
        products.for_each(|(a, b)| near(a, b, 1e-10));
        all.push(used::explain(&x, 2).unwrap());
    }
    one_program(&all);
}
