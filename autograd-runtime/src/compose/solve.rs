//! Systems of linear equations as PyTorch calls them: vectors or matrices at the right, batches that broadcast.

use super::attempt;
use crate::{
    emit::Ex,
    error::{Error, Result},
    ty::{Shape, broadcast},
};

/// What a triangular solution reads of its matrix, and where that stands.
///
/// ```
/// use autograd_runtime::TriangularOptions;
/// let o = TriangularOptions::default();
/// assert!(!o.upper && o.left && !o.unit);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TriangularOptions {
    /// The upper triangle instead of the lower one.
    pub upper: bool,
    /// A·X = B; otherwise X·A = B.
    pub left: bool,
    /// The diagonal counts as ones and is not read.
    pub unit: bool,
}
impl Default for TriangularOptions {
    fn default() -> Self {
        TriangularOptions { upper: false, left: true, unit: false }
    }
}

/// Both with the leading axes that they broadcast to.
fn batched<'e>(name: &str, a: &Ex<'e>, b: &Ex<'e>) -> Result<(Ex<'e>, Ex<'e>)> {
    let (x, y) = (a.shape(), b.shape());
    let bad = || {
        let found = format!("{:?} and {:?}", x.as_slice(), y.as_slice());
        Error::shape(name, "matrices [.., n, n] and [.., n, k]", found)
    };
    if x.len() < 2 || y.len() < 2 {
        return Err(bad());
    }
    let lead = broadcast(&x[..x.len() - 2], &y[..y.len() - 2]).ok_or_else(bad)?;
    let full = |s: &Shape| lead.iter().chain(&s[s.len() - 2..]).copied().collect::<Shape>();
    Ok((a.expand(&full(&x)), b.expand(&full(&y))))
}

#[allow(missing_docs)] // documented on `Tensor`
impl<'e> Ex<'e> {
    pub fn solve(&self, b: &Ex<'e>) -> Ex<'e> {
        attempt(self, || {
            let (x, y) = (self.shape(), b.shape());
            // one axis less, and the extents of the rows: a vector for each matrix
            let vectors = y.len() == 1 || (y.len() + 1 == x.len() && y.as_slice() == &x[..x.len() - 1]);
            let (a, b) = batched("solve", self, &if vectors { b.unsqueeze(-1) } else { b.clone() })?;
            let solved = a.solve_square(&b);
            Ok(if vectors { solved.squeeze(-1) } else { solved })
        })
    }
    pub fn solve_triangular(&self, b: &Ex<'e>, o: TriangularOptions) -> Ex<'e> {
        attempt(self, || {
            let name = "solve_triangular";
            if o.left {
                let (a, b) = batched(name, self, b)?;
                return Ok(a.solve_part(&b, o.upper, o.unit));
            }
            // X·A = B is Aᵀ·Xᵀ = Bᵀ
            let (a, b) = batched(name, &self.mt(), &b.mt())?;
            Ok(a.solve_part(&b, !o.upper, o.unit).mt())
        })
    }
}
