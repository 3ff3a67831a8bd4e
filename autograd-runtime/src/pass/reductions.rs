//! Brings reductions to the forms that kernels have: over the last axis, over axes before the last, or over
//! all. Others become two, the last axis first. Axes of extent 1 are not reduced at all.

use crate::{
    error::Result,
    graph::{Builder, Node, NodeId},
    op::{Attr, Lower, Op},
};

pub(super) fn rule(b: &Builder, n: &Node, args: &[NodeId]) -> Result<Option<NodeId>> {
    let Lower::Reduce(_) = n.op.def.lower else { return Ok(None) };
    let all = n.op.dims(0);
    let (mut x, mut dims) = (args[0], all.clone());
    loop {
        let shape = b.ty_of(x).shape;
        let wide = |d: &usize| shape[*d] != 1;
        dims.retain(|d| wide(d));
        let reduce = |dims: &[usize], x| b.add(Op::with(n.op.def, [Attr::dims(dims)]), &[x]);
        let last = (0..shape.len()).rev().find(wide);
        let whole = (0..shape.len()).filter(wide).all(|d| dims.contains(&d));
        match last.filter(|l| dims.contains(l) && dims.len() > 1 && !whole) {
            // what is left has another last axis, and may have to be split again
            Some(l) => x = reduce(&[l], x)?,
            None if dims.is_empty() => return Ok(Some(x)),
            None if x == args[0] && dims == all => return Ok(None),
            None => return reduce(&dims, x).map(Some),
        }
    }
}
