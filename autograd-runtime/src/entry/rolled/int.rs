//! Integers of twins: `usize` becomes `Int<usize>`, which is a number or a value of a trace.

use super::super::{
    plain::{Cast, CastTarget},
    twins::{Leaf, LeafReader, Leaves, Twinned},
};
use super::emitted;
use crate::{
    array::{Element, Float},
    emit::{Ex, V, apply},
    error::{Error, Place},
    op::{Attr, Op, OpDef, arith, compare, integer},
    real::{Real, literal},
    session,
    tensor::Value,
    ty::{DType, Ty},
};
use num_traits::{AsPrimitive, PrimInt, WrappingAdd, WrappingMul, WrappingSub};
use std::{cmp::Ordering, fmt, marker::PhantomData, ops};

/// A primitive integer type.
pub trait Integer:
    PrimInt + WrappingAdd + WrappingSub + WrappingMul + AsPrimitive<i64> + fmt::Display + fmt::Debug + Send + Sync + 'static
{
    /// Whether values from 2⁶³ on exist, which a traced integer holds as negative ones: `usize::MAX` is one that is used.
    const WIDE: bool;
    /// Bits.
    const BITS: u32;
    /// The low bits.
    fn from_i64(x: i64) -> Self;
    /// `x as Self`.
    fn of_float(x: f64) -> Self;
}
macro_rules! integers {
    ($($t:ty: $wide:literal),*) => {$(
        impl Integer for $t {
            const WIDE: bool = $wide;
            const BITS: u32 = <$t>::BITS;
            fn from_i64(x: i64) -> Self { x as $t }
            fn of_float(x: f64) -> Self { x as $t }
        }
    )*};
}
integers!(u8: false, u16: false, u32: false, u64: true, usize: true, i8: false, i16: false, i32: false, i64: false, isize: false);

/// An integer of a twin: a number, or a traced one.
#[derive(Clone, Copy)]
pub struct Int<I> {
    repr: Repr<I>,
    /// Not `Send`: sessions are a thread's own.
    thread: PhantomData<*const ()>,
}

#[derive(Clone, Copy)]
enum Repr<I> {
    Const(I),
    Slot { slot: u32, session: u64 },
}

/// An integer as one of a twin.
pub fn int<I: Integer>(x: impl Into<Int<I>>) -> Int<I> {
    x.into()
}

/// Integers of which plain code gets the number.
pub trait Known {
    /// The plain type.
    type Plain;
    #[doc(hidden)]
    fn __known(self) -> Self::Plain;
}
impl<I: Integer> Known for Int<I> {
    type Plain = I;
    #[track_caller]
    fn __known(self) -> I {
        self.read("an integer or a length is used by plain code")
    }
}
/// What an integer is raised to, so that a literal is one.
pub trait Exponent: Known<Plain = u32> {}
impl Exponent for u32 {}
impl Exponent for Int<u32> {}
macro_rules! known {
    ($($t:ty),*) => {$(
        impl Known for $t { type Plain = $t; fn __known(self) -> $t { self } }
        impl From<$t> for Int<$t> { fn from(x: $t) -> Self { Int { repr: Repr::Const(x), thread: PhantomData } } }
    )*};
}
known!(u8, u16, u32, u64, usize, i8, i16, i32, i64, isize);
/// The number; a trace is then good for it alone.
#[track_caller]
pub fn known<K: Known>(x: K) -> K::Plain {
    x.__known()
}

