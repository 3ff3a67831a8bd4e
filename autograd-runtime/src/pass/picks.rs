//! Moves what picks rows in front of what computes them, where few are picked: of a product only the columns that are
//! read are multiplied. `rows(f(x), i)` becomes `f(rows(x, i))` for what computes each row from the same row of its arguments, or
//! moves rows as a whole. Runs before differentiation, so that derivatives are as small. Of rows with infinities or NaN that nobody
//! reads nothing reaches a derivative then.
//!
//! Each element is computed from the same numbers as before; a sum, one in a product of matrices too, may be added up in another
//! order, which depends on shapes.

use crate::{
    error::Result,
    graph::{Builder, Graph, Node, NodeId},
    op::{Attr, Lower, Op, index, linalg, views},
};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::{borrow::Cow, collections::BTreeSet};

/// What is read of a value.
#[derive(Clone)]
enum Demand {
    /// Nothing.
    None,
    /// Rows along an axis, of these numbers.
    Rows(usize, SmallVec<[NodeId; PICKS]>),
    /// All of it.
    All,
}

/// What is computed for one pick is written once for each of them.
const PICKS: usize = 8;

impl Demand {
    fn and(&mut self, other: Demand) {
        match (&mut *self, other) {
            (_, Demand::None) => {}
            (Demand::Rows(axis, all), Demand::Rows(b, more)) if *axis == b => {
                more.into_iter().for_each(|x| {
                    if !all.contains(&x) {
                        all.push(x);
                    }
                });
            }
            (Demand::None, other) => *self = other,
            _ => *self = Demand::All,
        }
    }
    /// The axis and the numbers, if it is less work to compute these rows than all of a value.
    fn few(&self, g: &Graph, shape: &[usize]) -> Option<(usize, SmallVec<[NodeId; PICKS]>)> {
        let Demand::Rows(axis, all) = self else { return None };
        let rows = all.iter().map(|&x| g.ty(x).numel()).fold(0, usize::saturating_add);
        (rows.saturating_mul(2) <= shape[*axis] && all.len() <= PICKS).then(|| (*axis, all.clone()))
    }
}

/// A pick of whole rows: the axis, and a value that holds their numbers one after the other.
fn pick(g: &Graph, n: &Node) -> Option<(usize, NodeId)> {
    let (x, out) = (g.ty(*n.args.first()?), &n.ty.shape);
    let axis = if n.op.is(&index::GATHER) { n.op.int(0) as usize } else { return None };
    let whole = x.shape.iter().zip(out).enumerate().all(|(d, (a, b))| d == axis || a == b);
    let mut numbers = n.args[1];
    if g.node(numbers).op.is(&views::EXPAND) {
        numbers = g.node(numbers).args[0];
    }
    // their own axis, where they are broadcast
    let of = &g.ty(numbers).shape;
    let along = (axis + of.len()).checked_sub(out.len()).map_or(1, |d| of[d]);
    (whole && along == out[axis] && g.ty(numbers).numel() == along).then_some((axis, numbers))
}

/// Elementwise operations whose derivatives are finite where their arguments are: in a row that is not read there is a zero and
/// no product of zero and infinity, whether it is computed or not.
fn finite(n: &Node) -> bool {
    n.op.is_piecewise_linear() || ["mul", "square", "sin", "cos", "tanh"].contains(&n.op.name())
}

/// Where the rows of a value along an axis come from: the axis of each argument, none where all rows take the same. `None` if they
/// do not come from single rows.
fn origins(g: &Graph, n: &Node, axis: usize) -> Option<SmallVec<[Option<usize>; 4]>> {
    let shape = |k: usize| &g.ty(n.args[k]).shape;
    let rank = n.ty.rank();
    // by broadcasting
    let under = |k: usize| (axis + shape(k).len()).checked_sub(rank).filter(|&a| shape(k)[a] != 1);
    let dims = || n.op.dims(0);
    Some(match n.op.def.lower {
        Lower::Inline(_) | Lower::Unary(_) if finite(n) => (0..n.args.len()).map(under).collect(),
        Lower::Reduce(_) if !dims().contains(&axis) => SmallVec::from_slice(&[Some(axis)]),
        _ if n.op.is(&views::EXPAND) => SmallVec::from_slice(&[under(0)]),
        _ if n.op.is(&linalg::MATMUL) => SmallVec::from_slice(&match rank - axis {
            1 => [None, Some(axis)],
            2 => [Some(axis), None],
            _ => [Some(axis); 2],
        }),
        _ if n.op.is(&views::PERMUTE) => SmallVec::from_slice(&[Some(dims()[axis])]),
        _ if n.op.is(&views::SLICE) && n.op.int(0) as usize != axis => SmallVec::from_slice(&[Some(axis)]),
        _ if n.op.is(&views::FLIP) && !dims().contains(&axis) => SmallVec::from_slice(&[Some(axis)]),
        _ if n.op.is(&index::CONCAT) && n.op.int(0) as usize != axis => SmallVec::from_elem(Some(axis), n.args.len()),
        _ if n.op.is(&views::RESHAPE) => {
            let behind = |s: &[usize], d: usize| s[d + 1..].iter().product::<usize>();
            let same = |&d: &usize| shape(0)[d] == n.ty.shape[axis] && behind(shape(0), d) == behind(&n.ty.shape, axis);
            SmallVec::from_slice(&[Some((0..shape(0).len()).find(same)?)])
        }
        _ => return None,
    })
}

