//! Types of values: an element type and a shape. Sizes are checked products, so that no later
//! multiplication of extents can overflow.

use crate::error::{Error, Result};
use smallvec::SmallVec;
use std::fmt;

/// The element types.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum DType {
    /// 32-bit IEEE float.
    F32,
    /// 64-bit IEEE float.
    F64,
    /// 64-bit signed integer: indices and counts, no derivative.
    I64,
    /// Truth value, one byte of 0 or 1, no derivative.
    Bool,
}

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::F64 | DType::I64 => 8,
            DType::Bool => 1,
        }
    }
    /// Whether values of this type are differentiated.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64)
    }
    /// The name in the text form of a graph.
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::I64 => "i64",
            DType::Bool => "bool",
        }
    }
    pub(crate) fn parse(s: &str) -> Option<Self> {
        [DType::F32, DType::F64, DType::I64, DType::Bool].into_iter().find(|d| d.name() == s)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The extent of a list: known only when a program runs.
pub(crate) const RUN_TIME: usize = 1 << 48;

/// Extents of the axes, outermost first; empty for a scalar.
pub type Shape = SmallVec<[usize; 4]>;

/// Element type and shape.
#[derive(PartialEq, Eq, Hash, Debug)]
pub struct Ty {
    /// Element type.
    pub dtype: DType,
    /// Extents.
    pub shape: Shape,
}

// written out: a derived clone would copy the extents one by one, and the dynamic engine clones types all the time
impl Clone for Ty {
    #[inline]
    fn clone(&self) -> Ty {
        Ty { dtype: self.dtype, shape: Shape::from_slice(&self.shape) }
    }
}

impl Ty {
    /// A type; the number of bytes must fit `isize`.
    ///
    /// # Errors
    /// [`Error::Value`] if it does not.
    pub fn new(dtype: DType, shape: &[usize]) -> Result<Ty> {
        // zero extents are left out of the product, so that [0, usize::MAX] cannot overflow later
        let bytes = shape.iter().filter(|&&n| n != 0).try_fold(dtype.size(), |p, &n| p.checked_mul(n));
        match bytes {
            Some(b) if isize::try_from(b).is_ok() => Ok(Ty { dtype, shape: shape.into() }),
            _ => Err(Error::value("shape", format!("expected a size that fits in memory, found {shape:?}"))),
        }
    }
    /// A rank-0 type.
    pub fn scalar(dtype: DType) -> Ty {
        Ty { dtype, shape: Shape::new() }
    }
    /// The type of lists: one axis, whose extent is known only when a program runs. The operations on lists are
    /// in `op/list.rs`.
    pub fn list(dtype: DType) -> Ty {
        Ty { dtype, shape: Shape::from_slice(&[RUN_TIME]) }
    }
    /// Whether this is the type of lists.
    pub fn is_list(&self) -> bool {
        self.shape.as_slice() == [RUN_TIME]
    }
    /// Whether a value of type `other` may stand where this type is declared: for lists any length.
    pub fn takes(&self, other: &Ty) -> bool {
        self == other || self.is_list() && self.dtype == other.dtype && other.rank() == 1
    }
    /// The same shape with another element type.
    pub fn with_dtype(&self, dtype: DType) -> Ty {
        Ty { dtype, shape: self.shape.clone() }
    }
    /// The same element type with another shape.
    pub fn with_shape(&self, shape: impl Into<Shape>) -> Ty {
        Ty { dtype: self.dtype, shape: shape.into() }
    }
    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }
    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.shape.iter().product()
    }
    /// Number of bytes.
    pub fn bytes(&self) -> usize {
        self.numel() * self.dtype.size()
    }
}

/// Whether two shapes are equal: a loop, which for a few extents is cheaper than the call that comparing slices is.
#[inline]
pub(crate) fn same_shape(a: &[usize], b: &[usize]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b)
}

impl fmt::Display for Ty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.dtype)?;
        for (i, n) in self.shape.iter().enumerate() {
            f.write_str(if i > 0 { "," } else { "" })?;
            if *n == RUN_TIME { f.write_str("?")? } else { write!(f, "{n}")? }
        }
        f.write_str("]")
    }
}

/// The shape that two shapes broadcast to: aligned at the last axis, extents equal or 1.
pub fn broadcast(a: &[usize], b: &[usize]) -> Option<Shape> {
    let rank = a.len().max(b.len());
    let extent = |s: &[usize], i: usize| if i + s.len() < rank { 1 } else { s[i + s.len() - rank] };
    (0..rank)
        .map(|i| match (extent(a, i), extent(b, i)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

/// Row-major strides, in elements.
pub fn contiguous_strides(shape: &[usize]) -> SmallVec<[isize; 4]> {
    let mut strides: SmallVec<[isize; 4]> = SmallVec::from_elem(0, shape.len());
    let mut step = 1isize;
    for (s, &n) in strides.iter_mut().zip(shape).rev() {
        *s = step;
        step *= n.max(1) as isize;
    }
    strides
}

/// Resolves a possibly negative dim (−1 is the last) against a rank.
///
/// # Errors
/// [`Error::Value`] naming the operation and the valid range.
pub fn resolve_dim(op: &str, dim: i64, rank: usize) -> Result<usize> {
    let n = rank as i64;
    if (-n..n).contains(&dim) {
        return Ok(dim.rem_euclid(n) as usize);
    }
    if n == 0 {
        return Err(Error::value(op, format!("expected a tensor with at least one axis, found dim {dim} of a scalar")));
    }
    Err(Error::value(op, format!("expected a dim in the range {}..={}, found {dim}", -n, n - 1)))
}

/// A strided window on a linear storage: what a view is.
#[derive(PartialEq, Eq, Debug)]
pub struct Layout {
    /// Extents.
    pub shape: Shape,
    /// Steps between neighbours along each axis, in elements; 0 repeats, negative reverses.
    pub strides: SmallVec<[isize; 4]>,
    /// Index of the first element.
    pub offset: usize,
}

impl Clone for Layout {
    #[inline]
    fn clone(&self) -> Layout {
        Layout {
            shape: Shape::from_slice(&self.shape),
            strides: SmallVec::from_slice(&self.strides),
            offset: self.offset,
        }
    }
}

impl Layout {
    /// The row-major layout of a whole storage.
    pub fn contiguous(shape: &[usize]) -> Layout {
        Layout { shape: Shape::from_slice(shape), strides: contiguous_strides(shape), offset: 0 }
    }
    /// Whether the elements lie in row-major order without gaps.
    pub fn is_contiguous(&self) -> bool {
        let mut step = 1isize;
        for (&s, &n) in self.strides.iter().zip(&self.shape).rev() {
            if n != 1 && s != step {
                return self.shape.contains(&0);
            }
            step *= n as isize;
        }
        true
    }
}
