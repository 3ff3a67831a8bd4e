//! Code sinking (Rüthing, Knoop and Steffen, Sinking of Assignments, 1994; here on expressions): what is computed in front of a
//! choice and differentiated in one of its branches only moves into that branch.
//!
//! `let r = x.sqrt(); if x > 0.0 { r } else { x }` becomes `if x > 0.0 { x.sqrt() } else { x }`. Elsewhere the cotangent of r is a
//! zero, and zero times the derivative of the root of a number below 0 is NaN: what is not run has no derivative, as on a tape. So
//! this is done before differentiation, and for every order.
//!
//! Only what has a derivative or a value that may be infinite is a reason to move something. A value that conditions read too is
//! computed in front for them and once more in the branch, if its derivative is infinite for finite arguments. So is a little that
//! trips of a loop read in their branches only, in each of them. What takes long, and choices, are in one place only.

use super::prune::lost;
use crate::{
    error::Result,
    graph::{Args, Builder, Graph, Node, NodeId},
    op::{
        Attr, Derivative, Lower, Op,
        control::{CALL, IF, PROJ, WHILE, is_control, results, while_op},
        create, list,
    },
};
use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

/// Whether a cotangent gets to a value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reached {
    Never,
    /// Where a branch of a choice is taken.
    Sometimes,
    Always,
}

/// The choices that a value goes into.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Goal {
    None,
    One(NodeId),
    Many,
}

impl Goal {
    fn and(self, other: Goal) -> Goal {
        match (self, other) {
            (Goal::None, x) | (x, Goal::None) => x,
            (a, b) if a == b => a,
            _ => Goal::Many,
        }
    }
}

/// What is known of the values of a graph.
struct Values {
    reached: Vec<Reached>,
    /// Whether they are computed where they stand, for something that does not move.
    kept: Vec<bool>,
}

/// The graph with what only one branch is differentiated in moved there.
///
/// # Errors
/// An ill-typed graph, which is our bug.
pub(crate) fn sink(g: &Graph) -> Result<Cow<'_, Graph>> {
    if !chooses(g) {
        return Ok(Cow::Borrowed(g));
    }
    let all = sunk(g, true)?;
    // copies of copies are not worth it
    let fits = all.size() <= MOST_COPIES * g.size();
    Ok(Cow::Owned(if fits { all } else { sunk(g, false)? }))
}

/// How much larger a graph may become.
const MOST_COPIES: usize = 3;

/// With `copies` what several choices read is in each of them.
fn sunk(g: &Graph, copies: bool) -> Result<Graph> {
    let moved = moved(g, &values(g, &vec![true; g.outputs().len()], copies));
    let mut takings: Vec<Option<Taking>> = vec![None; g.len()];
    let mut needed = vec![false; g.len()];
    g.outputs().iter().for_each(|o| needed[o.index()] = true);
    for (id, n) in g.nodes().rev().filter(|(_, n)| !n.args.is_empty()) {
        if needed[id.index()] {
            let taking = Taking::of(g, n, &moved);
            let args = taking.as_ref().map_or(&n.args[..], |c| &c.args);
            args.iter().for_each(|a| needed[a.index()] = true);
            takings[id.index()] = taking;
        }
    }
    let b = Builder::with_capacity(g.len());
    let mut map: Vec<Option<NodeId>> = vec![None; g.len()];
    g.inputs().iter().for_each(|&i| map[i.index()] = Some(b.input(g.ty(i))));
    for (id, n) in g.nodes().filter(|(id, _)| needed[id.index()]) {
        if map[id.index()].is_some() {
            continue;
        }
        let given = |args: &[NodeId]| args.iter().map(|a| map[a.index()]).collect::<Option<Args>>().ok_or_else(lost);
        let made = match &takings[id.index()] {
            Some(c) => b.add(c.op(g, n, copies)?, &given(&c.args)?)?,
            None if is_control(&n.op) && n.subgraphs().any(chooses) => {
                b.add(n.op.map_graphs(|g| sunk(g, copies))?, &given(&n.args)?)?
            }
            None => b.add(n.op.clone(), &given(&n.args)?)?,
        };
        map[id.index()] = Some(made);
    }
    let outs = g.outputs().iter().map(|o| map[o.index()]).collect::<Option<_>>().ok_or_else(lost)?;
    b.finish(outs)
}

/// Whether there is a choice, as deep as the source nests them.
fn chooses(g: &Graph) -> bool {
    g.nodes().any(|(_, n)| n.op.is(&IF) || is_control(&n.op) && n.subgraphs().any(chooses))
}

