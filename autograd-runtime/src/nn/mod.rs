//! Neural networks of the dynamic engine, under PyTorch's names: modules own parameters, which are ordinary
//! leaves of the tape, and buffers, which are not trained.
//!
//! * this file: [`Module`], [`Buffer`], [`parameter`]; `state`: what a module saves, and loads again;
//! * layers by family: `linear` ([`Linear`], [`Embedding`], [`Flatten`]), `conv` ([`Conv1d`], [`Conv2d`], pooling),
//!   `norm` ([`BatchNorm1d`], [`BatchNorm2d`], [`LayerNorm`], [`GroupNorm`]), `recurrent` ([`RnnCell`], [`LstmCell`],
//!   [`GruCell`] and whole sequences of them), `attention` ([`MultiheadAttention`]), `activation` (functions,
//!   [`Dropout`]);
//! * `sequential`: [`Sequential`];
//! * `args`: layers as parameters of annotated functions, and as fields of those;
//! * [`init`]: how parameters begin.
//!
//! Layers are plain functions over tensors, so annotated functions call them like any others.
//!
//! ```
//! use autograd_runtime::{Tensor, manual_seed, nn::{Dropout, Linear, Module, Relu, Sequential}, no_grad};
//! manual_seed(0);
//! let net = Sequential::new().add(Linear::new(2, 8)).add(Relu).add(Dropout::new(0.1)).add(Linear::new(8, 1));
//! let (x, y) = (Tensor::<f32>::rand([16, 2]), Tensor::ones([16, 1]));
//! let first = net.forward(&x).mse_loss(&y).item();
//! for _ in 0..50 {
//!     net.zero_grad();
//!     net.forward(&x).mse_loss(&y).backward()?;
//!     for p in net.parameters() {
//!         let g = p.grad().unwrap().to_vec();
//!         no_grad(|| p.update(|w| w.iter_mut().zip(&g).for_each(|(w, g)| *w -= 0.05 * g)))?;
//!     }
//! }
//! net.eval();
//! assert!(net.forward(&x).mse_loss(&y).item() < first / 2.0);
//! # Ok::<(), autograd_runtime::Error>(())
//! ```

mod activation;
mod args;
mod attention;
mod conv;
pub mod init;
mod linear;
mod norm;
mod recurrent;
mod sequential;
mod state;

pub use activation::{
    Dropout, Elu, Gelu, GeluTanh, Identity, LeakyRelu, LogSigmoid, LogSoftmax, Mish, Relu, Sigmoid, Silu, Softmax,
    Softplus, Softsign, Tanh,
};
pub use attention::{AttentionMask, MultiheadAttention};
pub use conv::{AvgPool2d, Conv, Conv1d, Conv2d, MaxPool2d};
pub use linear::{Embedding, Flatten, Linear};
pub use norm::{BatchNorm, BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm};
pub use recurrent::{Cell, CellState, Gru, GruCell, Lstm, LstmCell, Recurrent, Rnn, RnnActivation, RnnCell};
pub use sequential::Sequential;

use crate::{Float, Result, StateDict, Tensor};
use std::sync::atomic::{AtomicBool, Ordering};

/// A new parameter, uniform within ±1/√fan, as PyTorch's layers begin.
fn fresh<T: Float>(shape: &[usize], fan: usize) -> Tensor<T> {
    let bound = if fan > 0 { 1.0 / (fan as f64).sqrt() } else { 0.0 };
    let t = Tensor::zeros(shape);
    init::uniform_(&t, -bound, bound).expect("a new tensor can be written");
    parameter(&t)
}

/// The parameters of a layer that has at most a weight and a bias.
fn affine<T: Float>(weight: Option<&Tensor<T>>, bias: Option<&Tensor<T>>, visit: &mut dyn FnMut(&str, &Tensor<T>)) {
    weight.into_iter().for_each(|w| visit("weight", w));
    bias.into_iter().for_each(|b| visit("bias", b));
}

