//! Placing and picking elements: concatenation, the transposes of slices, gathers and scatters.

use super::{
    Derivative, Op, OpDef, Operand, VARIADIC, dim_of,
    evaluate::{Nest, copy_window, fresh},
    infer, library,
};
use crate::{
    array::{Data, Element, each},
    emit::Ex,
    error::{Error, Result},
    ty::{DType, Layout, Ty},
};

/// All operations of this family.
pub static ALL: &[&OpDef] = &[&CONCAT, &UNSLICE, &GATHER, &SCATTER_ADD];

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

/// A store of a type, all zeros.
fn zeros(ty: &Ty) -> Data {
    let mut y = fresh(ty.dtype, ty.numel());
    each!(Data, &mut y, v => v.fill(Default::default()));
    y
}
/// The window of a row-major array of a type that has extent `n` along `dim`, from `start` in steps.
fn window(ty: &Ty, dim: usize, start: usize, step: usize, n: usize) -> Layout {
    let mut w = Layout::contiguous(&ty.shape);
    w.offset = start * w.strides[dim] as usize;
    w.strides[dim] *= step as isize;
    w.shape[dim] = n;
    w
}

fn concat(op: &Op, args: &[Operand<'_>], out: &Ty) -> Result<Data> {
    let dim = op.int(0) as usize;
    let mut y = fresh(out.dtype, out.numel());
    let mut start = 0;
    for x in args {
        let n = x.layout.shape[dim];
        copy_window(x.data, x.layout, y.slice_mut(), &window(out, dim, start, 1, n));
        start += n;
    }
    Ok(y)
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
    concat,
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
    0,
);

fn unslice(op: &Op, args: &[Operand<'_>], out: &Ty) -> Result<Data> {
    let [dim, start, step] = [0, 1, 2].map(|i| op.int(i) as usize);
    let (x, mut y) = (args[0], zeros(out));
    copy_window(x.data, x.layout, y.slice_mut(), &window(out, dim, start, step, x.layout.shape[dim]));
    Ok(y)
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
    unslice,
    Derivative::Linear(|cx, _, t| {
        let [dim, start, step] = [0, 1, 2].map(|i| cx.op.int(i) as usize);
        Some(t.slice(dim, start, cx.args[0].shape()[dim], step))
    }),
    0,
);

/// The indices of a gather or a scatter, read row by row.
struct Picks<'a> {
    op: &'a str,
    idx: &'a [i64],
    dim: usize,
    extent: usize,
    /// The step along `dim` in the array that the indices point into.
    step: isize,
}

impl Picks<'_> {
    /// How far the `at`-th index moves.
    fn offset(&self, at: usize) -> Result<isize> {
        let i = self.idx[at];
        if i < 0 || i >= self.extent as i64 {
            let (dim, extent) = (self.dim, self.extent);
            return Err(Error::value(self.op, format!("expected indices below {extent} along axis {dim}, found {i}")));
        }
        Ok(i as isize * self.step)
    }
}

/// A window as the indices walk over it: standing still along `dim`.
fn still(layout: &Layout, shape: &[usize], dim: usize) -> Layout {
    let mut l = Layout { shape: shape.into(), ..layout.clone() };
    l.strides[dim] = 0;
    l
}

fn gather<T: Element>(op: &Op, args: &[Operand<'_>], out: &Ty) -> Result<Data> {
    let (x, idx) = (args[0].data.typed::<T>("gather")?, args[1].data.typed::<i64>("gather")?);
    let dim = op.int(0) as usize;
    let mut data = fresh(out.dtype, out.numel());
    if out.numel() == 0 {
        return Ok(data);
    }
    let y = T::slice_mut(&mut data).expect("of the result's type");
    let from = args[0].layout;
    let picks = Picks { op: "gather", idx, dim, extent: from.shape[dim], step: from.strides[dim] };
    let from = still(from, &out.shape, dim);
    let nest = Nest::new(&out.shape, [args[1].layout, &from].into_iter(), None);
    let inner = nest.axes[0];
    nest.outer(None, |o, a| {
        let y = &mut y[o..o + inner.n];
        if inner.args[0] == 0 && inner.args[1] == 1 {
            let at = a[1].wrapping_add_signed(picks.offset(a[0])?);
            y.copy_from_slice(&x[at..at + inner.n]);
            return Ok(());
        }
        for (j, y) in y.iter_mut().enumerate() {
            let at = |k: usize| a[k].wrapping_add_signed(inner.args[k] * j as isize);
            *y = x[at(1).wrapping_add_signed(picks.offset(at(0))?)];
        }
        Ok(())
    })?;
    Ok(data)
}
/// y[.., j, ..] = x[.., idx[.., j, ..], ..] along `dim`;  dx = zeros with ct added at the indices
pub static GATHER: OpDef = library(
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
            let want =
                format!("an index of rank {} no larger than {:?} but along {dim}", a[0].rank(), a[0].shape.as_slice());
            return Err(Error::shape("gather", want, format!("{:?}", a[1].shape.as_slice())));
        }
        Ok(a[1].with_dtype(a[0].dtype))
    },
    |op, args, out| by_dtype!(out.dtype, gather(op, args, out)),
    Derivative::General(
        |cx, i, t| {
            let scattered = || t.scattered(cx.op.int(0) as usize, &cx.args[1], &cx.args[0].shape());
            (i == 0).then(scattered)
        },
        |cx, t| Some(t[0].as_ref()?.gather(cx.op.int(0) as usize, &cx.args[1])),
    ),
    2,
);

fn scatter<T: Element>(op: &Op, args: &[Operand<'_>], out: &Ty, add: impl Fn(T, T) -> T) -> Result<Data> {
    let (x, idx) = (args[0].data.typed::<T>("scatter_add")?, args[1].data.typed::<i64>("scatter_add")?);
    let dim = op.int(0) as usize;
    let mut data = zeros(out);
    let shape = &args[1].layout.shape;
    if shape.contains(&0) {
        return Ok(data);
    }
    let y = T::slice_mut(&mut data).expect("of the result's type");
    let to = Layout::contiguous(&out.shape);
    let picks = Picks { op: "scatter_add", idx, dim, extent: out.shape[dim], step: to.strides[dim] };
    let to = still(&to, shape, dim);
    let nest = Nest::new(shape, [args[1].layout, args[0].layout, &to].into_iter(), None);
    let inner = nest.axes[0];
    nest.outer(None, |_, a| {
        if inner.args == [0, 1, 1] {
            let at = a[2].wrapping_add_signed(picks.offset(a[0])?);
            for (y, &x) in y[at..at + inner.n].iter_mut().zip(&x[a[1]..a[1] + inner.n]) {
                *y = add(*y, x);
            }
            return Ok(());
        }
        for j in 0..inner.n {
            let at = |k: usize| a[k].wrapping_add_signed(inner.args[k] * j as isize);
            let to = at(2).wrapping_add_signed(picks.offset(at(0))?);
            y[to] = add(y[to], x[at(1)]);
        }
        Ok(())
    })?;
    Ok(data)
}
/// y = zeros of extent `size` along `dim` with x added at idx, duplicates summing;  dx = gather of ct
pub static SCATTER_ADD: OpDef = library(
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
    2,
);