/// Which values cotangents get to, from the `wanted` outputs. As deep as the source nests choices.
fn values(g: &Graph, wanted: &[bool], copies: bool) -> Values {
    let live = g.live();
    let mut all = vec![Reached::Never; g.len()];
    let mut kept = vec![false; g.len()];
    let mut goals = vec![Goal::None; g.len()];
    // what would be computed in each trip of a loop
    let mut repeated = vec![false; g.len()];
    let mut copied = vec![false; g.len()];
    for (o, _) in g.outputs().iter().zip(wanted).filter(|(_, w)| **w) {
        if g.ty(*o).dtype.is_float() {
            all[o.index()] = Reached::Always;
        }
    }
    g.outputs().iter().for_each(|o| kept[o.index()] = true);
    for (id, n) in g.nodes().rev().filter(|(id, n)| live[id.index()] && !n.args.is_empty()) {
        let at = id.index();
        let stays = match is_heavy(n) {
            // a choice that conditions ask is there twice, but none that such a one is made of
            true if n.op.is(&IF) && is_light(n) => goals[at] == Goal::Many || repeated[at] || kept[at] && copied[at],
            true => goals[at] == Goal::Many || repeated[at] || kept[at],
            false => repeated[at] && is_large(n) || !copies && goals[at] == Goal::Many,
        };
        if all[at] == Reached::Sometimes && (stays || !may_move(n)) {
            // it stays, and so does what it is made of: a cotangent comes, if only a zero
            all[at] = Reached::Always;
        }
        let moves = all[at] == Reached::Sometimes;
        let branches = (n.op.is(&IF) && all[at] != Reached::Never).then(|| {
            let mut wanted = vec![false; results(&n.op).len()];
            for (p, _) in g.users(id).filter(|(p, _)| all[p.index()] != Reached::Never) {
                let p = g.node(p);
                wanted[if p.op.is(&PROJ) { p.op.int(0) as usize } else { 0 }] = true;
            }
            [0, 1].map(|k| {
                let branch = n.op.graph(k);
                let all = values(branch, &wanted, copies).reached;
                branch.inputs().iter().map(|i| all[i.index()]).collect::<Vec<_>>()
            })
        });
        // what trips read in branches only, of what is the same in all of them
        let trips = (n.op.is(&WHILE) && !moves && all[at] != Reached::Never).then(|| {
            let (cond, body) = (n.op.graph(0), n.op.graph(1));
            let (asked, all) = (cond.live(), values(body, &vec![true; body.outputs().len()], copies).reached);
            let only =
                |k: usize| !asked[cond.inputs()[k].index()] && all[body.inputs()[k].index()] == Reached::Sometimes;
            (0..n.args.len()).map(|k| k >= n.op.int(2) as usize && only(k)).collect::<Vec<bool>>()
        });
        for (k, &a) in n.args.iter().enumerate() {
            let inside = branches.as_ref().filter(|_| k > 0).map(|[yes, no]| match (yes[k - 1], no[k - 1]) {
                (x, y) if x == y => (x, Goal::Many),
                (Reached::Never, _) | (_, Reached::Never) => (Reached::Sometimes, Goal::One(id)),
                _ => (Reached::Sometimes, Goal::Many),
            });
            // control flow has the type of its first result
            let float = n.op.is(&PROJ) && n.ty.dtype.is_float() || g.ty(a).dtype.is_float();
            let (to, goal) = match inside {
                _ if all[at] == Reached::Never || !float => (Reached::Never, Goal::None),
                _ if matches!(n.op.def.derivative, Derivative::Zero) => (Reached::Never, Goal::None),
                Some((to, goal)) if !moves => (to, goal),
                // a choice that moves takes with it what it reads
                Some((to, _)) => (to.min(Reached::Sometimes), goals[at]),
                None if trips.as_ref().is_some_and(|only| only[k]) => (Reached::Sometimes, Goal::Many),
                None => (all[at], goals[at]),
            };
            all[a.index()] = all[a.index()].max(to);
            goals[a.index()] = goals[a.index()].and(goal);
            copied[a.index()] |= moves && (copied[at] || kept[at] && n.op.is(&IF));
            repeated[a.index()] |= moves && repeated[at] || trips.as_ref().is_some_and(|only| only[k]);
            kept[a.index()] |= !(moves && !kept[at] || inside.is_some() && to == Reached::Sometimes);
        }
    }
    Values { reached: all, kept }
}

/// The values that move: those that may, if there is a reason.
fn moved(g: &Graph, values: &Values) -> Vec<bool> {
    let mut moved = vec![false; g.len()];
    for (id, n) in g.nodes().filter(|(id, _)| values.reached[id.index()] == Reached::Sometimes) {
        let reason = if values.kept[id.index()] { is_singular(n) } else { may_be_infinite(n) };
        moved[id.index()] = reason || n.args.iter().any(|a| moved[a.index()]);
    }
    moved
}

/// Whether it is made of something, and neither draws random numbers nor is a user's own operation.
fn may_move(n: &Node) -> bool {
    let library = matches!(n.op.def.lower, Lower::Library);
    !n.args.is_empty() && (!library || is_control(&n.op) || n.op.is(&PROJ) || list::ALL.iter().any(|d| n.op.is(d)))
}

