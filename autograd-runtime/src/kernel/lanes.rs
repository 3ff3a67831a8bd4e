//! The vocabulary of inline arithmetic: turns operations on [`Lane`]s into Cranelift instructions,
//! for one 128-bit vector or one scalar. Invariant: an operation has the same bits in every lane of
//! a vector as it has on a scalar, and none of them traps.
//!
//! A `Bool` lane is a full-width mask (all ones or all zeros) in vector mode and an i8 of 0 or 1 in
//! scalar mode. Operations on dtypes that have no lowering record an error, which fails the
//! compilation when the function is finished.

mod convert;

use super::{ReduceKind, facts};
use crate::ty::DType;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{
    AbiParam, Endianness, InstBuilder, InstructionData, MemFlagsData, Opcode, SigRef, Signature, Type, Value, types,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::FunctionBuilder;

/// A value being computed: one vector or one scalar.
#[derive(Clone, Copy, Debug)]
pub struct Lane {
    pub(crate) value: Value,
    /// Element type.
    pub dtype: DType,
}

/// What one emitted value holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// One element.
    Scalar,
    /// Four elements of 32 bits: F32 and Bool.
    Wide32,
    /// Two elements of 64 bits: F64, I64 and Bool.
    Wide64,
}

impl Shape {
    /// Elements in a value.
    pub fn lanes(self) -> usize {
        match self {
            Shape::Scalar => 1,
            Shape::Wide32 => 4,
            Shape::Wide64 => 2,
        }
    }
}

/// Emitter of inline operations; see the module docs.
pub struct Lanes<'a, 'b> {
    pub(crate) b: &'a mut FunctionBuilder<'b>,
    pub(crate) shape: Shape,
    pub(crate) fma: bool,
    pub(crate) call_conv: CallConv,
    pub(crate) error: Option<String>,
    signatures: Vec<(Vec<Type>, Option<Type>, SigRef)>,
}

extern "C" fn fma_f32(a: f32, b: f32, c: f32) -> f32 {
    a.mul_add(b, c)
}

extern "C" fn fma_f64(a: f64, b: f64, c: f64) -> f64 {
    a.mul_add(b, c)
}

/// Flags of a memory access: generated code never touches memory its caller did not hand over.
pub(crate) fn mem() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

impl<'a, 'b> Lanes<'a, 'b> {
    pub(crate) fn new(b: &'a mut FunctionBuilder<'b>, fma: bool, call_conv: CallConv) -> Self {
        Lanes { b, shape: Shape::Scalar, fma, call_conv, error: None, signatures: Vec::new() }
    }

    /// Whether values are vectors; a hint for lowerings that prefer another form for scalars.
    pub fn is_vector(&self) -> bool {
        self.shape != Shape::Scalar
    }

    fn fail(&mut self, operation: &str, dtype: DType) {
        self.error.get_or_insert_with(|| format!("{operation} of {dtype:?}"));
    }

    /// Cranelift type of a `dtype` value in the current shape.
    pub(crate) fn ty(&mut self, dtype: DType) -> Type {
        match (self.shape, dtype) {
            (Shape::Scalar, _) => scalar_type(dtype),
            (Shape::Wide32, DType::F32) => types::F32X4,
            (Shape::Wide32, DType::Bool) => types::I32X4,
            (Shape::Wide64, DType::F64) => types::F64X2,
            (Shape::Wide64, DType::I64 | DType::Bool) => types::I64X2,
            (shape, _) => {
                self.fail(&format!("{shape:?} value"), dtype);
                if shape == Shape::Wide32 { types::F32X4 } else { types::F64X2 }
            }
        }
    }

    pub(crate) fn bitcast(&mut self, ty: Type, value: Value) -> Value {
        if self.b.func.dfg.value_type(value) == ty {
            return value;
        }
        let flags = MemFlagsData::new().with_endianness(Endianness::Little);
        self.b.ins().bitcast(ty, flags, value)
    }

