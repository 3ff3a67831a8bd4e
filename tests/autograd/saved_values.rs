//! What the tape saves, how long, and how it notices that a saved value has changed.

use super::{close, fails, gradient, matrix, t, tracked};
use autograd::{Tensor, backward, grad, no_grad};

const CHANGED: &str = "one of the variables needed for gradient computation has been modified by an inplace operation";

#[test]
fn a_second_backward_over_saved_values_is_an_error_that_names_retain_graph() {
    let x = tracked(&[3.0]);
    let y = &x * &x;
    y.backward().unwrap();
    fails(y.backward(), &["Trying to backward through the graph a second time", "MulBackward0", "retain_graph=true"]);
    fails(y.backward(), &[file!()]);
    fails(grad(&[&y], &[&x], &[], false, false, false), &["a second time", "already been freed"]);
    assert_eq!(gradient(&x), [6.0]);
}

#[test]
fn a_retained_graph_runs_again_and_again() {
    let x = tracked(&[3.0]);
    let y = x.exp().ln() * &x;
    for _ in 0..3 {
        backward(&[&y], &[], true, false).unwrap();
    }
    close(&gradient(&x), &[18.0]);
    y.backward().unwrap();
    fails(y.backward(), &["a second time"]);
}

#[test]
fn a_graph_that_saved_nothing_runs_twice() {
    let x = matrix(&[[1.0, 2.0], [3.0, 4.0]]);
    let y = ((x.t().reshape(&[4]) + 1.0).sum() - x.sum_dim(&[0], true).select(1, 0).sum()) + 0.5;
    y.backward().unwrap();
    y.backward().unwrap();
    assert_eq!(gradient(&x), [0.0, 2.0, 0.0, 2.0]);
}

#[test]
fn a_shared_part_of_two_graphs_is_freed_by_the_first() {
    let x = tracked(&[2.0]);
    let shared = x.square();
    let (a, b) = (&shared * 1.0, &shared + 1.0);
    a.backward().unwrap();
    fails(b.backward(), &["a second time", "PowBackward0"]);
}

#[test]
fn only_what_runs_is_freed() {
    let (x, w) = (tracked(&[2.0]), tracked(&[5.0]));
    let (a, b) = (x.square(), w.square());
    let y = &a + &b;
    grad(&[&y], &[&x], &[], false, false, false).unwrap();
    b.backward().unwrap();
    assert_eq!(gradient(&w), [10.0]);
    fails(a.backward(), &["a second time"]);
}

#[test]
fn saved_values_are_freed_as_backward_proceeds() {
    let x = tracked(&[0.5, 0.25]);
    let first = x.exp();
    let last = first.sin().exp();
    let node = last.grad_fn().unwrap();
    assert_eq!(node.saved_tensors::<f64>().unwrap().len(), 1);
    // backward gets to `first` last
    let freed = std::sync::Arc::new(std::sync::Mutex::new(None));
    let seen = freed.clone();
    first
        .register_hook(move |_: &Tensor<f64>| *seen.lock().unwrap() = Some(node.saved_tensors::<f64>().is_err()))
        .unwrap();
    last.sum().backward().unwrap();
    assert_eq!(*freed.lock().unwrap(), Some(true));
}

/// Whether a constant stays alive in the graph that `f` makes with a tracked tensor.
fn keeps(f: impl Fn(&Tensor<f64>, &Tensor<f64>) -> Tensor<f64>) -> bool {
    let x = matrix(&[[1.5, 2.5], [3.5, 4.5]]);
    let c = Tensor::from_vec(vec![0.5, 0.25, 0.75, 0.125], [2, 2]);
    let weak = c.downgrade();
    let y = f(&x, &c);
    drop(c);
    let kept = weak.upgrade().is_some();
    y.sum().backward().unwrap();
    assert!(weak.upgrade().is_none(), "backward frees what was saved");
    kept
}

#[test]
fn nothing_needless_is_saved() {
    assert!(!keeps(|x, c| x + c) && !keeps(|x, c| x - c) && !keeps(|x, c| Tensor::cat(&[x, c], 0)));
    assert!(keeps(|x, c| x * c) && keeps(|x, c| x / c) && keeps(|x, c| x.matmul(c)));
    // the tracked factor is needed by the gradient of the other one alone
    let c = t(&[3.0]);
    let x = &tracked(&[2.0]) * 1.0;
    let weak = x.downgrade();
    let y = &x * &c;
    drop(x);
    assert!(weak.upgrade().is_none());
    y.backward().unwrap();
}

