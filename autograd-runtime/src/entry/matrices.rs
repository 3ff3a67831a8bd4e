//! Jacobians and Hessians of annotated functions: products with one unit vector after another, put together in the form
//! that [`blocks`](super::blocks) gives them; a function of a few scalars has one program for all of them. A Jacobian is taken row by row in reverse mode or column by column in
//! forward mode, whichever are fewer; a Hessian column by column, forward over reverse (Griewank and Walther, Evaluating
//! Derivatives, 2008, chapters 3 and 5).

use super::{
    Engine, Function, Kind,
    args::{GradReader, LeafIn, LeafList, OutVal, Slots, Source, Visitor},
    blocks::Block,
    build::{self, Body, Entry},
    cache,
    call::{
        CompiledFn, Extra, Outcome, Tape, grads_of, lookup, on_tape, prepare, run, run_entry, run_slots, value_of,
        visit,
    },
    current_engine,
    key::Key,
};
use crate::{
    Error, Result,
    array::{Array, Data},
    op::create::bits_of,
    random::States,
    tensor::Value,
    ty::{DType, Ty},
};
use smallvec::SmallVec;
use std::{any::TypeId, sync::Arc};

/// The Jacobian of a function: a gradient for each float of its value.
pub type Jacobian<F> = <<F as Function>::Value as Block>::Over<<F as Function>::Grads>;
/// The Hessian of a function: a gradient for each float of its gradient.
pub type Hessian<F> = <<F as Function>::Grads as Block>::Over<<F as Function>::Grads>;

/// A function at some arguments, ready for one kind of product.
pub(super) struct Products<'a, F: Function> {
    pub args: F::Args<'a>,
    pub kind: Kind,
    pub v: Visitor<'static>,
    /// What runs compiled.
    pub entry: Option<Arc<Entry>>,
    /// The leaves that are differentiated.
    pub wrt: Vec<usize>,
}

impl<'a, F: Function> Products<'a, F> {
    pub fn new(args: F::Args<'a>, kind: Kind, kept: Option<&CompiledFn>) -> Result<Self> {
        let (entry, mut v) = prepare::<F>(args, kind, kept)?;
        if entry.is_none() && !v.nested {
            v.leaves = std::mem::take(&mut v.leaves).into_iter().map(super::args::concrete).collect();
        }
        let wrt = build::differentiated::<F>(args, v.listed);
        Ok(Products { args, kind, v, entry, wrt })
    }
    fn tape(&self) -> Tape<'static> {
        if self.v.nested { Tape::Nested } else { Tape::Plain }
    }
    pub fn times(&self, direction: &[LeafIn]) -> Result<Outcome> {
        match &self.entry {
            Some(e) => run_entry::<F>(e, self.args, &self.v, self.kind, Extra::Leaves(direction), None),
            None => on_tape::<F>(self.args, &self.v, self.kind, direction, self.tape()),
        }
    }
    /// Zeros like the differentiated leaves.
    pub fn tangents(&self) -> LeafList {
        self.wrt.iter().map(|&i| zeros(&self.v.leaves[i])).collect()
    }
    /// Zeros like the leaves of the result.
    pub fn cotangents(&self) -> Result<LeafList> {
        if let Some(Body::Compiled { program, .. }) = self.entry.as_ref().map(|e| &e.body) {
            let n = self.entry.as_ref().map_or(0, |e| e.values);
            let types = &program.outputs()[..n];
            if types.iter().any(Ty::is_list) {
                let o = run::<F>(self.args, visit::<F>(self.args, Kind::Value), Kind::Value, Extra::None, None)?;
                return Ok(types.iter().zip(&o.outs).map(|(t, o)| zeros_of(t, o)).collect());
            }
            return Ok(types.iter().map(|t| zeros_of(t, &OutVal::Bits(0))).collect());
        }
        let o = on_tape::<F>(self.args, &self.v, Kind::Value, &[], self.tape())?;
        Ok(o.outs
            .iter()
            .filter_map(|o| if let OutVal::Tensor(v) = o { Some(zeros_of(v.ty(), o)) } else { None })
            .collect())
    }
    /// The types of what comes behind the value.
    pub fn derivative_types(&self, o: &Outcome) -> Vec<Ty> {
        let program = match self.entry.as_ref().map(|e| &e.body) {
            Some(Body::Compiled { program, .. }) => program.outputs().get(o.values..),
            _ => None,
        };
        let types = |(k, out): (usize, &OutVal)| match out {
            OutVal::Tensor(v) => v.ty().clone(),
            OutVal::Bits(_) => program.and_then(|p| p.get(k)).map_or(Ty::scalar(DType::F64), |t| Ty::scalar(t.dtype)),
        };
        o.outs[o.values..].iter().enumerate().map(types).collect()
    }
    fn row(&self, outs: impl Iterator<Item = OutVal>) -> F::Grads {
        let mut outs = outs;
        F::collect(self.args, &mut GradReader { grads: Source::Iter(&mut outs), listed: self.v.listed })
    }
}

