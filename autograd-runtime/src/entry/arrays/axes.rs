//! Shapes, parts and elements of twins' arrays.

use super::{NdArray, extents, signed};
use crate::{
    Error, Tensor,
    array::Float,
    error::Place,
    real::{Real, literal},
};
use ndarray::{Axis, Dimension, IntoDimension, Ix1, Ix2, NdIndex, RemoveAxis, ShapeArg, SliceArg, SliceInfoElem};
use std::{cell::OnceCell, ops};

#[allow(missing_docs)] // each is ndarray's method of the same name
impl<T: Float, D: Dimension> NdArray<Real<T>, D> {
    pub fn shape(&self) -> &[usize] {
        self.dim.slice()
    }
    pub fn ndim(&self) -> usize {
        self.dim.ndim()
    }
    pub fn len(&self) -> usize {
        self.dim.size()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    pub fn dim(&self) -> D::Pattern {
        self.dim.clone().into_pattern()
    }
    pub fn raw_dim(&self) -> D {
        self.dim.clone()
    }
    pub fn len_of(&self, axis: Axis) -> usize {
        self.shape().get(axis.index()).copied().unwrap_or_default()
    }
    #[must_use]
    pub fn view(&self) -> Self {
        self.clone()
    }
    #[must_use]
    pub fn to_owned(&self) -> Self {
        self.clone()
    }
    #[must_use]
    pub fn into_owned(self) -> Self {
        self
    }
    pub fn into_dyn(self) -> NdArray<Real<T>, ndarray::IxDyn> {
        NdArray::wrap(self.whole())
    }
    /// The axes in the opposite order.
    #[must_use]
    #[track_caller]
    pub fn t(&self) -> Self {
        let order: Vec<i64> = (0..signed(self.ndim())).rev().collect();
        NdArray::wrap(self.whole().permute(&order))
    }
    #[must_use]
    #[track_caller]
    pub fn reversed_axes(self) -> Self {
        self.t()
    }
    #[must_use]
    #[track_caller]
    pub fn permuted_axes(self, axes: impl IntoDimension<Dim = D>) -> Self {
        let order = extents(axes.into_dimension().slice());
        NdArray::wrap(self.whole().permute(&order))
    }
    #[track_caller]
    pub fn swap_axes(&mut self, a: usize, b: usize) {
        *self = NdArray::wrap(self.whole().transpose(signed(a), signed(b)));
    }
    #[track_caller]
    pub fn insert_axis(self, axis: Axis) -> NdArray<Real<T>, D::Larger> {
        NdArray::wrap(self.whole().unsqueeze(signed(axis.index())))
    }
    #[track_caller]
    pub fn flatten(&self) -> NdArray<Real<T>, Ix1> {
        NdArray::wrap(self.whole().reshape(&[-1]))
    }
    /// The same elements in another shape.
    ///
    /// # Errors
    /// If there are not as many.
    #[track_caller]
    pub fn into_shape_with_order<E: ShapeArg>(self, shape: E) -> crate::Result<NdArray<Real<T>, E::Dim>> {
        let (dim, _) = shape.into_shape_and_order();
        if dim.size_checked() != Some(self.len()) {
            let want = format!("a shape of {} elements", self.len());
            return Err(Error::shape("into_shape", want, format!("{:?}", dim.slice())).at(Place::caller()));
        }
        Ok(NdArray::wrap(self.whole().reshape(&extents(dim.slice()))))
    }
    /// As [`NdArray::into_shape_with_order`].
    ///
    /// # Errors
    /// If there are not as many elements.
    #[track_caller]
    pub fn to_shape<E: ShapeArg>(&self, shape: E) -> crate::Result<NdArray<Real<T>, E::Dim>> {
        self.clone().into_shape_with_order(shape)
    }
    /// Repeated to a larger shape; `None` if it does not fit.
    #[track_caller]
    pub fn broadcast<E: IntoDimension>(&self, shape: E) -> Option<NdArray<Real<T>, E::Dim>> {
        let dim = shape.into_dimension();
        let (own, to) = (self.shape(), dim.slice());
        let fits = own.len() <= to.len() && own.iter().rev().zip(to.iter().rev()).all(|(a, b)| a == b || *a == 1);
        fits.then(|| NdArray::wrap(self.whole().expand(to)))
    }
    /// A part: `s![..]` says which.
    #[track_caller]
    pub fn slice<I: SliceArg<D>>(&self, part: I) -> NdArray<Real<T>, I::OutDim> {
        let (mut t, mut axis) = (self.whole(), 0usize);
        for e in part.as_ref() {
            match *e {
                SliceInfoElem::Slice { start, end, step } => {
                    t = sliced(&t, axis, start, end, step);
                    axis += 1;
                }
                SliceInfoElem::Index(i) => t = t.select(signed(axis), i64::try_from(i).unwrap_or(i64::MAX)),
                SliceInfoElem::NewAxis => {
                    t = t.unsqueeze(signed(axis));
                    axis += 1;
                }
            }
        }
        NdArray::wrap(t)
    }
    /// Writes the other array's elements, repeated to this shape.
    #[track_caller]
    pub fn assign<E: Dimension>(&mut self, o: &NdArray<Real<T>, E>) {
        *self = NdArray::wrap(o.whole().expand(self.dim.slice()));
    }
    #[track_caller]
    pub fn fill(&mut self, x: impl Into<Real<T>>) {
        *self = Self::from_elem(self.dim.clone(), x);
    }
    /// The elements in logical order.
    #[track_caller]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Real<T>> + ExactSizeIterator + Clone {
        (0..self.len()).map(|at| self.element(at))
    }
    /// The elements in logical order, to be changed.
    #[track_caller]
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Real<T>> {
        self.each_mut().iter_mut()
    }
    #[track_caller]
    pub fn to_vec(&self) -> Vec<Real<T>> {
        self.iter().copied().collect()
    }
    #[track_caller]
    pub fn fold<B>(&self, init: B, mut f: impl FnMut(B, &Real<T>) -> B) -> B {
        self.iter().fold(init, &mut f)
    }
    /// The element at an index, if there is one.
    #[track_caller]
    pub fn get(&self, index: impl NdIndex<D>) -> Option<&Real<T>> {
        self.place(index).map(|at| self.element(at))
    }
    fn place(&self, index: impl NdIndex<D>) -> Option<usize> {
        // in logical order the last axis is the fastest
        let mut strides = D::zeros(self.ndim());
        let mut step = 1;
        for (s, n) in strides.slice_mut().iter_mut().zip(self.shape()).rev() {
            (*s, step) = (step, step * n);
        }
        index.index_checked(&self.dim, &strides).and_then(|at| usize::try_from(at).ok())
    }
    /// As many parts as the axis is long, in turn.
    #[track_caller]
    fn parts(&self, axis: Axis) -> impl DoubleEndedIterator<Item = Tensor<T>> + ExactSizeIterator + Clone {
        let (t, dim) = (self.whole(), signed(axis.index()));
        (0..self.len_of(axis)).map(move |i| t.select(dim, signed(i)))
    }
}

