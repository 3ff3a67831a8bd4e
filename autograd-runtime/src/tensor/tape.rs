//! The tape: each tracked result holds the node that made it, each node the values its derivative reads
//! and edges to what made its arguments. Backward visits nodes in the reverse order of their making (a
//! node's users are always younger), so one heap suffices; nothing recurses, however deep the graph.

use super::{
    dispatch::Dispatch,
    value::{Repr, Value},
};
use crate::{
    diff,
    emit::{Emit, Ex, V},
    error::{Error, Result},
    op::{Cx, Derivative, Op, SAVE_OUT, arith},
    ty::Ty,
};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::{
    cell::Cell,
    collections::BinaryHeap,
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

thread_local! {
    static GRAD_ENABLED: Cell<bool> = const { Cell::new(true) };
}

/// Whether operations on this thread are recorded for backward.
pub fn is_grad_enabled() -> bool {
    GRAD_ENABLED.get()
}

/// Runs a closure with recording switched on or off; restored afterwards, also when it unwinds.
pub fn set_grad_enabled<R>(on: bool, f: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            GRAD_ENABLED.set(self.0);
        }
    }
    let _restore = Restore(GRAD_ENABLED.replace(on));
    f()
}

/// Runs a closure without recording: its results are not tracked.
///
/// ```
/// use autograd_runtime::{Tensor, no_grad};
/// let x = Tensor::<f64>::ones(&[2]).requires_grad_(true);
/// assert!(!no_grad(|| &x * 2.0).requires_grad());
/// ```
pub fn no_grad<R>(f: impl FnOnce() -> R) -> R {
    set_grad_enabled(false, f)
}

/// What a value knows of the tape.
#[derive(Default)]
pub(crate) struct Meta {
    requires_grad: bool,
    grad: Option<Value>,
    grad_fn: Option<Arc<GradNode>>,
}

/// An operation that was recorded.
pub(crate) struct GradNode {
    op: Op,
    /// Nodes made later have larger numbers.
    seq: u64,
    /// What the derivative reads, with the versions at the time; `None` once freed.
    saved: Mutex<Option<Saved>>,
    edges: SmallVec<[Option<Edge>; 3]>,
    arg_types: SmallVec<[Ty; 3]>,
    out_type: Ty,
    /// The name of the composite operation that ended with this one.
    label: OnceLock<&'static str>,
}

struct Saved {
    args: SmallVec<[Value; 3]>,
    /// An alias without a tape: the result itself would hold this node, which would hold it.
    out: Value,
    versions: SmallVec<[u64; 4]>,
}

/// Where a cotangent goes on.
#[derive(Clone)]
enum Edge {
    Node(Arc<GradNode>),
    Leaf(Value),
}

static SEQ: AtomicU64 = AtomicU64::new(0);

/// Whether a result of this operation carries a tape. Operations without a rule do: their backward is an
/// error, never a silent zero.
pub(super) fn differentiable(op: &Op, out: &Ty) -> bool {
    out.dtype.is_float() && !matches!(op.def.derivative, Derivative::Zero)
}