impl<I: Integer> Int<I> {
    /// A number.
    pub fn number(x: I) -> Int<I> {
        Int { repr: Repr::Const(x), thread: PhantomData }
    }
    /// The value in the running session.
    pub(crate) fn value(self) -> Value {
        match self.repr {
            Repr::Const(x) if session::is_tracing() => emitted(|e| {
                let bits: i64 = x.as_();
                Ex::new(e, e.constant(DType::I64, bits.cast_unsigned()))
            }),
            Repr::Const(x) => Value::stored(i64::into_array(ndarray::arr0(x.as_()).into_dyn())),
            Repr::Slot { slot, session } => session::load_real(slot, session).unwrap_or_else(|| {
                let e = Error::Autograd("a traced integer was used after the call that traced it had ended".into());
                crate::tensor_report(e);
                Value::absent(Ty::scalar(DType::I64))
            }),
        }
    }
    /// The value if it is traced by the session that runs.
    pub(crate) fn traced(self) -> Option<Value> {
        match self.repr {
            Repr::Const(_) => None,
            Repr::Slot { .. } => Some(self.value()).filter(Value::is_traced),
        }
    }
    /// Whether it is certain to be the same number.
    pub(crate) fn is(self, other: Int<I>) -> bool {
        match (self.repr, other.repr) {
            (Repr::Const(a), Repr::Const(b)) => a == b,
            (Repr::Slot { slot, session }, Repr::Slot { slot: at, session: of }) => (slot, session) == (at, of),
            _ => false,
        }
    }
    /// The number, if it is no traced value.
    pub(crate) fn constant(self) -> Option<I> {
        if let Repr::Const(x) = self.repr { Some(x) } else { None }
    }
    pub(crate) fn from_value(v: Value) -> Int<I> {
        match if v.is_traced() { session::store_real(v.clone()) } else { None } {
            Some((slot, session)) => Int { repr: Repr::Slot { slot, session }, thread: PhantomData },
            None => Int::number(first(&v)),
        }
    }
    #[track_caller]
    fn read(self, what: &str) -> I {
        self.read_at(what, Place::caller())
    }
    /// The number, for plain code: a traced one ends the trace.
    pub(crate) fn read_at(self, what: &str, place: Place) -> I {
        match self.repr {
            Repr::Const(x) => x,
            Repr::Slot { .. } => {
                let v = self.value();
                session::opaque_read(&v, what, place);
                if v.is_traced() && super::super::flow::is_astray() { I::zero() } else { first(&session::concrete(&v)) }
            }
        }
    }
    /// `f` of numbers now, `op` of traced values.
    fn zip(self, o: Int<I>, f: impl FnOnce(I, I) -> I, op: Op) -> Int<I> {
        if self.traced().is_some() || o.traced().is_some() {
            let (a, b) = (self.value(), o.value());
            return Int::from_value(emitted(|e| apply(op, &[&Ex::new(e, V::Tensor(a)), &Ex::new(e, V::Tensor(b))])));
        }
        Int::number(f(self.plain(), o.plain()))
    }
    /// The number of one that is not traced.
    pub(crate) fn plain(self) -> I {
        match self.repr {
            Repr::Const(x) => x,
            Repr::Slot { .. } => first(&session::concrete(&self.value())),
        }
    }
    #[track_caller]
    fn divide(self, o: Int<I>, signed: &'static OpDef, unsigned: &'static OpDef, f: fn(&I, &I) -> I) -> Int<I> {
        let place = Place::caller();
        let op = Op::with(if I::WIDE { unsigned } else { signed }, [Attr::Int(place.number())]);
        // the least number divided by −1 does not fit: it wraps
        let overflows =
            |a: I, b: I| I::min_value() != I::zero() && a == I::min_value() && b.wrapping_add(&I::one()).is_zero();
        let safe = |a: I, b: I| match () {
            () if b.is_zero() => {
                crate::tensor_report(integer::by_zero(&op));
                I::zero()
            }
            () if overflows(a, b) => I::zero().wrapping_sub(&f(&I::zero().wrapping_sub(&a), &I::one())),
            () => f(&a, &b),
        };
        self.zip(o, safe, op.clone())
    }
    /// Cut to the type's bits, as wrapping arithmetic does.
    fn cut(self) -> Int<I> {
        if I::BITS == 64 || self.traced().is_none() {
            return self;
        }
        let by = Int::<i64>::number(i64::from(64 - I::BITS)).value();
        let shift = if I::min_value() == I::zero() { &integer::USHR } else { &integer::SHR };
        let x = self.value();
        Int::from_value(emitted(|e| {
            let by = Ex::new(e, V::Tensor(by));
            Ex::new(e, V::Tensor(x)).op2(&integer::SHL, &by).op2(shift, &by)
        }))
    }
    /// The number of a trip, which is an error from `limit` on.
    pub(crate) fn trip(self, limit: i64, place: Place) -> Int<I> {
        let op = Op::with(&integer::TRIP, [Attr::Int(place.number()), Attr::Int(limit)]);
        if self.traced().is_some() {
            let k = self.value();
            return Int::from_value(emitted(|e| apply(op, &[&Ex::new(e, V::Tensor(k))])));
        }
        if AsPrimitive::<i64>::as_(self.plain()) >= limit {
            crate::tensor_report(integer::too_many(&op, limit));
        }
        self
    }
    /// A key by which signed comparison orders the values.
    pub(crate) fn ordered(self) -> Value {
        let v = self.value();
        if !I::WIDE {
            return v;
        }
        emitted(|e| {
            let sign = Ex::new(e, e.constant(DType::I64, 1 << 63));
            Ex::new(e, V::Tensor(v)).op2(&integer::XOR, &sign)
        })
    }
    /// How far it is from `start` to here, which is not below it; no more than the largest number.
    pub(crate) fn since(self, start: Int<I>) -> Int<i64> {
        if self.traced().is_none() && start.traced().is_none() {
            let far = self.plain().to_i128().zip(start.plain().to_i128()).map(|(a, b)| a - b);
            return Int::number(far.and_then(|n| i64::try_from(n).ok()).unwrap_or(i64::MAX));
        }
        let far = self.retyped::<i64>() - start.retyped();
        if !I::WIDE {
            return far;
        }
        let v = far.value();
        Int::from_value(emitted(|e| {
            let far = Ex::new(e, V::Tensor(v));
            let most = Ex::new(e, e.constant(DType::I64, i64::MAX.cast_unsigned()));
            Ex::select(&far.lt(&far.lit(0.0)), &most, &far)
        }))
    }
    /// The same bits as another type, which they fit.
    pub(crate) fn retyped<J: Integer>(self) -> Int<J> {
        match self.traced() {
            Some(v) => Int::from_value(v),
            None => Int::number(J::from_i64(self.plain().as_())),
        }
    }
    fn as_float(self, to: DType) -> Value {
        let v = self.value();
        emitted(|e| {
            let x = Ex::new(e, V::Tensor(v));
            if !I::WIDE {
                return x.cast(to);
            }
            // half of it with the lost bit kept, twice
            let one = Ex::new(e, e.constant(DType::I64, 1));
            let half = x.op2(&integer::USHR, &one).op2(&integer::OR, &x.op2(&integer::AND, &one));
            let wide = half.cast(to) * 2.0;
            Ex::select(&x.lt(&x.lit(0.0)), &wide, &x.cast(to))
        })
    }
}

