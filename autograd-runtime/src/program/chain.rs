//! Loop fusion (Kennedy and McKinley, Maximizing Loop Parallelism and Improving Data Locality via Loop Fusion and Distribution,
//! 1993): loops that run one after the other up to the same limit become one, where a trip of the second reads of what the first
//! writes only what the same trip has written, or one a few trips before.
//!
//! `for j in 0..n { a[j] = f(j) }` and `for j in 0..n { s += g(a[j]) }` become one loop in which g reads the value itself. Of
//! `g(a[j - 1])` it reads the value of the trip before, which is carried: a delay. So is an element that the first loop reads and
//! the second has replaced a trip before. If one loop begins a few trips earlier, these run by themselves, in front.
//!
//! Runs before differentiation, so that the way back is one loop too, and has the value at hand: as an element of a list that is
//! written again later it would be recorded. Only loops whose trips run side by side, alone and together. Values stay, and the
//! order of sums but for what their first trips add; if both loops fail, the error may be that of the second.

use super::{
    flow::either,
    folds::dependants,
    jam::{Counted, counted},
    prune::lost,
    split::{graph, rebuild},
    vector::{Trips, is_access, vector},
};
use crate::{
    error::Result,
    graph::{Args, Builder, Graph, Node, NodeId},
    op::{
        Attr, Op, arith, compare,
        control::{PROJ, WHILE, is_call, is_control, while_op},
        create, list,
    },
    pass,
    ty::{DType, Ty},
};
use rustc_hash::FxHashSet;
use std::{borrow::Cow, sync::Arc};

/// Nodes of a trip of both loops together.
const MOST: usize = 128;
/// Loops that are looked at in one graph.
const LOOPS: usize = 32;
/// Trips that run by themselves, and trips that an element may have been written before it is read.
const NEAR: i64 = 4;

/// The graph with such loops fused.
///
/// # Errors
/// An ill-typed graph, which is our bug.
pub(crate) fn chain(g: &Graph) -> Result<Cow<'_, Graph>> {
    // limits that are the same are the same node
    if holds_two(g) { chained(&pass::simplify(g)?).map(|g| Cow::Owned(g.into_owned())) } else { Ok(Cow::Borrowed(g)) }
}

fn chained(g: &Graph) -> Result<Cow<'_, Graph>> {
    let mut g = Cow::Borrowed(g);
    while let Some(next) = fused(&g)? {
        g = Cow::Owned(next);
    }
    let inside = |n: &Node| has_parts(n) && n.subgraphs().any(holds_two);
    if !g.nodes().any(|(_, n)| inside(n)) {
        return Ok(g);
    }
    let within = |b: &Builder, n: &Node, map: &[Option<NodeId>]| {
        if !inside(n) {
            return Ok(None);
        }
        let args = mapped(&n.args, map)?;
        b.add_control(&n.op.map_graphs(|g| chained(g).map(Cow::into_owned))?, &args).map(Some)
    };
    rebuild(&g, &mut |b, _, n, map| within(b, n, map), &|_| Vec::new()).map(Cow::Owned)
}

/// Whether it is a choice or a loop: functions stay as they are, and so do the derivatives that users give.
fn has_parts(n: &Node) -> bool {
    is_control(&n.op) && !is_call(&n.op)
}

/// Whether there are two loops beside one another, as deep as the source nests them.
fn holds_two(g: &Graph) -> bool {
    g.nodes().filter(|(_, n)| n.op.is(&WHILE)).nth(1).is_some()
        || g.nodes().any(|(_, n)| has_parts(n) && n.subgraphs().any(holds_two))
}

fn mapped(args: &[NodeId], map: &[Option<NodeId>]) -> Result<Vec<NodeId>> {
    args.iter().map(|a| map[a.index()]).collect::<Option<_>>().ok_or_else(lost)
}
fn integer(b: &Builder, x: i64) -> Result<NodeId> {
    b.add(create::constant_bits(DType::I64, x.cast_unsigned()), &[])
}
fn constant(n: &Node) -> Option<i64> {
    (n.op.is(&create::CONST) && n.ty == Ty::scalar(DType::I64)).then(|| n.op.bits(1).cast_signed())
}

