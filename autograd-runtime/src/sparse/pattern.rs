//! From a graph and its inputs to the pattern of its derivatives: the graph is run node by node, with the set of floats that
//! each element depends on in place of its value. Loops are run trip by trip, of a choice the branch that is taken.
//!
//! * First order: a result depends on what the arguments depend on. Operations that only move elements are evaluated on
//!   arrays of the numbers of sets; others take unions, element by element, along an axis, or of everything.
//! * Second order: what meets in an operation that is not linear may have a second derivative (Walther, Computing sparse
//!   Hessians with automatic differentiation, ACM TOMS 34, 2008). Each such meeting is noted as a pair of sets.
//!
//! Invariant: a pattern has every element that may differ from zero; it may have more.

use super::{
    Order, Pattern,
    routine::{Routine, Step},
    sets::{EMPTY, LIMIT, Reader, Set, Sets, too_large},
};
use crate::{
    Error, Result,
    array::{Array, Data, Element, Slice, SliceMut, View, each, map_each},
    graph::Node,
    interp,
    op::{
        Attr, Derivative, Eval, Op, OpDef, arith, compare,
        control::{self, CALL_VJP, IF, PROJ, WHILE, WHILE_VJP},
        conv, create, hold, index, linalg, list, reduce, scan, window,
    },
    ty::{DType, Shape, Ty},
};
use ndarray::{ArrayViewD, IxDyn};
use rustc_hash::FxHashSet;
use smallvec::SmallVec;
use std::sync::Arc;

/// One number.
#[derive(Clone, Copy, Debug)]
pub enum Scalar {
    F32(f32),
    F64(f64),
    I64(i64),
    Bool(bool),
}
impl Scalar {
    fn from_bits(dtype: DType, bits: u64) -> Scalar {
        match dtype {
            DType::F32 => Scalar::F32(Element::from_bits(bits)),
            DType::F64 => Scalar::F64(Element::from_bits(bits)),
            DType::I64 => Scalar::I64(Element::from_bits(bits)),
            DType::Bool => Scalar::Bool(Element::from_bits(bits)),
        }
    }
    fn slice(&self) -> Slice<'_> {
        map_each!(Scalar => Slice, self, x => std::slice::from_ref(x))
    }
    fn slice_mut(&mut self) -> SliceMut<'_> {
        map_each!(Scalar => SliceMut, self, x => std::slice::from_mut(x))
    }
    fn array(self) -> Array {
        let one = map_each!(Scalar => Data, self, x => vec![x]);
        Array::from_data(one, &[])
    }
}

/// The value of a node, where it is needed.
#[derive(Clone, Debug)]
pub enum Number {
    Unknown,
    One(Scalar),
    Many(interp::Results),
}
impl Number {
    pub fn bits(dtype: DType, bits: u64) -> Number {
        Number::One(Scalar::from_bits(dtype, bits))
    }
    pub fn array(a: Array) -> Number {
        let ty = a.ty();
        if ty.rank() > 0 {
            return Number::Many(Arc::new(vec![a]));
        }
        a.into_data().bits(0).map_or(Number::Unknown, |b| Number::bits(ty.dtype, b))
    }
    fn results(&self, op: &Op) -> Result<interp::Results> {
        match self {
            Number::Unknown => Err(missing(op)),
            Number::One(x) => Ok(Arc::new(vec![x.array()])),
            Number::Many(all) => Ok(all.clone()),
        }
    }
    fn integer(&self, op: &Op) -> Result<i64> {
        if let Number::One(Scalar::I64(i)) = self { Ok(*i) } else { Err(missing(op)) }
    }
    fn truth(&self, op: &Op) -> Result<bool> {
        if let Number::One(Scalar::Bool(b)) = self { Ok(*b) } else { Err(missing(op)) }
    }
}

fn missing(op: &Op) -> Error {
    Error::value(op.name(), "expected a value where one decides on the pattern")
}

/// What the elements of a value depend on.
#[derive(Clone, Debug)]
enum Deps {
    /// All on the same.
    Same(Set),
    Each(Arc<Vec<Set>>),
}
const NONE: Deps = Deps::Same(EMPTY);

/// A value.
#[derive(Clone, Debug)]
struct Val {
    /// The number of elements, of floats.
    len: usize,
    deps: Deps,
    number: Number,
}

