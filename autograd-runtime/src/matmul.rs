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
    /// A window on a slice: rows `stride` apart, each without gaps.
    pub fn rows(data: &[T], rows: usize, cols: usize, stride: usize) -> Matrix<T> {
        Matrix::window(data, 0, [rows, cols], [stride as isize, 1])
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
