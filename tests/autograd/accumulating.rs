//! Gradients accumulating in `.grad`, and what the calls of backward take and give.

use super::{close, done, fails, grad_of, gradient, matrix, t, tracked};
use autograd::{Context, Error, Function, GradOptions, Result, Tensor, backward, backward_inputs, grad, grad_options};

#[test]
fn grads_accumulate_in_place_and_grad_keeps_its_identity() {
    let x = tracked(&[1.0, 2.0]);
    x.square().sum().backward().unwrap();
    let first = x.grad().unwrap();
    x.square().sum().backward().unwrap();
    assert!(x.grad().unwrap().is_same(&first));
    assert_eq!(first.to_vec(), [4.0, 8.0]);
}

#[test]
fn under_create_graph_grads_accumulate_out_of_place() {
    let x = tracked(&[1.0, 2.0]);
    x.square().sum().backward().unwrap();
    let first = x.grad().unwrap();
    backward(&[&x.square().sum()], &[], false, true).unwrap();
    let second = x.grad().unwrap();
    assert!(!second.is_same(&first) && second.requires_grad() && !first.requires_grad());
    assert_eq!((first.to_vec(), second.to_vec()), (vec![2.0, 4.0], vec![4.0, 8.0]));
    x.zero_grad();
}

#[test]
fn a_grad_with_a_graph_is_not_written_to() {
    let x = tracked(&[1.0]);
    backward(&[&x.powi(3).sum()], &[], false, true).unwrap();
    let first = x.grad().unwrap();
    x.sum().backward().unwrap();
    assert!(!x.grad().unwrap().is_same(&first));
    assert_eq!((first.to_vec(), gradient(&x)), (vec![3.0], vec![4.0]));
    x.zero_grad();
    first.sum().backward().unwrap();
    assert_eq!(gradient(&x), [6.0]);
}

#[test]
fn zeroing_grad_in_place_keeps_it_and_zero_grad_drops_it() {
    let x = tracked(&[1.0, 2.0]);
    x.sum().backward().unwrap();
    let g = x.grad().unwrap();
    g.zero_();
    assert_eq!(gradient(&x), [0.0, 0.0]);
    (&x * 3.0).sum().backward().unwrap();
    assert!(x.grad().unwrap().is_same(&g));
    assert_eq!(g.to_vec(), [3.0, 3.0]);
    x.zero_grad();
    assert!(x.grad().is_none());
}

#[test]
fn a_tensor_without_elements_gets_a_grad_without_elements() {
    let x = Tensor::<f64>::zeros([0, 3]).requires_grad_(true);
    (&x * 2.0).sum().backward().unwrap();
    assert_eq!(x.grad().unwrap().shape(), [0, 3]);
    let y = tracked(&[1.0, 2.0]);
    let empty = y.narrow(0, 1, 0);
    (Tensor::cat(&[&empty, &y], 0) * 2.0).sum().backward().unwrap();
    assert_eq!(gradient(&y), [2.0, 2.0]);
    x.expand([5, 0, 3]).exp().sum().backward().unwrap();
    assert_eq!(x.grad().unwrap().numel(), 0);
}

#[test]
fn the_callers_gradient_is_never_mutated() {
    let x = matrix(&[[1.0, 2.0], [3.0, 4.0]]);
    let index = Tensor::from_vec(vec![0, 0], [1, 2]);
    let (one, two) = (x.copy(), x.gather(0, &index));
    let (g, h) = (Tensor::full([2, 2], 5.0), Tensor::full([1, 2], 7.0));
    backward(&[&one, &two], &[Some(&g), Some(&h)], true, false).unwrap();
    backward(&[&one, &one, &two], &[Some(&g), Some(&g), Some(&h)], false, false).unwrap();
    assert_eq!((g.to_vec(), h.to_vec()), (vec![5.0; 4], vec![7.0; 2]));
    assert_eq!((g.version(), h.version()), (0, 0));
    assert_eq!(gradient(&x), [29.0, 29.0, 15.0, 15.0]);
    // a leaf as its own root
    let g = Tensor::full([2, 2], 1.0);
    x.backward_with(&g).unwrap();
    assert!(!x.grad().unwrap().shares_storage(&g));
    x.zero_grad();
    x.backward_with(&g).unwrap();
    assert!(!x.grad().unwrap().shares_storage(&g));
}

