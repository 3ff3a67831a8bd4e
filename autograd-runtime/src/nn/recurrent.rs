//! Recurrent layers: cells, which take one step, and layers of cells over whole sequences.
//!
//! The formulas and the order of gates are PyTorch's. The LSTM is from Hochreiter and Schmidhuber, Long short-term
//! memory (1997), the GRU from Cho et al., Learning phrase representations using RNN encoder-decoder (2014), with the
//! reset gate after the product, as cuDNN has it.

use super::{Module, fresh};
use crate::{Error, Float, Result, Tensor, tensor_report as report};

/// What a cell takes from step to step: h, or h and c.
pub trait CellState<T: Float>: Clone {
    /// All zeros, of a shape.
    fn zeros(shape: &[usize]) -> Self;
    /// h
    fn hidden(&self) -> &Tensor<T>;
    /// That of a layer, of the states of all layers along a leading axis.
    #[doc(hidden)]
    fn layer(&self, k: usize) -> Self;
    /// The states of all layers along a leading axis.
    #[doc(hidden)]
    fn stacked(layers: &[Self]) -> Self;
}
impl<T: Float> CellState<T> for Tensor<T> {
    fn zeros(shape: &[usize]) -> Self {
        Tensor::zeros(shape)
    }
    fn hidden(&self) -> &Tensor<T> {
        self
    }
    #[track_caller]
    fn layer(&self, k: usize) -> Self {
        self.select(0, k as i64)
    }
    #[track_caller]
    fn stacked(layers: &[Self]) -> Self {
        Tensor::stack(&layers.iter().collect::<Vec<_>>(), 0)
    }
}
impl<T: Float> CellState<T> for (Tensor<T>, Tensor<T>) {
    fn zeros(shape: &[usize]) -> Self {
        (Tensor::zeros(shape), Tensor::zeros(shape))
    }
    fn hidden(&self) -> &Tensor<T> {
        &self.0
    }
    #[track_caller]
    fn layer(&self, k: usize) -> Self {
        (self.0.layer(k), self.1.layer(k))
    }
    #[track_caller]
    fn stacked(layers: &[Self]) -> Self {
        let (h, c): (Vec<_>, Vec<_>) = layers.iter().cloned().unzip();
        (Tensor::stacked(&h), Tensor::stacked(&c))
    }
}

/// One step of a recurrent layer: [`RnnCell`], [`LstmCell`], [`GruCell`].
pub trait Cell<T: Float>: Module<T> + Sized {
    /// What goes from step to step.
    type State: CellState<T>;
    /// The name of the layer over sequences.
    #[doc(hidden)]
    const NAME: &'static str;
    /// For inputs `[.., inputs]` and states `[.., hidden]`, with biases or without: all uniform within ±1/√hidden.
    fn cell(inputs: usize, hidden: usize, bias: bool) -> Self;
    /// The extent of h.
    fn hidden(&self) -> usize;
    /// The part of a step that no state enters: x·W_ihᵀ + b_ih.
    #[doc(hidden)]
    fn project(&self, x: &Tensor<T>) -> Tensor<T>;
    /// The rest of a step.
    #[doc(hidden)]
    fn advance(&self, projected: &Tensor<T>, state: &Self::State) -> Self::State;

    /// The state after an input `[n, inputs]`, or one `[inputs]`.
    #[track_caller]
    fn step(&self, x: &Tensor<T>, state: &Self::State) -> Self::State {
        self.advance(&self.project(x), state)
    }
    /// The state before the first input: zeros.
    fn start(&self, x: &Tensor<T>) -> Self::State {
        let mut shape = x.shape().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = self.hidden();
        }
        Self::State::zeros(&shape)
    }
}

