//! Initialisers: they fill a tensor in place, from this thread's generator, without recording.
//!
//! A weight `[out, in, ..]` has `in`·(elements of the kernel) inputs (its fan-in) and likewise outputs
//! (fan-out).

use crate::{Error, Float, Result, Tensor, elementary::special::erf, no_grad};
use nalgebra::DMatrix;

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
fn fill_from<T: Float, D: Float>(t: &Tensor<T>, draws: &Tensor<D>, f: impl Fn(f64) -> f64) -> Result<()> {
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
    fill_from(t, &Tensor::<T>::rand(t.shape()), |u| low + (high - low) * u)
}
/// Normal of a mean and a standard deviation.
///
/// # Errors
/// As [`constant_`].
pub fn normal_<T: Float>(t: &Tensor<T>, mean: f64, std: f64) -> Result<()> {
    fill_from(t, &Tensor::<T>::randn(t.shape()), |z| mean + std * z)
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

/// Normal of a mean and a standard deviation, cut off outside `low..=high`, by the inverse of the distribution
/// function.
///
/// ```
/// use autograd_runtime::{Tensor, nn::init};
/// let w = Tensor::<f32>::zeros([1000]);
/// init::trunc_normal_(&w, 0.0, 1.0, -0.5, 2.0)?;
/// assert!(w.min().item() >= -0.5 && w.max().item() <= 2.0);
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
///
/// # Errors
/// As [`constant_`], and if the bounds are not in order or the deviation is not above 0.
pub fn trunc_normal_<T: Float>(t: &Tensor<T>, mean: f64, std: f64, low: f64, high: f64) -> Result<()> {
    if !(low < high && std > 0.0) {
        let found = format!("{low}..={high} and {std}");
        return Err(Error::value(
            "trunc_normal_",
            format!("expected bounds in order, a deviation above 0, found {found}"),
        ));
    }
    let erf_at = |x: f64| erf((x - mean) / (std * std::f64::consts::SQRT_2));
    let (from, to) = (erf_at(low), erf_at(high));
    let draw = |u: f64| mean + std * std::f64::consts::SQRT_2 * erf_inv(from + (to - from) * u);
    // in f64, or what a float rounds to 1 would be cut off at a bound
    fill_from(t, &Tensor::<f64>::rand(t.shape()), |u| draw(u).clamp(low, high))
}

/// The inverse of erf: Giles, Approximating the erfinv function (2010), and two steps of Newton's.
fn erf_inv(y: f64) -> f64 {
    const CENTRE: [f64; 9] = [
        2.81022636e-08,
        3.43273939e-07,
        -3.5233877e-06,
        -4.39150654e-06,
        0.00021858087,
        -0.00125372503,
        -0.00417768164,
        0.246640727,
        1.50140941,
    ];
    const TAIL: [f64; 9] = [
        -0.000200214257,
        0.000100950558,
        0.00134934322,
        -0.00367342844,
        0.00573950773,
        -0.0076224613,
        0.00943887047,
        1.00167406,
        2.83297682,
    ];
    let w = -((1.0 - y) * (1.0 + y)).ln();
    let (w, of) = if w < 5.0 { (w - 2.5, CENTRE) } else { (w.sqrt() - 3.0, TAIL) };
    let mut x = y * of.iter().fold(0.0, |p, c| p * w + c);
    for _ in 0..2 {
        let step = (erf(x) - y) * (x * x).exp() * 0.5 * std::f64::consts::PI.sqrt();
        // erf is flat where it is 1
        x -= if step.is_finite() { step } else { 0.0 };
    }
    x
}

/// Rows or columns, whichever are fewer, orthonormal, times a gain; a tensor of more axes is a matrix of what its first
/// one counts. From Saxe, McClelland and Ganguli, Exact solutions to the nonlinear dynamics of learning in deep linear
/// neural networks (2014).
///
/// ```
/// use autograd_runtime::{Tensor, nn::init};
/// let w = Tensor::<f64>::zeros([2, 5]);
/// init::orthogonal_(&w, 1.0)?;
/// assert!((w.matmul(&w.t()) - Tensor::eye(2)).abs().max().item() < 1e-14);
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
///
/// # Errors
/// As [`constant_`] and [`fans`].
pub fn orthogonal_<T: Float>(t: &Tensor<T>, gain: f64) -> Result<()> {
    fans(t)?;
    let (rows, columns) = (t.shape()[0], t.shape()[1..].iter().product::<usize>());
    let (most, least) = (rows.max(columns), rows.min(columns));
    let normal = Tensor::<f64>::randn([most, least]).to_vec();
    let qr = DMatrix::from_row_slice(most, least, &normal).qr();
    let (mut q, r) = (qr.q(), qr.r());
    // a triangle with a positive diagonal makes the distribution uniform
    for (k, mut column) in q.column_iter_mut().enumerate() {
        if r[(k, k)] < 0.0 {
            column.neg_mut();
        }
    }
    let at = |i: usize, j: usize| if rows >= columns { q[(i, j)] } else { q[(j, i)] };
    let all = (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j)));
    fill(t, |v| v.iter_mut().zip(all).for_each(|(v, (i, j))| *v = T::of(gain * at(i, j))))
}

/// The identity, of a matrix that need not be square.
///
/// # Errors
/// As [`constant_`], and if it is no matrix.
pub fn eye_<T: Float>(t: &Tensor<T>) -> Result<()> {
    let &[_, columns] = t.shape() else {
        return Err(Error::shape("eye_", "a matrix", format!("{:?}", t.shape())));
    };
    fill(t, |v| v.iter_mut().enumerate().for_each(|(i, v)| *v = T::of(f64::from(i / columns == i % columns))))
}