#[test]
fn grads_of_several_leaves_share_no_elements() {
    let (a, b, c) = (tracked(&[1.0, 2.0]), tracked(&[3.0, 4.0]), tracked(&[3.0, 4.0]));
    let ct = t(&[1.0, 1.0]);
    (&a + &b.reshape(&[2]) + &c.expand([2])).backward_with(&ct).unwrap();
    let (g, h, i) = (a.grad().unwrap(), b.grad().unwrap(), c.grad().unwrap());
    g.mul_(100.0);
    h.mul_(10.0);
    assert_eq!((g.to_vec(), h.to_vec(), i.to_vec()), (vec![100.0; 2], vec![10.0; 2], vec![1.0; 2]));
    assert_eq!(ct.to_vec(), [1.0, 1.0]);
}

#[test]
fn the_grad_of_a_retained_tensor_is_not_that_of_its_leaf() {
    let x = tracked(&[1.0, 2.0]);
    let y = &x + 1.0;
    y.retain_grad().unwrap();
    y.sum().backward().unwrap();
    y.grad().unwrap().mul_(7.0);
    assert_eq!((gradient(&x), gradient(&y)), (vec![1.0; 2], vec![7.0; 2]));
}

#[test]
fn the_same_root_twice_counts_twice() {
    let x = tracked(&[1.0, 2.0]);
    let (y, g) = (&x * 3.0, t(&[1.0, 10.0]));
    backward(&[&y, &y], &[Some(&g), Some(&g)], true, false).unwrap();
    assert_eq!(gradient(&x), [6.0, 60.0]);
    let g = grad(&[&y, &y], &[&x], &[Some(&g), Some(&g)], false, false, false).unwrap();
    assert_eq!(g[0].as_ref().unwrap().to_vec(), [6.0, 60.0]);
}

#[test]
fn a_root_behind_another_root_gets_both_cotangents() {
    let x = tracked(&[0.5, 2.0]);
    let y = x.square();
    let z = y.powi(3);
    let (gy, gz) = (t(&[1.0, 2.0]), t(&[3.0, 4.0]));
    backward(&[&y, &z], &[Some(&gy), Some(&gz)], false, false).unwrap();
    let want = [2.0 * 0.5 + 3.0 * 6.0 * 0.5f64.powi(5), 2.0 * 4.0 + 4.0 * 6.0 * 32.0];
    close(&gradient(&x), &want);
}

#[test]
fn backward_into_given_inputs_leaves_the_others_alone() {
    let (x, y) = (tracked(&[2.0]), tracked(&[3.0]));
    let out = || (x.square() + &x * &y + y.square()).sum();
    backward_inputs(&[&out()], &[], &[&y], false, false).unwrap();
    assert!(x.grad().is_none());
    assert_eq!(gradient(&y), [8.0]);
    backward_inputs(&[&out()], &[], &[&x, &y], false, false).unwrap();
    assert_eq!((gradient(&x), gradient(&y)), (vec![7.0], vec![16.0]));
}

#[test]
fn backward_into_no_inputs_at_all_is_an_error() {
    let x = tracked(&[2.0]);
    fails(
        backward_inputs(&[&x.square()], &[], &[], false, false),
        &["`inputs` argument to `backward()` cannot be empty"],
    );
    fails(grad(&[&x.square()], &[], &[], false, false, false), &["grad requires non-empty inputs"]);
}

#[test]
fn leaves_and_non_leaves_are_inputs() {
    let x = tracked(&[2.0]);
    let y = x.square();
    let z = &y * &x;
    backward_inputs(&[&z], &[], &[&x, &y], true, false).unwrap();
    assert_eq!((gradient(&x), gradient(&y)), (vec![12.0], vec![2.0]));
    // the root itself is one too
    let g = grad(&[&z], &[&z, &y], &[], false, false, false).unwrap();
    assert_eq!((g[0].as_ref().unwrap().item(), g[1].as_ref().unwrap().item()), (1.0, 2.0));
}

#[test]
fn an_input_given_twice_counts_once() {
    let x = tracked(&[2.0]);
    backward_inputs(&[&x.square()], &[], &[&x, &x], false, false).unwrap();
    assert_eq!(gradient(&x), [4.0]);
    let g = grad(&[&x.square()], &[&x, &x], &[], false, false, false).unwrap();
    assert_eq!(g.iter().map(|g| g.as_ref().unwrap().item()).collect::<Vec<_>>(), [4.0, 4.0]);
}

