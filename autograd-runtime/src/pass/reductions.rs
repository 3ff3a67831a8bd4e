//! Brings reductions to the forms that kernels have: over the last axis, over axes before the last, or over
//! all. Others become two, the last axis first. Axes of extent 1 are not reduced at all.

use super::rewrite;
use crate::{
    error::Result,
    graph::Graph,
    op::{Attr, Lower, Op},
    ty::Shape,
};

pub(super) fn run(g: &Graph) -> Result<Graph> {
    rewrite(g, |b, n, args| {
        let Lower::Reduce(_) = n.op.def.lower else { return Ok(None) };
        let shape = b.ty_of(args[0]).shape;
        let all = n.op.dims(0);
        let dims: Shape = all.iter().copied().filter(|&d| shape[d] != 1).collect();
        if dims.is_empty() && all.iter().all(|&d| shape[d] == 1) {
            return Ok(Some(args[0]));
        }
        let reduce = |dims: &[usize], x| b.add(Op::with(n.op.def, [Attr::dims(dims)]), &[x]);
        let wide = |d: &usize| shape[*d] != 1;
        let last = (0..shape.len()).rev().find(wide);
        let mixed = last.is_some_and(|l| dims.contains(&l)) && dims.len() > 1;
        let whole = (0..shape.len()).filter(wide).all(|d| dims.contains(&d));
        if mixed && !whole {
            let l = last.expect("mixed has a last axis");
            let rest: Shape = dims.iter().copied().filter(|&d| d != l).collect();
            let inner = reduce(&[l], args[0])?;
            return reduce(&rest, inner).map(Some);
        }
        if dims == all { Ok(None) } else { reduce(&dims, args[0]).map(Some) }
    })
}
