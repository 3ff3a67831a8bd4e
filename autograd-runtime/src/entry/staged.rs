//! Derivatives where the function is run rather than looked up: inside an annotated body (`f::grad(x)` there
//! is rewritten to these), and on the dynamic engine. In a trace the function is traced into a graph of its
//! own, differentiated, and put into the outer one; on the tape it is run and swept.

use super::{
    Kind,
    args::{LeafIn, LeafList},
    blocks::Block,
    build::{derive, describe, not_scalar},
    call::misfit,
    recursion,
    twins::{Fixed, Leaf, LeafReader, Leaves, Outcome, Twinned},
};
use crate::{
    Error, Result,
    array::{Array, Data},
    op::{Attr, Op, arith, create::bits_of, views},
    random::States,
    session::{self, TraceEnd},
    tensor::{Sweep, Target, Value, is_grad_enabled, seed, set_grad_enabled},
    ty::Ty,
};

/// A twin's result, taken apart.
pub struct Staged(pub(crate) Result<Leaves>);

/// Takes a twin's result apart.
pub fn staged<R: Outcome>(result: R) -> Staged {
    Staged(result.outcome().map(|value| Leaves::spread(&value)))
}

/// The arguments of a staged derivative, each with whether it is differentiated.
#[derive(Default)]
pub struct Inputs {
    /// The function that is differentiated.
    name: &'static str,
    leaves: Vec<(Leaf, bool)>,
    /// Static parts of the arguments.
    pub(super) constants: Vec<Fixed>,
}
impl Inputs {
    /// None yet.
    pub fn new() -> Inputs {
        Inputs::default()
    }
    /// None yet of those of a function.
    pub fn of(name: &'static str) -> Inputs {
        Inputs { name, ..Inputs::default() }
    }
    /// All leaves.
    pub(crate) fn leaves(&self) -> impl Iterator<Item = &Leaf> {
        self.leaves.iter().map(|l| &l.0)
    }
    /// Adds a leaf that is not differentiated.
    pub(super) fn push_leaf(&mut self, leaf: Leaf) {
        self.leaves.push((leaf, false));
    }
    /// Adds the leaves of an argument.
    pub fn push(&mut self, value: &impl Twinned, wrt: bool) {
        let mut out = Leaves::default();
        value.leaves(&mut out);
        for leaf in &mut out.leaves {
            // a derivative is one of single numbers
            if let Leaf::Real(v) = leaf
                && !v.ty().shape.is_empty()
                && session::needs_elements()
            {
                *v = Value::stored(Array::full(&Ty::scalar(v.ty().dtype), 0));
            }
        }
        self.constants.append(&mut out.constants);
        let float = |l: &Leaf| l.value().ty().dtype.is_float();
        self.leaves.extend(out.leaves.into_iter().map(|l| {
            let wrt = wrt && float(&l);
            (l, wrt)
        }));
    }
}

/// What a derivative gives: leaves of the value (if the kind has one) and of the derivative.
pub(crate) struct Derived<R> {
    pub value: Vec<Value>,
    pub derivative: Vec<Value>,
    /// What the run of the function returned beside its leaves.
    pub rest: R,
}

/// Computes a derivative of a function of leaves by running it. `extra` are cotangents or tangents.
pub(crate) fn derivative<R>(
    name: &str,
    kind: Kind,
    inputs: &[Value],
    wrt: &[usize],
    extra: &[Value],
    create_graph: bool,
    mut f: impl FnMut(Vec<Value>) -> Result<(Vec<Value>, R)>,
) -> Result<Derived<R>> {
    if session::is_tracing() {
        match recursion::apart(|| set_grad_enabled(true, || session::trace(inputs.to_vec(), &mut f)))? {
            TraceEnd::Graph(t, rest) => {
                if kind.needs_scalar() {
                    scalar(name, kind, t.graph.output_types().map(|t| Value::absent(t.clone())).collect())?;
                }
                let values = match kind {
                    Kind::Hessian => wrt.len(),
                    kind if kind.has_value() => t.graph.outputs().len(),
                    _ => 0,
                };
                let g = derive(&t.graph, wrt, kind)?;
                let keys = t.draws.keys();
                let all: Vec<Value> = inputs.iter().chain(&t.captures).chain(&keys).chain(extra).cloned().collect();
                let mut value = session::inline(&g, &all)?;
                let derivative = value.split_off(values);
                return constant_in_no_grad(Derived { value, derivative, rest });
            }
            // the outer trace is opaque now too: go on with numbers
            TraceEnd::Opaque(_) => {}
        }
    }
    let inputs: Vec<Value> = inputs.iter().map(session::concrete).collect();
    let extra: Vec<Value> = extra.iter().map(session::concrete).collect();
    constant_in_no_grad(set_grad_enabled(true, || on_tape(name, kind, &inputs, wrt, &extra, create_graph, f))?)
}

