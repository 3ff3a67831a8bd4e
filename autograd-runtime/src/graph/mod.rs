//! The graph: nodes are operations with a static type, edges lead from arguments to users and carry the
//! argument's position. Nodes are hash-consed when they are added and come after their arguments, so the
//! order of node numbers is a topological order. petgraph stays inside this folder.

mod dot;
mod text;
mod verify;

use crate::{
    emit::{Emit, Ex, V},
    error::{Error, Result},
    op::{Op, control, create},
    ty::Ty,
};
use petgraph::graph::{DiGraph, NodeIndex};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::{
    cell::RefCell,
    hash::{Hash, Hasher},
};

/// A node of a [`Graph`] or of a [`Builder`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct NodeId(u32);

impl NodeId {
    /// The number of the node.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Arguments of a node, in order.
pub type Args = SmallVec<[NodeId; 3]>;

/// One operation applied to earlier nodes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Node {
    /// The operation.
    pub op: Op,
    /// Its arguments.
    pub args: Args,
    /// The type of its result.
    pub ty: Ty,
}

/// A function from inputs to outputs.
#[derive(Clone, Default)]
pub struct Graph {
    dag: DiGraph<Node, u32>,
    inputs: Vec<NodeId>,
    outputs: Vec<NodeId>,
}

impl Graph {
    /// The number of nodes.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.dag.node_count()
    }
    /// Number of nodes with those of all sub-graphs.
    pub fn size(&self) -> usize {
        let mut total = 0;
        let mut todo = vec![self];
        while let Some(g) = todo.pop() {
            total += g.len();
            todo.extend(g.nodes().flat_map(|(_, n)| n.subgraphs()));
        }
        total
    }
    /// Whether a value is a list, in sub-graphs too.
    pub(crate) fn has_lists(&self) -> bool {
        let mut todo = vec![self];
        while let Some(g) = todo.pop() {
            if g.nodes().any(|(_, n)| n.ty.is_list()) {
                return true;
            }
            todo.extend(g.nodes().flat_map(|(_, n)| n.subgraphs()));
        }
        false
    }
    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.dag[NodeIndex::from(id.0)]
    }
    /// The type of a node.
    pub fn ty(&self, id: NodeId) -> &Ty {
        &self.node(id).ty
    }
    /// All nodes, arguments before users.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> {
        self.dag.node_indices().map(|i| (NodeId(i.index() as u32), &self.dag[i]))
    }
    /// The users of a node, each with the position of the argument.
    pub fn users(&self, id: NodeId) -> impl Iterator<Item = (NodeId, usize)> + '_ {
        use petgraph::visit::EdgeRef;
        let edges = self.dag.edges_directed(NodeIndex::from(id.0), petgraph::Direction::Outgoing);
        edges.map(|e| (NodeId(e.target().index() as u32), *e.weight() as usize))
    }
    /// The parameters, in order.
    pub fn inputs(&self) -> &[NodeId] {
        &self.inputs
    }
    /// The results, in order.
    pub fn outputs(&self) -> &[NodeId] {
        &self.outputs
    }
    /// The same nodes with other results.
    pub fn with_outputs(mut self, outputs: Vec<NodeId>) -> Graph {
        self.outputs = outputs;
        self
    }
    /// The same graph with other operations, of the same types. Nodes that come to be equal are one.
    pub(crate) fn map_ops(&self, mut f: impl FnMut(&Op) -> Result<Op>) -> Result<Graph> {
        let b = Builder::new();
        let mut map: Vec<Option<NodeId>> = vec![None; self.len()];
        for &i in self.inputs() {
            map[i.index()] = Some(b.input(self.ty(i)));
        }
        for (id, n) in self.nodes() {
            if map[id.index()].is_none() {
                let args: Args = n.args.iter().map(|a| map[a.index()].expect("arguments come first")).collect();
                map[id.index()] = Some(b.add(f(&n.op)?, &args)?);
            }
        }
        b.finish(self.outputs().iter().map(|o| map[o.index()].expect("outputs are nodes")).collect())
    }
    /// Nodes that the outputs need (`true`), by number; inputs count only if used.
    pub fn live(&self) -> Vec<bool> {
        let mut live = vec![false; self.len()];
        self.outputs.iter().for_each(|o| live[o.index()] = true);
        for (id, n) in self.nodes().rev() {
            if live[id.index()] {
                n.args.iter().for_each(|a| live[a.index()] = true);
            }
        }
        live
    }
}

