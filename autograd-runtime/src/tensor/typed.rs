//! `Tensor<T>`: the user's face of the dynamic engine and of a trace. Operations have PyTorch's names.
//!
//! A failing operation inside an entry point or [`try_eval`](crate::try_eval) is reported there; elsewhere it
//! panics with the caller's location, as operators cannot return a `Result`.

use super::{Dispatch, Operand, Repr, Value, dispatch, is_grad_enabled, node::next_seq};
use crate::{
    array::{Array, Element, Float, Number},
    emit::{Emit, Ex, V, iota},
    error::{Error, Place, Result},
    op::{Attr, Op, OpDef, arith, views},
    real::Real,
    session,
    ty::{DType, Shape, Ty},
};
use ndarray::{ArrayBase, ArrayD, Dimension, IxDyn, OwnedRepr};
use std::marker::PhantomData;

/// A tensor of `f32`, `f64`, `i64` or `bool`. Cloning gives another handle of the same tensor: it shares the elements, the
/// place in the graph and the gradient; [`copy`](Tensor::copy) copies the elements.
///
/// Arguments of an operation broadcast: extents are matched from the last axis on, where one is 1 it is repeated, and
/// missing leading axes count as 1. Dims may be negative, then they count from the end.
///
/// An operation that fails (shapes that do not fit, an index out of bounds) panics with the caller's place; inside an
/// annotated function, or [`try_eval`](crate::try_eval), the call returns the error instead.
///
/// ```
/// use autograd_runtime::Tensor;
/// let x = Tensor::<f64>::ones(&[2, 2]).requires_grad_(true);
/// let out = ((&x + 2.0) * (&x + 2.0) * 3.0).mean();
/// out.backward()?;
/// assert_eq!(x.grad().unwrap().to_vec(), [4.5; 4]);
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
#[derive(Clone)]
pub struct Tensor<T>(Value, PhantomData<T>);

/// Something that gives a shape: slices and arrays of extents, empty for rank 0.
pub trait IntoShape {
    /// The extents.
    fn into_shape(self) -> Shape;
}
impl IntoShape for &[usize] {
    fn into_shape(self) -> Shape {
        self.into()
    }
}
impl<const N: usize> IntoShape for &[usize; N] {
    fn into_shape(self) -> Shape {
        self.as_slice().into()
    }
}
impl<const N: usize> IntoShape for [usize; N] {
    fn into_shape(self) -> Shape {
        self.as_slice().into()
    }
}
impl IntoShape for &Vec<usize> {
    fn into_shape(self) -> Shape {
        self.as_slice().into()
    }
}

/// A number that can stand beside a tensor: `T` itself or, inside an annotated function, a traced one.
pub trait Scalar<T: Element>: Copy {
    #[doc(hidden)]
    fn ex<'e>(self, e: &'e dyn Emit) -> Ex<'e>;
}
macro_rules! scalars {
    ($($t:ty),*) => {$(
        impl Scalar<$t> for $t {
            fn ex<'e>(self, e: &'e dyn Emit) -> Ex<'e> {
                Ex::new(e, e.constant(<$t>::DTYPE, self.bits()))
            }
        }
    )*};
}
scalars!(f32, f64, i64, bool);
impl<T: Float> Scalar<T> for Real<T> {
    fn ex<'e>(self, e: &'e dyn Emit) -> Ex<'e> {
        Ex::new(e, V::Tensor(self.single()))
    }
}

/// Reports an error of an operation at the caller's place: to the running entry point, or by panicking.
#[track_caller]
pub(crate) fn report(error: Error) {
    let error = error.at(Place::caller());
    if let Err(error) = session::report(error) {
        panic!("{error}");
    }
}

/// Evaluates an expression; its first error is reported at the caller's place.
#[track_caller]
pub(crate) fn evaluate(f: impl for<'e> FnOnce(&'e dyn Emit) -> Ex<'e>) -> Value {
    let d = Dispatch::at(Place::caller());
    let V::Tensor(v) = f(&d).v else { panic!("bug: a tensor's method left the tape") };
    if let Some(e) = d.take_error() {
        report(e);
    }
    v
}

