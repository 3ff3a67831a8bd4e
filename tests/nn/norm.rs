//! Normalisation against its formulas, in both widths of floats; running statistics; gradients against differences.

use crate::{close, message, numbers, tensor};
use autograd::{
    Float, Tensor, gradcheck,
    nn::{BatchNorm1d, BatchNorm2d, Buffer, GroupNorm, LayerNorm, Module},
};

/// The places of elements `[n, c, rest]` in groups, over each of which something is normalised.
fn grouped(shape: [usize; 3], group: impl Fn(usize, usize) -> usize, groups: usize) -> Vec<Vec<usize>> {
    let [n, c, rest] = shape;
    let mut places = vec![Vec::new(); groups];
    for i in 0..n {
        for j in 0..c {
            places[group(i, j)].extend((0..rest).map(|k| (i * c + j) * rest + k));
        }
    }
    places
}
fn moments(x: &[f64], at: &[usize]) -> (f64, f64) {
    let n = at.len() as f64;
    let mean = at.iter().map(|&i| x[i]).sum::<f64>() / n;
    (mean, at.iter().map(|&i| (x[i] - mean).powi(2)).sum::<f64>() / n)
}
fn normalised(x: &[f64], places: &[Vec<usize>], eps: f64) -> Vec<f64> {
    let mut y = x.to_vec();
    for at in places {
        let (mean, var) = moments(x, at);
        at.iter().for_each(|&i| y[i] = (x[i] - mean) / (var + eps).sqrt());
    }
    y
}
/// y·w + b of each channel.
fn affine(y: &[f64], [_, c, rest]: [usize; 3], w: &[f64], b: &[f64]) -> Vec<f64> {
    y.iter().enumerate().map(|(i, y)| y * w[i / rest % c] + b[i / rest % c]).collect()
}

fn batch_norm<T: Float, const N: usize>(shape: &[usize], momentum: Option<f64>) {
    let full = [shape[0], shape[1], shape[2..].iter().product()];
    let c = shape[1];
    let mut layer = autograd::nn::BatchNorm::<T, N>::new(c);
    (layer.momentum, layer.eps) = (momentum, 1e-3);
    layer.weight = Some(tensor(&[c], 3.0).requires_grad_(true));
    layer.bias = Some(tensor(&[c], 4.0).requires_grad_(true));
    let (w, b) = (numbers(c, 3.0), numbers(c, 4.0));
    let (mut mean, mut var) = (vec![0.0; c], vec![1.0; c]);
    let places = grouped(full, |_, j| j, c);
    for step in 0..3 {
        let x = numbers(shape.iter().product(), step as f64);
        let y = layer.forward(&tensor(shape, step as f64));
        close(&y, &affine(&normalised(&x, &places, 1e-3), full, &w, &b));
        assert!(y.requires_grad());
        let m = momentum.unwrap_or(1.0 / (step as f64 + 1.0));
        for (j, at) in places.iter().enumerate() {
            let (batch_mean, batch_var) = moments(&x, at);
            let unbiased = batch_var * at.len() as f64 / (at.len() as f64 - 1.0);
            mean[j] += m * (batch_mean - mean[j]);
            var[j] += m * (unbiased - var[j]);
        }
        close(&layer.running_mean, &mean);
        close(&layer.running_var, &var);
        assert_eq!(layer.num_batches_tracked.item(), step + 1);
    }
    layer.eval();
    let x = numbers(shape.iter().product(), 9.0);
    let y: Vec<f64> =
        x.iter().enumerate().map(|(i, x)| (x - mean[i / full[2] % c]) / (var[i / full[2] % c] + 1e-3).sqrt()).collect();
    close(&layer.forward(&tensor(shape, 9.0)), &affine(&y, full, &w, &b));
    // evaluation takes one sample, and moves nothing
    assert_eq!(layer.forward(&tensor(&[&[1], &shape[1..]].concat(), 1.0)).shape()[0], 1);
    assert_eq!(layer.num_batches_tracked.item(), 3);
    close(&layer.running_mean, &mean);
    assert!(!layer.running_mean.requires_grad());
}

#[test]
fn batch_norm_follows_its_formula() {
    batch_norm::<f64, 1>(&[5, 3], Some(0.1));
    batch_norm::<f32, 1>(&[5, 3], Some(0.3));
    batch_norm::<f64, 1>(&[2, 3, 4], None);
    batch_norm::<f64, 2>(&[3, 2, 2, 5], Some(0.1));
    batch_norm::<f32, 2>(&[1, 2, 3, 3], None);
}

#[test]
fn batch_norm_without_affine_has_no_parameters() {
    let layer = BatchNorm1d::<f64>::without_affine(3);
    assert!(layer.parameters().is_empty());
    let names: Vec<String> = layer.named_buffers().into_iter().map(|b| b.0).collect();
    assert_eq!(names, ["running_mean", "running_var", "num_batches_tracked"]);
    assert!(matches!(layer.named_buffers()[2].1, Buffer::Int(_)));
    let x = numbers(12, 0.0);
    close(&layer.forward(&tensor(&[4, 3], 0.0)), &normalised(&x, &grouped([4, 3, 1], |_, j| j, 3), 1e-5));
}

