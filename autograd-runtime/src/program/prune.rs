//! From a lowered graph to one whose control flow computes and records only what somebody reads: results of choices,
//! values that loops carry, what is recorded of a trip, and arguments that a sub-graph takes.
//!
//! The forward mode of a reverse mode needs it: it carries the tangents of all that a loop carries, of which a way back often
//! reads none; then the loop is the one without tangents over again.
//!
//! A loop keeps what may fail in it, an index or a division that nothing else asks about, though nobody reads what comes of it.

use super::split::ancestors;
use crate::{
    error::{Error, Result},
    graph::{Args, Builder, Graph, Node, NodeId},
    op::{
        Attr, Op,
        control::{CALL_BACK, CALL_SAVE, IF, PROJ, WHILE, WHILE_BACK, WHILE_SAVE, is_call, is_control, results},
    },
};
use rustc_hash::FxHashMap;
use std::{collections::BTreeSet, sync::Arc};

/// The graph without what nobody reads.
pub(super) fn prune(g: &Graph) -> Result<Graph> {
    if !g.nodes().any(|(_, n)| is_control(&n.op)) {
        return Ok(g.clone());
    }
    let all = vec![true; g.outputs().len()];
    let mut pruning = Pruning::default();
    // first what the ways back read, which is what decides on records
    pruning.read(g, &all);
    pruning.rebuild(g, &all, &vec![true; g.inputs().len()])
}

/// What some outputs of a graph take.
#[derive(Clone, Default)]
struct Reads {
    inputs: Vec<bool>,
    /// The places in the source at which it may fail.
    places: BTreeSet<i64>,
}

#[derive(Default)]
struct Pruning {
    /// Of each arena, the values of a record that some way back reads. Where a loop comes its ways back have been seen: they
    /// take where its record ends, and nodes are visited from the last to the first.
    slots: FxHashMap<i64, Vec<bool>>,
    /// For graphs and the outputs that are asked for.
    known: FxHashMap<(*const Graph, Vec<bool>), Reads>,
}

/// What is left of a node of control flow.
struct Left {
    results: Vec<bool>,
    args: Vec<bool>,
    places: BTreeSet<i64>,
}

/// Notes what `more` has; whether that was new.
fn join(all: &mut [bool], more: &[bool]) -> bool {
    let mut new = false;
    for (a, &b) in all.iter_mut().zip(more) {
        new |= b && !*a;
        *a |= b;
    }
    new
}
fn count(of: &[bool]) -> i64 {
    of.iter().filter(|x| **x).count() as i64
}
fn carried(n: &Node) -> usize {
    n.op.int(2) as usize
}

/// All places at which a node may fail, as deep as the source nests it.
pub(super) fn places(n: &Node) -> BTreeSet<i64> {
    n.op.place().into_iter().chain(n.subgraphs().flat_map(all_places)).collect()
}
fn all_places(g: &Graph) -> BTreeSet<i64> {
    g.nodes().flat_map(|(_, n)| places(n)).collect()
}

impl Pruning {
    /// What these outputs take.
    fn read(&mut self, g: &Graph, outs: &[bool]) -> Reads {
        let key = (std::ptr::from_ref(g), outs.to_vec());
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let (live, left) = self.needs(g, outs);
        let inputs = g.inputs().iter().map(|i| live[i.index()]).collect();
        let of = |(id, n): (NodeId, &Node)| left.get(&id).map_or_else(|| places(n), |left| left.places.clone());
        let places = g.nodes().filter(|(id, _)| live[id.index()]).flat_map(of).collect();
        let read = Reads { inputs, places };
        self.known.insert(key, read.clone());
        read
    }

