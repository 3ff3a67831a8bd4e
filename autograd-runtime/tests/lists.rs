//! Random structured programs over lists: the interpreter and compiled programs agree, on the programs and on their
//! derivatives of first and second order; the patterns of these have all their elements.
//!
//! A program is a state of a few numbers and lists, and statements that assign to parts of it: arithmetic, reads, writes,
//! swaps, choices and loops, of which some have trips that do not depend on one another. What a choice or loop leaves as it was is captured or carried, by chance. Programs are drawn from
//! a tape of numbers, so that what fails is made smaller by making its tape shorter.

mod common;

use autograd_runtime::{
    Error,
    array::Array,
    diff,
    emit::{Ex, apply, constant},
    graph::{Builder, Graph, NodeId},
    interp,
    op::{Attr, Op, OpDef, control, integer, list},
    program::Program,
    ty::{DType, Ty},
};
use common::{Rng, array, ty};
use std::{ops::Range, sync::Arc};

/// What a program is drawn from: numbers, and zeros after them.
struct Tape<'t> {
    numbers: &'t [u16],
    at: usize,
}
impl Tape<'_> {
    fn below(&mut self, n: usize) -> usize {
        let x = self.numbers.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        usize::from(x) % n
    }
    fn of(&mut self, r: Range<usize>) -> usize {
        r.start + self.below(r.len())
    }
    fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == one_in - 1
    }
    fn ended(&self) -> bool {
        self.at >= self.numbers.len()
    }
}

// the state: floats, an integer that is an index, a counter for each depth of loops, a flag, the length, lists
const FLOATS: Range<usize> = 0..3;
const INDEX: usize = 3;
const COUNTERS: Range<usize> = 4..7;
const FLAG: usize = 7;
const LEN: usize = 8;
const LISTS: Range<usize> = 9..12;

type State = Vec<NodeId>;

fn state_ty(k: usize) -> Ty {
    match k {
        _ if FLOATS.contains(&k) => Ty::scalar(DType::F64),
        FLAG => Ty::scalar(DType::Bool),
        _ if LISTS.contains(&k) => Ty::list(DType::F64),
        _ => Ty::scalar(DType::I64),
    }
}

/// A construction in progress, of one region.
struct Make<'b, 't, 'n> {
    b: &'b Builder,
    t: &'t mut Tape<'n>,
    s: State,
    /// Loops around.
    depth: usize,
    /// Counters that are below the length.
    indices: Vec<usize>,
}

