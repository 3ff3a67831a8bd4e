//! Ten elementwise operations on 4 million numbers, value and gradient. `cargo bench --bench elementwise`.
//!
//! Compiled (into the caller's buffers, and fresh results), the dynamic engine, and the same forward and
//! backward computation as one hand-written loop on one thread and on two, built for AVX-512 or AVX2 where
//! the machine has it, as the compiled kernels are.

use autograd::prelude::*;
use criterion::{Criterion, criterion_group, criterion_main};
use std::{thread, time::Duration};

const N: usize = 1 << 22;

#[differentiable]
fn chain(x: &Tensor<f32>, w: &Tensor<f32>) -> Tensor<f32> {
    let z = x * w + 0.3;
    let s = &z / (z.square() + 1.0).sqrt();
    ((s * 0.5 + x).square() * w).sum()
}

/// The sum over the slices and its gradient, in one pass.
#[inline(always)]
fn one_pass(x: &[f32], w: &[f32], dx: &mut [f32], dw: &mut [f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0; LANES];
    let inputs = x.as_chunks::<LANES>().0.iter().zip(w.as_chunks::<LANES>().0);
    let outputs = dx.as_chunks_mut::<LANES>().0.iter_mut().zip(dw.as_chunks_mut::<LANES>().0);
    for ((x, w), (dx, dw)) in inputs.zip(outputs) {
        for i in 0..LANES {
            let z = x[i] * w[i] + 0.3;
            let r = 1.0 / (z * z + 1.0).sqrt();
            let t = 0.5 * z * r + x[i];
            let (dt, dz) = (2.0 * t * w[i], t * w[i] * r * r * r);
            sums[i] += t * t * w[i];
            dx[i] = dt + dz * w[i];
            dw[i] = t * t + dz * x[i];
        }
    }
    sums.iter().sum()
}

fn by_hand(x: &[f32], w: &[f32], dx: &mut [f32], dw: &mut [f32]) -> f32 {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512vl,avx512dq,fma")]
        fn avx512(x: &[f32], w: &[f32], dx: &mut [f32], dw: &mut [f32]) -> f32 {
            one_pass(x, w, dx, dw)
        }
        #[target_feature(enable = "avx2,fma")]
        fn avx2(x: &[f32], w: &[f32], dx: &mut [f32], dw: &mut [f32]) -> f32 {
            one_pass(x, w, dx, dw)
        }
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
        {
            // SAFETY: the machine has the instructions.
            return unsafe { avx512(x, w, dx, dw) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the machine has the instructions.
            return unsafe { avx2(x, w, dx, dw) };
        }
    }
    one_pass(x, w, dx, dw)
}

fn by_hand_on_two_threads(x: &[f32], w: &[f32], dx: &mut [f32], dw: &mut [f32]) -> f32 {
    let ((x0, x1), (w0, w1)) = (x.split_at(N / 2), w.split_at(N / 2));
    let ((dx0, dx1), (dw0, dw1)) = (dx.split_at_mut(N / 2), dw.split_at_mut(N / 2));
    thread::scope(|s| {
        let other = s.spawn(|| by_hand(x1, w1, dx1, dw1));
        by_hand(x0, w0, dx0, dw0) + other.join().expect("the loop does not panic")
    })
}

fn elementwise(c: &mut Criterion) {
    let mut rng = fastrand::Rng::with_seed(0);
    let mut random = || -> Vec<f32> { (0..N).map(|_| 4.0 * rng.f32() - 2.0).collect() };
    let (x, w) = (random(), random());
    let (mut dx, mut dw) = (vec![0.0; N], vec![0.0; N]);
    let (tx, tw) = (Tensor::from_vec(x.clone(), [N]), Tensor::from_vec(w.clone(), [N]));
    let (mut tdx, mut tdw) = (Tensor::zeros([N]), Tensor::zeros([N]));

    let kept = chain::compile(&tx, &tw).expect("compiles");
    let value = kept.value_and_grad_into(&tx, &tw, &mut tdx, &mut tdw).expect("runs").item();
    let want = by_hand_on_two_threads(&x, &w, &mut dx, &mut dw);
    assert!((value - want).abs() < 1e-3 * want.abs(), "{value} {want}");
    let close =
        |a: &Tensor<f32>, b: &[f32]| a.to_vec().iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4 * (1.0 + b.abs()));
    assert!(close(&tdx, &dx) && close(&tdw, &dw));

    let mut group = c.benchmark_group("elementwise");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2)).sample_size(20);
    group.bench_function("compiled, into buffers", |b| {
        b.iter(|| kept.value_and_grad_into(&tx, &tw, &mut tdx, &mut tdw))
    });
    group.bench_function("compiled", |b| b.iter(|| chain::value_and_grad(&tx, &tw)));
    group.bench_function("by hand, one thread", |b| b.iter(|| by_hand(&x, &w, &mut dx, &mut dw)));
    group.bench_function("by hand, two threads", |b| b.iter(|| by_hand_on_two_threads(&x, &w, &mut dx, &mut dw)));
    group.sample_size(10);
    group.bench_function("dynamic", |b| b.iter(|| with_engine(Engine::Dynamic, || chain::value_and_grad(&tx, &tw))));
    group.finish();
}

criterion_group!(benches, elementwise);
criterion_main!(benches);
