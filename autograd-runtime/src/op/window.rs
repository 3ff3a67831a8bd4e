//! Windows by geometry: what a view of a view of a tensor is on the tensor itself, and how it is written back.
//! The dynamic engine rebuilds the past of views from these after a write in place.
//!
//! The argument is thought of as lying in a storage with the strides `base`, its first element at 0; the window
//! is what `shape`, `strides` and `offset` address there.

use super::{Attr, Derivative, Eval, Lower, Op, OpDef, infer};
use crate::{
    array::{Array, Data, Element, View},
    emit::apply,
    error::{Error, Result},
    ty::{Layout, Shape, Ty, contiguous_strides},
};
use rustc_hash::FxHashMap;

/// All operations of this family.
pub static ALL: &[&OpDef] = &[&WINDOW, &WINDOW_ADD, &SET_WINDOW];

/// The window that the layout of a view is on its base of another layout.
pub(crate) fn window(view: &Layout, base: &Layout) -> Op {
    let shape = Attr::dims(&view.shape);
    Op::with(&WINDOW, [shape].into_iter().chain(geometry(view, base)))
}
/// The operation that writes to this window.
pub(crate) fn set_window(view: &Layout, base: &Layout) -> Op {
    Op::with(&SET_WINDOW, geometry(view, base))
}
fn geometry(view: &Layout, base: &Layout) -> [Attr; 3] {
    let ints = |s: &[isize]| Attr::Ints(s.iter().map(|&n| n as i64).collect());
    [ints(&view.strides), Attr::Int(view.offset as i64 - base.offset as i64), ints(&base.strides)]
}

/// All addresses of a geometry in row-major order.
fn addresses(shape: &[usize], strides: &[i64], offset: i64) -> Vec<i64> {
    let mut out = vec![offset];
    for (&n, &s) in shape.iter().zip(strides) {
        out = out.iter().flat_map(|&a| (0..n as i64).map(move |i| a + i * s)).collect();
    }
    out
}

/// For each element of the window the position of its element in the row-major base.
fn positions(op: &Op, at: usize, base: &[usize], shape: &[usize]) -> Result<Vec<usize>> {
    let (strides, offset, base_strides) = (op.ints(at), op.int(at + 1), op.ints(at + 2));
    let bad = || Error::value(op.name(), format!("expected a window inside {base:?}, found {:?}", op.attrs));
    if strides.len() != shape.len() || base_strides.len() != base.len() {
        return Err(bad());
    }
    let n: usize = base.iter().product();
    let window = addresses(shape, strides, offset);
    let row_major: Vec<i64> = contiguous_strides(base).iter().map(|&s| s as i64).collect();
    if base_strides == row_major {
        return window.iter().map(|&a| usize::try_from(a).ok().filter(|&a| a < n).ok_or_else(bad)).collect();
    }
    let of: FxHashMap<i64, usize> = addresses(base, base_strides, 0).into_iter().zip(0..).collect();
    window.iter().map(|a| of.get(a).copied().ok_or_else(bad)).collect()
}

fn flat<T: Element>(v: &View<'_>, op: &Op) -> Result<Vec<T>> {
    Ok(v.typed::<T>(op.name())?.iter().copied().collect())
}

/// Runs a function generic in the element type for a dtype.
macro_rules! by_dtype {
    ($v:expr, $f:ident ( $($a:expr),* )) => {
        match $v {
            View::F32(_) => $f::<f32>($($a),*),
            View::F64(_) => $f::<f64>($($a),*),
            View::I64(_) => $f::<i64>($($a),*),
            View::Bool(_) => $f::<bool>($($a),*),
        }
    };
}

fn take<T: Element>(x: &View<'_>, op: &Op, at: &[usize]) -> Result<Data> {
    let x = flat::<T>(x, op)?;
    Ok(T::data(at.iter().map(|&i| x[i]).collect()))
}
fn put<T: Element>(x: &View<'_>, v: &View<'_>, op: &Op, at: &[usize]) -> Result<Data> {
    let (mut x, v) = (flat::<T>(x, op)?, flat::<T>(v, op)?);
    at.iter().zip(v).for_each(|(&i, v)| x[i] = v);
    Ok(T::data(x))
}
fn spread<T: Element + std::ops::AddAssign>(v: &View<'_>, op: &Op, at: &[usize], n: usize) -> Result<Data> {
    let mut x = vec![T::default(); n];
    at.iter().zip(flat::<T>(v, op)?).for_each(|(&i, v)| x[i] += v);
    Ok(T::data(x))
}

