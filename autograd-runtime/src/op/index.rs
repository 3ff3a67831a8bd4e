//! Placing and picking elements: concatenation, the transposes of slices, gathers and scatters.

use super::{Derivative, Lower, Op, OpDef, VARIADIC, infer};
use crate::{
    array::{Array, Element, View},
    emit::Ex,
    error::{Error, Result},
    ty::{DType, Ty},
};
use ndarray::{ArrayD, ArrayViewD, Axis, IxDyn, Slice};

/// All operations of this family.
pub static ALL: &[&OpDef] = &[&CONCAT, &UNSLICE, &GATHER, &SCATTER_ADD];

const fn library(
    name: &'static str,
    attrs: &'static [&'static str],
    arity: usize,
    infer: fn(&Op, &[&Ty]) -> Result<Ty>,
    eval: fn(&Op, &[View<'_>], &Ty) -> Result<Array>,
    derivative: Derivative,
) -> OpDef {
    OpDef { name, attrs, arity, infer, eval, derivative, saves: 0, lower: Lower::Library }
}

/// Runs a function generic in the element type for a dtype.
macro_rules! by_dtype {
    ($d:expr, $f:ident ( $($a:expr),* )) => {
        match $d {
            DType::F32 => $f::<f32>($($a),*),
            DType::F64 => $f::<f64>($($a),*),
            DType::I64 => $f::<i64>($($a),*),
            DType::Bool => $f::<bool>($($a),*),
        }
    };
}

fn dim_of(op: &Op, ty: &Ty) -> Result<usize> {
    match usize::try_from(op.int(0)) {
        Ok(d) if d < ty.rank() => Ok(d),
        _ => Err(Error::value(op.name(), format!("expected a dim below {}, found {}", ty.rank(), op.int(0)))),
    }
}

fn concat<T: Element>(dim: usize, args: &[View<'_>]) -> Result<Array> {
    let parts = args.iter().map(|a| a.typed::<T>("concat")).collect::<Result<Vec<_>>>()?;
    let y = ndarray::concatenate(Axis(dim), &parts).map_err(|e| Error::value("concat", e.to_string()))?;
    Ok(T::into_array(y.as_standard_layout().into_owned()))
}
/// y = the arguments one after the other along `dim`;  each gets its slice of ct
pub static CONCAT: OpDef = library(
    "concat",
    &["dim"],
    VARIADIC,
    |op, a| {
        let Some(first) = a.first() else {
            return Err(Error::value("concat", "expected at least one tensor, found none"));
        };
        let dim = dim_of(op, first)?;
        infer::same_dtype(op, a)?;
        let mut shape = first.shape.clone();
        for t in &a[1..] {
            let rest = |s: &[usize]| s.iter().enumerate().filter(|p| p.0 != dim).map(|p| *p.1).collect::<Vec<_>>();
            if t.rank() != shape.len() || rest(&t.shape) != rest(&shape) {
                let found = format!("{:?} and {:?}", first.shape.as_slice(), t.shape.as_slice());
                return Err(Error::shape("concat", format!("shapes equal but for dim {dim}"), found));
            }
            shape[dim] = shape[dim].saturating_add(t.shape[dim]);
        }
        Ty::new(first.dtype, &shape)
    },
    |op, args, out| by_dtype!(out.dtype, concat(op.int(0) as usize, args)),
    Derivative::General(
        |cx, i, t| {
            let dim = cx.op.int(0) as usize;
            let extent = |j: usize| cx.args[j].shape()[dim];
            Some(t.slice(dim, (0..i).map(extent).sum(), extent(i), 1))
        },
        |cx, t| {
            let parts: Vec<Ex<'_>> =
                cx.args.iter().zip(t).map(|(x, t)| t.clone().unwrap_or_else(|| x.full_like(0.0))).collect();
            Some(Ex::concat(&parts, cx.op.int(0) as usize))
        },
    ),
);

fn unslice<T: Element>(op: &Op, args: &[View<'_>], out: &Ty) -> Result<Array> {
    let x = args[0].typed::<T>("unslice")?;
    let [dim, start, step] = [0, 1, 2].map(|i| op.int(i) as isize);
    let mut y = ArrayD::from_elem(IxDyn(&out.shape), T::default());
    let n = x.shape()[dim as usize] as isize;
    if n > 0 {
        let range = Slice::new(start, Some(start + (n - 1) * step + 1), step);
        y.slice_axis_mut(Axis(dim as usize), range).assign(&x);
    }
    Ok(T::into_array(y))
}
/// y = zeros of extent `size` along `dim` with x at `start`, `start + step`, …;  dx = that slice of ct
pub static UNSLICE: OpDef = library(
    "unslice",
    &["dim", "start", "step", "size"],
    1,
    |op, a| {
        let dim = dim_of(op, a[0])?;
        let (start, step, size, n) = (op.int(1), op.int(2), op.int(3), a[0].shape[dim] as i64);
        let last = (n - 1).max(0).checked_mul(step).and_then(|k| k.checked_add(start));
        if start < 0 || step < 1 || size < 0 || (n > 0 && last.is_none_or(|l| l >= size)) {
            return Err(Error::value("unslice", format!("expected a range inside {size}, found {:?}", op.attrs)));
        }
        let mut shape = a[0].shape.clone();
        shape[dim] = size as usize;
        Ty::new(a[0].dtype, &shape)
    },
    |op, args, out| by_dtype!(out.dtype, unslice(op, args, out)),
    Derivative::Linear(|cx, _, t| {
        let [dim, start, step] = [0, 1, 2].map(|i| cx.op.int(i) as usize);
        Some(t.slice(dim, start, cx.args[0].shape()[dim], step))
    }),
);

/// Calls `f` with the linear position of each index and the multi-index it points to.
fn each_index(
    op: &str,
    idx: &ArrayViewD<'_, i64>,
    dim: usize,
    extent: usize,
    mut f: impl FnMut(&IxDyn, &IxDyn),
) -> Result<()> {
    for (at, &i) in idx.indexed_iter() {
        if i < 0 || i >= extent as i64 {
            return Err(Error::value(op, format!("expected indices below {extent} along axis {dim}, found {i}")));
        }
        let mut to = at.clone();
        to[dim] = i as usize;
        f(&at, &to);
    }
    Ok(())
}
fn gather<T: Element>(op: &Op, args: &[View<'_>]) -> Result<Array> {
    let (x, idx) = (args[0].typed::<T>("gather")?, args[1].typed::<i64>("gather")?);
    let dim = op.int(0) as usize;
    let mut y = Vec::with_capacity(idx.len());
    each_index("gather", &idx, dim, x.shape()[dim], |_, to| y.push(x[to]))?;
    Ok(T::into_array(ArrayD::from_shape_vec(idx.raw_dim(), y).expect("as many elements")))
}
/// y[.., j, ..] = x[.., idx[.., j, ..], ..] along `dim`;  dx = zeros with ct added at the indices
pub static GATHER: OpDef = OpDef {
    saves: 2,
    ..library(
        "gather",
        &["dim"],
        2,
        |op, a| {
            let dim = dim_of(op, a[0])?;
            if a[1].dtype != DType::I64 {
                return Err(Error::dtype("gather", "i64 for the index", a[1].dtype));
            }
            let fits = |d: usize| d == dim || a[1].shape[d] <= a[0].shape[d];
            if a[1].rank() != a[0].rank() || !(0..a[0].rank()).all(fits) {
                let want = format!(
                    "an index of rank {} no larger than {:?} but along {dim}",
                    a[0].rank(),
                    a[0].shape.as_slice()
                );
                return Err(Error::shape("gather", want, format!("{:?}", a[1].shape.as_slice())));
            }
            Ok(a[1].with_dtype(a[0].dtype))
        },
        |op, args, out| by_dtype!(out.dtype, gather(op, args)),
        Derivative::General(
            |cx, i, t| {
                let (dim, shape) = (cx.op.int(0) as usize, cx.args[0].shape());
                if i != 0 {
                    return None;
                }
                let mut g = t.scatter_add(dim, &cx.args[1], shape[dim]);
                for d in (0..shape.len()).filter(|&d| d != dim) {
                    if g.shape()[d] != shape[d] {
                        g = g.unslice(d, 0, 1, shape[d]);
                    }
                }
                Some(g)
            },
            |cx, t| Some(t[0].as_ref()?.gather(cx.op.int(0) as usize, &cx.args[1])),
        ),
    )
};

fn scatter<T: Element>(op: &Op, args: &[View<'_>], out: &Ty, add: impl Fn(T, T) -> T) -> Result<Array> {
    let (x, idx) = (args[0].typed::<T>("scatter_add")?, args[1].typed::<i64>("scatter_add")?);
    let dim = op.int(0) as usize;
    let mut y = ArrayD::from_elem(IxDyn(&out.shape), T::default());
    each_index("scatter_add", &idx, dim, out.shape[dim], |from, to| y[to] = add(y[to], x[from]))?;
    Ok(T::into_array(y))
}
/// y = zeros of extent `size` along `dim` with x added at idx, duplicates summing;  dx = gather of ct
pub static SCATTER_ADD: OpDef = OpDef {
    saves: 2,
    ..library(
        "scatter_add",
        &["dim", "size"],
        2,
        |op, a| {
            let dim = dim_of(op, a[0])?;
            if a[1].dtype != DType::I64 || a[0].shape != a[1].shape || a[0].dtype == DType::Bool || op.int(1) < 0 {
                return Err(Error::shape("scatter_add", format!("an i64 index of type {}", a[0]), a[1].to_string()));
            }
            let mut shape = a[0].shape.clone();
            shape[dim] = op.int(1) as usize;
            Ty::new(a[0].dtype, &shape)
        },
        |op, args, out| match out.dtype {
            DType::F32 => scatter(op, args, out, |a: f32, b| a + b),
            DType::F64 => scatter(op, args, out, |a: f64, b| a + b),
            // integers wrap round
            _ => scatter(op, args, out, i64::wrapping_add),
        },
        Derivative::General(
            |cx, i, t| (i == 0).then(|| t.gather(cx.op.int(0) as usize, &cx.args[1])),
            |cx, t| Some(t[0].as_ref()?.scatter_add(cx.op.int(0) as usize, &cx.args[1], cx.op.int(1) as usize)),
        ),
    )
};
