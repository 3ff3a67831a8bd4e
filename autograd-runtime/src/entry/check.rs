//! `f::check`: the gradient at some arguments against central differences of the value.

use super::{
    Engine, Function, Kind,
    args::{LeafIn, LeafList, OutVal},
    build::{Body, refresh},
    call::{Extra, lookup, resolve, run, visit, visit_as},
    current_engine,
};
use crate::{
    Error, Result,
    array::{Array, Element},
    each,
    graph::{Builder, Graph, NodeId},
    op::{Attr, create},
    program::Program,
    tensor::Value,
    ty::DType,
};
use std::fmt;

/// Directions tried for a tensor with more elements than this.
const DIRECTIONS: usize = 8;
/// Tensors up to this many elements are checked element by element.
const ELEMENTS: usize = 32;

/// How well a gradient agrees with finite differences.
#[derive(Clone, Debug)]
pub struct CheckReport {
    /// Number of directional derivatives compared.
    pub compared: usize,
    /// The largest difference, relative to 1 + the larger of the two values.
    pub worst: f64,
    /// Where: the parameter's leaf, what was computed and what differences give.
    pub at: Option<(usize, f64, f64)>,
    /// The bound for `worst`: by the precision of the arguments.
    pub tolerance: f64,
}

impl CheckReport {
    /// Whether the gradient agrees.
    pub fn passed(&self) -> bool {
        // a NaN is no agreement
        self.worst <= self.tolerance
    }
}
impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed() { "passed" } else { "FAILED" };
        write!(
            f,
            "gradient check {verdict}: {} directions, worst relative difference {:.2e} (bound {:.0e})",
            self.compared, self.worst, self.tolerance
        )?;
        if let (Some((leaf, got, want)), false) = (self.at, self.passed()) {
            write!(f, "; worst in leaf {leaf}: computed {got:e}, by differences {want:e}")?;
        }
        Ok(())
    }
}

/// A deterministic direction: the fractional parts of multiples of the golden ratio, in −1..1.
fn direction(n: usize, k: usize) -> Vec<f64> {
    (0..n).map(|i| ((i * 7 + k * 13 + 1) as f64 * 0.618_033_988_749_894_9).fract() * 2.0 - 1.0).collect()
}

/// A leaf moved along a direction; in double precision if the function is evaluated so.
fn moved(leaf: &LeafIn, d: &[f64], h: f64, double: bool) -> LeafIn {
    let mut a = leaf.value().to_array();
    if double {
        a = wide(a);
    }
    match &mut a {
        Array::F64(x) => x.iter_mut().zip(d).for_each(|(x, d)| *x += h * d),
        Array::F32(x) => x.iter_mut().zip(d).for_each(|(x, d)| *x += (h * d) as f32),
        _ => {}
    }
    match leaf {
        LeafIn::Bits(dtype, _) if !double => {
            LeafIn::Bits(*dtype, each!(Array, &a, x => x.iter().next().map_or(0, |x| x.bits())))
        }
        LeafIn::List(_) => LeafIn::List(Value::stored(a)),
        _ => LeafIn::Tensor(Value::stored(a)),
    }
}

/// Single precision widened.
fn wide(a: Array) -> Array {
    if let Array::F32(x) = a { Array::F64(x.mapv(f64::from)) } else { a }
}

/// The same function in double precision throughout: differences of a function in single precision would be
/// lost in its rounding.
fn widened(g: &Graph) -> Result<Graph> {
    let b = Builder::new();
    let mut map: Vec<NodeId> = Vec::with_capacity(g.len());
    let up = |d: DType| if d == DType::F32 { DType::F64 } else { d };
    for (_, n) in g.nodes() {
        if n.op.is(&create::INPUT) {
            map.push(b.input(&n.ty.with_dtype(up(n.ty.dtype))));
            continue;
        }
        let mut op = n.op.clone();
        if let (true, Some(x)) = (n.ty.dtype == DType::F32, create::value(&op)) {
            op = create::constant(DType::F64, x);
        }
        op.attrs.iter_mut().for_each(|a| {
            if let Attr::DType(d) = a {
                *d = up(*d);
            }
        });
        let args: Vec<NodeId> = n.args.iter().map(|a| map[a.index()]).collect();
        map.push(b.add(op, &args)?);
    }
    b.finish(g.outputs().iter().map(|o| map[o.index()]).collect())
}

