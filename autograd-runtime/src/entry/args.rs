//! Arguments of entry points as lists of leaves. [`Arg`] says, for each type of parameter, what its leaves
//! are, what the twin sees in its place, and what its gradient looks like; every method goes through the
//! leaves in the same order.

use super::key::Sink;
pub use crate::program::Slots;
use crate::{
    Error, Place, Result,
    array::{Element, Float},
    program::Results,
    real::Real,
    session,
    tensor::{Repr, Tensor, Value},
    ty::{DType, Ty},
};
use smallvec::SmallVec;
use std::hash::Hash;

/// A type of parameter of an annotated function.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no parameter of a differentiable function",
    note = "derive it: `#[derive(Differentiable)]`, or mark the parameter `#[constant]` (then it must be Hash + Eq + Clone)"
)]
pub trait Arg {
    /// What the staged twin sees, owned.
    type Twin;
    /// The gradient, owned.
    type Grad;
    /// What a gradient is written into.
    type GradBuf: ?Sized;
    /// Reports the leaves and static values.
    fn visit(&self, v: &mut Visitor<'_>);
    /// The leaves of a type that has only scalars, always as many, and lists of any length, and nothing static: with them a call
    /// needs no key.
    #[inline]
    fn slots<'s>(&self, s: &mut Slots<'s>)
    where
        Self: 's,
    {
        s.refuse();
    }
    /// Reports the leaves of all items of a sequence.
    #[doc(hidden)]
    fn visit_all(items: &[Self], v: &mut Visitor<'_>)
    where
        Self: Sized,
    {
        items.iter().for_each(|a| a.visit(v));
    }
    /// As [`Arg::slots`], of all items of a sequence.
    #[doc(hidden)]
    #[inline]
    fn slots_all<'s>(items: &[Self], s: &mut Slots<'s>)
    where
        Self: Sized + 's,
    {
        items.iter().for_each(|a| a.slots(s));
    }
    /// The twin, made of the next leaves.
    fn lift(&self, l: &mut Lifter<'_>) -> Self::Twin;
    /// The gradient, made of the next results.
    fn collect(&self, g: &mut GradReader<'_>) -> Self::Grad;
    /// As [`Arg::collect`], of all items of an array.
    #[doc(hidden)]
    #[inline]
    fn collect_all<const N: usize>(items: &[Self; N], g: &mut GradReader<'_>) -> [Self::Grad; N]
    where
        Self: Sized,
    {
        std::array::from_fn(|i| items[i].collect(g))
    }
    /// Connects the caller's buffers with the next results.
    fn bind(out: &mut Self::GradBuf, b: &mut Binder<'_>);
    /// Whether buffers have the lengths of this argument; tensors are compared later.
    fn fits(&self, _out: &Self::GradBuf) -> bool {
        true
    }
}

/// The value of a leaf on its way in.
#[derive(Clone, Debug)]
pub(crate) enum LeafIn {
    /// A scalar's bits.
    Bits(DType, u64),
    /// A tensor.
    Tensor(Value),
    /// The elements of a list, whose length is no part of the key.
    List(Value),
}

impl LeafIn {
    pub fn dtype(&self) -> DType {
        match self {
            LeafIn::Bits(d, _) => *d,
            LeafIn::Tensor(v) | LeafIn::List(v) => v.ty().dtype,
        }
    }
    /// The type that a program takes.
    pub fn ty(&self) -> Ty {
        match self {
            LeafIn::Bits(d, _) => Ty::scalar(*d),
            LeafIn::Tensor(v) => v.ty().clone(),
            LeafIn::List(v) => Ty::list(v.ty().dtype),
        }
    }
    /// Whether the other has its type and its shape or length.
    pub fn is_like(&self, other: &LeafIn) -> bool {
        match (self, other) {
            (LeafIn::Bits(d, _), LeafIn::Bits(other, _)) => d == other,
            (LeafIn::List(v), LeafIn::List(other)) => v.ty() == other.ty(),
            // a tensor may be one number
            (v, other) => v.ty() == other.ty(),
        }
    }
    pub fn tensor(&self) -> Option<&Value> {
        if let LeafIn::Tensor(v) | LeafIn::List(v) = self { Some(v) } else { None }
    }
    pub fn value(&self) -> Value {
        match self {
            LeafIn::Bits(d, bits) => Value::stored(crate::array::Array::full(&Ty::scalar(*d), *bits)),
            LeafIn::Tensor(v) | LeafIn::List(v) => v.clone(),
        }
    }
}

/// Leaves in order. Few are kept on the stack: a call of a small function moves little.
pub(crate) type LeafList = SmallVec<[LeafIn; 4]>;

/// Collects the leaves of arguments and the key of the program they need.
pub struct Visitor<'v> {
    pub(crate) leaves: LeafList,
    pub(crate) key: Sink<'v>,
    /// The parameter of each leaf, for those who ask.
    pub(crate) params: Option<Vec<u8>>,
    param: usize,
    /// Whether a leaf is a value of a running trace or is tracked.
    pub(crate) nested: bool,
    /// Whether all leaves are scalars.
    pub(crate) scalars: bool,
    /// Whether lists are scalars of their own, and integers and lengths part of the key (see `rolled`).
    pub(crate) listed: bool,
    /// Whether there is a list or an integer that is no part of the key.
    pub(crate) rolled: bool,
    /// Whether sequences of scalars that are not short are one leaf.
    pub(crate) whole: bool,
}

/// Shorter sequences are never one leaf.
const WHOLE: usize = 16;

impl<'v> Visitor<'v> {
    #[inline]
    pub(crate) fn new(key: Sink<'v>) -> Self {
        Visitor {
            leaves: SmallVec::new(),
            key,
            params: None,
            param: 0,
            nested: false,
            scalars: true,
            listed: false,
            rolled: false,
            whole: false,
        }
    }
    /// The same with lists as items of their own, or not.
    #[inline]
    pub(crate) fn listed(mut self, listed: bool) -> Self {
        self.set_listed(listed);
        self
    }
    /// As [`Visitor::listed`], in place: a visitor is large.
    #[inline]
    pub(crate) fn set_listed(&mut self, listed: bool) {
        self.listed = listed;
        if listed {
            self.key.mark_listed();
        }
    }
    /// The parameter that the next leaves belong to.
    #[inline]
    pub fn param(&mut self, index: usize) {
        self.param = index;
    }
    #[inline(always)]
    fn scalar(&mut self, dtype: DType, bits: u64) {
        self.push(LeafIn::Bits(dtype, bits));
    }
    #[inline]
    fn push(&mut self, leaf: LeafIn) {
        if let Some(p) = &mut self.params {
            p.push(u8::try_from(self.param).unwrap_or(u8::MAX));
        }
        self.leaves.push(leaf);
    }
    /// An integer that is no part of the key.
    #[inline]
    pub(crate) fn integer(&mut self, x: i64) {
        self.rolled = true;
        self.scalar(DType::I64, x.cast_unsigned());
    }
    /// A list whose length is no part of the key.
    pub(crate) fn list<T: Float>(&mut self, x: &[T]) {
        self.rolled = true;
        self.scalars = false;
        self.push(LeafIn::List(stored(x)));
    }
    fn tensor(&mut self, v: &Value) {
        self.scalars = false;
        self.nested |= matches!(v.repr(), Repr::Traced { .. }) || (session::is_running() && v.requires_grad());
        self.key.tensor(v.ty());
        self.push(LeafIn::Tensor(v.clone()));
    }
}

/// The elements of a list.
fn stored<T: Float>(x: &[T]) -> Value {
    let mut data = crate::tensor::pool::take(T::DTYPE, x.len());
    if let Some(to) = T::slice_mut(&mut data) {
        to.copy_from_slice(x);
    }
    Value::from_data(Ty { dtype: T::DTYPE, shape: smallvec::smallvec![x.len()] }, data)
}

/// Hands out lifted leaves.
pub struct Lifter<'l> {
    pub(crate) leaves: &'l mut dyn Iterator<Item = Value>,
    /// As [`Visitor`]'s.
    pub(crate) listed: bool,
}
impl Lifter<'_> {
    /// The parameter that the next leaves belong to.
    pub fn param(&mut self, _index: usize) {}
    pub(crate) fn next(&mut self) -> Value {
        self.leaves.next().expect("as many leaves as were visited")
    }
}

/// A result on its way out.
#[derive(Clone, Debug)]
pub(crate) enum OutVal {
    /// A scalar's bits.
    Bits(u64),
    /// A tensor.
    Tensor(Value),
}

/// Where results are read from.
pub(crate) enum Source<'o> {
    /// Scalars and lists in slots.
    Slots(Results<'o>),
    Iter(&'o mut dyn Iterator<Item = OutVal>),
}
impl Source<'_> {
    /// The next scalar, zero where there is none.
    #[inline(always)]
    pub fn scalar<T: Float>(&mut self) -> T {
        match self {
            Source::Slots(r) => T::from_bits(r.scalar().unwrap_or_default()),
            Source::Iter(items) => scalar_from(items.next()),
        }
    }
    /// The next scalars.
    #[inline(always)]
    fn scalars<T: Float, const N: usize>(&mut self) -> [T; N] {
        if let Source::Slots(r) = self
            && let Some(bits) = r.scalars::<N>()
        {
            return std::array::from_fn(|k| T::from_bits(bits[k]));
        }
        std::array::from_fn(|_| self.scalar())
    }
    /// The elements of the next list.
    fn with_list<T: Float, R>(&mut self, f: impl FnOnce(&[T]) -> R) -> R {
        if let Source::Slots(r) = self {
            return f(r.list());
        }
        match self.next() {
            Some(OutVal::Tensor(v)) => v.with_elements(f),
            _ => f(&[]),
        }
    }
    pub fn tensor<T: Element>(&mut self) -> Tensor<T> {
        match self.next() {
            Some(OutVal::Tensor(v)) => Tensor::from_value(v),
            Some(OutVal::Bits(b)) => Tensor::scalar(T::from_bits(b)),
            None => Tensor::scalar(T::default()),
        }
    }
    pub fn next(&mut self) -> Option<OutVal> {
        match self {
            Source::Slots(r) => match r.is_list() {
                None => r.scalar().map(OutVal::Bits),
                Some(DType::F32) => Some(OutVal::Tensor(stored(r.list::<f32>()))),
                Some(_) => Some(OutVal::Tensor(stored(r.list::<f64>()))),
            },
            Source::Iter(i) => i.next(),
        }
    }
}

#[inline(never)]
fn scalar_from<T: Float>(out: Option<OutVal>) -> T {
    match out {
        Some(OutVal::Bits(bits)) => T::from_bits(bits),
        Some(OutVal::Tensor(v)) => scalar_of(&v),
        None => T::default(),
    }
}

/// Hands out gradients.
pub struct GradReader<'g> {
    pub(crate) grads: Source<'g>,
    /// As [`Visitor`]'s.
    pub(crate) listed: bool,
}
impl GradReader<'_> {
    /// The elements of a list.
    pub(crate) fn list<T: Float>(&mut self) -> Vec<T> {
        self.grads.with_list(<[T]>::to_vec)
    }
    #[inline(always)]
    fn scalar<T: Float>(&mut self) -> T {
        self.grads.scalar()
    }
    pub(crate) fn tensor<T: Float>(&mut self) -> Tensor<T> {
        self.grads.tensor()
    }
}

