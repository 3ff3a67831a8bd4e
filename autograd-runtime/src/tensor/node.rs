//! The tape: each tracked result holds the node that made it, each node the values that its derivative reads and
//! edges to what made its arguments.
//!
//! A node is younger than everything its edges lead to, so that the order of making is an order for backward.
//! Nothing here recurses, however deep the graph.

use super::{
    checkpoint::{self, Hole},
    custom::CustomNode,
    hooks::{self, Grads, HookHandle, Hooks},
    typed::Tensor,
    value::{Inner, Repr, Value, WeakValue},
};
use crate::{
    array::{Array, Element, Float},
    diff,
    emit::{Emit, Ex, V},
    error::{Error, Place, Result},
    op::{Cx, Derivative, Op, SAVE_OUT, arith},
    ty::{DType, Ty, same_shape},
};
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::{
    cell::{Cell, RefCell},
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// An operation that was recorded.
pub(super) struct Node {
    /// Nodes made later have larger numbers.
    seq: u64,
    kind: Kind,
    edges: Edges,
    /// Where the forward was called.
    place: Option<Place>,
    rare: OnceLock<Box<Rare>>,
}

/// What few nodes have.
#[derive(Default)]
struct Rare {
    /// The composite operation that it is part of.
    label: OnceLock<Label>,
    hooks: OnceLock<Hooks>,
}

/// That a node belongs to an operation that PyTorch has as one.
#[derive(Clone, Copy)]
struct Label {
    name: &'static str,
    /// The number of the operation's first node.
    since: u64,
    /// Whether the node is inside: not the one that made the result.
    inside: bool,
}

pub(super) type Edges = SmallVec<[Option<Edge>; 2]>;
/// A cotangent for each result of a node.
pub(super) type Cts = SmallVec<[Option<Value>; 1]>;

// custom functions are rare: the box costs them an allocation, operations none
#[allow(clippy::large_enum_variant)]
enum Kind {
    Op { op: Op, arg_types: ArgTypes, out_type: Ty, saved: Mutex<Saved> },
    Custom(Box<CustomNode>),
}

/// The types of arguments; `None` for that of the result, which is the common case.
type ArgTypes = SmallVec<[Option<Box<Ty>>; 2]>;

fn other_type(arg: &Ty, out: &Ty) -> Option<Box<Ty>> {
    (arg.dtype != out.dtype || !same_shape(&arg.shape, &out.shape)).then(|| Box::new(arg.clone()))
}

/// What the derivative of an operation reads.
enum Saved {
    /// Arguments (by position, [`OUT`] the result) and their versions at the time.
    Kept(SmallVec<[(u8, Value, u64); 2]>),
    /// Constants of the operation's own, as the number of elements of a mean: there is nothing to free.
    Own(SmallVec<[(u8, Value, u64); 2]>),
    /// To be computed again.
    Hole(Hole),
    Freed,
}
/// Stands for the result among saved values.
const OUT: u8 = u8::MAX;

/// Where a cotangent goes on.
#[derive(Clone)]
pub(super) enum Edge {
    /// To a node, as that of its result number so.
    Node(Arc<Node>, u32),
    Leaf(Value),
}

impl Edge {
    /// Identifies what the cotangent belongs to.
    pub fn key(&self) -> (usize, u32) {
        match self {
            Edge::Node(n, i) => (Arc::as_ptr(n) as usize, *i),
            Edge::Leaf(v) => (v.address(), u32::MAX),
        }
    }
}

static SEQ: AtomicU64 = AtomicU64::new(0);

/// Whether a result of this operation carries a tape. Operations without a rule do (their backward is an error, never
/// a silent zero), and so do those whose derivative is zero, as `floor`.
pub(super) fn differentiable(op: &Op, out: &Ty) -> bool {
    out.dtype.is_float() && !op.is(&arith::DETACH)
}

/// The number that the next node will have.
pub(super) fn next_seq() -> u64 {
    SEQ.load(Ordering::Relaxed)
}

impl Node {
    fn new(kind: Kind, edges: Edges, place: Option<Place>) -> Arc<Node> {
        Arc::new(Node { seq: SEQ.fetch_add(1, Ordering::Relaxed), kind, edges, place, rare: OnceLock::new() })
    }
    /// The node of an operation on arguments and its result, with what its derivative will read: nothing that only the
    /// gradients of untracked arguments would need.
    ///
    /// # Errors
    /// An argument that is a view which may not be used any more.
    pub fn record(op: Op, args: &[&Value], out: &Ty, repr: &Repr, place: Option<Place>) -> Result<Arc<Node>> {
        // loops that push: collecting into small vectors costs more, and this runs at every operation
        let mut edges = Edges::new();
        let mut arg_types = ArgTypes::new();
        let mut reads = 0;
        for (i, a) in args.iter().enumerate() {
            let edge = a.edge()?;
            reads |= if edge.is_some() { op.def.reads(i) } else { 0 };
            edges.push(edge);
            arg_types.push(other_type(a.ty(), out));
        }
        let mut kept: SmallVec<[(u8, Value, u64); 2]> = SmallVec::new();
        if reads != 0 {
            // arguments past 30 of a variadic operation are never read
            for (i, &a) in args.iter().enumerate().take(30).filter(|(i, _)| reads >> i & 1 == 1) {
                kept.push((i as u8, a.clone(), a.version()));
            }
            if reads & SAVE_OUT != 0 {
                // an alias without a tape: the result itself would hold this node, which would hold it
                kept.push((OUT, Value::new(out.clone(), repr.clone()), repr.version()));
            }
        }
        let saved = match checkpoint::swallow(&op, &mut kept) {
            Some(hole) => Saved::Hole(hole),
            None => Saved::Kept(kept),
        };
        let kind = Kind::Op { arg_types, out_type: out.clone(), saved: Mutex::new(saved), op };
        Ok(Node::new(kind, edges, place))
    }
    /// The node of an operation whose result exists already, and whose derivative reads nothing.
    pub fn of(
        op: Op,
        args: impl IntoIterator<Item = (Option<Edge>, Ty)>,
        out_type: Ty,
        place: Option<Place>,
    ) -> Arc<Node> {
        let (edges, arg_types): (Edges, ArgTypes) =
            args.into_iter().map(|(edge, ty)| (edge, other_type(&ty, &out_type))).unzip();
        debug_assert!((0..edges.len()).all(|i| op.def.reads(i) == 0), "{} reads values", op.name());
        let saved = Mutex::new(Saved::Kept(SmallVec::new()));
        Node::new(Kind::Op { op, arg_types, out_type, saved }, edges, place)
    }
    pub fn custom(c: CustomNode, edges: Edges, place: Option<Place>) -> Arc<Node> {
        Node::new(Kind::Custom(Box::new(c)), edges, place)
    }
    pub fn seq(&self) -> u64 {
        self.seq
    }
    pub fn edges(&self) -> &Edges {
        &self.edges
    }
    /// How many results the node has.
    pub fn results(&self) -> usize {
        match &self.kind {
            Kind::Op { .. } => 1,
            Kind::Custom(c) => c.results(),
        }
    }
    pub fn name(&self) -> String {
        match (&self.kind, self.label_of()) {
            (_, Some(l)) => l.name.into(),
            (Kind::Op { op, .. }, None) => display_name(op),
            (Kind::Custom(c), None) => c.name(),
        }
    }
    /// The name among the events of a profile, where the result's node stands for one call.
    pub fn event(&self) -> String {
        match self.label_of() {
            Some(l) if l.inside => format!("inside {}", l.name),
            _ => self.name(),
        }
    }
    pub fn label(&self, name: &'static str, since: u64) {
        // a value that passed through unchanged keeps its name
        if self.seq < since || self.set_label(Label { name, since, inside: false }).is_err() {
            return;
        }
        let mut todo: SmallVec<[&Node; 4]> = SmallVec::from_elem(self, 1);
        while let Some(node) = todo.pop() {
            for e in node.edges.iter().flatten() {
                if let Edge::Node(n, _) = e
                    && n.seq >= since
                    && n.set_label(Label { name, since, inside: true }).is_ok()
                {
                    todo.push(n);
                }
            }
        }
    }
    fn label_of(&self) -> Option<&Label> {
        self.rare.get()?.label.get()
    }
    fn set_label(&self, label: Label) -> std::result::Result<(), Label> {
        self.rare.get_or_init(Box::default).label.set(label)
    }
    /// Says that what this node and those before it from `since` on saved are constants which nobody else can see.
    pub fn saves_constants(&self, since: u64) {
        let mut node = self;
        while node.seq >= since {
            if let Kind::Op { saved, .. } = &node.kind {
                let mut saved = saved.lock();
                if let Saved::Kept(kept) = &mut *saved {
                    *saved = Saved::Own(std::mem::take(kept));
                }
            }
            let Some(Some(Edge::Node(before, _))) = node.edges.first() else { return };
            node = before;
        }
    }
    /// What made the arguments as the user knows them: the nodes inside a composite operation are not shown.
    pub fn next(&self) -> Edges {
        let since = match self.label_of() {
            Some(l) if l.since < self.seq => l.since,
            _ => return self.edges.clone(),
        };
        let (mut out, mut todo, mut seen) = (Edges::new(), self.edges.clone(), Vec::new());
        todo.reverse();
        while let Some(edge) = todo.pop() {
            match edge {
                Some(Edge::Node(n, _)) if seen.contains(&n.seq) => {}
                Some(Edge::Node(n, _)) if n.seq >= since => {
                    seen.push(n.seq);
                    todo.extend(n.edges.iter().rev().cloned());
                }
                Some(outer) => out.push(Some(outer)),
                None => {}
            }
        }
        out
    }
    /// Which type the results have; those of a custom function have one.
    fn dtype(&self) -> DType {
        match &self.kind {
            Kind::Op { out_type, .. } => out_type.dtype,
            Kind::Custom(c) => c.dtype(),
        }
    }
    /// What the derivative reads, with its past.
    fn saved(self: &Arc<Self>) -> Result<Vec<Value>> {
        match &self.kind {
            Kind::Op { saved, op, .. } => {
                Ok(self.unpack(saved, op, false)?.into_iter().map(|(i, v, _)| self.with_past(i, v)).collect())
            }
            Kind::Custom(c) => c.unpack(self, false),
        }
    }
    /// Where the forward was called, for messages.
    pub fn at(&self) -> String {
        self.place.map_or_else(String::new, |p| format!(" (called at {p})"))
    }
    pub fn hooks(&self) -> Hooks {
        self.rare.get_or_init(Box::default).hooks.get_or_init(Hooks::default).clone()
    }
    pub fn existing_hooks(&self) -> Option<&Hooks> {
        self.rare.get()?.hooks.get()
    }
    pub fn retain(&self, index: u32, v: WeakValue) {
        self.hooks().retain(index, v);
    }
    /// Lets the values that keep the gradient of one result keep another's instead.
    pub fn move_retained(&self, index: u32, to: &Node, to_index: u32) {
        if let Some(h) = self.existing_hooks() {
            h.take_retained(index).into_iter().for_each(|v| to.retain(to_index, v));
        }
    }
    /// Replaces the elements that the derivative reads as the result by those of `by`, which has them too.
    pub fn adopt_result(&self, by: &Value) {
        if let Kind::Op { saved, .. } = &self.kind
            && let Saved::Kept(kept) = &mut *saved.lock()
            && let Some(slot) = kept.iter_mut().find(|k| k.0 == OUT)
        {
            (slot.1, slot.2) = (by.alias(), by.version());
        }
    }

    /// The cotangents of the arguments that `wanted` names, given to `sink` by position. `release` frees what was
    /// saved.
    ///
    /// # Errors
    /// Saved values that are gone or have changed, and whatever the rule says.
    pub fn pull_back(
        self: &Arc<Self>,
        d: &dyn Emit,
        mut cts: Cts,
        wanted: &dyn Fn(usize) -> bool,
        release: bool,
        mut sink: impl FnMut(usize, Option<Value>) -> Result<()>,
    ) -> Result<()> {
        match &self.kind {
            Kind::Op { op, arg_types, out_type, saved } => {
                let Some(Some(ct)) = cts.pop() else { return Ok(()) };
                let mut kept = self.unpack(saved, op, release)?;
                let mut value = |i: u8, ty: &Ty| match kept.iter().position(|k| k.0 == i) {
                    Some(at) => V::Tensor(self.with_past(i, kept.swap_remove(at).1)),
                    None => V::Type(ty.clone()),
                };
                let type_of = |i: usize| arg_types[i].as_deref().unwrap_or(out_type);
                let mut args: SmallVec<[Ex<'_>; 2]> = SmallVec::new();
                (0..arg_types.len()).for_each(|i| args.push(Ex::new(d, value(i.min(254) as u8, type_of(i)))));
                let (out, ct) = (Ex::new(d, value(OUT, out_type)), Ex::new(d, V::Tensor(ct)));
                let cx = Cx { op, args: &args, out: &out };
                for i in (0..arg_types.len()).filter(|&i| wanted(i)) {
                    let g = match diff::pull_back(&cx, i, &ct)? {
                        None if matches!(op.def.derivative, Derivative::Zero) => {
                            Some(Value::stored(Array::full(type_of(i), 0)))
                        }
                        None => None,
                        Some(Ex { v: V::Tensor(g), .. }) => {
                            debug_assert_eq!(g.ty(), type_of(i), "cotangent of argument {i} of {}", op.name());
                            Some(g)
                        }
                        Some(other) => panic!("bug: the derivative of {} is no tensor: {:?}", op.name(), other.v),
                    };
                    sink(i, g)?;
                }
                Ok(())
            }
            Kind::Custom(c) => {
                let grads = c.pull_back(self, &cts, wanted, release)?;
                grads.into_iter().enumerate().filter(|(i, _)| wanted(*i)).try_for_each(|(i, g)| sink(i, g))
            }
        }
    }
    /// A saved value with the past that it had when it was saved.
    fn with_past(self: &Arc<Self>, i: u8, v: Value) -> Value {
        if !super::mode::is_grad_enabled() {
            return v;
        }
        let edge = if i == OUT {
            Some(Edge::Node(self.clone(), 0))
        } else {
            self.edges.get(usize::from(i)).and_then(Clone::clone)
        };
        match (edge, v.edge()) {
            (None, Ok(None)) => v,
            (Some(was), Ok(Some(is))) if was.key() == is.key() => v,
            (Some(Edge::Leaf(leaf)), _) => leaf,
            (Some(Edge::Node(n, i)), _) => Value::with_past(v.ty().clone(), v.repr().clone(), None, Some((n, i))),
            (None, _) => v.alias(),
        }
    }
    /// The saved values, checked against later writes.
    fn unpack(&self, saved: &Mutex<Saved>, op: &Op, release: bool) -> Result<SmallVec<[(u8, Value, u64); 2]>> {
        let hole = {
            let mut guard = saved.lock();
            match &mut *guard {
                Saved::Freed => return Err(self.freed()),
                Saved::Own(own) => return Ok(own.clone()),
                Saved::Kept(kept) => {
                    if let Some((_, v, was)) = kept.iter().find(|(_, v, was)| v.version() != *was) {
                        return Err(self.modified(v, *was));
                    }
                    if !release || kept.is_empty() {
                        return Ok(kept.clone());
                    }
                    let out = std::mem::take(kept);
                    *guard = Saved::Freed;
                    return Ok(out);
                }
                Saved::Hole(h) => h.clone(),
            }
        };
        let kept = hole.fill(op, &self.name())?;
        if release && !kept.is_empty() {
            *saved.lock() = Saved::Freed;
        }
        Ok(kept)
    }
    /// The error for a second backward.
    pub fn freed(&self) -> Error {
        Error::Autograd(format!(
            "Trying to backward through the graph a second time (or directly access saved tensors after they have \
             already been freed): the values {} saved are gone. Specify retain_graph=true in the first backward if you \
             need to backward through the graph a second time{}",
            self.name(),
            self.at()
        ))
    }
    /// The error for a saved value that was written to.
    pub fn modified(&self, v: &Value, was: u64) -> Error {
        let class = match v.ty().dtype {
            DType::F32 => "FloatTensor",
            DType::F64 => "DoubleTensor",
            DType::I64 => "LongTensor",
            DType::Bool => "BoolTensor",
        };
        let made = match v.edge() {
            Ok(Some(Edge::Node(n, i))) => format!(", which is output {i} of {}{},", n.name(), n.at()),
            _ => String::new(),
        };
        Error::Autograd(format!(
            "one of the variables needed for gradient computation has been modified by an inplace operation: \
             [torch.{class} {:?}]{made} is at version {}; expected version {was} instead. It was saved by {}{}",
            v.ty().shape.as_slice(),
            v.version(),
            self.name(),
            self.at()
        ))
    }
    /// Whether the node keeps values that a backward without `retain_graph` frees.
    pub fn saves(&self) -> bool {
        match &self.kind {
            Kind::Op { saved, .. } => match &*saved.lock() {
                Saved::Kept(k) => !k.is_empty(),
                Saved::Own(_) => false,
                Saved::Hole(_) | Saved::Freed => true,
            },
            Kind::Custom(c) => c.saves(),
        }
    }
}

/// `"matmul"` as `"MatmulBackward0"`; PyTorch's name where it has another.
fn display_name(op: &Op) -> String {
    let name = match op.name() {
        "ln" => "log",
        "concat" => "cat",
        "recip" => "reciprocal",
        "select" => "where",
        "square" | "powi" => "pow",
        "cast" => "to_copy",
        "window" => "as_strided",
        "set_window" => return "CopySlices".into(),
        "log1p" => return "Log1PBackward0".into(),
        other => other,
    };
    let parts = name.split('_').map(|p| {
        let mut c = p.chars();
        c.next().map_or_else(String::new, |f| f.to_ascii_uppercase().to_string() + c.as_str())
    });
    format!("{}Backward0", parts.collect::<String>())
}

/// Something that owns a part of a graph, held to be dropped.
#[expect(dead_code, reason = "owned for its drop alone")]
pub(super) enum Owned {
    Node(Arc<Node>),
    Value(Value),
}

/// What is waiting to be dropped while something is being dropped further up the stack.
#[derive(Default)]
struct Queue {
    running: Cell<bool>,
    parts: RefCell<Parts>,
}
thread_local! {
    static QUEUE: Queue = const { Queue { running: Cell::new(false), parts: RefCell::new(Parts::new()) } };
}

/// What nodes and values own.
pub(super) type Parts = Vec<Owned>;

/// Drops parts of a graph, which `take` moves out of their owner, without recursion, however long the chains of
/// nodes, gradients and views: what is dropped while this runs adds to the queue.
fn drop_all(take: impl FnOnce(&mut Parts)) {
    fn run(q: &Queue) {
        loop {
            let next = q.parts.borrow_mut().pop();
            let Some(next) = next else { break };
            drop(next);
        }
        q.running.set(false);
    }
    let mut take = Some(take);
    let mut collect = |parts: &mut Parts| take.take().map_or((), |take| take(parts));
    let queued = QUEUE.try_with(|q| {
        collect(&mut q.parts.borrow_mut());
        if !q.running.replace(true) {
            run(q);
        }
    });
    if queued.is_err() {
        // a thread that ends has no queue any more
        let q = Queue::default();
        collect(&mut q.parts.borrow_mut());
        run(&q);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop_all(|parts| {
            for e in self.edges.drain(..).flatten() {
                parts.push(match e {
                    Edge::Node(n, _) => Owned::Node(n),
                    Edge::Leaf(v) => Owned::Value(v),
                });
            }
            match &mut self.kind {
                Kind::Op { saved, .. } => {
                    if let Saved::Kept(kept) = saved.get_mut() {
                        kept.drain(..).for_each(|k| parts.push(Owned::Value(k.1)));
                    }
                }
                Kind::Custom(c) => c.take_values(parts),
            }
        });
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.view.is_none() && self.meta.get_mut().is_free() {
            return;
        }
        drop_all(|parts| Value::take_graph(self, parts));
    }
}

/// The node of the tape that made a tensor: PyTorch's `grad_fn`.
///
/// ```
/// use autograd_runtime::Tensor;
/// let x = Tensor::<f64>::ones([2]).requires_grad_(true);
/// let add = (&x * 2.0 + 1.0).grad_fn().unwrap();
/// let mul = add.next_functions()[0].clone().unwrap();
/// assert_eq!((add.to_string(), mul.name()), ("<AddBackward0>".into(), "MulBackward0".into()));
/// // the number has no gradient
/// assert_eq!(mul.next_functions()[0].as_ref().unwrap().name(), "AccumulateGrad");
/// assert!(mul.next_functions()[1].is_none());
/// ```
#[derive(Clone)]
pub struct GradFn(pub(super) Edge);

impl GradFn {
    /// The name, as `AddBackward0`; `AccumulateGrad` for a leaf.
    pub fn name(&self) -> String {
        match &self.0 {
            Edge::Node(n, _) => n.name(),
            Edge::Leaf(_) => "AccumulateGrad".into(),
        }
    }
    /// What made the arguments, in order; `None` for those that are not tracked.
    pub fn next_functions(&self) -> Vec<Option<GradFn>> {
        match &self.0 {
            Edge::Node(n, _) => n.next().into_iter().map(|e| e.map(GradFn)).collect(),
            Edge::Leaf(_) => Vec::new(),
        }
    }
    /// The leaf that an `AccumulateGrad` adds to.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::<f64>::ones([2]).requires_grad_(true);
    /// let behind = (&x + 1.0).grad_fn().unwrap().next_functions();
    /// assert!(behind[0].as_ref().unwrap().variable::<f64>().unwrap().is_same(&x));
    /// ```
    pub fn variable<T: Float>(&self) -> Option<Tensor<T>> {
        match &self.0 {
            Edge::Leaf(v) if v.ty().dtype == T::DTYPE => Some(Tensor::from_value(v.clone())),
            _ => None,
        }
    }
    /// What the node's derivative reads and keeps for it: arguments in order, then the result, those of this element
    /// type. They share elements and version with the tensors that were saved.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::<f64>::ones([2]).requires_grad_(true);
    /// let y = x.exp();
    /// assert_eq!(y.grad_fn().unwrap().saved_tensors::<f64>()?[0].to_vec(), y.to_vec());
    /// assert!((&x + &y).grad_fn().unwrap().saved_tensors::<f64>()?.is_empty());
    /// # Ok::<(), autograd_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    /// If a backward has freed them, or if one of them was written to since.
    pub fn saved_tensors<T: Element>(&self) -> Result<Vec<Tensor<T>>> {
        let Edge::Node(n, _) = &self.0 else { return Ok(Vec::new()) };
        let saved = n.saved()?.into_iter().filter(|v| v.ty().dtype == T::DTYPE);
        Ok(saved.map(Tensor::from_value).collect())
    }
    /// The hooks around the node or the accumulation of a leaf, for closures on tensors of this type.
    fn hooks<T: Float>(&self, what: &str) -> Result<Hooks> {
        let (hooks, dtype) = match &self.0 {
            Edge::Node(n, _) => (n.hooks(), n.dtype()),
            Edge::Leaf(v) => (v.leaf_hooks(), v.ty().dtype),
        };
        if dtype == T::DTYPE { Ok(hooks) } else { Err(Error::dtype(what, dtype.name(), T::DTYPE)) }
    }
    /// Registers a closure that runs before this node in backward, on the gradients of its results; what it
    /// returns takes their place. It runs after the hooks of the tensor itself.
    ///
    /// ```
    /// use autograd_runtime::{Grads, Tensor};
    /// let x = Tensor::<f64>::ones([2]).requires_grad_(true);
    /// let y = &x * 3.0;
    /// let node = y.grad_fn().unwrap();
    /// node.register_prehook(|g: &Grads<f64>| Some(vec![g[0].as_ref().map(|g| g * 10.0)]))?;
    /// y.sum().backward()?;
    /// assert_eq!(x.grad().unwrap().to_vec(), [30.0, 30.0]);
    /// # Ok::<(), autograd_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the node computes in another element type. Backward fails if the number or the types of what is returned
    /// differ.
    pub fn register_prehook<T: Float>(
        &self,
        f: impl Fn(&Grads<T>) -> Option<Grads<T>> + Send + Sync + 'static,
    ) -> Result<HookHandle> {
        let run = move |g: &Vec<Option<Value>>| Ok(f(&hooks::typed(g)?).map(hooks::untyped));
        Ok(self.hooks::<T>("register_prehook")?.before(Arc::new(run)))
    }
    /// Registers a closure that runs after this node in backward, on the gradients of its arguments
    /// (`grad_inputs`, those that are wanted; an `AccumulateGrad` has none) and of its results (`grad_outputs`); what
    /// it returns takes the place of the former.
    ///
    /// # Errors
    /// As [`GradFn::register_prehook`].
    pub fn register_hook<T: Float>(
        &self,
        f: impl Fn(&Grads<T>, &Grads<T>) -> Option<Grads<T>> + Send + Sync + 'static,
    ) -> Result<HookHandle> {
        let run = move |given: &Vec<Option<Value>>, received: &Vec<Option<Value>>| {
            Ok(f(&hooks::typed(given)?, &hooks::typed(received)?).map(hooks::untyped))
        };
        Ok(self.hooks::<T>("register_hook")?.after(Arc::new(run)))
    }
}
impl fmt::Debug for GradFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.name())
    }
}
impl fmt::Display for GradFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
impl PartialEq for GradFn {
    /// Whether both are the same node.
    fn eq(&self, o: &Self) -> bool {
        self.0.key().0 == o.0.key().0
    }
}
impl Eq for GradFn {}
