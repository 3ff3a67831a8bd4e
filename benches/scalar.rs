//! Scalar functions: what a call of an entry point costs, and loops. `cargo bench --bench scalar`.
//!
//! Compiled through the entry point and through a kept object, beside the same gradient written by hand; the gradients
//! of a loop whose length depends on the data and of one of a thousand trips, beside the functions themselves; loops that
//! run as vector code, long and short.

use autograd::prelude::*;
use criterion::{Criterion, criterion_group, criterion_main};
use std::{hint::black_box, time::Duration};

#[differentiable]
fn rosenbrock(x: f64, y: f64) -> f64 {
    (1.0 - x).powi(2) + 100.0 * (y - x * x).powi(2)
}

fn by_hand(x: f64, y: f64) -> (f64, (f64, f64)) {
    let (a, b) = (1.0 - x, y - x * x);
    (a * a + 100.0 * b * b, (-2.0 * a - 400.0 * b * x, 200.0 * b))
}

fn scalar(c: &mut Criterion) {
    let (value, gradient) = rosenbrock::value_and_grad(1.2, 0.5).expect("compiles");
    let (want, (dx, dy)) = by_hand(1.2, 0.5);
    let close = |a: f64, b: f64| (a - b).abs() < 1e-9 * b.abs();
    assert!(close(value, want) && close(gradient.0, dx) && close(gradient.1, dy));

    let mut group = c.benchmark_group("scalar");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(30);
    let (x, y) = (black_box(1.2), black_box(0.5));
    group.bench_function("entry point", |b| b.iter(|| rosenbrock::value_and_grad(black_box(x), black_box(y))));
    let kept = rosenbrock::compile(x, y).expect("compiles");
    group.bench_function("kept", |b| b.iter(|| kept.value_and_grad(black_box(x), black_box(y))));
    group.bench_function("dynamic", |b| {
        b.iter(|| with_engine(Engine::Dynamic, || rosenbrock::value_and_grad(black_box(x), black_box(y))));
    });
    group.bench_function("by hand", |b| b.iter(|| by_hand(black_box(x), black_box(y))));
    group.finish();
}

#[differentiable]
fn newton_sqrt(x: f64) -> f64 {
    let mut y = x;
    while (y * y - x).abs() > 1e-12 {
        y = 0.5 * (y + x / y);
    }
    y
}

#[differentiable]
fn scalar_loop(x: f64, y: f64) -> f64 {
    let mut s = 0.0;
    for _ in 0..1000 {
        s = (s * x + y).sin();
    }
    s
}

#[differentiable]
#[allow(clippy::needless_range_loop)]
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

/// Prefix products: a list that is read and written.
#[differentiable]
#[allow(clippy::needless_range_loop)]
fn recurrence(x: &[f64]) -> f64 {
    let n = x.len();
    let mut v = vec![1.0; n + 1];
    for i in 0..n {
        v[i + 1] = v[i] * x[i] + 0.5;
    }
    let mut sum = 0.0;
    for i in 0..n {
        sum += v[i] * v[i];
    }
    sum
}

/// What a call with a slice costs: hardly any arithmetic.
#[differentiable]
#[allow(clippy::needless_range_loop)]
fn squares(x: &[f64]) -> f64 {
    let mut sum = 0.0;
    for i in 0..x.len() {
        sum += x[i] * x[i];
    }
    sum
}

fn short_slice(c: &mut Criterion) {
    let (x, mut out) = ([1.0, 2.0, 3.0], [0.0; 3]);
    assert_eq!(squares::grad(&x[..]).expect("compiles"), [2.0, 4.0, 6.0]);
    let mut group = c.benchmark_group("three elements");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(30);
    group.bench_function("gradient, entry point", |b| b.iter(|| squares::grad(black_box(&x[..]))));
    let kept = squares::compile(&x[..]).expect("compiles");
    group.bench_function("gradient, kept", |b| b.iter(|| kept.grad(black_box(&x[..]))));
    group.bench_function("gradient, kept, into a buffer", |b| b.iter(|| kept.grad_into(black_box(&x[..]), &mut out)));
    group.finish();
}

