//! Twins as lists of leaves: results of a staged twin are taken apart and put together again, and derivatives
//! inside annotated bodies run the twin on fresh leaves.

use super::args::{Arg, OutVal, Source};
use super::rolled::length_of;
use crate::{
    Error, Result,
    array::{Data, Element, Float},
    real::{Real, literal},
    tensor::{Tensor, Value},
};
use std::{any::Any, cell::OnceCell, fmt, sync::Arc};

/// One traced value of a twin.
#[derive(Clone, Debug)]
pub enum Leaf {
    /// A scalar.
    Real(Value),
    /// A tensor.
    Tensor(Value),
    /// A list as one value.
    List(Value),
}
impl Leaf {
    pub(crate) fn value(&self) -> &Value {
        match self {
            Leaf::Real(v) | Leaf::Tensor(v) | Leaf::List(v) => v,
        }
    }
    /// Another value in the same role.
    pub(crate) fn with(&self, v: Value) -> Leaf {
        match self {
            Leaf::Real(_) => Leaf::Real(v),
            Leaf::Tensor(_) => Leaf::Tensor(v),
            Leaf::List(_) => Leaf::List(v),
        }
    }
}

/// What a twin reports: its leaves, and its constants and lengths, in order.
#[derive(Default)]
pub struct Leaves {
    pub(crate) leaves: Vec<Leaf>,
    pub(crate) constants: Vec<Fixed>,
    /// Whether a list reports itself as one value, also if its items are values of their own.
    pack: bool,
    /// Whether one whose length is known reports its items, also if it is one value.
    spread: bool,
}
/// A static part of a result.
#[derive(Clone)]
pub(crate) struct Fixed(Arc<dyn Static>);
impl PartialEq for Fixed {
    fn eq(&self, o: &Fixed) -> bool {
        self.0.equals(&*o.0)
    }
}
trait Static: Send + Sync {
    fn as_any(&self) -> &dyn Any;
    fn equals(&self, o: &dyn Static) -> bool;
}
impl<T: PartialEq + Send + Sync + 'static> Static for T {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn equals(&self, o: &dyn Static) -> bool {
        o.as_any().downcast_ref::<T>() == Some(self)
    }
}

impl Leaves {
    /// A static part of the result.
    pub fn constant<T: Clone + PartialEq + Send + Sync + 'static>(&mut self, value: &T) {
        self.constants.push(Fixed(Arc::new(value.clone())));
    }
    /// A tensor.
    pub(crate) fn tensor(&mut self, v: Value) {
        self.leaves.push(Leaf::Tensor(v));
    }
    /// Those of a value.
    pub(crate) fn of(value: &impl Twinned) -> Leaves {
        let mut out = Leaves::default();
        value.leaves(&mut out);
        out
    }
    /// Those of a value whose lists are one value each.
    pub(crate) fn packed(value: &impl Twinned) -> Leaves {
        let mut out = Leaves { pack: true, ..Leaves::default() };
        value.leaves(&mut out);
        out
    }
    /// Those of a result: lists of a known length are items.
    pub(crate) fn spread(value: &impl Twinned) -> Leaves {
        let mut out = Leaves { spread: true, ..Leaves::default() };
        value.leaves(&mut out);
        out
    }
    /// See [`Leaves::spread`].
    pub(crate) fn spreads(&self) -> bool {
        self.spread
    }
    /// See [`Leaves::packed`].
    pub(crate) fn packs(&self) -> bool {
        self.pack
    }
    pub(crate) fn values(&self) -> Vec<Value> {
        self.leaves.iter().map(|l| l.value().clone()).collect()
    }
}

/// Hands out leaves.
pub type LeafReader<'a> = dyn Iterator<Item = Leaf> + 'a;

fn next(r: &mut LeafReader<'_>) -> Leaf {
    r.next().expect("as many leaves as were reported")
}

/// Hands out results in the order that the twin reported them.
pub struct OutReader<'o> {
    pub(crate) outs: Source<'o>,
    pub(crate) constants: &'o mut dyn Iterator<Item = &'o Fixed>,
}
impl OutReader<'_> {
    /// A static part of the result.
    pub fn constant<T: Clone + 'static>(&mut self) -> T {
        let c = self.constants.next().expect("as many constants as were reported");
        c.0.as_any().downcast_ref::<T>().expect("the type that was reported").clone()
    }
    /// The length of a sequence; none of a list that is one result.
    fn length(&mut self) -> Option<usize> {
        let c = self.constants.next().expect("as many constants as were reported");
        length_of(c.0.as_any())
    }
    #[inline(always)]
    fn scalar<T: Float>(&mut self) -> T {
        self.outs.scalar()
    }
    pub(crate) fn tensor<T: Element>(&mut self) -> Tensor<T> {
        self.outs.tensor()
    }
}