    /// The nodes that these outputs need, and what is left of those of control flow.
    fn needs(&mut self, g: &Graph, outs: &[bool]) -> (Vec<bool>, FxHashMap<NodeId, Left>) {
        let mut live = vec![false; g.len()];
        let mut wanted: FxHashMap<NodeId, Vec<bool>> = FxHashMap::default();
        let mut left = FxHashMap::default();
        for (&o, _) in g.outputs().iter().zip(outs).filter(|(_, w)| **w) {
            live[o.index()] = true;
        }
        for (id, n) in g.nodes().rev().filter(|(_, n)| !n.args.is_empty()) {
            if !live[id.index()] {
                continue;
            }
            if n.op.is(&PROJ) {
                let of = n.args[0];
                live[of.index()] = true;
                let all = wanted.entry(of).or_insert_with(|| vec![false; results(&g.node(of).op).len()]);
                all[n.op.int(0) as usize] = true;
                continue;
            }
            let kept = match wanted.remove(&id) {
                Some(wanted) => {
                    let kept = self.node(n, wanted);
                    let args = kept.args.clone();
                    left.insert(id, kept);
                    args
                }
                None => vec![true; n.args.len()],
            };
            for (a, _) in n.args.iter().zip(kept).filter(|(_, k)| *k) {
                live[a.index()] = true;
            }
        }
        (live, left)
    }

    /// What is left of a choice, a loop or a call of which these results are asked for.
    fn node(&mut self, n: &Node, mut results: Vec<bool>) -> Left {
        if is_call(&n.op) {
            // its results and arguments stay: it is called from several places
            if let Attr::Graph(f) = &n.op.attrs[0] {
                let read = self.read(f, &self.given(n));
                if n.op.is(&CALL_BACK) {
                    let record = n.op.int(1) as usize;
                    let slots = self.slots.entry(n.op.int(3)).or_insert_with(|| vec![false; record]);
                    join(slots, &read.inputs[..record]);
                }
            }
            return Left { results: vec![true; results.len()], args: vec![true; n.args.len()], places: places(n) };
        }
        if n.op.is(&IF) {
            let (mut read, other) = (self.read(n.op.graph(0), &results), self.read(n.op.graph(1), &results));
            join(&mut read.inputs, &other.inputs);
            read.places.extend(other.places);
            return Left { results, args: [vec![true], read.inputs].concat(), places: read.places };
        }
        if n.op.is(&WHILE_BACK) {
            let (step, record) = (n.op.graph(0), n.op.int(1) as usize);
            if !results.contains(&true) {
                results[0] = true;
            }
            let Reads { inputs, places } = loop {
                let read = self.read(step, &results);
                if !join(&mut results, &read.inputs[read.inputs.len() - carried(n)..]) {
                    break read;
                }
            };
            join(self.slots.entry(n.op.int(3)).or_insert_with(|| vec![false; record]), &inputs[..record]);
            let captures = &inputs[record + 1..inputs.len() - carried(n)];
            return Left { args: [&[true; 2], captures, &results].concat(), results, places };
        }
        let (k, body) = (carried(n), n.op.graph(1));
        let cond = self.read(n.op.graph(0), &[true]);
        let mut state = results[..k].to_vec();
        join(&mut state, &cond.inputs[..k]);
        if !state.contains(&true) {
            state[0] = true;
        }
        let slots = self.recorded(n);
        let Reads { inputs: mut args, mut places } = loop {
            let read = self.read(body, &[&state[..], &slots].concat());
            if !join(&mut state, &read.inputs[..k]) && !keep_failing(body, &mut state, &read.places) {
                break read;
            }
        };
        join(&mut args, &cond.inputs);
        args[..k].copy_from_slice(&state);
        places.extend(cond.places);
        // the number of trips and where the record ends go together
        let ends = vec![results[k..].contains(&true); results.len() - k];
        Left { results: [state, ends].concat(), args, places }
    }

    /// What a function gives that is read: its results, and of its record what a way back reads.
    fn given(&self, n: &Node) -> Vec<bool> {
        let outs = n.op.called().outs.len();
        if !n.op.is(&CALL_SAVE) {
            return vec![true; outs];
        }
        let results = n.op.int(1) as usize;
        let read = self.slots.get(&n.op.int(2)).cloned().unwrap_or_else(|| vec![false; outs - results]);
        [vec![true; results], read].concat()
    }

