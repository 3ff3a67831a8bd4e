//! Layers with a window that slides: convolution and pooling.

use super::{Module, affine, fresh};
use crate::{ConvOptions, Error, Extents, Float, PoolOptions, Result, Tensor};

/// A convolution over `N` spatial axes with weight and bias as parameters: [`Conv1d`], [`Conv2d`].
///
/// ```
/// use autograd_runtime::{ConvOptions, Padding, Tensor, nn::{Conv1d, Conv2d, Module}};
/// let layer = Conv2d::<f32>::new(3, 8, 3, ConvOptions::new().padding(1))?;
/// assert_eq!(layer.forward(&Tensor::ones([2, 3, 5, 5])).shape(), [2, 8, 5, 5]);
/// let layer = Conv1d::<f32>::new(3, 8, 4, ConvOptions::new().padding(Padding::Same))?;
/// assert_eq!(layer.forward(&Tensor::ones([2, 3, 9])).shape(), [2, 8, 9]);
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
#[derive(Debug)]
pub struct Conv<T: Float, const N: usize> {
    /// `[out, in/groups, k, ..]`.
    pub weight: Tensor<T>,
    /// `[out]`.
    pub bias: Option<Tensor<T>>,
    /// Stride, padding, dilation, groups.
    pub options: ConvOptions<N>,
}
/// [`Tensor::conv1d`] as a layer: signals `[n, in, length]`, or one, to `[n, out, length]`.
pub type Conv1d<T> = Conv<T, 1>;
/// [`Tensor::conv2d`] as a layer: images `[n, in, height, width]`, or one, to `[n, out, height, width]`.
pub type Conv2d<T> = Conv<T, 2>;

impl<T: Float, const N: usize> Conv<T, N> {
    /// Weight and bias uniform within ±1/√(in/groups·elements of the kernel), from this thread's generator.
    ///
    /// # Errors
    /// If the channels do not divide into the groups.
    pub fn new(inputs: usize, outputs: usize, kernel: impl Into<Extents<N>>, options: ConvOptions<N>) -> Result<Self> {
        let layer = Conv::without_bias(inputs, outputs, kernel, options)?;
        let fan = layer.weight.shape()[1..].iter().product();
        Ok(Conv { bias: Some(fresh(&[outputs], fan)), ..layer })
    }
    /// As [`Conv::new`] without bias.
    ///
    /// # Errors
    /// As [`Conv::new`].
    pub fn without_bias(
        inputs: usize,
        outputs: usize,
        kernel: impl Into<Extents<N>>,
        options: ConvOptions<N>,
    ) -> Result<Self> {
        let (Extents(kernel), groups) = (kernel.into(), options.groups);
        if groups == 0 || !inputs.is_multiple_of(groups) || !outputs.is_multiple_of(groups) {
            let want = format!("expected channels that divide into {groups} groups");
            return Err(Error::value(format!("Conv{N}d"), format!("{want}, found {inputs} and {outputs}")));
        }
        let shape = [&[outputs, inputs / groups], &kernel[..]].concat();
        let fan = shape[1..].iter().product();
        Ok(Conv { weight: fresh(&shape, fan), bias: None, options })
    }
}
impl<T: Float, const N: usize> Module<T> for Conv<T, N> {
    #[track_caller]
    fn forward(&self, x: &Tensor<T>) -> Tensor<T> {
        x.convolved(&self.weight, self.bias.as_ref(), &self.options, |x, w, b, o| x.conv(w, b, o))
    }
    fn each_parameter(&self, visit: &mut dyn FnMut(&str, &Tensor<T>)) {
        affine(Some(&self.weight), self.bias.as_ref(), visit);
    }
}

/// [`Tensor::max_pool2d`] as a layer.
///
/// ```
/// use autograd_runtime::{PoolOptions, Tensor, nn::{Flatten, MaxPool2d, Module, Sequential}};
/// let net = Sequential::new().add(MaxPool2d(PoolOptions::new(2))).add(Flatten);
/// assert_eq!(net.forward(&Tensor::<f32>::ones([2, 3, 4, 4])).shape(), [2, 12]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MaxPool2d(pub PoolOptions<2>);
impl<T: Float> Module<T> for MaxPool2d {
    #[track_caller]
    fn forward(&self, x: &Tensor<T>) -> Tensor<T> {
        x.max_pool2d(self.0)
    }
}
/// [`Tensor::avg_pool2d`] as a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AvgPool2d(pub PoolOptions<2>);
impl<T: Float> Module<T> for AvgPool2d {
    #[track_caller]
    fn forward(&self, x: &Tensor<T>) -> Tensor<T> {
        x.avg_pool2d(self.0)
    }
}
