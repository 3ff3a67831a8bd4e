//! From a function, arguments and a kind of derivative to an [`Entry`]: the twin is traced, the graph
//! differentiated and compiled. If the trace met plain code that reads values, or the graph has no compiled
//! form, the entry is dynamic and keeps the reason.

use super::{
    Engine, Function, Kind,
    args::{Lifter, Visitor},
    cache,
    key::{Key, Sink},
    staged::Staged,
    twins::{Fixed, Leaves},
};
use crate::{
    Error, Result, diff,
    graph::Graph,
    pass,
    program::{self, Program},
    random::Draws,
    session::{self, TraceEnd, Traced},
    tensor::{Stretches, Value},
};
use std::{
    any::TypeId,
    borrow::Cow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

/// What a key stands for.
pub(crate) struct Entry {
    pub body: Body,
    /// Positions of the differentiated leaves.
    pub wrt: Vec<usize>,
    /// Leaves of the function's value.
    pub values: usize,
    /// Which results are handed out as scalars.
    pub scalar: Vec<bool>,
    /// Whether all arguments, captures and results are scalars.
    pub all_scalar: bool,
    /// Whether its program takes nothing but the arguments.
    pub closed: bool,
    /// Static parts of the value.
    pub constants: Vec<Fixed>,
    /// Time from the call to the finished trace and derivative.
    pub trace_time: Duration,
    pub diff_time: Duration,
}

#[allow(clippy::large_enum_variant)] // one an entry, behind an Arc
pub(crate) enum Body {
    Compiled {
        program: Program,
        /// The traced function, before differentiation.
        source: Graph,
        /// Further inputs of the program: the tensors that the trace met.
        captures: Vec<Value>,
        /// And then the random keys that each call draws.
        draws: Draws,
    },
    Dynamic {
        reason: String,
        /// What runs compiled between the reads.
        stretches: Arc<Stretches>,
    },
    /// There is an entry for each length of a list and each integer instead.
    PerLength { reason: String },
}

impl Body {
    pub fn dynamic(reason: impl Into<String>) -> Body {
        Body::Dynamic { reason: reason.into(), stretches: Arc::default() }
    }
}

impl Entry {
    fn of(body: Body, wrt: Vec<usize>) -> Entry {
        Entry {
            body,
            wrt,
            values: 0,
            scalar: Vec::new(),
            all_scalar: false,
            closed: false,
            constants: Vec::new(),
            trace_time: Duration::ZERO,
            diff_time: Duration::ZERO,
        }
    }
    /// What another body is for the same function.
    pub fn like(&self, body: Body) -> Entry {
        let (values, constants) = (self.values, self.constants.clone());
        Entry { values, constants, ..Entry::of(body, self.wrt.clone()) }
    }
    pub fn bytes(&self) -> usize {
        match &self.body {
            Body::Compiled { program, .. } => program.bytes() + 4096,
            Body::Dynamic { .. } | Body::PerLength { .. } => 256,
        }
    }
}

/// Why a function with such results has no gradient.
pub(crate) fn not_scalar(name: &str, kind: Kind, found: &str) -> Error {
    Error::Autograd(format!(
        "{name}::{}: expected one float as result, found {found}; use jacobian for all derivatives or vjp for a product",
        kind.name()
    ))
}

/// The leaf types of results as text.
pub(crate) fn describe(values: &[Value]) -> String {
    let tys: Vec<String> = values.iter().map(|v| v.ty().to_string()).collect();
    if tys.len() == 1 { tys[0].clone() } else { format!("({})", tys.join(", ")) }
}

/// Positions of the leaves of differentiated parameters.
pub(crate) fn differentiated<F: Function>(args: F::Args<'_>, listed: bool) -> Vec<usize> {
    let mut v = Visitor::new(Sink::Build(Key::new(TypeId::of::<F>(), Kind::Value))).listed(listed);
    v.params = Some(Vec::new());
    F::visit(args, &mut v);
    let wrt = |p: u8| F::META.params.get(usize::from(p)).is_some_and(|p| p.wrt);
    let params = v.params.unwrap_or_default();
    (0..v.leaves.len()).filter(|&i| wrt(params[i]) && v.leaves[i].dtype().is_float()).collect()
}

/// Which results are scalars, and the static parts of the value.
type Form = (Vec<bool>, Vec<Fixed>);

/// Runs the twin. A panic of the function's own is an error, so that a loop over many arguments goes on.
pub(crate) fn run_twin<F: Function>(args: F::Args<'_>, lifter: &mut Lifter<'_>) -> Result<Leaves> {
    let Staged(result) = caught(F::META.name, || F::stage(args, lifter))?;
    result
}

/// What a closure gives, or what it said when it panicked.
pub(crate) fn caught<R>(function: &str, f: impl FnOnce() -> R) -> Result<R> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|panic| {
        let said = panic.downcast_ref::<&str>().map(ToString::to_string);
        let message = said.or_else(|| panic.downcast_ref::<String>().cloned());
        Error::Panicked { function: function.into(), message: message.unwrap_or_else(|| "without a message".into()) }
    })
}

