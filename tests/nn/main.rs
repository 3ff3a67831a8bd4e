//! Neural networks: modules and their states, the values of layers against their formulas, and layers in annotated
//! functions.

mod attention;
mod compiled;
mod files;
mod layers;
mod modules;
mod norm;
mod recurrent;
mod state;

use autograd::{Float, Tensor};
use std::path::PathBuf;

/// Numbers without a pattern that a formula could hide in.
fn numbers(n: usize, seed: f64) -> Vec<f64> {
    (0..n).map(|i| ((i as f64 + 1.0) * (seed + 1.7)).sin() * 1.3 + 0.1 * seed).collect()
}
fn tensor<T: Float>(shape: &[usize], seed: f64) -> Tensor<T> {
    let n = shape.iter().product();
    Tensor::from_vec(numbers(n, seed).into_iter().map(T::of).collect(), shape)
}
/// Compares with what a formula gives in `f64`.
#[track_caller]
fn close<T: Float>(found: &Tensor<T>, want: &[f64]) {
    let found: Vec<f64> = found.detach().to_vec().into_iter().map(T::f64).collect();
    let tolerance = T::epsilon().f64() * 400.0;
    assert_eq!(found.len(), want.len());
    for (i, (a, b)) in found.iter().zip(want).enumerate() {
        assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{i}: found {a}, expected {b}");
    }
}
/// What an operation that panics outside of entry points says.
fn message<R>(f: impl FnOnce() -> R) -> String {
    autograd::try_eval(f).err().expect("an error").to_string()
}

/// A folder of a test's own, removed at its end.
struct Folder(PathBuf);
impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("autograd-nn-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }
}
impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
