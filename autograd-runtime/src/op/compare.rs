//! Comparisons, logic, selection and conversion between element types.

use super::{
    Derivative, Eval, Lower, Op, OpDef,
    evaluate::pointwise::{map, mismatch, zip, zip3},
    infer,
};
use crate::{
    array::{Slice, SliceMut},
    emit::Ex,
    error::{Error, Result},
    ty::{DType, Ty},
};

/// All operations of this family.
pub static ALL: &[&OpDef] = &[&LT, &LE, &GT, &GE, &EQ, &NE, &AND, &OR, &XOR, &NOT, &IS_NAN, &SELECT, &CAST];

fn to_bool(op: &Op, args: &[&Ty]) -> Result<Ty> {
    infer::same_dtype(op, args)?;
    Ok(Ty { dtype: DType::Bool, shape: infer::broadcast_all(op, args)? })
}
fn logic(op: &Op, args: &[&Ty]) -> Result<Ty> {
    match args.iter().find(|a| a.dtype != DType::Bool) {
        Some(a) => Err(Error::dtype(op.name(), "bool", a.dtype)),
        None => to_bool(op, args),
    }
}

macro_rules! comparison {
    ($($id:ident $name:literal $op:tt $lane:ident;)*) => {$(
        #[doc = concat!("y = a ", stringify!($op), " b, elementwise, false at NaN as IEEE has it; the derivative is zero")]
        pub static $id: OpDef = OpDef {
            name: $name, attrs: &[], arity: 2, infer: to_bool,
            eval: Eval::Pointwise(|op, args, out| match (args, out) {
                ([Slice::F32(a), Slice::F32(b)], SliceMut::Bool(y)) => zip(a, b, y, |a, b| a $op b),
                ([Slice::F64(a), Slice::F64(b)], SliceMut::Bool(y)) => zip(a, b, y, |a, b| a $op b),
                ([Slice::I64(a), Slice::I64(b)], SliceMut::Bool(y)) => zip(a, b, y, |a, b| a $op b),
                ([Slice::Bool(a), Slice::Bool(b)], SliceMut::Bool(y)) => zip(a, b, y, |a, b| a $op b),
                (args, out) => Err(mismatch(op, args, &out)),
            }),
            derivative: Derivative::Zero, saves: 0, lower: Lower::Inline(|l, a, _| l.$lane(a[0], a[1])),
        };
    )*};
}
comparison! { LT "lt" < lt; LE "le" <= le; GT "gt" > gt; GE "ge" >= ge; EQ "eq" == eq; NE "ne" != ne; }

macro_rules! logical {
    ($($id:ident $name:literal $op:tt $lane:ident;)*) => {$(
        #[doc = concat!("y = a ", stringify!($op), " b on truth values")]
        pub static $id: OpDef = OpDef {
            name: $name, attrs: &[], arity: 2, infer: logic,
            eval: Eval::Pointwise(|op, args, out| match (args, out) {
                ([Slice::Bool(a), Slice::Bool(b)], SliceMut::Bool(y)) => zip(a, b, y, |a, b| a $op b),
                (args, out) => Err(mismatch(op, args, &out)),
            }),
            derivative: Derivative::Zero, saves: 0, lower: Lower::Inline(|l, a, _| l.$lane(a[0], a[1])),
        };
    )*};
}
logical! { AND "and" & and; OR "or" | or; XOR "xor" ^ xor; }

/// y = not a
pub static NOT: OpDef = OpDef {
    name: "not",
    attrs: &[],
    arity: 1,
    infer: logic,
    eval: Eval::Pointwise(|op, args, out| match (args, out) {
        ([Slice::Bool(a)], SliceMut::Bool(y)) => map(a, y, |a: bool| !a),
        (args, out) => Err(mismatch(op, args, &out)),
    }),
    derivative: Derivative::Zero,
    saves: 0,
    lower: Lower::Inline(|l, a, _| l.not(a[0])),
};
/// y = a is not a number
pub static IS_NAN: OpDef = OpDef {
    name: "is_nan",
    attrs: &[],
    arity: 1,
    infer: |op, a| infer::floats(op, a).map(|t| t.with_dtype(DType::Bool)),
    eval: Eval::Pointwise(|op, args, out| match (args, out) {
        ([Slice::F32(a)], SliceMut::Bool(y)) => map(a, y, f32::is_nan),
        ([Slice::F64(a)], SliceMut::Bool(y)) => map(a, y, f64::is_nan),
        (args, out) => Err(mismatch(op, args, &out)),
    }),
    derivative: Derivative::Zero,
    saves: 0,
    lower: Lower::Inline(|l, a, _| l.is_nan(a[0])),
};