/// A declared type of result.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no result of a differentiable function",
    note = "results are floats, tensors, arrays, vectors and tuples of them, and derived structs"
)]
pub trait Out: 'static {
    /// What `value` returns.
    type Value;
    /// What a pull-back takes: scalars by value, tensors and sequences by reference.
    type Ct<'c>: Arg;
    /// Puts it together.
    fn read(r: &mut OutReader<'_>) -> Self::Value;
    /// The items of a list.
    fn read_list(list: &Elements) -> Vec<Self::Value> {
        let data = &list.0;
        let mut items = (0..data.len()).filter_map(|i| data.bits(i).map(OutVal::Bits));
        let mut r = OutReader { outs: Source::Iter(&mut items), constants: &mut [].iter() };
        (0..data.len()).map(|_| Self::read(&mut r)).collect()
    }
}

/// The elements of a result that is a list.
pub struct Elements(Data);

/// A value of a twin: it can be taken apart, and built again with other leaves.
pub trait Twinned {
    /// Reports the leaves and constants.
    fn leaves(&self, out: &mut Leaves);
    /// The same with other leaves.
    #[allow(clippy::wrong_self_convention)]
    fn from_leaves(&self, next: &mut LeafReader<'_>) -> Self;
}

/// What a twin returns: a value, or a `Result` of one.
pub trait Outcome {
    /// The value.
    type Value: Twinned;
    /// The value or the error.
    fn outcome(self) -> Result<Self::Value>;
}

/// The twin of `A`, or the plain form of it.
pub trait IntoTwin<A: Arg + ?Sized> {
    /// The twin.
    fn into_twin(self) -> A::Twin;
}

/// What a twin may pass where an annotated function takes `&A`: the twin of `A`, or something that a twin is
/// made of, which is then kept in the slot.
#[diagnostic::on_unimplemented(message = "`{Self}` is not the twin of `{A}`")]
pub trait AsTwin<A: Arg + ?Sized> {
    /// The twin.
    fn as_twin<'s>(&'s self, slot: &'s Slot) -> &'s A::Twin;
}

/// A place of the caller's for a twin that is made on the way into a call.
#[derive(Default)]
pub struct Slot(OnceCell<Box<dyn Any>>);
impl Slot {
    /// An empty place.
    pub fn new() -> Slot {
        Slot::default()
    }
    pub(crate) fn keep<T: 'static>(&self, make: impl FnOnce() -> T) -> &T {
        self.0.get_or_init(|| Box::new(make())).downcast_ref().expect("a slot is used once")
    }
}

impl Twinned for () {
    fn leaves(&self, _: &mut Leaves) {}
    fn from_leaves(&self, _: &mut LeafReader<'_>) {}
}

macro_rules! outcomes {
    ($([$($g:tt)*] $t:ty;)*) => {$(
        impl<$($g)*> Outcome for $t { type Value = Self; fn outcome(self) -> Result<Self> { Ok(self) } }
    )*};
}
outcomes! { [T: Float] Real<T>; [T: Element] Tensor<T>; [A: Twinned, const N: usize] [A; N]; [A: Twinned] Vec<A>; }
impl<A: Twinned, E: fmt::Display> Outcome for std::result::Result<A, E> {
    type Value = A;
    fn outcome(self) -> Result<A> {
        self.map_err(|e| Error::Autograd(e.to_string()))
    }
}
impl<A: Out, E: 'static> Out for std::result::Result<A, E> {
    type Value = A::Value;
    type Ct<'c> = A::Ct<'c>;
    fn read(r: &mut OutReader<'_>) -> Self::Value {
        A::read(r)
    }
}

