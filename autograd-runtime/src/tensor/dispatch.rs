//! One operation on values. Inside a running trace it is recorded, inside a stretch collected; otherwise it is computed
//! at once, as a view where it is one, and a backward node is taped if an argument is tracked.

use super::{
    meta::{Creation, ViewOf},
    mode::is_grad_enabled,
    node::{self, Node},
    value::{Repr, Storage, Value},
};
use crate::{
    array::Data,
    emit::{Emit, V},
    error::{Error, Place, Result},
    op::{self, Lower, Op, arith, create},
    profiler, session,
    ty::{DType, Layout, Ty},
};
use parking_lot::RecursiveRwLockReadGuard;
use smallvec::SmallVec;
use std::{cell::RefCell, sync::Arc};

/// The emitter behind tensors' methods; keeps the first error of an expression.
#[derive(Default)]
pub(crate) struct Dispatch {
    error: RefCell<Option<Error>>,
    /// Where the user called the expression.
    place: Option<Place>,
}

impl Dispatch {
    /// An emitter for an expression of the user's.
    pub fn at(place: Place) -> Dispatch {
        Dispatch { error: RefCell::default(), place: Some(place) }
    }
    /// The first error since the last call.
    pub fn take_error(&self) -> Option<Error> {
        self.error.borrow_mut().take()
    }
}

impl Emit for Dispatch {
    fn emit(&self, op: Op, args: &[V]) -> V {
        let mut refs: SmallVec<[&V; 3]> = SmallVec::new();
        args.iter().for_each(|a| refs.push(a));
        self.emit_refs(op, &refs)
    }
    fn emit_refs(&self, op: Op, args: &[&V]) -> V {
        let mut values: SmallVec<[&Value; 3]> = SmallVec::new();
        for &a in args {
            values.push(match a {
                V::Tensor(t) => t,
                V::Node(n) => panic!("bug: {} mixes tensors with the graph node {n:?}", op.name()),
                V::Type(t) => panic!("bug: {} reads a {t} that was not saved", op.name()),
            });
        }
        V::Tensor(operation(op, &values, self.place).unwrap_or_else(|(e, placeholder)| {
            self.error.borrow_mut().get_or_insert(e);
            placeholder
        }))
    }
    fn constant(&self, dtype: DType, bits: u64) -> V {
        if session::is_tracing() {
            return self.emit(create::constant_bits(dtype, bits), &[]);
        }
        // nothing to record
        let ty = Ty::scalar(dtype);
        let data = Data::full(&ty, bits);
        V::Tensor(Value::from_data(ty, data))
    }
    fn ty(&self, v: &V) -> Ty {
        match v {
            V::Tensor(t) => t.ty().clone(),
            V::Type(t) => t.clone(),
            V::Node(n) => panic!("bug: the graph node {n:?} among tensors"),
        }
    }
    fn fail(&self, error: Error, like: &V) -> V {
        self.error.borrow_mut().get_or_insert(error);
        V::Tensor(Value::absent(self.ty(like)))
    }
}

/// One operation on values: recorded if a trace is running, collected in a stretch, computed at once otherwise.
///
/// # Errors
/// As [`eager`], with a placeholder for the result.
#[inline]
pub(super) fn operation(op: Op, args: &[&Value], place: Option<Place>) -> Result<Value, (Error, Value)> {
    let made = match session::record(&op, args) {
        Some(traced) => traced,
        None => match session::collect_operation(&op, args, place) {
            Some(pending) => return Ok(pending),
            None => eager_at(op, args, place, Creation::Plain),
        },
    };
    made.map_err(|e| (e, Value::absent(args.first().map_or_else(|| Ty::scalar(DType::F64), |a| a.ty().clone()))))
}

/// Computes an operation on stored values and tapes it.
///
/// # Errors
/// What the shape rule or the evaluation finds wrong.
pub(crate) fn eager(op: Op, args: &[&Value]) -> Result<Value> {
    eager_at(op, args, None, Creation::Plain)
}

