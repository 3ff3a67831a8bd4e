//! Behaviours that were wrong once: one test each, named after what has to hold.

mod common;

use autograd::{EngineUsed, no_grad, prelude::*};
use common::{close, each_engine, near, same};
use std::{cell::RefCell, sync::mpsc, thread, time::Duration};

fn vector(data: &[f64]) -> Tensor<f64> {
    Tensor::from_vec(data.to_vec(), [data.len()])
}
fn wave(shape: &[usize], phase: f64) -> Tensor<f64> {
    let n: usize = shape.iter().product();
    Tensor::from_vec((0..n).map(|i| (i as f64 * 0.7 + phase).sin()).collect(), shape)
}
fn each<const N: usize>(tensors: [&Tensor<f64>; N], f: impl Fn([f64; N]) -> f64) -> Vec<f64> {
    let data = tensors.map(Tensor::to_vec);
    (0..data[0].len()).map(|i| f(std::array::from_fn(|k| data[k][i]))).collect()
}

/// Runs a test on each engine, on the compiled one without a way out.
fn on_both(mut test: impl FnMut(Engine)) {
    for engine in [Engine::Compiled, Engine::Dynamic] {
        with_engine(engine, || test(engine));
    }
}

thread_local! {
    static MATRIX: RefCell<Tensor<f64>> = RefCell::new(wave(&[3, 2], 0.9).t());
    static STATE: RefCell<Tensor<f64>> = RefCell::new(vector(&[1.0, 2.0]));
    static LEVEL: RefCell<Tensor<f64>> = RefCell::new(vector(&[0.25, 3.0]));
    static GATE: RefCell<Tensor<f64>> = RefCell::new(Tensor::full([1], 0.25));
    static STEPS: RefCell<Tensor<f64>> = RefCell::new(vector(&[1.0, 2.0]));
}

#[differentiable]
fn through_matrix(x: &Tensor<f64>) -> Tensor<f64> {
    MATRIX.with_borrow(|m| x.square() * m.sin())
}
#[differentiable]
fn through_matrix_sum(x: &Tensor<f64>) -> Tensor<f64> {
    MATRIX.with_borrow(|m| (x.square() * m.sin()).sum())
}

#[test]
fn strided_captures_and_directions_are_not_exchanged() {
    let m = MATRIX.with_borrow(Clone::clone);
    let xs = [wave(&[2, 3], 0.2), wave(&[3, 2], 0.2).t()];
    let directions = [wave(&[3, 2], 2.0).t(), vector(&[0.5, -1.0, 2.0]).expand([2, 3]), wave(&[2, 3], 2.0)];
    assert!(xs[1].to_vec() != xs[0].to_vec());
    for x in &xs {
        let value = each([x, &m], |[x, m]| x * x * m.sin());
        for d in &directions {
            let want = each([x, &m, d], |[x, m, d]| 2.0 * x * d * m.sin());
            let second = each([&m, d], |[m, d]| 2.0 * d * m.sin());
            on_both(|_| {
                let (y, tangent) = through_matrix::jvp(x, d).unwrap();
                same(&y, &[2, 3], &value);
                same(&tangent, &[2, 3], &want);
                let (y, pull) = through_matrix::vjp(x).unwrap();
                same(&y, &[2, 3], &value);
                same(&pull(d).unwrap(), &[2, 3], &want);
                same(&pull(d).unwrap(), &[2, 3], &want);
                same(&through_matrix_sum::hvp(x, d).unwrap(), &[2, 3], &second);
            });
        }
    }
}

#[differentiable]
fn energy(x: &Tensor<f64>) -> Tensor<f64> {
    x.powi(3).sum()
}
#[no_grad]
fn size(x: &Tensor<f64>) -> Tensor<f64> {
    x.square().sum()
}
#[differentiable]
fn frozen_closure(x: &Tensor<f64>) -> Tensor<f64> {
    let scale = no_grad(|| x.square().sum());
    (x * scale).sum() + x.square().sum()
}
#[differentiable]
fn frozen_helper(x: &Tensor<f64>) -> Tensor<f64> {
    (x * size(x)).sum() + x.square().sum()
}
#[differentiable]
fn frozen_scalar(x: f64) -> f64 {
    let scale = no_grad(|| x * x);
    scale * x + x * x
}
#[differentiable]
fn frozen_gradient(x: &Tensor<f64>) -> autograd::Result<Tensor<f64>> {
    let slope = no_grad(|| energy::grad(x))?;
    Ok((slope * x).sum())
}

