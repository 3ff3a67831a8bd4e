//! What twins call: literals, casts, and functions of which only name resolution knows whether they are
//! annotated. `helper(x)` becomes `__h0::__call(helper)(__h0::__arg0(x))`, where `__h0` is the helper's
//! companion if it has one and else, through a glob import, [`Plain`].

use super::rolled::{Int, Integer, known};
use crate::{
    Tensor,
    array::Float,
    real::{Real, literal},
};

/// `f64` to `Real<f64>`, `Real` and references to it to itself.
pub trait Lift<F: Float> {
    /// The traced scalar.
    fn lift(self) -> Real<F>;
}
macro_rules! lifts {
    ($($f:ty),*) => {$( impl Lift<$f> for $f { fn lift(self) -> Real<$f> { literal(self) } } )*};
}
lifts!(f32, f64);
impl<F: Float> Lift<F> for Real<F> {
    fn lift(self) -> Real<F> {
        self
    }
}
impl<F: Float> Lift<F> for &Real<F> {
    fn lift(self) -> Real<F> {
        *self
    }
}
impl<F: Float> Lift<F> for &&Real<F> {
    fn lift(self) -> Real<F> {
        **self
    }
}
/// A number, plain or traced, as a traced scalar.
pub fn lift<F: Float, T: Lift<F>>(x: T) -> Real<F> {
    x.lift()
}

/// What `as To` gives in a twin: `f64` is `Real<f64>`, `usize` is `usize`.
pub trait CastTarget {
    /// The twin of the target.
    type Twin;
}
/// Something that can be cast.
pub trait Cast<To: CastTarget> {
    /// `self as To`.
    fn cast(self) -> To::Twin;
}
/// `x as To`.
#[track_caller]
pub fn cast<To: CastTarget, T: Cast<To>>(x: T) -> To::Twin {
    x.cast()
}
macro_rules! integers {
    ($callback:ident $($args:tt)*) => { $callback!($($args)* u8, u16, u32, u64, usize, i8, i16, i32, i64, isize, u128, i128); };
}
macro_rules! targets {
    ($($t:ty),*) => {$( impl CastTarget for $t { type Twin = $t; } )*};
}
integers!(targets);
impl CastTarget for f32 {
    type Twin = Real<f32>;
}
impl CastTarget for f64 {
    type Twin = Real<f64>;
}
macro_rules! from_number {
    ($from:ty; $($to:ty),*) => {
        $(impl Cast<$to> for $from { fn cast(self) -> $to { self as $to } })*
        impl Cast<f64> for $from { fn cast(self) -> Real<f64> { literal(self as f64) } }
        impl Cast<f32> for $from { fn cast(self) -> Real<f32> { literal(self as f32) } }
    };
}
macro_rules! from_numbers {
    ($($from:ty),*) => {$( integers!(from_number $from;); )*};
}
from_numbers!(u8, u16, u32, u64, usize, i8, i16, i32, i64, isize, u128, i128, f32, f64);
macro_rules! from_others {
    ($($to:ty),*) => {$(
        impl Cast<$to> for bool { fn cast(self) -> $to { self as $to } }
        impl<F: Float> Cast<$to> for Real<F> {
            #[track_caller]
            fn cast(self) -> $to { self.to_plain().f64() as $to }
        }
    )*};
}
integers!(from_others);
impl<F: Float> Cast<f64> for Real<F> {
    #[track_caller]
    fn cast(self) -> Real<f64> {
        self.convert()
    }
}
impl<F: Float> Cast<f32> for Real<F> {
    #[track_caller]
    fn cast(self) -> Real<f32> {
        self.convert()
    }
}

/// `t.item()` in a twin: a traced scalar, through which derivatives flow, of a tensor of floats; the plain
/// element of others.
pub trait Item {
    /// The element.
    type Item;
    #[doc(hidden)]
    fn __item(&self) -> Self::Item;
}
macro_rules! items {
    ($($f:ty),*; $($plain:ty),*) => {
        $(impl Item for Tensor<$f> {
            type Item = Real<$f>;
            #[track_caller]
            fn __item(&self) -> Real<$f> { self.traced_item() }
        })*
        $(impl Item for Tensor<$plain> {
            type Item = $plain;
            #[track_caller]
            fn __item(&self) -> $plain { self.item() }
        })*
    };
}
items!(f32, f64; i64, bool);

