//! Turns an argument into the error functions, the logarithm of the gamma function and its derivative.
//!
//! Invariant: a positive argument goes through selects alone; only the reflection of the gamma functions
//! at negative arguments is a separate function, for the fix-up pass.

use super::coef::{
    DIGAMMA_F64, DIGASYM_F64, ERF_F32_IN_F64, ERF_F64, ERFCX_F64, ERFCXS_F32_IN_F64, EXPD_F32_IN_F64, LGAM_F64,
    STIRLING_F64,
};
use super::exp::exp_parts;
use super::float::{Fp, poly, round, two_prod};
use super::log::ln;
use super::trig::{angle_pi, sin_of, tan_of};

/// `erfc a` for `a >= 1/2` (anything below gives a meaningless finite value).
///
/// `(1 + 2a) e^(a^2) erfc a` is smooth in `t = (a - 4)/(a + 4)` (Shepherd and Laframboise 1981); the
/// square in the exponential is taken with its error. One division serves both quotients.
#[inline(always)]
fn erfc_tail(a: f64) -> f64 {
    let a = if a > 28.0 { 28.0 } else { a };
    let w = a.mul_add(2.0, 1.0);
    let v = a + 4.0;
    let i = 1.0 / (w * v);
    let t = (a - 4.0) * (w * i);
    let (s, e) = two_prod(a, a);
    let (p, sum) = exp_parts(-s, -e);
    (p * (poly(t, ERFCX_F64) * (v * i))).scale(sum)
}

/// `erf x`.
#[inline(always)]
pub(crate) fn erf(x: f64) -> f64 {
    let a = x.abs();
    let small = a * poly(a * a, ERF_F64);
    (if a < 1.0 { small } else { 1.0 - erfc_tail(a) }).copysign(x)
}

/// `erfc x`.
#[inline(always)]
pub(crate) fn erfc(x: f64) -> f64 {
    let a = x.abs();
    let small = 1.0 - x * poly(x * x, ERF_F64);
    let tail = erfc_tail(a);
    let tail = if x < 0.0 { 2.0 - tail } else { tail };
    if a < 0.5 { small } else { tail }
}

/// As [`erfc_tail`] to the precision of `f32`.
#[inline(always)]
fn erfc_tail_f32(a: f64) -> f64 {
    let a = if a > 10.5 { 10.5 } else { a };
    let w = a.mul_add(2.0, 1.0);
    let v = a + 4.0;
    let i = 1.0 / (w * v);
    let t = (a - 4.0) * (w * i);
    let s = -(a * a);
    let k = round(s * std::f64::consts::LOG2_E);
    let r = (-k).mul_add(std::f64::consts::LN_2, s);
    let p = (r * r).mul_add(poly(r, EXPD_F32_IN_F64), r) + 1.0;
    p * (poly(t, ERFCXS_F32_IN_F64) * (v * i)) * f64::pow2(k)
}

/// `erf x`.
#[inline(always)]
pub(crate) fn erf_f32(x: f32) -> f32 {
    let a = f64::from(x.abs());
    let small = a * poly(a * a, ERF_F32_IN_F64);
    ((if a < 1.0 { small } else { 1.0 - erfc_tail_f32(a) }) as f32).copysign(x)
}

/// `erfc x`.
#[inline(always)]
pub(crate) fn erfc_f32(x: f32) -> f32 {
    let x = f64::from(x);
    let a = x.abs();
    let small = 1.0 - x * poly(x * x, ERF_F32_IN_F64);
    let tail = erfc_tail_f32(a);
    let tail = if x < 0.0 { 2.0 - tail } else { tail };
    (if a < 0.5 { small } else { tail }) as f32
}

/// From here on the asymptotic series of both gamma functions are used.
const ASYMPTOTIC: f64 = 7.0;

