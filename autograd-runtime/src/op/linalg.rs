//! Contractions. The matrix product is the library's (`gemm`, which reaches AVX-512); operands are read
//! through their strides, so transposes cost nothing.

use super::{Derivative, Eval, Lower, Op, OpDef, infer};
use crate::{
    array::{Array, Float, View},
    error::{Error, Result},
    matmul::{Matrix, MatrixMut, matmul},
    ty::{DType, Shape, Ty},
};
use ndarray::{ArrayD, Axis, IxDyn};

/// All operations of this family.
pub static ALL: &[&OpDef] = &[&MATMUL];

fn rule(op: &Op, a: &[&Ty]) -> Result<Ty> {
    let dtype = infer::same_dtype(op, a)?;
    infer::float(op, a[0])?;
    let (x, y) = (&a[0].shape, &a[1].shape);
    let (n, found) = (x.len(), format!("{:?} and {:?}", x.as_slice(), y.as_slice()));
    if n < 2 || y.len() != n || x[..n - 2] != y[..n - 2] || x[n - 1] != y[n - 2] {
        return Err(Error::shape(op.name(), "shapes [.., m, k] and [.., k, n]", found));
    }
    let mut shape: Shape = x.clone();
    shape[n - 1] = y[n - 1];
    Ty::new(dtype, &shape)
}

fn product<T: Float>(args: &[View<'_>], out: &Ty) -> Result<ArrayD<T>> {
    let (a, b) = (args[0].typed::<T>("matmul")?, args[1].typed::<T>("matmul")?);
    let n = out.rank();
    let (m, k, p) = (out.shape[n - 2], a.shape()[n - 1], out.shape[n - 1]);
    let batch: usize = out.shape[..n - 2].iter().product();
    let flat = |x: &ndarray::ArrayViewD<'_, T>, r: usize, c: usize| {
        x.to_shape(IxDyn(&[batch, r, c])).expect("leading axes merge after a copy").into_owned()
    };
    let mut y = vec![T::zero(); out.numel()];
    let (a, b) = (flat(&a, m, k), flat(&b, k, p));
    for (i, c) in y.chunks_exact_mut((m * p).max(1)).enumerate().take(batch) {
        let (a, b) = (a.index_axis(Axis(0), i), b.index_axis(Axis(0), i));
        matmul(Matrix::of(&a), Matrix::of(&b), MatrixMut::rows(c, m, p));
    }
    Ok(ArrayD::from_shape_vec(IxDyn(&out.shape), y).expect("as many elements"))
}

/// Y = A·B on the last two axes;  dA = ct·Bᵀ,  dB = Aᵀ·ct
pub static MATMUL: OpDef = OpDef {
    name: "matmul",
    attrs: &[],
    arity: 2,
    infer: rule,
    eval: Eval::Views(|_, args, out| {
        Ok(match out.dtype {
            DType::F32 => Array::F32(product(args, out)?),
            _ => Array::F64(product(args, out)?),
        })
    }),
    derivative: Derivative::Multilinear(|cx, i, t| {
        Some(if i == 0 { t.matmul_2d(&cx.args[1].mt()) } else { cx.args[0].mt().matmul_2d(t) })
    }),
    saves: 3,
    lower: Lower::MatMul,
};
