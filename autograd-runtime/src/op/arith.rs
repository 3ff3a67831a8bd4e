//! Arithmetic: sums, products, roundings, roots and the piecewise-linear functions. Each acts on every
//! element alone after broadcasting, and is written inline in fused kernels.

use super::{
    Cx, Derivative, Eval, Lower, OpDef, SAVE_OUT, each,
    evaluate::{
        copied,
        pointwise::{map, mismatch, zip, zip3},
    },
    infer,
};
use crate::{
    array::{Float, Slice, SliceMut},
    emit::Ex,
    error::Result,
    kernel::{Lane, Lanes},
    ty::Ty,
};

/// All operations of this family.
pub static ALL: &[&OpDef] = &[
    &NEG, &ABS, &SIGN, &FLOOR, &CEIL, &TRUNC, &ROUND, &SQRT, &RSQRT, &RECIP, &SQUARE, &RELU, &DETACH, &COPY, &ADD,
    &SUB, &MUL, &DIV, &REM, &MAXIMUM, &MINIMUM, &FMAX, &FMIN, &COPYSIGN, &CLAMP,
];

/// The loops of a unary operation on floats, one closure for both widths.
macro_rules! eval_float {
    ($x:ident, $e:expr) => {
        Eval::Pointwise(|op, args, out| match (args, out) {
            ([Slice::F32(a)], SliceMut::F32(y)) => map(a, y, |$x: f32| $e),
            ([Slice::F64(a)], SliceMut::F64(y)) => map(a, y, |$x: f64| $e),
            (args, out) => Err(mismatch(op, args, &out)),
        })
    };
}
/// The loops of a unary operation on floats and integers.
macro_rules! eval_number {
    ($x:ident, $e:expr, $i:expr) => {
        Eval::Pointwise(|op, args, out| match (args, out) {
            ([Slice::F32(a)], SliceMut::F32(y)) => map(a, y, |$x: f32| $e),
            ([Slice::F64(a)], SliceMut::F64(y)) => map(a, y, |$x: f64| $e),
            ([Slice::I64(a)], SliceMut::I64(y)) => map(a, y, |$x: i64| $i),
            (args, out) => Err(mismatch(op, args, &out)),
        })
    };
}
/// The loops of a binary operation on floats and integers.
macro_rules! eval_binary {
    ($a:ident, $b:ident, $e:expr, $i:expr) => {
        Eval::Pointwise(|op, args, out| match (args, out) {
            ([Slice::F32(a), Slice::F32(b)], SliceMut::F32(y)) => zip(a, b, y, |$a: f32, $b: f32| $e),
            ([Slice::F64(a), Slice::F64(b)], SliceMut::F64(y)) => zip(a, b, y, |$a: f64, $b: f64| $e),
            ([Slice::I64(a), Slice::I64(b)], SliceMut::I64(y)) => zip(a, b, y, |$a: i64, $b: i64| $i),
            (args, out) => Err(mismatch(op, args, &out)),
        })
    };
}

/// A unary operation without attributes.
const fn unary(
    name: &'static str,
    infer: fn(&super::Op, &[&Ty]) -> Result<Ty>,
    eval: Eval,
    derivative: Derivative,
    saves: u32,
    lower: crate::kernel::InlineFn,
) -> OpDef {
    OpDef { name, attrs: &[], arity: 1, infer, eval, derivative, saves, lower: Lower::Inline(lower) }
}
const fn binary(
    name: &'static str,
    eval: Eval,
    derivative: Derivative,
    saves: u32,
    lower: crate::kernel::InlineFn,
) -> OpDef {
    OpDef { arity: 2, ..unary(name, infer::numeric, eval, derivative, saves, lower) }
}

