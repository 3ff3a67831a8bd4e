//! Checks a kernel against the rules of the IR before any code is emitted. Invariant: what passes
//! here cannot make the planner or the emitter index out of bounds or divide by zero.

use super::{Access, CompileError, Id, Kernel, Lowering, MAX_NODES, Node, NodeKind, OPEN, ReduceKind, Scope, size_of};
use crate::ty::DType;

fn malformed<T>(message: impl Into<String>) -> Result<T, CompileError> {
    Err(CompileError::Malformed(message.into()))
}

/// Checks argument order, counts and dtypes of nodes; accesses are the caller's business.
pub(super) fn nodes(nodes: &[Node]) -> Result<(), CompileError> {
    if nodes.len() > MAX_NODES {
        return Err(CompileError::TooLarge(nodes.len()));
    }
    for (id, n) in nodes.iter().enumerate() {
        node(n, id, |a| nodes.get(a as usize).filter(|_| (a as usize) < id).map(|n| n.dtype))?;
        if let NodeKind::Elementwise { args, .. } = &n.kind {
            args.iter().try_for_each(|&a| not_outer(nodes, a, id))?;
        } else if let &NodeKind::Reduce { arg, .. } = &n.kind {
            not_outer(nodes, arg, id)?;
        } else if let NodeKind::Delay { args, .. } = &n.kind {
            args.iter().try_for_each(|&a| not_outer(nodes, a, id))?;
        }
    }
    Ok(())
}

/// Checks a node, given the types of earlier ones.
pub(super) fn node(n: &Node, id: usize, ty: impl Fn(Id) -> Option<DType>) -> Result<(), CompileError> {
    let earlier = |arg: Id| match ty(arg) {
        Some(ty) => Ok(ty),
        None => malformed(format!("node {id}: argument {arg} does not precede it")),
    };
    match &n.kind {
        NodeKind::Load { .. } | NodeKind::Const { .. } | NodeKind::Iota { .. } => {}
        NodeKind::Elementwise { lowering, args } => {
            let tys = args.iter().map(|&a| earlier(a)).collect::<Result<Vec<_>, _>>()?;
            let arity = match lowering {
                Lowering::Inline(_) => return Ok(()),
                Lowering::Unary(_) | Lowering::Powi(_) => 1,
                Lowering::Binary(_) => 2,
            };
            if args.len() != arity {
                return malformed(format!("node {id}: {} arguments for {lowering:?}", args.len()));
            }
            let float = matches!(n.dtype, DType::F32 | DType::F64);
            if !float || tys.iter().any(|&t| t != n.dtype) {
                return malformed(format!("node {id}: {lowering:?} needs arguments of one float dtype"));
            }
        }
        &NodeKind::Reduce { kind, arg, .. } => {
            if earlier(arg)? != n.dtype {
                return malformed(format!("node {id}: reduction changes the dtype"));
            }
            if n.dtype == DType::Bool && matches!(kind, ReduceKind::Sum | ReduceKind::Prod) {
                return malformed(format!("node {id}: {kind:?} of Bool"));
            }
        }
        NodeKind::Delay { args, .. } => {
            if args.iter().map(|&a| earlier(a)).collect::<Result<Vec<_>, _>>()? != [n.dtype; 2] {
                return malformed(format!("node {id}: a delay changes the dtype"));
            }
        }
    }
    Ok(())
}

/// Only inner reductions may be used at all.
fn not_outer(nodes: &[Node], arg: Id, user: usize) -> Result<(), CompileError> {
    match nodes[arg as usize].kind {
        NodeKind::Reduce { scope: Scope::Outer | Scope::All, .. } => {
            malformed(format!("node {user}: uses the outer reduction {arg}"))
        }
        _ => Ok(()),
    }
}

/// Checks a whole kernel.
pub(super) fn kernel(k: &Kernel) -> Result<(), CompileError> {
    nodes(&k.nodes)?;
    if k.parallel > k.outer.len() {
        return malformed("more parallel than outer dimensions");
    }
    let total = k.outer.iter().try_fold(k.inner.max(1), |n, &d| n.checked_mul(d.max(1)));
    if total.is_none_or(|n| n > 1 << 48) {
        return malformed("domain too large");
    }
    for (id, node) in k.nodes.iter().enumerate() {
        match &node.kind {
            NodeKind::Load { buffer, access } => {
                if k.buffers.get(usize::from(*buffer)) != Some(&node.dtype) {
                    return malformed(format!("node {id}: dtype differs from its buffer's"));
                }
                check_access(k, access, size_of(node.dtype))?;
            }
            NodeKind::Iota { access } => check_access(k, access, 1)?,
            NodeKind::Delay { back, .. } if k.inner != OPEN || *back != k.runs_back() => {
                return malformed(format!("node {id}: a delay in a range that is known or runs the other way"));
            }
            _ => {}
        }
    }
    for (index, store) in k.stores.iter().enumerate() {
        let Some(node) = k.nodes.get(store.node as usize) else {
            return malformed(format!("store {index}: no such node"));
        };
        if k.buffers.get(usize::from(store.buffer)) != Some(&node.dtype) {
            return malformed(format!("store {index}: dtype differs from its buffer's"));
        }
        check_access(k, &store.access, size_of(node.dtype))?;
        if let Some((_, scope)) = k.accumulates(store) {
            if store.access.outer[k.parallel..].iter().any(|&s| s != 0) {
                return malformed(format!("store {index}: accumulates with a reduced stride"));
            }
            if k.inner > 1 && (scope == Scope::All) != (store.access.inner == 0) {
                return malformed(format!("store {index}: wrong inner stride for {scope:?}"));
            }
        }
    }
    Ok(())
}

/// Byte offsets of an access must stay far from overflow so that the emitter can fold them.
fn check_access(k: &Kernel, access: &Access, size: usize) -> Result<(), CompileError> {
    if access.outer.len() != k.outer.len() {
        return malformed("access has the wrong number of outer strides");
    }
    let reach = access.outer.iter().zip(&k.outer).map(|(&s, &d)| (s, d));
    let reach = reach.chain([(access.inner, k.inner), (access.offset, 2)]);
    let mut bytes = 0u128;
    for (stride, size) in reach {
        bytes += u128::from(stride.unsigned_abs()) * (size as u128).max(1);
    }
    if bytes * size as u128 > 1 << 60 {
        return malformed("access out of the address space");
    }
    Ok(())
}
