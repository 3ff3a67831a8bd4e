//! What the tape costs beside the arithmetic: chains of small operations, forward and backward.

use autograd::Tensor;
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;

/// A chain of 1,000 multiplications and additions on 8 elements.
fn chain(x: &Tensor<f32>, a: &Tensor<f32>, b: &Tensor<f32>) -> Tensor<f32> {
    let mut y = x.clone();
    for _ in 0..500 {
        y = &y * a;
        y = &y + b;
    }
    y.sum()
}

fn tape(c: &mut Criterion) {
    let x = Tensor::<f32>::ones([8]).requires_grad_(true);
    let (a, b) = (Tensor::full([8], 1.0001f32), Tensor::full([8], 1e-4f32));
    let mut g = c.benchmark_group("chain of 1,000 on 8 elements");
    g.bench_function("forward", |i| i.iter(|| black_box(chain(&x, &a, &b))));
    g.bench_function("forward and backward", |i| i.iter(|| chain(black_box(&x), &a, &b).backward().expect("tracked")));
    let untracked = x.detach();
    g.bench_function("untracked", |i| i.iter(|| black_box(chain(&untracked, &a, &b))));
    g.finish();
}

criterion_group!(benches, tape);
criterion_main!(benches);
