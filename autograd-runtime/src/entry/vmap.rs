//! An entry point at many arguments in one call. Of a function of scalars the derivative becomes the body of one loop over
//! lists, a list for each scalar that goes in or comes out, its choices become selections, and it is compiled and vectorised as any
//! other loop; large batches are shared between the threads of the current `rayon` pool. Any other function is called for one item
//! after the other.

use super::{
    Engine, Function, Jacobian, Kind, Slots,
    build::{Body, Entry, derive},
    cache,
    call::{self, grads_of, lookup, value_of, visit},
    current_engine,
    key::Key,
    matrices::{self, Hessian},
};
use crate::{
    Error, Result,
    array::Data,
    emit::{Ex, apply, constant},
    graph::{Builder, Graph, NodeId},
    op::{Attr, Op, control, list},
    program::{self, Input, Output, Program},
    ty::{DType, Ty},
};
use rayon::prelude::*;
use smallvec::SmallVec;
use std::{any::TypeId, sync::Arc};

/// Calls back with the arguments of an item, and with the directions if there are some.
pub type Item<'i, F> =
    dyn Fn(usize, &mut dyn for<'a> FnMut(<F as Function>::Args<'a>, Option<<F as Function>::Tangents<'a>>)) + Sync + 'i;

/// The lengths of the arguments: how many items there are. One item stands for as many as the others have.
///
/// # Errors
/// If two lengths differ.
#[doc(hidden)]
pub fn items(name: &str, lengths: &[usize]) -> Result<usize> {
    let n = lengths.iter().copied().find(|&n| n != 1).unwrap_or(1);
    match lengths.iter().find(|&&m| m != n && m != 1) {
        Some(m) => {
            Err(Error::value(name, format!("expected arguments of one length, or of one item, found {n} and {m}")))
        }
        None => Ok(n),
    }
}

/// The place of an item in an argument.
#[doc(hidden)]
pub fn at<T>(argument: &[T], item: usize) -> &T {
    &argument[if argument.len() == 1 { 0 } else { item }]
}

/// Marks the keys of loops over items.
struct Many<F>(std::marker::PhantomData<F>);

/// Items that a thread takes at a time: what goes in and out stays in the cache.
const CHUNK: usize = 256;

/// Items that pass between rows and columns at a time: as many elements of a column as a cache line has.
const GROUP: usize = 8;

/// The condition or the body of the loop, from its arguments.
type Part<'f> = dyn for<'p> Fn(&'p Builder, &[Ex<'p>]) -> Result<Vec<NodeId>> + 'f;

/// From a graph of scalars to one over as many lists, with a loop. The first list's length is the number of trips.
fn repeated(g: &Graph) -> Result<Graph> {
    let b = Builder::new();
    let ins: Vec<Ex<'_>> = g.input_types().map(|t| b.ex(b.input(&Ty::list(t.dtype)))).collect();
    let placed = |def| Op::with(def, [Attr::Int(0)]);
    let first = ins.first().ok_or_else(|| Error::value("vmap", "expected an argument"))?;
    let n = apply(Op::new(&list::LEN), &[first]);
    let outs: Vec<Ex<'_>> =
        g.output_types().map(|t| apply(Op::new(&list::FILL), &[&constant(&b, t.dtype, 0.0), &n])).collect();
    let zero = constant(&b, DType::I64, 0.0);
    let args: Vec<&Ex<'_>> = std::iter::once(&zero).chain(&outs).chain([&n]).chain(&ins).collect();
    let carried = outs.len() + 1;
    let part = |f: &Part<'_>| {
        let p = Builder::new();
        let ids: Vec<NodeId> = args.iter().map(|a| p.input(&a.ty())).collect();
        let outs = f(&p, &ids.iter().map(|&i| p.ex(i)).collect::<Vec<_>>())?;
        Ok::<_, Error>(Attr::Graph(Arc::new(p.finish(outs)?)))
    };
    let id = |x: &Ex<'_>| x.node().ok_or_else(|| Error::value("vmap", "expected a node"));
    let cond = part(&|_, x| Ok(vec![id(&x[0].lt(&x[carried]))?]))?;
    let body = part(&|p, x| {
        let given = x[carried + 1..].iter().map(|all| id(&apply(placed(&list::GET), &[all, &x[0]])));
        let made = p.inline(g, &given.collect::<Result<Vec<_>>>()?)?;
        let set = |(all, made): (&Ex<'_>, &NodeId)| id(&apply(placed(&list::SET), &[all, &x[0], &p.ex(*made)]));
        let next = id(&(&x[0] + constant(p, DType::I64, 1.0)));
        std::iter::once(next).chain(x[1..carried].iter().zip(&made).map(set)).collect()
    })?;
    let node = apply(Op::with(&control::WHILE, [cond, body, Attr::Int(carried as i64)]), &args);
    let result = |(k, x): (usize, &Ex<'_>)| {
        let ty = x.ty();
        id(&apply(
            Op::with(&control::PROJ, [Attr::Int(k as i64 + 1), Attr::DType(ty.dtype), Attr::dims(&ty.shape)]),
            &[&node],
        ))
    };
    let outs = outs.iter().enumerate().map(result).collect::<Result<Vec<_>>>()?;
    b.finish(outs)
}

