//! From a lowered graph in which every value is a scalar or a list to a scalar program, control flow included.
//!
//! In the graph a write to a list gives a new list. In the program it is done in place where the old list is not read
//! any more, and on a copy otherwise. So nodes that read a list are put before one that writes to it where that is possible,
//! and each value is traced to the buffers that may hold it. A loop owns the buffers of the lists that it carries, and what a
//! trip makes for itself is given back at its end: a list that a trip leaves in such memory is copied to the loop's own.

use super::vector::{Trips, vector};
use crate::{
    graph::{Graph, Node, NodeId},
    kernel::{self, Form, Function, How, Id, Inst, Lowering, Node as KNode, NodeKind, Record, ScalarProgram},
    op::{
        Attr, Lower, arith,
        control::{CALL, CALL_BACK, CALL_SAVE, CALL_VJP, IF, PROJ, WHILE, WHILE_BACK, WHILE_SAVE, WHILE_VJP, is_call},
        create, hold, integer, list,
    },
    ty::{DType, Ty},
};
use smallvec::SmallVec;
use std::{cmp::Reverse, collections::BinaryHeap};

/// Whether all values are scalars and lists, and all operations such as scalar programs have.
pub(super) fn is_scalar(g: &Graph) -> bool {
    let mut todo = vec![g];
    while let Some(g) = todo.pop() {
        let live = g.live();
        for (id, n) in g.nodes().filter(|(id, n)| live[id.index()] || n.op.is(&create::INPUT)) {
            let value = n.ty.numel() == 1 && !(n.ty.dtype == DType::I64 && n.op.is(&create::INPUT) && n.ty.rank() > 0);
            let known = match n.op.def.lower {
                Lower::MatMul => false,
                Lower::Library => is_own(n),
                Lower::Inline(_) if n.ty.is_list() => {
                    n.op.is(&hold::AFTER) || n.op.is(&arith::ADD) && n.ty.dtype.is_float()
                }
                _ => !n.ty.is_list() && n.args.iter().all(|&a| !g.ty(a).is_list()),
            };
            if live[id.index()] && !known || !value && !n.ty.is_list() {
                return false;
            }
            todo.extend(n.subgraphs());
        }
    }
    true
}

