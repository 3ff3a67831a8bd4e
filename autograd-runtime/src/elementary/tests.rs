//! Turns samples of every function into their worst error in units in the last place, and checks the
//! invariants of the module: the bounds, the special values, and equal bits on every path.
//!
//! Invariant: the `f64` functions are measured against 320-bit arithmetic (`astro-float`, and series
//! summed with it), the `f32` ones against the `f64` ones so measured.

use super::dispatch::{self, Level};
use super::{Binary, Element, Unary};
use astro_float::{BigFloat, Consts, RoundingMode, Sign};
use std::cell::RefCell;

const RM: RoundingMode = RoundingMode::None;
const P: usize = 320;

thread_local! {
    static CC: RefCell<Consts> = RefCell::new(Consts::new().unwrap());
    static BERNOULLI: Vec<R> = bernoulli();
}

/// A number of high precision.
#[derive(Clone)]
struct R(BigFloat);

macro_rules! ops {
    ($($tr:ident $f:ident,)*) => { $(impl std::ops::$tr<&R> for &R {
        type Output = R;
        fn $f(self, b: &R) -> R {
            let p = self.p().max(b.p());
            R(self.0.$f(&b.0, p, RM))
        }
    })* };
}
ops! { Add add, Sub sub, Mul mul, Div div, }

macro_rules! funcs {
    ($($f:ident)*) => { $(fn $f(&self) -> R {
        CC.with(|c| R(self.0.$f(self.p(), RM, &mut c.borrow_mut())))
    })* };
}

impl R {
    funcs! { exp ln sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh log2 log10 }

    fn p(&self) -> usize {
        self.0.precision().unwrap_or(P).max(P)
    }
    fn new(x: f64) -> R {
        R::with(x, P)
    }
    fn with(x: f64, p: usize) -> R {
        // Subnormal numbers are not taken over correctly by `from_f64`.
        if x != 0.0 && x.abs() < 1e-290 {
            let lifted = R(BigFloat::from_f64(x * 2f64.powi(200), p));
            return &lifted * &R(BigFloat::from_f64(2f64.powi(-200), p));
        }
        R(BigFloat::from_f64(x, p))
    }
    fn pi() -> R {
        CC.with(|c| R(c.borrow_mut().pi(P, RM)))
    }
    fn sqrt(&self) -> R {
        R(self.0.sqrt(self.p(), RM))
    }
    fn cbrt(&self) -> R {
        R(self.0.cbrt(self.p(), RM))
    }
    fn neg(&self) -> R {
        R(self.0.neg())
    }
    fn abs(&self) -> R {
        R(self.0.abs())
    }
    fn times(&self, x: f64) -> R {
        self * &R::new(x)
    }
    fn plus(&self, x: f64) -> R {
        self + &R::new(x)
    }
    fn recip(&self) -> R {
        &R::new(1.0) / self
    }
    fn square(&self) -> R {
        self * self
    }
    /// `(m, e)` with `self = m 2^e`, `1/2 <= |m| < 1`, `m` to the precision of `f64`.
    fn parts(&self) -> (f64, i64) {
        if self.0.is_zero() {
            return (0.0, -100_000);
        }
        let (m, _, s, e, _) = self.0.as_raw_parts().unwrap();
        let top = *m.last().unwrap() as f64 / 18_446_744_073_709_551_616.0;
        (if s == Sign::Neg { -top } else { top }, i64::from(e))
    }
    fn approx(&self) -> f64 {
        let (m, e) = self.parts();
        m * 2f64.powi((e / 2).clamp(-2000, 2000) as i32) * 2f64.powi((e - e / 2).clamp(-2000, 2000) as i32)
    }
}

/// The error of `got` in units in the last place of `exact` rounded to `f64`.
fn ulps(got: f64, exact: &R) -> f64 {
    let (m, e) = exact.parts();
    // Beyond the largest number and half a unit, infinity is right.
    if e > 1024 || (e == 1024 && m.abs() >= 1.0 - 2f64.powi(-54)) {
        return if got == f64::INFINITY.copysign(m) { 0.0 } else { f64::INFINITY };
    }
    if !got.is_finite() {
        return f64::INFINITY;
    }
    let unit = (e - 53).max(-1074);
    let (dm, de) = (&R::new(got) - exact).parts();
    dm.abs() * 2f64.powi((de - unit).clamp(-1000, 1000) as i32)
}

