//! Random numbers: distributions at fixed seeds, the same numbers in both engines, new ones at every call.

mod common;

use autograd::{Generator, cache_stats, get_rng_state, grad, manual_seed, no_grad, prelude::*, set_rng_state};
use common::{each_engine, every_way, near};
use std::cell::Cell;

/// The largest distance of the empirical distribution function from `cdf` (Kolmogorov and Smirnov), times √n.
/// It is above 1.63 once in a hundred samples of the distribution.
fn distance(mut x: Vec<f64>, cdf: impl Fn(f64) -> f64) -> f64 {
    x.sort_by(f64::total_cmp);
    let n = x.len() as f64;
    let at = |(i, x): (usize, &f64)| (cdf(*x) - i as f64 / n).abs().max((cdf(*x) - (i + 1) as f64 / n).abs());
    x.iter().enumerate().map(at).fold(0.0, f64::max) * n.sqrt()
}
fn moments(x: &[f64]) -> (f64, f64) {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    (mean, x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n)
}
fn wide(x: Tensor<f32>) -> Vec<f64> {
    x.to_vec().into_iter().map(f64::from).collect()
}

#[test]
fn numbers_have_their_distributions() {
    for seed in [0, 1, u64::MAX] {
        manual_seed(seed);
        let n = 100_000;
        for x in [Tensor::<f64>::rand([n]).to_vec(), wide(Tensor::<f32>::rand([n / 10, 10]))] {
            let (mean, variance) = moments(&x);
            near(mean, 0.5, 3e-3);
            near(variance, 1.0 / 12.0, 1e-3);
            assert!(distance(x, |x| x) < 1.63);
        }
        for x in [Tensor::<f64>::randn([n]).to_vec(), wide(Tensor::<f32>::randn([10, n / 10]))] {
            let (mean, variance) = moments(&x);
            near(mean, 0.0, 1e-2);
            near(variance, 1.0, 1e-2);
            let neighbours: f64 = x.windows(2).map(|w| w[0] * w[1]).sum::<f64>() / n as f64;
            near(neighbours, 0.0, 1e-2);
            let cdf = |x: f64| (Tensor::scalar(x / 2f64.sqrt()).erf().item() + 1.0) / 2.0;
            assert!(distance(x, cdf) < 1.63);
        }
        let x = Tensor::randint(-5, 5, [n]).to_vec();
        for k in -5..5 {
            near(x.iter().filter(|&&x| x == k).count() as f64 / n as f64, 0.1, 4e-3);
        }
        let b = Tensor::full([n], 0.3).bernoulli().to_vec();
        near(b.iter().sum::<f64>() / n as f64, 0.3, 5e-3);
        assert!(b.iter().all(|b| *b == 0.0 || *b == 1.0));
        let d = Tensor::<f64>::ones([n]).dropout(0.25, true).to_vec();
        near(moments(&d).0, 1.0, 5e-3);
        assert!(d.iter().all(|d| *d == 0.0 || *d == 1.0 / 0.75));
        // where each number of a permutation ends up
        let mut sums = [0; 4];
        for _ in 0..4000 {
            let p = Tensor::randperm(4).to_vec();
            (0..4).for_each(|i| sums[i] += p[i]);
            assert_eq!(p.iter().map(|i| 1 << i).sum::<i32>(), 15);
        }
        sums.into_iter().for_each(|s| near(s as f64 / 4000.0, 1.5, 3e-2));
    }
}

thread_local! {
    static TRACES: Cell<usize> = const { Cell::new(0) };
    static STEADY: Tensor<f64> = Tensor::full([6], 2.0);
}
/// Counts how often the function that calls it is run.
fn counted(x: &Tensor<f64>) -> Tensor<f64> {
    TRACES.set(TRACES.get() + 1);
    x.clone()
}

#[differentiable]
fn noisy(x: &Tensor<f64>) -> Tensor<f64> {
    let kept = counted(x).dropout(0.5, true);
    (kept * Tensor::<f64>::randn([6])).sum()
}
#[differentiable]
fn masked(x: &Tensor<f64>) -> Tensor<f64> {
    x.dropout(0.5, true).dropout(0.2, true)
}
#[differentiable]
fn masked_sum(x: &Tensor<f64>) -> Tensor<f64> {
    masked(x).square().sum()
}

fn ones() -> Tensor<f64> {
    Tensor::ones([6])
}

#[test]
fn every_call_draws_anew_without_another_trace() {
    for engine in [Engine::Compiled, Engine::Dynamic] {
        with_engine(engine, || {
            manual_seed(3);
            let x = ones();
            noisy::value(&x).unwrap();
            TRACES.set(0);
            let values: Vec<f64> = (0..20).map(|_| noisy::value(&x).unwrap().item()).collect();
            assert!((1..20).all(|i| values[i] != values[i - 1]), "{values:?}");
            assert_eq!(TRACES.get(), if engine == Engine::Compiled { 0 } else { 20 });
        });
    }
}

