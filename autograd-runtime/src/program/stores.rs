//! Dead stores: lists that loops carry and write, of which nobody reads an element, before derivatives are taken. What is left of such
//! a write is that its index is below the length of its list.
//!
//! In `k[i] = f(i); y[i] += k[i]` the second reads the value itself, once both are one trip ([`super::chain`]). But `k` would still be
//! carried, and its cotangent on the way back. An index is tested where another list is read or written at the same one; where there
//! is none, the list stays. If both are out of range, the error may be that of the write.

use super::{
    prune::{lost, places},
    split::rebuild,
    vector::{is_access, is_write},
};
use crate::{
    error::Result,
    graph::{Args, Builder, Graph, Node, NodeId},
    op::{
        Attr, Op, arith, compare,
        control::{PROJ, WHILE, is_call, is_control, while_op},
        create, list,
    },
    ty::{DType, Ty},
};
use rustc_hash::FxHashMap;
use std::{borrow::Cow, sync::Arc};

/// Lists of one loop that are looked at.
const LISTS: usize = 16;

/// The graph without such lists.
///
/// # Errors
/// An ill-typed graph, which is our bug.
pub(crate) fn stores(g: &Graph) -> Result<Cow<'_, Graph>> {
    if !carries_lists(g) {
        return Ok(Cow::Borrowed(g));
    }
    let (live, mut changed) = (g.live(), false);
    let mut within = |b: &Builder, id: NodeId, n: &Node, map: &[Option<NodeId>]| {
        if !is_control(&n.op) || is_call(&n.op) || !n.subgraphs().any(carries_lists) && !carries(g, n) {
            return Ok(None);
        }
        let mut args: Vec<NodeId> = n.args.iter().map(|a| map[a.index()]).collect::<Option<_>>().ok_or_else(lost)?;
        let mut op = Cow::Borrowed(&n.op);
        let mut dead = Vec::new();
        if carries(g, n)
            && let Some((stripped, lists)) = dead_lists(g, &live, id)?
        {
            let lengths = lists.iter().map(|l| l.length(b, &args)).collect::<Result<Vec<_>>>()?;
            dead.extend(lists.iter().flat_map(|l| l.args.iter().copied()));
            args = left(&args, &dead).chain(lengths).collect();
            op = Cow::Owned(stripped);
            changed = true;
        }
        let inside = |g: &Graph| {
            let next = stores(g)?;
            changed |= matches!(next, Cow::Owned(_));
            Ok(next.into_owned())
        };
        let all = b.add_control(&op.map_graphs(inside)?, &args)?;
        let mut kept = all.iter();
        // nobody reads the others: any will do
        let of = |k: usize| if dead.contains(&k) { all.first() } else { kept.next() };
        (0..all.len() + dead.len()).map(of).map(|x| x.copied().ok_or_else(lost)).collect::<Result<Vec<_>>>().map(Some)
    };
    let next = rebuild(g, &mut |b, id, n, map| within(b, id, n, map), &|_| Vec::new())?;
    Ok(if changed { Cow::Owned(next) } else { Cow::Borrowed(g) })
}

/// Whether it is a loop that carries a list.
fn carries(g: &Graph, n: &Node) -> bool {
    n.op.is(&WHILE) && n.args[..n.op.int(2) as usize].iter().any(|a| g.ty(*a).is_list())
}
/// Whether there is one, as deep as the source nests them.
fn carries_lists(g: &Graph) -> bool {
    let parts = |n: &Node| is_control(&n.op) && !is_call(&n.op) && n.subgraphs().any(carries_lists);
    g.nodes().any(|(_, n)| carries(g, n) || parts(n))
}
/// The arguments but for some.
fn left<'a>(args: &'a [NodeId], dead: &'a [usize]) -> impl Iterator<Item = NodeId> + 'a {
    args.iter().enumerate().filter(|(k, _)| !dead.contains(k)).map(|(_, &a)| a)
}

/// Lists among the arguments of a loop that are of one length.
struct Lists {
    args: Vec<usize>,
    /// Of the list that they begin with, or that number itself.
    list: NodeId,
    number: Option<NodeId>,
}

impl Lists {
    fn length(&self, b: &Builder, args: &[NodeId]) -> Result<NodeId> {
        let mut writes = Vec::new();
        let mut list = args[self.args[0]];
        while is_write(&b.node(list)) {
            writes.push(list);
            list = b.node(list).args[0];
        }
        let n = b.node(list);
        let mut length = if n.op.is(&list::FILL) { n.args[1] } else { b.add(Op::new(&list::LEN), &[list])? };
        // max(length, index + 1) is the length, and depends on the test of an index that is written in front
        for write in writes.into_iter().rev() {
            let n = b.node(write);
            let within = Op::with(&list::WITHIN, [n.op.attrs[0].clone(), Attr::Int(0)]);
            let index = b.add(within, &[n.args[1], length])?;
            let one = b.add(create::constant_bits(DType::I64, 1), &[])?;
            let least = b.add(Op::new(&arith::ADD), &[index, one])?;
            let less = b.add(Op::new(&compare::LT), &[length, least])?;
            length = b.add(Op::new(&compare::SELECT), &[less, least, length])?;
        }
        Ok(length)
    }
}