/// The error of `got` in units in the last place of `exact` rounded to `f32`.
fn ulps32(got: f32, exact: f64) -> f64 {
    if exact.is_nan() || got.is_nan() {
        return if exact.is_nan() && got.is_nan() { 0.0 } else { f64::INFINITY };
    }
    let rounded = exact as f32;
    if rounded.is_infinite() || got.is_infinite() {
        return if rounded == got { 0.0 } else { f64::INFINITY };
    }
    let e = ((exact.to_bits() >> 52) & 0x7ff) as i32 - 1023;
    let unit = 2f64.powi((e - 23).max(-149));
    (f64::from(got) - exact).abs() / unit
}

fn bernoulli() -> Vec<R> {
    // B_m = -1/(m+1) sum_{k<m} C(m+1, k) B_k.
    let p = 640;
    let mut b = vec![R::with(1.0, p)];
    for m in 1..=60u32 {
        let mut c = R::with(1.0, p);
        let mut s = R::with(0.0, p);
        for k in 0..m {
            s = &s + &(&c * &b[k as usize]);
            c = &(&c * &R::with(f64::from(m + 1 - k), p)) / &R::with(f64::from(k + 1), p);
        }
        b.push((&s / &R::with(f64::from(m + 1), p)).neg());
    }
    b
}

fn log1p(t: &R) -> R {
    if t.parts().1 < -120 {
        let t2 = t.square();
        &(t - &t2.times(0.5)) + &(&(&t2 * t) / &R::new(3.0))
    } else {
        t.plus(1.0).ln()
    }
}

fn expm1(t: &R) -> R {
    if t.parts().1 < -120 {
        let t2 = t.square();
        &(t + &t2.times(0.5)) + &(&(&t2 * t) / &R::new(6.0))
    } else {
        t.exp().plus(-1.0)
    }
}

/// `erf x` for a precision: `2/sqrt(pi) e^(-x^2) sum 2^n x^(2n+1) / (2n+1)!!`, whose terms are positive.
fn erf(x: f64, p: usize) -> R {
    let x = R::with(x, p);
    let x2 = x.square();
    let two = R::with(2.0, p);
    let mut term = x.clone();
    let mut sum = x.clone();
    let mut n = 1.0;
    loop {
        term = &(&(&term * &x2) * &two) / &R::with(2.0 * n + 1.0, p);
        sum = &sum + &term;
        n += 1.0;
        if term.0.is_zero() || term.parts().1 < sum.parts().1 - p as i64 {
            break;
        }
    }
    let pi = CC.with(|c| R(c.borrow_mut().pi(p, RM)));
    &(&(&sum * &two) * &x2.neg().exp()) / &pi.sqrt()
}

/// `ln |Gamma x|` and digamma: shifted up to 60, then the asymptotic series.
fn gamma(x: f64) -> (R, R) {
    let one = R::new(1.0);
    if x < 0.0 {
        // Gamma(x) Gamma(1 - x) = pi / sin(pi x).
        let (l, d) = gamma_positive(&one - &R::new(x));
        let a = &R::pi() * &R::new(x % 2.0);
        let s = a.sin().abs();
        let lg = &(&R::pi() / &s).ln() - &l;
        return (lg, &d - &(&R::pi() / &a.tan()));
    }
    gamma_positive(R::new(x))
}

fn gamma_positive(mut y: R) -> (R, R) {
    let mut prod = R::new(1.0);
    let mut sum = R::new(0.0);
    while y.approx() < 60.0 {
        prod = &prod * &y;
        sum = &sum + &y.recip();
        y = y.plus(1.0);
    }
    let ln = y.ln();
    let mut lg = &(&y.plus(-0.5) * &ln) - &y;
    lg = &lg + &R::pi().times(2.0).ln().times(0.5);
    let mut dg = &ln - &y.recip().times(0.5);
    let inv2 = y.recip().square();
    let mut pw = y.recip();
    BERNOULLI.with(|b| {
        for k in 1..=30 {
            let m = 2.0 * f64::from(k);
            let t = &b[2 * k as usize] * &pw;
            lg = &lg + &(&t / &R::new(m * (m - 1.0)));
            dg = &dg - &(&(&t * &y.recip()) / &R::new(m));
            pw = &pw * &inv2;
        }
    });
    (&lg - &prod.ln(), &dg - &sum)
}

