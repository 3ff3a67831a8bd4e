//! Turns an argument into its exponential and what is built on one exponential alone.
//!
//! Invariant: `e^x = 2^k e^r` with `k = round(x / ln 2)` and `|r| <= ln2/2 (1 + tiny)`; the power of
//! two is applied last, so a subnormal result is rounded once more and no other error grows.

use super::float::{Fp, fast_two_sum, poly, two_sum};

/// `x` held within `lo..=hi`; NaN stays.
#[inline(always)]
fn clamp<T: Fp>(x: T, lo: T, hi: T) -> T {
    let x = if x > hi { hi } else { x };
    if x < lo { lo } else { x }
}

/// `(k + EXP_ROUNDER, k, r)` of the argument reduction (Cody and Waite 1980): `k ln2` is taken off in two
/// parts, the first product being exact.
#[inline(always)]
fn reduce<T: Fp>(x: T) -> (T, T, T) {
    let sum = x.fma(T::LOG2E_HI, T::EXP_ROUNDER);
    let k = sum - T::EXP_ROUNDER;
    let r = (-k).fma(T::LN2_CUT_HI, x);
    (sum, k, (-k).fma(T::LN2_CUT_LO, r))
}

/// `e^r - 1` for a reduced `r`.
#[inline(always)]
fn expm1_reduced<T: Fp>(r: T) -> T {
    (r * r).fma(poly(r, T::C_EXP), r)
}

/// `(p, sum)` with `e^(x + xl) = p.scale(sum)`, for a small `xl` and an `x` that leaves `k` within twice
/// the exponent range.
#[inline(always)]
pub(crate) fn exp_parts<T: Fp>(x: T, xl: T) -> (T, T) {
    let (sum, _, r) = reduce(x);
    (expm1_reduced(r + xl) + T::ONE, sum)
}

/// `(k, hi, lo)` with `e^x = 2^k (hi + lo)`, good to about six bits more than the format has.
#[inline(always)]
pub(crate) fn exp_dd<T: Fp>(x: T) -> (T, T, T) {
    let x = clamp(x, T::EXP_MIN, T::EXP_MAX);
    let k = x.fma(T::LOG2E_HI, T::ROUNDER) - T::ROUNDER;
    let r0 = (-k).fma(T::LN2_CUT_HI, x);
    let w = k * T::LN2_CUT_LO;
    let (r, e) = two_sum(r0, -w);
    let rl = e - k.fma(T::LN2_CUT_LO, -w);
    // 1 + r exactly, the rest (below 0.07) and what the reduction left over as the low part; the
    // low part of r is multiplied by e^r ~ 1 + r.
    let (h, l) = fast_two_sum(T::ONE, r);
    let tail = (r * r).fma(poly(r, T::C_EXP), rl.fma(r, rl));
    let (hi, lo) = fast_two_sum(h, l + tail);
    (k, hi, lo)
}

/// `e^x`.
#[inline(always)]
pub(crate) fn exp<T: Fp>(x: T) -> T {
    let (sum, _, r) = reduce(clamp(x, T::EXP_MIN, T::EXP_MAX));
    (expm1_reduced(r) + T::ONE).scale(sum)
}

/// `2^x`: the reduction is exact.
#[inline(always)]
pub(crate) fn exp2<T: Fp>(x: T) -> T {
    let x = clamp(x, T::EXP2_MIN, T::EXP2_MAX);
    let sum = x + T::EXP_ROUNDER;
    let r = x - (sum - T::EXP_ROUNDER);
    r.fma(poly(r, T::C_EXP2), T::ONE).scale(sum)
}

/// `e^x - 1 = 2^k (e^r - 1) + (2^k - 1)`, the last term exact where it matters.
#[inline(always)]
pub(crate) fn expm1<T: Fp>(x: T) -> T {
    let (_, k, r) = reduce(clamp(x, T::EXPM1_MIN, T::EXP_MAX));
    // 2^k itself would overflow for the largest k: the rest of it is applied at the end.
    let k1 = if k > T::K_MAX { T::K_MAX } else { k };
    let s = T::pow2(k1);
    // r is by far the larger part of e^r - 1: added with its error, it leaves only a small rounded rest.
    let (h, l) = fast_two_sum(s - T::ONE, s * r);
    let rest = (s * (r * r)).fma(poly(r, T::C_EXP), l);
    ((h + rest) * T::pow2(k - k1)).copysign(x)
}

/// `E = e^x 2^add` as a pair whose low part is what the last addition of the exponential lost.
#[inline(always)]
fn exp_pair<T: Fp>(x: T, add: T) -> (T, T) {
    let (sum, _, r) = reduce(clamp(x, T::EXP_MIN, T::EXP_MAX));
    let (h, l) = fast_two_sum(T::ONE, expm1_reduced(r));
    (h.scale(sum + add), l.scale(sum + add))
}

/// `(n + nl) / (1 + e + el)` and the reciprocal of the rounded denominator, for `0 <= e <= 1`. One
/// division, then one correction with the errors of the numerator and the denominator.
#[inline(always)]
fn over_one_plus<T: Fp>(n: T, nl: T, e: T, el: T) -> (T, T) {
    let (d, dl) = fast_two_sum(T::ONE, e);
    let i = T::ONE / d;
    let q = n * i;
    let rest = (-q).fma(d, n) + (-q).fma(dl + el, nl);
    (rest.fma(i, q), i)
}

/// `1 / (1 + e^-x)`, as `E / (1 + E)` with `E = e^x` for negative `x`, so that neither tail cancels.
#[inline(always)]
pub(crate) fn sigmoid<T: Fp>(x: T) -> T {
    let (e, el) = exp_pair(-x.abs(), T::ZERO);
    let left = x < T::ZERO;
    let (n, nl) = if left { (e, el) } else { (T::ONE, T::ZERO) };
    over_one_plus(n, nl, e, el).0
}

/// `s (1 - s)` of the sigmoid, as `E / (1 + E)^2` with `E = e^-|x|`.
#[inline(always)]
pub(crate) fn sigmoid_grad<T: Fp>(x: T) -> T {
    let (e, el) = exp_pair(-x.abs(), T::ZERO);
    let (q, i) = over_one_plus(e, el, e, el);
    q * i
}

/// `1 - tanh^2 x = 4E / (1 + E)^2` with `E = e^(-2|x|)`; the 4 joins the power of two, so that a
/// subnormal `E` is not rounded before it.
#[inline(always)]
pub(crate) fn sech2<T: Fp>(x: T) -> T {
    let (e, el) = exp_pair(-(x.abs() + x.abs()), T::TWO);
    let quarter = T::lit(0.25);
    let (q, i) = over_one_plus(e, el, quarter * e, quarter * el);
    q * i
}