/// The graph with two loops fused, if there are two.
fn fused(g: &Graph) -> Result<Option<Graph>> {
    let live = g.live();
    let all: Vec<(NodeId, Counted)> = g
        .nodes()
        .filter(|(id, n)| live[id.index()] && n.op.is(&WHILE))
        .filter_map(|(id, n)| Some((id, counted(&n.op)?)))
        .take(LOOPS)
        .collect();
    let all: Vec<Side<'_>> = all
        .iter()
        .map(|(id, counted)| {
            let counter = |n: &Node| n.op.is(&PROJ) && n.op.int(0) == counted.counter as i64;
            let read = g.users(*id).any(|(u, _)| live[u.index()] && counter(g.node(u)));
            Side { id: *id, counted, read, after: dependants(g, [*id]) }
        })
        .collect();
    for (k, second) in all.iter().enumerate() {
        for first in &all[..k] {
            if let Some(pair) = Pair::of(g, &live, first, second)
                && let Some(op) = pair.op()?
            {
                return pair.put(&op).map(Some);
            }
        }
    }
    Ok(None)
}

/// A loop that may be one with another.
struct Side<'g> {
    id: NodeId,
    counted: &'g Counted,
    /// Whether anybody reads where the counter ends.
    read: bool,
    /// What depends on it.
    after: FxHashSet<NodeId>,
}

/// Two loops that can be one, whose arguments are what both carry, what is delayed, and what they read.
struct Pair<'g> {
    g: &'g Graph,
    loops: [NodeId; 2],
    counted: [&'g Counted; 2],
    begin: Begin,
    carried: Vec<NodeId>,
    delays: Vec<Delays>,
    read: Vec<NodeId>,
    /// What the arguments of each loop are.
    given: [Vec<Given>; 2],
}

/// Where both begin.
#[derive(Clone, Copy)]
enum Begin {
    /// At the same number.
    Together(NodeId),
    /// At this one, from where the first trips of one of them have run by themselves.
    Apart { start: i64, early: usize },
}

/// An argument of one of the loops.
#[derive(Clone, Copy)]
enum Given {
    /// Of the loop of both, by what it is there.
    Carried(usize),
    Read(usize),
    /// To the second loop: a list that the first carries, as a trip leaves it.
    Next(usize),
    /// To the first loop: a list that the second carries, as a trip finds it.
    Before(usize),
}

/// Elements of a list that are read trips after they were written.
struct Delays {
    /// What is carried.
    list: usize,
    /// As a trip finds it, not as it leaves it.
    before: bool,
    written: Written,
    /// How many trips later it is read at the most.
    most: i64,
    /// How it is read.
    get: Op,
}

/// A trip writes the element of its own number and this, at a place.
#[derive(Clone)]
struct Written {
    offset: i64,
    place: Attr,
}

/// What a trip does with a list among the arguments of a body.
#[derive(Default)]
struct Touched {
    /// The elements that it reads and writes, counted from its own number.
    read: Vec<(i64, Op)>,
    written: Option<Written>,
}

impl Touched {
    /// None if that is something else. A list that is carried must be written, read where it is written, and given on.
    fn of(body: &Graph, counter: usize, k: usize, carried: bool) -> Option<Touched> {
        let mut touched = Touched::default();
        let mut states: FxHashSet<NodeId> = FxHashSet::from_iter([body.inputs()[k]]);
        let live = body.live();
        for (id, n) in body.nodes().filter(|(id, _)| live[id.index()]) {
            if !n.args.iter().any(|a| states.contains(a)) {
                continue;
            }
            if !states.contains(&n.args[0]) || n.args[1..].iter().any(|a| states.contains(a)) {
                return None;
            }
            if n.op.is(&list::LEN) {
                continue;
            }
            if !is_access(n) {
                return None;
            }
            let at = offset(body, body.inputs()[counter], n.args[1])?;
            if n.op.is(&list::GET) {
                touched.read.push((at, n.op.clone()));
            } else if carried && touched.written.as_ref().is_none_or(|w| w.offset == at) {
                touched.written = Some(Written { offset: at, place: n.op.attrs[0].clone() });
                states.insert(id);
            } else {
                return None;
            }
        }
        let given_on = body.outputs().iter().enumerate().all(|(j, o)| states.contains(o) == (carried && j == k));
        let own = !carried || touched.written.as_ref().is_some_and(|w| touched.read.iter().all(|r| r.0 == w.offset));
        (given_on && own).then_some(touched)
    }
}