/// The function to 300 bits or so.
fn exact(f: Unary, x: f64) -> R {
    let r = R::new(x);
    let one = R::new(1.0);
    match f {
        Unary::Exp => r.exp(),
        Unary::Exp2 => (&r * &R::new(2.0).ln()).exp(),
        Unary::Expm1 => expm1(&r),
        Unary::Ln => r.ln(),
        Unary::Log2 => r.log2(),
        Unary::Log10 => r.log10(),
        Unary::Log1p => log1p(&r),
        Unary::Sin => r.sin(),
        Unary::Cos => r.cos(),
        Unary::Tan => r.tan(),
        Unary::Asin => r.asin(),
        Unary::Acos => r.acos(),
        Unary::Atan => r.atan(),
        Unary::Sinh => r.sinh(),
        Unary::Cosh => r.cosh(),
        Unary::Tanh => r.tanh(),
        Unary::Asinh => r.asinh(),
        Unary::Acosh => r.acosh(),
        Unary::Atanh => r.atanh(),
        Unary::Sigmoid => (&one + &r.neg().exp()).recip(),
        Unary::Softplus => {
            let l = log1p(&r.abs().neg().exp());
            if x > 0.0 { &r + &l } else { l }
        }
        Unary::Cbrt => r.cbrt(),
        Unary::Erf => {
            if x.abs() > 7.0 {
                R::new(1f64.copysign(x))
            } else {
                erf(x, P)
            }
        }
        Unary::Erfc => {
            let p = 256 + (3.0 * x * x) as usize;
            &one - &erf(x, p)
        }
        Unary::Lgamma => gamma(x).0,
        Unary::Digamma => gamma(x).1,
        Unary::Sech2 => {
            let e = r.abs().times(-2.0).exp();
            &e.times(4.0) / &e.plus(1.0).square()
        }
        Unary::SigmoidGrad => {
            let e = r.abs().neg().exp();
            &e / &e.plus(1.0).square()
        }
    }
}

/// A generator of test numbers (xorshift).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / 9_007_199_254_740_992.0
    }
    fn between(&mut self, a: f64, b: f64) -> f64 {
        a + (b - a) * self.unit()
    }
    /// Any exponent between the two.
    fn magnitude(&mut self, lo: i32, hi: i32) -> f64 {
        let e = lo + (self.next() % (hi - lo + 1) as u64) as i32;
        let m = 1.0 + self.unit();
        m * 2f64.powi(e / 2) * 2f64.powi(e - e / 2)
    }
}

type Domain = (Vec<(f64, f64)>, (i32, i32), Vec<f64>, bool);

/// The intervals, the exponents and the points of interest of a function, and whether their negatives
/// count too.
fn domain(f: Unary) -> Domain {
    use Unary::*;
    let all = (-1074, 1023);
    match f {
        Exp | Expm1 => (
            vec![(-1.0, 1.0), (-40.0, 40.0), (-746.0, -700.0), (-700.0, 709.7)],
            (-1074, 9),
            vec![0.34657359027997264, 709.782712893384, -708.3964185322641, -745.1332191019411, 37.0],
            true,
        ),
        Exp2 => (
            vec![(-1.0, 1.0), (-1076.0, -1020.0), (-1000.0, 1024.0)],
            (-1074, 10),
            vec![0.5, 1023.5, 1024.0, -1022.0, -1074.0, -1075.0],
            true,
        ),
        Ln | Log2 | Log10 => (
            vec![(0.5, 2.0), (0.9, 1.1), (0.999, 1.001)],
            all,
            vec![1.0, std::f64::consts::FRAC_1_SQRT_2, std::f64::consts::SQRT_2, 2.2250738585072014e-308],
            false,
        ),
        Log1p => (
            vec![(-0.5, 0.5), (-0.999, 2.0), (-1e-3, 1e-3)],
            all,
            vec![-0.2928932188134524, 0.41421356237309503, -0.9999999999999999, 1.0],
            false,
        ),
        Sin | Cos | Tan => (
            vec![(-1.0, 1.0), (-7.0, 7.0), (-1000.0, 1000.0), (-1e6, 1e6), (-1e9, 1e9)],
            (-1074, 1023),
            vec![
                std::f64::consts::FRAC_PI_4,
                std::f64::consts::FRAC_PI_2,
                std::f64::consts::PI,
                3.0 * std::f64::consts::FRAC_PI_4,
                1e6,
                1e300,
                // Among the doubles nearest to a multiple of pi/2.
                5.319372648326541e255,
                3.5e5 * std::f64::consts::PI,
            ],
            true,
        ),
        Asin | Acos | Atanh => {
            (vec![(-1.0, 1.0), (-0.6, 0.6), (0.99, 1.0)], (-1074, -1), vec![0.5, 0.9999999999999999], true)
        }
        Atan => (vec![(-1.0, 1.0), (-5.0, 5.0)], all, vec![0.41421356237309503, 2.414213562373095, 1.0], true),
        Sinh | Cosh | Tanh => (
            vec![(-1.0, 1.0), (-25.0, 25.0), (-710.5, 710.5), (0.3, 0.7)],
            (-1074, 9),
            vec![0.37, 0.55, 0.34657359027997264, 710.4758600739439, 709.9, 22.0],
            true,
        ),
        Asinh => (vec![(-1.0, 1.0), (-10.0, 10.0)], all, vec![1073741824.0, 0.5], true),
        Acosh => {
            (vec![(1.0, 1.1), (1.0, 10.0), (1.0, 1.0001)], (0, 1023), vec![1.0000000000000002, 1073741824.0], false)
        }
        Sigmoid | Softplus | Sech2 | SigmoidGrad => (
            vec![(-1.0, 1.0), (-40.0, 40.0), (-745.5, 745.5), (-375.0, 375.0)],
            (-1074, 9),
            vec![17.0, 20.0, 36.7, 354.0, 372.9, 708.3],
            true,
        ),
        Cbrt => (vec![(-8.0, 8.0)], all, vec![1.0, 8.0, 27.0, 2.0, 4.0], true),
        Erf => (vec![(-1.0, 1.0), (-6.0, 6.0)], (-1000, 4), vec![0.5, 1.0], true),
        Erfc => (vec![(-1.0, 1.0), (-6.0, 6.0), (6.0, 12.0), (0.0, 27.3)], (-1000, 4), vec![0.5, 1.0, 26.5], true),
        Lgamma => (
            vec![(0.0, 0.5), (0.5, 3.0), (0.9, 1.1), (1.9, 2.1), (2.5, 8.0), (7.0, 200.0), (-0.5, 0.0), (-30.0, 0.0)],
            (-1074, 1013),
            vec![1.0, 2.0, 2.5, 1.5, 7.0, 0.5, 2.55e305],
            false,
        ),
        Digamma => (
            vec![(0.0, 0.5), (0.5, 3.0), (1.4, 1.5), (2.0, 8.0), (7.0, 200.0), (-0.5, 0.0), (-30.0, 0.0)],
            (-1021, 1023),
            vec![1.0, 2.0, 7.0, 1.4616321449683622],
            false,
        ),
    }
}

