//! Turns the names of the functions into types, one a function, by which the dispatcher is generic.
//!
//! Invariant: [`Op1::call`] and the block loop (the fast pass, then the fix-up of the lanes that ask for
//! it) evaluate the same expressions, so they return the same bits.

use super::{exp, hyper, inverse, log, power, special, trig};

/// A function of one argument.
pub(super) trait Op1<T: Copy>: Copy {
    /// Whether some arguments need [`Op1::fix`].
    const FIXES: bool = false;
    /// The branch-free function.
    fn fast(self, x: T) -> T;
    /// Whether [`Op1::fast`] is not valid for `x`.
    #[inline(always)]
    fn needs_fix(self, _x: T) -> bool {
        false
    }
    /// The function where [`Op1::fast`] is not valid.
    #[inline(always)]
    fn fix(self, x: T) -> T {
        x
    }
    /// The function.
    #[inline(always)]
    fn call(self, x: T) -> T {
        if Self::FIXES && self.needs_fix(x) { self.fix(x) } else { self.fast(x) }
    }
}

/// A function of two arguments, branch-free everywhere.
pub(super) trait Op2<T: Copy>: Copy {
    fn call(self, a: T, b: T) -> T;
}

macro_rules! op {
    ($name:ident, $t:ty, |$x:ident| $fast:expr) => {
        impl Op1<$t> for $name {
            #[inline(always)]
            fn fast(self, $x: $t) -> $t {
                $fast
            }
        }
    };
    ($name:ident, $t:ty, |$x:ident| $fast:expr, if $needs:expr => $fix:expr) => {
        impl Op1<$t> for $name {
            const FIXES: bool = true;
            #[inline(always)]
            fn fast(self, $x: $t) -> $t {
                $fast
            }
            #[inline(always)]
            fn needs_fix(self, $x: $t) -> bool {
                $needs
            }
            #[inline(always)]
            fn fix(self, $x: $t) -> $t {
                $fix
            }
        }
    };
}

macro_rules! types {
    ($($name:ident)*) => { $(#[derive(Clone, Copy)] pub(super) struct $name;)* };
}

macro_rules! both_formats {
    ($($name:ident $module:ident $f:ident,)*) => { $(
        #[derive(Clone, Copy)]
        pub(super) struct $name;
        op!($name, f64, |x| $module::$f(x));
        op!($name, f32, |x| $module::$f(x));
    )* };
}

both_formats! {
    Exp exp exp, Exp2 exp exp2, Expm1 exp expm1, Sigmoid exp sigmoid, SigmoidGrad exp sigmoid_grad,
    Sech2 exp sech2, Ln log ln, Log2 log log2, Log10 log log10, Log1p log log1p, Softplus log softplus,
    Sinh hyper sinh, Cosh hyper cosh, Tanh hyper tanh, Asinh hyper asinh, Acosh hyper acosh,
    Atanh hyper atanh, Asin inverse asin, Acos inverse acos, Atan inverse atan, Cube power cube,
}

types! { Sin Cos Tan Cbrt Erf Erfc Lgamma Digamma Identity Square Reciprocal One Pow Atan2 Hypot }

op!(Sin, f64, |x| trig::sin(x), if trig::is_far(x) => trig::sin_far(x));
op!(Cos, f64, |x| trig::cos(x), if trig::is_far(x) => trig::cos_far(x));
op!(Tan, f64, |x| trig::tan(x), if trig::is_far(x) => trig::tan_far(x));
op!(Sin, f32, |x| trig::sin_f32(x), if trig::is_far_f32(x) => trig::sin_far_f32(x));
op!(Cos, f32, |x| trig::cos_f32(x), if trig::is_far_f32(x) => trig::cos_far_f32(x));
op!(Tan, f32, |x| trig::tan_f32(x), if trig::is_far_f32(x) => trig::tan_far_f32(x));
op!(Cbrt, f64, |x| power::cbrt(x));
op!(Cbrt, f32, |x| power::cbrt_f32(x));
op!(Erf, f64, |x| special::erf(x));
op!(Erf, f32, |x| special::erf_f32(x));
op!(Erfc, f64, |x| special::erfc(x));
op!(Erfc, f32, |x| special::erfc_f32(x));
op!(Lgamma, f64, |x| special::lgamma(x), if special::is_negative(x) => special::lgamma_negative(x));
op!(Digamma, f64, |x| special::digamma(x), if special::is_negative(x) => special::digamma_negative(x));
op!(Lgamma, f32, |x| special::lgamma(f64::from(x)) as f32,
    if x < 0.0 => special::lgamma_negative(f64::from(x)) as f32);
op!(Digamma, f32, |x| special::digamma(f64::from(x)) as f32,
    if x < 0.0 => special::digamma_negative(f64::from(x)) as f32);

// The integer powers that one or two multiplications give.
op!(One, f64, |_x| 1.0);
op!(One, f32, |_x| 1.0);
op!(Identity, f64, |x| x);
op!(Identity, f32, |x| x);
op!(Square, f64, |x| x * x);
op!(Square, f32, |x| x * x);
op!(Reciprocal, f64, |x| 1.0 / x);
op!(Reciprocal, f32, |x| 1.0 / x);

/// `x^n` for a general `n`.
#[derive(Clone, Copy)]
pub(super) struct Powi(pub(super) i32);

impl Op1<f64> for Powi {
    #[inline(always)]
    fn fast(self, x: f64) -> f64 {
        power::powi(x, self.0)
    }
}

impl Op1<f32> for Powi {
    #[inline(always)]
    fn fast(self, x: f32) -> f32 {
        power::powi_f32(x, self.0)
    }
}

macro_rules! op2 {
    ($name:ident, $t:ty, $f:path) => {
        impl Op2<$t> for $name {
            #[inline(always)]
            fn call(self, a: $t, b: $t) -> $t {
                $f(a, b)
            }
        }
    };
}

op2!(Pow, f64, power::pow);
op2!(Pow, f32, power::pow_f32);
op2!(Hypot, f64, power::hypot);
op2!(Hypot, f32, power::hypot_f32);
op2!(Atan2, f64, inverse::atan2);
op2!(Atan2, f32, inverse::atan2);
