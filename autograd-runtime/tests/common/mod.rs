//! What the integration tests share: a small generator of numbers, arrays of a type, comparisons.
#![allow(dead_code)]

use autograd_runtime::{
    array::{Array, Data},
    diff,
    graph::Graph,
    interp,
    sparse::{self, Order},
    ty::{DType, Ty},
};

/// SplitMix64: the same numbers in every run.
pub struct Rng(pub u64);

impl Rng {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// Uniform in `lo..hi`.
    pub fn float(&mut self, lo: f64, hi: f64) -> f64 {
        lo + (hi - lo) * (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n.max(1) as u64) as usize
    }
}

/// `f32[2,3]` and the like.
pub fn ty(text: &str) -> Ty {
    let (dtype, rest) = text.split_once('[').expect("a type");
    let dtype =
        [DType::F32, DType::F64, DType::I64, DType::Bool].into_iter().find(|d| d.name() == dtype).expect("a dtype");
    let dims = rest.trim_end_matches(']');
    let shape: Vec<usize> = dims.split(',').filter(|s| !s.is_empty()).map(|s| s.parse().expect("an extent")).collect();
    Ty::new(dtype, &shape).expect("a type of some size")
}

/// An array of a type from numbers.
pub fn array(ty: &Ty, values: impl IntoIterator<Item = f64>) -> Array {
    let v: Vec<f64> = values.into_iter().take(ty.numel()).collect();
    let data = match ty.dtype {
        DType::F32 => Data::F32(v.iter().map(|&x| x as f32).collect()),
        DType::F64 => Data::F64(v),
        DType::I64 => Data::I64(v.iter().map(|&x| x as i64).collect()),
        DType::Bool => Data::Bool(v.iter().map(|&x| x != 0.0).collect()),
    };
    Array::from_data(data, &ty.shape)
}

/// Small numbers with ties, zeros of both signs and now and then something that is none.
pub fn random(ty: &Ty, rng: &mut Rng, special: bool) -> Array {
    let n = ty.numel();
    let mut one = || match (ty.dtype, rng.below(if special { 24 } else { 20 })) {
        (DType::I64 | DType::Bool, k) => (k % 2) as f64,
        (_, 0) => 0.0,
        (_, 1) => -0.0,
        (_, 2) => 1.0,
        (_, 20) => f64::NAN,
        (_, 21) => f64::INFINITY,
        (_, 22) => f64::NEG_INFINITY,
        _ => (rng.float(-2.0, 2.0) * 64.0).round() / 64.0,
    };
    array(ty, (0..n).map(|_| one()).collect::<Vec<_>>())
}

/// Inputs of the types that a graph takes.
pub fn inputs(g: &Graph, rng: &mut Rng, special: bool) -> Vec<Array> {
    g.inputs().iter().map(|&i| random(g.ty(i), rng, special)).collect()
}

/// Equal up to `tol` relative to the magnitude; NaNs equal each other, and `tol` 0 asks for equal bits.
pub fn close(a: &Array, b: &Array, tol: f64) -> Result<(), String> {
    if a.ty() != b.ty() {
        return Err(format!("types {} and {}", a.ty(), b.ty()));
    }
    for (i, (x, y)) in a.to_f64_vec().into_iter().zip(b.to_f64_vec()).enumerate() {
        let same = x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan());
        let near = tol > 0.0 && (x == y || (x - y).abs() <= tol * (1.0 + x.abs().max(y.abs())));
        if !same && !near {
            return Err(format!("element {i}: {x:?} and {y:?} in {a:?} and {b:?}"));
        }
    }
    Ok(())
}

