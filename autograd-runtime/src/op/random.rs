//! Random numbers as pure operations of a key: `[seed, number of the draw]`, an `i64[2]`. Who draws keys is
//! `random`'s business.
//!
//! The generator is Philox4x32-10 (Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2, 3,
//! 2011). Its counter is made of the block's index and the number of the draw, so that each element depends on
//! the key and its own index alone: the same on any number of threads and in every engine. Both precisions
//! draw the same numbers: `f64` only appends bits.

use super::{Derivative, Eval, Lower, Op, OpDef};
use crate::{
    array::{Array, Float, View},
    elementary::{Element as _, Unary},
    error::{Error, Result},
    ty::{DType, Ty},
};
use ndarray::{ArrayD, IxDyn};
use rayon::prelude::*;

/// All operations of this family.
pub static ALL: &[&OpDef] = &[&RAND, &RANDN, &RANDINT, &RANDPERM, &BERNOULLI];

/// One block of four words.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
    const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
    for _ in 0..10 {
        let [a, b] =
            [(MULTIPLIERS[0], counter[0]), (MULTIPLIERS[1], counter[2])].map(|(m, c)| u64::from(m) * u64::from(c));
        let [high, low] = [|x: u64| (x >> 32) as u32, |x: u64| x as u32];
        counter = [high(b) ^ counter[1] ^ key[0], low(b), high(a) ^ counter[3] ^ key[1], low(a)];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

/// The words of a draw.
#[derive(Clone, Copy)]
struct Words {
    seed: u64,
    draw: u64,
}

impl Words {
    /// Words from index `start`, a multiple of 4. There are two sequences: of leading bits, and of bits that
    /// wider numbers append.
    fn fill(self, start: usize, appended: bool, out: &mut [u32]) {
        let halves = |x: u64| [x as u32, (x >> 32) as u32];
        let (key, [d0, d1]) = (halves(self.seed), halves(self.draw));
        for (i, out) in out.chunks_mut(4).enumerate() {
            let [b0, b1] = halves((start / 4 + i) as u64);
            let block = philox([b0, b1 | u32::from(appended) << 31, d0, d1], key);
            out.copy_from_slice(&block[..out.len()]);
        }
    }
}

/// Elements computed together.
const CHUNK: usize = 1024;
/// Elements from which other threads help.
const PARALLEL: usize = 1 << 16;

/// Elements from words: `f` gets the leading words of a chunk, the appended ones if `wide`, and the chunk.
fn fill<T: Copy + Default + Send>(
    words: Words,
    n: usize,
    wide: bool,
    f: impl Fn(&[u32; CHUNK], &[u32; CHUNK], &mut [T]) + Sync,
) -> Vec<T> {
    let mut out = vec![T::default(); n];
    let one = |(i, out): (usize, &mut [T])| {
        let (mut leading, mut appended) = ([0; CHUNK], [0; CHUNK]);
        // normal numbers come in pairs, from pairs of words
        let len = out.len().next_multiple_of(2);
        words.fill(i * CHUNK, false, &mut leading[..len]);
        if wide {
            words.fill(i * CHUNK, true, &mut appended[..len]);
        }
        f(&leading, &appended, out);
    };
    if n < PARALLEL {
        out.chunks_mut(CHUNK).enumerate().for_each(one);
    } else {
        out.par_chunks_mut(CHUNK).enumerate().for_each(one);
    }
    out
}

/// The leading `bits` of two words as a number in 0..1.
fn unit(leading: u32, appended: u32, bits: u32) -> f64 {
    let word = u64::from(leading) << 32 | u64::from(appended);
    (word >> (64 - bits)) as f64 * (-f64::from(bits)).exp2()
}
/// Uniform in 0..1: multiples of 2⁻²⁴ or 2⁻⁵³.
fn uniform<T: Float>(words: Words, n: usize) -> Vec<T> {
    let bits = if T::DTYPE == DType::F32 { 24 } else { 53 };
    fill(words, n, T::DTYPE == DType::F64, |a, b, out| {
        out.iter_mut().zip(a.iter().zip(b)).for_each(|(y, (&a, &b))| *y = T::of(unit(a, b, bits)));
    })
}
/// Normal numbers by pairs: √(−2 ln u)·cos 2πv and √(−2 ln u)·sin 2πv (Box and Muller, 1958), with u in 0..1
/// without 0.
fn normal<T: Float>(words: Words, n: usize) -> Vec<T> {
    const HALF: usize = CHUNK / 2;
    fill(words, n, T::DTYPE == DType::F64, |a, b, out| {
        let (mut u, mut v) = ([0.0; HALF], [0.0; HALF]);
        for (i, (u, v)) in u.iter_mut().zip(&mut v).enumerate() {
            *u = unit(a[2 * i], b[2 * i], 53) + (-53f64).exp2();
            *v = unit(a[2 * i + 1], b[2 * i + 1], 53) * std::f64::consts::TAU;
        }
        let [mut ln, mut cos, mut sin] = [[0.0; HALF]; 3];
        f64::unary_block(Unary::Ln, &u, &mut ln);
        f64::unary_block(Unary::Cos, &v, &mut cos);
        f64::unary_block(Unary::Sin, &v, &mut sin);
        for (i, y) in out.iter_mut().enumerate() {
            let wave = if i % 2 == 0 { cos } else { sin };
            *y = T::of((-2.0 * ln[i / 2]).sqrt() * wave[i / 2]);
        }
    })
}
/// Below `range` by multiplication; no number is more likely than another by more than range·2⁻⁶⁴.
fn below(leading: u32, appended: u32, range: u64) -> u64 {
    let word = u64::from(leading) << 32 | u64::from(appended);
    ((u128::from(word) * u128::from(range)) >> 64) as u64
}

/// The numbers 0, 1, … n−1 in the order of a shuffle (Fisher and Yates): each from those not taken yet.
fn permutation(words: Words, n: usize) -> impl Iterator<Item = usize> {
    let swaps = fill(words, n, true, |a, b, out: &mut [[u32; 2]]| {
        out.iter_mut().zip(a.iter().zip(b)).for_each(|(y, (&a, &b))| *y = [a, b]);
    });
    let mut y: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        let [a, b] = swaps[i];
        y.swap(i, below(a, b, i as u64 + 1) as usize);
    }
    y.into_iter()
}
/// The order of an epoch: the permutation that a generator of this seed gives at that draw.
pub(crate) fn shuffled(seed: u64, draw: u64, n: usize) -> Vec<usize> {
    permutation(Words { seed, draw }, n).collect()
}