fn id(x: &Ex<'_>) -> NodeId {
    x.node().expect("a node")
}
fn op<'b>(def: &'static OpDef, args: &[&Ex<'b>]) -> Ex<'b> {
    let attrs = def.attrs.iter().map(|_| Attr::Int(0));
    apply(Op::with(def, attrs), args)
}

impl<'b> Make<'b, '_, '_> {
    fn at(&self, k: usize) -> Ex<'b> {
        self.b.ex(self.s[k])
    }
    fn put(&mut self, k: usize, x: &Ex<'_>) {
        self.s[k] = id(x);
    }
    fn int(&self, x: i64) -> Ex<'b> {
        constant(self.b, DType::I64, x as f64)
    }
    fn float(&mut self) -> Ex<'b> {
        let k = self.t.of(FLOATS);
        self.at(k)
    }
    /// A number below the length, not always a simple one.
    fn index(&mut self) -> Ex<'b> {
        let counter = self.indices.last().map(|&k| self.at(k));
        match (self.t.below(8), counter) {
            (0 | 1, Some(c)) => c,
            (2, Some(c)) => self.at(LEN) - self.int(1) - c,
            (3, _) => self.at(INDEX),
            (4, _) => self.int(0),
            (5, _) => self.at(LEN) - self.int(1),
            (6, _) => op(&list::WITHIN, &[&self.wrapped(), &self.at(LEN)]),
            _ => self.wrapped(),
        }
    }
    /// (counter · k + c) mod n.
    fn wrapped(&mut self) -> Ex<'b> {
        let k = self.t.of(INDEX..COUNTERS.end);
        let (by, plus) = (self.t.below(3) as i64 + 1, self.t.below(3) as i64);
        let x = self.at(k) * self.int(by) + self.int(plus) + self.at(LEN) * self.int(3);
        op(&integer::REM, &[&x, &self.at(LEN)])
    }
    /// A truth value; of floats only where the numbers that it is asked of are not at the limit.
    fn truth(&mut self) -> Ex<'b> {
        match self.t.below(4) {
            0 => {
                let limit = [0.0371, -0.4183, 0.5179, -7.1][self.t.below(4)];
                let x = self.float();
                x.lt(&x.lit(limit))
            }
            1 => {
                let k = self.t.of(INDEX..COUNTERS.end);
                let (m, r) = (self.t.below(2) as i64 + 2, self.t.below(2) as i64);
                op(&integer::REM, &[&self.at(k), &self.int(m)]).eq(&self.int(r))
            }
            2 => self.at(FLAG),
            _ => {
                let (l, i) = (self.t.of(LISTS), self.index());
                let x = op(&list::GET, &[&self.at(l), &i]);
                x.lt(&x.lit(0.1234))
            }
        }
    }
    /// A number made of two, not much larger than they are.
    fn arithmetic(&mut self) -> Ex<'b> {
        let (x, y) = (self.float(), self.float());
        match self.t.below(7) {
            0 => x.sin() * y,
            1 => x * 0.5 + y * 0.375,
            2 => x.tanh() + 0.25,
            3 => (x * y).sin(),
            4 => x.cos() * 0.75 - y.sin() * 0.5,
            5 => x * -0.75,
            _ => y.sin() / (x.square() + 1.5),
        }
    }
    fn statements(&mut self, most: usize) {
        let n = self.t.below(most) + 1;
        for _ in 0..n {
            if !self.t.ended() {
                self.statement();
            }
        }
    }
    fn statement(&mut self) {
        let l = self.t.of(LISTS);
        match self.t.below(26) {
            0..=2 => {
                let (k, x) = (self.t.of(FLOATS), self.arithmetic());
                self.put(k, &x);
            }
            3..=6 => {
                let (k, i) = (self.t.of(FLOATS), self.index());
                let x = op(&list::GET, &[&self.at(l), &i]);
                let x = if self.t.chance(3) { x } else { x * 0.5 + self.at(k).sin() * 0.5 };
                self.put(k, &x);
            }
            7..=10 => {
                let (i, v) = (self.index(), self.arithmetic());
                self.put(l, &op(&list::SET, &[&self.at(l), &i, &v]));
            }
            11 | 12 => {
                let (i, v) = (self.index(), self.arithmetic() * 0.3);
                self.put(l, &op(&list::ADD, &[&self.at(l), &i, &v]));
            }
            13 => {
                let (i, v) = (self.index(), op(&list::GET, &[&self.at(l), &self.int(0)]));
                let v = v.sin() * self.float();
                self.put(l, &op(&list::SET, &[&self.at(l), &i, &v]));
            }
            14 => {
                let m = self.t.of(LISTS);
                self.s.swap(l, m);
            }
            15 => {
                let m = self.t.of(LISTS);
                self.s[l] = self.s[m];
            }
            16 => {
                let v = if self.t.chance(2) { self.float() } else { constant(self.b, DType::F64, 0.625) };
                self.put(l, &op(&list::FILL, &[&v, &self.at(LEN)]));
            }
            17 => {
                let k = self.t.of(FLOATS);
                let x = op(&list::SUM, &[&self.at(l)]) * 0.25;
                self.put(k, &x);
            }
            18 => {
                if self.t.chance(2) {
                    let m = self.t.of(LISTS);
                    self.put(l, &(self.at(l) + self.at(m)));
                } else {
                    // elements of a list at changing places
                    let (i, j) = (self.index(), self.index());
                    let (x, y) = (op(&list::GET, &[&self.at(l), &i]), op(&list::GET, &[&self.at(l), &j]));
                    let moved = op(&list::SET, &[&self.at(l), &i, &y]);
                    self.put(l, &op(&list::SET, &[&moved, &j, &x]));
                }
            }
            19 => {
                let i = self.wrapped();
                self.put(INDEX, &i);
            }
            20 => {
                let x = self.truth();
                let x = if self.t.chance(2) { self.at(FLAG).logical_or(&x) } else { x };
                self.put(FLAG, &x);
            }
            21..=23 => self.choice(),
            _ => self.repeat(),
        }
    }
    /// The state after statements on a state of inputs.
    fn part(&mut self, b: &Builder, most: usize, counter: Option<usize>, index: bool) -> (State, State) {
        let ins: State = (0..LISTS.end).map(|k| b.input(&state_ty(k))).collect();
        let depth = self.depth + usize::from(counter.is_some());
        let mut indices = self.indices.clone();
        indices.extend(counter.filter(|_| index));
        let mut inner = Make { b, t: &mut *self.t, s: ins.clone(), depth, indices };
        inner.statements(most);
        (ins, inner.s)
    }
    fn choice(&mut self) {
        let c = self.truth();
        let parts = [0, 1].map(|_| {
            let b = Builder::new();
            // one branch in three does nothing
            let most = if self.t.chance(3) { 0 } else { 3 };
            let (ins, outs) = if most == 0 {
                let ins: State = (0..LISTS.end).map(|k| b.input(&state_ty(k))).collect();
                (ins.clone(), ins)
            } else {
                self.part(&b, most, None, false)
            };
            (b, ins, outs)
        });
        let changed: Vec<usize> =
            (0..LISTS.end).filter(|&k| parts.iter().any(|(_, i, o)| i[k] != o[k]) || self.t.chance(12)).collect();
        if changed.is_empty() {
            return;
        }
        let [yes, no] =
            parts.map(|(b, _, outs)| b.finish(changed.iter().map(|&k| outs[k]).collect()).expect("a graph"));
        let all = self.t.chance(6);
        let used: Vec<usize> = (0..LISTS.end).filter(|&k| all || uses(&yes, k) || uses(&no, k)).collect();
        let attrs = [&yes, &no].map(|g| Attr::Graph(Arc::new(over(g, &used))));
        let args: Vec<Ex<'b>> = std::iter::once(c).chain(used.iter().map(|&k| self.at(k))).collect();
        self.results(Op::with(&control::IF, attrs), &args, &changed);
    }
    /// A trip that in most cases depends on no other one: sums, extrema, and elements of its own.
    fn plain(&mut self, b: &Builder, counter: usize) -> (State, State) {
        let ins: State = (0..LISTS.end).map(|k| b.input(&state_ty(k))).collect();
        let mut m = Make { b, t: &mut *self.t, s: ins.clone(), depth: self.depth + 1, indices: vec![counter] };
        let i = if m.t.chance(3) { m.at(LEN) - m.int(1) - m.at(counter) } else { m.at(counter) };
        let w = m.float();
        for _ in 0..m.t.below(2) + 1 {
            let (from, to, f) = (m.t.of(LISTS), m.t.of(LISTS), m.t.of(FLOATS));
            let j = if m.t.chance(8) { m.index() } else { i.clone() };
            let x = op(&list::GET, &[&m.at(from), &j]);
            let x = match m.t.below(4) {
                0 => (&x * &w).sin(),
                1 => x.tanh() * 0.5 + 0.125,
                2 => &x * 0.25 + &w * 0.25,
                _ => x.sin() / (w.square() + 1.5),
            };
            match m.t.below(6) {
                0 => m.put(f, &(m.at(f) + &x * 0.1)),
                1 => m.put(f, &(m.at(f) - x.square() * 0.1)),
                2 => m.put(f, &m.at(f).maximum(&x)),
                3 => m.put(to, &op(&list::ADD, &[&m.at(to), &i, &(&x * 0.3)])),
                _ => m.put(to, &op(&list::SET, &[&m.at(to), &i, &x])),
            }
        }
        let outs = m.s;
        (ins, outs)
    }
    fn repeat(&mut self) {
        if self.depth == COUNTERS.len() {
            return;
        }
        let counter = COUNTERS.start + self.depth;
        let plain = self.t.chance(3);
        let down = !plain && self.t.chance(4);
        let (bound, index) = match self.t.below(5) {
            _ if plain => (LEN, true),
            0 | 1 => (LEN, true),
            2 if self.depth > 0 => (COUNTERS.start + self.depth - 1, self.indices.contains(&(counter - 1))),
            _ => (LISTS.end, false),
        };
        let trips = self.t.below(3) as i64 + 1;
        let trips = if trips == 3 && self.t.chance(3) { 0 } else { trips };
        let more = if plain { 0 } else { self.t.below(6) };
        let b = Builder::new();
        let (ins, mut outs) = if plain { self.plain(&b, counter) } else { self.part(&b, 4, Some(counter), index) };
        let by = constant(&b, DType::I64, if down { -1.0 } else { 1.0 });
        outs[counter] = id(&(b.ex(ins[counter]) + by));
        let mut carried: Vec<usize> = (0..LISTS.end).filter(|&k| ins[k] != outs[k] || self.t.chance(12)).collect();
        // their order is not always that of the state
        let turn = self.t.below(carried.len());
        carried.rotate_left(turn);
        let body = b.finish(carried.iter().map(|&k| outs[k]).collect()).expect("a graph");
        let c = Builder::new();
        let ins: State = (0..LISTS.end).map(|k| c.input(&state_ty(k))).collect();
        let number = |x: i64| constant(&c, DType::I64, x as f64);
        let i = c.ex(ins[counter]);
        let limit = if bound == LISTS.end { number(trips) } else { c.ex(ins[bound]) };
        let mut test = if down { i.ge(&number(0)) } else { i.lt(&limit) };
        if more == 4 {
            test = test.logical_and(&c.ex(ins[FLAG]).logical_not());
        } else if more == 5 {
            let x = c.ex(ins[FLOATS.start + self.t.below(FLOATS.len())]);
            test = test.logical_and(&x.lt(&x.lit(0.6173)));
        }
        let test = id(&test);
        let cond = c.finish(vec![test]).expect("a graph");
        let start = match (down, bound == LISTS.end) {
            (false, _) => self.int(0),
            (_, true) => self.int(trips - 1),
            _ => self.at(bound) - self.int(1),
        };
        self.put(counter, &start);
        let all = self.t.chance(8);
        let captured = (0..LISTS.end).filter(|k| !carried.contains(k) && (all || uses(&body, *k) || uses(&cond, *k)));
        let used: Vec<usize> = carried.iter().copied().chain(captured).collect();
        let attrs = [&cond, &body].map(|g| Attr::Graph(Arc::new(over(g, &used))));
        let args: Vec<Ex<'b>> = used.iter().map(|&k| self.at(k)).collect();
        let attrs = attrs.into_iter().chain([Attr::Int(carried.len() as i64)]);
        self.results(Op::with(&control::WHILE, attrs), &args, &carried);
    }
    fn results(&mut self, op: Op, args: &[Ex<'b>], which: &[usize]) {
        let node = apply(op, &args.iter().collect::<Vec<_>>());
        for (i, &k) in which.iter().enumerate() {
            let ty = state_ty(k);
            let attrs = [Attr::Int(i as i64), Attr::DType(ty.dtype), Attr::dims(&ty.shape)];
            let x = apply(Op::with(&control::PROJ, attrs), &[&node]);
            self.put(k, &x);
        }
    }
}

