//! Operations of the dynamic engine one by one, on 4 M and on 64 K numbers. `cargo bench --bench eager`.
//!
//! Each alone, and with the gradients of its inputs for a given cotangent.

use autograd::{Tensor, grad};
use criterion::{Criterion, criterion_group, criterion_main};
use std::{hint::black_box, time::Duration};

struct Inputs {
    a: Tensor<f32>,
    b: Tensor<f32>,
    row: Tensor<f32>,
    column: Tensor<f32>,
    mask: Tensor<bool>,
}

impl Inputs {
    /// Square matrices of side `n`, and what is broadcast to them.
    fn new(n: usize) -> Inputs {
        let mut rng = fastrand::Rng::with_seed(0);
        let mut random = |shape: &[usize]| {
            let numbers = (0..shape.iter().product()).map(|_| 2.0 * rng.f32() - 1.0).collect();
            Tensor::from_vec(numbers, shape)
        };
        let (a, b, row, column) = (random(&[n, n]), random(&[n, n]), random(&[n]), random(&[n, 1]));
        let mask = a.gt(&b);
        Inputs { a, b, row, column, mask }
    }
    fn tracked(&self) -> Inputs {
        let track = |x: &Tensor<f32>| x.detach().requires_grad_(true);
        let (a, b, row, column) = (track(&self.a), track(&self.b), track(&self.row), track(&self.column));
        Inputs { a, b, row, column, mask: self.mask.clone() }
    }
}

type Case = (&'static str, fn(&Inputs) -> Tensor<f32>);
const CASES: &[Case] = &[
    ("add", |i| &i.a + &i.b),
    ("mul", |i| &i.a * &i.b),
    ("exp", |i| i.a.exp()),
    ("tanh", |i| i.a.tanh()),
    ("where", |i| i.mask.where_(&i.a, &i.b)),
    ("sum", |i| i.a.sum()),
    ("sum of rows", |i| i.a.sum_dim(&[-1], false)),
    ("sum of columns", |i| i.a.sum_dim(&[0], false)),
    ("mean", |i| i.a.mean()),
    ("max", |i| i.a.max()),
    ("norm", |i| i.a.norm()),
    ("add a row", |i| &i.a + &i.row),
    ("mul by a column", |i| &i.a * &i.column),
    ("transpose and add", |i| i.a.t() + &i.b),
    ("matmul", |i| i.a.matmul(&i.b)),
    ("softmax of parts", |i| {
        let e = (&i.a - i.a.amax(&[-1], true)).exp();
        &e / e.sum_dim(&[-1], true)
    }),
];

fn eager(c: &mut Criterion) {
    for (name, side) in [("4M", 2048), ("64K", 256)] {
        let inputs = Inputs::new(side);
        let tracked = inputs.tracked();
        let mut group = c.benchmark_group(format!("eager {name}"));
        group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1)).sample_size(10);
        group.bench_function("lt", |b| b.iter(|| black_box(inputs.a.lt(&inputs.b))));
        for (case, f) in CASES {
            group.bench_function(*case, |b| b.iter(|| black_box(f(&inputs))));
            let ct = f(&inputs).detach();
            let of = [&tracked.a, &tracked.b, &tracked.row, &tracked.column];
            group.bench_function(format!("{case}, gradients"), |b| {
                b.iter(|| grad(&[&f(&tracked)], &of, &[Some(&ct)], false, false, true));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, eager);
criterion_main!(benches);