/// Zeros of the type of a result, which says how long a list is.
fn zeros_of(ty: &Ty, out: &OutVal) -> LeafIn {
    match out {
        OutVal::Tensor(v) if ty.is_list() => LeafIn::List(Value::stored(Array::full(v.ty(), 0))),
        _ if ty.rank() == 0 => LeafIn::Bits(ty.dtype, 0),
        _ => LeafIn::Tensor(Value::stored(Array::full(ty, 0))),
    }
}
fn zeros(leaf: &LeafIn) -> LeafIn {
    match leaf {
        LeafIn::Bits(d, _) => LeafIn::Bits(*d, 0),
        LeafIn::Tensor(v) => LeafIn::Tensor(Value::stored(Array::full(v.ty(), 0))),
        LeafIn::List(v) => LeafIn::List(Value::stored(Array::full(v.ty(), 0))),
    }
}
/// Floats of a leaf.
pub(super) fn extent(leaf: &LeafIn) -> usize {
    match leaf {
        _ if !leaf.dtype().is_float() => 0,
        LeafIn::Bits(..) => 1,
        LeafIn::Tensor(v) | LeafIn::List(v) => v.ty().numel(),
    }
}
/// The leaf of zeros with a 1 in some places.
pub(super) fn seeded(leaf: &LeafIn, places: &[usize]) -> LeafIn {
    let ones = |v: &Value| {
        let ty = v.ty();
        let mut data = Data::zeros(ty.dtype, ty.numel());
        places.iter().for_each(|&i| data.set_bits(i, bits_of(ty.dtype, 1.0)));
        Value::from_data(ty.clone(), data)
    };
    match leaf {
        LeafIn::Bits(d, _) => LeafIn::Bits(*d, bits_of(*d, 1.0)),
        LeafIn::Tensor(v) => LeafIn::Tensor(ones(v)),
        LeafIn::List(v) => LeafIn::List(ones(v)),
    }
}
/// Calls `f` with each unit vector of leaves of zeros.
fn each_unit(mut zeros: LeafList, mut f: impl FnMut(&[LeafIn]) -> Result<()>) -> Result<()> {
    for k in 0..zeros.len() {
        for i in 0..extent(&zeros[k]) {
            let e = seeded(&zeros[k], &[i]);
            let zero = std::mem::replace(&mut zeros[k], e);
            f(&zeros)?;
            zeros[k] = zero;
        }
    }
    Ok(())
}

/// The floats of a result.
pub(super) fn floats(out: &OutVal, ty: &Ty) -> Vec<f64> {
    match out {
        _ if !ty.dtype.is_float() => Vec::new(),
        OutVal::Tensor(v) => v.to_array().to_f64_vec(),
        OutVal::Bits(b) if ty.dtype == DType::F32 => vec![f64::from(f32::from_bits(*b as u32))],
        OutVal::Bits(b) => vec![f64::from_bits(*b)],
    }
}
/// The next floats as the gradient of a leaf.
fn gradient(leaf: &LeafIn, from: &mut impl Iterator<Item = f64>) -> OutVal {
    match leaf {
        LeafIn::Bits(d, _) => OutVal::Bits(bits_of(*d, from.next().unwrap_or(0.0))),
        LeafIn::Tensor(v) | LeafIn::List(v) => {
            let all = from.take(v.ty().numel());
            let data = match v.ty().dtype {
                DType::F32 => Data::F32(all.map(|x| x as f32).collect()),
                _ => Data::F64(all.collect()),
            };
            OutVal::Tensor(Value::from_data(v.ty().clone(), data))
        }
    }
}

/// A matrix by one program, where the function is one of a few scalars. `form` is what the rows belong to, from the first
/// results.
fn at_once<F: Function, B: Block>(
    args: F::Args<'_>,
    kind: Kind,
    kept: Option<&CompiledFn>,
    form: impl FnOnce(&Entry, &[u64]) -> B,
) -> Option<B::Over<F::Grads>> {
    if current_engine() == Engine::Dynamic {
        return None;
    }
    let mut slots = Slots::new();
    F::slots(args, &mut slots);
    let slots = slots.scalars_only()?;
    // scalars add nothing to a key
    let entry = match kept {
        Some(_) => prepare::<F>(args, kind, kept).ok()?.0?,
        None => match cache::get(&Key::new(TypeId::of::<F>(), kind)) {
            Some(entry) => entry,
            None => lookup::<F>(args, &visit::<F>(args, kind), kind).ok()?,
        },
    };
    let Body::Compiled { program, .. } = &entry.body else { return None };
    let mut outs: SmallVec<[u64; 64]> = SmallVec::from_elem(0, program.outputs().len());
    run_slots(&entry, slots, &mut outs)?;
    Some(of_slots::<F, B>(&entry, args, &outs, form))
}

