//! Layers in annotated functions: as parameters, as fields of structs that are, with the same numbers in both engines.

use crate::{close, tensor};
use autograd::{
    AttentionOptions, ConvOptions, Float, Padding, manual_seed,
    nn::{
        AttentionMask, BatchNorm1d, Conv1d, Conv2d, Dropout, Embedding, GroupNorm, Gru, GruCell, LayerNorm, Linear,
        Lstm, Module, MultiheadAttention, RnnCell, parameter,
    },
    prelude::*,
};
use std::sync::OnceLock;

/// The parameters of a network: the fields are all that the derivative needs to know.
#[derive(Differentiable)]
#[tensors]
struct Mlp {
    hidden: Linear<f64>,
    out: Linear<f64>,
}
impl Module<f64> for Mlp {
    fn forward(&self, x: &Tensor<f64>) -> Tensor<f64> {
        self.out.forward(&self.hidden.forward(x).tanh())
    }
    fn each_child(&self, visit: &mut dyn FnMut(&str, &dyn Module<f64>)) {
        visit("hidden", &self.hidden);
        visit("out", &self.out);
    }
}

#[differentiable(wrt(net))]
fn loss(net: &Mlp, x: &Tensor<f64>, y: &Tensor<f64>) -> Tensor<f64> {
    net.forward(x).mse_loss(y)
}

fn mlp(seed: u64) -> Mlp {
    manual_seed(seed);
    Mlp { hidden: Linear::new(3, 5), out: Linear::new(5, 2) }
}

/// The gradients of a module as backward gives them.
fn on_the_tape(net: &dyn Module<f64>, loss: impl FnOnce() -> Tensor<f64>) -> (f64, Vec<Vec<f64>>) {
    net.zero_grad();
    let l = loss();
    l.backward().unwrap();
    let grads = net.parameters().iter().map(|p| p.grad().expect("a gradient").to_vec()).collect();
    net.zero_grad();
    (l.item(), grads)
}
#[track_caller]
fn same(found: &dyn Module<f64>, want: &[Vec<f64>]) {
    let found = found.parameters();
    assert_eq!(found.len(), want.len());
    found.iter().zip(want).for_each(|(f, w)| close(f, w));
}

#[test]
fn a_struct_of_layers_is_a_parameter_and_its_gradient() {
    let (net, x, y) = (mlp(1), tensor::<f64>(&[4, 3], 0.0), tensor::<f64>(&[4, 2], 1.0));
    let (value, want) = on_the_tape(&net, || net.forward(&x).mse_loss(&y));
    for engine in [Engine::Compiled, Engine::Dynamic, Engine::Auto] {
        with_engine(engine, || {
            let (l, grad): (Tensor<f64>, Mlp) = loss::value_and_grad(&net, &x, &y).unwrap();
            assert!((l.item() - value).abs() < 1e-12);
            same(&grad, &want);
            assert_eq!(grad.hidden.weight.shape(), [5, 3]);
            // the call has left nothing on the parameters
            assert!(net.parameters().iter().all(|p| p.grad().is_none() && p.requires_grad()));
        });
    }
    let mut out = Mlp { hidden: Linear::new(3, 5), out: Linear::new(5, 2) };
    out.requires_grad_(false).unwrap();
    loss::grad_into(&net, &x, &y, &mut out).unwrap();
    same(&out, &want);
    assert!(loss::check(&net, &x, &y).unwrap().passed());
    // another network of these shapes is other data for one program
    let kept = loss::compile(&net, &x, &y).unwrap();
    let other = mlp(2);
    let (_, want) = on_the_tape(&other, || other.forward(&x).mse_loss(&y));
    same(&kept.grad(&other, &x, &y).unwrap(), &want);
    // without a bias it is another function
    let bare = Mlp { hidden: Linear::without_bias(3, 5), out: Linear::new(5, 2) };
    let (_, want) = on_the_tape(&bare, || bare.forward(&x).mse_loss(&y));
    assert_eq!(want.len(), 3);
    same(&loss::grad(&bare, &x, &y).unwrap(), &want);
}

