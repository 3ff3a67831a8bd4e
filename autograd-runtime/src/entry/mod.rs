//! What the entry points of an annotated function call. In reading order:
//!
//! * [`args`]: parameters as leaves; `key`: when two calls share a program; [`twins`]: results as leaves;
//! * `build`: from a function and a kind of derivative to an `Entry`, compiled or dynamic;
//! * `cache`: the bounded store of entries;
//! * `call`: one call of an entry on either engine;
//! * `matrices`: Jacobians and Hessians, in the forms of [`blocks`]; `sparse`: those that are mostly zeros, as one matrix;
//! * [`vmap`]: an entry point at many arguments;
//! * `staged`: derivatives inside annotated bodies, and the dynamic engine's derivatives;
//! * `implicit`: functions given as roots; [`recursion`]: functions that call themselves;
//! * [`arrays`]: ndarray's arrays in twins; [`rolled`]: integers and lists whose values and lengths a trace leaves open;
//! * `generic`: numbers that helpers are generic over; `plain`: literals, casts and calls of helper functions in twins; `flow`: their conditions, choices and loops;
//! * `explain`, `check`, `bench`: the entry points that report.

pub mod args;
pub mod arrays;
mod bench;
pub mod blocks;
mod build;
mod cache;
mod call;
mod check;
mod explain;
pub mod flow;
mod generic;
mod implicit;
pub(crate) mod key;
mod matrices;
pub mod plain;
pub mod recursion;
pub mod rolled;
mod sparse;
mod staged;
pub mod twins;
#[cfg(feature = "nalgebra")]
mod vectors;
pub mod vmap;

pub use args::{Arg, Binder, Constant, GradReader, Lifter, Slots, Visitor, fit};
pub use bench::BenchReport;
pub use blocks::{Block, Rank};
pub use cache::{CacheStats, cache_stats, clear_cache, set_cache_limits};
pub(crate) use call::run_program;
pub use call::{Compiled, CompiledFn, Pullback};
pub use check::CheckReport;
pub use explain::{Engine as EngineUsed, Explanation};
pub use generic::Real;
pub use implicit::root;
pub use matrices::{Hessian, Jacobian};
pub use staged::{
    Again, Inputs, Staged, owned, staged, staged_grad, staged_grad_and_hvp, staged_hessian, staged_hvp,
    staged_jacobian, staged_jvp, staged_value_and_grad, staged_vjp,
};
pub use twins::{AsTwin, Elements, IntoTwin, Leaf, LeafReader, Leaves, Out, OutReader, Outcome, Slot, Twinned};

use crate::Result;
use sprs::CsMat;
use std::cell::Cell;

/// A parameter of an annotated function.
#[derive(Debug)]
pub struct Param {
    /// Its name.
    pub name: &'static str,
    /// Whether it is differentiated.
    pub wrt: bool,
}

/// What is known of an annotated function at compile time.
#[derive(Debug)]
pub struct Meta {
    /// Its name.
    pub name: &'static str,
    /// The source file.
    pub file: &'static str,
    /// The line of its name.
    pub line: u32,
    /// Its parameters.
    pub params: &'static [Param],
    /// Bytes for what loops record for their reverse mode, if that is bounded.
    pub memory: Option<u64>,
    /// Whether it may not run on the dynamic engine by itself.
    pub compiled: bool,
}

/// An annotated function. Implemented by its companion type.
pub trait Function: 'static {
    /// Name, place and parameters.
    const META: Meta;
    /// References to the arguments.
    type Args<'a>: Copy;
    /// References to one direction for each differentiated parameter.
    type Tangents<'a>: Copy;
    /// The gradient: bare for one differentiated parameter, a tuple for several.
    type Grads: Block;
    /// The value.
    type Value: Block;
    /// The methods of a kept [`Compiled`].
    type Calls;
    /// Wraps a compiled function.
    fn calls(c: CompiledFn) -> Self::Calls;
    /// Visits all arguments.
    fn visit(args: Self::Args<'_>, v: &mut Visitor<'_>);
    /// The arguments of a function of nothing but scalars and lists.
    fn slots<'s>(args: Self::Args<'s>, s: &mut Slots<'s>);
    /// The directions of a function of nothing but scalars and lists.
    fn tangent_slots<'s>(tangents: Self::Tangents<'s>, s: &mut Slots<'s>);
    /// Visits all directions.
    fn visit_tangents(tangents: Self::Tangents<'_>, v: &mut Visitor<'_>);
    /// Runs the staged twin.
    fn stage(args: Self::Args<'_>, l: &mut Lifter<'_>) -> Staged;
    /// Puts the gradient together.
    fn collect(args: Self::Args<'_>, g: &mut GradReader<'_>) -> Self::Grads;
    /// Puts the value together.
    fn read(r: &mut OutReader<'_>) -> Self::Value;
}

