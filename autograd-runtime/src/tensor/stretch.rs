//! Functions that fall back, in stretches: operations are collected into a graph until somebody asks for elements, and
//! then computed together. A graph that is met again runs as a compiled program with one node on the tape (`program`).
//!
//! What is collected is a [`Pending`] value. Whoever asks it for anything but its type ends the stretch and finds the
//! value on the tape in its place, so nothing outside this folder can see a difference: the same shape errors at the
//! same places, views of what they are views of, the same values tracked. Only operations that cannot fail on their
//! elements are collected. Numbers are inputs of the graph, not constants, so that a number that changes from call to
//! call changes no program. A result that nobody holds when the stretch ends is not stored.
//!
//! What needs the tape as it is, a write in place or a question for a node, ends the stretch first and sends the
//! function back to the plain tape for good. So the first call of a function runs plain, to see whether it does such
//! things.

mod program;

use super::{
    Value,
    dispatch::{eager_at, shares},
    meta::Creation,
    mode::{is_anomaly_enabled, is_grad_enabled, set_grad_enabled},
    replay,
    value::{Repr, WeakValue},
};
use crate::{
    error::{Place, Result},
    graph::{Args, Builder, Graph, NodeId},
    op::{Lower, Op, arith, conv, create},
    profiler, session,
};
use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;
use std::{
    cell::{Cell, RefCell},
    fmt,
    sync::{Arc, OnceLock},
};

pub(crate) use program::Stretches;

/// An operation on fewer elements is computed at once, unless an argument is pending: it costs no more than collecting.
const LEAST: usize = 256;
/// Nodes after which a stretch ends: the time to compile grows faster than the graph.
const LONGEST: usize = 512;

/// What collects the operations of one call of a function.
pub(crate) struct Collector {
    known: Arc<Stretches>,
    open: RefCell<Option<Arc<Stretch>>>,
    mode: Cell<Mode>,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// Computes at once, to see whether the function needs the tape as it is.
    Watching,
    Collecting,
    /// Backward, or after something that needs the tape.
    Over,
}

impl Stretches {
    /// What collects in one more call; none for a function that stays on the plain tape.
    pub fn collector(known: &Arc<Stretches>) -> Option<Collector> {
        if known.is_plain() || is_anomaly_enabled() || profiler::is_active() {
            return None;
        }
        let mode = Cell::new(if known.is_first_call() { Mode::Watching } else { Mode::Collecting });
        Some(Collector { known: known.clone(), open: RefCell::default(), mode })
    }
}

impl Collector {
    /// The result of an operation that is collected; `None` if it is to be computed at once.
    pub fn collect(&self, op: &Op, args: &[&Value], place: Option<Place>) -> Option<Value> {
        let worth = |a: &&Value| a.ty().numel() >= LEAST || a.is_pending();
        let stands = |a: &&Value| matches!(a.known().0.repr, Repr::Stored { .. } | Repr::Pending(_));
        if self.mode.get() != Mode::Collecting || !is_total(op) || !args.iter().any(worth) || !args.iter().all(stands) {
            return None;
        }
        self.stretch()?.add(op, args, place)
    }
    /// The stretch that is open, or a new one: each records, or does not, as a whole.
    fn stretch(&self) -> Option<Arc<Stretch>> {
        let recording = is_grad_enabled();
        let mut open = self.open.borrow_mut();
        if let Some(s) = &*open {
            match s.records() {
                Some(r) if r == recording => return Some(s.clone()),
                Some(_) => s.end(),
                None => {}
            }
        }
        if self.known.is_plain() {
            self.mode.set(Mode::Over);
            return None;
        }
        Some(open.insert(Stretch::new(self.known.clone(), recording)).clone())
    }
    /// Computes what was collected; from here on nothing is.
    pub fn end(&self) {
        self.mode.set(Mode::Over);
        let open = self.open.take();
        open.iter().for_each(|s| s.end());
    }
    /// As [`Collector::end`], for all later calls too.
    pub fn needs_tape(&self) {
        if self.mode.get() != Mode::Over {
            self.known.stay_plain();
            self.end();
        }
    }
}

