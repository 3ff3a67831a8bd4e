//! Losses, normalisation and attention as methods of tensors.

use super::{Tensor, typed::evaluate_as};
use crate::{
    array::Float,
    compose::{AttentionOptions, CrossEntropyOptions, Reduction},
};

impl<T: Float> Tensor<T> {
    /// The mean of −ln softmax(self) at the target, of shape `[]`: logits `[n, classes]`, targets `[n]`. A target of −100
    /// does not count; any other outside the classes gives NaN.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let logits = Tensor::<f64>::zeros([2, 4]);
    /// let loss = logits.cross_entropy(&Tensor::from_vec(vec![0, 3], [2]));
    /// assert!((loss.item() - 4f64.ln()).abs() < 1e-15);
    /// ```
    #[track_caller]
    pub fn cross_entropy(&self, target: &Tensor<i64>) -> Self {
        self.cross_entropy_with(target, None, &CrossEntropyOptions::default())
    }
    /// As [`Tensor::cross_entropy`] with weights `[classes]` and options. Logits are `[classes]`, `[n, classes]` or
    /// `[n, classes, ..]`, targets have that shape without the classes.
    ///
    /// ```
    /// use autograd_runtime::{CrossEntropyOptions, Reduction, Tensor};
    /// let logits = Tensor::from_vec(vec![0.0, 0.0, 5.0, 0.0], [2, 2]);
    /// let o = CrossEntropyOptions::default().reduction(Reduction::None).ignore_index(0);
    /// let loss = logits.cross_entropy_with(&Tensor::from_vec(vec![1, 0], [2]), None, &o);
    /// assert_eq!(loss.to_vec(), [2f64.ln(), 0.0]);
    /// ```
    #[track_caller]
    pub fn cross_entropy_with(
        &self,
        target: &Tensor<i64>,
        weight: Option<&Tensor<T>>,
        options: &CrossEntropyOptions,
    ) -> Self {
        Tensor::from_value(evaluate_as("NllLossBackward0", |e| {
            self.ex(e).cross_entropy(&target.ex(e), weight.map(|w| w.ex(e)).as_ref(), options)
        }))
    }
    /// As [`Tensor::cross_entropy_with`], the targets being distributions over the classes, of the logits' shape.
    #[track_caller]
    pub fn cross_entropy_soft(
        &self,
        target: &Tensor<T>,
        weight: Option<&Tensor<T>>,
        options: &CrossEntropyOptions,
    ) -> Self {
        Tensor::from_value(evaluate_as("DivBackward1", |e| {
            self.ex(e).cross_entropy_soft(&target.ex(e), weight.map(|w| w.ex(e)).as_ref(), options)
        }))
    }
    /// The loss −x at the target, of logarithms of probabilities; shapes and options as in
    /// [`Tensor::cross_entropy_with`], which is this of [`Tensor::log_softmax`].
    #[track_caller]
    pub fn nll_loss(&self, target: &Tensor<i64>, weight: Option<&Tensor<T>>, options: &CrossEntropyOptions) -> Self {
        Tensor::from_value(evaluate_as("NllLossBackward0", |e| {
            self.ex(e).nll_loss(&target.ex(e), weight.map(|w| w.ex(e)).as_ref(), options)
        }))
    }
    /// The mean squared difference, of shape `[]`; the shapes broadcast.
    #[track_caller]
    pub fn mse_loss(&self, target: &Tensor<T>) -> Self {
        self.mse_loss_with(target, Reduction::Mean)
    }
    /// Squared differences, reduced; the shapes broadcast.
    #[track_caller]
    pub fn mse_loss_with(&self, target: &Tensor<T>, reduction: Reduction) -> Self {
        self.zip_named("MseLossBackward0", target, |x, t| x.mse_loss(&t, reduction))
    }
    /// Absolute differences, reduced; the shapes broadcast.
    ///
    /// ```
    /// use autograd_runtime::{Reduction, Tensor};
    /// let (x, y) = (Tensor::from_vec(vec![1.0, 5.0], [2]), Tensor::scalar(2.0));
    /// assert_eq!((x.l1_loss(&y, Reduction::Mean).item(), x.huber_loss(&y, 1.0, Reduction::Sum).item()), (2.0, 3.0));
    /// ```
    #[track_caller]
    pub fn l1_loss(&self, target: &Tensor<T>, reduction: Reduction) -> Self {
        self.zip_named("MeanBackward0", target, |x, t| x.l1_loss(&t, reduction))
    }
    /// Half the squared difference where it is below `delta`, delta·(|d| − delta/2) elsewhere, reduced.
    #[track_caller]
    pub fn huber_loss(&self, target: &Tensor<T>, delta: f64, reduction: Reduction) -> Self {
        self.zip_named("HuberLossBackward0", target, |x, t| x.huber_loss(&t, delta, reduction))
    }
    /// The cross-entropy of truth values given by their logits, reduced: −y·ln σ(x) − (1 − y)·ln(1 − σ(x)), without
    /// overflow. Losses are multiplied by `weight`, the part of positive targets by `positive`; both broadcast.
    ///
    /// ```
    /// use autograd_runtime::{Reduction, Tensor};
    /// let x = Tensor::from_vec(vec![0.0, 1000.0], [2]);
    /// let loss = x.bce_with_logits(&Tensor::ones([2]), None, None, Reduction::None);
    /// assert_eq!(loss.to_vec(), [2f64.ln(), 0.0]);
    /// ```
    #[track_caller]
    pub fn bce_with_logits(
        &self,
        target: &Tensor<T>,
        weight: Option<&Tensor<T>>,
        positive: Option<&Tensor<T>>,
        reduction: Reduction,
    ) -> Self {
        Tensor::from_value(evaluate_as("BinaryCrossEntropyWithLogitsBackward0", |e| {
            let ex = |t: Option<&Tensor<T>>| t.map(|t| t.ex(e));
            let (weight, positive) = (ex(weight), ex(positive));
            self.ex(e).bce_with_logits(&target.ex(e), weight.as_ref(), positive.as_ref(), reduction)
        }))
    }
    /// The divergence t·(ln t − x) of logarithms x of probabilities from a target t, reduced; with `log_target` the target
    /// is given by logarithms too.
    ///
    /// ```
    /// use autograd_runtime::{Reduction, Tensor};
    /// let t = Tensor::from_vec(vec![0.5, 0.5, 0.0], [1, 3]);
    /// let x = Tensor::from_vec(vec![0.5f64, 0.25, 0.25], [1, 3]).ln();
    /// assert!((x.kl_div(&t, Reduction::BatchMean, false).item() - 0.5 * 2f64.ln()).abs() < 1e-15);
    /// ```
    #[track_caller]
    pub fn kl_div(&self, target: &Tensor<T>, reduction: Reduction, log_target: bool) -> Self {
        self.zip_named("KlDivBackward0", target, |x, t| x.kl_div(&t, reduction, log_target))
    }
    /// x·Wᵀ + b, with a weight `[m, n]` and an input `[.., n]`.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let (x, w) = (Tensor::<f64>::ones([5, 3]), Tensor::ones([4, 3]));
    /// assert_eq!(x.linear(&w, Some(&Tensor::ones([4]))).to_vec(), [4.0; 20]);
    /// ```
    #[track_caller]
    pub fn linear(&self, weight: &Tensor<T>, bias: Option<&Tensor<T>>) -> Self {
        Tensor::from_value(evaluate_as("AddmmBackward0", |e| {
            self.ex(e).linear(&weight.ex(e), bias.map(|b| b.ex(e)).as_ref())
        }))
    }
    /// (x − mean)/√(var + eps) over the last axes, whose extents are `shape`, times a weight plus a bias of that shape.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![1.0, 3.0, 2.0, 2.0], [2, 2]);
    /// assert_eq!(x.layer_norm(&[2], None, None, 0.0).index((0, ..)).to_vec(), [-1.0, 1.0]);
    /// ```
    #[track_caller]
    pub fn layer_norm(&self, shape: &[usize], weight: Option<&Tensor<T>>, bias: Option<&Tensor<T>>, eps: f64) -> Self {
        Tensor::from_value(evaluate_as("NativeLayerNormBackward0", |e| {
            let (w, b) = (weight.map(|w| w.ex(e)), bias.map(|b| b.ex(e)));
            self.ex(e).layer_norm(shape, w.as_ref(), b.as_ref(), eps)
        }))
    }
    /// (x − mean)/√(var + eps) of each channel of `[n, c, ..]`, times a weight plus a bias `[c]`: with the batch's own mean
    /// and variance, or with given ones.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![1.0, 3.0], [2, 1]);
    /// assert_eq!(x.batch_norm(None, None, None, 0.0).to_vec(), [-1.0, 1.0]);
    /// let given = (&Tensor::scalar(1.0).reshape(&[1]), &Tensor::scalar(4.0).reshape(&[1]));
    /// assert_eq!(x.batch_norm(Some(given), None, None, 0.0).to_vec(), [0.0, 1.0]);
    /// ```
    #[track_caller]
    pub fn batch_norm(
        &self,
        given: Option<(&Tensor<T>, &Tensor<T>)>,
        weight: Option<&Tensor<T>>,
        bias: Option<&Tensor<T>>,
        eps: f64,
    ) -> Self {
        Tensor::from_value(evaluate_as("NativeBatchNormBackward0", |e| {
            let (w, b) = (weight.map(|w| w.ex(e)), bias.map(|b| b.ex(e)));
            let given = given.map(|(m, v)| (m.ex(e), v.ex(e)));
            self.ex(e).batch_norm(given.as_ref().map(|(m, v)| (m, v)), w.as_ref(), b.as_ref(), eps)
        }))
    }
    /// (x − mean)/√(var + eps) over each group of channels of `[n, c, ..]`, times a weight plus a bias `[c]`.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![1.0, 3.0, 10.0, 30.0], [1, 4]);
    /// assert_eq!(x.group_norm(2, None, None, 0.0).to_vec(), [-1.0, 1.0, -1.0, 1.0]);
    /// ```
    #[track_caller]
    pub fn group_norm(&self, groups: usize, weight: Option<&Tensor<T>>, bias: Option<&Tensor<T>>, eps: f64) -> Self {
        Tensor::from_value(evaluate_as("NativeGroupNormBackward0", |e| {
            let (w, b) = (weight.map(|w| w.ex(e)), bias.map(|b| b.ex(e)));
            self.ex(e).group_norm(groups, w.as_ref(), b.as_ref(), eps)
        }))
    }
    /// Attention: softmax(q·kᵀ·scale)·v of queries `[.., l, e]` (this), keys `[.., s, e]` and values `[.., s, w]`.
    ///
    /// ```
    /// use autograd_runtime::{AttentionOptions, Tensor};
    /// let (q, v) = (Tensor::<f64>::zeros([2, 3]), Tensor::from_vec(vec![1.0, 3.0], [2, 1]));
    /// let causal = AttentionOptions { causal: true, ..AttentionOptions::default() };
    /// assert_eq!(q.scaled_dot_product_attention(&q, &v, causal).to_vec(), [1.0, 2.0]);
    /// ```
    #[track_caller]
    pub fn scaled_dot_product_attention(&self, k: &Tensor<T>, v: &Tensor<T>, options: AttentionOptions) -> Self {
        Tensor::from_value(evaluate_as(ATTENTION, |e| self.ex(e).attention(&k.ex(e), &v.ex(e), None, options)))
    }
    /// As [`Tensor::scaled_dot_product_attention`]; a query sees keys where the mask `[.., l, s]` holds, and one that sees
    /// none gives zeros.
    #[track_caller]
    pub fn scaled_dot_product_attention_masked(
        &self,
        k: &Tensor<T>,
        v: &Tensor<T>,
        mask: &Tensor<bool>,
        options: AttentionOptions,
    ) -> Self {
        Tensor::from_value(evaluate_as(ATTENTION, |e| {
            self.ex(e).attention(&k.ex(e), &v.ex(e), Some(&mask.ex(e)), options)
        }))
    }
    /// As [`Tensor::scaled_dot_product_attention`] with numbers `[.., l, s]` added to the scores.
    #[track_caller]
    pub fn scaled_dot_product_attention_biased(
        &self,
        k: &Tensor<T>,
        v: &Tensor<T>,
        bias: &Tensor<T>,
        options: AttentionOptions,
    ) -> Self {
        Tensor::from_value(evaluate_as(ATTENTION, |e| {
            self.ex(e).attention(&k.ex(e), &v.ex(e), Some(&bias.ex(e)), options)
        }))
    }
}

const ATTENTION: &str = "ScaledDotProductFlashAttentionForCpuBackward0";