/// Whether a graph over the whole state reads a part of it.
fn uses(g: &Graph, k: usize) -> bool {
    g.live()[g.inputs()[k].index()]
}

/// A graph over the whole state as one over parts of it, in this order.
fn over(g: &Graph, parts: &[usize]) -> Graph {
    let b = Builder::new();
    let ins: Vec<(usize, NodeId)> = parts.iter().map(|&k| (k, b.input(&state_ty(k)))).collect();
    let any = ins.first().expect("a part").1;
    let all: Vec<NodeId> = (0..LISTS.end).map(|k| ins.iter().find(|i| i.0 == k).map_or(any, |i| i.1)).collect();
    let outs = b.inline(g, &all).expect("the same types");
    b.finish(outs).expect("a graph")
}

/// A function of two lists and two numbers.
fn program(numbers: &[u16]) -> Graph {
    let mut t = Tape { numbers, at: 0 };
    let b = Builder::new();
    let ins: Vec<NodeId> = [9, 10, 0, 1].map(|k| b.input(&state_ty(k))).to_vec();
    let mut s = vec![ins[0]; LISTS.end];
    (s[0], s[1], s[9], s[10]) = (ins[2], ins[3], ins[0], ins[1]);
    s[2] = id(&constant(&b, DType::F64, 0.375));
    let zero = id(&constant(&b, DType::I64, 0.0));
    (INDEX..COUNTERS.end).for_each(|k| s[k] = zero);
    s[FLAG] = id(&constant(&b, DType::Bool, 0.0));
    s[LEN] = id(&op(&list::LEN, &[&b.ex(ins[0])]));
    s[11] = id(&op(&list::FILL, &[&b.ex(s[2]), &b.ex(s[LEN])]));
    let which = [t.of(LISTS), t.of(FLOATS), t.of(0..LISTS.end)];
    let form = t.below(4);
    let mut m = Make { b: &b, t: &mut t, s, depth: 0, indices: Vec::new() };
    m.statements(7);
    let floats: Vec<usize> = which.iter().copied().filter(|k| state_ty(*k).dtype == DType::F64).collect();
    let outs: Vec<NodeId> = match form {
        // one number of all
        0 | 1 => {
            let last = m.at(LEN) - m.int(1);
            let y = op(&list::GET, &[&m.at(which[0]), &last]).sin() + m.at(which[1]) * 0.5;
            let y = y + op(&list::SUM, &[&m.at(LISTS.start + (which[2] % 3))]) * 0.5;
            vec![id(&y)]
        }
        2 => floats.iter().map(|&k| m.s[k]).collect(),
        _ => vec![m.s[which[0]]],
    };
    let g = b.finish(outs).expect("a program");
    g.verify().expect("a program");
    g
}

