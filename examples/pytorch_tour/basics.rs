//! Rows 1 to 7: tracking, the graph, gradients of scalars and vectors.

use crate::{close, error_of, fails, gradient, near, show, tracked, vector};
use anyhow::{Context, Result, ensure};
use autograd::{GradFn, Tensor};

pub fn tracking() -> Result<()> {
    let x = Tensor::<f32>::ones([2, 2]).requires_grad_(true);
    show("x", &x, "tensor([[1., 1.],\n        [1., 1.]], requires_grad=True)")?;
    let y = &x + 2.0;
    show("y = x + 2", &y, "tensor([[3., 3.],\n        [3., 3.]], grad_fn=<AddBackward0>)")?;
    show("y.grad_fn", y.grad_fn().context("tracked")?, "<AddBackward0>")?;
    let z = &y * &y * 3.0;
    show("z = y * y * 3", &z, "tensor([[27., 27.],\n        [27., 27.]], grad_fn=<MulBackward0>)")?;
    let out = z.mean();
    show("out = z.mean()", &out, "tensor(27., grad_fn=<MeanBackward0>)")?;
    out.backward()?;
    show("x.grad", x.grad().context("a gradient")?, "tensor([[4.5000, 4.5000],\n        [4.5000, 4.5000]])")
}

/// The names of the nodes behind a node.
fn behind(f: &GradFn) -> String {
    let name = |f: Option<GradFn>| f.map_or_else(|| "None".into(), |f| f.name());
    f.next_functions().into_iter().map(name).collect::<Vec<_>>().join(", ")
}

pub fn graph() -> Result<()> {
    let w = Tensor::from_vec(vec![1.0f32], [1]).requires_grad_(true);
    let x = Tensor::from_vec(vec![2.0f32], [1]).requires_grad_(true);
    let (a, b) = (&w + &x, &w + 1.0);
    let y = &a * &b;
    y.backward()?;
    show("w.grad", w.grad().context("a gradient")?, "tensor([5.])")?;
    let leaves = [&w, &x, &a, &b, &y].map(Tensor::is_leaf);
    show("is_leaf of w, x, a, b, y", format!("{leaves:?}"), "[true, true, false, false, false]")?;
    let none = [&a, &b, &y].map(|t| t.grad().is_none());
    show("gradients of a, b, y are none", format!("{none:?}"), "[true, true, true]")?;
    ensure!(w.grad_fn().is_none() && x.grad_fn().is_none(), "leaves have no grad_fn");
    let root = y.grad_fn().context("tracked")?;
    show("y.grad_fn", &root, "<MulBackward0>")?;
    show("y.grad_fn.next_functions", behind(&root), "AddBackward0, AddBackward0")?;
    let add = root.next_functions().remove(0).context("tracked")?;
    show("… of the first", behind(&add), "AccumulateGrad, AccumulateGrad")?;
    let dot = root.to_dot();
    println!("y.grad_fn.to_dot()\n  {}", dot.trim_end().replace('\n', "\n  "));
    ensure!(dot.starts_with("digraph") && dot.matches("AddBackward0").count() == 2, "a drawing of the graph");
    Ok(())
}

pub fn requires_grad() -> Result<()> {
    let (x, y) = (Tensor::<f32>::ones([1]), Tensor::<f32>::ones([1]));
    show("(x + y).requires_grad", (&x + &y).requires_grad(), "false")?;
    let w = Tensor::<f32>::ones([1]).requires_grad_(true);
    let total = &w + (&x + &y);
    show("(w + (x + y)).requires_grad", total.requires_grad(), "true")?;
    x.set_requires_grad(true)?;
    show("x.requires_grad_(True)", &x, "tensor([1.], requires_grad=True)")?;
    let off = total.set_requires_grad(false);
    fails("total.requires_grad = False", off.clone(), "you can only change requires_grad flags of leaf variables")?;
    fails("… and the hint", off, "detach()")?;
    fails(
        "torch.arange(3).requires_grad_()",
        Tensor::<i64>::arange(3).set_requires_grad(true),
        "only Tensors of floating point dtype can require gradients",
    )
}

