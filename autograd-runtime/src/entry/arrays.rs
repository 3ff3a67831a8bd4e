//! ndarray's arrays as parameters, results and values of twins. `&Array2<f64>` becomes `&Array<Real<f64>, Ix2>`, which is a
//! tensor of the trace under ndarray's names: what a body does with whole arrays stays whole.
//!
//! * this file: the array, and how it is taken apart and put together;
//! * `create`: constructors; `axes`: shapes, parts and elements; `ops`: operators, products, reductions;
//! * `each`: functions of scalars over all elements.

mod axes;
mod create;
mod each;
mod ops;

pub use create::{
    Array, Array0, Array1, Array2, Array3, Array4, Array5, Array6, ArrayD, Nested, arr0, arr1, arr2, array,
};
pub use create::{
    ArrayView, ArrayView0, ArrayView1, ArrayView2, ArrayView3, ArrayView4, ArrayView5, ArrayView6, ArrayViewD,
};
pub use each::Element;
pub use ops::Dot;

use super::{
    args::{Arg, Binder, GradReader, Lifter, Visitor},
    blocks::shaped,
    rolled::{AsList, AsTable, Int, List, Read, Table, known},
    twins::{AsTwin, IntoTwin, Leaf, LeafReader, Leaves, Out, OutReader, Outcome, Slot, Twinned},
};
use crate::{Error, Result, Tensor, array::Float, real::Real};
use ndarray::{ArrayBase, ArrayRef, Data, Dimension, Ix1, Ix2, IxDyn, OwnedRepr};
use std::cell::OnceCell;

/// A traced scalar, as the element of an array.
pub trait Scalar: Copy + 'static {
    /// The float it stands for.
    type Float: Float;
}
impl<T: Float> Scalar for Real<T> {
    type Float = T;
}

/// An array of a twin, owned or a view: both are cheap to copy.
pub struct NdArray<R: Scalar, D> {
    repr: Repr<R>,
    dim: D,
    /// Elements of a tensor that have been asked for, one by one.
    read: Elements<R>,
    /// What an index out of range gives, which the entry point fails for.
    blank: OnceCell<R>,
}
/// One place for each element, for each session that asks.
type Elements<R> = OnceCell<Box<Read<OnceCell<R>>>>;

#[derive(Clone)]
enum Repr<R: Scalar> {
    Whole(Tensor<R::Float>),
    /// Elements of their own, as after a write by index.
    Each(Vec<R>),
}

impl<R: Scalar, D: Clone> Clone for NdArray<R, D> {
    fn clone(&self) -> Self {
        NdArray { repr: self.repr.clone(), dim: self.dim.clone(), read: OnceCell::new(), blank: OnceCell::new() }
    }
}

/// The shape as a dimension; of a failed operation's result, whose rank is another, one without elements.
pub(super) fn dimension<D: Dimension>(shape: &[usize]) -> D {
    D::from_dimension(&IxDyn(shape)).unwrap_or_default()
}
/// A traced number as a tensor without axes, for an operation with whole arrays.
fn tensor<T: Float>(x: Real<T>) -> Tensor<T> {
    Tensor::from_value(x.single())
}
/// The number that a tensor without axes holds.
fn real<T: Float>(t: &Tensor<T>) -> Real<T> {
    Real::from_value(t.value().clone())
}
/// An axis, index or extent as operations on tensors take it.
fn signed(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
pub(super) fn extents(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|&n| signed(n)).collect()
}

impl<T: Float, D: Dimension> NdArray<Real<T>, D> {
    pub(super) fn wrap(t: Tensor<T>) -> Self {
        NdArray { dim: dimension(t.shape()), repr: Repr::Whole(t), read: OnceCell::new(), blank: OnceCell::new() }
    }
    pub(super) fn of_elements(each: Vec<Real<T>>, dim: D) -> Self {
        NdArray { repr: Repr::Each(each), dim, read: OnceCell::new(), blank: OnceCell::new() }
    }
    /// The array as one value.
    #[track_caller]
    pub(super) fn whole(&self) -> Tensor<T> {
        match &self.repr {
            Repr::Whole(t) => t.clone(),
            Repr::Each(each) if each.is_empty() => Tensor::full(self.dim.slice(), T::zero()),
            Repr::Each(each) => {
                let each: Vec<Tensor<T>> = each.iter().copied().map(tensor).collect();
                Tensor::stack(&each.iter().collect::<Vec<_>>(), 0).reshape(&extents(self.dim.slice()))
            }
        }
    }
    /// The element at a place in logical order.
    #[track_caller]
    fn element(&self, at: usize) -> &Real<T> {
        match &self.repr {
            Repr::Each(each) => &each[at],
            Repr::Whole(t) => Read::of(&self.read, || vec![OnceCell::new(); t.numel()])[at]
                .get_or_init(|| real(&t.reshape(&[-1]).select(0, signed(at)))),
        }
    }
    /// Reports an index out of range.
    #[track_caller]
    fn beyond(&self, index: &str) {
        let want = format!("an index within {:?}", self.dim.slice());
        crate::tensor_report(Error::shape("index", want, index.to_owned()).at(crate::error::Place::caller()));
    }
    /// The elements as values of their own from now on.
    #[track_caller]
    fn each_mut(&mut self) -> &mut [Real<T>] {
        if let Repr::Whole(t) = &self.repr {
            let each = (0..t.numel()).map(|at| *self.element(at)).collect();
            (self.repr, self.read) = (Repr::Each(each), OnceCell::new());
        }
        match &mut self.repr {
            Repr::Each(each) => each,
            Repr::Whole(_) => unreachable!("its elements are its own now"),
        }
    }
}

