//! Tensors along an axis of another one: several views from one operation, which must not be written to where
//! backward records.

use super::{
    dispatch::eager_at,
    meta::Creation,
    node::next_seq,
    typed::{Tensor, report},
    value::Value,
};
use crate::{
    array::Element,
    error::{Error, Place, Result},
    op::Op,
    session,
};

impl<T: Element> Tensor<T> {
    #[track_caller]
    fn parts(&self, op: &'static str, dim: i64, ranges: &[(usize, usize)], squeeze: bool) -> Vec<Self> {
        let place = Place::caller();
        let many = || -> Result<Vec<Self>> {
            let d = crate::ty::resolve_dim(op, dim, self.ndim())?;
            if self.ndim() == 0 {
                return Err(Error::shape(op, "at least one axis", "[]"));
            }
            let one = |(i, &(start, len)): (usize, &(usize, usize))| -> Result<Self> {
                let since = next_seq();
                let attrs = [d, start, len, 1].map(|n| crate::op::Attr::Int(n as i64));
                let slice = Op::with(&crate::op::views::SLICE, attrs);
                let mut v = match session::record(&slice, &[self.value()]) {
                    Some(v) => v?,
                    None => eager_at(slice, &[self.value()], Some(place), Creation::Several(op, i))?,
                };
                if squeeze {
                    let mut shape = v.ty().shape.clone();
                    shape.remove(d);
                    let attr = crate::op::Attr::dims(&shape);
                    let reshape = Op::with(&crate::op::views::RESHAPE, [attr]);
                    v = match session::record(&reshape, &[&v]) {
                        Some(v) => v?,
                        None => eager_at(reshape, &[&v], Some(place), Creation::Several(op, i))?,
                    };
                }
                v.label(if op == "Unbind" { "UnbindBackward0" } else { "SplitBackward0" }, since);
                Ok(Tensor::from_value(v))
            };
            ranges.iter().enumerate().map(one).collect()
        };
        many().unwrap_or_else(|e| {
            report(e);
            // as many as were asked for, so that code that goes on until the error is seen finds them
            ranges.iter().map(|_| Tensor::from_value(Value::absent(self.value().ty().clone()))).collect()
        })
    }
    fn extent(&self, dim: i64) -> usize {
        crate::ty::resolve_dim("split", dim, self.ndim()).ok().and_then(|d| self.shape().get(d).copied()).unwrap_or(0)
    }
    /// The slices along an axis, without it: as many views as its extent. They must not be written to where backward
    /// records.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let rows = Tensor::<f64>::eye(2).unbind(0);
    /// assert_eq!((rows[0].to_vec(), rows[1].to_vec()), (vec![1.0, 0.0], vec![0.0, 1.0]));
    /// ```
    #[track_caller]
    pub fn unbind(&self, dim: i64) -> Vec<Self> {
        let ranges: Vec<_> = (0..self.extent(dim)).map(|i| (i, 1)).collect();
        self.parts("Unbind", dim, &ranges, true)
    }
    /// Pieces of `size` elements along an axis; the last may be shorter. They are views that must not be written to where
    /// backward records.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::<f64>::arange(5);
    /// let pieces: Vec<Vec<f64>> = x.split(2, 0).iter().map(Tensor::to_vec).collect();
    /// assert_eq!(pieces, [vec![0.0, 1.0], vec![2.0, 3.0], vec![4.0]]);
    /// assert_eq!(x.split_sizes(&[1, 4], 0)[1].shape(), [4]);
    /// assert_eq!(x.chunk(2, 0)[0].shape(), [3]);
    /// ```
    #[track_caller]
    pub fn split(&self, size: usize, dim: i64) -> Vec<Self> {
        let n = self.extent(dim);
        if size == 0 {
            report(Error::value("split", "expected pieces of at least one element, found 0"));
            return Vec::new();
        }
        let ranges: Vec<_> = (0..n.div_ceil(size).max(1)).map(|i| (i * size, size.min(n - i * size))).collect();
        self.parts("Split", dim, &ranges, false)
    }
    /// Pieces of the given sizes along an axis, which add up to its extent.
    #[track_caller]
    pub fn split_sizes(&self, sizes: &[usize], dim: i64) -> Vec<Self> {
        if sizes.iter().try_fold(0usize, |s, &n| s.checked_add(n)) != Some(self.extent(dim)) {
            let want = format!("sizes that add up to {}", self.extent(dim));
            report(Error::shape("split", want, format!("{sizes:?}")));
            return Vec::new();
        }
        let ends = sizes.iter().scan(0, |end, &len| {
            *end += len;
            Some((*end - len, len))
        });
        let ranges: Vec<_> = ends.collect();
        self.parts("Split", dim, &ranges, false)
    }
    /// At most `n` pieces of equal size along an axis; the last may be shorter.
    #[track_caller]
    pub fn chunk(&self, n: usize, dim: i64) -> Vec<Self> {
        if n == 0 {
            report(Error::value("chunk", "expected at least one chunk, found 0"));
            return Vec::new();
        }
        self.split(self.extent(dim).div_ceil(n).max(1), dim)
    }
}
