//! Backward: cotangents of roots into cotangents of leaves or of chosen values.
//!
//! Nodes run in the reverse order of their making (a node's users are always younger), so that one heap suffices
//! and every node sees the sum of its cotangents; leaves come last, so that a sweep that fails accumulates
//! nothing. Saved values are freed as soon as their node has run. A hook or a custom function may start another
//! sweep inside: the stack grows by segments then, however deep they nest.

use super::{
    dispatch::{Dispatch, sum},
    hooks::Hooks,
    mode::{is_anomaly_enabled, set_grad_enabled},
    node::{Cts, Edge, Node},
    value::{Repr, Value},
};
use crate::{
    array::View,
    error::{Error, Result},
    profiler,
};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::{SmallVec, smallvec};
use std::{collections::BinaryHeap, sync::Arc};

/// What one backward sweep is to do.
pub(crate) struct Sweep<'a> {
    pub target: Target<'a>,
    pub retain_graph: bool,
    pub create_graph: bool,
}

/// Where gradients go.
#[derive(Clone, Copy)]
pub(crate) enum Target<'a> {
    /// Into `.grad` of every leaf.
    Leaves,
    /// Into `.grad` of these leaves only. Values that are no leaves are reached too, and their nodes run.
    Into(&'a [Value]),
    /// To the caller, one for each of these values; no `.grad` changes.
    Of(&'a [Value]),
}

impl Sweep<'_> {
    /// Runs the sweep from roots with their cotangents; returns the gradients that [`Target::Of`] asks for.
    ///
    /// # Errors
    /// An untracked root, saved values that are gone or changed, a missing rule, and what hooks and custom
    /// functions return.
    pub(crate) fn run(&self, roots: &[(Value, Value)]) -> Result<Vec<Option<Value>>> {
        // a function that goes backwards itself
        crate::session::needs_tape();
        // a nested sweep runs on the stack of the hook that started it
        stacker::maybe_grow(128 << 10, 2 << 20, || set_grad_enabled(self.create_graph, || self.sweep(roots)))
    }
    fn sweep(&self, roots: &[(Value, Value)]) -> Result<Vec<Option<Value>>> {
        let mut starts: SmallVec<[(Edge, &Value); 2]> = SmallVec::new();
        for (i, (root, ct)) in roots.iter().enumerate() {
            let none =
                || Error::Autograd(format!("element {i} of tensors does not require grad and does not have a grad_fn"));
            starts.push((root.edge()?.ok_or_else(none)?, ct));
        }
        let (inputs, into) = match self.target {
            Target::Leaves => (None, true),
            Target::Into(v) => (Some(v), true),
            Target::Of(v) => (Some(v), false),
        };
        let keys = inputs.unwrap_or_default().iter().map(target).collect::<Result<Vec<_>>>()?;
        let mut found: FxHashMap<(usize, u32), Option<Value>> = keys.iter().map(|&k| (k, None)).collect();
        let needed = inputs.map(|_| {
            let mut needed = needed(starts.iter().map(|s| &s.0), &found);
            if into {
                needed.extend(keys.iter().map(|k| k.0));
            }
            needed
        });
        let runs = |n: &Arc<Node>| needed.as_ref().is_none_or(|s| s.contains(&(Arc::as_ptr(n) as usize)));
        let goes = |e: &Edge| match e {
            Edge::Node(n, _) => runs(n) || found.contains_key(&e.key()),
            Edge::Leaf(_) => needed.is_none() || found.contains_key(&e.key()),
        };
        let mut pending = Pending::default();
        for (edge, ct) in starts.iter().filter(|s| goes(&s.0)) {
            pending.send(edge, (*ct).clone())?;
        }
        drop(starts);
        let d = Dispatch::default();
        let mut given: SmallVec<[(usize, Option<Value>); 3]> = SmallVec::new();
        let mut captured: Vec<((usize, u32), Value)> = Vec::new();
        while let Some((node, mut cts)) = pending.next() {
            if let Some(hooks) = node.existing_hooks() {
                for (i, ct) in cts.iter_mut().enumerate() {
                    if let Some(g) = ct.take() {
                        *ct = Some(hooks.run_on_grad(i as u32, g)?);
                    }
                }
            }
            if needed.is_some() && !into {
                let key = |i: usize| (Arc::as_ptr(&node) as usize, i as u32);
                let of = |(i, ct): (usize, &Option<Value>)| Some((key(i), ct.clone()?));
                captured.extend(cts.iter().enumerate().filter_map(of).filter(|c| found.contains_key(&c.0)));
            }
            if !runs(&node) {
                continue;
            }
            if let Some(hooks) = node.existing_hooks() {
                let mut all = cts.into_vec();
                hooks.run_before(&mut all)?;
                cts = all.into();
            }
            let edges = node.edges();
            let wanted = |i: usize| edges.get(i).is_some_and(|e| e.as_ref().is_some_and(&goes));
            let _event = profiler::backward(|| node.event());
            given.clear();
            let received = node.existing_hooks().filter(|h| h.wants_after()).map(|_| cts.to_vec());
            node.pull_back(&d, cts, &wanted, !self.retain_graph, |i, g| {
                given.push((i, g));
                Ok(())
            })?;
            if let Some(e) = d.take_error() {
                return Err(e);
            }
            if is_anomaly_enabled() {
                check_nan(&node, &given)?;
            }
            if let Some(hooks) = node.existing_hooks() {
                if let Some(received) = received {
                    let mut all: Vec<Option<Value>> = vec![None; edges.len()];
                    given.drain(..).for_each(|(i, g)| all[i] = g);
                    hooks.run_after(&mut all, &received)?;
                    given.extend(all.into_iter().enumerate());
                }
                // a node that cannot run again needs no hooks; what they own goes
                if !self.retain_graph && node.saves() {
                    hooks.clear();
                }
            }
            for (i, g) in given.drain(..) {
                if let (Some(Some(edge)), Some(g)) = (edges.get(i), g) {
                    pending.send(edge, g)?;
                }
            }
        }
        found.extend(captured.into_iter().map(|(k, v)| (k, Some(v))));
        for (leaf, ct) in pending.leaves {
            let hooks = leaf.existing_leaf_hooks();
            let ct = match &hooks {
                Some(h) => h.run_on_grad(0, ct)?,
                None => ct,
            };
            match hooks {
                _ if !into => drop(found.insert(Edge::Leaf(leaf).key(), Some(ct))),
                Some(h) => self.accumulate_with(&h, leaf, ct)?,
                None => self.accumulate(&leaf, ct)?,
            }
        }
        Ok(keys.iter().map(|k| found.get(k).cloned().flatten()).collect())
    }
    /// A leaf that has been cut off or is not tracked any more keeps the `.grad` it has.
    fn accumulate(&self, leaf: &Value, ct: Value) -> Result<()> {
        if leaf.requires_grad() { leaf.accumulate(ct, self.create_graph) } else { Ok(()) }
    }
    /// The hooks around a leaf's accumulation: before it, on the leaf after it, and after both.
    fn accumulate_with(&self, hooks: &Hooks, leaf: Value, ct: Value) -> Result<()> {
        let mut received = vec![Some(ct)];
        hooks.run_before(&mut received)?;
        if let Some(ct) = received[0].clone()
            && leaf.requires_grad()
        {
            leaf.accumulate(ct, self.create_graph)?;
            hooks.run_on_leaf(&leaf)?;
        }
        hooks.run_after(&mut Vec::new(), &received)
    }
}