/// What a run of many programs has seen.
#[derive(Default, Debug)]
struct Seen {
    /// Programs, by order of derivative, and those of them that are refused.
    programs: [usize; 3],
    refused: [usize; 3],
    /// Those with numbers too large to compare.
    wild: usize,
    /// Loops that are vector code, by order of derivative.
    vectors: [usize; 3],
}

/// Whether an error says that a program has no compiled form.
fn refusal(e: &Error) -> bool {
    let e = e.to_string();
    e.contains("whose derivative needs it as it was") || e.contains("or very many operations")
}

fn floats(g: &Graph) -> Vec<usize> {
    g.input_types().enumerate().filter(|(_, t)| t.dtype.is_float()).map(|(i, _)| i).collect()
}
fn like<'a>(rng: &mut Rng, these: impl Iterator<Item = &'a Array>) -> Vec<Array> {
    these.map(|x| array(&x.ty(), (0..x.ty().numel()).map(|_| rng.float(-1.0, 1.0)).collect::<Vec<_>>())).collect()
}
fn flat(x: &[Array]) -> Vec<f64> {
    x.iter().flat_map(Array::to_f64_vec).collect()
}
fn inner(a: &[Array], b: &[Array]) -> f64 {
    flat(a).iter().zip(flat(b)).map(|(x, y)| x * y).sum()
}
/// The largest magnitude, and one.
fn size(x: &[f64]) -> f64 {
    x.iter().fold(1.0, |m, x| if x.is_finite() { m.max(x.abs()) } else { f64::INFINITY })
}
const WILD: f64 = 1e4;

