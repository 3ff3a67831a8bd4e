//! What twins call for `if`, `while`, `for` over counters, and comparisons that decide them. In a trace, a condition on traced values makes a
//! choice or a loop of the graph: its parts are traced into graphs of their own. Everywhere else, and where a part
//! cannot be traced, the parts run as they are written.
//!
//! `while c { b }` becomes `(&While::new(state, |test, state| if test { (Some(c), state) } else { b; (None, state) })).run()`,
//! where `state` are the variables that `b` may change, as nested pairs; `if c { a } else { b }` becomes
//! `(&If::new(c, state, |then, state| (if then { a } else { b }, state))).run()`; `for i in r { b }` becomes
//! `(&For::new(trips(r), state, |i, state| { b; state })).run()` if `i` is only made a float of. Which of two methods `run` is depends
//! on the types, by autoref: the state and the value have to be made of leaves, or nothing is staged.

use super::{
    build::caught,
    rolled::{Int, Integer},
    twins::{Leaf, LeafReader, Leaves, Twinned},
};
use crate::{
    Tensor,
    array::{Element, Float},
    emit::{Emit, Ex, V, apply},
    error::{Error, Place, Result},
    graph::{Builder, Graph, NodeId},
    op::{Attr, Lower, Op, OpDef, compare, control, create},
    real::{Real, literal},
    session::{self, TraceEnd, Traced},
    tensor::{Dispatch, Value},
    ty::{DType, Ty},
};
use std::{
    borrow::Borrow,
    cell::{Cell, OnceCell, RefCell},
    fmt::Debug,
    sync::Arc,
};

/// The truth of a condition.
#[derive(Clone)]
pub enum Cond {
    /// Known.
    Known(bool),
    /// A traced truth value of rank 0.
    Traced(Value),
    /// One for each element that a scalar stands for.
    Each(Value),
}

impl Cond {
    /// Of a plain condition.
    pub fn known(b: bool) -> Cond {
        Cond::Known(b)
    }
    /// Of a plain condition that `assert!` takes.
    pub fn asserted(b: impl Borrow<bool>) -> Cond {
        Cond::Known(*b.borrow())
    }
    /// Its opposite.
    #[allow(clippy::should_implement_trait)] // what the macro writes for `!`
    pub fn not(self) -> Cond {
        match self {
            Cond::Known(b) => Cond::Known(!b),
            Cond::Traced(v) => Cond::Traced(logical(&compare::NOT, &[v])),
            Cond::Each(v) => Cond::Each(logical(&compare::NOT, &[v])),
        }
    }
    /// `a && b`.
    pub fn and(self, other: impl FnMut() -> Cond) -> Cond {
        self.joined(true, other)
    }
    /// `a || b`.
    pub fn or(self, other: impl FnMut() -> Cond) -> Cond {
        self.joined(false, other)
    }
    /// Whether both hold, or neither.
    pub fn same(self, other: Cond) -> Cond {
        let (no, none) = (self.clone().not(), other.clone().not());
        self.and(move || other.clone()).or(move || no.clone().and(|| none.clone()))
    }
    /// The other condition if this one is `when`, else the opposite of that. Where this one is traced both are computed, which no
    /// value can tell, unless the other one may fail: then it is a choice.
    fn joined(self, when: bool, mut other: impl FnMut() -> Cond) -> Cond {
        let first = match self {
            Cond::Known(b) if b == when => return other(),
            Cond::Known(_) => return self,
            Cond::Traced(v) if !session::is_elementwise() => v,
            Cond::Traced(v) | Cond::Each(v) => {
                let def = if when { &compare::AND } else { &compare::OR };
                return match other() {
                    Cond::Known(b) if b == when => Cond::Each(v),
                    Cond::Known(b) => Cond::Known(b),
                    Cond::Traced(o) | Cond::Each(o) => Cond::Each(logical(def, &[v, o])),
                };
            }
        };
        if session::is_tracing() {
            match second(&first, when, &mut other) {
                Ok(cond) => return cond,
                Err(why) => session::unstaged(&why),
            }
        }
        if truth(&first) == when { other() } else { Cond::Known(!when) }
    }
    /// The truth, which ends the trace if it is traced.
    fn read(self, place: Place) -> bool {
        match self {
            Cond::Known(b) => b,
            Cond::Traced(v) => {
                session::opaque_read(&v, "a condition is read", place);
                truth(&v)
            }
            Cond::Each(_) => !session::needs_elements(),
        }
    }
}

/// The second condition of `&&` or `||`, joined to the first.
fn second(first: &Value, when: bool, other: &mut impl FnMut() -> Cond) -> Result<Cond, Reason> {
    let leaves = Leaves::of(&());
    let part = part_under(first, when, &(), &leaves, &mut |()| Flag(other()))?;
    if let Flag(Cond::Known(b)) = part.value
        && !part.traced.held
    {
        return Ok(if b == when { Cond::Traced(first.clone()) } else { Cond::Known(b) });
    }
    let go = || {
        let (graphs, captures) = joined(0, false, &[&part.traced])?;
        let may_fail =
            graphs[0].nodes().any(|(_, n)| matches!(n.op.def.lower, Lower::Library) && !n.op.is(&create::INPUT));
        if !may_fail {
            let second = session::inline(&graphs[0], &captures)?.swap_remove(0);
            let def = if when { &compare::AND } else { &compare::OR };
            return Ok(Cond::Traced(logical(def, &[first.clone(), second])));
        }
        let b = Builder::new();
        for c in &captures {
            b.input(c.ty());
        }
        let mut known = vec![b.add(create::constant(DType::Bool, f64::from(u8::from(!when))), &[])?];
        if part.traced.held {
            known.push(b.add(create::constant(DType::Bool, 1.0), &[])?);
        }
        let known = Attr::Graph(Arc::new(b.finish(known)?));
        let asked = Attr::Graph(graphs[0].clone());
        let op = Op::with(&control::IF, if when { [asked, known] } else { [known, asked] });
        let args: Vec<Value> = std::iter::once(first.clone()).chain(captures).collect();
        let mut results = session::control(&op, &args)?;
        part.traced.note(&results);
        Ok(Cond::Traced(results.swap_remove(0)))
    };
    go().map_err(|e: Error| e.to_string())
}