/// What is in one place only: choices, loops, calls, lists and products of matrices.
fn is_heavy(n: &Node) -> bool {
    match n.op.def.lower {
        Lower::MatMul => true,
        Lower::Library => is_control(&n.op) || n.ty.is_list(),
        _ => false,
    }
}

/// Whether a choice has no loops, calls or products inside.
fn is_light(n: &Node) -> bool {
    let light = |n: &Node| n.args.is_empty() || if n.op.is(&IF) { is_light(n) } else { !is_heavy(n) };
    n.subgraphs().all(|g| g.nodes().all(|(_, n)| light(n)))
}

/// Whether there are tensors among its results, whose branches are programs of their own: what the way back reads is computed again.
fn is_large(n: &Node) -> bool {
    results(&n.op).iter().chain([&n.ty]).any(|ty| ty.rank() > 0 && !ty.is_list())
}

/// Whether the derivative or the value may be infinite where the arguments are not.
fn may_be_infinite(n: &Node) -> bool {
    if is_control(&n.op) {
        return n.op.is(&CALL) || n.subgraphs().any(|g| g.nodes().any(|(_, n)| may_be_infinite(n)));
    }
    !n.op.is(&PROJ) && n.ty.dtype.is_float() && !n.op.is_piecewise_linear() && !list::ALL.iter().any(|d| n.op.is(d))
}

/// Whether the derivative may be infinite or no number: for less, nothing moves that is computed in front as well.
fn is_singular(n: &Node) -> bool {
    let smooth = ["sin", "cos", "tanh", "sigmoid", "atan", "erf"];
    may_be_infinite(n) && !smooth.contains(&n.op.name())
}

/// A choice or a loop that values move into.
#[derive(Clone)]
struct Taking {
    /// The condition or the carried values, then captures: those that stay, and what the values that move are made of.
    args: Vec<NodeId>,
    /// How many come before the captures.
    head: usize,
    /// The values that move, arguments before users.
    inside: BTreeSet<NodeId>,
}

/// What each trip of a loop may compute again.
const LITTLE: usize = 24;

impl Taking {
    /// `None` if nothing moves into a node.
    fn of(g: &Graph, n: &Node, moved: &[bool]) -> Option<Taking> {
        let head = match () {
            () if n.op.is(&IF) => 1,
            () if n.op.is(&WHILE) => n.op.int(2) as usize,
            () => return None,
        };
        if !n.args[head..].iter().any(|a| moved[a.index()]) {
            return None;
        }
        let (mut inside, mut args) = (BTreeSet::new(), n.args[..head].to_vec());
        let mut captures: Vec<NodeId> = n.args[head..].iter().rev().copied().collect();
        while let Some(a) = captures.pop() {
            // a constant costs nothing anywhere
            if moved[a.index()] || g.node(a).op.is(&create::CONST) {
                if inside.insert(a) {
                    captures.extend_from_slice(&g.node(a).args);
                }
            } else if !args[head..].contains(&a) {
                args.push(a);
            }
        }
        let fits = n.op.is(&IF) || inside.len() <= LITTLE;
        fits.then_some(Taking { args, head, inside })
    }

    /// The choice or loop over these arguments.
    fn op(&self, g: &Graph, n: &Node, copies: bool) -> Result<Op> {
        let part = |k: usize| self.part(g, n, n.op.graph(k), copies).map(Arc::new);
        Ok(match n.op.is(&IF) {
            true => Op::with(&IF, [Attr::Graph(part(0)?), Attr::Graph(part(1)?)]),
            false => while_op(part(0)?, part(1)?, self.head),
        })
    }

    /// A sub-graph over them.
    fn part(&self, g: &Graph, n: &Node, part: &Graph, copies: bool) -> Result<Graph> {
        let live = part.live();
        let captures = &n.args[self.head..];
        let own = part.inputs().len() - captures.len();
        let read = |k: usize| live[part.inputs()[own + k].index()];
        let mut needed: BTreeSet<NodeId> = (0..captures.len()).filter(|&k| read(k)).map(|k| captures[k]).collect();
        for id in self.inside.iter().rev() {
            if needed.contains(id) {
                needed.extend(&g.node(*id).args);
            }
        }
        let b = Builder::new();
        let mut map: Vec<Option<NodeId>> = vec![None; g.len()];
        let mut ins: Vec<NodeId> = self.args[..own].iter().map(|a| b.input(g.ty(*a))).collect();
        self.args[self.head..].iter().for_each(|a| map[a.index()] = Some(b.input(g.ty(*a))));
        for id in self.inside.iter().filter(|id| needed.contains(id)) {
            let n = g.node(*id);
            let args: Args = n.args.iter().map(|a| map[a.index()]).collect::<Option<_>>().ok_or_else(lost)?;
            map[id.index()] = Some(b.add(n.op.clone(), &args)?);
        }
        // of an input that is not read there is nothing
        ins.extend(captures.iter().map(|a| map[a.index()].unwrap_or_default()));
        let outs = b.inline(part, &ins)?;
        sunk(&b.finish(outs)?, copies)
    }
}
