//! The dynamic engine on a tour through PyTorch's autograd: what a PyTorch user knows, line by line, printed as PyTorch
//! prints it. Every printed value is asserted: the tour ends with exit code 0 only if all of it is right.
//!
//! Run with `cargo run --release --example pytorch_tour`; it writes `tour_fit.svg` and `tour_trace.json` into the
//! directory for temporary files and says where.

mod basics;
mod calls;
mod compiled;
mod modes;
mod own;
mod training;

use anyhow::{Result, ensure};
use autograd::{Error, Tensor, try_eval};
use std::fmt::Display;

/// One row of the tour: number, title, what it shows.
type Row = (u32, &'static str, fn() -> Result<()>);

fn main() -> Result<()> {
    let rows: [Row; 20] = [
        (1, "Tracking", basics::tracking),
        (2, "The graph", basics::graph),
        (3, "requires_grad", basics::requires_grad),
        (4, "Accumulation", basics::accumulation),
        (5, "One backward per graph", basics::one_backward),
        (6, "Vector outputs", basics::vector_outputs),
        (7, "Control flow", basics::control_flow),
        (8, "Stopping", modes::stopping),
        (9, "detach", modes::detach),
        (10, "In place", modes::in_place),
        (11, "autograd::backward", calls::backward_call),
        (12, "autograd::grad", calls::grad_call),
        (13, "Freezing", calls::freezing),
        (14, "Hooks", calls::hooks),
        (15, "Custom functions", own::custom_functions),
        (16, "gradcheck and gradgradcheck", own::checks),
        (17, "Profiler", own::profiler),
        (18, "The training loop", training::loops),
        (19, "Convolution", calls::convolution),
        (20, "The same, compiled", compiled::same),
    ];
    for (number, title, row) in rows {
        println!("\n=== {number}. {title} ===");
        row()?;
    }
    println!("\nall {} rows as PyTorch has them", rows.len());
    Ok(())
}

/// Prints a value under its name and requires it to print so.
fn show(name: &str, value: impl Display, want: &str) -> Result<()> {
    let text = value.to_string();
    println!("{name}\n  {}", text.replace('\n', "\n  "));
    ensure!(text == want, "{name}: expected {want}, found {text}");
    Ok(())
}

/// Prints a number under its name and requires it to be another but for rounding.
fn near(name: &str, value: f64, want: f64, tolerance: f64) -> Result<()> {
    println!("{name}\n  {value:.4}");
    ensure!((value - want).abs() <= tolerance, "{name}: expected {want} ± {tolerance}, found {value}");
    Ok(())
}

/// Requires elements to be equal but for rounding.
fn close(name: &str, value: &Tensor<f64>, want: &[f64]) -> Result<()> {
    println!("{name}\n  {}", value.detach().to_string().replace('\n', "\n  "));
    let found = value.detach().to_vec();
    let fits =
        found.len() == want.len() && found.iter().zip(want).all(|(f, w)| (f - w).abs() <= 1e-4 * w.abs().max(1.0));
    ensure!(fits, "{name}: expected {want:?}, found {found:?}");
    Ok(())
}

/// Prints the error of something that must fail, and requires the message to contain a text.
fn fails<T>(name: &str, result: Result<T, Error>, text: &str) -> Result<()> {
    let Err(e) = result else { anyhow::bail!("{name}: expected an error with {text:?}") };
    println!("{name}\n  RuntimeError: {e}");
    ensure!(e.to_string().contains(text), "{name}: expected an error with {text:?}, found {e}");
    Ok(())
}

/// The error of a method on tensors, which would panic at this place otherwise.
fn error_of<T>(f: impl FnOnce() -> T) -> Result<(), Error> {
    try_eval(f).map(drop)
}

/// A vector, tracked.
fn tracked(data: &[f64]) -> Tensor<f64> {
    vector(data).requires_grad_(true)
}
/// A vector.
fn vector(data: &[f64]) -> Tensor<f64> {
    Tensor::from_vec(data.to_vec(), [data.len()])
}
/// The gradient of a leaf.
fn gradient(x: &Tensor<f64>) -> Result<Tensor<f64>> {
    x.grad().ok_or_else(|| anyhow::anyhow!("expected a gradient, found none"))
}