fn truth(v: &Value) -> bool {
    matches!(session::concrete(v).to_array(), crate::array::Array::Bool(b) if b.iter().all(|&x| x))
}

fn logical(def: &'static OpDef, args: &[Value]) -> Value {
    crate::tensor_evaluate(|e| {
        let args: Vec<Ex<'_>> = args.iter().map(|a| Ex::new(e, V::Tensor(a.clone()))).collect();
        apply(Op::new(def), &args.iter().collect::<Vec<_>>())
    })
}

/// A condition in a variable: a `bool` of the body, or whether a loop or a trip of one has been left, which `break` and `continue` set.
#[derive(Clone)]
pub struct Flag(Cond);

impl Flag {
    /// Of a condition.
    pub fn of(cond: Cond) -> Flag {
        Flag(cond)
    }
    /// Not left.
    pub fn unset() -> Flag {
        Flag(Cond::Known(false))
    }
    /// Left.
    pub fn set() -> Flag {
        Flag(Cond::Known(true))
    }
    /// As a condition.
    pub fn cond(&self) -> Cond {
        self.0.clone()
    }
    /// Whether it is set without doubt.
    pub fn is_known(&self) -> bool {
        matches!(self.0, Cond::Known(true))
    }
    /// Whether it is set, for what runs as ordinary Rust.
    #[track_caller]
    pub fn is_set(&self) -> bool {
        self.0.clone().read(Place::caller())
    }
}

/// What `assert!` asks in a twin: whether the condition holds. In a trace that is left to when the program runs.
#[must_use]
#[track_caller]
pub fn ensure(cond: Cond) -> bool {
    match cond {
        // nobody reads what comes of it, and what was to be asked before may not have been
        _ if session::is_given_up() => true,
        Cond::Known(b) => b,
        // what is asked for one element is not asked for all
        Cond::Traced(_) | Cond::Each(_) if session::needs_elements() => true,
        Cond::Traced(v) | Cond::Each(v) if session::is_tracing() => {
            session::hold(&v, Place::caller());
            true
        }
        Cond::Traced(v) | Cond::Each(v) => truth(&v),
    }
}

/// What `assert_eq!` and `assert_ne!` say: with which operator, of which values, and the user's own words.
///
/// # Panics
/// Always, with that text.
#[track_caller]
pub fn differ(operator: &str, left: &dyn Debug, right: &dyn Debug, said: Option<String>) -> ! {
    let said = said.map_or_else(String::new, |said| format!(": {said}"));
    panic!("assertion `left {operator} right` failed{said}\n  left: {left:?}\n right: {right:?}");
}

/// A value that stands for one that there is not yet: of a function that has not returned, a loop that has not been
/// left.
pub trait Blank {
    /// The value.
    fn blank() -> Self;
}
impl<T: Element> Blank for Tensor<T> {
    fn blank() -> Self {
        Tensor::from_value(Value::absent(Ty::scalar(T::DTYPE)))
    }
}
impl<T: Float> Blank for Real<T> {
    fn blank() -> Self {
        literal(T::zero())
    }
}
macro_rules! blanks {
    ($($t:ty),*) => {$( impl Blank for $t { fn blank() -> Self { <$t>::default() } } )*};
}
blanks!(bool, u8, u16, u32, u64, usize, i8, i16, i32, i64, isize, ());
impl<T: Blank, const N: usize> Blank for [T; N] {
    fn blank() -> Self {
        std::array::from_fn(|_| T::blank())
    }
}
macro_rules! blank_tuples {
    ($($($t:ident),+;)*) => {$(
        impl<$($t: Blank),+> Blank for ($($t,)+) { fn blank() -> Self { ($($t::blank(),)+) } }
    )*};
}
blank_tuples! { A; A, B; A, B, C; A, B, C, D; A, B, C, D, E; A, B, C, D, E, F; A, B, C, D, E, F, G; A, B, C, D, E, F, G, H; }

impl Twinned for Flag {
    fn leaves(&self, out: &mut Leaves) {
        let v = match &self.0 {
            // a constant of the trace: a stored value would be read anew at each call
            Cond::Known(b) => match Dispatch::default().constant(DType::Bool, u64::from(*b)) {
                V::Tensor(v) => v,
                V::Type(_) | V::Node(_) => unreachable!("tensors only"),
            },
            Cond::Traced(v) | Cond::Each(v) => v.clone(),
        };
        out.leaves.push(Leaf::Tensor(v));
    }
    fn from_leaves(&self, next: &mut LeafReader<'_>) -> Flag {
        let v = next.next().expect("as many leaves as were reported").value().clone();
        Flag(match v.is_traced() {
            _ if !v.ty().shape.is_empty() => Cond::Each(v),
            true => Cond::Traced(v),
            false => Cond::Known(truth(&v)),
        })
    }
}

/// The ways to compare.
#[derive(Clone, Copy)]
pub enum Test {
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `==`
    Eq,
    /// `!=`
    Ne,
}

impl Test {
    fn op(self) -> &'static OpDef {
        match self {
            Test::Lt => &compare::LT,
            Test::Le => &compare::LE,
            Test::Gt => &compare::GT,
            Test::Ge => &compare::GE,
            Test::Eq => &compare::EQ,
            Test::Ne => &compare::NE,
        }
    }
}

