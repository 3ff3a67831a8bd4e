//! Turns a kernel into a schedule: which nodes are computed once a row, which in which stage and
//! phase of the inner range, and where values that cross phases or stages live in scratch.
//! Invariant: a step only needs values that earlier steps of its phase, splats of its stage, or
//! scratch written by earlier phases provide.
//!
//! A stage is the inner-level work that depends on the same depth of inner reductions. A phase is
//! one loop of inline code followed by block calls whose results the next phase reads.

use super::lanes::Shape;
use super::{Access, Id, Kernel, Lowering, NodeKind, ReduceKind, Scope, size_of};
use crate::ty::DType;
use smallvec::{SmallVec, smallvec};
use std::collections::BTreeMap;

/// Bytes of one full block slot: 512 f32 or 256 f64, so that a dozen slots stay in L1.
const SLOT_BYTES: usize = 2048;
/// Elements summed before a partial sum is added to the row's sum; a multiple of any block length.
const SUM_BLOCK: usize = 1024;
/// Inner elements of a tile: as many lines of a transposed operand stay cached from row to row.
const TILE: usize = 16;
/// Alignment of slots: a cache line and a full AVX-512 vector.
const ALIGN: usize = 64;

/// A value's home in scratch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Byte offset in scratch.
    pub offset: usize,
    /// Whether it is indexed from the row's start; else from the block's start.
    pub row: bool,
}

/// One step in the body of a phase's loop.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Compute an inline node, load or iota.
    Compute(Id),
    /// Read a value from its place.
    Reload(Id),
    /// Write a value to its place.
    Spill(Id),
    /// Combine into accumulator number `.0` of the stage.
    Reduce(usize),
    /// Perform plain store number `.0`.
    Store(usize),
    /// Combine into memory by store number `.0`, an outer reduction.
    Accumulate(usize),
}

/// Where a block call finds an argument.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// In the place of a value.
    Place(Id),
    /// In the buffer of a contiguous load.
    Buffer(Id),
}

/// A block call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The node it computes, into its place.
    pub node: Id,
    /// Its arguments.
    pub args: SmallVec<[Source; 2]>,
}

/// A loop of inline code, then calls.
#[derive(Clone, Debug, Default)]
pub struct Phase {
    /// Body of the loop.
    pub steps: Vec<Step>,
    /// Calls after the loop.
    pub calls: Vec<Call>,
}

/// A reduction along the inner range.
#[derive(Clone, Copy, Debug)]
pub struct Reduction {
    /// The reducing node.
    pub node: Id,
    /// What it reduces.
    pub arg: Id,
    /// How.
    pub kind: ReduceKind,
}

/// The work of one reduction depth.
#[derive(Clone, Debug, Default)]
pub struct Stage {
    /// Row-level nodes to compute first, in order.
    pub row_nodes: Vec<Id>,
    /// Row-level stores, after those.
    pub row_stores: Vec<usize>,
    /// Row-level nodes the inner loops use.
    pub splats: Vec<Id>,
    /// Accumulators of the inner loops.
    pub reductions: Vec<Reduction>,
    /// Stores of All reductions: store and accumulator numbers.
    pub after: Vec<(usize, usize)>,
    /// Inner work; empty if there is none.
    pub phases: Vec<Phase>,
    /// Elements walked at a time; `usize::MAX` for the whole range.
    pub block: usize,
    /// Homes of values in this stage.
    pub places: BTreeMap<Id, Place>,
}

/// The schedule of a kernel.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Shape of inner-level values.
    pub shape: Shape,
    /// For each node, whether it does not vary along the inner dimension.
    pub row: Vec<bool>,
    /// Stages in order.
    pub stages: Vec<Stage>,
    /// Bytes of scratch one running call needs.
    pub scratch_bytes: usize,
    /// Block calls each element goes through, for cost estimates.
    pub calls: usize,
    /// Work of the inner-level steps each element goes through.
    pub steps: usize,
    /// If set, the driver calls the kernel for this many inner elements at a time.
    pub tile: Option<usize>,
}

