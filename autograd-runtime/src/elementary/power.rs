//! Turns one or two arguments into roots and powers.
//!
//! Invariant: a power is `e^(y ln |x|)` with the product known to about 68 bits, so that its rounding
//! error is the result's and not the exponent's; the sign and the special cases of C follow by selects.

use super::coef::{CBRT_F64, EXPD_F32_IN_F64, LOG_F32_IN_F64, LOGX_F64};
use super::exp::exp_parts;
use super::float::{Fp, fast_two_sum, poly, round, two_prod, two_sum};

/// `(k, m)` of a positive number, subnormal ones lifted first.
#[inline(always)]
fn split(x: f64) -> (f64, f64) {
    let low = x < f64::TINY;
    let (k, m) = (if low { x * f64::LIFT } else { x }).split();
    (if low { k - f64::LIFT_BITS } else { k }, m)
}

/// `ln x` of a finite positive number as a pair with a relative error below `2^-66`.
///
/// With `s = (m - 1)/(m + 1)` as a pair: `ln m = 2s + s^3 (2/3 + s^2 P(s^2))`, where all but the last
/// term are pairs; that one is `2^-12` of the whole, so a rounded value of it is enough.
#[inline(always)]
fn ln_dd(x: f64) -> (f64, f64) {
    const C_HI: f64 = 0.6666666666666666;
    const C_LO: f64 = 3.700743415417188e-17;
    let (k, m) = split(x);
    let f = m - 1.0;
    let (d, dl) = two_sum(m, 1.0);
    let i = 1.0 / d;
    let s = f * i;
    let sl = (-s).mul_add(dl, (-s).mul_add(d, f)) * i;
    let (z, e) = two_prod(s, s);
    let zl = (s + s).mul_add(sl, e);
    let (c, e) = fast_two_sum(C_HI, z * poly(z, LOGX_F64));
    let cl = e + C_LO;
    let (u, e) = two_prod(z, c);
    let ul = z.mul_add(cl, zl.mul_add(c, e));
    let (v, e) = two_prod(s, u);
    let vl = s.mul_add(ul, sl.mul_add(u, e));
    let (h, e) = fast_two_sum(s + s, v);
    let l = e + (vl + (sl + sl));
    let (hi, e) = fast_two_sum(k * f64::LN2_CUT_HI, h);
    let (w, we) = two_sum(k * f64::LN2_CUT_LO, e);
    let (hi, e) = fast_two_sum(hi, w);
    fast_two_sum(hi, e + (we + l))
}

/// What C's `pow` returns in its special cases, `r` (for `|x|`) with the right sign elsewhere.
#[inline(always)]
fn special<T: Fp>(x: T, y: T, r: T, integer: bool, odd: bool) -> T {
    let a = x.abs();
    let y_inf = y.abs() == T::INF;
    let ends = (a == T::ZERO) | (a == T::INF);
    let r = if ends { if (a == T::ZERO) == (y < T::ZERO) { T::INF } else { T::ZERO } } else { r };
    let r = if y_inf {
        if a == T::ONE {
            T::ONE
        } else if (a > T::ONE) == (y > T::ZERO) {
            T::INF
        } else {
            T::ZERO
        }
    } else {
        r
    };
    let r = if odd { r.copysign(x) } else { r };
    let r = if (x < T::ZERO) & !integer & (a < T::INF) { T::NAN } else { r };
    let r = if x.is_nan() | y.is_nan() { T::NAN } else { r };
    if (y == T::ZERO) | (x == T::ONE) { T::ONE } else { r }
}

/// Whether `y` is an integer, and whether an odd one. Every number from `2^53` up is an even integer.
#[inline(always)]
fn parity(y: f64) -> (bool, bool) {
    let a = y.abs();
    let large = a >= 9_007_199_254_740_992.0;
    // 2^52 added and taken off leaves the integer; the same for half of it.
    let whole = |v: f64| {
        const UNIT: f64 = 4_503_599_627_370_496.0;
        (v >= UNIT) | ((v + UNIT) - UNIT == v)
    };
    let integer = large | whole(a);
    (integer, integer & !large & !whole(a * 0.5))
}

/// `x^y`.
#[inline(always)]
pub(crate) fn pow(x: f64, y: f64) -> f64 {
    let (h, l) = ln_dd(x.abs());
    let (p, e) = two_prod(y, h);
    let pl = y.mul_add(l, e);
    // Far beyond the range of the exponential the low part is noise, or not a number.
    let out = p.abs() > 800.0;
    let p = if out { 800f64.copysign(p) } else { p };
    let pl = if out { 0.0 } else { pl };
    let (v, sum) = exp_parts(p, pl);
    let (integer, odd) = parity(y);
    special(x, y, v.scale(sum), integer, odd)
}

/// `|x|^y` to the precision of `f32`: plain `f64` arithmetic is enough.
#[inline(always)]
fn pow_abs_f32(x: f64, y: f64) -> f32 {
    let (k, m) = x.split();
    let f = m - 1.0;
    let s = f / (f + 2.0);
    let z = s * s;
    let l = (s * z).mul_add(poly(z, LOG_F32_IN_F64), s + s);
    let p = y * k.mul_add(std::f64::consts::LN_2, l);
    let p = if p > 110.0 { 110.0 } else { p };
    let p = if p < -110.0 { -110.0 } else { p };
    let k = round(p * std::f64::consts::LOG2_E);
    let r = (-k).mul_add(std::f64::consts::LN_2, p);
    let v = (r * r).mul_add(poly(r, EXPD_F32_IN_F64), r) + 1.0;
    (v * f64::pow2(k)) as f32
}