    fn lane(&self, value: Value, dtype: DType) -> Lane {
        Lane { value, dtype }
    }

    fn float(dtype: DType) -> bool {
        matches!(dtype, DType::F32 | DType::F64)
    }

    /// What a float is the negative of, if it is written as such.
    fn negated(&self, x: Value) -> Option<Value> {
        let dfg = &self.b.func.dfg;
        match dfg.insts[dfg.value_def(x).inst()?] {
            InstructionData::Unary { opcode: Opcode::Fneg, arg } => Some(arg),
            _ => None,
        }
    }

    /// Whether an integer is written as nought.
    pub(super) fn is_zero(&self, x: Value) -> bool {
        facts::constant(&self.b.func.dfg, x) == Some(0)
    }

    /// `a + b`; wraps for I64.
    pub fn add(&mut self, a: Lane, b: Lane) -> Lane {
        let value = match a.dtype {
            // ranges start from nought, mostly
            DType::I64 if self.is_zero(a.value) => b.value,
            DType::I64 => self.b.ins().iadd(a.value, b.value),
            DType::Bool => return self.refuse("add", a),
            // a + (−x) = a − x
            _ => match self.negated(b.value) {
                Some(x) => self.b.ins().fsub(a.value, x),
                None => self.b.ins().fadd(a.value, b.value),
            },
        };
        self.lane(value, a.dtype)
    }

    /// `a − b`; wraps for I64.
    pub fn sub(&mut self, a: Lane, b: Lane) -> Lane {
        let value = match a.dtype {
            DType::I64 => self.b.ins().isub(a.value, b.value),
            DType::Bool => return self.refuse("sub", a),
            _ => self.b.ins().fsub(a.value, b.value),
        };
        self.lane(value, a.dtype)
    }

    /// `a · b`; wraps for I64.
    pub fn mul(&mut self, a: Lane, b: Lane) -> Lane {
        let value = match a.dtype {
            DType::I64 => self.b.ins().imul(a.value, b.value),
            DType::Bool => return self.refuse("mul", a),
            _ => self.b.ins().fmul(a.value, b.value),
        };
        self.lane(value, a.dtype)
    }

    fn refuse(&mut self, operation: &str, a: Lane) -> Lane {
        self.fail(operation, a.dtype);
        a
    }

    /// `a / b`; floats only (an integer division could trap).
    pub fn div(&mut self, a: Lane, b: Lane) -> Lane {
        if !Self::float(a.dtype) {
            return self.refuse("div", a);
        }
        let value = self.b.ins().fdiv(a.value, b.value);
        self.lane(value, a.dtype)
    }

    /// `−a`.
    pub fn neg(&mut self, a: Lane) -> Lane {
        let value = match a.dtype {
            DType::I64 => self.b.ins().ineg(a.value),
            DType::Bool => return self.refuse("neg", a),
            _ => self.b.ins().fneg(a.value),
        };
        self.lane(value, a.dtype)
    }

    /// `|a|`; the least I64 is its own absolute value.
    pub fn abs(&mut self, a: Lane) -> Lane {
        let value = match a.dtype {
            DType::I64 => self.b.ins().iabs(a.value),
            DType::Bool => return a,
            _ => self.b.ins().fabs(a.value),
        };
        self.lane(value, a.dtype)
    }

    /// Square root; floats only.
    pub fn sqrt(&mut self, a: Lane) -> Lane {
        if !Self::float(a.dtype) {
            return self.refuse("sqrt", a);
        }
        let value = self.b.ins().sqrt(a.value);
        self.lane(value, a.dtype)
    }

