//! From a graph over small tensors to one over their elements, scalars all of them, which can be one native function.
//!
//! A loop or call over tensors is a step that hands over values and runs kernels, each of which costs more than the arithmetic
//! on a few elements. So where there are loops or calls and tensors are small, an operation becomes one for each element, which
//! works in registers: those that act on elements alone are repeated, those that move elements are gone, sums and products are
//! written out. That is done before loops are differentiated backwards, so that all that is known of scalar loops holds here.
//!
//! What an operation does to the places of elements is asked of the operation itself, on arrays of numbers of elements.

use crate::{
    array::{Array, Data, View},
    error::Result,
    graph::{Args, Builder, Graph, Node, NodeId},
    op::{
        Attr, Op, OpDef, Signature, arith,
        control::{self, CALL, CALL_VJP, IF, PROJ, WHILE, WHILE_VJP, is_call, is_control},
        create, hold, index, integer, linalg, list, reduce, views, window,
    },
    ty::{DType, Shape, Ty},
};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Elements that a value may have: for more, kernels with vector lanes are faster, whatever it costs to call them.
const LARGEST: usize = 100;
/// Nodes that there may be: a limit for the time of compiling.
const NODES: usize = 1200;

/// The graph over elements; `None` if it has no loops or calls, or something that is too large or has no such form.
///
/// # Errors
/// A graph that is ill-typed, which is our bug.
pub(super) fn elements(g: &Graph) -> Result<Option<Graph>> {
    if !repeats(g) {
        return Ok(None);
    }
    Elements { left: NODES, done: FxHashMap::default() }.graph(g)
}

/// Whether there are loops or calls.
fn repeats(g: &Graph) -> bool {
    let mut todo = vec![g];
    while let Some(g) = todo.pop() {
        for (_, n) in g.nodes() {
            if n.op.is(&WHILE) || n.op.is(&WHILE_VJP) || is_call(&n.op) {
                return true;
            }
            todo.extend(n.subgraphs());
        }
    }
    false
}

/// How many scalars or lists a value becomes.
fn width(ty: &Ty) -> usize {
    if ty.is_list() { 1 } else { ty.numel() }
}
fn widths<'a>(tys: impl Iterator<Item = &'a Ty>) -> i64 {
    tys.map(width).sum::<usize>() as i64
}
/// The types of the elements of values, in order.
fn flat<'a>(tys: impl Iterator<Item = &'a Ty>) -> Vec<Ty> {
    let of = |ty: &Ty| if ty.is_list() { ty.clone() } else { Ty::scalar(ty.dtype) };
    tys.flat_map(|ty| std::iter::repeat_n(of(ty), width(ty))).collect()
}

struct Elements {
    /// Nodes that there may still be.
    left: usize,
    /// Sub-graphs that have been seen: a loop and its reverse mode have the same.
    done: FxHashMap<Arc<Graph>, Arc<Graph>>,
}

impl Elements {
    fn graph(&mut self, g: &Graph) -> Result<Option<Graph>> {
        let (b, live) = (Builder::new(), g.live());
        let mut map: Vec<Args> = vec![Args::new(); g.len()];
        let mut all: FxHashMap<NodeId, Vec<Args>> = FxHashMap::default();
        for &i in g.inputs() {
            let ty = g.ty(i);
            if width(ty) > LARGEST {
                return Ok(None);
            }
            map[i.index()] = flat(std::iter::once(ty)).iter().map(|ty| b.input(ty)).collect();
        }
        for (id, n) in g.nodes().filter(|(id, n)| live[id.index()] && !n.op.is(&create::INPUT)) {
            if n.op.is(&PROJ) {
                map[id.index()] = all[&n.args[0]][n.op.int(0) as usize].clone();
                continue;
            }
            if width(&n.ty) > LARGEST {
                return Ok(None);
            }
            let args: Vec<&[NodeId]> = n.args.iter().map(|a| &map[a.index()][..]).collect();
            if is_control(&n.op) {
                let Some(outs) = self.control(&b, g, n, &args)? else { return Ok(None) };
                map[id.index()] = outs.first().cloned().unwrap_or_default();
                all.insert(id, outs);
            } else {
                let tys: Vec<&Ty> = n.args.iter().map(|&a| g.ty(a)).collect();
                let Some(out) = operation(&b, n, &tys, &args)? else { return Ok(None) };
                map[id.index()] = out;
            }
            if b.len() > self.left {
                return Ok(None);
            }
        }
        let Some(left) = self.left.checked_sub(b.len()) else { return Ok(None) };
        self.left = left;
        b.finish(g.outputs().iter().flat_map(|o| map[o.index()].iter().copied()).collect()).map(Some)
    }

