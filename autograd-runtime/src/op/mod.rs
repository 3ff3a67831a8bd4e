//! Operations: each is declared whole, in one place of a family file (shape rule, evaluation,
//! derivative, lowering, its mathematics), and all engines read that one declaration.
//!
//! To add one: write its `pub static NAME: OpDef` in the family file, list it in that file's `ALL`, and
//! give it a row in `tests/rules.rs`. Nothing else changes; a test fails while the row is missing.

pub mod arith;
pub mod compare;
pub mod control;
pub mod conv;
pub mod create;
pub mod custom;
pub mod elementary;
mod evaluate;
pub mod factor;
pub mod hold;
pub mod index;
pub mod integer;
pub mod linalg;
pub mod list;
pub mod order;
pub mod random;
pub mod reduce;
pub mod scan;
pub mod special;
pub mod views;
pub mod window;

pub(crate) use evaluate::copy_window;
pub use evaluate::{Operand, copy_into, evaluate, evaluate_into, pointwise::Kernel};

use crate::{
    array::{Array, Data, View},
    emit::Ex,
    error::{Error, Result},
    graph::Graph,
    kernel::{InlineFn, ReduceKind},
    ty::{DType, Layout, Ty},
};
use smallvec::SmallVec;
use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::{Arc, LazyLock},
};

/// A static argument of an operation.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Attr {
    /// An integer: a dim, an extent, an exponent.
    Int(i64),
    /// Several integers: dims, a shape, a permutation.
    Ints(SmallVec<[i64; 4]>),
    /// The bits of a constant, read with the dtype beside it.
    Bits(u64),
    /// An element type.
    DType(DType),
    /// A sub-graph of a control-flow node.
    Graph(Arc<Graph>),
    /// In the body of a function: that function, by what it takes and gives.
    Own(Arc<Signature>),
}

/// What a function takes and gives.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Signature {
    /// The types of its arguments.
    pub ins: Vec<Ty>,
    /// The types of its results.
    pub outs: Vec<Ty>,
}

impl Attr {
    /// An [`Attr::Ints`] of extents or dims.
    pub fn dims(d: &[usize]) -> Attr {
        Attr::Ints(d.iter().map(|&n| n as i64).collect())
    }
}

/// An operation with its static arguments: the label of a graph node and of a tape node.
#[derive(Clone)]
pub struct Op {
    /// The declaration.
    pub def: &'static OpDef,
    /// Static arguments, in the order of [`OpDef::attrs`].
    pub attrs: Vec<Attr>,
}

/// The declaration of an operation.
pub struct OpDef {
    /// Name in graphs, messages and the tape.
    pub name: &'static str,
    /// Names of the static arguments.
    pub attrs: &'static [&'static str],
    /// Number of arguments; [`VARIADIC`] for any.
    pub arity: usize,
    /// The shape rule: result type from argument types, or what is wrong with them.
    pub infer: fn(&Op, &[&Ty]) -> Result<Ty>,
    /// Evaluation on host arrays: the meaning of the operation.
    pub eval: Eval,
    /// The derivative.
    pub derivative: Derivative,
    /// Which values the derivative reads: bit `i` is argument `i`, [`SAVE_OUT`] the result; or made by [`each`].
    pub(crate) saves: u32,
    /// How generated code computes it.
    pub lower: Lower,
}

/// The [`OpDef::arity`] of operations with any number of arguments.
pub const VARIADIC: usize = usize::MAX;
/// The bit of `saves` for the result.
pub const SAVE_OUT: u32 = 1 << 31;
/// The bit of `saves` that says that it has been made by [`each`].
const EACH: u32 = 1 << 30;

/// The `saves` of an operation of two arguments whose derivatives read different values: `a` is what the one in the
/// first argument reads, `b` that in the second. The dynamic engine saves only what a tracked argument needs.
pub(crate) const fn each(a: u32, b: u32) -> u32 {
    const fn byte(s: u32) -> u32 {
        s & 3 | (s >> 31) << 2
    }
    EACH | byte(a) | byte(b) << 8
}

