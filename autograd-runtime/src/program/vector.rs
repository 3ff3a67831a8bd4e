//! Recognises loops whose trips do not depend on one another, and turns the body of one into a kernel over its trips
//! ([`Vector`]). It looks at loops as they are after lowering, so that reverse modes are loops like any others: what was
//! recorded of a trip is one more value that a trip reads.
//!
//! In such a loop every carried value is the same in all trips, a counter, a sum or an extremum of terms that depend on no
//! other one, what another value was a trip before (a delay), or a list of which a trip touches its own element only, or which it
//! only adds to. Indices of lists are affine in the number of the trip. Everything else stays a loop.
//!
//! A product is no such reduction: its partial products may overflow where those of the loop do not.

use super::{
    choices::straight,
    folds::{Fold, Term, dependants, fold},
    scalar::{Arenas, region, single},
};
use crate::{
    graph::{Args, Builder, Graph, Node, NodeId},
    kernel::{
        Access, Id, Kernel, Lowering, MAX_NODES, Node as KNode, NodeKind, OPEN, ReduceKind, ScalarProgram, Scope,
        Store, Vector,
        plan::{Step, plan},
        vector::{Given, Nan, Next, Origin, Within},
    },
    op::{Lower, OpDef, arith, compare, create, list},
    ty::DType,
};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;
use std::{borrow::Cow, ops::Range};

/// A lowered loop.
pub(super) struct Trips<'g> {
    /// From the arguments of a trip to the carried values after it, then what is recorded.
    pub body: &'g Graph,
    /// The condition, of a loop forwards.
    pub cond: Option<&'g Graph>,
    /// Values of a record that come first among the arguments of a loop backwards, before the number of the trip.
    pub record: usize,
    /// The carried values among the arguments.
    pub carried: Range<usize>,
}

/// What an argument of the body is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The same in all trips.
    Same,
    /// An integer that grows by so much each trip.
    Counter(i64),
    /// The number of the trip.
    Number,
    /// Recorded of the trip, by number.
    Record(usize),
    /// A number that changes.
    Changes,
    /// A list that changes.
    Written,
}

/// Larger strides are left alone.
const FARTHEST: i64 = 1 << 12;

/// The vector form of a loop that has one, if need be with both branches of its choices computed in each trip.
pub(super) fn vector(t: &Trips<'_>) -> Option<Vector> {
    side_by_side(t).or_else(|| {
        let body = &straight(t.body).ok()??;
        side_by_side(&Trips { body, carried: t.carried.clone(), ..*t })
    })
}

/// The body without tests of indices, behind whose results come pairs of an index and what it is to be below; and how many pairs.
fn tested(body: &Graph) -> Option<(Cow<'_, Graph>, usize)> {
    let live = body.live();
    let tests = || body.nodes().filter(|(id, n)| live[id.index()] && n.op.is(&list::WITHIN) && n.op.int(1) == 0);
    if tests().next().is_none() {
        return Some((Cow::Borrowed(body), 0));
    }
    let b = Builder::new();
    let mut map: Vec<Option<NodeId>> = vec![None; body.len()];
    body.inputs().iter().for_each(|i| map[i.index()] = Some(b.input(body.ty(*i))));
    let mut more = Vec::new();
    for (id, n) in body.nodes().filter(|(id, n)| live[id.index()] && !n.op.is(&create::INPUT)) {
        if n.subgraphs().next().is_some() {
            return None;
        }
        let args: Args = n.args.iter().map(|a| map[a.index()]).collect::<Option<_>>()?;
        map[id.index()] = Some(if n.op.is(&list::WITHIN) && n.op.int(1) == 0 {
            more.extend(&args);
            args[0]
        } else {
            b.add(n.op.clone(), &args).ok()?
        });
    }
    let outs = body.outputs().iter().map(|o| map[o.index()]).collect::<Option<Vec<_>>>()?;
    let count = more.len() / 2;
    Some((Cow::Owned(b.finish([outs, more].concat()).ok()?), count))
}

