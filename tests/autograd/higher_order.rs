//! Derivatives of derivatives, and functions with derivatives of the user's.

use super::{close, fails, grad_of, gradient, matrix, panics, t, tracked};
use autograd::{Context, Error, Function, Result, Tensor, backward, grad, gradcheck, gradgradcheck, is_grad_enabled};

fn graph_grad(y: &Tensor<f64>, x: &Tensor<f64>) -> Tensor<f64> {
    grad(&[y], &[x], &[], true, true, false).unwrap().remove(0).unwrap()
}

#[test]
fn the_product_of_a_hessian_and_a_vector() {
    let (x, y) = (matrix(&[[0.5, -1.0], [2.0, 3.0]]), matrix(&[[1.5, 1.0], [-2.0, 0.5]]));
    let z = x.square() + &y * &x + y.square();
    backward(&[&z], &[Some(&Tensor::ones([2, 2]))], false, true).unwrap();
    let (gx, gy) = (x.grad().unwrap(), y.grad().unwrap());
    close(&gx.to_vec(), &(&x * 2.0 + &y).to_vec());
    let s = (gx + gy * 2.0).sum();
    x.zero_grad();
    y.zero_grad();
    s.backward().unwrap();
    assert_eq!((gradient(&x), gradient(&y)), (vec![4.0; 4], vec![5.0; 4]));
}

/// x³ by a saved input.
struct Cube;
impl Function<f64> for Cube {
    fn forward(&self, ctx: &mut Context<f64>, inputs: &[Tensor<f64>]) -> Result<Vec<Tensor<f64>>> {
        assert!(!is_grad_enabled());
        ctx.save_for_backward(&[&inputs[0]]);
        Ok(vec![inputs[0].powi(3)])
    }
    fn backward(&self, ctx: &Context<f64>, grads: &[Tensor<f64>]) -> Result<Vec<Option<Tensor<f64>>>> {
        Ok(vec![Some(&grads[0] * ctx.saved_tensors()?[0].square() * 3.0)])
    }
}

#[test]
fn a_custom_function_is_differentiated_again_and_again() {
    let x = tracked(&[1.5]);
    let mut y = Cube.apply(&[&x]).unwrap();
    for want in [3.0 * 1.5 * 1.5, 6.0 * 1.5, 6.0] {
        y = graph_grad(&y, &x);
        close(&y.to_vec(), &[want]);
    }
    // each time from the same graph
    let y = Cube.apply(&[&x]).unwrap();
    for _ in 0..3 {
        close(&graph_grad(&graph_grad(&y, &x), &x).to_vec(), &[9.0]);
    }
    gradcheck(|x| Cube.apply(&[&x[0]]), &[&x]).unwrap();
    gradgradcheck(|x| Cube.apply(&[&x[0]]), &[&x]).unwrap();
}

#[test]
fn values_saved_for_a_second_derivative_are_not_freed_early() {
    let x = tracked(&[2.0]);
    let y = x.exp() * Cube.apply(&[&x]).unwrap();
    let g = graph_grad(&y, &x);
    drop(y);
    g.backward().unwrap();
    close(&gradient(&x), &[2f64.exp() * (8.0 + 24.0 + 12.0)]);
    fails(g.backward(), &["a second time"]);
}

#[test]
fn derivatives_of_both_orders_through_writes_in_place() {
    let (a, b) = (matrix(&[[0.5, 1.5], [2.5, 0.7]]), tracked(&[1.2, 0.4]));
    let f = |x: &[Tensor<f64>]| {
        let y = &x[0] * 1.0;
        y.select(1, 0).mul_(&x[1]);
        y.sin_().add_(&x[1]);
        y.t().narrow(0, 1, 1).exp_();
        y
    };
    gradcheck(f, &[&a, &b]).unwrap();
    gradgradcheck(f, &[&a, &b]).unwrap();
}

/// Doubles, with gradients that a test chooses.
struct Bad(fn(&Tensor<f64>) -> Result<Vec<Option<Tensor<f64>>>>);
impl Function<f64> for Bad {
    fn forward(&self, _: &mut Context<f64>, inputs: &[Tensor<f64>]) -> Result<Vec<Tensor<f64>>> {
        Ok(vec![&inputs[0] * 2.0])
    }
    fn backward(&self, _: &Context<f64>, grads: &[Tensor<f64>]) -> Result<Vec<Option<Tensor<f64>>>> {
        self.0(&grads[0])
    }
}

