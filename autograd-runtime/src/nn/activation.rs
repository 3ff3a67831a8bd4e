//! Layers without parameters: activation functions and dropout.

use super::{Module, Training};
use crate::{Float, Tensor};

/// A layer that is a method of tensors.
macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident = $method:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub struct $name;
        impl<T: Float> Module<T> for $name {
            #[track_caller]
            fn forward(&self, x: &Tensor<T>) -> Tensor<T> { x.$method() }
        }
    )*};
}
functions! {
    /// x
    Identity = clone;
    /// max(x, 0)
    Relu = relu;
    /// The hyperbolic tangent.
    Tanh = tanh;
    /// 1/(1 + e⁻ˣ)
    Sigmoid = sigmoid;
    /// x·Φ(x), Φ the normal distribution function.
    Gelu = gelu;
    /// [`Tensor::gelu_tanh`], the approximation of [`Gelu`].
    GeluTanh = gelu_tanh;
    /// x·σ(x)
    ///
    /// ```
    /// use autograd_runtime::{Tensor, nn::{Module, Silu}};
    /// assert_eq!(Silu.forward(&Tensor::scalar(0.0f64)).item(), 0.0);
    /// ```
    Silu = silu;
    /// x·tanh(ln(1 + eˣ))
    Mish = mish;
    /// ln σ(x)
    LogSigmoid = log_sigmoid;
    /// x/(1 + |x|)
    Softsign = softsign;
}

/// A layer that is a method of tensors with numbers.
macro_rules! tuned {
    ($($(#[$doc:meta])* $name:ident($($type:ty),+) = |$x:ident, $s:ident| $body:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct $name($(pub $type),+);
        impl<T: Float> Module<T> for $name {
            #[track_caller]
            fn forward(&self, $x: &Tensor<T>) -> Tensor<T> {
                let $s = self;
                $body
            }
        }
    )*};
}
tuned! {
    /// x above 0, slope·x below; 0.01 by default.
    ///
    /// ```
    /// use autograd_runtime::{Tensor, nn::{LeakyRelu, Module}};
    /// let x = Tensor::from_vec(vec![-100.0f64, 2.0], [2]);
    /// assert_eq!(LeakyRelu::default().forward(&x).to_vec(), [-1.0, 2.0]);
    /// ```
    LeakyRelu(f64) = |x, s| x.leaky_relu(s.0);
    /// x above 0, α·(eˣ − 1) below; α is 1 by default.
    Elu(f64) = |x, s| x.elu(s.0);
    /// [`Tensor::softplus_with`] a β and a threshold; 1 and 20 by default.
    ///
    /// ```
    /// use autograd_runtime::{Tensor, nn::{Module, Softplus}};
    /// let x = Tensor::from_vec(vec![0.0f64, 50.0], [2]);
    /// assert_eq!(Softplus(2.0, 20.0).forward(&x).to_vec(), [2f64.ln() / 2.0, 50.0]);
    /// ```
    Softplus(f64, f64) = |x, s| x.softplus_with(s.0, s.1);
    /// [`Tensor::softmax`] along an axis, which may count from the end.
    ///
    /// ```
    /// use autograd_runtime::{Tensor, nn::{Module, Softmax}};
    /// assert_eq!(Softmax(-1).forward(&Tensor::<f32>::zeros([3, 4])).to_vec(), [0.25; 12]);
    /// ```
    Softmax(i64) = |x, s| x.softmax(s.0);
    /// [`Tensor::log_softmax`] along an axis, which may count from the end.
    LogSoftmax(i64) = |x, s| x.log_softmax(s.0);
}
impl Default for LeakyRelu {
    fn default() -> Self {
        LeakyRelu(0.01)
    }
}
impl Default for Elu {
    fn default() -> Self {
        Elu(1.0)
    }
}
impl Default for Softplus {
    fn default() -> Self {
        Softplus(1.0, 20.0)
    }
}

/// [`Tensor::dropout`] while training, nothing in evaluation. From Srivastava, Hinton, Krizhevsky, Sutskever and
/// Salakhutdinov, Dropout: a simple way to prevent neural networks from overfitting (2014).
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
    pub(super) training: Training,
}
impl Dropout {
    /// Zeros with probability `p`, in training. The forward fails unless `p` is in 0..=1.
    pub fn new(p: f64) -> Self {
        Dropout { p, training: Training::default() }
    }
}
impl<T: Float> Module<T> for Dropout {
    #[track_caller]
    fn forward(&self, x: &Tensor<T>) -> Tensor<T> {
        x.dropout(self.p, self.training.is_on())
    }
    fn set_training(&self, on: bool) {
        self.training.set(on);
    }
}
