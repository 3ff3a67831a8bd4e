//! Turns the reverse mode of loops into loops: `while_vjp` becomes a `while_save`, which runs the loop and records
//! what its reverse mode reads, and a `while_back` over the record. A `while` of the same arguments is the `while_save`
//! itself, so that value and gradient run the loop once.
//!
//! What is recorded of a trip: the reverse mode of the body is one graph, in which some nodes depend on cotangents
//! and the others, the known ones, do not. It is cut in two ([`super::split`]): the known part joins the loop that runs
//! forwards, the rest runs backwards, and what goes from the one to the other is recorded. Loops inside a loop record as
//! well, so that nothing runs twice. Over tensors, whose loops run programs of their own, the carried values that the
//! step back reads are recorded, and the known part is computed again, unless functions are called in it.
//!
//! Trips in which the way back has nothing to do are not recorded ([`super::taken`]).
//!
//! A function that calls itself is treated as the body of such a loop: `call_save` records what the call leaves, its inner
//! calls' places in the record included, and `call_back` reads it from there.
//!
//! Afterwards every result of control flow is read through a projection.

use super::{
    checkpoint::Checkpoints,
    extrema::{Extremum, extremum},
    hoist,
    join::join,
    leaf,
    prune::prune,
    split, sums,
    taken::{self, Kept},
    vector::{Trips, vector},
};
use crate::{
    diff,
    error::{Error, Result},
    graph::{Args, Builder, Graph, Node, NodeId},
    op::{
        Attr, Lower, Op, OpDef, Signature, arith, compare,
        control::{
            self, CALL, CALL_BACK, CALL_RECORD, CALL_SAVE, CALL_VJP, IF, PROJ, WHILE, WHILE_BACK, WHILE_RECORD,
            WHILE_SAVE, WHILE_VJP, is_call, is_control,
        },
        create,
    },
    pass,
    ty::{DType, Ty},
};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;
use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    collections::BTreeSet,
    sync::Arc,
};

/// The graph in the form that programs are made of. `scalar` says that all values are scalars and lists, `memory` how
/// many bytes a loop may record, if that is bounded.
pub(super) fn lower(g: &Graph, scalar: bool, memory: Option<u64>) -> Result<Graph> {
    let memory = Cell::new(memory.filter(|_| scalar));
    let lowering = Lowering { scalar, pairs: RefCell::default(), memory, function: RefCell::default() };
    let g = prune(&lowering.finish(&lowering.expand(g, None)?)?)?;
    if scalar { join(&g) } else { Ok(g) }
}

/// A loop and the arguments it starts from.
type Key = (SmallVec<[Attr; 2]>, Args);

fn key(n: &Node) -> Key {
    if is_call(&n.op) {
        let args = if n.op.is(&CALL_VJP) { n.op.called().ins.len() } else { n.args.len() };
        return (n.op.attrs[..1].iter().cloned().collect(), Args::from_slice(&n.args[..args]));
    }
    let args = if n.op.is(&WHILE_VJP) { n.args.len() - control::floats(n.op.graph(1)).len() } else { n.args.len() };
    (n.op.attrs[..3].iter().cloned().collect(), Args::from_slice(&n.args[..args]))
}

/// How a loop is run forwards and backwards.
struct Pair {
    /// The body, which also gives what is recorded of a trip.
    body: Graph,
    /// The step back: a record, the trip, captures, cotangents and sums.
    step: Arc<Graph>,
    /// Values in the record of a trip.
    record: usize,
    /// The arguments of the loop that the step takes, what is kept of the loop behind them.
    captures: Vec<usize>,
    /// See [`Halves`].
    fixed: Graph,
    /// The captures that it differentiates in, in order.
    captured: Vec<usize>,
    /// Which trips it is of; if of none, `step` is the whole way back ([`Checkpoints::back`]).
    kept: Kept,
}

/// The reverse mode of a loop's body.
#[derive(Clone)]
struct Halves {
    /// From the arguments of a trip to what is recorded of it.
    known: Graph,
    /// The step back, and the arguments of the loop that it takes, what is kept of the loop behind them.
    step: Graph,
    captures: Vec<usize>,
    /// From the arguments of a trip to what is kept of the loop: elements of lists that are the same in all trips.
    fixed: Graph,
}

impl Halves {
    /// Values in the record of a trip.
    fn record(&self) -> usize {
        self.known.outputs().len()
    }
}

impl Pair {
    fn new(body: Graph, halves: Halves, captured: Vec<usize>, kept: Kept) -> Pair {
        let record = halves.record();
        let Halves { step, captures, fixed, .. } = halves;
        Pair { body, step: Arc::new(step), record, captures, fixed, captured, kept }
    }

    /// What the loop forwards gives besides what it carries: the number of trips and where the record ends, or what is kept of
    /// the last trip that counts.
    fn left(&self) -> Vec<Ty> {
        let scalar = |dtype| std::iter::once(Ty::scalar(dtype));
        match self.kept {
            Kept::Last => scalar(DType::Bool).chain(self.step.input_types().take(self.record).cloned()).collect(),
            Kept::None | Kept::All | Kept::Taken => scalar(DType::I64).chain(scalar(DType::I64)).collect(),
        }
    }
}

/// How a function is called forwards and backwards.
struct CallPair {
    /// The function, which also gives what is recorded of a call.
    save: Graph,
    /// The way back: a record, the arguments that it takes, cotangents and sums.
    back: Arc<Graph>,
    /// Values in the record of a call.
    record: usize,
    /// The arguments that the way back takes.
    takes: Vec<usize>,
}

/// What a number of an arena stands for.
#[derive(Clone)]
enum Recorded {
    Loop(Arc<Pair>),
    Call(Arc<CallPair>),
}

struct Lowering {
    scalar: bool,
    pairs: RefCell<Vec<Recorded>>,
    /// What a loop may record, where it may be run once more for less.
    memory: Cell<Option<u64>>,
    /// If what is being lowered is a function that calls itself, the arguments that its way back takes.
    function: RefCell<Option<Vec<usize>>>,
}

/// What is known of the inputs of a graph that is going to be cut.
pub(super) struct Inputs<'a> {
    /// Cotangents and what is made of them.
    pub unknown: &'a [bool],
    /// Of the known ones, those that the backward part may read at no cost.
    pub free: &'a [bool],
    /// The known ones that are the same in all trips of the loop that the graph is a trip of.
    pub fixed: &'a [bool],
}