#[test]
fn an_input_that_is_not_tracked_is_an_error() {
    let (x, c) = (tracked(&[2.0]), t(&[1.0]));
    let y = (&x * &c).sum();
    let message = ["One of the differentiated Tensors does not require grad"];
    fails(backward_inputs(&[&y], &[], &[&c], true, false), &message);
    fails(grad(&[&y], &[&x, &c], &[], true, false, false), &message);
    assert!(x.grad().is_none());
}

#[test]
fn a_cotangent_of_another_shape_is_a_mismatch() {
    let x = matrix(&[[1.0, 2.0], [3.0, 4.0]]);
    let y = &x * 2.0;
    let (row, flat) = (Tensor::<f64>::ones([1, 2]), Tensor::<f64>::ones([4]));
    fails(grad(&[&y], &[&x], &[Some(&row)], true, false, false), &["Mismatch in shape", "[2, 2]", "[1, 2]"]);
    fails(y.backward_with(&flat), &["Mismatch in shape", "[2, 2]", "[4]"]);
    fails(y.backward(), &["grad can be implicitly created only for scalar outputs", "[2, 2]"]);
    fails(backward(&[&y], &[None, None], false, false), &["expected 1 gradients, found 2"]);
}

#[test]
fn grad_leaves_every_grad_alone() {
    let (x, y) = (tracked(&[2.0]), tracked(&[3.0]));
    y.set_grad(Some(&t(&[9.0]))).unwrap();
    let m = &x * &y;
    let g = grad(&[&m.square()], &[&m, &x], &[], false, false, false).unwrap();
    assert_eq!((g[0].as_ref().unwrap().item(), g[1].as_ref().unwrap().item()), (12.0, 36.0));
    assert!(x.grad().is_none() && m.grad().is_none());
    assert_eq!(gradient(&y), [9.0]);
}

#[test]
fn an_unreachable_input_gives_none_or_an_error_that_names_allow_unused() {
    let (x, y) = (tracked(&[1.0]), tracked(&[1.0]));
    let z = x.square();
    let g = grad(&[&z], &[&x, &y], &[], true, false, true).unwrap();
    assert!(g[0].is_some() && g[1].is_none());
    fails(
        grad(&[&z], &[&x, &y], &[], true, false, false),
        &["The differentiated Tensor at index 1 appears to not have been used in the graph", "allow_unused=true"],
    );
    // a result of x is not reached by x
    fails(grad(&[&x.sum()], &[&z], &[], true, false, false), &["at index 0", "allow_unused"]);
}

#[test]
fn unreachable_inputs_are_materialised_as_zeros() {
    let (x, y) = (tracked(&[1.0]), matrix(&[[1.0, 2.0]]));
    let options = GradOptions { materialize_grads: true, ..Default::default() };
    let g = grad_options(&[&x.square()], &[&y, &x], options).unwrap();
    assert_eq!((g[0].as_ref().unwrap().shape(), g[0].as_ref().unwrap().to_vec()), (&[1, 2][..], vec![0.0, 0.0]));
    assert_eq!(g[1].as_ref().unwrap().to_vec(), [2.0]);
}

/// The identity, whose backward must not run.
struct Never;
impl Function<f64> for Never {
    fn forward(&self, _: &mut Context<f64>, inputs: &[Tensor<f64>]) -> Result<Vec<Tensor<f64>>> {
        Ok(vec![&inputs[0] * 1.0])
    }
    fn backward(&self, _: &Context<f64>, _: &[Tensor<f64>]) -> Result<Vec<Option<Tensor<f64>>>> {
        Err(Error::Autograd("this node should not be executed".into()))
    }
}

#[test]
fn branches_that_lead_to_no_input_never_run() {
    let (x, y) = (tracked(&[1.0]), tracked(&[5.0]));
    let dead = Never.apply(&[&x]).unwrap();
    assert!(grad(&[&dead], &[&y], &[], true, false, true).unwrap()[0].is_none());
    let g = grad(&[&(&dead * &y)], &[&y], &[], true, false, false).unwrap();
    assert_eq!(g[0].as_ref().unwrap().item(), 1.0);
    backward_inputs(&[&(&dead + &y)], &[], &[&y], true, false).unwrap();
    assert_eq!(gradient(&y), [1.0]);
    // nor does what lies behind the wanted value
    assert_eq!(grad_of(&dead.square(), &dead).item(), 2.0);
    fails(dead.backward(), &["this node should not be executed"]);
}