/// By how much an index is more than the counter, if that is little.
fn offset(body: &Graph, counter: NodeId, mut x: NodeId) -> Option<i64> {
    let mut by = 0i64;
    while x != counter {
        let n = body.node(x);
        let [a, b] = n.args[..] else { return None };
        let (rest, more) = match (constant(body.node(a)), constant(body.node(b))) {
            (None, Some(c)) if n.op.is(&arith::ADD) => (a, c),
            (None, Some(c)) if n.op.is(&arith::SUB) => (a, c.checked_neg()?),
            (Some(c), None) if n.op.is(&arith::ADD) => (b, c),
            _ => return None,
        };
        (x, by) = (rest, by.checked_add(more)?);
    }
    Some(by).filter(|by| by.unsigned_abs() < 1 << 40)
}

impl<'g> Pair<'g> {
    fn of(g: &'g Graph, live: &[bool], first: &Side<'g>, second: &Side<'g>) -> Option<Pair<'g>> {
        let (a, b) = (g.node(first.id), g.node(second.id));
        let (one, two) = (first.counted, second.counted);
        let [body_a, body_b] = [a, b].map(|n| n.op.graph(1));
        let [inside_a, inside_b] = [a, b].map(|n| n.op.int(2) as usize);
        // a limit that is the length of a list is that number, where it is one
        let limit = |x: NodeId| {
            let n = g.node(x);
            if n.op.is(&list::WITHIN) && n.op.int(1) != 0 { n.args[0] } else { x }
        };
        if limit(a.args[one.limit]) != limit(b.args[two.limit]) {
            return None;
        }
        let (from_a, from_b) = (a.args[one.counter], b.args[two.counter]);
        let begin = if from_a == from_b {
            Begin::Together(from_a)
        } else {
            let (x, y) = (constant(g.node(from_a))?, constant(g.node(from_b))?);
            // where both are one, counters do not end where they did
            if first.read || second.read || !(-NEAR..=NEAR).contains(&x.checked_sub(y)?) {
                return None;
            }
            Begin::Apart { start: x.max(y), early: usize::from(y < x) }
        };
        let from_first = |x: NodeId| {
            let n = g.node(x);
            (n.op.is(&PROJ) && n.args[0] == first.id).then(|| n.op.int(0) as usize)
        };
        // nothing else stands between the two
        if b.args.iter().any(|&x| from_first(x).is_none() && first.after.contains(&x)) {
            return None;
        }
        // a list that one writes and the other reads as it was later would have to be copied
        let kept = |x: &NodeId| g.ty(*x).is_list() && !g.node(*x).op.is(&list::FILL);
        let (own_a, own_b) = (&a.args[..inside_a], &b.args[..inside_b]);
        // and so would one that the second writes, and others read as it was after the first
        let later = |x: &NodeId| {
            let reads = |u: NodeId| live[u.index()] && ![first.id, second.id].contains(&u) && first.after.contains(&u);
            kept(x) && g.users(*x).any(|(u, _)| reads(u))
        };
        if own_a.iter().any(|x| kept(x) && b.args[inside_b..].contains(x)) || own_b.iter().any(later) {
            return None;
        }
        let twice = |args: &[NodeId], x: NodeId| args.iter().filter(|y| **y == x).count() > 1;
        let mut pair = Pair {
            g,
            loops: [first.id, second.id],
            counted: [one, two],
            begin,
            carried: own_a.to_vec(),
            delays: Vec::new(),
            read: Vec::new(),
            given: [(0..inside_a).map(Given::Carried).collect(), Vec::new()],
        };
        let mut chained = false;
        for (m, &x) in b.args.iter().enumerate() {
            let given = if m == two.counter {
                Given::Carried(one.counter)
            } else if let Some(k) = from_first(x) {
                // results that are numbers are known after all trips only
                if !g.ty(x).is_list() || twice(&b.args, x) {
                    return None;
                }
                let written = Touched::of(body_a, one.counter, k, true)?.written?;
                let touched = Touched::of(body_b, two.counter, m, m < inside_b)?;
                if m < inside_b {
                    // of a list that the second loop writes as well nobody else reads what the first has made of it
                    let readers = g.users(x).filter(|(u, _)| live[u.index()]).count();
                    let early = matches!(begin, Begin::Apart { early: 1, .. });
                    if touched.written?.offset != written.offset || early || readers > 1 || g.outputs().contains(&x) {
                        return None;
                    }
                } else {
                    pair.delayed_by(k, false, written, &touched.read)?;
                }
                chained = true;
                Given::Next(k)
            } else if m < inside_b {
                pair.carried.push(x);
                Given::Carried(pair.carried.len() - 1)
            } else {
                pair.reads(x)
            };
            pair.given[1].push(given);
        }
        for (p, &x) in a.args.iter().enumerate().skip(inside_a) {
            let given = if let Some(m) = own_b.iter().position(|y| kept(y) && *y == x) {
                let Given::Carried(k) = pair.given[1][m] else { return None };
                if twice(&a.args, x) || twice(&b.args, x) {
                    return None;
                }
                let written = Touched::of(body_b, two.counter, m, true)?.written?;
                let touched = Touched::of(body_a, one.counter, p, false)?;
                pair.delayed_by(k, true, written, &touched.read)?;
                Given::Before(k)
            } else {
                pair.reads(x)
            };
            pair.given[0].push(given);
        }
        chained.then_some(pair)
    }

    /// Notes how much later elements of a list that one loop carries are read by the other; none if one is read earlier than it is
    /// written, or much later.
    fn delayed_by(&mut self, list: usize, before: bool, written: Written, read: &[(i64, Op)]) -> Option<()> {
        let by = |at: i64| written.offset - at;
        if !read.iter().all(|r| (0..=NEAR).contains(&by(r.0))) {
            return None;
        }
        let start = match self.begin {
            Begin::Together(start) => constant(self.g.node(start)),
            Begin::Apart { start, .. } => Some(start),
        };
        if let Some((at, get)) = read.iter().min_by_key(|r| r.0)
            && by(*at) > 0
        {
            // such a loop fails
            if start.is_some_and(|start| start.saturating_add(*at) < 0) {
                return None;
            }
            self.delays.push(Delays { list, before, most: by(*at), get: get.clone(), written });
        }
        Some(())
    }

    /// An argument that is only read.
    fn reads(&mut self, x: NodeId) -> Given {
        let at = self.read.iter().position(|&y| y == x).unwrap_or_else(|| {
            self.read.push(x);
            self.read.len() - 1
        });
        Given::Read(at)
    }
    fn node(&self, which: usize) -> &'g Node {
        self.g.node(self.loops[which])
    }
    /// Where what is delayed begins among the arguments.
    fn delayed(&self, which: usize) -> usize {
        self.carried.len() + self.delays[..which].iter().map(|d| d.most as usize).sum::<usize>()
    }
    /// Where an argument is among those of the loop of both.
    fn place(&self, given: Given) -> usize {
        match given {
            Given::Carried(k) | Given::Next(k) | Given::Before(k) => k,
            Given::Read(k) => self.delayed(self.delays.len()) + k,
        }
    }