/// A comparison of two values with an order.
pub struct Order<'a, A: ?Sized, B: ?Sized>(pub &'a A, pub &'a B, pub Test);
/// A comparison of two values for equality.
pub struct Same<'a, A: ?Sized, B: ?Sized>(pub &'a A, pub &'a B, pub Test);

/// The sorts of floats that are asked for.
#[derive(Clone, Copy)]
pub enum Sort {
    /// No number.
    Nan,
    /// ∞ or −∞.
    Infinite,
    /// A number that is neither.
    Finite,
    /// With a minus sign.
    Negative,
    /// Without one.
    Positive,
}
/// Whether a value is of a sort, and how it says so itself.
pub struct Sorted<'a, A, F: Fn(&A) -> bool>(pub &'a A, pub Sort, pub F);

#[track_caller]
fn sorted<T: Float>(x: &Real<T>, sort: Sort) -> Option<Cond> {
    x.slot()?;
    let (far, zero) = (literal(T::infinity()), literal(T::zero()));
    let signed = |test| staged(&literal(T::one()).copysign(x), &zero, test);
    match sort {
        // nothing else differs from itself
        Sort::Nan => staged(x, x, Test::Ne),
        Sort::Infinite => staged(&x.abs(), &far, Test::Eq),
        Sort::Finite => staged(&x.abs(), &far, Test::Lt),
        Sort::Negative => signed(Test::Lt),
        Sort::Positive => signed(Test::Gt),
    }
}
macro_rules! sorted {
    ($([$($r:lifetime),*] $a:ty;)*) => {$(
        impl<$($r,)* T: Float, F: Fn(&$a) -> bool> StagedTest for Sorted<'_, $a, F> {
            #[track_caller]
            fn cond(&self) -> Cond {
                sorted(self.0, self.1).unwrap_or_else(|| Cond::Known((self.2)(self.0)))
            }
        }
    )*};
}
sorted! { [] Real<T>; ['r] &'r Real<T>; ['r, 's] &'r &'s Real<T>; }
impl<A, F: Fn(&A) -> bool> PlainTest for &Sorted<'_, A, F> {
    fn cond(&self) -> Cond {
        Cond::Known((self.2)(self.0))
    }
}

/// Something that may be traced and is compared: a scalar, or a tensor of one element.
trait Side {
    /// Its value if it is traced.
    fn traced(&self) -> Option<Value>;
    /// Its value as the comparison takes it.
    fn side(&self, test: Test) -> Value;
}
impl<T: Float> Side for Real<T> {
    fn traced(&self) -> Option<Value> {
        let v = self.slot()?;
        v.is_traced().then_some(v)
    }
    fn side(&self, _: Test) -> Value {
        self.value()
    }
}
impl<I: Integer> Side for Int<I> {
    fn traced(&self) -> Option<Value> {
        Int::traced(*self)
    }
    fn side(&self, test: Test) -> Value {
        // equal values are equal in any order
        if matches!(test, Test::Eq | Test::Ne) { self.value() } else { self.ordered() }
    }
}
impl<T: Element> Side for Tensor<T> {
    fn traced(&self) -> Option<Value> {
        (self.value().is_traced() && self.numel() == 1).then(|| self.value().clone())
    }
    fn side(&self, _: Test) -> Value {
        self.value().clone()
    }
}

/// The comparison as an operation of the running trace; `None` if neither side is traced in it.
fn staged(a: &impl Side, b: &impl Side, test: Test) -> Option<Cond> {
    if session::is_elementwise()
        && let (x, y) = (a.side(test), b.side(test))
        && !(x.ty().shape.is_empty() && y.ty().shape.is_empty())
    {
        return Some(Cond::Each(logical(test.op(), &[x, y])));
    }
    if !session::is_tracing() || a.traced().is_none() && b.traced().is_none() {
        return None;
    }
    let (a, b) = (a.side(test), b.side(test));
    if a.ty().numel() != 1 || b.ty().numel() != 1 {
        return None;
    }
    Some(Cond::Traced(crate::tensor_evaluate(|e| {
        let (a, b) = (Ex::new(e, V::Tensor(a)).reshape(&[]), Ex::new(e, V::Tensor(b)).reshape(&[]));
        apply(Op::new(test.op()), &[&a, &b])
    })))
}

/// Comparisons that can be staged.
pub trait StagedTest {
    /// The condition.
    fn cond(&self) -> Cond;
}
/// All others.
pub trait PlainTest {
    /// The condition.
    fn cond(&self) -> Cond;
}