/// Whether a layer trains, which it begins with.
#[derive(Debug)]
struct Training(AtomicBool);
impl Default for Training {
    fn default() -> Self {
        Training(AtomicBool::new(true))
    }
}
impl Clone for Training {
    fn clone(&self) -> Self {
        Training(AtomicBool::new(self.is_on()))
    }
}
impl Training {
    fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
    fn set(&self, on: bool) {
        self.0.store(on, Ordering::Relaxed);
    }
}

/// A tensor that a module keeps and saves, but that is not trained. It is the module's own: what is written to it, the
/// module sees.
#[derive(Clone, Debug)]
pub enum Buffer<T: Float> {
    /// Of the module's floats.
    Float(Tensor<T>),
    /// Of integers.
    Int(Tensor<i64>),
}
impl<T: Float> From<&Tensor<T>> for Buffer<T> {
    fn from(t: &Tensor<T>) -> Self {
        Buffer::Float(t.clone())
    }
}
impl<T: Float> From<&Tensor<i64>> for Buffer<T> {
    fn from(t: &Tensor<i64>) -> Self {
        Buffer::Int(t.clone())
    }
}

/// A tensor as a parameter of a module: a leaf that shares its elements and tracks gradients.
///
/// ```
/// use autograd_runtime::{Tensor, nn::parameter};
/// let plain = Tensor::<f32>::zeros([3]);
/// let p = parameter(&plain);
/// assert!(p.requires_grad() && p.is_leaf() && !plain.requires_grad());
/// ```
#[track_caller]
pub fn parameter<T: Float>(tensor: &Tensor<T>) -> Tensor<T> {
    tensor.detach().requires_grad_(true)
}

/// A function of tensors with parameters, perhaps made of other modules.
///
/// A module of one's own names its parts; the rest follows from them. Parts are fields like any other: another
/// layer may be assigned at any time. What takes more than one tensor, as a cell or attention, has a method for that
/// beside `forward`.
///
/// ```
/// use autograd_runtime::{Float, Tensor, nn::{Linear, Module, parameter}};
/// struct Scaled<T: Float> {
///     linear: Linear<T>,
///     scale: Tensor<T>,
/// }
/// impl<T: Float> Module<T> for Scaled<T> {
///     fn forward(&self, x: &Tensor<T>) -> Tensor<T> {
///         self.linear.forward(x).tanh() * &self.scale
///     }
///     fn each_parameter(&self, visit: &mut dyn FnMut(&str, &Tensor<T>)) {
///         visit("scale", &self.scale);
///     }
///     fn each_child(&self, visit: &mut dyn FnMut(&str, &dyn Module<T>)) {
///         visit("linear", &self.linear);
///     }
/// }
/// let net = Scaled { linear: Linear::<f64>::new(3, 2), scale: parameter(&Tensor::ones([2])) };
/// let names: Vec<String> = net.named_parameters().into_iter().map(|p| p.0).collect();
/// assert_eq!(names, ["scale", "linear.weight", "linear.bias"]);
/// ```
pub trait Module<T: Float>: Send + Sync {
    /// The result for an input. Panics (or fails the running entry point) where its operations do.
    fn forward(&self, input: &Tensor<T>) -> Tensor<T>;
    /// Calls `visit` with the name and value of each parameter of this module itself.
    fn each_parameter(&self, _visit: &mut dyn FnMut(&str, &Tensor<T>)) {}
    /// Calls `visit` with the name and value of each buffer of this module itself.
    fn each_buffer(&self, _visit: &mut dyn FnMut(&str, Buffer<T>)) {}
    /// Calls `visit` with the name of each part and the part.
    fn each_child(&self, _visit: &mut dyn FnMut(&str, &dyn Module<T>)) {}
    /// Tells the module itself, not its parts, whether it trains: for layers that behave in two ways.
    fn set_training(&self, _on: bool) {}