#[test]
fn training_by_such_gradients_learns() {
    let (net, x) = (mlp(3), tensor::<f64>(&[16, 3], 0.0));
    let y = Tensor::stack(&[&x.select(1, 0), &(x.select(1, 1) * 0.5)], 1);
    let mut adam = autograd::optim::Adam::new(net.parameters(), 0.05);
    let first = loss::value(&net, &x, &y).unwrap().item();
    for _ in 0..200 {
        let grad = with_engine(Engine::Compiled, || loss::grad(&net, &x, &y)).unwrap();
        adam.step_with(grad.parameters()).unwrap();
    }
    assert!(loss::value(&net, &x, &y).unwrap().item() < first / 50.0);
}

/// Fields of tensors, of such structs, and of what is no tensor; the twin has no methods, the fields have.
#[derive(Differentiable)]
struct Mixed {
    mlp: Mlp,
    scale: f64,
    shift: Tensor<f64>,
    #[constant]
    name: String,
}
#[differentiable(wrt(m))]
fn mixed(m: &Mixed, x: &Tensor<f64>) -> Tensor<f64> {
    (m.mlp.forward(x) * m.scale + &m.shift).square().mean()
}

#[test]
fn structs_of_structs_and_scalars() {
    let (net, x) = (mlp(4), tensor::<f64>(&[4, 3], 0.0));
    let shift = parameter(&tensor::<f64>(&[2], 2.0));
    let (_, want) = on_the_tape(&net, || (net.forward(&x) * 1.5 + &shift).square().mean());
    let m = Mixed { mlp: net, scale: 1.5, shift, name: "mixed".into() };
    for engine in [Engine::Compiled, Engine::Dynamic] {
        let grad = with_engine(engine, || mixed::grad(&m, &x)).unwrap();
        same(&grad.mlp, &want);
        assert_eq!((grad.name.as_str(), grad.shift.shape()), ("mixed", &[2][..]));
        let h = 1e-6;
        let at = |scale: f64| {
            let y = (m.mlp.forward(&x) * scale + &m.shift).square().mean();
            y.item()
        };
        assert!((grad.scale - (at(1.5 + h) - at(1.5 - h)) / (2.0 * h)).abs() < 1e-6);
    }
}

/// Layers of a number and a kind that only values tell, over either width of floats.
#[derive(Differentiable)]
#[tensors]
struct Deep<T: Float> {
    layers: Vec<Linear<T>>,
    norm: Option<LayerNorm<T>>,
    pair: (Linear<T>, [Tensor<T>; 2]),
}
impl<T: Float> Deep<T> {
    fn new(norm: bool) -> Deep<T> {
        manual_seed(8);
        Deep {
            layers: (0..3).map(|_| Linear::new(4, 4)).collect(),
            norm: norm.then(|| LayerNorm::new([4])),
            pair: (Linear::without_bias(4, 1), [parameter(&tensor(&[1], 0.1)), parameter(&tensor(&[1], 0.2))]),
        }
    }
    fn run(&self, x: &Tensor<T>) -> Tensor<T> {
        let x = self.layers.iter().fold(x.clone(), |x, layer| layer.forward(&x).tanh());
        let x = self.norm.as_ref().map_or(x.clone(), |norm| norm.forward(&x));
        self.pair.0.forward(&x) * &self.pair.1[0] + &self.pair.1[1]
    }
}
/// An annotated function over a layer, which others call with a field.
#[differentiable(wrt(layer))]
fn squared(layer: &Linear<f64>, x: &Tensor<f64>) -> Tensor<f64> {
    layer.forward(x).square().sum()
}
#[differentiable(wrt(deep))]
fn deep_loss(deep: &Deep<f64>, x: &Tensor<f64>) -> Tensor<f64> {
    deep.run(x).square().sum() + squared(&deep.pair.0, x) + squared(&deep.layers[1], x)
}
#[differentiable(wrt(deep))]
fn narrow_loss(deep: &Deep<f32>, x: &Tensor<f32>) -> Tensor<f32> {
    deep.run(x).square().sum()
}