#[test]
fn both_engines_draw_the_same_numbers() {
    let runs: Vec<Vec<f64>> = [Engine::Compiled, Engine::Auto, Engine::Dynamic]
        .map(|engine| {
            with_engine(engine, || {
                let mut all = Vec::new();
                manual_seed(11);
                let x = ones();
                for _ in 0..4 {
                    all.push(noisy::value(&x).unwrap().item());
                    all.extend(noisy::grad(&x).unwrap().to_vec());
                    all.extend(masked::value(&x).unwrap().to_vec());
                    all.push(noisy::jvp(&x, &ones()).unwrap().1.item());
                    all.extend(masked_sum::hvp(&x, &ones()).unwrap().to_vec());
                    let (v, pull) = masked::vjp(&x).unwrap();
                    all.extend(v.to_vec());
                    all.extend(pull(&ones()).unwrap().to_vec());
                    all.extend(Tensor::<f64>::rand([3]).to_vec());
                    all.extend(noisy::compile(&x).unwrap().grad(&x).unwrap().to_vec());
                }
                all
            })
        })
        .into();
    assert_eq!(runs[0], runs[1]);
    for (a, b) in runs[0].iter().zip(&runs[2]) {
        near(*a, *b, 1e-13);
    }
}

#[test]
fn a_call_and_its_gradient_have_one_mask() {
    each_engine(|_| {
        manual_seed(5);
        for _ in 0..10 {
            let x = ones();
            // d/dx of (s x)² is 2 s² x, and its value s²
            let (value, g) = masked_sum::value_and_grad(&x).unwrap();
            near(value.item(), g.to_vec().iter().sum::<f64>() / 2.0, 1e-14);
            let (value, pull) = masked::vjp(&x).unwrap();
            assert_eq!(pull(&ones()).unwrap().to_vec(), value.to_vec());
            assert_eq!(pull(&ones()).unwrap().to_vec(), value.to_vec());
            let (value, tangent) = masked::jvp(&x, &ones()).unwrap();
            assert_eq!(value.to_vec(), tangent.to_vec());
        }
    });
}

#[differentiable]
fn through_gradient(x: &Tensor<f64>) -> Tensor<f64> {
    let g = masked_sum::grad(x).unwrap();
    (g * x).sum()
}
/// A value and its pull-back with the same mask differ by nothing.
fn pulled(x: &Tensor<f64>) -> Tensor<f64> {
    let (value, pull) = masked::vjp(x).unwrap();
    value - pull(&ones()).unwrap()
}
#[differentiable]
fn nested_pull(x: &Tensor<f64>) -> Tensor<f64> {
    pulled(x).square().sum()
}

#[test]
fn derivatives_inside_functions_draw_as_the_engines_do() {
    let mut seen = Vec::new();
    each_engine(|_| {
        manual_seed(2);
        let x = ones();
        seen.push((0..3).flat_map(|_| through_gradient::grad(&x).unwrap().to_vec()).collect::<Vec<_>>());
        let after = Tensor::<f64>::rand([2]).to_vec();
        seen.push(after);
    });
    assert_eq!(seen[0], seen[2]);
    assert_eq!(seen[1], seen[3]);
    assert_ne!(seen[0][..6], seen[0][6..12]);
}

#[test]
fn a_pull_back_inside_a_function_has_the_mask_of_its_value() {
    each_engine(|_| {
        for _ in 0..5 {
            assert_eq!(nested_pull::value(&ones()).unwrap().item(), 0.0);
        }
    });
}

#[differentiable]
fn recomputed(x: &Tensor<f64>) -> Tensor<f64> {
    let state = get_rng_state();
    let once = x.dropout(0.5, true);
    let after = Tensor::<f64>::rand([6]);
    set_rng_state(state);
    let again = x.dropout(0.5, true);
    let same = Tensor::<f64>::rand([6]);
    (once - again).square().sum() + (after - same).square().sum() + x.dropout(0.5, true).sum()
}
#[differentiable]
fn seeded(x: &Tensor<f64>) -> Tensor<f64> {
    manual_seed(9);
    x.dropout(0.5, true)
}

#[test]
fn a_state_set_again_repeats_what_was_drawn() {
    let mut seen = Vec::new();
    each_engine(|_| {
        manual_seed(4);
        let x = ones();
        // only the last dropout contributes, and it is another one at each call
        let values: Vec<f64> = (0..8).map(|_| recomputed::value(&x).unwrap().item()).collect();
        assert!(values.iter().any(|v| *v != values[0]), "{values:?}");
        assert!(values.iter().all(|v| v.fract() == 0.0));
        seen.push(values);
        let one = seeded::value(&x).unwrap().to_vec();
        let state = get_rng_state();
        manual_seed(10);
        assert_eq!(seeded::value(&x).unwrap().to_vec(), one);
        assert_eq!(get_rng_state(), state);
    });
    assert_eq!(seen[0], seen[1]);
}