    /// The loop of both; none if that is larger than it should be, or trips would not run side by side.
    fn op(&self) -> Result<Option<Op>> {
        let (a, b) = (self.node(0), self.node(1));
        let beside = |op: &Op| {
            let carried = 0..op.int(2) as usize;
            vector(&Trips { body: op.graph(1), cond: Some(op.graph(0)), record: 0, carried }).is_some()
        };
        let nodes = |op: &Op| op.graph(1).live().iter().filter(|l| **l).count();
        if nodes(&a.op) + nodes(&b.op) > MOST || !beside(&a.op) || !beside(&b.op) {
            return Ok(None);
        }
        let ty = |x: &NodeId| self.g.ty(*x).clone();
        let mut tys: Vec<Ty> = self.carried.iter().map(ty).collect();
        for d in &self.delays {
            let element = Ty::scalar(tys[d.list].dtype);
            tys.extend((0..d.most).map(|_| element.clone()));
        }
        let carried = tys.len();
        tys.extend(self.read.iter().map(ty));
        let cond = graph(&tys, &|p, ins| {
            let of = self.given[0].iter().map(|&given| ins[self.place(given)]);
            p.inline(a.op.graph(0), &of.collect::<Vec<_>>())
        })?;
        let body = graph(&tys, &|p, ins| {
            let next = self.trip(p, 0, ins, &[])?;
            let last = self.trip(p, 1, ins, &next)?;
            let mut outs = [&next[..], &ins[next.len()..carried]].concat();
            for (m, (&given, out)) in self.given[1].iter().zip(last).enumerate() {
                if m != self.counted[1].counter {
                    outs[self.place(given)] = out;
                }
            }
            for (which, d) in self.delays.iter().enumerate() {
                let at = self.delayed(which);
                outs[at] = self.element(p, d, ins, &next)?;
                (1..d.most as usize).for_each(|j| outs[at + j] = ins[at + j - 1]);
            }
            Ok(outs)
        })?;
        let op = while_op(Arc::new(cond), Arc::new(body), carried);
        Ok(beside(&op).then_some(op))
    }

