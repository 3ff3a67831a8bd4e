//! All engines agree on random graphs: the interpreter, the interpreter on the optimised graph, and the
//! compiled program; on the graphs and on their gradients.
//!
//! Every engine computes an elementwise operation to the same bits, so graphs without sums must agree in
//! every bit. The order of a sum is not fixed between engines, so what depends on a sum is *loose*: it is
//! compared with a tolerance, and the generator keeps it out of operations that jump or blow up, where a
//! difference of one rounding may become a difference of anything.

mod common;

use autograd_runtime::{
    array::Array,
    diff,
    emit::{Ex, constant, iota},
    graph::{Builder, Graph},
    interp,
    op::{Attr, Op, find},
    pass,
    program::Program,
    replay, replay_vjp,
    ty::{DType, Shape},
};
use common::{Rng, close, inputs};
use proptest::{collection::vec, prelude::*};

/// What proptest draws and shrinks: the steps of a construction.
#[derive(Clone, Debug)]
struct Recipe {
    /// Extents that shapes are made of, by axis from the last.
    base: [usize; 4],
    /// Dtype, and which axes are there and wide.
    inputs: Vec<(u8, u8)>,
    steps: Vec<[u8; 5]>,
    outputs: Vec<u8>,
    seed: u64,
}

fn recipe(steps: usize) -> impl Strategy<Value = Recipe> {
    let extent =
        prop_oneof![1 => Just(0usize), 2 => Just(1usize), 12 => 2usize..6, 2 => Just(17usize), 1 => Just(40usize)];
    (
        [2usize..6, 2usize..6, 1usize..5, 1usize..4].prop_flat_map(move |b| (Just(b), 0usize..4, extent.clone())),
        vec((any::<u8>(), any::<u8>()), 1..4),
        vec(any::<[u8; 5]>(), 1..steps),
        vec(any::<u8>(), 1..4),
        any::<u64>(),
    )
        .prop_map(|((mut base, at, n), inputs, steps, outputs, seed)| {
            base[at] = n;
            Recipe { base, inputs, steps, outputs, seed }
        })
}

const UNARY_JUMP: &[&str] = &["abs", "sign", "floor", "ceil", "trunc", "round", "relu"];
const UNARY_POLE: &[&str] = &[
    "sqrt", "rsqrt", "recip", "exp2", "expm1", "ln", "log2", "log10", "log1p", "tan", "asin", "acos", "sinh", "cosh",
    "asinh", "acosh", "atanh", "cbrt", "exp", "lgamma", "digamma",
];
const UNARY_TAME: &[&str] = &[
    "neg",
    "square",
    "detach",
    "sin",
    "cos",
    "atan",
    "tanh",
    "sigmoid",
    "softplus",
    "erf",
    "erfc",
    "sech2",
    "sigmoid_grad",
];

/// A construction in progress.
struct Make<'b> {
    b: &'b Builder,
    /// Values so far, and whether they are loose.
    values: Vec<(Ex<'b>, bool)>,
    smooth: bool,
}

type Val<'b> = (Ex<'b>, bool);

