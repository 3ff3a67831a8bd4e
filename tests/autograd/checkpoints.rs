//! Checkpointed stretches: the gradients are those without, whatever the stretch does.

use super::{close, done, fails, grad_of, gradient, matrix, t, tracked};
use autograd::{
    Context, Function, Generator, Result, Tensor, backward, checkpoint, enable_grad, grad, manual_seed, no_grad,
};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The gradients of two leaves in Σ(f(x, w))², without and with a checkpoint around `f`.
fn both_ways(f: impl Fn(&Tensor<f64>, &Tensor<f64>) -> Tensor<f64> + Clone + Send + Sync + 'static) {
    let run = |checkpointed: bool| {
        manual_seed(7);
        let (x, w) = (matrix(&[[0.5, -1.0, 2.0], [0.3, 1.5, -0.7]]), matrix(&[[1.0, 0.2, -0.4], [0.6, -1.1, 0.9]]));
        let (g, captured) = (f.clone(), w.clone());
        // something random before and after, so that the stretch is in the middle of a sequence
        let before = x.dropout(0.3, true);
        let y = if checkpointed { checkpoint(move |x| g(&x[0], &captured), &[&before]) } else { f(&before, &w) };
        let after = Tensor::<f64>::rand([2, 3]);
        (y.square().sum() + (&y * &after).sum()).backward().unwrap();
        (y.to_vec(), after.to_vec(), gradient(&x), gradient(&w), Tensor::<f64>::rand([1]).item())
    };
    assert_eq!(run(true), run(false));
}

#[test]
fn checkpointing_with_dropout_gives_the_same_gradients() {
    both_ways(|x, w| (x * w).dropout(0.5, true).exp());
    both_ways(|x, w| x.dropout(0.5, true).tanh() * w.dropout(0.2, true).sin() * Tensor::<f64>::randn([2, 3]));
    // one that draws and saves nothing of it, and one in evaluation
    both_ways(|x, w| x + w + Tensor::<f64>::rand([2, 3]));
    both_ways(|x, w| (x * w).dropout(0.5, false).exp());
}

#[test]
fn checkpointing_draws_again_from_given_generators_too() {
    let run = |checkpointed: bool| {
        let generator = Generator::new(3);
        let (x, own) = (tracked(&[0.5, -1.0, 2.0, 0.1]), generator.clone());
        let f = move |x: &[Tensor<f64>]| x[0].dropout_with(&own, 0.5, true).exp();
        let y = if checkpointed { checkpoint(f, &[&x]) } else { f(std::slice::from_ref(&x)) };
        y.sum().backward().unwrap();
        (y.to_vec(), gradient(&x), Tensor::<f64>::rand_with(&generator, [1]).item())
    };
    assert_eq!(run(true), run(false));
}

#[test]
fn checkpointed_parameters_and_layers_give_the_same_gradients() {
    both_ways(|x, w| {
        let h = x.matmul(&w.t()).relu();
        h.matmul(w).log_softmax(1) + x.mean()
    });
    both_ways(|x, w| {
        let y = x * 2.0;
        y.select(0, 1).mul_(w.select(0, 0));
        y.sin_().add_(w);
        y
    });
    both_ways(|x, w| no_grad(|| x * w) + x * w);
    both_ways(|x, w| x.detach() * w + x);
    both_ways(|x, w| w * w + x);
}

#[test]
fn checkpoints_inside_each_other_with_dropout() {
    both_ways(|x, w| {
        let captured = w.clone();
        let inner = checkpoint(move |x| (&x[0] * &captured).dropout(0.5, true).sin(), &[x]);
        inner.dropout(0.2, true).exp()
    });
}

fn derivative(f: impl Fn(&Tensor<f64>) -> Tensor<f64>) -> impl Fn(&Tensor<f64>) -> Tensor<f64> {
    move |x| enable_grad(|| grad(&[&f(x).sum()], &[x], &[], false, true, false)).unwrap().remove(0).unwrap()
}
fn checked(f: impl Fn(&Tensor<f64>) -> Tensor<f64> + Send + Sync + 'static) -> impl Fn(&Tensor<f64>) -> Tensor<f64> {
    let f = Arc::new(f);
    move |x| {
        let f = f.clone();
        checkpoint(move |x| f(&x[0]), &[x])
    }
}