#[test]
fn nothing_flows_through_no_grad() {
    let x = vector(&[1.0, -2.0, 0.5]);
    let norm = 5.25;
    let want = each([&x], |[x]| norm + 2.0 * x);
    on_both(|_| {
        same(&frozen_closure::grad(&x).unwrap(), &[3], &want);
        same(&frozen_helper::grad(&x).unwrap(), &[3], &want);
        close(frozen_closure::value(&x).unwrap().item(), norm * -0.5 + norm);
        close(frozen_scalar::grad(3.0).unwrap(), 9.0 + 6.0);
        let ones = Tensor::ones([3]);
        close(frozen_helper::jvp(&x, &ones).unwrap().1.item(), want.iter().sum::<f64>());
        let (_, pull) = frozen_closure::vjp(&x).unwrap();
        same(&pull(&Tensor::scalar(1.0)).unwrap(), &[3], &want);
    });
}

#[test]
fn gradients_are_computed_inside_no_grad() {
    let x = vector(&[1.0, -2.0, 0.5]);
    let slope = each([&x], |[x]| 3.0 * x * x);
    on_both(|_| {
        same(&no_grad(|| energy::grad(&x)).unwrap(), &[3], &slope);
        same(&no_grad(|| frozen_helper::grad(&x)).unwrap(), &[3], &each([&x], |[x]| 5.25 + 2.0 * x));
        let (_, pull) = no_grad(|| energy::vjp(&x)).unwrap();
        same(&no_grad(|| pull(&Tensor::scalar(1.0))).unwrap(), &[3], &slope);
        // inside an annotated function: the gradient, as a constant
        let (value, grad) = frozen_gradient::value_and_grad(&x).unwrap();
        close(value.item(), each([&x], |[x]| 3.0 * x.powi(3)).iter().sum::<f64>());
        same(&grad, &[3], &slope);
    });
}

fn pulled(x: &Tensor<f64>) -> Tensor<f64> {
    let (y, pull) = energy::vjp(x).expect("energy has a derivative");
    // 3x² · y, and y
    pull(&y).expect("a cotangent of its type").sum() + y
}
#[differentiable]
fn over_pulled(x: &Tensor<f64>) -> Tensor<f64> {
    pulled(&(x * 2.0))
}

#[test]
fn gradients_flow_through_a_plain_helpers_vjp() {
    let x = vector(&[0.3, -0.5, 0.8]);
    // with u = 2x, e = Σu³, q = Σ3u²: value q·e + e, gradient 2·(6u·e + (q + 1)·3u²)
    let (e, q) = each([&x], |[x]| (2.0 * x).powi(3))
        .iter()
        .zip(each([&x], |[x]| 12.0 * x * x))
        .fold((0.0, 0.0), |(e, q), (a, b)| (e + a, q + b));
    let want = each([&x], |[x]| 2.0 * (12.0 * x * e + (q + 1.0) * 12.0 * x * x));
    for engine in [Engine::Auto, Engine::Dynamic] {
        with_engine(engine, || {
            let (value, grad) = over_pulled::value_and_grad(&x).unwrap();
            close(value.item(), q * e + e);
            same(&grad, &[3], &want);
            let (_, pull) = over_pulled::vjp(&x).unwrap();
            same(&pull(&Tensor::scalar(1.0)).unwrap(), &[3], &want);
            let d = vector(&[1.0, 0.5, -2.0]);
            let along = each([&d, &Tensor::from_vec(want.clone(), [3])], |[d, g]| d * g).iter().sum::<f64>();
            close(over_pulled::jvp(&x, &d).unwrap().1.item(), along);
            assert!(over_pulled::check(&x).unwrap().passed());
        });
    }
}

