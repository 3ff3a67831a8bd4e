//! Contractions. The matrix product is the library's (`gemm`, which reaches AVX-512); operands are read
//! through their strides, so transposes cost nothing.

use super::{
    Derivative, Eval, Lower, Op, OpDef, Operand,
    evaluate::{Nest, copied, fresh},
    infer,
};
use crate::{
    array::{Data, Float},
    error::{Error, Result},
    matmul::{Matrix, MatrixMut, matmul},
    tensor::pool,
    ty::{DType, Layout, Shape, Ty},
};

/// All operations of this family.
pub static ALL: &[&OpDef] = &[&MATMUL];

fn rule(op: &Op, a: &[&Ty]) -> Result<Ty> {
    let dtype = infer::same_dtype(op, a)?;
    infer::float(op, a[0])?;
    let (x, y) = (&a[0].shape, &a[1].shape);
    let n = x.len();
    if n < 2 || y.len() != n || x[..n - 2] != y[..n - 2] || x[n - 1] != y[n - 2] {
        let found = format!("{:?} and {:?}", x.as_slice(), y.as_slice());
        return Err(Error::shape(op.name(), "shapes [.., m, k] and [.., k, n]", found));
    }
    let mut shape: Shape = x.clone();
    shape[n - 1] = y[n - 1];
    Ty::new(dtype, &shape)
}

/// Whether the matrices of a layout can be read as they are: along rows or along columns.
fn readable(l: &Layout) -> bool {
    l.strides[l.strides.len() - 2..].contains(&1)
}

fn product<T: Float>(args: &[Operand<'_>], out: &Ty) -> Result<Data> {
    let n = out.rank();
    let copies = [0, 1].map(|i| (!readable(args[i].layout)).then(|| copied(args[i])));
    let layouts = [0, 1].map(|i| match copies[i] {
        Some(_) => Layout::contiguous(&args[i].layout.shape),
        None => args[i].layout.clone(),
    });
    let data = |i: usize| copies[i].as_ref().map_or(args[i].data, Data::slice).typed::<T>("matmul");
    let (a, b) = (data(0)?, data(1)?);
    let mut y = fresh(out.dtype, out.numel());
    if out.numel() == 0 {
        return Ok(y);
    }
    let c = T::slice_mut(&mut y).expect("of the result's type");
    let (rows, cols) = (out.shape[n - 2], out.shape[n - 1]);
    let matrix = |i: usize, data, at| {
        let l = &layouts[i];
        Matrix::window(data, at, [l.shape[n - 2], l.shape[n - 1]], [l.strides[n - 2], l.strides[n - 1]])
    };
    // the leading axes alone
    let batch = layouts.each_ref().map(|l| Layout {
        shape: l.shape[..n - 2].into(),
        strides: l.strides[..n - 2].into(),
        offset: l.offset,
    });
    let nest = Nest::new(&out.shape[..n - 2], batch.iter(), None);
    let inner = nest.axes[0];
    nest.outer(None, |first, at| {
        for j in 0..inner.n {
            let at = |i: usize| at[i].wrapping_add_signed(inner.args[i] * j as isize);
            let to = MatrixMut::rows(&mut c[(first + j) * rows * cols..], rows, cols);
            matmul(matrix(0, a, at(0)), matrix(1, b, at(1)), to);
        }
        Ok::<_, Error>(())
    })?;
    copies.into_iter().flatten().for_each(pool::give);
    Ok(y)
}

/// Y = A·B on the last two axes;  dA = ct·Bᵀ,  dB = Aᵀ·ct
pub static MATMUL: OpDef = OpDef {
    name: "matmul",
    attrs: &[],
    arity: 2,
    infer: rule,
    eval: Eval::Windows(|_, args, out| match out.dtype {
        DType::F32 => product::<f32>(args, out),
        _ => product::<f64>(args, out),
    }),
    derivative: Derivative::Multilinear(|cx, i, t| {
        Some(if i == 0 { t.matmul_2d(&cx.args[1].mt()) } else { cx.args[0].mt().matmul_2d(t) })
    }),
    saves: super::each(2, 1),
    lower: Lower::MatMul,
};
