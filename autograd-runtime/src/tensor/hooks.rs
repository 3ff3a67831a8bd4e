//! Hooks: closures of the user that see, and may replace, gradients on their way through backward.
//!
//! A tensor's hooks live on the node that made it (so that a write in place leaves the old ones where they were),
//! a leaf's on the leaf. They run on the whole gradient, after all its parts have been summed, in the order of
//! their registration. No lock is held while one runs: a hook may call backward.

use super::{
    typed::Tensor,
    value::{Value, WeakValue},
};
use crate::{
    array::Float,
    error::{Error, Result},
    ty::Ty,
};
use parking_lot::Mutex;
use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

/// What a hook on a tensor's gradient may return: nothing, or what is to take the gradient's place.
pub trait HookResult<T> {
    #[doc(hidden)]
    fn replacement(self) -> Result<Option<Tensor<T>>>;
}
impl<T> HookResult<T> for () {
    fn replacement(self) -> Result<Option<Tensor<T>>> {
        Ok(None)
    }
}
impl<T> HookResult<T> for Tensor<T> {
    fn replacement(self) -> Result<Option<Tensor<T>>> {
        Ok(Some(self))
    }
}
impl<T> HookResult<T> for Option<Tensor<T>> {
    fn replacement(self) -> Result<Option<Tensor<T>>> {
        Ok(self)
    }
}
impl<T, R: HookResult<T>> HookResult<T> for Result<R> {
    fn replacement(self) -> Result<Option<Tensor<T>>> {
        self?.replacement()
    }
}

/// Gradients of a node's results or arguments; `None` where there is none.
pub type Grads<T> = Vec<Option<Tensor<T>>>;
/// On the gradient of one value.
pub(super) type OnGrad = Arc<dyn Fn(Value) -> Result<Option<Value>> + Send + Sync>;
/// On a leaf whose gradient has just been accumulated.
pub(super) type OnLeaf = Arc<dyn Fn(Value) -> Result<()> + Send + Sync>;
type Values = Vec<Option<Value>>;
/// Before a node: its incoming gradients.
pub(super) type Before = Arc<dyn Fn(&Values) -> Result<Option<Values>> + Send + Sync>;
/// After a node: what it gave, and what it was given.
pub(super) type After = Arc<dyn Fn(&Values, &Values) -> Result<Option<Values>> + Send + Sync>;

#[derive(Clone)]
enum Hook {
    /// On result number so.
    Grad(u32, OnGrad),
    Leaf(OnLeaf),
    Before(Before),
    After(After),
}

/// The hooks of one node or leaf, in the order of registration.
#[derive(Clone, Default)]
pub(super) struct Hooks(Arc<Mutex<List>>);
#[derive(Default)]
struct List {
    hooks: Vec<(u64, Hook)>,
    /// Values that keep the gradient of result number so.
    retained: Vec<(u32, WeakValue)>,
}

/// Takes a registered hook away again. Dropping the handle leaves the hook.
pub struct HookHandle {
    list: Weak<Mutex<List>>,
    id: u64,
}
impl HookHandle {
    /// Removes the hook; it will not run again.
    pub fn remove(&self) {
        if let Some(list) = self.list.upgrade() {
            let removed = {
                let mut list = list.lock();
                let at = list.hooks.iter().position(|h| h.0 == self.id);
                at.map(|i| list.hooks.remove(i))
            };
            // dropped after the lock: a closure may own tensors
            drop(removed);
        }
    }
}
impl fmt::Debug for HookHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HookHandle({})", self.id)
    }
}