    /// A choice, loop or call: its results.
    fn control(&mut self, b: &Builder, g: &Graph, n: &Node, args: &[&[NodeId]]) -> Result<Option<Vec<Args>>> {
        let mut op = n.op.clone();
        let known: [&OpDef; 5] = [&IF, &WHILE, &WHILE_VJP, &CALL, &CALL_VJP];
        if !known.iter().any(|d| op.is(d)) {
            return Ok(None);
        }
        let tys = || n.args.iter().map(|&a| g.ty(a));
        if op.is(&WHILE) || op.is(&WHILE_VJP) {
            let carried = op.int(2) as usize;
            op.attrs[2] = Attr::Int(widths(tys().take(carried)));
        }
        if op.is(&WHILE_VJP) {
            let of = |&i: &i64| {
                let from = widths(tys().take(i as usize));
                from..from + width(g.ty(n.args[i as usize])) as i64
            };
            op.attrs[3] = Attr::Ints(n.op.ints(3).iter().flat_map(of).collect());
        }
        for attr in &mut op.attrs {
            match attr {
                Attr::Graph(part) => {
                    let known = self.done.get(part).cloned();
                    let over = match known {
                        Some(known) => known,
                        None => {
                            let Some(over) = self.graph(part)? else { return Ok(None) };
                            self.done.entry(part.clone()).or_insert(Arc::new(over)).clone()
                        }
                    };
                    *part = over;
                }
                Attr::Own(s) => *s = Arc::new(Signature { ins: flat(s.ins.iter()), outs: flat(s.outs.iter()) }),
                _ => {}
            }
        }
        let results = control::results(&n.op);
        if widths(results.iter()) == 0 {
            return Ok(None);
        }
        let mut outs = b.add_control(&op, &args.concat())?.into_iter();
        Ok(Some(results.iter().map(|ty| outs.by_ref().take(width(ty)).collect()).collect()))
    }
}

