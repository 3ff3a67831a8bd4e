//! Composites of random operations: dropout.

use super::attempt;
use crate::{
    emit::{Ex, apply},
    error::Error,
    op::{Attr, Op, random},
};

#[allow(missing_docs)] // documented on `Tensor`
impl<'e> Ex<'e> {
    /// x/(1 − p) with probability 1 − p, else 0. The mask is a function of the key, so that derivatives meet
    /// the same one.
    pub fn dropout(&self, key: &Ex<'e>, p: f64) -> Ex<'e> {
        attempt(self, || {
            if !(0.0..=1.0).contains(&p) {
                return Err(Error::value("dropout", format!("expected a probability in 0..=1, found {p}")));
            }
            let kept = 1.0 - p;
            let threshold = (kept * 32f64.exp2()).round() as i64;
            let mask = apply(Op::with(&random::BERNOULLI, [Attr::Int(threshold), Attr::dims(&self.shape())]), &[key]);
            // where nothing is kept 1/0 would make NaNs of the masked gradient
            let scale = if kept > 0.0 { 1.0 / kept } else { 0.0 };
            Ok((self * scale).masked(&mask))
        })
    }
}
