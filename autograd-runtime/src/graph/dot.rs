//! A graph as Graphviz input: `dot -Tsvg`. Labels give operation and type; inputs and outputs are boxes.

use super::Graph;
use crate::op::create;
use petgraph::dot::{Config, Dot};

impl Graph {
    /// The graph in the DOT language.
    pub fn dot(&self) -> String {
        let node = |_: &_, (i, n): (petgraph::graph::NodeIndex, &super::Node)| {
            let value = create::value(&n.op).map_or_else(String::new, |v| format!(" {v}"));
            let is_output = self.outputs.iter().any(|o| o.index() == i.index());
            let shape = if n.op.is(&create::INPUT) || is_output { "box" } else { "ellipse" };
            format!("label=\"%{} {}{value}\\n{}\" shape={shape}", i.index(), n.op.name(), n.ty)
        };
        let edge = |g: &petgraph::graph::DiGraph<super::Node, u32>, e: petgraph::graph::EdgeReference<'_, u32>| {
            use petgraph::visit::EdgeRef;
            // positions matter only where there is more than one argument
            if g[e.target()].args.len() > 1 { format!("label=\"{}\"", e.weight()) } else { String::new() }
        };
        let config = [Config::NodeNoLabel, Config::EdgeNoLabel];
        format!("{:?}", Dot::with_attr_getters(&self.dag, &config, &edge, &node))
    }
}