/// Whether the inner dimension of an access is dense.
fn contiguous(access: &Access) -> bool {
    access.inner == 1
}

fn is_call(kind: &NodeKind) -> bool {
    matches!(kind, NodeKind::Elementwise { lowering: Lowering::Unary(_) | Lowering::Binary(_) | Lowering::Powi(_), .. })
}

fn args(kind: &NodeKind) -> &[Id] {
    match kind {
        NodeKind::Elementwise { args, .. } => args,
        NodeKind::Reduce { arg, .. } => std::slice::from_ref(arg),
        NodeKind::Delay { args, .. } => args,
        _ => &[],
    }
}

/// What a stage must achieve, as found by the first pass.
#[derive(Clone, Default)]
struct Sinks {
    stores: Vec<usize>,
    accumulates: Vec<usize>,
    reductions: Vec<Reduction>,
    after: Vec<(usize, usize)>,
}

struct Planner<'k> {
    k: &'k Kernel,
    row: Vec<bool>,
    /// Row buffers of calls needed by several stages.
    rows: BTreeMap<Id, Place>,
    scratch: usize,
    block: usize,
}

/// Plans a valid kernel.
pub fn plan(k: &Kernel) -> Plan {
    let n = k.nodes.len();
    let mut row = vec![true; n];
    let mut depth = vec![0usize; n];
    for (id, node) in k.nodes.iter().enumerate() {
        (row[id], depth[id]) = match &node.kind {
            NodeKind::Load { access, .. } | NodeKind::Iota { access } => (access.inner == 0, 0),
            NodeKind::Const { .. } => (true, 0),
            kind => {
                let args = args(kind);
                let deepest = args.iter().map(|&a| depth[a as usize]).max().unwrap_or(0);
                match kind {
                    NodeKind::Reduce { scope: Scope::Inner, .. } => (true, deepest + 1),
                    NodeKind::Reduce { .. } | NodeKind::Delay { .. } => (false, deepest),
                    _ => (args.iter().all(|&a| row[a as usize]), deepest),
                }
            }
        };
    }

    // Liveness from the stores. An empty inner range has no inner-level work, and only values that
    // depend on a reduction (an identity then) may have somewhere to go.
    let row_store = |s: &super::Store| row[s.node as usize] && s.access.inner == 0;
    let empty = k.inner == 0;
    let mut live = vec![false; n];
    for s in &k.stores {
        live[s.node as usize] |= !empty || (row_store(s) && depth[s.node as usize] > 0);
    }
    for id in (0..n).rev() {
        let kind = &k.nodes[id].kind;
        if live[id] && !(empty && matches!(kind, NodeKind::Reduce { .. })) {
            args(kind).iter().for_each(|&a| live[a as usize] = true);
        }
    }

    let count = 1 + (0..n).filter(|&i| live[i]).map(|i| depth[i]).max().unwrap_or(0);
    let mut stages = vec![Stage::default(); count];
    let mut sinks = vec![Sinks::default(); count];
    for id in 0..n {
        if !live[id] {
            continue;
        }
        let kind = &k.nodes[id].kind;
        if let &NodeKind::Reduce { kind, arg, scope } = kind {
            let reduction = Reduction { node: id as Id, arg, kind };
            match scope {
                Scope::Inner => sinks[depth[id] - 1].reductions.push(reduction),
                Scope::All => sinks[depth[id]].reductions.push(reduction),
                Scope::Outer => {}
            }
        } else if row[id] {
            stages[depth[id]].row_nodes.push(id as Id);
        }
    }
    for (index, store) in k.stores.iter().enumerate() {
        let id = store.node as usize;
        if !live[id] {
            continue;
        }
        let sink = &mut sinks[depth[id]];
        match k.accumulates(store) {
            Some((_, Scope::Outer)) => sink.accumulates.push(index),
            Some(_) => {
                let number = sink.reductions.iter().position(|r| r.node == store.node);
                sink.after.extend(number.map(|number| (index, number)));
            }
            None if row_store(store) => stages[depth[id]].row_stores.push(index),
            None => sink.stores.push(index),
        }
    }

    let mut planner = Planner { k, row, rows: BTreeMap::new(), scratch: 0, block: 0 };
    planner.run(stages, sinks)
}

