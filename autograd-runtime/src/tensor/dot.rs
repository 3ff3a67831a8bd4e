//! The tape as a drawing: PyTorch users know it from `torchviz`.

use super::node::{Edge, GradFn};
use rustc_hash::FxHashMap;
use std::fmt::Write;

impl GradFn {
    /// The graph behind this node in Graphviz' language: a box a node, arrows from results to what they were made of,
    /// leaves in another colour with their shapes.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::<f64>::ones([2]).requires_grad_(true);
    /// let dot = (&x * &x).sum().grad_fn().unwrap().to_dot();
    /// assert!(dot.contains("MulBackward0") && dot.contains("AccumulateGrad [2]"), "{dot}");
    /// ```
    pub fn to_dot(&self) -> String {
        let mut out = String::from("digraph backward {\n    node [shape=box, fontname=\"monospace\"];\n");
        let mut numbers: FxHashMap<(usize, u32), usize> = FxHashMap::default();
        let mut todo = vec![self.0.clone()];
        number(&self.0, &mut numbers);
        while let Some(edge) = todo.pop() {
            let me = number(&edge, &mut numbers).0;
            match &edge {
                Edge::Leaf(v) => {
                    let shape = v.ty().shape.as_slice();
                    let _ = writeln!(
                        out,
                        "    n{me} [label=\"AccumulateGrad {shape:?}\", style=filled, fillcolor=lightblue];"
                    );
                }
                Edge::Node(n, _) => {
                    let _ = writeln!(out, "    n{me} [label=\"{}\"];", n.name());
                    for next in n.next().iter().flatten() {
                        let (to, new) = number(next, &mut numbers);
                        let _ = writeln!(out, "    n{me} -> n{to};");
                        if new {
                            todo.push(next.clone());
                        }
                    }
                }
            }
        }
        out.push_str("}\n");
        out
    }
}

/// The number of a node or leaf, and whether it is new.
fn number(e: &Edge, numbers: &mut FxHashMap<(usize, u32), usize>) -> (usize, bool) {
    let key = match e {
        Edge::Node(..) => (e.key().0, 0),
        Edge::Leaf(_) => e.key(),
    };
    let next = numbers.len();
    let n = *numbers.entry(key).or_insert(next);
    (n, n == next)
}
