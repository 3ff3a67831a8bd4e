//! A tensor's place in the graph, as the user sees it: tracking, gradients, hooks.

use super::{
    hooks::{HookHandle, HookResult},
    node::{Edge, GradFn},
    typed::{Tensor, report},
    value::{Value, WeakValue},
};
use crate::{
    array::{Element, Float},
    error::{Error, Result},
    session,
};
use std::{fmt, marker::PhantomData, sync::Arc};

impl Value {
    pub(super) fn grad_fn(&self) -> Option<GradFn> {
        session::needs_tape();
        match self.edge() {
            Ok(Some(e @ Edge::Node(..))) => Some(GradFn(e)),
            _ => None,
        }
    }
}

impl<T: Element> Tensor<T> {
    /// Whether the tensor was made by the program and not by a tracked operation. Untracked tensors are leaves.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::<f64>::ones([2]).requires_grad_(true);
    /// let y = &x * 2.0;
    /// assert!(x.is_leaf() && !y.is_leaf() && y.detach().is_leaf());
    /// ```
    pub fn is_leaf(&self) -> bool {
        self.value().is_leaf()
    }
    /// Whether gradients flow to or through the tensor.
    pub fn requires_grad(&self) -> bool {
        self.value().requires_grad()
    }
    /// Switches tracking of a leaf.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::<f64>::ones([2]);
    /// x.set_requires_grad(true)?;
    /// assert!((&x + 1.0).set_requires_grad(false).is_err());
    /// # Ok::<(), autograd_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    /// On integers and truth values, and when switching it off on a tensor that is no leaf.
    pub fn set_requires_grad(&self, on: bool) -> Result<()> {
        session::needs_tape();
        self.value().set_requires_grad(on)
    }
    /// The node of the tape that made this tensor; none for leaves.
    pub fn grad_fn(&self) -> Option<GradFn> {
        self.value().grad_fn()
    }
    /// Which of the results of its [`grad_fn`](Tensor::grad_fn) this is: 0 but for functions of several results.
    pub fn output_nr(&self) -> usize {
        session::needs_tape();
        self.value().output_nr()
    }
    /// A handle that does not keep the tensor alive: for a hook that uses the tensor it is registered on. A closure
    /// that owned the tensor would keep itself alive through it for ever.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::<f64>::ones([2]).requires_grad_(true);
    /// let weak = x.downgrade();
    /// x.register_hook(move |g: &Tensor<f64>| weak.upgrade().map(|x| g * x.detach()))?;
    /// # Ok::<(), autograd_runtime::Error>(())
    /// ```
    pub fn downgrade(&self) -> WeakTensor<T> {
        WeakTensor(self.value().downgrade(), PhantomData)
    }
    /// Whether both are handles of one tensor: PyTorch's `is`.
    pub fn is_same(&self, other: &Tensor<T>) -> bool {
        self.value().same(other.value())
    }
}

/// A tensor that is not kept alive: see [`Tensor::downgrade`].
#[derive(Clone)]
pub struct WeakTensor<T>(WeakValue, PhantomData<T>);
impl<T: Element> WeakTensor<T> {
    /// The tensor, if anyone still holds it.
    pub fn upgrade(&self) -> Option<Tensor<T>> {
        self.0.upgrade().map(Tensor::from_value)
    }
}
impl<T> fmt::Debug for WeakTensor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(WeakTensor)")
    }
}

