//! Attention with several heads.

use super::{Linear, Module, fresh, init, parameter};
use crate::{AttentionOptions, Error, Float, Result, Tensor, tensor_report as report};

/// What a query does not see, in the sense of PyTorch's module: a truth value of a mask takes a key *away*.
///
/// A query that sees nothing gets zeros in place of the values, where PyTorch gives NaN, unless numbers are added.
#[derive(Debug)]
pub struct AttentionMask<'m, T: Float> {
    /// Where a query `l` does not see a key `s`: `[l, s]`, or `[n·heads, l, s]`.
    pub attn_mask: Option<&'m Tensor<bool>>,
    /// What is added to the scores, of these shapes: −∞ takes a key away.
    pub attn_bias: Option<&'m Tensor<T>>,
    /// The keys that no query of a sample sees, `[n, s]`, or `[s]` without a batch.
    pub key_padding_mask: Option<&'m Tensor<bool>>,
    /// Whether a query sees keys up to its own place only.
    pub causal: bool,
}
impl<T: Float> Default for AttentionMask<'_, T> {
    fn default() -> Self {
        AttentionMask { attn_mask: None, attn_bias: None, key_padding_mask: None, causal: false }
    }
}

/// Attention of several heads: queries, keys and values are projected, each head attends on its part of the width by
/// [`Tensor::scaled_dot_product_attention`], and what the heads give is projected once more. From Vaswani et al.,
/// Attention is all you need (2017).
///
/// Inputs are `[length, n, width]`, or one sequence `[length, width]`, with `batch_first` `[n, length, width]`.
///
/// ```
/// use autograd_runtime::{Tensor, nn::{AttentionMask, Module, MultiheadAttention}};
/// let layer = MultiheadAttention::<f32>::new(6, 2)?.batch_first(true);
/// let (q, k) = (Tensor::randn([4, 3, 6]), Tensor::randn([4, 5, 6]));
/// assert_eq!(layer.attend(&q, &k, &k, &AttentionMask::default()).shape(), [4, 3, 6]);
/// // the first place sees itself alone
/// let causal = AttentionMask { causal: true, ..AttentionMask::default() };
/// let (whole, first) = (layer.attend(&q, &q, &q, &causal), layer.forward(&q.narrow(1, 0, 1)));
/// assert!((whole.narrow(1, 0, 1) - first).abs().max().item() < 1e-6);
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
#[derive(Debug)]
pub struct MultiheadAttention<T: Float> {
    /// The projections of queries, keys and values, one below the other: `[3·width, width]`.
    pub in_proj_weight: Tensor<T>,
    /// `[3·width]`
    pub in_proj_bias: Option<Tensor<T>>,
    /// The projection of what the heads give.
    pub out_proj: Linear<T>,
    /// The number of heads.
    pub heads: usize,
    /// Whether the first axis of a batch counts samples, not places; no.
    pub batch_first: bool,
}
impl<T: Float> MultiheadAttention<T> {
    /// Weights as PyTorch's begin, biases zero.
    ///
    /// # Errors
    /// If the width does not divide into the heads.
    pub fn new(width: usize, heads: usize) -> Result<Self> {
        let layer = Self::without_bias(width, heads)?;
        let zeros = |n| Some(parameter(&Tensor::zeros([n])));
        let out_proj = Linear { bias: zeros(width), ..layer.out_proj };
        Ok(MultiheadAttention { in_proj_bias: zeros(3 * width), out_proj, ..layer })
    }
    /// As [`MultiheadAttention::new`] without biases.
    ///
    /// # Errors
    /// As [`MultiheadAttention::new`].
    pub fn without_bias(width: usize, heads: usize) -> Result<Self> {
        if heads == 0 || width == 0 || !width.is_multiple_of(heads) {
            let want = format!("expected a width that divides into {heads} heads, found {width}");
            return Err(Error::value("MultiheadAttention", want));
        }
        let weight = Tensor::zeros([3 * width, width]);
        init::xavier_uniform_(&weight, 1.0)?;
        let out_proj = Linear { weight: fresh(&[width, width], width), bias: None };
        let in_proj_weight = parameter(&weight);
        Ok(MultiheadAttention { in_proj_weight, in_proj_bias: None, out_proj, heads, batch_first: false })
    }
    /// With samples along the first axis of a batch, or places.
    #[must_use]
    pub fn batch_first(self, on: bool) -> Self {
        MultiheadAttention { batch_first: on, ..self }
    }

