//! `#[differentiable]` on `impl` blocks.

use autograd::prelude::*;

#[derive(Clone, Debug, PartialEq, Differentiable)]
struct Linear {
    w: Tensor<f64>,
    b: Tensor<f64>,
}

#[differentiable]
impl Linear {
    /// No parameter has a derivative: it stays as it is.
    fn new(inputs: usize, outputs: usize) -> Linear {
        Linear { w: Tensor::full([inputs, outputs], 0.5), b: Tensor::zeros([outputs]) }
    }
    fn forward(&self, x: &Tensor<f64>) -> Tensor<f64> {
        x.matmul(&self.w) + &self.b
    }
    #[differentiable(wrt(self))]
    pub fn loss(&self, x: &Tensor<f64>, y: &Tensor<f64>) -> Tensor<f64> {
        (self.forward(x) - y).square().mean()
    }
    fn outputs(&self) -> usize {
        self.b.numel()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Differentiable)]
struct Spring {
    stiffness: f64,
    rest: f64,
    #[constant]
    name: char,
}

#[differentiable]
impl Spring {
    const HALF: f64 = 0.5;
    fn energy(&self, x: f64) -> f64 {
        let d = self.stretch(x);
        Self::HALF * self.stiffness * d * d
    }
    fn stretch(self, x: f64) -> f64 {
        Self::difference(x, self.rest)
    }
    fn difference(a: f64, b: f64) -> f64 {
        a - b
    }
    /// The force, from the derivative of the energy.
    #[differentiable(wrt(x))]
    fn force(&self, x: f64) -> f64 {
        let (_, dx) = self.energy_grad(x).unwrap();
        -dx
    }
    fn moved(&self, by: f64) -> Self {
        Self { stiffness: self.stiffness, rest: self.rest + by, name: self.name }
    }
}

#[test]
fn a_model_of_tensors_gives_a_model_as_gradient() -> autograd::Result<()> {
    let model = Linear::new(2, 1);
    assert_eq!(model.outputs(), 1);
    let x = Tensor::from_vec(vec![1.0, 2.0, 3.0, 4.0], [2, 2]);
    let y = Tensor::from_vec(vec![1.0, 2.0], [2, 1]);
    for engine in [Engine::Compiled, Engine::Dynamic] {
        with_engine(engine, || {
            let g: Linear = Linear::loss_grad(&model, &x, &y)?;
            // residuals 0.5 and 1.5
            assert_eq!((g.w.to_vec(), g.b.to_vec()), (vec![5.0, 7.0], vec![2.0]));
            let (value, again) = model.loss_value_and_grad(&x, &y)?;
            assert_eq!((value.item(), again.w.to_vec()), (1.25, g.w.to_vec()));
            let kept = model.loss_compile(&x, &y)?;
            assert_eq!(kept.grad(&model, &x, &y)?.w.to_vec(), g.w.to_vec());
            let (out, pull) = model.forward_vjp(&x)?;
            assert_eq!(out.to_vec(), [1.5, 3.5]);
            let (dm, dx) = pull(&Tensor::ones([2, 1]))?;
            assert_eq!((dm.w.to_vec(), dx.to_vec()), (vec![4.0, 6.0], vec![0.5; 4]));
            autograd::Result::Ok(())
        })?;
    }
    let mut into = Linear::new(2, 1);
    model.loss_grad_into(&x, &y, &mut into)?;
    assert_eq!(into.w.to_vec(), [5.0, 7.0]);
    Ok(())
}

#[test]
fn methods_of_numbers_call_one_another() -> autograd::Result<()> {
    let s = Spring { stiffness: 3.0, rest: 1.0, name: 's' };
    assert_eq!(s.energy(2.0), 1.5);
    for engine in [Engine::Compiled, Engine::Dynamic] {
        with_engine(engine, || {
            let (ds, dx) = Spring::energy_grad(&s, 2.0)?;
            assert_eq!((ds, dx), (Spring { stiffness: 0.5, rest: -3.0, name: 's' }, 3.0));
            assert_eq!(Spring::stretch_grad(s, 2.0)?.1, 1.0);
            assert_eq!(Spring::difference_grad(5.0, 2.0)?, (1.0, -1.0));
            assert_eq!((s.force(2.0), s.force_grad(2.0)?), (-3.0, -3.0));
            let (_, h): (_, (_, f64)) = s.energy_hessian(2.0)?;
            assert_eq!(h.1, 3.0);
            let (moved, pull) = s.moved_vjp(1.0)?;
            assert_eq!((moved.rest, pull(&Spring { stiffness: 0.0, rest: 1.0, name: 's' })?.1), (2.0, 1.0));
            autograd::Result::Ok(())
        })?;
    }
    let e = s.energy_explain(2.0)?.to_string();
    assert!(e.contains("Spring::energy"), "{e}");
    Ok(())
}
