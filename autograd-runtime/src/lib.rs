//! The runtime of `autograd-jit`: what an annotated function becomes, in reading order.
//!
//! 1. `session` traces the staged twin of a function over [`Traced`] scalars and [`Tensor`]s into a [`graph`];
//! 2. [`diff`] differentiates the graph by the rules declared in [`op`];
//! 3. [`pass`] optimises it;
//! 4. [`program`] fuses it into [`kernel`]s, plans the buffers and runs the result;
//! 5. [`entry`] is what the entry points (`f::grad`) call: keys, cache, engines.
//!
//! Beside this path stand `tensor`, the dynamic engine on the same rules, [`optim`], the optimisers, and [`interp`], the
//! oracle.

pub mod array;
pub mod compose;
pub mod data;
pub mod diff;
pub mod elementary;
pub mod emit;
pub mod entry;
mod error;
pub mod functional;
mod gradcheck;
pub mod graph;
pub mod interp;
pub mod kernel;
mod matmul;
pub mod nn;
pub mod op;
pub mod optim;
pub mod pass;
pub mod profiler;
pub mod program;
mod random;
mod real;
mod session;
pub mod sparse;
mod state;
mod tensor;
pub mod ty;

pub use array::{Element, Float, Number};
pub use compose::{
    AttentionOptions, ConvOptions, CrossEntropyOptions, Extents, Padding, PoolOptions, Reduction, TriangularOptions,
};
pub use entry::{
    BenchReport, CacheStats, CheckReport, Compiled, Engine, EngineUsed, Explanation, Real, cache_stats, clear_cache,
    current_engine, plain::detach::detach, set_cache_limits, with_engine,
};
pub use error::{Error, Place, Result};
pub use gradcheck::{GradcheckOptions, Outputs, gradcheck, gradcheck_with, gradgradcheck, gradgradcheck_with};
#[cfg(feature = "nalgebra")]
pub use nalgebra;
pub use ndarray;
pub use random::{Generator, RngState, get_rng_state, manual_seed, set_rng_state};
pub use real::Real as Traced;
#[doc(hidden)]
pub use real::literal;
pub use session::try_eval;
pub use sprs;
pub use state::StateDict;
pub use tensor::{
    BackwardOptions, Context, Function, GradFn, GradOptions, Grads, HookHandle, HookResult, Index, IntoIndex,
    IntoShape, NewAxis, Operand, Rest, Scalar, Tensor, Value, WeakTensor, backward, backward_inputs, checkpoint,
    detect_anomaly, enable_grad, grad, grad_options, is_anomaly_enabled, is_grad_enabled, no_grad, replay, replay_vjp,
    set_detect_anomaly, set_grad_enabled, switch_grad,
};
pub(crate) use tensor::{evaluate as tensor_evaluate, report as tensor_report};
