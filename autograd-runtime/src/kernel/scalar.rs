//! Turns a straight-line program over scalars into one function. Invariant: every value passes in
//! and out as a u64 slot, zero-extended, so callers need no knowledge of dtypes to move them.

use super::emit::missing;
use super::lanes::{Lane, Lanes, mem, scalar_type};
use super::{CompileError, Id, Node, NodeKind, node, validate};
use crate::ty::DType;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use smallvec::SmallVec;

/// A scalar function: `Load { buffer: k, .. }` reads argument slot `k` (the access is ignored).
#[derive(Clone, Debug)]
pub struct ScalarProgram {
    /// Nodes in topological order; no reductions.
    pub nodes: Vec<Node>,
    /// The values to return, one output slot each.
    pub outputs: Vec<Id>,
}

/// Machine code of a scalar program: argument slots in, output slots out.
pub type ScalarFn = unsafe extern "C" fn(args: *const u64, outs: *mut u64);

/// Checks what [`emit`] relies on.
pub(super) fn check(program: &ScalarProgram) -> Result<(), CompileError> {
    validate::nodes(&program.nodes)?;
    if program.outputs.iter().any(|&o| o as usize >= program.nodes.len()) {
        return Err(CompileError::Malformed("no such output".into()));
    }
    if program.nodes.iter().any(|n| matches!(n.kind, NodeKind::Reduce { .. })) {
        return Err(CompileError::Malformed("reduction in a scalar program".into()));
    }
    Ok(())
}

/// Writes the body of a scalar program, whose entry block is current and has the parameters.
pub(super) fn emit(program: &ScalarProgram, mut l: Lanes<'_, '_>, params: &[Value]) -> Result<(), CompileError> {
    let &[args, outs] = params else {
        return Err(CompileError::Malformed("scalar functions take two parameters".into()));
    };
    let values = nodes(&mut l, &program.nodes, |l, slot, dtype| {
        l.b.ins().load(scalar_type(dtype), mem(), args, i32::from(slot) * 8)
    })?;
    for (slot, &id) in program.outputs.iter().enumerate() {
        let lane = values[id as usize];
        let bits = match lane.dtype {
            DType::F32 => {
                let bits = l.bitcast(types::I32, lane.value);
                l.b.ins().uextend(types::I64, bits)
            }
            DType::Bool => l.b.ins().uextend(types::I64, lane.value),
            DType::F64 | DType::I64 => lane.value,
        };
        l.b.ins().store(mem(), bits, outs, (slot * 8) as i32);
    }
    l.b.ins().return_(&[]);
    match l.error.take() {
        Some(message) => Err(CompileError::Unsupported(message)),
        None => Ok(()),
    }
}

/// Writes scalar nodes at the current position; `load` reads an argument slot. A function with
/// branches calls this once for each of its straight-line parts.
pub(super) fn nodes(
    l: &mut Lanes<'_, '_>,
    nodes: &[Node],
    mut load: impl FnMut(&mut Lanes<'_, '_>, u16, DType) -> Value,
) -> Result<Vec<Lane>, CompileError> {
    let mut values: Vec<Lane> = Vec::with_capacity(nodes.len());
    for (id, n) in nodes.iter().enumerate() {
        let lane = match &n.kind {
            NodeKind::Load { buffer, .. } => {
                let value = load(l, *buffer, n.dtype);
                Lane { value, dtype: n.dtype }
            }
            NodeKind::Iota { access } => {
                let value = l.b.ins().iconst(types::I64, access.offset);
                l.cast(Lane { value, dtype: DType::I64 }, n.dtype)
            }
            NodeKind::Elementwise { args, .. } => {
                let args: SmallVec<[Lane; 4]> = args.iter().map(|&a| values[a as usize]).collect();
                node::emit(l, n, &args).ok_or_else(|| missing(id as Id))?
            }
            _ => node::emit(l, n, &[]).ok_or_else(|| missing(id as Id))?,
        };
        values.push(lane);
    }
    Ok(values)
}