    /// The index at an offset from the counter.
    fn index(&self, p: &Builder, ins: &[NodeId], offset: i64) -> Result<NodeId> {
        let counter = ins[self.counted[0].counter];
        if offset == 0 { Ok(counter) } else { p.add(Op::new(&arith::ADD), &[counter, integer(p, offset)?]) }
    }
    /// What a trip writes, or what is there before it does.
    fn element(&self, p: &Builder, d: &Delays, ins: &[NodeId], next: &[NodeId]) -> Result<NodeId> {
        let list = if d.before { ins[d.list] } else { next[d.list] };
        if let (false, Some(value)) = (d.before, set(p, list)) {
            return Ok(value);
        }
        // it is the element that is written: if it is out of range, the write is
        let get = Op::with(&list::GET, [d.written.place.clone()]);
        p.add(get, &[list, self.index(p, ins, d.written.offset)?])
    }

    /// A trip of one of the loops from the arguments of the loop of both; of the second from what the first makes of them.
    fn trip(&self, p: &Builder, which: usize, ins: &[NodeId], next: &[NodeId]) -> Result<Vec<NodeId>> {
        let (body, given) = (self.node(which).op.graph(1), &self.given[which]);
        let counter = body.inputs()[self.counted[which].counter];
        let live = body.live();
        let mut map: Vec<Option<NodeId>> = vec![None; body.len()];
        for (&i, &given) in body.inputs().iter().zip(given) {
            map[i.index()] = Some(if let Given::Next(k) = given { next[k] } else { ins[self.place(given)] });
        }
        for (id, n) in body.nodes().filter(|(id, n)| live[id.index()] && !n.op.is(&create::INPUT)) {
            let mut args: Args = n.args.iter().map(|a| map[a.index()]).collect::<Option<_>>().ok_or_else(lost)?;
            let mut known = None;
            if n.op.is(&list::LEN)
                && let Some(k) = self.input(body, given, n.args[0])
            {
                args[0] = ins[k];
            }
            if let Some(by) = if is_access(n) { offset(body, counter, n.args[1]) } else { None } {
                // one way to write it, so that it is the same element to both
                args[1] = self.index(p, ins, by)?;
                if n.op.is(&list::GET) {
                    known = self.known(p, body.node(n.args[0]), given, by, ins, next);
                }
            }
            map[id.index()] = Some(match known {
                Some(x) => x,
                None => p.add(n.op.clone(), &args)?,
            });
        }
        body.outputs().iter().map(|o| map[o.index()].ok_or_else(lost)).collect()
    }

    /// Which list of the loop of both an input is.
    fn input(&self, body: &Graph, given: &[Given], x: NodeId) -> Option<usize> {
        let n = body.node(x);
        n.op.is(&create::INPUT).then(|| self.place(given[n.op.int(0) as usize]))
    }

