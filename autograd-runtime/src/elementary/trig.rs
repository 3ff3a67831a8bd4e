//! Turns an angle into its sine, cosine and tangent.
//!
//! Invariant: the angle is `n pi/2 + h + l` with `|h| <= pi/4 (1 + tiny)` and `h + l` relatively as
//! precise as the result needs, for every finite argument: by Cody and Waite's method as long as
//! [`is_far`] says no, by Payne and Hanek's where it says yes and the caller must take the `far` functions.

use super::coef::{COS_F32_IN_F64, COS_F64, SIN_F32_IN_F64, SIN_F64, TWO_OVER_PI};
use super::float::{Fp, fast_two_sum, poly, two_prod, two_sum};

const PIO2_1: f64 = std::f64::consts::FRAC_PI_2;
const PIO2_2: f64 = 6.123233995736766e-17;
/// The same number with a first part of 33 bits.
const PIO2_A: f64 = 1.5707963267341256;
const PIO2_B: f64 = 6.077100506506192e-11;
const PIO2_C: f64 = 3.5215598651832e-27;
const TWO_OVER_PI_F64: f64 = std::f64::consts::FRAC_2_PI;

/// Above them the reductions of [`near`] and [`near_f32`] are not claimed.
const FAR: f64 = 1e6;
const FAR_F32: f32 = 268_435_456.0;

/// Whether `x` needs the `far` functions (also infinities, not NaN).
#[inline(always)]
pub(crate) fn is_far(x: f64) -> bool {
    x.abs() > FAR
}

/// As [`is_far`].
#[inline(always)]
pub(crate) fn is_far_f32(x: f32) -> bool {
    x.abs() > FAR_F32
}

/// An angle: the quadrant (its two low bits count), and what is left as a pair.
#[derive(Clone, Copy)]
pub(crate) struct Angle {
    pub(crate) n: u64,
    pub(crate) h: f64,
    pub(crate) l: f64,
}

/// The reduction for `|x| <= 10^6`, with pi/2 in three parts (Cody and Waite 1980).
///
/// `k` has at most 20 bits, so `x - k A` is exact; `k B` is taken with its error, and `C` ends at
/// `2^-139`: an error of `2^-120`, while no double of this range is nearer than `2^-60` to a multiple.
#[inline(always)]
fn near(x: f64) -> Angle {
    let m = x.mul_add(TWO_OVER_PI_F64, f64::ROUNDER);
    let k = m - f64::ROUNDER;
    let t = (-k).mul_add(PIO2_A, x);
    let (w, we) = two_prod(k, PIO2_B);
    let (h, e) = two_sum(t, -w);
    let l = e - k.mul_add(PIO2_C, we);
    Angle { n: m.to_bits(), h, l }
}

/// As [`near`] for an argument that is an `f32`: those stay `2^-33` away from every multiple, and two
/// parts without a low result suffice.
#[inline(always)]
fn near_f32(x: f64) -> Angle {
    let m = x.mul_add(TWO_OVER_PI_F64, f64::ROUNDER);
    let k = m - f64::ROUNDER;
    let h = (-k).mul_add(PIO2_2, (-k).mul_add(PIO2_1, x));
    Angle { n: m.to_bits(), h, l: 0.0 }
}

