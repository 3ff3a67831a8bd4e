//! Turns the two IEEE formats into one interface: the constants and the few bit tricks from which
//! every elementary function is built, and error-free sums and products.
//!
//! Invariant: every operation here is a single IEEE operation, a bit cast, an integer add or shift,
//! or a select, so a loop over it vectorises, and its result does not depend on the instruction set.

use super::coef;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// A binary floating-point format.
///
/// The constants that end in `_HI`/`_LO` are the two parts of one number; those of `LN2_CUT` and
/// `LG2_CUT` (ln 2 and log10 2) have so short a high part that its product with any exponent is exact.
pub(crate) trait Fp:
    Copy
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + 'static
{
    const ZERO: Self;
    const HALF: Self;
    const ONE: Self;
    const TWO: Self;
    const INF: Self;
    const NAN: Self;
    /// The smallest normal number.
    const TINY: Self;
    /// `2^b`, `b` the width of the significand plus one, lifts a subnormal into the normal range.
    const LIFT: Self;
    const LIFT_BITS: Self;
    /// Adding and subtracting it rounds to the nearest integer.
    const ROUNDER: Self;
    /// As `ROUNDER`, and leaves in the low bits of the sum the integer plus twice the exponent bias.
    const EXP_ROUNDER: Self;
    /// Beyond these, `4 e^x` is zero, and `e^x / 2` infinite (but `k` still at most `K_MAX + 3`).
    const EXP_MAX: Self;
    const EXP_MIN: Self;
    const EXP2_MAX: Self;
    const EXP2_MIN: Self;
    /// Below it, `e^x - 1` rounds to -1.
    const EXPM1_MIN: Self;
    /// The largest exponent of a finite number.
    const K_MAX: Self;
    const K_MIN: Self;
    /// Beyond it, `1 + x^2` rounds to `x^2`.
    const BIG: Self;
    const LOG2E_HI: Self;
    const LOG2E_LO: Self;
    const LOG10E_HI: Self;
    const LOG10E_LO: Self;
    const LN2_CUT_HI: Self;
    const LN2_CUT_LO: Self;
    const LG2_CUT_HI: Self;
    const LG2_CUT_LO: Self;
    const PIO2_HI: Self;
    const PIO2_LO: Self;
    const PIO4_HI: Self;
    const PIO4_LO: Self;
    const C_EXP: &'static [Self];
    const C_EXP2: &'static [Self];
    const C_LOG: &'static [Self];
    const C_SINH: &'static [Self];
    const C_TANH: &'static [Self];
    const C_ASIN: &'static [Self];
    const C_ATAN: &'static [Self];

    /// `c` rounded to the format.
    fn lit(c: f64) -> Self;
    /// `self * b + c` with one rounding.
    fn fma(self, b: Self, c: Self) -> Self;
    fn is_nan(self) -> bool;
    fn abs(self) -> Self;
    fn sqrt(self) -> Self;
    fn copysign(self, s: Self) -> Self;
    /// `2^k` for an integral `k` with `K_MIN - 1 <= k <= K_MAX`; zero for `k = K_MIN - 1`.
    fn pow2(k: Self) -> Self;
    /// `p 2^k` for `sum = k + EXP_ROUNDER` and `|k|` up to twice the exponent range, with one rounding
    /// even where the result is subnormal: for a `p` about 1 the first product is exact.
    fn scale(self, sum: Self) -> Self;
    /// `(k, m)` with `x = 2^k m` and `sqrt(1/2) <= m < sqrt 2`, for a normal positive `x`.
    fn split(self) -> (Self, Self);
}