/// Runs the twin under a trace.
fn trace<F: Function>(args: F::Args<'_>, v: &Visitor<'_>) -> Result<TraceEnd<Form>> {
    let concrete = v.leaves.iter().map(|l| (l.value(), l.ty())).collect();
    // a caller's no_grad concerns the caller's tape
    crate::set_grad_enabled(true, || {
        session::trace_as(concrete, |inputs| {
            let mut leaves = inputs.into_iter();
            let out = run_twin::<F>(args, &mut Lifter { leaves: &mut leaves, listed: v.listed })?;
            let values: Vec<Value> = out.leaves.iter().map(|l| l.value().clone()).collect();
            Ok((values, (out.leaves.iter().map(|l| matches!(l, super::Leaf::Real(_))).collect(), out.constants)))
        })
    })
}

/// The entry to use now for a function that reads tensors besides its arguments, and those tensors. They may
/// be others than at the last call (a global that was replaced), which only the function itself can tell: it
/// is traced again, and the compiled program serves as long as the trace is the same graph.
pub(crate) fn refresh<F: Function>(
    entry: &Arc<Entry>,
    args: F::Args<'_>,
    v: &Visitor<'_>,
    kind: Kind,
) -> Result<Fresh> {
    if let (Body::Compiled { source, .. }, TraceEnd::Graph(now, (_, constants))) = (&entry.body, trace::<F>(args, v)?)
        && now.graph == *source
        && constants.len() == entry.constants.len()
    {
        return Ok(Fresh { entry: entry.clone(), captures: now.captures, draws: now.draws, constants });
    }
    let mut v_key = Visitor::new(Sink::Build(Key::new(TypeId::of::<F>(), kind))).listed(v.listed);
    F::visit(args, &mut v_key);
    let Sink::Build(key) = v_key.key else { unreachable!("made to build") };
    let entry = cache::replace(key, build::<F>(args, v, kind, false)?);
    let (captures, draws) = match &entry.body {
        Body::Compiled { captures, draws, .. } => (captures.clone(), draws.clone()),
        Body::Dynamic { .. } | Body::PerLength { .. } => Default::default(),
    };
    let constants = entry.constants.clone();
    Ok(Fresh { entry, captures, draws, constants })
}

/// What [`refresh`] finds.
pub(crate) struct Fresh {
    pub entry: Arc<Entry>,
    pub captures: Vec<Value>,
    pub draws: Draws,
    /// Static parts of the value as they are now.
    pub constants: Vec<Fixed>,
}

/// Builds the entry of a function for arguments like those visited. Where lists and integers stay open and that
/// does not work out, the entry says so, and one for these lengths and integers alone is tried.
pub(crate) fn build<F: Function>(args: F::Args<'_>, v: &Visitor<'_>, kind: Kind, keep_clif: bool) -> Result<Entry> {
    let open = v.rolled && !v.listed;
    let per_length = |reason: String| {
        tracing::info!(function = F::META.name, reason, "is compiled for each length and integer");
        Ok(Entry::of(Body::PerLength { reason }, Vec::new()))
    };
    match built::<F>(args, v, kind, keep_clif) {
        Ok(Entry { body: Body::Dynamic { reason, .. }, .. }) if open => per_length(reason),
        // for other arguments, or another time, it may not
        Err(e @ Error::Panicked { .. }) => Err(e),
        // what is wrong for these lengths too is found again
        Err(e) if open => per_length(e.to_string()),
        done => {
            // a matrix that is no single program is made of products
            if let Ok(Entry { body: Body::Dynamic { reason, .. }, .. }) = &done
                && !matches!(kind, Kind::Jacobian | Kind::Hessian)
            {
                tracing::info!(function = F::META.name, reason, "runs on the dynamic engine");
            }
            done
        }
    }
}

