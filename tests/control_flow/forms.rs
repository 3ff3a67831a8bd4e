//! Forms that are written around integers and lists, which have to compile whatever becomes of them.

use super::agrees_on;
use autograd::prelude::*;

#[derive(Differentiable, Clone, Debug)]
struct Grid {
    values: Vec<f64>,
    width: usize,
}

#[differentiable]
fn in_a_struct(grid: &Grid, at: usize, x: f64) -> f64 {
    let mut s = 0.0;
    for i in 0..grid.width {
        s += grid.values[(i + at) % grid.values.len()] * x;
    }
    s * grid.width as f64
}

#[differentiable]
fn a_vector(v: &Vec<f64>, n: usize) -> f64 {
    let w = v.clone();
    let (head, tail) = v.split_at(n.min(v.len()));
    let first = head.first().copied().unwrap_or(0.0) * tail.len() as f64;
    w.iter().zip(v).map(|(a, b)| a * b).sum::<f64>() + first + w[w.len() - 1]
}

#[differentiable]
fn shrinking(mut v: &[f64], limit: f64) -> f64 {
    let mut s = 0.0;
    while let [first, rest @ ..] = v {
        if s > limit {
            break;
        }
        s += first * first;
        v = rest;
    }
    s
}

#[differentiable]
fn single(v: &[f32], n: i32) -> f32 {
    let mut s = 0.0;
    for i in 0..v.len() {
        s += v[i] * (n - i as i32) as f32;
    }
    let mut k = n;
    while s > 10.0 && k > 0 {
        s *= 0.5;
        k -= 1;
    }
    s
}

#[differentiable]
fn shadows(v: &[f64], n: usize) -> f64 {
    let v = &v[1..];
    let n = if n > 3 { n - 1 } else { n };
    let scale = |i: usize| if i < n { 1.0 } else { 0.5 };
    let mut total = 0.0;
    for (i, x) in v.iter().enumerate() {
        let x = x * scale(i);
        let n = x * x;
        total += n;
    }
    let v: Vec<f64> = v.iter().map(|x| x * 2.0).collect();
    let mut last = v.len();
    while last > 0 {
        last -= 1;
        total += v[last] / (last + 1) as f64;
    }
    total
}

fn pick(table: &[usize], i: usize) -> usize {
    table[i % table.len()]
}

#[differentiable]
fn permuted(v: &[f64], order: &[usize], shift: usize) -> f64 {
    let mut s = 1.0;
    for i in 0..order.len() {
        s = 0.5 * s + v[pick(order, i + shift)];
    }
    let last = match v {
        [] => 0.0,
        [only] => *only,
        [.., last] => *last * 2.0,
    };
    s + last
}

#[differentiable]
fn moved(x: f64, n: usize) -> [f64; 3] {
    let mut all = [0.0; 3];
    let mut i = 0;
    while i < n {
        all[i % 3] += x * i as f64;
        i += 1;
    }
    all.map(|v| v * 2.0)
}

#[test]
fn forms_compile() {
    autograd::with_engine(Engine::Auto, || {
        let values = vec![0.5, -1.0, 2.0, 0.25, 1.5];
        let grid = Grid { values: values.clone(), width: 3 };
        let (d, dx) = in_a_struct::grad(&grid, 4, 2.0).unwrap();
        assert_eq!((d.values, dx), (vec![6.0, 6.0, 0.0, 0.0, 6.0], 3.0));
        for n in [1, 4] {
            let plain = |x: &[f64]| a_vector(&x.to_vec(), n);
            each(&values, plain, |x| a_vector::value_and_grad(&x.to_vec(), n));
            each(&values, |x| shadows(x, n), |x| shadows::value_and_grad(x, n));
            each(&values, |x| permuted(x, &[2, 0, 1], n), |x| permuted::value_and_grad(x, &[2, 0, 1], n));
        }
        each(&values, |x| shrinking(x, 1.1), |x| shrinking::value_and_grad(x, 1.1).map(|(v, (d, _))| (v, d)));
        let v: Vec<f32> = values.iter().map(|&x| x as f32).collect();
        let (y, d) = single::value_and_grad(&v, 9).unwrap();
        assert_eq!((y, d.len()), (single(&v, 9), 5));
        let (y, pull) = moved::vjp(0.5, 7).unwrap();
        assert_eq!((y, pull(&[1.0, 1.0, 1.0]).unwrap()), (moved(0.5, 7), 42.0));
    });
}

/// As `agrees`, on whatever engine.
#[track_caller]
fn each(x: &[f64], plain: impl Fn(&[f64]) -> f64, both: impl Fn(&[f64]) -> autograd::Result<(f64, Vec<f64>)>) {
    agrees_on(Engine::Auto, x, plain, both);
}
