//! The untyped tensor: a type and either a strided window on shared storage, a node of a running trace, what a stretch
//! of collected operations will give, or nothing (the placeholder that stands for the result of a failed operation).

use super::{
    meta::{Meta, ViewOf},
    node::Node,
    stretch::Pending,
};
use crate::{
    array::{Array, Data, Element},
    graph::NodeId,
    ty::{Layout, Ty},
};
use parking_lot::{Mutex, RecursiveRwLock};
use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// Elements shared by a tensor, its views and its detached aliases. The lock is what makes a concurrent
/// write and read defined; the version counts writes, so that backward can tell that a value it saved is
/// no longer what it was.
#[derive(Debug)]
pub struct Storage {
    pub(crate) data: RecursiveRwLock<Data>,
    version: AtomicU64,
}

impl Drop for Storage {
    fn drop(&mut self) {
        pool::give(std::mem::replace(self.data.get_mut(), Data::Bool(Vec::new())));
    }
}

/// Large buffers between uses. Fresh memory from the system costs a page fault every 4 KiB, more than writing
/// to it does.
pub(crate) mod pool {
    use crate::{array::Data, ty::DType};
    use parking_lot::Mutex;
    use std::collections::VecDeque;

    /// Smaller buffers are the allocator's business.
    const LEAST: usize = 1 << 16;
    /// Bytes kept at the most; the oldest go first.
    const MOST: usize = 512 << 20;

    struct Pool {
        buffers: VecDeque<Data>,
        bytes: usize,
    }
    static POOL: Mutex<Pool> = Mutex::new(Pool { buffers: VecDeque::new(), bytes: 0 });

    fn bytes(d: &Data) -> usize {
        d.len() * d.dtype().size()
    }

    /// A buffer whose contents do not matter.
    pub fn take(dtype: DType, n: usize) -> Data {
        if n * dtype.size() >= LEAST {
            let mut pool = POOL.lock();
            if let Some(i) = pool.buffers.iter().rposition(|d| d.dtype() == dtype && d.len() == n)
                && let Some(d) = pool.buffers.remove(i)
            {
                pool.bytes -= bytes(&d);
                return d;
            }
        }
        Data::zeros(dtype, n)
    }
    /// Keeps a buffer for later.
    pub fn give(d: Data) {
        let size = bytes(&d);
        if !(LEAST..=MOST).contains(&size) {
            return;
        }
        let mut pool = POOL.lock();
        pool.bytes += size;
        pool.buffers.push_back(d);
        let mut old = Vec::new();
        while pool.bytes > MOST {
            let Some(d) = pool.buffers.pop_front() else { break };
            pool.bytes -= bytes(&d);
            old.push(d);
        }
        // freed after the lock
        drop(pool);
        drop(old);
    }
}

impl Storage {
    pub(crate) fn new(data: Data) -> Arc<Storage> {
        Arc::new(Storage { data: RecursiveRwLock::new(data), version: AtomicU64::new(0) })
    }
    /// How often the storage was written to.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }
    pub(crate) fn bump(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
    }
}

/// Where a value's elements are.
#[derive(Clone, Debug)]
pub(crate) enum Repr {
    /// In storage.
    Stored { storage: Arc<Storage>, layout: Layout },
    /// Nowhere yet: a node of the trace with this number.
    Traced { session: u64, node: NodeId },
    /// Nowhere yet: collected, and computed as soon as anyone asks. [`Value::repr`] gives what it has become.
    Pending(Arc<Pending>),
    /// Nowhere: only the type is known.
    Absent,
}

impl Repr {
    /// The row-major elements of a type in a storage of their own.
    pub(super) fn new(ty: &Ty, data: Data) -> Repr {
        Repr::Stored { storage: Storage::new(data), layout: Layout::contiguous(&ty.shape) }
    }
    /// How often the elements were written to.
    pub(super) fn version(&self) -> u64 {
        if let Repr::Stored { storage, .. } = self { storage.version() } else { 0 }
    }
}

/// A tensor of any element type; [`Tensor`](super::Tensor) is the typed one.
#[derive(Clone)]
pub struct Value(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub ty: Ty,
    pub repr: Repr,
    /// Whether gradients flow to or through this value; `meta` has the details. Most values are not tracked, and
    /// asking costs no lock.
    pub tracked: AtomicBool,
    /// What this value is a view of.
    pub view: Option<Box<ViewOf>>,
    pub meta: Mutex<Meta>,
}

/// A value that is not kept alive.
#[derive(Clone)]
pub(super) struct WeakValue(Weak<Inner>);

impl WeakValue {
    pub fn upgrade(&self) -> Option<Value> {
        self.0.upgrade().map(Value)
    }
    /// Of a handle itself, also if it is pending.
    pub fn of(v: &Value) -> WeakValue {
        WeakValue(Arc::downgrade(&v.0))
    }
}