macro_rules! tests {
    ($($wrapper:ident: $bound:ident, |$x:ident, $y:ident, $t:ident| $plain:expr;)*) => {$(
        impl<A: $bound<B> + ?Sized, B: ?Sized> PlainTest for &$wrapper<'_, A, B> {
            #[track_caller]
            fn cond(&self) -> Cond {
                let ($x, $y, $t) = (self.0, self.1, self.2);
                Cond::Known($plain)
            }
        }
        tests!(@pair $wrapper, $plain, $x $y $t, [T: Float] Real<T>, Real<T>, |a| a, |b| b);
        tests!(@pair $wrapper, $plain, $x $y $t, [T: Float] Real<T>, T, |a| a, |b| &literal(*b));
        tests!(@pair $wrapper, $plain, $x $y $t, [] f64, Real<f64>, |a| &literal(*a), |b| b);
        tests!(@pair $wrapper, $plain, $x $y $t, [] f32, Real<f32>, |a| &literal(*a), |b| b);
        tests!(@pair $wrapper, $plain, $x $y $t, [I: Integer] Int<I>, Int<I>, |a| a, |b| b);
        tests!(@integers $wrapper, $plain, $x $y $t; u8 u16 u32 u64 usize i8 i16 i32 i64 isize);
        tests!(@pair $wrapper, $plain, $x $y $t, [T: Element + PartialOrd] Tensor<T>, Tensor<T>, |a| a, |b| b);
        tests!(@pair $wrapper, $plain, $x $y $t, [T: Element + PartialOrd] Tensor<T>, T, |a| a, |b| &Tensor::<T>::scalar(*b));
        impl<'a, A, B> StagedTest for $wrapper<'_, &'a A, &'a B>
        where
            for<'b> $wrapper<'b, A, B>: StagedTest,
        {
            #[track_caller]
            fn cond(&self) -> Cond {
                $wrapper(*self.0, *self.1, self.2).cond()
            }
        }
    )*};
    (@integers $wrapper:ident, $plain:expr, $x:ident $y:ident $t:ident; $($i:ty)*) => {$(
        tests!(@pair $wrapper, $plain, $x $y $t, [] Int<$i>, $i, |a| a, |b| &Int::from(*b));
        tests!(@pair $wrapper, $plain, $x $y $t, [] $i, Int<$i>, |a| &Int::from(*a), |b| b);
    )*};
    (@pair $wrapper:ident, $plain:expr, $x:ident $y:ident $t:ident, [$($g:tt)*] $a:ty, $b:ty, |$p:ident| $pa:expr, |$q:ident| $qb:expr) => {
        impl<$($g)*> StagedTest for $wrapper<'_, $a, $b> {
            #[track_caller]
            fn cond(&self) -> Cond {
                let ($p, $q) = (self.0, self.1);
                staged($pa, $qb, self.2).unwrap_or_else(|| {
                    let ($x, $y, $t) = (self.0, self.1, self.2);
                    Cond::Known($plain)
                })
            }
        }
    };
}
tests! {
    Order: PartialOrd, |a, b, t| match t {
        Test::Lt => a < b,
        Test::Le => a <= b,
        Test::Gt => a > b,
        _ => a >= b,
    };
    Same: PartialEq, |a, b, t| (a == b) == matches!(t, Test::Eq);
}

/// Whether the running entry point has failed: loops end.
pub fn has_failed() -> bool {
    session::has_failed()
}

/// A copy of a variable that a branch would otherwise move, so that the branch can be traced beside the other one.
pub fn copy<T: Clone>(x: &T) -> T {
    x.clone()
}

/// An `if` with the variables that it may change.
pub struct If<S, V, F> {
    cond: Cell<Option<Cond>>,
    state: Cell<Option<S>>,
    run: Cell<Option<F>>,
    place: Place,
    value: std::marker::PhantomData<V>,
}
/// A `while` with the variables that it may change.
pub struct While<S, F> {
    state: Cell<Option<S>>,
    run: Cell<Option<F>>,
    place: Place,
}

impl<S, V, F: FnMut(bool, S) -> (V, S)> If<S, V, F> {
    /// Of a condition, a state, and both branches.
    #[track_caller]
    pub fn new(cond: Cond, state: S, run: F) -> If<S, V, F> {
        let (cond, state, run) = (Cell::new(Some(cond)), Cell::new(Some(state)), Cell::new(Some(run)));
        If { cond, state, run, place: Place::caller(), value: std::marker::PhantomData }
    }
    fn parts(&self) -> (Cond, S, F) {
        let parts = (self.cond.take(), self.state.take(), self.run.take());
        let (Some(cond), Some(state), Some(run)) = parts else { panic!("bug: a choice runs twice") };
        (cond, state, run)
    }
}
impl<S, F: FnMut(bool, S) -> (Option<Cond>, S)> While<S, F> {
    /// Of a state, and the condition or the body.
    #[track_caller]
    pub fn new(state: S, run: F) -> While<S, F> {
        While { state: Cell::new(Some(state)), run: Cell::new(Some(run)), place: Place::caller() }
    }
    fn parts(&self) -> (S, F) {
        let (Some(state), Some(run)) = (self.state.take(), self.run.take()) else { panic!("bug: a loop runs twice") };
        (state, run)
    }
}

