//! Arithmetic of integers beyond sums and products: what indices and counters are computed with. None has a derivative.
//!
//! Division by zero is an error at run time, with the place in the source: it is the attribute `place`, a number of
//! [`Place`].

use super::{
    Derivative, Eval, Lower, Op, OpDef,
    evaluate::pointwise::{map, mismatch, zip},
    infer,
};
use crate::{
    array::{Slice, SliceMut},
    error::{Error, Place, Result},
    ty::{DType, Ty},
};

/// All operations of this family.
pub static ALL: &[&OpDef] =
    &[&DIV, &REM, &UDIV, &UREM, &AND, &OR, &XOR, &SHL, &SHR, &USHR, &ONES, &LEADING, &TRAILING, &TRIP];

fn integers(op: &Op, a: &[&Ty]) -> Result<Ty> {
    match a.iter().find(|t| t.dtype != DType::I64) {
        Some(t) => Err(Error::dtype(op.name(), "i64", t.dtype)),
        None => infer::numeric(op, a),
    }
}

/// What a division by zero says.
pub(crate) fn by_zero(op: &Op) -> Error {
    let e = Error::value(op.name(), "expected a divisor other than 0, found 0");
    Place::numbered(op.int(0)).map_or(e.clone(), |p| e.at(p))
}

macro_rules! divisions {
    ($($(#[$doc:meta])* $id:ident $name:literal |$a:ident, $b:ident| $e:expr;)*) => {$(
        $(#[$doc])*
        pub static $id: OpDef = OpDef {
            name: $name, attrs: &["place"], arity: 2, infer: integers,
            eval: Eval::Pointwise(|op, args, out| match (args, out) {
                ([Slice::I64(x), Slice::I64(y)], SliceMut::I64(z)) => {
                    if y.iter().any(|&y| y == 0) {
                        return Err(by_zero(op));
                    }
                    zip(x, y, z, |$a: i64, $b: i64| if $b == 0 { 0 } else { $e })
                }
                (args, out) => Err(mismatch(op, args, &out)),
            }),
            derivative: Derivative::Zero, saves: 0, lower: Lower::Library,
        };
    )*};
}
divisions! {
    /// a / b towards zero
    DIV "int_div" |a, b| a.wrapping_div(b);
    /// a − b · (a / b)
    REM "int_rem" |a, b| a.wrapping_rem(b);
    /// a / b of unsigned integers
    UDIV "uint_div" |a, b| (a.cast_unsigned() / b.cast_unsigned()).cast_signed();
    /// the remainder of unsigned integers
    UREM "uint_rem" |a, b| (a.cast_unsigned() % b.cast_unsigned()).cast_signed();
}

macro_rules! bits {
    ($($(#[$doc:meta])* $id:ident $name:literal |$a:ident, $b:ident| $e:expr, |$l:ident, $x:ident| $lower:expr;)*) => {$(
        $(#[$doc])*
        pub static $id: OpDef = OpDef {
            name: $name, attrs: &[], arity: 2, infer: integers,
            eval: Eval::Pointwise(|op, args, out| match (args, out) {
                ([Slice::I64(x), Slice::I64(y)], SliceMut::I64(z)) => zip(x, y, z, |$a: i64, $b: i64| $e),
                (args, out) => Err(mismatch(op, args, &out)),
            }),
            derivative: Derivative::Zero, saves: 0, lower: Lower::Inline(|$l, $x, _| $lower),
        };
    )*};
}
bits! {
    /// bitwise and
    AND "int_and" |a, b| a & b, |l, x| l.and(x[0], x[1]);
    /// bitwise or
    OR "int_or" |a, b| a | b, |l, x| l.or(x[0], x[1]);
    /// bitwise exclusive or
    XOR "int_xor" |a, b| a ^ b, |l, x| l.xor(x[0], x[1]);
    /// a · 2ᵇ, b modulo 64
    SHL "int_shl" |a, b| a.wrapping_shl(b as u32), |l, x| l.shl(x[0], x[1]);
    /// a / 2ᵇ towards −∞, b modulo 64
    SHR "int_shr" |a, b| a.wrapping_shr(b as u32), |l, x| l.shr(x[0], x[1], true);
    /// a / 2ᵇ of unsigned integers, b modulo 64
    USHR "uint_shr" |a, b| a.cast_unsigned().wrapping_shr(b as u32).cast_signed(), |l, x| l.shr(x[0], x[1], false);
}

macro_rules! counts {
    ($($(#[$doc:meta])* $id:ident $name:literal $count:ident;)*) => {$(
        $(#[$doc])*
        pub static $id: OpDef = OpDef {
            name: $name, attrs: &[], arity: 1, infer: integers,
            eval: Eval::Pointwise(|op, args, out| match (args, out) {
                ([Slice::I64(x)], SliceMut::I64(z)) => map(x, z, |a: i64| i64::from(a.$count())),
                (args, out) => Err(mismatch(op, args, &out)),
            }),
            derivative: Derivative::Zero, saves: 0, lower: Lower::Inline(|l, x, _| l.$count(x[0])),
        };
    )*};
}
counts! {
    /// how many of the 64 bits are 1
    ONES "int_count_ones" count_ones;
    /// how many of the highest bits are 0; 64 of 0
    LEADING "int_leading_zeros" leading_zeros;
    /// how many of the lowest bits are 0; 64 of 0
    TRAILING "int_trailing_zeros" trailing_zeros;
}

/// The number of a trip, which is an error from `limit` on.
pub static TRIP: OpDef = OpDef {
    name: "trip",
    attrs: &["place", "limit"],
    arity: 1,
    infer: integers,
    eval: Eval::Pointwise(|op, args, out| match (args, out) {
        ([Slice::I64(x)], SliceMut::I64(z)) => match x.iter().find(|&&k| k >= op.int(1)) {
            Some(_) => Err(too_many(op, op.int(1))),
            None => map(x, z, |k: i64| k),
        },
        (args, out) => Err(mismatch(op, args, &out)),
    }),
    derivative: Derivative::Zero,
    saves: 0,
    lower: Lower::Library,
};

/// What a loop with too many trips says.
pub(crate) fn too_many(op: &Op, limit: i64) -> Error {
    let e = Error::value("while", format!("expected a loop of at most {limit} trips, found one that goes on"));
    Place::numbered(op.int(0)).map_or(e.clone(), |p| e.at(p))
}
