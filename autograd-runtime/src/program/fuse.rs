//! Fusion: which nodes are computed together. An optimised graph becomes a list of steps, each one kernel
//! over one iteration domain, one matrix product, or one library call.
//!
//! Nodes are cheap (constants, inline arithmetic, views) or **anchors** (calls of elementary functions,
//! reductions, results of other steps, operands of those, outputs). A cheap node is computed again wherever
//! it is needed. An anchor belongs to one group; it is kept in registers for users in the same group that
//! read it element by element, and stored for all others.
//!
//! Groups have a level: one more than whatever has to be stored before they can run. All anchors of one level
//! and one domain are one kernel, related or not, so that inputs are read once. Levels rise along every edge
//! through memory, so the order by level is an order to run in, and no cycle can arise.
//!
//! Invariant: every node that a step loads is stored by a step of a lower level, or is an input.

use crate::{
    error::{Error, Result},
    graph::{Graph, Node, NodeId},
    kernel::{Access, Kernel, Lowering, Node as KNode, NodeKind, ReduceKind, Scope, Store},
    op::{Affine, Lower, Op, control, create, views},
    pass::is_elementwise,
    ty::{DType, Shape, Ty},
};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

/// Larger cheap expressions are stored rather than computed again.
const CHEAP: u32 = 40;
/// A kernel with more anchors than this is split: very large functions compile super-linearly.
const GROUP_LIMIT: usize = 160;
/// And one with more nodes in its expressions, loads not counted, than this: below half of what a kernel may
/// have, since each node reads at most as many leaves as there are nodes.
const NODE_LIMIT: u32 = 1500;

/// A matrix operand or result: a stored value read with these strides over its axes.
#[derive(Clone, Debug)]
pub struct Operand {
    /// The stored node.
    pub node: NodeId,
    /// The element at the origin.
    pub offset: i64,
    /// The step of each axis of the operand.
    pub strides: SmallVec<[i64; 4]>,
}

/// One thing that a program does.
pub enum StepKind {
    /// A fused loop nest; slot `i` of its buffers is node `slots[i]`.
    Kernel {
        /// What it computes.
        kernel: Kernel,
        /// The stored nodes it reads and writes.
        slots: Vec<NodeId>,
        /// Names of the operations fused, for `explain`.
        ops: Vec<&'static str>,
    },
    /// A (batched) matrix product.
    MatMul {
        /// Left operand.
        a: Operand,
        /// Right operand.
        b: Operand,
        /// Extents: batches, then m, k, n.
        batch: Shape,
        /// Rows, inner extent, columns.
        mkn: [usize; 3],
        /// The node that is stored.
        out: NodeId,
    },
    /// A choice or loop, over stored values, with programs of its own.
    Flow {
        /// The operation.
        op: Op,
        /// The node.
        node: NodeId,
        /// Its stored arguments.
        args: Vec<NodeId>,
        /// The results that are read: number and the node that is stored.
        outs: Vec<(usize, NodeId)>,
    },
    /// An operation evaluated on stored values.
    Library {
        /// The operation.
        op: Op,
        /// Its stored arguments.
        args: Vec<NodeId>,
        /// The node that is stored.
        out: NodeId,
    },
}

/// The steps of a graph, in the order they run.
pub struct Fused {
    /// What is done.
    pub steps: Vec<StepKind>,
    /// For nodes that only rename another stored node (a reshape of a whole value): that node.
    pub alias: FxHashMap<NodeId, NodeId>,
}

/// What an index map of a value is over: one function of the domain's indices for each of its axes.
type Map = SmallVec<[Affine; 4]>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Class {
    Input,
    /// Constants, iotas, inline arithmetic and views.
    Cheap,
    /// A call of an elementary function.
    Call,
    Reduce,
    /// Made by a step of its own.
    Step,
    /// A reshape that has no index map: another name of its argument, which is stored.
    Alias,
    /// A result of a step with several, which stores it.
    Result,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Level {
    Full,
    Row,
}

struct Group {
    level: u32,
    domain: Shape,
    /// Domain axes that Outer and All reductions run over.
    reduced: Option<SmallVec<[usize; 4]>>,
    inner_reduction: bool,
    members: Vec<NodeId>,
    /// Nodes in the members' expressions, at the most.
    size: u32,
}

struct Fuser<'g> {
    g: &'g Graph,
    class: Vec<Option<Class>>,
    anchor: Vec<bool>,
    /// Nodes in the expression of each node, up to other anchors.
    size: Vec<u32>,
    /// For anchors in groups.
    group: FxHashMap<NodeId, (usize, Level)>,
    /// For results of steps.
    step_level: FxHashMap<NodeId, u32>,
    groups: Vec<Group>,
    stored: FxHashSet<NodeId>,
    alias: FxHashMap<NodeId, NodeId>,
}