impl Val {
    fn shape(&self, ty: &Ty) -> Shape {
        if ty.is_list() { Shape::from_slice(&[self.len]) } else { ty.shape.clone() }
    }
    fn at(&self, i: usize) -> Set {
        match &self.deps {
            Deps::Same(s) => *s,
            Deps::Each(all) => all.get(i).copied().unwrap_or(EMPTY),
        }
    }
    fn is_constant(&self) -> bool {
        matches!(self.deps, Deps::Same(EMPTY))
    }
    fn each(&self) -> Vec<Set> {
        match &self.deps {
            Deps::Same(s) => vec![*s; self.len],
            Deps::Each(all) => all.to_vec(),
        }
    }
}

/// What a node has left.
enum Slot {
    Empty,
    One(Val),
    /// The results of control flow.
    Many(Vec<Val>),
}

/// An input of a graph.
pub struct Input {
    /// The number of elements.
    pub len: usize,
    /// The number of its first element among the floats that are differentiated, if it is.
    pub first: Option<usize>,
    /// Its value, if the routine reads it.
    pub number: Number,
}

/// Which elements of the derivative of the routine's graph in `n` floats may differ from zero.
///
/// # Errors
/// What an operation finds wrong with its values, or that there are too many elements.
pub fn find(routine: &Routine<'_>, inputs: Vec<Input>, n: usize, order: Order) -> Result<Pattern> {
    let pairs = (order == Order::Second).then(FxHashSet::default);
    let mut run = Run { sets: Sets::new(n)?, pairs };
    let args = inputs.into_iter().map(|x| {
        // the set {i} is number i + 1
        let own = |first: usize| match x.len {
            1 => Deps::Same(first as Set + 1),
            n => Deps::Each(Arc::new((first..first + n).map(|i| i as Set + 1).collect())),
        };
        Val { len: x.len, deps: x.first.map_or(NONE, own), number: x.number }
    });
    let outs = run.graph(routine, args.collect())?;
    let Run { sets, pairs } = run;
    match pairs {
        Some(pairs) => interactions(&sets, &pairs, n),
        None => {
            let float = routine.graph.output_types().map(|t| t.dtype.is_float());
            let outs: Vec<Val> = outs.into_iter().zip(float).filter(|(_, f)| *f).map(|(v, _)| v).collect();
            let rows = outs.iter().flat_map(|v| (0..v.len).map(|i| [v.at(i)]));
            written_out(&sets, rows, n)
        }
    }
}

/// The pattern whose rows are unions of sets.
fn written_out<R: IntoIterator<Item = Set>>(sets: &Sets, rows: impl Iterator<Item = R>, n: usize) -> Result<Pattern> {
    let mut reader = Reader::new(sets, n);
    let (mut starts, mut indices) = (vec![0], Vec::new());
    for row in rows {
        let from = indices.len();
        reader.members(row, |i| indices.push(i as usize));
        indices[from..].sort_unstable();
        starts.push(indices.len());
        if indices.len() > LIMIT {
            return Err(too_large("elements of a matrix", indices.len()));
        }
    }
    Ok(Pattern { columns: n, starts, indices })
}

/// The symmetric pattern of pairs of sets.
fn interactions(sets: &Sets, pairs: &FxHashSet<(Set, Set)>, n: usize) -> Result<Pattern> {
    let mut reader = Reader::new(sets, n);
    let mut meets: Vec<(u32, Set)> = Vec::new();
    for &(a, b) in pairs {
        let (mut of_a, from) = (0, meets.len());
        reader.members([a], |i| {
            meets.push((i, b));
            of_a += 1;
        });
        if a != b {
            reader.members([b], |i| meets.push((i, a)));
        }
        // each of the one with each of the other is an element
        let of_b = if a == b { of_a } else { meets.len() - from - of_a };
        let least = of_b.saturating_mul(of_a).max(meets.len());
        if least > LIMIT {
            return Err(too_large("elements of a matrix", least));
        }
    }
    meets.sort_unstable();
    let mut rest = &meets[..];
    let rows = (0..n as u32).map(|i| {
        let (row, after) = rest.split_at(rest.partition_point(|m| m.0 == i));
        rest = after;
        row.iter().map(|m| m.1)
    });
    written_out(sets, rows, n)
}

/// Where second derivatives of an operation come from.
enum Bend {
    /// It is linear, piecewise or in every argument that is a float.
    No,
    /// From pairs of different arguments.
    Product,
    /// From the second argument with both.
    Quotient,
    /// From all pairs.
    All,
}

