//! Scans: results that hold, along one axis, what has been gathered so far. Cumulative products, their derivatives and
//! those of log-sum-exp so far are all the linear recurrence, which is closed under differentiation.

use super::{
    Derivative, Op, OpDef, Operand, SAVE_OUT, dim_of,
    evaluate::{elements, fresh},
    infer, library,
};
use crate::{
    array::{Data, Element, Float},
    emit::{Ex, apply},
    error::{Error, Result},
    op::Attr,
    ty::{DType, Ty},
};

/// All operations of this family.
pub static ALL: &[&OpDef] = &[&CUMSUM, &RECURRENCE, &LOGCUMSUMEXP, &CUMMAX_INDEX, &CUMMIN_INDEX];

fn float_axis(op: &Op, a: &[&Ty]) -> Result<Ty> {
    dim_of(op, a[0])?;
    infer::float(op, a[0])?;
    Ok(a[0].clone())
}

/// Row-major elements as `[outer, n, inner]` around an axis: calls `f(at, before)` for each row of `inner` elements in the
/// order of the scan, with the places where it and the row before it begin.
fn rows(ty: &Ty, dim: usize, backwards: bool, mut f: impl FnMut(usize, Option<usize>)) {
    let (n, inner): (usize, usize) = (ty.shape[dim], ty.shape[dim + 1..].iter().product());
    if ty.numel() == 0 {
        return;
    }
    for o in 0..ty.numel() / (n * inner) {
        let at = |i: usize| (o * n + if backwards { n - 1 - i } else { i }) * inner;
        for i in 0..n {
            f(at(i), i.checked_sub(1).map(at));
        }
    }
}
fn cumsum<T: Element>(op: &Op, args: &[Operand<'_>], out: &Ty, add: impl Fn(T, T) -> T) -> Result<Data> {
    let (mut hold, mut data) = (None, fresh(out.dtype, out.numel()));
    let x = elements::<T>(args[0], &mut hold, op.name())?;
    let y = T::slice_mut(&mut data).expect("of the result's type");
    let inner: usize = out.shape[op.int(0) as usize + 1..].iter().product();
    rows(out, op.int(0) as usize, op.int(1) != 0, |at, before| match before {
        None => y[at..at + inner].copy_from_slice(&x[at..at + inner]),
        Some(b) => (0..inner).for_each(|j| y[at + j] = add(y[b + j], x[at + j])),
    });
    Ok(data)
}
/// yᵢ = Σ x_j over j ≤ i, or over j ≥ i if `reverse`;  dx = the sum of ct the other way round
pub static CUMSUM: OpDef = library(
    "cumsum",
    &["dim", "reverse"],
    1,
    |op, a| {
        dim_of(op, a[0])?;
        infer::numeric(op, a)
    },
    |op, args, out| match out.dtype {
        DType::F32 => cumsum(op, args, out, |a: f32, b| a + b),
        DType::F64 => cumsum(op, args, out, |a: f64, b| a + b),
        _ => cumsum(op, args, out, i64::wrapping_add),
    },
    Derivative::Linear(|cx, _, t| Some(t.cumsum_axis(cx.op.int(0) as usize, cx.op.int(1) == 0))),
    0,
);

fn recurrence<T: Float>(op: &Op, args: &[Operand<'_>], out: &Ty) -> Result<Data> {
    let (mut hold_a, mut hold_b, mut data) = (None, None, fresh(out.dtype, out.numel()));
    let (a, b) = (elements::<T>(args[0], &mut hold_a, op.name())?, elements::<T>(args[1], &mut hold_b, op.name())?);
    let s = T::slice_mut(&mut data).expect("of the result's type");
    let transposed = op.int(1) != 0;
    let inner: usize = out.shape[op.int(0) as usize + 1..].iter().product();
    rows(out, op.int(0) as usize, transposed, |at, before| match before {
        None => s[at..at + inner].copy_from_slice(&b[at..at + inner]),
        Some(p) => {
            let factor = if transposed { p } else { at };
            (0..inner).for_each(|j| s[at + j] = b[at + j] + a[factor + j] * s[p + j]);
        }
    });
    Ok(data)
}
fn recur<'e>(cx: &super::Cx<'e>, transposed: bool, b: &Ex<'e>) -> Ex<'e> {
    cx.args[0].recurrence(b, cx.op.int(0) as usize, transposed)
}
/// x one place further along an axis, 0 in front; or one place back, 0 at the end.
fn shifted<'e>(x: &Ex<'e>, dim: usize, back: bool) -> Ex<'e> {
    let n = x.shape()[dim];
    if n == 0 {
        return x.clone();
    }
    x.slice(dim, usize::from(back), n - 1, 1).unslice(dim, usize::from(!back), 1, n)
}
/// sᵢ = bᵢ + aᵢ·sᵢ₋₁, or its transpose in b, sᵢ = bᵢ + aᵢ₊₁·sᵢ₊₁.  db = the other one of ct;  daᵢ = sᵢ₋₁·dbᵢ, of the transpose
/// daᵢ = sᵢ·dbᵢ₋₁.  (a₀ is not read.) With a = x and b = (x₀, 0, …) it is the cumulative product, and its derivative has no
/// division by x.
pub static RECURRENCE: OpDef = library(
    "recurrence",
    &["dim", "transposed"],
    2,
    |op, a| {
        float_axis(op, a)?;
        infer::same_dtype(op, a)?;
        if a[0].shape != a[1].shape {
            let found = format!("{:?} and {:?}", a[0].shape.as_slice(), a[1].shape.as_slice());
            return Err(Error::shape(op.name(), "two arguments of one shape", found));
        }
        Ok(a[0].clone())
    },
    |op, args, out| match out.dtype {
        DType::F32 => recurrence::<f32>(op, args, out),
        _ => recurrence::<f64>(op, args, out),
    },
    Derivative::General(
        |cx, i, t| {
            let (dim, transposed) = (cx.op.int(0) as usize, cx.op.int(1) != 0);
            let db = recur(cx, !transposed, t);
            Some(match (i, transposed) {
                (1, _) => db,
                (_, false) => shifted(cx.out, dim, false) * db,
                (_, true) => cx.out * shifted(&db, dim, false),
            })
        },
        |cx, t| {
            let (dim, transposed) = (cx.op.int(0) as usize, cx.op.int(1) != 0);
            let from_a = t[0].as_ref().map(|ta| {
                if transposed { shifted(&(ta * cx.out), dim, true) } else { ta * shifted(cx.out, dim, false) }
            });
            let b = match (from_a, &t[1]) {
                (Some(a), Some(b)) => a + b,
                (Some(a), None) => a,
                (None, b) => b.clone()?,
            };
            Some(recur(cx, transposed, &b))
        },
    ),
    super::each(1 | SAVE_OUT, 1),
);