#[test]
fn nested_checkpoints_and_derivatives_in_any_order() {
    let x = tracked(&[0.4, -0.8]);
    let f = |x: &Tensor<f64>| x.sin().exp().sin();
    let same = |a: Tensor<f64>, b: Tensor<f64>| close(&a.to_vec(), &b.to_vec());
    same(checked(f)(&x), f(&x));
    same(checked(checked(f))(&x), f(&x));
    same(derivative(checked(f))(&x), derivative(f)(&x));
    same(derivative(checked(checked(f)))(&x), derivative(f)(&x));
    same(derivative(checked(derivative(f)))(&x), derivative(derivative(f))(&x));
    same(checked(derivative(derivative(checked(f))))(&x), derivative(derivative(f))(&x));
    same(derivative(checked(derivative(checked(f))))(&x), derivative(derivative(f))(&x));
    same(derivative(checked(derivative(derivative(checked(f)))))(&x), derivative(derivative(derivative(f)))(&x));
    // a stretch that differentiates for itself and drops the result
    let g = |x: &Tensor<f64>| {
        drop(derivative(|x| x.cos().exp())(x));
        x.sin()
    };
    same(derivative(checked(g))(&x), derivative(Tensor::sin)(&x));
    // two stretches one after the other
    let h = move |x: &Tensor<f64>| checked(|x: &Tensor<f64>| x.cos().sin().exp())(&checked(f)(x));
    let plain = |x: &Tensor<f64>| f(x).cos().sin().exp();
    same(derivative(derivative(checked(h)))(&x), derivative(derivative(plain))(&x));
}

#[test]
fn what_a_stretch_makes_dies_with_its_graph() {
    let (x, c) = (tracked(&[0.5]), t(&[2.0]));
    let weak = c.downgrade();
    let y = checkpoint(move |x| (&x[0] * &c).exp().sin(), &[&x]);
    drop(y);
    assert!(weak.upgrade().is_none());
    let c = t(&[2.0]);
    let weak = c.downgrade();
    let y = checkpoint(move |x| (&x[0] * &c).exp().sin(), &[&x]);
    y.backward().unwrap();
    drop(y);
    assert!(weak.upgrade().is_none());
}

#[test]
fn a_stretch_runs_twice_and_hooks_run_once() {
    let calls = Arc::new(AtomicUsize::new(0));
    let hooked = Arc::new(AtomicUsize::new(0));
    let (w, x) = (tracked(&[2.0]), tracked(&[3.0]));
    let h = hooked.clone();
    w.register_hook(move |_: &Tensor<f64>| done(h.fetch_add(1, Ordering::Relaxed))).unwrap();
    let before = &w * &x;
    let (c, captured) = (calls.clone(), w.clone());
    let y = checkpoint(
        move |x| {
            c.fetch_add(1, Ordering::Relaxed);
            (&captured * &x[0]).sin().exp()
        },
        &[&before],
    );
    let inner = Arc::new(AtomicUsize::new(0));
    let i = inner.clone();
    // on the graph of the first run, which is the one that backward walks
    y.grad_fn().unwrap().next_functions()[0]
        .as_ref()
        .unwrap()
        .register_hook(move |_: &autograd::Grads<f64>, _: &autograd::Grads<f64>| {
            i.fetch_add(1, Ordering::Relaxed);
            None
        })
        .unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    y.sum().backward().unwrap();
    let count = |a: &AtomicUsize| a.load(Ordering::Relaxed);
    assert_eq!((count(&calls), count(&hooked), count(&inner)), (2, 1, 1));
}

#[test]
fn a_stretch_that_saves_nothing_is_not_run_again() {
    let calls = Arc::new(AtomicUsize::new(0));
    let (c, x) = (calls.clone(), tracked(&[3.0]));
    let y = checkpoint(
        move |x| {
            c.fetch_add(1, Ordering::Relaxed);
            &x[0] + 1.0
        },
        &[&x],
    );
    y.backward().unwrap();
    y.backward().unwrap();
    assert_eq!((calls.load(Ordering::Relaxed), gradient(&x)), (1, vec![2.0]));
}

