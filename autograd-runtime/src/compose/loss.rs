//! Losses, reduced as PyTorch does it.

use super::attempt;
use crate::{
    emit::{Ex, iota},
    error::{Error, Result},
    ty::{DType, Shape},
};

/// What becomes of the losses of the elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// Their mean, of shape `[]`.
    #[default]
    Mean,
    /// Their sum, of shape `[]`.
    Sum,
    /// Nothing: as many losses as elements.
    None,
    /// Their sum divided by the first extent, of shape `[]`.
    BatchMean,
}

/// How classes are weighed in a loss, with PyTorch's defaults.
///
/// ```
/// use autograd_runtime::{CrossEntropyOptions, Reduction};
/// let o = CrossEntropyOptions::default().reduction(Reduction::Sum).label_smoothing(0.1);
/// assert_eq!((o.reduction, o.ignore_index, o.label_smoothing), (Reduction::Sum, -100, 0.1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropyOptions {
    /// What becomes of the losses; their mean, weighted where classes have weights.
    pub reduction: Reduction,
    /// A target that does not count; −100.
    pub ignore_index: i64,
    /// How much of the target is spread over all classes evenly; 0.
    pub label_smoothing: f64,
}
impl Default for CrossEntropyOptions {
    fn default() -> Self {
        CrossEntropyOptions { reduction: Reduction::Mean, ignore_index: -100, label_smoothing: 0.0 }
    }
}
impl CrossEntropyOptions {
    /// With another reduction.
    #[must_use]
    pub fn reduction(self, reduction: Reduction) -> Self {
        CrossEntropyOptions { reduction, ..self }
    }
    /// With another target that does not count.
    #[must_use]
    pub fn ignore_index(self, ignore_index: i64) -> Self {
        CrossEntropyOptions { ignore_index, ..self }
    }
    /// With some of the target spread over all classes.
    #[must_use]
    pub fn label_smoothing(self, label_smoothing: f64) -> Self {
        CrossEntropyOptions { label_smoothing, ..self }
    }
}

/// Losses reduced.
fn reduced<'e>(x: &Ex<'e>, how: Reduction) -> Ex<'e> {
    match how {
        Reduction::Mean => x.mean(None, false),
        Reduction::Sum => x.sum(None, false),
        Reduction::None => x.clone(),
        Reduction::BatchMean => x.sum(None, false) / x.shape().first().map_or(1.0, |&n| n as f64),
    }
}

/// Scores of classes: the axis of the classes, and how a vector over classes stands beside them.
struct Classes {
    axis: usize,
    count: usize,
    place: Shape,
}
impl Classes {
    /// `[c]`, `[n, c]` or `[n, c, ..]`.
    fn of(name: &str, x: &Ex<'_>, weight: Option<&Ex<'_>>) -> Result<Classes> {
        let shape = x.shape();
        let axis = usize::from(shape.len() > 1);
        let Some(&count) = shape.get(axis) else {
            return Err(Error::shape(name, "scores [c], [n, c] or [n, c, ..]", "[]"));
        };
        if let Some(w) = weight.map(|w| w.shape()).filter(|w| w.as_slice() != [count]) {
            return Err(Error::shape(name, format!("weights [{count}] of the classes"), format!("{:?}", w.as_slice())));
        }
        let place = (0..shape.len()).map(|d| if d == axis { count } else { 1 }).collect();
        Ok(Classes { axis, count, place })
    }
    /// The scores' shape without the classes.
    fn rest(&self, x: &Ex<'_>) -> Shape {
        let mut s = x.shape();
        s.remove(self.axis);
        s
    }
    /// Σ over classes, which disappear.
    fn total<'e>(&self, x: &Ex<'e>) -> Ex<'e> {
        x.sum_keep(&[self.axis]).reshape(&self.rest(x))
    }
}

/// −log p of the targets: what is picked from `z`, taken from `lse`, weighted, and reduced. Classes are picked by comparing
/// indices, so that the loss and its gradient are one pass over the rows. A target outside the classes picks nothing: it
/// gives NaN, rather than a loss that looks like one.
fn picked_loss<'e>(
    name: &str,
    z: &Ex<'e>,
    lse: Option<&Ex<'e>>,
    target: &Ex<'e>,
    weight: Option<&Ex<'e>>,
    o: &CrossEntropyOptions,
) -> Result<Ex<'e>> {
    let c = Classes::of(name, z, weight)?;
    let (rest, tt) = (c.rest(z), target.ty());
    if tt.shape != rest || tt.dtype != DType::I64 {
        let want = format!("i64 targets of shape {:?}", rest.as_slice());
        return Err(Error::shape(name, want, tt.to_string()));
    }
    let mut along = z.shape();
    along[c.axis] = 1;
    let class = iota(z.e, z.dtype(), c.count).reshape(&c.place);
    let hit = class.eq(&target.reshape(&along).cast(z.dtype()));
    let picked = z.masked(&hit).sum_keep(&[c.axis]);
    let lse = lse.cloned().unwrap_or_else(|| z.lit(0.0));
    let of_classes = weight.map(|w| w.reshape(&c.place));
    let of_target = of_classes.as_ref().map(|w| w.masked(&hit).sum_keep(&[c.axis]));
    let mut loss = &lse - picked;
    if let Some(w) = &of_target {
        loss = w * loss;
    }
    if o.label_smoothing != 0.0 {
        let all = &lse - z;
        let all = of_classes.as_ref().map_or(all.clone(), |w| w * &all);
        let even = o.label_smoothing / c.count as f64;
        loss = loss * (1.0 - o.label_smoothing) + all.sum_keep(&[c.axis]) * even;
    }
    let t = target.reshape(&along);
    let ignored = t.eq(&t.lit(o.ignore_index as f64));
    let valid = t.ge(&t.lit(0.0)).logical_and(&t.lt(&t.lit(c.count as f64)));
    let other = Ex::select(&ignored, &loss.lit(0.0), &loss.lit(f64::NAN));
    let loss = Ex::select(&valid.logical_and(&ignored.logical_not()), &loss, &other);
    let axes: Shape = (0..z.rank()).collect();
    let whole = |x: &Ex<'e>| x.sum_keep(&axes).reshape(&[]);
    Ok(match o.reduction {
        Reduction::None => loss.reshape(&rest),
        Reduction::Sum => whole(&loss),
        Reduction::BatchMean => whole(&loss) / rest.first().map_or(1.0, |&n| n as f64),
        Reduction::Mean => {
            let counts = ignored.logical_not().cast(z.dtype());
            let counts = of_target.map_or(counts.clone(), |w| w * counts);
            whole(&loss) / whole(&counts)
        }
    })
}