/// A sequence of counters: `start`, then each `step` above or below the last. How many there are may not fit their own
/// type, as of `-100i8..100`.
pub struct Trips<I> {
    start: Int<i64>,
    step: Int<i64>,
    count: Int<i64>,
    down: bool,
    /// If they go up by one from a small number above 0: that number, and what they stay below. Loops over ranges that end together
    /// then have the same limit, wherever they begin.
    range: Option<(i64, Int<i64>)>,
    counters: std::marker::PhantomData<I>,
}
impl<I: Integer> Trips<I> {
    fn of(start: Int<I>, count: Int<i64>) -> Trips<I> {
        let (start, counters) = (start.retyped(), std::marker::PhantomData);
        Trips { start, step: Int::number(1), count, down: false, range: None, counters }
    }
    /// As [`Trips::of`], of a range that ends where `end` says, of the same numbers if it begins at 0.
    fn up_to(start: Int<I>, count: Int<i64>, end: impl FnOnce(Int<I>) -> Int<i64>) -> Trips<I> {
        let from = start.constant().and_then(|c| c.to_i64()).filter(|c| (1..=NEAR).contains(c));
        let range = from.map(|c| (c, end(Int::number(I::zero()))));
        Trips { range, ..Trips::of(start, count) }
    }
    /// From the end to the start.
    #[must_use]
    pub fn rev(self) -> Trips<I> {
        let start = self.number(self.count - 1);
        Trips { start, down: !self.down, range: None, ..self }
    }
    /// Every `n`th.
    #[must_use]
    #[track_caller]
    pub fn step_by(self, n: impl Into<Int<usize>>) -> Trips<I> {
        let n: Int<i64> = n.into().retyped();
        // rounded up, where the sum of count and n may not fit
        let count = self.count / n + (self.count % n).min(1);
        Trips { step: self.step * n, count, range: None, ..self }
    }
    /// How many there are.
    pub fn count(&self) -> Int<usize> {
        self.count.retyped()
    }
    fn number(&self, k: Int<i64>) -> Int<i64> {
        let by = if self.step.constant() == Some(1) { k } else { k * self.step };
        if self.down { self.start - by } else { self.start + by }
    }
    /// The `k`th.
    fn at(&self, k: Int<i64>) -> Int<I> {
        self.number(k).retyped()
    }
}
/// What runs as ordinary Rust goes over the numbers.
impl<I: Integer> IntoIterator for Trips<I> {
    type Item = Int<I>;
    type IntoIter = Counters<I>;
    #[track_caller]
    fn into_iter(self) -> Counters<I> {
        let left = self.count.read_at("the number of trips of a loop is needed", Place::caller());
        Counters { trips: self, next: 0, left }
    }
}
/// The counters of a loop that runs as ordinary Rust.
pub struct Counters<I> {
    trips: Trips<I>,
    next: i64,
    left: i64,
}
impl<I: Integer> Iterator for Counters<I> {
    type Item = Int<I>;
    fn next(&mut self) -> Option<Int<I>> {
        if self.next >= self.left {
            return None;
        }
        let at = self.trips.at(Int::number(self.next));
        self.next += 1;
        Some(at)
    }
}
/// As many trips as an iterator has items.
pub fn count(items: impl IntoIterator) -> Trips<usize> {
    let n = i64::try_from(items.into_iter().count()).unwrap_or(i64::MAX);
    Trips::of(Int::number(0), Int::number(n))
}
/// The trips of a range.
pub fn trips<I: Integer>(start: impl Into<Int<I>>, end: impl Into<Int<I>>) -> Trips<I> {
    let (start, end): (Int<I>, Int<I>) = (start.into(), end.into());
    Trips::up_to(start, end.max(start).since(start), |zero| end.max(zero).since(zero))
}
/// The trips of a closed range.
pub fn trips_to<I: Integer>(start: impl Into<Int<I>>, end: impl Into<Int<I>>) -> Trips<I> {
    let (start, end): (Int<I>, Int<I>) = (start.into(), end.into());
    // a range whose end is below its start has none; one more is added where that fits
    let (below, count) = (start.since(end.min(start)), end.max(start).since(start));
    let count = (count.min(i64::MAX - 1) + 1 - below).max(0);
    Trips::up_to(start, count, |zero| end.max(zero).since(zero).min(i64::MAX - 1) + 1)
}

/// Ranges from at most this number count from there.
const NEAR: i64 = 1 << 10;

/// A `for` over a counter, with the variables that it may change.
pub struct For<I, S, D, F> {
    trips: Trips<I>,
    state: Cell<Option<S>>,
    /// Whether it has been left before its end.
    left: D,
    run: Cell<Option<F>>,
    place: Place,
}
impl<I: Integer, S, D: Fn(&S) -> Cond, F: FnMut(Int<I>, S) -> S> For<I, S, D, F> {
    /// Of a range, a state, whether the state says that the loop has been left, and the body.
    #[track_caller]
    pub fn new(trips: Trips<I>, state: S, left: D, run: F) -> For<I, S, D, F> {
        For { trips, state: Cell::new(Some(state)), left, run: Cell::new(Some(run)), place: Place::caller() }
    }
    fn parts(&self) -> (S, F) {
        let (Some(state), Some(run)) = (self.state.take(), self.run.take()) else { panic!("bug: a loop runs twice") };
        (state, run)
    }
    fn unrolled(&self, mut state: S, mut run: F) -> S {
        let trips = self.trips.count.read_at("the number of trips of a loop is needed", self.place);
        let astray = OnceCell::new();
        for k in 0..trips {
            // plain code after the loop may rely on all trips, also in a trace that has been given up
            let over = session::has_failed() || session::is_given_up() && *astray.get_or_init(is_astray);
            if over || matches!((self.left)(&state), Cond::Known(true)) {
                break;
            }
            state = run(self.trips.at(Int::number(k)), state);
        }
        state
    }
}

/// Loops of no more trips are unrolled in a trace: what is short is fused across trips.
const UNROLLED: i64 = 16;

/// What can be staged: states and values made of leaves.
pub trait StagedFlow {
    /// The state afterwards, with the value of an `if`.
    type Out;
    /// Runs or traces it.
    fn run(&self) -> Self::Out;
}
/// All others.
pub trait PlainFlow {
    /// The state afterwards, with the value of an `if`.
    type Out;
    /// Runs it.
    fn run(&self) -> Self::Out;
}

impl<S, V, F: FnMut(bool, S) -> (V, S)> PlainFlow for &If<S, V, F> {
    type Out = (V, S);
    fn run(&self) -> (V, S) {
        let (cond, state, mut run) = self.parts();
        run(cond.read(self.place), state)
    }
}
impl<S, F: FnMut(bool, S) -> (Option<Cond>, S)> PlainFlow for &While<S, F> {
    type Out = S;
    fn run(&self) -> S {
        let (state, run) = self.parts();
        plain_while(state, run, self.place)
    }
}

impl<I: Integer, S, D: Fn(&S) -> Cond, F: FnMut(Int<I>, S) -> S> PlainFlow for &For<I, S, D, F> {
    type Out = S;
    fn run(&self) -> S {
        let (state, run) = self.parts();
        self.unrolled(state, run)
    }
}