/// The reduction for `|x| > 2^12` (Payne and Hanek 1983): 192 bits of the product of the significand
/// with those bits of `2/pi` that do not only add multiples of four quadrants.
#[inline(always)]
fn far(x: f64) -> Angle {
    let bits = x.to_bits();
    let e = ((bits >> 52) & 0x7ff) as i64;
    if e == 0x7ff {
        return Angle { n: 0, h: f64::NAN, l: 0.0 };
    }
    let m = u128::from((bits & ((1 << 52) - 1)) | (1 << 52));
    // x = m 2^(e - 1075). The window starts at the bit of 2/pi whose product with m has weight 2:
    // bits before it contribute multiples of four. It may start up to 64 bits before the first.
    let start = (e - 1077 + 64).max(0) as usize;
    let word = |i: usize| if i == 0 { 0 } else { TWO_OVER_PI[i - 1] };
    let (i, s) = (start / 64, start % 64);
    let at = |j: usize| {
        let pair = (u128::from(word(i + j)) << 64) | u128::from(word(i + j + 1));
        (pair << s >> 64) as u64
    };
    let p2 = m * u128::from(at(2));
    let p1 = m * u128::from(at(1)) + (p2 >> 64);
    let a0 = (m as u64).wrapping_mul(at(0)).wrapping_add((p1 >> 64) as u64);
    let (a1, a2) = (p1 as u64, p2 as u64);
    // The top two bits are the quadrant, the rest a fraction of one; as a signed number it is the
    // distance to the nearest multiple.
    let f = (((u128::from(a0) << 64) | u128::from(a1)) << 2) | u128::from(a2 >> 62);
    let f = f as i128;
    let n = (a0 >> 62).wrapping_add(u64::from(f < 0));
    let u = f.unsigned_abs();
    let lz = u.leading_zeros();
    let u = u << (lz & 127);
    // Two pieces of 53 and 53 bits, in units of 2^-(128 + lz).
    let unit = f64::pow2(-f64::from(lz));
    let hi = ((u >> 75) as u64) as f64 * (f64::pow2(-53.0) * unit);
    let lo = (((u >> 22) as u64) & ((1 << 53) - 1)) as f64 * (f64::pow2(-106.0) * unit);
    let (h, e) = two_prod(hi, PIO2_1);
    let (h, l) = fast_two_sum(h, hi.mul_add(PIO2_2, lo.mul_add(PIO2_1, e)));
    let n = if x < 0.0 { n.wrapping_neg() } else { n };
    if (f < 0) == (x < 0.0) { Angle { n, h, l } } else { Angle { n, h: -h, l: -l } }
}

/// `sin(h + l)` as a pair: `h` and the rest.
#[inline(always)]
fn sin_kernel(h: f64, l: f64) -> (f64, f64) {
    let z = h * h;
    (h, (z * h).mul_add(poly(z, SIN_F64), l * (-0.5f64).mul_add(z, 1.0)))
}

/// `cos(h + l)` as a pair: `1 - h^2/2` rounded, and the rest.
#[inline(always)]
fn cos_kernel(h: f64, l: f64) -> (f64, f64) {
    let z = h * h;
    let w = (-0.5f64).mul_add(z, 1.0);
    let e = (-0.5f64).mul_add(z, 1.0 - w);
    (w, e + (z * z).mul_add(poly(z, COS_F64), -(h * l)))
}

/// `x` with its sign flipped when bit 1 of `n` is set.
#[inline(always)]
fn sign_by(x: f64, n: u64) -> f64 {
    f64::from_bits(x.to_bits() ^ ((n & 2) << 62))
}

/// The sine of an angle.
#[inline(always)]
pub(crate) fn sin_of(a: Angle) -> f64 {
    let (s, st) = sin_kernel(a.h, a.l);
    let (c, ct) = cos_kernel(a.h, a.l);
    let odd = a.n & 1 != 0;
    sign_by(if odd { c + ct } else { s + st }, a.n)
}

/// The tangent of an angle: a quotient of two pairs.
#[inline(always)]
pub(crate) fn tan_of(a: Angle) -> f64 {
    let (s, st) = sin_kernel(a.h, a.l);
    let (s, st) = fast_two_sum(s, st);
    let (c, ct) = cos_kernel(a.h, a.l);
    let (c, ct) = fast_two_sum(c, ct);
    let odd = a.n & 1 != 0;
    let (n, nl) = if odd { (-c, -ct) } else { (s, st) };
    let (d, dl) = if odd { (s, st) } else { (c, ct) };
    let i = 1.0 / d;
    let q = n * i;
    let rest = (-q).mul_add(d, n) + (-q).mul_add(dl, nl);
    rest.mul_add(i, q)
}

#[inline(always)]
fn turned(a: Angle) -> Angle {
    Angle { n: a.n.wrapping_add(1), ..a }
}

