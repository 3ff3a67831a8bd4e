//! What a value knows of the graph around it: whether it is tracked, its gradient, the node that made it, and
//! what it is a view of.
//!
//! A view whose base was written to in place has a new past: its node is made anew, as a window on what its
//! base is now, when it is next asked for (PyTorch's `DifferentiableViewMeta`).

use super::{
    hooks::Hooks,
    node::{Edge, Node, Owned, Parts},
    value::{Inner, Repr, Value},
};
use crate::{
    error::{Error, Result},
    op::{Op, arith, window},
};
use parking_lot::{Mutex, MutexGuard};
use std::sync::{Arc, atomic::Ordering};

/// The changeable part of a value.
#[derive(Default)]
pub(super) struct Meta {
    requires_grad: bool,
    grad: Option<Value>,
    /// The node that made the value and which of its results this is.
    grad_fn: Option<(Arc<Node>, u32)>,
    /// The version of the storage that a view's `grad_fn` belongs to.
    seen: u64,
    hooks: Option<Hooks>,
    retains_grad: bool,
}

impl Meta {
    /// Of a value that is result so of a node, or of none.
    pub fn of(grad_fn: Option<(Arc<Node>, u32)>, seen: u64) -> Meta {
        Meta { grad_fn, seen, ..Meta::default() }
    }
    /// Whether this owns no part of a graph.
    pub fn is_free(&self) -> bool {
        self.grad_fn.is_none() && self.grad.is_none()
    }
}

/// That a value is a view, and of what.
pub(super) struct ViewOf {
    /// Never a view itself.
    pub base: Value,
    pub creation: Creation,
}

/// How a view came to be: some may not be written to.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Creation {
    Plain,
    /// Under `no_grad`.
    NoGrad,
    /// Result number so of an operation with several.
    Several(&'static str, usize),
}

impl ViewOf {
    /// A view of `of`, or of what that is a view of.
    pub fn new(of: &Value, creation: Creation) -> Box<ViewOf> {
        let (base, inherited) = match &of.settled().0.view {
            Some(v) => (v.base.clone(), v.creation),
            None => (of.settled().clone(), Creation::Plain),
        };
        Box::new(ViewOf { base, creation: if creation == Creation::Plain { inherited } else { creation } })
    }
}

impl Creation {
    /// Why a view of this kind cannot be part of a graph any more once `what` has happened.
    fn refuse(self, what: &str) -> Error {
        Error::Autograd(match self {
            Creation::Several(op, i) => format!(
                "Output {i} of {op}Backward0 is a view and {what}. This view is the output of a function that returns multiple \
                 views. Such functions do not allow the output views to be modified inplace. You should replace the \
                 inplace operation by an out-of-place one"
            ),
            _ => format!(
                "A view was created in no_grad mode and {what} with grad mode enabled. Given that this use case is \
                 ambiguous and error-prone, it is forbidden. Move both the view and the inplace operation inside the \
                 no_grad block (if it is not to be tracked) or both outside (if it is)"
            ),
        })
    }
}

