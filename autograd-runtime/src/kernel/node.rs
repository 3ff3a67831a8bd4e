//! Emits single nodes: constants, scalar and inline elementwise operations, given the values of
//! their arguments. Invariant: it knows nothing of loops or buffers, so kernels, scalar programs
//! and later control flow share it.

use super::lanes::{Lane, Lanes, Shape, scalar_type};
use super::{Lowering, Node, NodeKind};
use crate::elementary as el;
use crate::ty::DType;
use cranelift_codegen::ir::{InstBuilder, types};

/// Emits a `Const` or `Elementwise` node in the current shape; calls only exist in scalar shape.
pub(super) fn emit(l: &mut Lanes<'_, '_>, node: &Node, args: &[Lane]) -> Option<Lane> {
    let lowering = match &node.kind {
        NodeKind::Const { bits } => return Some(l.constant_bits(*bits, node.dtype)),
        NodeKind::Elementwise { lowering, .. } => *lowering,
        _ => return None,
    };
    if let Lowering::Inline(function) = lowering {
        let result = function(l, args, node.dtype);
        if result.dtype != node.dtype && l.error.is_none() {
            l.error = Some(format!("lowering made {:?} of a {:?} node", result.dtype, node.dtype));
        }
        return Some(result);
    }
    debug_assert_eq!(l.shape, Shape::Scalar);
    let ty = scalar_type(node.dtype);
    let f32s = node.dtype == DType::F32;
    let value = match lowering {
        Lowering::Inline(_) => return None,
        Lowering::Unary(u) => {
            let address = if f32s { el::scalar_fn_f32(u) as usize } else { el::scalar_fn_f64(u) as usize };
            l.call(address, &[ty], Some(ty), &[args[0].value])
        }
        Lowering::Binary(b) => {
            let address = if f32s { el::scalar_fn2_f32(b) as usize } else { el::scalar_fn2_f64(b) as usize };
            l.call(address, &[ty, ty], Some(ty), &[args[0].value, args[1].value])
        }
        Lowering::Powi(power) => {
            let address = if f32s { el::scalar_powi_f32() as usize } else { el::scalar_powi_f64() as usize };
            let power = l.b.ins().iconst(types::I32, i64::from(power));
            l.call(address, &[ty, types::I32], Some(ty), &[args[0].value, power])
        }
    };
    value.map(|value| Lane { value, dtype: node.dtype })
}

/// Emits the call of a block function over `length` elements: `args` and `dest` are pointers.
pub(super) fn emit_block_call(
    l: &mut Lanes<'_, '_>,
    node: &Node,
    args: &[cranelift_codegen::ir::Value],
    dest: cranelift_codegen::ir::Value,
    length: cranelift_codegen::ir::Value,
) {
    let NodeKind::Elementwise { lowering, .. } = &node.kind else { return };
    let f32s = node.dtype == DType::F32;
    let p = types::I64;
    match *lowering {
        Lowering::Inline(_) => {}
        Lowering::Unary(u) => {
            let address = if f32s { el::block_fn_f32(u) as usize } else { el::block_fn_f64(u) as usize };
            l.call(address, &[p, p, p], None, &[args[0], dest, length]);
        }
        Lowering::Binary(b) => {
            let address = if f32s { el::block_fn2_f32(b) as usize } else { el::block_fn2_f64(b) as usize };
            l.call(address, &[p, p, p, p], None, &[args[0], args[1], dest, length]);
        }
        Lowering::Powi(power) => {
            let address = if f32s { el::block_powi_f32() as usize } else { el::block_powi_f64() as usize };
            let power = l.b.ins().iconst(types::I32, i64::from(power));
            l.call(address, &[p, types::I32, p, p], None, &[args[0], power, dest, length]);
        }
    }
}
