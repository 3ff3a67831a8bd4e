//! Turns arguments into values of the elementary functions, one at a time or in blocks, for `f32` and
//! `f64`: accurate to two units in the last place and vectorised.
//!
//! Invariant: for every function the scalar entry, the block entry and every instruction-set level
//! return the same bits. Each function is written once, without branches, in IEEE operations, explicit
//! fused multiply-adds, bit casts and selects (`float`); the compiler vectorises the loop around it for
//! each level (`dispatch`). Subnormal numbers are kept, the special values are those of C.

mod coef;
mod dispatch;
mod exp;
mod float;
mod hyper;
mod inverse;
mod log;
mod ops;
mod power;
pub(crate) mod special;
#[cfg(test)]
mod tests;
mod trig;

use dispatch::level;
pub(crate) use dispatch::{Loop, vectorised};

/// One elementary function of one argument.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Unary {
    /// `e^x`.
    Exp,
    /// `2^x`.
    Exp2,
    /// `e^x - 1`.
    Expm1,
    /// The natural logarithm.
    Ln,
    /// The logarithm to base 2.
    Log2,
    /// The logarithm to base 10.
    Log10,
    /// `ln(1 + x)`.
    Log1p,
    /// The sine.
    Sin,
    /// The cosine.
    Cos,
    /// The tangent.
    Tan,
    /// The inverse sine.
    Asin,
    /// The inverse cosine.
    Acos,
    /// The inverse tangent.
    Atan,
    /// The hyperbolic sine.
    Sinh,
    /// The hyperbolic cosine.
    Cosh,
    /// The hyperbolic tangent.
    Tanh,
    /// The inverse hyperbolic sine.
    Asinh,
    /// The inverse hyperbolic cosine.
    Acosh,
    /// The inverse hyperbolic tangent.
    Atanh,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `ln(1 + e^x)`.
    Softplus,
    /// The cube root.
    Cbrt,
    /// The error function.
    Erf,
    /// `1 - erf x`.
    Erfc,
    /// `ln |Gamma(x)|`.
    Lgamma,
    /// The derivative of `ln Gamma(x)`.
    Digamma,
    /// `1 - tanh^2 x`, without the cancellation.
    Sech2,
    /// `s (1 - s)` of the sigmoid `s`, without the cancellation.
    SigmoidGrad,
}

impl Unary {
    /// Every function.
    pub const ALL: [Unary; 28] = [
        Unary::Exp,
        Unary::Exp2,
        Unary::Expm1,
        Unary::Ln,
        Unary::Log2,
        Unary::Log10,
        Unary::Log1p,
        Unary::Sin,
        Unary::Cos,
        Unary::Tan,
        Unary::Asin,
        Unary::Acos,
        Unary::Atan,
        Unary::Sinh,
        Unary::Cosh,
        Unary::Tanh,
        Unary::Asinh,
        Unary::Acosh,
        Unary::Atanh,
        Unary::Sigmoid,
        Unary::Softplus,
        Unary::Cbrt,
        Unary::Erf,
        Unary::Erfc,
        Unary::Lgamma,
        Unary::Digamma,
        Unary::Sech2,
        Unary::SigmoidGrad,
    ];
}

/// One elementary function of two arguments.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Binary {
    /// `a^b`, with all the special cases of C's `pow`.
    Pow,
    /// The angle of the point with ordinate `a` and abscissa `b`.
    Atan2,
    /// `sqrt(a^2 + b^2)`.
    Hypot,
}

impl Binary {
    /// Every function.
    pub const ALL: [Binary; 3] = [Binary::Pow, Binary::Atan2, Binary::Hypot];
}

/// A number the elementary functions take: `f32` or `f64`.
pub trait Element: Copy {
    /// `f(x)`.
    fn unary(f: Unary, x: Self) -> Self;
    /// `f(a, b)`.
    fn binary(f: Binary, a: Self, b: Self) -> Self;
    /// `x^n`.
    fn powi(x: Self, n: i32) -> Self;
    /// `out[i] = f(x[i])`.
    ///
    /// # Panics
    /// If the lengths differ, as do the other two.
    fn unary_block(f: Unary, x: &[Self], out: &mut [Self]);
    /// `out[i] = f(a[i], b[i])`.
    fn binary_block(f: Binary, a: &[Self], b: &[Self], out: &mut [Self]);
    /// `out[i] = x[i]^n`.
    fn powi_block(x: &[Self], n: i32, out: &mut [Self]);
}

