//! Rows 11 to 14 and 19: the functions of `torch.autograd`, freezing, hooks, convolution.

use crate::{close, fails, gradient, show, tracked, vector};
use anyhow::{Context, Result, ensure};
use autograd::{
    ConvOptions, GradOptions, Tensor, backward, grad, grad_options, gradcheck, gradgradcheck,
    nn::{Linear, Module, Sequential},
};

pub fn backward_call() -> Result<()> {
    let (a, b) = (tracked(&[1.0, 2.0]), tracked(&[1.0, 2.0]));
    let c = &a * 2.0 + &b * 3.0 + 1.0;
    let ones = vector(&[1.0, 1.0]);
    backward(&[&c], &[Some(&ones)], false, false)?;
    show("torch.autograd.backward([c], [ones]); a.grad", gradient(&a)?, "tensor([2., 2.], dtype=torch.float64)")?;
    show("b.grad", gradient(&b)?, "tensor([3., 3.], dtype=torch.float64)")?;
    fails("once more", backward(&[&c], &[Some(&ones)], false, false), "a second time")
}

pub fn grad_call() -> Result<()> {
    let (a, b) = (tracked(&[1.0, 2.0]), tracked(&[1.0, 2.0]));
    let c = &a * 2.0 + &b * 3.0 + 1.0;
    let d = &c * 2.0 + 1.0;
    let ones = vector(&[1.0, 1.0]);
    let call = || grad(&[&d], &[&a, &b, &c], &[Some(&ones)], false, false, false);
    let grads = call()?;
    let text: Vec<String> = grads.iter().flatten().map(ToString::to_string).collect();
    let of = |x: &str| format!("tensor([{x}, {x}], dtype=torch.float64)");
    show("torch.autograd.grad(d, (a, b, c), ones)", text.join("\n"), &[of("4."), of("6."), of("2.")].join("\n"))?;
    show("a.grad is still", format!("{:?}", a.grad()), "None")?;
    fails("once more", call(), "a second time")?;
    let unused = tracked(&[1.0]);
    fails("an input that is not used", grad(&[&a.sum()], &[&unused], &[], false, false, false), "allow_unused")?;
    let none = grad(&[&a.sum()], &[&unused], &[], false, false, true)?;
    show("… with allow_unused", format!("{:?}", none[0]), "None")?;
    let zeros = grad_options(&[&a.sum()], &[&unused], GradOptions { materialize_grads: true, ..Default::default() })?;
    show("… with materialize_grads", zeros[0].as_ref().context("zeros")?, "tensor([0.], dtype=torch.float64)")?;
    // x⁴, 4x³, 12x², 24x
    let x = Tensor::scalar(1.0).requires_grad_(true);
    let mut y = x.powi(4);
    for (order, want) in [(1, "4."), (2, "12."), (3, "24.")] {
        y = grad(&[&y], &[&x], &[], false, true, false)?.remove(0).context("used")?;
        show(&format!("derivative {order} of x⁴ at 1"), y.detach(), &format!("tensor({want}, dtype=torch.float64)"))?;
    }
    Ok(())
}

pub fn freezing() -> Result<()> {
    let mut model =
        Sequential::<f32>::new().add(Linear::new(784, 512)).add(autograd::nn::Relu).add(Linear::new(512, 10));
    model.requires_grad_(false)?;
    let x = Tensor::ones([1, 784]);
    show("all parameters frozen: model(x).requires_grad", model.forward(&x).requires_grad(), "false")?;
    model.replace(2, Linear::<f32>::new(512, 100))?;
    let y = model.forward(&x);
    show("model.fc = nn.Linear(512, 100): model(x).requires_grad", y.requires_grad(), "true")?;
    y.sum().backward()?;
    let have: Vec<String> =
        model.named_parameters().iter().map(|(name, p)| format!("{name}: {}", p.grad().is_some())).collect();
    show(
        "which parameters got a gradient",
        have.join(", "),
        "0.weight: false, 0.bias: false, 2.weight: true, 2.bias: true",
    )?;
    let p = autograd::nn::parameter(&Tensor::<f32>::ones([2]));
    show("nn.Parameter(torch.ones(2))", &p, "tensor([1., 1.], requires_grad=True)")?;
    show("torch.ones(2)", Tensor::<f32>::ones([2]), "tensor([1., 1.])")
}

pub fn hooks() -> Result<()> {
    let (a, b) = (tracked(&[1.0, 2.0]), tracked(&[1.0, 2.0]));
    let c = &a * 2.0 + &b * 3.0 + 1.0;
    let d = &c * 2.0 + 1.0;
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = seen.clone();
    let handle = c.register_hook(move |g: &Tensor<f64>| {
        if let Ok(mut log) = log.lock() {
            log.push(g.to_string());
        }
        g * 10.0
    })?;
    c.retain_grad()?;
    d.sum().backward()?;
    let lines = seen.lock().map(|l| l.join("\n")).unwrap_or_default();
    show("c.register_hook(print): the hook saw", lines, "tensor([2., 2.], dtype=torch.float64)")?;
    show("… and made ten times that of it; a.grad", gradient(&a)?, "tensor([40., 40.], dtype=torch.float64)")?;
    show("c.retain_grad(); c.grad", gradient(&c)?, "tensor([20., 20.], dtype=torch.float64)")?;
    handle.remove();
    a.zero_grad();
    (&(&a * 2.0) * 2.0).sum().backward()?;
    close("handle.remove(); without the hook a.grad", &gradient(&a)?, &[4.0, 4.0])
}

pub fn convolution() -> Result<()> {
    let x = Tensor::<f64>::arange(16).reshape(&[1, 1, 4, 4]).detach().requires_grad_(true);
    let w = Tensor::from_vec(vec![1.0, 0.0, 0.0, -1.0], [1, 1, 2, 2]).requires_grad_(true);
    let y = x.conv2d(&w, None, &ConvOptions::new());
    show(
        "F.conv2d(x, w)",
        &y,
        "tensor([[[[-5., -5., -5.],\n          [-5., -5., -5.],\n          [-5., -5., -5.]]]], dtype=torch.float64,\n       \
         grad_fn=<ConvolutionBackward0>)",
    )?;
    y.sum().backward()?;
    close("w.grad", &gradient(&w)?, &[45.0, 54.0, 81.0, 90.0])?;
    close("x.grad", &gradient(&x)?, &[1., 1., 1., 0., 1., 0., 0., -1., 1., 0., 0., -1., 0., -1., -1., -1.])?;
    let conv = |t: &[Tensor<f64>]| t[0].conv2d(&t[1], None, &ConvOptions::new().padding(1).stride(2));
    gradcheck(conv, &[&x, &w])?;
    gradgradcheck(conv, &[&x, &w])?;
    println!("gradcheck and gradgradcheck of a strided, padded convolution\n  True, True");
    ensure!(y.shape() == [1, 1, 3, 3], "the shape of a valid convolution");
    Ok(())
}
