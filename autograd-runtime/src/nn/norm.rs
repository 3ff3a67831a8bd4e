//! Layers that normalise: over a batch, over a sample, over groups of channels.

use super::{Buffer, Module, Training, affine, parameter};
use crate::{Error, Float, IntoShape, Result, Tensor, no_grad, tensor_report as report};

fn ones_and_zeros<T: Float>(shape: &[usize]) -> (Option<Tensor<T>>, Option<Tensor<T>>) {
    (Some(parameter(&Tensor::ones(shape))), Some(parameter(&Tensor::zeros(shape))))
}

/// Each channel less its mean, over its deviation, times a weight plus a bias: [`BatchNorm1d`], [`BatchNorm2d`]. From
/// Ioffe and Szegedy, Batch normalization (2015).
///
/// In training with the mean and variance of the batch, which also move the running ones; in evaluation with the
/// running ones. One value of a channel is an error in training; a batch of no elements moves nothing. Since it writes
/// to its buffers, an annotated function that trains one runs on the dynamic engine; in evaluation it compiles.
///
/// ```
/// use autograd_runtime::{Tensor, nn::{BatchNorm1d, Module}};
/// let layer = BatchNorm1d::<f64>::new(1);
/// let x = Tensor::from_vec(vec![1.0, 3.0], [2, 1]);
/// assert!((layer.forward(&x).to_vec()[1] - 1.0).abs() < 1e-5);
/// // a tenth of the mean 2 and of the unbiased variance 2
/// assert_eq!(layer.running_mean.to_vec(), [0.2]);
/// assert!((layer.running_var.item() - 1.1).abs() < 1e-15);
/// layer.eval();
/// assert!((layer.forward(&x).to_vec()[0] - 0.8 / 1.1f64.sqrt()).abs() < 1e-5);
/// ```
#[derive(Debug)]
pub struct BatchNorm<T: Float, const N: usize> {
    /// `[channels]`, of ones.
    pub weight: Option<Tensor<T>>,
    /// `[channels]`, of zeros.
    pub bias: Option<Tensor<T>>,
    /// The mean of evaluation, `[channels]`.
    pub running_mean: Tensor<T>,
    /// The variance of evaluation, `[channels]`.
    pub running_var: Tensor<T>,
    /// How many batches have moved them.
    pub num_batches_tracked: Tensor<i64>,
    /// What is added to variances; 10⁻⁵.
    pub eps: f64,
    /// How far a batch moves the running mean and variance, 0.1; without one they are means over all batches.
    pub momentum: Option<f64>,
    training: Training,
}
/// [`BatchNorm`] of rows `[n, channels]` or signals `[n, channels, length]`.
pub type BatchNorm1d<T> = BatchNorm<T, 1>;
/// [`BatchNorm`] of images `[n, channels, height, width]`.
pub type BatchNorm2d<T> = BatchNorm<T, 2>;

impl<T: Float, const N: usize> BatchNorm<T, N> {
    /// For so many channels.
    pub fn new(channels: usize) -> Self {
        let (weight, bias) = ones_and_zeros(&[channels]);
        BatchNorm { weight, bias, ..Self::without_affine(channels) }
    }
    /// As [`BatchNorm::new`] without weight and bias.
    pub fn without_affine(channels: usize) -> Self {
        BatchNorm {
            weight: None,
            bias: None,
            running_mean: Tensor::zeros([channels]),
            running_var: Tensor::ones([channels]),
            num_batches_tracked: Tensor::scalar(0),
            eps: 1e-5,
            momentum: Some(0.1),
            training: Training::default(),
        }
    }
    fn check(&self, shape: &[usize]) -> Result<()> {
        let channels = self.running_mean.numel();
        let rank = shape.len() == N + 2 || (N == 1 && shape.len() == 2);
        if rank && shape[1] == channels {
            return Ok(());
        }
        let want = match N {
            1 => format!("an input [n, {channels}] or [n, {channels}, length]"),
            _ => format!("an input [n, {channels}, ..] with {N} spatial axes"),
        };
        Err(Error::shape(format!("BatchNorm{N}d"), want, format!("{shape:?}")))
    }
    /// Moves the running mean and variance.
    #[track_caller]
    fn track(&self, x: &Tensor<T>) {
        let axes: Vec<i64> = (0..x.ndim() as i64).filter(|&d| d != 1).collect();
        let count = self.num_batches_tracked.item() + 1;
        self.num_batches_tracked.copy_(&Tensor::scalar(count));
        let step = Tensor::scalar(T::of(self.momentum.unwrap_or(1.0 / count as f64)));
        for (running, new) in
            [(&self.running_mean, x.mean_dim(&axes, false)), (&self.running_var, x.var_dim(&axes, 1.0, false))]
        {
            running.copy_(&(running + (new - running) * &step));
        }
    }
}
impl<T: Float, const N: usize> Module<T> for BatchNorm<T, N> {
    #[track_caller]
    fn forward(&self, x: &Tensor<T>) -> Tensor<T> {
        if let Err(e) = self.check(x.shape()) {
            report(e);
            return x.clone();
        }
        let training = self.training.is_on();
        let given = (!training).then_some((&self.running_mean, &self.running_var));
        let y = x.batch_norm(given, self.weight.as_ref(), self.bias.as_ref(), self.eps);
        // one value of each channel is an error above
        if training && x.numel() > x.shape()[1] {
            no_grad(|| self.track(&x.detach()));
        }
        y
    }
    fn each_parameter(&self, visit: &mut dyn FnMut(&str, &Tensor<T>)) {
        affine(self.weight.as_ref(), self.bias.as_ref(), visit);
    }
    fn each_buffer(&self, visit: &mut dyn FnMut(&str, Buffer<T>)) {
        visit("running_mean", (&self.running_mean).into());
        visit("running_var", (&self.running_var).into());
        visit("num_batches_tracked", (&self.num_batches_tracked).into());
    }
    fn set_training(&self, on: bool) {
        self.training.set(on);
    }
}

