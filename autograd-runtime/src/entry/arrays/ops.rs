//! Operators between arrays and with scalars, inner products, reductions.

use super::{NdArray, real, signed, tensor};
use crate::{Tensor, array::Float, real::Real};
use ndarray::{Axis, DimMax, Dimension, Ix1, Ix2, RemoveAxis};
use std::ops;

impl<T: Float, D: Dimension> NdArray<Real<T>, D> {
    /// Both repeated to their common shape, and the operation on them.
    #[track_caller]
    fn zipped<E: Dimension>(
        &self,
        o: &NdArray<Real<T>, E>,
        f: impl Fn(&Tensor<T>, &Tensor<T>) -> Tensor<T>,
    ) -> NdArray<Real<T>, <D as DimMax<E>>::Output>
    where
        D: DimMax<E>,
    {
        NdArray::wrap(f(&self.whole(), &o.whole()))
    }
    /// The other one in this one's shape, and the operation: what an assigning operator does.
    #[track_caller]
    fn assigned<E: Dimension>(&mut self, o: &NdArray<Real<T>, E>, f: impl Fn(&Tensor<T>, &Tensor<T>) -> Tensor<T>) {
        let other = o.whole().expand(self.dim.slice());
        *self = NdArray::wrap(f(&self.whole(), &other));
    }
}

macro_rules! operators {
    ($($trait:ident $fn:ident $assign:ident $fn_assign:ident |$a:ident, $b:ident| $op:expr;)*) => {$(
        operators!(@arrays $trait $fn, |$a, $b| $op, NdArray<Real<T>, D>, NdArray<Real<T>, E>, |x| &x, |y| &y);
        operators!(@arrays $trait $fn, |$a, $b| $op, NdArray<Real<T>, D>, &NdArray<Real<T>, E>, |x| &x, |y| y);
        operators!(@arrays $trait $fn, |$a, $b| $op, &NdArray<Real<T>, D>, NdArray<Real<T>, E>, |x| x, |y| &y);
        operators!(@arrays $trait $fn, |$a, $b| $op, &NdArray<Real<T>, D>, &NdArray<Real<T>, E>, |x| x, |y| y);
        operators!(@scalar $trait $fn, |$a, $b| $op, [T: Float, D: Dimension] NdArray<Real<T>, D>, Real<T>, |y| y);
        operators!(@scalar $trait $fn, |$a, $b| $op, [T: Float, D: Dimension] &NdArray<Real<T>, D>, Real<T>, |y| y);
        operators!(@scalar $trait $fn, |$a, $b| $op, [T: Float, D: Dimension] NdArray<Real<T>, D>, T, |y| Real::from(y));
        operators!(@scalar $trait $fn, |$a, $b| $op, [T: Float, D: Dimension] &NdArray<Real<T>, D>, T, |y| Real::from(y));
        operators!(@left $trait $fn, |$a, $b| $op; f32, f64);
        impl<T: Float, D: Dimension, E: Dimension> ops::$assign<&NdArray<Real<T>, E>> for NdArray<Real<T>, D> {
            #[track_caller]
            fn $fn_assign(&mut self, o: &NdArray<Real<T>, E>) { self.assigned(o, |$a, $b| $op); }
        }
        impl<T: Float, D: Dimension, E: Dimension> ops::$assign<NdArray<Real<T>, E>> for NdArray<Real<T>, D> {
            #[track_caller]
            fn $fn_assign(&mut self, o: NdArray<Real<T>, E>) { self.assigned(&o, |$a, $b| $op); }
        }
        impl<T: Float, D: Dimension> ops::$assign<Real<T>> for NdArray<Real<T>, D> {
            #[track_caller]
            fn $fn_assign(&mut self, o: Real<T>) { *self = ops::$trait::$fn(&*self, o); }
        }
        impl<T: Float, D: Dimension> ops::$assign<T> for NdArray<Real<T>, D> {
            #[track_caller]
            fn $fn_assign(&mut self, o: T) { *self = ops::$trait::$fn(&*self, o); }
        }
    )*};
    (@arrays $trait:ident $fn:ident, |$a:ident, $b:ident| $op:expr, $l:ty, $r:ty, |$x:ident| $left:expr, |$y:ident| $right:expr) => {
        impl<T: Float, D: Dimension + DimMax<E>, E: Dimension> ops::$trait<$r> for $l {
            type Output = NdArray<Real<T>, <D as DimMax<E>>::Output>;
            #[track_caller]
            fn $fn(self, o: $r) -> Self::Output {
                let ($x, $y) = (self, o);
                NdArray::zipped($left, $right, |$a, $b| $op)
            }
        }
    };
    (@scalar $trait:ident $fn:ident, |$a:ident, $b:ident| $op:expr, [$($g:tt)*] $l:ty, $r:ty, |$y:ident| $right:expr) => {
        impl<$($g)*> ops::$trait<$r> for $l {
            type Output = NdArray<Real<T>, D>;
            #[track_caller]
            fn $fn(self, $y: $r) -> Self::Output {
                let ($a, $b) = (&self.whole(), &tensor($right));
                NdArray::wrap($op)
            }
        }
    };
    (@left $trait:ident $fn:ident, |$a:ident, $b:ident| $op:expr; $($f:ty),*) => {$(
        operators!(@left_scalar $trait $fn, |$a, $b| $op, $f, $f, NdArray<Real<$f>, D>);
        operators!(@left_scalar $trait $fn, |$a, $b| $op, $f, $f, &NdArray<Real<$f>, D>);
        operators!(@left_scalar $trait $fn, |$a, $b| $op, $f, Real<$f>, NdArray<Real<$f>, D>);
        operators!(@left_scalar $trait $fn, |$a, $b| $op, $f, Real<$f>, &NdArray<Real<$f>, D>);
    )*};
    (@left_scalar $trait:ident $fn:ident, |$a:ident, $b:ident| $op:expr, $f:ty, $l:ty, $r:ty) => {
        impl<D: Dimension> ops::$trait<$r> for $l {
            type Output = NdArray<Real<$f>, D>;
            #[track_caller]
            fn $fn(self, o: $r) -> Self::Output {
                let ($a, $b) = (&tensor(Real::<$f>::from(self)), &o.whole());
                NdArray::wrap($op)
            }
        }
    };
}
operators! {
    Add add AddAssign add_assign |a, b| a + b;
    Sub sub SubAssign sub_assign |a, b| a - b;
    Mul mul MulAssign mul_assign |a, b| a * b;
    Div div DivAssign div_assign |a, b| a / b;
    Rem rem RemAssign rem_assign |a, b| a.rem(b);
}
impl<T: Float, D: Dimension> ops::Neg for NdArray<Real<T>, D> {
    type Output = Self;
    #[track_caller]
    fn neg(self) -> Self {
        NdArray::wrap(-self.whole())
    }
}
impl<T: Float, D: Dimension> ops::Neg for &NdArray<Real<T>, D> {
    type Output = NdArray<Real<T>, D>;
    #[track_caller]
    fn neg(self) -> Self::Output {
        NdArray::wrap(-self.whole())
    }
}