    /// What a loop forwards records that is read.
    fn recorded(&self, n: &Node) -> Vec<bool> {
        let more = n.op.graph(1).outputs().len() - carried(n);
        let taken = n.op.is(&WHILE_SAVE) && n.op.int(4) != 0;
        let read = if n.op.is(&WHILE_SAVE) { self.slots.get(&n.op.int(3)) } else { None };
        let mut slots = read.cloned().unwrap_or_else(|| vec![false; more - usize::from(taken)]);
        slots.extend(taken.then_some(true));
        slots
    }

    /// The graph with these outputs and inputs.
    fn rebuild(&mut self, g: &Graph, outs: &[bool], ins: &[bool]) -> Result<Graph> {
        let (live, left) = self.needs(g, outs);
        let b = Builder::new();
        let mut map: Vec<Option<NodeId>> = vec![None; g.len()];
        let mut all: FxHashMap<NodeId, Vec<Option<NodeId>>> = FxHashMap::default();
        for (&i, _) in g.inputs().iter().zip(ins).filter(|(_, k)| **k) {
            map[i.index()] = Some(b.input(g.ty(i)));
        }
        for (id, n) in g.nodes() {
            if !live[id.index()] || map[id.index()].is_some() {
                continue;
            }
            if let (true, Some(results)) = (n.op.is(&PROJ), n.args.first().and_then(|a| all.get(a))) {
                map[id.index()] = results[n.op.int(0) as usize];
                continue;
            }
            let Some(kept) = left.get(&id) else {
                let args: Option<Args> = n.args.iter().map(|a| map[a.index()]).collect();
                map[id.index()] = Some(b.add(n.op.clone(), &args.ok_or_else(lost)?)?);
                continue;
            };
            let args = n.args.iter().zip(&kept.args).filter(|(_, k)| **k).map(|(a, _)| map[a.index()]);
            let args: Args = args.collect::<Option<_>>().ok_or_else(lost)?;
            let mut outs = b.add_control(&self.op(n, kept)?, &args)?.into_iter();
            let of = |&k: &bool| if k { outs.next() } else { None };
            let of: Vec<Option<NodeId>> = kept.results.iter().map(of).collect();
            map[id.index()] = of.iter().flatten().next().copied();
            all.insert(id, of);
        }
        let outs = g.outputs().iter().zip(outs).filter(|(_, k)| **k).map(|(o, _)| map[o.index()]);
        b.finish(outs.collect::<Option<_>>().ok_or_else(lost)?)
    }

    /// What a choice, a loop or a call becomes.
    fn op(&mut self, n: &Node, left: &Left) -> Result<Op> {
        let attrs = &n.op.attrs;
        if is_call(&n.op) {
            let Attr::Graph(f) = &attrs[0] else { return Ok(n.op.clone()) };
            let mut op = n.op.clone();
            let mut ins = vec![true; f.inputs().len()];
            if n.op.is(&CALL_BACK) {
                let slots = self.slots.get(&n.op.int(3)).cloned().unwrap_or_default();
                ins[..slots.len()].copy_from_slice(&slots);
                op.attrs[1] = Attr::Int(count(&slots));
            }
            op.attrs[0] = Attr::Graph(Arc::new(self.rebuild(f, &self.given(n), &ins)?));
            return Ok(op);
        }
        if n.op.is(&IF) {
            return n.op.map_graphs(|g| self.rebuild(g, &left.results, &left.args[1..]));
        }
        if n.op.is(&WHILE_BACK) {
            let slots = self.slots.get(&n.op.int(3)).cloned().unwrap_or_default();
            let ins = [&slots[..], &[true], &left.args[2..]].concat();
            let step = Attr::Graph(Arc::new(self.rebuild(n.op.graph(0), &left.results, &ins)?));
            let sums = &left.results[left.results.len() - n.op.int(4) as usize..];
            let [record, carried] = [count(&slots), count(&left.results)].map(Attr::Int);
            return Ok(Op::with(&WHILE_BACK, [step, record, carried, attrs[3].clone(), Attr::Int(count(sums))]));
        }
        let (state, ends) = left.results.split_at(carried(n));
        // without its ends nobody can read a record
        let saves = ends.contains(&true);
        let mut slots = self.recorded(n);
        slots.iter_mut().for_each(|s| *s &= saves);
        let mut part = |i: usize, outs: &[bool]| -> Result<Attr> {
            Ok(Attr::Graph(Arc::new(self.rebuild(n.op.graph(i), outs, &left.args)?)))
        };
        let (cond, body) = (part(0, &[true])?, part(1, &[state, &slots].concat())?);
        let carried = Attr::Int(count(state));
        Ok(if saves {
            Op::with(&WHILE_SAVE, [cond, body, carried, attrs[3].clone(), attrs[4].clone()])
        } else {
            Op::with(&WHILE, [cond, body, carried])
        })
    }
}