fn bend(op: &Op) -> Bend {
    const PIECEWISE: [&OpDef; 22] = [
        &arith::NEG,
        &arith::ABS,
        &arith::RELU,
        &arith::COPY,
        &arith::ADD,
        &arith::SUB,
        &arith::MAXIMUM,
        &arith::MINIMUM,
        &arith::FMAX,
        &arith::FMIN,
        &arith::COPYSIGN,
        &arith::CLAMP,
        &compare::SELECT,
        &compare::CAST,
        &reduce::AMAX,
        &reduce::AMIN,
        &index::CONCAT,
        &index::GATHER,
        &index::SCATTER_ADD,
        &window::SET_WINDOW,
        &list::SET,
        &hold::AFTER,
    ];
    match op.def.derivative {
        Derivative::Linear(_) | Derivative::Zero => Bend::No,
        _ if PIECEWISE.iter().any(|def| op.is(def)) || op.is(&list::ADD) || op.is(&list::OF) => Bend::No,
        Derivative::Multilinear(_) => Bend::Product,
        _ if op.is(&arith::MUL) => Bend::Product,
        _ if op.is(&arith::DIV) => Bend::Quotient,
        _ => Bend::All,
    }
}

struct Run {
    sets: Sets,
    /// What has met, where second derivatives are asked for.
    pairs: Option<FxHashSet<(Set, Set)>>,
}

impl Run {
    fn graph(&mut self, r: &Routine<'_>, args: Vec<Val>) -> Result<Vec<Val>> {
        let mut slots: Vec<Slot> = Vec::new();
        slots.resize_with(r.graph.len(), || Slot::Empty);
        for (id, x) in r.graph.inputs().iter().zip(args) {
            slots[id.index()] = Slot::One(x);
        }
        for step in &r.steps {
            let out = self.step(r, step, &mut slots)?;
            for (a, _) in step.node.args.iter().zip(&step.last).filter(|(_, last)| **last) {
                slots[a.index()] = Slot::Empty;
            }
            slots[step.id.index()] = out;
        }
        Ok(r.graph.outputs().iter().map(|o| read(&slots[o.index()])).collect())
    }

    fn step(&mut self, r: &Routine<'_>, step: &Step<'_>, slots: &mut [Slot]) -> Result<Slot> {
        let (node, op) = (step.node, &step.node.op);
        if op.is(&PROJ) {
            return Ok(Slot::One(match &slots[node.args[0].index()] {
                Slot::Many(all) => all.get(op.int(0) as usize).cloned().ok_or_else(|| missing(op))?,
                other => read(other),
            }));
        }
        let written = [&list::SET, &list::ADD].iter().any(|def| op.is(def));
        if !written && !control::is_control(op) {
            let nothing = nothing();
            let args: SmallVec<[&Val; 4]> = node
                .args
                .iter()
                .map(|a| match &slots[a.index()] {
                    Slot::One(v) => v,
                    Slot::Many(all) => all.first().unwrap_or(&nothing),
                    Slot::Empty => &nothing,
                })
                .collect();
            return self.operation(r, step, &args).map(Slot::One);
        }
        // what is changed in place is to have no other owner
        let mut args: Vec<Val> = Vec::with_capacity(node.args.len());
        for (a, &last) in node.args.iter().zip(&step.last) {
            let slot = &mut slots[a.index()];
            args.push(match slot {
                Slot::One(_) if last => match std::mem::replace(slot, Slot::Empty) {
                    Slot::One(v) => v,
                    other => read(&other),
                },
                other => read(other),
            });
        }
        if written { self.write(step, args).map(Slot::One) } else { self.control_flow(step, args).map(Slot::Many) }
    }

    fn control_flow(&mut self, step: &Step<'_>, mut args: Vec<Val>) -> Result<Vec<Val>> {
        let op = &step.node.op;
        if op.is(&IF) {
            let branch = if args[0].number.truth(op)? { &step.parts[0] } else { &step.parts[1] };
            return self.graph(branch, args.split_off(1));
        }
        if !op.is(&WHILE) {
            return self.whole(step, &args);
        }
        let captures = args.split_off(op.int(2) as usize);
        loop {
            let all = || args.iter().chain(&captures).cloned().collect();
            let go = self.graph(&step.parts[0], all())?;
            if !go.first().ok_or_else(|| missing(op))?.number.truth(op)? {
                return Ok(args);
            }
            args.extend(captures.iter().cloned());
            args = self.graph(&step.parts[1], args)?;
        }
    }