/// A derivative is computed also where the caller records nothing, but nothing flows through it then.
fn constant_in_no_grad<R>(mut d: Derived<R>) -> Result<Derived<R>> {
    if !is_grad_enabled() {
        for v in d.value.iter_mut().chain(&mut d.derivative).filter(|v| v.ty().dtype.is_float()) {
            *v = match session::record(&Op::new(&arith::DETACH), &[v]) {
                Some(detached) => detached?,
                None => v.alias(),
            };
        }
    }
    Ok(d)
}

fn scalar(name: &str, kind: Kind, outs: Vec<Value>) -> Result<()> {
    match &outs[..] {
        [v] if v.ty().numel() == 1 && v.ty().dtype.is_float() => Ok(()),
        _ => Err(not_scalar(name, kind, &describe(&outs))),
    }
}

/// A value of its own on the tape, so that gradients in it are not mixed with those of the original.
fn alias(v: &Value) -> Result<Value> {
    if v.requires_grad() {
        let op = Op::with(&views::RESHAPE, [Attr::dims(&v.ty().shape)]);
        return crate::tensor::eager(op, &[v]);
    }
    let leaf = v.alias();
    leaf.set_requires_grad(true)?;
    Ok(leaf)
}

/// Zeros like a value with a one at a place.
fn unit(like: &Value, at: usize) -> Value {
    let mut data = Data::zeros(like.ty().dtype, like.ty().numel());
    data.set_bits(at, bits_of(like.ty().dtype, 1.0));
    Value::from_data(like.ty().clone(), data)
}

fn filled(like: &Value, x: f64) -> Value {
    Value::stored(Array::full(like.ty(), bits_of(like.ty().dtype, x)))
}

fn on_tape<R>(
    name: &str,
    kind: Kind,
    inputs: &[Value],
    wrt: &[usize],
    extra: &[Value],
    create_graph: bool,
    mut f: impl FnMut(Vec<Value>) -> Result<(Vec<Value>, R)>,
) -> Result<Derived<R>> {
    if create_graph {
        session::needs_tape();
    }
    let mut args = inputs.to_vec();
    if kind != Kind::Value {
        for &i in wrt {
            args[i] = alias(&inputs[i])?;
        }
    }
    let tracked: Vec<Value> = wrt.iter().map(|&i| args[i].clone()).collect();
    let (outs, rest) = f(args)?;
    session::end_stretches();
    let outs: Vec<Value> = outs.iter().map(session::concrete).collect();
    if kind.needs_scalar() {
        scalar(name, kind, outs.clone())?;
    }
    let sweep = |roots: Vec<(Value, Value)>, inputs: &[Value], create_graph: bool| -> Result<Vec<Value>> {
        let roots: Vec<_> = roots.into_iter().filter(|r| r.0.requires_grad()).collect();
        let grads = Sweep { target: Target::Of(inputs), retain_graph: true, create_graph }.run(&roots)?;
        Ok(grads.into_iter().zip(inputs).map(|(g, x)| g.unwrap_or_else(|| filled(x, 0.0))).collect())
    };
    let with_ones =
        || outs.iter().enumerate().map(|(i, o)| Ok((o.clone(), seed(i, o, None)?))).collect::<Result<Vec<_>>>();
    let mut value = if kind.has_value() { outs.clone() } else { Vec::new() };
    let derivative = match kind {
        Kind::Jacobian | Kind::Hessian => {
            if kind == Kind::Hessian {
                value = sweep(with_ones()?, &tracked, true)?;
            }
            let mut rows = Vec::new();
            for v in value.iter().filter(|v| v.ty().dtype.is_float()) {
                for i in 0..v.ty().numel() {
                    rows.extend(sweep(vec![(v.clone(), unit(v, i))], &tracked, create_graph)?);
                }
            }
            rows
        }
        Kind::Value => Vec::new(),
        Kind::Grad | Kind::ValueAndGrad => sweep(with_ones()?, &tracked, create_graph)?,
        Kind::Vjp => sweep(outs.iter().cloned().zip(extra.iter().cloned()).collect(), &tracked, create_graph)?,
        Kind::Hvp | Kind::GradAndHvp => {
            let grads = sweep(with_ones()?, &tracked, true)?;
            let first = if kind == Kind::Hvp { Vec::new() } else { grads.clone() };
            let roots = grads.into_iter().zip(extra.iter().cloned()).collect();
            first.into_iter().chain(sweep(roots, &tracked, create_graph)?).collect()
        }
        Kind::Jvp => {
            // the transpose of the transpose: u ↦ Jᵀu is linear, its own gradient along t is J·t
            let floats: Vec<&Value> = outs.iter().filter(|o| o.ty().dtype.is_float()).collect();
            let us: Vec<Value> = floats.iter().map(|o| filled(o, 0.0)).collect();
            us.iter().try_for_each(|u| u.set_requires_grad(true))?;
            let roots = floats.iter().map(|&o| o.clone()).zip(us.iter().cloned()).collect();
            let pulled = sweep(roots, &tracked, true)?;
            let mut pushed =
                sweep(pulled.into_iter().zip(extra.iter().cloned()).collect(), &us, create_graph)?.into_iter();
            let of = |o: &Value| if o.ty().dtype.is_float() { pushed.next() } else { None };
            let mut of = of;
            outs.iter().map(|o| of(o).unwrap_or_else(|| filled(o, 0.0))).collect()
        }
    };
    Ok(Derived { value, derivative, rest })
}

