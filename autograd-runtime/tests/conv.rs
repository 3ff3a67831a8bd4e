//! Convolutions and pooling: values and gradients against PyTorch's (`data/conv.txt`, written by
//! `data/conv.py`), large ones against a naive sum, errors.

use autograd_runtime::{ConvOptions, Float, PoolOptions, Tensor, grad, try_eval};
use std::collections::HashMap;

/// What `conv.py` fills argument number `s` with.
fn fill<T: Float>(s: usize, shape: &[usize]) -> Tensor<T> {
    let n: usize = shape.iter().product();
    let v = (0..n).map(|i| T::of((((i * 7 + 5 * s) % 17) as f64 - 8.0) / 4.0)).collect();
    Tensor::from_vec(v, shape)
}

fn list<V: std::str::FromStr<Err: std::fmt::Debug>>(s: &str, separator: char) -> Vec<V> {
    s.trim().split(separator).map(|v| v.parse().unwrap()).collect()
}

struct Case<'a> {
    name: &'a str,
    options: HashMap<&'a str, Vec<usize>>,
    shapes: HashMap<&'a str, Vec<usize>>,
    values: HashMap<&'a str, (Vec<usize>, Vec<f64>)>,
}

fn cases(text: &str) -> Vec<Case<'_>> {
    let mut cases: Vec<Case<'_>> = Vec::new();
    for line in text.lines() {
        let (word, rest) = line.split_once(' ').unwrap();
        if word == "case" {
            let mut words = rest.split_whitespace();
            let name = words.next().unwrap();
            let options = words.map(|o| o.split_once('=').unwrap()).map(|(k, v)| (k, list(v, ','))).collect();
            cases.push(Case { name, options, shapes: HashMap::new(), values: HashMap::new() });
            continue;
        }
        let case = cases.last_mut().unwrap();
        match rest.split_once(" : ") {
            None => drop(case.shapes.insert(word, list(rest, ','))),
            Some((shape, v)) => drop(case.values.insert(word, (list(shape, ','), list(v, ' ')))),
        }
    }
    cases
}

impl Case<'_> {
    fn option<const N: usize>(&self, name: &str, default: usize) -> [usize; N] {
        self.options.get(name).map_or([default; N], |v| v[..].try_into().unwrap())
    }
    fn conv<const N: usize>(&self) -> ConvOptions<N> {
        ConvOptions::new()
            .stride(self.option("stride", 1))
            .padding(self.option("padding", 0))
            .dilation(self.option("dilation", 1))
            .groups(self.option::<1>("groups", 1)[0])
            .output_padding(self.option("output_padding", 0))
    }
    fn pool(&self) -> PoolOptions<2> {
        let kernel = self.option("kernel_size", 0);
        let stride = if self.options.contains_key("stride") { self.option("stride", 0) } else { kernel };
        PoolOptions::new(kernel).stride(stride).padding(self.option("padding", 0))
    }
    fn check<T: Float>(&self, tolerance: f64) {
        let arg = |(s, n): (usize, &str)| self.shapes.get(n).map(|shape| fill::<T>(s, shape).requires_grad_(true));
        let args: Vec<Option<Tensor<T>>> = ["x", "w", "b"].into_iter().enumerate().map(arg).collect();
        let (x, b) = (args[0].as_ref().unwrap(), args[2].as_ref());
        let w = || args[1].as_ref().unwrap();
        let y = match self.name {
            "conv1d" => x.conv1d(w(), b, &self.conv()),
            "conv2d" => x.conv2d(w(), b, &self.conv()),
            "conv_transpose1d" => x.conv_transpose1d(w(), b, &self.conv()),
            "conv_transpose2d" => x.conv_transpose2d(w(), b, &self.conv()),
            "max_pool2d" => x.max_pool2d(self.pool()),
            "avg_pool2d" => x.avg_pool2d(self.pool()),
            other => panic!("{other}"),
        };
        let ct = fill::<T>(3, y.shape());
        let inputs: Vec<&Tensor<T>> = args.iter().flatten().collect();
        let grads = grad(&[&y], &inputs, &[Some(&ct)], false, false, false).unwrap();
        let results = grads.into_iter().map(Option::unwrap);
        let names = ["x", "w", "b"].into_iter().filter(|n| self.shapes.contains_key(n)).map(|n| format!("d{n}"));
        for (name, got) in ["y".to_owned()].into_iter().chain(names).zip([y].into_iter().chain(results)) {
            let (shape, want) = &self.values[name.as_str()];
            assert_eq!(got.shape(), shape, "{} {name}", self.name);
            for (i, (g, w)) in got.to_vec().into_iter().zip(want).enumerate() {
                let what = format!("{} {:?}, {name}[{i}]: {g:?} and {w}", self.name, self.options);
                assert!((g.f64() - w).abs() <= tolerance * (1.0 + w.abs()), "{what}");
            }
        }
    }
}