#[test]
fn backward_of_what_does_not_require_grad_is_an_error() {
    let x = t(&[1.0]);
    let message = ["element 0 of tensors does not require grad and does not have a grad_fn"];
    fails(x.backward(), &message);
    fails((&x * 2.0).sum().backward(), &message);
    fails(backward(&[&tracked(&[1.0]), &x], &[], false, false), &["element 1 of tensors does not require grad"]);
    fails(grad(&[&x], &[&tracked(&[1.0])], &[], false, false, false), &message);
}

#[test]
fn grad_takes_no_other_shape_and_not_the_tensor_itself() {
    let x = tracked(&[1.0, 2.0]);
    fails(x.set_grad(Some(&x)), &["can't assign Variable as its own grad"]);
    fails(x.set_grad(Some(&t(&[1.0]))), &["attempting to assign a gradient of size '[1]' to a tensor of size '[2]'"]);
    assert!(x.grad().is_none());
    let g = t(&[1.0, 1.0]);
    x.set_grad(Some(&g)).unwrap();
    assert!(x.grad().unwrap().is_same(&g));
    x.set_grad(None).unwrap();
    assert!(x.grad().is_none());
}

#[test]
fn a_gradient_comes_in_the_dtype_of_its_leaf() {
    let x = Tensor::from_vec(vec![1.0f32, 2.0], [2]).requires_grad_(true);
    let y = x.to::<f64>();
    (y.square() * 0.1).sum().backward().unwrap();
    assert_eq!(x.grad().unwrap().to_vec(), [0.2f32, 0.4]);
    let w = tracked(&[3.0]);
    (w.to::<f32>() * 2.0).sum().backward().unwrap();
    assert_eq!(gradient(&w), [2.0]);
}

#[test]
fn outputs_of_integers_and_truth_values_are_untracked() {
    let x = matrix(&[[1.0, 3.0], [2.0, 0.0]]);
    assert!(!x.argmax(1, false).requires_grad() && !x.gt(&x).requires_grad());
    assert!(!x.to::<i64>().requires_grad() && !x.to::<bool>().requires_grad());
    assert!(!x.to::<i64>().to::<f64>().requires_grad());
}

/// x ↦ (2x, 3x), noting which of the two got a gradient.
struct Two;
impl Function<f64> for Two {
    fn forward(&self, _: &mut Context<f64>, inputs: &[Tensor<f64>]) -> Result<Vec<Tensor<f64>>> {
        Ok(vec![&inputs[0] * 2.0, &inputs[0] * 3.0])
    }
    fn backward(&self, ctx: &Context<f64>, grads: &[Tensor<f64>]) -> Result<Vec<Option<Tensor<f64>>>> {
        assert!(ctx.has_grad(1) && !ctx.has_grad(0));
        assert_eq!(grads[0].to_vec(), [0.0, 0.0]);
        Ok(vec![Some(&grads[0] * 2.0 + &grads[1] * 3.0)])
    }
}

#[test]
fn unused_outputs_give_zeros() {
    let x = tracked(&[1.0, 2.0]);
    let outs = Two.apply_all(&[&x]).unwrap();
    outs[1].sum().backward().unwrap();
    assert_eq!(gradient(&x), [3.0, 3.0]);
    let m = matrix(&[[1.0, 2.0], [3.0, 4.0]]);
    m.unbind(0)[1].sum().backward().unwrap();
    assert_eq!(gradient(&m), [0.0, 0.0, 1.0, 1.0]);
}

#[test]
fn a_backward_that_fails_accumulates_nothing() {
    let (x, y) = (tracked(&[1.0]), tracked(&[1.0]));
    let z = Never.apply(&[&x]).unwrap() + &y * 2.0;
    fails(z.backward(), &["this node should not be executed"]);
    assert!(x.grad().is_none() && y.grad().is_none());
}