impl Lowering {
    /// Replaces the reverse mode of loops by a loop that is to record and one over the record; and, if the graph is
    /// going to be cut, choices that mix what is known with cotangents by one of each kind.
    fn expand(&self, g: &Graph, inputs: Option<&Inputs<'_>>) -> Result<Graph> {
        let live = g.live();
        // whether the backward part may read a list as it is now
        let free = |a: NodeId| {
            let n = g.node(a);
            inputs.is_none_or(|x| n.op.is(&create::INPUT) && x.free[n.op.int(0) as usize])
        };
        // loops that are read once more and not recorded
        let read = |n: &Node| -> Option<Extremum> {
            let open = self.scalar && n.args.iter().all(|&a| !g.ty(a).is_list() || free(a));
            open.then(|| extremum(&n.op)).flatten()
        };
        // what each loop is differentiated in
        let mut wanted: FxHashMap<Key, BTreeSet<usize>> = FxHashMap::default();
        for (_, n) in g.nodes().filter(|(id, n)| live[id.index()] && n.op.is(&WHILE_VJP) && read(n).is_none()) {
            let carried = n.op.int(2);
            let of = wanted.entry(key(n)).or_default();
            of.extend(n.op.ints(3).iter().filter(|&&i| i >= carried).map(|&i| i as usize));
        }
        let called: FxHashSet<Key> =
            g.nodes().filter(|(id, n)| live[id.index()] && n.op.is(&CALL_VJP)).map(|(_, n)| key(n)).collect();
        let mut recorded: Vec<(Key, Vec<NodeId>, Recorded)> = Vec::new();
        let b = Builder::new();
        let mut map: Vec<Option<NodeId>> = vec![None; g.len()];
        let mut all: FxHashMap<NodeId, Vec<NodeId>> = FxHashMap::default();
        let mut unknown = vec![false; g.len()];
        for (k, &i) in g.inputs().iter().enumerate() {
            map[i.index()] = Some(b.input(g.ty(i)));
            unknown[i.index()] = inputs.is_some_and(|x| x.unknown[k]);
        }
        for (id, n) in g.nodes() {
            if !live[id.index()] || n.op.is(&create::INPUT) {
                continue;
            }
            unknown[id.index()] = n.args.iter().any(|a| unknown[a.index()]);
            if n.op.is(&PROJ) {
                map[id.index()] = Some(all[&n.args[0]][n.op.int(0) as usize]);
                continue;
            }
            let args: Args = n.args.iter().map(|a| map[a.index()].expect("arguments come first")).collect();
            if !is_control(&n.op) {
                map[id.index()] = Some(b.add(n.op.clone(), &args)?);
                continue;
            }
            let loops = n.op.is(&WHILE) || n.op.is(&WHILE_VJP);
            let again = if n.op.is(&WHILE_VJP) { read(n) } else { None };
            let outs = if let Some(again) = again {
                let (loop_args, ct) = args.split_at(args.len() - 1);
                again.back(&b, &n.op, loop_args, ct[0])?
            } else if let Some(captured) = loops.then(|| wanted.get(&key(n))).flatten() {
                let at = match recorded.iter().position(|r| r.0 == key(n)) {
                    Some(at) => at,
                    None => {
                        let open: Vec<bool> = n.args.iter().map(|&a| !g.ty(a).is_list() || free(a)).collect();
                        let pair = Arc::new(self.pair(&n.op, captured, &open)?);
                        let number = self.pairs.borrow().len();
                        self.pairs.borrow_mut().push(Recorded::Loop(pair.clone()));
                        let left = Attr::Own(Arc::new(Signature { ins: Vec::new(), outs: pair.left() }));
                        let attrs = n.op.attrs[..3].iter().cloned().chain([Attr::Int(number as i64), left]);
                        let loop_args = &args[..n.op.graph(1).inputs().len()];
                        let values = b.add_control(&Op::with(&WHILE_RECORD, attrs), loop_args)?;
                        recorded.push((key(n), values, Recorded::Loop(pair)));
                        recorded.len() - 1
                    }
                };
                let (_, values, Recorded::Loop(pair)) = &recorded[at] else {
                    return Err(Error::Compile("bug: a loop is taken for a call".into()));
                };
                if n.op.is(&WHILE) {
                    values.clone()
                } else {
                    // a choice over tensors runs programs of its own, which have no part in this record
                    let guard = guard(g, n).filter(|_| self.scalar);
                    let guard = guard.map(|(c, when)| (map[c.index()].expect("arguments come first"), when));
                    self.way_back(&b, n, &args, values, pair, guard)?
                }
            } else if (n.op.is(&CALL) || n.op.is(&CALL_VJP)) && called.contains(&key(n)) {
                let at = match recorded.iter().position(|r| r.0 == key(n)) {
                    Some(at) => at,
                    None => {
                        let (made, number) = self.calls(&n.op)?;
                        let attrs = [n.op.attrs[0].clone(), Attr::Int(number)];
                        let values = b.add_control(&Op::with(&CALL_RECORD, attrs), &args[..n.op.called().ins.len()])?;
                        recorded.push((key(n), values, made));
                        recorded.len() - 1
                    }
                };
                let (_, values, made) = &recorded[at];
                if n.op.is(&CALL) { values.clone() } else { call_back(&b, n, &args, values, made)? }
            } else if let (true, Some(_)) = (n.op.is(&IF) && unknown[id.index()], inputs) {
                let unknown: Vec<bool> = n.args[1..].iter().map(|a| unknown[a.index()]).collect();
                let open: Vec<bool> = n.args[1..].iter().map(|&a| !g.ty(a).is_list() || free(a)).collect();
                let fixed = vec![false; open.len()];
                self.choice(&b, &n.op, &args, &Inputs { unknown: &unknown, free: &open, fixed: &fixed })?
            } else {
                b.add_control(&n.op, &args)?
            };
            map[id.index()] = outs.first().copied();
            all.insert(id, outs);
        }
        b.finish(g.outputs().iter().map(|o| map[o.index()].expect("outputs are live")).collect())
    }

