//! Lists of floats of twins: `&[f64]` becomes `&List<f64>`, whose items are values of their own, or which is one value of
//! a trace, or a part of one: `x[a..b]` is a view, and an index is checked against the part before it is one of the whole.

use super::super::{
    args::Arg,
    flow::{self, StagedFlow},
    twins::{AsTwin, Leaf, LeafReader, Leaves, Outcome, Slot, Twinned},
};
use super::{Int, Row, emitted, known};
use crate::{
    Result,
    array::Float,
    emit::{Ex, V, apply},
    error::Place,
    op::{Attr, Op, OpDef, arith, list},
    real::{Real, literal},
    session,
    tensor::Value,
};
use std::{any::Any, cell::OnceCell, fmt, ops};

/// A list of floats of a twin.
#[derive(Clone)]
pub struct List<T> {
    repr: Items<T>,
    /// The items of a traced list, for plain code that has asked for them.
    read: OnceCell<Box<Read<Real<T>>>>,
}

#[derive(Clone)]
enum Items<T> {
    /// Items of their own.
    Each(Vec<Real<T>>),
    /// A value: so many items of it, from the start or from here on.
    Traced { all: Value, from: Option<Int<usize>>, len: Int<usize> },
}

/// Items as values of one session: those of a part that is traced are of no use after it.
#[derive(Clone)]
pub(in crate::entry) struct Read<X> {
    session: u64,
    items: Vec<X>,
    others: OnceCell<Box<Read<X>>>,
}
impl<X> Read<X> {
    /// Those of the session that runs, from `read` if they are asked for the first time.
    pub fn of(found: &OnceCell<Box<Read<X>>>, read: impl Fn() -> Vec<X>) -> &[X] {
        let session = session::current();
        let read = || Box::new(Read { session, items: read(), others: OnceCell::new() });
        let mut found = found.get_or_init(read);
        while found.session != session {
            found = found.others.get_or_init(read);
        }
        &found.items
    }
}

/// Lists of no more items that a trace makes are items of their own at first: what is indexed by numbers stays so.
const SHORT: usize = 16;

