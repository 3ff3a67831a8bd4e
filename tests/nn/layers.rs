//! Convolution, embedding, activations and initialisers against their formulas.

use crate::{close, message, numbers, tensor};
use autograd::{
    ConvOptions, Float, Padding, Tensor, gradcheck, manual_seed,
    nn::{
        Conv1d, Conv2d, Elu, Embedding, GeluTanh, Identity, LeakyRelu, LogSigmoid, LogSoftmax, Mish, Module,
        Sequential, Silu, Softmax, Softplus, Softsign, Tanh, init, parameter,
    },
};

/// y[n, o, t] = b[o] + Σ w[o, c, k]·x[n, c, t·stride + k·dilation − near]
fn convolved(x: &[f64], w: &[f64], b: &[f64], shape: [usize; 6], near: usize, dilation: usize) -> Vec<f64> {
    let [n, c, len, o, k, out] = shape;
    let mut y = Vec::new();
    for i in 0..n {
        for (j, b) in b.iter().enumerate().take(o) {
            for t in 0..out {
                let mut sum = *b;
                for ch in 0..c {
                    for m in 0..k {
                        let at = (t + m * dilation).checked_sub(near).filter(|&at| at < len);
                        sum += at.map_or(0.0, |at| w[(j * c + ch) * k + m] * x[(i * c + ch) * len + at]);
                    }
                }
                y.push(sum);
            }
        }
    }
    y
}

fn conv1d<T: Float>() {
    for (k, dilation) in [(1, 1), (2, 1), (3, 1), (4, 1), (2, 3), (3, 2)] {
        let mut layer =
            Conv1d::<T>::new(3, 2, k, ConvOptions::new().dilation(dilation).padding(Padding::Same)).unwrap();
        layer.weight = tensor(&[2, 3, k], 1.0);
        layer.bias = Some(tensor(&[2], 2.0));
        let (x, w, b) = (numbers(2 * 3 * 7, 0.0), numbers(6 * k, 1.0), numbers(2, 2.0));
        let near = dilation * (k - 1) / 2;
        let y = layer.forward(&tensor(&[2, 3, 7], 0.0));
        assert_eq!(y.shape(), [2, 2, 7]);
        close(&y, &convolved(&x, &w, &b, [2, 3, 7, 2, k, 7], near, dilation));
        layer.options = layer.options.padding(Padding::VALID);
        let out = 7 - dilation * (k - 1);
        let y = layer.forward(&tensor(&[2, 3, 7], 0.0));
        close(&y, &convolved(&x, &w, &b, [2, 3, 7, 2, k, out], 0, dilation));
    }
}

#[test]
fn conv1d_pads_by_name() {
    conv1d::<f64>();
    conv1d::<f32>();
    // the two axes of an image are padded each by its own kernel
    let same = ConvOptions::<2>::new().padding(Padding::Same);
    let y = Conv2d::<f64>::new(2, 4, [4, 3], same.groups(2)).unwrap().forward(&Tensor::ones([1, 2, 5, 6]));
    assert_eq!(y.shape(), [1, 4, 5, 6]);
    let padded = tensor::<f64>(&[1, 1, 5, 6], 0.0).pad(&[(1, 2), (1, 1)], 0.0);
    let w = tensor::<f64>(&[1, 1, 4, 3], 1.0);
    let y = tensor::<f64>(&[1, 1, 5, 6], 0.0).conv2d(&w, None, &same);
    close(&y, &padded.conv2d(&w, None, &ConvOptions::new()).to_vec());
    let one = Conv1d::<f32>::new(3, 2, 2, ConvOptions::new().padding(Padding::Same)).unwrap();
    assert_eq!(one.forward(&Tensor::ones([3, 9])).shape(), [2, 9]);
    let x = tensor::<f64>(&[2, 2, 5], 0.0).requires_grad_(true);
    let w = tensor::<f64>(&[3, 2, 4], 1.0).requires_grad_(true);
    gradcheck(|x| x[0].conv1d(&x[1], None, &ConvOptions::new().padding(Padding::Same)), &[&x, &w]).unwrap();
}

