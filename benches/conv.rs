//! A convolution of 32 images of 16 channels, 28×28, with 16 kernels 3×3. `cargo bench --bench conv`.
//!
//! Forward, and forward with both gradients, compiled and on the dynamic engine.

use autograd::{ConvOptions, grad, prelude::*};
use criterion::{Criterion, criterion_group, criterion_main};
use std::time::Duration;

#[differentiable]
fn convolve(x: &Tensor<f32>, w: &Tensor<f32>) -> Tensor<f32> {
    x.conv2d(w, None, &ConvOptions::new())
}
#[differentiable]
fn total(x: &Tensor<f32>, w: &Tensor<f32>) -> Tensor<f32> {
    x.conv2d(w, None, &ConvOptions::new()).sum()
}

fn conv(c: &mut Criterion) {
    let numbers = |n: usize| (0..n).map(|i| (i * 37 % 101) as f32 / 101.0 - 0.5).collect();
    let x = Tensor::from_vec(numbers(32 * 16 * 28 * 28), [32, 16, 28, 28]);
    let w = Tensor::from_vec(numbers(16 * 16 * 9), [16, 16, 3, 3]);
    let mut g = c.benchmark_group("conv");
    g.sample_size(30).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
    g.bench_function("forward, compiled", |b| b.iter(|| convolve::value(&x, &w)));
    g.bench_function("forward, dynamic", |b| b.iter(|| x.conv2d(&w, None, &ConvOptions::new())));
    g.bench_function("gradients, compiled", |b| b.iter(|| total::grad(&x, &w)));
    let (tx, tw) = (x.requires_grad_(true), w.requires_grad_(true));
    let (xd, wd) = (tx.detach(), tw.detach());
    let ct = xd.conv2d(&wd, None, &ConvOptions::new());
    g.bench_function("forward and gradients, dynamic", |b| {
        b.iter(|| {
            let y = tx.conv2d(&tw, None, &ConvOptions::new());
            grad(&[&y], &[&tx, &tw], &[Some(&ct)], false, false, false)
        });
    });
    g.finish();
}

criterion_group!(benches, conv);
criterion_main!(benches);