/// As [`eager`], called at a place of the user's; a view is made in such a way.
pub(super) fn eager_at(op: Op, args: &[&Value], place: Option<Place>, creation: Creation) -> Result<Value> {
    let mut tys: SmallVec<[&Ty; 3]> = SmallVec::new();
    args.iter().for_each(|a| tys.push(a.ty()));
    let ty = op.infer(&tys)?;
    // the consequence of an earlier error, which is reported already
    if args.iter().any(|a| matches!(a.repr(), Repr::Absent)) {
        return Ok(Value::absent(ty));
    }
    let _event = profiler::forward(op.name());
    let (repr, view) = match view(&op, args, &ty, creation) {
        Some(v) => v,
        None => (Repr::new(&ty, compute(&op, args, &ty)?), None),
    };
    let past = if is_grad_enabled() && args.iter().any(|a| a.requires_grad()) && node::differentiable(&op, &ty) {
        Some((Node::record(op, args, &ty, &repr, place)?, 0))
    } else {
        None
    };
    Ok(Value::with_past(ty, repr, view, past))
}

/// a + b
pub(super) fn sum(a: &Value, b: &Value) -> Result<Value> {
    eager(Op::new(&arith::ADD), &[a, b])
}

/// Whether the result shares elements with the argument, if these lie so that it can.
pub(super) fn shares(op: &Op) -> bool {
    op.is(&arith::DETACH) || matches!(op.def.lower, Lower::View(_))
}

fn view(op: &Op, args: &[&Value], ty: &Ty, creation: Creation) -> Option<(Repr, Option<Box<ViewOf>>)> {
    if !shares(op) {
        return None;
    }
    let is_alias = op.is(&arith::DETACH);
    let Repr::Stored { storage, layout } = args[0].repr() else { return None };
    let layout = if is_alias { layout.clone() } else { op::view_layout(op, layout, args[0].ty(), ty)? };
    let creation = if is_grad_enabled() { creation } else { Creation::NoGrad };
    // what is detached is no view for backward: it has no past to be a window on
    let of = (!is_alias).then(|| ViewOf::new(args[0], creation));
    Some((Repr::Stored { storage: storage.clone(), layout }, of))
}

fn compute(op: &Op, args: &[&Value], ty: &Ty) -> Result<Data> {
    // a thread may read again what it reads already: one guard an argument
    let mut locked: SmallVec<[(RecursiveRwLockReadGuard<'_, Data>, &Layout); 3]> = SmallVec::new();
    for a in args {
        match a.repr() {
            Repr::Stored { storage, layout } => locked.push((storage.data.read(), layout)),
            other => panic!("bug: {} on a value that is not stored: {other:?}", op.name()),
        }
    }
    let mut operands: SmallVec<[op::Operand<'_>; 3]> = SmallVec::new();
    for (data, layout) in &locked {
        operands.push(op::Operand::new(data, layout));
    }
    op::evaluate(op, &operands, ty)
}

/// Read guards of several storages, each taken once. The locks let a thread read again what it reads already,
/// also while a writer waits.
pub(crate) struct Locked<'a>(SmallVec<[(*const Storage, RecursiveRwLockReadGuard<'a, Data>); 4]>);

impl<'a> Locked<'a> {
    pub(crate) fn read(storages: impl Iterator<Item = &'a Arc<Storage>>) -> Locked<'a> {
        let mut distinct: SmallVec<[&'a Arc<Storage>; 4]> = storages.collect();
        distinct.sort_unstable_by_key(|s| Arc::as_ptr(s));
        distinct.dedup_by_key(|s| Arc::as_ptr(s));
        Locked(distinct.into_iter().map(|s| (Arc::as_ptr(s), s.data.read())).collect())
    }
    pub(crate) fn get(&self, s: &Arc<Storage>) -> &Data {
        let found = self.0.iter().find(|(p, _)| *p == Arc::as_ptr(s));
        &found.expect("every storage was locked").1
    }
}