#[test]
fn values_and_gradients_are_those_of_pytorch() {
    let cases = cases(include_str!("data/conv.txt"));
    assert_eq!(cases.len(), 14);
    for case in cases {
        case.check::<f64>(1e-14);
        case.check::<f32>(1e-5);
    }
}

/// Whole numbers, whose products and sums are exact in any order.
fn whole(seed: usize, shape: &[usize]) -> Tensor<f64> {
    let n: usize = shape.iter().product();
    let v = (0..n).map(|i| ((i * 37 + i / 11 * 3 + seed * 5) % 13) as f64 - 6.0).collect();
    Tensor::from_vec(v, shape)
}

/// Several blocks of columns, several images on several threads: equal to the definition, to the bit.
#[test]
fn large_convolutions_are_the_naive_sum() {
    for (stride, padding, dilation, groups) in [(1, 1, 1, 1), (2, 3, 2, 2), (1, 0, 1, 4)] {
        let (n, c, h, wd, o, k) = (3, 8, 61, 50, 12, 3);
        let (x, w) = (whole(0, &[n, c, h, wd]), whole(1, &[o, c / groups, k, k]));
        let options = ConvOptions::new().stride(stride).padding(padding).dilation(dilation).groups(groups);
        let (x, w) = (x.requires_grad_(true), w.requires_grad_(true));
        let y = x.conv2d(&w, None, &options);
        let (oh, ow) = (y.shape()[2], y.shape()[3]);
        let ct = whole(2, y.shape());
        let (xv, wv, cv) = (x.detach().to_vec(), w.detach().to_vec(), ct.to_vec());
        let (mut yv, mut dx, mut dw) = (vec![0.0; y.numel()], vec![0.0; x.numel()], vec![0.0; w.numel()]);
        let per = c / groups;
        for (i, j, p, q) in
            (0..n).flat_map(|i| (0..o).flat_map(move |j| (0..oh).flat_map(move |p| (0..ow).map(move |q| (i, j, p, q)))))
        {
            let at = ((i * o + j) * oh + p) * ow + q;
            for (a, s, t) in (0..per).flat_map(|a| (0..k).flat_map(move |s| (0..k).map(move |t| (a, s, t)))) {
                let place = |o: usize, k: usize| (o * stride + k * dilation).checked_sub(padding);
                let (Some(r), Some(u)) = (place(p, s), place(q, t)) else { continue };
                if r >= h || u >= wd {
                    continue;
                }
                let xi = ((i * c + j / (o / groups) * per + a) * h + r) * wd + u;
                let wi = ((j * per + a) * k + s) * k + t;
                yv[at] += xv[xi] * wv[wi];
                dx[xi] += cv[at] * wv[wi];
                dw[wi] += cv[at] * xv[xi];
            }
        }
        assert_eq!(y.detach().to_vec(), yv);
        let g = grad(&[&y], &[&x, &w], &[Some(&ct)], false, false, false).unwrap();
        assert_eq!(g[0].as_ref().unwrap().to_vec(), dx);
        assert_eq!(g[1].as_ref().unwrap().to_vec(), dw);
    }
}

#[test]
fn views_are_convolved_as_their_copies() {
    let x = whole(0, &[6, 5, 2, 3]).permute(&[3, 2, 0, 1]);
    let w = whole(1, &[3, 3, 2, 4]).permute(&[3, 2, 0, 1]);
    let dense = |t: &Tensor<f64>| Tensor::from_vec(t.to_vec(), t.shape());
    let o = ConvOptions::new().padding(1);
    assert_eq!(x.conv2d(&w, None, &o).to_vec(), dense(&x).conv2d(&dense(&w), None, &o).to_vec());
}

#[test]
fn nan_is_the_largest_and_the_first_of_equals_is_taken() {
    let x = Tensor::from_vec(vec![1.0, f64::NAN, 5.0, 5.0, 5.0, 5.0], [1, 1, 6]).reshape(&[1, 1, 1, 6]);
    let x = x.detach().requires_grad_(true);
    let y = x.max_pool2d([1, 2]);
    assert!(y.detach().to_vec()[0].is_nan());
    y.sum().backward().unwrap();
    assert_eq!(x.grad().unwrap().to_vec(), [0.0, 1.0, 1.0, 0.0, 1.0, 0.0]);
}

