//! Attention of several heads against its formula, written out element by element.

use crate::{close, message, numbers, tensor};
use autograd::{
    Float, Tensor, gradcheck,
    nn::{AttentionMask, Linear, Module, MultiheadAttention},
};

const WIDTH: usize = 4;
const HEADS: usize = 2;

fn layer<T: Float>(batch_first: bool) -> MultiheadAttention<T> {
    MultiheadAttention {
        in_proj_weight: tensor(&[3 * WIDTH, WIDTH], 0.1),
        in_proj_bias: Some(tensor(&[3 * WIDTH], 0.2)),
        out_proj: Linear { weight: tensor(&[WIDTH, WIDTH], 0.3), bias: Some(tensor(&[WIDTH], 0.4)) },
        heads: HEADS,
        batch_first,
    }
}

/// W·x + b for the rows of W from `from` on.
fn project(w: &[f64], b: &[f64], from: usize, x: &[f64]) -> Vec<f64> {
    (from..from + WIDTH).map(|r| b[r] + (0..WIDTH).map(|i| w[r * WIDTH + i] * x[i]).sum::<f64>()).collect()
}

/// The outputs `[l, width]` of one sample; `score` changes the score of head, query and key.
fn attended(q: &[f64], k: &[f64], score: impl Fn(usize, usize, usize, f64) -> f64) -> Vec<f64> {
    let (w, b) = (numbers(3 * WIDTH * WIDTH, 0.1), numbers(3 * WIDTH, 0.2));
    let rows = |x: &[f64], from: usize| x.chunks(WIDTH).map(|x| project(&w, &b, from, x)).collect::<Vec<_>>();
    let (qs, ks, vs) = (rows(q, 0), rows(k, WIDTH), rows(k, 2 * WIDTH));
    let each = WIDTH / HEADS;
    let mut out = Vec::new();
    for (l, q) in qs.iter().enumerate() {
        let mut joined = Vec::new();
        for head in 0..HEADS {
            let part = head * each..(head + 1) * each;
            let weights: Vec<f64> = ks
                .iter()
                .enumerate()
                .map(|(s, k)| {
                    let dot: f64 = part.clone().map(|i| q[i] * k[i]).sum();
                    score(head, l, s, dot / (each as f64).sqrt()).exp()
                })
                .collect();
            let sum: f64 = weights.iter().sum();
            joined.extend(part.map(|i| {
                let value: f64 = weights.iter().zip(&vs).map(|(w, v)| w * v[i]).sum();
                if sum > 0.0 { value / sum } else { 0.0 }
            }));
        }
        out.extend(project(&numbers(WIDTH * WIDTH, 0.3), &numbers(WIDTH, 0.4), 0, &joined));
    }
    out
}

fn follows_its_formula<T: Float>() {
    const HIDDEN: f64 = f64::NEG_INFINITY;
    let (n, l, s) = (2, 3, 5);
    let (q, k) = (numbers(n * l * WIDTH, 1.0), numbers(n * s * WIDTH, 2.0));
    let (qt, kt): (Tensor<T>, Tensor<T>) = (tensor(&[n, l, WIDTH], 1.0), tensor(&[n, s, WIDTH], 2.0));
    let check = |mask: AttentionMask<'_, T>, score: &dyn Fn(usize, usize, usize, usize, f64) -> f64| {
        let want: Vec<f64> = (0..n)
            .flat_map(|i| {
                let (q, k) = (&q[i * l * WIDTH..][..l * WIDTH], &k[i * s * WIDTH..][..s * WIDTH]);
                attended(q, k, |h, l, s, x| score(i, h, l, s, x))
            })
            .collect();
        close(&layer::<T>(true).attend(&qt, &kt, &kt, &mask), &want);
        let [q, k] = [&qt, &kt].map(|t| t.transpose(0, 1));
        close(&layer::<T>(false).attend(&q, &k, &k, &mask).transpose(0, 1), &want);
    };
    let none = AttentionMask::default;
    check(none(), &|_, _, _, _, x| x);
    check(AttentionMask { causal: true, ..none() }, &|_, _, l, s, x| if s > l { HIDDEN } else { x });
    // true takes away, as in PyTorch's module
    let mask = |at: &dyn Fn(usize) -> bool, shape: &[usize]| {
        Tensor::from_vec((0..shape.iter().product()).map(at).collect(), shape)
    };
    let odd = mask(&|i| i % 2 == 1, &[l, s]);
    let by_odd = |l: usize, i: usize, x: f64| if (l * s + i) % 2 == 1 { HIDDEN } else { x };
    check(AttentionMask { attn_mask: Some(&odd), ..none() }, &|_, _, l, s, x| by_odd(l, s, x));
    let each = mask(&|i| i % 3 == 1, &[n * HEADS, l, s]);
    let at = |i: usize, h: usize, a: usize, b: usize| (((i * HEADS + h) * l + a) * s + b) % 3 == 1;
    let by_each = |i, h, l, s, x: f64| if at(i, h, l, s) { HIDDEN } else { x };
    check(AttentionMask { attn_mask: Some(&each), ..none() }, &by_each);
    let keys = mask(&|i| i == 1 || i == 7, &[n, s]);
    let by_key = |i: usize, k: usize, x: f64| if [1, 7].contains(&(i * s + k)) { HIDDEN } else { x };
    check(AttentionMask { key_padding_mask: Some(&keys), ..none() }, &|i, _, _, k, x| by_key(i, k, x));
    let both = AttentionMask { attn_mask: Some(&odd), key_padding_mask: Some(&keys), ..none() };
    check(both, &|i, _, l, k, x| by_key(i, k, by_odd(l, k, x)));
    let bias = numbers(l * s, 3.0);
    let added = tensor(&[l, s], 3.0);
    let with_bias = AttentionMask { attn_bias: Some(&added), key_padding_mask: Some(&keys), ..none() };
    check(with_bias, &|i, _, l, k, x| by_key(i, k, x + bias[l * s + k]));
    // a sample without keys gives the projection of zeros
    let nothing = mask(&|i| i >= s, &[n, s]);
    let by_sample = |i, _, _, _, x| if i == 1 { HIDDEN } else { x };
    check(AttentionMask { key_padding_mask: Some(&nothing), ..none() }, &by_sample);
    // one sequence without a batch
    let y = layer::<T>(false).attend(&qt.select(0, 0), &kt.select(0, 0), &kt.select(0, 0), &none());
    assert_eq!(y.shape(), [l, WIDTH]);
    close(&y, &attended(&q[..l * WIDTH], &k[..s * WIDTH], |_, _, _, x| x));
}