/// Groups the nodes of an optimised graph.
///
/// # Errors
/// A view without an index map, by name.
pub fn fuse(g: &Graph) -> Result<Fused> {
    let mut f = Fuser::new(g)?;
    let mut steps: Vec<(u32, StepKind)> = Vec::new();
    for (id, n) in g.nodes() {
        match f.class[id.index()] {
            None | Some(Class::Input) => {}
            Some(Class::Step) => {
                let (level, step) = f.step(id, n)?;
                f.step_level.insert(id, level);
                steps.push((level, step));
            }
            Some(Class::Alias | Class::Result) => {
                let level = f.level_of_stored(n.args[0]);
                f.step_level.insert(id, level);
            }
            _ if f.anchor[id.index()] => f.assign(id),
            _ => {}
        }
    }
    // what one group loads from another has to be stored: found while kernels are emitted, so two rounds
    let order: Vec<usize> = (0..f.groups.len()).collect();
    let mut needed: Vec<FxHashSet<NodeId>> = Vec::new();
    for &i in &order {
        needed.push(f.loads_of(i));
    }
    needed.into_iter().for_each(|n| f.stored.extend(n));
    for i in order {
        if let Some(step) = f.emit(i)? {
            steps.push((f.groups[i].level, step));
        }
    }
    steps.sort_by_key(|s| s.0);
    Ok(Fused { steps: steps.into_iter().map(|s| s.1).collect(), alias: f.alias })
}

/// The axes of extent other than 1.
fn wide(shape: &[usize]) -> Shape {
    shape.iter().copied().filter(|&n| n != 1).collect()
}

/// The index map under which a value is read element by element over a domain that has its wide axes first.
fn aligned(shape: &[usize], rank: usize) -> Map {
    let mut d = 0;
    shape
        .iter()
        .map(|&n| {
            if n == 1 {
                Affine::constant(0, rank)
            } else {
                d += 1;
                Affine::axis(d - 1, rank, 0, 1)
            }
        })
        .collect()
}

/// An index map with the indices of unit axes set to 0, so that equal maps compare equal.
fn canonical(mut map: Map, shape: &[usize]) -> Map {
    for (a, &n) in map.iter_mut().zip(shape) {
        if n == 1 {
            *a = Affine::constant(0, a.coef.len());
        }
    }
    map
}

/// Where argument `i` of an elementwise node is read when the node is read through `map`.
fn argument_map(map: &Map, out: &Ty, arg: &Ty) -> Map {
    let lead = out.rank() - arg.rank();
    canonical(map[lead..].iter().cloned().collect(), &arg.shape)
}

impl<'g> Fuser<'g> {
    fn new(g: &'g Graph) -> Result<Self> {
        let live = g.live();
        let mut class = vec![None; g.len()];
        for (id, n) in g.nodes().filter(|(id, _)| live[id.index()]) {
            class[id.index()] = Some(match &n.op.def.lower {
                _ if n.op.is(&create::INPUT) => Class::Input,
                Lower::Const | Lower::Iota | Lower::Inline(_) => Class::Cheap,
                Lower::View(f) => match f(&n.op, g.ty(n.args[0]), &n.ty) {
                    Some(_) => Class::Cheap,
                    None if n.op.is(&views::RESHAPE) => Class::Alias,
                    None => return Err(Error::Compile(format!("{} has no index map", n.op.name()))),
                },
                Lower::Unary(_) | Lower::Binary(_) | Lower::Powi => Class::Call,
                Lower::Reduce(_) => Class::Reduce,
                Lower::MatMul => Class::Step,
                Lower::Library if n.op.is(&control::PROJ) => Class::Result,
                Lower::Library => Class::Step,
            });
        }
        let mut f = Fuser {
            g,
            anchor: vec![false; g.len()],
            size: vec![0; g.len()],
            class,
            group: FxHashMap::default(),
            step_level: FxHashMap::default(),
            groups: Vec::new(),
            stored: FxHashSet::default(),
            alias: FxHashMap::default(),
        };
        f.mark(&live);
        Ok(f)
    }

