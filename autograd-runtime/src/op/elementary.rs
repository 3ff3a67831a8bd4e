//! Elementary and special functions. The values come from `crate::elementary`, where each function is
//! written once for scalars and blocks, so that every engine gets the same bits.

use super::{Cx, Derivative, Eval, Lower, OpDef, SAVE_OUT, each, evaluate::pointwise::mismatch, infer};
use crate::{
    array::{Slice, SliceMut},
    elementary::{Binary, Element, Unary},
    emit::Ex,
    error::Error,
};

/// All operations of this family.
pub static ALL: &[&OpDef] = &[
    &EXP,
    &EXP2,
    &EXPM1,
    &LN,
    &LOG2,
    &LOG10,
    &LOG1P,
    &SIN,
    &COS,
    &TAN,
    &ASIN,
    &ACOS,
    &ATAN,
    &SINH,
    &COSH,
    &TANH,
    &ASINH,
    &ACOSH,
    &ATANH,
    &SIGMOID,
    &SOFTPLUS,
    &CBRT,
    &ERF,
    &ERFC,
    &LGAMMA,
    &DIGAMMA,
    &SECH2,
    &SIGMOID_GRAD,
    &POW,
    &ATAN2,
    &HYPOT,
    &POWI,
];

/// The loops of an elementary function of one argument.
macro_rules! eval_unary {
    ($f:expr) => {
        Eval::Pointwise(|op, args, out| {
            match (args, out) {
                ([Slice::F32(a)], SliceMut::F32(y)) => f32::unary_block($f, a, y),
                ([Slice::F64(a)], SliceMut::F64(y)) => f64::unary_block($f, a, y),
                (args, out) => return Err(mismatch(op, args, &out)),
            }
            Ok(())
        })
    };
}