pub fn accumulation() -> Result<()> {
    let x = Tensor::from_vec(vec![1.0f32, 2.0, 3.0], [3]).requires_grad_(true);
    show("x.grad before", format!("{:?}", x.grad()), "None")?;
    let grad = || x.grad().context("a gradient");
    (&x * &x).sum().backward()?;
    show("(x * x).sum().backward(); x.grad", grad()?, "tensor([2., 4., 6.])")?;
    (&x * &x).sum().backward()?;
    show("again; x.grad", grad()?, "tensor([ 4.,  8., 12.])")?;
    grad()?.zero_();
    show("x.grad.zero_(); x.grad", grad()?, "tensor([0., 0., 0.])")?;
    let y = &x * 3.0;
    near("y.data.norm()", f64::from(y.data().norm().item()), 11.22497, 1e-4)?;
    ensure!(!y.data().requires_grad() && y.data().shares_storage(&y), "data shares storage and is not tracked");
    (&x * 3.0).sum().backward()?;
    grad()?.data().zero_();
    show("x.grad.data.zero_(); x.grad", grad()?, "tensor([0., 0., 0.])")
}

pub fn one_backward() -> Result<()> {
    let x = tracked(&[1.0, 2.0]);
    let y = (&x * &x).sum();
    y.backward()?;
    fails("y.backward() a second time", y.backward(), "Trying to backward through the graph a second time")?;
    fails("… names retain_graph", y.backward(), "retain_graph")?;
    let x = tracked(&[1.0, 2.0]);
    let y = (&x * &x).sum();
    y.backward_options(autograd::BackwardOptions { retain_graph: true, ..Default::default() })?;
    y.backward()?;
    show("with retain_graph, twice; x.grad", gradient(&x)?, "tensor([4., 8.], dtype=torch.float64)")?;
    let x = tracked(&[1.0, 2.0]);
    let y = x.sum();
    y.backward()?;
    y.backward()?;
    show("x.sum() saves nothing: twice; x.grad", gradient(&x)?, "tensor([2., 2.], dtype=torch.float64)")
}

pub fn vector_outputs() -> Result<()> {
    let x = Tensor::<f32>::arange(4).requires_grad_(true);
    show("x = torch.arange(4.)", &x, "tensor([0., 1., 2., 3.], requires_grad=True)")?;
    fails("(x * x).backward()", (&x * &x).backward(), "grad can be implicitly created only for scalar outputs")?;
    let grad = || x.grad().context("a gradient");
    (&x * &x).sum().backward()?;
    show("(x * x).sum().backward(); x.grad", grad()?, "tensor([0., 2., 4., 6.])")?;
    x.zero_grad();
    (&x * &x).backward_with(&Tensor::ones([4]))?;
    show("(x * x).backward(torch.ones(4)); x.grad", grad()?, "tensor([0., 2., 4., 6.])")?;
    x.zero_grad();
    let y = x.dot(&x) * 2.0;
    show("y = 2 * torch.dot(x, x)", &y, "tensor(28., grad_fn=<MulBackward0>)")?;
    y.backward()?;
    show("x.grad", grad()?, "tensor([ 0.,  4.,  8., 12.])")?;
    let equal = grad()?.eq(&(x.detach() * 4.0));
    show("x.grad == 4 * x", &equal, "tensor([True, True, True, True])")?;
    show("(x.grad == 4 * x).all()", equal.all(), "true")
}

/// Doubles until the norm is 1,000 or more; a hundredfold if the sum is negative.
pub fn f(a: &Tensor<f64>) -> Tensor<f64> {
    let mut b = a * 2.0;
    while b.norm() < 1000.0 {
        b = &b * 2.0;
    }
    if b.sum() > 0.0 { b } else { b * 100.0 }
}

pub fn control_flow() -> Result<()> {
    let x = tracked(&[0.6, -1.1, 0.3]);
    let mut y = &x * 2.0;
    let mut power = 2.0;
    while y.data().norm() < 1000.0 {
        y = &y * 2.0;
        power *= 2.0;
    }
    y.backward_with(&vector(&[0.1, 1.0, 0.0001]))?;
    close("y.backward([0.1, 1.0, 0.0001]); x.grad", &gradient(&x)?, &[0.1 * power, power, 0.0001 * power])?;
    for start in [1.3, -0.7] {
        let a = Tensor::scalar(start).requires_grad_(true);
        let d = f(&a);
        d.backward()?;
        let equal = gradient(&a)?.eq(&(d.detach() / a.detach()));
        show(&format!("a = {start}: a.grad == d / a"), &equal, "tensor(True)")?;
    }
    let many = vector(&[1.0, 2.0]);
    fails(
        "if x < 1: (x has two elements)",
        error_of(|| many < 1.0),
        "Boolean value of Tensor with more than one value is ambiguous",
    )?;
    show("x.lt(2)", many.lt(Tensor::scalar(2.0)), "tensor([ True, False])")
}
