//! Clipping of gradients, by their common norm or element by element, in place.
//!
//! Names as PyTorch's: with an underscore the functions take parameters and clip their `.grad`, without one they
//! take the gradients themselves, as a compiled entry point returns them.

use super::is_writable;
use crate::{
    array::Float,
    error::{Error, Result},
    tensor::{Tensor, no_grad},
};
use std::borrow::Borrow;

/// Scales the gradients of parameters down to a common Euclidean norm of `max_norm` if it is larger, and gives the
/// norm that they had. Parameters without a gradient are left out.
///
/// All gradients are multiplied by min(1, `max_norm` / (norm + 10⁻⁶)). A norm of infinity makes finite elements 0, a
/// norm that is NaN makes all NaN: the result tells.
///
/// ```
/// use autograd_runtime::{Tensor, optim::clip_grad_norm_};
/// let x = Tensor::from_vec(vec![3.0f64, 4.0], [2]).requires_grad_(true);
/// (&x * &x * 0.5).sum().backward()?;
/// assert_eq!(clip_grad_norm_([&x], 1.0)?, 5.0);
/// assert!((x.grad().unwrap().norm().item() - 1.0).abs() < 1e-6);
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
///
/// # Errors
/// If `max_norm` is NaN or negative.
pub fn clip_grad_norm_<T: Float, P: Borrow<Tensor<T>>>(
    params: impl IntoIterator<Item = P>,
    max_norm: f64,
) -> Result<f64> {
    check_limit("clip_grad_norm_", "max_norm", max_norm)?;
    clip_grad_norm(own_gradients(params)?, max_norm)
}

/// As [`clip_grad_norm_`], of given gradients.
///
/// ```
/// use autograd_runtime::{Tensor, optim::clip_grad_norm};
/// let gradient = Tensor::from_vec(vec![3.0f32, 4.0], [2]);
/// assert_eq!(clip_grad_norm([&gradient], 10.0)?, 5.0);
/// assert_eq!(gradient.to_vec(), [3.0, 4.0]);
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
///
/// # Errors
/// If `max_norm` is NaN or negative, or a gradient cannot be written in place. Nothing is changed then.
pub fn clip_grad_norm<T: Float, G: Borrow<Tensor<T>>>(
    gradients: impl IntoIterator<Item = G>,
    max_norm: f64,
) -> Result<f64> {
    check_limit("clip_grad_norm", "max_norm", max_norm)?;
    let gradients = writable("clip_grad_norm", gradients)?;
    let norm = no_grad(|| gradients.iter().map(|g| g.with_data(sum_of_squares)).sum::<f64>().sqrt());
    let scale = max_norm / (norm + 1e-6);
    if scale >= 1.0 {
        return Ok(norm);
    }
    // a NaN too is multiplied by
    let scale = T::of(scale);
    write(&gradients, |g| g.iter_mut().for_each(|g| *g = *g * scale))?;
    Ok(norm)
}

/// Limits the elements of the gradients of parameters to ±`clip_value`. Parameters without a gradient are left out.
///
/// ```
/// use autograd_runtime::{Tensor, optim::clip_grad_value_};
/// let x = Tensor::from_vec(vec![3.0, -0.5], [2]).requires_grad_(true);
/// (&x * &x).sum().backward()?;
/// clip_grad_value_([&x], 2.0)?;
/// assert_eq!(x.grad().unwrap().to_vec(), [2.0, -1.0]);
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
///
/// # Errors
/// If `clip_value` is NaN or negative.
pub fn clip_grad_value_<T: Float, P: Borrow<Tensor<T>>>(
    params: impl IntoIterator<Item = P>,
    clip_value: f64,
) -> Result<()> {
    check_limit("clip_grad_value_", "clip_value", clip_value)?;
    clip_grad_value(own_gradients(params)?, clip_value)
}

/// As [`clip_grad_value_`], of given gradients.
///
/// ```
/// use autograd_runtime::{Tensor, optim::clip_grad_value};
/// let gradient = Tensor::from_vec(vec![3.0f32, -0.5], [2]);
/// clip_grad_value([&gradient], 1.0)?;
/// assert_eq!(gradient.to_vec(), [1.0, -0.5]);
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
///
/// # Errors
/// If `clip_value` is NaN or negative, or a gradient cannot be written in place. Nothing is changed then.
pub fn clip_grad_value<T: Float, G: Borrow<Tensor<T>>>(
    gradients: impl IntoIterator<Item = G>,
    clip_value: f64,
) -> Result<()> {
    check_limit("clip_grad_value", "clip_value", clip_value)?;
    let limit = T::of(clip_value);
    // comparisons, for a NaN stays
    let clip = |g: T| {
        if g > limit {
            limit
        } else if g < -limit {
            -limit
        } else {
            g
        }
    };
    write(&writable("clip_grad_value", gradients)?, |g| g.iter_mut().for_each(|g| *g = clip(*g)))
}

fn check_limit(op: &str, name: &str, x: f64) -> Result<()> {
    super::require(op, name, x, x >= 0.0, "a number of 0 or more")
}

/// The gradients of parameters. One that is a strided view is replaced by a copy in row-major order.
fn own_gradients<T: Float, P: Borrow<Tensor<T>>>(params: impl IntoIterator<Item = P>) -> Result<Vec<Tensor<T>>> {
    let own = |p: P| {
        let (p, g) = (p.borrow(), p.borrow().grad()?);
        if is_writable(&g) {
            return Some(Ok(g));
        }
        let copy = Tensor::from_vec(g.to_vec(), g.shape());
        Some(p.set_grad(Some(&copy)).map(|()| copy))
    };
    params.into_iter().filter_map(own).collect()
}

/// Gradients, each of which has elements of its own to write to.
fn writable<T: Float, G: Borrow<Tensor<T>>>(
    op: &str,
    gradients: impl IntoIterator<Item = G>,
) -> Result<Vec<Tensor<T>>> {
    let gradients: Vec<Tensor<T>> = gradients.into_iter().map(|g| g.borrow().clone()).collect();
    match gradients.iter().position(|g| !is_writable(g)) {
        None => Ok(gradients),
        Some(i) => Err(Error::value(op, format!("expected a contiguous tensor, found another as gradient {i}"))),
    }
}

fn write<T: Float>(gradients: &[Tensor<T>], f: impl Fn(&mut [T])) -> Result<()> {
    no_grad(|| gradients.iter().try_for_each(|g| g.update(&f)))
}

/// Σ x² in eight partial sums of `f64`.
fn sum_of_squares<T: Float>(x: &[T]) -> f64 {
    super::dot(x, x)
}