/// Operations of the library that scalar programs have a form of their own for.
fn is_own(n: &Node) -> bool {
    let control = [&IF, &PROJ, &WHILE, &WHILE_BACK, &WHILE_SAVE, &WHILE_VJP, &CALL, &CALL_VJP, &CALL_BACK, &CALL_SAVE];
    let control = control.iter().any(|d| n.op.is(d));
    let family = |all: &[&'static crate::op::OpDef]| all.iter().any(|d| n.op.is(d));
    control || n.op.is(&create::INPUT) || family(list::ALL) || family(integer::ALL) || n.op.is(&hold::HOLDS)
}

/// The scalar program of a graph and the number of its arenas; `None` if the graph has other values than scalars and
/// lists, or too many nodes for one function (then it is split into kernels over a domain of one element).
pub(super) fn scalar_program(g: &Graph) -> Option<(ScalarProgram, usize)> {
    if !is_scalar(g) {
        return None;
    }
    let mut arenas = Arenas::default();
    let program = region(g, &vec![false; g.inputs().len()], &mut arenas)?.program;
    (size(&program) <= kernel::MAX_NODES).then_some((program, arenas.count))
}

/// The arenas that a program needs, and whether what is being made is a function, between whose records those of its
/// inner calls lie.
#[derive(Default)]
pub(super) struct Arenas {
    count: usize,
    function: bool,
}
impl Arenas {
    fn uses(&mut self, arena: usize) {
        self.count = self.count.max(arena + 1);
    }
}

/// Instructions, those of sub-programs included; as deep as the source nests them.
fn size(p: &ScalarProgram) -> usize {
    let of = |i: &Inst| match i {
        Inst::If { branches, .. } => branches.iter().map(size).sum(),
        Inst::While { cond, body, .. } => size(cond) + size(body),
        Inst::Back { step, .. } => size(step),
        Inst::Call { function: Some(f), .. } => size(&f.program),
        _ => 1,
    };
    p.insts.iter().map(of).sum()
}

fn form(ty: &Ty) -> Form {
    if ty.is_list() { Form::List(ty.dtype) } else { Form::Scalar(ty.dtype) }
}

/// The live nodes, such that those which read a list come before one that may write to it, where that is possible.
fn schedule(g: &Graph) -> Vec<NodeId> {
    let live = g.live();
    let ids: Vec<NodeId> = g.nodes().map(|(id, _)| id).filter(|id| live[id.index()]).collect();
    let mut before = vec![0usize; g.len()];
    let mut users: Vec<Vec<NodeId>> = vec![Vec::new(); g.len()];
    for &id in &ids {
        for a in &g.node(id).args {
            users[a.index()].push(id);
            before[id.index()] += 1;
        }
    }
    let mut soft: Vec<Vec<NodeId>> = vec![Vec::new(); g.len()];
    let mut waits = vec![0usize; g.len()];
    for &x in ids.iter().filter(|x| g.ty(**x).is_list()) {
        for &w in users[x.index()].iter().filter(|w| may_write(g.node(**w), x)) {
            for &r in users[x.index()].iter().filter(|r| !may_write(g.node(**r), x)) {
                soft[r.index()].push(w);
                waits[w.index()] += 1;
            }
        }
    }
    let mut ready: BinaryHeap<Reverse<NodeId>> =
        ids.iter().filter(|i| before[i.index()] == 0 && waits[i.index()] == 0).map(|&i| Reverse(i)).collect();
    // what waits for a reader only
    let mut late: BinaryHeap<Reverse<NodeId>> =
        ids.iter().filter(|i| before[i.index()] == 0 && waits[i.index()] > 0).map(|&i| Reverse(i)).collect();
    let mut done = vec![false; g.len()];
    let mut order = Vec::with_capacity(ids.len());
    while let Some(Reverse(id)) = ready.pop().or_else(|| late.pop()) {
        if std::mem::replace(&mut done[id.index()], true) {
            continue;
        }
        order.push(id);
        for &u in &users[id.index()] {
            before[u.index()] -= 1;
            if before[u.index()] == 0 {
                if waits[u.index()] == 0 { ready.push(Reverse(u)) } else { late.push(Reverse(u)) }
            }
        }
        for &w in &soft[id.index()] {
            waits[w.index()] -= 1;
            if waits[w.index()] == 0 && before[w.index()] == 0 {
                ready.push(Reverse(w));
            }
        }
    }
    order
}

/// Whether a node may want to write to its argument `x`.
fn may_write(n: &Node, x: NodeId) -> bool {
    let first = n.args[0] == x;
    match () {
        () if n.op.is(&list::SET) || n.op.is(&list::ADD) => first,
        () if n.op.is(&arith::ADD) => true,
        // one whose branches only read elements does not
        () if n.op.is(&IF) => n.subgraphs().any(|g| {
            g.nodes().any(|(_, n)| {
                !n.op.is(&create::INPUT) && (n.ty.is_list() || n.subgraphs().next().is_some() || is_call(&n.op))
            }) || g.output_types().any(Ty::is_list)
        }),
        () if n.op.is(&WHILE) || n.op.is(&WHILE_SAVE) => n.args[..n.op.int(2) as usize].contains(&x),
        () if n.op.is(&WHILE_BACK) || n.op.is(&CALL_BACK) => n.args[n.args.len() - n.op.int(2) as usize..].contains(&x),
        () => false,
    }
}

/// A sub-program and what it does with the lists that it is given.
pub(super) struct Region {
    pub(super) program: ScalarProgram,
    /// For each output that is a list, the buffers that may hold it.
    outs: Vec<Held>,
    /// Which arguments it writes to.
    written: Vec<bool>,
}

/// The buffers that a list may be in: those of arguments, and those that were made inside, by number.
#[derive(Clone, Default)]
struct Held {
    inputs: SmallVec<[usize; 2]>,
    fresh: SmallVec<[usize; 2]>,
}
impl Held {
    /// The one argument whose buffer it is.
    fn exactly(&self) -> Option<usize> {
        if self.inputs.len() == 1 && self.fresh.is_empty() { Some(self.inputs[0]) } else { None }
    }
}

#[derive(Clone)]
struct Buffer {
    /// Whether it may be written to.
    owned: bool,
    input: Option<usize>,
}

/// Builds one region.
struct Regions<'g> {
    g: &'g Graph,
    insts: Vec<Inst>,
    /// The instruction of each value, the buffers of lists, and the uses to come.
    map: Vec<Option<Id>>,
    held: Vec<SmallVec<[usize; 2]>>,
    left: Vec<usize>,
    buffers: Vec<Buffer>,
    written: Vec<bool>,
    /// Values that are lists.
    lists: Vec<NodeId>,
}

