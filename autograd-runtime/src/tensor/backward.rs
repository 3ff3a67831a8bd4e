//! The user's calls of backward: `torch.autograd.backward` and `torch.autograd.grad`.

use super::{Sweep, Target, Tensor, Value};
use crate::{
    array::{Array, Float},
    error::{Error, Result},
    op::create,
};

/// How [`Tensor::backward_options`] runs; `BackwardOptions::default()` is what [`Tensor::backward`] does.
///
/// ```
/// use autograd_runtime::{BackwardOptions, Tensor};
/// let x = Tensor::from_vec(vec![1.0, 2.0], [2]).requires_grad_(true);
/// let y = (&x * &x).sum();
/// y.backward_options(BackwardOptions { retain_graph: true, ..Default::default() })?;
/// y.backward()?;
/// assert_eq!(x.grad().unwrap().to_vec(), [4.0, 8.0]);
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct BackwardOptions<'a, T> {
    /// The cotangent of the tensor; the 1 of a scalar if there is none.
    pub gradient: Option<&'a Tensor<T>>,
    /// Keeps the saved values, so that backward can run again.
    pub retain_graph: bool,
    /// Records the backward itself, for derivatives of higher order; keeps the saved values too.
    pub create_graph: bool,
    /// Accumulates into these tensors only (leaves or not); `None` into all leaves.
    pub inputs: Option<&'a [&'a Tensor<T>]>,
}
impl<T> Default for BackwardOptions<'_, T> {
    fn default() -> Self {
        BackwardOptions { gradient: None, retain_graph: false, create_graph: false, inputs: None }
    }
}

/// How [`grad_options`] runs; the default is that of [`grad`] with all flags off.
#[derive(Clone, Copy)]
pub struct GradOptions<'a, T> {
    /// One cotangent for each output, `None` for the 1 of a scalar; empty for all of them 1.
    pub grad_outputs: &'a [Option<&'a Tensor<T>>],
    /// Keeps the saved values, so that backward can run again.
    pub retain_graph: bool,
    /// Records the backward itself, for derivatives of higher order; keeps the saved values too.
    pub create_graph: bool,
    /// Gives `None` for an input that is not reached, instead of an error.
    pub allow_unused: bool,
    /// Gives zeros for an input that is not reached.
    pub materialize_grads: bool,
}
impl<T> Default for GradOptions<'_, T> {
    fn default() -> Self {
        GradOptions {
            grad_outputs: &[],
            retain_graph: false,
            create_graph: false,
            allow_unused: false,
            materialize_grads: false,
        }
    }
}

/// The cotangent of output `index` to start from: the given one, checked, or 1 for a scalar.
pub(crate) fn seed(index: usize, root: &Value, ct: Option<&Value>) -> Result<Value> {
    match ct {
        Some(c) if c.ty() == root.ty() => Ok(c.clone()),
        Some(c) if c.ty().dtype != root.ty().dtype => {
            Err(Error::dtype("backward", root.ty().dtype.name(), c.ty().dtype))
        }
        Some(c) => Err(Error::Autograd(format!(
            "Mismatch in shape: grad_output[{index}] has a shape of {:?} and output[{index}] has a shape of {:?}",
            c.ty().shape.as_slice(),
            root.ty().shape.as_slice()
        ))),
        None if !root.ty().dtype.is_float() => {
            Err(Error::Autograd(format!("grad can be computed only for real outputs, found {}", root.ty())))
        }
        None if root.ty().numel() == 1 => {
            Ok(Value::stored(Array::full(root.ty(), create::bits_of(root.ty().dtype, 1.0))))
        }
        None => Err(Error::Autograd(format!(
            "grad can be implicitly created only for scalar outputs, found shape {:?}",
            root.ty().shape.as_slice()
        ))),
    }
}

fn roots<T: Float>(tensors: &[&Tensor<T>], cts: &[Option<&Tensor<T>>]) -> Result<Vec<(Value, Value)>> {
    if !cts.is_empty() && cts.len() != tensors.len() {
        return Err(Error::value("backward", format!("expected {} gradients, found {}", tensors.len(), cts.len())));
    }
    for (i, t) in tensors.iter().enumerate() {
        if !t.requires_grad() {
            return Err(Error::Autograd(format!(
                "element {i} of tensors does not require grad and does not have a grad_fn"
            )));
        }
    }
    let ct = |i: usize| cts.get(i).copied().flatten().map(|t| t.value());
    tensors.iter().enumerate().map(|(i, t)| Ok((t.value().clone(), seed(i, t.value(), ct(i))?))).collect()
}