impl Node {
    /// The sub-graphs of a control-flow node.
    pub fn subgraphs(&self) -> impl Iterator<Item = &Graph> {
        self.op.attrs.iter().filter_map(|a| if let crate::op::Attr::Graph(g) = a { Some(&**g) } else { None })
    }
}

// Two graphs are equal when they have the same nodes in the same order; sub-graphs are compared so.
impl PartialEq for Graph {
    fn eq(&self, o: &Graph) -> bool {
        self.inputs == o.inputs
            && self.outputs == o.outputs
            && self.len() == o.len()
            && self.nodes().zip(o.nodes()).all(|(a, b)| a.1 == b.1)
    }
}
impl Eq for Graph {}
impl Hash for Graph {
    fn hash<H: Hasher>(&self, h: &mut H) {
        // graphs are large and seldom differ in the rest alone
        (self.len(), &self.inputs, &self.outputs).hash(h);
        self.outputs.iter().for_each(|&o| self.node(o).hash(h));
    }
}
impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// A graph under construction. Emission does not fail: the first error is kept and comes out of
/// [`Builder::finish`].
#[derive(Default)]
pub struct Builder {
    inner: RefCell<Inner>,
}

#[derive(Default)]
struct Inner {
    graph: Graph,
    interned: FxHashMap<(Op, Args), NodeId>,
    error: Option<Error>,
}

