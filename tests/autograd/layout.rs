//! Gradients through layouts: duplicates, strides of 0, broadcasting, conversions.

use super::{gradient, matrix, t, tracked};
use autograd::{Tensor, gradcheck, gradgradcheck};

#[test]
fn duplicate_indices_sum() {
    let x = matrix(&[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]);
    let i = Tensor::from_vec(vec![1, 1, 2, 1, 1, 2], [6]);
    x.index(&i).sum().backward().unwrap();
    assert_eq!(gradient(&x), [0.0, 0.0, 4.0, 4.0, 2.0, 2.0]);
    x.zero_grad();
    // with two index tensors, and along an axis
    let (r, c) = (Tensor::from_vec(vec![0, 0, -3], [3]), Tensor::from_vec(vec![1, 1, 1], [3]));
    x.index((&r, &c)).sum().backward().unwrap();
    assert_eq!(gradient(&x), [0.0, 3.0, 0.0, 0.0, 0.0, 0.0]);
    x.zero_grad();
    x.index_select(1, &Tensor::from_vec(vec![0, 0, 1], [3])).sum().backward().unwrap();
    assert_eq!(gradient(&x), [2.0, 1.0, 2.0, 1.0, 2.0, 1.0]);
}

#[test]
fn added_duplicates_all_get_their_gradient() {
    let (x, s) = (tracked(&[1.0, 2.0]), tracked(&[5.0, 6.0, 7.0]));
    let i = Tensor::from_vec(vec![0, 0, 1], [3]);
    let y = x.copy();
    y.index_add_(0, &i, &s);
    assert_eq!(y.to_vec(), [12.0, 9.0]);
    y.backward_with(&t(&[10.0, 20.0])).unwrap();
    assert_eq!((gradient(&x), gradient(&s)), (vec![10.0, 20.0], vec![10.0, 10.0, 20.0]));
}

#[test]
fn masks_and_index_tensors_have_derivatives_of_both_orders() {
    let x = matrix(&[[1.0, -2.0, 3.0], [-4.0, 5.0, 6.0]]);
    let (mask, i) = (x.gt(Tensor::scalar(0.0)), Tensor::from_vec(vec![2, 0, 2, 1], [2, 2]));
    let f = move |x: &[Tensor<f64>]| (x[0].index(&mask).square(), x[0].index((.., &i)).square());
    gradcheck(&f, &[&x]).unwrap();
    gradgradcheck(&f, &[&x]).unwrap();
}

#[test]
fn a_gradient_of_stride_0_is_taken_as_what_it_shows() {
    let v = tracked(&[1.0, 2.0, 3.0]);
    let y = v.narrow(0, 1, 2).unsqueeze(0).expand([4, 2]);
    let ct = Tensor::scalar(0.5).expand([4, 2]);
    y.backward_with(&ct).unwrap();
    assert_eq!(gradient(&v), [0.0, 2.0, 2.0]);
    v.zero_grad();
    // straight into a leaf: its grad is a tensor of its own with all its elements
    v.backward_with(&Tensor::scalar(2.0).expand([3])).unwrap();
    v.grad().unwrap().index_put_(0, 9.0);
    assert_eq!(gradient(&v), [9.0, 2.0, 2.0]);
}