#[test]
fn the_tape_names_a_convolution_as_pytorch_does() {
    let (x, w) = (Tensor::<f32>::ones([1, 1, 2, 2]), Tensor::ones([1, 1, 1, 1]).requires_grad_(true));
    let y = x.conv2d(&w, Some(&Tensor::ones([1])), &ConvOptions::new());
    assert!(y.to_string().contains("grad_fn=<ConvolutionBackward0>"), "{y}");
}

#[test]
fn errors_name_the_operation_and_both_shapes() {
    let t = |s: &[usize]| Tensor::<f64>::ones(s);
    let plain = ConvOptions::<2>::new;
    let conv = |x: &[usize], w: &[usize], o: ConvOptions<2>| {
        try_eval(|| t(x).conv2d(&t(w), None, &o)).unwrap_err().to_string()
    };
    for (message, part) in [
        (
            conv(&[2, 3], &[4, 3, 1, 1], plain()),
            "conv2d: expected an input [n, c, ..] or [c, ..] with 2 spatial axes, found [2, 3]",
        ),
        (
            conv(&[2, 3, 4, 4], &[4, 3, 1], plain()),
            "conv2d: expected an input [n, c, ..] and a weight [o, c/groups, ..] with 2 spatial axes each, found [2, 3, 4, 4] and [4, 3, 1]",
        ),
        (
            conv(&[2, 3, 4, 4], &[4, 2, 1, 1], plain()),
            "conv2d: expected a weight [o, 3, ..] for 3 channels in 1 groups, found [2, 3, 4, 4] and [4, 2, 1, 1]",
        ),
        (
            conv(&[2, 4, 4, 4], &[3, 2, 1, 1], plain().groups(2)),
            "conv2d: expected channels of the input and of the result in 2 equal groups",
        ),
        (
            conv(&[2, 3, 4, 4], &[4, 3, 3, 5], plain()),
            "conv2d: expected a kernel that spans at most the padded input of 4 along axis 1, found [3, 5]",
        ),
        (conv(&[2, 3, 4, 4], &[4, 3, 0, 1], plain()), "conv2d: expected a kernel of 2 positive extents, found [0, 1]"),
        (
            conv(&[2, 3, 4, 4], &[4, 3, 1, 1], plain().stride([1, 0])),
            "conv2d: expected a stride of at least 1 for each of 2 axes, found [1, 0]",
        ),
        (conv(&[2, 3, 4, 4], &[4, 3, 1, 1], plain().padding(usize::MAX)), "conv2d: expected a padding"),
        (conv(&[2, 3, 4, 4], &[4, 3, 1, 1], plain().groups(0)), "conv2d: expected channels"),
        (
            try_eval(|| t(&[1, 2, 3]).conv1d(&t(&[4, 2, 1]), Some(&t(&[2])), &ConvOptions::new()))
                .unwrap_err()
                .to_string(),
            "conv1d: expected a bias [4], found [2]",
        ),
        (
            try_eval(|| t(&[1, 2, 3, 3]).conv_transpose2d(&t(&[3, 2, 1, 1]), None, &plain())).unwrap_err().to_string(),
            "conv_transpose2d: expected an input [n, c, ..] and a weight [c, o/groups, ..]",
        ),
        (
            try_eval(|| t(&[1, 2, 3, 3]).conv_transpose2d(&t(&[2, 2, 1, 1]), None, &plain().output_padding(1)))
                .unwrap_err()
                .to_string(),
            "conv_transpose2d: expected an output_padding below the stride, found [1, 1] and [1, 1]",
        ),
        (
            try_eval(|| t(&[1, 2, 3, 3]).max_pool2d(4)).unwrap_err().to_string(),
            "max_pool2d: expected a kernel that spans at most the padded input of 3 along axis 0, found [4, 4]",
        ),
        (
            try_eval(|| t(&[1, 2, 3, 3]).avg_pool2d(PoolOptions::new(2).padding(2))).unwrap_err().to_string(),
            "avg_pool2d: expected a padding of at most half the kernel [2, 2], found [2, 2]",
        ),
    ] {
        assert!(message.contains(part), "{message}\nlacks\n{part}");
    }
}