impl Builder {
    /// An empty graph.
    pub fn new() -> Builder {
        Builder::default()
    }
    /// An empty graph with room for so many nodes.
    pub(crate) fn with_capacity(n: usize) -> Builder {
        let b = Builder::new();
        let mut inner = b.inner.borrow_mut();
        inner.graph.dag.reserve_nodes(n);
        inner.graph.dag.reserve_edges(2 * n);
        inner.interned.reserve(n);
        drop(inner);
        b
    }
    /// Adds a parameter.
    pub fn input(&self, ty: &Ty) -> NodeId {
        let mut inner = self.inner.borrow_mut();
        let op = create::input(inner.graph.inputs.len(), ty);
        let id = inner.push(op, Args::new(), ty.clone());
        inner.graph.inputs.push(id);
        id
    }
    /// Adds an operation, or finds the node that computes it already.
    ///
    /// # Errors
    /// What the operation's shape rule finds wrong.
    pub fn add(&self, op: Op, args: &[NodeId]) -> Result<NodeId> {
        let inner = &mut *self.inner.borrow_mut();
        let whole = op.place().is_some().then(|| op.clone());
        let key = (if whole.is_some() { op.anywhere() } else { op }, Args::from_slice(args));
        if let Some(&id) = inner.interned.get(&key) {
            return Ok(id);
        }
        let op = whole.unwrap_or_else(|| key.0.clone());
        let tys: SmallVec<[&Ty; 3]> = args.iter().map(|&a| inner.graph.ty(a)).collect();
        let ty = op.infer(&tys)?;
        drop(tys);
        let id = inner.push(op, key.1.clone(), ty);
        inner.interned.insert(key, id);
        Ok(id)
    }
    /// Adds a choice or loop: its results, each read through a projection.
    ///
    /// # Errors
    /// As [`Builder::add`].
    pub(crate) fn add_control(&self, op: &Op, args: &[NodeId]) -> Result<Vec<NodeId>> {
        let node = self.add(op.clone(), args)?;
        control::results(op).iter().enumerate().map(|(i, ty)| self.add(control::proj(i, ty), &[node])).collect()
    }
    /// Copies the nodes of a graph that its outputs need, with its inputs replaced; returns its outputs.
    ///
    /// # Errors
    /// If the replacements do not have the inputs' types.
    pub fn inline(&self, g: &Graph, inputs: &[NodeId]) -> Result<Vec<NodeId>> {
        let map = self.inline_all(g, inputs)?;
        Ok(g.outputs.iter().map(|o| map[o.index()].expect("outputs are live")).collect())
    }
    /// As [`Builder::inline`], returning where every live node went.
    pub(crate) fn inline_all(&self, g: &Graph, inputs: &[NodeId]) -> Result<Vec<Option<NodeId>>> {
        let live = g.live();
        let mut map: Vec<Option<NodeId>> = vec![None; g.len()];
        for (&from, &to) in g.inputs.iter().zip(inputs) {
            map[from.index()] = Some(to);
        }
        for (id, n) in g.nodes() {
            if live[id.index()] && map[id.index()].is_none() {
                let args: Args = n.args.iter().map(|a| map[a.index()].expect("arguments come first")).collect();
                map[id.index()] = Some(self.add(n.op.clone(), &args)?);
            }
        }
        Ok(map)
    }
    /// The type of a node.
    pub fn ty_of(&self, id: NodeId) -> Ty {
        self.inner.borrow().graph.ty(id).clone()
    }
    /// A copy of a node.
    pub fn node(&self, id: NodeId) -> Node {
        self.inner.borrow().graph.node(id).clone()
    }
    /// The number of nodes so far.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.inner.borrow().graph.len()
    }
    /// A node as an expression.
    pub fn ex(&self, id: NodeId) -> Ex<'_> {
        Ex::new(self, V::Node(id))
    }
    /// The graph so far with these outputs, leaving the builder as it is.
    ///
    /// # Errors
    /// The first error of an emission.
    pub fn snapshot(&self, outputs: Vec<NodeId>) -> Result<Graph> {
        let inner = self.inner.borrow();
        match &inner.error {
            Some(e) => Err(e.clone()),
            None => Ok(inner.graph.clone().with_outputs(outputs)),
        }
    }
    /// The finished graph.
    ///
    /// # Errors
    /// The first error of an emission.
    pub fn finish(self, outputs: Vec<NodeId>) -> Result<Graph> {
        let inner = self.inner.into_inner();
        match inner.error {
            Some(e) => Err(e),
            None => Ok(inner.graph.with_outputs(outputs)),
        }
    }
}

impl Inner {
    fn push(&mut self, op: Op, args: Args, ty: Ty) -> NodeId {
        let edges = args.clone();
        let to = self.graph.dag.add_node(Node { op, args, ty });
        for (i, a) in edges.into_iter().enumerate() {
            self.graph.dag.add_edge(NodeIndex::from(a.0), to, i as u32);
        }
        NodeId(to.index() as u32)
    }
}

impl Emit for Builder {
    fn emit(&self, op: Op, args: &[V]) -> V {
        let ids: Args = args
            .iter()
            .map(|a| match a {
                V::Node(id) => *id,
                other => panic!("bug: {} mixes a graph node with {other:?}", op.name()),
            })
            .collect();
        match self.add(op, &ids) {
            Ok(id) => V::Node(id),
            Err(e) => self.fail(e, args.first().unwrap_or(&V::Node(NodeId(0)))),
        }
    }
    fn ty(&self, v: &V) -> Ty {
        match v {
            V::Node(id) => self.ty_of(*id),
            V::Tensor(t) => t.ty().clone(),
            V::Type(t) => t.clone(),
        }
    }
    fn fail(&self, error: Error, like: &V) -> V {
        self.inner.borrow_mut().error.get_or_insert(error);
        like.clone()
    }
}
