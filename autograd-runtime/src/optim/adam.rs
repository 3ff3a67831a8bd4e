//! Adam (Kingma and Ba, 2015; AMSGrad by Reddi, Kale and Kumar, 2018) and AdamW (Loshchilov and Hutter, 2019).

use super::{
    group::{Algorithm, BUFFERS, Field, Memory, Optimizer, Options, Visit, pass},
    require, require_nonnegative,
};
use crate::{array::Float, error::Result, tensor::Tensor};
use std::borrow::Borrow;

/// Adam: `g += λ·x;  m ← β₁·m + (1−β₁)·g;  v ← β₂·v + (1−β₂)·g²;  x −= lr·m̂/(√v̂ + ε)` with `m̂ = m/(1−β₁ᵗ)` and
/// `v̂ = v/(1−β₂ᵗ)` at step t. AMSGrad puts the largest v so far in place of v.
///
/// ```
/// use autograd_runtime::{Tensor, optim::Adam};
/// let x = Tensor::from_vec(vec![1.0f64, 2.0], [2]);
/// let mut adam = Adam::new(&[x.clone()], 0.1).betas(0.9, 0.99);
/// adam.step_with([&x * 2.0])?;
/// assert!((x.to_vec()[0] - 0.9).abs() < 1e-8);
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
pub type Adam<T> = Optimizer<T, AdamOptions<false>>;

/// [`Adam`] with weight decay apart from the gradient: `x ← (1 − lr·λ)·x` before the step, with λ = 0.01 as default.
///
/// ```
/// use autograd_runtime::{Tensor, optim::AdamW};
/// let x = Tensor::from_vec(vec![1.0f64, 2.0], [2]);
/// let mut adam = AdamW::new(&[x.clone()], 0.1).weight_decay(0.5);
/// adam.step_with([&x * 2.0])?;
/// assert!((x.to_vec()[0] - (0.95 - 0.1)).abs() < 1e-8);
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
pub type AdamW<T> = Optimizer<T, AdamOptions<true>>;

/// The options of [`Adam`] and, where `DECOUPLED`, of [`AdamW`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamOptions<const DECOUPLED: bool> {
    /// The learning rate.
    pub lr: f64,
    /// β₁ and β₂: how much of the mean and of the mean square a step keeps.
    pub betas: (f64, f64),
    /// ε, added to the root of the mean square.
    pub eps: f64,
    /// λ, the weight decay.
    pub weight_decay: f64,
    /// Whether to divide by the largest mean square so far.
    pub amsgrad: bool,
    /// Whether to ascend.
    pub maximize: bool,
}

impl<const DECOUPLED: bool> Default for AdamOptions<DECOUPLED> {
    fn default() -> Self {
        let weight_decay = if DECOUPLED { 1e-2 } else { 0.0 };
        AdamOptions { lr: 1e-3, betas: (0.9, 0.999), eps: 1e-8, weight_decay, amsgrad: false, maximize: false }
    }
}

impl<T: Float, const DECOUPLED: bool> Optimizer<T, AdamOptions<DECOUPLED>> {
    /// Adam over leaves with the default options.
    pub fn new<P: Borrow<Tensor<T>>>(params: impl IntoIterator<Item = P>, lr: f64) -> Self {
        Self::with_options(params, AdamOptions { lr, ..AdamOptions::default() })
    }
    /// Sets [`AdamOptions::betas`].
    pub fn betas(self, beta1: f64, beta2: f64) -> Self {
        self.set(|o| o.betas = (beta1, beta2))
    }
    /// Sets [`AdamOptions::eps`].
    pub fn eps(self, eps: f64) -> Self {
        self.set(|o| o.eps = eps)
    }
    /// Sets [`AdamOptions::weight_decay`].
    pub fn weight_decay(self, weight_decay: f64) -> Self {
        self.set(|o| o.weight_decay = weight_decay)
    }
    /// Sets [`AdamOptions::amsgrad`].
    pub fn amsgrad(self, on: bool) -> Self {
        self.set(|o| o.amsgrad = on)
    }
    /// Sets [`AdamOptions::maximize`].
    pub fn maximize(self, on: bool) -> Self {
        self.set(|o| o.maximize = on)
    }
}