/// As [`evaluate`], of an operation that PyTorch has as one: its node bears that name, and the nodes inside are not
/// shown.
#[track_caller]
pub(crate) fn evaluate_as(name: &'static str, f: impl for<'e> FnOnce(&'e dyn Emit) -> Ex<'e>) -> Value {
    let since = next_seq();
    let v = evaluate(f);
    v.label(name, since);
    v
}

/// As [`evaluate`], of one operation on values: they are read where they are, and no expression is made.
#[track_caller]
fn operation(def: &'static OpDef, args: &[&Value]) -> Value {
    match dispatch::operation(Op::new(def), args, Some(Place::caller())) {
        Ok(v) => v,
        Err((e, placeholder)) => {
            report(e);
            placeholder
        }
    }
}

impl<T: Element> Tensor<T> {
    pub(crate) fn from_value(mut v: Value) -> Self {
        if v.ty().dtype != T::DTYPE && matches!(v.repr(), Repr::Absent) {
            // the placeholder of a failed operation has the type of an argument
            v = Value::absent(v.ty().with_dtype(T::DTYPE));
        }
        debug_assert_eq!(v.ty().dtype, T::DTYPE);
        Tensor(v, PhantomData)
    }
    pub(crate) fn value(&self) -> &Value {
        &self.0
    }
    pub(super) fn ex<'e>(&self, e: &'e dyn Emit) -> Ex<'e> {
        Ex::new(e, V::Tensor(self.0.clone()))
    }
    #[track_caller]
    pub(super) fn map<U: Element>(&self, f: impl for<'e> FnOnce(Ex<'e>) -> Ex<'e>) -> Tensor<U> {
        Tensor::from_value(evaluate(|e| f(self.ex(e))))
    }
    /// As [`Tensor::map`], under PyTorch's name; never this very tensor, which another write would reach.
    #[track_caller]
    pub(super) fn named<U: Element>(&self, name: &'static str, f: impl for<'e> FnOnce(Ex<'e>) -> Ex<'e>) -> Tensor<U> {
        Tensor::from_value(evaluate_as(name, |e| {
            let y = f(self.ex(e));
            if self.passed_through(&y) { y.copy() } else { y }
        }))
    }
    /// As [`Tensor::named`], of a view: another tensor than this one, also where it shows the same.
    #[track_caller]
    pub(super) fn viewed(&self, name: &'static str, f: impl for<'e> FnOnce(Ex<'e>) -> Ex<'e>) -> Tensor<T> {
        Tensor::from_value(evaluate_as(name, |e| {
            let y = f(self.ex(e));
            if self.passed_through(&y) { y.emit_op(Op::with(&views::RESHAPE, [Attr::dims(self.shape())])) } else { y }
        }))
    }
    /// An operator with a number at its left.
    #[track_caller]
    fn with_left(&self, op: &str, f: impl for<'e> FnOnce(Ex<'e>) -> Ex<'e>) -> Tensor<T> {
        if op == "sub" { self.named("RsubBackward1", f) } else { self.map(f) }
    }
    fn passed_through(&self, y: &Ex<'_>) -> bool {
        matches!(&y.v, V::Tensor(v) if v.same(&self.0) && matches!(v.repr(), Repr::Stored { .. }))
    }
    #[track_caller]
    pub(super) fn zip_named<U: Element, W: Element>(
        &self,
        name: &'static str,
        o: &Tensor<U>,
        f: impl for<'e> FnOnce(Ex<'e>, Ex<'e>) -> Ex<'e>,
    ) -> Tensor<W> {
        Tensor::from_value(evaluate_as(name, |e| f(self.ex(e), o.ex(e))))
    }
    #[track_caller]
    fn zip<U: Element, W: Element>(
        &self,
        o: &Tensor<U>,
        f: impl for<'e> FnOnce(Ex<'e>, Ex<'e>) -> Ex<'e>,
    ) -> Tensor<W> {
        Tensor::from_value(evaluate(|e| f(self.ex(e), o.ex(e))))
    }

    /// A tensor of a shape from elements in row-major order. Panics (or fails the running entry point) if
    /// their number is not the shape's.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![1.0, 2.0, 3.0, 4.0], [2, 2]);
    /// assert_eq!((x.shape(), x.t().to_vec()), (&[2, 2][..], vec![1.0, 3.0, 2.0, 4.0]));
    /// ```
    #[track_caller]
    pub fn from_vec(data: Vec<T>, shape: impl IntoShape) -> Self {
        let shape = shape.into_shape();
        match Ty::new(T::DTYPE, &shape) {
            Ok(ty) if ty.numel() == data.len() => {
                Self::from_value(Value::stored(Array::from_data(T::data(data), &shape)))
            }
            Ok(ty) => {
                let want = format!("{} elements for shape {:?}", ty.numel(), shape.as_slice());
                report(Error::shape("from_vec", want, data.len().to_string()));
                Self::from_value(Value::absent(ty))
            }
            Err(e) => {
                report(e);
                Self::from_value(Value::absent(Ty::scalar(T::DTYPE)))
            }
        }
    }
    /// A rank-0 tensor, of shape `[]`.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::scalar(2.5f32);
    /// assert_eq!((x.ndim(), x.numel(), x.item()), (0, 1, 2.5));
    /// ```
    pub fn scalar(x: T) -> Self {
        Self::full([], x)
    }
    /// Every element equal to `x`.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// assert_eq!(Tensor::full([2], 1.5f32).to_string(), "tensor([1.5000, 1.5000])");
    /// ```
    #[track_caller]
    pub fn full(shape: impl IntoShape, x: T) -> Self {
        let shape = shape.into_shape();
        let bits = x.bits();
        match Ty::new(T::DTYPE, &shape) {
            Ok(ty) => {
                let v = Value::stored(Array::full(&ty, bits));
                session::made(&v, bits);
                Self::from_value(v)
            }
            Err(e) => {
                report(e);
                Self::from_value(Value::absent(Ty::scalar(T::DTYPE)))
            }
        }
    }
    /// The extents.
    pub fn shape(&self) -> &[usize] {
        &self.0.ty().shape
    }
    /// The number of axes.
    pub fn ndim(&self) -> usize {
        self.0.ty().rank()
    }
    /// The number of elements.
    pub fn numel(&self) -> usize {
        self.0.ty().numel()
    }
    /// The element type.
    pub fn dtype(&self) -> DType {
        T::DTYPE
    }
    /// The elements in row-major order, copied. Inside an annotated function, reading a value that depends on its
    /// arguments makes the call run on the dynamic engine.
    #[track_caller]
    pub fn to_vec(&self) -> Vec<T> {
        self.read_elements();
        let data = self.0.to_array().into_data();
        T::slice(&data).expect("the dtype of the tensor").to_vec()
    }
    /// Reads the elements in row-major order without a copy (a view is copied). The tensor cannot be written
    /// meanwhile; the closure must not write to it.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![1.0, 2.0, 3.0], [3]);
    /// assert_eq!(x.with_data(|v: &[f64]| v.iter().sum::<f64>()), 6.0);
    /// ```
    #[track_caller]
    pub fn with_data<R>(&self, f: impl FnOnce(&[T]) -> R) -> R {
        self.read_elements();
        if let Repr::Stored { storage, layout } = self.0.repr()
            && layout.is_contiguous()
        {
            let data = storage.data.read();
            let all = T::slice(&data).expect("the dtype of the tensor");
            return f(&all[layout.offset..layout.offset + self.numel()]);
        }
        f(T::slice(&self.0.to_array().into_data()).expect("the dtype of the tensor"))
    }
    /// Writes the elements in place, in row-major order: how an optimiser moves parameters. The closure must
    /// not read the tensor by other ways.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![1.0f32, 2.0], [2]);
    /// x.update(|v| v.iter_mut().for_each(|v| *v *= 10.0))?;
    /// assert_eq!(x.to_vec(), [10.0, 20.0]);
    /// # Ok::<(), autograd_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    /// On a tracked tensor outside `no_grad`, on a view that is not contiguous, and inside an annotated
    /// function.
    pub fn update<R>(&self, f: impl FnOnce(&mut [T]) -> R) -> Result<R> {
        session::needs_tape();
        if is_grad_enabled() && self.requires_grad() {
            let what = if self.is_leaf() { "a leaf variable that requires grad" } else { "a tensor with a grad_fn" };
            return Err(Error::Autograd(format!(
                "{what} is being used in an in-place operation; wrap the update in no_grad"
            )));
        }
        match self.0.repr() {
            Repr::Stored { storage, layout } if layout.is_contiguous() => {
                let mut data = storage.data.write();
                let all = T::slice_mut(&mut data).expect("the dtype of the tensor");
                // before the closure, which may panic half way
                storage.bump();
                Ok(f(&mut all[layout.offset..layout.offset + self.numel()]))
            }
            Repr::Stored { .. } => Err(Error::value("update", "expected a contiguous tensor, found a strided view")),
            _ => Err(Error::value("update", "expected a tensor with elements, found a traced one")),
        }
    }
    /// The only element, for a comparison: reading it to branch loses no gradient.
    #[track_caller]
    fn branch_value(&self) -> T {
        session::opaque_read(&self.0, "the value of a tensor is compared", Place::caller());
        T::view_of(&self.0.to_array().view()).and_then(|a| a.iter().next().copied()).unwrap_or_default()
    }
    /// Notes that plain code reads the elements. Inside an entry point a tracked value cannot be read so: the
    /// gradient that should flow through it would silently be lost.
    #[track_caller]
    fn read_elements(&self) {
        session::opaque_read(&self.0, "the elements of a tensor are read", Place::caller());
        if session::is_running() && is_grad_enabled() && self.requires_grad() {
            let what = "the elements of a tensor that requires grad are read; no gradient flows through plain numbers: \
                        use operations on tensors, or detach() first";
            report(Error::value("to_vec", what));
        }
    }
    /// A copy as an ndarray array of the same shape; `Tensor::from` is the way back.
    ///
    /// ```
    /// use autograd_runtime::{Tensor, ndarray::arr2};
    /// let a = arr2(&[[1.0f64, 2.0], [3.0, 4.0]]);
    /// let x = Tensor::from(a.clone()) * 2.0;
    /// assert_eq!(x.to_ndarray(), (a * 2.0).into_dyn());
    /// ```
    #[track_caller]
    pub fn to_ndarray(&self) -> ArrayD<T> {
        self.read_elements();
        T::view_of(&self.0.to_array().view()).expect("the dtype of the tensor").to_owned()
    }
    /// The only element. Panics (or fails the running entry point) if there is not exactly one.
    #[track_caller]
    pub fn item(&self) -> T {
        if self.numel() == 1 {
            self.read_elements();
            return T::view_of(&self.0.to_array().view())
                .expect("the dtype of the tensor")
                .iter()
                .copied()
                .next()
                .unwrap_or_default();
        }
        report(Error::shape("item", "a tensor with one element", format!("shape {:?}", self.shape())));
        T::default()
    }
    /// As [`Tensor::item`], traced.
    #[track_caller]
    pub(crate) fn traced_item(&self) -> Real<T>
    where
        T: Float,
    {
        let found = || Error::shape("item", "a tensor with one element", format!("shape {:?}", self.shape()));
        Real::from_value(evaluate(
            |e| if self.numel() == 1 { self.ex(e).reshape(&[]) } else { self.ex(e).fail(found()) },
        ))
    }
    /// The same elements without a past: a leaf that is not tracked and shares the storage. A write to one shows in
    /// the other, and counts for backward.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![1.0, 2.0], [2]).requires_grad_(true);
    /// (&x * x.detach()).sum().backward()?;
    /// assert_eq!(x.grad().unwrap().to_vec(), [1.0, 2.0]);
    /// # Ok::<(), autograd_runtime::Error>(())
    /// ```
    #[track_caller]
    pub fn detach(&self) -> Self {
        self.map(|x| x.detach())
    }
    /// As [`Tensor::detach`], under PyTorch's older name. Unlike PyTorch's, a write to it counts for backward.
    #[track_caller]
    pub fn data(&self) -> Self {
        self.detach()
    }
    /// The elements in row-major order as another shape of as many; one extent may be −1, it is what is left. A view
    /// where strides allow it, else a copy.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// assert_eq!(Tensor::<f32>::arange(6).reshape(&[2, -1]).shape(), [2, 3]);
    /// ```
    #[track_caller]
    pub fn reshape(&self, shape: &[i64]) -> Self {
        self.viewed("ViewBackward0", |x| x.view_as(shape))
    }
    /// As [`Tensor::reshape`], sharing the elements always. Panics (or fails the running entry point) where only a copy
    /// could have that shape.
    ///
    /// ```
    /// use autograd_runtime::{Tensor, try_eval};
    /// let x = Tensor::<f64>::arange(6);
    /// x.view(&[2, -1]).index_put_((0, 0), 9.0);
    /// assert_eq!(x.to_vec()[0], 9.0);
    /// assert!(try_eval(|| x.view(&[2, 3]).t().view(&[6])).is_err());
    /// ```
    #[track_caller]
    pub fn view(&self, shape: &[i64]) -> Self {
        let y = self.reshape(shape);
        if let (Repr::Stored { storage: a, .. }, Repr::Stored { storage: b, .. }) = (self.0.repr(), y.0.repr())
            && !std::sync::Arc::ptr_eq(a, b)
        {
            let what = "view size is not compatible with input tensor's size and stride (at least one dimension spans \
                        across two contiguous subspaces). Use reshape(..) instead";
            report(Error::shape("view", what, format!("{:?} as {shape:?}", self.shape())));
        }
        y
    }
    /// The axes from `start` to `end`, both included, as one.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// assert_eq!(Tensor::<f64>::ones([2, 3, 4]).flatten(1, -1).shape(), [2, 12]);
    /// assert_eq!(Tensor::scalar(1.0).flatten(0, -1).shape(), [1]);
    /// ```
    #[track_caller]
    pub fn flatten(&self, start: i64, end: i64) -> Self {
        let rank = self.ndim().max(1);
        let dims =
            || Ok((crate::ty::resolve_dim("flatten", start, rank)?, crate::ty::resolve_dim("flatten", end, rank)?));
        self.viewed("ViewBackward0", |x| match dims() {
            Ok((a, b)) if a <= b => {
                let shape = x.shape();
                let (front, rest) = (&shape[..a.min(shape.len())], &shape[(b + 1).min(shape.len())..]);
                let middle: usize = shape[a.min(shape.len())..(b + 1).min(shape.len())].iter().product();
                x.reshape(&[front, &[middle], rest].concat())
            }
            Ok(_) => x.fail(Error::value("flatten", format!("expected start before end, found {start} and {end}"))),
            Err(e) => x.fail(e),
        })
    }
    /// Broadcast to the shape of another tensor, without a copy.
    #[track_caller]
    pub fn expand_as<U: Element>(&self, other: &Tensor<U>) -> Self {
        self.expand(other.shape())
    }
    /// The elements in the shape of another tensor.
    #[track_caller]
    pub fn view_as<U: Element>(&self, other: &Tensor<U>) -> Self {
        self.view(&other.shape().iter().map(|&n| n as i64).collect::<Vec<_>>())
    }
    /// Copies of the tensor side by side: so many along each axis; new axes come first.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![1.0, 2.0], [2]);
    /// assert_eq!(x.repeat(&[2, 2]).to_vec(), [1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0]);
    /// ```
    #[track_caller]
    pub fn repeat(&self, times: &[usize]) -> Self {
        self.named("RepeatBackward0", |x| {
            let shape = x.shape();
            let Some(new) = times.len().checked_sub(shape.len()) else {
                let want = format!("a number of copies for each of {} axes", shape.len());
                return x.fail(Error::shape("repeat", want, format!("{times:?}")));
            };
            let extents: Vec<usize> = std::iter::repeat_n(1, new).chain(shape.iter().copied()).collect();
            let pairs = |t: &[usize]| t.iter().zip(&extents).flat_map(|(&t, &n)| [t, n]).collect::<Shape>();
            let product: Shape = times.iter().zip(&extents).map(|(t, n)| t.saturating_mul(*n)).collect();
            // [1, n] to [t, n] for each axis, then both as one
            x.reshape(&pairs(&vec![1; times.len()])).expand(&pairs(times)).reshape(&product).copy()
        })
    }
    /// Broadcast to a larger shape, without a copy: axes of extent 1 are repeated, new ones stand in front. Such a view
    /// cannot be written to.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let row = Tensor::from_vec(vec![1.0, 2.0], [2]);
    /// assert_eq!(row.expand([3, 2]).to_vec(), [1.0, 2.0, 1.0, 2.0, 1.0, 2.0]);
    /// ```
    #[track_caller]
    pub fn expand(&self, shape: impl IntoShape) -> Self {
        let shape = shape.into_shape();
        self.viewed("ExpandBackward0", |x| x.expand(&shape))
    }
    /// A view with the axes in another order: axis `i` of the result is axis `dims[i]`.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// assert_eq!(Tensor::<f32>::zeros([2, 3, 4]).permute(&[2, 0, -2]).shape(), [4, 2, 3]);
    /// ```
    #[track_caller]
    pub fn permute(&self, dims: &[i64]) -> Self {
        let rank = self.ndim();
        let perm: Result<Shape> = dims.iter().map(|&d| crate::ty::resolve_dim("permute", d, rank)).collect();
        self.viewed("PermuteBackward0", |x| match perm {
            Ok(p) => x.permute(&p),
            Err(e) => x.fail(e),
        })
    }
    /// A view with two axes exchanged.
    #[track_caller]
    pub fn transpose(&self, a: i64, b: i64) -> Self {
        self.viewed("TransposeBackward0", |x| x.transpose(a, b))
    }
    /// The transpose of a matrix, a view; vectors and scalars are their own. More axes are an error.
    #[track_caller]
    pub fn t(&self) -> Self {
        self.viewed("TBackward0", |x| {
            if x.rank() <= 2 {
                x.mt()
            } else {
                x.fail(Error::shape("t", "at most two axes", format!("{:?}", x.shape().as_slice())))
            }
        })
    }
    /// A view with a new axis of extent 1, which becomes axis `dim`.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::<f32>::zeros([2, 3]);
    /// assert_eq!((x.unsqueeze(1).shape(), x.unsqueeze(-1).shape()), (&[2, 1, 3][..], &[2, 3, 1][..]));
    /// assert_eq!(x.unsqueeze(0).squeeze(0).shape(), [2, 3]);
    /// ```
    #[track_caller]
    pub fn unsqueeze(&self, dim: i64) -> Self {
        self.viewed("UnsqueezeBackward0", |x| x.unsqueeze(dim))
    }
    /// A view without the axis, if its extent is 1; else the same shape.
    #[track_caller]
    pub fn squeeze(&self, dim: i64) -> Self {
        self.viewed("SqueezeBackward1", |x| x.squeeze(dim))
    }
    /// A view of elements `start..end` of an axis, every `step`-th; negative bounds count from the end, and bounds
    /// outside are clamped, as Python does.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::<f32>::arange(6);
    /// assert_eq!(x.slice(0, 1, -1, 2).to_vec(), [1.0, 3.0]);
    /// assert_eq!(x.narrow(0, 4, 2).to_vec(), [4.0, 5.0]);
    /// assert_eq!(x.select(0, -1).item(), 5.0);
    /// ```
    #[track_caller]
    pub fn slice(&self, dim: i64, start: i64, end: i64, step: usize) -> Self {
        self.viewed("SliceBackward0", |x| x.slice_dim(dim, start, end, step))
    }
    /// A view of `len` elements of an axis from `start`; they must all be there.
    #[track_caller]
    pub fn narrow(&self, dim: i64, start: usize, len: usize) -> Self {
        self.viewed("SliceBackward0", |x| match crate::ty::resolve_dim("narrow", dim, x.rank()) {
            Ok(d) => x.slice(d, start, len, 1),
            Err(e) => x.fail(e),
        })
    }
    /// A view of one index of an axis, which disappears; negative ones count from the end.
    #[track_caller]
    pub fn select(&self, dim: i64, index: i64) -> Self {
        self.viewed("SelectBackward0", |x| x.select_dim(dim, index))
    }
    /// Elements picked along an axis by an index tensor of the same rank, whose shape the result has: for axis 0
    /// `y[i, j] = x[index[i, j], j]`.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![1.0, 2.0, 3.0, 4.0], [2, 2]);
    /// let index = Tensor::from_vec(vec![1, 0], [2, 1]);
    /// assert_eq!(x.gather(1, &index).to_vec(), [2.0, 3.0]);
    /// ```
    #[track_caller]
    pub fn gather(&self, dim: i64, index: &Tensor<i64>) -> Self {
        self.zip(index, |x, i| match crate::ty::resolve_dim("gather", dim, x.rank()) {
            Ok(d) => x.gather(d, &i),
            Err(e) => x.fail(e),
        })
    }
    /// Tensors one after the other along an axis; their other extents are equal.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let (a, b) = (Tensor::<f32>::zeros([2, 3]), Tensor::ones([1, 3]));
    /// assert_eq!(Tensor::cat(&[&a, &b], 0).shape(), [3, 3]);
    /// assert_eq!(Tensor::stack(&[&a, &a], -1).shape(), [2, 3, 2]);
    /// ```
    #[track_caller]
    pub fn cat(tensors: &[&Tensor<T>], dim: i64) -> Self {
        Self::join("cat", "CatBackward0", tensors, |items| Ex::cat(items, dim))
    }
    /// Tensors of one shape along a new axis, which becomes axis `dim`.
    #[track_caller]
    pub fn stack(tensors: &[&Tensor<T>], dim: i64) -> Self {
        Self::join("stack", "StackBackward0", tensors, |items| Ex::stack(items, dim))
    }
    #[track_caller]
    fn join(op: &str, name: &'static str, tensors: &[&Tensor<T>], f: impl for<'e> FnOnce(&[Ex<'e>]) -> Ex<'e>) -> Self {
        if tensors.is_empty() {
            report(Error::value(op, "expected at least one tensor, found none"));
            return Self::from_value(Value::absent(Ty::scalar(T::DTYPE)));
        }
        Tensor::from_value(evaluate_as(name, |e| f(&tensors.iter().map(|t| t.ex(e)).collect::<Vec<_>>())))
    }
    /// Converted to another element type; gradients flow between floats. To integers it truncates, to `bool` it says
    /// what is not 0.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![-1.5f32, 0.0, 2.7], [3]);
    /// assert_eq!((x.to::<i64>().to_vec(), x.to::<bool>().to_vec()), (vec![-1, 0, 2], vec![true, false, true]));
    /// ```
    #[track_caller]
    pub fn to<U: Element>(&self) -> Tensor<U> {
        self.map(|x| x.cast(U::DTYPE))
    }
}

/// Elementwise comparison with a tensor or a number, giving truth values.
macro_rules! comparisons {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        impl<T: Element> Tensor<T> {$(
            $(#[$doc])*
            #[track_caller]
            pub fn $name(&self, other: impl Operand<T>) -> Tensor<bool> {
                Tensor::from_value(evaluate(|e| self.ex(e).$name(&other.operand(e))))
            }
        )*}
    };
}
comparisons! {
    /// self < other, elementwise after broadcasting.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![1.0, 2.0, 3.0], [3]);
    /// let below = x.lt(2.5);
    /// assert_eq!(below.to_string(), "tensor([ True,  True, False])");
    /// assert!(below.any() && !below.all());
    /// ```
    lt;
    /// self ≤ other, elementwise.
    le;
    /// self > other, elementwise.
    gt;
    /// self ≥ other, elementwise.
    ge;
    /// self = other, elementwise.
    eq;
    /// self ≠ other, elementwise.
    ne;
}

impl Tensor<bool> {
    /// Elements of `yes` where the mask holds, of `no` elsewhere; all three broadcast. What is not taken gets a gradient
    /// of 0.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![-1.0, 4.0], [2]).requires_grad_(true);
    /// let y = x.gt(&Tensor::scalar(0.0)).where_(&x.square(), &Tensor::zeros([2]));
    /// y.sum().backward()?;
    /// assert_eq!((y.to_vec(), x.grad().unwrap().to_vec()), (vec![0.0, 16.0], vec![0.0, 8.0]));
    /// # Ok::<(), autograd_runtime::Error>(())
    /// ```
    #[track_caller]
    pub fn where_<T: Element>(&self, yes: &Tensor<T>, no: &Tensor<T>) -> Tensor<T> {
        Tensor::from_value(evaluate(|e| Ex::select(&self.ex(e), &yes.ex(e), &no.ex(e))))
    }
    /// Whether every element is true.
    #[track_caller]
    pub fn all(&self) -> bool {
        self.to_ndarray().iter().all(|&b| b)
    }
    /// Whether any element is true.
    #[track_caller]
    pub fn any(&self) -> bool {
        self.to_ndarray().iter().any(|&b| b)
    }
}

/// Constructors of numbers.
impl<T: Number> Tensor<T> {
    /// All zeros.
    #[track_caller]
    pub fn zeros(shape: impl IntoShape) -> Self {
        Self::full(shape, T::ZERO)
    }
    /// All ones.
    #[track_caller]
    pub fn ones(shape: impl IntoShape) -> Self {
        Self::full(shape, T::ONE)
    }
    /// 0, 1, … n−1, of shape `[n]`.
    #[track_caller]
    pub fn arange(n: usize) -> Self {
        Self::from_value(evaluate(|e| iota(e, T::DTYPE, n)))
    }
    /// The identity matrix, of shape `[n, n]`.
    #[track_caller]
    pub fn eye(n: usize) -> Self {
        Self::from_value(evaluate(|e| {
            let i = iota(e, T::DTYPE, n);
            i.reshape(&[n, 1]).eq(&i.reshape(&[1, n])).cast(T::DTYPE)
        }))
    }
}

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        impl<T: Float> Tensor<T> {$(
            $(#[$doc])*
            #[track_caller]
            pub fn $name(&self) -> Tensor<T> { self.map(|x| x.$name()) }
        )*}
    };
}
unary! {
    /// |x|
    abs;
    /// −1, 0 or 1
    sign;
    /// Towards −∞.
    floor;
    /// Towards +∞.
    ceil;
    /// Towards 0.
    trunc;
    /// To the nearest integer, ties to even.
    round;
    /// √x
    sqrt;
    /// 1/√x
    rsqrt;
    /// 1/x
    recip;
    /// x²
    square;
    /// max(x, 0)
    relu;
    /// eˣ
    exp;
    /// 2ˣ
    exp2;
    /// eˣ − 1, exact near 0
    expm1;
    /// The natural logarithm.
    ln;
    /// The binary logarithm.
    log2;
    /// The decimal logarithm.
    log10;
    /// ln(1 + x), exact near 0
    log1p;
    /// The sine.
    sin;
    /// The cosine.
    cos;
    /// The tangent.
    tan;
    /// The arc sine.
    asin;
    /// The arc cosine.
    acos;
    /// The arc tangent.
    atan;
    /// The hyperbolic sine.
    sinh;
    /// The hyperbolic cosine.
    cosh;
    /// The hyperbolic tangent.
    tanh;
    /// The inverse hyperbolic sine.
    asinh;
    /// The inverse hyperbolic cosine.
    acosh;
    /// The inverse hyperbolic tangent.
    atanh;
    /// 1/(1 + e⁻ˣ)
    sigmoid;
    /// ln(1 + eˣ), smooth everywhere
    softplus;
    /// The cube root.
    cbrt;
    /// The error function.
    erf;
    /// 1 − erf x
    erfc;
    /// ln|Γ(x)|
    lgamma;
    /// Γ′(x)/Γ(x). [`Tensor::polygamma`] has its derivatives.
    digamma;
}

impl<T: Float> Tensor<T> {
    /// The logarithm, under PyTorch's name.
    #[track_caller]
    pub fn log(&self) -> Self {
        self.ln()
    }
    /// xⁿ for an integer, elementwise.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![2.0, -3.0], [2]);
    /// assert_eq!((x.powi(3).to_vec(), x.powi(-1).to_vec()), (vec![8.0, -27.0], vec![0.5, -1.0 / 3.0]));
    /// ```
    #[track_caller]
    pub fn powi(&self, n: i32) -> Self {
        self.map(|x| x.powi(n))
    }
    /// xᵖ for a number, elementwise.
    #[track_caller]
    pub fn powf(&self, p: impl Scalar<T>) -> Self {
        self.map(|x| x.pow(&p.ex(x.e)))
    }
    /// xᵖ, elementwise after broadcasting; gradients flow to the exponent too.
    #[track_caller]
    pub fn pow(&self, p: &Tensor<T>) -> Self {
        self.zip_named("PowBackward1", p, |x, p| x.pow(&p))
    }
    /// The larger of two, elementwise; ties share the gradient.
    #[track_caller]
    pub fn maximum(&self, o: &Tensor<T>) -> Self {
        self.zip(o, |a, b| a.maximum(&b))
    }
    /// The smaller of two, elementwise; ties share the gradient.
    #[track_caller]
    pub fn minimum(&self, o: &Tensor<T>) -> Self {
        self.zip(o, |a, b| a.minimum(&b))
    }
    /// The angle of the point (other, self).
    #[track_caller]
    pub fn atan2(&self, o: &Tensor<T>) -> Self {
        self.zip(o, |a, b| a.atan2(&b))
    }
    /// √(self² + other²)
    #[track_caller]
    pub fn hypot(&self, o: &Tensor<T>) -> Self {
        self.zip(o, |a, b| a.hypot(&b))
    }
    /// Limited to an interval, elementwise: min(max(x, lo), hi). No gradient flows to elements outside.
    #[track_caller]
    pub fn clamp(&self, lo: impl Scalar<T>, hi: impl Scalar<T>) -> Self {
        self.named("ClampBackward1", |x| x.clamp(&lo.ex(x.e), &hi.ex(x.e)))
    }
    /// The sum of all elements, of shape `[]`.
    #[track_caller]
    pub fn sum(&self) -> Self {
        self.named("SumBackward0", |x| x.sum(None, false))
    }
    /// Sums along dims, which stay with extent 1 if `keepdim` and disappear otherwise. Each dim is named once; an empty
    /// list stands for all, as in PyTorch.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::<f64>::arange(6).reshape(&[2, 3]);
    /// assert_eq!(x.sum_dim(&[0], false).to_vec(), [3.0, 5.0, 7.0]);
    /// assert_eq!((x.sum_dim(&[-1], true).shape(), x.mean_dim(&[-1], true).to_vec()), (&[2, 1][..], vec![1.0, 4.0]));
    /// ```
    #[track_caller]
    pub fn sum_dim(&self, dims: &[i64], keepdim: bool) -> Self {
        self.named("SumBackward1", |x| x.sum(Some(dims), keepdim))
    }
    /// A mean, which saves nothing but the number of elements.
    #[track_caller]
    fn averaged(&self, name: &'static str, f: impl for<'e> FnOnce(Ex<'e>) -> Ex<'e>) -> Self {
        let since = next_seq();
        let y: Self = self.map(f);
        y.0.label_constant(name, since);
        y
    }
    /// The mean of all elements, of shape `[]`.
    #[track_caller]
    pub fn mean(&self) -> Self {
        self.averaged("MeanBackward0", |x| x.mean(None, false))
    }
    /// Means along dims, as in [`Tensor::sum_dim`].
    #[track_caller]
    pub fn mean_dim(&self, dims: &[i64], keepdim: bool) -> Self {
        self.averaged("MeanBackward1", |x| x.mean(Some(dims), keepdim))
    }
    /// The unbiased variance of all elements, Σ (x − mean)² / (n − 1), of shape `[]`.
    #[track_caller]
    pub fn var(&self) -> Self {
        self.named("VarBackward0", |x| x.var(None, 1.0, false))
    }
    /// Variances along dims, as in [`Tensor::sum_dim`], divided by n − `correction`: 1 for the unbiased one, 0 for that
    /// of the elements themselves.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![1.0, 3.0, 5.0, 7.0], [2, 2]);
    /// assert_eq!((x.var_dim(&[1], 0.0, false).to_vec(), x.var().item()), (vec![1.0, 1.0], 20.0 / 3.0));
    /// ```
    #[track_caller]
    pub fn var_dim(&self, dims: &[i64], correction: f64, keepdim: bool) -> Self {
        self.named("VarBackward0", |x| x.var(Some(dims), correction, keepdim))
    }
    /// The largest element, of shape `[]`; ties share the gradient evenly.
    #[track_caller]
    pub fn max(&self) -> Self {
        self.named("MaxBackward1", |x| x.amax(None, false))
    }
    /// The smallest element, of shape `[]`; ties share the gradient evenly.
    #[track_caller]
    pub fn min(&self) -> Self {
        self.named("MinBackward1", |x| x.amin(None, false))
    }
    /// Largest elements along dims, as in [`Tensor::sum_dim`]; ties share the gradient evenly.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![1.0, 5.0, 5.0, 2.0], [2, 2]);
    /// assert_eq!((x.amax(&[1], false).to_vec(), x.argmax(1, false).to_vec()), (vec![5.0, 5.0], vec![1, 0]));
    /// ```
    #[track_caller]
    pub fn amax(&self, dims: &[i64], keepdim: bool) -> Self {
        self.named("AmaxBackward0", |x| x.amax(Some(dims), keepdim))
    }
    /// Smallest elements along dims, as in [`Tensor::sum_dim`]; ties share the gradient evenly.
    #[track_caller]
    pub fn amin(&self, dims: &[i64], keepdim: bool) -> Self {
        self.named("AminBackward0", |x| x.amin(Some(dims), keepdim))
    }
    /// The first index of the largest element along a dim, which stays with extent 1 if `keepdim`.
    #[track_caller]
    pub fn argmax(&self, dim: i64, keepdim: bool) -> Tensor<i64> {
        self.map(|x| x.argmax(dim, keepdim))
    }
    /// The Euclidean norm of all elements, of shape `[]`; its gradient at 0 is 0.
    #[track_caller]
    pub fn norm(&self) -> Self {
        self.named("LinalgVectorNormBackward0", |x| x.norm(2.0, None, false))
    }
    /// ln Σ eˣ along dims, as in [`Tensor::sum_dim`], without overflow.
    #[track_caller]
    pub fn logsumexp(&self, dims: &[i64], keepdim: bool) -> Self {
        self.named("LogsumexpBackward0", |x| x.logsumexp(Some(dims), keepdim))
    }
    /// eˣ / Σ eˣ along a dim, of the same shape, without overflow.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![1000.0, 1000.0, 0.0, 0.0], [2, 2]);
    /// assert_eq!(x.softmax(1).to_vec(), [0.5; 4]);
    /// ```
    #[track_caller]
    pub fn softmax(&self, dim: i64) -> Self {
        self.named("SoftmaxBackward0", |x| x.softmax(dim))
    }
    /// ln of [`Tensor::softmax`], exact where that underflows.
    #[track_caller]
    pub fn log_softmax(&self, dim: i64) -> Self {
        self.named("LogSoftmaxBackward0", |x| x.log_softmax(dim))
    }
    /// The matrix product as PyTorch defines it: `[.., n, k]` times `[.., k, m]` is `[.., n, m]`, where leading axes
    /// broadcast; a vector is a row at the left and a column at the right, and its axis disappears.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let (a, x) = (Tensor::<f64>::eye(2) * 3.0, Tensor::from_vec(vec![1.0, 2.0], [2]));
    /// assert_eq!(a.matmul(&x).to_vec(), [3.0, 6.0]);
    /// ```
    #[track_caller]
    pub fn matmul(&self, o: &Tensor<T>) -> Self {
        let name = match (self.ndim(), o.ndim()) {
            (1, 1) => "DotBackward0",
            (1, 2) => "SqueezeBackward4",
            (2, 1) => "MvBackward0",
            (2, 2) => "MmBackward0",
            _ => "UnsafeViewBackward0",
        };
        self.zip_named(name, o, |a, b| a.matmul(&b))
    }
    /// The inner product of two vectors of one length, of shape `[]`.
    #[track_caller]
    pub fn dot(&self, o: &Tensor<T>) -> Self {
        self.zip_named("DotBackward0", o, |a, b| a.dot(&b))
    }
    /// `n` evenly spaced numbers from `a` to `b`, both included, of shape `[n]`.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// assert_eq!(Tensor::linspace(-1.0, 1.0, 5).to_vec(), [-1.0, -0.5, 0.0, 0.5, 1.0]);
    /// ```
    #[track_caller]
    pub fn linspace(a: T, b: T, n: usize) -> Self {
        let step = if n > 1 { (b.f64() - a.f64()) / (n - 1) as f64 } else { 0.0 };
        // from the nearer end, so that both ends are exact
        let at = |i: usize| {
            if i < n / 2 || n == 1 { a.f64() + step * i as f64 } else { b.f64() - step * (n - 1 - i) as f64 }
        };
        Self::from_vec((0..n).map(|i| T::of(at(i))).collect(), [n])
    }
}

impl<T: Element, D: Dimension> From<ArrayBase<OwnedRepr<T>, D>> for Tensor<T> {
    fn from(a: ArrayBase<OwnedRepr<T>, D>) -> Self {
        let shape = a.shape().to_vec();
        let v: Vec<T> =
            if a.is_standard_layout() && a.len() == a.raw_len() { a.into_raw() } else { a.iter().copied().collect() };
        Self::from_value(Value::stored(T::into_array(
            ArrayD::from_shape_vec(IxDyn(&shape), v).expect("as many elements"),
        )))
    }
}
trait Raw<T> {
    fn raw_len(&self) -> usize;
    fn into_raw(self) -> Vec<T>;
}
impl<T, D: Dimension> Raw<T> for ArrayBase<OwnedRepr<T>, D> {
    /// Length of the allocation that an array owns: a slice of an array owns more than it shows.
    fn raw_len(&self) -> usize {
        self.len()
    }
    fn into_raw(self) -> Vec<T> {
        let n = self.len();
        let (mut v, offset) = self.into_raw_vec_and_offset();
        v.drain(..offset.unwrap_or(0));
        v.truncate(n);
        v
    }
}

macro_rules! operators {
    ($($trait:ident $fn:ident $def:ident;)*) => {$(
        impl<T: Float> std::ops::$trait<&Tensor<T>> for &Tensor<T> {
            type Output = Tensor<T>;
            #[track_caller]
            fn $fn(self, o: &Tensor<T>) -> Tensor<T> { Tensor::from_value(operation(&arith::$def, &[&self.0, &o.0])) }
        }
        impl<T: Float> std::ops::$trait<Tensor<T>> for &Tensor<T> {
            type Output = Tensor<T>;
            #[track_caller]
            fn $fn(self, o: Tensor<T>) -> Tensor<T> { std::ops::$trait::$fn(self, &o) }
        }
        impl<T: Float> std::ops::$trait<&Tensor<T>> for Tensor<T> {
            type Output = Tensor<T>;
            #[track_caller]
            fn $fn(self, o: &Tensor<T>) -> Tensor<T> { std::ops::$trait::$fn(&self, o) }
        }
        impl<T: Float> std::ops::$trait<Tensor<T>> for Tensor<T> {
            type Output = Tensor<T>;
            #[track_caller]
            fn $fn(self, o: Tensor<T>) -> Tensor<T> { std::ops::$trait::$fn(&self, &o) }
        }
        operators!(@scalar $trait $fn f32, f32); operators!(@scalar $trait $fn f64, f64);
        operators!(@scalar $trait $fn Real<f32>, f32); operators!(@scalar $trait $fn Real<f64>, f64);
    )*};
    (@scalar $trait:ident $fn:ident $s:ty, $t:ty) => {
        impl std::ops::$trait<$s> for &Tensor<$t> {
            type Output = Tensor<$t>;
            #[track_caller]
            fn $fn(self, o: $s) -> Tensor<$t> { self.map(|a| Ex::$fn(&a, &Scalar::<$t>::ex(o, a.e))) }
        }
        impl std::ops::$trait<$s> for Tensor<$t> {
            type Output = Tensor<$t>;
            #[track_caller]
            fn $fn(self, o: $s) -> Tensor<$t> { std::ops::$trait::$fn(&self, o) }
        }
        impl std::ops::$trait<&Tensor<$t>> for $s {
            type Output = Tensor<$t>;
            #[track_caller]
            fn $fn(self, o: &Tensor<$t>) -> Tensor<$t> {
                o.with_left(stringify!($fn), |b| Ex::$fn(&Scalar::<$t>::ex(self, b.e), &b))
            }
        }
        impl std::ops::$trait<Tensor<$t>> for $s {
            type Output = Tensor<$t>;
            #[track_caller]
            fn $fn(self, o: Tensor<$t>) -> Tensor<$t> { std::ops::$trait::$fn(self, &o) }
        }
    };
}
operators! { Add add ADD; Sub sub SUB; Mul mul MUL; Div div DIV; }

impl<T: Float> std::ops::Neg for &Tensor<T> {
    type Output = Tensor<T>;
    #[track_caller]
    fn neg(self) -> Tensor<T> {
        self.map(|x| -x)
    }
}
impl<T: Float> std::ops::Neg for Tensor<T> {
    type Output = Tensor<T>;
    #[track_caller]
    fn neg(self) -> Tensor<T> {
        -&self
    }
}

/// The comparison operators, whose provided bodies would give core's place instead of the caller's.
macro_rules! here {
    ($o:ty) => { here!(@ lt is_lt $o); here!(@ le is_le $o); here!(@ gt is_gt $o); here!(@ ge is_ge $o); };
    (@ $name:ident $is:ident $o:ty) => {
        #[track_caller]
        fn $name(&self, o: &$o) -> bool { self.partial_cmp(o).is_some_and(std::cmp::Ordering::$is) }
    };
}

/// Comparing with `<` and the like reads the values: of one-element tensors, anything else is an error.
impl<T: Element + PartialOrd> PartialOrd for Tensor<T> {
    #[track_caller]
    fn partial_cmp(&self, o: &Tensor<T>) -> Option<std::cmp::Ordering> {
        if self.numel() != 1 || o.numel() != 1 {
            report(ambiguous());
            return None;
        }
        self.branch_value().partial_cmp(&o.branch_value())
    }
    here!(Tensor<T>);
}
/// Equality of one-element tensors by value; elementwise equality is [`Tensor::eq`].
impl<T: Element> PartialEq for Tensor<T> {
    #[track_caller]
    fn eq(&self, o: &Tensor<T>) -> bool {
        if self.numel() != 1 || o.numel() != 1 {
            report(ambiguous());
            return false;
        }
        self.branch_value() == o.branch_value()
    }
}
impl<T: Element + PartialOrd> PartialEq<T> for Tensor<T> {
    #[track_caller]
    fn eq(&self, o: &T) -> bool {
        if self.numel() != 1 {
            report(ambiguous());
            return false;
        }
        self.branch_value() == *o
    }
}
impl<T: Element + PartialOrd> PartialOrd<T> for Tensor<T> {
    #[track_caller]
    fn partial_cmp(&self, o: &T) -> Option<std::cmp::Ordering> {
        if self.numel() != 1 {
            report(ambiguous());
            return None;
        }
        self.branch_value().partial_cmp(o)
    }
    here!(T);
}
fn ambiguous() -> Error {
    Error::Autograd(
        "Boolean value of Tensor with more than one value is ambiguous; compare elementwise with lt(), eq(), …".into(),
    )
}
