//! The matrix product, through `gemm`: strided operands in, a strided result out. It reaches AVX-512 where
//! the CPU has it and splits large products over the threads of rayon's pool.

use crate::array::Float;

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
    /// The matrix of these extents and strides that begins at `at`.
    pub fn window(data: &[T], at: usize, [rows, cols]: [usize; 2], [row_stride, col_stride]: [isize; 2]) -> Matrix<T> {
        let mut m = Matrix { ptr: data.as_ptr(), rows, cols, row_stride, col_stride };
        if rows > 0 && cols > 0 {
            let span = |n: usize, stride: isize| (n as isize - 1) * stride;
            let (r, c) = (span(rows, row_stride), span(cols, col_stride));
            let (first, last) = (at as isize + r.min(0) + c.min(0), at as isize + r.max(0) + c.max(0));
            assert!(first >= 0 && last < data.len() as isize, "bug: a matrix at {at} does not fit its store");
            m.ptr = data[at..].as_ptr();
        }
        m
    }
}
impl<T> MatrixMut<T> {
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
            false,
            a.ptr,
            a.col_stride,
            a.row_stride,
            b.ptr,
            b.col_stride,
            b.row_stride,
            T::zero(),
            T::one(),
            false,
            false,
            false,
            par,
        );
    }
}
