//! Layers without a state of their own: the affine map, and normalisation over axes.

use super::{attempt, reduce::count};
use crate::{
    emit::Ex,
    error::{Error, Result},
    ty::Shape,
};

/// (x − mean)/√(var + ε) over axes, with the variance of the elements themselves.
fn normalised<'e>(x: &Ex<'e>, axes: &[usize], eps: f64) -> Ex<'e> {
    let n = count(x, axes);
    let centred = x - x.sum_keep(axes) / n;
    let var = centred.square().sum_keep(axes) / n;
    centred * (var + eps).rsqrt()
}
/// x·weight + bias, both of a shape that broadcasts to x after `place`.
fn affine<'e>(x: Ex<'e>, weight: Option<&Ex<'e>>, bias: Option<&Ex<'e>>, place: &[usize]) -> Ex<'e> {
    let x = weight.map_or(x.clone(), |w| &x * w.reshape(place));
    bias.map_or(x.clone(), |b| &x + b.reshape(place))
}
fn check<'e>(name: &str, what: &str, p: Option<&Ex<'e>>, shape: &[usize]) -> Result<()> {
    match p {
        Some(p) if p.shape().as_slice() != shape => {
            let want = format!("a {what} of shape {shape:?}");
            Err(Error::shape(name, want, format!("{:?}", p.shape().as_slice())))
        }
        _ => Ok(()),
    }
}

#[allow(missing_docs)] // documented on `Tensor`
impl<'e> Ex<'e> {
    /// x·Wᵀ + b
    pub fn linear(&self, weight: &Ex<'e>, bias: Option<&Ex<'e>>) -> Ex<'e> {
        attempt(self, || {
            let w = weight.shape();
            if w.is_empty() || w.len() > 2 || self.shape().last() != w.last() {
                let found = format!("{:?} and {:?}", self.shape().as_slice(), w.as_slice());
                return Err(Error::shape("linear", "an input [.., n] and a weight [m, n]", found));
            }
            let y = self.matmul(&weight.mt());
            Ok(match bias {
                Some(b) => y + b,
                None => y,
            })
        })
    }
    pub fn layer_norm(&self, shape: &[usize], weight: Option<&Ex<'e>>, bias: Option<&Ex<'e>>, eps: f64) -> Ex<'e> {
        attempt(self, || {
            let full = self.shape();
            let lead = full.len().checked_sub(shape.len()).filter(|&l| !shape.is_empty() && &full[l..] == shape);
            let Some(lead) = lead else {
                let want = format!("an input whose last axes are {shape:?}");
                return Err(Error::shape("layer_norm", want, format!("{:?}", full.as_slice())));
            };
            check("layer_norm", "weight", weight, shape)?;
            check("layer_norm", "bias", bias, shape)?;
            let axes: Shape = (lead..full.len()).collect();
            Ok(affine(normalised(self, &axes, eps), weight, bias, shape))
        })
    }
    /// Over all axes but the second, with the batch's own mean and variance or with given ones.
    pub fn batch_norm(
        &self,
        given: Option<(&Ex<'e>, &Ex<'e>)>,
        weight: Option<&Ex<'e>>,
        bias: Option<&Ex<'e>>,
        eps: f64,
    ) -> Ex<'e> {
        attempt(self, || {
            let shape = self.shape();
            let Some(&channels) = shape.get(1) else {
                return Err(Error::shape("batch_norm", "an input [n, c, ..]", format!("{:?}", shape.as_slice())));
            };
            let (mean, var) = given.unzip();
            for (what, p) in [("weight", weight), ("bias", bias), ("mean", mean), ("variance", var)] {
                check("batch_norm", what, p, &[channels])?;
            }
            let place: Shape = (1..shape.len()).map(|d| if d == 1 { channels } else { 1 }).collect();
            let y = match given {
                Some((mean, var)) => (self - mean.reshape(&place)) * (var.reshape(&place) + eps).rsqrt(),
                None => {
                    let axes: Shape = (0..shape.len()).filter(|&d| d != 1).collect();
                    let n: usize = axes.iter().map(|&d| shape[d]).product();
                    if n == 1 {
                        let want = "more than one value of each channel";
                        return Err(Error::shape("batch_norm", want, format!("{:?}", shape.as_slice())));
                    }
                    normalised(self, &axes, eps)
                }
            };
            Ok(affine(y, weight, bias, &place))
        })
    }
    /// Over the channels of a group and all axes after them.
    pub fn group_norm(&self, groups: usize, weight: Option<&Ex<'e>>, bias: Option<&Ex<'e>>, eps: f64) -> Ex<'e> {
        attempt(self, || {
            let shape = self.shape();
            let channels = shape.get(1).copied().filter(|&c| groups > 0 && c.is_multiple_of(groups));
            let Some(channels) = channels else {
                let want = format!("an input [n, c, ..] whose channels divide into {groups} groups");
                return Err(Error::shape("group_norm", want, format!("{:?}", shape.as_slice())));
            };
            check("group_norm", "weight", weight, &[channels])?;
            check("group_norm", "bias", bias, &[channels])?;
            let each: usize = channels / groups * shape[2..].iter().product::<usize>();
            if shape[0] * each == 1 {
                let want = "more than one value of each group";
                return Err(Error::shape("group_norm", want, format!("{:?}", shape.as_slice())));
            }
            let place: Shape = (1..shape.len()).map(|d| if d == 1 { channels } else { 1 }).collect();
            let y = normalised(&self.reshape(&[shape[0], groups, each]), &[2], eps);
            Ok(affine(y.reshape(&shape), weight, bias, &place))
        })
    }
}