thread_local! {
    /// The most trips of a loop whose number is not known beforehand.
    static LIMIT: Cell<Option<i64>> = const { Cell::new(None) };
}

/// Bounds the trips of `while` and `loop` while a twin runs: more are an error.
pub struct Limit(Option<i64>);
impl Limit {
    /// No more than these.
    pub fn new(trips: u64) -> Limit {
        Limit(LIMIT.replace(i64::try_from(trips).ok()))
    }
}
impl Drop for Limit {
    fn drop(&mut self) {
        LIMIT.set(self.0);
    }
}

fn plain_while<S>(mut state: S, mut run: impl FnMut(bool, S) -> (Option<Cond>, S), place: Place) -> S {
    let (limit, mut trips) = (LIMIT.get(), Int::number(0i64));
    loop {
        let (cond, unchanged) = run(true, state);
        let over = session::has_failed() || session::is_given_up();
        if over || !cond.is_some_and(|c| c.read(place)) {
            return unchanged;
        }
        if let Some(limit) = limit {
            trips = trips.trip(limit, place) + 1;
        }
        state = run(false, unchanged).1;
    }
}

impl<S: Twinned, V: Twinned, F: FnMut(bool, S) -> (V, S)> StagedFlow for If<S, V, F> {
    type Out = (V, S);
    fn run(&self) -> (V, S) {
        let (cond, state, mut run) = self.parts();
        let cond = match cond {
            Cond::Each(v) => return each_if(&v, &state, &mut run),
            // nobody reads what comes of it
            Cond::Traced(v) if session::has_failed() => return run(truth(&v), state),
            Cond::Traced(v) if session::is_tracing() => v,
            other => return run(other.read(self.place), state),
        };
        match staged_if(&cond, &state, &mut run) {
            Ok(out) => out,
            Err(why) => {
                session::unstaged(&format!("{why} at {}", self.place));
                run(truth(&cond), state)
            }
        }
    }
}

impl<S: Twinned, F: FnMut(bool, S) -> (Option<Cond>, S)> StagedFlow for While<S, F> {
    type Out = S;
    fn run(&self) -> S {
        let (mut state, mut run) = self.parts();
        let enters;
        // a condition on plain values unrolls the loop, as long as it stays one
        loop {
            if !session::is_tracing() || session::has_failed() {
                return plain_while(state, run, self.place);
            }
            let (cond, unchanged) = run(true, state);
            state = match cond {
                Some(Cond::Traced(v)) if session::is_tracing() => {
                    enters = v;
                    state = unchanged;
                    break;
                }
                Some(cond) if cond.clone().read(self.place) => run(false, unchanged).1,
                _ => return unchanged,
            };
        }
        let counted = (Int::number(0i64), state);
        let rolled = match LIMIT.get() {
            None => staged_while(&enters, &counted.1, &mut run),
            Some(limit) => staged_while(&enters, &counted, &mut |test, (k, state): (Int<i64>, S)| {
                if test {
                    let (cond, state) = run(true, state);
                    return (cond, (k, state));
                }
                let k = k.trip(limit, self.place) + 1;
                (None, (k, run(false, state).1))
            })
            .map(|(_, state)| state),
        };
        match rolled {
            Ok(out) => out,
            // whatever it does, it does not change types
            Err(_) if session::doubt() => counted.1,
            Err(why) => {
                session::give_up(&format!("{why} at {}", self.place));
                plain_while(counted.1, run, self.place)
            }
        }
    }
}

impl<I: Integer, S: Twinned, D: Fn(&S) -> Cond, F: FnMut(Int<I>, S) -> S> StagedFlow for For<I, S, D, F> {
    type Out = S;
    fn run(&self) -> S {
        let (state, mut run) = self.parts();
        let count = self.trips.count;
        let known = count.constant();
        if !session::is_tracing() || known.is_some_and(|n| n <= UNROLLED) {
            return self.unrolled(state, run);
        }
        let (from, limit) = self.trips.range.unwrap_or((0, count));
        let counted = (Int::number(from), state);
        let enters = match staged(&counted.0, &limit, Test::Lt) {
            Some(Cond::Traced(v)) => v,
            _ => Tensor::<bool>::scalar(true).value().clone(),
        };
        let rolled = staged_while(&enters, &counted, &mut |test, (k, state)| {
            if test {
                let more = staged(&k, &limit, Test::Lt).unwrap_or(Cond::Known(true));
                return (Some(more.and(|| (self.left)(&state).not())), (k, state));
            }
            let at = if self.trips.range.is_some() { k.retyped() } else { self.trips.at(k) };
            let state = run(at, state);
            (None, (k + 1, state))
        });
        match rolled {
            Ok((_, state)) => state,
            Err(_) if known.is_none() && session::doubt() => counted.1,
            // if its trips are known, what changes from one to the next, as the length of a vector, is no obstacle
            Err(why) => {
                tracing::debug!(why, place = %self.place, "a loop is unrolled");
                if known.is_none() {
                    session::give_up(&format!("{why} at {}", self.place));
                }
                self.unrolled(counted.1, run)
            }
        }
    }
}

/// A trace with more choices is given up: where a loop over items is unrolled, each is compiled by itself.
const CHOICES: usize = 512;

/// Why something cannot be staged.
type Reason = String;

/// A part, traced: its results as leaves, and the last value of them, which says how to put them together.
struct Part<R> {
    traced: Traced,
    leaves: Leaves,
    value: R,
}

/// Constructs nested deeper than this are a function that calls itself on values that depend on data: both branches are
/// traced, so that it would never end.
pub(super) const DEPTH: usize = 48;
const ENDLESS: &str = "a function calls itself, as often as the data say";

