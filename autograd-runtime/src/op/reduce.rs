//! Reductions over a set of axes, which stay with extent 1. The order of a reduction is fixed by the
//! shape. Means, variances, norms and log-sum-exp are built from these in `compose`.

use super::{
    Cx, Derivative, Eval, Lower, Op, OpDef, Operand, SAVE_OUT,
    evaluate::reduce::{Fold, fold, position},
    library,
};
use crate::{
    array::{Data, Float},
    emit::Ex,
    error::{Error, Result},
    kernel::ReduceKind,
    ty::{DType, Ty},
};

/// All operations of this family.
pub static ALL: &[&OpDef] = &[&SUM, &AMAX, &AMIN, &ARGMAX, &ARGMIN];

fn keepdim(op: &Op, a: &[&Ty]) -> Result<Ty> {
    let mut ty = a[0].clone();
    let dims = op.dims(0);
    for (i, &d) in dims.iter().enumerate() {
        if d >= ty.rank() || dims[..i].contains(&d) {
            let want = format!("distinct dims below {}", ty.rank());
            return Err(Error::value(op.name(), format!("expected {want}, found {:?}", dims.as_slice())));
        }
        ty.shape[d] = 1;
    }
    if ty.dtype == DType::Bool {
        return Err(Error::dtype(op.name(), "a number", DType::Bool));
    }
    Ok(ty)
}
fn not_empty(op: &Op, a: &[&Ty]) -> Result<Ty> {
    let ty = keepdim(op, a)?;
    if op.dims(0).iter().any(|&d| a[0].shape[d] == 0) && ty.numel() > 0 {
        let found = format!("{:?}", a[0].shape.as_slice());
        return Err(Error::shape(op.name(), "at least one element along the reduced dims", found));
    }
    Ok(ty)
}

/// Σ; integers wrap round, as their additions do.
#[derive(Clone, Copy)]
struct Sum;
/// The largest, or a NaN if there is one.
#[derive(Clone, Copy)]
struct Max;
/// The smallest, or a NaN if there is one.
#[derive(Clone, Copy)]
struct Min;

macro_rules! folds {
    ($($fold:ident $t:ty: $neutral:expr, |$a:ident, $b:ident| $e:expr;)*) => {$(
        impl Fold<$t> for $fold {
            #[inline(always)]
            fn neutral(self) -> $t {
                $neutral
            }
            #[inline(always)]
            fn combine(self, $a: $t, $b: $t) -> $t {
                $e
            }
        }
    )*};
}
// of equal numbers the first
folds! {
    Sum f32: 0.0, |a, b| a + b;
    Sum f64: 0.0, |a, b| a + b;
    Sum i64: 0, |a, b| a.wrapping_add(b);
    Max f32: f32::NEG_INFINITY, |a, b| if a.is_nan() || a >= b { a } else { b };
    Max f64: f64::NEG_INFINITY, |a, b| if a.is_nan() || a >= b { a } else { b };
    Max i64: i64::MIN, |a, b| a.max(b);
    Min f32: f32::INFINITY, |a, b| if a.is_nan() || a <= b { a } else { b };
    Min f64: f64::INFINITY, |a, b| if a.is_nan() || a <= b { a } else { b };
    Min i64: i64::MAX, |a, b| a.min(b);
}

/// `eval` of a fold.
macro_rules! eval_fold {
    ($fold:expr) => {
        |op, args, out| match out.dtype {
            DType::F32 => fold::<f32, _>(op, args[0], out, $fold),
            DType::F64 => fold::<f64, _>(op, args[0], out, $fold),
            DType::I64 => fold::<i64, _>(op, args[0], out, $fold),
            DType::Bool => Err(Error::dtype(op.name(), "a number", DType::Bool)),
        }
    };
}

/// y = Σ x;  dx = ct along the summed axes
pub static SUM: OpDef = OpDef {
    name: "sum",
    attrs: &["dims"],
    arity: 1,
    infer: keepdim,
    eval: Eval::Windows(eval_fold!(Sum)),
    derivative: Derivative::Linear(|cx, _, t| Some(t.expand(&cx.args[0].shape()))),
    saves: 0,
    lower: Lower::Reduce(ReduceKind::Sum),
};

/// Where the extremum is, as 1/(number of ties) there and 0 elsewhere.
fn shares<'e>(cx: &Cx<'e>) -> (Ex<'e>, Ex<'e>) {
    let x = &cx.args[0];
    // where the result is NaN, the NaNs have it
    let at = x.eq(cx.out).logical_or(&x.is_nan());
    let count = at.cast(x.dtype()).sum_keep(&cx.op.dims(0));
    (at, count)
}
const fn extremum(name: &'static str, eval: fn(&Op, &[Operand<'_>], &Ty) -> Result<Data>, kind: ReduceKind) -> OpDef {
    OpDef {
        name,
        attrs: &["dims"],
        arity: 1,
        infer: not_empty,
        eval: Eval::Windows(eval),
        derivative: Derivative::General(
            |cx, _, t| {
                let (at, count) = shares(cx);
                Some((t / count).masked(&at))
            },
            |cx, t| {
                let (at, count) = shares(cx);
                Some(t[0].as_ref()?.masked(&at).sum_keep(&cx.op.dims(0)) / count)
            },
        ),
        saves: 1 | SAVE_OUT,
        lower: Lower::Reduce(kind),
    }
}
/// y = max x, NaN if any is;  ties share the cotangent evenly
pub static AMAX: OpDef = extremum("amax", eval_fold!(Max), ReduceKind::Max);
/// y = min x, likewise
pub static AMIN: OpDef = extremum("amin", eval_fold!(Min), ReduceKind::Min);

/// Whether two floats are the same maximum.
fn same<T: Float>(a: T, b: T) -> bool {
    a == b || (a.is_nan() && b.is_nan())
}
const fn first(name: &'static str, eval: fn(&Op, &[Operand<'_>], &Ty) -> Result<Data>) -> OpDef {
    let infer: fn(&Op, &[&Ty]) -> Result<Ty> = |op, a| match op.dims(0).len() {
        1 => not_empty(op, a).map(|t| t.with_dtype(DType::I64)),
        n => Err(Error::value(op.name(), format!("expected one dim, found {n}"))),
    };
    library(name, &["dims"], 1, infer, eval, Derivative::Zero, 0)
}
/// `eval` of the place of a fold's result.
macro_rules! eval_position {
    ($fold:expr) => {
        |op, args, out| match args[0].dtype() {
            DType::F32 => position(op, args[0], out, $fold, same::<f32>),
            DType::F64 => position(op, args[0], out, $fold, same::<f64>),
            DType::I64 => position(op, args[0], out, $fold, |a: i64, b| a == b),
            DType::Bool => Err(Error::dtype(op.name(), "a number", DType::Bool)),
        }
    };
}
/// y = the first index of the maximum along `dims` (one dim), NaN being the largest;  the derivative is zero
pub static ARGMAX: OpDef = first("argmax", eval_position!(Max));
/// y = the first index of the minimum along `dims` (one dim), NaN being the smallest;  the derivative is zero
pub static ARGMIN: OpDef = first("argmin", eval_position!(Min));