/// What `start..end;step` of an axis takes: with a negative step, the same range from its end.
#[track_caller]
fn sliced<T: Float>(t: &Tensor<T>, axis: usize, start: isize, end: Option<isize>, step: isize) -> Tensor<T> {
    let n = t.shape().get(axis).map_or(0, |&n| isize::try_from(n).unwrap_or(isize::MAX));
    let from_end = |i: isize| if i < 0 { i + n } else { i };
    let (start, end) = (from_end(start), end.map_or(n, from_end));
    if start < 0 || start > end.max(start) || end > n || start > n {
        let want = format!("a range of an axis of {n}");
        crate::tensor_report(Error::shape("slice", want, format!("{start}..{end}")).at(Place::caller()));
        return t.clone();
    }
    let (end, dim) = (end.max(start), signed(axis));
    let (start, end) = (i64::try_from(start).unwrap_or(i64::MAX), i64::try_from(end).unwrap_or(i64::MAX));
    if step == 1 {
        return t.slice(dim, start, end, 1);
    }
    let by = step.unsigned_abs();
    if step > 0 {
        t.slice(dim, start, end, by)
    } else {
        t.slice(dim, start, end, 1).flip(&[dim]).slice(dim, 0, i64::MAX, by)
    }
}

#[allow(missing_docs)] // each is ndarray's method of the same name
impl<T: Float, D: RemoveAxis> NdArray<Real<T>, D> {
    #[track_caller]
    pub fn index_axis(&self, axis: Axis, index: usize) -> NdArray<Real<T>, D::Smaller> {
        NdArray::wrap(self.whole().select(signed(axis.index()), signed(index)))
    }
    #[track_caller]
    pub fn remove_axis(self, axis: Axis) -> NdArray<Real<T>, D::Smaller> {
        self.index_axis(axis, 0)
    }
    #[track_caller]
    pub fn axis_iter(
        &self,
        axis: Axis,
    ) -> impl DoubleEndedIterator<Item = NdArray<Real<T>, D::Smaller>> + ExactSizeIterator {
        self.parts(axis).map(NdArray::wrap)
    }
    #[track_caller]
    pub fn outer_iter(&self) -> impl DoubleEndedIterator<Item = NdArray<Real<T>, D::Smaller>> + ExactSizeIterator {
        self.axis_iter(Axis(0))
    }
}
#[allow(missing_docs)] // each is ndarray's method of the same name
impl<T: Float> NdArray<Real<T>, Ix2> {
    pub fn nrows(&self) -> usize {
        self.len_of(Axis(0))
    }
    pub fn ncols(&self) -> usize {
        self.len_of(Axis(1))
    }
    pub fn is_square(&self) -> bool {
        self.nrows() == self.ncols()
    }
    #[track_caller]
    pub fn row(&self, i: usize) -> NdArray<Real<T>, Ix1> {
        self.index_axis(Axis(0), i)
    }
    #[track_caller]
    pub fn column(&self, i: usize) -> NdArray<Real<T>, Ix1> {
        self.index_axis(Axis(1), i)
    }
    #[track_caller]
    pub fn rows(&self) -> Vec<NdArray<Real<T>, Ix1>> {
        self.axis_iter(Axis(0)).collect()
    }
    #[track_caller]
    pub fn columns(&self) -> Vec<NdArray<Real<T>, Ix1>> {
        self.axis_iter(Axis(1)).collect()
    }
    #[track_caller]
    pub fn diag(&self) -> NdArray<Real<T>, Ix1> {
        NdArray::wrap(self.whole().diagonal(0))
    }
}