    /// All parameters with their paths, `"0.weight"`; one that several parts share comes once. The tensors
    /// are the module's own: what is written to them, or to their gradients, the module sees.
    fn named_parameters(&self) -> Vec<(String, Tensor<T>)> {
        let mut all: Vec<(String, Tensor<T>)> = Vec::new();
        let mut add = |name: String, p: &Tensor<T>| {
            if !all.iter().any(|(_, known)| known.value().same(p.value())) {
                all.push((name, p.clone()));
            }
        };
        self.each_parameter(&mut |name, p| add(name.to_owned(), p));
        self.each_child(&mut |name, child| {
            child.named_parameters().iter().for_each(|(path, p)| add(format!("{name}.{path}"), p));
        });
        all
    }
    /// All parameters, as in [`Module::named_parameters`].
    fn parameters(&self) -> Vec<Tensor<T>> {
        self.named_parameters().into_iter().map(|p| p.1).collect()
    }
    /// All buffers with their paths, `"1.running_mean"`.
    ///
    /// ```
    /// use autograd_runtime::nn::{BatchNorm1d, Module, Relu, Sequential};
    /// let net = Sequential::<f32>::new().add(Relu).add(BatchNorm1d::new(4));
    /// let names: Vec<String> = net.named_buffers().into_iter().map(|b| b.0).collect();
    /// assert_eq!(names, ["1.running_mean", "1.running_var", "1.num_batches_tracked"]);
    /// ```
    fn named_buffers(&self) -> Vec<(String, Buffer<T>)> {
        let mut all = Vec::new();
        self.each_buffer(&mut |name, b| all.push((name.to_owned(), b)));
        self.each_child(&mut |name, child| {
            all.extend(child.named_buffers().into_iter().map(|(path, b)| (format!("{name}.{path}"), b)));
        });
        all
    }
    /// Copies of all parameters and buffers under their paths, a shared one under each of its paths: what
    /// [`StateDict::save`] writes to a safetensors file and [`StateDict::save_npz`] to one of NumPy's.
    ///
    /// ```
    /// use autograd_runtime::{Tensor, nn::{Linear, Module, Sequential, Tanh}};
    /// let net = || Sequential::<f32>::new().add(Linear::new(2, 3)).add(Tanh).add(Linear::new(3, 1));
    /// let (trained, fresh) = (net(), net());
    /// fresh.load_state_dict(&trained.state_dict())?;
    /// let x = Tensor::ones([1, 2]);
    /// assert_eq!(fresh.forward(&x).item(), trained.forward(&x).item());
    /// # Ok::<(), autograd_runtime::Error>(())
    /// ```
    fn state_dict(&self) -> StateDict {
        state::save(self)
    }
    /// Copies a state into the parameters and buffers, which stay the tensors that they are.
    ///
    /// # Errors
    /// If the tensors of the state and the module differ in names, shapes or element types; the message names all that
    /// are missing, unexpected or different. Nothing is changed then.
    fn load_state_dict(&self, state: &StateDict) -> Result<()> {
        state::load(self, state)
    }
    /// Switches all parts to training (which modules start in), or to evaluation.
    fn train(&self, on: bool) {
        self.set_training(on);
        self.each_child(&mut |_, child| child.train(on));
    }
    /// Switches all parts to evaluation.
    fn eval(&self) {
        self.train(false);
    }
    /// Clears the gradients of all parameters.
    fn zero_grad(&self) {
        for p in self.parameters() {
            p.set_grad(None).expect("no gradient always fits");
        }
    }
    /// Tracks all parameters, or none: freezes the module.
    ///
    /// # Errors
    /// If a parameter is the result of a tracked operation.
    fn requires_grad_(&self, on: bool) -> Result<()> {
        self.parameters().iter().try_for_each(|p| p.set_requires_grad(on))
    }
}
