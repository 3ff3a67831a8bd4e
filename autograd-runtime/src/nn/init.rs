//! Initialisers: they fill a tensor in place, from this thread's generator, without recording.
//!
//! A weight `[out, in, ..]` has `in`·(elements of the kernel) inputs (its fan-in) and likewise outputs
//! (fan-out).

use crate::{Error, Float, Result, Tensor, no_grad};

/// Which fan keeps its variance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fan {
    /// Of the values in the forward pass.
    #[default]
    In,
    /// Of the gradients in the backward pass.
    Out,
}

/// What follows the layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Nonlinearity {
    /// Nothing, or a sigmoid.
    Linear,
    /// tanh
    Tanh,
    /// max(x, 0)
    Relu,
    /// x above 0, slope·x below.
    LeakyRelu(f64),
    /// The scaled exponential linear unit.
    Selu,
}

/// The factor by which a standard deviation makes up for a nonlinearity: PyTorch's `calculate_gain`.
///
/// ```
/// use autograd_runtime::nn::init::{Nonlinearity, gain};
/// assert_eq!((gain(Nonlinearity::Tanh), gain(Nonlinearity::Relu)), (5.0 / 3.0, 2f64.sqrt()));
/// ```
pub fn gain(after: Nonlinearity) -> f64 {
    match after {
        Nonlinearity::Linear => 1.0,
        Nonlinearity::Tanh => 5.0 / 3.0,
        Nonlinearity::Relu => 2f64.sqrt(),
        Nonlinearity::LeakyRelu(slope) => (2.0 / (1.0 + slope * slope)).sqrt(),
        Nonlinearity::Selu => 0.75,
    }
}

/// Fan-in and fan-out of a weight.
///
/// # Errors
/// If it has fewer than two axes.
///
/// ```
/// use autograd_runtime::{Tensor, nn::init::fans};
/// assert_eq!(fans(&Tensor::<f32>::zeros([8, 3, 5, 5]))?, (75, 200));
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
pub fn fans<T: Float>(t: &Tensor<T>) -> Result<(usize, usize)> {
    match t.shape() {
        [out, inputs, kernel @ ..] => {
            let n: usize = kernel.iter().product();
            Ok((inputs * n, out * n))
        }
        other => Err(Error::shape("fans", "a weight of two axes or more", format!("{other:?}"))),
    }
}

fn fill<T: Float>(t: &Tensor<T>, f: impl FnOnce(&mut [T])) -> Result<()> {
    no_grad(|| t.update(f))
}
fn fill_from<T: Float>(t: &Tensor<T>, draws: &Tensor<T>, f: impl Fn(f64) -> f64) -> Result<()> {
    draws.with_data(|d| fill(t, |v| v.iter_mut().zip(d).for_each(|(v, d)| *v = T::of(f(d.f64())))))
}

/// Every element equal to `x`.
///
/// # Errors
/// If the tensor cannot be written, as of all functions here: a strided view, a traced tensor.
pub fn constant_<T: Float>(t: &Tensor<T>, x: f64) -> Result<()> {
    fill(t, |v| v.fill(T::of(x)))
}
/// All zeros.
///
/// # Errors
/// As [`constant_`].
pub fn zeros_<T: Float>(t: &Tensor<T>) -> Result<()> {
    constant_(t, 0.0)
}
/// All ones.
///
/// # Errors
/// As [`constant_`].
pub fn ones_<T: Float>(t: &Tensor<T>) -> Result<()> {
    constant_(t, 1.0)
}
/// Uniform in `low..high`.
///
/// # Errors
/// As [`constant_`].
///
/// ```
/// use autograd_runtime::{Tensor, nn::{init, parameter}};
/// let p = parameter(&Tensor::<f64>::zeros([100]));
/// init::uniform_(&p, 2.0, 3.0)?;
/// assert!(p.min().item() >= 2.0 && p.max().item() < 3.0);
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
pub fn uniform_<T: Float>(t: &Tensor<T>, low: f64, high: f64) -> Result<()> {
    fill_from(t, &Tensor::rand(t.shape()), |u| low + (high - low) * u)
}
/// Normal of a mean and a standard deviation.
///
/// # Errors
/// As [`constant_`].
pub fn normal_<T: Float>(t: &Tensor<T>, mean: f64, std: f64) -> Result<()> {
    fill_from(t, &Tensor::randn(t.shape()), |z| mean + std * z)
}

/// The standard deviation of Glorot and Bengio (2010): gain·√(2/(fan-in + fan-out)).
fn xavier<T: Float>(t: &Tensor<T>, gain: f64) -> Result<f64> {
    let (i, o) = fans(t)?;
    Ok(gain * (2.0 / (i + o).max(1) as f64).sqrt())
}
/// The standard deviation of He, Zhang, Ren and Sun (2015): gain/√fan.
fn kaiming<T: Float>(t: &Tensor<T>, fan: Fan, after: Nonlinearity) -> Result<f64> {
    let (i, o) = fans(t)?;
    let n = if fan == Fan::In { i } else { o };
    Ok(gain(after) / (n.max(1) as f64).sqrt())
}
/// Uniform within ±gain·√(6/(fan-in + fan-out)).
///
/// ```
/// use autograd_runtime::{Tensor, nn::init::{self, Nonlinearity}};
/// let w = Tensor::<f32>::zeros([30, 20]);
/// init::xavier_uniform_(&w, init::gain(Nonlinearity::Linear))?;
/// assert!(w.abs().max().item() <= (6f32 / 50.0).sqrt());
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
///
/// # Errors
/// As [`constant_`] and [`fans`].
pub fn xavier_uniform_<T: Float>(t: &Tensor<T>, gain: f64) -> Result<()> {
    let bound = 3f64.sqrt() * xavier(t, gain)?;
    uniform_(t, -bound, bound)
}
/// Normal of standard deviation gain·√(2/(fan-in + fan-out)).
///
/// # Errors
/// As [`constant_`] and [`fans`].
pub fn xavier_normal_<T: Float>(t: &Tensor<T>, gain: f64) -> Result<()> {
    normal_(t, 0.0, xavier(t, gain)?)
}
/// Uniform within ±gain·√(3/fan).
///
/// # Errors
/// As [`constant_`] and [`fans`].
pub fn kaiming_uniform_<T: Float>(t: &Tensor<T>, fan: Fan, after: Nonlinearity) -> Result<()> {
    let bound = 3f64.sqrt() * kaiming(t, fan, after)?;
    uniform_(t, -bound, bound)
}
/// Normal of standard deviation gain/√fan.
///
/// ```
/// use autograd_runtime::{Tensor, nn::init::{self, Fan, Nonlinearity}};
/// let w = Tensor::<f64>::zeros([100, 50]);
/// init::kaiming_normal_(&w, Fan::In, Nonlinearity::Relu)?;
/// assert!((w.var().item().sqrt() - 0.2).abs() < 0.02);
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
///
/// # Errors
/// As [`constant_`] and [`fans`].
pub fn kaiming_normal_<T: Float>(t: &Tensor<T>, fan: Fan, after: Nonlinearity) -> Result<()> {
    normal_(t, 0.0, kaiming(t, fan, after)?)
}
