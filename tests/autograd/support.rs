//! What all of these tests use.

use autograd::{Error, Tensor, try_eval};

pub fn t(data: &[f64]) -> Tensor<f64> {
    Tensor::from_vec(data.to_vec(), [data.len()])
}
pub fn tracked(data: &[f64]) -> Tensor<f64> {
    t(data).requires_grad_(true)
}
/// A tracked tensor of rank 2 with the elements 1, 2, 3, …
pub fn counting(rows: usize, cols: usize) -> Tensor<f64> {
    Tensor::from_vec((1..=rows * cols).map(|i| i as f64).collect(), [rows, cols]).requires_grad_(true)
}
pub fn gradient(x: &Tensor<f64>) -> Vec<f64> {
    x.grad().expect("a gradient").to_vec()
}
#[track_caller]
pub fn fails<T>(r: Result<T, Error>, with: &str) {
    let Err(e) = r else { panic!("expected an error with {with:?}") };
    assert!(e.to_string().contains(with), "expected {with:?}, found: {e}");
}
/// That tensor code fails with this message.
#[track_caller]
pub fn refuses<T>(f: impl FnOnce() -> T, with: &str) {
    fails(try_eval(|| drop(f())), with);
}
/// The gradient of a sum of one tensor with respect to another.
pub fn grad_of(y: &Tensor<f64>, x: &Tensor<f64>) -> Vec<f64> {
    autograd::grad(&[&y.sum()], &[x], &[], true, false, false).unwrap().remove(0).unwrap().to_vec()
}
/// The same, recorded for derivatives of higher order.
pub fn graph_grad(y: &Tensor<f64>, x: &Tensor<f64>) -> Tensor<f64> {
    autograd::grad(&[&y.sum()], &[x], &[], true, true, false).unwrap().remove(0).unwrap()
}