/// What is computed of a function.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Kind {
    Value,
    Grad,
    ValueAndGrad,
    Vjp,
    Jvp,
    Hvp,
    /// The gradient, then the product.
    GradAndHvp,
    /// All derivatives of scalars in scalars, row by row, after the value or the gradient.
    Jacobian,
    Hessian,
}
/// How many kinds there are.
pub(crate) const KINDS: usize = Kind::Hessian as usize + 1;

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Value => "value",
            Kind::Grad => "grad",
            Kind::ValueAndGrad => "value_and_grad",
            Kind::Vjp => "vjp",
            Kind::Jvp => "jvp",
            Kind::Hvp => "hvp",
            Kind::GradAndHvp => "grad_and_hvp",
            Kind::Jacobian => "jacobian",
            Kind::Hessian => "hessian",
        }
    }
    /// Whether the results begin with the function's value.
    pub fn has_value(self) -> bool {
        !matches!(self, Kind::Grad | Kind::Hvp | Kind::GradAndHvp)
    }
    /// Whether the function must have one float as its result.
    pub fn needs_scalar(self) -> bool {
        matches!(self, Kind::Grad | Kind::ValueAndGrad | Kind::Hvp | Kind::GradAndHvp | Kind::Hessian)
    }
}

/// Which engine entry points use on this thread.
///
/// ```
/// use autograd_runtime::{Engine, current_engine, with_engine};
/// assert_eq!(current_engine(), Engine::Auto);
/// with_engine(Engine::Dynamic, || assert_eq!(current_engine(), Engine::Dynamic));
/// assert_eq!(current_engine(), Engine::Auto);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Engine {
    /// Compiled; what cannot be compiled runs on the dynamic engine.
    #[default]
    Auto,
    /// Compiled, or an error that says where and why not.
    Compiled,
    /// The dynamic engine.
    Dynamic,
}

thread_local! {
    static ENGINE: Cell<Engine> = const { Cell::new(Engine::Auto) };
}

/// The engine that entry points use on this thread.
#[inline]
pub fn current_engine() -> Engine {
    ENGINE.get()
}

/// Runs a closure in which entry points use an engine; restored afterwards, also when it unwinds.
pub fn with_engine<R>(engine: Engine, f: impl FnOnce() -> R) -> R {
    struct Restore(Engine);
    impl Drop for Restore {
        fn drop(&mut self) {
            ENGINE.set(self.0);
        }
    }
    let _restore = Restore(ENGINE.replace(engine));
    f()
}

macro_rules! drivers {
    ($($(#[$doc:meta])* $name:ident($($extra:ident: $ty:ty),*) -> $out:ty;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// The first error of an operation, or why the function cannot be differentiated or compiled.
        pub fn $name<F: Function>(args: F::Args<'_>, $($extra: $ty),*) -> Result<$out> {
            call::$name::<F>(args, $($extra),*)
        }
    )*};
}
drivers! {
    /// The gradient.
    grad() -> F::Grads;
    /// Value and gradient.
    value_and_grad() -> (F::Value, F::Grads);
    /// The value, compiled.
    value() -> F::Value;
    /// The value and its derivative along the tangents.
    jvp(tangents: F::Tangents<'_>) -> (F::Value, F::Value);
    /// The Hessian times the directions.
    hvp(directions: F::Tangents<'_>) -> F::Grads;
    /// The gradient, and the Hessian times the directions.
    grad_and_hvp(directions: F::Tangents<'_>) -> (F::Grads, F::Grads);
    /// A compiled function to keep.
    compile() -> Compiled<F>;
    /// The gradient, into the caller's buffers.
    grad_into(bind: impl FnMut(&mut Binder<'_>)) -> ();
    /// The gradient into the caller's buffers; returns the value.
    value_and_grad_into(bind: impl FnMut(&mut Binder<'_>)) -> F::Value;
}
/// The value and a pull-back.
///
/// # Errors
/// As [`grad`].
pub fn vjp<F: Function>(args: F::Args<'_>) -> Result<(F::Value, Pullback<F>)> {
    call::vjp::<F>(args, None)
}
/// All derivatives of all results.
///
/// # Errors
/// As [`grad`].
pub fn jacobian<F: Function>(args: F::Args<'_>) -> Result<Jacobian<F>> {
    matrices::jacobian::<F>(args, None)
}
/// All second derivatives.
///
/// # Errors
/// As [`grad`].
pub fn hessian<F: Function>(args: F::Args<'_>) -> Result<Hessian<F>> {
    matrices::hessian::<F>(args, None)
}
/// All derivatives of all results that may differ from zero, as one matrix of compressed rows.
///
/// # Errors
/// As [`grad`], and if there are too many of them.
pub fn jacobian_sparse<F: Function>(args: F::Args<'_>) -> Result<CsMat<f64>> {
    sparse::jacobian::<F>(args)
}
/// All second derivatives that may differ from zero, as one matrix of compressed rows.
///
/// # Errors
/// As [`jacobian_sparse`].
pub fn hessian_sparse<F: Function>(args: F::Args<'_>) -> Result<CsMat<f64>> {
    sparse::hessian::<F>(args)
}
/// Compares derivatives with finite differences.
///
/// # Errors
/// As [`grad`].
pub fn check<F: Function>(args: F::Args<'_>) -> Result<CheckReport> {
    check::check::<F>(args)
}
/// Times both engines.
///
/// # Errors
/// As [`grad`].
pub fn bench<F: Function>(args: F::Args<'_>) -> Result<BenchReport> {
    bench::bench::<F>(args)
}
/// Tells how the gradient is computed at these arguments (the value, if there is no gradient).
///
/// # Errors
/// The first error of an operation.
pub fn explain<F: Function>(args: F::Args<'_>) -> Result<Explanation> {
    explain::explain::<F>(args)
}
