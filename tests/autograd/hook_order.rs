//! When hooks run: those of tensors, of nodes and of leaves, in whole backwards and in restricted ones, on results of
//! writes and on views.

use super::{done, gradient, matrix, t, tracked};
use autograd::{
    Context, Function, Grads, Result, Tensor, backward, backward_inputs, enable_grad, grad, no_grad, optim::Adam,
};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

fn scalar(x: f64) -> Tensor<f64> {
    Tensor::scalar(x).requires_grad_(true)
}
/// What hooks note, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<i32>>>);
impl Log {
    fn push(&self, i: i32) {
        self.0.lock().unwrap().push(i);
    }
    fn take(&self) -> Vec<i32> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
    /// A hook on a tensor that notes a number and multiplies.
    fn tensor(&self, number: i32, factor: f64) -> impl Fn(&Tensor<f64>) -> Tensor<f64> + Send + Sync + 'static {
        let log = self.clone();
        move |g| {
            log.push(number);
            g * factor
        }
    }
    /// A hook before a node that notes a number and multiplies.
    fn node(&self, number: i32, factor: f64) -> impl Fn(&Grads<f64>) -> Option<Grads<f64>> + Send + Sync + 'static {
        let log = self.clone();
        move |g| {
            log.push(number);
            Some(g.iter().map(|g| g.as_ref().map(|g| g * factor)).collect())
        }
    }
}

#[test]
fn prehook_ordering_tensors_before_nodes_whatever_was_registered_first() {
    let log = Log::default();
    let a = scalar(1.0);
    let b = a.copy();
    let node = b.grad_fn().unwrap();
    node.register_prehook(log.node(2, 2.0)).unwrap();
    b.register_hook(log.tensor(1, 3.0)).unwrap();
    node.register_prehook(log.node(2, 2.0)).unwrap();
    let leaf = node.next_functions().remove(0).unwrap();
    assert_eq!(leaf.name(), "AccumulateGrad");
    a.register_hook(log.tensor(1, 3.0)).unwrap();
    leaf.register_prehook(log.node(2, 2.0)).unwrap();
    a.register_hook(log.tensor(1, 3.0)).unwrap();

    backward(&[&b.sum()], &[], true, false).unwrap();
    assert_eq!(log.take(), [1, 2, 2, 1, 1, 2]);
    assert_eq!(gradient(&a), [3.0 * 4.0 * 9.0 * 2.0]);
    // of a leaf that gives its gradient to the caller the tensor's hooks run, its node does not
    let g = grad(&[&b.sum()], &[&a], &[], true, false, false).unwrap();
    assert_eq!((log.take(), g[0].as_ref().unwrap().item()), (vec![1, 2, 2, 1, 1], 3.0 * 4.0 * 9.0));
    // what is accumulated for a tensor inside is its gradient before the hooks of its node
    backward_inputs(&[&b.sum()], &[], &[&b], false, false).unwrap();
    assert_eq!((log.take(), gradient(&b)), (vec![1, 2, 2], vec![3.0]));
}

#[test]
fn of_a_restricted_backward_the_nodes_that_run_run_their_hooks() {
    let a = scalar(1.0);
    let b = &a * 2.0;
    let c = &b * 2.0;
    let counts: [Arc<AtomicUsize>; 3] = Default::default();
    let count = |i: usize| {
        let c = counts[i].clone();
        move || done(c.fetch_add(1, Ordering::Relaxed))
    };
    let node = b.grad_fn().unwrap();
    let leaf = node.next_functions().remove(0).unwrap();
    for x in [&a, &b] {
        let f = count(0);
        x.register_hook(move |_: &Tensor<f64>| f()).unwrap();
    }
    for n in [&node, &leaf] {
        let (before, after) = (count(1), count(2));
        n.register_prehook(move |_: &Grads<f64>| {
            before();
            None
        })
        .unwrap();
        n.register_hook(move |_: &Grads<f64>, _: &Grads<f64>| {
            after();
            None
        })
        .unwrap();
    }
    let taken = || counts.each_ref().map(|c| c.swap(0, Ordering::Relaxed));
    grad(&[&c], &[&b], &[], true, false, false).unwrap();
    assert_eq!(taken(), [1, 0, 0]);
    grad(&[&c], &[&a, &b], &[], true, false, false).unwrap();
    assert_eq!(taken(), [2, 1, 1]);
    backward(&[&c], &[], true, false).unwrap();
    assert_eq!(taken(), [2, 2, 2]);
    backward_inputs(&[&c], &[], &[&a, &b], true, false).unwrap();
    assert_eq!(taken(), [2, 2, 2]);
}

