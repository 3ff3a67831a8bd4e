//! Recurrent layers against their formulas, written out element by element.

use crate::{close, message, numbers, tensor};
use autograd::{
    Float, Tensor, gradcheck,
    nn::{Cell, Gru, GruCell, Lstm, LstmCell, Module, Rnn, RnnActivation, RnnCell, parameter},
};

const IN: usize = 3;
const HIDDEN: usize = 2;

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Row-major weights of a cell with inputs of an extent.
struct Weights {
    ih: Vec<f64>,
    hh: Vec<f64>,
    b_ih: Vec<f64>,
    b_hh: Vec<f64>,
    inputs: usize,
}
impl Weights {
    fn new(gates: usize, inputs: usize, seed: f64) -> Weights {
        let n = gates * HIDDEN;
        let [ih, hh] = [numbers(n * inputs, seed), numbers(n * HIDDEN, seed + 1.0)];
        Weights { ih, hh, b_ih: numbers(n, seed + 2.0), b_hh: numbers(n, seed + 3.0), inputs }
    }
    /// Row `r` of W_ih·x + b_ih.
    fn x(&self, r: usize, x: &[f64]) -> f64 {
        self.b_ih[r] + (0..self.inputs).map(|i| self.ih[r * self.inputs + i] * x[i]).sum::<f64>()
    }
    /// Row `r` of W_hh·h + b_hh.
    fn h(&self, r: usize, h: &[f64]) -> f64 {
        self.b_hh[r] + (0..HIDDEN).map(|i| self.hh[r * HIDDEN + i] * h[i]).sum::<f64>()
    }
    fn both(&self, r: usize, x: &[f64], h: &[f64]) -> f64 {
        self.x(r, x) + self.h(r, h)
    }
}
type Step = fn(&Weights, &[f64], &[f64], &[f64]) -> (Vec<f64>, Vec<f64>);

fn rnn(w: &Weights, x: &[f64], h: &[f64], c: &[f64]) -> (Vec<f64>, Vec<f64>) {
    ((0..HIDDEN).map(|r| w.both(r, x, h).tanh()).collect(), c.to_vec())
}
fn lstm(w: &Weights, x: &[f64], h: &[f64], c: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let gate = |k: usize, r: usize| w.both(k * HIDDEN + r, x, h);
    let c: Vec<f64> =
        (0..HIDDEN).map(|r| sigmoid(gate(1, r)) * c[r] + sigmoid(gate(0, r)) * gate(2, r).tanh()).collect();
    ((0..HIDDEN).map(|r| sigmoid(gate(3, r)) * c[r].tanh()).collect(), c)
}
fn gru(w: &Weights, x: &[f64], h: &[f64], c: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let new = |r: usize| {
        let reset = sigmoid(w.both(r, x, h));
        let update = sigmoid(w.both(HIDDEN + r, x, h));
        let n = (w.x(2 * HIDDEN + r, x) + reset * w.h(2 * HIDDEN + r, h)).tanh();
        (1.0 - update) * n + update * h[r]
    };
    ((0..HIDDEN).map(new).collect(), c.to_vec())
}

/// Sets the parameters of a module in their order to the numbers of cells.
fn set<T: Float>(module: &dyn Module<T>, cells: &[Weights]) {
    let all = cells.iter().flat_map(|w| [&w.ih, &w.hh, &w.b_ih, &w.b_hh]);
    autograd::no_grad(|| {
        for (p, v) in module.parameters().iter().zip(all) {
            p.update(|own| own.iter_mut().zip(v).for_each(|(own, v)| *own = T::of(*v))).unwrap();
        }
    });
}

