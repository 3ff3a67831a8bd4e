//! What the tests of the entry points share: comparing, and running on every engine.
#![allow(dead_code, unreachable_pub)] // each test file uses some of it
#![allow(missing_docs)]

use autograd::{
    CheckReport, Engine, Error, Tensor,
    ndarray::{Array, Dimension},
    with_engine,
};

/// Equal up to a few rounding errors.
#[track_caller]
pub fn close(a: impl Into<f64>, b: impl Into<f64>) {
    near(a, b, 1e-12);
}

/// Equal up to a tolerance relative to 1 + |b|. A NaN is equal to nothing.
#[track_caller]
pub fn near(a: impl Into<f64>, b: impl Into<f64>, tolerance: f64) {
    let (a, b) = (a.into(), b.into());
    assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "{a} is not {b}");
}

/// Elements equal up to a few rounding errors, and the shapes.
#[track_caller]
pub fn same(t: &Tensor<f64>, shape: &[usize], want: &[f64]) {
    assert_eq!(t.shape(), shape);
    let got = t.to_vec();
    assert_eq!(got.len(), want.len());
    got.iter().zip(want).for_each(|(a, b)| close(*a, *b));
}

/// The numbers of a value or gradient, of whatever form, in order: of a matrix row by row.
pub trait Flat {
    fn flat(&self) -> Vec<f64>;
}
impl Flat for f64 {
    fn flat(&self) -> Vec<f64> {
        vec![*self]
    }
}
impl Flat for f32 {
    fn flat(&self) -> Vec<f64> {
        vec![f64::from(*self)]
    }
}
impl Flat for Tensor<f64> {
    fn flat(&self) -> Vec<f64> {
        self.to_vec()
    }
}
impl Flat for Tensor<f32> {
    fn flat(&self) -> Vec<f64> {
        self.to_vec().into_iter().map(f64::from).collect()
    }
}
impl<T: Flat> Flat for [T] {
    fn flat(&self) -> Vec<f64> {
        self.iter().flat_map(Flat::flat).collect()
    }
}
impl<T: Flat, const N: usize> Flat for [T; N] {
    fn flat(&self) -> Vec<f64> {
        self[..].flat()
    }
}
impl<T: Flat> Flat for Vec<T> {
    fn flat(&self) -> Vec<f64> {
        self[..].flat()
    }
}
impl<T: Flat + ?Sized> Flat for &T {
    fn flat(&self) -> Vec<f64> {
        (**self).flat()
    }
}
impl<A: Flat, B: Flat> Flat for (A, B) {
    fn flat(&self) -> Vec<f64> {
        [self.0.flat(), self.1.flat()].concat()
    }
}
impl<A: Flat, B: Flat, C: Flat, D: Flat> Flat for (A, B, C, D) {
    fn flat(&self) -> Vec<f64> {
        [self.0.flat(), self.1.flat(), self.2.flat(), self.3.flat()].concat()
    }
}
impl<A: Flat, B: Flat, C: Flat> Flat for (A, B, C) {
    fn flat(&self) -> Vec<f64> {
        [self.0.flat(), self.1.flat(), self.2.flat()].concat()
    }
}
impl<D: Dimension> Flat for Array<f64, D> {
    fn flat(&self) -> Vec<f64> {
        self.iter().copied().collect()
    }
}
impl<D: Dimension> Flat for Array<f32, D> {
    fn flat(&self) -> Vec<f64> {
        self.iter().map(|&x| f64::from(x)).collect()
    }
}

/// Numbers equal up to a tolerance.
#[track_caller]
pub fn alike(a: &[f64], b: &[f64], tolerance: f64) {
    assert_eq!(a.len(), b.len(), "{a:?} and {b:?}");
    a.iter().zip(b).for_each(|(a, b)| near(*a, *b, tolerance));
}

/// Runs a test on each engine.
pub fn each_engine(mut test: impl FnMut(Engine)) {
    for engine in [Engine::Auto, Engine::Dynamic] {
        with_engine(engine, || test(engine));
    }
}

/// A gradient check on each engine, the compiled one only if the function must compile.
#[track_caller]
pub fn every_way(must_compile: bool, check: impl Fn() -> Result<CheckReport, Error>) {
    let engines = [Engine::Auto, Engine::Dynamic, Engine::Compiled];
    for engine in engines.into_iter().take(if must_compile { 3 } else { 2 }) {
        let report = with_engine(engine, &check).unwrap_or_else(|e| panic!("{engine:?}: {e}"));
        assert!(report.passed(), "{engine:?}: {report}");
    }
}
