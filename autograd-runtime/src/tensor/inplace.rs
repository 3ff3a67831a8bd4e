//! Writing in place: the elements of a tensor, its version, and its place in the graph.
//!
//! An operation in place is the operation out of place on what the tensor was, written back. Afterwards the tensor
//! is the result; if it is a view, its base is what it was with the window replaced, and the view (like every other
//! view of that base) finds its new past when it is next asked for. Storage, layout and handle stay what they are.

use super::{
    dispatch::{Dispatch, eager},
    mode::{is_grad_enabled, no_grad},
    node::{Edge, Node, next_seq},
    typed::{Scalar, Tensor, evaluate, evaluate_as, report},
    value::{Repr, Value},
};
use crate::{
    array::{Element, Float, Number},
    emit::{Emit, Ex, V},
    error::{Error, Place, Result},
    op::{Op, arith, copy_window, window},
    real::Real,
    session,
    ty::Layout,
};
use std::sync::Arc;

/// x ← f(x)
///
/// # Errors
/// What `f` finds wrong, a result of another type, and writing where it is not allowed; nothing is written then.
pub(super) fn in_place(
    x: &Value,
    place: Place,
    what: &'static str,
    f: &dyn for<'e> Fn(&'e dyn Emit, Ex<'e>) -> Ex<'e>,
) -> Result<()> {
    if session::refuse(&format!("{what} writes to a tensor in place"), place) {
        return Ok(());
    }
    let Repr::Stored { layout, .. } = x.repr() else {
        return Err(Error::value(what, "expected a tensor with elements, found a traced one"));
    };
    if layout.strides.iter().zip(&layout.shape).any(|(&s, &n)| s == 0 && n > 1) {
        return Err(Error::Autograd(format!(
            "{what}: unsupported operation: more than one element of the written-to tensor refers to a single memory \
             location. Copy the tensor before performing the operation"
        )));
    }
    let recording = is_grad_enabled();
    let was_tracked = recording && x.requires_grad();
    if recording {
        // a view made under no_grad is not tracked and may not be written to either, if its base is
        x.check_in_place()?;
    }
    let run = |old: Value| -> Result<Value> {
        let d = Dispatch::at(place);
        let V::Tensor(y) = f(&d, Ex::new(&d, V::Tensor(old))).v else { panic!("bug: {what} left the tape") };
        d.take_error().map_or(Ok(y), Err)
    };
    let since = next_seq();
    // a derivative may read what the tensor was: then that is kept apart
    let mut y = run(if was_tracked { past(x)? } else { x.alias() })?;
    if recording && !was_tracked && y.requires_grad() {
        y = run(past(x)?)?;
    }
    if matches!(y.repr(), Repr::Absent) {
        return Ok(());
    }
    if y.ty() != x.ty() {
        let (want, found) = (x.ty(), y.ty());
        if want.dtype != found.dtype {
            return Err(Error::dtype(what, want.dtype.name(), found.dtype));
        }
        return Err(Error::shape(
            what,
            format!("output with shape {:?} that doesn't change", want.shape.as_slice()),
            format!(
                "the broadcast shape {:?} (output with shape {:?} doesn't match the broadcast shape {:?})",
                found.shape.as_slice(),
                want.shape.as_slice(),
                found.shape.as_slice()
            ),
        ));
    }
    let tracked = recording && (was_tracked || y.requires_grad());
    if tracked {
        x.check_view_kind()?;
    }
    let new = if tracked { Some(new_past(x, &y, was_tracked, place, what, since)?) } else { None };
    write(x, &y);
    match (new, &x.settled().0.view) {
        (Some(node), Some(view)) => view.base.set_grad_fn(node, 0),
        (Some(node), None) => {
            node.adopt_result(x);
            x.set_grad_fn(node, 0);
        }
        (None, _) => {}
    }
    Ok(())
}