    /// Control flow whose results may depend on all arguments.
    fn whole(&mut self, step: &Step<'_>, args: &[Val]) -> Result<Vec<Val>> {
        let op = &step.node.op;
        let all = self.sets.union_all(args.iter().flat_map(Val::each))?;
        self.meet(all, all);
        let numbers = if step.valued {
            let given = args.iter().map(|a| a.number.results(op)).collect::<Result<Vec<_>>>()?;
            let out = interp::run_node(step.node, &given.iter().collect::<Vec<_>>())?;
            out.iter().map(|a| Number::array(a.clone())).collect()
        } else {
            Vec::new()
        };
        let wrt = |k: usize| {
            let i = match () {
                () if op.is(&WHILE_VJP) => usize::try_from(*op.ints(3).get(k)?).ok()?,
                () if op.is(&CALL_VJP) => *op.called().float_ins().get(k)?,
                () => return None,
            };
            args.get(i)
        };
        let of = |(k, ty): (usize, &Ty)| {
            // a cotangent is as long as what it is of
            let len = if ty.is_list() { wrt(k).map_or(0, |a| a.len) } else { ty.numel() };
            let deps = if ty.dtype.is_float() { Deps::Same(all) } else { NONE };
            Val { len, deps, number: numbers.get(k).cloned().unwrap_or(Number::Unknown) }
        };
        Ok(control::results(op).iter().enumerate().map(of).collect())
    }

    fn operation(&mut self, r: &Routine<'_>, step: &Step<'_>, args: &[&Val]) -> Result<Val> {
        let (node, op) = (step.node, &step.node.op);
        let number = if step.valued { value(node, args)? } else { Number::Unknown };
        if !node.ty.dtype.is_float() {
            return Ok(Val { len: 0, deps: NONE, number });
        }
        if let Some(set) = self.scalar(node, args)? {
            return Ok(Val { len: 1, deps: Deps::Same(set), number });
        }
        let shapes: SmallVec<[Shape; 4]> =
            node.args.iter().zip(args).map(|(a, v)| length(r.graph.ty(*a), v).shape).collect();
        let shape = if node.ty.is_list() { list_shape(r, node, args, &shapes)? } else { node.ty.shape.clone() };
        let len = shape.iter().product();
        let here = Here { node, args, shapes: &shapes, shape: &shape, len };
        let deps = match self.depends(&here)? {
            Deps::Each(all) if all.len() != len => {
                return Err(Error::shape(op.name(), format!("a pattern of {len} elements"), all.len().to_string()));
            }
            Deps::Each(all) if len == 1 => Deps::Same(all[0]),
            deps => deps,
        };
        Ok(Val { len, deps, number })
    }

    /// What the result of a loop's usual operations depends on: of arithmetic with scalars, and of a read.
    fn scalar(&mut self, node: &Node, args: &[&Val]) -> Result<Option<Set>> {
        let op = &node.op;
        if op.is(&list::GET) {
            let (i, len) = (args[1].number.integer(op)?, args[0].len);
            let inside = usize::try_from(i).ok().filter(|&i| i < len);
            return Ok(Some(args[0].at(inside.ok_or_else(|| list::out_of_range(op, i, len as i64))?)));
        }
        match same(args) {
            Some(_) if matches!(op.def.derivative, Derivative::Zero) => Ok((node.ty.rank() == 0).then_some(EMPTY)),
            Some(sets) if node.ty.rank() == 0 && op.def.is_elementwise() => self.bent(op, &sets).map(Some),
            _ => Ok(None),
        }
    }

    /// What the elements of a result depend on.
    fn depends(&mut self, at: &Here<'_>) -> Result<Deps> {
        let (op, args) = (&at.node.op, at.args);
        if matches!(op.def.derivative, Derivative::Zero) || args.iter().all(|a| a.is_constant()) {
            return Ok(NONE);
        }
        if op.def.is_elementwise() || matches!(op.def.derivative, Derivative::Elementwise(_)) {
            return self.elementwise(at);
        }
        if op.moves() {
            return moved(at);
        }
        if op.is(&list::FILL) {
            return Ok(Deps::Same(args[0].at(0)));
        }
        if op.is(&list::OF) {
            return Ok(Deps::Each(Arc::new(args.iter().map(|a| a.at(0)).collect())));
        }
        if [&reduce::SUM, &reduce::AMAX, &reduce::AMIN].iter().any(|def| op.is(def)) {
            let to = spread_numbers(at.shape, &at.shapes[0])?;
            return self.gathered(args[0], &to, at.len);
        }
        if op.is(&index::SCATTER_ADD) || op.is(&window::WINDOW_ADD) {
            let to = places(at)?;
            return self.gathered(args[0], &to, at.len);
        }
        if op.is(&conv::CONV) {
            return self.convolution(at);
        }
        if op.is(&linalg::MATMUL) {
            return self.product(at);
        }
        if [&scan::CUMSUM, &scan::RECURRENCE, &scan::LOGCUMSUMEXP].iter().any(|def| op.is(def)) {
            return self.running(at);
        }
        let each: Vec<Set> = args.iter().map(|a| self.all(a)).collect::<Result<_>>()?;
        let all = self.bent(op, &each)?;
        Ok(Deps::Same(all))
    }

