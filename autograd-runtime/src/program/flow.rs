//! Turns the reverse mode of loops into loops: `while_vjp` becomes a `while_save`, which runs the loop and records
//! what its reverse mode reads, and a `while_back` over the record. A `while` of the same arguments is the `while_save`
//! itself, so that value and gradient run the loop once.
//!
//! Of each trip the carried values are recorded that the step back reads; what the step needs besides is computed
//! again from them. Afterwards every result of control flow is read through a projection.

use crate::{
    diff,
    error::Result,
    graph::{Args, Builder, Graph, Node, NodeId},
    op::{
        Attr, Op,
        control::{self, PROJ, WHILE, WHILE_BACK, WHILE_SAVE, WHILE_VJP, is_control},
        create,
    },
    pass,
};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::{collections::BTreeSet, sync::Arc};

/// A loop and the arguments it starts from.
type Key = (SmallVec<[Attr; 2]>, Args);

/// A loop that is run backwards too.
struct Reversed {
    /// The captures that some reverse mode differentiates in.
    captured: BTreeSet<usize>,
    /// Once it has been met: results of the `while_save`, and the step back with the number of values it is given
    /// from the record.
    saved: Option<(Vec<NodeId>, Arc<Graph>, usize)>,
}

/// The graph in the form that programs are made of.
pub(super) fn lower(g: &Graph) -> Result<Graph> {
    let live = g.live();
    let mut reversed: FxHashMap<Key, Reversed> = FxHashMap::default();
    for (_, n) in g.nodes().filter(|(id, n)| live[id.index()] && n.op.is(&WHILE_VJP)) {
        let of = reversed.entry(key(n)).or_insert(Reversed { captured: BTreeSet::new(), saved: None });
        let carried = n.op.int(2);
        of.captured.extend(n.op.ints(3).iter().filter(|&&i| i >= carried).map(|&i| i as usize));
    }
    let b = Builder::new();
    let mut map: Vec<Option<NodeId>> = vec![None; g.len()];
    let mut all: FxHashMap<NodeId, Vec<NodeId>> = FxHashMap::default();
    for &i in g.inputs() {
        map[i.index()] = Some(b.input(g.ty(i)));
    }
    for (id, n) in g.nodes() {
        if !live[id.index()] || n.op.is(&create::INPUT) {
            continue;
        }
        if n.op.is(&PROJ) {
            map[id.index()] = Some(all[&n.args[0]][n.op.int(0) as usize]);
            continue;
        }
        let args: Args = n.args.iter().map(|a| map[a.index()].expect("arguments come first")).collect();
        if !is_control(&n.op) {
            map[id.index()] = Some(b.add(n.op.clone(), &args)?);
            continue;
        }
        let outs = match reversed.get_mut(&key(n)).filter(|_| n.op.is(&WHILE) || n.op.is(&WHILE_VJP)) {
            Some(r) => {
                if r.saved.is_none() {
                    r.saved = Some(save(&b, n, &args, &r.captured)?);
                }
                let (values, step, record) = r.saved.as_ref().expect("made above");
                if n.op.is(&WHILE_VJP) {
                    back(&b, n, &args, values, step, *record, &r.captured)?
                } else {
                    values.clone()
                }
            }
            None => b.add_control(&n.op.map_graphs(lower)?, &args)?,
        };
        map[id.index()] = outs.first().copied();
        all.insert(id, outs);
    }
    b.finish(g.outputs().iter().map(|o| map[o.index()].expect("outputs are live")).collect())
}

fn key(n: &Node) -> Key {
    let loops = n.op.is(&WHILE) || n.op.is(&WHILE_VJP);
    let args = if n.op.is(&WHILE_VJP) { n.args.len() - control::floats(n.op.graph(1)).len() } else { n.args.len() };
    let attrs = if loops { n.op.attrs[..3].iter().cloned().collect() } else { SmallVec::new() };
    (attrs, Args::from_slice(&n.args[..args]))
}

fn save(
    b: &Builder,
    n: &Node,
    args: &[NodeId],
    captured: &BTreeSet<usize>,
) -> Result<(Vec<NodeId>, Arc<Graph>, usize)> {
    let (cond, body, carried) = (n.op.graph(0), n.op.graph(1), n.op.int(2) as usize);
    let captured: Vec<usize> = captured.iter().copied().collect();
    let step = pass::optimise(&diff::while_step(body, carried, &captured)?)?;
    let live = step.live();
    let reads = |i: &usize| live[step.inputs()[*i].index()];
    let kept: Vec<usize> = (0..carried).filter(reads).collect();
    // the step without the inputs that it does not read
    let inner = Builder::new();
    let mut inputs: Vec<NodeId> = Vec::new();
    for (i, &input) in step.inputs().iter().enumerate() {
        let dead = i < carried && !kept.contains(&i);
        // never read: any node will do
        inputs.push(if dead { NodeId::default() } else { inner.input(step.ty(input)) });
    }
    let outs = inner.inline(&step, &inputs)?;
    let step = Arc::new(lower(&inner.finish(outs)?)?);
    let attrs = [
        Attr::Graph(Arc::new(lower(cond)?)),
        Attr::Graph(Arc::new(lower(body)?)),
        Attr::Int(carried as i64),
        Attr::Ints(kept.iter().map(|&i| i as i64).collect()),
    ];
    let loop_args = body.inputs().len();
    let values = b.add_control(&Op::with(&WHILE_SAVE, attrs), &args[..loop_args])?;
    Ok((values, step, kept.len()))
}

#[allow(clippy::too_many_arguments)]
fn back(
    b: &Builder,
    n: &Node,
    args: &[NodeId],
    values: &[NodeId],
    step: &Arc<Graph>,
    record: usize,
    captured: &BTreeSet<usize>,
) -> Result<Vec<NodeId>> {
    let (body, carried) = (n.op.graph(1), n.op.int(2) as usize);
    let floats = control::floats(body);
    let trips = *values.last().expect("a loop that is saved counts its trips");
    let given: Vec<NodeId> = std::iter::once(trips).chain(args[carried..].iter().copied()).collect();
    let attrs = [Attr::Graph(step.clone()), Attr::Int(record as i64), Attr::Int(floats.len() as i64)];
    let all = b.add_control(&Op::with(&WHILE_BACK, attrs), &given)?;
    let of = |&i: &i64| {
        let i = i as usize;
        let carried = floats.iter().position(|&f| f == i);
        let at = carried.or_else(|| captured.iter().position(|&c| c == i).map(|k| floats.len() + k));
        all[at.expect("floats only have cotangents")]
    };
    Ok(n.op.ints(3).iter().map(of).collect())
}
