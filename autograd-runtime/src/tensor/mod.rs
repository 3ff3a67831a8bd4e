//! The dynamic engine: tensors that compute at once and record a tape, with the semantics of PyTorch's autograd.
//!
//! The untyped side, in reading order:
//! * `value`: the untyped tensor, a strided window on shared storage, or a node of a running trace;
//! * `meta`: what a value knows of its graph: tracked or not, gradient, past, base;
//! * `mode`: what is switched on or off for a thread;
//! * `dispatch`: one operation on values: traced, or computed and taped;
//! * `node`: the tape's nodes and what they save; `hooks` on them;
//! * `sweep`: backward;
//! * `inplace`: writing in place, and views whose base was written to;
//! * `stretch`: operations that are collected, and run as one compiled program;
//! * `custom`: derivatives of the user's; `checkpoint`: saved values that are computed again.
//!
//! The user's side: `typed` (`Tensor<T>` and its operations, with PyTorch's names), `activation`, `reduce`,
//! `layout`, `linalg`, `loss`, `indexing`, `parts`, `conv`, `random`, `autograd` (tracking,
//! gradients, hooks), `backward` (the calls), `dot` (drawing the graph), `display` (printing as PyTorch prints).
//! `replay` runs a graph on the tape, for comparison and for stretches that are not compiled.

mod activation;
mod autograd;
mod backward;
mod checkpoint;
mod conv;
mod custom;
mod dispatch;
mod display;
mod dot;
mod hooks;
mod indexing;
mod inplace;
mod layout;
mod linalg;
mod logic;
mod loss;
#[cfg(feature = "nalgebra")]
mod matrices;
mod meta;
mod mode;
mod node;
mod parts;
mod random;
mod reduce;
mod replay;
mod stretch;
mod sweep;
mod typed;
mod value;

pub use autograd::WeakTensor;
pub(crate) use backward::seed;
pub use backward::{BackwardOptions, GradOptions, backward, backward_inputs, grad, grad_options};
pub use checkpoint::checkpoint;
pub use custom::{Context, Function};
pub(crate) use dispatch::{Dispatch, Locked, eager};
pub use hooks::{Grads, HookHandle, HookResult};
pub use indexing::{Index, IntoIndex, NewAxis, Rest};
pub use inplace::Operand;
pub use mode::{
    detect_anomaly, enable_grad, is_anomaly_enabled, is_grad_enabled, no_grad, set_detect_anomaly, set_grad_enabled,
    switch_grad,
};
pub use node::GradFn;
pub use replay::{replay, replay_vjp};
pub(crate) use stretch::{Collector, Stretches};
pub(crate) use sweep::{Sweep, Target};
pub use typed::{IntoShape, Scalar, Tensor};
pub(crate) use typed::{evaluate, report};
pub use value::Value;
pub(crate) use value::{Repr, Storage, pool};
