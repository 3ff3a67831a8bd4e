//! From the reverse mode of a loop whose record is bounded to loops that hold few of its states and run the rest once more.
//!
//! On the way forwards nothing is recorded but the number n of trips. The way back is cut into ℓ = ⌈n / m⌉ stretches of m trips,
//! and goes from the last to the first: each is run once more, now with a record, and then back over that record. The state in
//! which a stretch begins comes from the nearest one before it that is held, a snapshot; on the way there further ones are
//! taken, where treeverse would (Griewank 1992; Griewank & Walther, Evaluating Derivatives, 2008, chapter 12): with s free
//! places and ℓ stretches left the next snapshot is β(s, r − 1) stretches ahead, where β(s, r) = (s + r choose s) and r is the
//! least number with ℓ ≤ β(s, r).
//!
//! Then every trip is run at most r times to get there: since β(s, r) = β(s − 1, r) + β(s, r − 1), the stretches after the
//! snapshot are at most β(s − 1, r), those before it β(s, r − 1), and with T(s, ℓ) stretches run in all
//! T(s, ℓ) ≤ m + r (ℓ − m) + (r − 1) m = r ℓ for m = β(s, r − 1). So a gradient runs the loop forwards at most r + 2 times, the
//! first time and the one that records included, for any number of trips. To take snapshots on the way forwards already would
//! save one run, but n is not known there.
//!
//! The snapshots are a stack: a list for each carried value, and one for where they are. So all of it is ordinary loops. No
//! bit of a gradient changes, but for sums over trips that run side by side ([`super::vector`]), which are made for each stretch.
//!
//! Half of the memory is for loops inside, if there are any, whose ways back are made in the same manner. The least that
//! is held are 8 snapshots and a record of 16 trips.

use super::split::{Part, graph};
use crate::{
    error::Result,
    graph::{Builder, Graph, NodeId},
    op::{
        Attr, Op, OpDef, arith, compare,
        control::{self, WHILE, WHILE_VJP, while_op},
        create, integer, list,
    },
    ty::{DType, Ty},
};
use std::sync::Arc;

/// Shorter stretches and fewer snapshots than this cost more than they save.
const LEAST_TRIPS: u64 = 16;
const LEAST_PLACES: u64 = 8;
/// More snapshots than this save nothing: with two runs they are enough for 10⁹ stretches.
const MOST_PLACES: u64 = 1 << 16;

/// How a loop is run back in so much memory.
pub(super) struct Checkpoints<'a> {
    /// The `while`.
    op: &'a Op,
    /// Trips of a stretch.
    trips: u64,
    /// Places for snapshots.
    places: u64,
    /// What is left for each loop inside.
    pub inside: u64,
}

/// Loops in a graph, those that are nested included.
fn loops(g: &Graph) -> u64 {
    let own = |op: &Op| u64::from(op.is(&WHILE) || op.is(&WHILE_VJP));
    g.nodes().map(|(_, n)| own(&n.op) + n.subgraphs().map(loops).sum::<u64>()).sum()
}

/// Makes the way back of a stretch.
type Stretch<'f> = &'f dyn Fn(&Builder, &[NodeId], &[NodeId]) -> Result<Vec<NodeId>>;

fn int(b: &Builder, x: u64) -> Result<NodeId> {
    b.add(create::constant_bits(DType::I64, x), &[])
}
fn op2(b: &Builder, def: &'static OpDef, x: NodeId, y: NodeId) -> Result<NodeId> {
    b.add(Op::new(def), &[x, y])
}
/// An operation that might fail elsewhere, at no place of the source: here indices are inside their lists, divisors positive.
fn checked(def: &'static OpDef) -> Op {
    Op::with(def, [Attr::Int(-1)])
}
/// A loop: its carried values at the end.
fn repeat(b: &Builder, carried: &[NodeId], captures: &[NodeId], test: Part<'_>, trip: Part<'_>) -> Result<Vec<NodeId>> {
    let args = [carried, captures].concat();
    let tys: Vec<Ty> = args.iter().map(|&a| b.ty_of(a)).collect();
    b.add_control(&while_op(Arc::new(graph(&tys, test)?), Arc::new(graph(&tys, trip)?), carried.len()), &args)
}

