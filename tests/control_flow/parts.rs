//! Parts of slices, with bounds that are known at run time: rows of flat tables, windows, halves.

use super::{agrees, compiled, dynamic, joined, one_program};
use autograd::prelude::*;

#[differentiable]
fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    let mut s = 0.0;
    for (x, y) in a.iter().zip(b) {
        s += (x - y) * (x - y);
    }
    s
}

/// The mean distance of points to the nearest of some centres, both flat.
#[differentiable]
fn kmeans(points: &[f64], centres: &[f64], d: usize) -> f64 {
    let (n, k) = (points.len() / d, centres.len() / d);
    let mut total = 0.0;
    for i in 0..n {
        let point = &points[i * d..(i + 1) * d];
        let mut best = f64::INFINITY;
        for j in 0..k {
            let far = squared_distance(point, &centres[j * d..(j + 1) * d]);
            if far < best {
                best = far;
            }
        }
        total += best;
    }
    total / n as f64
}

/// The log-density of a mixture of Gaussians with diagonal covariances.
#[differentiable]
fn mixture(weights: &[f64], means: &[f64], scales: &[f64], points: &[f64]) -> f64 {
    let k = weights.len();
    let d = means.len() / k;
    let total: f64 = weights.iter().map(|w| w.exp()).sum();
    let mut sum = 0.0;
    for x in points.chunks_exact(d) {
        let mut likely = 0.0;
        for j in 0..k {
            let (mu, s) = (&means[j * d..(j + 1) * d], &scales[j * d..(j + 1) * d]);
            let mut far = 0.0;
            for ((x, m), s) in x.iter().zip(mu.iter()).zip(s.iter()) {
                far += ((x - m) * s.exp()).powi(2);
            }
            likely += (weights[j] - 0.5 * far + s.iter().sum::<f64>()).exp() / total;
        }
        sum += likely.ln();
    }
    sum
}

#[test]
fn rows_of_flat_tables() {
    let mut all = Vec::new();
    for (n, k, d) in [(1, 1, 1), (3, 2, 2), (7, 3, 5), (40, 2, 20)] {
        let x: Vec<f64> = (0..(n + k) * d).map(|i| (i as f64 * 1.3 + 0.2).sin()).collect();
        let at = n * d;
        let split = |(v, (a, b)): (f64, (Vec<f64>, Vec<f64>))| (v, joined(&[&a, &b]));
        agrees(&x, |x| kmeans(&x[..at], &x[at..], d), |x| kmeans::value_and_grad(&x[..at], &x[at..], d).map(split));
        all.push(kmeans::explain(&x[..at], &x[at..], d).unwrap());
    }
    one_program(&all);
    let mut all = Vec::new();
    for (n, k, d) in [(1, 1, 1), (4, 2, 3), (9, 3, 2), (30, 1, 18)] {
        let x: Vec<f64> = (0..k + (2 * k + n) * d).map(|i| (i as f64 * 0.9 + 0.1).sin() * 0.5).collect();
        let cut = |x: &[f64]| {
            let (w, x) = x.split_at(k);
            let (m, x) = x.split_at(k * d);
            let (s, x) = x.split_at(k * d);
            [w, m, s, x].map(<[f64]>::to_vec)
        };
        let plain = |x: &[f64]| {
            let [w, m, s, x] = cut(x);
            mixture(&w, &m, &s, &x)
        };
        agrees(&x, plain, |x| {
            let [w, m, s, x] = cut(x);
            mixture::value_and_grad(&w, &m, &s, &x).map(|(v, (a, b, c, d))| (v, joined(&[&a, &b, &c, &d])))
        });
        let [w, m, s, x] = cut(&x);
        all.push(mixture::explain(&w, &m, &s, &x).unwrap());
    }
    one_program(&all);
}