/// An operation on elements of arguments of these types: the elements of its result.
fn operation(b: &Builder, n: &Node, tys: &[&Ty], args: &[&[NodeId]]) -> Result<Option<Args>> {
    let (op, shape) = (&n.op, &n.ty.shape);
    let family = |all: &[&'static OpDef]| all.iter().any(|d| op.is(d));
    let one = |op: Op, args: &[NodeId]| b.add(op, args);
    if n.ty.is_list() || family(list::ALL) || op.is(&create::CONST) {
        // lists of a known length stay tensors
        if tys.iter().any(|ty| ty.rank() > 0 && !ty.is_list()) {
            return Ok(None);
        }
        let args: Args = args.iter().map(|a| a[0]).collect();
        return one(op.clone(), &args).map(|id| Some(Args::from_slice(&[id])));
    }
    if tys.iter().any(|ty| ty.is_list()) {
        return Ok(None);
    }
    if op.is(&create::IOTA) {
        let numbers = (0..n.ty.numel()).map(|i| one(create::constant(n.ty.dtype, i as f64), &[]));
        return numbers.collect::<Result<_>>().map(Some);
    }
    if op.def.is_elementwise() || family(integer::ALL) || family(hold::ALL) {
        let from = tys.iter().map(|ty| spread(&ty.shape, shape)).collect::<Result<Vec<_>>>()?;
        let of = |i: usize| {
            let args: Args = args.iter().zip(&from).map(|(a, from)| a[from[i]]).collect();
            one(op.clone(), &args)
        };
        return (0..n.ty.numel()).map(of).collect::<Result<_>>().map(Some);
    }
    if op.is(&index::GATHER) {
        let Some(index) = numbers(b, tys[1], args[1]) else { return Ok(None) };
        // what is out of range is an error only where it is read
        let from = op.eval(&[places(&tys[0].shape).view(), index.view()], &n.ty.with_dtype(DType::I64));
        return Ok(from.ok().map(|from| at(&from).map(|i| args[0][i]).collect()));
    }
    if op.moves() {
        return moved(b, n, tys, args).map(Some);
    }
    let to = match () {
        // what is summed along an axis, or put somewhere, comes from where the transpose takes it
        () if op.is(&reduce::SUM) => spread(shape, &tys[0].shape)?,
        () if op.is(&window::WINDOW_ADD) => {
            let read = [Attr::dims(&tys[0].shape), op.attrs[1].clone(), op.attrs[2].clone(), op.attrs[3].clone()];
            at(&Op::with(&window::WINDOW, read).eval(&[places(shape).view()], &tys[0].with_dtype(DType::I64))?)
                .collect()
        }
        () if op.is(&index::SCATTER_ADD) => {
            let Some(index) = numbers(b, tys[1], args[1]) else { return Ok(None) };
            let gather = Op::with(&index::GATHER, [op.attrs[0].clone()]);
            match gather.eval(&[places(shape).view(), index.view()], &tys[0].with_dtype(DType::I64)) {
                Ok(to) => at(&to).collect(),
                Err(_) => return Ok(None),
            }
        }
        () if op.is(&linalg::MATMUL) => return product(b, n, tys, args).map(Some),
        () => return Ok(None),
    };
    let mut terms: Vec<Args> = vec![Args::new(); n.ty.numel()];
    args[0].iter().zip(to).for_each(|(&x, to)| terms[to].push(x));
    terms.iter().map(|terms| sum(b, n.ty.dtype, terms)).collect::<Result<_>>().map(Some)
}

/// The sum of some values: of halves, so that it takes few steps after one another.
fn sum(b: &Builder, dtype: DType, terms: &[NodeId]) -> Result<NodeId> {
    match terms {
        [] => b.add(create::constant(dtype, 0.0), &[]),
        [one] => Ok(*one),
        _ => {
            let (left, right) = terms.split_at(terms.len() / 2);
            let sums = [sum(b, dtype, left)?, sum(b, dtype, right)?];
            b.add(Op::new(&arith::ADD), &sums)
        }
    }
}

/// A product of matrices on the last two axes: sums of products.
fn product(b: &Builder, n: &Node, tys: &[&Ty], args: &[&[NodeId]]) -> Result<Args> {
    let extent = |k: usize, last: usize| tys[k].shape[tys[k].rank() - last];
    let (rows, inner, columns) = (extent(0, 2), extent(0, 1), extent(1, 1));
    let mut out = Args::new();
    for batch in 0..n.ty.numel() / (rows * columns).max(1) {
        for (i, j) in (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))) {
            let term = |k: usize| {
                let (x, y) = (batch * rows * inner + i * inner + k, (batch * inner + k) * columns + j);
                b.add(Op::new(&arith::MUL), &[args[0][x], args[1][y]])
            };
            let terms = (0..inner).map(term).collect::<Result<Vec<_>>>()?;
            out.push(sum(b, n.ty.dtype, &terms)?);
        }
    }
    Ok(out)
}

/// An operation that puts each element of its arguments in some places, or nowhere; the rest is zeros.
fn moved(b: &Builder, n: &Node, tys: &[&Ty], args: &[&[NodeId]]) -> Result<Args> {
    let all = args.concat();
    // 0 stands for a zero
    let mut next = 1;
    let number = |ty: &&Ty| {
        let from = next;
        next += ty.numel() as i64;
        Array::from_data(Data::I64((from..next).collect()), &ty.shape)
    };
    let arrays: Vec<Array> = tys.iter().map(number).collect();
    let views: Vec<View<'_>> = arrays.iter().map(Array::view).collect();
    let found = n.op.eval(&views, &n.ty.with_dtype(DType::I64))?;
    let of = |k: usize| match k {
        0 => b.add(create::constant(n.ty.dtype, 0.0), &[]),
        k => Ok(all[k - 1]),
    };
    at(&found).map(of).collect()
}

