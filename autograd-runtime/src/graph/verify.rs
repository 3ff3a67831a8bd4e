//! The verifier: what must hold of a graph after every pass. It checks that
//! 1. arguments come before their users, so there is no cycle;
//! 2. every edge agrees with an argument and every argument has its edge;
//! 3. every node has the type its operation's shape rule gives;
//! 4. inputs are numbered in order and are listed once;
//! 5. a control-flow node's projections name one of its results, with its type;
//! 6. outputs are nodes, and sub-graphs hold all of this too.

use super::{Graph, Node};
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
            for (i, &a) in n.args.iter().enumerate() {
                edges += 1;
                if !self.users(a).any(|u| u == (id, i)) {
                    return wrong(format!("expected an edge from argument {i}"));
                }
            }
            if n.op.attrs.len() != n.op.def.attrs.len() {
                return wrong(format!("expected attributes {:?}, found {:?}", n.op.def.attrs, n.op.attrs));
            }
            let tys: Vec<&Ty> = n.args.iter().map(|&a| self.ty(a)).collect();
            let ty = n.op.infer(&tys)?;
            if ty != n.ty {
                return wrong(format!("expected type {ty}, found {}", n.ty));
            }
            if n.op.is(&create::INPUT) && self.inputs.get(n.op.int(0) as usize) != Some(&id) {
                return wrong("expected to stand in the list of inputs at its index".into());
            }
            if n.op.is(&control::PROJ) && self.projected(n) != Some(&n.ty) {
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
    /// The type of the result that a projection names.
    fn projected(&self, n: &Node) -> Option<&Ty> {
        let from = self.node(n.args[0]);
        let body = match from.op.name() {
            "if" | "for" => 0,
            "while" => 1,
            _ => return None,
        };
        from.op.graph(body).output_types().nth(usize::try_from(n.op.int(0)).ok()?)
    }
}