thread_local! {
    /// The parts that are being traced, innermost last: the condition that they run under, and the truth that it has then.
    static UNDER: RefCell<Vec<(Value, bool)>> = const { RefCell::new(Vec::new()) };
}

/// As [`part`], of what runs only if a condition is `when`.
fn part_under<S: Twinned, R: Twinned>(
    cond: &Value,
    when: bool,
    state: &S,
    leaves: &Leaves,
    run: &mut dyn FnMut(S) -> R,
) -> Result<Part<R>, Reason> {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            UNDER.with_borrow_mut(Vec::pop);
        }
    }
    UNDER.with_borrow_mut(|all| all.push((cond.clone(), when)));
    let _leave = Leave;
    part(state, leaves, run)
}

/// Whether a part is being traced that does not run at these arguments: what it calculates of them may be nonsense, such
/// as an index below zero, and plain code must not get it.
pub(crate) fn is_astray() -> bool {
    let under = UNDER.with_borrow(Vec::clone);
    under.iter().any(|(cond, when)| truth(cond) != *when)
}

/// Whether nobody reads what the running twin gives: calls of annotated functions return at once, and loops end.
pub fn is_given_up() -> bool {
    session::is_given_up()
}

/// Traces a part of the twin over a state of its own. If it asserts something, whether that has held is a result of the part.
fn part<S: Twinned, R: Twinned>(state: &S, leaves: &Leaves, run: &mut dyn FnMut(S) -> R) -> Result<Part<R>, Reason> {
    traced(true, state, leaves, run)
}

/// As [`part`]; what is no part in that sense, as a condition, depends on its assertions itself.
fn traced<S: Twinned, R: Twinned>(
    apart: bool,
    state: &S,
    leaves: &Leaves,
    run: &mut dyn FnMut(S) -> R,
) -> Result<Part<R>, Reason> {
    if session::depth() > DEPTH {
        session::give_up(ENDLESS);
        return Err(ENDLESS.into());
    }
    let end = session::trace_in(leaves.values(), apart, |fresh| {
        let mut fresh = leaves.leaves.iter().zip(fresh).map(|(l, v)| l.with(v));
        // plain code may rely on a shape that is guessed wrong, or on the branch being taken
        let value = caught("plain code", || run(state.from_leaves(&mut fresh)))?;
        let out = if leaves.packs() { Leaves::packed(&value) } else { Leaves::of(&value) };
        Ok((out.values(), (out, value)))
    });
    match end {
        Ok(TraceEnd::Graph(traced, _)) if !traced.draws.is_empty() => {
            Err("random numbers are drawn in a branch or loop that depends on data".into())
        }
        Ok(TraceEnd::Graph(traced, (leaves, value))) => Ok(Part { traced, leaves, value }),
        Ok(TraceEnd::Opaque(why)) => Err(why),
        Err(e) => Err(format!("a branch or loop that depends on data: {e}")),
    }
}

/// Parts over the same inputs: the state, then what any of them captures. If one asserts something, whether that has held is carried
/// along behind the state where the parts are run again and again, and else a result of all.
fn joined(n: usize, again: bool, parts: &[&Traced]) -> Result<(Vec<Arc<Graph>>, Vec<Value>)> {
    let held = parts.iter().any(|p| p.held);
    let mut captures: Vec<Value> = Vec::new();
    for c in parts.iter().flat_map(|p| &p.captures) {
        if !captures.iter().any(|x| x.same(c)) {
            captures.push(c.clone());
        }
    }
    let graph = |p: &&Traced| {
        let b = Builder::new();
        let mut ids: Vec<NodeId> = p.graph.input_types().take(n).map(|t| b.input(t)).collect();
        let before = (held && again).then(|| b.input(&Ty::scalar(DType::Bool)));
        let all: Vec<NodeId> = captures.iter().map(|c| b.input(c.ty())).collect();
        for c in &p.captures {
            let at = captures.iter().position(|x| x.same(c)).expect("all were joined");
            ids.push(all[at]);
        }
        let mut outs = b.inline(&p.graph, &ids)?;
        match (before, outs.last_mut()) {
            (Some(before), Some(now)) if p.held => *now = b.add(Op::new(&compare::AND), &[before, *now])?,
            (None, _) if held && !p.held => outs.push(b.add(create::constant(DType::Bool, 1.0), &[])?),
            _ => {}
        }
        Ok(Arc::new(b.finish(outs)?))
    };
    Ok((parts.iter().map(graph).collect::<Result<_>>()?, captures))
}

fn types(p: &Part<impl Sized>) -> Vec<String> {
    p.traced.graph.output_types().take(p.leaves.leaves.len()).map(ToString::to_string).collect()
}

impl Traced {
    /// Notes what is there once the assertions of the part have held: the last result, if it has some.
    fn note(&self, results: &[Value]) {
        if let Some(held) = results.last().filter(|_| self.held) {
            session::has_held(held);
        }
    }
}

fn rebuilt<R: Twinned>(part: &Part<R>, values: Vec<Value>) -> R {
    let mut leaves = part.leaves.leaves.iter().zip(values).map(|(l, v): (&Leaf, Value)| l.with(v));
    part.value.from_leaves(&mut leaves)
}

