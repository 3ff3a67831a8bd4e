//! The verifier: what must hold of a graph after every pass. It checks that
//! 1. arguments come before their users, so there is no cycle;
//! 2. every edge agrees with an argument and every argument has its edge;
//! 3. every node has the type its operation's shape rule gives;
//! 4. inputs are numbered in order and are listed once;
//! 5. a control-flow node's projections name one of its results, with its type;
//! 6. outputs are nodes, and sub-graphs hold all of this too.

use super::{Graph, Node, NodeId};
use crate::{
    error::{Error, Result},
    op::{control, create},
    ty::Ty,
};

impl Graph {
    /// Checks the invariants listed at the head of this file.
    ///
    /// # Errors
    /// The first violation, naming the node.
    pub fn verify(&self) -> Result<()> {
        let mut todo = vec![self];
        while let Some(g) = todo.pop() {
            g.verify_level()?;
            todo.extend(g.nodes().flat_map(|(_, n)| n.subgraphs()));
        }
        Ok(())
    }
    fn verify_level(&self) -> Result<()> {
        let mut edges = 0;
        for (id, n) in self.nodes() {
            let wrong = |what: String| Err(Error::value(format!("verify %{} = {}", id.index(), n.op.name()), what));
            if let Some(a) = n.args.iter().find(|a| **a >= id) {
                return wrong(format!("expected arguments before it, found %{}", a.index()));
            }
            // read at the user: an argument may have very many users
            let mut found: Vec<(u32, usize)> = self.arriving(id).collect();
            found.sort_unstable();
            if let Some(i) = (0..n.args.len()).find(|&i| found.get(i) != Some(&(i as u32, n.args[i].index()))) {
                return wrong(format!("expected an edge from argument {i}"));
            }
            edges += n.args.len();
            let tys: Vec<&Ty> = n.args.iter().map(|&a| self.ty(a)).collect();
            let ty = n.op.infer(&tys)?;
            if ty != n.ty {
                return wrong(format!("expected type {ty}, found {}", n.ty));
            }
            if n.op.is(&create::INPUT) && self.inputs.get(n.op.int(0) as usize) != Some(&id) {
                return wrong("expected to stand in the list of inputs at its index".into());
            }
            if n.op.is(&control::PROJ) && projected(self.node(n.args[0]), n.op.int(0)).as_ref() != Some(&n.ty) {
                return wrong("expected a control-flow node with such a result".into());
            }
        }
        if edges != self.dag.edge_count() {
            return Err(Error::value("verify", format!("expected {edges} edges, found {}", self.dag.edge_count())));
        }
        match self.outputs.iter().find(|o| o.index() >= self.len()) {
            Some(o) => Err(Error::value("verify", format!("expected outputs to be nodes, found %{}", o.index()))),
            None => Ok(()),
        }
    }
    /// The position and source of each edge that leads to a node.
    fn arriving(&self, id: NodeId) -> impl Iterator<Item = (u32, usize)> + '_ {
        use petgraph::visit::EdgeRef;
        let edges = self.dag.edges_directed(petgraph::graph::NodeIndex::new(id.index()), petgraph::Direction::Incoming);
        edges.map(|e| (*e.weight(), e.source().index()))
    }
}

/// The type of a control-flow node's result, if it is such a node and has a result of this number.
pub(super) fn projected(from: &Node, index: i64) -> Option<Ty> {
    control::results(&from.op).into_iter().nth(usize::try_from(index).ok()?)
}