impl<T: Float> Tensor<T> {
    /// The accumulated gradient, of this tensor's shape; none before the first backward. Backward adds to this very
    /// tensor. Only tracked leaves have one, and results that [`retain_grad`](Tensor::retain_grad) was called on.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![1.0, 2.0], [2]).requires_grad_(true);
    /// assert!(x.grad().is_none());
    /// for _ in 0..2 {
    ///     x.square().sum().backward()?;
    /// }
    /// assert_eq!(x.grad().unwrap().to_vec(), [4.0, 8.0]);
    /// x.zero_grad();
    /// assert!(x.grad().is_none());
    /// # Ok::<(), autograd_runtime::Error>(())
    /// ```
    pub fn grad(&self) -> Option<Tensor<T>> {
        self.value().grad().map(Tensor::from_value)
    }
    /// Replaces or clears the accumulated gradient.
    ///
    /// # Errors
    /// If the shapes differ or the gradient is the tensor itself.
    pub fn set_grad(&self, g: Option<&Tensor<T>>) -> Result<()> {
        if let Some(g) = g {
            if g.value().same(self.value()) {
                return Err(Error::Autograd("can't assign Variable as its own grad".into()));
            }
            if g.shape() != self.shape() {
                return Err(Error::Autograd(format!(
                    "attempting to assign a gradient of size '{:?}' to a tensor of size '{:?}'. Please ensure that the \
                     gradient and the tensor are the same size",
                    g.shape(),
                    self.shape()
                )));
            }
        }
        self.value().set_grad(g.map(|g| g.value().clone()));
        Ok(())
    }
    /// Clears the accumulated gradient: the next backward starts from none.
    pub fn zero_grad(&self) {
        self.value().set_grad(None);
    }
    /// Keeps the gradient of a tensor that is no leaf: after backward it stands in `.grad`.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::scalar(3.0f64).requires_grad_(true);
    /// let y = x.square();
    /// y.retain_grad()?;
    /// (&y * 5.0).backward()?;
    /// assert_eq!(y.grad().unwrap().item(), 5.0);
    /// # Ok::<(), autograd_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the tensor is not tracked.
    pub fn retain_grad(&self) -> Result<()> {
        session::needs_tape();
        self.value().retain_grad()
    }
    /// Whether the gradient of this tensor, which is no leaf, is kept.
    pub fn retains_grad(&self) -> bool {
        self.value().retains_grad()
    }
    /// Registers a closure that sees the tensor's whole gradient in backward, before it goes on; what it returns
    /// (nothing, a tensor, an option or a `Result` of these) takes its place. Hooks run in the order of registration. A
    /// hook that uses this tensor itself should own a [`downgrade`](Tensor::downgrade)d handle.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![1.0f64, 2.0], [2]).requires_grad_(true);
    /// let y = &x * 3.0;
    /// let handle = y.register_hook(|g: &Tensor<f64>| g * 10.0)?;
    /// y.sum().backward()?;
    /// assert_eq!(x.grad().unwrap().to_vec(), [30.0, 30.0]);
    /// handle.remove();
    /// # Ok::<(), autograd_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the tensor is not tracked.
    pub fn register_hook<R: HookResult<T>>(
        &self,
        f: impl Fn(&Tensor<T>) -> R + Send + Sync + 'static,
    ) -> Result<HookHandle> {
        session::needs_tape();
        let run = move |g: Value| {
            let new = f(&Tensor::from_value(g)).replacement()?;
            Ok(new.map(|t| t.value().clone()))
        };
        match self.value().edge()? {
            None => Err(Error::Autograd("cannot register a hook on a tensor that doesn't require gradient".into())),
            Some(Edge::Node(n, i)) => Ok(n.hooks().on_grad(i, Arc::new(run))),
            Some(Edge::Leaf(leaf)) => Ok(leaf.leaf_hooks().on_grad(0, Arc::new(run))),
        }
    }
    /// Registers a closure that runs after backward has accumulated into this leaf's `.grad`, with the leaf: an
    /// optimiser may step there and drop the gradient.
    ///
    /// ```
    /// use autograd_runtime::{Tensor, no_grad};
    /// let w = Tensor::from_vec(vec![1.0, 2.0], [2]).requires_grad_(true);
    /// w.register_post_accumulate_grad_hook(|w| {
    ///     no_grad(|| w.sub_(w.grad().unwrap() * 0.5));
    ///     w.zero_grad();
    /// })?;
    /// w.sum().backward()?;
    /// assert_eq!((w.to_vec(), w.grad().is_none()), (vec![0.5, 1.5], true));
    /// # Ok::<(), autograd_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the tensor is no leaf, or not tracked.
    pub fn register_post_accumulate_grad_hook(
        &self,
        f: impl Fn(&Tensor<T>) + Send + Sync + 'static,
    ) -> Result<HookHandle> {
        session::needs_tape();
        let run = move |v: Value| {
            f(&Tensor::from_value(v));
            Ok(())
        };
        match self.value().edge()? {
            Some(Edge::Leaf(leaf)) => Ok(leaf.leaf_hooks().on_leaf(Arc::new(run))),
            Some(Edge::Node(..)) => {
                Err(Error::Autograd("post accumulate grad hooks cannot be registered on non-leaf tensors".into()))
            }
            None => Err(Error::Autograd("cannot register a hook on a tensor that doesn't require gradient".into())),
        }
    }
    /// This leaf, tracked or not; the tensor itself is changed, all its handles see it. Panics (or fails the running
    /// entry point) where [`set_requires_grad`](Tensor::set_requires_grad) gives an error.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::<f32>::ones([2]).requires_grad_(true);
    /// assert_eq!((&x + 2.0).to_string(), "tensor([3., 3.], grad_fn=<AddBackward0>)");
    /// ```
    #[track_caller]
    #[must_use]
    pub fn requires_grad_(self, on: bool) -> Self {
        if let Err(e) = self.set_requires_grad(on) {
            report(e);
        }
        self
    }
}