/// `ln |Gamma(x)|` for `x >= 0`.
///
/// Up to 7, `Gamma(x) = Gamma(2 + f) p` or `Gamma(2 + f) / p` with `-0.7 <= f <= 1/2` and a product `p` of
/// at most five factors; above, Stirling's series. Either way one logarithm is taken. At 1 the two terms
/// are both proportional to `x - 1`, at 2 only one is left: both zeros keep their relative precision.
#[inline(always)]
pub(crate) fn lgamma(x: f64) -> f64 {
    let large = x >= ASYMPTOTIC;
    let mut y = x;
    let mut p = 1.0;
    let mut i = 0;
    while i < 5 {
        // Subtracting 1 from a number between 2.5 and 7 is exact.
        let down = y > 2.5;
        let z = y - 1.0;
        y = if down { z } else { y };
        p = if down { p * z } else { p };
        i += 1;
    }
    // Below 1.3 the recurrence goes the other way, once or twice.
    let up1 = x < 1.3;
    let up2 = x < 0.5;
    let p = if up1 { x } else { p };
    let p = if up2 { x * (x + 1.0) } else { p };
    // 2 + f = x + 1 or x + 2, exactly in f.
    let f = if up1 { x - 1.0 } else { y - 2.0 };
    let f = if up2 { x } else { f };
    let l = ln(if large { x } else { p });
    let l2 = f * poly(f, LGAM_F64);
    let near = l2 + if up1 { -l } else { l };
    let inv = 1.0 / x;
    // (x - 1/2)(ln x - 1) + (ln(2 pi) - 1)/2 + S(1/x^2)/x.
    let s = poly(inv * inv, STIRLING_F64) * inv;
    let far = (x - 0.5).mul_add(l - 1.0, s + 0.418_938_533_204_672_7);
    let r = if large { far } else { near };
    if x < f64::INF { r } else { x * x }
}

/// Whether the reflection is needed.
#[inline(always)]
pub(crate) fn is_negative(x: f64) -> bool {
    x < 0.0
}

/// `ln |Gamma(x)|` for `x < 0`, by `Gamma(x) Gamma(1 - x) = pi / sin(pi x)`; infinite at the poles.
#[inline(always)]
pub(crate) fn lgamma_negative(x: f64) -> f64 {
    if x.fract() == 0.0 || x == -f64::INF {
        return f64::INF;
    }
    if x > -0.5 {
        return lgamma(1.0 + x) - ln(-x);
    }
    let s = sin_of(angle_pi(x)).abs();
    // Gamma(1 - x) = -x Gamma(-x), and -x is exact where 1 - x is not.
    ln(std::f64::consts::PI / (s * -x)) - lgamma(-x)
}

/// The logarithmic derivative of the gamma function for `x >= 0`.
///
/// Up to 7 the recurrence leads to `1 <= y <= 2`, where `digamma` is its zero's factor times a
/// polynomial; the sum of the reciprocals taken off is one fraction. Above, the asymptotic series.
#[inline(always)]
pub(crate) fn digamma(x: f64) -> f64 {
    const ZERO_HI: f64 = 1.4616321449683622;
    const ZERO_LO: f64 = 9.549995429965697e-17;
    let large = x >= ASYMPTOTIC;
    let up = x < 1.0;
    let mut y = if up { x + 1.0 } else { x };
    let mut n: f64 = if up { -1.0 } else { 0.0 };
    let mut d: f64 = if up { x } else { 1.0 };
    let mut i = 0;
    while i < 5 {
        let down = y > 2.0;
        let z = y - 1.0;
        n = if down { n.mul_add(z, d) } else { n };
        d = if down { d * z } else { d };
        y = if down { z } else { y };
        i += 1;
    }
    let inv = 1.0 / if large { x } else { d };
    let p = poly(y - 1.5, DIGAMMA_F64);
    let near = ((y - ZERO_HI) - ZERO_LO).mul_add(p, n * inv);
    let w = inv * inv;
    let far = ln(x) - inv.mul_add(0.5, w * poly(w, DIGASYM_F64));
    if large { far } else { near }
}

/// The logarithmic derivative of the gamma function for `x < 0`, by
/// `digamma(1 - x) - digamma(x) = pi / tan(pi x)`; not a number at the poles.
#[inline(always)]
pub(crate) fn digamma_negative(x: f64) -> f64 {
    if x.fract() == 0.0 || x == -f64::INF {
        return f64::NAN;
    }
    if x > -0.5 {
        return digamma(1.0 + x) - 1.0 / x;
    }
    // digamma(1 - x) = digamma(-x) - 1/x.
    (digamma(-x) - 1.0 / x) - std::f64::consts::PI / tan_of(angle_pi(x))
}