/// The loop over items of a function of scalars; `None` if it is none, or has no compiled form.
fn many<F: Function>(args: F::Args<'_>, kind: Kind) -> Option<Arc<Entry>> {
    let mut slots = Slots::new();
    F::slots(args, &mut slots);
    if current_engine() == Engine::Dynamic || slots.scalars_only().is_none_or(<[u64]>::is_empty) {
        return None;
    }
    let key = Key::new(TypeId::of::<Many<F>>(), kind);
    let entry = match cache::get(&key) {
        Some(entry) => entry,
        None => {
            let one = lookup::<F>(args, &visit::<F>(args, kind), kind).ok()?;
            let Body::Compiled { source, captures, draws, .. } = &one.body else { return None };
            if !one.all_scalar || !captures.is_empty() || draws.may_change() {
                return None;
            }
            let made = derive(source, &one.wrt, kind).and_then(|g| {
                let g = program::branchless(&g)?.unwrap_or(g);
                let program = Program::compile_within(&repeated(&g)?, false, F::META.memory)?;
                Ok(Body::Compiled { program, source: source.clone(), captures: Vec::new(), draws: draws.clone() })
            });
            let body = made.unwrap_or_else(|e| Body::dynamic(e.to_string()));
            cache::put(key, one.like(body))
        }
    };
    matches!(entry.body, Body::Compiled { .. }).then_some(entry)
}

