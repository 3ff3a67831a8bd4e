//! Optimisers: from gradients to moved parameters, with the names, defaults and values of `torch.optim`.
//!
//! * `sgd`, `adam`, `rmsprop`: the algorithms: options, and one fused pass over a parameter, its gradient and state;
//! * `group`: [`Optimizer`], which runs an algorithm over groups of parameters;
//! * `lbfgs`: L-BFGS, which evaluates the loss itself; `wolfe`: its line search;
//! * `schedule`: learning rates over time, `plateau`: by results; `clip`: gradients kept small;
//! * `state`: what an optimiser remembers, in memory and in a file.
//!
//! Gradients come from either engine: [`Optimizer::step`] reads the `.grad` that `backward` left in each parameter,
//! [`Optimizer::step_with`] takes what a compiled entry point returned.
//!
//! ```
//! use autograd_runtime::{Tensor, optim::Sgd};
//!
//! let w = Tensor::from_vec(vec![1.0, -2.0], [2]).requires_grad_(true);
//! let mut optimizer = Sgd::new(&[w.clone()], 0.1).momentum(0.9);
//! for _ in 0..300 {
//!     optimizer.zero_grad();
//!     w.square().sum().backward()?;
//!     optimizer.step()?;
//! }
//! assert!(w.norm().item() < 1e-6);
//! # Ok::<(), autograd_runtime::Error>(())
//! ```
//!
//! Options are set as above, for all groups, or in a group's [`options`](ParamGroup::options). They are checked where
//! they are used: a wrong one (a negative rate) is an error of the next step. A step that fails has changed nothing.

mod adam;
mod clip;
mod group;
mod lbfgs;
mod plateau;
mod rmsprop;
mod schedule;
mod sgd;
mod state;
mod wolfe;

pub use crate::state::StateDict;
pub use adam::{Adam, AdamOptions, AdamW};
pub use clip::{clip_grad_norm, clip_grad_norm_, clip_grad_value, clip_grad_value_};
pub use group::{Algorithm, Optimizer, ParamGroup};
pub use lbfgs::{Lbfgs, LbfgsOptions, LineSearch};
pub use plateau::{ReduceLrOnPlateau, Threshold};
pub use rmsprop::{RmsProp, RmsPropOptions};
pub use schedule::{
    Anneal, At, CosineAnnealingLr, ExponentialLr, LambdaLr, LinearLr, MultiStepLr, OneCycleLr, Policy, Schedule, StepLr,
};
pub use sgd::{Sgd, SgdOptions};

use crate::{
    array::Float,
    error::{Error, Result},
    tensor::{Repr, Tensor, no_grad},
};
use std::borrow::Borrow;

/// What a schedule may move in one group of parameters.
#[derive(Debug)]
pub struct Rates<'a> {
    /// The learning rate.
    pub lr: &'a mut f64,
    /// The learning rate when the first schedule met the group.
    pub initial_lr: &'a mut Option<f64>,
    /// The momentum, or Adam's β₁; none if the algorithm has no such thing.
    pub momentum: Option<&'a mut f64>,
}

/// What schedules act on: any optimiser.
pub trait Scheduled {
    /// What may be moved in each group.
    fn rates(&mut self) -> Vec<Rates<'_>>;
}

/// Clears the gradients of parameters.
fn zero_grad<T: Float>(params: &[Tensor<T>]) {
    params.iter().for_each(|p| p.value().set_grad(None));
}

/// Sets the elements of the gradients of parameters to 0, where there are gradients. One with a graph behind it, or a
/// strided view, is replaced.
fn zero_grad_in_place<T: Float>(params: &[Tensor<T>]) -> Result<()> {
    let zero = |p: &Tensor<T>| match p.grad() {
        Some(g) if g.is_leaf() && is_writable(&g) => no_grad(|| g.update(|g| g.fill(T::ZERO))),
        Some(g) => p.set_grad(Some(&Tensor::zeros(g.shape()))),
        None => Ok(()),
    };
    params.iter().try_for_each(zero)
}

/// Whether a tensor has elements, in row-major order.
fn is_writable<T: Float>(t: &Tensor<T>) -> bool {
    matches!(t.value().repr(), Repr::Stored { .. }) && t.value().is_contiguous()
}

/// Whether two tensors have elements in one storage.
fn shares<T: Float>(a: &Tensor<T>, b: &Tensor<T>) -> bool {
    matches!((a.value().repr(), b.value().repr()), (Repr::Stored { storage: a, .. }, Repr::Stored { storage: b, .. })
        if std::sync::Arc::ptr_eq(a, b))
}

/// Parameters that can be optimised: leaves with elements of their own in row-major order, each once.
fn parameters<'a, T: Float, P: Borrow<Tensor<T>>>(
    params: impl IntoIterator<Item = P>,
    others: impl Iterator<Item = &'a Tensor<T>>,
) -> Result<Vec<Tensor<T>>> {
    let params: Vec<Tensor<T>> = params.into_iter().map(|p| p.borrow().clone()).collect();
    let mut seen: rustc_hash::FxHashSet<usize> = others.map(|p| p.value().address()).collect();
    for (i, p) in params.iter().enumerate() {
        let wrong = |what: &str| Err(Error::value("optim", format!("parameter {i}: expected {what}")));
        if !p.is_leaf() {
            return wrong("a leaf, found a result of tracked operations");
        }
        if !is_writable(p) {
            return wrong("elements in row-major order, found a strided view or a traced tensor");
        }
        if !seen.insert(p.value().address()) {
            return wrong("each parameter once, found it twice");
        }
    }
    Ok(params)
}

/// That a gradient can be read for a parameter.
fn check_gradient<T: Float>(i: usize, param: &Tensor<T>, gradient: &Tensor<T>) -> Result<()> {
    if param.shape() != gradient.shape() {
        let want = format!("a gradient of shape {:?} for parameter {i}", param.shape());
        return Err(Error::shape("step", want, format!("{:?}", gradient.shape())));
    }
    if !matches!(gradient.value().repr(), Repr::Stored { .. }) {
        return Err(Error::value("step", format!("expected a gradient with elements for parameter {i}, found none")));
    }
    Ok(())
}

/// Requires an option to lie in a range.
fn require(op: &str, name: &str, x: f64, ok: bool, want: &str) -> Result<()> {
    if ok { Ok(()) } else { Err(Error::value(op, format!("{name}: expected {want}, found {x}"))) }
}

/// Requires options to be 0 or more and finite.
fn require_nonnegative(op: &str, options: &[(&str, f64)]) -> Result<()> {
    let ok = |x: f64| (0.0..f64::INFINITY).contains(&x);
    options.iter().try_for_each(|&(name, x)| require(op, name, x, ok(x), "a number of 0 or more"))
}

/// The inner product, summed in `f64` in eight partial sums: its order depends on nothing but the length.
fn dot<T: Float>(a: &[T], b: &[T]) -> f64 {
    let (a8, a) = a.as_chunks::<8>();
    let (b8, b) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a8.iter().zip(b8) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a.f64() * b.f64();
        }
    }
    let rest: f64 = a.iter().zip(b).map(|(a, b)| a.f64() * b.f64()).sum();
    sums.iter().sum::<f64>() + rest
}
