//! `Real<T>`: what an `f64` or `f32` is inside the staged twin of an annotated function. It is a copyable
//! handle: a constant, or the slot of a value in the running session.

use crate::{
    array::{Element, Float},
    emit::{Emit, Ex, V},
    error::{Error, Place},
    op::Op,
    session,
    tensor::{Dispatch, Value},
};
use std::{cmp::Ordering, fmt, iter, marker::PhantomData, ops};

/// A traced scalar with the operators and methods of `f64`. It belongs to the thread that traces.
#[derive(Clone, Copy)]
pub struct Real<T> {
    repr: Repr<T>,
    /// Not `Send`: sessions are a thread's own.
    thread: PhantomData<*const ()>,
}

#[derive(Clone, Copy)]
enum Repr<T> {
    Const(T),
    Slot { slot: u32, session: u64 },
}

/// A constant as a traced scalar.
pub fn literal<T: Float>(x: T) -> Real<T> {
    Real { repr: Repr::Const(x), thread: PhantomData }
}

impl<T: Float> Real<T> {
    /// The value in the running session.
    pub(crate) fn value(self) -> Value {
        match self.repr {
            Repr::Const(x) if session::is_tracing() => {
                let d = Dispatch::default();
                match d.constant(T::DTYPE, x.bits()) {
                    V::Tensor(v) => v,
                    _ => unreachable!("tensors only"),
                }
            }
            Repr::Const(x) => Value::stored(T::into_array(ndarray::arr0(x).into_dyn())),
            Repr::Slot { slot, session } => match session::load_real(slot, session) {
                Some(v) => masked(v, slot, session),
                None => {
                    let e = Error::Autograd("a traced scalar was used after the call that traced it had ended".into());
                    crate::tensor_report(e);
                    Value::absent(crate::ty::Ty::scalar(T::DTYPE))
                }
            },
        }
    }
    /// As [`Real::value`], for what takes one number: not one that stands for the elements of an array.
    pub(crate) fn single(self) -> Value {
        let v = self.value();
        if v.ty().shape.is_empty() || !session::needs_elements() { v } else { literal(T::zero()).value() }
    }
    /// The value that a handle stands for; none for a number.
    pub(crate) fn slot(self) -> Option<Value> {
        match self.repr {
            Repr::Const(_) => None,
            Repr::Slot { .. } => Some(self.value()),
        }
    }
    pub(crate) fn from_value(v: Value) -> Real<T> {
        match session::store_real(v.clone()) {
            Some((slot, session)) => Real { repr: Repr::Slot { slot, session }, thread: PhantomData },
            None => literal(first(&v)),
        }
    }
    /// The number, which ends the trace if one is running.
    #[track_caller]
    fn read(self, what: &str) -> T {
        match self.repr {
            Repr::Const(x) => x,
            Repr::Slot { .. } => {
                let v = self.value();
                if !v.ty().shape.is_empty() && session::needs_elements() {
                    return T::zero();
                }
                session::opaque_read(&v, what, Place::caller());
                if v.is_traced() && crate::entry::flow::is_astray() { T::zero() } else { first(&v) }
            }
        }
    }
    #[track_caller]
    fn map(self, f: impl for<'e> FnOnce(Ex<'e>) -> Ex<'e>) -> Real<T> {
        self.zip(self, |a, _| f(a))
    }
    #[track_caller]
    fn zip(self, o: Real<T>, f: impl for<'e> FnOnce(Ex<'e>, Ex<'e>) -> Ex<'e>) -> Real<T> {
        let known = matches!((self.repr, o.repr), (Repr::Const(_), Repr::Const(_)));
        if known {
            // a number from numbers: computed now, by the same functions as everything else
            let (a, b) = (self.number(), o.number());
            let stored = |x: T| Value::stored(T::into_array(ndarray::arr0(x).into_dyn()));
            return literal(first(&at_once(|e| f(Ex::new(e, V::Tensor(stored(a))), Ex::new(e, V::Tensor(stored(b)))))));
        }
        let (a, b) = (self.value(), o.value());
        Real::from_value(crate::tensor_evaluate(|e| f(Ex::new(e, V::Tensor(a)), Ex::new(e, V::Tensor(b)))))
    }
    fn number(self) -> T {
        if let Repr::Const(x) = self.repr { x } else { T::default() }
    }
    /// The quotient. That of 1 is a reciprocal, whose derivatives of all orders take no other division.
    #[track_caller]
    fn over(self, o: Real<T>) -> Real<T> {
        if matches!(self.repr, Repr::Const(x) if x == T::one()) { o.recip() } else { self.zip(o, |a, b| a / b) }
    }
}