/// Whether an operation has a result for whatever elements it meets, and a compiled form.
fn is_total(op: &Op) -> bool {
    match op.def.lower {
        Lower::Inline(_)
        | Lower::Unary(_)
        | Lower::Binary(_)
        | Lower::Powi
        | Lower::Reduce(_)
        | Lower::View(_)
        | Lower::MatMul => true,
        Lower::Library => op.is(&conv::CONV) || op.is(&conv::CONV_INPUT) || op.is(&conv::CONV_WEIGHT),
        Lower::Const | Lower::Iota => false,
    }
}

/// The result of a collected operation, and what it has become.
pub(crate) struct Pending {
    stretch: Arc<Stretch>,
    node: NodeId,
    value: OnceLock<Value>,
}

impl Pending {
    pub fn known(&self) -> Option<&Value> {
        self.value.get()
    }
    /// The value on the tape; the stretch ends here if it has not yet.
    pub fn settled(&self, this: &Value) -> &Value {
        if self.value.get().is_none() {
            self.stretch.end();
        }
        // a stretch that failed has said so
        self.value.get_or_init(|| Value::absent(this.ty().clone()))
    }
}
impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} of a stretch", self.node.index())
    }
}

/// Operations that wait for one another; none once they have been computed. Values may be asked for by another thread.
struct Stretch(Mutex<Option<Open>>);

struct Open {
    known: Arc<Stretches>,
    graph: Builder,
    /// What the operations take from outside, and the nodes that stand for it.
    inputs: Vec<Value>,
    found: FxHashMap<usize, NodeId>,
    /// Where the operation of a node was called.
    places: FxHashMap<NodeId, Place>,
    /// All results, in the order of their making.
    results: Vec<(NodeId, WeakValue)>,
    recording: bool,
}

impl Stretch {
    fn new(known: Arc<Stretches>, recording: bool) -> Arc<Stretch> {
        Arc::new(Stretch(Mutex::new(Some(Open {
            known,
            graph: Builder::new(),
            inputs: Vec::new(),
            found: FxHashMap::default(),
            places: FxHashMap::default(),
            results: Vec::new(),
            recording,
        }))))
    }
    /// Whether it records; `None` if it has ended.
    fn records(&self) -> Option<bool> {
        self.0.lock().as_ref().map(|o| o.recording)
    }
    fn add(self: &Arc<Self>, op: &Op, args: &[&Value], place: Option<Place>) -> Option<Value> {
        // what belongs to other stretches ends them, before this one is locked
        args.iter().filter(|a| self.node(a).is_none()).for_each(|a| {
            a.settled();
        });
        let mut guard = self.0.lock();
        let open = guard.as_mut()?;
        let ids: Args = args.iter().map(|a| self.node(a).unwrap_or_else(|| open.input(a.settled()))).collect();
        // the tape finds the same error
        let node = open.graph.add(op.clone(), &ids).ok()?;
        if let Some(p) = place {
            open.places.entry(node).or_insert(p);
        }
        let pending = Pending { stretch: self.clone(), node, value: OnceLock::new() };
        let v = Value::new(open.graph.ty_of(node), Repr::Pending(Arc::new(pending)));
        open.results.push((node, WeakValue::of(&v)));
        let full = open.graph.len() >= LONGEST;
        drop(guard);
        if full {
            self.end();
        }
        Some(v)
    }
    /// The node of a value that is pending here.
    fn node(self: &Arc<Self>, v: &Value) -> Option<NodeId> {
        match &v.0.repr {
            Repr::Pending(p) if Arc::ptr_eq(&p.stretch, self) && p.known().is_none() => Some(p.node),
            _ => None,
        }
    }
    /// Computes what is still held. The lock is kept, so that other threads wait for it.
    fn end(&self) {
        let mut guard = self.0.lock();
        if let Some(open) = guard.take()
            && let Err(e) = open.finish()
            && let Err(e) = session::report(e)
        {
            tracing::error!("{e}");
        }
    }
}