#[test]
fn post_accumulate_hooks_run_in_order_between_the_hooks_of_the_leafs_node() {
    let x = tracked(&[0.3, 0.4, 0.5]);
    let leaf = x.reshape(&[3]).grad_fn().unwrap().next_functions().remove(0).unwrap();
    x.register_hook(|g: &Tensor<f64>| g - 2.0).unwrap();
    leaf.register_prehook(|g: &Grads<f64>| Some(vec![g[0].as_ref().map(|g| g / 5.0)])).unwrap();
    x.register_post_accumulate_grad_hook(|x| done(x.grad().unwrap().add_(0.5))).unwrap();
    let weak = x.downgrade();
    leaf.register_hook(move |given: &Grads<f64>, received: &Grads<f64>| {
        assert!(given.is_empty());
        assert_eq!(received[0].as_ref().unwrap().to_vec(), [-0.2; 3]);
        let x = weak.upgrade().unwrap();
        x.set_grad(Some(&(x.grad().unwrap() * 10.0))).unwrap();
        None
    })
    .unwrap();
    x.sum().backward().unwrap();
    // ((1 − 2) / 5 + 0.5) · 10
    super::close(&gradient(&x), &[3.0; 3]);
}

#[test]
fn several_post_accumulate_hooks_run_in_order_and_may_write_to_the_leaf() {
    let x = tracked(&[0.25, 0.5]);
    x.register_post_accumulate_grad_hook(|x| done(x.sub_(x.grad().unwrap()))).unwrap();
    x.register_post_accumulate_grad_hook(|x| done(x.mul_(4.0))).unwrap();
    x.sum().backward().unwrap();
    assert_eq!(x.to_vec(), [-3.0, -2.0]);
}

#[test]
fn an_optimiser_that_steps_in_post_accumulate_hooks_steps_as_after_backward() {
    let data = t(&[0.5, -1.0, 2.0]);
    let make = || [tracked(&[0.1, 0.2, 0.3]), scalar(0.4)];
    let loss = |p: &[Tensor<f64>; 2]| ((&p[0] * &data + &p[1]).square()).sum();
    let (inside, after) = (make(), make());
    let mut handles = Vec::new();
    for p in &inside {
        let optimizer = Mutex::new(Adam::new([p], 0.1));
        let hook = p.register_post_accumulate_grad_hook(move |p| {
            optimizer.lock().unwrap().step().unwrap();
            p.zero_grad();
        });
        handles.push(hook.unwrap());
    }
    let mut optimizer = Adam::new(&after, 0.1);
    for _ in 0..5 {
        loss(&inside).backward().unwrap();
        optimizer.zero_grad();
        loss(&after).backward().unwrap();
        optimizer.step().unwrap();
    }
    for (a, b) in inside.iter().zip(&after) {
        assert_eq!(a.to_vec(), b.to_vec());
        assert!(a.grad().is_none());
    }
    handles.iter().for_each(|h| h.remove());
    let before = inside[0].to_vec();
    loss(&inside).backward().unwrap();
    assert_eq!(inside[0].to_vec(), before);
}

#[test]
fn what_a_post_accumulate_hook_owns_goes_with_the_leaf() {
    let c = t(&[1.0]);
    let weak = c.downgrade();
    let x = tracked(&[1.0]);
    x.register_post_accumulate_grad_hook(move |x| done(x.add_(&c))).unwrap();
    x.sum().backward().unwrap();
    assert!(weak.upgrade().is_some());
    drop(x);
    assert!(weak.upgrade().is_none());
}

#[test]
fn hooks_of_leaves_that_get_nothing_do_not_run() {
    let (a, b) = (scalar(1.0), scalar(1.0));
    a.register_hook(|_: &Tensor<f64>| -> () { panic!("not this leaf") }).unwrap();
    let c = a.copy();
    let leaf = c.grad_fn().unwrap().next_functions().remove(0).unwrap();
    leaf.register_hook(|_: &Grads<f64>, _: &Grads<f64>| panic!("not this leaf's node")).unwrap();
    backward_inputs(&[&(&a + &b + &c)], &[], &[&b], false, false).unwrap();
    assert_eq!(gradient(&b), [1.0]);
    assert!(a.grad().is_none());
}