#[test]
fn a_leaf_is_a_root() {
    let x = tracked(&[4.0]);
    x.backward().unwrap();
    x.backward().unwrap();
    assert_eq!(gradient(&x), [2.0]);
    assert_eq!(grad_of(&x, &x).item(), 1.0);
}

#[test]
fn a_leaf_that_is_not_tracked_any_more_keeps_the_grad_it_has() {
    let (x, y) = (tracked(&[2.0]), tracked(&[3.0]));
    let z = &x * &y;
    x.set_requires_grad(false).unwrap();
    backward(&[&z], &[], true, false).unwrap();
    assert!(x.grad().is_none());
    assert_eq!(gradient(&y), [2.0]);
    let w = tracked(&[1.0, 2.0]);
    let view = w.narrow(0, 0, 1);
    w.detach_().unwrap();
    assert!(!w.requires_grad() && view.requires_grad());
    view.sum().backward().unwrap();
    assert!(w.grad().is_none());
}

#[test]
fn backward_copy_a_gradient_that_waits_in_several_places_is_never_added_to_in_place() {
    let (x, y) = (Tensor::<f64>::ones([2, 2]).requires_grad_(true), Tensor::ones([2, 2]).requires_grad_(true));
    let (mut a, mut b, mut c) = (&x + 2.0, &y + 2.0, &x + 2.0);
    let sum = (&a + &b) + &c;
    for _ in 0..4 {
        (a, b, c) = (&a * 2.0, &b * 2.0, &c * 2.0);
    }
    let out = sum + (a + b + c);
    let ones = Tensor::ones([2, 2]);
    out.backward_with(&ones).unwrap();
    assert_eq!((gradient(&x), gradient(&y), ones.to_vec()), (vec![34.0; 4], vec![17.0; 4], vec![1.0; 4]));
}

#[test]
fn a_grad_that_the_user_put_there_is_added_to_and_kept() {
    for create in [false, true] {
        let x = tracked(&[1.5, 1.5]);
        let mine = t(&[1.0, 2.0]);
        x.set_grad(Some(&mine)).unwrap();
        backward(&[&x], &[Some(&t(&[10.0, 20.0]))], false, create).unwrap();
        assert_eq!(gradient(&x), [11.0, 22.0]);
        assert_eq!(x.grad().unwrap().is_same(&mine), !create);
    }
}

#[test]
fn a_broadcast_against_nothing_gets_zeros() {
    let (a, b) = (Tensor::<f64>::ones([4, 0]).requires_grad_(true), Tensor::<f64>::ones([4, 1]).requires_grad_(true));
    let c = &a + &b;
    assert_eq!(c.shape(), [4, 0]);
    c.sum().backward().unwrap();
    assert_eq!((a.grad().unwrap().shape(), gradient(&b)), (&[4, 0][..], vec![0.0; 4]));
}

#[test]
fn gradients_of_parts_come_one_by_one_and_leave_the_whole_alone() {
    let x = Tensor::<f64>::arange(8).reshape(&[4, 2]).detach().requires_grad_(true);
    let parts = x.chunk(2, 0);
    x.register_hook(|_: &Tensor<f64>| -> () { panic!("x is not asked for") }).unwrap();
    let go = matrix(&[[1.0, 2.0], [3.0, 4.0]]).detach();
    let out = &parts[0] + &parts[1] * 2.0;
    let g = grad(&[&out], &[&parts[0], &parts[1]], &[Some(&go)], false, true, false).unwrap();
    assert_eq!(g[0].as_ref().unwrap().to_vec(), go.to_vec());
    assert_eq!(g[1].as_ref().unwrap().to_vec(), (&go * 2.0).to_vec());
    assert!(x.grad().is_none());
}

#[test]
fn backward_of_one_part_after_the_other_fills_the_whole() {
    let x = tracked(&[1.0, 2.0, 3.0]);
    let parts = x.unbind(0);
    let seen = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let c = seen.clone();
    parts[0].register_hook(move |_: &Tensor<f64>| done(c.fetch_add(1, std::sync::atomic::Ordering::Relaxed))).unwrap();
    for (i, part) in parts.iter().enumerate() {
        part.backward().unwrap();
        let want: Vec<f64> = (0..3).map(|k| if k <= i { 1.0 } else { 0.0 }).collect();
        assert_eq!(gradient(&x), want);
        assert!(part.grad().is_none());
    }
    assert_eq!(seen.load(std::sync::atomic::Ordering::Relaxed), 1);
    let x = Tensor::<f64>::ones([10, 2]).requires_grad_(true);
    (&x.chunk(5, 0)[2] * 4.0 + 2.0).sum().backward().unwrap();
    let want: Vec<f64> = (0..20).map(|i| if (8..12).contains(&i) { 4.0 } else { 0.0 }).collect();
    assert_eq!(gradient(&x), want);
}