fn plain_square(t: &Tensor<f64>) -> Tensor<f64> {
    let v = t.item();
    Tensor::scalar(v * v)
}
fn plain_square_detached(t: &Tensor<f64>) -> Tensor<f64> {
    let v = t.detach().item();
    Tensor::scalar(v * v)
}
fn plain_larger(a: &Tensor<f64>, b: &Tensor<f64>) -> bool {
    b < a && *a > 1.5
}
#[differentiable]
fn reads_item(x: &Tensor<f64>) -> Tensor<f64> {
    plain_square(&x.sum()) * x.sum()
}
#[differentiable]
fn reads_detached_item(x: &Tensor<f64>) -> Tensor<f64> {
    plain_square_detached(&x.sum()) * x.sum()
}
#[differentiable]
fn compares(x: &Tensor<f64>) -> Tensor<f64> {
    if plain_larger(&x.square().sum(), &x.sum()) { x.powi(3).sum() } else { x.sum() }
}

#[test]
fn an_item_read_by_a_plain_helper_is_an_error_that_names_detach() {
    let x = vector(&[1.0, 2.0]);
    for engine in [Engine::Auto, Engine::Dynamic] {
        with_engine(engine, || {
            let errors = [
                reads_item::grad(&x).map(drop),
                reads_item::value_and_grad(&x).map(drop),
                reads_item::vjp(&x).and_then(|(_, pull)| pull(&Tensor::scalar(1.0)).map(drop)),
                reads_item::jvp(&x, &x).map(drop),
                reads_item::hvp(&x, &x).map(drop),
                reads_item::grad_into(&x, &mut vector(&[0.0, 0.0])),
                reads_item::compile(&x).and_then(|kept| kept.grad(&x)).map(drop),
            ];
            for (i, e) in errors.into_iter().enumerate() {
                let e = e.expect_err("a silent zero").to_string();
                assert!(e.contains("detach"), "{engine:?} {i}: {e}");
            }
            // where no derivative is asked for, none is lost
            close(reads_item::value(&x).unwrap().item(), 27.0);
        });
    }
}

#[test]
fn a_detached_item_is_a_constant() {
    let x = vector(&[1.0, 2.0]);
    each_engine(|_| {
        let (value, grad) = reads_detached_item::value_and_grad(&x).unwrap();
        close(value.item(), 27.0);
        same(&grad, &[2], &[9.0, 9.0]);
        close(reads_detached_item::jvp(&x, &x).unwrap().1.item(), 27.0);
    });
}

#[test]
fn plain_helpers_compare_tracked_tensors() {
    each_engine(|_| {
        same(&compares::grad(&vector(&[1.0, 2.0])).unwrap(), &[2], &[3.0, 12.0]);
        same(&compares::grad(&vector(&[0.5, 0.5])).unwrap(), &[2], &[1.0, 1.0]);
        same(&compares::grad(&vector(&[-2.0, 0.0])).unwrap(), &[2], &[12.0, 0.0]);
    });
}

fn level() -> f64 {
    LEVEL.with_borrow(|l| l.to_vec()[1])
}
fn high() -> bool {
    GATE.with_borrow(|g| *g > 0.5)
}
fn view_is_high() -> bool {
    LEVEL.with_borrow(|l| l.select(0, 0) > 0.5)
}
#[differentiable]
fn by_level(x: &Tensor<f64>) -> Tensor<f64> {
    x.square().sum() * level()
}
#[differentiable]
fn by_branch(x: &Tensor<f64>) -> Tensor<f64> {
    if high() { x.square().sum() } else { x.sum() }
}
#[differentiable]
fn by_branch_on_view(x: &Tensor<f64>) -> Tensor<f64> {
    if view_is_high() { x.square().sum() } else { x.sum() }
}
#[differentiable]
fn by_level_of_scalars(x: f64) -> f64 {
    x * x * level()
}

