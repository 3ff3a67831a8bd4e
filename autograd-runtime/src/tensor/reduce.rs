//! Reductions, cumulative functions and sorting as methods of tensors.

use super::Tensor;
use crate::{
    array::{Element, Float},
    emit::Ex,
};

impl<T: Float> Tensor<T> {
    /// The unbiased standard deviation of all elements, of shape `[]`; its gradient is 0 where it is 0.
    #[track_caller]
    pub fn std(&self) -> Self {
        self.named("StdBackward0", |x| x.std(None, 1.0, false))
    }
    /// Standard deviations along dims, the roots of [`Tensor::var_dim`].
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![1.0, 3.0, 5.0, 5.0], [2, 2]).requires_grad_(true);
    /// let y = x.std_dim(&[1], 0.0, false);
    /// y.sum().backward()?;
    /// assert_eq!((y.to_vec(), x.grad().unwrap().to_vec()), (vec![1.0, 0.0], vec![-0.5, 0.5, 0.0, 0.0]));
    /// # Ok::<(), autograd_runtime::Error>(())
    /// ```
    #[track_caller]
    pub fn std_dim(&self, dims: &[i64], correction: f64, keepdim: bool) -> Self {
        self.named("StdBackward0", |x| x.std(Some(dims), correction, keepdim))
    }
    /// The p-norm along dims, as in [`Tensor::sum_dim`]: (Σ|x|ᵖ)^(1/p); for ±∞ the largest and the smallest |x|, for 0 the
    /// number of elements that are not 0. Where the norm is 0, its gradient is 0 in every order.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![3.0, -4.0], [2]);
    /// let norm = |p| x.norm_dim(p, &[], false).item();
    /// assert_eq!([norm(1.0), norm(2.0), norm(f64::INFINITY), norm(0.0)], [7.0, 5.0, 4.0, 2.0]);
    /// ```
    #[track_caller]
    pub fn norm_dim(&self, p: f64, dims: &[i64], keepdim: bool) -> Self {
        self.named("LinalgVectorNormBackward0", |x| x.norm(p, Some(dims), keepdim))
    }
    /// The product of all elements, of shape `[]`; 1 of none. Its derivatives are right beside zeros too.
    #[track_caller]
    pub fn prod(&self) -> Self {
        self.named("ProdBackward0", |x| x.reshape(&[x.ty().numel()]).prod(0, false))
    }
    /// Products along a dim, which stays with extent 1 if `keepdim`.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![2.0, 0.0, 3.0], [3]).requires_grad_(true);
    /// let y = x.prod_dim(0, false);
    /// y.backward()?;
    /// assert_eq!((y.item(), x.grad().unwrap().to_vec()), (0.0, vec![0.0, 6.0, 0.0]));
    /// # Ok::<(), autograd_runtime::Error>(())
    /// ```
    #[track_caller]
    pub fn prod_dim(&self, dim: i64, keepdim: bool) -> Self {
        self.named("ProdBackward1", |x| x.prod(dim, keepdim))
    }
    /// The first index of the smallest element along a dim, which stays with extent 1 if `keepdim`.
    #[track_caller]
    pub fn argmin(&self, dim: i64, keepdim: bool) -> Tensor<i64> {
        self.map(|x| x.argmin(dim, keepdim))
    }
    /// The largest elements along a dim and their indices, of equals the first, which gets the gradient; see
    /// [`Tensor::amax`] for ties that share it.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![1.0, 5.0, 5.0, 2.0], [2, 2]);
    /// let (values, indices) = x.max_dim(1, false);
    /// assert_eq!((values.to_vec(), indices.to_vec()), (vec![5.0, 5.0], vec![1, 0]));
    /// assert_eq!(x.min_dim(0, false).0.to_vec(), [1.0, 2.0]);
    /// ```
    #[track_caller]
    pub fn max_dim(&self, dim: i64, keepdim: bool) -> (Self, Tensor<i64>) {
        self.chosen("MaxBackward0", dim, keepdim, |x, d, k| x.argmax(d, k))
    }
    /// The smallest elements along a dim and their indices, of equals the first, which gets the gradient.
    #[track_caller]
    pub fn min_dim(&self, dim: i64, keepdim: bool) -> (Self, Tensor<i64>) {
        self.chosen("MinBackward0", dim, keepdim, |x, d, k| x.argmin(d, k))
    }
    #[track_caller]
    fn chosen(
        &self,
        name: &'static str,
        dim: i64,
        keepdim: bool,
        index: impl for<'e> Fn(&Ex<'e>, i64, bool) -> Ex<'e>,
    ) -> (Self, Tensor<i64>) {
        let at: Tensor<i64> = self.map(|x| index(&x, dim, true));
        let keeps = keepdim || self.ndim() == 0;
        let values =
            self.zip_named(name, &at, |x, i| if keeps { x.pick(dim, &i) } else { x.pick(dim, &i).squeeze(dim) });
        (values, if keeps { at } else { at.squeeze(dim) })
    }
    /// The median of all elements, of shape `[]`: the lower of the two middle ones if their number is even, NaN if any is.
    /// Equals share the gradient.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![4.0, 1.0, 3.0, 2.0], [4]);
    /// assert_eq!(x.median().item(), 2.0);
    /// ```
    #[track_caller]
    pub fn median(&self) -> Self {
        self.named("MedianBackward0", |x| x.median())
    }
    /// Sums so far along a dim.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![1.0, 2.0, 3.0], [3]);
    /// assert_eq!((x.cumsum(0).to_vec(), x.cumprod(0).to_vec()), (vec![1.0, 3.0, 6.0], vec![1.0, 2.0, 6.0]));
    /// ```
    #[track_caller]
    pub fn cumsum(&self, dim: i64) -> Self {
        self.named("CumsumBackward0", |x| x.cumsum(dim))
    }
    /// Products so far along a dim; the derivatives are right beside zeros too.
    #[track_caller]
    pub fn cumprod(&self, dim: i64) -> Self {
        self.named("CumprodBackward0", |x| x.cumprod(dim))
    }
    /// ln Σ eˣ so far along a dim, without overflow.
    #[track_caller]
    pub fn logcumsumexp(&self, dim: i64) -> Self {
        self.named("LogcumsumexpBackward0", |x| x.logcumsumexp(dim))
    }
    /// The largest elements so far along a dim and their indices, of equals the last.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![2.0, 1.0, 2.0], [3]);
    /// let (values, indices) = x.cummax(0);
    /// assert_eq!((values.to_vec(), indices.to_vec()), (vec![2.0, 2.0, 2.0], vec![0, 0, 2]));
    /// ```
    #[track_caller]
    pub fn cummax(&self, dim: i64) -> (Self, Tensor<i64>) {
        let at: Tensor<i64> = self.map(|x| x.cummax_index(dim));
        (self.zip_named("CummaxBackward0", &at, |x, i| x.pick(dim, &i)), at)
    }
    /// The smallest elements so far along a dim and their indices, of equals the last.
    #[track_caller]
    pub fn cummin(&self, dim: i64) -> (Self, Tensor<i64>) {
        let at: Tensor<i64> = self.map(|x| x.cummin_index(dim));
        (self.zip_named("CumminBackward0", &at, |x, i| x.pick(dim, &i)), at)
    }
    /// The `k` largest elements along a dim in descending order, or the smallest in ascending order, and their indices; of
    /// equals the first come first.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![1.0, 4.0, 2.0, 4.0], [4]);
    /// let (values, indices) = x.topk(2, 0, true);
    /// assert_eq!((values.to_vec(), indices.to_vec()), (vec![4.0, 4.0], vec![1, 3]));
    /// ```
    #[track_caller]
    pub fn topk(&self, k: usize, dim: i64, largest: bool) -> (Self, Tensor<i64>) {
        let at: Tensor<i64> = self.map(|x| x.topk_index(k, dim, largest));
        (self.zip_named("TopkBackward0", &at, |x, i| x.pick(dim, &i)), at)
    }
}

impl<T: Element> Tensor<T> {
    /// Elements sorted along a dim, and the indices where they were; equals keep their order, and a NaN counts as larger
    /// than any number.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::from_vec(vec![3.0, 1.0, 2.0], [3]);
    /// let (values, indices) = x.sort(0, false);
    /// assert_eq!((values.to_vec(), indices.to_vec()), (vec![1.0, 2.0, 3.0], vec![1, 2, 0]));
    /// assert_eq!(x.argsort(0, true).to_vec(), [0, 2, 1]);
    /// ```
    #[track_caller]
    pub fn sort(&self, dim: i64, descending: bool) -> (Self, Tensor<i64>) {
        let at = self.argsort(dim, descending);
        (self.zip_named("SortBackward0", &at, |x, i| x.pick(dim, &i)), at)
    }
    /// The indices that sort along a dim: those of [`Tensor::sort`].
    #[track_caller]
    pub fn argsort(&self, dim: i64, descending: bool) -> Tensor<i64> {
        self.map(|x| x.argsort(dim, descending))
    }
}
