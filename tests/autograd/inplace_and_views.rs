//! Writing in place, through views and to their bases.

use super::{close, fails, gradient, matrix, panics, t, tracked};
use autograd::{Rest, Tensor, gradcheck, gradgradcheck, no_grad};

const LEAF: &str = "a leaf Variable that requires grad is being used in an in-place operation";
const LEAF_VIEW: &str = "a view of a leaf Variable that requires grad is being used in an in-place operation";

fn ones2() -> Tensor<f64> {
    Tensor::ones([2, 2]).requires_grad_(true)
}

#[test]
fn an_operation_in_place_is_the_operation_out_of_place() {
    let pairs: [(fn(&Tensor<f64>), fn(&Tensor<f64>) -> Tensor<f64>); 12] = [
        (
            |x| {
                x.add_(2.0);
            },
            |x| x + 2.0,
        ),
        (
            |x| {
                x.mul_(t(&[2.0, 3.0]));
            },
            |x| x * t(&[2.0, 3.0]),
        ),
        (
            |x| {
                x.div_(4.0);
            },
            |x| x / 4.0,
        ),
        (
            |x| {
                x.exp_();
            },
            Tensor::exp,
        ),
        (
            |x| {
                x.sin_();
            },
            Tensor::sin,
        ),
        (
            |x| {
                x.sqrt_();
            },
            Tensor::sqrt,
        ),
        (
            |x| {
                x.tanh_();
            },
            Tensor::tanh,
        ),
        (
            |x| {
                x.square_();
            },
            Tensor::square,
        ),
        (
            |x| {
                x.reciprocal_();
            },
            Tensor::recip,
        ),
        (
            |x| {
                x.log_();
            },
            Tensor::ln,
        ),
        (
            |x| {
                x.clamp_(0.0, 1.0);
            },
            |x| x.clamp(0.0, 1.0),
        ),
        (
            |x| {
                x.zero_();
            },
            |x| x * 0.0,
        ),
    ];
    for (i, (write, pure)) in pairs.into_iter().enumerate() {
        let (a, b) = (tracked(&[0.5, 1.5]), tracked(&[0.5, 1.5]));
        let (x, y) = (&a * 2.0, pure(&(&b * 2.0)));
        write(&x);
        assert_eq!(x.to_vec(), y.to_vec(), "case {i}");
        (&x * &x).sum().backward().unwrap();
        (&y * &y).sum().backward().unwrap();
        close(&gradient(&a), &gradient(&b));
    }
}

#[test]
fn writing_to_a_tracked_leaf_is_an_error_outside_no_grad() {
    let x = tracked(&[1.0, 2.0]);
    panics(
        || {
            x.add_(1.0);
        },
        &[LEAF, "no_grad"],
    );
    fails(x.update(|v| v[0] = 7.0), &["a leaf variable that requires grad", "no_grad"]);
    assert_eq!((x.to_vec(), x.version()), (vec![1.0, 2.0], 0));
    no_grad(|| x.add_(1.0));
    assert!(x.is_leaf() && x.requires_grad());
    assert_eq!(x.to_vec(), [2.0, 3.0]);
}

#[test]
fn writing_to_a_view_of_a_tracked_leaf_is_an_error_outside_no_grad() {
    let x = tracked(&[1.0, 2.0]);
    panics(
        || {
            x.narrow(0, 0, 1).mul_(2.0);
        },
        &[LEAF_VIEW],
    );
    panics(
        || {
            x.index_put_(0, 2.0);
        },
        &[LEAF_VIEW],
    );
    panics(
        || {
            x.narrow(0, 0, 1).copy_(&tracked(&[1.0]));
        },
        &[LEAF_VIEW],
    );
    assert_eq!((x.to_vec(), x.version()), (vec![1.0, 2.0], 0));
    no_grad(|| {
        x.narrow(0, 0, 1).mul_(5.0);
    });
    assert_eq!(x.to_vec(), [5.0, 2.0]);
}