impl<T: Float> List<T> {
    pub(super) fn of_items(items: Vec<Real<T>>) -> List<T> {
        List { repr: Items::Each(items), read: OnceCell::new() }
    }
    /// Of a value; `len` is its length.
    fn of_value(v: Value, len: impl FnOnce(&Value) -> Int<usize>) -> List<T> {
        if v.is_traced() {
            let len = len(&v);
            return List { repr: Items::Traced { all: v, from: None, len }, read: OnceCell::new() };
        }
        List::of_items(unpack(&v))
    }
    /// Of an argument.
    pub(super) fn lifted(v: Value) -> List<T> {
        List::of_value(v, |v| Int::from_value(emitted(|e| Ex::new(e, V::Tensor(v.clone())).op1(&list::LEN))))
    }
    /// The list of these.
    pub fn of<X: Into<Real<T>>>(items: impl IntoIterator<Item = X>) -> List<T> {
        List::of_items(items.into_iter().map(Into::into).collect())
    }
    /// If it is a part of a list or a list of a length of its own: the list, where it begins and its length.
    pub(in crate::entry) fn as_part(&self) -> Option<(Value, Int<usize>, Int<usize>)> {
        match &self.repr {
            Items::Traced { all, from, len } if all.is_traced() => {
                let traced = |n: Int<usize>| if n.traced().is_some() { n } else { Int::from_value(n.value()) };
                Some((all.clone(), traced(from.unwrap_or_else(|| Int::number(0))), traced(*len)))
            }
            _ => None,
        }
    }
    pub(in crate::entry) fn of_part(all: Value, from: Int<usize>, len: Int<usize>) -> List<T> {
        List { repr: Items::Traced { all, from: Some(from), len }, read: OnceCell::new() }
    }
    /// An empty one.
    pub fn none() -> List<T> {
        List::of_items(Vec::new())
    }
    /// `n` times the same.
    #[track_caller]
    pub fn repeat(x: impl Into<Real<T>>, n: impl Into<Int<usize>>) -> List<T> {
        let (x, n): (Real<T>, Int<usize>) = (x.into(), n.into());
        match n.constant() {
            Some(n) if n <= SHORT => List::of_items(vec![x; n]),
            _ => List::filled(x, n),
        }
    }
    /// `n` times the same, as one value.
    #[track_caller]
    fn filled(x: Real<T>, n: Int<usize>) -> List<T> {
        // a trace that was given up goes on with numbers
        if !session::is_tracing() {
            return match list::length(n.plain() as i64, &Op::new(&list::FILL)) {
                Ok(n) => List::of_items(vec![x; n]),
                Err(e) => {
                    crate::tensor_report(e);
                    List::none()
                }
            };
        }
        // a difference may be below 0, which loops over the length must not run to, though nobody reads the list
        let n = match n.traced() {
            Some(v) if session::is_made_by(&v, &arith::SUB) => within(n, Int::number(list::LONGEST as usize), true),
            _ => n,
        };
        let args = [x.value(), n.value()];
        let v = emitted(|e| {
            let [x, n] = args.map(|v| Ex::new(e, V::Tensor(v)));
            apply(Op::new(&list::FILL), &[&x, &n])
        });
        List::of_value(v, |_| n)
    }
    /// The number of items.
    #[allow(clippy::len_without_is_empty)] // a slice's, through Deref
    pub fn len(&self) -> Int<usize> {
        match &self.repr {
            Items::Each(items) => Int::number(items.len()),
            Items::Traced { len, .. } => *len,
        }
    }
    /// The traced list. That of a part is a copy.
    fn value(&self) -> Value {
        match &self.repr {
            Items::Traced { all, from: None, .. } => all.clone(),
            // a trace that was given up goes on with numbers
            Items::Traced { .. } if !session::is_tracing() => {
                let items: ndarray::Array1<T> = self.items().iter().map(|x| x.to_plain()).collect();
                Value::stored(T::into_array(items.into_dyn()))
            }
            Items::Traced { len, .. } if len.constant().is_some_and(|n| n <= SHORT) => pack(self.items()),
            Items::Traced { .. } => self.picked(|k| k).value(),
            Items::Each(items) => pack(items),
        }
    }
    fn op(&self, def: &'static OpDef, place: Place, rest: &[Value]) -> Value {
        placed(def, place, &[], std::iter::once(self.value()).chain(rest.iter().cloned()))
    }
    fn beyond(&self, i: usize, place: Place) {
        let n = self.items().len();
        let op = Op::with(&list::GET, [Attr::Int(place.number())]);
        crate::tensor_report(list::out_of_range(&op, i as i64, n as i64));
    }
    /// Item `i`.
    #[track_caller]
    pub fn at(&self, i: Int<usize>) -> Real<T> {
        match &self.repr {
            Items::Traced { from: Some(_), len, .. } if session::is_tracing() => self.item(within(i, *len, false)),
            _ => self.item(i),
        }
    }
    /// Item `i`, which is known to be one.
    #[track_caller]
    pub fn item(&self, i: Int<usize>) -> Real<T> {
        let place = Place::caller();
        match &self.repr {
            Items::Traced { all, from, .. } if all.is_traced() && session::is_tracing() => {
                let i = from.map_or(i, |from| from + i);
                Real::from_value(placed(&list::GET, place, &[], [all.clone(), i.value()]))
            }
            Items::Each(_) if i.traced().is_some() && session::is_tracing() => {
                Real::from_value(self.op(&list::GET, place, &[i.value()]))
            }
            _ => {
                let i = i.plain();
                self.items().get(i).copied().unwrap_or_else(|| {
                    self.beyond(i, place);
                    literal(T::zero())
                })
            }
        }
    }
    /// Makes `x` item `i`.
    #[track_caller]
    pub fn set(&mut self, i: Int<usize>, x: impl Into<Real<T>>) {
        let (x, place): (Real<T>, Place) = (x.into(), Place::caller());
        let traced = matches!(&self.repr, Items::Traced { .. }) || i.traced().is_some();
        if traced && session::is_tracing() {
            let (v, n) = (self.op(&list::SET, place, &[i.value(), x.value()]), self.len());
            *self = List::of_value(v, |_| n);
            return;
        }
        if let Items::Traced { .. } = self.repr {
            *self = List::of_items(self.items().to_vec());
        }
        let i = i.plain();
        match &mut self.repr {
            Items::Each(items) if i < items.len() => items[i] = x,
            _ => self.beyond(i, place),
        }
    }
    /// The items in order, equal ones in theirs. A NaN has a place in a total order only.
    ///
    /// # Panics
    /// As a comparison that is unwrapped does.
    #[track_caller]
    pub fn sorted(&self, descending: bool, total: bool) -> List<T> {
        let (place, sorting) = (Place::caller(), list::Sorting { descending, total });
        if !session::is_tracing() {
            let items = self.items();
            let plain: Vec<f64> = items.iter().map(|x| x.to_plain().f64()).collect();
            let mut numbers = vec![0; plain.len()];
            assert!(sorting.sort(&plain, &mut numbers), "a NaN among what is sorted has no order");
            return List::of_items(numbers.into_iter().map(|k| items[k as usize]).collect());
        }
        let attrs = [descending, total].map(|b| Attr::Int(b.into()));
        let order = placed(&list::ORDER, place, &attrs, [self.value()]);
        self.picked(move |k| Int::from_value(placed(&list::GET, place, &[], [order.clone(), k.value()])))
    }
    /// The items from the last to the first.
    #[track_caller]
    pub fn reversed(&self) -> List<T> {
        self.picked(|k| self.len() - 1 - k)
    }
    /// As many items, each from where it says.
    #[track_caller]
    fn picked(&self, from: impl Fn(Int<usize>) -> Int<usize>) -> List<T> {
        if let Some(n) = self.len().constant().filter(|&n| n <= SHORT || !session::is_tracing()) {
            return List::of_items((0..n).map(|k| self.item(from(Int::number(k)))).collect());
        }
        let pick = |k, (mut list, ()): (List<T>, ())| {
            list.set(k, self.item(from(k)));
            (list, ())
        };
        let start = (List::filled(literal(T::zero()), self.len()), ());
        flow::For::new(flow::trips(Int::number(0), self.len()), start, |_| flow::Cond::known(false), pick).run().0
    }
    /// The items, each by itself. Of a list whose length is not known the trace is given up.
    #[track_caller]
    pub(super) fn items(&self) -> &[Real<T>] {
        match &self.repr {
            Items::Each(items) => items,
            Items::Traced { all, from, len } => {
                let place = Place::caller();
                Read::of(&self.read, || match len.constant().filter(|_| all.is_traced() && session::is_tracing()) {
                    Some(n) => (0..n).map(|i| self.item(Int::number(i))).collect(),
                    None => {
                        session::opaque_read(all, "plain code goes over a list", place);
                        let items = unpack(&session::concrete(all)).into_iter();
                        items.skip(from.map_or(0, Int::plain)).take(len.plain()).collect()
                    }
                })
            }
        }
    }
    /// The same as items of their own, for derivatives by each. Of a list whose length is not known the trace is given up.
    #[track_caller]
    pub fn each(&self) -> List<T> {
        if let Items::Traced { all, len, .. } = &self.repr
            && len.constant().is_none()
        {
            session::opaque_read(all, "a matrix of derivatives takes the length of a list", Place::caller());
        }
        List::of_items(self.items().to_vec())
    }
    /// Items of a range: a view of them.
    #[track_caller]
    pub fn slice<R: ops::RangeBounds<Int<usize>>>(&self, range: R) -> List<T> {
        let (start, len) = bounds(&range, self.len());
        self.part(start, len)
    }
    /// So many items from one on, which are known to be there.
    #[track_caller]
    pub(super) fn part(&self, start: Int<usize>, len: Int<usize>) -> List<T> {
        let traced = match &self.repr {
            Items::Each(_) => start.traced().is_some() || len.traced().is_some(),
            Items::Traced { all, .. } => all.is_traced(),
        };
        if traced && session::is_tracing() {
            let (all, from) = match &self.repr {
                Items::Traced { all, from, .. } => (all.clone(), from.map_or(start, |from| from + start)),
                Items::Each(items) => (pack(items), start),
            };
            // a part that begins at the beginning is one all the same: it ends somewhere
            let all_of = !matches!(self.repr, Items::Traced { from: Some(_), .. });
            let whole = all_of && from.constant() == Some(0) && len.is(self.len());
            let from = if whole { None } else { Some(from) };
            return List { repr: Items::Traced { all, from, len }, read: OnceCell::new() };
        }
        List::of_items(self.items().iter().skip(start.plain()).take(len.plain()).copied().collect())
    }
    /// As `windows` of a slice.
    #[track_caller]
    pub fn windows_of(&self, size: impl Into<Int<usize>>) -> Parts<T> {
        let size = nonzero(size.into());
        let count = (self.len() + 1).saturating_sub(size);
        Parts { list: self.clone(), size, step: Int::number(1), count, whole: true }
    }
    /// As `chunks_exact`.
    #[track_caller]
    pub fn whole_chunks_of(&self, size: impl Into<Int<usize>>) -> Parts<T> {
        let size = nonzero(size.into());
        Parts { list: self.clone(), size, step: size, count: self.len() / size, whole: true }
    }
    /// As `chunks`.
    #[track_caller]
    pub fn chunks_of(&self, size: impl Into<Int<usize>>) -> Parts<T> {
        let (size, n) = (nonzero(size.into()), self.len());
        let count = n / size + (n % size).min(1);
        Parts { list: self.clone(), size, step: size, count, whole: false }
    }
}