fn side_by_side(t: &Trips<'_>) -> Option<Vector> {
    let results = t.body.outputs().len();
    let (body, tests) = tested(t.body)?;
    let t = &Trips { body: &body, carried: t.carried.clone(), ..*t };
    let g = t.body;
    let roles = roles(t)?;
    let live = g.live();
    let strides = strides(g, &roles);
    let mut m = Maker {
        g,
        strides,
        live,
        roots: FxHashMap::default(),
        kernel: Kernel {
            outer: SmallVec::new(),
            parallel: 0,
            inner: OPEN,
            nodes: Vec::new(),
            stores: Vec::new(),
            buffers: Vec::new(),
        },
        map: vec![None; g.len()],
        current: FxHashMap::default(),
        head: Vec::new(),
        buffers: Vec::new(),
        given: Vec::new(),
        delays: FxHashMap::default(),
        back: t.cond.is_none(),
    };
    m.roots(&roles);
    let modes = m.modes(&roles)?;
    // what depends on a number that changes is a part of its reduction
    let mut folds: Vec<(usize, Fold)> = Vec::new();
    let mut folded: FxHashSet<NodeId> = FxHashSet::default();
    for k in t.carried.clone().filter(|&k| roles[k] == Role::Changes) {
        let at = k - t.carried.start;
        let all = dependants(g, [g.inputs()[k]]);
        if !all.contains(&g.outputs()[at]) {
            m.delays.insert(g.inputs()[k], g.outputs()[at]);
            continue;
        }
        let fold = fold(g, g.inputs()[k], g.outputs()[at], &all)?;
        let others = g.outputs().iter().enumerate().any(|(i, o)| i != at && all.contains(o));
        if others || all.iter().any(|n| folded.contains(n)) {
            return None;
        }
        folded.extend(all);
        folds.push((at, fold));
    }
    let order = m.order()?;
    m.values(&order, &roles, &modes, &folded);
    // what comes of it
    let mut next = vec![Next::Same; t.carried.len()];
    for (i, n) in next.iter_mut().enumerate() {
        if let Role::Counter(by) = roles[t.carried.start + i] {
            *n = Next::Count(by);
        }
    }
    for k in t.carried.clone().filter(|&k| m.delays.contains_key(&g.inputs()[k])) {
        next[k - t.carried.start] = Next::Last(m.map[g.inputs()[k].index()]?);
    }
    let mut extremum = false;
    for (at, fold) in folds {
        let (id, join): (Id, fn(Id, Nan) -> Next) = match fold.kind {
            ReduceKind::Max => (m.extremum(&fold)?, Next::Max),
            ReduceKind::Min => (m.extremum(&fold)?, Next::Min),
            _ => (m.sum(&fold.term, g.ty(g.outputs()[at]).dtype)??, |id, _| Next::Plus(id)),
        };
        extremum |= fold.kind != ReduceKind::Sum;
        let nan = if g.ty(g.outputs()[at]).dtype.is_float() { fold.nan } else { Nan::Wins };
        next[at] = join(m.reduce(fold.kind, id), nan);
    }
    let mut points = Vec::new();
    for k in t.carried.clone().filter(|&k| roles[k] == Role::Written) {
        let out = g.outputs()[k - t.carried.start];
        if m.roots.get(&out) != Some(&k) {
            return None;
        }
        match modes[&k] {
            Mode::Own(index) => {
                let (node, buffer, stride) = (*m.current.get(&out)?, m.list(k, index)?, m.strides[index.index()]?);
                m.store(node, buffer, stride);
            }
            Mode::Added => m.additions(k, &mut points)?,
        }
    }
    let width = results - t.carried.len();
    for (i, &o) in g.outputs()[t.carried.len()..results].iter().enumerate() {
        let node = m.map[o.index()]?;
        let (buffer, stride) = m.record(i, width, g.ty(o).dtype);
        m.store(node, buffer, stride);
    }
    // a zero that is an extremum makes the loop itself run after all, which must find everything as it was
    let named = |s: &Store| matches!(m.buffers[usize::from(s.buffer)], Origin::None);
    let writes = !points.is_empty() || !m.kernel.stores.iter().all(named);
    if m.kernel.stores.is_empty() || extremum && writes || m.kernel.nodes.len() > MAX_NODES / 2 {
        return None;
    }
    let mut within = Vec::with_capacity(tests);
    for pair in g.outputs()[results..].chunks(2) {
        let stride = m.strides[pair[0].index()].filter(|s| s.abs() <= FARTHEST)?;
        m.strides[pair[1].index()].filter(|s| *s == 0)?;
        within.push(Within { index: m.at_first(pair[0]), limit: m.at_first(pair[1]), stride });
    }
    let head = region(&g.clone().with_outputs(m.head.clone()), &vec![false; g.inputs().len()], &mut Arenas::default())?
        .program;
    let limits = match t.cond {
        Some(cond) => limits(cond, &roles)?,
        None => ScalarProgram { inputs: head.inputs.clone(), ..ScalarProgram::default() },
    };
    let mut ops: Vec<&'static str> = Vec::new();
    for (_, n) in g.nodes().filter(|(id, n)| m.live[id.index()] && !n.args.is_empty()) {
        if !ops.contains(&n.op.name()) {
            ops.push(n.op.name());
        }
    }
    let plan = plan(&m.kernel);
    // calls are of blocks of trips, of which one would have to wait for the other
    let computed = |id: Id| {
        plan.stages
            .iter()
            .flat_map(|s| &s.phases)
            .flat_map(|p| &p.steps)
            .any(|s| matches!(*s, Step::Compute(x) if x == id))
    };
    let all = next.iter().all(|n| !matches!(*n, Next::Last(id) if !computed(id)));
    if !m.delays.is_empty() && plan.calls > 0 || !all {
        return None;
    }
    let Maker { kernel, buffers, given, .. } = m;
    Some(Vector { limits, head, kernel, plan, buffers, within, given, next, points, ops })
}