#[test]
fn either_the_argument_or_the_result_is_saved() {
    let root = tracked(&[0.5, 0.25]);
    let of: [(fn(&Tensor<f64>) -> Tensor<f64>, bool); 5] =
        [(Tensor::exp, false), (Tensor::sqrt, false), (Tensor::abs, true), (Tensor::tanh, true), (Tensor::sin, true)];
    for (f, argument) in of {
        let x = &root * 1.0;
        let weak = x.downgrade();
        let y = f(&x);
        drop(x);
        assert_eq!(weak.upgrade().is_some(), argument, "{}", y.grad_fn().unwrap());
        if argument {
            y.zero_();
        }
        y.sum().backward().unwrap();
    }
}

#[test]
fn a_buffer_whose_values_nobody_needs_is_overwritten_again_and_again() {
    let mu = tracked(&[1.0]);
    let x = t(&[0.0]);
    let mut loss = Tensor::scalar(0.0);
    for i in 0..3 {
        x.detach_().unwrap();
        x.copy_(&(&mu + f64::from(i)));
        loss += (&x * &t(&[f64::from(i)])).sum();
    }
    loss.backward().unwrap();
    assert_eq!(gradient(&mu), [3.0]);
}

#[test]
fn reading_by_an_index_does_not_save_the_tensor() {
    let b = tracked(&[0.0, 0.0, 0.0]);
    let mask = t(&[1.0, 0.0, 0.0]).ne(t(&[0.0; 3]));
    let x = &b + 0.0;
    x.index_put_(&mask, x.index(&mask));
    x.backward_with(&t(&[1.0, 2.0, 3.0])).unwrap();
    assert_eq!(gradient(&b), [1.0, 2.0, 3.0]);
    // nor does any other way of picking
    let x = &b + 0.0;
    let y = x.index(Tensor::from_vec(vec![2, 2], [2])) + x.narrow(0, 0, 2) + x.select(0, 1);
    x.zero_();
    y.sum().backward().unwrap();
}

#[test]
fn a_saved_argument_that_is_written_to_is_an_error() {
    let x = tracked(&[1.0, 2.0]);
    let a = &x + 0.0;
    let y = a.sin();
    a.add_(1.0);
    fails(
        y.sum().backward(),
        &[
            CHANGED,
            "[torch.DoubleTensor [2]]",
            "output 0 of AddBackward0",
            "is at version 1; expected version 0 instead",
        ],
    );
    fails(y.sum().backward(), &["It was saved by SinBackward0", file!()]);
}

#[test]
fn a_saved_result_that_is_written_to_is_an_error() {
    let x = tracked(&[1.0, 2.0]);
    let y = x.exp();
    y.add_(1.0);
    fails(y.sum().backward(), &[CHANGED, "saved by ExpBackward0", "version 1; expected version 0"]);
}

#[test]
fn a_write_through_any_alias_counts() {
    let x = tracked(&[1.0, 2.0]);
    for write in [
        (|a: &Tensor<f64>| {
            a.detach().zero_();
        }) as fn(&Tensor<f64>),
        |a| {
            a.narrow(0, 1, 1).mul_(2.0);
        },
        |a| {
            no_grad(|| {
                a.fill_(0.0);
            })
        },
        |a| no_grad(|| a.update(|v| v[0] = 0.0)).unwrap(),
        |a| {
            a.reshape(&[1, 2]).t().select(0, 0).neg_();
        },
    ] {
        let a = &x + 0.0;
        let y = &a * &a;
        write(&a);
        fails(y.sum().backward(), &[CHANGED, "MulBackward0"]);
    }
}

#[test]
fn a_write_to_what_nobody_saved_is_fine() {
    let x = tracked(&[1.0, 2.0]);
    let a = &x * 2.0;
    let y = &a + 1.0;
    a.mul_(10.0);
    (&y + &a).sum().backward().unwrap();
    assert_eq!(gradient(&x), [22.0, 22.0]);
}

#[test]
fn writing_under_no_grad_to_a_saved_leaf_is_noticed() {
    let (x, y) = (tracked(&[1.0, 2.0]), tracked(&[3.0, 4.0]));
    let z = (&x * &y).sum();
    no_grad(|| x.mul_(2.0));
    fails(z.backward(), &[CHANGED, "MulBackward0"]);
}