/// Parts of a list, one after the other.
pub struct Parts<T> {
    list: List<T>,
    size: Int<usize>,
    /// How far each begins after the one before it.
    step: Int<usize>,
    count: Int<usize>,
    /// Whether the last one is as long as the others.
    whole: bool,
}
impl<T: Float> Parts<T> {
    /// How many there are.
    #[allow(clippy::len_without_is_empty)] // nobody asks
    pub fn len(&self) -> Int<usize> {
        self.count
    }
    /// Part `k`, which there is.
    #[track_caller]
    pub fn item(&self, k: Int<usize>) -> List<T> {
        let start = k * self.step;
        let len = if self.whole { self.size } else { self.size.min(self.list.len() - start) };
        self.list.part(start, len)
    }
}

/// Longest constant table that a program holds.
const LONGEST_TABLE: usize = 512;

/// Element `i` of a constant table.
#[track_caller]
pub fn looked_up<T: Float>(table: &[T], i: impl Into<Int<usize>>) -> Real<T> {
    let i: Int<usize> = i.into();
    if i.traced().is_none() || !session::is_tracing() || table.len() > LONGEST_TABLE {
        let i = known(i);
        return match table.get(i) {
            Some(&x) => literal(x),
            None => List::of(table.iter().copied()).at(Int::number(i)),
        };
    }
    // made once, not in each trip of the loops around
    let len = Int::number(table.len());
    let all = session::outermost(|| pack(&table.iter().map(|&x| literal(x)).collect::<Vec<_>>()));
    List::of_value(all, |_| len).at(i)
}