/// Everything that is done with a part.
#[differentiable]
fn parts(x: &[f64], a: usize, b: usize) -> f64 {
    let mut s = 0.0;
    for v in &x[a..b] {
        s = 0.5 * s + v;
    }
    for (i, v) in x[..b].iter().enumerate().rev() {
        s += v * (i % 3) as f64;
    }
    s += x[a..].iter().map(|v| v * v).sum::<f64>();
    s += x[a..=b].iter().zip(x[1..].iter()).map(|(u, v)| u * v).sum::<f64>();
    let (low, high) = x.split_at(b);
    for i in 0..low.len() {
        s += low[i] * high[i % high.len()];
    }
    let middle = &low[a..];
    let inner = &middle[1..middle.len() - 1];
    if !inner.is_empty() {
        s += inner[inner.len() - 1].sin() + x[a..b][1];
    }
    s * x[a..][..2].len() as f64
}

/// Windows and chunks.
#[differentiable]
fn windows(x: &[f64], k: usize) -> f64 {
    let smooth: f64 = x.windows(k).map(|w| (w[0] - w[w.len() - 1]).powi(2)).sum();
    let mut s = 0.0;
    for (i, chunk) in x.chunks(k).enumerate() {
        let mut product = 1.0;
        for v in chunk {
            product *= v;
        }
        s += product * (i + chunk.len()) as f64;
    }
    for (v, w) in x.chunks_exact(k).rev().zip(x.windows(2)) {
        s += v[0] * w[1] + v.iter().sum::<f64>();
    }
    for v in x.iter().skip(1).step_by(k) {
        s += v * v;
    }
    for (u, &v) in x.iter().take(k).zip(x.iter().rev().skip(k)) {
        s += u * v;
    }
    s + smooth
}

#[test]
fn parts_windows_and_chunks() {
    let (mut all, mut of_windows) = (Vec::new(), Vec::new());
    for (n, a, b) in [(4, 0, 2), (9, 2, 6), (40, 3, 39)] {
        let x: Vec<f64> = (0..n).map(|i| (i as f64 * 0.7 + 0.4).cos()).collect();
        agrees(&x, |x| parts(x, a, b), |x| parts::value_and_grad(x, a, b));
        all.push(parts::explain(&x, a, b).unwrap());
        for k in [1, 2, 3, n] {
            agrees(&x, |x| windows(x, k), |x| windows::value_and_grad(x, k));
            of_windows.push(windows::explain(&x, k).unwrap());
        }
    }
    one_program(&all);
    one_program(&of_windows);
}

/// Copies of parts that are written to, and the gradient with respect to a part.
#[differentiable]
fn relaxed(x: &[f64], d: usize, times: usize) -> f64 {
    let mut state = x[..d].to_vec();
    for t in 0..times {
        let from = (t * d) % (x.len() - d + 1);
        let input = &x[from..from + d];
        for j in 0..state.len() {
            state[j] = (0.9 * state[j] + 0.2 * input[j]).tanh();
        }
    }
    state.iter().sum()
}
#[differentiable]
fn energy(x: &[f64]) -> f64 {
    let mut s = 0.0;
    for i in 0..x.len() {
        s += x[i].powi(3);
    }
    s
}
#[differentiable]
fn forces(x: &[f64], a: usize, b: usize) -> f64 {
    energy(&x[a..b]) + energy::value(&x[b..]).unwrap_or(0.0)
}

#[test]
fn parts_are_copied_and_passed_on() {
    let (mut all, mut of_forces) = (Vec::new(), Vec::new());
    for (n, d, times) in [(1, 1, 0), (3, 1, 4), (7, 3, 5), (50, 20, 30)] {
        let x: Vec<f64> = (0..n).map(|i| (i as f64 * 0.7 + 0.4).cos()).collect();
        agrees(&x, |x| relaxed(x, d, times), |x| relaxed::value_and_grad(x, d, times));
        all.push(relaxed::explain(&x, d, times).unwrap());
        let plain = |x: &[f64]| energy(&x[d / 2..d]) + energy(&x[d..]);
        agrees(&x, plain, |x| forces::value_and_grad(x, d / 2, d));
        of_forces.push(forces::explain(&x, d / 2, d).unwrap());
    }
    one_program(&all);
    one_program(&of_forces);
}