/// What the tensor was, with its past, in a storage of its own. That of a view is a window on its base as it was: hooks
/// on the view stay with the view that they were registered on, which is no part of the graph any more.
fn past(x: &Value) -> Result<Value> {
    let old = no_grad(|| eager(Op::new(&arith::COPY), &[x]))?;
    if let Some(view) = &x.settled().0.view
        && let Some(edge) = view.base.edge()?
        && let (Repr::Stored { layout: of, .. }, Repr::Stored { layout, .. }) = (view.base.repr(), x.repr())
    {
        let args = [(Some(edge), view.base.ty().clone())];
        old.set_grad_fn(Node::of(window::window(layout, of), args, x.ty().clone(), None), 0);
        return Ok(old);
    }
    match x.edge()? {
        Some(Edge::Node(n, i)) => old.set_grad_fn(n, i),
        Some(Edge::Leaf(_)) => {
            return Err(Error::Autograd(
                "a leaf Variable that requires grad is being used in an in-place operation".into(),
            ));
        }
        None => {}
    }
    Ok(old)
}

/// The node of the written tensor, or of its base if it is a view. Those of the operation are numbered from `since`.
fn new_past(
    x: &Value,
    y: &Value,
    was_tracked: bool,
    place: Place,
    what: &'static str,
    since: u64,
) -> Result<Arc<Node>> {
    let name = match what {
        "addcdiv_" => Some("AddcdivBackward0"),
        "addcmul_" => Some("AddcmulBackward0"),
        "clamp_" => Some("ClampBackward1"),
        "copy_" => Some("CopyBackwards"),
        "fill_" => Some("FillBackward0"),
        "index_add_" => Some("IndexAddBackward0"),
        "index_put_" => Some("IndexPutBackward0"),
        "lerp_" => Some("LerpBackward0"),
        "masked_fill_" => Some("MaskedFillBackward0"),
        "zero_" => Some("ZeroBackward0"),
        _ => None,
    };
    name.into_iter().for_each(|name| y.label(name, since));
    if let Some(view) = &x.settled().0.view {
        return window_node(x, &view.base, y.edge()?, place);
    }
    if let Some(node) = y.node() {
        return Ok(node);
    }
    // the whole is replaced by something without a past: what it was gets zeros
    debug_assert!(was_tracked);
    let node = window_node(x, x, None, place)?;
    node.label(name.unwrap_or("CopyBackwards"), node.seq());
    Ok(node)
}

/// `base` with the window that `x` is on it replaced by something with this past.
fn window_node(x: &Value, base: &Value, new: Option<Edge>, place: Place) -> Result<Arc<Node>> {
    let (Repr::Stored { layout: of, .. }, Repr::Stored { layout, .. }) = (base.repr(), x.repr()) else {
        panic!("bug: written in place without storage");
    };
    let args = [(base.edge()?, base.ty().clone()), (new, x.ty().clone())];
    Ok(Node::of(window::set_window(layout, of), args, base.ty().clone(), Some(place)))
}

/// Makes a tensor that was written to result `index` of a node; if it is a view, its base is what it was with the
/// window replaced.
pub(super) fn rebase(x: &Value, node: Arc<Node>, index: u32, place: Place) -> Result<()> {
    match &x.settled().0.view {
        Some(view) => {
            let node = window_node(x, &view.base, Some(Edge::Node(node, index)), place)?;
            view.base.set_grad_fn(node, 0);
        }
        None => x.set_grad_fn(node, index),
    }
    Ok(())
}