    /// The way back of a loop from what the loop that recorded gives, where a condition is as it should be, if there is one: the
    /// cotangents that a `while_vjp` asks for.
    fn way_back(
        &self,
        b: &Builder,
        n: &Node,
        args: &[NodeId],
        values: &[NodeId],
        pair: &Pair,
        guard: Option<(NodeId, bool)>,
    ) -> Result<Vec<NodeId>> {
        let carried = n.op.int(2) as usize;
        let (loop_args, cotangents) = split_args(n, args);
        let loop_args = self.given(b, pair, &n.op, loop_args)?;
        if pair.kept == Kept::Last {
            let [captures, captured] =
                [&pair.captures, &pair.captured].map(|of| of.iter().map(|&i| loop_args[i]).collect::<Vec<_>>());
            return Ok(asked(
                n,
                pair,
                &taken::back(b, &pair.step, &values[carried..], &captures, cotangents, &captured)?,
            ));
        }
        // as the `while_save` of the pair
        let arena = b.node(b.node(values[carried]).args[0]).op.attrs[3].clone();
        // of what is known otherwise nothing need be recorded by a loop around this one
        let known = if pair.kept == Kept::Taken { None } else { trips(b, &n.op, args)? };
        let trips = known.unwrap_or(values[carried]);
        let end = if self.scalar && pair.record == 0 {
            b.add(create::constant_bits(DType::I64, 0), &[])?
        } else {
            values[carried + 1]
        };
        let (ends, args) = ([trips, end], [&loop_args, cotangents].concat());
        match guard {
            Some((c, when)) => guarded(b, n, &args, ends, &arena, pair, c, when),
            None => back(b, n, &args, ends, arena, pair, self.scalar),
        }
    }

    /// A choice that takes cotangents as one that computes what is known and one that reads it.
    fn choice(&self, b: &Builder, op: &Op, args: &[NodeId], inputs: &Inputs<'_>) -> Result<Vec<NodeId>> {
        let cut = |i: usize| split::cut(&self.expand(op.graph(i), Some(inputs))?, inputs);
        let branches = [cut(0)?, cut(1)?];
        // each branch gives what both record, zeros for the other one
        let tys = branches.each_ref().map(|c| c.known.output_types().cloned().collect::<Vec<Ty>>());
        let known_args: Vec<NodeId> =
            args[1..].iter().zip(inputs.unknown).filter(|(_, u)| !**u).map(|(&a, _)| a).collect();
        let mut read = Vec::new();
        if tys.iter().any(|t| !t.is_empty()) {
            let record = |i: usize| -> Result<Attr> {
                let inner = Builder::new();
                let ins: Vec<NodeId> = known_args.iter().map(|&a| inner.input(&b.ty_of(a))).collect();
                let own = inner.inline(&branches[i].known, &ins)?;
                let other = tys[1 - i].iter().map(|ty| diff::zeros(&inner, ty)).collect();
                Ok(Attr::Graph(Arc::new(inner.finish(if i == 0 { [own, other] } else { [other, own] }.concat())?)))
            };
            let args: Vec<NodeId> = std::iter::once(args[0]).chain(known_args.iter().copied()).collect();
            read = b.add_control(&Op::with(&IF, [record(0)?, record(1)?]), &args)?;
        }
        // what a branch of the second choice takes: both records, then the arguments that either reads, then cotangents
        let used = |k: &usize| branches.iter().any(|c| c.free.contains(k));
        let free: Vec<usize> = (0..args.len() - 1).filter(|k| !inputs.unknown[*k] && used(k)).collect();
        let rest: Vec<usize> = (0..args.len() - 1).filter(|k| inputs.unknown[*k]).collect();
        let given: Vec<NodeId> = read.iter().copied().chain(free.iter().chain(&rest).map(|&k| args[k + 1])).collect();
        let branch = |i: usize| -> Result<Attr> {
            let inner = Builder::new();
            let ins: Vec<NodeId> = given.iter().map(|&a| inner.input(&b.ty_of(a))).collect();
            let (first, n) = (if i == 0 { 0 } else { tys[0].len() }, read.len());
            let mut all: Vec<NodeId> = ins[first..first + tys[i].len()].to_vec();
            let at = |k: &usize| ins[n + free.iter().position(|f| f == k).expect("all that are read are given")];
            all.extend(branches[i].free.iter().map(at));
            all.extend(&ins[n + free.len()..]);
            let outs = inner.inline(&branches[i].unknown, &all)?;
            Ok(Attr::Graph(Arc::new(inner.finish(outs)?)))
        };
        let given: Vec<NodeId> = std::iter::once(args[0]).chain(given.iter().copied()).collect();
        b.add_control(&Op::with(&IF, [branch(0)?, branch(1)?]), &given)
    }

    /// How a loop that is differentiated in some of its captures runs in both directions. `open` says which arguments
    /// the step back may read at no cost.
    fn pair(&self, op: &Op, captured: &BTreeSet<usize>, open: &[bool]) -> Result<Pair> {
        let (body, carried) = (op.graph(1), op.int(2) as usize);
        let captured: Vec<usize> = captured.iter().copied().collect();
        let fits = |(i, t): (usize, &Ty)| if i < carried { t.rank() == 0 } else { !t.is_list() || open[i] };
        if let Some(memory) = self.memory.get().filter(|_| body.input_types().enumerate().all(fits)) {
            return self.checkpoints(op, captured, open, memory);
        }
        let halves = self.halves(op, &captured, open, true)?;
        let body = self.forwards(body, &halves.known)?;
        match self.taken(op, &captured, open, &halves, &body)? {
            Some(pair) => Ok(pair),
            None => Ok(Pair::new(body, halves, captured, Kept::All)),
        }
    }

    /// The body of a loop, which also gives what is recorded.
    fn forwards(&self, body: &Graph, known: &Graph) -> Result<Graph> {
        let both = split::graph(body.input_types(), &|b, x| Ok([b.inline(body, x)?, b.inline(known, x)?].concat()))?;
        self.finish(&pass::optimise(&both)?)
    }