impl Regions<'_> {
    fn push(&mut self, i: Inst) -> Id {
        self.insts.push(i);
        self.insts.len() as Id - 1
    }
    fn buffer(&mut self, owned: bool, input: Option<usize>) -> usize {
        self.buffers.push(Buffer { owned, input });
        self.buffers.len() - 1
    }
    fn at(&self, x: NodeId) -> Option<Id> {
        self.map[x.index()]
    }
    /// Notes the uses of a node's arguments.
    fn used(&mut self, n: &Node) {
        for a in &n.args {
            self.left[a.index()] -= 1;
        }
    }
    /// The buffer of `x`, if the use that is being made of it is the last one and it may be written to.
    fn takes(&self, x: NodeId) -> Option<usize> {
        let &[b] = &self.held[x.index()][..] else { return None };
        let others =
            self.lists.iter().any(|&y| y != x && self.left[y.index()] > 0 && self.held[y.index()].contains(&b));
        (self.buffers[b].owned && self.left[x.index()] == 1 && !others).then_some(b)
    }
    fn write(&mut self, b: usize) {
        if let Some(i) = self.buffers[b].input {
            self.written[i] = true;
        }
    }
    /// `x` to write to: itself, or a copy.
    fn own(&mut self, x: NodeId) -> Option<(Id, usize)> {
        let id = self.at(x)?;
        Some(match self.takes(x) {
            Some(b) => {
                self.write(b);
                (id, b)
            }
            None => {
                // equal elements are written once more without being read
                let n = self.g.node(x);
                let copy = match n.args[..] {
                    [value, len] if n.op.is(&list::FILL) => Inst::Fill { value: self.at(value)?, len: self.at(len)? },
                    _ => Inst::Copy(id),
                };
                let b = self.buffer(true, None);
                (self.push(copy), b)
            }
        })
    }
    fn list(&mut self, x: NodeId, id: Id, held: SmallVec<[usize; 2]>) {
        self.map[x.index()] = Some(id);
        self.held[x.index()] = held;
        self.lists.push(x);
    }
}