/// y = −x;  dx = −ct
pub static NEG: OpDef = unary(
    "neg",
    infer::numeric,
    eval_number!(x, -x, x.wrapping_neg()),
    Derivative::Elementwise(|_, _, t| Some(-t)),
    0,
    |l, a, _| l.neg(a[0]),
);
/// y = |x|;  dx = ct · sign x (0 at 0)
pub static ABS: OpDef = unary(
    "abs",
    infer::numeric,
    eval_number!(x, x.abs(), x.wrapping_abs()),
    Derivative::Elementwise(|cx, _, t| Some(t * cx.args[0].sign())),
    1,
    |l, a, _| l.abs(a[0]),
);
/// sign x: −1, 0, 1, and NaN stays NaN (so that |NaN| has a NaN derivative); the derivative is zero
pub static SIGN: OpDef = unary(
    "sign",
    infer::numeric,
    eval_number!(x, if x == 0.0 { 0.0 } else { x.signum() }, x.signum()),
    Derivative::Zero,
    0,
    |l, a, d| {
        let (zero, one) = (l.constant(0.0, d), l.constant(1.0, d));
        let (lt, gt, minus) = (l.lt(a[0], zero), l.gt(a[0], zero), l.neg(one));
        let nan_or_zero = if d.is_float() {
            let nan = l.is_nan(a[0]);
            l.select(nan, a[0], zero)
        } else {
            zero
        };
        let rest = l.select(gt, one, nan_or_zero);
        l.select(lt, minus, rest)
    },
);
/// y = ⌊x⌋;  the derivative is zero
pub static FLOOR: OpDef =
    unary("floor", infer::floats, eval_float!(x, x.floor()), Derivative::Zero, 0, |l, a, _| l.floor(a[0]));
/// y = ⌈x⌉;  the derivative is zero
pub static CEIL: OpDef =
    unary("ceil", infer::floats, eval_float!(x, x.ceil()), Derivative::Zero, 0, |l, a, _| l.ceil(a[0]));
/// y = x towards 0;  the derivative is zero
pub static TRUNC: OpDef =
    unary("trunc", infer::floats, eval_float!(x, x.trunc()), Derivative::Zero, 0, |l, a, _| l.trunc(a[0]));
/// to the nearest, ties to even, as PyTorch and IEEE
pub static ROUND: OpDef =
    unary("round", infer::floats, eval_float!(x, x.round_ties_even()), Derivative::Zero, 0, |l, a, _| {
        l.nearest_even(a[0])
    });
/// y = √x;  dx = ct · ½ · 1/y: one division for all cotangents and tangents, and none for higher orders
pub static SQRT: OpDef = unary(
    "sqrt",
    infer::floats,
    eval_float!(x, x.sqrt()),
    Derivative::Elementwise(|cx, _, t| Some(t * (cx.out.recip() * 0.5))),
    SAVE_OUT,
    |l, a, _| l.sqrt(a[0]),
);
/// y = 1/√x;  dx = −ct · y³/2, written −½·ct·y/x·… so that x = 0 gives −∞ and not NaN
pub static RSQRT: OpDef = unary(
    "rsqrt",
    infer::floats,
    eval_float!(x, 1.0 / x.sqrt()),
    Derivative::Elementwise(|cx, _, t| Some(t * (cx.out * cx.out * cx.out * -0.5))),
    SAVE_OUT,
    |l, a, d| {
        let (one, root) = (l.constant(1.0, d), l.sqrt(a[0]));
        l.div(one, root)
    },
);
/// y = 1/x;  dx = −ct · y²
pub static RECIP: OpDef = unary(
    "recip",
    infer::floats,
    eval_float!(x, 1.0 / x),
    Derivative::Elementwise(|cx, _, t| Some(-(t * (cx.out * cx.out)))),
    SAVE_OUT,
    |l, a, d| {
        let one = l.constant(1.0, d);
        l.div(one, a[0])
    },
);
/// y = x²;  dx = ct · 2x
pub static SQUARE: OpDef = unary(
    "square",
    infer::numeric,
    eval_number!(x, x * x, x.wrapping_mul(x)),
    Derivative::Elementwise(|cx, _, t| Some(t * (&cx.args[0] * 2.0))),
    1,
    |l, a, _| l.mul(a[0], a[0]),
);
/// y = max(x, 0), NaN stays;  dx = ct where y > 0, else 0; NaN at NaN (through 0·y, y being 0 or NaN there)
pub static RELU: OpDef = unary(
    "relu",
    infer::floats,
    eval_float!(x, if x < 0.0 { 0.0 } else { x }),
    Derivative::Elementwise(|cx, _, t| {
        let y = cx.out;
        Some(Ex::select(&y.gt(&y.lit(0.0)), t, &y.detach()))
    }),
    SAVE_OUT,
    |l, a, d| {
        let zero = l.constant(0.0, d);
        let neg = l.lt(a[0], zero);
        l.select(neg, zero, a[0])
    },
);
/// y = x;  no derivative flows: the user's way to stop it
pub static DETACH: OpDef = unary(
    "detach",
    |_, a| Ok(a[0].clone()),
    Eval::Windows(|_, a, _| Ok(copied(a[0]))),
    Derivative::Zero,
    0,
    |_, a, _| a[0],
);

