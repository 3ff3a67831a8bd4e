//! Turns an argument into its hyperbolic functions and their inverses.
//!
//! Invariant: the even or odd symmetry is exact (everything is computed from `|x|`), the sign of a
//! zero is kept, and differences that would cancel are replaced by odd polynomials or pairs.

use super::exp::{exp, exp_dd};
use super::float::{Fp, fast_two_sum, poly};
use super::log::log1p_dd;

/// `(k, E, 4^-k / E)` with `e^|x| = 2^k E`, both as pairs; the second is the term of `e^-|x|`.
#[inline(always)]
fn both<T: Fp>(a: T) -> (T, (T, T), (T, T)) {
    let (k, h, l) = exp_dd(a);
    // One Newton correction gives the low part of the reciprocal.
    let i = T::ONE / h;
    let il = i * ((-h).fma(i, T::ONE) - l * i);
    // Beyond this the term is invisible next to E.
    let k2 = if k > T::lit(60.0) { T::lit(-120.0) } else { -(k + k) };
    let s = T::pow2(k2);
    (k, (h, l), (i * s, il * s))
}

/// `p 2^(k-1)` for a `p` about 1, without an intermediate overflow.
#[inline(always)]
fn half_scale<T: Fp>(p: T, k: T) -> T {
    p * T::pow2(k - T::TWO) * T::TWO
}

/// `sinh x = (e^x - e^-x) / 2`; near zero, where that cancels, an odd polynomial.
#[inline(always)]
pub(crate) fn sinh<T: Fp>(x: T) -> T {
    let a = x.abs();
    let (k, (h, l), (i, il)) = both(a);
    let (s, e) = fast_two_sum(h, -i);
    let big = half_scale(s + (e + (l - il)), k);
    let z = a * a;
    let small = (a * z).fma(poly(z, T::C_SINH), a);
    (if a < T::lit(0.37) { small } else { big }).copysign(x)
}

/// `cosh x = (e^x + e^-x) / 2`.
#[inline(always)]
pub(crate) fn cosh<T: Fp>(x: T) -> T {
    let (k, (h, l), (i, il)) = both(x.abs());
    let (s, e) = fast_two_sum(h, i);
    half_scale(s + (e + (l + il)), k)
}

/// `tanh x = 1 - 2 / (e^2x + 1)`, whose subtraction halves the errors above 0.55; an odd polynomial
/// below.
#[inline(always)]
pub(crate) fn tanh<T: Fp>(x: T) -> T {
    let a = x.abs();
    let big = T::ONE - T::TWO / (exp(a + a) + T::ONE);
    let z = a * a;
    let small = (a * z).fma(poly(z, T::C_TANH), a);
    (if a < T::lit(0.55) { small } else { big }).copysign(x)
}

/// `asinh x = ln(1 + x + x^2 / (1 + sqrt(1 + x^2)))`, which has no cancellation; `ln 2x` when huge.
#[inline(always)]
pub(crate) fn asinh<T: Fp>(x: T) -> T {
    let a = x.abs();
    let huge = a > T::BIG;
    let b = if huge { T::ONE } else { a };
    let q = (b * b) / (T::ONE + b.fma(b, T::ONE).sqrt());
    let (t, tl) = fast_two_sum(b, q);
    let r = log1p_dd(if huge { a } else { t }, if huge { T::ZERO } else { tl }, if huge { T::ONE } else { T::ZERO });
    (if a < T::INF { r } else { a }).copysign(x)
}

/// `acosh x = ln(1 + t + sqrt(t (t + 2)))` with the exact `t = x - 1`; `ln 2x` when huge.
#[inline(always)]
pub(crate) fn acosh<T: Fp>(x: T) -> T {
    let huge = x > T::BIG;
    let t = (if huge { T::TWO } else { x }) - T::ONE;
    let v = t.fma(t, t + t);
    let r = v.sqrt();
    // The error of the square root, and that of v, taken off to first order.
    let ve = t.fma(t, (t + t) - v);
    let rl = ((-r).fma(r, v) + ve) / (r + r);
    let rl = if r > T::ZERO { rl } else { T::ZERO };
    // r >= t always.
    let (h, l) = fast_two_sum(r, t);
    let y =
        log1p_dd(if huge { x } else { h }, if huge { T::ZERO } else { l + rl }, if huge { T::ONE } else { T::ZERO });
    let y = if x < T::INF { y } else { x };
    if x >= T::ONE { y } else { T::NAN }
}

/// `atanh x = ln(1 + 2x / (1 - x)) / 2`, the quotient as a pair.
#[inline(always)]
pub(crate) fn atanh<T: Fp>(x: T) -> T {
    let a = x.abs();
    let d = T::ONE - a;
    let dl = (T::ONE - d) - a;
    let n = a + a;
    let q = n / d;
    let ql = ((-q).fma(d, n) - q * dl) / d;
    let r = (T::HALF * log1p_dd(q, ql, T::ZERO)).copysign(x);
    // Where the square of x is below half a unit of 1 the function is its argument: no subnormal
    // intermediate can spoil it.
    let r = if a < T::lit(1e-10) { x } else { r };
    let r = if a == T::ONE { T::INF.copysign(x) } else { r };
    if a <= T::ONE { r } else { T::NAN }
}
