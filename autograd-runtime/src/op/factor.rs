//! Linear algebra on the last two axes, leading axes being batches: factorisations, solutions, determinants. The numbers
//! come from `nalgebra` (`dense`), the derivatives are matrix calculus over the same operations (Giles, "Collected matrix
//! derivative results for forward and reverse mode algorithmic differentiation", 2008; Murray, "Differentiation of the
//! Cholesky decomposition", 2016).

mod dense;
mod svd;

use super::{Cx, Derivative, Op, OpDef, SAVE_OUT, each, infer, library};
use crate::{
    emit::{Ex, apply, iota},
    error::{Error, Result},
    op::Attr,
    ty::{DType, Ty},
};

/// All operations of this family.
pub static ALL: &[&OpDef] =
    &[&SOLVE, &SOLVE_TRIANGULAR, &INV, &DET, &COFACTOR, &COFACTOR_SLOPE, &LOGABSDET, &CHOLESKY, &EIGH];

/// Square matrices of floats.
fn square(op: &Op, a: &[&Ty]) -> Result<Ty> {
    infer::float(op, a[0])?;
    infer::same_dtype(op, a)?;
    match *a[0].shape.as_slice() {
        [.., m, n] if m == n => Ok(a[0].clone()),
        _ => Err(Error::shape(op.name(), "square matrices [.., n, n]", format!("{:?}", a[0].shape.as_slice()))),
    }
}
fn two_squares(op: &Op, a: &[&Ty]) -> Result<Ty> {
    let ty = square(op, a)?;
    if a[1].shape == ty.shape {
        return Ok(ty);
    }
    let found = format!("{:?} and {:?}", a[0].shape.as_slice(), a[1].shape.as_slice());
    Err(Error::shape(op.name(), "two arguments of one shape", found))
}
/// One number of each matrix.
fn numbers(op: &Op, a: &[&Ty]) -> Result<Ty> {
    let mut ty = square(op, a)?;
    ty.shape.truncate(ty.rank() - 2);
    Ok(ty)
}
/// A square matrix and a right-hand side of as many rows.
fn system(op: &Op, a: &[&Ty]) -> Result<Ty> {
    let ty = square(op, a)?;
    let (x, y) = (&ty.shape, &a[1].shape);
    let n = x.len();
    if y.len() == n && y[..n - 1] == x[..n - 1] {
        return Ok(a[1].clone());
    }
    let found = format!("{:?} and {:?}", x.as_slice(), y.as_slice());
    Err(Error::shape(op.name(), "matrices [.., n, n] and [.., n, k]", found))
}

macro_rules! by_width {
    ($f:path, $($a:expr),*) => { |op, args, out| match out.dtype {
        DType::F32 => dense::each::<f32>(op, args, out, |m, y| $f(op, m, y, $($a),*)),
        _ => dense::each::<f64>(op, args, out, |m, y| $f(op, m, y, $($a),*)),
    } };
    ($f:path) => { by_width!($f,) };
}

/// X with A·X = B;  dB = A⁻ᵀ·ct,  dA = −dB·Xᵀ
pub static SOLVE: OpDef = library(
    "solve",
    &[],
    2,
    system,
    by_width!(dense::solve),
    Derivative::General(
        |cx, i, t| {
            let db = cx.args[0].mt().op2(&SOLVE, t);
            Some(if i == 1 { db } else { -db.matmul_2d(&cx.out.mt()) })
        },
        |cx, t| Some(cx.args[0].op2(&SOLVE, &right_side(cx, t, |ta| ta.clone())?)),
    ),
    each(1 | SAVE_OUT, 1),
);
/// Ḃ − Ȧ·X: what a solution's tangent solves for.
fn right_side<'e>(cx: &Cx<'e>, t: &[Option<Ex<'e>>], part: impl Fn(&Ex<'e>) -> Ex<'e>) -> Option<Ex<'e>> {
    let from_a = t[0].as_ref().map(|ta| -part(ta).matmul_2d(cx.out));
    match (from_a, &t[1]) {
        (Some(a), Some(b)) => Some(a + b),
        (Some(a), None) => Some(a),
        (None, b) => b.clone(),
    }
}