impl<const DECOUPLED: bool> Algorithm for AdamOptions<DECOUPLED> {
    const NAME: &'static str = if DECOUPLED { "AdamW" } else { "Adam" };
}

impl<const DECOUPLED: bool> Options for AdamOptions<DECOUPLED> {
    const BUFFER_NAMES: [&'static str; BUFFERS] = ["exp_avg", "exp_avg_sq", "max_exp_avg_sq"];
    const ALWAYS: usize = 2;

    fn visit(&mut self, visit: Visit<'_>) {
        visit("lr", Field::Number(&mut self.lr));
        visit("beta1", Field::Number(&mut self.betas.0));
        visit("beta2", Field::Number(&mut self.betas.1));
        visit("eps", Field::Number(&mut self.eps));
        visit("weight_decay", Field::Number(&mut self.weight_decay));
        visit("amsgrad", Field::Flag(&mut self.amsgrad));
        visit("maximize", Field::Flag(&mut self.maximize));
    }
    fn check(&self) -> Result<()> {
        let options = [("lr", self.lr), ("eps", self.eps), ("weight_decay", self.weight_decay)];
        require_nonnegative(Self::NAME, &options)?;
        let betas = [("beta1", self.betas.0), ("beta2", self.betas.1)];
        betas
            .iter()
            .try_for_each(|&(name, x)| require(Self::NAME, name, x, (0.0..1.0).contains(&x), "a number in [0, 1)"))
    }
    fn lr_and_momentum(&mut self) -> (&mut f64, &mut f64) {
        (&mut self.lr, &mut self.betas.0)
    }
    fn update<T: Float>(&self, x: &mut [T], gradient: &[T], memory: &mut Memory<T>) {
        let (beta1, beta2) = self.betas;
        let t = memory.step as f64;
        let rate = T::of(-self.lr / (1.0 - beta1.powf(t)));
        let unbias = T::of(1.0 / (1.0 - beta2.powf(t)).sqrt());
        let sign = T::of(if self.maximize { -1.0 } else { 1.0 });
        let (shrink, decay) =
            if DECOUPLED { (1.0 - self.lr * self.weight_decay, 0.0) } else { (1.0, self.weight_decay) };
        let (shrink, decay, eps) = (T::of(shrink), T::of(decay), T::of(self.eps));
        let (new1, beta2, new2) = (T::of(1.0 - beta1), T::of(beta2), T::of(1.0 - beta2));

        // the moments after the step, and what x becomes given the mean square to divide by
        let moments = move |x: T, g: T, m: T, v: T| {
            let g = if decay == T::ZERO { sign * g } else { sign * g + decay * x };
            (m + new1 * (g - m), beta2 * v + new2 * g * g)
        };
        let moved = move |x: T, m: T, v: T| shrink * x + rate * m / (v.sqrt() * unbias + eps);

        memory.need(0, x.len());
        memory.need(1, x.len());
        if self.amsgrad {
            memory.need(2, x.len());
            let state = memory.buffers.each_mut().map(Vec::as_mut_slice);
            return pass(x, gradient, state, move |x, g, [m, v, largest]| {
                let (m, v) = moments(x, g, m, v);
                // a NaN in v enters
                let largest = if largest >= v { largest } else { v };
                (moved(x, m, largest), [m, v, largest])
            });
        }
        let [m, v, _] = &mut memory.buffers;
        pass(x, gradient, [m, v], move |x, g, [m, v]| {
            let (m, v) = moments(x, g, m, v);
            (moved(x, m, v), [m, v])
        });
    }
}
