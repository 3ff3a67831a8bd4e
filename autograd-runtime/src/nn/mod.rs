//! Neural networks of the dynamic engine, under PyTorch's names: modules own parameters, which are ordinary
//! leaves of the tape.
//!
//! * this file: [`Module`], [`parameter`];
//! * `layers`: [`Linear`], [`Conv2d`], activations, pooling, [`Dropout`], [`Flatten`];
//! * `sequential`: [`Sequential`];
//! * [`init`]: how parameters begin.
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

pub mod init;
mod layers;
mod sequential;

pub use layers::{AvgPool2d, Conv2d, Dropout, Flatten, Gelu, Linear, MaxPool2d, Relu, Sigmoid, Tanh};
pub use sequential::Sequential;

use crate::{Float, Result, Tensor};

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
/// layer may be assigned at any time.
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