fn triangular<'e>(op: &Op, a: &Ex<'e>, b: &Ex<'e>, transposed: bool) -> Ex<'e> {
    let upper = (op.int(0) != 0) != transposed;
    let a = if transposed { a.mt() } else { a.clone() };
    apply(Op::with(&SOLVE_TRIANGULAR, [Attr::Int(i64::from(upper)), op.attrs[1].clone()]), &[&a, b])
}
/// The elements of a matrix that a triangular solution reads.
fn read_part<'e>(op: &Op, x: &Ex<'e>) -> Ex<'e> {
    let unit = i64::from(op.int(1) != 0);
    if op.int(0) != 0 { x.triu(unit) } else { x.tril(-unit) }
}
/// X with T·X = B, T the upper or lower triangle of A, with ones on its diagonal if `unit`;  dB = T⁻ᵀ·ct,  dA = −dB·Xᵀ in
/// that triangle
pub static SOLVE_TRIANGULAR: OpDef = library(
    "solve_triangular",
    &["upper", "unit"],
    2,
    system,
    by_width!(dense::solve_triangular),
    Derivative::General(
        |cx, i, t| {
            let db = triangular(cx.op, &cx.args[0], t, true);
            Some(if i == 1 { db } else { read_part(cx.op, &-db.matmul_2d(&cx.out.mt())) })
        },
        |cx, t| {
            let b = right_side(cx, t, |ta| read_part(cx.op, ta))?;
            Some(triangular(cx.op, &cx.args[0], &b, false))
        },
    ),
    each(1 | SAVE_OUT, 1),
);

/// Y = A⁻¹; of a singular matrix NaN, or an error if `strict`;  dA = −Yᵀ·ct·Yᵀ
pub static INV: OpDef = library(
    "inv",
    &["strict"],
    1,
    square,
    by_width!(dense::inverse),
    Derivative::General(
        |cx, _, t| Some(-cx.out.mt().matmul_2d(t).matmul_2d(&cx.out.mt())),
        |cx, t| Some(-cx.out.matmul_2d(t[0].as_ref()?).matmul_2d(cx.out)),
    ),
    SAVE_OUT,
);

/// A number of each matrix times a matrix.
fn scaled<'e>(t: &Ex<'e>, m: &Ex<'e>) -> Ex<'e> {
    let mut shape = t.shape();
    shape.extend([1, 1]);
    t.reshape(&shape) * m
}
/// ⟨A, B⟩ of each matrix.
fn inner<'e>(a: &Ex<'e>, b: &Ex<'e>) -> Ex<'e> {
    let n = a.rank();
    (a * b).sum_keep(&[n - 2, n - 1]).reshape(&a.shape()[..n - 2])
}

