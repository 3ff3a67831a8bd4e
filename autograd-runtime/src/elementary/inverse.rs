//! Turns a ratio into an angle: the inverse circular functions.
//!
//! Invariant: the reduced argument is at most 1/2 (sine) or `sqrt 2 - 1` (tangent), and the multiple
//! of `pi/4` that is added back is added with one rounding, from a constant of twice the precision.

use super::float::{Fp, fast_two_sum, poly};

/// `(s, w)` for `1/2 <= a <= 1`: `s` is the rounded `sqrt((1 - a)/2)`, and `s + w` the inverse sine of the
/// exact one.
#[inline(always)]
fn near_one<T: Fp>(a: T) -> (T, T) {
    let z = (T::ONE - a) * T::HALF;
    let s = z.sqrt();
    let c = (-s).fma(s, z) / (s + s);
    let c = if s > T::ZERO { c } else { T::ZERO };
    (s, (s * z).fma(poly(z, T::C_ASIN), c))
}

/// `asin x`: a polynomial up to 1/2, `pi/2 - 2 asin sqrt((1 - x)/2)` above.
#[inline(always)]
pub(crate) fn asin<T: Fp>(x: T) -> T {
    let a = x.abs();
    let z = a * a;
    let small = (a * z).fma(poly(z, T::C_ASIN), a);
    let (s, w) = near_one(a);
    let (h, l) = fast_two_sum(T::PIO2_HI, -(s + s));
    let big = h + (l + T::TWO.fma(-w, T::PIO2_LO));
    (if a < T::HALF { small } else { big }).copysign(x)
}

/// `acos x`, likewise.
#[inline(always)]
pub(crate) fn acos<T: Fp>(x: T) -> T {
    let a = x.abs();
    let z = a * a;
    let t = (x * z).fma(poly(z, T::C_ASIN), -T::PIO2_LO);
    let (h, l) = fast_two_sum(T::PIO2_HI, -x);
    let small = h + (l - t);
    let (s, w) = near_one(a);
    let right = T::TWO * (s + w);
    let (h, l) = fast_two_sum(T::PIO2_HI, -s);
    let left = T::TWO * (h + (l + (T::PIO2_LO - w)));
    let big = if x > T::ZERO { right } else { left };
    if a < T::HALF { small } else { big }
}

/// The angle of the point `(b, a)` with `a, b >= 0`, and of `(-b, a)` when `left`.
///
/// The smaller coordinate is divided by the larger, and where the quotient exceeds `tan(pi/8)` the
/// point is turned by `pi/4`: `atan(a/b) = pi/4 + atan((a - b)/(a + b))`.
#[inline(always)]
fn angle<T: Fp>(a: T, b: T, left: bool) -> T {
    let steep = a > b;
    let lo = if steep { b } else { a };
    let hi = if steep { a } else { b };
    let turn = lo > T::lit(0.414_213_562_373_095) * hi;
    let (n, nl) = fast_two_sum(if turn { -hi } else { lo }, if turn { lo } else { T::ZERO });
    let (d, dl) = fast_two_sum(hi, if turn { lo } else { T::ZERO });
    // One division; its error and those of n and d come back as the low part of the quotient.
    let i = T::ONE / if d == T::ZERO { T::ONE } else { d };
    let t = n * i;
    let tl = ((-t).fma(d, n) + (-t).fma(dl, nl)) * i;
    let z = t * t;
    let r = t + (t * z).fma(poly(z, T::C_ATAN), tl);
    // The multiple of pi/4, and the direction, after undoing the turn, the swap and the mirror.
    let m = if turn { T::ONE } else { T::ZERO };
    let (m, r) = if steep { (T::TWO - m, -r) } else { (m, r) };
    let (m, r) = if left { (T::lit(4.0) - m, -r) } else { (m, r) };
    m.fma(T::PIO4_HI, m.fma(T::PIO4_LO, r))
}

/// `atan x`.
#[inline(always)]
pub(crate) fn atan<T: Fp>(x: T) -> T {
    let a = x.abs();
    // atan of anything above 2^60 is pi/2; the bound keeps infinity out of the quotient.
    let big = T::lit(1_152_921_504_606_846_976.0);
    let a = if a > big { big } else { a };
    angle(a, T::ONE, false).copysign(x)
}

/// The angle of the point `(x, y)`, as C's `atan2`.
#[inline(always)]
pub(crate) fn atan2<T: Fp>(y: T, x: T) -> T {
    let (a, b) = (y.abs(), x.abs());
    // Two infinite coordinates count as equal ones; an infinite one beats every finite one.
    let ai = a == T::INF;
    let bi = b == T::INF;
    let any = ai | bi;
    let one_if = |c: bool| if c { T::ONE } else { T::ZERO };
    let a1 = if any { one_if(ai) } else { a };
    let b1 = if any { one_if(bi) } else { b };
    // Scaling both by a power of two keeps the sum finite and its reciprocal normal, and a subnormal pair
    // precise.
    let up = T::pow2(T::lit(64.0));
    let down = T::pow2(T::lit(-4.0));
    let top = if a1 > b1 { a1 } else { b1 };
    let s = if top > T::pow2(T::K_MAX - T::lit(8.0)) { down } else { T::ONE };
    let s = if top < T::pow2(T::K_MIN + T::lit(60.0)) { up } else { s };
    let left = T::ONE.copysign(x) < T::ZERO;
    let r = angle(a1 * s, b1 * s, left).copysign(y);
    if x.is_nan() | y.is_nan() { T::NAN } else { r }
}