impl GradNode {
    pub(super) fn record(op: Op, args: &[&Value], out: &Value) -> Arc<GradNode> {
        let saves = op.def.saves;
        let keep = |i: usize, v: &Value| if saves >> i & 1 == 1 { v.clone() } else { Value::absent(v.ty().clone()) };
        // arguments past 30 of a variadic operation are not saved; such operations save none
        let saved_args: SmallVec<[Value; 3]> = args.iter().enumerate().map(|(i, a)| keep(i.min(30), a)).collect();
        let out_alias = if saves & SAVE_OUT != 0 { out.alias() } else { Value::absent(out.ty().clone()) };
        let versions = saved_args.iter().chain([&out_alias]).map(Value::version).collect();
        Arc::new(GradNode {
            seq: SEQ.fetch_add(1, Ordering::Relaxed),
            edges: args.iter().map(|a| a.edge()).collect(),
            arg_types: args.iter().map(|a| a.ty().clone()).collect(),
            out_type: out.ty().clone(),
            label: OnceLock::new(),
            saved: Mutex::new(Some(Saved { args: saved_args, out: out_alias, versions })),
            op,
        })
    }
    fn name(&self) -> String {
        display_name(self.label.get().unwrap_or(&self.op.name()))
    }
    /// The saved values, checked against later writes; `release` frees them.
    fn unpack(self: &Arc<Self>, release: bool) -> Result<(SmallVec<[Value; 3]>, Value)> {
        let mut guard = self.saved.lock();
        let Some(saved) = guard.as_ref() else {
            return Err(Error::Autograd(format!(
                "trying to backward through the graph a second time: the values {} saved have been freed; pass \
                 retain_graph to the first backward",
                self.name()
            )));
        };
        let now = saved.args.iter().chain([&saved.out]).map(Value::version);
        if let Some((was, is)) = saved.versions.iter().zip(now).find(|(a, b)| **a != *b) {
            return Err(Error::Autograd(format!(
                "one of the variables needed for gradient computation has been modified by an inplace operation: a \
                 value saved by {} is at version {is}; expected version {was} instead",
                self.name()
            )));
        }
        let out = saved.out.alias();
        if !matches!(out.repr(), Repr::Absent) {
            out.set_grad_fn(self.clone());
        }
        let args = saved.args.clone();
        if release && (self.op.def.saves != 0) {
            *guard = None;
        }
        Ok((args, out))
    }
}

/// `"matmul"` as `"MatmulBackward0"`, as PyTorch names its nodes.
fn display_name(op: &str) -> String {
    let parts = op.split('_').map(|p| {
        let mut c = p.chars();
        c.next().map_or_else(String::new, |f| f.to_ascii_uppercase().to_string() + c.as_str())
    });
    format!("{}Backward0", parts.collect::<String>())
}

impl Drop for GradNode {
    /// Takes a graph of any depth apart without recursion.
    fn drop(&mut self) {
        let mut todo: Vec<Arc<GradNode>> = Vec::new();
        let gather = |node: &mut GradNode, todo: &mut Vec<Arc<GradNode>>| {
            for e in node.edges.drain(..).flatten() {
                if let Edge::Node(n) = e {
                    todo.push(n);
                }
            }
            if let Some(saved) = node.saved.get_mut().take() {
                for mut v in saved.args {
                    if let Some(inner) = Arc::get_mut(&mut v.0) {
                        todo.extend(inner.meta.get_mut().grad_fn.take());
                    }
                }
            }
        };
        gather(self, &mut todo);
        while let Some(n) = todo.pop() {
            if let Some(mut n) = Arc::into_inner(n) {
                gather(&mut n, &mut todo);
            }
        }
    }
}

