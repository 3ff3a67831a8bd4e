//! Elements of lists that are the same in all trips of a loop, of lists that are written again later: they are kept of the loop.

use super::{agrees, compiled, dynamic, near};
use autograd::prelude::*;

/// Products of a triangle of numbers with vectors that are made anew for each row of `x`.
#[differentiable]
fn triangles(l: &[f64], x: &[f64], d: usize) -> f64 {
    let n = x.len() / d;
    let mut centered = vec![0.0; d];
    let mut product = vec![0.0; d];
    let mut total = 0.0;
    for i in 0..n {
        for j in 0..d {
            centered[j] = x[i * d + j] - l[j];
        }
        for j in 0..d {
            product[j] = l[j] * centered[j];
        }
        let mut at = 0;
        for column in 0..d {
            for row in column + 1..d {
                product[row] += l[at] * centered[column];
                at += 1;
            }
        }
        for j in 0..d {
            total += product[j] * product[j];
        }
    }
    total
}

/// The element is read where the loop runs, however long; where it does not, it may not be there.
#[differentiable]
fn scaled(x: &[f64], k: usize, trips: usize) -> f64 {
    let mut scratch = vec![0.0; x.len()];
    let mut s = 1.0;
    for i in 0..3 {
        for j in 0..x.len() {
            scratch[j] = s * x[j] + i as f64;
        }
        for _ in 0..trips {
            s = (0.5 * s * scratch[k]).sin() + scratch[k].cos() * 0.1;
        }
    }
    s
}

/// The same until values decide.
#[differentiable]
fn grown(x: &[f64], k: usize, limit: f64) -> f64 {
    let mut scratch = vec![0.0; x.len()];
    let mut s = 0.1;
    for _ in 0..2 {
        for j in 0..x.len() {
            scratch[j] = x[j] * x[j] + s;
        }
        let from = s;
        while s < from + limit {
            if s * x[0] > 40.0 {
                break;
            }
            s += scratch[k] * (1.0 + 0.1 * s * scratch[k]);
        }
    }
    s
}

/// Some trips count, and of another loop the last one.
#[differentiable]
fn picked(x: &[f64], k: usize) -> f64 {
    let mut scratch = vec![0.0; x.len()];
    let (mut s, mut last) = (0.0, 1.0);
    for i in 0..x.len() {
        for j in 0..x.len() {
            scratch[j] = x[j] * (1.0 + x[i]);
        }
        for j in 0..x.len() {
            if x[j] > 0.0 {
                s += scratch[k] * x[j] * scratch[k];
            }
        }
        for j in 0..x.len() {
            if x[j] < s {
                last = scratch[k] * x[j] * last.cos();
            }
        }
    }
    s + last
}

/// Two lists that change places, and an index from a list.
#[differentiable]
fn swapped(x: &[f64], at: &[usize]) -> f64 {
    let (mut a, mut b) = (x.to_vec(), vec![0.5; x.len()]);
    let mut s = 0.0;
    for i in 0..at.len() {
        for j in 0..x.len() {
            b[j] += a[at[i]] * a[at[i]] * x[j];
        }
        for j in 0..x.len() {
            s += (a[at[i]] * b[j]).sin();
        }
        std::mem::swap(&mut a, &mut b);
    }
    s
}

/// A list of each call.
#[differentiable]
fn halves(x: &[f64], from: usize, to: usize) -> f64 {
    if to - from < 2 {
        return x[from];
    }
    let mid = from + (to - from) / 2;
    let (a, b) = (halves(x, from, mid), halves(x, mid, to));
    let pair = [a * b, a.sin()];
    let mut s = 0.0;
    for i in from..to {
        s += pair[(to - from) % 2] * x[i];
    }
    s + b
}

#[differentiable(checkpoint(memory = "1 KB"))]
fn bounded(x: &[f64], n: usize) -> f64 {
    let mut s = 0.3;
    for i in 0..n {
        let mut scratch = vec![0.0; x.len()];
        for j in 0..x.len() {
            scratch[j] = s * x[j];
        }
        for c in 0..x.len() {
            for j in c..x.len() {
                s += 0.1 * (scratch[c] * x[j]).sin() / (1.0 + i as f64);
            }
        }
    }
    s
}

