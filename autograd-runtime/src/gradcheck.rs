//! Checking derivatives of functions over tensors against central differences: PyTorch's `gradcheck` and
//! `gradgradcheck`. (Annotated functions have `f::check`, which checks all engines.)

use crate::{
    array::Float,
    error::{Error, Result},
    tensor::{GradOptions, Tensor, enable_grad, grad_options, no_grad},
    try_eval,
};

/// Step and tolerances; the defaults are PyTorch's.
///
/// ```
/// use autograd_runtime::{GradcheckOptions, Tensor, gradcheck_with};
/// let x = Tensor::from_vec(vec![0.3, 0.7], [2]).requires_grad_(true);
/// gradcheck_with(|x| x[0].sin(), &[&x], GradcheckOptions { rtol: 1e-6, ..Default::default() })?;
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct GradcheckOptions {
    /// Step of the differences: 1e-6.
    pub eps: f64,
    /// Absolute tolerance: 1e-5.
    pub atol: f64,
    /// Tolerance relative to the difference quotient: 1e-3.
    pub rtol: f64,
}
impl Default for GradcheckOptions {
    fn default() -> Self {
        GradcheckOptions { eps: 1e-6, atol: 1e-5, rtol: 1e-3 }
    }
}

/// What a checked function may return: a tensor, several, or a `Result` of these.
pub trait Outputs<T> {
    #[doc(hidden)]
    fn outputs(self) -> Result<Vec<Tensor<T>>>;
}
impl<T> Outputs<T> for Tensor<T> {
    fn outputs(self) -> Result<Vec<Tensor<T>>> {
        Ok(vec![self])
    }
}
impl<T> Outputs<T> for Vec<Tensor<T>> {
    fn outputs(self) -> Result<Vec<Tensor<T>>> {
        Ok(self)
    }
}
impl<T> Outputs<T> for (Tensor<T>, Tensor<T>) {
    fn outputs(self) -> Result<Vec<Tensor<T>>> {
        Ok(vec![self.0, self.1])
    }
}
impl<T, O: Outputs<T>> Outputs<T> for Result<O> {
    fn outputs(self) -> Result<Vec<Tensor<T>>> {
        self?.outputs()
    }
}

/// Compares the gradients of `f` at `inputs` with central differences, entry by entry, for every input that requires
/// grad. Double precision only: in `f32` the differences drown in rounding.
///
/// ```
/// use autograd_runtime::{Tensor, gradcheck};
/// let x = Tensor::from_vec(vec![0.3, 0.7], [2]).requires_grad_(true);
/// gradcheck(|x| &x[0] * x[0].exp(), &[&x])?;
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
///
/// # Errors
/// The worst entry with both values, if one is outside the tolerance; no input that requires grad; `f32`; errors of
/// the function and of its backward.
pub fn gradcheck<T: Float, O: Outputs<T>>(f: impl Fn(&[Tensor<T>]) -> O, inputs: &[&Tensor<T>]) -> Result<()> {
    gradcheck_with(f, inputs, GradcheckOptions::default())
}

/// [`gradcheck`] with its options.
///
/// # Errors
/// As [`gradcheck`].
pub fn gradcheck_with<T: Float, O: Outputs<T>>(
    f: impl Fn(&[Tensor<T>]) -> O,
    inputs: &[&Tensor<T>],
    options: GradcheckOptions,
) -> Result<()> {
    let run = |x: &[Tensor<T>]| try_eval(|| f(x).outputs())?;
    check("gradcheck", &run, inputs, options)
}

/// [`gradcheck`] of the gradients of `f`: its second derivatives. The cotangents of the results are inputs too; they
/// are fixed numbers of the size of 1.
///
/// ```
/// use autograd_runtime::{Tensor, gradgradcheck};
/// let x = Tensor::from_vec(vec![0.3, 0.7], [2]).requires_grad_(true);
/// gradgradcheck(|x| x[0].sin() * &x[0], &[&x])?;
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
///
/// # Errors
/// As [`gradcheck`].
pub fn gradgradcheck<T: Float, O: Outputs<T>>(f: impl Fn(&[Tensor<T>]) -> O, inputs: &[&Tensor<T>]) -> Result<()> {
    gradgradcheck_with(f, inputs, GradcheckOptions::default())
}

