//! Modules one after the other.

use super::Module;
use crate::{Error, Float, Result, Tensor};

/// Modules that are applied one after the other, named by their places: `"0"`, `"1"`, …
///
/// ```
/// use autograd_runtime::{Tensor, nn::{Linear, Module, Sequential, Tanh}};
/// let mut net = Sequential::<f32>::new().add(Linear::new(4, 3)).add(Tanh).add(Linear::new(3, 10));
/// net.requires_grad_(false)?;
/// assert!(!net.forward(&Tensor::ones([1, 4])).requires_grad());
/// net.replace(2, Linear::new(3, 100))?;
/// let y = net.forward(&Tensor::ones([1, 4]));
/// assert!(y.requires_grad() && y.shape() == [1, 100]);
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
#[derive(Default)]
pub struct Sequential<T: Float> {
    layers: Vec<Box<dyn Module<T>>>,
}
impl<T: Float> Sequential<T> {
    /// None yet: the identity.
    pub fn new() -> Self {
        Sequential { layers: Vec::new() }
    }
    /// With another module at the end.
    #[must_use]
    #[allow(clippy::should_implement_trait)] // nothing is summed
    pub fn add(mut self, layer: impl Module<T> + 'static) -> Self {
        self.layers.push(Box::new(layer));
        self
    }
    /// How many there are.
    pub fn len(&self) -> usize {
        self.layers.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
    /// Module `i`.
    pub fn get(&self, i: usize) -> Option<&dyn Module<T>> {
        self.layers.get(i).map(|l| &**l)
    }
    /// Puts another module in the place of module `i`, which it gives back.
    ///
    /// # Errors
    /// If there is no such module.
    pub fn replace(&mut self, i: usize, layer: impl Module<T> + 'static) -> Result<Box<dyn Module<T>>> {
        let n = self.len();
        let place = self.layers.get_mut(i);
        let place =
            place.ok_or_else(|| Error::value("Sequential", format!("expected a place below {n}, found {i}")))?;
        Ok(std::mem::replace(place, Box::new(layer)))
    }
}
impl<T: Float> Module<T> for Sequential<T> {
    #[track_caller]
    fn forward(&self, input: &Tensor<T>) -> Tensor<T> {
        let mut x = input.clone();
        for layer in &self.layers {
            x = layer.forward(&x);
        }
        x
    }
    fn each_child(&self, visit: &mut dyn FnMut(&str, &dyn Module<T>)) {
        self.layers.iter().enumerate().for_each(|(i, layer)| visit(&i.to_string(), &**layer));
    }
}