/// A cell of so many gates: its fields and what all cells have in common.
macro_rules! cells {
    ($(
        $(#[$doc:meta])* $name:ident, $layer:literal, $gates:literal, $state:ty,
        { $($(#[$field_doc:meta])* $field:ident: $type:ty = $value:expr)? },
        |$s:ident, $x:ident, $h:ident, $state_name:ident| $advance:expr;
    )*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name<T: Float> {
            /// `[gates·hidden, inputs]`
            pub weight_ih: Tensor<T>,
            /// `[gates·hidden, hidden]`
            pub weight_hh: Tensor<T>,
            /// `[gates·hidden]`
            pub bias_ih: Option<Tensor<T>>,
            /// `[gates·hidden]`
            pub bias_hh: Option<Tensor<T>>,
            $($(#[$field_doc])* pub $field: $type,)?
        }
        impl<T: Float> $name<T> {
            /// Weights and biases uniform within ±1/√hidden, from this thread's generator.
            pub fn new(inputs: usize, hidden: usize) -> Self {
                Self::cell(inputs, hidden, true)
            }
            /// As the above without biases.
            pub fn without_bias(inputs: usize, hidden: usize) -> Self {
                Self::cell(inputs, hidden, false)
            }
        }
        impl<T: Float> Module<T> for $name<T> {
            /// h after one step from a state of zeros.
            #[track_caller]
            fn forward(&self, x: &Tensor<T>) -> Tensor<T> {
                self.step(x, &self.start(x)).hidden().clone()
            }
            fn each_parameter(&self, visit: &mut dyn FnMut(&str, &Tensor<T>)) {
                visit("weight_ih", &self.weight_ih);
                visit("weight_hh", &self.weight_hh);
                self.bias_ih.iter().for_each(|b| visit("bias_ih", b));
                self.bias_hh.iter().for_each(|b| visit("bias_hh", b));
            }
        }
        impl<T: Float> Cell<T> for $name<T> {
            type State = $state;
            const NAME: &'static str = $layer;
            fn cell(inputs: usize, hidden: usize, bias: bool) -> Self {
                let gates = $gates * hidden;
                $name {
                    weight_ih: fresh(&[gates, inputs], hidden),
                    weight_hh: fresh(&[gates, hidden], hidden),
                    bias_ih: bias.then(|| fresh(&[gates], hidden)),
                    bias_hh: bias.then(|| fresh(&[gates], hidden)),
                    $($field: $value,)?
                }
            }
            fn hidden(&self) -> usize {
                self.weight_hh.shape().last().copied().unwrap_or(0)
            }
            #[track_caller]
            fn project(&self, x: &Tensor<T>) -> Tensor<T> {
                x.linear(&self.weight_ih, self.bias_ih.as_ref())
            }
            #[track_caller]
            fn advance(&self, $x: &Tensor<T>, $state_name: &$state) -> $state {
                let $s = self;
                let $h = $state_name.hidden().linear(&self.weight_hh, self.bias_hh.as_ref());
                $advance
            }
        }
    )*};
}

/// What an [`RnnCell`] ends with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RnnActivation {
    /// tanh
    #[default]
    Tanh,
    /// max(x, 0)
    Relu,
}

/// One of so many gates, which stand beside one another along the last axis.
#[track_caller]
fn gate<T: Float>(all: &Tensor<T>, k: usize, hidden: usize) -> Tensor<T> {
    all.narrow(-1, k * hidden, hidden)
}

cells! {
    /// h' = tanh(W_ih·x + b_ih + W_hh·h + b_hh)
    ///
    /// ```
    /// use autograd_runtime::{Tensor, nn::{Cell, RnnCell}};
    /// let cell = RnnCell::<f32>::new(3, 5);
    /// let x = Tensor::ones([2, 3]);
    /// let h = cell.step(&x, &cell.step(&x, &Tensor::zeros([2, 5])));
    /// assert_eq!(h.shape(), [2, 5]);
    /// ```
    RnnCell, "Rnn", 1, Tensor<T>, {
        /// tanh, or max(x, 0).
        activation: RnnActivation = RnnActivation::Tanh
    }, |s, x, h, _state| match s.activation {
        RnnActivation::Tanh => (x + h).tanh(),
        RnnActivation::Relu => (x + h).relu(),
    };
    /// Of the sums W_ih·x + b_ih + W_hh·h + b_hh the gates i, f, g and o, in this order;
    /// c' = σ(f)·c + σ(i)·tanh(g) and h' = σ(o)·tanh(c').
    ///
    /// ```
    /// use autograd_runtime::{Tensor, nn::{Cell, LstmCell}};
    /// let cell = LstmCell::<f32>::new(3, 5);
    /// let (h, c) = cell.step(&Tensor::ones([2, 3]), &(Tensor::zeros([2, 5]), Tensor::zeros([2, 5])));
    /// assert_eq!((cell.weight_ih.shape(), h.shape(), c.shape()), (&[20, 3][..], &[2, 5][..], &[2, 5][..]));
    /// ```
    LstmCell, "Lstm", 4, (Tensor<T>, Tensor<T>), {}, |s, x, h, state| {
        let (all, n) = (x + h, s.hidden());
        let [i, f, g, o] = [0, 1, 2, 3].map(|k| gate(&all, k, n));
        let c = f.sigmoid() * &state.1 + i.sigmoid() * g.tanh();
        (o.sigmoid() * c.tanh(), c)
    };
    /// Of x' = W_ih·x + b_ih and h' = W_hh·h + b_hh the gates r = σ(x'ᵣ + h'ᵣ) and z = σ(x'_z + h'_z), and
    /// n = tanh(x'ₙ + r·h'ₙ), in the order r, z, n; the state is (1 − z)·n + z·h.
    ///
    /// ```
    /// use autograd_runtime::{Tensor, nn::{Cell, GruCell}};
    /// let cell = GruCell::<f32>::new(3, 5);
    /// let h = cell.step(&Tensor::ones([2, 3]), &Tensor::zeros([2, 5]));
    /// assert_eq!((cell.weight_hh.shape(), h.shape()), (&[15, 5][..], &[2, 5][..]));
    /// ```
    GruCell, "Gru", 3, Tensor<T>, {}, |s, x, h, state| {
        let n = s.hidden();
        let [r, z] = [0, 1].map(|k| (gate(x, k, n) + gate(&h, k, n)).sigmoid());
        let new = (gate(x, 2, n) + r * gate(&h, 2, n)).tanh();
        &new + z * (state - &new)
    };
}

/// Layers of cells over whole sequences, each over the outputs of the one before: [`Rnn`], [`Lstm`], [`Gru`].
///
/// Inputs are `[length, n, inputs]`, or one sequence `[length, inputs]`, with `batch_first` `[n, length, inputs]`;
/// outputs end in the hidden extent. The parameters are named as PyTorch's, `weight_ih_l0`, … A sequence of no steps panics (or
/// fails the running entry point).
///
/// ```
/// use autograd_runtime::{Tensor, nn::{Lstm, Module}};
/// let layer = Lstm::<f32>::new(3, 5, 2)?.batch_first(true);
/// let (y, (h, c)) = layer.run(&Tensor::ones([4, 7, 3]), None);
/// assert_eq!((y.shape(), h.shape(), c.shape()), (&[4, 7, 5][..], &[2, 4, 5][..], &[2, 4, 5][..]));
/// assert_eq!(y.select(1, -1).to_vec(), h.select(0, -1).to_vec());
/// assert_eq!(layer.named_parameters()[4].0, "weight_ih_l1");
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
#[derive(Debug)]
pub struct Recurrent<C> {
    /// A cell for each layer.
    pub cells: Vec<C>,
    /// Whether the first axis of a batch counts samples, not steps; no.
    pub batch_first: bool,
}
/// Layers of [`RnnCell`]s over sequences.
pub type Rnn<T> = Recurrent<RnnCell<T>>;
/// Layers of [`LstmCell`]s over sequences.
pub type Lstm<T> = Recurrent<LstmCell<T>>;
/// Layers of [`GruCell`]s over sequences.
pub type Gru<T> = Recurrent<GruCell<T>>;

impl<C> Recurrent<C> {
    /// So many layers, uniform within ±1/√hidden.
    ///
    /// # Errors
    /// If there is no layer.
    pub fn new<T: Float>(inputs: usize, hidden: usize, layers: usize) -> Result<Self>
    where
        C: Cell<T>,
    {
        if layers == 0 {
            return Err(Error::value(C::NAME, "expected at least 1 layer, found 0"));
        }
        let cells = (0..layers).map(|k| C::cell(if k == 0 { inputs } else { hidden }, hidden, true));
        Ok(Recurrent { cells: cells.collect(), batch_first: false })
    }
    /// With samples along the first axis of a batch, or steps.
    #[must_use]
    pub fn batch_first(self, on: bool) -> Self {
        Recurrent { batch_first: on, ..self }
    }
    /// The outputs of the last layer at each step, and the states of all layers after the last, `[layers, n, hidden]`
    /// or `[layers, hidden]`; from such states, or zeros.
    #[track_caller]
    pub fn run<T: Float>(&self, x: &Tensor<T>, state: Option<&C::State>) -> (Tensor<T>, C::State)
    where
        C: Cell<T>,
    {
        let turned = self.batch_first && x.ndim() == 3;
        let mut y = if turned { x.transpose(0, 1) } else { x.clone() };
        let hidden = self.cells.first().map_or(0, Cell::hidden);
        let shape = y.shape();
        let wrong = if !(2..=3).contains(&shape.len()) || shape[0] == 0 {
            let want = "an input [length, n, inputs] or [length, inputs] of at least one step";
            Some((want.to_owned(), format!("{shape:?}")))
        } else {
            let want = [&[self.cells.len()], &shape[1..shape.len() - 1], &[hidden]].concat();
            let found = state.map(|s| s.hidden().shape()).filter(|s| *s != want);
            found.map(|found| (format!("a state of shape {want:?}"), format!("{found:?}")))
        };
        if let Some((want, found)) = wrong {
            report(Error::shape(C::NAME, want, found));
            return (x.clone(), C::State::zeros(&[]));
        }
        let mut last = Vec::new();
        for (k, cell) in self.cells.iter().enumerate() {
            let all = cell.project(&y);
            let mut now = state.map_or_else(|| cell.start(&y.select(0, 0)), |s| s.layer(k));
            let mut outputs = Vec::new();
            for x in all.unbind(0) {
                now = cell.advance(&x, &now);
                outputs.push(now.hidden().clone());
            }
            y = Tensor::stack(&outputs.iter().collect::<Vec<_>>(), 0);
            last.push(now);
        }
        (if turned { y.transpose(0, 1) } else { y }, C::State::stacked(&last))
    }
}
impl<T: Float, C: Cell<T>> Module<T> for Recurrent<C> {
    /// The outputs at each step, from a state of zeros.
    #[track_caller]
    fn forward(&self, x: &Tensor<T>) -> Tensor<T> {
        self.run(x, None).0
    }
    fn each_parameter(&self, visit: &mut dyn FnMut(&str, &Tensor<T>)) {
        for (k, cell) in self.cells.iter().enumerate() {
            cell.each_parameter(&mut |name, p| visit(&format!("{name}_l{k}"), p));
        }
    }
}
