//! A function of scalars over all elements of an array. It is called once, on a scalar that stands for all elements; a
//! condition on it chooses element by element. If it does with it what only a single number can do, such as reading it,
//! it is called for each element.

use super::{NdArray, Scalar, real};
use crate::{
    Tensor,
    array::Float,
    real::{Real, literal},
    session,
};
use ndarray::Dimension;

/// What a function of elements gives: a number, plain or traced.
pub trait Element {
    /// Traced.
    type Scalar: Scalar;
    #[doc(hidden)]
    fn scalar(self) -> Self::Scalar;
}
impl<T: Float> Element for Real<T> {
    type Scalar = Real<T>;
    fn scalar(self) -> Real<T> {
        self
    }
}
macro_rules! plain {
    ($($f:ty),*) => {$(
        impl Element for $f {
            type Scalar = Real<$f>;
            fn scalar(self) -> Real<$f> { literal(self) }
        }
    )*};
}
plain!(f32, f64);

impl<T: Float, D: Dimension> NdArray<Real<T>, D> {
    /// The function's results for all elements.
    #[track_caller]
    pub fn mapv<U: Float, B: Element<Scalar = Real<U>>>(&self, f: impl Fn(Real<T>) -> B) -> NdArray<Real<U>, D> {
        let shape = self.dim.slice();
        if session::needs_elements() {
            // inside another function of elements, which is called again for each
            return NdArray::wrap(Tensor::full(shape, U::zero()));
        }
        if self.len() > 1 {
            let whole = real(&self.whole());
            let out = session::elementwise(|| f(whole).scalar().value());
            if let Some(out) = out {
                return NdArray::wrap(Tensor::from_value(out).expand(shape));
            }
        }
        let each = (0..self.len()).map(|at| f(*self.element(at)).scalar()).collect();
        NdArray::of_elements(each, self.dim.clone())
    }
    /// As [`NdArray::mapv`], of references.
    #[track_caller]
    pub fn map<U: Float, B: Element<Scalar = Real<U>>>(&self, f: impl Fn(&Real<T>) -> B) -> NdArray<Real<U>, D> {
        self.mapv(|x| f(&x))
    }
    /// As [`NdArray::mapv`].
    #[must_use]
    #[track_caller]
    pub fn mapv_into<B: Element<Scalar = Real<T>>>(self, f: impl Fn(Real<T>) -> B) -> Self {
        self.mapv(f)
    }
    /// As [`NdArray::mapv`], in place.
    #[track_caller]
    pub fn mapv_inplace<B: Element<Scalar = Real<T>>>(&mut self, f: impl Fn(Real<T>) -> B) {
        *self = self.mapv(f);
    }
    /// Changes each element.
    #[track_caller]
    pub fn map_inplace(&mut self, f: impl Fn(&mut Real<T>)) {
        *self = self.mapv(|mut x| {
            f(&mut x);
            x
        });
    }
}

/// ndarray's methods of floats.
macro_rules! functions {
    ($($name:ident)*) => {
        #[allow(missing_docs)]
        impl<T: Float, D: Dimension> NdArray<Real<T>, D> {$(
            #[must_use]
            #[track_caller]
            pub fn $name(&self) -> Self { self.mapv(Real::$name) }
        )*}
    };
    ($($name:ident($x:ident: $ty:ty))*) => {
        #[allow(missing_docs)]
        impl<T: Float, D: Dimension> NdArray<Real<T>, D> {$(
            #[must_use]
            #[track_caller]
            pub fn $name(&self, $x: $ty) -> Self { self.mapv(|v| v.$name($x)) }
        )*}
    };
}
functions! {
    floor ceil round trunc fract abs signum recip sqrt exp exp2 exp_m1 ln log2 log10 ln_1p cbrt sin cos tan asin acos atan
    sinh cosh tanh asinh acosh atanh to_degrees to_radians
}
functions! { powi(n: i32) }
#[allow(missing_docs)]
impl<T: Float, D: Dimension> NdArray<Real<T>, D> {
    #[must_use]
    #[track_caller]
    pub fn powf(&self, p: impl Into<Real<T>>) -> Self {
        let p = p.into();
        self.mapv(|v| v.powf(p))
    }
    #[must_use]
    #[track_caller]
    pub fn log(&self, base: impl Into<Real<T>>) -> Self {
        let base = base.into();
        self.mapv(|v| v.log(base))
    }
    #[must_use]
    #[track_caller]
    pub fn pow2(&self) -> Self {
        self.mapv(|v| v * v)
    }
    #[must_use]
    #[track_caller]
    pub fn clamp(&self, lo: impl Into<Real<T>>, hi: impl Into<Real<T>>) -> Self {
        let (lo, hi) = (lo.into(), hi.into());
        self.mapv(|v| v.clamp(lo, hi))
    }
}
