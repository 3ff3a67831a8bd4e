//! The numbers of linear algebra: each matrix of a batch through `nalgebra`.

use crate::{
    array::{Data, Element},
    error::{Error, Result},
    op::{
        Op, Operand,
        evaluate::{copied, fresh},
    },
    ty::Ty,
};
use nalgebra::{DMatrix, RealField, SymmetricEigen};

/// What matrices are made of: `f32` or `f64`.
pub(super) trait Scalar: Element + RealField + Copy {}
impl<T: Element + RealField + Copy> Scalar for T {}

/// Calls `f` with the matrices of each place of the batch, and the elements of the result there.
pub(super) fn each<T: Scalar>(
    op: &Op,
    args: &[Operand<'_>],
    out: &Ty,
    f: impl Fn(&[DMatrix<T>], &mut [T]) -> Result<()>,
) -> Result<Data> {
    let mut data = fresh(out.dtype, out.numel());
    let shape = &args[0].layout.shape;
    let batch: usize = shape[..shape.len() - 2].iter().product();
    if out.numel() == 0 {
        return Ok(data);
    }
    let copies: Vec<Data> = args.iter().map(|a| copied(*a)).collect();
    let sources: Vec<&[T]> = copies.iter().map(|c| c.slice().typed(op.name())).collect::<Result<_>>()?;
    let y = T::slice_mut(&mut data).expect("of the result's type");
    let size = out.numel() / batch;
    for (b, y) in y.chunks_exact_mut(size).enumerate() {
        let matrix = |(a, x): (&Operand<'_>, &&[T])| {
            let [.., m, n] = *a.layout.shape.as_slice() else { unreachable!("the shape rule wants matrices") };
            DMatrix::from_row_slice(m, n, &x[b * m * n..(b + 1) * m * n])
        };
        let matrices: Vec<DMatrix<T>> = args.iter().zip(&sources).map(matrix).collect();
        f(&matrices, y)?;
    }
    Ok(data)
}
/// A matrix row by row.
fn store<T: Scalar>(m: &DMatrix<T>, y: &mut [T]) {
    y.iter_mut().zip(m.transpose().iter()).for_each(|(y, x)| *y = *x);
}
fn singular(op: &Op) -> Error {
    Error::value(op.name(), "expected a matrix that has an inverse, found a singular one")
}
fn symmetric<T: Scalar>(m: &DMatrix<T>) -> DMatrix<T> {
    (m + m.transpose()) * nalgebra::convert::<f64, T>(0.5)
}
fn finite<T: Scalar>(op: &Op, m: &DMatrix<T>) -> Result<()> {
    match m.iter().all(|x| x.is_finite()) {
        true => Ok(()),
        false => Err(Error::value(op.name(), "expected finite elements, found an infinity or NaN")),
    }
}
/// Iterative methods stop after so many sweeps over the elements: they take a handful.
fn sweeps(n: usize) -> usize {
    64 * n.max(4)
}

pub(super) fn solve<T: Scalar>(op: &Op, m: &[DMatrix<T>], y: &mut [T]) -> Result<()> {
    let x = m[0].clone().lu().solve(&m[1]).ok_or_else(|| singular(op))?;
    store(&x, y);
    Ok(())
}
pub(super) fn solve_triangular<T: Scalar>(op: &Op, m: &[DMatrix<T>], y: &mut [T]) -> Result<()> {
    let (upper, unit) = (op.int(0) != 0, op.int(1) != 0);
    let mut a = m[0].clone();
    if unit {
        a.fill_diagonal(T::one());
    }
    // the columns one by one: a zero on the diagonal divides, as in PyTorch, and is no error
    let (n, mut x) = (a.nrows(), m[1].clone());
    for mut column in x.column_iter_mut() {
        for k in 0..n {
            let i = if upper { n - 1 - k } else { k };
            let c = column[i] / a[(i, i)];
            column[i] = c;
            let rest = if upper { 0..i } else { i + 1..n };
            for r in rest {
                column[r] -= a[(r, i)] * c;
            }
        }
    }
    store(&x, y);
    Ok(())
}
pub(super) fn inverse<T: Scalar>(op: &Op, m: &[DMatrix<T>], y: &mut [T]) -> Result<()> {
    match m[0].clone().lu().try_inverse() {
        Some(x) => store(&x, y),
        None if op.int(0) != 0 => return Err(singular(op)),
        None => y.fill(nalgebra::convert(f64::NAN)),
    }
    Ok(())
}
pub(super) fn determinant<T: Scalar>(_: &Op, m: &[DMatrix<T>], y: &mut [T]) -> Result<()> {
    y[0] = if m[0].is_empty() { T::one() } else { m[0].clone().lu().determinant() };
    Ok(())
}
pub(super) fn log_determinant<T: Scalar>(_: &Op, m: &[DMatrix<T>], y: &mut [T]) -> Result<()> {
    let u = m[0].clone().lu();
    y[0] = u.lu_internal().diagonal().iter().fold(T::zero(), |s, d| s + d.abs().ln());
    Ok(())
}

/// U, S and Vᵀ with the sign det U·det V.
struct Singular<T: Scalar> {
    u: DMatrix<T>,
    s: Vec<T>,
    vt: DMatrix<T>,
    sign: T,
}
fn singular_values<T: Scalar>(op: &Op, m: &DMatrix<T>) -> Result<Singular<T>> {
    finite(op, m)?;
    let Some((u, s, vt)) = super::svd::svd(m) else {
        return Err(Error::value(op.name(), "expected a singular value decomposition that converges, found none"));
    };
    let sign = (u.clone().lu().determinant() * vt.clone().lu().determinant()).signum();
    Ok(Singular { u, s, vt, sign })
}
/// The product of all but some.
fn others<T: Scalar>(s: &[T], i: usize, j: usize) -> T {
    s.iter().enumerate().filter(|(k, _)| *k != i && *k != j).fold(T::one(), |p, (_, x)| p * *x)
}
pub(super) fn cofactor<T: Scalar>(op: &Op, m: &[DMatrix<T>], y: &mut [T]) -> Result<()> {
    let Singular { mut u, s, vt, sign } = singular_values(op, &m[0])?;
    for (i, mut column) in u.column_iter_mut().enumerate() {
        column *= sign * others(&s, i, i);
    }
    store(&(u * vt), y);
    Ok(())
}
pub(super) fn cofactor_slope<T: Scalar>(op: &Op, m: &[DMatrix<T>], y: &mut [T]) -> Result<()> {
    let Singular { u, s, vt, sign } = singular_values(op, &m[0])?;
    let c = u.transpose() * &m[1] * vt.transpose();
    let n = s.len();
    let mut slope = DMatrix::zeros(n, n);
    for i in 0..n {
        for j in (0..n).filter(|&j| j != i) {
            let p = sign * others(&s, i, j);
            slope[(i, j)] = -c[(j, i)] * p;
            slope[(i, i)] += c[(j, j)] * p;
        }
    }
    store(&(u * slope * vt), y);
    Ok(())
}
pub(super) fn cholesky<T: Scalar>(op: &Op, m: &[DMatrix<T>], y: &mut [T]) -> Result<()> {
    let Some(l) = symmetric(&m[0]).cholesky() else {
        return Err(Error::value(op.name(), "expected a positive-definite matrix, found another"));
    };
    store(&l.l(), y);
    Ok(())
}
pub(super) fn eigen<T: Scalar>(op: &Op, m: &[DMatrix<T>], y: &mut [T]) -> Result<()> {
    finite(op, &m[0])?;
    let n = m[0].nrows();
    let Some(e) = SymmetricEigen::try_new(symmetric(&m[0]), T::default_epsilon(), sweeps(n)) else {
        return Err(Error::value(op.name(), "expected an eigenvalue decomposition that converges, found none"));
    };
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| e.eigenvalues[a].partial_cmp(&e.eigenvalues[b]).unwrap_or(std::cmp::Ordering::Equal));
    for (r, row) in y.chunks_exact_mut(n + 1).enumerate() {
        for (x, &c) in row.iter_mut().zip(&order) {
            *x = e.eigenvectors[(r, c)];
        }
        row[n] = e.eigenvalues[order[r]];
    }
    Ok(())
}