/// A graph as a sub-program that may write to the arguments that are `owned`.
pub(super) fn region(g: &Graph, owned: &[bool], arenas: &mut Arenas) -> Option<Region> {
    let mut r = Regions {
        g,
        insts: Vec::new(),
        map: vec![None; g.len()],
        held: vec![SmallVec::new(); g.len()],
        left: vec![0; g.len()],
        buffers: Vec::new(),
        written: vec![false; owned.len()],
        lists: Vec::new(),
    };
    let order = schedule(g);
    for &id in &order {
        g.node(id).args.iter().for_each(|a| r.left[a.index()] += 1);
    }
    g.outputs().iter().for_each(|o| r.left[o.index()] += 1);
    for id in order {
        let n = g.node(id);
        if n.op.is(&create::INPUT) && n.ty.is_list() {
            let k = n.op.int(0) as usize;
            let b = r.buffer(owned[k], Some(k));
            let inst = r.push(Inst::Argument(k));
            r.list(id, inst, SmallVec::from_slice(&[b]));
            continue;
        }
        if n.op.is(&PROJ) {
            let of = r.at(n.args[0])?;
            let index = n.op.int(0) as usize;
            let inst = r.push(Inst::Result { of, index, form: form(&n.ty) });
            r.map[id.index()] = Some(inst);
            r.used(n);
            continue;
        }
        if crate::op::control::is_control(&n.op) {
            let (inst, held) = control(&mut r, n, arenas)?;
            let inst = r.push(inst);
            r.map[id.index()] = Some(inst);
            r.used(n);
            // from now on these buffers are read
            for (p, _) in g.users(id).filter(|(p, _)| g.ty(*p).is_list()) {
                r.held[p.index()] = held.get(g.node(p).op.int(0) as usize)?.clone();
                r.lists.push(p);
            }
            continue;
        }
        if n.op.is(&hold::AFTER) {
            // what has to hold has been asked where that was made
            let (same, held) = (r.at(n.args[0])?, r.held[n.args[0].index()].clone());
            match n.ty.is_list() {
                true => r.list(id, same, held),
                false => r.map[id.index()] = Some(same),
            }
            r.used(n);
            continue;
        }
        if n.ty.is_list() {
            let (inst, b) = make(&mut r, n)?;
            r.list(id, inst, SmallVec::from_slice(&[b]));
            r.used(n);
            continue;
        }
        let args: SmallVec<[u32; 3]> = n.args.iter().map(|a| r.at(*a)).collect::<Option<_>>()?;
        let inst = match n.op.def.lower {
            // over one element these change nothing
            Lower::View(_) | Lower::Reduce(_) => {
                r.map[id.index()] = Some(args[0]);
                r.used(n);
                continue;
            }
            Lower::Library if !n.op.is(&create::INPUT) => own(n, &args)?,
            _ => Inst::Node(KNode { kind: single(n, args)?, dtype: n.ty.dtype }),
        };
        r.map[id.index()] = Some(r.push(inst));
        r.used(n);
    }
    let outputs: Vec<Id> = g.outputs().iter().map(|o| r.at(*o)).collect::<Option<_>>()?;
    let held = |o: &NodeId| {
        let mut held = Held::default();
        for &b in &r.held[o.index()] {
            match r.buffers[b].input {
                Some(i) => held.inputs.push(i),
                None => held.fresh.push(b),
            }
        }
        held
    };
    let outs = g.outputs().iter().map(held).collect();
    let inputs = g.input_types().map(form).collect();
    Some(Region { program: ScalarProgram { inputs, insts: r.insts, outputs }, outs, written: r.written })
}

/// A list that an operation makes, and the buffer that it is in.
fn make(r: &mut Regions<'_>, n: &Node) -> Option<(Id, usize)> {
    let op = &n.op;
    if op.is(&list::SET) || op.is(&list::ADD) {
        let (index, value) = (r.at(n.args[1])?, r.at(n.args[2])?);
        let (list, b) = r.own(n.args[0])?;
        let put = Inst::Put { list, index, value, add: op.is(&list::ADD), place: op.int(0) };
        return Some((r.push(put), b));
    }
    if op.is(&arith::ADD) {
        let (to, term) = if r.takes(n.args[0]).is_none() && r.takes(n.args[1]).is_some() {
            (n.args[1], n.args[0])
        } else {
            (n.args[0], n.args[1])
        };
        let term = r.at(term)?;
        let (list, b) = r.own(to)?;
        return Some((r.push(Inst::AddTo { list, term }), b));
    }
    let inst = if op.is(&list::FILL) {
        Inst::Fill { value: r.at(n.args[0])?, len: r.at(n.args[1])? }
    } else if op.is(&list::ORDER) {
        Inst::Order { list: r.at(n.args[0])?, sorting: list::sorting(op), place: op.int(0) }
    } else if op.is(&list::OF) {
        Inst::Of(op.dtype(0), n.args.iter().map(|a| r.at(*a)).collect::<Option<_>>()?)
    } else {
        return None;
    };
    let b = r.buffer(true, None);
    Some((r.push(inst), b))
}

