//! Along one axis: cumulative functions, sorting, picking the largest.

use super::attempt;
use crate::{
    emit::Ex,
    error::{Error, Result},
    op::{Attr, Op, OpDef, order, scan},
    ty::{DType, resolve_dim},
};

/// An axis of a tensor that has at least one: a scalar stands for a vector of one element.
fn line<'e>(x: &Ex<'e>, op: &str, dim: i64, f: impl FnOnce(&Ex<'e>, usize) -> Result<Ex<'e>>) -> Ex<'e> {
    attempt(x, || {
        if x.rank() == 0 {
            let d = resolve_dim(op, dim, 1)?;
            return Ok(f(&x.reshape(&[1]), d)?.reshape(&[]));
        }
        f(x, resolve_dim(op, dim, x.rank())?)
    })
}

#[allow(missing_docs)] // documented on `Tensor`
impl<'e> Ex<'e> {
    pub fn cumsum(&self, dim: i64) -> Ex<'e> {
        line(self, "cumsum", dim, |x, d| Ok(x.cumsum_axis(d, false)))
    }
    pub fn cumprod(&self, dim: i64) -> Ex<'e> {
        line(self, "cumprod", dim, |x, d| Ok(x.cumprod_axis(d)))
    }
    /// The recurrence sᵢ = xᵢ·sᵢ₋₁ from s₀ = x₀.
    pub(super) fn cumprod_axis(&self, d: usize) -> Ex<'e> {
        let n = self.shape()[d];
        if n == 0 {
            return self.clone();
        }
        self.recurrence(&self.slice(d, 0, 1, 1).unslice(d, 0, 1, n), d, false)
    }
    pub fn logcumsumexp(&self, dim: i64) -> Ex<'e> {
        line(self, "logcumsumexp", dim, |x, d| Ok(x.emit_op(Op::with(&scan::LOGCUMSUMEXP, [Attr::Int(d as i64)]))))
    }
    fn best_so_far(&self, def: &'static OpDef, name: &str, dim: i64) -> Ex<'e> {
        line(self, name, dim, |x, d| Ok(x.emit_op(Op::with(def, [Attr::Int(d as i64)]))))
    }
    pub fn cummax_index(&self, dim: i64) -> Ex<'e> {
        self.best_so_far(&scan::CUMMAX_INDEX, "cummax", dim)
    }
    pub fn cummin_index(&self, dim: i64) -> Ex<'e> {
        self.best_so_far(&scan::CUMMIN_INDEX, "cummin", dim)
    }
    pub fn argsort(&self, dim: i64, descending: bool) -> Ex<'e> {
        line(self, "sort", dim, |x, d| {
            let attrs = [Attr::Int(d as i64), Attr::Int(i64::from(descending))];
            Ok(x.emit_op(Op::with(&order::ARGSORT, attrs)))
        })
    }
    /// The indices of the k largest or smallest, in order.
    pub fn topk_index(&self, k: usize, dim: i64, largest: bool) -> Ex<'e> {
        let name = "topk";
        let wrong = |n: usize| Error::value(name, format!("expected a k of at most {n} along dim {dim}, found {k}"));
        if self.rank() == 0 && k != 1 {
            return self.fail(wrong(1));
        }
        line(self, name, dim, |x, d| match x.shape()[d] {
            n if k > n => Err(wrong(n)),
            _ => Ok(x.argsort(d as i64, largest).slice(d, 0, k, 1)),
        })
    }
    /// The elements at indices along an axis: [`Ex::gather`], and of a scalar itself.
    pub fn pick(&self, dim: i64, index: &Ex<'e>) -> Ex<'e> {
        if self.rank() == 0 {
            return self.reshape(&[1]).gather(0, &index.reshape(&[1])).reshape(&[]);
        }
        attempt(self, || Ok(self.gather(resolve_dim("gather", dim, self.rank())?, index)))
    }
    /// The lower of the two middle elements of all. Equals share the derivative: it is the largest of what is not above it.
    pub fn median(&self) -> Ex<'e> {
        let x = self.reshape(&[self.ty().numel()]);
        let n = x.shape()[0];
        if n == 0 {
            return self.fail(Error::shape("median", "at least one element", "none"));
        }
        let still = x.detach();
        let order = still.argsort(0, false);
        // a NaN is sorted last and is the median wherever it stands
        let last = still.gather(0, &order.slice(0, n - 1, 1, 1));
        let middle = still.gather(0, &order.slice(0, (n - 1) / 2, 1, 1));
        let m = Ex::select(&last.is_nan(), &last, &middle);
        let at = x.eq(&m).logical_or(&x.is_nan());
        Ex::select(&at, &x, &x.lit(f64::NEG_INFINITY)).amax(None, false)
    }
    /// This with sources written at indices; the last of several writers counts, in the derivative too.
    pub fn scatter(&self, dim: i64, index: &Ex<'e>, source: &Ex<'e>) -> Ex<'e> {
        attempt(self, || {
            let (d, source) = into_place("scatter", self, dim, index, source)?;
            let writer = index.emit_op(Op::with(&order::LAST_WRITER, [Attr::Int(d as i64), Attr::dims(&self.shape())]));
            let n = index.ty().numel();
            if n == 0 {
                return Ok(self.copy());
            }
            let total = self.ty().numel();
            let at = writer.maximum(&writer.lit(0.0)).reshape(&[total]);
            let new = source.reshape(&[n]).gather(0, &at).reshape(&self.shape());
            Ok(Ex::select(&writer.ge(&writer.lit(0.0)), &new, self))
        })
    }
    /// This with sources added at indices; duplicates sum.
    pub fn scatter_added(&self, dim: i64, index: &Ex<'e>, source: &Ex<'e>) -> Ex<'e> {
        attempt(self, || {
            let (d, source) = into_place("scatter_add", self, dim, index, source)?;
            Ok(self + source.scattered(d, index, &self.shape()))
        })
    }
}

/// The axis, and as much of the source as there are indices.
fn into_place<'e>(name: &str, x: &Ex<'e>, dim: i64, index: &Ex<'e>, source: &Ex<'e>) -> Result<(usize, Ex<'e>)> {
    let d = resolve_dim(name, dim, x.rank())?;
    let (shape, i, s) = (x.shape(), index.shape(), source.shape());
    let fits = index.dtype() == DType::I64
        && i.len() == shape.len()
        && s.len() == shape.len()
        && (0..i.len()).all(|a| i[a] <= s[a] && (a == d || i[a] <= shape[a]));
    if !fits {
        let want =
            format!("an i64 index within {:?} but along axis {d}, and a source of at least its shape", &shape[..]);
        return Err(Error::shape(name, want, format!("{} and {:?}", index.ty(), s.as_slice())));
    }
    let part = (0..i.len()).fold(source.clone(), |s, a| s.slice(a, 0, i[a], 1));
    Ok((d, part))
}