#[test]
fn retained_gradients_are_those_after_all_hooks_of_the_tensor() {
    for first in [true, false] {
        let a = scalar(1.0);
        let b = a.copy();
        if first {
            b.register_hook(|g: &Tensor<f64>| g * 2.0).unwrap();
        }
        b.retain_grad().unwrap();
        b.register_hook(|g: &Tensor<f64>| g * 2.0).unwrap();
        b.copy().backward().unwrap();
        assert_eq!(gradient(&b), [if first { 4.0 } else { 2.0 }]);
    }
}

#[test]
fn retained_gradients_accumulate() {
    let x = tracked(&[1.0, 2.0, 3.0]);
    let h = &x * 3.0;
    let out = (&h * &h).sum();
    h.retain_grad().unwrap();
    h.retain_grad().unwrap();
    for k in 1..=2 {
        backward(&[&out], &[], true, false).unwrap();
        assert_eq!(gradient(&h), (&h * (2.0 * f64::from(k))).to_vec());
    }
    no_grad(|| done(x.grad().unwrap().zero_()));
    x.retain_grad().unwrap();
    out.backward().unwrap();
    assert_eq!(gradient(&x), (&x * 18.0).to_vec());
}

#[test]
fn a_tensor_that_retains_its_gradient_and_is_an_input_gets_it_once() {
    let x = tracked(&[2.0]);
    let y = &x * 3.0;
    y.retain_grad().unwrap();
    backward_inputs(&[&y.square()], &[], &[&y, &x], false, false).unwrap();
    assert_eq!((gradient(&y), gradient(&x)), (vec![12.0], vec![36.0]));
    // and one that was an input once retains from then on
    let z = &x * 1.0;
    backward_inputs(&[&z.square()], &[], &[&z], false, false).unwrap();
    assert!(z.retains_grad());
    assert_eq!(gradient(&z), [4.0]);
}

#[test]
fn a_retaining_tensor_is_not_kept_alive() {
    let x = tracked(&[1.0]);
    let (z, weak) = {
        let y = &x * 2.0;
        y.retain_grad().unwrap();
        (&y / 2.0, y.downgrade())
    };
    assert!(weak.upgrade().is_none());
    z.sum().backward().unwrap();
    assert_eq!(gradient(&x), [1.0]);
}

#[test]
fn retain_grad_of_a_base_follows_writes_through_its_views() {
    let x = &tracked(&[1.0]) * 1.0;
    x.retain_grad().unwrap();
    x.index(..).mul_(2.0);
    x.mul_(2.0);
    x.sum().backward().unwrap();
    // of the tensor as it is now
    assert_eq!(gradient(&x), [1.0]);
    // an untracked base has nothing to move
    let x = Tensor::<f64>::zeros([4]);
    x.reshape(&[2, 2]).add_(matrix(&[[1.0, 2.0], [3.0, 4.0]]));
    assert!(x.requires_grad());
}

#[test]
fn retain_grad_of_views_follows_a_write_through_one_of_them() {
    let base = &tracked(&[1.0]) * 1.0;
    let (view, other) = (base.index(..), base.index(..));
    view.retain_grad().unwrap();
    other.retain_grad().unwrap();
    view.mul_(2.0);
    (&view + &other).sum().backward().unwrap();
    assert_eq!((gradient(&view), gradient(&other)), (vec![1.0], vec![1.0]));
}

#[test]
fn hooks_of_a_view_stay_with_what_it_was_before_a_write() {
    let base = &tracked(&[1.0]) * 1.0;
    let (view, other) = (base.index(..), base.index(..));
    for v in [&view, &other] {
        v.register_hook(|_: &Tensor<f64>| -> () { panic!("the view as it was is no part of this backward") }).unwrap();
    }
    view.mul_(2.0);
    let seen = Log::default();
    let log = seen.clone();
    other.register_hook(move |g: &Tensor<f64>| log.push(g.item() as i32)).unwrap();
    (&view + &other).sum().backward().unwrap();
    assert_eq!(seen.take(), [1]);
}

