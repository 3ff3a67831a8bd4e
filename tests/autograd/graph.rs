//! The graph as its user walks it: names and edges, leaves, results of one node, what nodes keep.

use super::{done, fails, gradient, matrix, t, tracked};
use autograd::{Context, ConvOptions, Function, GradFn, NewAxis, Result, Tensor, no_grad};

fn name(x: &Tensor<f64>) -> String {
    x.grad_fn().map_or_else(String::new, |f| f.name())
}
fn behind(f: &GradFn) -> Vec<String> {
    f.next_functions().iter().map(|f| f.as_ref().map_or_else(|| "None".into(), GradFn::name)).collect()
}

/// One operation and the name of the node it makes.
type Named = (fn(&Tensor<f64>) -> Tensor<f64>, &'static str);

#[test]
fn nodes_have_the_names_that_pytorch_gives_them() {
    let names: &[Named] = &[
        (|m| m.sum(), "SumBackward0"),
        (|m| m.sum_dim(&[1], false), "SumBackward1"),
        (|m| m.mean(), "MeanBackward0"),
        (|m| m.mean_dim(&[1], true), "MeanBackward1"),
        (|m| m.var(), "VarBackward0"),
        (|m| m.max(), "MaxBackward1"),
        (|m| m.amax(&[1], false), "AmaxBackward0"),
        (|m| m.norm(), "LinalgVectorNormBackward0"),
        (|m| m.logsumexp(&[1], false), "LogsumexpBackward0"),
        (|m| m.softmax(1), "SoftmaxBackward0"),
        (|m| m.log_softmax(1), "LogSoftmaxBackward0"),
        (|m| m.leaky_relu(0.1), "LeakyReluBackward0"),
        (|m| m.clamp(0.0, 1.0), "ClampBackward1"),
        (|m| m.matmul(m), "MmBackward0"),
        (|m| m.matmul(&m.select(0, 0)), "MvBackward0"),
        (|m| m.select(0, 0).matmul(&m.select(0, 1)), "DotBackward0"),
        (|m| m.select(0, 0).dot(&m.select(0, 1)), "DotBackward0"),
        (|m| m.t(), "TBackward0"),
        (|m| m.reshape(&[4]), "ViewBackward0"),
        (|m| m.unsqueeze(0), "UnsqueezeBackward0"),
        (|m| m.squeeze(0), "SqueezeBackward1"),
        (|m| m.select(0, 1), "SelectBackward0"),
        (|m| m.narrow(0, 0, 1), "SliceBackward0"),
        (|m| m.transpose(0, 1), "TransposeBackward0"),
        (|m| m.permute(&[1, 0]), "PermuteBackward0"),
        (|m| m.expand([3, 2, 2]), "ExpandBackward0"),
        (|m| m.index(0), "SelectBackward0"),
        (|m| m.index(..), "SliceBackward0"),
        (|m| m.index(NewAxis), "UnsqueezeBackward0"),
        (|m| m.index(Tensor::from_vec(vec![0, 1], [2])), "IndexBackward0"),
        (|m| m.index(m.gt(Tensor::scalar(0.0))), "IndexBackward0"),
        (|m| m.index_select(0, &Tensor::from_vec(vec![0, 1], [2])), "IndexSelectBackward0"),
        (|m| m.gather(0, &Tensor::from_vec(vec![0, 1], [1, 2])), "GatherBackward0"),
        (|m| Tensor::cat(&[m, m], 0), "CatBackward0"),
        (|m| Tensor::stack(&[m, m], 0), "StackBackward0"),
        (|m| m.unbind(0).remove(0), "UnbindBackward0"),
        (|m| m.split(1, 0).remove(0), "SplitBackward0"),
        (|m| m.copy(), "CloneBackward0"),
        (|m| m.powi(2), "PowBackward0"),
        (|m| m.square(), "PowBackward0"),
        (|m| m.powf(1.5), "PowBackward0"),
        (|m| m.pow(m), "PowBackward1"),
        (|m| m.recip(), "ReciprocalBackward0"),
        (|m| 1.0 - m, "RsubBackward1"),
        (|m| m - 1.0, "SubBackward0"),
        (|m| m + 1.0, "AddBackward0"),
        (|m| m * 2.0, "MulBackward0"),
        (|m| m / 2.0, "DivBackward0"),
        (|m| -m, "NegBackward0"),
        (|m| m.floor(), "FloorBackward0"),
        (|m| m.sign(), "SignBackward0"),
        (|m| m.ln(), "LogBackward0"),
        (|m| m.log1p(), "Log1PBackward0"),
        (|m| m.expm1(), "Expm1Backward0"),
        (|m| m.log10(), "Log10Backward0"),
        (|m| m.atan2(m), "Atan2Backward0"),
        (|m| m.sigmoid(), "SigmoidBackward0"),
        (|m| m.softplus(), "SoftplusBackward0"),
        (|m| m.silu(), "SiluBackward0"),
        (|m| m.gelu(), "GeluBackward0"),
        (|m| m.relu(), "ReluBackward0"),
        (|m| m.maximum(&Tensor::scalar(0.0)), "MaximumBackward0"),
        (|m| m.cross_entropy(&Tensor::from_vec(vec![0, 1], [2])), "NllLossBackward0"),
        (|m| m.mse_loss(&m.detach()), "MseLossBackward0"),
        (|m| m.gt(Tensor::scalar(0.0)).where_(m, m), "WhereBackward0"),
        (|m| m.masked_fill(&m.gt(Tensor::scalar(0.0)), 0.0), "MaskedFillBackward0"),
        (
            |m| m.reshape(&[1, 1, 2, 2]).conv2d(&Tensor::ones([1, 1, 1, 1]), None, &ConvOptions::new()),
            "ConvolutionBackward0",
        ),
        (|m| m.lgamma(), "LgammaBackward0"),
    ];
    let m = matrix(&[[0.3, 0.2], [0.5, 0.7]]);
    for (f, want) in names {
        let y = f(&m);
        assert_eq!(name(&y), *want);
        assert!(y.to_string().contains(&format!("grad_fn=<{want}>")), "{y}");
    }
}

#[test]
fn writes_in_place_have_the_names_that_pytorch_gives_them() {
    let names: &[(fn(&Tensor<f64>), &str)] = &[
        (|x| done(x.add_(1.0)), "AddBackward0"),
        (|x| done(x.mul_(2.0)), "MulBackward0"),
        (|x| done(x.exp_()), "ExpBackward0"),
        (|x| done(x.zero_()), "ZeroBackward0"),
        (|x| done(x.fill_(1.0)), "FillBackward0"),
        (|x| done(x.copy_(&tracked(&[1.0, 2.0]))), "CopyBackwards"),
        (|x| done(x.copy_(&t(&[1.0, 2.0]))), "CopyBackwards"),
        (|x| done(x.clamp_(0.0, 1.0)), "ClampBackward1"),
        (|x| done(x.masked_fill_(&x.gt(Tensor::scalar(0.0)), 1.0)), "MaskedFillBackward0"),
        (|x| done(x.index_put_(Tensor::from_vec(vec![0], [1]), 1.0)), "IndexPutBackward0"),
        (|x| done(x.index_put_(0, 1.0)), "CopySlices"),
        (|x| done(x.index_put_(.., 1.0)), "CopySlices"),
        (|x| done(x.index_add_(0, &Tensor::from_vec(vec![0], [1]), &t(&[1.0]))), "IndexAddBackward0"),
        (|x| done(x.addcmul_(&t(&[1.0, 2.0]), &tracked(&[1.0, 2.0]), 3.0)), "AddcmulBackward0"),
        (|x| done(x.lerp_(&t(&[1.0, 2.0]), 0.5)), "LerpBackward0"),
    ];
    for (write, want) in names {
        let x = &tracked(&[0.5, 1.5]) * 1.0;
        write(&x);
        assert_eq!(name(&x), *want);
    }
}

#[test]
fn a_composite_operation_is_one_node() {
    let x = Tensor::<f64>::ones([2, 2]).requires_grad_(true);
    let y = &x + 2.0;
    let z = &y * &y * 3.0;
    let out = z.mean();
    // mean, two products, the sum, the leaf: as the tour draws it
    let mean = out.grad_fn().unwrap();
    assert_eq!(behind(&mean), ["MulBackward0"]);
    let by_three = mean.next_functions().remove(0).unwrap();
    assert_eq!(by_three, z.grad_fn().unwrap());
    assert_eq!(behind(&by_three), ["MulBackward0", "None"]);
    let square = by_three.next_functions().remove(0).unwrap();
    assert_eq!(behind(&square), ["AddBackward0", "AddBackward0"]);
    let add = square.next_functions().remove(1).unwrap();
    assert_eq!(behind(&add), ["AccumulateGrad", "None"]);
    assert!(add.next_functions().remove(0).unwrap().variable::<f64>().unwrap().is_same(&x));
    assert_eq!(mean.to_dot().matches("label=").count(), 5, "{}", mean.to_dot());
    for y in [x.softmax(0), x.norm(), x.logsumexp(&[0], false), x.select(0, 0), x.gelu(), x.var()] {
        assert!(behind(&y.grad_fn().unwrap()).iter().all(|n| n == "AccumulateGrad"), "{y}");
    }
    let v = tracked(&[1.0, 2.0]);
    assert_eq!(behind(&v.dot(&v).grad_fn().unwrap()), ["AccumulateGrad", "AccumulateGrad"]);
}

#[test]
fn a_leaf_has_no_grad_fn_and_an_accumulate_node_without_further_functions() {
    let x = tracked(&[1.0]);
    assert!(x.grad_fn().is_none() && x.is_leaf());
    let (y, z) = (&x + 1.0, &x * 2.0);
    let (a, b) = (y.grad_fn().unwrap().next_functions(), z.grad_fn().unwrap().next_functions());
    // the same leaf, by whichever way
    assert_eq!(a[0], b[0]);
    assert!(a[0].as_ref().unwrap().next_functions().is_empty());
    assert!(a[0].as_ref().unwrap().variable::<f32>().is_none() && y.grad_fn().unwrap().variable::<f64>().is_none());
    // results of untracked operations are leaves too
    let c = t(&[1.0]) * 2.0;
    assert!(c.is_leaf() && c.grad_fn().is_none() && no_grad(|| &x * 2.0).is_leaf());
}

/// x ↦ (2x, 3x)
struct Two;
impl Function<f64> for Two {
    fn forward(&self, _: &mut Context<f64>, inputs: &[Tensor<f64>]) -> Result<Vec<Tensor<f64>>> {
        Ok(vec![&inputs[0] * 2.0, &inputs[0] * 3.0])
    }
    fn backward(&self, _: &Context<f64>, grads: &[Tensor<f64>]) -> Result<Vec<Option<Tensor<f64>>>> {
        Ok(vec![Some(&grads[0] * 2.0 + &grads[1] * 3.0)])
    }
}

/// Doubles a saved result of another function.
struct Keeps;
impl Function<f64> for Keeps {
    fn forward(&self, ctx: &mut Context<f64>, inputs: &[Tensor<f64>]) -> Result<Vec<Tensor<f64>>> {
        ctx.save_for_backward(&[&inputs[0]]);
        Ok(vec![&inputs[0] * 2.0])
    }
    fn backward(&self, ctx: &Context<f64>, grads: &[Tensor<f64>]) -> Result<Vec<Option<Tensor<f64>>>> {
        assert_eq!(ctx.saved_tensors()?[0].output_nr(), 1);
        Ok(vec![Some(&grads[0] * 2.0)])
    }
}

#[test]
fn a_result_knows_its_number_also_when_it_was_saved() {
    let x = tracked(&[1.0, 2.0]);
    let outs = Two.apply_all(&[&x]).unwrap();
    assert_eq!((x.output_nr(), outs[0].output_nr(), outs[1].output_nr()), (0, 0, 1));
    assert_eq!(outs[0].grad_fn(), outs[1].grad_fn());
    Keeps.apply(&[&outs[1]]).unwrap().sum().backward().unwrap();
    assert_eq!(gradient(&x), [6.0, 6.0]);
}

#[test]
fn saved_tensors_are_those_that_the_derivative_reads() {
    let (a, c) = (tracked(&[2.0, 3.0]), t(&[5.0, 7.0]));
    let saved = |y: &Tensor<f64>| y.grad_fn().unwrap().saved_tensors::<f64>().unwrap();
    let y = &a * &a;
    assert!(saved(&y).iter().all(|s| s.is_same(&a)));
    // of a product with a constant the constant alone
    assert_eq!(saved(&(&a * &c)).len(), 1);
    assert!(saved(&(&a * &c))[0].is_same(&c));
    assert!(saved(&(&a + &c)).is_empty());
    // a result is saved as another handle of the same elements, with the same past
    let e = a.exp();
    let s = saved(&e).remove(0);
    assert!(!s.is_same(&e) && s.shares_storage(&e) && s.grad_fn() == e.grad_fn());
    assert!(y.grad_fn().unwrap().saved_tensors::<i64>().unwrap().is_empty());
    y.sum().backward().unwrap();
    fails(
        y.grad_fn().unwrap().saved_tensors::<f64>(),
        &["directly access saved tensors after they have already been freed"],
    );
}

#[test]
fn saved_tensors_share_the_version_of_what_was_saved() {
    let a = tracked(&[1.0, 2.0]);
    let b = a.exp();
    let s = b.grad_fn().unwrap().saved_tensors::<f64>().unwrap().remove(0);
    assert_eq!((s.to_vec(), s.version()), (b.to_vec(), b.version()));
    no_grad(|| done(b.add_(1.0)));
    assert_eq!((s.to_vec(), s.version()), (b.to_vec(), b.version()));
    fails(b.grad_fn().unwrap().saved_tensors::<f64>(), &["modified by an inplace operation"]);
}
