//! Constructors of twins' arrays, and the names by which they are called: a body that says `Array1::zeros(n)` gets these.

use super::{Element, NdArray, Scalar, tensor};
use crate::{
    Error, Result, Tensor,
    array::Float,
    real::{Real, literal},
};
use ndarray::{Dimension, Ix0, Ix1, Ix2, Ix3, Ix4, Ix5, Ix6, IxDyn, ShapeBuilder, StrideShape};

/// An owned array of any rank.
pub type Array<R, D> = NdArray<R, D>;
/// A view of any rank.
pub type ArrayView<R, D> = NdArray<R, D>;
macro_rules! ranks {
    ($($array:ident $view:ident $d:ty;)*) => {$(
        #[allow(missing_docs)]
        pub type $array<R> = NdArray<R, $d>;
        #[allow(missing_docs)]
        pub type $view<R> = NdArray<R, $d>;
    )*};
}
ranks! {
    Array0 ArrayView0 Ix0; Array1 ArrayView1 Ix1; Array2 ArrayView2 Ix2; Array3 ArrayView3 Ix3; Array4 ArrayView4 Ix4;
    Array5 ArrayView5 Ix5; Array6 ArrayView6 Ix6; ArrayD ArrayViewD IxDyn;
}

impl<T: Float, D: Dimension> NdArray<Real<T>, D> {
    /// All elements the same.
    #[track_caller]
    pub fn from_elem<Sh: ShapeBuilder<Dim = D>>(shape: Sh, x: impl Into<Real<T>>) -> Self {
        let (x, dim): (Real<T>, D) = (x.into(), shape.into_shape_with_order().raw_dim().clone());
        NdArray::wrap(tensor(x).expand(dim.slice()))
    }
    /// All elements 0.
    #[track_caller]
    pub fn zeros<Sh: ShapeBuilder<Dim = D>>(shape: Sh) -> Self {
        Self::from_elem(shape, literal(T::zero()))
    }
    /// All elements 1.
    #[track_caller]
    pub fn ones<Sh: ShapeBuilder<Dim = D>>(shape: Sh) -> Self {
        Self::from_elem(shape, literal(T::one()))
    }
    /// Each element of its index.
    #[track_caller]
    pub fn from_shape_fn<Sh: ShapeBuilder<Dim = D>, X: Into<Real<T>>>(
        shape: Sh,
        mut f: impl FnMut(D::Pattern) -> X,
    ) -> Self {
        let dim = shape.into_shape_with_order().raw_dim().clone();
        let each = ndarray::indices(dim.clone()).into_iter().map(|at| f(at).into()).collect();
        NdArray::of_elements(each, dim)
    }
    /// These elements in this shape.
    ///
    /// # Errors
    /// If there are not as many.
    pub fn from_shape_vec<X: Into<Real<T>>>(shape: impl Into<StrideShape<D>>, all: Vec<X>) -> Result<Self> {
        let shape: StrideShape<D> = shape.into();
        let dim = shape.raw_dim().clone();
        if dim.size() != all.len() {
            let found = format!("{} for the shape {:?}", all.len(), dim.slice());
            return Err(Error::shape("from_shape_vec", "as many elements as the shape has", found));
        }
        Ok(NdArray::of_elements(all.into_iter().map(Into::into).collect(), dim))
    }
}
impl<T: Float> NdArray<Real<T>, Ix1> {
    /// These elements.
    pub fn from_vec<X: Into<Real<T>>>(all: Vec<X>) -> Self {
        Self::from_iter(all)
    }
    /// These elements.
    #[allow(clippy::should_implement_trait)] // the trait is implemented for its items alone
    pub fn from_iter<X: Into<Real<T>>>(all: impl IntoIterator<Item = X>) -> Self {
        let each: Vec<Real<T>> = all.into_iter().map(Into::into).collect();
        let n = each.len();
        NdArray::of_elements(each, ndarray::Dim(n))
    }
    /// `n` evenly spaced numbers from `a` to `b`, both included.
    pub fn linspace(a: T, b: T, n: usize) -> Self {
        NdArray::wrap(Tensor::linspace(a, b, n))
    }
    /// The numbers from `a` by `step` that are below `b`.
    pub fn range(a: T, b: T, step: T) -> Self {
        Self::from(&ndarray::Array1::range(a, b, step))
    }
}
impl<T: Float> NdArray<Real<T>, Ix2> {
    /// The identity.
    pub fn eye(n: usize) -> Self {
        Self::from(&ndarray::Array2::eye(n))
    }
    /// The matrix with this diagonal, zeros elsewhere.
    #[track_caller]
    pub fn from_diag(diagonal: &NdArray<Real<T>, Ix1>) -> Self {
        NdArray::wrap(diagonal.whole().diag(0))
    }
}
impl<T: Float, X: Into<Real<T>>> From<Vec<X>> for NdArray<Real<T>, Ix1> {
    fn from(all: Vec<X>) -> Self {
        Self::from_iter(all)
    }
}
impl<T: Float, X: Into<Real<T>>> FromIterator<X> for NdArray<Real<T>, Ix1> {
    fn from_iter<I: IntoIterator<Item = X>>(all: I) -> Self {
        NdArray::<Real<T>, Ix1>::from_iter(all)
    }
}