/// What may be passed to a function that is not annotated: everything but traced scalars, which are not `Send`.
#[diagnostic::on_unimplemented(
    message = "a plain function is called with a differentiated value",
    label = "this is a traced `{Self}`",
    note = "annotate the called function with `#[differentiable]`"
)]
pub trait PlainArg<Kind> {
    /// The argument.
    type Plain;
    #[doc(hidden)]
    fn __plain(self) -> Self::Plain;
}
#[diagnostic::do_not_recommend]
impl<T: Send> PlainArg<()> for T {
    type Plain = T;
    fn __plain(self) -> T {
        self
    }
}
/// An integer of the twin is read.
pub struct IntKind;
#[diagnostic::do_not_recommend]
impl<I: Integer> PlainArg<IntKind> for Int<I> {
    type Plain = I;
    #[track_caller]
    fn __plain(self) -> I {
        known(self)
    }
}
/// What a helper that is generic over [`Real`](super::Real) may be given: numbers, arrays of them, references; an integer of
/// the twin is read.
pub trait HelperArg {
    /// The argument.
    type Given;
    #[doc(hidden)]
    fn __given(self) -> Self::Given;
}
macro_rules! helper_args {
    ($($t:ty),*) => {$(
        impl HelperArg for $t { type Given = $t; fn __given(self) -> $t { self } }
    )*};
}
helper_args!(f32, f64, bool, u8, u16, u32, u64, usize, i8, i16, i32, i64, isize, Real<f32>, Real<f64>);
impl<I: Integer> HelperArg for Int<I> {
    type Given = I;
    #[track_caller]
    fn __given(self) -> I {
        known(self)
    }
}
impl<X: HelperArg<Given = X>, const N: usize> HelperArg for [X; N] {
    type Given = [X; N];
    fn __given(self) -> [X; N] {
        self
    }
}
impl<'a, X: ?Sized> HelperArg for &'a X {
    type Given = &'a X;
    fn __given(self) -> &'a X {
        self
    }
}

/// Never implemented. A second candidate makes the compiler look at the bounds of both before it commits to
/// one, so that a traced argument is reported once and at its place.
pub trait Nothing {}
#[doc(hidden)]
pub struct NothingKind;
#[diagnostic::do_not_recommend]
impl<T: Nothing> PlainArg<NothingKind> for T {
    type Plain = T;
    fn __plain(self) -> T {
        self
    }
}

/// The companion of every function that has none.
pub struct Plain;
macro_rules! plain {
    ($($name:ident)*) => {
        #[doc(hidden)]
        impl Plain {
            pub fn __call<F>(f: F) -> F { f }
            pub fn __list<F>(f: F) -> F { f }
            $(#[track_caller]
            pub fn $name<T: PlainArg<K>, K>(_: &super::Slot, x: T) -> T::Plain { x.__plain() })*
        }
    };
}
plain!(__arg0 __arg1 __arg2 __arg3 __arg4 __arg5 __arg6 __arg7 __arg8 __arg9 __arg10 __arg11 __arg12 __arg13 __arg14 __arg15);
macro_rules! inferred {
    ($($name:ident)*) => {
        #[doc(hidden)]
        impl Plain {
            $(pub fn $name<T>(x: T) -> T { x })*
        }
    };
}
inferred!(__inferred0 __inferred1 __inferred2 __inferred3 __inferred4 __inferred5 __inferred6 __inferred7
    __inferred8 __inferred9 __inferred10 __inferred11 __inferred12 __inferred13 __inferred14 __inferred15);

/// Glob-imported by twins under the names of companions.
pub mod fallback {
    #![allow(non_camel_case_types, missing_docs)]
    macro_rules! names { ($($name:ident)*) => { $(pub type $name = super::Plain;)* } }
    names!(__h0 __h1 __h2 __h3 __h4 __h5 __h6 __h7 __h8 __h9 __h10 __h11 __h12 __h13 __h14 __h15
        __h16 __h17 __h18 __h19 __h20 __h21 __h22 __h23 __h24 __h25 __h26 __h27 __h28 __h29 __h30
        __h31 __h32 __h33 __h34 __h35 __h36 __h37 __h38 __h39 __h40 __h41 __h42 __h43 __h44 __h45
        __h46 __h47 __h48 __h49 __h50 __h51 __h52 __h53 __h54 __h55 __h56 __h57 __h58 __h59 __h60
        __h61 __h62 __h63);
}

/// `detach` on floats and tensors, with the companion that twins call.
#[allow(non_camel_case_types)]
pub mod detach {
    use super::{Float, Real};
    use crate::{Element, Tensor};

    /// A value through which no derivative flows.
    pub trait Detach {
        #[doc(hidden)]
        fn __detach(self) -> Self;
    }
    impl Detach for f64 {
        fn __detach(self) -> f64 {
            self
        }
    }
    impl Detach for f32 {
        fn __detach(self) -> f32 {
            self
        }
    }
    impl<T: Float> Detach for Real<T> {
        fn __detach(self) -> Self {
            self.detach()
        }
    }
    impl<T: Element> Detach for Tensor<T> {
        fn __detach(self) -> Self {
            Tensor::detach(&self)
        }
    }
    /// The same value, through which no derivative flows.
    ///
    /// ```
    /// assert_eq!(autograd_runtime::detach(2.5), 2.5);
    /// ```
    pub fn detach<T: Detach>(x: T) -> T {
        x.__detach()
    }
    #[doc(hidden)]
    pub enum detach {}
    #[doc(hidden)]
    impl detach {
        pub fn __call<F>(f: F) -> F {
            f
        }
        pub fn __list<F>(f: F) -> F {
            f
        }
        pub fn __arg0<T>(_: &crate::entry::Slot, x: T) -> T {
            x
        }
        pub fn __inferred0<T>(x: T) -> T {
            x
        }
    }
}