    /// The union of all that a value depends on.
    fn all(&mut self, v: &Val) -> Result<Set> {
        match &v.deps {
            Deps::Same(s) => Ok(*s),
            Deps::Each(all) => self.sets.union_all(all.iter().copied()),
        }
    }

    /// Notes that what two sets stand for meets where it counts.
    fn meet(&mut self, a: Set, b: Set) {
        if let Some(pairs) = &mut self.pairs
            && a != EMPTY
            && b != EMPTY
        {
            pairs.insert((a.min(b), a.max(b)));
        }
    }

    /// The union of what the arguments of an operation depend on, with what meets in it.
    fn bent(&mut self, op: &Op, args: &[Set]) -> Result<Set> {
        let all = match *args {
            [a] => a,
            [a, b] => self.sets.union(a, b)?,
            _ => self.sets.union_all(args.iter().copied())?,
        };
        if self.pairs.is_some() && all != EMPTY {
            match bend(op) {
                Bend::No => {}
                Bend::All => self.meet(all, all),
                Bend::Quotient => {
                    self.meet(args[0], args[1]);
                    self.meet(args[1], args[1]);
                }
                Bend::Product => {
                    for (k, &a) in args.iter().enumerate() {
                        args[k + 1..].iter().for_each(|&b| self.meet(a, b));
                    }
                }
            }
        }
        Ok(all)
    }

    fn elementwise(&mut self, at: &Here<'_>) -> Result<Deps> {
        let op = &at.node.op;
        if let Some(same) = same(at.args) {
            return self.bent(op, &same).map(Deps::Same);
        }
        let args: SmallVec<[Vec<Set>; 3]> =
            at.args.iter().zip(at.shapes).map(|(a, s)| at.over(a, s)).collect::<Result<_>>()?;
        let mut out = Vec::with_capacity(at.len);
        for i in 0..at.len {
            let each: SmallVec<[Set; 3]> = args.iter().map(|all| all[i]).collect();
            out.push(self.bent(op, &each)?);
        }
        Ok(Deps::Each(Arc::new(out)))
    }

    /// For each place the union of those elements of a value that go `to` it.
    fn gathered(&mut self, from: &Val, to: &[Set], n: usize) -> Result<Deps> {
        if let (Deps::Same(s), 1) = (&from.deps, n) {
            return Ok(Deps::Same(*s));
        }
        let mut order: Vec<(Set, Set)> = to.iter().enumerate().map(|(i, &t)| (t, from.at(i))).collect();
        order.sort_unstable();
        order.dedup();
        let mut out = vec![EMPTY; n];
        for group in order.chunk_by(|a, b| a.0 == b.0) {
            let place = out.get_mut(group[0].0 as usize);
            let union = self.sets.union_all(group.iter().map(|g| g.1))?;
            if let Some(place) = place {
                *place = union;
            }
        }
        Ok(Deps::Each(Arc::new(out)))
    }

    /// Unions of a value along an axis, which has extent 1 afterwards.
    fn folded(&mut self, v: &Val, shape: &[usize], dim: usize) -> Result<Val> {
        let mut to: Shape = shape.into();
        to[dim] = 1;
        let len: usize = to.iter().product();
        let deps = if v.is_constant() { NONE } else { self.gathered(v, &spread_numbers(&to, shape)?, len)? };
        Ok(Val { len, deps, number: Number::Unknown })
    }

    /// A matrix product: an element depends on a row and a column.
    fn product(&mut self, at: &Here<'_>) -> Result<Deps> {
        let rank = at.shape.len();
        let mut lines = Vec::new();
        for (k, dim) in [(0, rank - 1), (1, rank - 2)] {
            let line = self.folded(at.args[k], &at.shapes[k], dim)?;
            let mut shape = at.shapes[k].clone();
            shape[dim] = 1;
            lines.push((line, shape));
        }
        let args: SmallVec<[&Val; 2]> = lines.iter().map(|l| &l.0).collect();
        let shapes: SmallVec<[Shape; 4]> = lines.iter().map(|l| l.1.clone()).collect();
        self.elementwise(&Here { args: &args, shapes: &shapes, ..*at })
    }