/// A scalar as a branch of a choice made element by element sees it: where the branch does not count, as a constant.
fn masked(mut v: Value, slot: u32, session: u64) -> Value {
    if !session::is_elementwise() {
        return v;
    }
    for mask in session::masks(slot, session) {
        v = crate::tensor_evaluate(|e| {
            let (mask, x) = (Ex::new(e, V::Tensor(mask)), Ex::new(e, V::Tensor(v)));
            Ex::select(&mask, &x, &x.detach())
        });
    }
    v
}

fn first<T: Element>(v: &Value) -> T {
    T::view_of(&v.to_array().view()).and_then(|a| a.iter().next().copied()).unwrap_or_default()
}

/// Computes past any running trace.
struct AtOnce;
impl Emit for AtOnce {
    fn emit(&self, op: Op, args: &[V]) -> V {
        let args: Vec<&Value> =
            args.iter().map(|a| if let V::Tensor(t) = a { t } else { unreachable!("tensors only") }).collect();
        let out = crate::tensor::eager(op, &args);
        V::Tensor(out.unwrap_or_else(|e| panic!("bug: arithmetic on two numbers failed: {e}")))
    }
    fn ty(&self, v: &V) -> crate::ty::Ty {
        if let V::Tensor(t) = v { t.ty().clone() } else { unreachable!("tensors only") }
    }
    fn fail(&self, error: Error, _: &V) -> V {
        panic!("bug: arithmetic on two numbers failed: {error}")
    }
}
fn at_once(f: impl for<'e> FnOnce(&'e dyn Emit) -> Ex<'e>) -> Value {
    crate::no_grad(|| match f(&AtOnce).v {
        V::Tensor(v) => v,
        _ => unreachable!("tensors only"),
    })
}

macro_rules! methods {
    ($($name:ident => $op:ident;)*) => {
        #[allow(missing_docs)] // each is f64's method of the same name
        impl<T: Float> Real<T> {$(
            #[track_caller]
            pub fn $name(self) -> Real<T> { self.map(|x| x.$op()) }
        )*}
    };
}
methods! {
    sin => sin; cos => cos; tan => tan; asin => asin; acos => acos; atan => atan; sinh => sinh; cosh => cosh;
    tanh => tanh; asinh => asinh; acosh => acosh; atanh => atanh; exp => exp; exp2 => exp2; exp_m1 => expm1;
    ln => ln; log2 => log2; log10 => log10; ln_1p => log1p; sqrt => sqrt; cbrt => cbrt; abs => abs;
    floor => floor; ceil => ceil; trunc => trunc; round_ties_even => round; recip => recip; detach => detach;
}