#[test]
fn a_gradient_of_the_wrong_shape_is_an_error() {
    let x = matrix(&[[1.0, 2.0]]);
    let run = |f| Bad(f).apply(&[&x]).unwrap().sum().backward();
    fails(
        run(|_| Ok(vec![Some(Tensor::ones([3]))])),
        &[
            "Function BadBackward returned an invalid gradient at index 0 - got [3] but expected shape compatible with [1, 2]",
        ],
    );
    fails(
        run(|_| Ok(vec![])),
        &["function BadBackward returned an incorrect number of gradients (expected 1, got 0)", file!()],
    );
    fails(run(|g| Ok(vec![Some(g * 1.0), Some(g * 1.0)])), &["incorrect number of gradients (expected 1, got 2)"]);
    assert!(x.grad().is_none());
    // more than the shape that was broadcast: summed
    run(|_| Ok(vec![Some(Tensor::ones([3, 1, 2]))])).unwrap();
    assert_eq!(gradient(&x), [3.0, 3.0]);
    // superfluous nones are no harm
    run(|g| Ok(vec![Some(g * 1.0), None])).unwrap();
}

#[test]
fn a_users_error_comes_through_unchanged() {
    let x = tracked(&[1.0]);
    let y = Bad(|_| Err(Error::Autograd("out of cheese".into()))).apply(&[&x]).unwrap();
    assert_eq!((&y * 2.0).backward().unwrap_err().to_string(), "out of cheese");
    let y = &x * 2.0;
    y.register_hook(|_: &Tensor<f64>| Err::<Tensor<f64>, _>(Error::Autograd("from a hook".into()))).unwrap();
    assert_eq!(y.backward().unwrap_err().to_string(), "from a hook");
    // what an operation in a backward finds wrong is an error too
    let y = Bad(|g| Ok(vec![Some(g + Tensor::<f64>::ones([2, 3]).matmul(&Tensor::ones([2])))])).apply(&[&x]).unwrap();
    fails(y.backward(), &["matmul"]);
    assert!(x.grad().is_none());
}

/// x ↦ (x sorted, its order as numbers that have no gradient)
struct Sorted;
impl Function<f64> for Sorted {
    fn forward(&self, ctx: &mut Context<f64>, inputs: &[Tensor<f64>]) -> Result<Vec<Tensor<f64>>> {
        let x = inputs[0].to_vec();
        let mut order: Vec<usize> = (0..x.len()).collect();
        order.sort_by(|&a, &b| x[a].total_cmp(&x[b]));
        let of = |f: &dyn Fn(usize) -> f64| t(&order.iter().map(|&i| f(i)).collect::<Vec<_>>());
        let (sorted, at) = (of(&|i| x[i]), of(&|i| i as f64));
        ctx.mark_non_differentiable(&[&at]);
        ctx.save_data(order);
        Ok(vec![sorted, at])
    }
    fn backward(&self, ctx: &Context<f64>, grads: &[Tensor<f64>]) -> Result<Vec<Option<Tensor<f64>>>> {
        assert!(!ctx.has_grad(1) && ctx.needs_input_grad(0));
        let order: &Vec<usize> = ctx.data().unwrap();
        let mut g = vec![0.0; order.len()];
        order.iter().zip(grads[0].to_vec()).for_each(|(&i, v)| g[i] = v);
        Ok(vec![Some(t(&g))])
    }
}

#[test]
fn an_output_marked_non_differentiable_is_untracked() {
    let x = tracked(&[3.0, 1.0, 2.0]);
    let outs = Sorted.apply_all(&[&x]).unwrap();
    assert!(outs[0].requires_grad() && !outs[1].requires_grad() && outs[1].is_leaf());
    fails(outs[1].sum().backward(), &["does not require grad"]);
    (&outs[0] * &outs[1]).sum().backward().unwrap();
    assert_eq!(gradient(&x), [0.0, 1.0, 2.0]);
}