thread_local! {
    static GENERATOR: std::cell::RefCell<Generator> = std::cell::RefCell::new(Generator::new(0));
}
#[differentiable]
fn from_generator(x: &Tensor<f64>) -> Tensor<f64> {
    let g = GENERATOR.with_borrow(|g| g.clone());
    x * Tensor::<f64>::rand_with(&g, [6])
}

#[test]
fn a_generator_found_inside_is_the_one_drawn_from() {
    each_engine(|_| {
        let x = ones();
        for seed in [1, 2] {
            let own = Generator::new(seed);
            let want: Vec<Vec<f64>> = (0..3).map(|_| Tensor::<f64>::rand_with(&own, [6]).to_vec()).collect();
            GENERATOR.set(Generator::new(seed));
            let got: Vec<Vec<f64>> = (0..3).map(|_| from_generator::value(&x).unwrap().to_vec()).collect();
            assert_eq!(got, want);
        }
    });
}

#[differentiable]
fn reads(x: &Tensor<f64>) -> Tensor<f64> {
    let noise = Tensor::<f64>::rand([6]);
    if noise.sum() > 3.0 { x.square().sum() } else { x.sum() }
}
#[differentiable]
fn with_global(x: &Tensor<f64>) -> Tensor<f64> {
    let global = STEADY.with(Clone::clone);
    (x * global).dropout(0.5, true)
}

#[test]
fn functions_that_also_read_tensors_draw_once_a_call() {
    let mut seen = Vec::new();
    each_engine(|_| {
        manual_seed(8);
        let x = ones();
        let mut all = Vec::new();
        for _ in 0..4 {
            all.extend(with_global::value(&x).unwrap().to_vec());
            all.extend(reads::grad(&x).unwrap().to_vec());
        }
        all.extend(Tensor::<f64>::rand([1]).to_vec());
        seen.push(all);
    });
    assert_eq!(seen[0], seen[1]);
}

#[differentiable]
fn single(x: &Tensor<f32>) -> Tensor<f32> {
    (x.dropout(0.4, true) * Tensor::<f32>::randn([4])).square().sum()
}

#[test]
fn checks_hold_the_draws_still() {
    manual_seed(6);
    every_way(true, || noisy::check(&ones()));
    every_way(true, || masked_sum::check(&ones()));
    every_way(true, || single::check(&Tensor::full([4], 0.7)));
    let report = noisy::bench(&ones()).unwrap();
    assert!(report.difference < 1e-12, "{report}");
}

#[test]
fn threads_have_generators_of_their_own() {
    with_engine(Engine::Compiled, || {
        let x = ones();
        let draw = |x: &Tensor<f64>| {
            manual_seed(1);
            (0..50).flat_map(|_| masked::value(x).unwrap().to_vec()).collect::<Vec<f64>>()
        };
        let alone = draw(&x);
        std::thread::scope(|s| {
            let others: Vec<_> = (0..4).map(|_| s.spawn(|| draw(&x))).collect();
            others.into_iter().for_each(|o| assert_eq!(o.join().unwrap(), alone));
        });
        assert!(cache_stats().entries > 0);
    });
}

#[test]
fn dropout_is_differentiated_twice_on_the_tape() {
    manual_seed(0);
    let x = Tensor::<f64>::full([6], 3.0).requires_grad_(true);
    let y = x.dropout(0.5, true).powi(3).sum();
    let g = grad(&[&y], &[&x], &[], true, true, false).unwrap()[0].clone().unwrap();
    let gg = grad(&[&g.sum()], &[&x], &[], false, false, false).unwrap()[0].clone().unwrap();
    // s³·3x², s³·6x
    assert_eq!(no_grad(|| (&g * 2.0).to_vec()), no_grad(|| (&gg * 3.0).to_vec()));
}

#[test]
fn errors_say_what_is_expected() {
    let x = ones();
    for (message, part) in [
        (
            try_eval(|| x.dropout(1.5, true)).unwrap_err().to_string(),
            "dropout: expected a probability in 0..=1, found 1.5",
        ),
        (try_eval(|| x.dropout(f64::NAN, true)).unwrap_err().to_string(), "found NaN"),
        (
            try_eval(|| Tensor::randint(3, 3, [2])).unwrap_err().to_string(),
            "randint: expected a range that is not empty, found 3..3",
        ),
    ] {
        assert!(message.contains(part), "{message}");
    }
}