#[test]
fn layers_in_containers_are_parameters() {
    let x = tensor::<f64>(&[3, 4], 0.0);
    for norm in [true, false] {
        let deep = Deep::<f64>::new(norm);
        let l = deep.run(&x).square().sum()
            + deep.pair.0.forward(&x).square().sum()
            + deep.layers[1].forward(&x).square().sum();
        l.backward().unwrap();
        for engine in [Engine::Compiled, Engine::Dynamic] {
            let grad = with_engine(engine, || deep_loss::grad(&deep, &x)).unwrap();
            assert_eq!((grad.layers.len(), grad.norm.is_some()), (3, norm));
            for (g, layer) in grad.layers.iter().chain([&grad.pair.0]).zip(deep.layers.iter().chain([&deep.pair.0])) {
                close(&g.weight, &layer.weight.grad().unwrap().to_vec());
            }
            close(&grad.pair.1[1], &deep.pair.1[1].grad().unwrap().to_vec());
        }
        assert!(with_engine(Engine::Compiled, || deep_loss::check(&deep, &x)).unwrap().passed());
    }
    let (deep, x) = (Deep::<f32>::new(true), tensor::<f32>(&[3, 4], 0.0));
    deep.run(&x).square().sum().backward().unwrap();
    let grad = with_engine(Engine::Compiled, || narrow_loss::grad(&deep, &x)).unwrap();
    let want: Vec<f64> = deep.layers[0].weight.grad().unwrap().to_vec().iter().map(|&x| x.into()).collect();
    close(&grad.layers[0].weight, &want);
}

/// Every layer that is a parameter.
#[derive(Differentiable)]
#[tensors]
struct Zoo {
    words: Embedding<f64>,
    conv: Conv1d<f64>,
    image: Conv2d<f64>,
    layer: LayerNorm<f64>,
    group: GroupNorm<f64>,
    lstm: Lstm<f64>,
    gru: Gru<f64>,
    cell: GruCell<f64>,
    rnn: RnnCell<f64>,
    attention: MultiheadAttention<f64>,
    dropout: Dropout,
}
impl Module<f64> for Zoo {
    fn forward(&self, x: &Tensor<f64>) -> Tensor<f64> {
        self.run(&x.to())
    }
    fn each_child(&self, visit: &mut dyn FnMut(&str, &dyn Module<f64>)) {
        visit("words", &self.words);
        visit("conv", &self.conv);
        visit("image", &self.image);
        visit("layer", &self.layer);
        visit("group", &self.group);
        visit("lstm", &self.lstm);
        visit("gru", &self.gru);
        visit("cell", &self.cell);
        visit("rnn", &self.rnn);
        visit("attention", &self.attention);
        visit("dropout", &self.dropout);
    }
}
impl Zoo {
    fn new() -> Zoo {
        let same = ConvOptions::new().padding(Padding::Same);
        Zoo {
            words: Embedding::with_padding(7, 4, 0).unwrap(),
            conv: Conv1d::new(4, 4, 2, same).unwrap(),
            image: Conv2d::new(2, 2, 3, ConvOptions::new().padding(1)).unwrap(),
            layer: LayerNorm::new([4]),
            group: GroupNorm::new(2, 4).unwrap(),
            lstm: Lstm::new(4, 4, 2).unwrap().batch_first(true),
            gru: Gru::new(4, 4, 1).unwrap().batch_first(true),
            cell: GruCell::new(4, 4),
            rnn: RnnCell::new(4, 4),
            attention: MultiheadAttention::new(4, 2).unwrap().batch_first(true),
            dropout: Dropout::new(0.3),
        }
    }
    /// Words `[2, 5]` to numbers `[2, 4]`.
    fn run(&self, words: &Tensor<i64>) -> Tensor<f64> {
        let x = self.dropout.forward(&self.words.lookup(words));
        let x = self.conv.forward(&x.transpose(1, 2));
        let x = self.group.forward(&x).transpose(1, 2);
        let causal = AttentionMask { causal: true, ..AttentionMask::default() };
        let x = &x + self.attention.attend(&x, &x, &x, &causal);
        let x = self.layer.forward(&x);
        let x = self.gru.forward(&self.lstm.forward(&x));
        let x = self.image.forward(&x.unsqueeze(0)).squeeze(0);
        self.rnn.forward(&self.cell.forward(&x.mean_dim(&[1], false)))
    }
}
#[differentiable(wrt(zoo))]
fn zoo_loss(zoo: &Zoo, words: &Tensor<i64>) -> Tensor<f64> {
    zoo.run(words).square().sum()
}

