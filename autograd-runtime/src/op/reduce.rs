//! Reductions over a set of axes, which stay with extent 1. The order of a reduction is fixed by the
//! shape. Means, variances, norms and log-sum-exp are built from these in `compose`.

use super::{Cx, Derivative, Eval, Lower, Op, OpDef, SAVE_OUT};
use crate::{
    array::{Array, Float, View},
    emit::Ex,
    error::{Error, Result},
    kernel::ReduceKind,
    ty::{DType, Ty},
};
use ndarray::{ArrayD, ArrayViewD, Axis, IxDyn};

/// All operations of this family.
pub static ALL: &[&OpDef] = &[&SUM, &AMAX, &AMIN, &ARGMAX];

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

/// Folds one axis after the other, the last first, as the compiled kernels do.
fn fold<T: Copy + 'static>(
    x: &ArrayViewD<'_, T>,
    dims: &[usize],
    f: impl Fn(&ArrayViewD<'_, T>, Axis) -> ArrayD<T>,
) -> ArrayD<T> {
    let mut dims = dims.to_vec();
    dims.sort_unstable();
    let mut out: Option<ArrayD<T>> = None;
    for &d in dims.iter().rev() {
        let y = match &out {
            None => f(x, Axis(d)),
            Some(o) => f(&o.view(), Axis(d)),
        };
        out = Some(y.insert_axis(Axis(d)));
    }
    out.unwrap_or_else(|| x.to_owned())
}
fn sum_axis<T: Copy + num_traits::Zero + std::ops::Add<Output = T>>(x: &ArrayViewD<'_, T>, d: Axis) -> ArrayD<T> {
    x.sum_axis(d)
}
fn extreme_axis<T: Copy>(x: &ArrayViewD<'_, T>, d: Axis, takes: impl Fn(T, T) -> bool) -> ArrayD<T> {
    let mut shape = x.shape().to_vec();
    shape.remove(d.0);
    if shape.contains(&0) {
        return ArrayD::from_shape_vec(IxDyn(&shape), Vec::new()).expect("no elements");
    }
    let mut out = x.index_axis(d, 0).to_owned();
    for lane in x.axis_iter(d).skip(1) {
        out.zip_mut_with(&lane, |a, &b| {
            if takes(*a, b) {
                *a = b;
            }
        });
    }
    out
}
fn beats<T: Float>(a: T, b: T) -> bool {
    !a.is_nan() && (b > a || b.is_nan())
}
fn loses<T: Float>(a: T, b: T) -> bool {
    !a.is_nan() && (b < a || b.is_nan())
}

/// y = Σ x;  dx = ct along the summed axes
pub static SUM: OpDef = OpDef {
    name: "sum",
    attrs: &["dims"],
    arity: 1,
    infer: keepdim,
    eval: Eval::Views(|op, args, _| {
        let dims = op.dims(0);
        Ok(match &args[0] {
            View::F32(a) => Array::F32(fold(a, &dims, sum_axis)),
            View::F64(a) => Array::F64(fold(a, &dims, sum_axis)),
            // integers wrap round, as their additions do
            View::I64(a) => Array::I64(fold(a, &dims, |x, d| x.fold_axis(d, 0, |s: &i64, v| s.wrapping_add(*v)))),
            View::Bool(_) => return Err(Error::dtype(op.name(), "a number", DType::Bool)),
        })
    }),
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
const fn extremum(name: &'static str, eval: fn(&Op, &[View<'_>], &Ty) -> Result<Array>, kind: ReduceKind) -> OpDef {
    OpDef {
        name,
        attrs: &["dims"],
        arity: 1,
        infer: not_empty,
        eval: Eval::Views(eval),
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
pub static AMAX: OpDef = extremum(
    "amax",
    |op, args, _| {
        let dims = op.dims(0);
        Ok(match &args[0] {
            View::F32(a) => Array::F32(fold(a, &dims, |x, d| extreme_axis(x, d, beats))),
            View::F64(a) => Array::F64(fold(a, &dims, |x, d| extreme_axis(x, d, beats))),
            View::I64(a) => Array::I64(fold(a, &dims, |x, d| extreme_axis(x, d, |a, b| b > a))),
            View::Bool(_) => return Err(Error::dtype(op.name(), "a number", DType::Bool)),
        })
    },
    ReduceKind::Max,
);
/// y = min x, likewise
pub static AMIN: OpDef = extremum(
    "amin",
    |op, args, _| {
        let dims = op.dims(0);
        Ok(match &args[0] {
            View::F32(a) => Array::F32(fold(a, &dims, |x, d| extreme_axis(x, d, loses))),
            View::F64(a) => Array::F64(fold(a, &dims, |x, d| extreme_axis(x, d, loses))),
            View::I64(a) => Array::I64(fold(a, &dims, |x, d| extreme_axis(x, d, |a, b| b < a))),
            View::Bool(_) => return Err(Error::dtype(op.name(), "a number", DType::Bool)),
        })
    },
    ReduceKind::Min,
);

fn first_max<T: Copy>(x: &ArrayViewD<'_, T>, d: Axis, takes: impl Fn(T, T) -> bool) -> ArrayD<i64> {
    x.map_axis(d, |lane| {
        let best = |m: usize, i: usize| if takes(lane[m], lane[i]) { i } else { m };
        (0..lane.len()).reduce(best).unwrap_or(0) as i64
    })
    .insert_axis(d)
}
/// y = the first index of the maximum along `dims` (one dim), NaN being the largest;  the derivative is zero
pub static ARGMAX: OpDef = OpDef {
    name: "argmax",
    attrs: &["dims"],
    arity: 1,
    infer: |op, a| match op.dims(0).len() {
        1 => not_empty(op, a).map(|t| t.with_dtype(DType::I64)),
        n => Err(Error::value("argmax", format!("expected one dim, found {n}"))),
    },
    eval: Eval::Views(|op, args, _| {
        let d = Axis(op.dims(0)[0]);
        Ok(Array::I64(match &args[0] {
            View::F32(a) => first_max(a, d, beats),
            View::F64(a) => first_max(a, d, beats),
            View::I64(a) => first_max(a, d, |a, b| b > a),
            View::Bool(_) => return Err(Error::dtype(op.name(), "a number", DType::Bool)),
        }))
    }),
    derivative: Derivative::Zero,
    saves: 0,
    lower: Lower::Library,
};
