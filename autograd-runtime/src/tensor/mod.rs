//! The dynamic engine: tensors that compute at once and record a tape.
//!
//! * `value`: the untyped tensor, a strided window on shared storage, or a node of a running trace;
//! * `dispatch`: one operation on values: traced, or computed and taped;
//! * `tape`: backward nodes and the backward sweep;
//! * `typed`: `Tensor<T>`, the user's face of it, with PyTorch's names; `conv`: convolutions and
//!   pooling; `random`: constructors that draw, dropout;
//! * `display`: printing as PyTorch prints;
//! * `replay`: a graph run on the tape, for comparison.

mod conv;
mod dispatch;
mod display;
mod random;
mod replay;
mod tape;
mod typed;
mod value;

pub(crate) use dispatch::{Dispatch, Locked, eager};
pub use replay::{replay, replay_vjp};
pub use tape::{GradFn, backward, grad, is_grad_enabled, no_grad, set_grad_enabled};
pub(crate) use tape::{Sweep, seed};
pub use typed::{IntoShape, Scalar, Tensor};
pub(crate) use typed::{evaluate, report};
pub use value::Value;
pub(crate) use value::{Repr, Storage, pool};
