//! Activation functions made of elementary ones.

use crate::emit::Ex;

#[allow(missing_docs)] // documented on `Tensor`
impl<'e> Ex<'e> {
    /// x·σ(x)
    pub fn silu(&self) -> Ex<'e> {
        self * self.sigmoid()
    }
    /// x·Φ(x), exact
    pub fn gelu(&self) -> Ex<'e> {
        self * (self * -std::f64::consts::FRAC_1_SQRT_2).erfc() * 0.5
    }
    pub fn leaky_relu(&self, slope: f64) -> Ex<'e> {
        Ex::select(&self.gt(&self.lit(0.0)), self, &(self * slope))
    }
    /// The approximation x·½(1 + tanh u), u = √(2/π)·(x + 0.044715·x³), as x·σ(2u): 1 + tanh cancels for large negative u.
    pub fn gelu_tanh(&self) -> Ex<'e> {
        let u = (self * self * 0.044715 + 1.0) * self * (2.0 * (2.0 / std::f64::consts::PI).sqrt());
        self * u.sigmoid()
    }
    /// ln(1 + e^βx)/β, and x where βx is above the threshold.
    pub fn softplus_with(&self, beta: f64, threshold: f64) -> Ex<'e> {
        let scaled = self * beta;
        let above = scaled.gt(&self.lit(threshold));
        Ex::select(&above, self, &(scaled.softplus() / beta))
    }
    /// x·tanh(ln(1 + eˣ))
    pub fn mish(&self) -> Ex<'e> {
        self * self.softplus().tanh()
    }
    /// ln σ(x) = −ln(1 + e⁻ˣ)
    pub fn log_sigmoid(&self) -> Ex<'e> {
        -self.neg().softplus()
    }
    /// x/(1 + |x|)
    pub fn softsign(&self) -> Ex<'e> {
        self / (self.abs() + 1.0)
    }
    /// x above 0, α(eˣ − 1) below; the exponential sees 0 where it does not count, so that it cannot overflow.
    pub fn elu(&self, alpha: f64) -> Ex<'e> {
        let above = self.gt(&self.lit(0.0));
        let below = Ex::select(&above, &self.lit(0.0), self).expm1() * alpha;
        Ex::select(&above, self, &below)
    }
}