fn one_step<T: Float, C: Cell<T>>(gates: usize, step: Step, state: impl Fn(Tensor<T>, Tensor<T>) -> C::State)
where
    C::State: Parts<T>,
{
    let (w, cell) = (Weights::new(gates, IN, 0.3), C::cell(IN, HIDDEN, true));
    set(&cell, std::slice::from_ref(&w));
    let names: Vec<String> = cell.named_parameters().into_iter().map(|p| p.0).collect();
    assert_eq!(names, ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]);
    let (x, h, c) = (numbers(2 * IN, 5.0), numbers(2 * HIDDEN, 6.0), numbers(2 * HIDDEN, 7.0));
    let out = cell.step(&tensor(&[2, IN], 5.0), &state(tensor(&[2, HIDDEN], 6.0), tensor(&[2, HIDDEN], 7.0)));
    let want: Vec<(Vec<f64>, Vec<f64>)> =
        (0..2).map(|i| step(&w, &x[i * IN..][..IN], &h[i * HIDDEN..][..HIDDEN], &c[i * HIDDEN..][..HIDDEN])).collect();
    close(out.h(), &want.iter().flat_map(|s| s.0.clone()).collect::<Vec<f64>>());
    if let Some(c) = out.c() {
        close(c, &want.iter().flat_map(|s| s.1.clone()).collect::<Vec<f64>>());
    }
    // from zeros, without a batch
    let zeros = [0.0; HIDDEN];
    close(&cell.forward(&tensor(&[IN], 5.0)), &step(&w, &x[..IN], &zeros, &zeros).0);
    assert_eq!(C::cell(IN, HIDDEN, false).parameters().len(), 2);
    assert!(message(|| cell.forward(&Tensor::ones([2, IN + 1]))).contains("linear: expected"));
}

/// h and c of a state.
trait Parts<T: Float> {
    fn h(&self) -> &Tensor<T>;
    fn c(&self) -> Option<&Tensor<T>> {
        None
    }
}
impl<T: Float> Parts<T> for Tensor<T> {
    fn h(&self) -> &Tensor<T> {
        self
    }
}
impl<T: Float> Parts<T> for (Tensor<T>, Tensor<T>) {
    fn h(&self) -> &Tensor<T> {
        &self.0
    }
    fn c(&self) -> Option<&Tensor<T>> {
        Some(&self.1)
    }
}

fn cells<T: Float>() {
    one_step::<T, RnnCell<T>>(1, rnn, |h, _| h);
    one_step::<T, LstmCell<T>>(4, lstm, |h, c| (h, c));
    one_step::<T, GruCell<T>>(3, gru, |h, _| h);
}

#[test]
fn cells_follow_their_formulas() {
    cells::<f64>();
    cells::<f32>();
    let mut cell = RnnCell::<f64>::new(IN, HIDDEN);
    cell.activation = RnnActivation::Relu;
    let w = Weights::new(1, IN, 0.3);
    set(&cell, std::slice::from_ref(&w));
    let x = numbers(IN, 5.0);
    let want: Vec<f64> = (0..HIDDEN).map(|r| w.both(r, &x, &[0.0; HIDDEN]).max(0.0)).collect();
    close(&cell.forward(&tensor(&[IN], 5.0)), &want);
}

/// Outputs `[length, n, hidden]` and last states of two layers.
fn sequence(w: &[Weights; 2], x: &[f64], len: usize, n: usize, step: Step) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let mut states = vec![vec![(vec![0.0; HIDDEN], vec![0.0; HIDDEN]); n]; 2];
    let mut out = Vec::new();
    for t in 0..len {
        for i in 0..n {
            let mut x = x[(t * n + i) * IN..][..IN].to_vec();
            for (w, states) in w.iter().zip(&mut states) {
                states[i] = step(w, &x, &states[i].0, &states[i].1);
                x = states[i].0.clone();
            }
            out.extend(x);
        }
    }
    let (h, c): (Vec<_>, Vec<_>) = states.into_iter().flatten().unzip();
    (out, h.concat(), c.concat())
}