    /// `a·b + c` with one rounding; floats only.
    pub fn fma(&mut self, a: Lane, b: Lane, c: Lane) -> Lane {
        if !Self::float(a.dtype) {
            return self.refuse("fma", a);
        }
        if self.fma {
            let value = self.b.ins().fma(a.value, b.value, c.value);
            return self.lane(value, a.dtype);
        }
        let ty = scalar_type(a.dtype);
        let address = if a.dtype == DType::F32 {
            fma_f32 as extern "C" fn(f32, f32, f32) -> f32 as usize
        } else {
            fma_f64 as extern "C" fn(f64, f64, f64) -> f64 as usize
        };
        let mut results = [a.value; 4];
        let count = self.shape.lanes();
        for (k, result) in results.iter_mut().enumerate().take(count) {
            let args = [a, b, c].map(|x| self.extract(x, k).value);
            *result = self.call(address, &[ty; 3], Some(ty), &args).unwrap_or(a.value);
        }
        self.assemble(&results[..count], a.dtype)
    }

    /// Largest integer not above `a`.
    pub fn floor(&mut self, a: Lane) -> Lane {
        if !Self::float(a.dtype) {
            return a;
        }
        let value = self.b.ins().floor(a.value);
        self.lane(value, a.dtype)
    }

    /// Least integer not below `a`.
    pub fn ceil(&mut self, a: Lane) -> Lane {
        if !Self::float(a.dtype) {
            return a;
        }
        let value = self.b.ins().ceil(a.value);
        self.lane(value, a.dtype)
    }

    /// `a` rounded towards zero.
    pub fn trunc(&mut self, a: Lane) -> Lane {
        if !Self::float(a.dtype) {
            return a;
        }
        let value = self.b.ins().trunc(a.value);
        self.lane(value, a.dtype)
    }

    /// `a` rounded to the nearest integer, ties to even.
    pub fn nearest_even(&mut self, a: Lane) -> Lane {
        if !Self::float(a.dtype) {
            return a;
        }
        let value = self.b.ins().nearest(a.value);
        self.lane(value, a.dtype)
    }

    /// Maximum; NaN if either is. Of two zeros, `b`.
    pub fn max(&mut self, a: Lane, b: Lane) -> Lane {
        // `b < a ? a : b` is one instruction and yields b when unordered; only a NaN a remains.
        let larger = self.raw_max(a, b);
        self.nan_or(a, larger)
    }

    /// Minimum; NaN if either is. Of two zeros, `b`.
    pub fn min(&mut self, a: Lane, b: Lane) -> Lane {
        let less = self.raw_min(a, b);
        self.nan_or(a, less)
    }

    /// `a` where `a > b`, else `b`; so `b` if either is NaN. One instruction for floats.
    pub fn raw_max(&mut self, a: Lane, b: Lane) -> Lane {
        if a.dtype == DType::Bool {
            return self.or(a, b);
        }
        let mask = self.lt(b, a);
        self.either(mask, a, b)
    }

    /// `a` where `a < b`, else `b`; so `b` if either is NaN. One instruction for floats.
    pub fn raw_min(&mut self, a: Lane, b: Lane) -> Lane {
        if a.dtype == DType::Bool {
            return self.and(a, b);
        }
        let mask = self.lt(a, b);
        self.either(mask, a, b)
    }

    fn nan_or(&mut self, a: Lane, otherwise: Lane) -> Lane {
        if !Self::float(a.dtype) {
            return otherwise;
        }
        let mask = self.is_nan(a);
        self.select(mask, a, otherwise)
    }

    /// Whether `a` is NaN.
    pub fn is_nan(&mut self, a: Lane) -> Lane {
        if !Self::float(a.dtype) {
            return self.constant(0.0, DType::Bool);
        }
        let value = self.b.ins().fcmp(FloatCC::Unordered, a.value, a.value);
        self.lane(value, DType::Bool)
    }

    fn compare(&mut self, float: FloatCC, int: IntCC, a: Lane, b: Lane) -> Lane {
        let value = if Self::float(a.dtype) {
            self.b.ins().fcmp(float, a.value, b.value)
        } else {
            self.b.ins().icmp(int, a.value, b.value)
        };
        self.lane(value, DType::Bool)
    }

