//! The memory plan: every intermediate value gets a place in one arena. A place is reused once the last step
//! that reads its value has run. Inputs and outputs live in the caller's buffers.

use super::fuse::{Fused, StepKind};
use crate::{
    graph::{Graph, NodeId},
    op::create,
};
use rustc_hash::FxHashMap;
use std::collections::hash_map::Entry;

/// Values start at multiples of this: a cache line.
const ALIGN: usize = 64;

/// Where the value of a stored node is while the program runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Argument number.
    Input(usize),
    /// Result number.
    Output(usize),
    /// Byte offset in the arena.
    Arena(usize),
}

/// Places of all stored nodes.
pub struct Plan {
    /// Where each stored node is; aliases are resolved.
    pub places: FxHashMap<NodeId, Place>,
    /// Results that have no place of their own (an argument returned, one value returned twice) and are
    /// copied at the end: result number and the node.
    pub copies: Vec<(usize, NodeId)>,
    /// Size of the arena.
    pub bytes: usize,
    /// Number of intermediate values.
    pub values: usize,
}

/// Nodes a step writes and reads.
fn uses(step: &StepKind) -> (Vec<NodeId>, Vec<NodeId>) {
    match step {
        StepKind::Kernel { kernel, slots, .. } => {
            let written: Vec<NodeId> = kernel.stores.iter().map(|s| slots[usize::from(s.buffer)]).collect();
            let read = slots.iter().copied().filter(|s| !written.contains(s)).collect();
            (written, read)
        }
        StepKind::MatMul { a, b, out, .. } => (vec![*out], vec![a.node, b.node]),
        StepKind::Library { args, out, .. } => (vec![*out], args.clone()),
        StepKind::Flow { args, outs, .. } => (outs.iter().map(|o| o.1).collect(), args.clone()),
    }
}

/// The node that stands for a node after aliases.
pub fn resolve(alias: &FxHashMap<NodeId, NodeId>, mut id: NodeId) -> NodeId {
    while let Some(&a) = alias.get(&id) {
        id = a;
    }
    id
}

/// Plans the memory of a fused graph: first fit over the intervals between definition and last use.
pub fn plan(g: &Graph, fused: &Fused) -> Plan {
    let mut places: FxHashMap<NodeId, Place> = FxHashMap::default();
    for &i in g.inputs() {
        places.insert(i, Place::Input(g.node(i).op.int(0) as usize));
        debug_assert!(g.node(i).op.is(&create::INPUT));
    }
    let mut copies = Vec::new();
    for (k, &o) in g.outputs().iter().enumerate() {
        let node = resolve(&fused.alias, o);
        match places.entry(node) {
            Entry::Occupied(_) => copies.push((k, node)),
            Entry::Vacant(place) => drop(place.insert(Place::Output(k))),
        }
    }
    // the last step that reads each value
    let mut last: FxHashMap<NodeId, usize> = FxHashMap::default();
    for (s, step) in fused.steps.iter().enumerate() {
        for r in uses(step).1 {
            last.insert(resolve(&fused.alias, r), s);
        }
    }
    // live pieces of the arena, in the order of their offsets: (offset, size, last use)
    let mut live: Vec<(usize, usize, usize)> = Vec::new();
    let (mut bytes, mut values) = (0, 0);
    for (s, step) in fused.steps.iter().enumerate() {
        for w in uses(step).0 {
            let w = resolve(&fused.alias, w);
            if places.contains_key(&w) {
                continue;
            }
            live.retain(|l| l.2 >= s);
            let size = g.ty(w).bytes().max(1).next_multiple_of(ALIGN);
            let mut at = 0;
            let mut index = live.len();
            for (i, l) in live.iter().enumerate() {
                if l.0 >= at + size {
                    index = i;
                    break;
                }
                at = l.0 + l.1;
            }
            live.insert(index, (at, size, last.get(&w).copied().unwrap_or(s)));
            places.insert(w, Place::Arena(at));
            bytes = bytes.max(at + size);
            values += 1;
        }
    }
    Plan { places, copies, bytes, values }
}