fn choose<T>(m: bool, a: T, b: T) -> T {
    if m { a } else { b }
}
/// y = a where the mask holds, else b;  each operand gets the cotangent where it was taken and an exact
/// zero elsewhere
pub static SELECT: OpDef = OpDef {
    name: "select",
    attrs: &[],
    arity: 3,
    infer: |op, args| {
        if args[0].dtype != DType::Bool {
            return Err(Error::dtype(op.name(), "bool for the mask", args[0].dtype));
        }
        let dtype = infer::same_dtype(op, &args[1..])?;
        Ty::new(dtype, &infer::broadcast_all(op, args)?)
    },
    eval: Eval::Pointwise(|op, args, out| match (args, out) {
        ([Slice::Bool(m), Slice::F32(a), Slice::F32(b)], SliceMut::F32(y)) => zip3(m, a, b, y, choose),
        ([Slice::Bool(m), Slice::F64(a), Slice::F64(b)], SliceMut::F64(y)) => zip3(m, a, b, y, choose),
        ([Slice::Bool(m), Slice::I64(a), Slice::I64(b)], SliceMut::I64(y)) => zip3(m, a, b, y, choose),
        ([Slice::Bool(m), Slice::Bool(a), Slice::Bool(b)], SliceMut::Bool(y)) => zip3(m, a, b, y, choose),
        (args, out) => Err(mismatch(op, args, &out)),
    }),
    derivative: Derivative::Elementwise(|cx, i, t| match i {
        0 => None,
        1 => Some(t.masked(&cx.args[0])),
        _ => Some(Ex::select(&cx.args[0], &t.lit(0.0), t)),
    }),
    saves: 1,
    lower: Lower::Inline(|l, a, _| l.select(a[0], a[1], a[2])),
};

/// The loops from each type to each type: `from to |x| converted;`.
macro_rules! conversions {
    ($($from:ident $to:ident |$x:ident| $e:expr;)*) => {
        Eval::Pointwise(|op, args, out| match (args, out) {
            $(([Slice::$from(a)], SliceMut::$to(y)) => map(*a, y, |$x| $e),)*
            (args, out) => Err(mismatch(op, args, &out)),
        })
    };
}
/// y = a converted; to integers towards zero and saturating, NaN to 0, as Rust's `as`;  between floats
/// dx = ct converted back
pub static CAST: OpDef = OpDef {
    name: "cast",
    attrs: &["dtype"],
    arity: 1,
    infer: |op, a| Ty::new(op.dtype(0), &a[0].shape),
    eval: conversions! {
        F32 F32 |x| x; F32 F64 |x| f64::from(x); F32 I64 |x| x as i64; F32 Bool |x| x != 0.0;
        F64 F32 |x| x as f32; F64 F64 |x| x; F64 I64 |x| x as i64; F64 Bool |x| x != 0.0;
        I64 F32 |x| x as f32; I64 F64 |x| x as f64; I64 I64 |x| x; I64 Bool |x| x != 0;
        Bool F32 |x| f32::from(u8::from(x)); Bool F64 |x| f64::from(u8::from(x));
        Bool I64 |x| i64::from(x); Bool Bool |x| x;
    },
    derivative: Derivative::Elementwise(|cx, _, t| {
        // forward mode hands in a tangent of the argument's dtype, reverse mode a cotangent of the result's
        let (from, to) = (cx.args[0].dtype(), cx.op.dtype(0));
        (from.is_float() && to.is_float()).then(|| t.cast(if t.dtype() == from { to } else { from }))
    }),
    saves: 0,
    lower: Lower::Inline(|l, a, to| l.cast(a[0], to)),
};
