//! Loop fusion (Kennedy and McKinley, Maximizing Loop Parallelism and Improving Data Locality via Loop Fusion and Distribution,
//! 1993): loops that run one after the other over the same range become one, where a trip of the second reads of what the first
//! writes only what the same trip has written.
//!
//! `for j in 0..n { a[j] = f(j) }` and `for j in 0..n { s += g(a[j]) }` become one loop in which g reads the value itself. Runs before
//! differentiation, so that the way back is one loop too, and has the value at hand: as an element of a list that is written again
//! later it would be recorded. Only loops whose trips run side by side, alone and together. Values and the order of sums stay; if
//! both loops fail, the error may be that of the second.

use super::{
    folds::dependants,
    jam::{Counted, counted},
    prune::lost,
    split::{graph, rebuild},
    vector::{Trips, vector},
};
use crate::{
    error::Result,
    graph::{Args, Builder, Graph, Node, NodeId},
    op::{
        Op, arith,
        control::{PROJ, WHILE, is_call, is_control, while_op},
        create, list,
    },
};
use rustc_hash::FxHashSet;
use std::{borrow::Cow, sync::Arc};

/// Nodes of a trip of both loops together.
const MOST: usize = 128;
/// Loops that are looked at in one graph.
const LOOPS: usize = 32;

/// The graph with such loops fused.
///
/// # Errors
/// An ill-typed graph, which is our bug.
pub(crate) fn chain(g: &Graph) -> Result<Cow<'_, Graph>> {
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
        let args: Args = n.args.iter().map(|a| map[a.index()]).collect::<Option<_>>().ok_or_else(lost)?;
        b.add_control(&n.op.map_graphs(|g| chain(g).map(Cow::into_owned))?, &args).map(Some)
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

/// The graph with two loops fused, if there are two.
fn fused(g: &Graph) -> Result<Option<Graph>> {
    let live = g.live();
    let all: Vec<(NodeId, Counted)> = g
        .nodes()
        .filter(|(id, n)| live[id.index()] && n.op.is(&WHILE))
        .filter_map(|(id, n)| Some((id, counted(&n.op)?)))
        .take(LOOPS)
        .collect();
    let after: Vec<FxHashSet<NodeId>> = all.iter().map(|(id, _)| dependants(g, [*id])).collect();
    for (k, (second, two)) in all.iter().enumerate() {
        for ((first, one), after) in all[..k].iter().zip(&after) {
            if let Some(pair) = Pair::of(g, &live, (*first, one), (*second, two), after)
                && let Some(op) = pair.op()?
            {
                return pair.put(&op).map(Some);
            }
        }
    }
    Ok(None)
}

/// Two loops that can be one.
struct Pair<'g> {
    g: &'g Graph,
    first: NodeId,
    second: NodeId,
    counters: [usize; 2],
    /// The arguments of the loop of both, of which so many are carried.
    args: Vec<NodeId>,
    carried: usize,
    /// Where the arguments of the first loop are among them.
    one: Vec<usize>,
    /// What each argument of the second loop is.
    two: Vec<Given>,
}

/// An argument of the second loop.
#[derive(Clone, Copy)]
enum Given {
    /// One of the loop of both.
    Own(usize),
    /// What a trip of the first loop makes of its carried value.
    Next(usize),
}