    /// `a < b`.
    pub fn lt(&mut self, a: Lane, b: Lane) -> Lane {
        if a.dtype == DType::Bool {
            let not = self.not(a);
            return self.and(not, b);
        }
        self.compare(FloatCC::LessThan, IntCC::SignedLessThan, a, b)
    }

    /// `a ≤ b`.
    pub fn le(&mut self, a: Lane, b: Lane) -> Lane {
        if a.dtype == DType::Bool {
            let not = self.not(a);
            return self.or(not, b);
        }
        self.compare(FloatCC::LessThanOrEqual, IntCC::SignedLessThanOrEqual, a, b)
    }

    /// `a > b`.
    pub fn gt(&mut self, a: Lane, b: Lane) -> Lane {
        self.lt(b, a)
    }

    /// `a ≥ b`.
    pub fn ge(&mut self, a: Lane, b: Lane) -> Lane {
        self.le(b, a)
    }

    /// `a = b`.
    pub fn eq(&mut self, a: Lane, b: Lane) -> Lane {
        self.compare(FloatCC::Equal, IntCC::Equal, a, b)
    }

    /// `a ≠ b`; true when either is NaN.
    pub fn ne(&mut self, a: Lane, b: Lane) -> Lane {
        self.compare(FloatCC::NotEqual, IntCC::NotEqual, a, b)
    }

    /// `a` where `mask`, else `b`: a choice of bits, never arithmetic.
    pub fn select(&mut self, mask: Lane, a: Lane, b: Lane) -> Lane {
        // a choice between floats is a jump on some machines, dear where it is as likely as not; nought is had by a mask
        if self.shape == Shape::Scalar && facts::is_nought(&self.b.func.dfg, b.value) {
            let ty = self.b.func.dfg.value_type(a.value);
            let bits = self.b.ins().bmask(ty.as_int(), mask.value);
            let bits = self.bitcast(ty, bits);
            let value = self.b.ins().band(a.value, bits);
            return self.lane(value, a.dtype);
        }
        self.either(mask, a, b)
    }

    /// As [`select`](Lanes::select), as one instruction of the kind, which the machine may have a better one for.
    fn either(&mut self, mask: Lane, a: Lane, b: Lane) -> Lane {
        let value = if self.shape == Shape::Scalar {
            self.b.ins().select(mask.value, a.value, b.value)
        } else {
            let ty = self.b.func.dfg.value_type(a.value);
            let mask = self.bitcast(ty, mask.value);
            self.b.ins().bitselect(mask, a.value, b.value)
        };
        self.lane(value, a.dtype)
    }

    /// Bitwise and of masks or I64.
    pub fn and(&mut self, a: Lane, b: Lane) -> Lane {
        let value = self.b.ins().band(a.value, b.value);
        self.lane(value, a.dtype)
    }

    /// Bitwise or of masks or I64.
    pub fn or(&mut self, a: Lane, b: Lane) -> Lane {
        let value = self.b.ins().bor(a.value, b.value);
        self.lane(value, a.dtype)
    }

    /// Bitwise exclusive or of masks or I64.
    pub fn xor(&mut self, a: Lane, b: Lane) -> Lane {
        let value = self.b.ins().bxor(a.value, b.value);
        self.lane(value, a.dtype)
    }

    /// `a · 2ᵇ`, b modulo 64; I64.
    pub fn shl(&mut self, a: Lane, b: Lane) -> Lane {
        self.each_lane(a, b, |l, a, b| l.b.ins().ishl(a, b))
    }

    /// `a / 2ᵇ`, b modulo 64, with a's sign or as an unsigned integer; I64.
    pub fn shr(&mut self, a: Lane, b: Lane, signed: bool) -> Lane {
        self.each_lane(a, b, |l, a, b| if signed { l.b.ins().sshr(a, b) } else { l.b.ins().ushr(a, b) })
    }