fn logcumsumexp<T: Float>(op: &Op, args: &[Operand<'_>], out: &Ty) -> Result<Data> {
    let (mut hold, mut data) = (None, fresh(out.dtype, out.numel()));
    let x = elements::<T>(args[0], &mut hold, op.name())?;
    let y = T::slice_mut(&mut data).expect("of the result's type");
    let inner: usize = out.shape[op.int(0) as usize + 1..].iter().product();
    // ln(eᵃ + eᵇ) by the larger of both; equal infinities are their own sum
    let both = |a: T, b: T| {
        let (lo, hi) = if a < b { (a, b) } else { (b, a) };
        if a == b && a.is_infinite() { a } else { hi + (lo - hi).exp().ln_1p() }
    };
    rows(out, op.int(0) as usize, false, |at, before| match before {
        None => y[at..at + inner].copy_from_slice(&x[at..at + inner]),
        Some(b) => (0..inner).for_each(|j| y[at + j] = both(y[b + j], x[at + j])),
    });
    Ok(data)
}
/// e^(yᵢ₋₁ − yᵢ) and e^(xᵢ − yᵢ): the shares of what came before and of xᵢ itself, both at most 1.
fn shares<'e>(cx: &super::Cx<'e>) -> (Ex<'e>, Ex<'e>) {
    let (x, y) = (&cx.args[0], cx.out);
    ((shifted(y, cx.op.int(0) as usize, false) - y).exp(), (x - y).exp())
}
/// yᵢ = ln Σ e^(x_j) over j ≤ i, without overflow.  dyᵢ = wᵢ·dyᵢ₋₁ + pᵢ·dxᵢ with the shares w of what came before and p of xᵢ;
/// the transpose is dx = p·r, rᵢ = ctᵢ + wᵢ₊₁·rᵢ₊₁
pub static LOGCUMSUMEXP: OpDef = library(
    "logcumsumexp",
    &["dim"],
    1,
    float_axis,
    |op, args, out| match out.dtype {
        DType::F32 => logcumsumexp::<f32>(op, args, out),
        _ => logcumsumexp::<f64>(op, args, out),
    },
    Derivative::General(
        |cx, _, t| {
            let (w, p) = shares(cx);
            Some(p * w.recurrence(t, cx.op.int(0) as usize, true))
        },
        |cx, t| {
            let (w, p) = shares(cx);
            Some(w.recurrence(&(p * t[0].as_ref()?), cx.op.int(0) as usize, false))
        },
    ),
    1 | SAVE_OUT,
);

