//! Activation functions and limits as methods of tensors.

use super::{Scalar, Tensor};
use crate::array::Float;

impl<T: Float> Tensor<T> {
    /// Not below a bound, elementwise: max(x, lo). No gradient flows to elements at the bound or below.
    #[track_caller]
    pub fn clamp_min(&self, lo: impl Scalar<T>) -> Self {
        self.named("ClampMinBackward0", |x| x.clamp(&lo.ex(x.e), &x.lit(f64::INFINITY)))
    }
    /// Not above a bound, elementwise: min(x, hi). No gradient flows to elements at the bound or above.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![-1.0, 3.0], [2]);
    /// assert_eq!((x.clamp_min(0.0).to_vec(), x.clamp_max(2.0).to_vec()), (vec![0.0, 3.0], vec![-1.0, 2.0]));
    /// ```
    #[track_caller]
    pub fn clamp_max(&self, hi: impl Scalar<T>) -> Self {
        self.named("ClampMaxBackward0", |x| x.clamp(&x.lit(f64::NEG_INFINITY), &hi.ex(x.e)))
    }
    /// x·σ(x)
    #[track_caller]
    pub fn silu(&self) -> Self {
        self.named("SiluBackward0", |x| x.silu())
    }
    /// x·Φ(x), Φ the normal distribution function
    #[track_caller]
    pub fn gelu(&self) -> Self {
        self.named("GeluBackward0", |x| x.gelu())
    }
    /// The approximation of [`Tensor::gelu`] by tanh: x·½(1 + tanh(√(2/π)·(x + 0.044715·x³))).
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::scalar(1.0_f64);
    /// assert!((x.gelu_tanh().item() - x.gelu().item()).abs() < 2e-4);
    /// ```
    #[track_caller]
    pub fn gelu_tanh(&self) -> Self {
        self.named("GeluBackward0", |x| x.gelu_tanh())
    }
    /// ln(1 + e^βx)/β, and x where βx is above a threshold; PyTorch's are 1 and 20. [`Tensor::softplus`] is exact and
    /// smooth everywhere.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![0.0, 3.0], [2]);
    /// assert_eq!(x.softplus_with(2.0, 5.0).to_vec(), [2f64.ln() / 2.0, 3.0]);
    /// ```
    #[track_caller]
    pub fn softplus_with(&self, beta: f64, threshold: f64) -> Self {
        self.named("SoftplusBackward0", |x| x.softplus_with(beta, threshold))
    }
    /// x·tanh(ln(1 + eˣ))
    #[track_caller]
    pub fn mish(&self) -> Self {
        self.named("MishBackward0", |x| x.mish())
    }
    /// ln σ(x), exact where σ underflows
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// assert_eq!(Tensor::scalar(-800.0).log_sigmoid().item(), -800.0);
    /// ```
    #[track_caller]
    pub fn log_sigmoid(&self) -> Self {
        self.named("LogSigmoidBackward0", |x| x.log_sigmoid())
    }
    /// x/(1 + |x|)
    #[track_caller]
    pub fn softsign(&self) -> Self {
        self.named("DivBackward0", |x| x.softsign())
    }
    /// x above 0, slope·x below.
    #[track_caller]
    pub fn leaky_relu(&self, slope: f64) -> Self {
        self.named("LeakyReluBackward0", |x| x.leaky_relu(slope))
    }
    /// x above 0, α·(eˣ − 1) below.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![2.0, 0.0, -f64::INFINITY], [3]);
    /// assert_eq!(x.elu(1.5).to_vec(), [2.0, 0.0, -1.5]);
    /// ```
    #[track_caller]
    pub fn elu(&self, alpha: f64) -> Self {
        self.named("EluBackward0", |x| x.elu(alpha))
    }
    /// The remainder of a division towards zero, self − other·trunc(self/other), with the sign of self: Rust's `%` and
    /// PyTorch's `fmod`.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![5.5, -5.5], [2]);
    /// assert_eq!(x.rem(&Tensor::scalar(2.0)).to_vec(), [1.5, -1.5]);
    /// ```
    #[track_caller]
    pub fn rem(&self, o: &Tensor<T>) -> Self {
        self.zip_named("FmodBackward1", o, |a, b| a.rem(&b))
    }
    /// x·ln y, 0 where x is 0.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let (x, y) = (Tensor::from_vec(vec![0.0, 2.0], [2]), Tensor::from_vec(vec![0.0, 1.0], [2]));
    /// assert_eq!(x.xlogy(&y).to_vec(), [0.0, 0.0]);
    /// ```
    #[track_caller]
    pub fn xlogy(&self, y: &Tensor<T>) -> Self {
        self.zip_named("XlogyBackward0", y, |a, b| a.xlogy(&b))
    }
    /// The n-th derivative of [`Tensor::digamma`], which is that for n = 0. An order above 100 is an error.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let basel = Tensor::scalar(1.0).polygamma(1).item();
    /// assert!((basel - std::f64::consts::PI.powi(2) / 6.0).abs() < 1e-15);
    /// ```
    #[track_caller]
    pub fn polygamma(&self, n: u32) -> Self {
        let order = i32::try_from(n).unwrap_or(i32::MAX);
        self.named("PolygammaBackward0", |x| if n == 0 { x.digamma() } else { x.polygamma(order) })
    }
}
