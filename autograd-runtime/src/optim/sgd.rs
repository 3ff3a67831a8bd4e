//! Stochastic gradient descent with momentum.

use super::{
    group::{Algorithm, BUFFERS, Field, Memory, Optimizer, Options, Visit, pass},
    require_nonnegative,
};
use crate::{
    array::Float,
    error::{Error, Result},
    tensor::Tensor,
};
use std::borrow::Borrow;

/// Stochastic gradient descent, with momentum b if asked for:
/// `g += λ·x;  b ← μ·b + (1−τ)·g;  x −= lr·b`, or by Nesterov `x −= lr·(g + μ·b)`. b starts as the first g.
///
/// ```
/// use autograd_runtime::{Tensor, optim::Sgd};
/// let x = Tensor::from_vec(vec![1.0f32, 2.0], [2]).requires_grad_(true);
/// let mut optimizer = Sgd::new(&[x.clone()], 0.1).momentum(0.9).nesterov(true);
/// x.sum().backward()?;
/// optimizer.step()?;
/// assert_eq!(x.to_vec(), [0.81, 1.81]);
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
pub type Sgd<T> = Optimizer<T, SgdOptions>;

/// The options of [`Sgd`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdOptions {
    /// The learning rate.
    pub lr: f64,
    /// μ, the share of the last move that is kept.
    pub momentum: f64,
    /// τ: the gradient enters the momentum times 1 − τ.
    pub dampening: f64,
    /// λ: the gradient of ½λ·x² is added.
    pub weight_decay: f64,
    /// Whether the gradient is looked ahead for. Needs momentum and no dampening.
    pub nesterov: bool,
    /// Whether to ascend.
    pub maximize: bool,
}

impl Default for SgdOptions {
    fn default() -> Self {
        SgdOptions { lr: 1e-3, momentum: 0.0, dampening: 0.0, weight_decay: 0.0, nesterov: false, maximize: false }
    }
}

impl<T: Float> Sgd<T> {
    /// Plain gradient descent over leaves.
    pub fn new<P: Borrow<Tensor<T>>>(params: impl IntoIterator<Item = P>, lr: f64) -> Self {
        Self::with_options(params, SgdOptions { lr, ..SgdOptions::default() })
    }
    /// Sets [`SgdOptions::momentum`].
    pub fn momentum(self, momentum: f64) -> Self {
        self.set(|o| o.momentum = momentum)
    }
    /// Sets [`SgdOptions::dampening`].
    pub fn dampening(self, dampening: f64) -> Self {
        self.set(|o| o.dampening = dampening)
    }
    /// Sets [`SgdOptions::weight_decay`].
    pub fn weight_decay(self, weight_decay: f64) -> Self {
        self.set(|o| o.weight_decay = weight_decay)
    }
    /// Sets [`SgdOptions::nesterov`].
    pub fn nesterov(self, on: bool) -> Self {
        self.set(|o| o.nesterov = on)
    }
    /// Sets [`SgdOptions::maximize`].
    pub fn maximize(self, on: bool) -> Self {
        self.set(|o| o.maximize = on)
    }
}

impl Algorithm for SgdOptions {
    const NAME: &'static str = "Sgd";
}

impl Options for SgdOptions {
    const BUFFER_NAMES: [&'static str; BUFFERS] = ["momentum_buffer", "", ""];
    const ALWAYS: usize = 0;

    fn visit(&mut self, visit: Visit<'_>) {
        visit("lr", Field::Number(&mut self.lr));
        visit("momentum", Field::Number(&mut self.momentum));
        visit("dampening", Field::Number(&mut self.dampening));
        visit("weight_decay", Field::Number(&mut self.weight_decay));
        visit("nesterov", Field::Flag(&mut self.nesterov));
        visit("maximize", Field::Flag(&mut self.maximize));
    }
    fn check(&self) -> Result<()> {
        let (lr, momentum, decay) = (("lr", self.lr), ("momentum", self.momentum), ("weight_decay", self.weight_decay));
        require_nonnegative(Self::NAME, &[lr, momentum, decay])?;
        if !self.dampening.is_finite() {
            return Err(Error::value(Self::NAME, format!("dampening: expected a number, found {}", self.dampening)));
        }
        if self.nesterov && (self.momentum == 0.0 || self.dampening != 0.0) {
            return Err(Error::value(Self::NAME, "nesterov: expected a momentum and no dampening"));
        }
        Ok(())
    }
    fn lr_and_momentum(&mut self) -> (&mut f64, &mut f64) {
        (&mut self.lr, &mut self.momentum)
    }
    fn update<T: Float>(&self, x: &mut [T], gradient: &[T], memory: &mut Memory<T>) {
        let (sign, rate, decay) =
            (T::of(if self.maximize { -1.0 } else { 1.0 }), T::of(-self.lr), T::of(self.weight_decay));
        let decayed = move |g: T, x: T| if decay == T::ZERO { sign * g } else { sign * g + decay * x };
        if self.momentum == 0.0 {
            return pass(x, gradient, [], move |x, g, []| (x + rate * decayed(g, x), []));
        }
        let first = memory.buffers[0].is_empty();
        memory.need(0, x.len());
        // the first gradient enters undamped
        let (kept, new) = if first { (0.0, 1.0) } else { (self.momentum, 1.0 - self.dampening) };
        let (kept, new, momentum, nesterov) = (T::of(kept), T::of(new), T::of(self.momentum), self.nesterov);
        pass(x, gradient, [&mut memory.buffers[0]], move |x, g, [b]| {
            let g = decayed(g, x);
            let b = kept * b + new * g;
            (x + rate * if nesterov { g + momentum * b } else { b }, [b])
        });
    }
}
