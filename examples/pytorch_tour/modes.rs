//! Rows 8 to 10: stopping the tape, detaching, writing in place.

use crate::{close, error_of, fails, gradient, near, show, tracked, vector};
use anyhow::{Result, ensure};
use autograd::{Tensor, is_grad_enabled, no_grad, set_grad_enabled, switch_grad};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Not recorded: the attribute instead of the closure.
#[autograd::no_grad]
fn doubled(x: &Tensor<f64>) -> Tensor<f64> {
    x * 2.0
}

pub fn stopping() -> Result<()> {
    let x = tracked(&[1.0]);
    show("(x ** 2).requires_grad", x.square().requires_grad(), "true")?;
    show("with torch.no_grad(): …", no_grad(|| x.square().requires_grad()), "false")?;
    show("@torch.no_grad() def doubled", doubled(&x).requires_grad(), "false")?;
    let nested = no_grad(|| set_grad_enabled(true, || x.square().requires_grad()) && !x.square().requires_grad());
    show("torch.set_grad_enabled nested in no_grad, and restored", nested, "true")?;
    let was = switch_grad(false);
    let off = x.square().requires_grad();
    switch_grad(was);
    show("torch._C._set_grad_enabled(False): x ** 2 tracked", off, "false")?;
    // restored also when the closure unwinds
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let unwound = catch_unwind(AssertUnwindSafe(|| no_grad(|| panic!("inside"))));
    std::panic::set_hook(hook);
    ensure!(unwound.is_err() && is_grad_enabled(), "the mode is restored after a panic");
    show("torch.is_grad_enabled() after a panic inside", is_grad_enabled(), "true")
}

pub fn detach() -> Result<()> {
    let a = Tensor::<f32>::ones([2, 2]);
    let d = a.detach();
    d.index_put_((0, 0), 111.0);
    show("d = a.detach(); d[0, 0] = 111; a", &a, "tensor([[111.,   1.],\n        [  1.,   1.]])")?;
    let y = tracked(&[1.0]) * 2.0;
    y.detach_()?;
    show("y.detach_(); y.is_leaf, y.requires_grad", format!("{}, {}", y.is_leaf(), y.requires_grad()), "true, false")?;
    let x = tracked(&[0.0, 1.0, 2.0, 3.0]);
    let y = &x * &x;
    let u = y.detach();
    let z = &u * &x;
    z.sum().backward()?;
    show(
        "u = y.detach(); z = u * x; z.sum().backward(); x.grad == u",
        gradient(&x)?.eq(&u),
        "tensor([True, True, True, True])",
    )?;
    x.zero_grad();
    y.sum().backward()?;
    show(
        "y.sum().backward(); x.grad == 2 * x",
        gradient(&x)?.eq(&(x.detach() * 2.0)),
        "tensor([True, True, True, True])",
    )
}

pub fn in_place() -> Result<()> {
    let w = tracked(&[1.0, 2.0]);
    fails(
        "w.add_(1)",
        error_of(|| w.add_(1.0).version()),
        "a leaf Variable that requires grad is being used in an in-place operation",
    )?;
    w.square().sum().backward()?;
    let handle = w.clone();
    no_grad(|| -> Result<()> {
        let mut w = w.clone();
        w -= gradient(&w)? * 0.1;
        Ok(())
    })?;
    close("with torch.no_grad(): w -= 0.1 * w.grad; w", &w, &[0.8, 1.6])?;
    ensure!(handle.is_same(&w) && w.is_leaf() && w.requires_grad(), "w is the same tracked leaf");
    let x = tracked(&[1.0, 2.0]);
    let a = &x * 2.0;
    let b = &a * &a;
    a.add_(1.0);
    let overwritten = b.sum().backward();
    fails(
        "a.add_(1) after b = a * a; b.sum().backward()",
        overwritten.clone(),
        "has been modified by an inplace operation",
    )?;
    fails("… names the operation", overwritten, "output 0 of AddBackward0")?;
    let a = &x * 2.0;
    let b = &a + 1.0;
    a.add_(5.0);
    b.sum().backward()?;
    close("a.add_(5) where nobody saved a; x.grad", &gradient(&x)?, &[2.0, 2.0])?;
    let rows = Tensor::<f64>::zeros([2, 2]);
    rows.select(0, 1).copy_(&(&x * 3.0));
    show("rows[1] = 3 * x; rows.grad_fn", rows.grad_fn().map_or_else(String::new, |f| f.to_string()), "<CopySlices>")?;
    x.zero_grad();
    rows.sum().backward()?;
    close("rows.sum().backward(); x.grad", &gradient(&x)?, &[3.0, 3.0])?;
    near("rows._version", rows.version() as f64, 1.0, 0.0)?;
    show("v = vector; v.mul_(2)", vector(&[1.0, 2.0]).mul_(2.0), "tensor([2., 4.], dtype=torch.float64)")
}