/// y = x in a storage of its own;  dx = ct
pub static COPY: OpDef = unary(
    "copy",
    |_, a| Ok(a[0].clone()),
    Eval::Windows(|_, a, _| Ok(copied(a[0]))),
    Derivative::Elementwise(|_, _, t| Some(t.clone())),
    0,
    |_, a, _| a[0],
);

/// y = a + b;  da = db = ct
pub static ADD: OpDef = binary(
    "add",
    eval_binary!(a, b, a + b, a.wrapping_add(b)),
    Derivative::Elementwise(|_, _, t| Some(t.clone())),
    0,
    |l, a, _| l.add(a[0], a[1]),
);
/// y = a − b;  da = ct, db = −ct
pub static SUB: OpDef = binary(
    "sub",
    eval_binary!(a, b, a - b, a.wrapping_sub(b)),
    Derivative::Elementwise(|_, i, t| Some(if i == 0 { t.clone() } else { -t })),
    0,
    |l, a, _| l.sub(a[0], a[1]),
);
/// y = a·b;  da = ct·b, db = ct·a
pub static MUL: OpDef = binary(
    "mul",
    eval_binary!(a, b, a * b, a.wrapping_mul(b)),
    Derivative::Elementwise(|cx, i, t| Some(t * &cx.args[1 - i])),
    each(2, 1),
    |l, a, _| l.mul(a[0], a[1]),
);
/// y = a/b;  da = ct/b, db = −da·y, so that both share the division  (integers: division is not offered)
pub static DIV: OpDef = OpDef {
    infer: infer::floats,
    ..binary(
        "div",
        eval_binary!(a, b, a / b, a.checked_div(b).unwrap_or(0)),
        Derivative::Elementwise(|cx, i, t| {
            let b = &cx.args[1];
            // in a loop that runs backwards only the product depends on the trip before
            Some(if i == 0 { t / b } else { t * -(cx.out / b) })
        }),
        each(2, 2 | SAVE_OUT),
        |l, a, _| l.div(a[0], a[1]),
    )
};

/// y = a − b·trunc(a/b), exactly, with the sign of a: Rust's and C's remainder;  da = ct, db = −ct·trunc(a/b)
pub static REM: OpDef = OpDef {
    name: "rem",
    attrs: &[],
    arity: 2,
    infer: infer::floats,
    eval: eval_binary!(a, b, a % b, a.checked_rem(b).unwrap_or(0)),
    derivative: Derivative::Elementwise(|cx, i, t| {
        let (a, b) = (&cx.args[0], &cx.args[1]);
        // (a − y)/b is an integer but for rounding; a/b itself may round up to the next one. Where there is no remainder
        // the quotient is infinite or NaN
        let quotient = || Ex::select(&cx.out.is_nan(), &(a / b), &((a - cx.out) / b).round());
        Some(if i == 0 { t.clone() } else { -(t * quotient()) })
    }),
    saves: 3 | SAVE_OUT,
    lower: Lower::Library,
};

/// The share of the cotangent that argument `i` of max(a, b) gets where `wins` says which argument is
/// larger: all where it wins, half at a tie, all where it is the NaN.
fn extremum<'e>(cx: &Cx<'e>, i: usize, t: &Ex<'e>, wins: fn(&Ex<'e>, &Ex<'e>) -> Ex<'e>) -> Option<Ex<'e>> {
    let (x, other) = (&cx.args[i], &cx.args[1 - i]);
    let takes = wins(x, other).logical_or(&x.is_nan());
    let tie = x.eq(other);
    Some(Ex::select(&takes, t, &(t * 0.5).masked(&tie)))
}
// of equal operands (two zeros) the second, as the one instruction of the compiled form has it; comparing
// with a NaN `b` is false and gives it
fn max_nan<T: Float>(a: T, b: T) -> T {
    if a.is_nan() || a > b { a } else { b }
}
fn min_nan<T: Float>(a: T, b: T) -> T {
    if a.is_nan() || a < b { a } else { b }
}
fn clamp_nan<T: Float>(x: T, lo: T, hi: T) -> T {
    min_nan(max_nan(x, lo), hi)
}
/// y = max(a, b), NaN if either is;  ties share the cotangent, a NaN operand gets it whole
pub static MAXIMUM: OpDef = binary(
    "maximum",
    eval_binary!(a, b, max_nan(a, b), a.max(b)),
    Derivative::Elementwise(|cx, i, t| extremum(cx, i, t, Ex::gt)),
    3,
    |l, a, _| l.max(a[0], a[1]),
);
/// y = min(a, b), likewise
pub static MINIMUM: OpDef = binary(
    "minimum",
    eval_binary!(a, b, min_nan(a, b), a.min(b)),
    Derivative::Elementwise(|cx, i, t| extremum(cx, i, t, Ex::lt)),
    3,
    |l, a, _| l.min(a[0], a[1]),
);

