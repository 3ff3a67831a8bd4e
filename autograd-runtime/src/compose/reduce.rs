//! Reductions beside the declared ones: means, variances, norms, products, log-sum-exp and the softmax functions.

use super::{attempt, axes};
use crate::{
    emit::{Ex, constant},
    error::Error,
    op::{OpDef, reduce},
    ty::{DType, Shape, resolve_dim},
};

pub(super) fn squeeze_axes<'e>(x: &Ex<'e>, axes: &[usize], keepdim: bool) -> Ex<'e> {
    if keepdim {
        return x.clone();
    }
    let shape: Shape = x.shape().iter().enumerate().filter(|(d, _)| !axes.contains(d)).map(|p| *p.1).collect();
    x.reshape(&shape)
}

pub(super) fn count(x: &Ex<'_>, axes: &[usize]) -> f64 {
    let shape = x.shape();
    axes.iter().map(|&d| shape[d] as f64).product()
}

#[allow(missing_docs)] // documented on `Tensor`
impl<'e> Ex<'e> {
    fn reduce(&self, def: &'static OpDef, dims: Option<&[i64]>, keepdim: bool) -> Ex<'e> {
        attempt(self, || {
            let a = axes(def.name, self, dims)?;
            Ok(squeeze_axes(&self.reduce_keep(def, &a), &a, keepdim))
        })
    }
    pub fn sum(&self, dims: Option<&[i64]>, keepdim: bool) -> Ex<'e> {
        self.reduce(&reduce::SUM, dims, keepdim)
    }
    pub fn amax(&self, dims: Option<&[i64]>, keepdim: bool) -> Ex<'e> {
        self.reduce(&reduce::AMAX, dims, keepdim)
    }
    pub fn amin(&self, dims: Option<&[i64]>, keepdim: bool) -> Ex<'e> {
        self.reduce(&reduce::AMIN, dims, keepdim)
    }
    pub fn argmax(&self, dim: i64, keepdim: bool) -> Ex<'e> {
        self.position(&reduce::ARGMAX, dim, keepdim)
    }
    pub fn argmin(&self, dim: i64, keepdim: bool) -> Ex<'e> {
        self.position(&reduce::ARGMIN, dim, keepdim)
    }
    fn position(&self, def: &'static OpDef, dim: i64, keepdim: bool) -> Ex<'e> {
        if self.rank() == 0 {
            return attempt(self, || resolve_dim(def.name, dim, 1).map(|_| constant(self.e, DType::I64, 0.0)));
        }
        self.reduce(def, Some(&[dim]), keepdim)
    }
    pub fn mean(&self, dims: Option<&[i64]>, keepdim: bool) -> Ex<'e> {
        attempt(self, || {
            let a = axes("mean", self, dims)?;
            Ok(squeeze_axes(&(self.sum_keep(&a) / count(self, &a)), &a, keepdim))
        })
    }
    /// Σ (x − mean)² / (n − correction)
    pub fn var(&self, dims: Option<&[i64]>, correction: f64, keepdim: bool) -> Ex<'e> {
        attempt(self, || {
            let a = axes("var", self, dims)?;
            let n = count(self, &a);
            let centred = self - self.sum_keep(&a) / n;
            // 0/0 for one element and correction 1 is NaN, as it should be
            let v = centred.square().sum_keep(&a) / (n - correction).max(0.0);
            Ok(squeeze_axes(&v, &a, keepdim))
        })
    }
    /// √var, with derivative 0 where it is 0
    pub fn std(&self, dims: Option<&[i64]>, correction: f64, keepdim: bool) -> Ex<'e> {
        self.var(dims, correction, keepdim).kept_from_zero(|v| v.sqrt())
    }
    /// f(x) where x is not 0 and 0 where it is, with derivative 0 there, in every order: f sees 1 instead, and its result
    /// is replaced.
    fn kept_from_zero(&self, f: impl FnOnce(&Ex<'e>) -> Ex<'e>) -> Ex<'e> {
        let zero = self.eq(&self.lit(0.0));
        Ex::select(&zero, &self.lit(0.0), &f(&Ex::select(&zero, &self.lit(1.0), self)))
    }
    /// (Σ|x|ᵖ)^(1/p); the largest and the smallest |x| for p = ±∞, the number of elements that are not 0 for p = 0. The
    /// derivative is 0 where the norm is 0, and in elements that are 0.
    pub fn norm(&self, p: f64, dims: Option<&[i64]>, keepdim: bool) -> Ex<'e> {
        attempt(self, || {
            let a = axes("norm", self, dims)?;
            let y = if p == 0.0 {
                self.ne(&self.lit(0.0)).cast(self.dtype()).sum_keep(&a)
            } else if p == 1.0 {
                self.abs().sum_keep(&a)
            } else if p == 2.0 {
                self.square().sum_keep(&a).kept_from_zero(|s| s.sqrt())
            } else if p.is_infinite() {
                let def = if p > 0.0 { &reduce::AMAX } else { &reduce::AMIN };
                self.abs().reduce_keep(def, &a)
            } else if p > 0.0 {
                self.abs().kept_from_zero(|x| x.powf(p)).sum_keep(&a).kept_from_zero(|s| s.powf(1.0 / p))
            } else if p < 0.0 {
                // one 0 makes the norm 0: 0 to a negative power is infinite, and so is the sum
                let zero = self.eq(&self.lit(0.0));
                let powers = Ex::select(&zero, &self.lit(1.0), &self.abs()).powf(p);
                let y = powers.sum_keep(&a).powf(1.0 / p);
                let any = zero.cast(self.dtype()).sum_keep(&a);
                Ex::select(&any.eq(&any.lit(0.0)), &y, &y.lit(0.0))
            } else {
                return Err(Error::value("norm", format!("expected a number for p, found {p}")));
            };
            Ok(squeeze_axes(&y, &a, keepdim))
        })
    }
    /// ∏ x, as the last cumulative product: its derivative has no division by x.
    pub fn prod(&self, dim: i64, keepdim: bool) -> Ex<'e> {
        attempt(self, || {
            let a = axes("prod", self, Some(&[dim]))?;
            let Some(&d) = a.first() else { return Ok(self.clone()) };
            let mut shape = self.shape();
            let n = shape[d];
            shape[d] = 1;
            let y = if n == 0 { self.lit(1.0).expand(&shape) } else { self.cumprod_axis(d).slice(d, n - 1, 1, 1) };
            Ok(squeeze_axes(&y, &a, keepdim))
        })
    }
    /// The largest value along axes, without derivative: what is subtracted before exponentials. Where it is infinite the
    /// softmax is NaN, as in PyTorch.
    pub(super) fn largest(&self, a: &[usize]) -> Ex<'e> {
        let shape = self.shape();
        if a.iter().any(|&d| shape[d] == 0) {
            return self.lit(0.0);
        }
        self.detach().amax_keep(a)
    }
    /// ln Σ eˣ, by m + ln Σ e^(x−m) with the largest x as m, or 0 where that is infinite
    pub fn logsumexp(&self, dims: Option<&[i64]>, keepdim: bool) -> Ex<'e> {
        attempt(self, || {
            let a = axes("logsumexp", self, dims)?;
            let m = self.largest(&a);
            let m = m.masked(&m.abs().lt(&m.lit(f64::INFINITY)));
            let y = (self - &m).exp().sum_keep(&a).ln() + m;
            Ok(squeeze_axes(&y, &a, keepdim))
        })
    }
    pub fn softmax(&self, dim: i64) -> Ex<'e> {
        attempt(self, || {
            let a = axes("softmax", self, Some(&[dim]))?;
            let e = (self - self.largest(&a)).exp();
            Ok(&e / e.sum_keep(&a))
        })
    }
    pub fn log_softmax(&self, dim: i64) -> Ex<'e> {
        attempt(self, || {
            let a = axes("log_softmax", self, Some(&[dim]))?;
            let z = self - self.largest(&a);
            Ok(&z - z.exp().sum_keep(&a).ln())
        })
    }
}