impl<'g> Pair<'g> {
    fn of(
        g: &'g Graph,
        live: &[bool],
        (first, one): (NodeId, &Counted),
        (second, two): (NodeId, &Counted),
        after: &FxHashSet<NodeId>,
    ) -> Option<Pair<'g>> {
        let (a, b) = (g.node(first), g.node(second));
        let (inside_a, inside_b) = (a.op.int(2) as usize, b.op.int(2) as usize);
        // a limit that is the length of a list is that number, where it is one
        let limit = |x: NodeId| {
            let n = g.node(x);
            if n.op.is(&list::WITHIN) && n.op.int(1) != 0 { n.args[0] } else { x }
        };
        if a.args[one.counter] != b.args[two.counter] || limit(a.args[one.limit]) != limit(b.args[two.limit]) {
            return None;
        }
        let from_first = |x: NodeId| {
            let n = g.node(x);
            (n.op.is(&PROJ) && n.args[0] == first).then(|| n.op.int(0) as usize)
        };
        // nothing else stands between the two
        let between = |&x: &NodeId| from_first(x).is_none() && after.contains(&x);
        if b.args.iter().any(between) {
            return None;
        }
        // a list that one writes and the other reads as it was would have to be copied
        let kept = |x: &NodeId| g.ty(*x).is_list() && !g.node(*x).op.is(&list::FILL);
        if b.args[..inside_b].iter().any(|x| kept(x) && a.args.contains(x))
            || a.args[..inside_a].iter().any(|x| kept(x) && b.args.contains(x))
        {
            return None;
        }
        let mut args: Vec<NodeId> = a.args[..inside_a].to_vec();
        let mut given: Vec<Option<Given>> = vec![None; b.args.len()];
        given[two.counter] = Some(Given::Own(one.counter));
        let mut chained = 0;
        for (m, &x) in b.args.iter().enumerate() {
            if m == two.counter {
                continue;
            }
            if let Some(k) = from_first(x) {
                // results that are numbers are known after all trips only
                if !g.ty(x).is_list()
                    || !own(a.op.graph(1), one.counter, k, true)
                    || !own(b.op.graph(1), two.counter, m, m < inside_b)
                {
                    return None;
                }
                // of a list that the second loop writes as well nobody else reads what the first has made of it
                let readers = g.users(x).filter(|(u, _)| live[u.index()]).count();
                if m < inside_b && (readers > 1 || g.outputs().contains(&x)) {
                    return None;
                }
                chained += 1;
                given[m] = Some(Given::Next(k));
            } else if m < inside_b {
                given[m] = Some(Given::Own(args.len()));
                args.push(x);
            }
        }
        let carried = args.len();
        let place = |x: NodeId, args: &mut Vec<NodeId>| {
            let at = args[carried..].iter().position(|&y| y == x);
            at.map_or_else(
                || {
                    args.push(x);
                    args.len() - 1
                },
                |at| carried + at,
            )
        };
        let mut places: Vec<usize> = (0..inside_a).collect();
        places.extend(a.args[inside_a..].iter().map(|&x| place(x, &mut args)).collect::<Vec<_>>());
        for (given, &x) in given.iter_mut().zip(&b.args).skip(inside_b).filter(|(given, _)| given.is_none()) {
            *given = Some(Given::Own(place(x, &mut args)));
        }
        let two_places: Vec<Given> = given.into_iter().collect::<Option<_>>()?;
        let counters = [one.counter, two.counter];
        (chained > 0).then_some(Pair { g, first, second, counters, args, carried, one: places, two: two_places })
    }

    /// The loop of both; none if that is larger than it should be, or trips would not run side by side.
    fn op(&self) -> Result<Option<Op>> {
        let (a, b) = (self.g.node(self.first), self.g.node(self.second));
        let beside = |op: &Op| {
            let carried = 0..op.int(2) as usize;
            vector(&Trips { body: op.graph(1), cond: Some(op.graph(0)), record: 0, carried }).is_some()
        };
        let nodes = |op: &Op| op.graph(1).live().iter().filter(|l| **l).count();
        if nodes(&a.op) + nodes(&b.op) > MOST || !beside(&a.op) || !beside(&b.op) {
            return Ok(None);
        }
        let tys = || self.args.iter().map(|&x| self.g.ty(x));
        let of = |ins: &[NodeId]| self.one.iter().map(|&k| ins[k]).collect::<Vec<_>>();
        let cond = graph(tys(), &|p, ins| p.inline(a.op.graph(0), &of(ins)))?;
        let body = graph(tys(), &|p, ins| {
            let next = p.inline(a.op.graph(1), &of(ins))?;
            let given = self.two.iter().map(|given| match *given {
                Given::Own(k) => ins[k],
                Given::Next(k) => next[k],
            });
            let made = |x| self.two.iter().any(|given| matches!(*given, Given::Next(k) if next[k] == x));
            let last = second(p, b.op.graph(1), given.collect(), &made)?;
            let mut outs = [&next[..], &ins[next.len()..self.carried]].concat();
            for (m, (given, out)) in self.two.iter().zip(last).enumerate() {
                let (Given::Own(k) | Given::Next(k)) = *given;
                if m != self.counters[1] {
                    outs[k] = out;
                }
            }
            Ok(outs)
        })?;
        let op = while_op(Arc::new(cond), Arc::new(body), self.carried);
        Ok(beside(&op).then_some(op))
    }

    /// The graph with this loop in place of the two.
    fn put(&self, op: &Op) -> Result<Graph> {
        rebuild(
            self.g,
            &mut |b, id, _, map| {
                if id != self.first && id != self.second {
                    return Ok(None);
                }
                let args: Args = self.args.iter().map(|a| map[a.index()]).collect::<Option<_>>().ok_or_else(lost)?;
                let all = b.add_control(op, &args)?;
                if id == self.first {
                    return Ok(Some(all));
                }
                let carried = self.g.node(self.second).op.int(2) as usize;
                let of = |given: &Given| {
                    let (Given::Own(k) | Given::Next(k)) = *given;
                    all[k]
                };
                Ok(Some(self.two[..carried].iter().map(of).collect()))
            },
            &|id| if id == self.first || id == self.second { self.args.clone() } else { Vec::new() },
        )
    }
}