    /// A sum along an axis of all up to each place: it depends on what comes before it, or behind.
    fn running(&mut self, at: &Here<'_>) -> Result<Deps> {
        let op = &at.node.op;
        let dim = op.int(0) as usize;
        let back = !op.is(&scan::LOGCUMSUMEXP) && op.int(1) != 0;
        let mut all = vec![EMPTY; at.len];
        for a in at.args {
            for (i, set) in all.iter_mut().enumerate() {
                *set = self.sets.union(*set, a.at(i))?;
            }
        }
        let (n, inner): (usize, usize) = (at.shape[dim], at.shape[dim + 1..].iter().product());
        for k in 1..n {
            let (now, before) = if back { (n - 1 - k, n - k) } else { (k, k - 1) };
            for row in (0..at.len).step_by((n * inner).max(1)) {
                for i in 0..inner {
                    let from = all[row + before * inner + i];
                    let to = &mut all[row + now * inner + i];
                    *to = self.sets.union(*to, from)?;
                }
            }
        }
        if matches!(bend(op), Bend::All) {
            all.iter().for_each(|&s| self.meet(s, s));
        }
        Ok(Deps::Each(Arc::new(all)))
    }

    /// A convolution: an element depends on the weights of its channel and on what is under the kernel, which is a box, so that
    /// unions along one axis after the other give it.
    fn convolution(&mut self, at: &Here<'_>) -> Result<Deps> {
        let (op, x, w) = (&at.node.op, &at.shapes[0], &at.shapes[1]);
        let groups = usize::try_from(op.int(3)).unwrap_or(1).max(1);
        let (images, channels, area) = (x[0] * groups, x[1] / groups, x[2..].iter().product());
        let mut image = self.unions(&at.args[0].each(), [images, channels, area], 1, |_| 0..channels)?;
        for d in 2..x.len() {
            let [stride, padding, dilation] = [0, 1, 2].map(|i| op.dims(i)[d - 2]);
            let outer = images * at.shape[2..d].iter().product::<usize>();
            let under = |p: usize| (0..w[d]).filter_map(move |k| (p * stride + k * dilation).checked_sub(padding));
            image = self.unions(&image, [outer, x[d], x[d + 1..].iter().product()], at.shape[d], under)?;
        }
        let size = w[1..].iter().product();
        let weight = self.unions(&at.args[1].each(), [w[0], size, 1], 1, |_| 0..size)?;
        let positions: usize = at.shape[2..].iter().product();
        let of_group = (at.shape[1] / groups).max(1);
        let mut all = Vec::with_capacity(at.len);
        for n in 0..x[0] {
            for (o, &weight) in weight.iter().enumerate() {
                let from = (n * groups + o / of_group) * positions;
                for &under in &image[from..from + positions] {
                    all.push(self.bent(op, &[under, weight])?);
                }
            }
        }
        Ok(Deps::Each(Arc::new(all)))
    }

    /// Unions along the middle axis: for each of `n` places of those elements that there are among some.
    fn unions<I: Iterator<Item = usize>>(
        &mut self,
        all: &[Set],
        [outer, extent, inner]: [usize; 3],
        n: usize,
        of: impl Fn(usize) -> I,
    ) -> Result<Vec<Set>> {
        let mut out = Vec::with_capacity(outer * n * inner);
        for o in 0..outer {
            for p in 0..n {
                for i in 0..inner {
                    let these = of(p).filter(|&k| k < extent).map(|k| all[(o * extent + k) * inner + i]);
                    out.push(self.sets.union_all(these)?);
                }
            }
        }
        Ok(out)
    }

    /// A list with an element replaced or added to.
    fn write(&mut self, step: &Step<'_>, mut args: Vec<Val>) -> Result<Val> {
        let op = &step.node.op;
        let (Some(element), Some(at), Some(mut to)) = (args.pop(), args.pop(), args.pop()) else {
            return Err(missing(op));
        };
        let (i, len) = (at.number.integer(op)?, length(&step.node.ty, &to).numel());
        let inside = usize::try_from(i).ok().filter(|&k| k < len);
        let k = inside.ok_or_else(|| list::out_of_range(op, i, len as i64))?;
        let add = op.is(&list::ADD);
        let set = if add { self.sets.union(to.at(k), element.at(0))? } else { element.at(0) };
        if to.at(k) != set {
            if let Deps::Same(_) = to.deps {
                to.deps = Deps::Each(Arc::new(to.each()));
            }
            if let Deps::Each(all) = &mut to.deps {
                Arc::make_mut(all)[k] = set;
            }
        }
        match (&mut to.number, &element.number) {
            (Number::Many(all), Number::One(x)) if step.valued => put(Arc::<Vec<Array>>::make_mut(all), k, *x, add),
            (number, _) if step.valued => return number.results(op).and(Err(missing(op))),
            (number, _) => *number = Number::Unknown,
        }
        Ok(to)
    }
}

