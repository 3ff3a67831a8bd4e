//! One call of an entry point: visit the arguments, find or build the entry, run it on its engine, put the
//! results together.

use super::{
    Engine, Function, KINDS, Kind,
    args::{
        BindPass, Binder, Destinations, GradReader, LeafIn, LeafList, Lifter, OutVal, Slots, Source, Visitor,
        destination,
    },
    build::{self, Body, Entry, accept_dynamic},
    cache, current_engine,
    key::{Key, Sink},
    matrices::{self, Hessian, Jacobian, extent},
    staged::{Derived, derivative},
    twins::{Fixed, OutReader},
};
use crate::{
    Error, Result,
    array::Data,
    op::hold,
    program::{Input, Output, Program, Results},
    random::{Draws, States},
    session,
    tensor::{Locked, Repr, Storage, Stretches, Sweep, Target, Value},
    ty::{Layout, Shape, Ty},
};
use smallvec::SmallVec;
use std::{
    any::TypeId,
    marker::PhantomData,
    ops::Deref,
    sync::{Arc, OnceLock},
};

pub(super) type Outs = SmallVec<[OutVal; 4]>;

/// What came out of a call.
pub(super) struct Outcome {
    pub outs: Outs,
    /// How many of them belong to the value.
    pub values: usize,
    constants: Constants,
    /// Whether lists are items of their own.
    pub listed: bool,
}
enum Constants {
    Entry(Arc<Entry>),
    Own(Vec<Fixed>),
}

impl Constants {
    #[inline]
    fn of(entry: &Arc<Entry>) -> Constants {
        // most values have none, and a shared count is dear beside a small scalar program
        if entry.constants.is_empty() { Constants::Own(Vec::new()) } else { Constants::Entry(entry.clone()) }
    }
}

impl Outcome {
    pub fn read<F: Function>(&self) -> F::Value {
        self.read_from::<F>(0)
    }
    fn read_from<F: Function>(&self, start: usize) -> F::Value {
        let constants = match &self.constants {
            Constants::Entry(e) => &e.constants,
            Constants::Own(c) => c,
        };
        let mut outs = self.outs[start..].iter().cloned();
        F::read(&mut OutReader { outs: Source::Iter(&mut outs), constants: &mut constants.iter() })
    }
    pub fn collect<F: Function>(&self, args: F::Args<'_>) -> F::Grads {
        self.collect_from::<F>(args, self.values)
    }
    fn collect_from<F: Function>(&self, args: F::Args<'_>, first: usize) -> F::Grads {
        let grads = Source::Iter(&mut self.outs[first..].iter().cloned());
        F::collect(args, &mut GradReader { grads, listed: self.listed })
    }
}