/// A choice between results of two types.
pub const IF: &str = "
%0 = input : bool[]
%1 = input : f64[3]
%2 = if(%0, %1) {then={
  %0 = input : f64[3]
  %1 = sin(%0) : f64[3]
  %2 = sum(%0) {dims=[0]} : f64[1]
  return %1, %2
}, else={
  %0 = input : f64[3]
  %1 = const 2.0 : f64[]
  %2 = expand(%1) {shape=[1]} : f64[1]
  return %0, %2
}} : f64[3]
%3 = proj(%2) {index=0, dtype=f64, shape=[3]} : f64[3]
%4 = proj(%2) {index=1, dtype=f64, shape=[1]} : f64[1]
return %3, %4
";
/// Doubles x while it is below a limit, and counts.
pub const WHILE: &str = "
%0 = input : f64[]
%1 = const 0 : i64[]
%2 = const 100.0 : f64[]
%3 = while(%0, %1, %2) {cond={
  %0 = input : f64[]
  %1 = input : i64[]
  %2 = input : f64[]
  %3 = const 0.0 : f64[]
  %4 = lt(%0, %2) : bool[]
  %5 = lt(%3, %0) : bool[]
  %6 = and(%4, %5) : bool[]
  return %6
}, body={
  %0 = input : f64[]
  %1 = input : i64[]
  %2 = input : f64[]
  %3 = add(%0, %0) : f64[]
  %4 = const 1 : i64[]
  %5 = add(%1, %4) : i64[]
  return %3, %5
}, carried=2} : f64[]
%4 = proj(%3) {index=0, dtype=f64, shape=[]} : f64[]
%5 = proj(%3) {index=1, dtype=i64, shape=[]} : i64[]
return %4, %5
";

/// The patterns of a graph's derivatives in its inputs `wrt` have every element that is not zero: of the first derivative,
/// and of the second one of its floats with these cotangents.
pub fn patterns_cover(g: &Graph, x: &[Array], wrt: &[usize], cts: &[Array]) -> Result<(), String> {
    let error = |e: autograd_runtime::Error| format!("pattern: {e}\n{g}");
    let vjp = diff::vjp(g, wrt).map_err(error)?;
    let grads = vjp.outputs()[g.outputs().len()..].to_vec();
    let second = diff::jvp(&vjp.with_outputs(grads), wrt).map_err(error)?;
    let first = diff::jvp(g, wrt).map_err(error)?;
    let rows = g.outputs().iter().map(|&o| g.ty(o).dtype.is_float()).collect::<Vec<_>>();
    covers(&first, g, x, &[], wrt, &rows, Order::First)?;
    covers(&second, g, x, cts, wrt, &vec![true; wrt.len()], Order::Second)
}

/// Compares a pattern with products, column by column. Outputs of the products are values, then derivatives.
fn covers(
    products: &Graph,
    g: &Graph,
    x: &[Array],
    cts: &[Array],
    wrt: &[usize],
    floats: &[bool],
    order: Order,
) -> Result<(), String> {
    let error = |e: autograd_runtime::Error| format!("{order:?}: {e}\n{g}");
    let pattern = sparse::pattern(g, x, wrt, order).map_err(error)?;
    let zeros: Vec<Array> = wrt.iter().map(|&i| array(&x[i].ty(), vec![0.0; x[i].ty().numel()])).collect();
    let mut column = 0;
    for (k, zero) in zeros.iter().enumerate() {
        for i in 0..zero.ty().numel() {
            let mut direction = zeros.clone();
            let unit: Vec<f64> = (0..zero.ty().numel()).map(|j| f64::from(u8::from(i == j))).collect();
            direction[k] = array(&zero.ty(), unit);
            let all: Vec<Array> = x.iter().chain(cts).chain(&direction).cloned().collect();
            let out = interp::run(products, &all).map_err(error)?;
            let tangents = out[out.len() / 2..].iter().zip(floats).filter(|(_, float)| **float);
            let down: Vec<f64> = tangents.flat_map(|(t, _)| t.to_f64_vec()).collect();
            if down.len() != pattern.rows() {
                return Err(format!("{order:?}: {} rows, the pattern has {}\n{g}", down.len(), pattern.rows()));
            }
            for (r, value) in down.iter().enumerate().filter(|(_, v)| **v != 0.0) {
                if !pattern.row(r).contains(&column) {
                    return Err(format!("{order:?}: no element ({r}, {column}), which is {value}, at {x:?}\n{g}"));
                }
            }
            column += 1;
        }
    }
    Ok(())
}
