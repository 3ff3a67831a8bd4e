//! The dynamic engine's behaviours, each pinned by a test named after it: what PyTorch's own tests of autograd hold
//! PyTorch to.

// tables of functions are read best where they stand
#![allow(clippy::type_complexity)]

mod accumulating;
mod anomaly_scale_threads;
mod checkpoints;
mod compiled;
mod functional;
mod graph;
mod higher_order;
mod hook_order;
mod hooks_and_modes;
mod inplace_and_views;
mod layout;
mod profiler;
mod programs;
mod saved_values;
mod threads;

use autograd::{Error, Tensor};
use std::panic::{AssertUnwindSafe, catch_unwind};

fn t(data: &[f64]) -> Tensor<f64> {
    Tensor::from_vec(data.to_vec(), [data.len()])
}
fn tracked(data: &[f64]) -> Tensor<f64> {
    t(data).requires_grad_(true)
}
/// A tracked matrix of rows.
fn matrix<const N: usize>(rows: &[[f64; N]]) -> Tensor<f64> {
    Tensor::from_vec(rows.concat(), [rows.len(), N]).requires_grad_(true)
}
fn gradient(x: &Tensor<f64>) -> Vec<f64> {
    x.grad().expect("a gradient").to_vec()
}
/// What a closure that is called for what it does gives.
fn done<T>(_: T) {}
/// The gradient of a scalar in one tensor, the graph kept.
#[track_caller]
fn grad_of(y: &Tensor<f64>, x: &Tensor<f64>) -> Tensor<f64> {
    autograd::grad(&[y], &[x], &[], true, false, false).unwrap().remove(0).unwrap()
}
#[track_caller]
fn close(got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{got:?} and {want:?}");
    let near = |(g, w): (&f64, &f64)| (g - w).abs() <= 1e-9 * (1.0 + w.abs());
    assert!(got.iter().zip(want).all(near), "{got:?} is not {want:?}");
}
#[track_caller]
fn fails<T>(r: Result<T, Error>, with: &[&str]) {
    let Err(e) = r else { panic!("expected an error with {with:?}") };
    let e = e.to_string();
    assert!(with.iter().all(|w| e.contains(w)), "{e:?} lacks one of {with:?}");
}
/// The message of a panic: what operators and methods outside an entry point give instead of an error.
#[track_caller]
fn panics<T>(f: impl FnOnce() -> T, with: &[&str]) {
    let Err(p) = catch_unwind(AssertUnwindSafe(f)) else { panic!("expected a panic with {with:?}") };
    let text = p.downcast_ref::<String>().cloned().or_else(|| p.downcast_ref::<&str>().map(ToString::to_string));
    let text = text.expect("a text");
    assert!(with.iter().all(|w| text.contains(w)), "{text:?} lacks one of {with:?}");
}