#[inline]
pub(super) fn visit<F: Function>(args: F::Args<'_>, kind: Kind) -> Visitor<'static> {
    visit_as::<F>(args, kind, false)
}
/// As [`visit`], with lists as items of their own or not.
#[inline]
pub(super) fn visit_as<F: Function>(args: F::Args<'_>, kind: Kind, listed: bool) -> Visitor<'static> {
    let mut v = Visitor::new(Sink::Build(Key::new(TypeId::of::<F>(), kind))).listed(listed);
    F::visit(args, &mut v);
    v
}
/// The entry for arguments, which are visited once more if it is one for their lengths and integers alone.
pub(super) fn resolve<'v, F: Function>(
    args: F::Args<'_>,
    v: Visitor<'v>,
    kind: Kind,
) -> Result<(Arc<Entry>, Visitor<'v>)> {
    let entry = lookup::<F>(args, &v, kind)?;
    if let Body::PerLength { .. } = entry.body {
        let v = visit_as::<F>(args, kind, true);
        return Ok((lookup::<F>(args, &v, kind)?, v));
    }
    Ok((entry, v))
}

/// What a derivative takes beside the arguments.
pub(super) enum Extra<'a, F: Function> {
    None,
    /// A direction for each differentiated parameter.
    Tangents(F::Tangents<'a>),
    /// Leaves: a cotangent for each result, or a direction for each differentiated one.
    Leaves(&'a [LeafIn]),
}
impl<F: Function> Extra<'_, F> {
    /// Its leaves, of which directions must be like the differentiated leaves of the arguments.
    fn leaves(&self, args: F::Args<'_>, v: &Visitor<'_>, kind: Kind, wrt: &[usize]) -> Result<LeafList> {
        let t = match *self {
            Extra::None => return Ok(LeafList::new()),
            Extra::Leaves(leaves) => return Ok(leaves.iter().cloned().collect()),
            Extra::Tangents(t) => t,
        };
        let visitor = || Visitor::new(Sink::Build(Key::new(TypeId::of::<F>(), Kind::Value))).listed(v.listed);
        let mut given = visitor();
        F::visit_tangents(t, &mut given);
        let mut slots = Slots::new();
        F::slots(args, &mut slots);
        let alike =
            given.leaves.len() == wrt.len() && wrt.iter().zip(&given.leaves).all(|(&i, d)| v.leaves[i].is_like(d));
        // scalars may be items of sequences, and of another sequence than they should be
        let placed = slots.scalars_only().is_some() || !given.leaves.iter().any(|l| matches!(l, LeafIn::Bits(..)));
        if alike && placed {
            return Ok(given.leaves);
        }
        let by_param = |visit: &dyn Fn(&mut Visitor<'_>)| {
            let mut v = visitor();
            v.params = Some(Vec::new());
            visit(&mut v);
            (v.params.unwrap_or_default(), v.leaves)
        };
        let want = by_param(&|v| F::visit(args, v));
        let found = by_param(&|v| F::visit_tangents(t, v));
        for (k, param) in F::META.params.iter().enumerate().filter(|(_, param)| param.wrt) {
            let of_param = |(params, leaves): &(Vec<u8>, LeafList)| -> LeafList {
                let own = params.iter().zip(leaves).filter(|(p, l)| usize::from(**p) == k && l.dtype().is_float());
                own.map(|(_, leaf)| leaf.clone()).collect()
            };
            let (want, found) = (of_param(&want), of_param(&found));
            if want.len() != found.len() || want.iter().zip(&found).any(|(w, f)| !w.is_like(f)) {
                let op = format!("{}::{}", F::META.name, kind.name());
                return Err(misfit(op, &format!("direction of `{}`", param.name), &want, &found));
            }
        }
        Ok(given.leaves)
    }
}

/// Why directions or cotangents are not what they belong to: by how many numbers there are, or else by types.
pub(super) fn misfit(op: String, what: &str, want: &[LeafIn], found: &[LeafIn]) -> Error {
    let all = || want.iter().chain(found);
    let is_tensor = |l: &LeafIn| matches!(l, LeafIn::Tensor(v) if v.ty().rank() > 0);
    let count = |leaves: &[LeafIn]| leaves.iter().map(extent).sum::<usize>();
    if !all().any(is_tensor) && count(want) != count(found) {
        let n = count(want);
        let numbers = if n == 1 { "number" } else { "numbers" };
        return Error::shape(op, format!("{n} {numbers} as {what}"), count(found).to_string());
    }
    let types = |leaves: &[LeafIn]| leaves.iter().map(|l| l.value().ty().to_string()).collect::<Vec<_>>().join(", ");
    Error::shape(op, format!("types {} as {what}", types(want)), types(found))
}

/// The entry of a key, built if there is none.
pub(super) fn lookup<F: Function>(args: F::Args<'_>, v: &Visitor<'_>, kind: Kind) -> Result<Arc<Entry>> {
    let key = match &v.key {
        Sink::Build(k) => k,
        Sink::Match { key, .. } => &key.with_kind(kind),
    };
    match cache::get(key) {
        Some(e) => Ok(e),
        None => Ok(cache::put(key.clone(), build::build::<F>(args, v, kind, false)?)),
    }
}

/// Runs a kind of derivative on the engine of this thread. `dests` are tensors to write gradients into.
pub(super) fn run<F: Function>(
    args: F::Args<'_>,
    v: Visitor<'_>,
    kind: Kind,
    extra: Extra<'_, F>,
    dests: Option<&[Option<Value>]>,
) -> Result<Outcome> {
    if v.nested {
        let v = itemised::<F>(args, v, kind);
        let given = extra.leaves(args, &v, kind, &build::differentiated::<F>(args, v.listed))?;
        return on_tape::<F>(args, &v, kind, &given, Tape::Nested);
    }
    if current_engine() == Engine::Dynamic {
        let mut v = itemised::<F>(args, v, kind);
        v.leaves = std::mem::take(&mut v.leaves).into_iter().map(super::args::concrete).collect();
        let given = extra.leaves(args, &v, kind, &build::differentiated::<F>(args, v.listed))?;
        return store(on_tape::<F>(args, &v, kind, &given, Tape::Plain)?, &v.leaves, dests);
    }
    let (entry, v) = resolve::<F>(args, v, kind)?;
    run_entry::<F>(&entry, args, &v, kind, extra, dests)
}

/// The arguments as the tape takes them: lists as items of their own.
pub(super) fn itemised<'v, F: Function>(args: F::Args<'_>, v: Visitor<'v>, kind: Kind) -> Visitor<'v> {
    if v.rolled && !v.listed { visit_as::<F>(args, kind, true) } else { v }
}

pub(super) fn run_entry<F: Function>(
    entry: &Arc<Entry>,
    args: F::Args<'_>,
    v: &Visitor<'_>,
    kind: Kind,
    extra: Extra<'_, F>,
    dests: Option<&[Option<Value>]>,
) -> Result<Outcome> {
    let fresh;
    let mut constants = Vec::new();
    // what the program takes after the arguments: captured tensors as they are now, new random keys
    let (entry, now) = match &entry.body {
        Body::Compiled { captures, draws, .. } if !captures.is_empty() || draws.may_change() => {
            fresh = build::refresh::<F>(entry, args, v, kind)?;
            constants.clone_from(&fresh.constants);
            (&fresh.entry, [&fresh.captures[..], &fresh.draws.keys()].concat())
        }
        Body::Compiled { draws, .. } => (entry, draws.keys()),
        Body::Dynamic { .. } | Body::PerLength { .. } => (entry, Vec::new()),
    };
    let now = &now[..];
    match &entry.body {
        Body::Compiled { program, .. } => {
            let given = extra.leaves(args, v, kind, &entry.wrt)?;
            let values = if kind.has_value() { entry.values } else { 0 };
            let listed = v.listed;
            if v.scalars
                && entry.all_scalar
                && let Some(outs) = scalars(program, &v.leaves, &given)
            {
                return Ok(Outcome { outs, values, constants: Constants::of(entry), listed });
            }
            let outs = execute(program, &v.leaves, now, &given, &entry.scalar, values, dests)
                .map_err(|e| said::<F>(args, e))?;
            let constants = if constants.is_empty() { Constants::of(entry) } else { Constants::Own(constants) };
            Ok(Outcome { outs, values, constants, listed })
        }
        Body::Dynamic { reason, stretches } => {
            accept_dynamic::<F>(reason)?;
            let given = extra.leaves(args, v, kind, &entry.wrt)?;
            store(on_tape::<F>(args, v, kind, &given, Tape::of(kind, stretches))?, &v.leaves, dests)
        }
        // what it captures has changed, and it does not work out for all lengths any more
        Body::PerLength { .. } => run::<F>(args, visit_as::<F>(args, kind, true), kind, extra, dests),
    }
}

/// What is wrong where an assertion of a program does not hold: the function itself says it.
fn said<F: Function>(args: F::Args<'_>, e: Error) -> Error {
    let message = match e {
        Error::Panicked { function, message } if function == hold::PROGRAM => message,
        e => return e,
    };
    let v = visit_as::<F>(args, Kind::Value, true);
    match States::now().again(|| on_tape::<F>(args, &v, Kind::Value, &[], Tape::Plain)) {
        Err(said @ Error::Panicked { .. }) => said,
        // sums in another order may come to something else
        _ => Error::Panicked { function: F::META.name.into(), message },
    }
}

/// How the dynamic engine runs a function.
#[derive(Clone, Copy)]
pub(super) enum Tape<'a> {
    Plain,
    /// In stretches between reads.
    Stretches(&'a Arc<Stretches>),
    /// Inside the function that is running.
    Nested,
}
impl<'a> Tape<'a> {
    /// Forward mode and second orders differentiate the tape of the way back, which knows single operations only: all of
    /// a stretch would be computed once more.
    fn of(kind: Kind, stretches: &'a Arc<Stretches>) -> Tape<'a> {
        match kind {
            Kind::Jvp | Kind::Hvp | Kind::GradAndHvp => Tape::Plain,
            _ => Tape::Stretches(stretches),
        }
    }
}

/// The derivative by running the function: on the tape, or inside the running trace.
pub(super) fn on_tape<F: Function>(
    args: F::Args<'_>,
    v: &Visitor<'_>,
    kind: Kind,
    extra: &[LeafIn],
    tape: Tape<'_>,
) -> Result<Outcome> {
    let nested = matches!(tape, Tape::Nested);
    let wrt = build::differentiated::<F>(args, v.listed);
    let inputs: Vec<Value> = v.leaves.iter().map(LeafIn::value).collect();
    let extra: Vec<Value> = extra.iter().map(LeafIn::value).collect();
    let go = || {
        derivative(F::META.name, kind, &inputs, &wrt, &extra, nested, |fresh| {
            let out = build::run_twin::<F>(args, &mut Lifter { leaves: &mut fresh.into_iter(), listed: true })?;
            let values: Vec<Value> = out.leaves.iter().map(|l| l.value().clone()).collect();
            if kind == Kind::Vjp && values.iter().map(Value::ty).ne(extra.iter().map(Value::ty)) {
                let as_leaves = |values: &[Value]| values.iter().cloned().map(LeafIn::Tensor).collect::<LeafList>();
                return Err(misfit(vjp_of::<F>(), COTANGENT, &as_leaves(&values), &as_leaves(&extra)));
            }
            Ok((values, out.constants))
        })
    };
    let Derived { value, derivative, rest } = match tape {
        Tape::Nested => go()?,
        Tape::Plain => session::dynamic(go)?,
        Tape::Stretches(known) => session::in_stretches(known, go)?,
    };
    let finish = |v: Value| OutVal::Tensor(if nested { v } else { v.alias() });
    let values = value.len();
    let outs = value.into_iter().chain(derivative).map(finish).collect();
    Ok(Outcome { outs, values, constants: Constants::Own(rest), listed: true })
}

/// Runs a scalar program on scalars: nothing but slots on the stack.
#[inline]
fn scalars(program: &Program, leaves: &[LeafIn], extra: &[LeafIn]) -> Option<Outs> {
    let bits = |l: &LeafIn| if let LeafIn::Bits(_, b) = l { Some(*b) } else { None };
    let args: SmallVec<[u64; 8]> = leaves.iter().chain(extra).map(bits).collect::<Option<_>>()?;
    let mut outs: SmallVec<[u64; 8]> = SmallVec::from_elem(0, program.outputs().len());
    program.run_slots(&args, &mut outs).then(|| outs.into_iter().map(OutVal::Bits).collect())
}

/// Runs a program on leaves. No allocation but for results that have no destination.
pub(super) fn execute(
    program: &Program,
    leaves: &[LeafIn],
    captures: &[Value],
    extra: &[LeafIn],
    scalar: &[bool],
    values: usize,
    dests: Option<&[Option<Value>]>,
) -> Result<Outs> {
    let mut bits: SmallVec<[u64; 8]> = SmallVec::from_elem(0, scalar.len());
    // arguments that are views are copied once, row-major
    let mut copies: SmallVec<[Value; 2]> = SmallVec::new();
    // in the order of the program's inputs; scalars are none
    let all =
        || leaves.iter().map(LeafIn::tensor).chain(captures.iter().map(Some)).chain(extra.iter().map(LeafIn::tensor));
    copies.extend(all().flatten().filter(|v| !v.is_contiguous()).map(|v| Value::stored(v.to_array())));
    let mut copied = copies.iter();
    let mut stored: SmallVec<[Option<Window<'_>>; 12]> = SmallVec::new();
    for v in all() {
        let row_major = |v| if Value::is_contiguous(v) { v } else { copied.next().unwrap_or(v) };
        stored.push(v.map(row_major).map(stored_of).transpose()?);
    }
    let mut results: SmallVec<[Option<Data>; 4]> = SmallVec::new();
    let mut bound: SmallVec<[Option<&Value>; 4]> = SmallVec::new();
    for (i, ty) in program.outputs().iter().enumerate() {
        let dest = dests.and_then(|d| i.checked_sub(values).and_then(|k| d.get(k)?.as_ref()));
        if let Some(d) = dest {
            destination(d, ty)?;
            let Repr::Stored { storage, .. } = d.repr() else { unreachable!("checked") };
            apart(storage, stored.iter().flatten().map(|s| s.0), bound.iter().copied().flatten())?;
        }
        if ty.is_list() {
            results.push(None);
            bound.push(None);
            continue;
        }
        let own = !scalar[i] && dest.is_none();
        results.push(own.then(|| crate::tensor::pool::take(ty.dtype, ty.numel())));
        bound.push(dest);
    }
    // the locks of buffers are only tried for while those of arguments are held: two calls that each read
    // what the other writes would wait for each other for ever
    let (locked, mut guards) = loop {
        let locked = Locked::read(stored.iter().flatten().map(|s| s.0));
        let guards: Option<SmallVec<[_; 4]>> = bound
            .iter()
            .map(|b| match b {
                Some(v) => write_guard(v).map(Some),
                None => Some(None),
            })
            .collect();
        if let Some(guards) = guards {
            break (locked, guards);
        }
        drop(locked);
        std::thread::yield_now();
    };
    let captured = leaves.len()..leaves.len() + captures.len();
    let leaf = |i: usize| if i < captured.start { &leaves[i] } else { &extra[i - captured.end] };
    let inputs: SmallVec<[Input<'_>; 12]> = stored
        .iter()
        .enumerate()
        .map(|(i, s)| match s {
            Some((storage, layout)) => Input::Data(locked.get(storage), layout.offset),
            None => match leaf(i) {
                LeafIn::Bits(_, b) => Input::Bits(*b),
                LeafIn::Tensor(_) | LeafIn::List(_) => unreachable!("tensors are stored"),
            },
        })
        .collect();
    let mut outputs: SmallVec<[Output<'_>; 8]> = SmallVec::new();
    for (((r, g), b), ty) in results.iter_mut().zip(&mut guards).zip(&mut bits).zip(program.outputs()) {
        outputs.push(match (r, g) {
            (r, _) if ty.is_list() => Output::List(r),
            (Some(d), _) => Output::Data(d),
            (None, Some(g)) => Output::Data(g),
            (None, None) => Output::Bits(b),
        });
    }
    let done = program.run(&inputs, &mut outputs);
    drop(outputs);
    drop(guards);
    for b in bound.iter().flatten() {
        if let Repr::Stored { storage, .. } = b.repr() {
            storage.bump();
        }
    }
    done?;
    let outs = results.into_iter().zip(bits).zip(program.outputs()).zip(&bound);
    Ok(outs
        .map(|(((r, bits), ty), bound)| match r {
            Some(data) if ty.is_list() => {
                let n = data.len();
                OutVal::Tensor(Value::from_data(ty.with_shape(Shape::from_slice(&[n])), data))
            }
            Some(data) => OutVal::Tensor(Value::from_data(ty.clone(), data)),
            None if bound.is_some() => OutVal::Tensor(bound.expect("just seen").clone()),
            None => OutVal::Bits(bits),
        })
        .collect())
}

/// Runs a program of tensors on tensors.
///
/// # Errors
/// As [`execute`].
pub(crate) fn run_program(program: &Program, inputs: &[Value]) -> Result<Vec<Value>> {
    let outs = execute(program, &[], inputs, &[], &vec![false; program.outputs().len()], 0, None)?;
    let tensor = |o| match o {
        OutVal::Tensor(v) => Ok(v),
        OutVal::Bits(_) => Err(Error::Compile("expected tensors as results, found a number".into())),
    };
    outs.into_iter().map(tensor).collect()
}

/// A buffer must not share storage with what is read or with another buffer.
fn apart<'v>(
    buffer: &Arc<Storage>,
    mut read: impl Iterator<Item = &'v Arc<Storage>>,
    mut buffers: impl Iterator<Item = &'v Value>,
) -> Result<()> {
    if read.any(|s| Arc::ptr_eq(s, buffer)) {
        return Err(Error::value(
            "grad_into",
            "expected buffers apart from the arguments, found one that shares storage",
        ));
    }
    if buffers.any(|b| matches!(b.repr(), Repr::Stored { storage, .. } if Arc::ptr_eq(storage, buffer))) {
        return Err(Error::value("grad_into", "expected separate buffers, found two that share storage"));
    }
    Ok(())
}

/// Moves the gradients that the dynamic engine computed into the caller's tensors.
fn store(mut o: Outcome, leaves: &[LeafIn], dests: Option<&[Option<Value>]>) -> Result<Outcome> {
    let grads = &mut o.outs[o.values..];
    let dests = dests.unwrap_or_default();
    fn tensor(l: &LeafIn) -> Option<&Arc<Storage>> {
        l.tensor().and_then(|v| stored_of(v).ok()).map(|s| s.0)
    }
    for (i, (g, d)) in grads.iter().zip(dests).enumerate() {
        if let (OutVal::Tensor(g), Some(d)) = (g, d) {
            destination(d, g.ty())?;
            apart(stored_of(d)?.0, leaves.iter().filter_map(tensor), dests[..i].iter().flatten())?;
        }
    }
    for (g, d) in grads.iter_mut().zip(dests) {
        if let (OutVal::Tensor(v), Some(d)) = (&*g, d) {
            let (storage, data) = (stored_of(d)?.0, v.to_array().into_data());
            *storage.data.write() = data;
            storage.bump();
            *g = OutVal::Tensor(d.clone());
        }
    }
    Ok(o)
}

/// The right to write a destination, unless someone holds it now.
fn write_guard(v: &Value) -> Option<parking_lot::RecursiveRwLockWriteGuard<'_, Data>> {
    let Repr::Stored { storage, .. } = v.repr() else { unreachable!("destinations are stored") };
    storage.data.try_write()
}

/// Where a stored value's elements are.
type Window<'a> = (&'a Arc<Storage>, &'a Layout);

fn stored_of(v: &Value) -> Result<Window<'_>> {
    match v.repr() {
        Repr::Stored { storage, layout } => Ok((storage, layout)),
        _ => Err(Error::Autograd("a tensor without elements was passed to an entry point".into())),
    }
}

pub(super) fn value<F: Function>(args: F::Args<'_>) -> Result<F::Value> {
    let kind = Kind::Value;
    match looked_up::<F, _>(args, None, kind, |e, mut r| read_value::<F>(e, &mut r)) {
        Some(value) => Ok(value),
        None => Ok(run::<F>(args, visit::<F>(args, kind), kind, Extra::None, None)?.read::<F>()),
    }
}
pub(super) fn grad<F: Function>(args: F::Args<'_>) -> Result<F::Grads> {
    let kind = Kind::Grad;
    match looked_up::<F, _>(args, None, kind, |_, mut r| read_grads::<F>(args, &mut r)) {
        Some(grads) => Ok(grads),
        None => Ok(run::<F>(args, visit::<F>(args, kind), kind, Extra::None, None)?.collect::<F>(args)),
    }
}
pub(super) fn value_and_grad<F: Function>(args: F::Args<'_>) -> Result<(F::Value, F::Grads)> {
    let kind = Kind::ValueAndGrad;
    let read = |e: &Entry, mut r: Results<'_>| (read_value::<F>(e, &mut r), read_grads::<F>(args, &mut r));
    if let Some(both) = looked_up::<F, _>(args, None, kind, read) {
        return Ok(both);
    }
    let o = run::<F>(args, visit::<F>(args, kind), kind, Extra::None, None)?;
    Ok((o.read::<F>(), o.collect::<F>(args)))
}
pub(super) fn jvp<F: Function>(args: F::Args<'_>, t: F::Tangents<'_>) -> Result<(F::Value, F::Value)> {
    let kind = Kind::Jvp;
    if let Some(both) = looked_up::<F, _>(args, Some(t), kind, read_values::<F>) {
        return Ok(both);
    }
    let o = run::<F>(args, visit::<F>(args, kind), kind, Extra::Tangents(t), None)?;
    Ok((o.read::<F>(), o.read_from::<F>(o.values)))
}
pub(super) fn hvp<F: Function>(args: F::Args<'_>, t: F::Tangents<'_>) -> Result<F::Grads> {
    let kind = Kind::Hvp;
    match looked_up::<F, _>(args, Some(t), kind, |_, mut r| read_grads::<F>(args, &mut r)) {
        Some(product) => Ok(product),
        None => Ok(run::<F>(args, visit::<F>(args, kind), kind, Extra::Tangents(t), None)?.collect::<F>(args)),
    }
}

pub(super) fn grad_and_hvp<F: Function>(args: F::Args<'_>, t: F::Tangents<'_>) -> Result<(F::Grads, F::Grads)> {
    let kind = Kind::GradAndHvp;
    let read = |_: &Entry, mut r: Results<'_>| (read_grads::<F>(args, &mut r), read_grads::<F>(args, &mut r));
    if let Some(both) = looked_up::<F, _>(args, Some(t), kind, read) {
        return Ok(both);
    }
    let o = run::<F>(args, visit::<F>(args, kind), kind, Extra::Tangents(t), None)?;
    Ok((o.collect::<F>(args), o.collect_from::<F>(args, o.outs.len() / 2)))
}

/// Runs with destinations for tensors, then writes the scalars.
fn into(
    mut bind: impl FnMut(&mut Binder<'_>),
    run: impl FnOnce(&[Option<Value>]) -> Result<Outcome>,
) -> Result<Outcome> {
    let mut dests = Destinations::default();
    bind(&mut Binder { pass: BindPass::Learn(&mut dests), listed: false });
    let o = run(&dests.all)?;
    let mut grads = o.outs[o.values..].iter().cloned();
    bind(&mut Binder { pass: BindPass::Write(Source::Iter(&mut grads)), listed: o.listed });
    Ok(o)
}
pub(super) fn grad_into<F: Function>(args: F::Args<'_>, mut bind: impl FnMut(&mut Binder<'_>)) -> Result<()> {
    let kind = Kind::Grad;
    match looked_up::<F, _>(args, None, kind, |_, r| write_grads(&mut bind, r)) {
        Some(()) => Ok(()),
        None => into(bind, |d| run::<F>(args, visit::<F>(args, kind), kind, Extra::None, Some(d))).map(drop),
    }
}
pub(super) fn value_and_grad_into<F: Function>(
    args: F::Args<'_>,
    mut bind: impl FnMut(&mut Binder<'_>),
) -> Result<F::Value> {
    let kind = Kind::ValueAndGrad;
    match looked_up::<F, _>(args, None, kind, |e, r| write_both::<F>(e, &mut bind, r)) {
        Some(value) => Ok(value),
        None => Ok(into(bind, |d| run::<F>(args, visit::<F>(args, kind), kind, Extra::None, Some(d)))?.read::<F>()),
    }
}

/// A function's pull-back at some arguments: maps a cotangent of the result to gradients.
pub struct Pullback<F: Function> {
    leaves: LeafList,
    /// Compiled: the program. The dynamic engine keeps what its tape needs.
    with: With,
    function: PhantomData<fn() -> F>,
    /// Whether lists are items of their own among the leaves.
    listed: bool,
}
enum With {
    Entry {
        entry: Arc<Entry>,
        captures: Vec<Value>,
        /// Versions of the arguments and captures.
        versions: Vec<u64>,
        /// The lengths of the results that are lists.
        lengths: Vec<usize>,
    },
    /// Inside an annotated function: the function is differentiated again, so that derivatives of the
    /// gradients flow, and draws the same random numbers.
    Nested(States),
    Tape {
        values: Vec<Value>,
        tracked: Vec<Value>,
    },
}

/// The arguments of a call and the entry for them, if it runs on one: the one that is kept, or that of the cache.
pub(super) fn prepare<F: Function>(
    args: F::Args<'_>,
    kind: Kind,
    kept: Option<&CompiledFn>,
) -> Result<(Option<Arc<Entry>>, Visitor<'static>)> {
    let v = visit_as::<F>(args, kind, kept.is_some_and(|kept| kept.listed));
    if v.nested || current_engine() == Engine::Dynamic {
        return Ok((None, itemised::<F>(args, v, kind)));
    }
    let Some(kept) = kept else {
        let (entry, v) = resolve::<F>(args, v, kind)?;
        return Ok((Some(entry), v));
    };
    if !matches!(&v.key, Sink::Build(key) if key.with_kind(kept.key.kind) == kept.key) {
        return Err(other_form::<F>());
    }
    let entry = kept.entry::<F>(args, &v, kind)?.clone();
    // one for all lengths may have derivatives for each length alone
    if let Body::PerLength { .. } = entry.body {
        let v = visit_as::<F>(args, kind, true);
        return Ok((Some(lookup::<F>(args, &v, kind)?), v));
    }
    Ok((Some(entry), v))
}

pub(super) fn vjp<F: Function>(args: F::Args<'_>, kept: Option<&CompiledFn>) -> Result<(F::Value, Pullback<F>)> {
    let function = PhantomData;
    let value = || match kept {
        Some(kept) => kept.run::<F>(args, Kind::Value, Extra::None, None),
        None => run::<F>(args, visit::<F>(args, Kind::Value), Kind::Value, Extra::None, None),
    };
    let (entry, v) = prepare::<F>(args, Kind::Vjp, kept)?;
    if v.nested {
        let states = States::now();
        let value = value()?.read::<F>();
        let with = With::Nested(states.with_new());
        return Ok((value, Pullback { leaves: v.leaves, with, function, listed: true }));
    }
    let Some(mut entry) = entry else { return vjp_on_tape::<F>(args, v, None) };
    let (mut captures, mut draws) = (Vec::new(), Draws::default());
    if let Body::Compiled { captures: met, draws: drawn, .. } = &entry.body {
        if met.is_empty() && !drawn.may_change() {
            draws = drawn.clone();
        } else {
            let now = build::refresh::<F>(&entry, args, &v, Kind::Vjp)?;
            (entry, captures, draws) = (now.entry, now.captures, now.draws);
        }
    }
    if let Body::Dynamic { reason, .. } | Body::PerLength { reason } = &entry.body {
        accept_dynamic::<F>(reason)?;
        let known = if let Body::Dynamic { stretches, .. } = &entry.body { Some(stretches) } else { None };
        return vjp_on_tape::<F>(args, itemised::<F>(args, v, Kind::Vjp), known);
    }
    // the value draws the same random numbers once more
    captures.extend(draws.states().again(|| draws.keys()));
    let o = value()?;
    let versions = versions(&v.leaves, &captures);
    let lengths = match &entry.body {
        Body::Compiled { program, .. } => {
            let outs = o.outs.iter().zip(program.outputs()).filter(|(_, ty)| ty.is_list());
            outs.map(|(out, _)| if let OutVal::Tensor(v) = out { v.ty().numel() } else { 0 }).collect()
        }
        Body::Dynamic { .. } | Body::PerLength { .. } => Vec::new(),
    };
    let value = o.read::<F>();
    let with = With::Entry { entry, captures, versions, lengths };
    Ok((value, Pullback { leaves: v.leaves, with, function, listed: v.listed }))
}

fn vjp_on_tape<F: Function>(
    args: F::Args<'_>,
    v: Visitor<'_>,
    stretches: Option<&Arc<Stretches>>,
) -> Result<(F::Value, Pullback<F>)> {
    let wrt = build::differentiated::<F>(args, true);
    let mut tracked = Vec::new();
    let forward = || {
        crate::set_grad_enabled(true, || {
            let mut inputs: Vec<Value> =
                v.leaves.iter().cloned().map(super::args::concrete).map(|l| l.value()).collect();
            for &i in &wrt {
                inputs[i] = inputs[i].alias();
                inputs[i].set_requires_grad(true)?;
                tracked.push(inputs[i].clone());
            }
            let out = build::run_twin::<F>(args, &mut Lifter { leaves: &mut inputs.into_iter(), listed: true })?;
            Ok((out.leaves.iter().map(|l| l.value().clone()).collect::<Vec<_>>(), out.constants))
        })
    };
    let (values, constants) = match stretches {
        Some(known) => session::in_stretches(known, forward)?,
        None => session::dynamic(forward)?,
    };
    let outs = values.iter().map(|v| OutVal::Tensor(v.alias())).collect();
    let o = Outcome { outs, values: values.len(), constants: Constants::Own(constants), listed: true };
    let with = With::Tape { values, tracked };
    Ok((o.read::<F>(), Pullback { leaves: v.leaves, with, function: PhantomData, listed: true }))
}

fn versions(leaves: &[LeafIn], captures: &[Value]) -> Vec<u64> {
    let tensors = leaves.iter().filter_map(LeafIn::tensor);
    tensors.chain(captures).map(Value::version).collect()
}

const COTANGENT: &str = "cotangent of the result";

/// The pull-back of a function, in messages.
fn vjp_of<F: Function>() -> String {
    format!("{}::vjp", F::META.name)
}

/// Cotangents as a program takes them: a list in the place of as many scalars, scalars in that of a list. `lengths` are
/// those of the lists among the types that it wants.
fn listed(op: String, cts: &[LeafIn], want: &[Ty], lengths: &[usize]) -> Result<LeafList> {
    let mut lengths = lengths.iter();
    let mut like = |ty: &Ty| {
        let n = if ty.is_list() { lengths.next().copied().unwrap_or(0) } else { 0 };
        match ty {
            ty if ty.is_list() => LeafIn::List(Value::absent(ty.with_shape(Shape::from_slice(&[n])))),
            ty if ty.rank() == 0 => LeafIn::Bits(ty.dtype, 0),
            ty => LeafIn::Tensor(Value::absent(ty.clone())),
        }
    };
    let want: LeafList = want.iter().map(&mut like).collect();
    let alike = |cts: &[LeafIn]| cts.len() == want.len() && want.iter().zip(cts).all(|(w, ct)| w.is_like(ct));
    if alike(cts) {
        return Ok(cts.iter().cloned().collect());
    }
    let mut items = LeafList::new();
    for ct in cts {
        match ct {
            LeafIn::List(v) => {
                let (dtype, data) = (v.ty().dtype, v.to_array().into_data());
                items.extend((0..v.ty().numel()).filter_map(|i| data.bits(i)).map(|bits| LeafIn::Bits(dtype, bits)));
            }
            ct => items.push(ct.clone()),
        }
    }
    let (mut rest, mut out) = (&items[..], LeafList::new());
    for leaf in &want {
        let LeafIn::List(v) = leaf else {
            out.extend(rest.split_off_first().cloned());
            continue;
        };
        let ty = v.ty();
        let Some(these) = rest.split_off(..ty.numel()) else { break };
        let mut data = Data::zeros(ty.dtype, ty.numel());
        for (i, ct) in these.iter().enumerate() {
            match ct {
                LeafIn::Bits(dtype, bits) if *dtype == ty.dtype => data.set_bits(i, *bits),
                _ => return Err(Error::dtype(op, ty.dtype.name(), ct.dtype())),
            }
        }
        out.push(LeafIn::List(Value::from_data(ty.clone(), data)));
    }
    if rest.is_empty() && alike(&out) { Ok(out) } else { Err(misfit(op, COTANGENT, &want, cts)) }
}

impl<F: Function> Pullback<F> {
    fn pull(&self, args: F::Args<'_>, cts: &[LeafIn]) -> Result<Outs> {
        match &self.with {
            With::Nested(states) => {
                let v = visit::<F>(args, Kind::Vjp);
                let o = states.again(|| run::<F>(args, v, Kind::Vjp, Extra::Leaves(cts), None))?;
                Ok(o.outs[o.values..].iter().cloned().collect())
            }
            With::Entry { entry: e, captures, versions: then, lengths } => {
                if *then != versions(&self.leaves, captures) {
                    return Err(Error::Autograd(
                        "one of the variables needed for gradient computation has been modified by an inplace \
                         operation between vjp and its pull-back"
                            .into(),
                    ));
                }
                let Body::Compiled { program, .. } = &e.body else { unreachable!("compiled entries only") };
                let from = self.leaves.len() + captures.len();
                let cts = listed(vjp_of::<F>(), cts, &program.inputs()[from..], lengths)?;
                let outs = execute(program, &self.leaves, captures, &cts, &e.scalar, e.values, None)?;
                Ok(outs[e.values..].iter().cloned().collect())
            }
            With::Tape { values, tracked } => {
                let want: LeafList = values.iter().cloned().map(LeafIn::Tensor).collect();
                if want.iter().map(LeafIn::ty).ne(cts.iter().map(LeafIn::ty)) {
                    return Err(misfit(vjp_of::<F>(), COTANGENT, &want, cts));
                }
                let cts: Vec<Value> = cts.iter().map(LeafIn::value).collect();
                let roots: Vec<_> = values.iter().cloned().zip(cts).filter(|r| r.0.requires_grad()).collect();
                let sweep = Sweep { target: Target::Of(tracked), retain_graph: true, create_graph: false };
                let grads = session::dynamic(|| sweep.run(&roots))?;
                let zero = |x: &Value| Value::stored(crate::array::Array::full(x.ty(), 0));
                Ok(grads.into_iter().zip(tracked).map(|(g, x)| OutVal::Tensor(g.unwrap_or_else(|| zero(x)))).collect())
            }
        }
    }
    /// The vector-Jacobian product with a cotangent of the result: gradients as `grad` returns them. `args`
    /// are the arguments the pull-back was made at: they give the gradients their form.
    ///
    /// # Errors
    /// If the cotangent has not the result's type.
    pub fn apply(&self, args: F::Args<'_>, ct: &impl super::Arg) -> Result<F::Grads> {
        let mut v = Visitor::new(Sink::Build(Key::new(TypeId::of::<F>(), Kind::Value)));
        v.whole = matches!(self.with, With::Entry { .. });
        ct.visit(&mut v);
        let outs = self.pull(args, &v.leaves)?;
        Ok(F::collect(args, &mut GradReader { grads: Source::Iter(&mut outs.into_iter()), listed: self.listed }))
    }
}

/// A compiled function that is kept and called: `c.grad(args..)`. It derefs to the methods generated for the
/// function: its value, gradient, products and matrices, each compiled when it is first asked for and kept from then on.
/// Arguments of another form than it was compiled for are an error.
pub struct Compiled<F: Function>(F::Calls);
impl<F: Function> Deref for Compiled<F> {
    type Target = F::Calls;
    fn deref(&self) -> &F::Calls {
        &self.0
    }
}

/// Runs an entry on scalars in slots, if it is such an entry; how many results there are.
#[inline]
pub(super) fn run_slots(entry: &Entry, slots: &[u64], out: &mut [u64]) -> Option<usize> {
    let Body::Compiled { program, .. } = &entry.body else { return None };
    if !entry.all_scalar || current_engine() == Engine::Dynamic {
        return None;
    }
    let out = out.get_mut(..program.outputs().len())?;
    program.run_slots(slots, out).then_some(out.len())
}

/// The gradient from slots.
#[inline]
pub(super) fn grads_of<F: Function>(args: F::Args<'_>, slots: &[u64]) -> F::Grads {
    read_grads::<F>(args, &mut Results::of_scalars(slots))
}
/// The value from slots.
#[inline]
pub(super) fn value_of<F: Function>(slots: &[u64], constants: &[Fixed]) -> F::Value {
    F::read(&mut OutReader { outs: Source::Slots(Results::of_scalars(slots)), constants: &mut constants.iter() })
}

/// Runs an entry on slots and directions, if it is such an entry; `read` reads the results, those of the value with its
/// constants first.
#[inline]
fn run_borrowed<F: Function, R>(
    entry: &Entry,
    slots: &Slots<'_>,
    tangents: Option<F::Tangents<'_>>,
    read: impl FnOnce(&Entry, Results<'_>) -> R,
) -> Option<R> {
    let Body::Compiled { program, .. } = &entry.body else { return None };
    if !entry.closed || current_engine() == Engine::Dynamic {
        return None;
    }
    let both;
    let slots = match tangents {
        None => slots,
        Some(t) => {
            let (mut all, mut given) = (slots.clone(), Slots::new());
            F::tangent_slots(t, &mut given);
            if !all.add_directions(&entry.wrt, &given) {
                return None;
            }
            both = all;
            &both
        }
    };
    program.run_borrowed(slots, |results| read(entry, results))
}

/// As a kept function's call, with a look-up in the cache: through slots on the stack. `None` where that does not apply; the
/// usual way then says why.
#[inline]
fn looked_up<F: Function, R>(
    args: F::Args<'_>,
    tangents: Option<F::Tangents<'_>>,
    kind: Kind,
    read: impl FnOnce(&Entry, Results<'_>) -> R,
) -> Option<R> {
    let mut slots = Slots::new();
    F::slots(args, &mut slots);
    slots.filled()?;
    // scalars and lists add nothing to a key
    let entry = cache::get(&Key::new(TypeId::of::<F>(), kind))?;
    run_borrowed::<F, R>(&entry, &slots, tangents, read)
}

/// The value, which comes first among the results.
#[inline]
fn read_value<F: Function>(entry: &Entry, results: &mut Results<'_>) -> F::Value {
    let mut constants = entry.constants.iter();
    let mut r = OutReader { outs: Source::Slots(*results), constants: &mut constants };
    let value = F::read(&mut r);
    if let Source::Slots(read) = r.outs {
        results.skip_to(read);
    }
    value
}
/// The value and its derivative.
fn read_values<F: Function>(entry: &Entry, mut results: Results<'_>) -> (F::Value, F::Value) {
    (read_value::<F>(entry, &mut results), read_value::<F>(entry, &mut results))
}
#[inline]
fn read_grads<F: Function>(args: F::Args<'_>, results: &mut Results<'_>) -> F::Grads {
    let mut r = GradReader { grads: Source::Slots(*results), listed: false };
    let grads = F::collect(args, &mut r);
    if let Source::Slots(read) = r.grads {
        results.skip_to(read);
    }
    grads
}
/// Writes gradients into the caller's buffers.
#[inline]
fn write_grads(bind: &mut impl FnMut(&mut Binder<'_>), results: Results<'_>) {
    bind(&mut Binder { pass: BindPass::Write(Source::Slots(results)), listed: false });
}
/// As [`write_grads`], and gives the value.
#[inline]
fn write_both<F: Function>(
    entry: &Entry,
    bind: &mut impl FnMut(&mut Binder<'_>),
    mut results: Results<'_>,
) -> F::Value {
    let value = read_value::<F>(entry, &mut results);
    write_grads(bind, results);
    value
}

/// What a [`Compiled`] holds: the programs for one form of arguments.
pub struct CompiledFn {
    key: Key,
    /// Whether it is compiled for the lengths of lists and integers that it was made with.
    listed: bool,
    /// What it has been asked for so far, by kind.
    entries: [OnceLock<Arc<Entry>>; KINDS],
}

pub(super) fn compile<F: Function>(args: F::Args<'_>) -> Result<Compiled<F>> {
    let mut v = visit::<F>(args, Kind::Value);
    if v.rolled && !v.nested {
        v = resolve::<F>(args, v, Kind::Value)?.1;
    }
    let listed = v.listed;
    let Sink::Build(key) = &v.key else { unreachable!("visits build keys") };
    let c = CompiledFn { key: key.clone(), listed, entries: Default::default() };
    // compiled now, so that the first call is as fast as the others; a function without a gradient has a value
    match c.entry::<F>(args, &visit_as::<F>(args, Kind::ValueAndGrad, listed), Kind::ValueAndGrad) {
        Ok(_) => {}
        Err(Error::Autograd(_)) => drop(c.entry::<F>(args, &v, Kind::Value)?),
        Err(e) => return Err(e),
    }
    Ok(Compiled(F::calls(c)))
}

fn other_form<F: Function>() -> Error {
    Error::value(
        format!("{}::compile", F::META.name),
        "expected arguments of the dtypes, shapes and static values it was compiled for, found others",
    )
}

impl CompiledFn {
    #[inline]
    fn entry<F: Function>(&self, args: F::Args<'_>, v: &Visitor<'_>, kind: Kind) -> Result<&Arc<Entry>> {
        let slot = &self.entries[kind as usize];
        if let Some(e) = slot.get() {
            return Ok(e);
        }
        let entry = lookup::<F>(args, v, kind)?;
        Ok(slot.get_or_init(|| entry))
    }
    #[inline]
    fn run<F: Function>(
        &self,
        args: F::Args<'_>,
        kind: Kind,
        extra: Extra<'_, F>,
        dests: Option<&[Option<Value>]>,
    ) -> Result<Outcome> {
        let mut v = Visitor::new(Sink::compare(&self.key));
        v.set_listed(self.listed);
        F::visit(args, &mut v);
        if v.nested || current_engine() == Engine::Dynamic {
            return run::<F>(args, v, kind, extra, dests);
        }
        if !v.key.matched() {
            return Err(other_form::<F>());
        }
        let entry = self.entry::<F>(args, &v, kind)?;
        run_entry::<F>(entry, args, &v, kind, extra, dests)
    }
    /// What is read of the results, through slots on the stack: a call costs little more than its arithmetic. `None` where that
    /// does not apply; the usual way then says why.
    #[inline]
    fn on_slots<F: Function, R>(
        &self,
        kind: Kind,
        args: F::Args<'_>,
        tangents: Option<F::Tangents<'_>>,
        read: impl FnOnce(&Entry, Results<'_>) -> R,
    ) -> Option<R> {
        // integers are part of the key of one that is for them alone
        let entry = self.entries[kind as usize].get().filter(|_| !self.listed)?;
        let mut slots = Slots::new();
        F::slots(args, &mut slots);
        run_borrowed::<F, R>(entry, &slots, tangents, read)
    }
    /// The gradient.
    ///
    /// # Errors
    /// If the arguments have other dtypes, shapes or static values than those it was compiled for.
    #[inline]
    pub fn grad<F: Function>(&self, args: F::Args<'_>) -> Result<F::Grads> {
        match self.on_slots::<F, _>(Kind::Grad, args, None, |_, mut r| read_grads::<F>(args, &mut r)) {
            Some(grads) => Ok(grads),
            None => Ok(self.run::<F>(args, Kind::Grad, Extra::None, None)?.collect::<F>(args)),
        }
    }
    /// Value and gradient.
    ///
    /// # Errors
    /// As [`CompiledFn::grad`].
    #[inline]
    pub fn value_and_grad<F: Function>(&self, args: F::Args<'_>) -> Result<(F::Value, F::Grads)> {
        let read = |e: &Entry, mut r: Results<'_>| (read_value::<F>(e, &mut r), read_grads::<F>(args, &mut r));
        if let Some(both) = self.on_slots::<F, _>(Kind::ValueAndGrad, args, None, read) {
            return Ok(both);
        }
        let o = self.run::<F>(args, Kind::ValueAndGrad, Extra::None, None)?;
        Ok((o.read::<F>(), o.collect::<F>(args)))
    }
    /// The value.
    ///
    /// # Errors
    /// As [`CompiledFn::grad`].
    #[inline]
    pub fn value<F: Function>(&self, args: F::Args<'_>) -> Result<F::Value> {
        match self.on_slots::<F, _>(Kind::Value, args, None, |e, mut r| read_value::<F>(e, &mut r)) {
            Some(value) => Ok(value),
            None => Ok(self.run::<F>(args, Kind::Value, Extra::None, None)?.read::<F>()),
        }
    }
    /// The value and a pull-back.
    ///
    /// # Errors
    /// As [`CompiledFn::grad`].
    pub fn vjp<F: Function>(&self, args: F::Args<'_>) -> Result<(F::Value, Pullback<F>)> {
        vjp::<F>(args, Some(self))
    }
    /// The value and its derivative along the tangents.
    ///
    /// # Errors
    /// As [`CompiledFn::grad`], and for tangents of other shapes.
    pub fn jvp<F: Function>(&self, args: F::Args<'_>, t: F::Tangents<'_>) -> Result<(F::Value, F::Value)> {
        if let Some(both) = self.on_slots::<F, _>(Kind::Jvp, args, Some(t), read_values::<F>) {
            return Ok(both);
        }
        let o = self.run::<F>(args, Kind::Jvp, Extra::Tangents(t), None)?;
        Ok((o.read::<F>(), o.read_from::<F>(o.values)))
    }
    /// The Hessian times the directions.
    ///
    /// # Errors
    /// As [`CompiledFn::jvp`].
    pub fn hvp<F: Function>(&self, args: F::Args<'_>, t: F::Tangents<'_>) -> Result<F::Grads> {
        match self.on_slots::<F, _>(Kind::Hvp, args, Some(t), |_, mut r| read_grads::<F>(args, &mut r)) {
            Some(product) => Ok(product),
            None => Ok(self.run::<F>(args, Kind::Hvp, Extra::Tangents(t), None)?.collect::<F>(args)),
        }
    }
    /// The gradient, and the Hessian times the directions.
    ///
    /// # Errors
    /// As [`CompiledFn::jvp`].
    pub fn grad_and_hvp<F: Function>(&self, args: F::Args<'_>, t: F::Tangents<'_>) -> Result<(F::Grads, F::Grads)> {
        let read = |_: &Entry, mut r: Results<'_>| (read_grads::<F>(args, &mut r), read_grads::<F>(args, &mut r));
        if let Some(both) = self.on_slots::<F, _>(Kind::GradAndHvp, args, Some(t), read) {
            return Ok(both);
        }
        let o = self.run::<F>(args, Kind::GradAndHvp, Extra::Tangents(t), None)?;
        Ok((o.collect::<F>(args), o.collect_from::<F>(args, o.outs.len() / 2)))
    }
    /// All derivatives of all results.
    ///
    /// # Errors
    /// As [`CompiledFn::grad`].
    pub fn jacobian<F: Function>(&self, args: F::Args<'_>) -> Result<Jacobian<F>> {
        matrices::jacobian::<F>(args, Some(self))
    }
    /// All second derivatives.
    ///
    /// # Errors
    /// As [`CompiledFn::grad`].
    pub fn hessian<F: Function>(&self, args: F::Args<'_>) -> Result<Hessian<F>> {
        matrices::hessian::<F>(args, Some(self))
    }
    /// The gradient, into the caller's buffers; nothing is allocated.
    ///
    /// # Errors
    /// As [`CompiledFn::grad`], and for buffers of another shape or that share storage with an argument.
    pub fn grad_into<F: Function>(&self, args: F::Args<'_>, mut bind: impl FnMut(&mut Binder<'_>)) -> Result<()> {
        match self.on_slots::<F, _>(Kind::Grad, args, None, |_, r| write_grads(&mut bind, r)) {
            Some(()) => Ok(()),
            None => into(bind, |d| self.run::<F>(args, Kind::Grad, Extra::None, Some(d))).map(drop),
        }
    }
    /// The gradient into the caller's buffers; returns the value.
    ///
    /// # Errors
    /// As [`CompiledFn::grad_into`].
    pub fn value_and_grad_into<F: Function>(
        &self,
        args: F::Args<'_>,
        mut bind: impl FnMut(&mut Binder<'_>),
    ) -> Result<F::Value> {
        match self.on_slots::<F, _>(Kind::ValueAndGrad, args, None, |e, r| write_both::<F>(e, &mut bind, r)) {
            Some(value) => Ok(value),
            None => Ok(into(bind, |d| self.run::<F>(args, Kind::ValueAndGrad, Extra::None, Some(d)))?.read::<F>()),
        }
    }
}