#[differentiable]
fn bounded(x: &[f64], a: usize, b: usize, i: usize) -> f64 {
    let part = &x[a..b];
    part[i] * part[0]
}
#[differentiable]
fn chunked(x: &[f64], d: usize) -> f64 {
    x.chunks(d).map(|c| c[0]).sum::<f64>()
}

#[test]
fn parts_end_where_they_end() {
    let x: Vec<f64> = (0..20).map(f64::from).collect();
    assert_eq!(compiled(|| bounded::value_and_grad(&x, 2, 5, 1)).0, 6.0);
    assert_eq!(dynamic(|| bounded::grad(&x, 2, 5, 1))[2..5], [3.0, 2.0, 0.0]);
    for engine in [autograd::Engine::Compiled, autograd::Engine::Dynamic] {
        let text = |a, b, i| {
            let e = autograd::with_engine(engine, || bounded::grad(&x, a, b, i)).unwrap_err().to_string();
            assert!(e.contains("parts.rs:"), "{e}");
            e
        };
        // inside of the slice, but not of the part
        assert!(text(2, 5, 3).contains("below the length 3, found 3"));
        assert!(text(2, 21, 0).contains("a range up to 20 at the most, found 21"));
        assert!(text(6, 5, 0).contains("a range up to 5 at the most, found 6"));
        assert!(text(5, 5, 0).contains("below the length 0, found 0"));
        assert!(autograd::with_engine(engine, || chunked::grad(&x, 0)).is_err());
    }
}

/// What is written through `iter_mut` is written in place.
#[differentiable]
fn written_through_iterators(x: &[f64], n: usize) -> f64 {
    let mut y = vec![0.1; x.len()];
    for (i, v) in y.iter_mut().enumerate() {
        *v = x[i] * (i + n) as f64 + *v;
    }
    for (v, a) in y.iter_mut().zip(x.iter()) {
        *v *= a.cos();
        if v.abs() > 0.5 {
            *v = v.sin();
        }
    }
    for v in &mut y {
        *v += 0.3 * v.powi(2);
    }
    for (k, (v, &a)) in y.iter_mut().skip(1).zip(x).enumerate().rev() {
        *v -= a * k as f64;
    }
    for v in y.iter_mut().rev().take(n) {
        if *v > 2.0 {
            continue;
        }
        *v = *v * *v;
    }
    let mut last = 0.0;
    for v in y.iter_mut() {
        *v += 0.5 * last;
        last = *v;
    }
    y.iter().sum()
}

#[test]
fn items_are_written_through_iterators() {
    let x: Vec<f64> = (0..23).map(|i| (f64::from(i) * 0.7).sin()).collect();
    let all: Vec<_> =
        [(1, 0), (4, 2), (23, 5)].map(|(len, n)| written_through_iterators::explain(&x[..len], n).unwrap()).into();
    one_program(&all);
    for (len, n) in [(1, 0), (4, 2), (9, 3), (23, 30)] {
        agrees(&x[..len], |x| written_through_iterators(x, n), |x| written_through_iterators::value_and_grad(x, n));
    }
}

/// An index that plain code reads and an item that is bound anew: these loops go over the items.
#[differentiable]
fn written_in_other_ways(x: &[f64]) -> f64 {
    let names = ["a", "bb", "ccc"];
    let mut y = vec![1.0; x.len()];
    for (i, v) in y.iter_mut().enumerate() {
        *v = x[i] * names[i % 3].len() as f64;
    }
    for v in y.iter_mut() {
        let v = &mut *v;
        *v += 1.0;
    }
    y.iter().map(|v| v * v).sum()
}

#[test]
fn items_are_written_in_other_ways() {
    agrees(&[0.3, -0.8, 1.1, 0.4], written_in_other_ways, written_in_other_ways::value_and_grad);
}