fn first<I: Integer>(v: &Value) -> I {
    let x = i64::view_of(&v.to_array().view()).and_then(|a| a.iter().next().copied());
    I::from_i64(x.unwrap_or_default())
}

macro_rules! operators {
    ($($trait:ident $fn:ident $assign:ident $fn_assign:ident |$a:ident, $b:ident| $e:expr;)*) => {$(
        impl<I: Integer> ops::$trait for Int<I> { type Output = Int<I>; #[track_caller] fn $fn(self, o: Int<I>) -> Int<I> { let ($a, $b) = (self, o); $e } }
        impl<I: Integer> ops::$trait<I> for Int<I> { type Output = Int<I>; #[track_caller] fn $fn(self, o: I) -> Int<I> { let ($a, $b) = (self, Int::number(o)); $e } }
        impl<I: Integer> ops::$trait<&Int<I>> for Int<I> { type Output = Int<I>; #[track_caller] fn $fn(self, o: &Int<I>) -> Int<I> { ops::$trait::$fn(self, *o) } }
        impl<I: Integer> ops::$trait<&I> for Int<I> { type Output = Int<I>; #[track_caller] fn $fn(self, o: &I) -> Int<I> { ops::$trait::$fn(self, *o) } }
        impl<I: Integer> ops::$trait<Int<I>> for &Int<I> { type Output = Int<I>; #[track_caller] fn $fn(self, o: Int<I>) -> Int<I> { ops::$trait::$fn(*self, o) } }
        impl<I: Integer> ops::$trait<I> for &Int<I> { type Output = Int<I>; #[track_caller] fn $fn(self, o: I) -> Int<I> { ops::$trait::$fn(*self, o) } }
        operators!(@plain $trait $fn |$a, $b| $e; u8 u16 u32 u64 usize i8 i16 i32 i64 isize);
        impl<I: Integer> ops::$assign<Int<I>> for Int<I> { #[track_caller] fn $fn_assign(&mut self, o: Int<I>) { let ($a, $b) = (*self, o); *self = $e } }
        impl<I: Integer> ops::$assign<I> for Int<I> { #[track_caller] fn $fn_assign(&mut self, o: I) { let ($a, $b) = (*self, Int::number(o)); *self = $e } }
    )*};
    (@plain $trait:ident $fn:ident |$a:ident, $b:ident| $e:expr; $($t:ty)*) => {$(
        impl ops::$trait<Int<$t>> for $t { type Output = Int<$t>; #[track_caller] fn $fn(self, o: Int<$t>) -> Int<$t> { let ($a, $b) = (Int::<$t>::number(self), o); $e } }
    )*};
}
operators! {
    Add add AddAssign add_assign |a, b| a.zip(b, |a, b| WrappingAdd::wrapping_add(&a, &b), Op::new(&arith::ADD));
    Sub sub SubAssign sub_assign |a, b| a.zip(b, |a, b| WrappingSub::wrapping_sub(&a, &b), Op::new(&arith::SUB));
    Mul mul MulAssign mul_assign |a, b| a.zip(b, |a, b| WrappingMul::wrapping_mul(&a, &b), Op::new(&arith::MUL));
    Div div DivAssign div_assign |a, b| a.divide(b, &integer::DIV, &integer::UDIV, |a, b| *a / *b);
    Rem rem RemAssign rem_assign |a, b| a.divide(b, &integer::REM, &integer::UREM, |a, b| *a % *b);
    BitAnd bitand BitAndAssign bitand_assign |a, b| a.zip(b, |a, b| a & b, Op::new(&integer::AND));
    BitOr bitor BitOrAssign bitor_assign |a, b| a.zip(b, |a, b| a | b, Op::new(&integer::OR));
    BitXor bitxor BitXorAssign bitxor_assign |a, b| a.zip(b, |a, b| a ^ b, Op::new(&integer::XOR));
}
fn shifted<I: Integer>(a: I, by: I, left: bool) -> I {
    let by = (AsPrimitive::<i64>::as_(by) & i64::from(I::BITS - 1)) as usize;
    if left { a << by } else { a >> by }
}
macro_rules! shifts {
    ($($trait:ident $fn:ident $assign:ident $fn_assign:ident |$a:ident, $b:ident| $e:expr;)*) => {$(
        impl<I: Integer, J: Integer> ops::$trait<Int<J>> for Int<I> { type Output = Int<I>; fn $fn(self, o: Int<J>) -> Int<I> { let ($a, $b) = (self, o.retyped()); $e } }
        impl<I: Integer, J: Integer> ops::$trait<J> for Int<I> { type Output = Int<I>; fn $fn(self, o: J) -> Int<I> { let ($a, $b) = (self, Int::number(o).retyped()); $e } }
        impl<I: Integer, J: Integer> ops::$assign<Int<J>> for Int<I> { fn $fn_assign(&mut self, o: Int<J>) { *self = ops::$trait::$fn(*self, o) } }
        impl<I: Integer, J: Integer> ops::$assign<J> for Int<I> { fn $fn_assign(&mut self, o: J) { *self = ops::$trait::$fn(*self, o) } }
    )*};
}
shifts! {
    Shl shl ShlAssign shl_assign |a, b| a.zip(b, |a, b| shifted(a, b, true), Op::new(&integer::SHL)).cut();
    Shr shr ShrAssign shr_assign |a, b| a.zip(b, |a, b| shifted(a, b, false), Op::new(if I::WIDE { &integer::USHR } else { &integer::SHR }));
}
impl<I: Integer> ops::Neg for Int<I> {
    type Output = Int<I>;
    fn neg(self) -> Int<I> {
        Int::number(I::zero()) - self
    }
}
impl<I: Integer> ops::Not for Int<I> {
    type Output = Int<I>;
    fn not(self) -> Int<I> {
        self ^ Int::number(!I::zero())
    }
}

#[allow(missing_docs)] // each is the primitive integers' method of the same name
impl<I: Integer> Int<I> {
    fn less(self, o: Int<I>, than: fn(&I, &I) -> bool, def: &'static OpDef) -> Int<I> {
        // the one for which the comparison holds
        if self.traced().is_some() || o.traced().is_some() {
            let (a, b, x, y) = (self.ordered(), o.ordered(), self.value(), o.value());
            return Int::from_value(emitted(|e| {
                let [a, b, x, y] = [a, b, x, y].map(|v| Ex::new(e, V::Tensor(v)));
                Ex::select(&a.op2(def, &b), &x, &y)
            }));
        }
        let (a, b) = (self.plain(), o.plain());
        Int::number(if than(&a, &b) { a } else { b })
    }
    pub fn min(self, o: impl Into<Int<I>>) -> Int<I> {
        self.less(o.into(), I::lt, &compare::LT)
    }
    pub fn max(self, o: impl Into<Int<I>>) -> Int<I> {
        let o = o.into();
        if o.constant() == Some(I::min_value()) { self } else { self.less(o, I::gt, &compare::GT) }
    }
    pub fn clamp(self, lo: impl Into<Int<I>>, hi: impl Into<Int<I>>) -> Int<I> {
        self.max(lo).min(hi)
    }
    pub fn abs(self) -> Int<I> {
        self.max(-self)
    }
    pub fn signum(self) -> Int<I> {
        let one = Int::number(I::one());
        if I::min_value() == I::zero() { self.min(one) } else { self.min(one).max(-one) }
    }
    pub fn abs_diff(self, o: impl Into<Int<I>>) -> Int<I> {
        let o = o.into();
        self.max(o) - self.min(o)
    }
    #[track_caller]
    pub fn rem_euclid(self, o: impl Into<Int<I>>) -> Int<I> {
        let o = o.into();
        let r = self % o;
        let wraps = r.less(Int::number(I::zero()), I::lt, &compare::LT);
        // r + |o| if r is negative; wraps is r then, else 0
        let up = if I::min_value() == I::zero() { return r } else { o.abs() };
        let negative = -wraps.signum();
        r + up * negative
    }
    #[track_caller]
    pub fn div_euclid(self, o: impl Into<Int<I>>) -> Int<I> {
        let o = o.into();
        (self - self.rem_euclid(o)) / o
    }
    pub fn saturating_sub(self, o: impl Into<Int<I>>) -> Int<I> {
        let o = o.into();
        if I::min_value() == I::zero() {
            return self - self.min(o);
        }
        let saturated = |a: I, b: I| a.saturating_sub(b);
        self.zip(o, saturated, Op::new(&arith::SUB))
    }
    pub fn wrapping_add(self, o: impl Into<Int<I>>) -> Int<I> {
        (self + o.into()).cut()
    }
    pub fn wrapping_sub(self, o: impl Into<Int<I>>) -> Int<I> {
        (self - o.into()).cut()
    }
    pub fn wrapping_mul(self, o: impl Into<Int<I>>) -> Int<I> {
        (self * o.into()).cut()
    }
    pub fn pow(self, n: impl Exponent) -> Int<I> {
        let mut left = known(n);
        let (mut y, mut base) = (Int::number(I::one()), self);
        while left > 0 {
            if left % 2 == 1 {
                y *= base;
            }
            left /= 2;
            if left > 0 {
                base = base * base;
            }
        }
        y
    }
    /// `f` of a number, `def` of a traced one's bits among 64, of which those above the type's are 0.
    fn counted(self, f: impl FnOnce(I) -> u32, def: &'static OpDef) -> Int<u32> {
        if self.traced().is_none() {
            return Int::number(f(self.plain()));
        }
        // of a negative number the bits above are 1
        let signed = I::BITS < 64 && I::min_value() != I::zero();
        let all = self.retyped::<i64>();
        let bits = if signed { all & ((1 << I::BITS) - 1) } else { all }.value();
        Int::from_value(emitted(|e| Ex::new(e, V::Tensor(bits)).op1(def)))
    }
    pub fn count_ones(self) -> Int<u32> {
        self.counted(I::count_ones, &integer::ONES)
    }
    pub fn count_zeros(self) -> Int<u32> {
        Int::number(I::BITS) - self.count_ones()
    }
    pub fn leading_zeros(self) -> Int<u32> {
        let above = 64 - I::BITS;
        self.counted(|x| x.leading_zeros() + above, &integer::LEADING) - above
    }
    pub fn leading_ones(self) -> Int<u32> {
        (!self).leading_zeros()
    }
    pub fn trailing_zeros(self) -> Int<u32> {
        self.counted(I::trailing_zeros, &integer::TRAILING).min(I::BITS)
    }
    pub fn trailing_ones(self) -> Int<u32> {
        (!self).trailing_zeros()
    }
    pub fn is_power_of_two(self) -> bool {
        self.read("an integer is asked whether it is a power of two").count_ones() == 1
    }
}

macro_rules! casts {
    ($($to:ty),*) => {$(
        impl<I: Integer> Cast<$to> for Int<I> {
            fn cast(self) -> <$to as CastTarget>::Twin {
                self.read("an integer is converted in plain code").to_i128().unwrap_or_default() as $to
            }
        }
    )*};
}
casts!(u8, u16, u32, u64, usize, i8, i16, i32, i64, isize, u128, i128);
/// `n as J` of an integer that stays traced.
pub fn convert<J: Integer, I: Integer>(x: Int<I>) -> Int<J> {
    x.retyped::<J>().cut()
}
/// `x as I` of a float: towards zero, to the nearest number that there is, 0 for NaN.
#[track_caller]
pub fn truncated<I: Integer, T: Float>(x: Real<T>) -> Int<I> {
    let Some(v) = x.slot().filter(Value::is_traced) else { return Int::number(I::of_float(x.to_plain().f64())) };
    let bits = Int::<i64>::from_value(emitted(|e| {
        let x = Ex::new(e, V::Tensor(v)).cast(DType::F64);
        let low = x.cast(DType::I64);
        if !I::WIDE {
            return low;
        }
        // from 2⁶³ on what is above it, whose sum has other bits than an i64's
        let half = x.lit(9_223_372_036_854_775_808.0);
        let sign = Ex::new(e, e.constant(DType::I64, 1 << 63));
        Ex::select(&x.ge(&half), &(&x - &half).cast(DType::I64).op2(&integer::XOR, &sign), &low)
    }));
    if I::WIDE {
        // negative floats, and no large ones
        let zero = emitted(|e| {
            let (x, bits) = (Ex::new(e, V::Tensor(x.value())), Ex::new(e, V::Tensor(bits.value())));
            Ex::select(&x.lt(&x.lit(0.0)), &bits.lit(0.0), &bits)
        });
        return Int::from_value(zero);
    }
    bits.clamp(AsPrimitive::<i64>::as_(I::min_value()), AsPrimitive::<i64>::as_(I::max_value())).retyped()
}
macro_rules! float_casts {
    ($($f:ty),*) => {$(
        impl<I: Integer> Cast<$f> for Int<I> {
            fn cast(self) -> Real<$f> {
                match self.traced() {
                    None => literal(self.plain().to_f64().unwrap_or(f64::NAN) as $f),
                    Some(_) => Real::from_value(self.as_float(<$f>::DTYPE)),
                }
            }
        }
        impl<I: Integer> From<Int<I>> for Real<$f> {
            fn from(x: Int<I>) -> Self { Cast::<$f>::cast(x) }
        }
    )*};
}
float_casts!(f32, f64);

const COMPARED: &str = "an integer is compared";
impl<I: Integer, J: Copy + Into<Int<I>>> PartialEq<J> for Int<I> {
    #[track_caller]
    fn eq(&self, o: &J) -> bool {
        self.read(COMPARED) == (*o).into().read(COMPARED)
    }
}
impl<I: Integer, J: Copy + Into<Int<I>>> PartialOrd<J> for Int<I> {
    #[track_caller]
    fn partial_cmp(&self, o: &J) -> Option<Ordering> {
        self.read(COMPARED).partial_cmp(&(*o).into().read(COMPARED))
    }
}
impl<I: Integer> Eq for Int<I> {}
impl<I: Integer> Ord for Int<I> {
    fn cmp(&self, o: &Self) -> Ordering {
        self.read(COMPARED).cmp(&o.read(COMPARED))
    }
}
macro_rules! compare_plain {
    ($($t:ty),*) => {$(
        impl PartialEq<Int<$t>> for $t { #[track_caller] fn eq(&self, o: &Int<$t>) -> bool { *self == o.read(COMPARED) } }
        impl PartialOrd<Int<$t>> for $t { #[track_caller] fn partial_cmp(&self, o: &Int<$t>) -> Option<Ordering> { self.partial_cmp(&o.read(COMPARED)) } }
    )*};
}
compare_plain!(u8, u16, u32, u64, usize, i8, i16, i32, i64, isize);
impl<I: Integer> fmt::Display for Int<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.read("an integer is printed"), f)
    }
}
impl<I: Integer> fmt::Debug for Int<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.read("an integer is printed"), f)
    }
}
impl<I: Integer> Twinned for Int<I> {
    fn leaves(&self, out: &mut Leaves) {
        out.leaves.push(Leaf::Tensor(self.value()));
    }
    fn from_leaves(&self, next: &mut LeafReader<'_>) -> Self {
        Int::from_value(next.next().expect("as many leaves as were reported").value().clone())
    }
}