#[allow(missing_docs)] // each is f64's method of the same name
impl<T: Float> Real<T> {
    /// To the nearest integer, halves away from zero, as `f64::round`.
    #[track_caller]
    pub fn round(self) -> Self {
        // trunc(x + ½ sign x) would round the largest number below ½ up: compare the fraction instead
        self.map(|x| {
            let t = x.trunc();
            let up = (&x - &t).abs().ge(&x.lit(0.5));
            t.clone() + x.lit(1.0).copysign(&x).masked(&up)
        })
    }
    /// 1 with the sign of x, NaN for NaN.
    #[track_caller]
    pub fn signum(self) -> Self {
        self.map(|x| Ex::select(&x.is_nan(), &x.detach(), &x.lit(1.0).copysign(&x)))
    }
    #[track_caller]
    pub fn fract(self) -> Self {
        self.map(|x| &x - x.trunc())
    }
    #[track_caller]
    pub fn powi(self, n: i32) -> Self {
        self.map(|x| x.powi(n))
    }
    #[track_caller]
    pub fn powf(self, p: impl Into<Real<T>>) -> Self {
        self.zip(p.into(), |x, p| x.pow(&p))
    }
    #[track_caller]
    pub fn atan2(self, o: impl Into<Real<T>>) -> Self {
        self.zip(o.into(), |y, x| y.atan2(&x))
    }
    #[track_caller]
    pub fn hypot(self, o: impl Into<Real<T>>) -> Self {
        self.zip(o.into(), |x, y| x.hypot(&y))
    }
    #[track_caller]
    pub fn copysign(self, o: impl Into<Real<T>>) -> Self {
        self.zip(o.into(), |x, y| x.copysign(&y))
    }
    #[track_caller]
    pub fn log(self, base: impl Into<Real<T>>) -> Self {
        self.ln() / base.into().ln()
    }
    /// As `f64::max`: a NaN operand gives the other.
    #[track_caller]
    pub fn max(self, o: impl Into<Real<T>>) -> Self {
        self.zip(o.into(), |a, b| a.fmax(&b))
    }
    /// As `f64::min`: a NaN operand gives the other.
    #[track_caller]
    pub fn min(self, o: impl Into<Real<T>>) -> Self {
        self.zip(o.into(), |a, b| a.fmin(&b))
    }
    #[track_caller]
    pub fn clamp(self, lo: impl Into<Real<T>>, hi: impl Into<Real<T>>) -> Self {
        let (lo, hi) = (lo.into(), hi.into());
        let low = self.zip(lo, |x, lo| Ex::select(&x.lt(&lo), &lo, &x));
        low.zip(hi, |x, hi| Ex::select(&x.gt(&hi), &hi, &x))
    }
    #[track_caller]
    pub fn mul_add(self, a: impl Into<Real<T>>, b: impl Into<Real<T>>) -> Self {
        self * a.into() + b.into()
    }
    /// The least number that is not negative and that a multiple of |o| leads to from x.
    #[track_caller]
    pub fn rem_euclid(self, o: impl Into<Real<T>>) -> Self {
        self.zip(o.into(), |x, y| {
            let r = x.rem(&y);
            Ex::select(&r.lt(&x.lit(0.0)), &(&r + y.abs()), &r)
        })
    }
    #[track_caller]
    pub fn div_euclid(self, o: impl Into<Real<T>>) -> Self {
        self.zip(o.into(), |x, y| {
            let (q, below) = ((&x / &y).trunc(), x.rem(&y).lt(&x.lit(0.0)));
            &q - x.lit(1.0).copysign(&y).masked(&below)
        })
    }
    #[track_caller]
    pub fn sin_cos(self) -> (Self, Self) {
        (self.sin(), self.cos())
    }
    #[track_caller]
    pub fn to_radians(self) -> Self {
        self * literal(T::of(std::f64::consts::PI / 180.0))
    }
    #[track_caller]
    pub fn to_degrees(self) -> Self {
        self * literal(T::of(180.0 / std::f64::consts::PI))
    }
    #[track_caller]
    pub fn is_nan(self) -> bool {
        self.read("is_nan() of a scalar is asked").is_nan()
    }
    #[track_caller]
    pub fn is_finite(self) -> bool {
        self.read("is_finite() of a scalar is asked").is_finite()
    }
    #[track_caller]
    pub fn is_infinite(self) -> bool {
        self.read("is_infinite() of a scalar is asked").is_infinite()
    }
    #[track_caller]
    pub fn is_sign_negative(self) -> bool {
        self.read("the sign of a scalar is asked").is_sign_negative()
    }
    #[track_caller]
    pub fn is_sign_positive(self) -> bool {
        self.read("the sign of a scalar is asked").is_sign_positive()
    }
    #[track_caller]
    pub fn is_normal(self) -> bool {
        self.read("is_normal() of a scalar is asked").is_normal()
    }
    #[track_caller]
    pub fn total_cmp(&self, o: &Real<T>) -> Ordering {
        self.read(COMPARED).f64().total_cmp(&o.read(COMPARED).f64())
    }
    #[track_caller]
    pub(crate) fn to_plain(self) -> T {
        self.read("a scalar is converted to an integer")
    }
    /// The same number with another width.
    #[track_caller]
    pub(crate) fn convert<U: Float>(self) -> Real<U> {
        match self.repr {
            Repr::Const(x) => literal(U::of(x.f64())),
            Repr::Slot { .. } => {
                Real::from_value(crate::tensor_evaluate(|e| Ex::new(e, V::Tensor(self.value())).cast(U::DTYPE)))
            }
        }
    }
}