/// A scalar that lists or integers give.
fn own(n: &Node, a: &[Id]) -> Option<Inst> {
    let op = &n.op;
    let divide = |signed, remainder| Inst::Divide { args: [a[0], a[1]], signed, remainder, place: op.int(0) };
    Some(match () {
        () if op.is(&list::LEN) => Inst::Len(a[0]),
        () if op.is(&list::GET) => Inst::Get { list: a[0], index: a[1], place: op.int(0) },
        () if op.is(&list::WITHIN) => {
            Inst::Within { number: a[0], limit: a[1], range: op.int(1) != 0, place: op.int(0) }
        }
        () if op.is(&list::SUM) => Inst::Sum(a[0]),
        () if op.is(&hold::HOLDS) => Inst::Holds { cond: a[0], place: op.int(0) },
        () if op.is(&integer::TRIP) => Inst::Trip { number: a[0], limit: op.int(1), place: op.int(0) },
        () if op.is(&integer::DIV) => divide(true, false),
        () if op.is(&integer::REM) => divide(true, true),
        () if op.is(&integer::UDIV) => divide(false, false),
        () if op.is(&integer::UREM) => divide(false, true),
        () => return None,
    })
}

pub(super) fn single(n: &Node, args: SmallVec<[u32; 3]>) -> Option<NodeKind> {
    let elementwise = |lowering| NodeKind::Elementwise { lowering, args: args.clone() };
    Some(match n.op.def.lower {
        _ if n.op.is(&create::INPUT) => {
            let access = kernel::Access { offset: 0, outer: SmallVec::new(), inner: 0 };
            NodeKind::Load { buffer: u16::try_from(n.op.int(0)).ok()?, access }
        }
        Lower::Const => NodeKind::Const { bits: n.op.bits(1) },
        Lower::Iota => NodeKind::Const { bits: 0 },
        Lower::Inline(f) => elementwise(Lowering::Inline(f)),
        Lower::Unary(f) => elementwise(Lowering::Unary(f)),
        Lower::Binary(f) => elementwise(Lowering::Binary(f)),
        Lower::Powi => elementwise(Lowering::Powi(n.op.int(0) as i32)),
        Lower::View(_) | Lower::Reduce(_) | Lower::MatMul | Lower::Library => return None,
    })
}

/// A choice or loop, and the buffers of its results.
fn control(r: &mut Regions<'_>, n: &Node, arenas: &mut Arenas) -> Option<(Inst, Vec<SmallVec<[usize; 2]>>)> {
    let op = &n.op;
    if op.is(&IF) {
        let takes: Vec<Option<usize>> = n.args[1..].iter().map(|&a| r.takes(a)).collect();
        let owned: Vec<bool> = takes.iter().map(Option::is_some).collect();
        let [yes, no] = [region(op.graph(0), &owned, arenas)?, region(op.graph(1), &owned, arenas)?];
        for (k, b) in takes.iter().enumerate() {
            if let (Some(b), true) = (b, yes.written[k] || no.written[k]) {
                r.write(*b);
            }
        }
        let held = chosen(r, [&yes.outs, &no.outs], &n.args[1..]);
        let cond = r.at(n.args[0])?;
        let args = n.args[1..].iter().map(|&a| r.at(a)).collect::<Option<_>>()?;
        return Some((Inst::If { cond, args, branches: Box::new([yes.program, no.program]) }, held));
    }
    if is_call(op) {
        return call(r, n, arenas);
    }
    let back = op.is(&WHILE_BACK);
    if !back && !op.is(&WHILE) && !op.is(&WHILE_SAVE) {
        return None;
    }
    let carried = op.int(2) as usize;
    // where the carried values stand among the node's arguments, and among those of the body
    let body = op.graph(usize::from(!back));
    let (first, inside) = if back { (n.args.len() - carried, body.inputs().len() - carried) } else { (0, 0) };
    let owned: Vec<bool> = (0..body.inputs().len()).map(|i| (inside..inside + carried).contains(&i)).collect();
    let mut done = region(body, &owned, arenas)?;
    let kept = settle(&mut done, inside, carried);
    let mut args: Vec<Id> = n.args.iter().map(|&a| r.at(a)).collect::<Option<_>>()?;
    let mut own: Vec<SmallVec<[usize; 2]>> = vec![SmallVec::new(); carried];
    for k in 0..carried {
        let a = n.args[first + k];
        if !r.g.ty(a).is_list() {
            continue;
        }
        let reads = !done.written[inside + k] && kept[k] == Some(k);
        if reads {
            own[k] = r.held[a.index()].clone();
        } else {
            let (id, b) = r.own(a)?;
            (args[first + k], own[k]) = (id, SmallVec::from_slice(&[b]));
        }
    }
    // after the loop a list may be in any of the buffers that change places
    let moves = kept.iter().enumerate().any(|(k, &f)| f.is_some_and(|f| f != k));
    let together: SmallVec<[usize; 2]> =
        (0..carried).filter(|&k| kept[k].is_some_and(|f| f != k)).flat_map(|k| own[k].clone()).collect();
    let held =
        (0..carried).map(|k| if moves && kept[k] != Some(k) { together.clone() } else { own[k].clone() }).collect();
    if back {
        let record = body.input_types().take(op.int(1) as usize).map(|t| t.dtype).collect();
        let arena = usize::try_from(op.int(3)).ok()?;
        arenas.uses(arena);
        let width = op.int(1) as usize;
        let linked = arenas.function && width > 0;
        let last = !linked && width > 0 && reads_last(r, n);
        let trips = Trips { body, cond: None, record: width, carried: inside..inside + carried };
        let vector = if linked { None } else { vector(&trips).map(Box::new) };
        let step = Box::new(done.program);
        return Some((Inst::Back { step, args, carried, arena, record, last, linked, vector }, held));
    }
    let arena = if op.is(&WHILE_SAVE) { Some(usize::try_from(op.int(3)).ok()?) } else { None };
    arena.into_iter().for_each(|a| arenas.uses(a));
    let cond = Box::new(region(op.graph(0), &vec![false; body.inputs().len()], arenas)?.program);
    let trips = Trips { body, cond: Some(op.graph(0)), record: 0, carried: 0..carried };
    let taken = arena.is_some() && op.int(4) != 0;
    let linked = arenas.function && arena.is_some() && body.outputs().len() > carried + usize::from(taken);
    let vector = if linked || taken { None } else { vector(&trips).map(Box::new) };
    let record = arena.map(|arena| Record { arena, linked, taken });
    Some((Inst::While { cond, body: Box::new(done.program), args, carried, record, vector }, held))
}