impl Element for f64 {
    #[inline]
    fn unary(f: Unary, x: f64) -> f64 {
        scalar_fn_f64(f)(x)
    }
    #[inline]
    fn binary(f: Binary, a: f64, b: f64) -> f64 {
        scalar_fn2_f64(f)(a, b)
    }
    #[inline]
    fn powi(x: f64, n: i32) -> f64 {
        scalar_powi_f64()(x, n)
    }
    fn unary_block(f: Unary, x: &[f64], out: &mut [f64]) {
        dispatch::slices1_f64(level(), f, x, out);
    }
    fn binary_block(f: Binary, a: &[f64], b: &[f64], out: &mut [f64]) {
        dispatch::slices2_f64(level(), f, a, b, out);
    }
    fn powi_block(x: &[f64], n: i32, out: &mut [f64]) {
        dispatch::slices_powi_f64(level(), x, n, out);
    }
}

impl Element for f32 {
    #[inline]
    fn unary(f: Unary, x: f32) -> f32 {
        scalar_fn_f32(f)(x)
    }
    #[inline]
    fn binary(f: Binary, a: f32, b: f32) -> f32 {
        scalar_fn2_f32(f)(a, b)
    }
    #[inline]
    fn powi(x: f32, n: i32) -> f32 {
        scalar_powi_f32()(x, n)
    }
    fn unary_block(f: Unary, x: &[f32], out: &mut [f32]) {
        dispatch::slices1_f32(level(), f, x, out);
    }
    fn binary_block(f: Binary, a: &[f32], b: &[f32], out: &mut [f32]) {
        dispatch::slices2_f32(level(), f, a, b, out);
    }
    fn powi_block(x: &[f32], n: i32, out: &mut [f32]) {
        dispatch::slices_powi_f32(level(), x, n, out);
    }
}

/// The function for one `f64`, for the best level of this CPU.
pub fn scalar_fn_f64(f: Unary) -> extern "C" fn(f64) -> f64 {
    dispatch::scalars1_f64(level(), f)
}

/// The function of two `f64`.
pub fn scalar_fn2_f64(f: Binary) -> extern "C" fn(f64, f64) -> f64 {
    dispatch::scalars2_f64(level(), f)
}

/// The integer power of one `f64`.
pub fn scalar_powi_f64() -> extern "C" fn(f64, i32) -> f64 {
    dispatch::scalars_powi_f64(level())
}

/// The function for a block of `f64`, `(x, out, n)`, for the best level of this CPU.
///
/// The caller of the pointer promises that `x` can be read and `out` written for `n` elements, and that
/// they are equal or do not overlap.
pub fn block_fn_f64(f: Unary) -> unsafe extern "C" fn(*const f64, *mut f64, usize) {
    dispatch::blocks1_f64(level(), f)
}

/// The function of two blocks of `f64`, `(a, b, out, n)`, under the same promise for each input.
pub fn block_fn2_f64(f: Binary) -> unsafe extern "C" fn(*const f64, *const f64, *mut f64, usize) {
    dispatch::blocks2_f64(level(), f)
}

/// The integer power of a block of `f64`, `(x, exponent, out, n)`, under the same promise.
pub fn block_powi_f64() -> unsafe extern "C" fn(*const f64, i32, *mut f64, usize) {
    dispatch::blocks_powi_f64(level())
}

/// The function for one `f32`, for the best level of this CPU.
pub fn scalar_fn_f32(f: Unary) -> extern "C" fn(f32) -> f32 {
    dispatch::scalars1_f32(level(), f)
}

/// The function of two `f32`.
pub fn scalar_fn2_f32(f: Binary) -> extern "C" fn(f32, f32) -> f32 {
    dispatch::scalars2_f32(level(), f)
}

/// The integer power of one `f32`.
pub fn scalar_powi_f32() -> extern "C" fn(f32, i32) -> f32 {
    dispatch::scalars_powi_f32(level())
}

/// The function for a block of `f32`, `(x, out, n)`, for the best level of this CPU.
///
/// The caller of the pointer promises that `x` can be read and `out` written for `n` elements, and that
/// they are equal or do not overlap.
pub fn block_fn_f32(f: Unary) -> unsafe extern "C" fn(*const f32, *mut f32, usize) {
    dispatch::blocks1_f32(level(), f)
}

/// The function of two blocks of `f32`, `(a, b, out, n)`, under the same promise for each input.
pub fn block_fn2_f32(f: Binary) -> unsafe extern "C" fn(*const f32, *const f32, *mut f32, usize) {
    dispatch::blocks2_f32(level(), f)
}

/// The integer power of a block of `f32`, `(x, exponent, out, n)`, under the same promise.
pub fn block_powi_f32() -> unsafe extern "C" fn(*const f32, i32, *mut f32, usize) {
    dispatch::blocks_powi_f32(level())
}