    /// As [`Lowering::pair`], of a loop of which not all trips need be recorded. In vector code a trip costs less than to
    /// leave it out.
    fn taken(
        &self,
        op: &Op,
        captured: &[usize],
        open: &[bool],
        halves: &Halves,
        forwards: &Graph,
    ) -> Result<Option<Pair>> {
        if !self.scalar {
            return Ok(None);
        }
        let (body, carried, sums) = (op.graph(1), op.int(2) as usize, captured.len());
        let state = control::floats(body).len() + sums;
        let taken = |h: &Halves| taken::condition(&h.step, h.record(), state, sums);
        let Some(first) = taken(halves)? else { return Ok(None) };
        let n = halves.step.inputs().len();
        let back = Trips { body: &halves.step, cond: None, record: halves.record(), carried: n - state..n };
        let on = Trips { body: forwards, cond: Some(op.graph(0)), record: 0, carried: 0..carried };
        if vector(&back).is_some() || vector(&on).is_some() {
            return Ok(None);
        }
        let mut found = if taken::reads_trip(&first.step, halves.record()) {
            // the number of a trip that is recorded is not known on the way back: counters are recorded
            let halves = self.halves(op, captured, open, false)?;
            taken(&halves)?.map(|c| (c, Cow::Owned(halves)))
        } else {
            Some((first, Cow::Borrowed(halves)))
        };
        if self.function.borrow().is_some() {
            // what the loop takes would be recorded of each call
            let open: Vec<bool> = body.input_types().zip(open).map(|(ty, &open)| open && ty.is_list()).collect();
            let halves = self.halves(op, captured, &open, false)?;
            let fewer = taken(&halves)?.filter(|c| found.as_ref().is_none_or(|f| c.read.len() <= f.0.read.len()));
            found = fewer.map(|c| (c, Cow::Owned(halves))).or(found);
        }
        let Some((condition, halves)) = found else { return Ok(None) };
        let (record, known) = (halves.record(), &halves.known);
        let step = without(&condition.step, |k| k >= record || condition.read.contains(&k))?;
        // what is read, and whether the trip counts
        let b = Builder::new();
        let ins: Vec<NodeId> = body.input_types().map(|ty| b.input(ty)).collect();
        let all = b.inline(known, &ins)?;
        let number = b.add(create::constant_bits(DType::I64, 0), &[])?;
        let given = [&ins[..], &b.inline(&halves.fixed, &ins)?].concat();
        let captures: Vec<NodeId> = halves.captures.iter().map(|&i| given[i]).collect();
        let mut outs: Vec<NodeId> = condition.read.iter().map(|&k| all[k]).collect();
        outs.extend(b.inline(&condition.holds, &[&all[..], &[number], &captures].concat())?);
        let known = b.finish(outs)?;
        let (kept, body) = if condition.last {
            let both = self.forwards(body, &known)?;
            (Kept::Last, pass::optimise(&taken::carrying(&both, carried)?)?)
        } else {
            (Kept::Taken, self.forwards(body, &known)?)
        };
        let halves = Halves { known, step, captures: halves.captures.clone(), fixed: halves.fixed.clone() };
        let pair = Pair::new(body, halves, captured.to_vec(), kept);
        Ok(Some(Pair { record: condition.read.len(), ..pair }))
    }

    /// What is recorded of a trip, and the step back. `counters` says that the number of the trip is known there, from which
    /// counters are computed.
    fn halves(&self, op: &Op, captured: &[usize], open: &[bool], counters: bool) -> Result<Halves> {
        let (body, carried) = (op.graph(1), op.int(2) as usize);
        let n = body.inputs().len();
        let step = pass::optimise(&with_sums(&diff::while_step(body, carried, captured)?, n, captured.len())?)?;
        let steps = if counters { inductions(body, carried) } else { FxHashMap::default() };
        let unknown: Vec<bool> = (0..step.inputs().len()).map(|i| i >= n).collect();
        let free: Vec<bool> =
            (0..step.inputs().len()).map(|i| i < n && (i >= carried && open[i] || steps.contains_key(&i))).collect();
        let fixed: Vec<bool> = (0..step.inputs().len()).map(|i| (carried..n).contains(&i)).collect();
        let inputs = Inputs { unknown: &unknown, free: &free, fixed: &fixed };
        let cut = if self.scalar || has_calls(&step) {
            split::cut(&self.expand(&step, Some(&inputs))?, &inputs)?
        } else {
            split::recompute(&self.expand(&step, None)?, &inputs)?
        };
        let record = cut.known.outputs().len();
        // a counter is computed from the trip
        let mut captures: Vec<usize> = cut.free.iter().copied().collect();
        let inner = Builder::new();
        let saved: Vec<NodeId> = cut.known.output_types().map(|ty| inner.input(ty)).collect();
        let trip = inner.input(&Ty::scalar(DType::I64));
        let mut read: Vec<NodeId> = captures.iter().map(|&i| inner.input(step.ty(step.inputs()[i]))).collect();
        for (at, i) in captures.iter().enumerate() {
            if let Some(&by) = steps.get(i) {
                let by = inner.add(create::constant_bits(DType::I64, by.cast_unsigned()), &[])?;
                let moved = inner.add(Op::new(&arith::MUL), &[trip, by])?;
                read[at] = inner.add(Op::new(&arith::ADD), &[read[at], moved])?;
            }
        }
        read.extend(cut.fixed.output_types().map(|ty| inner.input(ty)));
        captures.extend(n..n + cut.fixed.outputs().len());
        let rest: Vec<NodeId> = step.inputs()[n..].iter().map(|&i| inner.input(step.ty(i))).collect();
        let outs = inner.inline(&cut.unknown, &[saved, read, rest].concat())?;
        let back = self.finish(&pass::optimise(&inner.finish(outs)?)?)?;
        // what only gave zeros a length is not read any more
        let live = back.live();
        let read: Vec<usize> = (0..record).filter(|&k| live[back.inputs()[k].index()]).collect();
        let step = without(&back, |k| k >= record || read.contains(&k))?;
        let known = cut.known.clone().with_outputs(read.iter().map(|&k| cut.known.outputs()[k]).collect());
        Ok(Halves { known, step, captures, fixed: cut.fixed })
    }

    /// How the function of a call that is differentiated is called in both directions, and the number of its arena; inside the
    /// function, where both are known, −1.
    fn calls(&self, op: &Op) -> Result<(Recorded, i64)> {
        let Attr::Graph(body) = &op.attrs[0] else {
            let takes = self.function.borrow().clone().unwrap_or_default();
            let own = CallPair { save: Graph::default(), back: Arc::default(), record: 0, takes };
            return Ok((Recorded::Call(Arc::new(own)), -1));
        };
        // what a call leaves lies between what its inner calls leave: nothing of it is run in stretches
        let body = if self.scalar { &Arc::new(leaf::ends(body, &Signature::of(body))?) } else { body };
        let (memory, outside) = (self.memory.take(), self.function.replace(Some(same_in_calls(body))));
        let pair = Recorded::Call(Arc::new(self.call_pair(body)?));
        self.memory.set(memory);
        self.function.replace(outside);
        self.pairs.borrow_mut().push(pair.clone());
        Ok((pair, self.pairs.borrow().len() as i64 - 1))
    }