/// What an inner product gives.
pub trait Dot<Rhs> {
    /// A number, a vector or a matrix.
    type Output;
    /// The product.
    fn inner(&self, o: &Rhs) -> Self::Output;
}
macro_rules! products {
    ($($l:ty, $r:ty => $out:ty, |$t:ident| $wrap:expr;)*) => {$(
        impl<T: Float> Dot<NdArray<Real<T>, $r>> for NdArray<Real<T>, $l> {
            type Output = $out;
            #[track_caller]
            fn inner(&self, o: &NdArray<Real<T>, $r>) -> $out {
                let $t = self.whole().matmul(&o.whole());
                $wrap
            }
        }
    )*};
}
products! {
    Ix1, Ix1 => Real<T>, |t| real(&t);
    Ix1, Ix2 => NdArray<Real<T>, Ix1>, |t| NdArray::wrap(t);
    Ix2, Ix1 => NdArray<Real<T>, Ix1>, |t| NdArray::wrap(t);
    Ix2, Ix2 => NdArray<Real<T>, Ix2>, |t| NdArray::wrap(t);
}

#[allow(missing_docs)] // each is ndarray's method of the same name
impl<T: Float, D: Dimension> NdArray<Real<T>, D> {
    #[track_caller]
    pub fn dot<R>(&self, o: &R) -> <Self as Dot<R>>::Output
    where
        Self: Dot<R>,
    {
        self.inner(o)
    }
    /// `self += alpha * o`
    #[track_caller]
    pub fn scaled_add<E: Dimension>(&mut self, alpha: impl Into<Real<T>>, o: &NdArray<Real<T>, E>) {
        let alpha = tensor(alpha.into());
        self.assigned(o, |a, b| a + &alpha * b);
    }
    #[track_caller]
    pub fn sum(&self) -> Real<T> {
        real(&self.whole().sum())
    }
    #[track_caller]
    pub fn product(&self) -> Real<T> {
        real(&self.whole().prod())
    }
    #[track_caller]
    pub fn mean(&self) -> Option<Real<T>> {
        (!self.is_empty()).then(|| real(&self.whole().mean()))
    }
    #[track_caller]
    pub fn var(&self, ddof: impl Into<f64>) -> Real<T> {
        let t = self.whole();
        let all = t.reshape(&[-1]);
        real(&all.var_dim(&[0], ddof.into(), false))
    }
    #[track_caller]
    pub fn std(&self, ddof: impl Into<f64>) -> Real<T> {
        self.var(ddof).sqrt()
    }
}
#[allow(missing_docs)] // each is ndarray's method of the same name
impl<T: Float, D: RemoveAxis> NdArray<Real<T>, D> {
    #[track_caller]
    pub fn sum_axis(&self, axis: Axis) -> NdArray<Real<T>, D::Smaller> {
        NdArray::wrap(self.whole().sum_dim(&[signed(axis.index())], false))
    }
    #[track_caller]
    pub fn mean_axis(&self, axis: Axis) -> Option<NdArray<Real<T>, D::Smaller>> {
        let some = self.shape().get(axis.index()) != Some(&0);
        some.then(|| NdArray::wrap(self.whole().mean_dim(&[signed(axis.index())], false)))
    }
    #[track_caller]
    pub fn product_axis(&self, axis: Axis) -> NdArray<Real<T>, D::Smaller> {
        NdArray::wrap(self.whole().prod_dim(signed(axis.index()), false))
    }
    #[track_caller]
    pub fn var_axis(&self, axis: Axis, ddof: impl Into<f64>) -> NdArray<Real<T>, D::Smaller> {
        NdArray::wrap(self.whole().var_dim(&[signed(axis.index())], ddof.into(), false))
    }
    #[track_caller]
    pub fn std_axis(&self, axis: Axis, ddof: impl Into<f64>) -> NdArray<Real<T>, D::Smaller> {
        self.var_axis(axis, ddof).sqrt()
    }
}