#[differentiable]
fn damped(x: f64, m: usize) -> f64 {
    let mut s = x;
    for _ in 0..m {
        s = s.sin() * x;
    }
    s
}

/// A condition that takes a derivative, of a list that is written behind the loop.
#[differentiable]
fn steep(b: &[f64], m: usize) -> f64 {
    let mut w = vec![0.5; b.len() + 1];
    for i in 0..b.len() {
        let mut x = b[i];
        while damped::grad(x, m).unwrap() > 0.2 && x > 0.01 {
            x = x * w[i];
        }
        w[i + 1] = 0.8 * x.cos();
    }
    w[b.len()]
}

fn some(n: usize) -> Vec<f64> {
    (0..n).map(|i| (0.3 + 0.7 * i as f64).sin()).collect()
}

#[test]
fn values_and_gradients() {
    for d in [1, 2, 5, 24] {
        let (l, x) = (some(d * (d + 1) / 2), some(3 * d));
        agrees(&l, |l| triangles(l, &x, d), |l| triangles::value_and_grad(l, &x, d).map(|(v, g)| (v, g.0)));
        agrees(&x, |x| triangles(&l, x, d), |x| triangles::value_and_grad(&l, x, d).map(|(v, g)| (v, g.1)));
    }
    let x = some(5);
    for (k, trips) in [(0, 1), (4, 3), (2, 40), (9, 0)] {
        agrees(&x, |x| scaled(x, k, trips), |x| scaled::value_and_grad(x, k, trips));
    }
    for (k, limit) in [(1, 3.0), (3, 0.0), (7, -1.0)] {
        let grad = |x: &[f64]| grown::value_and_grad(x, k, limit).map(|(v, g)| (v, g.0));
        agrees(&x, |x| grown(x, k, limit), grad);
    }
    for k in [0, 3] {
        agrees(&x, |x| picked(x, k), |x| picked::value_and_grad(x, k));
    }
    for at in [&[][..], &[2], &[0, 4, 4, 1]] {
        agrees(&x, |x| swapped(x, at), |x| swapped::value_and_grad(x, at));
    }
    for n in [1, 2, 7] {
        let x = some(n);
        agrees(&x, |x| halves(x, 0, n), |x| halves::value_and_grad(x, 0, n));
    }
    for m in [0, 1, 4] {
        let b: Vec<f64> = x.iter().map(|x| x.abs() + 0.4).collect();
        agrees(&b, |b| steep(b, m), |b| steep::value_and_grad(b, m));
    }
    for n in [0, 1, 6, 50] {
        agrees(&x, |x| bounded(x, n), |x| bounded::value_and_grad(x, n));
    }
}

#[test]
fn second_derivatives() {
    let (x, v) = (some(6), some(7)[1..].to_vec());
    let same = |f: &dyn Fn() -> autograd::Result<Vec<f64>>| {
        for (a, b) in compiled(f).into_iter().zip(dynamic(f)) {
            near(a, b, 1e-9);
        }
    };
    same(&|| triangles::hvp(&x, &x, 3, &v, &v).map(|(a, b)| [a, b].concat()));
    same(&|| scaled::hvp(&x, 2, 3, &v));
    same(&|| grown::hvp(&x, 2, 2.0, &v, 0.0).map(|h| h.0));
    same(&|| picked::hvp(&x, 2, &v));
    same(&|| swapped::hvp(&x, &[3, 0, 5], &v));
    same(&|| halves::hvp(&x, 0, 6, &v));
    same(&|| bounded::hvp(&x, 5, &v));
    same(&|| picked::jvp(&x, 2, &v).map(|(a, b)| vec![a, b]));
}

#[test]
fn an_index_out_of_range_is_an_error_if_the_loop_runs() {
    let x = some(4);
    for f in [compiled, dynamic] {
        assert!(f(|| scaled::grad(&x, 4, 0)).iter().all(|g| g.is_finite()));
    }
    let e = scaled::grad(&x, 4, 1).unwrap_err().to_string();
    assert!(e.contains("expected an index below the length 4, found 4") && e.contains("kept.rs"), "{e}");
}
