//! Anomaly mode; graphs of a million nodes on a small stack; backwards inside backwards; threads.

use super::{close, fails, gradient, t, tracked};
use autograd::{
    Context, Function, Result, Tensor, backward, checkpoint, detect_anomaly, enable_grad, get_rng_state, grad,
    set_detect_anomaly,
};
use std::sync::Arc;

const MILLION: usize = 1_000_000;

/// Runs on a stack of 512 KiB.
fn on_a_small_stack(f: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(512 << 10).spawn(f).unwrap().join().unwrap();
}

/// The identity, with NaN as its gradient.
struct Spoiled;
impl Function<f64> for Spoiled {
    fn forward(&self, _: &mut Context<f64>, inputs: &[Tensor<f64>]) -> Result<Vec<Tensor<f64>>> {
        Ok(vec![&inputs[0] * 1.0])
    }
    fn backward(&self, _: &Context<f64>, grads: &[Tensor<f64>]) -> Result<Vec<Option<Tensor<f64>>>> {
        Ok(vec![Some(&grads[0] * f64::NAN)])
    }
}

#[test]
fn anomaly_mode_names_the_forward_operation_and_its_line() {
    let x = tracked(&[0.0, 1.0]);
    let line = line!() + 1;
    let y = (&x * 0.0).sqrt() * 0.0;
    fails(
        detect_anomaly(|| y.sum().backward()),
        &["Function 'SqrtBackward0' returned nan values in its 0th output", &format!("{}:{line}:", file!())],
    );
    assert!(x.grad().is_none());
    let line = line!() + 1;
    let y = Spoiled.apply(&[&x]).unwrap() + 1.0;
    fails(
        detect_anomaly(|| y.sum().backward()),
        &["Function 'SpoiledBackward' returned nan values in its 0th output", &format!("{}:{line}:", file!())],
    );
    // an operation in place has a line too
    let y = &x * 0.0;
    let line = line!() + 1;
    y.sqrt_();
    fails(detect_anomaly(|| (&y * 0.0).sum().backward()), &["SqrtBackward0", &format!("{}:{line}:", file!())]);
}

#[test]
fn without_anomaly_mode_nan_goes_through() {
    let x = tracked(&[1.0]);
    Spoiled.apply(&[&x]).unwrap().backward().unwrap();
    assert!(gradient(&x)[0].is_nan());
    let was = set_detect_anomaly(true);
    let sound = x.square().backward();
    set_detect_anomaly(was);
    sound.unwrap();
}

#[test]
fn a_chain_a_million_deep_builds_runs_and_drops_on_a_small_stack() {
    on_a_small_stack(|| {
        let x = tracked(&[1.0]);
        let mut y = x.clone();
        for i in 0..MILLION {
            y = if i % 2 == 0 { &y + 1.0 } else { &y * 1.0 };
        }
        let kept = y.clone();
        y.backward().unwrap();
        assert_eq!(gradient(&x), [1.0]);
        drop((y, kept));
        // and without a backward, its values still saved
        let mut y = x.clone();
        for _ in 0..MILLION {
            y = &y * &x;
        }
        drop(y);
    });
}

#[test]
fn a_graph_a_million_wide_builds_runs_and_drops_on_a_small_stack() {
    on_a_small_stack(|| {
        let x = tracked(&[2.0]);
        let leaves: Vec<Tensor<f64>> = (0..MILLION).map(|_| &x * 3.0).collect();
        Tensor::cat(&leaves.iter().collect::<Vec<_>>(), 0).sum().backward().unwrap();
        assert_eq!(gradient(&x), [3e6]);
        drop(leaves);
    });
}

#[test]
fn a_million_writes_in_place_build_run_and_drop_on_a_small_stack() {
    on_a_small_stack(|| {
        let x = tracked(&[1.0, 1.0]);
        let y = &x * 1.0;
        for _ in 0..MILLION {
            y.add_(1.0);
        }
        y.sum().backward().unwrap();
        assert_eq!((y.to_vec(), gradient(&x)), (vec![1e6 + 1.0; 2], vec![1.0; 2]));
    });
}

#[test]
fn a_hundred_thousand_writes_through_a_view_build_run_and_drop_on_a_small_stack() {
    on_a_small_stack(|| {
        let x = tracked(&[1.0, 1.0]);
        let y = &x * 1.0;
        let v = y.narrow(0, 0, 1);
        for _ in 0..MILLION / 10 {
            v.mul_(1.0);
        }
        y.sum().backward().unwrap();
        assert_eq!(gradient(&x), [1.0, 1.0]);
    });
}