    /// An element of a list that one of the loops writes and the other reads, if that has been written or will be.
    fn known(
        &self,
        p: &Builder,
        list: &Node,
        given: &[Given],
        offset: i64,
        ins: &[NodeId],
        next: &[NodeId],
    ) -> Option<NodeId> {
        if !list.op.is(&create::INPUT) {
            return None;
        }
        let (k, before) = match given[list.op.int(0) as usize] {
            Given::Next(k) => (k, false),
            Given::Before(k) => (k, true),
            Given::Carried(_) | Given::Read(_) => return None,
        };
        let delays = self.delays.iter().position(|d| d.list == k && d.before == before);
        if let Some((which, by)) = delays.map(|which| (which, self.delays[which].written.offset - offset))
            && by > 0
        {
            return Some(ins[self.delayed(which) + by as usize - 1]);
        }
        if before { None } else { set(p, next[k]) }
    }

    /// The graph with this loop in place of the two.
    fn put(&self, op: &Op) -> Result<Graph> {
        let all: Vec<NodeId> = self.loops.iter().flat_map(|&l| self.g.node(l).args.iter().copied()).collect();
        let from_first = |x: &NodeId| self.g.node(*x).op.is(&PROJ) && self.g.node(*x).args[0] == self.loops[0];
        let needed: Vec<NodeId> = all.into_iter().filter(|x| !from_first(x)).collect();
        let mut made: Option<Vec<NodeId>> = None;
        rebuild(
            self.g,
            &mut |b, id, _, map| {
                let Some(which) = self.loops.iter().position(|&l| l == id) else { return Ok(None) };
                let all = match made.take() {
                    Some(all) => all,
                    None => b.add_control(op, &self.arguments(b, map)?)?,
                };
                let carried = self.node(which).op.int(2) as usize;
                let results = self.given[which][..carried].iter().map(|&given| all[self.place(given)]).collect();
                made = Some(all);
                Ok(Some(results))
            },
            &|id| if self.loops.contains(&id) { needed.clone() } else { Vec::new() },
        )
    }

    /// The arguments of the loop of both, behind the trips that run by themselves.
    fn arguments(&self, b: &Builder, map: &[Option<NodeId>]) -> Result<Vec<NodeId>> {
        let found = mapped(&self.carried, map)?;
        let limit = map[self.node(0).args[self.counted[0].limit].index()].ok_or_else(lost)?;
        let mut state = found.clone();
        let start = match self.begin {
            Begin::Together(start) => map[start.index()].ok_or_else(lost)?,
            Begin::Apart { start, early } => {
                let (n, given) = (self.node(early), &self.given[early]);
                let mut args = Vec::with_capacity(n.args.len());
                for (&x, &given) in n.args.iter().zip(given) {
                    args.push(match given {
                        // what the first loop begins with: these trips read nothing else of it
                        Given::Next(k) => state[k],
                        _ => map[x.index()].ok_or_else(lost)?,
                    });
                }
                let first = constant(&b.node(args[self.counted[early].counter])).ok_or_else(lost)?;
                for number in first..start {
                    args[self.counted[early].counter] = integer(b, number)?;
                    let done = single(b, &n.op, self.counted[early], &args, limit, number)?;
                    args[..done.len()].copy_from_slice(&done);
                }
                for (&given, &x) in given.iter().zip(&args[..n.op.int(2) as usize]) {
                    state[self.place(given)] = x;
                }
                let start = integer(b, start)?;
                state[self.counted[0].counter] = start;
                start
            }
        };
        let runs = b.add(Op::new(&compare::LT), &[start, limit])?;
        for d in &self.delays {
            let list = if d.before { found[d.list] } else { state[d.list] };
            state.extend(self.first(b, d, list, start, runs)?);
        }
        state.extend(mapped(&self.read, map)?);
        Ok(state)
    }