/// A call: of a function of its own, or of the one that is being made.
fn call(r: &mut Regions<'_>, n: &Node, arenas: &mut Arenas) -> Option<(Inst, Vec<SmallVec<[usize; 2]>>)> {
    let op = &n.op;
    let s = op.called();
    let sums = if op.is(&CALL_BACK) { op.int(2) as usize } else { 0 };
    let results = if op.is(&CALL_SAVE) { op.int(1) as usize } else { s.outs.len() };
    // lists are results only as sums, in the buffers that they come in
    if s.outs.get(sums..results)?.iter().any(Ty::is_list) {
        return None;
    }
    let gives: Vec<Form> = crate::op::control::results(op).iter().map(form).collect();
    let function = match &op.attrs[0] {
        Attr::Graph(g) => {
            let outside = std::mem::replace(&mut arenas.function, true);
            let inside = g.inputs().len() - sums;
            let owned: Vec<bool> = (0..g.inputs().len()).map(|i| i >= inside).collect();
            let mut done = region(g, &owned, arenas)?;
            arenas.function = outside;
            let kept = settle(&mut done, inside, sums);
            if (0..sums).any(|k| kept[k] != Some(k)) {
                return None;
            }
            let how = if op.is(&CALL_SAVE) {
                How::Save { results, arena: usize::try_from(op.int(2)).ok()? }
            } else if op.is(&CALL_BACK) {
                let record = g.input_types().take(op.int(1) as usize).map(|t| t.dtype).collect();
                How::Back { record, sums, arena: usize::try_from(op.int(3)).ok()? }
            } else {
                How::Plain
            };
            if let How::Save { arena, .. } | How::Back { arena, .. } = how {
                arenas.uses(arena);
            }
            Some(std::sync::Arc::new(Function { program: done.program, how, results: gives.clone() }))
        }
        _ => None,
    };
    let first = n.args.len() - sums;
    let mut args: Vec<Id> = n.args.iter().map(|&a| r.at(a)).collect::<Option<_>>()?;
    let mut held = vec![SmallVec::new(); sums];
    for k in 0..sums {
        let (id, b) = r.own(n.args[first + k])?;
        (args[first + k], held[k]) = (id, SmallVec::from_slice(&[b]));
    }
    held.resize(gives.len(), SmallVec::new());
    Some((Inst::Call { function, args, results: gives }, held))
}

