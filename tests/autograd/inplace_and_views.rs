//! Writing in place, through views and to their bases.

use super::{close, done, fails, gradient, matrix, panics, t, tracked};
use autograd::{Rest, Tensor, gradcheck, gradgradcheck, is_grad_enabled, no_grad};

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
        (|x| x.unbind(0), "Output 1 of UnbindBackward0 is a view and is being modified inplace"),
        (|x| x.split(1, 0), "Output 1 of SplitBackward0 is a view and is being modified inplace"),
        (|x| x.chunk(2, 1), "Output 1 of SplitBackward0 is a view and is being modified inplace"),
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
        &["Output 0 of UnbindBackward0 is a view and its base or another view of its base has been modified"],
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
            x.index_put_((i, i.lt(Tensor::scalar(1))), v.unsqueeze(1).narrow(0, 0, 1).squeeze(1));
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
    let mask = a.gt(t(&[0.0; 3]));
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
    x.index_put_(a.lt(t(&[0.0, 0.0])), &v);
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
    s.index_put_(s.gt(Tensor::scalar(0.3)), 9.0);
    assert_eq!(s.item(), 0.1);
}

#[test]
fn inplace_who_saved_the_value_fails_and_who_did_not_goes_on() {
    let (x, y) = (ones2(), Tensor::full([2, 2], 4.0).requires_grad_(true));
    let ones = Tensor::<f64>::ones([2, 2]);
    let run = |z: &Tensor<f64>| autograd::backward(&[z], &[Some(&ones)], true, false);
    let changed = ["modified by an inplace operation"];
    let z = &x * &y;
    let (q, w) = (&z + &y, &z * &y);
    z.add_(2.0);
    run(&q).unwrap();
    fails(run(&w), &changed);

    let z = &x * &y;
    let (q, r) = (&z * &y, &z + &y);
    let w = z.add_(&y);
    run(w).unwrap();
    run(&r).unwrap();
    fails(run(&q), &changed);

    x.grad().unwrap().zero_();
    let z = &x / 2.0 + &y / 8.0;
    let (q, r) = (&z * &y, &z + &y);
    let before = z.version();
    let w = z.exp_();
    assert_ne!(w.version(), before);
    run(&r).unwrap();
    assert_eq!(gradient(&x), [0.5; 4]);
    run(w).unwrap();
    close(&gradient(&x), &[(1.0 + std::f64::consts::E) / 2.0; 4]);
    fails(run(&q), &changed);

    let leaf = ones2();
    let x = leaf.copy();
    x.add_(10.0);
    let y = &x + 2.0;
    run(&y).unwrap();
    assert_eq!((x.to_vec(), gradient(&leaf)), (vec![11.0; 4], vec![1.0; 4]));
    let z = &x * &y;
    x.add_(2.0);
    fails(run(&z), &changed);
}

#[test]
fn requires_grad_inplace_spreads_to_what_is_written() {
    for a in [Tensor::<f64>::ones([2, 2]), Tensor::ones([2, 2]) + 0.0] {
        let (mut a, b) = (a, ones2());
        a += &b;
        assert!(a.requires_grad() && !a.is_leaf());
        a.sum().backward().unwrap();
        assert_eq!(gradient(&b), [1.0; 4]);
    }
}

#[test]
fn what_was_written_to_before_it_was_tracked_is_a_leaf_like_any_other() {
    let a = Tensor::<f64>::ones([2, 2]);
    a.add_(5.0);
    a.index(..).add_(1.0);
    a.set_requires_grad(true).unwrap();
    a.sum().backward().unwrap();
    assert_eq!((a.to_vec(), gradient(&a)), (vec![7.0; 4], vec![1.0; 4]));
}

#[test]
fn a_view_is_another_tensor_than_its_base_also_where_it_shows_all_of_it() {
    let whole: [fn(&Tensor<f64>) -> Tensor<f64>; 9] = [
        |x| x.index(..),
        |x| x.reshape(&[2, 2]),
        |x| x.narrow(0, 0, 2),
        |x| x.slice(1, 0, 2, 1),
        |x| x.expand([2, 2]),
        |x| x.permute(&[0, 1]),
        |x| x.transpose(1, 1),
        |x| x.squeeze(0),
        |x| x.index(Rest),
    ];
    for (i, view) in whole.into_iter().enumerate() {
        let leaf = ones2();
        let v = view(&leaf);
        assert!(!v.is_same(&leaf) && v.is_view() && v.shares_storage(&leaf) && !v.is_leaf(), "case {i}");
        panics(|| done(v.add_(1.0)), &[LEAF_VIEW]);
        fails(v.detach_().map(drop), &["Can't detach views in-place"]);
        let x = leaf.copy();
        let v = view(&x);
        v.mul_(3.0);
        assert_eq!((x.grad_fn().unwrap().name(), x.to_vec()), ("CopySlices".to_string(), vec![3.0; 4]));
        (&x + &v).sum().backward().unwrap();
        assert_eq!(gradient(&leaf), [6.0; 4], "case {i}");
    }
    // a reduction over nothing is a tensor of its own too
    let s = Tensor::scalar(2.0);
    s.sum().add_(1.0);
    s.max().add_(1.0);
    s.sum_dim(&[0], true).add_(1.0);
    assert_eq!((s.item(), s.version()), (2.0, 0));
}