#[test]
fn materialised_zeros_go_on_to_higher_orders() {
    let (x, a) = (Tensor::scalar(0.5).requires_grad_(true), Tensor::scalar(1.0).requires_grad_(true));
    let y = &x * &a;
    let first = grad(&[&y], &[&x], &[], false, true, false).unwrap().remove(0).unwrap();
    assert!(grad(&[&first], &[&x], &[], true, true, true).unwrap()[0].is_none());
    let zeros = GradOptions { create_graph: true, materialize_grads: true, ..Default::default() };
    let second = grad_options(&[&first], &[&x], zeros).unwrap().remove(0).unwrap();
    assert_eq!(second.item(), 0.0);
    // zeros are the result of nothing: tracked, so that an order more can be asked for
    let third = grad_options(&[&second], &[&x], zeros).unwrap().remove(0).unwrap();
    assert_eq!(third.item(), 0.0);
}

#[test]
fn gradients_in_shards_and_the_rest_by_backward() {
    let leaves: Vec<Tensor<f64>> = (0..10).map(|_| Tensor::zeros([2, 2]).requires_grad_(true)).collect();
    let inner: Vec<Tensor<f64>> = leaves.iter().enumerate().map(|(i, l)| l * i as f64 + l * l).collect();
    let terms = inner.iter().enumerate().map(|(i, v)| v * i as f64);
    let loss = terms.reduce(|a, b| a + b).unwrap().sum();
    let mut cts = Vec::new();
    for shard in inner.chunks(2) {
        let shard: Vec<&Tensor<f64>> = shard.iter().collect();
        cts.extend(grad(&[&loss], &shard, &[], false, false, false).unwrap());
    }
    backward(&inner.iter().collect::<Vec<_>>(), &cts.iter().map(Option::as_ref).collect::<Vec<_>>(), false, false)
        .unwrap();
    for (i, l) in leaves.iter().enumerate() {
        assert_eq!(gradient(l), [(i * i) as f64; 4]);
    }
}

#[test]
fn inputs_of_backward_need_not_be_reached() {
    let (x, z) = (tracked(&[1.0]), tracked(&[1.0]));
    let inner = &x * 1.0;
    let out = inner.square();
    backward_inputs(&[&out], &[], &[&x, &inner, &z], false, true).unwrap();
    assert_eq!((gradient(&x), gradient(&inner)), (vec![2.0], vec![2.0]));
    assert!(z.grad().is_none() && x.grad().unwrap().requires_grad() && inner.grad().unwrap().requires_grad());
    x.zero_grad();
    inner.zero_grad();
    // a scalar as its own input
    let s = Tensor::scalar(3.0).requires_grad_(true);
    backward_inputs(&[&s.square()], &[], &[&s], false, false).unwrap();
    assert_eq!(gradient(&s), [6.0]);
}

#[test]
fn an_output_without_a_past_among_others_is_an_error_and_nothing_is_accumulated() {
    let (x, y) = (tracked(&[1.0, 2.0]), t(&[1.0, 2.0]));
    let ones = t(&[1.0, 1.0]);
    let r = backward(&[&(&x + &y), &(&y * 2.0)], &[Some(&ones), Some(&ones)], false, false);
    fails(r, &["element 1 of tensors does not require grad and does not have a grad_fn"]);
    assert!(x.grad().is_none());
}

#[test]
fn a_mismatch_names_both_shapes_and_which_output() {
    let x = matrix(&[[1.0, 2.0], [3.0, 4.0]]);
    let (good, bad) = (Tensor::<f64>::ones([2, 2]), Tensor::<f64>::ones([2]));
    fails(
        grad(&[&(&x * 1.0), &(&x * 2.0)], &[&x], &[Some(&good), Some(&bad)], false, false, false),
        &["Mismatch in shape: grad_output[1] has a shape of [2] and output[1] has a shape of [2, 2]"],
    );
}
