//! Writes the row loop of a kernel: outer indices, row pointers, row-level values, and the stages
//! in order. Invariant: every value kept in [`Emitter`] across loops is defined in a block that
//! dominates the rest of the row, so only loop-carried values are frontend variables.

use super::lanes::{Lane, Lanes, mem, scalar_type};
use super::plan::{Plan, Source, Stage, Step};
use super::{Access, CompileError, Id, Kernel, NodeKind, Scope, identity, node, size_of};
use crate::ty::DType;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, InstBuilder, Value, types};
use cranelift_frontend::Variable;

/// State of the emission of one kernel.
pub(super) struct Emitter<'k, 'a, 'b> {
    pub(super) k: &'k Kernel,
    pub(super) plan: &'k Plan,
    pub(super) l: Lanes<'a, 'b>,
    /// Base pointer of each buffer slot.
    buffers: Vec<Value>,
    pub(super) scratch: Value,
    /// The inner range of this call.
    pub(super) inner: (Value, Value),
    /// Outer indices of the current row.
    index: Vec<Value>,
    /// Row-level values, as scalars.
    row_values: Vec<Option<Lane>>,
    /// Row-level values of the current stage, spread over the plan's shape.
    splats: Vec<Option<Lane>>,
    /// For inner-level loads the address (for iotas the value) at inner index 0 in this row.
    pub(super) node_base: Vec<Option<Value>>,
    /// The same for stores.
    pub(super) store_base: Vec<Option<Value>>,
    /// Inner-level values of the loop body being written.
    pub(super) values: Vec<Option<Lane>>,
    /// What is delayed.
    pub(super) delays: Vec<Delayed>,
    /// Whether the inner range runs from its end to its start.
    pub(super) back: bool,
}

/// A node that is what another one was an element before.
pub(super) struct Delayed {
    pub(super) node: Id,
    /// What that was last: as the lane of a vector that comes next to the element to come, if there are vectors, and by itself.
    pub(super) wide: Option<Variable>,
    pub(super) scalar: Variable,
}

/// Writes the body of a kernel's function, whose entry block is current and has the parameters.
pub(super) fn kernel(k: &Kernel, plan: &Plan, l: Lanes<'_, '_>, params: &[Value]) -> Result<(), CompileError> {
    let &[buffers, scratch, outer0, outer1, inner0, inner1] = params else {
        return Err(CompileError::Malformed("kernel functions take six parameters".into()));
    };
    let n = k.nodes.len();
    let mut e = Emitter {
        k,
        plan,
        l,
        buffers: Vec::with_capacity(k.buffers.len()),
        scratch,
        inner: (inner0, inner1),
        index: Vec::new(),
        row_values: vec![None; n],
        splats: vec![None; n],
        node_base: vec![None; n],
        store_base: vec![None; k.stores.len()],
        values: vec![None; n],
        delays: Vec::new(),
        back: false,
    };
    let rows: usize = k.outer.iter().product();
    if rows > 0 {
        for slot in 0..k.buffers.len() {
            let base = e.l.b.ins().load(types::I64, mem(), buffers, (slot * 8) as i32);
            e.buffers.push(base);
        }
        if rows == 1 {
            e.index = vec![e.l.b.ins().iconst(types::I64, 0); k.outer.len()];
            e.row()?;
        } else {
            e.rows(outer0, outer1)?;
        }
    }
    e.l.b.ins().return_(&[]);
    match e.l.error.take() {
        Some(message) => Err(CompileError::Unsupported(message)),
        None => Ok(()),
    }
}