impl Hooks {
    fn add(&self, hook: Hook) -> HookHandle {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        self.0.lock().hooks.push((id, hook));
        HookHandle { list: Arc::downgrade(&self.0), id }
    }
    pub fn on_grad(&self, index: u32, f: OnGrad) -> HookHandle {
        self.add(Hook::Grad(index, f))
    }
    pub fn on_leaf(&self, f: OnLeaf) -> HookHandle {
        self.add(Hook::Leaf(f))
    }
    pub fn before(&self, f: Before) -> HookHandle {
        self.add(Hook::Before(f))
    }
    pub fn after(&self, f: After) -> HookHandle {
        self.add(Hook::After(f))
    }
    pub fn retain(&self, index: u32, v: WeakValue) {
        self.0.lock().retained.push((index, v));
    }
    pub fn take_retained(&self, index: u32) -> Vec<WeakValue> {
        let mut list = self.0.lock();
        let (taken, kept) = std::mem::take(&mut list.retained).into_iter().partition(|r| r.0 == index);
        list.retained = kept;
        taken.into_iter().map(|r| r.1).collect()
    }
    /// Forgets all hooks: those of a node that cannot run again.
    pub fn clear(&self) {
        let old = std::mem::take(&mut *self.0.lock());
        drop(old);
    }
    fn list<R>(&self, pick: impl Fn(&Hook) -> Option<R>) -> Vec<R> {
        self.0.lock().hooks.iter().filter_map(|h| pick(&h.1)).collect()
    }
    /// The gradient of result `index` as the hooks leave it; then those that retain it get it.
    pub fn run_on_grad(&self, index: u32, mut g: Value) -> Result<Value> {
        for f in self.list(|h| if let Hook::Grad(i, f) = h { (*i == index).then(|| f.clone()) } else { None }) {
            if let Some(new) = f(g.clone())? {
                if new.ty() != g.ty() {
                    return Err(Error::shape("hook", format!("a gradient of type {}", g.ty()), new.ty().to_string()));
                }
                g = new;
            }
        }
        let retained: Vec<WeakValue> =
            self.0.lock().retained.iter().filter(|r| r.0 == index).map(|r| r.1.clone()).collect();
        for v in retained.iter().filter_map(WeakValue::upgrade) {
            // a tensor of its own, never the one on its way
            v.accumulate(g.clone(), super::mode::is_grad_enabled())?;
        }
        Ok(g)
    }
    pub fn run_on_leaf(&self, leaf: &Value) -> Result<()> {
        self.list(|h| if let Hook::Leaf(f) = h { Some(f.clone()) } else { None })
            .iter()
            .try_for_each(|f| f(leaf.clone()))
    }
    pub fn run_before(&self, grads: &mut Values) -> Result<()> {
        for f in self.list(|h| if let Hook::Before(f) = h { Some(f.clone()) } else { None }) {
            if let Some(new) = f(grads)? {
                replace(grads, new)?;
            }
        }
        Ok(())
    }
    /// Whether any hook wants to see what the node gives.
    pub fn wants_after(&self) -> bool {
        self.0.lock().hooks.iter().any(|h| matches!(h.1, Hook::After(_)))
    }
    pub fn run_after(&self, given: &mut Values, received: &Values) -> Result<()> {
        for f in self.list(|h| if let Hook::After(f) = h { Some(f.clone()) } else { None }) {
            if let Some(new) = f(given, received)? {
                replace(given, new)?;
            }
        }
        Ok(())
    }
}

/// A hook may change gradients, not their number or types.
fn replace(old: &mut Values, new: Values) -> Result<()> {
    let tys = |v: &Values| v.iter().map(|v| v.as_ref().map(|v| v.ty().clone())).collect::<Vec<Option<Ty>>>();
    let (was, is) = (tys(old), tys(&new));
    let fits = was.len() == is.len() && was.iter().zip(&is).all(|(w, i)| w.is_none() || i.is_none() || w == i);
    if !fits {
        return Err(Error::shape("hook", format!("gradients of types {was:?}"), format!("{is:?}")));
    }
    *old = new;
    Ok(())
}

/// Typed gradients of a node's; an error if the node computes in another type.
pub(super) fn typed<T: Float>(v: &Values) -> Result<Grads<T>> {
    v.iter()
        .map(|v| match v {
            Some(v) if v.ty().dtype != T::DTYPE => Err(Error::dtype("hook", T::DTYPE.name(), v.ty().dtype)),
            Some(v) => Ok(Some(Tensor::from_value(v.clone()))),
            None => Ok(None),
        })
        .collect()
}
pub(super) fn untyped<T: Float>(v: Grads<T>) -> Values {
    v.into_iter().map(|t| t.map(|t| t.value().clone())).collect()
}