    /// What is delayed at first: elements that were written before the loop, the one of the trip before first.
    fn first(&self, b: &Builder, d: &Delays, list: NodeId, start: NodeId, runs: NodeId) -> Result<Vec<NodeId>> {
        let at = |j: i64| d.written.offset - j;
        if let Some(start) = constant(&b.node(start)) {
            let known = (1..=d.most).map(|j| written(b, list, start + at(j), true));
            if let Some(known) = known.collect::<Option<Vec<_>>>() {
                return Ok(known);
            }
        }
        let tys = [b.ty_of(list), b.ty_of(start)];
        let yes = graph(&tys, &|b, x| {
            let element = |j: i64| {
                let index = b.add(Op::new(&arith::ADD), &[x[1], integer(b, at(j))?])?;
                b.add(d.get.clone(), &[x[0], index])
            };
            (1..=d.most).map(element).collect()
        })?;
        let mut runs = runs;
        if d.most > 1 {
            // not all of these are read by the first trip: they are there if what it writes is
            let index = b.add(Op::new(&arith::ADD), &[start, integer(b, d.written.offset)?])?;
            let length = b.add(Op::new(&list::LEN), &[list])?;
            let inside = b.add(Op::new(&compare::LT), &[index, length])?;
            runs = b.add(Op::new(&compare::AND), &[runs, inside])?;
        }
        let zero = |b: &Builder| b.add(create::constant(tys[0].dtype, 0.0), &[]);
        let no = graph(&tys, &|b, _| (1..=d.most).map(|_| zero(b)).collect())?;
        either(b, runs, &[list, start], &[yes, no])
    }
}

/// The element that a list has just been given.
fn set(p: &Builder, list: NodeId) -> Option<NodeId> {
    Some(p.node(list)).filter(|n| n.op.is(&list::SET)).map(|n| n.args[2])
}

/// What a loop carries after a trip of known number, if there is such a trip.
fn single(b: &Builder, op: &Op, of: &Counted, args: &[NodeId], limit: NodeId, number: i64) -> Result<Vec<NodeId>> {
    let (body, carried) = (op.graph(1), op.int(2) as usize);
    let counter = body.inputs()[of.counter];
    // elements that are known where their lists are made
    let mut given = args.to_vec();
    let mut known: Vec<(NodeId, usize)> = Vec::new();
    let live = body.live();
    for (id, n) in body.nodes().filter(|(id, n)| live[id.index()] && n.op.is(&list::GET)) {
        let list = body.node(n.args[0]);
        let index = offset(body, counter, n.args[1]).and_then(|by| number.checked_add(by));
        if let (true, Some(index)) = (list.op.is(&create::INPUT), index)
            && let Some(element) = written(b, args[list.op.int(0) as usize], index, false)
        {
            known.push((id, given.len()));
            given.push(element);
        }
    }
    let tys: Vec<Ty> = given.iter().map(|&x| b.ty_of(x)).collect();
    let yes = graph(&tys, &|p, ins| {
        let mut map: Vec<Option<NodeId>> = vec![None; body.len()];
        body.inputs().iter().zip(ins).for_each(|(i, &to)| map[i.index()] = Some(to));
        known.iter().for_each(|&(id, k)| map[id.index()] = Some(ins[k]));
        for (id, n) in body.nodes().filter(|(id, _)| live[id.index()]) {
            if map[id.index()].is_none() {
                map[id.index()] = Some(p.add(n.op.clone(), &mapped(&n.args, &map)?)?);
            }
        }
        mapped(body.outputs(), &map)
    })?;
    let no = graph(&tys, &|_, ins| Ok(ins[..carried].to_vec()))?;
    let runs = b.add(Op::new(&compare::LT), &[integer(b, number)?, limit])?;
    either(b, runs, &given, &[yes, no])
}

/// An element of a list if that is known where the list is made; `inside` says that there is such an element.
fn written(b: &Builder, mut list: NodeId, index: i64, inside: bool) -> Option<NodeId> {
    loop {
        let n = b.node(list);
        if index < 0 || !n.op.is(&list::SET) {
            return (index >= 0 && inside && n.op.is(&list::FILL)).then(|| n.args[0]);
        }
        if constant(&b.node(n.args[1]))? == index {
            return Some(n.args[2]);
        }
        list = n.args[0];
    }
}

#[cfg(test)]
mod tests;