fn staged_if<S: Twinned, V: Twinned>(
    cond: &Value,
    state: &S,
    run: &mut dyn FnMut(bool, S) -> (V, S),
) -> Result<(V, S), Reason> {
    if session::count_choice() > CHOICES {
        return Err(format!("more than {CHOICES} choices depend on data, in a loop that is unrolled"));
    }
    let mut leaves = Leaves::of(state);
    let yes = part_under(cond, true, state, &leaves, &mut |s| run(true, s));
    let no = part_under(cond, false, state, &leaves, &mut |s| run(false, s));
    let (mut yes, mut no) = match (yes, no) {
        (Ok(yes), Ok(no)) => (yes, no),
        (Ok(one), Err(_)) | (Err(_), Ok(one)) if session::doubt() => return alone(&one, &leaves),
        (Err(why), _) | (_, Err(why)) => return Err(why),
    };
    if yes.leaves.constants != no.leaves.constants {
        // a list whose items are values of their own in one branch, and which the other one writes to by index
        leaves = Leaves::packed(state);
        yes = part_under(cond, true, state, &leaves, &mut |s| run(true, s))?;
        no = part_under(cond, false, state, &leaves, &mut |s| run(false, s))?;
    }
    let (a, b) = (types(&yes), types(&no));
    if a != b {
        // the result of a call is taken for something else than the branch without one gives
        let calls = [&yes, &no].map(|p| control::calls_itself(&p.traced.graph));
        if calls[0] != calls[1] && session::doubt() {
            return alone(if calls[0] { &no } else { &yes }, &leaves);
        }
        return Err(format!("the branches give different types, {} and {}", a.join(", "), b.join(", ")));
    }
    if yes.leaves.constants != no.leaves.constants {
        return Err("an integer, a length or another static value depends on data".into());
    }
    let held = yes.traced.held || no.traced.held;
    if a.is_empty() && !held {
        return Ok(rebuilt(&yes, Vec::new()));
    }
    let go = || {
        let (graphs, captures) = joined(leaves.leaves.len(), false, &[&yes.traced, &no.traced])?;
        let op = Op::with(&control::IF, graphs.into_iter().map(Attr::Graph));
        let args: Vec<Value> = std::iter::once(cond.clone()).chain(leaves.values()).chain(captures).collect();
        let results = session::control(&op, &args)?;
        [&yes.traced, &no.traced].into_iter().find(|p| p.held).into_iter().for_each(|p| p.note(&results));
        Ok(results)
    };
    Ok(rebuilt(&yes, go().map_err(|e: Error| e.to_string())?))
}

/// What a part gives where it runs in any case.
fn alone<R: Twinned>(part: &Part<R>, leaves: &Leaves) -> Result<R, Reason> {
    let all: Vec<Value> = leaves.values().into_iter().chain(part.traced.captures.iter().cloned()).collect();
    let results = session::inline(&part.traced.graph, &all).map_err(|e| e.to_string())?;
    part.traced.note(&results);
    Ok(rebuilt(part, results))
}

/// A choice made element by element: both branches, each where it counts.
fn each_if<S: Twinned, R: Twinned>(cond: &Value, state: &S, run: &mut dyn FnMut(bool, S) -> (R, S)) -> (R, S) {
    let no = logical(&compare::NOT, std::slice::from_ref(cond));
    let mut branch = |when: bool, mask: &Value| {
        let leaves = Leaves::of(state).leaves;
        session::masked(mask, || run(when, state.from_leaves(&mut leaves.into_iter())))
    };
    let (yes, no) = (branch(true, cond), branch(false, &no));
    let (a, b) = (Leaves::of(&yes), Leaves::of(&no));
    if a.constants != b.constants || a.leaves.len() != b.leaves.len() {
        session::needs_elements();
        return yes;
    }
    let mut chosen = a.leaves.iter().zip(&b.leaves).map(|(a, b)| {
        a.with(crate::tensor_evaluate(|e| {
            let [c, a, b] = [cond, a.value(), b.value()].map(|v| Ex::new(e, V::Tensor(v.clone())));
            Ex::select(&c, &a, &b)
        }))
    });
    yes.from_leaves(&mut chosen)
}

/// A loop whose body runs at all if `enters`.
fn staged_while<S: Twinned>(
    enters: &Value,
    state: &S,
    run: &mut dyn FnMut(bool, S) -> (Option<Cond>, S),
) -> Result<S, Reason> {
    let mut leaves = Leaves::of(state);
    let mut body = part_under(enters, true, state, &leaves, &mut |s| run(false, s).1)?;
    if leaves.constants != body.leaves.constants {
        // a list whose items are values of their own at first, and which the body writes to by index
        leaves = Leaves::packed(state);
        body = part_under(enters, true, state, &leaves, &mut |s| run(false, s).1)?;
    }
    let mut known = false;
    let test = traced(false, state, &leaves, &mut |s| match run(true, s).0 {
        Some(Cond::Traced(v)) => Tensor::<bool>::from_value(v),
        _ => {
            known = true;
            Tensor::scalar(true)
        }
    })?;
    if known {
        return Err("the condition of a loop is traced at first and plain later".into());
    }
    let before: Vec<String> = leaves.leaves.iter().map(|l| l.value().ty().to_string()).collect();
    let after = types(&body);
    if leaves.constants != body.leaves.constants {
        return Err("an integer, a length or another static value changes in a loop that depends on data".into());
    }
    if before != after {
        let (before, after) = (before.join(", "), after.join(", "));
        return Err(format!("a loop that depends on data changes types from {before} to {after}"));
    }
    let mut carried = leaves.values();
    let n = carried.len();
    if body.traced.held {
        carried.extend(Leaves::of(&Flag::set()).values());
    }
    if carried.is_empty() {
        return Err("a loop that depends on data changes nothing".into());
    }
    let go = || {
        let (graphs, captures) = joined(n, true, &[&test.traced, &body.traced])?;
        let op = control::while_op(graphs[0].clone(), graphs[1].clone(), carried.len());
        let results = session::control(&op, &carried.iter().cloned().chain(captures).collect::<Vec<_>>())?;
        body.traced.note(&results);
        Ok(results)
    };
    Ok(rebuilt(&body, go().map_err(|e: Error| e.to_string())?))
}