fn numbers(v: &OutVal, dtype: DType) -> Vec<f64> {
    match v {
        OutVal::Bits(b) => vec![crate::op::create::number(dtype, *b)],
        OutVal::Tensor(v) => v.to_array().to_f64_vec(),
    }
}

pub(super) fn check<F: Function>(args: F::Args<'_>) -> Result<CheckReport> {
    // lists are items of their own on the tape, and if the value or the gradient needs that
    let is_listed = |kind| -> Result<bool> {
        let (entry, v) = resolve::<F>(args, visit::<F>(args, kind), kind)?;
        Ok(v.listed || matches!(entry.body, Body::Dynamic { .. }))
    };
    let listed = current_engine() == Engine::Dynamic || is_listed(Kind::Value)? || is_listed(Kind::Grad)?;
    let v = visit_as::<F>(args, Kind::Value, listed);
    let now = refresh::<F>(&lookup::<F>(args, &v, Kind::Value)?, args, &v, Kind::Value)?;
    // all evaluations draw the same random numbers
    let start = now.draws.states();
    let v = visit_as::<F>(args, Kind::Grad, listed);
    let leaves = v.leaves.clone();
    let grads = run::<F>(args, v, Kind::Grad, Extra::None, None)?.outs;
    let double = match &now.entry.body {
        Body::Compiled { source, .. } => Some((Program::compile(&widened(source)?, false)?, &now.captures)),
        Body::Dynamic { .. } | Body::PerLength { .. } => None,
    };
    let single = leaves.iter().any(|l| l.dtype() == DType::F32);
    let (h, tolerance) = match &double {
        Some(_) => (1e-5, if single { 1e-3 } else { 1e-6 }),
        // single precision all the way: differences are mostly rounding
        None if single => (2e-3, 5e-2),
        None => (1e-5, 1e-6),
    };
    let value = |at: LeafList| -> Result<f64> {
        start.restore();
        if let Some((program, captures)) = &double {
            let others = captures.iter().cloned().chain(now.draws.keys());
            let inputs: Vec<Array> = at.iter().map(LeafIn::value).chain(others).map(|v| wide(v.to_array())).collect();
            let out = program.run_arrays(&inputs)?;
            return Ok(out.first().and_then(|y| y.to_f64_vec().first().copied()).unwrap_or(f64::NAN));
        }
        let mut v = visit_as::<F>(args, Kind::Value, listed);
        v.leaves = at;
        let o = run::<F>(args, v, Kind::Value, Extra::None, None)?;
        let first = o.outs.first().ok_or_else(|| Error::Autograd("check: the function has no result".into()))?;
        Ok(numbers(first, if single { DType::F32 } else { DType::F64 }).first().copied().unwrap_or(f64::NAN))
    };
    let mut report = CheckReport { compared: 0, worst: 0.0, at: None, tolerance };
    let differentiated = super::build::differentiated::<F>(args, listed);
    for (g, &i) in grads.iter().zip(&differentiated) {
        let ty = leaves[i].value().ty().clone();
        let n = ty.numel();
        let g = numbers(g, ty.dtype);
        let scale = leaves[i].value().to_array().to_f64_vec().iter().fold(1.0f64, |m, x| m.max(x.abs()));
        let tries = if n <= ELEMENTS { n } else { DIRECTIONS };
        for k in 0..tries {
            let d = if n <= ELEMENTS { (0..n).map(|j| f64::from(u8::from(j == k))).collect() } else { direction(n, k) };
            let step = h * scale;
            let at = |h: f64| {
                let mut l = leaves.clone();
                l[i] = moved(&leaves[i], &d, h, double.is_some());
                value(l)
            };
            let want = (at(step)? - at(-step)?) / (2.0 * step);
            let got: f64 = g.iter().zip(&d).map(|(g, d)| g * d).sum();
            let difference = (got - want).abs() / (1.0 + got.abs().max(want.abs()));
            report.compared += 1;
            // a NaN is the worst of all
            if difference > report.worst || difference.is_nan() {
                (report.worst, report.at) = (difference, Some((i, got, want)));
            }
        }
    }
    Ok(report)
}