/// Writes the range `0..n` of a kernel of one row whose inner size is [`OPEN`], at the current position, from where its
/// buffers begin and the row-level values that are `given`; the results of its inner reductions, by node, and what is delayed at
/// last. What it stores of them is the caller's business.
pub(super) fn open(
    k: &Kernel,
    plan: &Plan,
    l: Lanes<'_, '_>,
    buffers: Vec<Value>,
    given: Vec<Option<Lane>>,
    scratch: Value,
    n: Value,
) -> Result<Vec<(Id, Lane)>, CompileError> {
    let count = k.nodes.len();
    let zero = l.b.ins().iconst(types::I64, 0);
    let mut e = Emitter {
        k,
        plan,
        l,
        buffers,
        scratch,
        inner: (zero, n),
        index: Vec::new(),
        row_values: given,
        splats: vec![None; count],
        node_base: vec![None; count],
        store_base: vec![None; k.stores.len()],
        values: vec![None; count],
        delays: Vec::new(),
        back: k.runs_back(),
    };
    let Some(stage) = plan.stages.first() else { return Ok(Vec::new()) };
    for &id in &stage.row_nodes {
        if e.row_values[id as usize].is_none() {
            e.row_node(id)?;
        }
    }
    e.bases(stage);
    e.begin_delays(stage)?;
    let mut results: Vec<(Id, Lane)> = stage.reductions.iter().map(|r| r.node).zip(e.stage(stage)?).collect();
    for delayed in &e.delays {
        let dtype = k.nodes[delayed.node as usize].dtype;
        results.push((delayed.node, Lane { value: e.l.b.use_var(delayed.scalar), dtype }));
    }
    match e.l.error.take() {
        Some(message) => Err(CompileError::Unsupported(message)),
        None => Ok(results),
    }
}