#[test]
fn a_view_of_one_of_several_views_is_not_written_to_either() {
    let a = tracked(&[1.0, 2.0, 3.0]).copy();
    let message = ["function that returns multiple views"];
    panics(|| done(a.unbind(0)[0].reshape(&[1]).mul_(2.0)), &message);
    panics(|| done(a.reshape(&[3, 1]).unbind(0)[0].mul_(2.0)), &message);
    panics(|| done(a.reshape(&[3]).split_sizes(&[1, 2], 0)[0].mul_(2.0)), &message);
    // an untracked one, with something tracked
    panics(|| done(a.detach().unbind(0)[0].copy_(&a.select(0, 1))), &message);
    t(&[1.0, 2.0]).narrow(0, 0, 1).copy_(&tracked(&[3.0]));
}

#[test]
fn inplace_on_view_makes_base_require_grad() {
    let (a, b) = (Tensor::<f64>::ones([4, 4]), matrix(&[[0.5, 1.5], [2.5, 0.7], [1.1, 1.2], [0.1, 0.9]]));
    let f = |x: &[Tensor<f64>]| {
        let y = x[0].copy();
        assert!(!y.requires_grad());
        y.narrow(1, 2, 2).mul_(&x[1]);
        assert_eq!(y.requires_grad(), x[1].requires_grad() && is_grad_enabled());
        y.square()
    };
    gradcheck(f, &[&a, &b]).unwrap();
    gradgradcheck(f, &[&a, &b]).unwrap();
}

#[test]
fn inplace_on_view_backprop_view() {
    let (a, b) = (t(&[2.0, 5.0]), tracked(&[3.0]));
    let v = a.narrow(0, 1, 1);
    v.mul_(&b).sum().backward().unwrap();
    assert_eq!(gradient(&b), [5.0]);
    assert!(a.grad().is_none());
}

#[test]
fn inplace_on_view_modify_base_for_gradcheck() {
    let r = tracked(&[0.5]);
    let f = |x: &[Tensor<f64>]| {
        let base = Tensor::<f64>::ones([5]);
        let v = base.select(0, 1);
        assert!(!v.requires_grad() && v.grad_fn().is_none());
        base.add_(&x[0]);
        assert_eq!(v.requires_grad(), x[0].requires_grad() && is_grad_enabled());
        v.square()
    };
    gradcheck(f, &[&r]).unwrap();
    gradgradcheck(f, &[&r]).unwrap();
}

#[test]
fn a_result_saved_by_a_write_through_a_view_makes_no_cycle() {
    let root = matrix(&[[1.0, 2.0], [3.0, 4.0]]);
    let copy = root.copy();
    let witness = t(&[1.0]);
    let weak = witness.downgrade();
    copy.register_hook(move |_: &Tensor<f64>| drop(witness.clone())).unwrap();
    let view = copy.reshape(&[4]);
    view.relu_();
    view.exp_();
    let c = view.copy();
    drop((copy, view));
    c.sum().backward().unwrap();
    drop(c);
    assert!(weak.upgrade().is_none());
    close(&gradient(&root), &[1f64, 2.0, 3.0, 4.0].map(f64::exp));
}