/// eˣ − 1, which saves eˣ.
struct SavesIntermediate;
impl Function<f64> for SavesIntermediate {
    fn forward(&self, ctx: &mut Context<f64>, inputs: &[Tensor<f64>]) -> Result<Vec<Tensor<f64>>> {
        let e = inputs[0].exp();
        ctx.save_for_backward(&[&e]);
        Ok(vec![&e - 1.0])
    }
    fn backward(&self, ctx: &Context<f64>, grads: &[Tensor<f64>]) -> Result<Vec<Option<Tensor<f64>>>> {
        Ok(vec![Some(&grads[0] * &ctx.saved_tensors()?[0])])
    }
}

#[test]
fn double_backward_through_a_saved_intermediate_is_an_error_that_names_it() {
    let x = tracked(&[1.0]);
    let y = SavesIntermediate.apply(&[&x]).unwrap();
    let g = graph_grad(&y, &x);
    assert!(g.requires_grad());
    fails(g.backward(), &["SavesIntermediateBackward saved an intermediate tensor", "no derivative through it"]);
    assert!(x.grad().is_none());
}

#[test]
fn saved_tensors_are_guarded_like_those_of_operations() {
    let x = tracked(&[2.0]);
    let y = Cube.apply(&[&x]).unwrap();
    y.backward().unwrap();
    fails(y.backward(), &["a second time", "CubeBackward", "retain_graph"]);
    let a = &x * 1.0;
    let y = Cube.apply(&[&a]).unwrap();
    a.add_(1.0);
    fails(y.backward(), &["modified by an inplace operation", "CubeBackward"]);
}

/// Doubles its input in place.
struct DoubleInPlace;
impl Function<f64> for DoubleInPlace {
    fn forward(&self, ctx: &mut Context<f64>, inputs: &[Tensor<f64>]) -> Result<Vec<Tensor<f64>>> {
        inputs[0].mul_(2.0);
        ctx.mark_dirty(&[&inputs[0]]);
        Ok(vec![inputs[0].clone()])
    }
    fn backward(&self, _: &Context<f64>, grads: &[Tensor<f64>]) -> Result<Vec<Option<Tensor<f64>>>> {
        Ok(vec![Some(&grads[0] * 2.0)])
    }
}

#[test]
fn a_custom_function_that_writes_to_its_input_moves_it_on_the_tape() {
    let x = tracked(&[1.0, 2.0]);
    let y = &x * 3.0;
    let z = DoubleInPlace.apply(&[&y]).unwrap();
    assert!(z.is_same(&y));
    assert_eq!(y.grad_fn().unwrap().name(), "DoubleInPlaceBackward");
    y.sum().backward().unwrap();
    assert_eq!((y.to_vec(), gradient(&x)), (vec![6.0, 12.0], vec![6.0, 6.0]));
}

#[test]
fn a_custom_function_may_not_write_to_a_tracked_leaf() {
    let x = tracked(&[1.0, 2.0]);
    fails(DoubleInPlace.apply(&[&x]), &["a leaf Variable that requires grad is being used in an in-place operation"]);
    assert!(x.is_leaf());
}

#[test]
fn a_custom_function_that_writes_to_a_view_reaches_the_base_or_is_an_error() {
    let root = tracked(&[1.0, 2.0]);
    let x = &root * 1.0;
    let v = x.narrow(0, 0, 1);
    if DoubleInPlace.apply(&[&v]).is_ok() {
        x.sum().backward().unwrap();
        assert_eq!(gradient(&root), [2.0, 1.0]);
    }
}

#[test]
fn a_derivative_that_is_missing_is_an_error_at_backward_alone() {
    let x = matrix(&[[2.0, 1.0], [1.0, 3.0]]);
    let y = Bad(|_| Err(Error::NoDerivative { op: "bad".into() })).apply(&[&x]).unwrap();
    assert!(y.requires_grad());
    fails((&y + &x).sum().backward(), &["bad: no derivative is defined for this operation"]);
    assert!(x.grad().is_none());
}

#[test]
fn flat_functions_have_derivatives_that_are_zero_not_missing() {
    let x = tracked(&[1.5, -0.5]);
    (x.floor() + x.sign() + &x).sum().backward().unwrap();
    assert_eq!(gradient(&x), [1.0, 1.0]);
}

#[test]
fn a_gradient_without_create_graph_is_untracked() {
    let x = tracked(&[2.0]);
    assert!(!grad_of(&x.powi(3), &x).requires_grad());
    fails(grad_of(&x.powi(3), &x).backward(), &["does not require grad"]);
    panics(
        || {
            x.mul_(2.0);
        },
        &["leaf"],
    );
}
