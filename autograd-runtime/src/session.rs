//! What an annotated function's twin runs under, one stack a thread:
//!
//! * a **trace** records every operation into a graph; concrete inputs are carried along, so that a plain
//!   function that reads a traced value gets it. Such a read marks the trace as opaque with its place, and
//!   from then on operations are computed at once: the twin runs to its end, nothing unwinds, and the call is
//!   then run again on the tape;
//! * a **dynamic** session computes on the tape, operation by operation or, between reads, in stretches
//!   (`tensor/stretch`).
//!
//! Both keep the first error of an operation, so that an entry point can return it.

use crate::{
    array::Array,
    error::{Error, Place, Result},
    graph::{Args, Builder, Graph, NodeId},
    interp,
    op::{Attr, Lower, Op, OpDef, arith, compare, control, create, hold, views},
    random::{Draws, Generator, Log, RngState},
    tensor::{Collector, Repr, Stretches, Value, eager, is_grad_enabled},
    ty::Ty,
};
use rustc_hash::FxHashMap;
use std::{
    cell::{Cell, OnceCell, RefCell},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

thread_local! {
    static STACK: RefCell<Vec<Rc<Session>>> = const { RefCell::new(Vec::new()) };
}

/// Of all threads: a traced tensor that reaches another thread must not be taken for one of its own.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// One running twin.
pub(crate) struct Session {
    id: u64,
    /// An annotated function's twin runs, not only a closure of `try_eval`.
    twin: bool,
    error: RefCell<Option<Error>>,
    /// What the copyable handles of traced scalars stand for.
    reals: RefCell<Vec<Value>>,
    trace: Option<Trace>,
    /// What collects the operations of a dynamic session.
    stretches: Option<Collector>,
    /// The random generators that were met.
    random: Log,
}

struct Trace {
    builder: Builder,
    /// The concrete value of each input: the arguments first, then captured tensors.
    inputs: RefCell<Vec<Value>>,
    arguments: Cell<usize>,
    captured: RefCell<FxHashMap<usize, NodeId>>,
    /// Constant tensors made while tracing, with the bits of their elements.
    made: RefCell<Vec<(Value, u64)>>,
    opaque: OnceCell<String>,
    /// Choices that depend on data, met so far.
    choices: Cell<usize>,
    /// Assertions that depend on data.
    held: RefCell<Vec<NodeId>>,
    /// Values of nodes that have been read.
    memo: RefCell<FxHashMap<NodeId, interp::Results>>,
}

/// What a finished trace gives.
pub(crate) struct Traced {
    /// Inputs are the arguments' leaves, then the captures, then random keys; outputs the result's leaves.
    pub graph: Graph,
    /// Tensors that were met and are no arguments: read anew at every call.
    pub captures: Vec<Value>,
    /// Random keys, the inputs after the captures: drawn anew at every call.
    pub draws: Draws,
    /// Whether there is one more output: that the assertions of a part have held.
    pub held: bool,
}

/// Pops the session also when the twin unwinds.
struct Running(Rc<Session>);
impl Drop for Running {
    fn drop(&mut self) {
        STACK.with_borrow_mut(|s| s.retain(|x| x.id != self.0.id));
    }
}

fn enter(trace: Option<Trace>, twin: bool, stretches: Option<Collector>) -> Running {
    let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    let random = Log::new(if trace.is_some() { id } else { 0 });
    let s =
        Rc::new(Session { id, twin, error: RefCell::default(), reals: RefCell::default(), trace, stretches, random });
    STACK.with_borrow_mut(|stack| stack.push(s.clone()));
    Running(s)
}

fn top() -> Option<Rc<Session>> {
    STACK.with_borrow(|s| s.last().cloned())
}
fn by_id(id: u64) -> Option<Rc<Session>> {
    STACK.with_borrow(|s| s.iter().rev().find(|x| x.id == id).cloned())
}

impl Session {
    fn live_trace(&self) -> Option<&Trace> {
        self.trace.as_ref().filter(|t| t.opaque.get().is_none())
    }
    /// Adds an input whose value is known.
    fn input(&self, t: &Trace, concrete: Value) -> Value {
        let ty = concrete.ty().clone();
        self.input_as(t, concrete, ty)
    }
    /// Adds an input of a type, such as that of a list, which its value has.
    fn input_as(&self, t: &Trace, concrete: Value, ty: Ty) -> Value {
        let node = t.builder.input(&ty);
        t.inputs.borrow_mut().push(concrete);
        Value::new(ty, Repr::Traced { session: self.id, node })
    }
    /// The node of a value: its own, or an input that captures it.
    fn node_of(&self, t: &Trace, v: &Value) -> NodeId {
        match v.repr() {
            Repr::Traced { session, node } if *session == self.id => *node,
            _ => {
                if let Some(&n) = t.captured.borrow().get(&v.address()) {
                    return n;
                }
                let traced = self.input(t, v.clone());
                let Repr::Traced { node, .. } = traced.repr() else { unreachable!("inputs are traced") };
                t.captured.borrow_mut().insert(v.address(), *node);
                *node
            }
        }
    }
    fn record(&self, t: &Trace, op: &Op, args: &[&Value]) -> Result<Value> {
        if args.iter().any(|a| matches!(a.repr(), Repr::Absent)) {
            let tys: Vec<&Ty> = args.iter().map(|a| a.ty()).collect();
            return op.infer(&tys).map(Value::absent);
        }
        let ids: Args = args.iter().map(|a| self.node_of(t, a)).collect();
        let mut node = t.builder.add(op.clone(), &ids)?;
        if !is_grad_enabled() && t.builder.ty_of(node).dtype.is_float() {
            node = t.builder.add(Op::new(&arith::DETACH), &[node])?;
        }
        Ok(Value::new(t.builder.ty_of(node), Repr::Traced { session: self.id, node }))
    }
    /// The value of a node, evaluated from the inputs' values; iterative, each node once.
    fn evaluate(&self, t: &Trace, node: NodeId) -> Result<Array> {
        let mut memo = t.memo.borrow_mut();
        let mut todo = vec![node];
        while let Some(&id) = todo.last() {
            if memo.contains_key(&id) {
                todo.pop();
                continue;
            }
            let n = t.builder.node(id);
            if n.op.is(&create::INPUT) {
                let input = t.inputs.borrow()[n.op.int(0) as usize].clone();
                memo.insert(id, Arc::new(vec![input.to_array()]));
                continue;
            }
            let missing: Vec<NodeId> = n.args.iter().copied().filter(|a| !memo.contains_key(a)).collect();
            if missing.is_empty() {
                let args: Vec<_> = n.args.iter().map(|a| &memo[a]).collect();
                let out = interp::run_node(&n, &args)?;
                memo.insert(id, out);
            } else {
                todo.extend(missing);
            }
        }
        Ok(memo[&node][0].clone())
    }
}

/// Records an operation if a trace is running; `None` if it is to be computed at once.
pub(crate) fn record(op: &Op, args: &[&Value]) -> Option<Result<Value>> {
    let traced = args.iter().any(|a| a.is_traced());
    if !traced && is_idle() {
        return None;
    }
    let session = top();
    if let Some(s) = &session
        && let Some(t) = s.live_trace()
    {
        return Some(s.record(t, op, args));
    }
    // computed at once, but on values of a trace that has turned opaque
    traced.then(|| {
        let stored: Vec<Value> = args.iter().map(|a| concrete(a)).collect();
        eager(op.clone(), &stored.iter().collect::<Vec<_>>())
    })
}

/// Whether a value is traced and made by an operation of this kind, or of integers that are.
pub(crate) fn is_made_by(v: &Value, def: &'static OpDef) -> bool {
    const FARTHEST: usize = 16;
    let Repr::Traced { session, node } = v.repr() else { return false };
    let Some(s) = by_id(*session) else { return false };
    let Some(t) = &s.trace else { return false };
    let mut todo = vec![*node];
    for _ in 0..FARTHEST {
        let Some(n) = todo.pop().map(|id| t.builder.node(id)) else { return false };
        if n.op.is(def) {
            return true;
        }
        if matches!(n.op.def.lower, Lower::Inline(_)) {
            todo.extend_from_slice(&n.args);
        }
    }
    false
}

/// Whether operations are being recorded into a graph.
pub(crate) fn is_tracing() -> bool {
    top().is_some_and(|s| s.live_trace().is_some())
}

/// Whether an entry point is running on this thread.
pub(crate) fn is_running() -> bool {
    STACK.with_borrow(|s| s.iter().any(|x| x.twin))
}

/// A value with elements: itself if it has some, or the traced node's, evaluated.
pub(crate) fn concrete(v: &Value) -> Value {
    let Repr::Traced { session, node } = v.repr() else { return v.clone() };
    let absent = || Value::absent(v.ty().clone());
    let Some(s) = by_id(*session) else {
        let e = Error::Autograd("a traced tensor was used after the call that traced it had ended".into());
        if let Err(e) = report(e) {
            tracing::error!("{e}");
        }
        return absent();
    };
    let Some(t) = &s.trace else { return absent() };
    match s.evaluate(t, *node) {
        Ok(a) => Value::stored(a),
        Err(e) => {
            s.error.borrow_mut().get_or_insert(e);
            absent()
        }
    }
}

/// Notes that plain code reads the elements of a value: the running traces cannot be compiled.
pub(crate) fn opaque_read(v: &Value, what: &str, place: Place) {
    if needs_elements() {
        return;
    }
    if !matches!(v.repr(), Repr::Traced { .. }) {
        // another tensor's elements become part of the trace: as an input nobody uses it makes later calls
        // trace again and see what it has become
        if let Some(s) = top()
            && let Some(t) = s.live_trace()
            && matches!(v.repr(), Repr::Stored { .. })
        {
            s.node_of(t, v);
        }
        return;
    }
    give_up(&format!("{what} at {place}"));
}

/// Whether an operation of the running entry point has failed: its values are placeholders from then on, and a loop
/// that waits for them to change would never end.
pub(crate) fn has_failed() -> bool {
    top().is_some_and(|s| s.error.borrow().is_some())
}

/// Keeps an error for the running entry point; gives it back if there is none.
pub(crate) fn report(error: Error) -> std::result::Result<(), Error> {
    if needs_elements() {
        return Ok(());
    }
    match top() {
        Some(s) => {
            s.error.borrow_mut().get_or_insert(error);
            Ok(())
        }
        None => Err(error),
    }
}

/// A handle for a scalar value: its slot and session.
pub(crate) fn store_real(v: Value) -> Option<(u32, u64)> {
    let s = top()?;
    let mut reals = s.reals.borrow_mut();
    let slot = u32::try_from(reals.len()).ok()?;
    reals.push(v);
    Some((slot, s.id))
}
/// What a handle stands for.
pub(crate) fn load_real(slot: u32, session: u64) -> Option<Value> {
    by_id(session)?.reals.borrow().get(slot as usize).cloned()
}

/// How a traced run ended.
pub(crate) enum TraceEnd<R> {
    /// Every operation was recorded.
    Graph(Traced, R),
    /// Plain code read a traced value: what and where.
    Opaque(String),
}

/// Runs `f` with the arguments as inputs of a new trace. `f` gets them traced and returns the result's leaves.
///
/// # Errors
/// The first error of an operation.
pub(crate) fn trace<R>(
    arguments: Vec<Value>,
    f: impl FnOnce(Vec<Value>) -> Result<(Vec<Value>, R)>,
) -> Result<TraceEnd<R>> {
    trace_as(arguments.into_iter().map(typed).collect(), f)
}

/// As [`trace`], with the types that the inputs have.
///
/// # Errors
/// As [`trace`].
pub(crate) fn trace_as<R>(
    arguments: Vec<(Value, Ty)>,
    f: impl FnOnce(Vec<Value>) -> Result<(Vec<Value>, R)>,
) -> Result<TraceEnd<R>> {
    traced(arguments, false, f)
}

/// As [`trace`], of a `part`, a branch or a trip: if it asserts something, whether that has held is its last output.
///
/// # Errors
/// As [`trace`].
pub(crate) fn trace_in<R>(
    arguments: Vec<Value>,
    part: bool,
    f: impl FnOnce(Vec<Value>) -> Result<(Vec<Value>, R)>,
) -> Result<TraceEnd<R>> {
    traced(arguments.into_iter().map(typed).collect(), part, f)
}

fn typed(v: Value) -> (Value, Ty) {
    let ty = v.ty().clone();
    (v, ty)
}

fn traced<R>(
    arguments: Vec<(Value, Ty)>,
    part: bool,
    f: impl FnOnce(Vec<Value>) -> Result<(Vec<Value>, R)>,
) -> Result<TraceEnd<R>> {
    let running = enter(
        Some(Trace {
            builder: Builder::new(),
            inputs: RefCell::default(),
            arguments: Cell::new(arguments.len()),
            captured: RefCell::default(),
            made: RefCell::default(),
            opaque: OnceCell::new(),
            choices: Cell::new(0),
            held: RefCell::default(),
            memo: RefCell::default(),
        }),
        true,
        None,
    );
    let s = &running.0;
    let t = s.trace.as_ref().expect("made with a trace");
    let inputs: Vec<Value> = arguments.into_iter().map(|(a, ty)| s.input_as(t, a, ty)).collect();
    let result = f(inputs);
    if let Some(e) = s.error.borrow_mut().take() {
        return Err(e);
    }
    let (outs, rest) = result?;
    if let Some(reason) = t.opaque.get() {
        return Ok(TraceEnd::Opaque(reason.clone()));
    }
    let mut nodes: Vec<NodeId> = outs.iter().map(|v| s.node_of(t, v)).collect();
    drop(outs);
    let held = t.all_held()?;
    match held {
        Some(held) if part => nodes.push(held),
        Some(held) => t.depend(&mut nodes, held)?,
        None => {}
    }
    let held = held.is_some() && part;
    Ok(TraceEnd::Graph(Traced { held, ..t.close(nodes, &s.random)? }, rest))
}

impl Trace {
    /// What is true once all assertions that were met have held.
    fn all_held(&self) -> Result<Option<NodeId>> {
        let held = self.held.borrow();
        let Some((&first, others)) = held.split_first() else { return Ok(None) };
        let both = |all, &other| self.builder.add(Op::new(&compare::AND), &[all, other]);
        others.iter().try_fold(first, both).map(Some)
    }
    /// Makes outputs depend on that.
    fn depend(&self, outs: &mut [NodeId], held: NodeId) -> Result<()> {
        for out in outs {
            *out = self.builder.add(Op::new(&hold::AFTER), &[*out, held])?;
        }
        Ok(())
    }
    /// The finished graph. Constant tensors that were made while tracing and are gone with it become
    /// constants; one that outlives the trace (a global that was initialised by it) is a capture like any
    /// other tensor, since it may be written or replaced before the next call.
    fn close(&self, outs: Vec<NodeId>, random: &Log) -> Result<Traced> {
        let graph = self.builder.snapshot(outs)?;
        let inputs = self.inputs.borrow();
        let made = self.made.borrow();
        // held by the list of inputs and by the list of what was made
        let constant = |v: &Value| made.iter().find(|(m, _)| m.same(v)).filter(|_| v.is_held_by(2) && v.version() == 0);
        let b = Builder::new();
        let mut captures = Vec::new();
        let mut nodes = Vec::with_capacity(inputs.len());
        let keys: Vec<usize> = random.inputs().into_iter().map(|k| self.builder.node(k).op.int(0) as usize).collect();
        // parameters first, so that they keep their numbers; then the captures that stay, then random keys
        let ty = |i: usize| graph.ty(graph.inputs()[i]);
        for i in 0..self.arguments.get() {
            nodes.push(Some(b.input(ty(i))));
        }
        for (i, v) in inputs.iter().enumerate().skip(self.arguments.get()) {
            nodes.push(if constant(v).is_some() || keys.contains(&i) {
                None
            } else {
                captures.push(v.clone());
                Some(b.input(ty(i)))
            });
        }
        for i in keys {
            nodes[i] = Some(b.input(ty(i)));
        }
        let mut ids = Vec::with_capacity(nodes.len());
        for (v, node) in inputs.iter().zip(nodes) {
            ids.push(match (node, constant(v)) {
                (Some(id), _) => id,
                (None, Some((_, bits))) => {
                    let attrs = [Attr::DType(v.ty().dtype), Attr::Bits(*bits)];
                    let one = b.add(Op::with(&create::CONST, attrs), &[])?;
                    b.add(Op::with(&views::EXPAND, [Attr::dims(&v.ty().shape)]), &[one])?
                }
                (None, None) => return Err(Error::Autograd("a tensor left the trace while it ended".into())),
            });
        }
        let outs = b.inline(&graph, &ids)?;
        Ok(Traced { graph: b.finish(outs)?, captures, draws: random.draws(), held: false })
    }
}

/// Notes a constant tensor made while tracing.
pub(crate) fn made(v: &Value, bits: u64) {
    if let Some(s) = top()
        && let Some(t) = s.live_trace()
    {
        t.made.borrow_mut().push((v.clone(), bits));
    }
}

/// Notes that a random generator is used: a trace must leave it as it was.
pub(crate) fn meet(g: &Generator) {
    STACK.with_borrow(|stack| stack.iter().for_each(|s| s.random.meet(g)));
}

/// A random key: an input of the running trace, or its value.
pub(crate) fn key(g: &Generator, state: RngState) -> Value {
    let session = top();
    match session.as_ref().and_then(|s| Some((s, s.live_trace()?))) {
        None => state.key(),
        Some((s, t)) => {
            let node = s.random.key(g, state, |key| s.node_of(t, &s.input(t, key)));
            Value::new(t.builder.ty_of(node), Repr::Traced { session: s.id, node })
        }
    }
}

/// What the innermost session knows of random generators.
pub(crate) fn starts<R: Default>(f: impl FnOnce(&Log) -> R) -> R {
    top().map_or_else(R::default, |s| f(&s.random))
}

/// Puts a finished graph into the trace that is running now.
///
/// # Errors
/// If the inputs do not fit.
pub(crate) fn inline(g: &Graph, inputs: &[Value]) -> Result<Vec<Value>> {
    let s = top().expect("called inside a trace");
    let t = s.live_trace().expect("called inside a trace");
    let ids: Vec<NodeId> = inputs.iter().map(|v| s.node_of(t, v)).collect();
    let value = |node| Value::new(t.builder.ty_of(node), Repr::Traced { session: s.id, node });
    Ok(t.builder.inline(g, &ids)?.into_iter().map(value).collect())
}

/// Adds a choice or loop to the trace that is running now; its results.
///
/// # Errors
/// If the arguments do not fit.
pub(crate) fn control(op: &Op, args: &[Value]) -> Result<Vec<Value>> {
    let s = top().expect("called inside a trace");
    let t = s.live_trace().expect("called inside a trace");
    let ids: Vec<NodeId> = args.iter().map(|v| s.node_of(t, v)).collect();
    let result = |(mut node, ty): (NodeId, Ty)| {
        if !is_grad_enabled() && ty.dtype.is_float() {
            node = t.builder.add(Op::new(&arith::DETACH), &[node])?;
        }
        Ok(Value::new(ty, Repr::Traced { session: s.id, node }))
    };
    t.builder.add_control(op, &ids)?.into_iter().zip(control::results(op)).map(result).collect()
}

/// Makes an input of the trace that is running now stand for a tensor that it would otherwise capture.
pub(crate) fn capture_as(v: &Value, input: &Value) {
    if let Some(s) = top()
        && let Some(t) = s.live_trace()
    {
        let node = s.node_of(t, input);
        t.captured.borrow_mut().insert(v.address(), node);
    }
}

/// Asks of a truth value of the running trace that it holds: running what is traced is an error where it does not.
pub(crate) fn hold(v: &Value, place: Place) {
    let Some(s) = top() else { return };
    let Some(t) = s.live_trace() else { return };
    let holds = Op::with(&hold::HOLDS, [Attr::Int(place.number())]);
    match t.builder.add(holds, &[s.node_of(t, v)]) {
        Ok(node) => t.held.borrow_mut().push(node),
        Err(e) => drop(report(e)),
    }
}
/// Notes a truth value of the running trace that is there once the assertions of a part of it have held.
pub(crate) fn has_held(v: &Value) {
    if let Some(s) = top()
        && let Some(t) = s.live_trace()
    {
        t.held.borrow_mut().push(s.node_of(t, v));
    }
}

/// Whether the running trace has been given up: the twin runs to its end, and nobody reads what it gives.
pub(crate) fn is_given_up() -> bool {
    top().is_some_and(|s| s.trace.as_ref().is_some_and(|t| t.opaque.get().is_some()))
}

/// The number of the session that runs; 0 if none does.
pub(crate) fn current() -> u64 {
    top().map_or(0, |s| s.id)
}

thread_local! {
    /// How many sessions run outside the innermost function that is traced into a graph of its own.
    static FUNCTION: Cell<usize> = const { Cell::new(0) };
}

/// Traces a function into a graph of its own: what it records once is recorded inside it.
pub(crate) fn function<R>(f: impl FnOnce() -> R) -> R {
    struct Back(usize);
    impl Drop for Back {
        fn drop(&mut self) {
            FUNCTION.set(self.0);
        }
    }
    let _back = Back(FUNCTION.replace(depth()));
    f()
}

/// Runs `f` under the outermost trace that is running, of the function that is traced: what it records is computed once,
/// not in each trip of a loop.
pub(crate) fn outermost<R>(f: impl FnOnce() -> R) -> R {
    struct Back(Vec<Rc<Session>>);
    impl Drop for Back {
        fn drop(&mut self) {
            STACK.with_borrow_mut(|stack| stack.append(&mut self.0));
        }
    }
    let inner =
        STACK.with_borrow_mut(|stack| match stack.iter().skip(FUNCTION.get()).position(|s| s.live_trace().is_some()) {
            Some(at) => stack.split_off(FUNCTION.get() + at + 1),
            None => Vec::new(),
        });
    let _back = Back(inner);
    f()
}

/// How many sessions run inside one another on this thread.
pub(crate) fn depth() -> usize {
    STACK.with_borrow(Vec::len)
}

/// Counts a choice that depends on data: how many the innermost trace has.
pub(crate) fn count_choice() -> usize {
    let count = |t: &Trace| {
        t.choices.set(t.choices.get() + 1);
        t.choices.get()
    };
    top().and_then(|s| s.trace.as_ref().map(count)).unwrap_or(0)
}

thread_local! {
    /// Whether a function is being traced whose results are only taken to have some types, and whether anything speaks
    /// against them.
    static GUESS: Cell<Option<bool>> = const { Cell::new(None) };
}

/// Runs `f`, in which the types of some results are only `guessed`; whether that may be why something failed.
pub(crate) fn supposing<R>(guessed: bool, f: impl FnOnce() -> R) -> (R, bool) {
    struct Back(Option<bool>);
    impl Drop for Back {
        fn drop(&mut self) {
            GUESS.set(self.0);
        }
    }
    let _back = Back(GUESS.replace(guessed.then_some(false)));
    let out = f();
    (out, GUESS.get() == Some(true))
}
/// Whether the types of some results are guessed.
pub(crate) fn is_guess() -> bool {
    GUESS.get().is_some() && !is_given_up()
}
/// Notes that something does not fit; whether a guess may be why.
pub(crate) fn doubt() -> bool {
    let guessed = is_guess();
    if guessed {
        GUESS.set(Some(true));
    }
    guessed
}
/// As [`give_up`], of what cannot be traced where it stands. If a guess may be why, only the part that is being traced fails.
pub(crate) fn unstaged(reason: &str) {
    if !doubt() || report(Error::Compile(reason.to_owned())).is_err() {
        give_up(reason);
    }
}

/// Marks the running traces as opaque: they cannot be compiled, and the twin runs on with numbers.
pub(crate) fn give_up(reason: &str) {
    if needs_elements() {
        return;
    }
    STACK.with_borrow(|stack| {
        for t in stack.iter().filter_map(|s| s.trace.as_ref()) {
            let _ = t.opaque.set(reason.to_owned());
        }
    });
}

/// Runs `f` computing at once, on the tape; errors of operations are returned.
///
/// # Errors
/// The first error of an operation.
pub(crate) fn dynamic<R>(f: impl FnOnce() -> Result<R>) -> Result<R> {
    collect(true, None, f)
}

/// As [`dynamic`], in stretches where that pays.
///
/// # Errors
/// The first error of an operation.
pub(crate) fn in_stretches<R>(known: &Arc<Stretches>, f: impl FnOnce() -> Result<R>) -> Result<R> {
    collect(true, Stretches::collector(known), f)
}

fn collect<R>(twin: bool, stretches: Option<Collector>, f: impl FnOnce() -> Result<R>) -> Result<R> {
    let running = enter(None, twin, stretches);
    let out = f();
    if let Some(c) = &running.0.stretches {
        c.end();
    }
    match running.0.error.borrow_mut().take() {
        Some(e) => Err(e),
        None => out,
    }
}

/// Runs a closure in which a failing tensor operation does not panic: the first error comes back as `Err`.
///
/// ```
/// use autograd_runtime::{Tensor, try_eval};
/// let (a, b) = (Tensor::<f64>::ones(&[2, 3]), Tensor::<f64>::ones(&[4, 5]));
/// let err = try_eval(|| a.matmul(&b)).unwrap_err().to_string();
/// assert!(err.contains("matmul") && err.contains("[2, 3] and [4, 5]"), "{err}");
/// ```
///
/// # Errors
/// The first error of an operation in the closure.
pub fn try_eval<R>(f: impl FnOnce() -> R) -> Result<R> {
    collect(false, None, || Ok(f()))
}

/// Whether nothing runs under a session on this thread: the common case outside annotated functions.
pub(crate) fn is_idle() -> bool {
    STACK.with_borrow(Vec::is_empty)
}

/// Notes that something is about to happen that a trace cannot record, as writing in place: running traces cannot
/// be compiled. Whether there is one: then it must not happen, the call is run again by the dynamic engine.
pub(crate) fn refuse(what: &str, place: Place) -> bool {
    needs_tape();
    STACK.with_borrow(|stack| {
        let mut traces = stack.iter().filter_map(|s| s.trace.as_ref()).peekable();
        let any = traces.peek().is_some();
        traces.for_each(|t| drop(t.opaque.set(format!("{what} at {place}"))));
        any
    })
}

/// As [`try_eval`], of a closure that returns a result itself.
///
/// # Errors
/// The first error of an operation in the closure, or the closure's own.
pub(crate) fn collect_errors<R>(f: impl FnOnce() -> Result<R>) -> Result<R> {
    collect(false, None, f)
}

/// Collects an operation, if the innermost session does that with such ones: the result, which is computed later.
#[inline]
pub(crate) fn collect_operation(op: &Op, args: &[&Value], place: Option<Place>) -> Option<Value> {
    let s = STACK.with_borrow(|s| s.last().filter(|s| s.stretches.is_some()).cloned())?;
    s.stretches.as_ref()?.collect(op, args, place)
}

fn collecting() -> Vec<Rc<Session>> {
    STACK.with_borrow(|stack| stack.iter().filter(|s| s.stretches.is_some()).cloned().collect())
}

/// Computes what the innermost session has collected; from here on it computes at once.
pub(crate) fn end_stretches() {
    if let Some(c) = top().as_ref().and_then(|s| s.stretches.as_ref()) {
        c.end();
    }
}

/// Notes that something is about to happen that only a tape of single operations can take part in, as a write in place
/// or a question for a node: what was collected is computed, and the functions that run stay on the plain tape.
pub(crate) fn needs_tape() {
    collecting().iter().filter_map(|s| s.stretches.as_ref()).for_each(Collector::needs_tape);
}

thread_local! {
    /// Whether a function of a scalar that stands for many elements is running, and whether it can go on so.
    static ELEMENTWISE: Cell<Option<bool>> = const { Cell::new(None) };
    /// The branches of choices made element by element that are running, innermost last.
    static BRANCHES: RefCell<Vec<Branch>> = const { RefCell::new(Vec::new()) };
}

/// One side of a choice made element by element.
struct Branch {
    /// Where it counts.
    mask: Value,
    /// Scalars before this one are of the outside.
    session: u64,
    first: usize,
}

/// Runs a function of a scalar that stands for many elements; `None` if it does what only single elements can do, or fails:
/// what it has done by then is of no meaning.
pub(crate) fn elementwise<R>(f: impl FnOnce() -> R) -> Option<R> {
    struct Back;
    impl Drop for Back {
        fn drop(&mut self) {
            ELEMENTWISE.set(None);
        }
    }
    ELEMENTWISE.set(Some(true));
    let _back = Back;
    let out = f();
    (ELEMENTWISE.get() == Some(true)).then_some(out)
}

/// Whether a function of many elements at once is running.
pub(crate) fn is_elementwise() -> bool {
    ELEMENTWISE.get().is_some()
}

/// Notes that single elements are needed; false if none stands for many.
pub(crate) fn needs_elements() -> bool {
    let running = is_elementwise();
    if running {
        ELEMENTWISE.set(Some(false));
    }
    running
}

/// Runs a branch that counts where the mask is set. What it takes from outside is passed through the mask, so that no
/// derivative leaves it elsewhere, not even a NaN.
pub(crate) fn masked<R>(mask: &Value, f: impl FnOnce() -> R) -> R {
    struct Back;
    impl Drop for Back {
        fn drop(&mut self) {
            BRANCHES.with_borrow_mut(Vec::pop);
        }
    }
    let (session, first) = top().map_or((0, 0), |s| (s.id, s.reals.borrow().len()));
    BRANCHES.with_borrow_mut(|b| b.push(Branch { mask: mask.clone(), session, first }));
    let _back = Back;
    f()
}

/// The masks of the branches that a scalar is outside of, outermost first.
pub(crate) fn masks(slot: u32, session: u64) -> Vec<Value> {
    let outside = |b: &&Branch| session != b.session || (slot as usize) < b.first;
    BRANCHES.with_borrow(|all| all.iter().filter(outside).map(|b| b.mask.clone()).collect())
}