impl<T: Float> From<T> for Real<T> {
    fn from(x: T) -> Self {
        literal(x)
    }
}
impl<T: Float> From<&Real<T>> for Real<T> {
    fn from(x: &Real<T>) -> Self {
        *x
    }
}
macro_rules! from_plain {
    ($($i:ty => $($t:ty),*;)*) => {$($(
        impl From<$i> for Real<$t> { fn from(x: $i) -> Self { literal(<$t>::from(x)) } }
    )*)*};
}
from_plain! {
    bool => f32, f64; i8 => f32, f64; u8 => f32, f64; i16 => f32, f64; u16 => f32, f64; i32 => f64; u32 => f64; f32 => f64;
}
impl From<Real<f32>> for Real<f64> {
    #[track_caller]
    fn from(x: Real<f32>) -> Self {
        x.convert()
    }
}

macro_rules! operators {
    ($($trait:ident $fn:ident $assign:ident $fn_assign:ident;)*) => {$(
        impl<T: Float> ops::$trait for Real<T> { type Output = Real<T>; #[track_caller] fn $fn(self, o: Real<T>) -> Real<T> { operators!(@op $trait, self, o) } }
        impl<T: Float> ops::$trait<&Real<T>> for Real<T> { type Output = Real<T>; #[track_caller] fn $fn(self, o: &Real<T>) -> Real<T> { operators!(@op $trait, self, *o) } }
        impl<T: Float> ops::$trait<Real<T>> for &Real<T> { type Output = Real<T>; #[track_caller] fn $fn(self, o: Real<T>) -> Real<T> { operators!(@op $trait, *self, o) } }
        impl<T: Float> ops::$trait<&Real<T>> for &Real<T> { type Output = Real<T>; #[track_caller] fn $fn(self, o: &Real<T>) -> Real<T> { operators!(@op $trait, *self, *o) } }
        impl<T: Float> ops::$trait<T> for Real<T> { type Output = Real<T>; #[track_caller] fn $fn(self, o: T) -> Real<T> { operators!(@op $trait, self, literal(o)) } }
        impl<T: Float> ops::$trait<&T> for Real<T> { type Output = Real<T>; #[track_caller] fn $fn(self, o: &T) -> Real<T> { operators!(@op $trait, self, literal(*o)) } }
        impl<T: Float> ops::$trait<&T> for &Real<T> { type Output = Real<T>; #[track_caller] fn $fn(self, o: &T) -> Real<T> { operators!(@op $trait, *self, literal(*o)) } }
        impl<T: Float> ops::$trait<T> for &Real<T> { type Output = Real<T>; #[track_caller] fn $fn(self, o: T) -> Real<T> { operators!(@op $trait, *self, literal(o)) } }
        operators!(@scalar $trait $fn f64); operators!(@scalar $trait $fn f32);
        impl<T: Float> ops::$assign<Real<T>> for Real<T> { #[track_caller] fn $fn_assign(&mut self, o: Real<T>) { *self = operators!(@op $trait, *self, o) } }
        impl<T: Float> ops::$assign<&Real<T>> for Real<T> { #[track_caller] fn $fn_assign(&mut self, o: &Real<T>) { *self = operators!(@op $trait, *self, *o) } }
        impl<T: Float> ops::$assign<&T> for Real<T> { #[track_caller] fn $fn_assign(&mut self, o: &T) { *self = operators!(@op $trait, *self, literal(*o)) } }
        impl<T: Float> ops::$assign<T> for Real<T> { #[track_caller] fn $fn_assign(&mut self, o: T) { *self = operators!(@op $trait, *self, literal(o)) } }
    )*};
    (@scalar $trait:ident $fn:ident $f:ty) => {
        impl ops::$trait<Real<$f>> for $f { type Output = Real<$f>; #[track_caller] fn $fn(self, o: Real<$f>) -> Real<$f> { operators!(@op $trait, literal(self), o) } }
        impl ops::$trait<Real<$f>> for &$f { type Output = Real<$f>; #[track_caller] fn $fn(self, o: Real<$f>) -> Real<$f> { operators!(@op $trait, literal(*self), o) } }
        impl ops::$trait<&Real<$f>> for &$f { type Output = Real<$f>; #[track_caller] fn $fn(self, o: &Real<$f>) -> Real<$f> { operators!(@op $trait, literal(*self), *o) } }
        impl ops::$trait<&Real<$f>> for $f { type Output = Real<$f>; #[track_caller] fn $fn(self, o: &Real<$f>) -> Real<$f> { operators!(@op $trait, literal(self), *o) } }
    };
    (@op Add, $a:expr, $b:expr) => { $a.zip($b, |a, b| a + b) };
    (@op Sub, $a:expr, $b:expr) => { $a.zip($b, |a, b| a - b) };
    (@op Mul, $a:expr, $b:expr) => { $a.zip($b, |a, b| a * b) };
    (@op Div, $a:expr, $b:expr) => { $a.over($b) };
    (@op Rem, $a:expr, $b:expr) => { $a.zip($b, |a, b| a.rem(&b)) };
}
operators! {
    Add add AddAssign add_assign; Sub sub SubAssign sub_assign; Mul mul MulAssign mul_assign;
    Div div DivAssign div_assign; Rem rem RemAssign rem_assign;
}
impl<T: Float> ops::Neg for Real<T> {
    type Output = Real<T>;
    #[track_caller]
    fn neg(self) -> Real<T> {
        self.map(|x| -x)
    }
}
impl<T: Float> ops::Neg for &Real<T> {
    type Output = Real<T>;
    #[track_caller]
    fn neg(self) -> Real<T> {
        self.map(|x| -x)
    }
}

const COMPARED: &str = "a scalar is compared";
/// The comparison operators, whose provided bodies would give core's place instead of the caller's.
macro_rules! here {
    ($o:ty, |$a:ident, $b:ident| $pair:expr) => {
        here!(@ lt < $o, $a, $b, $pair); here!(@ le <= $o, $a, $b, $pair);
        here!(@ gt > $o, $a, $b, $pair); here!(@ ge >= $o, $a, $b, $pair);
    };
    (@ $name:ident $op:tt $o:ty, $a:ident, $b:ident, $pair:expr) => {
        #[track_caller]
        fn $name(&self, o: &$o) -> bool {
            let ($a, $b) = (self, o);
            let (x, y) = $pair;
            x $op y
        }
    };
}
impl<T: Float> PartialEq for Real<T> {
    #[track_caller]
    fn eq(&self, o: &Self) -> bool {
        self.read(COMPARED) == o.read(COMPARED)
    }
    #[track_caller]
    #[allow(clippy::partialeq_ne_impl)] // for the caller's place
    fn ne(&self, o: &Self) -> bool {
        self.read(COMPARED) != o.read(COMPARED)
    }
}
impl<T: Float> PartialEq<T> for Real<T> {
    #[track_caller]
    fn eq(&self, o: &T) -> bool {
        self.read(COMPARED) == *o
    }
    #[track_caller]
    #[allow(clippy::partialeq_ne_impl)] // for the caller's place
    fn ne(&self, o: &T) -> bool {
        self.read(COMPARED) != *o
    }
}
impl<T: Float> PartialOrd for Real<T> {
    #[track_caller]
    fn partial_cmp(&self, o: &Self) -> Option<Ordering> {
        self.read(COMPARED).partial_cmp(&o.read(COMPARED))
    }
    here!(Self, |a, b| (a.read(COMPARED), b.read(COMPARED)));
}
impl<T: Float> PartialOrd<T> for Real<T> {
    #[track_caller]
    fn partial_cmp(&self, o: &T) -> Option<Ordering> {
        self.read(COMPARED).partial_cmp(o)
    }
    here!(T, |a, b| (a.read(COMPARED), *b));
}
macro_rules! compare_plain {
    ($($f:ty),*) => {$(
        impl PartialEq<Real<$f>> for $f { #[track_caller] fn eq(&self, o: &Real<$f>) -> bool { *self == o.read(COMPARED) } }
        impl PartialOrd<Real<$f>> for $f { #[track_caller] fn partial_cmp(&self, o: &Real<$f>) -> Option<Ordering> { self.partial_cmp(&o.read(COMPARED)) } here!(Real<$f>, |a, b| (*a, b.read(COMPARED))); }
    )*};
}
compare_plain!(f32, f64);

macro_rules! sums {
    ($($item:ty),*) => {$(
        impl<'a, T: Float> iter::Sum<$item> for Real<T> { fn sum<I: Iterator<Item = $item>>(i: I) -> Self { i.fold(literal(T::zero()), |a, b| a + b) } }
        impl<'a, T: Float> iter::Product<$item> for Real<T> { fn product<I: Iterator<Item = $item>>(i: I) -> Self { i.fold(literal(T::one()), |a, b| a * b) } }
    )*};
}
sums!(Real<T>, &'a Real<T>, T);

impl<T: Float> fmt::Display for Real<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.read("a scalar is printed"), f)
    }
}
impl<T: Float> fmt::Debug for Real<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.read("a scalar is printed"), f)
    }
}