    /// See [`CallPair`].
    fn call_pair(&self, body: &Arc<Graph>) -> Result<CallPair> {
        let s = Signature::of(body);
        let takes = self.function.borrow().clone().unwrap_or_default();
        let (n, sums) = (s.ins.len(), float_lists(&s));
        let grads = diff::call_step(body)?;
        let b = Builder::new();
        let ins: Vec<NodeId> = grads.input_types().map(|ty| b.input(ty)).collect();
        let all = b.inline(&grads, &ins)?;
        let (mut first, mut rest) = (Vec::new(), Vec::new());
        for (i, g) in s.float_ins().into_iter().zip(all) {
            if s.ins[i].is_list() {
                let sum = b.input(&s.ins[i]);
                first.push(b.add(Op::new(&arith::ADD), &[sum, g])?);
            } else {
                rest.push(g);
            }
        }
        debug_assert_eq!(first.len(), sums.len());
        let step = pass::optimise(&b.finish([first, rest].concat())?)?;
        let unknown: Vec<bool> = (0..step.inputs().len()).map(|i| i >= n).collect();
        let free: Vec<bool> = (0..step.inputs().len()).map(|i| takes.contains(&i)).collect();
        let inputs = Inputs { unknown: &unknown, free: &free, fixed: &vec![false; unknown.len()] };
        let cut = split::cut(&self.expand(&step, Some(&inputs))?, &inputs)?;
        let record = cut.known.outputs().len();
        let inner = Builder::new();
        let saved: Vec<NodeId> = cut.known.output_types().map(|ty| inner.input(ty)).collect();
        let taken: Vec<(usize, NodeId)> = takes.iter().map(|&i| (i, inner.input(&s.ins[i]))).collect();
        let read = cut.free.iter().map(|k| taken.iter().find(|t| t.0 == *k).expect("what it takes is free").1);
        let rest = step.inputs()[n..].iter().map(|&i| inner.input(step.ty(i)));
        let (read, rest): (Vec<NodeId>, Vec<NodeId>) = (read.collect(), rest.collect());
        let outs = inner.inline(&cut.unknown, &[saved, read, rest].concat())?;
        let back = self.finish(&pass::optimise(&inner.finish(outs)?)?)?;
        let both = Builder::new();
        let ins: Vec<NodeId> = s.ins.iter().map(|ty| both.input(ty)).collect();
        let mut outs = both.inline(body, &ins)?;
        outs.extend(both.inline(&cut.known, &ins)?);
        let save = self.finish(&pass::optimise(&both.finish(outs)?)?)?;
        // what no derivative is taken of is called as from outside
        let plain = Arc::new(self.inside(body)?);
        let bound = |g: &Graph| control::bind(g, &s, &plain);
        Ok(CallPair { save: bound(&save)?, back: Arc::new(bound(&back)?), record, takes })
    }

    /// As [`Lowering::pair`], within so much memory.
    fn checkpoints(&self, op: &Op, captured: Vec<usize>, open: &[bool], memory: u64) -> Result<Pair> {
        let (body, carried) = (op.graph(1), op.int(2) as usize);
        let n = body.inputs().len();
        let plan = Checkpoints::of(op, memory);
        // a stretch is recorded, loops inside are not
        let stretch = plan.stretch()?;
        let wrt: Vec<usize> = captured.iter().map(|i| i + 1).collect();
        let open = [&open[..carried], &[true], &open[carried..n], &[true]].concat();
        self.memory.set(Some(plan.inside));
        let halves = self.halves(&stretch, &wrt, &open, true)?;
        let save = self.forwards(stretch.graph(1), &halves.known)?;
        let pair = Pair::new(save, halves, wrt, Kept::All);
        self.memory.set(Some(memory));
        let arena = Attr::Int(self.pairs.borrow().len() as i64);
        let attrs = [stretch.attrs[0].clone(), Attr::Graph(Arc::new(pair.body.clone())), stretch.attrs[2].clone()];
        let save = Op::with(&WHILE_SAVE, attrs.into_iter().chain([arena.clone(), Attr::Int(0)]));
        let pair = Arc::new(pair);
        self.pairs.borrow_mut().push(Recorded::Loop(pair.clone()));
        let step = plan.back(&captured, &|b, args, state| {
            let values = hoist::add(b, &save, args, self.scalar)?;
            let trips = args[args.len() - 1];
            let end = if pair.record == 0 { trips } else { values[carried + 2] };
            let args = self.given(b, &pair, &stretch, args)?;
            over(b, &pair, &args, state, [trips, end], arena.clone(), self.scalar)
        })?;
        let body = self.finish(&self.expand(&pass::optimise(body)?, None)?)?;
        let fixed = body.clone().with_outputs(Vec::new());
        Ok(Pair { body, step: Arc::new(step), record: 0, captures: Vec::new(), fixed, captured, kept: Kept::None })
    }

    /// The last form of a graph that no way back is cut from.
    fn inside(&self, g: &Graph) -> Result<Graph> {
        self.finish(&self.expand(&pass::settle(g)?, None)?)
    }

    /// The arguments of a loop, and behind them what is kept of it. A loop of no trips reads no element.
    fn given(&self, b: &Builder, pair: &Pair, op: &Op, args: &[NodeId]) -> Result<Vec<NodeId>> {
        if pair.fixed.outputs().is_empty() {
            return Ok(args.to_vec());
        }
        let runs = b.inline(&self.inside(op.graph(0))?, args)?;
        let tys = args.iter().map(|&a| b.ty_of(a)).collect::<Vec<_>>();
        let none = split::graph(&tys, &|b, _| Ok(pair.fixed.output_types().map(|ty| diff::zeros(b, ty)).collect()))?;
        let branches = [pair.fixed.clone(), none].map(|g| Attr::Graph(Arc::new(g)));
        let kept = b.add_control(&Op::with(&IF, branches), &[&runs, args].concat())?;
        Ok([args, &kept].concat())
    }

