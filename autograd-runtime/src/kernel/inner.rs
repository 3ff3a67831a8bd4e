//! Writes the inner range of a stage: blocks, the loops of each phase (unrolled vectors, single
//! vectors, scalars for the remainder), block calls, and the accumulators of reductions.
//! Invariant: the order in which a reduction combines elements depends on the length, which is static or [`OPEN`], and
//! the dtype only.

use super::emit::{Delayed, Emitter, missing};
use super::lanes::{Lane, Shape, mem, scalar_type};
use super::plan::{Phase, Source, Stage, Step};
use super::{CompileError, Id, NodeKind, OPEN, ReduceKind, identity, node, size_of, split};
use crate::ty::DType;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, ConstantData, InstBuilder, Value, types};
use cranelift_frontend::Variable;
use smallvec::{SmallVec, smallvec};
use std::collections::BTreeMap;

/// Accumulators of one reduction within a block.
struct Accumulator {
    kind: ReduceKind,
    dtype: DType,
    /// One for each unrolled copy, in the plan's shape; empty if no vector loop runs.
    wide: SmallVec<[Variable; 4]>,
    /// For the scalar remainder, if any, which goes on from what the wide ones come to.
    scalar: Option<Variable>,
}

/// Which loops a phase needs, from the lengths a block can have.
#[derive(Clone, Copy)]
struct Loops {
    lanes: usize,
    unroll: usize,
    /// For the unrolled, single and remainder loop: whether some, and whether every, length has it.
    some: [bool; 3],
    every: [bool; 3],
}

impl Loops {
    fn new(lengths: &[usize], lanes: usize, unroll: usize) -> Self {
        // Fewer copies where no block has as many, or where that does away with the loop of single vectors.
        let needs = |u: usize| lengths.iter().any(|n| n % (lanes * u) >= lanes);
        let fits = |u: usize| lengths.iter().any(|&n| n >= lanes * u);
        let unroll = if !fits(unroll) {
            1
        } else if unroll > 2 && needs(unroll) && !needs(2) {
            2
        } else {
            unroll
        };
        let big = lanes * unroll;
        let has = |n: usize| {
            // In scalar shape the single loop is the remainder loop.
            let single = unroll > 1 && lanes > 1 && n % big >= lanes;
            let rest = if lanes == 1 { n % big } else { n % lanes };
            [n >= big, single, rest > 0]
        };
        let mut loops = Loops { lanes, unroll, some: [false; 3], every: [true; 3] };
        for &n in lengths {
            for (i, h) in has(n).into_iter().enumerate() {
                loops.some[i] |= h;
                loops.every[i] &= h;
            }
        }
        loops
    }
}

/// Lengths that between them need every loop, and none of them for certain: those of a block of a range whose length is open.
const ANY: [usize; 3] = [1, 15, 16];
/// The same where such a range is one block: it has as many elements at least.
const ENOUGH: [usize; 3] = [super::vector::FEWEST as usize + 1, 15, 16];

/// Copies of a loop body: enough to hide the latency of an accumulator and the loop's overhead.
fn unroll(phase: &Phase) -> usize {
    match phase.steps.len() {
        0..=6 => 4,
        7..=16 => 2,
        _ => 1,
    }
}

/// Base and displacement of the values with a place.
type Places = BTreeMap<Id, (Value, i64)>;