#[test]
fn layers_run_over_sequences() {
    let x: Tensor<f64> = tensor(&[5, 2, IN], 5.0);
    let data = numbers(5 * 2 * IN, 5.0);
    let w = |gates| [Weights::new(gates, IN, 0.3), Weights::new(gates, HIDDEN, 0.9)];

    let layer = Lstm::new(IN, HIDDEN, 2).unwrap();
    set(&layer, &w(4));
    let names: Vec<String> = layer.named_parameters().into_iter().map(|p| p.0).collect();
    assert_eq!(names[3..6], ["bias_hh_l0", "weight_ih_l1", "weight_hh_l1"]);
    let (y, h, c) = sequence(&w(4), &data, 5, 2, lstm);
    let (out, (last_h, last_c)) = layer.run(&x, None);
    assert_eq!((out.shape(), last_h.shape()), (&[5, 2, HIDDEN][..], &[2, 2, HIDDEN][..]));
    close(&out, &y);
    close(&last_h, &h);
    close(&last_c, &c);
    close(&layer.forward(&x), &y);
    // in two parts, with the state between them
    let (a, state) = layer.run(&x.narrow(0, 0, 2), None);
    let (b, _) = layer.run(&x.narrow(0, 2, 3), Some(&state));
    close(&Tensor::cat(&[&a, &b], 0), &y);
    let layer = layer.batch_first(true);
    close(&layer.forward(&x.transpose(0, 1)).transpose(0, 1), &y);
    // a single sequence
    let (single, (h1, _)) = layer.run(&x.select(1, 1), None);
    close(&single, &out.detach().select(1, 1).to_vec());
    assert_eq!(h1.shape(), [2, HIDDEN]);

    let layer = Gru::new(IN, HIDDEN, 2).unwrap();
    set(&layer, &w(3));
    close(&layer.forward(&x), &sequence(&w(3), &data, 5, 2, gru).0);
    let layer = Rnn::new(IN, HIDDEN, 2).unwrap();
    set(&layer, &w(1));
    close(&layer.forward(&x), &sequence(&w(1), &data, 5, 2, rnn).0);
}

#[test]
fn wrong_sequences_are_errors() {
    let e = Lstm::<f32>::new(3, 2, 0).unwrap_err().to_string();
    assert_eq!(e, "Lstm: expected at least 1 layer, found 0");
    let layer = Gru::<f32>::new(3, 2, 1).unwrap();
    let e = message(|| layer.forward(&Tensor::ones([0, 2, 3])));
    assert!(e.contains("Gru: expected an input [length, n, inputs] or [length, inputs] of at least one step"), "{e}");
    assert!(message(|| layer.forward(&Tensor::ones([3]))).contains("found [3]"));
    let e = message(|| layer.run(&Tensor::ones([4, 5, 3]), Some(&Tensor::ones([1, 4, 2]))));
    assert!(e.contains("Gru: expected a state of shape [1, 5, 2], found [1, 4, 2]"), "{e}");
    assert!(message(|| layer.forward(&Tensor::ones([4, 5, 2]))).contains("linear: expected"));
    assert_eq!(layer.forward(&Tensor::ones([4, 0, 3])).shape(), [4, 0, 2]);
}

#[test]
fn gradients_are_those_of_differences() {
    let p = |shape: &[usize], seed: f64| tensor::<f64>(shape, seed).requires_grad_(true);
    let x = p(&[3, 2, IN], 5.0);
    for gates in [1, 3, 4] {
        let n = gates * HIDDEN;
        let all = [x.clone(), p(&[n, IN], 0.1), p(&[n, HIDDEN], 0.2), p(&[n], 0.3), p(&[n], 0.4)];
        let run = |x: &[Tensor<f64>]| {
            let (ih, hh, b, c) = (x[1].clone(), x[2].clone(), Some(x[3].clone()), Some(x[4].clone()));
            match gates {
                1 => {
                    let activation = RnnActivation::Tanh;
                    let cell = RnnCell { weight_ih: ih, weight_hh: hh, bias_ih: b, bias_hh: c, activation };
                    Rnn { cells: vec![cell], batch_first: false }.forward(&x[0])
                }
                3 => {
                    let cell = GruCell { weight_ih: ih, weight_hh: hh, bias_ih: b, bias_hh: c };
                    Gru { cells: vec![cell], batch_first: false }.forward(&x[0])
                }
                _ => {
                    let cell = LstmCell { weight_ih: ih, weight_hh: hh, bias_ih: b, bias_hh: c };
                    Lstm { cells: vec![cell], batch_first: false }.forward(&x[0])
                }
            }
        };
        gradcheck(run, &all.iter().collect::<Vec<_>>()).unwrap();
    }
    // what is trained is the module's own
    let layer = Lstm::<f64>::new(IN, HIDDEN, 2).unwrap();
    layer.forward(&tensor(&[3, 2, IN], 0.0)).sum().backward().unwrap();
    assert!(layer.parameters().iter().all(|p| p.grad().is_some()));
    assert!(parameter(&x).is_leaf());
}