/// `takes(best, x)`: whether x replaces the best so far.
fn extremum<T: Element>(op: &Op, args: &[Operand<'_>], out: &Ty, takes: impl Fn(T, T) -> bool) -> Result<Data> {
    let (mut hold, mut data) = (None, fresh(DType::I64, out.numel()));
    let x = elements::<T>(args[0], &mut hold, op.name())?;
    let y = i64::slice_mut(&mut data).expect("of the result's type");
    let dim = op.int(0) as usize;
    let (n, inner): (usize, usize) = (out.shape[dim], out.shape[dim + 1..].iter().product());
    rows(out, dim, false, |at, before| {
        let i = at / inner % n;
        let base = at - i * inner;
        for j in 0..inner {
            y[at + j] = match before.map(|b| y[b + j]) {
                Some(best) if !takes(x[base + best as usize * inner + j], x[at + j]) => best,
                _ => i as i64,
            };
        }
    });
    Ok(data)
}
const fn index(name: &'static str, eval: fn(&Op, &[Operand<'_>], &Ty) -> Result<Data>) -> OpDef {
    library(name, &["dim"], 1, |op, a| Ok(float_axis(op, a)?.with_dtype(DType::I64)), eval, Derivative::Zero, 0)
}
/// The index of the largest element so far, the last of equals, a NaN being the largest;  the derivative is zero
pub static CUMMAX_INDEX: OpDef = index("cummax_index", |op, args, out| match args[0].dtype() {
    DType::F32 => extremum(op, args, out, |a: f32, b| b.is_nan() || b >= a),
    _ => extremum(op, args, out, |a: f64, b| b.is_nan() || b >= a),
});
/// The index of the smallest element so far, the last of equals, a NaN being the smallest;  the derivative is zero
pub static CUMMIN_INDEX: OpDef = index("cummin_index", |op, args, out| match args[0].dtype() {
    DType::F32 => extremum(op, args, out, |a: f32, b| b.is_nan() || b <= a),
    _ => extremum(op, args, out, |a: f64, b| b.is_nan() || b <= a),
});

impl<'e> Ex<'e> {
    /// The sum so far along an axis, from its end if `reverse`.
    pub(crate) fn cumsum_axis(&self, dim: usize, reverse: bool) -> Ex<'e> {
        self.emit_op(Op::with(&CUMSUM, [Attr::Int(dim as i64), Attr::Int(i64::from(reverse))]))
    }
    /// The linear recurrence with these factors.
    pub(crate) fn recurrence(&self, b: &Ex<'e>, dim: usize, transposed: bool) -> Ex<'e> {
        apply(Op::with(&RECURRENCE, [Attr::Int(dim as i64), Attr::Int(i64::from(transposed))]), &[self, b])
    }
}
