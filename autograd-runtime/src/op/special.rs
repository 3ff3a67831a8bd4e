//! Special functions without a block form: the derivatives of the digamma function, and x·ln y with 0·ln 0 = 0.

use super::{
    Derivative, Eval, Lower, OpDef, each,
    evaluate::pointwise::{map, mismatch, zip},
    infer,
};
use crate::{
    array::{Float, Slice, SliceMut},
    elementary::{Element, Unary},
    emit::Ex,
    error::Error,
    op::{Attr, Op},
};

/// All operations of this family.
pub static ALL: &[&OpDef] = &[&POLYGAMMA, &XLOGY];

/// Derivatives of the digamma function that are offered: factorials of higher orders leave the range of f64.
const ORDERS: std::ops::RangeInclusive<i64> = 1..=100;

/// B₂ₖ/(2k)! for k = 1, 2, …
const BERNOULLI: [f64; 10] = [
    8.333_333_333_333_333e-2,
    -1.388_888_888_888_889e-3,
    3.306_878_306_878_307e-5,
    -8.267_195_767_195_768e-7,
    2.087_675_698_786_81e-8,
    -5.284_190_138_687_493e-10,
    1.338_253_653_068_467_9e-11,
    -3.389_680_296_322_583e-13,
    8.586_062_056_277_845e-15,
    -2.174_868_698_558_062e-16,
];

/// ψ⁽ⁿ⁾(x): a sum over x, x + 1, … until the asymptotic series of Abramowitz and Stegun, 6.4.11, holds; below zero by
/// (−1)ⁿ ψ⁽ⁿ⁾(1 − x) − ψ⁽ⁿ⁾(x) = π dⁿ/dxⁿ cot πx, 6.4.7.
fn polygamma(n: i32, x: f64) -> f64 {
    let sign = if n % 2 == 0 { -1.0 } else { 1.0 };
    if x.is_nan() || x == f64::NEG_INFINITY {
        return f64::NAN;
    }
    if x <= 0.0 && x.fract() == 0.0 {
        return sign * f64::INFINITY;
    }
    if x < 0.0 {
        // near zero 1 − x would lose digits of x
        if x > -0.5 {
            return polygamma(n, x + 1.0) + sign * factorial(n) * x.powi(-n - 1);
        }
        return -sign * polygamma(n, 1.0 - x) - std::f64::consts::PI.powi(n + 1) * cotangent(n, x);
    }
    if x.is_infinite() {
        return 0.0;
    }
    let enough = 12.0 + f64::from(n);
    let (mut y, mut sum) = (x, 0.0);
    while y < enough {
        sum += y.powi(-n - 1);
        y += 1.0;
    }
    // (n−1)!/yⁿ · (1 + n/2y + Σ B₂ₖ/(2k)! · n(n+1)…(n+2k−1)/y²ᵏ)
    let (nf, w) = (f64::from(n), 1.0 / (y * y));
    let (mut term, mut series) = (1.0, 1.0 + nf / (2.0 * y));
    for (k, b) in (0i32..).zip(BERNOULLI) {
        let at = nf + f64::from(2 * k);
        term *= at * (at + 1.0) * w;
        series += b * term;
    }
    sign * (factorial(n) * sum + factorial(n - 1) * y.powi(-n) * series)
}
fn factorial(n: i32) -> f64 {
    (2..=n).map(f64::from).product()
}
/// The n-th derivative of cot at πx: a polynomial in c = cot πx, as c′ = −(1 + c²).
fn cotangent(n: i32, x: f64) -> f64 {
    let r = x - x.round();
    let c = 1.0 / (std::f64::consts::PI * r).tan();
    let mut p = vec![0.0, 1.0];
    for _ in 0..n {
        let slope: Vec<f64> = p.iter().zip(0u32..).skip(1).map(|(a, k)| -a * f64::from(k)).collect();
        p = vec![0.0; slope.len() + 2];
        for (k, s) in slope.iter().enumerate() {
            p[k] += s;
            p[k + 2] += s;
        }
    }
    p.iter().rev().fold(0.0, |y, a| y * c + a)
}

/// y = ψ⁽ⁿ⁾(x), the n-th derivative of the digamma function;  dx = ct · ψ⁽ⁿ⁺¹⁾(x)
pub static POLYGAMMA: OpDef = OpDef {
    name: "polygamma",
    attrs: &["n"],
    arity: 1,
    infer: |op, a| match ORDERS.contains(&op.int(0)) {
        true => infer::floats(op, a),
        false => Err(Error::value("polygamma", format!("expected an order of {ORDERS:?}, found {}", op.int(0)))),
    },
    eval: Eval::Pointwise(|op, args, out| {
        let n = op.int(0) as i32;
        match (args, out) {
            ([Slice::F32(a)], SliceMut::F32(y)) => map(a, y, |x: f32| polygamma(n, f64::from(x)) as f32),
            ([Slice::F64(a)], SliceMut::F64(y)) => map(a, y, |x: f64| polygamma(n, x)),
            (args, out) => Err(mismatch(op, args, &out)),
        }
    }),
    derivative: Derivative::Elementwise(|cx, _, t| Some(t * cx.args[0].polygamma(cx.op.int(0) as i32 + 1))),
    saves: 1,
    lower: Lower::Library,
};

fn xlogy<T: Float + Element>(x: T, y: T) -> T {
    if x == T::zero() && !y.is_nan() { T::zero() } else { x * Element::unary(Unary::Ln, y) }
}
/// z = x·ln y, 0 where x = 0;  dx = ct · ln y (0 where x = 0 and y ≤ 0),  dy = ct · x/y
pub static XLOGY: OpDef = OpDef {
    name: "xlogy",
    attrs: &[],
    arity: 2,
    infer: infer::floats,
    eval: Eval::Pointwise(|op, args, out| match (args, out) {
        ([Slice::F32(x), Slice::F32(y)], SliceMut::F32(z)) => zip(x, y, z, xlogy),
        ([Slice::F64(x), Slice::F64(y)], SliceMut::F64(z)) => zip(x, y, z, xlogy),
        (args, out) => Err(mismatch(op, args, &out)),
    }),
    derivative: Derivative::Elementwise(|cx, i, t| {
        let (x, y) = (&cx.args[0], &cx.args[1]);
        Some(if i == 0 {
            let flat = x.eq(&x.lit(0.0)).logical_and(&y.le(&y.lit(0.0)));
            // the logarithm of 1 where it does not count, so that no infinity meets a zero in higher orders
            t * Ex::select(&flat, &y.lit(1.0), y).ln()
        } else {
            t * x / y
        })
    }),
    saves: each(3, 3),
    lower: Lower::Library,
};

impl<'e> Ex<'e> {
    /// The n-th derivative of the digamma function.
    pub(crate) fn polygamma(&self, n: i32) -> Ex<'e> {
        self.emit_op(Op::with(&POLYGAMMA, [Attr::Int(i64::from(n))]))
    }
    /// x·ln y with 0·ln 0 = 0.
    pub(crate) fn xlogy(&self, y: &Ex<'e>) -> Ex<'e> {
        self.op2(&XLOGY, y)
    }
}
