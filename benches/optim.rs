//! One step of Adam over given gradients. `cargo bench --bench optim`.
//!
//! Over one parameter of ten million elements, which memory decides, and over a hundred of a few hundred, which the
//! cost of a parameter decides.

use autograd::{Tensor, optim::Adam};
use criterion::{Criterion, criterion_group, criterion_main};
use std::time::Duration;

fn random(rng: &mut fastrand::Rng, n: usize) -> Tensor<f32> {
    Tensor::from_vec((0..n).map(|_| rng.f32() - 0.5).collect(), [n])
}

fn optim(c: &mut Criterion) {
    let mut rng = fastrand::Rng::with_seed(0);
    let mut group = c.benchmark_group("adam");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3)).sample_size(20);
    for (name, parameters, n) in [("10M elements", 1, 10_000_000), ("100 of 256 elements", 100, 256)] {
        let x: Vec<_> = (0..parameters).map(|_| random(&mut rng, n)).collect();
        let gradients: Vec<_> = (0..parameters).map(|_| random(&mut rng, n)).collect();
        x.iter().zip(&gradients).for_each(|(x, g)| x.set_grad(Some(g)).expect("shapes agree"));
        let mut adam = Adam::new(&x, 1e-3);
        group.bench_function(name, |b| b.iter(|| adam.step()));
    }
    group.finish();
}

criterion_group!(benches, optim);
criterion_main!(benches);
