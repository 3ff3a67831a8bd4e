//! Composite operations: plain functions over the emitter, made of declared operations. They differentiate
//! because their parts do, in every engine and to every order.

mod activation;
mod attention;
mod conv;
mod einsum;
mod layout;
mod loss;
mod norm;
mod order;
mod random;
mod reduce;
mod solve;

pub use attention::AttentionOptions;
pub use conv::{ConvOptions, Extents, Padding, PoolOptions};
pub use loss::{CrossEntropyOptions, Reduction};
pub use solve::TriangularOptions;

use crate::{
    emit::Ex,
    error::{Error, Result},
    ty::{Shape, broadcast, resolve_dim},
};

/// Dims given by the user (negative ones count from the end) as sorted axes; `None` and the empty list are all of them, as
/// in PyTorch.
fn axes(op: &str, x: &Ex<'_>, dims: Option<&[i64]>) -> Result<Shape> {
    let rank = x.rank();
    let Some(dims) = dims.filter(|d| !d.is_empty()) else { return Ok((0..rank).collect()) };
    let mut axes = Shape::new();
    for &d in dims {
        // PyTorch lets a scalar be addressed by dims 0 and -1; it has no axis to reduce
        let a = resolve_dim(op, d, rank.max(1))?;
        if axes.contains(&a) {
            return Err(Error::value(op, format!("expected each dim once, found {dims:?}")));
        }
        axes.push(a);
    }
    axes.truncate(rank);
    axes.sort_unstable();
    Ok(axes)
}

/// Runs a fallible composite; its error becomes the expression's.
fn attempt<'e>(x: &Ex<'e>, f: impl FnOnce() -> Result<Ex<'e>>) -> Ex<'e> {
    f().unwrap_or_else(|e| x.fail(e))
}

