//! Host arrays of any element type: what operations are evaluated on. [`Data`] is a linear store and a
//! [`Slice`] a borrowed part of one; an [`Array`] (owned, row-major) and a [`View`] (a borrowed strided
//! window) are ndarray's.

use crate::{
    elementary,
    error::{Error, Result},
    ty::{DType, Layout, Shape, Ty},
};
use ndarray::{ArrayD, ArrayViewD, IxDyn, ShapeBuilder};

/// A type of tensor elements: `f32`, `f64`, `i64` and `bool`. Sealed.
pub trait Element: Copy + Send + Sync + PartialEq + std::fmt::Debug + Default + 'static + sealed::Sealed {
    /// The element type as a value.
    const DTYPE: DType;
    #[doc(hidden)]
    fn into_array(a: ArrayD<Self>) -> Array;
    #[doc(hidden)]
    fn view_of<'a>(v: &View<'a>) -> Option<ArrayViewD<'a, Self>>;
    #[doc(hidden)]
    fn data(v: Vec<Self>) -> Data;
    #[doc(hidden)]
    fn slice(d: &Data) -> Option<&[Self]>;
    #[doc(hidden)]
    fn slice_mut(d: &mut Data) -> Option<&mut [Self]>;
    #[doc(hidden)]
    fn of_slice(s: Slice<'_>) -> Option<&[Self]>;
    #[doc(hidden)]
    fn of_slice_mut(s: SliceMut<'_>) -> Option<&mut [Self]>;
    /// The element as the bits of a graph constant.
    #[doc(hidden)]
    fn bits(self) -> u64;
    #[doc(hidden)]
    fn from_bits(bits: u64) -> Self;
}

mod sealed {
    pub trait Sealed {}
}

/// A numeric element type: `f32`, `f64` or `i64`.
pub trait Number: Element {
    /// 0
    const ZERO: Self;
    /// 1
    const ONE: Self;
}
impl Number for f32 {
    const ZERO: f32 = 0.0;
    const ONE: f32 = 1.0;
}
impl Number for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;
}
impl Number for i64 {
    const ZERO: i64 = 0;
    const ONE: i64 = 1;
}

/// A differentiable element type: `f32` or `f64`.
pub trait Float: Number + num_traits::Float + elementary::Element + num_traits::FloatConst + std::fmt::Display {
    /// Rounds to this type.
    fn of(x: f64) -> Self;
    /// Widens, exactly.
    fn f64(self) -> f64;
}

/// A linear store of elements.
#[derive(Clone, Debug)]
pub enum Data {
    /// `f32` elements.
    F32(Vec<f32>),
    /// `f64` elements.
    F64(Vec<f64>),
    /// `i64` elements.
    I64(Vec<i64>),
    /// `bool` elements.
    Bool(Vec<bool>),
}