    /// Decides which nodes are anchors and which of them are stored whatever their users do.
    fn mark(&mut self, live: &[bool]) {
        let g = self.g;
        for (id, n) in g.nodes().filter(|(id, _)| live[id.index()]) {
            match self.class[id.index()] {
                Some(Class::Call | Class::Reduce) => self.anchor[id.index()] = true,
                Some(Class::Step) => {
                    for &a in &n.args {
                        // the matrix product reads through views, a library call needs the value itself
                        let base = if matches!(n.op.def.lower, Lower::MatMul) { self.view_base(a) } else { a };
                        self.store(base);
                    }
                    self.stored.insert(id);
                }
                Some(Class::Alias) => {
                    self.store(n.args[0]);
                    self.alias.insert(id, n.args[0]);
                    self.stored.insert(id);
                }
                Some(Class::Result) => drop(self.stored.insert(id)),
                _ => {}
            }
        }
        for &o in g.outputs() {
            // a stored value under another shape needs no copy
            let n = g.node(o);
            let renamed = n.op.is(&views::RESHAPE) && self.class[o.index()] == Some(Class::Cheap);
            if renamed
                && matches!(
                    self.class[n.args[0].index()],
                    Some(Class::Call | Class::Reduce | Class::Step | Class::Result)
                )
            {
                self.class[o.index()] = Some(Class::Alias);
                self.alias.insert(o, n.args[0]);
                self.stored.insert(o);
                self.store(n.args[0]);
            } else {
                self.store(o);
            }
        }
        // cheap expressions that have grown too large to be computed again
        for (id, n) in g.nodes().filter(|(id, _)| live[id.index()]) {
            let again = |a: &NodeId| self.class[a.index()] == Some(Class::Cheap) && !self.anchor[a.index()];
            let of = |a: &NodeId| if again(a) { self.size[a.index()] } else { 0 };
            let s = n.args.iter().map(of).fold(1, u32::saturating_add);
            self.size[id.index()] = s;
            if s > CHEAP && self.class[id.index()] == Some(Class::Cheap) && is_elementwise(&n.op) {
                self.anchor[id.index()] = true;
            }
        }
    }
    fn store(&mut self, id: NodeId) {
        if self.stored.insert(id) && matches!(self.class[id.index()], Some(Class::Cheap)) {
            self.anchor[id.index()] = true;
        }
    }
    /// The value behind a chain of views with index maps that is worth storing in their place.
    fn view_base(&self, mut id: NodeId) -> NodeId {
        let top = id;
        loop {
            let n = self.g.node(id);
            if !matches!(n.op.def.lower, Lower::View(_)) || self.class[id.index()] != Some(Class::Cheap) {
                // storing a constant or a small tensor that was expanded gives the product its strides
                return if matches!(n.op.def.lower, Lower::Const | Lower::Iota) { top } else { id };
            }
            id = n.args[0];
        }
    }
    /// The level of the step that stores a node; inputs are there from the start.
    fn level_of_stored(&self, id: NodeId) -> u32 {
        if self.class[id.index()] == Some(Class::Input) {
            return 0;
        }
        let of_group = || self.group.get(&id).map(|g| self.groups[g.0].level);
        self.step_level.get(&id).copied().or_else(of_group).unwrap_or(0)
    }

    fn step(&mut self, id: NodeId, n: &Node) -> Result<(u32, StepKind)> {
        let g = self.g;
        if !matches!(n.op.def.lower, Lower::MatMul) {
            let level = n.args.iter().map(|&a| self.level_of_stored(a) + 1).max().unwrap_or(1);
            if control::is_control(&n.op) {
                let read = g.users(id).filter(|(u, _)| self.class[u.index()] == Some(Class::Result));
                let outs = read.map(|(u, _)| (g.node(u).op.int(0) as usize, u)).collect();
                return Ok((level, StepKind::Flow { op: n.op.clone(), node: id, args: n.args.to_vec(), outs }));
            }
            return Ok((level, StepKind::Library { op: n.op.clone(), args: n.args.to_vec(), out: id }));
        }
        let (a, b) = (self.operand(n.args[0])?, self.operand(n.args[1])?);
        let level = 1 + self.level_of_stored(a.node).max(self.level_of_stored(b.node));
        let rank = n.ty.rank();
        let mkn = [n.ty.shape[rank - 2], g.ty(n.args[0]).shape[rank - 1], n.ty.shape[rank - 1]];
        Ok((level, StepKind::MatMul { a, b, batch: n.ty.shape[..rank - 2].into(), mkn, out: id }))
    }
    fn operand(&self, id: NodeId) -> Result<Operand> {
        let ty = self.g.ty(id);
        let rank = ty.rank();
        let mut map: Map = (0..rank).map(|d| Affine::axis(d, rank, 0, 1)).collect();
        let (mut at, base) = (id, self.view_base(id));
        while at != base {
            let n = self.g.node(at);
            let Lower::View(f) = n.op.def.lower else {
                return Err(Error::Compile(format!("bug: {} among views", n.op.name())));
            };
            let inner = f(&n.op, self.g.ty(n.args[0]), &n.ty).expect("cheap views have maps");
            map = inner.iter().map(|a| a.compose(&map)).collect();
            at = n.args[0];
        }
        let (offset, strides) = linear(&map, &self.g.ty(base).shape, rank);
        Ok(Operand { node: base, offset, strides })
    }