/// A node with its arguments.
#[derive(Clone, Copy)]
struct Here<'a> {
    node: &'a Node,
    args: &'a [&'a Val],
    /// The shapes of the arguments.
    shapes: &'a [Shape],
    /// That of the result.
    shape: &'a Shape,
    len: usize,
}
impl Here<'_> {
    /// The sets of an argument, broadcast to the result.
    fn over(&self, a: &Val, shape: &Shape) -> Result<Vec<Set>> {
        match &a.deps {
            Deps::Same(s) => Ok(vec![*s; self.len]),
            Deps::Each(all) => spread(all, shape, self.shape),
        }
    }
}

fn read(slot: &Slot) -> Val {
    match slot {
        Slot::One(v) => v.clone(),
        Slot::Many(all) => all.first().cloned().unwrap_or_else(nothing),
        Slot::Empty => nothing(),
    }
}

/// What stands for values that nobody needs.
fn nothing() -> Val {
    Val { len: 0, deps: NONE, number: Number::Unknown }
}

/// The one set of each argument, if each has one.
fn same(args: &[&Val]) -> Option<SmallVec<[Set; 3]>> {
    args.iter().map(|a| if let Deps::Same(s) = a.deps { Some(s) } else { None }).collect()
}

/// The type of a value, with its length if it is a list.
fn length(ty: &Ty, v: &Val) -> Ty {
    let known = match &v.number {
        Number::Many(all) if ty.is_list() => all.first().map(Array::ty),
        _ => None,
    };
    known.unwrap_or_else(|| ty.with_shape(v.shape(ty)))
}

/// The length of a list that an operation gives.
fn list_shape(r: &Routine<'_>, node: &Node, args: &[&Val], shapes: &[Shape]) -> Result<Shape> {
    let op = &node.op;
    Ok(if op.is(&list::FILL) {
        Shape::from_slice(&[list::length(args[1].number.integer(op)?, op)?])
    } else if op.is(&list::OF) {
        Shape::from_slice(&[args.len()])
    } else {
        let tys: Vec<Ty> = node.args.iter().zip(shapes).map(|(a, s)| r.graph.ty(*a).with_shape(s.clone())).collect();
        op.infer(&tys.iter().collect::<Vec<_>>())?.shape
    })
}

/// Elements of one shape, broadcast to another one.
fn spread(all: &[Set], from: &[usize], to: &[usize]) -> Result<Vec<Set>> {
    if from == to {
        return Ok(all.to_vec());
    }
    let view = ArrayViewD::from_shape(IxDyn(from), all).ok();
    let wide = view.as_ref().and_then(|v| v.broadcast(IxDyn(to)));
    let wrong = || Error::shape("sparse", format!("a shape that broadcasts to {to:?}"), format!("{from:?}"));
    Ok(wide.ok_or_else(wrong)?.iter().copied().collect())
}
/// The numbers of the elements of one shape, broadcast to another one.
fn spread_numbers(from: &[usize], to: &[usize]) -> Result<Vec<Set>> {
    let n: usize = from.iter().product();
    spread(&(0..n as Set).collect::<Vec<_>>(), from, to)
}

/// The sets of a value as an array that operations move.
fn as_array(v: &Val, shape: &[usize]) -> Array {
    let all: Vec<i64> = v.each().into_iter().map(i64::from).collect();
    Array::from_data(Data::I64(all), shape)
}
fn as_sets(a: Array) -> Vec<Set> {
    match a.into_data() {
        Data::I64(all) => all.into_iter().map(|s| s as Set).collect(),
        _ => Vec::new(),
    }
}

