//! Loops of a scalar program whose trips do not depend on one another: turns such a loop, whose trips are counted at run
//! time, into the inner range of a kernel (`OPEN`) in front of the loop itself. Elementary functions are then called for
//! blocks of trips and arithmetic works on vectors.
//!
//! The attempt asks everything beforehand: that there are enough trips to be worth it, and that every index of every trip
//! is inside its list. If so all trips run, and the loop finds none left; if not the loop runs as it always does, and
//! says what is wrong where it is wrong. So no fault can come up in vector code, and nothing is written before one.
//!
//! Elements have the bits that the loop gives them; a sum is added up in an order that depends on the number of trips.

use super::emit;
use super::lanes::{Lane, Lanes, mem, scalar_type};
use super::plan::Plan;
use super::scalar::{self, Cx, Form, ScalarProgram, Val, enter, inner, jump, parts};
use super::{CompileError, Id, Kernel, NodeKind, Scope, frame, size_of, validate};
use crate::ty::DType;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{Block, BlockArg, InstBuilder, Value, types};
use smallvec::SmallVec;
use std::ops::Range;

/// How the trips of a loop run side by side. Arguments are those of a trip; "at first" is trip 0, of a loop backwards
/// the one that it comes to last.
#[derive(Clone, Debug)]
pub struct Vector {
    /// From the arguments at first: integers that grow by one a trip, each with the number that it stays below, the loop's
    /// condition; none in a loop over a record.
    pub limits: ScalarProgram,
    /// From the arguments at first: integers, which are indices at first and lengths.
    pub head: ScalarProgram,
    /// What the trips compute: one row. Inner reductions are stored by name only.
    pub kernel: Kernel,
    /// The kernel's schedule.
    pub plan: Plan,
    /// Where each buffer begins.
    pub buffers: Vec<Origin>,
    /// Indices that are to be below numbers in all trips.
    pub within: Vec<Within>,
    /// Row-level values of the kernel that are given.
    pub given: Vec<(Id, Given)>,
    /// The carried values after all trips.
    pub next: Vec<Next>,
    /// Inner reductions that are added to the first element of a buffer.
    pub points: Vec<(u16, Id)>,
    /// The names of the operations.
    pub ops: Vec<&'static str>,
}

/// The first element of a buffer.
#[derive(Clone, Copy, Debug)]
pub enum Origin {
    /// An element of a list; each trip moves on.
    List {
        /// The argument that is the list.
        list: usize,
        /// Which result of the head is the index at first.
        index: usize,
        /// By how many elements a trip moves on.
        stride: i64,
    },
    /// A value of the record of trip 0, by number.
    Record(usize),
    /// It is not there: results are handed over by name.
    None,
}

/// An index that is to be below a number.
#[derive(Clone, Copy, Debug)]
pub struct Within {
    /// Which result of the head it is at first.
    pub index: usize,
    /// Which result of the head the number is.
    pub limit: usize,
    /// By how much a trip moves on.
    pub stride: i64,
}

/// A value that is the same in all trips.
#[derive(Clone, Copy, Debug)]
pub enum Given {
    /// An argument at first.
    Argument(usize),
    /// A result of the head.
    Head(usize),
}

/// A carried value after all trips, from what it is at first.
#[derive(Clone, Copy, Debug)]
pub enum Next {
    /// The same; so are lists, which are written in place.
    Same,
    /// That much more for each trip.
    Count(i64),
    /// Plus a reduction.
    Plus(Id),
    /// The larger of it and a reduction.
    Max(Id, Nan),
    /// The smaller one.
    Min(Id, Nan),
    /// What a node was at the last trip, which is delayed.
    Last(Id),
}

/// What NaN means to an extremum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nan {
    /// The result.
    Wins,
    /// Nothing: terms that are NaN have been replaced. The loop itself runs if it begins with one.
    Loses,
}

/// Fewer trips than this are left to the loop itself.
pub(super) const FEWEST: i64 = 8;
/// More are too: what is compared with the number of trips is to fit an instruction.
const MOST: i64 = 1 << 31;