/// A borrowed part of a store.
#[derive(Clone, Copy, Debug)]
pub enum Slice<'a> {
    /// `f32` elements.
    F32(&'a [f32]),
    /// `f64` elements.
    F64(&'a [f64]),
    /// `i64` elements.
    I64(&'a [i64]),
    /// `bool` elements.
    Bool(&'a [bool]),
}

/// A borrowed part of a store, for writing.
#[derive(Debug)]
pub enum SliceMut<'a> {
    /// `f32` elements.
    F32(&'a mut [f32]),
    /// `f64` elements.
    F64(&'a mut [f64]),
    /// `i64` elements.
    I64(&'a mut [i64]),
    /// `bool` elements.
    Bool(&'a mut [bool]),
}

/// An owned array, row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum Array {
    /// `f32` elements.
    F32(ArrayD<f32>),
    /// `f64` elements.
    F64(ArrayD<f64>),
    /// `i64` elements.
    I64(ArrayD<i64>),
    /// `bool` elements.
    Bool(ArrayD<bool>),
}

/// A borrowed strided window.
#[derive(Clone, Debug)]
pub enum View<'a> {
    /// `f32` elements.
    F32(ArrayViewD<'a, f32>),
    /// `f64` elements.
    F64(ArrayViewD<'a, f64>),
    /// `i64` elements.
    I64(ArrayViewD<'a, i64>),
    /// `bool` elements.
    Bool(ArrayViewD<'a, bool>),
}

macro_rules! element {
    ($($t:ty, $v:ident, |$x:ident| $bits:expr, |$b:ident| $from:expr;)*) => {$(
        impl sealed::Sealed for $t {}
        impl Element for $t {
            const DTYPE: DType = DType::$v;
            fn into_array(a: ArrayD<Self>) -> Array { Array::$v(a) }
            fn view_of<'a>(v: &View<'a>) -> Option<ArrayViewD<'a, Self>> {
                if let View::$v(a) = v { Some(a.clone()) } else { None }
            }
            fn data(v: Vec<Self>) -> Data { Data::$v(v) }
            fn slice(d: &Data) -> Option<&[Self]> { if let Data::$v(v) = d { Some(v) } else { None } }
            fn slice_mut(d: &mut Data) -> Option<&mut [Self]> { if let Data::$v(v) = d { Some(v) } else { None } }
            fn of_slice(s: Slice<'_>) -> Option<&[Self]> { if let Slice::$v(s) = s { Some(s) } else { None } }
            fn of_slice_mut(s: SliceMut<'_>) -> Option<&mut [Self]> {
                if let SliceMut::$v(s) = s { Some(s) } else { None }
            }
            #[inline]
            fn bits(self) -> u64 { let $x = self; $bits }
            #[inline]
            fn from_bits($b: u64) -> Self { $from }
        }
    )*};
}
element! {
    f32, F32, |x| u64::from(x.to_bits()), |b| f32::from_bits(b as u32);
    f64, F64, |x| x.to_bits(), |b| f64::from_bits(b);
    i64, I64, |x| x as u64, |b| b as i64;
    bool, Bool, |x| u64::from(x), |b| b & 1 == 1;
}
impl Float for f32 {
    fn of(x: f64) -> Self {
        x as f32
    }
    fn f64(self) -> f64 {
        f64::from(self)
    }
}
impl Float for f64 {
    fn of(x: f64) -> Self {
        x
    }
    fn f64(self) -> f64 {
        self
    }
}

/// Runs one expression for whichever element type a value holds: `each!(View, v, a => a.len())`.
#[macro_export]
#[doc(hidden)]
macro_rules! each {
    ($enum:ident, $v:expr, $a:ident => $body:expr) => {
        match $v {
            $enum::F32($a) => $body,
            $enum::F64($a) => $body,
            $enum::I64($a) => $body,
            $enum::Bool($a) => $body,
        }
    };
}
/// As `each!`, wrapping the result in the same variant of another enum.
#[macro_export]
#[doc(hidden)]
macro_rules! map_each {
    ($enum:ident => $out:ident, $v:expr, $a:ident => $body:expr) => {
        match $v {
            $enum::F32($a) => $out::F32($body),
            $enum::F64($a) => $out::F64($body),
            $enum::I64($a) => $out::I64($body),
            $enum::Bool($a) => $out::Bool($body),
        }
    };
}
pub use crate::{each, map_each};

impl Data {
    /// Adds the elements of another one of the same dtype at the end.
    pub(crate) fn append(&mut self, more: &Data) {
        match (self, more) {
            (Data::F32(a), Data::F32(b)) => a.extend_from_slice(b),
            (Data::F64(a), Data::F64(b)) => a.extend_from_slice(b),
            (Data::I64(a), Data::I64(b)) => a.extend_from_slice(b),
            (Data::Bool(a), Data::Bool(b)) => a.extend_from_slice(b),
            _ => debug_assert!(false, "elements of another dtype"),
        }
    }
    /// `n` elements of value zero.
    pub fn zeros(dtype: DType, n: usize) -> Data {
        match dtype {
            DType::F32 => Data::F32(vec![0.0; n]),
            DType::F64 => Data::F64(vec![0.0; n]),
            DType::I64 => Data::I64(vec![0; n]),
            DType::Bool => Data::Bool(vec![false; n]),
        }
    }
    /// As many elements as a type has, all equal to a constant given by its bits.
    pub fn full(ty: &Ty, bits: u64) -> Data {
        let n = ty.numel();
        match ty.dtype {
            DType::F32 => Data::F32(vec![f32::from_bits(bits as u32); n]),
            DType::F64 => Data::F64(vec![f64::from_bits(bits); n]),
            DType::I64 => Data::I64(vec![bits as i64; n]),
            DType::Bool => Data::Bool(vec![bits & 1 == 1; n]),
        }
    }
    /// The element type.
    pub fn dtype(&self) -> DType {
        match self {
            Data::F32(_) => DType::F32,
            Data::F64(_) => DType::F64,
            Data::I64(_) => DType::I64,
            Data::Bool(_) => DType::Bool,
        }
    }
    /// The number of elements.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        each!(Data, self, v => v.len())
    }
    /// The address of the first element, for generated code and the matrix product.
    pub fn as_ptr(&self) -> *const u8 {
        each!(Data, self, v => v.as_ptr().cast())
    }
    /// The address of the first element, for writing.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        each!(Data, self, v => v.as_mut_ptr().cast())
    }
    /// The bits of element `i`, if there is one.
    #[inline]
    pub(crate) fn bits(&self, i: usize) -> Option<u64> {
        each!(Data, self, v => v.get(i).map(|x| x.bits()))
    }
    /// Writes element `i`, which there must be, from its bits.
    #[inline]
    pub(crate) fn set_bits(&mut self, i: usize, bits: u64) {
        each!(Data, self, v => v[i] = Element::from_bits(bits));
    }
    /// Writes elements from `first` on, as many as there are bits or room.
    pub(crate) fn set_all_bits(&mut self, first: usize, bits: impl Iterator<Item = u64>) {
        each!(Data, self, v => {
            v.iter_mut().skip(first).zip(bits).for_each(|(x, bits)| *x = Element::from_bits(bits));
        });
    }
    /// The bits of elements from `first` on into these places.
    pub(crate) fn all_bits<'b>(&self, first: usize, to: impl Iterator<Item = &'b mut u64>) {
        each!(Data, self, v => v.iter().skip(first).zip(to).for_each(|(x, to)| *to = x.bits()));
    }
    /// All elements.
    pub fn slice(&self) -> Slice<'_> {
        map_each!(Data => Slice, self, v => v)
    }
    /// All elements, for writing.
    pub fn slice_mut(&mut self) -> SliceMut<'_> {
        map_each!(Data => SliceMut, self, v => v)
    }
    /// A strided window. The layout must lie inside the storage; ndarray checks it for layouts without
    /// negative strides, those with some are brought to that form first.
    pub fn view<'a>(&'a self, layout: &Layout) -> View<'a> {
        self.slice().view(layout)
    }
}

