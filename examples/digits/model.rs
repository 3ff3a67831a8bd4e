//! The classifier and its loss: 64-64-32-10, ReLU, cross-entropy.

use autograd::prelude::*;

/// Pixels of an image, 8 × 8.
pub const PIXELS: usize = 64;
/// Kinds of digits.
pub const CLASSES: usize = 10;

/// A fully connected layer.
#[derive(Differentiable)]
pub struct Linear {
    /// `[inputs, outputs]`
    pub weight: Tensor<f32>,
    /// `[outputs]`
    pub bias: Tensor<f32>,
}

/// Layers with a ReLU between them.
#[derive(Differentiable)]
pub struct Mlp {
    /// In order.
    pub layers: [Linear; 3],
}

impl Linear {
    /// Uniform on ±1/√inputs, as `torch.nn.Linear` starts.
    fn new(inputs: usize, outputs: usize, rng: &mut fastrand::Rng) -> Linear {
        let bound = 1.0 / (inputs as f32).sqrt();
        let mut uniform = |n: usize| (0..n).map(|_| bound * (2.0 * rng.f32() - 1.0)).collect();
        Linear {
            weight: Tensor::from_vec(uniform(inputs * outputs), [inputs, outputs]),
            bias: Tensor::from_vec(uniform(outputs), [outputs]),
        }
    }
}

impl Mlp {
    /// The network before training.
    pub fn new(rng: &mut fastrand::Rng) -> Mlp {
        Mlp { layers: [Linear::new(PIXELS, 64, rng), Linear::new(64, 32, rng), Linear::new(32, CLASSES, rng)] }
    }

    /// Zeros in the network's form: buffers for its gradient.
    pub fn zeros_like(&self) -> Mlp {
        let zeros = |t: &Tensor<f32>| Tensor::zeros(t.shape());
        Mlp { layers: self.layers.each_ref().map(|l| Linear { weight: zeros(&l.weight), bias: zeros(&l.bias) }) }
    }

    /// All parameters.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor<f32>> {
        self.layers.iter().flat_map(|l| [&l.weight, &l.bias])
    }
}

/// The scores of each class, `[n, 10]`.
#[differentiable]
pub fn logits(net: &Mlp, x: &Tensor<f32>) -> Tensor<f32> {
    let [first, second, last] = &net.layers;
    let x = (x.matmul(&first.weight) + &first.bias).relu();
    let x = (x.matmul(&second.weight) + &second.bias).relu();
    x.matmul(&last.weight) + &last.bias
}

/// The mean cross-entropy over a batch. The pixels are differentiable too; only the network is asked for.
#[differentiable(wrt(net))]
pub fn loss(net: &Mlp, x: &Tensor<f32>, labels: &Tensor<i64>) -> Tensor<f32> {
    logits(net, x).cross_entropy(labels)
}