#[test]
fn a_view_made_before_its_base_was_tracked_has_no_past_and_is_not_written_to() {
    let x = t(&[1.0, 2.0]);
    x.add_(1.0);
    let v = x.narrow(0, 0, 1);
    x.set_requires_grad(true).unwrap();
    assert!(v.grad_fn().is_none() && v.is_leaf());
    panics(
        || {
            v.mul_(2.0);
        },
        &[LEAF_VIEW],
    );
}

#[test]
fn an_untracked_tensor_that_takes_over_tracked_values_becomes_tracked() {
    let (x, buffer) = (tracked(&[1.0, 2.0]), t(&[3.0, 4.0]));
    buffer.mul_(&x);
    assert!(buffer.requires_grad() && !buffer.is_leaf());
    assert_eq!(buffer.grad_fn().unwrap().name(), "MulBackward0");
    buffer.sum().backward().unwrap();
    assert_eq!(gradient(&x), [3.0, 4.0]);
}

#[test]
fn a_write_through_a_view_reaches_the_base() {
    let root = ones2();
    let x = root.copy();
    x.narrow(0, 0, 1).mul_(2.0);
    assert_eq!(x.grad_fn().unwrap().name(), "CopySlices");
    x.sum().backward().unwrap();
    assert_eq!(gradient(&root), [2.0, 2.0, 1.0, 1.0]);
}

#[test]
fn a_write_through_a_view_reaches_other_views_of_the_base() {
    let root = ones2();
    let x = root.copy();
    let (v, w) = (x.narrow(0, 0, 1), x.narrow(0, 0, 1));
    v.mul_(2.0);
    w.sum().backward().unwrap();
    assert_eq!(gradient(&root), [2.0, 2.0, 0.0, 0.0]);
}

#[test]
fn a_write_through_a_view_of_a_view_reaches_the_base() {
    let root = ones2();
    let x = root.copy();
    let v = x.narrow(0, 0, 1);
    v.narrow(1, 1, 1).mul_(2.0);
    assert_eq!(v.to_vec(), [1.0, 2.0]);
    x.sum().backward().unwrap();
    assert_eq!(gradient(&root), [1.0, 2.0, 1.0, 1.0]);
}

#[test]
fn the_base_gets_the_gradient_of_what_was_written_through_a_view() {
    let (root, b) = (matrix(&[[0.5, 1.5], [2.5, 3.5]]), matrix(&[[3.0]]));
    let f = |x: &[Tensor<f64>]| {
        let base = x[0].copy();
        base.narrow(0, 0, 1).narrow(1, 1, 1).mul_(&x[1]);
        base
    };
    gradcheck(f, &[&root, &b]).unwrap();
    gradgradcheck(f, &[&root, &b]).unwrap();
}

#[test]
fn an_old_view_becomes_differentiable_when_its_base_is_written_to() {
    let (base, r) = (Tensor::<f64>::ones([5]), tracked(&[1.0]));
    let v = base.narrow(0, 0, 2);
    assert!(!v.requires_grad() && v.grad_fn().is_none());
    base.add_(&r);
    assert!(v.requires_grad() && v.grad_fn().is_some() && !v.is_leaf());
    v.sum().backward().unwrap();
    assert_eq!(gradient(&r), [2.0]);
}

#[test]
fn an_old_view_sees_what_was_done_to_its_base() {
    let (root, b) = (matrix(&[[0.5, 1.5], [2.5, 3.5]]), matrix(&[[3.0, 4.0], [5.0, 6.0]]));
    let f = |x: &[Tensor<f64>]| {
        let base = x[0].copy();
        let v = base.t().narrow(0, 0, 1);
        base.mul_(&x[1]);
        v
    };
    gradcheck(f, &[&root, &b]).unwrap();
    gradgradcheck(f, &[&root, &b]).unwrap();
}

