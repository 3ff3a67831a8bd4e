//! Derivatives of functions of tensors as values: PyTorch's `torch.autograd.functional`, on the tape. Nothing of the
//! caller's graph or gradients takes part; results are not tracked. (Annotated functions have all of these compiled.)

use crate::{
    array::Float,
    error::{Error, Result},
    gradcheck::Outputs,
    tensor::{GradOptions, Tensor, enable_grad, grad_options},
    try_eval,
};

/// One run of a function on leaves of its own.
struct Run<T> {
    inputs: Vec<Tensor<T>>,
    outputs: Vec<Tensor<T>>,
}

impl<T: Float> Run<T> {
    fn of<O: Outputs<T>>(f: impl Fn(&[Tensor<T>]) -> O, inputs: &[&Tensor<T>]) -> Result<Run<T>> {
        if inputs.is_empty() {
            return Err(Error::value("functional", "expected at least one input, found none"));
        }
        let inputs: Vec<Tensor<T>> = inputs.iter().map(|x| x.detach().requires_grad_(true)).collect();
        let outputs = enable_grad(|| try_eval(|| f(&inputs).outputs()))??;
        Ok(Run { inputs, outputs })
    }
    /// The cotangents of all inputs, zeros where an input plays no part.
    fn pull_back(&self, cts: &[&Tensor<T>], create_graph: bool) -> Result<Vec<Tensor<T>>> {
        pull_back(&self.outputs, cts, &self.inputs, create_graph)
    }
    /// The only output, of one element.
    fn scalar(&self, what: &str) -> Result<&Tensor<T>> {
        match self.outputs.as_slice() {
            [y] if y.numel() == 1 => Ok(y),
            _ => {
                let found: Vec<&[usize]> = self.outputs.iter().map(Tensor::shape).collect();
                Err(Error::shape(what, "a function with one result of one element", format!("results {found:?}")))
            }
        }
    }
    fn values(&self) -> Vec<Tensor<T>> {
        self.outputs.iter().map(Tensor::detach).collect()
    }
}

fn pull_back<T: Float>(
    outputs: &[Tensor<T>],
    cts: &[&Tensor<T>],
    inputs: &[Tensor<T>],
    create_graph: bool,
) -> Result<Vec<Tensor<T>>> {
    if cts.len() != outputs.len() {
        return Err(Error::value("functional", format!("expected {} vectors, found {}", outputs.len(), cts.len())));
    }
    let (outputs, cts): (Vec<&Tensor<T>>, Vec<Option<&Tensor<T>>>) =
        outputs.iter().zip(cts).filter(|(y, _)| y.requires_grad()).map(|(y, c)| (y, Some(*c))).unzip();
    let inputs: Vec<&Tensor<T>> = inputs.iter().collect();
    if outputs.is_empty() {
        return Ok(inputs.iter().map(|x| Tensor::zeros(x.shape())).collect());
    }
    let options = GradOptions {
        grad_outputs: &cts,
        retain_graph: true,
        create_graph,
        materialize_grads: true,
        ..GradOptions::default()
    };
    Ok(grad_options(&outputs, &inputs, options)?.into_iter().flatten().collect())
}

fn fits<T: Float>(what: &str, v: &[&Tensor<T>], like: &[Tensor<T>]) -> Result<()> {
    let shapes = |t: &mut dyn Iterator<Item = &Tensor<T>>| t.map(|t| t.shape().to_vec()).collect::<Vec<_>>();
    let (found, want) = (shapes(&mut v.iter().copied()), shapes(&mut like.iter()));
    if found == want {
        Ok(())
    } else {
        Err(Error::shape(what, format!("vectors of shapes {want:?}"), format!("{found:?}")))
    }
}

/// The results of a function, and products with its Jacobian.
pub type Products<T> = (Vec<Tensor<T>>, Vec<Tensor<T>>);

/// The results of a function and the product of vectors, one for each result, with its Jacobian: one tensor for each
/// input. No vectors at all stand for the 1 of results of one element.
///
/// ```
/// use autograd_runtime::{Tensor, functional};
/// let x = Tensor::from_vec(vec![1.0, 2.0], [2]);
/// let (y, g) = functional::vjp(|x| x[0].powi(3), &[&x], &[&Tensor::ones([2])])?;
/// assert_eq!((y[0].to_vec(), g[0].to_vec()), (vec![1.0, 8.0], vec![3.0, 12.0]));
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
///
/// # Errors
/// Vectors of other shapes than the results; errors of the function and of its backward.
pub fn vjp<T: Float, O: Outputs<T>>(
    f: impl Fn(&[Tensor<T>]) -> O,
    inputs: &[&Tensor<T>],
    v: &[&Tensor<T>],
) -> Result<Products<T>> {
    let run = Run::of(f, inputs)?;
    if v.is_empty() && run.outputs.iter().all(|y| y.numel() == 1) {
        let ones: Vec<Tensor<T>> = run.outputs.iter().map(|y| Tensor::ones(y.shape())).collect();
        return Ok((run.values(), run.pull_back(&ones.iter().collect::<Vec<_>>(), false)?));
    }
    fits("vjp", v, &run.outputs)?;
    Ok((run.values(), run.pull_back(v, false)?))
}

