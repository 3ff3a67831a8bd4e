//! Convolutions and pooling as methods of tensors.

use super::{Tensor, typed::evaluate_as};
use crate::{
    array::Float,
    compose::{ConvOptions, PoolOptions},
    emit::{Emit, Ex, V},
};

fn ex<'e, T: Float>(x: &Tensor<T>, e: &'e dyn Emit) -> Ex<'e> {
    Ex::new(e, V::Tensor(x.value().clone()))
}

/// Which function of an input, a weight and a bias.
pub(crate) type Conv<const N: usize> = for<'e> fn(&Ex<'e>, &Ex<'e>, Option<&Ex<'e>>, &ConvOptions<N>) -> Ex<'e>;

impl<T: Float> Tensor<T> {
    #[track_caller]
    pub(crate) fn convolved<const N: usize>(
        &self,
        weight: &Tensor<T>,
        bias: Option<&Tensor<T>>,
        options: &ConvOptions<N>,
        f: Conv<N>,
    ) -> Self {
        Tensor::from_value(evaluate_as("ConvolutionBackward0", |e| {
            f(&ex(self, e), &ex(weight, e), bias.map(|b| ex(b, e)).as_ref(), options)
        }))
    }
    /// The convolution (cross-correlation) of signals `[n, c, length]`, or one `[c, length]`, with a weight
    /// `[o, c/groups, k]` and a bias `[o]`.
    ///
    /// Panics (or fails the running entry point) if the shapes do not fit one another.
    ///
    /// ```
    /// use autograd_runtime::{ConvOptions, Tensor};
    /// let x = Tensor::from_vec(vec![1.0, 2.0, 4.0, 8.0], [1, 1, 4]);
    /// let difference = Tensor::from_vec(vec![-1.0, 1.0], [1, 1, 2]);
    /// assert_eq!(x.conv1d(&difference, None, &ConvOptions::new()).to_vec(), [1.0, 2.0, 4.0]);
    /// ```
    #[track_caller]
    pub fn conv1d(&self, weight: &Tensor<T>, bias: Option<&Tensor<T>>, options: &ConvOptions<1>) -> Self {
        self.convolved(weight, bias, options, |x, w, b, o| x.conv(w, b, o))
    }
    /// The convolution (cross-correlation) of images `[n, c, height, width]`, or one `[c, height, width]`, with
    /// a weight `[o, c/groups, kh, kw]` and a bias `[o]`; each extent of the result is
    /// ⌊(extent + 2·padding − dilation·(k − 1) − 1) / stride⌋ + 1.
    ///
    /// Panics (or fails the running entry point) if the shapes do not fit one another.
    ///
    /// ```
    /// use autograd_runtime::{ConvOptions, Tensor};
    /// let x = Tensor::<f64>::ones([1, 3, 5, 5]).requires_grad_(true);
    /// let (w, b) = (Tensor::ones([4, 3, 3, 3]), Tensor::zeros([4]));
    /// let y = x.conv2d(&w, Some(&b), &ConvOptions::new().stride(2).padding(1));
    /// assert_eq!((y.shape(), y.select(0, 0).select(0, 0).select(0, 1).to_vec()), (&[1, 4, 3, 3][..], vec![18., 27., 18.]));
    /// y.sum().backward()?;
    /// assert_eq!(x.grad().unwrap().max().item(), 16.0);
    /// # Ok::<(), autograd_runtime::Error>(())
    /// ```
    #[track_caller]
    pub fn conv2d(&self, weight: &Tensor<T>, bias: Option<&Tensor<T>>, options: &ConvOptions<2>) -> Self {
        self.convolved(weight, bias, options, |x, w, b, o| x.conv(w, b, o))
    }
    /// The transpose of [`Tensor::conv1d`] in its input: signals `[n, c, length]` and a weight
    /// `[c, o/groups, k]`.
    #[track_caller]
    pub fn conv_transpose1d(&self, weight: &Tensor<T>, bias: Option<&Tensor<T>>, options: &ConvOptions<1>) -> Self {
        self.convolved(weight, bias, options, |x, w, b, o| x.conv_transpose(w, b, o))
    }
    /// The transpose of [`Tensor::conv2d`] in its input: images `[n, c, height, width]` and a weight
    /// `[c, o/groups, kh, kw]`; each extent of the result is
    /// (extent − 1)·stride − 2·padding + dilation·(k − 1) + output_padding + 1.
    ///
    /// ```
    /// use autograd_runtime::{ConvOptions, Tensor};
    /// let x = Tensor::from_vec(vec![1.0, 2.0, 3.0, 4.0], [1, 1, 2, 2]);
    /// let y = x.conv_transpose2d(&Tensor::ones([1, 1, 2, 2]), None, &ConvOptions::new().stride(2));
    /// assert_eq!((y.shape(), y.sum().item()), (&[1, 1, 4, 4][..], 40.0));
    /// ```
    #[track_caller]
    pub fn conv_transpose2d(&self, weight: &Tensor<T>, bias: Option<&Tensor<T>>, options: &ConvOptions<2>) -> Self {
        self.convolved(weight, bias, options, |x, w, b, o| x.conv_transpose(w, b, o))
    }
    /// The largest element under a window that slides over images `[n, c, height, width]`, or one; the gradient
    /// goes to the first of equals. Padding takes no part.
    ///
    /// ```
    /// use autograd_runtime::{PoolOptions, Tensor};
    /// let x = Tensor::<f64>::arange(16).reshape(&[1, 1, 4, 4]);
    /// assert_eq!(x.max_pool2d(2).to_vec(), [5.0, 7.0, 13.0, 15.0]);
    /// assert_eq!(x.max_pool2d(PoolOptions::new(3).stride(1)).to_vec(), [10.0, 11.0, 14.0, 15.0]);
    /// ```
    #[track_caller]
    pub fn max_pool2d(&self, options: impl Into<PoolOptions<2>>) -> Self {
        let options = options.into();
        Tensor::from_value(evaluate_as("MaxPool2DWithIndicesBackward0", |e| ex(self, e).max_pool(&options)))
    }
    /// The mean under a window that slides over images `[n, c, height, width]`, or one; padding counts as
    /// zeros.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::<f64>::arange(16).reshape(&[1, 4, 4]);
    /// assert_eq!(x.avg_pool2d(2).to_vec(), [2.5, 4.5, 10.5, 12.5]);
    /// ```
    #[track_caller]
    pub fn avg_pool2d(&self, options: impl Into<PoolOptions<2>>) -> Self {
        let options = options.into();
        Tensor::from_value(evaluate_as("AvgPool2DBackward0", |e| ex(self, e).avg_pool(&options)))
    }
}