/// The operation on the numbers of sets; where it puts a zero, nothing is depended on.
fn moved(at: &Here<'_>) -> Result<Deps> {
    let op = &at.node.op;
    let one = match same(at.args) {
        // an index depends on nothing
        Some(all) if at.args.len() == 1 || op.is(&index::GATHER) => Some(all[0]),
        _ => None,
    };
    if let (Some(s), false) = (one, op.is(&index::UNSLICE)) {
        return Ok(Deps::Same(s));
    }
    let arrays: Vec<Array> = at
        .args
        .iter()
        .zip(at.shapes)
        .enumerate()
        .map(|(k, (a, shape))| match (op.is(&index::GATHER) && k == 1, &a.number) {
            (true, n) => n.results(op).map(|all| all[0].clone()),
            _ => Ok(as_array(a, shape)),
        })
        .collect::<Result<_>>()?;
    let views: Vec<View<'_>> = arrays.iter().map(Array::view).collect();
    let ty = Ty { dtype: DType::I64, shape: at.shape.clone() };
    Ok(Deps::Each(Arc::new(as_sets(op.eval(&views, &ty)?))))
}

/// Where an operation that adds up puts the elements of its argument: what its transpose reads there.
fn places(at: &Here<'_>) -> Result<Vec<Set>> {
    let op = &at.node.op;
    let numbers = Array::from_data(Data::I64((0..at.len as i64).collect()), at.shape);
    let ty = Ty { dtype: DType::I64, shape: at.shapes[0].clone() };
    if op.is(&window::WINDOW_ADD) {
        let geometry = [Attr::dims(&ty.shape), op.attrs[1].clone(), op.attrs[2].clone(), op.attrs[3].clone()];
        return Ok(as_sets(Op::with(&window::WINDOW, geometry).eval(&[numbers.view()], &ty)?));
    }
    let index = at.args[1].number.results(op)?;
    let gather = Op::with(&index::GATHER, [op.attrs[0].clone()]);
    Ok(as_sets(gather.eval(&[numbers.view(), index[0].view()], &ty)?))
}

/// The value of a node.
fn value(node: &Node, args: &[&Val]) -> Result<Number> {
    let op = &node.op;
    if op.is(&create::CONST) {
        return Ok(Number::bits(op.dtype(0), op.bits(1)));
    }
    if op.is(&list::LEN) {
        let len = match &args[0].number {
            Number::Many(all) => all.first().map_or(args[0].len, |a| a.ty().numel()),
            _ => args[0].len,
        };
        return Ok(Number::One(Scalar::I64(len as i64)));
    }
    if op.is(&list::GET) {
        let (i, Number::Many(all)) = (args[1].number.integer(op)?, &args[0].number) else { return Err(missing(op)) };
        return element(op, &all[0], i);
    }
    if let (Eval::Pointwise(kernel), 0) = (&op.def.eval, node.ty.rank())
        && let Some(ones) = args.iter().map(|a| one(&a.number)).collect::<Option<SmallVec<[Slice<'_>; 3]>>>()
    {
        let mut out = Scalar::from_bits(node.ty.dtype, 0);
        kernel(op, &ones, out.slice_mut())?;
        return Ok(Number::One(out));
    }
    let given = args.iter().map(|a| a.number.results(op)).collect::<Result<Vec<_>>>()?;
    let out = interp::run_node(node, &given.iter().collect::<Vec<_>>())?;
    Ok(match out.first() {
        Some(a) if a.ty().rank() == 0 => Number::array(a.clone()),
        _ => Number::Many(out),
    })
}

fn one(n: &Number) -> Option<Slice<'_>> {
    if let Number::One(x) = n { Some(x.slice()) } else { None }
}

fn element(op: &Op, a: &Array, i: i64) -> Result<Number> {
    let found = usize::try_from(i).ok().and_then(|i| each!(Array, a, x => x.get(IxDyn(&[i])).map(|x| x.bits())));
    let found = found.ok_or_else(|| list::out_of_range(op, i, a.ty().numel() as i64))?;
    Ok(Number::bits(a.ty().dtype, found))
}

/// Writes an element of a list.
fn put(list: &mut [Array], i: usize, x: Scalar, add: bool) {
    let at = IxDyn(&[i]);
    match (list.first_mut(), x) {
        (Some(Array::F32(a)), Scalar::F32(x)) => a[at] = if add { a[at.clone()] + x } else { x },
        (Some(Array::F64(a)), Scalar::F64(x)) => a[at] = if add { a[at.clone()] + x } else { x },
        (Some(Array::I64(a)), Scalar::I64(x)) => a[at] = if add { a[at.clone()].wrapping_add(x) } else { x },
        (Some(Array::Bool(a)), Scalar::Bool(x)) => a[at] = x,
        _ => {}
    }
}