/// Checks what the code below relies on.
pub(super) fn check(v: &Vector, args: &[Form], carried: Range<usize>) -> Result<(), CompileError> {
    let wrong = |what: &str| Err(CompileError::Malformed(format!("vector form of a loop: {what}")));
    let integers = |p: &ScalarProgram| Ok(scalar::check(p)?.iter().all(|f| *f == Form::Scalar(DType::I64)));
    let nodes = &v.kernel.nodes;
    validate::kernel(&v.kernel)?;
    if v.limits.inputs != args || v.head.inputs != args || !v.limits.outputs.len().is_multiple_of(2) {
        return wrong("arguments");
    }
    if !integers(&v.limits)? || !integers(&v.head)? {
        return wrong("no integers");
    }
    let heads = v.head.outputs.len();
    let list = |b: &Origin| match *b {
        Origin::List { list, index, .. } => matches!(args.get(list), Some(Form::List(_))) && index < heads,
        _ => true,
    };
    let given = |&(id, g): &(Id, Given)| match (nodes.get(id as usize).map(|n| n.dtype), g) {
        (Some(d), Given::Argument(k)) => args.get(k) == Some(&Form::Scalar(d)),
        (Some(d), Given::Head(k)) => d == DType::I64 && k < heads,
        (None, _) => false,
    };
    let within = |w: &Within| w.index < heads && w.limit < heads;
    if !v.within.iter().all(within)
        || !v.buffers.iter().all(list)
        || v.buffers.len() != v.kernel.buffers.len()
        || !v.given.iter().all(given)
    {
        return wrong("what it begins with");
    }
    let reduced = |id: Id, d: Option<DType>| {
        let n = nodes.get(id as usize);
        n.is_some_and(|n| matches!(n.kind, NodeKind::Reduce { scope: Scope::Inner, .. }) && d == Some(n.dtype))
    };
    let next = |(n, f): (&Next, &Form)| match (*n, *f) {
        (Next::Same, _) | (Next::Count(_), Form::Scalar(DType::I64)) => true,
        (Next::Plus(id) | Next::Max(id, _) | Next::Min(id, _), Form::Scalar(d)) => reduced(id, Some(d)),
        (Next::Last(id), Form::Scalar(d)) => {
            nodes.get(id as usize).is_some_and(|n| matches!(n.kind, NodeKind::Delay { .. }) && n.dtype == d)
        }
        _ => false,
    };
    let carried = args.get(carried).unwrap_or_default();
    let points = v.points.iter().all(|&(b, id)| reduced(id, v.kernel.buffers.get(usize::from(b)).copied()));
    if carried.len() != v.next.len() || !v.next.iter().zip(carried).all(next) || !points {
        return wrong("results");
    }
    Ok(())
}

/// An attempt, at the position where it may go on.
pub(super) struct Attempt {
    pub trips: Value,
    head: Vec<Val>,
    /// Where the loop itself does the work.
    otherwise: Block,
}

/// How many trips the loop has, as a number without a sign.
pub(super) fn trips(l: &mut Lanes<'_, '_>, cx: &Cx<'_>, v: &Vector, args: &[Val]) -> Result<Value, CompileError> {
    let none = l.b.ins().iconst(types::I64, 0);
    let mut least: Option<Value> = None;
    for pair in inner(l, cx, &v.limits, args)?.chunks(2) {
        let [from, to] = [pair[0], pair[1]].map(|v| v.lane().value);
        let n = if !l.is_zero(from) {
            // a difference that wraps is right without a sign
            let some = l.b.ins().icmp(IntCC::SignedLessThan, from, to);
            let left = l.b.ins().isub(to, from);
            l.b.ins().select(some, left, none)
        } else if cx.facts.borrow().natural(l, to) {
            to
        } else {
            l.b.ins().smax(to, none)
        };
        least = Some(least.map_or(n, |m| l.b.ins().umin(m, n)));
    }
    Ok(least.unwrap_or(none))
}

