//! Comparisons, logic, selection and conversion between element types.

use super::{
    Derivative, Lower, Op, OpDef,
    arith::{map, zip},
    infer,
};
use crate::{
    array::{Array, Element, View},
    emit::Ex,
    error::{Error, Result},
    ty::{DType, Ty},
};
use ndarray::Zip;

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
            eval: |_, args, out| Ok(Array::Bool(match args[0].dtype() {
                DType::F32 => zip(&args[0], &args[1], out, |a: f32, b: f32| a $op b)?,
                DType::F64 => zip(&args[0], &args[1], out, |a: f64, b: f64| a $op b)?,
                DType::I64 => zip(&args[0], &args[1], out, |a: i64, b: i64| a $op b)?,
                DType::Bool => zip(&args[0], &args[1], out, |a: bool, b: bool| a $op b)?,
            })),
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
            eval: |_, args, out| Ok(Array::Bool(zip(&args[0], &args[1], out, |a: bool, b: bool| a $op b)?)),
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
    eval: |op, args, _| Ok(Array::Bool(map(&args[0].typed::<bool>(op.name())?, |a| !a))),
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
    eval: |op, args, _| match &args[0] {
        View::F32(a) => Ok(Array::Bool(map(a, f32::is_nan))),
        View::F64(a) => Ok(Array::Bool(map(a, f64::is_nan))),
        other => Err(Error::dtype(op.name(), "f32 or f64", other.dtype())),
    },
    derivative: Derivative::Zero,
    saves: 0,
    lower: Lower::Inline(|l, a, _| l.is_nan(a[0])),
};

fn select<T: Element>(args: &[View<'_>], out: &Ty) -> Result<Array> {
    let (m, a, b) = (args[0].broadcast(&out.shape), args[1].broadcast(&out.shape), args[2].broadcast(&out.shape));
    let (m, a, b) = (m.typed::<bool>("select")?, a.typed::<T>("select")?, b.typed::<T>("select")?);
    Ok(T::into_array(Zip::from(&m).and(&a).and(&b).map_collect(|&m, &a, &b| if m { a } else { b })))
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
    eval: |_, args, out| match out.dtype {
        DType::F32 => select::<f32>(args, out),
        DType::F64 => select::<f64>(args, out),
        DType::I64 => select::<i64>(args, out),
        DType::Bool => select::<bool>(args, out),
    },
    derivative: Derivative::Elementwise(|cx, i, t| match i {
        0 => None,
        1 => Some(t.masked(&cx.args[0])),
        _ => Some(Ex::select(&cx.args[0], &t.lit(0.0), t)),
    }),
    saves: 1,
    lower: Lower::Inline(|l, a, _| l.select(a[0], a[1], a[2])),
};

fn convert<T: Element>(a: &ndarray::ArrayViewD<'_, T>, to: DType, f: impl Fn(T) -> f64, i: impl Fn(T) -> i64) -> Array {
    match to {
        DType::F32 => Array::F32(map(a, |x| f(x) as f32)),
        DType::F64 => Array::F64(map(a, f)),
        DType::I64 => Array::I64(map(a, i)),
        DType::Bool => Array::Bool(map(a, |x| f(x) != 0.0)),
    }
}
/// y = a converted; to integers towards zero and saturating, NaN to 0, as Rust's `as`;  between floats
/// dx = ct converted back
pub static CAST: OpDef = OpDef {
    name: "cast",
    attrs: &["dtype"],
    arity: 1,
    infer: |op, a| Ty::new(op.dtype(0), &a[0].shape),
    eval: |op, args, _| {
        let to = op.dtype(0);
        Ok(match &args[0] {
            View::F32(a) => convert(a, to, f64::from, |x| x as i64),
            View::F64(a) => convert(a, to, |x| x, |x| x as i64),
            // through f64 an i64 would be rounded twice on its way to f32
            View::I64(a) if to == DType::F32 => Array::F32(map(a, |x| x as f32)),
            View::I64(a) => convert(a, to, |x| x as f64, |x| x),
            View::Bool(a) => convert(a, to, |x| f64::from(u8::from(x)), i64::from),
        })
    },
    derivative: Derivative::Elementwise(|cx, _, t| {
        // forward mode hands in a tangent of the argument's dtype, reverse mode a cotangent of the result's
        let (from, to) = (cx.args[0].dtype(), cx.op.dtype(0));
        (from.is_float() && to.is_float()).then(|| t.cast(if t.dtype() == from { to } else { from }))
    }),
    saves: 0,
    lower: Lower::Inline(|l, a, to| l.cast(a[0], to)),
};