/// [`gradgradcheck`] with its options.
///
/// # Errors
/// As [`gradcheck`].
pub fn gradgradcheck_with<T: Float, O: Outputs<T>>(
    f: impl Fn(&[Tensor<T>]) -> O,
    inputs: &[&Tensor<T>],
    options: GradcheckOptions,
) -> Result<()> {
    double_only::<T>("gradgradcheck")?;
    let n = inputs.len();
    let outs = no_grad(|| try_eval(|| f(&owned(inputs)).outputs()))??;
    let cts: Vec<Tensor<T>> = outs.iter().enumerate().map(|(k, o)| cotangent(o.shape(), k)).collect();
    let all: Vec<&Tensor<T>> = inputs.iter().copied().chain(&cts).collect();
    let first = |x: &[Tensor<T>]| -> Result<Vec<Tensor<T>>> {
        // the difference quotients run unrecorded, the first derivative needs its graph
        enable_grad(|| {
            let args: Vec<Tensor<T>> =
                x[..n]
                    .iter()
                    .zip(inputs)
                    .map(|(x, i)| {
                        if i.requires_grad() && !x.requires_grad() {
                            x.detach().requires_grad_(true)
                        } else {
                            x.clone()
                        }
                    })
                    .collect();
            let outs = try_eval(|| f(&args).outputs())??;
            let (outs, cts): (Vec<&Tensor<T>>, Vec<Option<&Tensor<T>>>) =
                outs.iter().zip(&x[n..]).filter(|(o, _)| o.requires_grad()).map(|(o, c)| (o, Some(c))).unzip();
            let wrt: Vec<&Tensor<T>> = args.iter().filter(|a| a.requires_grad()).collect();
            let options = GradOptions {
                grad_outputs: &cts,
                create_graph: true,
                materialize_grads: true,
                ..GradOptions::default()
            };
            Ok(grad_options(&outs, &wrt, options)?.into_iter().flatten().collect())
        })
    };
    check("gradgradcheck", &first, &all, options)
}

fn double_only<T: Float>(op: &str) -> Result<()> {
    if T::DTYPE == crate::ty::DType::F64 { Ok(()) } else { Err(Error::dtype(op, "f64", T::DTYPE)) }
}
fn owned<T: Float>(inputs: &[&Tensor<T>]) -> Vec<Tensor<T>> {
    inputs.iter().map(|&t| t.clone()).collect()
}
/// A tracked tensor of fixed numbers between 0.5 and 1.5, no two alike.
fn cotangent<T: Float>(shape: &[usize], k: usize) -> Tensor<T> {
    let golden = 0.618_033_988_749_895;
    let n = shape.iter().product();
    let data = (0..n).map(|i| T::of(0.5 + ((i + 7 * k + 1) as f64 * golden).fract())).collect();
    Tensor::from_vec(data, shape).requires_grad_(true)
}

type Run<'f, T> = &'f dyn Fn(&[Tensor<T>]) -> Result<Vec<Tensor<T>>>;

