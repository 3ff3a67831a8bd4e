//! The emitter: one interface under which derivative rules, composite operations and the tensors' own
//! methods are written once. Behind it stands a graph being built, or the tape computing at once.

use crate::{
    error::Error,
    graph::{Graph, NodeId},
    op::{Attr, Op, OpDef, arith, compare, create, elementary, index, linalg, list, reduce, views},
    tensor::Value,
    ty::{DType, Shape, Ty, same_shape},
};
use smallvec::SmallVec;

/// A value of an emitter.
#[derive(Clone, Debug)]
pub enum V {
    /// A node of the graph being built.
    Node(NodeId),
    /// A tensor of the dynamic engine, or one traced by the running session.
    Tensor(Value),
    /// Something of which a derivative rule sees the type only: it was not saved.
    Type(Ty),
}

/// Something that operations can be emitted to. Emission does not fail: the emitter keeps the first error
/// and goes on with a placeholder of the likely type, so that rules read like the mathematics.
pub trait Emit {
    /// The value of an operation on arguments.
    fn emit(&self, op: Op, args: &[V]) -> V;
    /// As [`Emit::emit`], on arguments that are somewhere else: the tape, which computes at once, needs no copies.
    fn emit_refs(&self, op: Op, args: &[&V]) -> V {
        let args: SmallVec<[V; 3]> = args.iter().map(|&a| a.clone()).collect();
        self.emit(op, &args)
    }
    /// A rank-0 constant, given by its bits.
    fn constant(&self, dtype: DType, bits: u64) -> V {
        self.emit(create::constant_bits(dtype, bits), &[])
    }
    /// The type of a value.
    fn ty(&self, v: &V) -> Ty;
    /// Reports that a composite operation cannot go on; returns a placeholder.
    fn fail(&self, error: Error, like: &V) -> V;
}

/// An expression: a value together with its emitter, with the operations as methods and operators.
#[derive(Clone)]
pub struct Ex<'e> {
    pub(crate) e: &'e dyn Emit,
    pub(crate) v: V,
}

/// Emits an operation on expressions of one emitter.
pub fn apply<'e>(op: Op, args: &[&Ex<'e>]) -> Ex<'e> {
    let e = args[0].e;
    let mut values: SmallVec<[&V; 3]> = SmallVec::new();
    args.iter().for_each(|a| values.push(&a.v));
    Ex { e, v: e.emit_refs(op, &values) }
}