#[test]
fn old_views_of_every_kind_see_a_write() {
    let kinds: [fn(&Tensor<f64>) -> Tensor<f64>; 8] = [
        |x| x.t(),
        |x| x.slice(1, 0, 3, 2),
        |x| x.select(0, 1),
        |x| x.unsqueeze(0),
        |x| x.expand([3, 2, 3]),
        |x| x.reshape(&[3, 2]),
        |x| x.permute(&[1, 0]).select(1, 0).expand([2, 3]),
        |x| x.select(0, 0).reshape(&[3, 1]).squeeze(1),
    ];
    let weights = Tensor::<f64>::arange(6).reshape(&[2, 3]) + 1.0;
    for (i, view) in kinds.into_iter().enumerate() {
        let (a, b) = (matrix(&[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), matrix(&[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]));
        let x = a.copy();
        let old = view(&x);
        x.mul_(&weights);
        let new = view(&(&b * &weights));
        assert_eq!(old.to_vec(), new.to_vec(), "case {i}");
        old.square().sum().backward().unwrap();
        new.square().sum().backward().unwrap();
        assert_eq!(gradient(&a), gradient(&b), "case {i}");
    }
}

#[test]
fn views_of_a_base_that_is_not_contiguous_are_written_through() {
    let root = Tensor::<f64>::ones([2, 3, 2]).select(2, 1).t().detach().requires_grad_(true);
    let x = root.copy();
    x.narrow(0, 0, 1).narrow(1, 1, 1).mul_(2.0);
    x.sum().backward().unwrap();
    assert_eq!(gradient(&root), [1.0, 2.0, 1.0, 1.0, 1.0, 1.0]);
    // the base itself strided in a larger storage
    let big = Tensor::<f64>::ones([2, 3, 2]).requires_grad_(true);
    let d = (&big * 1.0).detach().select(2, 1).t().detach();
    d.mul_(big.select(2, 0).t());
    d.select(0, 2).mul_(5.0);
    d.sum().backward().unwrap();
    let of = |i: usize| {
        if i % 2 == 1 {
            0.0
        } else if i % 6 == 4 {
            5.0
        } else {
            1.0
        }
    };
    assert_eq!(gradient(&big), (0..12).map(of).collect::<Vec<_>>());
}

#[test]
fn a_write_to_one_of_several_views_of_one_operation_is_an_error() {
    let root = matrix(&[[1.0, 2.0], [3.0, 4.0]]);
    let x = root.copy();
    let makers: [(fn(&Tensor<f64>) -> Vec<Tensor<f64>>, &str); 3] = [
        (|x| x.unbind(0), "Output 1 of Unbind is a view and is being modified inplace"),
        (|x| x.split(1, 0), "Output 1 of Split is a view and is being modified inplace"),
        (|x| x.chunk(2, 1), "Output 1 of Split is a view and is being modified inplace"),
    ];
    for (parts, message) in makers {
        panics(
            || {
                parts(&x)[1].mul_(2.0);
            },
            &[message, "function that returns multiple views"],
        );
        panics(
            || {
                parts(&x)[1].narrow(0, 0, 1).mul_(2.0);
            },
            &[message],
        );
        // nor on untracked parts, once something tracked is written
        panics(
            || {
                parts(&x.detach())[1].mul_(Tensor::ones([1]).requires_grad_(true));
            },
            &[message],
        );
    }
    x.unbind(0)[1].sum().backward().unwrap();
    assert_eq!(gradient(&root), [0.0, 0.0, 1.0, 1.0]);
}

#[test]
fn several_views_of_one_operation_are_useless_after_a_write_to_their_base() {
    let x = ones2().copy();
    let parts = x.unbind(0);
    x.mul_(2.0);
    panics(
        || &parts[0] * 2.0,
        &["Output 0 of Unbind is a view and its base or another view of its base has been modified"],
    );
}

#[test]
fn untracked_parts_are_written_to_freely() {
    let x = Tensor::<f64>::ones([2, 2]);
    x.unbind(0)[1].mul_(3.0);
    no_grad(|| ones2().split(1, 0)[0].mul_(2.0).to_vec());
    assert_eq!(x.to_vec(), [1.0, 1.0, 3.0, 3.0]);
}

#[test]
fn a_view_made_under_no_grad_is_not_written_to_outside() {
    let x = ones2().copy();
    let v = no_grad(|| x.narrow(0, 0, 1));
    assert!(!v.requires_grad());
    let message = ["A view was created in no_grad mode and is being modified inplace with grad mode enabled"];
    panics(
        || {
            v.mul_(2.0);
        },
        &message,
    );
    panics(
        || {
            v.copy_(&matrix(&[[1.0, 2.0]]));
        },
        &message,
    );
    assert_eq!(x.to_vec(), [1.0; 4]);
    no_grad(|| v.mul_(2.0));
    assert_eq!(x.to_vec(), [2.0, 2.0, 1.0, 1.0]);
}

#[test]
fn a_view_made_under_no_grad_of_a_tensor_written_to_before_is_usable() {
    let x = ones2().copy();
    x.mul_(3.0);
    let v = no_grad(|| x.narrow(0, 0, 1));
    assert!(!(&v * 2.0).requires_grad());
    assert_eq!((&v * 2.0).to_vec(), [6.0, 6.0]);
}

#[test]
fn asking_for_a_renewed_views_past_under_no_grad_is_as_good() {
    let a = matrix(&[[1.0], [1.0]]);
    let b = &a * 2.0;
    let c = b.reshape(&[1, 2]);
    c.index_put_((0, 0), 3.0);
    no_grad(|| c.grad_fn().unwrap());
    c.sum().backward().unwrap();
    assert_eq!(gradient(&a), [0.0, 2.0]);
}

#[test]
fn indexed_assignment_sends_gradients_to_both_sides() {
    let (a, v) = (matrix(&[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), tracked(&[7.0, 8.0]));
    let rows = Tensor::from_vec(vec![2, 0], [2]);
    let writes: [fn(&Tensor<f64>, &Tensor<f64>, &Tensor<i64>); 5] = [
        |x, v, _| {
            x.index_put_(1, v);
        },
        |x, v, _| {
            x.index_put_((1..3, 0), v);
        },
        |x, v, _| {
            x.index_put_((Rest, -1), v.narrow(0, 0, 1));
        },
        |x, v, i| {
            x.index_put_((i, ..), v);
        },
        |x, v, i| {
            x.index_put_((i, i.lt(&Tensor::scalar(1))), v.unsqueeze(1).narrow(0, 0, 1).squeeze(1));
        },
    ];
    for (k, write) in writes.into_iter().enumerate() {
        let i = if k == 4 { Tensor::from_vec(vec![1, 0], [2]) } else { rows.clone() };
        let f = |x: &[Tensor<f64>]| {
            let y = x[0].copy();
            write(&y, &x[1], &i);
            y.square()
        };
        gradcheck(f, &[&a, &v]).unwrap_or_else(|e| panic!("case {k}: {e}"));
        gradgradcheck(f, &[&a, &v]).unwrap_or_else(|e| panic!("case {k}: {e}"));
    }
}

#[test]
fn the_last_of_several_writers_gets_the_gradient() {
    let (x, v) = (t(&[0.0; 3]), tracked(&[1.0, 2.0, 3.0]));
    x.index_put_(Tensor::from_vec(vec![1, 1, 0], [3]), &v);
    assert_eq!(x.to_vec(), [3.0, 2.0, 0.0]);
    x.backward_with(&t(&[10.0, 20.0, 30.0])).unwrap();
    assert_eq!(gradient(&v), [0.0, 20.0, 10.0]);
}

#[test]
fn masked_assignment_sends_gradients_to_both_sides() {
    let (a, v, one) = (tracked(&[1.0, -2.0, 3.0]), tracked(&[5.0, 6.0]), Tensor::scalar(4.0).requires_grad_(true));
    let mask = a.gt(&t(&[0.0; 3]));
    let m = mask.clone();
    gradcheck(
        move |x| {
            let y = x[0].copy();
            y.index_put_(&m, &x[1]);
            y.square()
        },
        &[&a, &v],
    )
    .unwrap();
    let m = mask.clone();
    gradcheck(
        move |x| {
            let y = x[0].copy();
            y.index_put_(&m, &x[1]);
            y.square()
        },
        &[&a, &one],
    )
    .unwrap();
    let y = a.copy();
    y.masked_fill_(&mask, 9.0);
    y.sum().backward().unwrap();
    assert_eq!((y.to_vec(), gradient(&a)), (vec![9.0, -2.0, 9.0], vec![0.0, 1.0, 0.0]));
}

#[test]
fn a_mask_without_hits_changes_nothing() {
    let (a, v) = (tracked(&[1.0, 2.0]), Tensor::scalar(4.0).requires_grad_(true));
    let x = a.copy();
    x.index_put_(a.lt(&t(&[0.0, 0.0])), &v);
    x.sum().backward().unwrap();
    assert_eq!((x.to_vec(), gradient(&a)), (vec![1.0, 2.0], vec![1.0, 1.0]));
    assert_eq!(v.grad().map_or(0.0, |g| g.item()), 0.0);
}

#[test]
fn an_assignment_of_another_shape_is_an_error_and_writes_nothing() {
    let x = &tracked(&[1.0, 2.0, 3.0]) * 1.0;
    panics(
        || {
            x.index_put_(0..2, t(&[1.0, 2.0, 3.0]));
        },
        &["[3]", "[2]"],
    );
    panics(
        || {
            x.index_put_(Tensor::from_vec(vec![0, 1], [2]), t(&[1.0, 2.0, 3.0]));
        },
        &["index_put_", "[2]", "[3]"],
    );
    panics(
        || {
            x.add_(Tensor::ones([2, 3]));
        },
        &["output with shape [3] doesn't match the broadcast shape [2, 3]"],
    );
    panics(
        || {
            x.index_put_(5, 1.0);
        },
        &["expected an index below 3 along axis 0, found 5"],
    );
    assert_eq!((x.to_vec(), x.version()), (vec![1.0, 2.0, 3.0], 0));
}

#[test]
fn detach_in_place_cuts_a_base_off_and_refuses_views() {
    let x = &ones2() * 2.0;
    let view = x.narrow(0, 0, 1);
    fails(view.detach_().map(drop), &["Can't detach views in-place. Use detach() instead"]);
    x.detach_().unwrap();
    assert!(!x.requires_grad() && x.is_leaf() && x.grad_fn().is_none());
    assert!(view.requires_grad());
    x.set_requires_grad(true).unwrap();
    (&x * 3.0).sum().backward().unwrap();
    assert_eq!(gradient(&x), [3.0; 4]);
}

#[test]
fn a_detached_tensor_is_no_view_for_backward_but_shares_elements() {
    let x = &ones2() * 2.0;
    let d = x.detach();
    d.index_put_((0, 0), 111.0);
    assert_eq!(x.to_vec()[0], 111.0);
    d.select(0, 1).mul_(tracked(&[1.0, 1.0]));
    assert!(d.requires_grad() && !d.is_leaf());
    assert_eq!(x.grad_fn().unwrap().name(), "MulBackward0");
}

#[test]
fn elements_that_share_a_place_are_not_written_to() {
    let x = t(&[1.0]).expand([3]);
    panics(
        || {
            x.add_(1.0);
        },
        &["add_", "more than one element of the written-to tensor refers to a single memory location"],
    );
}

#[test]
fn a_tensor_written_to_with_itself_is_right_or_an_error() {
    let a = tracked(&[2.0, 3.0]);
    let x = &a * 1.0;
    x.add_(&x);
    x.sum().backward().unwrap();
    assert_eq!(gradient(&a), [2.0, 2.0]);
    let x = &a * 1.0;
    x.mul_(&x);
    assert_eq!(x.to_vec(), [4.0, 9.0]);
    fails(x.sum().backward(), &["modified by an inplace operation", "MulBackward0"]);
    let m = matrix(&[[1.0, 2.0], [3.0, 4.0]]).copy();
    m.add_(m.t());
    assert_eq!(m.to_vec(), [2.0, 5.0, 5.0, 8.0]);
}

#[test]
fn a_mask_of_rank_0_is_all_or_nothing() {
    let (x, yes, no) = (t(&[1.0, 2.0]), Tensor::scalar(true), Tensor::scalar(false));
    assert_eq!((x.index(&yes).shape(), x.index(&no).shape()), (&[1, 2][..], &[0, 2][..]));
    x.index_put_(&no, 5.0);
    assert_eq!(x.to_vec(), [1.0, 2.0]);
    x.index_put_(&yes, 7.0);
    assert_eq!(x.to_vec(), [7.0, 7.0]);
    let s = Tensor::scalar(0.1);
    s.index_put_(s.gt(&Tensor::scalar(0.3)), 9.0);
    assert_eq!(s.item(), 0.1);
}