/// The results of a function and the product of its Jacobian with vectors, one for each input: one tensor for each
/// result. The product with the transpose is linear in its vector, and its own transpose is this one: two backwards.
///
/// ```
/// use autograd_runtime::{Tensor, functional};
/// let x = Tensor::from_vec(vec![1.0, 2.0], [2]);
/// let (_, t) = functional::jvp(|x| x[0].powi(3).sum(), &[&x], &[&Tensor::from_vec(vec![1.0, 0.5], [2])])?;
/// assert_eq!(t[0].item(), 9.0);
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
///
/// # Errors
/// Vectors of other shapes than the inputs; errors of the function and of its backwards.
pub fn jvp<T: Float, O: Outputs<T>>(
    f: impl Fn(&[Tensor<T>]) -> O,
    inputs: &[&Tensor<T>],
    v: &[&Tensor<T>],
) -> Result<Products<T>> {
    let run = Run::of(f, inputs)?;
    fits("jvp", v, &run.inputs)?;
    let cts: Vec<Tensor<T>> = run.outputs.iter().map(|y| Tensor::zeros(y.shape()).requires_grad_(true)).collect();
    let back = run.pull_back(&cts.iter().collect::<Vec<_>>(), true)?;
    Ok((run.values(), pull_back(&back, v, &cts, false)?))
}

/// The Jacobian of a function: for each result and each input a tensor of the result's shape followed by the input's.
///
/// ```
/// use autograd_runtime::{Tensor, functional};
/// let x = Tensor::from_vec(vec![1.0, 2.0], [2]);
/// let j = functional::jacobian(|x| x[0].square(), &[&x])?;
/// assert_eq!((j[0][0].shape(), j[0][0].to_vec()), (&[2, 2][..], vec![2.0, 0.0, 0.0, 4.0]));
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
///
/// # Errors
/// Those of the function and of its backward.
pub fn jacobian<T: Float, O: Outputs<T>>(
    f: impl Fn(&[Tensor<T>]) -> O,
    inputs: &[&Tensor<T>],
) -> Result<Vec<Vec<Tensor<T>>>> {
    let run = Run::of(f, inputs)?;
    run.outputs.iter().map(|y| rows(y, &run.inputs)).collect()
}

/// The Jacobian of one result, row by row.
fn rows<T: Float>(y: &Tensor<T>, inputs: &[Tensor<T>]) -> Result<Vec<Tensor<T>>> {
    let mut data: Vec<Vec<T>> = inputs.iter().map(|x| Vec::with_capacity(y.numel() * x.numel())).collect();
    for i in 0..y.numel() {
        let mut one = vec![T::ZERO; y.numel()];
        one[i] = T::ONE;
        let ct = Tensor::from_vec(one, y.shape());
        let row = pull_back(std::slice::from_ref(y), &[&ct], inputs, false)?;
        data.iter_mut().zip(row).for_each(|(d, r)| d.extend(r.to_vec()));
    }
    let shape = |x: &Tensor<T>| [y.shape(), x.shape()].concat();
    Ok(data.into_iter().zip(inputs).map(|(d, x)| Tensor::from_vec(d, &shape(x))).collect())
}

/// The Hessian of a function of one number: for each pair of inputs a tensor of the first's shape followed by the
/// second's.
///
/// ```
/// use autograd_runtime::{Tensor, functional};
/// let x = Tensor::from_vec(vec![1.0, 2.0], [2]);
/// let h = functional::hessian(|x| x[0].powi(3).sum(), &[&x])?;
/// assert_eq!(h[0][0].to_vec(), [6.0, 0.0, 0.0, 12.0]);
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
///
/// # Errors
/// A function with several results or one of several elements; those of the function and of its backwards.
pub fn hessian<T: Float, O: Outputs<T>>(
    f: impl Fn(&[Tensor<T>]) -> O,
    inputs: &[&Tensor<T>],
) -> Result<Vec<Vec<Tensor<T>>>> {
    let run = Run::of(f, inputs)?;
    let one = Tensor::ones(run.scalar("hessian")?.shape());
    let first = run.pull_back(&[&one], true)?;
    first.iter().map(|g| rows(g, &run.inputs)).collect()
}

/// The value of a function of one number, and the product of vectors, one for each input, with its Hessian.
///
/// ```
/// use autograd_runtime::{Tensor, functional};
/// let x = Tensor::from_vec(vec![1.0, 2.0], [2]);
/// let (y, p) = functional::vhp(|x| x[0].powi(3).sum(), &[&x], &[&Tensor::ones([2])])?;
/// assert_eq!((y.item(), p[0].to_vec()), (9.0, vec![6.0, 12.0]));
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
///
/// # Errors
/// As [`hessian`]; vectors of other shapes than the inputs.
pub fn vhp<T: Float, O: Outputs<T>>(
    f: impl Fn(&[Tensor<T>]) -> O,
    inputs: &[&Tensor<T>],
    v: &[&Tensor<T>],
) -> Result<(Tensor<T>, Vec<Tensor<T>>)> {
    let run = Run::of(f, inputs)?;
    fits("vhp", v, &run.inputs)?;
    let y = run.scalar("vhp")?;
    let first = run.pull_back(&[&Tensor::ones(y.shape())], true)?;
    Ok((y.detach(), pull_back(&first, v, &run.inputs, false)?))
}

/// As [`vhp`]: the Hessian is symmetric, so the product with a vector is the same from both sides.
///
/// # Errors
/// As [`vhp`].
pub fn hvp<T: Float, O: Outputs<T>>(
    f: impl Fn(&[Tensor<T>]) -> O,
    inputs: &[&Tensor<T>],
    v: &[&Tensor<T>],
) -> Result<(Tensor<T>, Vec<Tensor<T>>)> {
    vhp(f, inputs, v)
}
