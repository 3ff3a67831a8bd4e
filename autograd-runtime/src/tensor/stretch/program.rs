//! Graphs of stretches that were met before, as programs: one that computes the results and what reverse mode reads,
//! and for each choice of cotangents one that goes back.

use super::{
    super::{
        custom::CustomNode,
        dispatch::shares,
        mode::is_grad_enabled,
        node::{Edges, Node, differentiable},
        replay,
    },
    Value,
};
use crate::{
    diff,
    entry::run_program,
    error::{Error, Place, Result},
    graph::{Args, Builder, Graph, NodeId},
    op::create,
    program::Program,
    ty::Ty,
};
use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHasher};
use std::{
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Graphs that are kept for a function at the most.
const MOST: usize = 64;
/// Operations that a program must have to be worth it: the call of one costs as much as that of a few operations.
const FEWEST: usize = 3;
/// Ways back that are kept for a graph.
const WAYS: usize = 8;
/// A function is looked at after so many stretches: if less than a quarter of the operations ran compiled, because the
/// stretches are short or their graphs ever new, collecting them costs more than it saves.
const WINDOW: usize = 64;

/// The stretches of one function at one form of arguments.
#[derive(Default)]
pub(crate) struct Stretches {
    /// Whether it is to run on the tape operation by operation.
    plain: AtomicBool,
    called: AtomicBool,
    met: Mutex<Met>,
}

#[derive(Default)]
struct Met {
    slots: FxHashMap<u64, Vec<Slot>>,
    graphs: usize,
    /// Of the stretches of this window: how many, of how many operations, how many of which ran compiled.
    stretches: usize,
    operations: usize,
    paid: usize,
}

struct Slot {
    graph: Graph,
    tracked: Vec<usize>,
    state: State,
}
enum State {
    Once,
    Compiled(Arc<Pair>),
    /// It has no compiled form.
    Replayed,
}

impl Stretches {
    pub fn is_plain(&self) -> bool {
        self.plain.load(Ordering::Relaxed)
    }
    pub fn stay_plain(&self) {
        self.plain.store(true, Ordering::Relaxed);
    }
    pub(super) fn is_first_call(&self) -> bool {
        !self.called.swap(true, Ordering::Relaxed)
    }
    /// How many stretches are compiled.
    pub fn compiled(&self) -> usize {
        let met = self.met.lock();
        met.slots.values().flatten().filter(|s| matches!(s.state, State::Compiled(_))).count()
    }
    /// The program of a graph with these inputs tracked, if it is large enough and has been met before.
    pub(super) fn meet(&self, graph: &Graph, tracked: &[usize]) -> Option<Arc<Pair>> {
        let live = graph.live();
        let counts = |(id, n): &(NodeId, &crate::graph::Node)| live[id.index()] && !n.args.is_empty() && !shares(&n.op);
        let n = graph.nodes().filter(counts).count();
        let mut met = self.met.lock();
        let pair = if n < FEWEST { None } else { met.find(graph, tracked) };
        met.stretches += 1;
        met.operations += n;
        met.paid += if pair.is_some() { n } else { 0 };
        if met.stretches == WINDOW {
            if met.paid * 4 < met.operations {
                self.stay_plain();
            }
            (met.stretches, met.operations, met.paid) = (0, 0, 0);
        }
        pair
    }
}

impl Met {
    fn find(&mut self, graph: &Graph, tracked: &[usize]) -> Option<Arc<Pair>> {
        let mut h = FxHasher::default();
        (graph, tracked).hash(&mut h);
        let slots = self.slots.entry(h.finish()).or_default();
        if let Some(s) = slots.iter_mut().find(|s| s.graph == *graph && s.tracked == tracked) {
            if let State::Once = s.state {
                s.state = match Pair::compile(graph, tracked) {
                    Ok(p) => State::Compiled(Arc::new(p)),
                    Err(e) => {
                        tracing::debug!("a stretch is not compiled: {e}");
                        State::Replayed
                    }
                };
            }
            return if let State::Compiled(p) = &s.state { Some(p.clone()) } else { None };
        }
        if self.graphs < MOST {
            self.graphs += 1;
            slots.push(Slot { graph: graph.clone(), tracked: tracked.to_vec(), state: State::Once });
        }
        None
    }
}

/// Where a value that reverse mode reads is found.
#[derive(Clone, Copy)]
enum Read {
    Input(usize),
    /// A result of the program, one that it gives for this alone among them.
    Result(usize),
}

/// The programs of a graph.
pub(super) struct Pair {
    graph: Graph,
    /// Tracked inputs, and the outputs that a cotangent comes from.
    tracked: Vec<usize>,
    flowing: Vec<usize>,
    forward: Program,
    /// What reverse mode reads: nodes of [`diff::vjp_of`], and where their values are found.
    cut: Vec<NodeId>,
    reads: Vec<Read>,
    back: Mutex<Vec<Arc<Back>>>,
}

/// The way back from some outputs to some inputs.
struct Back {
    from: Vec<bool>,
    to: Vec<bool>,
    /// From what is read and the cotangents to the cotangents that are reached.
    graph: Graph,
    reached: Vec<bool>,
    /// None if it has no compiled form: then the graph is replayed.
    program: Option<Program>,
}

fn chosen(of: &[usize], which: &[bool]) -> Vec<usize> {
    of.iter().zip(which).filter(|(_, w)| **w).map(|(&i, _)| i).collect()
}
/// Values at the places that are set.
fn spread(values: Vec<Value>, reached: &[bool], wanted: &[bool]) -> Vec<Option<Value>> {
    let (mut values, mut reached) = (values.into_iter(), reached.iter());
    wanted.iter().map(|&w| if w && reached.next() == Some(&true) { values.next() } else { None }).collect()
}

impl Pair {
    fn compile(graph: &Graph, tracked: &[usize]) -> Result<Pair> {
        // as on the tape: what depends on something tracked through operations that carry a node
        let mut carries = vec![false; graph.len()];
        tracked.iter().for_each(|&i| carries[graph.inputs()[i].index()] = true);
        for (id, n) in graph.nodes() {
            carries[id.index()] |= differentiable(&n.op, &n.ty) && n.args.iter().any(|a| carries[a.index()]);
        }
        let n = graph.outputs().len();
        let flowing: Vec<usize> = (0..n).filter(|&i| carries[graph.outputs()[i].index()]).collect();
        let (mut cut, mut reads) = (Vec::new(), Vec::new());
        let mut forward = graph.clone();
        if !flowing.is_empty() {
            let (both, _) = diff::vjp_of(graph, &flowing, tracked)?;
            cut = needed(&both, graph).1;
            let mut outs = both.outputs()[..n].to_vec();
            for &id in &cut {
                let op = &both.node(id).op;
                reads.push(if op.is(&create::INPUT) {
                    Read::Input(op.int(0) as usize)
                } else {
                    Read::Result(outs.iter().position(|o| *o == id).unwrap_or_else(|| {
                        outs.push(id);
                        outs.len() - 1
                    }))
                });
            }
            let b = Builder::new();
            let inputs: Vec<NodeId> = graph.inputs().iter().map(|&i| b.input(graph.ty(i))).collect();
            let outs = b.inline(&both.with_outputs(outs), &inputs)?;
            forward = b.finish(outs)?;
        }
        let pair = Pair {
            graph: graph.clone(),
            tracked: tracked.to_vec(),
            forward: Program::compile(&forward, false)?,
            cut,
            reads,
            back: Mutex::default(),
            flowing,
        };
        if !pair.flowing.is_empty() {
            // the usual way back, so that a graph that cannot be differentiated is found now
            pair.back(&vec![true; pair.flowing.len()], &vec![true; pair.tracked.len()])?;
        }
        Ok(pair)
    }

    /// The outputs, with one node behind those that gradients flow through.
    pub fn run(self: &Arc<Self>, inputs: &[Value], place: Option<Place>) -> Result<Vec<Value>> {
        let mut results = run_program(&self.forward, inputs)?;
        if self.flowing.is_empty() {
            return Ok(results);
        }
        let edges: Edges = self.tracked.iter().map(|&i| inputs[i].edge()).collect::<Result<_>>()?;
        let ty = |v: &Value| v.ty().clone();
        let out_types: Vec<Ty> = self.flowing.iter().map(|&i| ty(&results[i])).collect();
        let arg_types: Vec<Ty> = self.tracked.iter().map(|&i| ty(&inputs[i])).collect();
        let n = self.graph.outputs().len();
        let saved: Vec<Value> = self
            .reads
            .iter()
            .map(|r| match *r {
                Read::Input(i) => inputs[i].clone(),
                // the output itself will hold the node that holds this
                Read::Result(i) => results[i].alias(),
            })
            .collect();
        results.truncate(n);
        let (pair, inputs) = (self.clone(), inputs.to_vec());
        let versions: Vec<u64> = inputs.iter().map(Value::version).collect();
        let run = move |saved: Result<Vec<Value>>, cts: &[Option<Value>], wanted: &[bool]| {
            let saved = saved?;
            let from: Vec<bool> = cts.iter().map(Option::is_some).collect();
            let cts = cts.iter().flatten().cloned();
            if is_grad_enabled() {
                // higher orders flow through what the stretch is made of
                if inputs.iter().map(Value::version).ne(versions.iter().copied()) {
                    return Err(Error::Autograd(
                        "one of the variables needed for gradient computation has been modified by an inplace \
                         operation since a compiled stretch read it"
                            .into(),
                    ));
                }
                return pair.retrace(&inputs, cts, &from, wanted);
            }
            let back = pair.back(&from, wanted)?;
            let all: Vec<Value> = saved.into_iter().chain(cts).collect();
            let grads = match &back.program {
                Some(p) => run_program(p, &all)?,
                None => replay::forward(&back.graph, &all, |_| None)?,
            };
            Ok(spread(grads, &back.reached, wanted))
        };
        let node = CustomNode::derived("Stretch", out_types, arg_types, saved, Box::new(run));
        let node = Node::custom(node, edges, place);
        self.flowing.iter().enumerate().for_each(|(k, &i)| results[i].set_grad_fn(node.clone(), k as u32));
        Ok(results)
    }

    /// The vector-Jacobian product on the tape, from the inputs with their past.
    fn retrace(
        &self,
        inputs: &[Value],
        cts: impl Iterator<Item = Value>,
        from: &[bool],
        wanted: &[bool],
    ) -> Result<Vec<Option<Value>>> {
        let (both, reached) = diff::vjp_of(&self.graph, &chosen(&self.flowing, from), &chosen(&self.tracked, wanted))?;
        let grads = both.outputs()[self.graph.outputs().len()..].to_vec();
        let all: Vec<Value> = inputs.iter().cloned().chain(cts).collect();
        Ok(spread(replay::forward(&both.with_outputs(grads), &all, |_| None)?, &reached, wanted))
    }

    fn back(&self, from: &[bool], to: &[bool]) -> Result<Arc<Back>> {
        if let Some(b) = self.back.lock().iter().find(|b| b.from == from && b.to == to) {
            return Ok(b.clone());
        }
        let (both, reached) = diff::vjp_of(&self.graph, &chosen(&self.flowing, from), &chosen(&self.tracked, to))?;
        let (needs, _) = needed(&both, &self.graph);
        let b = Builder::new();
        let mut map: Vec<Option<NodeId>> = vec![None; both.len()];
        for &id in self.cut.iter().chain(&both.inputs()[self.graph.inputs().len()..]) {
            map[id.index()] = Some(b.input(both.ty(id)));
        }
        let unknown = || Error::Compile("reverse mode reads what a stretch has not kept".into());
        for (id, n) in both.nodes().filter(|(id, _)| needs[id.index()]) {
            if map[id.index()].is_none() {
                let args = n.args.iter().map(|a| map[a.index()]).collect::<Option<Args>>().ok_or_else(unknown)?;
                map[id.index()] = Some(b.add(n.op.clone(), &args)?);
            }
        }
        let grads = both.outputs()[self.graph.outputs().len()..].iter().map(|o| map[o.index()]);
        let graph = b.finish(grads.collect::<Option<_>>().ok_or_else(unknown)?)?;
        let program = Program::compile(&graph, false).ok();
        let back = Arc::new(Back { from: from.to_vec(), to: to.to_vec(), graph, reached, program });
        let mut all = self.back.lock();
        if all.len() < WAYS {
            all.push(back.clone());
        }
        Ok(back)
    }
}

/// Of a vector-Jacobian product of `graph`: the nodes of its way back, views of forward values among them, and the
/// forward nodes that it reads, in order.
fn needed(both: &Graph, graph: &Graph) -> (Vec<bool>, Vec<NodeId>) {
    let grads = both.outputs()[graph.outputs().len()..].to_vec();
    let first = both.inputs().get(graph.inputs().len()).map_or(both.len(), |ct| ct.index());
    let way = both.clone().with_outputs(grads.clone());
    let mut needs = way.live();
    needs[..first].fill(false);
    let args = both.nodes().filter(|(id, _)| needs[id.index()]).flat_map(|(_, n)| n.args.iter().copied());
    let mut todo: Vec<NodeId> = args.chain(grads).filter(|id| id.index() < first).collect();
    let mut cut = Vec::new();
    while let Some(id) = todo.pop() {
        let n = both.node(id);
        if shares(&n.op) {
            needs[id.index()] = true;
            todo.push(n.args[0]);
        } else {
            cut.push(id);
        }
    }
    cut.sort_unstable();
    cut.dedup();
    (needs, cut)
}