#[test]
fn a_global_that_plain_code_reads_is_current() {
    let x = vector(&[1.0, -3.0]);
    let (a, b) = (by_level::compile(&x).unwrap(), by_branch::compile(&x).unwrap());
    let c = by_level_of_scalars::compile(2.0).unwrap();
    let look = |gate: f64, level: f64| {
        for engine in [Engine::Compiled, Engine::Auto, Engine::Dynamic] {
            with_engine(engine, || {
                let want = each([&x], |[x]| 2.0 * x * level);
                same(&by_level::grad(&x).unwrap(), &[2], &want);
                same(&a.grad(&x).unwrap(), &[2], &want);
                close(a.value(&x).unwrap().item(), 10.0 * level);
                let (value, pull) = by_level::vjp(&x).unwrap();
                close(value.item(), 10.0 * level);
                same(&pull(&Tensor::scalar(1.0)).unwrap(), &[2], &want);
                let want = each([&x], |[x]| if gate > 0.5 { 2.0 * x } else { 1.0 });
                same(&by_branch::grad(&x).unwrap(), &[2], &want);
                same(&b.grad(&x).unwrap(), &[2], &want);
                // an operation on the global is part of the trace, reading its result ends it
                if engine != Engine::Compiled {
                    same(&by_branch_on_view::grad(&x).unwrap(), &[2], &want);
                }
                for _ in 0..2 {
                    close(by_level_of_scalars::grad(2.0).unwrap(), 4.0 * level);
                    close(by_level_of_scalars::value(2.0).unwrap(), 4.0 * level);
                    close(c.grad(2.0).unwrap(), 4.0 * level);
                    close(c.value_and_grad(2.0).unwrap().0, 4.0 * level);
                }
            });
        }
    };
    look(0.25, 3.0);
    LEVEL.with_borrow(|l| l.update(|v| v[1] = 5.0)).unwrap();
    look(0.25, 5.0);
    LEVEL.with_borrow(|l| l.update(|v| v[0] = 0.75)).unwrap();
    GATE.with_borrow(|g| g.update(|v| v[0] = 0.75)).unwrap();
    look(0.75, 5.0);
    LEVEL.set(vector(&[0.0, -1.0]));
    GATE.set(Tensor::scalar(0.0));
    look(0.0, -1.0);
    LEVEL.set(vector(&[0.9, 7.0, 1.0]));
    GATE.set(Tensor::full([1, 1], 0.9));
    look(0.9, 7.0);
    assert_eq!(by_level::explain(&x).unwrap().engine, EngineUsed::Compiled);
}

#[differentiable]
fn weighted(x: &Tensor<f64>) -> Tensor<f64> {
    STATE.with_borrow(|w| (x * w).sum())
}

#[test]
fn a_captured_tensor_may_be_replaced() {
    let x = vector(&[3.0, 4.0]);
    let kept = weighted::compile(&x).unwrap();
    let states = [vec![1.0, 2.0], vec![5.0, 6.0], vec![7.0], vec![8.0, 9.0], vec![-1.0]];
    for state in states {
        let want = [state[0], state[state.len() - 1]];
        STATE.set(vector(&state));
        on_both(|_| {
            same(&weighted::grad(&x).unwrap(), &[2], &want);
            close(weighted::value(&x).unwrap().item(), 3.0 * want[0] + 4.0 * want[1]);
            same(&kept.grad(&x).unwrap(), &[2], &want);
            close(kept.value(&x).unwrap().item(), 3.0 * want[0] + 4.0 * want[1]);
            let (_, pull) = weighted::vjp(&x).unwrap();
            same(&pull(&Tensor::scalar(2.0)).unwrap(), &[2], &[2.0 * want[0], 2.0 * want[1]]);
        });
    }
}

#[test]
fn check_passes_after_a_captured_tensor_was_replaced() {
    let x = vector(&[3.0, 4.0]);
    for state in [vec![1.0, 2.0], vec![-50.0, 60.0], vec![7.0]] {
        STATE.set(vector(&state));
        each_engine(|engine| {
            let report = weighted::check(&x).unwrap();
            assert!(report.passed() && report.compared > 0, "{engine:?} {state:?}: {report}");
            let report = with_state::check(&x).unwrap();
            assert!(report.passed() && report.compared > 0, "{engine:?} {state:?}: {report}");
        });
    }
}