#[test]
fn the_version_counts_writes_and_is_shared_by_views_and_detached_tensors() {
    let a = t(&[1.0, 2.0]);
    let (v, d) = (a.narrow(0, 0, 1), a.detach());
    assert_eq!([a.version(), v.version(), d.version()], [0, 0, 0]);
    a.add_(1.0);
    v.add_(1.0);
    d.add_(1.0);
    assert_eq!([a.version(), v.version(), d.version()], [3, 3, 3]);
    assert_eq!((&a * 1.0).version(), 0);
}

#[test]
fn backward_itself_changes_no_version_of_what_it_reads() {
    let x = tracked(&[1.0, 2.0]);
    let y = x.exp();
    y.sum().backward().unwrap();
    assert_eq!((x.version(), y.version()), (0, 0));
}

#[test]
fn means_sums_and_views_save_nothing_and_run_twice() {
    let of: [fn(&Tensor<f64>) -> Tensor<f64>; 9] = [
        |x| x.mean(),
        |x| x.mean_dim(&[0], false).sum(),
        |x| x.sum_dim(&[1], true).sum(),
        |x| (x.t() + 1.0 - x).sum(),
        |x| x.select(0, 1).unsqueeze(0).expand([3, 2]).sum(),
        |x| Tensor::cat(&[x, x], 1).sum(),
        |x| Tensor::stack(&[x, x], 1).sum(),
        |x| x.split(1, 0)[1].sum() + x.unbind(1)[0].sum(),
        |x| (-x.floor() + (1.0 - x)).sum(),
    ];
    for (i, f) in of.into_iter().enumerate() {
        let x = matrix(&[[1.0, 2.0], [3.0, 4.0]]);
        let y = f(&x);
        y.backward().unwrap();
        let once = gradient(&x);
        y.backward().unwrap_or_else(|e| panic!("case {i}: {e}"));
        assert_eq!(gradient(&x), once.iter().map(|g| 2.0 * g).collect::<Vec<_>>(), "case {i}");
    }
}

#[test]
fn operations_that_save_run_once() {
    let of: [fn(&Tensor<f64>) -> Tensor<f64>; 12] = [
        |x| (x * 2.0).sum(),
        |x| (x / 2.0).sum(),
        |x| x.powi(2).sum(),
        |x| x.exp().sum(),
        |x| x.relu().sum(),
        |x| x.matmul(x).sum(),
        |x| x.norm(),
        |x| x.var(),
        |x| x.softmax(0).sum(),
        |x| x.clamp(0.0, 1.0).sum(),
        |x| x.masked_fill(&x.gt(Tensor::scalar(1.0)), 0.0).sum(),
        |x| x.index(Tensor::from_vec(vec![1, 1], [2])).sum(),
    ];
    for (i, f) in of.into_iter().enumerate() {
        let y = f(&matrix(&[[1.0, 2.0], [3.0, 4.0]]));
        y.backward().unwrap();
        let Err(e) = y.backward() else { panic!("case {i} ran twice") };
        assert!(e.to_string().contains("Specify retain_graph=true"), "case {i}: {e}");
    }
}

#[test]
fn written_indices_are_saved_values() {
    let ones = t(&[1.0; 3]);
    let (i, j) = (Tensor::from_vec(vec![1, 2], [2]), Tensor::from_vec(vec![1, 1], [2]));
    for retain in [false, true] {
        let b = tracked(&[1.0, 2.0, 3.0]);
        let c = t(&[0.0; 3]);
        c.index_put_(&i, b.index(&j));
        backward(&[&c], &[Some(&ones)], retain, false).unwrap();
        assert_eq!(gradient(&b), [0.0, 2.0, 0.0]);
        match c.backward_with(&ones) {
            Ok(()) => assert!(retain),
            Err(e) => assert!(!retain && e.to_string().contains("Specify retain_graph=true"), "{e}"),
        }
    }
}

#[test]
fn detaching_and_writing_is_noticed() {
    let x = Tensor::scalar(1.5).requires_grad_(true);
    let y = x.powi(2);
    x.detach().zero_();
    fails(y.backward(), &["has been modified by an inplace operation"]);
    // in the graph of another one as well
    let a = &tracked(&[1.0, 2.0]) * 1.0;
    let (b, c) = (a.sin(), a.exp());
    a.detach().add_(1.0);
    fails(b.sum().backward(), &["modified by an inplace operation"]);
    c.sum().backward().unwrap();
}