/// How many trips there may be records of: the number of trips, or less if a trip before that is sure to fail, since those that
/// move on in a list come to its end. Leaves where memory is lacking if that many have no room anywhere.
pub(super) fn at_most(l: &mut Lanes<'_, '_>, v: &Vector, args: &[Val], trips: Value, lacking: Block) -> Value {
    const FEW: i64 = 1 << 12;
    let (most, join) = (l.b.create_block(), l.b.create_block());
    let n = l.b.append_block_param(join, types::I64);
    l.b.set_cold_block(most);
    let many = l.b.ins().icmp_imm_u(IntCC::UnsignedGreaterThan, trips, FEW);
    l.b.ins().brif(many, most, &[], join, &[BlockArg::Value(trips)]);
    enter(l, most);
    let mut least = trips;
    for origin in &v.buffers {
        let &Origin::List { list, stride, .. } = origin else { continue };
        if stride != 0 {
            // each trip is at another element, the last one at none
            let more = l.b.ins().iadd_imm_s(parts(args[list]).1, 1);
            least = l.b.ins().umin(least, more);
        }
    }
    let fits = l.b.ins().icmp_imm_u(IntCC::UnsignedLessThan, least, MOST);
    l.b.ins().brif(fits, join, &[BlockArg::Value(least)], lacking, &[]);
    enter(l, join);
    n
}

/// Asks whether all trips can run side by side.
pub(super) fn begin(
    l: &mut Lanes<'_, '_>,
    cx: &Cx<'_>,
    v: &Vector,
    args: &[Val],
    state: &[Val],
    trips: Value,
) -> Result<Attempt, CompileError> {
    let otherwise = l.b.create_block();
    let above = l.b.ins().iadd_imm_s(trips, -FEWEST);
    let many = l.b.ins().icmp_imm_u(IntCC::UnsignedLessThan, above, MOST - FEWEST);
    go(l, many, otherwise);
    let head = inner(l, cx, &v.head, args)?;
    let mut ok: Option<Value> = None;
    let lists = v.buffers.iter().filter_map(|origin| match *origin {
        Origin::List { list, index, stride } => Some((index, parts(args[list]).1, stride)),
        _ => None,
    });
    let mut lists: SmallVec<[(usize, Value, i64); 8]> = lists.collect();
    for w in &v.within {
        let mut limit = head[w.limit].lane().value;
        if !cx.facts.borrow().natural(l, limit) {
            let none = l.b.ins().iconst(types::I64, 0);
            limit = l.b.ins().smax(limit, none);
        }
        lists.push((w.index, limit, w.stride));
    }
    for (index, len, stride) in lists {
        let first = head[index].lane().value;
        if stride == 1 && cx.facts.borrow().all_below(l, first, trips, len) {
            continue;
        }
        // from the lowest to the highest index; the number of trips and a stride are too small for this to wrap
        let after = l.b.ins().iadd_imm_s(trips, -1);
        let span = l.b.ins().imul_imm_s(after, stride.abs());
        let lowest = if stride < 0 { l.b.ins().isub(first, span) } else { first };
        // where the lowest may be; both are the same in all trips of a loop around this one, mostly
        let left = l.b.ins().isub(len, span);
        let none = l.b.ins().iconst(types::I64, 0);
        let room = l.b.ins().smax(left, none);
        let inside = l.b.ins().icmp(IntCC::UnsignedLessThan, lowest, room);
        ok = Some(both(l, ok, inside));
    }
    for (next, value) in v.next.iter().zip(state) {
        if let Next::Max(_, Nan::Loses) | Next::Min(_, Nan::Loses) = next {
            let x = value.lane().value;
            let number = l.b.ins().fcmp(FloatCC::Ordered, x, x);
            ok = Some(both(l, ok, number));
        }
    }
    if let Some(ok) = ok {
        go(l, ok, otherwise);
    }
    Ok(Attempt { trips, head, otherwise })
}

fn both(l: &mut Lanes<'_, '_>, a: Option<Value>, b: Value) -> Value {
    a.map_or(b, |a| l.b.ins().band(a, b))
}
/// Goes on where `ok`.
fn go(l: &mut Lanes<'_, '_>, ok: Value, otherwise: Block) {
    let go = l.b.create_block();
    l.b.ins().brif(ok, go, &[], otherwise, &[]);
    enter(l, go);
}

