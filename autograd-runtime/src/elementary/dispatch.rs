//! Turns one function type into machine code for each instruction-set level, and a level and a name into
//! a function pointer; runs any loop in the version of this CPU's level. The only file of the module with
//! `unsafe`.
//!
//! Invariant: a pointer to code of a level leaves this file only if the CPU was found to have the level
//! (or the level is the baseline), and every level computes the same bits: the bodies are the same
//! expressions of IEEE operations and explicit fused multiply-adds, which no level may contract or reorder.

use super::ops::{self, Op1, Op2};
use super::{Binary, Unary};
use std::sync::atomic::{AtomicU8, Ordering};

/// An instruction-set level. The order is that of the tables below.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only x86-64 has several"))]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Level {
    /// What the target always has; a fused multiply-add may be a library call.
    Baseline = 0,
    /// AVX2 and FMA.
    Avx2 = 1,
    /// AVX-512 F, DQ, VL and BW, AVX2 and FMA.
    Avx512 = 2,
}

/// The best level of this CPU.
#[inline]
pub(super) fn level() -> Level {
    // 0 is "not asked yet". Threads that race store the same value.
    static CACHE: AtomicU8 = AtomicU8::new(0);
    match CACHE.load(Ordering::Relaxed) {
        1 => Level::Baseline,
        2 => Level::Avx2,
        3 => Level::Avx512,
        _ => {
            let l = detect();
            CACHE.store(l as u8 + 1, Ordering::Relaxed);
            l
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[cold]
fn detect() -> Level {
    if !(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")) {
        return Level::Baseline;
    }
    if is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bw")
    {
        Level::Avx512
    } else {
        Level::Avx2
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[cold]
fn detect() -> Level {
    Level::Baseline
}

/// A loop over slices whose body the compiler vectorises for the level it is run at.
pub(crate) trait Loop {
    /// What it gives.
    type Out;
    /// The loop; to be marked `#[inline(always)]`, so that it becomes a part of each level's function.
    fn run(self) -> Self::Out;
}

/// Runs a loop in the version for this CPU.
#[inline]
pub(crate) fn vectorised<L: Loop>(l: L) -> L::Out {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma")]
        fn avx2<L: Loop>(l: L) -> L::Out {
            l.run()
        }
        #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,avx2,fma")]
        fn avx512<L: Loop>(l: L) -> L::Out {
            l.run()
        }
        match level() {
            Level::Baseline => l.run(),
            // SAFETY: the CPU was found to have the level.
            Level::Avx2 => unsafe { avx2(l) },
            // SAFETY: as above.
            Level::Avx512 => unsafe { avx512(l) },
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    l.run()
}

/// Elements worked on at a time.
const CHUNK: usize = 128;
/// A tail shorter than this is padded to it on the stack, so that no element is left to a scalar loop.
const GROUP: usize = 16;

/// A format the blocks work on.
pub(super) trait Lane: Copy {
    /// What a tail is padded with.
    const ONE: Self;
}
impl Lane for f32 {
    const ONE: f32 = 1.0;
}
impl Lane for f64 {
    const ONE: f64 = 1.0;
}

/// How many elements the next step takes of `left`: whole groups, or what is left of one.
#[inline(always)]
fn step(left: usize) -> usize {
    if left >= CHUNK {
        CHUNK
    } else if left >= GROUP {
        left & !(GROUP - 1)
    } else {
        left
    }
}

/// The next input elements: where they are, or in the buffer if the output overwrites them or if they
/// are a tail, which is padded to a whole group.
///
/// # Safety
/// `x` is valid for reading `m` elements while the result is in use, `m <= CHUNK`, and unless `aliased`
/// nothing writes them meanwhile.
#[inline(always)]
unsafe fn source<T: Lane>(x: *const T, m: usize, aliased: bool, buf: &mut [T; CHUNK]) -> &[T] {
    if aliased || m < GROUP {
        // SAFETY: the caller vouches for the source, and the buffer is local and not shorter.
        unsafe { std::ptr::copy_nonoverlapping(x, buf.as_mut_ptr(), m) };
        &buf[..m.max(GROUP)]
    } else {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(x, m) }
    }
}

/// The next output elements, or the buffer for a tail.
///
/// # Safety
/// `out` is valid for writing `m` elements, initialised, and not otherwise used while the result is.
#[inline(always)]
unsafe fn target<T: Lane>(out: *mut T, m: usize, tail: &mut [T; GROUP]) -> &mut [T] {
    if m < GROUP {
        &mut tail[..]
    } else {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(out, m) }
    }
}

/// The loop that is vectorised, then the fix-up of the lanes that ask for it, if any does.
#[inline(always)]
fn pass1<T: Lane, O: Op1<T>>(op: O, x: &[T], out: &mut [T]) {
    for (r, &x) in out.iter_mut().zip(x) {
        *r = op.fast(x);
    }
    if O::FIXES && x.iter().fold(false, |any, &x| any | op.needs_fix(x)) {
        for (r, &x) in out.iter_mut().zip(x) {
            if op.needs_fix(x) {
                *r = op.fix(x);
            }
        }
    }
}

/// `out[i] = op(x[i])`.
///
/// # Safety
/// `x` is valid for reading and `out` for writing `n` elements; they are equal or do not overlap.
#[inline(always)]
unsafe fn block1<T: Lane, O: Op1<T>>(op: O, x: *const T, out: *mut T, n: usize) {
    let aliased = x == out.cast_const();
    let mut buf = [T::ONE; CHUNK];
    let mut tail = [T::ONE; GROUP];
    let mut i = 0;
    while i < n {
        let m = step(n - i);
        // SAFETY: i + m <= n; an aliased source is copied before the target exists.
        let (from, to) = unsafe { (source(x.add(i), m, aliased, &mut buf), target(out.add(i), m, &mut tail)) };
        pass1(op, from, to);
        if m < GROUP {
            // SAFETY: i + m = n.
            unsafe { std::ptr::copy_nonoverlapping(tail.as_ptr(), out.add(i), m) };
        }
        i += m;
    }
}

/// As [`pass1`]; these functions need no fix-up.
#[inline(always)]
fn pass2<T: Lane, O: Op2<T>>(op: O, a: &[T], b: &[T], out: &mut [T]) {
    for ((r, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *r = op.call(a, b);
    }
}

/// `out[i] = op(a[i], b[i])`.
///
/// # Safety
/// `a` and `b` are valid for reading and `out` for writing `n` elements; each input is equal to `out` or
/// does not overlap it.
#[inline(always)]
unsafe fn block2<T: Lane, O: Op2<T>>(op: O, a: *const T, b: *const T, out: *mut T, n: usize) {
    let (a_aliased, b_aliased) = (a == out.cast_const(), b == out.cast_const());
    let (mut a_buf, mut b_buf) = ([T::ONE; CHUNK], [T::ONE; CHUNK]);
    let mut tail = [T::ONE; GROUP];
    let mut i = 0;
    while i < n {
        let m = step(n - i);
        // SAFETY: as in block1.
        let (p, q, to) = unsafe {
            (
                source(a.add(i), m, a_aliased, &mut a_buf),
                source(b.add(i), m, b_aliased, &mut b_buf),
                target(out.add(i), m, &mut tail),
            )
        };
        pass2(op, p, q, to);
        if m < GROUP {
            // SAFETY: i + m = n.
            unsafe { std::ptr::copy_nonoverlapping(tail.as_ptr(), out.add(i), m) };
        }
        i += m;
    }
}

/// `out[i] = x[i]^n`: the few exponents that one or two multiplications serve, or the general power.
///
/// # Safety
/// As [`block1`].
#[inline(always)]
unsafe fn block_powi<T: Lane>(x: *const T, n: i32, out: *mut T, len: usize)
where
    ops::One: Op1<T>,
    ops::Identity: Op1<T>,
    ops::Square: Op1<T>,
    ops::Cube: Op1<T>,
    ops::Reciprocal: Op1<T>,
    ops::Powi: Op1<T>,
{
    // SAFETY: the caller's promise is the one asked for.
    unsafe {
        match n {
            0 => block1(ops::One, x, out, len),
            1 => block1(ops::Identity, x, out, len),
            2 => block1(ops::Square, x, out, len),
            3 => block1(ops::Cube, x, out, len),
            -1 => block1(ops::Reciprocal, x, out, len),
            _ => block1(ops::Powi(n), x, out, len),
        }
    }
}

/// `x^n`, with the same cases as [`block_powi`].
#[inline(always)]
fn one_powi<T: Lane>(x: T, n: i32) -> T
where
    ops::One: Op1<T>,
    ops::Identity: Op1<T>,
    ops::Square: Op1<T>,
    ops::Cube: Op1<T>,
    ops::Reciprocal: Op1<T>,
    ops::Powi: Op1<T>,
{
    match n {
        0 => ops::One.call(x),
        1 => ops::Identity.call(x),
        2 => ops::Square.call(x),
        3 => ops::Cube.call(x),
        -1 => ops::Reciprocal.call(x),
        _ => ops::Powi(n).call(x),
    }
}

pub(super) type Block1<T> = unsafe extern "C" fn(*const T, *mut T, usize);
pub(super) type Block2<T> = unsafe extern "C" fn(*const T, *const T, *mut T, usize);
pub(super) type BlockPowi<T> = unsafe extern "C" fn(*const T, i32, *mut T, usize);

/// The entries of one level. A function with target features cannot be a safe function pointer, so each
/// entry is a jump to one; they are reachable through the tables below alone.
macro_rules! entries {
    ($level:ident $(, $feature:literal)?) => {
        mod $level {
            use super::{Lane, Op1, Op2, Unit};

            /// # Safety
            /// As the function of the same name of the parent module.
            pub(super) unsafe extern "C" fn block1<T: Lane, O: Op1<T> + Unit>(
                x: *const T,
                out: *mut T,
                n: usize,
            ) {
                $(#[target_feature(enable = $feature)])?
                unsafe fn inner<T: Lane, O: Op1<T> + Unit>(x: *const T, out: *mut T, n: usize) {
                    // SAFETY: the caller's promise is the one asked for.
                    unsafe { super::block1(O::UNIT, x, out, n) }
                }
                // SAFETY: the caller's promise; the level's features are present (file invariant).
                unsafe { inner::<T, O>(x, out, n) }
            }

            /// # Safety
            /// As the function of the same name of the parent module.
            pub(super) unsafe extern "C" fn block2<T: Lane, O: Op2<T> + Unit>(
                a: *const T,
                b: *const T,
                out: *mut T,
                n: usize,
            ) {
                $(#[target_feature(enable = $feature)])?
                unsafe fn inner<T: Lane, O: Op2<T> + Unit>(
                    a: *const T,
                    b: *const T,
                    out: *mut T,
                    n: usize,
                ) {
                    // SAFETY: the caller's promise is the one asked for.
                    unsafe { super::block2(O::UNIT, a, b, out, n) }
                }
                // SAFETY: the caller's promise; the level's features are present (file invariant).
                unsafe { inner::<T, O>(a, b, out, n) }
            }

            #[allow(dead_code, reason = "the widest level has no scalar entries of its own")]
            pub(super) extern "C" fn scalar1<T: Lane, O: Op1<T> + Unit>(x: T) -> T {
                $(#[target_feature(enable = $feature)])?
                unsafe fn inner<T: Lane, O: Op1<T> + Unit>(x: T) -> T {
                    O::UNIT.call(x)
                }
                // SAFETY: the level's features are present (file invariant).
                unsafe { inner::<T, O>(x) }
            }

            #[allow(dead_code, reason = "the widest level has no scalar entries of its own")]
            pub(super) extern "C" fn scalar2<T: Lane, O: Op2<T> + Unit>(a: T, b: T) -> T {
                $(#[target_feature(enable = $feature)])?
                unsafe fn inner<T: Lane, O: Op2<T> + Unit>(a: T, b: T) -> T {
                    O::UNIT.call(a, b)
                }
                // SAFETY: the level's features are present (file invariant).
                unsafe { inner::<T, O>(a, b) }
            }

            entries!(@powi f64, block_powi_f64, scalar_powi_f64 $(, $feature)?);
            entries!(@powi f32, block_powi_f32, scalar_powi_f32 $(, $feature)?);
        }
    };
    (@powi $t:ident, $block:ident, $scalar:ident $(, $feature:literal)?) => {
        /// # Safety
        /// As the function of the same name of the parent module.
        pub(super) unsafe extern "C" fn $block(x: *const $t, n: i32, out: *mut $t, len: usize) {
            $(#[target_feature(enable = $feature)])?
            unsafe fn inner(x: *const $t, n: i32, out: *mut $t, len: usize) {
                // SAFETY: the caller's promise is the one asked for.
                unsafe { super::block_powi::<$t>(x, n, out, len) }
            }
            // SAFETY: the caller's promise; the level's features are present (file invariant).
            unsafe { inner(x, n, out, len) }
        }

        #[allow(dead_code, reason = "the widest level has no scalar entries of its own")]
        pub(super) extern "C" fn $scalar(x: $t, n: i32) -> $t {
            $(#[target_feature(enable = $feature)])?
            unsafe fn inner(x: $t, n: i32) -> $t {
                super::one_powi(x, n)
            }
            // SAFETY: the level's features are present (file invariant).
            unsafe { inner(x, n) }
        }
    };
}

entries!(baseline);
#[cfg(target_arch = "x86_64")]
entries!(avx2, "avx2,fma");
#[cfg(target_arch = "x86_64")]
entries!(avx512, "avx512f,avx512dq,avx512vl,avx512bw,avx2,fma");
#[cfg(not(target_arch = "x86_64"))]
use {baseline as avx2, baseline as avx512};

/// A function type with one value.
pub(super) trait Unit: Copy {
    const UNIT: Self;
}

macro_rules! units {
    ($($name:ident)*) => { $(impl Unit for ops::$name {
        const UNIT: Self = ops::$name;
    })* };
}

/// One table: for each name, the entry of each level. Only for a level the CPU has.
macro_rules! table {
    ($fn:ident, $en:ident, $entry:ident, $t:ty, $ptr:ty, wide $wide:ident, $($name:ident)*) => {
        pub(super) fn $fn(level: Level, f: $en) -> $ptr {
            match f {
                $($en::$name => match level {
                    Level::Baseline => baseline::$entry::<$t, ops::$name>,
                    Level::Avx2 => avx2::$entry::<$t, ops::$name>,
                    // A scalar function has nothing to gain from AVX-512 beyond FMA.
                    Level::Avx512 => $wide::$entry::<$t, ops::$name>,
                },)*
            }
        }
    };
}

macro_rules! unary {
    ($($name:ident)*) => {
        units! { $($name)* }
        table!(blocks1_f64, Unary, block1, f64, Block1<f64>, wide avx512, $($name)*);
        table!(blocks1_f32, Unary, block1, f32, Block1<f32>, wide avx512, $($name)*);
        table!(scalars1_f64, Unary, scalar1, f64, extern "C" fn(f64) -> f64, wide avx2, $($name)*);
        table!(scalars1_f32, Unary, scalar1, f32, extern "C" fn(f32) -> f32, wide avx2, $($name)*);
    };
}

macro_rules! binary {
    ($($name:ident)*) => {
        units! { $($name)* }
        table!(blocks2_f64, Binary, block2, f64, Block2<f64>, wide avx512, $($name)*);
        table!(blocks2_f32, Binary, block2, f32, Block2<f32>, wide avx512, $($name)*);
        table!(scalars2_f64, Binary, scalar2, f64, extern "C" fn(f64, f64) -> f64, wide avx2, $($name)*);
        table!(scalars2_f32, Binary, scalar2, f32, extern "C" fn(f32, f32) -> f32, wide avx2, $($name)*);
    };
}

unary! {
    Exp Exp2 Expm1 Ln Log2 Log10 Log1p Sin Cos Tan Asin Acos Atan Sinh Cosh Tanh Asinh Acosh Atanh Sigmoid Softplus Cbrt Erf Erfc Lgamma Digamma Sech2 SigmoidGrad
}
binary! { Pow Atan2 Hypot }

macro_rules! powi_tables {
    ($t:ident, $blocks:ident, $block:ident, $scalars:ident, $scalar:ident) => {
        pub(super) fn $blocks(level: Level) -> BlockPowi<$t> {
            match level {
                Level::Baseline => baseline::$block,
                Level::Avx2 => avx2::$block,
                Level::Avx512 => avx512::$block,
            }
        }

        pub(super) fn $scalars(level: Level) -> extern "C" fn($t, i32) -> $t {
            match level {
                Level::Baseline => baseline::$scalar,
                Level::Avx2 | Level::Avx512 => avx2::$scalar,
            }
        }
    };
}

powi_tables!(f64, blocks_powi_f64, block_powi_f64, scalars_powi_f64, scalar_powi_f64);
powi_tables!(f32, blocks_powi_f32, block_powi_f32, scalars_powi_f32, scalar_powi_f32);

/// The block functions on slices. A level the CPU lacks is refused here, which is what makes them safe.
macro_rules! slices {
    ($t:ident, $one:ident, $two:ident, $powi:ident, $b1:ident, $b2:ident, $bp:ident, $in_place:ident) => {
        pub(super) fn $one(at: Level, f: Unary, x: &[$t], out: &mut [$t]) {
            assert!(at as u8 <= level() as u8, "the CPU lacks this level");
            assert_eq!(x.len(), out.len(), "the blocks have different lengths");
            // SAFETY: the CPU has the level, both slices have the length that is passed, and a shared and
            // an exclusive one do not overlap.
            unsafe { $b1(at, f)(x.as_ptr(), out.as_mut_ptr(), x.len()) }
        }

        pub(super) fn $two(at: Level, f: Binary, a: &[$t], b: &[$t], out: &mut [$t]) {
            assert!(at as u8 <= level() as u8, "the CPU lacks this level");
            assert_eq!(a.len(), out.len(), "the blocks have different lengths");
            assert_eq!(b.len(), out.len(), "the blocks have different lengths");
            // SAFETY: as above.
            unsafe { $b2(at, f)(a.as_ptr(), b.as_ptr(), out.as_mut_ptr(), out.len()) }
        }

        pub(super) fn $powi(at: Level, x: &[$t], n: i32, out: &mut [$t]) {
            assert!(at as u8 <= level() as u8, "the CPU lacks this level");
            assert_eq!(x.len(), out.len(), "the blocks have different lengths");
            // SAFETY: as above.
            unsafe { $bp(at)(x.as_ptr(), n, out.as_mut_ptr(), x.len()) }
        }

        /// The three block functions with the output in the place of the (second) input.
        #[cfg(test)]
        pub(super) fn $in_place(f: Unary, g: Binary, n: i32, a: &[$t], v: [&mut [$t]; 3]) {
            assert!(v.iter().all(|v| v.len() == a.len()), "the blocks have different lengths");
            let [x, y, z] = v.map(<[$t]>::as_mut_ptr);
            // SAFETY: as above, and equal pointers are allowed.
            unsafe {
                $b1(level(), f)(x, x, a.len());
                $b2(level(), g)(a.as_ptr(), y, y, a.len());
                $bp(level())(z, n, z, a.len());
            }
        }
    };
}

slices!(f64, slices1_f64, slices2_f64, slices_powi_f64, blocks1_f64, blocks2_f64, blocks_powi_f64, in_place_f64);
slices!(f32, slices1_f32, slices2_f32, slices_powi_f32, blocks1_f32, blocks2_f32, blocks_powi_f32, in_place_f32);