impl Emitter<'_, '_, '_> {
    /// The loop over rows, counting outer indices up with carries.
    fn rows(&mut self, outer0: Value, outer1: Value) -> Result<(), CompileError> {
        let dims = self.k.outer.clone();
        let mut index: Vec<Variable> = Vec::with_capacity(dims.len());
        let mut rest = outer0;
        let mut start = vec![outer0; dims.len()];
        for (axis, &size) in dims.iter().enumerate().rev() {
            if axis == 0 {
                start[0] = rest;
            } else {
                start[axis] = self.l.b.ins().urem_imm_u(rest, size as i64);
                rest = self.l.b.ins().udiv_imm_u(rest, size as i64);
            }
        }
        for value in start {
            let variable = self.l.b.declare_var(types::I64);
            self.l.b.def_var(variable, value);
            index.push(variable);
        }
        let row = self.l.b.declare_var(types::I64);
        let (body, exit) = self.loop_begin(row, outer0, outer1, true);
        self.index = index.iter().map(|&v| self.l.b.use_var(v)).collect();
        self.row()?;
        let mut carry = self.l.b.ins().iconst(types::I64, 1);
        for (axis, &size) in dims.iter().enumerate().rev() {
            let next = self.l.b.ins().iadd(self.index[axis], carry);
            if axis == 0 {
                self.l.b.def_var(index[0], next);
                break;
            }
            let wraps = self.l.b.ins().icmp_imm_u(IntCC::Equal, next, size as i64);
            let zero = self.l.b.ins().iconst(types::I64, 0);
            let wrapped = self.l.b.ins().select(wraps, zero, next);
            self.l.b.def_var(index[axis], wrapped);
            carry = self.l.b.ins().uextend(types::I64, wraps);
        }
        self.loop_end(row, outer1, 1, body, exit);
        Ok(())
    }

    /// Opens a do-while loop of `variable` from `from` up to `to`, which must be a whole number of
    /// steps away; unless `certain`, it is skipped when empty.
    pub(super) fn loop_begin(&mut self, variable: Variable, from: Value, to: Value, certain: bool) -> (Block, Block) {
        let b = &mut *self.l.b;
        let (body, exit) = (b.create_block(), b.create_block());
        b.def_var(variable, from);
        if certain {
            b.ins().jump(body, &[]);
        } else {
            let any = b.ins().icmp(IntCC::UnsignedLessThan, from, to);
            b.ins().brif(any, body, &[], exit, &[]);
        }
        b.switch_to_block(body);
        (body, exit)
    }

    /// Closes a loop opened by [`Self::loop_begin`].
    pub(super) fn loop_end(&mut self, variable: Variable, to: Value, step: usize, body: Block, exit: Block) {
        let b = &mut *self.l.b;
        let at = b.use_var(variable);
        let next = b.ins().iadd_imm_s(at, step as i64);
        b.def_var(variable, next);
        let more = b.ins().icmp(IntCC::UnsignedLessThan, next, to);
        b.ins().brif(more, body, &[], exit, &[]);
        b.seal_block(body);
        b.seal_block(exit);
        b.switch_to_block(exit);
    }

    /// `offset + Σ outer strides · indices`, times `unit`, plus `base` if there is one.
    fn affine(&mut self, access: &Access, unit: usize, base: Option<Value>) -> Value {
        let unit = unit as i64;
        let mut sum = base;
        for (axis, &stride) in access.outer.iter().enumerate() {
            if stride == 0 || self.k.outer[axis] == 1 {
                continue;
            }
            let term = self.l.b.ins().imul_imm_s(self.index[axis], stride * unit);
            sum = Some(match sum {
                Some(sum) => self.l.b.ins().iadd(sum, term),
                None => term,
            });
        }
        match sum {
            Some(sum) if access.offset == 0 => sum,
            Some(sum) => self.l.b.ins().iadd_imm_s(sum, access.offset * unit),
            None => self.l.b.ins().iconst(types::I64, access.offset * unit),
        }
    }

    fn address(&mut self, buffer: u16, access: &Access, dtype: DType) -> Value {
        let base = self.buffers[usize::from(buffer)];
        self.affine(access, size_of(dtype), Some(base))
    }

    /// The value of a row-level node that has been computed.
    pub(super) fn row_value(&self, id: Id) -> Result<Lane, CompileError> {
        self.row_values[id as usize].ok_or_else(|| missing(id))
    }

    /// The value of a node in the loop body being written, in the current shape.
    pub(super) fn value(&self, id: Id) -> Result<Lane, CompileError> {
        let known = match (self.plan.row[id as usize], self.l.is_vector()) {
            (true, true) => self.splats[id as usize],
            (true, false) => self.row_values[id as usize],
            (false, _) => self.values[id as usize],
        };
        known.ok_or_else(|| missing(id))
    }

    /// One row: everything between two steps of the outer indices.
    fn row(&mut self) -> Result<(), CompileError> {
        let plan = self.plan;
        for stage in &plan.stages {
            for &id in &stage.row_nodes {
                self.row_node(id)?;
            }
            for &store in &stage.row_stores {
                let s = &self.k.stores[store];
                let value = self.row_value(s.node)?;
                let address = self.address(s.buffer, &s.access, value.dtype);
                self.l.b.ins().store(mem(), value.value, address, 0);
            }
            if stage.phases.is_empty() {
                // An empty inner range: reductions are their identities.
                for r in &stage.reductions {
                    let dtype = self.k.nodes[r.node as usize].dtype;
                    let value = self.l.constant_bits(identity(r.kind, dtype), dtype);
                    self.row_values[r.node as usize] = Some(value);
                }
                continue;
            }
            self.bases(stage);
            let results = self.stage(stage)?;
            for (r, &result) in stage.reductions.iter().zip(&results) {
                if matches!(self.k.nodes[r.node as usize].kind, NodeKind::Reduce { scope: Scope::Inner, .. }) {
                    self.row_values[r.node as usize] = Some(result);
                }
            }
            for &(store, number) in &stage.after {
                let s = &self.k.stores[store];
                let result = results[number];
                let address = self.address(s.buffer, &s.access, result.dtype);
                let ty = scalar_type(result.dtype);
                let value = self.l.b.ins().load(ty, mem(), address, 0);
                let old = Lane { value, dtype: result.dtype };
                let new = self.l.combine(stage.reductions[number].kind, old, result);
                self.l.b.ins().store(mem(), new.value, address, 0);
            }
        }
        Ok(())
    }

    fn row_node(&mut self, id: Id) -> Result<(), CompileError> {
        let node = &self.k.nodes[id as usize];
        let lane = match &node.kind {
            NodeKind::Load { buffer, access } => {
                let address = self.address(*buffer, access, node.dtype);
                let value = self.l.b.ins().load(scalar_type(node.dtype), mem(), address, 0);
                Lane { value, dtype: node.dtype }
            }
            NodeKind::Iota { access } => {
                let value = self.affine(access, 1, None);
                self.l.cast(Lane { value, dtype: DType::I64 }, node.dtype)
            }
            NodeKind::Elementwise { args, .. } => {
                let args = args.iter().map(|&a| self.row_value(a));
                let args = args.collect::<Result<smallvec::SmallVec<[Lane; 4]>, _>>()?;
                node::emit(&mut self.l, node, &args).ok_or_else(|| missing(id))?
            }
            _ => node::emit(&mut self.l, node, &[]).ok_or_else(|| missing(id))?,
        };
        self.row_values[id as usize] = Some(lane);
        Ok(())
    }

    /// What is delayed before the inner range.
    fn begin_delays(&mut self, stage: &Stage) -> Result<(), CompileError> {
        let k = self.k;
        for step in stage.phases.iter().flat_map(|p| &p.steps) {
            let Step::Compute(node) = *step else { continue };
            let NodeKind::Delay { args, .. } = k.nodes[node as usize].kind else { continue };
            let first = self.row_value(args[1])?;
            let scalar = self.l.b.declare_var(scalar_type(first.dtype));
            self.l.b.def_var(scalar, first.value);
            let wide = (self.plan.shape.lanes() > 1).then(|| {
                self.l.shape = self.plan.shape;
                let ty = self.l.ty(first.dtype);
                let variable = self.l.b.declare_var(ty);
                let all = self.l.splat(first);
                self.l.b.def_var(variable, all.value);
                self.l.shape = super::lanes::Shape::Scalar;
                variable
            });
            self.delays.push(Delayed { node, wide, scalar });
        }
        Ok(())
    }

    /// Row addresses and splats that the loops of a stage use.
    fn bases(&mut self, stage: &Stage) {
        let k = self.k;
        for phase in &stage.phases {
            let sources = phase.calls.iter().flat_map(|c| &c.args).filter_map(|s| match s {
                Source::Buffer(id) => Some(*id),
                Source::Place(_) => None,
            });
            let computed = phase.steps.iter().filter_map(|s| match s {
                Step::Compute(id) => Some(*id),
                _ => None,
            });
            for id in computed.chain(sources) {
                if self.node_base[id as usize].is_some() {
                    continue;
                }
                let node = &k.nodes[id as usize];
                self.node_base[id as usize] = match &node.kind {
                    NodeKind::Load { buffer, access } => Some(self.address(*buffer, access, node.dtype)),
                    NodeKind::Iota { access } => Some(self.affine(access, 1, None)),
                    _ => None,
                };
            }
            for step in &phase.steps {
                if let Step::Store(s) | Step::Accumulate(s) = *step {
                    let store = &k.stores[s];
                    let dtype = k.nodes[store.node as usize].dtype;
                    self.store_base[s] = Some(self.address(store.buffer, &store.access, dtype));
                }
            }
        }
        if self.k.inner >= self.plan.shape.lanes() && self.plan.shape.lanes() > 1 {
            self.l.shape = self.plan.shape;
            for &id in &stage.splats {
                if let Some(value) = self.row_values[id as usize] {
                    self.splats[id as usize] = Some(self.l.splat(value));
                }
            }
            self.l.shape = super::lanes::Shape::Scalar;
        }
    }
}

/// A value the plan promised but did not provide: a bug of the planner, reported as an error.
pub(super) fn missing(id: Id) -> CompileError {
    CompileError::Malformed(format!("value {id} used before it is computed"))
}