/// The elements of `y`, of the same type, into `x`.
fn write(x: &Value, y: &Value) {
    let (Repr::Stored { storage, layout }, Repr::Stored { storage: from, layout: source }) = (x.repr(), y.repr())
    else {
        return;
    };
    // a result that nobody else holds gives its buffer
    let whole = |l: &Layout, len: usize| l.is_contiguous() && l.offset == 0 && x.ty().numel() == len;
    if !Arc::ptr_eq(storage, from) && y.is_sole_owner() {
        let mut from = from.data.write();
        let mut to = storage.data.write();
        storage.bump();
        if whole(layout, to.len()) && whole(source, from.len()) {
            std::mem::swap(&mut *to, &mut *from);
            return;
        }
        copy_window(from.slice(), source, to.slice_mut(), layout);
        return;
    }
    // not under two locks: they may be of one storage
    let elements = y.to_array().into_data();
    let mut to = storage.data.write();
    storage.bump();
    copy_window(elements.slice(), &Layout::contiguous(&y.ty().shape), to.slice_mut(), layout);
}

/// g += ct, of tensors without a graph.
pub(super) fn add_assign(g: &Value, ct: &Value) -> Result<()> {
    let new = no_grad(|| super::dispatch::sum(g, ct))?;
    write(g, &new);
    Ok(())
}

impl<T: Element> Tensor<T> {
    /// x ← f(x), reported at the caller's place.
    #[track_caller]
    pub(super) fn assign(&self, what: &'static str, f: impl for<'e> Fn(&'e dyn Emit, Ex<'e>) -> Ex<'e>) -> &Self {
        let place = Place::caller();
        if let Err(e) = in_place(self.value(), place, what, &f) {
            report(e);
        }
        self
    }
    fn of<'e>(&self, e: &'e dyn Emit) -> Ex<'e> {
        Ex::new(e, V::Tensor(self.value().clone()))
    }
    /// A tensor with the same elements in a storage of its own, in row-major order; gradients flow through: PyTorch's
    /// `clone` (Rust's [`Clone`] gives another handle of the same tensor).
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::<f64>::ones([2]);
    /// let (handle, copy) = (x.clone(), x.copy());
    /// x.zero_();
    /// assert_eq!((handle.to_vec(), copy.to_vec()), (vec![0.0; 2], vec![1.0; 2]));
    /// ```
    #[track_caller]
    pub fn copy(&self) -> Self {
        Tensor::from_value(evaluate_as("CloneBackward0", |e| self.of(e).copy()))
    }
    /// Takes over the elements of `source`, broadcast to this shape; gradients flow to `source` from now on.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::<f64>::ones([3]).requires_grad_(true);
    /// let y = Tensor::<f64>::zeros([2, 3]);
    /// y.select(0, 1).copy_(&x);
    /// y.sum().backward()?;
    /// assert_eq!((y.to_vec()[2], y.to_vec()[3], x.grad().unwrap().to_vec()), (0.0, 1.0, vec![1.0; 3]));
    /// # Ok::<(), autograd_runtime::Error>(())
    /// ```
    #[track_caller]
    pub fn copy_(&self, source: &Tensor<T>) -> &Self {
        self.assign("copy_", |e, x| source.of(e).copy().expand(&x.shape()))
    }
    /// Sets every element.
    #[track_caller]
    pub fn fill_(&self, value: impl Scalar<T>) -> &Self {
        self.assign("fill_", |e, x| value.ex(e).expand(&x.shape()))
    }
    /// Replaces the elements where the mask (broadcast) holds, in place; no gradient flows to what was there.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![1.0, -2.0, 3.0], [3]);
    /// x.masked_fill_(&x.lt(&Tensor::scalar(0.0)), 0.0);
    /// assert_eq!(x.to_vec(), [1.0, 0.0, 3.0]);
    /// ```
    #[track_caller]
    pub fn masked_fill_(&self, mask: &Tensor<bool>, value: impl Scalar<T>) -> &Self {
        self.assign("masked_fill_", |e, x| Ex::select(&mask.of(e), &value.ex(e), &x))
    }
    /// A copy of the tensor with the elements where the mask (broadcast) holds replaced.
    #[track_caller]
    pub fn masked_fill(&self, mask: &Tensor<bool>, value: impl Scalar<T>) -> Self {
        Tensor::from_value(evaluate_as("MaskedFillBackward0", |e| Ex::select(&mask.of(e), &value.ex(e), &self.of(e))))
    }
    /// Cuts the tensor off its past, in place: it is a leaf that is not tracked afterwards.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let y = Tensor::<f64>::ones([2]).requires_grad_(true) * 2.0;
    /// y.detach_()?;
    /// assert!(y.is_leaf() && !y.requires_grad());
    /// # Ok::<(), autograd_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    /// On a view of a tracked tensor.
    pub fn detach_(&self) -> Result<&Self> {
        session::needs_tape();
        self.value().detach_in_place()?;
        Ok(self)
    }
    /// How often the elements were written to: PyTorch's `_version`. Views and detached tensors share it, and backward
    /// refuses a value that was saved at another version.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::<f64>::zeros([2, 2]);
    /// x.add_(1.0);
    /// x.select(0, 0).mul_(2.0);
    /// assert_eq!((x.version(), x.detach().version()), (2, 2));
    /// ```
    pub fn version(&self) -> u64 {
        self.value().version()
    }
    /// Whether the tensor is a view of another one.
    pub fn is_view(&self) -> bool {
        self.value().settled().0.view.is_some()
    }
    /// The tensor that this one is a view of (never a view itself); none if it is no view.
    pub fn base(&self) -> Option<Tensor<T>> {
        self.value().settled().0.view.as_ref().map(|v| Tensor::from_value(v.base.clone()))
    }
    /// Whether two tensors share elements: one is a view or a detached form of the other, or both of a third.
    pub fn shares_storage(&self, other: &Tensor<T>) -> bool {
        match (self.value().repr(), other.value().repr()) {
            (Repr::Stored { storage: a, .. }, Repr::Stored { storage: b, .. }) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
    /// Whether the elements lie in row-major order without gaps.
    pub fn is_contiguous(&self) -> bool {
        self.value().is_contiguous()
    }
    /// The tensor itself if its elements lie in row-major order, else a copy in which they do.
    #[track_caller]
    pub fn contiguous(&self) -> Self {
        if self.is_contiguous() { self.clone() } else { self.copy() }
    }
}

impl<T: Number> Tensor<T> {
    /// Sets every element to 0.
    #[track_caller]
    pub fn zero_(&self) -> &Self
    where
        T: Scalar<T>,
    {
        self.assign("zero_", |e, x| T::ZERO.ex(e).expand(&x.shape()))
    }
}

/// What stands at the right of an operation in place: a tensor that broadcasts to the shape of the left, or a number.
pub trait Operand<T: Element> {
    #[doc(hidden)]
    fn operand<'e>(&self, e: &'e dyn Emit) -> Ex<'e>;
}
impl<T: Element> Operand<T> for &Tensor<T> {
    fn operand<'e>(&self, e: &'e dyn Emit) -> Ex<'e> {
        self.of(e)
    }
}
impl<T: Element> Operand<T> for Tensor<T> {
    fn operand<'e>(&self, e: &'e dyn Emit) -> Ex<'e> {
        self.of(e)
    }
}
impl<T: Element + Scalar<T>> Operand<T> for T {
    fn operand<'e>(&self, e: &'e dyn Emit) -> Ex<'e> {
        self.ex(e)
    }
}

