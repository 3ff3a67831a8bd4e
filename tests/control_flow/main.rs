//! Control flow that depends on data, integers and lengths: a gallery of functions, each the same compiled, on the tape
//! and as it is written.

// the forms that a user may write
#![allow(
    clippy::assign_op_pattern,
    clippy::collapsible_if,
    clippy::useless_vec,
    clippy::neg_cmp_op_on_partial_ord,
    clippy::manual_swap,
    clippy::needless_range_loop,
    clippy::while_let_on_iterator,
    clippy::op_ref,
    clippy::manual_range_contains
)]

mod asserts;
mod basics;
mod exits;
mod faults;
mod forms;
mod gallery;
mod in_front;
mod indices;
mod integers;
mod invariants;
mod kept;
mod limits;
mod lookups;
mod parts;
mod questions;
mod results;
mod rows;
mod searches;
mod small;
mod sorted;
mod tables;
mod truths;

use autograd::{Engine, with_engine};

fn compiled<R>(f: impl FnOnce() -> autograd::Result<R>) -> R {
    with_engine(Engine::Compiled, f).unwrap()
}
fn dynamic<R>(f: impl FnOnce() -> autograd::Result<R>) -> R {
    with_engine(Engine::Dynamic, f).unwrap()
}

/// Whether the functions below have to compile.
const ENGINE: Engine = Engine::Compiled;

#[track_caller]
fn near(a: f64, b: f64, tolerance: f64) {
    assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "{a} {b}");
}

/// Checks value and gradient at `x`: both engines, the function itself, central differences.
#[track_caller]
fn agrees(x: &[f64], plain: impl Fn(&[f64]) -> f64, both: impl Fn(&[f64]) -> autograd::Result<(f64, Vec<f64>)>) {
    agrees_on(ENGINE, x, plain, both);
}

/// The same with an engine.
#[track_caller]
fn agrees_on(
    engine: Engine,
    x: &[f64],
    plain: impl Fn(&[f64]) -> f64,
    both: impl Fn(&[f64]) -> autograd::Result<(f64, Vec<f64>)>,
) {
    let (value, grad) = with_engine(engine, || both(x)).unwrap();
    let (wanted, grad_wanted) = dynamic(|| both(x));
    near(value, wanted, 1e-12);
    near(value, plain(x), 1e-12);
    assert_eq!((grad.len(), grad_wanted.len()), (x.len(), x.len()));
    for i in 0..x.len() {
        near(grad[i], grad_wanted[i], 1e-9);
        let h = 1e-6 * (1.0 + x[i].abs());
        let at = |d: f64| {
            let mut x = x.to_vec();
            x[i] += d;
            plain(&x)
        };
        near(grad[i], (at(h) - at(-h)) / (2.0 * h), 1e-5);
    }
}

/// Checks that all are explanations of one program, which is not made for some lengths or integers alone.
#[track_caller]
fn one_program(all: &[autograd::Explanation]) {
    for e in all {
        assert!(e.per_length.is_none(), "{e}");
        assert_eq!((e.nodes, e.code_bytes), (all[0].nodes, all[0].code_bytes));
    }
}

/// The gradient with respect to slices, one after the other.
fn joined(parts: &[&[f64]]) -> Vec<f64> {
    parts.concat()
}