/// d = det A;  dA = ct · cof A, the transposed adjugate, which is defined for singular matrices too
pub static DET: OpDef = library(
    "det",
    &[],
    1,
    numbers,
    by_width!(dense::determinant),
    Derivative::General(
        |cx, _, t| Some(scaled(t, &cx.args[0].op1(&COFACTOR))),
        |cx, t| Some(inner(&cx.args[0].op1(&COFACTOR), t[0].as_ref()?)),
    ),
    1,
);
/// cof A = ∂det/∂A, the matrix of cofactors. With A = U·S·Vᵀ it is det U·det V · U·diag(∏ of the other sᵢ)·Vᵀ: no division.
/// Its derivative is symmetric: dA is its slope along ct
pub static COFACTOR: OpDef = library(
    "cofactor",
    &[],
    1,
    square,
    by_width!(dense::cofactor),
    Derivative::General(
        |cx, _, t| Some(cx.args[0].op2(&COFACTOR_SLOPE, t)),
        |cx, t| Some(cx.args[0].op2(&COFACTOR_SLOPE, t[0].as_ref()?)),
    ),
    1,
);
/// The slope of cof A along C, linear and symmetric in C: in the basis of the singular vectors, on the diagonal Σ over j ≠ i
/// of c_jj, elsewhere −c_ji, each times the product of the other singular values.  Its derivative in A needs A⁻¹: of
/// singular matrices derivatives of the determinant end at the second order.
pub static COFACTOR_SLOPE: OpDef = library(
    "cofactor_slope",
    &[],
    2,
    two_squares,
    by_width!(dense::cofactor_slope),
    Derivative::General(
        |cx, i, t| {
            let (a, c) = (&cx.args[0], &cx.args[1]);
            Some(if i == 1 { a.op2(&COFACTOR_SLOPE, t) } else { third_slope(a, c, t) })
        },
        |cx, t| {
            let (a, c) = (&cx.args[0], &cx.args[1]);
            let from_a = t[0].as_ref().map(|ta| third_slope(a, c, ta));
            let from_c = t[1].as_ref().map(|tc| a.op2(&COFACTOR_SLOPE, tc));
            match (from_a, from_c) {
                (Some(x), Some(y)) => Some(x + y),
                (x, y) => x.or(y),
            }
        },
    ),
    3,
);
/// The gradient in A of D²det(A)[C, T] = d·(tr WC·tr WT − tr WCWT), with d = det A and W = A⁻¹; symmetric in C and T.
fn third_slope<'e>(a: &Ex<'e>, c: &Ex<'e>, t: &Ex<'e>) -> Ex<'e> {
    let (d, w) = (a.op1(&DET), inverse(a, false));
    let (wc, wt) = (w.matmul_2d(c), w.matmul_2d(t));
    let (trc, trt) = (inner(&w.mt(), c), inner(&w.mt(), t));
    let f = &trc * &trt - inner(&wc, &wt.mt());
    let both = wc.matmul_2d(&wt) + wt.matmul_2d(&wc);
    let m = scaled(&f, &w) + (both - scaled(&trt, &wc) - scaled(&trc, &wt)).matmul_2d(&w);
    scaled(&d, &m.mt())
}
fn inverse<'e>(a: &Ex<'e>, strict: bool) -> Ex<'e> {
    a.emit_op(Op::with(&INV, [Attr::Int(i64::from(strict))]))
}

/// y = ln|det A|, without overflow;  dA = ct · A⁻ᵀ, NaN where A is singular
pub static LOGABSDET: OpDef = library(
    "logabsdet",
    &[],
    1,
    numbers,
    by_width!(dense::log_determinant),
    Derivative::General(
        |cx, _, t| Some(scaled(t, &inverse(&cx.args[0], false).mt())),
        |cx, t| Some(inner(&inverse(&cx.args[0], false).mt(), t[0].as_ref()?)),
    ),
    1,
);

/// The lower triangle with half the diagonal: Φ, with X = Φ(X) + Φ(X)ᵀ for symmetric X.
fn phi<'e>(x: &Ex<'e>) -> Ex<'e> {
    let n = x.shape()[x.rank() - 1];
    let i = iota(x.e, DType::I64, n);
    let diagonal = i.reshape(&[n, 1]).eq(&i.reshape(&[1, n]));
    Ex::select(&diagonal, &(x * 0.5), &x.tril(0))
}
fn symmetric<'e>(x: &Ex<'e>) -> Ex<'e> {
    (x + x.mt()) * 0.5
}
fn lower_solve<'e>(l: &Ex<'e>, b: &Ex<'e>, transposed: bool) -> Ex<'e> {
    let op = Op::with(&SOLVE_TRIANGULAR, [Attr::Int(0), Attr::Int(0)]);
    triangular(&op, l, b, transposed)
}
/// L with L·Lᵀ = A, lower triangular, A being read as (A + Aᵀ)/2.  dL = L·Φ(L⁻¹·Ȧ·L⁻ᵀ);  dA = the symmetric part of
/// L⁻ᵀ·Φ(Lᵀ·ct)·L⁻¹
pub static CHOLESKY: OpDef = library(
    "cholesky",
    &[],
    1,
    square,
    by_width!(dense::cholesky),
    Derivative::General(
        |cx, _, t| {
            let l = cx.out;
            let p = phi(&l.mt().matmul_2d(&t.tril(0)));
            // L⁻ᵀ·P·L⁻¹: solved from the left, and from the right through the transpose
            let left = lower_solve(l, &p, true);
            Some(symmetric(&lower_solve(l, &left.mt(), true).mt()))
        },
        |cx, t| {
            let l = cx.out;
            let left = lower_solve(l, &symmetric(t[0].as_ref()?), false);
            Some(l.matmul_2d(&phi(&lower_solve(l, &left.mt(), false).mt())))
        },
    ),
    SAVE_OUT,
);