/// Runs the loop over some of the items.
fn chunk<F: Function, R>(
    program: &Program,
    range: std::ops::Range<usize>,
    each: &Item<'_, F>,
    read: &(impl Fn(F::Args<'_>, &[u64]) -> R + Sync),
    all: &mut Vec<R>,
) -> Result<()> {
    let (n, before) = (range.len(), all.len());
    let groups =
        || range.clone().step_by(GROUP).map(|first| (first - range.start, first..(first + GROUP).min(range.end)));
    let mut ins: Vec<Data> = program.inputs().iter().map(|t| Data::zeros(t.dtype, n)).collect();
    let width = ins.len();
    let mut rows = vec![0u64; GROUP * width];
    for (at, items) in groups() {
        for (row, i) in rows.chunks_exact_mut(width).zip(items.clone()) {
            each(i, &mut |args, tangents| {
                let mut slots = Slots::new();
                F::slots(args, &mut slots);
                if let Some(t) = tangents {
                    F::tangent_slots(t, &mut slots);
                }
                row.iter_mut().zip(slots.scalars_only().unwrap_or_default()).for_each(|(to, bits)| *to = *bits);
            });
        }
        for (k, column) in ins.iter_mut().enumerate() {
            column.set_all_bits(at, rows.chunks_exact(width).map(|row| row[k]));
        }
    }
    let mut outs: Vec<Option<Data>> = vec![None; program.outputs().len()];
    let inputs: Vec<Input<'_>> = ins.iter().map(|column| Input::Data(column, 0)).collect();
    program.run(&inputs, &mut outs.iter_mut().map(Output::List).collect::<SmallVec<[_; 8]>>())?;
    let outs: Vec<Data> = outs.into_iter().flatten().collect();
    // something, if nothing is asked for
    let width = outs.len().max(1);
    let mut rows = vec![0u64; GROUP * width];
    for (at, items) in groups() {
        for (k, column) in outs.iter().enumerate() {
            column.all_bits(at, rows.chunks_exact_mut(width).map(|row| &mut row[k]));
        }
        for (row, i) in rows.chunks_exact(width).zip(items) {
            each(i, &mut |args, _| all.push(read(args, row)));
        }
    }
    if all.len() == before + n { Ok(()) } else { Err(Error::value(F::META.name, "expected as many rows as results")) }
}

/// The results for all items: by a loop, or one after the other.
fn all<F: Function, R: Send>(
    n: usize,
    each: &Item<'_, F>,
    kind: Kind,
    read: impl Fn(&Entry, F::Args<'_>, &[u64]) -> R + Sync,
    one: impl for<'a> Fn(F::Args<'a>, Option<F::Tangents<'a>>) -> Result<R>,
) -> Result<Vec<R>> {
    let mut entry = None;
    if n > 0 {
        each(0, &mut |args, _| entry = many::<F>(args, kind));
    }
    if let Some(entry) = entry
        && let Body::Compiled { program, .. } = &entry.body
    {
        let read = |args: F::Args<'_>, slots: &[u64]| read(&entry, args, slots);
        let ranges = |k: usize| k * CHUNK..((k + 1) * CHUNK).min(n);
        let chunks = n.div_ceil(CHUNK);
        let done: Result<Vec<R>> = if chunks == 1 || rayon::current_num_threads() == 1 {
            let mut out = Vec::with_capacity(n);
            (0..chunks).try_for_each(|k| chunk::<F, R>(program, ranges(k), each, &read, &mut out)).map(|()| out)
        } else {
            let part = |k: usize| {
                let mut part = Vec::with_capacity(CHUNK);
                chunk::<F, R>(program, ranges(k), each, &read, &mut part).map(|()| part)
            };
            let parts: Result<Vec<Vec<R>>> = (0..chunks).into_par_iter().map(part).collect();
            parts.map(|parts| parts.into_iter().flatten().collect())
        };
        // an item that fails says itself why
        if done.is_ok() {
            return done;
        }
    }
    let mut out = Vec::with_capacity(n);
    for i in 0..n {
        let mut result = None;
        each(i, &mut |args, tangents| result = Some(one(args, tangents)));
        out.push(result.ok_or_else(|| Error::value(F::META.name, "expected an item"))??);
    }
    Ok(out)
}

/// The values.
///
/// # Errors
/// The first error of an item.
pub fn vmap_value<F: Function<Value: Send>>(n: usize, each: &Item<'_, F>) -> Result<Vec<F::Value>> {
    let read = |e: &Entry, _: F::Args<'_>, slots: &[u64]| value_of::<F>(slots, &e.constants);
    all::<F, _>(n, each, Kind::Value, read, |args, _| call::value::<F>(args))
}
/// The gradients.
///
/// # Errors
/// The first error of an item.
pub fn vmap_grad<F: Function<Grads: Send>>(n: usize, each: &Item<'_, F>) -> Result<Vec<F::Grads>> {
    let read = |_: &Entry, args: F::Args<'_>, slots: &[u64]| grads_of::<F>(args, slots);
    all::<F, _>(n, each, Kind::Grad, read, |args, _| call::grad::<F>(args))
}
/// Values and gradients.
///
/// # Errors
/// The first error of an item.
pub fn vmap_value_and_grad<F: Function<Value: Send, Grads: Send>>(
    n: usize,
    each: &Item<'_, F>,
) -> Result<Vec<(F::Value, F::Grads)>> {
    let read = |e: &Entry, args: F::Args<'_>, slots: &[u64]| {
        let (value, grads) = slots.split_at(e.values);
        (value_of::<F>(value, &e.constants), grads_of::<F>(args, grads))
    };
    all::<F, _>(n, each, Kind::ValueAndGrad, read, |args, _| call::value_and_grad::<F>(args))
}
/// Values and their derivatives along the tangents.
///
/// # Errors
/// The first error of an item.
pub fn vmap_jvp<F: Function<Value: Send>>(n: usize, each: &Item<'_, F>) -> Result<Vec<(F::Value, F::Value)>> {
    let read = |e: &Entry, _: F::Args<'_>, slots: &[u64]| {
        let (value, tangent) = slots.split_at(e.values);
        (value_of::<F>(value, &e.constants), value_of::<F>(tangent, &e.constants))
    };
    all::<F, _>(n, each, Kind::Jvp, read, |args, t| call::jvp::<F>(args, t.ok_or_else(missing::<F>)?))
}
/// Products of Hessians and directions.
///
/// # Errors
/// The first error of an item.
pub fn vmap_hvp<F: Function<Grads: Send>>(n: usize, each: &Item<'_, F>) -> Result<Vec<F::Grads>> {
    let read = |_: &Entry, args: F::Args<'_>, slots: &[u64]| grads_of::<F>(args, slots);
    all::<F, _>(n, each, Kind::Hvp, read, |args, t| call::hvp::<F>(args, t.ok_or_else(missing::<F>)?))
}
/// Jacobians.
///
/// # Errors
/// The first error of an item.
pub fn vmap_jacobian<F: Function>(n: usize, each: &Item<'_, F>) -> Result<Vec<Jacobian<F>>>
where
    Jacobian<F>: Send,
{
    let read = |e: &Entry, args: F::Args<'_>, slots: &[u64]| {
        matrices::of_slots::<F, _>(e, args, slots, |e, value| value_of::<F>(value, &e.constants))
    };
    all::<F, _>(n, each, Kind::Jacobian, read, |args, _| matrices::jacobian::<F>(args, None))
}
/// Hessians.
///
/// # Errors
/// The first error of an item.
pub fn vmap_hessian<F: Function>(n: usize, each: &Item<'_, F>) -> Result<Vec<Hessian<F>>>
where
    Hessian<F>: Send,
{
    let read = |e: &Entry, args: F::Args<'_>, slots: &[u64]| {
        matrices::of_slots::<F, _>(e, args, slots, |_, grads| grads_of::<F>(args, grads))
    };
    all::<F, _>(n, each, Kind::Hessian, read, |args, _| matrices::hessian::<F>(args, None))
}

fn missing<F: Function>() -> Error {
    Error::value(F::META.name, "expected directions")
}