/// What the arguments are; `None` if one is nothing that is known.
fn roles(t: &Trips<'_>) -> Option<Vec<Role>> {
    let g = t.body;
    let of = |(k, &i): (usize, &NodeId)| {
        if t.cond.is_none() && k <= t.record {
            return Some(if k < t.record { Role::Record(k) } else { Role::Number });
        }
        if !t.carried.contains(&k) || g.outputs()[k - t.carried.start] == i {
            return Some(Role::Same);
        }
        let out = g.node(g.outputs()[k - t.carried.start]);
        if out.ty.is_list() {
            return Some(Role::Written);
        }
        if out.ty.numel() != 1 {
            return None;
        }
        if out.op.is(&arith::ADD) && out.ty.dtype == DType::I64 && out.args.contains(&i) {
            let by = g.node(if out.args[0] == i { out.args[1] } else { out.args[0] });
            if by.op.is(&create::CONST) {
                return Some(Role::Counter(by.op.bits(1).cast_signed()));
            }
        }
        Some(Role::Changes)
    };
    g.inputs().iter().enumerate().map(of).collect()
}

/// By how much each value grows from one trip to the next, where that is known without running: integers that are affine
/// in the number of the trip, and what depends on nothing that changes. All of it can be computed before the loop.
fn strides(g: &Graph, roles: &[Role]) -> Vec<Option<i64>> {
    let mut all: Vec<Option<i64>> = vec![None; g.len()];
    for (id, n) in g.nodes() {
        let of = |i: usize| all[n.args[i].index()];
        let same = || n.args.iter().all(|a| all[a.index()] == Some(0)).then_some(0);
        let integer = n.ty.dtype == DType::I64;
        all[id.index()] = match n.op.def.lower {
            _ if n.op.is(&create::INPUT) => match roles[n.op.int(0) as usize] {
                Role::Same => Some(0),
                Role::Counter(by) => Some(by),
                Role::Number => Some(1),
                _ => None,
            },
            _ if n.op.is(&list::LEN) => Some(0).filter(|_| g.node(n.args[0]).op.is(&create::INPUT)),
            Lower::Const => Some(0),
            _ if n.ty.is_list() || n.ty.numel() != 1 => None,
            Lower::View(_) => of(0),
            Lower::Inline(_) if integer && n.op.is(&arith::ADD) => of(0).zip(of(1)).and_then(|(a, b)| a.checked_add(b)),
            Lower::Inline(_) if integer && n.op.is(&arith::SUB) => of(0).zip(of(1)).and_then(|(a, b)| a.checked_sub(b)),
            Lower::Inline(_) if integer && n.op.is(&arith::MUL) && same().is_none() => {
                let by = |i: usize| {
                    let n = g.node(n.args[i]);
                    n.op.is(&create::CONST).then(|| n.op.bits(1).cast_signed())
                };
                let (a, b) = (of(0).zip(by(1)), of(1).zip(by(0)));
                a.or(b).and_then(|(s, c)| s.checked_mul(c))
            }
            Lower::Inline(_) => same(),
            _ => None,
        };
    }
    all
}

