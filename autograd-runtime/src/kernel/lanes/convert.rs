//! Conversions between scalars, vectors and dtypes: constants, splats, lane access and casts.
//! Invariant: a scalar-mode Bool is 0 or 1 and a vector one a full-width mask on either side.

use super::{Lane, Lanes, Shape};
use crate::ty::DType;
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};

impl Lanes<'_, '_> {
    /// The constant `value`, rounded to `dtype`.
    pub fn constant(&mut self, value: f64, dtype: DType) -> Lane {
        let bits = match dtype {
            DType::F32 => u64::from((value as f32).to_bits()),
            DType::F64 => value.to_bits(),
            DType::I64 => (value as i64).cast_unsigned(),
            DType::Bool => u64::from(value != 0.0),
        };
        self.constant_bits(bits, dtype)
    }

    /// The constant with these bits in `dtype`.
    pub fn constant_bits(&mut self, bits: u64, dtype: DType) -> Lane {
        let shape = std::mem::replace(&mut self.shape, Shape::Scalar);
        let value = match dtype {
            DType::F32 => self.b.ins().f32const(f32::from_bits(bits as u32)),
            DType::F64 => self.b.ins().f64const(f64::from_bits(bits)),
            DType::I64 => self.b.ins().iconst(types::I64, bits.cast_signed()),
            DType::Bool => self.b.ins().iconst(types::I8, i64::from(bits & 0xff != 0)),
        };
        self.shape = shape;
        self.splat(Lane { value, dtype })
    }

    /// Spreads a scalar-mode value over the current shape.
    pub(crate) fn splat(&mut self, scalar: Lane) -> Lane {
        if self.shape == Shape::Scalar {
            return scalar;
        }
        let ty = self.ty(scalar.dtype);
        let element = self.element(scalar, ty);
        let value = self.b.ins().splat(ty, element);
        self.lane(value, scalar.dtype)
    }

    /// A scalar-mode value as the element type of vector type `ty`; bools become masks.
    fn element(&mut self, scalar: Lane, ty: Type) -> Value {
        if scalar.dtype == DType::Bool {
            let wide = self.b.ins().uextend(ty.lane_type(), scalar.value);
            self.b.ins().ineg(wide)
        } else {
            scalar.value
        }
    }

    /// Gathers one scalar-mode value for each lane of the current shape.
    pub(crate) fn assemble(&mut self, scalars: &[Value], dtype: DType) -> Lane {
        if self.shape == Shape::Scalar {
            return self.lane(scalars[0], dtype);
        }
        let ty = self.ty(dtype);
        let first = self.element(Lane { value: scalars[0], dtype }, ty);
        let mut vector = self.b.ins().scalar_to_vector(ty, first);
        for (k, &value) in scalars.iter().enumerate().skip(1) {
            let element = self.element(Lane { value, dtype }, ty);
            vector = self.b.ins().insertlane(vector, element, k as u8);
        }
        self.lane(vector, dtype)
    }

    /// The scalar-mode value in lane `k`.
    pub(crate) fn extract(&mut self, lane: Lane, k: usize) -> Lane {
        if self.shape == Shape::Scalar {
            return lane;
        }
        let mut value = self.b.ins().extractlane(lane.value, k as u8);
        if lane.dtype == DType::Bool {
            let low = self.b.ins().ireduce(types::I8, value);
            value = self.b.ins().band_imm_u(low, 1);
        }
        self.lane(value, lane.dtype)
    }

    /// Conversion. Float to I64 saturates and takes NaN to 0; anything to Bool asks `≠ 0`.
    pub fn cast(&mut self, a: Lane, to: DType) -> Lane {
        if a.dtype == to {
            return a;
        }
        if to == DType::Bool {
            let zero = self.constant(0.0, a.dtype);
            return self.ne(a, zero);
        }
        let ty = self.ty(to);
        let value = match (self.shape, a.dtype, to) {
            (_, DType::Bool, DType::I64) if self.shape == Shape::Scalar => self.b.ins().uextend(ty, a.value),
            (Shape::Scalar, DType::Bool, _) => {
                let wide = self.b.ins().uextend(types::I32, a.value);
                self.b.ins().fcvt_from_sint(ty, wide)
            }
            (_, DType::Bool, _) => {
                let one = self.constant(1.0, to).value;
                let mask = self.bitcast(ty, a.value);
                self.b.ins().band(mask, one)
            }
            (_, DType::I64, _) => self.b.ins().fcvt_from_sint(ty, a.value),
            (Shape::Scalar, _, DType::I64) => self.b.ins().fcvt_to_sint_sat(ty, a.value),
            (_, _, DType::I64) => {
                let mut lanes = [a.value; 2];
                for (k, lane) in lanes.iter_mut().enumerate() {
                    let scalar = self.extract(a, k).value;
                    *lane = self.b.ins().fcvt_to_sint_sat(types::I64, scalar);
                }
                return self.assemble(&lanes, to);
            }
            (Shape::Scalar, DType::F32, _) => self.b.ins().fpromote(ty, a.value),
            (Shape::Scalar, _, _) => self.b.ins().fdemote(ty, a.value),
            _ => return self.refuse("vector cast", a),
        };
        self.lane(value, to)
    }
}