/// `r` unless `x` is a zero: then `x`, whose sign the reduction may lose.
#[inline(always)]
fn keep_zero(x: f64, r: f64) -> f64 {
    if x == 0.0 { x } else { r }
}

/// `sin x`, for an argument that is not far.
#[inline(always)]
pub(crate) fn sin(x: f64) -> f64 {
    keep_zero(x, sin_of(near(x)))
}

/// `cos x`, for an argument that is not far.
#[inline(always)]
pub(crate) fn cos(x: f64) -> f64 {
    sin_of(turned(near(x)))
}

/// `tan x`, for an argument that is not far.
#[inline(always)]
pub(crate) fn tan(x: f64) -> f64 {
    keep_zero(x, tan_of(near(x)))
}

/// `sin x` of a far argument.
#[inline(always)]
pub(crate) fn sin_far(x: f64) -> f64 {
    sin_of(far(x))
}

/// `cos x` of a far argument.
#[inline(always)]
pub(crate) fn cos_far(x: f64) -> f64 {
    sin_of(turned(far(x)))
}

/// `tan x` of a far argument.
#[inline(always)]
pub(crate) fn tan_far(x: f64) -> f64 {
    tan_of(far(x))
}

/// Sine and cosine of a reduced `h` with the error of an `f32` result.
#[inline(always)]
fn kernels_f32(h: f64) -> (f64, f64) {
    let z = h * h;
    let s = (z * h).mul_add(poly(z, SIN_F32_IN_F64), h);
    let c = (z * z).mul_add(poly(z, COS_F32_IN_F64), (-0.5f64).mul_add(z, 1.0));
    (s, c)
}

#[inline(always)]
fn sin_of_f32(a: Angle) -> f32 {
    let (s, c) = kernels_f32(a.h);
    sign_by(if a.n & 1 != 0 { c } else { s }, a.n) as f32
}

#[inline(always)]
fn tan_of_f32(a: Angle) -> f32 {
    let (s, c) = kernels_f32(a.h);
    let odd = a.n & 1 != 0;
    let n = if odd { -c } else { s };
    (n / if odd { s } else { c }) as f32
}

/// `sin x`, for an argument that is not far.
#[inline(always)]
pub(crate) fn sin_f32(x: f32) -> f32 {
    let r = sin_of_f32(near_f32(f64::from(x)));
    if x == 0.0 { x } else { r }
}

/// `cos x`, for an argument that is not far.
#[inline(always)]
pub(crate) fn cos_f32(x: f32) -> f32 {
    sin_of_f32(turned(near_f32(f64::from(x))))
}

/// `tan x`, for an argument that is not far.
#[inline(always)]
pub(crate) fn tan_f32(x: f32) -> f32 {
    let r = tan_of_f32(near_f32(f64::from(x)));
    if x == 0.0 { x } else { r }
}

/// `sin x` of a far argument.
#[inline(always)]
pub(crate) fn sin_far_f32(x: f32) -> f32 {
    sin_of_f32(far(f64::from(x)))
}

/// `cos x` of a far argument.
#[inline(always)]
pub(crate) fn cos_far_f32(x: f32) -> f32 {
    sin_of_f32(turned(far(f64::from(x))))
}

/// `tan x` of a far argument.
#[inline(always)]
pub(crate) fn tan_far_f32(x: f32) -> f32 {
    tan_of_f32(far(f64::from(x)))
}

/// The angle `pi x` for a finite `x`, reduced exactly.
#[inline(always)]
pub(crate) fn angle_pi(x: f64) -> Angle {
    // x modulo 2 is exact, and so is what rounding twice of it takes off.
    let x = x % 2.0;
    let m = x.mul_add(2.0, f64::ROUNDER);
    let k = m - f64::ROUNDER;
    let r = (-0.5f64).mul_add(k, x);
    let (h, e) = two_prod(r, 2.0 * PIO2_1);
    let (h, l) = fast_two_sum(h, r.mul_add(2.0 * PIO2_2, e));
    Angle { n: m.to_bits(), h, l }
}