#[test]
fn a_million_views_of_views_build_run_and_drop_on_a_small_stack() {
    on_a_small_stack(|| {
        let x = Tensor::from_vec(vec![1.0, 2.0], [1, 2]).requires_grad_(true);
        let mut y = x.clone();
        for _ in 0..MILLION {
            y = y.t();
        }
        y.backward_with(&Tensor::from_vec(vec![3.0, 4.0], [1, 2])).unwrap();
        assert_eq!(gradient(&x), [3.0, 4.0]);
        let mut y = x.detach();
        for _ in 0..MILLION {
            y = y.t();
        }
        drop(y);
    });
}

#[test]
fn a_long_chain_of_detached_and_custom_values_drops_on_a_small_stack() {
    on_a_small_stack(|| {
        let x = tracked(&[1.0]);
        let mut y = x.clone();
        for _ in 0..100_000 {
            y = Spoiled.apply(&[&y]).unwrap();
        }
        drop(y);
        // hooks that own the tensors before them
        let mut y = &x * 1.0;
        for _ in 0..100_000 {
            let next = &y * 1.0;
            next.register_hook(move |_: &Tensor<f64>| {
                y.shape();
            })
            .unwrap();
            y = next;
        }
        drop(y);
        // gradients that own gradients
        let mut y = tracked(&[1.0]);
        for _ in 0..100_000 {
            let next = tracked(&[1.0]);
            next.set_grad(Some(&y)).unwrap();
            y = next;
        }
        drop(y);
    });
}

/// The identity, whose backward runs one of its own, so many times inside each other.
struct Nest(usize);
impl Function<f64> for Nest {
    fn forward(&self, _: &mut Context<f64>, inputs: &[Tensor<f64>]) -> Result<Vec<Tensor<f64>>> {
        Ok(vec![&inputs[0] * 1.0])
    }
    fn backward(&self, _: &Context<f64>, grads: &[Tensor<f64>]) -> Result<Vec<Option<Tensor<f64>>>> {
        if self.0 == 0 {
            return Ok(vec![Some(&grads[0] * 2.0)]);
        }
        let x = grads[0].detach().requires_grad_(true);
        let y = enable_grad(|| Nest(self.0 - 1).apply(&[&x]))?;
        y.backward_with(&grads[0])?;
        Ok(vec![x.grad()])
    }
}

#[test]
fn two_thousand_backwards_nest_in_custom_functions() {
    on_a_small_stack(|| {
        let x = tracked(&[5.0]);
        Nest(2000).apply(&[&x]).unwrap().backward().unwrap();
        assert_eq!(gradient(&x), [2.0]);
    });
}