fn samples(f: Unary) -> Vec<f64> {
    let (intervals, (lo, hi), points, symmetric) = domain(f);
    let mut rng = Rng(0x9e37_79b9_7f4a_7c15 ^ (f as u64) << 7);
    let mut v = Vec::new();
    let n = if matches!(f, Unary::Erfc) { 120 } else { SAMPLES };
    for (a, b) in intervals {
        for _ in 0..n {
            v.push(rng.between(a, b));
        }
    }
    for i in 0..n {
        let m = rng.magnitude(lo, hi);
        v.push(if symmetric && i % 2 == 1 { -m } else { m });
    }
    for p in points {
        for d in -3i64..=3 {
            let x = f64::from_bits((p.to_bits() as i64 + d) as u64);
            v.push(x);
            if symmetric {
                v.push(-x);
            }
        }
    }
    v.retain(|x| *x != 0.0);
    match f {
        Unary::Asin | Unary::Acos => v.retain(|x| x.abs() <= 1.0),
        Unary::Atanh => v.retain(|x| x.abs() < 1.0),
        Unary::Acosh => v.retain(|x| *x >= 1.0),
        Unary::Log1p => v.retain(|x| *x > -1.0),
        // The exact zeros are among the special values.
        Unary::Lgamma => v.retain(|x| *x != 1.0 && *x != 2.0),
        _ => {}
    }
    v
}

const SAMPLES: usize = 500;

/// The bound of a function, in units in the last place.
fn bound(f: Unary) -> f64 {
    match f {
        Unary::Erf | Unary::Erfc | Unary::Lgamma | Unary::Digamma => 8.0,
        Unary::Sech2 | Unary::SigmoidGrad => 4.0,
        _ => 2.0,
    }
}

/// The worst of a function of one argument: `(f32 error, where, f64 error, where)`.
fn worst(f: Unary) -> (f64, f32, f64, f64) {
    let (mut e64, mut at64) = (0.0, 0.0);
    for x in samples(f) {
        let want = exact(f, x);
        // The zeros at negative arguments are left out, as promised.
        if matches!(f, Unary::Lgamma | Unary::Digamma) && x < 0.0 && want.approx().abs() < 1.0 {
            continue;
        }
        let e = ulps(f64::unary(f, x), &want);
        if e > e64 {
            (e64, at64) = (e, x);
        }
    }
    let (mut e32, mut at32) = (0.0, 0.0);
    let mut bits = 0u32;
    loop {
        let x = f32::from_bits(bits);
        if !x.is_nan() {
            let e = ulps32(f32::unary(f, x), f64::unary(f, f64::from(x)));
            if e > e32 {
                (e32, at32) = (e, x);
            }
        }
        let (next, over) = bits.overflowing_add(2503);
        if over {
            break;
        }
        bits = next;
    }
    (e32, at32, e64, at64)
}

