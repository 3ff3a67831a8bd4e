//! From a graph to the steps of finding its pattern: what has to be done for each node, in order.
//!
//! What a float depends on seldom takes its value. Values are computed only of what decides where elements go: conditions,
//! indices, lengths, and all that these are made of. So the pattern is a function of the lengths of lists and of those
//! inputs that [`Routine::reads`] names.

use crate::{
    graph::{Graph, Node, NodeId},
    op::{
        Op,
        control::{self, IF, PROJ, WHILE},
        create::INPUT,
        index, list,
    },
};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

/// A flag for each of the arguments of a node.
pub type Flags = SmallVec<[bool; 4]>;

/// See the module's documentation.
pub struct Routine<'g> {
    /// The graph.
    pub graph: &'g Graph,
    /// Its nodes that count, arguments before users.
    pub steps: Vec<Step<'g>>,
    /// Which inputs have to have values.
    pub reads: Vec<bool>,
}

/// A node.
pub struct Step<'g> {
    /// Its number.
    pub id: NodeId,
    /// The node.
    pub node: &'g Node,
    /// Which arguments nobody reads afterwards.
    pub last: Flags,
    /// Whether its value is needed, of control flow that of any result.
    pub valued: bool,
    /// The sub-graphs.
    pub parts: Vec<Routine<'g>>,
}

impl<'g> Routine<'g> {
    /// The routine of a graph, with the values of the outputs that are `wanted`.
    pub fn new(graph: &'g Graph, wanted: &[bool]) -> Routine<'g> {
        let live = graph.live();
        let (mut valued, mut used) = (vec![false; graph.len()], vec![false; graph.len()]);
        for (o, &w) in graph.outputs().iter().zip(wanted) {
            valued[o.index()] |= w;
            used[o.index()] = true;
        }
        // which results of control flow are needed, as its projections say
        let mut results: FxHashMap<NodeId, Vec<bool>> = FxHashMap::default();
        let mut steps = Vec::new();
        for (id, node) in graph.nodes().rev().filter(|(id, n)| live[id.index()] && !n.op.is(&INPUT)) {
            let mut value = valued[id.index()];
            let (mut demanded, mut parts) = (Flags::from_elem(false, node.args.len()), Vec::new());
            if node.op.is(&PROJ) {
                if value {
                    let from = node.args[0];
                    let all = results
                        .entry(from)
                        .or_insert_with(|| vec![false; control::results(&graph.node(from).op).len()]);
                    all[node.op.int(0) as usize] = true;
                }
            } else if control::is_control(&node.op) {
                let none = || vec![false; control::results(&node.op).len()];
                let mut all = results.remove(&id).unwrap_or_else(none);
                all[0] |= value;
                value = all.contains(&true);
                (demanded, parts) = control_flow(node, &all);
            } else if value || node.ty.dtype.is_float() {
                demanded = demands(graph, node, value);
            } else {
                continue;
            }
            let mut last = Flags::from_elem(false, node.args.len());
            for (k, a) in node.args.iter().enumerate().rev() {
                last[k] = !std::mem::replace(&mut used[a.index()], true);
                valued[a.index()] |= demanded[k];
            }
            steps.push(Step { id, node, last, valued: value, parts });
        }
        steps.reverse();
        let reads = graph.inputs().iter().map(|i| valued[i.index()]).collect();
        Routine { graph, steps, reads }
    }
}

/// Which arguments have to have values for what a node depends on, and, if it is to have one, for its value.
fn demands(graph: &Graph, node: &Node, value: bool) -> Flags {
    let op = &node.op;
    let float = |a: &NodeId| graph.ty(*a).dtype.is_float();
    let mut of: Flags = node.args.iter().map(|_| value).collect();
    if op.is(&list::LEN) {
        // the length of a list of floats is always known
        of[0] = !float(&node.args[0]);
        return of;
    }
    let indexed = [&list::GET, &list::SET, &list::ADD, &list::FILL, &index::GATHER, &index::SCATTER_ADD];
    if indexed.iter().any(|def| op.is(def)) {
        of[1] = true;
    }
    if node.ty.is_list() {
        // and so it is for what is made of one
        node.args.iter().zip(&mut of).for_each(|(a, of)| *of |= graph.ty(*a).is_list() && !float(a));
    }
    of
}

/// The same for control flow, given which of its results have to have values.
fn control_flow<'g>(node: &'g Node, results: &[bool]) -> (Flags, Vec<Routine<'g>>) {
    let op: &'g Op = &node.op;
    let mut of = Flags::from_elem(false, node.args.len());
    if op.is(&IF) {
        let parts = vec![Routine::new(op.graph(0), results), Routine::new(op.graph(1), results)];
        of[0] = true;
        for part in &parts {
            part.reads.iter().zip(&mut of[1..]).for_each(|(r, of)| *of |= r);
        }
        (of, parts)
    } else if op.is(&WHILE) {
        let carried = results.len();
        of[..carried].copy_from_slice(results);
        // a trip reads what the one before it has left
        loop {
            let parts = vec![Routine::new(op.graph(0), &[true]), Routine::new(op.graph(1), &of[..carried])];
            let before = of.clone();
            for part in &parts {
                part.reads.iter().zip(&mut of).for_each(|(r, of)| *of |= r);
            }
            if of[..carried] == before[..carried] {
                return (of, parts);
            }
        }
    } else {
        of.fill(results.contains(&true));
        (of, Vec::new())
    }
}