#[differentiable]
fn with_state(x: &Tensor<f64>) -> Tensor<f64> {
    STATE.with_borrow(|w| (x.square() * w.exp().tanh()).sum() + w.sum())
}

#[differentiable]
fn remainder(x: f64, y: f64) -> f64 {
    x % y
}
#[differentiable]
fn remainder32(x: f32, y: f32) -> f32 {
    x % y
}

#[test]
fn the_remainder_is_rusts() {
    let special = [0.0, 1.0, 0.1, 0.3, 3.0, 5.5, 7.25, 1e-300, 1e300, 5e-324, 1e17, f64::MAX, f64::INFINITY, f64::NAN];
    let mut pairs = Vec::new();
    for a in special {
        for b in special {
            pairs.extend([(a, b), (-a, b), (a, -b), (-a, -b)]);
        }
    }
    fastrand::seed(7);
    for _ in 0..2000 {
        let scale = 10f64.powi(fastrand::i32(-6..18));
        pairs.push(((fastrand::f64() - 0.5) * scale, (fastrand::f64() - 0.5) * 3.0));
        let n = f64::from(fastrand::i32(-50..50));
        pairs.push((n * 0.1, 0.1));
    }
    let equal = |got: f64, want: f64| got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
    on_both(|engine| {
        for &(a, b) in &pairs {
            let got = [remainder::value(a, b).unwrap(), remainder::value_and_grad(a, b).unwrap().0];
            assert!(got.iter().all(|&r| equal(r, a % b)), "{engine:?}: {a:e} % {b:e} is {:e}, not {got:?}", a % b);
            let (a, b) = (a as f32, b as f32);
            let got = remainder32::value(a, b).unwrap();
            assert!(equal(f64::from(got), f64::from(a % b)), "{engine:?}: {a:e} % {b:e} is {:e}, not {got:?}", a % b);
        }
    });
}

#[test]
fn the_remainders_gradient_is_that_of_the_quotient() {
    on_both(|engine| {
        for (a, b) in [(5.5, 2.0), (-5.5, 2.0), (5.5, -2.0), (-5.5, -2.0), (0.7, 0.3), (1.0, 3.0), (100.3, 0.7)] {
            let (dx, dy) = remainder::grad(a, b).unwrap();
            assert_eq!((dx, dy + 0.0), (1.0, -(a / b).trunc() + 0.0), "{engine:?}: {a} % {b}");
            assert!(remainder::check(a, b).unwrap().passed());
            near(remainder::jvp(a, b, 2.0, 3.0).unwrap().1, 2.0 - 3.0 * (a / b).trunc(), 1e-14);
        }
        // 1/0.1 rounds up to 10, which is not the quotient that leaves 0.0999…
        for (a, b, quotient) in [(1.0, 0.1, 9.0), (-1.0, 0.1, -9.0), (0.3, 0.1, 2.0), (1.0, -0.1, -9.0)] {
            assert_eq!(remainder::grad(a, b).unwrap(), (1.0, -quotient), "{engine:?}: {a} % {b}");
        }
    });
}

#[differentiable]
fn sines(x: &Tensor<f64>) -> Tensor<f64> {
    x.sin().sum()
}

#[test]
fn gradients_into_each_others_arguments_do_not_deadlock() {
    for engine in [Engine::Compiled, Engine::Dynamic] {
        let (a, b) = (wave(&[64], 0.1), wave(&[64], 0.5));
        let (done, finished) = mpsc::channel();
        for (from, mut to) in [(a.clone(), b.clone()), (b, a)] {
            let done = done.clone();
            thread::spawn(move || {
                with_engine(engine, || {
                    for _ in 0..2000 {
                        // the tape may find its saved values modified by the other thread, and says so
                        if let Err(e) = sines::grad_into(&from, &mut to) {
                            assert!(engine == Engine::Dynamic && e.to_string().contains("inplace"), "{e}");
                        }
                    }
                });
                done.send(to).unwrap();
            });
        }
        for _ in 0..2 {
            // not joined: threads that wait for each other would hang the test
            let to = finished.recv_timeout(Duration::from_secs(60)).expect("both threads finish");
            assert!(to.to_vec().iter().all(|v| v.abs() <= 1.0));
        }
    }
}

