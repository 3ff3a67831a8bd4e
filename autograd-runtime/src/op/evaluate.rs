//! Operations on stored elements: an operation and strided windows become the elements of its result.
//! This is what the dynamic engine calls; the interpreter and the passes reach the same functions through
//! [`Op::eval`].
//!
//! * `nest`: windows over one shape as a nest of loops, split among threads;
//! * `pointwise`: the loops over slices that pointwise operations are declared as, and their driver;
//! * `reduce`: folds over axes;
//! * `copy`: windows copied, gathered into buffers and written back.
//!
//! Invariant: what is computed for an element depends on the shapes alone, not on strides, blocks or threads.

mod copy;
mod nest;
pub(crate) mod pointwise;
pub(crate) mod reduce;

pub(crate) use copy::{copied, copy_window, elements};
pub(crate) use nest::Nest;

use super::{Attr, Eval, Op, compare};
use crate::{
    array::{Array, Data, Slice, View},
    error::{Error, Result},
    tensor::pool,
    ty::{DType, Layout, Ty},
};
use smallvec::SmallVec;

/// A strided window on elements: an argument.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// The store.
    pub data: Slice<'a>,
    /// The window, which lies inside.
    pub layout: &'a Layout,
}

impl<'a> Operand<'a> {
    /// A window on a store.
    pub fn new(data: &'a Data, layout: &'a Layout) -> Operand<'a> {
        Operand { data: data.slice(), layout }
    }
    /// The element type.
    pub fn dtype(&self) -> DType {
        self.data.dtype()
    }
    /// The elements, if they are all there in row-major order.
    pub(crate) fn dense(&self) -> Option<Slice<'a>> {
        let n = || self.layout.shape.iter().product();
        self.layout.is_contiguous().then(|| self.data.part(self.layout.offset, n()))
    }
}

/// The elements of the result, row-major. `ty` is the type that [`Op::infer`] gave.
///
/// # Errors
/// What the operation finds wrong with the values.
pub fn evaluate(op: &Op, args: &[Operand<'_>], ty: &Ty) -> Result<Data> {
    match op.def.eval {
        Eval::Pointwise(kernel) => {
            let mut out = fresh(ty.dtype, ty.numel());
            pointwise::run(op, kernel, args, &ty.shape, out.slice_mut(), None)?;
            Ok(out)
        }
        Eval::Windows(f) => f(op, args, ty),
        Eval::Views(f) => {
            let views: SmallVec<[View<'_>; 3]> = args.iter().map(|a| a.data.view(a.layout)).collect();
            f(op, &views, ty).map(Array::into_data)
        }
    }
}

/// As [`evaluate`], into a window of a store that no argument is in.
///
/// # Errors
/// As [`evaluate`]; [`Error::Shape`] or [`Error::DType`] if the window is not of the result's type.
pub fn evaluate_into(op: &Op, args: &[Operand<'_>], ty: &Ty, out: &mut Data, out_layout: &Layout) -> Result<()> {
    if out.dtype() != ty.dtype {
        return Err(Error::dtype(op.name(), ty.dtype.name(), out.dtype()));
    }
    if out_layout.shape != ty.shape {
        let found = format!("{:?}", out_layout.shape.as_slice());
        return Err(Error::shape(op.name(), format!("a place of type {ty}"), found));
    }
    match op.def.eval {
        Eval::Pointwise(kernel) => pointwise::run(op, kernel, args, &ty.shape, out.slice_mut(), Some(out_layout)),
        _ => {
            let y = evaluate(op, args, ty)?;
            copy_window(y.slice(), &Layout::contiguous(&ty.shape), out.slice_mut(), out_layout);
            Ok(())
        }
    }
}

/// Copies a window, broadcast to the shape of the other, into a window of a store that it is not in;
/// elements of another type are converted as [`compare::CAST`] does.
///
/// # Errors
/// [`Error::Shape`] if the shape does not broadcast to that of `out_layout`.
pub fn copy_into(src: Operand<'_>, out: &mut Data, out_layout: &Layout) -> Result<()> {
    let (from, to) = (&src.layout.shape, &out_layout.shape);
    if from != to && crate::ty::broadcast(from, to).as_ref() != Some(to) {
        let want = format!("a shape that broadcasts to {:?}", to.as_slice());
        return Err(Error::shape("copy", want, format!("{:?}", from.as_slice())));
    }
    if src.dtype() == out.dtype() {
        copy_window(src.data, src.layout, out.slice_mut(), out_layout);
        return Ok(());
    }
    let cast = Op::with(&compare::CAST, [Attr::DType(out.dtype())]);
    let ty = Ty { dtype: out.dtype(), shape: to.clone() };
    evaluate_into(&cast, &[src], &ty, out, out_layout)
}

/// A store whose elements do not matter.
#[inline]
pub(crate) fn fresh(dtype: DType, n: usize) -> Data {
    /// Up to this many elements are cheaper set to zero here than by the system's allocator.
    const TINY: usize = 64;
    fn tiny<T: Copy>(zero: T, n: usize) -> Vec<T> {
        let mut v = Vec::with_capacity(n);
        v.resize(n, zero);
        v
    }
    if n > TINY {
        return pool::take(dtype, n);
    }
    match dtype {
        DType::F32 => Data::F32(tiny(0.0, n)),
        DType::F64 => Data::F64(tiny(0.0, n)),
        DType::I64 => Data::I64(tiny(0, n)),
        DType::Bool => Data::Bool(tiny(false, n)),
    }
}

impl Op {
    /// The result on ndarray views: what the interpreter, constant folding and library steps call.
    ///
    /// # Errors
    /// As [`evaluate`].
    pub fn eval(&self, args: &[View<'_>], ty: &Ty) -> Result<Array> {
        if let Eval::Views(f) = self.def.eval {
            return f(self, args, ty);
        }
        let dense = |a: &View<'_>| if a.as_slice().is_some() { None } else { Some(a.to_array()) };
        let copies: SmallVec<[Option<Array>; 3]> = args.iter().map(dense).collect();
        let layouts: SmallVec<[Layout; 3]> = args.iter().map(|a| Layout::contiguous(a.shape())).collect();
        let views: SmallVec<[View<'_>; 3]> =
            args.iter().zip(&copies).map(|(a, c)| c.as_ref().map_or_else(|| a.view(), Array::view)).collect();
        let operands: SmallVec<[Operand<'_>; 3]> = views
            .iter()
            .zip(&layouts)
            .map(|(v, layout)| Operand { data: v.as_slice().expect("row-major"), layout })
            .collect();
        evaluate(self, &operands, ty).map(|y| Array::from_data(y, &ty.shape))
    }
}
