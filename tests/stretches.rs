//! Functions that fall back run in stretches between reads: the same values and derivatives as the plain tape, at the
//! first call (plain), the second (replayed) and later ones (compiled).

mod common;

use autograd::{Engine, EngineUsed, Explanation, no_grad, prelude::*, with_engine};
use common::{Flat, alike};
use std::{
    cell::RefCell,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

/// Several calls under both engines.
fn matches<R: Flat>(what: &str, call: impl Fn() -> Result<R, Error>) {
    let want = with_engine(Engine::Dynamic, || call().unwrap_or_else(|e| panic!("{what}: {e}"))).flat();
    for i in 0..5 {
        let got = call().unwrap_or_else(|e| panic!("{what}, call {i}: {e}")).flat();
        assert_eq!(got.len(), want.len());
        alike(&got, &want, 1e-11);
    }
}

/// How many stretches a function has compiled; none if it stays on the plain tape.
fn compiled(x: Result<Explanation, Error>) -> Option<usize> {
    let x = x.unwrap();
    assert!(x.engine == EngineUsed::Dynamic && x.reason.is_some(), "{x}");
    assert_eq!(x.to_string().contains("run compiled"), x.stretches.is_some());
    x.stretches
}

fn wave(shape: &[usize], shift: f64) -> Tensor<f64> {
    let n: usize = shape.iter().product();
    let shape: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
    ((Tensor::<f64>::arange(n) + shift) * 0.37).sin().reshape(&shape)
}

/// Plain code that reads a value, whose number is a constant for the derivative in every engine.
fn number(t: &Tensor<f64>) -> f64 {
    t.detach().item()
}
/// Plain code that branches on one.
fn is_large(t: &Tensor<f64>) -> bool {
    number(t) > 0.1
}

#[differentiable(wrt(w1, w2))]
fn network(x: &Tensor<f64>, w1: &Tensor<f64>, w2: &Tensor<f64>) -> Tensor<f64> {
    let h = (x.matmul(w1) * 0.3 + 0.1).tanh();
    let y = if is_large(&h.mean()) { h.matmul(w2).relu() * 0.5 } else { h.matmul(w2).sigmoid() };
    (y - x).square().mean()
}

#[test]
fn an_opaque_branch_between_layers() -> Result<(), Error> {
    for shift in [0.0, 3.0] {
        let (x, a, b) = (wave(&[24, 20], shift), wave(&[20, 20], 1.0), wave(&[20, 20], 2.0));
        matches("value", || network::value(&x, &a, &b));
        matches("grad", || network::grad(&x, &a, &b));
        matches("value_and_grad", || network::value_and_grad(&x, &a, &b));
        matches("vjp", || {
            let (y, back) = network::vjp(&x, &a, &b)?;
            let one = back(&Tensor::scalar(1.0))?;
            Ok((y, one.0, one.1, back(&Tensor::scalar(-2.0))?.0))
        });
        matches("jvp", || network::jvp(&x, &a, &b, &b, &a));
        matches("hvp", || network::hvp(&x, &a, &b, &b, &a));
        assert!(network::check(&x, &a, &b)?.passed());
    }
    let (x, a, b) = (wave(&[24, 20], 0.0), wave(&[20, 20], 1.0), wave(&[20, 20], 2.0));
    assert!(compiled(network::explain(&x, &a, &b)) >= Some(2));
    // none for a shape that was never called with
    assert_eq!(compiled(network::explain(&wave(&[25, 20], 0.0), &a, &b)), Some(0));
    Ok(())
}

#[differentiable]
fn growing(x: &Tensor<f64>) -> Tensor<f64> {
    let mut parts = Vec::new();
    let mut y = x.clone();
    while number(&y.abs().max()) < 20.0 {
        y = &y * 1.5 + y.sin();
        parts.push(y.square() * 0.1);
    }
    let mut total = y.mean();
    for p in &parts {
        total += p.mean();
    }
    total
}

#[test]
fn a_vector_grows_as_data_say() {
    for scale in [1.0, 3.0, 0.2] {
        let x = wave(&[300], 0.5) * scale;
        matches("value_and_grad", || growing::value_and_grad(&x));
        matches("hvp", || growing::hvp(&x, &wave(&[300], 2.0)));
    }
}

type Layer = fn(&Tensor<f64>) -> Tensor<f64>;
const LAYERS: [Layer; 2] = [|t| t.square() + t, |t| t.tanh()];

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Activation(usize);

type Closure = Box<dyn Fn(&Tensor<f64>) -> Tensor<f64>>;

#[differentiable]
fn of_closures(x: &Tensor<f64>, #[constant] f: Activation) -> Tensor<f64> {
    let layers: Vec<Closure> = vec![
        Box::new(move |t| LAYERS[f.0](t) * 2.0),
        Box::new(|t| if is_large(&t.mean()) { t.exp() } else { t.cos() }),
    ];
    let mut y = x.clone();
    for layer in &layers {
        y = layer(&y);
    }
    (y * x).sum()
}

#[test]
fn closures_in_data() {
    let x = wave(&[17, 20], 1.0);
    matches("value_and_grad", || of_closures::value_and_grad(&x, Activation(0)));
    matches("grad", || of_closures::grad(&(&x * -0.1), Activation(1)));
}

#[differentiable]
fn normalised(x: &Tensor<f64>) -> Tensor<f64> {
    let mut y = x * 1.0;
    for _ in 0..3 {
        let top = number(&y.abs().max());
        y = (&y / top + x * top).sin() * 0.5;
    }
    y.square().sum()
}

#[test]
fn numbers_that_flow_back_change_no_program() {
    for k in 0..8 {
        let x = wave(&[400], f64::from(k));
        matches("value_and_grad", || normalised::value_and_grad(&x));
    }
    let n = compiled(normalised::explain(&wave(&[400], 0.0))).unwrap();
    assert!((1..=4).contains(&n), "{n} programs");
}

#[differentiable]
fn ever_new(x: &Tensor<f64>, #[constant] k: usize) -> Tensor<f64> {
    let n = x.detach().sum().item().abs() as usize % 97;
    let y = x.narrow(0, n, 300) * 2.0 + 1.0;
    let z = (y.exp() * &y).sin();
    z.sum() * k as f64
}

#[test]
fn a_function_of_ever_new_graphs_goes_back_to_the_tape() {
    let x = wave(&[400], 1.0);
    let at = |k: f64| &x + (k - x.sum().item()) / 400.0 + 1e-6;
    assert_eq!(compiled(ever_new::explain(&x, 1)), Some(0));
    for k in 0..97 {
        let x = at(f64::from(k));
        let want = with_engine(Engine::Dynamic, || ever_new::grad(&x, 1)).unwrap();
        alike(&ever_new::grad(&x, 1).unwrap().flat(), &want.flat(), 1e-12);
        assert_eq!(ever_new::value_and_grad(&x, 1).unwrap().1.flat(), want.flat());
    }
    assert_eq!(compiled(ever_new::explain(&x, 1)), None);
}

#[differentiable]
fn fallible(x: &Tensor<f64>, w: &Tensor<f64>) -> Result<Tensor<f64>, Error> {
    let y = (x * 2.0).tanh() + 0.5;
    if y.detach().sum().item() > 1e3 {
        return Err(Error::Autograd("too large".into()));
    }
    let z = (y.exp() * x).cos();
    let z = if is_large(&z.mean()) { autograd::try_eval(|| z.matmul(w))? } else { z };
    Ok(z.sum())
}

#[test]
fn errors_are_those_of_the_tape() {
    let (x, w) = (wave(&[20, 20], 0.0), wave(&[20, 20], 2.0));
    matches("grad", || fallible::grad(&x, &w));
    for (x, w) in [(&x, wave(&[21, 20], 0.0)), (&wave(&[50, 50], 0.3), wave(&[50, 49], 0.0))] {
        let want = with_engine(Engine::Dynamic, || fallible::value(x, &w).map(|v| v.flat()));
        for _ in 0..4 {
            match (fallible::value(x, &w), &want) {
                (Ok(a), Ok(b)) => alike(&a.flat(), b, 1e-12),
                (Err(a), Err(b)) => assert_eq!(a.to_string(), b.to_string()),
                (a, b) => panic!("{a:?} is not {b:?}"),
            }
        }
    }
}

#[differentiable]
fn wrong(x: &Tensor<f64>) -> Tensor<f64> {
    let y = x.exp() * 2.0;
    let _ = is_large(&y.mean());
    let z = (&y + x).sin();
    z.matmul(&y.reshape(&[-1])).sum()
}

#[test]
fn a_shape_error_keeps_its_place() {
    let x = wave(&[20, 20], 0.0);
    let want = with_engine(Engine::Dynamic, || wrong::grad(&x)).unwrap_err().to_string();
    assert!(want.contains("matmul") && want.contains("stretches.rs"), "{want}");
    for _ in 0..4 {
        assert_eq!(wrong::grad(&x).unwrap_err().to_string(), want);
    }
}

#[differentiable]
fn partly_recorded(x: &Tensor<f64>) -> Tensor<f64> {
    let y = x.exp() * 0.5 + 1.0;
    let scale = no_grad(|| (y.square() + 1.0).sqrt().recip() * 3.0);
    let z = if is_large(&y.mean()) { &y * &scale + y.detach().square() } else { y };
    (z * x).sum() + scale.sum()
}

#[test]
fn regions_without_grad() {
    let x = wave(&[16, 32], 0.7);
    matches("value_and_grad", || partly_recorded::value_and_grad(&x));
    matches("value_and_grad", || partly_recorded::value_and_grad(&(&x - 5.0)));
    matches("hvp", || partly_recorded::hvp(&x, &x));
    assert!(compiled(partly_recorded::explain(&x)) >= Some(1));
}

#[differentiable]
fn noisy(x: &Tensor<f64>) -> Tensor<f64> {
    let y = (x + Tensor::<f64>::randn(x.shape()) * 0.1).tanh();
    let y = if is_large(&y.abs().mean()) { y.dropout(0.5, true) } else { y };
    (y * Tensor::<f64>::rand(x.shape())).sum()
}

#[test]
fn random_numbers_are_drawn_as_on_the_tape() {
    let x = wave(&[20, 20], 0.4);
    let draw = || {
        autograd::manual_seed(7);
        [noisy::value_and_grad(&x).unwrap().flat(), noisy::value_and_grad(&x).unwrap().flat()]
    };
    let want = with_engine(Engine::Dynamic, draw);
    assert_ne!(want[0], want[1]);
    for _ in 0..4 {
        let got = draw();
        alike(&got[0], &want[0], 1e-12);
        alike(&got[1], &want[1], 1e-12);
    }
}

thread_local! {
    static SCALE: RefCell<Tensor<f64>> = RefCell::new(Tensor::ones([20, 20]));
    static KEPT: RefCell<Vec<Tensor<f64>>> = const { RefCell::new(Vec::new()) };
}

#[differentiable]
fn with_a_global(x: &Tensor<f64>) -> Tensor<f64> {
    let scale = SCALE.with_borrow(Clone::clone);
    let y = (x * &scale).sin() + 1.0;
    let y = if is_large(&y.mean()) { y * scale.t() } else { y };
    y.square().sum()
}

#[test]
fn globals_are_read_at_every_call() {
    let x = wave(&[20, 20], 0.2);
    for k in 0..4 {
        matches("grad", || with_a_global::grad(&x));
        SCALE.with_borrow_mut(|s| {
            if k % 2 == 0 {
                s.mul_(1.5);
            } else {
                *s = wave(&[20, 20], 3.0);
            }
        });
    }
}

#[differentiable]
fn writing(x: &Tensor<f64>, #[constant] write: bool) -> Tensor<f64> {
    let y = x.exp() * 2.0;
    let z = (&y + x).sin();
    if is_large(&z.abs().mean()) && write {
        y.select(0, 0).mul_(3.0);
    }
    (&z * &y).sum() + y.t().square().sum()
}

#[test]
fn writes_in_place_stay_on_the_tape() {
    let x = wave(&[20, 20], 0.1);
    matches("writes", || writing::value_and_grad(&x, true));
    matches("does not", || writing::value_and_grad(&x, false));
    assert_eq!(compiled(writing::explain(&x, true)), None);
    assert!(compiled(writing::explain(&x, false)) >= Some(1));
}

static WRITE: AtomicBool = AtomicBool::new(false);

#[differentiable]
fn writing_late(x: &Tensor<f64>) -> Tensor<f64> {
    let y = x.exp() * 2.0;
    let (view, z) = (y.t(), (&y + x).sin());
    if is_large(&z.abs().mean()) && WRITE.load(Ordering::Relaxed) {
        view.mul_(2.0);
    }
    (&view * &z).sum() + y.square().sum()
}

#[test]
fn a_view_that_outlives_a_stretch_is_written_through() {
    let x = wave(&[20, 20], 0.1);
    // the write comes when the stretch before it is compiled
    let calls = || {
        let call = |i| {
            WRITE.store(i >= 4, Ordering::Relaxed);
            writing_late::value_and_grad(&x).unwrap().flat()
        };
        (0..8).map(call).collect::<Vec<_>>()
    };
    let want = with_engine(Engine::Dynamic, calls);
    assert_ne!(want[0], want[4]);
    calls().iter().zip(&want).for_each(|(got, want)| alike(got, want, 1e-12));
    assert_eq!(compiled(writing_late::explain(&x)), None);
}

#[differentiable]
fn held_and_unused(x: &Tensor<f64>) -> Tensor<f64> {
    // √ at zero: an unused result must not send 0 · ∞ back
    let y = x * 2.0 + 1.0;
    let root = (x - x.detach()).sqrt() * 3.0 + &y;
    let read = is_large(&y.mean());
    let z = if read { &y * x } else { y.clone() };
    drop(root);
    z.sum()
}

#[test]
fn results_without_a_gradient_send_none_back() {
    let x = wave(&[300], 0.1);
    matches("grad", || held_and_unused::grad(&x));
    assert!(held_and_unused::grad(&x).unwrap().flat().iter().all(|g| g.is_finite()));
}

#[differentiable]
fn leaking(x: &Tensor<f64>) -> Tensor<f64> {
    let w = KEPT.with_borrow(|k| k[0].clone());
    let y = (x * &w).sin() * 2.0 + w.square();
    let _ = is_large(&y.mean());
    KEPT.with_borrow_mut(|k| k.push(y.clone()));
    y.sum()
}

#[test]
fn a_graph_that_is_built_goes_through_a_stretch() {
    let (x, w) = (wave(&[300], 0.1), wave(&[300], 0.9).requires_grad_(true));
    let second = || {
        KEPT.with_borrow_mut(|k| *k = vec![w.clone()]);
        let value = leaking::value(&x).unwrap();
        let y = KEPT.with_borrow(|k| k[k.len() - 1].clone());
        let by_w = |y: &Tensor<f64>, again| {
            autograd::grad(&[&y.sum()], &[&w], &[], again, again, false).unwrap().remove(0).unwrap()
        };
        let g = by_w(&y, true);
        [value.flat(), g.flat(), by_w(&g.square(), false).flat()].concat()
    };
    let want = with_engine(Engine::Dynamic, second);
    for _ in 0..5 {
        alike(&second(), &want, 1e-12);
    }
}

#[differentiable]
fn asking(x: &Tensor<f64>) -> Tensor<f64> {
    let y = (x.exp() * 2.0 + 1.0).sin();
    let _ = is_large(&y.mean());
    if y.requires_grad() {
        assert_eq!(y.grad_fn().unwrap().name(), "SinBackward0");
    }
    y.sum()
}

#[test]
fn questions_for_nodes_stay_on_the_tape() {
    let x = wave(&[300], 0.1);
    matches("value_and_grad", || asking::value_and_grad(&x));
    assert_eq!(compiled(asking::explain(&x)), None);
}

#[differentiable]
fn inner(x: &Tensor<f64>) -> Tensor<f64> {
    let y = x.sin() * 2.0;
    if is_large(&y.mean()) { (y * x).sum() } else { y.square().sum() }
}

#[differentiable]
fn nested(x: &Tensor<f64>) -> Result<Tensor<f64>, Error> {
    let y = x.tanh() * 3.0 + 1.0;
    let _ = number(&y.mean());
    let z = (&y * x).cos();
    let g = inner::grad(&z)?;
    Ok((g * y).sum())
}

#[differentiable]
fn checkpointed(x: &Tensor<f64>) -> Tensor<f64> {
    let y = (x.exp() + 1.0).ln() * 2.0;
    let w = if is_large(&y.mean()) { y.sin() } else { y.cos() };
    let z = &w * 3.0 + x;
    autograd::checkpoint(|x| (x[0].sin() * &x[1]).tanh(), &[&z, &w]).sum()
}

#[differentiable]
fn hooked(x: &Tensor<f64>) -> Result<Tensor<f64>, Error> {
    let y = (x.exp() + 1.0).ln() * 2.0;
    let _ = number(&y.mean());
    let z = &y * 3.0 + x;
    if z.requires_grad() {
        z.register_hook(|g: &Tensor<f64>| g * 2.0)?;
    }
    Ok((z.sin() * y).sum())
}

#[test]
fn what_takes_part_in_the_tape() {
    let x = wave(&[20, 20], 0.3);
    matches("nested", || nested::value_and_grad(&x));
    matches("nested", || nested::value(&x));
    matches("checkpointed", || checkpointed::value_and_grad(&x));
    matches("hooked", || hooked::value_and_grad(&x));
}

#[test]
fn threads_share_the_programs_of_a_function() {
    let (x, a, b) = (wave(&[24, 16], 0.5), wave(&[16, 16], 1.0), wave(&[16, 16], 2.0));
    let want = with_engine(Engine::Dynamic, || network::grad(&x, &a, &b)).unwrap().flat();
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| (0..6).for_each(|_| alike(&network::grad(&x, &a, &b).unwrap().flat(), &want, 1e-12)));
        }
    });
}