/// The share of the cotangent that argument `i` of fmax(a, b) gets where `wins` says which argument is larger: all where it is
/// larger or the only number, half at a tie; of two NaN the first gets it. What is asked of a and b are two truth values, which is
/// all that a loop has to record.
fn extremum_of_numbers<'e>(cx: &Cx<'e>, i: usize, t: &Ex<'e>, wins: fn(&Ex<'e>, &Ex<'e>) -> Ex<'e>) -> Option<Ex<'e>> {
    let (a, b) = (&cx.args[0], &cx.args[1]);
    let (first, tie) = (wins(a, b).logical_or(&b.is_nan()), a.eq(b));
    let share = Ex::select(&tie, &(t * 0.5), t);
    Some(share.masked(&if i == 0 { first.logical_or(&tie) } else { first.logical_not() }))
}
/// y = max(a, b), the number if one is none;  ties share the cotangent
pub static FMAX: OpDef = OpDef {
    infer: infer::floats,
    ..binary(
        "fmax",
        eval_binary!(a, b, if a > b || b.is_nan() { a } else { b }, a.max(b)),
        Derivative::Elementwise(|cx, i, t| extremum_of_numbers(cx, i, t, Ex::gt)),
        3,
        |l, a, _| {
            // which is `b` if either is NaN
            let (larger, none) = (l.raw_max(a[0], a[1]), l.is_nan(a[1]));
            l.select(none, a[0], larger)
        },
    )
};
/// y = min(a, b), likewise
pub static FMIN: OpDef = OpDef {
    infer: infer::floats,
    ..binary(
        "fmin",
        eval_binary!(a, b, if a < b || b.is_nan() { a } else { b }, a.min(b)),
        Derivative::Elementwise(|cx, i, t| extremum_of_numbers(cx, i, t, Ex::lt)),
        3,
        |l, a, _| {
            // which is `b` if either is NaN
            let (smaller, none) = (l.raw_min(a[0], a[1]), l.is_nan(a[1]));
            l.select(none, a[0], smaller)
        },
    )
};
/// y = |a| with the sign of b;  da = ct where the signs agree, −ct where not;  db = 0
pub static COPYSIGN: OpDef = OpDef {
    infer: infer::floats,
    ..binary(
        "copysign",
        eval_binary!(a, b, a.copysign(b), a * b.signum()),
        Derivative::Elementwise(|cx, i, t| {
            let one = cx.args[0].lit(1.0);
            (i == 0).then(|| t * one.copysign(&cx.args[0]) * one.copysign(&cx.args[1]))
        }),
        3,
        |l, a, _| l.copysign(a[0], a[1]),
    )
};
/// y = min(max(x, lo), hi), NaN stays;  dx = ct strictly inside, 0 at the bounds, outside and at NaN.
/// The bounds get the cotangent where they are what is returned.
pub static CLAMP: OpDef = OpDef {
    name: "clamp",
    attrs: &[],
    arity: 3,
    infer: infer::floats,
    eval: Eval::Pointwise(|op, args, out| match (args, out) {
        ([Slice::F32(x), Slice::F32(lo), Slice::F32(hi)], SliceMut::F32(y)) => zip3(x, lo, hi, y, clamp_nan),
        ([Slice::F64(x), Slice::F64(lo), Slice::F64(hi)], SliceMut::F64(y)) => zip3(x, lo, hi, y, clamp_nan),
        (args, out) => Err(mismatch(op, args, &out)),
    }),
    derivative: Derivative::Elementwise(|cx, i, t| {
        let (x, lo, hi) = (&cx.args[0], &cx.args[1], &cx.args[2]);
        Some(t.masked(&match i {
            0 => x.gt(lo).logical_and(&x.lt(hi)),
            1 => x.lt(lo).logical_and(&lo.le(hi)),
            _ => x.gt(hi).logical_or(&lo.gt(hi)),
        }))
    }),
    saves: 7,
    lower: Lower::Inline(|l: &mut Lanes<'_, '_>, a: &[Lane], _| {
        let low = l.max(a[0], a[1]);
        l.min(low, a[2])
    }),
};