#[allow(missing_docs)] // documented on `Tensor`
impl<'e> Ex<'e> {
    /// Mean of −log softmax(x) at the target, by classes.
    pub fn cross_entropy(&self, target: &Ex<'e>, weight: Option<&Ex<'e>>, o: &CrossEntropyOptions) -> Ex<'e> {
        attempt(self, || {
            let c = Classes::of("cross_entropy", self, weight)?;
            let z = self - self.largest(&[c.axis]);
            let lse = z.exp().sum_keep(&[c.axis]).ln();
            picked_loss("cross_entropy", &z, Some(&lse), target, weight, o)
        })
    }
    /// The same with a distribution over the classes as the target.
    pub fn cross_entropy_soft(&self, target: &Ex<'e>, weight: Option<&Ex<'e>>, o: &CrossEntropyOptions) -> Ex<'e> {
        attempt(self, || {
            let name = "cross_entropy";
            let c = Classes::of(name, self, weight)?;
            if target.shape() != self.shape() || target.dtype() != self.dtype() {
                return Err(Error::shape(name, format!("targets of type {}", self.ty()), target.ty().to_string()));
            }
            let even = o.label_smoothing / c.count as f64;
            let p = if o.label_smoothing == 0.0 { target.clone() } else { target * (1.0 - o.label_smoothing) + even };
            let mut logs = self.log_softmax(c.axis as i64);
            if let Some(w) = weight {
                logs = logs * w.reshape(&c.place);
            }
            Ok(reduced(&-c.total(&(logs * p)), o.reduction))
        })
    }
    /// Mean of −x at the target, x being logarithms of probabilities by classes.
    pub fn nll_loss(&self, target: &Ex<'e>, weight: Option<&Ex<'e>>, o: &CrossEntropyOptions) -> Ex<'e> {
        let o = CrossEntropyOptions { label_smoothing: 0.0, ..*o };
        attempt(self, || picked_loss("nll_loss", self, None, target, weight, &o))
    }
    pub fn mse_loss(&self, target: &Ex<'e>, how: Reduction) -> Ex<'e> {
        reduced(&(self - target).square(), how)
    }
    pub fn l1_loss(&self, target: &Ex<'e>, how: Reduction) -> Ex<'e> {
        reduced(&(self - target).abs(), how)
    }
    /// ½d² where |d| is below δ, δ(|d| − δ/2) elsewhere
    pub fn huber_loss(&self, target: &Ex<'e>, delta: f64, how: Reduction) -> Ex<'e> {
        attempt(self, || {
            if delta.is_nan() || delta <= 0.0 {
                return Err(Error::value("huber_loss", format!("expected a delta above 0, found {delta}")));
            }
            let d = self - target;
            let far = (d.abs() - delta * 0.5) * delta;
            let y = Ex::select(&d.abs().lt(&d.lit(delta)), &(d.square() * 0.5), &far);
            Ok(reduced(&y, how))
        })
    }
    /// (1 − y)·x + (1 + (p − 1)·y)·ln(1 + e⁻ˣ), p weighing the positive targets
    pub fn bce_with_logits(
        &self,
        target: &Ex<'e>,
        weight: Option<&Ex<'e>>,
        positive: Option<&Ex<'e>>,
        how: Reduction,
    ) -> Ex<'e> {
        let rest = self.neg().softplus();
        let rest = positive.map_or(rest.clone(), |p| ((p - 1.0) * target + 1.0) * rest);
        let loss = (target.lit(1.0) - target) * self + rest;
        reduced(&weight.map_or(loss.clone(), |w| &loss * w), how)
    }
    /// t·(ln t − x), or eᵗ·(t − x) for logarithms of a target
    pub fn kl_div(&self, target: &Ex<'e>, how: Reduction, log_target: bool) -> Ex<'e> {
        let y = if log_target { target.exp() * (target - self) } else { target.xlogy(target) - target * self };
        reduced(&y, how)
    }
}