    /// The last form of a graph in which all reverse modes of loops have been replaced.
    fn finish(&self, g: &Graph) -> Result<Graph> {
        let g = &if self.scalar || has_calls(g) { split::merge_choices(&*once(g)?)? } else { g.clone() };
        let live = g.live();
        let equal = equal(g, &live);
        let records: FxHashMap<NodeId, i64> = g
            .nodes()
            .filter(|(id, n)| live[id.index()] && (n.op.is(&WHILE_RECORD) || n.op.is(&CALL_RECORD)))
            .map(|(id, n)| (equal[id.index()], n.op.int(if is_call(&n.op) { 1 } else { 3 })))
            .collect();
        let mut saved: FxHashMap<NodeId, Vec<NodeId>> = FxHashMap::default();
        let b = Builder::new();
        let mut map: Vec<Option<NodeId>> = vec![None; g.len()];
        let mut all: FxHashMap<NodeId, Vec<NodeId>> = FxHashMap::default();
        for &i in g.inputs() {
            map[i.index()] = Some(b.input(g.ty(i)));
        }
        let inside = |g: &Graph| self.inside(g);
        for (id, n) in g.nodes() {
            if !live[id.index()] || n.op.is(&create::INPUT) {
                continue;
            }
            if n.op.is(&PROJ) {
                map[id.index()] = Some(all[&n.args[0]][n.op.int(0) as usize]);
                continue;
            }
            let mut args: Args = n.args.iter().map(|a| map[a.index()].expect("arguments come first")).collect();
            if !is_control(&n.op) {
                map[id.index()] = Some(b.add(n.op.clone(), &args)?);
                continue;
            }
            let done: [&OpDef; 4] = [&WHILE_BACK, &WHILE_SAVE, &CALL_BACK, &CALL_SAVE];
            let outs = if done.iter().any(|d| n.op.is(d)) {
                b.add_control(&n.op, &args)?
            } else if n.op.is(&IF) {
                let op = n.op.map_graphs(inside)?;
                match self.scalar.then(|| selected(&b, &op, &args)).transpose()?.flatten() {
                    Some(outs) => outs,
                    None => b.add_control(&op, &args)?,
                }
            } else if let Some(&number) = records.get(&equal[id.index()]) {
                match saved.get(&equal[id.index()]) {
                    Some(outs) => outs.clone(),
                    None => {
                        let results = |op: &Op| Attr::Int(op.called().outs.len() as i64);
                        let pair = self.pairs.borrow().get(number as usize).cloned();
                        let op = match pair {
                            Some(Recorded::Loop(pair)) => {
                                let body = Attr::Graph(Arc::new(pair.body.clone()));
                                let (mut cond, carried) = (inside(n.op.graph(0))?, n.op.int(2));
                                if pair.kept == Kept::Last {
                                    let (from, left) = (carried as usize, pair.left());
                                    let zeros = left.iter().map(|ty| b.add(create::constant(ty.dtype, 0.0), &[]));
                                    args.insert_many(from, zeros.collect::<Result<Vec<_>>>()?);
                                    cond = taken::widened(&cond, from, &left)?;
                                    let carried = Attr::Int(carried + left.len() as i64);
                                    Op::with(&WHILE, [Attr::Graph(Arc::new(cond)), body, carried])
                                } else {
                                    let taken = Attr::Int(i64::from(pair.kept == Kept::Taken));
                                    let cond = Attr::Graph(Arc::new(cond));
                                    Op::with(&WHILE_SAVE, [cond, body, Attr::Int(carried), Attr::Int(number), taken])
                                }
                            }
                            Some(Recorded::Call(pair)) => {
                                let save = Attr::Graph(Arc::new(pair.save.clone()));
                                Op::with(&CALL_SAVE, [save, results(&n.op), Attr::Int(number)])
                            }
                            // inside the function the place of its record is known
                            None => Op::with(&CALL_SAVE, [n.op.attrs[0].clone(), results(&n.op), Attr::Int(0)]),
                        };
                        let outs = hoist::add(&b, &op, &args, self.scalar)?;
                        saved.insert(equal[id.index()], outs.clone());
                        outs
                    }
                }
            } else {
                hoist::add(&b, &n.op.map_graphs(inside)?, &args, self.scalar)?
            };
            map[id.index()] = outs.first().copied();
            all.insert(id, outs);
        }
        let done = b.finish(g.outputs().iter().map(|o| map[o.index()].expect("outputs are live")).collect())?;
        sums::into_place(&done)
    }
}

/// Whether functions are called: a graph in which they are is cut, so that none is called once more on the way back.
fn has_calls(g: &Graph) -> bool {
    control::calls(g, &|_| true)
}

/// For each node the first one that has its value, if a loop or call that is to record is taken for the one that is not: what
/// comes after the one may be the same as what comes after the other. Loops that record apart are apart.
fn equal(g: &Graph, live: &[bool]) -> Vec<NodeId> {
    let mut first: Vec<NodeId> = g.nodes().map(|(id, _)| id).collect();
    let record = |n: &Node| n.op.is(&WHILE_RECORD) || n.op.is(&CALL_RECORD);
    if !g.nodes().any(|(_, n)| record(n)) {
        return first;
    }
    let mut known: FxHashMap<(Op, Args), NodeId> = FxHashMap::default();
    let mut recorded: FxHashSet<NodeId> = FxHashSet::default();
    for (id, n) in g.nodes().filter(|(id, n)| live[id.index()] && !n.args.is_empty()) {
        let op = match () {
            () if n.op.is(&WHILE_RECORD) => Op::with(&WHILE, n.op.attrs[..3].iter().cloned()),
            () if n.op.is(&CALL_RECORD) => Op::with(&CALL, n.op.attrs[..1].iter().cloned()),
            () => n.op.clone(),
        };
        let args = n.args.iter().map(|a| first[a.index()]).collect();
        let same = *known.entry((op, args)).or_insert(id);
        if !record(n) || recorded.insert(same) {
            first[id.index()] = same;
        }
    }
    first
}

/// The graph in which choices that are made of the results of the same loops are one.
fn once(g: &Graph) -> Result<Cow<'_, Graph>> {
    let equal = equal(g, &g.live());
    let choice = |id: NodeId, n: &Node| n.op.is(&IF) && equal[id.index()] != id;
    if !g.nodes().any(|(id, n)| choice(id, n)) {
        return Ok(Cow::Borrowed(g));
    }
    let mut made: FxHashMap<NodeId, Vec<NodeId>> = FxHashMap::default();
    let within = &mut |b: &Builder, id: NodeId, n: &Node, map: &[Option<NodeId>]| {
        if !n.op.is(&IF) {
            return Ok(None);
        }
        if let Some(outs) = made.get(&equal[id.index()]) {
            return Ok(Some(outs.clone()));
        }
        let args: Args = n.args.iter().map(|a| map[a.index()].expect("arguments come first")).collect();
        let outs = b.add_control(&n.op, &args)?;
        made.insert(equal[id.index()], outs.clone());
        Ok(Some(outs))
    };
    split::rebuild(g, within, &|_| Vec::new()).map(Cow::Owned)
}

/// The step of a reverse mode with the sums so far as inputs: its terms are added to them.
pub(super) fn with_sums(step: &Graph, n: usize, captured: usize) -> Result<Graph> {
    let b = Builder::new();
    let ins: Vec<NodeId> = step.input_types().map(|ty| b.input(ty)).collect();
    let cotangents = ins.len() - n;
    let mut outs = b.inline(step, &ins)?;
    debug_assert_eq!(outs.len(), cotangents + captured);
    for term in &mut outs[cotangents..] {
        let sum = b.input(&b.ty_of(*term));
        *term = b.add(Op::new(&arith::ADD), &[sum, *term])?;
    }
    b.finish(outs)
}

/// The graph without inputs that nothing reads.
pub(super) fn without(g: &Graph, kept: impl Fn(usize) -> bool) -> Result<Graph> {
    let b = Builder::new();
    // never read: any node will do
    let input = |(k, &i): (usize, &NodeId)| if kept(k) { b.input(g.ty(i)) } else { NodeId::default() };
    let ins: Vec<NodeId> = g.inputs().iter().enumerate().map(input).collect();
    let outs = b.inline(g, &ins)?;
    b.finish(outs)
}

