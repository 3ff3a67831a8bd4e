//! Layers: parameters with one function, or a function alone.

use super::{Module, init, parameter};
use crate::{ConvOptions, Error, Extents, Float, PoolOptions, Result, Tensor};
use std::sync::atomic::{AtomicBool, Ordering};

/// A new parameter, uniform within ±1/√fan, as PyTorch's layers begin.
fn fresh<T: Float>(shape: &[usize], fan: usize) -> Tensor<T> {
    let bound = if fan > 0 { 1.0 / (fan as f64).sqrt() } else { 0.0 };
    let t = Tensor::zeros(shape);
    init::uniform_(&t, -bound, bound).expect("a new tensor can be written");
    parameter(&t)
}

fn each_of<T: Float>(weight: &Tensor<T>, bias: &Option<Tensor<T>>, visit: &mut dyn FnMut(&str, &Tensor<T>)) {
    visit("weight", weight);
    if let Some(b) = bias {
        visit("bias", b);
    }
}

/// x·Wᵀ + b for x `[.., in]`.
///
/// ```
/// use autograd_runtime::{Tensor, nn::{Linear, Module}};
/// let layer = Linear::<f32>::new(3, 2);
/// assert_eq!(layer.forward(&Tensor::ones([5, 3])).shape(), [5, 2]);
/// assert_eq!((layer.weight.shape(), layer.bias.as_ref().unwrap().shape()), (&[2, 3][..], &[2][..]));
/// ```
#[derive(Debug)]
pub struct Linear<T: Float> {
    /// W, `[out, in]`.
    pub weight: Tensor<T>,
    /// b, `[out]`.
    pub bias: Option<Tensor<T>>,
}
impl<T: Float> Linear<T> {
    /// Weight and bias uniform within ±1/√in, from this thread's generator.
    pub fn new(inputs: usize, outputs: usize) -> Self {
        Linear { bias: Some(fresh(&[outputs], inputs)), ..Linear::without_bias(inputs, outputs) }
    }
    /// As [`Linear::new`] without b.
    pub fn without_bias(inputs: usize, outputs: usize) -> Self {
        Linear { weight: fresh(&[outputs, inputs], inputs), bias: None }
    }
}
impl<T: Float> Module<T> for Linear<T> {
    #[track_caller]
    fn forward(&self, x: &Tensor<T>) -> Tensor<T> {
        let y = x.matmul(&self.weight.t());
        if let Some(b) = &self.bias { y + b } else { y }
    }
    fn each_parameter(&self, visit: &mut dyn FnMut(&str, &Tensor<T>)) {
        each_of(&self.weight, &self.bias, visit);
    }
}

/// [`Tensor::conv2d`] with weight and bias as parameters.
///
/// ```
/// use autograd_runtime::{ConvOptions, Tensor, nn::{Conv2d, Module}};
/// let layer = Conv2d::<f32>::new(3, 8, 3, ConvOptions::new().padding(1))?;
/// assert_eq!(layer.forward(&Tensor::ones([2, 3, 5, 5])).shape(), [2, 8, 5, 5]);
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
#[derive(Debug)]
pub struct Conv2d<T: Float> {
    /// `[out, in/groups, kh, kw]`.
    pub weight: Tensor<T>,
    /// `[out]`.
    pub bias: Option<Tensor<T>>,
    /// Stride, padding, dilation, groups.
    pub options: ConvOptions<2>,
}
impl<T: Float> Conv2d<T> {
    /// Weight and bias uniform within ±1/√(in/groups·kh·kw), from this thread's generator.
    ///
    /// # Errors
    /// If the channels do not divide into the groups.
    pub fn new(inputs: usize, outputs: usize, kernel: impl Into<Extents<2>>, options: ConvOptions<2>) -> Result<Self> {
        let layer = Conv2d::without_bias(inputs, outputs, kernel, options)?;
        let fan = layer.weight.shape()[1..].iter().product();
        Ok(Conv2d { bias: Some(fresh(&[outputs], fan)), ..layer })
    }
    /// As [`Conv2d::new`] without bias.
    ///
    /// # Errors
    /// As [`Conv2d::new`].
    pub fn without_bias(
        inputs: usize,
        outputs: usize,
        kernel: impl Into<Extents<2>>,
        options: ConvOptions<2>,
    ) -> Result<Self> {
        let (Extents([h, w]), groups) = (kernel.into(), options.groups);
        if groups == 0 || !inputs.is_multiple_of(groups) || !outputs.is_multiple_of(groups) {
            let want = format!("expected channels that divide into {groups} groups");
            return Err(Error::value("Conv2d", format!("{want}, found {inputs} and {outputs}")));
        }
        let per = inputs / groups;
        Ok(Conv2d { weight: fresh(&[outputs, per, h, w], per * h * w), bias: None, options })
    }
}
impl<T: Float> Module<T> for Conv2d<T> {
    #[track_caller]
    fn forward(&self, x: &Tensor<T>) -> Tensor<T> {
        x.conv2d(&self.weight, self.bias.as_ref(), &self.options)
    }
    fn each_parameter(&self, visit: &mut dyn FnMut(&str, &Tensor<T>)) {
        each_of(&self.weight, &self.bias, visit);
    }
}