/// The condition, if it is that counters stay below what is the same in all trips: each at first, and that number.
fn limits(cond: &Graph, roles: &[Role]) -> Option<ScalarProgram> {
    let strides = strides(cond, roles);
    let mut pairs = Vec::new();
    let mut todo = vec![cond.outputs()[0]];
    while let Some(id) = todo.pop() {
        let n = cond.node(id);
        if n.op.is(&compare::AND) {
            todo.extend(&n.args);
            continue;
        }
        let (a, b) = match () {
            () if n.op.is(&compare::LT) => (n.args[0], n.args[1]),
            () if n.op.is(&compare::GT) => (n.args[1], n.args[0]),
            () => return None,
        };
        if strides[a.index()] != Some(1) || strides[b.index()] != Some(0) || cond.ty(a).dtype != DType::I64 {
            return None;
        }
        pairs.extend([a, b]);
    }
    Some(region(&cond.clone().with_outputs(pairs), &vec![false; roles.len()], &mut Arenas::default())?.program)
}

/// What a loop does with a list that it changes.
#[derive(Clone, Copy)]
enum Mode {
    /// A trip reads and writes one element, at this index, which no other trip does.
    Own(NodeId),
    /// Trips only add to elements; each addition is one after the other.
    Added,
}

/// Builds the kernel.
struct Maker<'g> {
    g: &'g Graph,
    live: Vec<bool>,
    strides: Vec<Option<i64>>,
    /// The argument that a list is, before or after writes.
    roots: FxHashMap<NodeId, usize>,
    kernel: Kernel,
    map: Vec<Option<Id>>,
    /// The trip's own element of each state of a list.
    current: FxHashMap<NodeId, Id>,
    head: Vec<NodeId>,
    buffers: Vec<Origin>,
    given: Vec<(Id, Given)>,
    /// Numbers that are what another value was a trip before, and that value.
    delays: FxHashMap<NodeId, NodeId>,
    /// Whether the loop runs from the last trip to the first.
    back: bool,
}

/// Whether it changes an element of a list.
pub(super) fn is_write(n: &Node) -> bool {
    n.op.is(&list::SET) || n.op.is(&list::ADD)
}
/// Whether it reads or changes one.
pub(super) fn is_access(n: &Node) -> bool {
    n.op.is(&list::GET) || is_write(n)
}
fn access(stride: i64) -> Access {
    Access { offset: 0, outer: SmallVec::new(), inner: stride }
}