/// The carried integers that each trip changes by the same number, with that number.
fn inductions(body: &Graph, carried: usize) -> FxHashMap<usize, i64> {
    let mut found = FxHashMap::default();
    for (i, &out) in body.outputs().iter().take(carried).enumerate() {
        let (n, input) = (body.node(out), body.inputs()[i]);
        if n.ty != Ty::scalar(DType::I64) {
            continue;
        }
        if out == input {
            found.insert(i, 0);
        } else if n.op.is(&arith::ADD) && n.args.contains(&input) {
            let by = body.node(if n.args[0] == input { n.args[1] } else { n.args[0] });
            if by.op.is(&create::CONST) {
                found.insert(i, by.op.bits(1).cast_signed());
            }
        }
    }
    found
}

/// The number of trips of a loop over a counter that stays below a limit, from its arguments.
fn trips(b: &Builder, op: &Op, args: &[NodeId]) -> Result<Option<NodeId>> {
    let (cond, body, carried) = (op.graph(0), op.graph(1), op.int(2) as usize);
    let more = cond.node(cond.outputs()[0]);
    if !more.op.is(&compare::LT) || *cond.ty(more.args[0]) != Ty::scalar(DType::I64) {
        return Ok(None);
    }
    let steps = inductions(body, carried);
    let input = |id: NodeId| cond.inputs().iter().position(|i| *i == id);
    let Some(counter) = input(more.args[0]).filter(|k| steps.get(k) == Some(&1)) else { return Ok(None) };
    let limit = match input(more.args[1]) {
        Some(k) if k >= carried || steps.get(&k) == Some(&0) => args[k],
        None if cond.node(more.args[1]).op.is(&create::CONST) => b.add(cond.node(more.args[1]).op.clone(), &[])?,
        _ => return Ok(None),
    };
    let some = b.add(Op::new(&compare::LT), &[args[counter], limit])?;
    let all = b.add(Op::new(&arith::SUB), &[limit, args[counter]])?;
    let none = b.add(create::constant_bits(DType::I64, 0), &[])?;
    b.add(Op::new(&compare::SELECT), &[some, all, none]).map(Some)
}

/// If all cotangents of a loop are those of the same branch of a choice, zeros where that is not taken: the condition, and what
/// it is where they are not. Such a loop need not run back otherwise, as one inside the branch would not.
fn guard(g: &Graph, n: &Node) -> Option<(NodeId, bool)> {
    let zero = |g: &Graph, id: NodeId| create::value(&g.node(id).op).is_some_and(|x| x.to_bits() == 0);
    let mut found = None;
    for &ct in &n.args[n.args.len() - control::floats(n.op.graph(1)).len()..] {
        if zero(g, ct) {
            continue;
        }
        let p = g.node(ct);
        let choice = p.args.first().map(|&a| g.node(a)).filter(|c| p.op.is(&PROJ) && c.op.is(&IF))?;
        let none = |i: usize| {
            let branch = choice.op.graph(i);
            zero(branch, branch.outputs()[p.op.int(0) as usize])
        };
        let when = match [none(0), none(1)] {
            [false, true] => true,
            [true, false] => false,
            _ => return None,
        };
        let this = (choice.args[0], when);
        if *found.get_or_insert(this) != this {
            return None;
        }
    }
    found
}

/// As [`back`], where a condition is `when`; elsewhere zeros.
#[allow(clippy::too_many_arguments)] // the parts of one node
fn guarded(
    b: &Builder,
    n: &Node,
    args: &[NodeId],
    ends: [NodeId; 2],
    arena: &Attr,
    pair: &Pair,
    cond: NodeId,
    when: bool,
) -> Result<Vec<NodeId>> {
    let all: Vec<NodeId> = ends.iter().chain(args).copied().collect();
    let inputs = |b2: &Builder| all.iter().map(|&a| b2.input(&b.ty_of(a))).collect::<Vec<_>>();
    let yes = Builder::new();
    let ins = inputs(&yes);
    let outs = back(&yes, n, &ins[2..], [ins[0], ins[1]], arena.clone(), pair, true)?;
    let yes = yes.finish(outs)?;
    let no = Builder::new();
    let ins = inputs(&no);
    let zeros = n.op.ints(3).iter().map(|&i| no.ex(ins[2 + i as usize]).full_like(0.0).node());
    let zeros = zeros.collect::<Option<Vec<_>>>().ok_or_else(|| Error::Compile("bug: zeros are no node".into()))?;
    let no = no.finish(zeros)?;
    let branches = if when { [yes, no] } else { [no, yes] };
    either(b, cond, &all, &branches)
}

/// A choice between graphs over these arguments, which takes what either of them reads.
pub(super) fn either(b: &Builder, cond: NodeId, args: &[NodeId], branches: &[Graph; 2]) -> Result<Vec<NodeId>> {
    let live = branches.each_ref().map(Graph::live);
    let reads = |k: usize| branches.iter().zip(&live).any(|(g, live)| live[g.inputs()[k].index()]);
    let read: Vec<bool> = (0..args.len()).map(reads).collect();
    let branch = |g: &Graph| Ok(Attr::Graph(Arc::new(without(g, |k| read[k])?))) as Result<Attr>;
    let op = Op::with(&IF, [branch(&branches[0])?, branch(&branches[1])?]);
    let args = args.iter().zip(&read).filter(|(_, read)| **read).map(|(&a, _)| a);
    b.add_control(&op, &std::iter::once(cond).chain(args).collect::<Vec<_>>())
}

/// The arguments of a `while_vjp`: those of the loop, and cotangents.
fn split_args<'a>(n: &Node, args: &'a [NodeId]) -> (&'a [NodeId], &'a [NodeId]) {
    args.split_at(args.len() - control::floats(n.op.graph(1)).len())
}

/// The cotangents that a `while_vjp` asks for, of those that a way back gives.
fn asked(n: &Node, pair: &Pair, all: &[NodeId]) -> Vec<NodeId> {
    let floats = control::floats(n.op.graph(1));
    let of = |&i: &i64| {
        let i = i as usize;
        let carried = floats.iter().position(|&f| f == i);
        let at = carried.or_else(|| pair.captured.iter().position(|&c| c == i).map(|k| floats.len() + k));
        all[at.expect("floats only have cotangents")]
    };
    n.op.ints(3).iter().map(of).collect()
}