fn placed(def: &'static OpDef, place: Place, attrs: &[Attr], args: impl IntoIterator<Item = Value>) -> Value {
    let args: Vec<Value> = args.into_iter().collect();
    emitted(|e| {
        let args: Vec<Ex<'_>> = args.into_iter().map(|v| Ex::new(e, V::Tensor(v))).collect();
        let attrs = std::iter::once(Attr::Int(place.number())).chain(attrs.iter().cloned());
        apply(Op::with(def, attrs), &args.iter().collect::<Vec<_>>())
    })
}
/// An index below a length, or a bound of a range that is not above another one: anything else is an error.
#[track_caller]
pub(super) fn within(i: Int<usize>, limit: Int<usize>, range: bool) -> Int<usize> {
    let (place, attr) = (Place::caller(), Attr::Int(range.into()));
    if session::is_tracing() && (i.traced().is_some() || limit.traced().is_some()) {
        return Int::from_value(placed(&list::WITHIN, place, &[attr], [i.value(), limit.value()]));
    }
    let (n, most) = (i.plain(), limit.plain());
    let op = Op::with(&list::WITHIN, [Attr::Int(place.number()), attr]);
    match list::within(&op, n as i64, most as i64) {
        Ok(()) => i,
        Err(e) => {
            crate::tensor_report(e);
            Int::number(n.min(most))
        }
    }
}
/// Where an item has been found among so many, if it has: the number of items says that it has not, which is an error.
#[track_caller]
pub fn found(at: Int<usize>, len: Int<usize>) -> Int<usize> {
    within(at, len, false)
}
/// Where a range of so many items starts, and how many are in it.
#[track_caller]
pub(super) fn bounds(range: &impl ops::RangeBounds<Int<usize>>, len: Int<usize>) -> (Int<usize>, Int<usize>) {
    let end = match range.end_bound() {
        ops::Bound::Included(&n) => within(n, len, false) + 1,
        ops::Bound::Excluded(&n) => within(n, len, true),
        ops::Bound::Unbounded => len,
    };
    let start = match range.start_bound() {
        ops::Bound::Included(&n) => within(n, end, true),
        ops::Bound::Excluded(&n) => within(n, end, false) + 1,
        ops::Bound::Unbounded => Int::number(0),
    };
    (start, if start.constant() == Some(0) { end } else { end - start })
}
/// A size that is not 0.
#[track_caller]
fn nonzero(size: Int<usize>) -> Int<usize> {
    within(Int::number(0), size, false) + size
}

