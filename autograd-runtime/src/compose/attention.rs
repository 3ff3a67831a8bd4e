//! Attention.

use super::attempt;
use crate::{
    emit::{Ex, constant},
    error::Error,
    ty::DType,
};

/// How attention weighs.
///
/// ```
/// use autograd_runtime::AttentionOptions;
/// assert_eq!(AttentionOptions::default(), AttentionOptions { causal: false, scale: None });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AttentionOptions {
    /// A query sees keys up to its own place only.
    pub causal: bool,
    /// The factor of the scores; 1/√width if there is none.
    pub scale: Option<f64>,
}

#[allow(missing_docs)] // documented on `Tensor`
impl<'e> Ex<'e> {
    /// softmax(q·kᵀ·scale + mask)·v. A mask of truth values says what is seen; a query that sees nothing gives zeros.
    pub fn attention(&self, k: &Ex<'e>, v: &Ex<'e>, mask: Option<&Ex<'e>>, o: AttentionOptions) -> Ex<'e> {
        attempt(self, || {
            let (q, n) = (self, self.rank());
            let (qs, ks, vs) = (q.shape(), k.shape(), v.shape());
            if n < 2 || ks.len() < 2 || vs.len() < 2 || qs[n - 1] != ks[ks.len() - 1] {
                let found = format!("{:?}, {:?} and {:?}", qs.as_slice(), ks.as_slice(), vs.as_slice());
                let want = "queries [.., l, e], keys [.., s, e] and values [.., s, w]";
                return Err(Error::shape("scaled_dot_product_attention", want, found));
            }
            let scale = o.scale.unwrap_or_else(|| 1.0 / (qs[n - 1] as f64).sqrt());
            let mut scores = q.matmul(&k.mt()) * scale;
            let mut seen: Option<Ex<'e>> = None;
            if o.causal {
                let ones = constant(q.e, DType::I64, 1.0).expand(&[qs[n - 2], ks[ks.len() - 2]]);
                seen = Some(ones.tril(0).cast(DType::Bool));
            }
            match mask {
                Some(m) if m.dtype() == DType::Bool => seen = Some(seen.map_or(m.clone(), |s| s.logical_and(m))),
                Some(m) => scores = scores + m,
                None => {}
            }
            let Some(seen) = seen else { return Ok(scores.softmax(-1).matmul(v)) };
            // a row of nothing is weighed like any other and then taken out, so that no NaN meets its gradient
            let any = any_last(&seen);
            let scores = Ex::select(&seen.logical_or(&any.logical_not()), &scores, &scores.lit(f64::NEG_INFINITY));
            Ok(scores.softmax(-1).masked(&any).matmul(v))
        })
    }
}
/// Whether anything holds along the last axis.
fn any_last<'e>(m: &Ex<'e>) -> Ex<'e> {
    m.cast(DType::I64).sum_keep(&[m.rank().saturating_sub(1)]).cast(DType::Bool)
}