type TwinFn<'f, R> = &'f dyn Fn(&mut LeafReader<'_>) -> R;

/// Runs a derivative of a twin and gives the value's and the derivative's leaves.
fn run<R: Outcome>(kind: Kind, inputs: &Inputs, extra: &Inputs, twin: TwinFn<'_, R>) -> Result<Derived<R::Value>> {
    let values: Vec<Value> = inputs.leaves.iter().map(|l| l.0.value().clone()).collect();
    let wrt: Vec<usize> = (0..values.len()).filter(|&i| inputs.leaves[i].1).collect();
    let extra: Vec<Value> = extra.leaves.iter().map(|l| l.0.value().clone()).collect();
    let alike = |what: &str, want: &[Value]| {
        if want.iter().map(Value::ty).eq(extra.iter().map(Value::ty)) {
            return Ok(());
        }
        let leaves = |values: &[Value]| values.iter().map(leaf_in).collect::<LeafList>();
        Err(misfit(format!("{}::{}", inputs.name, kind.name()), what, &leaves(want), &leaves(&extra)))
    };
    if matches!(kind, Kind::Jvp | Kind::Hvp | Kind::GradAndHvp) {
        alike("directions", &wrt.iter().map(|&i| values[i].clone()).collect::<Vec<_>>())?;
    }
    derivative(inputs.name, kind, &values, &wrt, &extra, true, |fresh| {
        let mut leaves = inputs.leaves.iter().zip(fresh).map(|(l, v)| l.0.with(v));
        let value = twin(&mut leaves).outcome()?;
        let values = Leaves::of(&value).values();
        if kind == Kind::Vjp {
            alike("cotangent of the result", &values)?;
        }
        Ok((values, value))
    })
}

/// A value as messages count it: lists are numbers.
fn leaf_in(v: &Value) -> LeafIn {
    if v.ty().is_list() { LeafIn::List(v.clone()) } else { LeafIn::Tensor(v.clone()) }
}

fn as_leaves(values: Vec<Value>) -> impl Iterator<Item = Leaf> {
    // in which role a leaf is read is the reader's to know
    values.into_iter().map(Leaf::Tensor)
}

/// The gradient of a twin, inside another twin; `shape` puts it together.
///
/// # Errors
/// As `grad`.
pub fn staged_grad<R: Outcome, G>(
    inputs: Inputs,
    twin: TwinFn<'_, R>,
    shape: impl FnOnce(&mut LeafReader<'_>) -> G,
) -> Result<G> {
    let d = run(Kind::Grad, &inputs, &Inputs::new(), twin)?;
    Ok(shape(&mut as_leaves(d.derivative)))
}

/// All derivatives of a twin's results, inside another twin.
///
/// # Errors
/// As `jacobian`.
pub fn staged_jacobian<R: Outcome<Value: Block>, G: Block>(
    inputs: Inputs,
    twin: TwinFn<'_, R>,
    shape: impl Fn(&mut LeafReader<'_>) -> G,
) -> Result<<R::Value as Block>::Over<G>> {
    let d = run(Kind::Jacobian, &inputs, &Inputs::new(), twin)?;
    let value = d.rest.from_leaves(&mut as_leaves(d.value));
    matrix(inputs.name, &value, d.derivative, shape)
}

/// All second derivatives of a twin, inside another twin.
///
/// # Errors
/// As `hessian`.
pub fn staged_hessian<R: Outcome, G: Block>(
    inputs: Inputs,
    twin: TwinFn<'_, R>,
    shape: impl Fn(&mut LeafReader<'_>) -> G,
) -> Result<G::Over<G>> {
    let d = run(Kind::Hessian, &inputs, &Inputs::new(), twin)?;
    let grads = shape(&mut as_leaves(d.value));
    matrix(inputs.name, &grads, d.derivative, shape)
}

/// Rows put together as what they are derivatives of.
fn matrix<B: Block, G: Block>(
    name: &str,
    of: &B,
    rows: Vec<Value>,
    shape: impl Fn(&mut LeafReader<'_>) -> G,
) -> Result<B::Over<G>> {
    let count = of.count();
    if !rows.len().is_multiple_of(count) {
        return Err(Error::value(name, "expected as many rows as results"));
    }
    let width = rows.len().checked_div(count).unwrap_or(0);
    Ok(of.over(0, &|k| shape(&mut as_leaves(rows[k * width..(k + 1) * width].to_vec()))))
}

/// Value and gradient of a twin, inside another twin.
///
/// # Errors
/// As `grad`.
pub fn staged_value_and_grad<R: Outcome, G>(
    inputs: Inputs,
    twin: TwinFn<'_, R>,
    shape: impl FnOnce(&mut LeafReader<'_>) -> G,
) -> Result<(R::Value, G)> {
    let d = run(Kind::ValueAndGrad, &inputs, &Inputs::new(), twin)?;
    Ok((d.rest.from_leaves(&mut as_leaves(d.value)), shape(&mut as_leaves(d.derivative))))
}

/// Value and directional derivative of a twin, inside another twin.
///
/// # Errors
/// As `grad`.
pub fn staged_jvp<R: Outcome>(inputs: Inputs, directions: Inputs, twin: TwinFn<'_, R>) -> Result<(R::Value, R::Value)> {
    let d = run(Kind::Jvp, &inputs, &directions, twin)?;
    let tangent = d.rest.from_leaves(&mut as_leaves(d.derivative));
    Ok((d.rest.from_leaves(&mut as_leaves(d.value)), tangent))
}

/// The Hessian of a twin times directions, inside another twin.
///
/// # Errors
/// As `grad`.
pub fn staged_hvp<R: Outcome, G>(
    inputs: Inputs,
    directions: Inputs,
    twin: TwinFn<'_, R>,
    shape: impl FnOnce(&mut LeafReader<'_>) -> G,
) -> Result<G> {
    let d = run(Kind::Hvp, &inputs, &directions, twin)?;
    Ok(shape(&mut as_leaves(d.derivative)))
}

/// The gradient, and the Hessian of a twin times directions, inside another twin.
///
/// # Errors
/// As `grad`.
pub fn staged_grad_and_hvp<R: Outcome, G>(
    inputs: Inputs,
    directions: Inputs,
    twin: TwinFn<'_, R>,
    shape: impl Fn(&mut LeafReader<'_>) -> G,
) -> Result<(G, G)> {
    let d = run(Kind::GradAndHvp, &inputs, &directions, twin)?;
    let mut leaves = as_leaves(d.derivative);
    Ok((shape(&mut leaves), shape(&mut leaves)))
}

/// What a pull-back inside a twin runs its function again with: the random numbers that the value was made with.
pub struct Again(States);

/// The value of a twin, inside another twin, and what its pull-back takes.
///
/// # Errors
/// The first error of an operation.
pub fn staged_vjp<R: Outcome>(twin: impl FnOnce() -> R) -> Result<(R::Value, Again)> {
    let states = States::now();
    let value = twin().outcome()?;
    Ok((value, Again(states.with_new())))
}

impl Again {
    /// The vector-Jacobian product of a twin with a cotangent of its result. The twin is differentiated again, so that
    /// derivatives flow through the product.
    ///
    /// # Errors
    /// If the cotangent has not the result's type.
    pub fn pull<R: Outcome, G>(
        &self,
        inputs: Inputs,
        ct: &impl Twinned,
        twin: TwinFn<'_, R>,
        shape: impl FnOnce(&mut LeafReader<'_>) -> G,
    ) -> Result<G> {
        let mut cotangent = Inputs::new();
        cotangent.push(ct, false);
        let d = self.0.again(|| run(Kind::Vjp, &inputs, &cotangent, twin))?;
        Ok(shape(&mut as_leaves(d.derivative)))
    }
}

/// A twin of one's own.
pub fn owned<A: Twinned>(twin: &A) -> A {
    twin.from_leaves(&mut Leaves::of(twin).leaves.into_iter())
}