impl Open {
    fn input(&mut self, v: &Value) -> NodeId {
        let (graph, inputs) = (&self.graph, &mut self.inputs);
        *self.found.entry(v.address()).or_insert_with(|| {
            inputs.push(v.clone());
            graph.input(v.ty())
        })
    }
    /// Makes values on the tape of all results that somebody holds.
    fn finish(self) -> Result<()> {
        let held: Vec<(NodeId, Value)> = self.results.iter().filter_map(|(n, v)| Some((*n, v.upgrade()?))).collect();
        if held.is_empty() {
            return Ok(());
        }
        let graph = self.graph.finish(Vec::new())?;
        // a view that outlives the stretch is one on the tape, of what it is a view of
        let mut outs: Vec<NodeId> = Vec::new();
        let mut seen = FxHashSet::default();
        for &(mut id, _) in &held {
            while shares(&graph.node(id).op) {
                id = graph.node(id).args[0];
            }
            if !graph.node(id).op.is(&create::INPUT) && seen.insert(id) {
                outs.push(id);
            }
        }
        let mut made: FxHashMap<NodeId, Value> = graph.inputs().iter().copied().zip(self.inputs.clone()).collect();
        let place = |id: NodeId| self.places.get(&id).copied();
        let graph = graph.with_outputs(outs.clone());
        set_grad_enabled(self.recording, || {
            let results = compute(&self.known, &graph, &self.inputs, self.recording, place)?;
            made.extend(outs.into_iter().zip(results));
            let mut given = FxHashSet::default();
            for (id, handle) in &held {
                let first = given.insert(*id);
                let value = match on_tape(&graph, &mut made, *id, place)? {
                    v if first => v,
                    // two results that are equal are two tensors
                    _ if shares(&graph.node(*id).op) => again(&graph, &made, *id, place)?,
                    v => eager_at(Op::new(&arith::COPY), &[&v], place(*id), Creation::Plain)?,
                };
                if let Repr::Pending(p) = &handle.0.repr {
                    let _ = p.value.set(value);
                }
            }
            Ok(())
        })
    }
}

/// The value of a node: what was computed, or a view of it.
fn on_tape(
    graph: &Graph,
    made: &mut FxHashMap<NodeId, Value>,
    id: NodeId,
    place: impl Fn(NodeId) -> Option<Place> + Copy,
) -> Result<Value> {
    let mut chain: SmallVec<[NodeId; 4]> = SmallVec::new();
    let mut at = id;
    while !made.contains_key(&at) {
        chain.push(at);
        at = graph.node(at).args[0];
    }
    for &view in chain.iter().rev() {
        let v = again(graph, made, view, place)?;
        made.insert(view, v);
    }
    Ok(made[&id].clone())
}

/// One more view of what has been computed.
fn again(
    graph: &Graph,
    made: &FxHashMap<NodeId, Value>,
    id: NodeId,
    place: impl Fn(NodeId) -> Option<Place>,
) -> Result<Value> {
    let n = graph.node(id);
    eager_at(n.op.clone(), &[&made[&n.args[0]]], place(id), Creation::Plain)
}

/// The outputs of a graph on the tape: compiled if it is known and large enough, operation by operation otherwise.
fn compute(
    known: &Stretches,
    graph: &Graph,
    inputs: &[Value],
    recording: bool,
    place: impl Fn(NodeId) -> Option<Place> + Copy,
) -> Result<Vec<Value>> {
    let tracked: Vec<usize> = (0..inputs.len()).filter(|&i| recording && inputs[i].requires_grad()).collect();
    if let Some(program) = known.meet(graph, &tracked)
        && let Ok(results) = program.run(inputs, graph.outputs().last().and_then(|&o| place(o)))
    {
        return Ok(results);
    }
    replay::forward(graph, inputs, place)
}
