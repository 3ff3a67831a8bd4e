//! Where elements go, as methods of tensors: padding, tiling, rolling, triangles, diagonals, scattering.

use super::{
    Tensor,
    typed::{evaluate_as, report},
};
use crate::{
    array::{Element, Float},
    emit::Ex,
    error::{Error, Result},
    ty::{Shape, resolve_dim},
};

impl<T: Element> Tensor<T> {
    /// As [`Tensor::expand`], where −1 leaves an axis as it is.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let column = Tensor::<f64>::ones([2, 1]);
    /// assert_eq!(column.broadcast_to(&[5, -1, 3]).shape(), [5, 2, 3]);
    /// ```
    #[track_caller]
    pub fn broadcast_to(&self, shape: &[i64]) -> Self {
        let new = shape.len().saturating_sub(self.ndim());
        let extent = |(d, &n): (usize, &i64)| -> Result<usize> {
            let own = d.checked_sub(new).and_then(|d| self.shape().get(d).copied());
            usize::try_from(n).ok().or(if n == -1 { own } else { None }).ok_or_else(|| {
                let want = format!("a shape that {:?} broadcasts to, -1 for axes that it has", self.shape());
                Error::shape("broadcast_to", want, format!("{shape:?}"))
            })
        };
        let full: Result<Shape> = shape.iter().enumerate().map(extent).collect();
        self.viewed("ExpandBackward0", |x| match full {
            Ok(s) => x.expand(&s),
            Err(e) => x.fail(e),
        })
    }
    /// A view without all axes of extent 1.
    #[track_caller]
    pub fn squeeze_all(&self) -> Self {
        self.viewed("SqueezeBackward0", |x| {
            let all: Vec<i64> = (0..x.rank() as i64).collect();
            if all.is_empty() { x } else { x.squeeze_dims(&all) }
        })
    }
    /// A view without those of the dims whose extent is 1.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::<f64>::zeros([1, 2, 1, 3]);
    /// assert_eq!((x.squeeze_dims(&[0, 1]).shape(), x.squeeze_all().shape()), (&[2, 1, 3][..], &[2, 3][..]));
    /// ```
    #[track_caller]
    pub fn squeeze_dims(&self, dims: &[i64]) -> Self {
        self.viewed("SqueezeBackward2", |x| x.squeeze_dims(dims))
    }
    /// The elements backwards along dims, each named once. A view; PyTorch copies.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// assert_eq!(Tensor::<f64>::arange(3).flip(&[0]).to_vec(), [2.0, 1.0, 0.0]);
    /// ```
    #[track_caller]
    pub fn flip(&self, dims: &[i64]) -> Self {
        let dims: Result<Shape> = dims.iter().map(|&d| resolve_dim("flip", d, self.ndim().max(1))).collect();
        self.named("FlipBackward0", |x| match dims {
            Ok(d) if x.rank() == 0 && d.len() <= 1 => x,
            Ok(d) => x.flip(&d).copy(),
            Err(e) => x.fail(e),
        })
    }
    /// Copies side by side: so many along each of the last axes, or along new axes in front.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![1.0, 2.0], [2]);
    /// assert_eq!((x.tile(&[2]).to_vec(), x.tile(&[2, 1]).shape()), (vec![1.0, 2.0, 1.0, 2.0], &[2, 2][..]));
    /// ```
    #[track_caller]
    pub fn tile(&self, times: &[usize]) -> Self {
        self.named("RepeatBackward0", |x| x.tile(times).copy())
    }
    /// Elements moved along dims by as many places, those that leave at the end coming in at the front. Without dims all
    /// elements are one row.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::<f64>::arange(4);
    /// assert_eq!((x.roll(&[1], &[0]).to_vec(), x.roll(&[-1], &[]).to_vec()), (vec![3., 0., 1., 2.], vec![1., 2., 3., 0.]));
    /// ```
    #[track_caller]
    pub fn roll(&self, shifts: &[i64], dims: &[i64]) -> Self {
        self.named("RollBackward0", |x| x.roll(shifts, dims).copy())
    }
    /// Diagonal `k` of a matrix, or a matrix with the vector on it and zeros elsewhere; positive numbers count to the
    /// right of the main diagonal.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let m = Tensor::from_vec(vec![1.0, 2.0], [2]).diag(1);
    /// assert_eq!((m.shape(), m.diag(1).to_vec(), m.diag(0).to_vec()), (&[3, 3][..], vec![1.0, 2.0], vec![0.0; 3]));
    /// ```
    #[track_caller]
    pub fn diag(&self, k: i64) -> Self {
        self.named("DiagonalBackward0", |x| if x.rank() == 2 { x.diag(k).copy() } else { x.diag(k) })
    }
    /// Diagonal `k` of the matrices in the last two axes, as the last axis.
    #[track_caller]
    pub fn diagonal(&self, k: i64) -> Self {
        self.viewed("DiagonalBackward0", |x| x.diagonal(k))
    }
    /// The elements of the last two axes on and below diagonal `k`, zeros above.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::<f64>::ones([2, 2]);
    /// assert_eq!((x.tril(0).to_vec(), x.triu(1).to_vec()), (vec![1.0, 0.0, 1.0, 1.0], vec![0.0, 1.0, 0.0, 0.0]));
    /// ```
    #[track_caller]
    pub fn tril(&self, k: i64) -> Self {
        self.named("TrilBackward0", |x| x.tril(k))
    }
    /// The elements of the last two axes on and above diagonal `k`, zeros below.
    #[track_caller]
    pub fn triu(&self, k: i64) -> Self {
        self.named("TriuBackward0", |x| x.triu(k))
    }
    /// This tensor with the elements of a source written at indices along a dim; of several writers of an element the last
    /// one counts, in the gradient too. The source has at least the extents of the index.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let (x, source) = (Tensor::<f64>::zeros([3]), Tensor::from_vec(vec![1.0, 2.0], [2]));
    /// let index = Tensor::from_vec(vec![2, 2], [2]);
    /// assert_eq!(x.scatter(0, &index, &source).to_vec(), [0.0, 0.0, 2.0]);
    /// ```
    #[track_caller]
    pub fn scatter(&self, dim: i64, index: &Tensor<i64>, source: &Tensor<T>) -> Self {
        Tensor::from_value(evaluate_as("ScatterBackward0", |e| self.ex(e).scatter(dim, &index.ex(e), &source.ex(e))))
    }
}

