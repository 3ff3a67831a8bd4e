//! Turns fused kernels ([`Kernel`], a static loop nest over elementwise and reduction nodes) into
//! machine code with Cranelift and runs them. Invariant: everything about a kernel's shape is known
//! when it is compiled, and its results depend on that shape and its inputs only, never on the
//! number of threads that ran it.
//!
//! * [`plan`] decides what is computed where: once a row, in which stage and phase, in which scratch.
//! * [`lanes`] is the vocabulary of inline arithmetic, the same for 128-bit vectors and scalars.
//! * `emit` and `inner` write the row and element loops, `node` single nodes.
//! * [`scalar`] compiles scalar programs, with choices, loops and lists, with the same node emitter; [`frame`] is the memory
//!   they work in, and [`vector`] runs the trips of a loop side by side, as the inner range of a kernel.
//! * [`jit`] owns executable memory, `split` divides the work, [`driver`] runs it.

pub mod driver;
mod emit;
mod facts;
pub mod frame;
mod inner;
pub mod jit;
pub mod lanes;
mod node;
pub mod plan;
pub mod scalar;
mod split;
mod validate;
pub mod vector;

pub use driver::{CompiledKernel, Scratch};
pub use jit::{Builder, Code};
pub use lanes::{Lane, Lanes};
pub use scalar::{Form, Function, How, Inst, Record, ScalarProgram};
pub use vector::Vector;

use crate::elementary::{Binary, Unary};
use crate::ty::DType;
use smallvec::SmallVec;

/// Largest accepted number of nodes in a kernel or scalar program; bounds compile time.
pub const MAX_NODES: usize = 4000;

/// The inner size of a kernel whose range is known at run time only; such a kernel has one row and is written into a
/// scalar program. It is odd and as large as no length: no range is known to be whole blocks.
pub const OPEN: usize = (1 << 40) - 1;

/// A fused loop nest over `outer` × `inner`.
///
/// The first `parallel` outer dimensions (P) are kept by every reduction, the others (R) are
/// reduced by [`Scope::Outer`] and [`Scope::All`]. The last outer dimension varies fastest.
///
/// A buffer that is stored must not overlap a buffer that is loaded, except that a store may go to
/// exactly the elements a load of the same row reads, in a kernel without [`Scope::Inner`] reductions.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Sizes of the outer dimensions, P then R.
    pub outer: SmallVec<[usize; 4]>,
    /// How many of them are P.
    pub parallel: usize,
    /// Size of the inner dimension I.
    pub inner: usize,
    /// Nodes in topological order.
    pub nodes: Vec<Node>,
    /// What is written.
    pub stores: Vec<Store>,
    /// Element type of each buffer slot.
    pub buffers: Vec<DType>,
}

/// Index into [`Kernel::nodes`].
pub type Id = u32;

/// An affine element index: `offset + Σ outer[k]·index[k] + inner·i`, in elements.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Access {
    /// Index at the origin.
    pub offset: i64,
    /// One stride for each outer dimension; may be 0 or negative.
    pub outer: SmallVec<[i64; 4]>,
    /// Stride of the inner dimension; may be 0 or negative.
    pub inner: i64,
}

/// What a node computes.
#[derive(Clone, Debug)]
pub enum NodeKind {
    /// An element of a buffer.
    Load {
        /// Buffer slot.
        buffer: u16,
        /// Which element.
        access: Access,
    },
    /// A constant: f32/f64 bits, i64, or bool.
    Const {
        /// Bits of the value in the node's dtype.
        bits: u64,
    },
    /// The affine index itself, converted to the node's dtype.
    Iota {
        /// The index.
        access: Access,
    },
    /// A function of earlier nodes.
    Elementwise {
        /// How it is computed.
        lowering: Lowering,
        /// Its arguments.
        args: SmallVec<[Id; 3]>,
    },
    /// A reduction of an earlier node of the same dtype.
    Reduce {
        /// The combining operation.
        kind: ReduceKind,
        /// What is reduced.
        arg: Id,
        /// Over which dimensions.
        scope: Scope,
    },
    /// What an earlier node was one element before along the inner dimension, which is [`OPEN`]; `back` says that the range runs
    /// from its end to its start, and what comes before an element is the next one.
    Delay {
        /// That node, and what it was before the range: a row-level node.
        args: [Id; 2],
        /// Which way the range runs.
        back: bool,
    },
}

/// One value of a kernel.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it computes.
    pub kind: NodeKind,
    /// Its element type.
    pub dtype: DType,
}

