//! What the tests of the entry points share: comparing, and running on every engine.
#![allow(dead_code, unreachable_pub)] // each test file uses some of it
#![allow(missing_docs)]

use autograd::{CheckReport, Engine, Error, Tensor, with_engine};

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