    /// Calls `visit` for each anchor, stored node or input that an expression reads, with the index map it
    /// is read through; goes through cheap nodes, each pair of node and map once.
    fn reads(&self, start: Vec<(NodeId, Map)>, mut visit: impl FnMut(NodeId, &Map)) {
        let mut seen: FxHashSet<(NodeId, Map)> = FxHashSet::default();
        let mut todo = start;
        while let Some((id, map)) = todo.pop() {
            if !seen.insert((id, map.clone())) {
                continue;
            }
            let cheap = self.class[id.index()] == Some(Class::Cheap) && !self.anchor[id.index()];
            if !cheap {
                visit(id, &map);
                continue;
            }
            todo.extend(self.arguments(id, &map));
        }
    }
    /// Arguments of a node with the maps they are read through; for reductions over their own domain.
    fn arguments(&self, id: NodeId, map: &Map) -> Vec<(NodeId, Map)> {
        let n = self.g.node(id);
        let view = |f: crate::op::ViewFn| {
            let arg = self.g.ty(n.args[0]);
            let inner = f(&n.op, arg, &n.ty).expect("cheap views have maps");
            vec![(n.args[0], canonical(inner.iter().map(|a| compose(a, map)).collect(), &arg.shape))]
        };
        match n.op.def.lower {
            Lower::View(f) => view(f),
            _ => n.args.iter().map(|&a| (a, argument_map(map, &n.ty, self.g.ty(a)))).collect(),
        }
    }

    /// The domain an anchor is computed over, and the map under which it reads its arguments there.
    fn domain(&self, id: NodeId) -> Shape {
        let n = self.g.node(id);
        match n.op.def.lower {
            Lower::Reduce(_) => wide(&self.g.ty(n.args[0]).shape),
            _ => wide(&n.ty.shape),
        }
    }
    /// The reduced domain axes of a reduction.
    fn reduced_axes(&self, id: NodeId) -> SmallVec<[usize; 4]> {
        let n = self.g.node(id);
        let shape = &self.g.ty(n.args[0]).shape;
        let dims = n.op.dims(0);
        (0..shape.len()).filter(|&d| shape[d] != 1).enumerate().filter(|(_, d)| dims.contains(d)).map(|p| p.0).collect()
    }
    fn scope(&self, id: NodeId) -> Scope {
        let (axes, rank) = (self.reduced_axes(id), self.domain(id).len());
        if axes.len() == rank {
            // one axis in all: a sum over a vector is done like any other whole sum
            Scope::All
        } else if axes.as_slice() == [rank - 1] {
            Scope::Inner
        } else {
            Scope::Outer
        }
    }
    /// The map under which a member of a group is read element by element over the group's domain.
    fn member_map(&self, id: NodeId, rank: usize) -> Map {
        aligned(&self.g.ty(id).shape, rank)
    }
    /// What a member reads, over a domain of this rank.
    fn member_arguments(&self, id: NodeId, rank: usize) -> Vec<(NodeId, Map)> {
        let n = self.g.node(id);
        match n.op.def.lower {
            Lower::Reduce(_) => vec![(n.args[0], aligned(&self.g.ty(n.args[0]).shape, rank))],
            _ => self.arguments(id, &self.member_map(id, rank)),
        }
    }
    /// Whether a read of an anchor in a group's own kernel can use the value at hand.
    fn in_registers(&self, id: NodeId, map: &Map, group: usize) -> bool {
        let Some(&(g, level)) = self.group.get(&id) else { return false };
        if g != group {
            return false;
        }
        let n = self.g.node(id);
        let rank = self.groups[group].domain.len();
        if let Lower::Reduce(_) = n.op.def.lower {
            // read along the rows that remain: the reduced axis has extent 1 in its result
            return self.scope(id) == Scope::Inner && *map == self.row_map(id, rank);
        }
        match level {
            Level::Full => *map == self.member_map(id, rank),
            Level::Row => *map == self.row_map(id, rank),
        }
    }
    /// The map of a row-level value: its wide axes are the domain's but the last.
    fn row_map(&self, id: NodeId, rank: usize) -> Map {
        aligned(&self.g.ty(id).shape, rank)
    }