/// Compiled and interpreted agree at all these inputs; forward mode agrees with differences, reverse with forward.
fn check(name: &str, g: &Graph, xs: &[Vec<Array>], orders: usize, seen: &mut Seen) -> Result<(), String> {
    let fail = |what: String| Err(format!("{name}: {what}\n{g}"));
    let wants = xs.iter().map(|x| interp::run(g, x)).collect::<Result<Vec<_>, _>>();
    let wants = wants.map_err(|e| format!("{name}: interpreted: {e}\n{g}"))?;
    if wants.iter().any(|w| size(&flat(w)) > WILD) {
        seen.wild += 1;
        return Ok(());
    }
    let order = name.matches(' ').count().min(2);
    seen.programs[order] += 1;
    for memory in [None, Some(1)] {
        let program = match Program::compile_within(g, false, memory) {
            Ok(p) => {
                seen.vectors[order] += p.stats().kernels.iter().filter(|k| k.kind == "vector loop").count();
                p
            }
            Err(e) if refusal(&e) => {
                seen.refused[order] += usize::from(memory.is_none());
                continue;
            }
            Err(e) => return fail(format!("{memory:?}: {e}")),
        };
        for (x, want) in xs.iter().zip(&wants).chain(xs.iter().zip(&wants)) {
            let found = match program.run_arrays(x) {
                Ok(found) => found,
                Err(e) => return fail(format!("{memory:?}: compiled: {e}")),
            };
            for (k, (a, b)) in want.iter().zip(&found).enumerate() {
                let (va, vb) = (a.to_f64_vec(), b.to_f64_vec());
                let scale = size(&flat(want));
                let near = |(x, y): (&f64, &f64)| (x - y).abs() <= 1e-11 * scale;
                if a.ty() != b.ty() || !va.iter().zip(&vb).all(near) {
                    return fail(format!("{memory:?}: result {k} at {x:?}: interpreted {va:?}, compiled {vb:?}"));
                }
            }
        }
    }
    let wrt = floats(g);
    if orders == 0 {
        return Ok(());
    }
    let error = |e: Error| format!("{name}: {e}\n{g}");
    let (forward, reverse) = (diff::jvp(g, &wrt).map_err(error)?, diff::vjp(g, &wrt).map_err(error)?);
    forward.verify().map_err(error)?;
    reverse.verify().map_err(error)?;
    let n = g.outputs().len();
    let (mut xts, mut xvs) = (Vec::new(), Vec::new());
    for (x, want) in xs.iter().zip(&wants) {
        let mut rng = Rng(orders as u64);
        let t = like(&mut rng, wrt.iter().map(|&i| &x[i]));
        let v = like(&mut rng, want.iter());
        let (xt, xv) = ([x, &t[..]].concat(), [x, &v[..]].concat());
        let run = |g: &Graph, x: &[Array]| interp::run(g, x).map_err(|e| format!("{name}: interpreted: {e}\n{g}"));
        let tangents = run(&forward, &xt)?.split_off(n);
        let cotangents = run(&reverse, &xv)?.split_off(n);
        let (a, b) = (inner(&v, &tangents), inner(&cotangents, &t));
        let scale = size(&[flat(&tangents), flat(&cotangents)].concat());
        if scale > WILD {
            seen.wild += 1;
            return Ok(());
        }
        if (a - b).abs() > 1e-9 * scale {
            return fail(format!("forward {a}, reverse {b}"));
        }
        let h = 1e-6;
        let at = |sign: f64| {
            let mut x = x.clone();
            for (&i, t) in wrt.iter().zip(&t) {
                let moved = x[i].to_f64_vec().into_iter().zip(t.to_f64_vec()).map(|(x, t)| x + sign * h * t);
                x[i] = array(&x[i].ty(), moved.collect::<Vec<_>>());
            }
            run(g, &x)
        };
        let fd = (inner(&v, &at(1.0)?) - inner(&v, &at(-1.0)?)) / (2.0 * h);
        if (fd - a).abs() > 1e-5 * scale {
            return fail(format!("differences {fd}, forward {a}"));
        }
        // long ones have nothing new, and columns are many
        if flat(x).len() < 12 {
            common::patterns_cover(g, x, &wrt, &v).map_err(|e| format!("{name}: {e}"))?;
        }
        xts.push(xt);
        xvs.push(xv);
    }
    check(&format!("{name} forward"), &forward, &xts, orders - 1, seen)?;
    check(&format!("{name} reverse"), &reverse, &xvs, orders - 1, seen)
}

