//! Derivatives of ordinary Rust functions, compiled.
//!
//! A function under [`#[differentiable]`](macro@differentiable) stays what it was; beside it, under the same
//! name, stand its derivatives. The first call traces the function into a graph, differentiates and optimises
//! the graph and compiles it to fused native kernels in a few milliseconds; later calls run those.
//!
//! ```
//! use autograd::prelude::*;
//!
//! #[differentiable]
//! fn rosenbrock(x: f64, y: f64) -> f64 {
//!     (1.0 - x).powi(2) + 100.0 * (y - x * x).powi(2)
//! }
//!
//! let (value, (dx, dy)) = rosenbrock::value_and_grad(1.2, 0.5)?;
//! assert_eq!(value, rosenbrock(1.2, 0.5));
//! assert!((dx - 451.6).abs() < 1e-9 && (dy + 188.0).abs() < 1e-9);
//! # Ok::<(), autograd::Error>(())
//! ```
//!
//! A compiled function can be kept and called, and either engine asked for:
//!
//! ```
//! use autograd::prelude::*;
//!
//! #[differentiable]
//! fn energy(x: &Tensor<f64>) -> Tensor<f64> {
//!     x.square().sum() * 0.5
//! }
//!
//! let x = Tensor::from_vec(vec![1.0, -2.0], [2]);
//! let kept = energy::compile(&x)?;
//! assert_eq!(kept.grad(&x)?.to_vec(), [1.0, -2.0]);
//! assert_eq!(kept.hessian(&x)?.to_vec(), [1.0, 0.0, 0.0, 1.0]);
//! let (value, pull) = with_engine(Engine::Dynamic, || energy::vjp(&x))?;
//! assert_eq!((value.item(), pull(&Tensor::scalar(2.0))?.to_vec()), (2.5, vec![2.0, -4.0]));
//! # Ok::<(), autograd::Error>(())
//! ```
//!
//! An annotated function may take derivatives of others, and derivatives flow through them:
//!
//! ```
//! use autograd::prelude::*;
//!
//! #[differentiable]
//! fn polar(r: f64, phi: f64) -> [f64; 2] {
//!     [r * phi.cos(), r * phi.sin()]
//! }
//! #[differentiable]
//! fn area(r: f64, phi: f64) -> autograd::Result<f64> {
//!     let (dr, dphi) = polar::jacobian(r, phi)?;
//!     Ok(dr[0] * dphi[1] - dr[1] * dphi[0])
//! }
//!
//! let (by_r, by_phi) = area::grad(2.0, 0.5)?;
//! assert!((by_r - 1.0).abs() < 1e-12 && by_phi.abs() < 1e-12);
//! # Ok::<(), autograd::Error>(())
//! ```
//!
//! Many arguments at once, and a function that finds a root, whose derivative is that of the root and not of the steps:
//!
//! ```
//! use autograd::prelude::*;
//!
//! #[differentiable]
//! fn residual(y: f64, x: f64) -> f64 {
//!     y * y - x
//! }
//! #[differentiable(root_of(residual))]
//! fn root(x: f64) -> f64 {
//!     (0..60).fold(x, |y, _| 0.5 * (y + x / y))
//! }
//!
//! let slopes = root::vmap_grad(&[1.0, 4.0, 9.0])?;
//! slopes.iter().zip([0.5, 0.25, 0.5 / 3.0]).for_each(|(a, b)| assert!((a - b).abs() < 1e-12));
//! # Ok::<(), autograd::Error>(())
//! ```
//!
//! [`Tensor`] outside such functions is an eager tensor with a tape, as PyTorch's: [`pytorch`] puts PyTorch's lines and ours
//! side by side.

pub use autograd_macros::{Differentiable, differentiable, no_grad};
pub use autograd_runtime::*;

/// What programs import: `use autograd::prelude::*;`.
pub mod prelude {
    pub use crate::{
        Differentiable, Engine, Error, Real, Tensor, detach, differentiable, no_grad, set_grad_enabled, try_eval,
        with_engine,
    };
}

#[cfg(any(doc, doctest))]
#[doc = include_str!("../docs/pytorch.md")]
pub mod pytorch {}

/// The examples of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

/// What the expansions of the macros name. Not for use by hand, and not stable.
#[doc(hidden)]
pub mod __private {
    pub use autograd_runtime::{
        __plain_block, BenchReport, CheckReport, Compiled, Explanation, Traced as Real,
        entry::{
            Arg, AsTwin, Binder, Block, CompiledFn, Constant, Function, GradReader, Hessian, Inputs, IntoTwin,
            Jacobian, Leaf, LeafReader, Leaves, Lifter, Meta, Out, OutReader, Outcome, Param, Pullback, Slot, Slots,
            Staged, Twinned, Visitor, arrays, bench, check, compile, explain, fit, flow, grad, grad_and_hvp, grad_into,
            hessian, hessian_sparse, hvp, jacobian, jacobian_sparse, jvp, owned,
            plain::{Cast, CastTarget, HelperArg, Item, Lift, Plain, PlainArg, cast, fallback, lift},
            recursion,
            rolled::{
                AsList, AsTable, Int, Integer, Known, List, Parts, Rolled, Row, Table, Unrolled, convert, found, int,
                known, listed, looked_up, truncated,
            },
            root, staged, staged_grad, staged_grad_and_hvp, staged_hessian, staged_hvp, staged_jacobian, staged_jvp,
            staged_value_and_grad, staged_vjp, value, value_and_grad, value_and_grad_into, vjp, vmap,
        },
        literal,
        sprs::CsMat,
    };
}