    /// Puts an anchor into a group.
    fn assign(&mut self, id: NodeId) {
        let own = self.domain(id);
        let is_reduce = self.class[id.index()] == Some(Class::Reduce);
        let scope = is_reduce.then(|| self.scope(id));
        // a value of one element a row of some group's domain, made from its row sums, joins that group
        let mut hosts: Vec<usize> = Vec::new();
        if !is_reduce {
            self.reads(self.member_arguments(id, own.len()), |d, _| {
                if let Some(&(g, _)) = self.group.get(&d) {
                    let dom = &self.groups[g].domain;
                    let row = self.is_row_level(d);
                    // a kernel over no elements is left to its sums alone: values of its rows came out wrong
                    if row && dom.len() == own.len() + 1 && dom[..own.len()] == own[..] && !dom.contains(&0) {
                        hosts.push(g);
                    }
                }
            });
        }
        let row_domain = hosts.iter().max_by_key(|&&g| self.groups[g].level).map(|&g| self.groups[g].domain.clone());
        let (domain, level) = match row_domain {
            Some(d) => (d, Level::Row),
            None => (own, Level::Full),
        };
        let rank = domain.len();
        let reduced = matches!(scope, Some(Scope::Outer | Scope::All)).then(|| self.reduced_axes(id));
        // All reductions leave no kept axis; those of an Outer one must agree with the group's
        let mut at = 0;
        let mut joinable: Vec<(usize, bool)> = Vec::new();
        self.reads(self.member_arguments(id, rank), |d, map| {
            if let Some(&(g, _)) = self.group.get(&d) {
                let same = self.groups[g].domain == domain && self.in_registers(d, map, g);
                joinable.push((g, same));
            } else {
                let input = self.class[d.index()] == Some(Class::Input);
                at = at.max(if input { 0 } else { self.level_of_stored(d) + 1 });
            }
        });
        for &(g, same) in &joinable {
            at = at.max(self.groups[g].level + u32::from(!same));
        }
        loop {
            let fits = |g: &Group| {
                g.level == at
                    && g.domain == domain
                    && g.members.len() < GROUP_LIMIT
                    && g.size + self.size[id.index()] <= NODE_LIMIT
                    && (reduced.is_none() || g.reduced.is_none() || compatible(&g.reduced, &reduced, rank))
            };
            let found = self.groups.iter().position(fits);
            // anchors of this level in another group of it have to be stored first
            let clash = joinable.iter().any(|&(g, _)| self.groups[g].level == at && Some(g) != found);
            if clash {
                at += 1;
                continue;
            }
            let i = found.unwrap_or_else(|| {
                self.groups.push(Group {
                    level: at,
                    domain: domain.clone(),
                    reduced: None,
                    inner_reduction: false,
                    members: Vec::new(),
                    size: 0,
                });
                self.groups.len() - 1
            });
            let group = &mut self.groups[i];
            group.members.push(id);
            group.size += self.size[id.index()];
            group.inner_reduction |= scope == Some(Scope::Inner);
            if let Some(r) = reduced {
                // the narrower set: an All reduction accumulates over whatever rows there are
                let keep = group.reduced.take().filter(|old| old.len() < r.len());
                group.reduced = Some(keep.unwrap_or(r));
            }
            self.group.insert(id, (i, level));
            return;
        }
    }
    fn is_row_level(&self, id: NodeId) -> bool {
        match self.class[id.index()] {
            Some(Class::Reduce) => self.scope(id) == Scope::Inner,
            _ => self.group.get(&id).is_some_and(|g| g.1 == Level::Row),
        }
    }

    /// The stored nodes that a group's kernel will load.
    fn loads_of(&self, i: usize) -> FxHashSet<NodeId> {
        let rank = self.groups[i].domain.len();
        let mut loads = FxHashSet::default();
        for &m in &self.groups[i].members {
            self.reads(self.member_arguments(m, rank), |d, map| {
                if !self.in_registers(d, map, i) {
                    loads.insert(d);
                }
            });
        }
        loads
    }