#[test]
fn a_stretch_that_does_something_else_the_second_time_is_an_error() {
    let other = |first: fn(&Tensor<f64>) -> Tensor<f64>, then: fn(&Tensor<f64>) -> Tensor<f64>| {
        let calls = AtomicUsize::new(0);
        let x = tracked(&[0.5]);
        let y = checkpoint(
            move |x| if calls.fetch_add(1, Ordering::Relaxed) == 0 { first(&x[0]) } else { then(&x[0]) },
            &[&x],
        );
        y.backward()
    };
    fails(other(|x| x.sin().exp().sin(), |x| x.sin().exp()), &["checkpoint: the recomputation for"]);
    fails(other(|x| x.sin().exp(), |x| x.sin().cos()), &["checkpoint: the recomputation for"]);
    other(|x| x.sin().exp(), |x| x.sin().exp()).unwrap();
}

#[test]
fn an_error_in_a_stretch_leaves_the_next_ones_sound() {
    let x = tracked(&[0.5, 0.25]);
    super::panics(|| checkpoint(|x| x[0].matmul(&Tensor::<f64>::ones([3, 3])), &[&x]), &["matmul"]);
    let y = checkpoint(|x| x[0].exp(), &[&x]);
    y.sum().backward().unwrap();
    close(&gradient(&x), &x.exp().to_vec());
    let failing = AtomicUsize::new(0);
    let y = checkpoint(
        move |x| {
            let n = if failing.fetch_add(1, Ordering::Relaxed) == 0 { 2 } else { 3 };
            x[0].exp() * Tensor::<f64>::ones([n])
        },
        &[&x],
    );
    fails(y.sum().backward(), &["expected shapes that broadcast, found [2] and [3]"]);
    assert_eq!(grad_of(&checkpoint(|x| x[0].square(), &[&x]).sum(), &x).to_vec(), [1.0, 0.5]);
}

/// x³ by its saved input.
struct Cube;
impl Function<f64> for Cube {
    fn forward(&self, ctx: &mut Context<f64>, inputs: &[Tensor<f64>]) -> Result<Vec<Tensor<f64>>> {
        ctx.save_for_backward(&[&inputs[0]]);
        Ok(vec![inputs[0].powi(3)])
    }
    fn backward(&self, ctx: &Context<f64>, g: &[Tensor<f64>]) -> Result<Vec<Option<Tensor<f64>>>> {
        Ok(vec![Some(&g[0] * ctx.saved_tensors()?[0].square() * 3.0)])
    }
}

#[test]
fn functions_of_the_user_inside_a_stretch_have_their_derivatives() {
    both_ways(|x, w| Cube.apply(&[&(x * w).sin()]).unwrap() * w);
}

#[test]
fn a_stretch_under_no_grad_is_not_tracked_and_one_without_tracked_inputs_still_reaches_parameters() {
    let (x, w) = (t(&[1.0, 2.0]), tracked(&[3.0, 4.0]));
    let captured = w.clone();
    assert!(!no_grad(|| checkpoint(|x| x[0].exp(), &[&w])).requires_grad());
    let y = checkpoint(move |x| (&x[0] * &captured).sin(), &[&x]);
    y.sum().backward().unwrap();
    close(&gradient(&w), &[3f64.cos(), 8f64.cos() * 2.0]);
    // a part that is not tracked, added to one that is
    let y = checkpoint(|x| no_grad(|| x[0].exp()), &[&w]);
    assert!(!y.requires_grad());
    w.zero_grad();
    (y + &w).sum().backward().unwrap();
    assert_eq!(gradient(&w), [1.0, 1.0]);
}

#[test]
fn a_backward_that_runs_another_one_through_the_same_stretch() {
    let a = Tensor::scalar(1.0).requires_grad_(true);
    let kept = Arc::new(std::sync::Mutex::new(None));
    let keep = kept.clone();
    let out = checkpoint(
        move |a| {
            let x = a[0].sin().cos();
            keep.lock().unwrap().get_or_insert_with(|| x.clone());
            x.sin()
        },
        &[&a],
    );
    let x = kept.lock().unwrap().take().unwrap();
    // backward again, over the part of the graph below the hook
    out.grad_fn()
        .unwrap()
        .register_hook(move |_: &autograd::Grads<f64>, _: &autograd::Grads<f64>| {
            backward(&[&x], &[], true, false).unwrap();
            None
        })
        .unwrap();
    backward(&[&out], &[], true, false).unwrap();
    let d = |x: f64| -x.sin().sin() * x.cos();
    close(&gradient(&a), &[d(1.0) + 1f64.sin().cos().cos() * d(1.0)]);
}