/// The operation where the axis of its result has that many rows.
fn resized(n: &Node, axis: usize, rows: usize) -> Op {
    let mut op = n.op.clone();
    if op.is(&views::RESHAPE) || op.is(&views::EXPAND) {
        let mut shape = n.ty.shape.clone();
        shape[axis] = rows;
        op.attrs[0] = Attr::dims(&shape);
    }
    op
}

/// Rows of a value that there is.
fn gather(b: &Builder, x: NodeId, axis: usize, numbers: NodeId) -> Result<NodeId> {
    let mut shape = b.ty_of(x).shape;
    let rows = b.ty_of(numbers).numel();
    let along: SmallVec<[usize; 4]> = (0..shape.len()).map(|d| if d == axis { rows } else { 1 }).collect();
    shape[axis] = rows;
    let numbers = b.add(Op::with(&views::RESHAPE, [Attr::dims(&along)]), &[numbers])?;
    let numbers = b.add(Op::with(&views::EXPAND, [Attr::dims(&shape)]), &[numbers])?;
    b.add(Op::with(&index::GATHER, [Attr::Int(axis as i64)]), &[x, numbers])
}

/// The graph in which only rows that are read are computed.
///
/// # Errors
/// An ill-typed graph, which is our bug.
pub(crate) fn picks(g: &Graph) -> Result<Cow<'_, Graph>> {
    if !g.nodes().any(|(_, n)| n.op.is(&index::GATHER)) {
        return Ok(Cow::Borrowed(g));
    }
    // what is read of each value, from its users backwards
    let mut demands = vec![Demand::None; g.len()];
    g.outputs().iter().for_each(|o| demands[o.index()] = Demand::All);
    let mut any = false;
    for (id, n) in g.nodes().rev() {
        let demand = &mut demands[id.index()];
        if let Demand::None = demand {
            continue;
        }
        // numbers that no row on the way is picked by would not be compared with the extent
        let from = demand.few(g, &n.ty.shape).and_then(|(axis, numbers)| {
            let from = origins(g, n, axis).filter(|from| from.iter().any(Option::is_some));
            from.map(|from| (from, numbers))
        });
        if let Some((from, numbers)) = from {
            any = true;
            for (a, axis) in n.args.iter().zip(from) {
                demands[a.index()].and(axis.map_or(Demand::All, |axis| Demand::Rows(axis, numbers.clone())));
            }
            continue;
        }
        *demand = Demand::All;
        let rows = pick(g, n).map(|(axis, numbers)| Demand::Rows(axis, SmallVec::from_slice(&[numbers])));
        for (k, a) in n.args.iter().enumerate() {
            demands[a.index()].and(rows.clone().filter(|_| k == 0).unwrap_or(Demand::All));
        }
    }
    if !any {
        return Ok(Cow::Borrowed(g));
    }
    let b = Builder::with_capacity(g.len());
    let mut map: Vec<Option<NodeId>> = vec![None; g.len()];
    g.inputs().iter().for_each(|&i| map[i.index()] = Some(b.input(g.ty(i))));
    // rows of values that are not computed as a whole, by their numbers
    let mut made: FxHashMap<(NodeId, NodeId), NodeId> = FxHashMap::default();
    let whole = |map: &[Option<NodeId>], a: NodeId| map[a.index()].expect("arguments come first");
    for (id, n) in g.nodes() {
        if map[id.index()].is_some() || !matches!(demands[id.index()], Demand::All) {
            continue;
        }
        let parted = |a: NodeId| match demands[a.index()] {
            Demand::Rows(axis, _) => Some(axis),
            _ => None,
        };
        let picked = pick(g, n).filter(|_| parted(n.args[0]).is_some());
        map[id.index()] = Some(match picked {
            None => b.add(n.op.clone(), &n.args.iter().map(|&a| whole(&map, a)).collect::<Vec<_>>())?,
            Some((_, numbers)) => {
                // all values on the way, the first ones first
                let (mut todo, mut on_the_way) = (vec![n.args[0]], BTreeSet::new());
                while let Some(x) = todo.pop() {
                    if parted(x).is_some() && on_the_way.insert(x) {
                        todo.extend_from_slice(&g.node(x).args);
                    }
                }
                let numbers = whole(&map, numbers);
                for x in on_the_way {
                    let (n, axis) = (g.node(x), parted(x).unwrap_or_default());
                    if made.contains_key(&(x, numbers)) {
                        continue;
                    }
                    let from = origins(g, n, axis).unwrap_or_default();
                    let args = n.args.iter().zip(from).map(|(&a, axis)| match (axis, made.get(&(a, numbers))) {
                        (Some(_), Some(&rows)) => Ok(rows),
                        (Some(axis), None) => gather(&b, whole(&map, a), axis, numbers),
                        (None, _) => Ok(whole(&map, a)),
                    });
                    let args: Vec<NodeId> = args.collect::<Result<_>>()?;
                    let rows = b.add(resized(n, axis, b.ty_of(numbers).numel()), &args)?;
                    made.insert((x, numbers), rows);
                }
                made[&(n.args[0], numbers)]
            }
        });
    }
    b.finish(g.outputs().iter().map(|&o| whole(&map, o)).collect()).map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        array::{Array, Data},
        emit::Ex,
        interp,
        ty::{DType, Ty, broadcast},
    };

    fn wave(ty: &Ty, seed: usize) -> Array {
        let at = |i: usize| ((seed + i * 7919) % 101) as f64 / 50.0 - 1.0;
        Array::from_data(Data::F64((0..ty.numel()).map(at).collect()), &ty.shape)
    }
    /// The graph of some results of a matrix (6, 4), a matrix (4, 50), weights (1, 50) and two lists of numbers of columns, with
    /// and without picks in front; the largest extent of what is computed in it.
    fn checked(f: impl for<'e> Fn(&[Ex<'e>]) -> Vec<Ex<'e>>) -> usize {
        let b = Builder::new();
        let float = |s: &[usize]| Ty::new(DType::F64, s).unwrap();
        let tys = [float(&[6, 4]), float(&[4, 50]), float(&[1, 50])];
        let mut ins: Vec<Ex<'_>> = tys.iter().map(|t| b.ex(b.input(t))).collect();
        let numbers = Ty::new(DType::I64, &[5]).unwrap();
        ins.extend([0; 2].map(|_| b.ex(b.input(&numbers))));
        let outs = f(&ins).iter().map(|x| x.node().unwrap()).collect();
        let g = b.snapshot(outs).unwrap();
        let moved = picks(&g).unwrap();
        moved.verify().unwrap();
        let mut args: Vec<Array> = tys.iter().enumerate().map(|(k, t)| wave(t, k)).collect();
        args.extend([[3, 49, 0, 3, 17], [1, 1, 2, 5, 3]].map(|all| Array::from_data(Data::I64(all.into()), &[5])));
        let run =
            |g: &Graph| -> Vec<Vec<f64>> { interp::run(g, &args).unwrap().iter().map(Array::to_f64_vec).collect() };
        assert_eq!(run(&g), run(&moved));
        let computed = moved.nodes().filter(|(_, n)| !n.args.is_empty() && n.ty.dtype == DType::F64);
        computed.flat_map(|(_, n)| n.ty.shape.to_vec()).max().unwrap()
    }

    fn product<'e>(x: &[Ex<'e>]) -> Ex<'e> {
        x[0].matmul_2d(&x[1])
    }
    fn skin<'e>(x: &[Ex<'e>]) -> Ex<'e> {
        let moved = product(x).reshape(&[2, 3, 50]).sin();
        ((&moved * &x[2].reshape(&[1, 1, 50])).sum(Some(&[0]), false) + x[2].expand(&[1, 3, 50])).reshape(&[3, 50])
    }

    #[test]
    fn only_what_is_read_is_computed() {
        assert_eq!(checked(|x| vec![skin(x).index_select(1, &x[3]), skin(x).index_select(1, &x[4])]), 6);
        assert_eq!(checked(|x| vec![skin(x).permute(&[1, 0]).slice(1, 1, 2, 1).index_select(0, &x[3])]), 6);
        assert_eq!(checked(|x| vec![Ex::concat(&[skin(x), x[1].clone()], 0).index_select(1, &x[3])]), 7);
    }

    #[test]
    fn what_is_read_as_a_whole_is_computed_once() {
        assert_eq!(checked(|x| vec![product(x).index_select(1, &x[3]), product(x).sum(Some(&[1]), false)]), 50);
        // along two axes, or of rows that mix
        assert_eq!(checked(|x| vec![product(x).index_select(1, &x[3]), product(x).index_select(0, &x[4])]), 50);
        assert_eq!(checked(|x| vec![product(x).flip(&[1]).index_select(1, &x[3])]), 50);
        assert_eq!(checked(|x| vec![product(x).reshape(&[3, 100]).index_select(1, &x[3])]), 100);
    }

    #[test]
    fn a_value_that_leads_to_a_pick_in_two_ways_counts_once() {
        assert_eq!(checked(|x| vec![(0..6).fold(product(x), |y, _| &y * &y.sin()).index_select(1, &x[3])]), 6);
    }

    #[test]
    fn an_index_for_each_element_is_no_pick_of_rows() {
        assert_eq!(
            checked(|x| vec![x[0].sin().gather(0, &x[4].slice(0, 0, 4, 1).reshape(&[1, 4]).expand(&[2, 4]))]),
            6
        );
    }

    /// Chains of everything that rows go through, with picks at their ends and between.
    #[test]
    fn any_graph_gives_what_it_gave() {
        let mut moved_some = 0;
        for seed in 1..400u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut below = |n: usize| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as usize % n.max(1)
            };
            let b = Builder::new();
            let tys: Vec<Ty> =
                [[4, 6, 2], [1, 6, 8], [3, 2, 4]].iter().map(|s| Ty::new(DType::F64, s).unwrap()).collect();
            let mut all: Vec<Ex<'_>> = tys.iter().map(|t| b.ex(b.input(t))).collect();
            let index = Ty::new(DType::I64, &[3]).unwrap();
            let numbers = b.ex(b.input(&index));
            let mut outs = Vec::new();
            for _ in 0..14 {
                let x = all[below(all.len())].clone();
                let shape = x.shape();
                let (r, axis) = (shape.len(), below(shape.len()));
                let turned: Vec<usize> = (0..r).map(|d| (d + 1) % r).collect();
                let made = match below(11) {
                    0 => x.cos(),
                    1 => &x * &x.sum(Some(&[axis as i64]), true),
                    2 => {
                        let fits = |y: &&Ex<'_>| broadcast(&y.shape(), &shape).is_some();
                        let others: Vec<&Ex<'_>> = all.iter().filter(fits).collect();
                        &x + others[below(others.len())]
                    }
                    3 => x.permute(&turned),
                    4 => x.reshape(&[&shape[..axis], &[1], &shape[axis..]].concat()),
                    5 => x.reshape(&[shape[..axis].iter().product(), shape[axis..].iter().product()]),
                    6 => x.slice(axis, shape[axis] / 3, shape[axis] - shape[axis] / 3, 1),
                    7 => x.flip(&[axis]),
                    8 => Ex::concat(&[x.clone(), x.sin()], axis),
                    9 if r > 1 => x.matmul(&x.mt()),
                    _ => x.expand(&[&[2][..], &shape].concat()),
                };
                // what grows too large is left out
                if made.node().is_none_or(|id| b.ty_of(id).rank() > 4 || b.ty_of(id).numel() > 4000) || made.rank() == 0
                {
                    continue;
                }
                let (axis, shape) = (below(made.rank()), made.shape());
                // numbers below 2
                if shape[axis] >= 2 && below(3) == 0 {
                    let rows = made.index_select(axis as i64, &numbers);
                    outs.push(rows.clone());
                    all.push(rows);
                }
                all.push(made);
            }
            if below(3) == 0 {
                outs.push(all[below(all.len())].clone());
            }
            let g = b.snapshot(outs.iter().filter_map(Ex::node).collect()).unwrap();
            let moved = picks(&g).unwrap();
            moved.verify().unwrap();
            moved_some += usize::from(matches!(moved, Cow::Owned(_)));
            let mut args: Vec<Array> = tys.iter().enumerate().map(|(k, t)| wave(t, k)).collect();
            args.push(Array::from_data(Data::I64(vec![1, 0, 1]), &[3]));
            let (before, after) = (interp::run(&g, &args).unwrap(), interp::run(&moved, &args).unwrap());
            for (x, y) in before.iter().zip(&after) {
                assert_eq!(x.ty(), y.ty(), "seed {seed}");
                for (x, y) in x.to_f64_vec().into_iter().zip(y.to_f64_vec()) {
                    assert!(
                        x == y || (x - y).abs() <= 1e-12 * x.abs() || x.is_nan() && y.is_nan(),
                        "seed {seed}: {x}, {y}"
                    );
                }
            }
        }
        assert!(moved_some > 40, "{moved_some}");
    }
}