fn shape_of(op: &Op) -> Shape {
    op.dims(0)
}
fn geometry_of(op: &Op, at: usize) -> [Attr; 3] {
    [op.attrs[at].clone(), op.attrs[at + 1].clone(), op.attrs[at + 2].clone()]
}

const fn linear(
    name: &'static str,
    attrs: &'static [&'static str],
    arity: usize,
    infer: fn(&Op, &[&Ty]) -> Result<Ty>,
    eval: fn(&Op, &[View<'_>], &Ty) -> Result<Array>,
    rule: super::Rule,
) -> OpDef {
    let (eval, derivative) = (Eval::Views(eval), Derivative::Linear(rule));
    OpDef { name, attrs, arity, infer, eval, derivative, saves: 0, lower: Lower::Library }
}

/// y = the elements of x in the window;  dx = zeros with ct added there
pub static WINDOW: OpDef = linear(
    "window",
    &["shape", "strides", "offset", "base"],
    1,
    |op, a| Ty::new(a[0].dtype, &shape_of(op)),
    |op, args, out| {
        let at = positions(op, 1, args[0].shape(), &out.shape)?;
        Ok(Array::from_data(by_dtype!(&args[0], take(&args[0], op, &at))?, &out.shape))
    },
    |cx, _, t| {
        let shape = Attr::dims(&cx.args[0].shape());
        Some(t.emit_op(Op::with(&WINDOW_ADD, [shape].into_iter().chain(geometry_of(cx.op, 1)))))
    },
);

/// y = zeros of `shape` with x added in the window, elements that the window shows twice summing;  dx = the window
/// of ct
pub static WINDOW_ADD: OpDef = linear(
    "window_add",
    &["shape", "strides", "offset", "base"],
    1,
    |op, a| Ty::new(a[0].dtype, &shape_of(op)),
    |op, args, out| {
        let at = positions(op, 1, &out.shape, args[0].shape())?;
        let n = out.numel();
        let data = match &args[0] {
            View::F32(_) => spread::<f32>(&args[0], op, &at, n)?,
            View::F64(_) => spread::<f64>(&args[0], op, &at, n)?,
            other => return Err(Error::dtype(op.name(), "f32 or f64", other.dtype())),
        };
        Ok(Array::from_data(data, &out.shape))
    },
    |cx, _, t| {
        let shape = Attr::dims(&cx.args[0].shape());
        Some(t.emit_op(Op::with(&WINDOW, [shape].into_iter().chain(geometry_of(cx.op, 1)))))
    },
);

/// y = x with the window replaced by v;  dx = ct with zeros in the window, dv = the window of ct
pub static SET_WINDOW: OpDef = OpDef {
    derivative: Derivative::General(
        |cx, i, t| {
            let v = &cx.args[1];
            Some(if i == 0 {
                apply(cx.op.clone(), &[t, &v.full_like(0.0)])
            } else {
                let shape = Attr::dims(&v.shape());
                t.emit_op(Op::with(&WINDOW, [shape].into_iter().chain(geometry_of(cx.op, 0))))
            })
        },
        |cx, t| {
            let of = |i: usize| t[i].clone().unwrap_or_else(|| cx.args[i].full_like(0.0));
            Some(apply(cx.op.clone(), &[&of(0), &of(1)]))
        },
    ),
    ..linear(
        "set_window",
        &["strides", "offset", "base"],
        2,
        |op, a| infer::same_dtype(op, a).map(|_| a[0].clone()),
        |op, args, out| {
            let at = positions(op, 0, &out.shape, args[1].shape())?;
            Ok(Array::from_data(by_dtype!(&args[0], put(&args[0], &args[1], op, &at))?, &out.shape))
        },
        |_, _, _| None,
    )
};