#[allow(missing_docs)] // documented on `Tensor`
impl<'e> Ex<'e> {
    /// PyTorch's `matmul`: vectors are rows or columns, leading axes broadcast.
    pub fn matmul(&self, other: &Ex<'e>) -> Ex<'e> {
        attempt(self, || {
            let (a, b) = (self.shape(), other.shape());
            let bad = || {
                let found = format!("{:?} and {:?}", a.as_slice(), b.as_slice());
                Error::shape("matmul", "shapes [.., m, k] and [.., k, n]", found)
            };
            if a.is_empty() || b.is_empty() {
                return Err(bad());
            }
            let rows = |s: &[usize]| if s.len() == 1 { Shape::from_slice(&[1, s[0]]) } else { s.into() };
            let cols = |s: &[usize]| if s.len() == 1 { Shape::from_slice(&[s[0], 1]) } else { s.into() };
            let (sa, sb) = (rows(&a), cols(&b));
            let (na, nb) = (sa.len(), sb.len());
            if sa[na - 1] != sb[nb - 2] {
                return Err(bad());
            }
            // [.., m, k] by one [k, n]: all leading axes are rows of one product
            if nb == 2 && na > 2 {
                let lead: usize = sa[..na - 1].iter().product();
                let mut shape: Shape = sa[..na - 1].into();
                shape.push(sb[1]);
                let y = self.reshape(&[lead, sa[na - 1]]).matmul_2d(&other.reshape(&sb)).reshape(&shape);
                return Ok(if b.len() == 1 { y.reshape(&shape[..na - 1]) } else { y });
            }
            let batch = broadcast(&sa[..na - 2], &sb[..nb - 2]).ok_or_else(bad)?;
            let full = |s: &Shape| batch.iter().chain(&s[s.len() - 2..]).copied().collect::<Shape>();
            let x = self.reshape(&sa).expand(&full(&sa));
            let y = x.matmul_2d(&other.reshape(&sb).expand(&full(&sb)));
            let mut shape = y.shape();
            if b.len() == 1 {
                shape.pop();
            }
            if a.len() == 1 {
                shape.remove(batch.len());
            }
            Ok(y.reshape(&shape))
        })
    }
    pub fn dot(&self, other: &Ex<'e>) -> Ex<'e> {
        attempt(self, || {
            let (a, b) = (self.shape(), other.shape());
            if a.len() != 1 || a != b {
                let found = format!("{:?} and {:?}", a.as_slice(), b.as_slice());
                return Err(Error::shape("dot", "two vectors of one length", found));
            }
            Ok((self * other).sum(None, false))
        })
    }

    pub fn unsqueeze(&self, dim: i64) -> Ex<'e> {
        attempt(self, || {
            let mut shape = self.shape();
            shape.insert(resolve_dim("unsqueeze", dim, shape.len() + 1)?, 1);
            Ok(self.reshape(&shape))
        })
    }
    pub fn squeeze(&self, dim: i64) -> Ex<'e> {
        attempt(self, || {
            let mut shape = self.shape();
            let d = resolve_dim("squeeze", dim, shape.len().max(1))?;
            if shape.get(d) == Some(&1) {
                shape.remove(d);
            }
            Ok(self.reshape(&shape))
        })
    }
    /// As `reshape`, where one extent may be −1.
    pub fn view_as(&self, shape: &[i64]) -> Ex<'e> {
        attempt(self, || {
            let total = self.ty().numel();
            let known: usize = shape.iter().filter(|&&n| n >= 0).map(|&n| n as usize).product();
            let free = shape.iter().filter(|&&n| n < 0).count();
            let bad = || {
                let want = format!("extents of {total} elements, at most one of them -1");
                Error::shape("reshape", want, format!("{shape:?}"))
            };
            if free > 1 || shape.iter().any(|&n| n < -1) || (free == 1 && (known == 0 || !total.is_multiple_of(known)))
            {
                return Err(bad());
            }
            let shape: Shape = shape.iter().map(|&n| if n < 0 { total / known } else { n as usize }).collect();
            Ok(self.reshape(&shape))
        })
    }
    pub fn transpose(&self, a: i64, b: i64) -> Ex<'e> {
        attempt(self, || {
            let rank = self.rank();
            let mut perm: Shape = (0..rank).collect();
            let of = |d| resolve_dim("transpose", d, rank.max(1));
            let (a, b) = (of(a)?, of(b)?);
            if rank > 0 {
                perm.swap(a, b);
            }
            Ok(self.permute(&perm))
        })
    }
    /// `start..end` of a dim in steps; negative bounds count from the end, bounds are clamped as Python does.
    pub fn slice_dim(&self, dim: i64, start: i64, end: i64, step: usize) -> Ex<'e> {
        attempt(self, || {
            let shape = self.shape();
            let d = resolve_dim("slice", dim, shape.len())?;
            if step == 0 || shape.is_empty() {
                return Err(Error::value("slice", "expected a positive step and a tensor of rank 1 or more"));
            }
            let n = shape[d] as i64;
            let bound = |i: i64| (if i < 0 { i.saturating_add(n) } else { i }).clamp(0, n) as usize;
            let (start, end) = (bound(start), bound(end));
            let len = end.saturating_sub(start).div_ceil(step);
            Ok(self.slice(d, start.min(shape[d]), len, step))
        })
    }
    /// Index `i` of a dim, which disappears.
    pub fn select_dim(&self, dim: i64, i: i64) -> Ex<'e> {
        attempt(self, || {
            let mut shape = self.shape();
            let d = resolve_dim("select", dim, shape.len())?;
            let n = shape.get(d).copied().unwrap_or(0) as i64;
            if !(-n..n).contains(&i) {
                return Err(Error::value("select", format!("expected an index below {n} along axis {d}, found {i}")));
            }
            let part = self.slice(d, i.rem_euclid(n) as usize, 1, 1);
            shape.remove(d);
            Ok(part.reshape(&shape))
        })
    }
    pub fn cat(items: &[Ex<'e>], dim: i64) -> Ex<'e> {
        let first = &items[0];
        attempt(first, || Ok(Ex::concat(items, resolve_dim("cat", dim, first.rank())?)))
    }
    pub fn stack(items: &[Ex<'e>], dim: i64) -> Ex<'e> {
        let parts: Vec<Ex<'e>> = items.iter().map(|x| x.unsqueeze(dim)).collect();
        attempt(&items[0], || Ok(Ex::concat(&parts, resolve_dim("stack", dim, items[0].rank() + 1)?)))
    }
}