    /// The kernel of a group; `None` if nothing it computes is stored.
    fn emit(&self, i: usize) -> Result<Option<StepKind>> {
        let group = &self.groups[i];
        let stores: Vec<NodeId> = group.members.iter().copied().filter(|m| self.stored.contains(m)).collect();
        if stores.is_empty() {
            return Ok(None);
        }
        Emitter {
            f: self,
            group: i,
            rank: group.domain.len(),
            nodes: Vec::new(),
            memo: FxHashMap::default(),
            slots: Vec::new(),
            ops: Vec::new(),
        }
        .kernel(&stores)
        .map(Some)
    }
}

/// Whether two sets of reduced axes can share a kernel: equal, or one of them all axes while the other
/// leaves only the last.
fn compatible(a: &Option<SmallVec<[usize; 4]>>, b: &Option<SmallVec<[usize; 4]>>, rank: usize) -> bool {
    let (Some(a), Some(b)) = (a, b) else { return true };
    let rows_only = |s: &[usize]| s.len() == rank - 1 && !s.contains(&(rank - 1));
    a == b || (a.len() == rank && rows_only(b)) || (b.len() == rank && rows_only(a))
}

fn compose(a: &Affine, map: &Map) -> Affine {
    if map.is_empty() { Affine::constant(a.offset, 0) } else { a.compose(map) }
}

/// An index map into a row-major value as offset and strides over the map's own indices.
fn linear(map: &[Affine], shape: &[usize], rank: usize) -> (i64, SmallVec<[i64; 4]>) {
    let mut strides: SmallVec<[i64; 4]> = SmallVec::from_elem(0, rank);
    let (mut offset, mut step) = (0, 1);
    for (a, &n) in map.iter().zip(shape).rev() {
        if n != 1 {
            offset += a.offset * step;
            strides.iter_mut().zip(&a.coef).for_each(|(s, c)| *s += c * step);
        }
        step *= n as i64;
    }
    (offset, strides)
}

/// Builds the kernel of one group.
struct Emitter<'a, 'g> {
    f: &'a Fuser<'g>,
    group: usize,
    rank: usize,
    nodes: Vec<(NodeKindRaw, DType)>,
    memo: FxHashMap<(NodeId, Map), u32>,
    slots: Vec<NodeId>,
    ops: Vec<&'static str>,
}

/// A kernel node before the domain's axes are ordered and merged.
enum NodeKindRaw {
    Load(u16, i64, SmallVec<[i64; 4]>),
    Const(u64),
    Iota(i64, SmallVec<[i64; 4]>),
    Elementwise(Lowering, SmallVec<[u32; 3]>),
    Reduce(ReduceKind, u32, Scope),
}