/// `name: function, what the derivative saves, t · f′` for one argument.
macro_rules! unary {
    ($($(#[doc = $math:literal])* $id:ident $name:literal $f:ident $saves:expr, |$cx:ident, $t:ident| $d:expr;)*) => {$(
        $(#[doc = $math])*
        pub static $id: OpDef = OpDef {
            name: $name, attrs: &[], arity: 1, infer: infer::floats,
            eval: eval_unary!(Unary::$f),
            derivative: Derivative::Elementwise(|$cx, _, $t| Some($d)),
            saves: $saves, lower: Lower::Unary(Unary::$f),
        };
    )*};
}

unary! {
    /// y = eˣ;  dx = ct · y
    EXP "exp" Exp SAVE_OUT, |cx, t| t * cx.out;
    /// y = 2ˣ;  dx = ct · y · ln 2
    EXP2 "exp2" Exp2 SAVE_OUT, |cx, t| t * (cx.out * std::f64::consts::LN_2);
    /// y = eˣ − 1;  dx = ct · (y + 1)
    EXPM1 "expm1" Expm1 SAVE_OUT, |cx, t| t * (cx.out + 1.0);
    /// y = ln x;  dx = ct / x, NaN below zero (√x·√x is NaN there, x elsewhere, and 0 at 0)
    LN "ln" Ln 1, |cx, t| t / domain(&cx.args[0], 0.0);
    /// y = log₂ x;  dx = ct / (x ln 2)
    LOG2 "log2" Log2 1, |cx, t| t / (domain(&cx.args[0], 0.0) * std::f64::consts::LN_2);
    /// y = log₁₀ x;  dx = ct / (x ln 10)
    LOG10 "log10" Log10 1, |cx, t| t / (domain(&cx.args[0], 0.0) * std::f64::consts::LN_10);
    /// y = ln(1 + x);  dx = ct / (1 + x), NaN below −1
    LOG1P "log1p" Log1p 1, |cx, t| t / (domain(&cx.args[0], -1.0) + 1.0);
    /// y = sin x;  dx = ct · cos x
    SIN "sin" Sin 1, |cx, t| t * cx.args[0].cos();
    /// y = cos x;  dx = −ct · sin x
    COS "cos" Cos 1, |cx, t| -(t * cx.args[0].sin());
    /// y = tan x;  dx = ct · (1 + y²)
    TAN "tan" Tan SAVE_OUT, |cx, t| t * (cx.out * cx.out + 1.0);
    /// y = asin x;  dx = ct / √((1 − x)(1 + x))  (the product does not cancel near ±1)
    ASIN "asin" Asin 1, |cx, t| t / one_minus_square(&cx.args[0]).sqrt();
    /// y = acos x;  dx = −ct / √((1 − x)(1 + x))
    ACOS "acos" Acos 1, |cx, t| -(t / one_minus_square(&cx.args[0]).sqrt());
    /// y = atan x;  dx = ct / (1 + x²)
    ATAN "atan" Atan 1, |cx, t| t / (cx.args[0].square() + 1.0);
    /// y = sinh x;  dx = ct · cosh x
    SINH "sinh" Sinh 1, |cx, t| t * cx.args[0].cosh();
    /// y = cosh x;  dx = ct · sinh x
    COSH "cosh" Cosh 1, |cx, t| t * cx.args[0].sinh();
    /// y = tanh x;  dx = ct · sech² x  (1 − y² cancels near ±1)
    TANH "tanh" Tanh 1, |cx, t| t * cx.args[0].sech2();
    /// y = asinh x;  dx = ct / √(x² + 1), as a hypotenuse so that x² cannot overflow
    ASINH "asinh" Asinh 1, |cx, t| t / cx.args[0].hypot(&cx.args[0].lit(1.0));
    /// y = acosh x;  dx = ct / √((x − 1)(x + 1)), split so that the product cannot overflow
    ACOSH "acosh" Acosh 1, |cx, t| t / ((&cx.args[0] - 1.0).sqrt() * (&cx.args[0] + 1.0).sqrt());
    /// y = atanh x;  dx = ct / ((1 − x)(1 + x))
    ATANH "atanh" Atanh 1, |cx, t| t / one_minus_square(&cx.args[0]);
    /// y = σ(x) = 1/(1 + e⁻ˣ);  dx = ct · σ(x)σ(−x)  (y(1 − y) cancels for large x)
    SIGMOID "sigmoid" Sigmoid 1, |cx, t| t * cx.args[0].sigmoid_grad();
    /// y = ln(1 + eˣ);  dx = ct · σ(x)
    SOFTPLUS "softplus" Softplus 1, |cx, t| t * cx.args[0].sigmoid();
    /// y = ∛x;  dx = ct / 3y²
    CBRT "cbrt" Cbrt SAVE_OUT, |cx, t| t / (cx.out * cx.out * 3.0);
    /// y = erf x;  dx = ct · 2/√π · e^(−x²)
    ERF "erf" Erf 1, |cx, t| t * (gauss(&cx.args[0]) * std::f64::consts::FRAC_2_SQRT_PI);
    /// y = 1 − erf x;  dx = −ct · 2/√π · e^(−x²)
    ERFC "erfc" Erfc 1, |cx, t| -(t * (gauss(&cx.args[0]) * std::f64::consts::FRAC_2_SQRT_PI));
    /// y = sech² x;  dx = −2 ct · y · tanh x
    SECH2 "sech2" Sech2 1 | SAVE_OUT, |cx, t| t * (cx.out * cx.args[0].tanh() * -2.0);
    /// y = σ(x)σ(−x);  dx = ct · y · (σ(−x) − σ(x)) = −ct · y · tanh(x/2)
    SIGMOID_GRAD "sigmoid_grad" SigmoidGrad 1 | SAVE_OUT, |cx, t| -(t * (cx.out * (&cx.args[0] * 0.5).tanh()));
    /// y = ln|Γ(x)|;  dx = ct · ψ(x)
    LGAMMA "lgamma" Lgamma 1, |cx, t| t * cx.args[0].digamma();
    /// y = ψ(x) = Γ′/Γ;  dx = ct · ψ′(x)
    DIGAMMA "digamma" Digamma 1, |cx, t| t * cx.args[0].polygamma(1);
}

/// `x`, but NaN below `low`: a derivative outside the domain of the function is not a number.
fn domain<'e>(x: &Ex<'e>, low: f64) -> Ex<'e> {
    Ex::select(&x.lt(&x.lit(low)), &x.lit(f64::NAN), x)
}
/// `(1 − x)(1 + x)`.
fn one_minus_square<'e>(x: &Ex<'e>) -> Ex<'e> {
    (x.lit(1.0) - x) * (x + 1.0)
}
/// `e^(−x²)`.
fn gauss<'e>(x: &Ex<'e>) -> Ex<'e> {
    x.square().neg().exp()
}