/// The program of a tape at some lengths, one after the other; the last is long enough for vector code.
fn run(numbers: &[u16], orders: usize, seen: &mut Seen) -> Result<(), String> {
    let mut rng = Rng(7);
    let xs = [3, 1, 19].map(|n| {
        let list = ty(&format!("f64[{n}]"));
        [&list, &list, &ty("f64[]"), &ty("f64[]")]
            .map(|t| array(t, (0..t.numel()).map(|_| rng.float(-1.0, 1.0)).collect::<Vec<_>>()))
            .to_vec()
    });
    let work = std::panic::AssertUnwindSafe(|| check("f", &program(numbers), &xs, orders, seen));
    std::panic::catch_unwind(work).unwrap_or_else(|e| {
        let text = e.downcast_ref::<String>().cloned().or_else(|| e.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        Err(format!("panic: {}\n{}", text.unwrap_or_default(), program(numbers)))
    })
}

/// A shorter tape whose program fails too.
fn shrunk(mut tape: Vec<u16>, mut error: String, orders: usize) -> (Vec<u16>, String) {
    let fails = |tape: &[u16]| run(tape, orders, &mut Seen::default()).err();
    let mut cut = tape.len() / 2;
    loop {
        let mut smaller = false;
        let mut at = 0;
        while at < tape.len() {
            let end = (at + cut).min(tape.len());
            let without = [&tape[..at], &tape[end..]].concat();
            let mut zeros = tape.clone();
            zeros[at..end].fill(0);
            let candidates = if zeros == tape { vec![without] } else { vec![without, zeros] };
            match candidates.into_iter().find_map(|c| fails(&c).map(|e| (c, e))) {
                Some((c, e)) => (tape, error, smaller) = (c, e, true),
                None => at += cut,
            }
        }
        match (cut, smaller) {
            (1, false) => return (tape, error),
            (1, true) => {}
            _ => cut /= 2,
        }
    }
}

fn tape(seed: u64) -> Vec<u16> {
    let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9));
    let n = 40 + rng.below(160);
    (0..n).map(|_| (rng.bits() >> 48) as u16).collect()
}

#[test]
fn random_programs_over_lists() {
    let seeds = std::env::var("AUTOGRAD_LISTS").unwrap_or_else(|_| "0..150".into());
    let (from, to) = seeds.split_once("..").expect("from..to");
    let mut seen = Seen::default();
    for seed in from.parse().expect("a seed")..to.parse::<u64>().expect("a seed") {
        let numbers = tape(seed);
        if let Err(e) = run(&numbers, 2, &mut seen) {
            let orders = (1..2).find(|&o| run(&numbers, o, &mut Seen::default()).is_err()).unwrap_or(2);
            let (numbers, e) = shrunk(numbers, e, orders);
            panic!("seed {seed}, tape {numbers:?}: {e}\nof the program\n{}", program(&numbers));
        }
    }
    eprintln!("{seen:?}");
    assert!(seen.vectors.iter().all(|&n| n > 0), "no loop of these programs was vector code");
}