/// The matrix that a program of scalars gives: what the rows belong to, then row by row.
#[inline]
pub(super) fn of_slots<F: Function, B: Block>(
    entry: &Entry,
    args: F::Args<'_>,
    slots: &[u64],
    form: impl FnOnce(&Entry, &[u64]) -> B,
) -> B::Over<F::Grads> {
    let (first, all) = slots.split_at(entry.values);
    let row = |k: usize| grads_of::<F>(args, &all[k * entry.wrt.len()..]);
    form(entry, first).over(0, &row)
}

pub(super) fn jacobian<F: Function>(args: F::Args<'_>, kept: Option<&CompiledFn>) -> Result<Jacobian<F>> {
    if let Some(matrix) = at_once::<F, _>(args, Kind::Jacobian, kept, |e, slots| value_of::<F>(slots, &e.constants)) {
        return Ok(matrix);
    }
    let states = States::now();
    let p = Products::<F>::new(args, Kind::Value, kept)?;
    let inputs: usize = p.wrt.iter().map(|&i| extent(&p.v.leaves[i])).sum();
    let value = p.times(&[])?.read::<F>();
    let rows = if inputs <= value.count() {
        match columns::<F>(args, kept, &states, inputs, value.count()) {
            // a function with a derivative of the user's has a reverse mode alone
            Err(Error::NoDerivative { .. }) => rows::<F>(args, kept, &states)?,
            done => done?,
        }
    } else {
        rows::<F>(args, kept, &states)?
    };
    rows.over(&value)
}

/// The rows of a matrix, and what they were computed by.
struct Rows<'a, F: Function> {
    by: Products<'a, F>,
    all: Vec<Vec<OutVal>>,
}
impl<'a, F: Function> Rows<'a, F> {
    /// The matrix, in the form that what it is the derivative of says.
    fn over<B: Block>(&self, form: &B) -> Result<B::Over<F::Grads>> {
        if self.all.len() != form.count() {
            return Err(Error::value(F::META.name, "expected as many rows as results"));
        }
        Ok(form.over(0, &|k| self.by.row(self.all[k].iter().cloned())))
    }
    /// A product with each unit vector.
    fn by_units(by: Products<'a, F>, zeros: LeafList, states: &States) -> Result<Self> {
        let mut all = Vec::new();
        each_unit(zeros, |e| {
            let o = states.again(|| by.times(e))?;
            all.push(o.outs[o.values..].to_vec());
            Ok(())
        })?;
        Ok(Rows { by, all })
    }
}

/// Row by row.
fn rows<'a, F: Function>(args: F::Args<'a>, kept: Option<&CompiledFn>, states: &States) -> Result<Rows<'a, F>> {
    let by = Products::<F>::new(args, Kind::Vjp, kept)?;
    let zeros = states.again(|| by.cotangents())?;
    Rows::by_units(by, zeros, states)
}

/// Column by column.
fn columns<'a, F: Function>(
    args: F::Args<'a>,
    kept: Option<&CompiledFn>,
    states: &States,
    inputs: usize,
    outputs: usize,
) -> Result<Rows<'a, F>> {
    let by = Products::<F>::new(args, Kind::Jvp, kept)?;
    let mut all = vec![0.0; inputs.saturating_mul(outputs)];
    let mut column = 0;
    each_unit(by.tangents(), |e| {
        let o = states.again(|| by.times(e))?;
        let types = by.derivative_types(&o);
        let down = o.outs[o.values..].iter().zip(&types).flat_map(|(o, ty)| floats(o, ty));
        all.iter_mut().skip(column).step_by(inputs).zip(down).for_each(|(to, x)| *to = x);
        column += 1;
        Ok(())
    })?;
    let row = |r: usize| {
        let mut from = all[r * inputs..(r + 1) * inputs].iter().copied();
        by.wrt.iter().map(|&i| gradient(&by.v.leaves[i], &mut from)).collect()
    };
    let all = (0..outputs).map(row).collect();
    Ok(Rows { by, all })
}

pub(super) fn hessian<F: Function>(args: F::Args<'_>, kept: Option<&CompiledFn>) -> Result<Hessian<F>> {
    if let Some(matrix) = at_once::<F, _>(args, Kind::Hessian, kept, |_, slots| grads_of::<F>(args, slots)) {
        return Ok(matrix);
    }
    let states = States::now();
    let grads = Products::<F>::new(args, Kind::Grad, kept)?.times(&[])?.collect::<F>(args);
    let by = Products::<F>::new(args, Kind::Hvp, kept)?;
    let zeros = by.tangents();
    Rows::by_units(by, zeros, &states)?.over(&grads)
}
