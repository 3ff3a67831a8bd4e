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
fn a_custom_function_that_writes_to_a_view_reaches_the_base() {
    let root = tracked(&[1.0, 2.0]);
    let x = &root * 1.0;
    let v = x.narrow(0, 0, 1);
    DoubleInPlace.apply(&[&v]).unwrap();
    x.sum().backward().unwrap();
    assert_eq!(gradient(&root), [2.0, 1.0]);
}

#[test]
fn a_derivative_that_is_missing_is_an_error_at_backward_alone() {
    let x = matrix(&[[2.0, 1.0], [1.0, 3.0]]);
    let y = Bad(|_| Err(Error::NoDerivative { op: "bad".into() })).apply(&[&x]).unwrap();
    assert!(y.requires_grad());
    fails((&y + &x).sum().backward(), &["the derivative for 'bad' is not implemented"]);
    assert!(x.grad().is_none());
    // and nothing fails that does not go through it
    (y.detach() + &x).sum().backward().unwrap();
    assert_eq!(gradient(&x), [1.0; 4]);
}

#[test]
fn flat_functions_have_derivatives_that_are_zero_not_missing() {
    let x = tracked(&[1.5, -0.5]);
    (x.floor() + x.sign() + &x).sum().backward().unwrap();
    assert_eq!(gradient(&x), [1.0, 1.0]);
    for f in [Tensor::floor, Tensor::ceil, Tensor::round, Tensor::trunc, Tensor::sign] {
        let y = f(&x);
        assert!(y.requires_grad() && !y.is_leaf());
        assert_eq!(grad_of(&y.sum(), &x).to_vec(), [0.0, 0.0]);
    }
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

/// The product of all elements of matrices `[n, k]`, by one product after the other.
fn product(x: &Tensor<f64>) -> Tensor<f64> {
    (1..x.shape()[1] as i64).fold(x.select(1, 0), |p, i| p * x.select(1, i))
}
/// The same with its value saved beside its input.
struct Product;
impl Function<f64> for Product {
    fn forward(&self, ctx: &mut Context<f64>, inputs: &[Tensor<f64>]) -> Result<Vec<Tensor<f64>>> {
        let y = product(&inputs[0]);
        ctx.save_for_backward(&[&inputs[0], &y]);
        Ok(vec![y])
    }
    fn backward(&self, ctx: &Context<f64>, g: &[Tensor<f64>]) -> Result<Vec<Option<Tensor<f64>>>> {
        let [x, y] = ctx.saved_tensors()? else { panic!("two were saved") };
        Ok(vec![Some((&g[0] * y).unsqueeze(1) / x)])
    }
}

#[test]
fn custom_autograd_repeated_grad_grad() {
    let x = Tensor::<f64>::ones([2, 4]).requires_grad_(true);
    for y in [product(&x), Product.apply(&[&x]).unwrap()] {
        let mut seen = Vec::new();
        for _ in 0..2 {
            let g = graph_grad(&y.index(0), &x);
            let gg = grad(&[&g.index((0, 0))], &[&x], &[], true, false, false).unwrap().remove(0).unwrap();
            seen.push(gg.to_vec());
        }
        assert_eq!(seen[0], seen[1]);
        assert_eq!(seen[0], [0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    }
}

/// x², differentiated by its input or by its result.
struct Square {
    by_result: bool,
}
impl Function<f64> for Square {
    fn forward(&self, ctx: &mut Context<f64>, inputs: &[Tensor<f64>]) -> Result<Vec<Tensor<f64>>> {
        let y = inputs[0].square();
        ctx.save_for_backward(&[&inputs[0], &y]);
        Ok(vec![y])
    }
    fn backward(&self, ctx: &Context<f64>, g: &[Tensor<f64>]) -> Result<Vec<Option<Tensor<f64>>>> {
        let [x, y] = ctx.saved_tensors()? else { panic!("two were saved") };
        Ok(vec![Some(if self.by_result { &g[0] * 2.0 * y / x } else { &g[0] * 2.0 * x })])
    }
}

#[test]
fn custom_autograd_no_early_free() {
    let x = Tensor::scalar(2.0).requires_grad_(true);
    for by_result in [false, true] {
        let f = |x: &[Tensor<f64>]| Square { by_result }.apply(&[&x[0]]);
        gradcheck(f, &[&x]).unwrap();
        gradgradcheck(f, &[&x]).unwrap();
        let y = f(std::slice::from_ref(&x)).unwrap();
        grad(&[&y], &[&x], &[], true, true, false).unwrap();
        let g = grad(&[&y], &[&x], &[], false, false, false).unwrap();
        assert_eq!(g[0].as_ref().unwrap().item(), 4.0);
    }
}

/// What the functions below give back.
type Forward = fn(&mut Context<f64>, &[Tensor<f64>]) -> Vec<Tensor<f64>>;
type Backward = fn(&[Tensor<f64>]) -> Vec<Option<Tensor<f64>>>;
struct Custom(Forward, Backward);
impl Function<f64> for Custom {
    fn forward(&self, ctx: &mut Context<f64>, inputs: &[Tensor<f64>]) -> Result<Vec<Tensor<f64>>> {
        Ok(self.0(ctx, inputs))
    }
    fn backward(&self, _: &Context<f64>, g: &[Tensor<f64>]) -> Result<Vec<Option<Tensor<f64>>>> {
        Ok(self.1(g))
    }
}

#[test]
fn a_function_may_return_its_input() {
    let id = || Custom(|_, x| vec![x[0].clone()], |g| vec![Some(&g[0] * 2.0)]);
    for x in [tracked(&[1.0]), Tensor::scalar(1.0).requires_grad_(true)] {
        id().apply(&[&x]).unwrap().backward().unwrap();
        assert_eq!(gradient(&x), [2.0]);
        x.zero_grad();
        id().apply(&[&x.copy()]).unwrap().backward().unwrap();
        assert_eq!(gradient(&x), [2.0]);
        assert!(id().apply(&[&x]).unwrap().to_string().contains("grad_fn=<CustomBackward>"));
    }
    // what flows through the result is not what flows through the input itself
    let f = Custom(|_, x| vec![x[0].clone(), &x[0] + &x[1]], |g| vec![Some(&g[0] + &g[1]), Some(g[1].clone())]);
    let (x, y) = (tracked(&[1.0, 2.0]), tracked(&[3.0, 4.0]));
    let outs = f.apply_all(&[&x, &y]).unwrap();
    outs[0].register_hook(|g: &Tensor<f64>| assert_eq!(g.to_vec(), [1.0, 1.0])).unwrap();
    (&outs[0] + &outs[1] + &x).sum().backward().unwrap();
    assert_eq!((gradient(&x), gradient(&y)), (vec![3.0; 2], vec![1.0; 2]));
}

#[test]
fn a_function_may_return_one_tensor_twice() {
    let x = matrix(&[[0.5, 1.5]]);
    let f = |x: &[Tensor<f64>]| -> Result<Tensor<f64>> {
        let twice = Custom(
            |_, x| {
                let y = &x[0] * 2.0;
                vec![y.clone(), y]
            },
            |g| vec![Some(&g[0] * 2.0 + &g[1] * 2.0)],
        );
        let outs = twice.apply_all(&[&x[0]])?;
        assert!(outs[0].is_same(&outs[1]));
        Ok(&outs[0] + &outs[1])
    };
    gradcheck(f, &[&x]).unwrap();
    gradgradcheck(f, &[&x]).unwrap();
    let in_place = |x: &[Tensor<f64>]| -> Result<Tensor<f64>> {
        let twice = Custom(
            |ctx, x| {
                x[0].mul_(2.0);
                ctx.mark_dirty(&[&x[0]]);
                vec![x[0].clone(), x[0].clone()]
            },
            |g| vec![Some(&g[0] * 2.0 + &g[1] * 2.0)],
        );
        let outs = twice.apply_all(&[&x[0].copy()])?;
        Ok(&outs[0] + &outs[1])
    };
    gradcheck(in_place, &[&x]).unwrap();
    gradgradcheck(in_place, &[&x]).unwrap();
}

#[test]
fn no_gradient_is_not_a_gradient_of_zeros() {
    let none = || Custom(|_, x| vec![&x[0] * 2.0], |_| vec![None]);
    let x = tracked(&[1.0]);
    for y in [none().apply(&[&x]).unwrap(), none().apply(&[&x.square()]).unwrap(), none().apply(&[&x]).unwrap().sum()] {
        y.backward().unwrap();
        assert!(x.grad().is_none());
    }
    let g = grad(&[&none().apply(&[&x]).unwrap()], &[&x], &[], false, false, true).unwrap();
    assert!(g[0].is_none());
}

#[test]
fn outputs_marked_non_differentiable_mix_with_others() {
    let f = Custom(
        |ctx, x| {
            let (a, b) = (&x[0] + 1.0, &x[0] + 2.0);
            ctx.mark_non_differentiable(&[&a]);
            vec![a, b]
        },
        |g| {
            assert_eq!((g[0].to_vec(), g[1].to_vec()), (vec![0.0; 2], vec![1.0; 2]));
            vec![Some(g[1].clone())]
        },
    );
    let x = tracked(&[1.0, 2.0]);
    let outs = f.apply_all(&[&x]).unwrap();
    assert!(!outs[0].requires_grad() && outs[1].requires_grad());
    outs[1].sum().backward().unwrap();
    assert_eq!(gradient(&x), [1.0, 1.0]);
    // all of them
    let f = Custom(
        |ctx, x| {
            let y = x[0].copy();
            ctx.mark_non_differentiable(&[&y]);
            vec![y]
        },
        |_| vec![None],
    );
    x.zero_grad();
    let r = f.apply(&[&(&x * &x)]).unwrap();
    (&r * &x).sum().backward().unwrap();
    assert_eq!(gradient(&x), [1.0, 4.0]);
}

#[test]
fn a_function_that_writes_to_its_input_makes_it_its_result() {
    let f = Custom(
        |ctx, x| {
            x[0].add_(&x[1]);
            ctx.mark_dirty(&[&x[0]]);
            vec![x[0].clone(), &x[1] + 2.0]
        },
        |g| vec![Some(g[0].clone()), Some(&g[0] + &g[1])],
    );
    let (x, y) = (t(&[1.0, 2.0]), tracked(&[3.0, 4.0]));
    let outs = f.apply_all(&[&x, &y]).unwrap();
    assert!(outs[0].is_same(&x) && x.requires_grad());
    assert_eq!(x.grad_fn().unwrap().name(), "CustomBackward");
    outs[0].sum().backward().unwrap();
    assert_eq!(gradient(&y), [1.0, 1.0]);
    // what was written to and is not returned is an error
    let bad = Custom(
        |ctx, x| {
            x[0].add_(1.0);
            ctx.mark_dirty(&[&x[0]]);
            vec![x[0].copy()]
        },
        |g| vec![Some(g[0].clone())],
    );
    fails(
        bad.apply(&[&(&y * 1.0)]),
        &["Some elements marked as dirty during the forward method were not returned as output"],
    );
}

/// Adds its second input to its first, in place.
fn add_in_place() -> Custom {
    Custom(
        |ctx, x| {
            x[0].add_(&x[1]);
            ctx.mark_dirty(&[&x[0]]);
            vec![x[0].clone()]
        },
        |g| vec![Some(g[0].clone()), Some(g[0].clone())],
    )
}

#[test]
fn inplace_on_view_python_functions_of_the_user_write_through_views() {
    let (a, b) = (Tensor::<f64>::arange(16).reshape(&[4, 4]).detach(), matrix(&[[0.5, 1.5], [2.5, 3.5]]));
    a.set_requires_grad(true).unwrap();
    let f = |x: &[Tensor<f64>]| -> Result<Tensor<f64>> {
        let y = x[0].copy();
        add_in_place().apply(&[&y.narrow(1, 2, 2).narrow(0, 1, 2), &x[1]])?;
        add_in_place().apply(&[&y.narrow(1, 0, 2).narrow(0, 1, 2), &x[1]])?;
        Ok(y.square())
    };
    gradcheck(f, &[&a, &b]).unwrap();
    gradgradcheck(f, &[&a, &b]).unwrap();
    // a view of a leaf, and one of several views, may not be written to
    let leaf = tracked(&[1.0, 2.0]);
    let one = t(&[1.0]);
    fails(add_in_place().apply(&[&leaf.narrow(0, 0, 1), &one]), &["a view of a leaf Variable that requires grad"]);
    let parts = (&leaf * 1.0).split_sizes(&[1, 1], 0);
    fails(add_in_place().apply(&[&parts[0], &one]), &["output of a function that returns multiple views"]);
}

#[test]
fn an_unused_gradient_of_a_function_that_writes_is_none() {
    let a = tracked(&[1.0]);
    let (c, b) = (a.copy(), tracked(&[1.0]));
    let v = c.index(..);
    let f = Custom(
        |ctx, x| {
            x[0].mul_(2.0);
            ctx.mark_dirty(&[&x[0]]);
            vec![x[0].clone()]
        },
        |g| vec![Some(&g[0] * 2.0), None],
    );
    f.apply(&[&v, &b]).unwrap().backward().unwrap();
    assert!(b.grad().is_none());
    assert_eq!(gradient(&a), [2.0]);
}

#[test]
fn functions_under_no_grad_have_no_past() {
    let x = tracked(&[1.0, 2.0]);
    let y = autograd::no_grad(|| Cube.apply(&[&x])).unwrap();
    assert!(!y.requires_grad() && y.grad_fn().is_none() && x.requires_grad());
}

#[test]
fn one_function_behind_another_with_a_result_that_has_no_derivative() {
    let first = Custom(
        |ctx, x| {
            let noise = t(&[0.1, 0.2]);
            ctx.mark_non_differentiable(&[&noise]);
            vec![x[0].clone(), noise]
        },
        |g| vec![Some(g[0].clone())],
    );
    let second = Custom(|_, x| vec![x[0].clone()], |g| vec![Some(g[0].clone()), None]);
    let x = tracked(&[1.0, 2.0]);
    let outs = first.apply_all(&[&x]).unwrap();
    let b = &outs[1] + 1.0;
    assert!(outs[0].requires_grad() && !b.requires_grad());
    second.apply(&[&outs[0], &b]).unwrap().backward_with(&t(&[1.0, 1.0])).unwrap();
    assert_eq!(gradient(&x), [1.0, 1.0]);
}

#[test]
fn gradients_through_gradients_step_by_step() {
    // x moves along its gradient, and the whole path is differentiated
    let (start, y) = (matrix(&[[0.5, -1.0], [2.0, 0.3]]), matrix(&[[1.5, 1.0], [-2.0, 0.5]]));
    let f = |x: &Tensor<f64>| x.square() + &y * x + y.square();
    let ones = Tensor::<f64>::ones([2, 2]);
    let mut x = start.clone();
    for _ in 0..5 {
        let g = grad(&[&f(&x)], &[&x], &[Some(&ones)], false, true, false).unwrap().remove(0).unwrap();
        assert!(y.grad().is_none() && x.grad().is_none());
        close(&g.to_vec(), &(&x * 2.0 + &y).to_vec());
        x = &x + g * 0.05;
    }
    assert!(f(&x).sum() > f(&start).sum());
    x.backward_with(&ones).unwrap();
    // each step is x ↦ 1.1 x + 0.05 y
    close(&gradient(&start), &[1.1f64.powi(5); 4]);
    close(&gradient(&y), &[(0..5).map(|k| 0.05 * 1.1f64.powi(k)).sum(); 4]);
}

#[test]
fn powers_at_zero_have_the_derivatives_of_pytorch() {
    let zero = tracked(&[0.0, 0.0]);
    zero.pow(&t(&[0.0, 0.0])).sum().backward().unwrap();
    assert_eq!(gradient(&zero), [0.0, 0.0]);
    zero.powf(0.0).sum().backward().unwrap();
    zero.powi(0).sum().backward().unwrap();
    assert_eq!(gradient(&zero), [0.0, 0.0]);
    let b = tracked(&[-1.0, 0.0, 1.0]);
    t(&[0.0; 3]).pow(&b).sum().backward().unwrap();
    assert_eq!(gradient(&b), [f64::NEG_INFINITY, 0.0, 0.0]);
}

#[test]
fn gradcheck_reports_the_worst_entry_of_the_output_and_input_it_is_in() {
    let (x, y) = (matrix(&[[1.0, 2.0], [3.0, 4.0]]), tracked(&[1.0, 2.0]));
    let hooked = |x: &[Tensor<f64>]| {
        let z = x[1].copy();
        if z.requires_grad() {
            z.register_hook(|g: &Tensor<f64>| g + 1e-2).unwrap();
        }
        (x[0].copy(), z)
    };
    fails(
        gradcheck(hooked, &[&x, &y]),
        &[
            "Jacobian mismatch for output 1 with respect to input 1",
            "the worst at entry",
            "numerical 0e0",
            "analytical 1e-2",
            "4 entries in all",
        ],
    );
    // a part that the tape does not see
    fails(
        gradcheck(|x| x[0].square() + x[0].detach(), &[&y]),
        &["Jacobian mismatch for output 0 with respect to input 0"],
    );
    fails(
        gradgradcheck(|x| x[0].powi(3) + x[0].detach().square() * &x[0], &[&y]),
        &["gradgradcheck: Jacobian mismatch"],
    );
}

#[test]
fn gradcheck_wants_doubles_a_tracked_input_and_a_function_that_is_one() {
    let single = Tensor::<f32>::ones([2]).requires_grad_(true);
    fails(gradcheck(|x: &[Tensor<f32>]| x[0].exp(), &[&single]), &["gradcheck: expected dtype f64, found f32"]);
    fails(gradgradcheck(|x: &[Tensor<f32>]| x[0].exp(), &[&single]), &["gradgradcheck: expected dtype f64"]);
    fails(gradcheck(|x| x[0].exp(), &[&t(&[1.0])]), &["at least one input tensor to require gradient"]);
    let x = tracked(&[1.0, 2.0]);
    fails(gradcheck(|x| x[0].matmul(&Tensor::<f64>::ones([3, 3])), &[&x]), &["matmul"]);
    let grows =
        |x: &[Tensor<f64>]| if x[0].ge(t(&[1.0, 2.0])).all() { x[0].copy() } else { Tensor::cat(&[&x[0], &x[0]], 0) };
    fails(gradcheck(grows, &[&x]), &["outputs with the same shape when inputs are perturbed"]);
    let noisy = |x: &[Tensor<f64>]| -> Result<Tensor<f64>> {
        Bad(|g| Ok(vec![Some(g * 2.0 * (Tensor::<f64>::rand([2]) * 1e-6 + 1.0))])).apply(&[&x[0]])
    };
    fails(gradcheck(noisy, &[&x]), &["Backward is not reentrant"]);
    // what the inputs are is not touched, nor their gradients
    gradcheck(|x| x[0].sin().mul_(&x[0]).copy(), &[&x]).unwrap();
    assert!(x.grad().is_none() && x.version() == 0);
    // inputs that play no part are no harm
    gradcheck(|x| x[0].square(), &[&x, &tracked(&[1.0])]).unwrap();
    gradgradcheck(|x| x[0].square(), &[&x, &tracked(&[1.0])]).unwrap();
}
