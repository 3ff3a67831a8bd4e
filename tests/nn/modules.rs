//! Modules: names, modes, freezing, initialisers, and a convolutional network against its parts, on the tape
//! and in annotated functions.

use autograd::{
    ConvOptions, PoolOptions, manual_seed,
    nn::{Conv2d, Dropout, Flatten, Linear, MaxPool2d, Module, Relu, Sequential, Tanh, init, parameter},
    no_grad,
    prelude::*,
};

fn network() -> Sequential<f64> {
    Sequential::new()
        .add(Conv2d::new(2, 4, 3, ConvOptions::new().padding(1)).unwrap())
        .add(Relu)
        .add(MaxPool2d(PoolOptions::new(2)))
        .add(Flatten)
        .add(Sequential::new().add(Dropout::new(0.5)).add(Linear::new(16, 3)))
}

#[test]
fn parameters_have_the_paths_of_their_modules() {
    let net = network();
    let named = net.named_parameters();
    let names: Vec<(&str, &[usize])> = named.iter().map(|(n, p)| (n.as_str(), p.shape())).collect();
    assert_eq!(
        names,
        [("0.weight", &[4, 2, 3, 3][..]), ("0.bias", &[4][..]), ("4.1.weight", &[3, 16][..]), ("4.1.bias", &[3][..])]
    );
    assert!(named.iter().all(|(_, p)| p.requires_grad() && p.is_leaf()));
    assert!(named.iter().zip(net.parameters()).all(|((_, a), b)| a.to_vec() == b.to_vec()));
}

struct Tied {
    a: Linear<f32>,
    b: Linear<f32>,
}
impl Module<f32> for Tied {
    fn forward(&self, x: &Tensor<f32>) -> Tensor<f32> {
        self.b.forward(&self.a.forward(x))
    }
    fn each_child(&self, visit: &mut dyn FnMut(&str, &dyn Module<f32>)) {
        visit("a", &self.a);
        visit("b", &self.b);
    }
}

#[test]
fn a_shared_parameter_is_listed_once_and_gets_both_gradients() {
    let a = Linear::without_bias(2, 2);
    let b = Linear { weight: a.weight.clone(), bias: None };
    let net = Tied { a, b };
    assert_eq!(net.parameters().len(), 1);
    no_grad(|| net.a.weight.update(|w| w.copy_from_slice(&[1.0, 2.0, 3.0, 4.0]))).unwrap();
    net.forward(&Tensor::from_vec(vec![1.0, 1.0], [1, 2])).sum().backward().unwrap();
    // y = W·h, h = W·x = (3, 7): dW = 1·hᵀ + (Wᵀ·1)·xᵀ
    assert_eq!(net.parameters()[0].grad().unwrap().to_vec(), [7.0, 11.0, 9.0, 13.0]);
    net.zero_grad();
    assert!(net.parameters()[0].grad().is_none());
}

#[test]
fn a_frozen_network_is_tracked_again_from_a_new_last_layer() {
    let mut net = Sequential::<f32>::new().add(Linear::new(8, 512)).add(Tanh).add(Linear::new(512, 10));
    let x = Tensor::ones([2, 8]);
    assert!(net.forward(&x).requires_grad());
    net.requires_grad_(false).unwrap();
    assert!(!net.forward(&x).requires_grad());
    let old = net.replace(2, Linear::new(512, 100)).unwrap();
    assert_eq!(old.parameters()[0].shape(), [10, 512]);
    let y = net.forward(&x);
    assert!(y.requires_grad() && y.shape() == [2, 100]);
    y.sum().backward().unwrap();
    let has: Vec<bool> = net.parameters().iter().map(|p| p.grad().is_some()).collect();
    assert_eq!(has, [false, false, true, true]);
    let e = net.replace(3, Relu).err().unwrap().to_string();
    assert_eq!(e, "Sequential: expected a place below 3, found 3");
    // an annotated function's own struct of layers: a field is replaced
    let mut pair = Tied { a: Linear::new(4, 4), b: Linear::new(4, 4) };
    pair.requires_grad_(false).unwrap();
    assert!(!pair.forward(&Tensor::ones([1, 4])).requires_grad());
    pair.b = Linear::new(4, 5);
    assert!(pair.forward(&Tensor::ones([1, 4])).requires_grad());
}

#[test]
fn dropout_acts_in_training_only() {
    manual_seed(0);
    let (net, x) = (network(), Tensor::ones([1, 2, 4, 4]));
    assert_ne!(net.forward(&x).to_vec(), net.forward(&x).to_vec());
    net.eval();
    let y = net.forward(&x).to_vec();
    assert_eq!(net.forward(&x).to_vec(), y);
    net.train(true);
    assert_ne!(net.forward(&x).to_vec(), y);
}