/// Accumulates gradients of the leaves behind `tensors` into their `.grad`: PyTorch's
/// `torch.autograd.backward`. `grad_tensors` holds one cotangent for each tensor, `None` for the 1 of a scalar.
///
/// ```
/// use autograd_runtime::{Tensor, backward};
/// let a = Tensor::from_vec(vec![1.0, 2.0], [2]).requires_grad_(true);
/// let (c, ones) = (&a * &a, Tensor::ones([2]));
/// backward(&[&c], &[Some(&ones)], false, false)?;
/// assert_eq!(a.grad().unwrap().to_vec(), [2.0, 4.0]);
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
///
/// # Errors
/// If a tensor is not tracked or not scalar without a cotangent, or if saved values have been freed or
/// overwritten; then nothing is accumulated.
pub fn backward<T: Float>(
    tensors: &[&Tensor<T>],
    grad_tensors: &[Option<&Tensor<T>>],
    retain_graph: bool,
    create_graph: bool,
) -> Result<()> {
    let roots = roots(tensors, grad_tensors)?;
    Sweep { target: Target::Leaves, retain_graph: retain_graph || create_graph, create_graph }.run(&roots).map(drop)
}

/// As [`backward`], into the `.grad` of `inputs` only. Only what leads to them runs. One that is no leaf retains its
/// gradient from now on, and its node runs with its hooks.
///
/// ```
/// use autograd_runtime::{Tensor, backward_inputs};
/// let (x, y) = (Tensor::scalar(2.0).requires_grad_(true), Tensor::scalar(3.0).requires_grad_(true));
/// backward_inputs(&[&(&x * &y)], &[], &[&y], false, false)?;
/// assert_eq!((x.grad().is_none(), y.grad().unwrap().item()), (true, 2.0));
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
///
/// # Errors
/// As [`backward`]; if `inputs` is empty, or one of them is not tracked.
pub fn backward_inputs<T: Float>(
    tensors: &[&Tensor<T>],
    grad_tensors: &[Option<&Tensor<T>>],
    inputs: &[&Tensor<T>],
    retain_graph: bool,
    create_graph: bool,
) -> Result<()> {
    if inputs.is_empty() {
        return Err(Error::Autograd("`inputs` argument to `backward()` cannot be empty".into()));
    }
    let roots = roots(tensors, grad_tensors)?;
    let values = tracked(inputs)?;
    // leaves accumulate in any case
    values.iter().try_for_each(Value::retain_grad)?;
    let retain_graph = retain_graph || create_graph;
    Sweep { target: Target::Into(&values), retain_graph, create_graph }.run(&roots).map(drop)
}

/// The inputs' values, once each, all tracked.
fn tracked<T: Float>(inputs: &[&Tensor<T>]) -> Result<Vec<Value>> {
    let mut values: Vec<Value> = Vec::with_capacity(inputs.len());
    for (i, t) in inputs.iter().enumerate() {
        if !t.requires_grad() {
            return Err(Error::Autograd(format!("One of the differentiated Tensors does not require grad: input {i}")));
        }
        if !values.iter().any(|v| v.same(t.value())) {
            values.push(t.value().clone());
        }
    }
    Ok(values)
}

/// The gradients of `outputs` in `inputs` (leaves or not), leaving every `.grad` alone: PyTorch's
/// `torch.autograd.grad`. With `create_graph` the gradients are tracked themselves; with `allow_unused` an
/// input that is not reached gives `None` instead of an error.
///
/// ```
/// use autograd_runtime::{Tensor, grad};
/// let x = Tensor::scalar(2.0).requires_grad_(true);
/// let first = grad(&[&x.powi(4)], &[&x], &[], false, true, false)?.remove(0).unwrap();
/// let second = grad(&[&first], &[&x], &[], false, false, false)?.remove(0).unwrap();
/// assert_eq!((first.item(), second.item()), (32.0, 48.0));
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
///
/// # Errors
/// As [`backward`], and for unreachable inputs unless `allow_unused`.
pub fn grad<T: Float>(
    outputs: &[&Tensor<T>],
    inputs: &[&Tensor<T>],
    grad_outputs: &[Option<&Tensor<T>>],
    retain_graph: bool,
    create_graph: bool,
    allow_unused: bool,
) -> Result<Vec<Option<Tensor<T>>>> {
    let materialize_grads = false;
    grad_options(
        outputs,
        inputs,
        GradOptions { grad_outputs, retain_graph, create_graph, allow_unused, materialize_grads },
    )
}