impl<T: Float> Operand<T> for Real<T> {
    fn operand<'e>(&self, e: &'e dyn Emit) -> Ex<'e> {
        Scalar::<T>::ex(*self, e)
    }
}

/// `x += y` and the like write in place, as PyTorch's do. Inside an entry point, in either engine, the variable gets a
/// new value instead: a traced tensor has no elements to write to, and both engines must agree.
macro_rules! assign_operators {
    ($($trait:ident $fn:ident $name:ident $op:ident;)*) => {$(
        impl<T: Float, R: Operand<T>> std::ops::$trait<R> for Tensor<T> {
            #[track_caller]
            fn $fn(&mut self, o: R) {
                if session::is_running() {
                    *self = Tensor::from_value(evaluate(|e| self.of(e).$op(&o.operand(e))));
                } else {
                    self.assign(stringify!($name), |e, x| x.$op(&o.operand(e)));
                }
            }
        }
    )*};
}
assign_operators! {
    AddAssign add_assign add_ add; SubAssign sub_assign sub_ sub; MulAssign mul_assign mul_ mul;
    DivAssign div_assign div_ div;
}

macro_rules! binary_in_place {
    ($($(#[$doc:meta])* $name:ident = $op:ident;)*) => {
        impl<T: Float> Tensor<T> {$(
            $(#[$doc])*
            #[track_caller]
            pub fn $name(&self, other: impl Operand<T>) -> &Self {
                self.assign(stringify!($name), |e, x| x.$op(&other.operand(e)))
            }
        )*}
    };
}
binary_in_place! {
    /// x ← x + other
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::<f64>::ones([2, 2]);
    /// x.t().select(0, 1).add_(2.0);
    /// assert_eq!(x.to_vec(), [1.0, 3.0, 1.0, 3.0]);
    /// ```
    add_ = add;
    /// x ← x − other
    sub_ = sub;
    /// x ← x · other
    mul_ = mul;
    /// x ← x / other
    div_ = div;
    /// x ← xᵖ
    pow_ = pow;
}

macro_rules! unary_in_place {
    ($($name:ident = $op:ident;)*) => {
        impl<T: Float> Tensor<T> {$(
            #[doc = concat!("x ← x.", stringify!($op), "(), elementwise.")]
            #[track_caller]
            pub fn $name(&self) -> &Self { self.assign(stringify!($name), |_, x| x.$op()) }
        )*}
    };
}
unary_in_place! {
    neg_ = neg; abs_ = abs; exp_ = exp; sqrt_ = sqrt; rsqrt_ = rsqrt; square_ = square; sin_ = sin; cos_ = cos;
    tan_ = tan; tanh_ = tanh; sigmoid_ = sigmoid; relu_ = relu; floor_ = floor; ceil_ = ceil; round_ = round;
    trunc_ = trunc; log1p_ = log1p; expm1_ = expm1; erf_ = erf;
}

impl<T: Float> Tensor<T> {
    /// x ← ln x
    #[track_caller]
    pub fn log_(&self) -> &Self {
        self.assign("log_", |_, x| x.ln())
    }
    /// x ← 1/x
    #[track_caller]
    pub fn reciprocal_(&self) -> &Self {
        self.assign("reciprocal_", |_, x| x.recip())
    }
    /// x ← min(max(x, lo), hi)
    #[track_caller]
    pub fn clamp_(&self, lo: impl Scalar<T>, hi: impl Scalar<T>) -> &Self {
        self.assign("clamp_", |e, x| x.clamp(&lo.ex(e), &hi.ex(e)))
    }
    /// x ← x + alpha · other
    #[track_caller]
    pub fn add_scaled_(&self, other: &Tensor<T>, alpha: impl Scalar<T>) -> &Self {
        self.assign("add_", |e, x| x + other.of(e) * alpha.ex(e))
    }
    /// x ← x + value · a · b
    #[track_caller]
    pub fn addcmul_(&self, a: &Tensor<T>, b: &Tensor<T>, value: impl Scalar<T>) -> &Self {
        self.assign("addcmul_", |e, x| x + a.of(e) * b.of(e) * value.ex(e))
    }
    /// x ← x + value · a / b
    #[track_caller]
    pub fn addcdiv_(&self, a: &Tensor<T>, b: &Tensor<T>, value: impl Scalar<T>) -> &Self {
        self.assign("addcdiv_", |e, x| x + a.of(e) / b.of(e) * value.ex(e))
    }
    /// x ← x + weight · (end − x)
    #[track_caller]
    pub fn lerp_(&self, end: &Tensor<T>, weight: impl Scalar<T>) -> &Self {
        self.assign("lerp_", |e, x| &x + (end.of(e) - &x) * weight.ex(e))
    }
}
