//! Turns a positive argument into its logarithm, to several bases, and `1 + x` into its own.
//!
//! Invariant: `x = 2^k (1 + f)` with `sqrt(1/2) <= 1 + f < sqrt 2`, and `ln(1 + f)` is a pair whose
//! high part carries the format's precision and whose low part carries the rest.

use super::exp::exp;
use super::float::{Fp, fast_two_sum, poly, two_sum};

/// `ln(1 + f + g)` as a pair, for a reduced `f` and `g` below half a unit of it.
///
/// With `s = f / (2 + f)`, `ln(1 + f) = 2 atanh s = f - f^2/2 + s (f^2/2 + R(s^2))` (Ng, in the
/// `log` of fdlibm, 1993): only the two short leading terms need extra care.
#[inline(always)]
fn ln_reduced<T: Fp>(f: T, g: T) -> (T, T) {
    let s = f / (T::TWO + f);
    let z = s * s;
    let half = T::HALF * f;
    let q = half * f;
    let qe = half.fma(f, -q);
    let hi = f - q;
    // 1/(1+f) ~ 1 - f + f^2 is more than g needs.
    let gl = g * (f * f + (T::ONE - f));
    let lo = s.fma(z.fma(poly(z, T::C_LOG), q), ((f - hi) - q) - qe) + gl;
    (hi, lo)
}

/// `(k, f)` of a positive number, subnormal ones lifted first.
#[inline(always)]
fn reduce<T: Fp>(x: T) -> (T, T) {
    let low = x < T::TINY;
    let (k, m) = (if low { x * T::LIFT } else { x }).split();
    (if low { k - T::LIFT_BITS } else { k }, m - T::ONE)
}

/// What a logarithm is at the ends of its domain, `r` elsewhere.
#[inline(always)]
fn ends<T: Fp>(x: T, r: T) -> T {
    let r = if x < T::INF { r } else { x };
    let r = if x == T::ZERO { -T::INF } else { r };
    if x >= T::ZERO { r } else { T::NAN }
}

/// `ln x`.
#[inline(always)]
pub(crate) fn ln<T: Fp>(x: T) -> T {
    let (k, f) = reduce(x);
    let (hi, lo) = ln_reduced(f, T::ZERO);
    ends(x, add_ln2(k, hi, lo))
}

/// `k ln2 + hi + lo`.
#[inline(always)]
fn add_ln2<T: Fp>(k: T, hi: T, lo: T) -> T {
    let (s, e) = fast_two_sum(k * T::LN2_CUT_HI, hi);
    s + (e + k.fma(T::LN2_CUT_LO, lo))
}

/// `log2 x = k + ln(1 + f) log2 e`, the product taken with its error.
#[inline(always)]
pub(crate) fn log2<T: Fp>(x: T) -> T {
    let (k, f) = reduce(x);
    let (hi, lo) = ln_reduced(f, T::ZERO);
    let p = hi * T::LOG2E_HI;
    let pe = hi.fma(T::LOG2E_HI, -p) + hi.fma(T::LOG2E_LO, lo * T::LOG2E_HI);
    let (s, e) = fast_two_sum(k, p);
    ends(x, s + (e + pe))
}

/// `log10 x = k log10 2 + ln(1 + f) log10 e`, likewise.
#[inline(always)]
pub(crate) fn log10<T: Fp>(x: T) -> T {
    let (k, f) = reduce(x);
    let (hi, lo) = ln_reduced(f, T::ZERO);
    let p = hi * T::LOG10E_HI;
    let pe = hi.fma(T::LOG10E_HI, -p) + hi.fma(T::LOG10E_LO, lo * T::LOG10E_HI);
    let (s, e) = fast_two_sum(k * T::LG2_CUT_HI, p);
    ends(x, s + (e + k.fma(T::LG2_CUT_LO, pe)))
}

/// `add ln2 + ln(1 + t + tl)` for `t > -1` and `tl` at most a unit of `t`.
#[inline(always)]
pub(crate) fn log1p_dd<T: Fp>(t: T, tl: T, add: T) -> T {
    let (u, ul) = two_sum(T::ONE, t);
    let (k, m) = u.split();
    // The low part in the scale of m; where 2^-k would be subnormal it is far below a unit anyway.
    let back = if k > -T::K_MIN { T::K_MIN } else { -k };
    let (f, g) = fast_two_sum(m - T::ONE, (ul + tl) * T::pow2(back));
    let (hi, lo) = ln_reduced(f, g);
    add_ln2(k + add, hi, lo)
}

/// `ln(1 + x)`.
#[inline(always)]
pub(crate) fn log1p<T: Fp>(x: T) -> T {
    let r = log1p_dd(x, T::ZERO, T::ZERO).copysign(x);
    let r = if x < T::INF { r } else { x };
    let r = if x == -T::ONE { -T::INF } else { r };
    if x >= -T::ONE { r } else { T::NAN }
}

/// `ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|)`: no overflow, and no cancellation.
#[inline(always)]
pub(crate) fn softplus<T: Fp>(x: T) -> T {
    let l = log1p_dd(exp(-x.abs()), T::ZERO, T::ZERO);
    let r = if x > T::ZERO { x + l } else { l };
    if x.is_nan() { x } else { r }
}