    /// How many bits are 1; I64.
    pub fn count_ones(&mut self, a: Lane) -> Lane {
        self.each_lane(a, a, |l, a, _| l.b.ins().popcnt(a))
    }

    /// How many of the highest bits are 0; I64.
    pub fn leading_zeros(&mut self, a: Lane) -> Lane {
        self.each_lane(a, a, |l, a, _| l.b.ins().clz(a))
    }

    /// How many of the lowest bits are 0; I64.
    pub fn trailing_zeros(&mut self, a: Lane) -> Lane {
        self.each_lane(a, a, |l, a, _| l.b.ins().ctz(a))
    }

    /// What has no form for vectors.
    fn each_lane(&mut self, a: Lane, b: Lane, f: impl Fn(&mut Self, Value, Value) -> Value) -> Lane {
        if !self.is_vector() {
            let value = f(self, a.value, b.value);
            return self.lane(value, a.dtype);
        }
        let lanes: Vec<Value> = (0..self.shape.lanes())
            .map(|k| {
                let (a, b) = (self.extract(a, k).value, self.extract(b, k).value);
                f(self, a, b)
            })
            .collect();
        self.assemble(&lanes, a.dtype)
    }

    /// Negation of a mask, or of every bit of an I64.
    pub fn not(&mut self, a: Lane) -> Lane {
        let value = if a.dtype == DType::Bool && self.shape == Shape::Scalar {
            self.b.ins().bxor_imm_u(a.value, 1)
        } else {
            self.b.ins().bnot(a.value)
        };
        self.lane(value, a.dtype)
    }

    /// `|a|` with the sign of `b`; floats only.
    pub fn copysign(&mut self, a: Lane, b: Lane) -> Lane {
        if !Self::float(a.dtype) {
            return self.refuse("copysign", a);
        }
        if self.shape == Shape::Scalar {
            let value = self.b.ins().fcopysign(a.value, b.value);
            return self.lane(value, a.dtype);
        }
        let sign = self.constant(-0.0, a.dtype).value;
        let negative = self.b.ins().band(b.value, sign);
        let magnitude = self.b.ins().fabs(a.value);
        let value = self.b.ins().bor(magnitude, negative);
        self.lane(value, a.dtype)
    }

    /// One step of a reduction. The accumulator is `acc`.
    pub(crate) fn combine(&mut self, kind: ReduceKind, acc: Lane, x: Lane) -> Lane {
        match kind {
            ReduceKind::Sum => self.add(acc, x),
            ReduceKind::Prod => self.mul(acc, x),
            ReduceKind::Max => self.max(x, acc),
            ReduceKind::Min => self.min(x, acc),
        }
    }

    /// Calls the function at an absolute address with scalar values.
    pub(crate) fn call(
        &mut self,
        address: usize,
        params: &[Type],
        result: Option<Type>,
        args: &[Value],
    ) -> Option<Value> {
        let known = self.signatures.iter().find(|s| s.0 == params && s.1 == result);
        let signature = match known {
            Some(&(_, _, signature)) => signature,
            None => {
                let mut signature = Signature::new(self.call_conv);
                signature.params.extend(params.iter().map(|&t| AbiParam::new(t)));
                signature.returns.extend(result.map(AbiParam::new));
                let imported = self.b.import_signature(signature);
                self.signatures.push((params.to_vec(), result, imported));
                imported
            }
        };
        let target = self.b.ins().iconst(types::I64, address as i64);
        let call = self.b.ins().call_indirect(signature, target, args);
        self.b.inst_results(call).first().copied()
    }
}

/// Cranelift type of a scalar-mode value.
pub(crate) fn scalar_type(dtype: DType) -> Type {
    match dtype {
        DType::F32 => types::F32,
        DType::F64 => types::F64,
        DType::I64 => types::I64,
        DType::Bool => types::I8,
    }
}
