//! Tensors and the matrices of `nalgebra`, of static and dynamic sizes. A column vector is a tensor of one axis, any
//! other matrix one of two. What `nalgebra` keeps column by column a tensor keeps row by row: elements are copied.

use super::Tensor;
use crate::{Element, Error, Result};
use nalgebra::{DMatrix, DVector, Dim, Matrix, RawStorage, SMatrix, SVector, Scalar};

impl<T: Element + Scalar, R: Dim, C: Dim, S: RawStorage<T, R, C>> From<&Matrix<T, R, C, S>> for Tensor<T> {
    fn from(m: &Matrix<T, R, C, S>) -> Self {
        let elements = m.row_iter().flat_map(|row| row.iter().copied().collect::<Vec<T>>()).collect();
        match C::try_to_usize() {
            Some(1) => Tensor::from_vec(elements, [m.nrows()]),
            _ => Tensor::from_vec(elements, [m.nrows(), m.ncols()]),
        }
    }
}
impl<T: Element + Scalar, R: Dim, C: Dim, S: RawStorage<T, R, C>> From<Matrix<T, R, C, S>> for Tensor<T> {
    fn from(m: Matrix<T, R, C, S>) -> Self {
        Tensor::from(&m)
    }
}

/// To `nalgebra`, with the feature of that name.
impl<T: Element + Scalar> Tensor<T> {
    /// The rows and columns, if there are two axes.
    ///
    /// ```
    /// use autograd_runtime::{Tensor, nalgebra::{Matrix2, Vector2}};
    ///
    /// let a = Tensor::from(Matrix2::new(2.0, 1.0, 1.0, 3.0));
    /// let b = Tensor::from(Vector2::new(3.0, 5.0));
    /// let x = a.to_dmatrix()?.lu().solve(&b.to_dvector()?);
    /// assert!(x.is_some_and(|x| (x[0] - 0.8).abs() < 1e-12 && (x[1] - 1.4).abs() < 1e-12));
    /// # Ok::<(), autograd_runtime::Error>(())
    /// ```
    pub fn to_dmatrix(&self) -> Result<DMatrix<T>> {
        match *self.shape() {
            [rows, cols] => Ok(DMatrix::from_row_iterator(rows, cols, self.to_vec())),
            _ => Err(self.unfit("to_dmatrix", "two axes".to_owned())),
        }
    }
    /// The elements, if there is one axis.
    pub fn to_dvector(&self) -> Result<DVector<T>> {
        match *self.shape() {
            [_] => Ok(DVector::from_vec(self.to_vec())),
            _ => Err(self.unfit("to_dvector", "one axis".to_owned())),
        }
    }
    /// The rows and columns, if there are as many.
    pub fn to_smatrix<const R: usize, const C: usize>(&self) -> Result<SMatrix<T, R, C>> {
        match *self.shape() {
            [rows, cols] if (rows, cols) == (R, C) => Ok(SMatrix::from_row_iterator(self.to_vec())),
            _ => Err(self.unfit("to_smatrix", format!("[{R}, {C}]"))),
        }
    }
    /// The elements, if there are as many on one axis.
    pub fn to_svector<const N: usize>(&self) -> Result<SVector<T, N>> {
        match *self.shape() {
            [n] if n == N => Ok(SVector::from_iterator(self.to_vec())),
            _ => Err(self.unfit("to_svector", format!("[{N}]"))),
        }
    }
    fn unfit(&self, op: &'static str, want: String) -> Error {
        Error::shape(op, want, format!("{:?}", self.shape()))
    }
}