/// Adds a carried value that may fail in a place where nothing else of the loop does, if there is one.
fn keep_failing(body: &Graph, state: &mut [bool], known: &BTreeSet<i64>) -> bool {
    if state.iter().all(|s| *s) {
        return false;
    }
    let missing: BTreeSet<i64> = all_places(body).difference(known).copied().collect();
    let fails = |k: &usize| {
        let mut all = ancestors(body, body.outputs()[*k]);
        all.insert(body.outputs()[*k]);
        all.iter().any(|id| !places(body.node(*id)).is_disjoint(&missing))
    };
    let found = if missing.is_empty() { None } else { (0..state.len()).filter(|k| !state[*k]).find(fails) };
    found.into_iter().for_each(|k| state[k] = true);
    found.is_some()
}

pub(super) fn lost() -> Error {
    Error::Compile("bug: a value that is read was left out".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Carries a counter, x ← x·y and y ← y·y (nobody reads z, which is x + an element), and gives x.
    fn carries(z: &str) -> Graph {
        let text = format!(
            "%0 = input : f64[]
%1 = input : i64[]
%2 = input : f64[?]
%3 = const 0 : i64[]
%4 = while(%3, %0, %0, %0, %1, %2) {{cond={{
  %0 = input : i64[]
  %1 = input : f64[]
  %2 = input : f64[]
  %3 = input : f64[]
  %4 = input : i64[]
  %5 = input : f64[?]
  %6 = lt(%0, %4) : bool[]
  return %6
}}, body={{
  %0 = input : i64[]
  %1 = input : f64[]
  %2 = input : f64[]
  %3 = input : f64[]
  %4 = input : i64[]
  %5 = input : f64[?]
  %6 = const 1 : i64[]
  %7 = add(%0, %6) : i64[]
  %8 = mul(%1, %2) : f64[]
  %9 = mul(%2, %2) : f64[]
  %10 = {z} : f64[]
  %11 = add(%3, %10) : f64[]
  return %7, %8, %9, %11
}}, carried=4}} : i64[]
%5 = proj(%4) {{index=1, dtype=f64, shape=[]}} : f64[]
return %5
"
        );
        text.parse().unwrap()
    }
    fn carried_by(g: &Graph) -> i64 {
        g.nodes().find(|(_, n)| n.op.is(&WHILE)).map(|(_, n)| n.op.int(2)).unwrap()
    }

    #[test]
    fn what_nobody_reads_is_not_carried() {
        let g = prune(&carries("sin(%1)")).unwrap();
        assert_eq!(carried_by(&g), 3, "{g}");
        // nor taken
        assert!(!g.live()[g.inputs()[2].index()], "{g}");
        assert_eq!(prune(&g).unwrap(), g);
    }

    #[test]
    fn what_may_fail_is_carried() {
        let g = carries("list_get(%5, %0) {place=7}");
        assert_eq!(carried_by(&prune(&g).unwrap()), 4);
    }
}
