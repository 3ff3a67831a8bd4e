//! One step of the example `digits`: loss and gradient at a batch of 64. `cargo bench --bench mlp_digits`.
//!
//! Compiled through the entry point and through a kept object with the caller's buffers, the dynamic engine,
//! and how long compiling takes.

#[path = "../examples/digits/model.rs"]
#[allow(dead_code)] // the parts for training
mod model;

use autograd::prelude::*;
use criterion::{Criterion, criterion_group, criterion_main};
use model::{CLASSES, Mlp, PIXELS, loss};
use std::time::Duration;

const BATCH: usize = 64;

fn mlp_digits(c: &mut Criterion) {
    let mut rng = fastrand::Rng::with_seed(0);
    let net = Mlp::new(&mut rng);
    let x = Tensor::from_vec((0..BATCH * PIXELS).map(|_| rng.f32()).collect(), [BATCH, PIXELS]);
    let labels = Tensor::from_vec((0..BATCH).map(|_| rng.i64(0..CLASSES as i64)).collect(), [BATCH]);
    let mut gradient = net.zeros_like();

    let mut group = c.benchmark_group("mlp_digits");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2)).sample_size(30);
    group.bench_function("entry point", |b| b.iter(|| loss::value_and_grad(&net, &x, &labels)));
    let kept = loss::compile(&net, &x, &labels).expect("compiles");
    group.bench_function("kept, into buffers", |b| {
        b.iter(|| kept.value_and_grad_into(&net, &x, &labels, &mut gradient))
    });
    group.bench_function("dynamic", |b| {
        b.iter(|| with_engine(Engine::Dynamic, || loss::value_and_grad(&net, &x, &labels)));
    });
    group.sample_size(10).bench_function("compile", |b| {
        b.iter(|| {
            autograd::clear_cache();
            loss::compile(&net, &x, &labels)
        });
    });
    group.finish();
}

criterion_group!(benches, mlp_digits);
criterion_main!(benches);
