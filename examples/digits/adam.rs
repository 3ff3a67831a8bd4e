//! Adam (Kingma and Ba, 2015) over slices: one pass over each parameter.

use crate::model::Mlp;
use autograd::Error;

const RATE: f32 = 1e-3;
const BETA1: f32 = 0.9;
const BETA2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// What Adam remembers of one parameter.
struct Moments {
    mean: Vec<f32>,
    square: Vec<f32>,
}

/// The optimiser's state.
pub struct Adam {
    moments: Vec<Moments>,
    steps: i32,
}

impl Adam {
    /// Starts with moments of zero.
    pub fn new(net: &Mlp) -> Adam {
        let moments = net.tensors().map(|t| {
            let zeros = vec![0.0; t.numel()];
            Moments { mean: zeros.clone(), square: zeros }
        });
        Adam { moments: moments.collect(), steps: 0 }
    }

    /// One step against the gradient, in place.
    pub fn step(&mut self, net: &Mlp, gradient: &Mlp) -> Result<(), Error> {
        self.steps += 1;
        // both corrections of the moments' start at zero, folded into the rate and into epsilon
        let unbias = (1.0 - BETA2.powi(self.steps)).sqrt();
        let (rate, epsilon) = (RATE * unbias / (1.0 - BETA1.powi(self.steps)), EPSILON * unbias);
        for ((parameter, g), m) in net.tensors().zip(gradient.tensors()).zip(&mut self.moments) {
            g.with_data(|g| parameter.update(|x| m.update(x, g, rate, epsilon)))?;
        }
        Ok(())
    }
}

impl Moments {
    fn update(&mut self, x: &mut [f32], gradient: &[f32], rate: f32, epsilon: f32) {
        let state = x.iter_mut().zip(&mut self.mean).zip(&mut self.square);
        for (((x, mean), square), &g) in state.zip(gradient) {
            *mean = BETA1 * *mean + (1.0 - BETA1) * g;
            *square = BETA2 * *square + (1.0 - BETA2) * g * g;
            *x -= rate * *mean / (square.sqrt() + epsilon);
        }
    }
}
