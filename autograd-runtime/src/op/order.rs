//! Order: the permutation that sorts an axis, and who writes an element last. Both give indices; values are picked by
//! them, so that derivatives are those of picking.

use super::{
    Derivative, Op, OpDef, Operand, dim_of,
    evaluate::{elements, fresh},
    library,
};
use crate::{
    array::{Data, Element},
    error::{Error, Result},
    ty::{DType, Layout, Ty},
};
use std::cmp::Ordering;

/// All operations of this family.
pub static ALL: &[&OpDef] = &[&ARGSORT, &LAST_WRITER];

/// Floats in order, a NaN being the largest.
fn float_order<T: PartialOrd>(a: &T, b: &T) -> Ordering {
    a.partial_cmp(b).unwrap_or_else(|| {
        // a NaN is not equal to itself
        let nan = |x: &T| x.partial_cmp(x).is_none();
        nan(a).cmp(&nan(b))
    })
}

fn argsort<T: Element>(op: &Op, args: &[Operand<'_>], out: &Ty, order: fn(&T, &T) -> Ordering) -> Result<Data> {
    let (dim, descending) = (op.int(0) as usize, op.int(1) != 0);
    let mut hold = None;
    let x = elements::<T>(args[0], &mut hold, op.name())?;
    let mut data = fresh(DType::I64, out.numel());
    let y = i64::slice_mut(&mut data).expect("of the result's type");
    let (n, inner): (usize, usize) = (out.shape[dim], out.shape[dim + 1..].iter().product());
    if out.numel() == 0 {
        return Ok(data);
    }
    let mut line: Vec<usize> = Vec::with_capacity(n);
    for base in (0..out.numel() / (n * inner)).flat_map(|o| (0..inner).map(move |j| o * n * inner + j)) {
        line.clear();
        line.extend(0..n);
        let at = |i: usize| &x[base + i * inner];
        // stable both ways: equal elements keep their order
        line.sort_by(|&a, &b| if descending { order(at(b), at(a)) } else { order(at(a), at(b)) });
        for (k, &i) in line.iter().enumerate() {
            y[base + k * inner] = i as i64;
        }
    }
    Ok(data)
}
/// The indices that sort an axis, equal elements in their order, a NaN being the largest;  the derivative is zero
pub static ARGSORT: OpDef = library(
    "argsort",
    &["dim", "descending"],
    1,
    |op, a| dim_of(op, a[0]).map(|_| a[0].with_dtype(DType::I64)),
    |op, args, out| match args[0].dtype() {
        DType::F32 => argsort::<f32>(op, args, out, float_order),
        DType::F64 => argsort::<f64>(op, args, out, float_order),
        DType::I64 => argsort::<i64>(op, args, out, i64::cmp),
        DType::Bool => argsort::<bool>(op, args, out, bool::cmp),
    },
    Derivative::Zero,
    0,
);

fn last_writer(op: &Op, args: &[Operand<'_>], out: &Ty) -> Result<Data> {
    let dim = op.int(0) as usize;
    let mut hold = None;
    let idx = elements::<i64>(args[0], &mut hold, op.name())?;
    let mut data = fresh(DType::I64, out.numel());
    let y = i64::slice_mut(&mut data).expect("of the result's type");
    y.fill(-1);
    let (from, to) = (Layout::contiguous(&args[0].layout.shape), Layout::contiguous(&out.shape));
    let extent = out.shape[dim] as i64;
    for (k, &i) in idx.iter().enumerate() {
        if !(0..extent).contains(&i) {
            return Err(Error::value(
                op.name(),
                format!("expected indices below {extent} along axis {dim}, found {i}"),
            ));
        }
        // the place of the index, with the axis's own index in its stead
        let place = |(d, (&s, &n)): (usize, (&isize, &usize))| {
            let own = k as isize / s.max(1) % n as isize;
            if d == dim { i as isize } else { own }
        };
        let at: isize =
            from.strides.iter().zip(&from.shape).enumerate().map(place).zip(&to.strides).map(|(p, s)| p * s).sum();
        y[at as usize] = k as i64;
    }
    Ok(data)
}
/// For each element of a result of extents `shape` the number, in row-major order, of the last index along `dim` that
/// points at it, or −1;  the derivative is zero
pub static LAST_WRITER: OpDef = library(
    "last_writer",
    &["dim", "shape"],
    1,
    |op, a| {
        let out = Ty::new(DType::I64, &op.dims(1))?;
        let dim = op.int(0);
        let rank_fits = a[0].rank() == out.rank() && (0..out.rank() as i64).contains(&dim);
        let fits = |d: usize| d as i64 == dim || a[0].shape[d] <= out.shape[d];
        if a[0].dtype != DType::I64 || !rank_fits || !(0..out.rank()).all(fits) {
            let want = format!("an i64 index no larger than {:?} but along axis {dim}", out.shape.as_slice());
            return Err(Error::shape(op.name(), want, a[0].to_string()));
        }
        Ok(out)
    },
    last_writer,
    Derivative::Zero,
    0,
);