/// The errors that the documentation gives for a function, f32 and f64.
fn documented(name: &str) -> Option<(f64, f64)> {
    const TABLE: &str = include_str!("../../../docs/numerics.md");
    TABLE.lines().find_map(|line| match line.split('|').map(str::trim).collect::<Vec<_>>()[..] {
        ["", found, a, b, ""] if found == name.to_lowercase() => Some((a.parse().ok()?, b.parse().ok()?)),
        _ => None,
    })
}

fn report(name: &str, w: (f64, f32, f64, f64), bound: f64) {
    println!("| {name} | {:.3} | {:.3} |   <!-- at {:e}, {:e} -->", w.0, w.2, w.1, w.3);
    let table = documented(name).unwrap_or_else(|| panic!("{name} is not in the table of docs/numerics.md"));
    assert!(w.0 <= table.0 && w.2 <= table.1, "{name}: {} and {} ulp, in the documentation {table:?}", w.0, w.2);
    assert!(w.0 <= bound, "{name} of f32: {} ulp at {:e}", w.0, w.1);
    assert!(w.2 <= bound, "{name} of f64: {} ulp at {:e}", w.2, w.3);
}

macro_rules! accuracy {
    ($($test:ident $f:ident,)*) => { $(#[test]
    fn $test() {
        report(stringify!($f), worst(Unary::$f), bound(Unary::$f));
    })* };
}

accuracy! {
    exp Exp, exp2 Exp2, expm1_ Expm1, ln Ln, log2 Log2, log10 Log10, log1p_ Log1p, sin Sin, cos Cos, tan Tan,
    asin Asin, acos Acos, atan Atan, sinh Sinh, cosh Cosh, tanh Tanh, asinh Asinh, acosh Acosh, atanh Atanh,
    sigmoid Sigmoid, softplus Softplus, cbrt Cbrt, erf_ Erf, erfc Erfc, lgamma Lgamma, digamma Digamma,
    sech2 Sech2, sigmoid_grad SigmoidGrad,
}

fn exact2(f: Binary, a: f64, b: f64) -> R {
    let (x, y) = (R::new(a), R::new(b));
    match f {
        Binary::Pow => {
            let r = (&y * &x.abs().ln()).exp();
            if a < 0.0 && b % 2.0 != 0.0 { r.neg() } else { r }
        }
        Binary::Hypot => (&x.square() + &y.square()).sqrt(),
        Binary::Atan2 => {
            // f(a, b) is the angle of the point (b, a).
            let t = (&x.abs() / &y.abs()).atan();
            let t = if b < 0.0 { &R::pi() - &t } else { t };
            if a < 0.0 { t.neg() } else { t }
        }
    }
}

fn pairs(f: Binary) -> Vec<(f64, f64)> {
    let mut rng = Rng(77 + f as u64);
    let mut v = Vec::new();
    for i in 0..SAMPLES {
        let s = if i % 2 == 0 { 1.0 } else { -1.0 };
        let t = if i % 4 < 2 { 1.0 } else { -1.0 };
        match f {
            Binary::Pow => {
                let x = rng.magnitude(-1074, 1023);
                // Exponents that use the whole range of the result, with the subnormal one.
                let y = rng.between(-750.0, 710.0) / x.ln();
                v.push((x, y));
                let x = rng.between(0.5, 2.0);
                v.push((x, rng.between(-745.0, 709.0) / x.ln()));
                v.push((-x, rng.between(-1000.0, 1000.0).round()));
                let x = 1.0 + s * rng.magnitude(-52, -10);
                v.push((x, rng.between(-745.0, 709.0) / x.ln()));
                v.push((rng.between(0.0, 10.0), rng.between(-10.0, 10.0)));
                v.push((rng.between(-10.0, 0.0), rng.between(-20.0, 20.0).round()));
                v.push((x, t * rng.magnitude(-60, 0)));
            }
            Binary::Hypot | Binary::Atan2 => {
                v.push((rng.between(-1.0, 1.0), rng.between(-1.0, 1.0)));
                let m = rng.magnitude(-1074, 1022);
                v.push((s * m * rng.between(0.1, 4.0), t * m));
                v.push((s * m, t * m * rng.magnitude(-30, 1)));
                v.push((s * rng.magnitude(-1074, 1023), t * rng.magnitude(-1074, 1023)));
                v.push((s * m, t * m));
                v.push((s * rng.magnitude(-1074, -1060), t * rng.magnitude(-1074, -1060)));
            }
        }
    }
    v.retain(|p| p.0 != 0.0 && p.1 != 0.0 && p.0.is_finite() && p.1.is_finite());
    v
}