macro_rules! unary_methods {
    ($($(#[$doc:meta])* $name:ident = $def:expr;)*) => {$(
        $(#[$doc])* pub fn $name(&self) -> Ex<'e> { self.op1(&$def) }
    )*};
}
macro_rules! binary_methods {
    ($($(#[$doc:meta])* $name:ident = $def:expr;)*) => {$(
        $(#[$doc])* pub fn $name(&self, other: &Ex<'e>) -> Ex<'e> { self.op2(&$def, other) }
    )*};
}

#[allow(missing_docs, clippy::should_implement_trait)] // the operations are documented on `Tensor`
impl<'e> Ex<'e> {
    pub fn new(e: &'e dyn Emit, v: V) -> Self {
        Ex { e, v }
    }
    /// The node this stands for, if it is one of a graph.
    pub fn node(&self) -> Option<NodeId> {
        if let V::Node(id) = self.v { Some(id) } else { None }
    }
    pub fn ty(&self) -> Ty {
        self.e.ty(&self.v)
    }
    pub fn shape(&self) -> Shape {
        self.ty().shape
    }
    /// Calls `f` with the shape, without a copy of it where there is one.
    fn with_shape<R>(&self, f: impl FnOnce(&[usize]) -> R) -> R {
        match &self.v {
            V::Tensor(t) => f(&t.ty().shape),
            V::Type(t) => f(&t.shape),
            V::Node(_) => f(&self.shape()),
        }
    }
    pub fn dtype(&self) -> DType {
        self.ty().dtype
    }
    pub fn rank(&self) -> usize {
        self.ty().rank()
    }
    /// An operation on this alone.
    pub(crate) fn emit_op(&self, op: Op) -> Ex<'e> {
        apply(op, &[self])
    }
    pub(crate) fn op1(&self, def: &'static OpDef) -> Ex<'e> {
        apply(Op::new(def), &[self])
    }
    pub(crate) fn op2(&self, def: &'static OpDef, other: &Ex<'e>) -> Ex<'e> {
        apply(Op::new(def), &[self, other])
    }
    fn with(&self, def: &'static OpDef, attrs: impl IntoIterator<Item = Attr>) -> Ex<'e> {
        apply(Op::with(def, attrs), &[self])
    }
    pub fn fail(&self, error: Error) -> Ex<'e> {
        Ex { e: self.e, v: self.e.fail(error, &self.v) }
    }
    /// A rank-0 constant of this expression's dtype.
    pub fn lit(&self, x: f64) -> Ex<'e> {
        constant(self.e, self.dtype(), x)
    }
    /// A constant of this expression's type.
    pub fn full_like(&self, x: f64) -> Ex<'e> {
        if self.ty().is_list() {
            return apply(Op::new(&list::FILL), &[&self.lit(x), &self.op1(&list::LEN)]);
        }
        self.lit(x).expand(&self.shape())
    }

    unary_methods! {
        neg = arith::NEG; abs = arith::ABS; sign = arith::SIGN; floor = arith::FLOOR; ceil = arith::CEIL;
        trunc = arith::TRUNC; round = arith::ROUND; sqrt = arith::SQRT; rsqrt = arith::RSQRT;
        recip = arith::RECIP; square = arith::SQUARE; relu = arith::RELU;
        exp = elementary::EXP; exp2 = elementary::EXP2; expm1 = elementary::EXPM1; ln = elementary::LN;
        log2 = elementary::LOG2; log10 = elementary::LOG10; log1p = elementary::LOG1P; sin = elementary::SIN;
        cos = elementary::COS; tan = elementary::TAN; asin = elementary::ASIN; acos = elementary::ACOS;
        atan = elementary::ATAN; sinh = elementary::SINH; cosh = elementary::COSH; tanh = elementary::TANH;
        asinh = elementary::ASINH; acosh = elementary::ACOSH; atanh = elementary::ATANH;
        sigmoid = elementary::SIGMOID; softplus = elementary::SOFTPLUS; cbrt = elementary::CBRT;
        erf = elementary::ERF; erfc = elementary::ERFC; lgamma = elementary::LGAMMA; digamma = elementary::DIGAMMA;
        sech2 = elementary::SECH2;
        sigmoid_grad = elementary::SIGMOID_GRAD; is_nan = compare::IS_NAN; logical_not = compare::NOT;
        detach = arith::DETACH; copy = arith::COPY;
    }
    binary_methods! {
        add = arith::ADD; sub = arith::SUB; mul = arith::MUL; div = arith::DIV; maximum = arith::MAXIMUM;
        minimum = arith::MINIMUM; pow = elementary::POW; atan2 = elementary::ATAN2; hypot = elementary::HYPOT;
        copysign = arith::COPYSIGN; rem = arith::REM; fmax = arith::FMAX; fmin = arith::FMIN;
        lt = compare::LT; le = compare::LE; gt = compare::GT; ge = compare::GE; eq = compare::EQ; ne = compare::NE;
        logical_and = compare::AND; logical_or = compare::OR; logical_xor = compare::XOR;
    }
    pub fn powi(&self, n: i32) -> Ex<'e> {
        self.with(&elementary::POWI, [Attr::Int(i64::from(n))])
    }
    pub fn powf(&self, p: f64) -> Ex<'e> {
        self.pow(&self.lit(p))
    }
    /// `self` where `mask`, else `other`.
    pub fn select(mask: &Ex<'e>, yes: &Ex<'e>, no: &Ex<'e>) -> Ex<'e> {
        apply(Op::new(&compare::SELECT), &[mask, yes, no])
    }
    /// `self` where `mask` holds, else 0: the untaken side contributes exactly nothing.
    pub fn masked(&self, mask: &Ex<'e>) -> Ex<'e> {
        Ex::select(mask, self, &self.lit(0.0))
    }
    pub fn clamp(&self, lo: &Ex<'e>, hi: &Ex<'e>) -> Ex<'e> {
        apply(Op::new(&arith::CLAMP), &[self, lo, hi])
    }
    pub fn cast(&self, to: DType) -> Ex<'e> {
        if self.dtype() == to { self.clone() } else { self.with(&compare::CAST, [Attr::DType(to)]) }
    }

    // reductions over resolved dims; all keep the reduced axes with extent 1
    pub(crate) fn reduce_keep(&self, def: &'static OpDef, dims: &[usize]) -> Ex<'e> {
        // summing over nothing is the identity, over an axis of extent 1 too
        if dims.is_empty() { self.clone() } else { self.with(def, [Attr::dims(dims)]) }
    }
    pub fn sum_keep(&self, dims: &[usize]) -> Ex<'e> {
        self.reduce_keep(&reduce::SUM, dims)
    }
    pub fn amax_keep(&self, dims: &[usize]) -> Ex<'e> {
        self.reduce_keep(&reduce::AMAX, dims)
    }
    /// The sum over those axes along which `shape` was broadcast to this expression's shape.
    pub fn sum_to(&self, shape: &[usize]) -> Ex<'e> {
        let mine = self.shape();
        if mine.as_slice() == shape {
            return self.clone();
        }
        let lead = mine.len() - shape.len();
        let dims: Shape = (0..mine.len()).filter(|&d| d < lead || (shape[d - lead] == 1 && mine[d] != 1)).collect();
        self.sum_keep(&dims).reshape(shape)
    }

    /// As [`Ex::sum_to`] with the shape of another expression, which in most cases is this one's.
    pub(crate) fn sum_to_shape_of(self, other: &Ex<'e>) -> Ex<'e> {
        if self.with_shape(|a| other.with_shape(|b| same_shape(a, b))) { self } else { self.sum_to(&other.shape()) }
    }

    // views
    pub fn reshape(&self, shape: &[usize]) -> Ex<'e> {
        if self.shape().as_slice() == shape { self.clone() } else { self.with(&views::RESHAPE, [Attr::dims(shape)]) }
    }
    pub fn expand(&self, shape: &[usize]) -> Ex<'e> {
        if self.shape().as_slice() == shape { self.clone() } else { self.with(&views::EXPAND, [Attr::dims(shape)]) }
    }
    pub fn permute(&self, perm: &[usize]) -> Ex<'e> {
        if perm.iter().enumerate().all(|(i, &p)| i == p) && perm.len() == self.rank() {
            return self.clone();
        }
        self.with(&views::PERMUTE, [Attr::dims(perm)])
    }
    /// The last two axes exchanged.
    pub fn mt(&self) -> Ex<'e> {
        let n = self.rank();
        let mut perm: Shape = (0..n).collect();
        if n >= 2 {
            perm.swap(n - 1, n - 2);
        }
        self.permute(&perm)
    }
    /// `len` elements of axis `dim` from `start` in steps of `step`.
    pub fn slice(&self, dim: usize, start: usize, len: usize, step: usize) -> Ex<'e> {
        if start == 0 && step == 1 && self.shape().get(dim) == Some(&len) {
            return self.clone();
        }
        let attrs = [dim, start, len, step].map(|n| Attr::Int(n as i64));
        self.with(&views::SLICE, attrs)
    }
    pub fn flip(&self, dims: &[usize]) -> Ex<'e> {
        self.with(&views::FLIP, [Attr::dims(dims)])
    }
    /// The transpose of [`Ex::slice`]: zeros of extent `size` along `dim` with this placed inside.
    pub fn unslice(&self, dim: usize, start: usize, step: usize, size: usize) -> Ex<'e> {
        let attrs = [dim, start, step, size].map(|n| Attr::Int(n as i64));
        self.with(&index::UNSLICE, attrs)
    }
    pub fn concat(items: &[Ex<'e>], dim: usize) -> Ex<'e> {
        // groups of groups: the place of an item in its group is a sum over those before it, for every item
        const GROUP: usize = 64;
        if items.len() > GROUP {
            let groups: Vec<Ex<'e>> = items.chunks(GROUP).map(|group| Ex::concat(group, dim)).collect();
            return Ex::concat(&groups, dim);
        }
        let args: Vec<&Ex<'e>> = items.iter().collect();
        apply(Op::with(&index::CONCAT, [Attr::Int(dim as i64)]), &args)
    }
    pub fn gather(&self, dim: usize, idx: &Ex<'e>) -> Ex<'e> {
        apply(Op::with(&index::GATHER, [Attr::Int(dim as i64)]), &[self, idx])
    }
    pub fn scatter_add(&self, dim: usize, idx: &Ex<'e>, size: usize) -> Ex<'e> {
        apply(Op::with(&index::SCATTER_ADD, [Attr::Int(dim as i64), Attr::Int(size as i64)]), &[self, idx])
    }
    /// Zeros of a shape with this added at indices along `dim`; they may cover less of the other axes than there is.
    pub(crate) fn scattered(&self, dim: usize, idx: &Ex<'e>, shape: &[usize]) -> Ex<'e> {
        let mut y = self.scatter_add(dim, idx, shape[dim]);
        for d in (0..shape.len()).filter(|&d| d != dim) {
            if y.shape()[d] != shape[d] {
                y = y.unslice(d, 0, 1, shape[d]);
            }
        }
        y
    }
    /// The product of matrices on the last two axes; leading axes are batches of equal extents.
    pub fn matmul_2d(&self, other: &Ex<'e>) -> Ex<'e> {
        self.op2(&linalg::MATMUL, other)
    }
}

/// A rank-0 constant, rounded to the dtype.
pub fn constant<'e>(e: &'e dyn Emit, dtype: DType, x: f64) -> Ex<'e> {
    Ex { e, v: e.constant(dtype, create::bits_of(dtype, x)) }
}
/// The indices 0, 1, … n−1.
pub fn iota<'e>(e: &'e dyn Emit, dtype: DType, n: usize) -> Ex<'e> {
    Ex { e, v: e.emit(Op { def: &create::IOTA, attrs: vec![Attr::DType(dtype), Attr::Int(n as i64)] }, &[]) }
}

/// The outputs of a graph on expressions of one emitter.
pub(crate) fn emit_graph<'e>(g: &Graph, inputs: &[Ex<'e>]) -> Vec<Ex<'e>> {
    let live = g.live();
    let e = inputs[0].e;
    let mut values: Vec<Option<Ex<'e>>> = vec![None; g.len()];
    for (id, n) in g.nodes().filter(|(id, _)| live[id.index()]) {
        values[id.index()] = Some(if n.op.is(&create::INPUT) {
            inputs[n.op.int(0) as usize].clone()
        } else {
            let args: SmallVec<[V; 3]> =
                n.args.iter().filter_map(|a| values[a.index()].as_ref().map(|x| x.v.clone())).collect();
            Ex { e, v: e.emit(n.op.clone(), &args) }
        });
    }
    g.outputs().iter().filter_map(|o| values[o.index()].clone()).collect()
}