impl Emitter<'_, '_, '_> {
    /// Writes a stage that has inner work; returns the results of its reductions.
    pub(super) fn stage(&mut self, stage: &Stage) -> Result<SmallVec<[Lane; 4]>, CompileError> {
        let n = self.k.inner;
        let (inner0, inner1) = self.inner;
        if let Some(tile) = self.plan.tile {
            let mut lengths: SmallVec<[usize; 3]> = smallvec![tile];
            lengths.extend(Some(n % tile).filter(|&r| r > 0));
            return self.block(stage, inner0, inner1, &lengths);
        }
        if stage.block >= n {
            let mut lengths: SmallVec<[usize; 3]> = smallvec![n];
            if n == OPEN {
                lengths = SmallVec::from(ANY);
            } else if n > split::INNER_CHUNK {
                // The last part of a split range has at least one chunk beside the remainder.
                lengths.push(split::INNER_CHUNK);
            }
            return self.block(stage, inner0, inner1, &lengths);
        }
        let totals = stage.reductions.iter().map(|r| {
            let dtype = self.k.nodes[r.node as usize].dtype;
            (self.l.b.declare_var(scalar_type(dtype)), dtype)
        });
        let totals: SmallVec<[(Variable, DType); 4]> = totals.collect();
        let mut lengths: SmallVec<[usize; 3]> = smallvec![stage.block];
        lengths.extend(Some(n % stage.block).filter(|&r| r > 0));
        if n == OPEN {
            lengths = SmallVec::from(ANY);
        }
        let span = self.l.b.ins().isub(inner1, inner0);
        // most open ranges are short: one that is a single block needs no loop around it
        let join = if n == OPEN && stage.phases.iter().all(|p| p.calls.is_empty()) {
            let [alone, several, join] = [(); 3].map(|()| self.l.b.create_block());
            let one = self.l.b.ins().icmp_imm_u(IntCC::UnsignedLessThanOrEqual, span, stage.block as i64);
            self.l.b.ins().brif(one, alone, &[], several, &[]);
            self.enter(alone);
            let results = self.block(stage, inner0, inner1, &ENOUGH)?;
            for (&(variable, _), result) in totals.iter().zip(results) {
                self.l.b.def_var(variable, result.value);
            }
            self.l.b.ins().jump(join, &[]);
            self.enter(several);
            Some(join)
        } else {
            None
        };
        for (r, &(variable, dtype)) in stage.reductions.iter().zip(&totals) {
            let start = self.neutral(r.kind, dtype);
            self.l.b.def_var(variable, start.value);
        }
        // The loop counts to the end rounded up to whole blocks, so that its steps come out even.
        let up = self.l.b.ins().iadd_imm_u(span, stage.block as i64 - 1);
        let whole = self.l.b.ins().band_imm_s(up, -(stage.block as i64));
        let end = self.l.b.ins().iadd(inner0, whole);
        let at = self.l.b.declare_var(types::I64);
        let (body, exit) = self.loop_begin(at, inner0, end, true);
        let b0 = self.l.b.use_var(at);
        let full = self.l.b.ins().iadd_imm_u(b0, stage.block as i64);
        let b1 = if n.is_multiple_of(stage.block) { full } else { self.l.b.ins().umin(full, inner1) };
        // from the end to the start the blocks are the same, seen from the end
        let (b0, b1) = if self.back {
            let ends = self.l.b.ins().iadd(inner0, inner1);
            (self.l.b.ins().isub(ends, b1), self.l.b.ins().isub(ends, b0))
        } else {
            (b0, b1)
        };
        let results = self.block(stage, b0, b1, &lengths)?;
        for ((r, &(variable, dtype)), &result) in stage.reductions.iter().zip(&totals).zip(&results) {
            let value = self.l.b.use_var(variable);
            let total = self.l.combine(r.kind, Lane { value, dtype }, result);
            self.l.b.def_var(variable, total.value);
        }
        self.loop_end(at, end, stage.block, body, exit);
        if let Some(join) = join {
            self.l.b.ins().jump(join, &[]);
            self.enter(join);
        }
        let lanes = totals.iter().map(|&(variable, dtype)| Lane { value: self.l.b.use_var(variable), dtype });
        Ok(lanes.collect())
    }

    /// Goes on in a block that everything jumps to that ever will.
    fn enter(&mut self, block: Block) {
        self.l.b.seal_block(block);
        self.l.b.switch_to_block(block);
    }

    /// What an accumulator begins with, in the current shape. That of an open range is added to a sum that there is
    /// already, so that it is −0, which leaves a −0 as it is.
    fn neutral(&mut self, kind: ReduceKind, dtype: DType) -> Lane {
        if self.k.inner == OPEN && kind == ReduceKind::Sum && dtype.is_float() {
            return self.l.constant(-0.0, dtype);
        }
        self.l.constant_bits(identity(kind, dtype), dtype)
    }

    /// One block `b0..b1` of a stage, whose length is one of `lengths`.
    fn block(
        &mut self,
        stage: &Stage,
        b0: Value,
        b1: Value,
        lengths: &[usize],
    ) -> Result<SmallVec<[Lane; 4]>, CompileError> {
        // Places are addressed as if indexed from the row's start: from scratch if they hold a row,
        // else from one base for each element size, so that many places take no more registers.
        let mut places = Places::new();
        let mut bases: [Option<Value>; 9] = [None; 9];
        for (&id, place) in &stage.places {
            let size = size_of(self.k.nodes[id as usize].dtype);
            let base = match bases[size] {
                _ if place.row => self.scratch,
                Some(base) => base,
                None => {
                    let skipped = self.l.b.ins().imul_imm_u(b0, size as i64);
                    *bases[size].insert(self.l.b.ins().isub(self.scratch, skipped))
                }
            };
            places.insert(id, (base, place.offset as i64));
        }
        let mut results = smallvec![];
        for phase in &stage.phases {
            if !phase.steps.is_empty() {
                results = self.phase(stage, phase, &places, b0, b1, lengths)?;
            }
            if !phase.calls.is_empty() {
                let length = self.l.b.ins().isub(b1, b0);
                for call in &phase.calls {
                    let node = &self.k.nodes[call.node as usize];
                    let size = size_of(node.dtype) as i64;
                    let skipped = self.l.b.ins().imul_imm_u(b0, size);
                    let mut args: SmallVec<[Value; 2]> = smallvec![];
                    for source in &call.args {
                        let (base, offset) = match *source {
                            Source::Place(id) => places.get(&id).copied().ok_or_else(|| missing(id))?,
                            Source::Buffer(id) => (self.node_base[id as usize].ok_or_else(|| missing(id))?, 0),
                        };
                        let start = self.l.b.ins().iadd(base, skipped);
                        args.push(self.l.b.ins().iadd_imm_s(start, offset));
                    }
                    let dest = places.get(&call.node).copied();
                    let (base, offset) = dest.ok_or_else(|| missing(call.node))?;
                    let dest = self.l.b.ins().iadd(base, skipped);
                    let dest = self.l.b.ins().iadd_imm_s(dest, offset);
                    node::emit_block_call(&mut self.l, node, &args, dest, length);
                }
            }
        }
        Ok(results)
    }

    /// The loops of one phase; returns the results of the reductions it performs.
    fn phase(
        &mut self,
        stage: &Stage,
        phase: &Phase,
        places: &Places,
        b0: Value,
        b1: Value,
        lengths: &[usize],
    ) -> Result<SmallVec<[Lane; 4]>, CompileError> {
        let loops = Loops::new(lengths, self.plan.shape.lanes(), unroll(phase));
        let wide = self.plan.shape;
        let mut accumulators: SmallVec<[Accumulator; 4]> = smallvec![];
        for step in &phase.steps {
            let &Step::Reduce(number) = step else { continue };
            let r = stage.reductions[number];
            let dtype = self.k.nodes[r.node as usize].dtype;
            let mut a = Accumulator { kind: r.kind, dtype, wide: smallvec![], scalar: None };
            if loops.some[0] || loops.some[1] {
                let copies = if loops.some[0] { loops.unroll } else { 1 };
                self.l.shape = wide;
                let ty = self.l.ty(dtype);
                let start = self.neutral(r.kind, dtype);
                for _ in 0..copies {
                    let variable = self.l.b.declare_var(ty);
                    self.l.b.def_var(variable, start.value);
                    a.wide.push(variable);
                }
                self.l.shape = Shape::Scalar;
            }
            a.scalar = loops.some[2].then(|| self.l.b.declare_var(scalar_type(dtype)));
            accumulators.push(a);
        }

        let big = loops.lanes * loops.unroll;
        let plans = [(0, wide, loops.unroll, big), (1, wide, 1, loops.lanes), (2, Shape::Scalar, 1, 1)];
        let mut from = b0;
        for (which, shape, copies, step) in plans {
            if !loops.some[which] {
                continue;
            }
            let to = if lengths.iter().all(|n| n.is_multiple_of(step)) {
                b1
            } else {
                let left = self.l.b.ins().isub(b1, from);
                let whole = self.l.b.ins().band_imm_s(left, -(step as i64));
                self.l.b.ins().iadd(from, whole)
            };
            if which == 2 {
                for a in &accumulators {
                    let start = self.collapse(a);
                    a.scalar.into_iter().for_each(|variable| self.l.b.def_var(variable, start.value));
                }
                self.narrow_delays();
            }
            let i = self.l.b.declare_var(types::I64);
            let (body, exit) = self.loop_begin(i, from, to, loops.every[which]);
            let mut at = self.l.b.use_var(i);
            if self.back {
                let ends = self.l.b.ins().iadd(b0, b1);
                let last = self.l.b.ins().iadd_imm_s(ends, -(step as i64));
                at = self.l.b.ins().isub(last, at);
            }
            self.l.shape = shape;
            for copy in 0..copies {
                let scalar = which == 2;
                let first = if self.back { copies - 1 - copy } else { copy } * shape.lanes();
                self.body(stage, phase, places, at, first, &accumulators, |a| {
                    if scalar { a.scalar } else { a.wide.get(copy).copied() }
                })?;
            }
            self.l.shape = Shape::Scalar;
            self.loop_end(i, to, step, body, exit);
            from = to;
        }
        if !loops.some[2] {
            self.narrow_delays();
        }
        self.widen_delays();
        let result = |a: &Accumulator| match a.scalar {
            Some(variable) => Lane { value: self.l.b.use_var(variable), dtype: a.dtype },
            None => self.collapse(a),
        };
        Ok(accumulators.iter().map(result).collect())
    }

    #[allow(clippy::too_many_arguments)] // the parts of one loop, not worth a struct
    /// One copy of a phase's body, for the elements from `at + first`.
    fn body(
        &mut self,
        stage: &Stage,
        phase: &Phase,
        places: &Places,
        at: Value,
        first: usize,
        accumulators: &[Accumulator],
        variable: impl Fn(&Accumulator) -> Option<Variable>,
    ) -> Result<(), CompileError> {
        let k = self.k;
        for step in &phase.steps {
            match *step {
                Step::Compute(id) => {
                    let lane = self.compute(id, at, first)?;
                    self.values[id as usize] = Some(lane);
                }
                Step::Reload(id) => {
                    let base = places.get(&id).copied().ok_or_else(|| missing(id))?;
                    let lane = self.load(base, 1, at, first, k.nodes[id as usize].dtype);
                    self.values[id as usize] = Some(lane);
                }
                Step::Spill(id) => {
                    let base = places.get(&id).copied().ok_or_else(|| missing(id))?;
                    let lane = self.value(id)?;
                    self.store(base, 1, at, first, lane);
                }
                Step::Reduce(number) => {
                    let (Some(a), Some(r)) = (accumulators.get(number), stage.reductions.get(number)) else {
                        return Err(missing(number as Id));
                    };
                    let Some(variable) = variable(a) else { return Err(missing(r.node)) };
                    let x = self.value(r.arg)?;
                    let value = self.l.b.use_var(variable);
                    let sum = self.l.combine(a.kind, Lane { value, dtype: a.dtype }, x);
                    self.l.b.def_var(variable, sum.value);
                }
                Step::Store(s) => {
                    let base = (self.store_base[s].ok_or_else(|| missing(k.stores[s].node))?, 0);
                    let lane = self.value(k.stores[s].node)?;
                    self.store(base, k.stores[s].access.inner, at, first, lane);
                }
                Step::Accumulate(s) => {
                    let store = &k.stores[s];
                    let base = (self.store_base[s].ok_or_else(|| missing(store.node))?, 0);
                    let NodeKind::Reduce { kind, arg, .. } = k.nodes[store.node as usize].kind else {
                        return Err(missing(store.node));
                    };
                    let x = self.value(arg)?;
                    let old = self.load(base, store.access.inner, at, first, x.dtype);
                    let new = self.l.combine(kind, old, x);
                    self.store(base, store.access.inner, at, first, new);
                }
            }
        }
        Ok(())
    }

    fn compute(&mut self, id: Id, at: Value, first: usize) -> Result<Lane, CompileError> {
        let node = &self.k.nodes[id as usize];
        match &node.kind {
            NodeKind::Load { access, .. } => {
                let base = self.node_base[id as usize].ok_or_else(|| missing(id))?;
                Ok(self.load((base, 0), access.inner, at, first, node.dtype))
            }
            NodeKind::Iota { access } => {
                let base = self.node_base[id as usize].ok_or_else(|| missing(id))?;
                let moved = self.l.b.ins().imul_imm_s(at, access.inner);
                let start = self.l.b.ins().iadd(base, moved);
                let shape = std::mem::replace(&mut self.l.shape, Shape::Scalar);
                let mut scalars: SmallVec<[Value; 4]> = smallvec![];
                for lane in 0..shape.lanes() {
                    let step = (first + lane) as i64 * access.inner;
                    let value = self.l.b.ins().iadd_imm_s(start, step);
                    scalars.push(self.l.cast(Lane { value, dtype: DType::I64 }, node.dtype).value);
                }
                self.l.shape = shape;
                Ok(self.l.assemble(&scalars, node.dtype))
            }
            NodeKind::Elementwise { args, .. } => {
                let args = args.iter().map(|&a| self.value(a));
                let args = args.collect::<Result<SmallVec<[Lane; 4]>, _>>()?;
                node::emit(&mut self.l, node, &args).ok_or_else(|| missing(id))
            }
            NodeKind::Delay { args, .. } => self.delayed(id, args[0]),
            _ => Err(missing(id)),
        }
    }

    /// What a value was an element before, now that it is known: the vectors of then and of now, side by side, moved on by a lane.
    fn delayed(&mut self, id: Id, of: Id) -> Result<Lane, CompileError> {
        let now = self.value(of)?;
        let Some(delayed) = self.delays.iter().find(|d| d.node == id) else { return Err(missing(id)) };
        let wide = if self.l.is_vector() { delayed.wide } else { None };
        let variable = wide.unwrap_or(delayed.scalar);
        let before = self.l.b.use_var(variable);
        self.l.b.def_var(variable, now.value);
        if wide.is_none() {
            return Ok(Lane { value: before, dtype: now.dtype });
        }
        let size = (16 / self.l.shape.lanes()) as u8;
        let (pair, by) = if self.back { ([now.value, before], size) } else { ([before, now.value], 16 - size) };
        let pair = pair.map(|x| self.l.bitcast(types::I8X16, x));
        let mask = ConstantData::from((by..by + 16).collect::<Vec<u8>>());
        let mask = self.l.b.func.dfg.immediates.push(mask);
        let moved = self.l.b.ins().shuffle(pair[0], pair[1], mask);
        let ty = self.l.ty(now.dtype);
        Ok(Lane { value: self.l.bitcast(ty, moved), dtype: now.dtype })
    }

    /// What is delayed, by itself, where there have been vectors.
    fn narrow_delays(&mut self) {
        for k in 0..self.delays.len() {
            let Delayed { node, wide: Some(wide), scalar } = self.delays[k] else { continue };
            let dtype = self.k.nodes[node as usize].dtype;
            self.l.shape = self.plan.shape;
            let all = Lane { value: self.l.b.use_var(wide), dtype };
            let last = self.l.extract(all, if self.back { 0 } else { self.plan.shape.lanes() - 1 });
            self.l.shape = Shape::Scalar;
            self.l.b.def_var(scalar, last.value);
        }
    }
    /// The same as a vector, for the next block.
    fn widen_delays(&mut self) {
        for k in 0..self.delays.len() {
            let Delayed { node, wide: Some(wide), scalar } = self.delays[k] else { continue };
            let last = Lane { value: self.l.b.use_var(scalar), dtype: self.k.nodes[node as usize].dtype };
            self.l.shape = self.plan.shape;
            let all = self.l.splat(last);
            self.l.shape = Shape::Scalar;
            self.l.b.def_var(wide, all.value);
        }
    }

    /// Address and immediate offset of element `at + extra` of a strided row.
    fn element(&mut self, (base, start): (Value, i64), bytes: i64, at: Value, extra: usize) -> (Value, i32) {
        // A power of two becomes a scaled addressing mode.
        let moved = if bytes > 0 && bytes.count_ones() == 1 {
            self.l.b.ins().ishl_imm_u(at, i64::from(bytes.trailing_zeros()))
        } else {
            self.l.b.ins().imul_imm_s(at, bytes)
        };
        let address = self.l.b.ins().iadd(base, moved);
        let offset = start.wrapping_add(bytes.wrapping_mul(extra as i64));
        match i32::try_from(offset) {
            Ok(offset) => (address, offset),
            Err(_) => (self.l.b.ins().iadd_imm_s(address, offset), 0),
        }
    }

    /// Reads the elements from `at + first` of a row, one for each lane of the current shape.
    fn load(&mut self, base: (Value, i64), stride: i64, at: Value, first: usize, dtype: DType) -> Lane {
        let size = size_of(dtype) as i64;
        let lanes = self.l.shape.lanes();
        if lanes > 1 && stride == 1 {
            let (address, offset) = self.element(base, size, at, first);
            let ty = self.l.ty(dtype);
            if dtype != DType::Bool {
                let value = self.l.b.ins().load(ty, mem(), address, offset);
                return Lane { value, dtype };
            }
            // Bytes 0/1, widened in steps to the lane width, then made masks.
            let b = &mut *self.l.b;
            let packed = if lanes == 4 {
                b.ins().load(types::I32, mem(), address, offset)
            } else {
                b.ins().uload16(types::I32, mem(), address, offset)
            };
            let vector = b.ins().scalar_to_vector(types::I32X4, packed);
            let bytes = self.l.bitcast(types::I8X16, vector);
            let mut wide = self.l.b.ins().uwiden_low(bytes);
            while self.l.b.func.dfg.value_type(wide) != ty {
                wide = self.l.b.ins().uwiden_low(wide);
            }
            let value = self.l.b.ins().ineg(wide);
            return Lane { value, dtype };
        }
        let mut scalars: SmallVec<[Value; 4]> = smallvec![];
        for lane in 0..lanes {
            let (address, offset) = self.element(base, size * stride, at, first + lane);
            scalars.push(self.l.b.ins().load(scalar_type(dtype), mem(), address, offset));
        }
        self.l.assemble(&scalars, dtype)
    }

    /// Writes the elements from `at + first` of a row.
    fn store(&mut self, base: (Value, i64), stride: i64, at: Value, first: usize, lane: Lane) {
        let size = size_of(lane.dtype) as i64;
        let lanes = self.l.shape.lanes();
        if lanes > 1 && stride == 1 && (lane.dtype != DType::Bool || lanes == 4) {
            let (address, offset) = self.element(base, size, at, first);
            let mut value = lane.value;
            if lane.dtype == DType::Bool {
                let b = &mut *self.l.b;
                let words = b.ins().snarrow(value, value);
                let bytes = b.ins().snarrow(words, words);
                let packed = self.l.bitcast(types::I32X4, bytes);
                let low = self.l.b.ins().extractlane(packed, 0);
                value = self.l.b.ins().band_imm_u(low, 0x0101_0101);
            }
            self.l.b.ins().store(mem(), value, address, offset);
            return;
        }
        for k in 0..lanes {
            let scalar = self.l.extract(lane, k);
            let (address, offset) = self.element(base, size * stride, at, first + k);
            self.l.b.ins().store(mem(), scalar.value, address, offset);
        }
    }

    /// Combines the wide accumulators of a reduction: copies pairwise, then lanes.
    fn collapse(&mut self, a: &Accumulator) -> Lane {
        if a.wide.is_empty() {
            return self.neutral(a.kind, a.dtype);
        }
        let lane = |value| Lane { value, dtype: a.dtype };
        self.l.shape = self.plan.shape;
        let mut parts: SmallVec<[Lane; 4]> = a.wide.iter().map(|&v| lane(self.l.b.use_var(v))).collect();
        while parts.len() > 1 {
            parts = parts.chunks(2).map(|p| self.pair(a.kind, p)).collect();
        }
        let mut scalars: SmallVec<[Lane; 4]> = (0..self.l.shape.lanes()).map(|k| self.l.extract(parts[0], k)).collect();
        self.l.shape = Shape::Scalar;
        while scalars.len() > 1 {
            scalars = scalars.chunks(2).map(|p| self.pair(a.kind, p)).collect();
        }
        scalars[0]
    }

    fn pair(&mut self, kind: ReduceKind, pair: &[Lane]) -> Lane {
        if let [a, b] = *pair { self.l.combine(kind, a, b) } else { pair[0] }
    }
}
