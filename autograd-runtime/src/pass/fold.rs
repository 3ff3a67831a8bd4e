//! Constant folding: an elementwise operation on rank-0 constants is computed now, by its own evaluation,
//! hence to the same bits as at run time.

use crate::{
    array::{Array, Element, View},
    each,
    error::Result,
    graph::{Builder, Node, NodeId},
    op::{Attr, Derivative, Lower, Op, create},
    ty::Ty,
};

pub(super) fn rule(b: &Builder, n: &Node, args: &[NodeId]) -> Result<Option<NodeId>> {
    let elementwise = matches!(n.op.def.lower, Lower::Inline(_) | Lower::Unary(_) | Lower::Binary(_) | Lower::Powi);
    if !elementwise || args.is_empty() || n.ty.rank() != 0 || matches!(n.op.def.derivative, Derivative::Control) {
        return Ok(None);
    }
    let nodes: Vec<_> = args.iter().map(|&a| b.node(a)).collect();
    if !nodes.iter().all(|n| n.op.is(&create::CONST)) {
        return Ok(None);
    }
    let values: Vec<Array> = nodes.iter().map(|n| Array::full(&Ty::scalar(n.ty.dtype), n.op.bits(1))).collect();
    let views: Vec<View<'_>> = values.iter().map(Array::view).collect();
    let y = n.op.eval(&views, &n.ty)?;
    let bits = each!(Array, &y, a => a.iter().next().copied().unwrap_or_default().bits());
    b.add(Op::with(&create::CONST, [Attr::DType(n.ty.dtype), Attr::Bits(bits)]), &[]).map(Some)
}