impl Value {
    pub(crate) fn requires_grad(&self) -> bool {
        let m = self.0.meta.lock();
        m.requires_grad || m.grad_fn.is_some()
    }
    pub(crate) fn is_leaf(&self) -> bool {
        self.0.meta.lock().grad_fn.is_none()
    }
    pub(crate) fn set_requires_grad(&self, on: bool) -> Result<()> {
        if on && !self.ty().dtype.is_float() {
            return Err(Error::Autograd(format!(
                "only Tensors of floating point dtype can require gradients, found {}",
                self.ty().dtype
            )));
        }
        let mut m = self.0.meta.lock();
        if m.grad_fn.is_some() {
            if on {
                return Ok(());
            }
            return Err(Error::Autograd(
                "you can only change requires_grad flags of leaf variables; use detach() for a value that is not tracked".into(),
            ));
        }
        m.requires_grad = on;
        Ok(())
    }
    /// Names the node of a composite operation's result, as PyTorch does.
    pub(super) fn label(&self, name: &'static str) {
        if let Some(n) = &self.0.meta.lock().grad_fn {
            // a value that passed through unchanged keeps its name
            let _ = n.label.set(name);
        }
    }
    pub(super) fn set_grad_fn(&self, node: Arc<GradNode>) {
        self.0.meta.lock().grad_fn = Some(node);
    }
    pub(crate) fn grad_fn(&self) -> Option<GradFn> {
        self.0.meta.lock().grad_fn.clone().map(|n| GradFn(Edge::Node(n)))
    }
    pub(crate) fn grad(&self) -> Option<Value> {
        self.0.meta.lock().grad.clone()
    }
    pub(crate) fn set_grad(&self, g: Option<Value>) {
        self.0.meta.lock().grad = g;
    }
    fn edge(&self) -> Option<Edge> {
        let m = self.0.meta.lock();
        match &m.grad_fn {
            Some(n) => Some(Edge::Node(n.clone())),
            None => m.requires_grad.then(|| Edge::Leaf(self.clone())),
        }
    }
    /// Adds a gradient to `.grad`; with a graph behind it out of place, else into a tensor of its own.
    fn accumulate(&self, ct: &Value, create_graph: bool) {
        let d = Dispatch::default();
        loop {
            let old = self.grad();
            let new = match &old {
                Some(g) => add(&d, g, ct),
                None if create_graph => ct.clone(),
                None => Value::stored(ct.to_array()),
            };
            // another thread may have added its own meanwhile
            let now = &mut self.0.meta.lock().grad;
            if now.as_ref().map(Value::address) == old.as_ref().map(Value::address) {
                *now = Some(new);
                return;
            }
        }
    }
}

fn add(d: &Dispatch, a: &Value, b: &Value) -> Value {
    match d.emit(Op::new(&arith::ADD), &[V::Tensor(a.clone()), V::Tensor(b.clone())]) {
        V::Tensor(v) => v,
        V::Node(_) => panic!("bug: the tape emitted a node"),
    }
}

/// The node of the tape that made a tensor: PyTorch's `grad_fn`.
#[derive(Clone)]
pub struct GradFn(Edge);

impl GradFn {
    /// The name, as `AddBackward0`; `AccumulateGrad` for a leaf.
    pub fn name(&self) -> String {
        match &self.0 {
            Edge::Node(n) => n.name(),
            Edge::Leaf(_) => "AccumulateGrad".into(),
        }
    }
    /// What made the arguments, in order; `None` for those that are not tracked.
    pub fn next_functions(&self) -> Vec<Option<GradFn>> {
        match &self.0 {
            Edge::Node(n) => n.edges.iter().map(|e| e.clone().map(GradFn)).collect(),
            Edge::Leaf(_) => Vec::new(),
        }
    }
}
impl fmt::Debug for GradFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.name())
    }
}

/// What one backward sweep is to do.
pub(crate) struct Sweep<'a> {
    /// Values whose gradients are wanted; `None` accumulates into all leaves.
    pub inputs: Option<&'a [Value]>,
    pub retain_graph: bool,
    pub create_graph: bool,
}