/// A layer that is a method of tensors.
macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident = $method:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $name;
        impl<T: Float> Module<T> for $name {
            #[track_caller]
            fn forward(&self, x: &Tensor<T>) -> Tensor<T> { x.$method() }
        }
    )*};
}
functions! {
    /// max(x, 0)
    Relu = relu;
    /// The hyperbolic tangent.
    Tanh = tanh;
    /// 1/(1 + e⁻ˣ)
    Sigmoid = sigmoid;
    /// x·Φ(x), Φ the normal distribution function.
    Gelu = gelu;
}

/// [`Tensor::max_pool2d`] as a layer.
///
/// ```
/// use autograd_runtime::{PoolOptions, Tensor, nn::{Flatten, MaxPool2d, Module, Sequential}};
/// let net = Sequential::new().add(MaxPool2d(PoolOptions::new(2))).add(Flatten);
/// assert_eq!(net.forward(&Tensor::<f32>::ones([2, 3, 4, 4])).shape(), [2, 12]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MaxPool2d(pub PoolOptions<2>);
impl<T: Float> Module<T> for MaxPool2d {
    #[track_caller]
    fn forward(&self, x: &Tensor<T>) -> Tensor<T> {
        x.max_pool2d(self.0)
    }
}
/// [`Tensor::avg_pool2d`] as a layer.
#[derive(Clone, Copy, Debug)]
pub struct AvgPool2d(pub PoolOptions<2>);
impl<T: Float> Module<T> for AvgPool2d {
    #[track_caller]
    fn forward(&self, x: &Tensor<T>) -> Tensor<T> {
        x.avg_pool2d(self.0)
    }
}

/// [`Tensor::dropout`] while training, nothing in evaluation.
///
/// ```
/// use autograd_runtime::{Tensor, nn::{Dropout, Module}};
/// let (layer, x) = (Dropout::new(0.5), Tensor::<f32>::ones([64]));
/// assert!(layer.forward(&x).to_vec().contains(&0.0));
/// Module::<f32>::eval(&layer);
/// assert_eq!(layer.forward(&x).to_vec(), x.to_vec());
/// ```
#[derive(Debug)]
pub struct Dropout {
    /// The probability of zeros.
    pub p: f64,
    training: AtomicBool,
}
impl Dropout {
    /// Zeros with probability `p`, in training. The forward fails unless `p` is in 0..=1.
    pub fn new(p: f64) -> Self {
        Dropout { p, training: AtomicBool::new(true) }
    }
}
impl<T: Float> Module<T> for Dropout {
    #[track_caller]
    fn forward(&self, x: &Tensor<T>) -> Tensor<T> {
        x.dropout(self.p, self.training.load(Ordering::Relaxed))
    }
    fn set_training(&self, on: bool) {
        self.training.store(on, Ordering::Relaxed);
    }
}

/// `[n, ..]` as `[n, elements]`: the axes after the first become one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flatten;
impl<T: Float> Module<T> for Flatten {
    #[track_caller]
    fn forward(&self, x: &Tensor<T>) -> Tensor<T> {
        let shape = x.shape();
        let rest: usize = shape.iter().skip(1).product();
        x.reshape(&[shape.first().map_or(1, |&n| n as i64), rest as i64])
    }
}