#[test]
fn hooks_on_results_of_writes_in_place_see_their_own_version() {
    let a = tracked(&[1.0]);
    let b = a.copy();
    let log = Log::default();
    let of = |number: i32| {
        let log = log.clone();
        move |g: &Tensor<f64>| {
            log.push(number + g.item() as i32);
            g * 2.0
        }
    };
    b.register_hook(of(10)).unwrap();
    b.mul_(2.0);
    b.register_hook(of(20)).unwrap();
    b.sum().backward().unwrap();
    // the newer one sees 1, the older one 1 · 2 · 2
    assert_eq!((log.take(), gradient(&a)), (vec![21, 14], vec![8.0]));
}

/// x ↦ (2x, 3x)
struct DoubleMul;
impl Function<f64> for DoubleMul {
    fn forward(&self, _: &mut Context<f64>, inputs: &[Tensor<f64>]) -> Result<Vec<Tensor<f64>>> {
        Ok(vec![&inputs[0] * 2.0, &inputs[0] * 3.0])
    }
    fn backward(&self, _: &Context<f64>, g: &[Tensor<f64>]) -> Result<Vec<Option<Tensor<f64>>>> {
        Ok(vec![Some(&g[0] * 2.0 + &g[1] * 3.0)])
    }
}

#[test]
fn hooks_on_one_of_several_results_stay_when_that_one_is_written_to() {
    let b = tracked(&[1.0, 1.0]);
    let outs = DoubleMul.apply_all(&[&b]).unwrap();
    let log = Log::default();
    let look = |number: i32| {
        let log = log.clone();
        move |g: &Tensor<f64>| log.push(number + g.to_vec()[0] as i32)
    };
    outs[0].register_hook(look(10)).unwrap();
    outs[1].register_hook(look(20)).unwrap();
    outs[0].retain_grad().unwrap();
    outs[1].retain_grad().unwrap();
    outs[0].mul_(2.0);
    outs[0].register_hook(look(30)).unwrap();
    (&outs[0] + &outs[1] * 3.0).sum().backward().unwrap();
    let mut seen = log.take();
    seen.sort_unstable();
    assert_eq!(seen, [12, 23, 31]);
    assert_eq!((gradient(&outs[0]), gradient(&outs[1])), (vec![1.0; 2], vec![3.0; 2]));
}

#[test]
fn hooks_before_a_node_of_several_results_see_all_of_them() {
    let b = tracked(&[1.0, 1.0]);
    let outs = DoubleMul.apply_all(&[&b]).unwrap();
    outs[0]
        .grad_fn()
        .unwrap()
        .register_prehook(|g: &Grads<f64>| {
            assert_eq!(g.len(), 2);
            assert!(g[0].is_none());
            Some(vec![None, g[1].as_ref().map(|g| g * 2.0)])
        })
        .unwrap();
    outs[1].sum().backward().unwrap();
    assert_eq!(gradient(&b), [6.0, 6.0]);
}

#[test]
fn hooks_around_a_node_change_what_comes_and_what_goes() {
    for custom in [false, true] {
        let a = tracked(&[1.0]);
        let b = if custom { DoubleMul.apply_all(&[&a]).unwrap().remove(0) } else { &a * 2.0 };
        let f = b.grad_fn().unwrap();
        for _ in 0..3 {
            f.register_prehook(|g: &Grads<f64>| Some(g.iter().map(|g| g.as_ref().map(|g| g * 2.0)).collect())).unwrap();
            f.register_prehook(|_: &Grads<f64>| None).unwrap();
        }
        f.register_hook(|given: &Grads<f64>, received: &Grads<f64>| {
            assert_eq!((received[0].as_ref().unwrap().item(), given[0].as_ref().unwrap().item()), (8.0, 16.0));
            Some(given.iter().map(|g| g.as_ref().map(|g| g + 1.0)).collect())
        })
        .unwrap();
        b.sum().backward().unwrap();
        assert_eq!(gradient(&a), [17.0]);
    }
}