impl<'b> Make<'b> {
    fn pick(&self, k: u8, wanted: impl Fn(&Val<'b>) -> bool) -> Option<Val<'b>> {
        let found: Vec<&Val<'b>> = self.values.iter().filter(|v| wanted(v)).collect();
        // the youngest values are the likeliest, so that graphs grow deep
        let n = found.len();
        if n == 0 { None } else { Some(found[n - 1 - (usize::from(k) % n.min(6))].clone()) }
    }
    fn float(&self, k: u8) -> Option<Val<'b>> {
        self.pick(k, |v| v.0.dtype().is_float())
    }
    fn tight(&self, k: u8) -> Option<Val<'b>> {
        self.pick(k, |v| v.0.dtype().is_float() && !v.1)
    }
    fn op(&self, name: &str, attrs: Vec<Attr>, args: &[&Ex<'b>]) -> Ex<'b> {
        autograd_runtime::emit::apply(Op::with(find(name).expect("an operation"), attrs), args)
    }
    /// `y` made to broadcast with `x` and of its dtype.
    fn fit(&self, x: &Ex<'b>, y: &Ex<'b>) -> Ex<'b> {
        let y = y.cast(x.dtype());
        if autograd_runtime::ty::broadcast(&x.shape(), &y.shape()).is_some() { y } else { x.clone() }
    }
    /// x² + ½: a value that roots, logarithms and quotients take.
    fn tame(&self, x: &Ex<'b>) -> Ex<'b> {
        x.square() + 0.5
    }
    fn step(&mut self, [kind, a, b, c, d]: [u8; 5]) -> Option<()> {
        let at = |n: usize, k: u8| usize::from(k) % n.max(1);
        let new: Val<'b> = match kind % 26 {
            0 => {
                let (x, _) = self.tight(a)?;
                (self.op(UNARY_JUMP[at(UNARY_JUMP.len(), b)], vec![], &[&x]), false)
            }
            1 => {
                let (x, _) = self.tight(a)?;
                let name = UNARY_POLE[at(UNARY_POLE.len(), b)];
                if self.smooth && ["digamma", "lgamma", "acosh", "asin", "acos", "atanh", "tan"].contains(&name) {
                    return None;
                }
                let x = if self.smooth { self.tame(&x.sin()) } else { x };
                (self.op(name, vec![], &[&x]), false)
            }
            2 | 3 => {
                let (x, l) = self.float(a)?;
                (self.op(UNARY_TAME[at(UNARY_TAME.len(), b)], vec![], &[&x]), l)
            }
            4..=6 => {
                let ((x, l), (y, m)) = (self.float(a)?, self.float(b)?);
                let y = self.fit(&x, &y);
                let name = ["add", "sub", "mul"][at(3, c)];
                if d % 2 == 0 {
                    (self.op(name, vec![], &[&x, &y]), l | m)
                } else {
                    (self.op(name, vec![], &[&y, &x]), l | m)
                }
            }
            7 => {
                let ((x, _), (y, _)) = (self.tight(a)?, self.tight(b)?);
                let y = self.fit(&x, &y);
                let names = ["maximum", "minimum", "copysign", "fmax", "fmin", "div", "pow", "atan2", "hypot"];
                let name = names[at(names.len(), c)];
                let guarded = self.smooth && at(names.len(), c) >= 5;
                let (x, y) = if guarded { (self.tame(&x.sin()), self.tame(&y.sin())) } else { (x, y) };
                (self.op(name, vec![], &[&x, &y]), false)
            }
            8 => {
                let ((x, _), (y, _)) = (self.tight(a)?, self.tight(b)?);
                let y = self.fit(&x, &y);
                (self.op(["lt", "le", "gt", "ge", "eq", "ne"][at(6, c)], vec![], &[&x, &y]), false)
            }
            9 => {
                let x = self.pick(a, |v| v.0.dtype() == DType::Bool)?.0;
                let y = self.pick(b, |v| v.0.dtype() == DType::Bool)?.0;
                let y = self.fit(&x, &y);
                (
                    if c % 4 == 3 {
                        x.logical_not()
                    } else {
                        self.op(["and", "or", "xor"][at(3, c)], vec![], &[&x, &y])
                    },
                    false,
                )
            }
            10 => {
                let m = self.pick(a, |v| v.0.dtype() == DType::Bool)?.0;
                let ((x, l), (y, k)) = (self.pick(b, |_| true)?, self.pick(c, |_| true)?);
                // a loose value must not be rounded to a whole number
                let y = if k && !x.dtype().is_float() { x.clone() } else { self.fit(&x, &y) };
                let both = autograd_runtime::ty::broadcast(&x.shape(), &y.shape())?;
                autograd_runtime::ty::broadcast(&both, &m.shape())?;
                (Ex::select(&m, &x, &y), l | k)
            }
            11 => {
                let (x, l) = self.pick(a, |_| true)?;
                let to = [DType::F32, DType::F64, DType::I64, DType::Bool][at(4, b)];
                if l && !to.is_float() {
                    return None;
                }
                (x.cast(to), l)
            }
            12 => {
                let ((x, _), (lo, _), (hi, _)) = (self.tight(a)?, self.tight(b)?, self.tight(c)?);
                let lo = self.fit(&x, &lo);
                let y = self.op("maximum", vec![], &[&x, &lo]);
                let hi = self.fit(&y, &hi);
                (x.clamp(&lo, &hi), false)
            }
            13..=15 => {
                let (x, l) = self.pick(a, |v| v.0.dtype() != DType::Bool)?;
                let shape = x.shape();
                let dims: Shape = (0..shape.len()).filter(|d| b >> d & 1 == 1).collect();
                if dims.is_empty() {
                    return None;
                }
                let n: usize = dims.iter().map(|&d| shape[d]).product();
                if c % 3 == 0 && n > 0 && !l {
                    // which of two zeros an extremum is depends on the order; adding +0 leaves one of them
                    let y = self.op(["amax", "amin"][at(2, d)], vec![Attr::dims(&dims)], &[&x]);
                    (if y.dtype().is_float() { y + 0.0 } else { y }, false)
                } else {
                    let s = self.op("sum", vec![Attr::dims(&dims)], &[&x]);
                    if s.dtype().is_float() { (s * (1.0 / n.max(1) as f64), true) } else { (s, false) }
                }
            }
            16 => {
                let x = self.pick(a, |v| v.0.dtype() != DType::Bool && !v.1)?.0;
                let d = at(x.rank(), b);
                if x.shape().get(d).is_none_or(|&n| n == 0) {
                    return None;
                }
                (self.op("argmax", vec![Attr::dims(&[d])], &[&x]), false)
            }
            17 => {
                // another shape of as many elements: two axes merged, one split, or unit axes put in
                let (x, l) = self.pick(a, |_| true)?;
                let mut s: Vec<usize> = x.shape().to_vec();
                match b % 4 {
                    0 if s.len() > 1 => {
                        let i = at(s.len() - 1, c);
                        s[i] *= s.remove(i + 1);
                    }
                    1 if !s.is_empty() => {
                        let i = at(s.len(), c);
                        let k = [2, 3, 5].into_iter().find(|k| s[i].is_multiple_of(*k))?;
                        s[i] /= k;
                        s.insert(i + usize::from(d % 2), k);
                    }
                    2 => s = vec![s.iter().product()],
                    3 if s.contains(&1) => s.retain(|&n| n != 1),
                    _ => s.insert(at(s.len() + 1, c), 1),
                }
                (self.op("reshape", vec![Attr::dims(&s)], &[&x]), l)
            }
            18 => {
                let (x, l) = self.pick(a, |_| true)?;
                let s = x.shape();
                let mut t: Vec<usize> =
                    s.iter().map(|&n| if n == 1 && b % 2 == 0 { 1 + at(4, c) } else { n }).collect();
                if d % 2 == 0 {
                    t.insert(0, 1 + at(3, d / 2));
                }
                (x.expand(&t), l)
            }
            19 => {
                let (x, l) = self.pick(a, |_| true)?;
                let mut p: Vec<usize> = (0..x.rank()).collect();
                for (i, k) in [b, c, d].into_iter().enumerate().take(p.len()) {
                    let j = i + at(p.len() - i, k);
                    p.swap(i, j);
                }
                (x.permute(&p), l)
            }
            20 => {
                let (x, l) = self.pick(a, |v| v.0.rank() > 0)?;
                let dim = at(x.rank(), b);
                let n = x.shape()[dim];
                let start = at(n + 1, c);
                let step = 1 + at(3, d);
                (x.slice(dim, start, (n - start).div_ceil(step).min(1 + at(8, d / 3)), step), l)
            }
            21 => {
                let (x, l) = self.pick(a, |_| true)?;
                let dims: Vec<usize> = (0..x.rank()).filter(|d| b >> d & 1 == 1).collect();
                (x.flip(&dims), l)
            }
            22 => {
                // batched where both have batches, plain otherwise; operands may be transposed
                let ((x, _), (y, _)) =
                    (self.pick(a, |v| v.0.dtype().is_float() && v.0.rank() > 1)?, self.pick(b, |v| v.0.rank() > 0)?);
                let y = y.cast(x.dtype());
                let x = if c % 2 == 0 { x } else { x.mt() };
                let (m, n) = (x.shape(), y.shape());
                let k = *m.last()?;
                let y = if n.len() > 1 && n[n.len() - 2] == k {
                    y
                } else if n.last() == Some(&k) && n.len() > 1 {
                    y.mt()
                } else {
                    x.mt()
                };
                let batch = |s: &Shape| s[..s.len().saturating_sub(2)].to_vec();
                autograd_runtime::ty::broadcast(&batch(&x.shape()), &batch(&y.shape()))?;
                let k = k.max(1) as f64;
                (x.matmul(&y) * (1.0 / k), true)
            }
            23 => {
                let (x, l) = self.pick(a, |v| v.0.rank() > 0)?;
                let dim = at(x.rank(), b);
                let (y, m) = self.pick(c, |v| {
                    let (s, t) = (x.shape(), v.0.shape());
                    v.0.dtype() == x.dtype() && s.len() == t.len() && (0..s.len()).all(|i| i == dim || s[i] == t[i])
                })?;
                let mut parts = vec![x, y];
                if d % 3 == 0 {
                    parts.push(parts[0].clone());
                }
                (Ex::concat(&parts, dim), l | m)
            }
            24 => {
                let (x, l) = self.pick(a, |v| v.0.rank() > 0)?;
                let dim = at(x.rank(), b);
                let shape = x.shape();
                if shape[dim] == 0 {
                    return None;
                }
                if c % 3 == 0 {
                    return self.push((x.unslice(dim, at(3, c), 1 + at(2, d), 3 + 2 * shape[dim]), l));
                }
                let whole =
                    self.pick(d, |v| !v.1 && v.0.shape() == shape && v.0.dtype() != DType::Bool)?.0.cast(DType::I64);
                let last = constant(self.b, DType::I64, (shape[dim] - 1) as f64);
                let idx = whole.maximum(&whole.lit(0.0)).minimum(&last);
                if c % 3 == 1 || x.dtype() == DType::Bool {
                    (x.gather(dim, &idx), l)
                } else {
                    (x.scatter_add(dim, &idx, shape[dim]), true)
                }
            }
            _ => match a % 5 {
                0 => (constant(self.b, [DType::F32, DType::F64][at(2, b)], f64::from(c) / 16.0 - 4.0), false),
                1 => (iota(self.b, [DType::F32, DType::F64, DType::I64][at(3, b)], at(9, c)), false),
                2 => {
                    let (x, _) = self.tight(b)?;
                    let n = [0, 1, 2, 3, 4, -1, -2][at(if self.smooth { 5 } else { 7 }, c)];
                    (x.powi(n), false)
                }
                _ => {
                    let (x, _) = self.pick(b, |v| v.0.dtype().is_float() && !v.1 && v.0.rank() > 0)?;
                    let dim = at(x.rank(), c) as i64;
                    // the logarithm of an empty sum has no derivative
                    if x.shape()[dim as usize] == 0 {
                        return None;
                    }
                    let x = x.sin();
                    let y = match d % 4 {
                        0 => x.softmax(dim),
                        1 => x.log_softmax(dim),
                        2 => x.logsumexp(Some(&[dim]), d % 8 > 3),
                        _ => x.var(Some(&[dim]), 0.0, d % 8 > 3),
                    };
                    (y, true)
                }
            },
        };
        self.push(new)
    }
    fn push(&mut self, new: Val<'b>) -> Option<()> {
        if new.0.ty().numel() <= 3000 && new.0.rank() <= 5 {
            self.values.push(new);
        }
        Some(())
    }
}

/// The graph of a recipe, and for each output whether it is loose. With `smooth` gradients exist and stay
/// finite.
fn build(r: &Recipe, smooth: bool) -> Option<(Graph, Vec<bool>)> {
    let b = Builder::new();
    let mut m = Make { b: &b, values: Vec::new(), smooth };
    for &(dtype, axes) in &r.inputs {
        let dtype = [DType::F64, DType::F32, DType::F64, DType::F32, DType::F64, DType::I64, DType::Bool, DType::F32]
            [usize::from(dtype % 8)];
        let rank = usize::from(axes % 5);
        let shape: Shape =
            (0..rank).rev().map(|i| if axes >> (3 + i) & 1 == 0 || rank == 4 { r.base[i] } else { 1 }).collect();
        let ty = autograd_runtime::ty::Ty::new(dtype, &shape).expect("a small type");
        m.values.push((b.ex(b.input(&ty)), false));
    }
    for &s in &r.steps {
        let _ = m.step(s);
    }
    let chosen: Vec<Val<'_>> = r
        .outputs
        .iter()
        .map(|&k| m.values[m.values.len() - 1 - usize::from(k) % m.values.len().min(8)].clone())
        .collect();
    let loose = chosen.iter().map(|v| v.1).collect();
    let outs = chosen.iter().map(|v| v.0.node().expect("a node")).collect();
    drop(m);
    let g = b.finish(outs).unwrap_or_else(|e| panic!("the generator made an ill-typed graph: {e}"));
    Some((g, loose))
}

fn tolerance(a: &Array, loose: bool) -> f64 {
    match (loose, a) {
        (false, _) => 0.0,
        (true, Array::F32(_)) => 2e-3,
        _ => 1e-3,
    }
}

/// Runs a graph in all engines and compares.
fn agree(g: &Graph, loose: &[bool], x: &[Array]) -> Result<(), TestCaseError> {
    let fail = |what: String| TestCaseError::fail(format!("{what}\ninputs {x:?}\n{g}"));
    g.verify().map_err(|e| fail(e.to_string()))?;
    let want = interp::run(g, x).map_err(|e| fail(format!("interpreter: {e}")))?;
    let optimised = pass::optimise(g).map_err(|e| fail(format!("passes: {e}")))?;
    optimised.verify().map_err(|e| fail(format!("optimised: {e}")))?;
    let got = interp::run(&optimised, x).map_err(|e| fail(format!("optimised: {e}")))?;
    let program = Program::compile(g, false).map_err(|e| fail(format!("compile: {e}")))?;
    let run = program.run_arrays(x).map_err(|e| fail(format!("compiled: {e}")))?;
    let tape = replay(g, x).map_err(|e| fail(format!("dynamic: {e}")))?;
    for (engine, got) in [("optimised", &got), ("compiled", &run), ("dynamic", &tape)] {
        for (i, (w, y)) in want.iter().zip(got).enumerate() {
            close(w, y, tolerance(w, loose[i]))
                .map_err(|e| fail(format!("{engine}, output {i}: {e}\noptimised:\n{optimised}")))?;
        }
    }
    Ok(())
}

/// The sum of all float outputs, so that the gradient reaches all of them.
fn objective(g: &Graph) -> Option<Graph> {
    let b = Builder::new();
    let ins: Vec<_> = g.inputs().iter().map(|&i| b.input(g.ty(i))).collect();
    let outs = b.inline(g, &ins).ok()?;
    let floats = outs.iter().map(|&o| b.ex(o)).filter(|o| o.dtype().is_float());
    let total = floats.map(|o| (o.cast(DType::F64).sin() * 0.7).sum(None, false)).reduce(|a, b| a + b)?;
    let id = total.node()?;
    drop(total);
    b.finish(vec![id]).ok()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(300), failure_persistence: None, max_shrink_iters: 3000, ..ProptestConfig::default() })]

    #[test]
    fn engines_agree(r in recipe(24)) {
        let Some((g, loose)) = build(&r, false) else { return Ok(()) };
        agree(&g, &loose, &inputs(&g, &mut Rng(r.seed), r.seed % 4 == 0))?;
    }

    #[test]
    fn engines_agree_on_gradients(r in recipe(14)) {
        let Some((g, _)) = build(&r, true) else { return Ok(()) };
        let x = inputs(&g, &mut Rng(r.seed), false);
        let wrt: Vec<usize> = (0..g.inputs().len()).filter(|&i| g.ty(g.inputs()[i]).dtype.is_float()).collect();
        let Some(f) = objective(&g) else { return Ok(()) };
        let d = diff::gradient(&f, &wrt).map_err(|e| TestCaseError::fail(format!("{e}\n{f}")))?;
        // where a gradient is very large its roundings are too
        let values = interp::run(&d, &x).map_err(|e| TestCaseError::fail(format!("{e}\n{d}")))?;
        prop_assume!(values.iter().all(|v| v.to_f64_vec().iter().all(|x| x.abs() < 1e3)));
        agree(&d, &vec![true; d.outputs().len()], &x)?;
        // the vjp with the cotangent 1 is the gradient
        let v = diff::vjp(&f, &wrt).map_err(|e| TestCaseError::fail(format!("{e}\n{f}")))?;
        let one = common::array(&common::ty("f64[]"), [1.0]);
        let got = interp::run(&v, &x.iter().cloned().chain([one]).collect::<Vec<_>>()).unwrap();
        // and so is what the tape gives
        let n = f.outputs().len();
        let one = common::array(&common::ty("f64[]"), [1.0]);
        let tape = replay_vjp(&f, &x, &wrt, &[one]).map_err(|e| TestCaseError::fail(format!("{e}\n{f}")))?;
        for (a, b) in values[n..].iter().zip(&tape) {
            close(a, b, 1e-3).map_err(|e| TestCaseError::fail(format!("tape: {e}\n{f}")))?;
        }
        for (a, b) in values.iter().zip(&got) {
            close(a, b, 1e-6).map_err(|e| TestCaseError::fail(format!("{e}\n{v}")))?;
        }
    }

    #[test]
    fn patterns_have_all_elements(r in recipe(12)) {
        let Some((g, _)) = build(&r, true) else { return Ok(()) };
        let mut rng = Rng(r.seed);
        let x = inputs(&g, &mut rng, false);
        let wrt: Vec<usize> = (0..g.inputs().len()).filter(|&i| g.ty(g.inputs()[i]).dtype.is_float()).collect();
        prop_assume!(wrt.iter().map(|&i| x[i].ty().numel()).sum::<usize>() <= 60);
        let cts: Vec<Array> = g.outputs().iter().map(|&o| common::random(g.ty(o), &mut rng, false)).collect();
        common::patterns_cover(&g, &x, &wrt, &cts).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn forward_mode_agrees_with_reverse_mode(r in recipe(12)) {
        let Some((g, _)) = build(&r, true) else { return Ok(()) };
        let mut rng = Rng(r.seed);
        let x = inputs(&g, &mut rng, false);
        let wrt: Vec<usize> = (0..g.inputs().len()).filter(|&i| g.ty(g.inputs()[i]).dtype.is_float()).collect();
        let Some(f) = objective(&g) else { return Ok(()) };
        let fail = |e: autograd_runtime::Error| TestCaseError::fail(format!("{e}\n{f}"));
        let n = f.outputs().len();
        let grads = interp::run(&diff::gradient(&f, &wrt).map_err(fail)?, &x).map_err(fail)?[n..].to_vec();
        prop_assume!(grads.iter().all(|v| v.to_f64_vec().iter().all(|x| x.abs() < 1e3)));
        let dir: Vec<Array> = wrt.iter().map(|&i| common::random(&x[i].ty(), &mut rng, false)).collect();
        let with = x.iter().chain(&dir).cloned().collect::<Vec<_>>();
        let t = interp::run(&diff::jvp(&f, &wrt).map_err(fail)?, &with).map_err(fail)?[n].to_f64_vec()[0];
        let total: f64 = grads.iter().zip(&dir).map(|(g, d)| g.to_f64_vec().iter().zip(d.to_f64_vec()).map(|(a, b)| a * b).sum::<f64>()).sum();
        prop_assert!((t - total).abs() <= 2e-3 * (1.0 + t.abs().max(total.abs())), "{t} and {total}\n{f}");
    }
}

/// `AUTOGRAD_CASES` asks for more than a run of the tests needs.
fn cases(n: u32) -> u32 {
    std::env::var("AUTOGRAD_CASES").ok().and_then(|s| s.parse().ok()).unwrap_or(n)
}

/// Graphs that were computed wrongly once: each file of the folder, with the gradient where there is one.
#[test]
fn regressions() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/regressions");
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let g: Graph = text.parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        for seed in 0..4 {
            let x = inputs(&g, &mut Rng(seed), false);
            agree(&g, &vec![true; g.outputs().len()], &x).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let wrt: Vec<usize> = (0..g.inputs().len()).filter(|&i| g.ty(g.inputs()[i]).dtype.is_float()).collect();
            let Some(d) = objective(&g).and_then(|f| diff::gradient(&f, &wrt).ok()) else { continue };
            agree(&d, &vec![true; d.outputs().len()], &x)
                .unwrap_or_else(|e| panic!("gradient of {}: {e}", path.display()));
        }
    }
}