#[test]
fn a_product_with_a_vector_takes_a_gradient_of_stride_0() {
    let (m, v) = (matrix(&[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), tracked(&[7.0, 8.0]));
    m.matmul(&v).backward_with(&Tensor::scalar(1.0).expand([3])).unwrap();
    assert_eq!((gradient(&m), gradient(&v)), (vec![7.0, 8.0, 7.0, 8.0, 7.0, 8.0], vec![9.0, 12.0]));
}

#[test]
fn a_broadcast_argument_gets_the_sum_over_its_copies() {
    let (m, r, c) = (matrix(&[[1.0, 2.0], [3.0, 4.0]]), tracked(&[5.0, 6.0]), matrix(&[[7.0], [8.0]]));
    (&m * &r * &c).sum().backward().unwrap();
    assert_eq!(gradient(&r), [1.0 * 7.0 + 3.0 * 8.0, 2.0 * 7.0 + 4.0 * 8.0]);
    assert_eq!(c.grad().unwrap().shape(), [2, 1]);
    assert_eq!(gradient(&c), [17.0, 39.0]);
}

#[test]
fn a_strided_leaf_gets_a_gradient_element_by_element() {
    let x = Tensor::<f64>::arange(6).reshape(&[2, 3]).t().requires_grad_(true);
    assert!(x.is_leaf() && !x.is_contiguous());
    let w = Tensor::<f64>::arange(6).reshape(&[3, 2]);
    for k in 1..3 {
        (&x * &w).sum().backward().unwrap();
        assert_eq!(gradient(&x), w.to_vec().iter().map(|w| w * f64::from(k)).collect::<Vec<_>>());
    }
}

#[test]
fn conversions_there_and_back_carry_the_gradient() {
    let x = tracked(&[0.5, 1.5]);
    let y = x.to::<f32>().to::<f64>().to::<f64>();
    (y * 3.0).sum().backward().unwrap();
    assert_eq!((x.grad().unwrap().dtype(), gradient(&x)), (x.dtype(), vec![3.0, 3.0]));
}

#[test]
fn a_scalar_is_reduced_over_the_axis_it_has_not() {
    let x = Tensor::scalar(3.0).requires_grad_(true);
    for dim in [0, -1] {
        let y = x.sum_dim(&[dim], false)
            + x.mean_dim(&[dim], true)
            + x.amax(&[dim], false)
            + x.logsumexp(&[dim], false)
            + x.softmax(dim)
            + x.log_softmax(dim);
        assert_eq!((y.item(), x.argmax(dim, false).item()), (13.0, 0));
        x.zero_grad();
        y.backward().unwrap();
        assert_eq!(gradient(&x), [4.0]);
    }
    super::panics(|| x.sum_dim(&[1], false), &["sum: expected a dim in the range -1..=0, found 1"]);
    super::panics(|| x.argmax(1, false), &["argmax"]);
    super::panics(|| x.select(0, 0), &["select", "found dim 0 of a scalar"]);
}

#[test]
fn views_share_elements_or_say_that_they_cannot() {
    let x = matrix(&[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    for v in
        [x.view(&[3, 2]), x.view(&[-1]), x.view_as(&Tensor::<i64>::arange(6)), x.flatten(0, -1), x.t().view(&[3, 1, 2])]
    {
        assert!(v.shares_storage(&x) && v.is_view());
        x.zero_grad();
        (v.square()).sum().backward().unwrap();
        assert_eq!(gradient(&x), [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
    }
    super::panics(
        || x.t().view(&[6]),
        &["view: expected", "not compatible with input tensor's size and stride", "reshape"],
    );
    super::panics(|| x.view(&[4]), &["reshape"]);
    assert!(!x.t().reshape(&[6]).shares_storage(&x));
}

#[test]
fn copies_side_by_side_sum_their_gradients() {
    let x = matrix(&[[1.0, 2.0]]);
    let f = |x: &[Tensor<f64>]| x[0].repeat(&[2, 3, 2]).square();
    assert_eq!((f(std::slice::from_ref(&x))).shape(), [2, 3, 4]);
    gradcheck(f, &[&x]).unwrap();
    gradgradcheck(f, &[&x]).unwrap();
    x.repeat(&[3, 1]).sum().backward().unwrap();
    assert_eq!(gradient(&x), [3.0, 3.0]);
    for times in [[1, 1], [3, 1]] {
        let y = t(&[5.0]).reshape(&[1, 1]).repeat(&times);
        assert!(!y.is_view());
        y.index_put_(0, 7.0);
        assert_eq!(y.sum().item(), 7.0 + 5.0 * (times[0] - 1) as f64);
    }
    super::panics(|| x.repeat(&[2]), &["repeat: expected a number of copies for each of 2 axes"]);
    assert_eq!(x.expand_as(&Tensor::<f64>::ones([4, 2])).shape(), [4, 2]);
    assert_eq!(Tensor::<f64>::ones([2, 3, 4, 5]).flatten(1, 2).shape(), [2, 12, 5]);
    super::panics(|| x.flatten(1, 0), &["flatten: expected start before end"]);
}

#[test]
fn comparisons_take_tensors_and_numbers() {
    let x = tracked(&[1.0, 2.0, 3.0]);
    assert_eq!(x.gt(1.5).to_vec(), x.gt(Tensor::scalar(1.5)).to_vec());
    assert_eq!(x.le(2.0).to_string(), "tensor([ True,  True, False])");
    assert_eq!(x.eq(&x * 1.0).to_vec(), [true; 3]);
    assert!(Tensor::<f32>::ones([2]).ge(1.0).all() && Tensor::<i64>::arange(3).lt(3).all());
    assert!(!Tensor::from_vec(vec![true, false], [2]).ne(false).all());
    let y = &x * 1.0;
    y.index_put_(y.gt(1.5), 0.0);
    y.sum().backward().unwrap();
    assert_eq!(gradient(&x), [1.0, 0.0, 0.0]);
}