impl OpDef {
    /// Whether it acts on each element alone.
    pub(crate) fn is_elementwise(&self) -> bool {
        matches!(self.lower, Lower::Inline(_) | Lower::Unary(_) | Lower::Binary(_) | Lower::Powi)
    }
    /// Which values the derivative in argument `i` reads: bits as in `saves`.
    pub(crate) fn reads(&self, i: usize) -> u32 {
        if self.saves & EACH == 0 {
            return self.saves;
        }
        let byte = self.saves >> (8 * i.min(1));
        byte & 3 | (byte >> 2 & 1) << 31
    }
}

/// How an operation is evaluated.
pub enum Eval {
    /// Each element alone, after broadcasting: a loop over slices, which is driven over windows of any strides.
    Pointwise(Kernel),
    /// On strided windows, to row-major elements of the given type.
    Windows(fn(&Op, &[Operand<'_>], &Ty) -> Result<Data>),
    /// On ndarray views.
    Views(fn(&Op, &[View<'_>], &Ty) -> Result<Array>),
}

/// What a derivative rule sees.
pub struct Cx<'e> {
    /// The operation.
    pub op: &'e Op,
    /// Its arguments. Values that `saves` does not name have a type only.
    pub args: &'e [Ex<'e>],
    /// Its result, likewise.
    pub out: &'e Ex<'e>,
}

/// `t · ∂out/∂args[i]` for a tangent or cotangent `t`; `None` where the derivative is zero.
pub type Rule = for<'e> fn(&Cx<'e>, usize, &Ex<'e>) -> Option<Ex<'e>>;
/// The tangent of the result from tangents of the arguments (`None`: zero).
pub type JvpRule = for<'e> fn(&Cx<'e>, &[Option<Ex<'e>>]) -> Option<Ex<'e>>;

/// How an operation is differentiated. Zero, undefined and not-yet-written are kept apart.
pub enum Derivative {
    /// Acts on each element alone. The rule multiplies by the partial derivative and serves both modes:
    /// the reverse sums it over broadcast axes, the forward adds it up over the arguments.
    Elementwise(Rule),
    /// Linear in all arguments together. The rule is the transpose; forward mode applies the operation.
    Linear(Rule),
    /// Linear in each argument (a product). The rule is the transpose in that argument; forward mode
    /// applies the operation with one argument replaced after the other.
    Multilinear(Rule),
    /// Neither: a reverse rule and a forward rule.
    General(Rule, JvpRule),
    /// Piecewise constant or not a function of reals: the derivative is zero.
    Zero,
    /// Handled by the differentiation of control flow.
    Control,
    /// No rule: differentiating is an error that names the operation.
    Missing,
}

/// How generated code computes an operation.
pub enum Lower {
    /// Arithmetic written inline in a fused kernel.
    Inline(InlineFn),
    /// An elementary function of one argument, by block.
    Unary(crate::elementary::Unary),
    /// An elementary function of two arguments, by block.
    Binary(crate::elementary::Binary),
    /// A power with the integer exponent in attribute 0.
    Powi,
    /// A constant in the code.
    Const,
    /// The index along an axis.
    Iota,
    /// A reduction fused with what feeds it.
    Reduce(ReduceKind),
    /// A change of access and no code at all: the affine map from indices of the result to indices of
    /// the argument, or `None` where there is no such map and the argument is stored first.
    View(ViewFn),
    /// The matrix product of the library.
    MatMul,
    /// The operation's own evaluation on stored operands.
    Library,
}

/// See [`Lower::View`]: for each axis of the argument its index as a function of the result's indices.
pub type ViewFn = fn(&Op, &Ty, &Ty) -> Option<Vec<Affine>>;

/// An index as an affine function of other indices: `offset + Σ coef[d] · i[d]`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Affine {
    /// The constant term.
    pub offset: i64,
    /// The factor of each index.
    pub coef: SmallVec<[i64; 4]>,
}

impl Affine {
    /// The constant function of `n` indices.
    pub fn constant(offset: i64, n: usize) -> Affine {
        Affine { offset, coef: SmallVec::from_elem(0, n) }
    }
    /// `offset + step · i[d]`.
    pub fn axis(d: usize, n: usize, offset: i64, step: i64) -> Affine {
        let mut a = Affine::constant(offset, n);
        a.coef[d] = step;
        a
    }
    /// This function after substituting functions of other indices for its own.
    pub fn compose(&self, inner: &[Affine]) -> Affine {
        let n = inner.first().map_or(0, |a| a.coef.len());
        let mut out = Affine::constant(self.offset, n);
        for (c, f) in self.coef.iter().zip(inner).filter(|(c, _)| **c != 0) {
            out.offset += c * f.offset;
            for (o, k) in out.coef.iter_mut().zip(&f.coef) {
                *o += c * k;
            }
        }
        out
    }
}

impl Op {
    /// An operation without static arguments.
    pub fn new(def: &'static OpDef) -> Op {
        Op { def, attrs: Vec::new() }
    }
    /// An operation with static arguments.
    pub fn with(def: &'static OpDef, attrs: impl IntoIterator<Item = Attr>) -> Op {
        Op { def, attrs: attrs.into_iter().collect() }
    }
    /// The name.
    pub fn name(&self) -> &'static str {
        self.def.name
    }
    /// Whether this is that operation.
    pub fn is(&self, def: &'static OpDef) -> bool {
        std::ptr::eq(self.def, def)
    }
    /// Integer attribute `i`; verified graphs have it.
    pub fn int(&self, i: usize) -> i64 {
        match self.attrs.get(i) {
            Some(Attr::Int(n)) => *n,
            other => panic!("bug: {} lacks integer attribute {i}: {other:?}", self.name()),
        }
    }
    /// Integer-list attribute `i`.
    pub fn ints(&self, i: usize) -> &[i64] {
        match self.attrs.get(i) {
            Some(Attr::Ints(n)) => n,
            other => panic!("bug: {} lacks list attribute {i}: {other:?}", self.name()),
        }
    }
    /// Integer-list attribute `i` as extents or dims.
    pub fn dims(&self, i: usize) -> SmallVec<[usize; 4]> {
        self.ints(i).iter().map(|&n| n as usize).collect()
    }
    /// Dtype attribute `i`.
    pub fn dtype(&self, i: usize) -> DType {
        match self.attrs.get(i) {
            Some(Attr::DType(d)) => *d,
            other => panic!("bug: {} lacks dtype attribute {i}: {other:?}", self.name()),
        }
    }
    /// Bits attribute `i`.
    pub fn bits(&self, i: usize) -> u64 {
        match self.attrs.get(i) {
            Some(Attr::Bits(b)) => *b,
            other => panic!("bug: {} lacks bits attribute {i}: {other:?}", self.name()),
        }
    }
    /// Sub-graph attribute `i`.
    pub fn graph(&self, i: usize) -> &Arc<Graph> {
        match self.attrs.get(i) {
            Some(Attr::Graph(g)) => g,
            other => panic!("bug: {} lacks sub-graph {i}: {other:?}", self.name()),
        }
    }
    /// Whether it puts each element of its arguments in some places, or nowhere, and computes nothing.
    pub(crate) fn moves(&self) -> bool {
        let moving = [&index::CONCAT, &index::UNSLICE, &index::GATHER, &window::WINDOW, &window::SET_WINDOW];
        matches!(self.def.lower, Lower::View(_)) || moving.iter().any(|def| self.is(def))
    }
    /// The number of the place in the source that a fault in it is reported at.
    pub(crate) fn place(&self) -> Option<i64> {
        (self.def.attrs.first() == Some(&"place")).then(|| self.int(0))
    }
    /// The operation without that place: what it computes.
    pub(crate) fn anywhere(&self) -> Op {
        let mut op = self.clone();
        if self.place().is_some() {
            op.attrs[0] = Attr::Int(0);
        }
        op
    }
    /// Whether the operation is linear, or made of pieces that are: its derivative is finite where its arguments are numbers.
    pub(crate) fn is_piecewise_linear(&self) -> bool {
        let pieces = [
            "add", "sub", "neg", "abs", "relu", "maximum", "minimum", "fmax", "fmin", "select", "cast", "copy",
            "detach", "after",
        ];
        matches!(self.def.derivative, Derivative::Zero | Derivative::Linear(_)) || pieces.contains(&self.name())
    }
    /// The same with each sub-graph replaced.
    ///
    /// # Errors
    /// Those of `f`.
    pub(crate) fn map_graphs(&self, mut f: impl FnMut(&Graph) -> Result<Graph>) -> Result<Op> {
        let mut op = self.clone();
        for a in &mut op.attrs {
            if let Attr::Graph(g) = a {
                *g = Arc::new(f(g)?);
            }
        }
        Ok(op)
    }
    /// The result type, after checking the number of arguments and the kinds of the attributes.
    ///
    /// # Errors
    /// What the shape rule finds wrong.
    pub fn infer(&self, args: &[&Ty]) -> Result<Ty> {
        if self.def.arity != VARIADIC && self.def.arity != args.len() {
            let (want, got) = (self.def.arity, args.len());
            return Err(Error::value(self.name(), format!("expected {want} arguments, found {got}")));
        }
        if !self.attrs_fit() {
            return Err(Error::value(
                self.name(),
                format!("expected attributes {:?}, found {:?}", self.def.attrs, self.attrs),
            ));
        }
        (self.def.infer)(self, args)
    }
    /// Whether the static arguments are all there and of the kinds that their names stand for: graphs come
    /// from text too, and the shape rules read them without a check.
    fn attrs_fit(&self) -> bool {
        let fits = |(name, a): (&&str, &Attr)| match *name {
            "dims" | "shape" | "perm" | "strides" | "base" | "stride" | "padding" | "dilation" | "wrt" => {
                matches!(a, Attr::Ints(_))
            }
            "dtype" => matches!(a, Attr::DType(_)),
            "bits" => matches!(a, Attr::Bits(_)),
            "then" | "else" | "cond" | "body" | "backward" => matches!(a, Attr::Graph(_)),
            "function" => matches!(a, Attr::Graph(_) | Attr::Own(_)),
            "left" => matches!(a, Attr::Own(_)),
            _ => matches!(a, Attr::Int(_)),
        };
        self.attrs.len() == self.def.attrs.len() && self.def.attrs.iter().zip(&self.attrs).all(fits)
    }
}

impl PartialEq for Op {
    fn eq(&self, other: &Op) -> bool {
        std::ptr::eq(self.def, other.def) && self.attrs == other.attrs
    }
}
impl Eq for Op {}
impl Hash for Op {
    fn hash<H: Hasher>(&self, h: &mut H) {
        std::ptr::from_ref(self.def).hash(h);
        self.attrs.hash(h);
    }
}
impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.name(), self.attrs)
    }
}
impl fmt::Debug for OpDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// An operation that is evaluated on windows of stored elements and has no native form.
const fn library(
    name: &'static str,
    attrs: &'static [&'static str],
    arity: usize,
    infer: fn(&Op, &[&Ty]) -> Result<Ty>,
    eval: fn(&Op, &[Operand<'_>], &Ty) -> Result<Data>,
    derivative: Derivative,
    saves: u32,
) -> OpDef {
    OpDef { name, attrs, arity, infer, eval: Eval::Windows(eval), derivative, saves, lower: Lower::Library }
}

/// The axis that attribute 0 names, checked.
fn dim_of(op: &Op, ty: &Ty) -> Result<usize> {
    match usize::try_from(op.int(0)) {
        Ok(d) if d < ty.rank() => Ok(d),
        _ => Err(Error::value(op.name(), format!("expected a dim below {}, found {}", ty.rank(), op.int(0)))),
    }
}

/// Every declared operation, family by family.
pub fn all() -> impl Iterator<Item = &'static OpDef> {
    let families: [&[&'static OpDef]; 20] = [
        create::ALL,
        arith::ALL,
        elementary::ALL,
        compare::ALL,
        reduce::ALL,
        views::ALL,
        linalg::ALL,
        conv::ALL,
        random::ALL,
        index::ALL,
        control::ALL,
        window::ALL,
        custom::ALL,
        integer::ALL,
        list::ALL,
        hold::ALL,
        special::ALL,
        scan::ALL,
        order::ALL,
        factor::ALL,
    ];
    families.into_iter().flatten().copied()
}

/// The declaration of a name.
pub fn find(name: &str) -> Option<&'static OpDef> {
    static TABLE: LazyLock<rustc_hash::FxHashMap<&'static str, &'static OpDef>> =
        LazyLock::new(|| all().map(|d| (d.name, d)).collect());
    TABLE.get(name).copied()
}