#[test]
fn an_argument_modified_before_the_pull_back_is_an_error() {
    on_both(|engine| {
        let x = vector(&[1.0, 2.0]);
        let (y, pull) = energy::vjp(&x).unwrap();
        same(&pull(&Tensor::scalar(1.0)).unwrap(), &[2], &[3.0, 12.0]);
        x.update(|v| v[0] = 10.0).unwrap();
        let e = pull(&Tensor::scalar(1.0)).expect_err("a gradient at other arguments").to_string();
        assert!(e.contains("inplace") || e.contains("in-place") || e.contains("in place"), "{engine:?}: {e}");
        close(y.item(), 9.0);
        // made anew, it works
        let (_, pull) = energy::vjp(&x).unwrap();
        same(&pull(&Tensor::scalar(1.0)).unwrap(), &[2], &[300.0, 12.0]);
        // a captured tensor that was modified
        STATE.set(vector(&[1.0, 2.0]));
        let (_, pull) = weighted_cubes::vjp(&x).unwrap();
        STATE.with_borrow(|w| w.update(|v| v[0] = 3.0)).unwrap();
        let e = pull(&Tensor::scalar(1.0)).expect_err("a gradient with other weights").to_string();
        assert!(e.contains("inplace") || e.contains("in-place") || e.contains("in place"), "{engine:?}: {e}");
    });
}

#[differentiable]
fn weighted_cubes(x: &Tensor<f64>) -> Tensor<f64> {
    STATE.with_borrow(|w| (x.powi(3) * w).sum())
}

fn steps() -> usize {
    STEPS.with_borrow(|s| s.to_vec()[0] as usize)
}
#[differentiable]
fn counted(x: &Tensor<f64>) -> (Tensor<f64>, usize) {
    (STEPS.with_borrow(|s| x * s), steps())
}

#[test]
fn a_static_part_of_a_result_is_current() {
    let x = vector(&[1.0, 1.0]);
    let kept = counted::compile(&x).unwrap();
    for (i, n) in [1usize, 4, 4, 2, 9].into_iter().enumerate() {
        if i % 2 == 0 {
            STEPS.set(vector(&[n as f64, 2.0]));
        } else {
            STEPS.with_borrow(|s| s.update(|v| v[0] = n as f64)).unwrap();
        }
        for engine in [Engine::Auto, Engine::Compiled, Engine::Dynamic] {
            with_engine(engine, || {
                let results = [
                    counted::value(&x).unwrap(),
                    kept.value(&x).unwrap(),
                    counted::vjp(&x).unwrap().0,
                    counted::jvp(&x, &x).unwrap().0,
                ];
                for (t, count) in results {
                    same(&t, &[2], &[n as f64, 2.0]);
                    assert_eq!(count, n, "{engine:?}");
                }
            });
        }
    }
}

#[test]
fn a_failed_operation_of_another_element_type_is_an_error() {
    let (a, b) = (Tensor::<f64>::ones([2, 3]), Tensor::<f64>::ones([4, 5]));
    let e = autograd::try_eval(|| a.lt(&b)).unwrap_err().to_string();
    assert!(e.contains("lt") && e.contains("[2, 3]") && e.contains("[4, 5]"), "{e}");
    let e = autograd::try_eval(|| a.argmax(7, false)).unwrap_err().to_string();
    assert!(e.contains("argmax"), "{e}");
}

