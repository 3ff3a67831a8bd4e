//! Exact algebra, one line a rule. Nothing here may change a bit: `x + 0` is not among the rules (−0 + 0 is
//! +0), nor `x · 0` (NaN, ∞).

use crate::{
    error::Result,
    graph::{Builder, Node, NodeId},
    op::{Op, arith, compare, create, list},
    ty::DType,
};

pub(super) fn rule(b: &Builder, n: &Node, args: &[NodeId]) -> Result<Option<NodeId>> {
    if let Some(value) = settled(n, args) {
        return Ok(Some(value));
    }
    Ok(inside(b, n, args)?.or(distance(b, n, args)?))
}

/// As [`rule`] in a graph that may yet be differentiated.
pub(super) fn inside(b: &Builder, n: &Node, args: &[NodeId]) -> Result<Option<NodeId>> {
    Ok(simpler(b, n, args)?.filter(|&id| b.ty_of(id) == n.ty))
}

/// What is different after all derivatives have been taken.
pub(super) fn settle(_: &Builder, n: &Node, args: &[NodeId]) -> Result<Option<NodeId>> {
    Ok(settled(n, args))
}

/// A detached value is the value; so is one with a derivative of the user's, once that has been taken.
fn settled(n: &Node, a: &[NodeId]) -> Option<NodeId> {
    matches!(n.op.name(), "detach" | "custom_vjp").then(|| a[0])
}

/// (a − b)² = (b − a)², written in one of these ways: both are often there, of two points seen from either. Their derivatives
/// differ in the sign of zeros.
fn distance(b: &Builder, n: &Node, a: &[NodeId]) -> Result<Option<NodeId>> {
    let difference = if n.op.is(&arith::SQUARE) { b.node(a[0]) } else { return Ok(None) };
    if !difference.op.is(&arith::SUB) || difference.args[0] <= difference.args[1] {
        return Ok(None);
    }
    let other = b.add(difference.op, &[difference.args[1], difference.args[0]])?;
    b.add(n.op.clone(), &[other]).map(Some)
}

fn simpler(b: &Builder, n: &Node, a: &[NodeId]) -> Result<Option<NodeId>> {
    let is = |i: usize, x: f64| create::value(&b.node(a[i]).op).is_some_and(|v| v.to_bits() == x.to_bits());
    let made_by = |i: usize, def| {
        let m = b.node(a[i]);
        m.op.is(def).then(|| m.args[0])
    };
    let neg = |x: NodeId| b.add(Op::new(&arith::NEG), &[x]).map(Some);
    Ok(match n.op.name() {
        // x · 1 = x,  x · −1 = −x,  x / 1 = x
        "mul" if is(1, 1.0) => Some(a[0]),
        "mul" if is(0, 1.0) => Some(a[1]),
        "mul" if is(1, -1.0) => neg(a[0])?,
        "mul" if is(0, -1.0) => neg(a[1])?,
        "div" if is(1, 1.0) => Some(a[0]),
        // x − 0 = x,  x + (−0) = x
        "sub" if is(1, 0.0) => Some(a[0]),
        "add" if is(1, -0.0) => Some(a[0]),
        "add" if is(0, -0.0) => Some(a[1]),
        // n + 0 = n of integers
        "add" if n.ty.dtype == DType::I64 && is(1, 0.0) => Some(a[0]),
        "add" if n.ty.dtype == DType::I64 && is(0, 0.0) => Some(a[1]),
        // a + (−b) = a − b,  a − (−b) = a + b
        "add" if made_by(1, &arith::NEG).is_some() => {
            Some(b.add(Op::new(&arith::SUB), &[a[0], made_by(1, &arith::NEG).expect("just seen")])?)
        }
        "sub" if made_by(1, &arith::NEG).is_some() => {
            Some(b.add(Op::new(&arith::ADD), &[a[0], made_by(1, &arith::NEG).expect("just seen")])?)
        }
        // −(−x) = x,  not not x = x
        "neg" => made_by(0, &arith::NEG),
        "not" => made_by(0, &compare::NOT),
        // the power function multiplies for these exponents too, so the bits are the same
        "powi" if n.op.int(0) == 1 => Some(a[0]),
        "powi" if n.op.int(0) == 2 => Some(b.add(Op::new(&arith::SQUARE), a)?),
        "powi" if n.op.int(0) == 3 => {
            let square = b.add(Op::new(&arith::SQUARE), a)?;
            Some(b.add(Op::new(&arith::MUL), &[square, a[0]])?)
        }
        "copy" => Some(a[0]),
        // a write changes no length
        "list_len" if made_by(0, &list::SET).is_some() => Some(b.add(n.op.clone(), &[b.node(a[0]).args[0]])?),
        "list_len" if made_by(0, &list::ADD).is_some() => Some(b.add(n.op.clone(), &[b.node(a[0]).args[0]])?),
        "list_len" if made_by(0, &list::FILL).is_some() => Some(b.node(a[0]).args[1]),
        "list_len" if b.node(a[0]).op.is(&list::OF) => {
            Some(b.add(create::constant(DType::I64, b.node(a[0]).args.len() as f64), &[])?)
        }
        // one side for both, or a known mask
        "select" if a[1] == a[2] => Some(a[1]),
        "select" if is(0, 1.0) => Some(a[1]),
        "select" if is(0, 0.0) => Some(a[2]),
        _ => None,
    })
}