impl Planner<'_> {
    fn run(&mut self, mut stages: Vec<Stage>, sinks: Vec<Sinks>) -> Plan {
        let n = self.k.nodes.len();
        // First pass: what each stage touches; calls met again later get a row buffer.
        let mut first_stage = vec![None; n];
        let mut kept = Vec::new();
        let mut marks = Vec::with_capacity(sinks.len());
        let mut dtypes: Vec<DType> = Vec::new();
        for (number, sink) in sinks.iter().enumerate() {
            let mut mark = vec![false; n];
            self.roots(sink).for_each(|id| mark[id as usize] = true);
            for id in (0..n).rev() {
                if !mark[id] {
                    continue;
                }
                let node = &self.k.nodes[id];
                if !dtypes.contains(&node.dtype) {
                    dtypes.push(node.dtype);
                }
                if self.row[id] {
                    continue;
                }
                if is_call(&node.kind) && *first_stage[id].get_or_insert(number) != number {
                    kept.push(id as Id);
                    continue;
                }
                args(&node.kind).iter().for_each(|&a| mark[a as usize] = true);
            }
            marks.push(mark);
        }
        let only = |allowed: &[DType]| dtypes.iter().all(|d| allowed.contains(d));
        let shape = if only(&[DType::F32, DType::Bool]) {
            Shape::Wide32
        } else if only(&[DType::F64, DType::I64, DType::Bool]) {
            Shape::Wide64
        } else {
            Shape::Scalar
        };
        let width = if shape == Shape::Wide32 { 4 } else { 8 };
        self.block = SLOT_BYTES / width;
        for id in kept {
            if !self.rows.contains_key(&id) {
                let bytes = self.k.inner * size_of(self.k.nodes[id as usize].dtype);
                let place = Place { offset: self.scratch, row: true };
                self.scratch += bytes.next_multiple_of(ALIGN);
                self.rows.insert(id, place);
            }
        }

        let slots_at = self.scratch;
        let mut end = slots_at;
        let (mut calls, mut steps) = (0, 0);
        for (number, ((stage, sink), mark)) in stages.iter_mut().zip(sinks).zip(marks).enumerate() {
            stage.block = usize::MAX;
            let idle = sink.stores.is_empty() && sink.accumulates.is_empty() && sink.reductions.is_empty();
            stage.after.clone_from(&sink.after);
            stage.reductions.clone_from(&sink.reductions);
            if idle || self.k.inner == 0 {
                continue;
            }
            let earlier: Vec<bool> = first_stage.iter().map(|&f| f.is_some_and(|f| f < number)).collect();
            self.phases(stage, &sink, &mark, &earlier);
            end = end.max(self.slots(stage, slots_at));
            calls += stage.phases.iter().map(|p| p.calls.len()).sum::<usize>();
            steps += stage.phases.iter().flat_map(|p| &p.steps).map(|s| self.weight(s)).sum::<usize>();
        }
        let tile = self.transposed(&stages).then_some(TILE);
        Plan { shape, row: std::mem::take(&mut self.row), stages, scratch_bytes: end, calls, steps, tile }
    }

    /// Whether an operand's neighbours lie in the next row rather than the next inner index. Then
    /// walking all rows for a few inner indices at a time uses each of its cache lines fully.
    /// Reductions along the inner range need it whole.
    fn transposed(&self, stages: &[Stage]) -> bool {
        let k = self.k;
        let Some(last) = k.outer.iter().rposition(|&d| d > 1) else { return false };
        let whole = stages.len() > 1 || stages.iter().any(|s| !s.reductions.is_empty());
        if whole || !stages[0].row_stores.is_empty() || k.outer[last] < 8 || k.inner < 2 * TILE {
            return false;
        }
        let across = |a: &Access| {
            let (row, inner) = (a.outer[last].unsigned_abs(), a.inner.unsigned_abs());
            inner > 8 && row > 0 && row <= 4 && row < inner
        };
        let loads = k.nodes.iter().any(|n| matches!(&n.kind, NodeKind::Load { access, .. } if across(access)));
        loads || k.stores.iter().any(|s| across(&s.access))
    }

    /// Cost of a step in the units of work estimates: a strided access is done lane by lane.
    fn weight(&self, step: &Step) -> usize {
        let access = match *step {
            Step::Compute(id) => match &self.k.nodes[id as usize].kind {
                NodeKind::Load { access, .. } => access,
                _ => return 1,
            },
            Step::Store(s) | Step::Accumulate(s) => &self.k.stores[s].access,
            _ => return 1,
        };
        if contiguous(access) { 1 } else { 6 }
    }

    fn roots<'s>(&'s self, sink: &'s Sinks) -> impl Iterator<Item = Id> + 's {
        let stores = sink.stores.iter().map(|&s| self.k.stores[s].node);
        let accumulated = sink.accumulates.iter().map(|&s| self.accumulated(s));
        stores.chain(accumulated).chain(sink.reductions.iter().map(|r| r.arg))
    }

    fn accumulated(&self, store: usize) -> Id {
        args(&self.k.nodes[self.k.stores[store].node as usize].kind)[0]
    }

    /// Splits the marked nodes of a stage into phases. `earlier` are calls of earlier stages.
    fn phases(&self, stage: &mut Stage, sink: &Sinks, mark: &[bool], earlier: &[bool]) {
        let n = mark.len();
        let node = |id: usize| &self.k.nodes[id].kind;
        let inner = |id: usize| mark[id] && !self.row[id];
        // The earliest phase in which each value can be available.
        let mut ready = vec![0usize; n];
        for id in (0..n).filter(|&id| inner(id) && !earlier[id]) {
            let latest = args(node(id)).iter().map(|&a| ready[a as usize]).max().unwrap_or(0);
            ready[id] = latest + usize::from(is_call(node(id)));
        }
        let last = (0..n).filter(|&id| inner(id)).map(|id| ready[id]).max().unwrap_or(0);
        stage.phases = vec![Phase::default(); last + 1];

        // From the sinks back: in which phases each value is wanted in a register, and by the end
        // of which phase (if any) in scratch. Values are computed as late as their users allow.
        let mut wanted: Vec<SmallVec<[usize; 2]>> = vec![SmallVec::new(); n];
        let mut stored: Vec<Option<usize>> = vec![None; n];
        let want = |wanted: &mut Vec<SmallVec<[usize; 2]>>, id: Id, phase: usize| {
            let phases = &mut wanted[id as usize];
            if !phases.contains(&phase) {
                phases.push(phase);
            }
        };
        self.roots(sink).for_each(|id| want(&mut wanted, id, last));
        for id in (0..n).rev() {
            if wanted[id].is_empty() && stored[id].is_none() {
                continue;
            }
            let name = id as Id;
            let mut phases = std::mem::take(&mut wanted[id]);
            phases.sort_unstable();
            if self.row[id] {
                stage.splats.push(name);
                if let Some(phase) = stored[id] {
                    stage.phases[phase].steps.push(Step::Spill(name));
                }
                continue;
            }
            if is_call(node(id)) {
                phases.iter().for_each(|&p| stage.phases[p].steps.push(Step::Reload(name)));
                if earlier[id] {
                    continue;
                }
                let at = ready[id] - 1;
                let mut sources = SmallVec::new();
                for &arg in args(node(id)) {
                    let a = arg as usize;
                    let direct = matches!(node(a), NodeKind::Load { access, .. } if contiguous(access));
                    if direct && !self.row[a] {
                        sources.push(Source::Buffer(arg));
                        continue;
                    }
                    sources.push(Source::Place(arg));
                    stored[a] = Some(stored[a].map_or(at, |s| s.min(at)));
                }
                stage.phases[at].calls.push(Call { node: name, args: sources });
                continue;
            }
            let cheap = match node(id) {
                NodeKind::Load { access, .. } => contiguous(access),
                NodeKind::Iota { .. } => true,
                _ => false,
            };
            if cheap && stored[id].is_none() {
                phases.iter().for_each(|&p| stage.phases[p].steps.push(Step::Compute(name)));
                continue;
            }
            let first = phases.first().copied().into_iter().chain(stored[id]).min().unwrap_or(0);
            let later: SmallVec<[usize; 2]> = phases.iter().copied().filter(|&p| p > first).collect();
            // Steps are collected backwards, so the spill goes in before the computation.
            if stored[id].is_some() || !later.is_empty() {
                stage.phases[first].steps.push(Step::Spill(name));
            }
            later.iter().for_each(|&p| stage.phases[p].steps.push(Step::Reload(name)));
            stage.phases[first].steps.push(Step::Compute(name));
            args(node(id)).iter().for_each(|&a| want(&mut wanted, a, first));
        }
        for phase in &mut stage.phases {
            phase.steps.reverse();
            phase.calls.reverse();
        }
        let steps = &mut stage.phases[last].steps;
        steps.extend((0..sink.reductions.len()).map(Step::Reduce));
        steps.extend(sink.accumulates.iter().map(|&s| Step::Accumulate(s)));
        steps.extend(sink.stores.iter().map(|&s| Step::Store(s)));

        let sums = sink.reductions.iter().any(|r| r.kind == ReduceKind::Sum);
        if last > 0 {
            stage.block = self.block;
        } else if sums {
            stage.block = SUM_BLOCK;
        }
    }

    /// Gives every spilled value and call result of a stage a place; returns the end of scratch.
    fn slots(&self, stage: &mut Stage, base: usize) -> usize {
        // Time 2p is phase p's loop, 2p + 1 its calls. A slot is free again after its last use.
        let mut spans: BTreeMap<Id, (usize, usize)> = BTreeMap::new();
        let mut touch = |id: Id, time: usize| {
            let span = spans.entry(id).or_insert((time, time));
            *span = (span.0.min(time), span.1.max(time));
        };
        for (p, phase) in stage.phases.iter().enumerate() {
            for step in &phase.steps {
                if let Step::Spill(id) | Step::Reload(id) = *step {
                    touch(id, 2 * p);
                }
            }
            for call in &phase.calls {
                touch(call.node, 2 * p + 1);
                for source in &call.args {
                    if let Source::Place(id) = *source {
                        touch(id, 2 * p + 1);
                    }
                }
            }
        }
        let mut order: SmallVec<[(usize, usize, Id); 16]> =
            spans.iter().map(|(&id, &(from, to))| (from, to, id)).collect();
        order.sort_unstable();
        let length = stage.block.min(self.k.inner);
        let mut used: SmallVec<[(usize, usize, usize); 16]> = smallvec![];
        let mut end = base;
        for (from, to, id) in order {
            if let Some(&place) = self.rows.get(&id) {
                stage.places.insert(id, place);
                continue;
            }
            let bytes = (length * size_of(self.k.nodes[id as usize].dtype)).next_multiple_of(ALIGN);
            let free = used.iter_mut().find(|slot| slot.1 == bytes && slot.2 < from);
            let offset = if let Some(slot) = free {
                slot.2 = to;
                slot.0
            } else {
                used.push((end, bytes, to));
                end += bytes;
                end - bytes
            };
            stage.places.insert(id, Place { offset, row: false });
        }
        end
    }
}