macro_rules! fp {
    ($t:ident, $u:ident, mant $mant:literal, bias $bias:literal, root $root:literal,
     exp $emax:literal $emin:literal, exp2 $e2max:literal $e2min:literal, expm1 $em1:literal, big $big:expr,
     lift $lift:literal,
     $(split $hi:ident $lo:ident $vh:literal $vl:literal,)*
     $(poly $name:ident $c:ident,)*) => {
        #[allow(clippy::excessive_precision, clippy::approx_constant)]
        impl Fp for $t {
            const ZERO: $t = 0.0;
            const HALF: $t = 0.5;
            const ONE: $t = 1.0;
            const TWO: $t = 2.0;
            const INF: $t = $t::INFINITY;
            const NAN: $t = $t::NAN;
            const TINY: $t = $t::MIN_POSITIVE;
            const LIFT: $t = (1u64 << $lift) as $t;
            const LIFT_BITS: $t = $lift as $t;
            const ROUNDER: $t = 1.5 * (1u64 << $mant) as $t;
            const EXP_ROUNDER: $t = 1.5 * (1u64 << $mant) as $t + (2 * $bias) as $t;
            const EXP_MAX: $t = $emax;
            const EXP_MIN: $t = $emin;
            const EXP2_MAX: $t = $e2max;
            const EXP2_MIN: $t = $e2min;
            const EXPM1_MIN: $t = $em1;
            const K_MAX: $t = $bias as $t;
            const K_MIN: $t = 1.0 - $bias as $t;
            const BIG: $t = $big;
            $(const $hi: $t = $vh; const $lo: $t = $vl;)*
            $(const $name: &'static [$t] = coef::$c;)*

            #[inline(always)]
            fn lit(c: f64) -> $t {
                c as $t
            }
            #[inline(always)]
            fn fma(self, b: $t, c: $t) -> $t {
                self.mul_add(b, c)
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                $t::is_nan(self)
            }
            #[inline(always)]
            fn abs(self) -> $t {
                $t::abs(self)
            }
            #[inline(always)]
            fn sqrt(self) -> $t {
                $t::sqrt(self)
            }
            #[inline(always)]
            fn copysign(self, s: $t) -> $t {
                $t::copysign(self, s)
            }
            #[inline(always)]
            fn pow2(k: $t) -> $t {
                // Adding 2^mant + bias leaves the biased exponent in the low bits of the sum.
                const OFFSET: $t = ((1u64 << $mant) + $bias) as $t;
                $t::from_bits((k + OFFSET).to_bits() << $mant)
            }
            #[inline(always)]
            fn scale(self, sum: $t) -> $t {
                // The low bits of the sum are k + 2 bias: half of it, and the other half, are biased
                // exponents already.
                let u = sum.to_bits();
                let half = u >> 1;
                self * $t::from_bits(half << $mant) * $t::from_bits(u.wrapping_sub(half) << $mant)
            }
            #[inline(always)]
            fn split(self) -> ($t, $t) {
                // The integer trick of moving the binade boundary from 1 to sqrt(1/2); the exponent
                // goes to floating point through the low bits of 2^mant, which needs no conversion.
                const ONE: $u = ($bias as $u) << $mant;
                const ROOT: $u = $root;
                const BASE: $t = (1u64 << $mant) as $t;
                const OFFSET: $t = ((1u64 << $mant) + $bias) as $t;
                let u = self.to_bits().wrapping_add(ONE - ROOT);
                let k = $t::from_bits((u >> $mant) | BASE.to_bits()) - OFFSET;
                let m = $t::from_bits((u & ((1 << $mant) - 1)) + ROOT);
                (k, m)
            }
        }
    };
}

fp! {
    f64, u64, mant 52, bias 1023, root 0x3fe6_a09e_667f_3bcd,
    exp 711.0 -750.0, exp2 1025.0 -1080.0, expm1 -50.0, big 1152921504606846976.0, lift 54,
    split LOG2E_HI LOG2E_LO 1.4426950408889634 2.0355273740931033e-17,
    split LOG10E_HI LOG10E_LO 0.4342944819032518 1.098319650216765e-17,
    split LN2_CUT_HI LN2_CUT_LO 0.6931471805592082 7.371002565167799e-13,
    split LG2_CUT_HI LG2_CUT_LO 0.30102999566361177 3.694239077158931e-13,
    split PIO2_HI PIO2_LO 1.5707963267948966 6.123233995736766e-17,
    split PIO4_HI PIO4_LO 0.7853981633974483 3.061616997868383e-17,
    poly C_EXP EXP_F64, poly C_EXP2 EXP2_F64, poly C_LOG LOG_F64, poly C_SINH SINH_F64,
    poly C_TANH TANH_F64, poly C_ASIN ASIN_F64, poly C_ATAN ATAN_F64,
}

fp! {
    f32, u32, mant 23, bias 127, root 0x3f35_04f3,
    exp 90.0 -108.0, exp2 129.0 -152.0, expm1 -30.0, big 1073741824.0, lift 25,
    split LOG2E_HI LOG2E_LO 1.442695 1.925963e-08,
    split LOG10E_HI LOG10E_LO 0.4342945 -1.010305e-08,
    split LN2_CUT_HI LN2_CUT_LO 0.693115234375 3.1946183e-05,
    split LG2_CUT_HI LG2_CUT_LO 0.301025390625 4.605039e-06,
    split PIO2_HI PIO2_LO 1.5707964 -4.371139e-08,
    split PIO4_HI PIO4_LO 0.7853982 -2.1855694e-08,
    poly C_EXP EXP_F32, poly C_EXP2 EXP2_F32, poly C_LOG LOG_F32, poly C_SINH SINH_F32,
    poly C_TANH TANH_F32, poly C_ASIN ASIN_F32, poly C_ATAN ATAN_F32,
}

/// The polynomial with coefficients `c`, lowest power first.
///
/// Long ones are split into even and odd powers: two chains of half the latency.
#[inline(always)]
pub(crate) fn poly<T: Fp>(x: T, c: &'static [T]) -> T {
    let n = c.len();
    if n < 6 {
        let mut p = c[n - 1];
        let mut i = n - 1;
        while i > 0 {
            i -= 1;
            p = p.fma(x, c[i]);
        }
        return p;
    }
    let z = x * x;
    let mut i = if n.is_multiple_of(2) { n - 2 } else { n - 1 };
    let mut even = c[i];
    while i > 1 {
        i -= 2;
        even = even.fma(z, c[i]);
    }
    let mut j = if n.is_multiple_of(2) { n - 1 } else { n - 2 };
    let mut odd = c[j];
    while j > 2 {
        j -= 2;
        odd = odd.fma(z, c[j]);
    }
    odd.fma(x, even)
}

/// `a + b` exactly, as the rounded sum and its error (Knuth's TwoSum).
#[inline(always)]
pub(crate) fn two_sum<T: Fp>(a: T, b: T) -> (T, T) {
    let s = a + b;
    let t = s - a;
    (s, (a - (s - t)) + (b - t))
}

/// As [`two_sum`] for `|a| >= |b|` or `a = 0` (Dekker's FastTwoSum).
#[inline(always)]
pub(crate) fn fast_two_sum<T: Fp>(a: T, b: T) -> (T, T) {
    let s = a + b;
    (s, b - (s - a))
}

/// `a * b` exactly (barring underflow), as the rounded product and its error.
#[inline(always)]
pub(crate) fn two_prod<T: Fp>(a: T, b: T) -> (T, T) {
    let p = a * b;
    (p, a.fma(b, -p))
}

/// The nearest integer, for `|x|` below `2^(mant - 1)`.
#[inline(always)]
pub(crate) fn round<T: Fp>(x: T) -> T {
    (x + T::ROUNDER) - T::ROUNDER
}