impl<'a> Slice<'a> {
    /// The element type.
    pub fn dtype(self) -> DType {
        match self {
            Slice::F32(_) => DType::F32,
            Slice::F64(_) => DType::F64,
            Slice::I64(_) => DType::I64,
            Slice::Bool(_) => DType::Bool,
        }
    }
    /// The number of elements.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(self) -> usize {
        each!(Slice, self, s => s.len())
    }
    /// `n` elements from `at`.
    #[inline]
    pub fn part(self, at: usize, n: usize) -> Slice<'a> {
        map_each!(Slice => Slice, self, s => &s[at..at + n])
    }
    /// The typed elements, or an error naming the operation.
    ///
    /// # Errors
    /// [`Error::DType`] if they are of another type.
    pub fn typed<T: Element>(self, op: &str) -> Result<&'a [T]> {
        T::of_slice(self).ok_or_else(|| Error::dtype(op, T::DTYPE.name(), self.dtype()))
    }
    /// A strided window, as [`Data::view`].
    pub fn view(self, layout: &Layout) -> View<'a> {
        map_each!(Slice => View, self, s => window(s, layout))
    }
}

impl<'a> SliceMut<'a> {
    /// The element type.
    pub fn dtype(&self) -> DType {
        self.as_ref().dtype()
    }
    /// The elements for reading.
    pub fn as_ref(&self) -> Slice<'_> {
        map_each!(SliceMut => Slice, self, s => s)
    }
    /// The same elements, borrowed for as long as this is.
    pub fn by_ref(&mut self) -> SliceMut<'_> {
        map_each!(SliceMut => SliceMut, self, s => s)
    }
    /// `n` elements from `at`.
    #[inline]
    pub fn part(self, at: usize, n: usize) -> SliceMut<'a> {
        map_each!(SliceMut => SliceMut, self, s => &mut s[at..at + n])
    }
    /// What is before `at`, and the rest.
    pub fn split_at(self, at: usize) -> (SliceMut<'a>, SliceMut<'a>) {
        macro_rules! split {
            ($($v:ident)*) => {
                match self { $(SliceMut::$v(s) => {
                    let (a, b) = s.split_at_mut(at);
                    (SliceMut::$v(a), SliceMut::$v(b))
                })* }
            };
        }
        split!(F32 F64 I64 Bool)
    }
}