/// [`grad`] with its options by name.
///
/// ```
/// use autograd_runtime::{GradOptions, Tensor, grad_options};
/// let x = Tensor::scalar(2.0).requires_grad_(true);
/// let unused = Tensor::ones([2]).requires_grad_(true);
/// let options = GradOptions { materialize_grads: true, ..Default::default() };
/// let grads = grad_options(&[&(&x * &x)], &[&x, &unused], options)?;
/// assert_eq!(grads[1].as_ref().unwrap().to_vec(), [0.0, 0.0]);
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
///
/// # Errors
/// As [`grad`]; if both `materialize_grads` and `allow_unused` would decide what an unreached input gives, zeros
/// win.
pub fn grad_options<T: Float>(
    outputs: &[&Tensor<T>],
    inputs: &[&Tensor<T>],
    options: GradOptions<'_, T>,
) -> Result<Vec<Option<Tensor<T>>>> {
    let GradOptions { grad_outputs, retain_graph, create_graph, allow_unused, materialize_grads } = options;
    if inputs.is_empty() {
        return Err(Error::Autograd("grad requires non-empty inputs".into()));
    }
    let roots = roots(outputs, grad_outputs)?;
    tracked(inputs)?;
    let values: Vec<Value> = inputs.iter().map(|t| t.value().clone()).collect();
    let sweep = Sweep { target: Target::Of(&values), retain_graph: retain_graph || create_graph, create_graph };
    let grads = sweep.run(&roots)?;
    if !allow_unused
        && !materialize_grads
        && let Some(i) = grads.iter().position(Option::is_none)
    {
        return Err(Error::Autograd(format!(
            "The differentiated Tensor at index {i} appears to not have been used in the graph. Set allow_unused=true if \
             this is the desired behavior"
        )));
    }
    // where a graph is wanted zeros can be differentiated again: to zeros
    let zeros = |v: &Value| {
        let zeros = Value::stored(Array::full(v.ty(), 0));
        zeros.set_requires_grad(create_graph).map(|()| zeros)
    };
    let of = |(g, v): (Option<Value>, &Value)| match g {
        None if materialize_grads => zeros(v).map(|v| Some(Tensor::from_value(v))),
        g => Ok(g.map(|v| Tensor::from_value(v))),
    };
    grads.into_iter().zip(&values).map(of).collect()
}

impl<T: Float> Tensor<T> {
    /// Accumulates the gradients of this tensor, which has one element, into the `.grad` of the leaves behind it, and
    /// frees what the graph saved.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![1.0, 2.0], [2]).requires_grad_(true);
    /// let y = x.square().sum();
    /// y.backward()?;
    /// assert_eq!(x.grad().unwrap().to_vec(), [2.0, 4.0]);
    /// assert!(y.backward().unwrap_err().to_string().contains("retain_graph"));
    /// # Ok::<(), autograd_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`backward`](crate::backward()).
    pub fn backward(&self) -> Result<()> {
        backward(&[self], &[], false, false)
    }
    /// As [`Tensor::backward`] with a cotangent of this tensor's shape: the vector-Jacobian product.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![1.0, 2.0], [2]).requires_grad_(true);
    /// (&x * &x).backward_with(&Tensor::from_vec(vec![1.0, 0.1], [2]))?;
    /// assert_eq!(x.grad().unwrap().to_vec(), [2.0, 0.4]);
    /// # Ok::<(), autograd_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`backward`](crate::backward()); if the cotangent has another shape.
    pub fn backward_with(&self, ct: &Tensor<T>) -> Result<()> {
        backward(&[self], &[Some(ct)], false, false)
    }
    /// Backward with all its options.
    ///
    /// # Errors
    /// As [`backward`](crate::backward()) and [`backward_inputs`].
    pub fn backward_options(&self, o: BackwardOptions<'_, T>) -> Result<()> {
        match o.inputs {
            None => backward(&[self], &[o.gradient], o.retain_graph, o.create_graph),
            Some(inputs) => backward_inputs(&[self], &[o.gradient], inputs, o.retain_graph, o.create_graph),
        }
    }
}