fn check<T: Float>(op: &str, f: Run<'_, T>, inputs: &[&Tensor<T>], o: GradcheckOptions) -> Result<()> {
    double_only::<T>(op)?;
    if !inputs.iter().any(|t| t.requires_grad()) {
        let none = "expected at least one input tensor to require gradient, found none that requires grad";
        return Err(Error::value(op, none));
    }
    // leaves of its own, so that nothing of the user's is touched
    let leaves: Vec<Tensor<T>> = inputs.iter().map(|t| t.detach().copy().requires_grad_(t.requires_grad())).collect();
    let outs = enable_grad(|| f(&leaves))?;
    let mut worst: Option<(f64, String)> = None;
    let mut bad = 0;
    for (i, input) in leaves.iter().enumerate().filter(|(_, t)| t.requires_grad()) {
        let numerical = differences(op, f, &leaves, &outs, i, o.eps)?;
        for (j, out) in outs.iter().enumerate() {
            for row in 0..out.numel() {
                let analytical = row_of(out, input, row)?;
                let again = row_of(out, input, row)?;
                if analytical.iter().zip(&again).any(|(a, b)| a.to_bits() != b.to_bits()) {
                    return Err(Error::Autograd(format!(
                        "{op}: Backward is not reentrant: running it twice gives {analytical:?} and then {again:?} for \
                         element {row} of output {j} and input {i}"
                    )));
                }
                for (col, (a, quotients)) in analytical.iter().zip(&numerical).enumerate() {
                    let n = quotients[j][row];
                    let excess = (a - n).abs() / (o.atol + o.rtol * n.abs());
                    if excess <= 1.0 || (a.is_nan() && n.is_nan()) || *a == n {
                        continue;
                    }
                    bad += 1;
                    let excess = if excess.is_nan() { f64::INFINITY } else { excess };
                    if worst.as_ref().is_none_or(|w| excess > w.0) {
                        let text = format!(
                            "for output {j} with respect to input {i}, the worst at entry ({row}, {col}): numerical \
                             {n:e}, analytical {a:e}, {excess:.3} times the tolerance (atol {:e}, rtol {:e})",
                            o.atol, o.rtol
                        );
                        worst = Some((excess, text));
                    }
                }
            }
        }
    }
    match worst {
        None => Ok(()),
        Some((_, at)) => Err(Error::Autograd(format!(
            "{op}: Jacobian mismatch {at}; {bad} entries in all (rows: elements of the output, columns: of the input)"
        ))),
    }
}

/// One row of the Jacobian, by backward.
fn row_of<T: Float>(out: &Tensor<T>, input: &Tensor<T>, row: usize) -> Result<Vec<f64>> {
    if !out.requires_grad() {
        return Ok(vec![0.0; input.numel()]);
    }
    let mut one = vec![T::ZERO; out.numel()];
    one[row] = T::ONE;
    let ct = Tensor::from_vec(one, out.shape());
    let options = GradOptions {
        grad_outputs: &[Some(&ct)],
        retain_graph: true,
        materialize_grads: true,
        ..GradOptions::default()
    };
    let g = grad_options(&[out], &[input], options)?;
    Ok(g.into_iter().flatten().flat_map(|g| g.to_vec()).map(Float::f64).collect())
}

/// For each element of input `i` the difference quotients of all outputs.
fn differences<T: Float>(
    op: &str,
    f: Run<'_, T>,
    inputs: &[Tensor<T>],
    like: &[Tensor<T>],
    i: usize,
    eps: f64,
) -> Result<Vec<Vec<Vec<f64>>>> {
    let data = inputs[i].detach().to_vec();
    let at = |k: usize, step: f64| -> Result<Vec<Vec<f64>>> {
        let mut moved = data.clone();
        moved[k] = T::of(moved[k].f64() + step);
        let mut args: Vec<Tensor<T>> = inputs.iter().map(Tensor::detach).collect();
        args[i] = Tensor::from_vec(moved, inputs[i].shape());
        let outs = no_grad(|| f(&args))?;
        let shapes = |outs: &[Tensor<T>]| outs.iter().map(|o| o.shape().to_vec()).collect::<Vec<_>>();
        if shapes(&outs) != shapes(like) {
            return Err(Error::shape(
                op,
                format!("outputs with the same shape when inputs are perturbed: {:?}", shapes(like)),
                format!("{:?}", shapes(&outs)),
            ));
        }
        Ok(outs.iter().map(|o| o.detach().to_vec().into_iter().map(Float::f64).collect()).collect())
    };
    (0..data.len())
        .map(|k| {
            let (up, down) = (at(k, eps)?, at(k, -eps)?);
            let slope = |(u, d): (&Vec<f64>, &Vec<f64>)| u.iter().zip(d).map(|(u, d)| (u - d) / (2.0 * eps)).collect();
            Ok(up.iter().zip(&down).map(slope).collect())
        })
        .collect()
}