/// [`Tensor::layer_norm`] over the last axes as a layer: inputs `[.., shape]`. From Ba, Kiros and Hinton, Layer
/// normalization (2016).
///
/// ```
/// use autograd_runtime::{Tensor, nn::{LayerNorm, Module}};
/// let layer = LayerNorm::<f64>::new([2]);
/// let y = layer.forward(&Tensor::from_vec(vec![1.0, 3.0, 2.0, 2.0], [2, 2]));
/// assert!((y.to_vec()[1] - 1.0).abs() < 1e-5 && y.to_vec()[2..] == [0.0, 0.0]);
/// ```
#[derive(Debug)]
pub struct LayerNorm<T: Float> {
    /// The extents of the last axes.
    pub shape: Vec<usize>,
    /// Of that shape, of ones.
    pub weight: Option<Tensor<T>>,
    /// Of that shape, of zeros.
    pub bias: Option<Tensor<T>>,
    /// What is added to variances; 10⁻⁵.
    pub eps: f64,
}
impl<T: Float> LayerNorm<T> {
    /// Over last axes of these extents.
    pub fn new(shape: impl IntoShape) -> Self {
        let layer = Self::without_affine(shape);
        let (weight, bias) = ones_and_zeros(&layer.shape);
        LayerNorm { weight, bias, ..layer }
    }
    /// As [`LayerNorm::new`] without weight and bias.
    pub fn without_affine(shape: impl IntoShape) -> Self {
        LayerNorm { shape: shape.into_shape().to_vec(), weight: None, bias: None, eps: 1e-5 }
    }
}
impl<T: Float> Module<T> for LayerNorm<T> {
    #[track_caller]
    fn forward(&self, x: &Tensor<T>) -> Tensor<T> {
        x.layer_norm(&self.shape, self.weight.as_ref(), self.bias.as_ref(), self.eps)
    }
    fn each_parameter(&self, visit: &mut dyn FnMut(&str, &Tensor<T>)) {
        affine(self.weight.as_ref(), self.bias.as_ref(), visit);
    }
}

/// [`Tensor::group_norm`] as a layer: inputs `[n, channels, ..]`. From Wu and He, Group normalization (2018).
///
/// ```
/// use autograd_runtime::{Tensor, nn::{GroupNorm, Module}};
/// let layer = GroupNorm::<f64>::new(2, 4)?;
/// let y = layer.forward(&Tensor::arange(8).reshape(&[1, 4, 2]));
/// assert!(y.narrow(1, 0, 2).sum().item().abs() < 1e-12);
/// assert!(GroupNorm::<f64>::new(3, 4).is_err());
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
#[derive(Debug)]
pub struct GroupNorm<T: Float> {
    /// The number of groups.
    pub groups: usize,
    /// The number of channels.
    pub channels: usize,
    /// `[channels]`, of ones.
    pub weight: Option<Tensor<T>>,
    /// `[channels]`, of zeros.
    pub bias: Option<Tensor<T>>,
    /// What is added to variances; 10⁻⁵.
    pub eps: f64,
}
impl<T: Float> GroupNorm<T> {
    /// For so many channels in so many groups.
    ///
    /// # Errors
    /// If the channels do not divide into the groups.
    pub fn new(groups: usize, channels: usize) -> Result<Self> {
        let layer = Self::without_affine(groups, channels)?;
        let (weight, bias) = ones_and_zeros(&[channels]);
        Ok(GroupNorm { weight, bias, ..layer })
    }
    /// As [`GroupNorm::new`] without weight and bias.
    ///
    /// # Errors
    /// As [`GroupNorm::new`].
    pub fn without_affine(groups: usize, channels: usize) -> Result<Self> {
        if groups == 0 || !channels.is_multiple_of(groups) {
            let want = format!("expected channels that divide into {groups} groups, found {channels}");
            return Err(Error::value("GroupNorm", want));
        }
        Ok(GroupNorm { groups, channels, weight: None, bias: None, eps: 1e-5 })
    }
}
impl<T: Float> Module<T> for GroupNorm<T> {
    #[track_caller]
    fn forward(&self, x: &Tensor<T>) -> Tensor<T> {
        if x.shape().get(1) != Some(&self.channels) {
            let want = format!("an input [n, {}, ..]", self.channels);
            report(Error::shape("GroupNorm", want, format!("{:?}", x.shape())));
            return x.clone();
        }
        x.group_norm(self.groups, self.weight.as_ref(), self.bias.as_ref(), self.eps)
    }
    fn each_parameter(&self, visit: &mut dyn FnMut(&str, &Tensor<T>)) {
        affine(self.weight.as_ref(), self.bias.as_ref(), visit);
    }
}