/// `cargo test --release --test stretches -- --ignored --nocapture`
#[test]
#[ignore = "a measurement, in release"]
fn what_stretches_save() {
    for n in [8, 16, 32, 64, 128, 256] {
        let (x, a, b) = (wave(&[n, n], 0.0), wave(&[n, n], 1.0), wave(&[n, n], 2.0));
        let call = || drop(network::value_and_grad(&x, &a, &b).unwrap());
        compare(&format!("two layers, {n}x{n}"), 200_000 / (n * n), call);
    }
    // short stretches
    for n in [30, 300, 3000, 30_000, 300_000] {
        let x = wave(&[n], 0.0);
        let call = || drop(growing::value_and_grad(&x).unwrap());
        compare(&format!("a loop that reads, {n}"), 300_000 / n, call);
    }
}

fn compare(what: &str, calls: usize, call: impl Fn()) {
    let calls = calls.clamp(5, 500);
    let (mut tape, mut stretches) = (f64::MAX, f64::MAX);
    (0..5).for_each(|_| call());
    for _ in 0..15 {
        for (engine, best) in [(Engine::Dynamic, &mut tape), (Engine::Auto, &mut stretches)] {
            with_engine(engine, || {
                let clock = Instant::now();
                (0..calls).for_each(|_| call());
                *best = best.min(clock.elapsed().as_secs_f64() * 1e6 / calls as f64);
            });
        }
    }
    println!("{what}: tape {tape:.1} us, stretches {stretches:.1} us, ratio {:.2}", stretches / tape);
}
