//! Groups of parameters, each with its own options, and the optimiser that runs an algorithm over them.
//!
//! A step first collects and checks all gradients, then moves one parameter after the other: nothing is half done.

use super::{Rates, Scheduled, check_gradient, parameters, shares};
use crate::{
    array::Float,
    error::{Error, Result},
    tensor::{Tensor, no_grad},
};
use std::borrow::Borrow;

/// The most buffers that an algorithm keeps of a parameter.
pub(crate) const BUFFERS: usize = 3;

/// What an optimiser remembers of one parameter.
#[derive(Clone, Debug)]
pub struct Memory<T> {
    /// How often the parameter was moved.
    pub(crate) step: u64,
    /// As long as the parameter, or empty where the options have not needed them.
    pub(crate) buffers: [Vec<T>; BUFFERS],
}

impl<T: Float> Memory<T> {
    pub(crate) fn new() -> Self {
        Memory { step: 0, buffers: [const { Vec::new() }; BUFFERS] }
    }
    /// Makes the first use of a buffer zeros.
    pub(crate) fn need(&mut self, buffer: usize, n: usize) {
        if self.buffers[buffer].len() != n {
            self.buffers[buffer] = vec![T::ZERO; n];
        }
    }
}

/// One option of an algorithm, for saving and loading.
#[derive(Debug)]
pub enum Field<'a> {
    Number(&'a mut f64),
    Count(&'a mut usize),
    Flag(&'a mut bool),
}

/// Takes what an option is called, and the option.
pub type Visit<'v> = &'v mut dyn FnMut(&'static str, Field<'_>);

/// An algorithm with its options: how one parameter moves against its gradient. Implemented by the options of this
/// module's algorithms, and by nothing else.
pub trait Algorithm: Copy + std::fmt::Debug + PartialEq + Send + Sync + 'static + Options {
    /// The name that error texts and saved states have.
    const NAME: &'static str;
}

/// The inner side of [`Algorithm`].
pub trait Options {
    /// What the buffers are called in a saved state.
    #[doc(hidden)]
    const BUFFER_NAMES: [&'static str; BUFFERS];
    /// How many of the buffers a parameter that was ever moved always has.
    #[doc(hidden)]
    const ALWAYS: usize;
    #[doc(hidden)]
    fn visit(&mut self, visit: Visit<'_>);
    #[doc(hidden)]
    fn check(&self) -> Result<()>;
    #[doc(hidden)]
    fn lr_and_momentum(&mut self) -> (&mut f64, &mut f64);
    /// Moves a parameter. `memory.step` counts this step already.
    #[doc(hidden)]
    fn update<T: Float>(&self, x: &mut [T], gradient: &[T], memory: &mut Memory<T>);
}

/// Parameters that share options.
#[derive(Debug)]
pub struct ParamGroup<T: Float, A> {
    pub(crate) params: Vec<Tensor<T>>,
    pub(crate) memories: Vec<Memory<T>>,
    pub(crate) initial_lr: Option<f64>,
    /// The options of the algorithm, free to be changed between steps.
    pub options: A,
}

impl<T: Float, A> ParamGroup<T, A> {
    /// The parameters of the group.
    pub fn params(&self) -> &[Tensor<T>] {
        &self.params
    }
}

/// An optimiser: an algorithm run over groups of parameters. [`Sgd`](super::Sgd), [`Adam`](super::Adam),
/// [`AdamW`](super::AdamW) and [`RmsProp`](super::RmsProp) are its forms.
///
/// Parameters are leaves; the optimiser holds clones, which share the elements.
///
/// ```
/// use autograd_runtime::{Tensor, optim::{Adam, AdamOptions}};
/// let (body, head) = (Tensor::<f32>::ones([3]), Tensor::<f32>::ones([2]));
/// let mut optimizer = Adam::new(&[body], 1e-3);
/// optimizer.add_param_group(&[head], AdamOptions { lr: 1e-2, ..*optimizer.defaults() })?;
/// optimizer.groups_mut()[0].options.lr *= 0.5;
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
#[derive(Debug)]
pub struct Optimizer<T: Float, A> {
    pub(crate) groups: Vec<ParamGroup<T, A>>,
    defaults: A,
    /// What was wrong with the first parameters.
    invalid: Option<Error>,
    /// The gradients of the running step; empty between steps.
    gradients: Vec<Option<Tensor<T>>>,
}

impl<T: Float, A: Algorithm> Optimizer<T, A> {
    pub(crate) fn with_options<P: Borrow<Tensor<T>>>(params: impl IntoIterator<Item = P>, options: A) -> Self {
        let mut this = Optimizer { groups: Vec::new(), defaults: options, invalid: None, gradients: Vec::new() };
        this.invalid = match parameters(params, std::iter::empty()) {
            Ok(params) if params.is_empty() => {
                Some(Error::value(A::NAME, "expected at least one parameter, found none"))
            }
            Ok(params) => {
                this.push(params, options);
                None
            }
            Err(e) => Some(e),
        };
        this
    }
    fn push(&mut self, params: Vec<Tensor<T>>, options: A) {
        let memories = params.iter().map(|_| Memory::new()).collect();
        self.groups.push(ParamGroup { params, memories, initial_lr: None, options });
    }
    /// Sets an option of all groups and of those to come.
    pub(crate) fn set(mut self, set: impl Fn(&mut A)) -> Self {
        set(&mut self.defaults);
        self.groups.iter_mut().for_each(|g| set(&mut g.options));
        self
    }

    /// Adds parameters with options of their own.
    ///
    /// # Errors
    /// On wrong options, on a parameter that an optimiser cannot move (not a leaf, a strided view) and on one that
    /// it has already.
    pub fn add_param_group<P: Borrow<Tensor<T>>>(
        &mut self,
        params: impl IntoIterator<Item = P>,
        options: A,
    ) -> Result<()> {
        options.check()?;
        let params = parameters(params, self.groups.iter().flat_map(|g| &g.params))?;
        self.push(params, options);
        Ok(())
    }
    /// The options that the optimiser was made with.
    pub fn defaults(&self) -> &A {
        &self.defaults
    }
    /// The groups, in the order in which they were added.
    pub fn groups(&self) -> &[ParamGroup<T, A>] {
        &self.groups
    }
    /// The groups, to change their options.
    pub fn groups_mut(&mut self) -> &mut [ParamGroup<T, A>] {
        &mut self.groups
    }
    /// Clears the gradient of every parameter: it is none until the next `backward`.
    pub fn zero_grad(&self) {
        self.groups.iter().for_each(|g| super::zero_grad(&g.params));
    }
    /// Sets the elements of the gradients to 0 and keeps their buffers.
    ///
    /// # Errors
    /// None that a gradient of `backward` can cause.
    pub fn zero_grad_in_place(&self) -> Result<()> {
        self.groups.iter().try_for_each(|g| super::zero_grad_in_place(&g.params))
    }

    /// Moves each parameter against its accumulated gradient. Parameters without a gradient stay.
    ///
    /// # Errors
    /// On wrong options or parameters. Nothing is changed then.
    pub fn step(&mut self) -> Result<()> {
        self.gradients.clear();
        self.gradients.extend(self.groups.iter().flat_map(|g| &g.params).map(Tensor::grad));
        self.checked_move()
    }
    /// Moves each parameter against a given gradient: one for each parameter, in the order in which they were added.
    ///
    /// ```
    /// use autograd_runtime::{Tensor, optim::Sgd};
    /// let (a, b) = (Tensor::<f64>::ones([2]), Tensor::scalar(3.0));
    /// let mut sgd = Sgd::new([&a, &b], 0.5);
    /// sgd.step_with([&Tensor::ones([2]), &Tensor::scalar(2.0)])?;
    /// assert_eq!((a.to_vec(), b.item()), (vec![0.5, 0.5], 2.0));
    /// # Ok::<(), autograd_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    /// On wrong options or parameters, and if the number of gradients or a shape differs. Nothing is changed then.
    pub fn step_with<G: Borrow<Tensor<T>>>(&mut self, gradients: impl IntoIterator<Item = G>) -> Result<()> {
        self.gradients.clear();
        self.gradients.extend(gradients.into_iter().map(|g| Some(g.borrow().clone())));
        self.checked_move()
    }

    fn checked_move(&mut self) -> Result<()> {
        let done = self.check().and_then(|()| no_grad(|| self.advance()));
        self.gradients.clear();
        done
    }
    fn check(&self) -> Result<()> {
        if let Some(e) = &self.invalid {
            return Err(e.clone());
        }
        self.groups.iter().try_for_each(|g| g.options.check())?;
        let params: usize = self.groups.iter().map(|g| g.params.len()).sum();
        if self.gradients.len() != params {
            let want = format!("a gradient for each of {params} parameters");
            return Err(Error::shape(A::NAME, want, self.gradients.len().to_string()));
        }
        let params = self.groups.iter().flat_map(|g| &g.params);
        for (i, (p, gradient)) in params.zip(&self.gradients).enumerate() {
            if !p.is_leaf() {
                let what = "expected a leaf, found a result of tracked operations";
                return Err(Error::value(A::NAME, format!("parameter {i}: {what}")));
            }
            gradient.as_ref().map_or(Ok(()), |g| check_gradient(i, p, g))?;
        }
        Ok(())
    }
    /// Cannot fail on what was checked.
    fn advance(&mut self) -> Result<()> {
        let mut gradients = self.gradients.iter();
        for group in &mut self.groups {
            let options = group.options;
            for (p, memory) in group.params.iter().zip(&mut group.memories) {
                let Some(Some(gradient)) = gradients.next() else { continue };
                memory.step = memory.step.saturating_add(1);
                let mut go = |g: &[T]| p.update(|x| options.update(x, g, memory));
                // a gradient that is the parameter's own storage cannot be locked for reading beside it
                if shares(p, gradient) { go(&gradient.to_vec())? } else { gradient.with_data(go)? }
            }
        }
        Ok(())
    }
}

impl<T: Float, A: Algorithm> Scheduled for Optimizer<T, A> {
    fn rates(&mut self) -> Vec<Rates<'_>> {
        let rates = self.groups.iter_mut().map(|g| {
            let (lr, momentum) = g.options.lr_and_momentum();
            Rates { lr, initial_lr: &mut g.initial_lr, momentum: Some(momentum) }
        });
        rates.collect()
    }
}

/// Elements that one thread works through.
const GRAIN: usize = 1 << 16;

/// Moves a parameter in one pass: `to` gives an element and its state after the step from the element, its gradient and
/// its state before. Several threads work on a long parameter.
pub(crate) fn pass<T: Float, const N: usize>(
    x: &mut [T],
    gradient: &[T],
    state: [&mut [T]; N],
    to: impl Fn(T, T, [T; N]) -> (T, [T; N]) + Copy + Send + Sync,
) {
    if x.len() <= GRAIN {
        return sweep(x, gradient, state, to);
    }
    // a whole number of cache lines
    let half = (x.len() / 2).next_multiple_of(64);
    let (x, x2) = x.split_at_mut(half);
    let (gradient, gradient2) = gradient.split_at(half);
    let mut second = [const { None }; N];
    let mut ends = second.iter_mut();
    let first = state.map(|s| {
        let (s, s2) = s.split_at_mut(half);
        if let Some(end) = ends.next() {
            *end = Some(s2);
        }
        s
    });
    let second = second.map(Option::unwrap_or_default);
    rayon::join(|| pass(x, gradient, first, to), || pass(x2, gradient2, second, to));
}

/// [`pass`] on one thread. `to` comes by value: a captured number read through a reference could, for all that the
/// compiler knows, change with x, and the loop would not be vectorised.
fn sweep<T: Float, const N: usize>(
    x: &mut [T],
    gradient: &[T],
    state: [&mut [T]; N],
    to: impl Fn(T, T, [T; N]) -> (T, [T; N]),
) {
    let n = x.len();
    let (gradient, mut state) = (&gradient[..n], state.map(|s| &mut s[..n]));
    for i in 0..n {
        let (moved, new) = to(x[i], gradient[i], std::array::from_fn(|k| state[k][i]));
        x[i] = moved;
        for (s, new) in state.iter_mut().zip(new) {
            s[i] = new;
        }
    }
}