#[test]
fn setitem_of_every_kind_takes_the_gradient_from_what_it_overwrites() {
    let i = |v: &[i64]| Tensor::from_vec(v.to_vec(), [v.len()]);
    let cases: Vec<(Vec<usize>, Vec<autograd::Index>)> = {
        use autograd::{Index, IntoIndex};
        fn of(x: impl IntoIndex) -> Vec<Index> {
            x.into_index()
        }
        vec![
            (vec![5, 5], of(1)),
            (vec![5], of(1)),
            (vec![1], of(0)),
            (vec![10], of(i(&[0, 4, 2]))),
            (vec![5, 5], of((i(&[0, 4]), i(&[2, 2])))),
            (vec![5, 5, 5], of((.., .., i(&[1, 3])))),
            (vec![5, 5, 5], of((.., i(&[1, 3]), ..))),
            (vec![5, 5, 5], of((i(&[1, 3]), .., ..))),
            (vec![5, 5, 5], of((.., i(&[2, 4]), i(&[1, 3])))),
            (vec![5, 5, 5], of((i(&[1, 3]), i(&[2, 4]), ..))),
            (vec![5, 5], of((1..3, -1))),
            (vec![5, 5], of((Rest, 2..))),
        ]
    };
    for (k, (shape, index)) in cases.into_iter().enumerate() {
        let x = Tensor::<f64>::ones(&shape).requires_grad_(true);
        let y = &x + 2.0;
        let value = Tensor::full(x.index(index.clone()).shape(), 7.0).requires_grad_(true);
        let version = y.version();
        y.index_put_(index.clone(), &value);
        assert_eq!(y.version(), version + 1, "case {k}");
        y.backward_with(&Tensor::ones(&shape)).unwrap();
        let want = Tensor::<f64>::ones(&shape);
        want.index_put_(index.clone(), 0.0);
        assert_eq!(gradient(&x), want.to_vec(), "case {k}");
        assert_eq!(gradient(&value), vec![1.0; value.numel()], "case {k}");
        // a number
        let y = &x + 2.0;
        y.index_put_(index, 2.0);
        x.zero_grad();
        y.backward_with(&Tensor::ones(&shape)).unwrap();
        assert_eq!(gradient(&x), want.to_vec(), "case {k}");
    }
    // a value that broadcasts
    let x = tracked(&[1.0, 2.0, 3.0, 4.0]);
    let y = Tensor::<f64>::zeros([2, 3, 4]);
    y.index_put_(1, &x);
    y.sum().backward().unwrap();
    assert_eq!(gradient(&x), [3.0; 4]);
}

#[test]
fn rows_of_an_untracked_tensor_take_tracked_values() {
    let (x, y, z) = (Tensor::<f64>::ones([3, 2]), tracked(&[1.0, 2.0]), tracked(&[3.0, 4.0]));
    x.index_put_(0, &y);
    x.index_put_(1, &z * 2.0);
    assert!(x.requires_grad() && x.grad_fn().is_some());
    x.sum().backward().unwrap();
    assert_eq!((gradient(&y), gradient(&z)), (vec![1.0; 2], vec![2.0; 2]));
}

#[test]
fn no_grad_assignment_leaves_a_leaf_a_leaf() {
    let x = ones2();
    no_grad(|| done(x.index_put_(0, t(&[5.0, 6.0]))));
    assert!(x.requires_grad() && x.grad_fn().is_none() && x.is_leaf());
    assert_eq!(x.to_vec(), [5.0, 6.0, 1.0, 1.0]);
    x.sum().backward().unwrap();
    assert_eq!(gradient(&x), [1.0; 4]);
}

#[test]
fn detach_base_does_not_detach_view() {
    let x = ones2();
    let view = x.narrow(0, 0, 1);
    x.detach_().unwrap();
    assert!(!x.requires_grad() && view.requires_grad() && view.grad_fn().is_some());
    assert!(view.base().unwrap().is_same(&x) && x.base().is_none());
}

#[test]
fn detach_in_place_ends_what_comes_after_and_not_what_was_before() {
    let (x, y) = (ones2(), ones2());
    let a = &x * 2.0;
    autograd::backward(&[&(&y + &a).sum()], &[], true, false).unwrap();
    let before = (&y + &a).sum();
    a.detach_().unwrap();
    assert!(!a.requires_grad() && a.is_leaf());
    (&y + &a).sum().backward().unwrap();
    assert_eq!((gradient(&x), gradient(&y)), (vec![2.0; 4], vec![2.0; 4]));
    before.backward().unwrap();
    assert_eq!(gradient(&x), [4.0; 4]);
}

#[test]
fn the_version_counts_chained_writes_and_those_through_views() {
    let x = Tensor::<f64>::ones([1, 2]);
    x.add_(1.0).add_(1.0);
    assert_eq!(x.version(), 2);
    let v = x.index(..);
    v.add_(1.0);
    assert_eq!((x.version(), v.version()), (3, 3));
    x.t().select(0, 1).zero_();
    assert_eq!((x.version(), v.version(), x.copy().version()), (4, 4, 0));
}
