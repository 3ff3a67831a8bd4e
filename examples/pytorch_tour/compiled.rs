//! Row 20: rows 6, 7, 8, 9, 12, 15 and 19 inside `#[differentiable]`, compiled: the compiled engine is asked for, so that
//! nothing can fall back to the tape unseen.

use crate::{close, near, own::Sums, vector};
use anyhow::Result;
use autograd::{ConvOptions, Function as _, no_grad, prelude::*};

#[differentiable]
fn squares(x: &Tensor<f64>) -> Tensor<f64> {
    x * x
}

#[differentiable]
fn doubling(a: &Tensor<f64>) -> Tensor<f64> {
    let mut b = a * 2.0;
    while b.norm() < 1000.0 {
        b *= 2.0;
    }
    if b.sum() > 0.0 { b } else { b * 100.0 }
}

#[differentiable]
fn stopped(x: &Tensor<f64>) -> Tensor<f64> {
    let factor = no_grad(|| x * 2.0);
    (factor * x).sum()
}

#[differentiable]
fn detached(x: &Tensor<f64>) -> Tensor<f64> {
    let u = (x * x).detach();
    (u * x).sum()
}

#[differentiable]
fn fourth(x: f64) -> f64 {
    x.powi(4)
}
#[differentiable]
fn first(x: f64) -> Result<f64, Error> {
    fourth::grad(x)
}
#[differentiable]
fn second(x: f64) -> Result<f64, Error> {
    first::grad(x)
}

#[differentiable]
fn custom(x: &Tensor<f64>, y: &Tensor<f64>) -> Result<Tensor<f64>, Error> {
    Ok(Sums.apply(&[x, y])?.sum())
}

#[differentiable]
fn convolved(x: &Tensor<f64>, w: &Tensor<f64>) -> Tensor<f64> {
    x.conv2d(w, None, &ConvOptions::new()).sum()
}

pub fn same() -> Result<()> {
    with_engine(Engine::Compiled, || {
        let x = vector(&[0.0, 1.0, 2.0, 3.0]);
        let (_, pull) = squares::vjp(&x)?;
        close("6. (x * x).backward(ones)", &pull(&Tensor::ones([4]))?, &[0.0, 2.0, 4.0, 6.0])?;
        for a in [[0.6, -1.1, 0.3], [0.6, 1.1, 0.3]] {
            let a = vector(&a);
            let (d, pull) = doubling::vjp(&a)?;
            let factor = d.to_vec()[0] / a.to_vec()[0];
            close("7. while and if: a.grad == d / a", &pull(&Tensor::ones([3]))?, &[factor; 3])?;
        }
        close("8. no_grad inside: 2x is a constant", &stopped::grad(&x)?, &[0.0, 2.0, 4.0, 6.0])?;
        close("9. detach: the gradient is u", &detached::grad(&x)?, &[0.0, 1.0, 4.0, 9.0])?;
        near("12. d³/dx³ of x⁴ at 3", second::grad(3.0)?, 72.0, 1e-9)?;
        let (dx, dy) = custom::grad(&vector(&[1.0, 2.0]), &vector(&[3.0, 4.0]))?;
        close("15. a custom function: dx", &dx, &[5.7183, 10.3891])?;
        close("dy", &dy, &[22.0855, 56.5981])?;
        let image = Tensor::<f64>::arange(16).reshape(&[1, 1, 4, 4]);
        let kernel = Tensor::from_vec(vec![1.0, 0.0, 0.0, -1.0], [1, 1, 2, 2]);
        let (_, dw) = convolved::grad(&image, &kernel)?;
        close("19. convolution: dw", &dw, &[45.0, 54.0, 81.0, 90.0])
    })
}