impl Emitter<'_, '_> {
    fn slot(&mut self, id: NodeId) -> u16 {
        let id = self.f.alias.get(&id).copied().map_or(id, |a| self.f.resolve_alias(a));
        let i = self.slots.iter().position(|&s| s == id).unwrap_or_else(|| {
            self.slots.push(id);
            self.slots.len() - 1
        });
        i as u16
    }
    fn push(&mut self, kind: NodeKindRaw, dtype: DType) -> u32 {
        self.nodes.push((kind, dtype));
        (self.nodes.len() - 1) as u32
    }
    /// The kernel node of a graph node read through a map; iterative.
    fn value(&mut self, id: NodeId, map: Map) -> u32 {
        let mut todo = vec![(id, map.clone(), false)];
        while let Some((id, map, ready)) = todo.pop() {
            let key = (id, map);
            if self.memo.contains_key(&key) {
                continue;
            }
            let (id, map) = (&key.0, &key.1);
            let n = self.f.g.node(*id);
            let anchor = self.f.anchor[id.index()];
            let cheap = self.f.class[id.index()] == Some(Class::Cheap) && !anchor;
            if !cheap && !self.f.in_registers(*id, map, self.group) {
                let (offset, strides) = linear(map, &n.ty.shape, self.rank);
                let slot = self.slot(*id);
                let k = self.push(NodeKindRaw::Load(slot, offset, strides), n.ty.dtype);
                self.memo.insert(key, k);
                continue;
            }
            match n.op.def.lower {
                Lower::Const => {
                    let k = self.push(NodeKindRaw::Const(n.op.bits(1)), n.ty.dtype);
                    self.memo.insert(key, k);
                    continue;
                }
                Lower::Iota => {
                    let (offset, strides) = linear(map, &n.ty.shape, self.rank);
                    let k = self.push(NodeKindRaw::Iota(offset, strides), n.ty.dtype);
                    self.memo.insert(key, k);
                    continue;
                }
                _ => {}
            }
            let args = match n.op.def.lower {
                Lower::Reduce(_) => self.f.member_arguments(*id, self.rank),
                _ => self.f.arguments(*id, map),
            };
            if !ready {
                todo.push((*id, map.clone(), true));
                todo.extend(args.into_iter().map(|(a, m)| (a, m, false)));
                continue;
            }
            let ids: SmallVec<[u32; 3]> = args.into_iter().map(|a| self.memo[&a]).collect();
            if !matches!(n.op.def.lower, Lower::View(_)) && !self.ops.contains(&n.op.name()) {
                self.ops.push(n.op.name());
            }
            let elementwise = |l| NodeKindRaw::Elementwise(l, ids.clone());
            let k = match n.op.def.lower {
                Lower::View(_) => ids[0],
                Lower::Inline(f) => self.push(elementwise(Lowering::Inline(f)), n.ty.dtype),
                Lower::Unary(u) => self.push(elementwise(Lowering::Unary(u)), n.ty.dtype),
                Lower::Binary(u) => self.push(elementwise(Lowering::Binary(u)), n.ty.dtype),
                Lower::Powi => self.push(elementwise(Lowering::Powi(n.op.int(0) as i32)), n.ty.dtype),
                Lower::Reduce(kind) => {
                    let scope = self.f.scope(*id);
                    self.push(NodeKindRaw::Reduce(kind, ids[0], scope), n.ty.dtype)
                }
                _ => unreachable!("steps and sources are loaded"),
            };
            self.memo.insert(key, k);
        }
        self.memo[&(id, map)]
    }

    fn kernel(mut self, stored: &[NodeId]) -> Result<StepKind> {
        let f = self.f;
        let mut stores: Vec<(u32, u16, SmallVec<[i64; 4]>)> = Vec::new();
        for &m in stored {
            let map = f.member_map(m, self.rank);
            let k = match f.class[m.index()] {
                Some(Class::Reduce) => self.reduction(m, &map),
                _ => self.value(m, map.clone()),
            };
            let mut map = map;
            if f.class[m.index()] == Some(Class::Reduce) {
                map = reduced_map(&f.g.ty(m).shape, &f.reduced_axes(m), self.rank);
            }
            let (_, strides) = linear(&map, &f.g.ty(m).shape, self.rank);
            let slot = self.slot(m);
            stores.push((k, slot, strides));
        }
        let group = &f.groups[self.group];
        let order = Order::new(group, &self.nodes, &stores);
        let nodes = self.nodes.iter().map(|(kind, dtype)| KNode { kind: order.node(kind), dtype: *dtype }).collect();
        let stores =
            stores.into_iter().map(|(node, buffer, s)| Store { node, buffer, access: order.access(0, &s) }).collect();
        let buffers = self.slots.iter().map(|&s| f.g.ty(s).dtype).collect();
        let kernel =
            Kernel { outer: order.outer(), parallel: order.parallel, inner: order.inner(), nodes, stores, buffers };
        Ok(StepKind::Kernel { kernel, slots: self.slots, ops: self.ops })
    }
    /// Outer and All reductions are not read by others, so they are not found by `value`'s alignment rule.
    fn reduction(&mut self, id: NodeId, map: &Map) -> u32 {
        if self.f.scope(id) == Scope::Inner {
            return self.value(id, map.clone());
        }
        let n = self.f.g.node(id);
        let Lower::Reduce(kind) = n.op.def.lower else { unreachable!("a reduction") };
        let (arg, m) = self.f.member_arguments(id, self.rank).remove(0);
        let x = self.value(arg, m);
        self.ops.push(n.op.name());
        self.push(NodeKindRaw::Reduce(kind, x, self.f.scope(id)), n.ty.dtype)
    }
}

/// The map of a reduction's result over the domain of its argument: kept axes follow the domain.
fn reduced_map(shape: &[usize], reduced: &[usize], rank: usize) -> Map {
    let mut kept = (0..rank).filter(|d| !reduced.contains(d));
    shape
        .iter()
        .map(|&n| {
            if n == 1 {
                Affine::constant(0, rank)
            } else {
                kept.next().map_or(Affine::constant(0, rank), |d| Affine::axis(d, rank, 0, 1))
            }
        })
        .collect()
}

