//! Where elements go: padding, tiling, rolling, diagonals and triangles, and picking rows.

use super::attempt;
use crate::{
    emit::{Ex, iota},
    error::{Error, Result},
    ty::{DType, Shape, resolve_dim},
};

#[allow(missing_docs)] // documented on `Tensor`
impl<'e> Ex<'e> {
    /// Constants before and after each of the last axes; negative numbers take elements away.
    pub fn pad(&self, pads: &[(i64, i64)], value: &Ex<'e>) -> Ex<'e> {
        attempt(self, || {
            let Some(lead) = self.rank().checked_sub(pads.len()) else {
                let want = format!("at most {} pairs", self.rank());
                return Err(Error::shape("pad", want, format!("{pads:?}")));
            };
            let mut y = self.clone();
            for (d, &(before, after)) in pads.iter().enumerate().map(|(i, p)| (i + lead, p)) {
                let n = y.shape()[d];
                let cut = |p: i64| usize::try_from(p.saturating_neg()).unwrap_or(0);
                let Some(len) = n.checked_sub(cut(before)).and_then(|n| n.checked_sub(cut(after))) else {
                    let want = format!("to leave at least no element of {n} along axis {d}");
                    return Err(Error::value("pad", format!("expected {want}, found {before} and {after}")));
                };
                let part = y.slice(d, cut(before), len, 1);
                let block = |p: i64| {
                    let mut shape = part.shape();
                    shape[d] = usize::try_from(p).ok().filter(|&n| n > 0)?;
                    Some(value.expand(&shape))
                };
                let blocks: Vec<Ex<'e>> =
                    [block(before), Some(part.clone()), block(after)].into_iter().flatten().collect();
                y = if blocks.len() == 1 { part.clone() } else { Ex::concat(&blocks, d) };
            }
            Ok(y)
        })
    }
    /// Copies side by side; an axis without a number is left as it is.
    pub fn tile(&self, times: &[usize]) -> Ex<'e> {
        let rank = times.len().max(self.rank());
        let ones = |n: usize| std::iter::repeat_n(1, rank - n);
        let extents: Shape = ones(self.rank()).chain(self.shape()).collect();
        let times: Shape = ones(times.len()).chain(times.iter().copied()).collect();
        // [1, n] to [t, n] for each axis, then both as one
        let pairs = |t: &dyn Fn(usize) -> usize| (0..rank).flat_map(|d| [t(d), extents[d]]).collect::<Shape>();
        let product: Shape = times.iter().zip(&extents).map(|(t, n)| t.saturating_mul(*n)).collect();
        self.reshape(&pairs(&|_| 1)).expand(&pairs(&|d| times[d])).reshape(&product)
    }
    /// Elements moved along axes, those that leave at the end coming in at the front; without dims in row-major order.
    pub fn roll(&self, shifts: &[i64], dims: &[i64]) -> Ex<'e> {
        attempt(self, || {
            let shape = self.shape();
            if dims.is_empty() {
                if shifts.len() != 1 {
                    let want = "one shift for all elements, or dims for the shifts";
                    return Err(Error::shape("roll", want, format!("shifts {shifts:?} without dims")));
                }
                let flat = self.reshape(&[self.ty().numel()]);
                return Ok(flat.rolled(0, shifts[0]).reshape(&shape));
            }
            if shifts.len() != dims.len() {
                return Err(Error::shape("roll", format!("{} shifts", dims.len()), format!("{shifts:?}")));
            }
            let mut y = self.clone();
            for (&s, &d) in shifts.iter().zip(dims) {
                y = y.rolled(resolve_dim("roll", d, shape.len())?, s);
            }
            Ok(y)
        })
    }
    fn rolled(&self, d: usize, shift: i64) -> Ex<'e> {
        let n = self.shape()[d];
        match i64::try_from(n).map(|n| if n == 0 { 0 } else { shift.rem_euclid(n) as usize }) {
            Ok(k) if k > 0 => Ex::concat(&[self.slice(d, n - k, k, 1), self.slice(d, 0, n - k, 1)], d),
            _ => self.clone(),
        }
    }
    /// Elements on or below (above) a diagonal of the last two axes, zeros elsewhere.
    fn triangle(&self, name: &str, k: i64, keeps: impl Fn(&Ex<'e>, &Ex<'e>) -> Ex<'e>) -> Ex<'e> {
        let shape = self.shape();
        let [.., m, n] = *shape.as_slice() else {
            let found = format!("{:?}", shape.as_slice());
            return self.fail(Error::shape(name, "at least two axes", found));
        };
        let (row, column) =
            (iota(self.e, DType::I64, m).reshape(&[m, 1]), iota(self.e, DType::I64, n).reshape(&[1, n]));
        // beyond the matrix one diagonal is as good as another
        let k = k.clamp(-(m as i64) - 1, n as i64 + 1);
        self.masked(&keeps(&column, &(row + k as f64)))
    }
    pub fn tril(&self, k: i64) -> Ex<'e> {
        self.triangle("tril", k, Ex::le)
    }
    pub fn triu(&self, k: i64) -> Ex<'e> {
        self.triangle("triu", k, Ex::ge)
    }
    /// A diagonal of the last two axes, as the last one: every (n + 1)-th element of the rows one after the other.
    pub fn diagonal(&self, k: i64) -> Ex<'e> {
        attempt(self, || {
            let shape = self.shape();
            let [ref lead @ .., m, n] = *shape.as_slice() else {
                return Err(Error::shape("diagonal", "at least two axes", format!("{:?}", shape.as_slice())));
            };
            let at = |k: i64| usize::try_from(k).unwrap_or(0);
            let (right, down) = (at(k), at(k.saturating_neg()));
            let len = n.saturating_sub(right).min(m.saturating_sub(down));
            let flat: Shape = lead.iter().copied().chain([m * n]).collect();
            let start = if len == 0 { 0 } else { down * n + right };
            Ok(self.reshape(&flat).slice(lead.len(), start, len, n + 1))
        })
    }
    /// A vector on a diagonal of a matrix of zeros, or a diagonal of a matrix.
    pub fn diag(&self, k: i64) -> Ex<'e> {
        match *self.shape().as_slice() {
            [_, _] => self.diagonal(k),
            [n] => attempt(self, || {
                let size = usize::try_from(k.unsigned_abs()).ok().and_then(|k| n.checked_add(k));
                let Some(size) = size.filter(|s| s.checked_mul(*s).is_some()) else {
                    return Err(Error::value(
                        "diag",
                        format!("expected a matrix that fits in memory, found diagonal {k}"),
                    ));
                };
                let shift = usize::try_from(k.saturating_neg()).unwrap_or(0);
                let padded = if k == 0 { self.clone() } else { self.unslice(0, shift.min(size - n), 1, size) };
                let i = iota(self.e, DType::I64, size);
                // element r of the column stands in row r
                let at = i.reshape(&[1, size]).eq(&(i.reshape(&[size, 1]) + k as f64));
                Ok(padded.reshape(&[size, 1]).expand(&[size, size]).masked(&at))
            }),
            ref other => self.fail(Error::shape("diag", "a vector or a matrix", format!("{other:?}"))),
        }
    }
    pub fn trace(&self) -> Ex<'e> {
        match self.rank() {
            2 => self.diagonal(0).sum(None, false),
            _ => self.fail(Error::shape("trace", "a matrix", format!("{:?}", self.shape().as_slice()))),
        }
    }
    pub fn outer(&self, other: &Ex<'e>) -> Ex<'e> {
        attempt(self, || {
            let (a, b) = (self.shape(), other.shape());
            if a.len() != 1 || b.len() != 1 {
                let found = format!("{:?} and {:?}", a.as_slice(), b.as_slice());
                return Err(Error::shape("outer", "two vectors", found));
            }
            Ok(self.reshape(&[a[0], 1]) * other.reshape(&[1, b[0]]))
        })
    }
    /// Positions along an axis in the order of an index of one axis, which takes its place.
    pub fn index_select(&self, dim: i64, index: &Ex<'e>) -> Ex<'e> {
        attempt(self, || {
            if index.rank() > 1 || index.dtype() != DType::I64 {
                return Err(Error::shape("index_select", "an i64 index of one axis", index.ty().to_string()));
            }
            let n = index.ty().numel();
            if self.rank() == 0 {
                resolve_dim("index_select", dim, 1)?;
                return Ok(self.reshape(&[1]).gather(0, &index.reshape(&[n])).reshape(&index.shape()));
            }
            let d = resolve_dim("index_select", dim, self.rank())?;
            Ok(self.rows_at(d, &index.reshape(&[n])))
        })
    }
    fn rows_at(&self, d: usize, index: &Ex<'e>) -> Ex<'e> {
        let n = index.shape()[0];
        let mut shape = self.shape();
        let mut along: Shape = std::iter::repeat_n(1, shape.len()).collect();
        (shape[d], along[d]) = (n, n);
        self.gather(d, &index.reshape(&along).expand(&shape))
    }
    /// Rows by an index of any shape.
    pub fn embedding(&self, index: &Ex<'e>) -> Ex<'e> {
        attempt(self, || {
            if self.rank() != 2 || index.dtype() != DType::I64 {
                let found = format!("{} and {}", self.ty(), index.ty());
                return Err(Error::shape("embedding", "a matrix [rows, width] and an i64 index", found));
            }
            let mut shape = index.shape();
            shape.push(self.shape()[1]);
            Ok(self.rows_at(0, &index.reshape(&[index.ty().numel()])).reshape(&shape))
        })
    }
    pub fn squeeze_dims(&self, dims: &[i64]) -> Ex<'e> {
        attempt(self, || {
            let shape = self.shape();
            let gone: Shape =
                dims.iter().map(|&d| resolve_dim("squeeze", d, shape.len().max(1))).collect::<Result<_>>()?;
            let left: Shape =
                shape.iter().enumerate().filter(|(d, n)| **n != 1 || !gone.contains(d)).map(|p| *p.1).collect();
            Ok(self.reshape(&left))
        })
    }
}