impl Sweep<'_> {
    /// Runs the sweep from roots with their cotangents; returns the gradients of `inputs`.
    pub(crate) fn run(&self, roots: &[(Value, Value)]) -> Result<Vec<Option<Value>>> {
        set_grad_enabled(self.create_graph, || self.sweep(roots))
    }
    fn sweep(&self, roots: &[(Value, Value)]) -> Result<Vec<Option<Value>>> {
        let d = Dispatch::default();
        let mut wanted: FxHashMap<usize, Option<Value>> = FxHashMap::default();
        let inputs = self.inputs.unwrap_or_default();
        inputs.iter().for_each(|v| drop(wanted.insert(target(v), None)));
        let mut pending: FxHashMap<usize, Value> = FxHashMap::default();
        let mut heap: BinaryHeap<ByAge> = BinaryHeap::new();
        let mut send = |edge: &Edge, ct: Value, heap: &mut BinaryHeap<ByAge>, pending: &mut FxHashMap<usize, Value>| {
            let key = match edge {
                Edge::Node(n) => Arc::as_ptr(n) as usize,
                Edge::Leaf(v) => v.address(),
            };
            if let Some(slot) = wanted.get_mut(&key) {
                *slot = Some(slot.take().map_or_else(|| ct.clone(), |old| add(&d, &old, &ct)));
            }
            match edge {
                Edge::Leaf(v) if self.inputs.is_none() => v.accumulate(&ct, self.create_graph),
                Edge::Leaf(_) => {}
                Edge::Node(n) => match pending.remove(&key) {
                    Some(old) => drop(pending.insert(key, add(&d, &old, &ct))),
                    None => {
                        pending.insert(key, ct);
                        heap.push(ByAge(n.clone()));
                    }
                },
            }
        };
        for (root, ct) in roots {
            match root.edge() {
                Some(e) => send(&e, ct.clone(), &mut heap, &mut pending),
                None => {
                    return Err(Error::Autograd(
                        "element 0 of tensors does not require grad and does not have a grad_fn".into(),
                    ));
                }
            }
        }
        while let Some(ByAge(node)) = heap.pop() {
            let Some(ct) = pending.remove(&(Arc::as_ptr(&node) as usize)) else { continue };
            if node.edges.iter().all(Option::is_none) {
                continue;
            }
            let (args, out) = node.unpack(!self.retain_graph)?;
            let ex = |v: Value| Ex::new(&d, V::Tensor(v));
            let args: SmallVec<[Ex<'_>; 3]> = args.into_iter().map(ex).collect();
            let (out, ct) = (ex(out), ex(ct));
            let cx = Cx { op: &node.op, args: &args, out: &out };
            for (i, edge) in node.edges.iter().enumerate() {
                let Some(edge) = edge else { continue };
                let Some(g) = diff::pull_back(&cx, i, &ct)? else { continue };
                if let Some(e) = d.take_error() {
                    return Err(e);
                }
                let V::Tensor(g) = g.v else { panic!("bug: {} left the tape", node.op.name()) };
                debug_assert_eq!(g.ty(), &node.arg_types[i], "cotangent of argument {i} of {}", node.op.name());
                send(edge, g, &mut heap, &mut pending);
            }
            debug_assert_eq!(&ct.ty(), &node.out_type);
        }
        Ok(inputs.iter().map(|v| wanted.get(&target(v)).cloned().flatten()).collect())
    }
}

/// What identifies a value on the tape: its node, or itself if it is a leaf.
fn target(v: &Value) -> usize {
    match v.edge() {
        Some(Edge::Node(n)) => Arc::as_ptr(&n) as usize,
        _ => v.address(),
    }
}

struct ByAge(Arc<GradNode>);
impl PartialEq for ByAge {
    fn eq(&self, o: &Self) -> bool {
        self.0.seq == o.0.seq
    }
}
impl Eq for ByAge {}
impl PartialOrd for ByAge {
    fn partial_cmp(&self, o: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(o))
    }
}
impl Ord for ByAge {
    fn cmp(&self, o: &Self) -> std::cmp::Ordering {
        self.0.seq.cmp(&o.0.seq)
    }
}

/// The cotangent to start from: the given one, checked, or 1 for a scalar.
pub(crate) fn seed(root: &Value, ct: Option<&Value>) -> Result<Value> {
    match ct {
        Some(c) if c.ty() == root.ty() => Ok(c.clone()),
        Some(c) => Err(Error::shape(
            "backward",
            format!("a gradient of type {} (Mismatch in shape)", root.ty()),
            c.ty().to_string(),
        )),
        None if root.ty().numel() == 1 => {
            Ok(Value::stored(crate::array::Array::full(root.ty(), crate::op::create::bits_of(root.ty().dtype, 1.0))))
        }
        None => Err(Error::Autograd(format!(
            "grad can be implicitly created only for scalar outputs, found shape {:?}",
            root.ty().shape.as_slice()
        ))),
    }
}

