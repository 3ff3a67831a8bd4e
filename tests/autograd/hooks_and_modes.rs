//! Hooks: their order, what they may do, what they keep alive. Modes: where they hold and when they end.

use super::{close, fails, gradient, panics, t, tracked};
use autograd::{
    Context, Function, Result, Tensor, backward, backward_inputs, checkpoint, detect_anomaly, enable_grad, grad,
    is_anomaly_enabled, is_grad_enabled, no_grad, set_detect_anomaly, set_grad_enabled, switch_grad,
};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

type Log = Arc<Mutex<Vec<String>>>;
fn note(log: &Log, text: &'static str) -> impl Fn() + Send + Sync + 'static {
    let log = log.clone();
    move || log.lock().unwrap().push(text.into())
}
fn taken(log: &Log) -> Vec<String> {
    std::mem::take(&mut log.lock().unwrap())
}

#[test]
fn a_hook_sees_replaces_and_is_removed() {
    let x = tracked(&[1.0, 2.0]);
    let y = &x * 3.0;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let into = seen.clone();
    let look = y.register_hook(move |g: &Tensor<f64>| into.lock().unwrap().push(g.to_vec())).unwrap();
    let double = y.register_hook(|g: &Tensor<f64>| g * 2.0).unwrap();
    backward(&[&(&y * 2.0).sum()], &[], true, false).unwrap();
    assert_eq!((seen.lock().unwrap().len(), gradient(&x)), (1, vec![12.0, 12.0]));
    assert_eq!(seen.lock().unwrap()[0], [2.0, 2.0]);
    double.remove();
    look.remove();
    x.zero_grad();
    (&y * 2.0).sum().backward().unwrap();
    assert_eq!((seen.lock().unwrap().len(), gradient(&x)), (1, vec![6.0, 6.0]));
}

#[test]
fn a_hook_sees_the_whole_gradient_once() {
    let x = tracked(&[1.0]);
    let calls = Arc::new(AtomicUsize::new(0));
    for of in [x.clone(), &x * 1.0] {
        let c = calls.clone();
        of.register_hook(move |g: &Tensor<f64>| {
            assert_eq!(g.item(), 6.0);
            c.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
        (&of + &of * 2.0 + &of * 3.0).backward().unwrap();
    }
    // the leaf's hook ran in the second sweep too
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

#[test]
fn hooks_run_in_the_order_of_registration_and_each_sees_what_the_last_left() {
    let x = tracked(&[1.0]);
    let y = &x * 1.0;
    for k in 1..=3 {
        y.register_hook(move |g: &Tensor<f64>| g * 10.0 + f64::from(k)).unwrap();
    }
    y.backward().unwrap();
    assert_eq!(gradient(&x), [1123.0]);
}

#[test]
fn tensor_hooks_then_pre_hooks_then_the_node_then_post_hooks() {
    let (x, log) = (tracked(&[1.0]), Log::default());
    let y = &x * 2.0;
    let f = y.grad_fn().unwrap();
    let (pre, post, hook, leaf, after) =
        (note(&log, "pre"), note(&log, "post"), note(&log, "tensor"), note(&log, "leaf"), note(&log, "accumulated"));
    f.register_prehook(move |g: &Vec<Option<Tensor<f64>>>| {
        pre();
        // the tensor's hook has run already, though it was registered later
        assert_eq!(g[0].as_ref().unwrap().item(), 5.0);
        Some(vec![Some(Tensor::full([1], 7.0))])
    })
    .unwrap();
    f.register_hook(move |given: &Vec<Option<Tensor<f64>>>, received: &Vec<Option<Tensor<f64>>>| {
        post();
        assert_eq!((given[0].as_ref().unwrap().item(), received[0].as_ref().unwrap().item()), (14.0, 7.0));
        None
    })
    .unwrap();
    y.register_hook(move |_: &Tensor<f64>| {
        hook();
        Tensor::full([1], 5.0)
    })
    .unwrap();
    x.register_post_accumulate_grad_hook(move |x| {
        after();
        assert_eq!(gradient(x), [14.0])
    })
    .unwrap();
    x.register_hook(move |_: &Tensor<f64>| leaf()).unwrap();
    y.backward().unwrap();
    assert_eq!(taken(&log), ["tensor", "pre", "post", "leaf", "accumulated"]);
}

#[test]
fn a_hooks_replacement_of_another_shape_is_an_error() {
    let x = tracked(&[1.0, 2.0]);
    let y = &x * 2.0;
    y.register_hook(|_: &Tensor<f64>| Tensor::<f64>::ones([3])).unwrap();
    fails(y.sum().backward(), &["hook: expected a gradient of type", "[2]", "[3]"]);
    assert!(x.grad().is_none());
}

#[test]
fn hooks_on_what_is_not_tracked_are_errors() {
    let c = t(&[1.0]);
    fails(c.register_hook(|_: &Tensor<f64>| ()), &["cannot register a hook on a tensor that doesn't require gradient"]);
    fails(c.retain_grad(), &["can't retain_grad on Tensor that has requires_grad=False"]);
    fails(c.register_post_accumulate_grad_hook(|_| ()), &["doesn't require gradient"]);
}

#[test]
fn a_post_accumulate_hook_steps_and_drops_the_gradient() {
    let x = tracked(&[1.0, 2.0]);
    x.register_post_accumulate_grad_hook(|x| {
        no_grad(|| x.sub_(x.grad().unwrap() * 0.5));
        x.zero_grad();
    })
    .unwrap();
    (&x * 2.0).sum().backward().unwrap();
    assert!(x.grad().is_none());
    assert_eq!(x.to_vec(), [0.0, 1.0]);
    let y = &x * 2.0;
    fails(
        y.register_post_accumulate_grad_hook(|_| ()),
        &["post accumulate grad hooks cannot be registered on non-leaf tensors"],
    );
}

#[test]
fn leaf_hooks_run_for_grad_but_post_accumulate_hooks_do_not() {
    let (x, log) = (tracked(&[1.0]), Log::default());
    let (hook, after) = (note(&log, "hook"), note(&log, "accumulated"));
    x.register_hook(move |g: &Tensor<f64>| {
        hook();
        g * 2.0
    })
    .unwrap();
    x.register_post_accumulate_grad_hook(move |_| after()).unwrap();
    let g = grad(&[&(&x * 3.0)], &[&x], &[], false, false, false).unwrap();
    assert_eq!((g[0].as_ref().unwrap().item(), taken(&log)), (6.0, vec!["hook".to_string()]));
    backward_inputs(&[&(&x * 3.0)], &[], &[&x], false, false).unwrap();
    assert_eq!((gradient(&x), taken(&log)), (vec![6.0], vec!["hook".to_string(), "accumulated".into()]));
}

#[test]
fn hooks_stay_with_the_value_they_were_registered_on_when_it_is_written_to() {
    let x = tracked(&[1.0, 2.0]);
    let y = &x * 1.0;
    let seen = Arc::new(Mutex::new(Vec::new()));
    for k in [0, 1] {
        let into = seen.clone();
        y.register_hook(move |g: &Tensor<f64>| into.lock().unwrap().push((k, g.to_vec()[0]))).unwrap();
        y.mul_(10.0);
    }
    y.sum().backward().unwrap();
    assert_eq!(*seen.lock().unwrap(), [(1, 10.0), (0, 100.0)]);
}

#[test]
fn retain_grad_follows_the_tensor_through_writes() {
    let x = tracked(&[1.0]);
    let y = &x * 2.0;
    y.retain_grad().unwrap();
    y.retain_grad().unwrap();
    assert!(y.retains_grad() && !x.retains_grad());
    y.mul_(3.0);
    (&y * 5.0).backward().unwrap();
    // of the tensor as it is now, not as it was
    assert_eq!((gradient(&y), gradient(&x)), (vec![5.0], vec![30.0]));
    x.retain_grad().unwrap();
    assert!(!x.retains_grad());
}

#[test]
fn a_tensor_that_nobody_asked_to_retain_has_no_grad() {
    let x = tracked(&[1.0]);
    let (y, z) = (&x * 2.0, &x * 3.0);
    z.retain_grad().unwrap();
    (&y + &z).backward().unwrap();
    assert!(y.grad().is_none());
    assert_eq!(gradient(&z), [1.0]);
}

#[test]
fn a_hook_that_changes_the_gradient_changes_what_is_retained() {
    let x = tracked(&[1.0]);
    let y = &x * 1.0;
    y.retain_grad().unwrap();
    y.register_hook(|g: &Tensor<f64>| g * 2.0).unwrap();
    y.backward().unwrap();
    assert_eq!(gradient(&y), [2.0]);
}

#[test]
fn a_hook_that_owns_its_own_tensor_goes_when_backward_has_run() {
    let x = tracked(&[1.0]);
    let y = x.exp();
    let (weak, own) = (y.downgrade(), y.clone());
    y.register_hook(move |g: &Tensor<f64>| g * own.detach()).unwrap();
    y.backward().unwrap();
    drop(y);
    assert!(weak.upgrade().is_none());
    close(&gradient(&x), &[1f64.exp() * 1f64.exp()]);
}

#[test]
fn a_hook_with_a_downgraded_handle_makes_no_cycle() {
    let x = tracked(&[1.0]);
    let (y, leaf) = (x.exp(), x.downgrade());
    let (weak, own) = (y.downgrade(), y.downgrade());
    y.register_hook(move |g: &Tensor<f64>| own.upgrade().map(|y| g * y.detach())).unwrap();
    x.register_hook({
        let l = leaf.clone();
        move |_: &Tensor<f64>| drop(l.upgrade())
    })
    .unwrap();
    drop((x, y));
    assert!(weak.upgrade().is_none() && leaf.upgrade().is_none());
}

#[test]
fn a_removed_hook_drops_what_it_owned() {
    let (x, c) = (tracked(&[1.0]), t(&[2.0]));
    let weak = c.downgrade();
    let handle = x.register_hook(move |g: &Tensor<f64>| g * &c).unwrap();
    assert!(weak.upgrade().is_some());
    handle.remove();
    handle.remove();
    assert!(weak.upgrade().is_none());
}

#[test]
fn a_result_that_saves_itself_makes_no_cycle() {
    let x = tracked(&[1.0]);
    let y = x.exp();
    y.mul_(1.0).tanh_();
    let weak = y.downgrade();
    drop(y);
    assert!(weak.upgrade().is_none());
    // a gradient with a graph leads to its leaf: PyTorch's known cycle, cut by dropping the gradient
    backward(&[&x.exp()], &[], false, true).unwrap();
    let (g, leaf) = (x.grad().unwrap().downgrade(), x.downgrade());
    x.zero_grad();
    drop(x);
    assert!(g.upgrade().is_none() && leaf.upgrade().is_none());
}

/// The identity, whose backward runs another one and looks at the modes.
struct Nested;
impl Function<f64> for Nested {
    fn forward(&self, ctx: &mut Context<f64>, inputs: &[Tensor<f64>]) -> Result<Vec<Tensor<f64>>> {
        ctx.save_for_backward(&[&inputs[0]]);
        Ok(vec![&inputs[0] * 1.0])
    }
    fn backward(&self, ctx: &Context<f64>, grads: &[Tensor<f64>]) -> Result<Vec<Option<Tensor<f64>>>> {
        assert!(!is_grad_enabled());
        let x = ctx.saved_tensors()?[0].detach().requires_grad_(true);
        enable_grad(|| backward(&[&x.powi(3).sum()], &[], false, true))?;
        assert!(!is_grad_enabled());
        Ok(vec![Some(&grads[0] * x.grad().unwrap().detach())])
    }
}

#[test]
fn modes_are_restored_after_a_nested_backward() {
    let x = tracked(&[2.0]);
    let y = Nested.apply(&[&x]).unwrap();
    y.backward().unwrap();
    assert!(is_grad_enabled());
    assert_eq!(gradient(&x), [12.0]);
}

#[test]
fn backward_runs_unrecorded_unless_a_graph_is_wanted() {
    let x = tracked(&[2.0]);
    for create in [false, true] {
        let y = x.square();
        let h = y.register_hook(move |_: &Tensor<f64>| assert_eq!(is_grad_enabled(), create)).unwrap();
        no_grad(|| backward(&[&y], &[], false, create)).unwrap();
        h.remove();
        assert_eq!(x.grad().unwrap().requires_grad(), create);
        x.zero_grad();
    }
}

#[test]
fn modes_are_restored_after_a_panic() {
    let x = tracked(&[1.0]);
    let y = &x * 1.0;
    y.register_hook(|_: &Tensor<f64>| -> () { panic!("on purpose") }).unwrap();
    panics(|| y.backward(), &["on purpose"]);
    panics(|| no_grad(|| panic!("on purpose")), &["on purpose"]);
    panics(|| detect_anomaly(|| panic!("on purpose")), &["on purpose"]);
    panics(|| checkpoint(|_: &[Tensor<f64>]| -> Tensor<f64> { panic!("on purpose") }, &[&x]), &["on purpose"]);
    assert!(is_grad_enabled() && !is_anomaly_enabled());
    // nothing is left locked or half done
    assert!(x.grad().is_none());
    let z = x.exp();
    z.backward().unwrap();
    fails(z.backward(), &["a second time"]);
}

#[test]
fn modes_nest_and_belong_to_a_thread() {
    assert!(switch_grad(false) && !is_grad_enabled());
    set_grad_enabled(true, || {
        no_grad(|| assert!(!is_grad_enabled()));
        std::thread::scope(|s| s.spawn(|| assert!(is_grad_enabled())).join().unwrap());
        assert!(is_grad_enabled());
    });
    assert!(!is_grad_enabled() && !switch_grad(true));
    assert!(!set_detect_anomaly(true) && is_anomaly_enabled());
    std::thread::scope(|s| s.spawn(|| assert!(!is_anomaly_enabled())).join().unwrap());
    assert!(set_detect_anomaly(false));
}

/// Doubles, saving nothing.
struct Double;
impl Function<f64> for Double {
    fn forward(&self, _: &mut Context<f64>, inputs: &[Tensor<f64>]) -> Result<Vec<Tensor<f64>>> {
        Ok(vec![&inputs[0] * 2.0])
    }
    fn backward(&self, _: &Context<f64>, grads: &[Tensor<f64>]) -> Result<Vec<Option<Tensor<f64>>>> {
        Ok(vec![Some(&grads[0] * 2.0)])
    }
}

#[test]
fn hooks_run_in_every_backward_of_a_graph_that_saved_nothing() {
    let x = tracked(&[1.0]);
    for y in [&x + 1.0, Double.apply(&[&x]).unwrap()] {
        let calls = Arc::new(AtomicUsize::new(0));
        let c = calls.clone();
        y.register_hook(move |_: &Tensor<f64>| {
            c.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
        y.backward().unwrap();
        y.backward().unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }
}