/// `$d` as a two-argument declaration.
macro_rules! binary {
    ($($(#[doc = $math:literal])* $id:ident $name:literal $f:ident $saves:expr, $d:expr;)*) => {$(
        $(#[doc = $math])*
        pub static $id: OpDef = OpDef {
            name: $name, attrs: &[], arity: 2, infer: infer::floats,
            eval: Eval::Pointwise(|op, args, out| {
                match (args, out) {
                    ([Slice::F32(a), Slice::F32(b)], SliceMut::F32(y)) => f32::binary_block(Binary::$f, a, b, y),
                    ([Slice::F64(a), Slice::F64(b)], SliceMut::F64(y)) => f64::binary_block(Binary::$f, a, b, y),
                    (args, out) => return Err(mismatch(op, args, &out)),
                }
                Ok(())
            }),
            derivative: Derivative::Elementwise($d),
            saves: $saves, lower: Lower::Binary(Binary::$f),
        };
    )*};
}
binary! {
    /// y = xᵖ;  dx = ct · p · xᵖ⁻¹ (0 where p = 0),  dp = ct · y · ln x (0 where x = 0 and p ≥ 0)
    POW "pow" Pow each(3, 3 | SAVE_OUT), pow_rule;
    /// θ = atan2(y, x);  dy = ct · x/(x² + y²),  dx = −ct · y/(x² + y²);  0 at the origin
    ATAN2 "atan2" Atan2 3, |cx, i, t| {
        let (y, x) = (&cx.args[0], &cx.args[1]);
        let r = y.hypot(x);
        // divided twice by the hypotenuse, so that squares neither overflow nor vanish
        let other = &cx.args[1 - i] / &r / &r;
        let part = Ex::select(&r.eq(&r.lit(0.0)), &r.lit(0.0), &other);
        Some(if i == 0 { t * part } else { -(t * part) })
    };
    /// r = √(x² + y²);  dx = ct · x/r,  0 at the origin
    HYPOT "hypot" Hypot each(1 | SAVE_OUT, 2 | SAVE_OUT), |cx, i, t| {
        let r = cx.out;
        Some(t * Ex::select(&r.eq(&r.lit(0.0)), &r.lit(0.0), &(&cx.args[i] / r)))
    };
}

fn pow_rule<'e>(cx: &Cx<'e>, i: usize, t: &Ex<'e>) -> Option<Ex<'e>> {
    let (x, p) = (&cx.args[0], &cx.args[1]);
    let zero = x.lit(0.0);
    Some(if i == 0 {
        let slope = p * x.pow(&(p - 1.0));
        t * Ex::select(&p.eq(&zero), &zero, &slope)
    } else {
        let flat = x.eq(&zero).logical_and(&p.ge(&zero));
        t * Ex::select(&flat, &zero, &(cx.out * x.ln()))
    })
}

/// y = xⁿ, n a fixed integer;  dx = ct · n · xⁿ⁻¹ (0 where n = 0)
pub static POWI: OpDef = OpDef {
    name: "powi",
    attrs: &["n"],
    arity: 1,
    infer: |op, a| match i32::try_from(op.int(0)) {
        Ok(_) => infer::floats(op, a),
        Err(_) => Err(Error::value("powi", format!("expected an exponent of 32 bits, found {}", op.int(0)))),
    },
    eval: Eval::Pointwise(|op, args, out| {
        let n = op.int(0) as i32;
        match (args, out) {
            ([Slice::F32(a)], SliceMut::F32(y)) => f32::powi_block(a, n, y),
            ([Slice::F64(a)], SliceMut::F64(y)) => f64::powi_block(a, n, y),
            (args, out) => return Err(mismatch(op, args, &out)),
        }
        Ok(())
    }),
    derivative: Derivative::Elementwise(|cx, _, t| {
        let n = cx.op.int(0) as i32;
        match n {
            0 => None,
            1 => Some(t.clone()),
            2 => Some(t * (&cx.args[0] * 2.0)),
            _ => Some(t * (cx.args[0].powi(n.saturating_sub(1)) * f64::from(n))),
        }
    }),
    saves: 1,
    lower: Lower::Powi,
};