/// Nested arrays of elements.
pub trait Nested {
    /// The element.
    type Scalar: Scalar;
    /// One more axis than the items have.
    type Dim: Dimension;
    #[doc(hidden)]
    fn nested(self, shape: &mut Vec<usize>, all: &mut Vec<Self::Scalar>);
}
macro_rules! nested {
    ($([$($g:tt)*] $t:ty, $d:ty, |$i:ident, $shape:ident, $all:ident| $item:expr;)*) => {$(
        impl<X: Element, $($g)*> Nested for $t {
            type Scalar = X::Scalar;
            type Dim = $d;
            fn nested(self, $shape: &mut Vec<usize>, $all: &mut Vec<X::Scalar>) {
                let at = $shape.len();
                $shape.push(self.len());
                for $i in self {
                    $shape.truncate(at + 1);
                    $item
                }
            }
        }
    )*};
}
nested! {
    [const N: usize] [X; N], Ix1, |x, _shape, all| all.push(x.scalar());
    [const N: usize, const M: usize] [[X; M]; N], Ix2, |x, shape, all| x.nested(shape, all);
    [const N: usize, const M: usize, const K: usize] [[[X; K]; M]; N], Ix3, |x, shape, all| x.nested(shape, all);
}
/// What `array![..]` and the like are in a twin.
pub fn array<T: Float, A: Nested<Scalar = Real<T>>>(nested: A) -> NdArray<Real<T>, A::Dim> {
    let (mut shape, mut all) = (Vec::new(), Vec::new());
    nested.nested(&mut shape, &mut all);
    let rank = <A::Dim as Dimension>::NDIM.unwrap_or(0);
    shape.resize(rank, 0);
    NdArray::of_elements(all, super::dimension(&shape))
}
/// An array without axes.
pub fn arr0<T: Float>(x: impl Into<Real<T>>) -> NdArray<Real<T>, Ix0> {
    NdArray::of_elements(vec![x.into()], ndarray::Ix0())
}
/// A vector.
pub fn arr1<T: Float, X: Copy + Into<Real<T>>>(all: &[X]) -> NdArray<Real<T>, Ix1> {
    NdArray::<Real<T>, Ix1>::from_iter(all.iter().copied())
}
/// A matrix.
pub fn arr2<T: Float, X: Copy + Into<Real<T>>, const N: usize>(rows: &[[X; N]]) -> NdArray<Real<T>, Ix2> {
    NdArray::of_elements(rows.iter().flatten().map(|&x| x.into()).collect(), ndarray::Dim([rows.len(), N]))
}
