//! From an optimised graph to a program that runs: `flow` makes loops of the reverse mode of loops, [`fuse`] groups nodes
//! into kernels and steps, [`plan`] gives the intermediate values places in one buffer,
//! [`compile`](Program::compile) makes machine code, and `exec` runs the steps.
//! Control flow over scalars and lists is one function (`scalar`), in which `vector` finds the loops whose trips run side by side.

mod chain;
mod checkpoint;
mod choices;
mod compile;
mod elements;
mod exec;
mod extrema;
mod flow;
mod folds;
pub mod fuse;
mod hoist;
mod jam;
mod join;
mod leaf;
pub mod plan;
mod prune;
mod scalar;
mod sink;
mod slots;
mod split;
mod steps;
mod stores;
mod sums;
mod taken;
mod vector;

pub(crate) use chain::chain;
pub(crate) use choices::branchless;
pub use compile::{KernelInfo, Program, Stats};
pub(crate) use exec::{Input, Output};
pub(crate) use jam::jam;
pub(crate) use sink::sink;
pub(crate) use slots::Results;
pub use slots::Slots;
pub(crate) use stores::stores;