/// Accumulates gradients of the leaves behind `tensors` into their `.grad`: PyTorch's
/// `torch.autograd.backward`. `grad_tensors` holds one cotangent for each tensor, `None` for the 1 of a scalar.
///
/// ```
/// use autograd_runtime::{Tensor, backward};
/// let a = Tensor::from_vec(vec![1.0, 2.0], [2]).requires_grad_(true);
/// let (c, ones) = (&a * &a, Tensor::ones([2]));
/// backward(&[&c], &[Some(&ones)], false, false)?;
/// assert_eq!(a.grad().unwrap().to_vec(), [2.0, 4.0]);
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
///
/// # Errors
/// If a tensor is not tracked or not scalar without a cotangent, or if saved values have been freed or
/// overwritten.
pub fn backward<T: crate::array::Float>(
    tensors: &[&super::Tensor<T>],
    grad_tensors: &[Option<&super::Tensor<T>>],
    retain_graph: bool,
    create_graph: bool,
) -> Result<()> {
    let roots = roots(tensors, grad_tensors)?;
    Sweep { inputs: None, retain_graph, create_graph }.run(&roots).map(drop)
}

fn roots<T: crate::array::Float>(
    tensors: &[&super::Tensor<T>],
    cts: &[Option<&super::Tensor<T>>],
) -> Result<Vec<(Value, Value)>> {
    if !cts.is_empty() && cts.len() != tensors.len() {
        return Err(Error::value("backward", format!("expected {} gradients, found {}", tensors.len(), cts.len())));
    }
    let ct = |i: usize| cts.get(i).copied().flatten().map(|t| t.value());
    tensors.iter().enumerate().map(|(i, t)| Ok((t.value().clone(), seed(t.value(), ct(i))?))).collect()
}

/// The gradients of `outputs` in `inputs` (leaves or not), leaving every `.grad` alone: PyTorch's
/// `torch.autograd.grad`. With `create_graph` the gradients are tracked themselves; with `allow_unused` an
/// input that is not reached gives `None` instead of an error.
///
/// ```
/// use autograd_runtime::{Tensor, grad};
/// let x = Tensor::scalar(2.0).requires_grad_(true);
/// let first = grad(&[&x.powi(4)], &[&x], &[], false, true, false)?.remove(0).unwrap();
/// let second = grad(&[&first], &[&x], &[], false, false, false)?.remove(0).unwrap();
/// assert_eq!((first.item(), second.item()), (32.0, 48.0));
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
///
/// # Errors
/// As [`backward`], and for unreachable inputs unless `allow_unused`.
pub fn grad<T: crate::array::Float>(
    outputs: &[&super::Tensor<T>],
    inputs: &[&super::Tensor<T>],
    grad_outputs: &[Option<&super::Tensor<T>>],
    retain_graph: bool,
    create_graph: bool,
    allow_unused: bool,
) -> Result<Vec<Option<super::Tensor<T>>>> {
    let roots = roots(outputs, grad_outputs)?;
    let values: Vec<Value> = inputs.iter().map(|t| t.value().clone()).collect();
    if let Some(i) = values.iter().position(|v| !v.requires_grad()) {
        return Err(Error::Autograd(format!("one of the differentiated tensors does not require grad: input {i}")));
    }
    let grads =
        Sweep { inputs: Some(&values), retain_graph: retain_graph || create_graph, create_graph }.run(&roots)?;
    if !allow_unused && let Some(i) = grads.iter().position(Option::is_none) {
        return Err(Error::Autograd(format!(
            "input {i} appears to not have been used in the graph; set allow_unused to get None for it"
        )));
    }
    Ok(grads.into_iter().map(|g| g.map(super::Tensor::from_value)).collect())
}