impl<'a> Checkpoints<'a> {
    /// For a loop that carries numbers; lists that it carries would be snapshots of any size.
    pub fn of(op: &'a Op, memory: u64) -> Checkpoints<'a> {
        let (body, carried) = (op.graph(1), op.int(2) as u64);
        let nested = loops(body);
        let own = if nested > 0 { memory / 2 } else { memory };
        // at most all carried values and one more for each operation are recorded of a trip; arrays that grow are up to twice
        // as large as what is in them
        let trip = 8 * (carried + body.size() as u64);
        Checkpoints {
            op,
            trips: (own / 4 / trip).max(LEAST_TRIPS),
            places: (own / 8 / (8 * (carried + 1))).clamp(LEAST_PLACES, MOST_PLACES),
            inside: (memory / 2).checked_div(nested).unwrap_or(memory),
        }
    }

    /// The loop of so many trips: after the carried values it carries the number of the trip, and captures the limit last.
    pub fn stretch(&self) -> Result<Op> {
        let (body, carried) = (self.op.graph(1), self.op.int(2) as usize);
        let (long, mut tys) = (Ty::scalar(DType::I64), body.input_types().cloned().collect::<Vec<Ty>>());
        tys.insert(carried, long.clone());
        tys.push(long);
        let last = tys.len() - 1;
        let test = graph(&tys, &|b, x| Ok(vec![op2(b, &compare::LT, x[carried], x[last])?]))?;
        let trip = graph(&tys, &|b, x| {
            let mut outs = b.inline(body, &[&x[..carried], &x[carried + 1..last]].concat())?;
            outs.push(op2(b, &arith::ADD, x[carried], int(b, 1)?)?);
            Ok(outs)
        })?;
        Ok(while_op(Arc::new(test), Arc::new(trip), carried + 1))
    }

    /// The way back: from the number of trips, the arguments of the loop and cotangents of the floats that it carries to
    /// the cotangents before it, then the sums for the captures `captured`. `back` makes the way back of a stretch: from its
    /// arguments, the cotangents and the sums so far.
    pub fn back(&self, captured: &[usize], back: Stretch<'_>) -> Result<Graph> {
        let (body, carried) = (self.op.graph(1), self.op.int(2) as usize);
        let stretch = self.stretch()?;
        let (n, floats) = (body.inputs().len(), control::floats(body));
        let long = Ty::scalar(DType::I64);
        let tys: Vec<&Ty> = body.input_types().collect();
        let all = std::iter::once(&long).chain(tys.iter().copied()).chain(floats.iter().map(|&i| tys[i]));
        // state and captures as arguments of a stretch of so many trips
        let args = |b: &Builder, state: &[NodeId], captures: &[NodeId], trips: NodeId| -> Result<Vec<NodeId>> {
            Ok([state, &[int(b, 0)?], captures, &[trips]].concat())
        };
        let top = |b: &Builder, lists: &[NodeId], t: NodeId| -> Result<Vec<NodeId>> {
            lists.iter().map(|&l| b.add(checked(&list::GET), &[l, t])).collect()
        };
        // from the snapshot on top so many stretches ahead
        let ahead = |b: &Builder, state: &[NodeId], captures: &[NodeId], by: NodeId| -> Result<Vec<NodeId>> {
            let trips = op2(b, &arith::MUL, by, int(b, self.trips)?)?;
            let mut outs = b.add_control(&stretch, &args(b, state, captures, trips)?)?;
            outs.truncate(carried);
            Ok(outs)
        };
        // carried are the top of the stack, where its snapshots are, and their values; captured the number of stretches that are
        // left, then the loop's captures
        let lists = 1..carried + 2;
        let places = |b: &Builder, x: &[NodeId]| -> Result<NodeId> {
            let len = b.add(Op::new(&list::LEN), &[x[1]])?;
            op2(b, &arith::SUB, op2(b, &arith::SUB, len, int(b, 1)?)?, x[0])
        };
        let between =
            |b: &Builder, x: &[NodeId]| op2(b, &arith::SUB, x[lists.end], b.add(checked(&list::GET), &[x[1], x[0]])?);
        let descends = |b: &Builder, x: &[NodeId]| -> Result<Vec<NodeId>> {
            let more = op2(b, &compare::GT, between(b, x)?, int(b, 1)?)?;
            let room = op2(b, &compare::GT, places(b, x)?, int(b, 0)?)?;
            Ok(vec![op2(b, &compare::AND, more, room)?])
        };
        let descend = |b: &Builder, x: &[NodeId]| -> Result<Vec<NodeId>> {
            let by = farthest(b, places(b, x)?, between(b, x)?)?;
            let now = top(b, &x[lists.clone()], x[0])?;
            let mut next = vec![op2(b, &arith::ADD, now[0], by)?];
            next.extend(ahead(b, &now[1..], &x[lists.end + 1..], by)?);
            let t = op2(b, &arith::ADD, x[0], int(b, 1)?)?;
            let push = |(&l, &v): (&NodeId, &NodeId)| b.add(checked(&list::SET), &[l, t, v]);
            std::iter::once(Ok(t)).chain(x[lists.clone()].iter().zip(&next).map(push)).collect::<Result<Vec<_>>>()
        };
        graph(all, &|b, x| {
            let (trips, state, captures) = (x[0], &x[1..=carried], &x[carried + 1..=n]);
            let most = int(b, self.trips)?;
            let up = op2(b, &arith::ADD, trips, int(b, self.trips - 1)?)?;
            let stretches = b.add(checked(&integer::DIV), &[up, most])?;
            let zero = int(b, 0)?;
            let len = op2(b, &arith::MINIMUM, stretches, int(b, self.places)?)?;
            let len = op2(b, &arith::ADD, len, int(b, 1)?)?;
            let mut carries = vec![stretches, zero];
            for &v in std::iter::once(&zero).chain(state) {
                carries.push(b.add(Op::new(&list::FILL), &[v, len])?);
            }
            carries.extend(&x[n + 1..]);
            let sums = captured.iter().filter_map(|&i| b.ex(x[1 + i]).full_like(0.0).node());
            carries.extend(sums);
            let (stack, cotangents, own) = (1..carried + 3, carried + 3..carries.len(), carries.len());
            let done = repeat(
                b,
                &carries,
                &[&[trips][..], captures].concat(),
                &|b, x| Ok(vec![op2(b, &compare::GT, x[0], int(b, 0)?)?]),
                &|b, x| {
                    let (trips, captures) = (x[own], &x[own + 1..]);
                    let left = [&[x[0]][..], captures].concat();
                    let stack = repeat(b, &x[stack.clone()], &left, &descends, &descend)?;
                    let last = op2(b, &arith::SUB, x[0], int(b, 1)?)?;
                    let now = top(b, &stack[lists.clone()], stack[0])?;
                    let by = op2(b, &arith::SUB, last, now[0])?;
                    let state = ahead(b, &now[1..], captures, by)?;
                    let before = op2(b, &arith::MUL, last, int(b, self.trips)?)?;
                    let rest = op2(b, &arith::SUB, trips, before)?;
                    let limit = op2(b, &arith::MINIMUM, rest, int(b, self.trips)?)?;
                    let next = back(b, &args(b, &state, captures, limit)?, &x[cotangents.clone()])?;
                    // a snapshot from which nothing is left goes
                    let below = op2(b, &arith::SUB, stack[0], int(b, 1)?)?;
                    let here = op2(b, &compare::EQ, now[0], last)?;
                    let t = b.add(Op::new(&compare::SELECT), &[here, below, stack[0]])?;
                    Ok([&[last, t][..], &stack[lists.clone()], &next].concat())
                },
            )?;
            Ok(done[cotangents].to_vec())
        })
    }
}

/// How many stretches ahead the next snapshot is: the largest β(s, r) below ℓ, for s > 0 free places and ℓ > 1.
fn farthest(b: &Builder, places: NodeId, stretches: NodeId) -> Result<NodeId> {
    // β(s, r + 1) = β(s, r) · (s + r + 1) / (r + 1)
    let next = |b: &Builder, x: &[NodeId]| -> Result<Vec<NodeId>> {
        let r = op2(b, &arith::ADD, x[1], int(b, 1)?)?;
        let times = op2(b, &arith::MUL, x[0], op2(b, &arith::ADD, x[2], r)?)?;
        Ok(vec![b.add(checked(&integer::DIV), &[times, r])?, r])
    };
    let below =
        |b: &Builder, x: &[NodeId]| -> Result<Vec<NodeId>> { Ok(vec![op2(b, &compare::LT, next(b, x)?[0], x[3])?]) };
    let start = [int(b, 1)?, int(b, 0)?];
    Ok(repeat(b, &start, &[places, stretches], &below, &next)?[0])
}

#[cfg(test)]
mod tests {
    use crate::{array::Array, array::Data, diff, graph::Graph, kernel::frame, program::Program};