fn pack<T: Float>(items: &[Real<T>]) -> Value {
    let values: Vec<Value> = items.iter().map(|x| x.value()).collect();
    emitted(|e| {
        let op = Op::with(&list::OF, [Attr::DType(T::DTYPE), Attr::Int(Place::caller().number())]);
        let args: Vec<V> = values.into_iter().map(V::Tensor).collect();
        Ex::new(e, e.emit(op, &args))
    })
}
fn unpack<T: Float>(v: &Value) -> Vec<Real<T>> {
    T::view_of(&v.to_array().view()).map(|a| a.iter().map(|&x| literal(x)).collect()).unwrap_or_default()
}

impl<T: Float> ops::Deref for List<T> {
    type Target = [Real<T>];
    #[track_caller]
    fn deref(&self) -> &[Real<T>] {
        self.items()
    }
}
impl<'a, T: Float> IntoIterator for &'a List<T> {
    type Item = &'a Real<T>;
    type IntoIter = std::slice::Iter<'a, Real<T>>;
    #[track_caller]
    fn into_iter(self) -> Self::IntoIter {
        self.items().iter()
    }
}
impl<T: Float> AsRef<[Real<T>]> for List<T> {
    #[track_caller]
    fn as_ref(&self) -> &[Real<T>] {
        self.items()
    }
}
impl<T: Float> fmt::Debug for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.items(), f)
    }
}

/// How a list reports itself.
#[derive(Clone, PartialEq)]
pub(super) enum Form {
    /// Its items are leaves.
    Each(usize),
    /// It is one leaf, of a length that is known, or is this value of a trace: a loop must not change it.
    Known(usize),
    Open(u64, usize),
}
/// The length of a list that is a result, from its static part: none if it is one leaf.
pub(crate) fn length_of(part: &dyn Any) -> Option<usize> {
    match part.downcast_ref::<Form>() {
        Some(Form::Each(n)) => Some(*n),
        Some(_) => None,
        None => part.downcast_ref::<usize>().copied(),
    }
}
impl Form {
    pub fn of_value(len: Int<usize>) -> Form {
        match len.traced().as_ref().map(Value::repr) {
            Some(crate::tensor::Repr::Traced { session, node }) => Form::Open(*session, node.index()),
            _ => Form::Known(len.plain()),
        }
    }
}