/// Whether a loop over a record is the last to read it: the loop that recorded is beside it, and where its record ends is
/// asked for no more.
fn reads_last(r: &Regions<'_>, n: &Node) -> bool {
    let end = r.g.node(n.args[1]);
    end.op.is(&PROJ) && r.g.node(end.args[0]).op.is(&WHILE_SAVE) && r.left[n.args[1].index()] == 1
}

/// The buffers of the results of a choice: those of arguments, or a new one, which those that a branch leaves in one
/// buffer have in common.
fn chosen(r: &mut Regions<'_>, branches: [&[Held]; 2], args: &[NodeId]) -> Vec<SmallVec<[usize; 2]>> {
    let n = branches[0].len();
    let shares = |j: usize, k: usize| branches.iter().any(|b| b[j].fresh.iter().any(|x| b[k].fresh.contains(x)));
    let mut class: Vec<usize> = (0..n).collect();
    for (j, k) in (0..n).flat_map(|k| (0..k).map(move |j| (j, k))).filter(|&(j, k)| shares(j, k)) {
        let (to, from) = (class[j], class[k]);
        class.iter_mut().filter(|c| **c == from).for_each(|c| *c = to);
    }
    let made: Vec<usize> = (0..n).map(|_| r.buffer(true, None)).collect();
    let of = |k: usize| {
        let given = branches.iter().flat_map(|b| &b[k].inputs).flat_map(|&i| r.held[args[i].index()].iter().copied());
        let mut all: SmallVec<[usize; 2]> = given.collect();
        all.extend(branches.iter().any(|b| !b[k].fresh.is_empty()).then_some(made[class[k]]));
        all.sort_unstable();
        all.dedup();
        all
    };
    (0..n).map(of).collect()
}

/// Makes the lists that a trip leaves be in the loop's own buffers, one each: the number of the carried value whose
/// buffer each is in.
fn settle(r: &mut Region, inside: usize, carried: usize) -> Vec<Option<usize>> {
    let list = |r: &Region, k: usize| matches!(r.program.inputs[inside + k], Form::List(_));
    let mut kept: Vec<Option<usize>> = vec![None; carried];
    let mut taken = vec![false; carried];
    for k in (0..carried).filter(|&k| list(r, k)) {
        let own = r.outs[k].exactly().and_then(|i| i.checked_sub(inside)).filter(|&f| f < carried);
        if let Some(f) = own.filter(|&f| !taken[f]) {
            taken[f] = true;
            kept[k] = Some(f);
        }
    }
    let open: Vec<usize> = (0..carried).filter(|&k| list(r, k) && kept[k].is_none()).collect();
    // first all copies of what may be in a buffer that is written to, then the writes
    let mut from: Vec<Id> = Vec::new();
    for &k in &open {
        let out = r.program.outputs[k];
        let shared = r.outs[k].inputs.iter().any(|i| (inside..inside + carried).contains(i));
        from.push(if shared { push(r, Inst::Copy(out)) } else { out });
    }
    for (&k, from) in open.iter().zip(from) {
        // the buffer at the end of the chain that begins with its own: all along it lists are as long
        let mut f = k;
        while taken[f] {
            f = kept.iter().position(|&x| x == Some(f)).unwrap_or(f);
        }
        taken[f] = true;
        kept[k] = Some(f);
        r.written[inside + f] = true;
        let argument = r.program.insts.iter().position(|i| matches!(i, Inst::Argument(a) if *a == inside + f));
        let list = match argument {
            Some(i) => i as Id,
            None => push(r, Inst::Argument(inside + f)),
        };
        r.program.outputs[k] = push(r, Inst::Overwrite { list, from });
    }
    kept
}

fn push(r: &mut Region, i: Inst) -> Id {
    r.program.insts.push(i);
    r.program.insts.len() as Id - 1
}
