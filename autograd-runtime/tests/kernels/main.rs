//! The code generator against a naive loop nest: hand-written kernels, then random ones.

mod common;
mod hand;
mod random;