#[test]
fn every_layer_has_one_gradient_in_both_engines() {
    manual_seed(5);
    let zoo = Zoo::new();
    let words = Tensor::from_vec(vec![3i64, 0, 6, 1, 2, 5, 4, 0, 2, 3], [2, 5]);
    for training in [true, false] {
        zoo.train(training);
        for seed in 0..3 {
            manual_seed(seed);
            let (value, want) = on_the_tape(&zoo, || zoo.run(&words).square().sum());
            for engine in [Engine::Compiled, Engine::Dynamic] {
                manual_seed(seed);
                let (l, grad) = with_engine(engine, || zoo_loss::value_and_grad(&zoo, &words)).unwrap();
                assert!((l.item() - value).abs() < 1e-12, "{engine:?}: {} {value}", l.item());
                same(&grad, &want);
            }
        }
    }
    let row = with_engine(Engine::Compiled, || zoo_loss::grad(&zoo, &words)).unwrap().words.weight;
    assert_eq!(row.select(0, 0).to_vec(), [0.0; 4]);
    // differences see that the padding row counts, gradients leave it out
    let words = Tensor::from_vec(vec![3i64, 4, 6, 1, 2, 5, 4, 1, 2, 3], [2, 5]);
    assert!(with_engine(Engine::Compiled, || zoo_loss::check(&zoo, &words)).unwrap().passed());
}

/// A block of a transformer over functions of tensors alone.
#[differentiable(wrt(w, g, b))]
fn block(w: &Tensor<f64>, g: &Tensor<f64>, b: &Tensor<f64>, x: &Tensor<f64>) -> Tensor<f64> {
    let h = x.layer_norm(&[4], Some(g), Some(b), 1e-5);
    let causal = AttentionOptions { causal: true, ..AttentionOptions::default() };
    let h = h.scaled_dot_product_attention(&h.matmul(w), &h, causal).dropout(0.4, true);
    (x + h).softplus_with(2.0, 3.0).mean()
}

#[test]
fn layer_norm_attention_and_dropout_agree() {
    let leaf = |shape: &[usize], seed: f64| parameter(&tensor::<f64>(shape, seed));
    let (w, g, b, x) = (leaf(&[4, 4], 0.1), leaf(&[4], 0.2), leaf(&[4], 0.3), tensor(&[2, 5, 4], 0.4));
    for seed in 0..4 {
        manual_seed(seed);
        let l = block(&w, &g, &b, &x);
        l.backward().unwrap();
        let want: Vec<Vec<f64>> = [&w, &g, &b].map(|p| p.grad().unwrap().to_vec()).into();
        [&w, &g, &b].iter().for_each(|p| p.set_grad(None).unwrap());
        for engine in [Engine::Compiled, Engine::Dynamic] {
            manual_seed(seed);
            let (value, grads) = with_engine(engine, || block::value_and_grad(&w, &g, &b, &x)).unwrap();
            close(&value, &[l.item()]);
            [grads.0, grads.1, grads.2].iter().zip(&want).for_each(|(f, w)| close(f, w));
        }
    }
}