macro_rules! operators {
    ($($trait:ident $fn:ident;)*) => {$(
        impl<'e> std::ops::$trait<&Ex<'e>> for &Ex<'e> { type Output = Ex<'e>; fn $fn(self, o: &Ex<'e>) -> Ex<'e> { Ex::$fn(self, o) } }
        impl<'e> std::ops::$trait<Ex<'e>> for &Ex<'e> { type Output = Ex<'e>; fn $fn(self, o: Ex<'e>) -> Ex<'e> { Ex::$fn(self, &o) } }
        impl<'e> std::ops::$trait<&Ex<'e>> for Ex<'e> { type Output = Ex<'e>; fn $fn(self, o: &Ex<'e>) -> Ex<'e> { Ex::$fn(&self, o) } }
        impl<'e> std::ops::$trait<Ex<'e>> for Ex<'e> { type Output = Ex<'e>; fn $fn(self, o: Ex<'e>) -> Ex<'e> { Ex::$fn(&self, &o) } }
        impl<'e> std::ops::$trait<f64> for &Ex<'e> { type Output = Ex<'e>; fn $fn(self, o: f64) -> Ex<'e> { Ex::$fn(self, &self.lit(o)) } }
        impl<'e> std::ops::$trait<f64> for Ex<'e> { type Output = Ex<'e>; fn $fn(self, o: f64) -> Ex<'e> { Ex::$fn(&self, &self.lit(o)) } }
    )*};
}
operators! { Add add; Sub sub; Mul mul; Div div; }
impl std::ops::Neg for Ex<'_> {
    type Output = Self;
    fn neg(self) -> Self {
        Ex::neg(&self)
    }
}
impl<'e> std::ops::Neg for &Ex<'e> {
    type Output = Ex<'e>;
    fn neg(self) -> Ex<'e> {
        Ex::neg(self)
    }
}
