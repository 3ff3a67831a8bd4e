//! The numbers that a helper function may be generic over: plain floats, and what they are inside an annotated function.

use crate::real::{self, literal};
use std::{fmt, iter, ops};

/// A float, or one that a function is being traced over.
///
/// A function `fn f<T: Real>(x: T, ..) -> T` under `#[differentiable]` can be called with plain floats and inside annotated
/// functions, where derivatives flow through it. It has no derivative entry points of its own. Code that asks what a value
/// is (`if x > y`) runs on the dynamic engine there; a function over `f64` compiles its branches.
///
/// ```
/// # use autograd_runtime::Real;
/// fn logistic<T: Real>(x: T) -> T {
///     T::one() / (T::one() + (-x).exp())
/// }
/// assert_eq!(logistic(0.0f64), 0.5);
/// assert_eq!(logistic(0.0f32), 0.5);
/// ```
pub trait Real:
    Copy
    + fmt::Debug
    + PartialEq
    + PartialOrd
    + ops::Neg<Output = Self>
    + ops::Add<Output = Self>
    + ops::Sub<Output = Self>
    + ops::Mul<Output = Self>
    + ops::Div<Output = Self>
    + ops::Rem<Output = Self>
    + ops::AddAssign
    + ops::SubAssign
    + ops::MulAssign
    + ops::DivAssign
    + iter::Sum
{
    /// A constant, rounded to the type.
    fn from_f64(x: f64) -> Self;
    /// 0.
    fn zero() -> Self {
        Self::from_f64(0.0)
    }
    /// 1.
    fn one() -> Self {
        Self::from_f64(1.0)
    }
    /// `self` to an integer power.
    #[must_use]
    fn powi(self, n: i32) -> Self;
    /// Sine and cosine.
    #[must_use]
    fn sin_cos(self) -> (Self, Self);
    /// `self · a + b`.
    #[must_use]
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// Not below `lo` nor above `hi`.
    #[must_use]
    fn clamp(self, lo: Self, hi: Self) -> Self;
    /// Through which no derivative flows.
    #[must_use]
    fn detach(self) -> Self;
    reals!(declare);
}

macro_rules! reals {
    (declare) => {
        reals!(@declare sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh exp exp2 exp_m1 ln log2 log10 ln_1p
            sqrt cbrt abs floor ceil trunc round recip signum fract; powf atan2 hypot copysign max min);
    };
    (define) => {
        reals!(@define sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh exp exp2 exp_m1 ln log2 log10 ln_1p
            sqrt cbrt abs floor ceil trunc round recip signum fract; powf atan2 hypot copysign max min);
    };
    (@declare $($one:ident)*; $($two:ident)*) => {
        $(
            /// As the method of `f64`.
            #[must_use]
            fn $one(self) -> Self;
        )*
        $(
            /// As the method of `f64`.
            #[must_use]
            fn $two(self, o: Self) -> Self;
        )*
    };
    (@define $($one:ident)*; $($two:ident)*) => {
        $(
            #[track_caller]
            fn $one(self) -> Self { self.$one() }
        )*
        $(
            #[track_caller]
            fn $two(self, o: Self) -> Self { self.$two(o) }
        )*
        #[track_caller]
        fn powi(self, n: i32) -> Self { self.powi(n) }
        #[track_caller]
        fn sin_cos(self) -> (Self, Self) { self.sin_cos() }
        #[track_caller]
        fn mul_add(self, a: Self, b: Self) -> Self { self.mul_add(a, b) }
        #[track_caller]
        fn clamp(self, lo: Self, hi: Self) -> Self { self.clamp(lo, hi) }
    };
}
use reals;

macro_rules! floats {
    ($($t:ident)*) => {$(
        impl Real for $t {
            fn from_f64(x: f64) -> $t { x as $t }
            fn detach(self) -> $t { self }
            reals!(define);
        }
        impl Real for real::Real<$t> {
            fn from_f64(x: f64) -> Self { literal(x as $t) }
            #[track_caller]
            fn detach(self) -> Self { self.detach() }
            reals!(define);
        }
    )*};
}
floats!(f32 f64);