#[test]
fn batch_norm_refuses_what_it_cannot_normalise() {
    let layer = BatchNorm1d::<f64>::new(3);
    let of = |shape: &[usize]| message(|| layer.forward(&Tensor::ones(shape)));
    assert!(of(&[1, 3]).contains("batch_norm: expected more than one value of each channel, found [1, 3]"));
    assert!(of(&[2, 4]).contains("BatchNorm1d: expected an input [n, 3] or [n, 3, length], found [2, 4]"));
    assert!(of(&[3]).contains("found [3]"));
    assert!(of(&[2, 3, 4, 5]).contains("found [2, 3, 4, 5]"));
    let e = message(|| BatchNorm2d::<f64>::new(3).forward(&Tensor::ones([2, 3])));
    assert!(e.contains("BatchNorm2d: expected an input [n, 3, ..] with 2 spatial axes, found [2, 3]"), "{e}");
    assert_eq!((layer.num_batches_tracked.item(), layer.running_mean.to_vec()), (0, vec![0.0; 3]));
    // no samples: nothing to normalise, nothing to remember
    assert_eq!(layer.forward(&Tensor::ones([0, 3])).shape(), [0, 3]);
    assert_eq!((layer.num_batches_tracked.item(), layer.running_var.to_vec()), (0, vec![1.0; 3]));
}

#[test]
#[should_panic(expected = "more than one value of each channel")]
fn one_sample_panics_in_training() {
    BatchNorm1d::<f32>::new(2).forward(&Tensor::ones([1, 2]));
}

fn layer_norm<T: Float>() {
    let mut layer = LayerNorm::<T>::new([3, 4]);
    assert_eq!(layer.named_parameters().len(), 2);
    layer.weight = Some(tensor(&[3, 4], 3.0));
    layer.bias = Some(tensor(&[3, 4], 4.0));
    let places: Vec<Vec<usize>> = (0..5).map(|i| (i * 12..(i + 1) * 12).collect()).collect();
    let y = normalised(&numbers(60, 0.0), &places, 1e-5);
    let (w, b) = (numbers(12, 3.0), numbers(12, 4.0));
    let want: Vec<f64> = y.iter().enumerate().map(|(i, y)| y * w[i % 12] + b[i % 12]).collect();
    close(&layer.forward(&tensor(&[5, 3, 4], 0.0)), &want);
    close(&LayerNorm::<T>::without_affine([3, 4]).forward(&tensor(&[5, 3, 4], 0.0)), &y);
}

fn group_norm<T: Float>() {
    let mut layer = GroupNorm::<T>::new(2, 6).unwrap();
    layer.weight = Some(tensor(&[6], 3.0));
    layer.bias = Some(tensor(&[6], 4.0));
    let full = [2, 6, 4];
    let places = grouped(full, |i, j| 2 * i + j / 3, 4);
    let want = affine(&normalised(&numbers(48, 0.0), &places, 1e-5), full, &numbers(6, 3.0), &numbers(6, 4.0));
    close(&layer.forward(&tensor(&[2, 6, 2, 2], 0.0)), &want);
}

#[test]
fn layer_and_group_norm_follow_their_formulas() {
    layer_norm::<f64>();
    layer_norm::<f32>();
    group_norm::<f64>();
    group_norm::<f32>();
    assert_eq!(LayerNorm::<f32>::new([4]).forward(&Tensor::ones([0, 4])).shape(), [0, 4]);
    assert_eq!(GroupNorm::<f32>::new(1, 4).unwrap().forward(&Tensor::ones([0, 4])).shape(), [0, 4]);
    let e = message(|| LayerNorm::<f32>::new([4]).forward(&Tensor::ones([2, 3])));
    assert!(e.contains("layer_norm: expected an input whose last axes are [4], found [2, 3]"), "{e}");
    let group = GroupNorm::<f32>::new(2, 4).unwrap();
    let e = message(|| group.forward(&Tensor::ones([2, 6])));
    assert!(e.contains("GroupNorm: expected an input [n, 4, ..], found [2, 6]"), "{e}");
    let e = message(|| GroupNorm::<f32>::new(4, 4).unwrap().forward(&Tensor::ones([1, 4])));
    assert!(e.contains("group_norm: expected more than one value of each group, found [1, 4]"), "{e}");
    let e = message(|| Tensor::<f32>::ones([2, 4]).group_norm(3, None, None, 0.1));
    assert!(e.contains("group_norm: expected an input [n, c, ..] whose channels divide into 3 groups"), "{e}");
    assert!(GroupNorm::<f32>::new(0, 4).unwrap_err().to_string().contains("divide into 0 groups, found 4"));
}

#[test]
fn gradients_are_those_of_differences() {
    let p = |shape: &[usize], seed: f64| tensor::<f64>(shape, seed).requires_grad_(true);
    let (w, b) = (p(&[4], 1.0), p(&[4], 2.0));
    let x = p(&[3, 4, 2], 0.0);
    let batch = |x: &[Tensor<f64>]| {
        let mut layer = BatchNorm1d::<f64>::new(4);
        (layer.weight, layer.bias) = (Some(x[1].clone()), Some(x[2].clone()));
        layer.forward(&x[0])
    };
    gradcheck(batch, &[&x, &w, &b]).unwrap();
    let group = |x: &[Tensor<f64>]| {
        let layer = GroupNorm::<f64>::without_affine(2, 4).unwrap();
        GroupNorm { weight: Some(x[1].clone()), bias: Some(x[2].clone()), ..layer }.forward(&x[0])
    };
    gradcheck(group, &[&x, &w, &b]).unwrap();
    let layer = |x: &[Tensor<f64>]| {
        let layer = LayerNorm::<f64>::without_affine([4]);
        LayerNorm { weight: Some(x[1].clone()), bias: Some(x[2].clone()), ..layer }.forward(&x[0])
    };
    gradcheck(layer, &[&p(&[3, 4], 0.0), &w, &b]).unwrap();
}