pub(crate) fn scalar_of<T: Element>(v: &Value) -> T {
    v.with_elements(|all: &[T]| all.first().copied().unwrap_or_default())
}

/// Goes over the caller's buffers twice: first to learn the tensors that results are written into directly,
/// then to write the scalars.
pub struct Binder<'b> {
    pub(crate) pass: BindPass<'b>,
    /// As [`Visitor`]'s; what is learnt of a list is that of its items.
    pub(crate) listed: bool,
}
pub(crate) enum BindPass<'b> {
    Learn(&'b mut Destinations),
    Write(Source<'b>),
}
/// The destination of each gradient leaf; `None` for scalars. Those after the last tensor are only counted: a slice may be
/// long.
#[derive(Default)]
pub(crate) struct Destinations {
    pub all: SmallVec<[Option<Value>; 8]>,
    scalars: usize,
}
impl Binder<'_> {
    fn scalar<T: Float>(&mut self, out: &mut T) {
        match &mut self.pass {
            BindPass::Learn(d) => d.scalars += 1,
            BindPass::Write(r) => *out = r.scalar(),
        }
    }
    /// Whether a list is now as many scalars.
    pub(crate) fn listed(&self) -> bool {
        self.listed || matches!(self.pass, BindPass::Learn(_))
    }
    /// The elements of a list.
    pub(crate) fn list<T: Float>(&mut self, out: &mut [T]) {
        if let BindPass::Write(r) = &mut self.pass {
            r.with_list(|elements: &[T]| out.iter_mut().zip(elements).for_each(|(o, x)| *o = *x));
        }
    }
    /// The next result, of a buffer that is no tensor, once there are results.
    pub(crate) fn copied<T: Float>(&mut self) -> Option<Tensor<T>> {
        match &mut self.pass {
            BindPass::Learn(d) => {
                d.scalars += 1;
                None
            }
            BindPass::Write(r) => Some(r.tensor()),
        }
    }
    fn tensor<T: Float>(&mut self, out: &mut Tensor<T>) {
        match &mut self.pass {
            BindPass::Learn(d) => {
                d.all.extend(std::iter::repeat_n(None, std::mem::take(&mut d.scalars)));
                d.all.push(Some(out.value().clone()));
            }
            BindPass::Write(r) => {
                // the dynamic engine gives a new tensor
                if let Some(OutVal::Tensor(v)) = r.next()
                    && !v.same(out.value())
                {
                    *out = Tensor::from_value(v);
                }
            }
        }
    }
}