fn words(op: &Op, args: &[View<'_>]) -> Result<Words> {
    let key = args[0].typed::<i64>(op.name())?;
    Ok(Words { seed: key[[0]] as u64, draw: key[[1]] as u64 })
}
fn check_key(op: &Op, key: &Ty) -> Result<()> {
    if key.dtype == DType::I64 && key.shape.as_slice() == [2] {
        return Ok(());
    }
    Err(Error::shape(op.name(), "a key i64[2]", key.to_string()))
}
/// Extents of an attribute, none of them negative.
fn shape(op: &Op, i: usize, dtype: DType) -> Result<Ty> {
    if op.ints(i).iter().any(|&n| n < 0) {
        return Err(Error::value(op.name(), format!("expected a shape, found {:?}", op.ints(i))));
    }
    Ty::new(dtype, &op.dims(i))
}
fn float_shape(op: &Op, a: &[&Ty]) -> Result<Ty> {
    check_key(op, a[0])?;
    let ty = shape(op, 1, op.dtype(0))?;
    super::infer::float(op, &ty)?;
    Ok(ty)
}
fn shaped<T: crate::array::Element>(out: &Ty, v: Vec<T>) -> Array {
    T::into_array(ArrayD::from_shape_vec(IxDyn(&out.shape), v).expect("as many elements"))
}

const fn random(
    name: &'static str,
    attrs: &'static [&'static str],
    infer: fn(&Op, &[&Ty]) -> Result<Ty>,
    eval: fn(&Op, &[View<'_>], &Ty) -> Result<Array>,
) -> OpDef {
    let (eval, derivative) = (Eval::Views(eval), Derivative::Zero);
    OpDef { name, attrs, arity: 1, infer, eval, derivative, saves: 0, lower: Lower::Library }
}

/// Uniform in 0..1
pub static RAND: OpDef = random("rand", &["dtype", "shape"], float_shape, |op, args, out| {
    let words = words(op, args)?;
    Ok(match out.dtype {
        DType::F32 => shaped(out, uniform::<f32>(words, out.numel())),
        _ => shaped(out, uniform::<f64>(words, out.numel())),
    })
});

/// Normal of mean 0 and variance 1
pub static RANDN: OpDef = random("randn", &["dtype", "shape"], float_shape, |op, args, out| {
    let words = words(op, args)?;
    Ok(match out.dtype {
        DType::F32 => shaped(out, normal::<f32>(words, out.numel())),
        _ => shaped(out, normal::<f64>(words, out.numel())),
    })
});

/// Whole numbers of low..high
pub static RANDINT: OpDef = random(
    "randint",
    &["low", "high", "shape"],
    |op, a| {
        check_key(op, a[0])?;
        if op.int(0) >= op.int(1) {
            let found = format!("{}..{}", op.int(0), op.int(1));
            return Err(Error::value(op.name(), format!("expected a range that is not empty, found {found}")));
        }
        shape(op, 2, DType::I64)
    },
    |op, args, out| {
        let (low, range) = (op.int(0), op.int(1).wrapping_sub(op.int(0)) as u64);
        Ok(shaped(
            out,
            fill(words(op, args)?, out.numel(), true, |a, b, out: &mut [i64]| {
                let both = a.iter().zip(b);
                out.iter_mut().zip(both).for_each(|(y, (&a, &b))| *y = low.wrapping_add(below(a, b, range) as i64));
            }),
        ))
    },
);

/// The numbers 0, 1, … n−1 in a random order, each as likely
pub static RANDPERM: OpDef = random(
    "randperm",
    &["n"],
    |op, a| {
        check_key(op, a[0])?;
        match usize::try_from(op.int(0)) {
            Ok(n) => Ty::new(DType::I64, &[n]),
            Err(_) => Err(Error::value(op.name(), format!("expected a length, found {}", op.int(0)))),
        }
    },
    |op, args, out| {
        let y = permutation(words(op, args)?, out.numel()).map(|i| i as i64).collect();
        Ok(shaped(out, y))
    },
);

/// True with probability `threshold`·2⁻³²
pub static BERNOULLI: OpDef = random(
    "bernoulli",
    &["threshold", "shape"],
    |op, a| {
        check_key(op, a[0])?;
        shape(op, 1, DType::Bool)
    },
    |op, args, out| {
        let threshold = op.int(0);
        Ok(shaped(
            out,
            fill(words(op, args)?, out.numel(), false, |a, _, out: &mut [bool]| {
                out.iter_mut().zip(a).for_each(|(y, &a)| *y = i64::from(a) < threshold);
            }),
        ))
    },
);

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers that come with the paper's reference implementation.
    #[test]
    fn philox_gives_the_published_blocks() {
        let pi = ([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]);
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([!0; 4], [!0; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(philox(pi.0, pi.1), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn elements_do_not_depend_on_threads_or_length() {
        let words = Words { seed: 3, draw: 5 };
        let long = normal::<f64>(words, PARALLEL + 777);
        assert_eq!(normal::<f64>(words, 1001), long[..1001]);
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool");
        assert_eq!(one.install(|| normal::<f64>(words, PARALLEL + 777)), long);
        assert_ne!(normal::<f64>(Words { seed: 3, draw: 6 }, 9), long[..9]);
        assert_ne!(normal::<f64>(Words { seed: 4, draw: 5 }, 9), long[..9]);
    }

    #[test]
    fn single_precision_is_double_precision_rounded() {
        let words = Words { seed: 1, draw: 2 };
        for (a, b) in uniform::<f32>(words, 5000).into_iter().zip(uniform::<f64>(words, 5000)) {
            assert!((f64::from(a) - b).abs() <= 6e-8, "{a} {b}");
        }
        for (a, b) in normal::<f32>(words, 5000).into_iter().zip(normal::<f64>(words, 5000)) {
            assert!((f64::from(a) - b).abs() <= 1e-5 * (1.0 + b.abs()), "{a} {b}");
        }
    }
}