#[test]
fn attention_follows_its_formula() {
    follows_its_formula::<f64>();
    follows_its_formula::<f32>();
}

#[test]
fn parameters_are_named_as_pytorchs() {
    let layer = MultiheadAttention::<f32>::new(6, 3).unwrap();
    let named = layer.named_parameters();
    let names: Vec<(&str, &[usize])> = named.iter().map(|(n, p)| (n.as_str(), p.shape())).collect();
    let want = [
        ("in_proj_weight", &[18, 6][..]),
        ("in_proj_bias", &[18]),
        ("out_proj.weight", &[6, 6]),
        ("out_proj.bias", &[6]),
    ];
    assert_eq!(names, want);
    assert_eq!(MultiheadAttention::<f32>::without_bias(6, 3).unwrap().parameters().len(), 2);
    let bound = (6.0f32 / 24.0).sqrt();
    assert!(layer.in_proj_weight.detach().abs().max().item() <= bound);
}

#[test]
fn what_does_not_fit_is_an_error() {
    let e = MultiheadAttention::<f32>::new(5, 2).unwrap_err().to_string();
    assert_eq!(e, "MultiheadAttention: expected a width that divides into 2 heads, found 5");
    assert!(MultiheadAttention::<f32>::new(4, 0).is_err());
    let l = layer::<f64>(true);
    let none = AttentionMask::default();
    let ones = |shape: &[usize]| Tensor::<f64>::ones(shape);
    let of = |q: &[usize], k: &[usize], v: &[usize]| message(|| l.attend(&ones(q), &ones(k), &ones(v), &none));
    let e = of(&[2, 3, 5], &[2, 3, 5], &[2, 3, 5]);
    assert!(e.contains("MultiheadAttention: expected queries, keys and values [length, n, 4] or [length, 4]"), "{e}");
    of(&[2, 3, 4], &[1, 3, 4], &[1, 3, 4]);
    of(&[2, 3, 4], &[2, 3, 4], &[2, 4, 4]);
    of(&[3, 4], &[1, 3, 4], &[1, 3, 4]);
    of(&[4], &[4], &[4]);
    let wrong = Tensor::from_vec(vec![false; 6], [2, 3]);
    for mask in [
        AttentionMask { attn_mask: Some(&wrong), ..AttentionMask::default() },
        AttentionMask { key_padding_mask: Some(&wrong), ..AttentionMask::default() },
    ] {
        let e = message(|| l.attend(&ones(&[1, 3, 4]), &ones(&[1, 3, 4]), &ones(&[1, 3, 4]), &mask));
        assert!(e.contains("expected masks [3, 3] or [2, 3, 3], of keys [1, 3], found [2, 3]"), "{e}");
    }
}

#[test]
fn gradients_are_those_of_differences() {
    let p = |shape: &[usize], seed: f64| tensor::<f64>(shape, seed).requires_grad_(true);
    let hidden = Tensor::from_vec(vec![false, true, true, false, false, false], [2, 3]);
    let f = |x: &[Tensor<f64>]| {
        let layer = MultiheadAttention {
            in_proj_weight: x[2].clone(),
            in_proj_bias: Some(x[3].clone()),
            out_proj: Linear { weight: x[4].clone(), bias: None },
            heads: 2,
            batch_first: true,
        };
        let mask = AttentionMask { key_padding_mask: Some(&hidden), ..AttentionMask::default() };
        layer.attend(&x[0], &x[1], &x[1], &mask)
    };
    let all = [p(&[2, 2, 4], 1.0), p(&[2, 3, 4], 2.0), p(&[12, 4], 0.1), p(&[12], 0.2), p(&[4, 4], 0.3)];
    gradcheck(f, &all.iter().collect::<Vec<_>>()).unwrap();
}