/// Combining operation of a reduction; `Max` and `Min` propagate NaN. On `Bool` only `Max` (any)
/// and `Min` (all) exist.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReduceKind {
    /// Sum, from +0.
    Sum,
    /// Product, from 1.
    Prod,
    /// Maximum, from −∞ (the least value of the dtype).
    Max,
    /// Minimum, from +∞ (the greatest value of the dtype).
    Min,
}

/// The dimensions a reduction runs over.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scope {
    /// Over I: one value a row, usable by later nodes.
    Inner,
    /// Over R: indexed by (P, I); may only be stored.
    Outer,
    /// Over R and I: indexed by P; may only be stored.
    All,
}

/// How an elementwise node is computed.
#[derive(Clone, Copy, Debug)]
pub enum Lowering {
    /// By inline code.
    Inline(InlineFn),
    /// By a call of a one-argument elementary function.
    Unary(Unary),
    /// By a call of a two-argument elementary function.
    Binary(Binary),
    /// By a call of the integer power.
    Powi(i32),
}

/// Emits an operation for one vector or scalar of lanes.
pub type InlineFn = fn(&mut Lanes<'_, '_>, &[Lane], DType) -> Lane;

/// A value written to a buffer.
///
/// A row-level value with `access.inner == 0` is written once a row. The result of a
/// [`Scope::Outer`] or [`Scope::All`] reduction is accumulated at `access`, whose R strides are 0.
#[derive(Clone, Debug)]
pub struct Store {
    /// The value.
    pub node: Id,
    /// Buffer slot.
    pub buffer: u16,
    /// Where in the buffer.
    pub access: Access,
}

/// Why a kernel could not be compiled.
#[derive(thiserror::Error, Debug)]
pub enum CompileError {
    /// More than [`MAX_NODES`] nodes.
    #[error("kernel has {0} nodes, more than the limit of {MAX_NODES}")]
    TooLarge(usize),
    /// The kernel breaks a rule of the IR.
    #[error("malformed kernel: {0}")]
    Malformed(String),
    /// An operation has no lowering for its operands.
    #[error("unsupported operation: {0}")]
    Unsupported(String),
    /// The host cannot run generated code.
    #[error("unsupported host: {0}")]
    Host(String),
    /// Cranelift refused the generated function.
    #[error("code generation failed: {0}")]
    Codegen(String),
}

/// Bytes of one stored element.
pub(crate) fn size_of(dtype: DType) -> usize {
    match dtype {
        DType::F32 => 4,
        DType::F64 | DType::I64 => 8,
        DType::Bool => 1,
    }
}

/// Bits of the value that leaves every other value unchanged under `kind`.
pub(crate) fn identity(kind: ReduceKind, dtype: DType) -> u64 {
    match (kind, dtype) {
        (ReduceKind::Sum, _) => 0,
        (ReduceKind::Prod, DType::F32) => 1f32.to_bits().into(),
        (ReduceKind::Prod, DType::F64) => 1f64.to_bits(),
        (ReduceKind::Prod, _) => 1,
        (ReduceKind::Max, DType::F32) => f32::NEG_INFINITY.to_bits().into(),
        (ReduceKind::Max, DType::F64) => f64::NEG_INFINITY.to_bits(),
        (ReduceKind::Max, DType::I64) => i64::MIN.cast_unsigned(),
        (ReduceKind::Max, DType::Bool) => 0,
        (ReduceKind::Min, DType::F32) => f32::INFINITY.to_bits().into(),
        (ReduceKind::Min, DType::F64) => f64::INFINITY.to_bits(),
        (ReduceKind::Min, DType::I64) => i64::MAX.cast_unsigned(),
        (ReduceKind::Min, DType::Bool) => 1,
    }
}

impl Kernel {
    /// Whether the inner range runs from its end to its start.
    pub(crate) fn runs_back(&self) -> bool {
        self.nodes.iter().any(|n| matches!(n.kind, NodeKind::Delay { back: true, .. }))
    }

    /// Number of rows of P.
    pub fn parallel_rows(&self) -> usize {
        self.outer[..self.parallel].iter().product()
    }

    /// Number of rows of R for each row of P.
    pub fn reduced_rows(&self) -> usize {
        self.outer[self.parallel..].iter().product()
    }

    /// The combining operation of a store that accumulates (its node is an Outer or All reduction).
    pub(crate) fn accumulates(&self, store: &Store) -> Option<(ReduceKind, Scope)> {
        match self.nodes[store.node as usize].kind {
            NodeKind::Reduce { kind, scope, .. } if scope != Scope::Inner => Some((kind, scope)),
            _ => None,
        }
    }
}
