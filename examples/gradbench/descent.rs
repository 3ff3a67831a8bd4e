//! Gradient descent as `particle` and `saddle` prescribe it: the step doubles after ten steps that went down, halves after
//! one that did not, and the search ends where the gradient or the step is at most 10⁻⁵ long.

use anyhow::Result;

/// The point at which a function is least, from `x`. `value` and `gradient` are the function's.
pub fn argmin<const N: usize>(
    mut x: [f64; N],
    value: impl Fn([f64; N]) -> Result<f64>,
    gradient: impl Fn([f64; N]) -> Result<[f64; N]>,
) -> Result<[f64; N]> {
    let norm = |x: &[f64; N]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
    let (mut least, mut slope) = (value(x)?, gradient(x)?);
    let (mut rate, mut downs) = (1e-5, 0);
    loop {
        if norm(&slope) <= 1e-5 {
            return Ok(x);
        }
        if downs == 10 {
            (rate, downs) = (2.0 * rate, 0);
            continue;
        }
        let next: [f64; N] = std::array::from_fn(|i| x[i] - rate * slope[i]);
        if norm(&std::array::from_fn(|i| x[i] - next[i])) <= 1e-5 {
            return Ok(x);
        }
        let now = value(next)?;
        if now < least {
            (x, least, slope, downs) = (next, now, gradient(next)?, downs + 1);
        } else {
            (rate, downs) = (rate / 2.0, 0);
        }
    }
}