macro_rules! floats {
    ($($f:ty),*) => {$(
        impl Out for $f { type Value = $f; type Ct<'c> = $f; #[inline]
            fn read(r: &mut OutReader<'_>) -> $f { r.scalar() }
            fn read_list(list: &Elements) -> Vec<$f> {
                <$f>::of_slice(list.0.slice()).map_or_else(Vec::new, <[$f]>::to_vec)
            } }
        impl IntoTwin<$f> for $f { fn into_twin(self) -> Real<$f> { literal(self) } }
        impl IntoTwin<$f> for Real<$f> { fn into_twin(self) -> Real<$f> { self } }
    )*};
}
floats!(f32, f64);
impl<T: Float> Twinned for Real<T> {
    fn leaves(&self, out: &mut Leaves) {
        out.leaves.push(Leaf::Real(self.value()));
    }
    fn from_leaves(&self, r: &mut LeafReader<'_>) -> Self {
        Real::from_value(next(r).value().clone())
    }
}
impl<T: Element> Out for Tensor<T>
where
    Tensor<T>: Arg,
{
    type Value = Tensor<T>;
    type Ct<'c> = &'c Tensor<T>;
    fn read(r: &mut OutReader<'_>) -> Self {
        r.tensor()
    }
}
impl<T: Element> Twinned for Tensor<T> {
    fn leaves(&self, out: &mut Leaves) {
        out.leaves.push(Leaf::Tensor(self.value().clone()));
    }
    fn from_leaves(&self, r: &mut LeafReader<'_>) -> Self {
        Tensor::from_value(next(r).value().clone())
    }
}
impl<T: Element> IntoTwin<Tensor<T>> for Tensor<T>
where
    Tensor<T>: Arg<Twin = Tensor<T>>,
{
    fn into_twin(self) -> Self {
        self
    }
}

macro_rules! statics {
    ($($t:ty),*) => {$(
        impl Twinned for $t {
            fn leaves(&self, out: &mut Leaves) { out.constant(self); }
            fn from_leaves(&self, _: &mut LeafReader<'_>) -> Self { self.clone() }
        }
        impl Out for $t { type Value = $t; type Ct<'c> = $t; fn read(r: &mut OutReader<'_>) -> $t { r.constant() } }
        impl IntoTwin<$t> for $t { fn into_twin(self) -> $t { self } }
    )*};
}
statics!(bool, char, String, u8, u16, u32, u64, usize, i8, i16, i32, i64, isize);

impl<A: Out<Value: Arg<GradBuf: Sized> + 'static>> Out for Vec<A> {
    type Value = Vec<A::Value>;
    type Ct<'c> = &'c Vec<A::Value>;
    fn read(r: &mut OutReader<'_>) -> Self::Value {
        if let Some(n) = r.length() {
            return (0..n).map(|_| A::read(r)).collect();
        }
        // a list is one of floats
        let Some(OutVal::Tensor(list)) = r.outs.next() else { return Vec::new() };
        A::read_list(&Elements(list.to_array().into_data()))
    }
}
impl<A: Twinned> Twinned for Vec<A> {
    fn leaves(&self, out: &mut Leaves) {
        out.constant(&self.len());
        self.iter().for_each(|a| a.leaves(out));
    }
    fn from_leaves(&self, next: &mut LeafReader<'_>) -> Self {
        self.iter().map(|a| a.from_leaves(next)).collect()
    }
}
impl<X: IntoTwin<A>, A: Arg<GradBuf: Sized>> IntoTwin<Vec<A>> for Vec<X> {
    fn into_twin(self) -> Vec<A::Twin> {
        self.into_iter().map(X::into_twin).collect()
    }
}

impl<A: Out<Value: Arg<GradBuf: Sized> + 'static>, const N: usize> Out for [A; N] {
    type Value = [A::Value; N];
    type Ct<'c> = &'c [A::Value; N];
    fn read(r: &mut OutReader<'_>) -> Self::Value {
        std::array::from_fn(|_| A::read(r))
    }
}
impl<A: Twinned, const N: usize> Twinned for [A; N] {
    fn leaves(&self, out: &mut Leaves) {
        self.iter().for_each(|a| a.leaves(out));
    }
    fn from_leaves(&self, next: &mut LeafReader<'_>) -> Self {
        std::array::from_fn(|i| self[i].from_leaves(next))
    }
}
impl<X: IntoTwin<A>, A: Arg<GradBuf: Sized>, const N: usize> IntoTwin<[A; N]> for [X; N] {
    fn into_twin(self) -> [A::Twin; N] {
        self.map(X::into_twin)
    }
}