/// Runs all trips: the carried values after them. `record` is where the record of trip 0 is.
pub(super) fn run(
    l: &mut Lanes<'_, '_>,
    cx: &Cx<'_>,
    v: &Vector,
    args: &[Val],
    state: &[Val],
    attempt: &Attempt,
    record: Option<Value>,
) -> Result<Vec<Val>, CompileError> {
    let mut buffers = Vec::with_capacity(v.buffers.len());
    for origin in &v.buffers {
        buffers.push(match *origin {
            Origin::List { list, index, .. } => {
                let (at, _, dtype) = parts(args[list]);
                let by = l.b.ins().imul_imm_s(attempt.head[index].lane().value, size_of(dtype) as i64);
                l.b.ins().iadd(at, by)
            }
            Origin::Record(k) => {
                let start = record.ok_or_else(|| CompileError::Malformed("a record that is not there".into()))?;
                l.b.ins().iadd_imm_s(start, 8 * k as i64)
            }
            Origin::None => attempt.trips,
        });
    }
    let mut given: Vec<Option<Lane>> = vec![None; v.kernel.nodes.len()];
    for &(id, g) in &v.given {
        given[id as usize] = Some(match g {
            Given::Argument(k) => args[k].lane(),
            Given::Head(k) => attempt.head[k].lane(),
        });
    }
    let scratch = match v.plan.scratch_bytes {
        0 => attempt.trips,
        _ => l.b.ins().load(types::I64, mem(), cx.frame, frame::SCRATCH),
    };
    let lanes = Lanes::new(&mut *l.b, l.fma, l.call_conv);
    let results = emit::open(&v.kernel, &v.plan, lanes, buffers.clone(), given, scratch, attempt.trips)?;
    let result = |id: Id| results.iter().find(|r| r.0 == id).map(|r| r.1).ok_or_else(|| emit::missing(id));
    // which of two zeros an extremum is depends on the order: the loop itself says
    for next in &v.next {
        let (Next::Max(id, _) | Next::Min(id, _)) = *next else { continue };
        let x = result(id)?;
        if x.dtype.is_float() {
            let zero = l.constant(0.0, x.dtype);
            let other = l.ne(x, zero);
            go(l, other.value, attempt.otherwise);
        }
    }
    for &(buffer, id) in &v.points {
        let (at, term) = (buffers[usize::from(buffer)], result(id)?);
        let value = l.b.ins().load(scalar_type(term.dtype), mem(), at, 0);
        let sum = l.add(Lane { value, dtype: term.dtype }, term);
        l.b.ins().store(mem(), sum.value, at, 0);
    }
    let mut out = Vec::with_capacity(state.len());
    for (next, &before) in v.next.iter().zip(state) {
        out.push(match *next {
            Next::Same => before,
            Next::Count(by) => {
                let moved = l.b.ins().imul_imm_s(attempt.trips, by);
                let value = l.b.ins().iadd(before.lane().value, moved);
                Val::Scalar(Lane { value, dtype: DType::I64 })
            }
            Next::Plus(id) => Val::Scalar(l.add(before.lane(), result(id)?)),
            Next::Max(id, _) => Val::Scalar(l.max(result(id)?, before.lane())),
            Next::Min(id, _) => Val::Scalar(l.min(result(id)?, before.lane())),
            Next::Last(id) => Val::Scalar(result(id)?),
        });
    }
    Ok(out)
}

/// Brings the two ways together: the words that the loop itself begins with, `done` after the attempt, `start` without.
pub(super) fn end(l: &mut Lanes<'_, '_>, attempt: Attempt, done: Vec<Value>, start: Vec<Value>) -> Vec<Value> {
    let join = l.b.create_block();
    let (mut now, mut ways) = (Vec::with_capacity(start.len()), [Vec::new(), Vec::new()]);
    for (a, b) in done.into_iter().zip(start) {
        if a == b {
            now.push(a);
            continue;
        }
        let ty = l.b.func.dfg.value_type(a);
        now.push(l.b.append_block_param(join, ty));
        ways[0].push(a);
        ways[1].push(b);
    }
    let [done, start] = ways;
    jump(l, join, done);
    enter(l, attempt.otherwise);
    jump(l, join, start);
    enter(l, join);
    now
}