/// The body of the second loop. Of lists that the first has `made` it reads the element that has just been written, which is the
/// value.
fn second(p: &Builder, body: &Graph, ins: Vec<NodeId>, made: &dyn Fn(NodeId) -> bool) -> Result<Vec<NodeId>> {
    let live = body.live();
    let mut map: Vec<Option<NodeId>> = vec![None; body.len()];
    body.inputs().iter().zip(ins).for_each(|(i, to)| map[i.index()] = Some(to));
    for (id, n) in body.nodes().filter(|(id, n)| live[id.index()] && !n.op.is(&create::INPUT)) {
        let args: Args = n.args.iter().map(|a| map[a.index()]).collect::<Option<_>>().ok_or_else(lost)?;
        let written = if n.op.is(&list::GET) && made(args[0]) { Some(p.node(args[0])) } else { None };
        map[id.index()] = Some(match written {
            Some(w) if w.op.is(&list::SET) => w.args[2],
            _ => p.add(n.op.clone(), &args)?,
        });
    }
    body.outputs().iter().map(|o| map[o.index()].ok_or_else(lost)).collect()
}

/// Whether a trip reads and writes of a list among the arguments of a body only the element of its own number, and, of one that
/// is carried, gives it on.
fn own(body: &Graph, counter: usize, k: usize, carried: bool) -> bool {
    let i = body.inputs()[counter];
    let zero = |x: NodeId| create::value(&body.node(x).op) == Some(0.0);
    let number = |x: NodeId| {
        let n = body.node(x);
        x == i || n.op.is(&arith::ADD) && (n.args[0] == i && zero(n.args[1]) || n.args[1] == i && zero(n.args[0]))
    };
    let mut states: FxHashSet<NodeId> = FxHashSet::from_iter([body.inputs()[k]]);
    let live = body.live();
    for (id, n) in body.nodes().filter(|(id, _)| live[id.index()]) {
        if !n.args.iter().any(|a| states.contains(a)) {
            continue;
        }
        let write = n.op.is(&list::SET) || n.op.is(&list::ADD);
        let fits = match n.args.first() {
            Some(first) if states.contains(first) && !n.args[1..].iter().any(|a| states.contains(a)) => {
                n.op.is(&list::LEN) || (write || n.op.is(&list::GET)) && number(n.args[1])
            }
            _ => false,
        };
        if !fits {
            return false;
        }
        if write {
            states.insert(id);
        }
    }
    body.outputs().iter().enumerate().all(|(j, o)| states.contains(o) == (carried && j == k))
}