#[test]
fn hooks_may_be_removed_before_and_during_backward() {
    let a = tracked(&[1.0]);
    let b = &a * 2.0;
    let f = b.grad_fn().unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let count = || {
        let c = calls.clone();
        move |_: &Grads<f64>| {
            c.fetch_add(1, Ordering::Relaxed);
            None
        }
    };
    let later = Arc::new(Mutex::new(Vec::new()));
    let remove = later.clone();
    f.register_prehook(move |_: &Grads<f64>| {
        remove.lock().unwrap().iter().for_each(|h: &autograd::HookHandle| h.remove());
        None
    })
    .unwrap();
    let (kept, gone) = (f.register_prehook(count()).unwrap(), f.register_prehook(count()).unwrap());
    gone.remove();
    later.lock().unwrap().extend([kept, gone]);
    backward(&[&b.sum()], &[], true, false).unwrap();
    // the hooks of a node are those that it had when its turn came
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    b.sum().backward().unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[test]
fn a_node_refuses_hooks_on_another_element_type() {
    let y = tracked(&[1.0]) * 2.0;
    let f = y.grad_fn().unwrap();
    super::fails(f.register_prehook(|_: &Grads<f32>| None), &["register_prehook: expected dtype f64, found f32"]);
    super::fails(f.register_hook(|_: &Grads<f32>, _: &Grads<f32>| None), &["register_hook"]);
}

#[test]
fn a_hook_on_a_leaf_may_remove_itself_and_change_the_leafs_gradient() {
    let param = tracked(&[1.0, 2.0]);
    let handle = Arc::new(Mutex::new(None::<autograd::HookHandle>));
    let (own, weak) = (handle.clone(), param.downgrade());
    let hook = param.register_hook(move |g: &Tensor<f64>| -> Result<Tensor<f64>> {
        own.lock().unwrap().take().unwrap().remove();
        let param = weak.upgrade().unwrap();
        param.set_grad(None)?;
        let (inner, new) = (g.detach().requires_grad_(true), param.detach().requires_grad_(true));
        enable_grad(|| (&inner * 2.0 + &new).sum()).backward()?;
        let out = inner.grad().unwrap() + g;
        param.set_grad(Some(g))?;
        Ok(out)
    });
    *handle.lock().unwrap() = Some(hook.unwrap());
    (&param * &param).sum().backward().unwrap();
    // 2x, which the hook put there, and 2x + 2, which it gave
    assert_eq!(gradient(&param), [6.0, 10.0]);
}

#[test]
fn a_hook_may_run_a_backward_of_its_own() {
    let param = tracked(&[1.0, 2.0]);
    let tmp = &param * &param;
    tmp.register_hook(|g: &Tensor<f64>| -> Result<Tensor<f64>> {
        let inner = g.detach().requires_grad_(true);
        enable_grad(|| (&inner * 2.0 + 5.0).sum()).backward()?;
        Ok(inner.grad().unwrap() + g)
    })
    .unwrap();
    tmp.sum().backward().unwrap();
    assert_eq!(gradient(&param), (&param * 6.0).to_vec());
}

#[test]
fn hooks_count_every_backward_and_change_what_goes_on() {
    let (x, y) = (Tensor::<f64>::ones([2, 2]).requires_grad_(true), Tensor::full([2, 2], 4.0).requires_grad_(true));
    let calls = Arc::new(AtomicUsize::new(0));
    let z = x.square() + &x * 2.0 + &x * &y + &y;
    let count = |by: usize| {
        let c = calls.clone();
        move |_: &Tensor<f64>| done(c.fetch_add(by, Ordering::Relaxed))
    };
    let ones = Tensor::<f64>::ones([2, 2]);
    let run = |retain: bool| backward(&[&z], &[Some(&ones)], retain, false).unwrap();
    let one = z.register_hook(count(1)).unwrap();
    run(true);
    let two = z.register_hook(count(2)).unwrap();
    run(true);
    assert_eq!(calls.load(Ordering::Relaxed), 4);
    two.remove();
    run(true);
    assert_eq!(calls.load(Ordering::Relaxed), 5);
    one.remove();
    z.register_hook(|g: &Tensor<f64>| g * 2.0).unwrap();
    y.grad().unwrap().zero_();
    run(true);
    assert_eq!(gradient(&y), [4.0; 4]);
    y.register_hook(|g: &Tensor<f64>| g * 2.0).unwrap();
    y.grad().unwrap().zero_();
    run(false);
    assert_eq!(gradient(&y), [8.0; 4]);
}
