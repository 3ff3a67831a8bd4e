//! Brings reductions to the forms that kernels have: over the last axis, over axes before the last, or over
//! all. Others become two, the last axis first. Axes of extent 1 are not reduced at all.

use crate::{
    error::Result,
    graph::{Builder, Node, NodeId},
    op::{Attr, Lower, Op, reduce},
};

/// As [`rule`] in a graph that may yet be differentiated. The share of an element in an extremum counts those that are equal, over all
/// axes: of two extrema, one after the other, each would count its own.
pub(super) fn inside(b: &Builder, n: &Node, args: &[NodeId]) -> Result<Option<NodeId>> {
    if n.op.is(&reduce::AMAX) || n.op.is(&reduce::AMIN) { Ok(None) } else { rule(b, n, args) }
}

pub(super) fn rule(b: &Builder, n: &Node, args: &[NodeId]) -> Result<Option<NodeId>> {
    let Lower::Reduce(_) = n.op.def.lower else { return Ok(None) };
    let all = n.op.dims(0);
    let (mut x, mut dims) = (args[0], all.clone());
    loop {
        let shape = b.ty_of(x).shape;
        let wide = |d: &usize| shape[*d] != 1;
        dims.retain(|d| wide(d));
        let reduce = |dims: &[usize], x| b.add(Op::with(n.op.def, [Attr::dims(dims)]), &[x]);
        let last = (0..shape.len()).rev().find(wide);
        let whole = (0..shape.len()).filter(wide).all(|d| dims.contains(&d));
        match last.filter(|l| dims.contains(l) && dims.len() > 1 && !whole) {
            // what is left has another last axis, and may have to be split again
            Some(l) => x = reduce(&[l], x)?,
            None if dims.is_empty() => return Ok(Some(x)),
            None if x == args[0] && dims == all => return Ok(None),
            None => return reduce(&dims, x).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{optimise, simplify};
    use crate::{
        array::{Array, Data},
        diff,
        graph::Graph,
        interp,
    };

    #[test]
    fn an_extremum_over_several_axes_keeps_its_derivative() {
        let extremum = "%0 = input : f64[2,3,2]
%1 = amax(%0) {dims=[0,2]} : f64[1,3,1]
return %1
";
        let g: Graph = extremum.parse().unwrap();
        assert_eq!(simplify(&g).unwrap(), g);
        assert_ne!(optimise(&g).unwrap(), g);
        // the same once in a loop, whose derivative is taken when the graph around it has been simplified
        let looped = "%0 = input : f64[2,3,2]
%1 = const 0 : i64[]
%2 = amax(%0) {dims=[0,2]} : f64[1,3,1]
%3 = while(%1, %2, %0) {cond={
  %0 = input : i64[]
  %1 = input : f64[1,3,1]
  %2 = input : f64[2,3,2]
  %3 = const 1 : i64[]
  %4 = lt(%0, %3) : bool[]
  return %4
}, body={
  %0 = input : i64[]
  %1 = input : f64[1,3,1]
  %2 = input : f64[2,3,2]
  %3 = const 1 : i64[]
  %4 = add(%0, %3) : i64[]
  %5 = amax(%2) {dims=[0,2]} : f64[1,3,1]
  return %4, %5
}, carried=2} : i64[]
%4 = proj(%3) {index=1, dtype=f64, shape=[1,3,1]} : f64[1,3,1]
return %4
";
        // in the first slice three elements are equal, of which two lie along the last axis
        let x = vec![5.0, 5.0, 1.0, 2.0, 0.0, 0.5, 5.0, 4.0, 0.0, 1.0, 3.0, 0.0];
        let third = 1.0 / 3.0;
        let want = [third, third, 0.0, 1.0, 0.0, 0.0, third, 0.0, 0.0, 0.0, 1.0, 0.0];
        for text in [extremum, looped] {
            let g = simplify(&text.parse::<Graph>().unwrap()).unwrap();
            let back = diff::vjp(&g, &[0]).unwrap();
            let ins = [
                Array::from_data(Data::F64(x.clone()), &[2, 3, 2]),
                Array::from_data(Data::F64(vec![1.0; 3]), &[1, 3, 1]),
            ];
            let program = crate::program::Program::compile(&back, false).unwrap();
            for found in [interp::run(&back, &ins).unwrap(), program.run_arrays(&ins).unwrap()] {
                let found = found.last().unwrap().to_f64_vec();
                assert!(found.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-15), "{found:?}\n{g}");
            }
        }
    }
}