thread_local! {
    static SEEN: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Plain code asks for a number before a loop fills what plain code after it reads by index.
#[differentiable]
fn filled_after_a_read(x: f64, n: usize) -> f64 {
    SEEN.set(x.is_sign_positive());
    let mut all = std::collections::VecDeque::new();
    for i in 0..n {
        all.push_back(x * i as f64);
    }
    all[n - 1] * all[n / 2]
}

#[test]
fn loops_of_a_trace_that_was_given_up_run_to_their_end() {
    for n in [1, 40, 100] {
        let (value, g) = filled_after_a_read::value_and_grad(1.5, n).unwrap();
        assert_eq!(value, filled_after_a_read(1.5, n));
        let product = ((n - 1) * (n / 2)) as f64;
        assert!((g - 2.0 * 1.5 * product).abs() < 1e-9);
    }
    assert!(SEEN.get());
}

#[differentiable]
fn detached_in_a_loop(x: f64, n: usize) -> f64 {
    let mut y = x;
    for _ in 0..n {
        let e = autograd::detach(y * y);
        y += e * x;
    }
    y
}

#[differentiable]
fn detached_in_an_open_loop(x: f64) -> f64 {
    let (mut y, mut h) = (x, 0.1);
    while y < 3.0 {
        let e = autograd::detach(y * y);
        y += h * y;
        if y > 2.0 {
            h *= e;
        } else {
            h = h * autograd::detach(e) + 0.01;
        }
    }
    y
}

#[differentiable]
fn detached_tensors_in_a_loop(x: &Tensor<f64>, limit: f64) -> Tensor<f64> {
    let mut y = x * 1.0;
    while y.norm().item() < limit {
        let e = y.square().detach();
        y = &y + e * x;
    }
    y.sum()
}

#[differentiable]
fn square_root_residual(y: f64, x: f64) -> f64 {
    y * y - x
}
#[differentiable(root_of(square_root_residual))]
fn square_root(x: f64) -> f64 {
    (0..60).fold(x, |y, _| 0.5 * (y + x / y))
}
#[differentiable]
fn roots_in_a_loop(x: f64, n: usize) -> f64 {
    let mut y = x;
    for i in 0..n {
        y = square_root(y + x * i as f64) * x;
    }
    y
}

/// The reverse mode of a loop is made from its body, which must still say what is detached.
#[test]
fn what_a_loop_detaches_stays_detached() {
    let of = |engine| {
        with_engine(engine, || {
            let t = vector(&[0.3, 0.5]);
            let mut all = vec![
                detached_in_a_loop::grad(1.1, 3).unwrap(),
                detached_in_a_loop::grad(0.1, 40).unwrap(),
                detached_in_a_loop::hessian(1.1, 3).unwrap(),
                detached_in_an_open_loop::grad(1.1).unwrap(),
                detached_in_an_open_loop::hessian(1.1).unwrap(),
                roots_in_a_loop::grad(1.3, 30).unwrap(),
                roots_in_a_loop::hessian(1.3, 30).unwrap(),
            ];
            all.extend(detached_tensors_in_a_loop::grad(&t, 3.0).unwrap().0.to_vec());
            all
        })
    };
    let (compiled, dynamic) = (of(Engine::Compiled), of(Engine::Dynamic));
    for (a, b) in compiled.iter().zip(&dynamic) {
        assert!((a - b).abs() <= 1e-9 * (1.0 + b.abs()), "{compiled:?} and {dynamic:?}");
    }
    assert!((compiled[0] - 87.896).abs() < 1e-2, "{}", compiled[0]);
    // forward mode takes another way
    let (_, tangent) = detached_in_a_loop::jvp(0.1, 40, 1.0).unwrap();
    assert!((compiled[1] - tangent).abs() <= 1e-9 * tangent.abs());
}

/// The choice gives the loop no cotangent where it takes the other side, and neither side has a part in the loop's record.
#[differentiable]
fn chosen_after_a_loop(x: &Tensor<f64>, other: f64) -> Tensor<f64> {
    let mut s = x.sum();
    while s < 10.0 {
        s = s.square() + x.mean();
    }
    if x.mean() * other > 0.0 { s.sin() } else { x.prod() }
}
#[test]
fn a_choice_over_tensors_after_a_loop() {
    let x = vector(&[0.5, 0.75, 1.25]);
    for other in [1.0, -1.0] {
        on_both(|_| {
            let report = chosen_after_a_loop::check(&x, other).unwrap();
            assert!(report.passed(), "{other}: {report}");
        });
        let [a, b] = [Engine::Compiled, Engine::Dynamic]
            .map(|engine| with_engine(engine, || chosen_after_a_loop::grad(&x, other)).unwrap().0.to_vec());
        a.iter().zip(&b).for_each(|(a, b)| near(*a, *b, 1e-12));
    }
}