#[test]
fn layers_begin_as_pytorchs_do() {
    manual_seed(1);
    let spread = |t: &Tensor<f64>| no_grad(|| (t.abs().max().item(), t.square().mean().item().sqrt()));
    let l = Linear::<f64>::new(100, 200);
    let c = Conv2d::<f64>::new(8, 32, [5, 5], ConvOptions::new().groups(2)).unwrap();
    assert_eq!(c.weight.shape(), [32, 4, 5, 5]);
    for t in [&l.weight, l.bias.as_ref().unwrap(), &c.weight, c.bias.as_ref().unwrap()] {
        // fan-in is 100 in both: uniform within ±0.1
        let (most, deviation) = spread(t);
        assert!(most <= 0.1 && most > 0.09 && (deviation - 0.1 / 3f64.sqrt()).abs() < 0.01, "{most} {deviation}");
    }
    let w = parameter(&Tensor::<f64>::zeros([300, 200]));
    let close = |want: f64| assert!((spread(&w).1 / want - 1.0).abs() < 0.02, "{:?} {want}", spread(&w));
    init::xavier_uniform_(&w, 2.0).unwrap();
    close(2.0 * (2.0f64 / 500.0).sqrt());
    assert!(spread(&w).0 <= 2.0 * (6.0f64 / 500.0).sqrt());
    init::xavier_normal_(&w, 1.0).unwrap();
    close((2.0f64 / 500.0).sqrt());
    init::kaiming_uniform_(&w, init::Fan::In, init::Nonlinearity::Relu).unwrap();
    close((2.0f64 / 200.0).sqrt());
    init::kaiming_normal_(&w, init::Fan::Out, init::Nonlinearity::LeakyRelu(5f64.sqrt())).unwrap();
    close((1.0f64 / 3.0 / 300.0).sqrt());
    init::ones_(&w).unwrap();
    assert_eq!(spread(&w), (1.0, 1.0));
    assert!(w.requires_grad() && w.is_leaf());
    let e = init::xavier_uniform_(&Tensor::<f64>::zeros([3]), 1.0).unwrap_err().to_string();
    assert_eq!(e, "fans: expected a weight of two axes or more, found [3]");
    let e = Conv2d::<f32>::new(3, 4, 1, ConvOptions::new().groups(2)).unwrap_err().to_string();
    assert_eq!(e, "Conv2d: expected channels that divide into 2 groups, found 3 and 4");
}

#[test]
fn flatten_keeps_the_batch() {
    assert_eq!(Flatten.forward(&Tensor::<f32>::ones([2, 3, 4])).shape(), [2, 12]);
    assert_eq!(Flatten.forward(&Tensor::<f32>::ones([0, 3, 4])).shape(), [0, 12]);
    assert_eq!(Flatten.forward(&Tensor::<f32>::ones([5])).shape(), [5, 1]);
}

/// The same network as a function of its parameters.
#[differentiable(wrt(w, b, v, c))]
fn loss(
    w: &Tensor<f64>,
    b: &Tensor<f64>,
    v: &Tensor<f64>,
    c: &Tensor<f64>,
    x: &Tensor<f64>,
    y: &Tensor<i64>,
) -> Tensor<f64> {
    let h = x.conv2d(w, Some(b), &ConvOptions::new().padding(1)).relu().max_pool2d(2);
    let n = h.shape()[0] as i64;
    (h.reshape(&[n, -1]).dropout(0.5, true).matmul(&v.t()) + c).cross_entropy(y)
}

#[test]
fn a_network_trains_alike_on_the_tape_and_compiled() {
    manual_seed(7);
    let net = network();
    let x = Tensor::<f64>::randn([8, 2, 4, 4]);
    let y = Tensor::randint(0, 3, [8]);
    let p = net.parameters();
    let detached: Vec<Tensor<f64>> = p.iter().map(Tensor::detach).collect();
    let [w, b, v, c] = &detached[..] else { panic!("four parameters") };
    let mut losses = Vec::new();
    for step in 0..30 {
        manual_seed(step);
        net.zero_grad();
        let l = net.forward(&x).cross_entropy(&y);
        l.backward().unwrap();
        let tape: Vec<Vec<f64>> = p.iter().map(|p| p.grad().unwrap().to_vec()).collect();
        for engine in [Engine::Compiled, Engine::Dynamic] {
            manual_seed(step);
            let call = || loss::value_and_grad(w, b, v, c, &x, &y).unwrap();
            let (value, grads) = with_engine(engine, call);
            assert!((value.item() - l.item()).abs() < 1e-12);
            let grads = [grads.0, grads.1, grads.2, grads.3];
            for (a, b) in tape.iter().flatten().zip(grads.iter().flat_map(Tensor::to_vec)) {
                assert!((a - b).abs() < 1e-12, "{engine:?}: {a} {b}");
            }
        }
        for (p, g) in p.iter().zip(&tape) {
            no_grad(|| p.update(|w| w.iter_mut().zip(g).for_each(|(w, g)| *w -= 0.1 * g))).unwrap();
        }
        losses.push(l.item());
    }
    let mean = |l: &[f64]| l.iter().sum::<f64>() / l.len() as f64;
    assert!(mean(&losses[25..]) < 0.7 * mean(&losses[..5]), "{losses:?}");
    assert!(with_engine(Engine::Compiled, || loss::check(w, b, v, c, &x, &y)).unwrap().passed());
}