fn worst2(f: Binary) -> (f64, f32, f64, f64) {
    let mut w = (0.0, 0.0, 0.0, 0.0);
    for (a, b) in pairs(f) {
        let e = ulps(f64::binary(f, a, b), &exact2(f, a, b));
        if e > w.2 {
            (w.2, w.3) = (e, a);
        }
    }
    let mut rng = Rng(5);
    for i in 0..2_000_000u32 {
        let u = rng.next();
        let a = f32::from_bits(u as u32);
        let b = match (f, i % 4) {
            (_, 0) => f32::from_bits((u >> 32) as u32),
            (Binary::Pow, 1) => (rng.between(-104.0, 89.0) / f64::from(a.abs()).ln()) as f32,
            (Binary::Pow, 2) => rng.between(-20.0, 20.0).round() as f32,
            _ => a * rng.between(-4.0, 4.0) as f32,
        };
        if a.is_nan() || b.is_nan() {
            continue;
        }
        let e = ulps32(f32::binary(f, a, b), f64::binary(f, f64::from(a), f64::from(b)));
        if e > w.0 {
            (w.0, w.1) = (e, a);
        }
    }
    w
}

#[test]
fn pow() {
    report("Pow", worst2(Binary::Pow), 2.0);
}

#[test]
fn atan2() {
    report("Atan2", worst2(Binary::Atan2), 2.0);
}

#[test]
fn hypot() {
    report("Hypot", worst2(Binary::Hypot), 2.0);
}

#[test]
fn powi() {
    let mut rng = Rng(99);
    let mut w = (0.0, 0.0, 0.0, 0.0);
    for i in 0..4000 {
        let n = match i % 4 {
            0 => (rng.next() % 9) as i32 - 4,
            1 => (rng.next() % 200) as i32 - 100,
            2 => rng.next() as i32,
            _ => [i32::MAX, i32::MIN, i32::MIN + 1, 1_000_000_007][i / 4 % 4],
        };
        let x = match i % 4 {
            0 => rng.magnitude(-300, 300),
            _ => (rng.between(-745.0, 709.0) / f64::from(n)).exp(),
        };
        let x = if i % 3 == 0 { -x } else { x };
        if n == 0 || x == 0.0 || !x.is_finite() {
            continue;
        }
        let e = ulps(<f64 as Element>::powi(x, n), &exact2(Binary::Pow, x, f64::from(n)));
        if e > w.2 {
            (w.2, w.3) = (e, x);
        }
        let y = x as f32;
        let e = ulps32(<f32 as Element>::powi(y, n), <f64 as Element>::powi(f64::from(y), n));
        if e > w.0 {
            (w.0, w.1) = (e, y);
        }
    }
    report("powi", w, 2.0);
}

