//! Linear algebra as methods of tensors: on the last two axes, leading axes being batches.

use super::{
    Tensor, Value,
    typed::{evaluate_as, report},
};
use crate::{array::Float, compose::TriangularOptions, emit::Ex, error::Error, ty::Ty};

impl<T: Float> Tensor<T> {
    /// All products of the elements of two vectors, of shape `[n, m]`.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let (a, b) = (Tensor::from_vec(vec![1.0, 2.0], [2]), Tensor::from_vec(vec![3.0, 4.0], [2]));
    /// assert_eq!(a.outer(&b).to_vec(), [3.0, 4.0, 6.0, 8.0]);
    /// ```
    #[track_caller]
    pub fn outer(&self, o: &Tensor<T>) -> Self {
        self.zip_named("MulBackward0", o, |a, b| a.outer(&b))
    }
    /// Einstein's summation: letters name the axes of the operands, `...` any further ones; those that the result does not
    /// name are summed. Without `->` the result has the letters that occur once, in alphabetical order.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let (a, b) = (Tensor::<f64>::ones([2, 3]), Tensor::<f64>::ones([3, 4]));
    /// assert_eq!(Tensor::einsum("ij,jk->ki", &[&a, &b]).shape(), [4, 2]);
    /// assert_eq!(Tensor::einsum("ii", &[&Tensor::<f64>::eye(3)]).item(), 3.0);
    /// ```
    #[track_caller]
    pub fn einsum(equation: &str, operands: &[&Tensor<T>]) -> Self {
        if operands.is_empty() {
            report(Error::value("einsum", "expected at least one operand, found none"));
            return Self::from_value(Value::absent(Ty::scalar(T::DTYPE)));
        }
        Tensor::from_value(evaluate_as("EinsumBackward0", |e| {
            let y = Ex::einsum(equation, &operands.iter().map(|t| t.ex(e)).collect::<Vec<_>>());
            // of one operand it may be a view
            if operands.len() == 1 { y.copy() } else { y }
        }))
    }
    /// The sum of the diagonal of a matrix, of shape `[]`.
    #[track_caller]
    pub fn trace(&self) -> Self {
        self.named("TraceBackward0", |x| x.trace())
    }
    /// The inverse of square matrices. A singular one is an error.
    ///
    /// ```
    /// use autograd_runtime::{Tensor, try_eval};
    /// let a = Tensor::from_vec(vec![2.0, 0.0, 0.0, 4.0], [2, 2]);
    /// assert_eq!(a.inv().to_vec(), [0.5, 0.0, 0.0, 0.25]);
    /// assert!(try_eval(|| Tensor::<f64>::ones([2, 2]).inv()).is_err());
    /// ```
    #[track_caller]
    pub fn inv(&self) -> Self {
        self.named("LinalgInvExBackward0", |x| x.inv())
    }
    /// The determinant of square matrices. Its gradient is the transposed adjugate, of singular matrices too.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let a = Tensor::from_vec(vec![1.0_f64, 2.0, 2.0, 4.0], [2, 2]).requires_grad_(true);
    /// a.det().backward()?;
    /// let adjugate = [4.0, -2.0, -2.0, 1.0];
    /// assert!(a.grad().unwrap().to_vec().iter().zip(adjugate).all(|(g, want)| (g - want).abs() < 1e-14));
    /// # Ok::<(), autograd_runtime::Error>(())
    /// ```
    #[track_caller]
    pub fn det(&self) -> Self {
        self.named("LinalgDetBackward0", |x| x.det())
    }
    /// ln|det| of square matrices, without overflow; −∞ of a singular one, whose gradient is NaN.
    #[track_caller]
    pub fn logabsdet(&self) -> Self {
        self.named("LinalgSlogdetBackward0", |x| x.logabsdet())
    }
    /// X with A·X = B, A being this: matrices `[.., n, n]` and `[.., n, k]` whose leading axes broadcast, or a vector at
    /// the right. A singular A is an error.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let a = Tensor::from_vec(vec![2.0, 1.0, 0.0, 4.0], [2, 2]);
    /// assert_eq!(a.solve(&Tensor::from_vec(vec![3.0, 4.0], [2])).to_vec(), [1.0, 1.0]);
    /// ```
    #[track_caller]
    pub fn solve(&self, b: &Tensor<T>) -> Self {
        self.zip_named("LinalgSolveExBackward0", b, |a, b| a.solve(&b))
    }
    /// As [`Tensor::solve`], of a triangle of this matrix; nothing else of it is read. A zero on the diagonal divides.
    ///
    /// ```
    /// use autograd_runtime::{Tensor, TriangularOptions};
    /// let a = Tensor::from_vec(vec![2.0, 9.0, 1.0, 4.0], [2, 2]);
    /// let b = Tensor::from_vec(vec![2.0, 5.0], [2, 1]);
    /// assert_eq!(a.solve_triangular(&b, TriangularOptions::default()).to_vec(), [1.0, 1.0]);
    /// ```
    #[track_caller]
    pub fn solve_triangular(&self, b: &Tensor<T>, options: TriangularOptions) -> Self {
        self.zip_named("LinalgSolveTriangularBackward0", b, |a, b| a.solve_triangular(&b, options))
    }
    /// The lower triangular L with L·Lᵀ = A, for symmetric positive-definite matrices; any other is an error. The matrix
    /// is read as (A + Aᵀ)/2.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let a = Tensor::from_vec(vec![4.0, 2.0, 2.0, 5.0], [2, 2]);
    /// assert_eq!(a.cholesky().to_vec(), [2.0, 0.0, 1.0, 2.0]);
    /// ```
    #[track_caller]
    pub fn cholesky(&self) -> Self {
        self.named("LinalgCholeskyExBackward0", |x| x.cholesky())
    }
    /// The eigenvalues of symmetric matrices in ascending order; the matrix is read as (A + Aᵀ)/2.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let a = Tensor::from_vec(vec![2.0_f64, 1.0, 1.0, 2.0], [2, 2]);
    /// let values = a.eigvalsh().to_vec();
    /// assert!((values[0] - 1.0).abs() < 1e-14 && (values[1] - 3.0).abs() < 1e-14);
    /// ```
    #[track_caller]
    pub fn eigvalsh(&self) -> Self {
        self.named("LinalgEighBackward0", |x| x.eigh_parts().1.squeeze(-1))
    }
    /// The eigenvalues of symmetric matrices in ascending order, and the eigenvectors as columns. The sign of a vector is
    /// not determined; neither are the vectors of equal eigenvalues, and what depends on their choice has no gradient.
    #[track_caller]
    pub fn eigh(&self) -> (Self, Self) {
        (self.eigvalsh(), self.named("LinalgEighBackward0", |x| x.eigh_parts().0))
    }
}