    /// Attention of queries `[l, n, width]` to keys and values `[s, n, width]`.
    #[track_caller]
    pub fn attend(&self, q: &Tensor<T>, k: &Tensor<T>, v: &Tensor<T>, mask: &AttentionMask<'_, T>) -> Tensor<T> {
        let width = self.out_proj.weight.shape().first().copied().unwrap_or(0);
        let fits = |t: &Tensor<T>| t.ndim() == q.ndim() && t.shape().last() == Some(&width);
        // samples first
        let turned = |t: &Tensor<T>| if self.batch_first || q.ndim() == 2 { t.clone() } else { t.transpose(0, 1) };
        let batch = q.ndim() == 3;
        let [qs, ks, vs] = [q, k, v].map(|t| if batch && fits(t) { turned(t) } else { t.clone() });
        let same = qs.shape().first() == ks.shape().first() || !batch;
        if !(2..=3).contains(&q.ndim()) || ![q, k, v].into_iter().all(fits) || !same || ks.shape() != vs.shape() {
            let want = format!("queries, keys and values [length, n, {width}] or [length, {width}]");
            let found = format!("{:?}, {:?} and {:?}", q.shape(), k.shape(), v.shape());
            report(Error::shape("MultiheadAttention", want, found));
            return q.clone();
        }
        let n = if batch { qs.shape()[0] } else { 1 };
        let heads = [qs, ks, vs].into_iter().enumerate().map(|(i, t)| self.head(&t, i, n));
        let heads: Vec<Tensor<T>> = heads.collect();
        let (l, s) = (heads[0].shape()[2], heads[1].shape()[2]);
        let y = self.weigh(&heads, mask, [n, l, s]);
        let y = y.transpose(1, 2).reshape(&[n as i64, l as i64, width as i64]);
        let y = self.out_proj.forward(&y);
        match (batch, self.batch_first) {
            (false, _) => y.squeeze(0),
            (true, true) => y,
            (true, false) => y.transpose(0, 1),
        }
    }
    /// The i-th projection as `[n, heads, length, width/heads]`.
    #[track_caller]
    fn head(&self, x: &Tensor<T>, i: usize, n: usize) -> Tensor<T> {
        let width = self.in_proj_weight.shape()[1];
        let weight = self.in_proj_weight.narrow(0, i * width, width);
        let bias = self.in_proj_bias.as_ref().map(|b| b.narrow(0, i * width, width));
        let shape = [n, x.shape()[x.ndim() - 2], self.heads, width / self.heads].map(|n| n as i64);
        x.linear(&weight, bias.as_ref()).reshape(&shape).transpose(1, 2)
    }
    #[track_caller]
    fn weigh(&self, heads: &[Tensor<T>], mask: &AttentionMask<'_, T>, [n, l, s]: [usize; 3]) -> Tensor<T> {
        let [q, k, v] = heads else { return heads[0].clone() };
        let options = AttentionOptions { causal: mask.causal, scale: None };
        // a mask of each sample and head, or of all
        let spread = |shape: &[usize]| match *shape {
            [a, b] if [a, b] == [l, s] => Some([1, 1, l as i64, s as i64]),
            [m, a, b] if [m, a, b] == [n * self.heads, l, s] => Some([n as i64, self.heads as i64, l as i64, s as i64]),
            _ => None,
        };
        let padding = mask.key_padding_mask.map(Tensor::shape);
        let padding_fits = padding.is_none_or(|p| p == [n, s] || (n == 1 && p == [s]));
        let shapes = [mask.attn_mask.map(Tensor::shape), mask.attn_bias.map(Tensor::shape)];
        if !padding_fits || shapes.iter().flatten().any(|m| spread(m).is_none()) {
            let want = format!("masks [{l}, {s}] or [{}, {l}, {s}], of keys [{n}, {s}]", n * self.heads);
            let found = shapes.iter().chain([&padding]).flatten().map(|m| format!("{m:?}")).collect::<Vec<_>>();
            report(Error::shape("MultiheadAttention", want, found.join(" and ")));
            return q.clone();
        }
        let hidden = mask.attn_mask.map(|m| m.reshape(&spread(m.shape()).unwrap_or_default()));
        let padded = mask.key_padding_mask.map(|m| m.reshape(&[n as i64, 1, 1, s as i64]));
        let hidden = match (hidden, padded) {
            (Some(a), Some(b)) => Some(a.logical_or(&b)),
            (a, b) => a.or(b),
        };
        let bias = mask.attn_bias.map(|m| m.reshape(&spread(m.shape()).unwrap_or_default()));
        match (hidden, bias) {
            (None, None) => q.scaled_dot_product_attention(k, v, options),
            (Some(m), None) => q.scaled_dot_product_attention_masked(k, v, &m.logical_not(), options),
            (None, Some(b)) => q.scaled_dot_product_attention_biased(k, v, &b, options),
            (Some(m), Some(b)) => {
                let bias = m.where_(&Tensor::scalar(T::neg_infinity()), &b);
                q.scaled_dot_product_attention_biased(k, v, &bias, options)
            }
        }
    }
}
impl<T: Float> Module<T> for MultiheadAttention<T> {
    /// Attention of the input to itself.
    #[track_caller]
    fn forward(&self, x: &Tensor<T>) -> Tensor<T> {
        self.attend(x, x, x, &AttentionMask::default())
    }
    fn each_parameter(&self, visit: &mut dyn FnMut(&str, &Tensor<T>)) {
        visit("in_proj_weight", &self.in_proj_weight);
        self.in_proj_bias.iter().for_each(|b| visit("in_proj_bias", b));
    }
    fn each_child(&self, visit: &mut dyn FnMut(&str, &dyn Module<T>)) {
        visit("out_proj", &self.out_proj);
    }
}