/// What a list has been before writes, and its length if it was made of one; none if it comes from anywhere else.
fn origin(g: &Graph, mut list: NodeId) -> Option<(NodeId, Option<NodeId>)> {
    while is_write(g.node(list)) {
        list = g.node(list).args[0];
    }
    let n = g.node(list);
    let filled = n.op.is(&list::FILL);
    (filled || n.op.is(&create::INPUT)).then(|| (list, filled.then(|| n.args[1])))
}

/// A loop without the lists that it carries in vain, and these; its last arguments are their lengths.
fn dead_lists(g: &Graph, live: &[bool], id: NodeId) -> Result<Option<(Op, Vec<Lists>)>> {
    let n = g.node(id);
    let mut read = vec![false; n.op.int(2) as usize];
    for (u, _) in g.users(id) {
        let user = g.node(u);
        if live[u.index()] && user.op.is(&PROJ) {
            read[user.op.int(0) as usize] = true;
        }
    }
    let mut found: (Option<Op>, Vec<Lists>) = (None, Vec::new());
    for k in (0..read.len()).filter(|&k| !read[k] && g.ty(n.args[k]).is_list()).take(LISTS) {
        let Some((list, number)) = origin(g, n.args[k]) else { continue };
        // those with other writes in front have to be told apart
        let slot = found.1.iter().position(|l| {
            n.args[l.args[0]] == n.args[k]
                || number.is_some() && l.number == number && list == n.args[k] && l.list == n.args[l.args[0]]
        });
        let slot = slot.unwrap_or_else(|| {
            found.1.push(Lists { args: Vec::new(), list, number });
            found.1.len() - 1
        });
        found.1[slot].args.push(k);
        let dead: Vec<(usize, usize)> =
            found.1.iter().enumerate().flat_map(|(slot, l)| l.args.iter().map(move |&k| (k, slot))).collect();
        match strip(&n.op, &dead, found.1.len())? {
            Some(op) => found.0 = Some(op),
            None => {
                found.1[slot].args.pop();
                found.1.retain(|l| !l.args.is_empty());
            }
        }
    }
    Ok(found.0.map(|op| (op, found.1)))
}

/// A loop without carried lists, of each of which it is known which of so many lengths it has; none if elements are read, or a write
/// could not be told to be out of range.
fn strip(op: &Op, dead: &[(usize, usize)], lengths: usize) -> Result<Option<Op>> {
    let (cond, body, carried) = (op.graph(0), op.graph(1), op.int(2) as usize);
    let is_dead = |k: usize| dead.iter().any(|d| d.0 == k);
    let live = cond.live();
    if (0..carried).any(|k| is_dead(k) && live[cond.inputs()[k].index()]) {
        return Ok(None);
    }
    let Some(body) = Stripping::of(body, dead) else { return Ok(None) };
    let Some(body) = body.built(dead, lengths)? else { return Ok(None) };
    let b = Builder::new();
    // never read: any node will do
    let input = |(k, &i): (usize, &NodeId)| if is_dead(k) { NodeId::default() } else { b.input(cond.ty(i)) };
    let ins: Vec<NodeId> = cond.inputs().iter().enumerate().map(input).collect();
    for _ in 0..lengths {
        b.input(&Ty::scalar(DType::I64));
    }
    let outs = b.inline(cond, &ins)?;
    Ok(Some(while_op(Arc::new(b.finish(outs)?), Arc::new(body), carried - dead.len())))
}

/// A body whose dead lists are going.
struct Stripping<'g> {
    body: &'g Graph,
    /// What dead lists are before and after writes, with their lengths.
    states: FxHashMap<NodeId, usize>,
    /// Of loops inside the arguments that are dead, with their lengths.
    inner: FxHashMap<NodeId, Vec<(usize, usize)>>,
    /// What is still needed.
    needed: Vec<bool>,
    /// The indices of writes, with the lengths that they are to be below and the places.
    tests: FxHashMap<NodeId, Vec<(usize, Attr)>>,
}