impl<T: Float> Tensor<T> {
    /// This tensor with the elements of a source added at indices along a dim; duplicates sum.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let (x, source) = (Tensor::<f64>::zeros([3]), Tensor::from_vec(vec![1.0, 2.0], [2]));
    /// let index = Tensor::from_vec(vec![2, 2], [2]);
    /// assert_eq!(x.scatter_add(0, &index, &source).to_vec(), [0.0, 0.0, 3.0]);
    /// ```
    #[track_caller]
    pub fn scatter_add(&self, dim: i64, index: &Tensor<i64>, source: &Tensor<T>) -> Self {
        Tensor::from_value(evaluate_as("ScatterAddBackward0", |e| {
            self.ex(e).scatter_added(dim, &index.ex(e), &source.ex(e))
        }))
    }
    /// So many elements of a value before and after each of the last axes; negative numbers take elements away.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![1.0, 2.0], [2]);
    /// assert_eq!(x.pad(&[(1, -1)], 9.0).to_vec(), [9.0, 1.0]);
    /// ```
    #[track_caller]
    pub fn pad(&self, pads: &[(i64, i64)], value: impl super::Scalar<T>) -> Self {
        // what is only cut would be a view
        self.named("ConstantPadNdBackward0", |x| x.pad(pads, &value.ex(x.e)).copy())
    }
    /// Rows of this matrix by an index of any shape: the index's axes, then the row's. A copy.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let table = Tensor::<f64>::arange(6).reshape(&[3, 2]);
    /// let words = Tensor::from_vec(vec![2, 0], [2]);
    /// assert_eq!(table.embedding(&words).to_vec(), [4.0, 5.0, 0.0, 1.0]);
    /// ```
    #[track_caller]
    pub fn embedding(&self, index: &Tensor<i64>) -> Self {
        self.zip_named("EmbeddingBackward0", index, |x, i| x.embedding(&i))
    }
    /// As [`Tensor::embedding`]; no gradient flows to the row `padding`, which may count from the end.
    #[track_caller]
    pub fn embedding_padded(&self, index: &Tensor<i64>, padding: i64) -> Self {
        let rows = self.shape().first().map_or(0, |&n| n as i64);
        if !(-rows..rows).contains(&padding) {
            let want = format!("expected a padding row below {rows}, found {padding}");
            report(Error::value("embedding", want));
            return self.embedding(index);
        }
        self.zip_named("EmbeddingBackward0", index, |x, i| {
            let y = x.embedding(&i);
            let padded = i.eq(&i.lit(padding.rem_euclid(rows) as f64)).unsqueeze(-1);
            Ex::select(&padded, &y.detach(), &y)
        })
    }
}