/// A window on a slice as ndarray sees it. Negative strides are made positive by starting at the other
/// end and inverting the axis again afterwards.
fn window<'a, T>(data: &'a [T], layout: &Layout) -> ArrayViewD<'a, T> {
    if layout.shape.contains(&0) {
        return ArrayViewD::from_shape(IxDyn(&layout.shape), &data[..0]).expect("an empty window fits");
    }
    let mut start = layout.offset as isize;
    let mut strides: Shape = Shape::new();
    for (&s, &n) in layout.strides.iter().zip(&layout.shape) {
        if s < 0 {
            start += s * (n as isize - 1);
        }
        strides.push(if n == 1 { 0 } else { s.unsigned_abs() });
    }
    let shape = IxDyn(&layout.shape).strides(IxDyn(&strides));
    let mut view = match ArrayViewD::from_shape(shape, &data[start as usize..]) {
        Ok(v) => v,
        Err(e) => panic!("bug: a view {layout:?} does not fit a storage of {} elements: {e}", data.len()),
    };
    for (axis, &s) in layout.strides.iter().enumerate() {
        if s < 0 {
            view.invert_axis(ndarray::Axis(axis));
        }
    }
    view
}

impl Array {
    /// The type.
    pub fn ty(&self) -> Ty {
        Ty { dtype: self.view().dtype(), shape: each!(Array, self, a => a.shape().into()) }
    }
    /// All of it, borrowed.
    pub fn view(&self) -> View<'_> {
        map_each!(Array => View, self, a => a.view())
    }
    /// The elements in row-major order.
    pub fn into_data(self) -> Data {
        map_each!(Array => Data, self, a => {
            let a = if a.is_standard_layout() { a } else { a.as_standard_layout().into_owned() };
            let (v, offset) = a.into_raw_vec_and_offset();
            debug_assert!(offset.unwrap_or(0) == 0);
            v
        })
    }
    /// An array of a shape from elements in row-major order.
    pub fn from_data(data: Data, shape: &[usize]) -> Array {
        map_each!(Data => Array, data, v => ArrayD::from_shape_vec(IxDyn(shape), v).expect("a shape of as many elements"))
    }
    /// Every element equal to a constant given by its bits.
    pub fn full(ty: &Ty, bits: u64) -> Array {
        Array::from_data(Data::full(ty, bits), &ty.shape)
    }
    /// The elements as `f64`, row-major; truth values as 0 and 1.
    pub fn to_f64_vec(&self) -> Vec<f64> {
        self.view().to_f64_vec()
    }
}

impl View<'_> {
    /// The element type.
    pub fn dtype(&self) -> DType {
        match self {
            View::F32(_) => DType::F32,
            View::F64(_) => DType::F64,
            View::I64(_) => DType::I64,
            View::Bool(_) => DType::Bool,
        }
    }
    /// The extents.
    pub fn shape(&self) -> &[usize] {
        each!(View, self, a => a.shape())
    }
    /// The same window, borrowed for as long as this one.
    pub fn view(&self) -> View<'_> {
        map_each!(View => View, self, a => a.view())
    }
    /// The elements, if they lie in row-major order without gaps.
    pub fn as_slice(&self) -> Option<Slice<'_>> {
        Some(map_each!(View => Slice, self, a => a.as_slice()?))
    }
    /// A row-major copy.
    pub fn to_array(&self) -> Array {
        map_each!(View => Array, self, a => a.as_standard_layout().into_owned())
    }
    /// The elements as `f64`, row-major; truth values as 0 and 1.
    pub fn to_f64_vec(&self) -> Vec<f64> {
        match self {
            View::F32(a) => a.iter().map(|&x| f64::from(x)).collect(),
            View::F64(a) => a.iter().copied().collect(),
            View::I64(a) => a.iter().map(|&x| x as f64).collect(),
            View::Bool(a) => a.iter().map(|&x| f64::from(u8::from(x))).collect(),
        }
    }
    /// Broadcast to a larger shape; the caller has checked that it fits.
    pub fn broadcast(&self, shape: &[usize]) -> View<'_> {
        map_each!(View => View, self, a => a.broadcast(IxDyn(shape)).expect("checked by the shape rule"))
    }
    /// The typed view, or an error naming the operation.
    pub fn typed<T: Element>(&self, op: &str) -> Result<ArrayViewD<'_, T>> {
        T::view_of(self).ok_or_else(|| Error::dtype(op, T::DTYPE.name(), self.dtype()))
    }
}