/// The way back of a loop that has recorded: the cotangents that a `while_vjp` asks for.
fn back(
    b: &Builder,
    n: &Node,
    args: &[NodeId],
    ends: [NodeId; 2],
    arena: Attr,
    pair: &Pair,
    scalar: bool,
) -> Result<Vec<NodeId>> {
    let (loop_args, cotangents) = split_args(n, args);
    let all = if pair.kept == Kept::None {
        b.inline(&pair.step, &[&ends[..1], args].concat())?
    } else {
        let zeros = pair.captured.iter().filter_map(|&i| b.ex(loop_args[i]).full_like(0.0).node());
        let state: Vec<NodeId> = cotangents.iter().copied().chain(zeros).collect();
        over(b, pair, loop_args, &state, ends, arena, scalar)?
    };
    Ok(asked(n, pair, &all))
}

/// The loop over a record, from the arguments of the loop that recorded, cotangents and sums.
fn over(
    b: &Builder,
    pair: &Pair,
    loop_args: &[NodeId],
    state: &[NodeId],
    ends: [NodeId; 2],
    arena: Attr,
    scalar: bool,
) -> Result<Vec<NodeId>> {
    let attrs = [
        Attr::Graph(pair.step.clone()),
        Attr::Int(pair.record as i64),
        Attr::Int(state.len() as i64),
        arena,
        Attr::Int(pair.captured.len() as i64),
    ];
    let captures: Vec<NodeId> = pair.captures.iter().map(|&i| loop_args[i]).collect();
    hoist::add(b, &Op::with(&WHILE_BACK, attrs), &[&ends[..], &captures, state].concat(), scalar)
}

/// The lists of floats among the arguments of a function: their cotangents are sums.
fn float_lists(s: &Signature) -> Vec<usize> {
    s.float_ins().into_iter().filter(|&i| s.ins[i].is_list()).collect()
}

/// The arguments of a function that are the same in all its calls of itself, or lists: its way back takes them as they are.
fn same_in_calls(body: &Graph) -> Vec<usize> {
    let own = Signature::of(body);
    let mut same = vec![true; own.ins.len()];
    // graphs, and of the inputs of each which argument of the function it is
    let mut todo: Vec<(&Graph, Vec<Option<usize>>)> = vec![(body, (0..same.len()).map(Some).collect())];
    while let Some((g, inputs)) = todo.pop() {
        let argument = |a: &NodeId| {
            let n = g.node(*a);
            if n.op.is(&create::INPUT) { inputs.get(n.op.int(0) as usize).copied().flatten() } else { None }
        };
        for (_, n) in g.nodes() {
            if is_call(&n.op) {
                if let Attr::Own(_) = &n.op.attrs[0] {
                    same.iter_mut().zip(&n.args).enumerate().for_each(|(i, (s, a))| *s &= argument(a) == Some(i));
                }
                continue;
            }
            // what a loop carries may change
            let (first, carried) = match () {
                () if n.op.is(&IF) => (1, 0),
                () if n.op.is(&WHILE) || n.op.is(&WHILE_VJP) => (0, n.op.int(2) as usize),
                () => (0, n.args.len()),
            };
            for inner in n.subgraphs() {
                let of = |(k, a): (usize, &NodeId)| if k < carried { None } else { argument(a) };
                todo.push((inner, n.args[first..].iter().enumerate().map(of).collect()));
            }
        }
    }
    (0..same.len()).filter(|&i| same[i] || own.ins[i].is_list()).collect()
}

/// The way back of a call: the cotangents that a `call_vjp` asks for.
fn call_back(b: &Builder, n: &Node, args: &[NodeId], values: &[NodeId], made: &Recorded) -> Result<Vec<NodeId>> {
    let Recorded::Call(pair) = made else { return Err(Error::Compile("bug: a call is taken for a loop".into())) };
    let s = n.op.called();
    let (call_args, cotangents) = args.split_at(s.ins.len());
    let sums = float_lists(&s);
    let end = *values.last().ok_or_else(|| Error::Compile("bug: a call without results".into()))?;
    let mut given = vec![end];
    given.extend(pair.takes.iter().map(|&i| call_args[i]));
    given.extend(cotangents);
    given.extend(sums.iter().filter_map(|&i| b.ex(call_args[i]).full_like(0.0).node()));
    let scalars = s.float_ins().into_iter().filter(|i| !sums.contains(i));
    let outs: Vec<usize> = sums.iter().copied().chain(scalars).collect();
    let function = match &n.op.attrs[0] {
        Attr::Graph(_) => Attr::Graph(pair.back.clone()),
        _ => {
            let ins = given[1..].iter().map(|&a| b.ty_of(a)).collect();
            Attr::Own(Arc::new(Signature { ins, outs: outs.iter().map(|&i| s.ins[i].clone()).collect() }))
        }
    };
    // as the `call_save` of the pair
    let arena = b.node(b.node(end).args[0]).op.attrs[1].clone();
    let attrs = [function, Attr::Int(pair.record as i64), Attr::Int(sums.len() as i64), arena];
    let all = b.add_control(&Op::with(&CALL_BACK, attrs), &given)?;
    let of = |i: usize| all[outs.iter().position(|&o| o == i).expect("all floats have a cotangent")];
    Ok(s.float_ins().into_iter().map(of).collect())
}

/// Operations of a branch up to which both branches are computed and a value is chosen.
pub(super) const CHEAP: usize = 8;

/// How many operations a graph has, if they are cheap ones; division counts for more.
pub(super) fn cost(g: &Graph) -> Option<usize> {
    let live = g.live();
    let mut cost = 0;
    for (_, n) in g.nodes().filter(|(id, _)| live[id.index()]) {
        cost += match n.op.def.lower {
            _ if n.ty.is_list() => return None,
            _ if n.op.is(&create::INPUT) => 0,
            Lower::Const | Lower::View(_) => 0,
            Lower::Inline(_) if split::is_slow(&n.op) => 4,
            Lower::Inline(_) => 1,
            _ => return None,
        };
    }
    Some(cost)
}

/// The results of a choice between branches that cost less than a wrongly predicted jump: both are computed.
fn selected(b: &Builder, op: &Op, args: &[NodeId]) -> Result<Option<Vec<NodeId>>> {
    let cheap = |i: usize| cost(op.graph(i)).is_some_and(|c| c <= CHEAP);
    if !cheap(0) || !cheap(1) {
        return Ok(None);
    }
    let (yes, no) = (b.inline(op.graph(0), &args[1..])?, b.inline(op.graph(1), &args[1..])?);
    let choose = |(y, n): (NodeId, NodeId)| {
        if y == n { Ok(y) } else { b.add(Op::new(&compare::SELECT), &[args[0], y, n]) }
    };
    yes.into_iter().zip(no).map(choose).collect::<Result<Vec<_>>>().map(Some)
}