#[test]
fn what_cannot_be_convolved_is_an_error() {
    let same = ConvOptions::new().padding(Padding::Same);
    let (x, w) = (Tensor::<f64>::ones([1, 2, 5]), Tensor::ones([2, 2, 3]));
    let e = message(|| x.conv1d(&w, None, &same.stride(2)));
    assert!(e.contains("conv1d: expected a stride of 1 for the padding that keeps extents, found [2]"), "{e}");
    let e = message(|| x.conv_transpose1d(&w, None, &same));
    assert!(e.contains("conv_transpose1d: expected a number of zeros as padding"), "{e}");
    let e = message(|| x.conv1d(&Tensor::ones([2]), None, &same));
    assert!(e.contains("conv1d: expected"), "{e}");
    let e = message(|| x.conv1d(&w, None, &same.dilation(usize::MAX)));
    assert!(e.contains("conv1d"), "{e}");
    let e = Conv1d::<f32>::new(3, 4, 1, ConvOptions::new().groups(2)).unwrap_err().to_string();
    assert_eq!(e, "Conv1d: expected channels that divide into 2 groups, found 3 and 4");
    let e = message(|| Conv1d::<f64>::new(3, 4, 1, ConvOptions::new()).unwrap().forward(&x));
    assert!(e.contains("conv1d: expected"), "{e}");
}

#[test]
fn embedding_looks_rows_up() {
    let mut table = Embedding::<f64>::new(5, 3);
    assert_eq!(table.named_parameters()[0].0, "weight");
    table.weight = parameter(&tensor(&[5, 3], 0.0));
    let index = Tensor::from_vec(vec![4i64, 0, 4, 1], [2, 2]);
    let y = table.lookup(&index);
    let all = numbers(15, 0.0);
    let want: Vec<f64> = [4, 0, 4, 1].iter().flat_map(|&r| all[r * 3..r * 3 + 3].to_vec()).collect();
    assert_eq!((y.shape(), y.detach().to_vec()), (&[2, 2, 3][..], want));
    y.sum().backward().unwrap();
    let rows: Vec<f64> = [1.0, 1.0, 0.0, 0.0, 2.0].iter().flat_map(|&n| [n; 3]).collect();
    assert_eq!(table.weight.grad().unwrap().to_vec(), rows);
    let net = Sequential::new().add(table).add(Tanh);
    assert_eq!(net.forward(&Tensor::from_vec(vec![1.0, 2.0], [2])).shape(), [2, 3]);

    let padded = Embedding::<f32>::with_padding(5, 3, 4).unwrap();
    assert_eq!(padded.weight.detach().select(0, 4).to_vec(), [0.0; 3]);
    assert!(padded.weight.detach().narrow(0, 0, 4).to_vec().iter().all(|x| *x != 0.0));
    padded.lookup(&index).sum().backward().unwrap();
    let grad = padded.weight.grad().unwrap();
    assert_eq!((grad.select(0, 4).to_vec(), grad.select(0, 0).to_vec()), (vec![0.0; 3], vec![1.0; 3]));
    let e = Embedding::<f32>::with_padding(5, 3, 5).unwrap_err().to_string();
    assert_eq!(e, "Embedding: expected a padding row below 5, found 5");
    let e = message(|| padded.lookup(&Tensor::from_vec(vec![5i64], [1])));
    assert!(e.contains('5'), "{e}");
    assert_eq!(padded.lookup(&Tensor::<i64>::zeros([0])).shape(), [0, 3]);
}

fn softplus(x: f64, beta: f64, threshold: f64) -> f64 {
    if x * beta > threshold { x } else { (x * beta).exp().ln_1p() / beta }
}

