//! Shape clean-up: chains of views become one, views that change nothing disappear, and an elementwise
//! operation reads a broadcast operand as it was before.

use crate::{
    error::Result,
    graph::{Builder, Node, NodeId},
    op::{Attr, Lower, Op, views},
    ty::{Shape, broadcast},
};

pub(super) fn rule(b: &Builder, n: &Node, args: &[NodeId]) -> Result<Option<NodeId>> {
    if let Lower::View(_) = n.op.def.lower {
        let from = b.node(args[0]);
        let merged = |attr: Attr, x: NodeId| b.add(Op::with(n.op.def, [attr]), &[x]).map(Some);
        if from.op.is(n.op.def) && (n.op.is(&views::RESHAPE) || n.op.is(&views::EXPAND)) {
            let x = from.args[0];
            return if b.ty_of(x) == n.ty { Ok(Some(x)) } else { merged(Attr::dims(&n.ty.shape), x) };
        }
        if from.op.is(n.op.def) && n.op.is(&views::PERMUTE) {
            let (outer, inner) = (n.op.dims(0), from.op.dims(0));
            let perm: Shape = outer.iter().map(|&p| inner[p]).collect();
            let identity = perm.iter().enumerate().all(|(i, &p)| i == p);
            return if identity { Ok(Some(from.args[0])) } else { merged(Attr::dims(&perm), from.args[0]) };
        }
        let trivial = (n.op.is(&views::RESHAPE) || n.op.is(&views::EXPAND)) && from.ty == n.ty;
        return Ok(trivial.then(|| args[0]));
    }
    if !is_elementwise(&n.op) || args.len() < 2 {
        return Ok(None);
    }
    // f(expand(x), y) = f(x, y) if y still gives the shape
    let mut new: Vec<NodeId> = args.to_vec();
    for i in 0..new.len() {
        let a = b.node(new[i]);
        if !a.op.is(&views::EXPAND) {
            continue;
        }
        let kept = new[i];
        new[i] = a.args[0];
        let shape = new.iter().try_fold(Shape::new(), |s, &a| broadcast(&s, &b.ty_of(a).shape));
        if shape.as_ref() != Some(&n.ty.shape) {
            new[i] = kept;
        }
    }
    if new == args { Ok(None) } else { b.add(n.op.clone(), &new).map(Some) }
}

pub(crate) fn is_elementwise(op: &Op) -> bool {
    op.def.is_elementwise()
}