fn built<F: Function>(args: F::Args<'_>, v: &Visitor<'_>, kind: Kind, keep_clif: bool) -> Result<Entry> {
    let clock = Instant::now();
    let wrt = differentiated::<F>(args, v.listed);
    let traced = trace::<F>(args, v)?;
    let trace_time = clock.elapsed();
    let leaf_scalar = |i: &usize| matches!(v.leaves[*i], super::args::LeafIn::Bits(..));
    let grads: Vec<bool> = wrt.iter().map(leaf_scalar).collect();
    let mut entry = Entry { trace_time, ..Entry::of(Body::dynamic(""), wrt) };
    let (traced, (mut scalar, constants)) = match traced {
        TraceEnd::Graph(t, rest) => (t, rest),
        TraceEnd::Opaque(reason) => {
            entry.body = Body::dynamic(reason);
            return Ok(entry);
        }
    };
    if kind.needs_scalar() {
        let outs: Vec<String> = traced.graph.output_types().map(ToString::to_string).collect();
        let one = traced.graph.output_types().all(|t| t.numel() == 1 && t.dtype.is_float()) && outs.len() == 1;
        if !one {
            return Err(not_scalar(F::META.name, kind, &outs.join(", ")));
        }
    }
    entry.values = scalar.len();
    entry.constants = constants;
    entry.scalar = match kind {
        Kind::Value => scalar,
        Kind::Grad | Kind::Hvp => grads,
        Kind::GradAndHvp => [&grads[..], &grads].concat(),
        Kind::ValueAndGrad | Kind::Vjp => [scalar, grads].concat(),
        Kind::Jvp => {
            scalar.extend_from_within(..);
            scalar
        }
        Kind::Jacobian | Kind::Hessian => {
            let n = entry.wrt.len();
            if kind == Kind::Hessian {
                entry.values = n;
            }
            if !matrix_is_small(&traced.graph, &entry.wrt, entry.values) {
                entry.body = Body::dynamic("is no small function of scalars");
                return Ok(entry);
            }
            vec![true; entry.values * (n + 1)]
        }
    };
    entry.closed = traced.captures.is_empty() && traced.draws.is_empty();
    entry.all_scalar = v.scalars && entry.closed && entry.scalar.iter().all(|s| *s);
    let clock = Instant::now();
    let graph = derive(&traced.graph, &entry.wrt, kind)?;
    entry.diff_time = clock.elapsed();
    entry.body = match Program::compile_within(&graph, keep_clif, F::META.memory) {
        Ok(program) => {
            let Traced { graph: source, captures, draws, .. } = traced;
            Body::Compiled { program, source, captures, draws }
        }
        Err(e) => Body::dynamic(e.to_string()),
    };
    Ok(entry)
}

/// The graph of a kind of derivative. Inputs: those of the function, then cotangents or tangents.
pub(crate) fn derive(g: &Graph, wrt: &[usize], kind: Kind) -> Result<Graph> {
    let g = &*pass::picks(g)?;
    let g = &*if kind == Kind::Value { Cow::Borrowed(g) } else { program::sink(g)? };
    let g = &*program::chain(g)?;
    let g = &*program::stores(g)?;
    let g = &*program::jam(g)?;
    let n = g.outputs().len();
    let keep_tail = |g: Graph, from: usize| {
        let outs = g.outputs()[from..].to_vec();
        g.with_outputs(outs)
    };
    Ok(match kind {
        Kind::Value => g.clone(),
        Kind::Grad => keep_tail(diff::gradient(g, wrt)?, n),
        Kind::ValueAndGrad => diff::gradient(g, wrt)?,
        Kind::Vjp => diff::vjp(g, wrt)?,
        Kind::Jvp => diff::jvp(g, wrt)?,
        Kind::Hvp => keep_tail(diff::hvp(g, wrt)?, n + wrt.len()),
        Kind::GradAndHvp => keep_tail(diff::hvp(g, wrt)?, n),
        Kind::Jacobian => diff::jacobian(g, wrt)?,
        Kind::Hessian => diff::jacobian(&keep_tail(diff::gradient(g, wrt)?, n), wrt)?,
    })
}

/// Whether all derivatives of a function come from one program without loops: of scalars, and not too many.
fn matrix_is_small(g: &Graph, wrt: &[usize], rows: usize) -> bool {
    const SWEEPS: usize = 32;
    const ELEMENTS: usize = 1024;
    let n = wrt.len();
    let scalars = wrt.iter().all(|&i| g.ty(g.inputs()[i]).rank() == 0)
        && g.output_types().all(|t| t.rank() == 0 && t.dtype.is_float());
    scalars && rows.min(n) <= SWEEPS && rows.saturating_mul(n) <= ELEMENTS
}

/// Whether the engine of this thread and the function accept a dynamic entry.
pub(crate) fn accept_dynamic<F: Function>(reason: &str) -> Result<()> {
    if F::META.compiled || super::current_engine() == Engine::Compiled {
        return Err(Error::NotCompilable { function: F::META.name.into(), reason: reason.into() });
    }
    Ok(())
}