fn activations<T: Float>() {
    let x = numbers(30, 0.0).iter().map(|x| 4.0 * x).collect::<Vec<f64>>();
    let t = Tensor::from_vec(x.iter().map(|&x| T::of(x)).collect(), [5, 6]);
    let check = |layer: &dyn Module<T>, f: &dyn Fn(f64) -> f64| {
        close(&layer.forward(&t), &x.iter().map(|&x| f(x)).collect::<Vec<f64>>());
    };
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    check(&Identity, &|x| x);
    check(&Silu, &|x| x * sigmoid(x));
    check(&Mish, &|x| x * x.exp().ln_1p().tanh());
    check(&LogSigmoid, &|x| sigmoid(x).ln());
    check(&Softsign, &|x| x / (1.0 + x.abs()));
    let inner = |x: f64| (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
    check(&GeluTanh, &|x| 0.5 * x * (1.0 + inner(x).tanh()));
    check(&LeakyRelu(0.2), &|x| if x > 0.0 { x } else { 0.2 * x });
    check(&Elu::default(), &|x| if x > 0.0 { x } else { x.exp_m1() });
    check(&Softplus::default(), &|x| softplus(x, 1.0, 20.0));
    check(&Softplus(3.0, 5.0), &|x| softplus(x, 3.0, 5.0));
    let rows: Vec<f64> = x
        .chunks(6)
        .flat_map(|r| {
            let sum: f64 = r.iter().map(|x| x.exp()).sum();
            r.iter().map(move |x| x.exp() / sum)
        })
        .collect();
    close(&Softmax(1).forward(&t), &rows);
    close(&LogSoftmax(-1).forward(&t), &rows.iter().map(|p| p.ln()).collect::<Vec<f64>>());
}

#[test]
fn activations_follow_their_formulas() {
    activations::<f64>();
    activations::<f32>();
    let x = tensor::<f64>(&[7], 0.5).requires_grad_(true);
    for (beta, threshold) in [(1.0, 20.0), (3.0, 2.0), (-0.5, 1.0)] {
        gradcheck(|x| x[0].softplus_with(beta, threshold), &[&x]).unwrap();
    }
    // no overflow on the side that is not taken
    let far = Tensor::from_vec(vec![1e6, -1e6], [2]).requires_grad_(true);
    let y = far.softplus_with(2.0, 20.0);
    y.sum().backward().unwrap();
    assert_eq!((y.detach().to_vec(), far.grad().unwrap().to_vec()), (vec![1e6, 0.0], vec![1.0, 0.0]));
}

#[test]
fn initialisers_have_their_distributions() {
    manual_seed(3);
    let w = Tensor::<f64>::zeros([200, 100]);
    init::trunc_normal_(&w, 1.0, 2.0, -1.0, 4.0).unwrap();
    assert!(w.min().item() >= -1.0 && w.max().item() <= 4.0);
    // the mean of a normal cut to a..b is −(φ(b) − φ(a))/(Φ(b) − Φ(a)), a and b in deviations
    let (a, b) = (-1.0f64, 1.5f64);
    let density = |x: f64| (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let mass = 0.933_192_798_731_141_9 - 0.158_655_253_931_457_05;
    assert!((w.mean().item() - (1.0 - 2.0 * (density(b) - density(a)) / mass)).abs() < 0.03);
    // far out, where nearly all of the distribution function is flat
    init::trunc_normal_(&w, 0.0, 1.0, 4.0, 5.0).unwrap();
    assert!(w.min().item() >= 4.0 && w.max().item() <= 5.0 && w.mean().item() < 4.3);
    init::trunc_normal_(&w, 0.0, 1.0, f64::NEG_INFINITY, f64::INFINITY).unwrap();
    assert!(w.mean().item().abs() < 0.03 && (w.var().item() - 1.0).abs() < 0.03);
    let e = init::trunc_normal_(&w, 0.0, 1.0, 2.0, 1.0).unwrap_err().to_string();
    assert_eq!(e, "trunc_normal_: expected bounds in order, a deviation above 0, found 2..=1 and 1");

    for shape in [&[6, 4][..], &[4, 6], &[3, 2, 2], &[5, 5]] {
        let w = Tensor::<f64>::zeros(shape);
        init::orthogonal_(&w, 2.0).unwrap();
        let m = w.reshape(&[shape[0] as i64, -1]);
        let m = if m.shape()[0] > m.shape()[1] { m.t() } else { m };
        let distance = (m.matmul(&m.t()) - Tensor::<f64>::eye(m.shape()[0]) * 4.0).abs().max().item();
        assert!(distance < 1e-13, "{shape:?}: {distance}");
    }
    init::orthogonal_(&Tensor::<f32>::zeros([0, 3]), 1.0).unwrap();
    assert!(init::orthogonal_(&Tensor::<f32>::zeros([3]), 1.0).is_err());
    let w = Tensor::<f32>::zeros([2, 3]);
    init::eye_(&w).unwrap();
    assert_eq!(w.to_vec(), [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    assert!(init::eye_(&Tensor::<f32>::zeros([2])).is_err());
    init::constant_(&w, 2.5).unwrap();
    assert_eq!(w.to_vec(), [2.5; 6]);
    assert_eq!(init::gain(init::Nonlinearity::LeakyRelu(0.01)), (2.0 / (1.0 + 1e-4f64)).sqrt());
    assert_eq!(init::gain(init::Nonlinearity::Selu), 0.75);
}