impl Value {
    fn meta(&self) -> MutexGuard<'_, Meta> {
        self.settled().0.meta.lock()
    }
    fn is_tracked(&self) -> bool {
        self.settled().0.tracked.load(Ordering::Acquire)
    }
    /// Whether gradients flow to or through the value.
    pub(crate) fn requires_grad(&self) -> bool {
        self.is_tracked()
            || self.settled().0.view.as_ref().is_some_and(|v| v.creation != Creation::NoGrad && v.base.is_tracked())
    }
    /// Whether the value was made by the user and not by a tracked operation.
    pub(crate) fn is_leaf(&self) -> bool {
        !self.requires_grad() || !matches!(self.edge(), Ok(Some(Edge::Node(..))) | Err(_))
    }
    pub(crate) fn set_requires_grad(&self, on: bool) -> Result<()> {
        if on && !self.ty().dtype.is_float() {
            let found = self.ty().dtype;
            return Err(Error::Autograd(format!(
                "only Tensors of floating point dtype can require gradients, found {found}"
            )));
        }
        if !self.is_leaf() {
            if on {
                return Ok(());
            }
            return Err(Error::Autograd(
                "you can only change requires_grad flags of leaf variables. If you want to use a computed variable in a \
                 subgraph that doesn't require differentiation use detach()"
                    .into(),
            ));
        }
        self.meta().requires_grad = on;
        self.settled().0.tracked.store(on, Ordering::Release);
        Ok(())
    }
    /// Makes the value result `index` of a node.
    pub(super) fn set_grad_fn(&self, node: Arc<Node>, index: u32) {
        let seen = self.version();
        self.replace_grad_fn(node, index, seen);
    }
    /// The new past of a value whose storage has this version; a gradient that it retains is that of the new one.
    fn replace_grad_fn(&self, node: Arc<Node>, index: u32, seen: u64) {
        let old = {
            let mut m = self.meta();
            if m.retains_grad
                && let Some((old, i)) = &m.grad_fn
            {
                old.move_retained(*i, &node, index);
            }
            m.seen = seen;
            m.grad_fn.replace((node, index))
        };
        self.settled().0.tracked.store(true, Ordering::Release);
        drop(old);
    }
    /// Cuts the value off its past.
    pub(crate) fn detach_in_place(&self) -> Result<()> {
        if self.settled().0.view.is_some() && self.requires_grad() {
            return Err(Error::Autograd("Can't detach views in-place. Use detach() instead".into()));
        }
        self.settled().0.tracked.store(false, Ordering::Release);
        let old = {
            let mut m = self.meta();
            (m.requires_grad, m.retains_grad) = (false, false);
            m.grad_fn.take()
        };
        drop(old);
        Ok(())
    }
    /// Names the node of a composite operation's result as PyTorch does. The operation's nodes are those from `since`.
    pub(super) fn label(&self, name: &'static str, since: u64) {
        // the nodes of what is pending are not made yet
        if !self.is_pending()
            && self.is_tracked()
            && let Some((n, _)) = &self.meta().grad_fn
        {
            n.label(name, since);
        }
    }
    /// As [`Value::label`], of an operation that saves constants only: it runs backward as often as one likes.
    pub(super) fn label_constant(&self, name: &'static str, since: u64) {
        self.label(name, since);
        if !self.is_pending()
            && let Some(n) = self.node()
        {
            n.saves_constants(since);
        }
    }
    /// Which of its node's results the value is.
    pub(super) fn output_nr(&self) -> usize {
        self.meta().grad_fn.as_ref().map_or(0, |f| f.1 as usize)
    }
    /// The node that made the value.
    pub(super) fn node(&self) -> Option<Arc<Node>> {
        if !self.is_tracked() { None } else { self.meta().grad_fn.as_ref().map(|f| f.0.clone()) }
    }
    /// Where a cotangent of the value goes; `None` if it is not tracked.
    ///
    /// # Errors
    /// A view that may not be used any more, since its base was written to.
    pub(super) fn edge(&self) -> Result<Option<Edge>> {
        if let Some(view) = &self.settled().0.view
            && view.base.is_tracked()
        {
            self.renew(view)?;
        }
        if !self.is_tracked() {
            return Ok(None);
        }
        let m = self.meta();
        Ok(match &m.grad_fn {
            Some((n, i)) => Some(Edge::Node(n.clone(), *i)),
            None => m.requires_grad.then(|| Edge::Leaf(self.settled().clone())),
        })
    }
    /// Gives a view the node of a window on its base if the base was written to since.
    fn renew(&self, view: &ViewOf) -> Result<()> {
        let now = self.version();
        if self.meta().seen == now {
            return Ok(());
        }
        let Some(edge) = view.base.edge()? else { return Ok(()) };
        let Repr::Stored { layout: of, .. } = view.base.repr() else { return Ok(()) };
        let Repr::Stored { layout, .. } = self.repr() else { return Ok(()) };
        match (view.creation, &edge) {
            (Creation::Plain, _) => {}
            // written to without a trace: the view is as untracked as before
            (Creation::NoGrad, Edge::Leaf(_)) => return Ok(()),
            (c, _) => return Err(c.refuse("its base or another view of its base has been modified inplace")),
        }
        let node =
            Node::of(window::window(layout, of), [(Some(edge), view.base.ty().clone())], self.ty().clone(), None);
        self.replace_grad_fn(node, 0, now);
        Ok(())
    }
    /// That an operation that records may write to the value.
    ///
    /// # Errors
    /// As PyTorch's `check_inplace`.
    pub(super) fn check_in_place(&self) -> Result<()> {
        if let Some(view) = &self.settled().0.view
            && (view.base.is_tracked() || self.is_tracked())
        {
            if view.creation != Creation::Plain {
                return Err(view.creation.refuse("is being modified inplace"));
            }
            if view.base.is_tracked() && view.base.is_leaf() {
                return Err(Error::Autograd(
                    "a view of a leaf Variable that requires grad is being used in an in-place operation; wrap it in \
                     no_grad"
                        .into(),
                ));
            }
        }
        if self.is_tracked() && self.is_leaf() {
            return Err(Error::Autograd(
                "a leaf Variable that requires grad is being used in an in-place operation; wrap it in no_grad".into(),
            ));
        }
        Ok(())
    }
    /// That a view of this kind may take part in tracked writing at all, whoever is tracked.
    pub(super) fn check_view_kind(&self) -> Result<()> {
        match &self.settled().0.view {
            Some(v) if v.creation != Creation::Plain => Err(v.creation.refuse("is being modified inplace")),
            _ => Ok(()),
        }
    }

    pub(crate) fn grad(&self) -> Option<Value> {
        self.meta().grad.clone()
    }
    pub(crate) fn set_grad(&self, g: Option<Value>) {
        let old = std::mem::replace(&mut self.meta().grad, g);
        // dropped after the lock: it may own a graph
        drop(old);
    }
    /// Adds a gradient to `.grad`: in place, so that `.grad` stays the tensor it is, but out of place where a
    /// graph is built. One thread after the other.
    pub(super) fn accumulate(&self, ct: Value, create_graph: bool) -> Result<()> {
        // not the lock of `meta`, which recording may want
        static LOCKS: [Mutex<()>; 64] = [const { Mutex::new(()) }; 64];
        let _one_by_one = LOCKS[(self.address() >> 6) % LOCKS.len()].lock();
        let new = match self.grad() {
            // a gradient with a past of its own is not written to
            Some(g) if create_graph || g.requires_grad() => super::dispatch::sum(&g, &ct)?,
            Some(g) => return super::inplace::add_assign(&g, &ct),
            None if ct.is_sole_owner() && ct.is_contiguous() => ct,
            // never the caller's tensor, nor another leaf's
            None if create_graph => super::dispatch::eager(Op::new(&arith::COPY), &[&ct])?,
            None => Value::stored(ct.to_array()),
        };
        self.set_grad(Some(new));
        Ok(())
    }
    /// Keeps the gradient of a value that is no leaf.
    pub(crate) fn retain_grad(&self) -> Result<()> {
        match self.edge()? {
            None => Err(Error::Autograd("can't retain_grad on Tensor that has requires_grad=False".into())),
            Some(Edge::Leaf(_)) => Ok(()),
            Some(Edge::Node(n, i)) => {
                if !std::mem::replace(&mut self.meta().retains_grad, true) {
                    n.retain(i, self.downgrade());
                }
                Ok(())
            }
        }
    }
    pub(crate) fn retains_grad(&self) -> bool {
        self.meta().retains_grad
    }
    /// The hooks of a leaf, made if there are none.
    pub(super) fn leaf_hooks(&self) -> Hooks {
        self.meta().hooks.get_or_insert_default().clone()
    }
    /// The hooks of a leaf, if any were ever registered.
    pub(super) fn existing_leaf_hooks(&self) -> Option<Hooks> {
        self.meta().hooks.clone()
    }
    /// What a value owns of graphs, taken out so that it can be dropped without recursion.
    pub(super) fn take_graph(inner: &mut Inner, sink: &mut Parts) {
        let m = inner.meta.get_mut();
        if let Some((node, _)) = m.grad_fn.take() {
            sink.push(Owned::Node(node));
        }
        if let Some(g) = m.grad.take() {
            sink.push(Owned::Value(g));
        }
        if let Some(view) = inner.view.take() {
            sink.push(Owned::Value(view.base));
        }
    }
}