macro_rules! floats {
    ($($f:ty),*) => {$(
        impl Arg for $f {
            type Twin = Real<$f>;
            type Grad = $f;
            type GradBuf = $f;
            #[inline]
            fn visit(&self, v: &mut Visitor<'_>) { v.scalar(<$f>::DTYPE, self.bits()); }
            #[inline]
            fn visit_all(items: &[$f], v: &mut Visitor<'_>) {
                if v.whole && items.len() >= WHOLE { v.key.list(<$f>::DTYPE); v.list(items) } else { items.iter().for_each(|a| a.visit(v)) }
            }
            #[inline]
            fn slots<'s>(&self, s: &mut Slots<'s>) where Self: 's { s.scalar(self.bits()); }
            #[inline]
            fn slots_all<'s>(items: &[$f], s: &mut Slots<'s>) where Self: 's { s.scalars(items); }
            #[inline]
            fn collect_all<const N: usize>(_: &[$f; N], g: &mut GradReader<'_>) -> [$f; N] { g.grads.scalars() }
            fn lift(&self, l: &mut Lifter<'_>) -> Real<$f> { Real::from_value(l.next()) }
            #[inline(always)]
            fn collect(&self, g: &mut GradReader<'_>) -> $f { g.scalar() }
            fn bind(out: &mut $f, b: &mut Binder<'_>) { b.scalar(out); }
        }
    )*};
}
floats!(f32, f64);

impl<T: Float> Arg for Tensor<T> {
    type Twin = Tensor<T>;
    type Grad = Tensor<T>;
    type GradBuf = Tensor<T>;
    fn visit(&self, v: &mut Visitor<'_>) {
        v.tensor(self.value());
    }
    fn lift(&self, l: &mut Lifter<'_>) -> Self {
        Tensor::from_value(l.next())
    }
    fn collect(&self, g: &mut GradReader<'_>) -> Self {
        g.tensor()
    }
    fn bind(out: &mut Self, b: &mut Binder<'_>) {
        b.tensor(out);
    }
}
/// Data without a gradient.
macro_rules! data_tensors {
    ($($t:ty),*) => {$(
        impl Arg for Tensor<$t> {
            type Twin = Tensor<$t>;
            type Grad = ();
            type GradBuf = ();
            fn visit(&self, v: &mut Visitor<'_>) { v.tensor(self.value()); }
            fn lift(&self, l: &mut Lifter<'_>) -> Self { Tensor::from_value(l.next()) }
            fn collect(&self, _: &mut GradReader<'_>) {}
            fn bind(_: &mut (), _: &mut Binder<'_>) {}
        }
    )*};
}
data_tensors!(i64, bool);

/// Static values: part of the key.
macro_rules! statics {
    ($($t:ty),*) => {$(
        impl Arg for $t {
            type Twin = $t;
            type Grad = ();
            type GradBuf = ();
            fn visit(&self, v: &mut Visitor<'_>) { v.key.fixed(*self); }
            fn lift(&self, _: &mut Lifter<'_>) -> $t { *self }
            fn collect(&self, _: &mut GradReader<'_>) {}
            fn bind(_: &mut (), _: &mut Binder<'_>) {}
        }
    )*};
}
statics!(bool, char, u8, u16, u32, u64, usize, i8, i16, i32, i64, isize);

macro_rules! strings {
    ($($t:ty),*) => {$(
        impl Arg for $t {
            type Twin = String;
            type Grad = ();
            type GradBuf = ();
            fn visit(&self, v: &mut Visitor<'_>) { v.key.text(self); }
            fn lift(&self, _: &mut Lifter<'_>) -> String { self.to_owned() }
            fn collect(&self, _: &mut GradReader<'_>) {}
            fn bind(_: &mut (), _: &mut Binder<'_>) {}
        }
    )*};
}
strings!(str, String);

/// A `#[constant]` parameter or field: static, of any type that can be a key.
pub struct Constant<'a, T>(pub &'a T);
impl<T: Hash + Eq + Clone + Send + Sync + 'static> Arg for Constant<'_, T> {
    type Twin = T;
    type Grad = T;
    type GradBuf = T;
    fn visit(&self, v: &mut Visitor<'_>) {
        v.key.constant(self.0);
    }
    fn lift(&self, _: &mut Lifter<'_>) -> T {
        self.0.clone()
    }
    fn collect(&self, _: &mut GradReader<'_>) -> T {
        self.0.clone()
    }
    fn bind(_: &mut T, _: &mut Binder<'_>) {}
}

impl<A: Arg + ?Sized> Arg for &A {
    type Twin = A::Twin;
    type Grad = A::Grad;
    type GradBuf = A::GradBuf;
    fn visit(&self, v: &mut Visitor<'_>) {
        A::visit(self, v);
    }
    #[inline]
    fn slots<'s>(&self, s: &mut Slots<'s>)
    where
        Self: 's,
    {
        A::slots(self, s);
    }
    fn lift(&self, l: &mut Lifter<'_>) -> A::Twin {
        A::lift(self, l)
    }
    fn collect(&self, g: &mut GradReader<'_>) -> A::Grad {
        A::collect(self, g)
    }
    fn bind(out: &mut A::GradBuf, b: &mut Binder<'_>) {
        A::bind(out, b);
    }
    fn fits(&self, out: &A::GradBuf) -> bool {
        A::fits(self, out)
    }
}

/// Sequences: the length is static.
macro_rules! sequences {
    ($($t:ty, $buf:ty;)*) => {$(
        impl<A: Arg<GradBuf: Sized>> Arg for $t {
            type Twin = Vec<A::Twin>;
            type Grad = Vec<A::Grad>;
            type GradBuf = $buf;
            fn visit(&self, v: &mut Visitor<'_>) {
                v.key.fixed(self.len());
                A::visit_all(self, v);
            }
            fn lift(&self, l: &mut Lifter<'_>) -> Self::Twin { self.iter().map(|a| a.lift(l)).collect() }
            fn collect(&self, g: &mut GradReader<'_>) -> Self::Grad { self.iter().map(|a| a.collect(g)).collect() }
            fn bind(out: &mut Self::GradBuf, b: &mut Binder<'_>) { out.iter_mut().for_each(|a| A::bind(a, b)); }
            fn fits(&self, out: &Self::GradBuf) -> bool {
                self.len() == out.len() && self.iter().zip(out).all(|(a, o)| a.fits(o))
            }
        }
    )*};
}
sequences! { [A], [A::GradBuf]; Vec<A>, Vec<A::GradBuf>; }
impl<A: Arg<GradBuf: Sized>, const N: usize> Arg for [A; N] {
    type Twin = [A::Twin; N];
    type Grad = [A::Grad; N];
    type GradBuf = [A::GradBuf; N];
    fn visit(&self, v: &mut Visitor<'_>) {
        A::visit_all(self, v);
    }
    #[inline]
    fn slots<'s>(&self, s: &mut Slots<'s>)
    where
        Self: 's,
    {
        A::slots_all(self, s);
    }
    fn lift(&self, l: &mut Lifter<'_>) -> Self::Twin {
        self.each_ref().map(|a| a.lift(l))
    }
    #[inline]
    fn collect(&self, g: &mut GradReader<'_>) -> Self::Grad {
        A::collect_all(self, g)
    }
    fn bind(out: &mut Self::GradBuf, b: &mut Binder<'_>) {
        out.iter_mut().for_each(|a| A::bind(a, b));
    }
    fn fits(&self, out: &Self::GradBuf) -> bool {
        self.iter().zip(out).all(|(a, o)| a.fits(o))
    }
}

impl<A: Arg<GradBuf: Sized>> Arg for Option<A> {
    type Twin = Option<A::Twin>;
    type Grad = Option<A::Grad>;
    type GradBuf = Option<A::GradBuf>;
    fn visit(&self, v: &mut Visitor<'_>) {
        v.key.fixed(self.is_some());
        self.iter().for_each(|a| a.visit(v));
    }
    fn lift(&self, l: &mut Lifter<'_>) -> Self::Twin {
        self.as_ref().map(|a| a.lift(l))
    }
    fn collect(&self, g: &mut GradReader<'_>) -> Self::Grad {
        self.as_ref().map(|a| a.collect(g))
    }
    fn bind(out: &mut Self::GradBuf, b: &mut Binder<'_>) {
        out.iter_mut().for_each(|a| A::bind(a, b));
    }
    fn fits(&self, out: &Self::GradBuf) -> bool {
        self.is_some() == out.is_some() && self.iter().zip(out).all(|(a, o)| a.fits(o))
    }
}

macro_rules! tuples {
    ($($($t:ident $i:tt),+;)*) => {$(
        impl<$($t: Arg<GradBuf: Sized>),+> Arg for ($($t,)+) {
            type Twin = ($($t::Twin,)+);
            type Grad = ($($t::Grad,)+);
            type GradBuf = ($($t::GradBuf,)+);
            fn visit(&self, v: &mut Visitor<'_>) { $(self.$i.visit(v);)+ }
            #[inline]
            fn slots<'s>(&self, s: &mut Slots<'s>) where Self: 's { $(self.$i.slots(s);)+ }
            fn lift(&self, l: &mut Lifter<'_>) -> Self::Twin { ($(self.$i.lift(l),)+) }
            fn collect(&self, g: &mut GradReader<'_>) -> Self::Grad { ($(self.$i.collect(g),)+) }
            fn bind(out: &mut Self::GradBuf, b: &mut Binder<'_>) { $($t::bind(&mut out.$i, b);)+ }
            fn fits(&self, out: &Self::GradBuf) -> bool { $(self.$i.fits(&out.$i))&&+ }
        }
    )*};
}
tuples! {
    A 0; A 0, B 1; A 0, B 1, C 2; A 0, B 1, C 2, D 3; A 0, B 1, C 2, D 3, E 4; A 0, B 1, C 2, D 3, E 4, F 5;
    A 0, B 1, C 2, D 3, E 4, F 5, G 6; A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7;
}

/// Checks a buffer that a result of this type is to be written into.
pub(crate) fn destination(v: &Value, ty: &Ty) -> Result<()> {
    session::needs_tape();
    if v.ty() != ty {
        return Err(Error::shape("grad_into", format!("a buffer of type {ty}"), v.ty().to_string()));
    }
    match v.repr() {
        Repr::Stored { storage, layout }
            if layout.is_contiguous() && layout.offset == 0 && storage.data.read().len() == ty.numel() =>
        {
            Ok(())
        }
        _ => Err(Error::value("grad_into", "expected a contiguous tensor as buffer, found a view")),
    }
}

/// Checks that buffers have the lengths of the arguments, where those are static.
#[doc(hidden)]
pub fn fit(fits: &[bool]) -> Result<()> {
    match fits.iter().position(|f| !f) {
        Some(i) => {
            Err(Error::value("grad_into", format!("expected buffer {i} of its parameter's length, found another")))
        }
        None => Ok(()),
    }
}

/// A leaf that a trace is asked for by plain code: its concrete value.
pub(crate) fn concrete(leaf: LeafIn) -> LeafIn {
    match leaf {
        LeafIn::Tensor(v) if matches!(v.repr(), Repr::Traced { .. }) => {
            session::opaque_read(&v, "an entry point is called with a traced tensor", Place::caller());
            LeafIn::Tensor(session::concrete(&v))
        }
        other => other,
    }
}