fn tensor_of<T: Float, D: Dimension>(a: &ArrayRef<T, D>) -> Tensor<T> {
    let mut data = crate::tensor::pool::take(T::DTYPE, a.len());
    if let Some(to) = T::slice_mut(&mut data) {
        match a.as_slice() {
            Some(from) => to.copy_from_slice(from),
            None => to.iter_mut().zip(a).for_each(|(to, from)| *to = *from),
        }
    }
    let ty = crate::ty::Ty { dtype: T::DTYPE, shape: crate::ty::Shape::from_slice(a.shape()) };
    Tensor::from_value(crate::tensor::Value::from_data(ty, data))
}
/// The elements as an array of this rank.
fn array_of<T: Float, D: Dimension>(t: &Tensor<T>) -> ndarray::Array<T, D> {
    shaped(t.to_vec(), t.shape())
}

macro_rules! arguments {
    ($([$($g:tt)*] $t:ty;)*) => {$(
        impl<$($g)*> Arg for $t {
            type Twin = NdArray<Real<T>, D>;
            type Grad = ndarray::Array<T, D>;
            type GradBuf = ndarray::Array<T, D>;
            fn visit(&self, v: &mut Visitor<'_>) {
                tensor_of(self).visit(v);
            }
            fn lift(&self, l: &mut Lifter<'_>) -> Self::Twin {
                NdArray::wrap(Tensor::from_value(l.next()))
            }
            fn collect(&self, g: &mut GradReader<'_>) -> Self::Grad {
                array_of(&g.tensor())
            }
            fn bind(out: &mut Self::GradBuf, b: &mut Binder<'_>) {
                if let Some(t) = b.copied() {
                    out.assign(&array_of::<T, D>(&t));
                }
            }
            fn fits(&self, out: &Self::GradBuf) -> bool {
                self.shape() == out.shape()
            }
        }
    )*};
}
arguments! {
    [S: Data<Elem = T>, T: Float, D: Dimension + 'static] ArrayBase<S, D>;
    [T: Float, D: Dimension + 'static] ArrayRef<T, D>;
}

impl<T: Float, D: Dimension + 'static> Out for ArrayBase<OwnedRepr<T>, D> {
    type Value = ndarray::Array<T, D>;
    type Ct<'c> = &'c ndarray::Array<T, D>;
    fn read(r: &mut OutReader<'_>) -> Self::Value {
        array_of(&r.tensor())
    }
}
impl<T: Float, D: Dimension> Twinned for NdArray<Real<T>, D> {
    fn leaves(&self, out: &mut Leaves) {
        out.tensor(self.whole().value().clone());
    }
    fn from_leaves(&self, next: &mut LeafReader<'_>) -> Self {
        let leaf = next.next().expect("as many leaves as were reported");
        match leaf {
            Leaf::Tensor(v) | Leaf::Real(v) | Leaf::List(v) => NdArray::wrap(Tensor::from_value(v)),
        }
    }
}
impl<T: Float, D: Dimension> Outcome for NdArray<Real<T>, D> {
    type Value = Self;
    fn outcome(self) -> Result<Self> {
        Ok(self)
    }
}
impl<A: Arg<Twin = NdArray<Real<T>, D>>, T: Float, D: Dimension> IntoTwin<A> for NdArray<Real<T>, D> {
    fn into_twin(self) -> Self {
        self
    }
}
impl<A: Arg<Twin = Self> + ?Sized, T: Float, D: Dimension> AsTwin<A> for NdArray<Real<T>, D> {
    fn as_twin<'s>(&'s self, _: &'s Slot) -> &'s Self {
        self
    }
}
/// A plain array that a body has, as of a helper function.
impl<S: Data<Elem = T>, T: Float, D: Dimension + 'static> From<&ArrayBase<S, D>> for NdArray<Real<T>, D> {
    fn from(a: &ArrayBase<S, D>) -> Self {
        NdArray::wrap(tensor_of(a))
    }
}

/// Where a function reads the elements of its parameter.
impl<T: Float> AsList<T> for NdArray<Real<T>, Ix1> {
    fn as_list<'s>(&'s self, slot: &'s Slot) -> &'s List<T> {
        slot.keep(|| List::of(self.iter()))
    }
}
impl<T: Float> AsTable<Vec<Real<T>>> for NdArray<Real<T>, Ix2> {
    fn as_table<'s>(&'s self, slot: &'s Slot) -> &'s Table<Vec<Real<T>>> {
        slot.keep(|| {
            let (rows, cols) = (Int::number(self.nrows()), Int::number(self.ncols()));
            Table::of_list(List::of(self.iter()), rows, cols)
        })
    }
}
impl<T: Float> List<T> {
    /// The vector of its elements.
    pub fn to_array(&self) -> NdArray<Real<T>, Ix1> {
        self.iter().copied().collect()
    }
}
impl<T: Float> Table<Vec<Real<T>>> {
    /// The matrix of its elements.
    pub fn to_array(&self) -> NdArray<Real<T>, Ix2> {
        let dim = ndarray::Dim([known(self.len()), known(self.cols())]);
        NdArray::of_elements(self.iter().flatten().copied().collect(), dim)
    }
}