impl<T: Float, D: Dimension, I: NdIndex<D>> ops::Index<I> for NdArray<Real<T>, D> {
    type Output = Real<T>;
    #[track_caller]
    fn index(&self, index: I) -> &Real<T> {
        let found = format!("{index:?}");
        match self.place(index) {
            Some(at) => self.element(at),
            None => {
                self.beyond(&found);
                self.blank.get_or_init(|| literal(T::zero()))
            }
        }
    }
}
impl<T: Float, D: Dimension, I: NdIndex<D>> ops::IndexMut<I> for NdArray<Real<T>, D> {
    #[track_caller]
    fn index_mut(&mut self, index: I) -> &mut Real<T> {
        let found = format!("{index:?}");
        match self.place(index) {
            Some(at) => &mut self.each_mut()[at],
            None => {
                self.beyond(&found);
                self.blank = OnceCell::from(literal(T::zero()));
                self.blank.get_mut().expect("it was just filled")
            }
        }
    }
}
impl<'a, T: Float, D: Dimension> IntoIterator for &'a NdArray<Real<T>, D> {
    type Item = &'a Real<T>;
    type IntoIter = std::vec::IntoIter<&'a Real<T>>;
    #[track_caller]
    fn into_iter(self) -> Self::IntoIter {
        self.iter().collect::<Vec<_>>().into_iter()
    }
}