/// A layer as a result, and as the value of an inner derivative.
#[differentiable]
fn doubled(net: &Linear<f64>) -> Linear<f64> {
    Linear { weight: &net.weight * 2.0, bias: net.bias.clone() }
}
#[differentiable(wrt(net))]
fn gradient_norm(net: &Mlp, x: &Tensor<f64>, y: &Tensor<f64>) -> Result<Tensor<f64>, Error> {
    let g = loss::grad(net, x, y)?;
    Ok(g.hidden.weight.square().sum() + g.out.weight.square().sum())
}

#[test]
fn layers_are_results_and_inner_gradients() {
    let net = mlp(6);
    for engine in [Engine::Compiled, Engine::Dynamic] {
        with_engine(engine, || {
            let twice = doubled::value(&net.hidden).unwrap();
            close(&twice.weight, &(net.hidden.weight.detach() * 2.0).to_vec());
            let (y, pull) = doubled::vjp(&net.hidden).unwrap();
            close(&pull(&y).unwrap().weight, &(net.hidden.weight.detach() * 4.0).to_vec());
            let (x, y) = (tensor::<f64>(&[4, 3], 0.0), tensor::<f64>(&[4, 2], 1.0));
            assert!(gradient_norm::check(&net, &x, &y).unwrap().passed());
        });
    }
}

/// A layer that the function finds, not one that it is given.
fn batch_norm() -> &'static BatchNorm1d<f64> {
    static LAYER: OnceLock<BatchNorm1d<f64>> = OnceLock::new();
    LAYER.get_or_init(|| BatchNorm1d::without_affine(2))
}
#[differentiable(wrt(w))]
fn through_batch_norm(w: &Tensor<f64>, x: &Tensor<f64>) -> Tensor<f64> {
    batch_norm().forward(&x.matmul(w)).powi(3).sum()
}

#[test]
fn batch_norm_trains_on_the_dynamic_engine() {
    let (w, x) = (parameter(&tensor::<f64>(&[3, 2], 0.0)), tensor::<f64>(&[5, 3], 1.0));
    let layer = batch_norm();
    let e = with_engine(Engine::Compiled, || through_batch_norm::grad(&w, &x)).unwrap_err().to_string();
    assert!(e.contains("in place"), "{e}");
    assert_eq!((layer.num_batches_tracked.item(), layer.running_mean.to_vec()), (0, vec![0.0; 2]));
    let grad = through_batch_norm::grad(&w, &x).unwrap();
    // once a call, whatever was tried before
    assert_eq!(layer.num_batches_tracked.item(), 1);
    assert_ne!(layer.running_mean.to_vec(), [0.0; 2]);
    through_batch_norm(&w, &x).backward().unwrap();
    assert_eq!(layer.num_batches_tracked.item(), 2);
    close(&grad, &w.grad().unwrap().to_vec());
}

/// The same in evaluation, with weight and bias.
fn settled() -> &'static BatchNorm1d<f64> {
    static LAYER: OnceLock<BatchNorm1d<f64>> = OnceLock::new();
    LAYER.get_or_init(|| BatchNorm1d::new(2))
}
#[differentiable(wrt(w))]
fn evaluated(w: &Tensor<f64>, x: &Tensor<f64>) -> Tensor<f64> {
    settled().forward(&x.matmul(w)).powi(3).sum()
}

#[test]
fn batch_norm_compiles_in_evaluation() {
    let (w, x) = (tensor::<f64>(&[3, 2], 0.0), tensor::<f64>(&[5, 3], 1.0));
    let layer = settled();
    layer.forward(&tensor(&[4, 2], 2.0));
    layer.eval();
    let grad = |engine| with_engine(engine, || evaluated::grad(&w, &x)).unwrap();
    close(&grad(Engine::Compiled), &grad(Engine::Dynamic).to_vec());
    // its buffers are read again at every call
    let before = grad(Engine::Compiled).to_vec();
    layer.running_var.copy_(&Tensor::full([2], 4.0));
    let after = grad(Engine::Compiled).to_vec();
    assert_ne!(after, before);
    close(&grad(Engine::Dynamic), &after);
}