/// What identifies a value on the tape.
fn target(v: &Value) -> Result<(usize, u32)> {
    Ok(v.edge()?.unwrap_or_else(|| Edge::Leaf(v.clone())).key())
}

/// The nodes from which a wanted value can be reached: no others run.
fn needed<'e>(
    roots: impl Iterator<Item = &'e Edge>,
    wanted: &FxHashMap<(usize, u32), Option<Value>>,
) -> FxHashSet<usize> {
    let mut reached: Vec<Arc<Node>> = Vec::new();
    let mut seen: FxHashSet<usize> = FxHashSet::default();
    let visit = |e: &Edge, reached: &mut Vec<Arc<Node>>, seen: &mut FxHashSet<usize>| {
        if let Edge::Node(n, _) = e
            && seen.insert(Arc::as_ptr(n) as usize)
        {
            reached.push(n.clone());
        }
    };
    roots.for_each(|e| visit(e, &mut reached, &mut seen));
    let mut next = 0;
    while next < reached.len() {
        let n = reached[next].clone();
        n.edges().iter().flatten().for_each(|e| visit(e, &mut reached, &mut seen));
        next += 1;
    }
    // the oldest first: edges lead to what has been decided
    reached.sort_unstable_by_key(|n| n.seq());
    let mut needed = FxHashSet::default();
    for n in &reached {
        let leads = |e: &Edge| wanted.contains_key(&e.key()) || needed.contains(&e.key().0);
        if n.edges().iter().flatten().any(leads) {
            needed.insert(Arc::as_ptr(n) as usize);
        }
    }
    needed
}

