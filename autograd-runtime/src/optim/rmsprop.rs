//! RMSProp (Hinton, 2012; centred by Graves, 2013).

use super::{
    group::{Algorithm, BUFFERS, Field, Memory, Optimizer, Options, Visit, pass},
    require, require_nonnegative,
};
use crate::{array::Float, error::Result, tensor::Tensor};
use std::borrow::Borrow;

/// RMSProp: `g += λ·x;  s ← α·s + (1−α)·g²;  x −= lr·g/(√s + ε)`. Centred, s loses the square of the mean
/// `a ← α·a + (1−α)·g`; with momentum, `b ← μ·b + g/(√s + ε);  x −= lr·b`.
///
/// ```
/// use autograd_runtime::{Tensor, optim::RmsProp};
/// let x = Tensor::from_vec(vec![1.0, 2.0], [2]);
/// let mut optimizer = RmsProp::new(&[x.clone()], 0.01).alpha(0.9).centered(true);
/// optimizer.step_with([&x * 2.0])?;
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
pub type RmsProp<T> = Optimizer<T, RmsPropOptions>;

/// The options of [`RmsProp`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsPropOptions {
    /// The learning rate.
    pub lr: f64,
    /// α: how much of the mean square a step keeps.
    pub alpha: f64,
    /// ε, added to the root of the mean square.
    pub eps: f64,
    /// λ: the gradient of ½λ·x² is added.
    pub weight_decay: f64,
    /// μ, the share of the last move that is kept.
    pub momentum: f64,
    /// Whether to divide by the deviation from the mean gradient.
    pub centered: bool,
    /// Whether to ascend.
    pub maximize: bool,
}

impl Default for RmsPropOptions {
    fn default() -> Self {
        RmsPropOptions {
            lr: 1e-2,
            alpha: 0.99,
            eps: 1e-8,
            weight_decay: 0.0,
            momentum: 0.0,
            centered: false,
            maximize: false,
        }
    }
}

impl<T: Float> RmsProp<T> {
    /// RMSProp over leaves with the default options.
    pub fn new<P: Borrow<Tensor<T>>>(params: impl IntoIterator<Item = P>, lr: f64) -> Self {
        Self::with_options(params, RmsPropOptions { lr, ..RmsPropOptions::default() })
    }
    /// Sets [`RmsPropOptions::alpha`].
    pub fn alpha(self, alpha: f64) -> Self {
        self.set(|o| o.alpha = alpha)
    }
    /// Sets [`RmsPropOptions::eps`].
    pub fn eps(self, eps: f64) -> Self {
        self.set(|o| o.eps = eps)
    }
    /// Sets [`RmsPropOptions::weight_decay`].
    pub fn weight_decay(self, weight_decay: f64) -> Self {
        self.set(|o| o.weight_decay = weight_decay)
    }
    /// Sets [`RmsPropOptions::momentum`].
    pub fn momentum(self, momentum: f64) -> Self {
        self.set(|o| o.momentum = momentum)
    }
    /// Sets [`RmsPropOptions::centered`].
    pub fn centered(self, on: bool) -> Self {
        self.set(|o| o.centered = on)
    }
    /// Sets [`RmsPropOptions::maximize`].
    pub fn maximize(self, on: bool) -> Self {
        self.set(|o| o.maximize = on)
    }
}

impl Algorithm for RmsPropOptions {
    const NAME: &'static str = "RmsProp";
}

impl Options for RmsPropOptions {
    const BUFFER_NAMES: [&'static str; BUFFERS] = ["square_avg", "grad_avg", "momentum_buffer"];
    const ALWAYS: usize = 1;

    fn visit(&mut self, visit: Visit<'_>) {
        visit("lr", Field::Number(&mut self.lr));
        visit("alpha", Field::Number(&mut self.alpha));
        visit("eps", Field::Number(&mut self.eps));
        visit("weight_decay", Field::Number(&mut self.weight_decay));
        visit("momentum", Field::Number(&mut self.momentum));
        visit("centered", Field::Flag(&mut self.centered));
        visit("maximize", Field::Flag(&mut self.maximize));
    }
    fn check(&self) -> Result<()> {
        let (lr, eps) = (("lr", self.lr), ("eps", self.eps));
        let (decay, momentum) = (("weight_decay", self.weight_decay), ("momentum", self.momentum));
        require_nonnegative(Self::NAME, &[lr, eps, decay, momentum])?;
        require(Self::NAME, "alpha", self.alpha, (0.0..=1.0).contains(&self.alpha), "a number in [0, 1]")
    }
    fn lr_and_momentum(&mut self) -> (&mut f64, &mut f64) {
        (&mut self.lr, &mut self.momentum)
    }
    fn update<T: Float>(&self, x: &mut [T], gradient: &[T], memory: &mut Memory<T>) {
        let sign = T::of(if self.maximize { -1.0 } else { 1.0 });
        let (rate, decay, eps, momentum) =
            (T::of(-self.lr), T::of(self.weight_decay), T::of(self.eps), T::of(self.momentum));
        let (alpha, new) = (T::of(self.alpha), T::of(1.0 - self.alpha));
        let decayed = move |g: T, x: T| if decay == T::ZERO { sign * g } else { sign * g + decay * x };
        let square = move |s: T, g: T| alpha * s + new * g * g;
        let centre = move |a: T, g: T| a + new * (g - a);
        let plain = move |g: T, s: T| g / (s.sqrt() + eps);
        let centred = move |g: T, s: T, a: T| g / ((s - a * a).sqrt() + eps);

        memory.need(0, x.len());
        if self.centered {
            memory.need(1, x.len());
        }
        if self.momentum > 0.0 {
            memory.need(2, x.len());
        }
        let [s, a, b] = &mut memory.buffers;
        match (self.centered, self.momentum > 0.0) {
            (false, false) => pass(x, gradient, [s], move |x, g, [s]| {
                let g = decayed(g, x);
                let s = square(s, g);
                (x + rate * plain(g, s), [s])
            }),
            (false, true) => pass(x, gradient, [s, b], move |x, g, [s, b]| {
                let g = decayed(g, x);
                let s = square(s, g);
                let b = momentum * b + plain(g, s);
                (x + rate * b, [s, b])
            }),
            (true, false) => pass(x, gradient, [s, a], move |x, g, [s, a]| {
                let g = decayed(g, x);
                let (s, a) = (square(s, g), centre(a, g));
                (x + rate * centred(g, s, a), [s, a])
            }),
            (true, true) => pass(x, gradient, [s, a, b], move |x, g, [s, a, b]| {
                let g = decayed(g, x);
                let (s, a) = (square(s, g), centre(a, g));
                let b = momentum * b + centred(g, s, a);
                (x + rate * b, [s, a, b])
            }),
        }
    }
}