/// The layout of a view operation's result on its argument's storage, or `None` where only a copy does.
pub fn view_layout(op: &Op, arg: &Layout, arg_ty: &Ty, out: &Ty) -> Option<Layout> {
    let Lower::View(f) = &op.def.lower else { return None };
    if op.is(&views::RESHAPE) {
        return views::reshape_layout(arg, &out.shape);
    }
    let map = f(op, arg_ty, out)?;
    let mut layout = Layout { shape: out.shape.clone(), strides: SmallVec::from_elem(0, out.rank()), offset: 0 };
    let mut offset = arg.offset as i64;
    for (a, &s) in map.iter().zip(&arg.strides) {
        offset += a.offset * s as i64;
        for (o, c) in layout.strides.iter_mut().zip(&a.coef) {
            *o += *c as isize * s;
        }
    }
    if layout.shape.contains(&0) {
        offset = 0;
    }
    layout.offset = usize::try_from(offset).ok()?;
    Some(layout)
}

/// Shape rules shared by several families.
pub(crate) mod infer {
    use super::{Error, Op, Result, Ty};
    use crate::ty::{DType, Shape, broadcast, same_shape};

    #[inline]
    pub fn same_dtype(op: &Op, args: &[&Ty]) -> Result<DType> {
        let d = args[0].dtype;
        match args.iter().find(|a| a.dtype != d) {
            Some(a) => Err(Error::dtype(op.name(), d.name(), a.dtype)),
            None => Ok(d),
        }
    }
    pub fn float(op: &Op, ty: &Ty) -> Result<()> {
        if ty.dtype.is_float() { Ok(()) } else { Err(Error::dtype(op.name(), "f32 or f64", ty.dtype)) }
    }
    #[inline]
    pub fn broadcast_all(op: &Op, args: &[&Ty]) -> Result<Shape> {
        // the common case: one shape, or scalars beside it
        let largest = args.iter().fold(args[0], |m, a| if a.rank() > m.rank() { a } else { m });
        if args.iter().all(|&a| a.rank() == 0 || std::ptr::eq(a, largest) || same_shape(&a.shape, &largest.shape)) {
            return Ok(Shape::from_slice(&largest.shape));
        }
        broadcast_each(op, args)
    }
    fn broadcast_each(op: &Op, args: &[&Ty]) -> Result<Shape> {
        let mut shape = args[0].shape.clone();
        for a in &args[1..] {
            shape = broadcast(&shape, &a.shape).ok_or_else(|| {
                let found = format!("{:?} and {:?}", shape.as_slice(), a.shape.as_slice());
                Error::shape(op.name(), "shapes that broadcast", found)
            })?;
        }
        Ty::new(args[0].dtype, &shape).map(|t| t.shape)
    }
    /// Elementwise over numbers of one type.
    pub fn numeric(op: &Op, args: &[&Ty]) -> Result<Ty> {
        let dtype = same_dtype(op, args)?;
        if dtype == DType::Bool {
            return Err(Error::dtype(op.name(), "f32, f64 or i64", dtype));
        }
        Ok(Ty { dtype, shape: broadcast_all(op, args)? })
    }
    /// Elementwise over floats of one type.
    pub fn floats(op: &Op, args: &[&Ty]) -> Result<Ty> {
        let dtype = same_dtype(op, args)?;
        float(op, args[0])?;
        Ok(Ty { dtype, shape: broadcast_all(op, args)? })
    }
}