/// `[V | λ]` of a symmetric matrix, which is read as (A + Aᵀ)/2: eigenvectors as columns, then a column of the eigenvalues
/// in ascending order.  λ̇ᵢ = (VᵀȦV)ᵢᵢ, V̇ = V·(F∘VᵀȦV) with Fᵢⱼ = 1/(λⱼ − λᵢ), 0 where they are equal
pub static EIGH: OpDef = library(
    "eigh",
    &[],
    1,
    |op, a| {
        let mut ty = square(op, a)?;
        if let Some(columns) = ty.shape.last_mut() {
            *columns += 1;
        }
        Ty::new(ty.dtype, &ty.shape)
    },
    by_width!(dense::eigen),
    Derivative::General(
        |cx, _, t| {
            let ((v, l), (tv, tl)) = (parts(cx.out), parts(t));
            let mixed = gaps(&l) * v.mt().matmul_2d(&tv);
            let inside = on_diagonal(&tl) + mixed;
            Some(symmetric(&v.matmul_2d(&inside).matmul_2d(&v.mt())))
        },
        |cx, t| {
            let (v, l) = parts(cx.out);
            let m = v.mt().matmul_2d(&symmetric(t[0].as_ref()?)).matmul_2d(&v);
            let n = m.rank();
            let diagonal = on_diagonal(&m.lit(1.0).expand(&l.shape())) * &m;
            let columns = [v.matmul_2d(&(gaps(&l) * &m)), diagonal.sum_keep(&[n - 1])];
            Some(Ex::concat(&columns, n - 1))
        },
    ),
    SAVE_OUT,
);
/// V and λ, as a column.
fn parts<'e>(packed: &Ex<'e>) -> (Ex<'e>, Ex<'e>) {
    let (dim, n) = (packed.rank() - 1, packed.shape()[packed.rank() - 1] - 1);
    (packed.slice(dim, 0, n, 1), packed.slice(dim, n, 1, 1))
}
/// A column on the diagonal of a matrix of zeros.
fn on_diagonal<'e>(column: &Ex<'e>) -> Ex<'e> {
    let shape = column.shape();
    let n = shape[shape.len() - 2];
    let i = iota(column.e, DType::I64, n);
    let mut full = shape.clone();
    full[shape.len() - 1] = n;
    column.expand(&full).masked(&i.reshape(&[n, 1]).eq(&i.reshape(&[1, n])))
}
/// 1/(λⱼ − λᵢ), and 0 where they are equal.
fn gaps<'e>(l: &Ex<'e>) -> Ex<'e> {
    let d = l.mt() - l;
    let same = d.eq(&d.lit(0.0));
    Ex::select(&same, &d.lit(1.0), &d).recip().masked(&same.logical_not())
}

#[allow(missing_docs)] // documented on `Tensor`
impl<'e> Ex<'e> {
    pub fn inv(&self) -> Ex<'e> {
        inverse(self, true)
    }
    pub fn det(&self) -> Ex<'e> {
        self.op1(&DET)
    }
    pub fn logabsdet(&self) -> Ex<'e> {
        self.op1(&LOGABSDET)
    }
    pub fn cholesky(&self) -> Ex<'e> {
        self.op1(&CHOLESKY)
    }
    pub(crate) fn solve_square(&self, b: &Ex<'e>) -> Ex<'e> {
        self.op2(&SOLVE, b)
    }
    pub(crate) fn solve_part(&self, b: &Ex<'e>, upper: bool, unit: bool) -> Ex<'e> {
        apply(Op::with(&SOLVE_TRIANGULAR, [Attr::Int(i64::from(upper)), Attr::Int(i64::from(unit))]), &[self, b])
    }
    /// Eigenvectors as columns, and the eigenvalues as a column.
    pub fn eigh_parts(&self) -> (Ex<'e>, Ex<'e>) {
        let packed = self.op1(&EIGH);
        // a failed operation leaves a placeholder of the argument's type
        if packed.rank() < 2 || packed.shape()[packed.rank() - 1] == 0 {
            return (packed.clone(), packed);
        }
        parts(&packed)
    }
}