impl Maker<'_> {
    fn roots(&mut self, roles: &[Role]) {
        for (id, n) in self.g.nodes().filter(|(_, n)| n.ty.is_list()) {
            if n.op.is(&create::INPUT) {
                self.roots.insert(id, n.op.int(0) as usize);
            } else if is_write(n)
                && let Some(&root) = self.roots.get(&n.args[0])
                && roles[root] == Role::Written
            {
                self.roots.insert(id, root);
            }
        }
    }
    /// What happens to each list that changes.
    fn modes(&self, roles: &[Role]) -> Option<FxHashMap<usize, Mode>> {
        let mut modes = FxHashMap::default();
        for k in (0..roles.len()).filter(|&k| roles[k] == Role::Written) {
            let of = |(id, n): &(NodeId, &Node)| {
                self.live[id.index()] && is_access(n) && self.roots.get(&n.args[0]) == Some(&k)
            };
            let touched: Vec<&Node> = self.g.nodes().filter(of).map(|(_, n)| n).collect();
            let index = touched.first()?.args[1];
            let own = touched.iter().all(|n| n.args[1] == index) && self.strides[index.index()].is_some_and(|s| s != 0);
            let added = touched.iter().all(|n| n.op.is(&list::ADD));
            modes.insert(
                k,
                match () {
                    () if own => Mode::Own(index),
                    () if added => Mode::Added,
                    () => return None,
                },
            );
        }
        // any other list that is made is none of ours
        let known =
            |(id, n): (NodeId, &Node)| !self.live[id.index()] || !n.ty.is_list() || self.roots.contains_key(&id);
        self.g.nodes().all(known).then_some(modes)
    }

    fn push(&mut self, kind: NodeKind, dtype: DType) -> Id {
        self.kernel.nodes.push(KNode { kind, dtype });
        self.kernel.nodes.len() as Id - 1
    }
    /// An inline operation on values of one type.
    fn inline(&mut self, def: &'static OpDef, args: &[Id], dtype: DType) -> Option<Id> {
        let Lower::Inline(f) = def.lower else { return None };
        Some(self.push(NodeKind::Elementwise { lowering: Lowering::Inline(f), args: args.into() }, dtype))
    }
    fn given(&mut self, dtype: DType, by: Given) -> Id {
        let buffer = self.buffer(Origin::None, dtype);
        let id = self.push(NodeKind::Load { buffer, access: access(0) }, dtype);
        self.given.push((id, by));
        id
    }
    fn buffer(&mut self, origin: Origin, dtype: DType) -> u16 {
        self.buffers.push(origin);
        self.kernel.buffers.push(dtype);
        (self.buffers.len() - 1) as u16
    }
    /// The number of a result of the head.
    fn at_first(&mut self, x: NodeId) -> usize {
        self.head.iter().position(|&h| h == x).unwrap_or_else(|| {
            self.head.push(x);
            self.head.len() - 1
        })
    }
    /// The buffer of a list from an index on.
    fn list(&mut self, k: usize, index: NodeId) -> Option<u16> {
        let stride = self.strides[index.index()].filter(|s| s.abs() <= FARTHEST)?;
        let first = self.at_first(index);
        let same = |o: &Origin| matches!(*o, Origin::List { list, index, .. } if list == k && index == first);
        if let Some(at) = self.buffers.iter().position(same) {
            return Some(at as u16);
        }
        let dtype = self.g.ty(self.g.inputs()[k]).dtype;
        Some(self.buffer(Origin::List { list: k, index: first, stride }, dtype))
    }
    /// The buffer of a value of a record of so many, and its stride.
    fn record(&mut self, k: usize, width: usize, dtype: DType) -> (u16, i64) {
        let words = 8 / crate::kernel::size_of(dtype);
        (self.buffer(Origin::Record(k), dtype), (width * words) as i64)
    }
    fn element(&mut self, k: usize, index: NodeId) -> Option<Id> {
        let buffer = self.list(k, index)?;
        let stride = self.strides[index.index()]?;
        let kind = NodeKind::Load { buffer, access: access(stride) };
        let same = |n: &KNode| matches!(n.kind, NodeKind::Load { buffer: b, .. } if b == buffer);
        match self.kernel.nodes.iter().position(same) {
            Some(at) => Some(at as Id),
            None => Some(self.push(kind, self.kernel.buffers[usize::from(buffer)])),
        }
    }
    fn store(&mut self, node: Id, buffer: u16, stride: i64) {
        self.kernel.stores.push(Store { node, buffer, access: access(stride) });
    }
    /// A reduction over all trips, stored by name.
    fn reduce(&mut self, kind: ReduceKind, arg: Id) -> Id {
        let dtype = self.kernel.nodes[arg as usize].dtype;
        let id = self.push(NodeKind::Reduce { kind, arg, scope: Scope::Inner }, dtype);
        let buffer = self.buffer(Origin::None, dtype);
        self.store(id, buffer, 0);
        id
    }

    /// An order in which what is delayed comes first; none if something is delayed of itself, a recurrence.
    fn order(&self) -> Option<Vec<NodeId>> {
        let (g, mut order) = (self.g, Vec::with_capacity(self.g.len()));
        if self.delays.is_empty() {
            order.extend(g.nodes().map(|(id, _)| id));
            return Some(order);
        }
        // of each node whether what it needs is under way, or there
        let mut found: Vec<Option<bool>> = vec![None; g.len()];
        for (id, _) in g.nodes() {
            let mut todo = vec![id];
            while let Some(&id) = todo.last() {
                let needs = || g.node(id).args.iter().chain(self.delays.get(&id)).copied();
                match found[id.index()] {
                    None => {
                        found[id.index()] = Some(false);
                        if needs().any(|x| found[x.index()] == Some(false)) {
                            return None;
                        }
                        todo.extend(needs().filter(|x| found[x.index()].is_none()));
                    }
                    Some(there) => {
                        todo.pop();
                        if !there {
                            found[id.index()] = Some(true);
                            order.push(id);
                        }
                    }
                }
            }
        }
        Some(order)
    }

    /// Translates all values that can be; those in `folded` are none.
    fn values(&mut self, order: &[NodeId], roles: &[Role], modes: &FxHashMap<usize, Mode>, folded: &FxHashSet<NodeId>) {
        let records = roles.iter().filter(|r| matches!(r, Role::Record(_))).count();
        let g = self.g;
        for &id in order {
            let n = g.node(id);
            if !self.live[id.index()] || folded.contains(&id) {
                continue;
            }
            if n.ty.is_list() {
                self.state(id, n, modes);
            } else if n.ty.numel() == 1 {
                self.map[id.index()] = self.value(id, n, roles, records);
            }
        }
    }
    /// The own element of a list that a trip has its own element of.
    fn state(&mut self, id: NodeId, n: &Node, modes: &FxHashMap<usize, Mode>) {
        let Some((&k, &Mode::Own(index))) = self.roots.get(&id).and_then(|k| modes.get_key_value(k)) else { return };
        let now = if n.op.is(&create::INPUT) {
            self.element(k, index)
        } else {
            let (before, v) = (self.current.get(&n.args[0]).copied(), self.map[n.args[2].index()]);
            if n.op.is(&list::SET) {
                v
            } else {
                before.zip(v).and_then(|(b, v)| self.inline(&arith::ADD, &[b, v], n.ty.dtype))
            }
        };
        if let Some(now) = now {
            self.current.insert(id, now);
        }
    }
    fn value(&mut self, id: NodeId, n: &Node, roles: &[Role], records: usize) -> Option<Id> {
        let dtype = n.ty.dtype;
        let iota = |by: i64| NodeKind::Iota { access: access(by) };
        if n.op.is(&create::INPUT) {
            let k = n.op.int(0) as usize;
            return match roles[k] {
                Role::Same => Some(self.given(dtype, Given::Argument(k))),
                Role::Number => Some(self.push(iota(1), dtype)),
                Role::Counter(by) if by.abs() <= FARTHEST => {
                    let (first, moved) = (self.given(dtype, Given::Argument(k)), self.push(iota(by), dtype));
                    self.inline(&arith::ADD, &[first, moved], dtype)
                }
                Role::Record(i) => {
                    let (buffer, stride) = self.record(i, records, dtype);
                    Some(self.push(NodeKind::Load { buffer, access: access(stride) }, dtype))
                }
                Role::Changes => {
                    let of = self.map[self.delays.get(&id)?.index()]?;
                    let first = self.given(dtype, Given::Argument(k));
                    Some(self.push(NodeKind::Delay { args: [of, first], back: self.back }, dtype))
                }
                _ => None,
            };
        }
        if n.op.is(&list::GET) {
            return match self.current.get(&n.args[0]) {
                Some(&now) => Some(now),
                None if self.g.node(n.args[0]).op.is(&create::INPUT) => {
                    self.element(*self.roots.get(&n.args[0])?, n.args[1])
                }
                None => None,
            };
        }
        if n.op.is(&list::LEN) {
            self.strides[id.index()]?;
            let at = self.at_first(id);
            return Some(self.given(dtype, Given::Head(at)));
        }
        let args: SmallVec<[Id; 3]> = n.args.iter().map(|a| self.map[a.index()]).collect::<Option<_>>()?;
        match n.op.def.lower {
            Lower::View(_) | Lower::Reduce(_) => Some(args[0]),
            _ => single(n, args).map(|kind| self.push(kind, dtype)),
        }
    }

    /// What a trip adds to a sum; none if that is nothing.
    fn sum(&mut self, term: &Term, dtype: DType) -> Option<Option<Id>> {
        Some(match term {
            Term::Nothing => None,
            Term::And(rest, x, minus) => {
                let (rest, x) = (self.sum(rest, dtype)?, self.map[x.index()]?);
                let def = if *minus { &arith::SUB } else { &arith::ADD };
                match rest {
                    Some(rest) => Some(self.inline(def, &[rest, x], dtype)?),
                    None if *minus => Some(self.inline(&arith::NEG, &[x], dtype)?),
                    None => Some(x),
                }
            }
            Term::Either(c, both) => {
                let c = self.map[c.index()]?;
                // −0 is nothing: it leaves a −0 as it is
                let bits = create::constant(dtype, -0.0).bits(1);
                let [a, b] = [self.sum(&both[0], dtype)?, self.sum(&both[1], dtype)?]
                    .map(|x| x.unwrap_or_else(|| self.push(NodeKind::Const { bits }, dtype)));
                Some(self.inline(&compare::SELECT, &[c, a, b], dtype)?)
            }
        })
    }
    /// The term of a trip; one that is NaN and loses is what is never taken.
    fn extremum(&mut self, fold: &Fold) -> Option<Id> {
        let term = fold.single()?;
        let (x, dtype) = (self.map[term.index()]?, self.g.ty(term).dtype);
        if fold.nan == Nan::Wins || !dtype.is_float() {
            return Some(x);
        }
        let bits = crate::kernel::identity(fold.kind, dtype);
        let never = self.push(NodeKind::Const { bits }, dtype);
        let nan = self.inline(&compare::IS_NAN, &[x], DType::Bool)?;
        self.inline(&compare::SELECT, &[nan, never, x], dtype)
    }
    /// Additions to a list that nothing else is done with.
    fn additions(&mut self, k: usize, points: &mut Vec<(u16, Id)>) -> Option<()> {
        let of = |(id, n): &(NodeId, &Node)| {
            self.live[id.index()] && n.op.is(&list::ADD) && self.roots.get(&n.args[0]) == Some(&k)
        };
        let all: Vec<(NodeId, NodeId)> = self.g.nodes().filter(of).map(|(_, n)| (n.args[1], n.args[2])).collect();
        for (index, value) in all {
            let (x, buffer, stride) = (self.map[value.index()]?, self.list(k, index)?, self.strides[index.index()]?);
            let dtype = self.g.ty(value).dtype;
            if stride == 0 {
                let id = self.reduce(ReduceKind::Sum, x);
                points.push((buffer, id));
            } else {
                let kind = NodeKind::Reduce { kind: ReduceKind::Sum, arg: x, scope: Scope::Outer };
                let id = self.push(kind, dtype);
                self.store(id, buffer, stride);
            }
        }
        Some(())
    }
}