impl<T: Float> Twinned for List<T> {
    fn leaves(&self, out: &mut Leaves) {
        match &self.repr {
            // nothing can be written to an empty one
            Items::Each(items) if !out.packs() || items.is_empty() || !session::is_tracing() => {
                out.constant(&Form::Each(items.len()));
                items.iter().for_each(|x| x.leaves(out));
            }
            _ if out.spreads() && self.len().constant().is_some() => {
                let items = self.items();
                out.constant(&Form::Each(items.len()));
                items.iter().for_each(|x| x.leaves(out));
            }
            _ => {
                out.constant(&Form::of_value(self.len()));
                out.leaves.push(Leaf::List(self.value()));
            }
        }
    }
    fn from_leaves(&self, next: &mut LeafReader<'_>) -> Self {
        if matches!(&self.repr, Items::Each(items) if items.is_empty()) {
            return self.clone();
        }
        let first = next.next().expect("as many leaves as were reported");
        if matches!(self.repr, Items::Traced { .. }) || matches!(first, Leaf::List(_)) {
            return List::of_value(first.value().clone(), |_| self.len());
        }
        let all = std::iter::once(first).chain(next.take(self.len().plain() - 1));
        List::of(all.map(|l| Real::from_value(l.value().clone())))
    }
}
impl<T: Float> Outcome for List<T> {
    type Value = Self;
    fn outcome(self) -> Result<Self> {
        Ok(self)
    }
}

/// What an annotated function takes where it is declared to take a slice of floats.
#[diagnostic::on_unimplemented(message = "`{Self}` is not the twin of `[{T}]`")]
pub trait AsList<T: Float> {
    /// The list, or one that is kept in the slot.
    fn as_list<'s>(&'s self, slot: &'s Slot) -> &'s List<T>;
}
impl<T: Float> AsList<T> for List<T> {
    fn as_list<'s>(&'s self, _: &'s Slot) -> &'s List<T> {
        self
    }
}
macro_rules! as_lists {
    ($([$($g:tt)*] $t:ty;)*) => {$(
        impl<X: Into<Real<T>> + Clone, T: Float, $($g)*> AsList<T> for $t {
            fn as_list<'s>(&'s self, slot: &'s Slot) -> &'s List<T> {
                slot.keep(|| List::of(self.iter().cloned()))
            }
        }
    )*};
}
as_lists! { [] [X]; [] Vec<X>; [const N: usize] [X; N]; }
impl<S: AsList<T> + ?Sized, T: Float> AsList<T> for &S {
    fn as_list<'s>(&'s self, slot: &'s Slot) -> &'s List<T> {
        (**self).as_list(slot)
    }
}

/// What a function gives that is declared to give a vector of floats.
#[diagnostic::on_unimplemented(message = "`{Self}` is not the twin of `Vec<{T}>`")]
pub trait IntoList<T: Float> {
    /// The list.
    fn into_list(self) -> List<T>;
}
impl<T: Float> IntoList<T> for List<T> {
    fn into_list(self) -> List<T> {
        self
    }
}
impl<X: Into<Real<T>>, T: Float> IntoList<T> for Vec<X> {
    fn into_list(self) -> List<T> {
        List::of(self)
    }
}
/// What a list or table is to plain code: of the derivatives in a parameter.
pub trait Unrolled<X> {
    #[doc(hidden)]
    fn unrolled(&self) -> X;
}
impl<T: Float> Unrolled<Vec<Real<T>>> for List<T> {
    fn unrolled(&self) -> Vec<Real<T>> {
        self.items().to_vec()
    }
}
impl<T: Float, const N: usize> Unrolled<[Real<T>; N]> for List<T> {
    fn unrolled(&self) -> [Real<T>; N] {
        Row::of(self.items())
    }
}

/// The result of a function as a list.
pub fn listed<T: Float>(result: impl IntoList<T>) -> List<T> {
    result.into_list()
}

impl<T: Float + Arg<Twin = Real<T>, GradBuf = T>, const N: usize> AsTwin<[T; N]> for List<T> {
    fn as_twin<'s>(&'s self, slot: &'s Slot) -> &'s [Real<T>; N] {
        slot.keep(|| Row::of(self.items()))
    }
}