/// A leaf whose hook runs the backward of the next leaf.
fn nest(x: &Tensor<f64>, depth: usize) {
    let c = x.clone().downgrade();
    x.register_hook(move |g: &Tensor<f64>| -> Result<()> {
        assert!(c.upgrade().is_some());
        if depth > 0 {
            let inner = tracked(&[1.0]);
            nest(&inner, depth - 1);
            enable_grad(|| &inner * 3.0).backward_with(g)?;
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn two_thousand_backwards_nest_in_hooks() {
    on_a_small_stack(|| {
        let x = tracked(&[1.0]);
        nest(&x, 2000);
        (&x * 2.0).backward().unwrap();
        assert_eq!(gradient(&x), [2.0]);
    });
}

#[test]
fn a_hook_runs_backward_over_the_same_leaf_and_graph_without_deadlock() {
    let x = tracked(&[1.0]);
    let (shared, y) = (x.exp(), &x * 2.0);
    let (leaf, s) = (x.downgrade(), shared.clone());
    y.register_hook(move |_: &Tensor<f64>| -> Result<()> {
        backward(&[&s], &[], true, false)?;
        leaf.upgrade().map_or(Ok(()), |x| enable_grad(|| &x * 10.0).backward())
    })
    .unwrap();
    y.backward().unwrap();
    close(&gradient(&x), &[12.0 + 1f64.exp()]);
    // from a hook after accumulation, into the leaf that has just been accumulated to
    let z = tracked(&[1.0]);
    let once = Arc::new(std::sync::atomic::AtomicBool::new(false));
    z.register_post_accumulate_grad_hook(move |z| {
        if !once.swap(true, std::sync::atomic::Ordering::Relaxed) {
            enable_grad(|| z * 5.0).backward().unwrap();
        }
    })
    .unwrap();
    (&z * 2.0).backward().unwrap();
    assert_eq!(gradient(&z), [7.0]);
}

#[test]
fn ten_threads_over_one_leaf_accumulate_exactly_ten_times() {
    let x = tracked(&[1.0, 2.0]);
    let shared = (&x * 1.0).sum();
    std::thread::scope(|s| {
        for _ in 0..10 {
            s.spawn(|| {
                for _ in 0..200 {
                    (&x * 3.0).sum().backward().unwrap();
                    backward(&[&shared], &[], true, false).unwrap();
                }
            });
        }
    });
    assert_eq!(gradient(&x), [8000.0, 8000.0]);
}

#[test]
fn ten_threads_over_one_graph_that_frees_run_it_once_or_say_so() {
    let x = tracked(&[1.0]);
    let y = x.exp().sum();
    let ran = std::thread::scope(|s| {
        let threads: Vec<_> = (0..10).map(|_| s.spawn(|| y.backward())).collect();
        let results: Vec<Result<()>> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        let ok = results.iter().filter(|r| r.is_ok()).count();
        results.into_iter().filter(Result::is_err).for_each(|r| fails(r, &["a second time"]));
        ok
    });
    assert_eq!(ran, 1);
    close(&gradient(&x), &[1f64.exp()]);
}

#[test]
fn independent_backwards_run_in_parallel() {
    std::thread::scope(|s| {
        for k in 0..8 {
            s.spawn(move || {
                let x = tracked(&[f64::from(k)]);
                let y = (0..1000).fold(x.clone(), |y, _| &y + &x);
                y.backward().unwrap();
                assert_eq!(gradient(&x), [1001.0]);
            });
        }
    });
}

#[test]
fn a_graph_made_on_one_thread_runs_on_another() {
    let x = tracked(&[2.0]);
    let y = x.powi(3);
    std::thread::scope(|s| s.spawn(|| y.backward().unwrap()).join().unwrap());
    assert_eq!(gradient(&x), [12.0]);
}

#[test]
fn checkpointing_gives_the_same_gradients() {
    let w = tracked(&[0.5, -1.5]);
    let f = |w: Tensor<f64>| {
        move |x: &[Tensor<f64>]| {
            let y = (&x[0] * &w).exp().sin();
            y.mul_(&x[0]);
            y * &w
        }
    };
    let (a, b) = (tracked(&[1.0, 2.0]), tracked(&[1.0, 2.0]));
    f(w.clone())(std::slice::from_ref(&a)).sum().backward().unwrap();
    let plain = (gradient(&a), gradient(&w));
    w.zero_grad();
    let y = checkpoint(f(w.clone()), &[&b]);
    backward(&[&y.sum()], &[], true, false).unwrap();
    assert_eq!((gradient(&b), gradient(&w)), plain);
    y.sum().backward().unwrap();
    fails(y.sum().backward(), &["a second time"]);
    // inside each other, and twice differentiated
    let c = tracked(&[1.0, 2.0]);
    let inner = f(w.clone());
    let nested = checkpoint(move |x| checkpoint(|x| x[0].exp(), &[&inner(x)]), &[&c]);
    let want = f(w.clone())(std::slice::from_ref(&a)).exp();
    let second = |y: &Tensor<f64>, x: &Tensor<f64>| {
        let g = grad(&[&y.sum()], &[x], &[], false, true, false).unwrap().remove(0).unwrap();
        grad(&[&g.sum()], &[x], &[], false, false, false).unwrap().remove(0).unwrap().to_vec()
    };
    close(&second(&nested, &c), &second(&want, &a));
}

#[test]
fn checkpointing_draws_the_same_random_numbers_again() {
    let x = Tensor::<f64>::ones([200]).requires_grad_(true);
    let y = checkpoint(|x| x[0].square().dropout(0.5, true), &[&x]);
    Tensor::<f64>::rand([3]);
    let state = get_rng_state();
    y.sum().backward().unwrap();
    // y = x² · mask / (1 − p), by the mask of the forward
    assert_eq!(gradient(&x), (&y * 2.0).to_vec());
    assert!(y.to_vec().contains(&0.0) && y.to_vec().contains(&2.0));
    assert_eq!(get_rng_state(), state);
}

#[test]
fn checkpointing_notices_an_input_that_has_changed() {
    let x = t(&[1.0]);
    let w = tracked(&[2.0]);
    let (c, v) = (x.clone(), w.clone());
    let y = checkpoint(move |_| &c * &v, &[&w]);
    x.add_(1.0);
    fails(y.backward(), &["modified by an inplace operation", "MulBackward0"]);
}