/// For each element of the larger shape the number of that which is broadcast to it.
fn spread(from: &Shape, to: &Shape) -> Result<Vec<usize>> {
    let expand = Op::with(&views::EXPAND, [Attr::dims(to)]);
    let ty = Ty { dtype: DType::I64, shape: to.clone() };
    Ok(at(&expand.eval(&[places(from).view()], &ty)?).collect())
}
/// The numbers of the elements of a shape.
fn places(shape: &Shape) -> Array {
    let n: usize = shape.iter().product();
    Array::from_data(Data::I64((0..n as i64).collect()), shape)
}
/// An array of numbers of elements as such.
fn at(a: &Array) -> impl Iterator<Item = usize> + '_ {
    a.to_f64_vec().into_iter().map(|i| i as usize)
}
/// An index whose elements are constants.
fn numbers(b: &Builder, ty: &Ty, elements: &[NodeId]) -> Option<Array> {
    let all = elements.iter().map(|&id| {
        let op = b.node(id).op;
        op.is(&create::CONST).then(|| op.bits(1).cast_signed())
    });
    Some(Array::from_data(Data::I64(all.collect::<Option<_>>()?), &ty.shape))
}

#[cfg(test)]
mod tests {
    use super::super::Program;
    use super::*;
    use crate::interp;

    /// Three trips of y ← sin y from node `from` of a type, nodes from number `n` on.
    fn trips(from: usize, ty: &str, n: usize) -> String {
        let shape = &ty[3..];
        format!(
            "%{n} = const 0 : i64[]
%{} = while(%{n}, %{from}) {{cond={{
  %0 = input : i64[]
  %1 = input : {ty}
  %2 = const 3 : i64[]
  %3 = lt(%0, %2) : bool[]
  return %3
}}, body={{
  %0 = input : i64[]
  %1 = input : {ty}
  %2 = const 1 : i64[]
  %3 = add(%0, %2) : i64[]
  %4 = sin(%1) : {ty}
  return %3, %4
}}, carried=2}} : i64[]
%{} = proj(%{}) {{index=1, dtype=f64, shape={shape}}} : {ty}
return %{}
",
            n + 1,
            n + 2,
            n + 1,
            n + 2
        )
    }
    fn as_interpreted(text: &str, inputs: &[Array]) {
        let g: Graph = text.parse().unwrap();
        let got = Program::compile(&g, false).unwrap().run_arrays(inputs).unwrap();
        for (a, b) in interp::run(&g, inputs).unwrap().iter().zip(&got) {
            assert!(a.to_f64_vec().iter().zip(b.to_f64_vec()).all(|(a, b)| (a - b).abs() < 1e-14), "{a:?} {b:?}");
        }
    }
    fn tensor(n: usize, from: f64) -> Array {
        Array::from_data(Data::F64((0..n).map(|i| from + i as f64).collect()), &[n])
    }

    #[test]
    fn a_branch_of_many_inputs_and_no_operation() {
        let inputs = |indent: &str, first: usize| -> String {
            (first..first + 13).map(|k| format!("{indent}%{k} = input : f64[100]\n")).collect()
        };
        let args: Vec<String> = (1..14).map(|k| format!("%{k}")).collect();
        let text = format!(
            "%0 = input : bool[]\n{}%14 = if(%0, {}) {{then={{\n{}  return %0\n}}, else={{\n{}  return %1\n}}}} : f64[100]
%15 = proj(%14) {{index=0, dtype=f64, shape=[100]}} : f64[100]\n{}",
            inputs("", 1),
            args.join(", "),
            inputs("  ", 0),
            inputs("  ", 0),
            trips(15, "f64[100]", 16)
        );
        let mut all = vec![Array::from_data(Data::Bool(vec![false]), &[])];
        all.extend((0..13).map(|k| tensor(100, f64::from(k))));
        as_interpreted(&text, &all);
    }

    #[test]
    fn an_index_out_of_range_that_nobody_reads() {
        let text = format!(
            "%0 = input : bool[]
%1 = input : f64[3]
%2 = if(%0, %1) {{then={{
  %0 = input : f64[3]
  %1 = iota {{dtype=i64, n=5}} : i64[5]
  %2 = gather(%0, %1) {{dim=0}} : f64[5]
  return %2
}}, else={{
  %0 = input : f64[3]
  %1 = const 2.0 : f64[]
  %2 = expand(%1) {{shape=[5]}} : f64[5]
  return %2
}}}} : f64[5]
%3 = proj(%2) {{index=0, dtype=f64, shape=[5]}} : f64[5]
{}",
            trips(3, "f64[5]", 4)
        );
        as_interpreted(&text, &[Array::from_data(Data::Bool(vec![false]), &[]), tensor(3, 0.5)]);
    }
}