    /// x ← body of y and what is carried, %1 times at the most, with the condition `more`.
    fn looped(more: &str, body: &str) -> Graph {
        let ins = "%0 = input : i64[]
  %1 = input : f64[]
  %2 = input : i64[]
  %3 = input : f64[]
";
        let text = format!(
            "%0 = input : f64[]
%1 = input : i64[]
%2 = input : f64[]
%3 = const 0 : i64[]
%4 = while(%3, %0, %1, %2) {{cond={{
  {ins}  {more}
}}, body={{
  {ins}  %4 = const 1 : i64[]
  %5 = add(%0, %4) : i64[]
  {body}
}}, carried=2}} : i64[]
%5 = proj(%4) {{index=1, dtype=f64, shape=[]}} : f64[]
return %5
"
        );
        let g: Graph = text.parse().unwrap();
        diff::gradient(&g, &[0, 2]).unwrap()
    }
    const COUNTED: &str = "%4 = lt(%0, %2) : bool[]
  return %4";
    const OPEN: &str = "%4 = lt(%0, %2) : bool[]
  %5 = const -2.0 : f64[]
  %6 = gt(%1, %5) : bool[]
  %7 = and(%4, %6) : bool[]
  return %7";
    const FLAT: &str = "%6 = mul(%1, %3) : f64[]
  %7 = sin(%6) : f64[]
  %8 = add(%7, %3) : f64[]
  return %5, %8";
    const NESTED: &str = "%6 = const 0 : i64[]
  %7 = while(%6, %1, %2, %3) {cond={
    %0 = input : i64[]
    %1 = input : f64[]
    %2 = input : i64[]
    %3 = input : f64[]
    %4 = lt(%0, %2) : bool[]
    return %4
  }, body={
    %0 = input : i64[]
    %1 = input : f64[]
    %2 = input : i64[]
    %3 = input : f64[]
    %4 = const 1 : i64[]
    %5 = add(%0, %4) : i64[]
    %6 = mul(%1, %3) : f64[]
    %7 = sin(%6) : f64[]
    %8 = add(%7, %3) : f64[]
    return %5, %8
  }, carried=2} : i64[]
  %8 = proj(%7) {index=1, dtype=f64, shape=[]} : f64[]
  %9 = cos(%8) : f64[]
  return %5, %9";

