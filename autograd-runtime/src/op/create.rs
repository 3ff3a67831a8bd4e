//! Sources: values that come from no tensor. Inputs and captures are sources too; the graph gives them
//! their types, evaluation hands them in.

use super::{Attr, Derivative, Eval, Lower, Op, OpDef};
use crate::{
    array::Data,
    error::Error,
    ty::{DType, Ty},
};

/// All operations of this family.
pub static ALL: &[&OpDef] = &[&INPUT, &CONST, &IOTA];

fn given(op: &Op) -> Error {
    Error::value(op.name(), "expected to be handed in by the caller")
}

/// A parameter of a graph: attribute `index` counts them, the type is attributes `dtype` and `shape`.
pub static INPUT: OpDef = OpDef {
    name: "input",
    attrs: &["index", "dtype", "shape"],
    arity: 0,
    infer: |op, _| Ty::new(op.dtype(1), &op.dims(2)),
    eval: Eval::Views(|op, _, _| Err(given(op))),
    derivative: Derivative::Zero,
    saves: 0,
    lower: Lower::Library,
};

/// A rank-0 constant, compared by its bits.
pub static CONST: OpDef = OpDef {
    name: "const",
    attrs: &["dtype", "bits"],
    arity: 0,
    infer: |op, _| Ok(Ty::scalar(op.dtype(0))),
    eval: Eval::Windows(|op, _, ty| Ok(Data::full(ty, op.bits(1)))),
    derivative: Derivative::Zero,
    saves: 0,
    lower: Lower::Const,
};

/// The indices 0, 1, … n−1 as numbers of a dtype.
pub static IOTA: OpDef = OpDef {
    name: "iota",
    attrs: &["dtype", "n"],
    arity: 0,
    infer: |op, _| match usize::try_from(op.int(1)) {
        Ok(n) if op.dtype(0) != DType::Bool => Ty::new(op.dtype(0), &[n]),
        _ => Err(Error::value(op.name(), "expected a number dtype and a non-negative extent")),
    },
    eval: Eval::Windows(|op, _, _| Ok(range(op.dtype(0), op.int(1) as usize))),
    derivative: Derivative::Zero,
    saves: 0,
    lower: Lower::Iota,
};

fn range(dtype: DType, n: usize) -> Data {
    match dtype {
        DType::F32 => Data::F32((0..n).map(|i| i as f32).collect()),
        DType::F64 => Data::F64((0..n).map(|i| i as f64).collect()),
        _ => Data::I64((0..n as i64).collect()),
    }
}

/// The bits of `x` rounded to a dtype.
pub fn bits_of(dtype: DType, x: f64) -> u64 {
    match dtype {
        DType::F32 => u64::from((x as f32).to_bits()),
        DType::F64 => x.to_bits(),
        DType::I64 => (x as i64) as u64,
        DType::Bool => u64::from(x != 0.0),
    }
}

/// The operation of a rank-0 constant.
pub fn constant(dtype: DType, x: f64) -> Op {
    constant_bits(dtype, bits_of(dtype, x))
}
/// The operation of a rank-0 constant, given by its bits.
pub fn constant_bits(dtype: DType, bits: u64) -> Op {
    Op { def: &CONST, attrs: vec![Attr::DType(dtype), Attr::Bits(bits)] }
}

/// The type of an input as its operation.
pub fn input(index: usize, ty: &Ty) -> Op {
    Op { def: &INPUT, attrs: vec![Attr::Int(index as i64), Attr::DType(ty.dtype), Attr::dims(&ty.shape)] }
}

/// The value of a constant operation, as a number.
pub fn value(op: &Op) -> Option<f64> {
    op.is(&CONST).then(|| number(op.dtype(0), op.bits(1)))
}

/// Constant bits as a number.
pub fn number(dtype: DType, bits: u64) -> f64 {
    match dtype {
        DType::F32 => f64::from(f32::from_bits(bits as u32)),
        DType::F64 => f64::from_bits(bits),
        DType::I64 => bits as i64 as f64,
        DType::Bool => f64::from((bits & 1) as u8),
    }
}