/// Cotangents on their way. The youngest node is kept apart from the heap: along a chain nothing is looked up.
#[derive(Default)]
struct Pending {
    youngest: Option<(Arc<Node>, Cts)>,
    heap: BinaryHeap<ByAge>,
    waiting: FxHashMap<usize, Cts>,
    leaves: Vec<(Value, Value)>,
    leaf_at: FxHashMap<usize, usize>,
}

impl Pending {
    fn send(&mut self, edge: &Edge, ct: Value) -> Result<()> {
        match edge {
            Edge::Leaf(v) => {
                let at = *self.leaf_at.entry(v.address()).or_insert(self.leaves.len());
                match self.leaves.get_mut(at) {
                    Some((_, old)) => *old = sum(old, &ct)?,
                    None => self.leaves.push((v.clone(), ct)),
                }
            }
            Edge::Node(n, i) => {
                let key = Arc::as_ptr(n) as usize;
                if let Some((y, cts)) = &mut self.youngest
                    && Arc::ptr_eq(y, n)
                {
                    return add_at(cts, *i, ct);
                }
                if let Some(cts) = self.waiting.get_mut(&key) {
                    return add_at(cts, *i, ct);
                }
                let mut cts: Cts = smallvec![None; n.results()];
                add_at(&mut cts, *i, ct)?;
                let youngest =
                    self.youngest.as_ref().map(|y| y.0.seq()).or_else(|| self.heap.peek().map(|h| h.0.seq()));
                if youngest.is_none_or(|y| y < n.seq()) {
                    if let Some((old, cts)) = self.youngest.replace((n.clone(), cts)) {
                        self.wait(old, cts);
                    }
                } else {
                    self.wait(n.clone(), cts);
                }
            }
        }
        Ok(())
    }
    fn wait(&mut self, n: Arc<Node>, cts: Cts) {
        self.waiting.insert(Arc::as_ptr(&n) as usize, cts);
        self.heap.push(ByAge(n));
    }
    fn next(&mut self) -> Option<(Arc<Node>, Cts)> {
        self.youngest.take().or_else(|| {
            let ByAge(n) = self.heap.pop()?;
            let cts = self.waiting.remove(&(Arc::as_ptr(&n) as usize))?;
            Some((n, cts))
        })
    }
}

fn add_at(cts: &mut Cts, i: u32, ct: Value) -> Result<()> {
    let slot = &mut cts[i as usize];
    *slot = Some(match slot.take() {
        None => ct,
        Some(old) => sum(&old, &ct)?,
    });
    Ok(())
}

struct ByAge(Arc<Node>);
impl PartialEq for ByAge {
    fn eq(&self, o: &Self) -> bool {
        self.0.seq() == o.0.seq()
    }
}
impl Eq for ByAge {}
impl PartialOrd for ByAge {
    fn partial_cmp(&self, o: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(o))
    }
}
impl Ord for ByAge {
    fn cmp(&self, o: &Self) -> std::cmp::Ordering {
        self.0.seq().cmp(&o.0.seq())
    }
}

fn check_nan(node: &Node, given: &[(usize, Option<Value>)]) -> Result<()> {
    for (i, g) in given.iter().filter_map(|(i, g)| Some((i, g.as_ref()?))) {
        let Repr::Stored { storage, layout } = g.repr() else { continue };
        let nan = match storage.data.read().view(layout) {
            View::F32(a) => a.iter().any(|x| x.is_nan()),
            View::F64(a) => a.iter().any(|x| x.is_nan()),
            View::I64(_) | View::Bool(_) => false,
        };
        if nan {
            return Err(Error::Autograd(format!(
                "Function '{}' returned nan values in its {i}th output{}",
                node.name(),
                node.at()
            )));
        }
    }
    Ok(())
}