/// Bits, with every NaN the same.
fn same64(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

fn same32(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

#[test]
fn special_values() {
    use Unary::*;
    const I: f64 = f64::INFINITY;
    const N: f64 = f64::NAN;
    let h = std::f64::consts::FRAC_PI_2;
    // f, then its values at -inf, -0, +0, 1, +inf.
    let table: [(Unary, [f64; 5]); 28] = [
        (Exp, [0.0, 1.0, 1.0, std::f64::consts::E, I]),
        (Exp2, [0.0, 1.0, 1.0, 2.0, I]),
        (Expm1, [-1.0, -0.0, 0.0, 1.718281828459045, I]),
        (Ln, [N, -I, -I, 0.0, I]),
        (Log2, [N, -I, -I, 0.0, I]),
        (Log10, [N, -I, -I, 0.0, I]),
        (Log1p, [N, -0.0, 0.0, std::f64::consts::LN_2, I]),
        (Sin, [N, -0.0, 0.0, 0.8414709848078965, N]),
        (Cos, [N, 1.0, 1.0, 0.5403023058681398, N]),
        (Tan, [N, -0.0, 0.0, 1.557407724654902, N]),
        (Asin, [N, -0.0, 0.0, h, N]),
        (Acos, [N, h, h, 0.0, N]),
        (Atan, [-h, -0.0, 0.0, std::f64::consts::FRAC_PI_4, h]),
        (Sinh, [-I, -0.0, 0.0, 1.1752011936438014, I]),
        (Cosh, [I, 1.0, 1.0, 1.5430806348152437, I]),
        (Tanh, [-1.0, -0.0, 0.0, 0.7615941559557649, 1.0]),
        (Asinh, [-I, -0.0, 0.0, 0.881373587019543, I]),
        (Acosh, [N, N, N, 0.0, I]),
        (Atanh, [N, -0.0, 0.0, I, N]),
        (Sigmoid, [0.0, 0.5, 0.5, 0.7310585786300049, 1.0]),
        (Softplus, [0.0, std::f64::consts::LN_2, std::f64::consts::LN_2, 1.3132616875182228, I]),
        (Cbrt, [-I, -0.0, 0.0, 1.0, I]),
        (Erf, [-1.0, -0.0, 0.0, 0.8427007929497149, 1.0]),
        (Erfc, [2.0, 1.0, 1.0, 0.15729920705028513, 0.0]),
        (Lgamma, [I, I, I, 0.0, I]),
        (Digamma, [N, I, -I, -0.5772156649015329, I]),
        (Sech2, [0.0, 1.0, 1.0, 0.4199743416140261, 0.0]),
        (SigmoidGrad, [0.0, 0.25, 0.25, 0.19661193324148185, 0.0]),
    ];
    for (f, want) in table {
        for (x, w) in [-I, -0.0, 0.0, 1.0, I].into_iter().zip(want) {
            let got = f64::unary(f, x);
            let near = x == 1.0 && (got - w).abs() <= 4e-16 * w.abs();
            assert!(near || same64(got, w), "{f:?}({x}) = {got:e}, not {w:e}");
            let got = f32::unary(f, x as f32);
            let near = x == 1.0 && (got - w as f32).abs() <= 2e-7 * w.abs() as f32;
            assert!(near || same32(got, w as f32), "f32 {f:?}({x}) = {got:e}, not {w:e}");
        }
        assert!(f64::unary(f, N).is_nan() && f32::unary(f, f32::NAN).is_nan(), "{f:?}(NaN)");
    }
    for f in [Asin, Acos, Atanh] {
        assert!(f64::unary(f, 1.0000000000000002).is_nan() && f32::unary(f, -1.0000001).is_nan());
    }
    assert!(f64::unary(Log1p, -1.0) == -I && f64::unary(Atanh, -1.0) == -I && f64::unary(Log1p, -1.1).is_nan());
    assert!(f64::unary(Lgamma, -3.0) == I && f64::unary(Digamma, -3.0).is_nan());
    assert!(f64::unary(Lgamma, 2.0) == 0.0 && f64::unary(Acosh, 0.5).is_nan());
    // Small results that the naive formulas lose.
    assert!((f32::unary(Sech2, 17.0) / 6.855_634e-15 - 1.0).abs() < 1e-6);
    assert!((f32::unary(SigmoidGrad, 20.0) / 2.061_153_6e-9 - 1.0).abs() < 1e-6);
    // The smallest numbers keep their value where the function is close to its argument.
    for f in [Expm1, Log1p, Sin, Tan, Asin, Atan, Sinh, Tanh, Asinh, Atanh] {
        for x in [5e-324, -1e-310, 2.2250738585072014e-308] {
            assert!(same64(f64::unary(f, x), x), "{f:?}({x:e}) = {:e}", f64::unary(f, x));
        }
        for x in [1e-45f32, -1e-40, f32::MIN_POSITIVE] {
            assert!(same32(f32::unary(f, x), x), "f32 {f:?}({x:e})");
        }
    }
}

#[test]
fn special_values_of_two() {
    const I: f64 = f64::INFINITY;
    const N: f64 = f64::NAN;
    let pi = std::f64::consts::PI;
    let grid = [N, I, -I, 0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 1e300, -1e300, 9007199254740993.0];
    for a in grid {
        for b in grid {
            // The standard library's are the platform's, whose special cases are C's.
            for f in Binary::ALL {
                let (a32, b32) = (a as f32, b as f32);
                let (want, want32) = match f {
                    Binary::Pow => (a.powf(b), a32.powf(b32)),
                    Binary::Atan2 => (a.atan2(b), a32.atan2(b32)),
                    Binary::Hypot => (a.hypot(b), a32.hypot(b32)),
                };
                let got = f64::binary(f, a, b);
                let close = (got - want).abs() <= 4e-16 * want.abs() && got != 0.0;
                assert!(close || same64(got, want), "{f:?}({a}, {b}) = {got:e}, not {want:e}");
                let got = f32::binary(f, a32, b32);
                let close = (got - want32).abs() <= 2e-7 * want32.abs() && got != 0.0;
                assert!(close || same32(got, want32), "f32 {f:?}({a}, {b}) = {got:e}, not {want32:e}");
            }
        }
    }
    assert!(same64(f64::binary(Binary::Atan2, -0.0, -1.0), -pi));
    for n in [i32::MIN, -3, -2, -1, 0, 1, 2, 3, 4, i32::MAX] {
        for x in grid {
            let (want, got) = (x.powf(f64::from(n)), <f64 as Element>::powi(x, n));
            assert!((got - want).abs() <= 4e-16 * want.abs() || same64(got, want), "powi({x}, {n}) = {got:e}");
            // The last number of the grid is another integer in f32.
            let x = x as f32;
            let (want, got) = (f64::from(x).powf(f64::from(n)) as f32, <f32 as Element>::powi(x, n));
            assert!((got - want).abs() <= 2e-7 * want.abs() || same32(got, want), "f32 powi({x}, {n}) = {got:e}");
        }
    }
}

/// Numbers of all sorts: usual, special, huge, subnormal, and any bits.
fn mixed(n: usize, seed: u64) -> Vec<f64> {
    let mut rng = Rng(seed);
    let odd = [0.0, -0.0, f64::INFINITY, -f64::INFINITY, f64::NAN, 1e300, 5e-324, -3.0, 1e10, -0.25];
    (0..n)
        .map(|i| match i % 5 {
            0 => rng.between(-3.0, 3.0),
            1 => rng.between(0.0, 1.0),
            2 => odd[(rng.next() % odd.len() as u64) as usize],
            3 => rng.between(-1e3, 1e3),
            _ => f64::from_bits(rng.next()),
        })
        .collect()
}

macro_rules! same_bits {
    ($test:ident, $t:ident, $same:ident, $one:ident, $two:ident, $powi:ident, $in_place:ident) => {
        #[test]
        fn $test() {
            let levels: Vec<Level> = [Level::Baseline, Level::Avx2, Level::Avx512]
                .into_iter()
                .filter(|&l| l as u8 <= dispatch::level() as u8)
                .collect();
            let of = |v: Vec<f64>| v.into_iter().map(|x| x as $t).collect::<Vec<$t>>();
            for n in (0..=40).chain([64, 100, 128, 129, 300, 1000]) {
                let (a, b) = (of(mixed(n, 3 + n as u64)), of(mixed(n, 1234 + n as u64)));
                let check = |name: &str, got: &[$t], want: &[$t]| {
                    for i in 0..n {
                        assert!(
                            $same(got[i], want[i]),
                            "{name} {n}: {:e} {:e}: {:e}, not {:e}",
                            a[i],
                            b[i],
                            got[i],
                            want[i]
                        );
                    }
                };
                let mut out = vec![7.0; n];
                for f in Unary::ALL {
                    let want: Vec<$t> = a.iter().map(|&x| $t::unary(f, x)).collect();
                    for &l in &levels {
                        dispatch::$one(l, f, &a, &mut out);
                        check(&format!("{f:?} {l:?}"), &out, &want);
                    }
                    let want2: Vec<$t> = (0..n).map(|i| $t::binary(Binary::Pow, a[i], b[i])).collect();
                    let want3: Vec<$t> = b.iter().map(|&x| <$t as Element>::powi(x, 5)).collect();
                    let (mut x, mut y, mut z) = (a.clone(), b.clone(), b.clone());
                    dispatch::$in_place(f, Binary::Pow, 5, &a, [&mut x, &mut y, &mut z]);
                    check(&format!("{f:?} in place"), &x, &want);
                    check("pow in place", &y, &want2);
                    check("powi in place", &z, &want3);
                }
                for f in Binary::ALL {
                    let want: Vec<$t> = (0..n).map(|i| $t::binary(f, a[i], b[i])).collect();
                    for &l in &levels {
                        dispatch::$two(l, f, &a, &b, &mut out);
                        check(&format!("{f:?} {l:?}"), &out, &want);
                    }
                }
                for k in [-1, 0, 1, 2, 3, 4, -7, i32::MIN, i32::MAX] {
                    let want: Vec<$t> = a.iter().map(|&x| <$t as Element>::powi(x, k)).collect();
                    for &l in &levels {
                        dispatch::$powi(l, &a, k, &mut out);
                        check(&format!("powi {k} {l:?}"), &out, &want);
                    }
                }
            }
        }
    };
}

same_bits!(same_bits_f64, f64, same64, slices1_f64, slices2_f64, slices_powi_f64, in_place_f64);
same_bits!(same_bits_f32, f32, same32, slices1_f32, slices2_f32, slices_powi_f32, in_place_f32);