impl Fuser<'_> {
    fn resolve_alias(&self, mut id: NodeId) -> NodeId {
        while let Some(&a) = self.alias.get(&id) {
            id = a;
        }
        id
    }
}

/// The loop order of a kernel: groups of domain axes that merge into one loop each; the last is I.
struct Order {
    loops: Vec<SmallVec<[usize; 4]>>,
    extents: Vec<usize>,
    parallel: usize,
}

impl Order {
    fn new(group: &Group, nodes: &[(NodeKindRaw, DType)], stores: &[(u32, u16, SmallVec<[i64; 4]>)]) -> Order {
        let rank = group.domain.len();
        let mut reduced: SmallVec<[usize; 4]> = group.reduced.clone().unwrap_or_default();
        if rank == 0 {
            return Order { loops: Vec::new(), extents: Vec::new(), parallel: 0 };
        }
        // I is the last axis; P the kept ones before it, R the reduced ones
        let last = rank - 1;
        reduced.retain(|d| *d != last);
        let kept = (0..last).filter(|d| !reduced.contains(d));
        let accesses: Vec<&SmallVec<[i64; 4]>> = nodes
            .iter()
            .filter_map(|(k, _)| match k {
                NodeKindRaw::Load(_, _, s) | NodeKindRaw::Iota(_, s) => Some(s),
                _ => None,
            })
            .chain(stores.iter().map(|s| &s.2))
            .collect();
        let merges = |a: usize, b: usize| accesses.iter().all(|s| s[a] == s[b] * group.domain[b] as i64);
        let merge = |axes: Vec<usize>| {
            let mut loops: Vec<SmallVec<[usize; 4]>> = Vec::new();
            for d in axes {
                match loops.last_mut() {
                    Some(l) if merges(*l.last().expect("not empty"), d) => l.push(d),
                    _ => loops.push(SmallVec::from_slice(&[d])),
                }
            }
            loops
        };
        let mut p = merge(kept.collect());
        let mut r = merge(reduced.to_vec());
        let mut inner: SmallVec<[usize; 4]> = SmallVec::from_slice(&[last]);
        // without row values the inner loop takes in whatever lies next to it in memory
        let row_stores = !group.inner_reduction;
        let all = group.reduced.as_ref().is_some_and(|r| r.len() == rank);
        let side = if all { &mut r } else { &mut p };
        if row_stores && (all || group.reduced.is_none()) {
            while let Some(l) = side.last() {
                if !merges(*l.last().expect("not empty"), inner[0]) {
                    break;
                }
                let mut l = side.pop().expect("just seen");
                l.extend(inner);
                inner = l;
            }
        }
        let parallel = p.len();
        let loops: Vec<_> = p.into_iter().chain(r).chain([inner]).collect();
        let extents = loops.iter().map(|l| l.iter().map(|&d| group.domain[d]).product()).collect();
        Order { loops, extents, parallel }
    }
    fn outer(&self) -> SmallVec<[usize; 4]> {
        self.extents[..self.extents.len().saturating_sub(1)].iter().copied().collect()
    }
    fn inner(&self) -> usize {
        self.extents.last().copied().unwrap_or(1)
    }
    fn access(&self, offset: i64, strides: &[i64]) -> Access {
        // the stride of a merged loop is that of its last axis
        let all: SmallVec<[i64; 4]> = self.loops.iter().map(|l| strides[*l.last().expect("not empty")]).collect();
        let n = all.len().saturating_sub(1);
        Access { offset, outer: all[..n].iter().copied().collect(), inner: all.get(n).copied().unwrap_or(0) }
    }
    fn node(&self, kind: &NodeKindRaw) -> NodeKind {
        match kind {
            NodeKindRaw::Load(buffer, offset, s) => NodeKind::Load { buffer: *buffer, access: self.access(*offset, s) },
            NodeKindRaw::Const(bits) => NodeKind::Const { bits: *bits },
            NodeKindRaw::Iota(offset, s) => NodeKind::Iota { access: self.access(*offset, s) },
            NodeKindRaw::Elementwise(l, args) => NodeKind::Elementwise { lowering: *l, args: args.clone() },
            NodeKindRaw::Reduce(kind, arg, scope) => NodeKind::Reduce { kind: *kind, arg: *arg, scope: *scope },
        }
    }
}