    fn run(p: &Program, trips: i64) -> Vec<u64> {
        let number = |x: f64| Array::from_data(Data::F64(vec![x]), &[]);
        let ins = [number(0.3), Array::from_data(Data::I64(vec![trips]), &[]), number(0.9)];
        let outs = p.run_arrays(&ins).unwrap();
        outs.into_iter().map(|a| a.into_data().bits(0).unwrap()).collect()
    }

    /// The arrays that grow with what is in them begin with so many bytes.
    const FIRST: usize = 1 << 17;

    #[test]
    fn memory_is_bounded_and_no_bit_changes() {
        for (more, body, most) in [(COUNTED, FLAT, 1_000_000), (OPEN, FLAT, 1_000_000), (COUNTED, NESTED, 1000)] {
            let g = looped(more, body);
            let whole = Program::compile(&g, false).unwrap();
            for memory in [0, 1 << 14, 1 << 18] {
                let bounded = Program::compile_within(&g, false, Some(memory)).unwrap();
                let trips = [0, 1, 2, 15, 16, 17, 31, 32, 33, 150, 1000, most];
                let all = |p: &Program| trips.iter().map(|&n| run(p, n)).collect::<Vec<_>>();
                // each in memory of its own
                let (found, held) = std::thread::scope(|s| s.spawn(|| (all(&bounded), frame::held())).join().unwrap());
                assert!(held <= memory as usize + FIRST, "{held} bytes of {memory}");
                assert_eq!(found, all(&whole));
            }
        }
    }
}