impl<A: Out<Value: Arg<GradBuf: Sized> + 'static>> Out for Option<A> {
    type Value = Option<A::Value>;
    type Ct<'c> = &'c Option<A::Value>;
    fn read(r: &mut OutReader<'_>) -> Self::Value {
        r.constant::<bool>().then(|| A::read(r))
    }
}
impl<A: Twinned> Twinned for Option<A> {
    fn leaves(&self, out: &mut Leaves) {
        out.constant(&self.is_some());
        self.iter().for_each(|a| a.leaves(out));
    }
    fn from_leaves(&self, next: &mut LeafReader<'_>) -> Self {
        self.as_ref().map(|a| a.from_leaves(next))
    }
}

macro_rules! tuples {
    ($($($t:ident $x:ident $i:tt),+;)*) => {$(
        impl<$($t: Twinned),+> Outcome for ($($t,)+) { type Value = Self; fn outcome(self) -> Result<Self> { Ok(self) } }
        impl<$($t: for<'c> Out<Ct<'c>: Arg<GradBuf: Sized>>),+> Out for ($($t,)+) {
            type Value = ($($t::Value,)+);
            type Ct<'c> = ($($t::Ct<'c>,)+);
            fn read(r: &mut OutReader<'_>) -> Self::Value { ($($t::read(r),)+) }
        }
        impl<$($t: Twinned),+> Twinned for ($($t,)+) {
            fn leaves(&self, out: &mut Leaves) { $(self.$i.leaves(out);)+ }
            fn from_leaves(&self, next: &mut LeafReader<'_>) -> Self { ($(self.$i.from_leaves(next),)+) }
        }
        impl<$($x: IntoTwin<$t>, $t: Arg<GradBuf: Sized>),+> IntoTwin<($($t,)+)> for ($($x,)+) {
            fn into_twin(self) -> ($($t::Twin,)+) { ($(self.$i.into_twin(),)+) }
        }
    )*};
}
tuples! {
    A X0 0; A X0 0, B X1 1; A X0 0, B X1 1, C X2 2; A X0 0, B X1 1, C X2 2, D X3 3;
    A X0 0, B X1 1, C X2 2, D X3 3, E X4 4; A X0 0, B X1 1, C X2 2, D X3 3, E X4 4, F X5 5;
    A X0 0, B X1 1, C X2 2, D X3 3, E X4 4, F X5 5, G X6 6;
    A X0 0, B X1 1, C X2 2, D X3 3, E X4 4, F X5 5, G X6 6, H X7 7;
}

impl<X: IntoTwin<A> + Clone, A: Arg<GradBuf: Sized, Twin: 'static>> AsTwin<[A]> for [X] {
    fn as_twin<'s>(&'s self, slot: &'s Slot) -> &'s Vec<A::Twin> {
        slot.keep(|| self.iter().cloned().map(X::into_twin).collect())
    }
}
impl<X, A: Arg<Twin = X, GradBuf: Sized>> AsTwin<[A]> for Vec<X> {
    fn as_twin<'s>(&'s self, _: &'s Slot) -> &'s Vec<X> {
        self
    }
}
impl<X: IntoTwin<A> + Clone, A: Arg<GradBuf: Sized, Twin: 'static>, const N: usize> AsTwin<[A]> for [X; N] {
    fn as_twin<'s>(&'s self, slot: &'s Slot) -> &'s Vec<A::Twin> {
        self[..].as_twin(slot)
    }
}
impl<X: IntoTwin<A> + Clone, A: Arg<GradBuf: Sized, Twin: 'static>, const N: usize> AsTwin<[A; N]> for [X; N] {
    fn as_twin<'s>(&'s self, slot: &'s Slot) -> &'s [A::Twin; N] {
        slot.keep(|| self.clone().map(X::into_twin))
    }
}
impl<X, Y, A, B> AsTwin<(A, B)> for (X, Y)
where
    X: IntoTwin<A> + Clone,
    Y: IntoTwin<B> + Clone,
    A: Arg<GradBuf: Sized, Twin: 'static>,
    B: Arg<GradBuf: Sized, Twin: 'static>,
{
    fn as_twin<'s>(&'s self, slot: &'s Slot) -> &'s (A::Twin, B::Twin) {
        slot.keep(|| (self.0.clone().into_twin(), self.1.clone().into_twin()))
    }
}
impl<S: AsTwin<A> + ?Sized, A: Arg + ?Sized> AsTwin<A> for &S {
    fn as_twin<'s>(&'s self, slot: &'s Slot) -> &'s A::Twin {
        (**self).as_twin(slot)
    }
}