impl Value {
    pub(crate) fn new(ty: Ty, repr: Repr) -> Value {
        Self::with_past(ty, repr, None, None)
    }
    /// A value that is a view of another, or result number so of a node.
    pub(super) fn with_past(ty: Ty, repr: Repr, view: Option<Box<ViewOf>>, past: Option<(Arc<Node>, u32)>) -> Value {
        let tracked = AtomicBool::new(past.is_some());
        // of other values the version that their past belongs to is never asked for
        let seen = if view.is_some() { repr.version() } else { 0 };
        Value(Arc::new(Inner { ty, repr, tracked, view, meta: Mutex::new(Meta::of(past, seen)) }))
    }
    pub(super) fn downgrade(&self) -> WeakValue {
        WeakValue::of(self.settled())
    }
    /// The value on the tape: this one, or what it has become if its operation was collected, which ends the stretch
    /// that it belongs to.
    #[inline]
    pub(super) fn settled(&self) -> &Value {
        match &self.0.repr {
            Repr::Pending(p) => p.settled(self),
            _ => self,
        }
    }
    /// As [`Value::settled`] where that is known already.
    pub(super) fn known(&self) -> &Value {
        match &self.0.repr {
            Repr::Pending(p) => p.known().unwrap_or(self),
            _ => self,
        }
    }
    pub(crate) fn stored(array: Array) -> Value {
        Value::from_data(array.ty(), array.into_data())
    }
    pub(crate) fn from_data(ty: Ty, data: Data) -> Value {
        let repr = Repr::new(&ty, data);
        Value::new(ty, repr)
    }
    pub(crate) fn absent(ty: Ty) -> Value {
        Value::new(ty, Repr::Absent)
    }
    /// The type.
    pub fn ty(&self) -> &Ty {
        &self.0.ty
    }
    #[inline]
    pub(crate) fn repr(&self) -> &Repr {
        &self.settled().0.repr
    }
    /// Whether it stands for a node of a trace.
    pub(crate) fn is_traced(&self) -> bool {
        matches!(self.0.repr, Repr::Traced { .. })
    }
    /// Whether its operation has been collected and not computed yet.
    pub(super) fn is_pending(&self) -> bool {
        matches!(self.known().0.repr, Repr::Pending(_))
    }
    /// The same elements as another value without a tape.
    pub(crate) fn alias(&self) -> Value {
        Value::new(self.ty().clone(), self.repr().clone())
    }
    /// A row-major copy of the elements; zeros where there are none.
    pub(crate) fn to_array(&self) -> Array {
        match self.repr() {
            Repr::Stored { storage, layout } => storage.data.read().view(layout).to_array(),
            Repr::Traced { .. } => crate::session::concrete(self).to_array(),
            Repr::Pending(_) | Repr::Absent => {
                Array::from_data(Data::zeros(self.ty().dtype, self.ty().numel()), &self.ty().shape)
            }
        }
    }
    /// Calls `f` with the elements in row-major order, which are copied only where they are not stored so.
    pub(crate) fn with_elements<T: Element, R>(&self, f: impl FnOnce(&[T]) -> R) -> R {
        if let Repr::Stored { storage, layout } = self.repr()
            && layout.is_contiguous()
        {
            let data = storage.data.read();
            let part = layout.offset..layout.offset + self.ty().numel();
            return f(T::of_slice(data.slice()).and_then(|all| all.get(part)).unwrap_or_default());
        }
        let copy = self.to_array().into_data();
        f(T::of_slice(copy.slice()).unwrap_or_default())
    }
    /// How often the elements were written to.
    pub(crate) fn version(&self) -> u64 {
        self.repr().version()
    }
    /// Notes that the elements have been written to.
    pub(super) fn bump(&self) {
        if let Repr::Stored { storage, .. } = self.repr() {
            storage.bump();
        }
    }
    /// Whether this many handles of the value exist.
    pub(crate) fn is_held_by(&self, n: usize) -> bool {
        Arc::strong_count(&self.0) == n
    }
    /// Whether nobody else holds the value or its elements.
    pub(super) fn is_sole_owner(&self) -> bool {
        matches!(&self.0.repr, Repr::Stored { storage, .. } if Arc::strong_count(storage) == 1) && self.is_held_by(1)
    }
    pub(crate) fn same(&self, other: &Value) -> bool {
        // what is pending is nobody else's value yet
        Arc::ptr_eq(&self.known().0, &other.known().0)
    }
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.settled().0) as usize
    }
    /// Whether the elements lie in row-major order without gaps.
    pub(crate) fn is_contiguous(&self) -> bool {
        !matches!(self.repr(), Repr::Stored { layout, .. } if !layout.is_contiguous())
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {:?}", self.ty(), self.0.repr)
    }
}
