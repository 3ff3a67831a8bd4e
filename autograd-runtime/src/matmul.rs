//! The matrix product, through `gemm`: strided operands in, a strided result out. It reaches AVX-512 where
//! the CPU has it and splits large products over the threads of rayon's pool.

use crate::array::Float;
use ndarray::{ArrayBase, Data, Ix2, IxDyn};

/// A strided matrix to read.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<T> {
    pub(crate) ptr: *const T,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) row_stride: isize,
    pub(crate) col_stride: isize,
}

/// A strided matrix to write.
#[derive(Debug)]
pub struct MatrixMut<T> {
    pub(crate) ptr: *mut T,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) row_stride: isize,
    pub(crate) col_stride: isize,
}

impl<T> Matrix<T> {
    /// A two-dimensional array.
    pub fn of<S: Data<Elem = T>>(a: &ArrayBase<S, IxDyn>) -> Matrix<T> {
        let a = a.view().into_dimensionality::<Ix2>().expect("a matrix");
        let (s, t) = (a.strides()[0], a.strides()[1]);
        Matrix { ptr: a.as_ptr(), rows: a.nrows(), cols: a.ncols(), row_stride: s, col_stride: t }
    }
    /// A window on a slice: rows `stride` apart, each without gaps.
    pub fn window(data: &[T], rows: usize, cols: usize, stride: usize) -> Matrix<T> {
        assert!(fits(data.len(), rows, cols, stride), "bug: a {rows}×{cols} window needs more elements");
        Matrix { ptr: data.as_ptr(), rows, cols, row_stride: stride as isize, col_stride: 1 }
    }
    /// The transpose.
    pub fn t(self) -> Matrix<T> {
        Matrix { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }
}
fn fits(len: usize, rows: usize, cols: usize, stride: usize) -> bool {
    rows == 0 || cols == 0 || (rows - 1) * stride + cols <= len
}
impl<T> MatrixMut<T> {
    /// A window on a slice: rows `stride` apart, each without gaps.
    pub fn window(data: &mut [T], rows: usize, cols: usize, stride: usize) -> MatrixMut<T> {
        assert!(fits(data.len(), rows, cols, stride), "bug: a {rows}×{cols} window needs more room");
        MatrixMut { ptr: data.as_mut_ptr(), rows, cols, row_stride: stride as isize, col_stride: 1 }
    }
    /// A row-major slice.
    pub fn rows(data: &mut [T], rows: usize, cols: usize) -> MatrixMut<T> {
        assert!(data.len() >= rows * cols, "bug: a {rows}×{cols} result needs more room");
        MatrixMut { ptr: data.as_mut_ptr(), rows, cols, row_stride: cols as isize, col_stride: 1 }
    }
}

/// Work, in multiply-adds, from which a second thread pays: about 100 µs of one core.
const PARALLEL: usize = 4 << 20;

/// C = A·B. Empty sums are zeros.
pub fn matmul<T: Float>(a: Matrix<T>, b: Matrix<T>, c: MatrixMut<T>) {
    product(a, b, c, false);
}
/// C += A·B.
pub fn matmul_add<T: Float>(a: Matrix<T>, b: Matrix<T>, c: MatrixMut<T>) {
    product(a, b, c, true);
}
fn product<T: Float>(a: Matrix<T>, b: Matrix<T>, c: MatrixMut<T>, add: bool) {
    assert!(a.cols == b.rows && a.rows == c.rows && b.cols == c.cols, "bug: shapes were checked by the rule");
    if c.rows == 0 || c.cols == 0 {
        return;
    }
    let work = a.rows.saturating_mul(a.cols).saturating_mul(b.cols);
    let par = if work >= PARALLEL { gemm::Parallelism::Rayon(0) } else { gemm::Parallelism::None };
    // SAFETY: the views were made from borrowed storage (or from the planned buffers of a program) whose
    // extents and strides describe elements inside it, and C does not overlap A or B.
    unsafe {
        gemm::gemm(
            c.rows,
            c.cols,
            a.cols,
            c.ptr,
            c.col_stride,
            c.row_stride,
            add,
            a.ptr,
            a.col_stride,
            a.row_stride,
            b.ptr,
            b.col_stride,
            b.row_stride,
            if add { T::one() } else { T::zero() },
            T::one(),
            false,
            false,
            false,
            par,
        );
    }
}