impl<'g> Stripping<'g> {
    /// None if elements are read, or lists go elsewhere.
    fn of(body: &'g Graph, dead: &[(usize, usize)]) -> Option<Stripping<'g>> {
        let live = body.live();
        let mut s = Stripping {
            body,
            states: dead.iter().map(|&(k, slot)| (body.inputs()[k], slot)).collect(),
            inner: FxHashMap::default(),
            needed: vec![false; body.len()],
            tests: FxHashMap::default(),
        };
        for (id, n) in body.nodes().filter(|(id, _)| live[id.index()]) {
            if n.op.is(&PROJ)
                && let Some(&(_, slot)) =
                    s.inner.get(&n.args[0]).and_then(|of| of.iter().find(|d| d.0 == n.op.int(0) as usize))
            {
                s.states.insert(id, slot);
                continue;
            }
            let of: Vec<(usize, usize)> =
                n.args.iter().enumerate().filter_map(|(k, a)| s.states.get(a).map(|&slot| (k, slot))).collect();
            match of[..] {
                [] => {}
                [(0, _)] if n.op.is(&list::LEN) => {}
                [(0, slot)] if is_write(n) => {
                    s.states.insert(id, slot);
                    let (tests, place) = (s.tests.entry(n.args[1]).or_default(), n.op.attrs[0].clone());
                    if !tests.contains(&(slot, place.clone())) {
                        tests.push((slot, place));
                    }
                }
                _ if n.op.is(&WHILE) && of.iter().all(|d| d.0 < n.op.int(2) as usize) => {
                    s.inner.insert(id, of);
                }
                _ => return None,
            }
        }
        let stays = |(k, o): (usize, &NodeId)| {
            let slot = dead.iter().find(|d| d.0 == k).map(|d| d.1);
            s.states.get(o).copied() == slot
        };
        if !body.outputs().iter().enumerate().all(stays) {
            return None;
        }
        for o in body.outputs().iter().filter(|o| !s.states.contains_key(o)) {
            s.needed[o.index()] = true;
        }
        for (id, n) in body.nodes().rev().filter(|(_, n)| !n.args.is_empty()) {
            if s.needed[id.index()] {
                n.args.iter().filter(|a| !s.states.contains_key(a)).for_each(|a| s.needed[a.index()] = true);
            }
        }
        // what may fail still does
        let lost = |(id, n): (NodeId, &Node)| {
            live[id.index()] && !s.needed[id.index()] && !s.states.contains_key(&id) && !places(n).is_empty()
        };
        if body.nodes().any(lost) {
            return None;
        }
        let tested = |index: &NodeId| {
            let here = |(id, n): (NodeId, &Node)| {
                s.needed[id.index()] && is_access(n) && n.args[1] == *index && !s.states.contains_key(&n.args[0])
            };
            body.nodes().any(here)
        };
        s.tests.keys().all(tested).then_some(s)
    }

    fn built(&self, dead: &[(usize, usize)], lengths: usize) -> Result<Option<Graph>> {
        let (body, b) = (self.body, Builder::new());
        let mut map: Vec<Option<NodeId>> = vec![None; body.len()];
        let mut all: FxHashMap<NodeId, Vec<Option<NodeId>>> = FxHashMap::default();
        for (k, &i) in body.inputs().iter().enumerate() {
            if !dead.iter().any(|d| d.0 == k) {
                map[i.index()] = Some(b.input(body.ty(i)));
            }
        }
        let length: Vec<NodeId> = (0..lengths).map(|_| b.input(&Ty::scalar(DType::I64))).collect();
        for (id, n) in body.nodes().filter(|(id, n)| self.needed[id.index()] && !n.op.is(&create::INPUT)) {
            if let (true, Some(results)) = (n.op.is(&PROJ), n.args.first().and_then(|a| all.get(a))) {
                map[id.index()] = results[n.op.int(0) as usize];
                continue;
            }
            if let (true, Some(&slot)) = (n.op.is(&list::LEN), n.args.first().and_then(|a| self.states.get(a))) {
                map[id.index()] = Some(length[slot]);
                continue;
            }
            let gone: &[(usize, usize)] = self.inner.get(&id).map_or(&[], |of| &of[..]);
            let positions: Vec<usize> = gone.iter().map(|d| d.0).collect();
            let args = left(&n.args, &positions).map(|a| map[a.index()]);
            let mut args: Args = args.collect::<Option<_>>().ok_or_else(lost)?;
            if !is_control(&n.op) {
                if is_access(n) {
                    for (slot, place) in self.tests.get(&n.args[1]).into_iter().flatten() {
                        let within = Op::with(&list::WITHIN, [place.clone(), Attr::Int(0)]);
                        args[1] = b.add(within, &[args[1], length[*slot]])?;
                    }
                }
                map[id.index()] = Some(b.add(n.op.clone(), &args)?);
                continue;
            }
            let mut op = Cow::Borrowed(&n.op);
            if !gone.is_empty() {
                // lengths by their numbers in the loop inside
                let mut own: Vec<usize> = gone.iter().map(|d| d.1).collect();
                own.sort_unstable();
                own.dedup();
                let at = |slot: usize| own.iter().position(|&o| o == slot).ok_or_else(lost);
                let inside = gone.iter().map(|&(k, slot)| Ok((k, at(slot)?))).collect::<Result<Vec<_>>>()?;
                let Some(stripped) = strip(&n.op, &inside, own.len())? else { return Ok(None) };
                op = Cow::Owned(stripped);
                args.extend(own.iter().map(|&slot| length[slot]));
            }
            let outs = b.add_control(&op, &args)?;
            map[id.index()] = outs.first().copied();
            let mut outs = outs.into_iter();
            let results = outs.len() + gone.len();
            all.insert(id, (0..results).map(|k| if positions.contains(&k) { None } else { outs.next() }).collect());
        }
        let outs = body.outputs().iter().filter(|o| !self.states.contains_key(o)).map(|o| map[o.index()]);
        b.finish(outs.collect::<Option<_>>().ok_or_else(lost)?).map(Some)
    }
}