/// `x^y`.
#[inline(always)]
pub(crate) fn pow_f32(x: f32, y: f32) -> f32 {
    let r = pow_abs_f32(f64::from(x).abs(), f64::from(y));
    let (integer, odd) = parity(f64::from(y));
    special(x, y, r, integer, odd)
}

/// `x^n`: every `i32` is an `f64`, so this is [`pow`], whose accuracy does not depend on `n`.
#[inline(always)]
pub(crate) fn powi(x: f64, n: i32) -> f64 {
    pow(x, f64::from(n))
}

/// `x^n`, the exponent held in `f64` where it is exact.
#[inline(always)]
pub(crate) fn powi_f32(x: f32, n: i32) -> f32 {
    let r = pow_abs_f32(f64::from(x).abs(), f64::from(n));
    special(x, if n < 0 { -1.0 } else { n.min(1) as f32 }, r, true, n & 1 != 0)
}

/// `x^3`, at most two roundings from exact; the order keeps a large cube finite as long as it is.
#[inline(always)]
pub(crate) fn cube<T: Fp>(x: T) -> T {
    x * x * x
}

/// The cube root of a positive normal number, to about 48 bits, with `(m, k)` for the last step.
///
/// `x = 2^(3q + j) m` with `1/sqrt 2 <= m < sqrt 2`; for `1 <= 2^i m <= 2` a quartic gives 16 bits, and
/// one step of the third-order iteration for `t^3 = c` the rest: with `e = 1 - t^3/c`,
/// `t (1 + e/3 + 2 e^2/9)`.
#[inline(always)]
fn cbrt_first(x: f64) -> (f64, f64, f64, f64) {
    let (k, m) = x.split();
    // Move to 1 <= m < 2.
    let below = m < 1.0;
    let m = if below { m + m } else { m };
    let k = if below { k - 1.0 } else { k };
    // q = floor(k/3): the third is never nearer than 1/3 to the rounding boundary after the shift.
    let q = round((k - 1.0) * (1.0 / 3.0));
    let j = (-3.0f64).mul_add(q, k);
    let root = if j == 1.0 { 1.2599210498948732 } else { 1.0 };
    let root = if j == 2.0 { 1.5874010519681996 } else { root };
    let c = m * f64::pow2(j);
    let t = poly(m, CBRT_F64) * root;
    let i = 1.0 / c;
    let e = (-(t * t)).mul_add(t * i, 1.0);
    let t = (t * e).mul_add(e.mul_add(2.0 / 9.0, 1.0 / 3.0), t);
    (t, c, i, q)
}

/// The cube root: the first approximation corrected by the exact residual of its cube.
#[inline(always)]
pub(crate) fn cbrt(x: f64) -> f64 {
    let a = x.abs();
    let low = a < f64::TINY;
    let b = if low { a * f64::LIFT } else { a };
    let (t, c, i, q) = cbrt_first(b);
    let (s, sl) = two_prod(t, t);
    let (p, pl) = two_prod(s, t);
    let rest = (c - p) - sl.mul_add(t, pl);
    let r = (t * i).mul_add(rest * (1.0 / 3.0), t) * f64::pow2(q);
    // The lift was by 2^54 = (2^18)^3.
    let r = if low { r * f64::pow2(-18.0) } else { r };
    let r = if (a < f64::INF) & (a > 0.0) { r } else { x };
    r.copysign(x)
}

/// The cube root, from the first approximation of the `f64` one.
#[inline(always)]
pub(crate) fn cbrt_f32(x: f32) -> f32 {
    let a = x.abs();
    let (t, _, _, q) = cbrt_first(f64::from(a));
    let r = (t * f64::pow2(q)) as f32;
    let r = if (a < f32::INF) & (a > 0.0) { r } else { x };
    r.copysign(x)
}

/// `sqrt(x^2 + y^2)`: the sum of squares as a pair, scaled by a power of two out of harm's way, and one
/// correction of the square root.
#[inline(always)]
pub(crate) fn hypot(x: f64, y: f64) -> f64 {
    let (a, b) = (x.abs(), y.abs());
    let swap = a < b;
    let (hi, lo) = if swap { (b, a) } else { (a, b) };
    let big = hi > f64::pow2(500.0);
    let tiny = hi < f64::pow2(-400.0);
    let s = if big { f64::pow2(-600.0) } else { 1.0 };
    let s = if tiny { f64::pow2(600.0) } else { s };
    let back = if big { f64::pow2(600.0) } else { 1.0 };
    let back = if tiny { f64::pow2(-600.0) } else { back };
    let (u, v) = (hi * s, lo * s);
    let (p, pe) = two_prod(u, u);
    let (q, qe) = two_prod(v, v);
    let (h, e) = fast_two_sum(p, q);
    let l = e + (pe + qe);
    let r = h.sqrt();
    let c = ((-r).mul_add(r, h) + l) / (r + r);
    let r = (r + if r > 0.0 { c } else { 0.0 }) * back;
    // An infinity wins over a NaN, which otherwise is in r already.
    if (a == f64::INF) | (b == f64::INF) { f64::INF } else { r }
}

/// `sqrt(x^2 + y^2)`: the squares are exact in `f64` and cannot overflow.
#[inline(always)]
pub(crate) fn hypot_f32(x: f32, y: f32) -> f32 {
    let (a, b) = (f64::from(x), f64::from(y));
    let r = a.mul_add(a, b * b).sqrt() as f32;
    if (x.abs() == f32::INF) | (y.abs() == f32::INF) { f32::INF } else { r }
}