fn loops(c: &mut Criterion) {
    let mut group = c.benchmark_group("loops");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(30);
    group.bench_function("newton_sqrt itself", |b| b.iter(|| newton_sqrt(black_box(2.0))));
    let kept = newton_sqrt::compile(2.0).expect("compiles");
    group.bench_function("newton_sqrt gradient, kept", |b| b.iter(|| kept.grad(black_box(2.0))));
    group.bench_function("newton_sqrt gradient, dynamic", |b| {
        b.iter(|| with_engine(Engine::Dynamic, || newton_sqrt::grad(black_box(2.0))));
    });
    group.bench_function("1000 trips themselves", |b| b.iter(|| scalar_loop(black_box(0.7), black_box(0.3))));
    let kept = scalar_loop::compile(0.7, 0.3).expect("compiles");
    group.bench_function("1000 trips, gradient, kept", |b| b.iter(|| kept.grad(black_box(0.7), black_box(0.3))));
    let x: Vec<f64> = (0..1000).map(|i| f64::from(i).cos()).collect();
    let mut out = vec![0.0; 1000];
    group.bench_function("decay itself", |b| b.iter(|| decay(black_box(&x), black_box(0.9), 1000)));
    let kept = decay::compile(&x, 0.9, 1000).expect("compiles");
    group.bench_function("decay, gradient, kept", |b| {
        b.iter(|| kept.grad_into(black_box(&x), black_box(0.9), 1000, &mut out, &mut 0.0));
    });
    group.bench_function("recurrence itself", |b| b.iter(|| recurrence(black_box(&x))));
    let kept = recurrence::compile(&x).expect("compiles");
    group.bench_function("recurrence, gradient, kept", |b| b.iter(|| kept.grad_into(black_box(&x), &mut out)));
    group.finish();
}

/// A sum of function values.
#[differentiable]
#[allow(clippy::needless_range_loop)]
fn sines(x: &[f64], w: f64) -> f64 {
    let mut s = 0.0;
    for i in 0..x.len() {
        s += (x[i] * w).sin();
    }
    s
}

#[differentiable]
#[allow(clippy::needless_range_loop)]
fn log_sum_exp(x: &[f64]) -> f64 {
    let mut m = f64::NEG_INFINITY;
    for i in 0..x.len() {
        m = m.max(x[i]);
    }
    let mut s = 0.0;
    for i in 0..x.len() {
        s += (x[i] - m).exp();
    }
    m + s.ln()
}

/// Elementwise to a list of its own, then a sum.
#[differentiable]
#[allow(clippy::needless_range_loop)]
fn elementwise(x: &[f64]) -> f64 {
    let n = x.len();
    let mut out = vec![0.0; n];
    for i in 0..n {
        out[i] = x[i] * x[i].exp();
    }
    let mut sum = 0.0;
    for v in out.iter() {
        sum += v;
    }
    sum
}

/// Products of rows with a vector, of 16 elements.
#[differentiable]
fn rows(a: &[f64], b: &[f64]) -> f64 {
    let d = b.len();
    let n = a.len() / d;
    let mut total = 0.0;
    for i in 0..n {
        let mut s = 0.0;
        for j in 0..d {
            s += a[i * d + j] * b[j];
        }
        total += s * s;
    }
    total
}

fn vector_loops(c: &mut Criterion) {
    let mut group = c.benchmark_group("vector loops");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(30);
    for n in [3, 8, 16, 10_000] {
        let x: Vec<f64> = (0..n).map(|i| f64::from(i).cos()).collect();
        let mut dx = x.clone();
        macro_rules! case {
            ($f:ident, ($($given:expr),*), ($($out:expr),*)) => {
                group.bench_function(format!("{} {n}, itself", stringify!($f)), |b| b.iter(|| $f(black_box(&x), $($given),*)));
                let kept = $f::compile(&x, $($given),*).expect("compiles");
                group.bench_function(format!("{} {n}, value", stringify!($f)), |b| {
                    b.iter(|| kept.value(black_box(&x), $($given),*))
                });
                group.bench_function(format!("{} {n}, gradient", stringify!($f)), |b| {
                    b.iter(|| kept.value_and_grad_into(black_box(&x), $($given,)* &mut dx, $($out),*))
                });
            };
        }
        case!(sines, (black_box(0.7)), (&mut 0.0));
        case!(log_sum_exp, (), ());
        case!(elementwise, (), ());
        let (w, mut dw) = (vec![0.5; 16.min(x.len())], vec![0.0; 16.min(x.len())]);
        case!(rows, (black_box(&w)), (&mut dw));
    }
    group.finish();
}

criterion_group!(benches, scalar, short_slice, loops, vector_loops);
criterion_main!(benches);
