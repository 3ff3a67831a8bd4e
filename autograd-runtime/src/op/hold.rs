//! Assertions: conditions that have to hold where a program comes to them, and values that are handed out only if they do.
//!
//! Programs drop what nobody reads. So what a function, a branch or a trip of a loop gives is made to depend on its assertions,
//! and so are the derivatives. [`HOLDS`] itself stays where it was written: what runs behind it may rely on it.

use super::{Derivative, Eval, Lower, Op, OpDef};
use crate::{
    array::Array,
    emit::apply,
    error::{Error, Place, Result},
    ty::{DType, Ty},
};

/// All operations of this family.
pub static ALL: &[&OpDef] = &[&HOLDS, &AFTER];

fn truth(op: &Op, ty: &Ty) -> Result<()> {
    if *ty == Ty::scalar(DType::Bool) { Ok(()) } else { Err(Error::shape(op.name(), "a truth value", ty.to_string())) }
}

/// What runs graphs knows no name of a function.
pub(crate) const PROGRAM: &str = "a program";

/// What an assertion says that does not hold.
pub(crate) fn broken(op: &Op) -> Error {
    let at = Place::numbered(op.int(0)).map_or_else(String::new, |p| format!(" at {p}"));
    Error::Panicked { function: PROGRAM.into(), message: format!("an assertion{at} does not hold") }
}

/// The condition, which is an error where it does not hold
pub static HOLDS: OpDef = OpDef {
    name: "holds",
    attrs: &["place"],
    arity: 1,
    infer: |op, a| truth(op, a[0]).map(|()| a[0].clone()),
    eval: Eval::Views(|op, a, ty| match a[0].typed::<bool>(op.name())?.first() {
        Some(true) => Ok(Array::full(ty, 1)),
        _ => Err(broken(op)),
    }),
    derivative: Derivative::Zero,
    saves: 0,
    lower: Lower::Library,
};

/// y = x, once something holds;  dx = ct, once that holds
pub static AFTER: OpDef = OpDef {
    name: "after",
    attrs: &[],
    arity: 2,
    infer: |op, a| truth(op, a[1]).map(|()| a[0].clone()),
    eval: Eval::Views(|_, a, _| Ok(a[0].to_array())),
    derivative: Derivative::Elementwise(|cx, i, t| (i == 0).then(|| apply(Op::new(&AFTER), &[t, &cx.args[1]]))),
    saves: 2,
    lower: Lower::Inline(|_, a, _| a[0]),
};
